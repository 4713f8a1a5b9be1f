//! Rule 1: the name.

use super::{Attempt, Decision, LoginResult, Proof, Reason, Verdict};
use crate::token::Entry;

/// Longest password that is checked, in bytes.
pub const PASSWORD_MAX: usize = 1024;

/// Rule 1: others decide about an unlisted name, but not about another spelling of a listed one.
pub(super) fn rule_1_name(entry: &Entry, attempt: &Attempt<'_>) -> Option<Decision> {
    let is_plain = |text: &[u8]| !text.iter().any(|&b| b < 0x20 || b == 0x7f);
    let is_plain_proof = match attempt.proof {
        Proof::Password(password) | Proof::Code(password) => {
            is_plain(password) && password.len() <= PASSWORD_MAX
        }
        Proof::Response(_) => true,
    };
    if !is_plain(attempt.user) || !is_plain_proof {
        return Some(Decision::denied(LoginResult::DeniedCode, Reason::Malformed));
    }
    rule_1_listed(entry)
}

/// The same whatever was presented.
pub(super) fn rule_1_listed(entry: &Entry) -> Option<Decision> {
    if entry.too_many_lines {
        return Some(Decision::new(Verdict::Error, LoginResult::Error, Reason::TooManyLines));
    }
    if entry.lines.is_empty() && !entry.unreadable {
        return Some(if entry.is_twin {
            Decision::denied(LoginResult::Unknown, Reason::Twin).after_a_wrong_guess()
        } else {
            Decision::new(Verdict::Unknown, LoginResult::Unknown, Reason::NotListed)
        });
    }
    if entry.lines.iter().all(|line| line.token.disabled) {
        return Some(if entry.unreadable {
            Decision::denied(LoginResult::Error, Reason::Unreadable)
        } else {
            Decision::denied(LoginResult::DeniedLocked, Reason::AllTokensOff)
        });
    }
    None
}
