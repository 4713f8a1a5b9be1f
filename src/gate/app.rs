//! Passwords of programs. They are decided again for each part of a request, because they are good
//! for some paths only; that changes nothing but the hour of their last use.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;

use super::Gate;
use super::answer::{Answer, Turn};
use super::attempt::Job;
use super::basic::Login;
use super::marks::Mark;
use super::request_memory::{JudgedAttempt, RequestMemory};
use super::throttled::Admitted;
use crate::UnixTime;
use crate::decide::{self, DecidedApp, Decision, LoginResult, Verdict};
use crate::http::target::Target;
use crate::log::{Level, Log, Quoted};
use crate::policy::Policy;
use crate::store::{Found, LoopTurn, Store};
use crate::token::AppPassword;

const HOUR: UnixTime = 3600;
/// Past this many apps, the memory starts over: each is noted once more.
const NOTED_MAX: usize = 10_000;

/// In which hour the use of an app was last to be noted, whatever came of it.
#[derive(Default)]
pub(super) struct NotedUses(Mutex<HashMap<Mark, UnixTime>>);

impl NotedUses {
    fn is_new(&self, app: Mark, hour: UnixTime) -> bool {
        self.0.lock().get(&app) != Some(&hour)
    }

    fn note(&self, app: Mark, hour: UnixTime) {
        let mut noted = self.0.lock();
        if noted.len() >= NOTED_MAX {
            noted.clear();
        }
        noted.insert(app, hour);
    }
}

impl<S: Store> Gate<S> {
    /// Decides a Basic login with a password of the shape of a program's, and writes one log line.
    /// `None`: no such passwords are allowed here, or for the user; it is one like any other.
    pub fn app(
        &self,
        policy: &Policy,
        login: &Login<'_>,
        target: &Target<'_>,
        judged: Option<&mut RequestMemory>,
        log: &dyn Log,
    ) -> Option<Answer> {
        self.app_in(policy, login, target, judged, Turn::MayBlock, log)?
    }

    /// The same, if it can be decided at once. The outer `None`: it can't, and nothing was changed
    /// or logged.
    pub fn app_now(
        &self,
        policy: &Policy,
        login: &Login<'_>,
        target: &Target<'_>,
        turn: LoopTurn,
        judged: Option<&mut RequestMemory>,
        log: &dyn Log,
    ) -> Option<Option<Answer>> {
        self.app_in(policy, login, target, judged, Turn::AtOnce(turn), log)
    }

    fn app_in(
        &self,
        policy: &Policy,
        login: &Login<'_>,
        target: &Target<'_>,
        judged: Option<&mut RequestMemory>,
        turn: Turn,
        log: &dyn Log,
    ) -> Option<Option<Answer>> {
        let credentials = self.mark_of_password(login.user, login.password);
        let recalled = judged.as_deref().and_then(|it| it.recall(&credentials, &login.address));
        let is_known = match recalled.map(|recalled| (recalled, recalled.verdict)) {
            None => false,
            Some((recalled, Verdict::Granted)) if recalled.word == LoginResult::GrantedApp => true,
            // By PIN and code, or refused: that is for the request as a whole.
            Some(_) => return Some(None),
        };
        let found = match turn {
            Turn::AtOnce(turn) => self.store.find_now(login.user, turn)?,
            Turn::MayBlock => match self.store.find(login.user) {
                Ok(found) => found,
                // Whether it may be one isn't known: by the next look it would be a wrong PIN.
                Err(error) => {
                    let user = Quoted(login.user);
                    log.log(Level::Error, format_args!("error: {error}, user {user}"));
                    return Some(Some(Answer::error()));
                }
            },
        };
        let allowed = allows_apps(policy, &found);
        if !allowed && !is_known {
            return Some(None);
        }
        let now = (self.clock)();
        let attempt = login.attempt(login.password);
        let decided = match allowed {
            true => decide::app(policy, &found.entry, &attempt, target, now),
            false => Some(DecidedApp { decision: Decision::apps_off(), app: None }),
        };
        let Some(DecidedApp { mut decision, app }) = decided else {
            if let Some(judged) = judged {
                judged.forget(&credentials);
            }
            return Some(None);
        };

        let who = (login.user, login.password, &login.address);
        let app = app.map(|index| &found.entry.ways.apps[index]);
        let due = app.filter(|app| self.is_note_due(login.user, app, now));
        // Who has such a password hasn't guessed it: strangers can't use up its tries.
        let is_guess = decision.is_wrong_guess;
        let admitted = match turn {
            Turn::AtOnce(_) if !is_guess && due.is_none() => Admitted::default(),
            Turn::MayBlock if !is_guess => Admitted::default(),
            Turn::AtOnce(_) if due.is_some() || !self.is_free(policy, &found, who) => return None,
            Turn::AtOnce(_) => Admitted::default(),
            Turn::MayBlock => match self.admit(&Job::new(policy, login.owned()), &found, log) {
                Ok(admitted) => admitted,
                Err(over) => {
                    decision = over;
                    Admitted::default()
                }
            },
        };
        let is_granted = decision.verdict == Verdict::Granted;
        if let Turn::MayBlock = turn {
            self.settle(who, &admitted, (&decision, &found), log);
            if let Some(app) = due.filter(|_| is_granted) {
                self.note_use(login.user, app, now, log);
            }
        }
        match decision.verdict {
            // The log has it already.
            Verdict::Throttled => {}
            Verdict::Busy if !self.is_busy_line_due() => {}
            Verdict::Granted if is_known => {}
            _ => self.log_outcome(&decision, &found, login.user, log),
        }
        // What was refused for its path may be right for another part of the request.
        if let Some(judged) = judged
            && !is_known
            && (is_granted || decision.is_wrong_guess || decision.verdict != Verdict::Denied)
        {
            let (verdict, word) = (decision.verdict, decision.word);
            let of = (credentials, &login.address);
            let slot = JudgedAttempt::new(verdict, word, of, policy, None);
            judged.remember(&slot.with_retry_after(decision.retry_after));
        }
        Some(Some(Answer::of(&decision, None)))
    }

    fn app_mark(&self, user: &[u8], app: &AppPassword) -> Mark {
        self.mark(&[b"app", user, &app.digest.salt, &app.digest.sum])
    }

    /// Once an hour.
    fn is_note_due(&self, user: &[u8], app: &AppPassword, now: UnixTime) -> bool {
        let hour = now.div_euclid(HOUR);
        app.used.is_none_or(|used| used.div_euclid(HOUR) != hour)
            && self.noted_uses.is_new(self.app_mark(user, app), hour)
    }

    /// Nobody is refused because it can't be noted.
    fn note_use(&self, user: &[u8], app: &AppPassword, now: UnixTime, log: &dyn Log) {
        self.noted_uses.note(self.app_mark(user, app), now.div_euclid(HOUR));
        let noted = self.store.update(&mut |transaction| {
            let found = transaction.find(user)?;
            let is_it = |other: &AppPassword| other.digest == app.digest;
            if let Some(index) = found.entry.ways.apps.iter().position(is_it) {
                transaction.note_use(user, index, now);
            }
            Ok(())
        });
        if let Err(fault) = noted {
            log.log(
                Level::Error,
                format_args!("the hour of use wasn't saved: {fault}, user {}", Quoted(user)),
            );
        }
    }
}

/// By the place, or by the store for all its places.
pub(super) fn allows_apps(policy: &Policy, found: &Arc<Found>) -> bool {
    policy.app_passwords || found.allow.apps
}
