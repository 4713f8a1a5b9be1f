//! Rule 5, its points 13 to 17: a PIN without a code, where that is enough.

use super::devices::Devices;
use super::pin::{PinAnswers, PinQuestion, is_right};
use super::{Inputs, Proof, Reason};
use crate::network::Network;
use crate::policy::{PinAlone, Policy};
use crate::token::{Address, Entry, Token};

/// What comes of reading the whole password as a PIN.
pub(super) enum PinAloneRead {
    /// It isn't read so.
    NotRead,
    Ask(PinQuestion),
    /// Of this line.
    Right(usize),
    /// Of each token with a PIN, why.
    Refused(Vec<Reason>),
}

/// Rule 5 once no split has a right PIN.
pub(super) fn rule_5_pin_alone(inputs: Inputs<'_>, devices: &Devices) -> PinAloneRead {
    let Proof::Password(password) = inputs.attempt.proof else { return PinAloneRead::NotRead };
    // Where a code must be new, one is needed.
    let is_code_asked = inputs.policy.cookie.is_some_and(|cookie| cookie.max_age.is_some());
    let is_enough =
        !is_code_asked && is_pin_alone_enough(inputs.policy, inputs.entry, &inputs.attempt.address);
    if !is_enough || password.is_empty() {
        return PinAloneRead::NotRead;
    }
    let mut refused = Vec::new();
    for (line, stored) in devices.open_lines(inputs.entry) {
        if !stored.token.has_pin_by_itself() {
            continue;
        }
        match pin_alone(&stored.token, password, inputs.pins) {
            None => {
                return PinAloneRead::Ask(PinQuestion { line, pin_len: password.len() });
            }
            Some(Ok(())) => return PinAloneRead::Right(line),
            Some(Err(reason)) => refused.push(reason),
        }
    }
    if refused.is_empty() { PinAloneRead::NotRead } else { PinAloneRead::Refused(refused) }
}

/// Whether a user's PIN alone is enough from an address: the place, the store or the user's own
/// lines say so, and nothing closes it.
pub fn is_pin_alone_enough(policy: &Policy, entry: &Entry, address: &Address) -> bool {
    let Address::Ip(address) = *address else { return false };
    let always = entry.ways.always;
    let is_trusted = || match policy.pin_alone {
        PinAlone::Never => false,
        PinAlone::IfStored => Network::any_contains(&entry.ways.trusted, address),
        PinAlone::Here => true,
    };
    !always.pin && !always.until_code && is_trusted()
}

/// Whether a password is a token's PIN, with nothing after it; if not, why. `None`: it has to be
/// asked.
pub fn pin_alone(
    token: &Token,
    password: &[u8],
    pins: PinAnswers<'_>,
) -> Option<Result<(), Reason>> {
    if !token.has_pin_by_itself() {
        return Some(Err(Reason::NoPinExpected));
    }
    is_right(&token.pin, password, pins)
}
