//! What a gate promises, on a store that is no users file: one in memory that has steps run again
//! all the time.

#[path = "second_store/memory.rs"]
mod memory;
#[path = "common/scene.rs"]
mod scene;

use std::io;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Barrier};
use std::time::Duration;

use jiff::tz::TimeZone;
use md5::{Digest, Md5};
use otpgate::UnixTime;
use otpgate::decide::{LoginResult, Verdict};
use otpgate::gate::{Answer, DigestLogin, Gate, Login, Match, RequestMemory};
use otpgate::http::digest::{Credentials, DigestAlgorithm, Exchange};
use otpgate::otp::{self, Digits};
use otpgate::policy::{Limits, Policy, Server, Settings, Throttle};
use otpgate::store::{Found, LoopTurn, Reach, Store, StoreError, Transaction, TriesError};
use otpgate::throttle::Bytes;
use otpgate::token::{Address, StoredToken};
use otpgate::users::record;
use parking_lot::Mutex;

use memory::{Content, MemoryStore};
use scene::{KEY, Lines, NoPins};

const NOW: UnixTime = 1_700_000_000;
const GATES: usize = 4;
/// So many wait at one gate for each other, however long that takes: none of them is told to come
/// again (specification, 8.3).
const OF_A_GATE: usize = 8;
const THREADS: usize = GATES * OF_A_GATE;
const REACHES: [Reach; 2] = [Reach::OneUser, Reach::AllUsers];
const HOME: &str = "192.0.2.7";
const CAFE: &str = "198.51.100.23";
/// Who waits for longer waits for somebody who should be waited for by nobody.
const PATIENCE: Duration = Duration::from_secs(30);

/// Codes count once, wrong ones lock nobody, and there are no budgets.
fn plain() -> Policy {
    let policy = Settings::default().policy(Server::Apache);
    Policy { max_linger: Some(0), max_offset: 100, throttle: None, ..policy }
}

fn clock() -> UnixTime {
    NOW
}

/// A line of a users file is how a test says what a token is.
fn line(text: &str) -> (Vec<u8>, StoredToken) {
    let text = text.replace("KEY", KEY);
    let record = record::parse(text.as_bytes(), &TimeZone::UTC).expect("a good line");
    let user = text.split(' ').nth(1).expect("a user").as_bytes().to_vec();
    (user, StoredToken { token: record.token, state: record.state })
}

fn content(lines: &[&str]) -> Content {
    let mut content = Content::default();
    for (user, line) in lines.iter().map(|text| line(text)) {
        content.add(&user, line);
    }
    content
}

fn store(reach: Reach, lines: &[&str]) -> MemoryStore {
    let store = MemoryStore::new(reach);
    store.replace(Ok(content(lines)));
    store
}

/// As of several processes, which have nothing in common but the store.
fn gates(store: &MemoryStore) -> [Gate<MemoryStore>; GATES] {
    [(); GATES].map(|()| gate(store.clone()))
}

fn gate<S: Store>(store: S) -> Gate<S> {
    Gate::new(store, clock).expect("random bytes")
}

/// Of the key of all lines here.
fn code(position: u64) -> String {
    let code = otp::hotp(otp::Hash::Sha1, b"12345678901234567890", position, Digits::SIX);
    String::from_utf8(code.as_bytes().to_vec()).expect("digits")
}

/// Codes that no position nearby has.
fn wrong_codes(count: usize) -> Vec<String> {
    let right: Vec<String> = (0..200).map(code).collect();
    (0..)
        .map(|number| format!("{number:06}"))
        .filter(|code| !right.contains(code))
        .take(count)
        .collect()
}

fn login<S: Store>(
    gate: &Gate<S>,
    policy: &Policy,
    user: &str,
    password: &str,
) -> (Answer, Vec<String>) {
    login_from(gate, policy, (user, HOME), password)
}

fn login_from<S: Store>(
    gate: &Gate<S>,
    policy: &Policy,
    (user, address): (&str, &str),
    password: &str,
) -> (Answer, Vec<String>) {
    let log = Lines::default();
    let answer = gate.basic(policy, &login_of(user, address, password), &NoPins, None, &log);
    (answer, log.texts())
}

fn login_of<'a>(user: &'a str, address: &str, password: &'a str) -> Login<'a> {
    let address = Address::of_client(Some(address.parse().expect("an address")));
    Login { user: user.as_bytes(), password: password.as_bytes(), address }
}

fn word<S: Store>(gate: &Gate<S>, policy: &Policy, user: &str, password: &str) -> LoginResult {
    login(gate, policy, user, password).0.word
}

/// Does something in so many threads at the same moment.
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

/// How often each of these words was answered; each answer has one log line, which begins with it.
#[track_caller]
fn tally(answers: &[(Answer, Vec<String>)], words: &[LoginResult]) -> Vec<usize> {
    for (answer, lines) in answers {
        assert_eq!(lines.len(), 1, "{answer:?}: {lines:?}");
        assert!(lines[0].starts_with(answer.word.as_str()), "{answer:?}: {lines:?}");
    }
    words
        .iter()
        .map(|word| answers.iter().filter(|(answer, _)| answer.word == *word).count())
        .collect()
}

#[test]
fn one_of_many_gets_a_fresh_code_at_whichever_gate() {
    for reach in REACHES {
        let store = store(reach, &["HOTP alice - KEY"]);
        let gates = gates(&store);
        for counter in 0..40 {
            let answers = at_once(THREADS, |number| {
                login(&gates[number % GATES], &plain(), "alice", &code(counter))
            });
            let counts = tally(&answers, &[LoginResult::GrantedFresh, LoginResult::DeniedExpired]);
            assert_eq!(counts, [1, THREADS - 1], "{reach:?}");
            let state = store.state(b"alice", 0);
            assert_eq!((state.counter.as_written(), state.failures), (counter as i64 + 1, 0));
        }
        assert!(store.compares().run_again() >= 40 / 3, "{reach:?}: {:?}", store.compares());
    }
}

#[test]
fn while_the_code_lingers_the_others_are_granted_again() {
    for reach in REACHES {
        let store = store(reach, &["HOTP alice - KEY"]);
        let (gates, policy) = (gates(&store), Policy { max_linger: Some(600), ..plain() });
        for counter in 0..10 {
            let answers = at_once(THREADS, |number| {
                login(&gates[number % GATES], &policy, "alice", &code(counter))
            });
            assert_eq!(
                tally(&answers, &[LoginResult::GrantedFresh, LoginResult::GrantedReuse]),
                [1, THREADS - 1]
            );
        }
        assert_eq!(store.state(b"alice", 0).counter.as_written(), 10);
    }
}

#[test]
fn a_limit_of_five_lets_five_codes_be_tried() {
    for reach in REACHES {
        let store = store(reach, &["HOTP alice - KEY"]);
        let (gates, policy) = (gates(&store), Policy { max_failures: 5, ..plain() });
        let wrong = wrong_codes(THREADS);
        let answers = at_once(wrong.len(), |number| {
            login(&gates[number % GATES], &policy, "alice", &wrong[number])
        });
        assert_eq!(
            tally(&answers, &[LoginResult::DeniedCode, LoginResult::DeniedLocked]),
            [5, THREADS - 5],
            "{reach:?}"
        );
        assert_eq!(store.state(b"alice", 0).failures, 5);
        assert_eq!(word(&gates[0], &policy, "alice", &code(0)), LoginResult::DeniedLocked);
    }
}

#[test]
fn each_wrong_code_counts_once_however_often_its_step_runs() {
    for reach in REACHES {
        let store = store(reach, &["HOTP alice - KEY", "HOTP/T30 alice - 00"]);
        let gates = gates(&store);
        let wrong = wrong_codes(THREADS);
        let answers = at_once(wrong.len(), |number| {
            login(&gates[number % GATES], &plain(), "alice", &wrong[number])
        });
        assert_eq!(tally(&answers, &[LoginResult::DeniedCode]), [THREADS], "{reach:?}");
        assert_eq!([0, 1].map(|line| store.state(b"alice", line).failures), [THREADS as u32; 2]);
        assert!(store.compares().run_again() > 0);
        // A grant clears both.
        assert_eq!(word(&gates[0], &plain(), "alice", &code(0)), LoginResult::GrantedFresh);
        assert_eq!([0, 1].map(|line| store.state(b"alice", line).failures), [0, 0]);
    }
}

#[test]
fn everybody_who_logs_in_at_once_gets_an_answer_of_their_own() {
    for reach in REACHES {
        let lines: Vec<String> =
            (0..THREADS).map(|number| format!("HOTP user{number} - KEY")).collect();
        let store = store(reach, &lines.iter().map(String::as_str).collect::<Vec<_>>());
        let gates = gates(&store);
        let wrong = &wrong_codes(1)[0];
        // Of those who meet at a gate every other one.
        let is_right = |number: usize| (number / GATES).is_multiple_of(2);
        for round in 0..10 {
            let answers = at_once(THREADS, |number| {
                let password = if is_right(number) { code(round) } else { wrong.clone() };
                login(&gates[number % GATES], &plain(), &format!("user{number}"), &password)
            });
            tally(&answers, &[]);
            for (number, (answer, lines)) in answers.iter().enumerate() {
                let expected = if is_right(number) {
                    LoginResult::GrantedFresh
                } else {
                    LoginResult::DeniedCode
                };
                assert_eq!(answer.word, expected, "{reach:?} user{number}");
                assert!(lines[0].ends_with(&format!("user \"user{number}\"")), "{lines:?}");
            }
        }
        for number in 0..THREADS {
            let state = store.state(format!("user{number}").as_bytes(), 0);
            let expected = if is_right(number) { (10, 0) } else { (0, 10) };
            assert_eq!(
                (state.counter.as_written(), state.failures),
                expected,
                "{reach:?} user{number}"
            );
        }
    }
}

#[test]
fn tries_are_counted_together_by_all_gates() {
    let store = store(Reach::OneUser, &["HOTP alice sesame9 KEY"]);
    let gates = gates(&store);
    let five = Throttle { tries: 5.try_into().unwrap(), seconds: 600.try_into().unwrap() };
    let policy = Policy { throttle: Some(five), ..plain() };
    let answers = at_once(THREADS, |number| {
        login(&gates[number % GATES], &policy, "alice", &format!("simsim{number:02}{}", code(0))).0
    });
    let count = |word| answers.iter().filter(|answer| answer.word == word).count();
    assert_eq!([LoginResult::DeniedPin, LoginResult::DeniedThrottled].map(count), [5, THREADS - 5]);
    assert!(
        answers
            .iter()
            .all(|answer| answer.retry_after.is_some() == (answer.verdict == Verdict::Throttled))
    );
    let right = format!("sesame9{}", code(0));
    assert_eq!(word(&gates[0], &policy, "alice", &right), LoginResult::DeniedThrottled);
    assert_eq!(
        login_from(&gates[0], &policy, ("alice", CAFE), &right).0.word,
        LoginResult::GrantedFresh
    );
}

#[test]
fn a_forgotten_code_is_dead_at_all_gates() {
    for reach in REACHES {
        let store = store(reach, &["HOTP alice - KEY"]);
        let (gates, policy) = (gates(&store), Policy { max_linger: Some(600), ..plain() });
        for counter in 0..6 {
            assert_eq!(
                word(&gates[0], &policy, "alice", &code(counter)),
                LoginResult::GrantedFresh
            );
            assert_eq!(
                word(&gates[1], &policy, "alice", &code(counter)),
                LoginResult::GrantedReuse
            );
            // One ends it; to the others an empty password is one that is too short.
            let answers = at_once(8, |number| login(&gates[number % GATES], &policy, "alice", ""));
            assert_eq!(
                tally(&answers, &[LoginResult::Forgotten, LoginResult::DeniedCode]),
                [1, 7],
                "{reach:?}"
            );
            for gate in &gates {
                assert_eq!(
                    word(gate, &policy, "alice", &code(counter)),
                    LoginResult::DeniedExpired
                );
            }
        }
        assert_eq!(store.state(b"alice", 0).failures, 0);
    }
}

#[test]
fn a_code_lingers_and_is_refreshed_for_as_long_as_it_may() {
    static TIME: AtomicI64 = AtomicI64::new(NOW);
    let store = store(Reach::OneUser, &["HOTP alice - KEY"]);
    let gates = [(); 2]
        .map(|()| Gate::new(store.clone(), || TIME.load(Ordering::Relaxed)).expect("random bytes"));
    let policy = Policy { max_linger: Some(600), max_idle: Some(160), ..plain() };
    assert_eq!(word(&gates[0], &policy, "alice", &code(0)), LoginResult::GrantedFresh);
    for seconds in [150, 300, 450, 599] {
        TIME.store(NOW + seconds, Ordering::Relaxed);
        let answers = at_once(8, |number| login(&gates[number % 2], &policy, "alice", &code(0)));
        assert_eq!(tally(&answers, &[LoginResult::GrantedReuse]), [8], "{seconds}");
        assert_eq!(store.state(b"alice", 0).used.as_of(NOW), Some((NOW, NOW + seconds)));
    }
    TIME.store(NOW + 600, Ordering::Relaxed);
    assert_eq!(word(&gates[0], &policy, "alice", &code(0)), LoginResult::DeniedExpired);
    // The idle time alone.
    assert_eq!(word(&gates[0], &policy, "alice", &code(1)), LoginResult::GrantedFresh);
    TIME.fetch_add(160, Ordering::Relaxed);
    assert_eq!(word(&gates[1], &policy, "alice", &code(1)), LoginResult::DeniedExpired);
}

/// A response of the password, under a nonce of its own.
fn exchange(user: &str, password: &str, nonce: usize) -> Arc<Exchange> {
    let hash = |text: String| data_encoding::HEXLOWER.encode(&Md5::digest(text.as_bytes()));
    let (ha1, ha2) = (hash(format!("{user}:area:{password}")), hash("GET:/".to_owned()));
    let response = hash(format!("{ha1}:{nonce}:00000001:0a4f113b:auth:{ha2}"));
    let header = format!(
        "Digest username=\"{user}\", realm=\"area\", nonce=\"{nonce}\", uri=\"/\", qop=auth, nc=00000001, \
         cnonce=\"0a4f113b\", response=\"{response}\""
    );
    let sent = Credentials::parse(header.as_bytes()).expect("a good header");
    Arc::new(Exchange {
        algorithm: DigestAlgorithm::Md5,
        realm: b"area".to_vec(),
        method: b"GET".to_vec(),
        sent,
    })
}

#[test]
fn of_many_digest_responses_that_match_one_spends_the_code() {
    for reach in REACHES {
        let store = store(reach, &["HOTP alice sesame9 KEY"]);
        let gates = gates(&store);
        for counter in 0..6 {
            let password = format!("sesame9{}", code(counter));
            let exchanges: Vec<_> =
                (0..THREADS).map(|number| exchange("alice", &password, number)).collect();
            let login = |number: usize| {
                let address = login_of("alice", HOME, "").address;
                DigestLogin { user: b"alice", exchange: &exchanges[number], address }
            };
            let before = store.state(b"alice", 0);
            let matches = at_once(THREADS, |number| {
                let log = Lines::default();
                let found =
                    gates[number % GATES].digest_match(&plain(), &login(number), None, &log);
                (found, log.texts().len())
            });
            let is_silent_match = |(found, lines): &(Match, usize)| {
                matches!(found, Match::Acceptable(_)) && *lines == 0
            };
            assert!(matches.iter().all(is_silent_match), "{matches:?}");
            // What matches costs nothing yet.
            assert_eq!(store.state(b"alice", 0), before);
            let answers = at_once(THREADS, |number| {
                let log = Lines::default();
                let answer =
                    gates[number % GATES].digest_spend(&plain(), &login(number), None, &log);
                (answer, log.texts())
            });
            assert_eq!(
                tally(&answers, &[LoginResult::GrantedFresh, LoginResult::DeniedExpired]),
                [1, THREADS - 1]
            );
        }
        assert_eq!(store.state(b"alice", 0).counter.as_written(), 6);
    }
}

#[test]
fn what_was_granted_in_one_place_is_decided_again_in_a_stricter_one() {
    for reach in REACHES {
        let store = store(reach, &["HOTP alice - KEY"]);
        let gate = gate(store.clone());
        let (log, password) = (Lines::default(), code(3));
        let (login, mut judged) = (login_of("alice", HOME, &password), RequestMemory::default());
        let mut ask =
            |policy: &Policy| gate.basic(policy, &login, &NoPins, Some(&mut judged), &log).word;
        assert_eq!(ask(&plain()), LoginResult::GrantedFresh);
        let after = store.state(b"alice", 0);
        assert_eq!(ask(&Policy { max_offset: 2, ..plain() }), LoginResult::DeniedCode);
        assert_eq!(ask(&Policy { max_offset: 3, ..plain() }), LoginResult::GrantedFresh);
        assert_eq!(store.state(b"alice", 0), after);
        assert_eq!(log.texts().len(), 2);
    }
}

#[test]
fn on_an_event_loop_what_changes_nothing_is_decided_at_once() {
    let store = store(Reach::OneUser, &["HOTP alice sesame9 KEY"]);
    let (gate, policy) = (gate(store.clone()), Policy { max_linger: Some(600), ..plain() });
    let now = |user: &str, password: &str| {
        let log = Lines::default();
        let answer =
            gate.basic_now(&policy, &login_of(user, HOME, password), &NoPins, None, None, &log);
        (answer.map(|answer| answer.word), log.texts().len())
    };
    let fresh = format!("sesame9{}", code(0));
    assert_eq!(now("alice", &fresh), (None, 0));
    assert_eq!(now("alice", &format!("simsim8{}", code(0))), (Some(LoginResult::DeniedPin), 1));
    assert_eq!(now("nobody", &fresh), (Some(LoginResult::Unknown), 1));
    assert_eq!(now("ALICE", &fresh), (Some(LoginResult::Unknown), 1));
    assert_eq!(word(&gate, &policy, "alice", &fresh), LoginResult::GrantedFresh);
    assert_eq!(now("alice", &fresh), (Some(LoginResult::GrantedReuse), 1));
    // Of what is changed by somebody else nothing is remembered.
    store.replace(Ok(content(&["HOTP alice simsim8 KEY"])));
    assert_eq!(now("alice", &fresh), (Some(LoginResult::DeniedPin), 1));
    store.replace(Ok(Content::default()));
    assert_eq!(now("alice", &fresh), (Some(LoginResult::Unknown), 1));
}

/// The memory store, but for what a test does at the end of each run of a step.
struct Meddled<F> {
    store: MemoryStore,
    meddle: F,
}

impl<F: Fn() -> Result<(), StoreError> + Send + Sync> Store for Meddled<F> {
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
        self.store.update(&mut |transaction| {
            step(transaction)?;
            (self.meddle)()
        })
    }

    fn tries(
        &self,
        work: &mut dyn FnMut(&mut dyn Bytes) -> io::Result<()>,
    ) -> Result<(), TriesError> {
        self.store.tries(work)
    }
}

#[test]
fn what_somebody_else_does_between_a_step_and_its_save_decides() {
    type Act = fn(&MemoryStore);
    let spend: Act = |store| {
        assert_eq!(
            word(&gate(store.clone()), &plain(), "alice", &code(1)),
            LoginResult::GrantedFresh
        )
    };
    let pass: Act = |store| {
        assert_eq!(
            word(&gate(store.clone()), &plain(), "alice", &code(4)),
            LoginResult::GrantedFresh
        )
    };
    let guess: Act = |store| {
        for wrong in wrong_codes(3) {
            assert_eq!(
                word(&gate(store.clone()), &plain(), "alice", &wrong),
                LoginResult::DeniedCode
            );
        }
    };
    for reach in REACHES {
        for (what, act, expected) in [
            ("nothing", (|_| ()) as Act, LoginResult::GrantedFresh),
            ("the code was spent", spend, LoginResult::DeniedExpired),
            ("a later code was spent", pass, LoginResult::DeniedExpired),
            ("wrong codes have locked the user", guess, LoginResult::DeniedLocked),
            (
                "switched off",
                |store| store.replace(Ok(content(&["OFF:HOTP alice - KEY"]))),
                LoginResult::DeniedLocked,
            ),
            (
                "another key",
                |store| store.replace(Ok(content(&["HOTP alice - 00"]))),
                LoginResult::DeniedCode,
            ),
            (
                "another PIN",
                |store| store.replace(Ok(content(&["HOTP alice 1234 KEY"]))),
                LoginResult::DeniedPin,
            ),
            (
                "removed",
                |store| store.replace(Ok(content(&["HOTP bob - KEY"]))),
                LoginResult::Unknown,
            ),
            (
                "a stricter limit",
                |store| {
                    let limits =
                        Limits::parse([&b"max_offset=0"[..]].into_iter()).expect("a good word");
                    let mut content = content(&["HOTP alice - KEY"]);
                    content.limits = limits;
                    store.replace(Ok(content));
                },
                LoginResult::DeniedCode,
            ),
        ] {
            let store = store(reach, &["HOTP alice - KEY"]);
            let is_done = AtomicBool::new(false);
            let meddle = || {
                if !is_done.swap(true, Ordering::Relaxed) {
                    // As of another process.
                    std::thread::scope(|threads| {
                        threads.spawn(|| act(&store)).join().expect("no panic")
                    });
                }
                Ok(())
            };
            let gate = gate(Meddled { store: store.clone(), meddle });
            let policy = Policy { max_failures: 3, ..plain() };
            let answers = [login(&gate, &policy, "alice", &code(1))];
            assert_eq!(tally(&answers, &[expected]), [1], "{what}: {answers:?}");
            assert!(is_done.into_inner(), "{what}");
        }
    }
}

#[test]
fn a_store_that_cannot_save_grants_nobody() {
    for reach in REACHES {
        let store = store(reach, &["HOTP alice - KEY", "HOTP bob - KEY"]);
        let policy = Policy { max_linger: Some(600), max_failures: 5, ..plain() };
        assert_eq!(word(&gate(store.clone()), &policy, "bob", &code(0)), LoginResult::GrantedFresh);
        let (alice, bob) = (store.state(b"alice", 0), store.state(b"bob", 0));
        let fault =
            || StoreError::new("reach", "the store".to_owned(), "it is gone", "bring it back");
        let failing =
            [(); GATES].map(|()| gate(Meddled { store: store.clone(), meddle: || Err(fault()) }));
        for password in [code(0), wrong_codes(1)[0].clone()] {
            for (answer, lines) in at_once(THREADS, |number| {
                login(&failing[number % GATES], &policy, "alice", &password)
            }) {
                assert_eq!(
                    (answer.verdict, answer.word),
                    (Verdict::Error, LoginResult::Error),
                    "{reach:?}"
                );
                let expected =
                    "error: cannot reach the store: it is gone; bring it back, user \"alice\"";
                assert_eq!(lines, [expected]);
            }
        }
        // What nothing has to be saved for is answered.
        assert_eq!(word(&failing[0], &policy, "bob", &code(0)), LoginResult::GrantedReuse);
        assert_eq!(word(&failing[0], &policy, "bob", ""), LoginResult::Error);
        assert_eq!((store.state(b"alice", 0), store.state(b"bob", 0)), (alice, bob));
        assert_eq!(word(&gate(store), &policy, "alice", &code(0)), LoginResult::GrantedFresh);
    }
}

#[test]
fn a_refreshed_idle_time_that_cannot_be_saved_refuses_nobody() {
    static TIME: AtomicI64 = AtomicI64::new(NOW);
    let store = store(Reach::OneUser, &["HOTP alice - KEY"]);
    let policy = Policy { max_linger: None, max_idle: Some(160), ..plain() };
    let fault = || StoreError::new("reach", "the store".to_owned(), "it is gone", "bring it back");
    assert_eq!(word(&gate(store.clone()), &policy, "alice", &code(0)), LoginResult::GrantedFresh);
    let failing = Meddled { store, meddle: || Err(fault()) };
    let failing = Gate::new(failing, || TIME.load(Ordering::Relaxed)).expect("random bytes");
    TIME.store(NOW + 100, Ordering::Relaxed);
    let (answer, lines) = login(&failing, &policy, "alice", &code(0));
    assert_eq!((answer.word, lines.len()), (LoginResult::GrantedReuse, 2), "{lines:?}");
    assert!(
        lines[0].starts_with("the time of use wasn't saved: cannot reach the store"),
        "{lines:?}"
    );
}

#[test]
fn a_store_that_cannot_be_read_is_an_error_for_everybody() {
    let store = MemoryStore::new(Reach::OneUser);
    store.replace(Err(StoreError::new(
        "read",
        "the store".to_owned(),
        "it is gone",
        "bring it back",
    )));
    let gate = gate(store);
    for user in ["alice", "nobody"] {
        let (answer, lines) = login(&gate, &plain(), user, &code(0));
        assert_eq!(
            (answer.verdict, answer.word, lines.len()),
            (Verdict::Error, LoginResult::Error, 1)
        );
        assert!(
            gate.basic_now(
                &plain(),
                &login_of(user, HOME, "x"),
                &NoPins,
                None,
                None,
                &Lines::default()
            )
            .is_none()
        );
    }
}

#[test]
fn a_step_of_one_user_that_hangs_holds_up_no_other() {
    let store = store(Reach::OneUser, &["HOTP alice - KEY", "HOTP bob - KEY", "HOTP carol - KEY"]);
    let ((hangs, is_hanging), (release, released)) = (channel(), channel());
    let waiting: Mutex<Option<(Sender<()>, Receiver<()>)>> = Mutex::new(Some((hangs, released)));
    // The first who comes there stays there.
    let meddle = || {
        let first = waiting.lock().take();
        if let Some((hangs, released)) = first {
            hangs.send(()).expect("somebody waits for that");
            released.recv_timeout(PATIENCE).expect("the others get through");
        }
        Ok(())
    };
    let gate = gate(Meddled { store: store.clone(), meddle });
    std::thread::scope(|threads| {
        let alice = threads.spawn(|| login(&gate, &plain(), "alice", &code(0)));
        is_hanging.recv_timeout(PATIENCE).expect("alice's step runs");
        let answers = at_once(16, |number| {
            let (user, counter) = (["bob", "carol"][number % 2], 0);
            login(&gate, &plain(), user, &code(counter))
        });
        assert_eq!(
            tally(&answers, &[LoginResult::GrantedFresh, LoginResult::DeniedExpired]),
            [2, 14]
        );
        assert_eq!(word(&gate, &plain(), "nobody", &code(0)), LoginResult::Unknown);
        assert_eq!(store.state(b"alice", 0).counter.as_written(), 0);
        release.send(()).expect("alice waits");
        assert_eq!(alice.join().expect("no panic").0.word, LoginResult::GrantedFresh);
    });
}
