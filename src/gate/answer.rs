//! The answer to a login.

use zeroize::Zeroizing;

use crate::decide::{Verdict, Word};
use crate::store::LoopTurn;

/// The answer to a login.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// What the server is to do.
    pub verdict: Verdict,
    /// Which rule decided.
    pub word: Word,
    /// For [`Verdict::Throttled`] and [`Verdict::Busy`]: seconds until the next try.
    pub retry_after: Option<u32>,
    /// On a grant with PINFakeBasicAuth: the PIN for the backend.
    pub upstream_pin: Option<Zeroizing<Vec<u8>>>,
}

impl Answer {
    /// Without anything to go with it.
    pub fn plain(verdict: Verdict, word: Word) -> Answer {
        Answer { verdict, word, retry_after: None, upstream_pin: None }
    }

    /// For a part of a request that wasn't granted.
    pub fn no_part() -> Answer {
        Answer::plain(Verdict::Denied, Word::DeniedCode)
    }

    /// Nothing could be decided.
    pub fn error() -> Answer {
        Answer::plain(Verdict::Error, Word::Error)
    }
}

/// How long a decision may take.
#[derive(Clone, Copy)]
pub(super) enum Turn {
    MayBlock,
    /// On an event loop.
    AtOnce(LoopTurn),
}
