//! The index as a file beside the users file, `<users>.index`: built once, used by all processes.
//!
//! A table in the memory of every process would cost 12 bytes a user in each of them, and each
//! would read the whole file to build it. Built before the server forks it would be shared until
//! the first edit, and no longer. So large users files have their table in a file: whoever first
//! finds it out of date writes it anew under its lock, and a look-up is one `pread` of a bucket.
//! What is in memory then is the system's page cache, once for all processes, and the system's to
//! drop; nothing has to be mapped, and no process keeps a copy. A user who is read from memory (see
//! [`super::file`]) costs no look-up at all.
//!
//! ```text
//! 0     header   magic, sum, shape of the table, boot, state of the users file, version of Unicode
//! 512   table    see [`super::index`]
//! ```
//!
//! It need not be trusted further than the journal, and less has to be assumed of it:
//!
//! - It says of which state of the users file it is. It is used for that state alone, or for one
//!   that differs from it by slot writes, as the journal's header says; the same rule by which a
//!   process follows changes.
//! - A bucket carries a checksum with the table's random keys in it. While the file is overwritten,
//!   or if that was cut short, what stands there is no part of the table that a process knows; then
//!   it looks for another. So a look-up finds what was built or notices, and a name that isn't
//!   found isn't there.
//! - It is of no use after the machine has been restarted: it was never synced, and neither were
//!   times that a file system had in memory.
//! - Other versions of Unicode may take other names for twins. A table of another one isn't used;
//!   an earlier one is overwritten, a later one left alone while it may be in use, so that two
//!   builds don't overwrite each other's in turns.
//! - Who could write it could hide users. So it is guarded as all companions are, see
//!   [`super::companion`]. A file of that name that isn't one of ours is left alone.
//!
//! Where there can't be one (no permission to make it, no space, a file system that several
//! machines may share, no `/proc`), each process has a table of its own, with the same answers.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, Instant};

use super::companion;
use super::index::{BUCKET_LEN, BUCKETS_MAX, Bucket, Index, Shape, Table};
use super::journal::{Basis, boot};
use super::lock::{LockedFile, kind_of_file_system};
use super::name;
use crate::files::access::Access;
use crate::files::lines::read_as_far_as_possible;
use crate::files::stamp::Stamp;

/// Users files below this size have no such file: a table of each process's own is small, and quick
/// to build.
pub const SHARED_FROM: u64 = 1 << 20;

const MAGIC: u64 = u64::from_le_bytes(*b"OTPINDX6");
/// Of tables without entries for the lines that concern everybody, of those that know only of names
/// that differ in case or blanks, and of those without entries for users' ways in, or for their
/// sessions or computers. Never used, and made anew; those who still write them leave ours alone and
/// go without.
const MAGICS_BEFORE: [u64; 5] = [
    u64::from_le_bytes(*b"OTPINDX1"),
    u64::from_le_bytes(*b"OTPINDX2"),
    u64::from_le_bytes(*b"OTPINDX3"),
    u64::from_le_bytes(*b"OTPINDX4"),
    u64::from_le_bytes(*b"OTPINDX5"),
];
/// A builder that takes longer than this isn't waited for.
const PATIENCE: Duration = Duration::from_secs(5);
const POLL: Duration = Duration::from_millis(1);

/// The file, open.
pub(super) struct SharedIndex {
    file: File,
    boot: u128,
}

/// What the header says.
#[derive(Clone, Copy)]
struct IndexHeader {
    shape: Shape,
    boot: u128,
    basis: Basis,
    unicode: u64,
}

impl IndexHeader {
    const WORDS: usize = 2 + 3 + 2 + 7 + 2 + 1;

    fn to_bytes(self) -> Bucket {
        let (boot_high, boot_low) = ((self.boot >> 64) as u64, self.boot as u64);
        let Shape { keys, buckets } = self.shape;
        let mut words = vec![MAGIC, 0, keys[0], keys[1], buckets, boot_high, boot_low];
        words.extend(self.basis.stamp.words());
        words.extend([u64::from(self.basis.epoch.is_some()), self.basis.epoch.unwrap_or_default()]);
        words.push(self.unicode);
        words[1] = sum(&words);
        let mut bytes = [0; BUCKET_LEN];
        for (place, word) in bytes.chunks_exact_mut(8).zip(words) {
            place.copy_from_slice(&word.to_le_bytes());
        }
        bytes
    }

    fn read(file: &File) -> Option<IndexHeader> {
        let mut bytes = [0; BUCKET_LEN];
        let len = read_as_far_as_possible(file, &mut bytes, 0).ok()?;
        IndexHeader::from_bytes(&bytes).filter(|_| len == BUCKET_LEN)
    }

    fn from_bytes(bytes: &Bucket) -> Option<IndexHeader> {
        let words = words(bytes);
        if words[0] != MAGIC || words[1] != sum(&words) {
            return None;
        }
        let stamp = Stamp::from_words(words[7..14].try_into().expect("seven words"));
        Some(IndexHeader {
            shape: Shape { keys: [words[2], words[3]], buckets: words[4] },
            boot: u128::from(words[5]) << 64 | u128::from(words[6]),
            basis: Basis { stamp, epoch: (words[14] == 1).then_some(words[15]) },
            unicode: words[16],
        })
    }
}

fn words(bytes: &Bucket) -> [u64; IndexHeader::WORDS] {
    let mut words = [0; IndexHeader::WORDS];
    for (word, bytes) in words.iter_mut().zip(bytes.chunks_exact(8)) {
        *word = u64::from_le_bytes(bytes.try_into().expect("eight bytes"));
    }
    words
}

/// Over all words but the sum itself.
fn sum(words: &[u64]) -> u64 {
    let mut sum = crc32fast::Hasher::new();
    for word in [&words[..1], &words[2..]].concat() {
        sum.update(&word.to_le_bytes());
    }
    u64::from(sum.finalize())
}

impl SharedIndex {
    /// Opens the file or makes it. `None`: each process has to have its own.
    pub(super) fn open(path: &Path, users: &Access) -> Option<SharedIndex> {
        let boot = boot()?;
        let opened = companion::open(path, users).ok()?;
        let file = if opened.is_suspect {
            companion::renew(path, opened, users).ok()?
        } else {
            opened.file
        };
        is_of_one_machine(&file).then_some(SharedIndex { file, boot })
    }

    /// The table of a state of the users file for which `holds` says yes; has it built if there is
    /// none. `None`: the users file doesn't stand still, or this can't be shared.
    pub(super) fn find_or_build(
        self,
        holds: impl Fn(&Basis) -> bool,
        build: impl FnOnce() -> io::Result<Option<(Table, Basis)>>,
    ) -> io::Result<Option<Index>> {
        let in_memory =
            |built: Option<(Table, Basis)>| Ok(built.map(|(table, _)| Index::in_memory(table)));
        let deadline = Instant::now() + PATIENCE;
        let locked = loop {
            if let Some(shape) = self.shape_if(&holds) {
                return Ok(Some(self.into_index(shape)));
            }
            match LockedFile::try_lock(&self.file) {
                Ok(Some(locked)) => break locked,
                Ok(None) if Instant::now() < deadline => std::thread::sleep(POLL),
                _ => return in_memory(build()?),
            }
        };
        // Somebody may just have finished it.
        let shape = match self.shape_if(&holds) {
            Some(shape) => shape,
            None => {
                let Some((table, basis)) = build()? else { return Ok(None) };
                if self.write(&table, basis).is_err() {
                    return in_memory(Some((table, basis)));
                }
                table.shape
            }
        };
        drop(locked);
        Ok(Some(self.into_index(shape)))
    }

    fn into_index(self, shape: Shape) -> Index {
        Index::in_file(shape, self.file, BUCKET_LEN as u64)
    }

    fn shape_if(&self, holds: &impl Fn(&Basis) -> bool) -> Option<Shape> {
        let header = IndexHeader::read(&self.file)?;
        let is_ours = header.boot == self.boot && header.unicode == name::UNICODE_VERSION;
        let has_buckets = (1..=BUCKETS_MAX).contains(&header.shape.buckets);
        (is_ours && has_buckets && holds(&header.basis)).then_some(header.shape)
    }

    /// Under the lock.
    fn write(&self, table: &Table, basis: Basis) -> io::Result<()> {
        if !is_index(&self.file)? {
            return Err(io::Error::other("a file of somebody else's"));
        }
        if IndexHeader::read(&self.file).is_some_and(|header| {
            header.boot == self.boot && header.unicode > name::UNICODE_VERSION
        }) {
            return Err(io::Error::other("of a later version of Unicode"));
        }
        // First of all what says that this is nobody's table, last what says whose it is.
        self.file.write_all_at(&nobodys(), 0)?;
        self.file.write_all_at(table.buckets.as_flattened(), BUCKET_LEN as u64)?;
        self.file.set_len((table.buckets.len() as u64 + 1) * BUCKET_LEN as u64)?;
        let header = IndexHeader {
            shape: table.shape,
            boot: self.boot,
            basis,
            unicode: name::UNICODE_VERSION,
        };
        self.file.write_all_at(&header.to_bytes(), 0)
    }
}

/// Whether a file begins like an index, or is empty.
pub(super) fn is_index(file: &File) -> io::Result<bool> {
    let mut start = [0; 8];
    let len = read_as_far_as_possible(file, &mut start, 0)?;
    let magic = u64::from_le_bytes(start);
    Ok(len == 0 || magic == MAGIC || MAGICS_BEFORE.contains(&magic))
}

/// The header of a table that isn't to be used.
fn nobodys() -> Bucket {
    let mut header = [0; BUCKET_LEN];
    header[..8].copy_from_slice(&MAGIC.to_le_bytes());
    header
}

/// Has a table built anew that was found to be spoilt, if it is still the one there.
pub(super) fn disown(file: &File, shape: Shape) {
    if let Ok(Some(_locked)) = LockedFile::try_lock(file)
        && IndexHeader::read(file).is_some_and(|header| header.shape == shape)
    {
        // If not even that can be written, look-ups go on to fail, with an error.
        let _ = file.write_all_at(&nobodys(), 0);
    }
}

/// Two machines that find each other's tables useless would write them in turns: ext, XFS, Btrfs,
/// ZFS, F2FS, bcachefs, tmpfs, overlays.
fn is_of_one_machine(file: &File) -> bool {
    const KINDS: [i64; 8] = [
        0xef53,
        0x5846_5342,
        0x9123_683e,
        0x2fc1_2fc1,
        0xf2f5_2010,
        0xca45_1a4e,
        0x0102_1994,
        0x794c_7630,
    ];
    kind_of_file_system(file).is_some_and(|kind| KINDS.contains(&kind))
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;
    use crate::users::name::UNICODE_VERSION;

    #[test]
    fn an_index_of_another_version_of_unicode_or_of_no_size_is_built_anew_or_left_alone_and_never_used()
     {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("users");
        let mut users =
            File::options().read(true).write(true).create_new(true).open(&path).unwrap();
        users.write_all(b"HOTP alice - 00\n").unwrap();
        let access = Access::of(&users).unwrap();
        let at = directory.path().join("users.index");
        let basis = Basis::now(Stamp::of(&users.metadata().unwrap()), None);
        let is_built = || {
            let mut is_built = false;
            let index = SharedIndex::open(&at, &access).unwrap().find_or_build(
                |_| true,
                || {
                    is_built = true;
                    Ok(Some((Table::build(&users)?, basis)))
                },
            );
            assert_eq!(index.unwrap().unwrap().near(b"alice").unwrap().unwrap().own, [0]);
            is_built
        };
        assert!(is_built());
        assert!(!is_built(), "used by the next one");
        let header = || IndexHeader::read(&File::open(&at).unwrap()).unwrap();
        let write = |header: IndexHeader| {
            File::options()
                .write(true)
                .open(&at)
                .unwrap()
                .write_all_at(&header.to_bytes(), 0)
                .unwrap();
        };
        let ours = header();
        assert_eq!(ours.unicode, UNICODE_VERSION);

        write(IndexHeader { unicode: UNICODE_VERSION - 1, ..ours });
        assert!(is_built() && !is_built());
        assert!(header().unicode == UNICODE_VERSION && header().shape != ours.shape, "overwritten");

        write(IndexHeader { unicode: UNICODE_VERSION + 1, ..ours });
        assert!(is_built() && is_built());
        assert!(
            header().unicode == UNICODE_VERSION + 1 && header().shape == ours.shape,
            "left alone"
        );

        write(IndexHeader { unicode: UNICODE_VERSION + 1, boot: ours.boot ^ 1, ..ours });
        assert!(is_built() && !is_built(), "nobody uses it any more");

        for buckets in [0, BUCKETS_MAX + 1, u64::MAX] {
            write(IndexHeader { shape: Shape { buckets, ..ours.shape }, ..header() });
            assert!(is_built(), "{buckets} buckets");
        }
    }

    /// A builder writes from the front: at any moment there is what it has written, and behind it
    /// what was there.
    #[test]
    fn who_looks_while_another_table_is_written_finds_what_was_built_or_notices() {
        let file_of = |from: usize| {
            let mut file = tempfile::tempfile().unwrap();
            for number in from..300 {
                writeln!(file, "HOTP user{number} - 00").unwrap();
            }
            file
        };
        let tables = [0, 1].map(|from| Table::build(&file_of(from)).unwrap());
        let [old, new] = &tables;
        assert_eq!(old.buckets.len(), new.buckets.len(), "one takes the place of the other");
        let mut mixed = tempfile::tempfile().unwrap();
        mixed.write_all(old.buckets.as_flattened()).unwrap();
        let names: Vec<String> =
            (0..300).step_by(13).map(|number| format!("user{number}")).collect();
        let indexes = [old, new].map(|table| {
            let whole =
                Index::in_memory(Table { shape: table.shape, buckets: table.buckets.clone() });
            let torn = Index::in_file(table.shape, mixed.try_clone().unwrap(), 0);
            (
                torn,
                names
                    .iter()
                    .map(|name| whole.near(name.as_bytes()).unwrap().unwrap().own)
                    .collect::<Vec<_>>(),
            )
        });
        let (mut found, mut noticed) = (0, 0);
        for (at, bytes) in new.buckets.as_flattened().chunks(8).enumerate() {
            mixed.write_all_at(bytes, at as u64 * 8).unwrap();
            for (torn, expected) in &indexes {
                for (name, expected) in names.iter().zip(expected) {
                    match torn.near(name.as_bytes()).unwrap() {
                        None => noticed += 1,
                        Some(near) => {
                            assert_eq!(near.own, *expected, "{name} after {at} words");
                            found += 1;
                        }
                    }
                }
            }
        }
        assert!(found > 0 && noticed > 0);
    }
}
