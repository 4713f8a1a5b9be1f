//! Many sections on one users file and many users files under either server: descriptors and
//! memory.

mod common;

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use common::root::{self, Root};
use common::{Held, Httpd, Nginx, Scope, Server, Setting, Token, UsersFile};

const PIN: &str = "sesame9";

/// Starts the server that a test is run on: with one process that answers, and under a command.
type Start = fn(Vec<Scope>, Vec<String>) -> Server;

common::on_servers_started_by! {
    on_httpd: |scopes, under| Server::start(Httpd::event().in_one_process().under(under), scopes) =>
        a_thousand_sections_on_one_file_have_it_open_once
        more_files_than_descriptors_are_all_answered_for
        a_link_that_is_given_to_another_file_leads_there_at_once_and_the_first_keeps_its_users
        a_lock_by_one_name_of_a_file_holds_up_logins_by_another;
    on_nginx: |scopes, under| Server::start(Nginx::one().under(under), scopes) =>
        a_thousand_sections_on_one_file_have_it_open_once
        more_files_than_descriptors_are_all_answered_for
        a_link_that_is_given_to_another_file_leads_there_at_once_and_the_first_keeps_its_users
        a_lock_by_one_name_of_a_file_holds_up_logins_by_another;
}

fn alice() -> Token {
    Token::hotp("alice").pin(PIN)
}

fn users_file(directory: &Path, content: &[u8]) -> PathBuf {
    root::make_directory(directory);
    root::give_to_server(directory);
    let users = directory.join("users");
    fs::write(&users, content).expect("a new file");
    root::set_mode(&users, 0o660);
    root::give_to_server(&users);
    users
}

/// Descriptors that the server's processes have of what is below a directory.
fn descriptors(server: &Server, below: &Path) -> usize {
    let of = |pid: u32| {
        let open = fs::read_dir(format!("/proc/{pid}/fd")).expect("its descriptors").flatten();
        open.filter(|fd| fs::read_link(fd.path()).is_ok_and(|path| path.starts_with(below))).count()
    };
    server.children().into_iter().map(of).sum()
}

/// Memory of the server's processes that is theirs alone, in KiB.
fn memory(server: &Server) -> u64 {
    let of = |pid: u32| -> u64 {
        let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).expect("its memory");
        let private = text.lines().filter(|line| line.starts_with("Private_"));
        private
            .map(|line| {
                line.split_whitespace().nth(1).expect("a number").parse::<u64>().expect("KiB")
            })
            .sum()
    };
    server.children().into_iter().map(of).sum()
}

fn a_thousand_sections_on_one_file_have_it_open_once(start: Start) {
    let sections = common::from_environment("OTPGATE_TEST_FILES", 1_000);
    let (alice, shared) = (alice(), Root::new());
    let users = users_file(&shared.join("site"), &alice.line());
    symlink("site", shared.join("link")).expect("a link");
    let named = |number: usize| match number % 4 {
        0 => users.clone(),
        1 => shared.join(format!("site/{}users", "./".repeat(number))),
        2 => shared.join(format!("link/{}users", "./".repeat(number % 7))),
        _ => shared.join(format!("{}site/users", "site/../".repeat(number % 11))),
    };
    let area = |number| {
        let scope = Scope::new(format!("area{number}")).set(Setting::MaxLinger, 600);
        scope.set(Setting::Throttle, "20 600").users_file(named(number))
    };
    let server = start((0..sections).map(area).collect(), Vec::new());
    server.at("area0").login("alice", alice.password(0)).is(200, "granted-fresh");
    let (open, before) = (descriptors(&server, shared.path()), memory(&server));
    for number in 1..sections {
        server
            .at(&format!("area{number}"))
            .login("alice", alice.password(0))
            .is(200, "granted-reuse");
    }
    let (open_now, after) = (descriptors(&server, shared.path()), memory(&server));
    println!(
        "{sections} sections: {open} descriptors, then {open_now}; {before} KiB, then {after} KiB"
    );
    assert_eq!(
        (open, open_now),
        (3, 3),
        "the users file, its journal, and where tries are counted"
    );
    assert!(after < before + 4 * sections as u64 + 4096, "{before} KiB, then {after} KiB");
}

fn more_files_than_descriptors_are_all_answered_for(start: Start) {
    let files = common::from_environment("OTPGATE_TEST_FILES", 300);
    let (alice, shared) = (alice(), Root::new());
    let area = |number| {
        let users = users_file(&shared.join(format!("{number}")), &alice.line());
        Scope::new(format!("area{number}")).users_file(users).set(Setting::MaxLinger, 600)
    };
    let under = ["/usr/bin/prlimit", "--nofile=256:256", "--"].map(str::to_owned).to_vec();
    let server = start((0..files).map(area).collect(), under);
    server.tolerate_log("exceed open file resource limit");
    let mut most = 0;
    for (status, word) in [(200, "granted-fresh"), (200, "granted-reuse")] {
        let before = memory(&server);
        for number in 0..files {
            server.at(&format!("area{number}")).login("alice", alice.password(0)).is(status, word);
            if number % 50 == 49 {
                most = most.max(descriptors(&server, shared.path()));
            }
        }
        println!(
            "{files} files: {most} descriptors at most; {before} KiB, then {} KiB",
            memory(&server)
        );
    }
    assert!(most <= 4 * 256 / 8, "{most} descriptors");
}

fn a_link_that_is_given_to_another_file_leads_there_at_once_and_the_first_keeps_its_users(
    start: Start,
) {
    let (alice, shared) = (alice(), Root::new());
    let bob = Token::hotp("bob").pin(PIN).key(b"the key of bob, of twenty");
    let first = users_file(&shared.join("first"), &alice.line());
    let second = users_file(&shared.join("second"), &bob.line());
    let link = shared.join("link");
    let point_to = |target: &str| {
        symlink(target, shared.join("new")).expect("a link");
        fs::rename(shared.join("new"), &link).expect("in place of the old one");
    };
    point_to("first");
    let names = [("linked", link.join("users")), ("first", first), ("second", second)];
    let scopes =
        names.map(|(name, path)| Scope::new(name).users_file(path).set(Setting::MaxLinger, 0));
    let server = start(scopes.to_vec(), Vec::new());
    let at = |name| server.at(name);
    at("linked").login("alice", alice.password(0)).is(200, "granted-fresh");
    at("first").login("alice", alice.password(0)).is(401, "denied-expired");
    at("linked").login("bob", bob.password(0)).is(401, "unknown");
    for round in 0..2 {
        point_to("second");
        at("linked").login("alice", alice.password(20)).is(401, "unknown");
        at("linked").login("bob", bob.password(3 * round)).is(200, "granted-fresh");
        at("second").login("bob", bob.password(3 * round)).is(401, "denied-expired");
        at("second").login("bob", bob.password(3 * round + 1)).is(200, "granted-fresh");
        at("linked").login("bob", bob.password(3 * round + 2)).is(200, "granted-fresh");
        at("first").login("bob", bob.password(20)).is(401, "unknown");
        at("first").login("alice", alice.password(2 * round + 1)).is(200, "granted-fresh");
        point_to("first");
        at("linked").login("bob", bob.password(20)).is(401, "unknown");
        at("linked").login("alice", alice.password(2 * round + 1)).is(401, "denied-expired");
        at("linked").login("alice", alice.password(2 * round + 2)).is(200, "granted-fresh");
    }
}

/// As mod_authn_otp's own tools lock: beside the name they are given, and nowhere else.
fn a_lock_by_one_name_of_a_file_holds_up_logins_by_another(start: Start) {
    let (alice, shared) = (alice(), Root::new());
    let users = users_file(&shared.join("site"), &alice.line());
    root::make_directory(&shared.join("conf"));
    root::give_to_server(&shared.join("conf"));
    let link = shared.join("conf/users");
    symlink("../site/users", &link).expect("a link");
    let scope =
        |name: &str, path: &Path| Scope::new(name).users_file(path).set(Setting::MaxLinger, 0);
    let server = start(vec![scope("by-link", &link), scope("by-path", &users)], Vec::new());
    server.at("by-link").login("alice", alice.password(0)).is(200, "granted-fresh");
    server.at("by-path").login("alice", alice.password(1)).is(200, "granted-fresh");
    let held = Held::of(&UsersFile::at(&link));
    std::thread::scope(|threads| {
        let place = server.at("by-path");
        let login = threads.spawn(move || place.login("alice", alice.password(2)));
        std::thread::sleep(std::time::Duration::from_millis(300));
        assert!(!login.is_finished(), "it didn't wait");
        held.release();
        login.join().expect("an answer").is(200, "granted-fresh");
    });
}
