//! Rule 4: splitting PIN and code.

use subtle::Choice;

use super::Proof;
use super::pin::plain_pin;
use crate::http::digest::Response;
use crate::otp::Code;
use crate::token::Token;

/// Rule 4: the last characters are the code, also in two groups; the rest before them is the PIN.
/// `None`: too short.
pub(super) fn rule_4_split<'p, 's>(
    token: &Token,
    password: &'p [u8],
) -> Option<(&'p [u8], Shown<'s>)> {
    token.split(password).map(|(pin, code)| (pin, Shown::Code(code)))
}

/// What a client shows of a token after its PIN.
pub(super) enum Shown<'a> {
    /// A code, in lower case, whose PIN was right.
    Code(Code),
    /// A response to be held against PIN and code.
    Response { pin: &'a [u8], response: &'a Response<'a> },
}

impl<'a> Shown<'a> {
    /// What is shown of a token whatever its PIN; `None` if the password is too short or the PIN
    /// isn't known.
    pub(super) fn of(token: &'a Token, proof: Proof<'a>) -> Option<Shown<'a>> {
        match proof {
            Proof::Password(password) => rule_4_split(token, password).map(|(_, shown)| shown),
            Proof::Code(code) => {
                rule_4_split(token, code).filter(|(pin, _)| pin.is_empty()).map(|(_, shown)| shown)
            }
            Proof::Response(response) => {
                plain_pin(token).map(|pin| Shown::Response { pin, response })
            }
        }
    }

    /// Whether it has the characters of a code.
    pub(super) fn can_be_code(&self) -> bool {
        match self {
            Shown::Code(shown) => shown.as_bytes().iter().all(u8::is_ascii_hexdigit),
            Shown::Response { .. } => true,
        }
    }

    /// Whether it shows this code, letters in either case. `code` is in lower case.
    pub(super) fn is(&self, code: &Code) -> Choice {
        match self {
            Shown::Code(shown) => shown.is(code),
            Shown::Response { pin, response } => {
                let lower = response.is_of(&[pin, code.as_bytes()]);
                if code.as_bytes().iter().any(u8::is_ascii_lowercase) {
                    lower | response.is_of(&[pin, code.clone().into_upper_case().as_bytes()])
                } else {
                    lower
                }
            }
        }
    }
}
