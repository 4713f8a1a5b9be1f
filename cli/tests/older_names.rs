//! otptool, otplock and genotpurl, as scripts call them.

mod common;

use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use otpgate::users::lock::Locked;
use rustix::fs::{FlockOperation, flock};

use common::Site;

#[test]
fn otptool_prints_codes_and_finds_counters() {
    let site = Site::new();
    let otptool = site.link("otptool");
    let run = |args: &[&str]| site.run_as(&otptool, args, "");
    let key = "3132333435363738393031323334353637383930";
    let printed = run(&["-c", "1", key]);
    assert_eq!((printed.status, &printed.out[..]), (0, "1: 287082 397eea\n"));
    run(&["-c", "1", key, "000000"]).is(2);
    run(&["-F", "/nonexistent"]).is(3);
    let help = run(&["-h"]);
    help.is(0);
    assert!(help.err.starts_with("usage: otptool [-Ffht] [-c counter]"), "{}", help.err);
    let unknown = run(&["-v", key]);
    unknown.is(1);
    assert_eq!(unknown.out, "");
}

#[test]
fn flags_of_otptool_may_stand_behind_the_key_and_wrong_use_is_status_1() {
    let site = Site::new();
    let otptool = site.link("otptool");
    let key = "3132333435363738393031323334353637383930";
    // RFC 4226, appendix D: counters 1 and 2.
    let (one, two) = ("1: 287082 397eea\n", "2: 359152 2fef30\n");
    for (args, status, out) in [
        (&[key, "-c", "1"][..], 0, one.to_owned()),
        (&[key, "-c1", "-w1"], 0, format!("{one}{two}")),
        (&["-c", "1", "-w1", key], 0, format!("{one}{two}")),
        (&[key, "287082", "-w", "3"], 0, "1\n".to_owned()),
        (&[key, "-w3", "287082"], 0, "1\n".to_owned()),
        (&["-w3", "--", key, "287082"], 0, "1\n".to_owned()),
        (&[key, "287082"], 2, String::new()),
        (&[key, "-w3", "287082", "-d8"], 2, String::new()),
        (&[key, "--", "-c", "1"], 1, String::new()),
        (&[key, "-c"], 1, String::new()),
        (&[key, "-z"], 1, String::new()),
        (&[key, "-c1", "-t"], 1, String::new()),
        (&["-c1"], 1, String::new()),
        (&[key, "-F", "-c1"], 3, String::new()),
    ] {
        let ran = site.run_as(&otptool, args, "");
        assert_eq!((ran.status, &ran.out), (status, &out), "{args:?}: {}", ran.err);
        assert!(args.contains(&"-F") || !ran.err.contains(key), "{}", ran.err);
    }
    let posix =
        Command::new(&otptool).args([key, "-c", "1"]).env("POSIXLY_CORRECT", "").output().unwrap();
    assert_eq!(posix.status.code(), Some(1), "three operands");
}

#[test]
fn genotpurl_prints_an_address_and_the_key_it_made() {
    let site = Site::new();
    let genotpurl = site.link("genotpurl");
    let given = site.run_as(&genotpurl, &["-I", "x y", "-L", "bob", "-k", "3132333435"], "");
    given.is(0);
    assert_eq!(
        (&given.out[..], &given.err[..]),
        ("otpauth://totp/x%20y:bob?issuer=x%20y&secret=GEZDGNBV\n", "")
    );
    let made = site.run_as(&genotpurl, &["-I", "x", "-L", "bob"], "");
    made.is(0);
    let key = made.err.strip_prefix("generated key (hex): ").unwrap().trim_end();
    let key = data_encoding::HEXLOWER.decode(key.as_bytes()).unwrap();
    let secret = data_encoding::BASE32_NOPAD.encode(&key);
    assert_eq!(made.out, format!("otpauth://totp/x:bob?issuer=x&secret={secret}\n"));
    site.run_as(&genotpurl, &["-I", "x"], "")
        .complains_of("genotpurl: the label is missing: give it with -L");
}

/// otplock on the site's users file.
fn otplock(site: &Site, link: &Path, before: &[&str], command: &[&str]) -> common::Ran {
    let users = site.users();
    let args = [before, &[users.to_str().unwrap()], command].concat();
    site.run_as(link, &args, "")
}

#[test]
fn a_command_of_otplock_keeps_its_options_quoting_and_status() {
    let site = Site::ready();
    let link = site.link("otplock");
    let run = |command: &[&str]| {
        let ran = otplock(&site, &link, &[], command);
        (ran.status, ran.out)
    };
    assert_eq!(
        run(&["printf", "%s|", "a  b", "-e", "$HOME", "*"]),
        (0, "a  b|-e|$HOME|*|".to_owned())
    );
    assert_eq!(run(&["echo one; echo two; exit 7"]), (7, "one\ntwo\n".to_owned()));
    assert_eq!(run(&["sh", "-c", "exit 3"]), (3, String::new()));
    assert_eq!(run(&["no-such-command", "x"]).0, 127);
    assert_eq!(run(&["no-such-command"]).0, 127);
    assert_eq!(run(&["sh", "-c", "kill -TERM $$"]).0, 87);
    assert_eq!(run(&["kill -KILL $$"]).0, 87);
    assert_eq!(run(&[]), (0, String::new()));
}

#[test]
fn flags_of_otplock_may_stand_behind_the_file_and_before_the_command() {
    let site = Site::ready();
    let link = site.link("otplock");
    let run = |before: &[&str], after: &[&str]| {
        let ran = otplock(&site, &link, before, after);
        (ran.status, ran.out)
    };
    assert_eq!(run(&[], &["--", "printf", "%s|", "-e", "-h"]), (0, "-e|-h|".to_owned()));
    assert_eq!(run(&["--"], &["printf", "%s", "-h"]), (0, "-h".to_owned()));
    assert_eq!(run(&[], &["--"]), (0, String::new()));
    assert_eq!(run(&[], &["-e", "true"]).0, 85, "-e takes no command");
    assert_eq!(run(&[], &["-x"]).0, 85);
    assert_eq!(run(&[], &["-h"]).0, 0);
    let ended =
        Command::new(&link).arg(site.users()).arg("-e").env("EDITOR", "exit 5;").status().unwrap();
    assert_eq!(ended.code(), Some(5));
}

#[test]
fn otplock_tells_wrong_usage_from_a_file_it_cannot_lock() {
    let site = Site::ready();
    let link = site.link("otplock");
    let none = site.run_as(&link, &[], "");
    none.is(85);
    assert!(none.err.starts_with(
        "otplock: the users file is missing\nusage: otplock usersfile [command ...]\n"
    ));
    let both = otplock(&site, &link, &["-e"], &["cat"]);
    both.is(85);
    assert!(both.err.starts_with("otplock: -e takes no command\n"), "{}", both.err);
    let unknown = otplock(&site, &link, &["-x"], &[]);
    unknown.is(85);
    assert!(unknown.err.starts_with("otplock: there is no option -x\n"), "{}", unknown.err);
    let help = site.run_as(&link, &["-h"], "");
    help.is(0);
    assert!(help.err.starts_with("usage: otplock usersfile"), "{}", help.err);
    let missing = site.run_as(&link, &["/nonexistent/users", "true"], "");
    missing.is(86);
    assert!(
        missing.err.starts_with("otplock: cannot find /nonexistent/users: "),
        "{}",
        missing.err
    );
}

#[test]
fn otplock_edits_with_an_editor_that_has_arguments() {
    let site = Site::ready();
    let link = site.link("otplock");
    let editor = site.path("an editor");
    fs::write(&editor, "#!/bin/sh\nprintf '%s\\n' \"$@\" >> \"$2\"\n").unwrap();
    fs::set_permissions(&editor, fs::Permissions::from_mode(0o755)).unwrap();
    let ended = Command::new(&link)
        .args([OsStr::new("-e"), site.users().as_os_str()])
        .env("EDITOR", format!("'{}' --wait", editor.display()))
        .status()
        .unwrap();
    assert_eq!(ended.code(), Some(0));
    assert_eq!(site.content(), format!("--wait\n{}\n", site.users().display()));
}

/// otplock at a command that says when it has begun, and ends with its standard input.
fn holding(site: &Site, link: &Path, program: &str) -> Child {
    let started = site.path("started");
    let line = format!("touch '{}'; {program}", started.display());
    let child =
        Command::new(link).arg(site.users()).arg(line).stdin(Stdio::piped()).spawn().unwrap();
    await_that(|| started.exists());
    child
}

fn await_that(done: impl Fn() -> bool) {
    let begun = Instant::now();
    while !done() {
        assert!(begun.elapsed() < Duration::from_secs(30), "it never came to that");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn what_otplock_holds_keeps_out_us_and_both_builds_of_the_ancestor() {
    let site = Site::ready();
    let link = site.link("otplock");
    let mut child = holding(&site, &link, "cat");
    let lock = OpenOptions::new().read(true).write(true).open(site.path("users.lock")).unwrap();
    // By flock, and by a record lock, which an open-file-description lock of ours stands in the way
    // of.
    assert!(flock(&lock, FlockOperation::NonBlockingLockExclusive).is_err());
    let record = rustix::fs::fcntl_lock(&lock, FlockOperation::NonBlockingLockExclusive);
    assert!(record.is_err());
    site.run(&["add", "alice", "--no-pin"], "")
        .complains_of("another program has held it for 5 seconds");
    drop(child.stdin.take());
    assert_eq!(child.wait().unwrap().code(), Some(0));
    site.run(&["add", "alice", "--no-pin"], "").is(0);
}

#[test]
fn otplock_waits_for_as_long_as_somebody_else_holds_a_lock() {
    let site = Site::ready();
    let link = site.link("otplock");
    for kind in ["flock", "record", "ours"] {
        let started = site.path(kind);
        let lock = OpenOptions::new().read(true).write(true).open(site.path("users.lock")).unwrap();
        let mut ours = None;
        match kind {
            "flock" => flock(&lock, FlockOperation::NonBlockingLockExclusive).unwrap(),
            "record" => {
                rustix::fs::fcntl_lock(&lock, FlockOperation::NonBlockingLockExclusive).unwrap();
            }
            _ => ours = Some(Locked::acquire(&site.users()).unwrap()),
        }
        let mut child = Command::new(&link)
            .arg(site.users())
            .args(["touch", "--"])
            .arg(&started)
            .spawn()
            .unwrap();
        // It has come as far as the lock once it has the file open.
        let fds = format!("/proc/{}/fd", child.id());
        await_that(|| {
            let has_lock_open = |entry: std::io::Result<fs::DirEntry>| {
                fs::read_link(entry.unwrap().path())
                    .is_ok_and(|path| path == site.path("users.lock"))
            };
            fs::read_dir(&fds).is_ok_and(|mut entries| entries.any(has_lock_open))
        });
        assert!(child.try_wait().unwrap().is_none() && !started.exists(), "{kind}");
        drop((ours, lock));
        assert_eq!(child.wait().unwrap().code(), Some(0), "{kind}");
        assert!(started.exists(), "{kind}");
    }
}

#[test]
fn a_key_that_interrupts_the_command_leaves_otplock_holding_the_lock() {
    let site = Site::ready();
    let link = site.link("otplock");
    let mut child = holding(&site, &link, "cat");
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    let lock = File::open(site.path("users.lock")).unwrap();
    assert!(flock(&lock, FlockOperation::NonBlockingLockExclusive).is_err());
    drop(child.stdin.take());
    let ended = child.wait().unwrap();
    assert_eq!((ended.code(), ended.signal()), (Some(0), None));
}

#[test]
fn otplock_run_by_root_leaves_the_lock_to_the_files_owner() {
    if !rustix::process::geteuid().is_root() {
        // Only root can give files away; every other test here runs for anybody.
        return;
    }
    let site = Site::new();
    fs::set_permissions(site.directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let users = site.path("sub/users");
    site.run(&["init", "--user", "daemon", "-f", users.to_str().unwrap()], "").is(0);
    let owner = |path: &Path| fs::metadata(path).unwrap().uid();
    fs::remove_file(site.path("sub/users.lock")).unwrap();
    let link = site.link("otplock");
    let ran = site.run_as(&link, &[users.to_str().unwrap(), "id", "-u"], "");
    ran.is(0);
    assert_eq!(ran.out, "0\n", "the command is still root's");
    assert_eq!(owner(&site.path("sub/users.lock")), owner(&users));
}
