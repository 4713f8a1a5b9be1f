//! The interface between a [gate](crate::gate) and token storage.
//!
//! A store finds a user, and changes one or several users in one durable step. The users file
//! ([`crate::users`]) is one; nothing here knows of lines, paths, checksums or locks, so that
//! another can be a database. Changes by an admin have their own interface, [`Accounts`].

mod accounts;

use std::any::Any;
use std::borrow::Cow;
use std::fmt;
use std::io;
use std::num::NonZeroU64;
use std::sync::Arc;

use parking_lot::{Mutex, MutexGuard};
use zeroize::Zeroizing;

pub use self::accounts::{
    Account, Accounts, Amend, Amendment, Further, Held, Location, Look, NewToken, OtherUser,
    Refused, Taken, Unfit, Whom,
};
use crate::UnixTime;
use crate::policy::{Allow, Limits};
use crate::throttle::Bytes;
use crate::token::{Computer, Entry, Session, State};

/// What a store finds under a name.
#[derive(Debug, Default)]
pub struct Found {
    /// The user's tokens.
    pub entry: Entry,
    /// What the store has under the name but can't read.
    pub unreadable: Vec<Unreadable>,
    /// Limits of the store on every policy.
    pub limits: Limits,
    /// What the store lets people in by besides codes.
    pub allow: Arc<Allow>,
    /// What a gate keeps with exactly these tokens.
    pub memory: Memory,
}

impl Found {
    /// Whether a user has the name.
    pub fn is_listed(&self) -> bool {
        !self.entry.lines.is_empty() || self.entry.unreadable || self.entry.too_many_lines
    }
}

/// Something about a user that can't be read.
#[derive(Clone, Debug)]
pub struct Unreadable {
    /// Where it is, for an admin.
    pub place: String,
    /// Why; never contains PIN or key.
    pub reason: String,
}

/// A slot for the gate's own use, dropped along with what was found.
#[derive(Default)]
pub struct Memory(Mutex<Option<Box<dyn Any + Send>>>);

impl Memory {
    /// Its content. `None`: another thread is using it.
    pub fn try_lock(&self) -> Option<MutexGuard<'_, Option<Box<dyn Any + Send>>>> {
        self.0.try_lock()
    }
}

impl fmt::Debug for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Memory")
    }
}

/// A turn of a server's event loop, by number. Data found to be up to date in a turn isn't checked
/// again for other requests of the same turn. `None`: always check.
pub type LoopTurn = Option<NonZeroU64>;

/// How many users one step may change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// Any number, all or none of them: a gate decides waiting logins together.
    AllUsers,
    /// One: each login is its own step.
    OneUser,
}

/// Where tokens are kept.
pub trait Store: Send + Sync {
    /// Its name in logs.
    fn name(&self) -> String;

    /// Reads a user without waiting for writers. A state that may be half-written isn't
    /// `intact`.
    fn find(&self, user: &[u8]) -> Result<Arc<Found>, StoreError>;

    /// The same if it is possible at once: from memory, or by reading only the user's tokens. Never
    /// waits for another thread. `None`: it isn't possible.
    fn find_now(&self, user: &[u8], turn: LoopTurn) -> Option<Arc<Found>>;

    /// How many users a step of [`Store::update`] may change.
    fn reach(&self) -> Reach;

    /// Runs `step`, then makes what it saved durable, all or nothing. On `Err` nothing may be
    /// granted.
    ///
    /// The changes rest on what the step found: if that has changed by the time of saving, nothing
    /// is saved, and the step runs again from the start. Only the last run counts.
    ///
    /// It ends within seconds, if need be with an error: a thread of the server waits for it.
    fn update(
        &self,
        step: &mut dyn FnMut(&mut dyn Transaction) -> Result<(), StoreError>,
    ) -> Result<(), StoreError>;

    /// Lends the bytes in which tries are counted, to `work` exclusively among all users of the
    /// store. One login may call it several times, but never within [`Store::update`].
    fn tries(
        &self,
        work: &mut dyn FnMut(&mut dyn Bytes) -> io::Result<()>,
    ) -> Result<(), TriesError>;

    /// The secret that cookies of the store's users are made with; made if there is none yet. Who has
    /// copied the tokens alone doesn't have it.
    fn secret(&self) -> Result<Arc<CookieSecret>, StoreError> {
        let (why, remedy) = ("this kind of storage has no secret", "use a users file");
        Err(StoreError::new("make cookies with", self.name(), why, remedy))
    }

    /// The same if it is at hand.
    fn secret_now(&self) -> Option<Arc<CookieSecret>> {
        None
    }

    /// New messages about the store for an admin, in whole sentences. Called after decisions
    /// that took more than memory.
    fn notices(&self) -> Vec<String> {
        Vec::new()
    }
}

/// A running step of [`Store::update`].
pub trait Transaction {
    /// Reads a user as last saved, in this step or before. Never half-written.
    fn find(&mut self, user: &[u8]) -> Result<Found, StoreError>;

    /// Sets the new state of a token that [`Transaction::find`] found for the user in this run, by
    /// its index in the entry.
    fn save(&mut self, user: &[u8], line: usize, state: State);

    /// Notes when one of the user's apps came in, by its index among those that
    /// [`Transaction::find`] found. A crash may lose it.
    fn note_use(&mut self, user: &[u8], app: usize, at: UnixTime);

    /// Says that a PIN alone isn't enough for the user before the next fresh code
    /// ([`crate::token::Always::until_code`]), or takes it back.
    fn close_pin(&mut self, user: &[u8], is_closed: bool);

    /// Keeps a session of the user: in the place of the one with its id, or as another one; then
    /// those that began first go until no more than `max` are left.
    fn save_session(&mut self, user: &[u8], session: Session, max: u8);

    /// Ends sessions of the user: those of which `is_to_end` says so.
    fn end_sessions(&mut self, user: &[u8], is_to_end: &dyn Fn(&Session) -> bool);

    /// Keeps a computer of the user: in the place of the one with its id, or as another one; then
    /// those that were trusted first go until no more than [`crate::token::COMPUTERS_MAX`] are left.
    fn save_computer(&mut self, user: &[u8], computer: Computer);

    /// Ends computers of the user: those of which `is_to_end` says so.
    fn end_computers(&mut self, user: &[u8], is_to_end: &dyn Fn(&Computer) -> bool);
}

/// Random bytes that only servers and admins of a store have.
pub struct CookieSecret(pub Zeroizing<[u8; 32]>);

impl fmt::Debug for CookieSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CookieSecret")
    }
}

/// Why a store failed, in words that an admin can act on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreError {
    /// "open", "lock", "write", …
    pub operation: &'static str,
    /// What the operation was on.
    pub place: String,
    /// Why it failed.
    pub cause: String,
    /// What an admin can do about it.
    pub remedy: Cow<'static, str>,
    /// This user lacks rights that another may have.
    pub is_for_want_of_rights: bool,
}

impl StoreError {
    /// Nobody has the rights, or it isn't about rights.
    pub fn new(
        operation: &'static str,
        place: String,
        cause: &str,
        remedy: impl Into<Cow<'static, str>>,
    ) -> StoreError {
        StoreError {
            operation,
            place,
            cause: cause.to_owned(),
            remedy: remedy.into(),
            is_for_want_of_rights: false,
        }
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot {} {}: {}; {}", self.operation, self.place, self.cause, self.remedy)
    }
}

impl std::error::Error for StoreError {}

/// Why tries can't be counted in the store.
#[derive(Debug)]
pub enum TriesError {
    /// This process can't use the store's counts.
    Unusable(StoreError),
    /// Another process is holding the counts: they apply, but aren't available now.
    Held(StoreError),
}

impl From<TriesError> for StoreError {
    fn from(error: TriesError) -> StoreError {
        match error {
            TriesError::Unusable(error) | TriesError::Held(error) => error,
        }
    }
}
