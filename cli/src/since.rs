//! Points in time as people name them: "monday", "7d", "2026-11-30".

use jiff::civil::{Date, DateTime, Weekday};
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};
use otpgate::UnixTime;

use crate::tokens;

const WEEKDAYS: [(&str, Weekday); 7] = [
    ("monday", Weekday::Monday),
    ("tuesday", Weekday::Tuesday),
    ("wednesday", Weekday::Wednesday),
    ("thursday", Weekday::Thursday),
    ("friday", Weekday::Friday),
    ("saturday", Weekday::Saturday),
    ("sunday", Weekday::Sunday),
];

/// For clap: seconds since 1970.
pub fn parse(text: &str) -> Result<UnixTime, String> {
    as_of(text, tokens::now(), tokens::zone()).ok_or_else(|| {
        "not a date (2026-11-30), a time (2026-11-30 08:00), a weekday, today, yesterday, or a \
         number with m, h, d or w (7d)"
            .to_owned()
    })
}

fn as_of(text: &str, now: UnixTime, zone: &TimeZone) -> Option<UnixTime> {
    let text = text.trim().to_ascii_lowercase();
    let start_of = |day: Date| Some(day.to_zoned(zone.clone()).ok()?.timestamp().as_second());
    let today = zone.to_datetime(Timestamp::from_second(now).ok()?).date();
    match &text[..] {
        "today" => return start_of(today),
        "yesterday" => return start_of(today.yesterday().ok()?),
        _ => {}
    }
    let is_it = |name: &str| text == name || text.len() == 3 && name.starts_with(&text);
    if let Some((_, day)) = WEEKDAYS.into_iter().find(|(name, _)| is_it(name)) {
        // The last one: today, if it is one.
        return start_of(today.checked_sub(i64::from(today.weekday().since(day)).days()).ok()?);
    }
    if let Some((unit, count)) = text.char_indices().next_back().zip(text.get(..text.len() - 1)) {
        let seconds = match unit.1 {
            'm' => 60,
            'h' => 3600,
            'd' => 86_400,
            'w' => 7 * 86_400,
            _ => 0,
        };
        if seconds > 0 && !count.is_empty() && count.bytes().all(|b| b.is_ascii_digit()) {
            return now.checked_sub(count.parse::<i64>().ok()?.checked_mul(seconds)?);
        }
    }
    // With a zone of its own, or else here.
    if let Ok(timestamp) = text.to_ascii_uppercase().parse::<Timestamp>() {
        return Some(timestamp.as_second());
    }
    if let Ok(day) = text.parse::<Date>()
        && text.len() == "2026-11-30".len()
    {
        return start_of(day);
    }
    let civil = text.parse::<DateTime>().ok()?;
    Some(civil.to_zoned(zone.clone()).ok()?.timestamp().as_second())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_in_time_are_understood_as_people_name_them() {
        // Wednesday, 2 December 2026, 15:00 in Berlin.
        let zone = TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").unwrap();
        let now = "2026-12-02T14:00:00Z".parse::<Timestamp>().unwrap().as_second();
        for (text, expected) in [
            ("2026-11-30", Some("2026-11-29T23:00:00Z")),
            ("2026-07-01", Some("2026-06-30T22:00:00Z")),
            ("2026-11-30 08:00", Some("2026-11-30T07:00:00Z")),
            ("2026-11-30T08:00:30", Some("2026-11-30T07:00:30Z")),
            ("2026-11-30T08:00:30Z", Some("2026-11-30T08:00:30Z")),
            ("2026-11-30T08:00:30+02:00", Some("2026-11-30T06:00:30Z")),
            ("today", Some("2026-12-01T23:00:00Z")),
            ("yesterday", Some("2026-11-30T23:00:00Z")),
            ("monday", Some("2026-11-29T23:00:00Z")),
            ("Mon", Some("2026-11-29T23:00:00Z")),
            ("wednesday", Some("2026-12-01T23:00:00Z")),
            ("thu", Some("2026-11-25T23:00:00Z")),
            ("90m", Some("2026-12-02T12:30:00Z")),
            ("12h", Some("2026-12-02T02:00:00Z")),
            ("7d", Some("2026-11-25T14:00:00Z")),
            ("2w", Some("2026-11-18T14:00:00Z")),
            ("", None),
            ("d", None),
            ("-7d", None),
            ("7", None),
            ("7y", None),
            ("99999999999999999999d", None),
            ("999999999999999999w", None),
            ("mo", None),
            ("2026-13-01", None),
            ("2026-11-31", None),
            ("last week", None),
            ("\u{e4}", None),
        ] {
            let expected = expected.map(|time| time.parse::<Timestamp>().unwrap().as_second());
            assert_eq!(as_of(text, now, &zone), expected, "{text:?}");
        }
    }
}
