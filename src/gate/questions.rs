//! What is asked about slow PINs.

use hmac::Mac as _;
use zeroize::Zeroizing;

use super::Gate;
use super::attempt::Job;
use crate::UnixTime;
use crate::decide::{Attempt, PinQuestion, Proof};
use crate::pin::turns::Busy;
use crate::pin::{PinAnswer, PinSource};
use crate::policy::Policy;
use crate::store::Store;
use crate::token::{Entry, Pin, Token};

/// A keyed hash that nobody can make without the key.
pub(super) type Mac = [u8; 32];

pub(super) struct PinKnown {
    /// The PIN field: a hash's text, or who else is asked about the user.
    pub(super) field: Pin,
    pub(super) pin: Zeroizing<Vec<u8>>,
    pub(super) answer: PinAnswer,
}

/// A PIN question in full.
pub(super) struct PinAsked {
    pub(super) field: Pin,
    pub(super) pin: Zeroizing<Vec<u8>>,
    /// Under which a right answer about the token is remembered, and for how many seconds.
    pub(super) key: Mac,
    /// The same for the user's other tokens that it is an answer about.
    pub(super) other_keys: Vec<Mac>,
    pub(super) ttl: u32,
    pub(super) now: UnixTime,
}

impl PinAsked {
    pub(super) fn known(&self, answer: PinAnswer) -> PinKnown {
        PinKnown { field: self.field.clone(), pin: self.pin.clone(), answer }
    }
}

pub(super) fn ask(source: &dyn PinSource, user: &[u8], pin: &[u8]) -> PinAnswer {
    if source.identity().is_empty() { PinAnswer::NoSource } else { source.check(user, pin) }
}

impl<S: Store> Gate<S> {
    /// Gets one PIN question answered, from memory or by the slow check.
    pub(super) fn answer(
        &self,
        job: &mut Job,
        entry: &Entry,
        question: PinQuestion,
        source: &dyn PinSource,
    ) -> Result<(), Busy> {
        let asked =
            job.attempt.lend(|attempt| self.asked(&job.policy, attempt, entry, question, source));
        let Some(asked) = asked else { return Ok(()) };
        let token = &entry.lines[question.line].token;
        let answer = self.answer_to(&asked, token, (&job.attempt.user, job.is_familiar), source)?;
        job.learn(asked.known(answer));
        Ok(())
    }

    /// What is asked by a question. `None`: a question nobody asks about these credentials.
    pub(super) fn asked(
        &self,
        policy: &Policy,
        attempt: &Attempt<'_>,
        entry: &Entry,
        question: PinQuestion,
        source: &dyn PinSource,
    ) -> Option<PinAsked> {
        let Proof::Password(password) = attempt.proof else { return None };
        let token = &entry.lines[question.line].token;
        let pin = &password[..question.pin_len];
        let (ttl, identity, state) = match (&token.pin, policy.pin_cache_external) {
            (Pin::Hashed(_), _) => (policy.pin_cache_hashed, Vec::new(), Some(Vec::new())),
            (_, ttl) if ttl == 0 || !source.is_known_by_identity() => (0, source.identity(), None),
            (_, ttl) => (ttl, source.identity(), source.state()),
        };
        let ttl = if state.is_some() { ttl } else { 0 };
        // Fields 1 to 4 are part of the key: an edited PIN is another PIN.
        let key_of = |token: &Token| {
            self.pin_key(token, &identity, state.as_deref().unwrap_or_default(), pin)
        };
        let others = entry.lines.iter().map(|line| &line.token);
        let others =
            others.filter(|other| other.pin == token.pin && other.fingerprint != token.fingerprint);
        let (key, other_keys) = (key_of(token), others.map(key_of).collect());
        let pin = Zeroizing::new(pin.to_vec());
        Some(PinAsked { field: token.pin.clone(), pin, key, other_keys, ttl, now: (self.clock)() })
    }

    pub(super) fn pin_key(&self, token: &Token, source: &[u8], state: &[u8], pin: &[u8]) -> Mac {
        self.mac(&[b"pin", &token.fingerprint.0, source, state, pin])
    }

    /// Until when a PIN that was found right needn't be checked again.
    pub(super) fn remembered_until(
        &self,
        token: &Token,
        source: &[u8],
        state: &[u8],
        pin: &[u8],
    ) -> Option<UnixTime> {
        self.pins.right_until(&self.pin_key(token, source, state, pin))
    }

    pub(super) fn mac(&self, parts: &[&[u8]]) -> Mac {
        let mut mac = self.mac.clone();
        for part in parts {
            // Lengths keep parts apart.
            mac.update(&(part.len() as u64).to_le_bytes());
            mac.update(part);
        }
        mac.finalize().into_bytes().into()
    }
}
