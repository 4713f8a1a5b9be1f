//! A small language for the end-to-end tests: start a real server, log in, look at what it wrote.
//!
//! ```ignore
//! let alice = Token::hotp("alice").pin("sesame9");
//! let server = Server::start(Httpd::event(), vec![Scope::new("area").token(&alice)]);
//! server.at("area").login("alice", alice.password(0)).is(200, "granted-fresh");
//! ```
//!
//! A [`Server`] stops when it is dropped, and then its logs are searched: for a line nobody
//! expected, for an expected line that isn't there, and for anything secret that the test has used.
//!
//! Nothing here knows a rule of otpgate: codes come from the library, verdicts from the servers.

// Each test binary uses its own part of the language.
#![allow(dead_code)]

pub mod backend;
pub mod client;
pub mod codes;
pub mod daemon;
pub mod httpd;
pub mod log;
pub mod login_place;
pub mod nginx;
pub mod programs;
pub mod random;
pub mod root;
pub mod scope;
pub mod server;
pub mod users;
pub mod visitor;
pub mod web_pages;

#[allow(unused_imports)]
pub use self::{
    client::{Connection, Request, Response},
    codes::Token,
    httpd::{Httpd, Mpm},
    nginx::Nginx,
    scope::{Scope, Setting},
    server::{Place, Reply, Server},
    users::{Held, UsersFile, beside},
};

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Starts the server that a test is run on.
pub type Start = fn(Vec<Scope>) -> Server;

/// Each of these functions as a test on each of these servers, in a module of the server's name. It
/// is given the closure that starts the server.
#[allow(unused_macros)]
macro_rules! on_servers_started_by {
    ($($server:ident: $start:expr => $($name:ident)*;)*) => {
        $(mod $server {
            #[allow(unused_imports)]
            use super::*;

            $(#[test]
            fn $name() {
                super::$name($start);
            })*
        })*
    };
}

/// The same where each server is started as it is.
#[allow(unused_macros)]
macro_rules! on_each_server {
    ($($server:ident: $kind:expr => $($name:ident)*;)*) => {
        crate::common::on_servers_started_by! {
            $($server: |scopes| crate::common::Server::start($kind, scopes) => $($name)*;)*
        }
    };
}

/// The same on an httpd and on an nginx with several processes each.
#[allow(unused_macros)]
macro_rules! on_both_servers {
    ($($name:ident)*) => {
        crate::common::on_each_server! {
            on_httpd: crate::common::Httpd::event() => $($name)*;
            on_nginx: crate::common::Nginx::four() => $($name)*;
        }
    };
}

#[allow(unused_imports)]
pub(crate) use {on_both_servers, on_each_server, on_servers_started_by};

/// How long a condition may take to come true. Long, because a loaded machine is no fault of the
/// server; a test that passes never waits for it.
const PATIENCE: Duration = Duration::from_secs(30);

/// Waits until `condition` holds.
#[track_caller]
pub fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let begun = Instant::now();
    let mut pause = Duration::from_millis(1);
    while !condition() {
        assert!(begun.elapsed() < PATIENCE, "waited in vain: {what}");
        std::thread::sleep(pause);
        // Short at first, as most things happen at once; then rarer, as asking may be work for the
        // server.
        pause = (pause * 2).min(Duration::from_millis(50));
    }
}

/// A test never skips itself for want of a program: a skipped test reads like a passed one.
#[track_caller]
pub fn require(program: &str) {
    assert!(
        Path::new(program).exists(),
        "{program} is missing: `make test-deps` installs what the tests need"
    );
}

/// The command, built with the tests.
#[track_caller]
pub fn program() -> PathBuf {
    let own = std::env::current_exe().expect("a path of its own");
    let path = own.ancestors().nth(2).expect("target/release").join("otpgate");
    assert!(path.exists(), "{} is missing: run `make build`", path.display());
    path
}

/// Whether the tests may change owners, mount, and so on.
pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// For what can't be tried out as an ordinary user.
#[track_caller]
pub fn require_root(why: &str) {
    assert!(is_root(), "this test must run as root: {why}");
}

/// A number from the environment, so that `make torture` can ask for more than a normal run.
pub fn from_environment(name: &str, default: usize) -> usize {
    match std::env::var(name) {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("{name}={text} is no number")),
        Err(_) => default,
    }
}
