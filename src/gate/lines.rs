//! The log lines of a decision.

use super::Gate;
use crate::decide::{Decision, LoginResult, Reason, Verdict};
use crate::log::{Level, Log, Quoted};
use crate::store::{Found, Store, Unreadable};
use crate::token::LINES_MAX;

impl<S: Store> Gate<S> {
    pub(super) fn log_outcome(
        &self,
        decision: &Decision,
        found: &Found,
        user: &[u8],
        log: &dyn Log,
    ) {
        self.log_unreadable(found, user, log);
        self.log_decision(decision.verdict, decision.word, decision.reason, user, log);
    }

    pub(super) fn log_unreadable(&self, found: &Found, user: &[u8], log: &dyn Log) {
        if found.entry.too_many_lines {
            let store = self.store.name();
            let user = Quoted(user);
            log.log(
                Level::Error,
                format_args!(
                    "{store}: more than {LINES_MAX} lines have this name; logins fail until some are removed with `otpgate edit`, user {user}"
                ),
            );
        }
        for Unreadable { place, reason } in &found.unreadable {
            log.log(
                Level::Error,
                format_args!(
                    "{place}: {reason}; the user is refused until it is corrected, user {}",
                    Quoted(user)
                ),
            );
        }
    }

    pub(super) fn log_decision(
        &self,
        verdict: Verdict,
        word: LoginResult,
        reason: Reason,
        user: &[u8],
        log: &dyn Log,
    ) {
        let level = match verdict {
            _ if reason.is_fault() => Level::Error,
            Verdict::Error => Level::Error,
            Verdict::Granted => Level::Info,
            // A browser's doing, and nobody's attack.
            Verdict::Denied if word == LoginResult::DeniedExpired => Level::Info,
            Verdict::Unknown => Level::PassedOn,
            Verdict::Denied | Verdict::Throttled | Verdict::Busy => Level::Refusal,
        };
        if log.wants(level) {
            log.log(
                level,
                format_args!("{}: {}, user {}", word.as_str(), reason.text(), Quoted(user)),
            );
        }
    }
}
