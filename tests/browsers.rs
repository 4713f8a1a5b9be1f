//! People's browsers at the prompt of both servers, Basic and Digest.

mod common;

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use common::server::PAGE_TEXT;
use common::web_pages;
use common::{Httpd, Nginx, Scope, Server, Setting, Token, require};

const PIN: &str = "sesame9";

/// Answers the prompt once for each password, in one session of the browser; gives what the page
/// shows each time.
fn in_browser(browser: &str, url: &str, user: &str, passwords: &[String]) -> Vec<String> {
    require(match browser {
        "chromium" => "/usr/bin/chromium",
        _ => "/usr/bin/firefox-esr",
    });
    require("/usr/bin/python3");
    let screenshot = Path::new(env!("CARGO_TARGET_TMPDIR"))
        .join(format!("{browser}-{}.png", std::process::id()));
    let mut script = Command::new("/usr/bin/python3")
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/browser/login.py"))
        .args([browser, url, user])
        .arg(&screenshot)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("python3 runs");
    script
        .stdin
        .take()
        .expect("piped")
        .write_all(passwords.join("\n").as_bytes())
        .expect("passwords");
    let output = script.wait_with_output().expect("an end");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success(),
        "{browser}: {text}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    text.lines().map(str::to_owned).collect()
}

fn a_person_logs_in(browser: &str, start: impl Fn(Vec<Scope>) -> Server, schemes: &[&str]) {
    let alice = Token::hotp("alice").pin(PIN);
    let scopes = schemes.iter().map(|scheme| {
        let scope = Scope::new(*scheme).set(Setting::MaxLinger, 600).token(&alice);
        match *scheme {
            "basic" => scope,
            "digest" => scope.digest(),
            other => scope.directives(&format!("auth_otp_scheme {other};")),
        }
    });
    let server = start(scopes.collect());
    server.tolerate_log("favicon.ico"); // browsers ask for it of their own accord
    for name in schemes {
        let place = server.at(name);
        let url = format!("http://127.0.0.1:{}{}", server.port(), place.path("page.txt"));
        for code in 0..3 {
            server.keep_secret(alice.password(code));
        }
        let wrong = alice.with("000000");
        let pages = in_browser(browser, &url, "alice", &[wrong, alice.password(2)]);
        assert_eq!(pages.len(), 2, "{pages:?}");
        assert!(!pages[0].contains(PAGE_TEXT), "{browser} {name}: {pages:?}");
        assert!(pages[1].contains(PAGE_TEXT), "{browser} {name}: {pages:?}");
        assert_eq!(place.users().counter("alice"), 3, "{browser} {name}: resynchronised, once");
        assert_eq!(place.users().failures("alice"), 0);
    }
}

fn httpd(scopes: Vec<Scope>) -> Server {
    Server::start(Httpd::event(), scopes)
}

fn nginx(scopes: Vec<Scope>) -> Server {
    Server::start(Nginx::one(), scopes)
}

#[test]
fn chromium_logs_in_on_httpd() {
    a_person_logs_in("chromium", httpd, &["basic", "digest"]);
}

#[test]
fn firefox_logs_in_on_httpd() {
    a_person_logs_in("firefox", httpd, &["basic", "digest"]);
}

#[test]
fn chromium_logs_in_on_nginx() {
    a_person_logs_in("chromium", nginx, &["basic", "digest", "both"]);
}

#[test]
fn firefox_logs_in_on_nginx() {
    a_person_logs_in("firefox", nginx, &["basic", "digest", "both"]);
}

/// Without the page that says what to type, they would see nothing but the server's "401".
fn who_cancels_or_mistypes_reads_what_to_type(browser: &str) {
    let alice = Token::hotp("alice").pin(PIN);
    let area = || Scope::new("area").token(&alice);
    for server in [
        Server::start(web_pages::httpd(), vec![area()]),
        Server::start(web_pages::nginx(), vec![area()]),
    ] {
        // Asked for beside the page that lets in; such lines end otherwise than others.
        for of_the_icon in ["favicon.ico", "referer: "] {
            server.tolerate_log(of_the_icon);
        }
        let place = server.at("area");
        let url = format!("http://127.0.0.1:{}{}", server.port(), place.path("page.txt"));
        server.keep_secret(alice.password(0));
        let typed = [String::new(), alice.with("000000"), alice.password(0)];
        let pages = in_browser(browser, &url, "alice", &typed);
        let [cancelled, mistyped, let_in] = &pages[..] else { panic!("{pages:?}") };
        for page in [cancelled, mistyped] {
            for text in ["You aren\\u2019t logged in", "What to type", "4711749555", "Log in"] {
                assert!(page.contains(text), "{browser}: {text:?} isn't shown: {page}");
            }
            for hidden in [PAGE_TEXT, "<!--", "otpgate"] {
                assert!(!page.contains(hidden), "{browser}: {hidden:?} is shown: {page}");
            }
        }
        assert!(let_in.contains(PAGE_TEXT), "{browser}: {let_in}");
    }
}

#[test]
fn who_cancels_or_mistypes_in_chromium_reads_what_to_type() {
    who_cancels_or_mistypes_reads_what_to_type("chromium");
}

#[test]
fn who_cancels_or_mistypes_in_firefox_reads_what_to_type() {
    who_cancels_or_mistypes_reads_what_to_type("firefox");
}
