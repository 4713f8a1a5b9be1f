//! People's browsers at the page to log in, on both servers: by the keyboard alone, in Chromium without scripts.

mod common;

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use common::server::PAGE_TEXT;
use common::{Httpd, Nginx, Scope, Server, Token, require};

const PIN: &str = "sesame9";

/// Goes through the steps, and gives what the page shows at each that waits for something.
fn in_browser(browser: &str, steps: &[&[&str]]) -> Vec<String> {
    require(match browser {
        "chromium" => "/usr/bin/chromium",
        _ => "/usr/bin/firefox-esr",
    });
    require("/usr/bin/python3");
    let mut script = Command::new("/usr/bin/python3")
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/browser/form.py"))
        .args([browser, env!("CARGO_TARGET_TMPDIR")])
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("python3 runs");
    // Plain words, which Rust quotes as JSON does.
    let steps: Vec<String> = steps.iter().map(|step| format!("{step:?}")).collect();
    script.stdin.take().expect("piped").write_all(steps.join("\n").as_bytes()).expect("steps");
    let output = script.wait_with_output().expect("an end");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success(),
        "{browser}: {text}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    text.lines().map(str::to_owned).collect()
}

fn alice() -> Token {
    Token::hotp("alice").pin(PIN)
}

fn httpd() -> Server {
    let common = "AuthName area\nOTPAuthUsersFile \"{root}/users/area/users\"\n\
         OTPAuthLoginPage /otp/login\nOTPAuthLingerCookie Insecure\nAuthType OTP\n";
    let area = Scope::bare("area").token(&alice());
    let page = Scope::bare("otp").of_urls();
    Server::start(
        Httpd::event(),
        vec![
            area.directives(&format!("{common}Require valid-user")),
            page.directives(&format!("{common}SetHandler otp-login\nRequire all granted")),
        ],
    )
}

fn nginx() -> Server {
    let common = "auth_otp area;\nauth_otp_users_file \"{root}/users/area/users\";\n\
         auth_otp_login_page /otp/login;\nauth_otp_linger_cookie insecure;\n\
         auth_otp_scheme form;\n";
    Server::start(
        Nginx::one(),
        vec![
            Scope::bare("area").token(&alice()).directives(common),
            Scope::bare("otp").directives(&format!("{common}auth_otp_login;")),
        ],
    )
}

fn a_person_logs_in_by_the_page(browser: &str, server: Server) {
    // Asked for by browsers of their own accord; lines about what follows a page end otherwise.
    for text in ["favicon.ico", "referer: "] {
        server.tolerate_log(text);
    }
    let place = server.at("area");
    let at = |path: &str| format!("http://127.0.0.1:{}{path}", server.port());
    let (code, wanted) = (alice().code(1), at(&place.path("page.txt")));
    server.keep_secret(&code);
    let shown = in_browser(
        browser,
        &[
            &["open", &wanted],
            &["see", "User name"],
            &["focus", "user"],
            &["type", "alice"],
            &["press", "Tab"],
            &["type", PIN],
            &["press", "Tab"],
            &["type", "000000"],
            &["press", "Enter"],
            &["see", "That didn"],
            // The name is there still.
            &["focus", "pin"],
            &["type", PIN],
            &["press", "Tab"],
            &["type", &code],
            &["press", "Enter"],
            &["see", PAGE_TEXT],
            // Again, and the browser has what it needs.
            &["open", &wanted],
            &["see", PAGE_TEXT],
            &["open", &at("/otp/login")],
            &["see", "alice"],
        ],
    );
    let [_, refused, done, again, known] = &shown[..] else { panic!("{shown:?}") };
    for text in shown.iter() {
        assert!(!text.contains(PIN) && !text.contains(&code), "{text}");
    }
    assert!(refused.contains("alice") || refused.contains("User name"), "{refused}");
    assert!(done.contains(PAGE_TEXT) && again.contains(PAGE_TEXT));
    assert!(known.contains("Log out"), "{known}");
    assert_eq!((place.users().counter("alice"), place.users().failures("alice")), (2, 0));
    let users = String::from_utf8(place.users().bytes()).expect("text");
    assert_eq!(users.matches("#@ session alice").count(), 1);
}

#[test]
fn chromium_logs_in_by_the_page_of_httpd() {
    a_person_logs_in_by_the_page("chromium", httpd());
}

#[test]
fn firefox_logs_in_by_the_page_of_httpd() {
    a_person_logs_in_by_the_page("firefox", httpd());
}

#[test]
fn chromium_logs_in_by_the_page_of_nginx() {
    a_person_logs_in_by_the_page("chromium", nginx());
}

#[test]
fn firefox_logs_in_by_the_page_of_nginx() {
    a_person_logs_in_by_the_page("firefox", nginx());
}
