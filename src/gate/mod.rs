//! The only place that reads, decides and writes.
//!
//! [`Gate::basic`] decides on a snapshot taken without a lock. A decision that changes nothing is
//! answered at once. Any other is made again under the lock, on the record and the clock of that
//! moment, saved, and only then answered. Slow PIN checks run outside the lock; then the round
//! starts over with the result.
//!
//! Digest logins go through the same shape in two steps (`digest`), and use up a nonce in between
//! (`nonces`).
//!
//! Wrong tries are counted separately (`throttled`).
//!
//! Where browsers have cookies, a grant begins a session, saved in the same step as its code
//! (`session`), and may have the computer trusted (`computer`).
//!
//! Logins waiting in one process are decided together by the one that gets the lock, and share its
//! sync (`queue`). Sub-requests are judged again only where the settings differ (`request_memory`).

mod answer;
mod app;
mod attempt;
mod basic;
mod commit;
mod computer;
mod digest;
mod elsewhere;
mod known_cookies;
mod lines;
mod marks;
pub mod nonces;
mod paper;
mod pin_alone;
mod pins;
mod questions;
mod queue;
mod repeat;
mod request_memory;
mod rounds;
mod session;
mod sync;
mod throttled;

use hmac::{Hmac, KeyInit, Mac as _};
use sha2::Sha256;
use zeroize::Zeroizing;

pub use self::answer::{Answer, Cause};
use self::attempt::Job;
pub use self::basic::Login;
use self::commit::JobResult;
pub use self::computer::{KnownComputer, SetComputer};
pub use self::digest::{DigestAnswer, DigestLogin, DigestRequest, Match};
pub use self::marks::{Mark, Marks};
use self::pins::PinMemory;
use self::queue::Queue;
pub use self::request_memory::RequestMemory;
pub use self::session::{BrowserLogin, CookiePlace, KnownSession, PageKeys, SetCookie};
use crate::UnixTime;
pub use crate::pin::{PinAnswer, PinSource};
pub use crate::store::{Found, Store, Transaction};

/// A store and what is remembered about it in this process.
pub struct Gate<S> {
    store: S,
    clock: fn() -> UnixTime,
    marks: Marks,
    /// Marks of users and passwords.
    passwords: Marks,
    /// Keyed with random bytes, and told the store's name: ready for what is to be told apart.
    mac: Hmac<Sha256>,
    pins: PinMemory,
    memory: throttled::ThrottleMemory,
    noted_uses: app::NotedUses,
    cookie_memory: session::CookieMemory,
    queue: Queue<Job, JobResult>,
}

impl<S: Store> Gate<S> {
    /// A gate to a store. `clock` gives the current time. `None`: the system has no random bytes.
    pub fn new(store: S, clock: fn() -> UnixTime) -> Option<Gate<S>> {
        Gate::with_marks(store, clock, Marks::new()?)
    }

    /// The same with marks that other gates to the same store have, too: what was decided about a
    /// request at one of them is recognised at all.
    pub fn with_marks(store: S, clock: fn() -> UnixTime, marks: Marks) -> Option<Gate<S>> {
        let mut key = Zeroizing::new([0; 32]);
        getrandom::fill(&mut *key).ok()?;
        let mut mac = <Hmac<Sha256> as KeyInit>::new_from_slice(&*key)
            .expect("HMAC takes keys of any length");
        mac.update(store.name().as_bytes());
        mac.update(&[0]);
        let (pins, memory) = (PinMemory::default(), throttled::ThrottleMemory::default());
        let (noted_uses, queue) = (app::NotedUses::default(), Queue::new());
        let cookie_memory = session::CookieMemory::default();
        let passwords = marks.that_begin_with(b"basic");
        Some(Gate {
            store,
            clock,
            marks,
            passwords,
            mac,
            pins,
            memory,
            noted_uses,
            cookie_memory,
            queue,
        })
    }

    /// The store.
    pub fn store(&self) -> &S {
        &self.store
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::atomic::{AtomicI64, Ordering};

    use super::*;
    use crate::decide::COMPUTED;
    use crate::decide::LoginResult;
    use crate::log::{Level, Log};
    use crate::policy::{PinAlone, Policy, Server, Settings};
    use crate::token::Address;
    use crate::users::file::UsersFile;

    struct Quiet;

    impl Log for Quiet {
        fn log(&self, _: Level, _: std::fmt::Arguments<'_>) {}
    }

    impl PinSource for Quiet {
        fn identity(&self) -> Vec<u8> {
            Vec::new()
        }

        fn check(&self, _: &[u8], _: &[u8]) -> PinAnswer {
            PinAnswer::NoSource
        }
    }

    fn alice_and(lines: &[&str]) -> tempfile::TempDir {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("users"), lines.join("\n")).unwrap();
        directory
    }

    /// "myPassword".
    const HASH: &str = "$2y$05$lXGQBDT09PU0BUoTBUSbRuqQMwTF958HkK/qn25O6j6VbzgsXsYyO";

    #[test]
    fn one_hash_is_computed_once_for_all_tokens_that_have_it() {
        let other = "$2y$04$Dy0Ej5q5c.BQJqHUPzVr3OMlnYnCZAlyOGzC3ujYHtrTlBgG0Uvdq";
        let line = |pin: &str, key: u32| format!("HOTP alice {pin} {key:040x}");
        let many: Vec<String> = (0..100).map(|key| line(HASH, key)).collect();
        let [one, two, same] = [line(HASH, 1), line(other, 2), line(HASH, 3)];
        let mixed = [&one, &same, &two].map(String::as_str).to_vec();
        for (lines, password, word, hashes) in [
            (
                many.iter().map(String::as_str).collect(),
                "myPassword000000",
                LoginResult::DeniedCode,
                1,
            ),
            (
                many.iter().map(String::as_str).collect(),
                "otherPassword000000",
                LoginResult::DeniedPin,
                1,
            ),
            (mixed.clone(), "myPassword000000", LoginResult::DeniedCode, 2),
            (mixed, "otherPassword000000", LoginResult::DeniedPin, 2),
        ] {
            let directory = alice_and(&lines);
            let clock = || 1_700_000_000;
            let gate = Gate::new(UsersFile::new(&directory.path().join("users")), clock).unwrap();
            let policy = Settings::default().policy(Server::Apache);
            let login =
                Login { user: b"alice", password: password.as_bytes(), address: Address::Unknown };
            let before = crate::pin::CHECKED.get();
            assert_eq!(gate.basic(&policy, &login, &Quiet, None, &Quiet).word, word);
            assert_eq!(
                crate::pin::CHECKED.get() - before,
                hashes,
                "{} lines, {password}",
                lines.len()
            );
        }
    }

    #[test]
    fn a_right_pin_is_remembered_for_all_tokens_with_its_hash() {
        let key = "3132333435363738393031323334353637383930";
        let line = format!("HOTP alice {HASH} {key}");
        let directory = alice_and(&[&format!("HOTP alice {HASH} 00"), &line]);
        let gate =
            Gate::new(UsersFile::new(&directory.path().join("users")), || 1_700_000_000).unwrap();
        let policy = Settings::default().policy(Server::Apache);
        let login =
            Login { user: b"alice", password: b"myPassword755224", address: Address::Unknown };
        let before = crate::pin::CHECKED.get();
        let fresh = gate.basic(&policy, &login, &Quiet, None, &Quiet);
        assert_eq!(
            (fresh.word, crate::pin::CHECKED.get() - before),
            (LoginResult::GrantedFresh, 1)
        );
        // The token that accepts is not the one that was asked about.
        assert_eq!(
            gate.basic(&policy, &login, &Quiet, None, &Quiet).word,
            LoginResult::GrantedReuse
        );
        let found = gate.store.find(b"alice").unwrap();
        let mark = gate.mark_of_password(login.user, login.password);
        assert!(gate.repeated(&policy, &login, mark, (&Quiet, None), None, &found).is_some());
        assert_eq!(crate::pin::CHECKED.get() - before, 1);
    }

    #[test]
    fn where_the_pin_alone_is_enough_a_login_costs_three_hashes_at_most() {
        let key = "3132333435363738393031323334353637383930";
        let lines =
            [format!("HOTP alice {HASH} {key}"), format!("PAPER/8/30 alice {HASH} {key}00")];
        let directory = alice_and(&[&lines[0], &lines[1]]);
        let gate =
            Gate::new(UsersFile::new(&directory.path().join("users")), || 1_700_000_000).unwrap();
        let policy = Policy {
            pin_alone: PinAlone::Here,
            pin_cache_hashed: 0,
            ..Settings::default().policy(Server::Nginx)
        };
        let address = Address::of_client(Some("192.0.2.7".parse().unwrap()));
        for (password, word, hashes) in [
            ("myPassword755224", LoginResult::GrantedFresh, 1),
            // Both splits, and the whole.
            ("myPassword", LoginResult::GrantedTrusted, 3),
            ("hisPassword", LoginResult::DeniedPin, 3),
            ("hisPassword00000000", LoginResult::DeniedPin, 3),
            ("short", LoginResult::DeniedPin, 1),
        ] {
            let login =
                Login { user: b"alice", password: password.as_bytes(), address: address.clone() };
            let before = crate::pin::CHECKED.get();
            let answer = gate.basic(&policy, &login, &Quiet, None, &Quiet);
            let computed = crate::pin::CHECKED.get() - before;
            assert_eq!((answer.word, computed), (word, hashes), "{password}");
        }
    }

    #[test]
    fn a_user_with_a_hash_of_their_own_for_each_token_is_no_fault() {
        let salts = 0..40;
        let line = |salt: u32| format!("HOTP alice $5$salt{salt}${} {salt:040x}", "x".repeat(43));
        let lines: Vec<String> = salts.map(line).collect();
        let directory = alice_and(&lines.iter().map(String::as_str).collect::<Vec<_>>());
        let gate =
            Gate::new(UsersFile::new(&directory.path().join("users")), || 1_700_000_000).unwrap();
        let policy = Settings::default().policy(Server::Apache);
        let login =
            Login { user: b"alice", password: b"myPassword755224", address: Address::Unknown };
        assert_eq!(gate.basic(&policy, &login, &Quiet, None, &Quiet).word, LoginResult::DeniedPin);
    }

    /// Codes computed in one login with a wrong code.
    fn codes_of_a_wrong_login(path: &Path, clock: fn() -> UnixTime) -> usize {
        let gate = Gate::new(UsersFile::new(path), clock).unwrap();
        let policy = Settings::default().policy(Server::Apache);
        let login = Login { user: b"alice", password: b"zzzzzz", address: Address::Unknown };
        let before = COMPUTED.get();
        assert_eq!(gate.basic(&policy, &login, &Quiet, None, &Quiet).word, LoginResult::DeniedCode);
        COMPUTED.get() - before
    }

    #[test]
    fn a_wrong_code_is_searched_for_once_unless_the_time_moves_on_meanwhile() {
        static TICKS: AtomicI64 = AtomicI64::new(1_700_000_000);
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("users");
        std::fs::write(&path, "HOTP/T30 alice - 3132333435363738393031323334353637383930\n")
            .unwrap();
        assert_eq!(codes_of_a_wrong_login(&path, || 1_700_000_000), 9 + 2880);
        let moving = || TICKS.fetch_add(1, Ordering::Relaxed);
        assert_eq!(codes_of_a_wrong_login(&path, moving), 2 * (9 + 2880));
    }
}
