//! What stands under a name, and whether it is still what the name is meant for.
//!
//! A regular file that is mounted by itself (a container's volume, a bind mount) stays what it was
//! when it is replaced where it came from: the mount shows the old one, which has no name there any
//! more and which nobody can edit. Who was taken out of the new one would still get in.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

use rustix::fs::{AtFlags, CWD, StatxAttributes, StatxFlags};

use crate::files::fault::Fault;

/// While a file takes another one's name, the old one may be seen there without a link. That takes
/// no longer than this.
const TRIES: u32 = 100;
const PAUSE: Duration = Duration::from_millis(2);

/// Whether a file has no name left, or is about to lose it.
pub fn is_nameless(metadata: &Metadata) -> bool {
    metadata.nlink() == 0
}

/// Looks at the file of that name. An error if it was left behind by a mount.
pub fn look(path: &Path) -> Result<Metadata, Fault> {
    for _ in 0..TRIES {
        let metadata = std::fs::metadata(path).map_err(|error| Fault::new("find", path, error))?;
        if !is_nameless(&metadata) {
            return Ok(metadata);
        }
        if is_mounted(path) {
            break;
        }
        std::thread::sleep(PAUSE);
    }
    Err(Fault::of(
        "trust",
        path,
        "it was replaced or removed where it is mounted from, and this is the old file",
        "mount its directory instead of the file (docs/users-file.md), or remount the file",
    ))
}

fn is_mounted(path: &Path) -> bool {
    rustix::fs::statx(CWD, path, AtFlags::empty(), StatxFlags::BASIC_STATS)
        .is_ok_and(|stat| stat.stx_attributes.contains(StatxAttributes::MOUNT_ROOT))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    #[test]
    fn a_file_that_is_replaced_again_and_again_always_has_a_name() {
        let directory = tempfile::tempdir().unwrap();
        let (path, new) = (directory.path().join("file"), directory.path().join("new"));
        std::fs::write(&path, "").unwrap();
        let is_over = AtomicBool::new(false);
        std::thread::scope(|threads| {
            threads.spawn(|| {
                for _ in 0..3_000 {
                    std::fs::write(&new, "").unwrap();
                    std::fs::rename(&new, &path).unwrap();
                }
                is_over.store(true, Ordering::Relaxed);
            });
            while !is_over.load(Ordering::Relaxed) {
                look(&path).unwrap();
            }
        });
    }
}
