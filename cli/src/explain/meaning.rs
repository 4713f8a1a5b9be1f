//! What a code is to a token as it stands in the file: where it is from the one expected.

use otpgate::UnixTime;
use otpgate::policy::Policy;
use otpgate::resync;
use otpgate::token::{Algorithm, MovingFactor, Reading, ReplayFloor, StoredToken, TimeStep};
use serde_json::{Value, json};

use super::Line;
use super::causes::chance;
use super::typed::ReadOut;
use super::typed_pin::{TypedPin, takes_code_alone};
use crate::list::duration;
use crate::tokens;

/// What a code is to one token.
pub struct Explanation {
    code: Meaning,
    /// Counters or steps from the one expected next, or from the one of now; below 0: before it.
    steps: Option<i64>,
    pin: TypedPin,
    pin_is_missing: bool,
    is_beyond_window: bool,
    /// It is in hexadecimal, where that is switched off.
    is_hex_refused: bool,
    /// How likely a code of nobody's is found in the range that was searched.
    pub chance: f64,
}

#[derive(Clone, Copy, PartialEq)]
enum Meaning {
    TooShort,
    /// Of no counter or step looked at.
    None,
    /// The code accepted last.
    Used(Option<UnixTime>),
    /// Not after the last accepted one, for time tokens the one of that second.
    Passed(Option<UnixTime>),
    /// Expected next, or of now.
    Current,
    Ahead,
    Behind,
}

impl Explanation {
    pub fn of(
        line: &Line,
        lines: &[Line],
        read_out: &ReadOut,
        width: Option<u32>,
        policy: &Policy,
        now: UnixTime,
    ) -> Explanation {
        let StoredToken { token, state } = &line.stored;
        let range = resync::window(&line.stored, width, now);
        let base = Explanation {
            code: Meaning::TooShort,
            steps: None,
            pin: TypedPin::Unchecked,
            pin_is_missing: false,
            is_beyond_window: false,
            is_hex_refused: false,
            chance: chance(token, std::slice::from_ref(&range)),
        };
        let Some((typed, code)) = token.split(&read_out.text) else { return base };
        let pin_is_missing = typed.is_empty() && !takes_code_alone(token);
        let is_hex_refused = token.algorithm != Algorithm::Motp
            && !policy.allow_hex
            && code.as_bytes().iter().any(u8::is_ascii_alphabetic);
        let base = Explanation { code: Meaning::None, pin_is_missing, is_hex_refused, ..base };
        // The counter or step that is on, the last one not accepted any more, and the clock's known
        // offset.
        let (middle, floor, offset) = match state.reading(token.factor) {
            Reading::Event { next } => (next.number(), Some(next.number() - 1), 0),
            Reading::Time { period, offset, floor } => {
                let now = TimeStep::at(now, period);
                (now.number(), floor.map(TimeStep::number), offset.steps())
            }
        };
        let distance = |position: &u64| (*position as i64).abs_diff(middle);
        let position = read_out.positions(token, range, &code).min_by_key(distance);
        let steps = position.map(|position| position as i64 - middle);
        let is_last =
            state.last_otp.as_ref().is_some_and(|last| bool::from(last.is_in_any_case(&code)));
        if is_last {
            let used = state.used.as_of(now).map(|(first, _)| first);
            let pin = TypedPin::of(token, typed, lines);
            return Explanation { code: Meaning::Used(used), steps, pin, ..base };
        }
        let (Some(position), Some(steps)) = (position, steps) else {
            return base;
        };
        let code = match steps {
            _ if floor.is_some_and(|floor| position as i64 <= floor) => {
                let second = state.replay_floor.map(ReplayFloor::as_written);
                Meaning::Passed(second.filter(|_| !token.factor.is_event()))
            }
            0 => Meaning::Current,
            ..0 => Meaning::Behind,
            _ => Meaning::Ahead,
        };
        let from_window = steps.unsigned_abs().min(steps.abs_diff(offset));
        let is_beyond_window = from_window > u64::from(policy.max_offset);
        let pin = TypedPin::of(token, typed, lines);
        Explanation { code, steps: Some(steps), pin, is_beyond_window, ..base }
    }

    /// Whether a server looks there, so that hardly any code is met by chance.
    pub fn is_near(&self) -> bool {
        self.is_theirs() && !self.is_beyond_window
    }

    /// Whether there is nothing to be said about the PIN that was typed with it.
    pub fn is_pin_in_order(&self) -> bool {
        matches!(self.pin, TypedPin::Right | TypedPin::Unchecked | TypedPin::Missing)
    }

    pub fn is_too_short(&self) -> bool {
        self.code == Meaning::TooShort
    }

    pub fn is_theirs(&self) -> bool {
        !matches!(self.code, Meaning::None | Meaning::TooShort)
    }

    pub fn text(&self, line: &StoredToken) -> String {
        let pin = self.pin.what().filter(|_| self.is_theirs());
        let pin = pin.map(|what| format!("right code, {what}; ")).unwrap_or_default();
        let steps = self.steps.map_or(0, i64::unsigned_abs);
        let (one, several) = match line.token.factor {
            MovingFactor::Paper(_) => ("code", "codes"),
            _ => ("press", "presses"),
        };
        let what = match (self.code, line.token.factor) {
            (Meaning::TooShort, _) => {
                format!("too short, its codes have {} digits", line.token.digits.count())
            }
            (Meaning::None, _) => "not a code of this token".to_owned(),
            (Meaning::Used(used), _) => {
                let from = tokens::address(&line.state)
                    .map(|address| format!(" from {address}"))
                    .unwrap_or_default();
                match used {
                    Some(used) => format!("already used at {}{from}", tokens::local_time(used)),
                    None => "used before, and disabled since".to_owned(),
                }
            }
            (Meaning::Passed(_), MovingFactor::Event | MovingFactor::Paper(_)) => {
                format!(
                    "used or skipped before: {} before the one expected next",
                    counted(steps, one, several)
                )
            }
            (Meaning::Passed(at), MovingFactor::Time(period)) => format!(
                "{}, and not accepted any more: the last accepted one was that of {}",
                of_step(self.steps.unwrap_or(0), period.get()),
                at.map_or_else(|| "an unknown time".to_owned(), tokens::local_time)
            ),
            (Meaning::Current, MovingFactor::Event | MovingFactor::Paper(_)) => {
                "the code expected next".to_owned()
            }
            (_, MovingFactor::Event | MovingFactor::Paper(_)) => {
                format!("the code {} ahead of the one expected next", counted(steps, one, several))
            }
            (_, MovingFactor::Time(period)) => of_step(self.steps.unwrap_or(0), period.get()),
        };
        let beyond = self.is_beyond_window && matches!(self.code, Meaning::Ahead | Meaning::Behind);
        let remedy = if beyond {
            "; more than a server searches: correct the clock, or `otpgate resync`"
        } else {
            ""
        };
        let hexadecimal = if self.is_hex_refused && self.is_theirs() {
            "; in hexadecimal, which isn't accepted here"
        } else {
            ""
        };
        format!("{pin}{what}{remedy}{hexadecimal}")
    }

    pub fn as_json(&self, number: usize, line: &StoredToken) -> Value {
        let period = match line.token.factor {
            MovingFactor::Event | MovingFactor::Paper(_) => None,
            MovingFactor::Time(period) => Some(i64::from(period.get())),
        };
        let (word, used) = match self.code {
            Meaning::TooShort => ("too-short", None),
            Meaning::None => ("none", None),
            Meaning::Used(used) => ("used", used),
            Meaning::Passed(_) => ("passed", None),
            Meaning::Current => ("current", None),
            Meaning::Ahead => ("ahead", None),
            Meaning::Behind => ("behind", None),
        };
        json!({
            "token": number,
            "type": tokens::kind(&line.token),
            "code": word,
            "steps": self.steps,
            "seconds": self.steps.zip(period).map(|(steps, period)| steps.saturating_mul(period)),
            "pin": self.is_theirs().then(|| self.pin.word()),
            "pin_missing": self.pin_is_missing,
            "used_at": used.map(tokens::stamp),
            "used_from": used.and_then(|_| tokens::address(&line.state)),
            "explanation": self.text(line),
        })
    }
}

const HOUR: u64 = 3600;

/// "the code of 4 steps ago: the phone's clock is 2 minutes slow".
fn of_step(steps: i64, period: u32) -> String {
    let seconds = steps.unsigned_abs().saturating_mul(period.into());
    let time = duration(seconds);
    let from_hour = (seconds % HOUR).min(HOUR - seconds % HOUR);
    let is_of_zone = seconds > HOUR / 2 && from_hour <= u64::from(period).max(60);
    let zone = if is_of_zone { ", a whole number of hours: is its time zone right?" } else { "" };
    match steps {
        0 => "the current code".to_owned(),
        // Who types slowly is that late.
        -1 => "the code of 1 step ago".to_owned(),
        ..0 => format!("the code of {} steps ago: the phone's clock is {time} slow{zone}", -steps),
        _ => format!(
            "the code of {} ahead: the phone's clock is {time} fast{zone}",
            counted(steps as u64, "step", "steps")
        ),
    }
}

fn counted(number: u64, one: &str, many: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { many })
}

#[cfg(test)]
mod tests {
    use jiff::tz::TimeZone;
    use otpgate::decide;
    use otpgate::policy::{Server, Settings};
    use otpgate::users::record;
    use zeroize::Zeroizing;

    use super::*;

    const KEY: &str = "3132333435363738393031323334353637383930";
    const NOW: UnixTime = 1_700_000_010;
    const STEP: i64 = 1_700_000_010 / 30;

    fn explained(line: &str, position: i64, pin: &str) -> String {
        let record = record::parse(line.replace("KEY", KEY).as_bytes(), &TimeZone::UTC).unwrap();
        let line = StoredToken { token: record.token, state: record.state };
        let mut text = Zeroizing::new(pin.as_bytes().to_vec());
        text.extend(line.token.code(position as u64).as_bytes());
        let policy = Settings::default().policy(Server::Apache);
        let state = decide::exact_state(&policy, &line, NOW);
        let lines = [Line { number: 1, stored: StoredToken { state, ..line } }];
        let read_out = ReadOut { text, next: None };
        Explanation::of(&lines[0], &lines, &read_out, None, &policy, NOW).text(&lines[0].stored)
    }

    #[test]
    fn a_code_is_explained_by_where_it_stands() {
        let far = "; more than a server searches: correct the clock, or `otpgate resync`";
        for (line, position, pin, expected) in [
            ("HOTP/T30 a - KEY", STEP, "", "the current code".to_owned()),
            ("HOTP/T30 a - KEY", STEP - 1, "", "the code of 1 step ago".to_owned()),
            (
                "HOTP/T30 a - KEY",
                STEP - 4,
                "",
                "the code of 4 steps ago: the phone's clock is 2 minutes slow".to_owned(),
            ),
            (
                "HOTP/T30 a - KEY",
                STEP + 1,
                "",
                "the code of 1 step ahead: the phone's clock is 30 s fast".to_owned(),
            ),
            (
                "HOTP/T30 a - KEY",
                STEP + 20,
                "",
                format!("the code of 20 steps ahead: the phone's clock is 10 minutes fast{far}"),
            ),
            // What the clock is known to be off by is searched, too.
            (
                "HOTP/T30 a - KEY 20",
                STEP + 20,
                "",
                "the code of 20 steps ahead: the phone's clock is 10 minutes fast".to_owned(),
            ),
            ("HOTP/T30 a 12 KEY", STEP, "", "right code, PIN missing; the current code".to_owned()),
            ("HOTP/T30 a 12 KEY", STEP, "12", "the current code".to_owned()),
            ("HOTP/T30 a + KEY", STEP, "12", "the current code".to_owned()),
            ("HOTP/T30 a 12 KEY", STEP, "99", "right code, wrong PIN; the current code".to_owned()),
            (
                "HOTP/T30 a ab KEY",
                STEP,
                "AB",
                "right code, PIN in the wrong case (caps lock?); the current code".to_owned(),
            ),
            (
                "HOTP/T30 a $5$saltsalt$G7IYwyb6vogyHX7W7Y7MAuY8T34XzBU51tQcN5kYvo. KEY",
                STEP,
                "SESAME9",
                "right code, PIN in the wrong case (caps lock?); the current code".to_owned(),
            ),
            (
                "HOTP/T30 a aB KEY",
                STEP,
                "Ab",
                "right code, PIN in the wrong case (caps lock?); the current code".to_owned(),
            ),
            (
                "HOTP/T30 a ab KEY",
                STEP,
                "ab ",
                "right code, a blank too many before it; the current code".to_owned(),
            ),
            (
                "HOTP/T30 a - KEY",
                STEP,
                "12",
                "right code, something before it, and the token takes the code alone; the current code"
                    .to_owned(),
            ),
            (
                "HOTP/T30 a - KEY",
                STEP - 241,
                "",
                format!("the code of 241 steps ago: the phone's clock is 2 hours slow, a whole number of hours: is its time zone right?{far}"),
            ),
            ("HOTP/T30 a - KEY", STEP + 5000, "", "not a code of this token".to_owned()),
            ("HOTP/E a - KEY 7", 7, "", "the code expected next".to_owned()),
            (
                "HOTP/E a - KEY 7",
                8,
                "",
                "the code 1 press ahead of the one expected next".to_owned(),
            ),
            (
                "HOTP/E a - KEY 7",
                100,
                "",
                format!("the code 93 presses ahead of the one expected next{far}"),
            ),
            (
                "HOTP/E a - KEY 7",
                5,
                "",
                "used or skipped before: 2 presses before the one expected next".to_owned(),
            ),
        ] {
            assert_eq!(explained(line, position, pin), expected, "{line} {position}");
        }
    }

    #[test]
    fn a_used_code_is_told_with_time_and_address() {
        let used = |time: &str| format!("HOTP/E a - KEY 1 0 755224 {time} 192.0.2.7");
        let at = tokens::local_time(1_600_000_000);
        let written = at.replace(' ', "T") + "L";
        // The line's time is read as UTC here.
        let line =
            record::parse(used(&written).replace("KEY", KEY).as_bytes(), &TimeZone::UTC).unwrap();
        let (_, last) = line.state.used.as_of(NOW).unwrap();
        let expected = format!("already used at {} from 192.0.2.7", tokens::local_time(last));
        assert_eq!(explained(&used(&written), 0, ""), expected);
        let forgotten = used("1970-01-01T00:00:00L");
        assert_eq!(explained(&forgotten, 0, ""), "used before, and disabled since");
    }
}
