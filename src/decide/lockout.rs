//! Rule 2: lock-out.

use super::devices::{Device, Devices};
use super::{Decision, Inputs, LoginResult, Reason};
use crate::UnixTime;
use crate::policy::Policy;
use crate::token::StoredToken;

/// Rule 2: tokens with too many wrong codes grant nothing. The refusal if no other is left.
pub(super) fn rule_2_lockout(inputs: Inputs<'_>, devices: &mut Devices) -> Option<Decision> {
    let mut active = 0;
    for device in &mut devices.all {
        if device.lines.iter().any(|&line| !inputs.entry.lines[line].token.disabled) {
            active += 1;
            device.mend_times(inputs.now);
            device.check_lockout(inputs.policy, inputs.now);
        }
    }
    let locked = devices.all.iter().filter(|device| device.locked).count();
    (locked > 0 && locked == active)
        .then(|| Decision::denied(LoginResult::DeniedLocked, Reason::Locked))
}

/// Whether so many failures, the last of them at `failed`, are too many now.
pub fn is_locked_out(policy: &Policy, failures: u32, failed: UnixTime, now: UnixTime) -> bool {
    if !reaches_limit(policy, failures) {
        return false;
    }
    if policy.lockout_time == 0 {
        return true;
    }
    let doublings = (failures - policy.max_failures).min(32);
    let duration = (u64::from(policy.lockout_time) << doublings)
        .min(u64::from(policy.lockout_max.max(policy.lockout_time)));
    now < failed.saturating_add(duration as i64)
}

pub(super) fn reaches_limit(policy: &Policy, failures: u32) -> bool {
    policy.max_failures != 0 && failures >= policy.max_failures
}

/// Whether rule 2 keeps a token from granting anything now.
pub fn is_locked(policy: &Policy, line: &StoredToken, now: UnixTime) -> bool {
    let mut device = Device::of(0, line, policy, now);
    device.mend_times(now);
    device.check_lockout(policy, now);
    device.locked
}

impl Device {
    /// A lock-out whose beginning isn't known begins now.
    pub(super) fn check_lockout(&mut self, policy: &Policy, now: UnixTime) {
        let failures = self.state.failures;
        if !reaches_limit(policy, failures) {
            return;
        }
        let failed = match self.state.last_failure {
            Some(failed) => failed,
            // Without an end, the beginning doesn't matter.
            None if policy.lockout_time == 0 => now,
            None => *self.change().last_failure.insert(now),
        };
        self.locked = is_locked_out(policy, failures, failed, now);
    }
}
