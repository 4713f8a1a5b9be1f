//! Reading a file that others write while servers run (a PIN file, a group file): as it was at one
//! moment, or not at all.

use std::fs::{File, Metadata};
use std::io;
use std::path::Path;

use super::fault::Fault;
use super::open::{self, Link, Refusal, To};
use super::stamp::Stamp;

const READ_TRIES: u32 = 5;

/// Reads a file with `work`, which runs again if the file has changed meanwhile. `create`: what to
/// do if there is none. The stamp is that of what was read.
pub fn read<T>(
    path: &Path,
    create: &'static str,
    mut work: impl FnMut(&File) -> io::Result<T>,
) -> Result<(Stamp, T), Fault> {
    let fault = |operation| move |cause| fault(operation, path, create, cause);
    for _ in 0..READ_TRIES {
        let file = open(path, create)?;
        let stamp = || file.metadata().map(|metadata| Stamp::of(&metadata));
        let before = stamp().map_err(fault("inspect"))?;
        let read = work(&file).map_err(fault("read"))?;
        if stamp().map_err(fault("inspect"))? == before {
            return Ok((before, read));
        }
    }
    Err(Fault::of(
        "read",
        path,
        "it keeps changing while it is read",
        "find the program that keeps rewriting it",
    ))
}

/// Opens the file, which has to be a regular one: a pipe would hold up whoever reads it.
fn open(path: &Path, create: &'static str) -> Result<File, Fault> {
    open::open(path, To::Read, Link::Follow).map_err(|refusal| match refusal {
        Refusal::System(_, cause) => fault("open", path, create, cause),
        other => other.into_fault(path),
    })
}

/// What the system says of a file that can be opened.
pub fn metadata(path: &Path, create: &'static str) -> Result<Metadata, Fault> {
    open(path, create)?.metadata().map_err(|cause| fault("inspect", path, create, cause))
}

/// `otpgate` makes no such files, so what an admin can do differs.
fn fault(operation: &'static str, path: &Path, create: &'static str, cause: io::Error) -> Fault {
    let kind = cause.kind();
    let fault = Fault::new(operation, path, cause);
    match kind {
        io::ErrorKind::NotFound => fault.or(create),
        io::ErrorKind::PermissionDenied => fault.or("let the server's user read it"),
        _ => fault,
    }
}
