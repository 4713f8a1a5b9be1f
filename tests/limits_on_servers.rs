//! A users file's own limits, where several sections, servers and the command use it at once.

mod common;

use std::path::Path;
use std::process::Command;

use common::server::PAGE_TEXT;
use common::{Httpd, Nginx, Place, Scope, Server, Setting, Token};

const PIN: &str = "sesame9";

fn alice() -> Token {
    Token::hotp("alice").pin(PIN)
}

/// What the command prints; it is built with the tests.
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

fn wrong_codes(at: &Place<'_>, count: usize) {
    for wrong in alice().wrong_codes(count) {
        at.login("alice", alice().with(&wrong)).is(401, "denied-code");
    }
}

/// One section has no limit, another one 20, and both mean the file's 5.
#[test]
fn a_user_who_is_locked_on_one_server_stays_locked_on_the_other() {
    let scope = || Scope::new("area").text("#@ limits max_failures=5 lockout=0\n").token(&alice());
    let httpd = Server::start(Httpd::event(), vec![scope()]);
    let here = httpd.at("area");
    let users = here.users().path();
    let there =
        scope().set(Setting::MaxFailures, 20).set(Setting::LockoutTime, 1).users_file(users);
    let nginx = Server::start(Nginx::four(), vec![there]);
    let there = nginx.at("area");

    here.login("alice", alice().password(0)).is(200, "granted-fresh");
    there.login("alice", alice().password(0)).is(200, "granted-reuse");
    wrong_codes(&here, 3);
    wrong_codes(&there, 2);
    assert_eq!(here.users().failures("alice"), 5);
    for place in [&here, &there] {
        place.login("alice", alice().password(1)).is(401, "denied-locked");
    }
    let listed = otpgate(users, &["list"]);
    assert!(listed.trim_end().ends_with("locked"), "{listed}");
    otpgate(users, &["unlock", "alice"]);
    there.login("alice", alice().password(1)).is(200, "granted-fresh");
    here.login("alice", alice().password(2)).is(200, "granted-fresh");
}

#[test]
fn an_htaccess_file_is_bound_by_the_users_file_that_it_names() {
    let scope = Scope::new("area").text("#@ limits max_failures=4 max_offset=4\n").token(&alice());
    let server = Server::start(Httpd::event(), vec![scope.directives("AllowOverride AuthConfig")]);
    let (at, root) = (server.at("area"), server.root());
    root.write("htdocs/area/wide/page.txt", PAGE_TEXT);
    root.write("htdocs/area/wide/.htaccess", "OTPAuthMaxOffset 10000\nOTPAuthMaxOTPFailure None\n");
    let ask = |password: String| at.send(at.request_for("wide/page.txt", "alice", password));
    ask(alice().password(5)).is(401, "denied-code");
    ask(alice().password(4)).is(200, "granted-fresh");
    wrong_codes(&at, 3);
    ask(alice().with(&alice().wrong_code())).is(401, "denied-code");
    ask(alice().password(5)).is(401, "denied-locked");
}

#[test]
fn configuration_tests_tell_lines_at_fault_and_what_the_file_settles() {
    let scope = |line: &str| Scope::new("area").text(format!("{line}\n")).token(&alice());
    let two = |line: &str| {
        let second = Scope::bare("second").directives(
            "AuthType Basic\nAuthName second\nAuthBasicProvider OTP\nRequire valid-user\n\
             OTPAuthUsersFile {root}/users/area/users\nOTPAuthMaxOTPFailure 20",
        );
        vec![scope(line).set(Setting::MaxFailures, 7), second]
    };
    for (line, severity, message) in [
        (
            "#@ limits max_offset=x",
            ": error: ",
            "users/area/users line 1: #@ limits: max_offset takes a number",
        ),
        ("#@ allow all", ": error: ", "users/area/users line 1: #@ allow: \"all\" is not one of"),
        ("#@ later x", ": warning: ", "users/area/users line 1: #@ later: unknown to this version"),
        ("# nothing", ": warning: ", "is used with other limits on wrong codes"),
        ("#@ limits max_failures=10", ": warning: ", "is used with other limits on wrong codes"),
    ] {
        eprintln!("{line}");
        Httpd::event().test(two(line), |_| {}).is_accepted(true).says(severity).says(message);
    }
    let tested = Httpd::event().test(two("#@ limits max_failures=5"), |_| {});
    assert_eq!(tested.output.trim(), "Syntax OK", "both are locked after 5");
    Nginx::one()
        .test(vec![scope("#@ limits max_offset=x")], |_| {})
        .says("users/area/users line 1: #@ limits: max_offset takes a number");
}
