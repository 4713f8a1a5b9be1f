//! The slot: fields 5 to 10 at fixed columns, so that state can be overwritten in place.
//!
//! ```text
//! counter(20) failures(10) last-otp(10) time(20) ip(45) @at,first,last,failed,sum(68)
//! ```
//!
//! A line of a user's sessions or computers has its places in as many bytes ([`super::pragma`]), so that all are
//! overwritten, journalled and recovered in one way.
//!
//! Every field starts at its column, is padded with spaces to its width and followed by one space,
//! the last by whatever the line goes on with.

use jiff::tz::TimeZone;

use super::pragma::{self, PragmaKind};
use super::{line, localtime, record};
use crate::UnixTime;
use crate::files::lines;
use crate::token::{Address, Fingerprint, ReplayFloor, State, Used};

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
    if line.get(start + LEN).is_some_and(|&b| !lines::is_blank(b)) {
        return None;
    }
    for (column, width) in COLUMNS.into_iter().zip(WIDTHS) {
        let (field, after) = (&slot[column..column + width], slot.get(column + width));
        let text = memchr::memchr(b' ', field).unwrap_or(width);
        // Without an early end, so that it takes many bytes at a time.
        let is_padding = field[text..].iter().fold(true, |so_far, &b| so_far & (b == b' '));
        // Else it would be two words to whoever reads the line, and what is behind them not ours.
        let is_word = field[..text].iter().fold(true, |so_far, &b| so_far & !lines::is_blank(b));
        let is_one_padded_word =
            text > 0 && is_word && is_padding && after.is_none_or(|&b| b == b' ');
        if !is_one_padded_word {
            return None;
        }
    }
    (slot[COLUMNS[5]] == b'@').then_some(start)
}

/// The fingerprint of what stands in a line before its slot: fields 1 to 4, or the words of a line
/// with places. `None`: it is no such line.
pub fn fingerprint_of_head(head: &[u8]) -> Option<Fingerprint> {
    match PragmaKind::of(head) {
        Some(kind) if kind.has_places() => pragma::fingerprint_of_places(head),
        _ => record::fingerprint_of_line(head),
    }
}

/// Writes state into a slot. `head` is fields 1 to 4 as they stand in the line: the checksum covers
/// them.
pub fn write(head: [&[u8]; 4], state: &State, zone: &TimeZone) -> Slot {
    let (first, last) = match state.used {
        Used::Never => (0, 0),
        // A reader that knows nothing of it takes that for "never", whichever of the two it goes by.
        Used::Ended { last_login } => (last_login, 0),
        Used::At { first, last } => (first, last),
        Used::Local { latest, .. } => (latest, latest),
    };
    let time = if last == 0 { *localtime::NEVER } else { localtime::format(last, zone) };

    let counter = Decimal::of(state.counter.as_written());
    let failures = Decimal::of(state.failures.into());
    let last_otp = state.last_otp.as_ref().map_or(&b"-"[..], |code| code.as_bytes());
    let address = match &state.address {
        Address::Unknown => b"-".to_vec(),
        Address::Ip(ip) => ip.to_string().into_bytes(),
        Address::Other(text) => text.to_vec(),
    };
    let visible: [&[u8]; 5] = [counter.text(), failures.text(), last_otp, &time, &address];
    let [kind, user, pin, key] = head;
    let [counter, failures, last_otp, time, ip] = visible;
    let extension = Extension {
        numbers: [
            state.replay_floor.map_or(0, ReplayFloor::as_written).max(0),
            first.clamp(0, TIME_MAX),
            last.clamp(0, TIME_MAX),
            state.last_failure.unwrap_or(0).clamp(0, TIME_MAX),
        ],
        intact: true,
    }
    .format([kind, user, pin, key, counter, failures, last_otp, time, ip]);

    let mut slot = [b' '; LEN];
    for (column, field) in COLUMNS.into_iter().zip(visible.into_iter().chain([extension.text()])) {
        slot[column..column + field.len()].copy_from_slice(field);
    }
    slot
}

/// Appends the line with its state, which ends at `state_end`, in a slot: fields 1 to 4 and
/// whatever follows stay byte for byte.
pub fn insert_into(out: &mut Vec<u8>, line: &[u8], head_end: usize, state_end: usize, slot: &Slot) {
    out.extend_from_slice(&line[..head_end]);
    out.push(b' ');
    out.extend_from_slice(slot);
    out.extend_from_slice(&line[state_end..]);
}

/// A number as text, without the detour through a formatter.
struct Decimal {
    digits: [u8; 20],
    start: usize,
}

impl Decimal {
    fn of(number: i64) -> Decimal {
        let mut decimal = Decimal { digits: [0; 20], start: 20 };
        let mut rest = number.unsigned_abs();
        loop {
            decimal.push_front(b'0' + (rest % 10) as u8);
            rest /= 10;
            if rest == 0 {
                break;
            }
        }
        if number < 0 {
            decimal.push_front(b'-');
        }
        decimal
    }

    fn push_front(&mut self, byte: u8) {
        self.start -= 1;
        self.digits[self.start] = byte;
    }

    fn text(&self) -> &[u8] {
        &self.digits[self.start..]
    }
}

/// Longest word that [`Extension::format`] makes: of four numbers that somebody else wrote.
const WORD_MAX: usize = 1 + 4 * 20 + 8 + 4;

/// An `ext` word as written.
struct ExtWord {
    text: [u8; WORD_MAX],
    len: usize,
}

impl ExtWord {
    fn push(&mut self, byte: u8) {
        self.text[self.len] = byte;
        self.len += 1;
    }

    fn text(&self) -> &[u8] {
        &self.text[..self.len]
    }
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
    pub fn parse(word: &[u8], fields: [&[u8]; 9]) -> Option<Extension> {
        let mut parts = word.strip_prefix(b"@")?.split(|&b| b == b',');
        let mut number = || -> Option<i64> { line::number(parts.next()?)?.try_into().ok() };
        let at = number()?;
        let (Some(first), Some(last), Some(failed)) = (number(), number(), number()) else {
            return Some(Extension { numbers: [at, 0, 0, 0], intact: false });
        };
        let extension = Extension { numbers: [at, first, last, failed], intact: false };
        // Compared as text: another way to write the same number is not what we wrote.
        let intact = extension.format(fields).text() == word;
        Some(Extension { intact, ..extension })
    }

    /// The word with the same numbers and the checksum of other fields 1 to 9. As long as `word` if
    /// that is intact.
    pub fn resealed(word: &[u8], fields: [&[u8]; 9]) -> Option<Vec<u8>> {
        Extension::parse(word, fields).map(|extension| extension.format(fields).text().to_vec())
    }

    fn format(&self, fields: [&[u8]; 9]) -> ExtWord {
        // What is summed, in one piece: a million of these are made when a file is rewritten.
        let len = fields.iter().map(|field| field.len() + 1).sum::<usize>() + WORD_MAX;
        let mut summed = Vec::with_capacity(len);
        for field in fields {
            summed.extend_from_slice(field);
            summed.push(b' ');
        }
        let numbers = summed.len();
        for (i, number) in self.numbers.into_iter().enumerate() {
            if i > 0 {
                summed.push(b' ');
            }
            summed.extend_from_slice(Decimal::of(number).text());
        }
        let mut word = ExtWord { text: [0; WORD_MAX], len: 0 };
        word.push(b'@');
        for &byte in &summed[numbers..] {
            word.push(if byte == b' ' { b',' } else { byte });
        }
        word.push(b',');
        let sum = crc32fast::hash(&summed);
        for i in (0..8).rev() {
            word.push(b"0123456789abcdef"[(sum >> (4 * i)) as usize & 15]);
        }
        word
    }

    /// The last accepted counter or the second its step began.
    pub fn at(&self) -> Option<ReplayFloor> {
        Some(self.numbers[0]).filter(|&at| at != 0).map(ReplayFloor::from_written)
    }

    /// First and last use. Without a last one the first is that of a code that has ended.
    pub fn used(&self) -> Used {
        match self.numbers {
            [_, 0, 0, _] => Used::Never,
            [_, last_login, 0, _] => Used::Ended { last_login },
            [_, first, last, _] => Used::At { first, last },
        }
    }

    /// The last counted wrong code.
    pub fn failed(&self) -> Option<UnixTime> {
        Some(self.numbers[3]).filter(|&failed| failed != 0)
    }
}
