//! PIN files: every form of an entry, against the programs that make them; what is read of a file,
//! and what is said about it; when a right PIN may be remembered.

#[path = "common/scene.rs"]
mod scene;

use std::cell::Cell;
use std::fs;
use std::path::Path;
use std::process::Command;

use otpgate::UnixTime;
use otpgate::decide::{LoginResult, PinAnswer};
use otpgate::gate::{Gate, Login, PinSource, RequestMemory};
use otpgate::log::Level;
use otpgate::pin::HashedPinError::{Malformed, TooCostly};
use otpgate::pin::entry::{EntryError, PinEntry};
use otpgate::pin::file::PinFile;
use otpgate::policy::{Policy, Server, Settings};
use otpgate::token::Address;
use otpgate::users::file::UsersFile;
use scene::{Lines, Scene};

const PIN: &str = "sesame9";
const WRONG_PIN: &str = "simsim8";

// Those of `openssl passwd` (apr1), htpasswd ({SHA}, bcrypt), the reference program of Argon2, and
// Python's hashlib ({SSHA}). The one of "myPassword" is printed in httpd's documentation ("Password
// Formats").
const KNOWN: [(&str, &str); 17] = [
    ("$apr1$saltsalt$ZKLpZfanTDmtI647CTtXW/", PIN),
    ("$apr1$r31.....$HqJZimcKQFAMYayBlzkrA/", "myPassword"),
    ("$apr1$a$.7usBLcY1TsMNUhOmBlKz0", "Hello world!"),
    (
        "$apr1$12345678$Fp9LbhxQ4h4ZZlkU9svXJ0",
        "a much longer password than one MD5 block has bytes, which is the loop's other branch",
    ),
    ("{SHA}i3oaDtGuefaNaUZW6kGEYH9RMww=", PIN),
    ("{SHA}VBPuJHI7uixaa6LQGWx4s+5GKNE=", "myPassword"),
    ("{SSHA}gDcm9Y8cZyGs/iXzH8K/e0x5VYFzYWx0", PIN),
    ("{SSHA}7Md4wUE+t+eAVRPzIyrQBIpSq3QBAgMEBQYHCA==", PIN),
    ("{PLAIN}sesame9", PIN),
    ("{PLAIN}$apr1$", "$apr1$"),
    ("$2y$04$IeG9ckuj6Bby5/AzUCRz8eu2C.aa5mU5tLNfFgRD/a.R17t4kUeF2", PIN),
    ("$2b$04$IeG9ckuj6Bby5/AzUCRz8eu2C.aa5mU5tLNfFgRD/a.R17t4kUeF2", PIN),
    ("$2a$04$IeG9ckuj6Bby5/AzUCRz8eu2C.aa5mU5tLNfFgRD/a.R17t4kUeF2", PIN),
    ("$argon2id$v=19$m=1024,t=1,p=1$c2FsdHNhbHQ$UgIhFaHXoNNKA7q2PfSTthQPWCWdWyy0Q0v/NAy0a6w", PIN),
    ("$argon2i$v=19$m=1024,t=1,p=1$c2FsdHNhbHQ$aJYO4yqXWHsogX5P4Efr2DDCU+O/q6ABziE612KYd6s", PIN),
    ("$argon2d$v=19$m=1024,t=1,p=1$c2FsdHNhbHQ$igjo4EKMdaqm2luxJqPQvTJiJJabUX4v1stdtMrzCUo", PIN),
    ("$5$saltsalt$G7IYwyb6vogyHX7W7Y7MAuY8T34XzBU51tQcN5kYvo.", PIN),
];

#[track_caller]
fn is_entry_of(field: &str, pin: &str) {
    let entry =
        PinEntry::parse(field.as_bytes()).unwrap_or_else(|error| panic!("{field}: {error}"));
    assert!(entry.is_of(pin.as_bytes()), "{field}");
    for wrong in ["", WRONG_PIN, &pin[1..], &format!("{pin}0"), field] {
        assert!(!entry.is_of(wrong.as_bytes()), "{field} takes {wrong}");
    }
}

#[test]
fn known_entries_accept_their_pin_and_no_other() {
    for (field, pin) in KNOWN {
        is_entry_of(field, pin);
    }
}

fn output_of(program: &str, args: &[&str]) -> String {
    assert!(
        Path::new(program).exists(),
        "{program} is missing: `make test-deps` installs what the tests need"
    );
    let output = Command::new(program)
        .args(args)
        .output()
        .unwrap_or_else(|error| panic!("{program}: {error}"));
    assert!(output.status.success(), "{program}: {output:?}");
    String::from_utf8(output.stdout).expect("plain text").trim().to_owned()
}

#[test]
fn what_htpasswd_makes_is_accepted() {
    for option in ["-m", "-2", "-5", "-s", "-B"] {
        let line = output_of("/usr/bin/htpasswd", &["-n", "-b", option, "user", PIN]);
        is_entry_of(line.strip_prefix("user:").expect("a line of the user"), PIN);
    }
}

/// Around the borders of MD5's blocks and of the steps of the salt.
#[test]
fn apr1_is_computed_as_openssl_does() {
    let long = "0123456789".repeat(13);
    for len in [1, 2, 7, 8, 15, 16, 17, 31, 32, 33, 47, 48, 55, 56, 63, 64, 65, 127, 128, 129] {
        let salt = &"./Az09xy"[..1 + len % 8];
        let pin = &long[..len];
        is_entry_of(&output_of("/usr/bin/openssl", &["passwd", "-apr1", "-salt", salt, pin]), pin);
    }
    let pin = "schlüssel\u{a0}☃";
    is_entry_of(&output_of("/usr/bin/openssl", &["passwd", "-apr1", "-salt", "salz", pin]), pin);
}

// A traditional hash, one of a form of its own, one that promises too much, and so on.
const REFUSED: [(&str, EntryError); 24] = [
    ("", EntryError::Empty),
    ("{PLAIN}", EntryError::Empty),
    ("qpMRiU9Qde1d.", EntryError::UnknownForm),
    ("_J9..rasmBYk8r9AiWNc", EntryError::UnknownForm),
    ("sesame9", EntryError::UnknownForm),
    ("*", EntryError::UnknownForm),
    ("$1$saltsalt$2vnaRpHa6Jxjz5n83ok8Z0", EntryError::UnknownForm),
    ("$y$j9T$saltsalt$0gcLIxUMZpaxUjf.zM9YdsMtXzb2qTzGxTfQ7xVJoe7", EntryError::UnknownForm),
    ("{sha}i3oaDtGuefaNaUZW6kGEYH9RMww=", EntryError::UnknownForm),
    ("{MD5}i3oaDtGuefaNaUZW6kGEYH9RMww=", EntryError::UnknownForm),
    (" {PLAIN}sesame9", EntryError::UnknownForm),
    ("{SHA}", EntryError::Hash(Malformed)),
    ("{SHA}i3oaDtGuefaNaUZW6kGEYH9RMww", EntryError::Hash(Malformed)),
    ("{SHA}gDcm9Y8cZyGs/iXzH8K/e0x5VYFzYWx0", EntryError::Hash(Malformed)),
    ("{SSHA}i3oaDtGuefaNaUZW6kGEYH9RMw==", EntryError::Hash(Malformed)),
    ("$apr1$", EntryError::Hash(Malformed)),
    ("$apr1$$ZKLpZfanTDmtI647CTtXW/", EntryError::Hash(Malformed)),
    ("$apr1$saltsaltsalt$ZKLpZfanTDmtI647CTtXW/", EntryError::Hash(Malformed)),
    ("$apr1$saltsalt$ZKLpZfanTDmtI647CTtXW", EntryError::Hash(Malformed)),
    ("$apr1$saltsalt$ZKLpZfanTDmtI647CTtX$/", EntryError::Hash(Malformed)),
    ("$argon2i$", EntryError::Hash(Malformed)),
    (
        "$argon2x$v=19$m=1024,t=1,p=1$c2FsdHNhbHQ$aJYO4yqXWHsogX5P4Efr2DDCU+O/q6ABziE612KYd6s",
        EntryError::Hash(Malformed),
    ),
    (
        "$argon2i$v=19$m=65537,t=1,p=1$c2FsdHNhbHQ$aJYO4yqXWHsogX5P4Efr2DDCU+O/q6ABziE612KYd6s",
        EntryError::Hash(TooCostly),
    ),
    ("$2y$15$IeG9ckuj6Bby5/AzUCRz8eu2C.aa5mU5tLNfFgRD/a.R17t4kUeF2", EntryError::Hash(TooCostly)),
];

#[test]
fn other_entries_are_refused_with_their_reason() {
    for (field, error) in REFUSED {
        assert_eq!(PinEntry::parse(field.as_bytes()), Err(error), "{field}");
    }
}

// ---- The file -------------------------------------------------------------------------------------------------

fn scene(content: &str) -> Scene {
    Scene::with_file("pins", content)
}

impl Scene {
    fn check(&self, user: &str, pin: &str) -> (PinAnswer, Vec<String>) {
        let log = Lines::default();
        let answer = PinFile::new(self.path.clone(), &log).check(user.as_bytes(), pin.as_bytes());
        let lines = log.with_levels();
        assert!(lines.iter().all(|(level, _)| *level == Level::Error), "{lines:?}");
        (answer, lines.into_iter().map(|(_, line)| line).collect())
    }

    fn state(&self) -> Option<Vec<u8>> {
        PinFile::new(self.path.clone(), &Lines::default()).state()
    }

    /// Its state once nothing can hide behind the last change any more.
    fn settled(&self) -> Vec<u8> {
        loop {
            match self.state() {
                Some(state) => return state,
                None => std::thread::yield_now(),
            }
        }
    }
}

#[test]
fn users_are_found_by_their_whole_name_and_the_first_line_counts() {
    let scene = scene(
        "# PINs\n\n \t\n#alice:{PLAIN}0000\nali:{PLAIN}0001\nAlice:{PLAIN}0002\nalice:{PLAIN}sesame9:rest:more\r\nalice:{PLAIN}simsim8\n\
         al ice:{PLAIN}spaced\n:{PLAIN}nameless\nlast:{PLAIN}end",
    );
    for (user, pin, answer) in [
        ("alice", PIN, PinAnswer::Right),
        ("alice", WRONG_PIN, PinAnswer::Wrong),
        ("alice", "sesame9\r", PinAnswer::Wrong),
        ("alice", "sesame9:rest", PinAnswer::Wrong),
        ("al ice", "spaced", PinAnswer::Right),
        ("last", "end", PinAnswer::Right),
        ("#alice", "0000", PinAnswer::Unknown),
        ("alic", PIN, PinAnswer::Unknown),
        ("ALICE", PIN, PinAnswer::Unknown),
        (" ali", "0001", PinAnswer::Unknown),
        ("# PINs", "", PinAnswer::Unknown),
    ] {
        assert_eq!(scene.check(user, pin), (answer, Vec::new()), "{user} {pin}");
    }
}

#[test]
fn entry_that_is_of_no_use_is_named_but_not_shown() {
    for (field, error) in REFUSED {
        let scene = scene(&format!("bob:{{PLAIN}}x\nalice:{field}\nalice:{{PLAIN}}{PIN}\n"));
        let (answer, log) = scene.check("alice", PIN);
        assert_eq!(answer, PinAnswer::Failed, "{field}");
        let path = scene.path.display();
        let message =
            format!("{path} line 2: {error}; set a new PIN with `htpasswd -B`, user \"alice\"");
        assert_eq!(log, [message]);
    }
    let (answer, log) = scene("alice\n").check("alice", "");
    assert_eq!(answer, PinAnswer::Failed);
    assert!(log[0].contains("line 1: there is no hash after the user's name"), "{log:?}");
}

#[test]
fn no_error_text_shows_the_entry() {
    for (field, error) in REFUSED.into_iter().filter(|(field, _)| field.len() > 7) {
        assert!(!error.to_string().contains(field), "{field}");
    }
}

#[test]
fn file_that_cannot_be_read_is_said_with_a_remedy() {
    let scene = scene("");
    fs::remove_file(&scene.path).unwrap();
    let (answer, log) = scene.check("alice", PIN);
    assert_eq!(answer, PinAnswer::Failed);
    let path = scene.path.display();
    assert_eq!(
        log,
        [format!(
            "cannot open {path}: No such file or directory; create it with `htpasswd -c -B`, or correct the path in the server's configuration, user \"alice\""
        )]
    );
    // Neither a directory nor a pipe is waited for.
    fs::create_dir(&scene.path).unwrap();
    assert!(scene.check("alice", PIN).1[0].contains("not a regular file"));
    fs::remove_dir(&scene.path).unwrap();
    rustix::fs::mknodat(rustix::fs::CWD, &scene.path, rustix::fs::FileType::Fifo, 0o600.into(), 0)
        .unwrap();
    assert!(scene.check("alice", PIN).1[0].contains("not a regular file"));
}

// ---- Remembering ----------------------------------------------------------------------------------------------

#[test]
fn every_change_of_the_file_is_another_state() {
    let scene = scene("alice:{PLAIN}sesame9\n");
    let mut states = vec![scene.settled()];
    assert_eq!(scene.settled(), states[0]);
    let modified = fs::metadata(&scene.path).unwrap().modified().unwrap();
    let changes: [&dyn Fn(); 4] = [
        // In place, with the same length and a time of change that was set back.
        &|| {
            fs::write(&scene.path, "alice:{PLAIN}simsim8\n").unwrap();
            fs::File::open(&scene.path).unwrap().set_modified(modified).unwrap();
        },
        &|| fs::write(&scene.path, "alice:{PLAIN}longer-than-before\n").unwrap(),
        &|| {
            let new = scene.path.with_extension("new");
            fs::write(&new, "alice:{PLAIN}longer-than-before\n").unwrap();
            fs::rename(new, &scene.path).unwrap();
        },
        &|| fs::write(&scene.path, "").unwrap(),
    ];
    for change in changes {
        change();
        let state = scene.settled();
        assert!(!states.contains(&state));
        states.push(state);
    }
}

/// Another change in the same tick of the clock could hide behind the same times.
#[test]
fn file_that_has_just_changed_gives_nothing_to_remember() {
    let scene = scene("");
    // A machine that is slow enough to let a tick pass in between has to try again.
    let was_caught = (0..100).any(|round: u32| {
        fs::write(&scene.path, format!("alice:{{PLAIN}}{round}\n")).unwrap();
        scene.state().is_none()
    });
    assert!(was_caught);
    fs::remove_file(&scene.path).unwrap();
    assert_eq!(scene.state(), None);
}

#[test]
fn one_login_looks_at_the_file_once() {
    let scene = scene("alice:{PLAIN}sesame9\n");
    let state = scene.settled();
    let log = Lines::default();
    let pins = PinFile::new(scene.path.clone(), &log);
    assert_eq!(pins.state(), Some(state.clone()));
    fs::write(&scene.path, "alice:{PLAIN}opendoor\n").unwrap();
    // What it finds now is remembered for a state that the file has no more.
    assert_eq!(pins.check(b"alice", b"opendoor"), PinAnswer::Right);
    assert_eq!(pins.state(), Some(state.clone()));
    assert_ne!(scene.settled(), state);
}

#[test]
fn files_are_told_apart_by_their_paths() {
    let log = Lines::default();
    let identity = |path: &str| PinFile::new(path.into(), &log).identity();
    assert_eq!(identity("/etc/pins"), identity("/etc/pins"));
    assert_ne!(identity("/etc/pins"), identity("/etc/pins2"));
    assert!(!identity("").is_empty());
}

/// A PIN file whose users are counted, and how.
struct Counted<'a> {
    file: PinFile<'a>,
    checks: &'a Cell<usize>,
    is_changing: bool,
}

impl PinSource for Counted<'_> {
    fn identity(&self) -> Vec<u8> {
        self.file.identity()
    }
    fn state(&self) -> Option<Vec<u8>> {
        if self.is_changing { None } else { self.file.state() }
    }
    fn check(&self, user: &[u8], pin: &[u8]) -> PinAnswer {
        self.checks.set(self.checks.get() + 1);
        self.file.check(user, pin)
    }
}

/// A gate to a users file with dave, whose PIN is checked elsewhere, and carol, whose isn't.
struct Site {
    pins: Scene,
    gate: Gate<UsersFile>,
    policy: Policy,
    checks: Cell<usize>,
}

const KEY: &str = "3132333435363738393031323334353637383930";
const NOW: UnixTime = 1_700_000_000;

fn site() -> Site {
    let pins = scene("dave:{PLAIN}sesame9\n");
    pins.settled();
    let users = pins.path.with_file_name("users");
    fs::write(&users, format!("HOTP dave + {KEY}\nHOTP carol sesame9 {KEY}\n")).unwrap();
    let gate = Gate::new(UsersFile::new(&users), || NOW).unwrap();
    let policy = Policy { pin_cache_external: 60, ..Settings::default().policy(Server::Nginx) };
    Site { pins, gate, policy, checks: Cell::new(0) }
}

const CODE: &str = "755224";

impl Site {
    fn with<R>(&self, is_changing: bool, act: impl FnOnce(&Counted<'_>, &Lines) -> R) -> R {
        let log = Lines::default();
        let file = PinFile::new(self.pins.path.clone(), &log);
        act(&Counted { file, checks: &self.checks, is_changing }, &log)
    }

    fn login(&self, pin: &str) -> LoginResult {
        self.with(false, |source, log| self.login_with(source, log, pin))
    }

    fn login_with(&self, source: &dyn PinSource, log: &Lines, pin: &str) -> LoginResult {
        let password = format!("{pin}{CODE}");
        self.gate.basic(&self.policy, &login_of("dave", &password), source, None, log).word
    }

    fn login_now(&self, pin: &str) -> Option<LoginResult> {
        let password = format!("{pin}{CODE}");
        self.with(false, |source, log| {
            let login = login_of("dave", &password);
            self.gate
                .basic_now(&self.policy, &login, source, None, None, log)
                .map(|answer| answer.word)
        })
    }
}

fn login_of<'a>(user: &'a str, password: &'a str) -> Login<'a> {
    let address = Address::of_client(Some("192.0.2.7".parse().unwrap()));
    Login { user: user.as_bytes(), password: password.as_bytes(), address }
}

#[test]
fn right_pin_is_checked_once_until_the_pin_file_changes() {
    let site = site();
    assert_eq!(site.login(PIN), LoginResult::GrantedFresh);
    assert_eq!(site.login(PIN), LoginResult::GrantedReuse);
    assert_eq!(site.login_now(PIN), Some(LoginResult::GrantedReuse));
    assert_eq!(site.checks.get(), 1);
    // A wrong one is checked once as well, and not by whoever may not block.
    assert_eq!(site.login(WRONG_PIN), LoginResult::DeniedPin);
    assert_eq!(site.login(WRONG_PIN), LoginResult::DeniedPin);
    assert_eq!(site.login_now(WRONG_PIN), None);
    assert_eq!(site.checks.get(), 2);

    fs::write(&site.pins.path, "dave:{PLAIN}simsim8\n").unwrap();
    site.pins.settled();
    assert_eq!(site.login_now(PIN), None);
    assert_eq!(site.login(PIN), LoginResult::DeniedPin);
    assert_eq!(site.login(WRONG_PIN), LoginResult::GrantedReuse);
    assert_eq!(site.login_now(WRONG_PIN), Some(LoginResult::GrantedReuse));
}

#[test]
fn nothing_is_remembered_while_the_pin_file_may_be_changing() {
    let site = site();
    for word in [LoginResult::GrantedFresh, LoginResult::GrantedReuse, LoginResult::GrantedReuse] {
        assert_eq!(site.with(true, |source, log| site.login_with(source, log, PIN)), word);
    }
    assert_eq!(site.checks.get(), 3);
    assert_eq!(site.login_now(PIN), None);
}

#[test]
fn nothing_is_remembered_where_that_is_switched_off() {
    let mut site = site();
    site.policy.pin_cache_external = 0;
    for word in [LoginResult::GrantedFresh, LoginResult::GrantedReuse] {
        assert_eq!(site.login(PIN), word);
        assert_eq!(site.login_now(PIN), None);
    }
    assert_eq!(site.checks.get(), 2);
}

/// Not even for what it is: that would cost every login a look at a file.
#[test]
fn who_needs_no_pin_file_asks_for_none() {
    struct Nobody;
    impl PinSource for Nobody {
        fn identity(&self) -> Vec<u8> {
            panic!("asked who it is")
        }
        fn state(&self) -> Option<Vec<u8>> {
            panic!("asked for its state")
        }
        fn check(&self, _: &[u8], _: &[u8]) -> PinAnswer {
            panic!("asked for a PIN")
        }
    }
    let site = site();
    let password = format!("{PIN}{CODE}");
    let log = Lines::default();
    for word in [LoginResult::GrantedFresh, LoginResult::GrantedReuse] {
        let mut judged = RequestMemory::default();
        let login = login_of("carol", &password);
        assert_eq!(
            site.gate.basic(&site.policy, &login, &Nobody, Some(&mut judged), &log).word,
            word
        );
        assert_eq!(
            site.gate.basic(&site.policy, &login, &Nobody, Some(&mut judged), &log).word,
            word
        );
    }
    let now =
        site.gate.basic_now(&site.policy, &login_of("carol", &password), &Nobody, None, None, &log);
    assert_eq!(now.map(|answer| answer.word), Some(LoginResult::GrantedReuse));
}

/// A request is judged once: what happens to the file meanwhile is for the next.
#[test]
fn parts_of_a_request_ask_the_same_pin_file_once() {
    let site = site();
    let password = format!("{PIN}{CODE}");
    let mut judged = RequestMemory::default();
    let login = login_of("dave", &password);
    let mut decide = || {
        site.with(false, |source, log| {
            site.gate.basic(&site.policy, &login, source, Some(&mut judged), log).word
        })
    };
    assert_eq!(decide(), LoginResult::GrantedFresh);
    fs::write(&site.pins.path, "dave:{PLAIN}simsim8\n").unwrap();
    assert_eq!(decide(), LoginResult::GrantedFresh);
    assert_eq!(site.checks.get(), 1);
}
