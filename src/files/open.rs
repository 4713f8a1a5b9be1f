//! The one way in which files are opened that a configuration or an admin names, and those beside
//! them.
//!
//! A path can lead to anything: a FIFO that nobody writes to, a device that never ends, a sparse
//! file larger than any disk. Whoever reads such a thing waits for ever or runs out of memory, and
//! a web server with it. So opening never blocks, and what was opened is looked at before a byte of
//! it is read: a regular file of at most [`SIZE_MAX`] bytes, or an error that says what it is.

use std::fs::{File, FileType, Metadata, OpenOptions};
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

use crate::files::fault::Fault;

/// Larger files are refused: 4 GiB.
pub const SIZE_MAX: u64 = 4 << 30;

/// What is to be done with the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum To {
    /// It is read.
    Read,
    /// It is read and written.
    Write,
}

/// What becomes of a symbolic link in the place of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Link {
    /// It is followed.
    Follow,
    /// It is refused: the file is ours to make, and a link could lead anywhere.
    Refuse,
}

/// Why a file isn't opened.
#[derive(Debug)]
pub enum Refusal {
    /// The system says so.
    System(To, io::Error),
    /// There is something else.
    NotRegular(&'static str),
    /// It has more than [`SIZE_MAX`] bytes.
    TooLarge,
}

/// Opens a regular file, without ever waiting.
pub fn open(path: &Path, to: To, link: Link) -> Result<File, Refusal> {
    // Rust adds O_CLOEXEC.
    let mut flags = libc::O_NONBLOCK | libc::O_NOCTTY;
    if link == Link::Refuse {
        flags |= libc::O_NOFOLLOW;
    }
    let opened =
        OpenOptions::new().read(true).write(to == To::Write).custom_flags(flags).open(path);
    let refuse = |error| Refusal::System(to, error);
    match opened {
        Ok(file) => {
            let metadata = file.metadata().map_err(refuse)?;
            check(&metadata)?;
            Ok(file)
        }
        // A socket, or a directory that was to be written, fails with words that say nothing of
        // what it is.
        Err(error)
            if matches!(error.raw_os_error(), Some(libc::ENXIO | libc::ENODEV | libc::EISDIR)) =>
        {
            match std::fs::symlink_metadata(path)
                .ok()
                .and_then(|metadata| special(metadata.file_type()))
            {
                Some(what) => Err(Refusal::NotRegular(what)),
                None => Err(refuse(error)),
            }
        }
        Err(error) => Err(refuse(error)),
    }
}

/// Whether a file can be used that is like this.
pub fn check(metadata: &Metadata) -> Result<(), Refusal> {
    match special(metadata.file_type()) {
        Some(what) => Err(Refusal::NotRegular(what)),
        None if metadata.size() > SIZE_MAX => Err(Refusal::TooLarge),
        None => Ok(()),
    }
}

/// What it is, if it is no regular file. A link is whatever it leads to.
fn special(kind: FileType) -> Option<&'static str> {
    match kind {
        _ if kind.is_file() => None,
        _ if kind.is_dir() => Some("a directory"),
        _ if kind.is_fifo() => Some("a FIFO"),
        _ if kind.is_socket() => Some("a socket"),
        _ if kind.is_char_device() || kind.is_block_device() => Some("a device"),
        _ => Some("something else"),
    }
}

impl Refusal {
    /// Whether there is nothing of that name.
    pub fn is_not_found(&self) -> bool {
        matches!(self, Refusal::System(_, error) if error.kind() == io::ErrorKind::NotFound)
    }

    /// The same for an admin.
    pub fn into_fault(self, path: &Path) -> Fault {
        match self {
            Refusal::System(To::Read, error) => Fault::new("open", path, error),
            Refusal::System(To::Write, error) => Fault::new("open for writing", path, error),
            Refusal::NotRegular(what) => Fault::of(
                "use",
                path,
                &format!("it is {what}, not a regular file"),
                "correct the path in the configuration, or put a regular file there",
            ),
            Refusal::TooLarge => Fault::of(
                "use",
                path,
                "it is larger than 4 GiB",
                "correct the path in the configuration, or find out what has filled it",
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;
    use std::time::{Duration, Instant};

    use super::*;

    fn refused(path: &Path, to: To) -> String {
        let begun = Instant::now();
        let fault = open(path, to, Link::Follow).unwrap_err().into_fault(path);
        assert!(begun.elapsed() < Duration::from_secs(1), "{fault}");
        format!("{}; {}", fault.cause, fault.remedy)
    }

    #[test]
    fn what_is_no_regular_file_is_told_by_its_name_at_once() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        rustix::fs::mknodat(
            rustix::fs::CWD,
            path("fifo"),
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR,
            0,
        )
        .unwrap();
        let _socket = UnixListener::bind(path("socket")).unwrap();
        for to in [To::Read, To::Write] {
            for (path, what) in [
                (&*path("fifo"), "a FIFO"),
                (&path("socket"), "a socket"),
                (directory.path(), "a directory"),
                (Path::new("/dev/zero"), "a device"),
                (Path::new("/dev/null"), "a device"),
            ] {
                let words = refused(path, to);
                assert!(
                    words.starts_with(&format!("it is {what}, not a regular file; correct")),
                    "{words}"
                );
            }
        }
    }

    #[test]
    fn four_gibibytes_are_opened_and_a_byte_more_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("sparse");
        let file = File::create(&path).unwrap();
        file.set_len(SIZE_MAX).unwrap();
        open(&path, To::Write, Link::Refuse).unwrap();
        file.set_len(SIZE_MAX + 1).unwrap();
        assert!(refused(&path, To::Read).starts_with("it is larger than 4 GiB; "));
    }

    #[test]
    fn a_link_is_followed_only_where_it_may_be() {
        let directory = tempfile::tempdir().unwrap();
        let (path, link) = (directory.path().join("file"), directory.path().join("link"));
        File::create(&path).unwrap();
        std::os::unix::fs::symlink(&path, &link).unwrap();
        open(&link, To::Read, Link::Follow).unwrap();
        let refusal = open(&link, To::Read, Link::Refuse).unwrap_err();
        assert!(!refusal.is_not_found());
        assert_eq!(refusal.into_fault(&link).remedy, "replace the symbolic link with a file");
        std::fs::remove_file(&path).unwrap();
        assert!(open(&link, To::Read, Link::Follow).unwrap_err().is_not_found());
    }
}
