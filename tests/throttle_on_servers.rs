//! Wrong PINs and codes on real servers: how many are looked at, and who waits.

mod common;

use std::fs;
use std::path::Path;
use std::process::Command;

use common::server::PAGE_TEXT;
use common::{
    Httpd, Nginx, Place, Reply, Request, Scope, Server, Setting, Start, Token, beside, root,
};

const PIN: &str = "sesame9";
const HOME: &str = "192.0.2.7";
const CAFE: &str = "198.51.100.23";

common::on_both_servers! {
    after_twenty_wrong_pins_nothing_is_looked_at_until_the_window_is_over
    the_same_wrong_pin_again_and_again_is_one_try
    of_many_at_once_so_many_are_looked_at_as_there_are_tries
    all_processes_and_both_schemes_count_together
    the_tries_that_are_left_do_not_tell_whether_a_pin_was_right
    a_page_of_forty_parts_is_let_in_with_the_last_try
    strangers_keep_nobody_out_at_a_familiar_address
    who_was_let_in_by_this_process_stays_in_by_the_same_credentials
    an_admin_lets_a_user_try_again_at_once
    limits_of_the_file_are_everybodys
    without_its_file_each_process_counts_for_itself_and_says_so
    while_a_stopped_process_holds_the_file_nothing_is_looked_at
    wrong_pins_count_also_where_other_lines_are_at_fault
    a_section_with_a_shorter_window_ends_no_longer_one
    a_refused_pin_writes_nothing_to_the_users_file_and_syncs_nothing
}

fn alice() -> Token {
    Token::hotp("alice").pin(PIN)
}

fn scope(tokens: &[&Token]) -> Scope {
    let scope = tokens.iter().fold(Scope::new("area"), |scope, token| scope.token(token));
    scope
        .set(Setting::Throttle, "20 600")
        .set(Setting::MaxFailures, "None")
        .set(Setting::LogoutOnIpChange, "Off")
}

fn wrong_pin(number: usize) -> String {
    format!("wrong{number:04}755224")
}

/// A refusal for a while.
fn is_throttled(reply: &Reply) -> bool {
    let is_told = reply.status() == 429 && reply.result() == "denied-throttled";
    if is_told {
        let rest: u32 =
            reply.0.header("Retry-After").expect("when to come again").parse().expect("seconds");
        assert!((1..=600).contains(&rest), "{rest}");
    }
    is_told
}

/// Wrong PINs, each another one, until they aren't looked at any more; how many were.
fn wrong_pins(at: &Place<'_>, address: &str, user: &str, most: usize) -> usize {
    for number in 0..most {
        let reply = at.login_from(address, user, format!("{address}{}", wrong_pin(number)));
        if is_throttled(&reply) {
            return number;
        }
        reply.is(401, "denied-pin");
    }
    most
}

fn count(replies: &[Reply], result: &str) -> usize {
    replies.iter().filter(|reply| reply.result() == result).count()
}

fn otpgate(users: &Path, args: &[&str]) -> String {
    let own = std::env::current_exe().expect("a path of its own");
    let program = own.ancestors().nth(2).expect("target/release").join("otpgate");
    let output = Command::new(program)
        .arg("--file")
        .arg(users)
        .args(args)
        .output()
        .expect("`make build` was run");
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text")
}

fn after_twenty_wrong_pins_nothing_is_looked_at_until_the_window_is_over(start: Start) {
    let (alice, bob) = (alice(), Token::hotp("bob").pin(PIN));
    let short =
        Scope { name: "short".to_owned(), ..scope(&[&alice]) }.set(Setting::Throttle, "3 2");
    let server = start(vec![
        scope(&[&alice, &bob]),
        Scope { settings: vec![(Setting::Throttle, "3 2".to_owned())], ..short },
    ]);
    let at = server.at("area");
    assert_eq!(wrong_pins(&at, HOME, "alice", 30), 20);
    for password in [alice.password(0), wrong_pin(0), wrong_pin(99)] {
        assert!(is_throttled(&at.login_from(HOME, "alice", password)));
    }
    assert_eq!(at.users().counter("alice"), 0);
    at.login_from(HOME, "bob", bob.password(0)).is(200, "granted-fresh");
    at.login_from(CAFE, "alice", alice.password(0)).is(200, "granted-fresh");
    assert_eq!(server.decisions("denied-throttled", "alice"), 1, "one line, not one for each");

    let at = server.at("short");
    assert_eq!(wrong_pins(&at, HOME, "alice", 30), 3);
    common::wait_until("the window is over", || {
        at.login_from(HOME, "alice", alice.password(0)).status() == 200
    });
}

/// Somebody who knows the PIN, or doesn't, and has neither a code nor the time to wait.
fn the_tries_that_are_left_do_not_tell_whether_a_pin_was_right(start: Start) {
    let alice = alice();
    let limits = [(Setting::Throttle, "20 600"), (Setting::MaxFailures, "5")];
    let limits = limits.map(|(setting, value)| (setting, value.to_owned())).to_vec();
    let limited = Scope { settings: limits, ..scope(&[&alice]) }.set(Setting::LockoutTime, 3600);
    let word = Scope { name: "word".to_owned(), ..scope(&[&alice]) }.set(Setting::Forget, "Word");
    let server = start(vec![limited, word]);

    // The right one leads to a lock-out, after which nothing is looked at.
    let at = server.at("area");
    for (number, code) in alice.wrong_codes(20).iter().enumerate() {
        let expected = if number < 5 { "denied-code" } else { "denied-locked" };
        at.login_from(HOME, "alice", alice.with(code)).is(401, expected);
    }
    assert!(is_throttled(&at.login_from(HOME, "alice", wrong_pin(0))));

    // Logging out needs no code.
    let at = server.at("word");
    at.login_from(HOME, "alice", alice.with("logout")).is(401, "forgotten");
    assert_eq!(wrong_pins(&at, HOME, "alice", 30), 19);
}

fn the_same_wrong_pin_again_and_again_is_one_try(start: Start) {
    let server = start(vec![scope(&[&alice()])]);
    let at = server.at("area");
    for _ in 0..100 {
        at.login_from(HOME, "alice", wrong_pin(0)).is(401, "denied-pin");
    }
    at.login_from(HOME, "alice", wrong_pin(1)).is(401, "denied-pin");
    at.login_from(HOME, "alice", alice().password(0)).is(200, "granted-fresh");
}

fn of_many_at_once_so_many_are_looked_at_as_there_are_tries(start: Start) {
    let server = start(vec![scope(&[&alice()])]);
    let at = server.at("area");
    let requests: Vec<Request> =
        (0..400).map(|number| at.request("alice", wrong_pin(number))).collect();
    let replies = at.at_once(&requests);
    assert_eq!((count(&replies, "denied-pin"), count(&replies, "denied-throttled")), (20, 380));
}

fn all_processes_and_both_schemes_count_together(start: Start) {
    let alice = alice();
    let server = start(vec![scope(&[&alice])]);
    let at = server.at("area");
    assert_eq!(wrong_pins(&at, HOME, "alice", 12), 12);
    server.reload();
    // A program of its own: the other server, or another instance of this one.
    let users = at.users().path().to_owned();
    let other = Server::start(Nginx::one(), vec![scope(&[&alice]).users_file(&users)]);
    assert_eq!(
        wrong_pins(&other.at("area"), HOME, "alice", 30),
        20,
        "twelve of them are the same tries"
    );
}

fn a_page_of_forty_parts_is_let_in_with_the_last_try(start: Start) {
    let alice = alice();
    let server = start(vec![scope(&[&alice]).set(Setting::MaxLinger, 600)]);
    let at = server.at("area");
    assert_eq!(wrong_pins(&at, "127.0.0.1", "alice", 19), 19);
    let replies = at.at_once(&vec![at.request("alice", alice.password(0)); 40]);
    assert_eq!(
        count(&replies, "granted-fresh") + count(&replies, "granted-reuse"),
        40,
        "{replies:?}"
    );
}

fn strangers_keep_nobody_out_at_a_familiar_address(start: Start) {
    let users: Vec<Token> =
        (0..20).map(|number| Token::hotp(format!("user{number}")).pin(PIN)).collect();
    let users: Vec<&Token> = users.iter().collect();
    let server = start(vec![scope(&users)]);
    let at = server.at("area");
    for user in &users {
        at.login_from(HOME, user.user(), user.password(0)).is(200, "granted-fresh");
    }
    let tried: usize =
        (0..30).map(|host| wrong_pins(&at, &format!("198.51.100.{host}"), "user7", 30)).sum();
    assert_eq!(tried, 300, "all strangers together");
    assert!(
        is_throttled(&at.login_from("203.0.113.9", "user7", users[7].password(1))),
        "one more stranger"
    );
    for user in &users {
        at.login_from(HOME, user.user(), user.password(1)).is(200, "granted-fresh");
    }
}

fn who_was_let_in_by_this_process_stays_in_by_the_same_credentials(_: Start) {
    let alice = alice();
    for server in [
        Server::start(
            Httpd::event().in_one_process(),
            vec![scope(&[&alice]).set(Setting::MaxLinger, 600)],
        ),
        Server::start(Nginx::one(), vec![scope(&[&alice]).set(Setting::MaxLinger, 600)]),
    ] {
        let at = server.at("area");
        at.login_from(HOME, "alice", alice.password(0)).is(200, "granted-fresh");
        assert_eq!(wrong_pins(&at, HOME, "alice", 30), 20);
        at.login_from(HOME, "alice", alice.password(0)).is(200, "granted-reuse");
        assert!(is_throttled(&at.login_from(HOME, "alice", alice.password(1))));
    }
}

fn an_admin_lets_a_user_try_again_at_once(start: Start) {
    let alice = alice();
    let server = start(vec![scope(&[&alice])]);
    let at = server.at("area");
    assert_eq!(wrong_pins(&at, HOME, "alice", 30), 20);
    otpgate(at.users().path(), &["unlock", "alice"]);
    common::wait_until("the second of the last try is over", || {
        at.login_from(HOME, "alice", alice.password(0)).status() == 200 || {
            otpgate(at.users().path(), &["unlock", "alice"]);
            false
        }
    });
}

fn limits_of_the_file_are_everybodys(start: Start) {
    let lax = scope(&[])
        .text("#@ limits throttle=4,600\n")
        .token(&alice())
        .set(Setting::Throttle, "1000 1");
    let unset = Scope::new("unset").text("#@ limits throttle=4,600\n").token(&alice());
    let lax = Scope { settings: vec![(Setting::Throttle, "1000 1".to_owned())], ..lax };
    let server = start(vec![lax, unset]);
    for place in ["area", "unset"] {
        assert_eq!(wrong_pins(&server.at(place), HOME, "alice", 30), 4, "{place}");
    }
}

fn without_its_file_each_process_counts_for_itself_and_says_so(_: Start) {
    common::require_root("it makes a directory that the server's account can't write");
    for kind in 0..2 {
        let shared = root::Root::new();
        let users = shared.write("users", alice().line());
        root::give_to_server(&users);
        for ending in [".lock", ".journal"] {
            let path = beside(&users, ending);
            fs::write(&path, "").expect("a new file");
            root::give_to_server(&path);
        }
        let scope = scope(&[&alice()]).users_file(&users);
        let server = match kind {
            0 => Server::start(Httpd::event().in_one_process(), vec![scope]),
            _ => Server::start(Nginx::one(), vec![scope]),
        };
        server.expect_log("each process counts wrong tries for itself");
        let at = server.at("area");
        assert_eq!(wrong_pins(&at, HOME, "alice", 30), 20);
        assert!(server.error_log().contains("users.throttle"), "{}", server.error_log());
        at.login_from(CAFE, "alice", alice().password(0)).is(200, "granted-fresh");
    }
}

fn while_a_stopped_process_holds_the_file_nothing_is_looked_at(start: Start) {
    let alice = alice();
    let server = start(vec![scope(&[&alice])]);
    let at = server.at("area");
    at.login_from(HOME, "alice", wrong_pin(0)).is(401, "denied-pin");
    server.expect_log("logins are refused for now");
    let held = fs::File::options()
        .write(true)
        .open(beside(at.users().path(), ".throttle"))
        .expect("it is there");
    rustix::fs::fcntl_lock(&held, rustix::fs::FlockOperation::LockExclusive).expect("the lock");
    let requests: Vec<Request> =
        (1..33).map(|number| at.request("alice", wrong_pin(number))).collect();
    let mut replies = at.at_once(&requests);
    replies.push(at.login_from(CAFE, "alice", alice.password(0)));
    for reply in &replies {
        assert_eq!((reply.status(), reply.result()), (503, "denied-busy"), "{reply:?}");
        assert!(reply.0.header("Retry-After").is_some());
    }
    drop(held);
    common::wait_until("it is let go", || {
        at.login_from(CAFE, "alice", alice.password(0)).status() == 200
    });
}

/// Whatever else is wrong with a user's lines, a PIN that was looked at and isn't right is a try.
fn wrong_pins_count_also_where_other_lines_are_at_fault(start: Start) {
    let alice = alice();
    let broken =
        Scope { name: "broken".to_owned(), ..scope(&[&alice]) }.text("HOTP alice - nothing\n");
    let external = Scope { name: "external".to_owned(), ..scope(&[&alice]) }
        .text("HOTP alice + 00112233445566778899aabbccddeeff00112233\n");
    let server = start(vec![broken, external]);
    let unreadable = "the user is refused until it is corrected";
    let no_source = "no PIN provider or PIN file is configured";
    for (name, message) in [("broken", unreadable), ("external", no_source)] {
        server.expect_log(message);
        server.tolerate_log("one of the user's lines can't be read");
        let at = server.at(name);
        let looked_at = (0..40)
            .filter(|number| !is_throttled(&at.login_from(HOME, "alice", wrong_pin(*number))))
            .count();
        assert_eq!(looked_at, 20, "{name}");
    }
}

fn a_section_with_a_shorter_window_ends_no_longer_one(start: Start) {
    let alice = alice();
    let long = scope(&[&alice]);
    let server = start(vec![long]);
    let users = server.at("area").users().path().to_owned();
    let short =
        Scope { settings: vec![(Setting::Throttle, "50 1".to_owned())], ..scope(&[&alice]) };
    let other = Server::start(Nginx::one(), vec![short.users_file(&users)]);
    assert_eq!(wrong_pins(&server.at("area"), HOME, "alice", 30), 20);
    let begun = std::time::Instant::now();
    common::wait_until("the shorter one were over", || begun.elapsed().as_millis() > 2100);
    other.at("area").login_from(HOME, "alice", wrong_pin(900)).is(401, "denied-pin");
    assert!(is_throttled(&server.at("area").login_from(HOME, "alice", wrong_pin(901))));
}

fn a_refused_pin_writes_nothing_to_the_users_file_and_syncs_nothing(start: Start) {
    let server = start(vec![scope(&[&alice()])]);
    let at = server.at("area");
    at.login_from(HOME, "alice", alice().password(0)).is(200, "granted-fresh");
    at.users().stays_the_same(|| {
        for host in 0..20 {
            wrong_pins(&at, &format!("198.51.100.{host}"), "alice", 30);
        }
    });
}

/// On nginx, names that aren't listed count for their client.
#[test]
fn on_nginx_a_flood_of_unlisted_names_leaves_people_at_familiar_addresses_their_answers() {
    let alice = alice();
    let scope = scope(&[&alice]).set(Setting::MaxLinger, 0);
    let server = Server::start(Nginx::four(), vec![scope]);
    let at = server.at("area");
    at.login_from(HOME, "alice", alice.password(0)).is(200, "granted-fresh");
    let looked_at = (0..300)
        .filter(|number| !is_throttled(&at.login_from(HOME, format!("nobody{number}"), "755224")))
        .count();
    assert_eq!(looked_at, 200);
    at.login_from(HOME, "alice", alice.password(0)).is(401, "denied-expired");
    at.login_from(HOME, "alice", alice.password(1)).is(200, "granted-fresh");
    assert!(is_throttled(&at.login_from(HOME, "bob", "755224")));
}

/// What is passed on as unknown costs nothing and counts nowhere.
#[test]
fn users_of_the_next_provider_are_let_in_whatever_their_client_has_spent() {
    let carol = "carol";
    let scope = scope(&[&alice()]).second_provider(carol, "another password");
    let server = Server::start(Httpd::event(), vec![scope]);
    let at = server.at("area");
    at.login_from(HOME, "alice", alice().password(0)).is(200, "granted-fresh");
    assert_eq!(wrong_pins(&at, CAFE, "alice", 30), 20);
    let counted =
        fs::read(beside(at.users().path(), ".throttle")).expect("where tries are counted");
    for _ in 0..1000 {
        at.login_from(CAFE, carol, "another password").is_status(200);
    }
    let after = fs::read(beside(at.users().path(), ".throttle")).expect("where tries are counted");
    assert!(counted == after, "something was counted");
}

#[test]
fn what_is_allowed_without_a_user_is_allowed_whatever_its_client_has_spent() {
    let scope = Scope::bare("area").token(&alice()).directives(
        "AuthType Basic\nAuthName area\nAuthBasicProvider OTP\nOTPAuthUsersFile {users}\n\
         OTPAuthThrottle 3 600\n<RequireAny>\nRequire valid-user\nRequire ip 203.0.113.0/24\n</RequireAny>",
    );
    let server = Server::start(Httpd::event().module("authz_host"), vec![scope]);
    let at = server.at("area");
    assert_eq!(wrong_pins(&at, HOME, "alice", 30), 3);
    assert!(is_throttled(&at.login_from(HOME, "alice", wrong_pin(7))));
    let reply = at.login_from("203.0.113.9", "alice", wrong_pin(8));
    reply.is_status(200);
    assert_eq!(reply.0.text(), PAGE_TEXT);
}
