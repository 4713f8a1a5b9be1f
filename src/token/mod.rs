//! A user's token: what it is (fixed) and how far it has come (state). Pure.
//!
//! [`position`] has all arithmetic between a state and counters or time steps.

mod codes;
mod computer;
pub mod position;
mod session;
mod state;
mod ways;

use std::num::{NonZeroU16, NonZeroU32};

pub use self::codes::Codes;
pub use self::computer::{COMPUTERS_MAX, Computer, ComputerId};
pub use self::position::{ClockOffset, Counter, CounterField, Reading, ReplayFloor, TimeStep};
pub use self::session::{Kept, Session, SessionId, SessionKind, TokenTag, displaced};
pub use self::state::{Address, State, Used};
pub use self::ways::{
    APP_RANDOM, Always, AppDigest, AppPassword, SALT_LEN, WAYS_MAX, Ways, app_password,
    is_app_password,
};
use crate::otp::{self, Code, Digits};
use crate::pin::HashedPin;
use crate::secret::Secret;

/// How a code is computed from key and counter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Algorithm {
    /// RFC 4226 and RFC 6238.
    Hotp(otp::Hash),
    /// Mobile-OTP; the PIN goes into the code.
    Motp,
}

/// What moves a token on (RFC 4226 calls it the moving factor).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MovingFactor {
    /// A counter that the token's button moves.
    Event,
    /// Time, in steps of this many seconds.
    Time(NonZeroU32),
    /// A counter again, of a printed list of this many codes, at most [`PRINTED_MAX`]: there is
    /// none after the last.
    Paper(NonZeroU16),
}

/// The most codes of a printed list.
pub const PRINTED_MAX: u16 = 1000;

/// Code number `number` of the `printed` ones of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PaperCode {
    /// From 1.
    pub number: u16,
    /// How many there are.
    pub printed: u16,
}

impl PaperCode {
    /// How many are good after it.
    pub fn left(self) -> u16 {
        self.printed.saturating_sub(self.number)
    }
}

/// The PIN field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pin {
    /// `-`: the code alone.
    None,
    /// Compared byte for byte; for Mobile-OTP, hashed into the code.
    Literal(Secret),
    /// A slow hash of the PIN.
    Hashed(HashedPin),
    /// `+`: asked of the server's PIN provider.
    External,
}

impl Pin {
    /// The PIN field as it is written.
    pub fn field(&self) -> &[u8] {
        match self {
            Pin::None => b"-",
            Pin::Literal(pin) => pin.expose(),
            Pin::Hashed(hash) => hash.text(),
            Pin::External => b"+",
        }
    }
}

/// Fields 1 to 4 of a record: what never changes in a login.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    /// How codes are made.
    pub algorithm: Algorithm,
    /// What counts them.
    pub factor: MovingFactor,
    /// How long they are.
    pub digits: Digits,
    /// `OFF:` stands before the type.
    pub disabled: bool,
    /// What has to stand before the code.
    pub pin: Pin,
    /// The shared secret, 1 to 256 bytes.
    pub key: Secret,
    /// Tells this version of fields 1 to 4 from any other: an edit changes it.
    pub fingerprint: Fingerprint,
}

/// A hash of fields 1 to 4 as written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Fingerprint(pub [u8; 16]);

impl Token {
    /// The decimal (Mobile-OTP: hexadecimal) code of a counter or time step.
    pub fn code(&self, position: u64) -> Code {
        self.codes().of(position).0
    }

    /// The PIN and the code of a password: its last characters are the code, in lower case, what
    /// stands before is the PIN. The code may be in two groups ([`Code::in_groups`]): no code has a
    /// blank in it, so a password is never both. `None`: it is too short.
    pub fn split<'p>(&self, password: &'p [u8]) -> Option<(&'p [u8], Code)> {
        let pin_len = password.len().checked_sub(self.digits.count())?;
        let grouped = pin_len.checked_sub(1).map(|pin_len| password.split_at(pin_len));
        let (pin, code) = match grouped.and_then(|(pin, code)| Some((pin, Code::in_groups(code)?)))
        {
            Some(split) => split,
            None => {
                let (pin, code) = password.split_at(pin_len);
                (pin, Code::new(code)?)
            }
        };
        Some((pin, code.into_lower_case()))
    }

    /// Two lines of one user with this in common are one token: they accept the same codes. A
    /// counter and a time step of one key have no order between them, so event and time lines, or
    /// other periods, are apart.
    pub fn is_same_device(&self, other: &Token) -> bool {
        self.device() == other.device()
    }

    /// Whether there is a PIN that can be told right or wrong without a code.
    pub fn has_pin_by_itself(&self) -> bool {
        match (self.algorithm, &self.pin) {
            (_, Pin::None) | (Algorithm::Motp, Pin::Hashed(_) | Pin::External) => false,
            (_, Pin::Literal(_) | Pin::Hashed(_) | Pin::External) => true,
        }
    }

    /// What [`Token::is_same_device`] goes by. The codes of a printed list are those of its counters,
    /// wherever it ends.
    pub fn device(&self) -> (Algorithm, MovingFactor, &[u8]) {
        let factor = match self.factor {
            MovingFactor::Paper(_) => MovingFactor::Event,
            factor => factor,
        };
        (self.algorithm, factor, self.key.expose())
    }

    fn motp_pin(&self) -> &[u8] {
        match &self.pin {
            Pin::Literal(pin) => pin.expose(),
            Pin::None | Pin::Hashed(_) | Pin::External => b"",
        }
    }
}

/// A token as a store has it.
#[derive(Clone, Debug)]
pub struct StoredToken {
    /// What it is.
    pub token: Token,
    /// How far it has come.
    pub state: State,
}

/// How many lengths the codes of a user's tokens should have at most: each is another place where a
/// password may be parted into PIN and code, and another PIN to be checked.
pub const CODE_LENGTHS_MAX: usize = 2;

/// The lengths of the codes of some tokens, each once, in ascending order.
pub fn code_lengths<'a>(tokens: impl IntoIterator<Item = &'a Token>) -> Vec<usize> {
    let mut lengths: Vec<usize> = tokens.into_iter().map(|token| token.digits.count()).collect();
    lengths.sort_unstable();
    lengths.dedup();
    lengths
}

/// More lines of one user, or of names that differ only in case or blanks, than anybody has tokens.
pub const LINES_MAX: usize = 100;

/// All that a store holds under one user name.
#[derive(Clone, Debug, Default)]
pub struct Entry {
    /// The user's lines that can be read, in file order.
    pub lines: Vec<StoredToken>,
    /// Whether another line names the user but can't be read.
    pub unreadable: bool,
    /// There are more than [`LINES_MAX`] lines; none of them was read.
    pub too_many_lines: bool,
    /// No line has this name, but one has a twin of it ([`crate::users::name`]), and the store
    /// doesn't say that they are two people's.
    pub is_twin: bool,
    /// What there is besides the lines; nothing if there are no lines.
    pub ways: Ways,
}
