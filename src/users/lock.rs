//! Who may write: exclusive locks on the lock files and on the users file itself.
//!
//! Three kinds of parties share the file. Ours take all locks below, in this order; builds of
//! mod_authn_otp lock `<path>.lock` by `flock` or by a record lock, and its `otplock` does too:
//!
//! 1. `<resolved path>.lock`, 2. `<configured path>.lock` if that differs, each by `flock` and then
//!    by an open-file-description lock; 3. the users file itself by an open-file-description lock.
//!
//! Each file is opened anew for every acquisition, because an open file inherited over `fork`
//! excludes nobody.

use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::FlockOperation;

use super::companion::{self, CompanionContent};
use crate::files::access::Access;
use crate::files::fault::Fault;
use crate::files::named;
use crate::files::open::{Link, To, open};
use crate::files::system::ofd_lock;
use crate::throttle;

/// How long a lock is waited for before the login is refused.
pub const PATIENCE: Duration = Duration::from_secs(5);

/// The paths that belong to a users file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Paths {
    /// As in the server's configuration.
    pub configured: PathBuf,
    /// With all symbolic links followed.
    pub resolved: PathBuf,
}

impl Paths {
    /// Follows the links of a configured path.
    pub fn resolve(configured: &Path) -> Result<Paths, Fault> {
        let resolved = std::fs::canonicalize(configured)
            .map_err(|error| Fault::new("find", configured, error))?;
        Ok(Paths { configured: configured.to_owned(), resolved })
    }

    /// The lock files, in the order in which they are locked.
    pub fn lock_files(&self) -> Vec<PathBuf> {
        let mut files = vec![with_suffix(&self.resolved, ".lock")];
        let configured = with_suffix(&self.configured, ".lock");
        // The same file under two names (a linked directory) would exclude ourselves.
        let same = match (std::fs::canonicalize(&configured), std::fs::canonicalize(&files[0])) {
            (Ok(a), Ok(b)) => a == b,
            _ => {
                parent_of(&configured).zip(parent_of(&self.resolved)).is_some_and(|(a, b)| a == b)
                    && self.configured.file_name() == self.resolved.file_name()
            }
        };
        if !same {
            files.push(configured);
        }
        files
    }

    /// All companions.
    pub fn companions(&self) -> Vec<(PathBuf, CompanionContent)> {
        let locks = self.lock_files().into_iter().map(|path| (path, CompanionContent::Nothing));
        let index = (self.index(), CompanionContent::Rebuilt(b"OTPINDX"));
        let throttle = (self.throttle(), CompanionContent::Rebuilt(throttle::KIND));
        let secret = (self.secret(), CompanionContent::Secret);
        locks
            .chain([(self.journal(), CompanionContent::Kept(b"OTPGATE")), index, throttle, secret])
            .collect()
    }

    /// The index that processes share.
    pub fn index(&self) -> PathBuf {
        with_suffix(&self.resolved, ".index")
    }

    /// Where tries are counted.
    pub fn throttle(&self) -> PathBuf {
        with_suffix(&self.resolved, ".throttle")
    }

    /// What cookies are made with.
    pub fn secret(&self) -> PathBuf {
        with_suffix(&self.resolved, ".secret")
    }

    /// The journal.
    pub fn journal(&self) -> PathBuf {
        with_suffix(&self.resolved, ".journal")
    }
}

fn parent_of(path: &Path) -> Option<PathBuf> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    std::fs::canonicalize(parent.unwrap_or(Path::new("."))).ok()
}

/// `path` with something appended to its last name.
pub fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

/// All locks held; the users file open for reading and writing.
pub struct Locked {
    /// The users file that the paths named when the locks were taken.
    pub users: File,
    /// Where it is.
    pub paths: Paths,
    /// Who may use it, and its companions.
    pub(super) access: Access,
    /// The lock files, with the paths they are to stay under.
    files: Vec<(PathBuf, File)>,
}

impl Locked {
    /// Takes all locks, waiting up to [`PATIENCE`].
    pub fn acquire(configured: &Path) -> Result<Locked, Fault> {
        Locked::acquire_within(configured, &[], Some(PATIENCE))
    }

    /// The same for a file that this process knows by other names as well: builds of mod_authn_otp
    /// that know it by one of them lock beside that name.
    pub(super) fn acquire_by_all_names(
        configured: &Path,
        names: &[PathBuf],
    ) -> Result<Locked, Fault> {
        Locked::acquire_within(configured, names, Some(PATIENCE))
    }

    /// Takes all locks, waiting for whoever holds them: for somebody who would rather wait than be
    /// refused.
    pub fn acquire_however_long(configured: &Path) -> Result<Locked, Fault> {
        Locked::acquire_within(configured, &[], None)
    }

    fn acquire_within(
        configured: &Path,
        names: &[PathBuf],
        patience: Option<Duration>,
    ) -> Result<Locked, Fault> {
        let mut wait = Wait::new(patience);
        loop {
            let paths = Paths::resolve(configured)?;
            // Before a lock is made beside it: nothing is ever made beside what is no users file.
            let users = open(&paths.resolved, To::Write, Link::Refuse)
                .map_err(|refusal| refusal.into_fault(&paths.resolved))?;
            let access = Access::of(&users)
                .map_err(|error| Fault::new("inspect", &paths.resolved, error))?;
            let mut locked = Locked { files: Vec::new(), users, paths, access };
            let mut replaced = false;
            for path in locked.paths.lock_files() {
                let opened = companion::open(&path, &locked.access)?;
                let is_wide =
                    opened.is_suspect && !companion::narrow(&path, &opened.file, &locked.access)?;
                let file = opened.file;
                let is_network = is_on_network(&file);
                // Registered before it is locked, so that whatever is held gets released.
                locked.files.push((path, file));
                let (path, file) = &locked.files[locked.files.len() - 1];
                wait.until(path, || Ok((is_network || try_flock(file)?) && try_ofd_lock(file)?))?;
                if is_wide && is_named(file, path).unwrap_or(false) {
                    // Held, so nobody else is at it; whoever waits for it finds the new one.
                    companion::replace(path, file, &locked.access)?;
                    replaced = true;
                }
            }
            if replaced {
                continue;
            }
            for name in names.iter().filter(|&name| name != configured) {
                let Some((path, file)) = locked.lock_file_of(name) else { continue };
                let is_network = is_on_network(&file);
                locked.files.push((path, file));
                let (path, file) = &locked.files[locked.files.len() - 1];
                wait.until(path, || Ok((is_network || try_flock(file)?) && try_ofd_lock(file)?))?;
            }
            let path = locked.paths.resolved.clone();
            wait.until(&path, || try_ofd_lock(&locked.users))?;
            if locked.names_the_file()? && locked.names_its_locks() {
                return Ok(locked);
            }
            named::look(configured)?;
            // Replaced while we waited: lock what is there now.
            wait.pause(&path)?;
        }
    }

    /// The lock file beside another name of the file, if it is one to wait for: whoever may make a
    /// link to the users file must not hold up those who use it by other names. Where it can't be
    /// had, logins by that name say so.
    fn lock_file_of(&self, name: &Path) -> Option<(PathBuf, File)> {
        if std::fs::canonicalize(name).ok()? != self.paths.resolved {
            return None;
        }
        let place = std::fs::metadata(name.parent()?).ok()?;
        let ourselves = rustix::process::geteuid().as_raw();
        if place.mode() & 0o002 != 0 || ![0, self.access.uid, ourselves].contains(&place.uid()) {
            return None;
        }
        let path = with_suffix(name, ".lock");
        let file =
            companion::open(&path, &self.access).ok().filter(|opened| !opened.is_suspect)?.file;
        // The same file under two names would exclude ourselves.
        let is_new = self.files.iter().all(|(known, _)| !is_named(&file, known).unwrap_or(true));
        is_new.then_some((path, file))
    }

    fn names_the_file(&self) -> Result<bool, Fault> {
        let path = &self.paths.configured;
        is_named(&self.users, path).map_err(|error| Fault::new("inspect", path, error))
    }

    /// Whether others who want the lock meet the files that we hold. A lock file that is gone keeps
    /// nobody out.
    fn names_its_locks(&self) -> bool {
        self.files.iter().all(|(path, file)| is_named(file, path).unwrap_or(false))
    }

    /// `Err` if somebody has removed or replaced the users file or a lock while it was held:
    /// another party may have been let in, and what was written may be gone with the old file.
    pub fn has_held(&self) -> Result<(), Fault> {
        if self.names_the_file()? && self.names_its_locks() {
            return Ok(());
        }
        Err(Fault::of(
            "rely on the lock of",
            &self.paths.configured,
            "the file or its lock was removed or replaced while the lock was held",
            "find the program that does this: replace the users file only under its lock, and leave the lock file in place",
        ))
    }
}

/// Not if it has no link left: it is named by a mount alone.
fn is_named(file: &File, path: &Path) -> io::Result<bool> {
    let (here, ours) = (std::fs::metadata(path)?, file.metadata()?);
    Ok((here.dev(), here.ino()) == (ours.dev(), ours.ino()) && here.nlink() > 0)
}

impl Drop for Locked {
    fn drop(&mut self) {
        // Closing is not enough: a child forked meanwhile keeps the open file, and with it the
        // lock, alive.
        ofd_unlock(&self.users);
        for (_, file) in self.files.iter().rev() {
            ofd_unlock(file);
            let _ = rustix::fs::flock(file, FlockOperation::Unlock);
        }
    }
}

/// Why nobody can lock on the file system of a lock file; `None`: it can be locked, or somebody has
/// it locked.
pub(super) fn cannot_be_locked(file: &File) -> Option<io::Error> {
    let tried = if is_on_network(file) { Ok(false) } else { try_flock(file) };
    let tried = tried.and_then(|_| try_ofd_lock(file));
    ofd_unlock(file);
    let _ = rustix::fs::flock(file, FlockOperation::Unlock);
    tried.err()
}

/// A single file locked, for work that doesn't touch the users file.
pub(super) struct LockedFile<'f>(&'f File);

impl<'f> LockedFile<'f> {
    /// Takes the lock if nobody has it.
    pub(super) fn try_lock(file: &'f File) -> io::Result<Option<LockedFile<'f>>> {
        Ok(try_ofd_lock(file)?.then_some(LockedFile(file)))
    }
}

impl Drop for LockedFile<'_> {
    fn drop(&mut self) {
        // As above.
        ofd_unlock(self.0);
    }
}

/// There `flock` is a record lock in disguise, and would stand in our own way.
fn is_on_network(file: &File) -> bool {
    const NFS: i64 = 0x6969;
    const SMB: [i64; 3] = [0x517b, 0xff53_4d42, 0xfe53_4d42];
    kind_of_file_system(file).is_some_and(|kind| kind == NFS || SMB.contains(&kind))
}

/// The magic number of a file's file system, see statfs(2).
pub(super) fn kind_of_file_system(file: &File) -> Option<i64> {
    let fs = rustix::fs::fstatfs(file).ok()?;
    #[allow(clippy::unnecessary_cast)] // the field's type differs between architectures
    Some(fs.f_type as i64)
}

fn try_flock(file: &File) -> io::Result<bool> {
    match rustix::fs::flock(file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(true),
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

fn try_ofd_lock(file: &File) -> io::Result<bool> {
    match ofd_lock(file, libc::F_WRLCK) {
        Ok(()) => Ok(true),
        Err(error) if matches!(error.raw_os_error(), Some(libc::EAGAIN | libc::EACCES)) => {
            Ok(false)
        }
        Err(error) => Err(error),
    }
}

fn ofd_unlock(file: &File) {
    let _ = ofd_lock(file, libc::F_UNLCK);
}

/// Polling with growing pauses up to a deadline: a blocking lock call could not be given up.
struct Wait {
    /// `None`: never.
    deadline: Option<Instant>,
    pause: Duration,
}

impl Wait {
    const SHORTEST: Duration = Duration::from_micros(50);
    const LONGEST: Duration = Duration::from_millis(4);

    fn new(patience: Option<Duration>) -> Wait {
        Wait { deadline: patience.map(|patience| Instant::now() + patience), pause: Self::SHORTEST }
    }

    fn until(
        &mut self,
        path: &Path,
        mut ready: impl FnMut() -> io::Result<bool>,
    ) -> Result<(), Fault> {
        while !ready().map_err(|error| Fault::new("lock", path, error))? {
            self.pause(path)?;
        }
        self.pause = Self::SHORTEST;
        Ok(())
    }

    fn pause(&mut self, path: &Path) -> Result<(), Fault> {
        if self.deadline.is_some_and(|deadline| Instant::now() >= deadline) {
            return Err(Fault::of(
                "lock",
                path,
                "another program has held it for 5 seconds",
                "end that program (see `fuser` or `lslocks`)",
            ));
        }
        std::thread::sleep(self.pause);
        self.pause = (self.pause * 2).min(Self::LONGEST);
        Ok(())
    }
}
