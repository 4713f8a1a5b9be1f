//! The seam: what a [gate](crate::gate) asks of the place where tokens are kept.
//!
//! A store finds a user, and changes one or several users in one durable step. The users file
//! ([`crate::users`]) is one; nothing here knows of lines, paths, checksums or locks, so that another can
//! be a database. What an admin changes is an interface of its own, [`Accounts`].

mod accounts;

use std::any::Any;
use std::borrow::Cow;
use std::fmt;
use std::io;
use std::num::NonZeroU64;
use std::sync::Arc;

use parking_lot::{Mutex, MutexGuard};

pub use self::accounts::{
    Account, Accounts, Amend, Amendment, Further, Held, Location, NewToken, OtherUser, Refused, Taken, Unfit,
    Whom,
};
use crate::policy::Limits;
use crate::throttle::Bytes;
use crate::token::{Entry, State};

/// What a store finds under a name.
#[derive(Debug, Default)]
pub struct Found {
    /// The user's tokens.
    pub entry: Entry,
    /// What the store has under the name and can't read.
    pub unreadable: Vec<Unreadable>,
    /// What the store demands of every policy.
    pub limits: Limits,
    /// What a gate keeps with these very tokens.
    pub memory: Memory,
}

impl Found {
    /// Whether it is somebody's name.
    pub fn is_listed(&self) -> bool {
        !self.entry.lines.is_empty() || self.entry.unreadable || self.entry.too_many_lines
    }
}

/// Something about a user that can't be read.
#[derive(Clone, Debug)]
pub struct Unreadable {
    /// Where it is, for an admin.
    pub place: String,
    /// Why; says nothing of PIN and key.
    pub reason: String,
}

/// A place for whoever decides on what was found; it goes when that goes.
#[derive(Default)]
pub struct Memory(Mutex<Option<Box<dyn Any + Send>>>);

impl Memory {
    /// What is kept there. `None`: somebody else is just using it.
    pub fn try_lock(&self) -> Option<MutexGuard<'_, Option<Box<dyn Any + Send>>>> {
        self.0.try_lock()
    }
}

impl fmt::Debug for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Memory")
    }
}

/// A turn of a server's event loop, by number. What was found to be up to date in a turn needn't be looked
/// at again for other requests of the same turn. `None`: always look.
pub type LoopTurn = Option<NonZeroU64>;

/// How many users one step may change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// Any number, all or none of them: a gate decides those who wait together.
    AllUsers,
    /// One: each login is a step of its own.
    OneUser,
}

/// Where tokens are kept.
pub trait Store: Send + Sync {
    /// What it is called in logs.
    fn name(&self) -> String;

    /// Reads a user without waiting for those who change something. A state that may be half-written isn't
    /// `intact`.
    fn find(&self, user: &[u8]) -> Result<Arc<Found>, StoreError>;

    /// The same if it can be had at once: from memory, or by reading no more than the user's tokens. Never
    /// waits for another thread. `None`: it can't.
    fn find_now(&self, user: &[u8], turn: LoopTurn) -> Option<Arc<Found>>;

    /// How many users a step of [`Store::update`] may change.
    fn reach(&self) -> Reach;

    /// Runs `step`, then makes what it saved durable, all or nothing. On `Err` nothing may be granted.
    ///
    /// What the step finds is what the changes rest on: if it isn't so any more when they are to be saved,
    /// they aren't, and the step runs again from its beginning. The last run alone counts.
    ///
    /// It ends within seconds, if need be with an error: a thread of the server waits for it.
    fn update(
        &self,
        step: &mut dyn FnMut(&mut dyn Transaction) -> Result<(), StoreError>,
    ) -> Result<(), StoreError>;

    /// Lends the bytes in which tries are counted, to `work` alone among all who use the store. It may be
    /// called several times by one login, never within [`Store::update`].
    fn tries(&self, work: &mut dyn FnMut(&mut dyn Bytes) -> io::Result<()>) -> Result<(), TriesError>;

    /// What an admin should know of the store and wasn't told yet, in whole sentences. Asked after decisions
    /// that took more than memory.
    fn notices(&self) -> Vec<String> {
        Vec::new()
    }
}

/// A step of [`Store::update`] while it runs.
pub trait Transaction {
    /// Reads a user as saved last, in this step or before. Nothing of it is half-written.
    fn find(&mut self, user: &[u8]) -> Result<Found, StoreError>;

    /// Notes the new state of one of the tokens that [`Transaction::find`] has found in this run for the
    /// user, by its place in the entry.
    fn save(&mut self, user: &[u8], line: usize, state: State);
}

/// What has kept a store from doing what it was asked for, told so that an admin can act on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreError {
    /// "open", "lock", "write", …
    pub operation: &'static str,
    /// What it was to be done with.
    pub place: String,
    /// Why it couldn't be.
    pub cause: String,
    /// What an admin can do about it.
    pub remedy: Cow<'static, str>,
    /// It is this user that may not, where another may.
    pub is_for_want_of_rights: bool,
}

impl StoreError {
    /// Nobody may, or it isn't about rights.
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
    /// What is counted there can't be had by this process.
    Unusable(StoreError),
    /// Somebody is at it: what is counted there counts, but isn't to be had now.
    Held(StoreError),
}

impl From<TriesError> for StoreError {
    fn from(error: TriesError) -> StoreError {
        match error {
            TriesError::Unusable(error) | TriesError::Held(error) => error,
        }
    }
}
