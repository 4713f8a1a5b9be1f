//! Cookies that were found to be ours a moment ago: browsers send the same with each request, and a
//! MAC takes longer than all else that is to be done for it. What a cookie says doesn't change;
//! whether its session holds is decided anew each time.

use std::array;
use std::net::IpAddr;
use std::sync::OnceLock;

use parking_lot::Mutex;

use super::marks::Mark;
use super::request_memory::ip_of;
use super::session::KnownSession;
use crate::policy::Policy;
use crate::store::CookieSecret;
use crate::token::Address;

/// So many browsers at a time, as good as.
const SLOTS: usize = 256;

/// One cookie, and all that decides what it says.
struct KnownCookie {
    policy: Policy,
    address: Option<IpAddr>,
    session: KnownSession,
}

type Slots = [Mutex<Option<Box<KnownCookie>>>; SLOTS];

/// What is remembered of cookies; nothing, until there is one.
#[derive(Default)]
pub(super) struct KnownCookies(OnceLock<Box<Slots>>);

impl KnownCookies {
    /// What was found then, if the secret is still that one.
    pub(super) fn recall(
        &self,
        mark: &Mark,
        policy: &Policy,
        address: &Address,
        secret: &CookieSecret,
    ) -> Option<KnownSession> {
        let slot = self.0.get()?[slot_of(mark)].lock();
        let known = slot.as_ref()?;
        let is_it = known.session.mark() == mark
            && known.address == ip_of(address)
            && known.session.is_made_with(secret)
            && known.policy == *policy;
        is_it.then(|| known.session.clone())
    }

    pub(super) fn remember(&self, policy: &Policy, address: &Address, session: KnownSession) {
        let slots = self.0.get_or_init(|| Box::new(array::from_fn(|_| Mutex::default())));
        let (policy, address, slot) = (*policy, ip_of(address), slot_of(session.mark()));
        let known = KnownCookie { policy, address, session };
        *slots[slot].lock() = Some(Box::new(known));
    }
}

fn slot_of(mark: &Mark) -> usize {
    (mark[0] % SLOTS as u64) as usize
}
