//! nginx as a forward proxy (`tunnel_pass`, nginx 1.31.0 and later): `OTPGATE_NGINX` names such a
//! server, docs/install.md says how to build one with a module for it.

mod common;
#[path = "common/digest.rs"]
mod digest;

use std::net::{Ipv4Addr, TcpListener};

use common::client::basic;
use common::{Nginx, Request, Scope, Server, Token};
use digest::{Answer, Challenge};

const PIN: &str = "sesame9";

fn alice() -> Token {
    Token::hotp("alice").pin(PIN)
}

/// A place to tunnel to, which hangs up on everybody: the tunnel's end is the answer's.
fn destination() -> String {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    let address = listener.local_addr().expect("its number").to_string();
    std::thread::spawn(move || listener.incoming().for_each(drop));
    address
}

fn proxy(scheme: &str) -> Server {
    let location = format!(
        "location / {{ auth_otp area; auth_otp_scheme {scheme}; auth_otp_users_file \"{{root}}/users/area/users\"; tunnel_pass; }}"
    );
    let nginx = Nginx::one().without_locations().server_directives(&location);
    Server::start(nginx, vec![Scope::new("area").token(&alice())])
}

#[test]
#[ignore = "needs nginx 1.31 or later"]
fn a_client_of_the_proxy_is_asked_by_407_and_let_in_by_its_own_header() {
    let (server, to, alice) = (proxy("basic"), destination(), alice());
    let asked = server.send(&Request::connect(&to));
    asked.is_status(407);
    assert_eq!(
        asked.0.header("Proxy-Authenticate"),
        Some("Basic realm=\"area\", charset=\"UTF-8\"")
    );
    assert_eq!(asked.0.header("WWW-Authenticate"), None);

    let with = |name: &str, password| Request::connect(&to).header(name, basic("alice", password));
    server.send(&with("Authorization", alice.password(0))).is_status(407);
    server.send(&with("Proxy-Authorization", format!("{PIN}000000"))).is(407, "denied-code");
    let granted = server.send(&with("Proxy-Authorization", alice.password(0)));
    assert_eq!((granted.status(), granted.result()), (200, "granted-fresh"));
}

#[test]
#[ignore = "needs nginx 1.31 or later"]
fn digest_signs_the_authority_that_the_client_asks_for() {
    let (server, to, alice) = (proxy("digest"), destination(), alice());
    let asked = server.send(&Request::connect(&to));
    asked.is_status(407);
    let answer = Answer::new(&Challenge::in_answer(&asked), &to, "alice", alice.password(0));
    let answer = Answer { method: "CONNECT", ..answer };
    let request = Request::connect(&to).header("Proxy-Authorization", answer.header());
    let granted = server.send(&request);
    assert_eq!((granted.status(), granted.result()), (200, "granted-fresh"));
}
