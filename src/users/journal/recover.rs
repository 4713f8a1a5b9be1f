//! Finishing what a crashed process has begun.

use std::io;

use zeroize::Zeroizing;

use super::frame::{self, FrameAt, FrameEntry};
use super::life::Life;
use super::look::is_replacing;
use super::{Disk, FRAMES_START, Header, Journal, JournalPlace, MARK_START, Safety, SlotWrite};
use crate::files::fault::Fault;
use crate::files::stamp::Stamp;
use crate::users::pragma::{self, Pragma};
use crate::users::slot::{self, Slot};
use crate::users::{line, record};

/// What is to be done about a slot that a frame names.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
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
pub(super) struct Written {
    write: SlotWrite,
    images: Vec<Slot>,
    /// Of another users file under this name.
    is_elsewhere: bool,
    /// Its process may have been killed in the middle of it.
    is_pending: bool,
}

/// Frames as they were found.
pub(super) struct FramesFound {
    entries: Vec<(FrameEntry, bool)>,
    place: JournalPlace,
    end: u64,
}

/// Whether the state in a slot is one that was written there as a whole. That the line has a word
/// with a right checksum isn't enough: behind a short one, the end of a longer one may be left.
pub(super) fn is_whole_slot(line: &[u8], head_len: usize) -> bool {
    match pragma::parse(line) {
        Some(Ok(Pragma::Session(_, places))) => return places.is_some(),
        Some(Ok(Pragma::Computer(_, places))) => return places.is_some(),
        _ => {}
    }
    record::parse(line, &jiff::tz::TimeZone::UTC)
        .is_ok_and(|record| record.state.intact && record.layout.slot == Some(head_len))
}

/// Whether a slot can be what cuts have left of these images: each byte is one of theirs. A
/// recovery can be cut, too, so nothing is said of how many pieces there are.
pub(super) fn is_torn(current: &[u8], images: &[Slot]) -> bool {
    current.iter().enumerate().all(|(i, byte)| images.iter().any(|image| image[i] == *byte))
}

/// The same of a slot that is whole. An editor may have changed a field and left the checksum: if
/// the next image has that field as it was before, then what was before can be put together from
/// both. Any number of images would fit too much of what others write.
fn is_torn_though_whole(current: &[u8], images: &[Slot]) -> bool {
    let Some((first, later)) = images.split_first() else { return false };
    later.iter().any(|image| is_torn(current, &[*first, *image]))
}

impl<D: Disk> Journal<'_, D> {
    /// Finishes what was begun, and leaves an empty journal.
    pub(super) fn recover(&mut self, is_recovered: bool) -> Result<(), Fault> {
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
            // Editors don't sync. If a crash took their work back, frames written upon it would fit
            // nothing.
            self.users
                .sync_name(&self.users_path)
                .map_err(|error| self.users_fault("sync the name of", error))?;
        }
        let mut now = self.users_stamp()?;
        if is_foreign && !has_moved && now.rest_of_tick().is_some() {
            // Whoever edits may go on in the same tick: not a state to be known by its stamp, so
            // far.
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
        self.mark()
    }

    /// Says in which life this was done.
    fn mark(&self) -> Result<(), Fault> {
        match self.life {
            Some(life) if !self.is_of_this_life()? => self
                .file
                .write_all_at(&life.to_bytes(), MARK_START)
                .map_err(|error| self.fault("write", error)),
            _ => Ok(()),
        }
    }

    /// The frames from the first on, as far as they are whole. An entry goes with whether it may be
    /// unfinished though no power was cut: the header, written last of all, doesn't know its frame.
    pub(super) fn read_frames(&self, header: Option<Header>) -> Result<Option<FramesFound>, Fault> {
        let mut found: Option<FramesFound> = None;
        let mut at = FRAMES_START;
        loop {
            let frame = frame::read(&self.file, at).map_err(|error| self.fault("read", error))?;
            let FrameAt::Whole { place, body, end } = frame else { return Ok(found) };
            let expected =
                found.as_ref().map_or(JournalPlace { sequence: 0, ..place }, |found| found.place);
            if place != expected {
                return Ok(found);
            }
            let Some(entries) = FrameEntry::parse_all(&body) else {
                return Err(Fault::of(
                    "read",
                    &self.path,
                    "it was written by an unknown version of otpgate",
                    "install the newer version on all servers that share the users file",
                ));
            };
            let is_pending = header.is_none_or(|header| {
                header.place.generation != place.generation
                    || place.sequence >= header.place.sequence
            });
            let place = JournalPlace::next_of(place);
            let entries = entries.into_iter().map(|entry| (entry, is_pending));
            match &mut found {
                Some(found) => {
                    found.entries.extend(entries);
                    (found.place, found.end) = (place, end);
                }
                None => found = Some(FramesFound { entries: entries.collect(), place, end }),
            }
            at = end;
        }
    }

    /// Writes what stands there: a sync that failed has left it in memory alone.
    pub(super) fn write_again(&self, from: u64, to: u64) -> Result<(), Fault> {
        let mut bytes = Zeroizing::new(vec![0; (to - from) as usize]);
        self.file.read_at(&mut bytes, from).map_err(|error| self.fault("read", error))?;
        self.file.write_all_at(&bytes, from).map_err(|error| self.fault("write", error))
    }

    /// Brings the users file to where the frames say it was. Whether lines have moved.
    pub(super) fn apply(
        &mut self,
        entries: Vec<(FrameEntry, bool)>,
        may_have_crashed: bool,
    ) -> Result<bool, Fault> {
        let users = self.users_stamp()?.inode();
        let mut slots: Vec<Written> = Vec::new();
        let mut has_moved = false;
        for (entry, is_pending) in entries {
            match entry {
                FrameEntry::Slot { inode, write } => {
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
                FrameEntry::Image { inode, content } if inode == users => {
                    self.overwrite_users(&content)?;
                    has_moved = true;
                }
                // The file was replaced, with what the image was to bring or with something else.
                FrameEntry::Image { .. } => {}
            }
        }
        for written in slots {
            let standing =
                self.standing(&written).map_err(|error| self.users_fault("read", error))?;
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

    pub(super) fn standing(&self, written: &Written) -> io::Result<Standing> {
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
            && slot::fingerprint_of_head(head) == Some(write.fingerprint);
        Ok(if !is_the_line {
            Standing::Foreign
        } else if current == write.after {
            Standing::Done
        } else if images.iter().any(|image| current == image) {
            Standing::Former
        } else if match is_whole_slot(&line, head_len) {
            true => is_torn_though_whole(current, images),
            false => is_torn(current, images),
        } {
            Standing::Torn
        } else {
            Standing::Foreign
        })
    }
}
