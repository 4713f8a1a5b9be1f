//! Digest logins on nginx, where otpgate speaks the protocol itself.

mod common;
#[path = "common/digest.rs"]
mod digest;
#[path = "common/digest_cases.rs"]
mod digest_cases;

use common::{Nginx, Request, Scope, Server, Setting, Token};
use digest::{Answer, Challenge, login};

const PIN: &str = "sesame9";

/// A location with Digest and more directives.
fn scope(name: &str, directives: &str) -> Scope {
    Scope::new(name).digest().directives(directives)
}

digest_cases::on_each_server! {
    one_worker: Nginx::one();
    four_workers: Nginx::four();
}

/// The challenges of a location, without their nonces.
fn challenges(server: &Server, scope: &str) -> Vec<String> {
    let reply = server.send(&Request::get(server.at(scope).path("page.txt")));
    reply.is_status(401);
    let headers = reply.0.headers_of("WWW-Authenticate").into_iter();
    let parts = headers.map(|header| {
        let parts = header.split(", ").filter(|part| !part.starts_with("nonce=\""));
        parts.collect::<Vec<_>>().join(", ")
    });
    parts.collect()
}

#[test]
fn each_scheme_has_its_challenges_in_the_order_that_clients_prefer() {
    let sha_256 =
        |realm| format!("Digest realm=\"{realm}\", algorithm=SHA-256, qop=\"auth\", charset=UTF-8");
    let md5 =
        |realm| format!("Digest realm=\"{realm}\", algorithm=MD5, qop=\"auth\", charset=UTF-8");
    let basic = |realm| format!("Basic realm=\"{realm}\", charset=\"UTF-8\"");
    let server = Server::start(
        Nginx::one(),
        vec![
            Scope::new("unset"),
            Scope::new("basic").directives("auth_otp_scheme basic;"),
            Scope::new("digest").directives("auth_otp_scheme digest;"),
            Scope::new("both").directives("auth_otp_scheme both;"),
            Scope::new("old").directives("auth_otp_scheme both; auth_otp_digest_algorithms MD5;"),
            Scope::new("odd")
                .directives("auth_otp_scheme digest; auth_otp_digest_algorithms MD5 SHA-256;"),
        ],
    );
    assert_eq!(challenges(&server, "unset"), [basic("unset")]);
    assert_eq!(challenges(&server, "basic"), [basic("basic")]);
    assert_eq!(challenges(&server, "digest"), [sha_256("digest"), md5("digest")]);
    assert_eq!(challenges(&server, "both"), [sha_256("both"), md5("both"), basic("both")]);
    assert_eq!(challenges(&server, "old"), [md5("old"), basic("old")]);
    assert_eq!(challenges(&server, "odd"), [md5("odd"), sha_256("odd")]);
}

#[test]
fn both_schemes_and_both_hashes_log_in_where_they_are_offered() {
    let alice = Token::hotp("alice").pin(PIN);
    let server = Server::start(
        Nginx::one(),
        vec![
            Scope::new("both").directives("auth_otp_scheme both;").token(&alice),
            Scope::new("basic").token(&alice),
            scope("digest", "auth_otp_digest_algorithms SHA-256;").token(&alice),
        ],
    );
    let both = server.at("both");
    for code in 0..4 {
        server.keep_secret(alice.password(code));
    }
    let offered = Challenge::all_in(&server.send(&Request::get(both.path("page.txt"))));
    let algorithms: Vec<&str> =
        offered.iter().map(|challenge| challenge.algorithm.as_str()).collect();
    assert_eq!(algorithms, ["SHA-256", "MD5"]);
    assert_eq!(offered[0].nonce, offered[1].nonce);
    for (code, challenge) in offered.iter().enumerate() {
        let answer =
            Answer::new(challenge, both.path("page.txt"), "alice", alice.password(code as u64));
        both.send(answer.nc(code as u64 + 1).request()).is(200, "granted-fresh");
    }
    both.login("alice", alice.password(2)).is(200, "granted-fresh");

    // A scheme or hash that isn't offered isn't looked at.
    let digest = server.at("digest");
    digest.login("alice", alice.password(0)).is(401, "");
    let mut challenge = Challenge::of(&digest);
    challenge.algorithm = "MD5".into();
    let answer = Answer::new(&challenge, digest.path("page.txt"), "alice", alice.password(0));
    digest.send(answer.request()).is(401, "denied-code");
    assert_eq!(digest.users().failures("alice"), 0);
    let basic = server.at("basic");
    let answer = Answer::new(&challenge, basic.path("page.txt"), "alice", alice.password(0));
    basic.send(answer.request()).is(401, "");
}

#[test]
fn what_a_right_client_does_not_send_is_refused_and_not_counted() {
    let alice = Token::hotp("alice").pin(PIN);
    let server = Server::start(Nginx::one(), vec![scope("area", "").token(&alice)]);
    let place = server.at("area");
    server.keep_secret(alice.password(0));
    let challenge = Challenge::of(&place);
    let right = Answer::new(&challenge, place.path("page.txt"), "alice", alice.password(0));
    let send = |header: String| {
        place.send(Request::get(place.path("page.txt")).header("Authorization", header))
    };
    for (what, from, to) in [
        ("another target", "page.txt\"", "page.txt?\""),
        ("no qop", "qop=auth, ", ""),
        ("another qop", "qop=auth", "qop=auth-int"),
        ("no count", "nc=00000001, ", ""),
        ("a count of zero", "nc=00000001", "nc=00000000"),
        ("a short count", "nc=00000001", "nc=1"),
        ("a session hash", "algorithm=SHA-256", "algorithm=SHA-256-sess"),
        ("a hashed name", "qop=auth", "userhash=true, qop=auth"),
        ("no name", "username=\"alice\", ", ""),
        ("two names", "username=\"alice\"", "username=\"alice\", username*=UTF-8''alice"),
        ("no response", "response=\"", "x=\", response=\""),
    ] {
        let header = right.header();
        let changed = header.replace(from, to);
        assert_ne!(header, changed, "{what}");
        let reply = send(changed);
        assert_eq!((reply.status(), reply.result()), (401, "denied-code"), "{what}");
        assert!(!Challenge::in_answer(&reply).stale, "{what}");
    }
    // Another realm's credentials are what browsers try first in a new place: nothing is decided.
    server.expect_log(
        "nothing decided: the Digest login is for another realm; a challenge is sent, user \"alice\"",
    );
    let reply = send(right.header().replace("realm=\"area\"", "realm=\"other\""));
    reply.is(401, "");
    assert!(!Challenge::in_answer(&reply).stale);
    assert_eq!((place.users().counter("alice"), place.users().failures("alice")), (0, 0));
    place.send(right.request()).is(200, "granted-fresh");
}

#[test]
fn names_beyond_ascii_and_realms_with_quotes() {
    let user = Token::hotp("J\u{e4}s\u{f8}n").pin(PIN);
    let area = Scope::bare("area")
        .directives(
            "auth_otp \"say \\\"friend\\\" $arg_realm\"; auth_otp_scheme both; auth_otp_users_file \"{users}\"; \
             auth_otp_max_linger 0;",
        )
        .token(&user);
    let server = Server::start(Nginx::one(), vec![area]);
    let place = server.at("area");
    for code in 0..3 {
        server.keep_secret(user.password(code));
    }
    let reply = server.send(&Request::get(place.path("page.txt?realm=and+enter")));
    let realm = "realm=\"say \\\"friend\\\" and+enter\"";
    let headers = reply.0.headers_of("WWW-Authenticate");
    assert_eq!(headers.len(), 3);
    assert!(headers.iter().all(|header| header.contains(realm)), "{headers:?}");

    let reply = server.send(&Request::get(place.path("page.txt")));
    let mut challenge = Challenge::in_answer(&reply);
    // As clients hash it.
    challenge.realm = "say \"friend\" ".into();
    let answer = |code, target: &str| {
        let nc = code + 1;
        Answer::new(&challenge, target, "J\u{e4}s\u{f8}n", user.password(code)).nc(nc)
    };
    let path = place.path("page.txt");
    let quoted = answer(0, &path)
        .header()
        .replace("realm=\"say \"friend\" \"", "realm=\"say \\\"friend\\\" \"");
    place.send(Request::get(&path).header("Authorization", &quoted)).is(200, "granted-fresh");
    let extended = answer(1, &path)
        .header()
        .replace("realm=\"say \"friend\" \"", "realm=\"say \\\"friend\\\" \"")
        .replace("username=\"J\u{e4}s\u{f8}n\"", "username*=UTF-8''J%C3%A4s%C3%B8n");
    place.send(Request::get(&path).header("Authorization", extended)).is(200, "granted-fresh");
    place.login("J\u{e4}s\u{f8}n", user.password(2)).is(200, "granted-fresh");
}

#[test]
fn a_realm_of_variables_may_switch_off_and_may_not_be_empty() {
    let server = Server::start(
        Nginx::one(),
        vec![Scope::bare("area").directives(
            "auth_otp $arg_realm; auth_otp_scheme both; auth_otp_users_file \"{users}\";",
        )],
    );
    let place = server.at("area");
    server.send(&Request::get(place.path("page.txt?realm=off"))).is_status(200);
    server.send(&Request::get(place.path("page.txt?realm=on"))).is_status(401);
    server.send(&Request::get(place.path("page.txt"))).is_status(500);
    server.expect_log("the realm's variables are all empty");
}

#[test]
fn one_login_over_internal_redirects_and_its_nonce_is_used_once() {
    let alice = Token::hotp("alice").pin(PIN);
    let server = Server::start(
        Nginx::one(),
        vec![
            scope("index", "index page.txt;").set(Setting::MaxLinger, 0).token(&alice),
            scope("tried", "try_files /tried/none /tried/page.txt =404;")
                .set(Setting::MaxLinger, 0)
                .token(&alice),
            scope("error", "error_page 404 /error/page.txt;")
                .set(Setting::MaxLinger, 0)
                .token(&alice),
            scope("fake", "index page.txt;")
                .set(Setting::MaxLinger, 0)
                .set(Setting::PinFakeBasic, "On")
                .token(&alice),
        ],
    );
    server.keep_secret(alice.password(0));
    server.expect_log("open() \"");
    for (name, file, status) in
        [("index", "", 200), ("tried", "x", 200), ("error", "none", 404), ("fake", "", 200)]
    {
        let place = server.at(name);
        let answer =
            Answer::new(&Challenge::of(&place), place.path(file), "alice", alice.password(0));
        let reply = place.send(answer.request());
        assert_eq!(
            (reply.status(), reply.result()),
            (status, "granted-fresh"),
            "{name}: {reply:?}"
        );
        assert!(reply.0.text().contains("welcome"), "{name}");
        place.send(answer.nc(2).request()).is(401, "denied-expired");
    }
    assert_eq!(server.decisions("granted-fresh", "alice"), 4);
    assert_eq!(server.all_decisions("alice").len(), 8);
}

#[test]
fn an_error_page_of_a_post_is_served_to_whom_was_let_in() {
    let alice = Token::hotp("alice").pin(PIN);
    let server = Server::start(
        Nginx::one(),
        vec![
            scope("area", "error_page 405 /area/page.txt;")
                .set(Setting::MaxLinger, 0)
                .token(&alice),
        ],
    );
    let place = server.at("area");
    server.keep_secret(alice.password(0));
    let path = place.path("page.txt");
    let mut answer = Answer::new(&Challenge::of(&place), &path, "alice", alice.password(0));
    answer.method = "POST";
    let reply = place.send(Request::post(&path, "a=b").header("Authorization", answer.header()));
    assert_eq!((reply.status(), reply.result()), (405, "granted-fresh"), "{reply:?}");
    assert_eq!(server.all_decisions("alice"), ["granted-fresh"]);
}

#[test]
fn remote_user_and_own_variables_name_who_was_let_in_by_digest() {
    let alice = Token::hotp("alice").pin(PIN);
    let server = Server::start(
        Nginx::one(),
        vec![
            scope("area", "add_header X-User \"$remote_user/$auth_otp_user\" always;")
                .token(&alice),
            Scope::new("basic")
                .directives("add_header X-User \"$remote_user/$auth_otp_user\" always;")
                .token(&alice),
        ],
    );
    let user = |reply: common::Reply| reply.0.header("X-User").map(str::to_owned);
    let place = server.at("area");
    assert_eq!(user(login(&place, "alice", alice.password(0))).as_deref(), Some("alice/alice"));
    assert_eq!(user(login(&place, "alice", alice.password(0))).as_deref(), Some("alice/alice"));
    assert_eq!(user(login(&place, "alice", "000000")).as_deref(), Some("/"));
    let basic = server.at("basic");
    assert_eq!(user(basic.login("alice", alice.password(0))).as_deref(), Some("alice/alice"));
}

#[test]
fn parts_of_a_page_granted_by_digest_are_shown_and_use_no_second_count() {
    let alice = Token::hotp("alice").pin(PIN);
    let included = "<!--#include virtual=\"/area/page.txt\" -->";
    let nginx =
        Nginx::one().file("htdocs/area/whole", included).file("htdocs/open/whole", included);
    let ssi = "ssi on;\nssi_types text/plain;";
    let area = scope("area", ssi).set(Setting::MaxLinger, 0).token(&alice);
    let server = Server::start(nginx, vec![area, Scope::bare("open").directives(ssi)]);
    let place = server.at("area");
    server.keep_secret(alice.password(0));
    let answer = |target: &str| {
        Answer::new(&Challenge::of(&place), target, "alice", alice.password(0)).request()
    };
    place.send(answer(&place.path("whole"))).is(200, "granted-fresh");
    assert_eq!(server.all_decisions("alice"), ["granted-fresh"]);
    // Right credentials, but nobody has judged them: the whole is open.
    let whole = server.at("open").path("whole");
    assert!(server.send(&answer(&whole)).0.text().contains("403"));
    server.expect_log("sub-request for \"/area/page.txt\" refused");
}

#[test]
fn nonces_live_over_a_reload_and_are_shared_by_all_workers() {
    let alice = Token::hotp("alice").pin(PIN);
    let server = Server::start(Nginx::four(), vec![scope("area", "").token(&alice)]);
    let place = server.at("area");
    server.keep_secret(alice.password(0));
    let challenge = Challenge::of(&place);
    let answer = Answer::new(&challenge, place.path("page.txt"), "alice", alice.password(0));
    place.send(answer.request()).is(200, "granted-fresh");
    for nc in 2..40 {
        place.send(answer.clone().nc(nc).request()).is(200, "granted-reuse");
    }
    server.reload();
    server.expect_refused_nonce(common::server::NonceFault::Replayed);
    for nc in 1..40 {
        let reply = place.send(answer.clone().nc(nc).request());
        reply.is(401, "");
        assert!(Challenge::in_answer(&reply).stale);
    }
    place.send(answer.nc(40).request()).is(200, "granted-reuse");
}

#[test]
fn a_full_zone_forgets_the_oldest_and_says_so_once() {
    let alice = Token::hotp("alice").pin(PIN);
    // Room for some 600 nonces.
    let nginx = Nginx::one().directives("auth_otp_zone small:32k;");
    let server = Server::start(nginx, vec![scope("area", "").token(&alice)]);
    let place = server.at("area");
    server.keep_secret(alice.password(0));
    let answer = |challenge: &Challenge, nc| {
        Answer::new(challenge, place.path("page.txt"), "alice", alice.password(0)).nc(nc).request()
    };
    let unused = Challenge::of(&place);
    let first = Challenge::of(&place);
    place.send(answer(&first, 1)).is(200, "granted-fresh");
    for _ in 0..1000 {
        place.send(answer(&Challenge::of(&place), 1)).is(200, "granted-reuse");
    }
    for old in [&first, &unused] {
        let reply = place.send(answer(old, 2));
        reply.is(401, "");
        let retry = Challenge::in_answer(&reply);
        assert!(retry.stale);
        place.send(answer(&retry, 1)).is(200, "granted-reuse");
    }
    server.expect_log("the shared memory for Digest nonces is full");
    server.expect_log("the nonce has been evicted by newer ones");
    assert_eq!(
        server.error_log().matches("the shared memory for Digest nonces is full").count(),
        1
    );
}

#[test]
fn zones_and_schemes_that_make_no_sense_are_named_by_the_configuration_test() {
    let with = |directive: &str| Nginx::one().with_http_block(directive).test(vec![], |_| {});
    for (directive, message) in [
        ("auth_otp_zone one:1m; auth_otp_zone two:1m;", "is duplicate"),
        ("auth_otp_zone 1m;", "takes a name, a colon and a size, as in auth_otp:1m"),
        ("auth_otp_zone one:much;", "takes a name, a colon and a size, as in auth_otp:1m"),
        ("auth_otp_zone one:8k;", "takes a size of at least 8 memory pages, which is 32k"),
        (
            "auth_otp_scheme digests;",
            "takes basic, digest, both, form, or form and basic, not \"digests\"",
        ),
        (
            "auth_otp_digest_algorithms SHA-512;",
            "takes SHA-256 and MD5, or one of them, not \"SHA-512\"",
        ),
        (
            "auth_otp_nonce_lifetime 0;",
            "takes a time from 1 to 86400 seconds, such as 90, 10m or 1h30m, not \"0\"",
        ),
    ] {
        with(directive).is_accepted(false).says(message).names_the_line_of(directive);
    }
    with("auth_otp_zone one:32k;").is_accepted(true);
}
