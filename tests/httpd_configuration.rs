//! What `apache2 -t` says about mistakes, and what a real start makes of them.

mod common;

use std::path::Path;

use common::root::{self, Root};
use common::{Httpd, Request, Scope, Server, Setting, Token, UsersFile};
use otpgate::policy::{self, SETTINGS};

const PIN: &str = "sesame9";

fn alice() -> Token {
    Token::hotp("alice").pin(PIN)
}

fn area() -> Scope {
    Scope::new("area").token(&alice())
}

/// A bad value, and something that has to be in the message besides its place.
const BAD_VALUES: [(&str, &str); 22] = [
    ("OTPAuthMaxOffset ten", "10000"),
    ("OTPAuthMaxOffset -1", "10000"),
    ("OTPAuthMaxOffset 10001", "10000"),
    ("OTPAuthMaxOffset 4 5", "OTPAuthMaxOffset"),
    ("OTPAuthMaxOffset 0x10", "0x10"),
    ("OTPAuthMaxLinger 10m", "such as 90, 10min or 1h, not \"10m\""),
    ("OTPAuthMaxLinger", "OTPAuthMaxLinger"),
    ("OTPAuthMaxIdle 15", "16"),
    ("OTPAuthMaxIdle 99999999999999999999", "OTPAuthMaxIdle"),
    ("OTPAuthMaxOTPFailure many", "None"),
    ("OTPAuthLockoutTime soon", "OTPAuthLockoutTime"),
    ("OTPAuthLockoutTime 60 30", "OTPAuthLockoutTime"),
    ("OTPAuthLogoutOnIPChange maybe", "takes On or Off, not"),
    ("OTPAuthForget 1", "takes On, Word or Off, not"),
    ("OTPAuthFallThrough yes", "takes On or Off, not"),
    ("OTPAuthAllowHex", "OTPAuthAllowHex"),
    ("OTPAuthPINCache -", "OTPAuthPINCache"),
    ("OTPAuthPINAuthProvider nosuch", "nosuch"),
    ("OTPAuthPINAuthProvider OTP", "OTP"),
    ("OTPAuthRequireUser alice Off", "takes Off alone, not among names"),
    ("OTPAuthRequireGroup groups", "takes the path of a group file and 1 to 8 names of groups"),
    ("OTPAuthRequireGroup \"\" staff", "takes a path, not an empty word"),
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
fn every_setting_is_a_directive_and_says_what_it_takes() {
    for name in SETTINGS.iter().filter_map(|setting| setting.name(policy::Server::Apache)) {
        let name = name.to_str().expect("names are ASCII");
        // Any case will do; so it is told from lines that are always there.
        let directive = name.to_uppercase();
        Httpd::event()
            .test(vec![Scope::bare("area").directives(&directive)], |_| {})
            .is_accepted(false)
            .names_the_line_of(&directive)
            .says(&format!("{name} takes "));
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
                    .set(Setting::MaxIdle, "10min")
                    .set(Setting::MaxFailures, 5)
                    .set(Setting::LockoutTime, "60 1h")
                    .set(Setting::Throttle, "20 10min")
                    .set(Setting::RefusalTime, "200ms")
                    .set(Setting::LogoutOnIpChange, "on")
                    .set(Setting::Forget, "OFF")
                    .directives("OTPAuthPINAuthProvider file dbm ldap anon\notpauthallowhex Off"),
            ],
            |_| {},
        );
    assert_eq!(tested.output.trim(), "Syntax OK");
    tested.is_accepted(true);
}

/// Name, what is wrong, how grave it is, and what has to be said. Nothing of it keeps the server
/// from starting.
type Spoilt = (&'static str, fn(&Root), &'static str, &'static str);

fn users(root: &Root) -> std::path::PathBuf {
    root.join("users/area/users")
}

const SPOILT_FILES: [Spoilt; 6] = [
    ("missing", |root| std::fs::remove_file(users(root)).unwrap(), "error", "users/area/users"),
    (
        "a directory",
        |root| {
            std::fs::remove_file(users(root)).unwrap();
            root::make_directory(&users(root));
        },
        "error",
        "users/area/users",
    ),
    (
        "without access for the server",
        |root| root::set_mode(&users(root), 0),
        "error",
        "users/area/users",
    ),
    (
        "read-only for the server",
        |root| root::set_mode(&users(root), 0o400),
        "error",
        "users/area/users",
    ),
    ("writable by others", |root| root::set_mode(&users(root), 0o666), "error", "users/area/users"),
    (
        "readable by others",
        |root| root::set_mode(&users(root), 0o644),
        "warning",
        "users/area/users",
    ),
];

#[test]
fn faulty_users_files_are_reported_where_they_are_named() {
    for (fault, spoil, severity, message) in SPOILT_FILES {
        eprintln!("the users file is {fault}");
        let tested = Httpd::event().test(vec![area()], spoil);
        tested
            .is_accepted(true)
            .names_the_line_of("OTPAuthUsersFile")
            .says(message)
            .says(&format!(": {severity}: "));
    }
}

#[test]
fn unwritable_directory_is_reported_only_where_it_is_needed() {
    let directory = |root: &Root| root.join("users/area");
    let tested = Httpd::event().test(vec![area()], |root| root::set_mode(&directory(root), 0o555));
    tested
        .is_accepted(true)
        .names_the_line_of("OTPAuthUsersFile")
        .says(": error: ")
        .says("users/area");
    // With lock, journal and throttle file there, nothing has to be made in it.
    let tested = Httpd::event().test(vec![area()], |root| {
        for name in ["users.lock", "users.journal", "users.throttle"] {
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
        for name in ["users.lock", "users.journal", "users.throttle"] {
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
        .says("has no effect on the providers of OTPAuthPINAuthProvider");
    for quiet in [provider, "OTPAuthPINCache 60"] {
        assert_eq!(of(quiet).output.trim(), "Syntax OK");
    }
}

#[test]
fn doubtful_tokens_and_settings_are_warned_of() {
    let dave = Token::hotp("dave").external_pin(PIN).key(b"a key of dave's alone");
    let carol = Token::motp("carol").external_pin(PIN);
    let provider = "OTPAuthPINAuthProvider file\nAuthUserFile pins.txt";
    for (scope, severity, message) in [
        (area().token(&dave), ": warning: ", "OTPAuthPINAuthProvider"),
        // Her logins are refused, whatever else is configured.
        (area().token(&carol).directives(provider), ": error: ", "Mobile-OTP"),
    ] {
        Httpd::event()
            .test(vec![scope], |_| {})
            .is_accepted(true)
            .names_the_line_of("OTPAuthUsersFile")
            .says(message)
            .says(severity)
            .says("users/area/users");
    }
    // The wanted provider is there: nothing to say.
    let with_provider = || area().token(&dave).directives(provider);
    let tested = Httpd::event().test(vec![with_provider()], |_| {});
    assert_eq!(tested.output.trim(), "Syntax OK");
    // Another section over the same file lacks it; in small letters, to tell its line from the
    // first.
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
    for path in ["{root}/users/area/users", "users/area/users", "{root}/users/../users/area/users"]
    {
        let second = |limit: &str| {
            second_section(&format!("OTPAuthUsersFile {path}\nOTPAuthMaxOTPFailure {limit}"))
        };
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
    let scope =
        area().text("HOTP eve opendoor 31323334zz\n").secret("opendoor").secret("31323334zz");
    let tested = Httpd::event().test(vec![scope], |_| {});
    tested.is_accepted(true).says(": error: ").says("users/area/users line 2: ");
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

// ---- What we give people to copy -------------------------------------------------------------------------

/// A configuration that protects /private with the users file that `otpgate init` makes.
fn lets_in_by_pin_and_code(text: &str) {
    let users = "/var/lib/otpgate/users\"";
    assert!(text.contains(users), "{text}");
    let httpd = Httpd::event().directives(&text.replace(users, "{root}/users/private/users\""));
    let alice = alice();
    // Gives the users file and the page; what protects them is the example's.
    let scope = || Scope::bare("private").token(&alice);
    let tested = httpd.test(vec![scope()], |_| {});
    tested.is_accepted(true);
    assert_eq!(tested.output.trim(), "Syntax OK");
    let server = Server::start(httpd, vec![scope()]);
    let place = server.at("private");
    server.send(&Request::get(place.path("page.txt"))).is_status(401);
    place.login("alice", alice.with(&alice.wrong_code())).is(401, "denied-code");
    place.login("alice", alice.password(0)).is(200, "granted-fresh");
}

fn file(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[test]
fn the_example_configuration_works() {
    lets_in_by_pin_and_code(&file("apache/example.conf"));
}

#[test]
fn the_short_examples_of_the_readme_and_the_reference_work() {
    for name in ["README.md", "docs/apache.md"] {
        let text = file(name);
        let lines =
            text.lines().map(str::trim_start).skip_while(|line| !line.starts_with("<Location"));
        let section: Vec<&str> =
            lines.take_while(|line| !line.starts_with("</Location>")).collect();
        assert!(section.len() > 5, "{name}: {section:?}");
        lets_in_by_pin_and_code(&format!("{}\n</Location>", section.join("\n")));
    }
}

// ---- What sections say against each other ----------------------------------------------------------------

/// A section of its own, over the users file of [`area`].
fn section(directives: &str) -> Scope {
    Scope::bare("second").directives(&format!("AuthName second\nRequire valid-user\n{directives}"))
}

const USERS: &str = "OTPAuthUsersFile {root}/users/area/users";

/// A mistake in a section: its directives, how grave it is, at which of them it is named, and what
/// is said.
type Mistake = (&'static str, &'static str, &'static str, &'static str);

const MISTAKES: [Mistake; 13] = [
    (
        "AuthType Digest\nAuthBasicProvider OTP",
        "error",
        "AuthBasicProvider OTP",
        "AuthType Digest uses the providers of AuthDigestProvider, but OTP is in AuthBasicProvider",
    ),
    (
        "AuthType Basic\nAuthDigestProvider OTP",
        "error",
        "AuthDigestProvider OTP",
        "AuthType Basic uses the providers of AuthBasicProvider, but OTP is in AuthDigestProvider",
    ),
    (
        "AuthType Basic\nAuthBasicProvider OTP\nOTPAuthLockoutTime 77",
        "warning",
        "OTPAuthLockoutTime 77",
        "OTPAuthLockoutTime has no effect: without OTPAuthMaxOTPFailure",
    ),
    (
        "AuthType Basic\nAuthBasicProvider OTP\nAuthBasicUseDigestAlgorithm MD5",
        "error",
        "AuthBasicUseDigestAlgorithm MD5",
        "AuthBasicUseDigestAlgorithm can't work with one-time passwords",
    ),
    (
        "AuthType form\nAuthFormProvider OTP\nOTPAuthMaxLinger 0\nSession On",
        "error",
        "AuthFormProvider OTP",
        "the session of mod_auth_form re-sends the code",
    ),
    (
        "AuthType form\nAuthFormProvider OTP\nOTPAuthLingerCookie On\nSession On",
        "error",
        "AuthFormProvider OTP",
        "the session of mod_auth_form re-sends the code",
    ),
    ("AuthType OTP", "error", "AuthType OTP", "no OTPAuthLoginPage is set here or above"),
    (
        "AuthType Digest\nAuthDigestProvider OTP\nOTPAuthLoginPage /login",
        "error",
        "OTPAuthLoginPage /login",
        "OTPAuthLoginPage has no effect with AuthType Digest",
    ),
    (
        "AuthType Basic\nAuthBasicProvider OTP\nOTPAuthLingerCookie On\nPINFakeBasicAuth On",
        "warning",
        "PINFakeBasicAuth On",
        "PINFakeBasicAuth has no effect on requests that come in by a cookie",
    ),
    (
        "AuthType OTP\nOTPAuthLoginPage /login\nPINFakeBasicAuth On",
        "warning",
        "PINFakeBasicAuth On",
        "PINFakeBasicAuth has no effect on requests that come in by a cookie",
    ),
    (
        "AuthType Digest\nAuthDigestProvider OTP",
        "warning",
        "OTPAuthUsersFile {root}",
        "line 2: Digest can't check a PIN that is hashed or marked +: its user is refused here",
    ),
    (
        "AuthType Basic\nAuthBasicProvider OTP\nOTPAuthUsersFile {root}/htdocs/users",
        "error",
        "/htdocs/users",
        "/htdocs, which the server publishes: move it elsewhere",
    ),
    (
        "AuthType Basic\nAuthBasicProvider OTP\nOTPAuthUsersFile {root}/users/area/../../htdocs/users",
        "error",
        "/htdocs/users",
        "/htdocs, which the server publishes: move it elsewhere",
    ),
];

fn with_all_schemes() -> Httpd {
    Httpd::event()
        .module("auth_digest")
        .module("auth_form")
        .module("request")
        .module("session")
        .file("htdocs/users", alice().line())
}

#[test]
fn contradictions_are_told_once_and_stop_nothing() {
    let hashed = Token::hotp("hashed")
        .hashed_pin("inside77", "$2y$05$lXGQBDT09PU0BUoTBUSbRuqQMwTF958HkK/qn25O6j6VbzgsXsYyO");
    // The section that comes with the users file asks nobody.
    let users = || Scope::new("area").token(&alice()).token(&hashed);
    let users = || {
        let mut scope = users();
        scope.bare = true;
        scope
    };
    for (directives, severity, at, message) in MISTAKES {
        let file = if directives.contains("OTPAuthUsersFile") { "" } else { USERS };
        let second = section(&format!("{directives}\n{file}"));
        let tested = with_all_schemes().test(vec![users(), second], |root| {
            let path = root.join("htdocs/users");
            root::set_mode(&path, 0o600);
            root::give_to_server(&path);
        });
        eprintln!("{directives}\n{}", tested.output);
        let at = at.replace("{root}", &tested.path.parent().unwrap().display().to_string());
        tested
            .is_accepted(true)
            .names_the_line_of(&at)
            .says(&format!(": {severity}: "))
            .says(message);
        assert_eq!(tested.output.matches(message).count(), 1, "{}", tested.output);
    }
}

#[test]
fn otp_that_is_asked_without_a_users_file_is_told() {
    const SAID: &str =
        "error: OTP is used here, but no OTPAuthUsersFile is set here or above: requests get 500";
    let asks = "AuthType Basic\nAuthBasicProvider OTP";
    let of = |httpd: Httpd, scope: Scope| httpd.test(vec![scope], |_| {}).output;
    Httpd::event()
        .test(vec![section(asks)], |_| {})
        .is_accepted(true)
        .names_the_line_of("AuthBasicProvider OTP")
        .says(SAID);
    // Set around it, or in a section that may lie around it.
    let users = "{root}/users/area/users";
    for elsewhere in [
        format!("OTPAuthUsersFile {users}"),
        format!("<Directory {{root}}/htdocs>\nOTPAuthUsersFile {users}\n</Directory>"),
        format!("<Location /second>\nOTPAuthUsersFile {users}\n</Location>"),
        format!("<Files page.txt>\nOTPAuthUsersFile {users}\n</Files>"),
    ] {
        let httpd = Httpd::event().directives(&elsewhere);
        assert!(!of(httpd, section(asks)).contains("OTP is used here"), "{elsewhere}");
    }
    // Of another virtual host, or of another place.
    for elsewhere in [
        format!(
            "<VirtualHost 127.0.0.1:1>\n<Location /second>\nOTPAuthUsersFile {users}\n</Location>\n</VirtualHost>"
        ),
        format!("<Directory {{root}}/htdocs/sec>\nOTPAuthUsersFile {users}\n</Directory>"),
    ] {
        let httpd = Httpd::event().directives(&elsewhere);
        assert!(of(httpd, section(asks)).contains(SAID), "{elsewhere}");
    }
}

#[test]
fn page_to_log_in_within_an_alias_is_told_to_have_no_effect() {
    let directive = "OTPAuthLoginPage /login";
    let alias =
        format!("<AuthnProviderAlias OTP main>\n{USERS}\n{directive}\n</AuthnProviderAlias>");
    let second = section("AuthType Basic\nAuthBasicProvider main");
    Httpd::event()
        .directives(&alias)
        .test(vec![area(), second], |_| {})
        .is_accepted(true)
        .names_the_line_of(directive)
        .says("error: OTPAuthLoginPage has no effect within <AuthnProviderAlias>");
}

#[test]
fn auth_type_otp_without_a_users_file_is_told() {
    Httpd::event()
        .test(vec![section("AuthType OTP\nOTPAuthLoginPage /login")], |_| {})
        .is_accepted(true)
        .names_the_line_of("AuthType OTP")
        .says("error: OTP is used here, but no OTPAuthUsersFile is set here or above");
}

#[test]
fn sections_that_are_right_together_raise_no_word() {
    for (outside, inside) in [
        ("AuthType Digest", "AuthDigestProvider OTP"),
        ("AuthType Basic\nAuthBasicProvider OTP\nAuthDigestProvider OTP", "AuthType Digest"),
        ("AuthDigestProvider OTP\nAuthBasicProvider file", "AuthType Basic"),
        ("OTPAuthMaxOTPFailure 5", "AuthType Basic\nAuthBasicProvider OTP\nOTPAuthLockoutTime 60"),
        ("OTPAuthLoginPage /login", "AuthType OTP"),
        ("OTPAuthLingerCookie Insecure", "AuthType Basic\nAuthBasicProvider file"),
        (
            "OTPAuthLingerCookie On",
            "AuthType Digest\nOTPAuthLingerCookie Off\nAuthDigestProvider OTP",
        ),
        ("OTPAuthLoginPage /login", "AuthType Basic\nAuthBasicProvider OTP\nPINFakeBasicAuth Off"),
        ("AuthBasicUseDigestAlgorithm Off", "AuthType Basic\nAuthBasicProvider OTP"),
        ("AuthBasicUseDigestAlgorithm MD5", "AuthType Basic\nAuthBasicProvider file"),
        (
            "OTPAuthMaxLinger 0",
            "AuthType form\nAuthFormProvider OTP\nOTPAuthMaxLinger 60\nSession On",
        ),
    ] {
        let users = if outside.contains("AuthBasicProvider OTP") { USERS } else { "" };
        let outside = format!("<Directory {{root}}/htdocs>\n{users}\n{outside}\n</Directory>");
        let mut users = area();
        users.bare = true;
        let second = section(&format!("{USERS}\n{inside}"));
        let tested = with_all_schemes().directives(&outside).test(vec![users, second], |_| {});
        assert_eq!(tested.output.trim(), "Syntax OK", "{inside}");
    }
}

#[test]
fn no_level_keeps_the_configuration_test_from_telling() {
    let httpd = Httpd::event().directives("LogLevel crit").options(&["-e", "crit"]);
    httpd
        .test(vec![area()], |root| root::set_mode(&users(root), 0o644))
        .is_accepted(true)
        .says(": warning: ")
        .says("is world-readable");
}

#[test]
fn directives_of_modules_that_are_not_there_stay_unknown() {
    for directive in ["AuthDigestProvider OTP", "AuthFormProvider OTP"] {
        Httpd::event()
            .test(vec![area().directives(directive)], |_| {})
            .is_accepted(false)
            .names_the_line_of(directive)
            .says("needs mod_auth_");
    }
}

/// What is wrong with a group file, and what has to be in the message.
type SpoiltGroups = (fn(&Path), &'static str);

fn with_groups() -> Scope {
    area()
        .group_file("staff: alice\n")
        .set(Setting::RequireUser, "alice")
        .set(Setting::RequireGroup, "staff")
}

#[test]
fn faults_of_a_group_file_are_told_where_it_is_named_and_stop_nothing() {
    common::require_root("files of other accounts");
    let faults: [SpoiltGroups; 6] = [
        (|groups| std::fs::remove_file(groups).expect("the group file"), "create it with lines of"),
        (
            |groups| root::set_mode(groups, 0o646),
            "world-writable: anybody could put users into groups",
        ),
        (
            |groups| {
                root::set_mode(groups, 0o600);
                root::set_owner(groups, Some(0), Some(0));
            },
            "let the server's user read it",
        ),
        (
            |groups| {
                std::fs::remove_file(groups).expect("the group file");
                root::make_directory(groups);
            },
            "it is a directory",
        ),
        (
            |groups| UsersFile::at(groups).append("bob carol\n"),
            "line 2: no `GROUP:` before the names",
        ),
        (
            |groups| UsersFile::at(groups).replace("admins: alice\n"),
            "no line for the group \"staff\"",
        ),
    ];
    for (spoil, message) in faults {
        let spoil = |root: &Root| spoil(&root.join("groups/area"));
        Httpd::event()
            .test(vec![with_groups()], spoil)
            .is_accepted(true)
            .names_the_line_of("OTPAuthRequireGroup")
            .says(message);
    }
    let tested = Httpd::event().test(vec![with_groups()], |_| {});
    tested.is_accepted(true);
    assert!(!tested.output.contains("group"), "{}", tested.output);
}
