//! The answer to a login.

use std::fmt;
use std::sync::Arc;

use zeroize::Zeroizing;

use super::computer::SetComputer;
use super::session::SetCookie;
use crate::decide::{Decision, LoginResult, Reason, Verdict};
use crate::store::{LoopTurn, StoreError};

/// The answer to a login.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// What the server is to do.
    pub verdict: Verdict,
    /// Which rule decided.
    pub word: LoginResult,
    /// Why. `None`: as it was decided for the same request before.
    pub cause: Option<Cause>,
    /// For [`Verdict::Throttled`] and [`Verdict::Busy`]: seconds until the next try.
    pub retry_after: Option<u32>,
    /// On a grant with PINFakeBasicAuth: the PIN for the backend.
    pub upstream_pin: Option<Zeroizing<Vec<u8>>>,
    /// What is to become of the browser's cookie. `None`: nothing.
    pub cookie: Option<SetCookie>,
    /// What is to become of its cookie as a trusted computer. `None`: nothing.
    pub computer: Option<Box<SetComputer>>,
}

/// Why a login is answered as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cause {
    /// By a rule.
    Rule(Reason),
    /// The store couldn't do what it was asked for.
    Store(Arc<StoreError>),
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Cause::Rule(reason) => f.write_str(reason.text()),
            Cause::Store(error) => error.fmt(f),
        }
    }
}

impl Answer {
    /// Of a decision.
    pub(super) fn of(decision: &Decision, fault: Option<&Arc<StoreError>>) -> Answer {
        let Decision { verdict, word, reason, retry_after, .. } = *decision;
        let cause = fault.map_or(Cause::Rule(reason), |error| Cause::Store(error.clone()));
        Answer { retry_after, cause: Some(cause), ..Answer::plain(verdict, word) }
    }

    /// Without anything to go with it.
    pub fn plain(verdict: Verdict, word: LoginResult) -> Answer {
        let (cause, retry_after, upstream_pin) = (None, None, None);
        Answer { verdict, word, cause, retry_after, upstream_pin, cookie: None, computer: None }
    }

    /// For a part of a request that wasn't granted.
    pub fn no_part() -> Answer {
        Answer::plain(Verdict::Denied, LoginResult::DeniedCode)
    }

    /// Nothing could be decided.
    pub fn error() -> Answer {
        Answer::plain(Verdict::Error, LoginResult::Error)
    }
}

/// How long a decision may take.
#[derive(Clone, Copy)]
pub(super) enum Turn {
    MayBlock,
    /// On an event loop.
    AtOnce(LoopTurn),
}
