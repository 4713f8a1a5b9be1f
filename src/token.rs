//! A user's token: what it is (fixed) and how far it has come (state). Pure.

use std::net::IpAddr;
use std::num::NonZeroU32;

use subtle::Choice;

use crate::UnixTime;
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
    /// The decimal (Mobile-OTP: hexadecimal) code of a counter value or time step.
    pub fn code(&self, counter: u64) -> Code {
        self.codes().of(counter).0
    }

    /// For the codes of many counter values or time steps.
    pub fn codes(&self) -> Codes {
        Codes {
            keyed: match self.algorithm {
                Algorithm::Hotp(hash) => Keyed::Hotp(otp::Keyed::new(hash, self.key.expose())),
                Algorithm::Motp => Keyed::Motp(otp::KeyedMotp::new(self.key.expose(), self.motp_pin())),
            },
            digits: self.digits,
        }
    }

    /// Two lines of one user with this in common are one token: they accept the same codes. A counter and a time
    /// step of one key have no order between them, so event and time lines, or other periods, are apart.
    pub fn is_same_device(&self, other: &Token) -> bool {
        self.device() == other.device()
    }

    /// What [`Token::is_same_device`] goes by.
    pub(crate) fn device(&self) -> (Algorithm, MovingFactor, &[u8]) {
        (self.algorithm, self.factor, self.key.expose())
    }

    fn motp_pin(&self) -> &[u8] {
        match &self.pin {
            Pin::Literal(pin) => pin.expose(),
            Pin::None | Pin::Hashed(_) | Pin::External => b"",
        }
    }
}

/// A token's codes, with the work done that is the same for all of them.
pub struct Codes {
    keyed: Keyed,
    digits: Digits,
}

#[allow(clippy::large_enum_variant)] // the large one is the usual one
enum Keyed {
    Hotp(otp::Keyed),
    Motp(otp::KeyedMotp),
}

impl Codes {
    /// Decimal and hexadecimal code of a counter value or time step. The second is `None` for Mobile-OTP,
    /// whose one form is hexadecimal.
    pub fn of(&self, counter: u64) -> (Code, Option<Code>) {
        match &self.keyed {
            Keyed::Hotp(keyed) => {
                let number = keyed.truncated_hmac(counter);
                (otp::decimal(number, self.digits), Some(otp::hexadecimal(number, self.digits)))
            }
            Keyed::Motp(keyed) => (keyed.code(counter, self.digits), None),
        }
    }

    /// A code in lower case, ready to be compared with many.
    pub(crate) fn typed<'a>(&'a self, code: &'a Code) -> TypedCode<'a> {
        match &self.keyed {
            Keyed::Hotp(keyed) => TypedCode::Hotp(keyed, otp::Typed::new(code, self.digits)),
            Keyed::Motp(keyed) => TypedCode::Motp(keyed, self.digits, code),
        }
    }
}

/// A code held against those of a token.
pub(crate) enum TypedCode<'a> {
    Hotp(&'a otp::Keyed, otp::Typed),
    Motp(&'a otp::KeyedMotp, Digits, &'a Code),
}

impl TypedCode<'_> {
    /// Whether it is the first and whether it is the second of [`Codes::of`] that counter value or time step.
    pub(crate) fn is_of(&self, counter: u64) -> (Choice, Choice) {
        match self {
            TypedCode::Hotp(keyed, typed) => typed.is_of(keyed.truncated_hmac(counter)),
            TypedCode::Motp(keyed, digits, code) => (keyed.code(counter, *digits).is(code), Choice::from(0)),
        }
    }
}

/// When the last accepted code was used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Used {
    /// Never, or the user asked for it to be forgotten.
    Never,
    /// First and last use.
    At {
        /// From here the linger time counts.
        first: UnixTime,
        /// From here the idle time counts.
        last: UnixTime,
    },
    /// Only a local time without zone is known. It names two instants where clocks were set back.
    Local {
        /// The earlier instant.
        earliest: UnixTime,
        /// The later instant; the same one nearly always.
        latest: UnixTime,
    },
}

impl Used {
    /// First and last use as seen at `now`: an ambiguous local time is the latest instant not after it.
    pub fn as_of(self, now: UnixTime) -> Option<(UnixTime, UnixTime)> {
        match self {
            Used::Never => None,
            Used::At { first, last } => Some((first, last)),
            Used::Local { earliest, latest } => {
                let instant = if latest <= now { latest } else { earliest };
                Some((instant, instant))
            }
        }
    }
}

/// The address field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// `-`, or the client had none.
    Unknown,
    /// An address; IPv4-mapped IPv6 is kept as IPv4.
    Ip(IpAddr),
    /// Something else that stands in the file; equal to no client.
    Other(Box<[u8]>),
}

impl Address {
    /// From what a server says of its client.
    pub fn of_client(ip: Option<IpAddr>) -> Address {
        ip.map_or(Address::Unknown, |ip| Address::Ip(ip.to_canonical()))
    }

    /// Both known and equal.
    pub fn is_known_and_equals(&self, other: &Address) -> bool {
        matches!((self, other), (Address::Ip(a), Address::Ip(b)) if a == b)
    }
}

/// Fields 5 to 10 of a record: what logins change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    /// Event token: the next expected counter. Time token: the clock's offset in steps.
    pub counter: i64,
    /// Consecutive wrong codes.
    pub failures: u32,
    /// The last accepted code.
    pub last_otp: Option<Code>,
    /// When it was used.
    pub used: Used,
    /// From where it was used.
    pub address: Address,
    /// The last accepted counter, or the Unix second at which the last accepted step began.
    pub replay_floor: Option<i64>,
    /// When the last wrong code was counted.
    pub last_failure: Option<UnixTime>,
    /// Whether the `ext` word was there with the right checksum: `replay_floor`, `last_failure` and `used` are
    /// then exact.
    pub intact: bool,
}

impl State {
    /// A token nobody has used.
    pub fn fresh() -> State {
        State {
            counter: 0,
            failures: 0,
            last_otp: None,
            used: Used::Never,
            address: Address::Unknown,
            replay_floor: None,
            last_failure: None,
            intact: false,
        }
    }
}

/// One line of a user: a token and its state.
#[derive(Clone, Debug)]
pub struct Line {
    /// What it is.
    pub token: Token,
    /// How far it has come.
    pub state: State,
}

/// More lines of one user, or of names that differ only in case or blanks, than anybody has tokens.
pub const LINES_MAX: usize = 100;

/// All that a store holds under one user name.
#[derive(Clone, Debug, Default)]
pub struct Entry {
    /// The user's lines that can be read, in file order.
    pub lines: Vec<Line>,
    /// Whether another line names the user but can't be read.
    pub unreadable: bool,
    /// There are more than [`LINES_MAX`] lines; none of them was read.
    pub too_many_lines: bool,
    /// No line has this name, but one has a twin of it ([`crate::users::name`]), and the store doesn't say that they are two
    /// people's.
    pub is_twin: bool,
}
