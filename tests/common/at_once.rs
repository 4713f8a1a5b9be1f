//! Races that any server has to decide, whatever store it has.

use super::common::server::Reply;
use super::common::{Request, Scope, Setting, Start, Token, from_environment};

pub const PIN: &str = "sesame9";
const CLIENTS: usize = 32;

pub fn rounds() -> usize {
    from_environment("OTPGATE_TEST_ROUNDS", 10)
}

fn count(replies: &[Reply], result: &str) -> usize {
    replies.iter().filter(|reply| reply.result() == result).count()
}

pub fn one_of_many_gets_a_fresh_code(start: Start) {
    let alice = Token::hotp("alice").pin(PIN);
    let bob = Token::totp("bob").pin(PIN);
    let paper = Token::paper("paula", 30).pin(PIN);
    let once = Scope::new("once")
        .token(&alice)
        .token(&bob)
        .token(&paper)
        .set(Setting::MaxLinger, 0)
        .set(Setting::MaxOffset, 200)
        .set(Setting::MaxFailures, 1);
    let lingering = Scope::new("lingering").token(&alice).set(Setting::MaxLinger, 600);
    let server = start(vec![once, lingering]);

    let place = server.at("once");
    let first_step = bob.step();
    for round in 0..rounds() as u64 {
        // Event and time tokens in turn; the window reaches over all rounds.
        let requests: Vec<Request> = if round % 2 == 0 {
            vec![place.request("alice", alice.password(round)); CLIENTS]
        } else {
            vec![place.request("bob", bob.password(first_step + round)); CLIENTS]
        };
        let replies = place.at_once(&requests);
        assert_eq!(count(&replies, "granted-fresh"), 1, "round {round}: {replies:?}");
        assert_eq!(count(&replies, "denied-expired"), CLIENTS - 1, "round {round}: {replies:?}");
        for reply in &replies {
            reply.is_status(if reply.result() == "granted-fresh" { 200 } else { 401 });
        }
    }
    assert_eq!(place.users().failures("alice"), 0);
    assert_eq!(place.users().failures("bob"), 0);

    for counter in 0..4 {
        let replies =
            place.at_once(&vec![place.request("paula", paper.password(counter)); CLIENTS]);
        assert_eq!(count(&replies, "granted-fresh"), 1, "code {counter} of a list: {replies:?}");
        assert_eq!(count(&replies, "denied-expired"), CLIENTS - 1, "{replies:?}");
    }
    assert_eq!(place.users().counter("paula"), 4);

    // Who comes second while the code lingers is welcome.
    let place = server.at("lingering");
    let replies = place.at_once(&vec![place.request("alice", alice.password(0)); CLIENTS]);
    assert_eq!(count(&replies, "granted-fresh"), 1, "{replies:?}");
    assert_eq!(count(&replies, "granted-reuse"), CLIENTS - 1, "{replies:?}");
    assert_eq!(place.users().counter("alice"), 1);
}

pub fn limit_of_five_lets_five_codes_be_tried(start: Start) {
    const GUESSES: usize = 300;
    let alice = Token::hotp("alice").pin(PIN);
    let scope =
        Scope::new("area").token(&alice).set(Setting::MaxFailures, 5).set(Setting::Throttle, "Off");
    let server = start(vec![scope]);
    let place = server.at("area");
    let requests: Vec<Request> = alice
        .wrong_codes(GUESSES)
        .iter()
        .map(|code| place.request("alice", alice.with(code)))
        .collect();
    let replies = place.at_once(&requests);
    assert_eq!(count(&replies, "denied-code"), 5);
    assert_eq!(count(&replies, "denied-locked"), GUESSES - 5);
    assert!(replies.iter().all(|reply| reply.status() == 401));
    assert_eq!(place.users().failures("alice"), 5);
    assert_eq!(server.decisions("denied-code", "alice"), 5);
    assert_eq!(server.decisions("denied-locked", "alice"), GUESSES - 5);
    place.login("alice", alice.password(0)).is(401, "denied-locked");
}

/// Different users don't get into each other's way in one file that is written all the time.
pub fn users_who_log_in_at_once_are_all_granted(start: Start) {
    let tokens: Vec<Token> =
        (0..CLIENTS).map(|number| Token::hotp(format!("user{number}")).pin(PIN)).collect();
    let scope = tokens.iter().fold(Scope::new("area"), |scope, token| scope.token(token));
    let server = start(vec![scope.set(Setting::MaxLinger, 0)]);
    let place = server.at("area");
    for round in 0..rounds() as u64 {
        let requests: Vec<Request> =
            tokens.iter().map(|token| place.request(token.user(), token.password(round))).collect();
        let replies = place.at_once(&requests);
        assert_eq!(count(&replies, "granted-fresh"), CLIENTS, "round {round}: {replies:?}");
    }
    for token in &tokens {
        assert_eq!(place.users().counter(token.user()), rounds() as i64);
    }
}
