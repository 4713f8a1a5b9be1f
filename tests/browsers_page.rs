//! People's browsers at the page to log in, on both servers: by the keyboard alone, in Chromium without scripts.

mod common;

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use common::login_place::{self, AREA, PAGE, PIN, alice};
use common::server::PAGE_TEXT;
use common::users::beside;
use common::{Server, Token, require};

/// The servers and browsers that each scene is played with.
macro_rules! in_each {
    ($($name:ident)*) => {
        $(mod $name {
            use super::{Started, login_place};
            const HTTPD: Started = login_place::httpd;
            const NGINX: Started = login_place::nginx;
            #[test] fn in_chromium_on_httpd() { super::$name("chromium", HTTPD); }
            #[test] fn in_chromium_on_nginx() { super::$name("chromium", NGINX); }
            #[test] fn in_firefox_on_httpd() { super::$name("firefox", HTTPD); }
            #[test] fn in_firefox_on_nginx() { super::$name("firefox", NGINX); }
        })*
    };
}

in_each! {
    a_person_logs_in_after_a_wrong_code
    a_person_logs_out_and_the_way_back_shows_nothing
    tabs_share_a_login_and_other_browsers_have_their_own
    too_many_wrong_codes_and_a_busy_server_are_told
    the_next_code_on_paper_is_told
    a_newer_code_is_asked_for_alone
    a_form_sent_too_late_is_not_lost
}

type Started = fn(&str, &str) -> Server;

/// Somebody in front of a browser.
struct Person<'s> {
    server: &'s Server,
    browser: String,
    script: Child,
    steps: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
    /// What the pictures are called.
    scene: String,
}

impl<'s> Person<'s> {
    fn at(server: &'s Server, browser: &str, scene: &str) -> Person<'s> {
        require(match browser {
            "chromium" => "/usr/bin/chromium",
            _ => "/usr/bin/firefox-esr",
        });
        require("/usr/bin/python3");
        // Asked for by browsers of their own accord; lines about what follows a page end otherwise.
        for text in ["favicon.ico", "referer: "] {
            server.tolerate_log(text);
        }
        let mut script = Command::new("/usr/bin/python3")
            .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/browser/form.py"))
            .args([browser, env!("CARGO_TARGET_TMPDIR")])
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("python3 runs");
        let (steps, answers) = (script.stdin.take(), script.stdout.take().expect("piped"));
        let (browser, scene) = (browser.to_owned(), scene.to_owned());
        Person { server, browser, script, steps, answers: BufReader::new(answers), scene }
    }

    /// Does one thing, and gives what comes of it.
    #[track_caller]
    fn does(&mut self, step: &[&str]) -> String {
        // Plain words, which Rust quotes as JSON does.
        let steps = self.steps.as_mut().expect("not over yet");
        let mut answer = String::new();
        let is_sent = writeln!(steps, "{step:?}").and_then(|()| steps.flush()).is_ok();
        if !is_sent || self.answers.read_line(&mut answer).unwrap_or(0) == 0 {
            let mut said = String::new();
            let _ = self.script.stderr.take().expect("piped").read_to_string(&mut said);
            panic!("{}: {step:?}: {said}", self.browser);
        }
        answer.trim_end().to_owned()
    }

    #[track_caller]
    fn opens(&mut self, path: &str) {
        let url = format!("http://127.0.0.1:{}{path}", self.server.port());
        self.does(&["open", &url]);
    }

    /// Waits until this is shown; gives all that is shown.
    #[track_caller]
    fn sees(&mut self, text: &str) -> String {
        let shown = self.does(&["see", text]);
        assert!(!shown.contains(PIN), "no PIN is shown: {shown}");
        shown
    }

    fn presses(&mut self, key: &str) {
        self.does(&["press", key]);
    }

    /// Types into the fields, one after the other.
    fn types(&mut self, texts: &[&str]) {
        for (i, text) in texts.iter().enumerate() {
            if i > 0 {
                self.presses("Tab");
            }
            if !text.is_empty() {
                self.does(&["type", text]);
            }
        }
    }

    /// Fills in the whole form and sends it.
    #[track_caller]
    fn logs_in(&mut self, user: &str, code: &str) {
        self.server.keep_secret(code);
        self.sees("User name");
        self.does(&["focus", "user"]);
        self.types(&[user, PIN, code]);
        self.presses("Enter");
    }

    /// At the page to log in.
    #[track_caller]
    fn logs_out(&mut self) {
        self.opens(PAGE);
        self.sees("You are logged in");
        self.does(&["tab to", "Log out"]);
        self.presses("Enter");
        self.sees("You are logged out");
    }

    fn takes_a_picture(&mut self, name: &str) {
        let file = format!("{}-{name}-{}.png", self.scene, self.browser);
        self.does(&["shot", &file]);
    }
}

impl Drop for Person<'_> {
    fn drop(&mut self) {
        drop(self.steps.take());
        // It ends its browser.
        let _ = self.script.wait();
    }
}

fn a_person_logs_in_after_a_wrong_code(browser: &str, start: Started) {
    let server = start("", "");
    let mut person = Person::at(&server, browser, "login");
    let code = alice().code(1);
    person.opens(AREA);
    person.logs_in("alice", "000000");
    let refused = person.sees("That didn");
    person.takes_a_picture("refused");
    // The name is there still.
    assert_eq!(person.does(&["value", "user"]), "\"alice\"");
    person.does(&["focus", "pin"]);
    server.keep_secret(&code);
    person.types(&[PIN, &code]);
    person.presses("Enter");
    let done = person.sees(PAGE_TEXT);
    // Again, and the browser has what it needs.
    person.opens(AREA);
    person.sees(PAGE_TEXT);
    person.opens(PAGE);
    let known = person.sees("alice");
    person.takes_a_picture("known");
    for text in [refused, done, known.clone()] {
        assert!(!text.contains(&code), "{text}");
    }
    assert!(known.contains("Log out"), "{known}");
    let place = server.at("area");
    assert_eq!((place.users().counter("alice"), place.users().failures("alice")), (2, 0));
    let users = String::from_utf8(place.users().bytes()).expect("text");
    assert_eq!(users.matches("#@ session alice").count(), 1);
}

fn a_person_logs_out_and_the_way_back_shows_nothing(browser: &str, start: Started) {
    let server = start("", "");
    let mut person = Person::at(&server, browser, "logout");
    person.opens(AREA);
    person.logs_in("alice", &alice().code(0));
    person.sees(PAGE_TEXT);
    person.logs_out();
    person.takes_a_picture("out");
    // To the page with the button, and to what was protected.
    person.does(&["back"]);
    let shown = person.sees("User name");
    assert!(!shown.contains("alice"), "{shown}");
    person.does(&["back"]);
    let shown = person.sees("User name");
    assert!(!shown.contains(PAGE_TEXT), "{shown}");
    person.takes_a_picture("back");
    person.opens(AREA);
    person.sees("User name");
}

fn tabs_share_a_login_and_other_browsers_have_their_own(browser: &str, start: Started) {
    let server = start("", "");
    let mut person = Person::at(&server, browser, "tabs");
    // Two tabs come to the page at the same time; one of them is enough.
    person.opens(AREA);
    person.sees("User name");
    person.does(&["tab", "second"]);
    person.opens(AREA);
    person.logs_in("alice", &alice().code(0));
    person.sees(PAGE_TEXT);
    person.does(&["tab", ""]);
    person.does(&["reload"]);
    person.sees(PAGE_TEXT);
    // Somebody with another browser has nothing of it, and a login of their own.
    person.does(&["person", "other"]);
    person.opens(AREA);
    person.logs_in("alice", &alice().code(1));
    person.sees(PAGE_TEXT);
    // One logs out, in both tabs; the other stays.
    person.does(&["tab", "second"]);
    person.logs_out();
    person.does(&["tab", ""]);
    person.opens(AREA);
    person.sees("User name");
    person.does(&["person", "other"]);
    person.does(&["reload"]);
    person.sees(PAGE_TEXT);
    assert_eq!(server.at("area").users().counter("alice"), 2);
}

fn too_many_wrong_codes_and_a_busy_server_are_told(browser: &str, start: Started) {
    let server = start("auth_otp_throttle 2 600", "");
    let mut person = Person::at(&server, browser, "wait");
    person.opens(AREA);
    person.logs_in("alice", "000000");
    person.sees("That didn");
    // Another program holds what counts wrong codes.
    server.expect_log("logins are refused for now");
    let throttle = beside(server.at("area").users().path(), ".throttle");
    let held = fs::File::options().write(true).open(throttle).expect("it is there");
    rustix::fs::fcntl_lock(&held, rustix::fs::FlockOperation::LockExclusive).expect("the lock");
    person.does(&["focus", "pin"]);
    person.types(&[PIN, "000001"]);
    person.presses("Enter");
    person.sees("The server is busy");
    person.takes_a_picture("busy");
    drop(held);
    // It takes the server a moment to see that.
    common::wait_until("it is too often", || {
        person.does(&["focus", "pin"]);
        person.types(&[PIN, "000002"]);
        person.presses("Enter");
        common::wait_until("the answer is shown", || person.does(&["value", "pin"]) == "\"\"");
        person.does(&["see", ""]).contains("Please wait")
    });
    let shown = person.sees("Please wait");
    assert!(shown.contains("Seconds to wait"), "{shown}");
    person.takes_a_picture("throttled");
    // A right code isn't looked at either, and isn't used up.
    let code = alice().code(0);
    server.keep_secret(&code);
    person.does(&["focus", "pin"]);
    person.types(&[PIN, &code]);
    person.presses("Enter");
    person.sees("Please wait");
    assert_eq!(server.at("area").users().counter("alice"), 0);
}

fn the_next_code_on_paper_is_told(browser: &str, start: Started) {
    let server = start("auth_otp_throttle 20 600", "");
    let paper = Token::paper("pam", 20).pin(PIN);
    server.at("area").users().append(paper.line());
    for secret in paper.secrets() {
        server.keep_secret(&secret);
    }
    let mut person = Person::at(&server, browser, "paper");
    person.opens(AREA);
    person.logs_in("pam", &paper.code(0));
    person.sees(PAGE_TEXT);
    person.logs_out();
    person.opens(AREA);
    person.logs_in("pam", "");
    let shown = person.sees("A code is missing");
    assert!(shown.contains("the next one has the number 2"), "{shown}");
    person.takes_a_picture("next");
    person.does(&["focus", "pin"]);
    let code = paper.code(1);
    server.keep_secret(&code);
    person.types(&[PIN, &code]);
    person.presses("Enter");
    person.sees(PAGE_TEXT);
}

fn a_newer_code_is_asked_for_alone(browser: &str, start: Started) {
    let server = start("", "auth_otp_max_age 4");
    let mut person = Person::at(&server, browser, "newer");
    person.opens(AREA);
    person.logs_in("alice", &alice().code(0));
    person.sees(PAGE_TEXT);
    let mut shown = String::new();
    common::wait_until("the code is too old", || {
        person.opens(AREA);
        shown = person.does(&["see", ""]);
        !shown.contains(PAGE_TEXT) && shown.contains("Enter a new code")
    });
    assert!(shown.contains("alice") && !shown.contains("User name"), "{shown}");
    person.takes_a_picture("code");
    person.does(&["focus", "code"]);
    person.types(&["000000"]);
    person.presses("Enter");
    person.sees("That didn");
    person.does(&["focus", "code"]);
    let code = alice().code(1);
    server.keep_secret(&code);
    person.types(&[&code]);
    person.presses("Enter");
    person.sees(PAGE_TEXT);
}

/// A page of the application, with a form that is sent to another one.
const FORM: &str = "<!DOCTYPE html><title>Letter</title><h1>Write a letter</h1>\n\
    <form method=\"post\" action=\"page.txt\"><label>Letter <input name=\"text\" autofocus></label>\
    <button>Send</button></form>\n";

fn a_form_sent_too_late_is_not_lost(browser: &str, start: Started) {
    let server = start("", "");
    server.root().write("htdocs/area/form.html", FORM);
    let form = AREA.replace("page.txt", "form.html");
    let mut person = Person::at(&server, browser, "late");
    person.opens(&form);
    person.logs_in("alice", &alice().code(0));
    person.sees("Write a letter");
    person.does(&["focus", "text"]);
    person.types(&["a long letter"]);
    // Meanwhile the session ends.
    let users = String::from_utf8(server.at("area").users().bytes()).expect("text");
    let left = users.lines().filter(|line| !line.starts_with("#@ session alice"));
    server.at("area").users().replace(left.map(|line| format!("{line}\n")).collect::<String>());
    person.presses("Enter");
    let shown = person.sees("What you sent was not passed on");
    assert!(shown.contains("User name") && !shown.contains(PAGE_TEXT), "{shown}");
    person.takes_a_picture("not-sent");
    person.logs_in("alice", &alice().code(1));
    person.sees(PAGE_TEXT);
    // Back to the letter, past the page to log in.
    let mut shown = String::new();
    for _ in 0..4 {
        person.does(&["back"]);
        shown = person.does(&["see", ""]);
        if shown.contains("Write a letter") {
            break;
        }
    }
    assert!(shown.contains("Write a letter"), "{shown}");
    assert_eq!(person.does(&["value", "text"]), "\"a long letter\"");
    person.takes_a_picture("kept");
}
