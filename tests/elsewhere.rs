//! One request that the server sends on from a lax place into one with other settings: it is let in there only if it
//! would be when it asks there itself, and nothing is spent or counted twice. The same on both servers.

mod common;
#[path = "common/digest.rs"]
mod digest;

use common::server::PAGE_TEXT;
use common::{Httpd, Nginx, Place, Reply, Request, Scope, Server, Setting, Token};
use digest::{Answer, Challenge};

const PIN: &str = "sesame9";
const INNER: &str = "what only the inner place shows";
const HOME: &str = "192.0.2.7";
const CAFE: &str = "198.51.100.23";

/// The inner place's own setting, and what comes of it.
struct Rule {
    name: &'static str,
    inner: (Setting, &'static str),
    /// How often the code that is sent was used before: 1 is a lingering one.
    used: usize,
    wrong_codes: usize,
    /// The client isn't where it was.
    moved: bool,
    /// The lax place puts the PIN alone into the header.
    fakes: bool,
    /// Why it is refused when it asks the inner place itself.
    refusal: Option<&'static str>,
}

const RULE: Rule = Rule {
    name: "same",
    inner: (Setting::MaxOffset, "9"),
    used: 0,
    wrong_codes: 0,
    moved: false,
    fakes: false,
    refusal: None,
};

fn rules() -> Vec<Rule> {
    let window =
        Rule { name: "window", inner: (Setting::MaxOffset, "1"), refusal: Some("denied-code"), ..RULE };
    vec![
        Rule { name: "faked", fakes: true, refusal: Some("denied-code"), ..window },
        window,
        RULE,
        Rule { name: "fakedsame", fakes: true, ..RULE },
        // A fresh code is good for one request, whatever it is shown of.
        Rule { name: "once", inner: (Setting::MaxLinger, "0"), ..RULE },
        Rule {
            name: "again",
            inner: (Setting::MaxLinger, "0"),
            used: 1,
            refusal: Some("denied-expired"),
            ..RULE
        },
        Rule { name: "wideagain", used: 1, ..RULE },
        Rule {
            name: "moved",
            inner: (Setting::LogoutOnIpChange, "On"),
            used: 1,
            moved: true,
            refusal: Some("denied-ip"),
            ..RULE
        },
        Rule {
            name: "locked",
            inner: (Setting::MaxFailures, "2"),
            wrong_codes: 2,
            refusal: Some("denied-locked"),
            ..RULE
        },
    ]
}

/// A way in which a server goes from one place to another: what the lax place is told, and what is asked for.
type Way = (&'static str, fn(&str) -> String, &'static str);

const HTTPD_WAYS: [Way; 4] = [
    ("index", |_| "DirectoryIndex inner.txt".to_owned(), ""),
    ("error", |name| format!("ErrorDocument 404 /{name}/inner.txt"), "missing"),
    (
        "rewritten",
        |_| "Options +FollowSymLinks\nRewriteEngine On\nRewriteRule ^nice$ inner.txt".to_owned(),
        "nice",
    ),
    (
        "part",
        |_| "Options +Includes\n<Files \"*.shtml\">\nSetOutputFilter INCLUDES\n</Files>".to_owned(),
        "whole.shtml",
    ),
];

const NGINX_WAYS: [Way; 4] = [
    ("index", |_| "index inner.txt;".to_owned(), ""),
    ("error", |name| format!("error_page 404 =200 /{name}/inner.txt;"), "missing"),
    ("tried", |name| format!("try_files $uri /{name}/inner.txt;"), "any"),
    ("part", |_| "ssi on;\nssi_types text/plain;".to_owned(), "whole.shtml"),
];

#[derive(Clone, Copy)]
enum Kind {
    Httpd,
    Nginx,
}

impl Kind {
    fn ways(self) -> [Way; 4] {
        match self {
            Kind::Httpd => HTTPD_WAYS,
            Kind::Nginx => NGINX_WAYS,
        }
    }

    fn inner(self, name: &str, (setting, value): (Setting, &str)) -> String {
        match self {
            Kind::Httpd => {
                let directive = common::httpd::directive(setting);
                format!("<Files \"inner.txt\">\n{directive} {value}\n</Files>")
            }
            Kind::Nginx => {
                let directive = common::nginx::directive(setting);
                format!("location = /{name}/inner.txt {{\n{directive} {value};\n}}")
            }
        }
    }

    fn start(self, scopes: Vec<Scope>) -> Server {
        match self {
            Kind::Httpd => Server::start(Httpd::event().module("include").module("rewrite"), scopes),
            Kind::Nginx => Server::start(Nginx::one(), scopes),
        }
    }
}

fn ask(place: &Place<'_>, is_digest: bool, file: &str, user: &str, password: &str, moved: bool) -> Reply {
    let request = if is_digest {
        place.server().keep_secret(password);
        Answer::new(&Challenge::of(place), place.path(file), user, password).request()
    } else {
        place.request_for(file, user, password)
    };
    place.send(request.header("X-Forwarded-For", if moved { CAFE } else { HOME }))
}

fn every_rule_on_every_way(kind: Kind, is_digest: bool) {
    let rules = rules();
    let ways = kind.ways();
    let cases: Vec<(&Rule, Way)> =
        rules.iter().flat_map(|rule| ways.into_iter().map(move |way| (rule, way))).collect();
    let token = |name: &str| Token::hotp(name).pin(PIN);
    let scopes = cases.iter().map(|(rule, (way, directives, _))| {
        let name = format!("{}-{way}", rule.name);
        let scope = Scope::new(&name)
            .token(&token(&name))
            .set(Setting::MaxOffset, 4)
            .set(Setting::MaxLinger, 600)
            .set(Setting::MaxFailures, "None")
            .set(Setting::LogoutOnIpChange, "Off")
            .set(Setting::PinFakeBasic, if rule.fakes { "On" } else { "Off" })
            .directives(&directives(&name))
            .directives(&kind.inner(&name, rule.inner));
        if is_digest { scope.digest() } else { scope }
    });
    let server = kind.start(scopes.collect());
    for words in
        ["No such file or directory", "unable to include", "sub-request for \"", "client denied", "AH0"]
    {
        server.tolerate_log(words);
    }
    for (rule, (way, _, file)) in cases {
        let name = format!("{}-{way}", rule.name);
        server.root().write(format!("htdocs/{name}/inner.txt"), INNER);
        let include = format!("whole <!--#include virtual=\"/{name}/inner.txt\" -->");
        server.root().write(format!("htdocs/{name}/whole.shtml"), include);
        let (place, token) = (server.at(&name), token(&name));
        let ask = |file: &str, password: &str, moved| ask(&place, is_digest, file, &name, password, moved);
        let code = 3;
        for _ in 0..rule.used {
            ask("page.txt", &token.password(code), false).is_status(200);
        }
        for wrong in token.wrong_codes(rule.wrong_codes) {
            ask("page.txt", &token.with(&wrong), false).is_status(401);
        }
        if let Some(refusal) = rule.refusal {
            ask("inner.txt", &token.password(code), rule.moved).is(401, refusal);
        }

        let before = server.all_decisions(&name).len();
        let reply = ask(file, &token.password(code), rule.moved);
        let decisions = server.all_decisions(&name).split_off(before);
        let granted = if rule.used == 0 { "granted-fresh" } else { "granted-reuse" };
        assert_eq!(reply.0.text().contains(INNER), rule.refusal.is_none(), "{name}: {reply:?}");
        let expected: Vec<&str> = [granted].into_iter().chain(rule.refusal).collect();
        assert_eq!(decisions, expected, "{name}: {reply:?}");
        assert_eq!(place.users().failures(&name), 0, "{name}: counted twice");
        assert_eq!(place.users().counter(&name), code as i64 + 1, "{name}");
        // The lax place itself is as it was.
        let reply = ask("page.txt", &token.password(code), false);
        reply.is(200, "granted-reuse");
        assert_eq!(reply.0.text(), PAGE_TEXT);
    }
}

#[test]
fn a_grant_goes_no_further_than_the_rules_of_each_place_on_httpd() {
    every_rule_on_every_way(Kind::Httpd, false);
}

#[test]
fn a_grant_goes_no_further_than_the_rules_of_each_place_on_nginx() {
    every_rule_on_every_way(Kind::Nginx, false);
}

#[test]
fn a_digest_grant_goes_no_further_than_the_rules_of_each_place_on_httpd() {
    every_rule_on_every_way(Kind::Httpd, true);
}

#[test]
fn a_digest_grant_goes_no_further_than_the_rules_of_each_place_on_nginx() {
    every_rule_on_every_way(Kind::Nginx, true);
}

/// A strict place may send on to a lax one.
#[test]
fn from_a_strict_place_into_a_lax_one_the_code_is_spent_once() {
    for kind in [Kind::Httpd, Kind::Nginx] {
        for (way, directives, file) in kind.ways() {
            let alice = Token::hotp("alice").pin(PIN);
            let scope = Scope::new(way)
                .token(&alice)
                .set(Setting::MaxLinger, 0)
                .set(Setting::MaxOffset, 0)
                .directives(&directives(way))
                .directives(&kind.inner(way, (Setting::MaxLinger, "600")));
            let server = kind.start(vec![scope]);
            server.tolerate_log("No such file or directory");
            server.root().write(format!("htdocs/{way}/inner.txt"), INNER);
            let include = format!("<!--#include virtual=\"/{way}/inner.txt\" -->");
            server.root().write(format!("htdocs/{way}/whole.shtml"), include);
            let place = server.at(way);
            let reply = place.send(place.request_for(file, "alice", alice.password(0)));
            assert!(reply.0.text().contains(INNER), "{way}: {reply:?}");
            assert_eq!(server.all_decisions("alice"), ["granted-fresh"], "{way}");
            assert_eq!(place.users().counter("alice"), 1);
        }
    }
}

/// While a thread decides about a part of a page, the loop serves others; and no part is judged afresh.
#[test]
fn a_part_that_has_to_wait_for_a_thread_is_shown_in_the_end() {
    let dave = Token::hotp("dave").external_pin(PIN);
    let included =
        "whole <!--#include virtual=\"/area/inner.txt\" --> <!--#include virtual=\"/area/inner.txt\" -->";
    let nginx = Nginx::one().file("htdocs/area/whole", included).file("htdocs/area/inner.txt", INNER);
    // The inner place has another PIN file, which a thread has to read.
    let area = Scope::new("area").token(&dave).pin_file("dave", PIN).directives(
        "ssi on;\nssi_types text/plain;\n\
         location = /area/inner.txt {\nauth_otp_pin_file \"{root}/pins/other\";\nauth_otp_pin_cache 0;\n}",
    );
    let other = Scope::new("other").text("x").pin_file("dave", PIN);
    let server = Server::start(nginx, vec![area, other]);
    let place = server.at("area");
    let reply = place.send(place.request_for("whole", "dave", dave.password(0)));
    assert_eq!(reply.0.text(), format!("whole {INNER} {INNER}"));
    assert_eq!(server.all_decisions("dave"), ["granted-fresh"]);
    server.at("other").replace_pin_file(&common::scope::htpasswd_line("dave", "opendoor"));
    server.expect_log("sub-request for \"/area/inner.txt\" refused");
    let reply = place.send(place.request_for("whole", "dave", dave.password(0)));
    assert!(!reply.0.text().contains(INNER) && reply.0.text().contains("403"), "{reply:?}");
    assert_eq!(server.all_decisions("dave")[1..], ["granted-reuse", "denied-pin", "denied-pin"]);
    assert_eq!(place.users().failures("dave"), 0);
}

/// The rules of a mirrored sub-request are its own, though nobody sees its answer.
#[test]
fn a_mirrored_request_is_let_in_by_the_rules_of_its_place() {
    let alice = Token::hotp("alice").pin(PIN);
    let backend = common::backend::Backend::start();
    let inner = |offset: u32| {
        format!(
            "mirror /area/mirrored;\nlocation = /area/mirrored {{\nauth_otp_max_offset {offset};\n\
             proxy_pass http://127.0.0.1:{};\n}}",
            backend.port()
        )
    };
    for (offset, seen) in [(3, 1), (2, 0)] {
        let area = Scope::new("area").token(&alice).directives(&inner(offset));
        let server = Server::start(Nginx::one(), vec![area]);
        server.tolerate_log("sub-request for \"/area/mirrored\" refused");
        let place = server.at("area");
        place.login("alice", alice.password(3)).is(200, "granted-fresh");
        let mut arrived = Vec::new();
        common::wait_until("the mirrored request is decided", || {
            arrived.extend(backend.take_seen());
            arrived.len() == seen && server.all_decisions("alice").len() == 2 - seen
        });
        let expected: &[&str] =
            if seen == 0 { &["granted-fresh", "denied-code"] } else { &["granted-fresh"] };
        assert_eq!(server.all_decisions("alice"), expected);
    }
}

/// httpd's providers say nothing of their settings: the same name may read another file in the next section.
#[test]
fn a_pin_that_one_directory_s_provider_knows_is_none_in_another() {
    let dave = Token::hotp("dave").external_pin(PIN);
    let scope = Scope::new("area").token(&dave).directives(
        "OTPAuthPINAuthProvider file\nAuthUserFile one.txt\nDirectoryIndex inner.txt\nOTPAuthPINCache 600\n\
         <Files \"inner.txt\">\nAuthUserFile two.txt\n</Files>",
    );
    let httpd = Httpd::event()
        .in_one_process()
        .file("one.txt", common::scope::htpasswd_line("dave", PIN))
        .file("two.txt", common::scope::htpasswd_line("dave", "opendoor"));
    let server = Server::start(httpd, vec![scope]);
    let place = server.at("area");
    server.root().write("htdocs/area/inner.txt", INNER);
    let index = || place.send(place.request_for("", "dave", dave.password(0)));
    let inner = || place.send(place.request_for("inner.txt", "dave", dave.password(0)));
    place.login("dave", dave.password(0)).is(200, "granted-fresh");
    for _ in 0..2 {
        inner().is(401, "denied-pin");
        let reply = index();
        assert!(!reply.0.text().contains(INNER), "{reply:?}");
        place.login("dave", dave.password(0)).is(200, "granted-reuse");
    }
    server.root().write("two.txt", common::scope::htpasswd_line("dave", PIN));
    assert_eq!(index().0.text(), INNER);
    assert_eq!(inner().0.text(), INNER);
    server.root().write("one.txt", common::scope::htpasswd_line("dave", "opendoor"));
    place.login("dave", dave.password(0)).is(401, "denied-pin");
    place.send(Request::get(place.path("page.txt"))).is_status(401);
}
