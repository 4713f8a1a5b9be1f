//! The repeat login is decided once and then known: and every time that it is, deciding anew comes
//! to the same.

#[path = "common/scene.rs"]
mod scene;

use std::fs;
use std::sync::atomic::{AtomicI64, Ordering};

use otpgate::UnixTime;
use otpgate::decide::{LoginResult, PinAnswer};
use otpgate::gate::{Gate, Login, PinSource};
use otpgate::log::{Level, Log};
use otpgate::policy::{Policy, Server, Settings};
use otpgate::token::Address;
use otpgate::users::file::UsersFile;
use scene::{KEY, NoPins};

const BEGIN: UnixTime = 1_700_000_000;

struct Quiet;

impl Log for Quiet {
    fn log(&self, _: Level, _: std::fmt::Arguments<'_>) {}
}

fn at(gate: &Gate<UsersFile>, policy: &Policy, password: &str, address: &str) -> LoginResult {
    let login = Login {
        user: b"alice",
        password: password.as_bytes(),
        address: Address::of_client(Some(address.parse().unwrap())),
    };
    gate.basic(policy, &login, &NoPins, None, &Quiet).word
}

const HOME: &str = "192.0.2.7";
const CAFE: &str = "198.51.100.23";

/// Each moment is tried with a gate that has seen every moment before, and with one that has seen
/// nothing.
#[test]
fn what_is_known_of_a_repeat_login_ends_when_time_or_settings_end_it() {
    static NOW: AtomicI64 = AtomicI64::new(BEGIN);
    let clock = || NOW.load(Ordering::Relaxed);
    let apache = |linger: Option<u32>, idle: Option<u32>| Policy {
        max_linger: linger,
        max_idle: idle,
        ..Settings::default().policy(Server::Apache)
    };
    for (policy, ends) in [
        (apache(Some(60), None), vec![0, 1, 59, 60, 61, 62, 3600]),
        (apache(None, Some(160)), vec![0, 8, 9, 10, 11, 18, 19, 20, 100, 181, 400]),
        (apache(Some(60), Some(160)), vec![0, 9, 10, 59, 60, 61]),
        (apache(Some(60), Some(16)), vec![0, 1, 2, 3, 18, 20, 37]),
        (apache(Some(0), None), vec![0, 1]),
        (apache(Some(60), None), vec![30, 10, -3, -10, 20, 61]),
    ] {
        NOW.store(BEGIN, Ordering::Relaxed);
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("users");
        fs::write(&path, format!("HOTP alice 1234 {KEY}\n")).unwrap();
        let seasoned = Gate::new(UsersFile::new(&path), clock).unwrap();
        assert_eq!(at(&seasoned, &policy, "1234755224", HOME), LoginResult::GrantedFresh);
        for moment in ends {
            NOW.store(BEGIN + moment, Ordering::Relaxed);
            let twin = directory.path().join("twin");
            fs::copy(&path, &twin).unwrap();
            let fresh = Gate::new(UsersFile::new(&twin), clock).unwrap();
            let expected = at(&fresh, &policy, "1234755224", HOME);
            assert_eq!(
                at(&seasoned, &policy, "1234755224", HOME),
                expected,
                "{policy:?} after {moment} s"
            );
            // Once more, now that it may be known.
            let expected = at(&fresh, &policy, "1234755224", HOME);
            assert_eq!(
                at(&seasoned, &policy, "1234755224", HOME),
                expected,
                "{policy:?} after {moment} s"
            );
            assert_eq!(
                fs::read(&path).unwrap(),
                fs::read(&twin).unwrap(),
                "{policy:?} after {moment} s"
            );
        }
    }
}

/// The PIN's own time is over before the code's.
#[test]
fn a_hashed_pin_is_checked_anew_when_its_time_is_over() {
    static NOW: AtomicI64 = AtomicI64::new(BEGIN);
    const HASH: &str = "$2y$05$lXGQBDT09PU0BUoTBUSbRuqQMwTF958HkK/qn25O6j6VbzgsXsYyO";
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("users");
    fs::write(&path, format!("HOTP alice {HASH} {KEY}\n")).unwrap();
    let gate = Gate::new(UsersFile::new(&path), || NOW.load(Ordering::Relaxed)).unwrap();
    let policy = Settings::default().policy(Server::Nginx);
    let login = Login {
        user: b"alice",
        password: b"myPassword755224",
        address: Address::of_client(Some(HOME.parse().unwrap())),
    };
    assert_eq!(gate.basic(&policy, &login, &NoPins, None, &Quiet).word, LoginResult::GrantedFresh);
    // The first login has made a new file of it, with slots.
    assert_eq!(gate.basic(&policy, &login, &NoPins, None, &Quiet).word, LoginResult::GrantedReuse);
    // Where no slow check may be made, there is an answer for as long as the PIN is remembered.
    for (moment, expected) in
        [(0, true), (1, true), (59, true), (60, false), (61, false), (10, true)]
    {
        NOW.store(BEGIN + moment, Ordering::Relaxed);
        for _ in 0..2 {
            let answer = gate.basic_now(&policy, &login, &NoPins, None, None, &Quiet);
            let word = answer.map(|answer| answer.word);
            assert_eq!(word, expected.then_some(LoginResult::GrantedReuse), "after {moment} s");
        }
    }
}

#[test]
fn another_password_address_or_setting_is_decided_for_itself() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("users");
    fs::write(&path, format!("HOTP alice 1234 {KEY}\n")).unwrap();
    let gate = Gate::new(UsersFile::new(&path), || BEGIN).unwrap();
    let plain = Policy { allow_hex: false, ..Settings::default().policy(Server::Apache) };
    let strict = Policy { logout_on_ip_change: true, ..plain };
    let once = Policy { max_linger: Some(0), ..plain };
    assert_eq!(at(&gate, &plain, "1234755224", HOME), LoginResult::GrantedFresh);
    for _ in 0..3 {
        assert_eq!(at(&gate, &plain, "1234755224", HOME), LoginResult::GrantedReuse);
        assert_eq!(at(&gate, &strict, "1234755224", HOME), LoginResult::GrantedReuse);
        assert_eq!(at(&gate, &strict, "1234755224", CAFE), LoginResult::DeniedIp);
        assert_eq!(at(&gate, &plain, "1234755224", CAFE), LoginResult::GrantedReuse);
        assert_eq!(at(&gate, &once, "1234755224", HOME), LoginResult::DeniedExpired);
        assert_eq!(at(&gate, &plain, "755224", HOME), LoginResult::DeniedPin);
        assert_eq!(at(&gate, &plain, "1235755224", HOME), LoginResult::DeniedPin);
    }
    // Switched off by hand, a forget request, and another code.
    let lines = fs::read_to_string(&path).unwrap();
    fs::write(&path, format!("OFF:{lines}")).unwrap();
    assert_eq!(at(&gate, &plain, "1234755224", HOME), LoginResult::DeniedLocked);
    fs::write(&path, lines).unwrap();
    assert_eq!(at(&gate, &plain, "1234755224", HOME), LoginResult::GrantedReuse);
    assert_eq!(at(&gate, &plain, "", HOME), LoginResult::Forgotten);
    assert_eq!(at(&gate, &plain, "1234755224", HOME), LoginResult::DeniedExpired);
    assert_eq!(at(&gate, &plain, "1234287082", HOME), LoginResult::GrantedFresh);
    assert_eq!(at(&gate, &plain, "1234755224", HOME), LoginResult::DeniedExpired);
    assert_eq!(at(&gate, &plain, "1234287082", HOME), LoginResult::GrantedReuse);
}

/// Says that everything is right, and how often it was asked.
#[derive(Default)]
struct Counting(std::cell::Cell<usize>);

impl PinSource for Counting {
    fn identity(&self) -> Vec<u8> {
        b"counting".to_vec()
    }
    fn check(&self, _: &[u8], _: &[u8]) -> PinAnswer {
        self.0.set(self.0.get() + 1);
        PinAnswer::Right
    }
}

#[test]
fn a_pin_that_is_checked_elsewhere_is_asked_about_once_for_all_tokens_of_a_request() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("users");
    // The third token's codes are longer, so its PIN is another: `ad755224` may be a code, too.
    let lines =
        format!("HOTP alice + 00\nHOTP/T30 alice + 01\nHOTP/E/8 alice + 02\nHOTP alice + {KEY}\n");
    fs::write(&path, lines).unwrap();
    let gate = Gate::new(UsersFile::new(&path), || BEGIN).unwrap();
    let policy = Settings::default().policy(Server::Apache);
    let source = Counting::default();
    let login = Login { user: b"alice", password: b"secrad755224", address: Address::Unknown };
    assert_eq!(gate.basic(&policy, &login, &source, None, &Quiet).word, LoginResult::GrantedFresh);
    assert_eq!(source.0.get(), 2);
}
