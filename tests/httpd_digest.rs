//! Digest logins on Apache httpd: mod_auth_digest speaks the protocol, otpgate says which password
//! is right.

mod common;
#[path = "common/digest.rs"]
mod digest;
#[path = "common/digest_cases.rs"]
mod digest_cases;

use common::{Httpd, Mpm, Request, Scope, Server, Token};
use digest::{Answer, Challenge, login};

const PIN: &str = "sesame9";

/// A section with Digest and these settings.
fn scope(name: &str, settings: &str) -> Scope {
    Scope::bare(name).directives(&format!(
        "AuthType Digest\nAuthName \"{name}\"\nAuthDigestProvider OTP\nRequire valid-user\n\
         OTPAuthUsersFile \"{{users}}\"\n{settings}"
    ))
}

fn start(mpm: Mpm, scopes: Vec<Scope>) -> Server {
    Server::start(Httpd::new(mpm).module("auth_digest"), scopes)
}

digest_cases::on_each_server! {
    mpm_event: Httpd::event();
    mpm_prefork: Httpd::new(Mpm::Prefork);
}

#[test]
fn each_nonce_for_one_request_only() {
    let alice = Token::hotp("alice").pin(PIN);
    let httpd = Httpd::event().module("auth_digest").directives("AuthDigestShmemSize 65536");
    let settings = "OTPAuthMaxLinger 600\nAuthDigestNonceLifetime 0\nAuthDigestNcCheck On";
    let server = Server::start(httpd, vec![scope("one-time", settings).token(&alice)]);
    server.expect_log("already used - sending new nonce");
    for code in 0..2 {
        server.keep_secret(alice.password(code));
    }
    let place = server.at("one-time");
    let challenge = Challenge::of(&place);
    let answer = |challenge: &Challenge, code, nc| {
        Answer::new(challenge, place.path("page.txt"), "alice", alice.password(code)).nc(nc)
    };
    let first = place.send(answer(&challenge, 0, 1).request());
    first.is(200, "granted-fresh");
    let reply = place.send(answer(&challenge, 1, 1).request());
    reply.is_status(401);
    assert_eq!(place.users().counter("alice"), 1, "not spent on a used nonce");
    place.send(answer(&Challenge::in_answer(&reply), 1, 1).request()).is(200, "granted-fresh");
}

#[test]
fn a_forward_proxy_asks_for_proxy_authorization() {
    let alice = Token::hotp("alice").pin(PIN);
    let httpd = Httpd::event().module("auth_digest").module("proxy").module("proxy_http").directives(
        "ProxyRequests On\nListen 127.0.0.1:{other_port}\n\
         <VirtualHost 127.0.0.1:{other_port}>\nServerName localhost\n<Location />\nRequire all granted\n</Location>\n</VirtualHost>\n\
         <Proxy *>\nAuthType Digest\nAuthName proxy\nAuthDigestProvider OTP\nRequire valid-user\n\
         OTPAuthUsersFile \"{root}/users/area/users\"\nOTPAuthMaxLinger 0\n</Proxy>",
    );
    let server = Server::start(
        httpd,
        vec![
            scope("area", "").token(&alice),
            Scope::bare("open").directives("Require all granted"),
        ],
    );
    let target = format!("http://127.0.0.1:{}/open/page.txt", server.other_port());
    server.keep_secret(alice.password(0));
    let refused = server.send(&Request::get(&target));
    refused.is_status(407);
    let answer = Answer::new(&Challenge::in_answer(&refused), &target, "alice", alice.password(0));
    let request = Request::get(&target).header("Proxy-Authorization", answer.header());
    server.send(&request).is(200, "granted-fresh");
    server.send(&request).is_status(407);
    assert_eq!(server.all_decisions("alice"), ["granted-fresh", "denied-expired"]);
}

#[test]
fn a_request_is_judged_once() {
    let alice = Token::hotp("alice").pin(PIN);
    let server = start(
        Mpm::Event,
        vec![
            scope(
                "area",
                "OTPAuthMaxLinger 0\nDirectoryIndex page.txt\n\
                 <Files page.txt>\nOTPAuthMaxOffset 9\n</Files>",
            )
            .token(&alice),
        ],
    );
    let place = server.at("area");
    server.keep_secret(alice.password(0));
    let challenge = Challenge::of(&place);
    let answer = Answer::new(&challenge, place.path(""), "alice", alice.password(0));
    place.send(answer.request()).is_status(200);
    assert_eq!(server.decisions("granted-fresh", "alice"), 1);
    assert_eq!(server.all_decisions("alice").len(), 1);
}

#[test]
fn basic_credentials_in_place_of_digest_are_refused_and_said() {
    let alice = Token::hotp("alice").pin(PIN);
    let mixed = Scope::bare("mixed")
        .directives(
            "AuthType Basic\nAuthName mixed\nAuthBasicProvider OTP\nAuthBasicUseDigestAlgorithm MD5\n\
             Require valid-user\nOTPAuthUsersFile \"{users}\"",
        )
        .token(&alice);
    let server = start(Mpm::Event, vec![mixed]);
    server.at("mixed").login("alice", alice.password(0)).is_status(401);
    server.expect_log("AuthBasicUseDigestAlgorithm cannot work with one-time passwords");
    assert_eq!(server.at("mixed").users().counter("alice"), 0);
}

#[test]
fn a_pin_that_digest_cannot_check_does_not_fall_through() {
    let external = Token::hotp("external").external_pin("outside7");
    let server = start(Mpm::Event, vec![scope("area", "OTPAuthFallThrough On").token(&external)]);
    login(&server.at("area"), "external", external.password(0)).is(401, "denied-pin");
    server.expect_log("Digest can't check a hashed or external PIN");
}

#[test]
fn an_alias_and_a_users_file_of_its_own() {
    let alice = Token::hotp("alice").pin(PIN);
    let httpd = Httpd::event().module("auth_digest").directives(
        "<AuthnProviderAlias OTP staff>\nOTPAuthUsersFile \"{root}/users/area/users\"\nOTPAuthMaxLinger 0\n</AuthnProviderAlias>",
    );
    let area = Scope::bare("area")
        .directives("AuthType Digest\nAuthName area\nAuthDigestProvider staff\nRequire valid-user")
        .token(&alice);
    let server = Server::start(httpd, vec![area]);
    let place = server.at("area");
    login(&place, "alice", alice.password(0)).is(200, "granted-fresh");
    login(&place, "alice", alice.password(0)).is(401, "denied-expired");
}

#[test]
fn lockout_without_a_time_ends_by_itself_in_a_digest_section() {
    use otpgate::policy::{Leaked, Server as Names, Settings};
    let unset = Settings::default();
    assert_eq!(unset.digest_policy(Names::Apache).of_digest_failures().lockout_time, 900);
    assert_eq!(
        unset.digest_policy(Names::Apache).lockout_time,
        0,
        "a token is locked as with Basic"
    );
    let mut set = Settings::default();
    set.set(Names::Apache, &Leaked, b"OTPAuthLockoutTime", &[b"0"], b"here").expect("a good value");
    assert_eq!(
        set.digest_policy(Names::Apache).of_digest_failures().lockout_time,
        0,
        "said is said"
    );
}
