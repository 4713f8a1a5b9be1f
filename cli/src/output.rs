//! What is printed. Names, paths and documents may hold anything: nothing of theirs moves the
//! cursor, sets colours, or reorders or hides what stands around it.

use std::borrow::Cow;
use std::fmt::{self, Write as _};
use std::io::{self, IsTerminal, Write};
use std::sync::atomic::{AtomicBool, Ordering};

use otpgate::characters::is_invisible;
use rustix::fs::{FileType, OFlags};
use serde_json::Value;
use signal_hook::consts::SIGPIPE;

use crate::{Failure, Result};

/// In the place of the standard library's, throughout this crate: those let everything through, and
/// panic if nobody reads any more.
macro_rules! eprint {
    ($($text:tt)*) => { $crate::output::complain(format_args!($($text)*)) };
}

/// The same with a line end.
macro_rules! eprintln {
    () => { $crate::output::complain(format_args!("\n")) };
    ($($text:tt)*) => {
        $crate::output::complain(format_args!("{}\n", format_args!($($text)*)))
    };
}

/// Whether standard error stands behind a line of [`overwrite`].
static HAS_PROGRESS: AtomicBool = AtomicBool::new(false);
const ERASE_LINE: &str = "\r\x1b[K";

/// To standard error. That it can't be written to is nothing that could be told.
pub fn complain(text: fmt::Arguments<'_>) {
    let has_progress = HAS_PROGRESS.swap(false, Ordering::Relaxed);
    let mut shown = if has_progress { ERASE_LINE.to_owned() } else { String::new() };
    let _ = write!(Filter { to: &mut shown, escape: as_in_logs }, "{text}");
    let _ = io::stderr().lock().write_all(shown.as_bytes());
}

/// Writes over the line of standard error that was written before, until something else is said.
pub fn overwrite(text: &str) {
    complain(format_args!(""));
    complain(format_args!("{text}"));
    HAS_PROGRESS.store(!text.is_empty(), Ordering::Relaxed);
}

/// Text to standard output.
pub fn print(text: impl fmt::Display) -> Result<()> {
    let mut out = IoWriter { to: io::stdout().lock(), failed: None };
    let _ = write!(Filter { to: &mut out, escape: as_in_logs }, "{text}");
    match out.failed {
        Some(error) => Err(unwritable(STDOUT, &error)),
        None => out.to.flush().map_err(|error| unwritable(STDOUT, &error)),
    }
}

/// JSON to standard output.
pub fn print_json(value: &Value) -> Result<()> {
    print_bytes(json(format_args!("{value:#}\n")).as_bytes())
}

/// JSON in which such characters, which stand only within its strings, are escaped.
pub fn json(value: impl fmt::Display) -> String {
    let mut text = String::new();
    write!(Filter { to: &mut text, escape: as_in_json }, "{value}").expect("writing to memory");
    text
}

/// Bytes to standard output as they are: of other programs' formats, and colours.
pub fn write_bytes(bytes: &[u8]) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(bytes).and_then(|()| out.flush())
}

/// The same, for what may be left unread.
pub fn print_bytes(bytes: &[u8]) -> Result<()> {
    write_bytes(bytes).map_err(|error| unwritable(STDOUT, &error))
}

/// What it is called in messages.
pub const STDOUT: &str = "standard output";

/// A reader that has seen enough is no failure to talk about.
pub fn unwritable(name: &str, error: &io::Error) -> Failure {
    match error.kind() {
        io::ErrorKind::BrokenPipe => Failure::quiet(SIGPIPE),
        _ => Failure::new(format!("cannot write to {name}: {error}")),
    }
}

/// Text as it is printed.
pub fn shown(text: &str) -> Cow<'_, str> {
    if text.bytes().all(|byte| matches!(byte, b'\n' | b' '..=b'~')) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len());
    Filter { to: &mut shown, escape: as_in_logs }.write_str(text).expect("writing to memory");
    Cow::Owned(shown)
}

/// Whether what is printed goes nowhere because standard output is closed: the runtime has put the
/// null device there, open for both, before anything of ours ran.
pub fn is_closed() -> bool {
    let stdout = io::stdout();
    let is_null = rustix::fs::fstat(&stdout).is_ok_and(|found| {
        FileType::from_raw_mode(found.st_mode) == FileType::CharacterDevice
            && (rustix::fs::major(found.st_rdev), rustix::fs::minor(found.st_rdev)) == (1, 3)
    });
    is_null
        && rustix::fs::fcntl_getfl(&stdout)
            .is_ok_and(|flags| flags & OFlags::ACCMODE == OFlags::RDWR)
}

/// Whether whoever looks at a terminal wants colours (<https://no-color.org>), and it knows the
/// escape sequences.
pub fn may_colour() -> bool {
    std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()) && knows_escapes()
}

/// Whether the terminal does more than print: cursor movements, colours.
pub fn knows_escapes() -> bool {
    std::env::var_os("TERM").is_some_and(|name| !name.is_empty() && name != "dumb")
}

/// Whether standard error is a terminal on which a line can be written over.
pub fn can_overwrite() -> bool {
    io::stderr().is_terminal() && knows_escapes()
}

/// Whether it shows, and only itself. Among those that don't are the marks that change the
/// direction of writing.
pub fn is_harmless(c: char) -> bool {
    matches!(c, ' '..='~') || !(c.is_control() || c.is_whitespace() || is_invisible(c))
}

type Escape = fn(&mut dyn fmt::Write, char) -> fmt::Result;

/// Lets line ends and what is harmless through.
struct Filter<'a> {
    to: &'a mut dyn fmt::Write,
    escape: Escape,
}

impl fmt::Write for Filter<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let mut rest = text;
        while let Some(at) = rest.find(|c| c != '\n' && !is_harmless(c)) {
            let (before, after) = rest.split_at(at);
            let c = after.chars().next().expect("it was found");
            self.to.write_str(before)?;
            (self.escape)(self.to, c)?;
            rest = &after[c.len_utf8()..];
        }
        self.to.write_str(rest)
    }
}

fn as_in_logs(to: &mut dyn fmt::Write, c: char) -> fmt::Result {
    c.encode_utf8(&mut [0; 4]).bytes().try_for_each(|byte| write!(to, "\\x{byte:02x}"))
}

fn as_in_json(to: &mut dyn fmt::Write, c: char) -> fmt::Result {
    c.encode_utf16(&mut [0; 2]).iter().try_for_each(|unit| write!(to, "\\u{unit:04x}"))
}

struct IoWriter<W> {
    to: W,
    failed: Option<io::Error>,
}

impl<W: Write> fmt::Write for IoWriter<W> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.to.write_all(text.as_bytes()).map_err(|error| {
            self.failed = Some(error);
            fmt::Error
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn json_stays_the_same_value() {
        let value = json!({ "a\u{202e}": "b\u{9b}\u{7f}\u{e0001}\n\"\\" });
        let text = json(&value);
        assert!(text.is_ascii(), "{text}");
        assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), value);
    }
}
