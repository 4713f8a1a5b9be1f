//! What one decision costs inside the library, without a server around it: nanoseconds each, best of several runs.
//!
//! Absolute figures depend on the machine; they are for finding out where time goes.

use std::hint::black_box;
use std::time::Instant;

use otpgate::decide::PinAnswer;
use otpgate::gate::{Gate, Login, PinSource, Store};
use otpgate::log::{Level, Log};
use otpgate::policy::{Server, Settings};
use otpgate::token::Address;
use otpgate::users::file::UsersFile;

struct Nothing;

impl PinSource for Nothing {
    fn identity(&self) -> Vec<u8> {
        Vec::new()
    }
    fn check(&self, _: &[u8], _: &[u8]) -> PinAnswer {
        PinAnswer::NoSource
    }
}

impl Log for Nothing {
    fn log(&self, _: Level, message: std::fmt::Arguments<'_>) {
        black_box(message);
    }
}

fn main() {
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    let key = "3132333435363738393031323334353637383930";
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("users");
    let users: String = (0..10_000).map(|i| format!("HOTP user{i} 1234 {key}\n")).collect();
    std::fs::write(&path, users).expect("a users file");
    let gate = Gate::new(UsersFile::new(&path), || 1_700_000_000).expect("random bytes");
    let policy = Settings::default().policy(Server::Apache);
    let address = Address::of_client(Some("192.0.2.7".parse().expect("an address")));
    let login = |user: &str, password: &str| {
        let login = Login { user: user.as_bytes(), password: password.as_bytes(), address: address.clone() };
        gate.basic(&policy, &login, &Nothing, None, &Nothing).word
    };
    login("user77", "1234755224");
    let time = |name: &str, run: &dyn Fn()| {
        let best = (0..20)
            .map(|_| {
                let begun = Instant::now();
                for _ in 0..2_000 {
                    run();
                }
                begun.elapsed().as_nanos() / 2_000
            })
            .min();
        println!("{name:<30} {:>8} ns", best.expect("some runs"));
    };
    time("stat of the users file", &|| {
        black_box(std::fs::metadata(&path).expect("there"));
    });
    time("look-up of a user", &|| {
        black_box(gate.store().find(b"user77").expect("readable"));
    });
    time("look-up of nobody", &|| {
        black_box(gate.store().find(b"nobody").expect("readable"));
    });
    time("login with a lingering code", &|| {
        black_box(login("user77", "1234755224"));
    });
    time("login with a wrong PIN", &|| {
        black_box(login("user77", "9999755224"));
    });
}
