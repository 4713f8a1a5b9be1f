//! Lines in which servers keep something of a user's in a few places: `#@ session USER PLACES` and
//! `#@ computer USER PLACES`.
//!
//! ```text
//! PLACES   4 places (43 each) and a sum (6): as many bytes as the slot of a token's line
//! session  id (22) token (8) first (6) last (6) kind (1), or 43 dots
//! computer id (16) token (8) first (6) last (6) days (2) generation (4) unseen (1), or 43 dots
//! ```
//!
//! Ids and token are base 64 for URLs without padding (RFC 4648 section 5); times, the other numbers
//! and the sum are numbers in its digits, the highest first. The sum is the CRC-32 of the user, a
//! byte that tells the kinds of lines apart (0 for sessions, 1 for computers) and the places.

use std::ops::Range;

use data_encoding::BASE64URL_NOPAD;

use super::{Pragma, PragmaKind, encode, user_word};
use crate::UnixTime;
use crate::policy::SESSIONS_MAX;
use crate::token::{
    COMPUTERS_MAX, Computer, ComputerId, Fingerprint, Kept, Session, SessionId, SessionKind,
    TokenTag,
};
use crate::users::slot::{self, Slot};
use crate::users::{line, record};

/// How many places a line has.
pub const LINE_PLACES: usize = 4;

/// What stands in one line.
pub type Places<T> = [Option<T>; LINE_PLACES];

const PLACE_LEN: usize = 43;
const PLACES_LEN: usize = LINE_PLACES * PLACE_LEN;
const EMPTY: u8 = b'.';
const TAG_LEN: usize = 8;
const TIME_LEN: usize = 6;
const SUM_LEN: usize = 6;
/// The last second that has room.
const TIME_MAX: UnixTime = (1 << (6 * TIME_LEN)) - 1;

// A journal's frame takes either.
const _: () = assert!(PLACES_LEN + SUM_LEN == slot::LEN);

/// What is kept in lines of a kind of their own.
pub trait Placed: Kept {
    /// The kind of these lines.
    const KIND: PragmaKind;
    /// No user has use for more of them; further ones aren't read.
    const LINES_MAX: usize;
    /// In the sum.
    const MARK: u8;

    /// What a line of the kind says, if this is one: whose it is, and what stands there. No places:
    /// they may be half written.
    fn of_line(line: &[u8]) -> Option<(Vec<u8>, Option<Places<Self>>)>;
    /// One place, which isn't empty.
    fn read(place: &mut Digits<'_>) -> Option<Self>;
    /// The same, in the order in which it is read.
    fn write(&self, place: &mut Written<'_>);
}

impl Placed for Session {
    const KIND: PragmaKind = PragmaKind::Session;
    const LINES_MAX: usize = (SESSIONS_MAX as usize).div_ceil(LINE_PLACES);
    const MARK: u8 = 0;

    fn of_line(line: &[u8]) -> Option<(Vec<u8>, Option<Places<Session>>)> {
        match super::parse(line) {
            Some(Ok(Pragma::Session(user, places))) => Some((user, places)),
            _ => None,
        }
    }

    fn read(place: &mut Digits<'_>) -> Option<Session> {
        Some(Session {
            id: SessionId(place.bytes(22)?),
            token: TokenTag(place.bytes(TAG_LEN)?),
            first: place.time()?,
            last: place.time()?,
            kind: {
                let letter = place.take(1)?;
                KINDS.into_iter().find(|&(_, known)| [known] == letter)?.0
            },
        })
    }

    fn write(&self, place: &mut Written<'_>) {
        let Session { id, token, kind, first, last } = self;
        place.bytes(&id.0);
        place.bytes(&token.0);
        place.time(*first);
        place.time(*last);
        let letter = KINDS.into_iter().find(|(known, _)| known == kind);
        place.put(&[letter.expect("each kind has a letter").1]);
    }
}

const KINDS: [(SessionKind, u8); 3] =
    [(SessionKind::Code, b'c'), (SessionKind::PinAlone, b'p'), (SessionKind::Computer, b't')];

impl Placed for Computer {
    const KIND: PragmaKind = PragmaKind::Computer;
    const LINES_MAX: usize = (COMPUTERS_MAX as usize).div_ceil(LINE_PLACES);
    const MARK: u8 = 1;

    fn of_line(line: &[u8]) -> Option<(Vec<u8>, Option<Places<Computer>>)> {
        match super::parse(line) {
            Some(Ok(Pragma::Computer(user, places))) => Some((user, places)),
            _ => None,
        }
    }

    fn read(place: &mut Digits<'_>) -> Option<Computer> {
        Some(Computer {
            id: ComputerId(place.bytes(16)?),
            token: TokenTag(place.bytes(TAG_LEN)?),
            first: place.time()?,
            last: place.time()?,
            days: place.number(2)?.try_into().ok()?,
            generation: place.number(4)?.try_into().ok()?,
            unseen: place.number(1)?.try_into().ok()?,
        })
    }

    fn write(&self, place: &mut Written<'_>) {
        let Computer { id, token, first, last, days, generation, unseen } = self;
        place.bytes(&id.0);
        place.bytes(&token.0);
        place.time(*first);
        place.time(*last);
        place.number::<2>((*days).into());
        place.number::<4>((*generation).into());
        place.number::<1>((*unseen).into());
    }
}

/// A place as it is read.
pub struct Digits<'a>(&'a [u8]);

impl<'a> Digits<'a> {
    fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(taken)
    }

    fn bytes<const LEN: usize>(&mut self, digits: usize) -> Option<[u8; LEN]> {
        BASE64URL_NOPAD.decode(self.take(digits)?).ok()?.try_into().ok()
    }

    fn number(&mut self, digits: usize) -> Option<u64> {
        parse_number(self.take(digits)?)
    }

    fn time(&mut self) -> Option<UnixTime> {
        UnixTime::try_from(self.number(TIME_LEN)?).ok()
    }
}

/// A place as it is written.
pub struct Written<'a>(&'a mut [u8]);

impl Written<'_> {
    fn put(&mut self, digits: &[u8]) {
        let (place, rest) = std::mem::take(&mut self.0).split_at_mut(digits.len());
        place.copy_from_slice(digits);
        self.0 = rest;
    }

    fn bytes(&mut self, bytes: &[u8]) {
        let mut digits = [0; PLACE_LEN];
        let digits = &mut digits[..BASE64URL_NOPAD.encode_len(bytes.len())];
        BASE64URL_NOPAD.encode_mut(bytes, digits);
        self.put(digits);
    }

    fn number<const LEN: usize>(&mut self, value: u64) {
        self.put(&number::<LEN>(value));
    }

    fn time(&mut self, at: UnixTime) {
        self.number::<TIME_LEN>(at.clamp(0, TIME_MAX) as u64);
    }
}

/// The word behind the user. `None`: with a wrong sum.
pub(super) fn parse<T: Placed>(user: &[u8], word: &[u8]) -> Result<Option<Places<T>>, String> {
    if word.len() != slot::LEN {
        return Err(format!("the places are {} characters, not {}", word.len(), slot::LEN));
    }
    let is_of_ours = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    if !word.iter().all(is_of_ours) {
        return Err("the places hold something else than A-Z, a-z, 0-9, -, _ and .".to_owned());
    }
    let (places, sum) = word.split_at(PLACES_LEN);
    if sum != sum_of::<T>(user, places) {
        return Ok(None);
    }
    let mut parsed = [None; LINE_PLACES];
    for (number, (place, kept)) in places.chunks_exact(PLACE_LEN).zip(&mut parsed).enumerate() {
        if place.iter().any(|&b| b != EMPTY) {
            let unknown = || format!("place {} is of an unknown form", number + 1);
            *kept = Some(T::read(&mut Digits(place)).ok_or_else(unknown)?);
        }
    }
    Ok(Some(parsed))
}

/// Places as they are written.
pub fn places_word<T: Placed>(user: &[u8], places: &Places<T>) -> Slot {
    let mut word = [EMPTY; slot::LEN];
    for (place, kept) in word.chunks_exact_mut(PLACE_LEN).zip(places) {
        if let Some(kept) = kept {
            kept.write(&mut Written(place));
        }
    }
    let sum = sum_of::<T>(user, &word[..PLACES_LEN]);
    word[PLACES_LEN..].copy_from_slice(&sum);
    word
}

/// A line with these places, without its end.
pub fn places_line<T: Placed>(user: &[u8], places: &Places<T>) -> Vec<u8> {
    let mut line = format!("#@ {} {} ", T::KIND.name(), encode(user)).into_bytes();
    line.extend_from_slice(&places_word(user, places));
    line
}

/// Whether a line has places and holds nothing.
pub fn is_room(line: &[u8]) -> bool {
    fn is_empty<T: Placed>(places: &Places<T>) -> bool {
        places.iter().all(Option::is_none)
    }
    match super::parse(line) {
        Some(Ok(Pragma::Session(_, Some(places)))) => is_empty(&places),
        Some(Ok(Pragma::Computer(_, Some(places)))) => is_empty(&places),
        _ => false,
    }
}

/// A line with places without what rests on some tokens. `None`: it has none of that.
pub fn without_tokens(line: &[u8], is_to_end: impl Fn(TokenTag) -> bool) -> Option<Vec<u8>> {
    fn without<T: Placed>(
        line: &[u8],
        user: &[u8],
        mut places: Places<T>,
        is_to_end: impl Fn(TokenTag) -> bool,
    ) -> Option<Vec<u8>> {
        let mut has_changed = false;
        for place in &mut places {
            if place.as_ref().is_some_and(|kept| is_to_end(kept.token())) {
                *place = None;
                has_changed = true;
            }
        }
        has_changed.then(|| with_places(line, user, &places))?
    }
    match super::parse(line) {
        Some(Ok(Pragma::Session(user, Some(places)))) => without(line, &user, places, is_to_end),
        Some(Ok(Pragma::Computer(user, Some(places)))) => without(line, &user, places, is_to_end),
        _ => None,
    }
}

/// A line with places, whatever is in them, as one of this user's that holds nothing. `None`: it is
/// none, or has no place for them.
pub fn emptied(line: &[u8], user: &[u8]) -> Option<Vec<u8>> {
    match PragmaKind::of(line)? {
        PragmaKind::Session => with_places::<Session>(line, user, &Places::default()),
        PragmaKind::Computer => with_places::<Computer>(line, user, &Places::default()),
        _ => None,
    }
}

fn with_places<T: Placed>(line: &[u8], user: &[u8], places: &Places<T>) -> Option<Vec<u8>> {
    let place = places_of(line)?;
    let mut text = line.to_vec();
    text[place].copy_from_slice(&places_word(user, places));
    Some(text)
}

/// Where in a line the places stand, if there are as many bytes as there should be.
pub fn places_of(line: &[u8]) -> Option<Range<usize>> {
    if !PragmaKind::of(line)?.has_places() {
        return None;
    }
    let from = user_word(line)?.end;
    let word = line::words(&line[from..]).next()?;
    (word.len() == slot::LEN).then_some(word.start + from..word.end + from)
}

/// The fingerprint of what stands before the places: mark, kind and user. `None`: something else.
pub fn fingerprint_of_places(head: &[u8]) -> Option<Fingerprint> {
    let mut words = line::words(head).map(|word| &head[word]);
    let head = [words.next()?, words.next()?, words.next()?];
    words.next().is_none().then(|| record::fingerprint(head))
}

fn sum_of<T: Placed>(user: &[u8], places: &[u8]) -> [u8; SUM_LEN] {
    let mut sum = crc32fast::Hasher::new();
    for part in [user, &[T::MARK], places] {
        sum.update(part);
    }
    number(sum.finalize().into())
}

/// One that has room.
fn number<const LEN: usize>(number: u64) -> [u8; LEN] {
    let mut digits = [0; LEN];
    for (i, digit) in digits.iter_mut().enumerate() {
        *digit = DIGITS[(number >> (6 * (LEN - 1 - i))) as usize & 63];
    }
    digits
}

const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

fn parse_number(digits: &[u8]) -> Option<u64> {
    digits.iter().try_fold(0, |so_far, &digit| {
        let value = DIGITS.iter().position(|&known| known == digit)?;
        Some(so_far << 6 | value as u64)
    })
}
