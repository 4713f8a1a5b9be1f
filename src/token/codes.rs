//! The codes that a token shows.

use subtle::Choice;

use super::{Algorithm, Token};
use crate::otp::{self, Code, Digits};

/// A token's codes, with the work done that is the same for all of them.
pub struct Codes {
    source: Source,
    digits: Digits,
}

#[allow(clippy::large_enum_variant)] // the large one is the usual one
enum Source {
    Hotp(otp::Keyed),
    Motp(otp::KeyedMotp),
}

impl Token {
    /// For the codes of many counters or time steps.
    pub fn codes(&self) -> Codes {
        Codes {
            source: match self.algorithm {
                Algorithm::Hotp(hash) => Source::Hotp(otp::Keyed::new(hash, self.key.expose())),
                Algorithm::Motp => {
                    Source::Motp(otp::KeyedMotp::new(self.key.expose(), self.motp_pin()))
                }
            },
            digits: self.digits,
        }
    }
}

impl Codes {
    /// Decimal and hexadecimal code of a counter or time step. The second is `None` for Mobile-OTP,
    /// whose one form is hexadecimal.
    pub fn of(&self, position: u64) -> (Code, Option<Code>) {
        match &self.source {
            Source::Hotp(keyed) => {
                let number = keyed.truncated_hmac(position);
                (otp::decimal(number, self.digits), Some(otp::hexadecimal(number, self.digits)))
            }
            Source::Motp(keyed) => (keyed.code(position, self.digits), None),
        }
    }

    /// A code in lower case, ready to be compared with many.
    pub(crate) fn typed<'a>(&'a self, code: &'a Code) -> TypedCode<'a> {
        match &self.source {
            Source::Hotp(keyed) => TypedCode::Hotp(keyed, otp::Typed::new(code, self.digits)),
            Source::Motp(keyed) => TypedCode::Motp(keyed, self.digits, code),
        }
    }
}

/// A code held against those of a token.
pub(crate) enum TypedCode<'a> {
    Hotp(&'a otp::Keyed, otp::Typed),
    Motp(&'a otp::KeyedMotp, Digits, &'a Code),
}

impl TypedCode<'_> {
    /// Whether it is the first and whether it is the second of [`Codes::of`] that counter or time
    /// step.
    pub(crate) fn is_of(&self, position: u64) -> (Choice, Choice) {
        match self {
            TypedCode::Hotp(keyed, typed) => typed.is_of(keyed.truncated_hmac(position)),
            TypedCode::Motp(keyed, digits, code) => {
                (keyed.code(position, *digits).is(code), Choice::from(0))
            }
        }
    }
}
