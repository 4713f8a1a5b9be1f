//! In which run of a machine a journal was left, and by whom.

use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;

use rustix::fs::{AtFlags, StatxFlags};

use super::{Disk, MARK_START};

/// Which journal a process has already recovered from: device and inode.
pub type JournalId = (u64, u64);

/// The [`JournalId`] of an open journal.
pub fn id_of(journal: &File) -> io::Result<JournalId> {
    journal.metadata().map(|own| (own.dev(), own.ino()))
}

/// A run of a machine, and the journal in it, as mounted: between two looks in one such life, no
/// power was cut.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Life {
    pub(super) boot: u128,
    pub(super) mount: u64,
    /// No other mount is ever given that number. Not a part of what is stored.
    pub(super) is_unique: bool,
    pub(super) journal: JournalId,
}

impl Life {
    pub(super) const MAGIC: u64 = u64::from_le_bytes(*b"OTPLIFE1");
    pub(super) const WORDS: usize = 7;
    pub(super) const LEN: usize = Self::WORDS * 8;

    pub(super) fn of(journal: &File, id: JournalId) -> Option<Life> {
        // STATX_MNT_ID_UNIQUE, which rustix has no name for: a number that is never given again.
        // Older kernels leave it out, and give the other one.
        let wanted = StatxFlags::MNT_ID | StatxFlags::from_bits_retain(0x4000);
        let stat = rustix::fs::statx(journal, "", AtFlags::EMPTY_PATH, wanted).ok()?;
        let is_unique = stat.stx_mask & 0x4000 != 0;
        Some(Life { boot: boot()?, mount: stat.stx_mnt_id, is_unique, journal: id })
    }

    /// What the journal was marked with last.
    pub(super) fn marked(journal: &impl Disk) -> io::Result<[u8; Life::LEN]> {
        let mut bytes = [0; Life::LEN];
        journal.read_at(&mut bytes, MARK_START)?;
        Ok(bytes)
    }

    pub(super) fn is_of(self, journal: &impl Disk) -> io::Result<bool> {
        Ok(Life::marked(journal)? == self.to_bytes())
    }

    pub(super) fn to_bytes(self) -> [u8; Life::LEN] {
        let (device, inode) = self.journal;
        let mut words =
            [Life::MAGIC, (self.boot >> 64) as u64, self.boot as u64, self.mount, device, inode, 0];
        let mut bytes = [0; Life::LEN];
        for i in 0..words.len() {
            if i + 1 == Life::WORDS {
                words[i] = u64::from(crc32fast::hash(&bytes[..i * 8]));
            }
            bytes[i * 8..i * 8 + 8].copy_from_slice(&words[i].to_le_bytes());
        }
        bytes
    }
}

/// Tells one run of the machine from the next.
pub(in crate::users) fn boot() -> Option<u128> {
    let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    u128::from_str_radix(&text.trim().replace('-', ""), 16).ok()
}
