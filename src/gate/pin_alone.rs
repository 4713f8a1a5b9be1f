//! Where a PIN is enough without a code, wrong ones are counted apart: too many, and it isn't enough
//! any more, anywhere, before the next fresh code.

use std::num::NonZeroU32;

use super::Gate;
use super::rounds::in_force;
use super::throttled::ThrottledLogin;
use crate::decide::{self, Decision, Verdict};
use crate::log::{Level, Log, Quoted};
use crate::policy::Policy;
use crate::store::{Found, Store, TriesError};
use crate::throttle::{self, PinCount};
use crate::token::Address;

/// So many wrong PINs where codes have no limit.
const DEFAULT_LIMIT: NonZeroU32 = NonZeroU32::new(10).unwrap();

/// What the count of wrong PINs makes of a decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Counted {
    /// It is the answer.
    Stands,
    /// No PIN was enough: it is to be decided so.
    IsClosed,
    /// It can't be known now.
    Busy,
}

impl<S: Store> Gate<S> {
    /// Whether a decision needs to be counted before it is an answer.
    pub(super) fn is_pin_alone_to_count(
        &self,
        decision: &Decision,
        (user, password, address): (&[u8], &[u8], &Address),
    ) -> bool {
        let is_granted = decision.verdict == Verdict::Granted;
        decision.read_pin_alone && !(is_granted && self.is_granted(user, password, address))
    }

    /// Holds a decision about a PIN without a code against the count, under which right ones are
    /// let in and wrong ones added, each by itself. So however many are tried at once, the answers
    /// to no more than the limit say anything.
    pub(super) fn count_pin_alone(
        &self,
        policy: &Policy,
        (user, password, address): (&[u8], &[u8], &Address),
        decision: &Decision,
        found: &Found,
        log: &dyn Log,
    ) -> Counted {
        if !self.is_pin_alone_to_count(decision, (user, password, address)) {
            return Counted::Stands;
        }
        let policy = policy.restricted_by(&found.limits);
        let limit = NonZeroU32::new(policy.max_failures).unwrap_or(DEFAULT_LIMIT);
        let who = ThrottledLogin::of(user, address, found, (self.clock)());
        let mut count = PinCount::Over;
        let lent = self.store.tries(&mut |bytes| {
            count = throttle::count_pin(
                bytes,
                &who.client(),
                policy.throttle,
                password,
                decision.is_wrong_guess,
                limit,
            )?;
            Ok(())
        });
        match (lent, count) {
            (Err(TriesError::Held(_)), _) => Counted::Busy,
            (Err(TriesError::Unusable(fault)), _) => {
                self.warn_of_pins(
                    format_args!(
                        "a code is needed everywhere, because wrong PINs can't be counted: {fault}"
                    ),
                    log,
                );
                Counted::IsClosed
            }
            (Ok(()), PinCount::Below) => Counted::Stands,
            (Ok(()), PinCount::Reached) => {
                self.close_pin(user, log);
                Counted::Stands
            }
            (Ok(()), PinCount::Over) => {
                // It wasn't saved when the limit was reached.
                self.close_pin(user, log);
                Counted::IsClosed
            }
        }
    }

    fn close_pin(&self, user: &[u8], log: &dyn Log) {
        let mut is_news = false;
        let saved = self.store.update(&mut |transaction| {
            let found = transaction.find(user)?;
            is_news = found.is_listed() && !found.entry.ways.always.until_code;
            if is_news {
                transaction.close_pin(user, true);
            }
            Ok(())
        });
        let user = Quoted(user);
        match saved {
            Ok(()) if is_news => log.log(
                Level::Warning,
                format_args!(
                    "too many wrong PINs without a code: a code is needed everywhere until the next new one, user {user}"
                ),
            ),
            Ok(()) => {}
            Err(fault) => log.log(
                Level::Error,
                format_args!("couldn't save that a code is needed everywhere now: {fault}, user {user}"),
            ),
        }
    }

    /// After a fresh code. If it fails, the next wrong PIN is one too many.
    pub(super) fn forget_wrong_pins(
        &self,
        policy: &Policy,
        (user, address): (&[u8], &Address),
        found: &Found,
        log: &dyn Log,
    ) {
        let policy = in_force(policy, found, address);
        let may_be_counted = found.entry.ways.always.until_code
            || !found.entry.ways.computers.is_empty()
            || decide::is_pin_alone_enough(&policy, &found.entry, address);
        if may_be_counted {
            let who = ThrottledLogin::of(user, address, found, (self.clock)());
            self.count(log, |bytes| throttle::forget_pins(bytes, &who.client()));
        }
    }
}
