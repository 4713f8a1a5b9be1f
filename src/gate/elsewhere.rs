//! A request that was granted in another place.

use std::sync::Arc;

use zeroize::Zeroizing;

use super::Gate;
use super::answer::Turn;
use super::commit::is_exact;
use super::marks::Mark;
use super::questions::PinKnown;
use super::request_memory::Grant;
use super::rounds::known_of;
use crate::decide::{self, Attempt, Decision, LoginResult, Outcome, Verdict};
use crate::log::{Level, Log, Quoted};
use crate::pin::turns::Busy;
use crate::pin::{PinAnswer, PinSource};
use crate::policy::Policy;
use crate::store::{Found, Store, StoreError};
use crate::token::Pin;

impl<S: Store> Gate<S> {
    /// What a grant was decided on.
    pub(super) fn grant(
        &self,
        policy: &Policy,
        decision: &Decision,
        found: &Found,
    ) -> Option<Grant> {
        let accepted = decision.accepted.filter(|_| decision.verdict == Verdict::Granted)?;
        let token = &found.entry.lines.get(accepted.line)?.token;
        let policy = policy.restricted_by(&found.limits);
        let before = decide::state_decided_on(&policy, &found.entry, accepted.line, accepted.at);
        let spent = decision.changes.iter().find(|change| change.line == accepted.line);
        let after = spent.map_or(&before, |change| &change.state);
        let is_fresh = decision.word == LoginResult::GrantedFresh;
        let mut grant = Grant::new(accepted, is_fresh, token, &before, after)?;
        grant.wrong_responses = decision.wrong_responses;
        Some(grant)
    }

    /// What tells a PIN source from others. `None`: nothing does, it must be asked each time.
    pub(super) fn source_mark(&self, source: &dyn PinSource) -> Option<Mark> {
        source.is_known_by_identity().then(|| self.mark(&[&source.identity()]))
    }

    /// Whether a grant is one by the rules of this place, too. If not, that is logged. `None`: not
    /// to be found out in this turn. `checked` is a PIN that was found right and needn't be checked
    /// again.
    pub(super) fn elsewhere(
        &self,
        policy: &Policy,
        attempt: &Attempt<'_>,
        (grant, checked): (&Grant, Option<&[u8]>),
        source: &dyn PinSource,
        turn: Turn,
        log: &dyn Log,
    ) -> Option<Result<(), (Verdict, LoginResult)>> {
        let found = match self.find_in(turn, attempt.user)? {
            Ok(found) => found,
            Err(error) => {
                log.log(
                    Level::Error,
                    format_args!("error: {error}, user {}", Quoted(attempt.user)),
                );
                return Some(Err((Verdict::Error, LoginResult::Error)));
            }
        };
        let basis = grant.basis()?;
        let restricted = policy.restricted_by(&found.limits);
        let (wrong, last) = grant.wrong_responses;
        if decide::is_locked_out(&restricted.of_digest_failures(), wrong, last, basis.at) {
            let Decision { verdict, word, reason, .. } = Decision::locked();
            self.log_decision(verdict, word, reason, attempt.user, log);
            return Some(Err((verdict, word)));
        }
        // Fields 1 to 4 are the same, so the PIN is, too.
        let mut tokens = found.entry.lines.iter().map(|line| &line.token);
        let field =
            tokens.find(|token| token.fingerprint == grant.fingerprint()).map(|token| &token.pin);
        let known = |(pin, field): (&[u8], &Pin)| PinKnown {
            field: field.clone(),
            pin: Zeroizing::new(pin.to_vec()),
            answer: PinAnswer::Right,
        };
        let mut pins: Vec<PinKnown> = checked.zip(field).map(known).into_iter().collect();
        loop {
            let known = |field: &Pin, pin: &[u8]| known_of(&pins, field, pin);
            let now = (self.clock)();
            match decide::elsewhere(&restricted, &found.entry, &basis, attempt, &known, now) {
                Outcome::Decided(decision) if decision.verdict == Verdict::Granted => {
                    return Some(Ok(()));
                }
                Outcome::Decided(decision) => {
                    self.log_outcome(&decision, &found, attempt.user, log);
                    return Some(Err((decision.verdict, decision.word)));
                }
                // Each PIN is asked about once: there is one line, and its PIN is of one length.
                Outcome::NeedPin(question) => {
                    let asked = self.asked(policy, attempt, &found.entry, question, source);
                    let Some(asked) = asked.filter(|_| pins.len() < 2) else {
                        return Some(Err((Verdict::Error, LoginResult::Error)));
                    };
                    let token = &found.entry.lines[question.line].token;
                    let answer = match turn {
                        Turn::AtOnce(_) => Ok(self.pins.known(&asked)?),
                        // They were let in for this request already.
                        Turn::MayBlock => {
                            self.answer_to(&asked, token, (attempt.user, true), source)
                        }
                    };
                    match answer {
                        Ok(answer) => pins.push(asked.known(answer)),
                        Err(Busy) => return Some(Err((Verdict::Busy, LoginResult::DeniedBusy))),
                    }
                }
            }
        }
    }

    /// A user whose state isn't half-written. `None`: not to be found out in this turn.
    pub(super) fn find_in(
        &self,
        turn: Turn,
        user: &[u8],
    ) -> Option<Result<Arc<Found>, StoreError>> {
        match turn {
            Turn::AtOnce(turn) => {
                Some(Ok(self.store.find_now(user, turn).filter(|found| is_exact(found))?))
            }
            Turn::MayBlock => Some(self.find_exact(user)),
        }
    }

    /// The same, however long it takes.
    pub(super) fn find_exact(&self, user: &[u8]) -> Result<Arc<Found>, StoreError> {
        let mut found = self.store.find(user)?;
        if !is_exact(&found) {
            self.store.update(&mut |transaction| {
                found = Arc::new(transaction.find(user)?);
                Ok(())
            })?;
        }
        Ok(found)
    }
}
