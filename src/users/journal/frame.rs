//! A frame: what one write to the users file replaces, and by what.
//!
//! ```text
//! 0    magic, generation, sequence, length of the body, checksum over all but itself
//! 40   body: entries
//! ```

use std::io;

use super::FRAMES_START;
use super::disk::Disk;
use super::header::JournalPlace;
use crate::token::Fingerprint;
use crate::users::slot::{self, Slot};

const MAGIC: u64 = u64::from_le_bytes(*b"OTPFRAME");
pub(super) const HEAD_LEN: usize = 40;

const PIECE: usize = 1 << 16;

const SLOT: u8 = 1;
const IMAGE: u8 = 2;
const SLOT_ENTRY_LEN: usize = 1 + 8 + 8 + 8 + 16 + 2 * slot::LEN;

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

pub(super) enum FrameEntry {
    Slot {
        inode: u64,
        write: Box<SlotWrite>,
    },
    /// The whole file, for the one case in which it has to be rewritten in place. The only entry of
    /// the first frame.
    Image {
        inode: u64,
        content: zeroize::Zeroizing<Vec<u8>>,
    },
}

impl FrameEntry {
    fn append_to(&self, out: &mut Vec<u8>) {
        match self {
            FrameEntry::Slot { inode, write } => {
                out.push(SLOT);
                for word in [*inode, write.line, write.slot] {
                    out.extend_from_slice(&word.to_le_bytes());
                }
                out.extend_from_slice(&write.fingerprint.0);
                out.extend_from_slice(&write.before);
                out.extend_from_slice(&write.after);
            }
            FrameEntry::Image { inode, content } => {
                out.push(IMAGE);
                out.extend_from_slice(&inode.to_le_bytes());
                out.extend_from_slice(content);
            }
        }
    }

    /// Entries of a frame's body. `None`: written by a version we don't know.
    pub(super) fn parse_all(mut body: &[u8]) -> Option<Vec<FrameEntry>> {
        let word = |bytes: &[u8]| Some(u64::from_le_bytes(bytes.get(..8)?.try_into().ok()?));
        let mut entries = Vec::new();
        while let Some((&kind, rest)) = body.split_first() {
            match kind {
                SLOT => {
                    let (entry, after) = rest.split_at_checked(SLOT_ENTRY_LEN - 1)?;
                    entries.push(FrameEntry::Slot {
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
                IMAGE => {
                    let content = rest.get(8..)?.to_vec().into();
                    entries.push(FrameEntry::Image { inode: word(rest)?, content });
                    body = &[];
                }
                _ => return None,
            }
        }
        Some(entries)
    }
}

/// A frame's first words.
#[derive(Clone, Copy)]
struct Head {
    place: JournalPlace,
    body_len: u64,
    sum: u64,
}

/// What stands where a frame might begin.
pub(super) enum FrameAt {
    Nothing,
    /// The head of a frame whose body isn't whole: it was cut short, or is being wiped.
    Broken,
    Whole {
        place: JournalPlace,
        body: zeroize::Zeroizing<Vec<u8>>,
        end: u64,
    },
}

/// The bytes of a frame.
pub(super) fn encode(place: JournalPlace, entries: &[FrameEntry]) -> zeroize::Zeroizing<Vec<u8>> {
    let mut body = zeroize::Zeroizing::new(Vec::new());
    for entry in entries {
        entry.append_to(&mut body);
    }
    let mut frame = zeroize::Zeroizing::new(Vec::with_capacity(HEAD_LEN + body.len()));
    for word in [MAGIC, place.generation, place.sequence, body.len() as u64] {
        frame.extend_from_slice(&word.to_le_bytes());
    }
    let sum = sum_of(&frame, &body);
    frame.extend_from_slice(&sum.to_le_bytes());
    frame.extend_from_slice(&body);
    frame
}

fn sum_of(head: &[u8], body: &[u8]) -> u64 {
    let mut sum = crc32fast::Hasher::new();
    sum.update(head);
    sum.update(body);
    u64::from(sum.finalize())
}

fn parse_head(bytes: &[u8; HEAD_LEN]) -> Option<Head> {
    let word =
        |i: usize| u64::from_le_bytes(bytes[i * 8..i * 8 + 8].try_into().expect("eight bytes"));
    let place = JournalPlace { generation: word(1), sequence: word(2) };
    (word(0) == MAGIC).then(|| Head { place, body_len: word(3), sum: word(4) })
}

/// The place of a frame that begins at an offset, whole or not.
pub(super) fn begun_at(journal: &impl Disk, at: u64) -> io::Result<Option<JournalPlace>> {
    let mut bytes = [0; HEAD_LEN];
    let read = journal.read_at(&mut bytes, at)?;
    Ok(parse_head(&bytes).filter(|_| read == HEAD_LEN).map(|head| head.place))
}

/// Reads what stands at an offset of a journal.
pub(super) fn read(journal: &impl Disk, at: u64) -> io::Result<FrameAt> {
    let mut bytes = [0; HEAD_LEN];
    if journal.read_at(&mut bytes, at)? < bytes.len() {
        return Ok(FrameAt::Nothing);
    }
    let Some(head) = parse_head(&bytes) else { return Ok(FrameAt::Nothing) };
    let start = at + HEAD_LEN as u64;
    let size = journal.stamp()?.size();
    let Some(end) = start.checked_add(head.body_len).filter(|&end| end <= size) else {
        return Ok(FrameAt::Broken);
    };
    // In pieces first: what a length says by itself is no reason to take so much memory.
    let mut sum = crc32fast::Hasher::new();
    sum.update(&bytes[..32]);
    let mut piece = zeroize::Zeroizing::new(vec![0; PIECE.min(head.body_len as usize)]);
    let mut from = start;
    while from < end {
        let len = piece.len().min((end - from) as usize);
        if journal.read_at(&mut piece[..len], from)? < len {
            return Ok(FrameAt::Broken);
        }
        sum.update(&piece[..len]);
        from += len as u64;
    }
    if u64::from(sum.finalize()) != head.sum {
        return Ok(FrameAt::Broken);
    }
    let mut body = zeroize::Zeroizing::new(vec![0; head.body_len as usize]);
    let is_still_there = journal.read_at(&mut body, start)? == body.len();
    Ok(if is_still_there {
        FrameAt::Whole { place: head.place, body, end }
    } else {
        FrameAt::Broken
    })
}

/// Whether the journal begins with an image of the whole file, whole or not, of that generation.
pub(super) fn is_image_at_start(journal: &impl Disk, generation: u64) -> bool {
    let mut bytes = [0; HEAD_LEN + 1];
    let Ok(read) = journal.read_at(&mut bytes, FRAMES_START) else { return true };
    let (head, kind) = bytes.split_at(HEAD_LEN);
    let head = parse_head(head.try_into().expect("a head has its length"));
    read == bytes.len()
        && kind[0] == IMAGE
        && head.is_some_and(|head| head.place.generation == generation)
}
