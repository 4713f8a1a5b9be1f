//! Basic logins.

use std::sync::Arc;

use zeroize::Zeroizing;

use super::Gate;
use super::answer::{Answer, Turn};
use super::app::allows_apps;
use super::attempt::{Job, OwnedAttempt, OwnedProof};
use super::marks::Mark;
use super::request_memory::{Again, JudgedAttempt, PinChecked, Recalled, RequestMemory};
use super::session::BrowserLogin;
use crate::decide::{Attempt, Decision, LoginResult, Proof, Verdict};
use crate::log::Log;
use crate::pin::PinSource;
use crate::policy::Policy;
use crate::store::{Found, LoopTurn, Store, StoreError};
use crate::token::{Address, Pin, is_app_password};

/// One Basic login as a server presents it. [`Attempt`] is what is decided about it.
pub struct Login<'a> {
    /// The name the client gave.
    pub user: &'a [u8],
    /// The password the client gave.
    pub password: &'a [u8],
    /// Where the client is.
    pub address: Address,
}

impl Login<'_> {
    pub(super) fn attempt<'a>(&'a self, password: &'a [u8]) -> Attempt<'a> {
        Attempt { user: self.user, proof: Proof::Password(password), address: self.address.clone() }
    }

    pub(super) fn owned(&self) -> OwnedAttempt {
        OwnedAttempt {
            user: self.user.to_vec(),
            proof: OwnedProof::Password(Zeroizing::new(self.password.to_vec())),
            address: self.address.clone(),
        }
    }
}

impl<S: Store> Gate<S> {
    /// Decides a Basic login and writes one log line.
    pub fn basic(
        &self,
        policy: &Policy,
        login: &Login<'_>,
        source: &dyn PinSource,
        judged: Option<&mut RequestMemory>,
        log: &dyn Log,
    ) -> Answer {
        self.basic_of_browser(policy, login, None, source, judged, log)
    }

    /// The same for a login that a browser sends, which a session is kept for where the policy says
    /// so. Where it does and there is no browser, a code is good once.
    pub fn basic_of_browser(
        &self,
        policy: &Policy,
        login: &Login<'_>,
        browser: Option<&BrowserLogin<'_>>,
        source: &dyn PinSource,
        judged: Option<&mut RequestMemory>,
        log: &dyn Log,
    ) -> Answer {
        let credentials = self.mark_of_password(login.user, login.password);
        let mut judged = judged;
        let (mut is_let_in, mut is_granted_before) = (false, false);
        if let Some(judged) = judged.as_deref_mut()
            && let Some(recalled) = judged.recall(&credentials, &login.address)
        {
            if let Some(answer) = self.recall(policy, login, source, &recalled, Turn::MayBlock, log)
            {
                return self.replaced(login, (judged, credentials), answer);
            }
            // Another source's answer is a guess here.
            is_let_in =
                recalled.is_by_pin_alone() && recalled.pin().holds_for(|| self.source_mark(source));
            is_granted_before = recalled.is_by_pin_alone();
        }

        if let Ok(found) = self.store.find(login.user)
            && let Some(decision) = self.repeated(
                policy,
                login,
                credentials,
                (source, None),
                judged.as_deref_mut(),
                &found,
            )
        {
            self.log_outcome(&decision, &found, login.user, log);
            return self.basic_answer(policy, login, (judged, credentials), (&decision, None));
        }
        let browser = match self.job_browser(policy, login.user, browser) {
            Ok(browser) => browser,
            Err(error) => return self.store_failed(error, login.user, log),
        };
        let job = Job {
            is_let_in,
            is_granted_before,
            browser: browser.clone(),
            ..Job::new(policy, login.owned())
        };
        let (decision, found, _, fault) = self.decide(job, source, log);
        let slot = self.basic_slot(policy, login, credentials, source, &decision, &found);
        self.note_repeat(policy, login, source, &decision, (&found, &slot));
        if let Some(judged) = &mut judged
            && !is_granted_before
        {
            judged.remember(&slot);
        }
        let who = (login.user, &login.address);
        let cookie = self.cookie_of(browser.as_deref(), policy, who, &decision, &found);
        let who = (login.user, policy);
        let computer = self.computer_of(browser.as_deref(), who, &decision, &found);
        let computer = computer.map(Box::new);
        let of = (&decision, fault.as_ref());
        Answer { cookie, computer, ..self.basic_answer(policy, login, (judged, credentials), of) }
    }

    /// [`Gate::basic`], if it can be decided at once: without a change, a slow PIN check, a search
    /// for the code, or another look at a changed file. `None`: it can't, and nothing was changed
    /// or logged.
    pub fn basic_now(
        &self,
        policy: &Policy,
        login: &Login<'_>,
        source: &dyn PinSource,
        turn: LoopTurn,
        judged: Option<&mut RequestMemory>,
        log: &dyn Log,
    ) -> Option<Answer> {
        self.basic_of_browser_now(policy, login, None, source, turn, judged, log)
    }

    /// [`Gate::basic_of_browser`], likewise.
    #[allow(clippy::too_many_arguments)]
    pub fn basic_of_browser_now(
        &self,
        policy: &Policy,
        login: &Login<'_>,
        browser: Option<&BrowserLogin<'_>>,
        source: &dyn PinSource,
        turn: LoopTurn,
        judged: Option<&mut RequestMemory>,
        log: &dyn Log,
    ) -> Option<Answer> {
        let credentials = self.mark_of_password(login.user, login.password);
        let mut judged = judged;
        if let Some(judged) = judged.as_deref_mut()
            && let Some(recalled) = judged.recall(&credentials, &login.address)
        {
            let answer = self.recall(policy, login, source, &recalled, Turn::AtOnce(turn), log)?;
            return Some(self.replaced(login, (judged, credentials), answer));
        }

        let found = self.store.find_now(login.user, turn)?;
        let repeated = self.repeated(
            policy,
            login,
            credentials,
            (source, turn),
            judged.as_deref_mut(),
            &found,
        );
        if let Some(decision) = repeated {
            self.log_outcome(&decision, &found, login.user, log);
            return Some(self.basic_answer(
                policy,
                login,
                (judged, credentials),
                (&decision, None),
            ));
        }
        let browser = self.job_browser_now(policy, login.user, browser)?;
        let who = (login.user, login.password, &login.address);
        if !self.is_free(policy, &found, who) {
            return None;
        }
        let attempt = login.attempt(login.password);
        let decision = self.decide_now(policy, &attempt, browser.as_deref(), source, &found)?;
        if self.may_tell_paper_next(policy, &decision, &found)
            || self.is_pin_alone_to_count(&decision, who)
        {
            return None;
        }
        let from = (login.user, &login.address);
        let cookie = self.cookie_of(browser.as_deref(), policy, from, &decision, &found);
        let slot = self.basic_slot(policy, login, credentials, source, &decision, &found);
        self.note_repeat(policy, login, source, &decision, (&found, &slot));
        if let Some(judged) = &mut judged {
            judged.remember(&slot);
        }
        self.log_outcome(&decision, &found, login.user, log);
        let answer = self.basic_answer(policy, login, (judged, credentials), (&decision, None));
        Some(Answer { cookie, ..answer })
    }

    /// The answer to a Basic login before its PIN is checked, for a server that asks for PINs
    /// itself and can't give that answer afterwards. `None`: it may be checked.
    pub fn refuse_beforehand(
        &self,
        policy: &Policy,
        login: &Login<'_>,
        log: &dyn Log,
    ) -> Option<Answer> {
        let found = self.store.find(login.user).ok()?;
        // A program's password waits for no PIN to be checked, and a right one for nobody's tries.
        let is_app = is_app_password(login.password) && allows_apps(policy, &found);
        let mut apps = found.entry.ways.apps.iter();
        if is_app && apps.any(|app| app.digest.is_of(login.password)) {
            return None;
        }
        let refused =
            self.over(policy, &found, (login.user, login.password, &login.address), log)?;
        let Decision { verdict, word, reason, .. } = refused;
        if verdict == Verdict::Busy && is_app {
            return None;
        }
        if verdict == Verdict::Busy && self.is_busy_line_due() {
            self.log_decision(verdict, word, reason, login.user, log);
        }
        Some(Answer::of(&refused, None))
    }

    /// Whether a request with the same credentials was granted, though perhaps not by every place's
    /// rules.
    pub fn has_granted(&self, login: &Login<'_>, judged: Option<&RequestMemory>) -> bool {
        let credentials = self.mark_of_password(login.user, login.password);
        let recalled = judged.and_then(|judged| judged.recall(&credentials, &login.address));
        recalled.is_some_and(|recalled| recalled.verdict == Verdict::Granted)
    }

    /// What the request remembers.
    pub(super) fn basic_slot(
        &self,
        policy: &Policy,
        login: &Login<'_>,
        credentials: Mark,
        source: &dyn PinSource,
        decision: &Decision,
        found: &Found,
    ) -> JudgedAttempt {
        // What falls through counts nowhere, and is for each place to say.
        if decision.verdict == Verdict::Unknown && decision.word != LoginResult::Unknown {
            return JudgedAttempt::default();
        }
        let grant = self.grant(policy, decision, found);
        let slot = JudgedAttempt::new(
            decision.verdict,
            decision.word,
            (credentials, &login.address),
            policy,
            grant,
        );
        let mut lines = found.entry.lines.iter();
        let is_external = match decision.accepted {
            Some(accepted) => {
                lines.nth(accepted.line).is_some_and(|line| line.token.pin == Pin::External)
            }
            // It may have been any line's.
            None => lines.any(|line| line.token.pin == Pin::External),
        };
        let slot = match decision.verdict == Verdict::Granted && is_external {
            true => slot.with_pin(PinChecked::by(self.source_mark(source))),
            false => slot,
        };
        slot.with_retry_after(decision.retry_after).with_paper_next(decision.paper_next)
    }

    /// What the server is told.
    pub(super) fn basic_answer(
        &self,
        policy: &Policy,
        login: &Login<'_>,
        (judged, credentials): (Option<&mut RequestMemory>, Mark),
        (decision, fault): (&Decision, Option<&Arc<StoreError>>),
    ) -> Answer {
        let accepted = decision.accepted.filter(|_| decision.verdict == Verdict::Granted);
        let pin = accepted.map(|accepted| &login.password[..accepted.pin_len]);
        let upstream_pin =
            pin.filter(|_| policy.pin_fake_basic).map(|pin| Zeroizing::new(pin.to_vec()));
        let answer = Answer { upstream_pin, ..Answer::of(decision, fault) };
        match judged {
            Some(judged) => self.replaced(login, (judged, credentials), answer),
            None => answer,
        }
    }

    /// The same request again: what was decided holds where the rules are the same; elsewhere a
    /// grant is one by the rules of that place, too. `None`: not to be found out in this turn.
    pub(super) fn recall(
        &self,
        policy: &Policy,
        login: &Login<'_>,
        source: &dyn PinSource,
        recalled: &Recalled<'_>,
        turn: Turn,
        log: &dyn Log,
    ) -> Option<Answer> {
        let Recalled { verdict, word, again, .. } = *recalled;
        if verdict != Verdict::Granted {
            return Some(Answer {
                retry_after: recalled.retry_after(),
                ..Answer::plain(verdict, word)
            });
        }
        if recalled.is_by_pin_alone() {
            // Elsewhere it is decided anew: there is no code that it rests on.
            let holds = recalled.was_decided_by(policy)
                && recalled.pin().holds_for(|| self.source_mark(source));
            return holds.then(|| Answer::plain(verdict, word));
        }
        let Some((grant, code)) = recalled.grant().and_then(|grant| Some((grant, grant.code()?)))
        else {
            return Some(Answer::error());
        };
        let whole;
        let password = match again {
            Again::Same => login.password,
            Again::Upstream => {
                whole = Zeroizing::new([login.password, code.as_bytes()].concat());
                &whole
            }
        };
        let pin = password.get(..grant.accepted.pin_len).unwrap_or_default();
        let is_checked = recalled.pin().holds_for(|| self.source_mark(source));
        if !(is_checked && recalled.was_decided_by(policy)) {
            let checked = is_checked.then_some(pin);
            let refused = self.elsewhere(
                policy,
                &login.attempt(password),
                (grant, checked),
                source,
                turn,
                log,
            )?;
            if let Err((verdict, word)) = refused {
                return Some(Answer::plain(verdict, word));
            }
        }
        let upstream_pin = policy.pin_fake_basic.then(|| Zeroizing::new(pin.to_vec()));
        Some(Answer { upstream_pin, ..Answer::plain(verdict, word) })
    }

    /// Notes the header that the server will substitute for these credentials.
    pub(super) fn replaced(
        &self,
        login: &Login<'_>,
        (judged, credentials): (&mut RequestMemory, Mark),
        answer: Answer,
    ) -> Answer {
        if let Some(pin) = &answer.upstream_pin {
            judged.replaced(&credentials, self.mark_of_password(login.user, pin));
        }
        answer
    }
}
