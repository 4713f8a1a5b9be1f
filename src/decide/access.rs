//! Rule 5, its points 8 to 11: whom the place lets in.

use super::{Decision, LoginResult, Reason, Verdict};
use crate::policy::{Admission, Policy};

/// Rule 5, its points 8 to 11: the PIN is right, or there is none. The refusal looks like that of a
/// wrong PIN, nothing about codes is computed, and no other provider is asked.
pub(super) fn rule_5_access(policy: &Policy) -> Option<Decision> {
    let refused = match policy.admission {
        Admission::Admitted => return None,
        Admission::NotAdmitted => {
            Decision::denied(LoginResult::DeniedUser, Reason::NotAdmitted).after_a_wrong_guess()
        }
        Admission::Unknown => {
            Decision::new(Verdict::Error, LoginResult::Error, Reason::GroupFileFailed)
        }
    };
    Some(refused.whatever_the_state())
}
