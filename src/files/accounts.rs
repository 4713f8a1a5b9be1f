//! Users and groups by the system's user and group files.

use rustix::fs::{Gid, Uid};

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
        .filter(|entry| {
            entry.get(3) == Some(&gid) || entry.first().is_some_and(|name| named.contains(name))
        })
        .filter_map(|entry| entry.get(2)?.parse().ok())
        .collect()
}

/// Groups that a user has by the system's user and group files.
pub fn own_groups_of(uid: u32) -> Vec<u32> {
    let entry = entries("/etc/passwd").find(|entry| entry.get(2) == Some(&uid.to_string()));
    let Some(Ok(gid)) = entry.and_then(|entry| Some(entry.get(3)?.parse())) else {
        return Vec::new();
    };
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
