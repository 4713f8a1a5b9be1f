//! One request that the server sends on from a lax place into one with other settings: each rule
//! that may refuse it there, on each way on which it gets there, for both schemes on both servers.

mod common;
#[path = "common/digest.rs"]
mod digest;
#[path = "common/trials.rs"]
mod trials;
#[path = "common/ways.rs"]
mod ways;

use std::process::ExitCode;

use common::server::PAGE_TEXT;
use common::{Place, Reply, Scope, Server, Setting, Token};
use digest::{Answer, Challenge};
use trials::{Run, Situation};
use ways::{INNER, Kind, Way};

const PIN: &str = "sesame9";
const HOME: &str = "192.0.2.7";
const CAFE: &str = "198.51.100.23";

/// The inner place's own setting, and what comes of it.
#[derive(Clone, Copy)]
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
    let window = Rule {
        name: "window",
        inner: (Setting::MaxOffset, "1"),
        refusal: Some("denied-code"),
        ..RULE
    };
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
            name: "outsider",
            inner: (Setting::RequireUser, "somebody"),
            refusal: Some("denied-user"),
            ..RULE
        },
        Rule {
            name: "outsideragain",
            inner: (Setting::RequireUser, "somebody"),
            used: 1,
            refusal: Some("denied-user"),
            ..RULE
        },
        Rule {
            name: "fakedoutsider",
            inner: (Setting::RequireUser, "somebody"),
            fakes: true,
            refusal: Some("denied-user"),
            ..RULE
        },
        Rule { name: "nobodynamed", inner: (Setting::RequireUser, "Off"), ..RULE },
        Rule {
            name: "locked",
            inner: (Setting::MaxFailures, "2"),
            wrong_codes: 2,
            refusal: Some("denied-locked"),
            ..RULE
        },
    ]
}

fn ask(
    place: &Place<'_>,
    is_digest: bool,
    file: &str,
    user: &str,
    password: &str,
    moved: bool,
) -> Reply {
    let request = if is_digest {
        place.server().keep_secret(password);
        Answer::new(&Challenge::of(place), place.path(file), user, password).request()
    } else {
        place.request_for(file, user, password)
    };
    place.send(request.header("X-Forwarded-For", if moved { CAFE } else { HOME }))
}

fn situation(kind: Kind, is_digest: bool, rule: Rule, (way, directives, file): Way) -> Situation {
    let name = format!("{}-{way}", rule.name);
    let token = Token::hotp(&name).pin(PIN);
    let scope = Scope::new(&name)
        .token(&token)
        .set(Setting::MaxOffset, 4)
        .set(Setting::MaxLinger, 600)
        .set(Setting::MaxFailures, "None")
        .set(Setting::LogoutOnIpChange, "Off")
        .set(Setting::PinFakeBasic, if rule.fakes { "On" } else { "Off" })
        .directives(&directives(&name))
        .directives(&kind.inner(&name, rule.inner));
    let scope = if is_digest { scope.digest() } else { scope };
    Situation {
        scope,
        run: Box::new(move |place| goes_no_further(place, is_digest, &rule, file, &name, &token)),
    }
}

fn goes_no_further(
    place: &Place<'_>,
    is_digest: bool,
    rule: &Rule,
    file: &str,
    name: &str,
    token: &Token,
) {
    let server = place.server();
    server.root().write(format!("htdocs/{name}/inner.txt"), INNER);
    let include = format!("whole <!--#include virtual=\"/{name}/inner.txt\" -->");
    server.root().write(format!("htdocs/{name}/whole.shtml"), include);
    let ask =
        |file: &str, password: &str, moved| ask(place, is_digest, file, name, password, moved);
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

    let before = server.all_decisions(name).len();
    let reply = ask(file, &token.password(code), rule.moved);
    let decisions = server.all_decisions(name).split_off(before);
    let granted = if rule.used == 0 { "granted-fresh" } else { "granted-reuse" };
    assert_eq!(reply.0.text().contains(INNER), rule.refusal.is_none(), "{name}: {reply:?}");
    let expected: Vec<&str> = [granted].into_iter().chain(rule.refusal).collect();
    assert_eq!(decisions, expected, "{name}: {reply:?}");
    assert_eq!(place.users().failures(name), 0, "{name}: counted twice");
    assert_eq!(place.users().counter(name), code as i64 + 1, "{name}");
    // The lax place itself is as it was.
    let reply = ask("page.txt", &token.password(code), false);
    reply.is(200, "granted-reuse");
    assert_eq!(reply.0.text(), PAGE_TEXT);
}

fn run(prefix: &'static str, kind: Kind, is_digest: bool, start: fn(Vec<Scope>) -> Server) -> Run {
    let of_rule = |rule: Rule| kind.ways().map(|way| situation(kind, is_digest, rule, way));
    Run { prefix, situations: rules().into_iter().flat_map(of_rule).collect(), start }
}

fn start(kind: Kind, scopes: Vec<Scope>) -> Server {
    let server = kind.start(scopes);
    for words in [
        "No such file or directory",
        "unable to include",
        "sub-request for \"",
        "client denied",
        "AH0",
    ] {
        server.tolerate_log(words);
    }
    server
}

fn main() -> ExitCode {
    let httpd = |scopes| start(Kind::Httpd, scopes);
    let nginx = |scopes| start(Kind::Nginx, scopes);
    trials::run(vec![
        run("httpd_basic::", Kind::Httpd, false, httpd),
        run("httpd_digest::", Kind::Httpd, true, httpd),
        run("nginx_basic::", Kind::Nginx, false, nginx),
        run("nginx_digest::", Kind::Nginx, true, nginx),
    ])
}
