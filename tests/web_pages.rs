//! What web users see who aren't let in: the pages of `pages/` on both servers.

mod common;

use std::collections::BTreeSet;

use common::web_pages;
use common::{Held, Httpd, Reply, Request, Scope, Server, Setting, Start, Token};
use otpgate::decide::LoginResult;

const PIN: &str = "sesame9";
const LANGUAGES: [&str; 4] = ["de", "en", "es", "fr"];
const STATUSES: [u16; 3] = [401, 429, 503];
const CONTACT: &str = "Help <desk>, phone 1234";
const CONTACT_SHOWN: &str = "<p class=\"contact\">Help &lt;desk&gt;, phone 1234</p>";

common::on_each_server! {
    on_httpd: web_pages::httpd_with_contact("otpgate_contact", CONTACT) =>
        who_is_not_logged_in_reads_what_to_type_in_their_language
        the_language_is_the_one_liked_best_of_those_there_are
        no_list_of_languages_keeps_a_page_from_being_shown
        who_has_used_up_all_tries_reads_how_long_to_wait
        a_stranger_learns_nothing_from_a_page
        a_page_is_shown_by_no_address_of_its_own
        a_form_that_is_sent_without_a_login_is_answered_by_the_page;
    on_nginx: web_pages::nginx_with_contact("otpgate_contact", CONTACT) =>
        who_is_not_logged_in_reads_what_to_type_in_their_language
        the_language_is_the_one_liked_best_of_those_there_are
        no_list_of_languages_keeps_a_page_from_being_shown
        who_has_used_up_all_tries_reads_how_long_to_wait
        a_stranger_learns_nothing_from_a_page
        a_page_is_shown_by_no_address_of_its_own
        a_form_that_is_sent_without_a_login_is_answered_by_the_page;
}

fn alice() -> Token {
    Token::hotp("alice").pin(PIN)
}

fn area() -> Scope {
    Scope::new("area").token(&alice())
}

/// The page of the sources as a server shows it to somebody who waits so many seconds.
fn shown(status: u16, language: &str, contact: &str, wait: Option<&str>) -> String {
    let mut text = String::new();
    for line in web_pages::read(&format!("{status}.{language}.html")).lines() {
        if line.starts_with("<p class=\"contact\">") {
            text += contact;
        } else if line.starts_with("<p class=\"wait\">") {
            let words = line.split("value=\"").nth(1).and_then(|rest| rest.split('"').next());
            let words = words.expect("what is said of the wait");
            let words = wait.map(|seconds| words.replace("$otpgate_wait", seconds));
            text += &format!("<p class=\"wait\">{}</p>", words.unwrap_or_default());
        } else {
            text += line;
        }
        text.push('\n');
    }
    text
}

/// Insists on all that a page's answer has to have.
#[track_caller]
fn is_the_page(reply: &Reply, status: u16, language: &str) {
    let answer = &reply.0;
    let has = |name: &str| answer.headers_of(name);
    assert_eq!(answer.status, status, "{reply:?}");
    assert_eq!(has("Content-Type"), ["text/html; charset=utf-8"], "{status} {language}");
    assert_eq!(has("Content-Language"), [language], "{status} {language}");
    assert_eq!(has("Cache-Control"), ["no-store"], "{status} {language}");
    let varies = has("Vary").join(",").to_ascii_lowercase();
    assert!(varies.contains("accept-language"), "{varies}");
    assert_eq!(has("ETag"), [""; 0], "{status} {language}");
    let challenges = has("WWW-Authenticate");
    assert_eq!(challenges.len(), usize::from(status == 401), "{challenges:?}");
    for challenge in challenges {
        assert!(challenge.starts_with("Basic realm=\""), "{challenge}");
    }
}

fn page(server: &Server, accepted: &str) -> Reply {
    server.send(&Request::get("/area/page.txt").header("Accept-Language", accepted))
}

fn who_is_not_logged_in_reads_what_to_type_in_their_language(start: Start) {
    let server = start(vec![area()]);
    for language in LANGUAGES {
        let reply = page(&server, language);
        is_the_page(&reply, 401, language);
        assert_eq!(reply.0.text(), shown(401, language, CONTACT_SHOWN, None));

        let request = Request::head("/area/page.txt").header("Accept-Language", language);
        is_the_page(&server.send(&request), 401, language);

        let wrong = server.at("area").request("alice", "wrong755224");
        let reply = server.send(&wrong.header("Accept-Language", language));
        is_the_page(&reply, 401, language);
        assert_eq!(reply.0.text(), shown(401, language, CONTACT_SHOWN, None));
    }
    let reply = server.send(&Request::get("/area/page.txt"));
    is_the_page(&reply, 401, "en");
    // There is nothing there, which nobody learns without a login.
    let reply = server.send(&Request::get("/elsewhere"));
    assert_eq!((reply.status(), reply.0.text()), (401, shown(401, "en", CONTACT_SHOWN, None)));
    server.at("area").login("alice", alice().password(0)).is(200, "granted-fresh");
}

/// Accept-Language, and the language of the page.
const ASKED_FOR: [(&str, &str); 29] = [
    ("", "en"),
    ("de", "de"),
    ("fr-CH", "fr"),
    ("DE-at, en", "de"),
    // As Chromium, Firefox and Safari send it.
    ("de-AT,de;q=0.9,en-US;q=0.8,en;q=0.7", "de"),
    ("es-ES,es;q=0.8,en-US;q=0.5,en;q=0.3", "es"),
    ("fr-FR,fr;q=0.9", "fr"),
    ("ja, fr;q=0.4, es;q=0.8", "es"),
    ("ja;q=0.9, fr;q=0.4, es;q=0.3", "fr"),
    ("de;q=0.1, en", "en"),
    ("en;q=0.2, fr;q=0.3", "fr"),
    ("de;q=0.55, es;q=.6", "es"),
    ("es;q=1.000,en", "es"),
    ("es;q=1,en;q=1.0", "es"),
    ("fr ; q=0.9 , en;q=0.85", "fr"),
    ("de;q=0.05, en;q=0.04", "de"),
    ("en;q=0, fr;q=0.1", "fr"),
    ("de;q=0.0, es", "es"),
    ("de;q=0", "en"),
    // Any other will do.
    ("*", "en"),
    ("*, de;q=0.5", "en"),
    ("fr;q=0.5, *;q=0.8", "en"),
    ("fr, *;q=0.8", "fr"),
    // None of ours.
    ("ja", "en"),
    ("zh-TW, ja;q=0.5", "en"),
    ("ende, den, enfr", "en"),
    ("garbage;;;q=,,,", "en"),
    ("../../../etc/passwd", "en"),
    ("de/../en", "en"),
];

fn the_language_is_the_one_liked_best_of_those_there_are(start: Start) {
    let server = start(vec![area()]);
    let answers = ASKED_FOR.map(|(accepted, _)| {
        let reply = page(&server, accepted);
        let language = reply.0.header("Content-Language").unwrap_or("none").to_owned();
        is_the_page(&reply, 401, &language);
        assert!(reply.0.text().contains(&format!("<html lang=\"{language}\">")), "{accepted}");
        (accepted, language)
    });
    let answers: Vec<_> = answers.iter().map(|(asked, got)| (*asked, got.as_str())).collect();
    assert_eq!(answers, ASKED_FOR);
}

/// As long as a header may be, and made to have an expression try in vain.
fn no_list_of_languages_keeps_a_page_from_being_shown(start: Start) {
    let server = start(vec![area()]);
    for piece in [
        ",", " ", ", ", "de", "de,", "de ", "de-", "de-a", "-", ";", "de;q=", "de; q=0.", "0", "9",
        "\t", "*", "de ,",
    ] {
        for (before, after) in
            [("", ""), ("de", "x"), ("de;", "q"), ("de;q=0.", "x"), ("en;q=1.", ",")]
        {
            let accepted = format!("{before}{}{after}", piece.repeat(7000 / piece.len()));
            let reply = page(&server, &accepted);
            let language = reply.0.header("Content-Language").unwrap_or("none");
            assert!(LANGUAGES.contains(&language), "{before}{piece}…{after}: {reply:?}");
            is_the_page(&reply, 401, language);
        }
    }
}

fn who_has_used_up_all_tries_reads_how_long_to_wait(start: Start) {
    let server = start(vec![area().set(Setting::Throttle, "2 600")]);
    let place = server.at("area");
    for wrong in ["wrong1755224", "wrong2755224"] {
        place.login("alice", wrong).is_status(401);
    }
    for language in LANGUAGES {
        let request = place.request("alice", "wrong3755224").header("Accept-Language", language);
        let reply = place.send(request);
        is_the_page(&reply, 429, language);
        let wait = reply.0.header("Retry-After").expect("how long to wait");
        assert!((500..=600).contains(&wait.parse().expect("seconds")), "{wait}");
        assert_eq!(reply.0.text(), shown(429, language, CONTACT_SHOWN, Some(wait)));
    }
}

#[test]
fn a_busy_nginx_says_so_in_each_language() {
    let nginx = web_pages::nginx_with_contact("otpgate_contact", CONTACT);
    let server = Server::start(nginx, vec![area().set(Setting::MaxLinger, 0)]);
    let place = server.at("area");
    place.login("alice", alice().password(0)).is_status(200);
    server.tolerate_log("another program has held it for 5 seconds");
    let lock = Held::of(place.users());
    std::thread::scope(|threads| {
        // Some have to wait before others are told to come again.
        for _ in 0..40 {
            threads.spawn(|| place.login("alice", alice().password(1)));
        }
        common::wait_until("some are refused for a moment", || {
            server.decisions("denied-busy", "alice") > 0
        });
        for language in LANGUAGES {
            let request = place.request("alice", alice().password(1));
            let reply = place.send(request.header("Accept-Language", language));
            is_the_page(&reply, 503, language);
            let wait = reply.0.header("Retry-After").expect("when to try again");
            assert_eq!(reply.0.text(), shown(503, language, CONTACT_SHOWN, Some(wait)));
        }
        lock.release();
    });
}

/// Of httpd's own making: what is done here makes otpgate's provider busy, which can answer 401 only.
#[test]
fn a_busy_httpd_says_so_in_each_language() {
    let httpd = web_pages::httpd_with_contact("otpgate_contact", CONTACT)
        .directives("<Location /open>\nRequire all granted\n</Location>")
        .directives("Redirect 503 /open/busy");
    let server = Server::start(httpd, vec![area()]);
    for language in LANGUAGES {
        let request = Request::get("/open/busy").header("Accept-Language", language);
        let reply = server.send(&request);
        is_the_page(&reply, 503, language);
        assert_eq!(reply.0.text(), shown(503, language, CONTACT_SHOWN, None));
    }
}

/// Neither whether a name is listed nor what was wrong: the same bytes for all.
fn a_stranger_learns_nothing_from_a_page(start: Start) {
    let locked = Token::hotp("bob").pin(PIN).failures(10);
    let hashed = Token::hotp("carol").pin("$6$salt$invalid");
    let scope = area().token(&locked).token(&hashed).set(Setting::MaxFailures, 10);
    let server = start(vec![scope]);
    server.tolerate_log("carol");
    let place = server.at("area");
    let passwords = ["wrong755224", "sesame9000000", "", "1"];
    let attempts = ["alice", "bob", "carol", "nobody", ""]
        .iter()
        .flat_map(|user| passwords.map(|password| place.request(user, password)))
        .chain([
            Request::get("/area/page.txt"),
            Request::get("/area/page.txt").header("Authorization", "Basic"),
            Request::get("/area/page.txt").header("Authorization", "Bearer opendoor"),
        ]);
    server.tolerate_log("the credentials are");
    server.tolerate_log("no user name");
    let mut answers = BTreeSet::new();
    for request in attempts {
        let reply = server.send(&request);
        is_the_page(&reply, 401, "en");
        let seen_by_clients = |(name, _): &&(String, String)| {
            !["Date", common::server::RESULT_HEADER].contains(&name.as_str())
        };
        let headers: Vec<_> = reply.0.headers.iter().filter(seen_by_clients).cloned().collect();
        answers.insert((headers, reply.0.body));
    }
    assert_eq!(answers.len(), 1, "{answers:#?}");
}

/// Nothing to be indexed, to be bookmarked or to be taken for a page of the site.
fn a_page_is_shown_by_no_address_of_its_own(start: Start) {
    let server = start(vec![area()]);
    server.tolerate_log("AH01276"); // no list of a directory's files
    for path in
        ["", "401", "401.var", "401.en.html", "503.de.html", "apache.conf", "nginx.conf", "x"]
    {
        let path = format!("/otpgate-pages/{path}");
        for request in
            [Request::get(&path), Request::get(&path).basic("alice", alice().password(0))]
        {
            server.keep_secret(alice().password(0));
            let reply = server.send(&request);
            assert_eq!(reply.status(), 404, "{path}");
            assert!(!reply.0.text().contains("PIN"), "{path}: {reply:?}");
        }
    }
}

fn a_form_that_is_sent_without_a_login_is_answered_by_the_page(start: Start) {
    let server = start(vec![area()]);
    let reply =
        server.send(&Request::post("/area/page.txt", "a=b").header("Accept-Language", "fr"));
    is_the_page(&reply, 401, "fr");
    assert_eq!(reply.0.text(), shown(401, "fr", CONTACT_SHOWN, None));
}

// ---- Whom to ask -------------------------------------------------------------------------------------------

#[test]
fn whom_to_ask_may_be_given_as_html() {
    let contact = "<a href='mailto:help@example.org'>help@example.org</a>";
    let expected = shown(401, "en", &format!("<p class=\"contact\">{contact}</p>"), None);
    for server in [
        Server::start(web_pages::httpd_with_contact("otpgate_contact_html", contact), vec![area()]),
        Server::start(web_pages::nginx_with_contact("otpgate_contact_html", contact), vec![area()]),
    ] {
        assert_eq!(page(&server, "en").0.text(), expected);
    }
}

#[test]
fn whom_to_ask_may_be_left_out() {
    let expected = shown(401, "en", "<p class=\"contact\"></p>", None);
    for server in [
        Server::start(web_pages::httpd().module("include"), vec![area()]),
        Server::start(web_pages::nginx(), vec![area()]),
    ] {
        assert_eq!(page(&server, "en").0.text(), expected);
    }
}

/// What is between the elements, and what is in them.
fn parts(html: &str) -> (Vec<String>, Vec<String>) {
    let (mut tags, mut texts) = (Vec::new(), Vec::new());
    let mut rest = html;
    while let Some((text, after)) = rest.split_once('<') {
        let text = text.trim();
        if !text.is_empty() {
            texts.push(text.to_owned());
        }
        let end = if after.starts_with("!--") { "-->" } else { ">" };
        let (tag, after) = after.split_once(end).expect("an end of each tag");
        tags.push(tag.to_owned());
        rest = after;
    }
    (tags, texts)
}

/// httpd's mod_include isn't enabled by default: its instructions are comments then.
#[test]
fn without_mod_include_a_page_shows_none_of_its_instructions() {
    let server = Server::start(web_pages::httpd(), vec![area().set(Setting::Throttle, "1 600")]);
    let reply = page(&server, "de");
    is_the_page(&reply, 401, "de");
    let refused = server.at("area").login("alice", "wrong1755224");
    refused.is_status(401);
    let throttled = server.at("area").login("alice", "wrong2755224");
    is_the_page(&throttled, 429, "en");
    for reply in [reply, throttled] {
        let text = reply.0.text();
        let (_, texts) = parts(text.split_once("</style>").expect("a style").1);
        assert!(texts.len() > 8, "{texts:?}");
        for shown in texts {
            assert!(!shown.contains(['$', '#', '"']), "{shown:?}");
        }
        // What holds instructions is hidden unless they have put something there.
        assert!(text.contains(".contact:empty, .wait:empty { display: none }"));
        for line in text.lines().filter(|line| line.contains("<!--#")) {
            let (tags, texts) = parts(line);
            assert_eq!(texts, [""; 0], "{line}");
            assert!(tags[0] == "p class=\"contact\"" || tags[0] == "p class=\"wait\"", "{line}");
            assert!(!line.contains("> ") && !line.contains(" <"), "a blank isn't empty: {line}");
        }
    }
}

// ---- On a site that is somebody else's ---------------------------------------------------------------------

#[test]
fn pages_are_not_asked_of_the_application_behind_httpd() {
    let rewritten = web_pages::included_into(Httpd::event().module("rewrite"))
        .directives("RewriteEngine On\nRewriteRule ^ /index.php");
    let handled = web_pages::included_into(
        Httpd::event().directives("<Location \"/\">\nSetHandler application\n</Location>"),
    );
    let proxy = || Httpd::event().module("proxy").module("proxy_http");
    // Where the include belongs: before a ProxyPass of the server, and behind one of a <Location>.
    let of_server =
        web_pages::included_into(proxy()).directives("ProxyPass / http://127.0.0.1:{other_port}/");
    let of_location = web_pages::included_into(
        proxy()
            .directives("<Location \"/\">\nProxyPass http://127.0.0.1:{other_port}/\n</Location>"),
    );
    for httpd in [rewritten, handled, of_server, of_location] {
        let server = Server::start(httpd, vec![area()]);
        let reply = server.send(&Request::get("/x").header("Accept-Language", "es"));
        assert_eq!((reply.status(), reply.0.header("Content-Language")), (401, Some("es")));
    }
}

// ---- The pages themselves ------------------------------------------------------------------------------------

fn each_page() -> impl Iterator<Item = (u16, &'static str, String)> {
    STATUSES.iter().flat_map(|status| {
        LANGUAGES.map(|language| {
            (*status, language, web_pages::read(&format!("{status}.{language}.html")))
        })
    })
}

#[test]
fn there_is_a_page_of_each_status_in_each_language_and_no_other() {
    let mut expected = vec!["apache.conf".to_owned(), "nginx.conf".to_owned()];
    for status in STATUSES {
        let map = web_pages::read(&format!("{status}.var"));
        let records: Vec<&str> = map.trim_end().split("\n\n").collect();
        assert_eq!(records.len(), LANGUAGES.len(), "{status}.var");
        for language in LANGUAGES {
            let name = format!("{status}.{language}.html");
            let record = format!(
                "URI: {name}\nContent-Type: text/html; charset=utf-8\nContent-Language: {language}"
            );
            assert!(records.contains(&record.as_str()), "{status}.var has no {language}");
            expected.push(name);
        }
        expected.push(format!("{status}.var"));
    }
    expected.sort();
    assert_eq!(web_pages::names(), expected);
}

#[test]
fn pages_need_nothing_else_and_run_nothing() {
    for (status, language, html) in each_page() {
        let (tags, _) = parts(&html);
        for tag in &tags {
            let name = tag.split(' ').next().unwrap_or_default();
            let known = [
                "!DOCTYPE", "html", "head", "meta", "title", "link", "style", "body", "main", "h1",
                "h2", "p", "ul", "li", "dl", "div", "dt", "dd", "b", "a",
            ];
            assert!(
                known.contains(&name.trim_start_matches('/')) || name.starts_with("!--#"),
                "{status} {language}: <{tag}>"
            );
            for attribute in [" src=", " on", " style=", " http-equiv=", " action="] {
                assert!(!tag.contains(attribute), "{status} {language}: <{tag}>");
            }
        }
        for word in ["://", "url(", "@import", "javascript:"] {
            assert!(!html.contains(word), "{status} {language}: {word}");
        }
        // No icon, or a browser would ask for one with the credentials that were just refused; and a
        // link to where one is, the address that was asked for.
        let links: Vec<&str> =
            html.split("href=").skip(1).filter_map(|rest| rest.split('>').next()).collect();
        assert_eq!(links, ["\"data:,\"", "\"\""], "{status} {language}");
    }
}

#[test]
fn pages_can_be_read_by_everybody() {
    let english = web_pages::read("401.en.html");
    let style = |html: &str| {
        let (before, after) = (html.find("<style>"), html.find("</style>"));
        html[before.expect("a style")..after.expect("its end")].to_owned()
    };
    for (status, language, html) in each_page() {
        let page = format!("{status} {language}");
        assert!(
            html.starts_with(&format!("<!DOCTYPE html>\n<html lang=\"{language}\">\n")),
            "{page}"
        );
        for needed in
            ["<meta charset=\"utf-8\">", "width=device-width", "content=\"noindex\"", "<main>"]
        {
            assert!(html.contains(needed), "{page}: {needed}");
        }
        assert_eq!(html.matches("<h1>").count(), 1, "{page}");
        assert_eq!(style(&html), style(&english), "{page}: copy the style of 401.en.html");
    }
    for needed in
        ["color-scheme: light dark", "@media (prefers-color-scheme: dark)", ":focus-visible"]
    {
        assert!(style(&english).contains(needed), "{needed}");
    }
}

/// The same elements with other words in them, or with those that are rightly the same.
#[track_caller]
fn nothing_is_missing(name: &str, page: impl Fn(&str) -> String) {
    const ALIKE: [&str; 4] = ["PIN", "Code", "4711", "749555"];
    let (tags, english) = parts(&page("en"));
    let form = |tags: &[String], language: &str| -> Vec<String> {
        let words = tags.iter().map(|tag| match tag.split_once(" value=\"") {
            Some((instruction, words)) => {
                assert!(words.ends_with(" $otpgate_wait\" "), "{name} {language}: {tag}");
                instruction.to_owned()
            }
            None => tag.replace(&format!("lang=\"{language}\""), "lang"),
        });
        words.collect()
    };
    for language in LANGUAGES {
        let (other_tags, texts) = parts(&page(language));
        assert_eq!(form(&other_tags, language), form(&tags, "en"), "{name} {language}");
        assert_eq!(texts.len(), english.len(), "{name} {language}");
        let pairs = texts.iter().zip(&english);
        // The style has braces, and is the same.
        let untranslated: Vec<&str> = pairs
            .filter(|(text, english)| text == english && !text.contains('{'))
            .map(|(text, _)| text.as_str())
            .filter(|text| !ALIKE.contains(text) && language != "en")
            .collect();
        assert!(untranslated.is_empty(), "{name} {language}: {untranslated:?}");
    }
}

#[test]
fn nothing_is_missing_in_any_language() {
    for status in STATUSES {
        nothing_is_missing(&status.to_string(), |language| {
            web_pages::read(&format!("{status}.{language}.html"))
        });
    }
    nothing_is_missing("the sheet", |language| {
        web_pages::read(&format!("../docs/user-sheet/{language}.html"))
    });
}

#[test]
fn pages_know_no_result_word() {
    for (status, language, html) in each_page() {
        for word in LoginResult::ALL {
            // "error" and the like are words of people, too, but none that we need.
            assert!(!html.contains(word.as_str()), "{status} {language}: {}", word.as_str());
        }
    }
}
