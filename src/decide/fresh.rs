//! Rule 7: a fresh code.

use subtle::{Choice, ConditionallySelectable};

use super::devices::Devices;
use super::pin::PinPassed;
use super::split::Shown;
use super::{Decision, Inputs, LoginResult, Reason, Verdict};
use crate::otp::Code;
use crate::policy::Policy;
use crate::token::{Codes, Used};

/// Rule 7: one of the next codes.
pub(super) fn rule_7_fresh_code(
    inputs: Inputs<'_>,
    codes: Positions,
    devices: &mut Devices,
    passed: &[PinPassed<'_>],
) -> Option<Decision> {
    let Inputs { policy, entry, attempt, now, .. } = inputs;
    for candidate in passed {
        let token = &entry.lines[candidate.line].token;
        let device = devices.of_line_mut(candidate.line);
        if device.spent {
            continue;
        }
        let found = search(
            policy,
            &token.codes(),
            codes.among(device.window.positions()),
            &candidate.shown,
        );
        let Some((position, code)) = found else { continue };
        let accepted = device.change();
        accepted.stand_after(token.factor, position, now);
        accepted.last_otp = Some(code);
        accepted.used = Used::At { first: now, last: now };
        accepted.address = attempt.address.clone();
        for device in &mut devices.all {
            if device.state.failures != 0 {
                device.change().failures = 0;
            }
        }
        let decision = Decision::new(Verdict::Granted, LoginResult::GrantedFresh, Reason::Fresh);
        return Some(Decision {
            accepted: candidate.accepted(now),
            paper: token.factor.paper_code(position),
            ..decision
        });
    }
    None
}

/// Which codes are looked for.
#[derive(Clone, Copy)]
pub(super) enum Positions {
    All,
    /// It is known where the code was found, if it was: elsewhere it needn't be looked for.
    Of(Option<u64>),
}

impl Positions {
    pub(super) fn among(self, positions: impl Iterator<Item = u64>) -> impl Iterator<Item = u64> {
        positions.filter(move |&position| match self {
            Positions::All => true,
            Positions::Of(known) => known == Some(position),
        })
    }
}

/// The lowest position whose code is shown, and that code. Always computes and compares all of
/// them.
pub(super) fn search(
    policy: &Policy,
    codes: &Codes,
    positions: impl Iterator<Item = u64>,
    shown: &Shown<'_>,
) -> Option<(u64, Code)> {
    let allow_hex = Choice::from(u8::from(policy.allow_hex));
    let typed = match shown {
        Shown::Code(code) => Some(codes.typed(code)),
        Shown::Response { .. } => None,
    };
    let is_shown = |position| match &typed {
        Some(typed) => typed.is_of(position),
        None => {
            let (decimal, hexadecimal) = codes.of(position);
            let hexadecimal = hexadecimal.filter(|_| policy.allow_hex);
            (shown.is(&decimal), hexadecimal.map_or(Choice::from(0), |code| shown.is(&code)))
        }
    };
    let mut lowest = 0;
    let mut found = Choice::from(0);
    let mut is_hexadecimal = Choice::from(0);
    for position in positions {
        #[cfg(test)]
        COMPUTED.set(COMPUTED.get() + 1);
        let (mut is_it, is_hex) = is_shown(position);
        let is_hex = is_hex & !is_it & allow_hex;
        is_it |= is_hex;
        is_hexadecimal.conditional_assign(&is_hex, is_it & !found);
        lowest.conditional_assign(&position, is_it & !found);
        found |= is_it;
    }
    if !bool::from(found) {
        return None;
    }
    let (decimal, hexadecimal) = codes.of(lowest);
    Some((lowest, hexadecimal.filter(|_| bool::from(is_hexadecimal)).unwrap_or(decimal)))
}

#[cfg(test)]
thread_local! {
    /// Codes computed to be compared, on this thread.
    pub(crate) static COMPUTED: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
}
