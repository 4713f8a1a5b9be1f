//! How far a token has come: what logins change.

use std::net::IpAddr;

use super::{CounterField, ReplayFloor};
use crate::UnixTime;
use crate::otp::Code;

/// When the last accepted code was used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Used {
    /// Never, or nobody knows when.
    Never,
    /// Its use has ended for good: the user asked for that, or an admin has moved the token on.
    /// Decides nothing that [`Used::Never`] wouldn't.
    Ended {
        /// When the token last logged somebody in, for whoever asks.
        last_login: UnixTime,
    },
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
    /// First and last use of a code that may linger, as seen at `now`: an ambiguous local time is the
    /// latest instant not after it.
    pub fn as_of(self, now: UnixTime) -> Option<(UnixTime, UnixTime)> {
        match self {
            Used::Never | Used::Ended { .. } => None,
            Used::At { first, last } => Some((first, last)),
            Used::Local { earliest, latest } => {
                let instant = if latest <= now { latest } else { earliest };
                Some((instant, instant))
            }
        }
    }

    /// When the token last logged somebody in, as far as that is known.
    pub fn last_login(self, now: UnixTime) -> Option<UnixTime> {
        match self {
            Used::Ended { last_login } => Some(last_login),
            _ => self.as_of(now).map(|(_, last)| last),
        }
    }

    /// What is left of it when the code must not be used again.
    pub fn ended(self, now: UnixTime) -> Used {
        self.last_login(now).map_or(Used::Never, |last_login| Used::Ended { last_login })
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
    /// Field 5: an event token's next expected counter, a time token's clock offset.
    pub counter: CounterField,
    /// Consecutive wrong codes.
    pub failures: u32,
    /// The last accepted code.
    pub last_otp: Option<Code>,
    /// When it was used.
    pub used: Used,
    /// From where it was used.
    pub address: Address,
    /// The last accepted counter, or when the last accepted time step began.
    pub replay_floor: Option<ReplayFloor>,
    /// When the last wrong code was counted.
    pub last_failure: Option<UnixTime>,
    /// Whether the `ext` word was there with the right checksum: `replay_floor`, `last_failure` and
    /// `used` are then exact.
    pub intact: bool,
}

impl State {
    /// A token nobody has used.
    pub fn fresh() -> State {
        State {
            counter: CounterField::default(),
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
