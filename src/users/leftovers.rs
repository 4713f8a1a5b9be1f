//! What a killed process has left beside the users file: a rewrite that never got its name, with
//! all keys in it, and empty files that were to become a lock or a journal.

use std::ffi::OsString;
use std::fs::File;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rustix::fs::{Mode, OFlags};

use super::companion;
use super::lock::{Paths, with_suffix};
use crate::files::access::Access;
use crate::files::open::{Link, To, open};

/// A companion is made under a temporary name without the lock: one as young as this may be in use.
const MAY_BE_IN_USE: Duration = Duration::from_secs(60);

/// No process has a higher number (proc(5), pid_max): `users.20261125.new` is somebody's own.
const PID_MAX: u64 = 1 << 22;

/// The name under which a process makes a new users file.
pub(super) fn new_version_of(resolved: &Path) -> PathBuf {
    with_suffix(resolved, &format!(".{}.new", std::process::id()))
}

/// Files of dead processes. Who holds the lock makes none of them but the new version that it
/// removes itself, so they are nobody's.
pub fn find(paths: &Paths) -> Vec<PathBuf> {
    let (Some(directory), Some(name)) = (paths.resolved.parent(), paths.resolved.file_name())
    else {
        return Vec::new();
    };
    // A directory that may be looked into but not listed hides them.
    let Ok(entries) = std::fs::read_dir(directory) else { return Vec::new() };
    let is_ours = |entry: &OsString| kind_of(entry.as_bytes(), name.as_bytes()).is_some();
    entries
        .filter_map(|entry| Some(entry.ok()?.file_name()))
        .filter(is_ours)
        .map(|entry| directory.join(entry))
        .collect()
}

enum LeftoverKind {
    NewVersion,
    Companion,
}

fn kind_of(entry: &[u8], name: &[u8]) -> Option<LeftoverKind> {
    let rest = entry.strip_prefix(name)?.strip_prefix(b".")?;
    if let Some(pid) = rest.strip_suffix(b".new") {
        let is_pid = super::line::number(pid).is_some_and(|number| number <= PID_MAX);
        return is_pid.then_some(LeftoverKind::NewVersion);
    }
    let at = rest.iter().position(|&b| b == b'.')?;
    let (companion, random) = (&rest[..at], &rest[at + 1..]);
    let is_companion = [&b"lock"[..], b"journal", b"index", b"secret"].contains(&companion);
    (is_companion && random.len() == 16 && random.iter().all(u8::is_ascii_hexdigit))
        .then_some(LeftoverKind::Companion)
}

/// Removes the temporary name that a companion still has from when it was made, if that is so.
pub(super) fn remove_other_name(companion: &Path, metadata: &std::fs::Metadata) {
    let (Some(directory), Some(name)) = (companion.parent(), companion.file_name()) else { return };
    if metadata.nlink() != 2 {
        return;
    }
    let directory = if directory.as_os_str().is_empty() { Path::new(".") } else { directory };
    let Ok(entries) = std::fs::read_dir(directory) else { return };
    for entry in entries.flatten() {
        let entry_name = entry.file_name();
        let rest = entry_name
            .as_bytes()
            .strip_prefix(name.as_bytes())
            .and_then(|rest| rest.strip_prefix(b"."));
        let is_temporary = rest
            .is_some_and(|random| random.len() == 16 && random.iter().all(u8::is_ascii_hexdigit));
        let is_it = |other: std::fs::Metadata| {
            (other.dev(), other.ino()) == (metadata.dev(), metadata.ino())
        };
        if is_temporary && entry.path().symlink_metadata().is_ok_and(is_it) {
            let _ = rustix::fs::unlink(entry.path());
        }
    }
}

/// Whether somebody may just be making it.
pub(super) fn may_be_in_use(paths: &Paths, path: &Path) -> bool {
    let (Some(name), Some(entry)) = (paths.resolved.file_name(), path.file_name()) else {
        return false;
    };
    matches!(kind_of(entry.as_bytes(), name.as_bytes()), Some(LeftoverKind::Companion))
        && path.symlink_metadata().is_ok_and(|metadata| !is_old(&metadata))
}

/// Whether [`remove`] removes it, as this user.
pub(super) fn can_be_removed(path: &Path, users: &Access) -> bool {
    companion::can_create_beside(path)
        && open(path, To::Write, Link::Refuse)
            .is_ok_and(|file| companion::was_left_by_one_of_us(&file, path, users))
}

/// Wipes and removes them. Under the lock.
pub(super) fn remove(paths: &Paths, users: &Access) {
    let Some(name) = paths.resolved.file_name() else { return };
    for path in find(paths) {
        let kind = path.file_name().and_then(|entry| kind_of(entry.as_bytes(), name.as_bytes()));
        // Only what is a file of its own: a link would lead elsewhere.
        let flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let Ok(file) = rustix::fs::open(&path, flags, Mode::empty()).map(File::from) else {
            continue;
        };
        let Ok(metadata) = file.metadata() else { continue };
        if !companion::was_left_by_one_of_us(&file, &path, users) {
            continue;
        }
        match kind {
            Some(LeftoverKind::NewVersion) => wipe(&file, metadata.size()),
            Some(LeftoverKind::Companion) if is_old(&metadata) => {}
            _ => continue,
        }
        // If that may not be, `check` tells of it.
        let _ = rustix::fs::unlink(&path);
    }
}

fn is_old(metadata: &std::fs::Metadata) -> bool {
    let age = metadata.modified().ok().and_then(|time| SystemTime::now().duration_since(time).ok());
    age.is_some_and(|age| age > MAY_BE_IN_USE)
}

/// As far as it goes: some file systems write elsewhere.
fn wipe(file: &File, size: u64) {
    use std::os::unix::fs::FileExt;
    let zeros = [0; 1 << 16];
    let mut at = 0;
    while at < size {
        let len = zeros.len().min((size - at) as usize);
        if file.write_all_at(&zeros[..len], at).is_err() {
            return;
        }
        at += len as u64;
    }
    let _ = file.sync_data();
}
