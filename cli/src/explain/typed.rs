//! What a user typed or read out: other readings of it than a server's.

use otpgate::otp::{Code, Digits};
use otpgate::resync;
use otpgate::token::{Algorithm, Pin, Token};
use zeroize::Zeroizing;

/// A code and one of the next few after it are enough to tell it from one met by chance. Whoever
/// reads them out may miss one.
const FOLLOWING: u64 = 3;
/// More zeros in front are rarer than a mistake of another kind.
const ZEROS: usize = 3;

/// A code as it was typed, with or without its PIN.
pub struct ReadOut {
    pub text: Zeroizing<Vec<u8>>,
    /// A code shown after it, if that was needed.
    pub next: Option<Zeroizing<Vec<u8>>>,
}

impl ReadOut {
    /// The counters or steps in a range that show a code, and soon afterwards the next one, if that
    /// is known.
    pub fn positions(
        &self,
        token: &Token,
        range: std::ops::RangeInclusive<u64>,
        code: &Code,
    ) -> impl Iterator<Item = u64> {
        resync::positions(token, range, code).filter(|&position| self.is_confirmed(token, position))
    }

    fn is_confirmed(&self, token: &Token, position: u64) -> bool {
        let Some(next) = &self.next else { return true };
        let plain = token.split(next).map(|(_, code)| code);
        let codes =
            plain.into_iter().chain(readings(token, next).into_iter().map(|typed| typed.code));
        codes.into_iter().any(|code| {
            let following = position.saturating_add(1)..=position.saturating_add(FOLLOWING);
            resync::positions(token, following, &code).next().is_some()
        })
    }
}

/// A right code that no server takes as it was typed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mistyped {
    Separators,
    OtherScript,
    Letters,
    WithoutZeros,
    BeforePin,
}

/// What may have been meant.
pub struct Reading {
    pub mistyped: Mistyped,
    pub pin: Zeroizing<Vec<u8>>,
    pub code: Code,
}

/// What may have been meant besides what a server understands.
pub fn readings(token: &Token, text: &[u8]) -> Vec<Reading> {
    let mut readings: Vec<Reading> = from_end(token, text).into_iter().collect();
    if token.algorithm != Algorithm::Motp {
        readings.extend((1..=ZEROS).filter_map(|zeros| without_zeros(token, text, zeros)));
        if token.pin != Pin::None {
            readings.extend(code_first(token, text));
        }
    }
    readings
}

/// The last characters that can be meant as those of a code.
fn from_end(token: &Token, text: &[u8]) -> Option<Reading> {
    let count = token.digits.count();
    let text = Zeroizing::new(String::from_utf8_lossy(text).into_owned());
    let mut mistyped = None;
    let mut code = Zeroizing::new([0; Digits::MAX]);
    let mut left = count;
    let mut characters = text.char_indices().rev();
    let mut begins = text.len();
    while left > 0 {
        let (place, character) = characters.next()?;
        let (digit, mistake) = meant(character)?;
        mistyped = mistyped.or(mistake);
        if let Some(digit) = digit {
            left -= 1;
            code[left] = digit;
        }
        begins = place;
    }
    let code = Code::new(&code[..count])?.into_lower_case();
    let pin = Zeroizing::new(text.as_bytes()[..begins].to_vec());
    let is_as_typed =
        token.split(text.as_bytes()).is_some_and(|split| split == (&pin[..], code.clone()));
    Some(Reading { mistyped: mistyped?, pin, code }).filter(|_| !is_as_typed)
}

/// The digit that is meant, if any, and by which mistake.
fn meant(character: char) -> Option<(Option<u8>, Option<Mistyped>)> {
    // Arabic-Indic (two ranges), Devanagari and fullwidth digits.
    const ZEROS: [u32; 4] = [0x660, 0x6f0, 0x966, 0xff10];
    let of_script = ZEROS
        .into_iter()
        .find_map(|zero| u32::from(character).checked_sub(zero).filter(|&n| n < 10));
    Some(match character {
        _ if character.is_ascii_hexdigit() => (Some(character as u8), None),
        'O' | 'o' => (Some(b'0'), Some(Mistyped::Letters)),
        'I' | 'i' | 'l' | '|' => (Some(b'1'), Some(Mistyped::Letters)),
        '-' | '.' | ',' | '_' | '·' | '•' | '\u{2010}'..='\u{2015}' | '\u{200b}' => {
            (None, Some(Mistyped::Separators))
        }
        _ if character.is_whitespace() => (None, Some(Mistyped::Separators)),
        _ => (Some(b'0' + of_script? as u8), Some(Mistyped::OtherScript)),
    })
}

fn without_zeros(token: &Token, text: &[u8], zeros: usize) -> Option<Reading> {
    let left = token.digits.count().checked_sub(zeros).filter(|&left| left > 0)?;
    let (pin, digits) = text.split_at_checked(text.len().checked_sub(left)?)?;
    if !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let code = Zeroizing::new([&b"000"[..zeros], digits].concat());
    let pin = Zeroizing::new(pin.to_vec());
    Some(Reading { mistyped: Mistyped::WithoutZeros, pin, code: Code::new(&code)? })
}

fn code_first(token: &Token, text: &[u8]) -> Option<Reading> {
    let count = token.digits.count();
    let grouped = || Some((Code::in_groups(text.get(..=count)?)?, &text[count + 1..]));
    let plain = || {
        let (code, pin) = text.split_at_checked(count)?;
        Some((Code::new(code)?, pin))
    };
    let (code, pin) = grouped().or_else(plain).filter(|(_, pin)| !pin.is_empty())?;
    let pin = Zeroizing::new(pin.to_vec());
    Some(Reading { mistyped: Mistyped::BeforePin, pin, code: code.into_lower_case() })
}
