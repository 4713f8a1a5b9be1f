//! The repeat login: a browser sends the same password with every request, and is granted by the same rule each time.
//! What was decided last is kept with the lines it was decided on, and goes when they do.

use parking_lot::Mutex;

use super::judged::Mark;
use super::{Found, Gate, Login, Store};
use crate::UnixTime;
use crate::decide::{Accepted, Decision};
use crate::policy::Policy;
use crate::token::{Address, Pin};

/// The last repeat login of a user, if there was any.
#[derive(Debug, Default)]
pub struct LastRepeat(Mutex<Option<Repeat>>);

#[derive(Debug)]
struct Repeat {
    /// All that it was decided on, besides the lines.
    policy: Policy,
    credentials: Mark,
    address: Address,
    from: UnixTime,
    until: UnixTime,
    accepted: Accepted,
}

impl<S: Store> Gate<S> {
    /// The decision on a login, if it is the last one come again and time hasn't changed anything.
    pub(super) fn repeated(
        &self,
        policy: &Policy,
        login: &Login<'_>,
        credentials: Mark,
        found: &Found,
    ) -> Option<Decision> {
        let last = found.repeat.0.try_lock()?;
        let last = last.as_ref()?;
        let is_same =
            last.credentials == credentials && last.address == login.address && last.policy == *policy;
        let in_time = || (last.from..=last.until).contains(&(self.clock)());
        (is_same && in_time()).then(|| Decision::repeat_of(last.accepted))
    }

    /// Keeps the decision on a login if nothing but a change of the lines or the time it names can change it.
    pub(super) fn note_repeat(
        &self,
        policy: &Policy,
        login: &Login<'_>,
        credentials: Mark,
        decision: &Decision,
        found: &Found,
    ) {
        let (Some(until), Some(accepted)) = (decision.stands_until, decision.accepted) else { return };
        // A slow PIN check has a memory, and an end, of its own.
        let is_plain = |line: usize| {
            found
                .entry
                .lines
                .get(line)
                .is_some_and(|line| matches!(line.token.pin, Pin::None | Pin::Literal(_)))
        };
        let is_intact = found.entry.lines.iter().all(|line| line.state.intact);
        if !decision.changes.is_empty() || !is_intact || !(0..found.entry.lines.len()).all(is_plain) {
            return;
        }
        let repeat = Repeat {
            policy: *policy,
            credentials,
            address: login.address.clone(),
            from: (self.clock)(),
            until,
            accepted,
        };
        if let Some(mut last) = found.repeat.0.try_lock() {
            *last = Some(repeat);
        }
    }
}
