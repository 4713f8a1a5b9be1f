//! Decide on a snapshot, get PINs checked, decide again: until it is decided.

use std::sync::Arc;

use super::Gate;
use super::attempt::Job;
use super::commit::{Decided, Snapshot, is_exact, is_settled};
use super::digest::is_to_be_carried_out;
use super::pin_alone::Counted;
use super::questions::PinKnown;
use super::session::JobBrowser;
use crate::UnixTime;
use crate::decide::{
    self, Attempt, Decision, LoginBrowser, LoginResult, Outcome, PinAnswer, Reason, Verdict,
};
use crate::http::digest::Ha1;
use crate::log::{Level, Log, Quoted};
use crate::pin::PinSource;
use crate::pin::turns::Busy;
use crate::policy::{PinAlone, Policy};
use crate::store::{Found, Store, StoreError};
use crate::token::{Address, LINES_MAX, Pin};

/// So often may a record change its PIN field while its PIN is being checked.
pub(super) const ROUNDS_MAX: usize = 16;
/// Each line may have a PIN of its own to be asked about: the first characters, and all of them.
const QUESTIONS_MAX: usize = 2 * LINES_MAX;

impl<S: Store> Gate<S> {
    /// Decides, and writes the log lines. An error of the store comes along.
    pub(super) fn decide(
        &self,
        job: Job,
        source: &dyn PinSource,
        log: &dyn Log,
    ) -> (Decision, Arc<Found>, Option<Ha1>, Option<Arc<StoreError>>) {
        let user = job.attempt.user.clone();
        let (policy, address) = (job.policy, job.attempt.address.clone());
        let (is_match_only, is_granted_before) = (job.is_match_only, job.is_granted_before);
        let decided = self.decide_in_turn(job, source, log);
        for notice in self.store.notices() {
            log.log(Level::Warning, format_args!("{notice}"));
        }
        let (decision, found, ha1) = match decided {
            Ok(decided) => decided,
            Err(error) => {
                log.log(Level::Error, format_args!("error: {error}, user {}", Quoted(&user)));
                return (Decision::error(), Arc::default(), None, Some(error));
            }
        };
        if decision.word == LoginResult::GrantedFresh && !is_match_only {
            self.forget_wrong_pins(&policy, (&user, &address), &found, log);
        }
        match decision.verdict {
            // The log has it already, as this request's.
            Verdict::Granted if is_granted_before => {}
            // The log has it already, once for all like it.
            Verdict::Throttled => {}
            Verdict::Busy if !self.is_busy_line_due() => {}
            _ if is_match_only && is_to_be_carried_out(&decision) => {
                self.log_unreadable(&found, &user, log);
            }
            _ => self.log_outcome(&decision, &found, &user, log),
        }
        (decision, found, ha1, None)
    }

    /// Decides under what is counted of wrong tries.
    pub(super) fn decide_in_turn(
        &self,
        job: Job,
        source: &dyn PinSource,
        log: &dyn Log,
    ) -> Result<(Decision, Arc<Found>, Option<Ha1>), Arc<StoreError>> {
        let attempt = job.attempt.clone();
        let Some(password) = attempt.password() else {
            let (policy, is_final) = (job.policy, !job.is_match_only);
            let (decision, found, ha1) = self.try_decide(job, source, log)?;
            let who = (&policy, &attempt.user[..], &attempt.address);
            let decision = self.answer_digest(who, (decision, &*found, ha1), is_final, log);
            return Ok((decision, found, ha1));
        };
        if job.is_let_in {
            let (decision, found, ha1) = self.try_decide(job, source, log)?;
            let is_wrong_here = matches!(
                decision.reason,
                Reason::TooShort | Reason::WrongPin | Reason::NoPinExpected | Reason::PinUnknown
            );
            return Ok((
                if is_wrong_here { Decision::code_missing() } else { decision },
                found,
                ha1,
            ));
        }
        let found = self.store.find(&attempt.user)?;
        let admitted = match self.admit(&job, &found, log) {
            Ok(admitted) => admitted,
            Err(over) => return Ok((over, found, None)),
        };
        let is_familiar = admitted.is_familiar;
        let policy = job.policy;
        let job = Job { is_familiar, ..job };
        let mut decided = self.try_decide(job.clone(), source, log);
        if let Ok((decision, found, _)) = &decided {
            let who = (&attempt.user[..], password, &attempt.address);
            match self.count_pin_alone(&policy, who, decision, found, log) {
                Counted::Stands => {}
                Counted::Busy => decided = Ok((Decision::busy(), found.clone(), None)),
                Counted::IsClosed => {
                    let policy = Policy { pin_alone: PinAlone::Never, ..policy };
                    decided = self.try_decide(Job { policy, ..job.clone() }, source, log);
                }
            }
        }
        // Only now is it known that the PIN was enough.
        let job = Job { is_counted: true, ..job };
        if let Ok((decision, ..)) = &decided
            && job.is_kept_alone(decision)
        {
            decided = self.try_decide(job, source, log);
        }
        if admitted.is_counted_at_a_familiar_address()
            && let Ok((decision, found, _)) = &mut decided
        {
            let job = Job { is_familiar, ..Job::new(&policy, attempt.clone()) };
            let refused = std::mem::replace(decision, Decision::error());
            *decision = self.with_paper_next(job, refused, found, source);
        }
        let error = Decision::error();
        let decision = decided.as_ref().map_or(&error, |(decision, ..)| decision);
        self.settle(
            (&attempt.user, password, &attempt.address),
            &admitted,
            (decision, &found),
            log,
        );
        decided
    }

    pub(super) fn try_decide(
        &self,
        mut job: Job,
        source: &dyn PinSource,
        log: &dyn Log,
    ) -> Result<(Decision, Arc<Found>, Option<Ha1>), Arc<StoreError>> {
        for _ in 0..ROUNDS_MAX + QUESTIONS_MAX {
            let found = self.store.find(&job.attempt.user)?;
            let now = (self.clock)();
            let decided = self.decide_on(&job, found, now);
            let Decided { outcome, found, ha1 } = decided.clone();
            let snapshot = match outcome {
                Outcome::NeedPin(question) => {
                    if let Err(Busy) = self.answer(&mut job, &found.entry, question, source) {
                        return Ok((Decision::busy(), found, None));
                    }
                    continue;
                }
                Outcome::Decided(decision) => decision,
            };
            let is_exact = is_exact(&found);
            if (is_settled(&snapshot, &found) && !job.is_kept_alone(&snapshot))
                || (job.is_match_only && is_to_be_carried_out(&snapshot))
            {
                return Ok((snapshot, found, ha1));
            }

            match self.commit(&job, Snapshot { decided, now }).map(|decided| *decided) {
                Ok(Decided { outcome: Outcome::Decided(decision), found, ha1 }) => {
                    if decision.ended.are_copied() {
                        log.log(
                            Level::Warning,
                            format_args!(
                                "a computer isn't trusted any more: a cookie of it came that was replaced before, as if somebody had a copy, user {}",
                                Quoted(&job.attempt.user)
                            ),
                        );
                    }
                    return Ok((decision, found, ha1));
                }
                Ok(Decided { outcome: Outcome::NeedPin(question), found, .. }) => {
                    if let Err(Busy) = self.answer(&mut job, &found.entry, question, source) {
                        return Ok((Decision::busy(), found, None));
                    }
                }
                Err(fault) if snapshot.changes_are_optional && is_exact => {
                    log.log(
                        Level::Error,
                        format_args!(
                            "the time of use wasn't saved: {fault}, user {}",
                            Quoted(&job.attempt.user)
                        ),
                    );
                    return Ok((snapshot, found, ha1));
                }
                Err(fault) => return Err(fault),
            }
        }
        Err(Arc::new(StoreError::new(
            "check the PIN against",
            self.store.name(),
            "the user's line keeps changing",
            "find the program that writes it",
        )))
    }

    /// What is decided about a user without waiting for anything. `None`: that can't be.
    pub(super) fn decide_now(
        &self,
        policy: &Policy,
        attempt: &Attempt<'_>,
        browser: Option<&JobBrowser>,
        source: &dyn PinSource,
        found: &Found,
    ) -> Option<Decision> {
        let restricted = in_force(policy, found, &attempt.address);
        let mut pins = Vec::new();
        // Each round either ends or answers one more question about one of the lines.
        for _ in 0..=2 * found.entry.lines.len() {
            let known = |field: &Pin, pin: &[u8]| known_of(&pins, field, pin);
            let now = (self.clock)();
            let decide = |browser: Option<&LoginBrowser<'_>>| {
                decide::without_search(&restricted, &found.entry, attempt, browser, &known, now)
            };
            let outcome = match browser {
                None => decide(None),
                Some(browser) => browser.lend(attempt.user, |browser| decide(Some(browser))),
            };
            match outcome? {
                Outcome::Decided(decision) => {
                    // What a page keeps is saved.
                    let is_kept = browser.is_some_and(|browser| browser.keeps(&decision));
                    return (is_settled(&decision, found) && !is_kept).then_some(decision);
                }
                Outcome::NeedPin(question) => {
                    let asked = self.asked(policy, attempt, &found.entry, question, source)?;
                    pins.push(asked.known(self.pins.known(&asked)?));
                }
            }
        }
        None
    }

    pub(super) fn decide_on(&self, job: &Job, found: Arc<Found>, now: UnixTime) -> Decided {
        let policy = in_force(&job.policy, &found, &job.attempt.address);
        let known = |field: &Pin, pin: &[u8]| known_of(&job.pins, field, pin);
        let (outcome, ha1) = job.attempt.lend(|attempt| {
            let decide = |browser: Option<&LoginBrowser<'_>>| {
                decide::login_of_browser(&policy, &found.entry, attempt, browser, &known, now)
            };
            let outcome = match &job.browser {
                None => decide(None),
                Some(browser) => browser.lend(attempt.user, |browser| decide(Some(browser))),
            };
            (outcome, attempt.proof.matched())
        });
        Decided { outcome, found, ha1 }
    }
}

/// A place's policy with what the store says for all its places.
pub(super) fn in_force(policy: &Policy, found: &Found, address: &Address) -> Policy {
    let policy = policy.restricted_by(&found.limits);
    let trusted_computer = policy.trusted_computer.max(found.allow.trusted_computer);
    let policy = Policy { trusted_computer, ..policy };
    match (policy.pin_alone, address) {
        (PinAlone::IfStored, Address::Ip(address)) if found.allow.trusts(*address) => {
            Policy { pin_alone: PinAlone::Here, ..policy }
        }
        _ => policy,
    }
}

/// What is known of a PIN that was asked about.
pub(super) fn known_of(known: &[PinKnown], field: &Pin, pin: &[u8]) -> Option<PinAnswer> {
    let is_it = |known: &&PinKnown| known.field == *field && known.pin[..] == *pin;
    known.iter().find(is_it).map(|known| known.answer)
}
