//! The file beside a users file in which tries are counted: see [`crate::throttle`]. A companion
//! like the others, with a lock of its own, held for some microseconds. Nothing in it is synced:
//! what a power cut takes is counted anew.

use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::companion;
use super::lock::LockedFile;
use crate::files::access::Access;
use crate::files::fault::Fault;
use crate::files::lines::read_as_far_as_possible;
use crate::store::{StoreError, TriesError};
use crate::throttle::Bytes;

/// Who holds the lock for longer, while all others together hold it for less, has been stopped.
const PATIENCE: Duration = Duration::from_secs(1);
const SHORTEST: Duration = Duration::from_micros(50);
const LONGEST: Duration = Duration::from_millis(2);
/// For so long rights that were changed may go unnoticed.
const LOOK_AGAIN: Duration = Duration::from_secs(5);
const REMEDY: &str =
    "run `otpgate check --fix`; until then each process of the server counts for itself";

/// After that it isn't waited for again for a while: every login would wait.
const GIVEN_UP: Duration = Duration::from_secs(1);

/// The file, kept open by this process.
#[derive(Default)]
pub struct TriesFile(Mutex<TriesState>);

#[derive(Default)]
struct TriesState {
    open: Option<Open>,
    given_up: Option<Instant>,
}

struct Open {
    file: File,
    /// An open file that is inherited over `fork` excludes nobody.
    process: rustix::process::Pid,
    since: Instant,
}

impl TriesFile {
    /// Lends the bytes to `work`, which nobody else has meanwhile.
    pub fn with<R>(
        &self,
        users: &Path,
        path: &Path,
        work: impl FnOnce(&mut dyn Bytes) -> io::Result<R>,
    ) -> Result<R, TriesError> {
        // Threads exclude each other by this, processes by the lock.
        let Some(mut state) = self.0.try_lock_for(PATIENCE) else {
            return Err(TriesError::Held(held(path)));
        };
        if state.given_up.is_some_and(|since| since.elapsed() < GIVEN_UP) {
            return Err(TriesError::Held(held(path)));
        }
        let TriesState { open, given_up } = &mut *state;
        let is_usable = |open: &Open| {
            open.process == rustix::process::getpid()
                && open.since.elapsed() < LOOK_AGAIN
                && open.file.metadata().is_ok_and(|metadata| metadata.nlink() == 1)
        };
        if !open.as_ref().is_some_and(is_usable) {
            *open = None;
            let file =
                open_anew(users, path).map_err(|fault| TriesError::Unusable(fault.into()))?;
            let (process, since) = (rustix::process::getpid(), Instant::now());
            *open = Some(Open { file, process, since });
        }
        let file = &open.as_ref().expect("it was just opened").file;
        let Some(_locked) =
            lock(file).map_err(|error| TriesError::Unusable(fault("lock", path, error).into()))?
        else {
            *given_up = Some(Instant::now());
            return Err(TriesError::Held(held(path)));
        };
        work(&mut OfFile(file))
            .map_err(|error| TriesError::Unusable(fault("count tries in", path, error).into()))
    }

    /// Closes it, unless somebody is just using it.
    pub fn close(&self) {
        if let Some(mut state) = self.0.try_lock() {
            state.open = None;
        }
    }
}

fn open_anew(users: &Path, path: &Path) -> Result<File, Fault> {
    let access = Access::at(users).map_err(|error| Fault::new("inspect", users, error))?;
    let opened = companion::open(path, &access)?;
    // What others could write says nothing.
    if opened.is_suspect { companion::renew(path, opened, &access) } else { Ok(opened.file) }
}

fn fault(operation: &'static str, path: &Path, error: io::Error) -> Fault {
    Fault::new(operation, path, error).or(REMEDY)
}

fn held(path: &Path) -> StoreError {
    let cause = "another process has held it for a second";
    StoreError::new(
        "lock",
        path.display().to_string(),
        cause,
        "end that process, or let it continue (see `lslocks`)",
    )
}

/// `None`: somebody holds it.
fn lock(file: &File) -> io::Result<Option<LockedFile<'_>>> {
    let (begun, mut pause) = (Instant::now(), SHORTEST);
    loop {
        match LockedFile::try_lock(file)? {
            None if begun.elapsed() < PATIENCE => std::thread::sleep(pause),
            locked => return Ok(locked),
        }
        pause = (pause * 2).min(LONGEST);
    }
}

struct OfFile<'f>(&'f File);

impl Bytes for OfFile<'_> {
    fn size(&mut self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn read_at(&mut self, at: u64, into: &mut [u8]) -> io::Result<()> {
        read_as_far_as_possible(self.0, into, at).map(drop)
    }

    fn write_at(&mut self, at: u64, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all_at(bytes, at)
    }

    fn grow_to(&mut self, len: u64) -> io::Result<()> {
        use rustix::fs::{FallocateFlags, fallocate};
        match fallocate(self.0, FallocateFlags::empty(), 0, len) {
            Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOSYS) => self.0.set_len(len),
            done => Ok(done?),
        }
    }

    fn empty(&mut self) -> io::Result<()> {
        self.0.set_len(0)
    }
}
