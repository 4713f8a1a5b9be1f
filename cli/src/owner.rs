//! Whose access to files is used. Root's own would hide what the server lacks, would leave files
//! behind that the server can't open, and would follow whatever the directory's owner has planted
//! there.
//!
//! So root acts as the users file's owner, but with no more than the directory's owner has. The way
//! to the file is looked through from the root directory on: a symbolic link counts only if root
//! made it, or whoever owns what it leads to (what the kernel calls protected symlinks); and nobody
//! may be able to change the way who couldn't write the users file anyway.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};

use otpgate::files::access::{Access, Who};
use otpgate::files::accounts::{groups_of, members_of};
use otpgate::files::directory_of;
use otpgate::files::fault::Fault;
use otpgate::files::open::{self, Link, To};
use otpgate::files::system::as_user;
use otpgate::users::edit;
use otpgate::users::lock::Paths;
use rustix::fs::{Gid, Uid};

use crate::account::{self, SystemAccount};
use crate::{Failure, Result};

/// As many as the kernel follows.
const LINKS_MAX: u32 = 40;

/// Run by root, `work` has the file access of the users file's owner.
pub fn acting<R>(users_file: &Path, work: impl FnOnce() -> Result<R>) -> Result<R> {
    std::fs::metadata(users_file).map_err(|error| Fault::new("find", users_file, error))?;
    match OwnedPlace::of(users_file)? {
        Some(place) => with_access(place.contents, work)?,
        None => work(),
    }
}

/// Run by root, `work` has the file access of an account.
pub fn acting_as<R>(account: &SystemAccount, work: impl FnOnce() -> R) -> Result<R> {
    with_access((account.uid, account.gid), work)
}

fn with_access<R>((uid, gid): (u32, u32), work: impl FnOnce() -> R) -> Result<R> {
    let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
    as_user(uid, gid, &groups_of(uid, gid), work)
        .map_err(|error| Failure::new(format!("cannot act as user {}: {error}", uid.as_raw())))
}

/// Where a users file is, and who root has to be there: user and group.
pub struct OwnedPlace {
    /// Who reads and writes the file.
    contents: (u32, u32),
    /// The file, all links followed. Nobody follows any again: who owns the directory could plant
    /// one meanwhile.
    end: PathBuf,
}

/// A users file, opened once: what is done beside it is done beside this one, whatever its name
/// leads to by then.
pub struct Opened {
    /// It.
    pub file: File,
    /// Where it was found.
    pub paths: Paths,
    /// `None` for anybody but root.
    pub place: Option<OwnedPlace>,
}

impl Opened {
    /// Opens it as its owner.
    pub fn new(users_file: &Path) -> Result<Opened> {
        let Some(place) = OwnedPlace::of(users_file)? else {
            let (paths, file) = (Paths::resolve(users_file)?, edit::open_users(users_file)?);
            return Ok(Opened { file, paths, place: None });
        };
        let paths = Paths { configured: users_file.to_owned(), resolved: place.end.clone() };
        let refused = |refusal: open::Refusal| Failure::from(refusal.into_fault(&place.end));
        let file = with_access(place.contents, || open::open(&place.end, To::Read, Link::Refuse))?;
        Ok(Opened { file: file.map_err(refused)?, paths, place: Some(place) })
    }

    /// Runs `work` as [`acting`] does.
    pub fn acting<R>(&self, work: impl FnOnce() -> Result<R>) -> Result<R> {
        match &self.place {
            Some(place) => with_access(place.contents, work)?,
            None => work(),
        }
    }
}

impl OwnedPlace {
    /// Of a users file that is there. `None` for anybody but root, who has their own access alone.
    pub fn of(users_file: &Path) -> Result<Option<OwnedPlace>> {
        if !rustix::process::geteuid().is_root() {
            return Ok(None);
        }
        let way = Way::to(users_file)?;
        let users = Access::at(&way.end).map_err(|error| Fault::new("inspect", &way.end, error))?;
        let directory = way.directory()?;
        let place = way.place(&users, &directory)?;
        if place.contents.0 != users.uid && !users.may_be_written_by(Who::User(place.contents.0)) {
            return Err(Failure::new(format!(
                "{} belongs to root, in a directory of {}, who may not write it: otpgate doesn't touch it as root; `chown` one of them",
                way.end.display(),
                account::names(directory.uid, directory.gid)
            )));
        }
        let metadata =
            std::fs::metadata(&way.end).map_err(|error| Fault::new("inspect", &way.end, error))?;
        if metadata.is_file() && metadata.nlink() > 1 && metadata.uid() != directory.uid {
            return Err(Failure::new(format!(
                "{} has another name elsewhere (a hard link), and its directory belongs to another user: otpgate doesn't touch it as root; copy it to a file of its own",
                way.end.display()
            )));
        }
        Ok(Some(place))
    }

    /// Of one that is to be made in a directory that is there, or below it in a new one of the
    /// users file's owner.
    pub fn of_new(directory: &Path, is_below: bool, users: &Access) -> Result<Option<OwnedPlace>> {
        if !rustix::process::geteuid().is_root() {
            return Ok(None);
        }
        let way = Way::to(&directory.join("users"))?;
        let directory = if is_below { users.clone() } else { way.directory()? };
        way.place(users, &directory).map(Some)
    }

    /// Runs `work` as whoever makes names in a directory: its owner. Where others could make what
    /// root then takes for its own, as the users file's owner.
    pub fn making_in<R>(&self, directory: &Path, work: impl FnOnce() -> R) -> Result<R> {
        let access =
            Access::at(directory).map_err(|error| Fault::new("inspect", directory, error))?;
        let is_safe =
            is_sticky(&access) || access.writers().iter().all(|who| *who == Who::Group(0));
        let is_roots = access.uid == 0 && is_safe;
        let maker =
            if is_roots || access.uid != 0 { (access.uid, access.gid) } else { self.contents };
        with_access(maker, work)
    }
}

/// Runs `work` as [`OwnedPlace::making_in`] says, or as ourselves.
pub fn making_in<R>(
    place: Option<&OwnedPlace>,
    directory: &Path,
    work: impl FnOnce() -> R,
) -> Result<R> {
    match place {
        Some(place) => place.making_in(directory, work),
        None => Ok(work()),
    }
}

/// Whether a group has members, and all of them are root or one of these users.
pub fn is_of_one_of(gid: u32, users: &[u32]) -> bool {
    let members = members_of(gid);
    !members.is_empty() && members.iter().all(|uid| *uid == 0 || users.contains(uid))
}

fn is_sticky(directory: &Access) -> bool {
    directory.mode & 0o1000 != 0
}

/// What lies between the root directory and a file.
struct Way {
    /// The file, all links followed.
    end: PathBuf,
    /// Each directory in which a name was looked up, and the owner of what that name is.
    steps: Vec<(PathBuf, Access, Option<u32>)>,
}

impl Way {
    fn to(path: &Path) -> Result<Way> {
        let absolute =
            std::path::absolute(path).map_err(|error| Fault::new("find", path, error))?;
        let mut way = Way { end: PathBuf::from("/"), steps: Vec::new() };
        let mut ahead = parts(&absolute);
        let mut links = 0;
        while let Some(part) = ahead.pop_front() {
            if part == ".." {
                way.end.pop();
                continue;
            }
            let access =
                Access::at(&way.end).map_err(|error| Fault::new("inspect", &way.end, error))?;
            let next = way.end.join(&part);
            let metadata = match next.symlink_metadata() {
                Ok(metadata) => metadata,
                Err(error) if error.kind() == std::io::ErrorKind::NotFound && ahead.is_empty() => {
                    way.steps.push((way.end.clone(), access, None));
                    way.end = next;
                    break;
                }
                Err(error) => return Err(Fault::new("find", &next, error).into()),
            };
            way.steps.push((way.end.clone(), access, Some(metadata.uid())));
            if !metadata.is_symlink() {
                way.end = next;
                continue;
            }
            links += 1;
            let fault = |error| Fault::new("follow", &next, error);
            let target = std::fs::metadata(&next).map_err(fault)?;
            if ![0, target.uid()].contains(&metadata.uid()) || links > LINKS_MAX {
                return Err(Failure::new(format!(
                    "{} is a symbolic link of {} to a file of {}: root doesn't follow it; name the file itself, or have root create the link",
                    next.display(),
                    account::names(metadata.uid(), metadata.gid()),
                    account::names(target.uid(), target.gid()),
                )));
            }
            let target = std::fs::read_link(&next).map_err(fault)?;
            if target.is_absolute() {
                way.end = PathBuf::from("/");
            }
            for part in parts(&target).into_iter().rev() {
                ahead.push_front(part);
            }
        }
        Ok(way)
    }

    fn directory(&self) -> Result<Access> {
        let directory = directory_of(&self.end);
        Ok(Access::at(directory).map_err(|error| Fault::new("inspect", directory, error))?)
    }

    fn place(&self, users: &Access, directory: &Access) -> Result<OwnedPlace> {
        let contents = if users.uid == 0 && directory.uid != 0 {
            // A file of root's in somebody's directory: they may have put it there.
            (directory.uid, directory.gid)
        } else {
            (users.uid, users.gid)
        };
        for (path, access, next) in &self.steps {
            // Who owns the directory could put anything in the place of a file that isn't theirs to
            // write.
            let may_write = directory.uid == 0
                || directory.uid == contents.0
                || users.may_be_written_by(Who::User(directory.uid));
            let trusted = [contents.0, if may_write { directory.uid } else { contents.0 }];
            let is_kept = is_sticky(access)
                && next.is_none_or(|owner| owner == 0 || trusted.contains(&owner));
            for who in access.writers() {
                let may = match who {
                    Who::User(uid) if trusted.contains(&uid) => true,
                    // Whoever is in it is an administrator.
                    Who::Group(0) => true,
                    // A user's own group, in which there is nobody else.
                    Who::Group(gid) if is_of_one_of(gid, &trusted) => true,
                    Who::User(uid) if uid == access.uid => false,
                    _ => is_kept,
                };
                if !may && (contents.0 == 0 || !users.may_be_written_by(who)) {
                    return Err(self.refusal(path, access, who, contents.0));
                }
            }
        }
        Ok(OwnedPlace { contents, end: self.end.clone() })
    }

    fn refusal(&self, directory: &Path, access: &Access, who: Who, owner: u32) -> Failure {
        let who = match who {
            Who::User(uid) => format!("user {uid}"),
            Who::Group(gid) => format!("group {gid}"),
            Who::Everybody => "everybody".to_owned(),
        };
        let remedy = if owner == 0 {
            "give the users file to the server's user (`chown`), or take that right away (`chmod`)"
        } else {
            "take that right away (`chmod`), or run this as the users file's owner"
        };
        Failure::new(format!(
            "{} ({}, {:04o}) can be changed by {who}, who could replace {}: otpgate does nothing there as root; {remedy}",
            directory.display(),
            account::names(access.uid, access.gid),
            access.mode,
            self.end.display()
        ))
    }
}

/// The names in a path.
fn parts(path: &Path) -> VecDeque<OsString> {
    let name = |part: Component<'_>| match part {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some("..".into()),
        _ => None,
    };
    path.components().filter_map(name).collect()
}
