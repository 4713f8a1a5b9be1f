//! A minute of mixed traffic on a large file by many processes, held against what each of them
//! remembers.
//!
//! Of the requests, 95 in a hundred come with a lingering code, 4 with a fresh one, 1 with a name
//! that isn't listed. In the end every counter must have moved by the number of grants that were
//! given for it, each grant by one code: no update is lost, no code counts twice. Nobody may meet
//! an error, and all processes together must keep within their memory.
//!
//! `make soak` runs this. OTPGATE_SOAK_SECONDS (default 60), OTPGATE_SOAK_PROCESSES (default 16)
//! and OTPGATE_SOAK_USERS (default 1000000) say how long and how much.

#[path = "../tests/common/mod.rs"]
mod common;

use std::collections::HashMap;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use common::{Token, from_environment};
use otpgate::decide::PinAnswer;
use otpgate::gate::{Gate, Login, PinSource, Store};
use otpgate::log::{Level, Log};
use otpgate::policy::{Server, Settings};
use otpgate::token::Address;
use otpgate::users::file::UsersFile;

/// So many of the users log in, spread over the file; few enough for processes to meet in one.
const ACTIVE: usize = 5_000;
const MEMORY_MAX: u64 = 64 << 20;

struct NoPins;

impl PinSource for NoPins {
    fn identity(&self) -> Vec<u8> {
        Vec::new()
    }
    fn check(&self, _: &[u8], _: &[u8]) -> PinAnswer {
        PinAnswer::NoSource
    }
}

/// Refusals have their word; what else is logged is a fault.
struct Faults;

impl Log for Faults {
    fn log(&self, level: Level, message: std::fmt::Arguments<'_>) {
        assert!(level != Level::Error, "{message}");
    }
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [role, path, seed] = &arguments[..]
        && role == "--process"
    {
        return process(Path::new(path), seed.parse().expect("a number"));
    }
    if !arguments.iter().any(|argument| argument == "--bench") {
        return;
    }
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("users");
    let users: Vec<u8> = (0..users()).flat_map(|user| token(user).line()).collect();
    fs::write(&path, users).expect("a users file");

    let count = from_environment("OTPGATE_SOAK_PROCESSES", 16);
    let processes: Vec<Process> = (0..count).map(|seed| Process::start(&path, seed)).collect();
    std::thread::sleep(Duration::from_secs(seconds()) / 2);
    let memory: u64 = processes.iter().map(Process::anonymous_memory).sum();
    let index = fs::metadata(directory.path().join("users.index")).map_or(0, |file| file.len());

    let mut grants: HashMap<usize, Vec<u64>> = HashMap::new();
    let mut counts: HashMap<String, usize> = HashMap::new();
    for process in processes {
        process.finish(|word, user, code| {
            *counts.entry(word.to_owned()).or_default() += 1;
            if word == "granted-fresh" {
                grants.entry(user).or_default().push(code);
            }
        });
    }
    check(&path, &mut grants);

    let total: usize = counts.values().sum();
    let mebibytes = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    println!(
        "{} users, {count} processes, {} s: {total} requests, none with an error; no update is lost",
        self::users(),
        seconds()
    );
    let mut counts: Vec<_> = counts.into_iter().collect();
    counts.sort();
    for (word, count) in counts {
        println!("    {word:<16} {count:>9}");
    }
    println!(
        "    memory of all processes {:.1} MiB, and an index of {:.1} MiB",
        mebibytes(memory),
        mebibytes(index)
    );
    assert!(memory + index <= MEMORY_MAX, "more than {} MiB", mebibytes(MEMORY_MAX));
}

fn users() -> usize {
    from_environment("OTPGATE_SOAK_USERS", 1_000_000)
}

fn seconds() -> u64 {
    from_environment("OTPGATE_SOAK_SECONDS", 60) as u64
}

fn token(user: usize) -> Token {
    Token::hotp(format!("user{user}")).pin("1234")
}

/// Each user's codes were granted one by one, and the file says so.
fn check(path: &Path, grants: &mut HashMap<usize, Vec<u64>>) {
    let store = UsersFile::new(path);
    for (user, codes) in grants.iter_mut() {
        codes.sort_unstable();
        let expected: Vec<u64> = (0..codes.len() as u64).collect();
        assert_eq!(*codes, expected, "user{user}: codes granted as fresh");
    }
    let mut seen = 0;
    let content = BufReader::new(fs::File::open(path).expect("the users file"));
    for line in content.split(b'\n') {
        let line = line.expect("readable");
        let mut fields = line.split(|&byte| byte == b' ').filter(|field| !field.is_empty());
        let user = fields
            .nth(1)
            .and_then(|name| str::from_utf8(name.strip_prefix(b"user")?).ok()?.parse().ok());
        let user: usize = user.expect("one of our lines");
        let counter: i64 = fields
            .nth(2)
            .and_then(|text| str::from_utf8(text).ok()?.parse().ok())
            .expect("a counter");
        assert_eq!(
            counter,
            grants.get(&user).map_or(0, Vec::len) as i64,
            "user{user}: counter in the file"
        );
        seen += 1;
        if grants.contains_key(&user) {
            let found = store.find(format!("user{user}").as_bytes()).expect("readable");
            assert_eq!(
                found.entry.lines[0].state.counter.as_written(),
                counter,
                "user{user}: counter by the index"
            );
        }
    }
    assert_eq!(seen, users());
}

struct Process(Child, PathBuf);

impl Process {
    fn start(path: &Path, seed: usize) -> Process {
        let output = path.with_extension(format!("output-{seed}"));
        let child = Command::new(std::env::current_exe().expect("our own program"))
            .args(["--process", &path.to_string_lossy(), &seed.to_string()])
            .stdin(Stdio::null())
            .stdout(fs::File::create(&output).expect("a file for its output"))
            .spawn()
            .expect("a process");
        Process(child, output)
    }

    /// What it has for itself alone.
    fn anonymous_memory(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.0.id())).expect("it runs");
        let line = status.lines().find(|line| line.starts_with("RssAnon:")).expect("a line");
        let kilobytes: u64 =
            line.split_whitespace().nth(1).and_then(|text| text.parse().ok()).expect("a number");
        kilobytes * 1024
    }

    /// Calls back with the word of each answer, the user, and the number of the code.
    fn finish(mut self, mut each: impl FnMut(&str, usize, u64)) {
        assert!(self.0.wait().expect("our own child").success(), "a process has failed");
        for line in BufReader::new(fs::File::open(&self.1).expect("its output")).lines() {
            let line = line.expect("readable");
            let mut words = line.split(' ');
            let mut next = || words.next().unwrap_or_else(|| panic!("{line:?}"));
            each(next(), next().parse().expect("a user"), next().parse().expect("a code"));
        }
    }
}

/// One of the processes: asks, and notes what it was told.
fn process(path: &Path, seed: usize) {
    let policy = Settings::default().policy(Server::Apache);
    let gate =
        Gate::new(UsersFile::new(path), || common::codes::now() as i64).expect("random bytes");
    let mut output = std::io::BufWriter::new(std::io::stdout());
    let mut random = Random(seed as u64 * 0x9e37_79b9_7f4a_7c15 + 1);
    let login = |name: &str, code: &str| {
        let password = format!("1234{code}");
        let login = Login {
            user: name.as_bytes(),
            password: password.as_bytes(),
            address: Address::Unknown,
        };
        gate.basic(&policy, &login, &NoPins, None, &Faults).word.as_str()
    };
    let counter_of = |name: &str| -> u64 {
        let found = gate.store().find(name.as_bytes()).expect("readable");
        found.entry.lines[0].state.counter.as_written() as u64
    };
    // Codes don't depend on the user: they have one key.
    let codes: Vec<String> = (0..2_000).map(|counter| token(0).code(counter)).collect();
    let spread = (users() / ACTIVE).max(1);
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(seconds()) {
        let user = random.below(ACTIVE.min(users())) * spread;
        let name = format!("user{user}");
        let counter = counter_of(&name);
        let dice = random.below(100);
        let (word, code) = match dice {
            0 => {
                let word = login(&format!("nobody{user}"), &codes[0]);
                assert_eq!(word, "unknown");
                (word, 0)
            }
            // The first time, there is no code that could linger.
            1..=4 => (login(&name, &codes[counter as usize]), counter),
            _ if counter == 0 => (login(&name, &codes[0]), 0),
            _ => (login(&name, &codes[counter as usize - 1]), counter - 1),
        };
        // Somebody else may have been faster: with the same code, or with the next.
        let is_overtaken = || counter_of(&name) > counter;
        let is_right = match word {
            "unknown" | "granted-fresh" | "granted-reuse" => true,
            "denied-expired" => is_overtaken(),
            _ => false,
        };
        assert!(is_right, "{word} for {name}, code {code}");
        writeln!(output, "{word} {user} {code}").expect("room for the output");
    }
}

/// A small generator (xorshift).
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % limit as u64) as usize
    }
}
