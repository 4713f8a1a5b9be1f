//! Users files on file systems that are unlike the one the tests run on: with coarse times, copied
//! while they are in use, mounted one file at a time.

mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use common::root::{self, Root};
use common::{Httpd, Nginx, Scope, Server, Setting, Token, from_environment};
use otpgate::decide::{PinAnswer, Verdict};
use otpgate::gate::{Gate, Login, PinSource};
use otpgate::log::{Level, Log};
use otpgate::policy::{Policy, Server as Kind, Settings};
use otpgate::token::Address;
use otpgate::users::file::UsersFile;

const PIN: &str = "sesame9";

fn run(program: &str, arguments: &[&str]) {
    let output = Command::new(program)
        .args(arguments)
        .output()
        .unwrap_or_else(|error| panic!("{program}: {error}"));
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {arguments:?}: {told}");
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a plain path")
}

/// Something mounted, until dropped.
struct Mounted(PathBuf);

impl Mounted {
    fn new(arguments: &[&str], at: &Path) -> Mounted {
        run("/usr/bin/mount", &[arguments, &[text(at)]].concat());
        Mounted(at.to_owned())
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("/usr/bin/umount").arg("-l").arg(&self.0).status();
    }
}

/// A disk in a file, and where it is mounted.
struct Disk {
    root: Root,
    mounted: Option<Mounted>,
}

impl Disk {
    /// An ext4 with inodes of so many bytes: 128 leave no room for more than whole seconds.
    fn ext4(inode: &str) -> Disk {
        common::require_root("it mounts a file system of its own");
        let disk = Disk { root: Root::new(), mounted: None };
        let image = fs::File::create(disk.image()).expect("a new file");
        image.set_len(16 << 20).expect("room");
        run("/usr/sbin/mkfs.ext4", &["-q", "-I", inode, text(&disk.image())]);
        disk.mount()
    }

    fn mount(mut self) -> Disk {
        let directory = self.root.join("mounted");
        root::make_directory(&directory);
        self.mounted = Some(Mounted::new(&["-o", "loop", text(&self.image())], &directory));
        root::give_to_server(&directory);
        self
    }

    fn image(&self) -> PathBuf {
        self.root.join("image")
    }

    fn users(&self) -> PathBuf {
        self.root.join("mounted/users")
    }

    fn write_users(&self, tokens: &[Token]) -> PathBuf {
        let lines: Vec<u8> = tokens.iter().flat_map(Token::line).collect();
        let users = self.root.write("mounted/users", lines);
        root::set_mode(&users, 0o600);
        root::give_to_server(&users);
        users
    }

    /// What the power would leave if it went now.
    fn copy(&self) -> Disk {
        let copy = Disk { root: Root::new(), mounted: None };
        fs::copy(self.image(), copy.image()).expect("a copy");
        copy
    }
}

#[test]
fn where_times_are_whole_seconds_a_forgotten_code_is_forgotten_at_once_on_both_servers() {
    let disk = Disk::ext4("128");
    let alice = Token::hotp("alice").pin(PIN);
    let users = disk.write_users(std::slice::from_ref(&alice));
    let scope = Scope::new("area").token(&alice).users_file(&users);
    let httpd = Server::start(Httpd::event(), vec![scope.clone()]);
    let nginx = Server::start(Nginx::four(), vec![scope]);
    let places = [httpd.at("area"), nginx.at("area")];
    for round in 0..from_environment("OTPGATE_TEST_ROUNDS", 10) as u64 {
        let password = alice.password(round);
        let (one, other) = (&places[round as usize % 2], &places[1 - round as usize % 2]);
        one.login("alice", &password).is(200, "granted-fresh");
        // Every process has it in memory now.
        for _ in 0..8 {
            for place in &places {
                place.login("alice", &password).is(200, "granted-reuse");
            }
        }
        one.login("alice", "").is(401, "forgotten");
        for _ in 0..8 {
            one.login("alice", &password).is(401, "denied-expired");
            other.login("alice", &password).is(401, "denied-expired");
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

#[test]
fn no_copy_of_the_disk_of_servers_under_load_grants_a_code_again() {
    let disk = Disk::ext4("256");
    let tokens: Vec<Token> =
        (0..6).map(|number| Token::hotp(format!("user{number}")).pin(PIN)).collect();
    let users = disk.write_users(&tokens);
    let scope = tokens.iter().fold(Scope::new("area"), |scope, token| scope.token(token));
    let scope = scope.users_file(&users).set(Setting::MaxLinger, 0);
    let httpd = Server::start(Httpd::event(), vec![scope.clone()]);
    let nginx = Server::start(Nginx::four(), vec![scope]);
    let places = [httpd.at("area"), nginx.at("area")];
    let granted: Mutex<Vec<(usize, u64)>> = Mutex::default();
    let is_over = AtomicBool::new(false);
    let copies = from_environment("OTPGATE_TEST_ROUNDS", 10);
    let (mut replayed, mut unknown, mut mounted) = (0, 0, 0);
    std::thread::scope(|threads| {
        for (number, token) in tokens.iter().enumerate() {
            let (granted, is_over, place) = (&granted, &is_over, &places[number % 2]);
            threads.spawn(move || {
                for counter in 0.. {
                    if is_over.load(Ordering::Relaxed) {
                        return;
                    }
                    place.login(token.user(), token.password(counter)).is(200, "granted-fresh");
                    granted.lock().expect("no panic").push((number, counter));
                }
            });
        }
        struct Over<'a>(&'a AtomicBool);
        impl Drop for Over<'_> {
            fn drop(&mut self) {
                self.0.store(true, Ordering::Relaxed);
            }
        }
        let _over = Over(&is_over);
        for _ in 0..copies {
            let before = granted.lock().expect("no panic").len();
            common::wait_until("logins go on", || {
                granted.lock().expect("no panic").len() > before + 20
            });
            let known = granted.lock().expect("no panic").clone();
            let copy = disk.copy().mount();
            mounted += 1;
            let gate = Gate::new(UsersFile::new(&copy.users()), || common::codes::now() as i64)
                .expect("random bytes");
            let policy = Policy { max_linger: Some(0), ..Settings::default().policy(Kind::Apache) };
            for &(number, counter) in known.iter().rev().take(300) {
                let token = &tokens[number];
                let password = token.password(counter);
                let login = Login {
                    user: token.user(),
                    password: password.as_ref(),
                    address: Address::of_client(None),
                };
                let answer = gate.basic(&policy, &login, &Nobody, None, &Nobody);
                replayed += usize::from(answer.verdict == Verdict::Granted);
                unknown += usize::from(answer.verdict == Verdict::Unknown);
            }
        }
    });
    let count = granted.lock().expect("no panic").len();
    println!(
        "{mounted} copies, {count} codes granted: {replayed} granted again, {unknown} unknown"
    );
    assert_eq!((replayed, unknown), (0, 0));
}

#[test]
fn a_file_that_is_mounted_by_itself_is_synced_at_each_login_and_leaves_no_frame_to_undo_it() {
    common::require_root("it mounts a single file");
    let (inside, outside) = (Root::new(), Root::new());
    let alice = Token::hotp("alice").pin(PIN);
    let real = outside.write("users", alice.line());
    let users = inside.write("users", "");
    for path in [&real, &users] {
        root::set_mode(path, 0o600);
        root::give_to_server(path);
    }
    root::give_to_server(inside.path());
    let _mounted = Mounted::new(&["--bind", text(&real)], &users);
    let scope = Scope::new("area").token(&alice).users_file(&users).set(Setting::MaxLinger, 0);
    for start in [
        Server::start(Httpd::event(), vec![scope.clone()]),
        Server::start(Nginx::one(), vec![scope]),
    ] {
        let place = start.at("area");
        let from = place.users().counter("alice") as u64;
        for counter in from..from + 3 {
            place.login("alice", alice.password(counter)).is(200, "granted-fresh");
            place.login("alice", alice.password(counter)).is(401, "denied-expired");
            let journal = fs::read(inside.join("users.journal")).expect("the journal");
            assert!(!journal.windows(8).any(|window| window == b"OTPFRAME"), "a frame is left");
        }
    }
    assert_eq!(fs::read(&real).expect("the file"), fs::read(&users).expect("the same file"));
}
