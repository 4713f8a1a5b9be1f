//! What an admin changes in a store: who is listed, and fields that no login touches.

use super::StoreError;
use crate::otp::Digits;
use crate::secret::Secret;
use crate::token::{Algorithm, Fingerprint, Line, MovingFactor, State};

/// What a store holds under a name, as an admin meets it.
#[derive(Debug)]
pub struct Account<'a> {
    /// The name.
    pub user: &'a [u8],
    /// What is there, in the store's order; empty: nobody has that name.
    pub held: &'a [Held],
    /// What is kept about the name besides, in words, and where: of somebody listed, or of an earlier user of
    /// that name.
    pub further: &'a [(String, String)],
    /// Of a name that nobody has: one that is listed and that others may take for it
    /// ([`crate::users::name`]).
    pub twin: Option<&'a [u8]>,
}

/// One token under a name, or something there that can't be read.
#[derive(Clone, Debug)]
pub struct Held {
    /// Where it is, for an admin: "line 7".
    pub place: String,
    /// What it is, or why that can't be read; says nothing of PIN and key.
    pub token: Result<Line, String>,
    /// Tells this version of it from others. `None`: too little is there.
    pub fingerprint: Option<Fingerprint>,
}

/// A token that is new.
#[derive(Clone, Debug)]
pub struct NewToken {
    /// How its codes are made.
    pub algorithm: Algorithm,
    /// What counts them.
    pub factor: MovingFactor,
    /// How long they are.
    pub digits: Digits,
    /// What stands for its PIN: the PIN, a hash of it, `-` or `+`.
    pub pin: Secret,
    /// The shared secret, 1 to 256 bytes.
    pub key: Secret,
    /// How far it has come.
    pub state: State,
}

/// One change of an account. Numbers are places in [`Account::held`].
#[derive(Clone, Debug)]
pub enum Amendment {
    /// It goes. With the last one goes what is kept about the name besides.
    Remove(usize),
    /// It is switched off (`true`) or on.
    Disable(usize, bool),
    /// Another PIN, as in [`NewToken::pin`].
    SetPin(usize, Secret),
    /// Another key; its counter begins anew.
    SetKey(usize, Secret),
    /// Another state.
    SetState(usize, State),
    /// All of it gets another name, which nobody has.
    Rename(Vec<u8>),
    /// One more token.
    Add(NewToken),
    /// What is kept about the name besides goes.
    Purge,
}

/// Why an account isn't amended. Nothing was changed.
#[derive(Clone, Debug)]
pub enum Refused {
    /// By the store.
    Store(StoreError),
    /// What is there can't be read, or couldn't afterwards.
    Unfit {
        /// Where it is.
        place: String,
        /// Why.
        reason: String,
    },
    /// Another name is taken or may be taken for somebody's.
    Taken(Taken),
}

/// What keeps a name from being given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Taken {
    /// Somebody has it.
    Listed,
    /// It is another spelling of this one.
    TwinOf(Vec<u8>),
    /// Something is kept there about an earlier user of that name.
    LeftOver(String),
}

/// Whose accounts are amended.
#[derive(Clone, Copy, Debug)]
pub enum Whom<'a> {
    /// Theirs, and all of them have to be listed or new.
    Users(&'a [&'a [u8]]),
    /// Those of everybody who is listed.
    Everybody,
}

/// A store as an admin meets it.
pub trait Accounts {
    /// Looks at one account as it is at one moment, listed or not.
    fn look(&self, user: &[u8], look: &mut dyn FnMut(&Account<'_>)) -> Result<(), StoreError>;

    /// The same for everybody who is listed, in the store's order.
    fn look_at_all(&self, look: &mut dyn FnMut(&Account<'_>)) -> Result<(), StoreError>;

    /// Somebody else who has this key, and where.
    fn other_holder_of(&self, key: &Secret, user: &[u8]) -> Result<Option<(Vec<u8>, String)>, StoreError>;

    /// Asks `amend` for each account what is to become of it, and makes that durable: all of it or nothing, as far as
    /// one step of the store reaches ([`super::Store::reach`]). It is asked again if the account changes meanwhile; the
    /// last answer counts. Without amendments nothing is written.
    fn amend(
        &self,
        whom: Whom<'_>,
        amend: &mut dyn FnMut(&Account<'_>) -> Vec<Amendment>,
    ) -> Result<(), Refused>;
}

impl From<StoreError> for Refused {
    fn from(error: StoreError) -> Refused {
        Refused::Store(error)
    }
}
