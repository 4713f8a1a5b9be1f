//! Trying out what another user may do with a file.

use std::io;

use rustix::fs::{Gid, Uid};

/// Runs `attempt` with the file access of another user, as far as this process may: a process that isn't root
/// keeps its own.
///
/// Only the calling thread changes its identity, and only for files. The supplementary groups are those of the
/// user in the system's group file.
pub fn as_user<R>(uid: Uid, gid: Gid, groups: &[Gid], attempt: impl FnOnce() -> R) -> io::Result<R> {
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

/// The system call changes the calling thread alone; the C library's function would change all of them.
fn set_groups(groups: &[Gid]) -> io::Result<()> {
    let raw: Vec<libc::gid_t> = groups.iter().map(|gid| gid.as_raw()).collect();
    // SAFETY: setgroups(2) reads `raw.len()` group numbers from a pointer that is valid for as many.
    let result = unsafe { libc::syscall(libc::SYS_setgroups, raw.len(), raw.as_ptr()) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

fn set_fs_ids(uid: libc::uid_t, gid: libc::gid_t) {
    // SAFETY: both calls take a number, touch no memory and change the calling thread alone. They report no
    // errors; what comes of it shows in the attempt.
    unsafe {
        libc::setfsgid(gid);
        libc::setfsuid(uid);
    }
}

/// Whose access to files the calling thread has: the user's number.
pub fn file_uid() -> u32 {
    // SAFETY: the call takes a number and touches no memory; one that nobody can have changes nothing, and what
    // comes back is the number as it is.
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

/// A user's name by the system's user file, or the number.
pub fn user_name(uid: u32) -> String {
    name_in("/etc/passwd", uid)
}

/// A group's name by the system's group file, or the number.
pub fn group_name(gid: u32) -> String {
    name_in("/etc/group", gid)
}

fn name_in(file: &str, number: u32) -> String {
    let number = number.to_string();
    let entry = entries(file).find(|entry| entry.get(2) == Some(&number));
    entry.and_then(|entry| entry.into_iter().next()).unwrap_or(number)
}

/// The users of a group by the system's user and group files.
pub fn members_of(gid: u32) -> Vec<u32> {
    let gid = gid.to_string();
    let named: Vec<String> = entries("/etc/group")
        .filter(|entry| entry.get(2) == Some(&gid))
        .filter_map(|entry| entry.get(3).cloned())
        .flat_map(|members| members.split(',').map(str::to_owned).collect::<Vec<_>>())
        .collect();
    entries("/etc/passwd")
        .filter(|entry| entry.get(3) == Some(&gid) || entry.first().is_some_and(|name| named.contains(name)))
        .filter_map(|entry| entry.get(2)?.parse().ok())
        .collect()
}

/// Groups that a user has by the system's user and group files.
pub fn own_groups_of(uid: u32) -> Vec<u32> {
    let entry = entries("/etc/passwd").find(|entry| entry.get(2) == Some(&uid.to_string()));
    let Some(Ok(gid)) = entry.and_then(|entry| Some(entry.get(3)?.parse())) else { return Vec::new() };
    groups_of(Uid::from_raw(uid), Gid::from_raw(gid)).into_iter().map(Gid::as_raw).collect()
}

/// Groups that a user is a member of by the system's group file, the given one included.
pub fn groups_of(uid: Uid, gid: Gid) -> Vec<Gid> {
    let name = entries("/etc/passwd").find(|entry| entry.get(2) == Some(&uid.as_raw().to_string()));
    let mut groups = vec![gid];
    if let Some(name) = name.as_ref().and_then(|entry| entry.first()) {
        for entry in entries("/etc/group") {
            let is_member =
                entry.get(3).is_some_and(|members| members.split(',').any(|member| member == name));
            if let Some(Ok(raw)) = entry.get(2).map(|gid| gid.parse()).filter(|_| is_member) {
                groups.push(Gid::from_raw(raw));
            }
        }
    }
    groups
}

fn entries(path: &str) -> impl Iterator<Item = Vec<String>> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let lines: Vec<Vec<String>> =
        text.lines().map(|line| line.split(':').map(str::to_owned).collect()).collect();
    lines.into_iter()
}
