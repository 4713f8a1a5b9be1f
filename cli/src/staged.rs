//! Several new files with secrets that are all there or not at all.
//!
//! Each is written and synced under a name that nobody takes for its own. They get their own names
//! together, and lose them again unless they are kept. Everything is done in directories that were
//! opened and looked at once: what a path leads to later doesn't matter.

use std::ffi::{OsStr, OsString};
use std::fs::{DirBuilder, File};
use std::io::{self, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use otpgate::files::access::{Access, Who};
use otpgate::files::directory_of;
use rustix::fs::{AtFlags, Mode, OFlags, RenameFlags};
use rustix::io::Errno;

use crate::document::shown;
use crate::{Failure, Result, account, fill_with_random, owner};

/// A directory in which nobody but us and root can put a file in the place of another.
pub struct Directory {
    file: File,
    path: PathBuf,
    /// It goes again if nothing is kept in it.
    is_new: bool,
}

impl Directory {
    /// One that is there.
    pub fn open(path: &Path) -> Result<Directory> {
        let fault = |error: io::Error| {
            Failure::new(format!("cannot use the directory {}: {error}", shown(path)))
        };
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = File::from(rustix::fs::open(path, flags, Mode::empty()).map_err(|errno| {
            let is_link = path.symlink_metadata().is_ok_and(|metadata| metadata.is_symlink());
            match is_link {
                true => Failure::new(format!(
                    "{} is a symbolic link: name the directory itself",
                    shown(path)
                )),
                false => fault(errno.into()),
            }
        })?);
        let access = Access::of(&file).map_err(fault)?;
        let own = rustix::process::geteuid().as_raw();
        if ![0, own].contains(&access.uid) {
            return Err(Failure::new(format!(
                "the directory {} belongs to {}, who could replace what is put there: name one of your own, or a new one",
                shown(path),
                account::names(access.uid, access.gid)
            )));
        }
        let is_trusted = |who: &Who| match *who {
            Who::User(uid) => uid == own,
            Who::Group(gid) => gid == 0 || owner::is_of_one_of(gid, &[own]),
            Who::Everybody => false,
        };
        if !access.writers().iter().all(is_trusted) {
            return Err(Failure::new(format!(
                "the directory {} ({}, {:04o}) can be changed by others, who could replace what is put there: take that \
                 right away (`chmod`), or name a new one",
                shown(path),
                account::names(access.uid, access.gid),
                access.mode
            )));
        }
        Ok(Directory { file, path: path.to_owned(), is_new: false })
    }

    /// One that is there, or else a new one for our eyes only.
    pub fn open_or_make(path: &Path) -> Result<Directory> {
        match DirBuilder::new().mode(0o700).create(path) {
            Ok(()) => {
                let directory = Directory { is_new: true, ..Directory::open(path)? };
                let parent = File::open(directory_of(path)).and_then(|parent| parent.sync_all());
                parent.map_err(|error| {
                    directory.remove_if_new();
                    Failure::new(format!(
                        "cannot sync the directory above {}: {error}",
                        shown(path)
                    ))
                })?;
                Ok(directory)
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Directory::open(path),
            Err(error) => {
                Err(Failure::new(format!("cannot make the directory {}: {error}", shown(path))))
            }
        }
    }

    /// Takes it away again, if it was made and nothing is in it.
    pub fn remove_if_new(&self) {
        if self.is_new {
            let _ = std::fs::remove_dir(&self.path);
        }
    }

    /// Whether something has this name there.
    pub fn has(&self, name: &OsStr) -> bool {
        let looked = rustix::fs::statat(&self.file, name, AtFlags::SYMLINK_NOFOLLOW);
        !matches!(looked, Err(Errno::NOENT))
    }

    fn shown(&self, name: &OsStr) -> String {
        shown(&self.path.join(name))
    }

    fn write(&self, name: &OsStr, content: &[u8]) -> io::Result<()> {
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&self.file, name, flags, Mode::RUSR | Mode::WUSR)?;
        let mut file = File::from(file);
        file.write_all(content)?;
        file.sync_all()
    }

    /// Never over something that has the new name.
    fn rename(&self, old: &OsStr, new: &OsStr) -> io::Result<()> {
        let directory = &self.file;
        match rustix::fs::renameat_with(directory, old, directory, new, RenameFlags::NOREPLACE) {
            // File systems that can't do that can link.
            Err(Errno::INVAL | Errno::NOSYS) => {
                rustix::fs::linkat(directory, old, directory, new, AtFlags::empty())?;
                Ok(rustix::fs::unlinkat(directory, old, AtFlags::empty())?)
            }
            done => Ok(done?),
        }
    }
}

/// The files, and the directories that were made for them.
pub struct Staged<'d> {
    directories: Vec<&'d Directory>,
    files: Vec<StagedFile<'d>>,
    /// Other runs have others.
    prefix: String,
    is_kept: bool,
}

struct StagedFile<'d> {
    directory: &'d Directory,
    name: OsString,
    /// Until it has its name.
    temporary: Option<OsString>,
}

impl<'d> Staged<'d> {
    pub fn new(directories: Vec<&'d Directory>) -> Result<Staged<'d>> {
        let mut staged =
            Staged { directories, files: Vec::new(), prefix: String::new(), is_kept: false };
        let mut random = [0; 8];
        fill_with_random(&mut random)?;
        staged.prefix = format!(".otpgate-{:016x}", u64::from_ne_bytes(random));
        Ok(staged)
    }

    /// Writes one more file, mode 0600, durably.
    pub fn add(&mut self, directory: &'d Directory, name: OsString, content: &[u8]) -> Result<()> {
        let temporary = OsString::from(format!("{}-{}", self.prefix, self.files.len()));
        let written = directory.write(&temporary, content);
        let failure = written.map_err(|error| {
            Failure::new(format!("cannot write {}: {error}", directory.shown(&name)))
        });
        self.files.push(StagedFile { directory, name, temporary: Some(temporary) });
        failure
    }

    /// Gives each its name, durably.
    pub fn give_names(&mut self) -> Result<()> {
        for StagedFile { directory, name, temporary } in &mut self.files {
            let Some(old) = temporary else { continue };
            directory.rename(old, name).map_err(|error| already_or(directory, name, &error))?;
            *temporary = None;
        }
        for directory in &self.directories {
            directory.file.sync_all().map_err(|error| {
                Failure::new(format!(
                    "cannot sync the directory {}: {error}",
                    shown(&directory.path)
                ))
            })?;
        }
        Ok(())
    }

    /// From now on they stay.
    pub fn keep(mut self) {
        self.is_kept = true;
    }
}

fn already_or(directory: &Directory, name: &OsStr, error: &io::Error) -> Failure {
    match error.kind() {
        io::ErrorKind::AlreadyExists => Failure::new(already(directory, name)),
        _ => Failure::new(format!("cannot make {}: {error}", directory.shown(name))),
    }
}

/// What to say of a name that something else has.
pub fn already(directory: &Directory, name: &OsStr) -> String {
    format!("{} already exists; remove it or use another name", directory.shown(name))
}

impl Drop for Staged<'_> {
    fn drop(&mut self) {
        if self.is_kept {
            return;
        }
        for StagedFile { directory, name, temporary } in &self.files {
            let name = temporary.as_ref().unwrap_or(name);
            let _ = rustix::fs::unlinkat(&directory.file, name, AtFlags::empty());
        }
        for directory in self.directories.iter().rev() {
            directory.remove_if_new();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    fn names(path: &Path) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(path)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn files_are_kept_together_or_go_together_with_their_directory() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("new");
        for is_kept in [false, true] {
            let directory = Directory::open_or_make(&path).unwrap();
            let mut staged = Staged::new(vec![&directory]).unwrap();
            staged.add(&directory, "a".into(), b"1").unwrap();
            staged.add(&directory, "b".into(), b"2").unwrap();
            assert!(names(&path).iter().all(|name| name.starts_with(".otpgate-")));
            staged.give_names().unwrap();
            assert_eq!(names(&path), ["a", "b"]);
            let mode = fs::metadata(path.join("a")).unwrap().permissions().mode();
            assert_eq!(mode & 0o7777, 0o600);
            if is_kept {
                staged.keep();
                assert_eq!(fs::read(path.join("b")).unwrap(), b"2");
            } else {
                drop(staged);
                assert!(!path.exists());
            }
        }
    }

    #[test]
    fn what_has_a_name_already_keeps_it_and_all_others_go() {
        let root = tempfile::tempdir().unwrap();
        let directory = Directory::open(root.path()).unwrap();
        let mut staged = Staged::new(vec![&directory]).unwrap();
        for name in ["a", "b", "c"] {
            staged.add(&directory, name.into(), b"mine").unwrap();
        }
        // Even a link that leads nowhere has a name.
        symlink("/nowhere/at/all", root.path().join("b")).unwrap();
        assert!(directory.has(OsStr::new("b")) && !directory.has(OsStr::new("a")));
        let refused = staged.give_names().unwrap_err().to_string();
        assert!(refused.contains("/b already exists"), "{refused}");
        drop(staged);
        assert_eq!(names(root.path()), ["b"]);
    }

    #[test]
    fn a_directory_that_others_can_change_is_refused() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("open");
        fs::create_dir(&path).unwrap();
        for mode in [0o777, 0o1777, 0o702] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            let refused = Directory::open(&path).err().unwrap().to_string();
            assert!(refused.contains("can be changed by others"), "{mode:o}: {refused}");
        }
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        Directory::open(&path).unwrap();
        let link = root.path().join("link");
        symlink(&path, &link).unwrap();
        let refused = Directory::open_or_make(&link).err().unwrap().to_string();
        assert!(refused.contains("is a symbolic link"), "{refused}");
    }
}
