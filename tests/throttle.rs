//! How often something may be tried: the budgets, who has which, and what is given back.

use std::io;
use std::net::IpAddr;
use std::num::NonZeroU32;

use otpgate::UnixTime;
use otpgate::policy::Throttle;
use otpgate::throttle::{
    Bytes, Client, Failures, Look, Over, PinCount, Reserved, TryOutcome, count_pin, digest,
    forget_pins, forgive, look, reserve, settle,
};

const NOW: UnixTime = 1_700_000_000;
const HOME: &str = "192.0.2.7";

struct Site {
    bytes: Vec<u8>,
    throttle: Throttle,
    now: UnixTime,
    /// Of wrong passwords so far.
    number: usize,
}

fn site() -> Site {
    let number = |number| NonZeroU32::new(number).unwrap();
    Site {
        bytes: Vec::new(),
        throttle: Throttle { tries: number(20), seconds: number(600) },
        now: NOW,
        number: 0,
    }
}

/// A name that isn't listed begins with a question mark.
fn client<'a>(user: &'a str, address: &str, now: UnixTime) -> Client<'a> {
    Client {
        user: user.as_bytes(),
        is_listed: !user.starts_with('?'),
        address: address.parse().ok(),
        before: &[],
        now,
    }
}

impl Site {
    fn reserve(&mut self, user: &str, address: &str, password: &str) -> Option<Over> {
        let client = client(user, address, self.now);
        match reserve(&mut self.bytes, &client, self.throttle, password.as_bytes()).unwrap() {
            Reserved::Taken { .. } => None,
            Reserved::Over(over) => Some(over),
        }
    }

    fn settle(&mut self, user: &str, address: &str, password: &str, outcome: TryOutcome) {
        let client = client(user, address, self.now);
        settle(&mut self.bytes, &client, self.throttle, password.as_bytes(), outcome).unwrap();
    }

    /// One whole login; whether it was looked at.
    fn try_once(&mut self, user: &str, address: &str, password: &str, outcome: TryOutcome) -> bool {
        let is_looked_at = self.reserve(user, address, password).is_none();
        if is_looked_at {
            self.settle(user, address, password, outcome);
        }
        is_looked_at
    }

    /// How many of so many wrong passwords, each another one, are looked at.
    fn wrong(&mut self, user: &str, address: &str, number: usize) -> usize {
        let once = |_: &usize| {
            self.number += 1;
            self.try_once(user, address, &format!("wrong {}", self.number), TryOutcome::Wrong)
        };
        (0..number).filter(once).count()
    }

    fn accept(&mut self, user: &str, address: &str) {
        assert!(self.try_once(user, address, "right", TryOutcome::Accepted), "{user} at {address}");
    }

    fn is_free(&mut self, user: &str, address: &str) -> bool {
        let client = client(user, address, self.now);
        matches!(
            look(&mut self.bytes, &client, self.throttle, b"another").unwrap(),
            Look::Free { .. }
        )
    }
}

#[test]
fn wrong_pins_are_counted_at_the_user_from_wherever_until_they_are_forgotten() {
    let mut site = site();
    let limit = NonZeroU32::new(3).unwrap();
    let mut count = |user: &str, address: &str, password: &str, is_wrong: bool| {
        let client = client(user, address, NOW);
        count_pin(&mut site.bytes, &client, None, password.as_bytes(), is_wrong, limit).unwrap()
    };
    for (address, password, is_wrong, expected) in [
        (HOME, "a", true, PinCount::Below),
        ("2001:db8::7", "b", true, PinCount::Below),
        (HOME, "right", false, PinCount::Below),
        (HOME, "c", true, PinCount::Reached),
        (HOME, "right", false, PinCount::Over),
        ("2001:db8::7", "d", true, PinCount::Over),
    ] {
        assert_eq!(count("alice", address, password, is_wrong), expected, "{password}");
        assert_eq!(count("bob", address, "right", false), PinCount::Below);
    }
    // Nobody whose row there is.
    assert_eq!(count("?alice", HOME, "right", false), PinCount::Over);
    forget_pins(&mut site.bytes, &client("alice", HOME, NOW)).unwrap();
    let client = client("alice", HOME, NOW);
    let counted = count_pin(&mut site.bytes, &client, None, b"right", false, limit).unwrap();
    assert_eq!(counted, PinCount::Below);
    // It costs no tries by itself.
    assert_eq!(site.wrong("alice", HOME, 30), 20);
}

#[test]
fn a_wrong_pin_is_counted_once_of_a_client_whatever_it_was_refused_for_before() {
    for is_refused_before in [false, true] {
        let mut site = site();
        if is_refused_before {
            site.try_once("alice", HOME, "a", TryOutcome::Wrong);
        }
        let mut reached = |limit: u32, password: &str| {
            let client = client("alice", HOME, NOW);
            let limit = NonZeroU32::new(limit).unwrap();
            let (throttle, password) = (Some(site.throttle), password.as_bytes());
            count_pin(&mut site.bytes, &client, throttle, password, true, limit).unwrap()
        };
        assert_eq!(reached(1, "a"), PinCount::Reached, "{is_refused_before}");
        assert_eq!(reached(2, "a"), PinCount::Below);
        assert_eq!(reached(2, "b"), PinCount::Reached);
        // Each was a try: two of twenty.
        assert_eq!(site.wrong("alice", HOME, 30), 18);
    }
}

/// What can be read and not written: a full disk under a file system that copies on write.
struct ReadOnly(Vec<u8>);

impl Bytes for ReadOnly {
    fn size(&mut self) -> io::Result<u64> {
        self.0.size()
    }

    fn read_at(&mut self, at: u64, into: &mut [u8]) -> io::Result<()> {
        self.0.read_at(at, into)
    }

    fn write_at(&mut self, _: u64, _: &[u8]) -> io::Result<()> {
        Err(io::ErrorKind::StorageFull.into())
    }

    fn grow_to(&mut self, _: u64) -> io::Result<()> {
        Err(io::ErrorKind::StorageFull.into())
    }

    fn empty(&mut self) -> io::Result<()> {
        Err(io::ErrorKind::StorageFull.into())
    }
}

#[test]
fn where_wrong_pins_cannot_be_written_right_ones_fail_as_well() {
    let limit = NonZeroU32::new(3).unwrap();
    let client = client("alice", HOME, NOW);
    for throttle in [None, Some(site().throttle)] {
        let count = |bytes: &mut dyn Bytes, is_wrong: bool| {
            let password: &[u8] = if is_wrong { b"wrong" } else { b"right" };
            count_pin(bytes, &client, throttle, password, is_wrong, limit).is_ok()
        };
        let mut bytes = Vec::new();
        assert!(count(&mut bytes, true) && count(&mut bytes, false));
        let mut full = ReadOnly(bytes);
        assert!(!count(&mut full, true) && !count(&mut full, false), "{throttle:?}");
    }
}

#[test]
fn a_client_has_twenty_tries_at_a_user_and_waits_for_the_rest_of_the_window() {
    let mut site = site();
    assert_eq!(site.wrong("alice", HOME, 30), 20);
    let over = site.reserve("alice", HOME, "right").unwrap();
    assert_eq!(over.rest, 600);
    site.now += 599;
    assert_eq!(site.reserve("alice", HOME, "right"), Some(Over { rest: 1, is_news: false }));
    site.now += 1;
    site.accept("alice", HOME);
}

/// As on a machine without a battery for its clock, before it has asked others for the time.
#[test]
fn tries_are_counted_by_a_clock_that_has_come_no_further_than_1970() {
    for now in [0, -1, -1_000_000] {
        for user in ["alice", "?nobody"] {
            let mut site = Site { now, ..site() };
            assert_eq!(site.wrong(user, HOME, 30), 20, "{user} at {now}");
        }
    }
}

#[test]
fn one_line_is_due_for_a_client_and_a_window() {
    let mut site = site();
    site.wrong("alice", HOME, 20);
    let news = |site: &mut Site| {
        (0..5).filter(|i| site.reserve("alice", HOME, &i.to_string()).unwrap().is_news).count()
    };
    assert_eq!(news(&mut site), 1);
    assert_eq!(news(&mut site), 0);
    site.now += 600;
    site.wrong("alice", HOME, 20);
    assert_eq!(news(&mut site), 1);
}

#[test]
fn the_same_credentials_are_one_try_however_often_they_come() {
    let mut site = site();
    for _ in 0..100 {
        assert!(site.try_once("alice", HOME, "wrong", TryOutcome::Wrong));
    }
    assert_eq!(site.wrong("alice", HOME, 30), 19);
    assert!(
        !site.try_once("alice", HOME, "wrong", TryOutcome::Wrong),
        "what was refused waits like anything else"
    );
}

#[test]
fn forty_parts_of_a_page_share_the_last_try() {
    let mut site = site();
    site.wrong("alice", HOME, 19);
    for _ in 0..40 {
        assert_eq!(site.reserve("alice", HOME, "right"), None);
    }
    assert!(site.reserve("alice", HOME, "another").is_some());
    for _ in 0..40 {
        site.settle("alice", HOME, "right", TryOutcome::Accepted);
    }
    assert_eq!(site.wrong("alice", HOME, 10), 1);
}

#[test]
fn of_four_hundred_at_once_so_many_are_looked_at_as_there_are_tries() {
    let mut site = site();
    let taken: Vec<String> = (0..400)
        .map(|i| i.to_string())
        .filter(|i| site.reserve("alice", HOME, i).is_none())
        .collect();
    assert_eq!(taken.len(), 20);
    for password in &taken {
        site.settle("alice", HOME, password, TryOutcome::Wrong);
    }
    assert_eq!(site.wrong("alice", HOME, 10), 0);
}

#[test]
fn what_is_not_wrong_is_given_back_and_what_was_wrong_is_not() {
    let mut site = site();
    for i in 0..100 {
        assert!(site.try_once("alice", HOME, &i.to_string(), TryOutcome::NotCounted));
    }
    assert!(site.try_once("alice", HOME, "wrong", TryOutcome::Wrong));
    assert!(site.try_once("alice", HOME, "wrong", TryOutcome::NotCounted));
    assert_eq!(site.wrong("alice", HOME, 30), 19);
}

#[test]
fn a_client_has_two_hundred_tries_in_all() {
    let mut site = site();
    let looked_at: usize = (0..30).map(|i| site.wrong(&format!("user{i}"), HOME, 15)).sum();
    assert_eq!(looked_at, 200);
    assert!(!site.is_free("?nobody", HOME));
    assert!(site.is_free("user0", "192.0.2.8"));
}

#[test]
fn networks_of_ipv6_have_budgets_of_their_own() {
    let mut site = site();
    let users = |site: &mut Site, address: &str| {
        (0..100).map(|i| site.wrong(&format!("user{i}"), address, 20)).sum::<usize>()
    };
    assert_eq!(users(&mut site, "2001:db8:1:100::1"), 200);
    assert_eq!(users(&mut site, "2001:db8:1:100:ffff::1"), 0, "the same /64");
    assert_eq!(users(&mut site, "2001:db8:1:101::1"), 200);
    assert_eq!(users(&mut site, "2001:db8:1:102::1"), 0, "the same /56");
    assert_eq!(users(&mut site, "2001:db8:1:200::1"), 200);
}

#[test]
fn a_thousand_networks_of_one_site_have_three_hundred_tries_at_one_pin() {
    let mut site = site();
    let looked_at: usize =
        (0..1000).map(|i| site.wrong("alice", &format!("2001:db8:1:{i:x}::1"), 2)).sum();
    assert_eq!(looked_at, 300);
}

#[test]
fn strangers_keep_nobody_out_at_a_familiar_address() {
    let mut site = site();
    site.accept("alice", HOME);
    let strangers: usize =
        (0..50).map(|i| site.wrong("alice", &format!("198.51.100.{i}"), 20)).sum();
    assert_eq!(strangers, 300);
    assert!(site.is_free("alice", HOME));
    assert_eq!(site.wrong("alice", HOME, 30), 20, "but it has its own tries alone");
    assert!(!site.is_free("alice", "203.0.113.9"), "who comes from somewhere new waits");
    assert!(site.is_free("bob", "203.0.113.9"));
}

#[test]
fn two_hundred_users_behind_one_address_are_all_let_in_whoever_is_guessed_at() {
    let mut site = site();
    let users: Vec<String> = (0..200).map(|i| format!("user{i}")).collect();
    for user in &users {
        site.accept(user, HOME);
    }
    site.wrong("user7", HOME, 30);
    let free: Vec<bool> = users.iter().map(|user| site.is_free(user, HOME)).collect();
    assert_eq!(free.iter().filter(|free| **free).count(), 199);
    assert!(!free[7]);
}

#[test]
fn the_address_in_the_users_file_is_familiar_from_the_start() {
    let mut site = site();
    let home: IpAddr = HOME.parse().unwrap();
    for (days, is_familiar) in [(1, true), (29, true), (31, false)] {
        let user = format!("user{days}");
        let before = [(home, NOW - days * 86_400)];
        let client = Client { before: &before, ..client(&user, HOME, NOW) };
        let reserved = reserve(&mut site.bytes, &client, site.throttle, b"x").unwrap();
        assert_eq!(reserved, Reserved::Taken { is_familiar }, "{days}");
    }
}

#[test]
fn without_an_address_a_user_has_one_budget() {
    let mut site = site();
    assert_eq!(site.wrong("alice", "", 30), 20);
    assert_eq!(site.wrong("bob", "", 30), 20);
    assert!(site.is_free("alice", HOME));
}

#[test]
fn wrong_digest_responses_of_strangers_are_counted_apart_from_others() {
    let mut site = site();
    site.accept("alice", HOME);
    let failures = |site: &mut Site, address: &str, add: u32| {
        let client = client("alice", address, site.now);
        let mut seen = 0;
        let mut change = |failures: &mut Failures| {
            *failures = Failures { number: failures.number + add, last: NOW };
            seen = failures.number;
            true
        };
        let outcome = (add > 0).then_some(TryOutcome::Wrong);
        assert_eq!(digest(&mut site.bytes, &client, None, outcome, &mut change).unwrap(), None);
        seen
    };
    assert_eq!(failures(&mut site, "198.51.100.1", 1), 1);
    assert_eq!(failures(&mut site, "198.51.100.2", 1), 2);
    assert_eq!(failures(&mut site, HOME, 0), 0);
    assert_eq!(failures(&mut site, HOME, 1), 1);
    assert_eq!(failures(&mut site, "198.51.100.3", 0), 2);
    // A million addresses may push out one another, not what is known of a user.
    for i in 0..100_000u32 {
        let address = std::net::Ipv4Addr::from(0x0a00_0000 + i).to_string();
        site.reserve("?nobody", &address, "x");
    }
    assert_eq!(failures(&mut site, "198.51.100.4", 0), 2);
}

#[test]
fn a_clock_that_was_ahead_makes_nobody_wait_for_that_day() {
    let mut site = site();
    site.now += 10 * 86_400;
    site.wrong("alice", HOME, 20);
    site.now = NOW;
    assert_eq!(site.reserve("alice", HOME, "right").unwrap().rest, 600);
    site.now += 600;
    site.accept("alice", HOME);
}

#[test]
fn who_is_forgiven_has_all_tries_again_and_stays_familiar() {
    let mut site = site();
    let home: IpAddr = HOME.parse().unwrap();
    let before = [(home, NOW - 60)];
    assert_eq!(forgive(&mut site.bytes, b"alice", &before, NOW).unwrap(), 0);
    let reserved =
        reserve(&mut site.bytes, &client("alice", HOME, NOW + 1), site.throttle, b"x").unwrap();
    assert_eq!(reserved, Reserved::Taken { is_familiar: true });
    site.now += 1;
    site.wrong("alice", HOME, 30);
    assert!(!site.is_free("alice", HOME));
    forgive(&mut site.bytes, b"alice", &before, site.now).unwrap();
    assert!(site.is_free("alice", HOME));
}
