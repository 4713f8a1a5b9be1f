//! The only place that reads, decides and writes.
//!
//! [`Gate::basic`] decides on a snapshot taken without a lock. A decision that changes nothing is answered at
//! once. Any other is made again under the lock, on the record and the clock as they are then, saved, and only
//! then answered. Slow PIN checks run outside the lock; then the round starts over with the result.
//!
//! Digest logins go through the same shape in two steps (`digest`), and use up a nonce in between (`nonces`).
//!
//! Logins that wait in one process are decided together by the one of them that gets the lock, and share its
//! sync (`queue`). Sub-requests aren't judged again but where the settings are others (`judged`).

mod digest;
mod judged;
pub mod nonces;
mod queue;
mod repeat;

use std::cell::Cell;
use std::collections::HashMap;
use std::hash::Hasher as _;
use std::num::NonZeroU64;
use std::sync::Arc;

use hmac::{Hmac, KeyInit, Mac as _};
use parking_lot::Mutex;
use sha2::Sha256;
use siphasher::sip128::{Hash128, Hasher128 as _, SipHasher13};
use subtle::Choice;
use zeroize::Zeroizing;

use self::digest::is_to_be_carried_out;
pub use self::digest::{DigestAnswer, DigestLogin, DigestRequest, Match};
pub use self::judged::Judged;
use self::judged::{Again, Grant, Mark, Recalled, Slot};
use self::queue::{Queue, Round};
pub use self::repeat::LastRepeat;
use crate::UnixTime;
use crate::decide::{
    self, Attempt, Decision, Outcome, PinAnswer, PinAnswers, PinQuestion, Proof, Reason, Verdict, Word,
};
use crate::http::digest::{Exchange, Ha1};
use crate::log::{Level, Log, Quoted};
use crate::policy::{Limits, Policy};
use crate::token::{Address, Entry, Fingerprint, Pin, State, Token};
use crate::users::fault::Fault;

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
    /// On a grant with PINFakeBasicAuth: the PIN for what stands behind the server.
    pub upstream_pin: Option<Zeroizing<Vec<u8>>>,
}

impl Answer {
    fn plain(verdict: Verdict, word: Word) -> Answer {
        Answer { verdict, word, upstream_pin: None }
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
    pins: Mutex<HashMap<Mac, Remembered>>,
    queue: Queue<Job, JobResult>,
}

/// A PIN that was found right.
#[derive(Clone, Copy)]
struct Remembered {
    since: UnixTime,
    until: UnixTime,
}

/// More right PINs than this at once, and the memory starts anew.
const PINS_MAX: usize = 100_000;
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
    fingerprint: Fingerprint,
    pin: Zeroizing<Vec<u8>>,
    answer: PinAnswer,
}

/// A PIN question in full.
struct Asked {
    fingerprint: Fingerprint,
    pin: Zeroizing<Vec<u8>>,
    /// Under which a right answer is remembered, and for how many seconds.
    key: Mac,
    ttl: u32,
    now: UnixTime,
}

impl Asked {
    fn known(&self, answer: PinAnswer) -> PinKnown {
        PinKnown { fingerprint: self.fingerprint, pin: self.pin.clone(), answer }
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
        Some(Gate { store, clock, marks, mac, pins: Mutex::new(HashMap::new()), queue: Queue::new() })
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

    /// The same, if it can be decided at once: without a change, a slow PIN check, a search for the code, or
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
                    if !self.is_remembered(&asked) {
                        return None;
                    }
                    pins.push(asked.known(PinAnswer::Right));
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
        Slot::new(decision.verdict, decision.word, (credentials, &login.address), policy, grant)
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
        let answer = Answer { verdict: decision.verdict, word: decision.word, upstream_pin };
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
        let grant = Grant::new(accepted, is_fresh, token, &before, after)?;
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
            return Some(Answer::plain(verdict, word));
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
        Some(Answer { verdict, word, upstream_pin })
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
        let known = |pin: &[u8]| PinKnown {
            fingerprint: grant.fingerprint(),
            pin: Zeroizing::new(pin.to_vec()),
            answer: PinAnswer::Right,
        };
        let mut pins: Vec<PinKnown> = checked.map(known).into_iter().collect();
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
                        Turn::AtOnce(_) => self.is_remembered(&asked).then_some(PinAnswer::Right)?,
                        Turn::MayBlock => {
                            let token = &found.entry.lines[question.line].token;
                            self.answer_to(&asked, token, request.user, source)
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
        let decided = self.try_decide(job, source, log);
        for notice in self.store.notices() {
            log.log(Level::Warning, format_args!("{notice}"));
        }
        match decided {
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
            Verdict::Denied | Verdict::Unknown => Level::Notice,
        };
        log.log(level, format_args!("{}: {}, user {}", word.as_str(), reason.text(), Quoted(user)));
    }

    fn try_decide(
        &self,
        mut job: Job,
        source: &dyn PinSource,
        log: &dyn Log,
    ) -> Result<(Decision, Arc<Found>, Option<Ha1>), Arc<Fault>> {
        for _ in 0..ROUNDS_MAX {
            let found = self.store.find(&job.user)?;
            let Decided { outcome, found, ha1 } = self.decide_on(&job, found);
            let snapshot = match outcome {
                Outcome::NeedPin(question) => {
                    self.answer(&mut job, &found.entry, question, source);
                    continue;
                }
                Outcome::Decided(decision) => decision,
            };
            let is_exact = is_exact(&found);
            if is_settled(&snapshot, &found) || (job.is_match_only && is_to_be_carried_out(&snapshot)) {
                return Ok((snapshot, found, ha1));
            }

            match self.commit(&job).map(|decided| *decided) {
                Ok(Decided { outcome: Outcome::Decided(decision), found, ha1 }) => {
                    return Ok((decision, found, ha1));
                }
                Ok(Decided { outcome: Outcome::NeedPin(question), found, .. }) => {
                    self.answer(&mut job, &found.entry, question, source);
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
    fn answer(&self, job: &mut Job, entry: &Entry, question: PinQuestion, source: &dyn PinSource) {
        let Some(asked) = self.asked(job.request(), entry, question, source) else { return };
        let answer = self.answer_to(&asked, &entry.lines[question.line].token, &job.user, source);
        job.learn(asked.known(answer));
    }

    fn answer_to(&self, asked: &Asked, token: &Token, user: &[u8], source: &dyn PinSource) -> PinAnswer {
        let is_remembered = self.is_remembered(asked);
        let answer = match &token.pin {
            _ if is_remembered => PinAnswer::Right,
            Pin::Hashed(hash) if hash.is_hash_of(&asked.pin) => PinAnswer::Right,
            Pin::Hashed(_) => PinAnswer::Wrong,
            _ => ask(source, user, &asked.pin),
        };
        if answer == PinAnswer::Right && asked.ttl > 0 && !is_remembered {
            let mut pins = self.pins.lock();
            if pins.len() >= PINS_MAX {
                pins.clear();
            }
            let until = asked.now.saturating_add(i64::from(asked.ttl));
            pins.insert(asked.key, Remembered { since: asked.now, until });
        }
        answer
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
        let key = self.pin_key(token, &identity, state.as_deref().unwrap_or_default(), pin);
        let pin = Zeroizing::new(pin.to_vec());
        Some(Asked { fingerprint: token.fingerprint, pin, key, ttl, now: (self.clock)() })
    }

    fn pin_key(&self, token: &Token, source: &[u8], state: &[u8], pin: &[u8]) -> Mac {
        self.mac(&[b"pin", &token.fingerprint.0, source, state, pin])
    }

    /// Until when a PIN that was found right needn't be checked again.
    fn remembered_until(&self, token: &Token, source: &[u8], state: &[u8], pin: &[u8]) -> Option<UnixTime> {
        let key = self.pin_key(token, source, state, pin);
        self.pins.lock().get(&key).map(|known| known.until)
    }

    /// Whether that PIN was found right a short while ago.
    fn is_remembered(&self, asked: &Asked) -> bool {
        let is_fresh = |known: &Remembered| (known.since..known.until).contains(&asked.now);
        asked.ttl > 0 && self.pins.lock().get(&asked.key).is_some_and(is_fresh)
    }

    /// Has a login decided and saved under the lock, together with others that wait for it.
    fn commit(&self, job: &Job) -> JobResult {
        let job = Job {
            user: job.user.clone(),
            credentials: job.credentials.clone(),
            address: job.address.clone(),
            pins: job.pins.clone(),
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
        self.queue.run(job, |round| self.lead(round), abandoned)
    }

    /// Takes the lock, decides everybody who waits by then, saves once.
    fn lead(&self, round: &mut Round<'_, Job, JobResult>) -> Result<Vec<JobResult>, JobResult> {
        let mut results = Vec::new();
        let saved = self.store.update(&mut |transaction| {
            for job in round.take() {
                let found = Arc::new(transaction.find(&job.user)?);
                let decided = self.decide_on(&job, found);
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

    fn decide_on(&self, job: &Job, found: Arc<Found>) -> Decided {
        let policy = job.policy.restricted_by(&found.limits);
        let (outcome, ha1) = self.with_proof(job.request(), &job.pins, |attempt, pins| {
            decide::login(&policy, &found.entry, attempt, pins, (self.clock)())
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
        let pins = |fingerprint: Fingerprint, pin: &[u8]| {
            let is_it = |known: &&PinKnown| known.fingerprint == fingerprint && known.pin[..] == *pin;
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
