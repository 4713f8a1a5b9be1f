//! `.google_authenticator`, the file of Google's PAM module: base 32, then options in lines that
//! begin with a quote, then scratch codes. It names no user.

use std::num::NonZeroU32;

use otpgate::otp::{Digits, Hash};
use otpgate::secret::Secret;
use otpgate::token::{Algorithm, CounterField, MovingFactor, ReplayFloor, State, TimeStep};
use zeroize::Zeroizing;

use super::{ExchangeOutcome, Flaw, Kind, Read, Token, UNFIT_PAPER, Unfit, base32, number};

const PERIOD: NonZeroU32 = NonZeroU32::new(30).unwrap();
/// The module refuses files with a longer one.
const PERIOD_MAX: NonZeroU32 = NonZeroU32::new(60).unwrap();

pub fn read(text: &[u8]) -> ExchangeOutcome {
    let mut lines = (1..).zip(text.split(|&b| b == b'\n').map(<[u8]>::trim_ascii));
    let (_, first) = lines.next().expect("a first part");
    let key = base32(first).ok_or_else(|| Flaw::of_all("line 1 isn't a key in base 32"))?;
    let mut factor = None;
    let mut period = PERIOD;
    let mut state = State::fresh();
    let (mut skew, mut used_steps) = (CounterField::default(), Vec::new());
    let (mut scratch_codes, mut unknown) = (0, Vec::<String>::new());
    let mut flaws = Vec::new();
    for (place, line) in lines.filter(|(_, line)| !line.is_empty()) {
        let Some(option) = line.strip_prefix(b"\" ").or_else(|| line.strip_prefix(b"\"\t")) else {
            match line.iter().all(u8::is_ascii_digit) {
                true => scratch_codes += 1,
                false => flaws.push(Flaw::at(place, "it is neither an option nor a scratch code")),
            }
            continue;
        };
        let mut words =
            option.split(|&b| matches!(b, b' ' | b'\t')).filter(|word| !word.is_empty());
        let name = words.next().unwrap_or_default();
        let mut wrong = |what: &'static str| flaws.push(Flaw::at(place, what));
        match name {
            b"TOTP_AUTH" | b"HOTP_COUNTER" if factor.is_some() => {
                wrong("it is both TOTP_AUTH and HOTP_COUNTER")
            }
            b"TOTP_AUTH" => factor = Some(false),
            b"HOTP_COUNTER" => {
                factor = Some(true);
                match words.next().and_then(number) {
                    Some(counter) => state.counter = CounterField::from_written(counter),
                    None => wrong("HOTP_COUNTER is not a number from 0 to 9223372036854775807"),
                }
            }
            b"STEP_SIZE" => match words.next().and_then(number) {
                Some(step) => period = step,
                None => wrong("STEP_SIZE is not a number from 1 to 4294967295"),
            },
            b"TIME_SKEW" => match words.next().and_then(signed) {
                Some(offset) => skew = CounterField::from_written(offset),
                None => wrong("TIME_SKEW is not a number"),
            },
            b"DISALLOW_REUSE" => used_steps.extend(words.filter_map(number::<i64>)),
            // The server's, not the token's.
            b"RATE_LIMIT" | b"WINDOW_SIZE" | b"RESETTING_TIME_SKEW" => {}
            name if name.starts_with(b"LAST") => {}
            // By its place: a key that somebody has put there would be a name, too.
            _ => unknown.push(place.to_string()),
        }
    }
    let by_counter = factor.unwrap_or_else(|| {
        flaws.push(Flaw::of_all("it has neither TOTP_AUTH nor HOTP_COUNTER"));
        false
    });
    if !flaws.is_empty() {
        return Ok(Read { tokens: Vec::new(), unusable: flaws, notes: Vec::new() });
    }
    if !by_counter {
        state.counter = skew;
    }
    let factor = if by_counter { MovingFactor::Event } else { MovingFactor::Time(period) };
    if let (MovingFactor::Time(period), Some(step)) = (factor, used_steps.into_iter().max()) {
        // A step that was accepted there isn't accepted here.
        state.replay_floor = ReplayFloor::of_step(TimeStep::new(step), period);
    }
    let mut notes = Vec::new();
    if scratch_codes > 0 {
        notes.push(format!(
            "scratch codes left out, for which there is nothing here (a second token helps where a phone is lost): \
             {scratch_codes}"
        ));
    }
    if !unknown.is_empty() {
        notes.push(format!("unknown options were left out, in lines {}", unknown.join(", ")));
    }
    let kind = Kind { algorithm: Algorithm::Hotp(Hash::Sha1), factor, digits: Digits::SIX };
    let token = Token { user: Vec::new(), kind, key, pin: None, state, place: 1 };
    Ok(Read { tokens: vec![token], unusable: Vec::new(), notes })
}

fn signed(text: &[u8]) -> Option<i64> {
    match text.strip_prefix(b"-") {
        Some(digits) => number::<i64>(digits).map(|number| -number),
        None => number(text),
    }
}

/// The file of one token.
pub fn file(token: &Token) -> Result<Zeroizing<String>, Unfit> {
    if token.kind.algorithm != Algorithm::Hotp(Hash::Sha1) {
        return Err(Unfit("Google's PAM module has only SHA-1, and no Mobile-OTP"));
    }
    if matches!(token.kind.factor, MovingFactor::Paper(_)) {
        return Err(UNFIT_PAPER);
    }
    if token.kind.digits != Digits::SIX {
        return Err(Unfit("Google's PAM module has only 6 digits"));
    }
    let options = match token.kind.factor {
        // The module asks whether the counter is above 0 to tell which of both it is.
        MovingFactor::Event if token.state.counter.as_written() <= 0 => {
            return Err(Unfit(
                "Google's PAM module takes a counter of 0 for a token by time: let it log in once before",
            ));
        }
        MovingFactor::Time(period) if period > PERIOD_MAX => {
            return Err(Unfit("Google's PAM module knows periods up to 60 seconds only"));
        }
        MovingFactor::Event | MovingFactor::Paper(_) => {
            format!("\" HOTP_COUNTER {}\n", token.state.counter)
        }
        MovingFactor::Time(period) => {
            let mut options = String::new();
            if let Some(step) = token.state.last_accepted(token.kind.factor) {
                options += &format!("\" DISALLOW_REUSE {step}\n");
            }
            if period != PERIOD {
                options += &format!("\" STEP_SIZE {period}\n");
            }
            if token.state.counter != CounterField::default() {
                options += &format!("\" TIME_SKEW {}\n", token.state.counter);
            }
            options + "\" TOTP_AUTH\n"
        }
    };
    let key = base32_text(&token.key);
    Ok(Zeroizing::new(format!("{}\n{options}", key.as_str())))
}

fn base32_text(key: &Secret) -> Zeroizing<String> {
    Zeroizing::new(data_encoding::BASE32_NOPAD.encode(key.expose()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flaws(text: &str) -> Vec<String> {
        let read = read(text.as_bytes());
        let flaws = match read {
            Ok(read) => {
                assert!(read.tokens.is_empty());
                read.unusable
            }
            Err(flaw) => vec![flaw],
        };
        flaws.into_iter().map(|flaw| format!("{:?}: {}", flaw.place, flaw.text)).collect()
    }

    #[test]
    fn steps_skew_and_used_steps_are_taken_over() {
        let text = "GEZDGNBVGY3TQOJQ\n\" RATE_LIMIT 3 30 1700000000\n\" WINDOW_SIZE 17\n\" STEP_SIZE 60\n\
                    \"\tTIME_SKEW\t-2\n\" DISALLOW_REUSE 28333333 28333335 28333334\n\" TOTP_AUTH\n\" JBSWY3DPEHPK3PXP\n\
                    12345678\n87654321\n";
        let read = read(text.as_bytes()).ok().unwrap();
        let token = &read.tokens[0];
        assert_eq!(token.kind.field(), "HOTP/T60/6");
        let floor = token.state.replay_floor.map(ReplayFloor::as_written);
        assert_eq!((token.state.counter.as_written(), floor), (-2, Some(28_333_335 * 60)));
        assert_eq!(read.notes.len(), 2);
        assert!(
            read.notes[0].starts_with("scratch codes left out") && read.notes[0].ends_with(": 2"),
            "{}",
            read.notes[0]
        );
        assert_eq!(read.notes[1], "unknown options were left out, in lines 8");
    }

    #[test]
    fn a_skew_of_the_clock_is_no_counter() {
        for text in ["HOTP_COUNTER 5\n\" TIME_SKEW -3\n", "TIME_SKEW -3\n\" HOTP_COUNTER 5\n"] {
            let read = read(format!("GE\n\" {text}").as_bytes()).ok().unwrap();
            assert_eq!(read.tokens[0].state.counter.as_written(), 5, "{text}");
        }
    }

    #[test]
    fn every_flaw_is_told() {
        assert_eq!(flaws("x1"), ["None: line 1 isn't a key in base 32"]);
        assert_eq!(flaws("GE\n"), ["None: it has neither TOTP_AUTH nor HOTP_COUNTER"]);
        assert_eq!(
            flaws("GE\n\" TOTP_AUTH\n\" HOTP_COUNTER 1\nhello\n\" STEP_SIZE 0\n\" TIME_SKEW x\n"),
            [
                "Some(3): it is both TOTP_AUTH and HOTP_COUNTER",
                "Some(4): it is neither an option nor a scratch code",
                "Some(5): STEP_SIZE is not a number from 1 to 4294967295",
                "Some(6): TIME_SKEW is not a number",
            ]
        );
        assert_eq!(
            flaws("GE\n\" HOTP_COUNTER x\n"),
            ["Some(2): HOTP_COUNTER is not a number from 0 to 9223372036854775807"]
        );
    }
}
