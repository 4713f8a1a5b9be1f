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
        } else {
            device.refresh_idle(policy, now);
            let decision =
                Decision::new(Verdict::Granted, LoginResult::GrantedReuse, Reason::Reused);
            return Ok(Decision {
                changes_are_optional: true,
                accepted: candidate.accepted(now),
                stands_until: lingers_untouched_until(policy, &device.state, now),
                ..decision
            });
        }
    }
    Err(denied)
}

/// Whether the last accepted code could be used again now, from the right address.
pub(super) fn is_lingering(policy: &Policy, state: &State, now: UnixTime) -> bool {
    let Some((first, last)) = state.used.as_of(now) else { return false };
    let within = |limit: Option<u32>, since: UnixTime| {
        let Some(limit) = limit else { return true };
        let age = now.saturating_sub(since);
        age >= -CLOCK_TOLERANCE && age.max(0) < i64::from(limit)
    };
    // With neither limit nothing lingers: the settings never come to that.
    (policy.max_linger.is_some() || policy.max_idle.is_some())
        && within(policy.max_linger, first)
        && within(policy.max_idle, last)
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

/// When a new idle time is to be written of a code last used at `last`.
fn idle_refresh_due(limit: u32, last: UnixTime) -> UnixTime {
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
