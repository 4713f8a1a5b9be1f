//! Decide on a snapshot, get PINs checked, decide again: until it is decided.

use std::cell::Cell;
use std::sync::Arc;

use subtle::Choice;

use super::Gate;
use super::attempt::{Credentials, Job, Presented, Request};
use super::commit::{Decided, Snapshot, is_exact, is_settled};
use super::digest::is_to_be_carried_out;
use super::questions::PinKnown;
use crate::UnixTime;
use crate::decide::{self, Attempt, Decision, Outcome, PinAnswers, Proof, Verdict};
use crate::http::digest::Ha1;
use crate::log::{Level, Log, Quoted};
use crate::pin::PinSource;
use crate::pin::turns::Busy;
use crate::store::{Found, Store, StoreError};
use crate::token::{LINES_MAX, Pin};

/// So often may a record change its PIN field while its PIN is being checked.
pub(super) const ROUNDS_MAX: usize = 16;

impl<S: Store> Gate<S> {
    pub(super) fn decide(
        &self,
        job: Job,
        source: &dyn PinSource,
        log: &dyn Log,
    ) -> (Decision, Arc<Found>, Option<Ha1>) {
        let user = job.user.clone();
        let is_match_only = job.is_match_only;
        let decided = self.decide_in_turn(job, source, log);
        for notice in self.store.notices() {
            log.log(Level::Warning, format_args!("{notice}"));
        }
        match decided {
            // The log has it already, once for all like it.
            Ok((decision, found, ha1)) if decision.verdict == Verdict::Throttled => (decision, found, ha1),
            Ok((decision, found, ha1)) if decision.verdict == Verdict::Busy && !self.is_busy_line_due() => {
                (decision, found, ha1)
            }
            Ok((decision, found, ha1)) => {
                if !(is_match_only && is_to_be_carried_out(&decision)) {
                    self.log_outcome(&decision, &found, &user, log);
                } else {
                    self.log_unreadable(&found, &user, log);
                }
                (decision, found, ha1)
            }
            Err(fault) => {
                log.log(Level::Error, format_args!("error: {fault}, user {}", Quoted(&user)));
                (Decision::error(), Arc::default(), None)
            }
        }
    }

    /// Decides under what is counted of wrong tries.
    pub(super) fn decide_in_turn(
        &self,
        job: Job,
        source: &dyn PinSource,
        log: &dyn Log,
    ) -> Result<(Decision, Arc<Found>, Option<Ha1>), Arc<StoreError>> {
        let (user, address) = (job.user.clone(), job.address.clone());
        match job.credentials.clone() {
            Credentials::Password(password) => {
                let found = self.store.find(&user)?;
                let admitted = match self.admit(&job, &found, log) {
                    Ok(admitted) => admitted,
                    Err(over) => return Ok((over, found, None)),
                };
                let is_familiar = admitted.is_familiar;
                let decided = self.try_decide(Job { is_familiar, ..job }, source, log);
                let error = Decision::error();
                let decision = decided.as_ref().map_or(&error, |(decision, ..)| decision);
                self.settle((&user, &password, &address), &admitted, (decision, &found), log);
                decided
            }
            Credentials::Digest(_) => {
                let (policy, is_final) = (job.policy, !job.is_match_only);
                let (decision, found, ha1) = self.try_decide(job, source, log)?;
                let decided = (decision, &*found, ha1);
                let decision = self.answer_digest((&policy, &user, &address), decided, is_final, log);
                Ok((decision, found, ha1))
            }
        }
    }

    pub(super) fn try_decide(
        &self,
        mut job: Job,
        source: &dyn PinSource,
        log: &dyn Log,
    ) -> Result<(Decision, Arc<Found>, Option<Ha1>), Arc<StoreError>> {
        // Each line may have a PIN of its own to be asked about.
        for _ in 0..ROUNDS_MAX + LINES_MAX {
            let found = self.store.find(&job.user)?;
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
            if is_settled(&snapshot, &found) || (job.is_match_only && is_to_be_carried_out(&snapshot)) {
                return Ok((snapshot, found, ha1));
            }

            match self.commit(&job, Snapshot { decided, now }).map(|decided| *decided) {
                Ok(Decided { outcome: Outcome::Decided(decision), found, ha1 }) => {
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
                        format_args!("the time of use isn't saved: {fault}, user {}", Quoted(&job.user)),
                    );
                    return Ok((snapshot, found, ha1));
                }
                Err(fault) => return Err(fault),
            }
        }
        Err(Arc::new(StoreError::new(
            "check the PIN against",
            self.store.name(),
            "the user's line changes again and again",
            "see who writes it",
        )))
    }

    pub(super) fn decide_now(
        &self,
        request: Request<'_>,
        source: &dyn PinSource,
        found: &Found,
    ) -> Option<(Decision, Option<Ha1>)> {
        let policy = request.policy.restricted_by(&found.limits);
        let mut pins = Vec::new();
        // Each round either ends or answers one more question about one of the lines.
        for _ in 0..=found.entry.lines.len() {
            let (outcome, ha1) = self.with_proof(request, &pins, |attempt, pins| {
                decide::without_search(&policy, &found.entry, attempt, pins, (self.clock)())
            });
            match outcome? {
                Outcome::Decided(decision) => {
                    return is_settled(&decision, found).then_some((decision, ha1));
                }
                Outcome::NeedPin(question) => {
                    let asked = self.asked(request, &found.entry, question, source)?;
                    pins.push(asked.known(self.pins.known(&asked)?));
                }
            }
        }
        None
    }

    pub(super) fn decide_on(&self, job: &Job, found: Arc<Found>, now: UnixTime) -> Decided {
        let policy = job.policy.restricted_by(&found.limits);
        let (outcome, ha1) = self.with_proof(job.request(), &job.pins, |attempt, pins| {
            decide::login(&policy, &found.entry, attempt, pins, now)
        });
        Decided { outcome, found, ha1 }
    }

    /// What `decide` makes of the credentials, and the HA1 that a Digest response was found to be of.
    pub(super) fn with_proof<R>(
        &self,
        request: Request<'_>,
        known: &[PinKnown],
        decide: impl FnOnce(&Attempt<'_>, PinAnswers<'_>) -> R,
    ) -> (R, Option<Ha1>) {
        let pins = |field: &Pin, pin: &[u8]| {
            let is_it = |known: &&PinKnown| known.field == *field && known.pin[..] == *pin;
            known.iter().find(is_it).map(|known| known.answer)
        };
        let Request { user, address, .. } = request;
        let attempt = |proof| Attempt { user, proof, address: address.clone() };
        match request.credentials {
            Presented::Password(password) => (decide(&attempt(Proof::Password(password)), &pins), None),
            Presented::Digest(exchange) => {
                let response = exchange.response(user);
                let matched = Cell::new(None);
                let is_of = |password: &[&[u8]]| -> Choice {
                    let (is_it, ha1) = response.is_of(password);
                    if bool::from(is_it) {
                        matched.set(Some(ha1));
                    }
                    is_it
                };
                (decide(&attempt(Proof::Response(&is_of)), &pins), matched.get())
            }
        }
    }
}
