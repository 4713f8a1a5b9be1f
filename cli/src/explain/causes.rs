//! Why a code isn't one of the user's, if it is one of a likely mistake: of typing, or of setting
//! up the app. Pure.
//!
//! Each mistake is looked for by comparing the code with those that it would make, and by comparing
//! with many, some code is met by chance. How likely that is goes along with what is found.

use std::num::NonZeroU32;
use std::ops::RangeInclusive;

use data_encoding::{BASE32_NOPAD, HEXLOWER, HEXUPPER};
use otpgate::UnixTime;
use otpgate::otp::{Digits, Hash};
use otpgate::policy::Policy;
use otpgate::resync;
use otpgate::secret::Secret;
use otpgate::token::{Algorithm, MovingFactor, Pin, Reading, State, StoredToken, Token};
use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::Line;
use super::typed::{Mistyped, ReadOut, readings};
use super::typed_pin::TypedPin;
use crate::tokens;

/// What is met by chance more often is worth mentioning, but no likely cause.
pub const CHANCE_MAX: f64 = 0.01;
/// Periods that apps and fobs have, in seconds.
const PERIODS: [u32; 8] = [30, 60, 10, 15, 20, 45, 90, 120];
const HASHES: [Hash; 3] = [Hash::Sha1, Hash::Sha256, Hash::Sha512];
/// Lengths of codes that apps show; the longest that fits is what was shown.
const LENGTHS: [u8; 3] = [8, 7, 6];
/// Counters of an app that was set up by events and not by time.
const EVENTS: u32 = 100;
/// So long, in seconds, it may take from reading a code out to its being typed here.
const READING_OUT: u32 = 120;

/// A mistake that explains a code.
#[derive(Debug, PartialEq, Eq)]
pub enum Cause {
    Mistyped(Mistyped),
    /// The app makes the codes of this other token with the same key.
    Setup {
        type_field: String,
        differences: Vec<String>,
    },
    /// The app has the key as text: its digits in this notation are the key.
    KeyAsText(&'static str),
    /// Mobile-OTP: the PIN that the app was given.
    PinInApp,
}

/// A cause that was found.
pub struct Finding {
    /// The number of the token.
    pub token: usize,
    pub cause: Cause,
    pub pin: TypedPin,
    /// How likely a code of nobody's is explained as far as was looked.
    pub chance: f64,
}

impl Finding {
    pub fn is_likely(&self) -> bool {
        self.chance <= CHANCE_MAX
    }

    pub fn text(&self) -> String {
        match self.pin.what() {
            None => self.cause.text(),
            Some(pin) => format!("{}; {pin}", self.cause.text()),
        }
    }

    pub fn as_json(&self) -> Value {
        let type_field = match &self.cause {
            Cause::Setup { type_field, .. } => Some(type_field),
            _ => None,
        };
        json!({
            "token": self.token,
            "cause": self.cause.word(),
            "type": type_field,
            "pin": self.pin.word(),
            "likely": self.is_likely(),
            "chance": self.chance,
            "explanation": self.text(),
        })
    }
}

/// What was tried of one token: found causes with what stands for the PIN, and how many of all
/// codes would have been found.
#[derive(Default)]
struct Tried {
    found: Vec<(Cause, Zeroizing<Vec<u8>>)>,
    chance: f64,
}

/// Kinds of mistakes, the most common first.
#[derive(Clone, Copy)]
pub enum Kind {
    Typing,
    Setup,
    KeyAsText,
    PinInApp,
}

/// Why a code isn't one of the user's.
pub const ALL: &[Kind] = &[Kind::Typing, Kind::Setup, Kind::KeyAsText, Kind::PinInApp];
/// Why the right code has something unexpected before it.
pub const OF_PIN: &[Kind] = &[Kind::Setup];

/// The causes found by the first kind of mistake that explains the code of any of the tokens.
pub fn search(
    kinds: &[Kind],
    lines: &[Line],
    read_out: &ReadOut,
    policy: &Policy,
    now: UnixTime,
) -> Vec<Finding> {
    let mut chance = 0.0;
    for kind in kinds {
        let mut found = Vec::new();
        for line in lines {
            let mut tried = Tried::default();
            let search = Search { line, read_out, width: policy.max_offset.max(1), now };
            match kind {
                Kind::Typing => search.typing(&mut tried),
                Kind::Setup => search.setup(&mut tried),
                Kind::KeyAsText => search.key_as_text(&mut tried),
                Kind::PinInApp => search.pin_in_app(&mut tried),
            }
            chance += tried.chance;
            found.extend(tried.found.into_iter().map(|found| (line, found)));
        }
        if !found.is_empty() {
            // Two codes in a row are met by chance as often as one of twice the length.
            let finding = |(line, (cause, pin)): (&Line, (Cause, Zeroizing<Vec<u8>>))| Finding {
                token: line.number,
                cause,
                pin: TypedPin::of(&line.stored.token, &pin, lines),
                chance: if read_out.next.is_some() { 0.0 } else { chance },
            };
            return found.into_iter().map(finding).collect();
        }
    }
    Vec::new()
}

struct Search<'a> {
    line: &'a Line,
    read_out: &'a ReadOut,
    /// Counters or steps that a server looks ahead.
    width: u32,
    now: UnixTime,
}

impl Search<'_> {
    fn token(&self) -> &Token {
        &self.line.stored.token
    }

    fn typing(&self, tried: &mut Tried) {
        let near = near(&self.line.stored, self.width, self.now);
        for reading in readings(self.token(), &self.read_out.text) {
            tried.chance += chance(self.token(), &near);
            let is_it = near.iter().any(|range| {
                let mut positions =
                    self.read_out.positions(self.token(), range.clone(), &reading.code);
                positions.next().is_some()
            });
            if is_it {
                tried.found.push((Cause::Mistyped(reading.mistyped), reading.pin));
            }
        }
    }

    fn setup(&self, tried: &mut Tried) {
        let Algorithm::Hotp(own_hash) = self.token().algorithm else { return };
        let own = self.token();
        // What is on paper is set up nowhere.
        if matches!(own.factor, MovingFactor::Paper(_)) {
            return;
        }
        let own_digits = Some(own.digits);
        let mut lengths: Vec<Digits> =
            LENGTHS.into_iter().filter_map(Digits::new).chain(own_digits).collect();
        lengths.sort_by_key(|digits| std::cmp::Reverse(digits.count()));
        lengths.dedup();
        let periods = PERIODS.into_iter().filter_map(NonZeroU32::new).map(MovingFactor::Time);
        let mut factors: Vec<MovingFactor> = periods.chain([MovingFactor::Event]).collect();
        if !factors.contains(&own.factor) {
            factors.push(own.factor);
        }
        for hash in HASHES {
            for &factor in &factors {
                let found = lengths.iter().find_map(|&digits| {
                    let is_own = (hash, factor, digits) == (own_hash, own.factor, own.digits);
                    let algorithm = Algorithm::Hotp(hash);
                    let token = Token { algorithm, factor, digits, ..own.clone() };
                    self.is_shown_by(&token, tried).filter(|_| !is_own).map(|pin| (token, pin))
                });
                if let Some((token, pin)) = found {
                    tried.found.push((setup(own, &token), pin));
                }
            }
        }
    }

    fn key_as_text(&self, tried: &mut Tried) {
        let Algorithm::Hotp(_) = self.token().algorithm else { return };
        let own = self.token();
        let usual = Token {
            algorithm: Algorithm::Hotp(Hash::Sha1),
            factor: MovingFactor::Time(NonZeroU32::new(30).expect("not 0")),
            digits: Digits::SIX,
            ..own.clone()
        };
        let is_usual = own.algorithm == usual.algorithm
            && own.factor == usual.factor
            && own.digits == usual.digits;
        let key = own.key.expose();
        for (notation, text) in [
            ("hexadecimal", HEXLOWER.encode(key)),
            ("hexadecimal", HEXUPPER.encode(key)),
            ("base 32", BASE32_NOPAD.encode(key)),
        ] {
            let key = Secret::new(text.into_bytes());
            let tokens = [Some(own), Some(&usual).filter(|_| !is_usual)];
            let pin = tokens.into_iter().flatten().find_map(|token| {
                self.is_shown_by(&Token { key: key.clone(), ..token.clone() }, tried)
            });
            if let Some(pin) = pin {
                tried.found.push((Cause::KeyAsText(notation), pin));
                return;
            }
        }
    }

    fn pin_in_app(&self, tried: &mut Tried) {
        if self.token().algorithm != Algorithm::Motp {
            return;
        }
        let Some((before, code)) = self.token().split(&self.read_out.text) else { return };
        let near = near(&self.line.stored, self.width, self.now);
        for pin in 0..10_000 {
            let pin = Pin::Literal(Secret::new(format!("{pin:04}").into_bytes()));
            let token = Token { pin, ..self.token().clone() };
            tried.chance += chance(&token, &near);
            let is_it = |range: &RangeInclusive<u64>| {
                self.read_out.positions(&token, range.clone(), &code).next().is_some()
            };
            if near.iter().any(is_it) {
                tried.found.push((Cause::PinInApp, Zeroizing::new(before.to_vec())));
                return;
            }
        }
    }

    /// Whether an app set up as this token shows the code about now; with what stands before it.
    fn is_shown_by(&self, token: &Token, tried: &mut Tried) -> Option<Zeroizing<Vec<u8>>> {
        let (pin, code) = token.split(&self.read_out.text)?;
        let own = &self.line.stored;
        let ranges = if token.factor == own.token.factor {
            near(
                &StoredToken { token: token.clone(), state: own.state.clone() },
                self.reach(token),
                self.now,
            )
        } else if token.factor.is_event() {
            vec![0..=EVENTS.into()]
        } else {
            near(
                &StoredToken { token: token.clone(), state: State::fresh() },
                self.reach(token),
                self.now,
            )
        };
        tried.chance += chance(token, &ranges);
        let is_it = ranges
            .into_iter()
            .any(|range| self.read_out.positions(token, range, &code).next().is_some());
        is_it.then(|| Zeroizing::new(pin.to_vec()))
    }

    fn reach(&self, token: &Token) -> u32 {
        match token.factor {
            MovingFactor::Event | MovingFactor::Paper(_) => EVENTS,
            MovingFactor::Time(period) => self.width.max(READING_OUT / period),
        }
    }
}

/// The counters around the next one, or the steps around now and around where the token's clock is
/// known to be.
pub fn near(line: &StoredToken, width: u32, now: UnixTime) -> Vec<RangeInclusive<u64>> {
    let mut ranges = vec![resync::window(line, Some(width), now)];
    if let Reading::Time { period, offset, .. } = line.state.reading(line.token.factor)
        && offset.steps() != 0
    {
        let there = now.saturating_add(offset.steps().saturating_mul(period.get().into()));
        ranges.push(resync::window(line, Some(width), there));
    }
    ranges
}

/// How many of all codes are one of those in these ranges.
pub fn chance(token: &Token, ranges: &[RangeInclusive<u64>]) -> f64 {
    let base: f64 = if token.algorithm == Algorithm::Motp { 16.0 } else { 10.0 };
    let codes: u64 = ranges.iter().map(|range| range.end() - range.start() + 1).sum();
    codes as f64 / base.powi(token.digits.count() as i32)
}

fn setup(own: &Token, shown: &Token) -> Cause {
    let mut differences = Vec::new();
    if shown.algorithm != own.algorithm {
        let name = |token: &Token| match token.algorithm {
            Algorithm::Hotp(Hash::Sha1) => "SHA-1",
            Algorithm::Hotp(Hash::Sha256) => "SHA-256",
            Algorithm::Hotp(Hash::Sha512) => "SHA-512",
            Algorithm::Motp => "MD5",
        };
        differences.push(format!("{} instead of {}", name(shown), name(own)));
    }
    match (shown.factor, own.factor) {
        (MovingFactor::Time(shown), MovingFactor::Time(own)) if shown != own => {
            differences.push(format!("steps of {shown} seconds instead of {own}"));
        }
        (MovingFactor::Time(period), MovingFactor::Event) => {
            differences.push(format!("by time, in steps of {period} seconds, instead of by event"));
        }
        (MovingFactor::Event, MovingFactor::Time(_)) => {
            differences.push("by event instead of by time".to_owned());
        }
        _ => {}
    }
    if shown.digits != own.digits {
        let [shown, own] = [shown, own].map(|token| token.digits.count());
        differences.push(format!("{shown} digits instead of {own}"));
    }
    Cause::Setup { type_field: tokens::kind(shown), differences }
}

impl Cause {
    pub fn word(&self) -> &'static str {
        match self {
            Cause::Mistyped(Mistyped::Separators) => "separators",
            Cause::Mistyped(Mistyped::OtherScript) => "other-script",
            Cause::Mistyped(Mistyped::Letters) => "letters",
            Cause::Mistyped(Mistyped::WithoutZeros) => "without-zeros",
            Cause::Mistyped(Mistyped::BeforePin) => "before-pin",
            Cause::Setup { .. } => "setup",
            Cause::KeyAsText(_) => "key-as-text",
            Cause::PinInApp => "pin-in-app",
        }
    }

    pub fn text(&self) -> String {
        match self {
            Cause::Mistyped(Mistyped::Separators) => {
                "right code, but with blanks or signs in it; servers take 123456 and 123 456"
                    .to_owned()
            }
            Cause::Mistyped(Mistyped::OtherScript) => {
                "right code, but in digits of another script; servers take 0 to 9".to_owned()
            }
            Cause::Mistyped(Mistyped::Letters) => {
                "right code, but with letters for digits (O for 0, l or I for 1)".to_owned()
            }
            Cause::Mistyped(Mistyped::WithoutZeros) => {
                "right code, but without its leading zeros".to_owned()
            }
            Cause::Mistyped(Mistyped::BeforePin) => {
                "right code, but before the PIN, which comes first".to_owned()
            }
            Cause::Setup { type_field, differences } => format!(
                "the app makes the codes of {type_field} ({}): set it up anew, or, if it can't do better, change the type with `otpgate edit`",
                differences.join(", ")
            ),
            Cause::KeyAsText(notation) => format!(
                "the app takes the key's {notation} digits for the key itself: set it up anew from the address that `otpgate export otpauth` shows"
            ),
            Cause::PinInApp => {
                "the app was given another PIN: enter the right one there, or `otpgate set-pin`"
                    .to_owned()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use jiff::tz::TimeZone;
    use otpgate::policy::{Server, Settings};
    use otpgate::users::record;

    use super::*;

    const KEY: &str = "3132333435363738393031323334353637383930";
    const NOW: UnixTime = 1_700_000_010;

    fn stored(line: &str) -> StoredToken {
        let line = line.replace("KEY", KEY);
        let record = record::parse(line.as_bytes(), &TimeZone::UTC).unwrap();
        StoredToken { token: record.token, state: record.state }
    }

    /// The code that a token shows now or, by event, next; and the one after it.
    fn shown(line: &str) -> [String; 2] {
        let StoredToken { token, state } = stored(line);
        let position = match state.reading(token.factor) {
            Reading::Event { next } => next.position(),
            Reading::Time { period, .. } => NOW as u64 / u64::from(period.get()),
        };
        [0, 1].map(|ahead| {
            let code = token.code(position + ahead);
            String::from_utf8(code.as_bytes().to_vec()).unwrap()
        })
    }

    fn found(lines: &[&str], text: &str, next: Option<&str>) -> Vec<Finding> {
        let numbered =
            |(index, line): (usize, &&str)| Line { number: index + 1, stored: stored(line) };
        let lines: Vec<Line> = lines.iter().enumerate().map(numbered).collect();
        let bytes = |text: &str| Zeroizing::new(text.as_bytes().to_vec());
        let read_out = ReadOut { text: bytes(text), next: next.map(bytes) };
        search(ALL, &lines, &read_out, &Settings::default().policy(Server::Apache), NOW)
    }

    #[track_caller]
    fn one(lines: &[&str], text: &str) -> Finding {
        let mut found = found(lines, text, None);
        assert_eq!(found.len(), 1, "{text}");
        found.remove(0)
    }

    #[test]
    fn a_right_code_typed_wrong_is_recognised() {
        use Mistyped::*;
        let zero = (0..1000).map(|counter| format!("HOTP a 12 KEY {counter}"));
        let zero = zero.into_iter().find(|line| shown(line)[0].starts_with("00")).unwrap();
        let after_zeros = shown(&zero)[0].trim_start_matches('0').to_owned();
        let pin = "HOTP a 12 KEY";
        // Counter 0: 755224, 4: 338314.
        for (line, text, mistyped, typed_pin) in [
            (pin, "12755-224", Separators, TypedPin::Right),
            (pin, "1275 52 24", Separators, TypedPin::Right),
            (pin, "12755\u{a0}224", Separators, TypedPin::Right),
            (pin, "12755224 ", Separators, TypedPin::Right),
            (pin, "755.224", Separators, TypedPin::Missing),
            (pin, "13755-224", Separators, TypedPin::Wrong),
            (pin, "12７５５２２４", OtherScript, TypedPin::Right),
            (pin, "12٧٥٥ ٢٢٤", OtherScript, TypedPin::Right),
            (pin, "12३३८३१४", OtherScript, TypedPin::Right),
            (pin, "123383l4", Letters, TypedPin::Right),
            (pin, "75522412", BeforePin, TypedPin::Right),
            (pin, "755 22412", BeforePin, TypedPin::Right),
            ("HOTP a + KEY", "755224secret", BeforePin, TypedPin::Unchecked),
            (
                "HOTP/T30 a - KEY",
                &format!("{}.", shown("HOTP/T30 a - KEY")[0]),
                Separators,
                TypedPin::Right,
            ),
            (&zero, &format!("12{after_zeros}"), WithoutZeros, TypedPin::Right),
            (&zero, &after_zeros, WithoutZeros, TypedPin::Missing),
        ] {
            let finding = one(&[line], text);
            assert_eq!(finding.cause, Cause::Mistyped(mistyped), "{line} {text}");
            assert_eq!(finding.pin, typed_pin, "{line} {text}");
            assert!(finding.is_likely());
        }
        // A server takes these as they are; without a PIN nothing comes first.
        assert!(found(&[pin], "12755 224", None).is_empty());
        assert!(found(&["HOTP a - KEY"], "75522412", None).is_empty());
        assert!(found(&[pin], "12755x224", None).is_empty());
    }

    #[test]
    fn an_app_that_was_set_up_otherwise_is_recognised() {
        for (own, shown_by, pin, type_field, differences) in [
            ("HOTP/T30", "HOTP/T60", "", "HOTP/T60/6", "steps of 60 seconds instead of 30"),
            ("HOTP/T60", "HOTP/T30", "", "HOTP/T30/6", "steps of 30 seconds instead of 60"),
            ("HOTP/T30", "HOTP/T10", "", "HOTP/T10/6", "steps of 10 seconds instead of 30"),
            ("HOTP-SHA256/T30", "HOTP/T30", "12", "HOTP/T30/6", "SHA-1 instead of SHA-256"),
            ("HOTP/T30", "HOTP-SHA512/T30", "", "HOTP-SHA512/T30/6", "SHA-512 instead of SHA-1"),
            ("HOTP/T30", "HOTP/E", "", "HOTP/E/6", "by event instead of by time"),
            (
                "HOTP/E",
                "HOTP/T30",
                "12",
                "HOTP/T30/6",
                "by time, in steps of 30 seconds, instead of by event",
            ),
            ("HOTP/T30/8", "HOTP/T30/6", "12", "HOTP/T30/6", "6 digits instead of 8"),
            ("HOTP/T30/6", "HOTP/T30/8", "12", "HOTP/T30/8", "8 digits instead of 6"),
            ("HOTP/E/6", "HOTP/E/8", "", "HOTP/E/8", "8 digits instead of 6"),
            (
                "HOTP-SHA256/T60/8",
                "HOTP/T30/6",
                "12",
                "HOTP/T30/6",
                "SHA-1 instead of SHA-256, steps of 30 seconds instead of 60, 6 digits instead of 8",
            ),
        ] {
            let code = &shown(&format!("{shown_by} a - KEY"))[0];
            let line = format!("{own} a {} KEY", if pin.is_empty() { "-" } else { pin });
            let finding = one(&[&line], &format!("{pin}{code}"));
            let Cause::Setup { type_field: field, differences: found } = &finding.cause else {
                panic!("{own} {shown_by}: {:?}", finding.cause);
            };
            assert_eq!((&field[..], &found.join(", ")[..]), (type_field, differences));
            assert_eq!(finding.pin, TypedPin::Right, "{own} {shown_by}");
            assert!(finding.is_likely());
        }
        // An event token's counter is its own, not one near 0.
        let code = &shown("HOTP-SHA256/E a - KEY 5000")[0];
        assert_eq!(one(&["HOTP/E a - KEY 5003"], code).cause.word(), "setup");
    }

    #[test]
    fn a_key_read_as_text_and_another_pin_in_the_app_are_recognised() {
        let text = |text: &str| HEXLOWER.encode(text.as_bytes());
        let base32 = BASE32_NOPAD.encode(b"12345678901234567890");
        for (line, key, expected) in [
            ("HOTP/T30 a - KEY", text(KEY), "hexadecimal"),
            ("HOTP/T30 a - KEY", text(&base32), "base 32"),
            // The app may have ignored the rest, too.
            ("HOTP-SHA256/T60/8 a - KEY", text(&base32), "base 32"),
        ] {
            let code = &shown(&format!("HOTP/T30 a - {key}"))[0];
            assert_eq!(one(&[line], code).cause, Cause::KeyAsText(expected), "{line}");
        }
        let code = &shown("MOTP a 9876 KEY")[0];
        let finding = one(&["MOTP a 1234 KEY"], code);
        assert_eq!((finding.cause.word(), finding.is_likely()), ("pin-in-app", true));
        assert!(!finding.text().contains("9876"));
    }

    #[test]
    fn the_chance_grows_with_what_was_compared_and_a_second_code_takes_it_away() {
        let (own, app) = ("HOTP-SHA256/T30/4 a - KEY", "HOTP/T30/4 a - KEY");
        let [code, next] = shown(app);
        let finding = one(&[own], &code);
        assert!(!finding.is_likely() && finding.chance > 0.05, "{}", finding.chance);
        let mut confirmed = found(&[own], &code, Some(&next));
        assert_eq!(confirmed.len(), 1);
        assert!(confirmed.remove(0).is_likely());
        assert!(found(&[own], &code, Some(&code)).is_empty(), "the same code isn't the next one");
        assert!(found(&[own], &code, Some("1234")).is_empty());
        // Of six digits all that is tried together is met by few.
        let [code, _] = shown("HOTP-SHA256/T60 a - KEY");
        let chance = one(&["HOTP/T30 a - KEY"], &code).chance;
        assert!((0.0005..0.002).contains(&chance), "{chance}");
        let ten = vec!["HOTP/T30 a - KEY"; 10];
        assert!(found(&ten, &code, None)[0].chance > 5.0 * chance);
    }

    #[test]
    fn the_first_kind_of_mistake_that_explains_a_code_is_told() {
        let of_second = found(&["HOTP/T30 a 12 00ff", "HOTP a 12 KEY"], "75522412", None);
        assert_eq!(of_second.len(), 1);
        assert_eq!((of_second[0].token, of_second[0].cause.word()), (2, "before-pin"));
        assert!(found(&["HOTP/T30 a - KEY"], "000000", None).is_empty());
    }
}
