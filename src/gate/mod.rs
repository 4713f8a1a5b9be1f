//! The only place that reads, decides and writes.
//!
//! [`Gate::basic`] decides on a snapshot taken without a lock. A decision that changes nothing is answered at
//! once. Any other is made again under the lock, on the record and the clock as they are then, saved, and only
//! then answered. Slow PIN checks run outside the lock; then the round starts over with the result.
//!
//! Digest logins go through the same shape in two steps (`digest`), and use up a nonce in between (`nonces`).
//!
//! Wrong tries are counted beside all that (`throttled`).
//!
//! Logins that wait in one process are decided together by the one of them that gets the lock, and share its
//! sync (`queue`). Sub-requests aren't judged again but where the settings are others (`judged`).

mod digest;
mod judged;
pub mod nonces;
mod pins;
mod queue;
mod repeat;
mod throttled;

use std::cell::Cell;
use std::hash::Hasher as _;
use std::io;
use std::num::NonZeroU64;
use std::sync::Arc;

use hmac::{Hmac, KeyInit, Mac as _};
use sha2::Sha256;
use siphasher::sip128::{Hash128, Hasher128 as _, SipHasher13};
use subtle::Choice;
use zeroize::Zeroizing;

use self::digest::is_to_be_carried_out;
pub use self::digest::{DigestAnswer, DigestLogin, DigestRequest, Match};
pub use self::judged::Judged;
use self::judged::{Again, Grant, Mark, Recalled, Slot};
use self::pins::Pins;
use self::queue::{Queue, Round};
pub use self::repeat::LastRepeat;
use crate::UnixTime;
use crate::decide::{
    self, Attempt, Decision, Outcome, PinAnswer, PinAnswers, PinQuestion, Proof, Reason, Verdict, Word,
};
use crate::http::digest::{Exchange, Ha1};
use crate::log::{Level, Log, Quoted};
use crate::pin::turns::Busy;
use crate::policy::{Limits, Policy};
use crate::throttle::Bytes;
use crate::token::{Address, Entry, LINES_MAX, Pin, State, Token};
use crate::users::fault::Fault;
use crate::users::tries::Failure;

/// What a store finds under a name.
#[derive(Debug, Default)]
pub struct Found {
    /// The user's lines.
    pub entry: Entry,
    /// The user's lines that can't be read.
    pub unreadable: Vec<UnreadableLine>,
    /// What the store demands of every policy.
    pub limits: Limits,
    /// The last repeat login that was decided on these very lines.
    pub repeat: LastRepeat,
}

impl Found {
    /// Whether it is somebody's name.
    pub fn is_listed(&self) -> bool {
        !self.entry.lines.is_empty() || self.entry.unreadable || self.entry.too_many_lines
    }
}

/// A line that can't be read.
#[derive(Debug)]
pub struct UnreadableLine {
    /// Its number, from 1.
    pub number: u64,
    /// Why; says nothing of PIN and key.
    pub reason: String,
}

/// A turn of an event loop: what has been looked at in it needn't be looked at again for requests of the same turn.
/// `None`: always look.
pub type Moment = Option<NonZeroU64>;

/// Where tokens are kept.
pub trait Store: Send + Sync {
    /// What it is called in logs.
    fn name(&self) -> String;

    /// Reads a user without a lock. A state that may be half-written isn't `intact`.
    fn find(&self, user: &[u8]) -> Result<Arc<Found>, Fault>;

    /// The same if it can be had at once: from memory, or by reading no more than the user's lines. Never waits for
    /// another thread.
    fn find_now(&self, user: &[u8], moment: Moment) -> Option<Arc<Found>>;

    /// Runs `work` alone among all users of the store, then makes what it saved durable. On `Err` nothing may be
    /// granted.
    fn update(&self, work: &mut dyn FnMut(&mut dyn Transaction) -> Result<(), Fault>) -> Result<(), Fault>;

    /// Lends the bytes in which tries are counted, to `work` alone among all who use the store. It may be called several
    /// times by one login, never under the lock of [`Store::update`].
    fn tries(&self, work: &mut dyn FnMut(&mut dyn Bytes) -> io::Result<()>) -> Result<(), Failure>;

    /// What an admin should know of the store and wasn't told yet, in whole sentences. Asked after decisions that took
    /// more than memory.
    fn notices(&self) -> Vec<String> {
        Vec::new()
    }
}

/// A store while nobody else may change it.
pub trait Transaction {
    /// Reads a user as saved last, in this transaction or before.
    fn find(&mut self, user: &[u8]) -> Result<Found, Fault>;

    /// Notes the new state of one of the lines that [`Transaction::find`] has found for the user.
    fn save(&mut self, user: &[u8], line: usize, state: State);
}

/// Checks PINs marked `+`.
pub trait PinSource {
    /// Tells one source from another within a configuration; empty: there is none.
    fn identity(&self) -> Vec<u8>;

    /// Whether the identity says all about it: where it is the same, the same is answered. If not, nothing is
    /// remembered, and it is asked each time.
    fn is_known_by_identity(&self) -> bool {
        true
    }

    /// What its answers rest on: a right answer is remembered for as long as this stays the same. `None`: not at
    /// all, it may be changing. Asked on event loops, too.
    fn state(&self) -> Option<Vec<u8>> {
        Some(Vec::new())
    }

    /// Asks it. Called without any lock held.
    fn check(&self, user: &[u8], pin: &[u8]) -> PinAnswer;
}

/// One login as a server presents it.
pub struct Login<'a> {
    /// The name the client gave.
    pub user: &'a [u8],
    /// The password the client gave.
    pub password: &'a [u8],
    /// Where the client is.
    pub address: Address,
}

/// The answer to a login.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// What the server is to do.
    pub verdict: Verdict,
    /// Which rule decided.
    pub word: Word,
    /// Of [`Verdict::Throttled`] and [`Verdict::Busy`]: seconds until it may be tried again.
    pub retry_after: Option<u32>,
    /// On a grant with PINFakeBasicAuth: the PIN for what stands behind the server.
    pub upstream_pin: Option<Zeroizing<Vec<u8>>>,
}

impl Answer {
    /// Without anything to go with it.
    pub fn plain(verdict: Verdict, word: Word) -> Answer {
        Answer { verdict, word, retry_after: None, upstream_pin: None }
    }

    /// To a part of a request that wasn't granted.
    pub fn no_part() -> Answer {
        Answer::plain(Verdict::Denied, Word::DeniedCode)
    }

    /// When nothing could be decided.
    pub fn error() -> Answer {
        Answer::plain(Verdict::Error, Word::Error)
    }
}

/// A keyed hash that nobody can make without the key.
type Mac = [u8; 32];

/// Keyed with random bytes: makes marks that nobody else can make.
#[derive(Clone, Copy)]
pub struct Marks(SipHasher13);

impl Marks {
    /// `None`: the system has no random bytes.
    pub fn new() -> Option<Marks> {
        let mut key = Zeroizing::new([0; 16]);
        getrandom::fill(&mut *key).ok()?;
        Some(Marks(SipHasher13::new_with_key(&key)))
    }

    /// Those of one store: they say nothing about another.
    pub fn of(&self, store: &[u8]) -> Marks {
        let mut hash = self.0;
        hash.write(&store.len().to_le_bytes());
        hash.write(store);
        Marks(hash)
    }
}

/// A store and what is remembered about it in this process.
pub struct Gate<S> {
    store: S,
    clock: fn() -> UnixTime,
    marks: Marks,
    /// Keyed with random bytes, and told the store's name: ready for what is to be told apart.
    mac: Hmac<Sha256>,
    pins: Pins,
    memory: throttled::Memory,
    queue: Queue<Job, JobResult>,
}

/// So often may a record change its PIN field while its PIN is being checked.
const ROUNDS_MAX: usize = 16;

/// A login; owns what it needs, because another thread may decide it.
struct Job {
    policy: Policy,
    user: Vec<u8>,
    credentials: Credentials,
    address: Address,
    pins: Arc<Vec<PinKnown>>,
    /// A grant or a forget request is found out but not carried out.
    is_match_only: bool,
    /// What was decided about it without the lock.
    snapshot: Option<Snapshot>,
    /// The user is known to log in from there.
    is_familiar: bool,
}

#[derive(Clone)]
enum Credentials {
    Password(Zeroizing<Vec<u8>>),
    Digest(Arc<Exchange>),
}

/// What a decision is asked for: a job without what it owns.
#[derive(Clone, Copy)]
struct Request<'a> {
    policy: &'a Policy,
    user: &'a [u8],
    credentials: Presented<'a>,
    address: &'a Address,
}

/// How long a decision may take.
#[derive(Clone, Copy)]
enum Turn {
    MayBlock,
    /// On an event loop.
    AtOnce(Moment),
}

#[derive(Clone, Copy)]
enum Presented<'a> {
    Password(&'a [u8]),
    Digest(&'a Exchange),
}

struct PinKnown {
    /// The PIN field: a hash's text, or who else is asked about the user.
    field: Pin,
    pin: Zeroizing<Vec<u8>>,
    answer: PinAnswer,
}

/// A PIN question in full.
struct Asked {
    field: Pin,
    pin: Zeroizing<Vec<u8>>,
    /// Under which a right answer about the token is remembered, and for how many seconds.
    key: Mac,
    /// The same for the user's other tokens that it is an answer about.
    other_keys: Vec<Mac>,
    ttl: u32,
    now: UnixTime,
}

impl Asked {
    fn known(&self, answer: PinAnswer) -> PinKnown {
        PinKnown { field: self.field.clone(), pin: self.pin.clone(), answer }
    }
}

impl Job {
    fn request(&self) -> Request<'_> {
        Request {
            policy: &self.policy,
            user: &self.user,
            credentials: match &self.credentials {
                Credentials::Password(password) => Presented::Password(password),
                Credentials::Digest(exchange) => Presented::Digest(exchange),
            },
            address: &self.address,
        }
    }

    fn learn(&mut self, known: PinKnown) {
        // Nobody else holds the list: jobs that did are done.
        match Arc::get_mut(&mut self.pins) {
            Some(pins) => pins.push(known),
            None => self.pins = Arc::new(vec![known]),
        }
    }
}

/// What was decided about a job, and on what.
#[derive(Clone)]
struct Decided {
    outcome: Outcome,
    found: Arc<Found>,
    /// The HA1 that a Digest response was found to be of.
    ha1: Option<Ha1>,
}

type JobResult = Result<Box<Decided>, Arc<Fault>>;

/// What was decided without the lock. Searching for a code takes a while: on the same lines at the same time it would
/// come to the same.
#[derive(Clone)]
struct Snapshot {
    decided: Decided,
    now: UnixTime,
}

impl Snapshot {
    fn holds_for(&self, found: &Found, now: UnixTime) -> bool {
        let Snapshot { decided: Decided { found: seen, .. }, now: then } = self;
        let rest = |found: &Found| {
            let Entry { lines, unreadable, is_twin, too_many_lines } = &found.entry;
            (lines.len(), *unreadable, *is_twin, *too_many_lines, found.limits)
        };
        let mut lines = seen.entry.lines.iter().zip(&found.entry.lines);
        now == *then
            && rest(seen) == rest(found)
            && lines.all(|(a, b)| a.token.fingerprint == b.token.fingerprint && a.state == b.state)
    }
}

impl<S: Store> Gate<S> {
    /// A gate to a store. `clock` gives the current time. `None`: the system has no random bytes.
    pub fn new(store: S, clock: fn() -> UnixTime) -> Option<Gate<S>> {
        Gate::with_marks(store, clock, Marks::new()?)
    }

    /// The same with marks that other gates to the same store have, too: what was decided about a request at one of
    /// them is recognised at all.
    pub fn with_marks(store: S, clock: fn() -> UnixTime, marks: Marks) -> Option<Gate<S>> {
        let mut key = Zeroizing::new([0; 32]);
        getrandom::fill(&mut *key).ok()?;
        let mut mac =
            <Hmac<Sha256> as KeyInit>::new_from_slice(&*key).expect("HMAC takes keys of any length");
        mac.update(store.name().as_bytes());
        mac.update(&[0]);
        let (pins, memory) = (Pins::default(), throttled::Memory::default());
        Some(Gate { store, clock, marks, mac, pins, memory, queue: Queue::new() })
    }

    /// The store.
    pub fn store(&self) -> &S {
        &self.store
    }

    /// Decides a Basic login and writes one log line.
    pub fn basic(
        &self,
        policy: &Policy,
        login: &Login<'_>,
        source: &dyn PinSource,
        judged: Option<&mut Judged>,
        log: &dyn Log,
    ) -> Answer {
        let credentials = self.mark(&[b"basic", login.user, login.password]);
        let mut judged = judged;
        if let Some(judged) = judged.as_deref_mut()
            && let Some(recalled) = judged.recall(&credentials, &login.address)
            && let Some(answer) = self.recall(policy, login, source, &recalled, Turn::MayBlock, log)
        {
            return self.replaced(login, (judged, credentials), answer);
        }

        if let Ok(found) = self.store.find(login.user)
            && let Some(decision) =
                self.repeated(policy, login, credentials, (source, None), judged.as_deref_mut(), &found)
        {
            self.log_outcome(&decision, &found, login.user, log);
            return self.basic_answer(policy, login, (judged, credentials), &decision);
        }
        let (decision, found, _) = self.decide(basic_job(policy, login), source, log);
        let slot = self.basic_slot(policy, login, credentials, source, &decision, &found);
        self.note_repeat(policy, login, source, &decision, (&found, &slot));
        if let Some(judged) = &mut judged {
            judged.remember(&slot);
        }
        self.basic_answer(policy, login, (judged, credentials), &decision)
    }

    /// What is to be answered to a Basic login before anybody looks at its PIN, for a server that asks for PINs itself
    /// and can't answer so afterwards. `None`: it may be looked at.
    pub fn refuse_beforehand(&self, policy: &Policy, login: &Login<'_>, log: &dyn Log) -> Option<Answer> {
        let found = self.store.find(login.user).ok()?;
        let refused = self.over(policy, &found, (login.user, login.password, &login.address), log)?;
        let Decision { verdict, word, reason, retry_after, .. } = refused;
        if verdict == Verdict::Busy && self.is_busy_line_due() {
            self.log_decision(verdict, word, reason, login.user, log);
        }
        Some(Answer { retry_after, ..Answer::plain(verdict, word) })
    }

    /// [`Gate::basic`], if it can be decided at once: without a change, a slow PIN check, a search for the code, or
    /// another look at a file that has changed. `None`: it can't, and nothing has been changed or logged.
    pub fn basic_now(
        &self,
        policy: &Policy,
        login: &Login<'_>,
        source: &dyn PinSource,
        moment: Moment,
        judged: Option<&mut Judged>,
        log: &dyn Log,
    ) -> Option<Answer> {
        let credentials = self.mark(&[b"basic", login.user, login.password]);
        let mut judged = judged;
        if let Some(judged) = judged.as_deref_mut()
            && let Some(recalled) = judged.recall(&credentials, &login.address)
        {
            let answer = self.recall(policy, login, source, &recalled, Turn::AtOnce(moment), log)?;
            return Some(self.replaced(login, (judged, credentials), answer));
        }

        let found = self.store.find_now(login.user, moment)?;
        let repeated =
            self.repeated(policy, login, credentials, (source, moment), judged.as_deref_mut(), &found);
        let decision = match repeated {
            Some(decision) => decision,
            None => {
                let request = basic_request(policy, login, login.password);
                if !self.is_free(policy, &found, (login.user, login.password, &login.address)) {
                    return None;
                }
                let (decision, _) = self.decide_now(request, source, &found)?;
                let slot = self.basic_slot(policy, login, credentials, source, &decision, &found);
                self.note_repeat(policy, login, source, &decision, (&found, &slot));
                if let Some(judged) = &mut judged {
                    judged.remember(&slot);
                }
                decision
            }
        };
        self.log_outcome(&decision, &found, login.user, log);
        Some(self.basic_answer(policy, login, (judged, credentials), &decision))
    }

    /// Whether a request of the same credentials was granted, if not by the rules of all places.
    pub fn has_granted(&self, login: &Login<'_>, judged: Option<&Judged>) -> bool {
        let credentials = self.mark(&[b"basic", login.user, login.password]);
        let recalled = judged.and_then(|judged| judged.recall(&credentials, &login.address));
        recalled.is_some_and(|recalled| recalled.verdict == Verdict::Granted)
    }

    fn decide_now(
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

    /// What the request remembers.
    fn basic_slot(
        &self,
        policy: &Policy,
        login: &Login<'_>,
        credentials: Mark,
        source: &dyn PinSource,
        decision: &Decision,
        found: &Found,
    ) -> Slot {
        // What falls through counts nowhere, and is for each place to say.
        if decision.verdict == Verdict::Unknown && decision.word != Word::Unknown {
            return Slot::default();
        }
        let grant = self.grant(policy, source, decision, found);
        let slot = Slot::new(decision.verdict, decision.word, (credentials, &login.address), policy, grant);
        slot.with_retry_after(decision.retry_after)
    }

    /// What the server is told.
    fn basic_answer(
        &self,
        policy: &Policy,
        login: &Login<'_>,
        (judged, credentials): (Option<&mut Judged>, Mark),
        decision: &Decision,
    ) -> Answer {
        let accepted = decision.accepted.filter(|_| decision.verdict == Verdict::Granted);
        let pin = accepted.map(|accepted| &login.password[..accepted.pin_len]);
        let upstream_pin = pin.filter(|_| policy.pin_fake_basic).map(|pin| Zeroizing::new(pin.to_vec()));
        let Decision { verdict, word, retry_after, .. } = *decision;
        let answer = Answer { verdict, word, retry_after, upstream_pin };
        match judged {
            Some(judged) => self.replaced(login, (judged, credentials), answer),
            None => answer,
        }
    }

    /// What a grant was decided on.
    fn grant(
        &self,
        policy: &Policy,
        source: &dyn PinSource,
        decision: &Decision,
        found: &Found,
    ) -> Option<Grant> {
        let accepted = decision.accepted.filter(|_| decision.verdict == Verdict::Granted)?;
        let token = &found.entry.lines.get(accepted.line)?.token;
        let policy = policy.restricted_by(&found.limits);
        let before = decide::state_decided_on(&policy, &found.entry, accepted.line, accepted.at);
        let spent = decision.changes.iter().find(|change| change.line == accepted.line);
        let after = spent.map_or(&before, |change| &change.state);
        let is_fresh = decision.word == Word::GrantedFresh;
        let mut grant = Grant::new(accepted, is_fresh, token, &before, after)?;
        grant.wrong_responses = decision.wrong_responses;
        if !matches!(token.pin, Pin::External) {
            return Some(grant);
        }
        let pin_source = source.is_known_by_identity().then(|| self.mark(&[&source.identity()]));
        Some(grant.with_external_pin(pin_source))
    }

    /// The same request again: what was decided holds where the rules are the same; elsewhere a grant is one by the
    /// rules of that place, too. `None`: not to be found out in this turn.
    fn recall(
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
            return Some(Answer { retry_after: recalled.retry_after(), ..Answer::plain(verdict, word) });
        }
        let Some((grant, code)) = recalled.grant().and_then(|grant| Some((grant, grant.code()?))) else {
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
        let is_checked = !grant.pin_is_external
            || (source.is_known_by_identity() && grant.pin_source == Some(self.mark(&[&source.identity()])));
        if !(is_checked && recalled.was_decided_by(policy)) {
            let request = basic_request(policy, login, password);
            let checked = is_checked.then_some(pin);
            let refused = self.elsewhere(request, (grant, checked), source, turn, log)?;
            if let Err((verdict, word)) = refused {
                return Some(Answer::plain(verdict, word));
            }
        }
        let upstream_pin = policy.pin_fake_basic.then(|| Zeroizing::new(pin.to_vec()));
        Some(Answer { verdict, word, retry_after: None, upstream_pin })
    }

    /// Notes the header that the server will put in the place of these credentials.
    fn replaced(
        &self,
        login: &Login<'_>,
        (judged, credentials): (&mut Judged, Mark),
        answer: Answer,
    ) -> Answer {
        if let Some(pin) = &answer.upstream_pin {
            judged.replaced(&credentials, self.mark(&[b"basic", login.user, pin]));
        }
        answer
    }

    /// Whether a grant is one by the rules of this place, too. If not, that is logged. `None`: not to be found out in
    /// this turn. `checked` is a PIN that was found right and needn't be checked again.
    fn elsewhere(
        &self,
        request: Request<'_>,
        (grant, checked): (&Grant, Option<&[u8]>),
        source: &dyn PinSource,
        turn: Turn,
        log: &dyn Log,
    ) -> Option<Result<(), (Verdict, Word)>> {
        let found = match turn {
            Turn::AtOnce(moment) => {
                self.store.find_now(request.user, moment).filter(|found| is_exact(found))?
            }
            Turn::MayBlock => match self.find_exact(request.user) {
                Ok(found) => found,
                Err(fault) => {
                    log.log(Level::Error, format_args!("error: {fault}, user {}", Quoted(request.user)));
                    return Some(Err((Verdict::Error, Word::Error)));
                }
            },
        };
        let basis = grant.basis()?;
        let policy = request.policy.restricted_by(&found.limits);
        let (wrong, last) = grant.wrong_responses;
        if decide::is_locked_out(&policy.of_digest_failures(), wrong, last, basis.at) {
            let Decision { verdict, word, reason, .. } = Decision::locked();
            self.log_decision(verdict, word, reason, request.user, log);
            return Some(Err((verdict, word)));
        }
        // Fields 1 to 4 are the same, so the PIN is, too.
        let mut tokens = found.entry.lines.iter().map(|line| &line.token);
        let field = tokens.find(|token| token.fingerprint == grant.fingerprint()).map(|token| &token.pin);
        let known = |(pin, field): (&[u8], &Pin)| PinKnown {
            field: field.clone(),
            pin: Zeroizing::new(pin.to_vec()),
            answer: PinAnswer::Right,
        };
        let mut pins: Vec<PinKnown> = checked.zip(field).map(known).into_iter().collect();
        loop {
            let (outcome, _) = self.with_proof(request, &pins, |attempt, pins| {
                decide::elsewhere(&policy, &found.entry, &basis, attempt, pins, (self.clock)())
            });
            match outcome {
                Outcome::Decided(decision) if decision.verdict == Verdict::Granted => return Some(Ok(())),
                Outcome::Decided(decision) => {
                    self.log_outcome(&decision, &found, request.user, log);
                    return Some(Err((decision.verdict, decision.word)));
                }
                // Each PIN is asked about once: there is one line, and its PIN is of one length.
                Outcome::NeedPin(question) => {
                    let asked = self.asked(request, &found.entry, question, source);
                    let Some(asked) = asked.filter(|_| pins.len() < 2) else {
                        return Some(Err((Verdict::Error, Word::Error)));
                    };
                    let answer = match turn {
                        Turn::AtOnce(_) => self.pins.known(&asked)?,
                        Turn::MayBlock => {
                            let token = &found.entry.lines[question.line].token;
                            // They were let in for this request already.
                            match self.answer_to(&asked, token, (request.user, true), source) {
                                Ok(answer) => answer,
                                Err(Busy) => return Some(Err((Verdict::Busy, Word::DeniedBusy))),
                            }
                        }
                    };
                    pins.push(asked.known(answer));
                }
            }
        }
    }

    /// A user whose state isn't half-written.
    fn find_exact(&self, user: &[u8]) -> Result<Arc<Found>, Fault> {
        let mut found = self.store.find(user)?;
        if !is_exact(&found) {
            self.store.update(&mut |transaction| {
                found = Arc::new(transaction.find(user)?);
                Ok(())
            })?;
        }
        Ok(found)
    }

    fn decide(&self, job: Job, source: &dyn PinSource, log: &dyn Log) -> (Decision, Arc<Found>, Option<Ha1>) {
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

    fn log_outcome(&self, decision: &Decision, found: &Found, user: &[u8], log: &dyn Log) {
        self.log_unreadable(found, user, log);
        self.log_decision(decision.verdict, decision.word, decision.reason, user, log);
    }

    fn log_unreadable(&self, found: &Found, user: &[u8], log: &dyn Log) {
        if found.entry.too_many_lines {
            let store = self.store.name();
            let user = Quoted(user);
            log.log(
                Level::Error,
                format_args!(
                    "{store}: more than {LINES_MAX} lines have this name; logins are an error until some are removed with `otpgate edit`, user {user}"
                ),
            );
        }
        for line in &found.unreadable {
            log.log(
                Level::Error,
                format_args!(
                    "{} line {}: {}; the user is refused until it is corrected, user {}",
                    self.store.name(),
                    line.number,
                    line.reason,
                    Quoted(user)
                ),
            );
        }
    }

    fn log_decision(&self, verdict: Verdict, word: Word, reason: Reason, user: &[u8], log: &dyn Log) {
        let level = match verdict {
            _ if reason.is_fault() => Level::Error,
            Verdict::Error => Level::Error,
            Verdict::Granted => Level::Info,
            // A browser's doing, and nobody's attack.
            Verdict::Denied if word == Word::DeniedExpired => Level::Info,
            Verdict::Unknown => Level::PassedOn,
            Verdict::Denied | Verdict::Throttled | Verdict::Busy => Level::Refusal,
        };
        log.log(level, format_args!("{}: {}, user {}", word.as_str(), reason.text(), Quoted(user)));
    }

    /// Decides under what is counted of wrong tries.
    fn decide_in_turn(
        &self,
        job: Job,
        source: &dyn PinSource,
        log: &dyn Log,
    ) -> Result<(Decision, Arc<Found>, Option<Ha1>), Arc<Fault>> {
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

    fn try_decide(
        &self,
        mut job: Job,
        source: &dyn PinSource,
        log: &dyn Log,
    ) -> Result<(Decision, Arc<Found>, Option<Ha1>), Arc<Fault>> {
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
        Err(Arc::new(Fault::of(
            "check the PIN against",
            std::path::Path::new(&self.store.name()),
            "the user's line changes again and again",
            "see who writes it",
        )))
    }

    /// Gets one PIN question answered, from memory or by the slow check.
    fn answer(
        &self,
        job: &mut Job,
        entry: &Entry,
        question: PinQuestion,
        source: &dyn PinSource,
    ) -> Result<(), Busy> {
        let Some(asked) = self.asked(job.request(), entry, question, source) else { return Ok(()) };
        let token = &entry.lines[question.line].token;
        let answer = self.answer_to(&asked, token, (&job.user, job.is_familiar), source)?;
        job.learn(asked.known(answer));
        Ok(())
    }

    /// What is asked by a question. `None`: a question nobody asks about these credentials.
    fn asked(
        &self,
        request: Request<'_>,
        entry: &Entry,
        question: PinQuestion,
        source: &dyn PinSource,
    ) -> Option<Asked> {
        let Presented::Password(password) = request.credentials else { return None };
        let token = &entry.lines[question.line].token;
        let pin = &password[..question.pin_len];
        let (ttl, identity, state) = match (&token.pin, request.policy.pin_cache_external) {
            (Pin::Hashed(_), _) => (request.policy.pin_cache_hashed, Vec::new(), Some(Vec::new())),
            (_, ttl) if ttl == 0 || !source.is_known_by_identity() => (0, source.identity(), None),
            (_, ttl) => (ttl, source.identity(), source.state()),
        };
        let ttl = if state.is_some() { ttl } else { 0 };
        // Fields 1 to 4 are part of the key: an edited PIN is another PIN.
        let key_of =
            |token: &Token| self.pin_key(token, &identity, state.as_deref().unwrap_or_default(), pin);
        let others = entry.lines.iter().map(|line| &line.token);
        let others = others.filter(|other| other.pin == token.pin && other.fingerprint != token.fingerprint);
        let (key, other_keys) = (key_of(token), others.map(key_of).collect());
        let pin = Zeroizing::new(pin.to_vec());
        Some(Asked { field: token.pin.clone(), pin, key, other_keys, ttl, now: (self.clock)() })
    }

    fn pin_key(&self, token: &Token, source: &[u8], state: &[u8], pin: &[u8]) -> Mac {
        self.mac(&[b"pin", &token.fingerprint.0, source, state, pin])
    }

    /// Until when a PIN that was found right needn't be checked again.
    fn remembered_until(&self, token: &Token, source: &[u8], state: &[u8], pin: &[u8]) -> Option<UnixTime> {
        self.pins.right_until(&self.pin_key(token, source, state, pin))
    }

    /// Has a login decided and saved under the lock, together with others that wait for it.
    fn commit(&self, job: &Job, snapshot: Snapshot) -> JobResult {
        let job = Job {
            user: job.user.clone(),
            credentials: job.credentials.clone(),
            address: job.address.clone(),
            pins: job.pins.clone(),
            snapshot: Some(snapshot),
            ..*job
        };
        let abandoned = || {
            Err(Arc::new(Fault::of(
                "decide with",
                std::path::Path::new(&self.store.name()),
                "an internal fault",
                "see the message before this one, and report it",
            )))
        };
        let busy = || {
            let outcome = Outcome::Decided(Decision::busy());
            Ok(Box::new(Decided { outcome, found: Arc::default(), ha1: None }))
        };
        self.queue.run(job, |round| self.lead(round), abandoned, busy)
    }

    /// Takes the lock, decides everybody who waits by then, saves once.
    fn lead(&self, round: &mut Round<'_, Job, JobResult>) -> Result<Vec<JobResult>, JobResult> {
        let mut results = Vec::new();
        let saved = self.store.update(&mut |transaction| {
            for job in round.take() {
                let found = Arc::new(transaction.find(&job.user)?);
                let now = (self.clock)();
                let decided = match job.snapshot.as_ref().filter(|snapshot| snapshot.holds_for(&found, now)) {
                    Some(snapshot) => Decided { found, ..snapshot.decided.clone() },
                    None => self.decide_on(&job, found, now),
                };
                if let Outcome::Decided(decision) = &decided.outcome
                    && !(job.is_match_only && is_to_be_carried_out(decision))
                {
                    for change in &decision.changes {
                        transaction.save(&job.user, change.line, change.state.clone());
                    }
                }
                results.push(Ok(Box::new(decided)));
            }
            Ok(())
        });
        match saved {
            Ok(()) => Ok(results),
            Err(fault) => Err(Err(Arc::new(fault))),
        }
    }

    fn decide_on(&self, job: &Job, found: Arc<Found>, now: UnixTime) -> Decided {
        let policy = job.policy.restricted_by(&found.limits);
        let (outcome, ha1) = self.with_proof(job.request(), &job.pins, |attempt, pins| {
            decide::login(&policy, &found.entry, attempt, pins, now)
        });
        Decided { outcome, found, ha1 }
    }

    /// What `decide` makes of the credentials, and the HA1 that a Digest response was found to be of.
    fn with_proof<R>(
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

    fn mark(&self, parts: &[&[u8]]) -> Mark {
        let Marks(mut hash) = self.marks;
        for part in parts {
            hash.write(&part.len().to_le_bytes());
            hash.write(part);
        }
        let Hash128 { h1, h2 } = hash.finish128();
        [h1, h2]
    }

    fn mac(&self, parts: &[&[u8]]) -> Mac {
        let mut mac = self.mac.clone();
        for part in parts {
            // Lengths keep parts apart.
            mac.update(&(part.len() as u64).to_le_bytes());
            mac.update(part);
        }
        mac.finalize().into_bytes().into()
    }
}

fn basic_request<'a>(policy: &'a Policy, login: &'a Login<'_>, password: &'a [u8]) -> Request<'a> {
    Request { policy, user: login.user, credentials: Presented::Password(password), address: &login.address }
}

fn basic_job(policy: &Policy, login: &Login<'_>) -> Job {
    Job {
        policy: *policy,
        user: login.user.to_vec(),
        credentials: Credentials::Password(Zeroizing::new(login.password.to_vec())),
        address: login.address.clone(),
        pins: Arc::default(),
        is_match_only: false,
        snapshot: None,
        is_familiar: false,
    }
}

/// Whether no state may be half-written.
fn is_exact(found: &Found) -> bool {
    found.entry.lines.iter().all(|line| line.state.intact)
}

/// Whether a decision on a snapshot stands: nothing is to be written and the state it rests on is whole.
fn is_settled(snapshot: &Decision, found: &Found) -> bool {
    snapshot.changes.is_empty() && (is_exact(found) || !snapshot.depends_on_state)
}

fn ask(source: &dyn PinSource, user: &[u8], pin: &[u8]) -> PinAnswer {
    if source.identity().is_empty() { PinAnswer::NoSource } else { source.check(user, pin) }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::atomic::{AtomicI64, Ordering};

    use super::*;
    use crate::decide::COMPUTED;
    use crate::policy::{Server, Settings};
    use crate::users::file::UsersFile;

    struct Quiet;

    impl Log for Quiet {
        fn log(&self, _: Level, _: std::fmt::Arguments<'_>) {}
    }

    impl PinSource for Quiet {
        fn identity(&self) -> Vec<u8> {
            Vec::new()
        }

        fn check(&self, _: &[u8], _: &[u8]) -> PinAnswer {
            PinAnswer::NoSource
        }
    }

    fn alice_and(lines: &[&str]) -> tempfile::TempDir {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("users"), lines.join("\n")).unwrap();
        directory
    }

    /// "myPassword".
    const HASH: &str = "$2y$05$lXGQBDT09PU0BUoTBUSbRuqQMwTF958HkK/qn25O6j6VbzgsXsYyO";

    #[test]
    fn one_hash_is_computed_once_for_all_tokens_that_have_it() {
        let other = "$2y$04$Dy0Ej5q5c.BQJqHUPzVr3OMlnYnCZAlyOGzC3ujYHtrTlBgG0Uvdq";
        let line = |pin: &str, key: u32| format!("HOTP alice {pin} {key:040x}");
        let many: Vec<String> = (0..100).map(|key| line(HASH, key)).collect();
        let [one, two, same] = [line(HASH, 1), line(other, 2), line(HASH, 3)];
        let mixed = [&one, &same, &two].map(String::as_str).to_vec();
        for (lines, password, word, hashes) in [
            (many.iter().map(String::as_str).collect(), "myPassword000000", Word::DeniedCode, 1),
            (many.iter().map(String::as_str).collect(), "otherPassword000000", Word::DeniedPin, 1),
            (mixed.clone(), "myPassword000000", Word::DeniedCode, 2),
            (mixed, "otherPassword000000", Word::DeniedPin, 2),
        ] {
            let directory = alice_and(&lines);
            let clock = || 1_700_000_000;
            let gate = Gate::new(UsersFile::new(&directory.path().join("users")), clock).unwrap();
            let policy = Settings::default().policy(Server::Apache);
            let login = Login { user: b"alice", password: password.as_bytes(), address: Address::Unknown };
            let before = crate::pin::CHECKED.get();
            assert_eq!(gate.basic(&policy, &login, &Quiet, None, &Quiet).word, word);
            assert_eq!(crate::pin::CHECKED.get() - before, hashes, "{} lines, {password}", lines.len());
        }
    }

    #[test]
    fn a_right_pin_is_remembered_for_all_tokens_with_its_hash() {
        let key = "3132333435363738393031323334353637383930";
        let line = format!("HOTP alice {HASH} {key}");
        let directory = alice_and(&[&format!("HOTP alice {HASH} 00"), &line]);
        let gate = Gate::new(UsersFile::new(&directory.path().join("users")), || 1_700_000_000).unwrap();
        let policy = Settings::default().policy(Server::Apache);
        let login = Login { user: b"alice", password: b"myPassword755224", address: Address::Unknown };
        let before = crate::pin::CHECKED.get();
        let fresh = gate.basic(&policy, &login, &Quiet, None, &Quiet);
        assert_eq!((fresh.word, crate::pin::CHECKED.get() - before), (Word::GrantedFresh, 1));
        // The token that accepts is not the one that was asked about.
        assert_eq!(gate.basic(&policy, &login, &Quiet, None, &Quiet).word, Word::GrantedReuse);
        let found = gate.store.find(b"alice").unwrap();
        let mark = gate.mark(&[b"basic", login.user, login.password]);
        assert!(gate.repeated(&policy, &login, mark, (&Quiet, None), None, &found).is_some());
        assert_eq!(crate::pin::CHECKED.get() - before, 1);
    }

    #[test]
    fn a_user_with_a_hash_of_their_own_for_each_token_is_no_fault() {
        let salts = 0..40;
        let line = |salt: u32| format!("HOTP alice $5$salt{salt}${} {salt:040x}", "x".repeat(43));
        let lines: Vec<String> = salts.map(line).collect();
        let directory = alice_and(&lines.iter().map(String::as_str).collect::<Vec<_>>());
        let gate = Gate::new(UsersFile::new(&directory.path().join("users")), || 1_700_000_000).unwrap();
        let policy = Settings::default().policy(Server::Apache);
        let login = Login { user: b"alice", password: b"myPassword755224", address: Address::Unknown };
        assert_eq!(gate.basic(&policy, &login, &Quiet, None, &Quiet).word, Word::DeniedPin);
    }

    /// Codes computed in one login with a wrong code.
    fn codes_of_a_wrong_login(path: &Path, clock: fn() -> UnixTime) -> usize {
        let gate = Gate::new(UsersFile::new(path), clock).unwrap();
        let policy = Settings::default().policy(Server::Apache);
        let login = Login { user: b"alice", password: b"zzzzzz", address: Address::Unknown };
        let before = COMPUTED.get();
        assert_eq!(gate.basic(&policy, &login, &Quiet, None, &Quiet).word, Word::DeniedCode);
        COMPUTED.get() - before
    }

    #[test]
    fn a_wrong_code_is_searched_for_once_unless_the_time_moves_on_meanwhile() {
        static TICKS: AtomicI64 = AtomicI64::new(1_700_000_000);
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("users");
        std::fs::write(&path, "HOTP/T30 alice - 3132333435363738393031323334353637383930\n").unwrap();
        assert_eq!(codes_of_a_wrong_login(&path, || 1_700_000_000), 9 + 2880);
        let moving = || TICKS.fetch_add(1, Ordering::Relaxed);
        assert_eq!(codes_of_a_wrong_login(&path, moving), 2 * (9 + 2880));
    }
}
