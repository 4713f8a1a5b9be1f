//! What rows say: how often something was tried in a window of time, and what is known of a user.

use super::table::Row;
use crate::UnixTime;

/// Tries in a window that begins with the first of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    start: UnixTime,
    /// How long it lasts: the longest that anybody has asked for who counts in it.
    seconds: u32,
    pub tries: u32,
    /// The log has a line about this window being used up.
    pub is_logged: bool,
}

impl Count {
    const LEN: usize = 16;

    fn read(bytes: &[u8]) -> Count {
        Count {
            start: i64::from_le_bytes(bytes[..8].try_into().expect("eight bytes")),
            tries: u32::from_le_bytes(bytes[8..12].try_into().expect("four bytes")),
            is_logged: bytes[12] != 0,
            seconds: u32::from_le_bytes([bytes[13], bytes[14], bytes[15], 0]),
        }
    }

    fn write(self, bytes: &mut [u8]) {
        bytes[..8].copy_from_slice(&self.start.to_le_bytes());
        bytes[8..12].copy_from_slice(&self.tries.to_le_bytes());
        let [low, middle, high, _] = self.seconds.to_le_bytes();
        bytes[12..16].copy_from_slice(&[self.is_logged.into(), low, middle, high]);
    }

    /// As it is now: a window that is over counts nothing, one that a wrong clock has begun in the
    /// future begins now.
    pub fn at(self, now: UnixTime, seconds: u32) -> Count {
        let start = self.start.min(now);
        let longest = self.seconds.max(seconds);
        if now.saturating_sub(start) >= i64::from(longest) {
            return Count { start: now, seconds, ..Count::default() };
        }
        Count { start, seconds: longest, ..self }
    }

    /// Nothing, if the window began before. `forgiven`: up to 0 it is never, for a clock that has
    /// come no further than 1970.
    pub fn since(self, forgiven: UnixTime, now: UnixTime) -> Count {
        if forgiven > 0 && self.start <= forgiven {
            Count { start: now, seconds: self.seconds, ..Count::default() }
        } else {
            self
        }
    }

    /// Seconds until the window is over.
    pub fn rest(self, now: UnixTime) -> u32 {
        let seconds = i64::from(self.seconds);
        let rest = self.start.saturating_add(seconds).saturating_sub(now);
        rest.clamp(1, seconds.max(1)) as u32
    }

    pub fn add(&mut self) {
        self.tries = self.tries.saturating_add(1);
    }

    pub fn give_back(&mut self) {
        self.tries = self.tries.saturating_sub(1);
    }

    /// For making room: what is over goes first, then what counts least.
    fn worth(self, now: UnixTime) -> u64 {
        let is_over = now.saturating_sub(self.start) >= i64::from(self.seconds);
        if is_over || self.start > now { 0 } else { 1 + u64::from(self.tries) }
    }
}

/// Credentials that are being checked or were refused, told apart by 29 bits of a keyed hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen(u32);

impl Seen {
    const REFUSED: u32 = 1 << 31;
    const STRANGER: u32 = 1 << 30;
    const WRONG_PIN: u32 = 1 << 29;
    const HASH: u32 = Seen::WRONG_PIN - 1;

    /// Being checked, for a client that the user is not known to use.
    pub fn new(hash: u32, is_stranger: bool) -> Seen {
        let hash = (hash & Seen::HASH).max(1);
        Seen(if is_stranger { hash | Seen::STRANGER } else { hash })
    }

    fn is_of(self, other: Seen) -> bool {
        (self.0 ^ other.0) & Seen::HASH == 0
    }

    pub fn is_refused(self) -> bool {
        self.0 & Seen::REFUSED != 0
    }

    /// Counted as a wrong PIN without a code. Only then: whoever was refused for another reason
    /// hasn't been told whether it is the PIN.
    pub fn is_wrong_pin(self) -> bool {
        self.0 & Seen::WRONG_PIN != 0
    }

    pub fn is_strangers(self) -> bool {
        self.0 & Seen::STRANGER != 0
    }
}

const SEEN_MAX: usize = 24;
const SEEN_AT: usize = 32;

/// Tries of a client, or of a client at one user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tries {
    pub count: Count,
    /// The last ones, of a client at one user.
    seen: Vec<Seen>,
}

impl Tries {
    pub fn read(row: &Row, now: UnixTime, seconds: u32) -> Tries {
        let count = Count::read(&row[16..]).at(now, seconds);
        if count.tries == 0 {
            return Tries { count, seen: Vec::new() };
        }
        let word = |bytes: &[u8]| Seen(u32::from_le_bytes(bytes.try_into().expect("four bytes")));
        let seen = row[SEEN_AT..].chunks_exact(4).map(word).filter(|seen| seen.0 != 0).collect();
        Tries { count, seen }
    }

    pub fn write(&self, row: &mut Row) {
        self.count.write(&mut row[16..16 + Count::LEN]);
        row[SEEN_AT..].fill(0);
        for (place, seen) in row[SEEN_AT..].chunks_exact_mut(4).zip(&self.seen) {
            place.copy_from_slice(&seen.0.to_le_bytes());
        }
    }

    /// Nothing, if the window began before.
    pub fn since(self, forgiven: UnixTime, now: UnixTime) -> Tries {
        let count = self.count.since(forgiven, now);
        if count == self.count { self } else { Tries { count, seen: Vec::new() } }
    }

    pub fn seen(&self, wanted: Seen) -> Option<Seen> {
        self.seen.iter().copied().find(|seen| seen.is_of(wanted))
    }

    /// One more. Of those that are remembered, one that is refused is forgotten rather than one
    /// being checked.
    pub fn add(&mut self, seen: Seen) {
        self.count.add();
        if self.seen.len() >= SEEN_MAX {
            let oldest = self.seen.iter().position(|seen| seen.is_refused()).unwrap_or(0);
            self.seen.remove(oldest);
        }
        self.seen.push(seen);
    }

    pub fn note_refused(&mut self, wanted: Seen) {
        self.mark(wanted, Seen::REFUSED);
    }

    pub fn note_wrong_pin(&mut self, wanted: Seen) {
        self.mark(wanted, Seen::WRONG_PIN);
    }

    fn mark(&mut self, wanted: Seen, mark: u32) {
        for seen in self.seen.iter_mut().filter(|seen| seen.is_of(wanted)) {
            seen.0 |= mark;
        }
    }

    pub fn give_back(&mut self, wanted: Seen) {
        self.count.give_back();
        self.seen.retain(|seen| !seen.is_of(wanted));
    }

    pub fn worth(row: &Row, now: UnixTime) -> Option<u64> {
        Some(Count::read(&row[16..]).worth(now))
    }
}

/// Wrong Digest responses in a row.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Failures {
    /// How many.
    pub number: u32,
    /// When the last of them was.
    pub last: UnixTime,
}

impl Failures {
    const LEN: usize = 16;

    fn read(bytes: &[u8]) -> Failures {
        Failures {
            last: i64::from_le_bytes(bytes[..8].try_into().expect("eight bytes")),
            number: u32::from_le_bytes(bytes[8..12].try_into().expect("four bytes")),
        }
    }

    fn write(self, bytes: &mut [u8]) {
        bytes[..8].copy_from_slice(&self.last.to_le_bytes());
        bytes[8..12].copy_from_slice(&self.number.to_le_bytes());
    }
}

/// An address from which a user was accepted: 48 bits of a keyed hash, and the day.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Familiar {
    hash: u64,
    day: u16,
}

const FAMILIAR_MAX: usize = 8;
const FAMILIAR_DAYS: i64 = 30;
const DAY: i64 = 86_400;

/// What is known of a listed user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// Nothing was known before.
    pub is_new: bool,
    /// Tries of all strangers together.
    pub strangers: Count,
    /// Digest responses of strangers, and of others.
    pub digest: [Failures; 2],
    /// Windows that began before this are over: an admin has said so.
    pub forgiven: UnixTime,
    /// Wrong PINs where the PIN alone is enough, since the last fresh code.
    pub wrong_pins: u32,
    familiar: [Familiar; FAMILIAR_MAX],
}

const STRANGERS_AT: usize = 16;
const DIGEST_AT: usize = STRANGERS_AT + Count::LEN;
/// In the first failures' last bytes.
const FORGIVEN_AT: usize = DIGEST_AT + 12;
/// In the second failures' last bytes.
const WRONG_PINS_AT: usize = DIGEST_AT + Failures::LEN + 12;
const FAMILIAR_AT: usize = DIGEST_AT + 2 * Failures::LEN;

impl User {
    pub fn read(row: &Row, now: UnixTime, seconds: u32) -> User {
        let mut familiar = [Familiar::default(); FAMILIAR_MAX];
        for (known, bytes) in familiar.iter_mut().zip(row[FAMILIAR_AT..].chunks_exact(8)) {
            let word = u64::from_le_bytes(bytes.try_into().expect("eight bytes"));
            *known = Familiar { hash: word >> 16, day: word as u16 };
        }
        let failures = |number: usize| {
            let failures = Failures::read(&row[DIGEST_AT + number * Failures::LEN..]);
            // A clock that was ahead must not count until that day comes.
            Failures { last: failures.last.min(now), ..failures }
        };
        User {
            is_new: row[16..].iter().all(|&byte| byte == 0),
            strangers: Count::read(&row[STRANGERS_AT..]).at(now, seconds),
            digest: [failures(0), failures(1)],
            forgiven: i64::from(u32::from_le_bytes(
                row[FORGIVEN_AT..FORGIVEN_AT + 4].try_into().expect("four bytes"),
            ))
            .min(now),
            wrong_pins: u32::from_le_bytes(
                row[WRONG_PINS_AT..WRONG_PINS_AT + 4].try_into().expect("four bytes"),
            ),
            familiar,
        }
    }

    pub fn write(&self, row: &mut Row) {
        self.strangers.write(&mut row[STRANGERS_AT..DIGEST_AT]);
        for (number, failures) in self.digest.iter().enumerate() {
            failures.write(&mut row[DIGEST_AT + number * Failures::LEN..]);
        }
        let forgiven = u32::try_from(self.forgiven).unwrap_or(0);
        row[FORGIVEN_AT..FORGIVEN_AT + 4].copy_from_slice(&forgiven.to_le_bytes());
        row[WRONG_PINS_AT..WRONG_PINS_AT + 4].copy_from_slice(&self.wrong_pins.to_le_bytes());
        for (known, bytes) in self.familiar.iter().zip(row[FAMILIAR_AT..].chunks_exact_mut(8)) {
            bytes.copy_from_slice(&(known.hash << 16 | u64::from(known.day)).to_le_bytes());
        }
    }

    /// Whether the user was accepted from there a while ago at most.
    pub fn knows(&self, hash: u64, now: UnixTime) -> bool {
        self.familiar
            .iter()
            .any(|known| known.hash == hash >> 16 && known.day != 0 && is_recent(known.day, now))
    }

    /// Notes that the user was accepted from there; whether that is news.
    pub fn note(&mut self, hash: u64, at: UnixTime, now: UnixTime) -> bool {
        let day = day_of(at.min(now));
        let hash = hash >> 16;
        let known = self.familiar.iter().position(|known| known.hash == hash && known.day != 0);
        if let Some(known) = known {
            let known = &mut self.familiar[known];
            if known.day >= day && known.day <= day_of(now) {
                return false;
            }
            known.day = day;
            return true;
        }
        let (today, oldest) = (day_of(now), self.familiar.iter_mut());
        // One from a day to come is from a wrong clock.
        let oldest = oldest.min_by_key(|known| if known.day > today { 0 } else { known.day });
        *oldest.expect("there are some") = Familiar { hash, day };
        true
    }

    /// A row that counts stays: `None`.
    pub fn worth(row: &Row, now: UnixTime) -> Option<u64> {
        let user = User::read(row, now, 0);
        let counts = user.strangers.tries > 0
            || user.wrong_pins > 0
            || user.digest.iter().any(|failures| failures.number > 0)
            || user.familiar.iter().any(|known| known.day != 0 && is_recent(known.day, now));
        (!counts).then_some(0)
    }
}

fn day_of(time: UnixTime) -> u16 {
    (time / DAY).clamp(1, i64::from(u16::MAX)) as u16
}

fn is_recent(day: u16, now: UnixTime) -> bool {
    (0..=FAMILIAR_DAYS).contains(&(i64::from(day_of(now)) - i64::from(day)))
}

#[cfg(test)]
mod tests {
    use super::super::table::ROW_LEN;
    use super::*;

    const NOW: UnixTime = 1_700_000_000;

    #[test]
    fn a_window_begins_with_its_first_try_and_ends_on_time() {
        let mut count = Count::default().at(NOW, 600);
        count.add();
        for (later, tries, rest) in [(0, 1, 600), (599, 1, 1), (600, 0, 600)] {
            let then = count.at(NOW + later, 600);
            assert_eq!((then.tries, then.rest(NOW + later)), (tries, rest), "{later}");
        }
        let ahead = Count { start: NOW + 1_000_000, ..count };
        assert_eq!(ahead.at(NOW, 600).rest(NOW), 600);
        // Who counts in shorter windows ends nobody's longer one.
        assert_eq!(count.at(NOW + 60, 1).tries, 1);
    }

    #[test]
    fn what_is_written_is_read() {
        let mut row = [0; ROW_LEN];
        let mut tries = Tries::read(&row, NOW, 600);
        for hash in 1..30 {
            tries.add(Seen::new(hash, hash % 2 == 0));
        }
        tries.note_refused(Seen::new(20, false));
        tries.note_wrong_pin(Seen::new(21, false));
        tries.count.is_logged = true;
        tries.write(&mut row);
        assert_eq!(Tries::read(&row, NOW, 600), tries);
        assert!(tries.seen(Seen::new(20, true)).unwrap().is_refused());
        let wrong_pin = tries.seen(Seen::new(21, true)).unwrap();
        assert!(wrong_pin.is_wrong_pin() && !wrong_pin.is_refused());
        assert!(!tries.seen(Seen::new(20, true)).unwrap().is_wrong_pin());
        assert_eq!(tries.seen(Seen::new(1, true)), None);

        let mut row = [0; ROW_LEN];
        let mut user = User::read(&row, NOW, 600);
        assert!(user.is_new);
        user.strangers.add();
        user.digest = [Failures { number: 3, last: NOW - 5 }, Failures { number: 1, last: NOW }];
        (user.forgiven, user.wrong_pins) = (NOW - 7, 9);
        assert!(user.note(7 << 16, NOW, NOW));
        user.write(&mut row);
        assert_eq!(User::read(&row, NOW, 600), User { is_new: false, ..user });
    }

    #[test]
    fn eight_addresses_are_familiar_for_thirty_days() {
        let mut user = User::read(&[0; ROW_LEN], NOW, 600);
        for address in 1..=9u64 {
            user.note(address << 16, NOW + address as i64 * DAY, NOW + 9 * DAY);
        }
        let known =
            |user: &User, now| (1..=9u64).filter(|&address| user.knows(address << 16, now)).count();
        assert_eq!(known(&user, NOW + 9 * DAY), 8);
        assert!(!user.knows(1 << 16, NOW + 9 * DAY));
        assert_eq!(known(&user, NOW + 35 * DAY), 5);
        assert_eq!(known(&user, NOW + 41 * DAY), 0);
        assert!(!user.note(9 << 16, NOW + 9 * DAY, NOW + 9 * DAY));
        assert!(user.note(9 << 16, NOW + 10 * DAY, NOW + 10 * DAY));
    }
}
