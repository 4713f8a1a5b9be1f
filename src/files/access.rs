//! Who may do what with a file: owner, group, mode bits and access-control list (POSIX.1e draft, as
//! in acl(5)).

use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::io::Errno;

use crate::files::accounts;

/// The extended attribute with the list.
pub(crate) const LIST: &str = "system.posix_acl_access";

/// In a set of three bits.
const WRITE: u32 = 2;
const READ_WRITE: u32 = 6;

/// Somebody whom a file's rights are about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Who {
    /// A user, by number.
    User(u32),
    /// Everybody in a group.
    Group(u32),
    /// Everybody.
    Everybody,
}

/// The rights to a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Access {
    /// Its owner.
    pub uid: u32,
    /// Its group.
    pub gid: u32,
    /// The lower twelve bits.
    pub mode: u32,
    /// What the group has, the list's mask considered.
    group: u32,
    /// The entries for further users and groups, the mask considered.
    named: Vec<(Who, u32)>,
    /// The list as the system stores it, if there is one.
    list: Option<Vec<u8>>,
}

impl Access {
    /// Of an open file.
    pub fn of(file: &File) -> io::Result<Access> {
        let metadata = file.metadata()?;
        Access::with(&metadata, |value| rustix::fs::fgetxattr(file, LIST, value))
    }

    /// Of a file with mode bits alone.
    pub fn plain(uid: u32, gid: u32, mode: u32) -> Access {
        Access { uid, gid, mode, group: mode >> 3 & 7, named: Vec::new(), list: None }
    }

    /// Of what a path names.
    pub fn at(path: &Path) -> io::Result<Access> {
        let metadata = std::fs::metadata(path)?;
        Access::with(&metadata, |value| rustix::fs::getxattr(path, LIST, value))
    }

    fn with(
        metadata: &Metadata,
        read: impl Fn(&mut [u8]) -> rustix::io::Result<usize>,
    ) -> io::Result<Access> {
        let mode = metadata.mode() & 0o7777;
        let mut access = Access::plain(metadata.uid(), metadata.gid(), mode);
        // The group's bits are the list's mask: without them, no entry has an effect.
        if access.group == 0 {
            return Ok(access);
        }
        // More than anybody writes; the other is what the system allows.
        let mut value = vec![0; 512];
        let mut len = read(&mut value);
        if len == Err(Errno::RANGE) {
            value.resize(1 << 16, 0);
            len = read(&mut value);
        }
        match len {
            Ok(len) => value.truncate(len),
            Err(Errno::NODATA | Errno::OPNOTSUPP | Errno::NOSYS) => return Ok(access),
            Err(error) => return Err(error.into()),
        }
        let unknown = || io::Error::other("its access-control list has an unknown form");
        let mask = access.group;
        for (tag, rights, id) in entries(&value).ok_or_else(unknown)? {
            match tag {
                2 => access.named.push((Who::User(id), rights & mask)),
                4 => access.group = rights & mask,
                8 => access.named.push((Who::Group(id), rights & mask)),
                // Owner, mask and others are the mode's.
                1 | 0x10 | 0x20 => {}
                _ => return Err(unknown()),
            }
        }
        access.list = Some(value);
        Ok(access)
    }

    /// The same without what everybody has.
    pub(crate) fn without_others(&self) -> Access {
        Access { mode: self.mode & !0o007, ..self.clone() }
    }

    /// The same rights, for a file that is made for those who have this one: without those to
    /// execute. Its owner always has theirs, which they could give themselves: while this file is
    /// closed for a moment, they must not lose what opens it again.
    pub(crate) fn of_companion(&self, uid: u32, gid: u32) -> Access {
        const OWNERS: u32 = 0o600;
        let mode = if gid == self.gid { OWNERS | self.mode & 0o066 } else { OWNERS };
        let mut made = Access::plain(uid, gid, mode);
        if mode & 0o060 != 0 {
            made.group = self.group & READ_WRITE;
            made.named =
                self.named.iter().map(|&(who, rights)| (who, rights & READ_WRITE)).collect();
            made.list.clone_from(&self.list);
        }
        made
    }

    /// Whether owner aside, everybody has the same rights.
    pub(crate) fn is_like(&self, other: &Access) -> bool {
        (self.gid, self.mode, self.group, &self.named)
            == (other.gid, other.mode, other.group, &other.named)
    }

    pub(crate) fn list(&self) -> Option<&[u8]> {
        self.list.as_deref()
    }

    fn named(&self, who: Who) -> Option<u32> {
        self.named.iter().find(|(named, _)| *named == who).map(|(_, rights)| *rights)
    }

    /// What somebody has for certain.
    fn rights_of(&self, who: Who) -> u32 {
        match who {
            Who::User(0) => 7,
            Who::User(uid) if uid == self.uid => self.mode >> 6 & 7,
            Who::Group(gid) if gid == self.gid => self.group,
            Who::Everybody => self.mode & 7,
            _ => self.named(who).unwrap_or(self.mode & 7),
        }
    }

    /// Whether somebody has all of these rights, as acl(5) has it. Root has them all.
    pub(crate) fn allows(&self, uid: u32, groups: &[u32], wanted: u32) -> bool {
        let has = |rights: u32| rights & wanted == wanted;
        if uid == 0 {
            return true;
        }
        if uid == self.uid {
            return has(self.mode >> 6);
        }
        if let Some(rights) = self.named(Who::User(uid)) {
            return has(rights);
        }
        let named = self.named.iter().filter_map(|&(who, rights)| match who {
            Who::Group(gid) => Some((gid, rights)),
            _ => None,
        });
        let mut of_groups = named
            .chain([(self.gid, self.group)])
            .filter(|(gid, _)| groups.contains(gid))
            .peekable();
        match of_groups.peek() {
            Some(_) => of_groups.any(|(_, rights)| has(rights)),
            None => has(self.mode),
        }
    }

    /// What this file gives to anybody who doesn't have it on `users`, its owner aside.
    pub(crate) fn beyond(&self, users: &Access) -> Beyond {
        let groups = self.group & !users.rights_of(Who::Group(self.gid));
        let mut more = self.mode & 7 & !users.mode;
        for &(who, rights) in &self.named {
            more |= rights & !users.rights_of(who);
        }
        // Entries of the users file can also take away what its group, or others, have.
        for &(who, rights) in &users.named {
            let without_entry = match who {
                Who::User(uid) if uid == self.uid => continue,
                Who::User(_) => self.group | self.mode & 7,
                _ => self.mode & 7,
            };
            more |= self.named(who).unwrap_or(without_entry) & !rights;
        }
        Beyond {
            anything: (groups | more) != 0 || self.mode & 0o7100 & !users.mode != 0,
            write: (groups | more) & WRITE != 0,
            is_the_groups: self.gid == users.gid && more & WRITE == 0,
        }
    }

    /// Who can write it: names into it, if it is a directory. Root isn't told.
    pub fn writers(&self) -> Vec<Who> {
        let mut writers = vec![Who::User(self.uid)];
        let group = [(Who::Group(self.gid), self.group), (Who::Everybody, self.mode & 7)];
        let rights = self.named.iter().copied().chain(group);
        writers.extend(rights.filter(|(_, rights)| rights & WRITE != 0).map(|(who, _)| who));
        writers.retain(|who| *who != Who::User(0));
        writers
    }

    /// Whether somebody can write it for certain. Groups of users are those of the system's group
    /// file.
    pub fn may_be_written_by(&self, who: Who) -> bool {
        if self.rights_of(who) & WRITE != 0 {
            // Some of the group may be named with less.
            return !matches!(who, Who::Group(_))
                || !self
                    .named
                    .iter()
                    .any(|(who, rights)| matches!(who, Who::User(_)) && rights & WRITE == 0);
        }
        match who {
            Who::User(uid) if uid != self.uid && self.named(who).is_none() => {
                accounts::own_groups_of(uid)
                    .into_iter()
                    .any(|gid| self.rights_of(Who::Group(gid)) & WRITE != 0)
            }
            _ => false,
        }
    }

    /// Whether everybody who can make a name in `directory` can write this file too.
    pub fn is_everybodys_who_writes(&self, directory: &Access) -> bool {
        directory.writers().into_iter().all(|who| self.may_be_written_by(who))
    }
}

/// What a file gives more than another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Beyond {
    pub anything: bool,
    pub write: bool,
    /// It is the users file's own group, and nobody else, that can write it.
    pub is_the_groups: bool,
}

/// Tag, rights and number of each entry: linux/posix_acl_xattr.h.
fn entries(value: &[u8]) -> Option<Vec<(u16, u32, u32)>> {
    const VERSION: [u8; 4] = 2u32.to_le_bytes();
    let entries = value.strip_prefix(&VERSION)?.chunks_exact(8);
    if !entries.remainder().is_empty() {
        return None;
    }
    let parse = |entry: &[u8]| {
        let word = |at: usize| u16::from_le_bytes([entry[at], entry[at + 1]]);
        (word(0), u32::from(word(2)), u32::from_le_bytes([entry[4], entry[5], entry[6], entry[7]]))
    };
    Some(entries.map(parse).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(uid: u32, gid: u32, mode: u32) -> Access {
        Access::plain(uid, gid, mode)
    }

    fn listed(mode: u32, named: &[(Who, u32)]) -> Access {
        Access { named: named.to_vec(), ..plain(10, 20, mode) }
    }

    #[test]
    fn what_a_file_gives_beyond_another_one() {
        let users = listed(0o660, &[(Who::User(30), 6), (Who::User(31), 0), (Who::Group(40), 4)]);
        for (other, anything, write) in [
            (users.clone(), false, false),
            (plain(10, 20, 0o600), false, false),
            // Without the entry that takes it from them, 31 may have it by the group.
            (plain(10, 20, 0o660), true, true),
            (plain(10, 20, 0o640), true, false),
            (plain(10, 21, 0o600), false, false),
            (plain(10, 21, 0o660), true, true),
            (plain(10, 20, 0o604), true, false),
            (plain(10, 20, 0o602), true, true),
            (plain(10, 20, 0o4600), true, false),
            (plain(10, 40, 0o640), true, false),
            (
                listed(0o660, &[(Who::User(30), 6), (Who::User(31), 0), (Who::Group(40), 6)]),
                true,
                true,
            ),
            (
                listed(0o660, &[(Who::User(30), 6), (Who::User(31), 0), (Who::User(32), 4)]),
                true,
                false,
            ),
        ] {
            let beyond = other.beyond(&users);
            assert_eq!((beyond.anything, beyond.write), (anything, write), "{other:?}");
        }
        assert!(!plain(10, 20, 0o660).beyond(&plain(1, 20, 0o660)).anything, "whoever owns it");
        for (other, is_the_groups) in [
            (plain(10, 20, 0o660), true),
            (plain(10, 20, 0o666), false),
            (plain(10, 21, 0o660), false),
            (listed(0o660, &[(Who::User(30), 6)]), false),
        ] {
            let beyond = other.beyond(&plain(10, 20, 0o640));
            assert_eq!((beyond.write, beyond.is_the_groups), (true, is_the_groups), "{other:?}");
        }
    }

    #[test]
    fn what_is_made_for_a_users_file_never_gives_more_than_it() {
        let users = listed(0o770, &[(Who::User(30), 7), (Who::User(31), 0)]);
        for (uid, gid) in [(10, 20), (11, 20), (10, 21), (11, 21)] {
            for users in
                [&users, &plain(10, 20, 0o640), &plain(10, 20, 0o664), &plain(10, 20, 0o600)]
            {
                let made = users.of_companion(uid, gid);
                assert!(!made.beyond(users).anything, "{uid} {gid} {users:?} {made:?}");
            }
        }
    }

    #[test]
    fn the_owner_of_a_companion_can_use_it_while_the_users_file_is_closed() {
        for mode in [0o000, 0o400, 0o440] {
            let made = plain(10, 20, mode).of_companion(10, 20);
            assert_eq!(made.mode, mode & 0o066 | 0o600, "{mode:o}");
        }
    }

    #[test]
    fn who_makes_names_must_write_the_file() {
        let users = listed(0o660, &[(Who::User(30), 6)]);
        for (directory, is_so) in [
            (plain(0, 0, 0o755), true),
            (plain(10, 0, 0o755), true),
            (plain(0, 20, 0o770), true),
            (listed(0o770, &[(Who::User(30), 7)]), true),
            (listed(0o770, &[(Who::User(31), 7)]), false),
            (plain(0, 21, 0o770), false),
            (plain(0, 20, 0o777), false),
            (plain(0, 20, 0o1777), false),
            (plain(4_000_000, 20, 0o750), false),
        ] {
            assert_eq!(users.is_everybodys_who_writes(&directory), is_so, "{directory:?}");
        }
    }

    #[test]
    fn an_unknown_form_of_a_list_is_no_empty_one() {
        assert_eq!(entries(b"\x02\0\0\0"), Some(Vec::new()));
        assert_eq!(entries(b"\x02\0\0\0\x02\0\x06\0\x1e\0\0\0"), Some(vec![(2, 6, 30)]));
        for bytes in [&b""[..], b"\x03\0\0\0", b"\x02\0\0\0\x02\0"] {
            assert_eq!(entries(bytes), None);
        }
    }
}
