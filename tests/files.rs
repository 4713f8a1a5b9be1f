//! The users file under either server: faults of the file system, editors, owners, links.

mod common;

use std::fs::{self, File};
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Instant;

use otpgate::files::system::{as_user, file_groups};
use rustix::fs::{FlockOperation, Gid, Uid, flock};

use common::root::{self, Root};
use common::{Httpd, Mpm, Nginx, Place, Scope, Setting, Start, Token, UsersFile, beside};

const PIN: &str = "sesame9";

common::on_each_server! {
    // Told by the process that has seen more.
    on_httpd_with_one_process: Httpd::event().in_one_process() => an_older_state_of_the_file_is_told;
    on_nginx_with_one_worker: Nginx::one() => an_older_state_of_the_file_is_told;
    on_httpd_with_many_processes: Httpd::new(Mpm::Prefork) =>
        processes_share_the_index_of_a_large_file_and_edits_are_noticed;
    on_nginx_with_many_workers: Nginx::four() => processes_share_the_index_of_a_large_file_and_edits_are_noticed;
}

common::on_both_servers! {
    without_a_way_to_save_nothing_is_granted
    login_waits_for_the_lock_but_not_for_ever
    on_a_full_disk_nothing_is_granted_that_is_not_saved
    edits_take_effect_at_once
    edits_under_the_lock_lose_no_login
    file_that_is_half_written_is_neither_trusted_nor_mended
    owner_mode_and_link_stay_what_they_are
    lock_and_journal_get_owner_and_mode_of_the_users_file
    a_large_file_in_a_directory_that_is_not_the_servers_needs_no_index_and_uses_one_that_is_there
    access_list_of_the_users_file_stays
}

fn alice() -> Token {
    Token::hotp("alice").pin(PIN)
}

/// Makes such a neighbour as the server would, but with that mode.
fn make_beside(users: &Path, ending: &str, mode: u32) -> PathBuf {
    let path = beside(users, ending);
    fs::write(&path, "").expect("a new file");
    root::set_mode(&path, mode);
    root::give_to_server(&path);
    path
}

/// As either server marks it.
fn is_error(line: &str) -> bool {
    line.contains("authn_otp:error") || line.contains("[error]")
}

/// Whether the server has seen to what a crash may have left. Until then nothing at all is decided.
#[derive(Clone, Copy, PartialEq)]
enum Since {
    Start,
    FirstLogin,
}

/// While the fault lasts: nobody gets in or is counted, and the log says what is wrong with which
/// path.
fn nothing_is_granted(place: &Place<'_>, token: &Token, counter: u64, path: &Path, since: Since) {
    place.expect_log(&path.to_string_lossy());
    place.users().stays_the_same(|| {
        place.login("alice", token.password(counter)).is(500, "error");
        place.login("alice", token.with(&token.wrong_code())).is(500, "error");
        // What needs no state is decided as ever.
        let or_error =
            |status, word| if since == Since::Start { (500, "error") } else { (status, word) };
        let (status, word) = or_error(401, "denied-pin");
        place.login("alice", format!("simsim8{}", token.code(counter))).is(status, word);
        let (status, word) = or_error(401, "unknown");
        place.login("nobody", token.password(counter)).is(status, word);
    });
    let log = place.server().error_log();
    let path = path.to_string_lossy();
    let line = log
        .lines()
        .find(|line| line.contains(&*path) && is_error(line))
        .unwrap_or_else(|| panic!("no error names {path}:\n{log}"));
    // "cannot … PATH: cause; remedy": without a remedy, nothing follows the semicolon.
    let remedy = line.rsplit_once("; ").map(|(_, remedy)| remedy).unwrap_or_default();
    assert!(remedy.len() > 10, "no remedy: {line}");
}

fn without_a_way_to_save_nothing_is_granted(start: Start) {
    let alice = alice();
    let names = ["read-only", "lock", "journal", "directory", "linked-lock", "gone"];
    let mut scopes = names.map(|name| Scope::new(name).token(&alice)).to_vec();
    scopes.push(Scope::new("idle").token(&alice).set(Setting::MaxIdle, 16));
    let server = start(scopes);

    let place = server.at("read-only");
    root::set_mode(place.users().path(), 0o400);
    nothing_is_granted(&place, &alice, 0, place.users().path(), Since::Start);
    root::set_mode(place.users().path(), 0o600);
    place.login("alice", alice.password(0)).is(200, "granted-fresh");
    // A code that lingers needs no writing.
    root::set_mode(place.users().path(), 0o400);
    place.login("alice", alice.password(0)).is(200, "granted-reuse");
    nothing_is_granted(&place, &alice, 1, place.users().path(), Since::FirstLogin);

    // A refreshed idle time would, each second with this limit, but nobody is refused for it.
    let place = server.at("idle");
    place.login("alice", alice.password(0)).is(200, "granted-fresh");
    root::set_mode(place.users().path(), 0o400);
    let path = place.users().path().to_string_lossy();
    server.expect_log(&path);
    common::wait_until("the idle time should have been refreshed", || {
        place.users().stays_the_same(|| {
            place.login("alice", alice.password(0)).is(200, "granted-reuse");
        });
        server.error_log().contains(&*path)
    });

    let place = server.at("lock");
    let lock = make_beside(place.users().path(), ".lock", 0o400);
    nothing_is_granted(&place, &alice, 0, &lock, Since::Start);
    root::set_mode(&lock, 0o600);
    place.login("alice", alice.password(0)).is(200, "granted-fresh");

    let place = server.at("journal");
    let journal = make_beside(place.users().path(), ".journal", 0o400);
    nothing_is_granted(&place, &alice, 0, &journal, Since::Start);
    root::set_mode(&journal, 0o600);
    place.login("alice", alice.password(0)).is(200, "granted-fresh");

    let place = server.at("directory");
    let directory = place.users().path().parent().expect("its directory");
    root::set_mode(directory, 0o555);
    nothing_is_granted(&place, &alice, 0, directory, Since::Start);
    root::set_mode(directory, 0o755);
    place.login("alice", alice.password(0)).is(200, "granted-fresh");

    // A link in place of the lock could lead anywhere.
    let place = server.at("linked-lock");
    let lock = beside(place.users().path(), ".lock");
    let target = server.root().write("elsewhere", "");
    root::give_to_server(&target);
    symlink(&target, &lock).expect("a link");
    nothing_is_granted(&place, &alice, 0, &lock, Since::Start);
    fs::remove_file(&lock).expect("our link");
    place.login("alice", alice.password(0)).is(200, "granted-fresh");

    let place = server.at("gone");
    let hidden = beside(place.users().path(), ".hidden");
    fs::rename(place.users().path(), &hidden).expect("the users file");
    server.expect_log(&place.users().path().to_string_lossy());
    place.login("alice", alice.password(0)).is(500, "error");
    fs::rename(&hidden, place.users().path()).expect("the users file");
    place.login("alice", alice.password(0)).is(200, "granted-fresh");
}

fn login_waits_for_the_lock_but_not_for_ever(start: Start) {
    let alice = alice();
    let scope = Scope::new("area").token(&alice).set(Setting::MaxLinger, 600);
    let server = start(vec![scope]);
    let place = server.at("area");
    place.login("alice", alice.password(0)).is(200, "granted-fresh");
    let path = beside(place.users().path(), ".lock");
    let hold = || {
        let file = File::options().read(true).write(true).open(&path).expect("the lock file");
        flock(&file, FlockOperation::NonBlockingLockExclusive).expect("nobody else has it");
        file
    };

    let lock = hold();
    std::thread::scope(|threads| {
        let login = threads.spawn(|| place.login("alice", alice.password(1)));
        // Who needs no lock isn't held up by it.
        for _ in 0..5 {
            place.login("alice", alice.password(0)).is(200, "granted-reuse");
        }
        assert!(!login.is_finished());
        drop(lock);
        login.join().expect("an answer").is(200, "granted-fresh");
    });

    server.expect_log(&path.to_string_lossy());
    let lock = hold();
    let begun = Instant::now();
    place.users().stays_the_same(|| {
        place.login("alice", alice.password(2)).is(500, "error");
    });
    let waited = begun.elapsed();
    assert!((4..20).contains(&waited.as_secs()), "{waited:?}");
    drop(lock);
    place.login("alice", alice.password(2)).is(200, "granted-fresh");
}

/// A small file system of its own, gone when dropped.
struct SmallDisk(Root);

impl SmallDisk {
    fn new() -> SmallDisk {
        common::require_root("it mounts a file system that is full");
        let root = Root::new();
        let done = Command::new("/usr/bin/mount")
            .args(["-t", "tmpfs", "-o", "size=4m,mode=755", "otpgate-test"])
            .arg(root.path())
            .status()
            .expect("mount runs");
        assert!(done.success(), "can't mount a tmpfs");
        SmallDisk(root)
    }

    /// Leaves not a byte.
    fn fill(&self) -> PathBuf {
        let path = self.0.join("filler");
        // In pages, so that no part of one stays free.
        let mut filler = File::create(&path).expect("a new file");
        while std::io::Write::write_all(&mut filler, &[0; 4096]).is_ok() {}
        path
    }

    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(self.0.path()).expect("the directory").flatten();
        let mut names: Vec<String> =
            entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("/usr/bin/umount").arg("-l").arg(self.0.path()).status();
    }
}

fn on_a_full_disk_nothing_is_granted_that_is_not_saved(start: Start) {
    let alice = alice();
    let disk = SmallDisk::new();
    root::give_to_server(disk.0.path());
    let users = disk.0.write("users", alice.line());
    root::set_mode(&users, 0o600);
    root::give_to_server(&users);
    let scope = Scope::new("area").token(&alice).set(Setting::MaxLinger, 0).users_file(&users);
    let server = start(vec![scope]);
    let place = server.at("area");

    // Neither slots nor a journal yet: all has to be made.
    let filler = disk.fill();
    nothing_is_granted(&place, &alice, 0, disk.0.path(), Since::Start);
    for name in disk.names() {
        let known = ["filler", "users", "users.lock", "users.journal", "users.throttle"];
        assert!(known.contains(&name.as_str()), "{name} was left behind");
    }
    fs::remove_file(&filler).expect("our own");
    place.login("alice", alice.password(0)).is(200, "granted-fresh");

    // Now there is room for each record: whether a login needs more is the server's affair, but
    // what it grants, it has saved.
    disk.fill();
    for counter in 1..50 {
        let before = place.users().bytes();
        let reply = place.login("alice", alice.password(counter));
        match reply.status() {
            200 => assert_eq!(place.users().counter("alice"), counter as i64 + 1),
            500 => assert!(place.users().bytes() == before),
            _ => panic!("{reply:?}"),
        }
        if reply.status() == 200 {
            place.login("alice", alice.password(counter)).is(401, "denied-expired");
        }
    }
}

fn an_older_state_of_the_file_is_told(start: Start) {
    let (alice, bob) = (alice(), Token::totp("bob").pin(PIN));
    let scope = Scope::new("area").token(&alice).token(&bob).set(Setting::MaxLinger, 600);
    let server = start(vec![scope]);
    let place = server.at("area");
    let deployed = place.users().bytes();
    for counter in 0..3 {
        place.login("alice", alice.password(counter)).is(200, "granted-fresh");
        place.login("alice", alice.password(counter)).is(200, "granted-reuse");
    }
    place.login("bob", bob.password(bob.step())).is(200, "granted-fresh");
    // As configuration management does.
    place.users().replace([b"# deployed\n", &deployed[..]].concat());
    let words = format!(
        "{}: it was replaced by an older state (user \"alice\": counter 0 after 3, and one more user): used codes \
         may be accepted again; run `otpgate advance`",
        place.users().path().display()
    );
    server.expect_log(&words);
    place.login("alice", alice.password(0)).is(200, "granted-fresh");
    place.login("alice", alice.password(1)).is(200, "granted-fresh");
    let log = server.error_log();
    let lines: Vec<_> = log.lines().filter(|line| line.contains("older state")).collect();
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(lines[0].contains("[warn]") || lines[0].contains("authn_otp:warn"), "{lines:?}");
}

fn edits_take_effect_at_once(start: Start) {
    let alice = alice();
    let carol = Token::hotp("carol").key(b"the key of carol");
    let erin = Token::hotp("erin").key(b"the key of erin");
    let scope = Scope::new("area").text("# by hand\n").token(&alice).set(Setting::MaxLinger, 0);
    let server = start(vec![scope]);
    let place = server.at("area");
    let users = place.users();
    place.login("alice", alice.password(0)).is(200, "granted-fresh");
    place.login("carol", carol.password(0)).is(401, "unknown");

    users.append(carol.line());
    place.login("carol", carol.password(0)).is(200, "granted-fresh");
    place.login("alice", alice.password(1)).is(200, "granted-fresh");

    // An editor: another file in its place, with another PIN and one more user.
    let text = String::from_utf8(users.bytes()).expect("plain text");
    let text = text.replace(PIN, "opendoor") + &String::from_utf8(erin.line()).expect("plain text");
    users.replace(text);
    let changed = alice.clone().pin("opendoor");
    place.login("alice", alice.password(2)).is(401, "denied-pin");
    place.login("alice", changed.password(1)).is(401, "denied-expired");
    place.login("alice", changed.password(2)).is(200, "granted-fresh");
    place.login("erin", erin.password(0)).is(200, "granted-fresh");
    place.login("carol", carol.password(1)).is(200, "granted-fresh");

    // A user is taken out.
    let text = String::from_utf8(users.bytes()).expect("plain text");
    let kept: Vec<&str> = text.lines().filter(|line| !line.contains("carol")).collect();
    users.replace(kept.join("\n") + "\n");
    place.login("carol", carol.password(2)).is(401, "unknown");
    place.login("erin", erin.password(1)).is(200, "granted-fresh");
    let text = String::from_utf8(users.bytes()).expect("plain text");
    assert!(text.starts_with("# by hand\n"), "{text}");
}

/// What `otplock` does: edit a copy and rename it, all under the lock.
fn edits_under_the_lock_lose_no_login(start: Start) {
    const EDITS: usize = 20;
    let tokens: Vec<Token> =
        (0..4).map(|number| Token::hotp(format!("user{number}")).pin(PIN)).collect();
    let scope = tokens.iter().fold(Scope::new("area"), |scope, token| scope.token(token));
    let server = start(vec![scope.set(Setting::MaxLinger, 0)]);
    let place = server.at("area");
    let lock = make_beside(place.users().path(), ".lock", 0o600);
    let (over, granted) = (AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|threads| {
        for token in &tokens {
            let (place, over, granted) = (&place, &over, &granted);
            threads.spawn(move || {
                let mut counter = 0;
                while !over.load(Ordering::SeqCst) {
                    place.login(token.user(), token.password(counter)).is(200, "granted-fresh");
                    counter += 1;
                    granted.fetch_add(1, Ordering::SeqCst);
                }
                assert_eq!(place.users().counter(token.user()), counter as i64);
            });
        }
        for edit in 0..EDITS {
            let before = granted.load(Ordering::SeqCst);
            common::wait_until("logins go on", || granted.load(Ordering::SeqCst) > before + 3);
            let file = File::options().read(true).write(true).open(&lock).expect("the lock file");
            flock(&file, FlockOperation::LockExclusive).expect("our turn");
            let mut text = place.users().bytes();
            text.extend_from_slice(format!("# edit {edit}\n").as_bytes());
            place.users().replace(text);
            flock(&file, FlockOperation::Unlock).expect("our own lock");
        }
        over.store(true, Ordering::SeqCst);
    });
    let text = String::from_utf8(place.users().bytes()).expect("plain text");
    assert_eq!(text.matches("# edit").count(), EDITS, "{text}");
}

fn file_that_is_half_written_is_neither_trusted_nor_mended(start: Start) {
    let alice = alice();
    let bob = Token::hotp("bob").pin("opendoor").key(b"the key of bob");
    let scope = Scope::new("area").token(&alice).token(&bob).set(Setting::MaxLinger, 0);
    let server = start(vec![scope]);
    let place = server.at("area");
    let users = place.users();
    place.login("alice", alice.password(0)).is(200, "granted-fresh");
    place.login("bob", bob.password(0)).is(200, "granted-fresh");

    // Cut within bob's key, in place, between the two digits of a byte.
    let whole = users.bytes();
    let text = String::from_utf8(whole.clone()).expect("plain text");
    let cut = text.find("opendoor").expect("bob's line") + "opendoor ".len() + 5;
    let file = File::options().write(true).open(users.path()).expect("the users file");
    file.set_len(cut as u64).expect("a shorter file");
    let half = &text[text.find("HOTP/E/6 bob").expect("bob's line")..cut];

    server.expect_log(&users.path().to_string_lossy());
    server.expect_log("one of the user's lines can't be read");
    let reply = place.login("bob", bob.password(1));
    assert_ne!(reply.status(), 200, "{reply:?}");
    place.login("alice", alice.password(1)).is(200, "granted-fresh");
    let text = String::from_utf8(users.bytes()).expect("plain text");
    assert!(text.trim_end_matches('\n').ends_with(half), "{text}");

    // The rest arrives.
    let rest = &whole[cut..];
    let end = users.bytes().len() - usize::from(users.bytes().ends_with(b"\n"));
    file.set_len(end as u64).expect("without a line end");
    users.append(rest);
    place.login("bob", bob.password(0)).is_denied();
    place.login("bob", bob.password(1)).is(200, "granted-fresh");
    place.login("alice", alice.password(2)).is(200, "granted-fresh");
}

fn owner_mode_and_link_stay_what_they_are(start: Start) {
    common::require_root("it gives files to root and runs the server as another account");
    let alice = alice();
    let bob = Token::totp("bob").pin(PIN);
    let shared = Root::new();
    let directory = shared.join("real");
    let users = shared.write(directory.join("users"), [alice.line(), bob.line()].concat());
    let link = shared.join("conf/users");
    root::make_directory(&shared.join("conf"));
    symlink("../real/users", &link).expect("a link");
    let (_, group) = root::server_ids();
    let for_server = |path: &Path| {
        root::set_owner(path, Some(0), Some(group));
        root::set_mode(path, 0o660);
    };
    for_server(&users);
    let beside_it = [".lock", ".journal", ".throttle"].map(|ending| beside(&users, ending));
    for path in beside_it.into_iter().chain([beside(&link, ".lock")]) {
        fs::write(&path, "").expect("a new file");
        for_server(&path);
    }
    let scope = Scope::new("area").token(&alice).set(Setting::MaxLinger, 0).users_file(&link);
    let server = start(vec![scope]);
    let place = server.at("area");
    let before = fs::metadata(&users).expect("the users file");

    for counter in 0..100 {
        place.login("alice", alice.password(counter)).is(200, "granted-fresh");
    }
    place.login("bob", bob.password(bob.step())).is(200, "granted-fresh");
    place.login("alice", alice.password(99)).is(401, "denied-expired");

    let after = fs::metadata(&users).expect("the users file");
    assert_eq!(
        (before.uid(), before.gid(), before.mode(), before.ino()),
        (after.uid(), after.gid(), after.mode(), after.ino())
    );
    assert_eq!(fs::read_link(&link).expect("still a link"), Path::new("../real/users"));
    assert_eq!(UsersFile::at(&users).counter("alice"), 100);
    let mut names: Vec<_> = fs::read_dir(&directory)
        .expect("the directory")
        .flatten()
        .map(|entry| entry.file_name().into_string().expect("plain text"))
        .collect();
    names.sort();
    assert_eq!(names, ["users", "users.journal", "users.lock", "users.throttle"]);
}

/// Where the server may make files itself, they are made for those who may use the users file.
fn lock_and_journal_get_owner_and_mode_of_the_users_file(start: Start) {
    let alice = alice();
    let server = start(vec![Scope::new("area").token(&alice)]);
    let place = server.at("area");
    let users = place.users().path();
    root::set_mode(users, 0o640);
    place.login("alice", alice.password(0)).is(200, "granted-fresh");
    let own = fs::metadata(users).expect("the users file");
    assert_eq!(own.mode() & 0o7777, 0o640);
    for ending in [".lock", ".journal"] {
        let made = fs::metadata(beside(users, ending)).expect("made by the server");
        assert_eq!((made.uid(), made.gid()), (own.uid(), own.gid()), "{ending}");
        assert_eq!(made.mode() & 0o7777, 0o640, "{ending}");
    }
    let lock = fs::read(beside(users, ".lock")).expect("the lock file");
    assert!(lock.is_empty(), "nothing is stored in a lock file");
}

/// More users than a process keeps an index of in its own memory.
fn many_users() -> String {
    let line = |number| format!("HOTP/T30/6 other{number:05} - {:0<200}\n", "c0ffee");
    (0..6_000).map(line).collect()
}

fn processes_share_the_index_of_a_large_file_and_edits_are_noticed(start: Start) {
    let alice = alice();
    let bob = Token::hotp("bob").pin(PIN);
    let scope = Scope::new("area").text(many_users()).token(&alice).set(Setting::MaxLinger, 0);
    let server = start(vec![scope]);
    let place = server.at("area");
    let index = beside(place.users().path(), ".index");
    place.login("alice", alice.password(0)).is(200, "granted-fresh");
    place.login("alice", alice.password(1)).is(200, "granted-fresh");
    let built = fs::read(&index).expect("the index");
    let own = fs::metadata(place.users().path()).expect("the users file");
    let made = fs::metadata(&index).expect("the index");
    assert_eq!((made.uid(), made.gid(), made.mode()), (own.uid(), own.gid(), own.mode()));
    // Every process that answers finds everybody, and nobody builds it again.
    let requests = vec![place.request("nobody", "123456"); 40];
    assert!(place.at_once(&requests).iter().all(|reply| reply.result() == "unknown"));
    place.login("alice", alice.password(2)).is(200, "granted-fresh");
    assert!(fs::read(&index).expect("the index") == built, "it was built again");

    place.users().append(bob.line());
    place.login("bob", bob.password(0)).is(200, "granted-fresh");
    server.reload();
    place.login("bob", bob.password(1)).is(200, "granted-fresh");
    place.login("alice", alice.password(3)).is(200, "granted-fresh");
}

fn a_large_file_in_a_directory_that_is_not_the_servers_needs_no_index_and_uses_one_that_is_there(
    start: Start,
) {
    common::require_root("it makes a directory that the server's account can't write");
    let alice = alice();
    for has_index in [false, true] {
        let shared = Root::new();
        let users = shared.write("users", [many_users().as_bytes(), &alice.line()].concat());
        root::give_to_server(&users);
        make_beside(&users, ".lock", 0o644);
        make_beside(&users, ".journal", 0o644);
        make_beside(&users, ".throttle", 0o644);
        if has_index {
            make_beside(&users, ".index", 0o644);
        }
        let scope = Scope::new("area").token(&alice).set(Setting::MaxLinger, 0).users_file(&users);
        let server = start(vec![scope]);
        let place = server.at("area");
        for counter in 0..3 {
            place.login("alice", alice.password(counter)).is(200, "granted-fresh");
            place.login("nobody", "123456").is(401, "unknown");
        }
        let index = fs::read(beside(&users, ".index")).unwrap_or_default();
        assert_eq!(!index.is_empty(), has_index);
    }
}

fn access_list_of_the_users_file_stays(start: Start) {
    let alice = alice();
    let server = start(vec![Scope::new("area").token(&alice)]);
    let place = server.at("area");
    let users = place.users().path();
    let run = |program: &str, arguments: &[&str]| {
        common::require(program);
        let output = Command::new(program).args(arguments).arg(users).output().expect("it runs");
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).expect("plain text")
    };
    run("/usr/bin/setfacl", &["-m", "u:nobody:r"]);
    let list = || run("/usr/bin/getfacl", &["--numeric", "--absolute-names"]);
    let before = list();
    assert!(before.contains("mask::"), "{before}");
    let inode = fs::metadata(users).expect("the users file").ino();
    place.login("alice", alice.password(0)).is(200, "granted-fresh");
    place.login("alice", alice.password(1)).is(200, "granted-fresh");
    assert_eq!(list(), before);
    // Slots were made, in whatever way; else this shows nothing.
    let made_anew = fs::metadata(users).expect("the users file").ino() != inode;
    assert!(made_anew || place.users().bytes().len() > alice.line().len());
}

#[test]
fn who_acts_as_another_user_has_all_groups_of_theirs_and_afterwards_the_own_ones() {
    common::require_root("it takes another user's groups");
    let own = file_groups();
    let others = [70_001, 70_002, 70_003];
    let groups = others.map(Gid::from_raw);
    let seen =
        as_user(Uid::from_raw(70_000), groups[0], &groups[1..], file_groups).expect("root may");
    assert_eq!(seen, [70_002, 70_003, 70_001]);
    assert_eq!(file_groups(), own);
}
