//! On nginx: the page to log in, cookies, and what stands behind the server.

mod common;

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener};

use common::backend::Backend;
use common::client::Response;
use common::server::{PAGE, PAGE_TEXT};
use common::{Connection, Nginx, Reply, Request, Scope, Server, Setting, Token, wait_until};

const PIN: &str = "sesame9";
/// As OTPGATE_BODY_MAX.
const BODY_MAX: usize = 4096;

fn alice() -> Token {
    Token::hotp("alice").pin(PIN)
}

/// A place with its page, over plain HTTP.
fn area() -> Scope {
    Scope::new("area").token(&alice()).directives(
        "auth_otp_scheme form;\n\
         auth_otp_linger_cookie insecure;\n\
         auth_otp_login_page /area/login;\n\
         location = /area/login { auth_otp_login; }",
    )
}

fn start(scopes: Vec<Scope>) -> Server {
    Server::start(Nginx::one(), scopes)
}

fn login_page(server: &Server) -> String {
    server.at("area").path("login")
}

/// Made by the library, whatever it says: what nginx makes may be stored.
#[track_caller]
fn is_of_the_page(reply: &Response) {
    assert_eq!(reply.header("Cache-Control"), Some("no-store"), "{reply:?}");
}

fn chunked(chunks: &[&[u8]]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for chunk in chunks {
        bytes.extend(format!("{:x};extension=of-no-use\r\n", chunk.len()).bytes());
        bytes.extend(*chunk);
        bytes.extend(b"\r\n");
    }
    bytes.extend(b"0\r\n\r\n");
    bytes
}

fn post_chunked(page: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    let head = format!(
        "POST {page} HTTP/1.1\r\nHost: localhost\r\n{headers}Transfer-Encoding: chunked\r\n\r\n"
    );
    [head.as_bytes(), body].concat()
}

fn post(page: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    let head = format!(
        "POST {page} HTTP/1.1\r\nHost: localhost\r\n{headers}Content-Length: {}\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}

fn connection(server: &Server) -> Connection {
    Connection::open(server.port()).expect("a connection")
}

fn ask(server: &Server, bytes: &[u8]) -> Response {
    let mut connection = connection(server);
    connection.write(bytes).expect("a server that reads");
    connection.receive().expect("an answer")
}

// ---- The page --------------------------------------------------------------------------------------------

#[test]
fn the_page_needs_no_login() {
    let server = start(vec![area()]);
    let page = login_page(&server);
    let reply = server.send(&Request::get(&page));
    is_of_the_page(&reply.0);
    assert!(!reply.0.body.is_empty());
    assert_ne!(reply.status(), 401);
    // Nor do credentials matter there.
    let reply = server.send(&Request::get(&page).basic("alice", alice().password(0)));
    is_of_the_page(&reply.0);
    assert_eq!(server.at("area").users().counter("alice"), 0);
    let reply = server.send(&Request::head(&page));
    is_of_the_page(&reply.0);
    assert!(reply.0.header("Content-Length").is_some_and(|length| length != "0"));
}

#[test]
fn only_get_head_and_post_are_for_the_page() {
    let server = start(vec![area()]);
    for method in ["PUT", "DELETE", "OPTIONS", "PROPFIND"] {
        let reply = server.send(&Request::get(login_page(&server)).method(method).body("x"));
        assert_eq!(reply.status(), 405, "{method}");
        assert_eq!(reply.0.header("Allow"), Some("GET, HEAD, POST"));
    }
}

#[test]
fn a_body_is_taken_up_to_its_limit_however_it_comes() {
    let server = start(vec![area()]);
    let page = login_page(&server);
    for (len, is_taken) in [(0, true), (BODY_MAX, true), (BODY_MAX + 1, false), (100_000, false)] {
        let body = vec![b'a'; len];
        let halves = body.split_at(len / 2);
        let bytes: Vec<&[u8]> = body.chunks(1).collect();
        for (how, request) in [
            ("by its length", post(&page, "", &body)),
            ("in one chunk", post_chunked(&page, "", &chunked(&[&body]))),
            ("in two chunks", post_chunked(&page, "", &chunked(&[halves.0, halves.1]))),
            ("byte by byte", post_chunked(&page, "", &chunked(&bytes))),
        ] {
            // An empty chunk is the last one.
            if len == 0 && how != "by its length" {
                continue;
            }
            let reply = ask(&server, &request);
            match is_taken {
                true => is_of_the_page(&reply),
                false => assert_eq!(reply.status, 413, "{len} bytes {how}"),
            }
        }
    }
}

#[test]
fn a_body_that_is_announced_too_long_is_not_waited_for() {
    let server = start(vec![area()]);
    let page = login_page(&server);
    let head = |length: usize| {
        format!(
            "POST {page} HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\nContent-Length: {length}\r\n\r\n"
        )
    };
    assert_eq!(ask(&server, head(BODY_MAX + 1).as_bytes()).status, 413);
    server.tolerate_log("client prematurely closed connection");
    assert_eq!(ask(&server, head(BODY_MAX).as_bytes()).status, 100);
}

#[test]
fn while_a_body_is_awaited_the_loop_answers_others() {
    let server = start(vec![area(), Scope::bare("open")]);
    let page = login_page(&server);
    for request in
        [post(&page, "", b"user=alice"), post_chunked(&page, "", &chunked(&[b"user", b"=alice"]))]
    {
        let mut slow = connection(&server);
        for (index, byte) in request.iter().enumerate() {
            slow.write(&[*byte]).expect("a server that reads");
            if index % 20 == 0 {
                server.send(&Request::get(server.at("open").path(PAGE))).is_status(200);
                assert!(!slow.has_answer(), "answered without its body");
            }
        }
        is_of_the_page(&slow.receive().expect("an answer"));
    }
}

#[test]
fn a_request_behind_the_body_is_answered_next() {
    let server = start(vec![area()]);
    let page = login_page(&server);
    for first in
        [post(&page, "", b"user=alice"), post_chunked(&page, "", &chunked(&[b"user", b"=alice"]))]
    {
        let mut both = connection(&server);
        let second = format!("GET {page} HTTP/1.1\r\nHost: localhost\r\n\r\n");
        both.write(&[&first, second.as_bytes()].concat()).expect("a server that reads");
        is_of_the_page(&both.receive().expect("an answer"));
        is_of_the_page(&both.receive().expect("another answer"));
    }
}

#[test]
fn a_client_that_leaves_harms_nobody() {
    let server = start(vec![area()]);
    // What nginx says of it depends on when it notices.
    for text in ["client prematurely closed connection", "client closed connection"] {
        server.tolerate_log(text);
    }
    for call in ["shutdown", "recv", "send", "writev"] {
        server.tolerate_log(&format!("{call}() failed"));
    }
    let page = login_page(&server);
    let request = post(&page, "", b"user=alice");
    for len in [request.len() - 1, request.len()] {
        for _ in 0..20 {
            let mut leaving = connection(&server);
            leaving.write(&request[..len]).expect("a server that reads");
        }
    }
    is_of_the_page(&ask(&server, &request));
}

/// What nginx would write to a file is as much as its buffers don't hold.
#[test]
fn a_body_is_never_written_to_a_file() {
    const SECRET: &str = "pin-in-the-body";
    let files = "client_body_buffer_size 16;\nclient_body_in_file_only on;";
    let nginx = Nginx::one().server_directives(files);
    let server = Server::start(
        nginx,
        vec![
            area(),
            Scope::bare("open").directives("proxy_pass http://127.0.0.1:{port}/area/page.txt;"),
        ],
    );
    server.tolerate_log("a client request body is buffered to a temporary file");
    let bodies = server.root().join("temporary/body");
    let written = || std::fs::read_dir(&bodies).expect("a directory").count();
    let page = login_page(&server);
    let body = format!("password={SECRET}&{}", "x".repeat(3000));
    server.keep_secret(SECRET);
    is_of_the_page(&ask(&server, &post(&page, "", body.as_bytes())));
    let pieces: Vec<&[u8]> = body.as_bytes().chunks(7).collect();
    is_of_the_page(&ask(&server, &post_chunked(&page, "", &chunked(&pieces))));
    assert_eq!(written(), 0);
    // Elsewhere it is: the test would see a file.
    ask(&server, &post(&server.at("open").path("x"), "", body.as_bytes()));
    wait_until("a file is written", || written() > 0);
}

#[test]
fn the_page_is_refused_without_tls_where_that_is_required() {
    let server = start(vec![area().set(Setting::RequireTls, "on")]);
    server.expect_log("auth_otp_require_tls: request without TLS refused");
    for request in [
        Request::get(login_page(&server)),
        Request::post(login_page(&server), "user=alice"),
        Request::get(server.at("area").path(PAGE)),
    ] {
        assert_eq!(server.send(&request).status(), 403);
    }
}

#[test]
fn the_page_is_no_part_of_another() {
    let included = "before<!--#include virtual=\"/area/login\" -->after";
    let nginx = Nginx::one().file("htdocs/open/whole", included);
    let open = Scope::bare("open").directives("ssi on;\nssi_types text/plain;");
    let asking = Scope::bare("asking").directives("auth_request /area/login;");
    let server = Server::start(nginx, vec![area(), open, asking]);
    server.expect_log("sub-request for \"/area/login\" refused");
    let text = server.send(&Request::get(server.at("open").path("whole"))).0.text();
    assert!(text.contains("before") && text.contains("403 Forbidden"), "{text}");
    assert_eq!(server.send(&Request::get(server.at("asking").path(PAGE))).status(), 403);
}

#[test]
fn blocks_inside_its_location_belong_to_the_page() {
    let scope = Scope::new("area").token(&alice()).directives(
        "auth_otp_scheme form;\nauth_otp_login_page /area/login;\n\
         location = /area/login {\nauth_otp_login;\n\
         if ($arg_a) { set $b 1; }\n\
         limit_except GET { allow all; }\n}",
    );
    let server = start(vec![scope]);
    let page = login_page(&server);
    is_of_the_page(&server.send(&Request::get(format!("{page}?a=1"))).0);
    is_of_the_page(&server.send(&Request::post(&page, "user=alice")).0);
    is_of_the_page(&server.send(&Request::post(format!("{page}?a=1"), "user=alice")).0);
}

/// The last one counts, as with nginx's own.
#[test]
fn what_another_directive_serves_is_no_page_and_stays_protected() {
    let scope = Scope::new("area").token(&alice()).directives(
        "location = /area/login {\nauth_otp_login;\nproxy_pass http://127.0.0.1:{port}/open/page.txt;\n}",
    );
    let server = start(vec![scope, Scope::bare("open")]);
    assert_eq!(server.send(&Request::get(login_page(&server))).status(), 401);
}

#[test]
fn a_page_without_a_realm_is_an_error() {
    let nginx = Nginx::one();
    let scope = Scope::bare("area")
        .directives("location = /area/login { auth_otp_login; }\nlocation = /area/off { auth_otp off; auth_otp_login; }");
    let server = Server::start(nginx, vec![scope]);
    server.expect_log("the realm's variables are all empty: request refused");
    for file in ["login", "off"] {
        let reply = server.send(&Request::get(server.at("area").path(file)));
        assert_eq!(reply.status(), 500);
    }
}

// ---- Cookies ---------------------------------------------------------------------------------------------

/// Where Basic logins are kept by a cookie.
fn kept(name: &str) -> Scope {
    Scope::new(name).token(&alice()).directives("auth_otp_linger_cookie insecure;")
}

/// The only cookie that is set.
#[track_caller]
fn cookie(server: &Server, reply: &Reply) -> String {
    let set = reply.0.headers_of("Set-Cookie");
    assert_eq!(set.len(), 1, "{:?}", reply.0);
    let (pair, attributes) = set[0].split_once(';').expect("attributes");
    assert!(attributes.contains("HttpOnly") && !attributes.contains("Max-Age"), "{attributes}");
    server.keep_secret(pair.split_once('=').expect("a value").1);
    pair.to_owned()
}

#[track_caller]
fn sets_no_cookie(reply: &Reply) {
    assert!(reply.0.headers_of("Set-Cookie").is_empty(), "{:?}", reply.0);
}

#[test]
fn a_cookie_lets_in_alone_and_the_code_alone_does_not() {
    let server = start(vec![kept("area")]);
    let (place, alice) = (server.at("area"), alice());
    let granted = place.login("alice", alice.password(0));
    granted.is(200, "granted-fresh");
    let cookie = cookie(&server, &granted);
    let by_cookie = |request: Request| {
        let reply = server.send(&request);
        sets_no_cookie(&reply);
        reply
    };
    let get = || Request::get(place.path(PAGE));
    by_cookie(get().header("Cookie", &*cookie)).is(200, "granted-session");
    // Where browsers keep credentials, both come.
    let both = place.request("alice", alice.password(0)).header("Cookie", &*cookie);
    by_cookie(both).is(200, "granted-session");
    // Among others, in one header or several.
    by_cookie(get().header("Cookie", format!("a=1; {cookie}; b=2"))).is(200, "granted-session");
    let several = get().header("Cookie", "a=1").header("Cookie", &*cookie).header("Cookie", "b=2");
    by_cookie(several).is(200, "granted-session");
    by_cookie(get()).is_denied();
    place.login_from("198.51.100.23", "alice", alice.password(0)).is_denied();
    let moved = get().header("Cookie", &*cookie).from("198.51.100.23");
    server.send(&moved).is_denied();
    let lines = server.logged_accesses(&place.path(PAGE), 8);
    assert_eq!(lines[1], format!("200 granted-session alice alice {}", place.path(PAGE)));
}

#[test]
fn several_requests_of_one_connection_are_each_judged_by_their_own_cookie() {
    let server = start(vec![kept("area")]);
    let (place, alice) = (server.at("area"), alice());
    let mut connection = connection(&server);
    let mut ask = |request: &Request| Reply(connection.send(request, true).expect("an answer"));
    let granted = ask(&place.request("alice", alice.password(0)));
    granted.is(200, "granted-fresh");
    let cookie = cookie(&server, &granted);
    let get = Request::get(place.path(PAGE));
    for _ in 0..3 {
        ask(&get).is_denied();
        let reply = ask(&get.clone().header("Cookie", &*cookie));
        sets_no_cookie(reply.is(200, "granted-session"));
    }
}

/// Whatever nginx makes of the request afterwards.
#[test]
fn every_answer_to_a_login_sets_its_cookie_once() {
    let included =
        "<!--#include virtual=\"/area/page.txt\" --><!--#include virtual=\"/area/page.txt\" -->";
    let nginx = Nginx::one().file("htdocs/ssi/whole", included).server_directives(
        "location = /up/accel { add_header X-Accel-Redirect /area/page.txt; return 200; }\n\
             location = /up/missing { return 404; }\n\
             location = /up/copy { return 200; }",
    );
    let scope = |name: &str, directives: &str| {
        let area = "auth_otp \"area\";\nauth_otp_users_file \"{root}/users/area/users\";\n\
                    auth_otp_linger_cookie insecure;\n";
        Scope::bare(name).directives(&format!("{area}{directives}"))
    };
    let up =
        |name: &str| format!("rewrite ^ /up/{name} break;\nproxy_pass http://127.0.0.1:{{port}};");
    let area = Scope::bare("area").token(&alice()).directives(
        "auth_otp \"area\";\nauth_otp_users_file \"{users}\";\nauth_otp_linger_cookie insecure;",
    );
    let server = Server::start(
        nginx,
        vec![
            area,
            scope("index", "index page.txt;"),
            scope("tries", "try_files $uri /tries/page.txt;"),
            scope("errors", "error_page 404 =200 /area/page.txt;"),
            scope("ssi", "ssi on;\nssi_types text/plain;"),
            scope("accel", &up("accel")),
            scope("missing", &up("missing")),
            scope(
                "intercepted",
                &format!(
                    "{}\nproxy_intercept_errors on;\nerror_page 404 /area/page.txt;",
                    up("missing")
                ),
            ),
            scope("mirrored", "mirror /up/copy;"),
        ],
    );
    server.tolerate_log("No such file or directory");
    let (area, alice) = (server.at("area"), alice());
    let first = area.login("alice", alice.password(0));
    let etag = first.0.header("ETag").expect("a tag").to_owned();
    let range = ("Range", "bytes=1-2".to_owned());
    let rows = [
        ("area/page.txt", 200, None),
        ("area/none", 404, None),
        ("area/page.txt", 304, Some(("If-None-Match", etag))),
        ("area/page.txt", 412, Some(("If-Match", "\"other\"".to_owned()))),
        ("area/page.txt", 206, Some(range)),
        ("index/", 200, None),
        ("tries/none", 200, None),
        ("errors/none", 200, None),
        ("ssi/whole", 200, None),
        ("accel/x", 200, None),
        ("missing/x", 404, None),
        ("intercepted/x", 404, None),
        ("mirrored/page.txt", 200, None),
    ];
    for (number, (path, status, header)) in rows.into_iter().enumerate() {
        let password = alice.password(number as u64 + 1);
        server.keep_secret(&password);
        let mut request = Request::get(format!("/{path}")).basic("alice", password);
        if let Some((name, value)) = header {
            request = request.header(name, value);
        }
        let reply = server.send(&request);
        assert_eq!(
            (reply.status(), reply.result()),
            (status, "granted-fresh"),
            "{path}: {reply:?}"
        );
        let cookie = cookie(&server, &reply);
        let again = server.send(&Request::get(format!("/{path}")).header("Cookie", cookie));
        assert_eq!(again.result(), "granted-session", "{path}: {again:?}");
        sets_no_cookie(&again);
        if status != 404 {
            assert!(again.0.text().contains(PAGE_TEXT), "{path}: {again:?}");
        }
    }
    let granted = server.decisions("granted-fresh", "alice");
    assert_eq!(granted, 14, "one code for each login");
    let head = Request::head(area.path(PAGE)).basic("alice", alice.password(14));
    let reply = server.send(&head);
    cookie(&server, &reply);
    assert!(reply.0.body.is_empty());
}

#[test]
fn parts_are_shown_to_a_cookie_as_to_a_code() {
    let included = "before<!--#include virtual=\"/area/page.txt\" -->after";
    let nginx =
        Nginx::one().file("htdocs/area/whole", included).file("htdocs/open/whole", included);
    let ssi = "ssi on;\nssi_types text/plain;";
    let server = Server::start(
        nginx,
        vec![
            kept("area").directives(ssi),
            Scope::bare("open").directives(ssi),
            Scope::bare("asking").directives("auth_request /area/page.txt;"),
        ],
    );
    server.expect_log("sub-request for \"/area/page.txt\" refused");
    let place = server.at("area");
    let granted = place.login("alice", alice().password(0));
    let cookie = cookie(&server, &granted);
    let ask = |path: String| server.send(&Request::get(path).header("Cookie", &*cookie));
    let whole = ask(place.path("whole"));
    whole.is(200, "granted-session");
    assert_eq!(whole.0.text(), format!("before{PAGE_TEXT}after"));
    // Nobody is let in as a part of what they weren't asked for.
    let open = ask(server.at("open").path("whole")).0.text();
    assert!(!open.contains(PAGE_TEXT), "{open}");
    assert_eq!(ask(server.at("asking").path(PAGE)).status(), 403);
}

// ---- What stands behind the server -----------------------------------------------------------------------

/// An SCGI server that answers one request and gives what it was asked.
fn one_scgi_request() -> (u16, std::thread::JoinHandle<String>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    let port = listener.local_addr().expect("the port").port();
    let thread = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a client");
        let mut asked = Vec::new();
        let mut byte = [0];
        while byte[0] != b':' {
            stream.read_exact(&mut byte).expect("a length");
            asked.push(byte[0]);
        }
        let length: usize =
            String::from_utf8_lossy(&asked[..asked.len() - 1]).parse().expect("a number");
        // With the comma behind them.
        let mut headers = vec![0_u8; length + 1];
        stream.read_exact(&mut headers).expect("headers");
        write!(stream, "Status: 200 OK\r\n\r\n{PAGE_TEXT}").expect("a server that reads");
        String::from_utf8_lossy(&headers).replace('\0', "\n")
    });
    (port, thread)
}

#[test]
fn what_is_behind_sees_nothing_of_ours() {
    let alice = alice();
    let backend = Backend::start();
    let (scgi_port, scgi) = one_scgi_request();
    let upstream = format!(
        "proxy_pass http://127.0.0.1:{};\nproxy_set_header X-Cookie $http_cookie;\n\
         proxy_set_header X-Authorization $http_authorization;\nproxy_set_header X-User $remote_user;",
        backend.port()
    );
    // A variable that was read before the login is read again.
    let early = "if ($http_cookie = x) { return 400; }\nif ($remote_user = x) { return 400; }";
    let server = start(vec![
        kept("strip").directives(&format!("auth_otp_strip on;\n{early}\n{upstream}")),
        kept("pass").directives(&upstream),
        kept("pin").directives(&format!("auth_otp_strip on;\nauth_otp_pin_fake_basic on;\n{upstream}")),
        Scope::bare("open").directives(&format!("auth_otp_strip on;\n{upstream}")),
        kept("scgi").directives(&format!(
            "auth_otp_strip on;\nscgi_pass 127.0.0.1:{scgi_port};\nscgi_param REMOTE_USER $remote_user;"
        )),
    ]);
    let seen = |name: &str| {
        let headers = backend.take_headers().pop().expect("a request");
        let find = |name: &str| {
            let header = headers.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
            header.map(|(_, value)| value.clone())
        };
        let (plain, variable) = (find(name), find(&format!("X-{name}")));
        assert_eq!(plain, variable, "{name}");
        (plain, find("X-User"))
    };
    let user = Some("alice".to_owned());
    let authorization = |name: &str| {
        let place = server.at(name);
        let request = place.request("alice", alice.password(0)).header("Cookie", "a=1");
        let reply = server.send(&request);
        reply.is(200, "granted-fresh");
        (cookie(&server, &reply), seen("Authorization"))
    };
    let (of_strip, sent) = authorization("strip");
    assert_eq!(sent, (None, user.clone()));
    let (of_pass, sent) = authorization("pass");
    let given = common::client::basic("alice", alice.password(0));
    assert_eq!(sent, (Some(given), user.clone()));
    let (_, sent) = authorization("pin");
    assert_eq!(sent, (Some(common::client::basic("alice", PIN)), user.clone()));

    let cookies = |name: &str, headers: &[&str]| {
        let mut request = Request::get(server.at(name).path(PAGE));
        for header in headers {
            request = request.header("Cookie", *header);
        }
        server.send(&request).is_status(200);
        seen("Cookie")
    };
    let others = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    for (headers, left) in [
        (vec![of_strip.clone()], ""),
        (vec![format!("a=1; {of_strip}; b=2")], "a=1; b=2"),
        (vec![format!("{of_strip}; b=2")], "b=2"),
    ] {
        let headers: Vec<&str> = headers.iter().map(String::as_str).collect();
        assert_eq!(cookies("strip", &headers), (others(left), user.clone()), "{headers:?}");
        // Without a login, too.
        assert_eq!(cookies("open", &headers), (others(left), None), "{headers:?}");
    }
    assert_eq!(cookies("open", &["a=1; b=2"]), (others("a=1; b=2"), None));
    let all = format!("a=1; {of_pass}");
    assert_eq!(cookies("pass", &[&all]), (Some(all.clone()), user));
    // An application's own header is no login of ours.
    let own = Request::get(server.at("open").path(PAGE)).header("Authorization", "Bearer app");
    server.send(&own).is_status(200);
    assert_eq!(seen("Authorization").0.as_deref(), Some("Bearer app"));

    let place = server.at("scgi");
    let request = place.request("alice", alice.password(0)).header("Cookie", "a=1; otpgate-x=y");
    server.send(&request).is(200, "granted-fresh");
    let asked = scgi.join().expect("no panic");
    assert!(asked.contains("HTTP_COOKIE\na=1\n"), "{asked}");
    assert!(asked.contains("REMOTE_USER\nalice\n"), "{asked}");
    assert!(!asked.contains("HTTP_AUTHORIZATION") && !asked.contains("otpgate"), "{asked}");
}
