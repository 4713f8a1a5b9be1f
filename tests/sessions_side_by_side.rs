//! Several logins on one host, and caches in front of them, on both servers.

mod common;

use common::server::PAGE_TEXT;
use common::visitor::{Screen, Visitor};
use common::{Httpd, Nginx, Request, Scope, Server, Token};

const PIN: &str = "sesame9";
/// What an application says that wants all the world to keep its pages.
const PUBLIC: &str = "public, max-age=600";

#[derive(Clone, Copy, Debug)]
enum Kind {
    Httpd,
    Nginx,
}

macro_rules! on_both {
    ($($name:ident)*) => {
        mod on_httpd { $(#[test] fn $name() { super::$name(super::Kind::Httpd); })* }
        mod on_nginx { $(#[test] fn $name() { super::$name(super::Kind::Nginx); })* }
    };
}

on_both! {
    two_logins_on_one_host_are_independent
    a_cache_in_front_keeps_nothing_of_anybodys
}

fn alice() -> Token {
    Token::hotp("alice").pin(PIN)
}

/// A place and the page to log in to it, with a realm and the users file of a place.
struct Login {
    area: &'static str,
    page: &'static str,
    realm: &'static str,
    file: &'static str,
}

impl Login {
    fn wanted(&self) -> String {
        format!("/{}/page.txt", self.area)
    }

    fn page(&self) -> String {
        format!("/{}/login", self.page)
    }

    fn scopes(&self, kind: Kind) -> [Scope; 2] {
        let Login { area, page, realm, file } = self;
        let area = Scope::bare(*area).token(&alice());
        let page_of_urls = Scope::bare(*page).of_urls();
        match kind {
            Kind::Httpd => {
                let common = format!(
                    "AuthType OTP\nAuthName \"{realm}\"\nOTPAuthUsersFile \"{{root}}/users/{file}/users\"\n\
                     OTPAuthLoginPage {}\nOTPAuthLingerCookie Insecure\n",
                    self.page()
                );
                [
                    area.directives(&format!(
                        "{common}Require valid-user\nHeader set Cache-Control \"{PUBLIC}\""
                    )),
                    page_of_urls
                        .directives(&format!("{common}SetHandler otp-login\nRequire all granted")),
                ]
            }
            Kind::Nginx => {
                let common = format!(
                    "auth_otp \"{realm}\";\nauth_otp_users_file \"{{root}}/users/{file}/users\";\n\
                     auth_otp_login_page {};\nauth_otp_linger_cookie insecure;\nauth_otp_scheme form;\n",
                    self.page()
                );
                [
                    area.directives(&format!("{common}add_header Cache-Control \"{PUBLIC}\";")),
                    page_of_urls.directives(&format!("{common}auth_otp_login;")),
                ]
            }
        }
    }
}

fn server_of(kind: Kind, logins: &[Login]) -> Server {
    let mut scopes: Vec<Scope> = logins.iter().flat_map(|login| login.scopes(kind)).collect();
    match kind {
        Kind::Httpd => {
            scopes.push(Scope::bare("open").directives(&format!(
                "Require all granted\nHeader set Cache-Control \"{PUBLIC}\""
            )));
            Server::start(Httpd::event(), scopes)
        }
        Kind::Nginx => {
            scopes.push(
                Scope::bare("open").directives(&format!("add_header Cache-Control \"{PUBLIC}\";")),
            );
            Server::start(Nginx::four(), scopes)
        }
    }
}

/// Whether the page is there.
#[track_caller]
fn is_in(visitor: &mut Visitor<'_>, login: &Login) -> bool {
    let screen = visitor.get(&login.wanted());
    match screen.answer.status {
        200 => assert!(screen.text().contains(PAGE_TEXT), "{screen:?}"),
        _ => {
            assert_eq!(screen.answer.status, 303, "{screen:?}");
            assert!(screen.way().expect("a way").starts_with(&login.page()));
        }
    }
    screen.answer.status == 200
}

fn log_in(visitor: &mut Visitor<'_>, login: &Login, number: u64) -> Screen {
    let page = visitor.open(&login.wanted());
    let code = alice().code(number);
    let done = visitor.submit(&page, &[("user", "alice"), ("pin", PIN), ("code", &code)]);
    assert_eq!(done.way(), Some(login.wanted()), "{}", done.text());
    done
}

fn two_logins_on_one_host_are_independent(kind: Kind) {
    let (one, two) = ("one", "two");
    for (realms, files, second_code) in [
        // Two realms of one file; two files of one realm; both.
        ([one, two], [one, one], 1),
        (["area", "area"], [one, two], 0),
        ([one, two], [one, two], 0),
    ] {
        let logins = [0, 1].map(|i| Login {
            area: [one, two][i],
            page: ["otp-one", "otp-two"][i],
            realm: realms[i],
            file: files[i],
        });
        let server = server_of(kind, &logins);
        let [one, two] = &logins;
        let mut visitor = Visitor::of(&server);
        log_in(&mut visitor, one, 0);
        assert!(is_in(&mut visitor, one) && !is_in(&mut visitor, two), "{realms:?} {files:?}");
        let first = visitor.session().cloned().expect("a cookie");
        log_in(&mut visitor, two, second_code);
        assert!(is_in(&mut visitor, one) && is_in(&mut visitor, two), "{realms:?} {files:?}");
        let sessions: Vec<(String, String)> =
            visitor.cookies.iter().filter(|(name, _)| !name.ends_with("-visit")).cloned().collect();
        let [_, second] = &sessions[..] else { panic!("{sessions:?}") };
        assert_ne!(first.0, second.0, "each has a name of its own");

        // Neither is worth anything under the other's name.
        let mut thief = Visitor::of(&server);
        thief.cookies =
            vec![(first.0.clone(), second.1.clone()), (second.0.clone(), first.1.clone())];
        assert!(!is_in(&mut thief, one) && !is_in(&mut thief, two), "{realms:?} {files:?}");

        // The first ends, with its page's button; the second doesn't notice.
        let page = visitor.get(&one.page());
        assert!(page.text().contains("alice"));
        let out = visitor.submit(&page, &[]);
        assert_eq!(out.answer.status, 303, "{out:?}");
        assert!(!is_in(&mut visitor, one) && is_in(&mut visitor, two), "{realms:?} {files:?}");
        assert!(visitor.get(&two.page()).text().contains("alice"));
        visitor.cookies = vec![first];
        assert!(!is_in(&mut visitor, one), "its cookie is worth nothing any more");
    }
}

/// A cache that keeps whatever it is allowed to keep.
fn cache_of(kind: Kind, behind: u16) -> Server {
    match kind {
        Kind::Nginx => Server::start(
            Nginx::one()
                .without_locations()
                .directives("proxy_cache_path \"{root}/temporary/cache\" keys_zone=all:1m;")
                .server_directives(&format!(
                    "location / {{\nproxy_pass http://127.0.0.1:{behind};\n\
                     proxy_set_header Host $host;\nproxy_cache all;\nproxy_cache_valid any 10m;\n\
                     add_header X-Cache $upstream_cache_status always;\n}}"
                )),
            vec![],
        ),
        Kind::Httpd => Server::start(
            Httpd::event()
                .module("proxy")
                .module("proxy_http")
                .module("cache")
                .module("cache_disk")
                .directives(&format!(
                    "ProxyPass \"/\" \"http://127.0.0.1:{behind}/\"\nProxyPreserveHost On\n\
                     CacheEnable disk \"/\"\nCacheRoot \"{{root}}/users/cache\"\nCacheHeader On\n\
                     CacheIgnoreNoLastMod On\nCacheDefaultExpire 600\nCacheLock Off"
                )),
            // Its directory.
            vec![Scope::bare("cache")],
        ),
    }
}

/// Whether an answer is one that somebody else was given before.
fn is_kept(screen: &Screen) -> bool {
    screen.answer.header("X-Cache").is_some_and(|value| value.starts_with("HIT"))
}

fn a_cache_in_front_keeps_nothing_of_anybodys(kind: Kind) {
    let login = Login { area: "area", page: "otp", realm: "area", file: "area" };
    for cache in [Kind::Nginx, Kind::Httpd] {
        let behind = server_of(kind, &[Login { ..login }]);
        let server = cache_of(cache, behind.port());
        server.tolerate_log("start cache ");
        // It is at work.
        let mut stranger = Visitor::of(&server).at("198.51.100.9");
        let open = [(); 3].map(|()| stranger.get("/open/page.txt"));
        assert!(is_kept(&open[2]), "{cache:?}: {open:?}");

        let mut visitor = Visitor::of(&server);
        let mut seen = vec![visitor.get(&login.wanted()), visitor.get(&login.page())];
        seen.push(log_in(&mut visitor, &login, 0));
        for _ in 0..3 {
            let screen = visitor.get(&login.wanted());
            assert_eq!(screen.answer.status, 200, "{screen:?}");
            assert!(screen.text().contains(PAGE_TEXT));
            seen.push(screen);
            seen.push(visitor.get(&login.page()));
            // Another one, who has nothing or something of their own.
            let other = stranger.get(&login.wanted());
            assert_eq!(other.answer.status, 303, "{cache:?}: {other:?}");
            seen.push(other);
            let page = stranger.get(&login.page());
            assert!(!page.text().contains("alice") && page.text().contains("name=\"pin\""));
            seen.push(page);
        }
        let out = visitor.get(&login.page());
        seen.push(visitor.submit(&out, &[]));
        for screen in &seen {
            assert!(!is_kept(screen), "{cache:?}: {screen:?}");
        }
        assert_eq!(visitor.get(&login.wanted()).answer.status, 303);
        assert!(visitor.cookies.iter().all(|cookie| !stranger.cookies.contains(cookie)));
    }
}

/// mod_cache answers before anybody is asked for a login.
#[test]
fn httpd_s_own_cache_keeps_nothing_of_anybodys() {
    let login = Login { area: "area", page: "otp", realm: "area", file: "area" };
    let mut scopes = login.scopes(Kind::Httpd).to_vec();
    scopes.push(
        Scope::bare("open")
            .directives(&format!("Require all granted\nHeader set Cache-Control \"{PUBLIC}\"")),
    );
    let httpd = Httpd::event().module("cache").module("cache_disk").directives(
        "CacheEnable disk \"/\"\nCacheRoot \"{root}/users/open\"\nCacheHeader On\nCacheQuickHandler On\n\
         CacheIgnoreNoLastMod On\nCacheDefaultExpire 600\nCacheLock Off",
    );
    let server = Server::start(httpd, scopes);
    let mut stranger = Visitor::of(&server).at("198.51.100.9");
    let open = [(); 3].map(|()| stranger.get("/open/page.txt"));
    assert!(is_kept(&open[2]), "{open:?}");
    let mut visitor = Visitor::of(&server);
    log_in(&mut visitor, &login, 0);
    for _ in 0..3 {
        assert!(is_in(&mut visitor, &login) && !is_in(&mut stranger, &login));
        assert!(!is_kept(&visitor.get(&login.page())));
    }
}

/// What a cache is told is told once, and beside what the application says.
#[test]
fn a_page_shown_to_a_cookie_is_for_that_browser_alone() {
    for kind in [Kind::Httpd, Kind::Nginx] {
        let login = Login { area: "area", page: "otp", realm: "area", file: "area" };
        let server = server_of(kind, &[Login { ..login }]);
        let mut visitor = Visitor::of(&server);
        log_in(&mut visitor, &login, 0);
        let mut said = visitor.get(&login.wanted()).answer.headers_of("Cache-Control").join(", ");
        assert!(said.contains("private") && said.contains("public"), "{kind:?}: {said}");
        assert_eq!(said.matches("private").count(), 1, "{kind:?}: {said}");
        let open = visitor.send("/open/page.txt", Request::get("/open/page.txt"));
        said = open.answer.headers_of("Cache-Control").join(", ");
        assert_eq!(said, PUBLIC, "{kind:?}: no login, nothing to hide");
    }
}
