//! The page to log in and the cookie that it gives, on both servers, as a browser uses them.

mod common;

use std::sync::Barrier;
use std::time::{Duration, Instant};

use common::client;
use common::login_place::{AREA, PAGE, PIN, alice, httpd, nginx};
use common::server::{PAGE_TEXT, RESULT_HEADER};
use common::visitor::{Screen, Visitor};
use common::{Request, Server};

type Started = fn(&str, &str) -> Server;

macro_rules! on_both {
    ($($name:ident)*) => {
        mod on_httpd { $(#[test] fn $name() { super::$name(super::httpd); })* }
        mod on_nginx { $(#[test] fn $name() { super::$name(super::nginx); })* }
    };
}

on_both! {
    a_browser_is_sent_to_the_page_and_back_to_what_it_wanted
    what_is_wrong_is_said_and_nothing_about_why
    a_session_ends_with_its_logout_and_no_other
    logging_out_ends_a_session_that_lets_nobody_in_just_now
    a_cookie_lets_in_only_where_it_was_given_and_as_it_was_given
    a_form_without_our_token_spends_nothing
    a_login_leads_to_no_other_host
    one_code_sent_many_times_at_once_makes_one_session
    programs_are_told_without_a_page
    a_place_with_other_rules_says_so_instead_of_going_in_circles
    an_older_code_is_asked_for_anew_where_the_place_wants_that
    the_oldest_session_makes_way_for_one_too_many
    what_is_no_request_for_the_page_is_refused
    a_form_sent_after_the_session_has_ended_gets_the_page_and_is_not_passed_on
    a_form_of_the_page_that_has_lost_its_visit_gets_a_new_one_and_is_not_looked_at
    who_comes_with_a_cookie_alone_waits_for_nothing
    on_a_trusted_computer_name_and_pin_are_enough
    a_trusted_computer_has_a_cookie_that_only_its_host_and_browser_can_use
    a_copied_cookie_of_a_computer_ends_it_with_a_warning
    a_computer_is_trusted_where_that_is_allowed_and_for_users_with_a_pin
    a_computer_is_worth_nothing_where_a_code_is_wanted
    what_ends_a_computer_and_what_does_not
    crossing_from_a_place_that_trusts_computers_asks_for_the_code_alone
}

/// Fills in the form of the page.
fn log_in(visitor: &mut Visitor<'_>, screen: &Screen, user: &str, code: &str) -> Screen {
    visitor.submit(screen, &[("user", user), ("pin", PIN), ("code", code)])
}

/// Logs in with the code of that number.
#[track_caller]
fn logged_in<'s>(server: &'s Server, address: &str, number: u64) -> Visitor<'s> {
    let mut visitor = Visitor::of(server).at(address);
    let page = visitor.open(AREA);
    let done = log_in(&mut visitor, &page, "alice", &alice().code(number));
    assert_eq!(done.way().as_deref(), Some(AREA), "{}", done.text());
    visitor
}

#[track_caller]
fn is_let_in(visitor: &mut Visitor<'_>) {
    let screen = visitor.get(AREA);
    assert_eq!(screen.answer.status, 200, "{screen:?}");
    assert!(screen.text().contains(PAGE_TEXT));
    assert_eq!(screen.answer.header(RESULT_HEADER), Some("granted-session"));
}

#[track_caller]
fn is_sent_to_the_page(screen: &Screen) {
    assert_eq!(screen.answer.status, 303, "{screen:?}");
    let way = screen.way().expect("a way");
    assert!(way.starts_with(PAGE), "{way}");
}

fn a_browser_is_sent_to_the_page_and_back_to_what_it_wanted(start: Started) {
    let server = start("", "");
    let mut visitor = Visitor::of(&server);
    let wanted = "/area/page.txt?a=1&b=%2F%2e";
    let first = visitor.get(wanted);
    is_sent_to_the_page(&first);
    let page = visitor.get(&first.way().unwrap());
    assert_eq!(page.answer.status, 200);
    for (name, value) in [
        ("Cache-Control", "no-store"),
        ("X-Content-Type-Options", "nosniff"),
        ("Referrer-Policy", "same-origin"),
        ("Content-Language", "en"),
        ("Content-Type", "text/html; charset=utf-8"),
    ] {
        assert_eq!(page.answer.headers_of(name), [value], "{name}");
    }
    let policy = page.answer.header("Content-Security-Policy").expect("a policy");
    for part in ["default-src 'none'", "frame-ancestors 'none'", "base-uri 'none'"] {
        assert!(policy.contains(part), "{policy}");
    }
    assert!(!page.text().contains("<script"), "no script");
    let done = log_in(&mut visitor, &page, "alice", &alice().code(0));
    assert_eq!(done.way().as_deref(), Some(wanted), "{}", done.text());
    assert_eq!(done.answer.header(RESULT_HEADER), Some("granted-fresh"));
    is_let_in(&mut visitor);
    // Again and again, with one line of the file.
    is_let_in(&mut visitor);
    let users = String::from_utf8(server.at("area").users().bytes()).unwrap();
    assert_eq!(users.matches("#@ session alice ").count(), 1, "{users}");
    // Somebody who comes to the page again is told, and led on.
    let page = visitor.get(PAGE);
    assert!(page.text().contains("alice"));
    let way = visitor.get(&first.way().unwrap());
    assert_eq!(way.way().as_deref(), Some(wanted));
    // Another browser has nothing of it.
    is_sent_to_the_page(&Visitor::of(&server).get(AREA));
    for (language, tag) in [("de-AT", "de"), ("fr", "fr"), ("es", "es"), ("ja", "en")] {
        let page = Visitor::of(&server).speaking(language).open(AREA);
        assert_eq!(page.answer.header("Content-Language"), Some(tag));
    }
}

fn what_is_wrong_is_said_and_nothing_about_why(start: Started) {
    let server = start("auth_otp_throttle 6 600", "");
    let mut visitor = Visitor::of(&server);
    let mut screen = visitor.open(AREA);
    let code = alice().code(0);
    let wrong = |visitor: &mut Visitor<'_>, screen: &Screen, user: &str, pin: &str, code: &str| {
        visitor.submit(screen, &[("user", user), ("pin", pin), ("code", code)])
    };
    let mut texts = Vec::new();
    for (user, pin, code) in [
        ("alice", "wrong", code.as_str()),
        ("alice", PIN, "000000"),
        ("alice", PIN, ""),
        ("nobody", PIN, &code),
    ] {
        screen = wrong(&mut visitor, &screen, user, pin, code);
        assert_eq!(screen.answer.status, 403, "{user} {pin}");
        assert!(visitor.session().is_none());
        let text = screen.text();
        // What was typed as name comes again; nothing else does.
        assert!(!text.contains(PIN) && (code.is_empty() || !text.contains(code)), "{text}");
        texts.push(text.replace("value=\"alice\"", "").replace("value=\"nobody\"", ""));
    }
    let plain = |text: &String| {
        let csrf = text.split("name=\"csrf\" value=\"").nth(1).and_then(|it| it.split('"').next());
        text.replace(csrf.unwrap_or_default(), "").replace(" value=\"\"", "")
    };
    for text in &texts[1..] {
        assert_eq!(plain(text), plain(&texts[0]));
    }
    // Nothing was spent, and the file is as it was but for the failure.
    let done = log_in(&mut visitor, &screen, "alice", &code);
    assert_eq!(done.way().as_deref(), Some(AREA));

    let mut other = Visitor::of(&server).at("198.51.100.9");
    let mut screen = other.open(AREA);
    for _ in 0..6 {
        screen = wrong(&mut other, &screen, "alice", "wrong", "123456");
        assert_eq!(screen.answer.status, 403);
        screen = other.open(AREA);
    }
    let mut last = screen;
    for number in 0..8 {
        last = wrong(&mut other, &last, "alice", &format!("other{number}"), "123456");
    }
    assert_eq!(last.answer.status, 429, "{}", last.text());
    assert!(last.answer.header("Retry-After").is_some());
}

fn a_session_ends_with_its_logout_and_no_other(start: Started) {
    let server = start("", "");
    let mut one = logged_in(&server, "198.51.100.7", 0);
    let mut two = logged_in(&server, "198.51.100.8", 1);
    let kept = one.cookies.clone();
    let page = one.get(PAGE);
    let out = one.submit(&page, &[]);
    assert_eq!(out.answer.status, 303);
    assert!(one.session().is_none());
    assert!(one.get(&out.way().unwrap()).text().contains("logged out"));
    is_sent_to_the_page(&one.get(AREA));
    // The cookie is worth nothing to whoever has kept it.
    one.cookies = kept;
    is_sent_to_the_page(&one.get(AREA));
    is_let_in(&mut two);
    // A link does nothing.
    assert_eq!(two.get("/otp/login?out").answer.status, 200);
    is_let_in(&mut two);
}

fn logging_out_ends_a_session_that_lets_nobody_in_just_now(start: Started) {
    let server = start("auth_otp_logout_on_ip_change on", "");
    let mut visitor = logged_in(&server, "198.51.100.7", 0);
    let kept = visitor.cookies.clone();
    let page = visitor.get(PAGE);
    let mut visitor = visitor.at("198.51.100.8");
    assert_eq!(visitor.submit(&page, &[]).answer.status, 303);
    assert!(visitor.session().is_none());
    let mut visitor = visitor.at("198.51.100.7");
    visitor.cookies = kept;
    is_sent_to_the_page(&visitor.get(AREA));
}

fn a_cookie_lets_in_only_where_it_was_given_and_as_it_was_given(start: Started) {
    let server = start("auth_otp_logout_on_ip_change on", "");
    let mut visitor = logged_in(&server, "198.51.100.7", 0);
    is_let_in(&mut visitor);
    let (name, value) = visitor.session().cloned().expect("a session");
    let parts: Vec<&str> = value.split('.').collect();
    let mut forged: Vec<(String, String)> = Vec::new();
    for cut in [0, 1, 5, value.len() / 2, value.len() - 1] {
        forged.push((name.clone(), value[..cut].to_owned()));
    }
    for more in ["A", ".", ".A", "=", "%00", " x"] {
        forged.push((name.clone(), format!("{value}{more}")));
    }
    for part in 0..parts.len() {
        let mut changed: Vec<String> = parts.iter().map(|&part| part.to_owned()).collect();
        let first = changed[part].chars().next().unwrap_or('A');
        let other = if first == 'A' { "B" } else { "A" };
        changed[part] = format!("{other}{}", changed[part].get(1..).unwrap_or_default());
        forged.push((name.clone(), changed.join(".")));
        changed.remove(part);
        forged.push((name.clone(), changed.join(".")));
    }
    forged.push((name.to_uppercase(), value.clone()));
    forged.push((format!("x{name}"), value.clone()));
    forged.push((format!("__Host-{name}"), value.clone()));
    forged.push((name.clone(), value.to_uppercase()));
    assert!(forged.len() >= 26, "{}", forged.len());
    for (name, value) in forged {
        let mut thief = Visitor::of(&server);
        thief.cookies = vec![(name.clone(), value.clone())];
        let screen = thief.get(AREA);
        assert_eq!(screen.answer.status, 303, "{name}={value}");
    }
    // From another address.
    let mut thief = Visitor::of(&server).at("203.0.113.5");
    thief.cookies = visitor.cookies.clone();
    assert_eq!(thief.get(AREA).answer.status, 303);
    // At another host of the same server.
    let elsewhere =
        client::fetch_of_host(server.port(), "other.example", &visitor.request(Request::get(AREA)));
    assert_eq!(elsewhere.status, 303);
    is_let_in(&mut visitor);
}

fn a_form_without_our_token_spends_nothing(start: Started) {
    let server = start("", "");
    let code = alice().code(0);
    let filled = |csrf: Option<&str>| {
        let mut fields = vec![("do", "login"), ("user", "alice"), ("pin", PIN), ("code", &code)];
        fields.extend(csrf.map(|csrf| ("csrf", csrf)));
        fields.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect::<Vec<_>>()
    };
    let mut other = Visitor::of(&server);
    let (_, fields) = other.open(AREA).form();
    let of_other = fields.iter().find(|(name, _)| name == "csrf").expect("a token").1.clone();

    // Without the cookie of a visit.
    let screen = Visitor::of(&server).post(PAGE, &filled(Some(&of_other)));
    assert_eq!(screen.answer.status, 403, "{}", screen.text());
    let mut visitor = Visitor::of(&server);
    let page = visitor.open(AREA);
    for csrf in [None, Some(""), Some("x"), Some(".x"), Some(of_other.as_str())] {
        let screen = visitor.post(PAGE, &filled(csrf));
        assert_eq!(screen.answer.status, 403, "{csrf:?}");
    }
    // By a page of another site.
    let (action, mut fields) = page.form();
    fields.extend(filled(None).into_iter().filter(|(name, _)| name != "do"));
    let body: Vec<String> = fields.iter().map(|(name, value)| format!("{name}={value}")).collect();
    for (name, value) in [
        ("Origin", "https://evil.example"),
        ("Origin", "null"),
        ("Origin", "http://localhost.evil.example"),
        ("Origin", "http://localhost:1"),
    ] {
        let request = Request::post(&*action, &body.join("&")).header(name, value);
        let screen = visitor.send(&action, request);
        assert_eq!(screen.answer.status, 403, "{name}: {value}");
    }
    assert_eq!(server.at("area").users().counter("alice"), 0, "nothing was spent");
    let done = log_in(&mut visitor, &page, "alice", &code);
    assert_eq!(done.way().as_deref(), Some(AREA), "{}", done.text());
}

fn a_login_leads_to_no_other_host(start: Started) {
    let server = start("", "");
    for (number, target) in [
        "//evil.example/",
        "/\\evil.example",
        "/%5cevil.example",
        "/%2f%2fevil.example",
        "/.//evil.example",
        "/..//evil.example",
        "/area/..//evil.example/x",
        "/otp/login",
        "/otp/./login",
        "/otp/%6cogin?x",
        "/x/../otp/login",
    ]
    .into_iter()
    .enumerate()
    {
        let mut visitor = Visitor::of(&server);
        // No place sends a browser there with such a target; and no text that we haven't sealed
        // leads anywhere.
        let page = visitor.get(&format!("{PAGE}?to={target}"));
        if number > 0 {
            let (_, fields) = page.form();
            assert!(fields.iter().all(|(name, _)| name != "to"), "{fields:?}");
            continue;
        }
        let done = log_in(&mut visitor, &page, "alice", &alice().code(0));
        assert_eq!(done.way().as_deref(), Some("/"), "{}", done.text());
    }
    // Somebody else's sealed text is as none.
    let mut other = Visitor::of(&server).at("198.51.100.9");
    let sealed = other.get(AREA).way().expect("a way");
    let mut visitor = Visitor::of(&server).at("198.51.100.10");
    let page = visitor.get(&sealed);
    assert!(page.form().1.iter().all(|(name, _)| name != "to"));
}

fn one_code_sent_many_times_at_once_makes_one_session(start: Started) {
    const CLIENTS: usize = 32;
    let server = start("", "");
    let mut visitor = Visitor::of(&server);
    let page = visitor.open(AREA);
    let barrier = Barrier::new(CLIENTS);
    let code = alice().code(0);
    let values: Vec<Option<String>> = std::thread::scope(|threads| {
        let clients: Vec<_> = (0..CLIENTS)
            .map(|_| {
                let (barrier, page, code, server) = (&barrier, &page, &code, &server);
                let mut own = Visitor::of(server);
                own.cookies = visitor.cookies.clone();
                threads.spawn(move || {
                    barrier.wait();
                    let done = log_in(&mut own, page, "alice", code);
                    // Refused for a moment, or let in.
                    assert!([200, 403, 503].contains(&done.answer.status), "{done:?}");
                    own.session().map(|(_, value)| value.clone())
                })
            })
            .collect();
        clients.into_iter().map(|client| client.join().expect("no panic")).collect()
    });
    let mut made: Vec<String> = values.into_iter().flatten().collect();
    made.sort();
    made.dedup();
    assert_eq!(made.len(), 1, "one cookie, however many have it");
    assert_eq!(server.decisions("granted-fresh", "alice"), 1);
    // Later, the code alone is worth nothing, and isn't counted.
    let place = server.at("area");
    let users = place.users();
    assert_eq!((users.counter("alice"), users.failures("alice")), (1, 0));
}

fn programs_are_told_without_a_page(start: Started) {
    let server = start("", "");
    for (accept, content_type) in
        [("application/json", "application/json"), ("text/plain", "text/plain; charset=utf-8")]
    {
        let request = Request::get(AREA).header("Accept", accept);
        let answer = server.send(&request).0;
        assert_eq!(answer.status, 401, "{answer:?}");
        let found = answer.header("Content-Type").unwrap_or_default();
        assert!(found.starts_with(content_type.split(';').next().unwrap()), "{found}");
        assert!(answer.headers_of("WWW-Authenticate").is_empty());
        assert!(!answer.text().is_empty());
    }
    // What a page's own script asks for is no place to log in.
    let request = Request::get(AREA).header("Accept", "text/html").header("Sec-Fetch-Mode", "cors");
    assert_eq!(server.send(&request).status(), 401);
    let request = Request::post(AREA, "a=b").header("Accept", "text/html");
    assert_eq!(server.send(&request).status(), 401);
    // Credentials of Basic are none here.
    let request = server.at("area").request("alice", alice().password(0));
    assert_eq!(server.send(&request).status(), 401);
    assert_eq!(server.at("area").users().counter("alice"), 0);
}

fn a_place_with_other_rules_says_so_instead_of_going_in_circles(start: Started) {
    let server = start("", "auth_otp_max_offset 7");
    server.expect_log("doesn't accept logins made there");
    let mut visitor = Visitor::of(&server);
    let page = visitor.open(AREA);
    assert_eq!(page.answer.status, 500, "{}", page.text());
}

fn an_older_code_is_asked_for_anew_where_the_place_wants_that(start: Started) {
    let server = start("", "auth_otp_max_age 2");
    let mut visitor = logged_in(&server, "198.51.100.7", 0);
    is_let_in(&mut visitor);
    let before = visitor.session().cloned();
    let mut screen = visitor.get(AREA);
    common::wait_until("the code is too old here", || {
        screen = visitor.get(AREA);
        screen.answer.status == 303
    });
    let page = visitor.get(&screen.way().unwrap());
    let text = page.text();
    assert!(text.contains("alice") && text.contains("name=\"code\""), "{text}");
    assert!(!text.contains("name=\"pin\""), "the PIN isn't asked for again");
    let refused = visitor.submit(&page, &[("code", "000000")]);
    assert_eq!(refused.answer.status, 403, "{}", refused.text());
    let used = visitor.submit(&page, &[("code", &alice().code(0))]);
    assert_eq!(used.answer.status, 403, "a used code is none");
    let done = visitor.submit(&page, &[("code", &alice().code(1))]);
    assert_eq!(done.way().as_deref(), Some(AREA), "{}", done.text());
    assert_ne!(visitor.session().cloned(), before);
    is_let_in(&mut visitor);
    // The one before is over.
    visitor.cookies.retain(|(name, _)| name.ends_with("-visit"));
    visitor.cookies.extend(before);
    assert_eq!(visitor.get(AREA).answer.status, 303);
}

fn the_oldest_session_makes_way_for_one_too_many(start: Started) {
    let server = start("auth_otp_sessions 2\nauth_otp_max_offset 10", "");
    let mut one = logged_in(&server, "198.51.100.7", 0);
    let mut two = logged_in(&server, "198.51.100.7", 1);
    is_let_in(&mut one);
    is_let_in(&mut two);
    let mut three = logged_in(&server, "198.51.100.7", 2);
    is_let_in(&mut two);
    is_let_in(&mut three);
    is_sent_to_the_page(&one.get(AREA));
}

fn what_is_no_request_for_the_page_is_refused(start: Started) {
    let server = start("", "");
    let mut visitor = Visitor::of(&server);
    visitor.open(AREA);
    for (request, status) in [
        (Request::get(PAGE).method("PUT"), 405),
        (Request::get(PAGE).method("DELETE"), 405),
        (Request::post(PAGE, &"a=b&".repeat(2000)), 413),
        (Request::post(PAGE, "a=%zz"), 400),
        (Request::post(PAGE, "user=a&user=b"), 400),
        (
            Request::get(PAGE).method("POST").body("{}").header("Content-Type", "application/json"),
            415,
        ),
    ] {
        let answer = visitor.send(PAGE, request.clone()).answer;
        assert_eq!(answer.status, status, "{request:?}: {answer:?}");
    }
    let head = client::fetch(server.port(), &visitor.request(Request::head(PAGE)));
    assert_eq!((head.status, head.body.len()), (200, 0));
}

/// A form of the application's, as a browser sends it.
fn sent_by_a_browser(visitor: &mut Visitor<'_>, path: &str) -> Screen {
    visitor.post(path, &[("text".to_owned(), "a long letter".to_owned())])
}

fn a_form_sent_after_the_session_has_ended_gets_the_page_and_is_not_passed_on(start: Started) {
    let server = start("", "auth_otp_max_age 2");
    let mut visitor = logged_in(&server, "198.51.100.7", 0);
    let passed_on = sent_by_a_browser(&mut visitor, AREA);
    assert!(![401, 303].contains(&passed_on.answer.status), "{passed_on:?}");
    // The code is too old for this place by now: it alone is asked for.
    let mut screen = sent_by_a_browser(&mut visitor, AREA);
    common::wait_until("the code is too old here", || {
        screen = sent_by_a_browser(&mut visitor, AREA);
        screen.answer.status == 401
    });
    let says = "What you sent was not passed on";
    assert!(screen.text().contains(says) && !screen.text().contains("name=\"pin\""), "{screen:?}");
    let done = visitor.submit(&screen, &[("code", &alice().code(1))]);
    assert_eq!(done.way().as_deref(), Some(AREA), "{}", done.text());
    is_let_in(&mut visitor);
    // Nobody is logged in any more.
    let page = visitor.get(PAGE);
    visitor.submit(&page, &[]);
    let screen = sent_by_a_browser(&mut visitor, AREA);
    assert_eq!(screen.answer.status, 401, "{screen:?}");
    assert!(screen.text().contains(says) && !screen.text().contains(PAGE_TEXT), "{screen:?}");
    assert_eq!(screen.answer.header("Content-Type"), Some("text/html; charset=utf-8"));
    assert_eq!(screen.answer.headers_of("Cache-Control"), ["no-store"]);
    assert!(screen.answer.headers_of("WWW-Authenticate").is_empty());
    assert!(!screen.text().contains("a long letter"), "nothing of it comes back");
    assert_eq!(screen.form().0, PAGE);
    // The page says it in the language of the browser, and leads on as any other.
    let mut german = Visitor::of(&server).speaking("de");
    let screen = sent_by_a_browser(&mut german, AREA);
    assert!(screen.text().contains("wurde nicht weitergegeben"), "{}", screen.text());
    let done = log_in(&mut german, &screen, "alice", &alice().code(2));
    assert_eq!(done.way().as_deref(), Some(AREA), "{}", done.text());
    is_let_in(&mut german);
    // Whoever isn't a browser that sends a form.
    for (request, content_type) in [
        (Request::post(AREA, "a=b").header("Accept", "application/json"), "application/json"),
        (Request::post(AREA, "a=b"), "text/plain"),
        (
            Request::post(AREA, "a=b")
                .header("Accept", "text/html")
                .header("Sec-Fetch-Mode", "cors"),
            "text/plain",
        ),
        (Request::post(AREA, "a=b").method("PUT").header("Accept", "text/html"), "text/plain"),
    ] {
        let answer = server.send(&request).0;
        assert_eq!(answer.status, 401, "{request:?}");
        let found = answer.header("Content-Type").unwrap_or_default();
        assert!(found.starts_with(content_type), "{request:?}: {found}");
    }
}

fn a_form_of_the_page_that_has_lost_its_visit_gets_a_new_one_and_is_not_looked_at(start: Started) {
    let server = start("", "");
    let mut visitor = Visitor::of(&server);
    let page = visitor.open(AREA);
    let code = alice().code(0);
    // Whether the browser has lost the cookie, or has that of another visit by now.
    let others = {
        let mut other = Visitor::of(&server);
        other.open(AREA);
        other.cookies
    };
    for (cookies, says) in [(Vec::new(), "sent no cookie"), (others, "The form was too old")] {
        visitor.cookies = cookies;
        let again = log_in(&mut visitor, &page, "alice", &code);
        assert_eq!(again.answer.status, 403, "{again:?}");
        assert!(again.text().contains(says), "{}", again.text());
        assert_eq!(server.at("area").users().counter("alice"), 0, "nothing was spent");
        // What it shows is a form that can be used.
        assert!(again.text().contains("name=\"pin\""));
        assert!(!visitor.cookies.is_empty());
    }
    let again = log_in(&mut visitor, &page, "alice", &code);
    let done = log_in(&mut visitor, &again, "alice", &code);
    assert_eq!(done.way().as_deref(), Some("/"), "{}", done.text());
    is_let_in(&mut visitor);
}

fn who_comes_with_a_cookie_alone_waits_for_nothing(start: Started) {
    let server = start("auth_otp_refusal_time 10000", "");
    let mut visitor = logged_in(&server, "198.51.100.7", 0);
    is_let_in(&mut visitor);
    // The session is gone; the cookie is as it was.
    let users = String::from_utf8(server.at("area").users().bytes()).expect("text");
    let left = users.lines().filter(|line| !line.starts_with("#@ session alice"));
    server.at("area").users().replace(left.map(|line| format!("{line}\n")).collect::<String>());
    let begun = Instant::now();
    let refused = visitor.get(AREA);
    assert_eq!(refused.answer.status, 303, "{refused:?}");
    assert_eq!(server.decisions("denied-session", "alice"), 1);
    assert!(begun.elapsed() < Duration::from_secs(8), "{:?}", begun.elapsed());
}

/// Logs in with the code of that number and has the computer trusted.
#[track_caller]
fn trusted<'s>(server: &'s Server, address: &str, number: u64) -> Visitor<'s> {
    let mut visitor = Visitor::of(server).at(address);
    let page = visitor.open(AREA);
    assert!(page.text().contains("for 30 days"), "{}", page.text());
    let code = alice().code(number);
    let filled = [("user", "alice"), ("pin", PIN), ("code", &*code), ("computer", "1")];
    let done = visitor.submit(&page, &filled);
    assert_eq!(done.way().as_deref(), Some(AREA), "{}", done.text());
    assert!(visitor.computer().is_some(), "{done:?}");
    visitor
}

/// The browser was closed, and its user comes again with name and PIN.
fn comes_again(visitor: &mut Visitor<'_>, pin: &str) -> Screen {
    visitor.close();
    let page = visitor.open(AREA);
    visitor.submit(&page, &[("user", "alice"), ("pin", pin), ("code", "")])
}

fn on_a_trusted_computer_name_and_pin_are_enough(start: Started) {
    let server = start("auth_otp_trusted_computer 30", "");
    let mut visitor = trusted(&server, "198.51.100.7", 0);
    for address in ["198.51.100.7", "203.0.113.9"] {
        // Wherever it is carried.
        visitor = visitor.at(address);
        let before = visitor.computer().cloned();
        let done = comes_again(&mut visitor, PIN);
        assert_eq!(done.way().as_deref(), Some(AREA), "{}", done.text());
        assert_eq!(done.answer.header(RESULT_HEADER), Some("granted-computer"));
        assert_ne!(visitor.computer().cloned(), before, "it is another one now");
        is_let_in(&mut visitor);
    }
    let users = String::from_utf8(server.at("area").users().bytes()).unwrap();
    assert_eq!(users.matches("#@ computer alice ").count(), 1, "{users}");
    // It is told so, and its user's name is there.
    visitor.close();
    let page = visitor.open(AREA).text();
    let is_told = |page: &str| page.contains("you can leave this empty");
    assert!(is_told(&page) && page.contains("value=\"alice\""), "{page}");
    // Another browser needs a code.
    let page = Visitor::of(&server).open(AREA).text();
    assert!(!is_told(&page) && !page.contains("alice"), "{page}");
    let done = comes_again(&mut Visitor::of(&server), PIN);
    assert_eq!(done.answer.status, 403);
    server.expect_log("granted-computer: the PIN alone, on a trusted computer, user \"alice\"");
}

fn a_trusted_computer_has_a_cookie_that_only_its_host_and_browser_can_use(start: Started) {
    let server = start("auth_otp_trusted_computer 30", "");
    let mut visitor = Visitor::of(&server);
    let page = visitor.open(AREA);
    let code = alice().code(0);
    let filled = [("user", "alice"), ("pin", PIN), ("code", &*code), ("computer", "1")];
    let done = visitor.submit(&page, &filled);
    let headers = done.answer.headers_of("Set-Cookie");
    let header = headers.iter().find(|it| it.contains("-computer=")).expect("its cookie");
    let (_, attributes) = header.split_once("; ").expect("attributes");
    // Without TLS here; its name and Secure are those of the session's cookie.
    assert_eq!(attributes, "Path=/; HttpOnly; SameSite=Lax; Max-Age=2592000");
    let name = &visitor.session().expect("a session").0;
    assert_eq!(visitor.computer().expect("a computer").0, format!("{name}-computer"));
    // Another box than ticked is none.
    for value in ["", "0", "on", "11"] {
        let mut other = Visitor::of(&server);
        let page = other.open(AREA);
        let code = alice().code(server.at("area").users().counter("alice") as u64);
        let filled = [("user", "alice"), ("pin", PIN), ("code", &*code), ("computer", value)];
        let done = other.submit(&page, &filled);
        assert_eq!(done.way().as_deref(), Some(AREA), "{}", done.text());
        assert!(other.computer().is_none(), "{value}");
    }
    // Forged, by somebody who knows the PIN.
    let (name, value) = visitor.computer().cloned().expect("a computer");
    for (forged, what) in [
        (value.replace('.', ""), "no fields"),
        (value[..value.len() - 1].to_owned(), "cut"),
        (format!("{value}A"), "extended"),
        (format!("{value}; {name}-visit=x"), "another one behind it"),
    ] {
        let mut thief = Visitor::of(&server);
        thief.cookies.push((name.clone(), forged));
        let page = thief.open(AREA);
        let done = thief.submit(&page, &[("user", "alice"), ("pin", PIN), ("code", "")]);
        let is_good = what == "another one behind it";
        assert_eq!(done.way().is_some(), is_good, "{what}: {}", done.text());
    }
    // The application sees none of it where it is stripped: all our cookies have one beginning.
    assert!(name.starts_with("otpgate-"));
}

fn a_copied_cookie_of_a_computer_ends_it_with_a_warning(start: Started) {
    let server = start("auth_otp_trusted_computer 30", "");
    let mut visitor = trusted(&server, "198.51.100.7", 0);
    let mut thief = Visitor::of(&server).at("203.0.113.9");
    thief.cookies.push(visitor.computer().cloned().unwrap());
    for _ in 0..2 {
        assert_eq!(comes_again(&mut visitor, PIN).way().as_deref(), Some(AREA));
    }
    is_let_in(&mut visitor);
    server.expect_log("a computer isn't trusted any more: a cookie of it came that was replaced");
    let done = comes_again(&mut thief, PIN);
    assert_eq!(done.answer.status, 403);
    assert!(thief.computer().is_none(), "it is told to go");
    // Its owner is out as well, and needs a code.
    is_sent_to_the_page(&visitor.get(AREA));
    assert_eq!(comes_again(&mut visitor, PIN).answer.status, 403);
    trusted(&server, "198.51.100.7", 1);
}

fn a_computer_is_trusted_where_that_is_allowed_and_for_users_with_a_pin(start: Started) {
    // Nobody has said that any may be: there is no box, and who sends one all the same has nothing.
    let server = start("", "");
    let mut visitor = Visitor::of(&server);
    let page = visitor.open(AREA);
    assert!(!page.text().contains("name=\"computer\""), "{}", page.text());
    let code = alice().code(0);
    let filled = [("user", "alice"), ("pin", PIN), ("code", &*code), ("computer", "1")];
    let done = visitor.submit(&page, &filled);
    assert_eq!(done.way().as_deref(), Some(AREA));
    assert!(visitor.computer().is_none());
    // The file allows it for all its places, and takes it back.
    let area = server.at("area");
    let users = area.users();
    let edit = |from: &str, to: &str| {
        let content = String::from_utf8(users.bytes()).unwrap();
        assert!(content.contains(from), "{content}");
        users.replace(content.replacen(from, to, 1));
    };
    edit("", "#@ allow trusted-computer=30\n");
    let mut visitor = trusted(&server, "198.51.100.7", 1);
    assert_eq!(comes_again(&mut visitor, PIN).way().as_deref(), Some(AREA));
    is_let_in(&mut visitor);
    edit("#@ allow trusted-computer=30\n", "");
    assert_eq!(comes_again(&mut visitor, PIN).answer.status, 403);
    edit("", "#@ allow trusted-computer=30\n#@ always alice\n");
    assert_eq!(comes_again(&mut visitor, PIN).answer.status, 403);
    edit("#@ always alice\n", "");
    assert_eq!(comes_again(&mut visitor, PIN).way().as_deref(), Some(AREA));
}

fn a_computer_is_worth_nothing_where_a_code_is_wanted(start: Started) {
    let server = start("auth_otp_trusted_computer 30", "auth_otp_max_age 3600");
    let mut visitor = trusted(&server, "198.51.100.7", 0);
    is_let_in(&mut visitor);
    visitor.close();
    let page = visitor.get(PAGE);
    let done = visitor.submit(&page, &[("user", "alice"), ("pin", PIN), ("code", "")]);
    assert_eq!(done.answer.header(RESULT_HEADER), Some("granted-computer"));
    // The page asks for the code alone, and then it is as new as is wanted.
    let page = visitor.open(AREA);
    assert!(page.text().contains("name=\"code\""), "{}", page.text());
    assert!(!page.text().contains("name=\"pin\""), "{}", page.text());
    let done = visitor.submit(&page, &[("code", &alice().code(1))]);
    assert_eq!(done.way().as_deref(), Some(AREA), "{}", done.text());
    is_let_in(&mut visitor);
}

fn crossing_from_a_place_that_trusts_computers_asks_for_the_code_alone(start: Started) {
    // The area has none trusted, the page has.
    let server = start("auth_otp_trusted_computer 30", "auth_otp_trusted_computer off");
    let mut visitor = trusted(&server, "198.51.100.7", 0);
    is_let_in(&mut visitor);
    let done = comes_again(&mut visitor, PIN);
    assert_eq!(done.answer.header(RESULT_HEADER), Some("granted-computer"));
    let page = visitor.open(AREA);
    assert!(page.text().contains("name=\"code\""), "{}", page.text());
    assert!(!page.text().contains("name=\"pin\""), "{}", page.text());
    let done = visitor.submit(&page, &[("code", &alice().code(1))]);
    assert_eq!(done.way().as_deref(), Some(AREA), "{}", done.text());
    is_let_in(&mut visitor);
}

fn what_ends_a_computer_and_what_does_not(start: Started) {
    let server = start("auth_otp_trusted_computer 30\nauth_otp_max_failures 3", "");
    let mut visitor = trusted(&server, "198.51.100.7", 0);
    // Logging out ends the session.
    let page = visitor.get(PAGE);
    visitor.submit(&page, &[]);
    is_sent_to_the_page(&visitor.get(AREA));
    assert_eq!(comes_again(&mut visitor, PIN).way().as_deref(), Some(AREA));
    // Wrong PINs have a code asked for, once.
    server.expect_log("too many wrong PINs without a code");
    for pin in ["1", "2", "3"] {
        assert_eq!(comes_again(&mut visitor, pin).answer.status, 403);
    }
    assert_eq!(comes_again(&mut visitor, PIN).answer.status, 403);
    let page = visitor.open(AREA);
    let done = log_in(&mut visitor, &page, "alice", &alice().code(1));
    assert_eq!(done.way().as_deref(), Some(AREA), "{}", done.text());
    assert_eq!(comes_again(&mut visitor, PIN).way().as_deref(), Some(AREA));
    // Another PIN.
    let area = server.at("area");
    let users = area.users();
    let content = String::from_utf8(users.bytes()).unwrap();
    users.replace(content.replacen(PIN, "sesame8", 1));
    assert_eq!(comes_again(&mut visitor, "sesame8").answer.status, 403);
    assert_eq!(comes_again(&mut visitor, PIN).answer.status, 403);
}
