//! `otpgate init`: users, lock, journal and index file, ready for the server's user.

use std::fs::{DirBuilder, File};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::Path;
use std::process::ExitCode;

use otpgate::files::access::Access;
use otpgate::files::directory_of;
use otpgate::files::fault::Fault;
use otpgate::files::open;
use otpgate::files::system::file_uid;
use otpgate::users::check as findings;
use otpgate::users::companion;
use otpgate::users::journal::Journal;
use otpgate::users::lock::Locked;
use rustix::fs::{Gid, Mode, OFlags, Uid};

use crate::owner::{Opened, OwnedPlace};
use crate::{Failure, Result, account, check, owner, print};

/// Create the users file with its lock, journal, index and secret, or check existing ones
///
/// The users file belongs to the server's user, mode 0660, because the server writes its state into
/// it; lock, journal and the like have the owner, group and mode of the users file. A missing
/// directory is created with mode 0770. An existing users file is left alone and checked; its lock,
/// journal and index get its rights. Status 1 if a server run by that user would refuse logins.
#[derive(clap::Args)]
pub struct Arguments {
    /// The user the server runs as [default: www-data or apache when run by root, else yourself]
    #[arg(long, value_name = "USER")]
    user: Option<String>,
    /// A group that may also use the files [default: the user's own]
    #[arg(long, value_name = "GROUP")]
    group: Option<String>,
}

/// What a new users file holds. Nothing is allowed by it; older software reads comments.
const FIRST_LINES: &str = "\
# One token per line, as `otpgate add` writes them. Lines that start with #@ are for otpgate alone.
#
# What may let somebody in without a code: nothing so far.
#@ allow
";

const FILE_MODE: u32 = 0o660;
const DIRECTORY_MODE: u32 = 0o770;

pub fn run(file: &Path, arguments: &Arguments) -> Result<ExitCode> {
    let server = account::of_server(arguments.user.as_deref())?;
    let gid = arguments.group.as_deref().map_or(Ok(server.gid), account::group)?;
    let files_owner = (server.uid, gid);

    make_directory(directory_of(file), files_owner)?;
    let was_there = !make_users_file(file, files_owner)?;
    // Before anything is said of it: whatever a link leads to may be nobody's business here.
    let opened = Opened::new(file)?;
    let users = Access::of(&opened.file).map_err(|error| Fault::new("inspect", file, error))?;
    tell(file, &users, was_there)?;
    for (path, mended) in check::companions(&opened, &users)? {
        tell(&path, &mended.new, mended.was_there)?;
        if (mended.new.uid, mended.new.gid) != (users.uid, users.gid) {
            print(format_args!(
                "warning: {} has another owner or group than the users file: chown --reference={} it\n",
                path.display(),
                file.display()
            ))?;
        }
    }

    // Fills a new journal up to its size, so that no login ever waits for that or lacks the space.
    owner::acting(file, || {
        let locked = Locked::acquire(file)?;
        Journal::open(&locked, &mut None)?;
        Ok(())
    })?;
    for notice in companion::take_notices() {
        print(format_args!("{notice}\n"))?;
    }

    let found = owner::acting_as(&server, || findings::access(file))?;
    print(check::told(&found))?;
    Ok(if check::is_grave(&found) { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn tell(path: &Path, access: &Access, was_there: bool) -> Result<()> {
    print(format_args!(
        "{} {} ({}, {:04o})\n",
        if was_there { "there already:" } else { "made:" },
        path.display(),
        account::names(access.uid, access.gid),
        access.mode
    ))
}

/// As far as it isn't there.
fn make_directory(directory: &Path, (uid, gid): (u32, u32)) -> Result<()> {
    if directory.is_dir() {
        return Ok(());
    }
    let fault = |error: io::Error| Fault::new("make the directory", directory, error);
    let parent = directory_of(directory);
    let there = parent.ancestors().find(|parent| parent.is_dir()).unwrap_or(Path::new("."));
    let place = OwnedPlace::of_new(there, true, &Access::plain(uid, gid, FILE_MODE))?;
    let opened = owner::making_in(place.as_ref(), there, || {
        DirBuilder::new().recursive(true).mode(0o755).create(parent)?;
        DirBuilder::new().mode(0o700).create(directory)?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let opened = File::from(rustix::fs::open(directory, flags, Mode::empty())?);
        let is_ours = opened.metadata()?.uid() == file_uid();
        if is_ours {
            Ok(opened)
        } else {
            Err(io::Error::other("somebody else created it meanwhile"))
        }
    })?
    .map_err(fault)?;
    give(&opened, (uid, gid), DIRECTORY_MODE).map_err(fault)?;
    print(format_args!("made: {}\n", directory.display()))
}

/// Whether it had to be made.
fn make_users_file(file: &Path, (uid, gid): (u32, u32)) -> Result<bool> {
    match std::fs::metadata(file) {
        Ok(metadata) => {
            open::check(&metadata).map_err(|refusal| refusal.into_fault(file))?;
            return Ok(false);
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(Fault::new("inspect", file, error).into()),
    }
    if file.symlink_metadata().is_ok() {
        return Err(Failure::new(format!("{} is a symbolic link to nothing", file.display())));
    }
    let fault = |error: io::Error| Fault::new("make", file, error);
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let place = OwnedPlace::of_new(directory_of(file), false, &Access::plain(uid, gid, FILE_MODE))?;
    let in_directory = |work: &mut dyn FnMut() -> io::Result<Option<File>>| {
        owner::making_in(place.as_ref(), directory_of(file), work)
    };
    let mut make = || {
        let made = rustix::fs::open(file, flags, Mode::RUSR | Mode::WUSR)?;
        Ok(Some(File::from(made)))
    };
    let made = in_directory(&mut make)?.map_err(fault)?.expect("it was made");
    let done = (&made)
        .write_all(FIRST_LINES.as_bytes())
        .and_then(|()| give(&made, (uid, gid), FILE_MODE))
        .and_then(|()| made.sync_all())
        .and_then(|()| File::open(directory_of(file))?.sync_all());
    if done.is_err() {
        // Nobody could use it, and the next run would take it for the admin's.
        let _ = in_directory(&mut || std::fs::remove_file(file).map(|()| None));
    }
    done.map_err(fault)?;
    Ok(true)
}

fn give(file: &File, (uid, gid): (u32, u32), mode: u32) -> io::Result<()> {
    rustix::fs::fchown(file, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))?;
    Ok(rustix::fs::fchmod(file, Mode::from_raw_mode(mode))?)
}
