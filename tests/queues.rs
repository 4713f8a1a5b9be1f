//! Who waits for whom: nobody for strangers who try PINs, and the users of one file not for those
//! of another.

mod common;

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use common::{Held, Httpd, Nginx, Request, Scope, Setting, Start, Token};

const PIN: &str = "sesame9";
/// By bcrypt at cost 10, some 50 ms and more.
const SLOW: &str = "$2y$10$JZrmUxnGvj2Fbag4cGyXV.mlHKgs74DDcaSYs.ic9WsdxrKmNfxR6";
/// What strangers and stopped programs hold up for seconds takes longer.
const SOON: Duration = Duration::from_secs(4);

common::on_each_server! {
    on_httpd: Httpd::event() =>
        wrong_pins_of_one_user_hold_up_nobody_else
        a_held_lock_of_one_file_holds_up_no_login_on_another
        sixty_four_requests_of_a_new_process_with_one_right_password_are_all_let_in;
    on_nginx: Nginx::one() =>
        wrong_pins_of_one_user_hold_up_nobody_else
        a_held_lock_of_one_file_holds_up_no_login_on_another
        sixty_four_requests_of_a_new_process_with_one_right_password_are_all_let_in;
}

fn hashed(user: &str) -> Token {
    Token::hotp(user).hashed_pin(PIN, SLOW)
}

fn wrong_pins_of_one_user_hold_up_nobody_else(start: Start) {
    let (victim, alice) = (hashed("victim"), hashed("alice"));
    let scope = Scope::new("area").token(&victim).token(&alice).set(Setting::Throttle, "1000 600");
    let server = start(vec![scope.set(Setting::MaxLinger, 0).set(Setting::MaxFailures, "None")]);
    server.tolerate_log("server reached MaxRequestWorkers");
    let at = server.at("area");
    let (ended, number) = (AtomicBool::new(false), AtomicUsize::new(0));
    /// Also when the test fails: the scope waits for its threads.
    struct End<'e>(&'e AtomicBool);
    impl Drop for End<'_> {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Relaxed);
        }
    }
    std::thread::scope(|threads| {
        let _end = End(&ended);
        for client in 0..24 {
            let (at, ended, number) = (&at, &ended, &number);
            threads.spawn(move || {
                while !ended.load(Ordering::Relaxed) {
                    let serial = number.fetch_add(1, Ordering::Relaxed);
                    let reply = at.login_from(
                        &format!("198.51.100.{client}"),
                        "victim",
                        format!("wrong{serial:05}755224"),
                    );
                    assert!([401, 429, 503].contains(&reply.status()), "{reply:?}");
                }
            });
        }
        common::wait_until("they are at it", || number.load(Ordering::Relaxed) > 50);
        for counter in 0..2 {
            let begun = Instant::now();
            at.login_from("192.0.2.7", "alice", alice.password(counter)).is(200, "granted-fresh");
            assert!(begun.elapsed() < SOON, "{:?}", begun.elapsed());
        }
    });
}

fn a_held_lock_of_one_file_holds_up_no_login_on_another(start: Start) {
    let alice = Token::hotp("alice").pin(PIN);
    let scope = |name: &str| Scope::new(name).token(&alice).set(Setting::MaxLinger, 0);
    let server = start(vec![scope("held"), scope("free")]);
    let (held, free) = (server.at("held"), server.at("free"));
    for place in [&held, &free] {
        place.login("alice", alice.password(0)).is(200, "granted-fresh");
    }
    server.tolerate_log("another program has held it for 5 seconds");
    let lock = Held::of(held.users());
    std::thread::scope(|threads| {
        for _ in 0..100 {
            threads.spawn(|| {
                let status = held.login("alice", alice.password(1)).status();
                assert!([200, 401, 500, 503].contains(&status), "{status}");
            });
        }
        common::wait_until("some are refused for a moment", || {
            server.decisions("denied-busy", "alice") > 0
        });
        for counter in 1..4 {
            let begun = Instant::now();
            free.login("alice", alice.password(counter)).is(200, "granted-fresh");
            assert!(begun.elapsed() < SOON, "{:?}", begun.elapsed());
        }
        lock.release();
    });
    let reply = held.login("alice", alice.password(2));
    reply.is(200, "granted-fresh");
}

fn sixty_four_requests_of_a_new_process_with_one_right_password_are_all_let_in(start: Start) {
    let literal = Token::hotp("literal").pin(PIN);
    let alice = hashed("alice");
    let scope = Scope::new("area").token(&alice).token(&literal).set(Setting::MaxLinger, 600);
    let server = start(vec![scope.set(Setting::Throttle, "20 600")]);
    let at = server.at("area");
    at.login("alice", alice.password(0)).is(200, "granted-fresh");
    // Nothing is remembered, but where she comes from.
    server.reload();
    for (user, password) in [("alice", alice.password(0)), ("literal", literal.password(0))] {
        let requests: Vec<Request> = vec![at.request(user, password); 64];
        let statuses: Vec<u16> = at.at_once(&requests).iter().map(|reply| reply.status()).collect();
        assert_eq!(statuses, [200; 64], "{user}");
    }
}
