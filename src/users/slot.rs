//! The slot: fields 5 to 10 at fixed columns, so that state can be overwritten in place.
//!
//! ```text
//! counter(20) failures(10) last-otp(10) time(20) ip(45) @at,first,last,failed,sum(68)
//! ```
//!
//! Every field starts at its column, is padded with spaces to its width and followed by one space, the last
//! by whatever the line goes on with.

use std::io::Write as _;

use jiff::tz::TimeZone;

use super::{line, localtime};
use crate::UnixTime;
use crate::token::{Address, State, Used};

/// Longest address field; the longest text form of an IPv6 address.
pub const ADDRESS_MAX: usize = 45;

const WIDTHS: [usize; 6] = [20, 10, 10, localtime::LEN, ADDRESS_MAX, EXTENSION_LEN];
// '@', a counter below 2^63, three times of up to twelve digits, an eight-digit sum, four commas.
const EXTENSION_LEN: usize = 1 + 19 + 3 * 12 + 8 + 4;
/// Twelve digits: beyond the year 33,000.
const TIME_MAX: UnixTime = 999_999_999_999;

/// Bytes of a slot.
pub const LEN: usize = {
    let mut len = WIDTHS.len() - 1;
    let mut i = 0;
    while i < WIDTHS.len() {
        len += WIDTHS[i];
        i += 1;
    }
    len
};

/// A slot as it is written.
pub type Slot = [u8; LEN];

const COLUMNS: [usize; 6] = {
    let mut columns = [0; 6];
    let mut i = 1;
    while i < WIDTHS.len() {
        columns[i] = columns[i - 1] + WIDTHS[i - 1] + 1;
        i += 1;
    }
    columns
};

/// Where the slot of a line begins, if it has one: right after field 4 and one blank.
pub fn find(line: &[u8], head_end: usize) -> Option<usize> {
    let start = head_end + 1;
    let slot = line.get(start..start + LEN)?;
    if line.get(start + LEN).is_some_and(|&b| !line::is_blank(b)) {
        return None;
    }
    for (column, width) in COLUMNS.into_iter().zip(WIDTHS) {
        let (field, after) = (&slot[column..column + width], slot.get(column + width));
        let text = field.iter().position(|&b| b == b' ').unwrap_or(width);
        let is_one_padded_word =
            text > 0 && field[text..].iter().all(|&b| b == b' ') && after.is_none_or(|&b| b == b' ');
        if !is_one_padded_word {
            return None;
        }
    }
    (slot[COLUMNS[5]] == b'@').then_some(start)
}

/// Writes state into a slot. `head` is fields 1 to 4 as they stand in the line: the checksum covers them.
pub fn write(head: [&[u8]; 4], state: &State, zone: &TimeZone) -> Slot {
    let (first, last) = match state.used {
        Used::Never => (0, 0),
        Used::At { first, last } => (first, last),
        Used::Local { latest, .. } => (latest, latest),
    };
    let time = if last == 0 { *localtime::NEVER } else { localtime::format(last, zone) };

    let counter = state.counter.to_string();
    let failures = state.failures.to_string();
    let last_otp = state.last_otp.as_ref().map_or(&b"-"[..], |code| code.as_bytes());
    let address = match &state.address {
        Address::Unknown => b"-".to_vec(),
        Address::Ip(ip) => ip.to_string().into_bytes(),
        Address::Other(text) => text.to_vec(),
    };
    let visible: [&[u8]; 5] = [counter.as_bytes(), failures.as_bytes(), last_otp, &time, &address];
    let fields: Vec<&[u8]> = head.into_iter().chain(visible).collect();
    let extension = Extension {
        numbers: [
            state.at.unwrap_or(0).max(0),
            first.clamp(0, TIME_MAX),
            last.clamp(0, TIME_MAX),
            state.failed.unwrap_or(0).clamp(0, TIME_MAX),
        ],
        intact: true,
    }
    .format(&fields);

    let mut slot = [b' '; LEN];
    for (column, field) in COLUMNS.into_iter().zip(visible.into_iter().chain([&extension[..]])) {
        slot[column..column + field.len()].copy_from_slice(field);
    }
    slot
}

/// The line with its state, which ends at `state_end`, in a slot: fields 1 to 4 and whatever follows stay byte for
/// byte.
pub fn insert(line: &[u8], head_end: usize, state_end: usize, slot: &Slot) -> Vec<u8> {
    let mut out = Vec::with_capacity(line.len() + LEN + 1);
    out.extend_from_slice(&line[..head_end]);
    out.push(b' ');
    out.extend_from_slice(slot);
    out.extend_from_slice(&line[state_end..]);
    out
}

/// The `ext` word: `@at,first,last,failed,sum`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extension {
    numbers: [i64; 4],
    /// Whether the checksum is that of the line.
    pub intact: bool,
}

impl Extension {
    /// Reads the word. `fields` are fields 1 to 9 as written. `None`: not even `at` can be read.
    pub fn parse(word: &[u8], fields: &[&[u8]]) -> Option<Extension> {
        let mut parts = word.strip_prefix(b"@")?.split(|&b| b == b',');
        let mut number = || -> Option<i64> {
            let part = parts.next()?;
            let digits = !part.is_empty() && part.iter().all(u8::is_ascii_digit);
            digits.then(|| str::from_utf8(part).ok()?.parse().ok())?
        };
        let at = number()?;
        let (Some(first), Some(last), Some(failed)) = (number(), number(), number()) else {
            return Some(Extension { numbers: [at, 0, 0, 0], intact: false });
        };
        let extension = Extension { numbers: [at, first, last, failed], intact: false };
        // Compared as text: another way to write the same number is not what we wrote.
        let intact = extension.format(fields) == word;
        Some(Extension { intact, ..extension })
    }

    /// The word with the same numbers and the checksum of other fields 1 to 9. As long as `word` if that is intact.
    pub fn resealed(word: &[u8], fields: &[&[u8]]) -> Option<Vec<u8>> {
        Extension::parse(word, fields).map(|extension| extension.format(fields))
    }

    fn format(&self, fields: &[&[u8]]) -> Vec<u8> {
        let [at, first, last, failed] = self.numbers;
        let mut sum = crc32fast::Hasher::new();
        for field in fields {
            sum.update(field);
            sum.update(b" ");
        }
        let mut numbers = Vec::with_capacity(EXTENSION_LEN);
        write!(numbers, "{at} {first} {last} {failed}").expect("writing to memory");
        sum.update(&numbers);
        let mut word = Vec::with_capacity(EXTENSION_LEN);
        write!(word, "@{at},{first},{last},{failed},{:08x}", sum.finalize()).expect("writing to memory");
        word
    }

    /// The last accepted counter or the second its step began.
    pub fn at(&self) -> Option<i64> {
        Some(self.numbers[0]).filter(|&at| at != 0)
    }

    /// First and last use.
    pub fn used(&self) -> Used {
        match self.numbers {
            [_, _, 0, _] => Used::Never,
            [_, first, last, _] => Used::At { first, last },
        }
    }

    /// The last counted wrong code.
    pub fn failed(&self) -> Option<UnixTime> {
        Some(self.numbers[3]).filter(|&failed| failed != 0)
    }
}
