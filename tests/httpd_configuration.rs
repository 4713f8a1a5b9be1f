//! What `apache2 -t` says about mistakes, and what a real start makes of them.

mod common;

use common::root::{self, Root};
use common::{Httpd, Scope, Server, Setting, Token};

const PIN: &str = "sesame9";

fn alice() -> Token {
    Token::hotp("alice").pin(PIN)
}

fn area() -> Scope {
    Scope::new("area").token(&alice())
}

/// A bad value, and something that has to be in the message besides its place.
const BAD_VALUES: [(&str, &str); 19] = [
    ("OTPAuthMaxOffset ten", "10000"),
    ("OTPAuthMaxOffset -1", "10000"),
    ("OTPAuthMaxOffset 10001", "10000"),
    ("OTPAuthMaxOffset 4 5", "OTPAuthMaxOffset"),
    ("OTPAuthMaxOffset 0x10", "0x10"),
    ("OTPAuthMaxLinger 1h", "1h"),
    ("OTPAuthMaxLinger", "OTPAuthMaxLinger"),
    ("OTPAuthMaxIdle 15", "16"),
    ("OTPAuthMaxIdle 99999999999999999999", "OTPAuthMaxIdle"),
    ("OTPAuthMaxOTPFailure many", "None"),
    ("OTPAuthLockoutTime soon", "OTPAuthLockoutTime"),
    ("OTPAuthLockoutTime 60 30", "OTPAuthLockoutTime"),
    ("OTPAuthLogoutOnIPChange maybe", "On or Off"),
    ("OTPAuthForget 1", "On, Word or Off"),
    ("OTPAuthFallThrough yes", "On or Off"),
    ("OTPAuthAllowHex", "OTPAuthAllowHex"),
    ("OTPAuthPINCache -", "OTPAuthPINCache"),
    ("OTPAuthPINAuthProvider nosuch", "nosuch"),
    ("OTPAuthPINAuthProvider OTP", "OTP"),
];

#[test]
fn bad_values_are_refused_where_they_stand() {
    for (directive, message) in BAD_VALUES {
        Httpd::event()
            .test(vec![area().directives(directive)], |_| {})
            .is_accepted(false)
            .names_the_line_of(directive)
            .says(message);
    }
}

#[test]
fn good_configuration_raises_no_word() {
    let tested = Httpd::event()
        .module("authn_dbm")
        .module("authn_socache")
        .module("authn_anon")
        .module("ldap")
        .module("authnz_ldap")
        .test(
            vec![
                area()
                    .set(Setting::MaxOffset, 10000)
                    .set(Setting::MaxLinger, 0)
                    .set(Setting::MaxIdle, 16)
                    .set(Setting::MaxFailures, "None")
                    .set(Setting::LockoutTime, "60 3600")
                    .set(Setting::LogoutOnIpChange, "on")
                    .set(Setting::Forget, "OFF")
                    .directives("OTPAuthPINAuthProvider file dbm ldap anon\notpauthallowhex Off"),
            ],
            |_| {},
        );
    assert_eq!(tested.output.trim(), "Syntax OK");
    tested.is_accepted(true);
}

/// Name, what is wrong, whether the server may start all the same, and what has to be said.
type Spoilt = (&'static str, fn(&Root), bool, &'static str);

fn users(root: &Root) -> std::path::PathBuf {
    root.join("users/area/users")
}

const SPOILT_FILES: [Spoilt; 6] = [
    ("missing", |root| std::fs::remove_file(users(root)).unwrap(), false, "users/area/users"),
    (
        "a directory",
        |root| {
            std::fs::remove_file(users(root)).unwrap();
            root::make_directory(&users(root));
        },
        false,
        "users/area/users",
    ),
    ("without access for the server", |root| root::set_mode(&users(root), 0), false, "users/area/users"),
    ("read-only for the server", |root| root::set_mode(&users(root), 0o400), false, "users/area/users"),
    ("writable by others", |root| root::set_mode(&users(root), 0o666), false, "users/area/users"),
    ("readable by others", |root| root::set_mode(&users(root), 0o644), true, "users/area/users"),
];

#[test]
fn faulty_users_files_are_reported_where_they_are_named() {
    for (fault, spoil, accepted, message) in SPOILT_FILES {
        eprintln!("the users file is {fault}");
        let tested = Httpd::event().test(vec![area()], spoil);
        tested.is_accepted(accepted).names_the_line_of("OTPAuthUsersFile").says(message);
    }
}

#[test]
fn unwritable_directory_is_reported_only_where_it_is_needed() {
    let directory = |root: &Root| root.join("users/area");
    let tested = Httpd::event().test(vec![area()], |root| root::set_mode(&directory(root), 0o555));
    tested.is_accepted(false).names_the_line_of("OTPAuthUsersFile").says("users/area");
    // With lock and journal there, nothing has to be made in it.
    let tested = Httpd::event().test(vec![area()], |root| {
        for name in ["users.lock", "users.journal"] {
            let path = root.write(directory(root).join(name), "");
            root::set_mode(&path, 0o600);
            root::give_to_server(&path);
        }
        root::set_mode(&directory(root), 0o555);
    });
    tested.is_accepted(true);
    assert_eq!(tested.output.trim(), "Syntax OK");
    // A large file has an index beside it.
    let filler = "# nobody\n".repeat(200_000);
    let tested = Httpd::event().test(vec![area().text(filler)], |root| {
        for name in ["users.lock", "users.journal"] {
            root::give_to_server(&root.write(directory(root).join(name), ""));
        }
        root::set_mode(&directory(root), 0o555);
    });
    tested.is_accepted(true).names_the_line_of("OTPAuthUsersFile").says("users.index");
}

#[test]
fn a_cache_time_for_what_providers_check_is_warned_of() {
    let of = |directives: &str| Httpd::event().test(vec![area().directives(directives)], |_| {});
    let provider = "OTPAuthPINAuthProvider file";
    of(&format!("{provider}\nOTPAuthPINCache 60"))
        .is_accepted(true)
        .names_the_line_of("OTPAuthPINCache")
        .says("has no effect on what the providers of OTPAuthPINAuthProvider check");
    for quiet in [provider, "OTPAuthPINCache 60"] {
        assert_eq!(of(quiet).output.trim(), "Syntax OK");
    }
}

#[test]
fn doubtful_tokens_and_settings_are_warned_of() {
    let dave = Token::hotp("dave").external_pin(PIN).key(b"a key of dave's alone");
    let carol = Token::motp("carol").external_pin(PIN);
    let provider = "OTPAuthPINAuthProvider file\nAuthUserFile pins.txt";
    for (scope, accepted, message) in [
        (area().token(&dave), true, "OTPAuthPINAuthProvider"),
        // Her logins are refused, whatever else is configured.
        (area().token(&carol).directives(provider), false, "Mobile-OTP"),
    ] {
        Httpd::event()
            .test(vec![scope], |_| {})
            .is_accepted(accepted)
            .names_the_line_of("OTPAuthUsersFile")
            .says(message)
            .says("users/area/users");
    }
    // The wanted provider is there: nothing to say.
    let with_provider = || area().token(&dave).directives(provider);
    let tested = Httpd::event().test(vec![with_provider()], |_| {});
    assert_eq!(tested.output.trim(), "Syntax OK");
    // Another section over the same file lacks it; in small letters, to tell its line from the first.
    let second = second_section("otpauthusersfile \"{root}/users/area/users\"");
    Httpd::event()
        .test(vec![with_provider(), second], |_| {})
        .is_accepted(true)
        .says("OTPAuthPINAuthProvider")
        .names_the_line_of("otpauthusersfile");
}

fn second_section(directives: &str) -> Scope {
    Scope::bare("second").directives(&format!(
        "AuthType Basic\nAuthName second\nAuthBasicProvider OTP\nRequire valid-user\n{directives}"
    ))
}

#[test]
fn different_limits_on_one_users_file_are_warned_of() {
    let first = || area().set(Setting::MaxFailures, 5);
    // However it is written, it is the same file.
    for path in ["{root}/users/area/users", "users/area/users", "{root}/users/../users/area/users"] {
        let second =
            |limit: &str| second_section(&format!("OTPAuthUsersFile {path}\nOTPAuthMaxOTPFailure {limit}"));
        eprintln!("the second section says {path}");
        Httpd::event()
            .test(vec![first(), second("6")], |_| {})
            .is_accepted(true)
            .says("limits")
            .says("area/users");
        let tested = Httpd::event().test(vec![first(), second("5")], |_| {});
        assert_eq!(tested.output.trim(), "Syntax OK");
    }
}

#[test]
fn unreadable_line_of_the_users_file_is_reported_without_its_secrets() {
    let scope = area().text("HOTP eve opendoor 31323334zz\n").secret("opendoor").secret("31323334zz");
    let tested = Httpd::event().test(vec![scope], |_| {});
    tested.says("users/area/users");
}

#[test]
fn start_with_a_broken_users_file_breaks_its_own_scope_only() {
    let alice = alice();
    let broken = Scope::bare("broken").directives(
        "AuthType Basic\nAuthName broken\nAuthBasicProvider OTP\nRequire valid-user\n\
         OTPAuthUsersFile {root}/broken/users",
    );
    let server = Server::start(Httpd::event(), vec![area(), broken]);
    server.expect_log("broken/users");
    let place = server.at("broken");
    place.login("alice", alice.password(0)).is(500, "error");
    server.at("area").login("alice", alice.password(0)).is(200, "granted-fresh");
    place.login("alice", alice.password(0)).is(500, "error");

    // Once the file is there, nothing has to be reloaded.
    let path = server.root().write("broken/users", alice.line());
    root::set_mode(&path, 0o600);
    root::give_to_server(&path);
    root::give_to_server(path.parent().expect("its directory"));
    place.login("alice", alice.password(0)).is(200, "granted-fresh");
}
