//! What can go wrong with the files, told so that an admin can act on it.

use std::borrow::Cow;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use super::obstacle::{self, Obstacle, Remedy, Wanted};

/// A failed operation on a file: what, where, why, and what to do.
#[derive(Clone, Debug)]
pub struct Fault {
    /// "open", "lock", "write", …
    pub operation: &'static str,
    /// The file.
    pub path: PathBuf,
    /// What the system said, and what was found to be the reason.
    pub cause: String,
    /// What an admin can do about it.
    pub remedy: Cow<'static, str>,
    why: Why,
}

/// How well the cause is known.
#[derive(Clone, Debug)]
enum Why {
    /// By the system's word alone.
    AsTold,
    /// The rights of a file or directory are too few for this user; these commands, each with the
    /// file after it, give more.
    Rights(Vec<String>),
    /// As for [`Why::Rights`], of a directory on the way.
    Way,
    /// It has been found out.
    Found,
}

impl Fault {
    /// From an error of the system; the remedy follows from what is found to be its cause.
    pub fn new(operation: &'static str, path: &Path, error: impl Into<io::Error>) -> Fault {
        let error = error.into();
        if let Some(Obstacle { cause, remedy }) =
            obstacle::find(path, Wanted::of(operation), &error)
        {
            let cause = format!("{}: {cause}", plain(&error));
            let (remedy, why) = match remedy {
                Remedy::Rights(commands) => {
                    (with_paths(&commands, &[path]).into(), Why::Rights(commands))
                }
                Remedy::Way(text) => (text.into(), Why::Way),
                Remedy::Text(text) => (text.into(), Why::Found),
            };
            return Fault { operation, path: path.to_owned(), cause, remedy, why };
        }
        let mut cause = plain(&error);
        let (remedy, why) = match error.kind() {
            io::ErrorKind::NotFound => match std::fs::read_link(path) {
                Ok(target) => {
                    cause = format!(
                        "it is a symbolic link to {}, which doesn't exist",
                        target.display()
                    );
                    ("correct the link, or remove it and run `otpgate init`", Why::Found)
                }
                Err(_) => (
                    "create it with `otpgate init`, or correct the path in the server's configuration",
                    Why::AsTold,
                ),
            },
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                ("free space on its file system", Why::Found)
            }
            io::ErrorKind::FileTooLarge => ("raise the server's file-size limit", Why::Found),
            _ if error.raw_os_error() == Some(libc::ELOOP) => {
                ("replace the symbolic link with a file", Why::Found)
            }
            _ => ("fix the cause; logins are refused until then", Why::AsTold),
        };
        Fault { operation, path: path.to_owned(), cause, remedy: remedy.into(), why }
    }

    /// With words of our own.
    pub fn of(
        operation: &'static str,
        path: &Path,
        cause: &str,
        remedy: impl Into<Cow<'static, str>>,
    ) -> Fault {
        let (cause, remedy) = (cause.to_owned(), remedy.into());
        Fault { operation, path: path.to_owned(), cause, remedy, why: Why::Found }
    }

    /// With another remedy, unless what was found to be the cause has one of its own.
    pub fn or(self, remedy: &'static str) -> Fault {
        match self.why {
            Why::AsTold | Why::Rights(_) => Fault { remedy: remedy.into(), ..self },
            Why::Way | Why::Found => self,
        }
    }

    /// With another remedy, whatever the cause is.
    pub(crate) fn with_remedy(self, remedy: &'static str) -> Fault {
        Fault { remedy: remedy.into(), ..self }
    }

    /// Whether it is this user that may not, where another may.
    pub fn is_for_want_of_rights(&self) -> bool {
        matches!(self.why, Why::Rights(_) | Why::Way)
    }

    /// Whether the other one has the same cause and goes with it.
    pub(crate) fn is_alike(&self, other: &Fault) -> bool {
        (&self.cause, &self.remedy) == (&other.cause, &other.remedy)
    }

    /// The same for files that are in the same state: what gives rights is for all of them.
    pub(crate) fn also_of(self, others: &[PathBuf]) -> Fault {
        match &self.why {
            Why::Rights(commands) => {
                let paths: Vec<&Path> =
                    [&self.path].into_iter().chain(others).map(PathBuf::as_path).collect();
                Fault { remedy: with_paths(commands, &paths).into(), ..self }
            }
            _ => self,
        }
    }
}

fn with_paths(commands: &[String], paths: &[&Path]) -> String {
    let paths: String = paths.iter().map(|path| format!(" {}", obstacle::in_shell(path))).collect();
    let commands: Vec<String> =
        commands.iter().map(|command| format!("{command}{paths}")).collect();
    format!("`{}`", commands.join(" && "))
}

/// "Permission denied" rather than "Permission denied (os error 13)".
fn plain(error: &io::Error) -> String {
    let text = error.to_string();
    match text.split_once(" (os error") {
        Some((plain, _)) => plain.to_owned(),
        None => text,
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "cannot {} {}: {}; {}",
            self.operation,
            self.path.display(),
            self.cause,
            self.remedy
        )
    }
}

impl std::error::Error for Fault {}
