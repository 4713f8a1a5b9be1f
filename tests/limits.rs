//! `#@ limits` lines of the users file, through the gate: whom they bind, and how soon.

#[path = "common/scene.rs"]
mod scene;

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use jiff::tz::TimeZone;
use otpgate::UnixTime;
use otpgate::decide::{self, Attempt, LoginResult, Outcome, Proof, Verdict};
use otpgate::gate::{Gate, Login, Store};
use otpgate::otp::Code;
use otpgate::policy::{Leaked, Limits, Policy, Server, Settings};
use otpgate::token::{Address, Entry, ReplayFloor, StoredToken, Used};
use otpgate::users::file::UsersFile;
use otpgate::users::record;
use otpgate::users::shared_index::SHARED_FROM;
use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use scene::{KEY, Lines, NoPins, Scene};

/// Counters 0 to 9.
const CODES: [&str; 10] = [
    "755224", "287082", "359152", "969429", "338314", "254676", "287922", "162583", "399871",
    "520489",
];
const NOW: UnixTime = 1_700_000_000;

impl Scene {
    /// Long enough for an index that processes share, with the lines in the middle.
    fn large(lines: &str) -> Scene {
        let other = |i: usize| format!("HOTP other-user-{i:05} - {KEY}\n");
        let half =
            |from: usize| (from..from + SHARED_FROM as usize / 100).map(other).collect::<String>();
        Scene::new(&format!("{}{lines}{}", half(0), half(50_000)))
    }

    fn gate(&self) -> Gate<UsersFile> {
        Gate::new(UsersFile::new(&self.path), || NOW).unwrap()
    }

    fn index(&self) -> PathBuf {
        self.path.with_extension("index")
    }

    /// As an editor does it that makes a new file, and as one that overwrites the old one.
    fn edits(&self, from: &str, to: &str) {
        let new = self.path.with_extension("new");
        fs::write(&new, self.edited(from, to)).unwrap();
        fs::rename(new, &self.path).unwrap();
    }

    fn edits_in_place(&self, from: &str, to: &str) {
        let content = self.edited(from, to);
        let file = fs::OpenOptions::new().write(true).open(&self.path).unwrap();
        file.write_all_at(content.as_bytes(), 0).unwrap();
        file.set_len(content.len() as u64).unwrap();
    }

    fn edited(&self, from: &str, to: &str) -> String {
        let content = fs::read_to_string(&self.path).unwrap();
        assert!(content.contains(from), "{from}");
        content.replacen(from, to, 1)
    }
}

fn apache(change: impl FnOnce(&mut Settings<'static>)) -> Policy {
    let mut settings = Settings::default();
    change(&mut settings);
    settings.policy(Server::Apache)
}

fn with(name: &'static str, word: &'static str) -> Policy {
    apache(|settings| {
        settings.set(Server::Apache, &Leaked, name.as_bytes(), &[word.as_bytes()], b"").unwrap()
    })
}

fn answered(
    gate: &Gate<UsersFile>,
    policy: &Policy,
    user: &str,
    password: &str,
) -> (Verdict, LoginResult, String) {
    let login = Login {
        user: user.as_bytes(),
        password: password.as_bytes(),
        address: Address::of_client(Some("192.0.2.7".parse().unwrap())),
    };
    let log = Lines::default();
    let now = gate.basic_now(policy, &login, &NoPins, None, None, &log);
    let answer = now.unwrap_or_else(|| gate.basic(policy, &login, &NoPins, None, &log));
    (answer.verdict, answer.word, log.texts().join("\n"))
}

fn word(gate: &Gate<UsersFile>, policy: &Policy, password: &str) -> LoginResult {
    answered(gate, policy, "alice", password).1
}

#[test]
fn limits_bind_every_policy_that_the_file_is_used_with() {
    for lines in [
        "#@ limits max_failures=3\nHOTP alice - KEY\n",
        "HOTP alice - KEY\n#@ limits max_failures=3",
    ] {
        for scene in [Scene::new(lines), Scene::large(&format!("{lines}\n"))] {
            let (unset, lax, strict) = (
                apache(|_| ()),
                with("OTPAuthMaxOTPFailure", "20"),
                with("OTPAuthMaxOTPFailure", "2"),
            );
            let gates = [scene.gate(), scene.gate()];
            assert_eq!(word(&gates[0], &lax, "000000"), LoginResult::DeniedCode);
            assert_eq!(word(&gates[1], &unset, "000000"), LoginResult::DeniedCode);
            assert_eq!(
                word(&gates[0], &strict, CODES[0]),
                LoginResult::DeniedLocked,
                "the section's own is stricter"
            );
            assert_eq!(word(&gates[1], &lax, "000000"), LoginResult::DeniedCode);
            for gate in [&gates[0], &gates[1], &scene.gate()] {
                for policy in [&unset, &lax, &strict] {
                    assert_eq!(word(gate, policy, CODES[0]), LoginResult::DeniedLocked);
                }
            }
        }
    }
}

#[test]
fn a_wide_window_is_bound_and_so_is_the_memory_of_repeat_logins() {
    let scene = Scene::new("HOTP alice - KEY\n#@ limits max_offset=2 max_linger=60\n");
    let policy = with("OTPAuthMaxOffset", "10000");
    assert_eq!(word(&scene.gate(), &policy, CODES[3]), LoginResult::DeniedCode);
    assert_eq!(word(&scene.gate(), &policy, CODES[2]), LoginResult::GrantedFresh);
    for (after, expected) in [
        ((|| NOW + 59) as fn() -> UnixTime, LoginResult::GrantedReuse),
        (|| NOW + 60, LoginResult::DeniedExpired),
    ] {
        let gate = Gate::new(UsersFile::new(&scene.path), after).unwrap();
        assert_eq!(word(&gate, &policy, CODES[2]), expected);
        assert_eq!(word(&gate, &policy, CODES[2]), expected, "once more");
    }
}

#[test]
fn an_edit_of_limits_counts_at_once_for_those_who_know_the_file() {
    for scene in [
        Scene::new("#@ limits max_linger=60\nHOTP alice - KEY\n"),
        Scene::large("#@ limits max_linger=60\nHOTP alice - KEY\n"),
    ] {
        let (policy, gate) = (apache(|_| ()), scene.gate());
        assert_eq!(word(&gate, &policy, CODES[0]), LoginResult::GrantedFresh);
        for edit in [Scene::edits, Scene::edits_in_place] {
            for (from, to, expected) in [
                ("max_linger=60", "max_linger=00", LoginResult::DeniedExpired),
                ("max_linger=00", "max_linger=60", LoginResult::GrantedReuse),
                ("#@ limits max_linger=60", "#@ limits max_linger=0", LoginResult::DeniedExpired),
                ("#@ limits max_linger=0\n", "", LoginResult::GrantedReuse),
                (
                    "HOTP alice",
                    "#@ limits max_linger=60\n#@ limits max_linger=0\nHOTP alice",
                    LoginResult::DeniedExpired,
                ),
                ("#@ limits max_linger=0\n", "#  limits max_linger=0\n", LoginResult::GrantedReuse),
                ("#  limits max_linger=0\n", "", LoginResult::GrantedReuse),
            ] {
                edit(&scene, from, to);
                for _ in 0..2 {
                    assert_eq!(word(&gate, &policy, CODES[0]), expected, "{from} -> {to}");
                    assert_eq!(word(&scene.gate(), &policy, CODES[0]), expected, "{from} -> {to}");
                }
            }
        }
    }
}

#[test]
fn limits_hold_while_slots_are_written_and_after_the_rewrite_that_gives_them() {
    let scene = Scene::large("HOTP alice - KEY\n#@ limits max_offset=0\n");
    let policy = with("OTPAuthMaxOffset", "9");
    let gates = [scene.gate(), scene.gate()];
    for (i, pair) in CODES[..8].windows(2).enumerate() {
        assert_eq!(word(&gates[i % 2], &policy, pair[1]), LoginResult::DeniedCode);
        assert_eq!(word(&gates[(i + 1) % 2], &policy, pair[0]), LoginResult::GrantedFresh);
    }
}

#[test]
fn a_line_at_fault_makes_every_login_an_error_that_names_it() {
    for (line, reason) in [
        (
            "#@ limits max_failures=few",
            "max_failures takes a number from 0 to 2147483647 or None, not \"few\"",
        ),
        ("#@limits max_failures=5", "there must be a blank before the kind"),
        ("#@ limits lockout=60,30", "lockout takes a maximum of at least the time itself, 60"),
    ] {
        for scene in [
            Scene::new(&format!("# one\nHOTP alice - KEY\n{line}\n")),
            Scene::large(&format!("HOTP alice - KEY\n{line}\n")),
        ] {
            let number = fs::read_to_string(&scene.path)
                .unwrap()
                .lines()
                .position(|text| text == line)
                .unwrap()
                + 1;
            let (gate, policy) = (scene.gate(), apache(|_| ()));
            for (user, password) in
                [("alice", CODES[0]), ("alice", "000000"), ("alice", ""), ("nobody", CODES[0])]
            {
                let (verdict, word, log) = answered(&gate, &policy, user, password);
                assert_eq!(
                    (verdict, word),
                    (Verdict::Error, LoginResult::Error),
                    "{user} {password}"
                );
                assert_eq!(
                    log,
                    format!(
                        "error: cannot use {}: line {number}: #@ limits: {reason}; nobody can log in until it is \
                         corrected with `otpgate edit`, user \"{user}\"",
                        scene.path.display()
                    )
                );
            }
            scene.edits(line, "#@ limits max_failures=5");
            assert_eq!(word(&gate, &policy, CODES[0]), LoginResult::GrantedFresh);
        }
    }
}

#[test]
fn other_lines_for_us_alone_refuse_nobody() {
    let lines = "#@ allow trusted-networks=everywhere\n#@ apart\n#@ free 1\n#@ later max_failures=few\n#@\nHOTP alice - KEY\n";
    for scene in [Scene::new(lines), Scene::large(lines)] {
        assert_eq!(word(&scene.gate(), &apache(|_| ()), CODES[0]), LoginResult::GrantedFresh);
        assert!(
            fs::read_to_string(&scene.path).unwrap().contains(lines.split("HOTP").next().unwrap())
        );
    }
}

/// Whoever opens an index that somebody else has built is bound as the builder is; and by an index
/// of the release before, which has no such lines, nobody is let off.
#[test]
fn an_index_without_the_limits_is_never_used() {
    let scene = Scene::large("HOTP alice - KEY\n#@ limits max_failures=1\n");
    let lax = with("OTPAuthMaxOTPFailure", "20");
    assert_eq!(word(&scene.gate(), &lax, "000000"), LoginResult::DeniedCode);
    let builder = scene.gate();
    assert_eq!(word(&builder, &lax, CODES[0]), LoginResult::DeniedLocked);
    let built = fs::read(scene.index()).unwrap();
    assert_eq!(&built[..8], b"OTPINDX6");
    assert_eq!(word(&scene.gate(), &lax, CODES[0]), LoginResult::DeniedLocked);
    assert!(fs::read(scene.index()).unwrap() == built, "it was built once");
    // As releases before left it: their mark, and a header that is right but for that.
    let marked = |mark: &[u8]| [mark, &built[8..]].concat();
    let marks = [b"OTPINDX1", b"OTPINDX2", b"OTPINDX3", b"OTPINDX5"].map(|mark| mark.to_vec());
    let befores =
        [b"OTPINDX1", b"OTPINDX2", b"OTPINDX3", b"OTPINDX4", b"OTPINDX5"].map(|mark| marked(mark));
    for content in befores.into_iter().chain(marks) {
        fs::write(scene.index(), content).unwrap();
        assert_eq!(word(&scene.gate(), &lax, CODES[0]), LoginResult::DeniedLocked);
        assert_eq!(word(&builder, &lax, CODES[0]), LoginResult::DeniedLocked);
        assert_eq!(&fs::read(scene.index()).unwrap()[..8], b"OTPINDX6", "built anew");
        assert_eq!(fs::read(scene.index()).unwrap().len(), built.len());
    }
    // Of a later form, or somebody else's: left alone.
    fs::write(scene.index(), b"OTPINDX7").unwrap();
    assert_eq!(word(&scene.gate(), &lax, CODES[0]), LoginResult::DeniedLocked);
    assert_eq!(fs::read(scene.index()).unwrap(), b"OTPINDX7");
}

/// The limit is in the file at any moment, each time somewhere else. Readers that meet the file,
/// its index and the journal in whatever state must not go by one without it.
#[test]
fn limits_are_never_missed_while_the_file_is_replaced_again_and_again() {
    for scene in [Scene::new("HOTP alice - KEY\n"), Scene::large("HOTP alice - KEY\n")] {
        let policy = apache(|_| ());
        assert_eq!(word(&scene.gate(), &policy, CODES[0]), LoginResult::GrantedFresh);
        assert_eq!(word(&scene.gate(), &policy, CODES[0]), LoginResult::GrantedReuse);
        let content = fs::read_to_string(&scene.path).unwrap();
        let put = |round: usize| {
            let limits = "#@ limits max_linger=0\n";
            let filler = format!("# {}\n", "x".repeat(round * 7 % 90));
            let new = match round % 3 {
                0 => format!("{limits}{content}"),
                1 => format!("{filler}{content}{limits}"),
                _ => content.replacen("HOTP", &format!("{filler}{limits}HOTP"), 1),
            };
            let path = scene.path.with_extension("new");
            fs::write(&path, new).unwrap();
            fs::rename(path, &scene.path).unwrap();
        };
        put(0);
        let done = AtomicBool::new(false);
        let answers: usize = std::thread::scope(|threads| {
            let readers: Vec<_> = (0..3)
                .map(|_| {
                    threads.spawn(|| {
                        let (gate, mut count) = (scene.gate(), 0);
                        while !done.load(Ordering::Relaxed) {
                            assert_eq!(word(&gate, &policy, CODES[0]), LoginResult::DeniedExpired);
                            count += 1;
                        }
                        count
                    })
                })
                .collect();
            for round in 0..60 {
                put(round);
                std::thread::sleep(Duration::from_millis(round as u64 % 40));
            }
            done.store(true, Ordering::Relaxed);
            readers
                .into_iter()
                .map(|reader| reader.join().expect("a reader that doesn't panic"))
                .sum()
        });
        assert!(answers > 60, "{answers}");
    }
}

#[test]
fn what_admins_do_to_state_waits_for_limits_that_can_be_read() {
    let scene = Scene::new("HOTP alice - KEY\n#@ limits max_failures\n");
    let fault = UsersFile::new(&scene.path)
        .update(&mut |transaction| transaction.find(b"alice").map(|_| ()));
    assert!(
        fault.unwrap_err().to_string().contains("line 2: #@ limits: max_failures needs a value")
    );
}

/// Often one that doesn't end by itself.
fn some_lockout() -> impl Strategy<Value = (u32, u32)> {
    (prop_oneof![Just(0), 1u32..200], 0u32..400).prop_map(|(time, more)| (time, time + more))
}

fn some_settings() -> impl Strategy<Value = Policy> {
    (0u32..12, prop::option::of(0u32..400), prop::option::of(16u32..400), 0u32..8, some_lockout())
        .prop_map(
            |(max_offset, max_linger, max_idle, max_failures, (lockout_time, lockout_max))| {
                Policy {
                    max_offset,
                    max_linger: max_linger.or(max_idle.is_none().then_some(600)),
                    max_idle,
                    max_failures,
                    lockout_time,
                    lockout_max,
                    unset: Default::default(),
                    ..Settings::default().policy(Server::Apache)
                }
            },
        )
}

fn some_limits() -> impl Strategy<Value = Limits> {
    let some = |range: std::ops::Range<u32>| prop::option::of(range);
    (some(0..8), prop::option::of(some_lockout()), some(0..12), some(0..400), some(16..400))
        .prop_map(|(failures, lockout, offset, linger, idle)| {
            let mut words = Vec::new();
            let mut say = |name: &str, number: Option<u32>| {
                words.extend(number.map(|n| format!("{name}={n}")))
            };
            say("max_failures", failures);
            say("max_offset", offset);
            say("max_linger", linger);
            say("max_idle", idle);
            words.extend(lockout.map(|(time, max)| format!("lockout={time},{max}")));
            Limits::parse(words.iter().map(|word| word.as_bytes())).unwrap()
        })
}

/// A line, exact as logins leave it, and how long ago what it tells of was.
fn some_line(kind: &'static str) -> impl Strategy<Value = StoredToken> {
    (0i64..12, 0u32..9, 0i64..500, 0i64..500, 0i64..500, 0u64..14).prop_map(
        move |(counter, failures, first, last, failed, used)| {
            let text = format!("{kind} alice - {KEY} {counter}");
            let record = record::parse(text.as_bytes(), &TimeZone::UTC).unwrap();
            let mut state = record.state;
            let step = match kind {
                "HOTP" => used,
                _ => NOW as u64 / 30 - used,
            };
            state.last_otp = Code::new(record.token.code(step).as_bytes());
            state.replay_floor = Some(ReplayFloor::from_written(if kind == "HOTP" {
                step as i64
            } else {
                step as i64 * 30
            }));
            state.used = Used::At { first: NOW - first.max(last), last: NOW - last };
            (state.failures, state.last_failure, state.intact) =
                (failures, Some(NOW - failed), true);
            StoredToken { token: record.token, state }
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, rng_seed: RngSeed::Fixed(7), failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn limits_only_ever_refuse(
        policy in some_settings(),
        limits in some_limits(),
        lines in prop::collection::vec(prop_oneof![some_line("HOTP"), some_line("HOTP/T30")], 1..3),
        position in -14i64..14,
        of in 0usize..3,
    ) {
        let entry = Entry { lines, ..Entry::default() };
        let line = &entry.lines[of % entry.lines.len()];
        let is_time = line.state.replay_floor > Some(ReplayFloor::from_written(100));
        let middle = if is_time { NOW / 30 } else { line.state.counter.as_written() };
        let code = line.token.code((middle + position).max(0) as u64);
        let attempt = Attempt { user: b"alice", proof: Proof::Password(code.as_bytes()), address: Address::Unknown };
        let verdict = |policy: &Policy| match decide::login(policy, &entry, &attempt, &|_, _| None, NOW) {
            Outcome::Decided(decision) => decision.verdict,
            Outcome::NeedPin(_) => unreachable!("no PIN"),
        };
        if verdict(&policy.restricted_by(&limits)) == Verdict::Granted {
            prop_assert_eq!(verdict(&policy), Verdict::Granted);
        }
    }

    #[test]
    fn limits_may_come_in_any_order_and_more_than_once(
        policy in some_settings(),
        unset in any::<[bool; 5]>(),
        one in some_limits(),
        other in some_limits(),
    ) {
        let [max_offset, max_linger, max_failures, lockout, throttle] = unset;
        let unset = otpgate::policy::Unset { max_offset, max_linger, max_failures, lockout, throttle };
        let policy = Policy { unset, ..policy };
        let both = policy.restricted_by(&one).restricted_by(&other);
        prop_assert_eq!(both, policy.restricted_by(&other).restricted_by(&one));
        prop_assert_eq!(both, policy.restricted_by(&one.strictest(other)));
        prop_assert_eq!(both, both.restricted_by(&one).restricted_by(&other));
        prop_assert_eq!(one.strictest(one), one);
    }
}
