//! Whom a section lets in: what its settings and its group file say about the user of a login.

use std::borrow::Cow;

use super::Site;
use super::login::Request;
use crate::decide::{LoginResult, Reason};
use crate::files::fault::Fault;
use crate::gate::{Answer, Cause};
use crate::log::{Level, Quoted};
use crate::policy::{Admission, Policy};

/// The settings of a section for one user.
pub(super) struct ForUser {
    pub(super) policy: Policy,
    /// Why the group file doesn't say whether they are let in.
    fault: Option<Fault>,
}

/// Whether a file may be read for it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Reading {
    Allowed,
    /// On an event loop.
    No,
}

impl Site {
    /// Completes a section's policy by what it says about a user. `None`: not without reading.
    pub(super) fn for_user<'u>(
        &self,
        mut policy: Policy,
        request: &Request<'_>,
        user: impl FnOnce() -> Cow<'u, [u8]>,
        reading: Reading,
    ) -> Option<ForUser> {
        if policy.admission == Admission::Admitted {
            return Some(ForUser { policy, fault: None });
        }
        let Some(required) = &request.section.settings.required else {
            return Some(ForUser { policy, fault: None });
        };
        let (user, path) = (user(), |configured: &[u8]| self.gates.path(configured));
        let admitted = match reading {
            Reading::No => Ok(self.groups.admit_now(required, path, &user, request.turn)?),
            Reading::Allowed => self.groups.admit(required, path, &user),
        };
        let (admission, fault) = match admitted {
            Ok(admission) => (admission, None),
            Err(fault) => (Admission::Unknown, Some(fault)),
        };
        policy.admission = admission;
        Some(ForUser { policy, fault })
    }
}

impl ForUser {
    /// Says what is wrong with the group file, if that is why nothing could be decided. Strangers
    /// can't fill the log with it.
    pub(super) fn log_fault(&self, answer: &Answer, user: &[u8], request: &Request<'_>) {
        let is_reason = answer.word == LoginResult::Error
            && matches!(answer.cause, None | Some(Cause::Rule(Reason::GroupFileFailed)));
        if let Some(fault) = self.fault.as_ref().filter(|_| is_reason) {
            request.log.log(Level::Error, format_args!("{fault}, user {}", Quoted(user)));
        }
    }
}
