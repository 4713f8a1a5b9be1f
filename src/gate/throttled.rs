//! Wrong tries and what they cost: asked before a login is looked at, told afterwards.

use std::collections::HashSet;
use std::io;
use std::net::IpAddr;

use parking_lot::Mutex;

use super::judged::Mark;
use super::{Credentials, Found, Gate, Job, Store};
use crate::UnixTime;
use crate::decide::{self, Decision, Reason, Verdict};
use crate::http::digest::Ha1;
use crate::log::{Level, Log, Quoted};
use crate::policy::{Policy, Throttle};
use crate::throttle::{self, Bytes, Client, Failures, Outcome, Over, Reserved};
use crate::token::{Address, Entry};

/// More granted credentials than this at once, and the memory starts anew.
const GRANTED_MAX: usize = 100_000;

/// What a gate remembers by itself.
#[derive(Default)]
pub(super) struct Memory {
    /// Credentials that were granted by this process: they aren't guessed, so they wait for nobody.
    granted: Mutex<HashSet<Mark>>,
    /// Where tries are counted while the store can't do it, and whether the log knows.
    own: Mutex<(Vec<u8>, bool)>,
}

/// A login that may be looked at.
pub(super) struct Admitted {
    throttle: Throttle,
    /// The user is known to log in from there.
    pub is_familiar: bool,
}

/// Who it is about, for as long as nobody changes the lines.
struct Who<'a> {
    user: &'a [u8],
    is_listed: bool,
    address: Option<IpAddr>,
    before: Vec<(IpAddr, UnixTime)>,
    now: UnixTime,
}

impl<'a> Who<'a> {
    fn of(user: &'a [u8], address: &Address, found: &Found, now: UnixTime) -> Who<'a> {
        let before = |entry: &Entry| {
            let used = |line: &crate::token::Line| match line.state.address {
                Address::Ip(address) => Some((address, line.state.used.as_of(now)?.1)),
                _ => None,
            };
            entry.lines.iter().filter_map(used).collect()
        };
        Who {
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

    fn client(&self) -> Client<'_> {
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
    /// Takes a try for a Basic login. `Ok(None)`: none is needed.
    pub(super) fn admit(
        &self,
        job: &Job,
        found: &Found,
        log: &dyn Log,
    ) -> Result<Option<Admitted>, Decision> {
        let policy = job.policy.restricted_by(&found.limits);
        let (Some(throttle), Credentials::Password(password)) = (policy.throttle, &job.credentials) else {
            return Ok(None);
        };
        if !counts(&policy, found) || self.was_granted(&self.password_mark(&job.user, password, &job.address))
        {
            return Ok(None);
        }
        let who = Who::of(&job.user, &job.address, found, (self.clock)());
        let reserved = self.count(log, |bytes| throttle::reserve(bytes, &who.client(), throttle, password));
        match reserved {
            Some(Reserved::Taken { is_familiar }) => Ok(Some(Admitted { throttle, is_familiar })),
            Some(Reserved::Over(over)) => Err(self.refuse(over, &job.user, log)),
            None => Ok(None),
        }
    }

    /// Says what came of it.
    pub(super) fn settle(
        &self,
        (user, password, address): (&[u8], &[u8], &Address),
        admitted: Option<Admitted>,
        (decision, found): (&Decision, &Found),
        log: &dyn Log,
    ) {
        if decision.verdict == Verdict::Granted {
            self.note_granted(self.password_mark(user, password, address));
        }
        let Some(Admitted { throttle, .. }) = admitted else { return };
        let who = Who::of(user, address, found, (self.clock)());
        let outcome = outcome_of(decision);
        self.count(log, |bytes| throttle::settle(bytes, &who.client(), throttle, password, outcome));
    }

    /// A Digest decision under what is counted: another one, if there were too many wrong responses. `is_final`: it is
    /// carried out with this.
    pub(super) fn answer_digest(
        &self,
        (policy, user, address): (&Policy, &[u8], &Address),
        (decision, found, ha1): (Decision, &Found, Option<Ha1>),
        is_final: bool,
        log: &dyn Log,
    ) -> Decision {
        let policy = policy.restricted_by(&found.limits);
        if !self.is_digest_counted(&policy, found) {
            return decision;
        }
        let mark = ha1.map(|ha1| self.digest_user_mark(user, &ha1, address));
        let is_granted = decision.verdict == Verdict::Granted;
        if is_granted && mark.is_some_and(|mark| self.was_granted(&mark)) {
            return decision;
        }
        let who = Who::of(user, address, found, (self.clock)());
        let outcome = outcome_of(&decision);
        let told = (is_final || outcome == Outcome::Wrong).then_some(outcome);
        let mut is_locked = false;
        let mut change = |failures: &mut Failures| {
            is_locked =
                decide::is_locked_out(&policy.of_digest_failures(), failures.number, failures.last, who.now);
            if is_locked {
                return false;
            }
            match told {
                Some(Outcome::Wrong) if policy.max_failures > 0 => {
                    *failures = Failures { number: failures.number.saturating_add(1), last: who.now };
                }
                Some(Outcome::Accepted) => *failures = Failures::default(),
                _ => {}
            }
            true
        };
        let over = self
            .count(log, |bytes| throttle::digest(bytes, &who.client(), policy.throttle, told, &mut change));
        match over.flatten() {
            Some(over) => self.refuse(over, user, log),
            None if is_locked => Decision::locked(),
            None => {
                if let Some(mark) = mark.filter(|_| is_granted && is_final) {
                    self.note_granted(mark);
                }
                decision
            }
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
        !self.is_digest_counted(&policy.restricted_by(&found.limits), found)
            || (decision.verdict == Verdict::Granted && ha1.is_some_and(was_granted))
    }

    fn is_digest_counted(&self, policy: &Policy, found: &Found) -> bool {
        (policy.throttle.is_some() || policy.max_failures > 0) && counts(policy, found)
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
            || !counts(&policy, found)
            || self.was_granted(&self.password_mark(user, password, address))
    }

    /// Whether a budget is used up for these credentials, and for how long.
    pub(super) fn over(
        &self,
        policy: &Policy,
        found: &Found,
        (user, password, address): (&[u8], &[u8], &Address),
        log: &dyn Log,
    ) -> Option<Decision> {
        if self.is_free(policy, found, (user, password, address)) {
            return None;
        }
        let throttle = policy.restricted_by(&found.limits).throttle?;
        let who = Who::of(user, address, found, (self.clock)());
        let over = self.count(log, |bytes| throttle::look(bytes, &who.client(), throttle, password));
        over.flatten().map(|over| self.refuse(over, user, log))
    }

    fn refuse(&self, over: Over, user: &[u8], log: &dyn Log) -> Decision {
        let decision = Decision::throttled(over.rest);
        if over.is_news {
            let (word, reason) = (decision.word.as_str(), decision.reason.text());
            log.log(
                Level::Refusal,
                format_args!("{word}: {reason}; the next try is in {} s, user {}", over.rest, Quoted(user)),
            );
        }
        decision
    }

    /// Runs `work` on what the store lends, or else on this process's own. `None`: that can't be had either.
    fn count<R>(&self, log: &dyn Log, mut work: impl FnMut(&mut dyn Bytes) -> io::Result<R>) -> Option<R> {
        let mut result = None;
        let lent = self.store.tries(&mut |bytes| {
            result = Some(work(bytes)?);
            Ok(())
        });
        let mut own = self.memory.own.lock();
        let (bytes, is_logged) = &mut *own;
        match lent {
            Ok(()) => {
                *is_logged = false;
                result
            }
            Err(fault) => {
                if !std::mem::replace(is_logged, true) {
                    log.log(
                        Level::Error,
                        format_args!("wrong tries are counted by each process alone: {fault}"),
                    );
                }
                work(bytes).ok()
            }
        }
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

/// Names that another provider may decide are none of ours.
fn counts(policy: &Policy, found: &Found) -> bool {
    found.is_listed() || found.entry.is_twin || !policy.passes_unknown_on
}

fn outcome_of(decision: &Decision) -> Outcome {
    match decision.verdict {
        Verdict::Granted => Outcome::Accepted,
        Verdict::Denied if decision.reason.is_wrong_guess() => Outcome::Wrong,
        // Where it counts at all, nobody else is asked.
        Verdict::Unknown if decision.reason == Reason::NotListed => Outcome::Wrong,
        _ => Outcome::NotCounted,
    }
}
