//! Questions to whoever sits at the terminal, and the lines of standard input where nobody does.

use std::io::IsTerminal;
use std::os::fd::AsFd;

use nix::sys::termios::{
    LocalFlags, SetArg, SpecialCharacterIndices, Termios, tcgetattr, tcsetattr,
};
use rustix::process::{Signal, getpgrp, getpid, kill_current_process_group, kill_process};
use signal_hook::consts::{SIGINT, SIGQUIT};
use zeroize::Zeroizing;

use crate::signals::{self, Held};
use crate::{Failure, Result};

/// Room from the start: what a growing buffer leaves behind isn't wiped.
const ROOM: usize = 1024;
const CTRL_D: u8 = 4;

/// Something that nobody is to read along: from the terminal without echo, or else the next line of
/// standard input.
pub fn secret(prompt: &str) -> Result<Zeroizing<Vec<u8>>> {
    if is_answered() { unseen_line(prompt) } else { line("") }
}

/// The same, asked for twice at a terminal, where nobody sees what they type.
pub fn secret_twice(prompt: &str) -> Result<Zeroizing<Vec<u8>>> {
    let text = secret(prompt)?;
    if is_answered() && *unseen_line("Again: ")? != *text {
        return Err(Failure::new("the two differ; nothing was changed"));
    }
    Ok(text)
}

/// Whether somebody is there to answer.
pub fn is_answered() -> bool {
    std::io::stdin().is_terminal()
}

/// One of some keys on the terminal. Ctrl-D and the terminal's end are the last of them.
pub fn key(prompt: &str, keys: &[u8]) -> Result<u8> {
    let mut keyboard = Keyboard::new(prompt)?;
    loop {
        match keyboard.next()?.map(|byte| byte.to_ascii_lowercase()) {
            None | Some(CTRL_D) => return Ok(*keys.last().expect("there is a key to press")),
            Some(key) if keys.contains(&key) => return Ok(key),
            Some(_) => {}
        }
    }
}

/// The next line of standard input, without its end; on a terminal with a prompt, and shown.
pub fn line(prompt: &str) -> Result<Zeroizing<Vec<u8>>> {
    let held = signals::hold()?;
    if is_answered() {
        eprint!("{prompt}");
    }
    let mut line = Zeroizing::new(Vec::with_capacity(ROOM));
    let ended = loop {
        match next_byte(&held) {
            Ok(None | Some(b'\n')) => break Ok(()),
            Ok(Some(byte)) => line.push(byte),
            Err(failure) => break Err(failure),
        }
    };
    if ended.is_err() && is_answered() {
        eprintln!();
    }
    ended?;
    if line.last() == Some(&b'\r') {
        line.pop();
    }
    Ok(line)
}

fn unseen_line(prompt: &str) -> Result<Zeroizing<Vec<u8>>> {
    const CTRL_U: u8 = 21;
    const BACKSPACES: [u8; 2] = [8, 127];

    let mut keyboard = Keyboard::new(prompt)?;
    let mut text = Zeroizing::new(Vec::with_capacity(ROOM));
    loop {
        let next = keyboard.next()?;
        if std::mem::take(&mut keyboard.has_asked_again) {
            text.clear();
        }
        match next {
            Some(b'\n' | b'\r') => return Ok(text),
            None => break,
            Some(CTRL_D) if text.is_empty() => break,
            Some(CTRL_U) => text.clear(),
            Some(byte) if BACKSPACES.contains(&byte) => erase_last_character(&mut text),
            Some(byte) if text.len() < text.capacity() => text.push(byte),
            Some(_) => {}
        }
    }
    Err(Failure::new("nothing was entered; nothing was changed"))
}

/// One by one: what follows the line is for whoever reads next, another command even.
fn next_byte(held: &Held) -> Result<Option<u8>> {
    let unreadable = |error| Failure::new(format!("cannot read standard input: {error}"));
    let stdin = std::io::stdin();
    loop {
        held.wait_for(stdin.as_fd())?;
        let mut byte = Zeroizing::new([0]);
        match rustix::io::read(&stdin, &mut *byte) {
            Ok(0) => return Ok(None),
            Ok(_) => return Ok(Some(byte[0])),
            Err(rustix::io::Errno::INTR | rustix::io::Errno::AGAIN) => {}
            // The terminal is gone: the signal that says so may still be on its way.
            Err(rustix::io::Errno::IO) if is_answered() => return Ok(None),
            Err(error) => return Err(unreadable(std::io::Error::from(error))),
        }
    }
}

/// A prompt whose answer isn't shown, until this is dropped.
struct Keyboard<'p> {
    prompt: &'p str,
    silent: Option<Silent>,
    /// What was typed before doesn't count.
    has_asked_again: bool,
    // Dropped last: first the terminal is as it was.
    held: Held,
}

impl<'p> Keyboard<'p> {
    fn new(prompt: &'p str) -> Result<Keyboard<'p>> {
        let held = signals::hold()?;
        let silent = Some(Silent::prompting(prompt)?);
        Ok(Keyboard { prompt, silent, has_asked_again: false, held })
    }

    /// The next key. Those that send signals do so once the terminal is as it was.
    fn next(&mut self) -> Result<Option<u8>> {
        loop {
            let Some(byte) = next_byte(&self.held)? else { return Ok(None) };
            let silent = self.silent.as_ref().expect("only between two keys it isn't");
            match silent.meaning_of(byte) {
                None => return Ok(Some(byte)),
                Some(Key::Stop) => {
                    self.silent = None;
                    send(Signal::TSTP);
                    // Continued: to be ended, or to go on.
                    self.held.check()?;
                    self.silent = Some(Silent::prompting(self.prompt)?);
                    self.has_asked_again = true;
                }
                Some(Key::End(signal, number)) => {
                    self.silent = None;
                    self.held.take(number);
                    send(signal);
                    return Err(signals::interrupted());
                }
            }
        }
    }
}

/// What the terminal would do with a key: send it to all that are in front of it. To us alone where
/// it isn't the terminal that rules this session.
fn send(signal: Signal) {
    let is_in_front = rustix::termios::tcgetpgrp(std::io::stdin()).is_ok_and(|it| it == getpgrp());
    let _ = match is_in_front {
        true => kill_current_process_group(signal),
        false => kill_process(getpid(), signal),
    };
}

enum Key {
    Stop,
    End(Signal, i32),
}

/// A terminal that passes every key on at once and shows none, until this is dropped.
struct Silent {
    before: Termios,
}

impl Silent {
    /// Silent before it asks: an answer may come at once.
    fn prompting(prompt: &str) -> Result<Silent> {
        let silent = Silent::new().map_err(|error| {
            Failure::new(format!("cannot switch off the terminal's echo: {}", error.desc()))
        })?;
        eprint!("{prompt}");
        Ok(silent)
    }

    fn new() -> nix::Result<Silent> {
        let before = tcgetattr(std::io::stdin())?;
        let mut silent = before.clone();
        // Without signals from keys, too: they would come before the terminal is as it was.
        silent.local_flags.remove(LocalFlags::ECHO | LocalFlags::ICANON | LocalFlags::ISIG);
        silent.control_chars[SpecialCharacterIndices::VMIN as usize] = 1;
        silent.control_chars[SpecialCharacterIndices::VTIME as usize] = 0;
        // Flushes what was typed ahead, which was shown.
        tcsetattr(std::io::stdin(), SetArg::TCSAFLUSH, &silent)?;
        Ok(Silent { before })
    }

    /// What the terminal's owner has set this key to do.
    fn meaning_of(&self, byte: u8) -> Option<Key> {
        const DISABLED: u8 = 0;
        let is = |key: SpecialCharacterIndices| {
            byte != DISABLED && self.before.control_chars[key as usize] == byte
        };
        match () {
            () if is(SpecialCharacterIndices::VINTR) => Some(Key::End(Signal::INT, SIGINT)),
            () if is(SpecialCharacterIndices::VQUIT) => Some(Key::End(Signal::QUIT, SIGQUIT)),
            () if is(SpecialCharacterIndices::VSUSP) => Some(Key::Stop),
            () => None,
        }
    }
}

impl Drop for Silent {
    fn drop(&mut self) {
        let _ = tcsetattr(std::io::stdin(), SetArg::TCSADRAIN, &self.before);
        eprintln!();
    }
}

/// A character of UTF-8 may be several bytes.
fn erase_last_character(text: &mut Vec<u8>) {
    while let Some(byte) = text.pop() {
        if byte & 0b1100_0000 != 0b1000_0000 {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_backspace_takes_a_whole_character() {
        let mut text = "aé".as_bytes().to_vec();
        erase_last_character(&mut text);
        assert_eq!(text, b"a");
        erase_last_character(&mut text);
        erase_last_character(&mut text);
        assert_eq!(text, b"");
    }
}
