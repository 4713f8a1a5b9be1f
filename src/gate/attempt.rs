//! One login: as it is lent for a call, and as a thread owns it that waits for others.

use std::sync::Arc;

use zeroize::Zeroizing;

use super::commit::Snapshot;
use super::questions::PinKnown;
use crate::http::digest::Exchange;
use crate::policy::Policy;
use crate::token::Address;

/// One login as a server presents it.
pub struct Login<'a> {
    /// The name the client gave.
    pub user: &'a [u8],
    /// The password the client gave.
    pub password: &'a [u8],
    /// Where the client is.
    pub address: Address,
}

/// A login; owns what it needs, because another thread may decide it.
pub(super) struct Job {
    pub(super) policy: Policy,
    pub(super) user: Vec<u8>,
    pub(super) credentials: Credentials,
    pub(super) address: Address,
    pub(super) pins: Arc<Vec<PinKnown>>,
    /// A grant or a forget request is found out but not carried out.
    pub(super) is_match_only: bool,
    /// What was decided about it without the lock.
    pub(super) snapshot: Option<Snapshot>,
    /// The user is known to log in from there.
    pub(super) is_familiar: bool,
}

#[derive(Clone)]
pub(super) enum Credentials {
    Password(Zeroizing<Vec<u8>>),
    Digest(Arc<Exchange>),
}

/// What a decision is asked for: a job without what it owns.
#[derive(Clone, Copy)]
pub(super) struct Request<'a> {
    pub(super) policy: &'a Policy,
    pub(super) user: &'a [u8],
    pub(super) credentials: Presented<'a>,
    pub(super) address: &'a Address,
}

#[derive(Clone, Copy)]
pub(super) enum Presented<'a> {
    Password(&'a [u8]),
    Digest(&'a Exchange),
}

impl Job {
    pub(super) fn request(&self) -> Request<'_> {
        Request {
            policy: &self.policy,
            user: &self.user,
            credentials: match &self.credentials {
                Credentials::Password(password) => Presented::Password(password),
                Credentials::Digest(exchange) => Presented::Digest(exchange),
            },
            address: &self.address,
        }
    }

    pub(super) fn learn(&mut self, known: PinKnown) {
        // Nobody else holds the list: jobs that did are done.
        match Arc::get_mut(&mut self.pins) {
            Some(pins) => pins.push(known),
            None => self.pins = Arc::new(vec![known]),
        }
    }
}

pub(super) fn basic_request<'a>(policy: &'a Policy, login: &'a Login<'_>, password: &'a [u8]) -> Request<'a> {
    Request { policy, user: login.user, credentials: Presented::Password(password), address: &login.address }
}

pub(super) fn basic_job(policy: &Policy, login: &Login<'_>) -> Job {
    Job {
        policy: *policy,
        user: login.user.to_vec(),
        credentials: Credentials::Password(Zeroizing::new(login.password.to_vec())),
        address: login.address.clone(),
        pins: Arc::default(),
        is_match_only: false,
        snapshot: None,
        is_familiar: false,
    }
}
