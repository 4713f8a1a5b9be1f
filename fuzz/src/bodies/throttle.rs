//! The file in which tries are counted.

use std::net::IpAddr;
use std::num::NonZeroU32;

use otpgate::policy::{Limits, Server, Settings};
use otpgate::throttle::{
    self as tries, Bytes, Client, Failures, PinCount, Reserved, TryOutcome, count_pin, digest,
    forget_pins, forgive, is_familiar, look, reserve, settle,
};

use super::{Pieces, patch};

pub const WORDS: &[&str] =
    &["OTPTRIE1", "OTPTRIE2", "OTPTRIE", "\0\0\0\0\0\0\0\0", "@\0\0\0\0\0\0\0"];

/// Four gibibytes that a header may promise are not what a test has.
const LEN_MAX: usize = 64 << 20;

/// Bytes that don't grow beyond what a test has.
struct Held(Vec<u8>);

impl Bytes for Held {
    fn size(&mut self) -> std::io::Result<u64> {
        self.0.size()
    }

    fn read_at(&mut self, at: u64, into: &mut [u8]) -> std::io::Result<()> {
        self.0.read_at(at, into)
    }

    fn write_at(&mut self, at: u64, bytes: &[u8]) -> std::io::Result<()> {
        self.0.write_at(at, bytes)
    }

    fn grow_to(&mut self, len: u64) -> std::io::Result<()> {
        if len > LEN_MAX as u64 {
            return Err(std::io::ErrorKind::StorageFull.into());
        }
        self.0.grow_to(len)
    }

    fn empty(&mut self) -> std::io::Result<()> {
        self.0.empty()
    }
}

/// Counts that somebody has made up: whoever tries is stopped after as many tries as there are at
/// most, told to wait for no longer than a window, and an admin can begin anew.
pub fn throttle(data: &[u8]) {
    let limits = Limits::parse([&b"throttle=3,600"[..]].into_iter()).expect("a limit");
    let policy = Settings::default().policy(Server::Apache).restricted_by(&limits);
    let throttle = policy.throttle.expect("as limited");
    let mut pieces = Pieces(data);
    let how = pieces.byte();
    let address: IpAddr =
        if how & 1 == 0 { [192, 0, 2, 7].into() } else { [0x2001, 0xdb8, 0, 0, 0, 0, 0, 1].into() };
    let now = match how & 6 {
        0 => 1_780_000_000,
        2 => 0,
        4 => i64::from(u32::MAX) * 60,
        _ => pieces.number() as i64 >> 20,
    };
    let client =
        |user| Client { user, is_listed: how & 8 == 0, address: Some(address), before: &[], now };
    let alice = client(&b"alice"[..]);

    // Rows of this very client, so that what is changed is looked at.
    let mut bytes = Held(Vec::new());
    if how & 16 == 0 {
        let _ = reserve(&mut bytes, &alice, throttle, b"first");
        let places: Vec<usize> = (0..bytes.0.len() / 128)
            .map(|row| row * 128)
            .filter(|&at| bytes.0[at..at + 16].iter().any(|&b| b != 0))
            .take(8)
            .collect();
        while !pieces.is_empty() {
            let number = usize::from(pieces.byte());
            let at = places.get(number % places.len().max(1)).copied().unwrap_or(0);
            // Not its id, by which it is found.
            patch(&mut bytes.0[at + 16..at + 128], &mut pieces);
        }
    } else {
        bytes.0 = pieces.0.to_vec();
    }

    let mut taken = 0;
    let mut is_stopped = false;
    for number in 0..200u32 {
        let credentials = number.to_le_bytes();
        match reserve(&mut bytes, &alice, throttle, &credentials) {
            Ok(Reserved::Taken { .. }) => {
                taken += 1;
                settle(&mut bytes, &alice, throttle, &credentials, TryOutcome::Wrong)
                    .expect("it was open");
            }
            Ok(Reserved::Over(over)) => {
                // As long as a row has room for; whoever writes the file can say so.
                assert!((1..1 << 24).contains(&over.rest), "{over:?}");
                is_stopped = true;
                break;
            }
            // Of another version: nobody is let in.
            Err(_) => return,
        }
    }
    assert!(is_stopped && taken <= 3 * 15, "{taken} tries");
    let _ = look(&mut bytes, &alice, throttle, b"other").expect("it was open");
    let _ = is_familiar(&mut bytes, &alice).expect("it was open");
    let mut failures = |failures: &mut Failures| {
        failures.number = failures.number.saturating_add(1);
        true
    };
    digest(&mut bytes, &alice, Some(throttle), Some(TryOutcome::Wrong), &mut failures)
        .expect("it was open");

    let ten = NonZeroU32::new(10).expect("not 0");
    forget_pins(&mut bytes, &alice).expect("it was open");
    let count = count_pin(&mut bytes, &alice, None, b"right", false, ten).expect("it was open");
    assert_eq!(count, if alice.is_listed { PinCount::Below } else { PinCount::Over });
    forgive(&mut bytes, b"alice", &[], now).expect("it was open");
    if alice.is_listed {
        let known = tries::accept(&mut bytes, &alice);
        known.expect("it was open");
    }
    assert!(bytes.0.len() <= LEN_MAX);
}
