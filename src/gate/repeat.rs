//! The repeat login: a browser sends the same password with every request, and is granted by the
//! same rule each time. The last decision is kept with the lines it rests on, and is dropped with
//! them.

use super::Gate;
use super::basic::Login;
use super::marks::Mark;
use super::request_memory::{JudgedAttempt, RequestMemory};
use crate::UnixTime;
use crate::decide::{Accepted, Decision};
use crate::pin::PinSource;
use crate::policy::Policy;
use crate::store::{Found, LoopTurn, Store};
use crate::token::Pin;

/// The last repeat login of a user; kept with what was found ([`crate::store::Memory`]).
struct Repeat {
    /// What a request remembers of it: all that it was decided on, besides the lines.
    slot: JudgedAttempt,
    accepted: Accepted,
    from: UnixTime,
    until: UnixTime,
    /// Who has found an external PIN right.
    pin_source: Option<PinSourceState>,
}

struct PinSourceState {
    identity: Vec<u8>,
    state: Vec<u8>,
    /// When it was last found to be the same.
    looked: LoopTurn,
}

impl PinSourceState {
    /// Whether the source is the same and would still say the same.
    fn holds(&mut self, source: &dyn PinSource, turn: LoopTurn) -> bool {
        if turn.is_some() && self.looked == turn {
            return source.identity() == self.identity;
        }
        let holds =
            source.identity() == self.identity && source.state().as_deref() == Some(&self.state);
        if holds {
            self.looked = turn;
        }
        holds
    }
}

impl<S: Store> Gate<S> {
    /// The decision on a login, if it is the last one come again and time hasn't changed anything.
    /// The request remembers it.
    pub(super) fn repeated(
        &self,
        policy: &Policy,
        login: &Login<'_>,
        credentials: Mark,
        (source, turn): (&dyn PinSource, LoopTurn),
        judged: Option<&mut RequestMemory>,
        found: &Found,
    ) -> Option<Decision> {
        let mut memory = found.memory.try_lock()?;
        let last = memory.as_mut()?.downcast_mut::<Repeat>()?;
        let now = (self.clock)();
        let holds = last.slot.is_of(&credentials, &login.address, policy)
            && (last.from..=last.until).contains(&now)
            && last.pin_source.as_mut().is_none_or(|known| known.holds(source, turn));
        if !holds {
            return None;
        }
        if let Some(judged) = judged {
            judged.remember_repeat(&last.slot, now);
        }
        Some(Decision::repeat_of(last.accepted))
    }

    /// Keeps the decision on a login if nothing but a change of the lines or the time it names can
    /// change it.
    pub(super) fn note_repeat(
        &self,
        policy: &Policy,
        login: &Login<'_>,
        source: &dyn PinSource,
        decision: &Decision,
        (found, slot): (&Found, &JudgedAttempt),
    ) {
        let (Some(until), Some(accepted)) = (decision.stands_until, slot.accepted()) else {
            return;
        };
        let lines = &found.entry.lines;
        if !decision.changes.is_empty() || !lines.iter().all(|line| line.state.intact) {
            return;
        }
        // A slow PIN check has a memory, and an end, of its own.
        let token = &lines[accepted.line].token;
        let (remembered, pin_source) = match token.pin {
            Pin::None | Pin::Literal(_) => (UnixTime::MAX, None),
            Pin::Hashed(_) if policy.pin_cache_hashed == 0 => return,
            Pin::Hashed(_) => {
                let pin = &login.password[..accepted.pin_len];
                let Some(until) = self.remembered_until(token, b"", b"", pin) else { return };
                (until, None)
            }
            Pin::External if policy.pin_cache_external == 0 || !source.is_known_by_identity() => {
                return;
            }
            Pin::External => {
                let pin = &login.password[..accepted.pin_len];
                let Some(state) = source.state() else { return };
                let identity = source.identity();
                let Some(until) = self.remembered_until(token, &identity, &state, pin) else {
                    return;
                };
                (until, Some(PinSourceState { identity, state, looked: None }))
            }
        };
        let until = until.min(remembered.saturating_sub(1));
        let repeat = Repeat { slot: *slot, accepted, from: (self.clock)(), until, pin_source };
        if let Some(mut memory) = found.memory.try_lock() {
            *memory = Some(Box::new(repeat));
        }
    }
}
