//! The rules of a login, as tables. Each row is a line of a users file, a password and what comes
//! of it.

use std::net::IpAddr;

use jiff::tz::TimeZone;
use otpgate::UnixTime;
use otpgate::decide::{
    self, Attempt, Decision, LoginResult, Outcome, PinAnswer, PinAnswers, Proof, Reason,
    StateChange, Verdict,
};
use otpgate::otp::{self, Digits, Hash};
use otpgate::policy::{Admission, Forget, Policy, Server, Settings};
use otpgate::token::{Address, CounterField, Entry, Pin, ReplayFloor, State, StoredToken, Used};
use otpgate::users::record;

/// The key of RFC 4226's test values: counter 0 gives 755224, 1 287082, 2 359152, 3 969429, 4
/// 338314, 5 254676.
const KEY: &str = "3132333435363738393031323334353637383930";
const OTHER_KEY: &str = "00112233445566778899aabbccddeeff00112233";
/// A time in the middle of a 30-second step.
const NOW: UnixTime = 1_700_000_025;

struct Login {
    policy: Policy,
    lines: Vec<String>,
    unreadable: bool,
    user: &'static [u8],
    now: UnixTime,
    address: Option<&'static str>,
    pin_source: PinAnswer,
}

fn user(lines: &[&str]) -> Login {
    Login {
        policy: Settings::default().policy(Server::Apache),
        lines: lines
            .iter()
            .map(|line| line.replace("KEY", KEY).replace("OTHER", OTHER_KEY))
            .collect(),
        unreadable: false,
        user: b"alice",
        now: NOW,
        address: Some("192.0.2.7"),
        pin_source: PinAnswer::NoSource,
    }
}

impl Login {
    fn with(mut self, change: impl FnOnce(&mut Policy)) -> Login {
        change(&mut self.policy);
        self
    }

    fn pins(self, pin_source: PinAnswer) -> Login {
        Login { pin_source, ..self }
    }

    fn at(self, now: UnixTime) -> Login {
        Login { now, ..self }
    }

    fn from(self, address: &'static str) -> Login {
        Login { address: Some(address), ..self }
    }

    fn entry(&self) -> Entry {
        let parse = |line: &String| {
            let record = record::parse(line.as_bytes(), &TimeZone::UTC).unwrap();
            StoredToken { token: record.token, state: record.state }
        };
        let lines = self.lines.iter().map(parse).collect();
        Entry { lines, unreadable: self.unreadable, ..Entry::default() }
    }

    fn try_entry(&self, entry: &Entry, password: &[u8]) -> Decision {
        let address = self.address.map(|text| text.parse::<IpAddr>().unwrap());
        let attempt = Attempt {
            user: self.user,
            proof: Proof::Password(password),
            address: Address::of_client(address),
        };
        let unanswered = |_: &Pin, _: &[u8]| None;
        match self.outcome(entry, &attempt, &unanswered) {
            Outcome::Decided(decision) => decision,
            Outcome::NeedPin(_) => {
                let answer = |_: &Pin, _: &[u8]| Some(self.pin_source);
                match self.outcome(entry, &attempt, &answer) {
                    Outcome::Decided(decision) => decision,
                    Outcome::NeedPin(_) => panic!("asked twice"),
                }
            }
        }
    }

    /// What is decided without a search for the code is decided the same way; fresh, spent and
    /// wrong codes never are.
    fn outcome(&self, entry: &Entry, attempt: &Attempt<'_>, pins: PinAnswers<'_>) -> Outcome {
        let outcome = decide::login(&self.policy, entry, attempt, pins, self.now);
        match decide::without_search(&self.policy, entry, attempt, None, pins, self.now) {
            Some(early) => {
                assert_eq!(early, outcome);
                let searched = [Reason::Fresh, Reason::Spent, Reason::WrongCode];
                assert!(
                    !matches!(&early, Outcome::Decided(early) if searched.contains(&early.reason))
                );
            }
            None => assert!(
                matches!(outcome, Outcome::Decided(_)),
                "a PIN question comes before the search"
            ),
        }
        outcome
    }

    fn tries(&self, password: &str) -> Decision {
        self.try_entry(&self.entry(), password.as_bytes())
    }

    fn gets(&self, password: &str) -> (LoginResult, Reason) {
        let decision = self.tries(password);
        (decision.word, decision.reason)
    }

    /// One login after the other on what each leaves behind, with the times of each.
    fn session(&self, logins: &[(UnixTime, &str)]) -> Vec<LoginResult> {
        let mut entry = self.entry();
        logins
            .iter()
            .map(|(now, password)| {
                let decision = Login { now: *now, lines: vec![], ..user(&[]).like(self) }
                    .try_entry(&entry, password.as_bytes());
                apply(&mut entry, &decision.changes);
                decision.word
            })
            .collect()
    }

    fn like(self, other: &Login) -> Login {
        Login { policy: other.policy, address: other.address, ..self }
    }
}

fn apply(entry: &mut Entry, changes: &[StateChange]) {
    for change in changes {
        entry.lines[change.line].state = State { intact: true, ..change.state.clone() };
    }
}

fn totp(time: UnixTime) -> String {
    code_of(KEY, (time / 30) as u64)
}

fn code_of(key: &str, counter: u64) -> String {
    let key = data_encoding::HEXLOWER.decode(key.as_bytes()).unwrap();
    let code = otp::hotp(Hash::Sha1, &key, counter, Digits::SIX);
    String::from_utf8(code.as_bytes().to_vec()).unwrap()
}

use LoginResult::*;

#[test]
fn rule_1_a_name_nobody_has_is_unknown_and_a_twin_of_a_listed_one_is_denied() {
    let nobody = user(&[]);
    let decision = nobody.tries("755224");
    assert_eq!((decision.verdict, decision.word), (Verdict::Unknown, Unknown));
    let twin = Entry { is_twin: true, ..Entry::default() };
    let decision = nobody.try_entry(&twin, b"755224");
    assert_eq!((decision.verdict, decision.word), (Verdict::Denied, Unknown));
    let with_fall_through = nobody.with(|policy| policy.fall_through = true);
    assert_eq!(with_fall_through.try_entry(&twin, b"755224").verdict, Verdict::Denied);
}

#[test]
fn rule_1_control_bytes_and_endless_passwords_are_denied_uncounted() {
    let alice = user(&["HOTP alice - KEY"]);
    for password in ["75522\0".into(), "\n755224".into(), "\u{7f}755224".into(), "1".repeat(1025)] {
        let decision = alice.tries(&password);
        assert_eq!((decision.verdict, decision.reason), (Verdict::Denied, Reason::Malformed));
        assert!(decision.changes.is_empty());
    }
    let odd_name = Login { user: b"al\x01ice", ..user(&[]) };
    assert_eq!(odd_name.tries("755224").verdict, Verdict::Denied);
}

#[test]
fn rule_1_a_user_with_an_unreadable_line_is_denied_unless_another_line_grants() {
    let broken = Login { unreadable: true, ..user(&[]) };
    let decision = broken.tries("755224");
    assert_eq!((decision.verdict, decision.word), (Verdict::Denied, Error));

    let half = Login { unreadable: true, ..user(&["HOTP alice 1234 KEY"]) }
        .with(|policy| policy.fall_through = true);
    assert_eq!(half.tries("1234755224").verdict, Verdict::Granted);
    assert_eq!(half.tries("9999755224").verdict, Verdict::Denied);
    assert_eq!(half.tries("7").verdict, Verdict::Denied);
}

#[test]
fn a_user_with_too_many_lines_is_an_error_with_the_right_code_too() {
    let crowd = Entry { too_many_lines: true, ..Entry::default() };
    for login in [user(&[]), user(&[]).with(|policy| policy.fall_through = true)] {
        let decision = login.try_entry(&crowd, b"755224");
        assert_eq!(
            (decision.verdict, decision.reason, decision.changes.len()),
            (Verdict::Error, Reason::TooManyLines, 0)
        );
    }
}

#[test]
fn a_user_whose_tokens_are_all_off_is_denied() {
    let off = user(&["OFF:HOTP alice - KEY"]).with(|policy| policy.fall_through = true);
    let decision = off.tries("755224");
    assert_eq!((decision.verdict, decision.word), (Verdict::Denied, DeniedLocked));
    let one_on = user(&["OFF:HOTP alice - KEY", "HOTP alice - OTHER"]);
    assert_eq!(one_on.tries("755224").word, DeniedCode);
    assert_eq!(one_on.tries(&code_of(OTHER_KEY, 0)).word, GrantedFresh);
}

#[test]
fn rule_2_lock_out() {
    let login = |failures, failed: i64, lockout, max, now| {
        let mut login = user(&["HOTP alice - KEY"]).at(now).with(|policy| {
            policy.max_failures = 5;
            policy.lockout_time = lockout;
            policy.lockout_max = max;
        });
        login.lines = vec![format!("HOTP alice - {KEY} 0 {failures}")];
        let mut entry = login.entry();
        entry.lines[0].state.last_failure = (failed != 0).then_some(failed);
        entry.lines[0].state.intact = true;
        let decision = login.try_entry(&entry, b"755224");
        (decision.word, decision.changes.first().and_then(|change| change.state.last_failure))
    };
    for (what, failures, failed, lockout, max, now, word) in [
        ("below the limit", 4, NOW, 60, 3600, NOW, GrantedFresh),
        ("at the limit, for ever", 5, NOW - 1_000_000, 0, 86_400, NOW, DeniedLocked),
        ("at the limit, still locked", 5, NOW - 59, 60, 3600, NOW, DeniedLocked),
        ("at the limit, over", 5, NOW - 60, 60, 3600, NOW, GrantedFresh),
        ("one more doubles", 6, NOW - 119, 60, 3600, NOW, DeniedLocked),
        ("one more doubles, over", 6, NOW - 120, 60, 3600, NOW, GrantedFresh),
        ("up to the maximum", 500, NOW - 3599, 60, 3600, NOW, DeniedLocked),
        ("up to the maximum, over", 500, NOW - 3600, 60, 3600, NOW, GrantedFresh),
        ("a failure in the future keeps it locked", 5, NOW + 1000, 60, 3600, NOW, DeniedLocked),
    ] {
        assert_eq!(login(failures, failed, lockout, max, now).0, word, "{what}");
    }
    assert_eq!(
        login(5, 0, 60, 3600, NOW),
        (DeniedLocked, Some(NOW)),
        "begins when it is first met"
    );
    for ahead in [1, 1000, 86_400] {
        let met = login(5, NOW + ahead, 60, 3600, NOW);
        assert_eq!(met, (DeniedLocked, Some(NOW)), "a failure in the future is one of now");
    }
}

/// The state of a time token whose last code was used and whose last wrong code was counted at
/// these times, if ever.
fn entry_of_times(
    login: &Login,
    used: Option<(UnixTime, UnixTime)>,
    failed: Option<UnixTime>,
) -> Entry {
    let mut entry = login.entry();
    let state = &mut entry.lines[0].state;
    state.last_otp = otp::Code::new(totp(NOW).as_bytes());
    state.used = used.map_or(Used::Never, |(first, last)| Used::At { first, last });
    state.address = Address::Ip("192.0.2.7".parse().unwrap());
    (state.replay_floor, state.last_failure, state.intact) =
        (Some(ReplayFloor::from_written(NOW - NOW % 30)), failed, true);
    entry
}

#[test]
fn times_that_a_clock_ahead_has_left_are_mended_by_whoever_has_the_pin() {
    let login = user(&["HOTP/T30 alice 1234 KEY 0 2"]).with(|policy| policy.max_failures = 5);
    let day = 86_400;
    let (now, past) = (Some((NOW, NOW)), Some((NOW - day, NOW - day)));
    let (old, new) = (format!("1234{}", totp(NOW)), format!("1234{}", totp(NOW + 30)));
    for (what, used, failed, password, word, mended) in [
        ("a failure", now, NOW + day, &*old, GrantedReuse, Some((Some((NOW, NOW)), NOW))),
        ("a failure, and the code is old", past, NOW + 1, &old, DeniedExpired, Some((past, NOW))),
        ("a use", Some((NOW + day, NOW + day)), NOW, &old, DeniedExpired, Some((None, NOW))),
        ("the last use", Some((NOW, NOW + day)), NOW, &old, DeniedExpired, Some((None, NOW))),
        (
            "both, and a wrong code",
            Some((NOW + day, NOW + day)),
            NOW + day,
            "1234000000",
            DeniedCode,
            Some((None, NOW)),
        ),
        (
            "both, and a new code",
            Some((NOW + day, NOW + day)),
            NOW + day,
            &new,
            GrantedFresh,
            Some((now, NOW)),
        ),
        ("a clock that differs", Some((NOW + 60, NOW + 60)), NOW, &old, DeniedExpired, None),
        ("a wrong PIN", Some((NOW + day, NOW + day)), NOW + day, "9999000000", DeniedPin, None),
        ("nothing", now, NOW, &old, GrantedReuse, None),
    ] {
        let login = Login { lines: login.lines.clone(), ..user(&[]).like(&login) }
            .with(|policy| policy.max_idle = Some(3600));
        let decision =
            login.try_entry(&entry_of_times(&login, used, Some(failed)), password.as_bytes());
        assert_eq!(decision.word, word, "{what}");
        let changed = decision.changes.first().map(|change| {
            let used = match change.state.used {
                Used::At { first, last } => Some((first, last)),
                _ => None,
            };
            (used, change.state.last_failure.unwrap())
        });
        assert_eq!(changed, mended, "{what}");
        assert!(
            decision.verdict != Verdict::Granted
                || decision.word == GrantedFresh
                || decision.changes_are_optional
        );
    }
}

#[test]
fn a_lock_out_counted_by_a_clock_ahead_lasts_as_long_as_any() {
    let locked = user(&["HOTP/T30 alice - KEY 0 5"]).with(|policy| {
        policy.max_failures = 5;
        policy.lockout_time = 60;
    });
    let mut entry = entry_of_times(&locked, None, Some(NOW + 10 * 86_400));
    let words: Vec<LoginResult> = [0, 30, 59, 60]
        .into_iter()
        .map(|after| {
            let now = NOW + after;
            let code = totp(now + 60);
            let login = Login { now, lines: vec![], ..user(&[]).like(&locked) };
            let decision = login.try_entry(&entry, code.as_bytes());
            apply(&mut entry, &decision.changes);
            assert_eq!(
                decide::is_locked(&locked.policy, &entry.lines[0], now),
                decision.word == DeniedLocked
            );
            decision.word
        })
        .collect();
    assert_eq!(words, [DeniedLocked, DeniedLocked, DeniedLocked, GrantedFresh]);
}

#[test]
fn rule_2_a_locked_user_is_denied_with_fall_through_too_and_one_free_token_is_enough() {
    let policy = |policy: &mut Policy| {
        policy.max_failures = 5;
        policy.fall_through = true;
    };
    let locked = user(&["HOTP alice 1234 KEY 0 5"]).with(policy);
    for password in ["1234755224", "9999755224", ""] {
        assert_eq!(locked.tries(password).verdict, Verdict::Denied);
    }
    let two = user(&["HOTP alice 1234 KEY 0 5", "HOTP alice 1234 OTHER"]).with(policy);
    assert_eq!(two.tries("1234755224").word, DeniedCode, "a locked token can't grant");
    assert_eq!(two.tries("9999755224").verdict, Verdict::Denied);
    let decision = two.tries(&format!("1234{}", code_of(OTHER_KEY, 0)));
    assert_eq!(decision.word, GrantedFresh);
    assert!(
        decision.changes.iter().all(|change| change.state.failures == 0),
        "a grant unlocks all"
    );
    assert_eq!(decision.changes.len(), 2);
}

#[test]
fn rule_3_forget_kills_the_code_for_good_for_event_and_time_tokens() {
    let event = user(&["HOTP alice - KEY"]);
    assert_eq!(
        event.session(&[
            (NOW, "755224"),
            (NOW, "755224"),
            (NOW, ""),
            (NOW, "755224"),
            (NOW, "287082")
        ]),
        [GrantedFresh, GrantedReuse, Forgotten, DeniedExpired, GrantedFresh]
    );
    let time = user(&["HOTP/T30 alice - KEY"]);
    assert_eq!(
        time.session(&[
            (NOW, &totp(NOW)),
            (NOW, ""),
            (NOW, &totp(NOW)),
            (NOW + 30, &totp(NOW)),
            (NOW, &totp(NOW + 30))
        ]),
        [GrantedFresh, Forgotten, DeniedExpired, DeniedExpired, GrantedFresh]
    );
}

#[test]
fn rule_3_forget_is_never_counted_and_needs_a_lingering_code_of_the_same_address() {
    let line = "HOTP alice - KEY 1 0 755224 2023-11-14T22:13:00L 192.0.2.7";
    let now = 1_700_000_000;
    for (what, login, word) in [
        ("same address", user(&[line]).at(now), Forgotten),
        ("IPv4-mapped", user(&[line]).at(now).from("::ffff:192.0.2.7"), Forgotten),
        ("another address", user(&[line]).at(now).from("192.0.2.8"), DeniedCode),
        ("no address", Login { address: None, ..user(&[line]).at(now) }, DeniedCode),
        ("expired", user(&[line]).at(now + 600), DeniedCode),
        (
            "switched off",
            user(&[line]).at(now).with(|policy| policy.forget = Forget::Off),
            DeniedCode,
        ),
        ("nothing to forget", user(&["HOTP alice - KEY"]).at(now), DeniedCode),
    ] {
        let decision = login.tries("");
        assert_eq!((decision.verdict, decision.word), (Verdict::Denied, word), "{what}");
        assert!(decision.changes.iter().all(|change| change.state.failures == 0), "{what}");
        assert_eq!(decision.changes.is_empty(), word != Forgotten, "{what}");
    }
    let forgotten = &user(&[line]).at(now).tries("").changes[0].state;
    let last_login = NOW - 45;
    assert_eq!(forgotten.used, Used::Ended { last_login }, "the login itself isn't forgotten");
    assert!(forgotten.last_otp.is_some(), "kept, to be recognised");
}

#[test]
fn rule_3_forget_by_word_takes_the_pin_from_any_address_and_is_never_counted() {
    const NOTHING: (LoginResult, Reason) = (Forgotten, Reason::NothingToForget);
    const DONE: (LoginResult, Reason) = (Forgotten, Reason::Forgotten);
    const WRONG_PIN: (LoginResult, Reason) = (DeniedPin, Reason::WrongPin);
    let now = 1_700_000_000;
    let used = "1 0 755224 2023-11-14T22:13:00L 192.0.2.7";
    let hash = "$2y$05$lXGQBDT09PU0BUoTBUSbRuqQMwTF958HkK/qn25O6j6VbzgsXsYyO";
    let word =
        |line: &str| user(&[&line.replace("USED", used)]).at(now).with(|p| p.forget = Forget::Word);
    let with = |pin_source, line: &str| Login { pin_source, ..word(line) };
    let literal = "HOTP alice 1234 KEY USED";
    for (what, login, password, outcome) in [
        ("literal", word(literal), "1234logout", DONE),
        ("from elsewhere", word(literal).from("198.51.100.23"), "1234logout", DONE),
        ("without address", Login { address: None, ..word(literal) }, "1234logout", DONE),
        (
            "hashed",
            with(PinAnswer::Right, &format!("HOTP alice {hash} KEY USED")),
            "1234logout",
            DONE,
        ),
        ("external", with(PinAnswer::Right, "HOTP alice + KEY USED"), "1234logout", DONE),
        ("Mobile-OTP", word("MOTP/T10/6 alice 1234 KEY USED"), "1234logout", DONE),
        ("eight digits", word("HOTP/E/8 alice 1234 KEY USED"), "1234logout", DONE),
        ("four digits", word("HOTP/E/4 alice 1234 KEY USED"), "1234logout", DONE),
        ("expired", word(literal).at(now + 600), "1234logout", NOTHING),
        ("never used", word("HOTP alice 1234 KEY"), "1234logout", NOTHING),
        ("wrong PIN", word(literal), "1235logout", WRONG_PIN),
        (
            "wrong hashed PIN",
            with(PinAnswer::Wrong, &format!("HOTP alice {hash} KEY USED")),
            "1logout",
            WRONG_PIN,
        ),
        (
            "wrong external PIN",
            with(PinAnswer::Wrong, "HOTP alice + KEY USED"),
            "1logout",
            WRONG_PIN,
        ),
        (
            "external PIN unknown",
            with(PinAnswer::Unknown, "HOTP alice + KEY USED"),
            "1logout",
            (DeniedPin, Reason::PinUnknown),
        ),
        (
            "external source failed",
            with(PinAnswer::Failed, "HOTP alice + KEY USED"),
            "1logout",
            (Error, Reason::PinSourceFailed),
        ),
        ("no PIN at all", word(literal), "logout", WRONG_PIN),
        ("in capitals", word(literal), "1234LOGOUT", (DeniedCode, Reason::WrongCode)),
        ("empty password", word(literal), "", (DeniedCode, Reason::TooShort)),
        (
            "token without a PIN",
            word("HOTP alice - KEY USED"),
            "logout",
            (DeniedCode, Reason::WrongCode),
        ),
        ("the code still lingers", word(literal), "1234755224", (GrantedReuse, Reason::Reused)),
        (
            "switched off token",
            word("OFF:HOTP alice 1234 KEY USED"),
            "1234logout",
            (DeniedLocked, Reason::AllTokensOff),
        ),
    ] {
        let decision = login.tries(password);
        assert_eq!((decision.word, decision.reason), outcome, "{what}");
        assert_ne!(decision.verdict == Verdict::Granted, decision.word != GrantedReuse, "{what}");
        let state = decision.changes.first().map(|change| &change.state);
        assert_eq!(
            state.is_some(),
            outcome == DONE || decision.reason == Reason::WrongCode,
            "{what}"
        );
        if outcome == DONE {
            let state = state.unwrap();
            assert_eq!((state.used.as_of(now), state.failures), (None, 0), "{what}");
            assert!(state.last_otp.is_some(), "{what}: kept, to be recognised");
        }
    }
    // A right PIN falls through to nobody.
    let falls = word(literal).with(|policy| policy.fall_through = true);
    assert_eq!(falls.tries("1234logout").verdict, Verdict::Denied);
    assert_eq!(falls.tries("1235logout").verdict, Verdict::Unknown);
    // Where it isn't the word, PIN and word are PIN and a wrong code.
    for forget in [Forget::On, Forget::Off] {
        let login = word(literal).with(|policy| policy.forget = forget);
        assert_eq!(login.gets("1234logout"), (DeniedCode, Reason::WrongCode));
    }
    let time = user(&["HOTP/T30 alice 1234 KEY"]).with(|policy| policy.forget = Forget::Word);
    let code = format!("1234{}", totp(NOW));
    assert_eq!(
        time.session(&[(NOW, &code), (NOW, "1234logout"), (NOW, &code), (NOW + 30, &code)]),
        [GrantedFresh, Forgotten, DeniedExpired, DeniedExpired]
    );
}

#[test]
fn rule_3_forget_by_word_ends_the_tokens_whose_pin_it_is() {
    let used = "1 0 755224 2023-11-14T22:13:00L 192.0.2.7";
    let lines = [("12", "KEY"), ("12", "OTHER"), ("34", "00")]
        .map(|(pin, key)| format!("HOTP alice {pin} {key} {used}"));
    let three = user(&lines.each_ref().map(|line| &**line)).at(1_700_000_000);
    let three = three.with(|policy| policy.forget = Forget::Word);
    let lines = |password| {
        three.tries(password).changes.iter().map(|change| change.line).collect::<Vec<_>>()
    };
    assert_eq!(lines("12logout"), [0, 1]);
    assert_eq!(lines("34logout"), [2]);
    // A locked token's PIN isn't looked at.
    let locked = user(&[
        "HOTP alice 12 KEY 1 5 755224 2023-11-14T22:13:00L 192.0.2.7",
        "HOTP alice 34 OTHER",
    ]);
    let locked = locked.at(1_700_000_000).with(|policy| {
        policy.forget = Forget::Word;
        policy.max_failures = 5;
    });
    assert_eq!(locked.gets("12logout"), (DeniedPin, Reason::WrongPin));
}

#[test]
fn rules_4_and_5_pin() {
    for (line, password, word, reason) in [
        ("HOTP alice 1234 KEY", "1234755224", GrantedFresh, Reason::Fresh),
        ("HOTP alice 1234 KEY", "1235755224", DeniedPin, Reason::WrongPin),
        ("HOTP alice 1234 KEY", "755224", DeniedPin, Reason::WrongPin),
        ("HOTP alice 1234 KEY", "01234755224", DeniedPin, Reason::WrongPin),
        ("HOTP alice 1234 KEY", "12345", DeniedCode, Reason::TooShort),
        ("HOTP alice 1234 KEY", "", DeniedCode, Reason::TooShort),
        ("HOTP alice - KEY", "755224", GrantedFresh, Reason::Fresh),
        ("HOTP alice - KEY", "0755224", DeniedPin, Reason::NoPinExpected),
        ("HOTP/E/8 alice 1 KEY", "184755224", GrantedFresh, Reason::Fresh),
        ("MOTP alice + KEY", "123456", DeniedPin, Reason::MotpWithExternalPin),
        ("MOTP alice 1234 KEY", "1234abcdef", DeniedPin, Reason::NoPinExpected),
    ] {
        let decision = user(&[line]).tries(password);
        assert_eq!((decision.word, decision.reason), (word, reason), "{line} {password}");
        if word != GrantedFresh {
            assert!(decision.changes.is_empty(), "a wrong PIN changes nothing");
            assert_eq!(decision.verdict, Verdict::Denied);
            assert!(!decision.depends_on_state);
        }
    }
}

#[test]
fn rule_4_takes_a_code_in_two_groups() {
    // Counter 0, by length: 1284755224 is the whole number.
    for (line, password, word, reason) in [
        ("HOTP alice - KEY", "755 224", GrantedFresh, Reason::Fresh),
        ("HOTP alice 1234 KEY", "1234755 224", GrantedFresh, Reason::Fresh),
        ("HOTP alice - KEY", "93c F18", GrantedFresh, Reason::Fresh),
        ("HOTP/E/8 alice 1 KEY", "18475 5224", GrantedFresh, Reason::Fresh),
        ("HOTP/E/10 alice 1 KEY", "112847 55224", GrantedFresh, Reason::Fresh),
        ("HOTP/E/2 alice 1 KEY", "12 4", GrantedFresh, Reason::Fresh),
        // An odd number has no middle.
        ("HOTP/E/7 alice 1 KEY", "1475 5224", GrantedFresh, Reason::Fresh),
        ("HOTP/E/7 alice 1 KEY", "14755 224", GrantedFresh, Reason::Fresh),
        ("HOTP alice - KEY", "000 000", DeniedCode, Reason::WrongCode),
        // Its PIN is what stands before the groups, byte for byte.
        ("HOTP alice 1234 KEY", "123755 224", DeniedPin, Reason::WrongPin),
        ("HOTP alice 1234 KEY", "755 224", DeniedPin, Reason::WrongPin),
        ("HOTP alice 1234 KEY", "1234 755 224", DeniedPin, Reason::WrongPin),
        ("HOTP alice 1234 KEY", "1234 755224", DeniedPin, Reason::WrongPin),
        ("HOTP alice 1234 KEY", " 1234755 224", DeniedPin, Reason::WrongPin),
        ("HOTP alice - KEY", "1755 224", DeniedPin, Reason::NoPinExpected),
        ("HOTP alice - KEY", " 755224", DeniedPin, Reason::NoPinExpected),
        // Anything else isn't such a code, and is split as ever.
        ("HOTP alice 1234 KEY", "12347552 24", DeniedPin, Reason::WrongPin),
        ("HOTP alice 1 KEY", "175 5224", DeniedPin, Reason::WrongPin),
        ("HOTP alice 1 KEY", "1755  224", DeniedPin, Reason::WrongPin),
        ("HOTP alice 1 KEY", "1755 22 4", DeniedPin, Reason::WrongPin),
        ("HOTP alice 1 KEY", "1755-224", DeniedPin, Reason::WrongPin),
        ("HOTP alice 1 KEY", "1755\u{a0}224", DeniedPin, Reason::WrongPin),
        ("HOTP alice 1 KEY", "1755 224 ", DeniedPin, Reason::WrongPin),
        ("HOTP alice 7 KEY", "755 224", DeniedPin, Reason::WrongPin),
        ("HOTP alice 7 KEY", "7755 22g", DeniedPin, Reason::WrongPin),
        ("HOTP/E/1 alice - KEY", "4 ", DeniedPin, Reason::NoPinExpected),
        ("HOTP/E/1 alice - KEY", " 4", DeniedPin, Reason::NoPinExpected),
        ("HOTP alice 1234 KEY", "55 224", DeniedPin, Reason::WrongPin),
        ("HOTP/E/8 alice - KEY", "475 5224", DeniedCode, Reason::WrongCode),
    ] {
        let decision = user(&[line]).tries(password);
        assert_eq!((decision.word, decision.reason), (word, reason), "{line} {password}");
    }
}

#[test]
fn rule_4_each_token_takes_its_own_groups() {
    let both = user(&["HOTP alice 1 KEY", "HOTP/E/8 alice 1 OTHER"]);
    let long = {
        let key = data_encoding::HEXLOWER.decode(OTHER_KEY.as_bytes()).unwrap();
        let code = otp::hotp(Hash::Sha1, &key, 0, Digits::new(8).unwrap());
        String::from_utf8(code.as_bytes().to_vec()).unwrap()
    };
    assert_eq!(both.tries("1755 224").word, GrantedFresh);
    assert_eq!(both.tries(&format!("1{} {}", &long[..4], &long[4..])).word, GrantedFresh);
}

#[test]
fn a_code_in_two_groups_is_the_same_code_for_every_rule() {
    let alice = user(&["HOTP alice 1234 KEY"]).with(|policy| {
        policy.max_linger = Some(600);
        policy.forget = Forget::Word;
    });
    let logins = [
        (NOW, "1234755 224"),
        (NOW, "1234755224"),
        (NOW, "1234755 224"),
        // Another PIN's word forgets nothing.
        (NOW, "1234 logout"),
        (NOW, "1234log out"),
        (NOW, "1234755 224"),
        (NOW, "1234logout"),
        (NOW, "1234755 224"),
        (NOW, "1234287082"),
        (NOW, "1234755 224"),
    ];
    let reused = [GrantedFresh, GrantedReuse, GrantedReuse, DeniedPin, DeniedPin, GrantedReuse];
    let over = [Forgotten, DeniedExpired, GrantedFresh, DeniedExpired];
    assert_eq!(alice.session(&logins), [&reused[..], &over].concat());

    // What is asked about a PIN elsewhere is what stands before the groups.
    let elsewhere = user(&["HOTP alice + KEY"]);
    let address = Address::of_client(None);
    let proof = Proof::Password(b"my secret755 224");
    let attempt = Attempt { user: b"alice", proof, address };
    let outcome = elsewhere.outcome(&elsewhere.entry(), &attempt, &|_, _| None);
    assert_eq!(outcome, Outcome::NeedPin(decide::PinQuestion { line: 0, pin_len: 9 }));
}

#[test]
fn rule_5_motp_puts_the_pin_into_the_code() {
    let now = 1_544_616_720;
    let login = user(&["MOTP alice 1234 1234567890123456"]).at(now);
    assert_eq!(login.tries("488ccf").word, GrantedFresh);
    assert_eq!(login.tries("488CCF").word, GrantedFresh);
    assert_eq!(login.tries("488 ccf").word, GrantedFresh);
    assert_eq!(login.tries("488cce").word, DeniedCode);
    let no_hex = login.with(|policy| policy.allow_hex = false);
    assert_eq!(no_hex.tries("488ccf").word, GrantedFresh, "Mobile-OTP is always hexadecimal");
}

#[test]
fn rule_5_external_pins() {
    for (answer, verdict, word) in [
        (PinAnswer::Right, Verdict::Granted, GrantedFresh),
        (PinAnswer::Wrong, Verdict::Denied, DeniedPin),
        (PinAnswer::Unknown, Verdict::Denied, DeniedPin),
        (PinAnswer::NoSource, Verdict::Denied, DeniedPin),
        (PinAnswer::Failed, Verdict::Error, Error),
    ] {
        let login = Login { pin_source: answer, ..user(&["HOTP alice + KEY"]) };
        let decision = login.tries("secret755224");
        assert_eq!((decision.verdict, decision.word), (verdict, word));
    }
    let failed = Login {
        pin_source: PinAnswer::Failed,
        ..user(&["HOTP alice + KEY", "HOTP alice 12 OTHER"])
    };
    assert_eq!(failed.tries(&format!("12{}", code_of(OTHER_KEY, 0))).verdict, Verdict::Granted);
    assert_eq!(failed.tries("12000000").verdict, Verdict::Error);
}

#[test]
fn fall_through_passes_on_what_is_about_the_pin_and_nothing_else() {
    let fall = |login: Login| login.with(|policy| policy.fall_through = true);
    for (line, answer, password, verdict) in [
        ("HOTP alice 1234 KEY", PinAnswer::Wrong, "9999755224", Verdict::Unknown),
        ("HOTP alice - KEY", PinAnswer::Wrong, "x755224", Verdict::Unknown),
        ("HOTP alice + KEY", PinAnswer::Unknown, "x755224", Verdict::Unknown),
        ("HOTP alice + KEY", PinAnswer::NoSource, "x755224", Verdict::Denied),
        ("HOTP alice + KEY", PinAnswer::Failed, "x755224", Verdict::Error),
        ("HOTP alice 1234 KEY", PinAnswer::Wrong, "12", Verdict::Unknown),
        ("HOTP alice 1234 KEY", PinAnswer::Wrong, "1234000000", Verdict::Denied),
    ] {
        let login = Login { pin_source: answer, ..fall(user(&[line])) };
        assert_eq!(login.tries(password).verdict, verdict, "{line} {password}");
    }
}

#[test]
fn rule_5_refuses_whom_the_place_does_not_let_in_after_the_pin_and_before_any_code() {
    let lingering = "HOTP alice 1234 KEY 1 0 755224 2023-11-14T22:13:20L 192.0.2.7 @0,1700000000,1700000000,0,00000000";
    let plain = "HOTP alice 1234 KEY";
    let over = "HOTP alice 1234 KEY 0 3";
    let (denied, error) = (Admission::NotAdmitted, Admission::Unknown);
    for (admission, line, password, verdict, word, is_wrong_guess) in [
        (denied, plain, "1234755224", Verdict::Denied, DeniedUser, true),
        (denied, plain, "1234000000", Verdict::Denied, DeniedUser, true),
        (denied, plain, "9999755224", Verdict::Unknown, DeniedPin, true),
        (denied, plain, "7", Verdict::Unknown, DeniedCode, false),
        (denied, lingering, "1234755224", Verdict::Denied, DeniedUser, true),
        (denied, "HOTP alice - KEY", "755224", Verdict::Denied, DeniedUser, true),
        (denied, "HOTP alice + KEY", "1234755224", Verdict::Denied, DeniedUser, true),
        (denied, "MOTP alice 1234 KEY", "000000", Verdict::Denied, DeniedUser, true),
        (denied, over, "1234755224", Verdict::Denied, DeniedLocked, false),
        (error, plain, "1234755224", Verdict::Error, Error, false),
        (error, plain, "9999755224", Verdict::Unknown, DeniedPin, true),
        (error, over, "1234755224", Verdict::Denied, DeniedLocked, false),
    ] {
        let alice = Login { pin_source: PinAnswer::Right, ..user(&[line]) }.with(|policy| {
            (policy.fall_through, policy.max_failures) = (true, 3);
            policy.admission = admission;
        });
        let decision = alice.tries(password);
        let found = (decision.verdict, decision.word, decision.is_wrong_guess);
        assert_eq!(found, (verdict, word, is_wrong_guess), "{admission:?} {line} {password}");
        assert!(decision.changes.is_empty() && decision.accepted.is_none());
        // With a code to be searched for, it would have been left open.
        let unanswered = |_: &Pin, _: &[u8]| Some(PinAnswer::Right);
        let attempt = Attempt {
            user: alice.user,
            proof: Proof::Password(password.as_bytes()),
            address: Address::Unknown,
        };
        let entry = alice.entry();
        let early =
            decide::without_search(&alice.policy, &entry, &attempt, None, &unanswered, alice.now);
        assert!(matches!(early, Some(Outcome::Decided(_))), "{line} {password}");
    }
}

#[test]
fn rule_5_a_pin_without_a_code_is_enough_where_that_is_said_and_nothing_closes_it() {
    use otpgate::network::Network;
    use otpgate::policy::PinAlone;
    use otpgate::token::{Always, Ways};
    use {LoginResult::*, PinAnswer::*};
    let here = |lines: &[&str]| user(lines).with(|policy| policy.pin_alone = PinAlone::Here);
    let plain = "HOTP alice sesame9 KEY";
    for (login, password, word, reason, is_wrong, is_read) in [
        (here(&[plain]), "sesame9", GrantedTrusted, Reason::Trusted, false, true),
        (here(&[plain]), "sesame9755224", GrantedFresh, Reason::Fresh, false, false),
        (here(&[plain]), "sesame8", DeniedPin, Reason::WrongPin, true, true),
        (here(&[plain]), "s", DeniedPin, Reason::WrongPin, true, true),
        (here(&[plain]), "sesame8755224", DeniedPin, Reason::WrongPin, true, true),
        // What ends in a code after the right PIN is no PIN.
        (here(&[plain]), "sesame9000000", DeniedCode, Reason::WrongCode, true, false),
        (here(&[plain]), "", DeniedCode, Reason::TooShort, false, false),
        (user(&[plain]), "sesame9", DeniedPin, Reason::WrongPin, true, false),
        (user(&[plain]), "s", DeniedCode, Reason::TooShort, false, false),
        (here(&["HOTP alice - KEY"]), "", DeniedCode, Reason::TooShort, false, false),
        (here(&["HOTP alice - KEY"]), "-", DeniedCode, Reason::TooShort, false, false),
        (
            here(&["HOTP alice + KEY"]).pins(Right),
            "s",
            GrantedTrusted,
            Reason::Trusted,
            false,
            true,
        ),
        (here(&["HOTP alice + KEY"]).pins(Wrong), "s", DeniedPin, Reason::WrongPin, true, true),
        (
            here(&["HOTP alice + KEY"]).pins(Failed),
            "s",
            Error,
            Reason::PinSourceFailed,
            false,
            true,
        ),
        (here(&["HOTP alice + KEY"]), "s", DeniedPin, Reason::NoPinSource, false, true),
        (here(&["MOTP alice 1234 KEY"]), "1234", GrantedTrusted, Reason::Trusted, false, true),
        (here(&["MOTP alice - KEY"]), "-", DeniedCode, Reason::TooShort, false, false),
        (here(&["MOTP alice + KEY"]).pins(Right), "s", DeniedCode, Reason::TooShort, false, false),
        (
            here(&["OFF:HOTP alice sesame9 KEY", "HOTP alice - OTHER"]),
            "sesame9",
            DeniedPin,
            Reason::NoPinExpected,
            true,
            false,
        ),
        (
            here(&[plain]).with(|policy| policy.admission = Admission::NotAdmitted),
            "sesame9",
            DeniedUser,
            Reason::NotAdmitted,
            true,
            true,
        ),
        (
            here(&[plain]).with(|policy| policy.admission = Admission::Unknown),
            "sesame9",
            Error,
            Reason::GroupFileFailed,
            false,
            true,
        ),
    ] {
        let decision = login.tries(password);
        assert_eq!(
            (decision.word, decision.reason),
            (word, reason),
            "{:?} {password}",
            login.lines
        );
        assert_eq!(
            (decision.is_wrong_guess, decision.read_pin_alone),
            (is_wrong, is_read),
            "{:?} {password}",
            login.lines
        );
        assert!(word != GrantedTrusted || decision.changes.is_empty());
    }
    // Nowhere in particular is in no network.
    assert_eq!(Login { address: None, ..here(&[plain]) }.gets("sesame9").0, DeniedPin);

    let network = |text: &str| Network::parse(text.as_bytes()).unwrap();
    let trusted = vec![network("2001:db8::/32"), network("192.0.2.0/24")];
    let of = |always: Always| Ways { trusted: trusted.clone(), always, ..Ways::default() };
    let closed = |always: Always| (of(always), PinAlone::Here, false);
    for (ways, pin_alone, is_enough) in [
        (of(Always::default()), PinAlone::IfStored, true),
        (
            Ways { trusted: vec![network("198.51.100.0/24")], ..Ways::default() },
            PinAlone::IfStored,
            false,
        ),
        (of(Always::default()), PinAlone::Never, false),
        closed(Always { pin: true, ..Always::default() }),
        closed(Always::UNTIL_CODE),
        closed(Always::ALL),
        (of(Always { apps: true, ..Always::default() }), PinAlone::Here, true),
    ] {
        let login = user(&[plain]).with(|policy| policy.pin_alone = pin_alone);
        let entry = Entry { ways: ways.clone(), ..login.entry() };
        let decision = login.try_entry(&entry, b"sesame9");
        assert_eq!(decision.word == GrantedTrusted, is_enough, "{ways:?}");
        assert_eq!(decision.read_pin_alone, is_enough, "{ways:?}");
        // With a code, all of them are let in.
        assert_eq!(login.try_entry(&entry, b"sesame9755224").word, GrantedFresh);
    }
}

#[test]
fn rule_6_reuse_within_linger_and_idle() {
    // First used 500 s ago, last used 50 s ago.
    let line = format!("HOTP alice - {KEY} 1 0 755224 2023-11-14T22:13:20L 192.0.2.7");
    let login = |linger: Option<u32>, idle: Option<u32>, now: UnixTime| {
        let mut login = user(&[]).at(now).with(|policy| {
            policy.max_linger = linger;
            policy.max_idle = idle;
        });
        login.lines = vec![line.clone()];
        let mut entry = login.entry();
        entry.lines[0].state.used = Used::At { first: NOW - 500, last: NOW - 50 };
        entry.lines[0].state.intact = true;
        login.try_entry(&entry, b"755224")
    };
    for (what, linger, idle, now, word) in [
        ("within linger", Some(600), None, NOW, GrantedReuse),
        ("linger counts from first use", Some(499), None, NOW, DeniedExpired),
        ("linger ends at the limit", Some(500), None, NOW, DeniedExpired),
        ("linger to the second before", Some(501), None, NOW, GrantedReuse),
        ("never", Some(0), None, NOW - 500, DeniedExpired),
        ("never, nor a little in the future", Some(0), None, NOW - 503, DeniedExpired),
        ("one second", Some(1), None, NOW - 500, GrantedReuse),
        ("one second, over", Some(1), None, NOW - 499, DeniedExpired),
        ("one second, a little in the future", Some(1), None, NOW - 505, GrantedReuse),
        ("idle counts from last use", None, Some(51), NOW, GrantedReuse),
        ("idle is over", None, Some(50), NOW, DeniedExpired),
        ("both bind: linger", Some(400), Some(60), NOW, DeniedExpired),
        ("both bind: idle", Some(600), Some(40), NOW, DeniedExpired),
        ("both hold", Some(600), Some(60), NOW, GrantedReuse),
        ("a little in the future", Some(600), None, NOW - 505, GrantedReuse),
        ("more in the future", Some(600), None, NOW - 506, DeniedExpired),
    ] {
        let decision = login(linger, idle, now);
        assert_eq!(decision.word, word, "{what}");
        if word == DeniedExpired {
            assert!(decision.changes.is_empty(), "not counted: {what}");
        }
    }
    for (linger, idle, until) in [
        (Some(600), None, NOW + 99),
        // A new idle time is written after a sixteenth of the limit, here 60 s.
        (None, Some(960), NOW + 9),
        (Some(505), Some(960), NOW + 4),
    ] {
        assert_eq!(login(linger, idle, NOW).stands_until, Some(until), "{linger:?} {idle:?}");
    }
    assert!(login(Some(600), None, NOW).changes.is_empty(), "reuse writes nothing");
    assert!(
        login(None, Some(16 * 51), NOW).changes.is_empty(),
        "idle not refreshed before a sixteenth"
    );
    let refreshed = login(None, Some(16 * 50), NOW);
    assert!(refreshed.changes_are_optional);
    assert_eq!(refreshed.changes[0].state.used, Used::At { first: NOW - 500, last: NOW });
    assert_eq!(refreshed.changes[0].state.address, Address::Ip("192.0.2.7".parse().unwrap()));
}

#[test]
fn rule_6_address_where_demanded() {
    let line = "HOTP alice - KEY 1 0 755224 2023-11-14T22:13:00L 192.0.2.7";
    let login = |address| Login { address, ..user(&[line]).at(1_700_000_000) };
    let strict = |address| login(address).with(|policy| policy.logout_on_ip_change = true);
    assert_eq!(login(Some("192.0.2.8")).tries("755224").word, GrantedReuse);
    assert_eq!(strict(Some("192.0.2.7")).tries("755224").word, GrantedReuse);
    assert_eq!(strict(Some("::ffff:192.0.2.7")).tries("755224").word, GrantedReuse);
    let changed = strict(Some("192.0.2.8")).tries("755224");
    assert_eq!((changed.word, changed.changes.len()), (DeniedIp, 0), "refused, not counted");
    assert_eq!(changed.reason, Reason::AddressChanged);
    let nowhere = strict(None).tries("755224");
    assert_eq!(
        (nowhere.word, nowhere.reason, nowhere.changes.len()),
        (DeniedIp, Reason::NoAddress, 0)
    );
    assert_eq!(nowhere.verdict, Verdict::Denied);
    assert_eq!(login(None).tries("755224").word, GrantedReuse);
}

#[test]
fn rule_7_event_tokens_look_ahead_and_resynchronise() {
    let login = |counter: i64| {
        let mut login = user(&[]);
        login.lines = vec![format!("HOTP alice - {KEY} {counter}")];
        login
    };
    for (counter, password, word) in [
        (0, "755224", GrantedFresh),
        (0, "338314", GrantedFresh),
        (0, "254676", DeniedCode),
        (1, "254676", GrantedFresh),
        (1, "755224", DeniedExpired),
        (6, "254676", DeniedExpired),
    ] {
        assert_eq!(login(counter).tries(password).word, word, "{counter} {password}");
    }
    let accepted = &login(0).tries("969429").changes[0].state;
    assert_eq!(
        (accepted.counter, accepted.replay_floor, accepted.failures),
        (CounterField::from_written(4), Some(ReplayFloor::from_written(3)), 0)
    );
    assert_eq!(accepted.used, Used::At { first: NOW, last: NOW });
    assert_eq!(accepted.last_otp.as_ref().unwrap().as_bytes(), b"969429");
    assert_eq!(accepted.address, Address::Ip("192.0.2.7".parse().unwrap()));
}

#[test]
fn rule_7_the_last_counters_never_overflow() {
    let mut login = user(&[]);
    login.lines = vec![format!("HOTP alice - {KEY} {}", i64::MAX - 1)];
    let accepted = login.tries(&code_of(KEY, i64::MAX as u64 - 1));
    assert_eq!(
        (accepted.word, accepted.changes[0].state.counter.as_written()),
        (GrantedFresh, i64::MAX)
    );
    login.lines = vec![format!("HOTP alice - {KEY} {}", i64::MAX)];
    assert_eq!(login.gets(&code_of(KEY, i64::MAX as u64)), (DeniedCode, Reason::CounterExhausted));
}

#[test]
fn rule_7_a_printed_list_ends_with_its_last_code() {
    let login = |counter: i64| {
        let mut login = user(&[]);
        login.lines = vec![format!("PAPER/8/5 alice - {KEY} {counter}")];
        login
    };
    let code = |counter: u64| {
        let key = data_encoding::HEXLOWER.decode(KEY.as_bytes()).unwrap();
        let code = otp::hotp(Hash::Sha1, &key, counter, Digits::new(8).unwrap());
        String::from_utf8(code.as_bytes().to_vec()).unwrap()
    };
    for (counter, position, word, reason) in [
        (0, 0, GrantedFresh, Reason::Fresh),
        (0, 4, GrantedFresh, Reason::Fresh),
        (2, 1, DeniedExpired, Reason::Spent),
        (3, 5, DeniedCode, Reason::WrongCode),
        (4, 4, GrantedFresh, Reason::Fresh),
        (5, 4, DeniedExpired, Reason::Spent),
        (5, 5, DeniedCode, Reason::ListUsedUp),
        (6, 6, DeniedCode, Reason::ListUsedUp),
        (i64::MAX, 0, DeniedCode, Reason::ListUsedUp),
    ] {
        let decision = login(counter).tries(&code(position));
        assert_eq!((decision.word, decision.reason), (word, reason), "{counter} {position}");
        let number = decision.paper.map(|paper| (paper.number, paper.left()));
        let expected = (word == GrantedFresh).then_some((position as u16 + 1, 4 - position as u16));
        assert_eq!(number, expected);
    }
    // With another line of the same key it is one token, which ends where the shortest list does.
    let mut twice = user(&[]);
    for kind in ["HOTP/E/8", "PAPER/8/5", "PAPER/8/30"] {
        twice.lines.push(format!("{kind} alice - {KEY} 4"));
    }
    let granted = twice.tries(&code(4));
    assert_eq!((granted.word, granted.changes.len()), (GrantedFresh, 3));
    twice.lines = vec![format!("PAPER/8/5 alice - {KEY} 5"), format!("PAPER/8/30 alice - {KEY}")];
    for position in [0, 4, 5] {
        assert_ne!(twice.tries(&code(position)).word, GrantedFresh, "{position}");
    }
    // Beside another token, its end is no fault.
    let with_app =
        user(&[&format!("HOTP/E/8 alice - {KEY}"), "PAPER/8/5 alice - 00112233445566778899 5"]);
    assert_eq!(with_app.gets("00000000"), (DeniedCode, Reason::WrongCode));
}

#[test]
fn rule_4_of_codes_of_two_lengths_only_those_that_can_be_codes_are_parted_off() {
    let two = ["HOTP alice + KEY", "PAPER/8/30 alice + 00112233445566778899"];
    let one_off = ["HOTP alice + KEY", "OFF:PAPER/8/30 alice + 00112233445566778899"];
    for (lines, password, asked) in [
        (&two, "sesame755224", &["sesame"][..]),
        (&two, "sesame75522412", &["sesame75", "sesame"]),
        (&two, "1234755224", &["1234", "12"]),
        // Where none can, all are checked as ever.
        (&two, "sesame-zzzzzz", &["sesame-", "sesam"]),
        (&two, "sesame755 224", &["sesame"]),
        (&two, "sesame7552 2412", &["sesame"]),
        (&two, "755224", &[""]),
        (&one_off, "sesame75522412", &["sesame75"]),
    ] {
        let login = user(&lines[..]);
        let pins = std::cell::RefCell::new(Vec::new());
        let answer = |_: &Pin, pin: &[u8]| {
            pins.borrow_mut().push(String::from_utf8(pin.to_vec()).unwrap());
            Some(PinAnswer::Wrong)
        };
        let attempt = Attempt {
            user: b"alice",
            proof: Proof::Password(password.as_bytes()),
            address: Address::Unknown,
        };
        let Outcome::Decided(decision) =
            decide::login(&login.policy, &login.entry(), &attempt, &answer, NOW)
        else {
            panic!("every question is answered");
        };
        assert_eq!((decision.word, decision.reason), (DeniedPin, Reason::WrongPin), "{password}");
        assert!(decision.is_wrong_guess);
        assert_eq!(pins.into_inner(), asked, "{password}");
    }
}

#[test]
fn rule_7_a_time_step_is_accepted_once() {
    let a = totp(NOW);
    let b = totp(NOW + 30);
    let time = user(&["HOTP/T30 alice - KEY"]).with(|policy| policy.max_linger = Some(0));
    assert_eq!(
        time.session(&[(NOW, &a), (NOW + 30, &b), (NOW + 30, &a), (NOW + 31, &b)]),
        [GrantedFresh, GrantedFresh, DeniedExpired, DeniedExpired]
    );
    let lingering = user(&["HOTP/T30 alice - KEY"]);
    assert_eq!(
        lingering.session(&[(NOW, &a), (NOW + 30, &b), (NOW + 30, &a)]),
        [GrantedFresh, GrantedFresh, DeniedExpired],
        "a later code ends the lingering of the one before"
    );
}

#[test]
fn rule_7_time_tokens_follow_a_drifting_clock_in_two_windows() {
    let login = |offset: i64| {
        let mut login = user(&[]);
        login.lines = vec![format!("HOTP/T30 alice - {KEY} {offset}")];
        login
    };
    for (offset, ahead, word) in [
        (0, 4, GrantedFresh),
        (0, 5, DeniedCode),
        (0, -4, GrantedFresh),
        (0, -5, DeniedExpired),
        (20, 24, GrantedFresh),
        (20, 16, GrantedFresh),
        (20, 15, DeniedCode),
        (20, 25, DeniedCode),
        (20, 4, GrantedFresh),
        (20, 5, DeniedCode),
        (-20, -24, GrantedFresh),
        (-20, -15, DeniedCode),
        (-20, 4, GrantedFresh),
        (i64::MAX, 0, GrantedFresh),
        (i64::MIN, 0, GrantedFresh),
    ] {
        let decision = login(offset).tries(&totp(NOW + 30 * ahead));
        assert_eq!(decision.word, word, "offset {offset}, code {ahead} ahead");
        if word == GrantedFresh {
            let state = &decision.changes[0].state;
            assert_eq!(state.counter.as_written(), ahead);
            assert_eq!(
                state.replay_floor,
                Some(ReplayFloor::from_written((NOW / 30 + ahead) * 30))
            );
        }
    }
}

#[test]
fn rule_7_the_floor_without_ext_comes_from_the_visible_fields() {
    // Used at NOW with a code two steps ahead and offset 0: the latest step with that code is the
    // floor.
    let line = |otp: &str| {
        let time = otpgate::users::localtime::format(NOW, &TimeZone::UTC);
        format!("HOTP/T30 alice - {KEY} 0 0 {otp} {} 192.0.2.7", String::from_utf8_lossy(&time))
    };
    let mut login = user(&[]).with(|policy| policy.max_linger = Some(0));
    login.lines = vec![line(&totp(NOW + 60))];
    for (ahead, word) in
        [(0, DeniedExpired), (1, DeniedExpired), (2, DeniedExpired), (3, GrantedFresh)]
    {
        assert_eq!(login.tries(&totp(NOW + 30 * ahead)).word, word, "{ahead} ahead");
    }
    // A last code that is none of this token's: the step of that time itself is the floor.
    login.lines = vec![line("000000")];
    for (ahead, word) in [(-1, DeniedExpired), (0, DeniedExpired), (1, GrantedFresh)] {
        assert_eq!(login.tries(&totp(NOW + 30 * ahead)).word, word, "{ahead} ahead");
    }
}

#[test]
fn rule_7_hexadecimal_codes_of_hotp_unless_switched_off() {
    // RFC 4226: the truncated value of counter 0 is 0x4c93cf18.
    let login = user(&["HOTP alice - KEY"]);
    assert_eq!(login.tries("93cf18").word, GrantedFresh);
    assert_eq!(login.tries("93CF18").word, GrantedFresh);
    assert_eq!(
        login.session(&[(NOW, "93CF18"), (NOW, "93cf18"), (NOW, "93CF18")])[1..],
        [GrantedReuse, GrantedReuse]
    );
    let off = login.with(|policy| policy.allow_hex = false);
    assert_eq!(off.tries("93cf18").word, DeniedCode);
    assert_eq!(off.tries("755224").word, GrantedFresh);
}

#[test]
fn rule_8_wrong_codes_count_and_re_sent_ones_do_not() {
    let time = user(&["HOTP/T30 alice - KEY"]);
    let wrong = time.tries("000000");
    assert_eq!(
        (wrong.word, wrong.changes[0].state.failures, wrong.changes[0].state.last_failure),
        (DeniedCode, 1, Some(NOW))
    );
    let mut event = user(&[]);
    event.lines = vec![format!("HOTP alice - {KEY} 200")];
    for (counter, word) in [(199, DeniedExpired), (100, DeniedExpired), (99, DeniedCode)] {
        assert_eq!(event.tries(&code_of(KEY, counter)).word, word, "{counter}");
    }
    // The window's lowest candidate is four steps back; those of the 24 hours before it are
    // recognised.
    for (back, word) in [(5, DeniedExpired), (2884, DeniedExpired), (2885, DeniedCode)] {
        assert_eq!(time.tries(&totp(NOW - 30 * back)).word, word, "{back} back");
    }
    let two = user(&["HOTP alice - KEY 50", "HOTP alice - OTHER"]);
    assert_eq!(two.tries(&code_of(KEY, 10)).word, DeniedExpired, "of any of the user's tokens");
    let two_phones = user(&["HOTP/T30 alice - KEY", "HOTP/T30 alice - OTHER"]);
    for (back, word) in [(5, DeniedExpired), (1504, DeniedExpired), (1505, DeniedCode)] {
        let step = (NOW / 30 - back) as u64;
        for key in [KEY, OTHER_KEY] {
            assert_eq!(
                two_phones.tries(&code_of(key, step)).word,
                word,
                "3,000 of both, {back} back"
            );
        }
    }
    let decision = two.tries("000000");
    assert_eq!(decision.changes.len(), 2, "each token that could have granted is counted");
}

#[test]
fn rule_8_a_floor_in_the_future_is_refused_uncounted_and_says_so() {
    let mut login = user(&["HOTP/T30 alice - KEY"]);
    let mut entry = login.entry();
    entry.lines[0].state.replay_floor =
        Some(ReplayFloor::from_written(NOW - NOW % 30 + 30 * 86_400));
    entry.lines[0].state.intact = true;
    for password in [totp(NOW), "000000".to_owned()] {
        let decision = login.try_entry(&entry, password.as_bytes());
        assert_eq!((decision.word, decision.reason), (DeniedExpired, Reason::FloorInFuture));
        assert!(decision.changes.is_empty());
    }
    assert!(Reason::FloorInFuture.text().contains("resync"));
    // The floor at the top of the window is nothing strange: with window 0, any code just accepted
    // is there.
    login.policy.max_offset = 0;
    entry.lines[0].state.replay_floor = Some(ReplayFloor::from_written(NOW - NOW % 30));
    assert_eq!(login.try_entry(&entry, b"000000").word, DeniedCode);
}

#[test]
fn several_tokens_of_a_user_all_work() {
    let two = user(&["HOTP alice 12 KEY", "HOTP/E/8 alice 345 OTHER"]);
    assert_eq!(two.tries("12755224").word, GrantedFresh);
    let key = data_encoding::HEXLOWER.decode(OTHER_KEY.as_bytes()).unwrap();
    let eight = otp::hotp(Hash::Sha1, &key, 0, Digits::new(8).unwrap());
    let password = format!("345{}", String::from_utf8_lossy(eight.as_bytes()));
    let decision = two.tries(&password);
    assert_eq!(
        (decision.word, decision.changes.len(), decision.changes[0].line),
        (GrantedFresh, 1, 1)
    );
}

#[test]
fn lines_with_one_algorithm_and_key_are_one_token() {
    let twice = user(&["HOTP alice 12 KEY 0", "HOTP alice 34 KEY 3 2"]);
    assert_eq!(twice.tries("12755224").word, DeniedExpired, "the furthest counter holds for both");
    let decision = twice.tries("12969429");
    assert_eq!(decision.word, GrantedFresh);
    assert_eq!(decision.changes.len(), 2, "all are updated together");
    assert_eq!(decision.changes[0].state, decision.changes[1].state);
    let wrong = twice.tries("12000000");
    assert!(wrong.changes.iter().all(|change| change.state.failures == 3), "one failure, not two");
    let both_pins = user(&["HOTP alice 12 KEY", "HOTP alice 12 KEY"]);
    assert!(both_pins.tries("12000000").changes.iter().all(|change| change.state.failures == 1));
    let around = user(&["HOTP alice 12 KEY", "HOTP alice 12 OTHER", "HOTP alice 12 KEY"]);
    assert!(around.tries("12000000").changes.iter().all(|change| change.state.failures == 1));
    assert_eq!(
        both_pins.session(&[(NOW, "12755224"), (NOW, "12755224")]),
        [GrantedFresh, GrantedReuse]
    );
}
