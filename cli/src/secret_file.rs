//! Files that hold secrets: those made here are new ones, for their owner's eyes.

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use zeroize::Zeroizing;

use crate::{Failure, Result};

/// Writes a new file, mode 0600, durably. One that is there already is left alone: its mode is
/// somebody else's, and so may be an open descriptor of it.
pub fn create(path: &Path, content: &[u8]) -> Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(
        |error| match error.kind() {
            std::io::ErrorKind::AlreadyExists => Failure::new(format!(
                "{} already exists; remove it or use another name",
                path.display()
            )),
            _ => Failure::new(format!("cannot make {}: {error}", path.display())),
        },
    )?;
    file.write_all(content).and_then(|()| file.sync_all()).map_err(|error| {
        let _ = std::fs::remove_file(path);
        Failure::new(format!("cannot write {}: {error}", path.display()))
    })
}

/// The first line of a file, without its end.
pub fn read_line(path: &Path) -> Result<Zeroizing<Vec<u8>>> {
    let text = std::fs::read(path).map(Zeroizing::new);
    let text =
        text.map_err(|error| Failure::new(format!("cannot read {}: {error}", path.display())))?;
    let line = text.split(|&b| b == b'\n').next().expect("a first part");
    Ok(Zeroizing::new(line.strip_suffix(b"\r").unwrap_or(line).to_vec()))
}
