//! Marks: keyed hashes that recognise repeats.

use std::hash::Hasher as _;

use siphasher::sip128::{Hash128, Hasher128 as _, SipHasher13};
use zeroize::Zeroizing;

use super::Gate;
use crate::store::Store;

/// A keyed hash (128-bit SipHash): recognises a repeat without storing the data.
pub type Mark = [u64; 2];

/// Keyed with random bytes: makes marks that nobody else can make.
#[derive(Clone, Copy)]
pub struct Marks(SipHasher13);

impl Marks {
    /// `None`: the system has no random bytes.
    pub fn new() -> Option<Marks> {
        let mut key = Zeroizing::new([0; 16]);
        getrandom::fill(&mut *key).ok()?;
        Some(Marks(SipHasher13::new_with_key(&key)))
    }

    /// Those of one store: they say nothing about another.
    pub fn of(&self, store: &[u8]) -> Marks {
        self.that_begin_with(store)
    }

    /// Marks of data whose first part is always the same.
    pub fn that_begin_with(&self, part: &[u8]) -> Marks {
        let Marks(mut hash) = *self;
        absorb(&mut hash, part);
        Marks(hash)
    }

    /// The mark of data in several parts.
    pub fn mark(&self, parts: &[&[u8]]) -> Mark {
        let Marks(mut hash) = *self;
        for part in parts {
            absorb(&mut hash, part);
        }
        let Hash128 { h1, h2 } = hash.finish128();
        [h1, h2]
    }
}

/// Word by word, the last one filled up: each login makes a mark, and bytes that lie across the words
/// of the hash cost it twice as much. Lengths keep parts apart.
#[inline(always)]
fn absorb(hash: &mut SipHasher13, part: &[u8]) {
    hash.write_u64(part.len() as u64);
    let (words, rest) = part.as_chunks();
    for word in words {
        hash.write_u64(u64::from_le_bytes(*word));
    }
    if !rest.is_empty() {
        hash.write_u64(rest.iter().rev().fold(0, |word, &byte| word << 8 | u64::from(byte)));
    }
}

impl<S: Store> Gate<S> {
    /// The mark of user and password.
    pub(super) fn mark_of_password(&self, user: &[u8], password: &[u8]) -> Mark {
        self.passwords.mark(&[user, password])
    }

    pub(super) fn mark(&self, parts: &[&[u8]]) -> Mark {
        self.marks.mark(parts)
    }
}

#[cfg(test)]
mod tests {
    use super::Marks;

    #[test]
    fn data_in_other_parts_has_another_mark() {
        let marks = Marks::new().unwrap();
        let all: [&[&[u8]]; 14] = [
            &[],
            &[b""],
            &[b"", b""],
            &[b"a"],
            &[b"a\0"],
            &[b"a", b""],
            &[b"", b"a"],
            &[b"12345678"],
            &[b"12345678\0"],
            &[b"1234567", b"8"],
            &[b"123456781", b"2345678"],
            &[b"12345678", b"12345678"],
            &[b"1234567812345678"],
            &[b"1234567812345679"],
        ];
        let mut seen: Vec<_> = all.iter().map(|parts| marks.mark(parts)).collect();
        assert_eq!(marks.that_begin_with(b"12345678").mark(&[b"12345678"]), seen[11]);
        assert_ne!(Marks::new().unwrap().mark(&[]), seen[0]);
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen.len(), all.len());
    }
}
