//! What keeps a user from a file: found out when the system has said no, since its error numbers
//! don't tell.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, StatVfsMountFlags, StatxAttributes, StatxFlags};
use rustix::io::Errno;

use super::access::Access;
use super::directory_of;
use super::{accounts, system};

/// As many as the kernel follows.
const LINKS_MAX: u32 = 40;

const READ: u32 = 4;
const WRITE: u32 = 2;
const ENTER: u32 = 1;

/// What was to be done with a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// To look at it.
    Reach,
    /// To read it.
    Read,
    /// To read and write it.
    Write,
    /// To make, replace or remove it.
    Name,
    /// To change owner, mode or attributes.
    Own,
}

impl Wanted {
    /// By the words of a fault.
    pub fn of(operation: &str) -> Wanted {
        match operation {
            "find" | "inspect" | "follow" => Wanted::Reach,
            "open" | "read" => Wanted::Read,
            "create" | "make" | "make the directory" | "replace" | "write the new image of" => {
                Wanted::Name
            }
            "narrow" | "change the mode of" | "change the owner of" | "change the rights to" => {
                Wanted::Own
            }
            _ => Wanted::Write,
        }
    }
}

/// What is in the way.
pub(crate) struct Obstacle {
    pub cause: String,
    pub remedy: Remedy,
}

/// What an admin can do about it.
pub(crate) enum Remedy {
    /// These, each with the path after it: the rights of one file are too few.
    Rights(Vec<String>),
    /// The rights of something else are too few.
    Way(String),
    Text(String),
}

/// Finds what keeps the calling thread's user from a path. `None`: nothing that can be seen.
pub(crate) fn find(path: &Path, wanted: Wanted, error: &io::Error) -> Option<Obstacle> {
    let is_read_only = error.kind() == io::ErrorKind::ReadOnlyFilesystem;
    if !is_read_only && error.kind() != io::ErrorKind::PermissionDenied {
        return None;
    }
    let me = Me::now();
    let path = std::path::absolute(path).ok()?;
    let end = match follow(&path) {
        Ok(end) => end,
        Err(closed) => return Some(me.entry(&closed)),
    };
    let is_there = end.symlink_metadata().is_ok();
    let at = if wanted == Wanted::Name || !is_there { directory_of(&end) } else { &end };
    if matches!(wanted, Wanted::Reach | Wanted::Read) && !is_read_only {
        return Some(me.rights(at, wanted));
    }
    if is_read_only || is_mounted_read_only(at) {
        let mount = mount_of(at);
        return Some(Obstacle {
            cause: format!("{} is mounted read-only", mount.display()),
            remedy: Remedy::Text(format!(
                "`mount -o remount,rw {}`; if systemd's ProtectSystem= caused this, add `ReadWritePaths={}` to the server's unit",
                in_shell(mount),
                directory_of(&end).display()
            )),
        });
    }
    // Whoever may not change it isn't told so by its rights.
    for (attribute, name, letter) in [
        (StatxAttributes::IMMUTABLE, "immutable", 'i'),
        (StatxAttributes::APPEND, "append-only", 'a'),
    ] {
        if has_attribute(at, attribute) {
            return Some(Obstacle {
                cause: format!("{} has the attribute {name}", at.display()),
                remedy: Remedy::Text(format!("`chattr -{letter} {}`", in_shell(at))),
            });
        }
    }
    Some(me.rights(at, wanted))
}

/// Where the path leads, as far as somebody gets; else the first directory that can't be entered.
fn follow(path: &Path) -> Result<PathBuf, PathBuf> {
    let mut path = path.to_owned();
    for _ in 0..LINKS_MAX {
        let mut ahead: Vec<PathBuf> = path.ancestors().skip(1).map(Path::to_owned).collect();
        ahead.reverse();
        let mut link = None;
        for directory in ahead {
            if may_enter(&directory) {
                continue;
            }
            match std::fs::read_link(&directory) {
                Ok(target) => {
                    let rest = path.strip_prefix(&directory).expect("an ancestor");
                    link = Some(directory_of(&directory).join(target).join(rest));
                    break;
                }
                Err(_) => return Err(directory),
            }
        }
        path = match link {
            Some(path) => path,
            None => match std::fs::read_link(&path) {
                Ok(target) => directory_of(&path).join(target),
                Err(_) => return Ok(path),
            },
        };
    }
    Ok(path)
}

fn may_enter(directory: &Path) -> bool {
    let entered =
        rustix::fs::accessat(CWD, directory, rustix::fs::Access::EXEC_OK, AtFlags::EACCESS);
    entered != Err(Errno::ACCESS)
}

fn is_mounted_read_only(path: &Path) -> bool {
    rustix::fs::statvfs(path).is_ok_and(|found| found.f_flag.contains(StatVfsMountFlags::RDONLY))
}

fn has_attribute(path: &Path, attribute: StatxAttributes) -> bool {
    rustix::fs::statx(CWD, path, AtFlags::SYMLINK_NOFOLLOW, StatxFlags::BASIC_STATS)
        .is_ok_and(|found| found.stx_attributes.contains(attribute))
}

/// The place at which the file system with this path is mounted.
fn mount_of(path: &Path) -> &Path {
    path.ancestors().find(|path| has_attribute(path, StatxAttributes::MOUNT_ROOT)).unwrap_or(path)
}

/// Whose rights count.
struct Me {
    uid: u32,
    groups: Vec<u32>,
}

impl Me {
    fn now() -> Me {
        Me { uid: system::file_uid(), groups: system::file_groups() }
    }

    fn name(&self) -> String {
        accounts::user_name(self.uid)
    }

    fn entry(&self, directory: &Path) -> Obstacle {
        let Ok(access) = Access::at(directory) else { return beyond_rights(directory, self) };
        if access.allows(self.uid, &self.groups, ENTER) {
            return beyond_rights(directory, self);
        }
        let (name, shown, quoted) = (self.name(), directory.display(), in_shell(directory));
        let command = if access.list().is_some() {
            format!("setfacl -m u:{name}:x {quoted}")
        } else {
            format!("chmod {}+x {quoted}", self.class(&access))
        };
        Obstacle {
            cause: format!(
                "user {name} can't enter the directory {shown} ({})",
                owner_and_mode(&access)
            ),
            remedy: Remedy::Way(format!(
                "give it access (`{command}`), or move the file elsewhere"
            )),
        }
    }

    fn rights(&self, at: &Path, wanted: Wanted) -> Obstacle {
        let Ok(access) = Access::at(at) else { return beyond_rights(at, self) };
        let name = self.name();
        if wanted == Wanted::Own && access.uid != self.uid && self.uid != 0 {
            return Obstacle {
                cause: format!("it belongs to {}, not to {name}", accounts::user_name(access.uid)),
                remedy: Remedy::Way(format!(
                    "run it as root, or as {}",
                    accounts::user_name(access.uid)
                )),
            };
        }
        let (bits, letters, what) = match wanted {
            Wanted::Reach => return beyond_rights(at, self),
            Wanted::Read => (READ, "r", "read it"),
            Wanted::Write | Wanted::Own => (READ | WRITE, "rw", "read and write it"),
            Wanted::Name => (WRITE | ENTER, "wx", "create files in"),
        };
        if access.allows(self.uid, &self.groups, bits) {
            return beyond_rights(at, self);
        }
        let place =
            if wanted == Wanted::Name { format!(" {}", at.display()) } else { String::new() };
        let commands = match () {
            () if access.list().is_some() => vec![format!("setfacl -m u:{name}:{letters}")],
            () if access.uid == self.uid => vec![format!("chmod u+{letters}")],
            () if access.gid != 0 && self.groups.contains(&access.gid) => {
                vec![format!("chmod g+{letters}")]
            }
            () => {
                let chmod = (access.mode >> 6 & bits != bits).then(|| format!("chmod u+{letters}"));
                [Some(format!("chown {name}")), chmod].into_iter().flatten().collect()
            }
        };
        Obstacle {
            cause: format!("user {name} may not {what}{place} ({})", owner_and_mode(&access)),
            remedy: Remedy::Rights(commands),
        }
    }

    /// Whose bits of the mode count for this user.
    fn class(&self, access: &Access) -> char {
        match () {
            () if access.uid == self.uid => 'u',
            () if self.groups.contains(&access.gid) => 'g',
            () => 'o',
        }
    }
}

fn owner_and_mode(access: &Access) -> String {
    let (user, group) = (accounts::user_name(access.uid), accounts::group_name(access.gid));
    format!("{user}:{group}, {:04o}", access.mode)
}

/// Rights would allow it.
fn beyond_rights(at: &Path, me: &Me) -> Obstacle {
    let directory = if at.is_dir() { at } else { directory_of(at) };
    let remedy = match security_module() {
        Some("SELinux") => format!(
            "SELinux forbids it (see `ausearch -m avc -ts recent`): `chcon -R -t httpd_sys_rw_content_t {}`, and `semanage fcontext` to make it permanent",
            in_shell(directory)
        ),
        Some(_) => format!(
            "AppArmor may forbid it (the kernel log names the profile): allow `{}/** rwk,` in /etc/apparmor.d, and reload it with `apparmor_parser -r`",
            directory.display()
        ),
        None => "a security module or, on a network file system, the file server forbids it; the kernel log may say which".to_owned(),
    };
    Obstacle {
        cause: format!("owner and mode of {} would let user {} do it", at.display(), me.name()),
        remedy: Remedy::Text(remedy),
    }
}

fn security_module() -> Option<&'static str> {
    let says = |path: &str, answer: &str| {
        std::fs::read_to_string(path).is_ok_and(|text| text.trim() == answer)
    };
    if says("/sys/fs/selinux/enforce", "1") {
        return Some("SELinux");
    }
    says("/sys/module/apparmor/parameters/enabled", "Y").then_some("AppArmor")
}

/// A path as a word that a shell takes for it.
pub(crate) fn in_shell(path: &Path) -> String {
    let text = path.display().to_string();
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/._-+@:,".contains(c);
    if text.chars().all(is_plain) { text } else { format!("'{}'", text.replace('\'', r"'\''")) }
}

/// Whether two files have the same owner, group and mode.
pub(crate) fn are_alike(one: &Path, other: &Path) -> bool {
    let of = |path: &Path| {
        path.metadata().map(|found| (found.uid(), found.gid(), found.mode() & 0o777)).ok()
    };
    of(one).is_some_and(|found| of(other) == Some(found))
}
