//! People's browsers at the prompt of Apache httpd, Basic and Digest.

mod common;

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use common::server::PAGE_TEXT;
use common::{Httpd, Scope, Server, Token, require};

const PIN: &str = "sesame9";

/// Answers the prompt once for each password, in one session of the browser; gives what the page shows each time.
fn in_browser(browser: &str, url: &str, user: &str, passwords: &[String]) -> Vec<String> {
    require(match browser {
        "chromium" => "/usr/bin/chromium",
        _ => "/usr/bin/firefox-esr",
    });
    require("/usr/bin/python3");
    let screenshot = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{browser}.png"));
    let mut script = Command::new("/usr/bin/python3")
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/browser/login.py"))
        .args([browser, url, user])
        .arg(&screenshot)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("python3 runs");
    script.stdin.take().expect("piped").write_all(passwords.join("\n").as_bytes()).expect("passwords");
    let output = script.wait_with_output().expect("an end");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{browser}: {text}{}", String::from_utf8_lossy(&output.stderr));
    text.lines().map(str::to_owned).collect()
}

fn a_person_logs_in(browser: &str) {
    let alice = Token::hotp("alice").pin(PIN);
    let section = |name: &str, scheme: &str| {
        Scope::bare(name)
            .directives(&format!(
                "AuthType {scheme}\nAuthName \"{name}\"\nAuth{scheme}Provider OTP\nRequire valid-user\n\
                 OTPAuthUsersFile \"{{users}}\"\nOTPAuthMaxLinger 600"
            ))
            .token(&alice)
    };
    let scopes = vec![section("basic", "Basic"), section("digest", "Digest")];
    let server = Server::start(Httpd::event().module("auth_digest"), scopes);
    server.tolerate_log("AH01791:");
    server.tolerate_log("AH01617:");
    server.tolerate_log("favicon.ico"); // browsers ask for it of their own accord
    for name in ["basic", "digest"] {
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

#[test]
fn chromium_logs_in() {
    a_person_logs_in("chromium");
}

#[test]
fn firefox_logs_in() {
    a_person_logs_in("firefox");
}
