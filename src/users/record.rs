//! One line of the users file: parsed into a token and its state.

use std::fmt;
use std::net::IpAddr;
use std::num::{NonZeroU16, NonZeroU32};
use std::ops::Range;

use data_encoding::{BASE32_NOPAD, HEXLOWER_PERMISSIVE};
use jiff::tz::TimeZone;
use sha2::{Digest, Sha256};

use super::line::{LINE_MAX, number, words};
use super::localtime;
use super::slot::{self, Extension};
use crate::files::lines;
use crate::otp::{Code, Digits, Hash};
use crate::pin::{HashedPin, HashedPinError};
use crate::secret::Secret;
use crate::token::{
    Address, Algorithm, CounterField, Fingerprint, MovingFactor, PRINTED_MAX, Pin, State, Token,
    Used,
};

/// Longest user name, in bytes.
pub const USER_MAX: usize = 255;
/// Longest key, in bytes.
pub const KEY_MAX: usize = 256;
/// Fewest digits of a code on paper.
const PAPER_DIGITS_MIN: usize = 6;

/// A parsed line.
#[derive(Clone, Debug)]
pub struct Record {
    /// Fields 1 to 4, but for the user's name.
    pub token: Token,
    /// Fields 5 to 10.
    pub state: State,
    /// Where in the line state is written.
    pub layout: Layout,
}

/// Where in a line (without its line end) the state is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    /// Fields 1 to 4 as words.
    pub head: [Range<usize>; 4],
    /// From the end of field 4 to the end of the last field that is ours; empty if field 4 is the
    /// last.
    pub state: Range<usize>,
    /// Where the slot begins, if state already stands in one.
    pub slot: Option<usize>,
}

/// Why a line can't be used. Says nothing of PIN and key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordError {
    /// Longer than [`LINE_MAX`].
    LineTooLong,
    /// Holds a NUL byte.
    Nul,
    /// Field 1 names no token type.
    Type,
    /// Fewer than four fields.
    MissingField(&'static str),
    /// Field 2 is longer than [`USER_MAX`].
    UserTooLong,
    /// Field 3 looks like a hash but is none.
    HashedPin(HashedPinError),
    /// A hashed PIN can't be part of a Mobile-OTP code.
    HashedPinOfMotp,
    /// Field 4 is no key of 1 to 256 bytes.
    Key,
    /// Field 5 is no number of its range.
    Counter,
    /// Field 6 is no number of its range.
    Failures,
    /// Field 7 is longer than any code.
    LastOtp,
    /// Field 8 is no time.
    Time,
    /// Field 9 is longer than any address.
    Address,
}

impl fmt::Display for RecordError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RecordError::LineTooLong => write!(f, "the line is longer than {LINE_MAX} bytes"),
            RecordError::Nul => f.write_str("the line contains a NUL byte"),
            RecordError::Type => f.write_str(
                "field 1 (type) is not HOTP, HOTP-SHA256, HOTP-SHA512 or MOTP with /E or /T<seconds> and /<1-10>, or PAPER/<6-10>/<1-1000>",
            ),
            RecordError::MissingField(name) => write!(f, "field {name} is missing"),
            RecordError::UserTooLong => write!(f, "field 2 (user) is longer than {USER_MAX} bytes"),
            RecordError::HashedPin(error) => write!(f, "field 3 (pin): {error}"),
            RecordError::HashedPinOfMotp => {
                f.write_str("field 3 (pin): a Mobile-OTP token needs its PIN in the clear, not hashed")
            }
            RecordError::Key => {
                write!(f, "field 4 (key) is not 1 to {KEY_MAX} bytes in hexadecimal or base32:")
            }
            RecordError::Counter => f.write_str(
                "field 5 (counter) is not 0 to 9223372036854775807 for an event token, or a signed offset for a time token",
            ),
            RecordError::Failures => f.write_str("field 6 (failures) is not a number from 0 to 4294967295"),
            RecordError::LastOtp => f.write_str("field 7 (last-otp) is longer than 10 characters"),
            RecordError::Time => f.write_str("field 8 (time) is not YYYY-MM-DDThh:mm:ssL"),
            RecordError::Address => f.write_str("field 9 (ip) is longer than 45 characters"),
        }
    }
}

impl std::error::Error for RecordError {}

/// Parses a line that is not [`crate::files::lines::is_ignored`], without its line end. `zone` is
/// the zone of the time field.
///
/// ```
/// use jiff::tz::TimeZone;
/// use otpgate::token::{CounterField, MovingFactor, Pin};
/// use otpgate::users::record::{self, RecordError};
///
/// let line = b"HOTP/E/8 alice - 3132333435363738393031323334353637383930 42";
/// let record = record::parse(line, &TimeZone::UTC)?;
/// assert_eq!(record.token.factor, MovingFactor::Event);
/// assert_eq!(record.token.pin, Pin::None);
/// assert_eq!(record.state.counter, CounterField::from_written(42));
/// # Ok::<(), RecordError>(())
/// ```
pub fn parse(line: &[u8], zone: &TimeZone) -> Result<Record, RecordError> {
    let mut record = parse_one_of_many(line, zone)?;
    record.token.fingerprint = fingerprint(record.layout.head.clone().map(|word| &line[word]));
    Ok(record)
}

/// The same without the fingerprint, which is a good part of the work, for going through a whole
/// file.
pub(super) fn parse_one_of_many(line: &[u8], zone: &TimeZone) -> Result<Record, RecordError> {
    if line.len() > LINE_MAX {
        return Err(RecordError::LineTooLong);
    }
    if memchr::memchr(0, line).is_some() {
        return Err(RecordError::Nul);
    }
    let mut words = words(line);
    let mut head = |name| words.next().ok_or(RecordError::MissingField(name));
    let head = [head("1 (type)")?, head("2 (user)")?, head("3 (pin)")?, head("4 (key)")?];
    let [kind, user, pin, key] = head.clone().map(|word| &line[word]);

    let (algorithm, factor, digits, disabled) = parse_type(kind).ok_or(RecordError::Type)?;
    if user.len() > USER_MAX {
        return Err(RecordError::UserTooLong);
    }
    let pin = parse_pin(pin)?;
    if algorithm == Algorithm::Motp && matches!(pin, Pin::Hashed(_)) {
        return Err(RecordError::HashedPinOfMotp);
    }
    let key = parse_key(key).ok_or(RecordError::Key)?;
    let token =
        Token { algorithm, factor, digits, disabled, pin, key, fingerprint: Fingerprint([0; 16]) };

    let mut tail = [const { 0..0 }; 6];
    let mut count = 0;
    for (place, word) in tail.iter_mut().zip(words) {
        *place = word;
        count += 1;
    }
    let (state, state_end) = parse_state(line, &head, &tail[..count], factor, zone)?;
    let state_start = head[3].end;
    let layout = Layout {
        slot: slot::find(line, state_start),
        state: state_start..state_end.unwrap_or(state_start),
        head,
    };
    Ok(Record { token, state, layout })
}

fn parse_type(field: &[u8]) -> Option<(Algorithm, MovingFactor, Digits, bool)> {
    const THIRTY: NonZeroU32 = NonZeroU32::new(30).unwrap();
    const TEN: NonZeroU32 = NonZeroU32::new(10).unwrap();

    let (disabled, field) = match field.split_at_checked(4) {
        Some((prefix, rest)) if prefix.eq_ignore_ascii_case(b"OFF:") => (true, rest),
        _ => (false, field),
    };
    let hotp = Algorithm::Hotp(Hash::Sha1);
    match field {
        b"E" => return Some((hotp, MovingFactor::Event, Digits::SIX, disabled)),
        b"T" => return Some((hotp, MovingFactor::Time(THIRTY), Digits::SIX, disabled)),
        _ => {}
    }

    let mut parts = field.split(|&b| b == b'/').peekable();
    let name = parts.next()?;
    if name.eq_ignore_ascii_case(b"PAPER") {
        let digits = Digits::new(number(parts.next()?)?.try_into().ok()?)?;
        let printed = NonZeroU16::new(number(parts.next()?)?.try_into().ok()?)?;
        let is_one = digits.count() >= PAPER_DIGITS_MIN
            && printed.get() <= PRINTED_MAX
            && parts.next().is_none();
        return is_one.then_some((hotp, MovingFactor::Paper(printed), digits, disabled));
    }
    let (_, algorithm, mut factor) = [
        (&b"HOTP"[..], hotp, MovingFactor::Event),
        (b"HOTP-SHA256", Algorithm::Hotp(Hash::Sha256), MovingFactor::Event),
        (b"HOTP-SHA512", Algorithm::Hotp(Hash::Sha512), MovingFactor::Event),
        (b"MOTP", Algorithm::Motp, MovingFactor::Time(TEN)),
    ]
    .into_iter()
    .find(|(known, ..)| known.eq_ignore_ascii_case(name))?;
    if let Some(part) = parts.peek() {
        let given = match part.split_first() {
            Some((b'E' | b'e', [])) => Some(MovingFactor::Event),
            Some((b'T' | b't', seconds)) => {
                Some(MovingFactor::Time(NonZeroU32::new(number(seconds)?.try_into().ok()?)?))
            }
            _ => None,
        };
        if let Some(given) = given {
            factor = given;
            parts.next();
        }
    }
    let digits = match parts.next() {
        Some(part) => Digits::new(number(part)?.try_into().ok()?)?,
        None => Digits::SIX,
    };
    parts.next().is_none().then_some((algorithm, factor, digits, disabled))
}

/// Field 1 of a token that is switched on.
pub fn type_field(algorithm: Algorithm, factor: MovingFactor, digits: Digits) -> String {
    let name = match algorithm {
        Algorithm::Hotp(Hash::Sha1) => "HOTP",
        Algorithm::Hotp(Hash::Sha256) => "HOTP-SHA256",
        Algorithm::Hotp(Hash::Sha512) => "HOTP-SHA512",
        Algorithm::Motp => "MOTP",
    };
    let digits = digits.count();
    match factor {
        MovingFactor::Event => format!("{name}/E/{digits}"),
        MovingFactor::Time(period) => format!("{name}/T{period}/{digits}"),
        MovingFactor::Paper(printed) => format!("PAPER/{digits}/{printed}"),
    }
}

/// Whether it is a field 1.
pub(super) fn is_type(field: &[u8]) -> bool {
    parse_type(field).is_some()
}

/// Whether it is a field 4.
pub(super) fn is_key(field: &[u8]) -> bool {
    parse_key(field).is_some()
}

/// What [`Token::device`] says of a line, whether or not the rest of it can be read: little work,
/// for finding out which of a million lines are worth more.
pub(super) fn device_of_line(line: &[u8]) -> Option<(Algorithm, MovingFactor, Secret)> {
    if lines::is_ignored(line) {
        return None;
    }
    let mut words = words(line).map(|word| &line[word]);
    let (algorithm, factor, ..) = parse_type(words.next()?)?;
    Some((algorithm, factor, parse_key(words.nth(2)?)?))
}

fn parse_pin(field: &[u8]) -> Result<Pin, RecordError> {
    Ok(match field {
        b"-" => Pin::None,
        b"+" => Pin::External,
        _ => match HashedPin::parse(field) {
            Some(hashed) => Pin::Hashed(hashed.map_err(RecordError::HashedPin)?),
            None => Pin::Literal(Secret::new(field.to_vec())),
        },
    })
}

fn parse_key(field: &[u8]) -> Option<Secret> {
    let bytes = match field.split_at_checked(7) {
        Some((prefix, base32)) if prefix.eq_ignore_ascii_case(b"base32:") => {
            let end = base32.iter().rposition(|&b| b != b'=').map_or(0, |last| last + 1);
            let text = zeroize::Zeroizing::new(base32[..end].to_ascii_uppercase());
            BASE32_NOPAD.decode(&text).ok()?
        }
        _ => HEXLOWER_PERMISSIVE.decode(field).ok()?,
    };
    let secret = Secret::new(bytes);
    (1..=KEY_MAX).contains(&secret.expose().len()).then_some(secret)
}

/// The fingerprint of a line's fields 1 to 4; `None` if it has fewer.
pub fn fingerprint_of_line(line: &[u8]) -> Option<Fingerprint> {
    let mut words = words(line).map(|word| &line[word]);
    Some(fingerprint([words.next()?, words.next()?, words.next()?, words.next()?]))
}

/// The fingerprint of the words of a line that stand before what is overwritten.
pub(super) fn fingerprint<const N: usize>(words: [&[u8]; N]) -> Fingerprint {
    let mut hash = Sha256::new();
    for field in words {
        // Words hold no NUL, so no two heads run together to the same bytes.
        hash.update(field);
        hash.update([0]);
    }
    let hash = hash.finalize();
    Fingerprint(hash[..16].try_into().expect("SHA-256 has 32 bytes"))
}

/// The state and where its last field ends.
fn parse_state(
    line: &[u8],
    head: &[Range<usize>; 4],
    tail: &[Range<usize>],
    factor: MovingFactor,
    zone: &TimeZone,
) -> Result<(State, Option<usize>), RecordError> {
    let mut state = State::fresh();
    let Some((counter, rest)) = tail.split_first() else { return Ok((state, None)) };
    state.counter = parse_counter(&line[counter.clone()], factor).ok_or(RecordError::Counter)?;

    // Older versions wrote 0 to 4 fields after the counter; their number tells which.
    let rest = &rest[..rest.len().min(5)];
    let (extension, rest) = match rest {
        [visible @ .., last] if visible.len() == 4 => {
            (Some(last.clone()).filter(|word| line[word.start] == b'@'), visible)
        }
        _ => (None, rest),
    };
    let (failures, last_otp, time, ip) = match rest {
        [] => (None, None, None, None),
        [failures] => (Some(failures), None, None, None),
        [last_otp, time] => (None, Some(last_otp), Some(time), None),
        [last_otp, time, ip] => (None, Some(last_otp), Some(time), Some(ip)),
        [failures, last_otp, time, ip, ..] => {
            (Some(failures), Some(last_otp), Some(time), Some(ip))
        }
    };
    let end = extension.as_ref().or(rest.last()).unwrap_or(counter).end;

    let text = |word: Option<&Range<usize>>| word.map(|word| &line[word.clone()]);
    if let Some(field) = text(failures) {
        let failures = number(field).and_then(|n| n.try_into().ok());
        state.failures = failures.ok_or(RecordError::Failures)?;
    }
    if let Some(field) = text(last_otp).filter(|&field| field != b"-") {
        state.last_otp = Some(Code::new(field).ok_or(RecordError::LastOtp)?);
    }
    if let Some(field) = text(ip).filter(|&field| field != b"-") {
        state.address = parse_address(field).ok_or(RecordError::Address)?;
    }
    let extension = extension.map(|word| {
        let [kind, user, pin, key] = head;
        let [counter, failures, last_otp, time, ip] = &tail[..5] else {
            unreachable!("ext is the tenth field")
        };
        let fields = [kind, user, pin, key, counter, failures, last_otp, time, ip];
        Extension::parse(&line[word], fields.map(|word| &line[word.clone()]))
    });
    match extension {
        Some(Some(extension)) if extension.intact => {
            state.intact = true;
            state.replay_floor = extension.at();
            state.last_failure = extension.failed();
            state.used = extension.used();
            // The checksum vouches for the time field, too: no calendar on the hot path.
        }
        other => {
            state.replay_floor = other.flatten().and_then(|extension| extension.at());
            state.used = parse_time(text(time), zone)?;
        }
    }
    Ok((state, Some(end)))
}

fn parse_time(field: Option<&[u8]>, zone: &TimeZone) -> Result<Used, RecordError> {
    match field {
        None | Some(b"-") => Ok(Used::Never),
        Some(field) => localtime::parse(field, zone).ok_or(RecordError::Time),
    }
}

fn parse_counter(field: &[u8], factor: MovingFactor) -> Option<CounterField> {
    let digits = field.strip_prefix(b"-");
    let amount = number(digits.unwrap_or(field))?;
    let value =
        if digits.is_some() { 0i64.checked_sub_unsigned(amount) } else { amount.try_into().ok() }?;
    (!factor.is_event() || value >= 0).then_some(CounterField::from_written(value))
}

fn parse_address(field: &[u8]) -> Option<Address> {
    if field.len() > slot::ADDRESS_MAX {
        return None;
    }
    let ip = str::from_utf8(field).ok().and_then(|text| text.parse::<IpAddr>().ok());
    Some(match ip {
        Some(ip) => Address::Ip(ip.to_canonical()),
        None => Address::Other(field.into()),
    })
}
