//! System calls that no crate of ours wraps: file access as another user, and locks that belong to
//! an open file.

#![allow(unsafe_code)] // setgroups and setfsuid for one thread, fcntl(F_OFD_SETLK)

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;

use rustix::fs::{Gid, Uid};

/// Runs `attempt` with the file access of another user, as far as this process may: a process that
/// isn't root keeps its own.
///
/// Only the calling thread changes its identity, and only for files. The supplementary groups are
/// those of the user in the system's group file.
pub fn as_user<R>(
    uid: Uid,
    gid: Gid,
    groups: &[Gid],
    attempt: impl FnOnce() -> R,
) -> io::Result<R> {
    if !rustix::process::geteuid().is_root() {
        return Ok(attempt());
    }
    let own_groups = rustix::process::getgroups()?;
    set_groups(groups)?;
    set_fs_ids(uid.as_raw(), gid.as_raw());
    // Restored even if the attempt panics: a thread left behind as another user would be a trap.
    let restore = Restore { groups: own_groups };
    let result = attempt();
    drop(restore);
    Ok(result)
}

struct Restore {
    groups: Vec<Gid>,
}

impl Drop for Restore {
    fn drop(&mut self) {
        set_fs_ids(rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
        let _ = set_groups(&self.groups);
    }
}

/// Where Linux once had group numbers of 16 bits, the call of the plain name still takes those.
#[cfg(any(target_arch = "arm", target_arch = "m68k", target_arch = "sparc", target_arch = "x86"))]
const SETGROUPS: libc::c_long = libc::SYS_setgroups32;
#[cfg(not(any(
    target_arch = "arm",
    target_arch = "m68k",
    target_arch = "sparc",
    target_arch = "x86"
)))]
const SETGROUPS: libc::c_long = libc::SYS_setgroups;

/// The system call changes the calling thread alone; the C library's function would change all of
/// them.
fn set_groups(groups: &[Gid]) -> io::Result<()> {
    let raw: Vec<libc::gid_t> = groups.iter().map(|gid| gid.as_raw()).collect();
    // SAFETY: setgroups(2) reads `raw.len()` group numbers of 32 bits from a pointer that is valid
    // for as many.
    let result = unsafe { libc::syscall(SETGROUPS, raw.len(), raw.as_ptr()) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

fn set_fs_ids(uid: libc::uid_t, gid: libc::gid_t) {
    // SAFETY: both calls take a number, touch no memory and change the calling thread alone. They
    // report no errors; what comes of it shows in the attempt.
    unsafe {
        libc::setfsgid(gid);
        libc::setfsuid(uid);
    }
}

/// Whose access to files the calling thread has: the user's number.
pub fn file_uid() -> u32 {
    // SAFETY: the call takes a number and touches no memory; one that nobody can have changes
    // nothing, and what comes back is the number as it is.
    let uid = unsafe { libc::setfsuid(libc::uid_t::MAX) };
    uid as u32
}

/// The calling thread's groups for access to files.
pub fn file_groups() -> Vec<u32> {
    // SAFETY: as in `file_uid`.
    let gid = unsafe { libc::setfsgid(libc::gid_t::MAX) };
    let further = rustix::process::getgroups().unwrap_or_default();
    further.into_iter().map(Gid::as_raw).chain([gid as u32]).collect()
}

/// Sets or ends a lock of an open file (`F_WRLCK`, `F_UNLCK`) on all of it, without waiting.
pub fn ofd_lock(file: &File, kind: libc::c_int) -> io::Result<()> {
    // SAFETY: an all-zero flock is a valid value of that plain C struct.
    let mut lock: libc::flock = unsafe { std::mem::zeroed() };
    lock.l_type = kind as libc::c_short;
    lock.l_whence = libc::SEEK_SET as libc::c_short;
    // SAFETY: the descriptor is open as long as `file` lives, and F_OFD_SETLK reads one flock,
    // which outlives the call.
    let result = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_OFD_SETLK, &lock) };
    if result == -1 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
