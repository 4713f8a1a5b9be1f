//! What was typed where the PIN belongs.

use otpgate::token::{Algorithm, Pin, Token};

use super::Line;

/// How what was typed stands to a token's PIN.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TypedPin {
    Right,
    /// Somebody else checks it.
    Unchecked,
    Missing,
    Wrong,
    /// The token takes the code alone.
    NotExpected,
    /// It is that of another token of the user.
    OfToken(usize),
    OtherCase,
    Blank,
}

impl TypedPin {
    pub fn of(token: &Token, typed: &[u8], lines: &[Line]) -> TypedPin {
        let Some(is_right) = is_pin_of(token, typed) else {
            return if typed.is_empty() { TypedPin::Missing } else { TypedPin::Unchecked };
        };
        let is = |other: &[u8]| other != typed && is_pin_of(token, other) == Some(true);
        let swapped: Vec<u8> = typed.iter().map(swap_case).collect();
        // A slow hash each.
        if is_right {
            TypedPin::Right
        } else if typed.is_empty() {
            TypedPin::Missing
        } else if is(typed.trim_ascii()) {
            TypedPin::Blank
        } else if takes_code_alone(token) {
            TypedPin::NotExpected
        } else if is(&swapped) || is(&typed.to_ascii_lowercase()) {
            TypedPin::OtherCase
        } else {
            let other = lines.iter().find(|line| {
                let other = &line.stored.token;
                !takes_code_alone(other)
                    && other.pin != token.pin
                    && is_pin_of(other, typed) == Some(true)
            });
            other.map_or(TypedPin::Wrong, |line| TypedPin::OfToken(line.number))
        }
    }

    /// What is wrong with it, if anything.
    pub fn what(self) -> Option<String> {
        Some(match self {
            TypedPin::Right | TypedPin::Unchecked => return None,
            TypedPin::Missing => "PIN missing".to_owned(),
            TypedPin::Wrong => "wrong PIN".to_owned(),
            TypedPin::NotExpected => {
                "something before it, and the token takes the code alone".to_owned()
            }
            TypedPin::OfToken(number) => format!("the PIN of token {number}"),
            TypedPin::OtherCase => "PIN in the wrong case (caps lock?)".to_owned(),
            TypedPin::Blank => "a blank too many before it".to_owned(),
        })
    }

    pub fn word(self) -> &'static str {
        match self {
            TypedPin::Right => "right",
            TypedPin::Unchecked => "unchecked",
            TypedPin::Missing => "missing",
            TypedPin::Wrong => "wrong",
            TypedPin::NotExpected => "not-expected",
            TypedPin::OfToken(_) => "other-token",
            TypedPin::OtherCase => "other-case",
            TypedPin::Blank => "blank",
        }
    }
}

fn swap_case(byte: &u8) -> u8 {
    if byte.is_ascii_lowercase() { byte.to_ascii_uppercase() } else { byte.to_ascii_lowercase() }
}

pub fn takes_code_alone(token: &Token) -> bool {
    token.algorithm == Algorithm::Motp || token.pin == Pin::None
}

/// `None`: that isn't ours to say.
fn is_pin_of(token: &Token, typed: &[u8]) -> Option<bool> {
    match &token.pin {
        _ if takes_code_alone(token) => Some(typed.is_empty()),
        Pin::Literal(pin) => Some(pin.expose() == typed),
        Pin::Hashed(hash) => Some(hash.is_hash_of(typed)),
        Pin::External | Pin::None => None,
    }
}
