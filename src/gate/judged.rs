//! What was decided about one HTTP request. Its sub-requests and internal redirects come with the same
//! credentials and aren't judged again.

use crate::decide::{Verdict, Word};
use crate::http::digest::Ha1;

/// A keyed hash (SipHash of 128 bits): tells whether somebody comes with the same again, without keeping it.
pub(super) type Mark = [u64; 2];

/// The memory of one request. All zero: nothing was decided yet.
#[derive(Clone, Copy, Debug, Default)]
pub struct Judged {
    known: bool,
    /// Decided, but the server has yet to accept nonce and nc.
    is_pending: bool,
    pub(super) pin_is_external: bool,
    verdict: u8,
    word: u8,
    pub(super) pin_len: u32,
    /// Of store, user and password or Digest response.
    credentials: Mark,
    /// The same with the PIN as password: the header that PINFakeBasicAuth leaves.
    upstream: Mark,
    /// Which PIN source was asked.
    pub(super) pin_source: Mark,
    /// The HA1 of the password that a Digest response was found to be of.
    ha1: Ha1,
}

/// How credentials that come again relate to those that were judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Again {
    /// They are the same.
    Same,
    /// They are what we made of them for what stands behind the server.
    Upstream,
}

impl Judged {
    pub(super) fn new(verdict: Verdict, word: Word, credentials: Mark) -> Judged {
        Judged {
            known: true,
            verdict: verdict as u8,
            word: word as u8,
            credentials,
            upstream: credentials,
            ..Judged::default()
        }
    }

    pub(super) fn with_pin(self, len: usize, is_external: bool, source: Mark) -> Judged {
        Judged { pin_len: len as u32, pin_is_external: is_external, pin_source: source, ..self }
    }

    pub(super) fn with_upstream(self, upstream: Mark) -> Judged {
        Judged { upstream, ..self }
    }

    pub(super) fn with_ha1(self, ha1: Ha1) -> Judged {
        Judged { ha1, ..self }
    }

    /// The decision, if these credentials are those that were judged.
    pub(super) fn recall(&self, credentials: &Mark) -> Option<(Verdict, Word, Again)> {
        if !self.known {
            return None;
        }
        // A number that names no verdict can't come from us; whatever it is, it grants nothing.
        let verdicts =
            [Verdict::Granted, Verdict::Denied, Verdict::Unknown, Verdict::Error, Verdict::Throttled];
        let verdict = verdicts.into_iter().find(|verdict| *verdict as u8 == self.verdict)?;
        let word = Word::ALL.into_iter().find(|word| *word as u8 == self.word)?;
        if self.credentials == *credentials {
            Some((verdict, word, Again::Same))
        } else if verdict == Verdict::Granted && self.upstream == *credentials {
            Some((verdict, word, Again::Upstream))
        } else {
            None
        }
    }

    /// See the field.
    pub(super) fn until_accepted(self) -> Judged {
        Judged { is_pending: true, ..self }
    }

    /// The server has accepted; whether that is news.
    pub(super) fn accept(&mut self) -> bool {
        std::mem::take(&mut self.is_pending)
    }

    /// See the field.
    pub(super) fn is_pending(&self) -> bool {
        self.is_pending
    }

    /// See the field.
    pub(super) fn ha1(&self) -> Option<Ha1> {
        (self.ha1 != Ha1::default()).then_some(self.ha1)
    }
}
