//! Refusals last alike: by when they go out, not by what was done for them.
//!
//! How long a decision takes tells whether a name is listed, whether its PIN is hashed, whether the
//! PIN was right. So a refusal goes out at the next multiple of a time after its request's arrival.
//! Where waiting takes a thread, few may wait: a refusal beyond them goes out at once, as strangers
//! must not hold up anybody else.

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::throttle::nearest_network;

/// Milliseconds until a refusal goes out that was asked for so many milliseconds ago.
pub fn rest(refusal_time: NonZeroU32, elapsed: u64) -> u64 {
    let time = u64::from(refusal_time.get());
    match elapsed % time {
        // A refusal takes some time.
        0 if elapsed > 0 => 0,
        over => time - over,
    }
}

/// So many requests of one client wait at once.
const OF_ONE_CLIENT: usize = 4;
/// This part of a server's threads waits.
const PART: usize = 4;

/// Those who wait, in memory that all processes of a server share: a word each, its last moment and
/// its client. Who is killed while waiting stops counting then.
pub struct Waiting<'a>(pub &'a [AtomicU64]);

/// Words for a server with so many threads in all processes together.
pub fn words_for(threads: usize) -> usize {
    (threads / PART).max(1)
}

/// Milliseconds; nobody is told to wait for longer.
const WAIT_MAX: u64 = 10_000;
const CLIENT_BITS: u32 = 22;

impl Waiting<'_> {
    /// Whether one more may wait, from `now` on for so long; milliseconds of a clock that all
    /// processes share.
    pub fn begin(&self, client: Option<IpAddr>, now: u64, rest: u64) -> bool {
        let client = client_number(client);
        // One that lies far ahead was written by another clock.
        let waits = |word: u64| (1..=WAIT_MAX).contains(&(word >> CLIENT_BITS).saturating_sub(now));
        let words = || self.0.iter().map(|word| word.load(Ordering::Relaxed));
        let is_of_client = |word: &u64| waits(*word) && word & ((1 << CLIENT_BITS) - 1) == client;
        if words().filter(is_of_client).count() >= OF_ONE_CLIENT {
            return false;
        }
        let mine = (now + rest) << CLIENT_BITS | client;
        self.0.iter().any(|word| {
            let known = word.load(Ordering::Relaxed);
            !waits(known)
                && word.compare_exchange(known, mine, Ordering::Relaxed, Ordering::Relaxed).is_ok()
        })
    }
}

/// Tells clients apart well enough: who shares a number shares the places of one client.
fn client_number(address: Option<IpAddr>) -> u64 {
    let network = nearest_network(address);
    u64::from(crc32fast::hash(&network)) & ((1 << CLIENT_BITS) - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_goes_out_at_the_next_multiple_after_its_arrival() {
        let time = NonZeroU32::new(200).unwrap();
        for (elapsed, expected) in
            [(0, 200), (1, 199), (199, 1), (200, 0), (201, 199), (1000, 0), (1001, 199)]
        {
            assert_eq!(rest(time, elapsed), expected, "{elapsed}");
        }
    }

    #[test]
    fn four_of_one_client_wait_and_a_quarter_of_all_threads() {
        let words: Vec<AtomicU64> = (0..words_for(40)).map(|_| AtomicU64::new(0)).collect();
        let waiting = Waiting(&words);
        let address = |number: u8| Some(IpAddr::from([192, 0, 2, number]));
        let of_one = (0..10).filter(|_| waiting.begin(address(1), 1000, 200)).count();
        assert_eq!(of_one, 4);
        let of_others = (2..50).filter(|&number| waiting.begin(address(number), 1000, 200)).count();
        assert_eq!(of_others, 6);
        assert!(!waiting.begin(address(99), 1199, 200));
        assert!(waiting.begin(address(1), 1200, 200), "those who waited have gone");
        assert_eq!(words_for(1), 1);
    }
}
