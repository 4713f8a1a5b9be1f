//! Which code of a printed list is next: told to whoever has its PIN, and is known at their address.

use super::Gate;
use super::attempt::Job;
use super::rounds::known_of;
use crate::UnixTime;
use crate::decide::{self, Decision, LoginResult, PinQuestion, Reason, Verdict};
use crate::pin::PinSource;
use crate::policy::{Admission, Policy};
use crate::store::{Found, Store};
use crate::token::{Entry, Pin};

/// A list that has a code to be asked for, and a PIN to ask for it with.
struct List {
    line: usize,
    /// The number of its next code.
    next: u16,
}

impl List {
    /// The first one that could grant a login.
    fn of(policy: &Policy, entry: &Entry, now: UnixTime) -> Option<List> {
        entry.lines.iter().enumerate().find_map(|(line, stored)| {
            let (token, state) = (&stored.token, &stored.state);
            state.codes_left(token.factor).filter(|&left| left > 0)?;
            let is_open = !token.disabled
                && token.pin != Pin::None
                && !decide::is_locked(policy, stored, now);
            let next = u64::try_from(state.counter.as_written()).ok()?;
            let next = token.factor.paper_code(next).filter(|_| is_open)?.number;
            Some(List { line, next })
        })
    }
}

/// Whether the password of such a refusal may have been a PIN without a code, of somebody whom the
/// place lets in: what others are answered doesn't tell whether their PIN is right.
fn may_be_pin_alone(policy: &Policy, decision: &Decision) -> bool {
    policy.admission == Admission::Admitted
        && decision.verdict == Verdict::Denied
        // Then it was no PIN.
        && !decision.read_pin_alone
        && matches!(decision.reason, Reason::TooShort | Reason::WrongPin)
}

impl<S: Store> Gate<S> {
    /// Whether more than the decision is to be found out, which may take a while.
    pub(super) fn may_tell_paper_next(
        &self,
        policy: &Policy,
        decision: &Decision,
        found: &Found,
    ) -> bool {
        may_be_pin_alone(policy, decision)
            && List::of(&policy.restricted_by(&found.limits), &found.entry, (self.clock)())
                .is_some()
    }

    /// A refusal of a login from an address where the user is known and wrong tries are counted: if
    /// the password is the PIN of a printed list, with the number of its next code. It is a try:
    /// the answer tells whether the PIN is right.
    pub(super) fn with_paper_next(
        &self,
        mut job: Job,
        decision: Decision,
        found: &Found,
        source: &dyn PinSource,
    ) -> Decision {
        let policy = job.policy.restricted_by(&found.limits);
        let list = may_be_pin_alone(&policy, &decision)
            .then(|| List::of(&policy, &found.entry, (self.clock)()))
            .flatten();
        let (Some(List { line, next }), Some(password)) = (list, job.attempt.password()) else {
            return decision;
        };
        let password = zeroize::Zeroizing::new(password.to_vec());
        let token = &found.entry.lines[line].token;
        // Others count wrong PINs, too, and were just asked about this one with a code behind it.
        if token.pin == Pin::External && decision.reason != Reason::TooShort {
            return decision;
        }
        let read = |job: &Job| {
            let known = |field: &Pin, pin: &[u8]| known_of(&job.pins, field, pin);
            decide::pin_alone(token, &password, &known)
        };
        let mut is_right = read(&job);
        if is_right.is_none() {
            let question = PinQuestion { line, pin_len: password.len() };
            // Too many wait: then nothing was found out.
            if self.answer(&mut job, &found.entry, question, source).is_err() {
                return decision;
            }
            is_right = read(&job);
        }
        let decision = Decision { is_wrong_guess: true, ..decision };
        if is_right != Some(Ok(())) {
            return decision;
        }
        Decision {
            word: LoginResult::DeniedCode,
            reason: Reason::CodeMissing,
            paper_next: Some(next),
            ..decision
        }
    }
}
