//! Files that hold secrets: those made here are new ones, for their owner's eyes.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use crate::{Failure, Result, signals};

/// Writes a new file, mode 0600, durably.
pub fn create(path: &Path, content: &[u8]) -> Result<()> {
    let mut new = NewFile::create(path)?;
    new.write_all(content).map_err(|error| new.failure(&error))?;
    new.keep()
}

/// A new file, mode 0600. Unless it is kept, it goes.
pub struct NewFile {
    file: File,
    path: PathBuf,
    is_kept: bool,
    /// Half a file would be worse than none: a signal ends the writing, not the process.
    held: signals::Held,
}

impl NewFile {
    /// One that is there already is left alone: its mode is somebody else's, and so may be an open
    /// descriptor of it.
    pub fn create(path: &Path) -> Result<NewFile> {
        let held = signals::hold()?;
        let made = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
        let file = made.map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => Failure::new(format!(
                "{} already exists; remove it or use another name",
                path.display()
            )),
            _ => Failure::new(format!("cannot make {}: {error}", path.display())),
        })?;
        Ok(NewFile { file, path: path.to_owned(), is_kept: false, held })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What was written stays, whatever happens.
    pub fn keep(mut self) -> Result<()> {
        self.file.sync_all().map_err(|error| self.failure(&error))?;
        self.is_kept = true;
        Ok(())
    }

    fn failure(&self, error: &io::Error) -> Failure {
        Failure::new(format!("cannot write {}: {error}", self.path.display()))
    }
}

impl Write for NewFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.held.check().map_err(|failure| io::Error::other(failure.to_string()))?;
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        if !self.is_kept {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// A file about a token that isn't saved yet: without the token it would only mislead, so it goes
/// if nobody keeps it.
pub struct Unsaved<'a> {
    path: Option<&'a Path>,
    /// Until it is saved, a signal ends the work, not the process.
    held: signals::Held,
}

impl<'a> Unsaved<'a> {
    pub fn create(path: &'a Path, content: &[u8]) -> Result<Unsaved<'a>> {
        let held = signals::hold()?;
        create(path, content)?;
        Ok(Unsaved { path: Some(path), held })
    }

    /// Whether there was no signal so far.
    pub fn check(&self) -> Result<()> {
        self.held.check()
    }

    pub fn keep(mut self) {
        self.path = None;
    }
}

impl Drop for Unsaved<'_> {
    fn drop(&mut self) {
        if let Some(path) = self.path {
            let _ = std::fs::remove_file(path);
        }
    }
}

/// The first line of a file, without its end.
pub fn read_line(path: &Path) -> Result<Zeroizing<Vec<u8>>> {
    let text = std::fs::read(path).map(Zeroizing::new);
    let text =
        text.map_err(|error| Failure::new(format!("cannot read {}: {error}", path.display())))?;
    let line = text.split(|&b| b == b'\n').next().expect("a first part");
    Ok(Zeroizing::new(line.strip_suffix(b"\r").unwrap_or(line).to_vec()))
}
