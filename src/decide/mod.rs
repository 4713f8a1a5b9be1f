//! The rules of a login. Pure: no I/O, no clock, no logging, no randomness.
//!
//! [`login`] takes the settings, what the store has under a name, one attempt and a time, and
//! returns the answer and what to write. The rules have the order and the numbers of
//! `docs/specification.md`, section 4; each is a function in a file of its own:
//!
//! 1. the name (`name`)
//! 2. lock-out (`lockout`)
//! 3. forget request (`forget`)
//! 4. splitting PIN and code (`split`)
//! 5. PIN and falling through (`pin`), where the PIN alone is enough (`pin_alone`), and whom the
//!    place lets in (`access`)
//! 6. reuse (`reuse`)
//! 7. fresh code (`fresh`, `window`)
//! 8. no match (`no_match`)
//!
//! Whatever none of them grants is denied.
//!
//! What a browser presents instead of credentials is decided by [`session()`].
//!
//! A password of a program is decided by [`app`] instead, which has rule 1 and the last points of
//! rule 5 in common with these.

mod access;
mod app;
mod decision;
mod devices;
mod forget;
mod fresh;
mod lockout;
mod name;
mod no_match;
mod pin;
mod pin_alone;
mod reuse;
mod session;
mod split;
mod window;

use self::access::rule_5_access;
pub use self::app::{DecidedApp, app};
pub use self::decision::{
    Accepted, Decision, Ended, LoginResult, NextCookie, Outcome, Reason, StateChange, Verdict,
};
use self::devices::Devices;
pub use self::forget::may_ask_to_forget;
use self::forget::rule_3_forget;
#[cfg(test)]
pub(crate) use self::fresh::COMPUTED;
use self::fresh::{Positions, rule_7_fresh_code};
use self::lockout::rule_2_lockout;
pub use self::lockout::{is_locked, is_locked_out};
pub use self::name::PASSWORD_MAX;
use self::name::rule_1_name;
use self::no_match::rule_8_no_match;
use self::pin::{CheckedPins, NoPin, PinPassed, rule_5_pin};
pub use self::pin::{PinAnswers, PinQuestion};
pub use self::pin_alone::{
    PresentedComputer, is_computer_trusted, is_pin_alone_enough, may_trust_computer, pin_alone,
};
use self::pin_alone::{RightAlone, copied};
use self::reuse::rule_6_reuse;
use self::session::knows_pin;
pub use self::session::{DecidedSession, LoginBrowser, PresentedSession, session};
use crate::UnixTime;
use crate::http::digest::{Ha1, Response};
use crate::otp::Code;
pub use crate::pin::PinAnswer;
use crate::policy::{PinAlone, Policy};
use crate::token::{Address, Entry, Fingerprint, State, StoredToken};

/// One attempt to log in.
#[derive(Clone)]
pub struct Attempt<'a> {
    /// The name the client gave.
    pub user: &'a [u8],
    /// Proof that the client knows PIN and code.
    pub proof: Proof<'a>,
    /// The client's address.
    pub address: Address,
}

/// Proof that the client knows PIN and code.
#[derive(Clone, Copy)]
pub enum Proof<'a> {
    /// Basic: PIN then code; Mobile-OTP: the code alone.
    Password(&'a [u8]),
    /// Digest: PIN and code can't be separated, so it is compared with every password that would be
    /// accepted.
    Response(&'a Response<'a>),
    /// The code alone: that the user knows the PIN is known by a session of theirs.
    Code(&'a [u8]),
}

impl Proof<'_> {
    /// The HA1 of the password that matched a Digest response, if any did.
    pub fn matched(&self) -> Option<Ha1> {
        match self {
            Proof::Password(_) | Proof::Code(_) => None,
            Proof::Response(response) => response.matched(),
        }
    }
}

/// What the grant of a request was based on.
#[derive(Clone, Debug)]
pub struct GrantBasis {
    /// The token that accepted the code.
    pub fingerprint: Fingerprint,
    /// The token's state as it was read.
    pub before: State,
    /// When it was decided.
    pub at: UnixTime,
    /// The code, as a state keeps it.
    pub code: Code,
    /// The counter or time step where it was found, if it was fresh.
    pub position: Option<u64>,
}

/// Everything a decision depends on.
#[derive(Clone, Copy)]
struct Inputs<'a> {
    policy: &'a Policy,
    entry: &'a Entry,
    attempt: &'a Attempt<'a>,
    /// `None`: no code is bound to it, and it has no session.
    browser: Option<&'a LoginBrowser<'a>>,
    pins: PinAnswers<'a>,
    now: UnixTime,
}

/// Decides a login.
pub fn login(
    policy: &Policy,
    entry: &Entry,
    attempt: &Attempt<'_>,
    pins: PinAnswers<'_>,
    now: UnixTime,
) -> Outcome {
    login_of_browser(policy, entry, attempt, None, pins, now)
}

/// The same for a place that keeps sessions.
pub fn login_of_browser(
    policy: &Policy,
    entry: &Entry,
    attempt: &Attempt<'_>,
    browser: Option<&LoginBrowser<'_>>,
    pins: PinAnswers<'_>,
    now: UnixTime,
) -> Outcome {
    let inputs = Inputs { policy, entry, attempt, browser, pins, now };
    with_copies_ended(inputs, decide(inputs, Positions::All))
}

/// The same if no code has to be searched for: computing the candidates of rules 7 and 8 takes a
/// while with a wide window. `None`: it would have to be.
pub fn without_search(
    policy: &Policy,
    entry: &Entry,
    attempt: &Attempt<'_>,
    browser: Option<&LoginBrowser<'_>>,
    pins: PinAnswers<'_>,
    now: UnixTime,
) -> Option<Outcome> {
    let inputs = Inputs { policy, entry, attempt, browser, pins, now };
    rules_1_to_6(inputs).err().map(|ended| with_copies_ended(inputs, ended))
}

/// Whatever else is decided: a computer of whose cookie there is a copy isn't trusted any more.
fn with_copies_ended(inputs: Inputs<'_>, mut outcome: Outcome) -> Outcome {
    let is_shown = inputs.browser.is_some_and(|browser| browser.computer.is_some());
    if is_shown && let Outcome::Decided(decision) = &mut outcome {
        decision.ended = decision.ended.with(copied(inputs));
    }
    outcome
}

fn decide(inputs: Inputs<'_>, codes: Positions) -> Outcome {
    match rules_1_to_6(inputs) {
        Ok(open) => Outcome::Decided(rules_7_and_8(inputs, codes, open)),
        Err(ended) => ended,
    }
}

/// What rules 1 to 6 leave open: whether the code is fresh.
struct NotReused<'a> {
    devices: Devices,
    passed: Vec<PinPassed<'a>>,
    /// The refusal if no other token accepts the code as fresh.
    denied: Option<Decision>,
    pin_source_failed: bool,
}

/// `Err`: a rule has decided, or needs to know about a PIN.
fn rules_1_to_6(inputs: Inputs<'_>) -> Result<NotReused<'_>, Outcome> {
    if let Some(decision) = rule_1_name(inputs.entry, inputs.attempt) {
        return Err(Outcome::Decided(decision.whatever_the_state()));
    }
    let mut devices = Devices::of(inputs.policy, inputs.entry, inputs.now);
    if let Some(decision) = rule_2_lockout(inputs, &mut devices) {
        return Err(Outcome::Decided(decision.with_changes_of(devices)));
    }
    if let Proof::Code(_) = inputs.attempt.proof
        && let Some(decision) = knows_pin(inputs)
    {
        return Err(Outcome::Decided(decision));
    }
    if let Some(decision) = rule_3_forget(inputs, &mut devices).map_err(Outcome::NeedPin)? {
        return Err(Outcome::Decided(decision.with_changes_of(devices)));
    }
    // Rule 4 within it: each token splits for itself.
    let CheckedPins { passed, source_failed } = match rule_5_pin(inputs, &devices) {
        Ok(checked) => checked,
        Err(NoPin::Ask(question)) => return Err(Outcome::NeedPin(question)),
        Err(NoPin::Refused(decision)) => {
            return Err(Outcome::Decided(decision.whatever_the_state()));
        }
        Err(NoPin::IsEnough(RightAlone { line, next_cookie })) => {
            let (word, reason) = match next_cookie {
                None => (LoginResult::GrantedTrusted, Reason::Trusted),
                Some(_) => (LoginResult::GrantedComputer, Reason::Computer),
            };
            let granted = || Decision {
                by_pin_of: u8::try_from(line).ok(),
                next_cookie,
                ..Decision::new(Verdict::Granted, word, reason)
            };
            let decision =
                rule_5_access(inputs.policy).unwrap_or_else(|| granted().with_changes_of(devices));
            return Err(Outcome::Decided(Decision { read_pin_alone: true, ..decision }));
        }
    };
    if let Some(refused) = rule_5_access(inputs.policy) {
        return Err(Outcome::Decided(refused));
    }
    match rule_6_reuse(inputs, &mut devices, &passed) {
        Ok(granted) => Err(Outcome::Decided(conclude(granted, devices, source_failed))),
        Err(denied) => Ok(NotReused { devices, passed, denied, pin_source_failed: source_failed }),
    }
}

fn rules_7_and_8(inputs: Inputs<'_>, codes: Positions, open: NotReused<'_>) -> Decision {
    let NotReused { mut devices, passed, denied, pin_source_failed } = open;
    devices.open_windows(inputs.policy, inputs.entry, inputs.now);
    let decision = rule_7_fresh_code(inputs, codes, &mut devices, &passed)
        .or(denied)
        .unwrap_or_else(|| rule_8_no_match(inputs, codes, &mut devices, &passed));
    conclude(decision, devices, pin_source_failed)
}

/// Turns a refusal that a failed PIN source may have caused into an error, and adds what to write.
fn conclude(decision: Decision, devices: Devices, pin_source_failed: bool) -> Decision {
    let decision = if pin_source_failed && decision.verdict != Verdict::Granted {
        Decision {
            verdict: Verdict::Error,
            word: LoginResult::Error,
            reason: Reason::PinSourceFailed,
            ..decision
        }
    } else {
        decision
    };
    decision.with_changes_of(devices)
}

/// Decides a login that was granted elsewhere, for the same request, by the rules of this place: on
/// the state the grant was based on, so that the code it spent isn't a spent one. Changes by an
/// admin or the user since then count. `entry` and `now` are current. Nothing is written.
pub fn elsewhere(
    policy: &Policy,
    entry: &Entry,
    basis: &GrantBasis,
    attempt: &Attempt<'_>,
    pins: PinAnswers<'_>,
    now: UnixTime,
) -> Outcome {
    if let Some(decision) = rule_1_name(entry, attempt) {
        return Outcome::Decided(decision);
    }
    let is_it =
        |line: &StoredToken| line.token.fingerprint == basis.fingerprint && !line.token.disabled;
    let Some(index) = entry.lines.iter().position(is_it) else {
        return Outcome::Decided(Decision::denied(LoginResult::DeniedCode, Reason::TokenChanged));
    };
    let mut devices = Devices::of(policy, entry, now);
    let device = devices.of_line_mut(index);
    device.mend_times(now);
    device.check_lockout(policy, now);
    if device.locked {
        return Outcome::Decided(Decision::denied(LoginResult::DeniedLocked, Reason::Locked));
    }
    let is_last = device
        .state
        .last_otp
        .as_ref()
        .is_some_and(|last| bool::from(last.is_in_any_case(&basis.code)));
    if is_last && device.state.used.as_of(now).is_none() {
        return Outcome::Decided(Decision::denied(LoginResult::DeniedExpired, Reason::Expired));
    }

    // What was granted by a code isn't granted without one.
    let policy = &Policy { pin_alone: PinAlone::Never, ..*policy };
    let line = StoredToken { token: entry.lines[index].token.clone(), state: basis.before.clone() };
    let then = Entry { lines: vec![line], unreadable: entry.unreadable, ..Entry::default() };
    match decide(
        Inputs { policy, entry: &then, attempt, browser: None, pins, now: basis.at },
        Positions::Of(basis.position),
    ) {
        Outcome::NeedPin(question) => Outcome::NeedPin(PinQuestion { line: index, ..question }),
        Outcome::Decided(decision) => Outcome::Decided(Decision {
            changes: Vec::new(),
            accepted: decision.accepted.map(|accepted| Accepted { line: index, ..accepted }),
            ..decision
        }),
    }
}

/// The state that a line's token is decided on: the furthest of all lines of the same token.
pub fn state_decided_on(policy: &Policy, entry: &Entry, line: usize, now: UnixTime) -> State {
    Devices::of(policy, entry, now).of_line(line).state.clone()
}

/// A line's state with what only its visible fields say made exact: the replay floor of a time
/// token is filled in. What can be written with a checksum without forgetting anything.
pub fn exact_state(policy: &Policy, line: &StoredToken, now: UnixTime) -> State {
    State { intact: true, ..line.state_with_floor(policy.max_offset, now) }
}
