//! What tells one state of a file from another, and for how long it can mislead.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// What the system says of a file: which one it is, its size, its times.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stamp {
    words: [u64; 7],
}

/// The kernel's clock for files ticks every 10 ms at the slowest; twice that, so that nothing hangs
/// on the edge.
const KERNEL_TICK: Duration = Duration::from_millis(20);

impl Stamp {
    /// From what the system says of a file.
    pub fn of(metadata: &Metadata) -> Stamp {
        Stamp {
            words: [
                metadata.dev(),
                metadata.ino(),
                metadata.size(),
                metadata.mtime() as u64,
                metadata.mtime_nsec() as u64,
                metadata.ctime() as u64,
                metadata.ctime_nsec() as u64,
            ],
        }
    }

    /// The same by a call that makes no copy of it.
    #[allow(clippy::unnecessary_cast)] // how wide they are differs by platform
    pub fn of_stat(stat: &rustix::fs::Stat) -> Stamp {
        Stamp {
            words: [
                stat.st_dev,
                stat.st_ino,
                stat.st_size as u64,
                stat.st_mtime as u64,
                stat.st_mtime_nsec as u64,
                stat.st_ctime as u64,
                stat.st_ctime_nsec as u64,
            ],
        }
    }

    /// The same file with the same number of bytes: it may have been overwritten in place.
    pub fn is_same_size_of_same_file(&self, other: &Stamp) -> bool {
        self.words[..3] == other.words[..3]
    }

    /// As it is stored.
    pub(crate) fn words(&self) -> [u64; 7] {
        self.words
    }

    /// The opposite of [`Stamp::words`].
    pub(crate) fn from_words(words: [u64; 7]) -> Stamp {
        Stamp { words }
    }

    pub(crate) fn inode(&self) -> u64 {
        self.words[1]
    }

    pub(crate) fn size(&self) -> u64 {
        self.words[2]
    }

    /// For how long after a change another one may get the same stamp: a tick of the clock that the
    /// file system keeps its times by. How coarse that is shows in the time itself. Some file
    /// systems keep whole seconds (ext4 with small inodes); a finer time that happens to look like
    /// one is only trusted later than it could be.
    pub(crate) fn tick(&self) -> Duration {
        let kept = match self.words[6] {
            0 => Duration::from_secs(1),
            nanoseconds if nanoseconds % 100_000_000 == 0 => Duration::from_millis(100),
            _ => Duration::ZERO,
        };
        kept + KERNEL_TICK
    }

    /// For how long from now another change may get the same stamp. `None`: no longer.
    pub(crate) fn rest_of_tick(&self) -> Option<Duration> {
        // The time of the last change of anything; unlike the other one, nobody can set it.
        let (seconds, nanoseconds) = (self.words[5] as i64, self.words[6] as u32);
        let changed = UNIX_EPOCH + Duration::new(u64::try_from(seconds).ok()?, nanoseconds);
        // A time in the future (a wrong clock) says nothing of how long ago it was.
        let age = SystemTime::now().duration_since(changed).unwrap_or_default();
        self.tick().checked_sub(age).filter(|rest| !rest.is_zero())
    }

    /// All of it, to be compared or hashed.
    pub fn to_bytes(self) -> [u8; 7 * 8] {
        let mut bytes = [0; 7 * 8];
        for (bytes, word) in bytes.chunks_exact_mut(8).zip(self.words) {
            bytes.copy_from_slice(&word.to_le_bytes());
        }
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_seconds_are_young_for_a_second_and_finer_times_for_two_ticks_of_the_kernel() {
        let at = |nanoseconds| Stamp::from_words([1, 2, 3, 4, nanoseconds, 4, nanoseconds]).tick();
        assert_eq!(at(0), Duration::from_millis(1020));
        assert_eq!(at(300_000_000), Duration::from_millis(120));
        assert_eq!(at(123_456_789), Duration::from_millis(20));
    }
}
