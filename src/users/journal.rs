//! The journal: what makes a write to the users file whole and durable.
//!
//! Under the lock: a *frame* with the old and the new bytes of each slot is appended and synced, then the slots
//! are overwritten in place. After a crash, whoever takes the lock next finds the frames and finishes what was
//! begun. The users file is synced before space in the journal is used again.
//!
//! ```text
//! 0      header   a hint for running processes, never synced, rebuilt from the frames
//! 1024   mark     in which run of which machine the journal was last recovered
//! 2048   flag     the users file is being replaced by another one
//! 4096   frame    generation, sequence number, checksum, entries
//!        frame    ...
//! ```
//!
//! Frames count only from the first one on, with its generation and in sequence; the generation is random and
//! changes whenever the journal starts over. What we assume of the disk: a synced write stays; a write that
//! isn't synced may be lost, torn at any byte, or overtake others. A sync that fails may have lost what it was to
//! save, and the next one won't tell: then everything is written again before it is synced again.
//!
//! Readers don't take the lock. They see each change of ours by the header's [`Place`], whatever the clock says, and
//! they wait for whoever rewrites the whole file in place.

mod disk;
mod frame;
mod header;

use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, StatxAttributes, StatxFlags};
use zeroize::Zeroizing;

pub use self::disk::Disk;
pub use self::frame::SlotWrite;
use self::frame::{Entry, FrameAt};
pub use self::header::{Basis, Header, Place};
use super::companion;
use super::lock::Locked;
use super::record;
use super::slot::{self, Slot};
use super::{leftovers, line};
use crate::files::fault::Fault;
use crate::files::lines;
use crate::files::stamp::Stamp;

/// Bytes kept ready, so that a login needs no space.
const CAPACITY: u64 = 1 << 20;
const MARK_START: u64 = 1024;
const FLAG_START: u64 = 2048;
const IS_REPLACING: u64 = u64::from_le_bytes(*b"REPLACES");
const FRAMES_START: u64 = 4096;

/// Which journal a process has already recovered from: device and inode.
pub type JournalId = (u64, u64);

/// The [`JournalId`] of an open journal.
pub fn id_of(journal: &File) -> io::Result<JournalId> {
    journal.metadata().map(|own| (own.dev(), own.ino()))
}

/// A run of a machine, and the journal in it, as mounted: between two looks in one such life, no power was cut.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Life {
    boot: u128,
    mount: u64,
    /// No other mount is ever given that number. Not a part of what is stored.
    is_unique: bool,
    journal: JournalId,
}

impl Life {
    const MAGIC: u64 = u64::from_le_bytes(*b"OTPLIFE1");
    const WORDS: usize = 7;
    const LEN: usize = Self::WORDS * 8;

    fn of(journal: &File, id: JournalId) -> Option<Life> {
        // STATX_MNT_ID_UNIQUE, which rustix has no name for: a number that is never given again. Older kernels leave it
        // out, and give the other one.
        let wanted = StatxFlags::MNT_ID | StatxFlags::from_bits_retain(0x4000);
        let stat = rustix::fs::statx(journal, "", AtFlags::EMPTY_PATH, wanted).ok()?;
        let is_unique = stat.stx_mask & 0x4000 != 0;
        Some(Life { boot: boot()?, mount: stat.stx_mnt_id, is_unique, journal: id })
    }

    /// What the journal was marked with last.
    fn marked(journal: &impl Disk) -> io::Result<[u8; Life::LEN]> {
        let mut bytes = [0; Life::LEN];
        journal.read_at(&mut bytes, MARK_START)?;
        Ok(bytes)
    }

    fn is_of(self, journal: &impl Disk) -> io::Result<bool> {
        Ok(Life::marked(journal)? == self.to_bytes())
    }

    fn to_bytes(self) -> [u8; Life::LEN] {
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

/// How a users file is kept safe.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Safety {
    /// Slots are synced with the journal alone.
    Journalled,
    /// The journal may not be where the file is when the power comes back, or not the only one: each login syncs the
    /// users file itself, and its frame is forgotten before it is answered.
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
        return Ok(Safety::SyncedEach("it is mounted by itself, and may have another journal elsewhere"));
    }
    Ok(Safety::Journalled)
}

fn is_mount_point(file: &File) -> bool {
    rustix::fs::statx(file, "", AtFlags::EMPTY_PATH, StatxFlags::BASIC_STATS)
        .is_ok_and(|stat| stat.stx_attributes.contains(StatxAttributes::MOUNT_ROOT))
}

/// The header of a journal in which nothing waits to be done. For somebody who hasn't recovered from it, somebody else
/// must have in this `life`.
fn quiet_header(journal: &impl Disk, life: Option<Life>) -> io::Result<Option<Header>> {
    let Some(header) = Header::read(journal) else { return Ok(None) };
    if let Some(life) = life
        && !(life.is_of(journal)? && (life.is_unique || header.place.sequence == 0))
    {
        return Ok(None);
    }
    // A frame after the last one that the header knows, or one that was to be forgotten.
    let is_begun = frame::begun_at(journal, header.tail)?
        .is_some_and(|place| place == header.place || header.place.sequence == 0);
    Ok((!is_begun && !is_replacing(journal)).then_some(header))
}

/// Whether a process that hasn't recovered from this journal may read the users file without doing so: nothing waits,
/// and no power was cut since somebody saw to that.
pub fn is_quiet(journal: &File) -> bool {
    let look = || -> io::Result<bool> {
        let Some(life) = Life::of(journal, id_of(journal)?) else { return Ok(false) };
        Ok(quiet_header(journal, Some(life))?.is_some())
    };
    look().unwrap_or(false)
}

/// Whether there may be something to recover.
fn holds_anything(journal: &File) -> bool {
    let mut start = [0; 8];
    !is_quiet(journal)
        && Disk::read_at(journal, &mut start, 0).is_ok()
        && Header::may_begin_with(start)
        && frame::read(journal, FRAMES_START).is_ok_and(|frame| matches!(frame, FrameAt::Whole { .. }))
}

/// What a look at a journal shows, without the lock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Contents {
    /// It is no journal, or one of a later version.
    pub is_foreign: bool,
    /// A rewrite of the users file has begun and isn't over.
    pub is_pending: bool,
    /// There are lines of a users file in it where nothing should be, with PINs and keys.
    pub has_remains: bool,
}

/// Whether the whole users file is being written anew, or was when that was cut short.
pub(super) fn is_rewriting(journal: &impl Disk) -> bool {
    let is_in_place = || Header::read(journal).is_some() && Header::read_unless_rewriting(journal).is_none();
    is_replacing(journal) || is_in_place()
}

/// Looks at a journal. Somebody may be at work on it: what is pending may be over in a moment.
pub fn inspect(journal: &File) -> io::Result<Contents> {
    let mut start = [0; 8];
    let len = Disk::read_at(journal, &mut start, 0)?;
    if len > 0 && !Header::may_begin_with(start) {
        return Ok(Contents { is_foreign: true, ..Contents::default() });
    }
    let is_foreign = match frame::read(journal, FRAMES_START)? {
        FrameAt::Whole { body, .. } => Entry::parse_all(&body).is_none(),
        _ => false,
    };
    let (header, is_pending) = (Header::read(journal), is_rewriting(journal));
    let tail = header.map_or(FRAMES_START, |header| header.tail.max(FRAMES_START));
    // No more than a journal keeps: what its size says by itself is no reason to take memory.
    let rest = journal.metadata()?.len().saturating_sub(tail).min(CAPACITY);
    let mut rest = Zeroizing::new(vec![0; rest as usize]);
    Disk::read_at(journal, &mut rest, tail)?;
    let has_remains = !is_pending
        && rest.split(|&byte| byte == b'\n' || byte == 0).any(|text| {
            !lines::is_ignored(text) && record::parse_one_of_many(text, &jiff::tz::TimeZone::UTC).is_ok()
        });
    Ok(Contents { is_foreign, is_pending, has_remains })
}

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
    /// Opens the journal and finishes what a crashed process has begun. `recovered` is the journal this process
    /// has done that for before: then a look at the end of the frames is enough.
    pub fn open(locked: &'l Locked, recovered: &mut Option<JournalId>) -> Result<Journal<'l>, Fault> {
        let path = locked.paths.journal();
        let opened = companion::open(&path, &locked.access)?;
        if !opened.is_suspect {
            return Journal::open_file(locked, opened.file, recovered);
        }
        // Others could write it. Where it may hold what a crash has left, and those others were the users file's group,
        // it is believed once; else nothing in it counts.
        let own = opened.file.try_clone().map_err(|error| Fault::new("open", &path, error))?;
        if opened.is_the_groups && holds_anything(&opened.file) {
            Journal::open_file(locked, own, recovered)?.empty()?;
        } else {
            locked.users.sync_all().map_err(|error| Fault::new("sync", &locked.paths.resolved, error))?;
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

/// What is to be done about a slot that a frame names.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Standing {
    /// It is as the last frame left it. Written again, in case a sync has failed.
    Done,
    /// It is as it was before one of the frames.
    Former,
    /// It is a part of one image and a part of another.
    Torn,
    /// Somebody else has written there since.
    Foreign,
}

/// A slot that frames name, and all that has stood there.
struct Written {
    write: SlotWrite,
    images: Vec<Slot>,
    /// Of another users file under this name.
    is_elsewhere: bool,
    /// Its process may have been killed in the middle of it.
    is_pending: bool,
}

/// Frames as they were found.
struct Found {
    entries: Vec<(Entry, bool)>,
    place: Place,
    end: u64,
}

impl<D: Disk> Journal<'_, D> {
    /// The header, if nothing is left to do and nobody else has changed the users file: this process has seen to that
    /// before, or another one in this life has.
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
            "it is no journal, or one of a later version of otpgate",
            "install the later version on all servers that share the users file, or move the file away",
        ))
    }

    /// Real zeros, not a hole: a sync of data that is already allocated has no other blocks to write.
    fn make_room(&mut self) -> Result<(), Fault> {
        // In pieces: a large one that is given back leaves a hole in the memory of a process with many files.
        let zeros = [0; 1 << 16];
        let mut size = self.size()?;
        while size < self.capacity {
            let len = zeros.len().min((self.capacity - size) as usize);
            self.file.write_all_at(&zeros[..len], size).map_err(|error| self.fault("extend", error))?;
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

    /// Finishes what was begun, and leaves an empty journal.
    fn recover(&mut self, is_recovered: bool) -> Result<(), Fault> {
        if self.size()? < self.capacity {
            self.make_room()?;
        }
        let (header, stamp) = (Header::read(&self.file), self.users_stamp()?);
        let may_have_crashed = !is_recovered && !self.is_of_this_life()?;
        let mark = Life::marked(&self.file).map_err(|error| self.fault("read", error))?;
        let has_been_ours = mark[..8] == Life::MAGIC.to_le_bytes();
        let is_foreign = header.is_none_or(|header| header.stamp != stamp);
        self.header = header.unwrap_or_default();

        let found = self.read_frames(header)?;
        let mut has_moved = false;
        if let Some(found) = found {
            self.header.place = found.place;
            self.header.tail = found.end;
            // Before anything rests on it: what a killed process has left may not be on the disk.
            self.write_again(FRAMES_START, found.end)?;
            self.sync_journal()?;
            has_moved = self.apply(found.entries, may_have_crashed)?;
            self.sync_users()?;
        } else if is_foreign || may_have_crashed {
            self.sync_users()?;
        }
        if is_foreign || may_have_crashed {
            // Editors don't sync. If a crash took their work back, frames written upon it would fit nothing.
            self.users
                .sync_name(&self.users_path)
                .map_err(|error| self.users_fault("sync the name of", error))?;
        }
        let mut now = self.users_stamp()?;
        if is_foreign && !has_moved && now.rest_of_tick().is_some() {
            // Whoever edits may go on in the same tick: not a state to be known by its stamp, so far.
            now = Stamp::default();
        }
        if has_moved || !has_been_ours || self.has_remains()? {
            self.wipe()?;
        } else {
            self.start_over()?;
            if self.safety != Safety::Journalled {
                // Who edits the file by way of the other journal can't empty this one.
                self.sync_journal()?;
            }
        }
        self.header.stamp = now;
        if is_foreign || may_have_crashed || has_moved {
            self.begin_epoch(if has_moved { now } else { stamp }, now)?;
        } else {
            self.write_header()?;
        }
        if is_replacing(&self.file) {
            self.set_replacing(false)?;
        }
        match self.life {
            Some(life) if !self.is_of_this_life()? => self
                .file
                .write_all_at(&life.to_bytes(), MARK_START)
                .map_err(|error| self.fault("write", error)),
            _ => Ok(()),
        }
    }

    fn set_replacing(&self, is_replacing: bool) -> Result<(), Fault> {
        let word = if is_replacing { IS_REPLACING } else { 0 };
        self.file.write_all_at(&word.to_le_bytes(), FLAG_START).map_err(|error| self.fault("write", error))
    }

    /// The frames from the first on, as far as they are whole. An entry goes with whether it may be unfinished though no
    /// power was cut: the header, written last of all, doesn't know its frame.
    fn read_frames(&self, header: Option<Header>) -> Result<Option<Found>, Fault> {
        let mut found: Option<Found> = None;
        let mut at = FRAMES_START;
        loop {
            let frame = frame::read(&self.file, at).map_err(|error| self.fault("read", error))?;
            let FrameAt::Whole { place, body, end } = frame else { return Ok(found) };
            let expected = found.as_ref().map_or(Place { sequence: 0, ..place }, |found| found.place);
            if place != expected {
                return Ok(found);
            }
            let Some(entries) = Entry::parse_all(&body) else {
                return Err(Fault::of(
                    "read",
                    &self.path,
                    "it was written by a version of otpgate that this one doesn't know",
                    "install the newer version on all servers that share the users file",
                ));
            };
            let is_pending = header.is_none_or(|header| {
                header.place.generation != place.generation || place.sequence >= header.place.sequence
            });
            let place = Place::next_of(place);
            let entries = entries.into_iter().map(|entry| (entry, is_pending));
            match &mut found {
                Some(found) => {
                    found.entries.extend(entries);
                    (found.place, found.end) = (place, end);
                }
                None => found = Some(Found { entries: entries.collect(), place, end }),
            }
            at = end;
        }
    }

    /// Writes what stands there: a sync that failed has left it in memory alone.
    fn write_again(&self, from: u64, to: u64) -> Result<(), Fault> {
        let mut bytes = Zeroizing::new(vec![0; (to - from) as usize]);
        self.file.read_at(&mut bytes, from).map_err(|error| self.fault("read", error))?;
        self.file.write_all_at(&bytes, from).map_err(|error| self.fault("write", error))
    }

    /// Brings the users file to where the frames say it was. Whether lines have moved.
    fn apply(&mut self, entries: Vec<(Entry, bool)>, may_have_crashed: bool) -> Result<bool, Fault> {
        let users = self.users_stamp()?.inode();
        let mut slots: Vec<Written> = Vec::new();
        let mut has_moved = false;
        for (entry, is_pending) in entries {
            match entry {
                Entry::Slot { inode, write } => {
                    let known = slots.iter_mut().find(|known| {
                        let known = &known.write;
                        (known.line, known.slot, known.fingerprint)
                            == (write.line, write.slot, write.fingerprint)
                    });
                    match known {
                        Some(known) => {
                            known.images.extend([write.before, write.after]);
                            known.write.after = write.after;
                            known.is_pending |= is_pending;
                        }
                        None => slots.push(Written {
                            images: vec![write.before, write.after],
                            write: *write,
                            is_elsewhere: inode != users,
                            is_pending,
                        }),
                    }
                }
                Entry::Image { inode, content } if inode == users => {
                    self.overwrite_users(&content)?;
                    has_moved = true;
                }
                // The file was replaced, with what the image was to bring or with something else.
                Entry::Image { .. } => {}
            }
        }
        for written in slots {
            let standing = self.standing(&written).map_err(|error| self.users_fault("read", error))?;
            let is_ours = match standing {
                // An older copy that was put back, by whatever means: its codes stay spent.
                Standing::Done | Standing::Former => true,
                Standing::Torn => !written.is_elsewhere && (may_have_crashed || written.is_pending),
                Standing::Foreign => false,
            };
            if is_ours {
                self.write_slot(&written.write)?;
            }
        }
        Ok(has_moved)
    }

    fn standing(&self, written: &Written) -> io::Result<Standing> {
        let Written { write, images, .. } = written;
        let head_len = write.slot.saturating_sub(write.line) as usize;
        if write.slot < write.line || head_len > line::LINE_MAX {
            return Ok(Standing::Foreign);
        }
        let mut line = vec![0; head_len + slot::LEN];
        if self.users.read_at(&mut line, write.line)? < line.len() {
            return Ok(Standing::Foreign);
        }
        let (head, current) = line.split_at(head_len);
        let starts_line = write.line == 0 || {
            let mut before = [0];
            self.users.read_at(&mut before, write.line - 1)?;
            before == *b"\n"
        };
        let is_the_line = starts_line
            && !head.contains(&b'\n')
            && record::fingerprint_of_line(head) == Some(write.fingerprint);
        Ok(if !is_the_line {
            Standing::Foreign
        } else if current == write.after {
            Standing::Done
        } else if images.iter().any(|image| current == image) {
            Standing::Former
        } else if !is_whole_slot(&line, head_len) && is_torn(current, images) {
            Standing::Torn
        } else {
            Standing::Foreign
        })
    }

    fn begin_epoch(&mut self, base: Stamp, stamp: Stamp) -> Result<(), Fault> {
        self.header.epoch = self.random()?;
        self.header.base = base;
        self.header.stamp = stamp;
        self.write_header()
    }

    fn random(&self) -> Result<u64, Fault> {
        let mut bytes = [0; 8];
        getrandom::fill(&mut bytes)
            .map_err(|_| Fault::of("start", &self.path, "no random bytes", "see the system's log"))?;
        Ok(u64::from_ne_bytes(bytes))
    }

    /// Without a header meanwhile, so that others recover anew if this fails: what it was to save is in memory alone then,
    /// and the next sync would not even try it again. Said beforehand, because who fails may be killed before it can say
    /// so. Whoever calls this writes a header next.
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

    /// In this order: a process killed in between leaves a header that fits what comes next. The other way round it
    /// would be one that makes others append where no recovery looks.
    fn announce_start(&mut self) -> Result<(), Fault> {
        self.header.place = Place { generation: self.random()?, sequence: 0 };
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

    /// The same so that no crash brings a frame back, and nothing can be read of them: an image of the whole file holds
    /// PINs and keys, and would undo what others have written since. The first head stays until the rest is gone: it
    /// says that there is something to wipe.
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
        let first = frame::read(&self.file, FRAMES_START).map_err(|error| self.fault("read", error))?;
        Ok(matches!(first, FrameAt::Broken) || self.size()? > self.capacity)
    }

    fn write_header(&self) -> Result<(), Fault> {
        self.file.write_all_at(&self.header.to_bytes(), 0).map_err(|error| self.fault("write", error))
    }

    fn append(&mut self, entries: &[Entry]) -> Result<(), Fault> {
        let frame = frame::encode(self.header.place, entries);
        if self.header.tail + frame.len() as u64 > self.capacity && self.header.place.sequence != 0 {
            self.sync_users()?;
            self.start_over()?;
            return self.append(entries);
        }
        self.file.write_all_at(&frame, self.header.tail).map_err(|error| self.fault("write", error))?;
        self.sync_journal()?;
        self.header.tail += frame.len() as u64;
        self.header.place = Place::next_of(self.header.place);
        Ok(())
    }

    /// Overwrites slots, durably: when this returns, no crash can undo it.
    pub fn write_slots(&mut self, writes: Vec<SlotWrite>) -> Result<(), Fault> {
        let inode = self.users_stamp()?.inode();
        let entries: Vec<Entry> =
            writes.into_iter().map(|write| Entry::Slot { inode, write: Box::new(write) }).collect();
        self.append(&entries)?;
        for entry in &entries {
            if let Entry::Slot { write, .. } = entry {
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

    fn write_slot(&self, write: &SlotWrite) -> Result<(), Fault> {
        self.users.write_all_at(&write.after, write.slot).map_err(|error| self.users_fault("write", error))
    }

    /// Replaces the whole content in place, durably, where a new file can't take the old one's place.
    pub fn write_image(&mut self, content: Zeroizing<Vec<u8>>) -> Result<(), Fault> {
        let inode = self.users_stamp()?.inode();
        // A file that is half written for want of space is nobody's to read until there is some.
        self.users
            .reserve(content.len() as u64)
            .map_err(|error| self.users_fault("reserve space for a rewrite of", error))?;
        // Earlier frames are of the file as it was.
        self.sync_users()?;
        self.start_over()?;
        let entry = [Entry::Image { inode, content }];
        if let Err(fault) = self.append_image(&entry) {
            // Nothing is changed so far. What is there of the image goes, or is found by the next one.
            let _ = self.wipe();
            return Err(fault);
        }
        if let [Entry::Image { content, .. }] = &entry {
            self.overwrite_users(content)?;
        }
        self.empty()
    }

    /// Says first that there will be something to wipe.
    fn append_image(&mut self, entry: &[Entry]) -> Result<(), Fault> {
        let frame = frame::encode(self.header.place, entry);
        let head = &frame[..frame::HEAD_LEN];
        self.file.write_all_at(head, self.header.tail).map_err(|error| self.fault("write", error))?;
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

    /// For somebody who is about to change the file by other means, or has done so under the lock: no frame can undo it,
    /// and everybody looks where the lines are now.
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

    /// Puts another file in the place of the users file: `write` fills it, `rename` gives it the name, or says that it
    /// can't. When this returns true, no crash can undo it; false, and nothing has changed.
    pub fn replace_users(
        &mut self,
        new: &D,
        write: impl FnOnce(&mut dyn io::Write) -> Result<(), Fault>,
        rename: impl FnOnce() -> bool,
    ) -> Result<bool, Fault> {
        write(&mut Appending { file: new, len: 0 })?;
        new.sync_all().map_err(|error| self.users_fault("sync a new version of", error))?;
        // Who reads the new file before its name is on the disk would answer by what a crash can take back.
        self.set_replacing(true)?;
        if !rename() {
            self.set_replacing(false)?;
            return Ok(false);
        }
        new.sync_name(&self.users_path).map_err(|error| self.users_fault("sync the name of", error))?;
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

/// Whether somebody is putting another file in the place of the users file: it may be there without being durable.
pub(super) fn is_replacing(journal: &impl Disk) -> bool {
    let mut word = [0; 8];
    journal.read_at(&mut word, FLAG_START).is_err() || word == IS_REPLACING.to_le_bytes()
}

/// Whether the state in a slot is one that was written there as a whole. That the line has a word with a right checksum
/// isn't enough: behind a short one, the end of a longer one may be left.
fn is_whole_slot(line: &[u8], head_len: usize) -> bool {
    record::parse(line, &jiff::tz::TimeZone::UTC)
        .is_ok_and(|record| record.state.intact && record.layout.slot == Some(head_len))
}

/// Whether a slot can be what cuts have left of these images: each byte is one of theirs. A recovery can be cut, too, so
/// nothing is said of how many pieces there are.
fn is_torn(current: &[u8], images: &[Slot]) -> bool {
    current.iter().enumerate().all(|(i, byte)| images.iter().any(|image| image[i] == *byte))
}

/// Tells one run of the machine from the next.
pub(super) fn boot() -> Option<u128> {
    let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    u128::from_str_radix(&text.trim().replace('-', ""), 16).ok()
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
