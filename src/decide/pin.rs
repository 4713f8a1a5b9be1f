//! Rule 5: the PIN, and falling through where it is wrong.

use subtle::ConstantTimeEq;

use super::devices::Devices;
use super::pin_alone::{PinAloneRead, RightAlone, rule_5_pin_alone};
use super::split::{Shown, rule_4_split};
use super::{Accepted, Decision, Inputs, LoginResult, Proof, Reason, Verdict};
use crate::UnixTime;
use crate::http::digest::Response;
use crate::otp::Digits;
use crate::pin::PinAnswer;
use crate::token::{Algorithm, Pin, Token};

/// Answers got so far about slow PINs of the user: what the PIN field says, which PIN bytes.
/// Several tokens with one hash have one answer.
pub type PinAnswers<'a> = &'a dyn Fn(&Pin, &[u8]) -> Option<PinAnswer>;

/// A PIN to be checked outside any lock before this can be decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PinQuestion {
    /// Which of the entry's lines.
    pub line: usize,
    /// How many bytes of the password are the PIN.
    pub pin_len: usize,
}

/// A line whose PIN is right: what is left to be checked of it.
pub(super) struct PinPassed<'a> {
    pub(super) line: usize,
    pub(super) pin_len: usize,
    pub(super) shown: Shown<'a>,
}

impl PinPassed<'_> {
    pub(super) fn accepted(&self, at: UnixTime) -> Option<Accepted> {
        Some(Accepted { line: self.line, pin_len: self.pin_len, at })
    }
}

/// What rule 5 comes to.
pub(super) struct CheckedPins<'a> {
    /// At least one.
    pub(super) passed: Vec<PinPassed<'a>>,
    /// A source couldn't say whether another PIN is right.
    pub(super) source_failed: bool,
}

/// Why rule 5 doesn't come to that.
pub(super) enum NoPin {
    Ask(PinQuestion),
    Refused(Decision),
    /// The password is a PIN, which is enough.
    IsEnough(RightAlone),
}

/// Rule 5, and rule 4 before it, for each token that may grant. Nothing about codes is computed
/// here.
pub(super) fn rule_5_pin<'a>(
    inputs: Inputs<'a>,
    devices: &Devices,
) -> Result<CheckedPins<'a>, NoPin> {
    let mut passed = Vec::new();
    let mut refused = Vec::new();
    let no_forms = no_forms(inputs, devices);
    for (index, line) in devices.open_lines(inputs.entry) {
        if no_forms.contains(&line.token.digits) {
            continue;
        }
        let check = match inputs.attempt.proof {
            Proof::Password(password) => match rule_4_split(&line.token, password) {
                Some((pin, shown)) => check(&line.token, pin, shown, inputs.pins),
                None => PinCheck::Refused(Reason::TooShort),
            },
            Proof::Code(code) => match rule_4_split(&line.token, code) {
                Some((b"", shown)) => check_of_code(&line.token, shown),
                _ => PinCheck::Refused(Reason::NotACode),
            },
            Proof::Response(response) => check_of_digest(&line.token, response),
        };
        match check {
            PinCheck::Ask(pin_len) => return Err(NoPin::Ask(PinQuestion { line: index, pin_len })),
            PinCheck::Passed(pin_len, shown) => {
                passed.push(PinPassed { line: index, pin_len, shown })
            }
            PinCheck::Refused(reason) => refused.push(reason),
        }
    }
    if passed.is_empty() {
        return Err(match rule_5_pin_alone(inputs, devices) {
            PinAloneRead::Ask(question) => NoPin::Ask(question),
            PinAloneRead::Right(right) => NoPin::IsEnough(right),
            PinAloneRead::NotRead => NoPin::Refused(refuse_before_code(inputs, devices, &refused)),
            PinAloneRead::Refused(more) => {
                refused.extend(more);
                let decision = refuse_before_code(inputs, devices, &refused);
                NoPin::Refused(Decision { read_pin_alone: true, ..decision })
            }
        });
    }
    Ok(CheckedPins { passed, source_failed: refused.contains(&Reason::PinSourceFailed) })
}

/// Where a user's codes differ in length, the lengths at which a password can't end in a code,
/// though it can at another one: no PIN is checked for them.
fn no_forms(inputs: Inputs<'_>, devices: &Devices) -> Vec<Digits> {
    let Proof::Password(password) = inputs.attempt.proof else { return Vec::new() };
    let lines = &inputs.entry.lines;
    if lines.iter().all(|line| line.token.digits == lines[0].token.digits) {
        return Vec::new();
    }
    let can_be_code =
        |token: &Token| rule_4_split(token, password).is_some_and(|(_, shown)| shown.can_be_code());
    let (forms, others): (Vec<_>, Vec<_>) = devices
        .open_lines(inputs.entry)
        .map(|(_, line)| &line.token)
        .partition(|token| can_be_code(token));
    if forms.is_empty() {
        return Vec::new();
    }
    // One that is too short stays: it costs nothing, and its reason is told.
    let others = others.into_iter().filter(|token| token.digits.count() <= password.len());
    others.map(|token| token.digits).collect()
}

enum PinCheck<'a> {
    Ask(usize),
    Passed(usize, Shown<'a>),
    Refused(Reason),
}

fn check<'a>(token: &Token, pin: &[u8], shown: Shown<'a>, pins: PinAnswers<'_>) -> PinCheck<'a> {
    match (token.algorithm, &token.pin) {
        (Algorithm::Motp, Pin::External | Pin::Hashed(_)) => {
            PinCheck::Refused(Reason::MotpWithExternalPin)
        }
        (Algorithm::Motp, _) | (_, Pin::None) if pin.is_empty() => {
            PinCheck::Passed(pin.len(), shown)
        }
        (Algorithm::Motp, _) | (_, Pin::None) => PinCheck::Refused(Reason::NoPinExpected),
        (_, field) => match is_right(field, pin, pins) {
            None => PinCheck::Ask(pin.len()),
            Some(Ok(())) => PinCheck::Passed(pin.len(), shown),
            Some(Err(reason)) => PinCheck::Refused(reason),
        },
    }
}

/// Whether these bytes are the PIN that the field says; if not, why. `None`: it has to be asked.
pub(super) fn is_right(
    field: &Pin,
    pin: &[u8],
    pins: PinAnswers<'_>,
) -> Option<Result<(), Reason>> {
    match field {
        Pin::None => Some(Err(Reason::NoPinExpected)),
        Pin::Literal(expected) => {
            Some(if expected.expose().ct_eq(pin).into() { Ok(()) } else { Err(Reason::WrongPin) })
        }
        Pin::Hashed(_) | Pin::External => pins(field, pin).map(|answer| match answer {
            PinAnswer::Right => Ok(()),
            PinAnswer::Wrong => Err(Reason::WrongPin),
            PinAnswer::Unknown => Err(Reason::PinUnknown),
            PinAnswer::Failed => Err(Reason::PinSourceFailed),
            PinAnswer::NoSource => Err(Reason::NoPinSource),
        }),
    }
}

/// Where a session stands for the PIN.
fn check_of_code<'a>(token: &Token, shown: Shown<'a>) -> PinCheck<'a> {
    match (token.algorithm, &token.pin) {
        (Algorithm::Motp, Pin::External | Pin::Hashed(_)) => {
            PinCheck::Refused(Reason::MotpWithExternalPin)
        }
        _ => PinCheck::Passed(0, shown),
    }
}

fn check_of_digest<'a>(token: &'a Token, response: &'a Response<'a>) -> PinCheck<'a> {
    match plain_pin(token) {
        Some(pin) => PinCheck::Passed(0, Shown::Response { pin, response }),
        None => PinCheck::Refused(Reason::DigestNeedsPlainPin),
    }
}

/// In Digest, a PIN in the clear is part of every password tried; `None`: one that isn't at hand
/// can't be.
pub(super) fn plain_pin(token: &Token) -> Option<&[u8]> {
    match (token.algorithm, &token.pin) {
        (_, Pin::External | Pin::Hashed(_)) => None,
        (Algorithm::Motp, _) | (_, Pin::None) => Some(b""),
        (_, Pin::Literal(pin)) => Some(pin.expose()),
    }
}

/// No token's PIN was right, so nothing about codes is known or told.
fn refuse_before_code(inputs: Inputs<'_>, devices: &Devices, refused: &[Reason]) -> Decision {
    // In the order in which an admin wants to hear of them.
    const ORDER: [Reason; 9] = [
        Reason::PinSourceFailed,
        Reason::DigestNeedsPlainPin,
        Reason::NoPinSource,
        Reason::MotpWithExternalPin,
        Reason::WrongPin,
        Reason::NoPinExpected,
        Reason::PinUnknown,
        Reason::TooShort,
        Reason::NotACode,
    ];
    const GUESSES: [Reason; 3] = [Reason::WrongPin, Reason::NoPinExpected, Reason::PinUnknown];
    let reason =
        ORDER.into_iter().find(|reason| refused.contains(reason)).unwrap_or(Reason::WrongPin);
    let is_wrong_guess = refused.iter().any(|reason| GUESSES.contains(reason));
    if reason == Reason::PinSourceFailed {
        return Decision {
            is_wrong_guess,
            ..Decision::new(Verdict::Error, LoginResult::Error, reason)
        };
    }
    if inputs.entry.unreadable {
        return Decision {
            is_wrong_guess,
            ..Decision::denied(LoginResult::Error, Reason::Unreadable)
        };
    }
    let word = match reason {
        Reason::TooShort | Reason::NotACode => LoginResult::DeniedCode,
        _ => LoginResult::DeniedPin,
    };
    let verdict = if rule_5_fall_through(inputs, devices, reason) {
        Verdict::Unknown
    } else {
        Verdict::Denied
    };
    Decision { is_wrong_guess, ..Decision::new(verdict, word, reason) }
}

/// Rule 5, its point 7: whether another provider may decide about a password that is refused for
/// this reason.
fn rule_5_fall_through(inputs: Inputs<'_>, devices: &Devices, reason: Reason) -> bool {
    inputs.policy.fall_through
        && !devices.all.iter().any(|device| device.locked)
        && matches!(
            reason,
            Reason::WrongPin | Reason::NoPinExpected | Reason::PinUnknown | Reason::TooShort
        )
}
