//! What isn't the file that it should be, under either server and by the command: FIFOs, devices,
//! sockets, directories, files larger than any disk, and files left behind by a mount.

mod common;

use std::fs::{self, File};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use common::root::{self, Root};
use common::{Nginx, Scope, Server, Setting, Start, Token, beside};
use rustix::fs::{CWD, FileType, Mode, makedev, mknodat};

const PIN: &str = "sesame9";

common::on_both_servers! {
    a_special_file_costs_its_own_place_an_error_and_no_other_place_anything
    a_users_file_that_is_replaced_behind_its_mount_lets_nobody_in
}

fn alice() -> Token {
    Token::hotp("alice").pin(PIN)
}

/// What may stand where a file should, and what it is called.
const KINDS: [(&str, &str); 5] = [
    ("fifo", "it is a FIFO, not a regular file"),
    ("device", "it is a device, not a regular file"),
    ("socket", "it is a socket, not a regular file"),
    ("directory", "it is a directory, not a regular file"),
    ("sparse", "it is larger than 4 GiB"),
];

fn make(kind: &str, path: &Path) {
    let mode = Mode::from_raw_mode(0o660);
    match kind {
        "fifo" => mknodat(CWD, path, FileType::Fifo, mode, 0).expect("a FIFO"),
        // Like /dev/zero.
        "device" => {
            mknodat(CWD, path, FileType::CharacterDevice, mode, makedev(1, 5)).expect("a device")
        }
        "socket" => drop(UnixListener::bind(path).expect("a socket")),
        "directory" => fs::create_dir(path).expect("a directory"),
        "sparse" => {
            File::create(path).and_then(|file| file.set_len(1 << 40)).expect("a sparse file")
        }
        _ => unreachable!("{kind}"),
    }
    root::set_mode(path, if kind == "directory" { 0o770 } else { 0o660 });
    root::give_to_server(path);
}

/// A users file of the server's user, in a directory of its own.
fn users_file(directory: &Path, content: &[u8]) -> PathBuf {
    root::make_directory(directory);
    root::give_to_server(directory);
    let users = directory.join("users");
    fs::write(&users, content).expect("a new file");
    root::set_mode(&users, 0o660);
    root::give_to_server(&users);
    users
}

fn names_in(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).expect("the directory").flatten();
    let mut names: Vec<String> =
        entries.map(|entry| entry.file_name().into_string().expect("text")).collect();
    names.sort();
    names
}

fn within_a_second<R>(what: &str, attempt: impl FnOnce() -> R) -> R {
    let begun = Instant::now();
    let result = attempt();
    assert!(begun.elapsed() < Duration::from_secs(1), "{what} took {:?}", begun.elapsed());
    result
}

fn a_special_file_costs_its_own_place_an_error_and_no_other_place_anything(start: Start) {
    common::require_root("it makes a device");
    let alice = alice();
    let shared = Root::new();
    // As many as a process keeps no index of in its own memory.
    let many: String = (0..6_000)
        .map(|number| format!("HOTP/T30/6 other{number:05} - {:0<200}\n", "c0ffee"))
        .collect();
    let line = alice.line();
    let many = [many.as_bytes(), &line].concat();
    let mut scopes = vec![Scope::new("sound").token(&alice).set(Setting::MaxLinger, 0)];
    for (kind, _) in KINDS {
        let directory = |role: &str| shared.join(format!("{kind}-{role}"));
        let area = |role: &str| Scope::new(format!("{kind}-{role}"));
        root::make_directory(&directory("users"));
        root::give_to_server(&directory("users"));
        let users = directory("users").join("users");
        make(kind, &users);
        scopes.push(area("users").users_file(users));
        for role in ["journal", "lock", "index"] {
            let users = users_file(&directory(role), if role == "index" { &many } else { &line });
            make(kind, &beside(&users, &format!(".{role}")));
            scopes.push(area(role).users_file(users));
        }
    }
    let server = start(scopes);
    let sound = server.at("sound");
    let mut counter = 0;
    for (kind, what) in KINDS {
        // Said by the start already.
        server.expect_log(what);
        for role in ["users", "journal", "lock"] {
            let place = server.at(&format!("{kind}-{role}"));
            let at = |ending: &str| beside(place.users().path(), ending).display().to_string();
            let path = if role == "users" { at("") } else { at(&format!(".{role}")) };
            server.expect_log(&format!("cannot use {path}: {what}; "));
            for _ in 0..2 {
                within_a_second(&path, || {
                    place.login("alice", alice.password(0)).is(500, "error");
                });
            }
            sound.login("alice", alice.password(counter)).is(200, "granted-fresh");
            counter += 1;
        }
        // Nothing is made beside what is no users file.
        assert_eq!(names_in(&shared.join(format!("{kind}-users"))), ["users"]);
        // An index is a convenience.
        let place = server.at(&format!("{kind}-index"));
        within_a_second(kind, || {
            place.login("alice", alice.password(0)).is(200, "granted-fresh");
        });
    }
    let begun = Instant::now();
    server.finish();
    assert!(begun.elapsed() < Duration::from_secs(5), "it took {:?} to stop", begun.elapsed());
}

#[test]
fn a_special_file_in_the_place_of_a_pin_file_is_an_error_at_once() {
    common::require_root("it makes a device");
    let bob = Token::hotp("bob").pin("+");
    let scopes = KINDS.map(|(kind, _)| Scope::new(kind).token(&bob).pin_file("bob", PIN)).to_vec();
    let server = Server::start(Nginx::four(), scopes);
    server.expect_log("the PIN provider or PIN file can't be used");
    for (kind, what) in KINDS {
        let place = server.at(kind);
        let pins = server.root().join("pins").join(kind);
        fs::remove_file(&pins).expect("the PIN file");
        make(kind, &pins);
        server.expect_log(&format!("cannot use {}: {what}; ", pins.display()));
        within_a_second(kind, || {
            place.login("bob", format!("{PIN}{}", bob.code(0))).is(500, "error");
        });
    }
}

/// The users file as root mounts it for a container: the file alone.
struct Mounted(PathBuf);

impl Mounted {
    fn on(source: &Path, target: PathBuf) -> Mounted {
        fs::write(&target, "").expect("a place to mount on");
        let done = Command::new("/usr/bin/mount").arg("--bind").arg(source).arg(&target).status();
        assert!(done.expect("mount runs").success(), "can't mount {}", source.display());
        Mounted(target)
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("/usr/bin/umount").arg("-l").arg(&self.0).status();
    }
}

fn a_users_file_that_is_replaced_behind_its_mount_lets_nobody_in(start: Start) {
    common::require_root("it mounts a file");
    let alice = alice();
    let bob = Token::hotp("bob").pin(PIN).key(b"the key of bob, of twenty");
    let shared = Root::new();
    let source = users_file(&shared.join("host"), &[alice.line(), bob.line()].concat());
    root::make_directory(&shared.join("container"));
    root::give_to_server(&shared.join("container"));
    let mounted = Mounted::on(&source, shared.join("container/users"));
    let scope = Scope::new("area").users_file(&mounted.0).set(Setting::MaxLinger, 600);
    let server = start(vec![scope]);
    let place = server.at("area");
    server.tolerate_log("is mounted by itself");
    for user in [&alice, &bob] {
        place.login(user.user(), user.password(0)).is(200, "granted-fresh");
        place.login(user.user(), user.password(0)).is(200, "granted-reuse");
    }

    // The host takes bob out, as editors do; the mount still shows the old file, with him in it.
    let text = String::from_utf8(fs::read(&source).expect("the users file")).expect("text");
    let kept: String =
        text.lines().filter(|line| !line.contains("bob")).map(|line| format!("{line}\n")).collect();
    common::UsersFile::at(&source).replace(kept);
    let words = format!("cannot trust {}: it was replaced or removed", mounted.0.display());
    server.expect_log(&words);
    for user in [&bob, &alice] {
        place.login(user.user(), user.password(0)).is(500, "error");
        place.login(user.user(), user.password(1)).is(500, "error");
    }
    assert!(server.error_log().contains("; mount its directory instead of the file"), "what to do");
    for args in [&["check"][..], &["list"], &["unlock", "bob"]] {
        let (code, output) = otpgate(&mounted.0, args);
        assert_eq!(code, Some(1), "{args:?}: {output}");
        assert!(output.contains(&words), "{args:?}: {output}");
    }

    // Mounted anew, all is well.
    drop(mounted);
    let _mounted = Mounted::on(&source, shared.join("container/users"));
    place.login("alice", alice.password(1)).is(200, "granted-fresh");
    place.login("bob", bob.password(1)).is(401, "unknown");
}

/// Ends within a second. Its exit status, and all it says.
fn otpgate(users: &Path, args: &[&str]) -> (Option<i32>, String) {
    let mut command = Command::new(common::program());
    command.arg("-f").arg(users).args(args).stdin(Stdio::null());
    let output = within_a_second(&format!("{args:?} of {}", users.display()), || {
        let child =
            command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the command");
        let pid = rustix::process::Pid::from_child(&child);
        let (over, end) = std::sync::mpsc::channel::<()>();
        std::thread::spawn(move || {
            if end
                .recv_timeout(Duration::from_secs(5))
                .is_err_and(|error| error == std::sync::mpsc::RecvTimeoutError::Timeout)
            {
                let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
            }
        });
        let output = child.wait_with_output().expect("its output");
        drop(over);
        output
    });
    (
        output.status.code(),
        String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned(),
    )
}

#[test]
fn the_command_refuses_a_special_file_at_once_and_makes_nothing_beside_it() {
    common::require_root("it makes a device");
    let verbs: [&[&str]; 13] = [
        &["check"],
        &["check", "--fix"],
        &["init"],
        &["list"],
        &["show", "alice"],
        &["unlock", "alice"],
        &["disable", "alice"],
        &["remove", "alice"],
        &["advance", "alice"],
        &["add", "carol", "--no-pin"],
        &["explain", "alice"],
        &["resync", "alice", "123456", "234567"],
        &["verify", "alice"],
    ];
    let shared = Root::new();
    for (kind, what) in KINDS {
        let directory = shared.join(kind);
        root::make_directory(&directory);
        let path = directory.join("users");
        make(kind, &path);
        for args in verbs {
            let (code, output) = otpgate(&path, args);
            assert!(code.is_some_and(|code| code != 0), "{args:?}: {code:?} {output}");
            assert!(output.contains(what), "{args:?}: {output}");
            assert_eq!(names_in(&directory), ["users"], "{args:?}");
        }
        for role in ["journal", "lock"] {
            let users = users_file(&shared.join(format!("{kind}-{role}")), &alice().line());
            make(kind, &beside(&users, &format!(".{role}")));
            for args in [&["check"][..], &["unlock", "alice"], &["check", "--fix"]] {
                let (code, output) = otpgate(&users, args);
                assert_eq!(code, Some(1), "{args:?}: {output}");
                assert!(output.contains(&format!(".{role}: {what}")), "{args:?}: {output}");
            }
        }
    }
    let (code, output) = otpgate(Path::new("/dev/null"), &["unlock", "alice"]);
    assert_eq!(code, Some(1), "{output}");
    for ending in [".lock", ".journal", ".index"] {
        assert!(!beside(Path::new("/dev/null"), ending).exists());
    }
}
