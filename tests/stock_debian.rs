//! The commands that Debian's units and scripts run before each start and reload, on a
//! configuration with the log levels that distributions ship and a users file with a line that
//! nobody can read.

mod common;

use std::process::{Command, Output};

use common::root::Root;
use common::{Httpd, Nginx, Scope, Server, Token};

const PIN: &str = "sesame9";
/// `ExecStartPre=` of nginx.service.
const UNIT: &str = "/lib/systemd/system/nginx.service";

fn alice() -> Token {
    Token::hotp("alice").pin(PIN)
}

fn scopes() -> Vec<Scope> {
    let area = Scope::new("area").token(&alice()).text("HOTP/X carol - 00\n");
    vec![area, Scope::bare("public").directives("")]
}

fn run(command: &[&str]) -> Output {
    Command::new(command[0]).args(&command[1..]).env("LC_ALL", "C").output().expect("the command")
}

/// It has succeeded and tells of the line once, on standard error.
#[track_caller]
fn tells_and_succeeds(output: &Output) {
    let (out, err) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{out}{err}");
    assert_eq!(err.matches("users/area/users line 2: ").count(), 1, "{err}");
    assert!(err.contains(": error: ") && !out.contains("line 2"), "{out}{err}");
}

/// The words of the line that systemd runs before each start, as on this machine.
fn start_pre() -> Vec<String> {
    common::require(UNIT);
    let unit = std::fs::read_to_string(UNIT).expect(UNIT);
    let line = unit
        .lines()
        .find_map(|line| line.strip_prefix("ExecStartPre="))
        .expect("a test before each start");
    let (before, quoted) = line.split_once(" '").expect("quoted directives");
    let directives = quoted.strip_suffix('\'').expect("the end of the quotation");
    before.split(' ').chain([directives]).map(str::to_owned).collect()
}

fn path(root: &Root, name: &str) -> String {
    root.join(name).display().to_string()
}

#[test]
fn what_nginx_service_runs_before_a_start_succeeds_and_tells() {
    let server = Server::start(Nginx::one().directives("error_log {root}/stock.log;"), scopes());
    let root = server.root();
    // The unit says itself whether it is a daemon. The second level is the one that has kept the
    // test silent.
    let text = std::fs::read_to_string(root.join("nginx.conf"))
        .expect("the configuration")
        .replace("daemon off;", "");
    let pre = start_pre();
    assert_eq!(pre[..3], ["/usr/sbin/nginx", "-t", "-q"], "the unit has changed");
    let prefix = path(root, "");
    for level in ["error", "crit"] {
        root.write(
            "unit.conf",
            text.replace("/error.log\" info;", &format!("/error.log\" {level};")),
        );
        let conf = path(root, "unit.conf");
        let place = ["-p", &prefix, "-c", &conf, "-e", "stderr"];
        let command: Vec<&str> = pre.iter().map(String::as_str).chain(place).collect();
        tells_and_succeeds(&run(&command));
    }

    // The log has it, too, where its level allows.
    server.expect_log("users/area/users line 2: ");

    // The rest of the site is served, and refusals show.
    server.send(&common::Request::get("/public/page.txt")).is_status(200);
    server.at("area").login("alice", "wrong-pin755224").is(401, "denied-pin");
    let log = std::fs::read_to_string(root.join("stock.log")).expect("the log");
    assert!(
        log.contains("[error]") && log.contains("denied-pin: wrong PIN, user \"alice\""),
        "{log}"
    );
    server.at("area").login("carol", "755224").is(401, "error");
}

#[test]
fn what_apachectl_runs_before_a_start_and_a_graceful_restart_succeeds_and_tells() {
    let public = Scope::bare("public").directives("Require all granted");
    let area = scopes().swap_remove(0);
    let server = Server::start(Httpd::event().directives("LogLevel warn"), vec![area, public]);
    let (root, conf) = (server.root(), path(server.root(), "httpd.conf"));
    let prefix = path(root, "");
    let program = "/usr/sbin/apache2";
    // `apachectl configtest` is the first; `apachectl start`, `restart` and `graceful` run it
    // before what they are called for.
    tells_and_succeeds(&run(&[program, "-d", &prefix, "-f", &conf, "-t"]));
    let graceful = run(&[program, "-d", &prefix, "-f", &conf, "-k", "graceful"]);
    assert!(graceful.status.success(), "{}", String::from_utf8_lossy(&graceful.stderr));
    common::wait_until("it has been restarted", || server.error_log().contains("AH00493:"));
    common::wait_until("it is ready again", || {
        server.error_log().matches("configured -- resuming normal operations").count() == 2
    });

    server.send(&common::Request::get("/public/page.txt")).is_status(200);
    server.at("area").login("alice", "wrong-pin755224").is(401, "denied-pin");
    let log = server.error_log();
    assert!(
        log.contains("[authn_otp:warn]") && log.contains("denied-pin: wrong PIN, user \"alice\""),
        "{log}"
    );
    server.expect_log("users/area/users line 2: ");
    server.expect_log("error: ");
    server.at("area").login("carol", "755224").is(401, "error");
}
