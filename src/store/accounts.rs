//! Changes an admin makes in a store: who is listed, and fields that no login touches.

use std::fmt;
use std::net::IpAddr;
use std::ops::ControlFlow;

use jiff::civil::Date;

use super::StoreError;
use crate::UnixTime;
use crate::network::Network;
use crate::otp::Digits;
use crate::policy::Limits;
use crate::secret::Secret;
use crate::token::{
    Algorithm, Always, AppPassword, Fingerprint, MovingFactor, State, StoredToken, Token, Ways,
};

/// Where something is in a store, for an admin: "line 7". In the order of the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Location {
    /// What the store numbers, in one word that can be the name of a JSON object's member.
    pub kind: &'static str,
    /// Which of them.
    pub number: u64,
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind, self.number)
    }
}

/// What a store has under a name, as an admin sees it.
#[derive(Clone, Copy, Debug)]
pub struct Account<'a> {
    /// The name.
    pub user: &'a [u8],
    /// Its tokens, in the store's order; empty: nobody has that name.
    pub held: &'a [Held],
    /// What else is kept about the name: of a listed user, or of an earlier user of that name.
    pub further: &'a [Further],
    /// Since which day the user has had a PIN that was made for them and is waiting to be changed.
    pub start_pin: Option<Date>,
    /// Further ways in, as far as they can be read.
    pub ways: &'a Ways,
    /// For a name that nobody has: a listed one that others may confuse with it
    /// ([`crate::users::name`]).
    pub twin: Option<&'a OtherUser>,
}

/// One token under a name, or something there that can't be read.
#[derive(Clone, Debug)]
pub struct Held {
    /// Where it is.
    pub place: Location,
    /// What it is, or why it can't be read; never contains PIN or key.
    pub token: Result<StoredToken, String>,
    /// Of what can't be read for its key alone: what it would be with another, which is in here.
    pub but_for_key: Option<Token>,
    /// Identifies this version of it. `None`: too little is there.
    pub fingerprint: Option<Fingerprint>,
}

/// Something that is kept about a name besides tokens.
#[derive(Clone, Debug)]
pub struct Further {
    /// What it is, in words.
    pub title: String,
    /// Where it is.
    pub place: Location,
}

/// Somebody else who is listed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OtherUser {
    /// Their name.
    pub user: Vec<u8>,
    /// Where the matching token is.
    pub place: Location,
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
    /// A new PIN, as in [`NewToken::pin`].
    SetPin(usize, Secret),
    /// A new key; the counter is reset.
    SetKey(usize, Secret),
    /// A new state.
    SetState(usize, State),
    /// Another token in its place, switched on.
    Replace(usize, NewToken),
    /// The whole account gets another name, which nobody has.
    Rename(Vec<u8>),
    /// One more token.
    Add(NewToken),
    /// From this day on the user has a PIN that was made for them; `None`: no longer.
    StartPin(Option<Date>),
    /// One more password of a program, whose name none of the others has.
    AddApp(AppPassword),
    /// A password of a program goes, by its number among [`Account::ways`].
    RevokeApp(usize),
    /// From these networks, and no others, the user's own PIN is enough.
    Trust(Vec<Network>),
    /// What is closed for the user.
    Always(Always),
    /// What else is kept about the name goes.
    Purge,
}

/// Something that can't be used, or couldn't after a change.
#[derive(Clone, Debug)]
pub struct Unfit {
    /// Where it is.
    pub place: Location,
    /// Why; never contains PIN or key.
    pub reason: String,
}

/// Why an account wasn't changed. Nothing was changed.
#[derive(Clone, Debug)]
pub enum Refused {
    /// By the store.
    Store(StoreError),
    /// Something there can't be read, or couldn't be afterwards.
    Unfit(Unfit),
    /// The new name is taken or could be confused with a listed one.
    Taken(Taken),
    /// By the `amend` callback.
    Withdrawn,
}

/// Why a name can't be given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Taken {
    /// Somebody has it.
    Listed,
    /// It is another spelling of this one.
    TwinOf(Vec<u8>),
    /// Something is kept there about an earlier user of that name.
    LeftOver(Location),
}

/// Whose accounts to change.
#[derive(Clone, Copy, Debug)]
pub enum Whom<'a> {
    /// Those of these names, listed or not, each once.
    Users(&'a [&'a [u8]]),
    /// Those of all listed users.
    Everybody,
}

/// Looks at an account, and says whether to go on.
pub type Look<'a> = dyn FnMut(&Account<'_>) -> ControlFlow<()> + 'a;

/// Decides what becomes of an account. `None`: cancels the whole step.
pub type Amend<'a> = dyn FnMut(&Account<'_>) -> Option<Vec<Amendment>> + 'a;

/// A store as an admin sees it.
pub trait Accounts {
    /// The store's limits on every policy; else the reason they can't be used.
    fn limits(&self) -> Result<Result<Limits, Unfit>, StoreError>;

    /// Looks at accounts: of everybody in the store's order, of some in the order given, each once.
    /// One at a time, so that nobody has to hold them all, until `look` has seen enough. Each token
    /// is as it is at one moment; nobody has to wait until all were looked at.
    fn look(&self, whom: Whom<'_>, look: &mut Look<'_>) -> Result<(), StoreError>;

    /// Another user who has this key.
    fn other_holder_of(&self, key: &Secret, user: &[u8]) -> Result<Option<OtherUser>, StoreError>;

    /// Asks `amend` what becomes of each account, and makes that durable: all or nothing, as far as
    /// one step of the store reaches ([`super::Store::reach`]). Without amendments nothing is
    /// written.
    ///
    /// If an account changes meanwhile, `amend` is asked about it again before it is asked about
    /// another one; the last answer counts.
    fn amend(&self, whom: Whom<'_>, amend: &mut Amend<'_>) -> Result<(), Refused>;

    /// Forgets wrong tries for a listed user: everybody has all their tries again. `logins` says
    /// from where and when they last logged in, for each of their tokens. Returns how many wrong
    /// Digest responses were forgotten.
    fn forget_tries(
        &self,
        user: &[u8],
        logins: &[(IpAddr, UnixTime)],
        now: UnixTime,
    ) -> Result<u32, StoreError>;
}

impl From<StoreError> for Refused {
    fn from(error: StoreError) -> Refused {
        Refused::Store(error)
    }
}
