//! PINs that are enough without a code, on both servers: what a single place's rows can't show.

mod common;

use std::fs;

use common::scope::htpasswd_line;
use common::server::PAGE_TEXT;
use common::{Httpd, Nginx, Request, Scope, Server, Setting, Token, beside, root};

const PIN: &str = "sesame9";
const HOME: &str = "192.0.2.7";
const CAFE: &str = "198.51.100.23";
const INNER: &str = "what only the inner place shows";
const CLOSED: &str = "too many wrong PINs without a code: a code is needed everywhere";

fn alice() -> Token {
    Token::hotp("alice").pin(PIN)
}

fn scope() -> Scope {
    Scope::new("area").token(&alice()).set(Setting::TrustedNetworks, "192.0.2.0/24")
}

fn closed_lines(users: &common::UsersFile) -> usize {
    let text = String::from_utf8(users.bytes()).expect("text");
    text.lines().filter(|line| *line == "#@ always alice pin").count()
}

/// A place that wants a code gets none of it, and it is no wrong guess there: a page with such
/// parts keeps nobody out.
#[test]
fn a_part_in_a_place_that_wants_a_code_is_refused_and_counts_nothing() {
    let tries = || scope().set(Setting::Throttle, "3 600").set(Setting::MaxFailures, 3);
    let servers = [
        Server::start(
            Httpd::event().module("include"),
            vec![tries().directives(
                "Options +Includes\n<Files \"*.shtml\">\nSetOutputFilter INCLUDES\n</Files>\n\
                 <Files \"strict.txt\">\nOTPAuthTrustedNetworks Off\n</Files>\n\
                 <Files \"other.txt\">\nOTPAuthMaxOffset 7\n</Files>\n",
            )],
        ),
        Server::start(
            Nginx::one(),
            vec![tries().directives(
                "ssi on;\nssi_types text/plain;\ndefault_type text/plain;\n\
                 location = /area/strict.txt { auth_otp_trusted_networks off; }\n\
                 location = /area/other.txt { auth_otp_max_offset 7; }\n",
            )],
        ),
    ];
    for server in &servers {
        // What servers say of the part that isn't there.
        server.tolerate_log("strict.txt");
        let at = server.at("area");
        for (name, is_shown) in [("strict", false), ("other", true)] {
            server.root().write(format!("htdocs/area/{name}.txt"), INNER);
            let include = format!("<!--#include virtual=\"/area/{name}.txt\" -->{PAGE_TEXT}");
            server.root().write(format!("htdocs/area/{name}.shtml"), include);
            for _ in 0..5 {
                let page = at.request_for(&format!("{name}.shtml"), "alice", PIN).from(HOME);
                let reply = at.send(page);
                assert!(reply.0.text().contains(PAGE_TEXT), "{name}: {reply:?}");
                assert_eq!(reply.0.text().contains(INNER), is_shown, "{name}: {reply:?}");
            }
        }
        at.send(at.request_for("strict.txt", "alice", PIN).from(HOME)).is_denied();
        let other = at.send(at.request_for("other.txt", "alice", PIN).from(HOME));
        assert_eq!((other.status(), other.result()), (200, "granted-trusted"));
        at.send(at.request_for("other.txt", "alice", PIN).from(CAFE)).is_denied();
        assert_eq!(closed_lines(at.users()), 0);
    }
}

/// Whoever writes the PINs of one place could otherwise make up those of another, or find them out.
#[test]
fn a_part_whose_pins_are_from_elsewhere_asks_there_and_its_wrong_ones_count() {
    let external = || {
        Scope::new("area")
            .token(&Token::hotp("alice").external_pin(PIN))
            .set(Setting::TrustedNetworks, "192.0.2.0/24")
            .set(Setting::Throttle, "Off")
            .set(Setting::MaxFailures, 3)
            .set(Setting::PinCache, 0)
    };
    let servers = [
        Server::start(
            Httpd::event().module("include").module("authn_file"),
            vec![external().directives(
                "Options +Includes\n<Files \"*.shtml\">\nSetOutputFilter INCLUDES\n</Files>\n\
                 OTPAuthPINAuthProvider file\nAuthUserFile \"{root}/outer.pins\"\n\
                 <Files \"inner.txt\">\nAuthUserFile \"{root}/inner.pins\"\n</Files>\n",
            )],
        ),
        Server::start(
            Nginx::one(),
            vec![external().directives(
                "ssi on;\nssi_types text/plain;\ndefault_type text/plain;\n\
                 auth_otp_pin_file \"{root}/outer.pins\";\n\
                 location = /area/inner.txt { auth_otp_pin_file \"{root}/inner.pins\"; }\n",
            )],
        ),
    ];
    for server in &servers {
        server.tolerate_log("inner.txt");
        server.expect_log(CLOSED);
        let at = server.at("area");
        let write = |name: &str, pin: &str| {
            let path = server.root().write(format!("{name}.pins"), htpasswd_line("alice", pin));
            root::give_to_server(&path);
        };
        write("inner", "another1");
        server.root().write("htdocs/area/inner.txt", INNER);
        let include = format!("<!--#include virtual=\"/area/inner.txt\" -->{PAGE_TEXT}");
        server.root().write("htdocs/area/outer.shtml", include);
        let page = |pin: &str| {
            write("outer", pin);
            at.send(at.request_for("outer.shtml", "alice", pin).from(HOME))
        };
        let right = page("another1");
        assert!(right.0.text().contains(INNER), "{right:?}");
        for number in 0..3 {
            let reply = page(&format!("guess{number}"));
            assert!(reply.0.text().contains(PAGE_TEXT), "{reply:?}");
            assert!(!reply.0.text().contains(INNER), "{reply:?}");
        }
        assert_eq!(closed_lines(at.users()), 1);
        at.send(at.request_for("inner.txt", "alice", "another1").from(HOME)).is_denied();
    }
}

#[test]
fn of_wrong_pins_at_once_ten_are_looked_at_and_close_it_once() {
    let scopes = || {
        vec![
            scope()
                .set(Setting::Throttle, "Off")
                .set(Setting::MaxFailures, "None")
                .set(Setting::MaxLinger, 0),
        ]
    };
    for server in [Server::start(Httpd::event(), scopes()), Server::start(Nginx::four(), scopes())]
    {
        server.expect_log(CLOSED);
        let at = server.at("area");
        at.login_from(HOME, "alice", PIN).is(200, "granted-trusted");
        let wrong = |number: usize| at.request("alice", format!("wrong{number:03}")).from(HOME);
        let requests: Vec<Request> = (0..200).map(wrong).collect();
        assert!(at.at_once(&requests).iter().all(|reply| reply.status() == 401));
        assert_eq!(closed_lines(at.users()), 1);
        at.login_from(HOME, "alice", PIN).is_denied();
        at.login_from("192.0.2.9", "alice", PIN).is_denied();
        at.login_from(CAFE, "alice", alice().password(0)).is(200, "granted-fresh");
        assert_eq!(closed_lines(at.users()), 0);
        at.login_from(HOME, "alice", PIN).is(200, "granted-trusted");
        let read = server.all_decisions("alice");
        assert!(read.iter().filter(|word| *word == "granted-trusted").count() == 2, "{read:?}");
    }
}

#[test]
fn where_wrong_pins_cannot_be_counted_no_pin_is_enough() {
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
        let scope = scope().users_file(&users);
        let server = match kind {
            0 => Server::start(Httpd::event().in_one_process(), vec![scope]),
            _ => Server::start(Nginx::one(), vec![scope]),
        };
        server.tolerate_log("each process counts wrong tries for itself");
        server.expect_log("a code is needed everywhere, because wrong PINs can't be counted");
        let at = server.at("area");
        for password in [PIN, "sesame8", PIN] {
            at.login_from(HOME, "alice", password).is_denied();
        }
        at.login_from(HOME, "alice", alice().password(0)).is(200, "granted-fresh");
    }
}

#[test]
fn authors_of_pages_cannot_trust_networks_or_computers() {
    for (name, value) in
        [("OTPAuthTrustedNetworks", "192.0.2.0/24"), ("OTPAuthTrustedComputer", "30")]
    {
        let area = Scope::new("area").token(&alice()).directives("AllowOverride AuthConfig\n");
        let server = Server::start(Httpd::event(), vec![area]);
        server.root().write("htdocs/area/inner/.htaccess", format!("{name} {value}\n"));
        server.root().write("htdocs/area/inner/page.txt", PAGE_TEXT);
        server.expect_log(&format!("{name} not allowed here"));
        let at = server.at("area");
        at.send(at.request_for("inner/page.txt", "alice", PIN).from(HOME)).is_status(500);
    }
}

#[test]
fn days_for_a_computer_are_a_number_from_1_to_366_or_none() {
    for (name, test) in [
        ("OTPAuthTrustedComputer", (|scopes| Httpd::event().test(scopes, |_| {})) as Test),
        ("auth_otp_trusted_computer", |scopes| Nginx::one().test(scopes, |_| {})),
    ] {
        let end = if name.starts_with("OTP") { "\n" } else { ";\n" };
        let area = |value: &str| {
            let directive = format!("{name} {value}{end}");
            vec![Scope::new("area").token(&alice()).directives(&directive)]
        };
        for value in ["1", "366", "Off", "off"] {
            test(area(value)).is_accepted(true);
        }
        for value in ["0", "367", "30d", "-1", "on", "4294967297", "30 30"] {
            let tested = test(area(value));
            let reason = "takes a number of days from 1 to 366";
            tested.is_accepted(false).names_the_line_of(name).says(reason);
        }
    }
}

#[test]
fn networks_that_have_everybody_are_warned_of_once_and_what_is_none_is_refused() {
    let area = |networks: &str| {
        let inner = Scope::new("inner").token(&alice());
        let outer = Scope::new("area").token(&alice()).set(Setting::TrustedNetworks, networks);
        vec![outer, inner]
    };
    let many = |number: usize| vec!["192.0.2.0/24"; number].join(" ");
    for (name, test) in [
        ("OTPAuthTrustedNetworks", (|scopes| Httpd::event().test(scopes, |_| {})) as Test),
        ("auth_otp_trusted_networks", |scopes| Nginx::one().test(scopes, |_| {})),
    ] {
        for everything in ["0.0.0.0/0", "::/0"] {
            let tested = test(area(&format!("192.0.2.0/24 {everything}")));
            let said =
                format!("{name} {everything} is everywhere: nobody who has a PIN needs a code");
            tested.is_accepted(true).names_the_line_of(name).says(&said);
            assert_eq!(tested.output.matches(&said).count(), 1, "{}", tested.output);
        }
        for (networks, reason) in [
            ("192.0.2.1", "is not a network like 192.0.2.0/24"),
            ("192.0.2.1/24", "bits after the first 24 must be 0"),
            ("Off 192.0.2.0/24", "is not a network like"),
            (&many(17)[..], "takes 1 to 16 networks"),
        ] {
            test(area(networks)).is_accepted(false).names_the_line_of(name).says(reason);
        }
        for networks in ["192.0.2.0/24 2001:db8::/32", "Off", &many(16)] {
            let tested = test(area(networks));
            tested.is_accepted(true);
            assert!(!tested.output.contains("everywhere"), "{}", tested.output);
        }
    }
}

type Test = fn(Vec<Scope>) -> common::httpd::Tested;
