//! A computer on which a user's PIN is enough for a while.

use super::TokenTag;
use super::session::Kept;
use crate::UnixTime;

/// A user has no more trusted computers than these at a time.
pub const COMPUTERS_MAX: u8 = 4;

const DAY: u32 = 86_400;

/// Requests that a browser sends at once all have the cookie that it had before any of them was
/// answered. For so many seconds they get the same new one.
const AT_ONCE: UnixTime = 60;

/// A browser that has shown a code and been trusted, known by a cookie that each login by it
/// replaces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Computer {
    /// Which one it is.
    pub id: ComputerId,
    /// The token whose code was accepted then, and whose PIN is enough now.
    pub token: TokenTag,
    /// When it was trusted.
    pub first: UnixTime,
    /// When its cookie was last replaced.
    pub last: UnixTime,
    /// For how many days after `first`, below [`Computer::DAYS_END`].
    pub days: u16,
    /// The number of the cookie that it was given last, below [`Computer::GENERATIONS_END`].
    pub generation: u32,
    /// How many it was given since the one that it has shown last, which is still good: answers may
    /// be lost. Below [`Computer::UNSEEN_END`].
    pub unseen: u8,
}

/// What a computer is known by: a hash of what its cookie holds, so that no cookie can be made of
/// it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ComputerId(pub [u8; 12]);

impl Computer {
    /// The first number of days that is too large.
    pub const DAYS_END: u16 = 1 << 12;
    /// The first number of a cookie that is too large.
    pub const GENERATIONS_END: u32 = 1 << 24;
    /// The first number of cookies not seen that is too large.
    pub const UNSEEN_END: u8 = 1 << 6;

    /// For how long it is trusted after `first`, where that is allowed for so many days: for no
    /// longer than was said then.
    pub fn seconds(&self, days: u32) -> u32 {
        days.min(self.days.into()) * DAY
    }

    /// What becomes of it by a login with the cookie of that number. `None`: it was replaced, and
    /// the one in its place was seen, or others were given besides. So somebody has a copy.
    pub fn used(&self, generation: u32, now: UnixTime) -> Option<Computer> {
        let is_new = generation == self.generation;
        let is_seen_last = self.generation.checked_sub(self.unseen.into()) == Some(generation);
        if !(is_new || is_seen_last) {
            return None;
        }
        if !is_new && (0..AT_ONCE).contains(&now.saturating_sub(self.last)) {
            return Some(*self);
        }
        let next = Computer {
            generation: self.generation + 1,
            unseen: if is_new { 1 } else { self.unseen + 1 },
            last: now,
            ..*self
        };
        let has_room =
            next.generation < Computer::GENERATIONS_END && next.unseen < Computer::UNSEEN_END;
        has_room.then_some(next)
    }
}

impl Kept for Computer {
    type Id = ComputerId;

    fn id(&self) -> ComputerId {
        self.id
    }

    fn token(&self) -> TokenTag {
        self.token
    }

    fn first(&self) -> UnixTime {
        self.first
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: UnixTime = 1_796_112_000;

    fn computer(generation: u32, unseen: u8) -> Computer {
        Computer {
            id: ComputerId([1; 12]),
            token: TokenTag([2; 6]),
            first: AT,
            last: AT,
            days: 30,
            generation,
            unseen,
        }
    }

    #[test]
    fn a_cookie_is_replaced_and_the_one_before_is_good_until_the_new_one_is_seen() {
        let later = AT + AT_ONCE;
        for (generation, unseen, presented, now, expected) in [
            // The first one, which nothing came before.
            (0, 0, 0, later, Some((1, 1))),
            (0, 0, 1, later, None),
            // The new one.
            (1, 1, 1, later, Some((2, 1))),
            (7, 3, 7, later, Some((8, 1))),
            // Its answer was lost.
            (1, 1, 0, later, Some((2, 2))),
            (7, 3, 4, later, Some((8, 4))),
            // Sent at once with another one.
            (1, 1, 0, AT, Some((1, 1))),
            (1, 1, 0, later - 1, Some((1, 1))),
            // A clock was put back: not for ever.
            (1, 1, 0, AT - 1, Some((2, 2))),
            // Older ones, and those that were given in between.
            (2, 1, 0, AT, None),
            (2, 1, 0, later, None),
            (7, 3, 3, later, None),
            (7, 3, 5, later, None),
            (7, 3, 6, AT, None),
            // One that was never given, as far as is known.
            (7, 3, 8, later, None),
            // No room.
            (
                Computer::GENERATIONS_END - 2,
                1,
                Computer::GENERATIONS_END - 2,
                AT,
                Some((0xff_ffff, 1)),
            ),
            (Computer::GENERATIONS_END - 1, 1, Computer::GENERATIONS_END - 1, AT, None),
            (62, 62, 0, later, Some((63, 63))),
            (63, 63, 0, later, None),
            (63, 63, 63, later, Some((64, 1))),
            // Not written by us.
            (1, 2, 0, later, None),
        ] {
            let used = computer(generation, unseen).used(presented, now);
            let numbers = used.map(|used| (used.generation, used.unseen));
            assert_eq!(numbers, expected, "{generation}-{unseen}, {presented}");
            let is_replaced = used.is_some_and(|used| used.generation != generation);
            assert_eq!(
                used.is_some_and(|used| used.last == now && now != AT),
                is_replaced && now != AT
            );
        }
    }

    #[test]
    fn its_days_are_those_of_the_day_it_was_trusted_or_fewer_where_fewer_are_allowed() {
        for (allowed, days) in [(30, 30), (366, 30), (7, 7), (1, 1), (u32::MAX, 30)] {
            assert_eq!(computer(0, 0).seconds(allowed), days * DAY);
        }
    }
}
