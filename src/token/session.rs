//! A login that one browser keeps by a cookie.

use super::Fingerprint;
use crate::UnixTime;

/// A login that one browser keeps by a cookie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Session {
    /// Which one it is.
    pub id: SessionId,
    /// The token whose code was accepted, or whose PIN was enough.
    pub token: TokenTag,
    /// How it began.
    pub kind: SessionKind,
    /// When it began: the first use of its code.
    pub first: UnixTime,
    /// Its last use, as far as it was noted.
    pub last: UnixTime,
}

/// What a store keeps of a user in a few places, until there is no room for it.
pub trait Kept: Copy + PartialEq {
    /// What tells those of one user apart.
    type Id: Copy + PartialEq;
    /// Which one it is.
    fn id(&self) -> Self::Id;
    /// The token that it rests on.
    fn token(&self) -> TokenTag;
    /// When it began.
    fn first(&self) -> UnixTime;
}

impl Kept for Session {
    type Id = SessionId;

    fn id(&self) -> SessionId {
        self.id
    }

    fn token(&self) -> TokenTag {
        self.token
    }

    fn first(&self) -> UnixTime {
        self.first
    }
}

/// What goes when this one is kept: those that began first, until no more than `max` are left. Never
/// the one itself, which is just being used.
pub fn displaced<T: Kept>(kept: &[T], new: &T, max: u8) -> Vec<T::Id> {
    let mut others: Vec<&T> = kept.iter().filter(|other| other.id() != new.id()).collect();
    // Of those of one second, the one that was kept first.
    others.sort_by_key(|other| other.first());
    let over = (others.len() + 1).saturating_sub(usize::from(max.max(1)));
    others.into_iter().take(over).map(Kept::id).collect()
}

/// What a session is known by: a hash of what its cookie holds, so that no cookie can be made of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionId(pub [u8; 16]);

/// Tells tokens of one user apart: a session ends when fields 1 to 4 of its token change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TokenTag(pub [u8; 6]);

impl TokenTag {
    /// Of a token.
    pub fn of(fingerprint: &Fingerprint) -> TokenTag {
        let [a, b, c, d, e, f, ..] = fingerprint.0;
        TokenTag([a, b, c, d, e, f])
    }
}

/// How a session began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionKind {
    /// By a fresh code.
    Code,
    /// By the PIN alone, where that is enough.
    PinAlone,
    /// By the PIN alone, on a computer that is trusted for a while.
    Computer,
}
