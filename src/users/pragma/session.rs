//! A line with logins that a user's browsers keep: `#@ session USER PLACES`.
//!
//! ```text
//! PLACES   4 places (43 each) and a sum (6): as many bytes as the slot of a token's line
//! place    id (22) token (8) first (6) last (6) kind (1), or 43 dots
//! ```
//!
//! Id and token are base 64 for URLs without padding (RFC 4648 section 5), times and sum are numbers
//! in its digits, the highest first. The sum is the CRC-32 of the user, a zero byte and the places.

use std::ops::Range;

use data_encoding::BASE64URL_NOPAD;

use super::{Pragma, PragmaKind, encode, user_word};
use crate::UnixTime;
use crate::policy::SESSIONS_MAX;
use crate::token::{Fingerprint, Session, SessionId, SessionKind, TokenTag};
use crate::users::slot::{self, Slot};
use crate::users::{line, record};

/// How many sessions a line has room for.
pub const SESSION_PLACES: usize = 4;
/// No user has use for more of these lines; further ones aren't read.
pub const SESSION_LINES_MAX: usize = (SESSIONS_MAX as usize).div_ceil(SESSION_PLACES);

/// What stands in one line.
pub type SessionPlaces = [Option<Session>; SESSION_PLACES];

const ID_LEN: usize = 22;
const TAG_LEN: usize = 8;
const NUMBER_LEN: usize = 6;
const PLACE_LEN: usize = ID_LEN + TAG_LEN + 2 * NUMBER_LEN + 1;
const PLACES_LEN: usize = SESSION_PLACES * PLACE_LEN;
const EMPTY: u8 = b'.';
/// The last second that has room.
const TIME_MAX: UnixTime = (1 << (6 * NUMBER_LEN)) - 1;

// A journal's frame takes either.
const _: () = assert!(PLACES_LEN + NUMBER_LEN == slot::LEN);

const KINDS: [(SessionKind, u8); 3] =
    [(SessionKind::Code, b'c'), (SessionKind::PinAlone, b'p'), (SessionKind::Computer, b't')];

/// The word behind the user. `None`: with a wrong sum.
pub(super) fn parse(user: &[u8], word: &[u8]) -> Result<Option<SessionPlaces>, String> {
    if word.len() != slot::LEN {
        return Err(format!("the places are {} characters, not {}", word.len(), slot::LEN));
    }
    let is_of_ours = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    if !word.iter().all(is_of_ours) {
        return Err("the places hold something else than A-Z, a-z, 0-9, -, _ and .".to_owned());
    }
    let (places, sum) = word.split_at(PLACES_LEN);
    if sum != sum_of(user, places) {
        return Ok(None);
    }
    let mut parsed = [None; SESSION_PLACES];
    for (number, (place, session)) in places.chunks_exact(PLACE_LEN).zip(&mut parsed).enumerate() {
        if place.iter().any(|&b| b != EMPTY) {
            let unknown = || format!("place {} is of an unknown form", number + 1);
            *session = Some(parse_place(place).ok_or_else(unknown)?);
        }
    }
    Ok(Some(parsed))
}

fn parse_place(place: &[u8]) -> Option<Session> {
    let (id, rest) = place.split_at(ID_LEN);
    let (tag, rest) = rest.split_at(TAG_LEN);
    let (first, rest) = rest.split_at(NUMBER_LEN);
    let (last, kind) = rest.split_at(NUMBER_LEN);
    let time = |digits| UnixTime::try_from(parse_number(digits)?).ok();
    Some(Session {
        id: SessionId(BASE64URL_NOPAD.decode(id).ok()?.try_into().ok()?),
        token: TokenTag(BASE64URL_NOPAD.decode(tag).ok()?.try_into().ok()?),
        kind: KINDS.into_iter().find(|&(_, letter)| [letter] == kind)?.0,
        first: time(first)?,
        last: time(last)?,
    })
}

/// Places as they are written.
pub fn session_word(user: &[u8], places: &SessionPlaces) -> Slot {
    let mut word = [EMPTY; slot::LEN];
    for (place, session) in word.chunks_exact_mut(PLACE_LEN).zip(places) {
        let Some(Session { id, token, kind, first, last }) = session else { continue };
        let (written, rest) = place.split_at_mut(ID_LEN);
        BASE64URL_NOPAD.encode_mut(&id.0, written);
        let (written, rest) = rest.split_at_mut(TAG_LEN);
        BASE64URL_NOPAD.encode_mut(&token.0, written);
        let time = |at: UnixTime| number(at.clamp(0, TIME_MAX) as u64);
        rest[..NUMBER_LEN].copy_from_slice(&time(*first));
        rest[NUMBER_LEN..2 * NUMBER_LEN].copy_from_slice(&time(*last));
        let letter = KINDS.into_iter().find(|(other, _)| other == kind);
        rest[2 * NUMBER_LEN] = letter.expect("each kind has a letter").1;
    }
    let sum = sum_of(user, &word[..PLACES_LEN]);
    word[PLACES_LEN..].copy_from_slice(&sum);
    word
}

/// A line with these places, without its end.
pub fn session_line(user: &[u8], places: &SessionPlaces) -> Vec<u8> {
    let mut line = format!("#@ {} {} ", PragmaKind::Session.name(), encode(user)).into_bytes();
    line.extend_from_slice(&session_word(user, places));
    line
}

/// Whether a line has room for sessions and holds none.
pub fn is_room(line: &[u8]) -> bool {
    let holds_none = |places: &SessionPlaces| places.iter().all(Option::is_none);
    matches!(super::parse(line), Some(Ok(Pragma::Session(_, Some(places)))) if holds_none(&places))
}

/// A line of sessions without some of them. `None`: it has none of these.
pub fn without_sessions(line: &[u8], is_to_end: impl Fn(&Session) -> bool) -> Option<Vec<u8>> {
    let Some(Ok(Pragma::Session(user, Some(mut places)))) = super::parse(line) else {
        return None;
    };
    let mut has_changed = false;
    for place in &mut places {
        if place.as_ref().is_some_and(&is_to_end) {
            *place = None;
            has_changed = true;
        }
    }
    has_changed.then(|| with_places(line, &user, &places))?
}

/// The same with other places, whatever is in it. `None`: it has no place for them.
pub fn with_places(line: &[u8], user: &[u8], places: &SessionPlaces) -> Option<Vec<u8>> {
    let place = session_place(line)?;
    let mut text = line.to_vec();
    text[place].copy_from_slice(&session_word(user, places));
    Some(text)
}

/// Where in a line the places stand, if there are as many bytes as there should be.
pub fn session_place(line: &[u8]) -> Option<Range<usize>> {
    if PragmaKind::of(line) != Some(PragmaKind::Session) {
        return None;
    }
    let from = user_word(line)?.end;
    let word = line::words(&line[from..]).next()?;
    (word.len() == slot::LEN).then_some(word.start + from..word.end + from)
}

/// The fingerprint of what stands before the places: mark, kind and user. `None`: something else.
pub fn session_fingerprint(head: &[u8]) -> Option<Fingerprint> {
    let mut words = line::words(head).map(|word| &head[word]);
    let head = [words.next()?, words.next()?, words.next()?];
    words.next().is_none().then(|| record::fingerprint(head))
}

fn sum_of(user: &[u8], places: &[u8]) -> [u8; NUMBER_LEN] {
    let mut sum = crc32fast::Hasher::new();
    for part in [user, &[0], places] {
        sum.update(part);
    }
    number(sum.finalize().into())
}

/// Below 2^36.
fn number(number: u64) -> [u8; NUMBER_LEN] {
    let mut digits = [0; NUMBER_LEN];
    for (i, digit) in digits.iter_mut().enumerate() {
        *digit = DIGITS[(number >> (6 * (NUMBER_LEN - 1 - i))) as usize & 63];
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
