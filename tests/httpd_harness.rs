//! The tests' own language: what it has to notice, it notices.

mod common;

use common::log::{Secrets, decision};
use common::{Httpd, Mpm, Scope, Server, Token};

/// A scope that mod_authn_file alone protects.
fn plain(file: &str) -> Scope {
    Scope::bare("area").second_provider("alice", "opendoor").directives(&format!(
        "AuthType Basic\nAuthName area\nAuthBasicProvider file\nAuthUserFile {file}\nRequire valid-user"
    ))
}

const PASSWORDS: &str = "{root}/second/area";

#[test]
fn every_mpm_starts_answers_reloads_and_stops() {
    for mpm in Mpm::ALL {
        let server = Server::start(Httpd::new(mpm), vec![plain(PASSWORDS)]);
        let place = server.at("area");
        place.login("alice", "opendoor").is_status(200);
        place.login("alice", "closeddoor").is_status(401);
        server.reload();
        place.login_from("192.0.2.1", "alice", "opendoor").is_status(200);
        let accesses = server.logged_accesses("/area/page.txt", 3);
        assert!(accesses.contains(&"401 - - alice /area/page.txt".to_owned()), "{accesses:?}");
        common::wait_until("there are children", || !server.children().is_empty());
        server.finish();
    }
}

#[test]
#[should_panic(expected = "unexpected line in the log")]
fn line_nobody_expects_is_noticed() {
    let server = Server::start(Httpd::event(), vec![plain("{root}/nowhere")]);
    server.at("area").login("alice", "opendoor").is_status(500);
}

#[test]
#[should_panic(expected = "no line of the log has")]
fn expected_line_that_is_not_there_is_noticed() {
    let server = Server::start(Httpd::event(), vec![]);
    server.expect_log("a miracle");
}

#[test]
#[should_panic(expected = "is shown by the log")]
fn secret_in_the_error_log_is_noticed() {
    let server = Server::start(Httpd::event(), vec![plain(PASSWORDS)]);
    // A name like a password: httpd logs names.
    server.at("area").login("opendoor", "whatever").is_status(401);
}

#[test]
#[should_panic(expected = "is shown by the access log")]
fn secret_in_the_access_log_is_noticed() {
    let server = Server::start(Httpd::event(), vec![plain(PASSWORDS)]);
    let place = server.at("area");
    let path = place.path("opendoor.txt");
    server.root().write("htdocs/area/opendoor.txt", "there");
    place.send(place.request_for("opendoor.txt", "alice", "opendoor"));
    server.logged_accesses(&path, 1);
}

#[test]
#[should_panic(expected = "the server ended with")]
fn server_that_does_not_start_is_noticed() {
    Server::start(Httpd::event().directives("NoSuchDirective"), vec![]);
}

#[test]
fn mistakes_are_found_by_a_configuration_test() {
    Httpd::event().test(vec![], |_| {}).is_accepted(true);
    Httpd::event()
        .directives("NoSuchDirective")
        .test(vec![], |_| {})
        .is_accepted(false)
        .names_the_line_of("NoSuchDirective")
        .says("Invalid command");
}

#[test]
fn secret_is_found_alone_and_in_words_but_not_within_a_longer_number() {
    let secrets = Secrets::default();
    secrets.remember("755224");
    secrets.remember("sesame9");
    assert!(secrets.found_in("code 755224, address").is_some());
    assert!(secrets.found_in("xSESAME9755224").is_some());
    assert!(secrets.found_in("process 7552241").is_none());
}

#[test]
fn decision_line_has_a_result_and_ends_with_the_quoted_user() {
    let line = r#"denied-code: wrong code, user "al\x22""#;
    assert_eq!(decision(line), Some(("denied-code", r"al\x22")));
    assert_eq!(decision(r#"denied-code, user "alice", once more"#), None);
    assert_eq!(decision(r#"no such word, user "alice""#), None);
}

/// RFC 4226 appendix D, RFC 6238 appendix B, and what `oathtool` says.
#[test]
fn tokens_show_the_right_codes() {
    let event = Token::hotp("alice");
    assert_eq!([event.code(0), event.code(9)], ["755224", "520489"]);
    assert_eq!(event.hexadecimal_code(0), "93cf18");
    let time = Token::totp("bob").digits(8);
    assert_eq!(time.code(59 / 30), "94287082");
    let oathtool = "/usr/bin/oathtool";
    common::require(oathtool);
    let output = std::process::Command::new(oathtool)
        .args(["--counter=77", "--digits=8", "3132333435363738393031323334353637383930"])
        .output()
        .expect("oathtool runs");
    let theirs = String::from_utf8(output.stdout).expect("plain text");
    assert_eq!(theirs.trim(), Token::hotp("alice").digits(8).code(77));
    assert!(!event.wrong_codes(300).contains(&event.code(5)));
    assert_ne!(time.wrong_code(), time.code(time.step()));
}

#[test]
fn line_of_a_token_is_what_the_specification_says() {
    let key = "3132333435363738393031323334353637383930";
    let line = |token: &Token| String::from_utf8(token.line()).expect("plain text");
    let alice = Token::hotp("alice").pin("1234");
    assert_eq!(line(&alice), format!("HOTP/E/6 alice 1234 {key}\n"));
    let bob = Token::totp("bob").digits(8).external_pin("1234").off();
    assert_eq!(line(&bob), format!("OFF:HOTP/T30/8 bob + {key}\n"));
}
