//! One request on nginx: waiting, redirects, sub-requests, and what other modules say about it.

mod common;

use std::time::{Duration, Instant};

use common::backend::Backend;
use common::server::{PAGE, PAGE_TEXT, all_at_once};
use common::{
    Connection, Held, Httpd, Nginx, Place, Reply, Request, Scope, Server, Setting, Token,
};

const PIN: &str = "sesame9";
const CLIENTS: usize = 32;
const WAITING: usize = 20;

fn alice() -> Token {
    Token::hotp("alice").pin(PIN)
}

fn count(replies: &[Reply], result: &str) -> usize {
    replies.iter().filter(|reply| reply.result() == result).count()
}

// ---- Waiting ----------------------------------------------------------------------------------------------

/// A user for each client that waits, and one whose login makes the lock file.
struct Crowd {
    tokens: Vec<Token>,
    first: Token,
}

impl Crowd {
    fn new() -> Crowd {
        let tokens =
            (0..WAITING).map(|number| Token::hotp(format!("user{number}")).pin(PIN)).collect();
        Crowd { tokens, first: alice() }
    }

    fn scope(&self) -> Scope {
        let scope = Scope::new("area").token(&self.first).set(Setting::MaxLinger, 0);
        self.tokens.iter().fold(scope, |scope, token| scope.token(token))
    }

    /// Holds the lock and lets everybody send a fresh code.
    fn wait_at(&self, place: &Place<'_>) -> (Held, Vec<Connection>) {
        place.login("alice", self.first.password(0)).is(200, "granted-fresh");
        let held = Held::of(place.users());
        let connections = self.tokens.iter().map(|token| {
            let mut connection = Connection::open(place.server().port()).expect("a connection");
            let request = place.request(token.user(), token.password(0));
            connection.ask(&request, false).expect("a server that reads");
            connection
        });
        (held, connections.collect())
    }
}

fn open_to_all() -> Scope {
    Scope::bare("open")
}

#[track_caller]
fn nobody_is_answered(waiting: &[Connection]) {
    assert!(
        !waiting.iter().any(Connection::has_answer),
        "a login was answered before it was saved"
    );
}

#[track_caller]
fn everybody_is_let_in(waiting: Vec<Connection>) {
    for mut connection in waiting {
        Reply(connection.receive().expect("an answer")).is(200, "granted-fresh");
    }
}

#[test]
fn while_logins_wait_for_the_lock_the_loop_answers_others() {
    let crowd = Crowd::new();
    let server = Server::start(Nginx::one(), vec![crowd.scope(), open_to_all()]);
    let (held, waiting) = crowd.wait_at(&server.at("area"));
    let open = Request::get(server.at("open").path(PAGE));
    let mut connection = Connection::open(server.port()).expect("a connection");
    for _ in 0..100 {
        Reply(connection.send(&open, true).expect("an answer")).is_status(200);
    }
    // Those who need no lock aren't kept waiting either.
    server.at("area").login("nobody", "whatever").is(401, "unknown");
    server.at("area").login("alice", "wrong-pin755224").is(401, "denied-pin");
    nobody_is_answered(&waiting);
    held.release();
    everybody_is_let_in(waiting);
}

#[test]
fn a_user_with_twenty_thousand_lines_is_an_error_and_holds_up_nobody() {
    let (alice, bob) = (alice(), Token::hotp("bob").pin(PIN));
    let crowd = String::from_utf8(alice.line()).expect("a line of text").repeat(20_000);
    let area = Scope::new("area").token(&bob).text(crowd).secret(PIN).set(Setting::MaxLinger, 600);
    let server = Server::start(Nginx::one(), vec![area, open_to_all()]);
    server.expect_log(
        "/users: more than 100 lines have this name; logins fail until some are removed",
    );
    server
        .expect_log("error: the user has too many lines; see the previous message, user \"alice\"");
    let place = server.at("area");
    place.login("bob", bob.password(0)).is(200, "granted-fresh");
    // What took 18 seconds of the only loop each time.
    let begun = Instant::now();
    for counter in 1..20 {
        place.login("alice", alice.password(0)).is(500, "error");
        server.send(&Request::get(server.at("open").path(PAGE))).is_status(200);
        place.login("bob", bob.password(counter)).is(200, "granted-fresh");
        place.login("bob", bob.password(counter)).is(200, "granted-reuse");
    }
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
    assert_eq!(place.users().failures("bob"), 0);
}

#[test]
fn a_reload_drops_no_login_that_waits() {
    let crowd = Crowd::new();
    let server = Server::start(Nginx::one(), vec![crowd.scope(), open_to_all()]);
    let (held, waiting) = crowd.wait_at(&server.at("area"));
    // The worker has them all: one connection accepted after the others was answered.
    server.send(&Request::get(server.at("open").path(PAGE))).is_status(200);
    server.reload();
    for _ in 0..20 {
        server.send(&Request::get(server.at("open").path(PAGE))).is_status(200);
    }
    nobody_is_answered(&waiting);
    held.release();
    everybody_is_let_in(waiting);
    server.at("area").login("alice", crowd.first.password(1)).is(200, "granted-fresh");
}

#[test]
fn a_graceful_stop_drops_no_login_that_waits() {
    let crowd = Crowd::new();
    let server = Server::start(Nginx::one(), vec![crowd.scope(), open_to_all()]);
    let (held, waiting) = crowd.wait_at(&server.at("area"));
    server.send(&Request::get(server.at("open").path(PAGE))).is_status(200);
    let log = server.root().join(common::server::ERROR_LOG);
    std::thread::scope(|threads| {
        threads.spawn(|| {
            common::wait_until("the worker is told to stop", || {
                std::fs::read_to_string(&log)
                    .is_ok_and(|log| log.contains("gracefully shutting down"))
            });
            nobody_is_answered(&waiting);
            held.release();
        });
        server.finish_gracefully();
    });
    everybody_is_let_in(waiting);
}

#[test]
fn a_client_that_goes_away_while_its_login_waits_harms_nobody() {
    let crowd = Crowd::new();
    let server = Server::start(Nginx::one(), vec![crowd.scope(), open_to_all()]);
    let (held, mut waiting) = crowd.wait_at(&server.at("area"));
    server.send(&Request::get(server.at("open").path(PAGE))).is_status(200);
    let (gone, kept) = (waiting.split_off(WAITING / 2), waiting);
    drop(gone);
    // The answers to those find nobody.
    server.tolerate_log("shutdown() failed (107: Transport endpoint is not connected)");
    server.send(&Request::get(server.at("open").path(PAGE))).is_status(200);
    nobody_is_answered(&kept);
    held.release();
    everybody_is_let_in(kept);
    // Their codes are spent all the same: the answer was on its way.
    common::wait_until("all logins are decided", || {
        (0..WAITING).all(|number| server.decisions("granted-fresh", &format!("user{number}")) == 1)
    });
}

#[test]
fn a_stop_at_once_ends_a_server_whose_logins_wait() {
    let crowd = Crowd::new();
    let server = Server::start(Nginx::one(), vec![crowd.scope(), open_to_all()]);
    let (held, waiting) = crowd.wait_at(&server.at("area"));
    server.send(&Request::get(server.at("open").path(PAGE))).is_status(200);
    let log = server.root().join(common::server::ERROR_LOG);
    std::thread::scope(|threads| {
        threads.spawn(|| {
            common::wait_until("the worker is told to stop", || {
                std::fs::read_to_string(&log).is_ok_and(|log| log.contains("SIGTERM"))
            });
            held.release();
        });
        server.finish();
    });
    // Nobody was told to be in.
    for mut connection in waiting {
        assert!(connection.receive().is_err());
    }
}

#[test]
fn more_logins_than_the_pool_takes_are_answered_503() {
    let crowd = Crowd::new();
    let nginx = Nginx::one().main("thread_pool narrow threads=1 max_queue=1;");
    let scope = crowd.scope().directives("auth_otp_thread_pool narrow;");
    let server = Server::start(nginx, vec![scope]);
    server.expect_log("too many logins are waiting for a thread");
    server.expect_log("queue overflow");
    let (held, mut waiting) = crowd.wait_at(&server.at("area"));
    common::wait_until("all but two are refused", || {
        waiting.iter().filter(|connection| connection.has_answer()).count() >= WAITING - 2
    });
    held.release();
    let replies: Vec<Reply> = waiting
        .iter_mut()
        .map(|connection| Reply(connection.receive().expect("an answer")))
        .collect();
    let refused = replies.iter().filter(|reply| reply.status() == 503).count();
    assert_eq!(count(&replies, "granted-fresh") + refused, WAITING, "{replies:?}");
    assert!(refused >= WAITING - 2, "{replies:?}");
}

// ---- Once per request -------------------------------------------------------------------------------------

#[test]
fn redirects_within_the_server_spend_no_second_code() {
    let alice = alice();
    let scope = |name: &str, text: &str| {
        Scope::new(name).token(&alice).set(Setting::MaxLinger, 0).directives(text)
    };
    let server = Server::start(
        Nginx::one(),
        vec![
            scope("index", "index page.txt;"),
            scope("tries", "try_files $uri /tries/page.txt;"),
            scope("errors", "error_page 404 =200 /errors/page.txt;"),
        ],
    );
    server.expect_log("No such file or directory");
    for (counter, (name, file)) in
        [("index", ""), ("tries", "other"), ("errors", "other")].iter().enumerate()
    {
        let place = server.at(name);
        place.send(place.request_for(file, "alice", alice.password(0))).is(200, "granted-fresh");
        assert_eq!(place.users().counter("alice"), 1);
        assert_eq!(server.decisions("granted-fresh", "alice"), counter + 1);
        place.send(place.request_for(file, "alice", alice.password(0))).is(401, "denied-expired");
    }
    assert_eq!(server.all_decisions("alice").len(), 6);
}

#[test]
fn parts_of_a_granted_page_are_shown_and_spend_no_code() {
    let alice = alice();
    let included = "<!--#include virtual=\"/parts/page.txt\" -->";
    let nginx = Nginx::one().file("htdocs/parts/whole", included);
    let parts = Scope::new("parts").token(&alice).set(Setting::MaxLinger, 0);
    let server = Server::start(nginx, vec![parts.directives("ssi on;\nssi_types text/plain;")]);
    let place = server.at("parts");
    place.send(place.request_for("whole", "alice", alice.password(0))).is(200, "granted-fresh");
    assert_eq!(server.all_decisions("alice"), ["granted-fresh"]);
}

#[test]
fn a_protected_part_of_an_open_page_is_not_shown() {
    let alice = alice();
    let included = "before<!--#include virtual=\"/area/page.txt\" -->after";
    let nginx = Nginx::one().file("htdocs/open/whole", included);
    let open = open_to_all().directives("ssi on;\nssi_types text/plain;");
    let server = Server::start(nginx, vec![open, Scope::new("area").token(&alice)]);
    server.expect_log("sub-request for \"/area/page.txt\" refused");
    let place = server.at("open");
    let reply = place.send(place.request_for("whole", "alice", alice.password(0)));
    let text = reply.0.text();
    assert!(text.contains("before") && text.contains("403") && !text.contains(PAGE_TEXT), "{text}");
    assert_eq!(server.at("area").users().counter("alice"), 0);
}

#[test]
fn a_grant_for_one_users_file_shows_no_part_of_another() {
    let alice = alice();
    let included = "before<!--#include virtual=\"/other/page.txt\" -->after";
    let nginx = Nginx::one().file("htdocs/area/whole", included);
    let area = Scope::new("area").token(&alice).directives("ssi on;\nssi_types text/plain;");
    let server = Server::start(nginx, vec![area, Scope::new("other").token(&alice)]);
    server.expect_log("sub-request for \"/other/page.txt\" refused");
    let place = server.at("area");
    let reply = place.send(place.request_for("whole", "alice", alice.password(0)));
    assert!(!reply.0.text().contains(PAGE_TEXT), "{reply:?}");
    assert_eq!(server.at("other").users().counter("alice"), 0);
}

/// Though the same credentials would be good there.
#[test]
fn a_refused_request_is_shown_no_part_by_its_error_page() {
    let alice = alice();
    let included = "before<!--#include virtual=\"/area/page.txt\" -->after";
    let nginx = Nginx::one().file("htdocs/open/whole", included);
    let open = open_to_all().directives("ssi on;\nssi_types text/plain;");
    let other = Scope::new("other").directives("error_page 401 /open/whole;");
    let server = Server::start(nginx, vec![open, other, Scope::new("area").token(&alice)]);
    server.expect_log("sub-request for \"/area/page.txt\" refused");
    for result in ["granted-fresh", "granted-reuse"] {
        server.at("area").login("alice", alice.password(0)).is(200, result);
    }
    server.at("other").login("alice", alice.password(0)).is(401, "unknown");
}

#[test]
fn the_page_that_asks_again_may_name_the_next_code_on_paper() {
    let paper = Token::paper("paula", 30).pin(PIN);
    let shown = "<!--# if expr=\"$auth_otp_paper_next\" -->next <!--# echo var=\"auth_otp_paper_next\" --><!--# endif -->.";
    let nginx = Nginx::one().file("htdocs/open/ask", shown);
    let open = open_to_all().directives("ssi on;\nssi_types text/plain;");
    let area = Scope::new("area")
        .token(&paper)
        .set(Setting::Throttle, "20 600")
        .directives("error_page 401 /open/ask;");
    let server = Server::start(nginx, vec![open, area]);
    let place = server.at("area");
    let ask = |password: &str| place.login("paula", password).is_status(401).0.text();
    assert_eq!(ask(PIN), ".");
    place.login("paula", paper.password(2)).is(200, "granted-fresh");
    assert_eq!(ask(PIN), "next 4.");
    assert_eq!(ask("simsim8"), ".");
}

#[test]
fn auth_request_cannot_ask_us() {
    let alice = alice();
    let asking = Scope::bare("asking").directives("auth_request /area/page.txt;");
    let server = Server::start(Nginx::one(), vec![asking, Scope::new("area").token(&alice)]);
    server.expect_log("sub-request for \"/area/page.txt\" refused");
    server.at("asking").login("alice", alice.password(0)).is_status(403);
    assert_eq!(server.at("area").users().counter("alice"), 0);
    server.at("area").login("alice", alice.password(0)).is(200, "granted-fresh");
}

// ---- With other modules -----------------------------------------------------------------------------------

#[test]
fn deny_decides_before_credentials_are_looked_at() {
    let alice = alice();
    let server =
        Server::start(Nginx::one(), vec![Scope::new("area").token(&alice).directives("deny all;")]);
    server.expect_log("access forbidden by rule");
    let place = server.at("area");
    place.users().stays_the_same(|| {
        place.login("alice", alice.password(0)).is(403, "");
        place.login("alice", alice.with(&alice.wrong_code())).is(403, "");
    });
    assert!(server.all_decisions("alice").is_empty());
}

#[test]
fn satisfy_any_takes_an_address_or_a_login() {
    let alice = alice();
    let scope = |name: &str| Scope::new(name).token(&alice).set(Setting::MaxLinger, 600);
    let server = Server::start(
        Nginx::one(),
        vec![
            scope("inside").directives("satisfy any;\nallow 127.0.0.1;\ndeny all;"),
            scope("outside").directives("satisfy any;\ndeny all;"),
        ],
    );
    server.tolerate_log("access forbidden by rule");
    server.send(&Request::get(server.at("inside").path(PAGE))).is(200, "");
    let outside = server.at("outside");
    let refused = server.send(&Request::get(outside.path(PAGE)));
    refused.is(401, "");
    assert_eq!(
        refused.0.header("WWW-Authenticate"),
        Some("Basic realm=\"outside\", charset=\"UTF-8\"")
    );
    outside.login("alice", alice.with(&alice.wrong_code())).is(401, "denied-code");
    let granted = outside.login("alice", alice.password(0));
    granted.is(200, "granted-fresh");
    assert_eq!(granted.0.header("WWW-Authenticate"), None);
}

#[test]
fn limit_except_protects_the_other_methods() {
    let alice = alice();
    let scope = Scope::bare("area").token(&alice).directives(
        "limit_except GET {\nauth_otp area;\nauth_otp_users_file \"{users}\";\nauth_otp_max_linger 0;\n}",
    );
    let server = Server::start(Nginx::one(), vec![scope]);
    let place = server.at("area");
    server.send(&Request::get(place.path(PAGE))).is(200, "");
    server.send(&Request::post(place.path(PAGE), "a=b")).is(401, "");
    let post = Request::post(place.path(PAGE), "a=b").basic("alice", alice.password(0));
    // Who is let in hears from nginx that a file can't be posted to.
    server.send(&post).is(405, "granted-fresh");
    server.send(&post).is(401, "denied-expired");
}

#[test]
fn without_tls_nobody_is_asked_where_it_is_required() {
    let alice = alice();
    let scope = |name: &str| Scope::new(name).token(&alice).set(Setting::RequireTls, "on");
    let server = Server::start(
        Nginx::one(),
        vec![scope("area"), scope("any").directives("satisfy any;\nallow 127.0.0.1;\ndeny all;")],
    );
    server.expect_log("auth_otp_require_tls: request without TLS refused");
    for name in ["area", "any"] {
        let place = server.at(name);
        place
            .users()
            .stays_the_same(|| place.login("alice", alice.password(0)).is(403, "").status());
    }
}

#[test]
fn upstream_sees_the_pin_alone_where_asked_and_logs_the_user() {
    let alice = alice();
    let backend = Backend::start();
    let upstream = format!("proxy_pass http://127.0.0.1:{};", backend.port());
    let scope = |name: &str| Scope::new(name).token(&alice).directives(&upstream);
    let scopes = vec![scope("fake").set(Setting::PinFakeBasic, "on"), scope("plain")];
    let server = Server::start(Nginx::one(), scopes);
    for (name, password) in [("fake", PIN.to_owned()), ("plain", alice.password(0))] {
        let place = server.at(name);
        for result in ["granted-fresh", "granted-reuse"] {
            place.login("alice", alice.password(0)).is(200, result);
            let sent = common::client::basic("alice", &password);
            assert_eq!(backend.take_seen(), [Some(sent)]);
        }
        place.login("alice", alice.with(&alice.wrong_code())).is(401, "denied-code");
        assert!(backend.take_seen().is_empty());
        let lines = server.logged_accesses(&place.path(PAGE), 3);
        assert_eq!(lines[0], format!("200 granted-fresh alice alice {}", place.path(PAGE)));
        assert_eq!(lines[2], format!("401 denied-code - alice {}", place.path(PAGE)));
    }
}

#[test]
fn a_broken_users_file_is_an_error_of_its_own_location_alone() {
    let alice = alice();
    let broken = Scope::new("broken").users_file("/nonexistent/users");
    let fileless = Scope::bare("fileless").directives("auth_otp fileless;");
    let server =
        Server::start(Nginx::one(), vec![broken, fileless, Scope::new("area").token(&alice)]);
    server.expect_log("error: cannot find /nonexistent/users");
    server.expect_log("error: no auth_otp_users_file is set");
    server.at("broken").login("alice", alice.password(0)).is(500, "error");
    server.at("fileless").login("alice", alice.password(0)).is(500, "error");
    server.at("area").login("alice", alice.password(0)).is(200, "granted-fresh");
}

// ---- Many at once -----------------------------------------------------------------------------------------

#[test]
fn one_of_many_clients_of_four_workers_gets_a_fresh_code() {
    let alice = alice();
    let once = Scope::new("once").token(&alice).set(Setting::MaxLinger, 0);
    let lingering = Scope::new("lingering").token(&alice).set(Setting::MaxLinger, 600);
    let server = Server::start(Nginx::four(), vec![once, lingering]);
    let place = server.at("once");
    for round in 0..common::from_environment("OTPGATE_TEST_ROUNDS", 10) as u64 {
        let replies = place.at_once(&vec![place.request("alice", alice.password(round)); CLIENTS]);
        assert_eq!(count(&replies, "granted-fresh"), 1, "round {round}: {replies:?}");
        assert_eq!(count(&replies, "denied-expired"), CLIENTS - 1, "round {round}: {replies:?}");
    }
    assert_eq!(place.users().failures("alice"), 0);
    let place = server.at("lingering");
    let replies = place.at_once(&vec![place.request("alice", alice.password(0)); CLIENTS]);
    assert_eq!(count(&replies, "granted-fresh"), 1, "{replies:?}");
    assert_eq!(count(&replies, "granted-reuse"), CLIENTS - 1, "{replies:?}");
}

#[test]
fn apache_and_nginx_on_one_users_file_grant_a_code_once() {
    let alice = alice();
    let scope = Scope::new("area").token(&alice).set(Setting::MaxLinger, 0);
    let httpd = Server::start(Httpd::event(), vec![scope.clone()]);
    let shared = scope.users_file(httpd.at("area").users().path());
    let nginx = Server::start(Nginx::four(), vec![shared]);
    let places = [httpd.at("area"), nginx.at("area")];
    for round in 0..common::from_environment("OTPGATE_TEST_ROUNDS", 10) as u64 {
        let requests = places.each_ref().map(|place| place.request("alice", alice.password(round)));
        let both: Vec<_> =
            (0..CLIENTS).map(|client| (&places[client % 2], &requests[client % 2])).collect();
        let replies = all_at_once(&both);
        assert_eq!(count(&replies, "granted-fresh"), 1, "round {round}: {replies:?}");
        assert_eq!(count(&replies, "denied-expired"), CLIENTS - 1, "round {round}: {replies:?}");
    }
    assert_eq!(places[0].users().failures("alice"), 0);
}

// ---- Clients without an address ---------------------------------------------------------------------------

/// Status and result of a login that comes by a unix socket.
fn by_socket(server: &Server, password: &str, forwarded_for: &str) -> (String, String) {
    use std::io::{Read, Write};
    let authorization = common::client::basic("alice", password);
    server.keep_secret(authorization.trim_start_matches("Basic "));
    let path = server.at("area").path(PAGE);
    let request = format!(
        "GET {path} HTTP/1.0\r\nHost: localhost\r\nAuthorization: {authorization}\r\nX-Forwarded-For: {forwarded_for}\r\n\r\n"
    );
    let mut socket =
        std::os::unix::net::UnixStream::connect(server.root().join("socket")).expect("a listener");
    socket.write_all(request.as_bytes()).expect("a server that reads");
    let mut reply = String::new();
    socket.read_to_string(&mut reply).expect("an answer");
    let word = |line: &str, number: usize| {
        line.split_whitespace().nth(number).unwrap_or_default().to_owned()
    };
    let result = reply.lines().find(|line| line.starts_with(common::server::RESULT_HEADER));
    (word(&reply, 1), word(result.unwrap_or_default(), 1))
}

fn area_by_socket(logout_on_ip_change: &str) -> Scope {
    let area = Scope::new("area").token(&alice()).set(Setting::MaxLinger, 600);
    area.set(Setting::LogoutOnIpChange, logout_on_ip_change)
}

#[test]
fn clients_without_an_address_are_told_from_those_who_have_moved() {
    let answer = |status: &str, result: &str| (status.to_owned(), result.to_owned());
    let server = Server::start(
        Nginx::one().server_directives("listen unix:{root}/socket;"),
        vec![area_by_socket("on")],
    );
    server.expect_log(
        "denied-ip: the last accepted code, but the client has no address, as on a unix socket: tell the server the address (set_real_ip_from unix:",
    );
    let alice = alice();
    assert_eq!(by_socket(&server, &alice.password(0), "192.0.2.7"), answer("200", "granted-fresh"));
    assert_eq!(by_socket(&server, &alice.password(0), "192.0.2.7"), answer("401", "denied-ip"));
    assert_eq!(server.at("area").users().failures("alice"), 0);
    assert!(!server.error_log().contains("from another address"));
}

#[test]
fn clients_without_an_address_use_a_code_again_where_that_does_not_matter() {
    let server = Server::start(
        Nginx::one().server_directives("listen unix:{root}/socket;"),
        vec![area_by_socket("off")],
    );
    let alice = alice();
    for result in ["granted-fresh", "granted-reuse"] {
        let expected = ("200".to_owned(), result.to_owned());
        assert_eq!(by_socket(&server, &alice.password(0), "192.0.2.7"), expected);
    }
}

#[test]
fn a_unix_socket_whose_clients_nginx_is_told_is_like_any_listener() {
    let server = Server::start(
        Nginx::one().server_directives("listen unix:{root}/socket;\nset_real_ip_from unix:;"),
        vec![area_by_socket("on")],
    );
    let alice = alice();
    let answer = |status: &str, result: &str| (status.to_owned(), result.to_owned());
    let home =
        |result: &str| assert_eq!(by_socket(&server, &alice.password(0), "192.0.2.7").1, result);
    home("granted-fresh");
    home("granted-reuse");
    assert_eq!(by_socket(&server, &alice.password(0), "198.51.100.23"), answer("401", "denied-ip"));
    assert!(server.error_log().contains("from another address"));
}
