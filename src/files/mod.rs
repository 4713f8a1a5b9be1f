//! What all files have in common that are read or written at the word of a configuration or an
//! admin.
//!
//! - [`mod@open`]: the one way in which they are opened.
//! - [`named`]: whether a name still leads to what it is meant for.
//! - [`stamp`]: what tells one state of a file from another.
//! - [`steady`]: reading what others write.
//! - [`lines`]: text files line by line.
//! - [`access`]: who may do what with a file.
//! - [`accounts`] and [`system`]: whose access it is, and trying out another user's.
//! - [`fault`] and `obstacle`: what goes wrong with files, and why.

pub mod access;
pub mod accounts;
pub mod fault;
pub mod lines;
pub mod named;
pub(crate) mod obstacle;
pub mod open;
pub mod stamp;
pub mod steady;
pub mod system;

use std::path::Path;

/// The directory in which a path's last name is.
pub fn directory_of(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}
