//! Resynchronisation (RFC 4226 section 7.4): where a token stands whose codes lie outside a
//! server's window. Pure.
//!
//! Two codes in a row are asked for: in a window of thousands, one alone may be met by chance.

use std::ops::RangeInclusive;

use crate::UnixTime;
use crate::decide::StateChange;
use crate::otp::Code;
use crate::token::{Codes, Entry, Reading, State, StoredToken, TimeStep, Token};

/// Counters of an event token looked at on both sides of the next expected one.
pub const EVENT_WIDTH: u32 = 1000;
/// Seconds looked at on both sides of now for a time token: a day.
const TIME_WIDTH: u32 = 86_400;

/// The counters or time steps to look at: `width` on both sides of the next expected counter or of
/// now.
pub fn window(line: &StoredToken, width: Option<u32>, now: UnixTime) -> RangeInclusive<u64> {
    match line.state.reading(line.token.factor) {
        Reading::Event { next } => next.and_around(width.unwrap_or(EVENT_WIDTH), line.token.factor),
        Reading::Time { period, .. } => {
            let width = width.unwrap_or((TIME_WIDTH / period).max(1));
            TimeStep::at(now, period).and_around(width, period)
        }
    }
}

/// The counters or steps in a range that show a code, in decimal or hexadecimal of either case.
pub fn positions(
    token: &Token,
    range: RangeInclusive<u64>,
    code: &Code,
) -> impl Iterator<Item = u64> {
    let codes = token.codes();
    range.filter(move |&position| shows(&codes, position, code))
}

fn shows(codes: &Codes, position: u64, code: &Code) -> bool {
    let (decimal, hexadecimal) = codes.of(position);
    let is_it = |shown: &Code| bool::from(shown.is_in_any_case(code));
    is_it(&decimal) || hexadecimal.is_some_and(|shown| is_it(&shown))
}

/// A token found by two codes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resynchronised {
    /// The first of the entry's lines that is this token.
    pub line: usize,
    /// The counter or step of the second code.
    pub position: u64,
    /// New state for each line of the token.
    pub changes: Vec<StateChange>,
}

/// Why no token is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotFound {
    /// No token shows these codes one after the other within the window.
    NoMatch,
    /// One does, but in the other order.
    OtherOrder,
    /// More than one token or place in the window does.
    Ambiguous,
}

/// Finds the one token among `candidates` that shows `first` and then `second`, and the state in
/// which the code after these is the next one accepted. The floor may come to lie lower than
/// before. Failures are forgotten: whoever drifts away collects them.
pub fn resynchronise(
    entry: &Entry,
    candidates: impl Fn(&Token) -> bool,
    [first, second]: [&Code; 2],
    width: Option<u32>,
    now: UnixTime,
) -> Result<Resynchronised, NotFound> {
    let mut found = Vec::new();
    let mut in_other_order = false;
    for (index, line) in entry.lines.iter().enumerate() {
        let is_repetition =
            entry.lines[..index].iter().any(|other| other.token.is_same_device(&line.token));
        if is_repetition || !candidates(&line.token) {
            continue;
        }
        let range = window(line, width, now);
        let codes = line.token.codes();
        let followed_by = |next: &Code, position: u64| {
            position < *range.end() && shows(&codes, position + 1, next)
        };
        found.extend(
            positions(&line.token, range.clone(), first)
                .filter(|&position| followed_by(second, position))
                .map(|position| (index, position + 1)),
        );
        in_other_order |= positions(&line.token, range.clone(), second)
            .any(|position| followed_by(first, position));
    }
    match found[..] {
        [(line, position)] => {
            let token = &entry.lines[line].token;
            let same = || {
                let lines = entry.lines.iter().enumerate();
                lines.filter(|(_, other)| other.token.is_same_device(token))
            };
            let states = same().map(|(_, line)| &line.state);
            let used_last = states.max_by_key(|state| state.used.last_login(now));
            let used_last = used_last.expect("the line itself is one");
            let state = state_after(used_last, token, position, second, now);
            let changes =
                same().map(|(line, _)| StateChange { line, state: state.clone() }).collect();
            Ok(Resynchronised { line, position, changes })
        }
        [] if in_other_order => Err(NotFound::OtherOrder),
        [] => Err(NotFound::NoMatch),
        _ => Err(NotFound::Ambiguous),
    }
}

/// The code of `position` is spent, and was no login: it doesn't linger, and the last login is the
/// one before.
fn state_after(before: &State, token: &Token, position: u64, code: &Code, now: UnixTime) -> State {
    let mut state = State {
        last_otp: Some(code.clone().into_lower_case()),
        used: before.used.ended(now),
        address: before.address.clone(),
        intact: true,
        ..State::fresh()
    };
    state.stand_after(token.factor, position, now);
    state
}

#[cfg(test)]
mod tests {
    use jiff::tz::TimeZone;

    use super::*;
    use crate::token::{Address, MovingFactor, ReplayFloor, Used};
    use crate::users::record;

    const KEY: &str = "3132333435363738393031323334353637383930";
    const NOW: UnixTime = 1_700_000_000;
    const STEP: u64 = 1_700_000_000 / 30;

    fn entry(lines: &[&str]) -> Entry {
        let lines = lines.iter().map(|line| {
            let record =
                record::parse(line.replace("KEY", KEY).as_bytes(), &TimeZone::UTC).unwrap();
            StoredToken { token: record.token, state: record.state }
        });
        Entry { lines: lines.collect(), ..Entry::default() }
    }

    fn resync(lines: &[&str], positions: [u64; 2]) -> Result<Resynchronised, NotFound> {
        let entry = entry(lines);
        let [first, second] = positions.map(|position| entry.lines[0].token.code(position));
        resynchronise(&entry, |_| true, [&first, &second], None, NOW)
    }

    #[test]
    fn the_window_is_wide_on_both_sides_and_no_wider() {
        let (event, time) = ("HOTP a - KEY 5000 3", "HOTP/T30 a - KEY 2 3");
        for (line, positions, expected) in [
            // RFC 4226: the next expected counter is the one after the second code.
            (event, [5000, 5001], Ok(5002)),
            (event, [5999, 6000], Ok(6001)),
            (event, [6000, 6001], Err(NotFound::NoMatch)),
            (event, [4000, 4001], Ok(4002)),
            (event, [3999, 4000], Err(NotFound::NoMatch)),
            (event, [5002, 5001], Err(NotFound::OtherOrder)),
            (event, [5001, 5003], Err(NotFound::NoMatch)),
            (event, [5001, 5001], Err(NotFound::NoMatch)),
            ("HOTP a - KEY", [0, 1], Ok(2)),
            // A time token's counter is its clock's offset.
            (time, [STEP - 1, STEP], Ok(0)),
            (time, [STEP - 100, STEP - 99], Ok(-99)),
            (time, [STEP + 2879, STEP + 2880], Ok(2880)),
            (time, [STEP + 2880, STEP + 2881], Err(NotFound::NoMatch)),
            (time, [STEP - 2880, STEP - 2879], Ok(-2879)),
        ] {
            let found =
                resync(&[line], positions).map(|found| found.changes[0].state.counter.as_written());
            assert_eq!(found, expected, "{line} {positions:?}");
        }
    }

    #[test]
    fn the_second_code_is_spent_failures_are_forgotten_and_the_last_login_isnt() {
        let line = "HOTP/T30 a - KEY 2 3 123456 2033-05-18T03:33:20L 192.0.2.7 @2000000000,2000000000,2000000000,5,x";
        let found = resync(&[line], [STEP + 3, STEP + 4]).unwrap();
        let state = &found.changes[0].state;
        assert_eq!(
            (
                found.position,
                state.counter.as_written(),
                state.replay_floor.map(ReplayFloor::as_written)
            ),
            (STEP + 4, 4, Some((STEP as i64 + 4) * 30))
        );
        let used = Used::Ended { last_login: 2_000_000_000 };
        assert_eq!((state.failures, state.last_failure, state.used), (0, None, used));
        assert!(matches!(state.address, Address::Ip(_)), "from where that was");
    }

    #[test]
    fn one_token_of_several_is_found_and_a_repeated_line_moves_along() {
        let other = "HOTP a - 00ff 7";
        let found = resync(&["HOTP a - KEY 5", other, "HOTP a 1234 KEY 9"], [20, 21]).unwrap();
        let lines: Vec<usize> = found.changes.iter().map(|change| change.line).collect();
        assert_eq!((found.line, lines), (0, vec![0, 2]));
    }

    #[test]
    fn two_places_that_fit_are_one_too_many() {
        // Codes of one digit: some pair of them comes twice in 2,000 places.
        assert_eq!(resync(&["HOTP/E/1 a - KEY 1000"], [1000, 1001]), Err(NotFound::Ambiguous));
        // The same key as counter and as time, with the time of counters.
        let entry = entry(&["HOTP/E a - KEY", "HOTP/T30 a - KEY"]);
        let [first, second] = [0, 1].map(|position| entry.lines[0].token.code(position));
        let at_start = resynchronise(&entry, |_| true, [&first, &second], None, 30);
        assert_eq!(at_start, Err(NotFound::Ambiguous));
        let only_event = |token: &Token| token.factor == MovingFactor::Event;
        assert!(resynchronise(&entry, only_event, [&first, &second], None, 30).is_ok());
    }

    #[test]
    fn hexadecimal_codes_count_in_either_case() {
        let entry = entry(&["HOTP a - KEY"]);
        // Counters 0 and 1 as otptool prints them.
        let code = |text: &[u8]| Code::new(text).unwrap();
        let found =
            resynchronise(&entry, |_| true, [&code(b"93CF18"), &code(b"397eea")], None, NOW);
        assert_eq!(found.unwrap().position, 1);
    }
}
