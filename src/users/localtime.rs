//! The time field: local time without zone, `YYYY-MM-DDThh:mm:ssL`.

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::{AmbiguousOffset, TimeZone};

use crate::UnixTime;
use crate::token::Used;

/// Bytes of the field.
pub const LEN: usize = 20;

/// How "never" and "forgotten" are written.
pub const NEVER: &[u8; LEN] = b"1970-01-01T00:00:00L";

/// Reads the field. `None` if it isn't of that form or no such date.
///
/// Where clocks were set back, both instants are kept; in the hour that clocks skip, the two
/// readings of it.
pub fn parse(field: &[u8], zone: &TimeZone) -> Option<Used> {
    if field == NEVER {
        return Some(Used::Never);
    }
    let civil = parse_civil(field)?;
    let (a, b) = match zone.to_ambiguous_timestamp(civil).offset() {
        AmbiguousOffset::Unambiguous { offset } => (offset, offset),
        AmbiguousOffset::Gap { before, after } | AmbiguousOffset::Fold { before, after } => {
            (before, after)
        }
    };
    // An instant outside the calendar's range can't be met by any clock of ours.
    let a = a.to_timestamp(civil).ok()?.as_second();
    let b = b.to_timestamp(civil).ok()?.as_second();
    Some(Used::Local { earliest: a.min(b), latest: a.max(b) })
}

fn parse_civil(field: &[u8]) -> Option<DateTime> {
    let field: &[u8; LEN] = field.try_into().ok()?;
    for (at, expected) in [(4, b'-'), (7, b'-'), (10, b'T'), (13, b':'), (16, b':'), (19, b'L')] {
        if field[at] != expected {
            return None;
        }
    }
    let number = |from: usize, to: usize| {
        field[from..to]
            .iter()
            .try_fold(0i16, |n, &b| b.is_ascii_digit().then(|| n * 10 + i16::from(b - b'0')))
    };
    let small = |from: usize| number(from, from + 2).map(|n| n as i8);
    // strptime takes a leap second; the calendar behind it has none.
    let second = small(17)?;
    let second = if second == 60 { 59 } else { second };
    DateTime::new(number(0, 4)?, small(5)?, small(8)?, small(11)?, small(14)?, second, 0).ok()
}

/// Writes the field. An instant whose year has not four digits is written as [`NEVER`].
pub fn format(instant: UnixTime, zone: &TimeZone) -> [u8; LEN] {
    let Ok(timestamp) = Timestamp::from_second(instant) else { return *NEVER };
    let local = zone.to_datetime(timestamp);
    if !(0..=9999).contains(&local.year()) {
        return *NEVER;
    }
    let text = format!(
        "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}L",
        local.year(),
        local.month(),
        local.day(),
        local.hour(),
        local.minute(),
        local.second()
    );
    text.as_bytes().try_into().unwrap_or(*NEVER)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn berlin() -> TimeZone {
        TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").unwrap()
    }

    fn one(instant: UnixTime) -> Option<Used> {
        Some(Used::Local { earliest: instant, latest: instant })
    }

    #[test]
    fn odd_years_and_dates() {
        for (field, expected) in [
            (&b"1970-01-01T00:00:00L"[..], Some(Used::Never)),
            (b"1969-12-31T23:59:59L", one(-1)),
            (b"2038-01-19T03:14:08L", one(1 << 31)),
            (b"2024-02-29T00:00:00L", one(1_709_164_800)),
            (b"2023-02-29T00:00:00L", None),
            (b"2024-01-01T00:00:60L", one(1_704_067_259)),
            (b"2024-01-01T24:00:00L", None),
            (b"2024-01-01T00:00:00Z", None),
            (b"2024-1-01T00:00:00L ", None),
            (b"", None),
        ] {
            assert_eq!(parse(field, &TimeZone::UTC), expected, "{}", field.escape_ascii());
        }
    }

    #[test]
    fn the_hour_that_comes_twice_names_two_instants() {
        // 2025-10-26 in Berlin: 02:30 summer time is 00:30 UTC, 02:30 winter time is 01:30 UTC.
        let used = parse(b"2025-10-26T02:30:00L", &berlin()).unwrap();
        assert_eq!(used, Used::Local { earliest: 1_761_438_600, latest: 1_761_442_200 });
        assert_eq!(used.as_of(1_761_438_700), Some((1_761_438_600, 1_761_438_600)));
        assert_eq!(used.as_of(1_761_442_200), Some((1_761_442_200, 1_761_442_200)));
    }

    #[test]
    fn the_hour_that_is_skipped_is_read() {
        assert!(parse(b"2025-03-30T02:30:00L", &berlin()).is_some());
    }

    #[test]
    fn what_is_written_is_read_back() {
        for instant in [-1, 1, 1_700_000_000, 1 << 31, 253_402_000_000] {
            let field = format(instant, &berlin());
            assert_eq!(parse(&field, &berlin()), one(instant), "{}", field.escape_ascii());
        }
        assert_eq!(&format(0, &TimeZone::UTC), NEVER);
        assert_eq!(&format(i64::MAX, &TimeZone::UTC), NEVER);
    }
}
