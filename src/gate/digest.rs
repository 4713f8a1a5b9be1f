//! Digest logins.
//!
//! A response can't be split into PIN and code, so it is compared with every password that would be
//! accepted. That is one step, which spends nothing; spending the code is another, and the nonce is
//! used up in between, so that a refused nonce costs no code. Apache's mod_auth_digest manages
//! nonces itself and calls the two steps ([`Gate::digest_match`], [`Gate::digest_spend`]); where
//! the library speaks the whole protocol, [`Gate::digest`] does it all.

use std::sync::Arc;

use zeroize::Zeroizing;

use super::answer::Turn;
use super::attempt::{Job, OwnedAttempt, OwnedProof};
use super::marks::Mark;
use super::nonces::{Nonces, Unusable};
use super::request_memory::{JudgedAttempt, Recalled, RequestMemory};
use super::{Answer, Gate};
use crate::decide::{Attempt, Decision, LoginResult, Proof, Reason, Verdict};
use crate::http::digest::{self, DigestAlgorithm, Exchange, Ha1, Response};
use crate::http::nonce::{self, Nonce};
use crate::log::{Level, Log, Quoted};
use crate::pin::{PinAnswer, PinSource};
use crate::policy::{Algorithms, Policy};
use crate::store::{Found, LoopTurn, Store, StoreError};
use crate::token::{Address, Algorithm as TokenAlgorithm, Pin};

/// One Digest login as a server presents it.
pub struct DigestLogin<'a> {
    /// The name the client gave, as the server has read it.
    pub user: &'a [u8],
    /// What the response covers.
    pub exchange: &'a Arc<Exchange>,
    /// Where the client is.
    pub address: Address,
}

impl DigestLogin<'_> {
    fn attempt<'a>(&'a self, response: &'a Response<'a>) -> Attempt<'a> {
        Attempt { user: self.user, proof: Proof::Response(response), address: self.address.clone() }
    }

    fn owned(&self) -> OwnedAttempt {
        OwnedAttempt {
            user: self.user.to_vec(),
            proof: OwnedProof::Response(self.exchange.clone()),
            address: self.address.clone(),
        }
    }
}

/// Which password a Digest response matches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Match {
    /// One that [`Gate::digest_spend`] would do something about: this is its HA1.
    Acceptable(Ha1),
    /// None that would be accepted. It is decided, and counted if necessary.
    Refused(Answer),
}

impl Match {
    /// A grant without the HA1 it rests on doesn't count, however it came about.
    fn refused(answer: Answer) -> Match {
        match answer.verdict {
            Verdict::Granted => Match::Refused(Answer::error()),
            _ => Match::Refused(answer),
        }
    }
}

/// A request whose Digest credentials the server hasn't checked.
pub struct DigestRequest<'a> {
    /// The realm of the place that is asked for.
    pub realm: &'a [u8],
    /// The hashes that this place offers.
    pub algorithms: Algorithms,
    /// The method of the request.
    pub method: &'a [u8],
    /// The request's target, as it stands in the request line.
    pub target: &'a [u8],
    /// The `Authorization` header's value.
    pub authorization: &'a [u8],
    /// Where the client is.
    pub address: Address,
    /// The nonces of this server.
    pub nonces: &'a Nonces<'a>,
}

/// What became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DigestAnswer {
    /// It is decided.
    Decided {
        /// How.
        answer: Answer,
        /// The name that the client gave.
        user: Vec<u8>,
    },
    /// Nothing is decided or counted: the client needs another challenge.
    Challenge {
        /// Only because its nonce can't be used any more: the client may try the same password
        /// again.
        stale: bool,
    },
}

impl DigestAnswer {
    fn error() -> DigestAnswer {
        DigestAnswer::Decided { answer: Answer::error(), user: Vec::new() }
    }
}

/// Credentials that are well formed, of this realm and for this target.
struct WellFormed {
    exchange: Arc<Exchange>,
    count: u32,
}

/// Why credentials can't be judged.
enum UnfitDigest {
    /// They are those of another realm, which browsers try where they have nothing better.
    OtherRealm(Vec<u8>),
    /// Something a correct client doesn't send.
    Malformed(&'static str, Vec<u8>),
}

impl DigestRequest<'_> {
    fn well_formed(&self) -> Result<WellFormed, UnfitDigest> {
        let Some(sent) = digest::Credentials::parse(self.authorization) else {
            return Err(UnfitDigest::Malformed("the Digest header is not well formed", Vec::new()));
        };
        if sent.realm != self.realm {
            return Err(UnfitDigest::OtherRealm(sent.username));
        }
        let algorithm =
            sent.algorithm.as_deref().map_or(Some(DigestAlgorithm::Md5), DigestAlgorithm::named);
        let algorithm =
            algorithm.filter(|algorithm| self.algorithms.as_slice().contains(algorithm));
        let count = sent.nc.as_deref().and_then(nonce::parse_count);
        let is_hashed_name =
            sent.userhash.as_ref().is_some_and(|value| value.eq_ignore_ascii_case(b"true"));
        let fault = match (algorithm, count) {
            _ if is_hashed_name => "the Digest header has a hashed name, which isn't offered",
            (None, _) => "the Digest header names a hash that isn't offered",
            _ if sent.qop.as_deref() != Some(b"auth") => "the Digest header is not for qop=auth",
            (_, None) => "the Digest header's nonce count isn't eight hexadecimal digits",
            _ if sent.uri != self.target => {
                "the Digest header is for another target than the request"
            }
            (Some(algorithm), Some(count)) => {
                // A request line will do.
                let method = self.method.split(|&b| b == b' ').next().unwrap_or_default().to_vec();
                let exchange = Exchange { algorithm, realm: self.realm.to_vec(), method, sent };
                return Ok(WellFormed { exchange: Arc::new(exchange), count });
            }
        };
        Err(UnfitDigest::Malformed(fault, sent.username))
    }
}

impl WellFormed {
    fn login<'a>(&'a self, request: &DigestRequest<'_>) -> DigestLogin<'a> {
        DigestLogin {
            user: &self.exchange.sent.username,
            exchange: &self.exchange,
            address: request.address.clone(),
        }
    }

    fn decided(&self, answer: Answer) -> DigestAnswer {
        DigestAnswer::Decided { answer, user: self.exchange.sent.username.clone() }
    }
}

impl<S: Store> Gate<S> {
    /// Decides a Digest login, nonce and nonce count included. Writes one log line.
    pub fn digest(
        &self,
        policy: &Policy,
        request: &DigestRequest<'_>,
        judged: Option<&mut RequestMemory>,
        log: &dyn Log,
    ) -> DigestAnswer {
        let mut judged = judged;
        let (presented, nonce) =
            match self.begin(policy, request, judged.as_deref(), Turn::MayBlock, log) {
                Ok(begun) => begun,
                Err(answer) => return answer.unwrap_or_else(DigestAnswer::error),
            };
        let login = presented.login(request);
        if let Match::Refused(answer) =
            self.digest_match(policy, &login, judged.as_deref_mut(), log)
        {
            return presented.decided(answer);
        }
        if let Err(unusable) = request.nonces.take(nonce, presented.count, (self.clock)(), log) {
            if let Some(judged) = judged {
                judged.forget(&self.digest_mark(&login));
            }
            return refused_nonce(Some(unusable), login.user, log);
        }
        presented.decided(self.digest_spend(policy, &login, judged, log))
    }

    /// The same, if it can be decided at once: see [`Gate::basic_now`].
    pub fn digest_now(
        &self,
        policy: &Policy,
        request: &DigestRequest<'_>,
        turn: LoopTurn,
        judged: Option<&mut RequestMemory>,
        log: &dyn Log,
    ) -> Option<DigestAnswer> {
        let (presented, nonce) =
            match self.begin(policy, request, judged.as_deref(), Turn::AtOnce(turn), log) {
                Ok(begun) => begun,
                Err(answer) => return answer,
            };
        let login = presented.login(request);
        let found = self.store.find_now(login.user, turn)?;
        let response = login.exchange.response(login.user);
        let decision =
            self.decide_now(policy, &login.attempt(&response), None, &NoPinSource, &found)?;
        let ha1 = response.matched();
        if !self.is_digest_free(
            policy,
            &found,
            (login.user, &login.address),
            (&decision, ha1.as_ref()),
        ) {
            return None;
        }
        if is_to_be_carried_out(&decision)
            && let Err(unusable) = request.nonces.take(nonce, presented.count, (self.clock)(), log)
        {
            return Some(refused_nonce(Some(unusable), login.user, log));
        }
        self.log_outcome(&decision, &found, login.user, log);
        Some(presented.decided(self.digest_answer(
            policy,
            &login,
            judged,
            (&decision, None),
            &found,
            ha1,
        )))
    }

    /// See [`Gate::has_granted`].
    pub fn has_granted_digest(
        &self,
        request: &DigestRequest<'_>,
        judged: Option<&RequestMemory>,
    ) -> bool {
        let Ok(presented) = request.well_formed() else { return false };
        let login = presented.login(request);
        let recalled =
            judged.and_then(|judged| judged.recall(&self.digest_mark(&login), &login.address));
        recalled.is_some_and(|recalled| recalled.verdict == Verdict::Granted)
    }

    /// What was decided about the same request before, and whether there is anything to decide.
    /// `Err(None)`: not to be found out in this turn.
    fn begin(
        &self,
        policy: &Policy,
        request: &DigestRequest<'_>,
        judged: Option<&RequestMemory>,
        turn: Turn,
        log: &dyn Log,
    ) -> Result<(WellFormed, Nonce), Option<DigestAnswer>> {
        let presented = request.well_formed().map_err(|unfit| match unfit {
            UnfitDigest::OtherRealm(user) => {
                log.log(
                    Level::Refusal,
                    format_args!(
                        "nothing decided: the Digest login is for another realm; a challenge is sent, user {}",
                        Quoted(&user)
                    ),
                );
                DigestAnswer::Challenge { stale: false }
            }
            UnfitDigest::Malformed(fault, user) => {
                log.log(
                    Level::Refusal,
                    format_args!("{}: {fault}, user {}", LoginResult::DeniedCode.as_str(), Quoted(&user)),
                );
                DigestAnswer::Decided { answer: Answer::plain(Verdict::Denied, LoginResult::DeniedCode), user }
            }
        })?;
        let login = presented.login(request);
        if let Some(recalled) =
            judged.and_then(|judged| judged.recall(&self.digest_mark(&login), &login.address))
            && !recalled.is_pending()
        {
            let answer = self.digest_recall(policy, &login, &recalled, turn, log);
            let retry_after = recalled.retry_after();
            return Err(answer.map(|(verdict, word)| {
                presented.decided(Answer { retry_after, ..Answer::plain(verdict, word) })
            }));
        }
        let nonce =
            request.nonces.open(&presented.exchange.sent.nonce, request.realm, (self.clock)());
        let Some(nonce) = nonce else { return Err(Some(refused_nonce(None, login.user, log))) };
        // Before any work is done for it, and before anything is counted.
        match request.nonces.check(nonce, presented.count) {
            Ok(()) => Ok((presented, nonce)),
            Err(unusable) => Err(Some(refused_nonce(Some(unusable), login.user, log))),
        }
    }

    /// Finds out which password a Digest response is of. Writes a log line and counts a failure
    /// only if it is of none that would be accepted: what is spent is for [`Gate::digest_spend`].
    pub fn digest_match(
        &self,
        policy: &Policy,
        login: &DigestLogin<'_>,
        judged: Option<&mut RequestMemory>,
        log: &dyn Log,
    ) -> Match {
        let credentials = self.digest_mark(login);
        if let Some(recalled) =
            judged.as_deref().and_then(|judged| judged.recall(&credentials, &login.address))
        {
            return match (
                self.digest_recall(policy, login, &recalled, Turn::MayBlock, log),
                recalled.ha1(),
            ) {
                (Some((Verdict::Granted, _)), Some(ha1)) => Match::Acceptable(ha1),
                (Some((verdict, word)), _) => {
                    let retry_after = recalled.retry_after();
                    Match::refused(Answer { retry_after, ..Answer::plain(verdict, word) })
                }
                (None, _) => Match::Refused(Answer::error()),
            };
        }
        let (decision, found, ha1, fault) = self.decide(
            Job { is_match_only: true, ..Job::new(policy, login.owned()) },
            &NoPinSource,
            log,
        );
        match ha1 {
            Some(ha1) if is_to_be_carried_out(&decision) => {
                // The lingering code isn't spent by being used, so there is nothing to decide
                // again.
                if let Some(judged) =
                    judged.filter(|_| is_plain_reuse(&decision) && !policy.pin_fake_basic)
                {
                    let slot = self.digest_slot(policy, login, &decision, &found);
                    judged.remember(&slot.with_ha1(ha1).until_accepted());
                }
                Match::Acceptable(ha1)
            }
            _ => {
                if let Some(judged) = judged {
                    judged.remember(&self.digest_slot(policy, login, &decision, &found));
                }
                Match::refused(Answer::of(&decision, fault.as_ref()))
            }
        }
    }

    /// Decides a Digest login whose nonce the server has accepted, and writes one log line.
    pub fn digest_spend(
        &self,
        policy: &Policy,
        login: &DigestLogin<'_>,
        judged: Option<&mut RequestMemory>,
        log: &dyn Log,
    ) -> Answer {
        let mut judged = judged;
        let credentials = self.digest_mark(login);
        if let Some(judged) = judged.as_deref_mut()
            && let Some(recalled) = judged.recall(&credentials, &login.address)
        {
            let answer = self.digest_recall(policy, login, &recalled, Turn::MayBlock, log);
            let (verdict, word) = answer.unwrap_or((Verdict::Error, LoginResult::Error));
            if judged.accept(&credentials) && verdict == Verdict::Granted {
                self.log_decision(verdict, word, Reason::Reused, login.user, log);
            }
            return Answer::plain(verdict, word);
        }
        let (decision, found, ha1, fault) =
            self.decide(Job::new(policy, login.owned()), &NoPinSource, log);
        self.digest_answer(policy, login, judged, (&decision, fault.as_ref()), &found, ha1)
    }

    /// What the server is told, and what the request remembers.
    fn digest_answer(
        &self,
        policy: &Policy,
        login: &DigestLogin<'_>,
        judged: Option<&mut RequestMemory>,
        (decision, fault): (&Decision, Option<&Arc<StoreError>>),
        found: &Found,
        ha1: Option<Ha1>,
    ) -> Answer {
        if let Some(judged) = judged {
            let slot = self.digest_slot(policy, login, decision, found);
            judged.remember(&ha1.map_or(slot, |ha1| slot.with_ha1(ha1)));
        }
        let accepted = decision.accepted.filter(|_| decision.verdict == Verdict::Granted);
        let upstream_pin = accepted.filter(|_| policy.pin_fake_basic).map(|accepted| {
            let token = &found.entry.lines[accepted.line].token;
            match (&token.pin, token.algorithm) {
                (Pin::Literal(pin), TokenAlgorithm::Hotp(_)) => {
                    Zeroizing::new(pin.expose().to_vec())
                }
                _ => Zeroizing::default(),
            }
        });
        Answer { upstream_pin, ..Answer::of(decision, fault) }
    }

    fn digest_slot(
        &self,
        policy: &Policy,
        login: &DigestLogin<'_>,
        decision: &Decision,
        found: &Found,
    ) -> JudgedAttempt {
        let grant = self.grant(policy, decision, found);
        let attempt = (self.digest_mark(login), &login.address);
        let slot = JudgedAttempt::new(decision.verdict, decision.word, attempt, policy, grant);
        slot.with_retry_after(decision.retry_after)
    }

    /// See [`Gate::recall`].
    fn digest_recall(
        &self,
        policy: &Policy,
        login: &DigestLogin<'_>,
        recalled: &Recalled<'_>,
        turn: Turn,
        log: &dyn Log,
    ) -> Option<(Verdict, LoginResult)> {
        let known = (recalled.verdict, recalled.word);
        if recalled.verdict != Verdict::Granted || recalled.was_decided_by(policy) {
            return Some(known);
        }
        let Some(grant) = recalled.grant() else {
            return Some((Verdict::Error, LoginResult::Error));
        };
        let response = login.exchange.response(login.user);
        let attempt = login.attempt(&response);
        let decided = self.elsewhere(policy, &attempt, (grant, None), &NoPinSource, turn, log)?;
        Some(decided.map_or_else(|refused| refused, |()| known))
    }

    fn digest_mark(&self, login: &DigestLogin<'_>) -> Mark {
        let exchange = login.exchange;
        let sent = &exchange.sent;
        let optional =
            [&sent.cnonce, &sent.nc, &sent.qop].map(|field| field.as_deref().unwrap_or_default());
        let [cnonce, nc, qop] = optional;
        self.mark(&[
            b"digest",
            exchange.algorithm.name().as_bytes(),
            login.user,
            &exchange.realm,
            &exchange.method,
            &sent.nonce,
            &sent.uri,
            &sent.response,
            cnonce,
            nc,
            qop,
        ])
    }
}

/// `None`: it has expired, or isn't one of ours.
fn refused_nonce(unusable: Option<Unusable>, user: &[u8], log: &dyn Log) -> DigestAnswer {
    let (level, reason) = match unusable {
        None => (Level::Info, "the nonce has expired or is from before a restart"),
        Some(Unusable::Evicted) => (Level::Info, "the nonce has been evicted by newer ones"),
        // By a client that counts wrong, or by somebody who has listened.
        Some(Unusable::Replayed) => (Level::Refusal, "the nonce was already used with this count"),
    };
    log.log(
        level,
        format_args!("nothing decided: {reason}; a new one is sent, user {}", Quoted(user)),
    );
    DigestAnswer::Challenge { stale: true }
}

/// Whether a decision changes what codes are worth: a grant or a forget request. In Digest it waits
/// for the server's word on the nonce.
pub(super) fn is_to_be_carried_out(decision: &Decision) -> bool {
    decision.verdict == Verdict::Granted || decision.word == LoginResult::Forgotten
}

/// Whether nothing but the answer comes of a decision for the lingering code.
fn is_plain_reuse(decision: &Decision) -> bool {
    decision.word == LoginResult::GrantedReuse && decision.changes.is_empty()
}

/// Digest has no PIN apart from the code, so nobody is asked.
struct NoPinSource;

impl PinSource for NoPinSource {
    fn identity(&self) -> Vec<u8> {
        Vec::new()
    }

    fn check(&self, _: &[u8], _: &[u8]) -> PinAnswer {
        PinAnswer::NoSource
    }
}
