//! What can go wrong with the files, told so that an admin can act on it.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// A failed operation on a file: what, where, why, and what to do.
#[derive(Clone, Debug)]
pub struct Fault {
    /// "open", "lock", "write", …
    pub operation: &'static str,
    /// The file.
    pub path: PathBuf,
    /// What the system said.
    pub cause: String,
    /// What an admin can do about it.
    pub remedy: &'static str,
}

impl Fault {
    /// From an error of the system; the remedy follows from its kind.
    pub fn new(operation: &'static str, path: &Path, error: impl Into<io::Error>) -> Fault {
        let error = error.into();
        let remedy = match error.kind() {
            io::ErrorKind::NotFound => {
                "create it with `otpgate init`, or correct the path in the server's configuration"
            }
            io::ErrorKind::PermissionDenied => {
                "give the server's user access: `chown` it to that user, or as root run `otpgate check --fix`"
            }
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => "free space on its file system",
            io::ErrorKind::FileTooLarge => "raise the server's file-size limit",
            io::ErrorKind::ReadOnlyFilesystem => "mount its file system read-write",
            _ if error.raw_os_error() == Some(libc::ELOOP) => "replace the symbolic link by a file",
            _ => "see the cause; logins are refused until it works",
        };
        Fault { operation, path: path.to_owned(), cause: plain(error), remedy }
    }

    /// With words of our own.
    pub fn of(operation: &'static str, path: &Path, cause: &str, remedy: &'static str) -> Fault {
        Fault { operation, path: path.to_owned(), cause: cause.to_owned(), remedy }
    }
}

/// "Permission denied" rather than "Permission denied (os error 13)".
fn plain(error: io::Error) -> String {
    let text = error.to_string();
    match text.split_once(" (os error") {
        Some((plain, _)) => plain.to_owned(),
        None => text,
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot {} {}: {}; {}", self.operation, self.path.display(), self.cause, self.remedy)
    }
}

impl std::error::Error for Fault {}
