//! Logins over HTTP/2 on nginx: many requests on one connection, and clients that reset some of
//! them.

mod common;
#[path = "common/digest.rs"]
mod digest;

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::time::Duration;

use common::client::basic;
use common::server::NonceFault;
use common::{Held, Nginx, Scope, Server, Setting, Token, wait_until};
use digest::{Answer, Challenge};

const PIN: &str = "sesame9";
const USERS: usize = 20;

/// A connection of RFC 9113 without TLS, as far as these tests need it: headers are sent as plain
/// literals, and of an answer only its status is read.
struct Http2 {
    stream: TcpStream,
    statuses: HashMap<u32, u16>,
}

const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const END_OF_STREAM_AND_HEADERS: u8 = 5;
const ACKNOWLEDGED: u8 = 1;
const CANCEL: [u8; 4] = [0, 0, 0, 8];

impl Http2 {
    fn open(port: u16) -> Http2 {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).expect("a connection");
        stream.set_read_timeout(Some(Duration::from_secs(60))).expect("our own socket");
        stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").expect("the preface");
        let mut http2 = Http2 { stream, statuses: HashMap::new() };
        http2.send(SETTINGS, 0, 0, &[]);
        http2
    }

    fn send(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        let mut frame = (payload.len() as u32).to_be_bytes()[1..].to_vec();
        frame.extend([kind, flags]);
        frame.extend(stream.to_be_bytes());
        frame.extend(payload);
        self.stream.write_all(&frame).expect("a server that reads");
    }

    fn ask(&mut self, stream: u32, path: &str, authorization: &str) {
        self.ask_with(stream, path, &[("authorization", authorization)]);
    }

    fn ask_with(&mut self, stream: u32, path: &str, headers: &[(&str, &str)]) {
        let mut block = Vec::new();
        let begin =
            [(":method", "GET"), (":scheme", "http"), (":path", path), (":authority", "localhost")];
        for (name, value) in begin.iter().chain(headers) {
            block.push(0);
            for text in [name, value] {
                block.extend(length(text.len()));
                block.extend(text.as_bytes());
            }
        }
        self.send(HEADERS, END_OF_STREAM_AND_HEADERS, stream, &block);
    }

    fn reset(&mut self, stream: u32) {
        self.send(RST_STREAM, 0, stream, &CANCEL);
    }

    /// Sends a ping and reads until it is answered: by then the server has read all that was sent
    /// before.
    fn settle(&mut self) {
        self.send(PING, 0, 0, b"settled?");
        while self.read_frame() != (PING, ACKNOWLEDGED) {}
    }

    fn status(&mut self, stream: u32) -> u16 {
        loop {
            if let Some(status) = self.statuses.get(&stream) {
                return *status;
            }
            self.read_frame();
        }
    }

    /// Kind and flags of the next frame.
    fn read_frame(&mut self) -> (u8, u8) {
        let mut head = [0; 9];
        self.stream.read_exact(&mut head).expect("a frame");
        let len = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        let (kind, flags) = (head[3], head[4]);
        let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
        let mut payload = vec![0; len];
        self.stream.read_exact(&mut payload).expect("a whole frame");
        match kind {
            SETTINGS if flags & ACKNOWLEDGED == 0 => self.send(SETTINGS, ACKNOWLEDGED, 0, &[]),
            HEADERS => {
                self.statuses.insert(stream, status_of(&payload));
            }
            _ => {}
        }
        (kind, flags)
    }
}

/// An integer with a prefix of seven bits, RFC 7541 section 5.1.
fn length(len: usize) -> Vec<u8> {
    let Some(mut rest) = len.checked_sub(127) else { return vec![len as u8] };
    let mut bytes = vec![127];
    while rest >= 128 {
        bytes.push((rest % 128) as u8 | 128);
        rest /= 128;
    }
    bytes.push(rest as u8);
    bytes
}

/// nginx sends the status first, by its number in the static table or as three digits.
fn status_of(block: &[u8]) -> u16 {
    let updates = block.iter().take_while(|byte| (0x20..0x40).contains(*byte)).count();
    let block = &block[updates..];
    match block {
        [0x88, ..] => 200,
        [0x8d, ..] => 404,
        [0x8e, ..] => 500,
        [0x08 | 0x48, 3, digits @ ..] => {
            str::from_utf8(&digits[..3]).expect("digits").parse().expect("a number")
        }
        _ => panic!("no status in {block:02x?}"),
    }
}

fn tokens() -> Vec<Token> {
    (0..USERS).map(|number| Token::hotp(format!("user{number}")).pin(PIN)).collect()
}

/// nginx's own words about clients that go away.
const LEAVING: [&str; 3] = [
    "client canceled stream",
    "while processing HTTP/2 connection",
    "client closed connection while",
];

/// A server with HTTP/2 on its second port.
fn start_http2(nginx: Nginx, scopes: Vec<Scope>) -> Server {
    let server =
        Server::start(nginx.server_directives("listen 127.0.0.1:{other_port} http2;"), scopes);
    for words in LEAVING {
        server.tolerate_log(words);
    }
    server
}

fn start(nginx: Nginx, tokens: &[Token]) -> Server {
    let protected = tokens
        .iter()
        .fold(Scope::new("area").set(Setting::MaxLinger, 0), |scope, token| scope.token(token));
    start_http2(nginx, vec![protected, Scope::bare("open")])
}

fn ask_for_all(http2: &mut Http2, server: &Server, tokens: &[Token]) -> Vec<u32> {
    let path = server.at("area").path("page.txt");
    let streams = tokens.iter().enumerate().map(|(number, token)| {
        let stream = 2 * number as u32 + 1;
        server.keep_secret(token.password(0));
        http2.ask(stream, &path, &basic(token.user(), token.password(0)));
        stream
    });
    streams.collect()
}

#[test]
fn logins_on_one_connection_wait_side_by_side_and_are_all_answered() {
    for nginx in [Nginx::one(), Nginx::four()] {
        let tokens = tokens();
        let server = start(nginx, &tokens);
        let mut http2 = Http2::open(server.other_port());
        for stream in ask_for_all(&mut http2, &server, &tokens) {
            assert_eq!(http2.status(stream), 200);
        }
        // Each code once, over any protocol.
        http2.ask(
            1001,
            &server.at("area").path("page.txt"),
            &basic("user0", tokens[0].password(0)),
        );
        assert_eq!(http2.status(1001), 401);
        server.at("area").login("user1", tokens[1].password(0)).is(401, "denied-expired");
        for number in 0..USERS {
            assert_eq!(server.decisions("granted-fresh", &format!("user{number}")), 1);
        }
    }
}

#[test]
fn streams_that_are_reset_while_their_logins_wait_harm_nobody() {
    for nginx in [Nginx::one(), Nginx::four()] {
        let tokens = tokens();
        let server = start(nginx, &tokens);
        let first = Token::hotp("user0").pin(PIN);
        // Makes the lock file.
        server.at("area").login("user0", first.password(1)).is(200, "granted-fresh");
        let held = Held::of(server.at("area").users());
        let mut http2 = Http2::open(server.other_port());
        let streams = ask_for_all(&mut http2, &server, &tokens[1..]);
        let mut leaving = Http2::open(server.other_port());
        ask_for_all(&mut leaving, &server, &tokens[1..]);
        leaving.settle();
        for stream in streams.iter().step_by(2) {
            http2.reset(*stream);
        }
        http2.settle();
        drop(leaving);
        let open = server.at("open").path("page.txt");
        http2.ask(501, &open, "none");
        assert_eq!(http2.status(501), 200, "the loop answers others meanwhile");
        assert!(
            !streams.iter().any(|stream| http2.statuses.contains_key(stream)),
            "nothing is decided yet"
        );
        drop(held);
        for stream in streams.iter().skip(1).step_by(2) {
            // The same code came twice, and either may be first.
            let status = http2.status(*stream);
            assert!([200, 401].contains(&status), "{status}");
        }
        wait_until("each code is used", || {
            (1..USERS)
                .all(|number| server.decisions("granted-fresh", &format!("user{number}")) == 1)
        });
        http2.ask(503, &open, "none");
        assert_eq!(http2.status(503), 200);
    }
}

#[test]
fn both_schemes_log_in() {
    let alice = Token::hotp("alice").pin(PIN);
    let server = start_http2(
        Nginx::four(),
        vec![
            Scope::new("basic").token(&alice).set(Setting::MaxLinger, 0),
            Scope::new("digest").digest().token(&alice).set(Setting::MaxLinger, 0),
        ],
    );
    for code in 0..2 {
        server.keep_secret(alice.password(code));
    }
    let mut http2 = Http2::open(server.other_port());
    let place = server.at("basic");
    for (stream, code, status) in [(1, 0, 200), (3, 0, 401), (5, 1, 200)] {
        http2.ask(stream, &place.path("page.txt"), &basic("alice", alice.password(code)));
        assert_eq!(http2.status(stream), status);
    }
    // A nonce is the server's, whatever the protocol.
    let place = server.at("digest");
    server.expect_refused_nonce(NonceFault::Replayed);
    let challenge = Challenge::of(&place);
    for (stream, code, nc, status) in
        [(7, 0, 1, 200), (9, 1, 1, 401), (11, 1, 2, 200), (13, 1, 3, 401)]
    {
        let answer = Answer::new(&challenge, place.path("page.txt"), "alice", alice.password(code));
        http2.ask(stream, &place.path("page.txt"), &answer.nc(nc).header());
        assert_eq!(http2.status(stream), status, "stream {stream}");
    }
}

/// A browser sends each cookie as a field of its own.
#[test]
fn a_cookie_among_others_lets_in() {
    let alice = Token::hotp("alice").pin(PIN);
    let scope = Scope::new("area").token(&alice).directives("auth_otp_linger_cookie insecure;");
    let server = start_http2(Nginx::one(), vec![scope]);
    let place = server.at("area");
    let granted = place.login("alice", alice.password(0));
    granted.is(200, "granted-fresh");
    let set = granted.0.header("Set-Cookie").expect("a cookie");
    let cookie = set.split(';').next().expect("its value");
    server.keep_secret(cookie.split_once('=').expect("a value").1);
    let mut http2 = Http2::open(server.other_port());
    let path = place.path("page.txt");
    let fields = [("cookie", "a=1"), ("cookie", cookie), ("cookie", "b=2")];
    http2.ask_with(1, &path, &fields);
    assert_eq!(http2.status(1), 200);
    http2.ask_with(3, &path, &fields[..1]);
    assert_eq!(http2.status(3), 401);
}
