//! The user's tokens while they are decided on.

use std::collections::HashMap;

use super::StateChange;
use super::window::Window;
use crate::UnixTime;
use crate::policy::Policy;
use crate::token::{Entry, State, StoredToken, Used};

/// A use that lies further ahead than this, in seconds, was written by a clock that was wrong.
const CLOCK_ACCIDENT: i64 = 3600;

/// The user's tokens, several lines of the same one taken together.
pub(super) struct Devices {
    pub(super) all: Vec<Device>,
    /// Which device each of the entry's lines belongs to.
    pub(super) of_line: Vec<usize>,
}

pub(super) struct Device {
    pub(super) lines: Vec<usize>,
    /// The furthest state of its lines.
    pub(super) state: State,
    changed: bool,
    pub(super) locked: bool,
    /// The presented code is its last accepted one, so it can't be a fresh one of the same token.
    pub(super) spent: bool,
    pub(super) window: Window,
}

impl Devices {
    pub(super) fn of(policy: &Policy, entry: &Entry, now: UnixTime) -> Devices {
        let mut all: Vec<Device> = Vec::new();
        let mut of_line = Vec::new();
        let mut known = HashMap::with_capacity(entry.lines.len());
        for (index, line) in entry.lines.iter().enumerate() {
            let device = *known.entry(line.token.device()).or_insert(all.len());
            match all.get_mut(device) {
                Some(device) => device.join(index, line, policy, now),
                None => all.push(Device::of(index, line, policy, now)),
            }
            of_line.push(device);
        }
        Devices { all, of_line }
    }

    /// Which codes are next; only rules 7 and 8 want to know.
    pub(super) fn open_windows(&mut self, policy: &Policy, entry: &Entry, now: UnixTime) {
        for device in &mut self.all {
            // Of printed lists that are one token, the shortest ends it.
            let tokens = device.lines.iter().map(|&line| &entry.lines[line].token);
            let token = tokens.min_by_key(|token| token.factor.last_position());
            let token = token.expect("a device has a line");
            device.window = Window::of(policy, token, &device.state, now);
        }
    }

    pub(super) fn of_line(&self, line: usize) -> &Device {
        &self.all[self.of_line[line]]
    }

    pub(super) fn of_line_mut(&mut self, line: usize) -> &mut Device {
        &mut self.all[self.of_line[line]]
    }

    /// The lines that may still grant: neither switched off nor locked.
    pub(super) fn open_lines<'e>(
        &self,
        entry: &'e Entry,
    ) -> impl Iterator<Item = (usize, &'e StoredToken)> {
        let lines = entry.lines.iter().enumerate();
        lines.filter(|(index, line)| !line.token.disabled && !self.of_line(*index).locked)
    }

    pub(super) fn into_changes(self) -> Vec<StateChange> {
        let mut changes = Vec::new();
        for device in self.all.into_iter().filter(|device| device.changed) {
            for line in device.lines {
                changes.push(StateChange { line, state: device.state.clone() });
            }
        }
        changes
    }
}

impl Device {
    pub(super) fn of(index: usize, line: &StoredToken, policy: &Policy, now: UnixTime) -> Device {
        Device {
            lines: vec![index],
            state: line.state_with_floor(policy.max_offset, now),
            changed: false,
            locked: false,
            spent: false,
            window: Window::default(),
        }
    }

    /// Another line of the same token: its state is the furthest of them.
    fn join(&mut self, index: usize, line: &StoredToken, policy: &Policy, now: UnixTime) {
        self.lines.push(index);
        let other = line.state_with_floor(policy.max_offset, now);
        let failures = self.state.failures.max(other.failures);
        let failed = self.state.last_failure.max(other.last_failure);
        if other.is_further_than(&self.state, line.token.factor, now) {
            self.state = other;
        }
        self.state.failures = failures;
        self.state.last_failure = failed;
    }

    pub(super) fn change(&mut self) -> &mut State {
        self.changed = true;
        &mut self.state
    }

    /// What a clock that was ahead has left in the file must not count until that day comes. A
    /// failure counts as one of now. A use ends: its code would be accepted again on that day.
    pub(super) fn mend_times(&mut self, now: UnixTime) {
        if self.state.last_failure.is_some_and(|failed| failed > now) {
            self.change().last_failure = Some(now);
        }
        let last_use = self.state.used.as_of(now).map(|(first, last)| first.max(last));
        if last_use.is_some_and(|last| last.saturating_sub(now) > CLOCK_ACCIDENT) {
            // Whenever that was, it was before now.
            self.change().used = Used::Ended { last_login: now };
        }
    }
}
