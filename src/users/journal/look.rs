//! What a look at a journal shows, without the lock.

use std::fs::File;
use std::io;

use zeroize::Zeroizing;

use super::frame::{self, FrameAt, FrameEntry};
use super::life::{Life, id_of};
use super::{CAPACITY, Disk, FLAG_START, FRAMES_START, Header, IS_REPLACING};
use crate::files::lines;
use crate::users::record;

/// The header of a journal in which nothing waits to be done. For somebody who hasn't recovered
/// from it, somebody else must have in this `life`.
pub(super) fn quiet_header(journal: &impl Disk, life: Option<Life>) -> io::Result<Option<Header>> {
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

/// Whether a process that hasn't recovered from this journal may read the users file without doing
/// so: nothing waits, and no power was cut since somebody saw to that.
pub fn is_quiet(journal: &File) -> bool {
    let look = || -> io::Result<bool> {
        let Some(life) = Life::of(journal, id_of(journal)?) else { return Ok(false) };
        Ok(quiet_header(journal, Some(life))?.is_some())
    };
    look().unwrap_or(false)
}

/// Whether there may be something to recover.
pub(super) fn holds_anything(journal: &File) -> bool {
    let mut start = [0; 8];
    !is_quiet(journal)
        && Disk::read_at(journal, &mut start, 0).is_ok()
        && Header::may_begin_with(start)
        && frame::read(journal, FRAMES_START)
            .is_ok_and(|frame| matches!(frame, FrameAt::Whole { .. }))
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
pub(in crate::users) fn is_rewriting(journal: &impl Disk) -> bool {
    is_replacing(journal) || is_rewriting_in_place(journal)
}

/// The same where the file that is there now gets other bytes, not its name another file.
pub(in crate::users) fn is_rewriting_in_place(journal: &impl Disk) -> bool {
    Header::read(journal).is_some() && Header::read_unless_rewriting(journal).is_none()
}

/// Looks at a journal. Somebody may be at work on it: what is pending may be over in a moment.
pub fn inspect(journal: &File) -> io::Result<Contents> {
    let mut start = [0; 8];
    let len = Disk::read_at(journal, &mut start, 0)?;
    if len > 0 && !Header::may_begin_with(start) {
        return Ok(Contents { is_foreign: true, ..Contents::default() });
    }
    let is_foreign = match frame::read(journal, FRAMES_START)? {
        FrameAt::Whole { body, .. } => FrameEntry::parse_all(&body).is_none(),
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
            !lines::is_ignored(text)
                && record::parse_one_of_many(text, &jiff::tz::TimeZone::UTC).is_ok()
        });
    Ok(Contents { is_foreign, is_pending, has_remains })
}

/// Whether somebody is putting another file in the place of the users file: it may be there without
/// being durable.
pub(in crate::users) fn is_replacing(journal: &impl Disk) -> bool {
    let mut word = [0; 8];
    journal.read_at(&mut word, FLAG_START).is_err() || word == IS_REPLACING.to_le_bytes()
}
