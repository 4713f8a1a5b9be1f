//! The journal's header: what processes tell each other about the users file. A hint, never synced.

use super::disk::Disk;
use super::frame;
use crate::files::stamp::Stamp;

const MAGIC: u64 = u64::from_le_bytes(*b"OTPGATE1");

/// The journal's header.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Header {
    /// Where in the journal we are: how often it has started over, and how many frames it has had
    /// since.
    pub place: JournalPlace,
    /// Where the next frame begins.
    pub(in crate::users) tail: u64,
    /// Changes whenever the users file changed in a way that may have moved lines. Drawn at random:
    /// a header that a crash brings back must not make a later epoch out of one that there was.
    pub epoch: u64,
    /// The users file before the first slot write of this epoch.
    pub(in crate::users) base: Stamp,
    /// The users file after the last slot write.
    pub stamp: Stamp,
}

/// Changes with every frame. Unlike a time, it never stays the same over a change of ours.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct JournalPlace {
    /// Drawn at random when the journal starts over.
    pub(super) generation: u64,
    /// Frames of this generation.
    pub(super) sequence: u64,
}

impl JournalPlace {
    /// The place after one more frame.
    pub(crate) fn next_of(place: JournalPlace) -> JournalPlace {
        JournalPlace { sequence: place.sequence + 1, ..place }
    }
}

impl Header {
    const WORDS: usize = 5 + 2 * 7;
    pub(super) const LEN: usize = Self::WORDS * 8 + 4;

    pub(super) fn to_bytes(self) -> [u8; Self::LEN] {
        let JournalPlace { generation, sequence } = self.place;
        let mut words = [0; Self::WORDS];
        words[..5].copy_from_slice(&[MAGIC, generation, sequence, self.tail, self.epoch]);
        words[5..12].copy_from_slice(&self.base.words());
        words[12..].copy_from_slice(&self.stamp.words());
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
        let stamp = |words: &[u64]| Stamp::from_words(words.try_into().expect("seven words"));
        (magic == MAGIC).then(|| Header {
            place: JournalPlace { generation, sequence },
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

    /// The same for somebody who is about to read the users file without the lock. `None` also
    /// while that file is being rewritten in place: what stands in it then may lack users that it
    /// has.
    pub fn read_unless_rewriting(journal: &impl Disk) -> Option<Header> {
        let header = Header::read(journal)?;
        // An image is always the first frame, and is gone before there is a second.
        let is_rewriting = header.place.sequence == 0
            && frame::is_image_at_start(journal, header.place.generation);
        (!is_rewriting).then_some(header)
    }

    /// Whether such bytes begin a journal of ours, or will: a crash may leave a part of the first
    /// word.
    pub(super) fn may_begin_with(start: [u8; 8]) -> bool {
        start.iter().zip(MAGIC.to_le_bytes()).all(|(&byte, ours)| byte == 0 || byte == ours)
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

    /// Whether lines are still where they were when the file is as `stamp` says. Where the journal
    /// knows the file, it is the journal that says so: two states of one tick of the clock have one
    /// stamp. Somebody else's change is known by its stamp alone.
    pub fn holds(&self, stamp: Stamp, header: Option<&Header>) -> bool {
        match header.filter(|header| header.stamp == stamp) {
            Some(header) => {
                let began_here = self.epoch.is_none() && self.stamp == header.base;
                stamp.is_same_size_of_same_file(&self.stamp)
                    && (self.epoch == Some(header.epoch) || began_here)
            }
            None => stamp == self.stamp,
        }
    }
}
