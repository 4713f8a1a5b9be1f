//! Rule 3: forget request.

use subtle::ConstantTimeEq;

use super::devices::{Device, Devices};
use super::reuse::is_lingering;
use super::{Decision, Ended, Inputs, LoginResult, PinAnswer, PinQuestion, Proof, Reason};
use crate::UnixTime;
use crate::policy::{FORGET_WORD, Forget, Policy};
use crate::token::{Algorithm, Pin, Token, TokenTag};

/// Rule 3: the user asks that the last code isn't accepted any more. `None`: it is no such request,
/// or there is nothing to forget, and the password is one like any other.
pub(super) fn rule_3_forget(
    inputs: Inputs<'_>,
    devices: &mut Devices,
) -> Result<Option<Decision>, PinQuestion> {
    let forgotten = match inputs.policy.forget {
        Forget::On if inputs.attempt.proof.is_empty_password() => match inputs.policy.cookie {
            None => by_empty_password(inputs, devices).map(|reason| (reason, Ended::default())),
            Some(_) => by_cookie(inputs, devices),
        },
        Forget::Word => by_word(inputs, devices)?,
        Forget::On | Forget::Off => None,
    };
    let decision =
        |(reason, ended)| Decision { ended, ..Decision::denied(LoginResult::Forgotten, reason) };
    Ok(forgotten.map(decision))
}

/// Whether a password may be a forget request, which ends a session instead of using it.
pub fn may_ask_to_forget(policy: &Policy, password: &[u8]) -> bool {
    match policy.forget {
        Forget::On => password.is_empty(),
        Forget::Word => password.ends_with(FORGET_WORD),
        Forget::Off => false,
    }
}

/// An empty password from the browser of a session ends that session, and the code as ever.
fn by_cookie(inputs: Inputs<'_>, devices: &mut Devices) -> Option<(Reason, Ended)> {
    let presented = inputs.browser?.presented.filter(|presented| presented.is_of_place)?;
    let its = Ended::sessions(inputs.entry, |session| session.id == presented.id);
    if its.is_empty() {
        return None;
    }
    by_empty_password(inputs, devices);
    Some((Reason::Forgotten, its))
}

/// An empty password from where the code was last used ends its lingering for good.
fn by_empty_password(inputs: Inputs<'_>, devices: &mut Devices) -> Option<Reason> {
    let mut forgotten = None;
    for device in &mut devices.all {
        let is_from_there = device.state.address.is_known_and_equals(&inputs.attempt.address);
        if is_from_there && device.forget(inputs.policy, inputs.now) {
            forgotten = Some(Reason::Forgotten);
        }
    }
    forgotten
}

/// The same by PIN and word, for the tokens with that PIN and all sessions and computers of theirs.
/// `None`: it is no such request, or not with a right PIN.
fn by_word(
    inputs: Inputs<'_>,
    devices: &mut Devices,
) -> Result<Option<(Reason, Ended)>, PinQuestion> {
    let mut asked_to_forget = Vec::new();
    for (index, line) in devices.open_lines(inputs.entry) {
        if is_asked_by_word(inputs, index, &line.token)? {
            asked_to_forget.push(index);
        }
    }
    let tags: Vec<TokenTag> = asked_to_forget
        .iter()
        .map(|&line: &usize| TokenTag::of(&inputs.entry.lines[line].token.fingerprint))
        .collect();
    let ended = Ended::sessions(inputs.entry, |session| tags.contains(&session.token))
        .with(Ended::computers(inputs.entry, |computer| tags.contains(&computer.token)));
    let mut reason = match ended.is_empty() {
        true => (!asked_to_forget.is_empty()).then_some(Reason::NothingToForget),
        false => Some(Reason::Forgotten),
    };
    for line in asked_to_forget {
        if devices.of_line_mut(line).forget(inputs.policy, inputs.now) {
            reason = Some(Reason::Forgotten);
        }
    }
    Ok(reason.map(|reason| (reason, ended)))
}

/// Whether the client shows the token's PIN and the word.
fn is_asked_by_word(inputs: Inputs<'_>, index: usize, token: &Token) -> Result<bool, PinQuestion> {
    let password = match (inputs.attempt.proof, &token.pin) {
        (_, Pin::None) | (Proof::Code(_), _) => return Ok(false),
        (Proof::Password(password), _) => password,
        (Proof::Response(response), Pin::Literal(pin)) => {
            return Ok(bool::from(response.is_of(&[pin.expose(), FORGET_WORD])));
        }
        (Proof::Response(_), _) => return Ok(false),
    };
    let Some(pin) = password.strip_suffix(FORGET_WORD) else { return Ok(false) };
    match &token.pin {
        Pin::Literal(expected) => Ok(bool::from(expected.expose().ct_eq(pin))),
        _ if token.algorithm == Algorithm::Motp => Ok(false),
        field => match (inputs.pins)(field, pin) {
            None => Err(PinQuestion { line: index, pin_len: pin.len() }),
            Some(answer) => Ok(answer == PinAnswer::Right),
        },
    }
}

impl Proof<'_> {
    fn is_empty_password(self) -> bool {
        match self {
            Proof::Password(password) => password.is_empty(),
            Proof::Response(response) => bool::from(response.is_of(&[])),
            Proof::Code(_) => false,
        }
    }
}

impl Device {
    /// Ends the lingering of its last code for good; whether there was one.
    fn forget(&mut self, policy: &Policy, now: UnixTime) -> bool {
        let lingers = self.state.last_otp.is_some() && is_lingering(policy, &self.state, now);
        if lingers {
            let state = self.change();
            state.used = state.used.ended(now);
        }
        lingers
    }
}
