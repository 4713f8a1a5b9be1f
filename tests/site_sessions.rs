//! Sessions as a server has them: which of cookie and password decides, what is sent to the browser,
//! and what an edit of the users file ends.

#[path = "common/scene.rs"]
mod scene;

use std::fs::{self, Permissions};
use std::net::IpAddr;
use std::os::unix::fs::PermissionsExt;

use otpgate::decide::{LoginResult, Verdict};
use otpgate::gate::RequestMemory;
use otpgate::http::target::Target;
use otpgate::log::Level;
use otpgate::otp::{self, Digits};
use otpgate::policy::{Leaked, Server};
use otpgate::site::{BasicCredentials, Browser, Request, Responded, Response, Section, Site};
use scene::{Lines, Scene};

use LoginResult::*;

const USERS: &str = "HOTP alice 4711 KEY\nHOTP bob 0815 KEY\n";
const COOKIE: (&str, &str) = ("auth_otp_linger_cookie", "on");

fn code(position: u64) -> String {
    let code = otp::hotp(otp::Hash::Sha1, b"12345678901234567890", position, Digits::SIX);
    String::from_utf8(code.as_bytes().to_vec()).expect("digits")
}

/// A server with one place.
struct Place {
    file: Scene,
    site: Site,
    directives: Vec<(&'static str, &'static str)>,
}

fn place(directives: &[(&'static str, &'static str)]) -> Place {
    let file = Scene::new(USERS);
    let site = Site::new(Server::Nginx, file.directory.path().to_owned());
    Place { file, site, directives: [&[("auth_otp_users_file", "users")], directives].concat() }
}

/// What a client sends, and what else is known of its request.
#[derive(Clone, Copy)]
struct Sent<'a> {
    login: Option<(&'a str, &'a str)>,
    cookie: &'a str,
    realm: &'a str,
    is_part: bool,
}

const NOTHING: Sent<'static> = Sent { login: None, cookie: "", realm: "area", is_part: false };

/// What comes of it.
#[derive(Debug)]
struct Got {
    verdict: Option<Verdict>,
    word: Option<LoginResult>,
    user: String,
    headers: Vec<(&'static str, String)>,
    lines: Vec<(Level, String)>,
}

impl Got {
    fn set_cookie(&self) -> Option<&str> {
        self.headers.iter().find(|(name, _)| *name == "Set-Cookie").map(|(_, value)| &value[..])
    }

    /// As the browser sends it back.
    fn cookie(&self) -> String {
        let header = self.set_cookie().unwrap_or_else(|| panic!("{self:?}"));
        header.split(';').next().expect("a cookie").to_owned()
    }

    fn words(&self) -> Vec<&str> {
        self.lines.iter().map(|(_, text)| text.split(':').next().expect("a word")).collect()
    }
}

impl Place {
    fn send(&self, sent: Sent<'_>) -> Got {
        self.send_in(sent, &mut RequestMemory::default())
    }

    fn send_in(&self, sent: Sent<'_>, judged: &mut RequestMemory) -> Got {
        let words: Vec<[&[u8]; 1]> =
            self.directives.iter().map(|(_, word)| [word.as_bytes()]).collect();
        let mut section = Section::default();
        for ((name, _), words) in self.directives.iter().zip(&words) {
            section
                .set(None, Server::Nginx, &Leaked, name.as_bytes(), words, b"test:1")
                .expect(name);
        }
        let log = Lines::default();
        let request = Request {
            section: &section,
            address: Some("192.0.2.7".parse::<IpAddr>().unwrap()),
            has_tls: true,
            is_part: sent.is_part,
            is_for_pin: false,
            turn: None,
            providers: None,
            log: &log,
        };
        let browser = Browser {
            host: b"example.org",
            realm: sent.realm.as_bytes(),
            cookie: sent.cookie.as_bytes(),
            ..Browser::default()
        };
        let response_of = |response: Option<Response>| {
            let headers = response.map(|response| {
                assert_eq!(response.status, 0);
                response.headers
            });
            let headers = headers.unwrap_or_default().into_iter();
            headers.map(|(name, value)| (name, value.to_string())).collect::<Vec<_>>()
        };
        let (verdict, word, user, headers) = match sent.login {
            Some((user, password)) => {
                let credentials = BasicCredentials {
                    user: user.as_bytes(),
                    password: password.as_bytes(),
                    authorization: b"",
                    target: Target { request_line: b"", host: b"", destination: b"", path: b"" },
                };
                let (browser, memory) = (|| browser, Some(judged));
                let replied = self.site.basic(&request, &credentials, browser, memory);
                let answer = replied.answer;
                (Some(answer.verdict), Some(answer.word), user.to_owned(), replied.response)
            }
            None => {
                let Responded { answer, user, response } =
                    self.site.by_cookie(&request, &browser, Some(judged));
                let user = String::from_utf8(user).expect("a name");
                let (verdict, word) = (
                    answer.as_ref().map(|answer| answer.verdict),
                    answer.as_ref().map(|answer| answer.word),
                );
                (verdict, word, user, response)
            }
        };
        Got { verdict, word, user, headers: response_of(headers), lines: log.with_levels() }
    }

    fn log_in(&self, user: &str, password: &str) -> Got {
        self.send(Sent { login: Some((user, password)), ..NOTHING })
    }

    fn alice(&self, position: u64) -> String {
        let got = self.log_in("alice", &format!("4711{}", code(position)));
        assert_eq!(got.word, Some(GrantedFresh), "{got:?}");
        got.cookie()
    }

    fn visit(&self, cookie: &str) -> Option<LoginResult> {
        self.send(Sent { cookie, ..NOTHING }).word
    }

    fn edit(&self, from: &str, to: &str) {
        let before = fs::read_to_string(&self.file.path).unwrap();
        assert!(before.contains(from), "{before}");
        fs::write(&self.file.path, before.replacen(from, to, 1)).unwrap();
    }
}

#[test]
fn a_fresh_code_sets_a_cookie_that_is_enough_from_then_on() {
    let place = place(&[COOKIE]);
    let got = place.log_in("alice", &format!("4711{}", code(0)));
    let set = got.set_cookie().unwrap();
    assert!(set.starts_with("__Host-otpgate-"), "{set}");
    assert!(set.ends_with("; Path=/; Secure; HttpOnly; SameSite=Lax"), "{set}");
    assert!(got.headers.contains(&("Cache-Control", "no-store".to_owned())));
    assert!(got.lines.iter().all(|(_, text)| !text.contains(&set[24..60])), "no cookie is logged");
    let cookie = got.cookie();
    let visited = place.send(Sent { cookie: &cookie, ..NOTHING });
    assert_eq!((visited.verdict, visited.word), (Some(Verdict::Granted), Some(GrantedSession)));
    assert_eq!((&visited.user[..], visited.headers.len()), ("alice", 0));
    let line = (Level::Info, "granted-session: a session, user \"alice\"".to_owned());
    assert_eq!(visited.lines, [line]);
    let other = place.send(Sent { cookie: "a=b", ..NOTHING });
    assert_eq!((other.verdict, other.lines.len()), (None, 0));
}

#[test]
fn without_tls_the_cookie_has_another_name_and_needs_none() {
    let place = place(&[("auth_otp_linger_cookie", "insecure")]);
    let got = place.log_in("alice", &format!("4711{}", code(0)));
    let set = got.set_cookie().unwrap();
    assert!(set.starts_with("otpgate-") && !set.contains("Secure"), "{set}");
    assert_eq!(place.visit(&got.cookie()), Some(GrantedSession));
}

#[test]
fn where_nobody_asks_for_cookies_there_are_none() {
    let place = place(&[]);
    let password = format!("4711{}", code(0));
    let got = place.log_in("alice", &password);
    assert_eq!((got.word, got.headers.len()), (Some(GrantedFresh), 0));
    assert_eq!(place.log_in("alice", &password).word, Some(GrantedReuse));
    assert_eq!(place.visit("a=b"), None);
    assert!(!place.file.directory.path().join("users.secret").exists());
}

#[test]
fn the_cookie_decides_for_its_user_and_credentials_for_anybody_else() {
    let place = place(&[COOKIE]);
    let cookie = place.alice(0);
    let old = format!("4711{}", code(0));
    let bob = format!("0815{}", code(0));
    for (name, login, words) in [
        // Browsers send the code with each request.
        ("the old code beside it", ("alice", &old[..]), &["granted-session"][..]),
        ("a wrong one", ("alice", "4711000000"), &["granted-session"]),
        ("another user", ("bob", "0815000000"), &["denied-code"]),
        ("another user, rightly", ("bob", &bob), &["granted-fresh"]),
        ("nobody", ("carol", "x"), &["unknown"]),
    ] {
        let got = place.send(Sent { login: Some(login), cookie: &cookie, ..NOTHING });
        assert_eq!(got.words(), words, "{name}: {got:?}");
        assert_eq!(got.user, login.0, "{name}");
    }
    assert_eq!(place.visit(&cookie), Some(GrantedSession), "whoever else logged in");
    let ended = place.send(Sent { login: Some(("alice", "")), cookie: &cookie, ..NOTHING });
    assert_eq!(ended.words(), ["forgotten"]);
    assert!(ended.set_cookie().unwrap().contains("; Max-Age=0"));
    assert_eq!(place.visit(&cookie), Some(DeniedSession));
    // It holds no more, so the credentials decide.
    let new = format!("4711{}", code(1));
    let got = place.send(Sent { login: Some(("alice", &new)), cookie: &cookie, ..NOTHING });
    assert_eq!(got.words(), ["denied-session", "granted-fresh"]);
    assert_ne!(got.cookie(), cookie);
}

#[test]
fn a_request_is_refused_once_in_the_log() {
    let place = place(&[COOKIE, ("auth_otp_max_failures", "2")]);
    let cookie = place.alice(0);
    for _ in 0..2 {
        assert_eq!(place.log_in("alice", "4711000000").word, Some(DeniedCode));
    }
    let got = place.send(Sent { cookie: &cookie, ..NOTHING });
    assert_eq!((got.word, got.words()), (Some(DeniedLocked), vec!["denied-locked"]));
    let login = Some(("alice", "4711000000"));
    let got = place.send(Sent { login, cookie: &cookie, ..NOTHING });
    assert_eq!((got.word, got.words()), (Some(DeniedLocked), vec!["denied-locked"]));
}

#[test]
fn an_edit_of_its_token_ends_a_session() {
    for (name, from, to, expected) in [
        ("another PIN", "alice 4711", "alice 4712", DeniedSession),
        ("another key", scene::KEY, "00112233445566778899aabbccddeeff00112233", DeniedSession),
        ("switched off", "HOTP alice", "OFF:HOTP alice", DeniedLocked),
        ("removed", "HOTP alice", "# HOTP alice", DeniedSession),
        ("renamed", "HOTP alice", "HOTP alicia", DeniedSession),
        ("somebody else's PIN", "bob 0815", "bob 0816", GrantedSession),
        ("one more", "HOTP bob", "HOTP alice 1 00\nHOTP bob", GrantedSession),
    ] {
        let place = place(&[COOKIE]);
        let cookie = place.alice(0);
        assert_eq!(place.visit(&cookie), Some(GrantedSession));
        place.edit(from, to);
        assert_eq!(place.visit(&cookie), Some(expected), "{name}");
    }
}

#[test]
fn another_secret_makes_all_cookies_worthless() {
    let place = place(&[COOKIE]);
    let cookie = place.alice(0);
    otpgate::users::secret::renew(&place.file.path).unwrap();
    let got = place.send(Sent { cookie: &cookie, ..NOTHING });
    // It was one of ours a moment ago, and that is said.
    assert_eq!((got.word, got.words()), (Some(DeniedSession), vec!["denied-session"]));
    let cookie = place.alice(1);
    assert_eq!(place.visit(&cookie), Some(GrantedSession));
}

#[test]
fn a_secret_that_cannot_be_used_refuses_everybody_and_spends_nothing() {
    let place = place(&[COOKIE]);
    let secret = place.file.directory.path().join("users.secret");
    fs::write(&secret, "none of ours").unwrap();
    fs::set_permissions(&secret, Permissions::from_mode(0o600)).unwrap();
    let password = format!("4711{}", code(0));
    let got = place.log_in("alice", &password);
    assert_eq!((got.verdict, got.headers.len()), (Some(Verdict::Error), 0));
    assert_eq!(got.lines.len(), 1, "{got:?}");
    assert!(got.lines[0].1.starts_with("error: cannot use "), "{got:?}");
    fs::remove_file(&secret).unwrap();
    assert_eq!(place.log_in("alice", &password).word, Some(GrantedFresh));
}

#[test]
fn whom_a_place_does_not_let_in_it_does_not_let_in_by_a_cookie() {
    let mut place = place(&[COOKIE]);
    let cookie = place.alice(0);
    place.directives.push(("auth_otp_require_user", "bob"));
    let got = place.send(Sent { cookie: &cookie, ..NOTHING });
    assert_eq!((got.word, got.words()), (Some(DeniedUser), vec!["denied-user"]));
}

#[test]
fn a_part_of_a_request_is_let_in_by_the_cookie_where_its_place_does() {
    let place = place(&[COOKIE]);
    let cookie = place.alice(0);
    let mut judged = RequestMemory::default();
    let whole = Sent { cookie: &cookie, ..NOTHING };
    assert_eq!(place.send_in(whole, &mut judged).words(), ["granted-session"]);
    let part = Sent { is_part: true, ..whole };
    let got = place.send_in(part, &mut judged);
    assert_eq!((got.verdict, got.lines.len()), (Some(Verdict::Granted), 0));
    let old = format!("4711{}", code(0));
    let got = place.send_in(Sent { login: Some(("alice", &old)), ..part }, &mut judged);
    assert_eq!(got.word, Some(GrantedSession));
    // Another realm has another cookie.
    let got = place.send_in(Sent { realm: "other", ..part }, &mut judged);
    assert_eq!(got.verdict, Some(Verdict::Denied));
    let got = place.send_in(Sent { cookie: "", ..part }, &mut judged);
    assert_eq!(got.verdict, Some(Verdict::Denied));
}
