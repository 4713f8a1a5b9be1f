//! Digest nonces in memory shared by all processes of a server: which were issued, and which of
//! their nonce counts were used.
//!
//! A nonce gets an entry at its first use by a client that knew the password, so strangers can't
//! fill the memory. When it is full, the oldest entry is evicted, and every nonce at least as old
//! that has no entry is refused from then on: it may be the evicted one. Its client is told so
//! (`stale`) and asks again by itself.
//!
//! The memory is an array of words: a header, then a hash table of entry numbers, then the entries
//! as a ring. All changes are made under the server's lock. A process that dies while holding it
//! leaves the memory marked as busy; the next one starts over with an empty table and refuses all
//! nonces issued before.

use std::sync::atomic::{AtomicU64, Ordering};

use zeroize::Zeroizing;

use crate::UnixTime;
use crate::http::nonce::{CountsSeen, Nonce, NonceKey};
use crate::log::{Level, Log};

/// Memory shared by processes, and its lock.
pub trait SharedMemory {
    /// All of it.
    fn words(&self) -> &[AtomicU64];

    /// Keeps all other processes and threads from the memory until [`SharedMemory::unlock`].
    fn lock(&self);

    /// See [`SharedMemory::lock`].
    fn unlock(&self);
}

// The words of the header.
const MARK: usize = 0;
const KEY: std::ops::Range<usize> = 1..5;
/// Number of the last nonce issued.
const ISSUED: usize = 5;
/// The highest number of an evicted nonce.
const FLOOR: usize = 6;
/// How many entries were ever made; modulo the capacity, the next one's place.
const MADE: usize = 7;
const BUSY: usize = 8;
/// Whether it was logged that the memory is full.
const TOLD: usize = 9;
const HEADER_LEN: usize = 10;

// The words of an entry.
const ID: usize = 0;
/// When the nonce expires.
const EXPIRES: usize = 1;
/// The highest count used, and in the lower half the number of the next entry with the same hash,
/// plus 1.
const TOP_AND_NEXT: usize = 2;
const WINDOW: usize = 3;
const ENTRY_LEN: usize = 4;

/// One entry and its share of the hash table.
const WORDS_PER_ENTRY: usize = ENTRY_LEN + 1;
/// A version of the layout.
const MARKED: u64 = u64::from_le_bytes(*b"nonces01");

/// The nonces of a server.
pub struct Nonces<'m> {
    memory: &'m dyn SharedMemory,
    words: &'m [AtomicU64],
    key: NonceKey,
}

/// Why a nonce can't be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unusable {
    /// Its count was used before, or may have been.
    Replayed,
    /// It is so old that its entry may have been evicted.
    Evicted,
}

/// Initialises new memory. Call it once, in one process. `false`: too little memory, or no random
/// bytes.
pub fn initialise(words: &[AtomicU64]) -> bool {
    let mut key = Zeroizing::new([0; 32]);
    if capacity(words) == 0 || getrandom::fill(&mut *key).is_err() {
        return false;
    }
    for word in words {
        word.store(0, Ordering::Relaxed);
    }
    for (word, bytes) in words[KEY].iter().zip(key.chunks_exact(8)) {
        word.store(u64::from_ne_bytes(bytes.try_into().expect("eight bytes")), Ordering::Relaxed);
    }
    words[MARK].store(MARKED, Ordering::Release);
    true
}

fn capacity(words: &[AtomicU64]) -> usize {
    // Entry numbers have half a word.
    (words.len().saturating_sub(HEADER_LEN) / WORDS_PER_ENTRY).min(u32::MAX as usize - 1)
}

impl<'m> Nonces<'m> {
    /// `None`: the memory isn't ours or was never made ready.
    pub fn new(memory: &'m dyn SharedMemory) -> Option<Nonces<'m>> {
        let words = memory.words();
        if capacity(words) == 0 || words[MARK].load(Ordering::Acquire) != MARKED {
            return None;
        }
        let mut key = Zeroizing::new([0; 32]);
        for (bytes, word) in key.chunks_exact_mut(8).zip(&words[KEY]) {
            bytes.copy_from_slice(&word.load(Ordering::Relaxed).to_ne_bytes());
        }
        Some(Nonces { memory, words, key: NonceKey::new(&key) })
    }

    /// A new nonce for a realm.
    pub fn issue(&self, realm: &[u8], expires: UnixTime) -> String {
        let id = self.words[ISSUED].fetch_add(1, Ordering::Relaxed) + 1;
        self.key.seal(Nonce { expires, id }, realm)
    }

    /// A nonce as a client sent it, if it was issued here for that realm and hasn't expired.
    pub fn open(&self, text: &[u8], realm: &[u8], now: UnixTime) -> Option<Nonce> {
        self.key.open(text, realm).filter(|nonce| now <= nonce.expires)
    }

    /// Whether the nonce could be used with that count.
    pub fn check(&self, nonce: Nonce, count: u32) -> Result<(), Unusable> {
        self.locked(|table, _| table.standing(nonce.id, count).map(|_| ()))
    }

    /// Uses the nonce with that count, which works only once.
    pub fn take(
        &self,
        nonce: Nonce,
        count: u32,
        now: UnixTime,
        log: &dyn Log,
    ) -> Result<(), Unusable> {
        let (taken, is_full) = self.locked(|table, was_full| {
            let taken = table.standing(nonce.id, count).map(|standing| match standing {
                NonceStanding::Known(entry, seen) => table.set_seen(entry, seen),
                NonceStanding::New(seen) => table.insert(nonce, seen, now),
            });
            (taken, !was_full && table.word(TOLD) != 0)
        });
        if is_full {
            log.log(
                Level::Warning,
                format_args!(
                    "the shared memory for Digest nonces is full ({} are in use): the oldest are evicted, and their \
                     clients have to ask for a new one; give the zone more memory",
                    capacity(self.words)
                ),
            );
        }
        taken
    }

    fn locked<R>(&self, work: impl FnOnce(&NonceTable<'_>, bool) -> R) -> R {
        struct Unlock<'m>(&'m dyn SharedMemory);
        impl Drop for Unlock<'_> {
            fn drop(&mut self) {
                self.0.unlock();
            }
        }
        self.memory.lock();
        let _unlock = Unlock(self.memory);
        let table = NonceTable { words: self.words, capacity: capacity(self.words) };
        if table.word(BUSY) != 0 {
            table.start_over();
        }
        let was_full = table.word(TOLD) != 0;
        table.set(BUSY, 1);
        let result = work(&table, was_full);
        table.set(BUSY, 0);
        result
    }
}

/// How a nonce stands before a use, and after it.
enum NonceStanding {
    /// It has that entry.
    Known(usize, CountsSeen),
    /// It has none yet.
    New(CountsSeen),
}

/// The table while it is locked.
struct NonceTable<'m> {
    words: &'m [AtomicU64],
    capacity: usize,
}

impl NonceTable<'_> {
    fn word(&self, at: usize) -> u64 {
        self.words[at].load(Ordering::Relaxed)
    }

    fn set(&self, at: usize, value: u64) {
        self.words[at].store(value, Ordering::Relaxed);
    }

    /// Where the first entry of a nonce's hash is named, as entry number + 1.
    fn bucket(&self, id: u64) -> usize {
        // Numbers are given out one by one: neighbours fall into neighbouring buckets.
        HEADER_LEN + (id % self.capacity as u64) as usize
    }

    fn entry(&self, number: usize) -> usize {
        HEADER_LEN + self.capacity + number * ENTRY_LEN
    }

    fn next_of(&self, entry: usize) -> u64 {
        self.word(entry + TOP_AND_NEXT) & u64::from(u32::MAX)
    }

    /// The entry of a nonce, by its words' beginning.
    fn find(&self, id: u64) -> Option<usize> {
        let mut link = self.word(self.bucket(id));
        // A chain is never longer than the table, whatever stands there.
        for _ in 0..self.capacity {
            let number = (link as usize).checked_sub(1).filter(|&number| number < self.capacity)?;
            let entry = self.entry(number);
            if self.word(entry + ID) == id {
                return Some(entry);
            }
            link = self.next_of(entry);
        }
        None
    }

    fn standing(&self, id: u64, count: u32) -> Result<NonceStanding, Unusable> {
        match self.find(id) {
            Some(entry) => {
                let top = (self.word(entry + TOP_AND_NEXT) >> 32) as u32;
                let seen = CountsSeen { top, window: self.word(entry + WINDOW) };
                let seen = seen.with(count).ok_or(Unusable::Replayed)?;
                Ok(NonceStanding::Known(entry, seen))
            }
            None if id <= self.word(FLOOR) => Err(Unusable::Evicted),
            None => {
                CountsSeen::default().with(count).map(NonceStanding::New).ok_or(Unusable::Replayed)
            }
        }
    }

    fn set_seen(&self, entry: usize, seen: CountsSeen) {
        self.set(entry + TOP_AND_NEXT, u64::from(seen.top) << 32 | self.next_of(entry));
        self.set(entry + WINDOW, seen.window);
    }

    fn insert(&self, nonce: Nonce, seen: CountsSeen, now: UnixTime) {
        let made = self.word(MADE);
        let number = (made % self.capacity as u64) as usize;
        let entry = self.entry(number);
        if made >= self.capacity as u64 {
            self.evict(number, now);
        }
        let bucket = self.bucket(nonce.id);
        self.set(entry + ID, nonce.id);
        self.set(entry + EXPIRES, nonce.expires as u64);
        self.set(entry + TOP_AND_NEXT, self.word(bucket));
        self.set_seen(entry, seen);
        self.set(bucket, number as u64 + 1);
        self.set(MADE, made + 1);
    }

    fn evict(&self, number: usize, now: UnixTime) {
        let entry = self.entry(number);
        let id = self.word(entry + ID);
        // Whoever links to it links to the next one instead.
        let own = number as u64 + 1;
        let bucket = self.bucket(id);
        if self.word(bucket) == own {
            self.set(bucket, self.next_of(entry));
        } else {
            let mut link = self.word(bucket);
            for _ in 0..self.capacity {
                let Some(before) =
                    (link as usize).checked_sub(1).filter(|&number| number < self.capacity)
                else {
                    break;
                };
                let before = self.entry(before);
                link = self.next_of(before);
                if link == own {
                    let top = self.word(before + TOP_AND_NEXT) >> 32 << 32;
                    self.set(before + TOP_AND_NEXT, top | self.next_of(entry));
                    break;
                }
            }
        }
        // One that has expired is refused for that.
        if self.word(entry + EXPIRES) as UnixTime >= now {
            self.set(FLOOR, self.word(FLOOR).max(id));
            self.set(TOLD, 1);
        }
    }

    /// Forgets all entries, and refuses all nonces that could have had one.
    fn start_over(&self) {
        self.set(FLOOR, self.words[ISSUED].load(Ordering::Relaxed));
        for bucket in HEADER_LEN..HEADER_LEN + self.capacity {
            self.set(bucket, 0);
        }
        self.set(MADE, 0);
    }
}

#[cfg(test)]
mod tests {
    use std::fmt;

    use std::sync::atomic::AtomicBool;

    use parking_lot::Mutex;

    use super::*;

    struct NonceMemory {
        words: Vec<AtomicU64>,
        is_locked: AtomicBool,
    }

    impl NonceMemory {
        /// For so many entries.
        fn of(entries: usize) -> NonceMemory {
            let memory = NonceMemory::unprepared(HEADER_LEN + entries * WORDS_PER_ENTRY);
            assert!(initialise(&memory.words));
            memory
        }

        fn unprepared(words: usize) -> NonceMemory {
            let words = (0..words).map(|_| AtomicU64::new(0)).collect();
            NonceMemory { words, is_locked: AtomicBool::new(false) }
        }
    }

    impl SharedMemory for NonceMemory {
        fn words(&self) -> &[AtomicU64] {
            &self.words
        }

        fn lock(&self) {
            while self.is_locked.swap(true, Ordering::Acquire) {
                std::thread::yield_now();
            }
        }

        fn unlock(&self) {
            assert!(self.is_locked.swap(false, Ordering::Release));
        }
    }

    #[derive(Default)]
    struct NonceLines(Mutex<Vec<String>>);

    impl Log for NonceLines {
        fn log(&self, level: Level, message: fmt::Arguments<'_>) {
            self.0.lock().push(format!("{level:?} {message}"));
        }
    }

    const NOW: UnixTime = 1_700_000_000;

    fn issue(nonces: &Nonces<'_>) -> Nonce {
        nonces
            .open(nonces.issue(b"area", NOW + 300).as_bytes(), b"area", NOW)
            .expect("its own nonce")
    }

    fn take(nonces: &Nonces<'_>, nonce: Nonce, count: u32) -> Result<(), Unusable> {
        let checked = nonces.check(nonce, count);
        let taken = nonces.take(nonce, count, NOW, &NonceLines::default());
        assert_eq!(checked, taken);
        taken
    }

    #[test]
    fn memory_that_is_too_small_or_not_made_ready_is_refused() {
        assert!(!initialise(&NonceMemory::unprepared(HEADER_LEN + WORDS_PER_ENTRY - 1).words));
        assert!(!initialise(&[]));
        assert!(Nonces::new(&NonceMemory::unprepared(100)).is_none());
        assert!(Nonces::new(&NonceMemory::unprepared(0)).is_none());
        assert!(Nonces::new(&NonceMemory::of(1)).is_some());
    }

    #[test]
    fn a_count_is_used_once_by_all_who_share_the_memory() {
        let memory = NonceMemory::of(8);
        let (one, other) = (Nonces::new(&memory).unwrap(), Nonces::new(&memory).unwrap());
        let nonce = issue(&one);
        assert_eq!(take(&one, nonce, 1), Ok(()));
        assert_eq!(take(&other, nonce, 1), Err(Unusable::Replayed));
        assert_eq!(take(&other, nonce, 3), Ok(()));
        assert_eq!(take(&one, nonce, 2), Ok(()));
        assert_eq!(take(&one, nonce, 100), Ok(()));
        assert_eq!(take(&other, nonce, 36), Err(Unusable::Replayed));
        assert_eq!(take(&other, nonce, 37), Ok(()));
    }

    #[test]
    fn an_expired_nonce_cannot_be_opened() {
        let memory = NonceMemory::of(1);
        let nonces = Nonces::new(&memory).unwrap();
        let text = nonces.issue(b"area", NOW + 300);
        assert!(nonces.open(text.as_bytes(), b"area", NOW + 300).is_some());
        assert!(nonces.open(text.as_bytes(), b"area", NOW + 301).is_none());
    }

    #[test]
    fn checking_makes_no_entry() {
        let memory = NonceMemory::of(2);
        let nonces = Nonces::new(&memory).unwrap();
        for _ in 0..10 {
            assert_eq!(nonces.check(issue(&nonces), 1), Ok(()));
        }
        assert_eq!(nonces.words[MADE].load(Ordering::Relaxed), 0);
    }

    #[test]
    fn when_full_the_oldest_makes_room_and_all_before_it_are_refused_and_it_is_said_once() {
        let memory = NonceMemory::of(4);
        let nonces = Nonces::new(&memory).unwrap();
        let lines = NonceLines::default();
        let unused = issue(&nonces);
        let issued: Vec<Nonce> = (0..6).map(|_| issue(&nonces)).collect();
        for nonce in &issued {
            assert_eq!(nonces.take(*nonce, 1, NOW, &lines), Ok(()));
        }
        for evicted in &issued[..2] {
            assert_eq!(take(&nonces, *evicted, 2), Err(Unusable::Evicted));
        }
        for kept in &issued[2..] {
            assert_eq!(take(&nonces, *kept, 1), Err(Unusable::Replayed));
            assert_eq!(take(&nonces, *kept, 2), Ok(()));
        }
        assert_eq!(take(&nonces, unused, 1), Err(Unusable::Evicted));
        let lines = lines.0.lock();
        assert_eq!(lines.len(), 1, "{lines:?}");
        assert!(
            lines[0]
                .starts_with("Warning the shared memory for Digest nonces is full (4 are in use)")
        );
    }

    #[test]
    fn what_has_expired_makes_room_in_silence() {
        let memory = NonceMemory::of(4);
        let nonces = Nonces::new(&memory).unwrap();
        let lines = NonceLines::default();
        let unused = issue(&nonces);
        for _ in 0..40 {
            let nonce = issue(&nonces);
            assert_eq!(nonces.take(nonce, 1, NOW + 301, &lines), Ok(()));
        }
        assert_eq!(nonces.take(unused, 1, NOW + 301, &lines), Ok(()));
        assert!(lines.0.lock().is_empty());
    }

    #[test]
    fn many_more_nonces_than_room_never_let_a_count_pass_twice() {
        let memory = NonceMemory::of(16);
        let nonces = Nonces::new(&memory).unwrap();
        let mut issued = Vec::new();
        let mut used = std::collections::HashSet::new();
        let mut random = 1_u64;
        for _ in 0..20_000 {
            random = random
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            if random >> 60 == 0 || issued.is_empty() {
                issued.push(issue(&nonces));
            }
            let nonce = issued[issued.len() - 1 - (random >> 20) as usize % issued.len().min(40)];
            let count = 1 + (random >> 40) as u32 % 80;
            if take(&nonces, nonce, count).is_ok() {
                assert!(used.insert((nonce.id, count)), "{nonce:?} {count}");
            }
        }
        assert!(used.len() > 1000, "{}", used.len());
    }

    #[test]
    fn after_a_process_died_in_the_middle_all_nonces_so_far_are_refused_and_new_ones_work() {
        let memory = NonceMemory::of(4);
        let nonces = Nonces::new(&memory).unwrap();
        let (used, unused) = (issue(&nonces), issue(&nonces));
        assert_eq!(take(&nonces, used, 1), Ok(()));
        memory.words[BUSY].store(1, Ordering::Relaxed);
        // Whatever it left.
        memory.words[HEADER_LEN].store(u64::MAX, Ordering::Relaxed);
        assert_eq!(take(&nonces, used, 2), Err(Unusable::Evicted));
        assert_eq!(take(&nonces, unused, 1), Err(Unusable::Evicted));
        let new = issue(&nonces);
        assert_eq!(take(&nonces, new, 1), Ok(()));
        assert_eq!(take(&nonces, new, 1), Err(Unusable::Replayed));
    }

    #[test]
    fn of_many_threads_one_gets_a_count() {
        let memory = NonceMemory::of(8);
        let nonce = issue(&Nonces::new(&memory).unwrap());
        for count in 1..50 {
            let won = std::thread::scope(|threads| {
                let clients: Vec<_> = (0..4)
                    .map(|_| {
                        let memory = &memory;
                        threads.spawn(move || {
                            let nonces = Nonces::new(memory).unwrap();
                            nonces.take(nonce, count, NOW, &NonceLines::default()).is_ok()
                        })
                    })
                    .collect();
                clients.into_iter().map(|client| client.join().unwrap()).filter(|&won| won).count()
            });
            assert_eq!(won, 1);
        }
    }
}
