//! A decision that changes something: made again under the lock, and saved.

use std::sync::Arc;

use super::Gate;
use super::attempt::Job;
use super::digest::is_to_be_carried_out;
use super::queue::Round;
use super::rounds::in_force;
use crate::UnixTime;
use crate::decide::{Decision, LoginResult, Outcome};
use crate::http::digest::Ha1;
use crate::store::{Found, Reach, Store, StoreError, Transaction};
use crate::token::{Computer, Entry, Session};

/// What was decided about a job, and on which data.
#[derive(Clone)]
pub(super) struct Decided {
    pub(super) outcome: Outcome,
    pub(super) found: Arc<Found>,
    /// The HA1 that matched a Digest response.
    pub(super) ha1: Option<Ha1>,
}

pub(super) type JobResult = Result<Box<Decided>, Arc<StoreError>>;

/// What was decided without the lock. Searching for a code takes a while: on the same lines at the
/// same time it would come to the same.
#[derive(Clone)]
pub(super) struct Snapshot {
    pub(super) decided: Decided,
    pub(super) now: UnixTime,
}

impl Snapshot {
    pub(super) fn holds_for(&self, found: &Found, now: UnixTime) -> bool {
        let Snapshot { decided: Decided { found: seen, .. }, now: then } = self;
        let rest = |found: &Found| {
            let Entry { lines, unreadable, is_twin, too_many_lines, ways } = &found.entry;
            let rules = (found.limits, found.allow.clone(), ways.clone());
            (lines.len(), *unreadable, *is_twin, *too_many_lines, rules)
        };
        let mut lines = seen.entry.lines.iter().zip(&found.entry.lines);
        now == *then
            && rest(seen) == rest(found)
            && lines.all(|(a, b)| a.token.fingerprint == b.token.fingerprint && a.state == b.state)
    }
}

/// Whether a decision on a snapshot stands: there is nothing to write and the state it rests on is
/// whole.
pub(super) fn is_settled(snapshot: &Decision, found: &Found) -> bool {
    snapshot.changes.is_empty()
        && snapshot.ended.is_empty()
        && (is_exact(found) || !snapshot.depends_on_state)
}

/// Whether no state may be half-written.
pub(super) fn is_exact(found: &Found) -> bool {
    let Entry { lines, ways, .. } = &found.entry;
    lines.iter().all(|line| line.state.intact) && !ways.torn_places
}

impl<S: Store> Gate<S> {
    /// Has a login decided and saved under the lock, together with others waiting for it.
    pub(super) fn commit(&self, job: &Job, snapshot: Snapshot) -> JobResult {
        let job = Job { snapshot: Some(snapshot), ..job.clone() };
        let abandoned = || {
            Err(Arc::new(StoreError::new(
                "decide with",
                self.store.name(),
                "an internal fault",
                "see the previous message, and report it",
            )))
        };
        let busy = || {
            let outcome = Outcome::Decided(Decision::busy());
            Ok(Box::new(Decided { outcome, found: Arc::default(), ha1: None }))
        };
        match self.store.reach() {
            Reach::AllUsers => self.queue.run(job, |round| self.lead(round), abandoned, busy),
            Reach::OneUser => self.alone(&job),
        }
    }

    /// Takes the lock, decides all logins waiting by then, saves once.
    fn lead(&self, round: &mut Round<'_, Job, JobResult>) -> Result<Vec<JobResult>, JobResult> {
        // A step may run again: those whom it has taken on stay in it.
        let (mut jobs, mut results) = (Vec::new(), Vec::new());
        let saved = self.store.update(&mut |transaction| {
            jobs.extend(round.take());
            results.clear();
            for job in &jobs {
                results.push(Ok(self.decide_and_save(job, transaction)?));
            }
            Ok(())
        });
        match saved {
            Ok(()) => Ok(results),
            Err(error) => Err(Err(Arc::new(error))),
        }
    }

    fn alone(&self, job: &Job) -> JobResult {
        let mut result = None;
        self.store
            .update(&mut |transaction| {
                result = Some(self.decide_and_save(job, transaction)?);
                Ok(())
            })
            .map_err(Arc::new)?;
        Ok(result.expect("a step that was saved has run"))
    }

    fn decide_and_save(
        &self,
        job: &Job,
        transaction: &mut dyn Transaction,
    ) -> Result<Box<Decided>, StoreError> {
        let found = Arc::new(transaction.find(&job.attempt.user)?);
        let now = (self.clock)();
        let snapshot = job.snapshot.as_ref().filter(|snapshot| snapshot.holds_for(&found, now));
        let decided = match snapshot {
            Some(snapshot) => Decided { found, ..snapshot.decided.clone() },
            None => self.decide_on(job, found, now),
        };
        if let Outcome::Decided(decision) = &decided.outcome
            && !(job.is_match_only && is_to_be_carried_out(decision))
        {
            for change in &decision.changes {
                transaction.save(&job.attempt.user, change.line, change.state.clone());
            }
            if !decision.ended.is_empty() {
                let entry = &decided.found.entry;
                let is_to_end = |session: &Session| decision.ended.has_session(entry, session.id);
                transaction.end_sessions(&job.attempt.user, &is_to_end);
                if decision.ended.has_computers() {
                    let is_to_end = |it: &Computer| decision.ended.has_computer(entry, it.id);
                    transaction.end_computers(&job.attempt.user, &is_to_end);
                }
            }
            let is_fresh = decision.word == LoginResult::GrantedFresh;
            if let Some(browser) = &job.browser
                && (is_fresh || job.is_counted)
            {
                let found = &decided.found;
                let policy = in_force(&job.policy, found, &job.attempt.address);
                let who = (&job.attempt.user[..], &policy);
                browser.save(who, decision, found, now, transaction);
                browser.save_computer(who, decision, found, now, transaction);
            }
            if is_fresh && decided.found.entry.ways.always.until_code {
                transaction.close_pin(&job.attempt.user, false);
            }
        }
        Ok(Box::new(decided))
    }
}
