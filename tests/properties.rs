//! What holds for any sequence of logins, whatever is presented when.

#[path = "common/proptest.rs"]
mod config;

use std::collections::{HashMap, HashSet};
use std::fs;

use config::cases;
use jiff::tz::TimeZone;
use otpgate::UnixTime;
use otpgate::decide::{self, Attempt, Decision, LoginResult, Outcome, PinAnswer, Proof, Verdict};
use otpgate::gate::{Gate, Login, PinSource};
use otpgate::log::{Level, Log};
use otpgate::policy::{Forget, Policy, Server, Settings};
use otpgate::token::{Address, Algorithm, Entry, MovingFactor, Pin, State, StoredToken, Token};
use otpgate::users::file::UsersFile;
use otpgate::users::{line, record};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

/// Several tokens of one user; some have a key in common.
const TOKENS: [&str; 8] = [
    "HOTP/E/6 alice - 3132333435363738393031323334353637383930",
    "HOTP/T30/6 alice - 3132333435363738393031323334353637383930",
    "HOTP/T60/6 alice 1234 3132333435363738393031323334353637383930",
    "HOTP/E/8 alice 1234 00112233445566778899aabbccddeeff00112233",
    "PAPER/8/6 alice 1234 0123456789abcdef0123456789abcdef01234567",
    "HOTP-SHA256/T30/6 alice 1234 ffeeddccbbaa99887766554433221100",
    "MOTP alice 9876 e3152afee62599c8",
    "OFF:HOTP/E/6 alice - 0102030405060708090a0b0c0d0e0f10",
];
const START: UnixTime = 1_700_000_025;

fn entry_of(lines: &[usize]) -> Entry {
    let parse = |&line: &usize| {
        let record = record::parse(TOKENS[line].as_bytes(), &TimeZone::UTC).unwrap();
        StoredToken { token: record.token, state: record.state }
    };
    Entry { lines: lines.iter().map(parse).collect(), ..Entry::default() }
}

/// What somebody presents.
#[derive(Clone, Debug)]
enum Presented {
    /// The code of one of the lines, so many counters or steps from where its owner is.
    CodeOf { line: usize, from_here: i64, with_pin: bool },
    /// What was presented so many attempts ago.
    Again(usize),
    /// Something else.
    Other(String),
}

#[derive(Clone, Debug)]
struct Step {
    /// Seconds that the clock moves, back if below 0.
    clock: i64,
    presented: Presented,
    address: Option<u8>,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let presented = prop_oneof![
        6 => (0..4usize, -4..8i64, prop::bool::weighted(0.9))
            .prop_map(|(line, from_here, with_pin)| Presented::CodeOf { line, from_here, with_pin }),
        3 => (1..6usize).prop_map(Presented::Again),
        1 => "[0-9]{0,12}".prop_map(Presented::Other),
    ];
    let clock = prop_oneof![
        4 => Just(0i64),
        4 => 1..45i64,
        1 => -90..0i64,
        1 => select(vec![-90_000, -3_600, 600, 3_600, 90_000i64]),
    ];
    let step = (clock, presented, proptest::option::weighted(0.9, 0..3u8));
    vec(step.prop_map(|(clock, presented, address)| Step { clock, presented, address }), 1..40)
}

fn lines() -> impl Strategy<Value = Vec<usize>> {
    vec(0..TOKENS.len(), 1..5)
}

fn policies() -> impl Strategy<Value = Policy> {
    let limit = |numbers: Vec<u32>| proptest::option::of(select(numbers));
    (
        0..7u32,
        limit(vec![0, 30, 600]),
        limit(vec![16, 60]),
        select(vec![0, 1, 3]),
        select(vec![(0, 86_400), (60, 60), (60, 3_600)]),
        any::<(bool, bool)>(),
    )
        .prop_map(
            |(
                max_offset,
                max_linger,
                max_idle,
                max_failures,
                (lockout_time, lockout_max),
                (ip, hex),
            )| {
                Policy {
                    max_offset,
                    // As settings have it: without an idle time there is a linger time.
                    max_linger: max_linger.or(max_idle.is_none().then_some(600)),
                    max_idle,
                    max_failures,
                    lockout_time,
                    lockout_max,
                    logout_on_ip_change: ip,
                    allow_hex: hex,
                    ..Settings::default().policy(Server::Apache)
                }
            },
        )
}

/// Where a token's owner is.
fn here(token: &Token, state: &State, now: UnixTime) -> i64 {
    match token.factor {
        MovingFactor::Event | MovingFactor::Paper(_) => state.counter.as_written(),
        MovingFactor::Time(period) => now / i64::from(period.get()),
    }
}

/// A session with one user's lines.
struct Session {
    policy: Policy,
    entry: Entry,
    now: UnixTime,
    presented: Vec<Vec<u8>>,
}

impl Session {
    fn new(policy: Policy, lines: &[usize]) -> Session {
        Session { policy, entry: entry_of(lines), now: START, presented: Vec::new() }
    }

    fn password(&self, presented: &Presented) -> Vec<u8> {
        match presented {
            Presented::Other(text) => text.clone().into_bytes(),
            Presented::Again(ago) => {
                let at = self.presented.len().checked_sub(*ago);
                at.map_or(b"000000".to_vec(), |at| self.presented[at].clone())
            }
            Presented::CodeOf { line, from_here, with_pin } => {
                let StoredToken { token, state } = &self.entry.lines[line % self.entry.lines.len()];
                let position = (here(token, state, self.now) + from_here).max(0);
                let code = token.code(position as u64);
                match &token.pin {
                    Pin::Literal(pin) if *with_pin && token.algorithm != Algorithm::Motp => {
                        [pin.expose(), code.as_bytes()].concat()
                    }
                    _ => code.as_bytes().to_vec(),
                }
            }
        }
    }

    fn decide(&self, policy: &Policy, password: &[u8], address: &Address) -> Decision {
        let attempt =
            Attempt { user: b"alice", proof: Proof::Password(password), address: address.clone() };
        match decide::login(policy, &self.entry, &attempt, &|_, _| None, self.now) {
            Outcome::Decided(decision) => decision,
            Outcome::NeedPin(_) => panic!("all PINs are at hand"),
        }
    }

    /// The decision, and the states before.
    fn take(&mut self, step: &Step) -> (Decision, Vec<State>) {
        self.now += step.clock;
        let password = self.password(&step.presented);
        let decision = self.decide(&self.policy, &password, &address(step));
        self.presented.push(password);
        let before = self.entry.lines.iter().map(|line| line.state.clone()).collect();
        for change in &decision.changes {
            self.entry.lines[change.line].state = State { intact: true, ..change.state.clone() };
        }
        (decision, before)
    }
}

fn address(step: &Step) -> Address {
    Address::of_client(step.address.map(|last| format!("192.0.2.{last}").parse().unwrap()))
}

/// What a code is a code of: a device, and its counter or the second at which its step began.
fn event(session: &Session, line: usize) -> (String, i64) {
    let StoredToken { token, state } = &session.entry.lines[line];
    let device = format!("{:?} {:?} {:?}", token.algorithm, token.factor, token.key.expose());
    (device, state.replay_floor.expect("a grant says what was accepted").as_written())
}

proptest! {
    #![proptest_config(cases(2_000))]

    #[test]
    fn each_counter_and_each_time_step_is_granted_fresh_once(
        policy in policies(), lines in lines(), steps in steps()
    ) {
        let mut session = Session::new(policy, &lines);
        let mut granted = HashSet::new();
        for step in &steps {
            let (decision, _) = session.take(step);
            prop_assert_eq!(decision.verdict == Verdict::Granted, decision.accepted.is_some());
            let Some(accepted) = decision.accepted else { continue };
            let password = session.presented.last().unwrap();
            let (token, event) = (&session.entry.lines[accepted.line].token, event(&session, accepted.line));
            let position = match token.factor {
                MovingFactor::Event | MovingFactor::Paper(_) => event.1,
                MovingFactor::Time(period) => event.1 / i64::from(period.get()),
            };
            let (decimal, hexadecimal) = token.codes().of(position as u64);
            let typed = &password[accepted.pin_len..];
            let is_its_code = typed.eq_ignore_ascii_case(decimal.as_bytes())
                || hexadecimal.is_some_and(|code| typed.eq_ignore_ascii_case(code.as_bytes()));
            prop_assert!(is_its_code, "what was granted is the code of what is then spent");
            if decision.word == LoginResult::GrantedFresh {
                prop_assert!(granted.insert(event), "granted again: {:?}", decision);
            } else {
                prop_assert!(granted.contains(&event), "reused, and never granted before: {:?}", decision);
            }
        }
    }

    #[test]
    fn counters_and_floors_never_go_back(policy in policies(), lines in lines(), steps in steps()) {
        let mut session = Session::new(policy, &lines);
        for step in &steps {
            let (decision, before) = session.take(step);
            for (line, before) in session.entry.lines.iter().zip(before) {
                if line.token.factor.is_event() {
                    prop_assert!(line.state.counter.as_written() >= before.counter.as_written(), "{:?}: {:?}", before, decision);
                }
                prop_assert!(line.state.replay_floor >= before.replay_floor, "{:?}: {:?}", before, decision);
            }
        }
    }

    #[test]
    fn a_code_in_two_groups_is_decided_like_the_code(
        policy in policies(), lines in lines(), steps in steps()
    ) {
        // What is in the middle of one token's code isn't in that of a longer one.
        let lines: Vec<usize> = lines.into_iter().filter(|&line| !TOKENS[line].contains("/8")).collect();
        prop_assume!(!lines.is_empty());
        let mut session = Session::new(policy, &lines);
        for step in &steps {
            let before = session.entry.clone();
            let (decision, _) = session.take(step);
            let mut password = session.presented.last().unwrap().clone();
            if password.len() < 6 {
                continue;
            }
            password.insert(password.len() - 3, b' ');
            let after = std::mem::replace(&mut session.entry, before);
            prop_assert_eq!(session.decide(&policy, &password, &address(step)), decision);
            session.entry = after;
        }
    }

    #[test]
    fn a_password_that_ends_in_a_code_is_split_before_it_whatever_it_holds(
        digits in 1..=10u8, password in "[0-9a-fx ]{0,24}"
    ) {
        let line = format!("HOTP/E/{digits} alice - 00");
        let token = record::parse(line.as_bytes(), &TimeZone::UTC).unwrap().token;
        let count = usize::from(digits);
        let split = token.split(password.as_bytes());
        let Some(pin_len) = password.len().checked_sub(count) else {
            prop_assert!(split.is_none());
            return Ok(());
        };
        let (pin, code) = split.unwrap();
        let (literal_pin, literal) = password.split_at(pin_len);
        if !literal.contains(' ') {
            prop_assert_eq!((pin, code.as_bytes()), (literal_pin.as_bytes(), literal.as_bytes()));
        } else if pin.len() != pin_len {
            prop_assert_eq!(pin.len() + 1, pin_len);
            prop_assert!(code.as_bytes().iter().all(u8::is_ascii_hexdigit));
            let groups: Vec<&str> = password[pin.len()..].split(' ').collect();
            prop_assert_eq!(groups.concat().into_bytes(), code.as_bytes());
            prop_assert!(groups.len() == 2 && groups[0].len().abs_diff(groups[1].len()) < 2);
        }
    }

    #[test]
    fn a_stricter_policy_grants_nothing_that_a_laxer_one_refuses(
        lax in policies(), lines in lines(), steps in steps(),
        less in any::<[u32; 4]>(), stricter in any::<[bool; 4]>(),
    ) {
        let fewer = |limit: Option<u32>, by: u32| match limit {
            None if by.is_multiple_of(2) => None,
            None => Some(16 + by % 600),
            Some(limit) => Some(limit - by % (limit + 1)),
        };
        let strict = Policy {
            max_offset: lax.max_offset - less[0] % (lax.max_offset + 1),
            max_linger: fewer(lax.max_linger, less[1]),
            max_idle: fewer(lax.max_idle, less[2]),
            max_failures: if lax.max_failures == 0 { less[3] % 4 } else { 1 + less[3] % lax.max_failures },
            lockout_time: if stricter[0] { 0 } else { lax.lockout_time },
            logout_on_ip_change: lax.logout_on_ip_change || stricter[1],
            allow_hex: lax.allow_hex && !stricter[2],
            forget: if stricter[3] { Forget::Off } else { lax.forget },
            ..lax
        };
        let mut session = Session::new(lax, &lines);
        for step in &steps {
            let (decision, before) = session.take(step);
            for (line, state) in session.entry.lines.iter_mut().zip(before) {
                line.state = state;
            }
            let password = session.presented.last().unwrap();
            let strictly = session.decide(&strict, password, &address(step));
            prop_assert!(
                strictly.verdict != Verdict::Granted || decision.verdict == Verdict::Granted,
                "{:?} grants, {:?} doesn't: {:?}, {:?}", strict, lax, strictly, decision
            );
            for change in &decision.changes {
                session.entry.lines[change.line].state = State { intact: true, ..change.state.clone() };
            }
        }
    }
}

struct Nobody;

impl PinSource for Nobody {
    fn identity(&self) -> Vec<u8> {
        Vec::new()
    }

    fn check(&self, _: &[u8], _: &[u8]) -> PinAnswer {
        PinAnswer::NoSource
    }
}

impl Log for Nobody {
    fn log(&self, _: Level, _: std::fmt::Arguments<'_>) {}
}

/// Lines as people write them. `N` is a number of its own for each.
fn written_lines() -> impl Strategy<Value = Vec<String>> {
    let blank = || select(vec![" ", "\t", "   ", " \t ", "\x0b"]);
    let token = (
        blank(),
        blank(),
        blank(),
        select(vec![
            "",
            " ",
            "\r",
            " 3 1 - 1970-01-01T00:00:00L - and more",
            " 0",
            " 3 1",
            "\t0\t0 - 1970-01-01T00:00:00L -",
        ]),
    )
        .prop_map(|(a, b, c, tail)| {
            format!("HOTP/E/6{a}userN{b}-{c}31323334353637383930313233343536373839NN{tail}")
        });
    let other = select(vec![
        "",
        "# a comment",
        "  ",
        "\r",
        "broken line here",
        "HOTP half",
        "#@ limits max_offset=9",
        "#@ later x=1",
        "HOTP/X eve - 00",
    ]);
    let line = prop_oneof![3 => token, 1 => other.prop_map(str::to_owned)];
    vec(line, 1..8).prop_map(|lines| {
        let numbered = |(number, line): (usize, String)| {
            line.replace("NN", &format!("{number:02}")).replace('N', &number.to_string())
        };
        lines.into_iter().enumerate().map(numbered).collect()
    })
}

/// A line without its state: what comes before and after.
fn around_state(line: &[u8]) -> (Vec<u8>, Vec<u8>) {
    match record::parse(line, &TimeZone::system()) {
        Ok(record) if !line.starts_with(b"#") => (
            line[..record.layout.head[3].end].to_vec(),
            line[record.layout.state.end..].trim_ascii_start().to_vec(),
        ),
        _ => (line.to_vec(), Vec::new()),
    }
}

proptest! {
    // Each login is synced to the disk.
    #![proptest_config(cases(60))]

    #[test]
    fn logins_change_no_byte_but_state(
        lines in written_lines(), ends_with_newline in any::<bool>(), logins in vec((0..8usize, 0..3i64), 1..6)
    ) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("users");
        let content = lines.join("\n") + if ends_with_newline { "\n" } else { "" };
        fs::write(&path, &content).unwrap();
        let gate = Gate::new(UsersFile::new(&path), || START).unwrap();
        let policy = Settings::default().policy(Server::Apache);
        let mut counters: HashMap<usize, i64> = HashMap::new();
        let mut before = content.into_bytes();
        let mut has_slots = false;
        for (user, ahead) in logins {
            let user = user % lines.len();
            let Some(name) = line::user_of(lines[user].as_bytes()).filter(|name| name.starts_with(b"user")) else {
                continue;
            };
            let record = record::parse(lines[user].as_bytes(), &TimeZone::system()).unwrap();
            let counter = counters.get(&user).copied().unwrap_or(record.state.counter.as_written()) + ahead;
            let code = record.token.code(counter as u64);
            let login = Login { user: name, password: code.as_bytes(), address: Address::Unknown };
            let answer = gate.basic(&policy, &login, &Nobody, None, &Nobody);
            prop_assert_eq!(answer.word, LoginResult::GrantedFresh);
            counters.insert(user, counter + 1);
            let after = fs::read(&path).unwrap();
            let split = |bytes: &[u8]| bytes.split(|&b| b == b'\n').map(<[u8]>::to_vec).collect::<Vec<_>>();
            let (old, new) = (split(&before), split(&after));
            prop_assert_eq!(old.len(), new.len());
            for (number, (old, new)) in old.iter().zip(&new).enumerate() {
                if number == user || !has_slots {
                    prop_assert_eq!(around_state(old), around_state(new), "line {}", number + 1);
                } else {
                    prop_assert_eq!(old, new, "line {}", number + 1);
                }
                if number != user && let Ok(old) = record::parse(old, &TimeZone::system()) {
                    let new = record::parse(new, &TimeZone::system()).unwrap();
                    prop_assert_eq!(old.state.counter, new.state.counter);
                    prop_assert_eq!(old.state.failures, new.state.failures);
                }
            }
            (before, has_slots) = (after, true);
        }
    }
}
