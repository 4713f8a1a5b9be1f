//! How safe a users file can be kept.

use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::fs::{AtFlags, StatxAttributes, StatxFlags};

use crate::files::fault::Fault;

/// How a users file is kept safe.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Safety {
    /// Slots are synced with the journal alone.
    Journalled,
    /// The journal may not be where the file is when the power comes back, or not the only one:
    /// each login syncs the users file itself, and its frame is forgotten before it is answered.
    SyncedEach(&'static str),
}

/// How the users file can be kept safe, seen from where its journal is. `Err`: it can't.
pub fn safety_of(users: &File, journal: &File, path: &Path) -> Result<Safety, Fault> {
    let inspect = |file: &File| file.metadata().map_err(|error| Fault::new("inspect", path, error));
    let (users_is, journal_is) = (inspect(users)?, inspect(journal)?);
    if users_is.nlink() > 1 {
        return Err(Fault::of(
            "protect",
            path,
            "it has several names (hard links), and each would have a journal and a lock of its own",
            "remove the other names (`find DIRECTORY -samefile` finds them), or copy it to a file of its own",
        ));
    }
    if users_is.dev() != journal_is.dev() {
        return Ok(Safety::SyncedEach("its journal is on another file system"));
    }
    if is_mount_point(users) {
        return Ok(Safety::SyncedEach(
            "it is mounted by itself, and may have another journal elsewhere",
        ));
    }
    Ok(Safety::Journalled)
}

pub(super) fn is_mount_point(file: &File) -> bool {
    rustix::fs::statx(file, "", AtFlags::EMPTY_PATH, StatxFlags::BASIC_STATS)
        .is_ok_and(|stat| stat.stx_attributes.contains(StatxAttributes::MOUNT_ROOT))
}
