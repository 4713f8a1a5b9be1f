//! The journal: what makes a write to the users file whole and durable.
//!
//! Under the lock: a *frame* with the old and the new bytes of each slot is appended and synced,
//! then the slots are overwritten in place. After a crash, whoever takes the lock next finds the
//! frames and finishes what was begun. The users file is synced before space in the journal is used
//! again.
//!
//! ```text
//! 0      header   a hint for running processes, never synced, rebuilt from the frames
//! 1024   mark     in which run of which machine the journal was last recovered
//! 2048   flag     the users file is being replaced by another one
//! 4096   frame    generation, sequence number, checksum, entries
//!        frame    ...
//! ```
//!
//! Frames count only from the first one on, with its generation and in sequence; the generation is
//! random and changes whenever the journal starts over. What we assume of the disk: a synced write
//! stays; a write that isn't synced may be lost, torn at any byte, or overtake others. A sync that
//! fails may have lost what it was to save, and the next one won't tell: then everything is written
//! again before it is synced again.
//!
//! Readers don't take the lock. They see each change of ours by the header's [`JournalPlace`],
//! whatever the clock says, and they wait for whoever rewrites the whole file in place.

mod disk;
mod frame;
mod header;
mod life;
mod look;
mod recover;
mod safety;

use std::fs::File;
use std::io;
use std::path::PathBuf;

use zeroize::Zeroizing;

pub use self::disk::Disk;
pub use self::frame::SlotWrite;
use self::frame::{FrameAt, FrameEntry};
pub use self::header::{Basis, Header, JournalPlace};
use self::life::Life;
pub(super) use self::life::boot;
pub use self::life::{JournalId, id_of};
pub use self::look::{Contents, inspect, is_quiet};
use self::look::{holds_anything, quiet_header};
pub(super) use self::look::{is_replacing, is_rewriting, is_rewriting_in_place};
pub use self::safety::{Safety, safety_of};
use super::companion;
use super::leftovers;
use super::lock::Locked;
use crate::files::fault::Fault;
use crate::files::stamp::Stamp;

/// Bytes kept ready, so that a login needs no space.
const CAPACITY: u64 = 1 << 20;
const MARK_START: u64 = 1024;
const FLAG_START: u64 = 2048;
const IS_REPLACING: u64 = u64::from_le_bytes(*b"REPLACES");
const FRAMES_START: u64 = 4096;

/// The journal, open under the lock and caught up with: what was begun before is finished.
pub struct Journal<'l, D: Disk = File> {
    file: D,
    path: PathBuf,
    users: &'l D,
    users_path: PathBuf,
    capacity: u64,
    header: Header,
    life: Option<Life>,
    safety: Safety,
}

impl<'l> Journal<'l> {
    /// Opens the journal and finishes what a crashed process has begun. `recovered` is the journal
    /// this process has done that for before: then a look at the end of the frames is enough.
    pub fn open(
        locked: &'l Locked,
        recovered: &mut Option<JournalId>,
    ) -> Result<Journal<'l>, Fault> {
        let path = locked.paths.journal();
        let opened = companion::open(&path, &locked.access)?;
        if !opened.is_suspect {
            return Journal::open_file(locked, opened.file, recovered);
        }
        // Others could write it. Where it may hold what a crash has left, and those others were the
        // users file's group, it is believed once; else nothing in it counts.
        let own = opened.file.try_clone().map_err(|error| Fault::new("open", &path, error))?;
        if opened.is_the_groups && holds_anything(&opened.file) {
            Journal::open_file(locked, own, recovered)?.empty()?;
        } else {
            locked
                .users
                .sync_all()
                .map_err(|error| Fault::new("sync", &locked.paths.resolved, error))?;
            // Whoever reads by this header looks for another one.
            Disk::write_all_at(&own, &[0; Header::LEN], 0)
                .map_err(|error| Fault::new("write", &path, error))?;
        }
        *recovered = None;
        let file = companion::renew(&path, opened, &locked.access)?;
        Journal::open_file(locked, file, recovered)
    }

    fn open_file(
        locked: &'l Locked,
        file: File,
        recovered: &mut Option<JournalId>,
    ) -> Result<Journal<'l>, Fault> {
        let path = locked.paths.journal();
        let users_path = locked.paths.resolved.clone();
        let id = id_of(&file).map_err(|error| Fault::new("inspect", &path, error))?;
        let safety = safety_of(&locked.users, &file, &users_path)?;
        let is_recovered = *recovered == Some(id);
        let life = Life::of(&file, id);
        let mut journal = Journal {
            file,
            path,
            users: &locked.users,
            users_path,
            capacity: CAPACITY,
            header: Header::default(),
            life,
            safety,
        };
        journal.refuse_foreign_content()?;
        match journal.quiet_header(is_recovered)? {
            Some(header) => journal.header = header,
            None => {
                // Whatever comes of it: what this process knew holds no longer.
                *recovered = None;
                journal.recover(is_recovered)?;
                leftovers::remove(&locked.paths, &locked.access);
            }
        }
        *recovered = Some(id);
        Ok(journal)
    }

    /// Which one it is.
    pub fn id(&self) -> Result<JournalId, Fault> {
        id_of(&self.file).map_err(|error| self.fault("inspect", error))
    }
}

impl<D: Disk> Journal<'_, D> {
    /// The header, if nothing is left to do and nobody else has changed the users file: this
    /// process has seen to that before, or another one in this life has.
    fn quiet_header(&self, is_recovered: bool) -> Result<Option<Header>, Fault> {
        let life = match (is_recovered, self.life) {
            (true, _) => None,
            (false, Some(life)) => Some(life),
            (false, None) => return Ok(None),
        };
        let header = quiet_header(&self.file, life).map_err(|error| self.fault("read", error))?;
        let stamp = self.users_stamp()?;
        Ok(header.filter(|header| header.stamp == stamp))
    }

    /// The header as it stands.
    pub fn header(&self) -> &Header {
        &self.header
    }

    fn fault(&self, operation: &'static str, error: io::Error) -> Fault {
        Fault::new(operation, &self.path, error)
    }

    fn users_fault(&self, operation: &'static str, error: io::Error) -> Fault {
        Fault::new(operation, &self.users_path, error)
    }

    fn refuse_foreign_content(&self) -> Result<(), Fault> {
        let mut start = [0; 8];
        self.file.read_at(&mut start, 0).map_err(|error| self.fault("read", error))?;
        if Header::may_begin_with(start) {
            return Ok(());
        }
        Err(Fault::of(
            "use",
            &self.path,
            "it is not a journal, or is from a later version of otpgate",
            "install the later version on all servers that share the users file, or move the file away",
        ))
    }

    /// Real zeros, not a hole: a sync of data that is already allocated has no other blocks to
    /// write.
    fn make_room(&mut self) -> Result<(), Fault> {
        // In pieces: a large one that is given back leaves a hole in the memory of a process with
        // many files.
        let zeros = [0; 1 << 16];
        let mut size = self.size()?;
        while size < self.capacity {
            let len = zeros.len().min((self.capacity - size) as usize);
            self.file
                .write_all_at(&zeros[..len], size)
                .map_err(|error| self.fault("extend", error))?;
            size += len as u64;
        }
        self.file.sync_all().map_err(|error| self.fault("sync", error))
    }

    fn size(&self) -> Result<u64, Fault> {
        self.file.stamp().map(|stamp| stamp.size()).map_err(|error| self.fault("inspect", error))
    }

    fn users_stamp(&self) -> Result<Stamp, Fault> {
        self.users.stamp().map_err(|error| self.users_fault("inspect", error))
    }

    fn is_of_this_life(&self) -> Result<bool, Fault> {
        let Some(life) = self.life else { return Ok(false) };
        life.is_of(&self.file).map_err(|error| self.fault("read", error))
    }

    fn set_replacing(&self, is_replacing: bool) -> Result<(), Fault> {
        let word = if is_replacing { IS_REPLACING } else { 0 };
        self.file
            .write_all_at(&word.to_le_bytes(), FLAG_START)
            .map_err(|error| self.fault("write", error))
    }

    fn begin_epoch(&mut self, base: Stamp, stamp: Stamp) -> Result<(), Fault> {
        self.header.epoch = self.random()?;
        self.header.base = base;
        self.header.stamp = stamp;
        self.write_header()
    }

    fn random(&self) -> Result<u64, Fault> {
        let mut bytes = [0; 8];
        getrandom::fill(&mut bytes).map_err(|_| {
            Fault::of("start", &self.path, "no random bytes", "see the system's log")
        })?;
        Ok(u64::from_ne_bytes(bytes))
    }

    /// Without a header meanwhile, so that others recover anew if this fails: what it was to save
    /// is in memory alone then, and the next sync would not even try it again. Said beforehand,
    /// because who fails may be killed before it can say so. Whoever calls this writes a header
    /// next.
    fn sync_users(&self) -> Result<(), Fault> {
        self.distrust()?;
        self.users.sync_data().map_err(|error| self.users_fault("sync", error))
    }

    /// If this fails, a frame is found behind the header's last one, or there is something to wipe.
    fn sync_journal(&self) -> Result<(), Fault> {
        self.file.sync_data().map_err(|error| self.fault("sync", error))
    }

    fn distrust(&self) -> Result<(), Fault> {
        self.file.write_all_at(&[0; Header::LEN], 0).map_err(|error| self.fault("write", error))
    }

    /// Forgets all frames. The users file must have been synced.
    fn start_over(&mut self) -> Result<(), Fault> {
        self.announce_start()?;
        self.forget_first()
    }

    /// In this order: a process killed in between leaves a header that fits what comes next. The
    /// other way round it would be one that makes others append where no recovery looks.
    fn announce_start(&mut self) -> Result<(), Fault> {
        self.header.place = JournalPlace { generation: self.random()?, sequence: 0 };
        self.header.tail = FRAMES_START;
        self.write_header()
    }

    fn forget_first(&self) -> Result<(), Fault> {
        if self.size()? > self.capacity {
            self.file.set_len(self.capacity).map_err(|error| self.fault("shorten", error))?;
        }
        self.file
            .write_all_at(&[0; frame::HEAD_LEN], FRAMES_START)
            .map_err(|error| self.fault("write", error))
    }

    /// The same so that no crash brings a frame back, and nothing can be read of them: an image of
    /// the whole file holds PINs and keys, and would undo what others have written since. The first
    /// head stays until the rest is gone: it says that there is something to wipe.
    fn wipe(&mut self) -> Result<(), Fault> {
        self.announce_start()?;
        let zeros = [0; 1 << 16];
        let (mut at, size) = (FRAMES_START + frame::HEAD_LEN as u64, self.size()?);
        while at < size {
            let len = zeros.len().min((size - at) as usize);
            self.file.write_all_at(&zeros[..len], at).map_err(|error| self.fault("wipe", error))?;
            at += len as u64;
        }
        self.sync_journal()?;
        self.forget_first()?;
        self.sync_journal()
    }

    /// Whether an image was begun here or is not wiped.
    fn has_remains(&self) -> Result<bool, Fault> {
        let first =
            frame::read(&self.file, FRAMES_START).map_err(|error| self.fault("read", error))?;
        Ok(matches!(first, FrameAt::Broken) || self.size()? > self.capacity)
    }

    fn write_header(&self) -> Result<(), Fault> {
        self.file
            .write_all_at(&self.header.to_bytes(), 0)
            .map_err(|error| self.fault("write", error))
    }

    fn append(&mut self, entries: &[FrameEntry]) -> Result<(), Fault> {
        let frame = frame::encode(self.header.place, entries);
        if self.header.tail + frame.len() as u64 > self.capacity && self.header.place.sequence != 0
        {
            self.sync_users()?;
            self.start_over()?;
            return self.append(entries);
        }
        self.file
            .write_all_at(&frame, self.header.tail)
            .map_err(|error| self.fault("write", error))?;
        self.sync_journal()?;
        self.header.tail += frame.len() as u64;
        self.header.place = JournalPlace::next_of(self.header.place);
        Ok(())
    }

    /// Overwrites slots, durably: when this returns, no crash can undo it.
    pub fn write_slots(&mut self, writes: Vec<SlotWrite>) -> Result<(), Fault> {
        let inode = self.users_stamp()?.inode();
        let entries: Vec<FrameEntry> = writes
            .into_iter()
            .map(|write| FrameEntry::Slot { inode, write: Box::new(write) })
            .collect();
        self.append(&entries)?;
        for entry in &entries {
            if let FrameEntry::Slot { write, .. } = entry {
                self.write_slot(write)?;
            }
        }
        self.header.stamp = self.users_stamp()?;
        if self.safety != Safety::Journalled {
            self.sync_users()?;
            self.start_over()?;
            return self.sync_journal();
        }
        self.write_header()
    }

    /// Overwrites bytes of a line in place that a crash may take back, or leave half written:
    /// nothing may rest on them. Readers notice as they notice any change of ours.
    pub fn write_notes(&mut self, notes: &[(u64, Vec<u8>)]) -> Result<(), Fault> {
        for (at, bytes) in notes {
            self.users
                .write_all_at(bytes, *at)
                .map_err(|error| self.users_fault("write", error))?;
        }
        self.header.stamp = self.users_stamp()?;
        self.write_header()
    }

    fn write_slot(&self, write: &SlotWrite) -> Result<(), Fault> {
        self.users
            .write_all_at(&write.after, write.slot)
            .map_err(|error| self.users_fault("write", error))
    }

    /// Replaces the whole content in place, durably, where a new file can't take the old one's
    /// place.
    pub fn write_image(&mut self, content: Zeroizing<Vec<u8>>) -> Result<(), Fault> {
        let inode = self.users_stamp()?.inode();
        // A file that is half written for want of space is nobody's to read until there is some.
        self.users
            .reserve(content.len() as u64)
            .map_err(|error| self.users_fault("reserve space for a rewrite of", error))?;
        // Earlier frames are of the file as it was.
        self.sync_users()?;
        self.start_over()?;
        let entry = [FrameEntry::Image { inode, content }];
        if let Err(fault) = self.append_image(&entry) {
            // Nothing is changed so far. What is there of the image goes, or is found by the next
            // one.
            let _ = self.wipe();
            return Err(fault);
        }
        if let [FrameEntry::Image { content, .. }] = &entry {
            self.overwrite_users(content)?;
        }
        self.empty()
    }

    /// Says first that there will be something to wipe.
    fn append_image(&mut self, entry: &[FrameEntry]) -> Result<(), Fault> {
        let frame = frame::encode(self.header.place, entry);
        let head = &frame[..frame::HEAD_LEN];
        self.file
            .write_all_at(head, self.header.tail)
            .map_err(|error| self.fault("write", error))?;
        self.sync_journal()?;
        self.append(entry)
    }

    fn overwrite_users(&self, content: &[u8]) -> Result<(), Fault> {
        self.users
            .reserve(content.len() as u64)
            .and_then(|()| self.users.write_all_at(content, 0))
            .and_then(|()| self.users.set_len(content.len() as u64))
            .map_err(|error| self.users_fault("write", error))?;
        self.sync_users()
    }

    /// For somebody who is about to change the file by other means, or has done so under the lock:
    /// no frame can undo it, and everybody looks where the lines are now.
    pub fn empty(&mut self) -> Result<(), Fault> {
        self.sync_users()?;
        self.wipe()?;
        self.new_epoch(self.users)
    }

    /// Says that lines may have moved: the users file is now this one, in this state.
    fn new_epoch(&mut self, users: &D) -> Result<(), Fault> {
        let stamp = users.stamp().map_err(|error| self.users_fault("inspect", error))?;
        self.begin_epoch(stamp, stamp)
    }

    /// Puts another file in the place of the users file: `write` fills it, `rename` gives it the
    /// name, or says that it can't. When this returns true, no crash can undo it; false, and
    /// nothing has changed.
    pub fn replace_users(
        &mut self,
        new: &D,
        write: impl FnOnce(&mut dyn io::Write) -> Result<(), Fault>,
        rename: impl FnOnce() -> bool,
    ) -> Result<bool, Fault> {
        write(&mut Appending { file: new, len: 0 })?;
        new.sync_all().map_err(|error| self.users_fault("sync a new version of", error))?;
        // Who reads the new file before its name is on the disk would answer by what a crash can
        // take back.
        self.set_replacing(true)?;
        if !rename() {
            self.set_replacing(false)?;
            return Ok(false);
        }
        new.sync_name(&self.users_path)
            .map_err(|error| self.users_fault("sync the name of", error))?;
        // The frames are of the old file; its number may be the next one's that is made.
        if self.header.place.sequence != 0 {
            self.start_over()?;
            self.sync_journal()?;
        }
        self.new_epoch(new)?;
        self.set_replacing(false)?;
        Ok(true)
    }
}

/// Writes a file from its beginning on.
struct Appending<'f, D> {
    file: &'f D,
    len: u64,
}

impl<D: Disk> io::Write for Appending<'_, D> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write_all_at(bytes, self.len)?;
        self.len += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod crash_tests;
