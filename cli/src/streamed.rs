//! Standard output for what is too much to be held: written in pieces of its own size, not line by
//! line.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd;

use zeroize::Zeroizing;

use crate::Result;
use crate::output::{self, STDOUT};

/// As much as a pipe takes at once.
const PIECE: usize = 64 << 10;

/// Collects what is written, wiped afterwards: it may hold keys.
pub struct Streamed<W: Write> {
    to: W,
    name: String,
    buffer: Zeroizing<Vec<u8>>,
}

impl Streamed<File> {
    pub fn stdout() -> Result<Streamed<File>> {
        Ok(Streamed::to(stdout()?, STDOUT.to_owned()))
    }
}

/// Standard output without a buffer of its own.
pub fn stdout() -> Result<File> {
    let stdout = io::stdout().as_fd().try_clone_to_owned();
    stdout.map(File::from).map_err(|error| output::unwritable(STDOUT, &error))
}

impl<W: Write> Streamed<W> {
    /// `name` is what to call it where it can't be written to.
    pub fn to(to: W, name: String) -> Streamed<W> {
        Streamed { to, name, buffer: Zeroizing::new(Vec::with_capacity(2 * PIECE)) }
    }

    /// Has something appended.
    pub fn write(&mut self, append: impl FnOnce(&mut Vec<u8>)) -> Result<()> {
        append(&mut self.buffer);
        if self.buffer.len() >= PIECE { self.pass_on() } else { Ok(()) }
    }

    /// Text for people: what it repeats of names and paths does no harm.
    pub fn text(&mut self, text: &str) -> Result<()> {
        self.write(|out| out.extend_from_slice(output::shown(text).as_bytes()))
    }

    /// Passes on what was collected.
    pub fn finish(mut self) -> Result<W> {
        self.pass_on()?;
        Ok(self.to)
    }

    fn pass_on(&mut self) -> Result<()> {
        let written = self.to.write_all(&self.buffer).and_then(|()| self.to.flush());
        self.buffer.clear();
        written.map_err(|error| output::unwritable(&self.name, &error))
    }
}
