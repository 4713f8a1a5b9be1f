//! What a gate promises about sessions, on a store that has steps run again all the time.

#[path = "second_store/memory.rs"]
mod memory;
#[path = "common/scene.rs"]
mod scene;

use std::io;
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Barrier};

use data_encoding::BASE64URL_NOPAD;
use jiff::tz::TimeZone;
use otpgate::UnixTime;
use otpgate::decide::{LoginResult, Reason, Verdict};
use otpgate::gate::{
    Answer, BrowserLogin, Cause, CookiePlace, Gate, KnownSession, Login, RequestMemory, SetCookie,
};
use otpgate::otp::{self, Digits};
use otpgate::policy::{CookiePolicy, Forget, PinAlone, Policy, Server, Settings, Throttle};
use otpgate::store::{
    CookieSecret, Found, LoopTurn, Reach, Store, StoreError, Transaction, TriesError,
};
use otpgate::throttle::Bytes;
use otpgate::token::{Address, Session, SessionKind, StoredToken};
use otpgate::users::file::UsersFile;
use otpgate::users::record;
use otpgate::users::secret;

use memory::{Content, MemoryStore};
use scene::{KEY, Lines, NoPins};

use LoginResult::*;

const BEGIN: UnixTime = 1_700_000_000;
const HOME: &str = "192.0.2.7";
const CAFE: &str = "198.51.100.23";
const REACHES: [Reach; 2] = [Reach::OneUser, Reach::AllUsers];
const PLACE: CookiePlace<'static> =
    CookiePlace { host: b"example.org", realm: b"area", pins: b"", is_insecure: false };

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
        ..Settings::default().policy(Server::Nginx)
    }
}

fn line(text: &str) -> (Vec<u8>, StoredToken) {
    let record = record::parse(text.replace("KEY", KEY).as_bytes(), &TimeZone::UTC).expect(text);
    let user = text.split(' ').nth(1).expect("a user").as_bytes().to_vec();
    (user, StoredToken { token: record.token, state: record.state })
}

fn store(reach: Reach, lines: &[&str]) -> MemoryStore {
    let mut content = Content::default();
    for (user, line) in lines.iter().map(|text| line(text)) {
        content.add(&user, line);
    }
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

fn address(text: &str) -> Address {
    Address::of_client(text.parse::<IpAddr>().ok())
}

fn value(answer: &Answer) -> String {
    match &answer.cookie {
        Some(SetCookie::Session { value }) => value.to_string(),
        other => panic!("{answer:?}: {other:?}"),
    }
}

/// Of a browser without any cookie.
fn of(place: CookiePlace<'_>) -> BrowserLogin<'_> {
    BrowserLogin { place, known: None, is_page: false, computer: None, trusts: false }
}

fn reason(answer: &Answer) -> Option<Reason> {
    match answer.cause {
        Some(Cause::Rule(reason)) => Some(reason),
        _ => None,
    }
}

/// Somebody with a browser, somewhere.
#[derive(Clone, Copy)]
struct Client<'a> {
    policy: Policy,
    place: CookiePlace<'a>,
    address: &'a str,
    is_page: bool,
}

fn client() -> Client<'static> {
    Client { policy: policy(), place: PLACE, address: HOME, is_page: false }
}

impl Client<'_> {
    fn known<S: Store>(&self, gate: &Gate<S>, cookie: &str) -> Option<KnownSession> {
        let header = format!("a=b; {}={cookie}", gate.cookie_name(&self.place));
        gate.known_session(&self.policy, &self.place, header.as_bytes(), &address(self.address))
            .expect("a secret")
    }

    /// By name and password, with the cookie that the browser has, if it has one.
    fn login<S: Store>(
        &self,
        gate: &Gate<S>,
        (user, password): (&str, &str),
        cookie: Option<&str>,
    ) -> (Answer, Vec<String>) {
        let known = cookie.and_then(|cookie| self.known(gate, cookie));
        let browser =
            BrowserLogin { known: known.as_ref(), is_page: self.is_page, ..of(self.place) };
        let login = Login {
            user: user.as_bytes(),
            password: password.as_bytes(),
            address: address(self.address),
        };
        let log = Lines::default();
        let answer =
            gate.basic_of_browser(&self.policy, &login, Some(&browser), &NoPins, None, &log);
        (answer, log.texts())
    }

    fn fresh<S: Store>(&self, gate: &Gate<S>, position: u64) -> String {
        let password = format!("4711{}", code(position));
        let (answer, lines) = self.login(gate, ("alice", &password), None);
        assert_eq!(answer.word, GrantedFresh, "{lines:?}");
        value(&answer)
    }

    /// By the cookie alone. `None`: it is none of ours.
    fn visit<S: Store>(&self, gate: &Gate<S>, cookie: &str) -> Option<(LoginResult, Reason)> {
        let known = self.known(gate, cookie)?;
        let log = Lines::default();
        let answer = gate.by_session(&self.policy, &known, &address(self.address), None, &log);
        let lines = log.texts();
        assert_eq!(lines.len(), 1, "{lines:?}");
        assert!(lines[0].starts_with(answer.word.as_str()), "{lines:?}");
        Some((answer.word, reason(&answer).expect("by a rule")))
    }
}

const GOOD: Option<(LoginResult, Reason)> = Some((GrantedSession, Reason::Session));
const OVER: Option<(LoginResult, Reason)> = Some((DeniedSession, Reason::SessionOver));

fn sessions(store: &impl Store, user: &str) -> Vec<Session> {
    store.find(user.as_bytes()).expect("a user").entry.ways.sessions.clone()
}

fn at_once<R: Send>(count: usize, act: impl Fn(usize) -> R + Sync) -> Vec<R> {
    let barrier = Barrier::new(count);
    std::thread::scope(|threads| {
        let (act, barrier) = (&act, &barrier);
        let threads: Vec<_> = (0..count)
            .map(|number| {
                threads.spawn(move || {
                    barrier.wait();
                    act(number)
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().expect("no panic")).collect()
    })
}

#[test]
fn thirty_two_logins_with_one_code_make_one_session_and_one_cookie() {
    for reach in REACHES {
        let store = store(reach, &["HOTP alice 4711 KEY"]);
        let gates = [(); 4].map(|()| gate(store.clone()));
        for position in 0..10 {
            let password = format!("4711{}", code(position));
            let answers = at_once(32, |number| {
                client().login(&gates[number % 4], ("alice", &password), None).0
            });
            let count = |word| answers.iter().filter(|answer| answer.word == word).count();
            assert_eq!((count(GrantedFresh), count(GrantedReuse)), (1, 31), "{reach:?}");
            let first = value(&answers[0]);
            assert!(answers.iter().all(|answer| value(answer) == first));
            let kept = sessions(&store, "alice");
            assert_eq!(kept.len(), usize::min(position as usize + 1, 4));
            // Every process knows it.
            for gate in &gates {
                assert_eq!(client().visit(gate, &first), GOOD);
            }
            let elsewhere = Client { address: CAFE, ..client() };
            let (answer, _) = elsewhere.login(&gates[0], ("alice", &password), None);
            assert_eq!((answer.word, answer.cookie), (DeniedIp, None));
        }
    }
}

#[test]
fn a_code_come_again_without_its_cookie_is_refused_and_not_counted() {
    let store = store(Reach::AllUsers, &["HOTP alice 4711 KEY"]);
    let (gate, password) = (gate(store.clone()), format!("4711{}", code(0)));
    let cookie = client().fresh(&gate, 0);
    wait(5);
    let (answer, lines) = client().login(&gate, ("alice", &password), None);
    assert_eq!((answer.word, reason(&answer)), (DeniedExpired, Some(Reason::NoCookie)));
    assert_eq!(answer.cookie, None);
    let text = "denied-expired: the last accepted code: a code is good for one browser here, which has its cookie, user \"alice\"";
    assert_eq!(lines, [text]);
    assert_eq!(store.state(b"alice", 0).failures, 0);
    assert_eq!(client().visit(&gate, &cookie), GOOD);
    let at_once = gate.basic_now(
        &policy(),
        &Login { user: b"alice", password: password.as_bytes(), address: address(HOME) },
        &NoPins,
        None,
        None,
        &Lines::default(),
    );
    assert!(at_once.is_none_or(|answer| answer.verdict != Verdict::Granted));
}

#[test]
fn a_cookie_that_was_not_made_here_is_none() {
    let store = store(Reach::AllUsers, &["HOTP alice 4711 KEY", "HOTP bob 4711 KEY"]);
    let gate = gate(store);
    let cookie = client().fresh(&gate, 0);
    assert_eq!(client().visit(&gate, &cookie), GOOD);
    let fields: Vec<&str> = cookie.split('.').collect();
    let [version, user, id, place, its_address, mac] = fields[..] else {
        panic!("{}", fields.len())
    };
    let with = |number: usize, field: &str| {
        let mut fields = fields.clone();
        fields[number] = field;
        fields.join(".")
    };
    let (first, last) = (&cookie[..1], &cookie[cookie.len() - 1..]);
    let flipped = |number: usize| {
        let mut bytes = BASE64URL_NOPAD.decode(fields[number].as_bytes()).unwrap();
        bytes[0] ^= 1;
        with(number, &BASE64URL_NOPAD.encode(&bytes))
    };
    let encoded = |bytes: &[u8]| BASE64URL_NOPAD.encode(bytes);
    let forged = [
        String::new(),
        ".".to_owned(),
        ".....".to_owned(),
        "1.....".to_owned(),
        mac.to_owned(),
        format!(".{mac}"),
        with(0, "2"),
        with(0, ""),
        with(0, "01"),
        flipped(1),
        flipped(2),
        flipped(3),
        flipped(4),
        flipped(5),
        with(1, &encoded(b"bob")),
        with(1, ""),
        with(2, ""),
        with(2, place),
        with(3, ""),
        with(3, id),
        with(4, ""),
        with(5, ""),
        with(5, &mac[..42]),
        with(5, &mac[..40]),
        with(5, &encoded(&[0; 32])),
        with(5, &encoded(&BASE64URL_NOPAD.decode(mac.as_bytes()).unwrap()[..16])),
        with(5, &format!("{mac}=")),
        with(5, &format!("{mac}AA")),
        format!("{cookie}."),
        format!("{cookie}.x"),
        format!("{first}{cookie}"),
        format!("{cookie}{last}"),
        cookie[1..].to_owned(),
        cookie[..cookie.len() - 1].to_owned(),
        cookie.to_ascii_uppercase(),
        format!("{version}.{user}.{id}.{place}.{mac}"),
        format!("{version}.{user}.{id}.{place}.{its_address}.{its_address}.{mac}"),
        format!("\"{cookie}\""),
        cookie.replace('.', " "),
        format!("{version}.{user}.{id}.{place}.{its_address}"),
    ];
    for (number, forged) in forged.iter().enumerate() {
        assert!(*forged != cookie, "{number}");
        assert!(client().known(&gate, forged).is_none(), "form {number} was taken");
    }
    // Beside them, the right one is found.
    let name = gate.cookie_name(&PLACE);
    let header = format!("{name}={}; {name}={cookie}", forged[9]);
    let known = gate.known_session(&policy(), &PLACE, header.as_bytes(), &address(HOME));
    assert_eq!(known.unwrap().unwrap().user(), b"alice");
}

#[test]
fn a_cookie_is_good_in_its_place_and_for_its_users_file() {
    let store = store(Reach::AllUsers, &["HOTP alice 4711 KEY"]);
    let gate_here = gate(store.clone());
    let cookie = client().fresh(&gate_here, 0);
    let elsewhere = Some((DeniedSession, Reason::OtherPlace));
    type Row<'a> = (&'a str, Client<'a>, Option<(LoginResult, Reason)>);
    let rows: [Row<'_>; 9] = [
        ("here", client(), GOOD),
        (
            "the host in capitals",
            Client { place: CookiePlace { host: b"EXAMPLE.org", ..PLACE }, ..client() },
            GOOD,
        ),
        (
            "another host",
            Client { place: CookiePlace { host: b"example.net", ..PLACE }, ..client() },
            elsewhere,
        ),
        (
            "another port",
            Client { place: CookiePlace { host: b"example.org:81", ..PLACE }, ..client() },
            elsewhere,
        ),
        (
            "another realm",
            Client { place: CookiePlace { realm: b"other", ..PLACE }, ..client() },
            elsewhere,
        ),
        (
            "another PIN source",
            Client { place: CookiePlace { pins: b"file", ..PLACE }, ..client() },
            elsewhere,
        ),
        (
            "other settings",
            Client { policy: Policy { max_offset: 9, ..policy() }, ..client() },
            elsewhere,
        ),
        (
            "another number of sessions",
            Client {
                policy: Policy {
                    cookie: Some(CookiePolicy { sessions: 1, max_age: None }),
                    ..policy()
                },
                ..client()
            },
            GOOD,
        ),
        (
            "another address",
            Client { address: CAFE, ..client() },
            Some((DeniedIp, Reason::SessionAddressChanged)),
        ),
    ];
    for (name, client, expected) in rows {
        assert_eq!(client.visit(&gate_here, &cookie), expected, "{name}");
    }
    // A store with the same name and another secret.
    let other = gate(self::store(Reach::AllUsers, &["HOTP alice 4711 KEY"]));
    assert!(client().known(&other, &cookie).is_none());
    // Another realm has a cookie of another name, and one without TLS has one that needs none.
    let name = gate_here.cookie_name(&PLACE);
    assert!(name.starts_with("__Host-otpgate-") && name.len() == "__Host-otpgate-".len() + 8);
    assert_ne!(name, gate_here.cookie_name(&CookiePlace { realm: b"other", ..PLACE }));
    let plain = gate_here.cookie_name(&CookiePlace { is_insecure: true, ..PLACE });
    assert_eq!(format!("__Host-{plain}"), name);
}

#[test]
fn an_address_counts_only_where_it_is_asked_for() {
    let gate = gate(store(Reach::AllUsers, &["HOTP alice 4711 KEY"]));
    let lax = Client { policy: Policy { logout_on_ip_change: false, ..policy() }, ..client() };
    let cookie = lax.fresh(&gate, 0);
    assert_eq!(Client { address: CAFE, ..lax }.visit(&gate, &cookie), GOOD);
    assert_eq!(Client { address: "", ..lax }.visit(&gate, &cookie), GOOD);
    // Given to somebody without an address, it is of no address.
    let cookie = Client { address: "", ..client() }.fresh(&gate, 1);
    for (address, reason) in [(HOME, Reason::SessionAddressChanged), ("", Reason::SessionNoAddress)]
    {
        let visited = Client { address, ..client() }.visit(&gate, &cookie);
        assert_eq!(visited, Some((DeniedIp, reason)), "{address}");
    }
}

#[test]
fn an_ended_session_is_over_everywhere_and_the_others_stay() {
    for reach in REACHES {
        let store = store(reach, &["HOTP alice 4711 KEY"]);
        let (here, there) = (gate(store.clone()), gate(store.clone()));
        let cookies = [0, 1].map(|position| client().fresh(&here, position));
        let log = Lines::default();
        let known = client().known(&here, &cookies[0]).unwrap();
        let answer = here.end_session(&known, &log);
        assert_eq!((answer.word, answer.cookie), (Forgotten, Some(SetCookie::End)));
        assert_eq!(log.texts(), ["forgotten: the session was ended as requested, user \"alice\""]);
        for gate in [&here, &there] {
            assert_eq!(client().visit(gate, &cookies[0]), OVER);
            assert_eq!(client().visit(gate, &cookies[1]), GOOD);
        }
        let saved = store.compares().saved();
        let answer = here.end_session(&known, &Lines::default());
        assert_eq!(answer.cookie, Some(SetCookie::End), "the cookie goes all the same");
        assert_eq!(store.compares().saved(), saved);
    }
}

#[test]
fn the_session_that_began_first_makes_way_for_one_too_many() {
    let gate = gate(store(Reach::AllUsers, &["HOTP alice 4711 KEY"]));
    let two = Policy { cookie: Some(CookiePolicy { sessions: 2, max_age: None }), ..policy() };
    let client = Client { policy: two, ..client() };
    let mut cookies = Vec::new();
    for position in 0..3 {
        cookies.push(client.fresh(&gate, position));
        wait(10);
    }
    let visited: Vec<_> = cookies.iter().map(|cookie| client.visit(&gate, cookie)).collect();
    assert_eq!(visited, [OVER, GOOD, GOOD]);
}

#[test]
fn a_use_is_noted_every_sixteenth_of_the_idle_time_and_keeps_the_session() {
    let store = store(Reach::AllUsers, &["HOTP alice 4711 KEY"]);
    let gate = gate(store.clone());
    let idle = Policy { max_idle: Some(160), max_linger: None, ..policy() };
    let client = Client { policy: idle, ..client() };
    let cookie = client.fresh(&gate, 0);
    let before = store.compares().saved();
    for (seconds, saves) in [(9, 0), (1, 1), (9, 1), (150, 2), (159, 3)] {
        wait(seconds);
        assert_eq!(client.visit(&gate, &cookie), GOOD, "{seconds}");
        assert_eq!(store.compares().saved() - before, saves, "{seconds}");
    }
    let known = client.known(&gate, &cookie).unwrap();
    let now = || {
        let log = Lines::default();
        let answer = gate.by_session_now(&idle, &known, &address(HOME), None, None, &log);
        (answer.map(|answer| answer.word), log.texts().len())
    };
    assert_eq!(now(), (Some(GrantedSession), 1));
    wait(10);
    assert_eq!(now(), (None, 0), "what is to be saved is not decided at once");
    wait(150);
    assert_eq!(client.visit(&gate, &cookie), Some((DeniedSession, Reason::SessionExpired)));
}

#[test]
fn a_new_login_takes_the_place_of_its_users_session_in_that_browser() {
    let store = store(Reach::AllUsers, &["HOTP alice 4711 KEY", "HOTP bob 4711 KEY"]);
    let gate = gate(store.clone());
    let first = client().fresh(&gate, 0);
    let password = format!("4711{}", code(1));
    let (answer, _) = client().login(&gate, ("alice", &password), Some(&first));
    let second = value(&answer);
    assert_ne!(first, second);
    assert_eq!((client().visit(&gate, &first), client().visit(&gate, &second)), (OVER, GOOD));
    // Whoever borrows the browser ends nobody else's.
    let password = format!("4711{}", code(0));
    let (answer, _) = client().login(&gate, ("bob", &password), Some(&second));
    assert_eq!(answer.word, GrantedFresh);
    assert_eq!(client().visit(&gate, &second), GOOD);
    assert_eq!((sessions(&store, "alice").len(), sessions(&store, "bob").len()), (1, 1));
}

#[test]
fn a_code_alone_makes_a_new_session_in_the_place_of_the_old_one() {
    for reach in REACHES {
        let store = store(reach, &["HOTP alice 4711 KEY"]);
        let gate = gate(store.clone());
        let recent = CookiePolicy { sessions: 4, max_age: NonZeroU32::new(300) };
        let strict = Client { policy: Policy { cookie: Some(recent), ..policy() }, ..client() };
        let old = client().fresh(&gate, 0);
        wait(300);
        assert_eq!(client().visit(&gate, &old), GOOD);
        assert_eq!(strict.visit(&gate, &old), Some((DeniedSession, Reason::FreshCodeNeeded)));
        let step_up = |cookie: &str, code: &str| {
            let known = strict.known(&gate, cookie);
            let browser = BrowserLogin { known: known.as_ref(), is_page: true, ..of(PLACE) };
            let log = Lines::default();
            let answer =
                gate.step_up(&strict.policy, &browser, code.as_bytes(), &address(HOME), &log);
            (answer, log.texts())
        };
        let (wrong, lines) = step_up(&old, "000000");
        assert_eq!((wrong.word, wrong.cookie), (DeniedCode, None), "{lines:?}");
        assert_eq!(store.state(b"alice", 0).failures, 1);
        assert_eq!(strict.visit(&gate, &old), Some((DeniedSession, Reason::FreshCodeNeeded)));
        let (answer, lines) = step_up(&old, &code(1));
        assert_eq!(answer.word, GrantedFresh, "{lines:?}");
        assert_eq!(lines.len(), 1);
        let new = value(&answer);
        assert_eq!((strict.visit(&gate, &new), strict.visit(&gate, &old)), (GOOD, OVER));
        assert_eq!(sessions(&store, "alice").len(), 1);
        assert_eq!(store.state(b"alice", 0).failures, 0);
        // The old one is worth nothing any more.
        let (answer, _) = step_up(&old, &code(2));
        assert_eq!((answer.word, answer.cookie), (DeniedSession, None));
        for _ in 0..10 {
            step_up(&new, "000000");
        }
        let (answer, _) = step_up(&new, &code(2));
        assert_eq!(answer.word, DeniedLocked);
        assert_eq!(strict.visit(&gate, &new), Some((DeniedLocked, Reason::Locked)));
    }
}

#[test]
fn wrong_codes_alone_use_up_the_tries_of_section_6() {
    let gate = gate(store(Reach::AllUsers, &["HOTP alice 4711 KEY"]));
    let three = NonZeroU32::new(3).unwrap();
    let throttle = Some(Throttle { tries: three, seconds: NonZeroU32::new(600).unwrap() });
    let client = Client { policy: Policy { throttle, max_failures: 0, ..policy() }, ..client() };
    let cookie = client.fresh(&gate, 0);
    let known = client.known(&gate, &cookie);
    let browser = BrowserLogin { known: known.as_ref(), is_page: true, ..of(PLACE) };
    let words: Vec<LoginResult> = (0..4)
        .map(|number| {
            let code = format!("{number}{number}0000");
            let log = Lines::default();
            gate.step_up(&client.policy, &browser, code.as_bytes(), &address(HOME), &log).word
        })
        .collect();
    assert_eq!(words, [DeniedCode, DeniedCode, DeniedCode, DeniedThrottled]);
    assert_eq!(client.visit(&gate, &cookie), GOOD, "a cookie is no try");
}

#[test]
fn a_page_keeps_who_needs_no_code_and_basic_does_not() {
    for reach in REACHES {
        let store = store(reach, &["HOTP alice 4711 KEY"]);
        let gate = gate(store.clone());
        let trusted =
            Client { policy: Policy { pin_alone: PinAlone::Here, ..policy() }, ..client() };
        let (answer, _) = trusted.login(&gate, ("alice", "4711"), None);
        assert_eq!((answer.word, answer.cookie), (GrantedTrusted, None));
        assert_eq!(sessions(&store, "alice"), []);
        let page = Client { is_page: true, ..trusted };
        let (answer, lines) = page.login(&gate, ("alice", "4711"), None);
        assert_eq!(answer.word, GrantedTrusted);
        assert_eq!(lines.len(), 1, "{lines:?}");
        let cookie = value(&answer);
        let [session] = sessions(&store, "alice")[..] else { panic!("one") };
        assert_eq!(session.kind, SessionKind::PinAlone);
        assert_eq!(trusted.visit(&gate, &cookie), GOOD);
        assert_eq!(
            client().visit(&gate, &cookie),
            Some((DeniedSession, Reason::SessionNeedsCode)),
            "where a code is needed"
        );
        // Another one each time: they aren't of one code.
        assert_ne!(value(&page.login(&gate, ("alice", "4711"), None).0), cookie);
    }
}

#[test]
fn wrong_pins_that_close_it_leave_no_session() {
    let store = store(Reach::AllUsers, &["HOTP alice 4711 KEY"]);
    let gate = gate(store.clone());
    let policy = Policy { pin_alone: PinAlone::Here, max_failures: 2, ..policy() };
    let page = Client { policy, is_page: true, ..client() };
    for pin in ["1", "2"] {
        assert_eq!(page.login(&gate, ("alice", pin), None).0.word, DeniedPin);
    }
    let (answer, _) = page.login(&gate, ("alice", "4711"), None);
    assert_ne!(answer.verdict, Verdict::Granted);
    assert_eq!((answer.cookie, sessions(&store, "alice")), (None, Vec::new()));
}

#[test]
fn a_forget_request_wants_the_cookie_and_ends_its_session() {
    let store = store(Reach::AllUsers, &["HOTP alice 4711 KEY"]);
    let gate = gate(store.clone());
    let cookies = [0, 1].map(|position| client().fresh(&gate, position));
    let (answer, _) = client().login(&gate, ("alice", ""), None);
    assert_eq!((answer.word, answer.cookie), (DeniedCode, None));
    assert_eq!(sessions(&store, "alice").len(), 2);
    let (answer, _) = client().login(&gate, ("alice", ""), Some(&cookies[1]));
    assert_eq!((answer.word, answer.cookie), (Forgotten, Some(SetCookie::End)));
    assert_eq!(client().visit(&gate, &cookies[1]), OVER);
    assert_eq!(client().visit(&gate, &cookies[0]), GOOD);
    // The code has ended with it, for whoever would come at once.
    let password = format!("4711{}", code(1));
    assert_eq!(client().login(&gate, ("alice", &password), None).0.word, DeniedExpired);
    // By the word, all of them end, wherever that is.
    let word = Client { policy: Policy { forget: Forget::Word, ..policy() }, ..client() };
    let (answer, _) = word.login(&gate, ("alice", "4711logout"), None);
    assert_eq!((answer.word, answer.cookie), (Forgotten, None));
    assert_eq!(sessions(&store, "alice"), []);
}

#[test]
fn a_part_of_a_request_is_decided_by_its_own_place_and_logged_once() {
    let gate = gate(store(Reach::AllUsers, &["HOTP alice 4711 KEY"]));
    let cookie = client().fresh(&gate, 0);
    let mut judged = RequestMemory::default();
    let mut visit = |client: Client<'_>| {
        let known = client.known(&gate, &cookie).unwrap();
        let (log, address) = (Lines::default(), address(client.address));
        let answer = gate.by_session(&client.policy, &known, &address, Some(&mut judged), &log);
        (answer.word, log.texts().len())
    };
    assert_eq!(visit(client()), (GrantedSession, 1));
    assert_eq!(visit(client()), (GrantedSession, 0));
    let other = Client { place: CookiePlace { realm: b"other", ..PLACE }, ..client() };
    assert_eq!(visit(other), (DeniedSession, 1));
    assert_eq!(visit(client()), (GrantedSession, 0));
}

/// A store whose secret or whose steps fail.
struct Failing {
    store: MemoryStore,
    has_secret: Arc<AtomicBool>,
    is_writable: Arc<AtomicBool>,
}

impl Failing {
    fn error(&self, operation: &'static str) -> StoreError {
        StoreError::new(operation, "there".to_owned(), "it is the test's", "let it end")
    }
}

impl Store for Failing {
    fn name(&self) -> String {
        self.store.name()
    }

    fn find(&self, user: &[u8]) -> Result<Arc<Found>, StoreError> {
        self.store.find(user)
    }

    fn find_now(&self, user: &[u8], turn: LoopTurn) -> Option<Arc<Found>> {
        self.store.find_now(user, turn)
    }

    fn reach(&self) -> Reach {
        self.store.reach()
    }

    fn update(
        &self,
        step: &mut dyn FnMut(&mut dyn Transaction) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        match self.is_writable.load(Ordering::Relaxed) {
            true => self.store.update(step),
            false => Err(self.error("write")),
        }
    }

    fn tries(
        &self,
        work: &mut dyn FnMut(&mut dyn Bytes) -> io::Result<()>,
    ) -> Result<(), TriesError> {
        self.store.tries(work)
    }

    fn secret(&self) -> Result<Arc<CookieSecret>, StoreError> {
        match self.has_secret.load(Ordering::Relaxed) {
            true => self.store.secret(),
            false => Err(self.error("read")),
        }
    }

    fn secret_now(&self) -> Option<Arc<CookieSecret>> {
        self.secret().ok()
    }
}

#[test]
fn without_the_secret_no_code_is_spent_and_no_session_accepted() {
    for reach in REACHES {
        let store = store(reach, &["HOTP alice 4711 KEY"]);
        let (has_secret, is_writable) =
            (Arc::new(AtomicBool::new(true)), Arc::new(AtomicBool::new(true)));
        let failing = Failing {
            store: store.clone(),
            has_secret: has_secret.clone(),
            is_writable: is_writable.clone(),
        };
        let gate = gate(failing);
        let cookie = client().fresh(&gate, 0);
        has_secret.store(false, Ordering::Relaxed);
        let password = format!("4711{}", code(1));
        let (answer, lines) = client().login(&gate, ("alice", &password), None);
        assert_eq!((answer.verdict, answer.word, &answer.cookie), (Verdict::Error, Error, &None));
        let text = "error: cannot read there: it is the test's; let it end, user \"alice\"";
        assert_eq!(lines, [text]);
        assert_eq!(store.state(b"alice", 0).counter.as_written(), 1);
        let header = format!("{}={cookie}", gate.cookie_name(&PLACE));
        let known = gate.known_session(&policy(), &PLACE, header.as_bytes(), &address(HOME));
        assert!(known.is_err());
        // Who has no cookie of ours needs no secret to be told so.
        let known = gate.known_session(&policy(), &PLACE, b"a=b", &address(HOME));
        assert!(known.unwrap().is_none());
        // Where there are no cookies, it isn't needed.
        let plain = Client { policy: Policy { cookie: None, ..policy() }, ..client() };
        assert_eq!(plain.login(&gate, ("alice", &password), None).0.word, GrantedFresh);

        has_secret.store(true, Ordering::Relaxed);
        is_writable.store(false, Ordering::Relaxed);
        let password = format!("4711{}", code(2));
        let (answer, _) = client().login(&gate, ("alice", &password), None);
        assert_eq!((answer.word, answer.cookie), (Error, None));
        assert_eq!(sessions(&store, "alice").len(), 1);
        // What is only to be noted keeps nobody out.
        let idle = Client { policy: Policy { max_idle: Some(160), ..policy() }, ..client() };
        is_writable.store(true, Ordering::Relaxed);
        let cookie = idle.fresh(&gate, 2);
        is_writable.store(false, Ordering::Relaxed);
        wait(10);
        let (known, log) = (idle.known(&gate, &cookie).unwrap(), Lines::default());
        let answer = gate.by_session(&idle.policy, &known, &address(HOME), None, &log);
        assert_eq!((answer.word, log.texts().len()), (GrantedSession, 2));
        let answer = gate.end_session(&known, &Lines::default());
        assert_eq!((answer.word, answer.cookie), (Error, None), "what isn't saved isn't said");
    }
}

#[test]
fn a_cookie_that_was_just_recognised_ends_with_the_secret_it_was_made_with() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("users");
    std::fs::write(&path, format!("HOTP alice 4711 {KEY}\n")).expect("a file");
    let gate = gate(UsersFile::new(&path));
    let cookie = client().fresh(&gate, 0);
    assert_eq!(client().visit(&gate, &cookie), GOOD);
    assert_eq!(client().visit(&gate, &cookie), GOOD);
    let header = format!("{}={cookie}", gate.cookie_name(&PLACE));
    let at_once =
        || gate.known_session_now(&policy(), &PLACE, header.as_bytes(), &address(HOME)).flatten();
    assert!(at_once().is_some());
    // Another secret, and the session is in the file as before.
    let users = std::fs::read(&path).expect("the file");
    secret::renew(&path).expect("a new secret");
    std::fs::write(&path, users).expect("the file");
    // Nobody has looked at the file since.
    let known = at_once().expect("by the secret of before");
    let log = Lines::default();
    let answer = gate.by_session(&policy(), &known, &address(HOME), None, &log);
    assert_eq!((answer.word, reason(&answer)), (DeniedSession, Some(Reason::SessionOver)));
    // From now on it is none of ours, and says so only after a look at the file.
    assert!(at_once().is_none());
    assert_eq!(client().visit(&gate, &cookie), None);
    let next = client().fresh(&gate, 1);
    assert_eq!(client().visit(&gate, &next), GOOD);
}
