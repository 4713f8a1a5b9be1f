//! Rule 5, its points 13 to 18: a PIN without a code, where that is enough.

use std::num::NonZeroU32;

use super::devices::Devices;
use super::pin::{PinAnswers, PinQuestion, is_right};
use super::reuse::is_within;
use super::{Ended, Inputs, NextCookie, Proof, Reason};
use crate::UnixTime;
use crate::network::Network;
use crate::policy::{PinAlone, Policy};
use crate::token::{Address, Computer, ComputerId, Entry, StoredToken, Token, TokenTag};

/// What comes of reading the whole password as a PIN.
pub(super) enum PinAloneRead {
    /// It isn't read so.
    NotRead,
    Ask(PinQuestion),
    Right(RightAlone),
    /// Of each token with a PIN, why.
    Refused(Vec<Reason>),
}

/// A password that is a PIN, which is enough.
#[derive(Clone, Copy)]
pub(super) struct RightAlone {
    /// Whose PIN it is.
    pub(super) line: usize,
    /// On a trusted computer: which cookie it gets.
    pub(super) next_cookie: Option<NextCookie>,
}

/// The cookie of a trusted computer, as its bearer presents it: nobody else can have made it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PresentedComputer {
    /// The computer that it names.
    pub id: ComputerId,
    /// Which of its cookies it is.
    pub generation: u32,
    /// It was given by this place, or by one whose logins are decided alike.
    pub is_of_place: bool,
}

/// Rule 5 once no split has a right PIN.
pub(super) fn rule_5_pin_alone(inputs: Inputs<'_>, devices: &Devices) -> PinAloneRead {
    let Inputs { policy, entry, attempt, browser, now, .. } = inputs;
    let Proof::Password(password) = attempt.proof else { return PinAloneRead::NotRead };
    // Where a code must be new, one is needed.
    let is_code_asked = policy.cookie.is_some_and(|cookie| cookie.max_age.is_some());
    let is_in_network = is_pin_alone_enough(policy, entry, &attempt.address);
    let presented = browser.and_then(|browser| browser.computer.as_ref());
    let computer = presented.and_then(|presented| trusted_computer(policy, entry, presented, now));
    if is_code_asked || password.is_empty() || !(is_in_network || computer.is_some()) {
        return PinAloneRead::NotRead;
    }
    let mut refused = Vec::new();
    for (line, stored) in devices.open_lines(entry) {
        let its = computer.filter(|(computer, _)| is_its_token(computer, stored));
        if !stored.token.has_pin_by_itself() || !(is_in_network || its.is_some()) {
            continue;
        }
        match pin_alone(&stored.token, password, inputs.pins) {
            None => {
                return PinAloneRead::Ask(PinQuestion { line, pin_len: password.len() });
            }
            Some(Ok(())) => {
                let next_cookie = its.map(|(_, next_cookie)| next_cookie);
                return PinAloneRead::Right(RightAlone { line, next_cookie });
            }
            Some(Err(reason)) => refused.push(reason),
        }
    }
    if refused.is_empty() { PinAloneRead::NotRead } else { PinAloneRead::Refused(refused) }
}

/// Whether a user's PIN alone is enough from an address: the place, the store or the user's own
/// lines say so, and nothing closes it.
pub fn is_pin_alone_enough(policy: &Policy, entry: &Entry, address: &Address) -> bool {
    let Address::Ip(address) = *address else { return false };
    let is_trusted = || match policy.pin_alone {
        PinAlone::Never => false,
        PinAlone::IfStored => Network::any_contains(&entry.ways.trusted, address),
        PinAlone::Here => true,
    };
    !is_closed(policy, entry) && is_trusted()
}

/// For how many days a browser may be trusted that shows a fresh code of this line. `None`: it
/// mayn't, or its user has no PIN that could be enough then.
pub fn may_trust_computer(policy: &Policy, entry: &Entry, line: usize) -> Option<NonZeroU32> {
    let token = &entry.lines.get(line)?.token;
    // What a server has closed opens with the code.
    let is_closed = policy.pin_alone == PinAlone::Never || entry.ways.always.pin;
    policy.trusted_computer.filter(|_| !is_closed && token.has_pin_by_itself())
}

/// Whether the PIN of its token is enough on a computer that shows this cookie.
pub fn is_computer_trusted(
    policy: &Policy,
    entry: &Entry,
    presented: &PresentedComputer,
    now: UnixTime,
) -> bool {
    let is_code_asked = policy.cookie.is_none_or(|cookie| cookie.max_age.is_some());
    let computer = trusted_computer(policy, entry, presented, now);
    let has_pin = |stored: &StoredToken| !stored.token.disabled && stored.token.has_pin_by_itself();
    let has_token = |(computer, _): (Computer, NextCookie)| {
        let mut lines = entry.lines.iter();
        lines.any(|stored| is_its_token(&computer, stored) && has_pin(stored))
    };
    !is_code_asked && computer.is_some_and(has_token)
}

/// The computer that a cookie names, if the PIN of its token is enough on it, and which cookie it
/// gets then.
fn trusted_computer(
    policy: &Policy,
    entry: &Entry,
    presented: &PresentedComputer,
    now: UnixTime,
) -> Option<(Computer, NextCookie)> {
    let computer = entry.ways.computers.iter().find(|computer| computer.id == presented.id)?;
    let is_good = presented.is_of_place && is_trusted(policy, entry, computer, now);
    let used = computer.used(presented.generation, now).filter(|_| is_good)?;
    let next_cookie = match used.generation == computer.generation {
        true => NextCookie::SameAgain,
        false => NextCookie::Another,
    };
    Some((*computer, next_cookie))
}

/// Whether sessions that began on a trusted computer still hold: one with their token is trusted.
pub(super) fn has_trusted_computer(
    policy: &Policy,
    entry: &Entry,
    token: TokenTag,
    now: UnixTime,
) -> bool {
    let mut its = entry.ways.computers.iter().filter(|computer| computer.token == token);
    its.any(|computer| is_trusted(policy, entry, computer, now))
}

/// Whether it is one here and now, whoever has its cookie.
fn is_trusted(policy: &Policy, entry: &Entry, computer: &Computer, now: UnixTime) -> bool {
    let has_time = |days: NonZeroU32| is_within(computer.seconds(days.get()), computer.first, now);
    !is_closed(policy, entry) && policy.trusted_computer.is_some_and(has_time)
}

/// The computer whose cookie comes though another one has taken its place: somebody has a copy.
pub(super) fn copied(inputs: Inputs<'_>) -> Ended {
    let presented = inputs.browser.and_then(|browser| browser.computer);
    let Some(presented) = presented else { return Ended::default() };
    let is_copied = |computer: &Computer| {
        computer.id == presented.id && computer.used(presented.generation, inputs.now).is_none()
    };
    Ended::computers(inputs.entry, is_copied).by_copy()
}

fn is_its_token(computer: &Computer, stored: &StoredToken) -> bool {
    TokenTag::of(&stored.token.fingerprint) == computer.token
}

fn is_closed(policy: &Policy, entry: &Entry) -> bool {
    let always = entry.ways.always;
    policy.pin_alone == PinAlone::Never || always.pin || always.until_code
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
