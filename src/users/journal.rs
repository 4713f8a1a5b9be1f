//! The journal: what makes a write to the users file whole and durable.
//!
//! Under the lock: a *frame* with the old and the new bytes of each slot is appended and synced, then the slots
//! are overwritten in place. After a crash, whoever takes the lock next finds the frames and finishes what was
//! begun. The users file is synced before space in the journal is used again.
//!
//! ```text
//! 0      header   a hint for running processes, never synced, rebuilt from the frames
//! 4096   frame    generation, sequence number, checksum, entries
//!        frame    ...
//! ```
//!
//! Frames count only from the first one on, with its generation and in sequence; the generation is random and
//! changes whenever the journal starts over. What we assume of the disk: a synced write stays; a write that
//! isn't synced may be lost, torn at any byte, or overtake others.

use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use super::fault::Fault;
use super::line;
use super::lock::{Locked, open_or_create};
use super::record;
use super::slot::{self, Slot};
use crate::token::Fingerprint;

/// Bytes kept ready, so that a login needs no space.
const CAPACITY: u64 = 1 << 20;
const FRAMES_START: u64 = 4096;
const MAGIC: u64 = u64::from_le_bytes(*b"OTPGATE1");
const FRAME_MAGIC: u64 = u64::from_le_bytes(*b"OTPFRAME");
const FRAME_HEAD: usize = 40;

/// The file operations that durability rests on, so that tests can cut them short.
pub trait Disk {
    /// Reads at an offset; fewer bytes only at the end of the file.
    fn read_at(&self, buffer: &mut [u8], at: u64) -> io::Result<usize>;
    /// Writes at an offset, all of it or an error.
    fn write_all_at(&self, bytes: &[u8], at: u64) -> io::Result<()>;
    /// Makes durable what was written before.
    fn sync_data(&self) -> io::Result<()>;
    /// Makes durable what was written before, and the file's size.
    fn sync_all(&self) -> io::Result<()>;
    /// Makes durable that the file is the one of that path.
    fn sync_name(&self, path: &Path) -> io::Result<()>;
    /// Cuts or extends the file.
    fn set_len(&self, len: u64) -> io::Result<()>;
    /// What the file is and how it stands.
    fn stamp(&self) -> io::Result<Stamp>;
}

impl Disk for File {
    fn read_at(&self, buffer: &mut [u8], at: u64) -> io::Result<usize> {
        read_as_far_as_possible(self, buffer, at)
    }
    fn write_all_at(&self, bytes: &[u8], at: u64) -> io::Result<()> {
        FileExt::write_all_at(self, bytes, at)
    }
    fn sync_data(&self) -> io::Result<()> {
        File::sync_data(self)
    }
    fn sync_all(&self) -> io::Result<()> {
        File::sync_all(self)
    }
    fn sync_name(&self, path: &Path) -> io::Result<()> {
        match File::open(path.parent().unwrap_or(Path::new("/"))) {
            Ok(directory) => directory.sync_all(),
            // A directory that we may look into but not list: all of its file system, then.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(rustix::fs::syncfs(self)?),
            Err(error) => Err(error),
        }
    }
    fn set_len(&self, len: u64) -> io::Result<()> {
        File::set_len(self, len)
    }
    fn stamp(&self) -> io::Result<Stamp> {
        self.metadata().map(|metadata| Stamp::of(&metadata))
    }
}

/// What tells one state of a file from another.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stamp {
    words: [u64; 7],
}

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

    /// The same file with the same number of bytes: it may have been overwritten in place.
    pub fn is_same_size_of_same_file(&self, other: &Stamp) -> bool {
        self.words[..3] == other.words[..3]
    }

    /// As it is stored.
    pub(super) fn words(&self) -> [u64; 7] {
        self.words
    }

    /// The opposite of [`Stamp::words`].
    pub(super) fn from_words(words: [u64; 7]) -> Stamp {
        Stamp { words }
    }

    fn inode(&self) -> u64 {
        self.words[1]
    }

    fn size(&self) -> u64 {
        self.words[2]
    }

    /// When anything about it last changed: seconds and nanoseconds. Unlike the other time, nobody can set this one.
    pub fn changed(&self) -> (i64, u32) {
        (self.words[5] as i64, self.words[6] as u32)
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

/// The journal's header: what a process tells the others about the users file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Header {
    generation: u64,
    sequence: u64,
    tail: u64,
    /// Changes whenever the users file changed in a way that may have moved lines. Drawn at random: a header that
    /// a crash brings back must not make a later epoch out of one that there was.
    pub epoch: u64,
    /// The users file before the first slot write of this epoch.
    pub base: Stamp,
    /// The users file after the last slot write.
    pub stamp: Stamp,
}

impl Header {
    const WORDS: usize = 5 + 2 * 7;
    const LEN: usize = Self::WORDS * 8 + 4;

    fn to_bytes(self) -> [u8; Self::LEN] {
        let mut words = [0; Self::WORDS];
        words[..5].copy_from_slice(&[MAGIC, self.generation, self.sequence, self.tail, self.epoch]);
        words[5..12].copy_from_slice(&self.base.words);
        words[12..].copy_from_slice(&self.stamp.words);
        let mut bytes = [0; Self::LEN];
        for (place, word) in bytes.chunks_exact_mut(8).zip(words) {
            place.copy_from_slice(&word.to_le_bytes());
        }
        let sum = crc32fast::hash(&bytes[..Self::WORDS * 8]);
        bytes[Self::WORDS * 8..].copy_from_slice(&sum.to_le_bytes());
        bytes
    }

    fn from_bytes(bytes: &[u8; Self::LEN]) -> Option<Header> {
        let (body, sum) = bytes.split_at(Self::WORDS * 8);
        if crc32fast::hash(body).to_le_bytes() != *sum {
            return None;
        }
        let mut words = [0; Self::WORDS];
        for (word, bytes) in words.iter_mut().zip(body.chunks_exact(8)) {
            *word = u64::from_le_bytes(bytes.try_into().expect("eight bytes"));
        }
        let [magic, generation, sequence, tail, epoch] = words[..5] else { return None };
        let stamp = |words: &[u64]| Stamp { words: words.try_into().expect("seven words") };
        (magic == MAGIC).then(|| Header {
            generation,
            sequence,
            tail,
            epoch,
            base: stamp(&words[5..12]),
            stamp: stamp(&words[12..]),
        })
    }

    /// Reads the header without any lock. `None`: there is none, or somebody is just writing it.
    pub fn read(journal: &impl Disk) -> Option<Header> {
        let mut bytes = [0; Self::LEN];
        let len = journal.read_at(&mut bytes, 0).ok()?;
        if len < bytes.len() { None } else { Header::from_bytes(&bytes) }
    }
}

/// A state of the users file, for which something that was read from it holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Basis {
    /// The file as the system describes it.
    pub stamp: Stamp,
    /// The epoch, if the journal knew the file in this state.
    pub epoch: Option<u64>,
}

impl Basis {
    /// What the file is now. `header` is the journal's.
    pub fn now(stamp: Stamp, header: Option<&Header>) -> Basis {
        let header = header.filter(|header| header.stamp == stamp);
        Basis { stamp, epoch: header.map(|header| header.epoch) }
    }

    /// Whether lines are still where they were when the file is as `stamp` says: it is the same, or the journal
    /// knows that nothing but slots has changed.
    pub fn holds(&self, stamp: Stamp, header: Option<&Header>) -> bool {
        let only_slots_changed = |header: &Header| {
            header.stamp == stamp
                && stamp.is_same_size_of_same_file(&self.stamp)
                && (self.epoch == Some(header.epoch) || self.stamp == header.base)
        };
        stamp == self.stamp || header.is_some_and(only_slots_changed)
    }
}

/// One slot to overwrite.
#[derive(Clone, PartialEq, Eq)]
pub struct SlotWrite {
    /// Where the line begins in the users file.
    pub line: u64,
    /// Where the slot begins in the users file.
    pub slot: u64,
    /// Fields 1 to 4 of the line.
    pub fingerprint: Fingerprint,
    /// What stands there.
    pub before: Slot,
    /// What is to stand there.
    pub after: Slot,
}

enum Entry {
    Slot {
        inode: u64,
        write: Box<SlotWrite>,
    },
    /// The whole file, for the one case in which it has to be rewritten in place.
    Image {
        inode: u64,
        content: Vec<u8>,
    },
}

const SLOT_ENTRY_LEN: usize = 1 + 8 + 8 + 8 + 16 + 2 * slot::LEN;

impl Entry {
    fn append_to(&self, out: &mut Vec<u8>) {
        match self {
            Entry::Slot { inode, write } => {
                out.push(1);
                for word in [*inode, write.line, write.slot] {
                    out.extend_from_slice(&word.to_le_bytes());
                }
                out.extend_from_slice(&write.fingerprint.0);
                out.extend_from_slice(&write.before);
                out.extend_from_slice(&write.after);
            }
            Entry::Image { inode, content } => {
                out.push(2);
                out.extend_from_slice(&inode.to_le_bytes());
                out.extend_from_slice(content);
            }
        }
    }

    /// Entries of a frame's body. `None`: written by a version we don't know.
    fn parse_all(mut body: &[u8]) -> Option<Vec<Entry>> {
        let word = |bytes: &[u8]| Some(u64::from_le_bytes(bytes.get(..8)?.try_into().ok()?));
        let mut entries = Vec::new();
        while let Some((&kind, rest)) = body.split_first() {
            match kind {
                1 => {
                    let (entry, after) = rest.split_at_checked(SLOT_ENTRY_LEN - 1)?;
                    entries.push(Entry::Slot {
                        inode: word(entry)?,
                        write: Box::new(SlotWrite {
                            line: word(&entry[8..])?,
                            slot: word(&entry[16..])?,
                            fingerprint: Fingerprint(entry[24..40].try_into().ok()?),
                            before: entry[40..40 + slot::LEN].try_into().ok()?,
                            after: entry[40 + slot::LEN..].try_into().ok()?,
                        }),
                    });
                    body = after;
                }
                2 => {
                    let content = rest.get(8..)?.to_vec();
                    entries.push(Entry::Image { inode: word(rest)?, content });
                    body = &[];
                }
                _ => return None,
            }
        }
        Some(entries)
    }
}

/// Which journal a process has already recovered from: device and inode.
pub type JournalId = (u64, u64);

/// The journal, open under the lock and caught up with: what was begun before is finished.
pub struct Journal<'l, D: Disk = File> {
    file: D,
    path: PathBuf,
    users: &'l D,
    users_path: PathBuf,
    capacity: u64,
    header: Header,
}

impl<'l> Journal<'l> {
    /// Opens the journal and finishes what a crashed process has begun. `recovered` is the journal this process
    /// has done that for before: then a look at the end of the frames is enough.
    pub fn open(locked: &'l Locked, recovered: &mut Option<JournalId>) -> Result<Journal<'l>, Fault> {
        let path = locked.paths.journal();
        let users_path = locked.paths.resolved.clone();
        let users = locked.users.metadata().map_err(|error| Fault::new("inspect", &users_path, error))?;
        let file = open_or_create(&path, &users)?;
        let own = file.metadata().map_err(|error| Fault::new("inspect", &path, error))?;
        let id = (own.dev(), own.ino());
        let journal = Journal {
            file,
            path,
            users: &locked.users,
            users_path,
            capacity: CAPACITY,
            header: Header::default(),
        };
        let journal = journal.catch_up(*recovered == Some(id))?;
        *recovered = Some(id);
        Ok(journal)
    }
}

impl<D: Disk> Journal<'_, D> {
    fn catch_up(mut self, is_recovered: bool) -> Result<Self, Fault> {
        if self.size()? < self.capacity {
            self.make_room()?;
        }
        match Header::read(&self.file) {
            Some(header) if is_recovered && !self.has_frame_at_tail(&header) => self.header = header,
            header => {
                self.header = header.unwrap_or_default();
                self.recover()?;
            }
        }
        self.notice_foreign_change()?;
        Ok(self)
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

    /// Real zeros, not a hole: a sync of data that is already allocated has no other blocks to write.
    fn make_room(&mut self) -> Result<(), Fault> {
        let size = self.size()?;
        let zeros = vec![0; (self.capacity - size) as usize];
        self.file.write_all_at(&zeros, size).map_err(|error| self.fault("extend", error))?;
        self.file.sync_all().map_err(|error| self.fault("sync", error))
    }

    fn size(&self) -> Result<u64, Fault> {
        self.file.stamp().map(|stamp| stamp.size()).map_err(|error| self.fault("inspect", error))
    }

    fn users_stamp(&self) -> Result<Stamp, Fault> {
        self.users.stamp().map_err(|error| self.users_fault("inspect", error))
    }

    fn has_frame_at_tail(&self, header: &Header) -> bool {
        matches!(self.read_frame(header.tail), Ok(Some(frame))
            if frame.generation == header.generation && frame.sequence == header.sequence)
    }

    fn read_frame(&self, at: u64) -> io::Result<Option<Frame>> {
        let mut head = [0; FRAME_HEAD];
        if self.file.read_at(&mut head, at)? < head.len() {
            return Ok(None);
        }
        let word = |i: usize| u64::from_le_bytes(head[i * 8..i * 8 + 8].try_into().expect("eight bytes"));
        let [magic, generation, sequence, len, sum] = [word(0), word(1), word(2), word(3), word(4)];
        let size = self.file.stamp()?.size();
        let end = at.checked_add(FRAME_HEAD as u64).and_then(|start| start.checked_add(len));
        let Some(end) = end.filter(|&end| magic == FRAME_MAGIC && end <= size) else { return Ok(None) };
        let mut body = vec![0; len as usize];
        let is_whole = self.file.read_at(&mut body, at + FRAME_HEAD as u64)? == body.len();
        if !is_whole || frame_sum(&head[..32], &body) != sum {
            return Ok(None);
        }
        Ok(Some(Frame { generation, sequence, body, end }))
    }

    /// Reads all frames and brings the users file to where they say it was.
    fn recover(&mut self) -> Result<(), Fault> {
        let mut entries = Vec::new();
        let mut at = FRAMES_START;
        let mut last: Option<(u64, u64)> = None;
        while let Some(frame) = self.read_frame(at).map_err(|error| self.fault("read", error))? {
            let expected = last.map_or((frame.generation, 0), |(generation, next)| (generation, next));
            if (frame.generation, frame.sequence) != expected {
                break;
            }
            match Entry::parse_all(&frame.body) {
                Some(found) => entries.extend(found),
                None => {
                    return Err(Fault::of(
                        "read",
                        &self.path,
                        "it was written by a version of otpgate that this one doesn't know",
                        "install the newer version on all servers that share the users file",
                    ));
                }
            }
            last = Some((frame.generation, frame.sequence + 1));
            at = frame.end;
        }
        match last {
            Some((generation, sequence)) => {
                self.header = Header { generation, sequence, tail: at, ..self.header };
                self.apply(entries)?;
            }
            None => self.start_over()?,
        }
        self.write_header()
    }

    fn apply(&mut self, entries: Vec<Entry>) -> Result<(), Fault> {
        let users = self.users_stamp()?.inode();
        let mut slots: Vec<(SlotWrite, Vec<Slot>)> = Vec::new();
        for entry in entries {
            match entry {
                Entry::Slot { inode, write } if inode == users => {
                    let known = slots.iter_mut().find(|(known, _)| {
                        (known.line, known.slot, known.fingerprint)
                            == (write.line, write.slot, write.fingerprint)
                    });
                    match known {
                        Some((known, images)) => {
                            images.push(write.before);
                            images.push(write.after);
                            known.after = write.after;
                        }
                        None => slots.push(((*write).clone(), vec![write.before, write.after])),
                    }
                }
                Entry::Image { inode, content } if inode == users => {
                    self.overwrite_users(&content)?;
                    self.forget_durably()?;
                    slots.clear();
                }
                Entry::Slot { .. } | Entry::Image { .. } => {}
            }
        }
        for (write, images) in slots {
            if self.is_unfinished(&write, &images).map_err(|error| self.users_fault("read", error))? {
                self.write_slot(&write)?;
            }
        }
        Ok(())
    }

    /// Whether what stands in the file is one of the slot's former images, or torn between them. Anything else
    /// was written by somebody else since and is left alone.
    fn is_unfinished(&self, write: &SlotWrite, images: &[Slot]) -> io::Result<bool> {
        let head_len = write.slot.saturating_sub(write.line) as usize;
        if write.slot < write.line || head_len > line::LINE_MAX {
            return Ok(false);
        }
        let mut line = vec![0; head_len + slot::LEN];
        if self.users.read_at(&mut line, write.line)? < line.len() {
            return Ok(false);
        }
        let (head, current) = line.split_at(head_len);
        let starts_line = write.line == 0 || {
            let mut before = [0];
            self.users.read_at(&mut before, write.line - 1)?;
            before == *b"\n"
        };
        let is_ours = starts_line
            && !head.contains(&b'\n')
            && record::fingerprint_of_line(head) == Some(write.fingerprint);
        if !is_ours || current == write.after {
            return Ok(false);
        }
        let is_former = images.iter().any(|image| current == image);
        let is_torn =
            || current.iter().enumerate().all(|(i, byte)| images.iter().any(|image| image[i] == *byte));
        let is_whole = record::parse(&line, &jiff::tz::TimeZone::UTC).is_ok_and(|record| record.state.intact);
        Ok(is_former || (!is_whole && is_torn()))
    }

    /// If somebody changed the users file without the journal, what the frames say is of the past, and every
    /// process has to look where its lines are.
    fn notice_foreign_change(&mut self) -> Result<(), Fault> {
        let stamp = self.users_stamp()?;
        if self.header.stamp != stamp {
            // Editors don't sync. If a crash took their work back, frames written upon it would fit nothing.
            self.sync_users()?;
            self.users
                .sync_name(&self.users_path)
                .map_err(|error| self.users_fault("sync the name of", error))?;
            if self.header.sequence != 0 {
                self.start_over()?;
            }
            self.begin_epoch(stamp)?;
        }
        Ok(())
    }

    fn begin_epoch(&mut self, stamp: Stamp) -> Result<(), Fault> {
        self.header.epoch = self.random()?;
        self.header.base = stamp;
        self.header.stamp = stamp;
        self.write_header()
    }

    fn random(&self) -> Result<u64, Fault> {
        let mut bytes = [0; 8];
        getrandom::fill(&mut bytes)
            .map_err(|_| Fault::of("start", &self.path, "no random bytes", "see the system's log"))?;
        Ok(u64::from_ne_bytes(bytes))
    }

    fn sync_users(&self) -> Result<(), Fault> {
        self.users.sync_data().map_err(|error| self.users_fault("sync", error))
    }

    /// Forgets all frames. The users file must have been synced.
    fn start_over(&mut self) -> Result<(), Fault> {
        self.header.generation = self.random()?;
        self.header.sequence = 0;
        self.header.tail = FRAMES_START;
        if self.size()? > self.capacity {
            self.file.set_len(self.capacity).map_err(|error| self.fault("shorten", error))?;
        }
        // In this order: a process killed in between leaves a header that fits what comes next. The other way round
        // it would be one that makes others append where no recovery looks.
        self.write_header()?;
        self.file.write_all_at(&[0; FRAME_HEAD], FRAMES_START).map_err(|error| self.fault("write", error))
    }

    /// The same so that no crash brings the frames back: an image of the whole file would undo what others have written
    /// since.
    fn forget_durably(&mut self) -> Result<(), Fault> {
        self.start_over()?;
        self.file.sync_data().map_err(|error| self.fault("sync", error))
    }

    fn write_header(&self) -> Result<(), Fault> {
        self.file.write_all_at(&self.header.to_bytes(), 0).map_err(|error| self.fault("write", error))
    }

    fn append(&mut self, entries: &[Entry]) -> Result<(), Fault> {
        let mut body = Vec::new();
        for entry in entries {
            entry.append_to(&mut body);
        }
        let len = (FRAME_HEAD + body.len()) as u64;
        if self.header.tail + len > self.capacity && self.header.sequence != 0 {
            self.sync_users()?;
            self.start_over()?;
        }
        let mut frame = Vec::with_capacity(len as usize);
        for word in [FRAME_MAGIC, self.header.generation, self.header.sequence, body.len() as u64] {
            frame.extend_from_slice(&word.to_le_bytes());
        }
        let sum = frame_sum(&frame, &body);
        frame.extend_from_slice(&sum.to_le_bytes());
        frame.extend_from_slice(&body);
        self.file.write_all_at(&frame, self.header.tail).map_err(|error| self.fault("write", error))?;
        self.file.sync_data().map_err(|error| self.fault("sync", error))?;
        self.header.tail += len;
        self.header.sequence += 1;
        Ok(())
    }

    /// Overwrites slots, durably: when this returns, no crash can undo it.
    pub fn write_slots(&mut self, writes: Vec<SlotWrite>) -> Result<(), Fault> {
        let inode = self.header.stamp.inode();
        let entries: Vec<Entry> =
            writes.into_iter().map(|write| Entry::Slot { inode, write: Box::new(write) }).collect();
        self.append(&entries)?;
        for entry in &entries {
            if let Entry::Slot { write, .. } = entry {
                self.write_slot(write)?;
            }
        }
        self.header.stamp = self.users_stamp()?;
        self.write_header()
    }

    fn write_slot(&self, write: &SlotWrite) -> Result<(), Fault> {
        self.users.write_all_at(&write.after, write.slot).map_err(|error| self.users_fault("write", error))
    }

    /// Replaces the whole content in place, durably, where a new file can't take the old one's place.
    pub fn write_image(&mut self, content: Vec<u8>) -> Result<(), Fault> {
        let inode = self.header.stamp.inode();
        // Earlier frames are of the file as it was.
        self.sync_users()?;
        self.start_over()?;
        let entry = [Entry::Image { inode, content }];
        self.append(&entry)?;
        if let [Entry::Image { content, .. }] = &entry {
            self.overwrite_users(content)?;
        }
        self.forget_durably()?;
        self.new_epoch(self.users)
    }

    fn overwrite_users(&self, content: &[u8]) -> Result<(), Fault> {
        self.users
            .write_all_at(content, 0)
            .and_then(|()| self.users.set_len(content.len() as u64))
            .map_err(|error| self.users_fault("write", error))?;
        self.sync_users()
    }

    /// Says that lines may have moved: the users file is now this one, in this state.
    fn new_epoch(&mut self, users: &D) -> Result<(), Fault> {
        let stamp = users.stamp().map_err(|error| self.users_fault("inspect", error))?;
        self.begin_epoch(stamp)
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
        if !rename() {
            return Ok(false);
        }
        new.sync_name(&self.users_path).map_err(|error| self.users_fault("sync the name of", error))?;
        // The frames are of the old file; its number may be the next one's that is made.
        if self.header.sequence != 0 {
            self.forget_durably()?;
        }
        self.new_epoch(new)?;
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

struct Frame {
    generation: u64,
    sequence: u64,
    body: Vec<u8>,
    end: u64,
}

fn frame_sum(head: &[u8], body: &[u8]) -> u64 {
    let mut sum = crc32fast::Hasher::new();
    sum.update(head);
    sum.update(body);
    u64::from(sum.finalize())
}

/// Fills the buffer as far as the file goes.
pub fn read_as_far_as_possible(file: &File, buffer: &mut [u8], at: u64) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match FileExt::read_at(file, &mut buffer[filled..], at + filled as u64) {
            Ok(0) => break,
            Ok(n) => filled += n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

#[cfg(test)]
mod crash_tests;
