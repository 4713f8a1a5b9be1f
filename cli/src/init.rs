//! `otpgate init`: users, lock, journal and index file, ready for the server's user.

use std::fs::{DirBuilder, File, Metadata};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::Path;
use std::process::ExitCode;

use otpgate::files::open;
use otpgate::users::check as findings;
use otpgate::users::fault::Fault;
use otpgate::users::journal::Journal;
use otpgate::users::lock::{Locked, Paths, open_or_create};
use rustix::fs::{Gid, Mode, OFlags, Uid};

use crate::{Failure, Result, account, check, owner, print};

/// Make the users file with its lock, journal and index, or check those that are there
///
/// The users file belongs to the server's user, mode 0660, because the server writes its state into it; lock, journal
/// and index have the owner and group of the users file. A directory that isn't there is made, with mode 0770.
/// What is there already is left alone and checked. Status 1 if a server run by that user would refuse logins.
#[derive(clap::Args)]
pub struct Arguments {
    /// The user the server runs as [default: www-data or apache when run by root, else yourself]
    #[arg(long, value_name = "USER")]
    user: Option<String>,
    /// A group that may use the files as well [default: the user's own]
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

const FILE_MODE: Mode = Mode::from_raw_mode(0o660);
const DIRECTORY_MODE: Mode = Mode::from_raw_mode(0o770);

pub fn run(file: &Path, arguments: &Arguments) -> Result<ExitCode> {
    let server = account::of_server(arguments.user.as_deref())?;
    let gid = arguments.group.as_deref().map_or(Ok(server.gid), account::group)?;
    let files_owner = (Uid::from_raw(server.uid), Gid::from_raw(gid));

    make_directory(directory_of(file), files_owner)?;
    let was_there = !make_users_file(file, files_owner)?;
    let users = std::fs::metadata(file).map_err(|error| Fault::new("inspect", file, error))?;
    tell(file, &users, was_there)?;

    let paths = Paths::resolve(file)?;
    for companion in paths.lock_files().into_iter().chain([paths.journal(), paths.index()]) {
        let was_there = companion.symlink_metadata().is_ok();
        let opened = open_or_create(&companion, &users)?;
        let metadata = opened.metadata().map_err(|error| Fault::new("inspect", &companion, error))?;
        tell(&companion, &metadata, was_there)?;
        if (metadata.uid(), metadata.gid()) != (users.uid(), users.gid()) {
            print(format_args!(
                "warning: {} has another owner or group than the users file: chown --reference={} it\n",
                companion.display(),
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

    let found = owner::acting_as(&server, || findings::access(file))?;
    print(check::told(&found))?;
    Ok(if check::is_grave(&found) { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn tell(path: &Path, metadata: &Metadata, was_there: bool) -> Result<()> {
    print(format_args!(
        "{} {} ({}, {:04o})\n",
        if was_there { "there already:" } else { "made:" },
        path.display(),
        account::names(metadata.uid(), metadata.gid()),
        metadata.mode() & 0o7777
    ))
}

fn directory_of(file: &Path) -> &Path {
    file.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn make_directory(directory: &Path, owner: (Uid, Gid)) -> Result<()> {
    if directory.is_dir() {
        return Ok(());
    }
    let fault = |error: io::Error| Fault::new("make the directory", directory, error);
    if let Some(parent) = directory.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        DirBuilder::new().recursive(true).mode(0o755).create(parent).map_err(fault)?;
    }
    DirBuilder::new().mode(0o700).create(directory).map_err(fault)?;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let opened = rustix::fs::open(directory, flags, Mode::empty()).map_err(|error| fault(error.into()))?;
    give(&opened, owner, DIRECTORY_MODE).map_err(fault)?;
    print(format_args!("made: {}\n", directory.display()))
}

/// Whether it had to be made.
fn make_users_file(file: &Path, owner: (Uid, Gid)) -> Result<bool> {
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
    let made = rustix::fs::open(file, flags, Mode::RUSR | Mode::WUSR).map_err(|error| fault(error.into()))?;
    let made = File::from(made);
    let done = (&made)
        .write_all(FIRST_LINES.as_bytes())
        .and_then(|()| give(&made, owner, FILE_MODE))
        .and_then(|()| made.sync_all())
        .and_then(|()| File::open(directory_of(file))?.sync_all());
    if done.is_err() {
        // Nobody could use it, and the next run would take it for the admin's.
        let _ = std::fs::remove_file(file);
    }
    done.map_err(fault)?;
    Ok(true)
}

fn give(file: impl rustix::fd::AsFd, (uid, gid): (Uid, Gid), mode: Mode) -> io::Result<()> {
    rustix::fs::fchown(&file, Some(uid), Some(gid))?;
    Ok(rustix::fs::fchmod(&file, mode)?)
}
