//! Where a token stands: all arithmetic between its state and counters or time steps.
//!
//! Field 5 and the replay floor mean one thing for event tokens and another for time tokens, so
//! they are numbers that nobody can compute with until a moving factor says which they are
//! ([`State::reading`]). A *position* is what a code is computed from, whichever it is: a counter
//! (RFC 4226) or the number of a time step (RFC 6238), below 2^63.

use std::fmt;
use std::num::NonZeroU32;
use std::ops::RangeInclusive;

use super::{MovingFactor, PaperCode, State, StoredToken};
use crate::UnixTime;

/// Field 5 as written: an event token's next expected [`Counter`], a time token's [`ClockOffset`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CounterField(i64);

impl CounterField {
    /// The number that stands in the file.
    pub const fn from_written(number: i64) -> CounterField {
        CounterField(number)
    }

    /// The same, to be written or shown.
    pub const fn as_written(self) -> i64 {
        self.0
    }
}

impl fmt::Display for CounterField {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl From<Counter> for CounterField {
    fn from(next: Counter) -> CounterField {
        CounterField(next.0)
    }
}

impl From<ClockOffset> for CounterField {
    fn from(offset: ClockOffset) -> CounterField {
        CounterField(offset.0)
    }
}

/// The first number of `ext` as written: the last accepted counter, or the Unix second at which the
/// last accepted time step began. Of one token, the larger one is the later one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ReplayFloor(i64);

impl ReplayFloor {
    /// The number that stands in the file.
    pub const fn from_written(number: i64) -> ReplayFloor {
        ReplayFloor(number)
    }

    /// The same, to be written or shown.
    pub const fn as_written(self) -> i64 {
        self.0
    }

    /// No code of this time step and before it is accepted. `None`: its second doesn't fit.
    pub fn of_step(step: TimeStep, period: NonZeroU32) -> Option<ReplayFloor> {
        step.0.checked_mul(period.get().into()).map(ReplayFloor)
    }

    /// Whether it is one in a file, where 0 says that there is none.
    pub fn can_be_written(self) -> bool {
        self.0 > 0
    }
}

impl From<Counter> for ReplayFloor {
    fn from(accepted: Counter) -> ReplayFloor {
        ReplayFloor(accepted.0)
    }
}

/// A counter of an event token, below 2^63.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Counter(i64);

impl Counter {
    /// `None` below 0.
    pub fn new(number: i64) -> Option<Counter> {
        (number >= 0).then_some(Counter(number))
    }

    /// As a number, at least 0.
    pub fn number(self) -> i64 {
        self.0
    }

    /// The position whose code it makes.
    pub fn position(self) -> u64 {
        self.0 as u64
    }

    /// The one after it, if there is one.
    pub fn next(self) -> Option<Counter> {
        self.0.checked_add(1).map(Counter)
    }

    /// The one before it, if there is one.
    pub fn previous(self) -> Option<Counter> {
        Counter::new(self.0 - 1)
    }

    /// From it up to `width` beyond it, as far as a token with this moving factor goes.
    pub fn and_ahead(self, width: u32, factor: MovingFactor) -> RangeInclusive<u64> {
        factor.positions(self.0, self.0.saturating_add(width.into()))
    }

    /// From `width` before it to `width` beyond it, as far as a token with this moving factor goes.
    pub fn and_around(self, width: u32, factor: MovingFactor) -> RangeInclusive<u64> {
        factor.positions(self.0 - i64::from(width), self.0.saturating_add(width.into()))
    }
}

impl fmt::Display for Counter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The number of a time step since 1970; below 0 by a clock that is before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct TimeStep(i64);

impl TimeStep {
    /// By its number.
    pub const fn new(number: i64) -> TimeStep {
        TimeStep(number)
    }

    /// The one that a second is in.
    pub fn at(second: UnixTime, period: NonZeroU32) -> TimeStep {
        TimeStep(second.div_euclid(period.get().into()))
    }

    /// The position whose code it makes; of a step before 1970, that of step 0.
    pub fn position(self) -> u64 {
        self.0.max(0) as u64
    }

    /// As a number.
    pub fn number(self) -> i64 {
        self.0
    }

    /// The one that a clock with this offset shows meanwhile.
    pub fn shifted_by(self, offset: ClockOffset) -> TimeStep {
        TimeStep(self.0.saturating_add(offset.0))
    }

    /// From `width` before it to `width` after it.
    pub fn and_around(self, width: u32, period: NonZeroU32) -> RangeInclusive<u64> {
        let width = i64::from(width);
        MovingFactor::Time(period)
            .positions(self.0.saturating_sub(width), self.0.saturating_add(width))
    }
}

/// By how many steps a time token's clock is ahead of ours; below 0: behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ClockOffset(i64);

impl ClockOffset {
    /// None.
    pub const ZERO: ClockOffset = ClockOffset(0);

    /// In steps.
    pub const fn new(steps: i64) -> ClockOffset {
        ClockOffset(steps)
    }

    /// In steps.
    pub fn steps(self) -> i64 {
        self.0
    }
}

/// What field 5 and the replay floor of a state say of a token with this moving factor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reading {
    /// A counter.
    Event {
        /// The next expected one; all before it are spent or passed.
        next: Counter,
    },
    /// Time.
    Time {
        /// Seconds of a step.
        period: NonZeroU32,
        /// How the token's clock stands.
        offset: ClockOffset,
        /// The last accepted step; it and all before it are spent or passed.
        floor: Option<TimeStep>,
    },
}

impl MovingFactor {
    /// The positions between two numbers that exist: from 0, and such that an accepted counter
    /// leaves room for the next expected one, and a time step's second fits 63 bits.
    fn positions(self, from: i64, to: i64) -> RangeInclusive<u64> {
        let last = self.last_position();
        if to < 0 {
            #[allow(clippy::reversed_empty_ranges)]
            return 1..=0;
        }
        from.max(0) as u64..=to.min(last) as u64
    }

    /// The last one that has a code.
    pub fn last_position(self) -> i64 {
        match self {
            MovingFactor::Event => i64::MAX - 1,
            MovingFactor::Time(period) => i64::MAX / i64::from(period.get()),
            MovingFactor::Paper(printed) => i64::from(printed.get()) - 1,
        }
    }

    /// Whether it is a counter.
    pub fn is_event(self) -> bool {
        match self {
            MovingFactor::Event | MovingFactor::Paper(_) => true,
            MovingFactor::Time(_) => false,
        }
    }

    /// The code of a position on a printed list.
    pub fn paper_code(self, position: u64) -> Option<PaperCode> {
        let MovingFactor::Paper(printed) = self else { return None };
        let number = position.checked_add(1)?.try_into().ok()?;
        (number <= printed.get()).then_some(PaperCode { number, printed: printed.get() })
    }
}

impl State {
    /// What it says of a token with this moving factor.
    pub fn reading(&self, factor: MovingFactor) -> Reading {
        match factor {
            MovingFactor::Event | MovingFactor::Paper(_) => {
                Reading::Event { next: Counter(self.counter.0.max(0)) }
            }
            MovingFactor::Time(period) => {
                let floor = self.replay_floor.filter(|floor| floor.can_be_written());
                Reading::Time {
                    period,
                    offset: ClockOffset(self.counter.0),
                    floor: floor.map(|floor| TimeStep(floor.0 / i64::from(period.get()))),
                }
            }
        }
    }

    /// The position whose code was accepted at `now`: nothing up to there is accepted again.
    pub fn stand_after(&mut self, factor: MovingFactor, position: u64, now: UnixTime) {
        let position = position as i64;
        (self.counter, self.replay_floor) = match factor {
            MovingFactor::Event | MovingFactor::Paper(_) => {
                (CounterField(position + 1), Some(ReplayFloor(position)))
            }
            MovingFactor::Time(period) => {
                let offset = ClockOffset(position - TimeStep::at(now, period).0);
                (offset.into(), ReplayFloor::of_step(TimeStep(position), period))
            }
        };
    }

    /// The position whose code was accepted last, as far as the replay floor says it.
    pub fn last_accepted(&self, factor: MovingFactor) -> Option<u64> {
        self.replay_floor.map(|floor| match factor {
            MovingFactor::Event | MovingFactor::Paper(_) => floor.0 as u64,
            MovingFactor::Time(period) => (floor.0 / i64::from(period.get())) as u64,
        })
    }

    /// How many codes of a printed list haven't been used or passed. `None`: the token is none.
    pub fn codes_left(&self, factor: MovingFactor) -> Option<u16> {
        let MovingFactor::Paper(printed) = factor else { return None };
        Some(
            u16::try_from(self.counter.0.max(0))
                .map_or(0, |gone| printed.get().saturating_sub(gone)),
        )
    }

    /// Whether this state of a token is the one that counts of two: the token has come further, or
    /// was used later.
    pub fn is_further_than(&self, other: &State, factor: MovingFactor, now: UnixTime) -> bool {
        let progress = |state: &State| {
            let reached = match factor {
                MovingFactor::Event | MovingFactor::Paper(_) => state.counter.0,
                MovingFactor::Time(_) => state.replay_floor.map_or(0, ReplayFloor::as_written),
            };
            (reached, state.used.as_of(now).map(|(_, last)| last))
        };
        progress(self) > progress(other)
    }

    /// Beyond every code that may have been accepted until `now`, since this state was saved: an
    /// event token moves on by so many counters; no code of a time token is accepted that could
    /// have been, early, by a window of `max_offset`.
    pub fn advanced(&self, factor: MovingFactor, by: u32, max_offset: u32, now: UnixTime) -> State {
        // The last code could linger, though it was forgotten since.
        let state = State { used: self.used.ended(now), intact: true, ..self.clone() };
        match factor {
            MovingFactor::Event | MovingFactor::Paper(_) => {
                // A counter must leave room for the one after it, if there is to be one.
                let end = match factor {
                    MovingFactor::Paper(printed) => printed.get().into(),
                    _ => i64::MAX - 1,
                };
                let next = state.counter.0.saturating_add(by.into()).min(end.max(state.counter.0));
                State {
                    counter: CounterField(next),
                    replay_floor: Some(ReplayFloor(next - 1)),
                    ..state
                }
            }
            MovingFactor::Time(period) => {
                let early = state.counter.0.max(0).saturating_add(max_offset.into());
                let last = TimeStep::at(now, period).shifted_by(ClockOffset(early));
                let last = TimeStep(last.0.min(i64::MAX / i64::from(period.get())));
                State {
                    replay_floor: state.replay_floor.max(ReplayFloor::of_step(last, period)),
                    ..state
                }
            }
        }
    }
}

impl StoredToken {
    /// The state with the replay floor of a time token filled in, as far as the visible fields say
    /// it; `max_offset` is the window around the time of use in which the last code is looked for.
    pub fn state_with_floor(&self, max_offset: u32, now: UnixTime) -> State {
        let mut state = self.state.clone();
        let MovingFactor::Time(period) = self.token.factor else { return state };
        if state.intact && state.replay_floor.is_some() {
            return state;
        }
        // Only the visible fields say which step was accepted last: the latest one with that code
        // around the time of use; if none has it, the step of that time itself.
        if let Some((_, used)) = state.used.as_of(now) {
            let middle = TimeStep::at(used, period).shifted_by(ClockOffset(state.counter.0));
            let codes = self.token.codes();
            let is_last_otp = |step: &u64| {
                let Some(last_otp) = &state.last_otp else { return false };
                let (decimal, hexadecimal) = codes.of(*step);
                let last_otp = last_otp.clone().into_lower_case();
                bool::from(decimal.is(&last_otp))
                    || hexadecimal.is_some_and(|code| bool::from(code.is(&last_otp)))
            };
            let step = middle.and_around(max_offset, period).rev().find(is_last_otp);
            let floor =
                ReplayFloor::of_step(step.map_or(middle, |step| TimeStep(step as i64)), period);
            state.replay_floor =
                state.replay_floor.max(floor).filter(|floor| floor.can_be_written());
        }
        state
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU16;

    use super::*;
    use crate::token::Used;

    const THIRTY: NonZeroU32 = NonZeroU32::new(30).unwrap();
    const EVENT: MovingFactor = MovingFactor::Event;
    const TIME: MovingFactor = MovingFactor::Time(THIRTY);
    const PAPER: MovingFactor = MovingFactor::Paper(NonZeroU16::new(30).unwrap());

    fn state(counter: i64, floor: i64, last: UnixTime) -> State {
        State {
            counter: CounterField(counter),
            replay_floor: Some(ReplayFloor(floor)),
            used: Used::At { first: last, last },
            ..State::fresh()
        }
    }

    #[test]
    fn the_same_fields_say_one_thing_of_an_event_token_and_another_of_a_time_token() {
        let state = state(7, 95, 0);
        assert_eq!(state.reading(EVENT), Reading::Event { next: Counter(7) });
        let floor = Some(TimeStep(3));
        assert_eq!(
            state.reading(TIME),
            Reading::Time { period: THIRTY, offset: ClockOffset(7), floor }
        );
    }

    #[test]
    fn what_was_accepted_is_found_in_the_state_again() {
        let last = i64::MAX as u64 - 1;
        for (factor, position, now, written) in [
            (EVENT, 0, 0, (1, 0)),
            (EVENT, last, 0, (i64::MAX, i64::MAX - 1)),
            (TIME, 10, 299, (1, 300)),
            (TIME, 10, 300, (0, 300)),
            (TIME, 10, 345, (-1, 300)),
        ] {
            let mut state = State::fresh();
            state.stand_after(factor, position, now);
            let floor = state.replay_floor.map(ReplayFloor::as_written);
            assert_eq!((state.counter.as_written(), floor), (written.0, Some(written.1)));
            assert_eq!(state.last_accepted(factor), Some(position));
        }
    }

    #[test]
    fn a_printed_list_has_as_many_codes_left_as_were_neither_used_nor_passed() {
        for (next, left) in [(0, 30), (7, 23), (29, 1), (30, 0), (31, 0), (i64::MAX, 0)] {
            assert_eq!(state(next, next - 1, 0).codes_left(PAPER), Some(left), "{next}");
        }
        assert_eq!(state(7, 6, 0).codes_left(EVENT), None);
        let code = PAPER.paper_code(6).unwrap();
        assert_eq!((code.number, code.printed, code.left()), (7, 30, 23));
        for (factor, position) in [(PAPER, 30), (PAPER, u64::MAX), (EVENT, 6), (TIME, 6)] {
            assert_eq!(factor.paper_code(position), None);
        }
    }

    #[test]
    fn a_list_that_is_moved_ahead_ends_with_its_last_code() {
        for (next, by, expected) in [(0, 10, 10), (7, 100, 30), (30, 100, 30), (40, 100, 40)] {
            let state = state(next, next - 1, 0).advanced(PAPER, by, 4, 0);
            assert_eq!(state.counter.as_written(), expected, "{next} and {by}");
        }
    }

    #[test]
    fn positions_that_dont_exist_are_in_no_window() {
        let last = i64::MAX as u64 - 1;
        assert_eq!(Counter(2).and_around(3, EVENT), 0..=5);
        assert_eq!(Counter(i64::MAX - 2).and_ahead(5, EVENT), last - 1..=last);
        assert!(Counter(i64::MAX).and_ahead(5, EVENT).is_empty());
        assert_eq!(Counter(27).and_ahead(5, PAPER), 27..=29);
        for used_up in [30, 31, i64::MAX] {
            assert!(Counter(used_up).and_ahead(5, PAPER).is_empty(), "{used_up}");
        }
        assert_eq!(TimeStep(2).and_around(3, THIRTY), 0..=5);
        assert_eq!(TimeStep(i64::MAX / 30).and_around(1, THIRTY).end(), &(i64::MAX as u64 / 30));
        assert!(TimeStep(-4).and_around(3, THIRTY).is_empty());
        for offset in [i64::MAX, i64::MIN] {
            assert!(
                TimeStep(5).shifted_by(ClockOffset(offset)).and_around(4, THIRTY).is_empty(),
                "{offset}"
            );
        }
    }

    #[test]
    fn of_two_states_the_further_one_counts_and_of_equal_ones_the_one_used_later() {
        for (factor, one, other) in [
            (EVENT, state(8, 7, 100), state(7, 6, 200)),
            (EVENT, state(7, 6, 200), state(7, 6, 100)),
            // A clock's offset says nothing of how far the token has come.
            (TIME, state(-1, 60, 100), state(5, 30, 200)),
            (TIME, state(-1, 60, 200), state(5, 60, 100)),
        ] {
            assert!(one.is_further_than(&other, factor, 1_000));
            assert!(!other.is_further_than(&one, factor, 1_000));
            assert!(!one.is_further_than(&one, factor, 1_000));
        }
    }
}
