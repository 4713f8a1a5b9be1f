//! What `nginx -t` says about mistakes, and about what we give people to copy.

mod common;

use std::path::Path;

use common::root::{self, Root};
use common::{Nginx, Scope, Server, Setting, Token, UsersFile};
use otpgate::policy::{self, SETTINGS};

const PIN: &str = "sesame9";

fn alice() -> Token {
    Token::hotp("alice").pin(PIN)
}

fn area() -> Scope {
    Scope::new("area").token(&alice())
}

/// A bad directive, and something that has to be in the message besides its place.
const BAD: [(&str, &str); 28] = [
    ("auth_otp_max_offset ten", "10000"),
    ("auth_otp_max_offset -1", "10000"),
    ("auth_otp_max_offset 10001", "10000"),
    ("auth_otp_max_offset 4 5", "auth_otp_max_offset"),
    ("auth_otp_max_linger 1h2h", "such as 90, 10m or 1h30m, not \"1h2h\""),
    ("auth_otp_max_linger", "auth_otp_max_linger"),
    ("auth_otp_max_idle 15", "16"),
    ("auth_otp_max_failures many", "none"),
    ("auth_otp_lockout_time soon", "auth_otp_lockout_time"),
    ("auth_otp_lockout_time 60 30", "auth_otp_lockout_time"),
    ("auth_otp_logout_on_ip_change maybe", "takes on or off, not"),
    ("auth_otp_forget 1", "takes on, word or off, not"),
    ("auth_otp_allow_hex", "auth_otp_allow_hex"),
    ("auth_otp_pin_cache -", "auth_otp_pin_cache"),
    ("auth_otp_pin_file", "auth_otp_pin_file takes one path"),
    ("auth_otp_pin_file one two", "auth_otp_pin_file takes one path"),
    ("auth_otp_users_file /other", "is duplicate"),
    ("auth_otp again", "is duplicate"),
    ("auth_otp_thread_pool nosuch", "unknown thread pool \"nosuch\""),
    ("auth_otp_zone here:1m", "directive is not allowed here"),
    ("auth_otp_fall_through on", "unknown directive"),
    ("AUTH_OTP_FORGET on", "unknown directive"),
    ("auth_otp_pin_fake_basic", "auth_otp_pin_fake_basic"),
    ("auth_otp_require_tls perhaps", "takes on or off, not"),
    ("auth_otp_require_user", "takes 1 to 16 names of users (more belong in a group), or off"),
    ("auth_otp_require_user alice OFF", "takes off alone, not among names"),
    ("auth_otp_require_group groups", "takes the path of a group file and 1 to 8 names of groups"),
    ("auth_otp_require_group \"\" staff", "takes a path, not an empty word"),
];

#[test]
fn users_whom_digest_cannot_check_are_warned_of() {
    let hashed = Token::hotp("hashed")
        .hashed_pin("inside77", "$2y$05$lXGQBDT09PU0BUoTBUSbRuqQMwTF958HkK/qn25O6j6VbzgsXsYyO");
    for (scheme, outcome) in [
        ("basic", None),
        ("digest", Some("its user is refused here")),
        ("both", Some("its user must use Basic")),
    ] {
        let area = Scope::new("area").token(&Token::hotp("alice").pin("sesame9")).token(&hashed);
        let tested =
            Nginx::one().test(vec![area.directives(&format!("auth_otp_scheme {scheme};"))], |_| {});
        tested.is_accepted(true);
        match outcome {
            Some(outcome) => {
                let text = format!(
                    "line 2: Digest can't check a PIN that is hashed or marked +: {outcome}"
                );
                tested.names_the_line_of("auth_otp_users_file").says(&text);
            }
            None => assert!(!tested.output.contains("Digest"), "{}", tested.output),
        }
    }
}

#[test]
fn bad_directives_are_refused_where_they_stand() {
    for (directive, message) in BAD {
        Nginx::one()
            .test(vec![area().directives(&format!("{directive};"))], |_| {})
            .is_accepted(false)
            .names_the_line_of(directive)
            .says(message);
    }
}

#[test]
fn a_form_whose_page_is_not_there_is_an_error() {
    let says = "auth_otp_login_page /area/login: this server has no location with auth_otp_login at that path";
    let page = "auth_otp_login;";
    for (location, is_there) in [
        (String::new(), false),
        (format!("location = /area/login {{ {page} }}"), true),
        (format!("location /area/log {{ {page} }}"), true),
        (format!("location ~ ^/area/.*n$ {{ {page} }}"), true),
        (format!("location /area/l {{ location = /area/login {{ {page} }} }}"), true),
        (format!("location = /area/log {{ {page} }}"), false),
        (format!("location /area/login/ {{ {page} }}"), false),
        ("location = /area/login { return 404; }".to_owned(), false),
        (format!("location = /area/login {{ {page} proxy_pass http://127.0.0.1:1; }}"), false),
    ] {
        let scope = area().directives(&format!(
            "auth_otp_scheme form;\nauth_otp_login_page /area/login;\n{location}"
        ));
        let tested = Nginx::one().test(vec![scope], |_| {});
        tested.is_accepted(true);
        match is_there {
            true => assert!(!tested.output.contains("error"), "{location}: {}", tested.output),
            false => {
                tested.names_the_line_of("auth_otp_login_page").says(says);
            }
        }
    }
}

#[test]
fn a_page_to_which_nothing_applies_is_an_error() {
    let scope = Scope::bare("area").directives("location = /area/login {\nauth_otp_login;\n}");
    let tested = Nginx::one().test(vec![scope], |_| {});
    tested.is_accepted(true).names_the_line_of("auth_otp_login;");
    for missing in ["auth_otp", "auth_otp_users_file"] {
        tested.says(&format!("auth_otp_login: no {missing} is set here or above"));
    }
}

#[test]
fn the_page_is_one_of_a_location_and_takes_nothing() {
    for (nginx, directive, message) in [
        (
            Nginx::one().server_directives("auth_otp_login;"),
            "auth_otp_login;",
            "is not allowed here",
        ),
        (
            Nginx::one().server_directives("location /x { auth_otp_login on; }"),
            "auth_otp_login on",
            "number of arguments",
        ),
        (
            Nginx::one().server_directives("location /x { auth_otp_login; auth_otp_login; }"),
            "auth_otp_login; auth_otp_login;",
            "is duplicate",
        ),
    ] {
        nginx.test(vec![], |_| {}).is_accepted(false).names_the_line_of(directive).says(message);
    }
}

#[test]
fn every_setting_is_a_directive_and_says_what_it_takes() {
    for name in SETTINGS.iter().filter_map(|setting| setting.name(policy::Server::Nginx)) {
        let name = name.to_str().expect("names are ASCII");
        let directive = format!("{name};");
        let server = Scope::bare("area").directives(&directive);
        Nginx::one()
            .test(vec![server], |_| {})
            .is_accepted(false)
            .names_the_line_of(&directive)
            .says(&format!("{name} takes "));
    }
}

#[test]
fn a_realm_that_breaks_its_header_is_refused() {
    for realm in ["\"\"".to_owned(), "\"tab\there\"".to_owned(), "x".repeat(257)] {
        let directive = format!("auth_otp {realm};");
        Nginx::one()
            .test(vec![Scope::bare("area").directives(&directive)], |_| {})
            .is_accepted(false)
            .names_the_line_of(&directive)
            .says("realm");
    }
}

#[test]
fn a_realm_that_clients_can_make_off_is_warned_of() {
    let map = "map $host $realm { default Site; intranet off; }";
    for (realm, is_warned_of) in [
        ("$host", true),
        ("${http_x_realm}", true),
        ("o$arg_x", true),
        ("$cookie_realm", true),
        ("Site $host", false),
        ("$server_name", false),
        ("$realm", false),
        ("Site", false),
    ] {
        let directive = format!("auth_otp \"{realm}\";");
        let text = format!("{directive}\nauth_otp_users_file {{users}};");
        let area = Scope::bare("area").token(&alice()).directives(&text);
        let tested = Nginx::one().directives(map).test(vec![area], |_| {});
        tested.is_accepted(true);
        if is_warned_of {
            let said = format!("the realm \"{realm}\" becomes \"off\" if a client wants it to");
            tested.names_the_line_of(&directive).says("[warn]").says(&said);
        } else {
            assert!(!tested.output.contains("[warn]"), "{realm}: {}", tested.output);
        }
    }
}

#[test]
fn a_unix_socket_where_codes_belong_to_addresses_is_warned_of_once() {
    const SAID: &str = "this server listens on a unix socket, whose clients have no address:";
    let on_socket = || Nginx::one().server_directives("listen unix:{root}/socket;");
    let off = || area().set(Setting::LogoutOnIpChange, "off");
    let nested = area().directives("location /area/inner/ { }");
    let elsewhere = "server { listen unix:{root}/other; location / { return 204; } }";
    for (what, server, scope, is_warned_of) in [
        ("default", on_socket(), area(), true),
        ("set", on_socket(), area().set(Setting::LogoutOnIpChange, "on"), true),
        ("inherited", on_socket(), nested, true),
        ("off", on_socket(), off(), false),
        ("no socket", Nginx::one(), area(), false),
        ("another server's socket", Nginx::one().directives(elsewhere), area(), false),
    ] {
        let tested = server.test(vec![scope], |_| {});
        tested.is_accepted(true);
        assert_eq!(
            tested.output.matches(SAID).count(),
            usize::from(is_warned_of),
            "{what}: {}",
            tested.output
        );
        if is_warned_of {
            tested
                .names_the_line_of("auth_otp \"area\"")
                .says("[warn]")
                .says("set_real_ip_from unix:");
        }
    }
}

#[test]
fn good_configuration_raises_no_word() {
    let tested = Nginx::one().test(
        vec![
            area()
                .set(Setting::MaxOffset, 10000)
                .set(Setting::MaxLinger, 0)
                .set(Setting::MaxIdle, "1h30m")
                .set(Setting::MaxFailures, 5)
                .set(Setting::LockoutTime, "60 1h")
                .set(Setting::Throttle, "20 10m")
                .set(Setting::RefusalTime, "200ms")
                .set(Setting::PinCache, "1m")
                .set(Setting::NonceLifetime, "5m")
                .set(Setting::LogoutOnIpChange, "on")
                .set(Setting::Forget, "OFF"),
        ],
        |_| {},
    );
    tested.is_accepted(true).says("test is successful");
    assert!(!tested.output.contains('['), "{}", tested.output);
}

/// What is wrong with a users file, how it comes about, and what has to be in the message.
type Spoilt = (fn(&Path), &'static str);

#[test]
fn faults_of_a_users_file_are_told_where_it_is_named_and_stop_nothing() {
    common::require_root("files of other accounts");
    let faults: [Spoilt; 4] = [
        (|users| std::fs::remove_file(users).expect("the users file"), "cannot find"),
        (|users| root::set_mode(users, 0o606), "is world-writable"),
        (|users| root::set_owner(users, Some(0), Some(0)), "Permission denied"),
        (|users| UsersFile::at(users).append("HOTP/X carol - 00\n"), "line 2"),
    ];
    for (spoil, message) in faults {
        let spoil = |root: &Root| spoil(&root.join("users/area/users"));
        let tested = Nginx::one().test(vec![area()], spoil);
        eprintln!("{}", tested.output);
        tested
            .is_accepted(true)
            .names_the_line_of("auth_otp_users_file")
            .says("[error]")
            .says(": error: ")
            .says(message);
    }
}

#[test]
fn a_login_without_users_file_is_told_as_an_error() {
    let directive = "auth_otp fileless;";
    Nginx::one()
        .test(vec![Scope::bare("area").directives(directive)], |_| {})
        .is_accepted(true)
        .names_the_line_of(directive)
        .says(": error: auth_otp is on, but no auth_otp_users_file is set here or above: requests get 500");
}

#[test]
fn blocks_inherit_and_off_ends_it() {
    let alice = alice();
    let inherited = "auth_otp everywhere;\nauth_otp_users_file \"{root}/users/area/users\";\nauth_otp_max_linger 0;";
    let server = Server::start(
        Nginx::one().directives(inherited),
        vec![
            Scope::bare("inside").text("x"),
            Scope::bare("open").directives("auth_otp off;"),
            Scope::bare("other").directives("auth_otp_max_linger 600;"),
            area(),
        ],
    );
    server.at("inside").login("alice", alice.password(0)).is(200, "granted-fresh");
    server.at("inside").login("alice", alice.password(0)).is(401, "denied-expired");
    server.at("other").login("alice", alice.password(0)).is(200, "granted-reuse");
    server.at("open").login("alice", "whatever").is(200, "");
    let refused = server.send(&common::Request::get("/inside/page.txt"));
    assert_eq!(
        refused.0.header("WWW-Authenticate"),
        Some("Basic realm=\"everywhere\", charset=\"UTF-8\"")
    );
}

fn file(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Both name the users file that `otpgate init` makes, and a port of their own.
fn on_our_own_ground(text: &str) -> String {
    assert!(text.contains("/var/lib/otpgate/users;"));
    text.replace("/var/lib/otpgate/users", "{root}/users/private/users")
        .replace("127.0.0.1:8080", "127.0.0.1:{port}")
}

#[test]
fn the_example_configuration_works() {
    let alice = alice();
    let http = on_our_own_ground(&file("nginx/example.conf")) + "\nroot \"{root}/htdocs\";\n";
    let http =
        format!("add_header {} $auth_otp_result always;\n{http}", common::server::RESULT_HEADER);
    let scope = || Scope::new("private").token(&alice);
    Nginx::one().with_http_block(&http).test(vec![scope()], |_| {}).is_accepted(true);
    let server = Server::start(Nginx::one().with_http_block(&http), vec![scope()]);
    server.at("private").login("alice", alice.password(0)).is(200, "granted-fresh");
}

#[test]
fn the_short_example_of_the_reference_works() {
    let alice = alice();
    let text = file("docs/nginx.md");
    // Behind the title, up to the first sentence.
    let first = text.lines().skip(1).take_while(|line| line.is_empty() || line.starts_with(' '));
    let block: Vec<&str> = first.filter_map(|line| line.strip_prefix("    ")).collect();
    assert_eq!(block.len(), 5, "{block:?}");
    assert_eq!(block[0], "load_module modules/ngx_http_auth_otp_module.so;");
    let nginx = Nginx::one().server_directives(&on_our_own_ground(&block[1..].join("\n")));
    let scope = Scope::new("private").token(&alice);
    // The scope gives the users file and the page; its location is the example's.
    let server = Server::start(nginx.without_locations(), vec![scope]);
    server.at("private").login("alice", alice.password(0)).is(200, "granted-fresh");
}

// ---- PIN files --------------------------------------------------------------------------------------------

fn dave() -> Token {
    Token::hotp("dave").external_pin(PIN).key(b"a key of dave's alone")
}

fn with_pin_file() -> Scope {
    area().token(&dave()).pin_file("dave", PIN)
}

#[test]
fn pin_file_that_has_every_pin_raises_no_word() {
    let tested = Nginx::one().test(vec![with_pin_file()], |_| {});
    tested.is_accepted(true).says("test is successful");
    assert!(!tested.output.contains('['), "{}", tested.output);
}

#[test]
fn faults_of_a_pin_file_are_told_where_it_is_named_and_stop_nothing() {
    common::require_root("files of other accounts");
    let faults: [Spoilt; 4] = [
        (
            |pins| std::fs::remove_file(pins).expect("the PIN file"),
            "create it with `htpasswd -c -B`",
        ),
        (|pins| root::set_mode(pins, 0o606), "world-writable: anybody could set PINs"),
        (|pins| root::set_owner(pins, Some(0), Some(0)), "let the server's user read it"),
        (
            |pins| {
                std::fs::remove_file(pins).expect("the PIN file");
                root::make_directory(pins);
            },
            "not a regular file",
        ),
    ];
    for (spoil, message) in faults {
        let tested =
            Nginx::one().test(vec![with_pin_file()], |root| spoil(&root.join("pins/area")));
        eprintln!("{}", tested.output);
        tested
            .is_accepted(true)
            .names_the_line_of("auth_otp_pin_file")
            .says(": error: ")
            .says(message);
    }
}

#[test]
fn pin_file_that_everybody_may_read_is_warned_of() {
    let spoil = |root: &Root| root::set_mode(&root.join("pins/area"), 0o604);
    Nginx::one()
        .test(vec![with_pin_file()], spoil)
        .is_accepted(true)
        .names_the_line_of("auth_otp_pin_file")
        .says("is world-readable");
}

#[test]
fn users_whose_pin_nobody_can_check_are_warned_of() {
    let dave = dave();
    let old = |scope: Scope| scope.pin_file_line("# PINs").pin_file_line("dave:qpMRiU9Qde1d.");
    for (scope, directive, message) in [
        (
            area().token(&dave),
            "auth_otp_users_file",
            "line 2: the PIN must be checked elsewhere (+), but this section has no auth_otp_pin_file",
        ),
        (
            area().token(&dave).pin_file("david", PIN),
            "auth_otp_pin_file",
            "line 2: the PIN must be checked elsewhere (+), but ",
        ),
        (
            area().token(&dave).pin_file("david", PIN),
            "auth_otp_pin_file",
            "pins/area has no line for that user",
        ),
        (
            old(area().token(&dave)),
            "auth_otp_pin_file",
            "pins/area line 2: the PIN is in none of the accepted forms",
        ),
        (old(area().token(&dave)), "auth_otp_pin_file", "users/area/users line 2"),
    ] {
        Nginx::one()
            .test(vec![scope], |_| {})
            .is_accepted(true)
            .names_the_line_of(directive)
            .says(message);
    }
}

#[test]
fn many_users_without_a_pin_are_counted() {
    let scope = (0..25).fold(area(), |scope, number| {
        scope.token(&Token::hotp(format!("user{number}")).external_pin(PIN))
    });
    let tested = Nginx::one().test(vec![scope.pin_file("dave", PIN)], |_| {});
    tested.is_accepted(true).says("line 21: ").says("5 more users whose PIN");
    assert!(!tested.output.contains("line 22: "), "{}", tested.output);
}

#[test]
fn limits_that_differ_are_warned_of_where_a_second_block_names_the_file() {
    let users = "auth_otp_users_file \"{root}/users/area/users\";";
    let inherited = format!("auth_otp everywhere;\n{users}");
    let inner = |directives: &str| Scope::bare("inner").directives(directives);
    let tested =
        |inner: Scope| Nginx::one().directives(&inherited).test(vec![area(), inner], |_| {});
    for harmless in ["auth_otp_max_failures 5;", users] {
        let tested = tested(inner(harmless));
        tested.is_accepted(true);
        assert!(!tested.output.contains("limits"), "{}", tested.output);
    }
    tested(inner(&format!("{users}\nauth_otp_max_failures 5;")))
        .is_accepted(true)
        .says("other limits");
}

/// What counts is each block with all that it inherits, and one mistake is one message.
#[test]
fn pin_file_of_an_inner_block_is_looked_at() {
    let dave = dave();
    let outside = "auth_otp everywhere;\nauth_otp_users_file \"{root}/users/area/users\";";
    let inner =
        |name: &str| Scope::bare(name).directives("auth_otp_pin_file \"{root}/pins/area\";");
    let users = || area().token(&dave).pin_file("dave", PIN);
    let nginx = || Nginx::one().directives(outside);
    let tested = nginx().test(vec![inner("one"), inner("two"), users()], |root| {
        std::fs::remove_file(root.join("pins/area")).expect("the PIN file");
    });
    tested.is_accepted(true).names_the_line_of("auth_otp_pin_file").says("cannot open");
    assert_eq!(tested.output.matches("has no auth_otp_pin_file").count(), 1, "{}", tested.output);
    // Where nobody is asked to log in, nothing is missing.
    let off = "auth_otp_users_file \"{root}/users/area/users\";";
    let tested = Nginx::one().directives(off).test(vec![users()], |_| {});
    tested.is_accepted(true);
    assert!(!tested.output.contains('['), "{}", tested.output);
}

#[test]
fn blocks_inherit_their_pin_file() {
    let (dave, other) = (dave(), dave().external_pin("opendoor"));
    let inherited = "auth_otp everywhere;\nauth_otp_users_file \"{root}/users/area/users\";\n\
                     auth_otp_pin_file pins/area;";
    let server = Server::start(
        Nginx::one().directives(inherited),
        vec![
            Scope::bare("inside").text("x"),
            Scope::bare("other").directives("auth_otp_pin_file pins/second;"),
            area().token(&dave).pin_file("dave", PIN),
            Scope::new("second").text("x").pin_file("dave", "opendoor"),
        ],
    );
    server.at("inside").login("dave", dave.password(0)).is(200, "granted-fresh");
    server.at("other").login("dave", dave.password(0)).is(401, "denied-pin");
    server.at("other").login("dave", other.password(0)).is(200, "granted-reuse");
    server.at("inside").login("dave", other.password(0)).is(401, "denied-pin");
}

// ---- What blocks say against each other ------------------------------------------------------------------

#[test]
fn no_level_keeps_the_configuration_test_from_telling_once() {
    let spoil = |root: &Root| {
        root::set_mode(&root.join("users/area/users"), 0o604);
        UsersFile::at(root.join("users/area/users")).append("HOTP/X carol - 00\n");
    };
    for level in ["debug", "info", "warn", "error", "crit", "emerg"] {
        let nginx = Nginx::one().error_level(level);
        let tested = nginx.test(vec![area()], spoil);
        eprintln!("{level}: {}", tested.output);
        tested.is_accepted(true).names_the_line_of("auth_otp_users_file");
        for said in
            ["nginx: [error] auth_otp: ", "nginx: [warn] auth_otp: ", "line 2", "is world-readable"]
        {
            assert_eq!(tested.output.matches(said).count(), 1, "{said}: {}", tested.output);
        }
    }
}

/// Directives of a location, how grave it is, at which of them it is named, and what is said.
const MISTAKES: [(&str, &str, &str, &str); 7] = [
    (
        "auth_otp on; auth_otp_users_file \"{users}\";",
        "warning",
        "auth_otp on;",
        "auth_otp takes a realm, the text that browsers show, so they show \"on\"",
    ),
    (
        "auth_otp area; auth_otp_users_file \"{users}\"; auth_basic area; auth_basic_user_file other;",
        "error",
        "auth_otp area;",
        "auth_basic is also on here, and one request can't have a password for both",
    ),
    (
        "auth_otp area; auth_otp_users_file \"{users}\"; auth_basic $host; satisfy any;",
        "warning",
        "auth_otp area;",
        "with `satisfy any` its password alone is enough",
    ),
    (
        "auth_otp area; auth_otp_users_file \"{users}\"; auth_otp_max_failures none; auth_otp_lockout_time 60;",
        "warning",
        "auth_otp_lockout_time",
        "auth_otp_lockout_time has no effect: without auth_otp_max_failures",
    ),
    (
        "auth_otp area; auth_otp_users_file \"{root}/htdocs/users\";",
        "error",
        "htdocs/users",
        "/htdocs, which the server publishes: move it elsewhere",
    ),
    (
        "auth_otp area; auth_otp_users_file \"{users}\"; location /area/alias/ { alias \"{root}/users/\"; }",
        "error",
        "auth_otp_users_file",
        "/users, which the server publishes: move it elsewhere",
    ),
    (
        "auth_otp area; auth_otp_users_file \"{users}\"; auth_otp_pin_file htdocs/users;",
        "error",
        "auth_otp_pin_file",
        "/htdocs, which the server publishes: move it elsewhere",
    ),
];

#[test]
fn contradictions_are_told_once_and_stop_nothing() {
    for (directives, severity, at, message) in MISTAKES {
        let nginx = Nginx::one().file("htdocs/users", alice().line());
        let tested =
            nginx.test(vec![Scope::bare("area").token(&alice()).directives(directives)], |root| {
                let path = root.join("htdocs/users");
                root::set_mode(&path, 0o600);
                root::give_to_server(&path);
            });
        eprintln!("{directives}\n{}", tested.output);
        tested
            .is_accepted(true)
            .names_the_line_of(at)
            .says(&format!(": {severity}: "))
            .says(message);
        assert_eq!(tested.output.matches(message).count(), 1, "{}", tested.output);
    }
}

#[test]
fn blocks_that_are_right_together_raise_no_word() {
    for directives in [
        "auth_otp area; auth_otp_users_file \"{users}\"; auth_basic off;",
        "auth_otp area; auth_otp_users_file \"{users}\"; auth_otp_max_failures 5; auth_otp_lockout_time 60;",
        "auth_otp area; auth_otp_users_file \"{users}\"; location /area/plain/ { auth_otp off; auth_basic area; }",
    ] {
        let tested = Nginx::one()
            .test(vec![Scope::bare("area").token(&alice()).directives(directives)], |_| {});
        tested.is_accepted(true);
        assert!(!tested.output.contains('['), "{}", tested.output);
    }
}

fn with_groups() -> Scope {
    area()
        .group_file("staff: alice\n")
        .set(Setting::RequireUser, "alice")
        .set(Setting::RequireGroup, "staff")
}

#[test]
fn faults_of_a_group_file_are_told_where_it_is_named_and_stop_nothing() {
    common::require_root("files of other accounts");
    let faults: [Spoilt; 6] = [
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
        Nginx::one()
            .test(vec![with_groups()], spoil)
            .is_accepted(true)
            .names_the_line_of("auth_otp_require_group")
            .says(message);
    }
    let tested = Nginx::one().test(vec![with_groups()], |_| {});
    tested.is_accepted(true);
    assert!(!tested.output.contains("group"), "{}", tested.output);
}
