//! Rule 6: reuse of the code accepted last.

use super::devices::{Device, Devices};
use super::pin::PinPassed;
use super::{Decision, Inputs, LoginResult, Reason, Verdict};
use crate::UnixTime;
use crate::otp::Code;
use crate::policy::Policy;
use crate::token::{Address, Algorithm, State, Token, Used};

/// Clocks of several servers may differ by this much, in seconds, before a use counts as in the
/// future.
const CLOCK_TOLERANCE: i64 = 5;
/// Seconds for which the code of a session is good for its first requests, sent at once.
const PARALLEL: u32 = 5;
/// A refreshed idle time is written after this part of the limit.
const IDLE_REFRESHES: i64 = 16;

/// Rule 6: the last accepted code may be reused for a while.
///
/// `Err` holds the refusal if no other token accepts the code as fresh.
pub(super) fn rule_6_reuse(
    inputs: Inputs<'_>,
    devices: &mut Devices,
    passed: &[PinPassed<'_>],
) -> Result<Decision, Option<Decision>> {
    let Inputs { policy, entry, attempt, now, .. } = inputs;
    let mut denied = None;
    for candidate in passed {
        let device = devices.of_line_mut(candidate.line);
        let Some(last_otp) = &device.state.last_otp else { continue };
        let last_otp = last_otp.clone().into_lower_case();
        if !bool::from(candidate.shown.is(&last_otp))
            || is_hex_refused(policy, &entry.lines[candidate.line].token, &last_otp)
        {
            continue;
        }
        device.spent = true;
        if !is_lingering(policy, &device.state, now) {
            denied = denied.or(Some(Decision::denied(LoginResult::DeniedExpired, Reason::Expired)));
        } else if policy.logout_on_ip_change
            && !device.state.address.is_known_and_equals(&attempt.address)
        {
            let reason = match attempt.address {
                Address::Unknown => Reason::NoAddress,
                _ => Reason::AddressChanged,
            };
            denied = Some(Decision::denied(LoginResult::DeniedIp, reason));
        } else if policy.cookie.is_none() {
            device.refresh_idle(policy, now);
            return Ok(Decision {
                stands_until: lingers_untouched_until(policy, &device.state, now),
                ..reused(candidate, now)
            });
        } else if is_parallel(inputs, &device.state, &entry.lines[candidate.line].token) {
            return Ok(reused(candidate, now));
        } else {
            denied =
                denied.or(Some(Decision::denied(LoginResult::DeniedExpired, Reason::NoCookie)));
        }
    }
    Err(denied)
}

fn reused(candidate: &PinPassed<'_>, now: UnixTime) -> Decision {
    let decision = Decision::new(Verdict::Granted, LoginResult::GrantedReuse, Reason::Reused);
    Decision { changes_are_optional: true, accepted: candidate.accepted(now), ..decision }
}

/// Whether the last accepted code could be used again now, from the right address.
pub(super) fn is_lingering(policy: &Policy, state: &State, now: UnixTime) -> bool {
    let Some((first, last)) = state.used.as_of(now) else { return false };
    lingers_since(policy, first, last, now)
}

/// Whether what was used first and last at these times may be used again now.
pub(super) fn lingers_since(
    policy: &Policy,
    first: UnixTime,
    last: UnixTime,
    now: UnixTime,
) -> bool {
    let is_within =
        |limit: Option<u32>, since| limit.is_none_or(|limit| is_within(limit, since, now));
    // With neither limit nothing lingers: the settings never come to that.
    (policy.max_linger.is_some() || policy.max_idle.is_some())
        && is_within(policy.max_linger, first)
        && is_within(policy.max_idle, last)
}

pub(super) fn is_within(limit: u32, since: UnixTime, now: UnixTime) -> bool {
    let age = now.saturating_sub(since);
    age >= -CLOCK_TOLERANCE && age.max(0) < i64::from(limit)
}

/// Where a code is good for one browser: whether it is the code of a grant just now, come again
/// while that was on its way, as of the parts of a page that a browser asks for at once.
fn is_parallel(inputs: Inputs<'_>, state: &State, token: &Token) -> bool {
    let Inputs { entry, attempt, now, browser, .. } = inputs;
    let made = state
        .last_accepted(token.factor)
        .zip(browser)
        .map(|(position, browser)| (browser.session_of)(&token.fingerprint, position));
    let is_just_now =
        state.used.as_of(now).is_some_and(|(first, _)| is_within(PARALLEL, first, now));
    is_just_now
        && state.address.is_known_and_equals(&attempt.address)
        && made.is_some_and(|made| entry.ways.sessions.iter().any(|session| session.id == made))
}

/// The last moment at which a code that lingers now still does, without a new idle time to be
/// written.
fn lingers_untouched_until(policy: &Policy, state: &State, now: UnixTime) -> Option<UnixTime> {
    let (first, last) = state.used.as_of(now)?;
    let linger = policy.max_linger.map(|limit| first.saturating_add(i64::from(limit) - 1));
    let idle = policy.max_idle.map(|limit| idle_refresh_due(limit, last) - 1);
    linger.into_iter().chain(idle).min()
}

/// Whether the presented code is hexadecimal where that is switched off.
fn is_hex_refused(policy: &Policy, token: &Token, code: &Code) -> bool {
    token.algorithm != Algorithm::Motp
        && !policy.allow_hex
        && !code.as_bytes().iter().all(u8::is_ascii_digit)
}

/// When a new idle time is to be written of what was last used at `last`.
pub(super) fn idle_refresh_due(limit: u32, last: UnixTime) -> UnixTime {
    last.saturating_add(i64::from(limit) / IDLE_REFRESHES)
}

impl Device {
    fn refresh_idle(&mut self, policy: &Policy, now: UnixTime) {
        let (Some(limit), Some((first, last))) = (policy.max_idle, self.state.used.as_of(now))
        else {
            return;
        };
        if now >= idle_refresh_due(limit, last) {
            self.change().used = Used::At { first, last: now };
        }
    }
}
