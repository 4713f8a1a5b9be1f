//! A PIN file: lines of `user:PIN`, as htpasswd(1) makes them, for users whose PIN is marked `+`.
//!
//! It is read anew for each check, because what is remembered are right PINs, not the file.

use std::cell::OnceCell;
use std::fs::File;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::entry::{EntryError, PinEntry};
use super::{PinAnswer, PinSource};
use crate::files::fault::Fault;
use crate::files::lines;
use crate::files::stamp::Stamp;
use crate::files::steady;
use crate::log::{Level, Log, Quoted};

/// What to do about an entry that is of no use.
pub const REMEDY: &str = "set a new PIN with `htpasswd -B`";
/// What to do if there is no file.
pub const CREATE: &str =
    "create it with `htpasswd -c -B`, or correct the path in the server's configuration";

/// A PIN file, for one login.
pub struct PinFile<'a> {
    path: PathBuf,
    log: &'a dyn Log,
    /// Looked at once per login, before the file is read.
    state: OnceCell<Option<Vec<u8>>>,
}

impl<'a> PinFile<'a> {
    /// The file at a path. Nothing is opened yet.
    pub fn new(path: PathBuf, log: &'a dyn Log) -> PinFile<'a> {
        PinFile { path, log, state: OnceCell::new() }
    }
}

impl PinSource for PinFile<'_> {
    fn identity(&self) -> Vec<u8> {
        // No name of a provider holds a NUL.
        [b"file\0", self.path.as_os_str().as_bytes()].concat()
    }

    fn state(&self) -> Option<Vec<u8>> {
        let look = || {
            let stamp = Stamp::of(&std::fs::metadata(&self.path).ok()?);
            stamp.rest_of_tick().is_none().then(|| stamp.to_bytes().to_vec())
        };
        self.state.get_or_init(look).clone()
    }

    fn check(&self, user: &[u8], pin: &[u8]) -> PinAnswer {
        match entry_of(&self.path, user) {
            Ok(None) => PinAnswer::Unknown,
            Ok(Some((_, Ok(entry)))) if entry.is_of(pin) => PinAnswer::Right,
            Ok(Some((_, Ok(_)))) => PinAnswer::Wrong,
            Ok(Some((number, Err(error)))) => {
                let path = self.path.display();
                self.log.log(
                    Level::Error,
                    format_args!("{path} line {number}: {error}; {REMEDY}, user {}", Quoted(user)),
                );
                PinAnswer::Failed
            }
            Err(fault) => {
                self.log.log(Level::Error, format_args!("{fault}, user {}", Quoted(user)));
                PinAnswer::Failed
            }
        }
    }
}

/// A line's number, from 1, and what it says.
pub type NumberedEntry = (u64, Result<PinEntry, EntryError>);

/// A user's entry: the first, if there are several.
pub fn entry_of(path: &Path, user: &[u8]) -> Result<Option<NumberedEntry>, Fault> {
    let (_, found) = steady::read(path, CREATE, |file| {
        let mut found = None;
        for_each_entry(file, |number, name, field| {
            if found.is_none() && name == user {
                found = Some((number, field.map_or(Err(EntryError::Empty), PinEntry::parse)));
            }
        })?;
        Ok(found)
    })?;
    Ok(found)
}

/// Calls back for each entry with the line's number, the name, and what stands between the name's
/// colon and the next one or the line's end.
pub fn for_each_entry(
    file: &File,
    mut each: impl FnMut(u64, &[u8], Option<&[u8]>),
) -> io::Result<()> {
    let mut number = 0;
    lines::for_each_line(file, |_, line| {
        number += 1;
        if lines::is_ignored(line) {
            return;
        }
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let mut fields = line.split(|&b| b == b':');
        each(number, fields.next().unwrap_or_default(), fields.next());
    })
}
