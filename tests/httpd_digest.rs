//! Digest logins on Apache httpd: mod_auth_digest speaks the protocol, otpgate says which password is right.

mod common;
#[path = "common/digest.rs"]
mod digest;

use std::process::Command;
use std::sync::Barrier;

use common::{Connection, Httpd, Mpm, Place, Request, Scope, Server, Token, from_environment, require};
use digest::{Answer, Challenge, login};

const PIN: &str = "sesame9";
const CLIENTS: usize = 32;

/// A section with Digest and these settings.
fn scope(name: &str, settings: &str) -> Scope {
    Scope::bare(name).directives(&format!(
        "AuthType Digest\nAuthName \"{name}\"\nAuthDigestProvider OTP\nRequire valid-user\n\
         OTPAuthUsersFile \"{{users}}\"\n{settings}"
    ))
}

fn start(mpm: Mpm, scopes: Vec<Scope>) -> Server {
    let server = Server::start(Httpd::new(mpm).module("auth_digest"), scopes);
    // mod_auth_digest repeats each refusal: denied by provider, user unknown to it.
    server.tolerate_log("AH01791:");
    server.tolerate_log("AH01790:");
    server
}

fn replies_at_once(port: u16, requests: &[Request]) -> Vec<u16> {
    let barrier = Barrier::new(requests.len());
    std::thread::scope(|threads| {
        let clients: Vec<_> = requests
            .iter()
            .map(|request| {
                let barrier = &barrier;
                threads.spawn(move || {
                    let connection = Connection::open(port);
                    barrier.wait();
                    connection.expect("a connection").send(request, false).expect("an answer").status
                })
            })
            .collect();
        clients.into_iter().map(|client| client.join().expect("a client that doesn't panic")).collect()
    })
}

fn what_is_accepted(mpm: Mpm) {
    let alice = Token::hotp("alice").pin(PIN);
    let bob = Token::totp("bob");
    let carol = Token::motp("carol").pin("1234");
    let server = start(
        mpm,
        vec![
            scope("area", "OTPAuthMaxLinger 600").token(&alice).token(&bob).token(&carol),
            scope("once", "OTPAuthMaxLinger 0\nOTPAuthAllowHex Off").token(&alice).token(&bob),
        ],
    );
    let area = server.at("area");
    login(&area, "alice", alice.password(0)).is(200, "granted-fresh");
    login(&area, "alice", alice.password(0)).is(200, "granted-reuse");
    login(&area, "alice", alice.password(3)).is(200, "granted-fresh");
    assert_eq!(area.users().counter("alice"), 4, "resynchronised");
    login(&area, "alice", alice.password(0)).is(401, "denied-expired");
    login(&area, "alice", alice.password(2)).is(401, "denied-expired");
    login(&area, "alice", alice.password(3)).is(200, "granted-reuse");
    login(&area, "alice", alice.password(4)).is(200, "granted-fresh");
    login(&area, "alice", alice.password(10)).is(401, "denied-code");
    assert_eq!(area.users().failures("alice"), 1);
    assert_eq!(area.users().counter("alice"), 5);

    let step = bob.step();
    login(&area, "bob", bob.password(step - 1)).is(200, "granted-fresh");
    login(&area, "bob", bob.password(step + 1)).is(200, "granted-fresh");
    login(&area, "bob", bob.password(step - 1)).is(401, "denied-expired");
    login(&area, "bob", bob.password(step)).is(401, "denied-expired");

    let step = carol.step();
    login(&area, "carol", carol.password(step)).is(200, "granted-fresh");
    login(&area, "carol", carol.password(step).to_uppercase()).is(200, "granted-reuse");
    login(&area, "carol", carol.password(step + 1).to_uppercase()).is(200, "granted-fresh");
    login(&area, "nobody", "000000").is(401, "unknown");

    // Hexadecimal, in either case: 0x41397eea is RFC 4226's second value.
    let once = server.at("once");
    login(&once, "alice", format!("{PIN}397eea")).is(401, "denied-code");
    login(&area, "alice", alice.with(&alice.hexadecimal_code(6).to_uppercase())).is(200, "granted-fresh");
    login(&area, "alice", alice.with(&alice.hexadecimal_code(6))).is(200, "granted-reuse");

    // The lingering code on parallel requests with rising nc.
    let challenge = Challenge::of(&area);
    let answer = Answer::new(&challenge, area.path("page.txt"), "alice", alice.password(7));
    area.send(answer.request()).is(200, "granted-fresh");
    let requests: Vec<Request> = (2..22).map(|nc| answer.clone().nc(nc).request()).collect();
    assert_eq!(replies_at_once(server.port(), &requests), [200; 20]);

    // A forget request.
    login(&area, "alice", "").is(401, "forgotten");
    login(&area, "alice", alice.password(7)).is(401, "denied-expired");

    // Without lingering each code once; a user whose record has no address yet stays readable.
    login(&once, "bob", bob.password(bob.step())).is(200, "granted-fresh");
    login(&once, "bob", bob.password(bob.step())).is_denied();
    assert_eq!(once.users().address("alice"), "-");
    login(&once, "alice", alice.password(0)).is(200, "granted-fresh");
}

#[test]
fn what_is_accepted_on_event() {
    what_is_accepted(Mpm::Event);
}

#[test]
fn what_is_accepted_on_prefork() {
    what_is_accepted(Mpm::Prefork);
}

#[test]
fn made_up_responses_move_no_counter_and_are_counted() {
    let alice = Token::hotp("alice").pin(PIN);
    let bob = Token::totp("bob");
    let server = start(
        Mpm::Event,
        vec![
            scope("endless", "").token(&alice).token(&bob),
            scope("limited", "OTPAuthMaxOTPFailure 5").token(&alice).token(&bob),
        ],
    );
    for (name, expected_failures) in [("endless", 500), ("limited", 5)] {
        let place = server.at(name);
        let challenge = Challenge::of(&place);
        for user in ["alice", "bob"] {
            let mut connection = Connection::open(server.port()).expect("a connection");
            for i in 0..500u32 {
                let mut answer = Answer::new(&challenge, place.path("page.txt"), user, "");
                answer.response = Some(format!("{i:032x}"));
                let reply = connection.send(&answer.request(), true).expect("an answer");
                assert_eq!(reply.status, 401);
            }
            assert_eq!(place.users().failures(user), expected_failures, "{name} {user}");
            assert_eq!(place.users().counter(user), 0, "{name} {user}");
        }
    }
    login(&server.at("endless"), "alice", alice.password(0)).is(200, "granted-fresh");
    let limited = server.at("limited");
    login(&limited, "alice", alice.password(0)).is(401, "denied-locked");
    assert_eq!(server.decisions("denied-code", "alice"), 505);
    // Unlocked by hand.
    let unlocked = limited.users().bytes();
    let unlocked = String::from_utf8(unlocked).expect("text").replace(" 5 ", " 0 ");
    limited.users().replace(unlocked);
    login(&limited, "alice", alice.password(0)).is(200, "granted-fresh");
}

#[test]
fn a_nonce_that_is_refused_costs_no_code() {
    let alice = Token::hotp("alice").pin(PIN);
    let server = start(
        Mpm::Event,
        vec![scope("short", "OTPAuthMaxLinger 0\nAuthDigestNonceLifetime 2").token(&alice)],
    );
    server.expect_log("AH01776:"); // the forged nonce's hash is wrong
    server.expect_log("AH01778:"); // the stale nonce is too old
    let place = server.at("short");
    server.keep_secret(alice.password(0));
    let challenge = Challenge::of(&place);
    let mut forged = challenge.clone();
    let last = forged.nonce.pop().expect("a nonce");
    forged.nonce.push(if last == '0' { '1' } else { '0' });
    let answer = |challenge: &Challenge, code| {
        Answer::new(challenge, place.path("page.txt"), "alice", alice.password(code))
    };
    place.send(answer(&forged, 0).request()).is_status(401);
    assert_eq!(place.users().counter("alice"), 0, "forged");

    // Until the nonce is stale: what a browser sends then, and what it does about the answer.
    common::wait_until("the nonce is stale", || seconds_between(&challenge, &Challenge::of(&place)) > 2.1);
    let reply = place.send(answer(&challenge, 0).request());
    assert_eq!(reply.status(), 401);
    let retry = Challenge::in_answer(&reply);
    assert!(retry.stale, "{reply:?}");
    assert_eq!(place.users().counter("alice"), 0, "stale");
    place.send(answer(&retry, 0).request()).is(200, "granted-fresh");
    assert_eq!(place.users().failures("alice"), 0);
}

/// How much later the second challenge was made: mod_auth_digest puts the time in microseconds, in base64, at the
/// beginning of the nonce.
fn seconds_between(first: &Challenge, second: &Challenge) -> f64 {
    let time = |challenge: &Challenge| {
        let bytes = data_encoding::BASE64.decode(&challenge.nonce.as_bytes()[..12]).expect("base64");
        i64::from_le_bytes(bytes[..8].try_into().expect("eight bytes"))
    };
    (time(second) - time(first)) as f64 / 1e6
}

#[test]
fn with_nonce_count_checks_a_replayed_response_is_refused_and_costs_no_code() {
    let alice = Token::hotp("alice").pin(PIN);
    let httpd = Httpd::event().module("auth_digest").directives("AuthDigestShmemSize 65536");
    let scopes = vec![
        scope("counted", "OTPAuthMaxLinger 600\nAuthDigestNcCheck On").token(&alice),
        scope("one-time", "OTPAuthMaxLinger 600\nAuthDigestNonceLifetime 0\nAuthDigestNcCheck On")
            .token(&alice),
    ];
    let server = Server::start(httpd, scopes);
    server.expect_log("AH01774: Warning, possible replay attack: nonce-count check failed");
    server.expect_log("already used - sending new nonce");
    let place = server.at("counted");
    for code in 0..3 {
        server.keep_secret(alice.password(code));
    }
    let challenge = Challenge::of(&place);
    let answer = |code| Answer::new(&challenge, place.path("page.txt"), "alice", alice.password(code));
    place.send(answer(0).request()).is(200, "granted-fresh");
    place.send(answer(0).nc(2).request()).is(200, "granted-reuse");
    place.send(answer(0).nc(3).request()).is(200, "granted-reuse");
    // The next code with an nc that was used already: refused, and the code is as good as before.
    let reply = place.send(answer(1).nc(3).request());
    reply.is_status(401);
    assert_eq!(place.users().counter("alice"), 1);
    let retry = Challenge::in_answer(&reply);
    let answer = Answer::new(&retry, place.path("page.txt"), "alice", alice.password(1));
    place.send(answer.request()).is(200, "granted-fresh");

    // Each nonce for one request only.
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
         <VirtualHost 127.0.0.1:{other_port}>\n<Location />\nRequire all granted\n</Location>\n</VirtualHost>\n\
         <Proxy *>\nAuthType Digest\nAuthName proxy\nAuthDigestProvider OTP\nRequire valid-user\n\
         OTPAuthUsersFile \"{root}/users/area/users\"\nOTPAuthMaxLinger 0\n</Proxy>",
    );
    let server = Server::start(
        httpd,
        vec![scope("area", "").token(&alice), Scope::bare("open").directives("Require all granted")],
    );
    server.tolerate_log("AH01791:");
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
fn one_of_many_gets_a_fresh_code() {
    for mpm in [Mpm::Event, Mpm::Prefork] {
        let alice = Token::hotp("alice").pin(PIN);
        let server =
            start(mpm, vec![scope("once", "OTPAuthMaxLinger 0\nOTPAuthMaxOffset 200").token(&alice)]);
        let place = server.at("once");
        for round in 0..from_environment("OTPGATE_TEST_ROUNDS", 10) as u64 {
            server.keep_secret(alice.password(round));
            let requests: Vec<Request> = (0..CLIENTS)
                .map(|_| {
                    let challenge = Challenge::of(&place);
                    Answer::new(&challenge, place.path("page.txt"), "alice", alice.password(round)).request()
                })
                .collect();
            let statuses = replies_at_once(server.port(), &requests);
            assert_eq!(
                statuses.iter().filter(|status| **status == 200).count(),
                1,
                "{mpm:?} {round}: {statuses:?}"
            );
            assert_eq!(statuses.iter().filter(|status| **status == 401).count(), CLIENTS - 1, "{statuses:?}");
        }
        assert_eq!(place.users().failures("alice"), 0);
    }
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
fn what_digest_cannot_do_is_refused_and_said() {
    let external = Token::hotp("external").external_pin("outside7");
    let hashed = Token::hotp("hashed")
        .hashed_pin("inside77", "$2y$05$lXGQBDT09PU0BUoTBUSbRuqQMwTF958HkK/qn25O6j6VbzgsXsYyO");
    let alice = Token::hotp("alice").pin(PIN);
    let server = start(
        Mpm::Event,
        vec![
            scope("area", "OTPAuthFallThrough On").token(&external).token(&hashed),
            Scope::bare("mixed")
                .directives(
                    "AuthType Basic\nAuthName mixed\nAuthBasicProvider OTP\nAuthBasicUseDigestAlgorithm MD5\n\
                     Require valid-user\nOTPAuthUsersFile \"{users}\"",
                )
                .token(&alice),
        ],
    );
    let place = server.at("area");
    for (user, token) in [("external", &external), ("hashed", &hashed)] {
        login(&place, user, token.password(0)).is(401, "denied-pin");
        assert_eq!(place.users().failures(user), 0);
    }
    server.expect_log("Digest can't check a hashed or external PIN");
    server.at("mixed").login("alice", alice.password(0)).is_status(401);
    server.expect_log("AuthBasicUseDigestAlgorithm cannot work with one-time passwords");
    assert_eq!(server.at("mixed").users().counter("alice"), 0);
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
    server.tolerate_log("AH01791:");
    let place = server.at("area");
    login(&place, "alice", alice.password(0)).is(200, "granted-fresh");
    login(&place, "alice", alice.password(0)).is(401, "denied-expired");
}

#[test]
fn lockout_without_a_time_ends_by_itself_in_a_digest_section() {
    use otpgate::policy::{Server as Names, Settings};
    let unset = Settings::default();
    assert_eq!(unset.digest_policy(Names::Apache).lockout_time, 900);
    assert_eq!(unset.policy(Names::Apache).lockout_time, 0);
    let mut set = Settings::default();
    set.set(Names::Apache, b"OTPAuthLockoutTime", &[b"0"], b"here").expect("a good value");
    assert_eq!(set.digest_policy(Names::Apache).lockout_time, 0, "said is said");
}

/// Clients that people use, each with its own idea of the protocol.
#[test]
fn curl_wget_and_requests_log_in() {
    let alice = Token::hotp("alice").pin(PIN);
    let server = start(Mpm::Event, vec![scope("area", "OTPAuthMaxLinger 0").token(&alice)]);
    let place = server.at("area");
    let url = format!("http://127.0.0.1:{}{}", server.port(), place.path("page.txt"));
    let run = |program: &str, arguments: &[&str]| {
        require(program);
        let output = Command::new(program).args(arguments).output().expect("it runs");
        let text = [output.stdout, output.stderr].concat();
        let text = String::from_utf8_lossy(&text).into_owned();
        assert!(text.contains(common::server::PAGE_TEXT), "{program}: {text}");
    };
    let password = |code| {
        server.keep_secret(alice.password(code));
        alice.password(code)
    };
    run("/usr/bin/curl", &["-s", "--digest", "-u", &format!("alice:{}", password(0)), &url]);
    run("/usr/bin/wget", &["-q", "-O", "-", "--user", "alice", "--password", &password(1), &url]);
    let script = "import sys, requests; from requests.auth import HTTPDigestAuth as D; \
                  print(requests.get(sys.argv[1], auth=D('alice', sys.argv[2])).text)";
    run("/usr/bin/python3", &["-c", script, &url, &password(2)]);
    assert_eq!(place.users().counter("alice"), 3);
}

#[test]
fn parallel_logins_of_many_users() {
    let tokens: Vec<Token> = (0..8).map(|i| Token::hotp(format!("user{i}")).pin(PIN)).collect();
    let area = tokens.iter().fold(scope("area", "OTPAuthMaxLinger 0"), |scope, token| scope.token(token));
    let server = start(Mpm::Worker, vec![area]);
    let place: Place<'_> = server.at("area");
    let requests: Vec<Request> = tokens
        .iter()
        .enumerate()
        .map(|(i, token)| {
            server.keep_secret(token.password(0));
            let challenge = Challenge::of(&place);
            Answer::new(&challenge, place.path("page.txt"), &format!("user{i}"), token.password(0)).request()
        })
        .collect();
    assert_eq!(replies_at_once(server.port(), &requests), [200; 8]);
}
