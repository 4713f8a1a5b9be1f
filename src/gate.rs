//! The only place that reads, decides and writes.
//!
//! [`Gate::basic`] decides on a snapshot taken without a lock. A decision that changes nothing is answered at
//! once. Any other is made again under the lock, on the record and the clock as they are then, saved, and only
//! then answered. Slow PIN checks run outside the lock; then the round starts over with the result.
//!
//! Logins that wait in one process are decided together by the one of them that gets the lock, and share its
//! sync.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;

use hmac::{Hmac, KeyInit, Mac};
use parking_lot::{Condvar, Mutex};
use sha2::Sha256;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::UnixTime;
use crate::decide::{self, Attempt, Decision, Outcome, PinAnswer, PinQuestion, Reason, Verdict, Word};
use crate::log::{Level, Log, Quoted};
use crate::policy::Policy;
use crate::token::{Address, Entry, Fingerprint, Pin, State};
use crate::users::fault::Fault;

/// What a store finds under a name.
#[derive(Debug, Default)]
pub struct Found {
    /// The user's lines.
    pub entry: Entry,
    /// The user's lines that can't be read.
    pub unreadable: Vec<UnreadableLine>,
}

/// A line that can't be read.
#[derive(Debug)]
pub struct UnreadableLine {
    /// Its number, from 1.
    pub number: u64,
    /// Why; says nothing of PIN and key.
    pub reason: String,
}

/// Where tokens are kept.
pub trait Store: Send + Sync {
    /// What it is called in logs.
    fn name(&self) -> String;

    /// Reads a user without a lock. A state that may be half-written isn't `intact`.
    fn find(&self, user: &[u8]) -> Result<Found, Fault>;

    /// Runs `work` alone among all users of the store, then makes what it saved durable. On `Err` nothing may be
    /// granted.
    fn update(&self, work: &mut dyn FnMut(&mut dyn Transaction) -> Result<(), Fault>) -> Result<(), Fault>;
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

/// What was decided about one HTTP request. Sub-requests and internal redirects with the same credentials aren't
/// judged again.
#[derive(Clone, Copy, Debug, Default)]
pub struct Judged {
    known: bool,
    granted: bool,
    verdict: u8,
    word: u8,
    pin_is_external: bool,
    pin_len: u32,
    /// Of store, user and password.
    credentials: [u8; 32],
    /// The same with the PIN as password: the header that PINFakeBasicAuth leaves.
    upstream: [u8; 32],
    /// Which PIN source was asked.
    pin_source: [u8; 32],
}

/// A store and what is remembered about it in this process.
pub struct Gate<S> {
    store: S,
    clock: fn() -> UnixTime,
    key: Zeroizing<[u8; 32]>,
    pins: Mutex<HashMap<[u8; 32], Remembered>>,
    queue: Mutex<Queue>,
    done: Condvar,
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

/// A login that waits for the lock; owns what it needs, because another thread may decide it.
struct Job {
    id: u64,
    policy: Policy,
    user: Vec<u8>,
    password: Zeroizing<Vec<u8>>,
    address: Address,
    pins: Arc<Vec<PinKnown>>,
}

struct PinKnown {
    fingerprint: Fingerprint,
    pin: Zeroizing<Vec<u8>>,
    answer: PinAnswer,
}

type JobResult = Result<(Found, Outcome), Arc<Fault>>;

#[derive(Default)]
struct Queue {
    waiting: Vec<Job>,
    results: HashMap<u64, JobResult>,
    has_leader: bool,
    next_id: u64,
}

impl<S: Store> Gate<S> {
    /// A gate to a store. `clock` gives the current time. `None`: the system has no random bytes.
    pub fn new(store: S, clock: fn() -> UnixTime) -> Option<Gate<S>> {
        let mut key = Zeroizing::new([0; 32]);
        getrandom::fill(&mut *key).ok()?;
        Some(Gate {
            store,
            clock,
            key,
            pins: Mutex::new(HashMap::new()),
            queue: Mutex::new(Queue::default()),
            done: Condvar::new(),
        })
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
        let credentials = self.mac(&[login.user, login.password]);
        if let Some(judged) = judged.as_deref().filter(|judged| judged.known) {
            let is_upstream = bool::from(judged.upstream.ct_eq(&credentials)) && judged.granted;
            if bool::from(judged.credentials.ct_eq(&credentials)) || is_upstream {
                return self.recall(policy, login, source, judged, is_upstream, log);
            }
        }

        let (decision, entry) = self.decide(policy, login, source, log);
        let accepted = decision.accepted.filter(|_| decision.verdict == Verdict::Granted);
        let pin = accepted.map(|accepted| &login.password[..accepted.pin_len]);
        let upstream_pin = pin.filter(|_| policy.pin_fake_basic).map(|pin| Zeroizing::new(pin.to_vec()));
        if let Some(judged) = judged {
            *judged = Judged {
                known: true,
                granted: decision.verdict == Verdict::Granted,
                verdict: decision.verdict as u8,
                word: decision.word as u8,
                pin_is_external: accepted
                    .and_then(|accepted| entry.lines.get(accepted.line))
                    .is_some_and(|line| matches!(line.token.pin, Pin::External)),
                pin_len: accepted.map_or(0, |accepted| accepted.pin_len as u32),
                credentials,
                upstream: upstream_pin.as_ref().map_or(credentials, |pin| self.mac(&[login.user, pin])),
                pin_source: self.mac(&[&source.identity()]),
            };
        }
        Answer { verdict: decision.verdict, word: decision.word, upstream_pin }
    }

    /// The same request again: the same answer. Only a PIN source that wasn't asked before is asked.
    fn recall(
        &self,
        policy: &Policy,
        login: &Login<'_>,
        source: &dyn PinSource,
        judged: &Judged,
        is_upstream: bool,
        log: &dyn Log,
    ) -> Answer {
        let Some((verdict, word)) = judged.answer() else {
            return Answer { verdict: Verdict::Denied, word: Word::Error, upstream_pin: None };
        };
        if !judged.granted {
            return Answer { verdict, word, upstream_pin: None };
        }
        let pin_len = if is_upstream { login.password.len() } else { judged.pin_len as usize };
        let pin = login.password.get(..pin_len).unwrap_or_default();
        if judged.pin_is_external && judged.pin_source != self.mac(&[&source.identity()]) {
            let (verdict, word, reason) = match ask(source, login.user, pin) {
                PinAnswer::Right => (verdict, word, None),
                PinAnswer::Failed => (Verdict::Error, Word::Error, Some(Reason::PinSourceFailed)),
                PinAnswer::Wrong => (Verdict::Denied, Word::DeniedPin, Some(Reason::WrongPin)),
                PinAnswer::Unknown => (Verdict::Denied, Word::DeniedPin, Some(Reason::PinUnknown)),
                PinAnswer::NoSource => (Verdict::Denied, Word::DeniedPin, Some(Reason::NoPinSource)),
            };
            if let Some(reason) = reason {
                log.log(
                    level(verdict, reason),
                    format_args!("{}: {}, user {}", word.as_str(), reason.text(), Quoted(login.user)),
                );
                return Answer { verdict, word, upstream_pin: None };
            }
        }
        let upstream_pin = policy.pin_fake_basic.then(|| Zeroizing::new(pin.to_vec()));
        Answer { verdict, word, upstream_pin }
    }

    fn decide(
        &self,
        policy: &Policy,
        login: &Login<'_>,
        source: &dyn PinSource,
        log: &dyn Log,
    ) -> (Decision, Entry) {
        match self.try_decide(policy, login, source, log) {
            Ok((decision, found)) => {
                for line in &found.unreadable {
                    log.log(
                        Level::Error,
                        format_args!(
                            "{} line {}: {}; the user is refused until it is corrected, user {}",
                            self.store.name(),
                            line.number,
                            line.reason,
                            Quoted(login.user)
                        ),
                    );
                }
                log.log(
                    level(decision.verdict, decision.reason),
                    format_args!(
                        "{}: {}, user {}",
                        decision.word.as_str(),
                        decision.reason.text(),
                        Quoted(login.user)
                    ),
                );
                (decision, found.entry)
            }
            Err(fault) => {
                log.log(Level::Error, format_args!("error: {fault}, user {}", Quoted(login.user)));
                (Decision::error(), Entry::default())
            }
        }
    }

    fn try_decide(
        &self,
        policy: &Policy,
        login: &Login<'_>,
        source: &dyn PinSource,
        log: &dyn Log,
    ) -> Result<(Decision, Found), Arc<Fault>> {
        let mut pins = Arc::new(Vec::new());
        let attempt = Attempt { user: login.user, password: login.password, address: login.address.clone() };
        for _ in 0..ROUNDS_MAX {
            let found = self.store.find(login.user)?;
            let outcome = decide_with(policy, &found.entry, &attempt, &pins, (self.clock)());
            let snapshot = match outcome {
                Outcome::NeedPin(question) => {
                    self.answer(policy, login, &found.entry, question, source, &mut pins);
                    continue;
                }
                Outcome::Decided(decision) => decision,
            };
            let is_exact = found.entry.lines.iter().all(|line| line.state.intact);
            if snapshot.changes.is_empty() && (is_exact || !snapshot.depends_on_state) {
                return Ok((snapshot, found));
            }

            let committed = self.commit(|id| Job {
                id,
                policy: *policy,
                user: login.user.to_vec(),
                password: Zeroizing::new(login.password.to_vec()),
                address: login.address.clone(),
                pins: pins.clone(),
            });
            match committed {
                Ok((found, Outcome::Decided(decision))) => return Ok((decision, found)),
                Ok((found, Outcome::NeedPin(question))) => {
                    self.answer(policy, login, &found.entry, question, source, &mut pins);
                }
                Err(fault) if snapshot.changes_are_optional && is_exact => {
                    log.log(
                        Level::Error,
                        format_args!("the time of use isn't saved: {fault}, user {}", Quoted(login.user)),
                    );
                    return Ok((snapshot, found));
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
        policy: &Policy,
        login: &Login<'_>,
        entry: &Entry,
        question: PinQuestion,
        source: &dyn PinSource,
        pins: &mut Arc<Vec<PinKnown>>,
    ) {
        let token = &entry.lines[question.line].token;
        let pin = &login.password[..question.pin_len];
        let (ttl, identity) = match token.pin {
            Pin::Hashed(_) => (policy.pin_cache_hashed, Vec::new()),
            _ => (policy.pin_cache_external, source.identity()),
        };
        // Fields 1 to 4 are part of the key: an edited PIN is another PIN.
        let key = self.mac(&[&token.fingerprint.0, &identity, pin]);
        let now = (self.clock)();
        let is_remembered = ttl > 0
            && self.pins.lock().get(&key).is_some_and(|known| (known.since..known.until).contains(&now));
        let answer = match &token.pin {
            _ if is_remembered => PinAnswer::Right,
            Pin::Hashed(hash) if hash.is_hash_of(pin) => PinAnswer::Right,
            Pin::Hashed(_) => PinAnswer::Wrong,
            _ => ask(source, login.user, pin),
        };
        if answer == PinAnswer::Right && ttl > 0 && !is_remembered {
            let mut pins = self.pins.lock();
            if pins.len() >= PINS_MAX {
                pins.clear();
            }
            pins.insert(key, Remembered { since: now, until: now.saturating_add(i64::from(ttl)) });
        }
        let known = PinKnown { fingerprint: token.fingerprint, pin: Zeroizing::new(pin.to_vec()), answer };
        // Nobody else holds the list: jobs that did are done.
        match Arc::get_mut(pins) {
            Some(pins) => pins.push(known),
            None => *pins = Arc::new(vec![known]),
        }
    }

    /// Has a login decided and saved under the lock, by this thread or by one that has the lock already.
    fn commit(&self, job: impl FnOnce(u64) -> Job) -> JobResult {
        let mut queue = self.queue.lock();
        let id = queue.next_id;
        queue.next_id += 1;
        queue.waiting.push(job(id));
        loop {
            if let Some(result) = queue.results.remove(&id) {
                return result;
            }
            if queue.has_leader {
                self.done.wait(&mut queue);
                continue;
            }
            queue.has_leader = true;
            let ran = parking_lot::MutexGuard::unlocked(&mut queue, || {
                let mut ids = Vec::new();
                let results = catch_unwind(AssertUnwindSafe(|| self.lead(&mut ids)));
                (ids, results)
            });
            queue.has_leader = false;
            let panicked = match ran {
                (_, Ok(results)) => {
                    queue.results.extend(results);
                    None
                }
                // Whoever was decided along with the one that failed must not wait for ever.
                (ids, Err(panic)) => {
                    let fault = Arc::new(Fault::of(
                        "decide with",
                        std::path::Path::new(&self.store.name()),
                        "an internal fault",
                        "see the message before this one, and report it",
                    ));
                    queue.results.extend(
                        ids.into_iter().filter(|&other| other != id).map(|id| (id, Err(fault.clone()))),
                    );
                    Some(panic)
                }
            };
            self.done.notify_all();
            if let Some(panic) = panicked {
                resume_unwind(panic);
            }
        }
    }

    /// Takes the lock, decides everybody who waits by then, saves once.
    fn lead(&self, ids: &mut Vec<u64>) -> Vec<(u64, JobResult)> {
        let mut results = Vec::new();
        let mut batch = Vec::new();
        let saved = self.store.update(&mut |transaction| {
            batch = std::mem::take(&mut self.queue.lock().waiting);
            ids.extend(batch.iter().map(|job| job.id));
            for job in &batch {
                let found = transaction.find(&job.user)?;
                let attempt =
                    Attempt { user: &job.user, password: &job.password, address: job.address.clone() };
                let outcome = decide_with(&job.policy, &found.entry, &attempt, &job.pins, (self.clock)());
                if let Outcome::Decided(decision) = &outcome {
                    for change in &decision.changes {
                        transaction.save(&job.user, change.line, change.state.clone());
                    }
                }
                results.push((job.id, Ok((found, outcome))));
            }
            Ok(())
        });
        match saved {
            Ok(()) => results,
            Err(fault) => {
                if ids.is_empty() {
                    // The lock wasn't even taken: those who wait by now fare as we do.
                    let batch = std::mem::take(&mut self.queue.lock().waiting);
                    ids.extend(batch.iter().map(|job| job.id));
                }
                let fault = Arc::new(fault);
                ids.iter().map(|&id| (id, Err(fault.clone()))).collect()
            }
        }
    }

    fn mac(&self, parts: &[&[u8]]) -> [u8; 32] {
        let mut mac =
            <Hmac<Sha256> as KeyInit>::new_from_slice(&*self.key).expect("HMAC takes keys of any length");
        mac.update(self.store.name().as_bytes());
        for part in parts {
            // Lengths keep parts apart.
            mac.update(&(part.len() as u64).to_le_bytes());
            mac.update(part);
        }
        mac.finalize().into_bytes().into()
    }
}

impl Judged {
    fn answer(&self) -> Option<(Verdict, Word)> {
        let verdicts = [Verdict::Granted, Verdict::Denied, Verdict::Unknown, Verdict::Error];
        let verdict = verdicts.into_iter().find(|verdict| *verdict as u8 == self.verdict)?;
        let word = Word::ALL.into_iter().find(|word| *word as u8 == self.word)?;
        Some((verdict, word))
    }
}

fn ask(source: &dyn PinSource, user: &[u8], pin: &[u8]) -> PinAnswer {
    if source.identity().is_empty() { PinAnswer::NoSource } else { source.check(user, pin) }
}

fn decide_with(
    policy: &Policy,
    entry: &Entry,
    attempt: &Attempt<'_>,
    pins: &[PinKnown],
    now: UnixTime,
) -> Outcome {
    let answers = |fingerprint: Fingerprint, pin: &[u8]| {
        pins.iter()
            .find(|known| known.fingerprint == fingerprint && known.pin[..] == *pin)
            .map(|known| known.answer)
    };
    decide::basic(policy, entry, attempt, &answers, now)
}

fn level(verdict: Verdict, reason: Reason) -> Level {
    match verdict {
        _ if reason.is_fault() => Level::Error,
        Verdict::Error => Level::Error,
        Verdict::Granted => Level::Info,
        Verdict::Denied | Verdict::Unknown => Level::Notice,
    }
}
