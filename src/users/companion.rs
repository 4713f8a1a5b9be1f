//! The files beside a users file that belong to it: lock, journal, index. Each has the users file's
//! whole authority (who writes the journal writes the users file), so each is guarded like it,
//! here.
//!
//! Whoever opens one looks first, at the open file: a regular file with one name, owned by somebody
//! who may write the users file, with no right for anybody that the users file doesn't give them.
//! What gives more is narrowed, and its content is kept only if whoever could write it could write
//! the users file. A new one is made right before it gets its name. When the users file is narrowed
//! or widened later, its companions follow.

use std::cell::RefCell;
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{AtFlags, CWD, Gid, Mode, OFlags, RenameFlags, Uid, XattrFlags};
use rustix::io::Errno;
use zeroize::Zeroizing;

use super::journal::Disk;
use super::leftovers;
use super::lock::with_suffix;
use super::secret;
use crate::files::access::{Access, LIST, Who};
use crate::files::directory_of;
use crate::files::fault::Fault;
use crate::files::lines::read_as_far_as_possible;
use crate::files::open::{self, Link, Refusal, To};
use crate::files::system::{file_groups, file_uid};

/// While another process makes or replaces one, it has two names or none for a moment.
const TRIES: u32 = 20;
const PAUSE: Duration = Duration::from_millis(2);

const MAKE_REMEDY: &str =
    "create it once with `otpgate init` as root, or let the server's user write its directory";
const FOREIGN_REMEDY: &str = "find out who created it; if it is yours, `chown` it to the users file's owner, else remove it; then `otpgate init` as root";
const RECREATED: &str = "recreated, only for those who may use the users file";
const SECRET_RECREATED: &str =
    "a new one was made, only for those who may use the users file, and all cookies of it end";
const WIDE_REMEDY: &str = "as root run `otpgate check --fix`";

/// What is in a companion, and what it is worth. The beginning is that of any version, without its
/// number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CompanionContent {
    /// Nothing: it is there to be locked.
    Nothing,
    /// What may have to be recovered. It begins so.
    Kept(&'static [u8]),
    /// What is made again from the users file. It begins so.
    Rebuilt(&'static [u8]),
    /// Random bytes that were drawn when it was made ([`super::secret`]).
    Secret,
}

impl CompanionContent {
    /// What one holds that is made.
    fn fresh(self) -> io::Result<Zeroizing<Vec<u8>>> {
        match self {
            CompanionContent::Secret => secret::fresh(),
            _ => Ok(Zeroizing::default()),
        }
    }
}

/// One that was opened, and found to be ours.
pub(super) struct OpenedCompanion {
    pub file: File,
    /// Somebody can write it who can't write the users file. What is in it may be theirs: [`renew`]
    /// it.
    pub is_suspect: bool,
    /// That somebody is in the users file's group.
    pub is_the_groups: bool,
}

/// Opens one for reading and writing, or makes it. Rights that are too few are given, and rights to
/// read that are too many taken away, where this user can; one that too many can write is left to
/// [`renew`].
pub(super) fn open(path: &Path, users: &Access) -> Result<OpenedCompanion, Fault> {
    for tries in 0..TRIES {
        let file = match open_for_update(path) {
            Ok(file) => file,
            Err(refusal) if refusal.is_not_found() => {
                create(path, users, CompanionContent::Nothing)?;
                continue;
            }
            // Another process may just be giving it another group, or list.
            Err(Refusal::System(_, error))
                if error.kind() == io::ErrorKind::PermissionDenied && tries < 3 =>
            {
                std::thread::sleep(PAUSE);
                continue;
            }
            Err(refusal) => return Err(refused(refusal, path)),
        };
        let Some(judged) = judge(&file, path, users)? else {
            std::thread::sleep(PAUSE);
            continue;
        };
        let CompanionState { access, is_suspect, is_too_wide, is_the_groups } = judged;
        if is_suspect || is_right(&access, users) {
            return Ok(OpenedCompanion { file, is_suspect, is_the_groups });
        }
        let done = may_change(&access) && put_right(&file, users, false).is_ok();
        let is_too_wide = is_too_wide && !(done && is_narrow(&file, path, users)?);
        if access.beyond(users).anything && !is_too_wide {
            notice(path, &access, "now only for those who may use the users file");
        }
        // One that isn't ours to narrow may be ours to replace.
        return Ok(OpenedCompanion { file, is_suspect: is_too_wide, is_the_groups });
    }
    Err(several_names(path))
}

/// Opens one for reading if it is there and nothing has to be done about it. `None`: [`open`] it,
/// under the lock.
pub(super) fn look(path: &Path, users: &Access) -> Result<Option<File>, Fault> {
    let file = match open::open(path, To::Read, Link::Refuse) {
        Ok(file) => file,
        Err(refusal) if refusal.is_not_found() => return Ok(None),
        Err(refusal) => return Err(refused(refusal, path)),
    };
    Ok(judge(&file, path, users)?.filter(|judged| !judged.is_too_wide).map(|_| file))
}

/// Whether a file beside the users file is one that somebody has left who may write that.
pub(super) fn was_left_by_one_of_us(file: &File, path: &Path, users: &Access) -> bool {
    judge(file, path, users).is_ok_and(|judged| judged.is_some())
}

/// Puts a new and empty one in the place of one that others could write: they may still have it
/// open. Where this user can't, it is emptied and narrowed.
pub(super) fn renew(path: &Path, opened: OpenedCompanion, users: &Access) -> Result<File, Fault> {
    let old = Access::of(&opened.file).map_err(|error| Fault::new("inspect", path, error))?;
    let replaced = put_new(path, users, CompanionContent::Nothing)
        .map_err(|error| Fault::new("replace", path, error))
        .and_then(|()| open_for_update(path).map_err(|refusal| refused(refusal, path)));
    let file = match replaced {
        Ok(file) => file,
        Err(_) if may_change(&old) => {
            let emptied = opened
                .file
                .set_len(0)
                .and_then(|()| put_right(&opened.file, users, false))
                .and_then(|()| opened.file.set_len(0));
            emptied.map_err(|error| Fault::new("narrow", path, error))?;
            opened.file
        }
        Err(_) => return Err(too_wide(path)),
    };
    if judge(&file, path, users)?.is_none_or(|judged| judged.is_too_wide) {
        return Err(too_wide(path));
    }
    notice(path, &old, RECREATED);
    Ok(file)
}

/// Opens the secret for reading under the lock, or makes it. One that others could read is put
/// aside for a new one.
pub(super) fn open_secret(path: &Path, users: &Access) -> Result<File, Fault> {
    for _ in 0..TRIES {
        let file = match open::open(path, To::Read, Link::Refuse) {
            Ok(file) => file,
            Err(refusal) if refusal.is_not_found() => {
                create(path, users, CompanionContent::Secret)?;
                continue;
            }
            Err(refusal) => return Err(refused(refusal, path)),
        };
        let Some(judged) = judge(&file, path, users)? else {
            std::thread::sleep(PAUSE);
            continue;
        };
        if !judged.is_too_wide {
            return Ok(file);
        }
        put_new(path, users, CompanionContent::Secret).map_err(|_| too_wide(path))?;
        notice(path, &judged.access, SECRET_RECREATED);
    }
    Err(several_names(path))
}

/// Puts a new one in the place of what is there.
pub(super) fn put_new(path: &Path, users: &Access, content: CompanionContent) -> io::Result<()> {
    let temporary = make(path, users, content)?;
    let renamed = rustix::fs::rename(&temporary, path);
    let _ = rustix::fs::unlink(&temporary);
    renamed?;
    sync_name(path, content)
}

/// What is found again isn't to be something else after a crash.
fn sync_name(path: &Path, content: CompanionContent) -> io::Result<()> {
    match content {
        CompanionContent::Secret => Disk::sync_name(&File::open(path)?, path),
        _ => Ok(()),
    }
}

/// Puts a new one in the place of one that this user can't narrow.
pub(super) fn replace(path: &Path, file: &File, users: &Access) -> Result<(), Fault> {
    let old = Access::of(file).map_err(|error| Fault::new("inspect", path, error))?;
    put_new(path, users, CompanionContent::Nothing).map_err(|_| too_wide(path))?;
    notice(path, &old, RECREATED);
    Ok(())
}

/// Narrows one in which nothing is stored. False: this user can't.
pub(super) fn narrow(path: &Path, file: &File, users: &Access) -> Result<bool, Fault> {
    let fault = |error| Fault::new("narrow", path, error);
    let old = Access::of(file).map_err(fault)?;
    if !may_change(&old) || put_right(file, users, false).is_err() {
        return Ok(false);
    }
    let is_narrow = is_narrow(file, path, users)?;
    if is_narrow {
        notice(path, &old, "now only for those who may use the users file");
    }
    Ok(is_narrow)
}

fn is_narrow(file: &File, path: &Path, users: &Access) -> Result<bool, Fault> {
    let now = Access::of(file).map_err(|error| Fault::new("inspect", path, error))?;
    Ok(!now.beyond(users).anything)
}

/// What [`open`] would refuse or have to change, as this user; for a configuration test, which
/// changes nothing.
pub(super) fn inspect(path: &Path, users: &Access) -> Result<Inspected, Fault> {
    let file = match open_for_update(path) {
        Ok(file) => file,
        Err(refusal) if refusal.is_not_found() => return Ok(Inspected::Missing),
        Err(refusal) => return Err(refused(refusal, path)),
    };
    let judged = judge(&file, path, users)?.ok_or_else(|| several_names(path))?;
    if !judged.is_too_wide {
        return Ok(Inspected::Right);
    }
    if may_change(&judged.access) || can_create_beside(path) {
        return Ok(Inspected::TooWide(judged.access.mode));
    }
    Err(too_wide(path))
}

/// What a companion is like.
pub(super) enum Inspected {
    Missing,
    Right,
    /// It will be narrowed by the next login.
    TooWide(u32),
}

/// For `otpgate init` and `otpgate check --fix`: makes one, with the rights of whoever `as_maker`
/// acts as, and gives it to those who have the users file.
pub fn mend(
    path: &Path,
    users: &Access,
    content: CompanionContent,
    as_maker: impl Fn(&mut dyn FnMut() -> Result<(), Fault>) -> Result<(), Fault>,
) -> Result<CompanionMended, Fault> {
    let inspect = |error| Fault::new("inspect", path, error);
    let closed = users.without_others();
    let users = if content == CompanionContent::Secret { &closed } else { users };
    let was_there = path.symlink_metadata().is_ok();
    let mut is_new = !was_there;
    if is_new {
        as_maker(&mut || create(path, users, content))?;
    }
    for _ in 0..TRIES {
        let file = open_for_update(path).map_err(|refusal| refused(refusal, path))?;
        let Some(judged) = judge(&file, path, users)? else {
            std::thread::sleep(PAUSE);
            continue;
        };
        let CompanionState { access: old, is_suspect, is_too_wide, .. } = judged;
        let is_ours = holds(&file, content).map_err(inspect)?;
        if was_there && !is_ours && !is_right(&old, users) {
            let cause = "it is too open or another user's, and otpgate didn't write it";
            return Err(Fault::of(
                "change the rights to",
                path,
                cause,
                "find out who put it there, and remove it",
            ));
        }
        let is_suspect = is_suspect && !is_new;
        // Who could read a secret has it.
        let is_told = content == CompanionContent::Secret && is_too_wide && !is_new;
        if is_told || is_suspect && matches!(content, CompanionContent::Rebuilt(_)) {
            as_maker(&mut || {
                put_new(path, users, content).map_err(|error| Fault::new("replace", path, error))
            })?;
            let done = if is_told { SECRET_RECREATED } else { RECREATED };
            notice(path, &old, done);
            is_new = true;
            continue;
        }
        if is_suspect && matches!(content, CompanionContent::Kept(_)) {
            // Made anew by the next who locks: what is in it may have to be recovered first.
            if old.uid == 0 && file_uid() == 0 {
                let owner = Some(Uid::from_raw(users.uid));
                rustix::fs::fchown(&file, owner, None)
                    .map_err(|error| Fault::new("change the owner of", path, error))?;
            }
        } else if file_uid() == 0 && old.uid != users.uid
            || may_change(&old) && !is_right(&old, users)
        {
            put_right(&file, users, true)
                .map_err(|error| Fault::new("change the rights to", path, error))?;
        }
        let new = Access::of(&file).map_err(inspect)?;
        return Ok(CompanionMended { was_there, is_new, old, new });
    }
    Err(several_names(path))
}

/// What [`mend`] has done.
pub struct CompanionMended {
    /// It didn't have to be made.
    pub was_there: bool,
    /// It is another one than before.
    pub is_new: bool,
    /// Its rights before,
    pub old: Access,
    /// and after.
    pub new: Access,
}

fn holds(file: &File, content: CompanionContent) -> io::Result<bool> {
    if content == CompanionContent::Secret {
        return secret::is_whole(file);
    }
    let (CompanionContent::Kept(start) | CompanionContent::Rebuilt(start)) = content else {
        return Ok(file.metadata()?.len() == 0);
    };
    let mut bytes = vec![0; start.len()];
    let len = read_as_far_as_possible(file, &mut bytes, 0)?;
    // Made and never written, or just cleared.
    Ok(bytes.iter().zip(start).take(len).all(|(&byte, &ours)| byte == 0 || byte == ours))
}

fn refused(refusal: Refusal, path: &Path) -> Fault {
    let is_of_no_use = matches!(refusal, Refusal::NotRegular(_) | Refusal::TooLarge);
    let fault = refusal.into_fault(path);
    if is_of_no_use {
        return fault.with_remedy("remove it, then run `otpgate init`");
    }
    // They follow the users file.
    if fault.is_for_want_of_rights() { fault.or(WIDE_REMEDY) } else { fault }
}

fn open_for_update(path: &Path) -> Result<File, Refusal> {
    open::open(path, To::Write, Link::Refuse)
}

/// Looks at one that is open. `None`: it is just being made or replaced.
fn judge(file: &File, path: &Path, users: &Access) -> Result<Option<CompanionState>, Fault> {
    let inspect = |error| Fault::new("inspect", path, error);
    let metadata = file.metadata().map_err(inspect)?;
    if metadata.nlink() != 1 {
        // A process that was killed while it made the file has left another name.
        leftovers::remove_other_name(path, &metadata);
        if file.metadata().map_err(inspect)?.nlink() != 1 {
            return Ok(None);
        }
    }
    let access = Access::of(file).map_err(inspect)?;
    let directory = || Access::at(directory_of(path)).ok();
    let is_trusted = is_owned_by_one_of_us(&access, users, directory);
    // Whoever owns the directory can put anything in the users file's place as well, but not read
    // it.
    if !is_trusted && directory().is_none_or(|directory| directory.uid != access.uid) {
        let cause =
            format!("it belongs to user {}, who isn't an owner of the users file", access.uid);
        return Err(Fault::of("use", path, &cause, FOREIGN_REMEDY));
    }
    let beyond = access.beyond(users);
    Ok(Some(CompanionState {
        is_suspect: beyond.write || !is_trusted,
        is_too_wide: beyond.anything || !is_trusted,
        is_the_groups: beyond.is_the_groups && is_trusted,
        access,
    }))
}

/// What was found out about one that may be used, if not as it is.
struct CompanionState {
    access: Access,
    /// Somebody can write it who can't write the users file.
    is_suspect: bool,
    /// Or read it.
    is_too_wide: bool,
    /// That somebody is in the users file's group.
    is_the_groups: bool,
}

fn is_owned_by_one_of_us(
    access: &Access,
    users: &Access,
    directory: impl Fn() -> Option<Access>,
) -> bool {
    if [0, users.uid].contains(&access.uid) {
        return true;
    }
    if access.uid == file_uid() && can_write_users(access.uid, users) {
        return true;
    }
    access.gid == users.gid
        && directory().is_some_and(|directory| users.is_everybodys_who_writes(&directory))
}

/// Ourselves, whose groups the system knows.
fn can_write_users(uid: u32, users: &Access) -> bool {
    users.may_be_written_by(Who::User(uid))
        || file_groups().into_iter().any(|gid| users.may_be_written_by(Who::Group(gid)))
}

/// Whether this user can make a file there.
pub(super) fn can_create_beside(path: &Path) -> bool {
    try_to_create_beside(path).is_ok()
}

/// What would become of it if this user made a file there.
pub(super) fn try_to_create_beside(path: &Path) -> Result<(), Fault> {
    // EACCESS: with the identity for files, not the process's own.
    let access = rustix::fs::Access::WRITE_OK | rustix::fs::Access::EXEC_OK;
    rustix::fs::accessat(CWD, directory_of(path), access, AtFlags::EACCESS)
        .map_err(|error| Fault::new("create", path, error).or(MAKE_REMEDY))
}

/// Whether one that this user makes would be taken for ours by everybody who has the users file.
pub(super) fn can_be_made_right(path: &Path, users: &Access) -> bool {
    [0, users.uid].contains(&file_uid())
        || Access::at(directory_of(path))
            .is_ok_and(|directory| users.is_everybodys_who_writes(&directory))
}

fn may_change(access: &Access) -> bool {
    [0, access.uid].contains(&file_uid())
}

fn is_right(access: &Access, users: &Access) -> bool {
    access.gid == users.gid && access.is_like(&users.of_companion(access.uid, access.gid))
}

fn several_names(path: &Path) -> Fault {
    let cause = "it has several names (hard links), or keeps being replaced";
    Fault::of("use", path, cause, "remove it, then run `otpgate init`")
}

fn too_wide(path: &Path) -> Fault {
    Fault::of(
        "use",
        path,
        "it is more open than the users file, and this user can't change that",
        WIDE_REMEDY,
    )
}

/// Gives a file the rights that the users file gives, as far as this user can, and nobody any other
/// on the way.
fn put_right(file: &File, users: &Access, also_owner: bool) -> io::Result<()> {
    let now = Access::of(file)?;
    let owner = (also_owner && now.uid != users.uid).then(|| Uid::from_raw(users.uid));
    let wanted = users.of_companion(if also_owner { users.uid } else { now.uid }, users.gid);
    if owner.is_none() && now.gid == users.gid && now.list() == wanted.list() {
        return Ok(rustix::fs::fchmod(file, Mode::from_raw_mode(wanted.mode))?);
    }
    if owner.is_none() && now.is_like(&users.of_companion(now.uid, now.gid)) {
        // As right as it gets, unless this user can give it that group.
        if rustix::fs::fchown(file, None, Some(Gid::from_raw(users.gid))).is_err() {
            return Ok(());
        }
    }
    rustix::fs::fchmod(file, Mode::from_raw_mode(now.mode & 0o600))?;
    give(file, owner, users)
}

/// For a file that nobody else has any right to.
fn give(file: &File, owner: Option<Uid>, users: &Access) -> io::Result<()> {
    // Who isn't root can't give files away, but may share them with a group of theirs.
    let group = Gid::from_raw(users.gid);
    if owner.is_none() || rustix::fs::fchown(file, owner, Some(group)).is_err() {
        let _ = rustix::fs::fchown(file, None, Some(group));
    }
    let made = file.metadata()?;
    let wanted = users.of_companion(made.uid(), made.gid());
    // A directory's default list, too, would come into force with the group's bits.
    let listed = match wanted.list() {
        Some(list) => rustix::fs::fsetxattr(file, LIST, list, XattrFlags::empty()),
        None => match rustix::fs::fremovexattr(file, LIST) {
            Err(Errno::NODATA | Errno::OPNOTSUPP | Errno::NOSYS) => Ok(()),
            removed => removed,
        },
    };
    if listed.is_err() {
        // Narrower than wanted, where lists can't be kept: never wider.
        return Ok(rustix::fs::fchmod(file, Mode::from_raw_mode(wanted.mode & 0o600))?);
    }
    Ok(rustix::fs::fchmod(file, Mode::from_raw_mode(wanted.mode))?)
}

/// A new one that has no more than a temporary name so far. What is to be in it is, for good.
fn make(path: &Path, users: &Access, content: CompanionContent) -> io::Result<PathBuf> {
    let content = content.fresh()?;
    let mut suffix = [0; 8];
    getrandom::fill(&mut suffix).map_err(|_| io::Error::other("the system has no random bytes"))?;
    let temporary = with_suffix(path, &format!(".{:016x}", u64::from_ne_bytes(suffix)));
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let file = File::from(rustix::fs::open(&temporary, flags, Mode::RUSR | Mode::WUSR)?);
    let fill = |mut file: &File| match content.is_empty() {
        true => Ok(()),
        false => file.write_all(&content).and_then(|()| file.sync_all()),
    };
    match give(&file, Some(Uid::from_raw(users.uid)), users).and_then(|()| fill(&file)) {
        Ok(()) => Ok(temporary),
        Err(error) => {
            let _ = rustix::fs::unlink(&temporary);
            Err(error)
        }
    }
}

/// Under a temporary name first, so that nobody meets it with the wrong rights.
fn create(path: &Path, users: &Access, content: CompanionContent) -> Result<(), Fault> {
    let fault = |error: io::Error| Fault::new("create", path, error).or(MAKE_REMEDY);
    let temporary = make(path, users, content).map_err(fault)?;
    let named = name(&temporary, path);
    let _ = rustix::fs::unlink(&temporary);
    match named {
        Ok(()) => sync_name(path, content).map_err(fault),
        Err(Errno::EXIST) => Ok(()),
        Err(error) => Err(fault(error.into())),
    }
}

/// Gives a file another name, which nobody may have.
fn name(temporary: &Path, path: &Path) -> rustix::io::Result<()> {
    match rustix::fs::renameat_with(CWD, temporary, CWD, path, RenameFlags::NOREPLACE) {
        // Not every file system knows how. Then it has two names for a moment.
        Err(Errno::INVAL | Errno::OPNOTSUPP | Errno::NOSYS) => {
            rustix::fs::linkat(CWD, temporary, CWD, path, AtFlags::empty())
        }
        named => named,
    }
}

thread_local! {
    static NOTICES: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

fn notice(path: &Path, old: &Access, done: &str) {
    let text = format!(
        "{} had mode {:04o} and was more open than the users file: {done}",
        path.display(),
        old.mode
    );
    NOTICES.with_borrow_mut(|notices| notices.push(text));
}

/// What was changed about companions, in words, on this thread since the last call: for whoever has
/// a log.
pub fn take_notices() -> Vec<String> {
    NOTICES.take()
}
