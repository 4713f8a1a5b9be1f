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
        let mut hash = self.0;
        hash.write(&store.len().to_le_bytes());
        hash.write(store);
        Marks(hash)
    }

    /// The mark of data in several parts.
    pub fn mark(&self, parts: &[&[u8]]) -> Mark {
        let Marks(mut hash) = *self;
        for part in parts {
            // Lengths keep parts apart.
            hash.write_u64(part.len() as u64);
            hash.write(part);
        }
        let Hash128 { h1, h2 } = hash.finish128();
        [h1, h2]
    }
}

impl<S: Store> Gate<S> {
    pub(super) fn mark(&self, parts: &[&[u8]]) -> Mark {
        self.marks.mark(parts)
    }
}
