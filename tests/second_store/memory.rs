//! A second store, which the tests alone have: in memory, by compare-and-set. It shows that a gate
//! asks of a store what the seam says, and nothing that only a users file has.
//!
//! Every third compare is lost, as if somebody else had changed the user meanwhile, so that steps
//! run again all the time.

// Each test binary uses its own part of it.
#![allow(dead_code)]

use std::cell::Cell;
use std::collections::{HashMap, HashSet};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use otpgate::UnixTime;
use otpgate::policy::{Allow, Limits};
use otpgate::store::{
    CookieSecret, Found, LoopTurn, Reach, Store, StoreError, Transaction, TriesError, Unreadable,
};
use otpgate::throttle::Bytes;
use otpgate::token::{
    Always, COMPUTERS_MAX, Computer, ComputerId, Entry, LINES_MAX, Session, SessionId, State,
    StoredToken, Ways, displaced,
};
use otpgate::users::name;
use parking_lot::Mutex;

const LOST: usize = 3;
/// From the end of a step to its compare, as on the way to a database: others get there first.
const WAY: Duration = Duration::from_micros(200);

/// What became of steps.
#[derive(Debug, Default)]
pub struct Compares {
    made: AtomicUsize,
    lost: AtomicUsize,
}

impl Compares {
    /// Whether one more is lost whatever the user's version is. It changes nothing for the others,
    /// so that somebody always gets on.
    fn is_to_be_lost(&self) -> bool {
        (self.made.fetch_add(1, Ordering::Relaxed) + 1).is_multiple_of(LOST)
    }

    /// Steps that were saved with a change.
    pub fn saved(&self) -> usize {
        self.made.load(Ordering::Relaxed) - self.run_again()
    }

    /// How often a step had to run again.
    pub fn run_again(&self) -> usize {
        self.lost.load(Ordering::Relaxed)
    }
}

/// What a store is given to keep.
#[derive(Debug, Default)]
pub struct Content {
    users: HashMap<Vec<u8>, Kept>,
    /// What it demands of every policy.
    pub limits: Limits,
    /// What it lets everybody in by besides codes.
    pub allow: Allow,
    /// Names that only look like listed ones.
    pub apart: HashSet<Vec<u8>>,
}

#[derive(Clone, Debug, Default)]
struct Kept {
    lines: Vec<StoredToken>,
    unreadable: Vec<Unreadable>,
    ways: Ways,
}

impl Content {
    /// One more token of a user.
    pub fn add(&mut self, user: &[u8], line: StoredToken) {
        let state = State { intact: true, ..line.state };
        self.users.entry(user.to_vec()).or_default().lines.push(StoredToken { state, ..line });
    }

    /// One more that can't be read.
    pub fn add_unreadable(&mut self, user: &[u8], what: Unreadable) {
        self.users.entry(user.to_vec()).or_default().unreadable.push(what);
    }

    /// A listed user's further ways in.
    pub fn set_ways(&mut self, user: &[u8], ways: Ways) {
        if let Some(kept) = self.users.get_mut(user) {
            kept.ways = ways;
        }
    }

    /// What is said of nobody whom one can make out closes everything for everybody.
    pub fn close_for_everybody(&mut self) {
        for kept in self.users.values_mut() {
            kept.ways.always = Always::ALL;
        }
    }
}

/// A store in memory. Its clones are the same store.
#[derive(Clone)]
pub struct MemoryStore(Arc<Inner>);

struct Inner {
    reach: Reach,
    /// `Err`: nothing can be had.
    held: Mutex<Result<Held, StoreError>>,
    tries: Mutex<Vec<u8>>,
    compares: Arc<Compares>,
    secret: Arc<CookieSecret>,
}

#[derive(Default)]
struct Held {
    users: HashMap<Vec<u8>, Versioned>,
    /// What all spellings of a listed name have in common.
    keys: HashSet<Vec<u8>>,
    apart: HashSet<Vec<u8>>,
    limits: Limits,
    allow: Arc<Allow>,
    /// The version of those who aren't listed, and the last one given to anybody.
    unlisted: u64,
    last: u64,
}

struct Versioned {
    version: u64,
    found: Arc<Found>,
}

thread_local! {
    static IS_IN_STEP: Cell<bool> = const { Cell::new(false) };
}

impl MemoryStore {
    /// Keeps nobody yet.
    pub fn new(reach: Reach) -> MemoryStore {
        MemoryStore::counting(reach, &Arc::default())
    }

    /// The same, where several stores count their compares together.
    pub fn counting(reach: Reach, compares: &Arc<Compares>) -> MemoryStore {
        let (held, tries) = (Mutex::new(Ok(Held::default())), Mutex::default());
        // Another one for each store.
        static MADE: AtomicUsize = AtomicUsize::new(1);
        let number = MADE.fetch_add(1, Ordering::Relaxed) as u8;
        let secret = Arc::new(CookieSecret([number; 32].into()));
        MemoryStore(Arc::new(Inner { reach, held, tries, compares: Arc::clone(compares), secret }))
    }

    /// Puts this in the place of all that it keeps. `Err`: what there is can't be used.
    pub fn replace(&self, content: Result<Content, StoreError>) {
        let mut held = self.0.held.lock();
        let last = held.as_ref().map_or(0, |held| held.last);
        *held = content.map(|content| Held::of(content, last + 1));
    }

    /// How far a token has come.
    pub fn state(&self, user: &[u8], line: usize) -> State {
        self.find(user).expect("it is usable").entry.lines[line].state.clone()
    }

    pub fn compares(&self) -> &Compares {
        &self.0.compares
    }

    /// Saves what a run of a step rests on still. False: something of it has changed.
    fn compare_and_set(&self, run: Run<'_>) -> Result<bool, StoreError> {
        let Run { seen, staged, .. } = run;
        if staged.is_empty() {
            return Ok(true);
        }
        std::thread::sleep(WAY);
        let mut held = self.0.held.lock();
        let held = held.as_mut().map_err(|fault| fault.clone())?;
        let is_changed = seen.iter().any(|(user, version)| held.version(user) != *version);
        if self.0.compares.is_to_be_lost() || is_changed {
            self.0.compares.lost.fetch_add(1, Ordering::Relaxed);
            return Ok(false);
        }
        for (user, change) in staged {
            held.change(&user, |entry| change.apply(entry));
        }
        Ok(true)
    }
}

impl Held {
    fn of(content: Content, version: u64) -> Held {
        let Content { users, limits, allow, apart } = content;
        let allow = Arc::new(allow);
        let keys = users.keys().map(|user| name::key(user).into_owned()).collect();
        let versioned = |Kept { lines, unreadable, ways }: Kept| {
            let entry = match lines.len() + unreadable.len() {
                0..=LINES_MAX => {
                    Entry { lines, unreadable: !unreadable.is_empty(), ways, ..Entry::default() }
                }
                _ => Entry { too_many_lines: true, ..Entry::default() },
            };
            let allow = Arc::clone(&allow);
            let found = Found { entry, unreadable, limits, allow, ..Found::default() };
            Versioned { version, found: Arc::new(found) }
        };
        let users = users.into_iter().map(|(user, kept)| (user, versioned(kept))).collect();
        Held { users, keys, apart, limits, allow, unlisted: version, last: version }
    }

    fn version(&self, user: &[u8]) -> u64 {
        self.users.get(user).map_or(self.unlisted, |known| known.version)
    }

    fn find(&self, user: &[u8]) -> Arc<Found> {
        if let Some(known) = self.users.get(user) {
            return Arc::clone(&known.found);
        }
        let is_twin = self.keys.contains(&*name::key(user)) && !self.apart.contains(user);
        let entry = Entry { is_twin, ..Entry::default() };
        let (limits, allow) = (self.limits, Arc::clone(&self.allow));
        Arc::new(Found { entry, limits, allow, ..Found::default() })
    }

    /// Gives a user a new version, which nothing is remembered of.
    fn change(&mut self, user: &[u8], change: impl FnOnce(&mut Entry)) {
        let Some(known) = self.users.get_mut(user) else { return };
        let mut found = copy(&known.found);
        change(&mut found.entry);
        self.last += 1;
        *known = Versioned { version: self.last, found: Arc::new(found) };
    }
}

fn copy(found: &Found) -> Found {
    let Found { entry, unreadable, limits, allow, .. } = found;
    Found {
        entry: entry.clone(),
        unreadable: unreadable.clone(),
        limits: *limits,
        allow: Arc::clone(allow),
        ..Found::default()
    }
}

impl Store for MemoryStore {
    fn name(&self) -> String {
        "the tests' store".to_owned()
    }

    fn find(&self, user: &[u8]) -> Result<Arc<Found>, StoreError> {
        self.0.held.lock().as_ref().map(|held| held.find(user)).map_err(|fault| fault.clone())
    }

    fn find_now(&self, user: &[u8], _: LoopTurn) -> Option<Arc<Found>> {
        self.0.held.try_lock()?.as_ref().ok().map(|held| held.find(user))
    }

    fn reach(&self) -> Reach {
        self.0.reach
    }

    fn update(
        &self,
        step: &mut dyn FnMut(&mut dyn Transaction) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        loop {
            let mut run = Run { store: self, seen: HashMap::new(), staged: Vec::new() };
            let in_step = InStep::begin();
            step(&mut run)?;
            drop(in_step);
            if self.compare_and_set(run)? {
                return Ok(());
            }
        }
    }

    fn tries(
        &self,
        work: &mut dyn FnMut(&mut dyn Bytes) -> io::Result<()>,
    ) -> Result<(), TriesError> {
        assert!(!IS_IN_STEP.get(), "tries are lent within a step");
        let mut tries = self.0.tries.lock();
        work(&mut *tries).map_err(|error| {
            let remedy = "see why the test's memory is none";
            TriesError::Unusable(StoreError::new(
                "count in",
                self.name(),
                &error.to_string(),
                remedy,
            ))
        })
    }

    fn secret(&self) -> Result<Arc<CookieSecret>, StoreError> {
        let held = self.0.held.lock();
        held.as_ref().map(|_| Arc::clone(&self.0.secret)).map_err(|fault| fault.clone())
    }

    fn secret_now(&self) -> Option<Arc<CookieSecret>> {
        self.0.held.try_lock()?.as_ref().ok().map(|_| Arc::clone(&self.0.secret))
    }
}

/// While it lives, the thread runs a step.
struct InStep;

impl InStep {
    fn begin() -> InStep {
        assert!(!IS_IN_STEP.replace(true), "a step runs within a step");
        InStep
    }
}

impl Drop for InStep {
    fn drop(&mut self) {
        IS_IN_STEP.set(false);
    }
}

/// One run of a step.
struct Run<'s> {
    store: &'s MemoryStore,
    /// The version of each user that was read first.
    seen: HashMap<Vec<u8>, u64>,
    staged: Vec<(Vec<u8>, Change)>,
}

/// What a step saves about a user.
#[derive(Clone)]
enum Change {
    State(usize, Box<State>),
    Used(usize, UnixTime),
    ClosedPin(bool),
    Session(Session, u8),
    Ended(Vec<SessionId>),
    Computer(Computer),
    EndedComputers(Vec<ComputerId>),
}

impl Change {
    fn apply(self, entry: &mut Entry) {
        match self {
            Change::State(line, state) => entry.lines[line].state = *state,
            Change::Used(app, at) => entry.ways.apps[app].used = Some(at),
            Change::ClosedPin(is_closed) => entry.ways.always.until_code = is_closed,
            Change::Session(session, max) => keep(&mut entry.ways.sessions, session, max),
            Change::Computer(computer) => keep(&mut entry.ways.computers, computer, COMPUTERS_MAX),
            Change::EndedComputers(ended) => {
                entry.ways.computers.retain(|computer| !ended.contains(&computer.id));
            }
            Change::Ended(ended) => {
                entry.ways.sessions.retain(|session| !ended.contains(&session.id));
            }
        }
    }
}

fn keep<T: otpgate::token::Kept>(all: &mut Vec<T>, new: T, max: u8) {
    let gone = displaced(all, &new, max);
    all.retain(|other| !gone.contains(&other.id()));
    match all.iter_mut().find(|other| other.id() == new.id()) {
        Some(known) => *known = new,
        None => all.push(new),
    }
}

impl Run<'_> {
    fn stage(&mut self, user: &[u8], change: Change) {
        assert!(self.seen.contains_key(user), "only what was found in this run is saved");
        if self.store.0.reach == Reach::OneUser {
            assert!(
                self.staged.iter().all(|(staged, _)| staged == user),
                "a step changes one user"
            );
        }
        self.staged.push((user.to_vec(), change));
    }
}

impl Transaction for Run<'_> {
    fn find(&mut self, user: &[u8]) -> Result<Found, StoreError> {
        let held = self.store.0.held.lock();
        let held = held.as_ref().map_err(|fault| fault.clone())?;
        self.seen.entry(user.to_vec()).or_insert_with(|| held.version(user));
        let mut found = copy(&held.find(user));
        for (_, change) in self.staged.iter().filter(|(staged, _)| staged == user) {
            change.clone().apply(&mut found.entry);
        }
        Ok(found)
    }

    fn save(&mut self, user: &[u8], line: usize, state: State) {
        // Nothing is half-written here.
        let state = Box::new(State { intact: true, ..state });
        self.stage(user, Change::State(line, state));
    }

    fn note_use(&mut self, user: &[u8], app: usize, at: UnixTime) {
        self.stage(user, Change::Used(app, at));
    }

    fn close_pin(&mut self, user: &[u8], is_closed: bool) {
        self.stage(user, Change::ClosedPin(is_closed));
    }

    fn save_session(&mut self, user: &[u8], session: Session, max: u8) {
        self.stage(user, Change::Session(session, max));
    }

    fn end_sessions(&mut self, user: &[u8], is_to_end: &dyn Fn(&Session) -> bool) {
        let sessions = self.find(user).map(|found| found.entry.ways.sessions).unwrap_or_default();
        let ended = sessions.iter().filter(|session| is_to_end(session));
        self.stage(user, Change::Ended(ended.map(|session| session.id).collect()));
    }

    fn save_computer(&mut self, user: &[u8], computer: Computer) {
        self.stage(user, Change::Computer(computer));
    }

    fn end_computers(&mut self, user: &[u8], is_to_end: &dyn Fn(&Computer) -> bool) {
        let computers = self.find(user).map(|found| found.entry.ways.computers).unwrap_or_default();
        let ended = computers.iter().filter(|computer| is_to_end(computer));
        self.stage(user, Change::EndedComputers(ended.map(|computer| computer.id).collect()));
    }
}
