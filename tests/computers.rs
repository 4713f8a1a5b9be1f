//! What a gate promises about trusted computers: their cookies, what becomes of them, and what is
//! kept.

#[path = "second_store/memory.rs"]
mod memory;
#[path = "common/scene.rs"]
mod scene;

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicI64, Ordering};

use data_encoding::BASE64URL_NOPAD;
use jiff::tz::TimeZone;
use otpgate::UnixTime;
use otpgate::decide::{LoginResult, Verdict};
use otpgate::gate::{
    Answer, BrowserLogin, CookiePlace, Gate, KnownComputer, Login, SetComputer, SetCookie,
};
use otpgate::otp::{self, Digits};
use otpgate::policy::{CookiePolicy, Policy, Server, Settings};
use otpgate::store::{Reach, Store};
use otpgate::token::{Address, Always, Computer, SessionKind, StoredToken, Ways};
use otpgate::users::record;

use memory::{Content, MemoryStore};
use scene::{KEY, Lines, NoPins};

use LoginResult::*;

const BEGIN: UnixTime = 1_700_000_000;
const DAY: i64 = 86_400;
const REACHES: [Reach; 2] = [Reach::OneUser, Reach::AllUsers];
const PLACE: CookiePlace<'static> =
    CookiePlace { host: b"example.org", realm: b"area", pins: b"", is_insecure: false };
const COPIED: &str = "a computer isn't trusted any more: a cookie of it came that was replaced before, as if somebody had a copy, user \"alice\"";

thread_local! {
    static NOW: AtomicI64 = const { AtomicI64::new(BEGIN) };
}

fn now() -> UnixTime {
    NOW.with(|now| now.load(Ordering::Relaxed))
}

fn wait(seconds: i64) {
    NOW.with(|now| now.fetch_add(seconds, Ordering::Relaxed));
}

fn policy() -> Policy {
    Policy {
        cookie: Some(CookiePolicy { sessions: 4, max_age: None }),
        max_linger: Some(3600),
        throttle: None,
        trusted_computer: NonZeroU32::new(30),
        ..Settings::default().policy(Server::Nginx)
    }
}

fn line(text: &str) -> (Vec<u8>, StoredToken) {
    let record = record::parse(text.replace("KEY", KEY).as_bytes(), &TimeZone::UTC).expect(text);
    let user = text.split(' ').nth(1).expect("a user").as_bytes().to_vec();
    (user, StoredToken { token: record.token, state: record.state })
}

fn store(reach: Reach, lines: &[&str]) -> MemoryStore {
    store_with(reach, lines, Ways::default())
}

/// With what there is about alice besides.
fn store_with(reach: Reach, lines: &[&str], ways: Ways) -> MemoryStore {
    let mut content = Content::default();
    for (user, line) in lines.iter().map(|text| line(text)) {
        content.add(&user, line);
    }
    content.set_ways(b"alice", ways);
    let store = MemoryStore::new(reach);
    store.replace(Ok(content));
    store
}

fn gate<S: Store>(store: S) -> Gate<S> {
    Gate::new(store, now).expect("random bytes")
}

fn code(position: u64) -> String {
    let code = otp::hotp(otp::Hash::Sha1, b"12345678901234567890", position, Digits::SIX);
    String::from_utf8(code.as_bytes().to_vec()).expect("digits")
}

fn kept(store: &impl Store) -> Vec<Computer> {
    store.find(b"alice").expect("a user").entry.ways.computers.clone()
}

/// Somebody at the page to log in, with the cookie of a computer or without.
struct Browser<'a> {
    policy: Policy,
    place: CookiePlace<'a>,
    computer: Option<String>,
}

fn browser() -> Browser<'static> {
    Browser { policy: policy(), place: PLACE, computer: None }
}

struct Done {
    answer: Answer,
    lines: Vec<String>,
}

impl Done {
    fn word(&self) -> LoginResult {
        self.answer.word
    }
}

impl Browser<'_> {
    fn known<S: Store>(&self, gate: &Gate<S>, value: &str) -> Option<KnownComputer> {
        let header = format!("a=b; {}={value}", gate.computer_cookie_name(&self.place));
        gate.known_computer(&self.policy, &self.place, header.as_bytes()).expect("a secret")
    }

    /// What the answer says of the cookie isn't taken over: it may be lost.
    fn send<S: Store>(&self, gate: &Gate<S>, user: &str, password: &str, trusts: bool) -> Done {
        let computer = self.computer.as_ref().and_then(|value| self.known(gate, value));
        let (place, computer) = (self.place, computer.as_ref());
        let browser = BrowserLogin { place, known: None, is_page: true, computer, trusts };
        let address = Address::of_client("192.0.2.7".parse::<IpAddr>().ok());
        let login = Login { user: user.as_bytes(), password: password.as_bytes(), address };
        let log = Lines::default();
        let answer =
            gate.basic_of_browser(&self.policy, &login, Some(&browser), &NoPins, None, &log);
        Done { answer, lines: log.texts() }
    }

    fn take(&mut self, done: &Done) {
        match done.answer.computer.as_deref() {
            Some(SetComputer::Trusted { value, .. }) => self.computer = Some(value.to_string()),
            Some(SetComputer::End) => self.computer = None,
            None => {}
        }
    }

    /// With a fresh code and the box ticked.
    #[track_caller]
    fn trust<S: Store>(&mut self, gate: &Gate<S>, position: u64) {
        let done = self.send(gate, "alice", &format!("4711{}", code(position)), true);
        assert_eq!(done.word(), GrantedFresh, "{:?}", done.lines);
        self.take(&done);
        assert!(self.computer.is_some());
    }

    /// With name and PIN.
    fn come<S: Store>(&mut self, gate: &Gate<S>) -> LoginResult {
        let done = self.send(gate, "alice", "4711", false);
        self.take(&done);
        done.word()
    }
}

#[test]
fn after_a_code_the_pin_is_enough_until_the_days_are_over() {
    for reach in REACHES {
        let store = store(reach, &["HOTP alice 4711 KEY"]);
        let gate = gate(store.clone());
        let began = now();
        let mut it = browser();
        // Not asked for.
        let done = it.send(&gate, "alice", &format!("4711{}", code(0)), false);
        assert_eq!((done.word(), &done.answer.computer), (GrantedFresh, &None));
        it.trust(&gate, 1);
        for day in 1..30 {
            wait(DAY);
            let done = it.send(&gate, "alice", "4711", false);
            assert_eq!(done.word(), GrantedComputer, "day {day}");
            assert_eq!(
                done.lines,
                ["granted-computer: the PIN alone, on a trusted computer, user \"alice\""]
            );
            let Some(SetComputer::Trusted { seconds, .. }) = done.answer.computer.as_deref() else {
                panic!("another cookie")
            };
            assert_eq!(i64::from(*seconds), 30 * DAY - day * DAY);
            assert!(matches!(done.answer.cookie, Some(SetCookie::Session { .. })));
            it.take(&done);
        }
        let sessions = &store.find(b"alice").unwrap().entry.ways.sessions;
        assert!(sessions.iter().all(|session| session.kind == SessionKind::Computer));
        let [computer] = kept(&store)[..] else { panic!("one computer") };
        assert_eq!((computer.first, computer.generation), (began, 29));
        wait(DAY);
        assert_eq!(it.come(&gate), DeniedCode);
    }
}

#[test]
fn wherever_a_computer_is_not_to_be_trusted_it_is_not() {
    type Change = fn(&mut Browser<'static>);
    let rows: &[(&str, &str, Change)] = &[
        ("no PIN", "HOTP alice - KEY", |_| {}),
        ("not allowed", "HOTP alice 4711 KEY", |it| it.policy.trusted_computer = None),
        ("no cookies", "HOTP alice 4711 KEY", |it| it.policy.cookie = None),
    ];
    for (name, line, change) in rows {
        let store = store(Reach::AllUsers, &[line]);
        let (gate, mut it) = (gate(store.clone()), browser());
        change(&mut it);
        let pin = if line.contains('-') { "" } else { "4711" };
        let done = it.send(&gate, "alice", &format!("{pin}{}", code(0)), true);
        assert_eq!((done.word(), done.answer.computer), (GrantedFresh, None), "{name}");
        assert_eq!(kept(&store), [], "{name}");
    }
    // Whoever always needs a code, and whoever isn't let in.
    let always = Always { pin: true, ..Always::default() };
    let ways = Ways { always, ..Ways::default() };
    let store = store_with(Reach::AllUsers, &["HOTP alice 4711 KEY"], ways);
    let done = browser().send(&gate(store.clone()), "alice", &format!("4711{}", code(0)), true);
    assert_eq!((done.word(), done.answer.computer), (GrantedFresh, None));
    assert_eq!(kept(&store), []);
}

#[test]
fn a_lost_answer_leaves_the_cookie_before_good_until_the_new_one_is_seen() {
    for reach in REACHES {
        let store = store(reach, &["HOTP alice 4711 KEY"]);
        let (gate, mut it) = (gate(store.clone()), browser());
        it.trust(&gate, 0);
        wait(3600);
        let first = it.computer.clone();
        // Several that are sent at once get one cookie.
        let values: Vec<_> = (0..3)
            .map(|_| {
                let done = it.send(&gate, "alice", "4711", false);
                assert_eq!(done.word(), GrantedComputer);
                done.answer.computer
            })
            .collect();
        assert!(values.iter().all(|value| *value == values[0]));
        // None of them arrives.
        for _ in 0..3 {
            wait(3600);
            let done = it.send(&gate, "alice", "4711", false);
            assert_eq!(done.word(), GrantedComputer);
            assert!(!values.contains(&done.answer.computer), "a new one each time");
        }
        wait(3600);
        assert_eq!(it.come(&gate), GrantedComputer);
        assert_ne!(it.computer, first);
        wait(1);
        assert_eq!(it.come(&gate), GrantedComputer, "the new one is seen");
        // Now the one of the beginning is a copy.
        let mut copy = Browser { computer: first, ..browser() };
        let done = copy.send(&gate, "alice", "4711", false);
        assert_eq!(done.word(), DeniedCode);
        assert!(done.lines.iter().any(|line| line == COPIED), "{:?}", done.lines);
        assert_eq!(done.answer.computer.as_deref(), Some(&SetComputer::End));
        copy.take(&done);
        assert_eq!(kept(&store), []);
        assert_eq!(it.come(&gate), DeniedCode, "the whole family has ended");
    }
}

#[test]
fn a_copied_cookie_ends_the_family_and_its_sessions_whoever_comes_first() {
    for is_owner_first in [true, false] {
        for password in ["4711", "wrong", "4711000000", ""] {
            let store = store(Reach::AllUsers, &["HOTP alice 4711 KEY"]);
            let (gate, mut owner) = (gate(store.clone()), browser());
            owner.trust(&gate, 0);
            let mut thief = Browser { computer: owner.computer.clone(), ..browser() };
            wait(3600);
            let (first, second) = match is_owner_first {
                true => (&mut owner, &mut thief),
                false => (&mut thief, &mut owner),
            };
            assert_eq!(first.come(&gate), GrantedComputer);
            wait(3600);
            // With the one before: as if an answer was lost. Then there are two new ones.
            assert_eq!(second.come(&gate), GrantedComputer);
            wait(3600);
            let done = first.send(&gate, "alice", password, false);
            assert_ne!(done.answer.verdict, Verdict::Granted, "{password}");
            assert_eq!(done.lines.iter().filter(|line| *line == COPIED).count(), 1);
            let found = store.find(b"alice").unwrap();
            assert_eq!(found.entry.ways.computers, []);
            let kinds: Vec<_> = found.entry.ways.sessions.iter().map(|it| it.kind).collect();
            assert_eq!(kinds, [SessionKind::Code], "what began there has ended");
            assert_eq!(second.come(&gate), DeniedCode);
            // With a code, everything is as it was.
            owner.trust(&gate, 1);
            assert_eq!(owner.come(&gate), GrantedComputer);
        }
    }
}

#[test]
fn a_computer_that_is_trusted_again_takes_the_place_of_what_it_was() {
    let store = store(Reach::AllUsers, &["HOTP alice 4711 KEY"]);
    let (gate, mut it) = (gate(store.clone()), browser());
    it.trust(&gate, 0);
    let before = it.computer.clone();
    wait(DAY);
    it.trust(&gate, 1);
    let [computer] = kept(&store)[..] else { panic!("one computer") };
    assert_eq!((computer.first, computer.generation), (now(), 0));
    let mut before = Browser { computer: before, ..browser() };
    assert_eq!(before.come(&gate), DeniedCode);
    assert_eq!(before.computer, None, "it is told to forget it");
    assert_eq!(it.come(&gate), GrantedComputer, "nobody has a copy of this one");
    // Four at a time, and the one that was trusted first makes way.
    let others: Vec<Browser<'_>> = (2..6)
        .map(|position| {
            let mut other = browser();
            wait(1);
            other.trust(&gate, position);
            other
        })
        .collect();
    assert_eq!(kept(&store).len(), 4);
    assert_eq!(it.come(&gate), DeniedCode);
    for mut other in others {
        assert_eq!(other.come(&gate), GrantedComputer);
    }
}

#[test]
fn the_same_code_at_once_gets_the_same_cookie_and_keeps_one_computer() {
    let store = store(Reach::AllUsers, &["HOTP alice 4711 KEY"]);
    let (gate, mut it) = (gate(store.clone()), browser());
    it.trust(&gate, 0);
    let again = browser().send(&gate, "alice", &format!("4711{}", code(0)), true);
    assert_eq!(again.word(), GrantedReuse);
    let Some(SetComputer::Trusted { value, .. }) = again.answer.computer.as_deref() else {
        panic!("{:?}", again.answer)
    };
    assert_eq!(it.computer.as_deref(), Some(value.as_str()));
    assert_eq!(kept(&store).len(), 1);
    // Once it is in use, the code brings nobody another one.
    assert_eq!(it.come(&gate), GrantedComputer);
    let again = browser().send(&gate, "alice", &format!("4711{}", code(0)), true);
    assert_eq!((again.word(), again.answer.computer), (GrantedReuse, None));
}

#[test]
fn a_cookie_that_was_not_made_here_for_this_place_and_user_is_worth_nothing() {
    let store = store(Reach::AllUsers, &["HOTP alice 4711 KEY", "HOTP bob 4711 KEY"]);
    let (gate, mut it) = (gate(store.clone()), browser());
    it.trust(&gate, 0);
    wait(3600);
    let first = it.computer.clone().unwrap();
    assert_eq!(it.come(&gate), GrantedComputer);
    let cookie = it.computer.clone().unwrap();
    let fields: Vec<&str> = cookie.split('.').collect();
    let [version, user, id, place, number, mac] = fields[..] else { panic!("{}", fields.len()) };
    let with = |at: usize, field: &str| {
        let mut fields = fields.clone();
        fields[at] = field;
        fields.join(".")
    };
    let flipped = |at: usize| {
        let mut bytes = BASE64URL_NOPAD.decode(fields[at].as_bytes()).unwrap();
        bytes[0] ^= 1;
        with(at, &BASE64URL_NOPAD.encode(&bytes))
    };
    let encoded = |bytes: &[u8]| BASE64URL_NOPAD.encode(bytes);
    let its = |value: &str, at: usize| value.split('.').nth(at).unwrap().to_owned();
    // A session's, which other keys are for.
    let session = {
        let done = browser().send(&gate, "alice", &format!("4711{}", code(1)), false);
        let Some(SetCookie::Session { value }) = &done.answer.cookie else { panic!("a session") };
        value.to_string()
    };
    let forged = [
        String::new(),
        ".....".to_owned(),
        with(0, "2"),
        with(0, ""),
        flipped(1),
        flipped(2),
        flipped(3),
        flipped(4),
        flipped(5),
        with(1, &encoded(b"bob")),
        with(1, ""),
        with(2, place),
        with(3, id),
        with(4, &encoded(&2u32.to_be_bytes())),
        with(4, &its(&first, 4)),
        with(4, ""),
        with(5, &its(&first, 5)),
        with(5, ""),
        with(5, &mac[..42]),
        with(5, &encoded(&[0; 32])),
        with(5, &format!("{mac}AA")),
        format!("{cookie}."),
        format!("{cookie}.x"),
        format!("{version}{cookie}"),
        cookie[1..].to_owned(),
        cookie[..cookie.len() - 1].to_owned(),
        cookie.to_ascii_uppercase(),
        format!("{version}.{user}.{id}.{place}.{mac}"),
        format!("{version}.{user}.{id}.{place}.{number}.{number}.{mac}"),
        format!("{version}.{user}.{id}.{place}.{number}"),
        session.clone(),
    ];
    for (form, forged) in forged.iter().enumerate() {
        assert!(it.known(&gate, forged).is_none(), "form {form} was taken");
    }
    assert!(it.known(&gate, &cookie).is_some_and(|known| known.user() == b"alice"));
    // Nor is it a session's.
    let header = format!("{}={cookie}", gate.cookie_name(&PLACE));
    let address = Address::of_client(None);
    let known = gate.known_session(&policy(), &PLACE, header.as_bytes(), &address).unwrap();
    assert!(known.is_none());

    type Change = fn(&mut Browser<'static>);
    let elsewhere: &[(&str, Change)] = &[
        ("another host", |it| it.place.host = b"example.com"),
        ("another port", |it| it.place.host = b"example.org:8443"),
        ("another PIN source", |it| it.place.pins = b"other"),
        ("other settings", |it| it.policy.max_linger = Some(60)),
    ];
    for (name, change) in elsewhere {
        let mut other = Browser { computer: Some(cookie.clone()), ..browser() };
        change(&mut other);
        assert_eq!(other.come(&gate), DeniedCode, "{name}");
        assert_eq!(kept(&store).len(), 1, "{name}: it stays what it was where it is good");
    }
    // Another realm has a cookie of another name; under that, it is none of its place.
    let realm = CookiePlace { realm: b"other", ..PLACE };
    assert_ne!(gate.computer_cookie_name(&realm), gate.computer_cookie_name(&PLACE));
    let mut other = Browser { computer: Some(cookie.clone()), place: realm, ..browser() };
    assert_eq!(other.come(&gate), DeniedCode);
    // Another user's name, with the same PIN.
    let other = Browser { computer: Some(cookie.clone()), ..browser() };
    assert_eq!(other.send(&gate, "bob", "4711", false).word(), DeniedCode);
    // Another users file with the same lines: it has a secret of its own.
    let ways = store.find(b"alice").unwrap().entry.ways.clone();
    let gate_there = self::gate(store_with(Reach::AllUsers, &["HOTP alice 4711 KEY"], ways));
    assert!(it.known(&gate_there, &cookie).is_none());
    assert_eq!(it.come(&gate), GrantedComputer);
}

#[test]
fn wrong_pins_are_counted_as_in_a_trusted_network_and_a_code_opens_it_again() {
    let store = store(Reach::AllUsers, &["HOTP alice 4711 KEY"]);
    let (gate, mut it) = (gate(store.clone()), browser());
    it.policy.max_failures = 3;
    it.trust(&gate, 0);
    for pin in ["1", "12", "123"] {
        let done = it.send(&gate, "alice", pin, false);
        assert_eq!((done.word(), &done.answer.computer), (DeniedPin, &None), "{pin}");
    }
    let done = it.send(&gate, "alice", "4711", false);
    assert_ne!(done.answer.verdict, Verdict::Granted);
    assert!(store.find(b"alice").unwrap().entry.ways.always.until_code);
    let before = kept(&store);
    let done = it.send(&gate, "alice", &format!("4711{}", code(1)), false);
    assert_eq!(done.word(), GrantedFresh);
    assert_eq!(kept(&store), before, "it is as trusted as it was");
    assert_eq!(it.come(&gate), GrantedComputer);
    // All of them are there again.
    for pin in ["1", "12"] {
        assert_eq!(it.send(&gate, "alice", pin, false).word(), DeniedPin);
    }
    assert_eq!(it.come(&gate), GrantedComputer);
}
