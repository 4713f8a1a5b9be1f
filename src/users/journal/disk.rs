//! The file operations that durability rests on, so that tests can cut them short.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use rustix::fs::FallocateFlags;
use rustix::io::Errno;

use crate::files::lines::read_as_far_as_possible;
use crate::files::stamp::Stamp;

/// A file as the journal uses it.
pub trait Disk {
    /// Reads at an offset; fewer bytes only at the end of the file.
    fn read_at(&self, buffer: &mut [u8], at: u64) -> io::Result<usize>;
    /// Writes at an offset, all of it or an error.
    fn write_all_at(&self, bytes: &[u8], at: u64) -> io::Result<()>;
    /// Makes durable what was written before. After an error, what was written may be lost although
    /// it can be read: it has to be written again before another sync means anything.
    fn sync_data(&self) -> io::Result<()>;
    /// Makes durable what was written before, and the file's size.
    fn sync_all(&self) -> io::Result<()>;
    /// Makes durable that the file is the one of that path.
    fn sync_name(&self, path: &Path) -> io::Result<()>;
    /// Cuts or extends the file.
    fn set_len(&self, len: u64) -> io::Result<()>;
    /// Takes the space for so many bytes from the start on, so that writing them can't lack it. The
    /// size stays.
    fn reserve(&self, len: u64) -> io::Result<()>;
    /// What the file is and how it stands.
    fn stamp(&self) -> io::Result<Stamp>;
}

impl Disk for File {
    fn read_at(&self, buffer: &mut [u8], at: u64) -> io::Result<usize> {
        read_as_far_as_possible(self, buffer, at)
    }
    fn write_all_at(&self, bytes: &[u8], at: u64) -> io::Result<()> {
        FileExt::write_all_at(self, bytes, at)
    }
    fn sync_data(&self) -> io::Result<()> {
        File::sync_data(self)
    }
    fn sync_all(&self) -> io::Result<()> {
        File::sync_all(self)
    }
    fn sync_name(&self, path: &Path) -> io::Result<()> {
        // A directory that we may look into but not list, or that can't be synced: all of its file
        // system, then.
        let all = || Ok(rustix::fs::syncfs(self)?);
        match File::open(path.parent().unwrap_or(Path::new("/"))) {
            Ok(directory) => match rustix::fs::fsync(&directory) {
                Err(Errno::INVAL | Errno::OPNOTSUPP | Errno::NOSYS) => all(),
                synced => Ok(synced?),
            },
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => all(),
            Err(error) => Err(error),
        }
    }
    fn set_len(&self, len: u64) -> io::Result<()> {
        File::set_len(self, len)
    }
    fn reserve(&self, len: u64) -> io::Result<()> {
        if len == 0 {
            return Ok(());
        }
        match rustix::fs::fallocate(self, FallocateFlags::KEEP_SIZE, 0, len) {
            // Where nothing can be reserved, a lack of space shows in the middle. Then the image in
            // the journal says so to all who read, until there is space.
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => Ok(()),
            reserved => Ok(reserved?),
        }
    }
    fn stamp(&self) -> io::Result<Stamp> {
        self.metadata().map(|metadata| Stamp::of(&metadata))
    }
}
