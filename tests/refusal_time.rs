//! Refusals last alike, whatever was done for them; and nobody waits for those who wait.

mod common;

use std::time::{Duration, Instant};

use common::{Httpd, Nginx, Place, Scope, Server, Setting, Start, Token};

const PIN: &str = "sesame9";
/// By bcrypt at cost 10, some 50 ms and more.
const SLOW: &str = "$2y$10$JZrmUxnGvj2Fbag4cGyXV.mlHKgs74DDcaSYs.ic9WsdxrKmNfxR6";
const TIME: Duration = Duration::from_millis(400);

common::on_both_servers! {
    refusals_of_every_kind_go_out_at_a_multiple_of_the_time
    grants_and_first_questions_go_out_at_once
    switched_off_nothing_waits
    who_sends_slowly_does_not_choose_the_moment
}

fn scope(name: &str) -> Scope {
    Scope::new(name)
        .set(Setting::MaxFailures, 3)
        .set(Setting::LockoutTime, 0)
        .set(Setting::Throttle, "1000 600")
}

fn took<R>(work: impl FnOnce() -> R) -> (Duration, R) {
    let begun = Instant::now();
    let result = work();
    (begun.elapsed(), result)
}

#[track_caller]
fn refused(at: &Place<'_>, user: &str, password: &str) -> Duration {
    let (time, reply) = took(|| at.login(user, password));
    reply.is_status(401);
    time
}

fn refusals_of_every_kind_go_out_at_a_multiple_of_the_time(start: Start) {
    let literal = Token::hotp("literal").pin(PIN);
    let hashed = Token::hotp("hashed").hashed_pin(PIN, SLOW);
    let locked = Token::hotp("locked").pin(PIN);
    let area = scope("area").token(&literal).token(&hashed).token(&locked);
    let server = start(vec![area.set(Setting::RefusalTime, TIME.as_millis())]);
    let at = server.at("area");
    for code in locked.wrong_codes(3) {
        refused(&at, "locked", &locked.with(&code));
    }
    for (user, password) in [
        ("nobody", "123456".to_owned()),
        ("LITERAL", "123456".to_owned()),
        ("literal", "wrong9755224".to_owned()),
        ("literal", literal.with(&literal.wrong_code())),
        ("literal", "1".to_owned()),
        ("hashed", "wrong9755224".to_owned()),
        ("locked", locked.password(0)),
    ] {
        let time = refused(&at, user, &password);
        let over = time.as_millis() % TIME.as_millis();
        // Servers count in whole milliseconds, and a loaded machine is late, not early.
        assert!(time >= TIME - Duration::from_millis(3), "{user}: {time:?}");
        assert!(over < 150 || over >= TIME.as_millis() - 3, "{user}: {time:?}");
    }
}

fn grants_and_first_questions_go_out_at_once(start: Start) {
    let alice = Token::hotp("alice").pin(PIN);
    let slow =
        scope("area").token(&alice).set(Setting::MaxLinger, 600).set(Setting::RefusalTime, 10_000);
    let server = start(vec![slow]);
    let at = server.at("area");
    let (time, _) = took(|| {
        at.send(common::Request::get(at.path("page.txt"))).is_status(401);
        at.login("alice", alice.password(0)).is(200, "granted-fresh");
        at.login("alice", alice.password(0)).is(200, "granted-reuse");
    });
    assert!(time < Duration::from_secs(8), "{time:?}");
}

fn who_sends_slowly_does_not_choose_the_moment(start: Start) {
    use std::io::{Read, Write};
    let alice = Token::hotp("alice").pin(PIN);
    let server =
        start(vec![scope("area").token(&alice).set(Setting::RefusalTime, TIME.as_millis())]);
    let mut stream =
        std::net::TcpStream::connect(("127.0.0.1", server.port())).expect("a connection");
    write!(stream, "GET /area/page.txt HTTP/1.1\r\n").expect("sent");
    std::thread::sleep(TIME * 3 / 4);
    let begun = Instant::now();
    write!(
        stream,
        "Host: localhost\r\nConnection: close\r\nAuthorization: Basic bm9ib2R5OjEyMzQ1Ng==\r\n\r\n"
    )
    .expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 401"), "{answer}");
    assert!(begun.elapsed() >= TIME - Duration::from_millis(3), "{:?}", begun.elapsed());
}

fn switched_off_nothing_waits(start: Start) {
    let alice = Token::hotp("alice").pin(PIN);
    let area = scope("area").token(&alice).set(Setting::RefusalTime, "Off");
    let server = start(vec![area]);
    let at = server.at("area");
    let (time, ()) = took(|| {
        for number in 0..50 {
            at.login("alice", format!("wrong{number}755224")).is(401, "denied-pin");
        }
    });
    assert!(time < Duration::from_secs(8), "{time:?}");
}

/// Waiting takes a thread on httpd: four of a client wait, the rest goes out at once and leaves the
/// threads to others.
#[test]
fn on_httpd_four_refusals_of_a_client_wait_and_others_are_served() {
    let alice = Token::hotp("alice").pin(PIN);
    let area =
        scope("area").token(&alice).set(Setting::MaxLinger, 600).set(Setting::RefusalTime, 10_000);
    let server = Server::start(Httpd::event(), vec![area]);
    let at = server.at("area");
    let (time, replies) = took(|| {
        std::thread::scope(|threads| {
            let waiting: Vec<_> =
                (0..4).map(|_| threads.spawn(|| at.login("nobody", "123456").status())).collect();
            common::wait_until("four wait", || server.decisions("unknown", "nobody") >= 4);
            for _ in 0..50 {
                at.login("nobody", "123456").is_status(401);
            }
            at.login("alice", alice.password(0)).is(200, "granted-fresh");
            let quick = Instant::now();
            (quick, waiting.into_iter().map(|thread| thread.join().unwrap()).collect::<Vec<_>>())
        })
    });
    assert_eq!(replies.1, [401; 4]);
    assert!(time >= Duration::from_millis(9_900), "{time:?}");
    assert!(replies.0.elapsed() > Duration::from_secs(2), "fifty didn't wait for them");
}

/// nginx waits by a timer, so a flood of refusals holds up nobody.
#[test]
fn on_nginx_a_thousand_refusals_wait_at_the_same_time() {
    let alice = Token::hotp("alice").pin(PIN);
    let area =
        scope("area").token(&alice).set(Setting::MaxLinger, 600).set(Setting::RefusalTime, 2000);
    let server = Server::start(Nginx::one(), vec![area]);
    let at = server.at("area");
    let requests = vec![at.request("nobody", "123456"); 400];
    let (time, replies) = took(|| at.at_once(&requests));
    assert!(replies.iter().all(|reply| reply.status() == 401));
    assert!(time >= Duration::from_millis(1990) && time < Duration::from_secs(20), "{time:?}");
    at.login("alice", alice.password(0)).is(200, "granted-fresh");
}
