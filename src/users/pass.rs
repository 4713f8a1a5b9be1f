//! Going through a whole users file without holding it in memory, nor its lock while somebody else
//! reads what comes of it.

use std::fs::File;
use std::hash::{BuildHasher, RandomState};
use std::ops::ControlFlow;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use jiff::tz::TimeZone;
use zeroize::Zeroizing;

use super::edit::{self, ContentLine};
use super::journal::{self, Journal};
use super::lock::{Locked, Paths};
use super::record::{self, Record, RecordError};
use super::rewrite;
use crate::files::fault::Fault;
use crate::files::lines;
use crate::files::open::{Link, To, open};

/// So often is a file read that is rewritten meanwhile, before its lock is taken for it.
const FILE_TRIES: u32 = 5;
/// So often is a line read again that somebody may be writing.
const LINE_TRIES: u32 = 5;

/// A users file, open for as many passes as it takes. Whoever replaces it meanwhile doesn't change
/// what is read here; logins may change states between two passes.
pub struct Passes {
    file: File,
    journal: PathBuf,
    size: u64,
    configured: PathBuf,
}

impl Passes {
    /// Opens the file; what was cut short is finished first.
    pub fn over(configured: &Path) -> Result<Passes, Fault> {
        let journal = Paths::resolve(configured)?.journal();
        if is_so(&journal, journal::is_rewriting) {
            Journal::open(&Locked::acquire(configured)?, &mut None)?;
        }
        let file = edit::open_users(configured)?;
        let size = rewrite::inspect(&file, configured)?.size();
        Ok(Passes { file, journal, size, configured: configured.to_owned() })
    }

    /// Has something read that a rewrite in place would spoil: again if one did, and in the end under
    /// the lock.
    pub(super) fn steadily<R>(
        configured: &Path,
        mut read: impl FnMut(Passes) -> Result<R, Fault>,
    ) -> Result<R, Fault> {
        for _ in 0..FILE_TRIES {
            if let Ok(read) = read(Passes::over(configured)?) {
                return Ok(read);
            }
        }
        let locked = Locked::acquire(configured)?;
        Journal::open(&locked, &mut None)?;
        read(Passes::over(configured)?)
    }

    /// Calls back for each line until it is enough. Too long ones are cut, beyond what can be read.
    pub fn each_line(
        &self,
        mut each: impl FnMut(ContentLine<'_>) -> ControlFlow<()>,
    ) -> Result<(), Fault> {
        let mut number = 0;
        let read = lines::until_a_line_breaks(&self.file, |offset, text| {
            number += 1;
            each(ContentLine::at(number, offset, text))
        });
        match read {
            Ok(ControlFlow::Continue(()) | ControlFlow::Break(())) => self.is_standing(),
            Err(cause) => Err(Fault::new("read", &self.configured, cause)),
        }
    }

    /// Lines where they were before are lines of the same users, unless all of them were moved.
    fn is_standing(&self) -> Result<(), Fault> {
        let size = rewrite::inspect(&self.file, &self.configured)?.size();
        if size != self.size || is_so(&self.journal, journal::is_rewriting_in_place) {
            let cause = "it was changed while it was read";
            return Err(Fault::of("read", &self.configured, cause, "try again"));
        }
        Ok(())
    }

    /// A line that was met in an earlier pass, as it is now.
    pub(super) fn line_at(&self, place: LineAt) -> Result<OwnLine, Fault> {
        let mut text = Zeroizing::new(vec![0; place.len]);
        self.file
            .read_exact_at(&mut text, place.offset)
            .map_err(|cause| Fault::new("read", &self.configured, cause))?;
        Ok(OwnLine { place, text })
    }

    /// What a line says. Without a right checksum it may be half written: then it is read again.
    pub fn record(
        &self,
        line: &ContentLine<'_>,
        zone: &TimeZone,
    ) -> Result<Result<Record, RecordError>, Fault> {
        let mut record = record::parse(line.text, zone);
        for _ in 0..LINE_TRIES {
            match &record {
                Ok(torn) if torn.layout.slot.is_some() && !torn.state.intact => {}
                _ => break,
            }
            record = record::parse(&self.line_at(LineAt::of(line))?.text, zone);
        }
        Ok(record)
    }
}

fn is_so(journal: &Path, what: impl Fn(&File) -> bool) -> bool {
    open(journal, To::Read, Link::Refuse).is_ok_and(|journal| what(&journal))
}

/// Where a line is.
#[derive(Clone, Copy)]
pub(super) struct LineAt {
    number: u64,
    offset: u64,
    len: usize,
}

impl LineAt {
    pub(super) fn of(line: &ContentLine<'_>) -> LineAt {
        LineAt { number: line.number, offset: line.offset, len: line.text.len() }
    }
}

/// A line that is kept beyond its pass.
pub(super) struct OwnLine {
    place: LineAt,
    text: Zeroizing<Vec<u8>>,
}

impl OwnLine {
    pub(super) fn of(line: &ContentLine<'_>) -> OwnLine {
        OwnLine { place: LineAt::of(line), text: Zeroizing::new(line.text.to_vec()) }
    }

    pub(super) fn line(&self) -> ContentLine<'_> {
        ContentLine::at(self.place.number, self.place.offset, &self.text)
    }
}

/// What comes again in a file, found by keyed hashes: eight bytes for each thing met, whatever it
/// is. Of things that only hash alike it says so, too: whoever acts on it compares them.
#[derive(Default)]
pub(super) struct Seen {
    random: RandomState,
    hashes: Vec<u64>,
}

/// Hashes of things that were met more than once, with how often.
#[derive(Default)]
pub(super) struct Repeated {
    random: RandomState,
    /// In order.
    hashes: Vec<(u64, u64)>,
}

impl Seen {
    pub(super) fn note(&mut self, thing: impl std::hash::Hash) {
        self.hashes.push(self.random.hash_one(thing));
    }

    /// Those that were met at least so often.
    pub(super) fn repeated(mut self, least: u64) -> Repeated {
        self.hashes.sort_unstable();
        let groups = self.hashes.chunk_by(|a, b| a == b);
        let hashes = groups.map(|group| (group[0], group.len() as u64));
        Repeated {
            hashes: hashes.filter(|&(_, count)| count >= least).collect(),
            random: self.random,
        }
    }
}

/// Things that others may take for one, by what they have in common.
#[derive(Default)]
pub(super) struct SeenApart {
    random: RandomState,
    hashes: Vec<(u64, u64)>,
}

impl SeenApart {
    pub(super) fn note(&mut self, common: impl std::hash::Hash, thing: impl std::hash::Hash) {
        self.hashes.push((self.random.hash_one(common), self.random.hash_one(thing)));
    }

    /// What several things have in common.
    pub(super) fn of_several(mut self) -> Repeated {
        self.hashes.sort_unstable();
        self.hashes.dedup();
        let groups = self.hashes.chunk_by(|(a, _), (b, _)| a == b);
        let hashes = groups.map(|group| (group[0].0, group.len() as u64));
        Repeated { hashes: hashes.filter(|&(_, count)| count > 1).collect(), random: self.random }
    }
}

impl Repeated {
    pub(super) fn is_empty(&self) -> bool {
        self.hashes.is_empty()
    }

    /// Those of them that were met at least so often.
    pub(super) fn at_least(&self, least: u64) -> Repeated {
        let hashes = self.hashes.iter().copied().filter(|&(_, count)| count >= least);
        Repeated { random: self.random.clone(), hashes: hashes.collect() }
    }

    /// How often a thing was met, if often enough.
    pub(super) fn count_of(&self, thing: impl std::hash::Hash) -> u64 {
        let Some(hash) = self.hash_of(thing) else { return 0 };
        let place = self.hashes.binary_search_by_key(&hash, |&(hash, _)| hash);
        place.map_or(0, |place| self.hashes[place].1)
    }

    /// The hash of a thing, if it came again.
    pub(super) fn hash_of(&self, thing: impl std::hash::Hash) -> Option<u64> {
        if self.is_empty() {
            return None;
        }
        let hash = self.random.hash_one(thing);
        self.hashes.binary_search_by_key(&hash, |&(hash, _)| hash).is_ok().then_some(hash)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(content: &str) -> (tempfile::TempDir, PathBuf) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("users");
        std::fs::write(&path, content).unwrap();
        (directory, path)
    }

    fn names(passes: &Passes) -> Result<Vec<(u64, Vec<u8>)>, Fault> {
        let mut names = Vec::new();
        passes.each_line(|line| {
            names.extend(line.user().map(|user| (line.number, user.to_vec())));
            ControlFlow::Continue(())
        })?;
        Ok(names)
    }

    #[test]
    fn a_file_that_is_replaced_is_read_on_and_one_that_is_rewritten_in_place_is_not() {
        let (_directory, path) = file("# c\nHOTP alice - 00\nHOTP bob - 11");
        let passes = Passes::over(&path).unwrap();
        let before = names(&passes).unwrap();
        assert_eq!(before, [(2, b"alice".to_vec()), (3, b"bob".to_vec())]);
        let new = path.with_extension("new");
        std::fs::write(&new, "HOTP carol - 22\n").unwrap();
        std::fs::rename(&new, &path).unwrap();
        assert_eq!(names(&passes).unwrap(), before);

        let passes = Passes::over(&path).unwrap();
        std::fs::write(&path, "HOTP carol - 22\nHOTP dora - 33\n").unwrap();
        let fault = names(&passes).unwrap_err().to_string();
        assert!(fault.contains("it was changed while it was read"), "{fault}");
    }

    #[test]
    fn a_line_that_was_half_written_is_read_again() {
        let head: [&[u8]; 4] = [b"HOTP/E/6", b"alice", b"-", b"00"];
        let slot = super::super::slot::write(head, &crate::token::State::fresh(), &TimeZone::UTC);
        let whole = [&head.join(&b' ')[..], b" ", &slot].concat();
        let (_directory, path) = file(str::from_utf8(&whole).unwrap());
        let passes = Passes::over(&path).unwrap();
        // As it was met: the counter of one state, the checksum of another.
        let mut torn = whole.clone();
        torn[head.join(&b' ').len() + 1] = b'7';
        let line = ContentLine::at(1, 0, &torn);
        assert!(!record::parse(&torn, &TimeZone::UTC).unwrap().state.intact);
        let record = passes.record(&line, &TimeZone::UTC).unwrap().unwrap();
        assert!(record.state.intact && record.state.counter.as_written() == 0);
        // Of a line that an editor has changed, the visible fields count.
        std::fs::write(&path, &torn).unwrap();
        let record = passes.record(&line, &TimeZone::UTC).unwrap().unwrap();
        assert!(!record.state.intact && record.state.counter.as_written() == 7);
    }

    #[test]
    fn things_are_repeated_that_come_often_enough_and_shared_that_several_have() {
        let mut seen = Seen::default();
        ["a", "b", "a", "c", "b", "a"].iter().for_each(|thing| seen.note(thing));
        let repeated = seen.repeated(3);
        assert!(repeated.hash_of("a").is_some());
        assert!(repeated.hash_of("b").is_none() && repeated.hash_of("d").is_none());
        assert!(Seen::default().repeated(2).is_empty());

        let mut apart = SeenApart::default();
        for (common, thing) in [("a", "a"), ("a", "A"), ("b", "b"), ("b", "b")] {
            apart.note(common, thing);
        }
        let shared = apart.of_several();
        assert!(shared.hash_of("a").is_some() && shared.hash_of("b").is_none());
    }
}
