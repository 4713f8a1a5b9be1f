//! The log lines of a decision.

use super::Gate;
use crate::decide::{Decision, LoginResult, Reason, Verdict};
use crate::log::{Level, Log, Quoted};
use crate::store::{Found, Store, Unreadable};
use crate::token::{LINES_MAX, PaperCode};

/// So many codes of a printed list, or fewer, and the log says that it is time for a new one.
const FEW_LEFT: u16 = 5;

impl<S: Store> Gate<S> {
    pub(super) fn log_outcome(
        &self,
        decision: &Decision,
        found: &Found,
        user: &[u8],
        log: &dyn Log,
    ) {
        self.log_unreadable(found, user, log);
        if let Some(code) = decision.paper {
            return log_paper(decision.word, code, user, log);
        }
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
            // As somebody wanted it.
            Verdict::Denied if reason == Reason::LoggedOut => Level::Info,
            // A browser's doing, and nobody's attack.
            Verdict::Denied
                if matches!(word, LoginResult::DeniedExpired | LoginResult::DeniedSession) =>
            {
                Level::Info
            }
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

/// A login by a code of a printed list.
fn log_paper(word: LoginResult, code: PaperCode, user: &[u8], log: &dyn Log) {
    let PaperCode { number, printed } = code;
    let (left, word, user) = (code.left(), word.as_str(), Quoted(user));
    log.log(
        Level::Info,
        format_args!("{word}: paper code {number} of {printed}, {left} left, user {user}"),
    );
    if left <= FEW_LEFT {
        log.log(
            Level::Warning,
            format_args!(
                "codes left on a paper list: {left}; print a new one with `otpgate paper --again`, user {user}"
            ),
        );
    }
}
