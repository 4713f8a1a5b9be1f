//! Wrong tries and their cost: checked before a login is looked at, reported afterwards.

use std::collections::HashSet;
use std::io;
use std::net::IpAddr;
use std::sync::atomic::{AtomicI64, Ordering};

use parking_lot::Mutex;

use super::Gate;
use super::attempt::Job;
use super::marks::Mark;
use crate::UnixTime;
use crate::decide::{self, Decision, LoginResult, Reason, Verdict};
use crate::http::digest::Ha1;
use crate::log::{Level, Log, Quoted};
use crate::policy::{Forget, Policy, Throttle};
use crate::store::{Found, Store, TriesError};
use crate::throttle::{self, Bytes, Client, Failures, Look, Over, Reserved, TryOutcome};
use crate::token::{Address, Entry, Pin};

/// Past this many granted credentials at once, the memory starts over.
const GRANTED_MAX: usize = 100_000;

/// What a gate remembers by itself.
#[derive(Default)]
pub(super) struct ThrottleMemory {
    /// Credentials granted by this process: they aren't guesses, so they don't wait.
    granted: Mutex<HashSet<Mark>>,
    /// Where tries are counted while the store can't do it.
    own: Mutex<Vec<u8>>,
    /// When the log was told.
    warned: Mutex<Option<UnixTime>>,
    /// The same, that no PIN is enough.
    warned_of_pins: Mutex<Option<UnixTime>>,
    told_busy: AtomicI64,
}

/// In seconds.
const WARN_AGAIN: UnixTime = 600;

/// A login that may be checked.
#[derive(Default)]
pub(super) struct Admitted {
    /// A try was taken, of this.
    throttle: Option<Throttle>,
    /// The user is known to log in from there.
    pub is_familiar: bool,
    /// From where they are accepted is noted.
    is_noted: bool,
}

impl Admitted {
    /// A try was taken for a user who is known there.
    pub(super) fn is_counted_at_a_familiar_address(&self) -> bool {
        self.throttle.is_some() && self.is_familiar
    }
}

/// Who it is about, for as long as nobody changes the lines.
pub(super) struct ThrottledLogin<'a> {
    user: &'a [u8],
    is_listed: bool,
    address: Option<IpAddr>,
    before: Vec<(IpAddr, UnixTime)>,
    now: UnixTime,
}

impl<'a> ThrottledLogin<'a> {
    pub(super) fn of(
        user: &'a [u8],
        address: &Address,
        found: &Found,
        now: UnixTime,
    ) -> ThrottledLogin<'a> {
        let before = |entry: &Entry| {
            let used = |line: &crate::token::StoredToken| match line.state.address {
                Address::Ip(address) => Some((address, line.state.used.as_of(now)?.1)),
                _ => None,
            };
            entry.lines.iter().filter_map(used).collect()
        };
        ThrottledLogin {
            user,
            is_listed: found.is_listed(),
            address: match address {
                Address::Ip(address) => Some(*address),
                _ => None,
            },
            before: before(&found.entry),
            now,
        }
    }

    pub(super) fn client(&self) -> Client<'_> {
        Client {
            user: self.user,
            is_listed: self.is_listed,
            address: self.address,
            before: &self.before,
            now: self.now,
        }
    }
}

impl<S: Store> Gate<S> {
    /// Takes a try for a Basic login, if one is needed.
    pub(super) fn admit(
        &self,
        job: &Job,
        found: &Found,
        log: &dyn Log,
    ) -> Result<Admitted, Decision> {
        let policy = job.policy.restricted_by(&found.limits);
        let Some(password) = job.attempt.password() else { return Ok(Admitted::default()) };
        if self.is_granted(&job.attempt.user, password, &job.attempt.address) {
            return Ok(Admitted { is_familiar: true, ..Admitted::default() });
        }
        let who =
            ThrottledLogin::of(&job.attempt.user, &job.attempt.address, found, (self.clock)());
        match policy.throttle.filter(|_| counts(&policy, &job.attempt.address, found)) {
            Some(throttle) => {
                let reserve = |bytes: &mut dyn Bytes| {
                    throttle::reserve(bytes, &who.client(), throttle, password)
                };
                match self.count(log, reserve).ok_or_else(Decision::busy)? {
                    Reserved::Taken { is_familiar } => {
                        Ok(Admitted { throttle: Some(throttle), is_familiar, is_noted: true })
                    }
                    Reserved::Over(over) => Err(self.refuse(over, &job.attempt.user, log)),
                }
            }
            // There are no budgets, but turns.
            None if is_hashed(found) => {
                let is_familiar =
                    self.count(log, |bytes| throttle::is_familiar(bytes, &who.client()));
                Ok(Admitted {
                    throttle: None,
                    is_familiar: is_familiar.unwrap_or(false),
                    is_noted: true,
                })
            }
            None => Ok(Admitted::default()),
        }
    }

    /// Says what came of it.
    pub(super) fn settle(
        &self,
        (user, password, address): (&[u8], &[u8], &Address),
        admitted: &Admitted,
        (decision, found): (&Decision, &Found),
        log: &dyn Log,
    ) {
        if decision.verdict == Verdict::Granted {
            self.note_granted(self.password_mark(user, password, address));
        }
        let who = ThrottledLogin::of(user, address, found, (self.clock)());
        match admitted.throttle {
            // It is still to be checked, so its try stays taken: whoever comes with the same again
            // has it.
            Some(_) if decision.verdict == Verdict::Busy => {}
            Some(throttle) => {
                let outcome = outcome_of(decision, !password.is_empty());
                self.count(log, |bytes| {
                    throttle::settle(bytes, &who.client(), throttle, password, outcome)
                });
            }
            None if admitted.is_noted && is_accepted(decision) => {
                self.count(log, |bytes| throttle::accept(bytes, &who.client()));
            }
            None => {}
        }
    }

    /// A Digest decision under what is counted: another one, if there were too many wrong
    /// responses. `is_final`: it is carried out with this.
    pub(super) fn answer_digest(
        &self,
        (policy, user, address): (&Policy, &[u8], &Address),
        (decision, found, ha1): (Decision, &Found, Option<Ha1>),
        is_final: bool,
        log: &dyn Log,
    ) -> Decision {
        let policy = policy.restricted_by(&found.limits);
        let who = ThrottledLogin::of(user, address, found, (self.clock)());
        if !counts(&policy, address, found) {
            return decision;
        }
        let mark = ha1.map(|ha1| self.digest_user_mark(user, &ha1, address));
        let is_granted = decision.verdict == Verdict::Granted;
        if is_granted && mark.is_some_and(|mark| self.was_granted(&mark)) {
            return decision;
        }
        let outcome = outcome_of(&decision, policy.forget == Forget::Word);
        let is_wrong_response =
            !matches!(decision.word, LoginResult::DeniedLocked | LoginResult::Forgotten);
        let told = (is_final || outcome == TryOutcome::Wrong).then_some(outcome);
        let mut is_locked = false;
        let mut before = Failures::default();
        let mut change = |failures: &mut Failures| {
            before = *failures;
            is_locked = decide::is_locked_out(
                &policy.of_digest_failures(),
                failures.number,
                failures.last,
                who.now,
            );
            if is_locked {
                return false;
            }
            match told {
                Some(TryOutcome::Wrong) if is_wrong_response => {
                    *failures =
                        Failures { number: failures.number.saturating_add(1), last: who.now };
                }
                Some(TryOutcome::Accepted) => *failures = Failures::default(),
                _ => {}
            }
            true
        };
        let over = self.count(log, |bytes| {
            throttle::digest(bytes, &who.client(), policy.throttle, told, &mut change)
        });
        match over {
            // Its response was answered under the budgets when it was matched, and by now its code
            // is spent.
            _ if is_granted && is_final => {
                mark.into_iter().for_each(|mark| self.note_granted(mark));
                Decision { wrong_responses: (before.number, before.last), ..decision }
            }
            None => Decision::busy(),
            Some(Some(over)) => self.refuse(over, user, log),
            Some(None) if is_locked => Decision::locked(),
            Some(None) => Decision { wrong_responses: (before.number, before.last), ..decision },
        }
    }

    /// Whether a Digest decision made on an event loop needs nothing counted.
    pub(super) fn is_digest_free(
        &self,
        policy: &Policy,
        found: &Found,
        (user, address): (&[u8], &Address),
        (decision, ha1): (&Decision, Option<&Ha1>),
    ) -> bool {
        let was_granted = |ha1: &Ha1| self.was_granted(&self.digest_user_mark(user, ha1, address));
        !counts(policy, address, found)
            || (decision.verdict == Verdict::Granted && ha1.is_some_and(was_granted))
    }

    /// Whether a Basic login can be decided without a try being taken.
    pub(super) fn is_free(
        &self,
        policy: &Policy,
        found: &Found,
        (user, password, address): (&[u8], &[u8], &Address),
    ) -> bool {
        let policy = policy.restricted_by(&found.limits);
        policy.throttle.is_none()
            || !counts(&policy, address, found)
            || self.is_granted(user, password, address)
    }

    pub(super) fn is_granted(&self, user: &[u8], password: &[u8], address: &Address) -> bool {
        self.was_granted(&self.password_mark(user, password, address))
    }

    /// Whether a budget is used up for these credentials, or too many wait to have PINs of the
    /// user's checked.
    pub(super) fn over(
        &self,
        policy: &Policy,
        found: &Found,
        (user, password, address): (&[u8], &[u8], &Address),
        log: &dyn Log,
    ) -> Option<Decision> {
        if self.is_granted(user, password, address) {
            return None;
        }
        let who = ThrottledLogin::of(user, address, found, (self.clock)());
        let throttle = policy
            .restricted_by(&found.limits)
            .throttle
            .filter(|_| counts(policy, address, found))?;
        let look = |bytes: &mut dyn Bytes| throttle::look(bytes, &who.client(), throttle, password);
        let Some(look) = self.count(log, look) else { return Some(Decision::busy()) };
        match look {
            Look::Over(over) => Some(self.refuse(over, user, log)),
            Look::Free { is_familiar }
                if is_hashed(found) && self.is_busy_for(user, is_familiar) =>
            {
                Some(Decision::busy())
            }
            Look::Free { .. } => None,
        }
    }

    fn refuse(&self, over: Over, user: &[u8], log: &dyn Log) -> Decision {
        let decision = Decision::throttled(over.rest);
        if over.is_news {
            let (word, reason) = (decision.word.as_str(), decision.reason.text());
            log.log(
                Level::Refusal,
                format_args!("{word}: {reason}; retry in {} s, user {}", over.rest, Quoted(user)),
            );
        }
        decision
    }

    /// Runs `work` on what the store lends, or on this process's own where that can't be had.
    /// `None`: nothing can be counted now, so nothing may be looked at.
    pub(super) fn count<R>(
        &self,
        log: &dyn Log,
        mut work: impl FnMut(&mut dyn Bytes) -> io::Result<R>,
    ) -> Option<R> {
        let mut result = None;
        let lent = self.store.tries(&mut |bytes| {
            result = Some(work(bytes)?);
            Ok(())
        });
        match lent {
            Ok(()) => result,
            // What is counted there counts: another table would give everybody all tries anew.
            Err(TriesError::Held(fault)) => {
                self.warn(format_args!("logins are refused for now: {fault}"), log);
                None
            }
            Err(TriesError::Unusable(fault)) => {
                self.warn(format_args!("each process counts wrong tries for itself: {fault}"), log);
                work(&mut *self.memory.own.lock()).ok()
            }
        }
    }

    /// Once in a while: each login has the same fault.
    fn warn(&self, message: std::fmt::Arguments<'_>, log: &dyn Log) {
        self.warn_after(&self.memory.warned, message, log);
    }

    pub(super) fn warn_of_pins(&self, message: std::fmt::Arguments<'_>, log: &dyn Log) {
        self.warn_after(&self.memory.warned_of_pins, message, log);
    }

    fn warn_after(
        &self,
        last: &Mutex<Option<UnixTime>>,
        message: std::fmt::Arguments<'_>,
        log: &dyn Log,
    ) {
        let now = (self.clock)();
        let mut warned = last.lock();
        if warned.is_none_or(|last| !(0..WARN_AGAIN).contains(&now.saturating_sub(last))) {
            *warned = Some(now);
            drop(warned);
            log.log(Level::Error, message);
        }
    }

    /// The line about a login that is refused because too many wait, which many are then: one a
    /// second is enough.
    pub(super) fn is_busy_line_due(&self) -> bool {
        let now = (self.clock)();
        self.memory.told_busy.swap(now, Ordering::Relaxed) != now
    }

    fn was_granted(&self, mark: &Mark) -> bool {
        self.memory.granted.lock().contains(mark)
    }

    fn note_granted(&self, mark: Mark) {
        let mut granted = self.memory.granted.lock();
        if granted.len() >= GRANTED_MAX {
            granted.clear();
        }
        granted.insert(mark);
    }

    fn password_mark(&self, user: &[u8], password: &[u8], address: &Address) -> Mark {
        self.mark(&[b"granted", user, password, &bytes_of(address)])
    }

    fn digest_user_mark(&self, user: &[u8], ha1: &Ha1, address: &Address) -> Mark {
        self.mark(&[b"granted digest", user, ha1.as_bytes(), &bytes_of(address)])
    }
}

fn bytes_of(address: &Address) -> Vec<u8> {
    match address {
        Address::Ip(IpAddr::V4(address)) => address.octets().to_vec(),
        Address::Ip(IpAddr::V6(address)) => address.octets().to_vec(),
        Address::Unknown | Address::Other(_) => Vec::new(),
    }
}

/// Names that another provider may decide are none of ours; and who gives names that nobody has,
/// from nowhere, takes no row from anybody.
fn counts(policy: &Policy, address: &Address, found: &Found) -> bool {
    found.is_listed()
        || matches!(address, Address::Ip(_)) && (found.entry.is_twin || !policy.passes_unknown_on)
}

fn is_hashed(found: &Found) -> bool {
    found.entry.lines.iter().any(|line| matches!(line.token.pin, Pin::Hashed(_)))
}

/// From there the user logs in. A program says nothing of where the user is.
fn is_accepted(decision: &Decision) -> bool {
    decision.verdict == Verdict::Granted && decision.word != LoginResult::GrantedApp
}

/// What a lock-out and a right PIN with the word for forgetting lead to keeps its try as what is
/// wrong does: else the tries that are left would tell that the PIN was right.
fn outcome_of(decision: &Decision, forgets_by_word: bool) -> TryOutcome {
    let is_counted = match decision.word {
        LoginResult::DeniedLocked => true,
        LoginResult::Forgotten => forgets_by_word,
        _ => decision.is_wrong_guess,
    };
    match decision.verdict {
        Verdict::Granted if is_accepted(decision) => TryOutcome::Accepted,
        // What is passed on isn't ours to count, and who is told to come again brings the same.
        Verdict::Denied | Verdict::Error if is_counted => TryOutcome::Wrong,
        // Where it counts at all, nobody else is asked.
        Verdict::Unknown if decision.reason == Reason::NotListed => TryOutcome::Wrong,
        _ => TryOutcome::NotCounted,
    }
}
