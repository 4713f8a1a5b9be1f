//! What error logs show at the levels that servers come with: Apache's `LogLevel warn`, nginx's
//! `error_log` without a level.

mod common;

use common::client::basic;
use common::{Httpd, Nginx, Request, Scope, Server, Setting, Token};

const PIN: &str = "sesame9";

fn alice() -> Token {
    Token::hotp("alice").pin(PIN)
}

fn jose() -> Token {
    Token::hotp("Jos\u{e9}").pin(PIN)
}

fn area() -> Scope {
    Scope::new("area").token(&alice()).token(&jose()).set(Setting::MaxFailures, 1)
}

fn apache() -> Server {
    Server::start(Httpd::event().directives("LogLevel warn"), vec![area()])
}

/// The log of the harness itself has to say when the server is ready, which nginx does at a higher
/// level.
fn nginx() -> Server {
    let stock = Nginx::one().directives("error_log {root}/stock.log;");
    Server::start(stock, vec![area()])
}

/// Lines of ours, as they stand in the log.
fn ours(log: &str) -> Vec<&str> {
    let words = common::log::RESULTS;
    log.lines()
        .filter(|line| words.iter().any(|word| line.contains(&format!("{word}: "))))
        .collect()
}

/// Logs in in every way, and says which result words the log has, in order.
fn shown(server: &Server, log: impl Fn() -> String) -> Vec<String> {
    let at = server.at("area");
    at.login("alice", alice().password(0)).is(200, "granted-fresh");
    at.login("alice", alice().password(0)).is(200, "granted-reuse");
    at.login("alice", alice().password(1)).is(200, "granted-fresh");
    at.login("alice", alice().password(0)).is(401, "denied-expired");
    at.login("alice", "wrong-pin755224").is(401, "denied-pin");
    at.login("alice", alice().with(&alice().wrong_code())).is(401, "denied-code");
    at.login("alice", alice().password(2)).is(401, "denied-locked");
    at.login("mallory", alice().password(2)).is(401, "unknown");
    at.login("Jos\u{e9}", "wrong-pin755224").is(401, "denied-pin");
    let log = log();
    let words = common::log::RESULTS;
    let word = |line: &&str| {
        words.iter().find(|word| line.contains(&format!("{word}: "))).map(|word| word.to_string())
    };
    let lines = ours(&log);
    let name = lines.last().expect("a line about a name that isn't ASCII");
    assert!(name.contains(r#"user "Jos\xc3\xa9""#), "{name}");
    lines.iter().filter_map(word).collect()
}

#[test]
fn apache_shows_refusals_and_leaves_unlisted_names_to_whoever_refuses_them() {
    let server = apache();
    let shown = shown(&server, || server.error_log());
    assert_eq!(shown, ["denied-pin", "denied-code", "denied-locked", "denied-pin"]);
    let log = server.error_log();
    assert!(log.lines().any(|line| line.contains("AH01618") && line.contains("mallory")), "{log}");
    assert!(ours(&log).iter().all(|line| line.contains("[authn_otp:warn]")), "{log}");
}

/// What docs/recipes/fail2ban.md says: our lines tell an old code from a wrong one, those of
/// mod_auth_basic don't.
#[test]
fn apache_repeats_old_codes_as_mismatches_where_we_say_nothing() {
    let server = apache();
    let at = server.at("area");
    at.login("alice", alice().password(0)).is(200, "granted-fresh");
    at.login("alice", alice().password(1)).is(200, "granted-fresh");
    at.login("alice", alice().password(0)).is(401, "denied-expired");
    let log = server.error_log();
    assert_eq!(log.matches("AH01617").count(), 1, "{log}");
    assert!(ours(&log).is_empty(), "{log}");
}

#[test]
fn what_another_provider_is_asked_about_is_no_refusal_of_ours() {
    let area = area().second_provider("bob", "opendoor").set(Setting::FallThrough, "On");
    let server = Server::start(Httpd::event().directives("LogLevel warn"), vec![area]);
    let at = server.at("area");
    at.login("bob", "opendoor").is(200, "unknown");
    at.login("alice", "wrong-pin755224").is(401, "denied-pin");
    let log = server.error_log();
    assert!(ours(&log).is_empty() && log.matches("AH01618").count() == 1, "{log}");
}

#[test]
fn nginx_shows_refusals() {
    let server = nginx();
    let log = || std::fs::read_to_string(server.root().join("stock.log")).expect("the log");
    assert_eq!(
        shown(&server, log),
        ["denied-pin", "denied-code", "denied-locked", "unknown", "denied-pin"]
    );
}

#[test]
fn apache_shows_only_what_forges_lines_with_two_backslashes() {
    let server = apache();
    for (name, shown) in [
        ("zo\u{eb}", r#"user "zo\xc3\xab""#),
        ("esc\u{1b}[2J", r#"user "esc\x1b[2J""#),
        ("line\nend", r#"user "line\\x0aend""#),
        ("a\" b\\c", r#"user "a\\x22 b\\x5cc""#),
    ] {
        // A control character in the password has every name refused in the same words.
        server
            .send(&Request::get("/area/page.txt").header("Authorization", basic(name, "\u{1}")))
            .is_status(401);
        let log = server.error_log();
        assert!(log.contains(shown), "{shown} isn't in\n{log}");
    }
}

/// Credentials that are no attempt here: what is sent, whether Digest is asked for, and a part of
/// the one line about it on Apache and on nginx.
const UNFIT: [(&str, bool, &str, &str); 7] = [
    ("Digest", true, "AH01782", "the Digest header is empty"),
    (
        "Digest username=\"alice\"",
        false,
        "AH01614",
        "the credentials are for Digest, but Basic is required here",
    ),
    (
        "Basic YWxpY2U6eA==",
        true,
        "AH01781",
        "the credentials are for Basic, but Digest is required here",
    ),
    ("Bearer opendoor", false, "AH01614", "the credentials are a Bearer token"),
    ("Bearer opendoor", true, "AH01781", "the credentials are a Bearer token"),
    ("opendoor", false, "AH01614", "the credentials are of a scheme that isn't accepted"),
    ("Basic Ong=", false, "AH01618", "the Basic header has no user name and password"),
];

#[test]
fn credentials_that_nobody_asked_for_have_one_line_each() {
    let scopes =
        || vec![Scope::new("one").token(&alice()), Scope::new("two").token(&alice()).digest()];
    let httpd = Server::start(Httpd::event().directives("LogLevel warn"), scopes());
    let stock = Nginx::one().directives("error_log {root}/stock.log;");
    // The page is a place where the same is asked for once more.
    let page = |scope: Scope| {
        let page = format!("error_page 401 /{}/refused.html;", scope.name);
        scope.directives(&page)
    };
    let nginx = Server::start(stock, scopes().into_iter().map(page).collect());
    let stock_log =
        |root: &std::path::Path| std::fs::read_to_string(root.join("stock.log")).expect("the log");
    let log_of =
        |is_httpd: bool| if is_httpd { httpd.error_log() } else { stock_log(nginx.root().path()) };
    for (number, (header, is_digest, at_httpd, at_nginx)) in UNFIT.into_iter().enumerate() {
        for (server, is_httpd, expected) in [(&httpd, true, at_httpd), (&nginx, false, at_nginx)] {
            let before = log_of(is_httpd).lines().count();
            let path = if is_digest { "/two/page.txt" } else { "/one/page.txt" };
            server.send(&Request::get(path).header("Authorization", header)).is_status(401);
            let log = log_of(is_httpd);
            let new: Vec<&str> = log.lines().skip(before).collect();
            eprintln!("{number} {header}: {new:#?}");
            server.tolerate_log(expected);
            assert_eq!(new.len(), 1, "{header}");
            assert!(
                new[0].contains(expected) && !new[0].contains("opendoor"),
                "{header}: {}",
                new[0]
            );
        }
    }
    let before = log_of(false);
    nginx.send(&Request::get("/one/page.txt")).is_status(401);
    assert_eq!(log_of(false), before, "a first visit is no attempt");
}
