//! A program's own password (specification, section 4.9): random, good for some paths and methods,
//! and no part of a login by code. It changes no token's state.

use super::access::rule_5_access;
use super::name::rule_1_name;
use super::{Attempt, Decision, LoginResult, Proof, Reason, Verdict};
use crate::UnixTime;
use crate::http::target::Target;
use crate::policy::Policy;
use crate::token::{AppPassword, Entry};

/// The decision on a program's password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DecidedApp {
    /// The decision.
    pub decision: Decision,
    /// On a grant: which of the user's.
    pub app: Option<usize>,
}

/// Decides a password of the shape of a program's, where such passwords are allowed. `None`: rule 1
/// says who decides.
pub fn app(
    policy: &Policy,
    entry: &Entry,
    attempt: &Attempt<'_>,
    target: &Target<'_>,
    now: UnixTime,
) -> Option<DecidedApp> {
    let Proof::Password(password) = attempt.proof else { return None };
    if rule_1_name(entry, attempt).is_some() {
        return None;
    }
    let refused = |decision: Decision| {
        Some(DecidedApp { decision: decision.whatever_the_state(), app: None })
    };
    let denied = |reason| Decision::denied(LoginResult::DeniedApp, reason);
    if entry.ways.always.apps {
        return refused(denied(Reason::AppsClosed).after_a_wrong_guess());
    }
    // All are looked at, so that the time doesn't say which.
    let apps = entry.ways.apps.iter().enumerate();
    let its: Vec<(usize, &AppPassword)> =
        apps.filter(|(_, app)| app.digest.is_of(password)).collect();
    if its.is_empty() {
        return refused(denied(Reason::WrongApp).after_a_wrong_guess());
    }
    if let Some(decision) = rule_5_access(policy) {
        return refused(decision);
    }
    let mut first = None;
    for (index, app) in its {
        match refusal(app, target, now) {
            None => {
                let decision =
                    Decision::new(Verdict::Granted, LoginResult::GrantedApp, Reason::App)
                        .whatever_the_state();
                return Some(DecidedApp { decision, app: Some(index) });
            }
            Some(reason) => first = first.or(Some(reason)),
        }
    }
    refused(denied(first.unwrap_or(Reason::WrongApp)))
}

/// Why the right password isn't enough. Nothing was guessed by then.
fn refusal(app: &AppPassword, target: &Target<'_>, now: UnixTime) -> Option<Reason> {
    let is_its_method = app.methods.is_empty()
        || target.method().is_some_and(|method| app.methods.iter().any(|its| its == method));
    match () {
        () if app.until.is_some_and(|end| now >= end) => Some(Reason::AppEnded),
        () if !is_its_method => Some(Reason::AppMethod),
        () if !app.paths.is_empty() && !target.is_within(&app.paths) => Some(Reason::AppPath),
        () => None,
    }
}

impl Decision {
    /// A program's password, right in another place of the same request, where this place lets no
    /// programs in.
    pub(crate) fn apps_off() -> Decision {
        Decision::denied(LoginResult::DeniedApp, Reason::AppsOff).whatever_the_state()
    }
}
