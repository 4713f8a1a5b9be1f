//! The rules of sessions, as tables.

use std::net::IpAddr;

use jiff::tz::TimeZone;
use otpgate::UnixTime;
use otpgate::decide::{
    self, Attempt, Decision, LoginBrowser, LoginResult, NextCookie, Outcome, PresentedComputer,
    PresentedSession, Proof, Reason, Verdict,
};
use otpgate::network::Network;
use otpgate::otp::{self, Digits};
use otpgate::policy::{Admission, CookiePolicy, Forget, PinAlone, Policy, Server, Settings};
use otpgate::token::{
    Address, Always, Computer, ComputerId, Entry, Fingerprint, Session, SessionId, SessionKind,
    State, StoredToken, TokenTag,
};
use otpgate::users::record;

use LoginResult::*;

const NOW: UnixTime = 1_700_000_000;
const HOME: &str = "192.0.2.7";
const CAFE: &str = "198.51.100.23";
/// The key of RFC 4226 appendix D.
const KEY: &str = "3132333435363738393031323334353637383930";
const OTHER_KEY: &str = "00112233445566778899aabbccddeeff00112233";

fn policy() -> Policy {
    Policy {
        cookie: Some(CookiePolicy { sessions: 4, max_age: None }),
        max_linger: Some(3600),
        throttle: None,
        ..Settings::default().policy(Server::Nginx)
    }
}

fn address(text: &str) -> Address {
    Address::of_client(text.parse::<IpAddr>().ok())
}

fn line(text: &str) -> StoredToken {
    let text = text.replace("KEY", KEY).replace("OTHER", OTHER_KEY);
    let record = record::parse(text.as_bytes(), &TimeZone::UTC).expect("a good line");
    StoredToken { token: record.token, state: State { intact: true, ..record.state } }
}

/// Of the key of nearly all lines here.
fn code(position: u64) -> String {
    let code = otp::hotp(otp::Hash::Sha1, b"12345678901234567890", position, Digits::SIX);
    String::from_utf8(code.as_bytes().to_vec()).expect("digits")
}

/// A presented session, good if nothing is changed of it.
struct Case {
    policy: Policy,
    entry: Entry,
    presented: PresentedSession,
    address: Address,
    now: UnixTime,
}

const ITS: SessionId = SessionId([1; 16]);
const LAPTOP: ComputerId = ComputerId([5; 12]);

fn case() -> Case {
    let lines = vec![line("HOTP alice 4711 KEY"), line("HOTP alice 0815 OTHER")];
    let token = TokenTag::of(&lines[0].token.fingerprint);
    let began = NOW - 60;
    let session = Session { id: ITS, token, kind: SessionKind::Code, first: began, last: began };
    let mut entry = Entry { lines, ..Entry::default() };
    entry.ways.sessions = vec![Session { id: SessionId([9; 16]), ..session }, session];
    Case {
        policy: policy(),
        entry,
        presented: PresentedSession { id: ITS, is_of_place: true, is_from_its_address: true },
        address: address(HOME),
        now: NOW,
    }
}

impl Case {
    fn session(&mut self) -> &mut Session {
        &mut self.entry.ways.sessions[1]
    }

    fn trusted(&mut self) {
        self.session().kind = SessionKind::PinAlone;
        self.policy.pin_alone = PinAlone::Here;
    }

    /// The session began on a trusted computer.
    fn on_a_computer(&mut self) {
        self.session().kind = SessionKind::Computer;
        self.policy.trusted_computer = std::num::NonZeroU32::new(30);
        let token = self.session().token;
        self.entry.ways.computers = vec![Computer {
            id: LAPTOP,
            token,
            first: NOW - 86_400,
            last: NOW - 3600,
            days: 30,
            generation: 7,
            unseen: 1,
        }];
    }

    fn max_age(&mut self, seconds: u32) {
        let max_age = std::num::NonZeroU32::new(seconds);
        self.policy.cookie = Some(CookiePolicy { sessions: 4, max_age });
    }

    fn locked(&mut self, line: usize) {
        let state = &mut self.entry.lines[line].state;
        (state.failures, state.last_failure) = (10, Some(NOW - 1));
    }
}

type Change = fn(&mut Case);

#[test]
fn a_session_is_decided_by_these_rules_in_this_order() {
    let rows: &[(&str, Change, (LoginResult, Reason))] = &[
        ("as it is", |_| {}, (GrantedSession, Reason::Session)),
        // The user.
        ("not listed", |it| it.entry = Entry::default(), (DeniedSession, Reason::SessionOver)),
        (
            "a twin",
            |it| it.entry = Entry { is_twin: true, ..Entry::default() },
            (DeniedSession, Reason::SessionOver),
        ),
        (
            "all off",
            |it| it.entry.lines.iter_mut().for_each(|line| line.token.disabled = true),
            (DeniedLocked, Reason::AllTokensOff),
        ),
        (
            "all off but unreadable ones",
            |it| {
                it.entry.lines.iter_mut().for_each(|line| line.token.disabled = true);
                it.entry.unreadable = true;
            },
            (Error, Reason::Unreadable),
        ),
        (
            "unreadable ones beside",
            |it| it.entry.unreadable = true,
            (GrantedSession, Reason::Session),
        ),
        ("too many lines", |it| it.entry.too_many_lines = true, (Error, Reason::TooManyLines)),
        // The session and its token.
        ("ended", |it| it.entry.ways.sessions.truncate(1), (DeniedSession, Reason::SessionOver)),
        (
            "another PIN or key",
            |it| it.entry.lines[0] = line("HOTP alice 4712 KEY"),
            (DeniedSession, Reason::SessionTokenChanged),
        ),
        (
            "switched off",
            |it| it.entry.lines[0].token.disabled = true,
            (DeniedSession, Reason::SessionTokenChanged),
        ),
        (
            "removed",
            |it| drop(it.entry.lines.remove(0)),
            (DeniedSession, Reason::SessionTokenChanged),
        ),
        // Rule 2.
        ("locked", |it| it.locked(0), (DeniedLocked, Reason::Locked)),
        ("another token locked", |it| it.locked(1), (GrantedSession, Reason::Session)),
        (
            "the lock-out is over",
            |it| {
                it.locked(0);
                it.now = NOW + 60;
            },
            (GrantedSession, Reason::Session),
        ),
        (
            "locked, and of another place",
            |it| {
                it.locked(0);
                it.presented.is_of_place = false;
            },
            (DeniedLocked, Reason::Locked),
        ),
        (
            "another line of the same token is locked",
            |it| {
                it.entry.lines[1] = line("HOTP alice 0815 KEY");
                it.locked(1);
            },
            (DeniedLocked, Reason::Locked),
        ),
        // The place.
        (
            "another place",
            |it| it.presented.is_of_place = false,
            (DeniedSession, Reason::OtherPlace),
        ),
        ("no cookies here", |it| it.policy.cookie = None, (DeniedSession, Reason::OtherPlace)),
        (
            "another place and address",
            |it| {
                (it.presented.is_of_place, it.presented.is_from_its_address) = (false, false);
            },
            (DeniedSession, Reason::OtherPlace),
        ),
        // The address.
        (
            "another address",
            |it| it.presented.is_from_its_address = false,
            (DeniedIp, Reason::SessionAddressChanged),
        ),
        (
            "no address",
            |it| {
                it.presented.is_from_its_address = false;
                it.address = Address::Unknown;
            },
            (DeniedIp, Reason::SessionNoAddress),
        ),
        (
            "another address, where it doesn't matter",
            |it| {
                it.presented.is_from_its_address = false;
                it.policy.logout_on_ip_change = false;
            },
            (GrantedSession, Reason::Session),
        ),
        // Its time.
        (
            "the last second of the linger time",
            |it| it.now = NOW - 60 + 3599,
            (GrantedSession, Reason::Session),
        ),
        (
            "the linger time is over",
            |it| it.now = NOW - 60 + 3600,
            (DeniedSession, Reason::SessionExpired),
        ),
        (
            "the idle time is over",
            |it| it.policy.max_idle = Some(60),
            (DeniedSession, Reason::SessionExpired),
        ),
        (
            "used meanwhile",
            |it| {
                it.policy.max_idle = Some(60);
                it.session().last = NOW - 59;
            },
            (GrantedSession, Reason::Session),
        ),
        (
            "no linger time at all",
            |it| it.policy.max_linger = Some(0),
            (DeniedSession, Reason::SessionExpired),
        ),
        ("clocks differ", |it| it.now = NOW - 65, (GrantedSession, Reason::Session)),
        ("from the future", |it| it.now = NOW - 66, (DeniedSession, Reason::SessionExpired)),
        // How it began.
        ("by the PIN alone", Case::trusted, (GrantedSession, Reason::Session)),
        (
            "by the PIN alone, in the user's own network",
            |it| {
                it.session().kind = SessionKind::PinAlone;
                it.entry.ways.trusted = vec![Network::parse(b"192.0.2.0/24").unwrap()];
            },
            (GrantedSession, Reason::Session),
        ),
        (
            "by the PIN alone, elsewhere",
            |it| it.session().kind = SessionKind::PinAlone,
            (DeniedSession, Reason::SessionNeedsCode),
        ),
        (
            "by the PIN alone, which is closed",
            |it| {
                it.trusted();
                it.entry.ways.always = Always { pin: true, ..Always::default() };
            },
            (DeniedSession, Reason::SessionNeedsCode),
        ),
        (
            "by the PIN alone, which is closed until the next code",
            |it| {
                it.trusted();
                it.entry.ways.always = Always::UNTIL_CODE;
            },
            (DeniedSession, Reason::SessionNeedsCode),
        ),
        (
            "by a code, though the PIN alone is closed",
            |it| it.entry.ways.always = Always::ALL,
            (GrantedSession, Reason::Session),
        ),
        ("on a trusted computer", Case::on_a_computer, (GrantedSession, Reason::Session)),
        (
            "on a computer of another token",
            |it| {
                it.on_a_computer();
                it.entry.ways.computers[0].token = TokenTag([0; 6]);
            },
            (DeniedSession, Reason::SessionNeedsCode),
        ),
        (
            "on a computer that isn't trusted any more, in a trusted network",
            |it| {
                it.on_a_computer();
                it.entry.ways.computers.clear();
                it.policy.pin_alone = PinAlone::Here;
            },
            (DeniedSession, Reason::SessionNeedsCode),
        ),
        (
            "on a computer whose days are over",
            |it| {
                it.on_a_computer();
                it.entry.ways.computers[0].first = NOW - 30 * 86_400;
            },
            (DeniedSession, Reason::SessionNeedsCode),
        ),
        (
            "on a computer, where none is trusted",
            |it| {
                it.on_a_computer();
                it.policy.trusted_computer = None;
            },
            (DeniedSession, Reason::SessionNeedsCode),
        ),
        (
            "on a computer, of a user who always needs a code",
            |it| {
                it.on_a_computer();
                it.entry.ways.always = Always { pin: true, ..Always::default() };
            },
            (DeniedSession, Reason::SessionNeedsCode),
        ),
        (
            "on a computer, where a code must be new",
            |it| {
                it.on_a_computer();
                it.max_age(3600);
            },
            (DeniedSession, Reason::FreshCodeNeeded),
        ),
        // Whom the place lets in.
        (
            "others are let in",
            |it| it.policy.admission = Admission::NotAdmitted,
            (DeniedUser, Reason::NotAdmitted),
        ),
        (
            "nobody knows who is let in",
            |it| it.policy.admission = Admission::Unknown,
            (Error, Reason::GroupFileFailed),
        ),
        // How old the code may be.
        ("as new as wanted", |it| it.max_age(61), (GrantedSession, Reason::Session)),
        ("too old", |it| it.max_age(60), (DeniedSession, Reason::FreshCodeNeeded)),
        (
            "without a code, where one must be new",
            |it| {
                it.trusted();
                it.max_age(3600);
            },
            (DeniedSession, Reason::FreshCodeNeeded),
        ),
        (
            "too old, of somebody who isn't let in",
            |it| {
                it.max_age(60);
                it.policy.admission = Admission::NotAdmitted;
            },
            (DeniedUser, Reason::NotAdmitted),
        ),
    ];
    for (name, change, expected) in rows {
        let mut it = case();
        change(&mut it);
        let decided = decide::session(&it.policy, &it.entry, &it.presented, &it.address, it.now);
        let Decision { verdict, word, reason, is_wrong_guess, changes, .. } = decided.decision;
        assert_eq!((word, reason), *expected, "{name}");
        assert_eq!(verdict == Verdict::Granted, word == GrantedSession, "{name}");
        assert_ne!(verdict, Verdict::Unknown, "{name}: nobody else knows our cookies");
        assert!(!is_wrong_guess && changes.is_empty(), "{name}: nobody guesses a cookie");
    }
}

#[test]
fn the_last_use_is_noted_every_sixteenth_of_the_idle_time() {
    for (age, is_noted) in [(0, false), (19, false), (20, true), (319, true)] {
        let mut it = case();
        it.policy.max_idle = Some(320);
        it.now = NOW - 60 + age;
        let decided = decide::session(&it.policy, &it.entry, &it.presented, &it.address, it.now);
        assert_eq!(decided.decision.word, GrantedSession, "{age}");
        let expected = Session { last: it.now, ..*it.session() };
        assert_eq!(decided.refreshed, is_noted.then_some(expected), "{age}");
        it.policy.max_idle = None;
        let decided = decide::session(&it.policy, &it.entry, &it.presented, &it.address, it.now);
        assert_eq!(decided.refreshed, None, "without an idle time nothing is");
    }
}

fn session_of(_: &Fingerprint, position: u64) -> SessionId {
    SessionId([position as u8 + 100; 16])
}

fn browser(presented: Option<PresentedSession>) -> LoginBrowser<'static> {
    LoginBrowser { presented, computer: None, session_of: &session_of }
}

impl Case {
    fn decide(&self, proof: Proof<'_>, browser: Option<&LoginBrowser<'_>>) -> Decision {
        let attempt = Attempt { user: b"alice", proof, address: self.address.clone() };
        let (policy, entry) = (&self.policy, &self.entry);
        let decided =
            decide::login_of_browser(policy, entry, &attempt, browser, &|_, _| None, self.now);
        let Outcome::Decided(decision) = decided else { panic!("there is no slow PIN") };
        decision
    }

    fn ended(&self, decision: &Decision) -> Vec<SessionId> {
        let ids = self.entry.ways.sessions.iter().map(|session| session.id);
        ids.filter(|&id| decision.ended.has_session(&self.entry, id)).collect()
    }

    fn apply(&mut self, decision: &Decision) {
        for change in &decision.changes {
            self.entry.lines[change.line].state = change.state.clone();
        }
    }
}

#[test]
fn rule_6_a_code_is_good_for_one_browser_and_for_its_first_requests() {
    let rows: &[(&str, Change, (LoginResult, Reason))] = &[
        ("at once", |_| {}, (GrantedReuse, Reason::Reused)),
        ("in five seconds", |it| it.now += 4, (GrantedReuse, Reason::Reused)),
        ("later", |it| it.now += 5, (DeniedExpired, Reason::NoCookie)),
        (
            "its session has ended",
            |it| it.entry.ways.sessions.clear(),
            (DeniedExpired, Reason::NoCookie),
        ),
        (
            "from another address",
            |it| it.address = address(CAFE),
            (DeniedExpired, Reason::NoCookie),
        ),
        ("from no address", |it| it.address = Address::Unknown, (DeniedExpired, Reason::NoCookie)),
        (
            "from another address, where that matters",
            |it| {
                it.address = address(CAFE);
                it.policy.logout_on_ip_change = true;
            },
            (DeniedIp, Reason::AddressChanged),
        ),
        ("past its linger time", |it| it.now += 3600, (DeniedExpired, Reason::Expired)),
        (
            "where no code lingers",
            |it| it.policy.max_linger = Some(0),
            (DeniedExpired, Reason::Expired),
        ),
        (
            "where there are no cookies",
            |it| {
                it.policy.cookie = None;
                it.now += 5;
            },
            (GrantedReuse, Reason::Reused),
        ),
    ];
    for (name, change, expected) in rows {
        let mut it = case();
        it.policy.logout_on_ip_change = false;
        let password = format!("4711{}", code(3));
        let fresh = it.decide(Proof::Password(password.as_bytes()), Some(&browser(None)));
        assert_eq!(fresh.word, GrantedFresh);
        it.apply(&fresh);
        it.session().id = SessionId([103; 16]);
        change(&mut it);
        let again = it.decide(Proof::Password(password.as_bytes()), Some(&browser(None)));
        assert_eq!((again.word, again.reason), *expected, "{name}");
        assert!(again.changes.is_empty() && !again.is_wrong_guess, "{name}");
        if it.policy.cookie.is_some() {
            assert_eq!(again.stands_until, None, "{name}: no repeat is remembered");
            let nobody = it.decide(Proof::Password(password.as_bytes()), None);
            assert_ne!(nobody.verdict, Verdict::Granted, "{name}: without a browser");
        }
    }
}

#[test]
fn rule_3_an_empty_password_ends_the_session_of_its_cookie_and_no_other() {
    let its = case().presented;
    let rows: &[(&str, Change, Option<PresentedSession>, LoginResult)] = &[
        ("with the cookie", |_| {}, Some(its), Forgotten),
        ("long after", |it| it.now += 100_000, Some(its), Forgotten),
        ("without", |_| {}, None, DeniedCode),
        ("ended before", |it| it.entry.ways.sessions.truncate(1), Some(its), DeniedCode),
        (
            "of another place",
            |_| {},
            Some(PresentedSession { is_of_place: false, ..its }),
            DeniedCode,
        ),
        ("where nothing is forgotten", |it| it.policy.forget = Forget::Off, Some(its), DeniedCode),
    ];
    for (name, change, presented, word) in rows {
        let mut it = case();
        let fresh =
            it.decide(Proof::Password(format!("4711{}", code(0)).as_bytes()), Some(&browser(None)));
        it.apply(&fresh);
        change(&mut it);
        let decision = it.decide(Proof::Password(b""), Some(&browser(*presented)));
        assert_eq!(decision.word, *word, "{name}");
        let ended: &[SessionId] = if *word == Forgotten { &[ITS] } else { &[] };
        assert_eq!(it.ended(&decision), ended, "{name}");
        let is_code_ended = *word == Forgotten && it.now == NOW;
        assert_eq!(!decision.changes.is_empty(), is_code_ended, "{name}");
    }
}

#[test]
fn rule_3_the_word_ends_all_sessions_of_the_tokens_with_that_pin() {
    let mut it = case();
    it.policy.forget = Forget::Word;
    let other = TokenTag::of(&it.entry.lines[1].token.fingerprint);
    let of_other = Session { id: SessionId([2; 16]), token: other, ..*it.session() };
    it.entry.ways.sessions.push(of_other);
    let decision = it.decide(Proof::Password(b"4711logout"), None);
    assert_eq!((decision.word, decision.reason), (Forgotten, Reason::Forgotten));
    assert_eq!(it.ended(&decision), [SessionId([9; 16]), ITS]);
    let decision = it.decide(Proof::Password(b"4712logout"), None);
    assert_eq!((decision.word, it.ended(&decision)), (DeniedPin, vec![]));
}

#[test]
fn a_code_alone_is_enough_for_whose_session_is_there() {
    let its = case().presented;
    let grouped = format!("{} {}", &code(0)[..3], &code(0)[3..]);
    let of_other = {
        let key = data_encoding::HEXLOWER.decode(OTHER_KEY.as_bytes()).unwrap();
        let code = otp::hotp(otp::Hash::Sha1, &key, 0, Digits::SIX);
        String::from_utf8(code.as_bytes().to_vec()).unwrap()
    };
    let nothing: Change = |_| {};
    let with_pin = format!("4711{}", code(0));
    type Row<'a> = (&'a str, Change, &'a str, Option<PresentedSession>, (LoginResult, Reason));
    let rows: &[Row<'_>] = &[
        ("fresh", nothing, &code(0), Some(its), (GrantedFresh, Reason::Fresh)),
        ("in two groups", nothing, &grouped, Some(its), (GrantedFresh, Reason::Fresh)),
        ("another token's", nothing, &of_other, Some(its), (GrantedFresh, Reason::Fresh)),
        (
            "too old a session",
            |it| it.max_age(60),
            &code(0),
            Some(its),
            (GrantedFresh, Reason::Fresh),
        ),
        ("wrong", nothing, "000000", Some(its), (DeniedCode, Reason::WrongCode)),
        ("with its PIN", nothing, &with_pin, Some(its), (DeniedCode, Reason::NotACode)),
        ("too short", nothing, "75522", Some(its), (DeniedCode, Reason::NotACode)),
        ("none", nothing, "", Some(its), (DeniedCode, Reason::NotACode)),
        ("NUL", nothing, "75522\0", Some(its), (DeniedCode, Reason::Malformed)),
        ("without a session", nothing, &code(0), None, (DeniedSession, Reason::SessionOver)),
        (
            "of another place",
            nothing,
            &code(0),
            Some(PresentedSession { is_of_place: false, ..its }),
            (DeniedSession, Reason::OtherPlace),
        ),
        (
            "past its time",
            |it| it.now += 3600,
            &code(0),
            Some(its),
            (DeniedSession, Reason::SessionExpired),
        ),
        ("locked", |it| it.locked(0), &code(0), Some(its), (DeniedLocked, Reason::Locked)),
        (
            "for others",
            |it| it.policy.admission = Admission::NotAdmitted,
            &code(0),
            Some(its),
            (DeniedUser, Reason::NotAdmitted),
        ),
        (
            "where the PIN alone is enough",
            |it| it.policy.pin_alone = PinAlone::Here,
            "4711",
            Some(its),
            (DeniedCode, Reason::NotACode),
        ),
        (
            "and falls through to nobody",
            |it| it.policy.fall_through = true,
            "4711",
            Some(its),
            (DeniedCode, Reason::NotACode),
        ),
    ];
    for (name, change, code, presented, expected) in rows {
        let mut it = case();
        change(&mut it);
        let decision = it.decide(Proof::Code(code.as_bytes()), Some(&browser(*presented)));
        assert_eq!((decision.word, decision.reason), *expected, "{name}");
        assert_ne!(decision.verdict, Verdict::Unknown, "{name}");
        // Rule 8 counts, whatever token's it might have been.
        let failures: u32 = decision.changes.iter().map(|change| change.state.failures).sum();
        assert_eq!(failures, if expected.1 == Reason::WrongCode { 2 } else { 0 }, "{name}");
        let nobody = it.decide(Proof::Code(code.as_bytes()), None);
        assert_ne!(nobody.verdict, Verdict::Granted, "{name}: without a browser");
    }
}

#[test]
fn where_a_code_must_be_new_no_pin_is_enough() {
    let mut it = case();
    it.policy.pin_alone = PinAlone::Here;
    let decision = it.decide(Proof::Password(b"4711"), Some(&browser(None)));
    assert_eq!((decision.word, decision.by_pin_of), (GrantedTrusted, Some(0)));
    it.max_age(60);
    let decision = it.decide(Proof::Password(b"4711"), Some(&browser(None)));
    assert_eq!((decision.word, decision.by_pin_of), (DeniedCode, None));
}

#[test]
fn places_that_decide_alike_have_one_key_and_others_have_another() {
    let base = policy();
    let alike: &[fn(&mut Policy)] = &[
        |it| it.admission = Admission::NotAdmitted,
        |it| it.pin_alone = PinAlone::Here,
        |it| it.trusted_computer = std::num::NonZeroU32::new(30),
        |it| it.throttle = None,
        |it| it.app_passwords = true,
        |it| it.passes_unknown_on = true,
        |it| it.pin_cache_hashed = 0,
        |it| it.cookie = Some(CookiePolicy { sessions: 1, max_age: std::num::NonZeroU32::new(9) }),
    ];
    for (number, change) in alike.iter().enumerate() {
        let mut other = base;
        change(&mut other);
        assert_eq!(other.place_key(b"file"), base.place_key(b"file"), "{number}");
    }
    let others: &[fn(&mut Policy)] = &[
        |it| it.max_offset = 5,
        |it| it.max_linger = Some(3601),
        |it| it.max_linger = None,
        |it| it.max_idle = Some(3600),
        |it| it.max_failures = 9,
        |it| it.lockout_time = 61,
        |it| it.lockout_max = 61,
        |it| it.logout_on_ip_change = false,
        |it| it.forget = Forget::Word,
        |it| it.forget = Forget::Off,
        |it| it.fall_through = true,
        |it| it.allow_hex = false,
    ];
    let mut keys = vec![base.place_key(b"file"), base.place_key(b""), base.place_key(b"other")];
    for change in others {
        let mut other = base;
        change(&mut other);
        keys.push(other.place_key(b"file"));
    }
    for (number, key) in keys.iter().enumerate() {
        assert_eq!(keys.iter().position(|other| other == key), Some(number));
    }
}

/// What differs, the password, the change, and what it comes to.
type ComputerRow = (&'static str, &'static str, ComputerChange, (LoginResult, Option<NextCookie>));
type ComputerChange = fn(&mut Case, &mut PresentedComputer);

fn laptop() -> PresentedComputer {
    PresentedComputer { id: LAPTOP, generation: 7, is_of_place: true }
}

#[test]
fn rule_5_a_trusted_computer_is_one_more_reason_why_the_pin_is_enough() {
    const REFUSED: (LoginResult, Option<NextCookie>) = (DeniedCode, None);
    const DAY: UnixTime = 86_400;
    let rows: &[ComputerRow] = &[
        ("as it is", "4711", |_, _| {}, (GrantedComputer, Some(NextCookie::Another))),
        (
            "the cookie before",
            "4711",
            |_, it| it.generation = 6,
            (GrantedComputer, Some(NextCookie::Another)),
        ),
        ("without its cookie", "4711", |_, it| it.id = ComputerId([6; 12]), REFUSED),
        ("of another place", "4711", |_, it| it.is_of_place = false, REFUSED),
        ("an older cookie", "4711", |_, it| it.generation = 5, REFUSED),
        ("a cookie of the future", "4711", |_, it| it.generation = 8, REFUSED),
        ("wrong PIN", "4712", |_, _| {}, (DeniedPin, None)),
        ("no PIN", "", |_, _| {}, REFUSED),
        ("another token's PIN", "0815", |_, _| {}, (DeniedPin, None)),
        (
            "another token's PIN, in a trusted network",
            "0815",
            |case, _| case.policy.pin_alone = PinAlone::Here,
            (GrantedTrusted, None),
        ),
        (
            "its PIN, in a trusted network",
            "4711",
            |case, _| case.policy.pin_alone = PinAlone::Here,
            (GrantedComputer, Some(NextCookie::Another)),
        ),
        (
            "from nowhere",
            "4711",
            |case, _| case.address = Address::Unknown,
            (GrantedComputer, Some(NextCookie::Another)),
        ),
        (
            "from elsewhere",
            "4711",
            |case, _| case.address = address(CAFE),
            (GrantedComputer, Some(NextCookie::Another)),
        ),
        ("PIN and code", "4711CODE", |_, _| {}, (GrantedFresh, None)),
        // What closes it.
        ("nobody allows it", "4711", |case, _| case.policy.trusted_computer = None, REFUSED),
        (
            "where nothing is enough",
            "4711",
            |case, _| case.policy.pin_alone = PinAlone::Never,
            REFUSED,
        ),
        (
            "always a code",
            "4711",
            |case, _| case.entry.ways.always = Always { pin: true, ..Always::default() },
            REFUSED,
        ),
        (
            "a code after wrong PINs",
            "4711",
            |case, _| case.entry.ways.always = Always::UNTIL_CODE,
            REFUSED,
        ),
        ("where a code must be new", "4711", |case, _| case.max_age(3600), REFUSED),
        ("its token is locked", "4711", |case, _| case.locked(0), (DeniedCode, None)),
        ("its token is off", "4711", |case, _| case.entry.lines[0].token.disabled = true, REFUSED),
        (
            "its token has another PIN",
            "4712",
            |case, _| case.entry.lines[0] = line("HOTP alice 4712 KEY"),
            REFUSED,
        ),
        (
            "its token has no PIN",
            "",
            |case, _| {
                case.entry.lines[0] = line("HOTP alice - KEY");
                case.entry.ways.computers[0].token =
                    TokenTag::of(&case.entry.lines[0].token.fingerprint);
            },
            REFUSED,
        ),
        (
            "others are let in",
            "4711",
            |case, _| case.policy.admission = Admission::NotAdmitted,
            (DeniedUser, None),
        ),
        // Its days.
        (
            "the last second",
            "4711",
            |case, _| case.entry.ways.computers[0].first = NOW - 30 * DAY + 1,
            (GrantedComputer, Some(NextCookie::Another)),
        ),
        (
            "they are over",
            "4711",
            |case, _| case.entry.ways.computers[0].first = NOW - 30 * DAY,
            REFUSED,
        ),
        (
            "fewer are allowed now",
            "4711",
            |case, _| case.policy.trusted_computer = std::num::NonZeroU32::new(1),
            REFUSED,
        ),
        (
            "more are allowed now",
            "4711",
            |case, _| {
                case.policy.trusted_computer = std::num::NonZeroU32::new(366);
                case.entry.ways.computers[0].first = NOW - 30 * DAY;
            },
            REFUSED,
        ),
        (
            "from the future",
            "4711",
            |case, _| case.entry.ways.computers[0].first = NOW + 6,
            REFUSED,
        ),
    ];
    for (name, password, change, expected) in rows {
        let (mut it, mut presented) = (case(), laptop());
        it.on_a_computer();
        change(&mut it, &mut presented);
        let password = password.replace("CODE", &code(0));
        let browser = LoginBrowser { computer: Some(presented), ..browser(None) };
        let decision = it.decide(Proof::Password(password.as_bytes()), Some(&browser));
        assert_eq!((decision.word, decision.next_cookie), *expected, "{name}");
        assert_eq!(
            decision.by_pin_of.is_some(),
            decision.reason == Reason::Computer || decision.reason == Reason::Trusted,
            "{name}"
        );
        let is_copy = matches!(*name, "an older cookie" | "a cookie of the future");
        assert_eq!(decision.ended.are_copied(), is_copy, "{name}");
        assert_eq!(decision.ended.has_computer(&it.entry, LAPTOP), is_copy, "{name}");
        let ended: &[SessionId] = if is_copy { &[ITS] } else { &[] };
        assert_eq!(it.ended(&decision), ended, "{name}: with the sessions that began on it");
        // Counted where it was read as a PIN, and only there.
        let is_counted = decision.is_wrong_guess && decision.read_pin_alone;
        assert_eq!(is_counted, matches!(decision.word, DeniedPin | DeniedUser), "{name}");
        let nobody = it.decide(Proof::Password(password.as_bytes()), None);
        assert_ne!(nobody.word, GrantedComputer, "{name}: without a browser");
    }
}

#[test]
fn rule_3_the_word_ends_the_computers_of_the_tokens_with_that_pin() {
    let mut it = case();
    it.on_a_computer();
    it.policy.forget = Forget::Word;
    let other = TokenTag::of(&it.entry.lines[1].token.fingerprint);
    let laptop = it.entry.ways.computers[0];
    it.entry.ways.computers.push(Computer { id: ComputerId([6; 12]), token: other, ..laptop });
    it.entry.ways.sessions.clear();
    let decision = it.decide(Proof::Password(b"4711logout"), None);
    assert_eq!((decision.word, decision.reason), (Forgotten, Reason::Forgotten));
    let ended = |id| decision.ended.has_computer(&it.entry, ComputerId([id; 12]));
    assert_eq!((ended(5), ended(6), decision.ended.are_copied()), (true, false, false));
    // An empty password ends a session, and no computer.
    it = case();
    it.on_a_computer();
    let browser = browser(Some(it.presented));
    let decision = it.decide(Proof::Password(b""), Some(&browser));
    assert_eq!((decision.word, decision.ended.has_computers()), (Forgotten, false));
}

#[test]
fn a_computer_is_trusted_after_a_code_of_a_token_with_a_pin_where_that_is_allowed() {
    let days = std::num::NonZeroU32::new(30);
    let rows: &[(&str, Change, bool)] = &[
        ("allowed", |_| {}, true),
        ("not allowed", |it| it.policy.trusted_computer = None, false),
        ("no PIN", |it| it.entry.lines[0] = line("HOTP alice - KEY"), false),
        ("a PIN elsewhere", |it| it.entry.lines[0] = line("HOTP alice + KEY"), true),
        (
            "always a code",
            |it| it.entry.ways.always = Always { pin: true, ..Always::default() },
            false,
        ),
        // The code has just ended that.
        ("a code after wrong PINs", |it| it.entry.ways.always = Always::UNTIL_CODE, true),
        ("where nothing is enough", |it| it.policy.pin_alone = PinAlone::Never, false),
        ("no such line", |it| it.entry.lines.clear(), false),
    ];
    for (name, change, may) in rows {
        let mut it = case();
        it.policy.trusted_computer = days;
        change(&mut it);
        let allowed = decide::may_trust_computer(&it.policy, &it.entry, 0);
        assert_eq!(allowed, days.filter(|_| *may), "{name}");
    }
}
