//! Many clients at the same moment, over all threads and processes of a server.

#[path = "common/at_once.rs"]
mod at_once;
mod common;

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use at_once::{
    PIN, limit_of_five_lets_five_codes_be_tried, one_of_many_gets_a_fresh_code, rounds,
    users_who_log_in_at_once_are_all_granted,
};
use common::server::{Reply, all_at_once};
use common::{Connection, Httpd, Mpm, Nginx, Scope, Server, Setting, Start, Token};

common::on_each_server! {
    mpm_event: Httpd::event() =>
        one_of_many_gets_a_fresh_code limit_of_five_lets_five_codes_be_tried
        users_who_log_in_at_once_are_all_granted reloads_under_load_lose_no_login;
    mpm_worker: Httpd::new(Mpm::Worker) =>
        one_of_many_gets_a_fresh_code limit_of_five_lets_five_codes_be_tried reloads_under_load_lose_no_login;
    mpm_prefork: Httpd::new(Mpm::Prefork) =>
        one_of_many_gets_a_fresh_code limit_of_five_lets_five_codes_be_tried reloads_under_load_lose_no_login
        children_shot_at_any_moment_forget_no_grant;
    many_processes_of_mpm_event: many_processes() => children_shot_at_any_moment_forget_no_grant;
    nginx_with_one_worker: Nginx::one() =>
        one_of_many_gets_a_fresh_code limit_of_five_lets_five_codes_be_tried
        users_who_log_in_at_once_are_all_granted reloads_under_load_lose_no_login;
    nginx_with_four_workers: Nginx::four() =>
        one_of_many_gets_a_fresh_code limit_of_five_lets_five_codes_be_tried
        users_who_log_in_at_once_are_all_granted reloads_under_load_lose_no_login
        children_shot_at_any_moment_forget_no_grant;
}

/// As httpd replaces lost ones slowly.
fn many_processes() -> Httpd {
    Httpd::event().directives(
        "ThreadsPerChild 2\nServerLimit 16\nStartServers 16\nMinSpareThreads 4\n\
         MaxSpareThreads 32\nMaxRequestWorkers 32",
    )
}

fn reloads_under_load_lose_no_login(start: Start) {
    let tokens: Vec<Token> =
        (0..4).map(|number| Token::hotp(format!("user{number}")).pin(PIN)).collect();
    let scope = tokens.iter().fold(Scope::new("area"), |scope, token| scope.token(token));
    let server = start(vec![scope.set(Setting::MaxLinger, 600)]);
    let place = server.at("area");
    let over = AtomicBool::new(false);
    let served = AtomicUsize::new(0);
    std::thread::scope(|threads| {
        for token in &tokens {
            let (place, over, served) = (&place, &over, &served);
            threads.spawn(move || {
                let mut counter = 0;
                while !over.load(Ordering::SeqCst) {
                    let password = token.password(counter);
                    place.login(token.user(), &password).is(200, "granted-fresh");
                    for _ in 0..5 {
                        place.login(token.user(), &password).is(200, "granted-reuse");
                    }
                    counter += 1;
                    served.fetch_add(6, Ordering::SeqCst);
                }
                assert_eq!(place.users().counter(token.user()), counter as i64);
            });
        }
        // Ends the clients even if a reload fails.
        let _end = OnDrop(|| over.store(true, Ordering::SeqCst));
        for _ in 0..20 {
            let before = served.load(Ordering::SeqCst);
            server.reload();
            common::wait_until("clients are served after the reload", || {
                served.load(Ordering::SeqCst) >= before + 6
            });
        }
    });
    common::wait_until("children of the last generation", || !server.children().is_empty());
    place.login("nobody", "whatever").is(401, "unknown");
    server.finish_gracefully();
}

/// Sixteen at each of two servers that share a users file.
#[test]
fn one_of_many_on_both_servers_gets_a_code_from_paper() {
    let paper = Token::paper("paula", 30).pin(PIN);
    let scope = Scope::new("area").token(&paper).set(Setting::MaxLinger, 0);
    let httpd = Server::start(Httpd::event(), vec![scope.clone()]);
    let here = httpd.at("area");
    let nginx = Server::start(Nginx::four(), vec![scope.users_file(here.users().path())]);
    let there = nginx.at("area");
    for counter in 0..rounds().min(30) as u64 {
        let request = here.request("paula", paper.password(counter));
        let requests: Vec<_> =
            (0..32).map(|number| ([&here, &there][number % 2], &request)).collect();
        let replies = all_at_once(&requests);
        let count = |word| replies.iter().filter(|reply| reply.result() == word).count();
        let counts = [count("granted-fresh"), count("denied-expired")];
        assert_eq!(counts, [1, 31], "code {counter}: {replies:?}");
        assert_eq!(here.users().counter("paula"), counter as i64 + 1);
    }
    assert_eq!(here.users().failures("paula"), 0);
}

/// A login that was answered with a grant is never acceptable again, though the process that
/// answered, or one that was just writing, is shot.
fn children_shot_at_any_moment_forget_no_grant(start: Start) {
    let tokens: Vec<Token> =
        (0..4).map(|number| Token::hotp(format!("user{number}")).pin(PIN)).collect();
    let scope = tokens.iter().fold(Scope::new("area"), |scope, token| scope.token(token));
    let server = start(vec![scope.set(Setting::MaxLinger, 0)]);
    server.tolerate_log("AH10392"); // "children are killed successively!"
    server.tolerate_log("exited on signal 9");
    server.tolerate_log("AH00486"); // "server seems busy": as many of its children are dead
    let place = server.at("area");
    let ask = |token: &Token, counter: u64| -> Option<Reply> {
        let request = place.request(token.user(), token.password(counter));
        let mut connection = Connection::open(server.port()).ok()?;
        connection.send(&request, false).ok().map(Reply)
    };
    let over = AtomicBool::new(false);
    let (granted, lost) = (AtomicUsize::new(0), AtomicUsize::new(0));
    std::thread::scope(|threads| {
        let _end = OnDrop(|| over.store(true, Ordering::SeqCst));
        for token in &tokens {
            let (ask, over, granted, lost) = (&ask, &over, &granted, &lost);
            threads.spawn(move || {
                let mut counter = 0;
                while !over.load(Ordering::SeqCst) {
                    let answer = ask(token, counter);
                    let word = answer.as_ref().map_or("", Reply::result);
                    assert!(["", "granted-fresh", "denied-expired"].contains(&word), "{answer:?}");
                    if word.is_empty() {
                        // Its process was shot: whether the code was spent, only another attempt
                        // tells.
                        lost.fetch_add(1, Ordering::SeqCst);
                        continue;
                    }
                    granted.fetch_add(usize::from(word == "granted-fresh"), Ordering::SeqCst);
                    // Nobody gets in with it again.
                    if let Some(again) = ask(token, counter) {
                        again.is(401, "denied-expired");
                    }
                    counter += 1;
                }
            });
        }
        let mut volleys = 0;
        while volleys < rounds() || lost.load(Ordering::SeqCst) == 0 {
            assert!(volleys < 20 * rounds(), "no answer was lost, so nothing was tried out");
            let before = granted.load(Ordering::SeqCst);
            common::wait_until("logins go on", || granted.load(Ordering::SeqCst) > before);
            let children = server.children();
            for &child in &children[..children.len().div_ceil(8).min(children.len())] {
                let child = rustix::process::Pid::from_raw(child as i32).expect("a process");
                // It may have ended by itself.
                let _ = rustix::process::kill_process(child, rustix::process::Signal::KILL);
            }
            volleys += 1;
        }
    });
    for token in &tokens {
        assert_eq!(place.users().failures(token.user()), 0);
    }
}

struct OnDrop<F: FnMut()>(F);

impl<F: FnMut()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}
