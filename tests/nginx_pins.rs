//! PINs on nginx: checked by a PIN file, on threads, remembered by the worker.

mod common;

use std::time::Instant;

use common::scope::htpasswd_line;
use common::server::PAGE;
use common::{Connection, Held, Nginx, Place, Reply, Request, Scope, Server, Setting, Token};

const PIN: &str = "sesame9";
const WRONG_PIN: &str = "simsim8";
const CROWD: usize = 20;
/// Of [`PIN`], by `htpasswd -B -C 10`: some 50 ms of a processor.
const BCRYPT: &str = "$2y$10$6mCed1ywixduFppk5wmTYOzgEhu99Evkn2ZbNSJoZNktXn0XP9dBi";

fn external(user: &str) -> Token {
    Token::hotp(user).external_pin(PIN)
}

/// Those that httpd's own provider doesn't know; the others are in the table of cases for all
/// servers.
#[test]
fn forms_that_nginx_and_directories_have_are_checked() {
    let entries = [
        (
            "argon2id",
            "$argon2id$v=19$m=1024,t=1,p=1$c2FsdHNhbHQ$UgIhFaHXoNNKA7q2PfSTthQPWCWdWyy0Q0v/NAy0a6w",
        ),
        ("ssha", "{SSHA}gDcm9Y8cZyGs/iXzH8K/e0x5VYFzYWx0"),
        ("plain", "{PLAIN}sesame9"),
    ];
    let scope = entries.iter().fold(Scope::new("area"), |scope, (user, entry)| {
        scope.token(&external(user)).pin_file_line(&format!("{user}:{entry}"))
    });
    let server = Server::start(Nginx::one(), vec![scope]);
    let place = server.at("area");
    for (user, entry) in entries {
        let token = external(user);
        place.users().stays_the_same(|| {
            place.login(user, format!("{WRONG_PIN}{}", token.code(0))).is(401, "denied-pin");
            place.login(user, format!("{entry}{}", token.code(0))).is(401, "denied-pin");
        });
        place.login(user, token.password(0)).is(200, "granted-fresh");
    }
}

#[test]
fn entry_of_an_unknown_form_refuses_its_user_and_is_named_in_the_log() {
    let (dave, erin) = (external("dave"), external("erin"));
    let scope = Scope::new("area").token(&dave).token(&erin);
    let scope =
        scope.pin_file_line("# PINs").pin_file_line("dave:qpMRiU9Qde1d.").pin_file("erin", PIN);
    let server = Server::start(Nginx::one(), vec![scope]);
    server.expect_log("pins/area line 2: the PIN is in none of the accepted forms");
    server.expect_log(
        "the PIN provider or PIN file can't be used; see the previous message, user \"dave\"",
    );
    let place = server.at("area");
    place.users().stays_the_same(|| {
        place.login("dave", dave.password(0)).is(500, "error");
    });
    place.login("erin", erin.password(0)).is(200, "granted-fresh");
    place.replace_pin_file(&htpasswd_line("dave", PIN));
    place.login("dave", dave.password(0)).is(200, "granted-fresh");
}

#[test]
fn pin_file_that_cannot_be_read_refuses_those_who_need_it() {
    let (dave, alice) = (external("dave"), Token::hotp("alice").pin(PIN));
    let scope =
        Scope::new("area").token(&dave).token(&alice).directives("auth_otp_pin_file nowhere;");
    let server = Server::start(Nginx::one(), vec![scope]);
    server.expect_log("nowhere: No such file or directory; create it with `htpasswd -c -B`");
    server.expect_log("the PIN provider or PIN file can't be used");
    let place = server.at("area");
    place.users().stays_the_same(|| {
        place.login("dave", dave.password(0)).is(500, "error");
    });
    place.login("alice", alice.password(0)).is(200, "granted-fresh");
}

#[test]
fn what_stands_behind_nginx_sees_the_checked_pin() {
    let dave = external("dave");
    let scope =
        Scope::new("area").token(&dave).pin_file("dave", PIN).set(Setting::PinFakeBasic, "on");
    let nginx = Nginx::one().server_directives(
        "add_header X-Otp-Result $auth_otp_result always;\nadd_header X-Upstream $http_authorization;",
    );
    let server = Server::start(nginx, vec![scope]);
    for result in ["granted-fresh", "granted-reuse"] {
        let reply = server.at("area").login("dave", dave.password(0));
        reply.is(200, result);
        let expected = common::client::basic("dave", PIN);
        assert_eq!(reply.0.header("X-Upstream"), Some(expected.as_str()));
    }
}

/// Redirected within the server from one PIN file to another.
#[test]
fn another_pin_file_is_asked_again() {
    let dave = external("dave");
    let users = "auth_otp area;\nauth_otp_users_file \"{root}/users/area/users\";\n";
    let to_second = "error_page 404 =200 /second/page.txt;";
    let second = Scope::bare("second").directives(&format!("{users}auth_otp_pin_file pins/other;"));
    let server = Server::start(
        Nginx::one(),
        vec![
            Scope::new("area").token(&dave).pin_file("dave", PIN).directives(to_second),
            second,
            Scope::new("other").text("x").pin_file("dave", "opendoor"),
        ],
    );
    server.expect_log("No such file or directory");
    let place = server.at("area");
    place.send(place.request_for("missing", "dave", dave.password(0))).is(401, "denied-pin");
    server.at("other").replace_pin_file(&htpasswd_line("dave", PIN));
    place.send(place.request_for("missing", "dave", dave.password(0))).is(200, "granted-reuse");
}

// ---- Remembering ------------------------------------------------------------------------------------------

/// The pool's only thread waits for a lock that we hold: what is answered now, the loop answers by
/// itself.
#[test]
fn remembered_pin_takes_no_thread_until_line_or_pin_file_change() {
    let (dave, erin) = (external("dave"), external("erin"));
    let hashed = Token::hotp("hashed").hashed_pin(PIN, BCRYPT);
    let scope = Scope::new("area")
        .token(&dave)
        .token(&erin)
        .token(&hashed)
        .pin_file_line(&format!("dave:{BCRYPT}"));
    let scope = scope.pin_file("erin", PIN).directives("auth_otp_thread_pool narrow;");
    let server = Server::start(Nginx::one().main("thread_pool narrow threads=1;"), vec![scope]);
    let place = server.at("area");
    for token in [&dave, &hashed] {
        place.login(token.user(), token.password(0)).is(200, "granted-fresh");
    }
    let held = Held::of(place.users());
    let mut waiting = ask(&place, &erin.password(0), "erin");
    for _ in 0..3 {
        for token in [&dave, &hashed] {
            place.login(token.user(), token.password(0)).is(200, "granted-reuse");
        }
    }
    // Though the PIN stays what it was: what is remembered is about another file.
    place.replace_pin_file(&format!("dave:{BCRYPT}\n{}", htpasswd_line("erin", PIN)));
    let mut again = ask(&place, &dave.password(0), "dave");
    place.login("hashed", hashed.password(0)).is(200, "granted-reuse");
    assert!(!waiting.has_answer() && !again.has_answer());
    held.release();
    Reply(waiting.receive().expect("an answer")).is(200, "granted-fresh");
    Reply(again.receive().expect("an answer")).is(200, "granted-reuse");
}

#[test]
fn without_a_memory_every_pin_takes_a_thread() {
    let (dave, erin) = (external("dave"), external("erin"));
    let scope =
        Scope::new("area").token(&dave).token(&erin).pin_file("dave", PIN).pin_file("erin", PIN);
    // Where tries are counted, names that aren't listed take a thread as well.
    let scope = scope.set(Setting::PinCache, 0).set(Setting::Throttle, "off");
    let scope = scope.directives("auth_otp_thread_pool narrow;");
    let server = Server::start(Nginx::one().main("thread_pool narrow threads=1;"), vec![scope]);
    let place = server.at("area");
    // The second time because only the first write moves lines.
    for counter in [0, 1] {
        place.login("dave", dave.password(counter)).is(200, "granted-fresh");
    }
    let held = Held::of(place.users());
    let mut waiting = ask(&place, &erin.password(0), "erin");
    let mut again = ask(&place, &dave.password(1), "dave");
    place.login("nobody", "whatever").is(401, "unknown");
    assert!(!waiting.has_answer() && !again.has_answer());
    held.release();
    Reply(waiting.receive().expect("an answer")).is(200, "granted-fresh");
    Reply(again.receive().expect("an answer")).is(200, "granted-reuse");
}

fn ask(place: &Place<'_>, password: &str, user: &str) -> Connection {
    let mut connection = Connection::open(place.server().port()).expect("a connection");
    connection.ask(&place.request(user, password), false).expect("a server that reads");
    connection
}

// ---- Hashing ----------------------------------------------------------------------------------------------

fn hashing_keeps_nobody_else_waiting(tokens: Vec<Token>, area: Scope) {
    let area = tokens.iter().fold(area, |scope, token| scope.token(token));
    let server = Server::start(Nginx::one(), vec![area, Scope::bare("open")]);
    let place = server.at("area");
    let open = Request::get(server.at("open").path(PAGE));
    let mut connection = Connection::open(server.port()).expect("a connection");
    Reply(connection.send(&open, true).expect("an answer")).is_status(200);
    let mut logins: Vec<Connection> = tokens
        .iter()
        .map(|token| {
            ask(&place, &token.password(0), str::from_utf8(token.user()).expect("a plain name"))
        })
        .collect();
    // A loop that hashed by itself would get round to the open place once after each login at most.
    let (mut answered, mut slowest) = (0, 0.0f64);
    while !logins.iter().all(Connection::has_answer) {
        let begun = Instant::now();
        Reply(connection.send(&open, true).expect("an answer")).is_status(200);
        slowest = slowest.max(begun.elapsed().as_secs_f64());
        answered += 1;
    }
    eprintln!(
        "{answered} open requests were answered meanwhile, the slowest in {:.2} ms",
        slowest * 1e3
    );
    assert!(answered > 2 * CROWD, "{answered}");
    for login in &mut logins {
        Reply(login.receive().expect("an answer")).is(200, "granted-fresh");
    }
}

#[test]
fn while_hashes_of_the_users_file_are_computed_the_loop_answers_others() {
    let tokens = (0..CROWD)
        .map(|number| Token::hotp(format!("user{number}")).hashed_pin(PIN, BCRYPT))
        .collect();
    hashing_keeps_nobody_else_waiting(tokens, Scope::new("area"));
}

#[test]
fn while_hashes_of_a_pin_file_are_computed_the_loop_answers_others() {
    let tokens: Vec<Token> = (0..CROWD).map(|number| external(&format!("user{number}"))).collect();
    let area = (0..CROWD).fold(Scope::new("area"), |scope, number| {
        scope.pin_file_line(&format!("user{number}:{BCRYPT}"))
    });
    hashing_keeps_nobody_else_waiting(tokens, area);
}
