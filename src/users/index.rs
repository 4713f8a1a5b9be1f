//! Where a user's lines are: from a name to offsets in the file.
//!
//! Each line has an entry under its user's name, byte for byte. Of the lines whose users have one
//! key ([`super::name`]) and are spelt otherwise than it, one more entry, of the first of them,
//! stands under that key: enough to know a twin, however many there are. Both kinds of entries of
//! one word are in one place, so that one look-up finds a user, or that a name isn't listed and
//! whether a twin is. An offset is a hint: whoever follows it checks the line there. That a name is
//! *not* there, the index says by itself; so each part of it carries a checksum, and which state of
//! the file it holds for is the business of [`super::shared_index`] and [`super::file`].
//!
//! Lines about a user's further ways in have entries in the place of the user's own, so that one
//! look-up finds them, too.
//!
//! The lines for us alone that concern all logins ([`super::pragma`]) have entries under a key of
//! their own: whoever uses an index that somebody else has built finds them as surely as a user's
//! lines. So has, by its name, one line that says whom a name that looks like a listed one belongs
//! to.
//!
//! ```text
//! bucket   sum (4)  count, or'ed with GOES_ON (4)  entries (63 of 8, in the order of their lines)
//! entry    upper 24 bits of the hash | offset of the line (40 bits)
//! ```
//!
//! A bucket that is full goes on in the next one. A table has room for half as many again as there
//! are entries, so that a look-up nearly always reads a single bucket: one `pread` where the table
//! is a file.

use std::collections::HashSet;
use std::fs::File;
use std::hash::{BuildHasherDefault, Hasher};
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};

use siphasher::sip::SipHasher13;

use super::pragma::{Placed, Pragma, PragmaKind};
use super::{line, name, pragma};
use crate::files::lines::{for_each_line, read_as_far_as_possible};
use crate::token::{Computer, LINES_MAX, Session, WAYS_MAX};

/// Offsets up to 1 TiB, beside 24 bits of the hash.
const OFFSET_BITS: u32 = 40;
/// The bits of a hash that stand in an entry.
const TAG: u64 = !0 << OFFSET_BITS;
/// What tells entries of a user's further ways in from those of their tokens.
const WAYS: u64 = 0x55_5555 << OFFSET_BITS;

/// Bytes of a bucket: a sector, and an eighth of a page.
pub(super) const BUCKET_LEN: usize = 512;
const ENTRIES_MAX: usize = (BUCKET_LEN - 8) / 8;
/// No user has use for more lines of a kind.
const ALIKE_MAX: usize = {
    let ways = WAYS_MAX + Session::LINES_MAX + Computer::LINES_MAX;
    if ways > LINES_MAX { ways } else { LINES_MAX }
};
/// As many entries as a bucket has if names spread evenly.
const ENTRIES_MEAN: u64 = 42;
/// More can't be told apart by half of a hash; whoever says so isn't this program.
pub(super) const BUCKETS_MAX: u64 = 1 << 32;
/// In a count: the next bucket has entries of this one.
const GOES_ON: u32 = 1 << 31;

pub(super) type Bucket = [u8; BUCKET_LEN];

/// What makes a table one of its kind: drawn at random when it is built.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Shape {
    /// Keys of the hash, so that nobody can choose names that meet in one bucket. Parts of
    /// different tables don't go together, because they are part of the checksums, too.
    pub(super) keys: [u64; 2],
    pub(super) buckets: u64,
}

impl Shape {
    fn for_entries(entries: u64) -> io::Result<Shape> {
        let mut keys = [0; 16];
        getrandom::fill(&mut keys)
            .map_err(|_| io::Error::other("the system has no random bytes"))?;
        let key = |half: &[u8]| u64::from_ne_bytes(half.try_into().expect("eight bytes"));
        Ok(Shape { keys: [key(&keys[..8]), key(&keys[8..])], buckets: entries / ENTRIES_MEAN + 1 })
    }

    fn hash(&self, name: &[u8]) -> u64 {
        let mut hash = SipHasher13::new_with_keys(self.keys[0], self.keys[1]);
        hash.write(name);
        hash.finish()
    }

    /// Of the twins of a key: in its bucket, told by the other bits.
    fn hash_of_twins(&self, key: &[u8]) -> u64 {
        self.hash(key) ^ TAG
    }

    /// Of the lines about a user's ways in: in the user's bucket, told by some of the other bits.
    fn hash_of_ways(&self, user: &[u8]) -> u64 {
        self.hash(user) ^ WAYS
    }

    /// Of a line that says whose a name is.
    fn hash_of_apart(&self, name: &[u8]) -> u64 {
        let mut hash = SipHasher13::new_with_keys(self.keys[0], !self.keys[1]);
        hash.write(name);
        hash.finish()
    }

    /// Of the lines that concern everybody. With other keys, so that no name is sure to have it;
    /// where one does by chance, the lines tell.
    fn hash_of_everybodys(&self) -> u64 {
        SipHasher13::new_with_keys(!self.keys[0], self.keys[1]).finish()
    }

    /// Under what a line is to be found.
    fn places_of(&self, line: &[u8]) -> Places {
        if !pragma::is_pragma(line) {
            let Some(user) = line::user_of(line) else { return Places::default() };
            let key = name::key(user);
            let twins = (*key != *user).then(|| self.hash_of_twins(&key));
            return Places { all: Some(self.hash(user)), first: twins };
        }
        match PragmaKind::of(line) {
            Some(kind) if kind.concerns_everybody() || pragma::closes_for_everybody(line) => {
                Places { all: Some(self.hash_of_everybodys()), first: None }
            }
            Some(PragmaKind::Apart) => match pragma::parse(line) {
                Some(Ok(Pragma::Apart(user))) => {
                    Places { all: None, first: Some(self.hash_of_apart(&user)) }
                }
                _ => Places::default(),
            },
            // Also if the rest of it is at fault: it may be meant to close something.
            Some(kind) if kind.is_about_ways() => Places {
                all: pragma::user_of(line).map(|user| self.hash_of_ways(&user)),
                first: None,
            },
            _ => Places::default(),
        }
    }

    /// By the hash's lower half; its upper bits stand in the entries.
    fn bucket_of(&self, hash: u64) -> u64 {
        ((hash & 0xffff_ffff) * self.buckets) >> 32
    }

    fn sum(&self, number: u64, bucket: &Bucket) -> u32 {
        let mut sum = crc32fast::Hasher::new();
        for word in [self.keys[0], self.keys[1], number] {
            sum.update(&word.to_le_bytes());
        }
        sum.update(&bucket[4..]);
        sum.finalize()
    }
}

/// The hashes of a line's entries.
#[derive(Default)]
struct Places {
    /// Where every such line has one.
    all: Option<u64>,
    /// Where the first such line has one.
    first: Option<u64>,
}

fn count_of(bucket: &Bucket) -> (usize, bool) {
    let count = u32::from_le_bytes(bucket[4..8].try_into().expect("four bytes"));
    ((count & !GOES_ON) as usize, count & GOES_ON != 0)
}

/// The entries of a bucket that says a true count.
fn entries(bucket: &Bucket) -> impl Iterator<Item = u64> {
    let (count, _) = count_of(bucket);
    (0..count).map(|i| u64::from_le_bytes(bucket[entry_at(i)].try_into().expect("eight bytes")))
}

fn is_of(entry: u64, hash: u64) -> bool {
    entry >> OFFSET_BITS == hash >> OFFSET_BITS
}

fn entry_at(i: usize) -> std::ops::Range<usize> {
    8 + i * 8..16 + i * 8
}

/// A table in memory.
pub(super) struct Table {
    pub(super) shape: Shape,
    pub(super) buckets: Vec<Bucket>,
}

impl Table {
    fn new(shape: Shape) -> Table {
        Table { shape, buckets: vec![[0; BUCKET_LEN]; shape.buckets as usize] }
    }

    fn insert(&mut self, hash: u64, offset: u64) -> io::Result<()> {
        if offset >= 1 << OFFSET_BITS {
            return Err(io::Error::other("the file is larger than 1 TiB"));
        }
        let entry = (hash & TAG) | offset;
        let mut number = self.shape.bucket_of(hash) as usize;
        let mut alike = 0;
        for _ in 0..self.buckets.len() {
            let bucket = &mut self.buckets[number];
            let (count, goes_on) = count_of(bucket);
            // Not into room that came free: none ever does.
            if count < ENTRIES_MAX {
                bucket[entry_at(count)].copy_from_slice(&entry.to_le_bytes());
                let count = (count + 1) as u32 | if goes_on { GOES_ON } else { 0 };
                bucket[4..8].copy_from_slice(&count.to_le_bytes());
                return Ok(());
            }
            bucket[4..8].copy_from_slice(&(count as u32 | GOES_ON).to_le_bytes());
            // A name with so many lines is an error; more of them would only make way to others'
            // lines longer.
            alike += entries(bucket).filter(|known| is_of(*known, hash)).count();
            if alike > ALIKE_MAX
                && hash >> OFFSET_BITS != self.shape.hash_of_everybodys() >> OFFSET_BITS
            {
                return Ok(());
            }
            number = (number + 1) % self.buckets.len();
        }
        Err(io::Error::other("it grows while it is read"))
    }

    fn seal(&mut self) {
        for (number, bucket) in self.buckets.iter_mut().enumerate() {
            let sum = self.shape.sum(number as u64, bucket);
            bucket[..4].copy_from_slice(&sum.to_le_bytes());
        }
    }

    /// Reads the whole users file, twice: the table's size comes first, so that little else has to
    /// be kept.
    pub(super) fn build(file: &File) -> io::Result<Table> {
        Table::of_shape(file, Shape::for_entries(count_entries(file)?)?)
    }

    fn of_shape(file: &File, shape: Shape) -> io::Result<Table> {
        let mut table = Table::new(shape);
        let mut result = Ok(());
        let mut known = HashSet::with_hasher(BuildHasherDefault::<AsItIs>::default());
        for_each_line(file, |offset, line| {
            let Places { all, first } = shape.places_of(line);
            for hash in all.into_iter().chain(first.filter(|&hash| known.insert(hash))) {
                if result.is_ok() {
                    result = table.insert(hash, offset);
                }
            }
        })?;
        result?;
        table.seal();
        Ok(table)
    }
}

/// For what is a keyed hash already.
#[derive(Default)]
struct AsItIs(u64);

impl Hasher for AsItIs {
    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }

    fn write(&mut self, _: &[u8]) {
        unreachable!("hashes are u64");
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

/// Where a table is.
enum IndexPlace {
    Memory(Vec<Bucket>),
    /// In a file, from an offset on.
    File(File, u64),
}

/// An index of one state of a file.
pub struct Index {
    shape: Shape,
    place: IndexPlace,
    /// A part was found not to be as it was built.
    is_spoilt: AtomicBool,
}

impl Index {
    /// One that this process has to itself.
    pub(super) fn in_memory(table: Table) -> Index {
        Index::at(table.shape, IndexPlace::Memory(table.buckets))
    }

    /// One that stands in a file, from `start` on.
    pub(super) fn in_file(shape: Shape, file: File, start: u64) -> Index {
        Index::at(shape, IndexPlace::File(file, start))
    }

    fn at(shape: Shape, place: IndexPlace) -> Index {
        Index { shape, place, is_spoilt: AtomicBool::new(false) }
    }

    /// The file this stands in, if it is known to be spoilt.
    pub(super) fn spoilt_file(&self) -> Option<(&File, Shape)> {
        match &self.place {
            IndexPlace::File(file, _) if self.is_spoilt.load(Ordering::Relaxed) => {
                Some((file, self.shape))
            }
            _ => None,
        }
    }

    /// Notes that it isn't of the file that it is used with.
    pub(super) fn spoil(&self) {
        self.is_spoilt.store(true, Ordering::Relaxed);
    }

    /// Reads the whole users file.
    pub fn build(file: &File) -> io::Result<Index> {
        Table::build(file).map(Index::in_memory)
    }

    /// `None`: that's not what this index had there.
    fn bucket(&self, number: u64) -> io::Result<Option<Bucket>> {
        let mut bucket = [0; BUCKET_LEN];
        match &self.place {
            IndexPlace::Memory(buckets) => bucket = buckets[number as usize],
            IndexPlace::File(file, start) => {
                let at = start + number * BUCKET_LEN as u64;
                if read_as_far_as_possible(file, &mut bucket, at)? < BUCKET_LEN {
                    return Ok(None);
                }
            }
        }
        let is_sealed = bucket[..4] == self.shape.sum(number, &bucket).to_le_bytes();
        Ok((is_sealed && count_of(&bucket).0 <= ENTRIES_MAX).then_some(bucket))
    }

    /// Where the lines of a user probably are; of more than [`LINES_MAX`], some. And those of twins
    /// of that name if it is a key. `None`: the index is gone; another one stands in its place, or
    /// a broken one.
    pub fn near(&self, user: &[u8]) -> io::Result<Option<Near>> {
        let hash = self.shape.hash(user);
        let mut near = Near::default();
        let is_whole = self.for_each_with(hash, |entry, offset| {
            if entry == hash & TAG {
                near.own.push(offset);
            } else if entry == !hash & TAG {
                near.twins.push(offset);
            } else if entry == (hash ^ WAYS) & TAG {
                near.ways.push(offset);
            }
        })?;
        // What goes on beyond the last bucket goes on in the first.
        near.own.sort_unstable();
        near.ways.sort_unstable();
        Ok(is_whole.then_some(near))
    }

    /// Where one line probably is that says whose a name is.
    pub(super) fn apart_lines(&self, name: &[u8]) -> io::Result<Option<Vec<u64>>> {
        self.lines_with(self.shape.hash_of_apart(name))
    }

    /// Where lines for us alone probably are that concern everybody.
    pub(super) fn everybodys_lines(&self) -> io::Result<Option<Vec<u64>>> {
        self.lines_with(self.shape.hash_of_everybodys())
    }

    /// Whether a line can stand where this index says that a user, or one of their twins, has one.
    /// If not, lines have moved.
    pub(super) fn is_near(&self, line: &[u8], user: &[u8]) -> bool {
        let hash = self.shape.hash(user);
        self.is_under(line, hash) || self.is_under(line, hash ^ TAG)
    }

    /// The same of a line about a user's ways in.
    pub(super) fn is_near_ways(&self, line: &[u8], user: &[u8]) -> bool {
        self.is_under(line, self.shape.hash_of_ways(user))
    }

    /// The same of a line that says whose a name is.
    pub(super) fn is_near_apart(&self, line: &[u8], name: &[u8]) -> bool {
        self.is_under(line, self.shape.hash_of_apart(name))
    }

    /// The same of a line that concerns everybody.
    pub(super) fn is_near_everybodys(&self, line: &[u8]) -> bool {
        self.is_under(line, self.shape.hash_of_everybodys())
    }

    /// By the bits that entries have: other lines may have them by chance.
    fn is_under(&self, line: &[u8], hash: u64) -> bool {
        let Places { all, first } = self.shape.places_of(line);
        all.into_iter().chain(first).any(|place| place & TAG == hash & TAG)
    }

    fn lines_with(&self, hash: u64) -> io::Result<Option<Vec<u64>>> {
        let mut offsets = Vec::new();
        let is_whole = self.for_each_with(hash, |entry, offset| {
            if entry == hash & TAG {
                offsets.push(offset);
            }
        })?;
        offsets.sort_unstable();
        Ok(is_whole.then_some(offsets))
    }

    /// Calls back with each entry's bits and offset where those of a hash are. Whether all were
    /// there.
    fn for_each_with(&self, hash: u64, mut each: impl FnMut(u64, u64)) -> io::Result<bool> {
        let mut number = self.shape.bucket_of(hash);
        for _ in 0..self.shape.buckets {
            let Some(bucket) = self.bucket(number)? else {
                self.spoil();
                return Ok(false);
            };
            for entry in entries(&bucket) {
                each(entry & TAG, entry & !TAG);
            }
            if !count_of(&bucket).1 {
                break;
            }
            number = (number + 1) % self.shape.buckets;
        }
        Ok(true)
    }
}

/// Offsets of lines that a look-up has found.
#[derive(Debug, Default)]
pub struct Near {
    /// Of lines that probably have the name, in file order.
    pub own: Vec<u64>,
    /// Of a line whose user's key the name probably is, though it is spelt otherwise.
    pub twins: Vec<u64>,
    /// Of lines that are probably about the ways in of the user of that name, in file order.
    pub ways: Vec<u64>,
}

/// At least as many as there are: one of each line, and of each whose user may be spelt otherwise
/// than its key.
fn count_entries(file: &File) -> io::Result<u64> {
    let mut entries = 1;
    for_each_line(file, |_, line| {
        let is_plain = |name: &[u8]| {
            name.iter().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'-' | b'_'))
        };
        entries += match line::user_of(line) {
            Some(name) if is_plain(name) => 1,
            Some(_) => 2,
            None => u64::from(pragma::is_pragma(line)),
        };
    })?;
    Ok(entries)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file_of(content: &[u8]) -> File {
        use std::io::Write;
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(content).unwrap();
        file
    }

    fn own(index: &Index, user: &[u8]) -> Vec<u64> {
        index.near(user).unwrap().unwrap().own
    }

    #[test]
    fn lines_are_found_by_name_in_file_order_and_one_of_all_twins_by_their_key() {
        let file = file_of(
            b"# c\nHOTP alice - 00\n\nHOTP Alice - 00\nHOTP ALICE - 00\nHOTP alice - 01\nHOTP Bob - 00\nHOTP Bob - 01\nHOTP J\xd6RG - 00",
        );
        let index = Index::build(&file).unwrap();
        let near = |user: &[u8]| {
            let Near { own, twins, .. } = index.near(user).unwrap().unwrap();
            (own, twins)
        };
        assert_eq!(near(b"alice"), (vec![4, 53], vec![21]));
        assert_eq!(near(b"Alice"), (vec![21], vec![]));
        assert_eq!(near(b"ALICE"), (vec![37], vec![]));
        assert_eq!(near(b"Bob"), (vec![69, 83], vec![]));
        assert_eq!(near(b"bob"), (vec![], vec![69]));
        assert_eq!(near(b"jorg"), (vec![], vec![97]));
        assert_eq!(near(b"carol"), (vec![], vec![]));
    }

    #[test]
    fn a_line_that_says_whose_a_name_is_is_found_by_that_name_if_it_is_right() {
        let file = file_of(
            b"#@ apart Jos%C3%A9\n#@ apart Jos%C3%A9\n#@ apart bob x\n#@apart carol\nHOTP dora - 00\n",
        );
        let index = Index::build(&file).unwrap();
        let lines_of = |name: &str| index.apart_lines(name.as_bytes()).unwrap().unwrap();
        assert_eq!(lines_of("Jos\u{e9}"), [0]);
        for name in ["jose", "Jose\u{301}", "Jos%C3%A9", "bob", "carol", "dora", ""] {
            assert_eq!(lines_of(name), [0u64; 0], "{name}");
        }
    }

    /// Else whoever may add users could make one of them slow.
    #[test]
    fn a_look_up_among_thousands_of_twins_reads_no_more_than_one_bucket() {
        let names: Vec<String> = (0..1u32 << 12)
            .map(|bits| (0..12).map(|i| if bits >> i & 1 == 1 { 'A' } else { 'a' }).collect())
            .collect();
        let mut content = String::new();
        let offsets: Vec<u64> = names
            .iter()
            .map(|name| {
                content += &format!("HOTP {name} - 00\n#@ apart {name}\n");
                content.len() as u64 - 2 * name.len() as u64 - 21
            })
            .collect();
        let index = Index::build(&file_of(content.as_bytes())).unwrap();
        for (name, offset) in names.iter().zip(offsets) {
            let near = index.near(name.as_bytes()).unwrap().unwrap();
            // Another one's 24 bits may be the same by chance.
            assert!(near.own.contains(&offset) && near.own.len() <= 2, "{near:?}");
            assert!(near.twins.len() <= 2, "{near:?}");
        }
        let IndexPlace::Memory(buckets) = &index.place else { unreachable!() };
        assert!(buckets.iter().all(|bucket| !count_of(bucket).1), "no bucket is full");
    }

    #[test]
    fn lines_that_concern_everybody_are_found_even_at_fault_and_no_others_for_us_alone() {
        let file = file_of(
            b"#@ limits max_offset=4\n# c\n#@ apart bob\nHOTP limits - 00\n#@Limits x\n#@ allow\n#@ free\n#@ new limits",
        );
        let index = Index::build(&file).unwrap();
        assert_eq!(index.everybodys_lines().unwrap().unwrap(), [0, 57, 68]);
        assert_eq!(own(&index, b"limits"), [40]);
        for name in ["", "#@", "max_offset=4", "bob", "allow", "free"] {
            assert_eq!(own(&index, name.as_bytes()), [0u64; 0], "{name}");
        }
    }

    /// One name in 16 million, different ones in each table.
    #[test]
    fn a_user_with_the_hash_of_everybodys_lines_is_no_reason_to_miss_either() {
        let shape = Shape { keys: [1, 2], buckets: 1 };
        let name = "user7412608";
        assert_eq!(
            shape.hash(name.as_bytes()) >> OFFSET_BITS,
            shape.hash_of_everybodys() >> OFFSET_BITS
        );
        let limits = "#@ limits max_offset=1\n";
        let content = format!("{limits}HOTP {name} - 00\nHOTP other - 00\n");
        let file = file_of(content.as_bytes());
        let table = Table::of_shape(&file, shape).unwrap();
        let index = Index::in_memory(table);
        let both = [0, limits.len() as u64];
        assert_eq!(own(&index, name.as_bytes()), both);
        assert_eq!(index.everybodys_lines().unwrap().unwrap(), both);
        assert!(index.is_near_everybodys(format!("HOTP {name} - 00").as_bytes()));
        assert!(!index.is_near_everybodys(b"HOTP other - 00"));
        let read = |file: &File| {
            super::super::rules::read(file, &index, std::path::Path::new("users")).unwrap()
        };
        let expected = crate::policy::Limits::parse([&b"max_offset=1"[..]].into_iter()).unwrap();
        assert_eq!(read(&file).unwrap().unwrap().limits, expected);
        // Whatever else is there than what the index has is no limit that could be passed over.
        for other in [
            "# limits max_offset=1 \n",
            "HOTP other - 0000     \n",
            "#@ free               \n",
            "                      \n",
        ] {
            let moved = file_of(content.replace(limits, other).as_bytes());
            assert!(read(&moved).is_none(), "{other}");
        }
    }

    #[test]
    fn as_many_lines_as_a_user_may_have_are_all_found_and_of_more_enough_to_be_too_many() {
        for count in [63, 64, 99, 100, 101, 126, 1000, 100_000] {
            let file = file_of("HOTP alice - 00\n".repeat(count).as_bytes());
            let table = Table::build(&file).unwrap();
            let entries: usize = table.buckets.iter().map(|bucket| count_of(bucket).0).sum();
            // Whoever comes through the same buckets has no longer way than this.
            assert!(entries <= LINES_MAX + ENTRIES_MAX, "{entries} of {count}");
            let found = own(&Index::in_memory(table), b"alice");
            if count <= LINES_MAX {
                let expected: Vec<u64> = (0..count as u64).map(|i| i * 16).collect();
                assert_eq!(found, expected);
            } else {
                assert!(
                    (LINES_MAX + 1..=LINES_MAX + ENTRIES_MAX).contains(&found.len()),
                    "{count}"
                );
            }
        }
    }

    #[test]
    fn lines_that_concern_everybody_are_all_found_however_many_there_are() {
        let file = file_of("#@ limits\n".repeat(1000).as_bytes());
        let expected: Vec<u64> = (0..1000).map(|i| i * 10).collect();
        assert_eq!(Index::build(&file).unwrap().everybodys_lines().unwrap().unwrap(), expected);
    }

    #[test]
    fn neighbours_of_a_user_with_very_many_lines_are_all_found() {
        let many = "HOTP alice - 00\n".repeat(20_000);
        let others: String = (0..1000).map(|i| format!("HOTP user{i} - 00\n")).collect();
        for content in [format!("{many}{others}"), format!("{others}{many}")] {
            let index = Index::build(&file_of(content.as_bytes())).unwrap();
            for i in 0..1000 {
                let line = format!("HOTP user{i} ");
                let found = own(&index, format!("user{i}").as_bytes());
                assert!(
                    found.iter().any(|&offset| content[offset as usize..].starts_with(&line)),
                    "user{i}"
                );
            }
        }
    }

    #[test]
    fn a_part_that_is_not_as_it_was_built_says_nothing() {
        let file = file_of("HOTP alice - 00\n".repeat(100).as_bytes());
        let table = || Table::build(&file).unwrap();
        for spoil in [
            |table: &mut Table| table.buckets[0][100] ^= 1,
            |table: &mut Table| table.buckets.fill([0; BUCKET_LEN]),
            |table: &mut Table| table.shape.keys[0] ^= 1,
            |table: &mut Table| table.buckets.swap(0, 1),
        ] {
            let mut table = table();
            spoil(&mut table);
            let index = Index::in_memory(table);
            // Enough names for every bucket to be looked into.
            let found = |i: u32| index.near(format!("user{i}").as_bytes()).unwrap();
            assert!((0..1000).any(|i| found(i).is_none()));
        }
        let other = table();
        let index = Index::in_memory(Table { shape: table().shape, buckets: other.buckets });
        assert!(index.near(b"alice").unwrap().is_none());
    }

    #[test]
    fn many_users_are_all_found() {
        let content: String = (0..10_000).map(|i| format!("HOTP user{i} - 00\n")).collect();
        let file = file_of(content.as_bytes());
        let index = Index::build(&file).unwrap();
        for i in 0..10_000 {
            let user = format!("user{i}");
            assert!(own(&index, user.as_bytes()).iter().any(|&offset| {
                content[offset as usize..].starts_with(&format!("HOTP {user} "))
            }));
        }
    }
}
