//! One request that the server sends on from a lax place into one with other settings: it is let in
//! there only if it would be when it asks there itself, and nothing is spent or counted twice. See
//! elsewhere_cases.rs for all rules on all ways.

mod common;
#[path = "common/ways.rs"]
mod ways;

use common::{Httpd, Nginx, Request, Scope, Server, Setting, Token};
use ways::{INNER, Kind};

const PIN: &str = "sesame9";

/// A strict place may send on to a lax one.
#[test]
fn from_a_strict_place_into_a_lax_one_the_code_is_spent_once() {
    for kind in [Kind::Httpd, Kind::Nginx] {
        for (way, directives, file) in kind.ways() {
            let alice = Token::hotp("alice").pin(PIN);
            let scope = Scope::new(way)
                .token(&alice)
                .set(Setting::MaxLinger, 0)
                .set(Setting::MaxOffset, 0)
                .directives(&directives(way))
                .directives(&kind.inner(way, (Setting::MaxLinger, "600")));
            let server = kind.start(vec![scope]);
            server.tolerate_log("No such file or directory");
            server.root().write(format!("htdocs/{way}/inner.txt"), INNER);
            let include = format!("<!--#include virtual=\"/{way}/inner.txt\" -->");
            server.root().write(format!("htdocs/{way}/whole.shtml"), include);
            let place = server.at(way);
            let reply = place.send(place.request_for(file, "alice", alice.password(0)));
            assert!(reply.0.text().contains(INNER), "{way}: {reply:?}");
            assert_eq!(server.all_decisions("alice"), ["granted-fresh"], "{way}");
            assert_eq!(place.users().counter("alice"), 1);
        }
    }
}

/// While a thread decides about a part of a page, the loop serves others; and no part is judged
/// afresh.
#[test]
fn a_part_that_has_to_wait_for_a_thread_is_shown_in_the_end() {
    let dave = Token::hotp("dave").external_pin(PIN);
    let included = "whole <!--#include virtual=\"/area/inner.txt\" --> <!--#include virtual=\"/area/inner.txt\" -->";
    let nginx =
        Nginx::one().file("htdocs/area/whole", included).file("htdocs/area/inner.txt", INNER);
    // The inner place has another PIN file, which a thread has to read.
    let area = Scope::new("area").token(&dave).pin_file("dave", PIN).directives(
        "ssi on;\nssi_types text/plain;\n\
         location = /area/inner.txt {\nauth_otp_pin_file \"{root}/pins/other\";\nauth_otp_pin_cache 0;\n}",
    );
    let other = Scope::new("other").text("x").pin_file("dave", PIN);
    let server = Server::start(nginx, vec![area, other]);
    let place = server.at("area");
    let reply = place.send(place.request_for("whole", "dave", dave.password(0)));
    assert_eq!(reply.0.text(), format!("whole {INNER} {INNER}"));
    assert_eq!(server.all_decisions("dave"), ["granted-fresh"]);
    server.at("other").replace_pin_file(&common::scope::htpasswd_line("dave", "opendoor"));
    server.expect_log("sub-request for \"/area/inner.txt\" refused");
    let reply = place.send(place.request_for("whole", "dave", dave.password(0)));
    assert!(!reply.0.text().contains(INNER) && reply.0.text().contains("403"), "{reply:?}");
    assert_eq!(server.all_decisions("dave")[1..], ["granted-reuse", "denied-pin", "denied-pin"]);
    assert_eq!(place.users().failures("dave"), 0);
}

/// The rules of a mirrored sub-request are its own, though nobody sees its answer.
#[test]
fn a_mirrored_request_is_let_in_by_the_rules_of_its_place() {
    let alice = Token::hotp("alice").pin(PIN);
    let backend = common::backend::Backend::start();
    let inner = |offset: u32| {
        format!(
            "mirror /area/mirrored;\nlocation = /area/mirrored {{\nauth_otp_max_offset {offset};\n\
             proxy_pass http://127.0.0.1:{};\n}}",
            backend.port()
        )
    };
    for (offset, seen) in [(3, 1), (2, 0)] {
        let area = Scope::new("area").token(&alice).directives(&inner(offset));
        let server = Server::start(Nginx::one(), vec![area]);
        server.tolerate_log("sub-request for \"/area/mirrored\" refused");
        let place = server.at("area");
        place.login("alice", alice.password(3)).is(200, "granted-fresh");
        let mut arrived = Vec::new();
        common::wait_until("the mirrored request is decided", || {
            arrived.extend(backend.take_seen());
            arrived.len() == seen && server.all_decisions("alice").len() == 2 - seen
        });
        let expected: &[&str] =
            if seen == 0 { &["granted-fresh", "denied-code"] } else { &["granted-fresh"] };
        assert_eq!(server.all_decisions("alice"), expected);
    }
}

/// httpd's providers say nothing of their settings: the same name may read another file in the next
/// section.
#[test]
fn a_pin_that_one_directory_s_provider_knows_is_none_in_another() {
    let dave = Token::hotp("dave").external_pin(PIN);
    let scope = Scope::new("area").token(&dave).directives(
        "OTPAuthPINAuthProvider file\nAuthUserFile one.txt\nDirectoryIndex inner.txt\nOTPAuthPINCache 600\n\
         <Files \"inner.txt\">\nAuthUserFile two.txt\n</Files>",
    );
    let httpd = Httpd::event()
        .in_one_process()
        .file("one.txt", common::scope::htpasswd_line("dave", PIN))
        .file("two.txt", common::scope::htpasswd_line("dave", "opendoor"));
    let server = Server::start(httpd, vec![scope]);
    let place = server.at("area");
    server.root().write("htdocs/area/inner.txt", INNER);
    let index = || place.send(place.request_for("", "dave", dave.password(0)));
    let inner = || place.send(place.request_for("inner.txt", "dave", dave.password(0)));
    place.login("dave", dave.password(0)).is(200, "granted-fresh");
    for _ in 0..2 {
        inner().is(401, "denied-pin");
        let reply = index();
        assert!(!reply.0.text().contains(INNER), "{reply:?}");
        place.login("dave", dave.password(0)).is(200, "granted-reuse");
    }
    server.root().write("two.txt", common::scope::htpasswd_line("dave", PIN));
    assert_eq!(index().0.text(), INNER);
    assert_eq!(inner().0.text(), INNER);
    server.root().write("one.txt", common::scope::htpasswd_line("dave", "opendoor"));
    place.login("dave", dave.password(0)).is(401, "denied-pin");
    place.send(Request::get(place.path("page.txt"))).is_status(401);
}
