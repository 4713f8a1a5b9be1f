//! Replays what `fuzz/corpus` has, and some bytes made from it, through the bodies that `make fuzz`
//! gives to libFuzzer: the same every time.

#[path = "../../fuzz/src/bodies/mod.rs"]
mod bodies;

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use bodies::{TARGETS, Target};

/// So many bytes are made up for each target; fewer where one takes milliseconds.
const MADE_UP: usize = 400;
const MADE_UP_OF_SLOW: usize = 60;
const SLOW: [&str; 2] = ["index", "journal"];
const LEN_MAX: usize = 4096;
/// A corpus is to be read by people and kept for ever.
const CORPORA_MAX: u64 = 1 << 20;

macro_rules! replayed {
    ($($name:ident)*) => {
        $(
            #[test]
            fn $name() {
                replay(stringify!($name));
            }
        )*

        #[test]
        fn each_target_is_replayed() {
            let targets: Vec<&str> = TARGETS.iter().map(|target| target.name).collect();
            assert_eq!(targets, [$(stringify!($name)),*]);
        }
    };
}

replayed! {
    record pragma users_file user_name journal index throttle basic digest cookie sealed form path
    back accept settings pin_file group_file template otpauth pskc csv google liboath apps ffi
}

fn corpora() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus")
}

fn corpus_of(name: &str) -> Vec<Vec<u8>> {
    let directory = corpora().join(name);
    let entries =
        fs::read_dir(&directory).unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths.iter().map(|path| fs::read(path).unwrap()).collect()
}

fn replay(name: &str) {
    let target = TARGETS.iter().find(|target| target.name == name).expect("a target");
    let corpus = corpus_of(name);
    assert!(!corpus.is_empty(), "{name} has no corpus");
    for bytes in &corpus {
        run(target, bytes);
    }
    let made_up = if SLOW.contains(&name) { MADE_UP_OF_SLOW } else { MADE_UP };
    let mut making = Making::of(target, &corpus);
    for _ in 0..made_up {
        let bytes = making.next();
        run(target, &bytes);
    }
}

/// Says which bytes they were if something doesn't hold.
fn run(target: &Target, bytes: &[u8]) {
    struct Shown<'b>(&'b str, &'b [u8]);
    impl Drop for Shown<'_> {
        fn drop(&mut self) {
            if std::thread::panicking() {
                eprintln!("{}: with these bytes: \"{}\"", self.0, self.1.escape_ascii());
            }
        }
    }
    let _shown = Shown(target.name, bytes);
    (target.body)(bytes);
}

/// Makes bytes from a corpus, as fuzzers do but without looking at what they reach.
struct Making<'c> {
    target: &'c Target,
    corpus: &'c [Vec<u8>],
    state: u64,
}

impl<'c> Making<'c> {
    fn of(target: &'c Target, corpus: &'c [Vec<u8>]) -> Making<'c> {
        let seed = target.name.bytes().fold(6238, |so_far, byte| so_far * 31 + u64::from(byte));
        Making { target, corpus, state: seed }
    }

    /// Marsaglia's xorshift64*.
    fn number(&mut self) -> u64 {
        self.state ^= self.state >> 12;
        self.state ^= self.state << 25;
        self.state ^= self.state >> 27;
        self.state.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 16
    }

    fn below(&mut self, end: usize) -> usize {
        (self.number() % end.max(1) as u64) as usize
    }

    fn next(&mut self) -> Vec<u8> {
        let mut bytes = self.corpus[self.below(self.corpus.len())].clone();
        for _ in 0..=self.below(4) {
            self.change(&mut bytes);
        }
        bytes.truncate(LEN_MAX);
        bytes
    }

    fn change(&mut self, bytes: &mut Vec<u8>) {
        let at = self.below(bytes.len() + 1);
        let end = (at + self.below(16)).min(bytes.len());
        match self.below(7) {
            0 if at < bytes.len() => bytes[at] ^= 1 << self.below(8),
            1 if at < bytes.len() => bytes[at] = self.number() as u8,
            2 => drop(bytes.drain(at..end)),
            3 => {
                let again = bytes[at..end].to_vec();
                drop(bytes.splice(at..at, again));
            }
            4 => {
                let other = &self.corpus[self.below(self.corpus.len())];
                let from = self.below(other.len());
                bytes.truncate(at);
                bytes.extend_from_slice(&other[from..]);
            }
            5 => {
                let number = [0, 1, 0x7f, 0x80, 0xff, u64::MAX, 1 << 31, 1 << 63][self.below(8)];
                for (place, byte) in bytes[at..].iter_mut().zip(number.to_le_bytes()) {
                    *place = byte;
                }
            }
            _ => {
                let word = self.target.words[self.below(self.target.words.len())].bytes();
                drop(bytes.splice(at..at, word));
            }
        }
    }
}

#[test]
fn what_does_not_hold_is_found() {
    fn body(bytes: &[u8]) {
        assert!(!bytes.windows(5).any(|word| word == b"wrong"), "on purpose");
    }
    let target = Target { name: "wrong", body, words: &["right", "wrong"] };
    let corpus = [b"right".to_vec()];
    let mut making = Making::of(&target, &corpus);
    let found = (0..MADE_UP_OF_SLOW).any(|_| {
        let bytes = making.next();
        catch_unwind(AssertUnwindSafe(|| run(&target, &bytes))).is_err()
    });
    assert!(found);
}

#[test]
fn corpora_are_small_and_each_is_of_a_target() {
    let mut size = 0;
    for entry in fs::read_dir(corpora()).unwrap() {
        let directory = entry.unwrap();
        let name = directory.file_name().into_string().unwrap();
        assert!(TARGETS.iter().any(|target| target.name == name), "{name}");
        for file in fs::read_dir(directory.path()).unwrap() {
            size += file.unwrap().metadata().unwrap().len();
        }
    }
    assert!(size < CORPORA_MAX, "{size} bytes");
}
