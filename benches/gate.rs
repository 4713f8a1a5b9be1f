//! What one decision costs inside the library, without a server around it.
//!
//! Absolute figures depend on the machine; they are for finding out where time goes.

use std::hint::black_box;
use std::path::Path;

use criterion::{Criterion, criterion_group, criterion_main};
use jiff::tz::TimeZone;
use otpgate::decide::{self, Attempt, LoginResult, PinAnswer, Proof};
use otpgate::gate::{Gate, Login, PinSource, Store};
use otpgate::http::digest::{Credentials, DigestAlgorithm, Exchange};
use otpgate::log::{Level, Log};
use otpgate::otp::{Digits, Hash, hotp};
use otpgate::policy::{Policy, Server, Settings};
use otpgate::token::Address;
use otpgate::users::file::UsersFile;
use otpgate::users::index::Index;
use otpgate::users::shared_index::SHARED_FROM;
use otpgate::users::{check, name, record, slot};

const KEY: &str = "3132333435363738393031323334353637383930";
const RAW_KEY: &[u8] = b"12345678901234567890";
/// Code 0 of that key, behind the PIN.
const FIRST: &str = "1234755224";
const NOW: i64 = 1_700_000_000;

struct Nothing;

impl PinSource for Nothing {
    fn identity(&self) -> Vec<u8> {
        Vec::new()
    }
    fn check(&self, _: &[u8], _: &[u8]) -> PinAnswer {
        PinAnswer::NoSource
    }
}

impl Log for Nothing {
    fn log(&self, _: Level, message: std::fmt::Arguments<'_>) {
        black_box(message);
    }
}

fn address() -> Address {
    Address::of_client(Some("192.0.2.7".parse().expect("an address")))
}

fn policy() -> Policy {
    Settings::default().policy(Server::Apache)
}

fn gate(path: &Path) -> Gate<UsersFile> {
    Gate::new(UsersFile::new(path), || NOW).expect("random bytes")
}

fn login(gate: &Gate<UsersFile>, user: &str, password: &str) -> LoginResult {
    let login = Login { user: user.as_bytes(), password: password.as_bytes(), address: address() };
    gate.basic(&policy(), &login, &Nothing, None, &Nothing).word
}

/// The rules alone, on a record in memory.
fn rules(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("decide");
    let lines = [
        (
            "a lingering code",
            format!("HOTP alice 1234 {KEY} 1 0 755224 2023-11-14T22:13:00L 192.0.2.7"),
            FIRST,
        ),
        ("a fresh code", format!("HOTP alice 1234 {KEY}"), FIRST),
        ("a wrong code", format!("HOTP alice 1234 {KEY}"), "1234000000"),
        ("a wrong PIN", format!("HOTP alice 1234 {KEY}"), "4321755224"),
    ];
    for (name, line, password) in lines {
        let record = record::parse(line.as_bytes(), &TimeZone::UTC).expect("a line");
        let mut entry = otpgate::token::Entry::default();
        entry.lines.push(otpgate::token::StoredToken { token: record.token, state: record.state });
        let policy = policy();
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                let attempt = Attempt {
                    user: b"alice",
                    proof: Proof::Password(password.as_bytes()),
                    address: address(),
                };
                black_box(decide::login(&policy, &entry, &attempt, &|_, _| None, NOW))
            });
        });
    }
}

/// What a wrong code costs at most: as many tokens as a user may have, the slowest hash, each clock
/// far enough off for two windows.
fn wrong_codes(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("a wrong code");
    let entry_of = |kind: &str, count: u64| {
        let mut entry = otpgate::token::Entry::default();
        for i in 0..count {
            let line = format!("{kind} alice 1234 {KEY}{i:02x} 100");
            let record = record::parse(line.as_bytes(), &TimeZone::UTC).expect("a line");
            entry
                .lines
                .push(otpgate::token::StoredToken { token: record.token, state: record.state });
        }
        entry
    };
    let policy = policy();
    let mut measure = |name: String, entry: &otpgate::token::Entry, proof: Proof<'_>| {
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                let attempt = Attempt { user: b"alice", proof, address: address() };
                black_box(decide::login(&policy, entry, &attempt, &|_, _| None, NOW))
            });
        });
    };
    for kind in ["HOTP/T30", "HOTP-SHA256/T30", "HOTP-SHA512/T30", "HOTP-SHA512/E", "MOTP"] {
        for count in [1, 100] {
            let wrong = if kind == "MOTP" { "00000x" } else { "1234zzzzzz" };
            measure(
                format!("{kind}, {count} tokens"),
                &entry_of(kind, count),
                Proof::Password(wrong.as_bytes()),
            );
        }
    }
    for algorithm in [DigestAlgorithm::Md5, DigestAlgorithm::Sha256] {
        let sent = Credentials {
            nonce: b"bm9uY2Ugd2l0aCBpdHMgdGltZSBhbmQgc3Vt".to_vec(),
            uri: b"/private/".to_vec(),
            response: vec![b'0'; 64],
            cnonce: Some(b"0a4f113b0a4f113b".to_vec()),
            qop: Some(b"auth".to_vec()),
            nc: Some(b"00000001".to_vec()),
            ..Credentials::default()
        };
        let exchange =
            Exchange { algorithm, realm: b"Private".to_vec(), method: b"GET".to_vec(), sent };
        let response = exchange.response(b"alice");
        for count in [1, 100] {
            measure(
                format!("Digest with {}, HOTP-SHA512/T30, {count} tokens", algorithm.name()),
                &entry_of("HOTP-SHA512/T30", count),
                Proof::Response(&response),
            );
        }
    }
}

/// Reading and writing the users file.
fn users_file(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("users file");
    let directory = tempfile::tempdir().expect("a directory");
    for count in [1_000, 100_000] {
        let path = directory.path().join(format!("users-{count}"));
        let users: String = (0..count).map(|i| format!("HOTP user{i} 1234 {KEY}\n")).collect();
        std::fs::write(&path, users).expect("a users file");
        let gate = gate(&path);
        assert_eq!(login(&gate, "user77", FIRST), LoginResult::GrantedFresh);
        let shared = std::fs::metadata(&path).expect("there").len() >= SHARED_FROM;
        let index = if shared { "shared index" } else { "own index" };

        group.bench_function(format!("look-up of a known user, {count} users"), |bencher| {
            bencher.iter(|| black_box(gate.store().find(b"user77").expect("readable")));
        });
        group.bench_function(format!("look-up of nobody, {count} users, {index}"), |bencher| {
            bencher.iter(|| black_box(gate.store().find(b"nobody").expect("readable")));
        });
        let mut user = 0;
        group.bench_function(
            format!("look-up of another user each time, {count} users, {index}"),
            |bencher| {
                bencher.iter(|| {
                    user = (user + 7919) % count;
                    black_box(
                        gate.store().find(format!("user{user}").as_bytes()).expect("readable"),
                    )
                });
            },
        );
        group.bench_function(format!("login with a lingering code, {count} users"), |bencher| {
            bencher.iter(|| black_box(login(&gate, "user77", FIRST)));
        });
        group.bench_function(format!("login with a wrong PIN, {count} users"), |bencher| {
            bencher.iter(|| black_box(login(&gate, "user77", "4321755224")));
        });
        let mut counter = 0;
        group.bench_function(format!("fresh login with its sync, {count} users"), |bencher| {
            bencher.iter(|| {
                let code = hotp(Hash::Sha1, RAW_KEY, counter, Digits::SIX);
                counter += 1;
                let password = [b"1234", code.as_bytes()].concat();
                let login = Login { user: b"user78", password: &password, address: address() };
                let answer = gate.basic(&policy(), &login, &Nothing, None, &Nothing);
                assert_eq!(answer.word, LoginResult::GrantedFresh);
            });
        });
    }

    for user in ["alice", "Alice", "александр", "ＪＯＳÉ"] {
        group.bench_function(format!("key of the name {user}"), |bencher| {
            bencher.iter(|| black_box(name::key(black_box(user.as_bytes())).len()));
        });
    }

    let line = format!("HOTP alice 1234 {KEY} 1 0 755224 2023-11-14T22:13:00L 192.0.2.7");
    let record = record::parse(line.as_bytes(), &TimeZone::UTC).expect("a line");
    let head = record.layout.head.clone().map(|word| &line.as_bytes()[word]);
    group.bench_function("slot as text", |bencher| {
        bencher.iter(|| black_box(slot::write(head, &record.state, &TimeZone::UTC)));
    });
    group.bench_function("parsing a line with a slot", |bencher| {
        let mut with_slot = Vec::new();
        let slot = slot::write(head, &record.state, &TimeZone::UTC);
        slot::insert_into(&mut with_slot, line.as_bytes(), head_end(&record), line.len(), &slot);
        bencher.iter(|| black_box(record::parse(&with_slot, &TimeZone::UTC)));
    });
}

fn head_end(record: &record::Record) -> usize {
    record.layout.head[3].end
}

/// What reads the file from end to end.
fn whole_file(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("100,000 users");
    group.sample_size(10);
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("users");
    let users: String = (0..100_000).map(|i| format!("HOTP user{i} 1234 {KEY}\n")).collect();
    std::fs::write(&path, &users).expect("a users file");
    group.bench_function("first login, which gives all lines their slots", |bencher| {
        bencher.iter_batched(
            || std::fs::write(&path, &users).expect("a users file"),
            |()| assert_eq!(login(&gate(&path), "user77", FIRST), LoginResult::GrantedFresh),
            criterion::BatchSize::PerIteration,
        );
    });
    group.bench_function("configuration test", |bencher| {
        bencher.iter(|| black_box(check::lines(&path).expect("readable").findings.len()));
    });
    let file = std::fs::File::open(&path).expect("there");
    group.bench_function("building the index", |bencher| {
        bencher.iter(|| black_box(Index::build(&file).expect("readable")));
    });
}

criterion_group!(benches, rules, wrong_codes, users_file, whole_file);
criterion_main!(benches);
