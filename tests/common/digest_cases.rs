//! What a Digest login does on any server: a table of situations, each with a server of its own.

use std::process::Command;
use std::sync::Barrier;
use std::time::{Duration, Instant};

use super::common::server::{NonceFault, PAGE_TEXT};
use super::common::{
    Connection, Place, Request, Scope, Setting, Start, Token, from_environment, require, wait_until,
};
use super::digest::{Answer, Challenge, login};

const PIN: &str = "sesame9";
const CLIENTS: usize = 32;

/// A scope with Digest, and with nothing left to a server's own defaults.
fn scope(name: &str) -> Scope {
    Scope::new(name)
        .digest()
        .set(Setting::MaxFailures, "None")
        .set(Setting::LockoutTime, 0)
        .set(Setting::Throttle, "Off")
        .set(Setting::LogoutOnIpChange, "Off")
}

/// Each situation as a test on each of these servers.
macro_rules! on_each_server {
    ($($server:ident: $kind:expr;)*) => {
        mod cases {
            use super::digest_cases::*;
            #[allow(unused_imports)]
            use super::*;

            crate::common::on_each_server! {
                $($server: $kind =>
                    what_is_accepted
                    made_up_responses_are_counted_apart_and_lock_nobody_out_of_basic
                    wrong_responses_use_up_the_tries_of_their_client
                    a_nonce_that_is_refused_costs_no_code
                    a_replayed_response_is_refused_and_costs_no_code
                    what_digest_cannot_do_is_refused_and_said
                    users_who_are_not_required_are_refused_and_spend_nothing
                    curl_wget_and_requests_log_in
                    parallel_logins_of_many_users
                    upstream_sees_the_pin_if_asked_for
                    one_of_many_gets_a_fresh_code;)*
            }
        }
    };
}
pub(crate) use on_each_server;

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
                    connection
                        .expect("a connection")
                        .send(request, false)
                        .expect("an answer")
                        .status
                })
            })
            .collect();
        clients
            .into_iter()
            .map(|client| client.join().expect("a client that doesn't panic"))
            .collect()
    })
}

/// Their responses count as wrong ones, as everybody's do who doesn't know PIN and code.
pub fn users_who_are_not_required_are_refused_and_spend_nothing(start: Start) {
    let [alice, bob] = ["alice", "bob"].map(|user| Token::hotp(user).pin(PIN));
    let server = start(vec![
        Scope::new("area")
            .digest()
            .set(Setting::RequireGroup, "staff")
            .set(Setting::MaxLinger, 600)
            .set(Setting::MaxFailures, 5)
            .set(Setting::LockoutTime, 0)
            .set(Setting::Throttle, "Off")
            .group_file("staff: bob\n")
            .token(&alice)
            .token(&bob),
    ]);
    let area = server.at("area");
    area.users().stays_the_same(|| {
        login(&area, "alice", alice.password(0)).is(401, "denied-user");
        login(&area, "alice", alice.with(&alice.wrong_code())).is(401, "denied-user");
    });
    login(&area, "bob", bob.password(0)).is(200, "granted-fresh");
    login(&area, "bob", bob.password(0)).is(200, "granted-reuse");
    area.replace_group_file("staff: alice\n");
    login(&area, "bob", bob.password(0)).is(401, "denied-user");
    login(&area, "bob", bob.password(1)).is(401, "denied-user");
    login(&area, "alice", alice.password(0)).is(200, "granted-fresh");
    area.replace_group_file("staff: bob\n");
    for _ in 0..4 {
        login(&area, "alice", alice.password(0)).is(401, "denied-user");
    }
    login(&area, "alice", alice.password(0)).is(401, "denied-user");
    login(&area, "alice", alice.password(0)).is(401, "denied-locked");
}

pub fn what_is_accepted(start: Start) {
    let alice = Token::hotp("alice").pin(PIN);
    let bob = Token::totp("bob");
    let carol = Token::motp("carol").pin("1234");
    let server = start(vec![
        scope("area").set(Setting::MaxLinger, 600).token(&alice).token(&bob).token(&carol),
        scope("word")
            .set(Setting::MaxLinger, 600)
            .set(Setting::Forget, "Word")
            .token(&alice)
            .token(&bob),
        scope("once")
            .set(Setting::MaxLinger, 0)
            .set(Setting::AllowHex, "Off")
            .token(&alice)
            .token(&bob),
    ]);
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
    assert_eq!(area.users().failures("alice"), 0, "anybody can send a wrong response");
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
    login(&area, "alice", alice.with(&alice.hexadecimal_code(6).to_uppercase()))
        .is(200, "granted-fresh");
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

    // By word: with the PIN, if there is one.
    let word = server.at("word");
    login(&word, "alice", alice.password(0)).is(200, "granted-fresh");
    login(&word, "alice", "").is(401, "denied-code");
    login(&word, "alice", format!("{PIN}x-logout")).is(401, "denied-code");
    login(&word, "alice", alice.password(0)).is(200, "granted-reuse");
    login(&word, "alice", alice.with("logout")).is(401, "forgotten");
    login(&word, "alice", alice.password(0)).is(401, "denied-expired");
    login(&word, "alice", alice.with("logout")).is(401, "forgotten");
    assert_eq!(word.users().failures("alice"), 0);
    login(&word, "bob", "logout").is(401, "denied-code");

    // Without lingering each code once; a user whose record has no address yet stays readable.
    login(&once, "bob", bob.password(bob.step())).is(200, "granted-fresh");
    login(&once, "bob", bob.password(bob.step())).is_denied();
    assert_eq!(once.users().address("alice"), "-");
    login(&once, "alice", alice.password(0)).is(200, "granted-fresh");
}

pub fn made_up_responses_are_counted_apart_and_lock_nobody_out_of_basic(start: Start) {
    let alice = Token::hotp("alice").pin(PIN);
    let bob = Token::totp("bob");
    let limited =
        Scope::new("limited").digest().set(Setting::MaxFailures, 5).token(&alice).token(&bob);
    let bound = scope("bound").text("#@ limits max_failures=5\n").token(&alice).token(&bob);
    let server = start(vec![scope("endless").token(&alice).token(&bob), limited, bound]);
    let mut looked_at = 0;
    for (name, expected) in [("endless", 100), ("limited", 5), ("bound", 5)] {
        let place = server.at(name);
        let challenge = Challenge::of(&place);
        for user in ["alice", "bob"] {
            let mut connection = Connection::open(server.port()).expect("a connection");
            for i in 0..100u32 {
                let mut answer = Answer::new(&challenge, place.path("page.txt"), user, "");
                let made_up = format!("{i:032x}");
                answer.response =
                    Some(if challenge.algorithm == "MD5" { made_up } else { made_up.repeat(2) });
                let reply = connection.send(&answer.request(), true).expect("an answer");
                assert_eq!(reply.status, 401);
            }
            // What locks out of Basic stands there.
            assert_eq!(place.users().failures(user), 0, "{name} {user}");
            assert_eq!(place.users().counter(user), 0, "{name} {user}");
        }
        looked_at += expected;
        assert_eq!(server.decisions("denied-code", "alice"), looked_at, "{name}");
    }
    login(&server.at("endless"), "alice", alice.password(0)).is(200, "granted-fresh");
    let limited = server.at("limited");
    login(&limited, "alice", alice.password(0)).is(401, "denied-locked");
    login(&server.at("bound"), "alice", alice.password(0)).is(401, "denied-locked");
}

pub fn wrong_responses_use_up_the_tries_of_their_client(start: Start) {
    let alice = Token::hotp("alice").pin(PIN);
    let throttled = Scope::new("throttled").digest().set(Setting::Throttle, "5 600").token(&alice);
    let server =
        start(vec![throttled.set(Setting::MaxFailures, "None").set(Setting::MaxLinger, 600)]);
    let place = server.at("throttled");
    let challenge = Challenge::of(&place);
    let from = |address: &str, password: String, nc| {
        let answer = Answer::new(&challenge, place.path("page.txt"), "alice", password).nc(nc);
        place.send(answer.request().from(address))
    };
    from("192.0.2.7", alice.password(0), 1).is(200, "granted-fresh");
    for (number, wrong) in alice.wrong_codes(5).iter().enumerate() {
        from("198.51.100.23", alice.with(wrong), 10 + number as u64).is(401, "denied-code");
    }
    for (number, password) in
        [alice.password(0), alice.password(1), alice.with("000000")].into_iter().enumerate()
    {
        let reply = from("198.51.100.23", password, 20 + number as u64);
        // mod_auth_digest refuses in its own way.
        assert!([401, 429].contains(&reply.status()), "{reply:?}");
        assert_eq!(reply.result(), "denied-throttled");
        assert!(reply.0.header("Retry-After").is_some(), "{reply:?}");
    }
    from("192.0.2.7", alice.password(0), 30).is(200, "granted-reuse");
    from("192.0.2.7", alice.password(1), 31).is(200, "granted-fresh");
}

pub fn a_nonce_that_is_refused_costs_no_code(start: Start) {
    let alice = Token::hotp("alice").pin(PIN);
    let short =
        scope("short").set(Setting::MaxLinger, 0).set(Setting::NonceLifetime, 2).token(&alice);
    let server = start(vec![short]);
    server.expect_refused_nonce(NonceFault::Forged);
    server.expect_refused_nonce(NonceFault::Stale);
    let place = server.at("short");
    server.keep_secret(alice.password(0));
    let challenge = Challenge::of(&place);
    let taken = Instant::now();
    let mut forged = challenge.clone();
    let last = forged.nonce.pop().expect("a nonce");
    forged.nonce.push(if last == '0' { '1' } else { '0' });
    let answer = |challenge: &Challenge, code| {
        Answer::new(challenge, place.path("page.txt"), "alice", alice.password(code))
    };
    place.send(answer(&forged, 0).request()).is_status(401);
    assert_eq!(place.users().counter("alice"), 0, "forged");

    // Until the nonce is stale, by clocks that count whole seconds: what a browser sends then, and
    // what it does about the answer.
    wait_until("the nonce is stale", || taken.elapsed() > Duration::from_millis(3100));
    let reply = place.send(answer(&challenge, 0).request());
    assert_eq!(reply.status(), 401);
    let retry = Challenge::in_answer(&reply);
    assert!(retry.stale, "{reply:?}");
    assert_eq!(place.users().counter("alice"), 0, "stale");
    place.send(answer(&retry, 0).request()).is(200, "granted-fresh");
    assert_eq!(place.users().failures("alice"), 0);
}

pub fn a_replayed_response_is_refused_and_costs_no_code(start: Start) {
    let alice = Token::hotp("alice").pin(PIN);
    let counted = scope("counted").set(Setting::MaxLinger, 600).set(Setting::NonceCountCheck, "On");
    let server = start(vec![counted.token(&alice)]);
    server.expect_refused_nonce(NonceFault::Replayed);
    let place = server.at("counted");
    for code in 0..3 {
        server.keep_secret(alice.password(code));
    }
    let challenge = Challenge::of(&place);
    let answer =
        |code| Answer::new(&challenge, place.path("page.txt"), "alice", alice.password(code));
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
}

pub fn what_digest_cannot_do_is_refused_and_said(start: Start) {
    let external = Token::hotp("external").external_pin("outside7");
    let hashed = Token::hotp("hashed")
        .hashed_pin("inside77", "$2y$05$lXGQBDT09PU0BUoTBUSbRuqQMwTF958HkK/qn25O6j6VbzgsXsYyO");
    let server = start(vec![scope("area").token(&external).token(&hashed)]);
    let place = server.at("area");
    for (user, token) in [("external", &external), ("hashed", &hashed)] {
        login(&place, user, token.password(0)).is(401, "denied-pin");
        assert_eq!(place.users().failures(user), 0);
    }
    server.expect_log("Digest can't check a hashed or external PIN");
}

/// Clients that people use, each with its own idea of the protocol.
pub fn curl_wget_and_requests_log_in(start: Start) {
    let alice = Token::hotp("alice").pin(PIN);
    let server = start(vec![scope("area").set(Setting::MaxLinger, 0).token(&alice)]);
    let place = server.at("area");
    let url = format!("http://127.0.0.1:{}{}", server.port(), place.path("page.txt?a=b&c=%20d"));
    let run = |program: &str, arguments: &[&str]| {
        require(program);
        let output = Command::new(program).args(arguments).output().expect("it runs");
        let text = [output.stdout, output.stderr].concat();
        let text = String::from_utf8_lossy(&text).into_owned();
        assert!(text.contains(PAGE_TEXT), "{program}: {text}");
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

pub fn parallel_logins_of_many_users(start: Start) {
    let tokens: Vec<Token> = (0..8).map(|i| Token::hotp(format!("user{i}")).pin(PIN)).collect();
    let area = scope("area").set(Setting::MaxLinger, 0);
    let server = start(vec![tokens.iter().fold(area, |scope, token| scope.token(token))]);
    let place: Place<'_> = server.at("area");
    let requests: Vec<Request> = tokens
        .iter()
        .enumerate()
        .map(|(i, token)| {
            server.keep_secret(token.password(0));
            let challenge = Challenge::of(&place);
            Answer::new(&challenge, place.path("page.txt"), &format!("user{i}"), token.password(0))
                .request()
        })
        .collect();
    assert_eq!(replies_at_once(server.port(), &requests), [200; 8]);
}

/// The nonce isn't used up again, and nothing is decided again, where the request is looked at a
/// second time.
pub fn upstream_sees_the_pin_if_asked_for(start: Start) {
    let alice = Token::hotp("alice").pin(PIN);
    let area =
        scope("area").set(Setting::MaxLinger, 0).set(Setting::PinFakeBasic, "On").token(&alice);
    let server = start(vec![area]);
    login(&server.at("area"), "alice", alice.password(0)).is(200, "granted-fresh");
    login(&server.at("area"), "alice", alice.password(0)).is(401, "denied-expired");
}

/// Of many clients with a nonce of their own, one gets a fresh code.
pub fn one_of_many_gets_a_fresh_code(start: Start) {
    let alice = Token::hotp("alice").pin(PIN);
    let once = scope("once").set(Setting::MaxLinger, 0).set(Setting::MaxOffset, 200).token(&alice);
    let server = start(vec![once]);
    let place = server.at("once");
    for round in 0..from_environment("OTPGATE_TEST_ROUNDS", 10) as u64 {
        server.keep_secret(alice.password(round));
        let requests: Vec<Request> = (0..CLIENTS)
            .map(|_| {
                let challenge = Challenge::of(&place);
                Answer::new(&challenge, place.path("page.txt"), "alice", alice.password(round))
                    .request()
            })
            .collect();
        let statuses = replies_at_once(server.port(), &requests);
        assert_eq!(
            statuses.iter().filter(|status| **status == 200).count(),
            1,
            "{round}: {statuses:?}"
        );
        assert_eq!(
            statuses.iter().filter(|status| **status == 401).count(),
            CLIENTS - 1,
            "{statuses:?}"
        );
    }
    assert_eq!(place.users().failures("alice"), 0);
}
