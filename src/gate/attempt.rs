//! One login as a thread owns it that waits for others, or is decided by one of them.

use std::sync::Arc;

use zeroize::Zeroizing;

use super::commit::Snapshot;
use super::questions::PinKnown;
use super::session::JobBrowser;
use crate::decide::{Attempt, Decision, Proof};
use crate::http::digest::Exchange;
use crate::policy::Policy;
use crate::token::Address;

/// An [`Attempt`] that owns what it needs.
#[derive(Clone)]
pub(super) struct OwnedAttempt {
    pub(super) user: Vec<u8>,
    pub(super) proof: OwnedProof,
    pub(super) address: Address,
}

#[derive(Clone)]
pub(super) enum OwnedProof {
    Password(Zeroizing<Vec<u8>>),
    /// Of somebody whose session is there.
    Code(Zeroizing<Vec<u8>>),
    Response(Arc<Exchange>),
}

impl OwnedAttempt {
    /// Lends it.
    pub(super) fn lend<R>(&self, work: impl FnOnce(&Attempt<'_>) -> R) -> R {
        let attempt = |proof| Attempt { user: &self.user, proof, address: self.address.clone() };
        match &self.proof {
            OwnedProof::Password(password) => work(&attempt(Proof::Password(password))),
            OwnedProof::Code(code) => work(&attempt(Proof::Code(code))),
            OwnedProof::Response(exchange) => {
                work(&attempt(Proof::Response(&exchange.response(&self.user))))
            }
        }
    }

    /// Of Basic; or the code alone. A try is of this.
    pub(super) fn password(&self) -> Option<&[u8]> {
        match &self.proof {
            OwnedProof::Password(password) | OwnedProof::Code(password) => Some(password),
            OwnedProof::Response(_) => None,
        }
    }
}

/// A login on its way through the rounds.
#[derive(Clone)]
pub(super) struct Job {
    pub(super) policy: Policy,
    pub(super) attempt: OwnedAttempt,
    pub(super) pins: Arc<Vec<PinKnown>>,
    /// A grant or a forget request is found out but not carried out.
    pub(super) is_match_only: bool,
    /// What was decided about it without the lock.
    pub(super) snapshot: Option<Snapshot>,
    /// The user is known to log in from there.
    pub(super) is_familiar: bool,
    /// The same request was granted elsewhere, by the same credentials.
    pub(super) is_granted_before: bool,
    /// So that they are no guess here.
    pub(super) is_let_in: bool,
    /// Whose session the login makes; `None`: nobody's.
    pub(super) browser: Option<Arc<JobBrowser>>,
    /// A grant without a code has been counted, so that its session may be kept.
    pub(super) is_counted: bool,
}

impl Job {
    pub(super) fn new(policy: &Policy, attempt: OwnedAttempt) -> Job {
        Job {
            policy: *policy,
            attempt,
            pins: Arc::default(),
            is_match_only: false,
            snapshot: None,
            is_familiar: false,
            is_granted_before: false,
            is_let_in: false,
            browser: None,
            is_counted: false,
        }
    }

    /// Whether a decision begins a session, though it writes nothing else.
    pub(super) fn is_kept_alone(&self, decision: &Decision) -> bool {
        self.is_counted && self.browser.as_ref().is_some_and(|browser| browser.keeps(decision))
    }

    pub(super) fn learn(&mut self, known: PinKnown) {
        // Nobody else holds the list: jobs that did are done.
        match Arc::get_mut(&mut self.pins) {
            Some(pins) => pins.push(known),
            None => self.pins = Arc::new(vec![known]),
        }
    }
}
