//! The look-ahead window of rule 7.

use std::ops::RangeInclusive;

use crate::UnixTime;
use crate::policy::Policy;
use crate::token::{Counter, Reading, State, TimeStep, Token};

/// The counters or steps whose codes are acceptable: one or two ranges above the floor.
#[derive(Default)]
pub(super) struct Window {
    ranges: Vec<RangeInclusive<u64>>,
    /// The highest counter or step that is spent or passed.
    pub(super) passed: Option<u64>,
    /// The floor is above everything that the clock could make acceptable.
    pub(super) floor_in_future: bool,
    /// The event counter is at its end.
    pub(super) exhausted: bool,
}

impl Window {
    pub(super) fn of(policy: &Policy, token: &Token, state: &State, now: UnixTime) -> Window {
        match state.reading(token.factor) {
            Reading::Event { next } => {
                let window = Window::above(
                    vec![next.and_ahead(policy.max_offset, token.factor)],
                    next.previous().map(Counter::position),
                );
                Window { exhausted: window.ranges.is_empty(), ..window }
            }
            Reading::Time { period, offset, floor } => {
                let step = TimeStep::at(now, period);
                let around_now = step.and_around(policy.max_offset, period);
                let around_offset = step.shifted_by(offset).and_around(policy.max_offset, period);
                let floor = floor.map(TimeStep::position);
                let ranges = union(around_now, around_offset);
                let top =
                    ranges.iter().filter(|range| !range.is_empty()).map(|range| *range.end()).max();
                Window { floor_in_future: floor > top, ..Window::above(ranges, floor) }
            }
        }
    }

    /// Only what is above the floor.
    fn above(mut ranges: Vec<RangeInclusive<u64>>, floor: Option<u64>) -> Window {
        if let Some(floor) = floor {
            for range in &mut ranges {
                *range = *range.start().max(&floor.saturating_add(1))..=*range.end();
            }
        }
        ranges.retain(|range| !range.is_empty());
        let passed = match ranges.first() {
            Some(lowest) => lowest.start().checked_sub(1),
            None => floor,
        };
        Window { ranges, passed, ..Window::default() }
    }

    pub(super) fn positions(&self) -> impl Iterator<Item = u64> + use<> {
        self.ranges.clone().into_iter().flatten()
    }
}

/// Two ranges as one, or as two in ascending order.
fn union(a: RangeInclusive<u64>, b: RangeInclusive<u64>) -> Vec<RangeInclusive<u64>> {
    let (low, high) = if a.start() <= b.start() { (a, b) } else { (b, a) };
    if low.is_empty() || high.is_empty() || *high.start() > low.end().saturating_add(1) {
        vec![low, high]
    } else {
        vec![*low.start()..=*low.end().max(high.end())]
    }
}
