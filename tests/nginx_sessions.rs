//! On nginx: the page to log in, cookies, and what stands behind the server.

mod common;

use std::time::Duration;

use common::client::Response;
use common::server::PAGE;
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

/// Made by the library, whatever it says.
#[track_caller]
fn is_of_the_page(reply: &Response) {
    assert_eq!(reply.header("Cache-Control"), Some("no-store"), "{reply:?}");
    assert!(![403, 404, 405, 413].contains(&reply.status), "{reply:?}");
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
    server.tolerate_log("client prematurely closed connection");
    server.tolerate_log("client closed connection");
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

#[test]
fn a_refused_form_goes_out_at_a_multiple_of_the_refusal_time() {
    let server = start(vec![area()]);
    let _ = (&server, Duration::ZERO, Reply(ask(&server, &post(&login_page(&server), "", b""))));
}
