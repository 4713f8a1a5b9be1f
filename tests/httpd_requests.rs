//! What becomes of a login within Apache httpd: sub-requests, redirects, sections, logs, what
//! stands behind.

mod common;

use std::process::Command;

use common::backend::Backend;
use common::client::basic;
use common::server::PAGE_TEXT;
use common::{Connection, Httpd, Place, Reply, Request, Scope, Server, Setting, Token};

const PIN: &str = "sesame9";

fn alice() -> Token {
    Token::hotp("alice").pin(PIN)
}

/// A scope in which every code is good for one request only.
fn once(name: &str, token: &Token) -> Scope {
    Scope::new(name).token(token).set(Setting::MaxLinger, 0)
}

#[track_caller]
fn was_one_login(place: &Place<'_>, user: &str) {
    assert_eq!(place.server().all_decisions(user), ["granted-fresh"]);
    assert_eq!(place.users().counter(user), 1);
}

#[test]
fn a_request_is_one_login_whatever_it_takes_to_answer_it() {
    // Names of their own, to count the decisions about each.
    let [index, files, direct, ssi, rewritten, ahead, missing] =
        ["index", "files", "direct", "ssi", "rewritten", "ahead", "missing"]
            .map(|name| Token::hotp(name).pin(PIN));
    let other_settings = "OTPAuthMaxOffset 5\n";
    let scopes = vec![
        once("index", &index).directives("DirectoryIndex page.txt"),
        once("files", &files).directives(&format!(
            "DirectoryIndex page.txt\n<Files \"page.txt\">\n{other_settings}</Files>"
        )),
        once("direct", &direct)
            .directives(&format!("<Files \"page.txt\">\n{other_settings}</Files>")),
        once("ssi", &ssi).directives(&format!(
            "Options +Includes\n<Files \"*.shtml\">\nSetOutputFilter INCLUDES\n</Files>\n\
             <Files \"page.txt\">\n{other_settings}</Files>"
        )),
        once("rewritten", &rewritten)
            .directives("Options +FollowSymLinks\nRewriteEngine On\nRewriteRule ^nice$ page.txt"),
        once("ahead", &ahead),
        once("missing", &missing).directives("ErrorDocument 404 /missing/page.txt"),
    ];
    // Looks ahead, before the request itself is authenticated, which user it will have.
    let look_ahead = "RewriteEngine On\nRewriteCond %{LA-U:REMOTE_USER} ^ahead$\n\
                      RewriteRule ^/ahead/nice$ /ahead/page.txt [PT]";
    let httpd = Httpd::event().module("include").module("rewrite").directives(look_ahead);
    let server = Server::start(httpd, scopes);
    let included = "<!--#include virtual=\"page.txt\" -->";
    server.root().write("htdocs/ssi/both.shtml", format!("{included} and {included}"));

    for (token, file, status) in [
        (&index, "", 200),
        (&files, "", 200),
        (&direct, "page.txt", 200),
        (&ssi, "both.shtml", 200),
        (&rewritten, "nice", 200),
        (&ahead, "nice", 200),
        (&missing, "nowhere", 404),
    ] {
        let name = String::from_utf8(token.user().to_vec()).expect("plain text");
        let place = server.at(&name);
        let reply = place.send(place.request_for(file, &name, token.password(0)));
        assert_eq!(reply.status(), status, "{name}: {reply:?}");
        assert!(reply.0.text().contains(PAGE_TEXT), "{name}: {reply:?}");
        was_one_login(&place, &name);
        place.login(&name, token.password(0)).is_denied();
    }
    let place = server.at("ssi");
    let reply = place.send(place.request_for("both.shtml", "ssi", ssi.password(1)));
    assert_eq!(reply.0.text(), format!("{PAGE_TEXT} and {PAGE_TEXT}"));
}

#[test]
fn every_request_of_a_connection_is_a_login_of_its_own() {
    let alice = alice();
    let scopes = vec![once("area", &alice), Scope::new("other").token(&alice)];
    let server = Server::start(Httpd::event(), scopes);
    let (area, other) = (server.at("area"), server.at("other"));
    let mut connection = Connection::open(server.port()).expect("a connection");
    let mut ask = |request: &Request| Reply(connection.send(request, true).expect("an answer"));
    let first = area.request("alice", alice.password(0));
    ask(&first).is(200, "granted-fresh");
    ask(&first).is(401, "denied-expired");
    ask(&Request::get(area.path("page.txt"))).is_status(401);
    ask(&other.request("alice", alice.password(0))).is(200, "granted-fresh");
    ask(&area.request("alice", alice.password(1))).is(200, "granted-fresh");
}

#[test]
fn error_document_within_the_area_counts_no_second_time() {
    let tokens = ["same", "other"].map(|name| Token::hotp(name).pin(PIN));
    let scopes = tokens.each_ref().map(|token| {
        let name = String::from_utf8_lossy(token.user());
        // httpd asks for no second login where the settings are the same, but here they aren't.
        once(&name, token).set(Setting::MaxFailures, 3).directives(&format!(
            "ErrorDocument 401 /{name}/denied.txt\n\
             <Files \"{}.txt\">\nOTPAuthMaxOffset 5\n</Files>",
            if name == "other" { "denied" } else { "page" }
        ))
    });
    let server = Server::start(Httpd::event(), scopes.to_vec());
    for (token, name) in tokens.iter().zip(["same", "other"]) {
        server.root().write(format!("htdocs/{name}/denied.txt"), "denied");
        let place = server.at(name);
        for (number, wrong) in token.wrong_codes(3).iter().enumerate() {
            place.login(name, token.with(wrong)).is_status(401);
            assert_eq!(place.users().failures(name), number as i64 + 1);
        }
        place.login(name, token.password(0)).is_status(401);
        let decisions = ["denied-code", "denied-code", "denied-code", "denied-locked"];
        assert_eq!(server.all_decisions(name), decisions);
    }
}

#[test]
fn grant_for_one_users_file_is_none_for_another() {
    let alice = alice();
    let elsewhere = alice.clone().key(b"another key altogether");
    let include = "<!--#include virtual=\"/other/page.txt\" -->";
    let scopes = vec![
        Scope::new("area").token(&alice).directives(
            "Options +Includes\n<Files \"*.shtml\">\nSetOutputFilter INCLUDES\n</Files>",
        ),
        Scope::new("other").token(&elsewhere),
    ];
    let server = Server::start(Httpd::event().module("include"), scopes);
    server.root().write("htdocs/area/both.shtml", include);
    server.expect_log("unable to include");
    let place = server.at("area");
    let reply = place.send(place.request_for("both.shtml", "alice", alice.password(0)));
    assert_eq!(reply.status(), 200);
    assert!(!reply.0.text().contains(PAGE_TEXT), "{reply:?}");
    // It was a wrong code there.
    assert_eq!(server.at("other").users().failures("alice"), 1);
    assert_eq!(server.at("other").users().counter("alice"), 0);
}

#[test]
fn two_sections_over_one_users_file_share_its_state() {
    let alice = alice();
    let server = Server::start(
        Httpd::event(),
        vec![
            Scope::new("first").token(&alice).set(Setting::MaxLinger, 0),
            Scope::bare("second").directives(
                "AuthType Basic\nAuthName second\nAuthBasicProvider OTP\nRequire valid-user\n\
                 OTPAuthUsersFile users/first/users",
            ),
        ],
    );
    let (first, second) = (server.at("first"), server.at("second"));
    first.login("alice", alice.password(0)).is(200, "granted-fresh");
    // The second one lets a code linger, whoever took it first; its path is relative to ServerRoot.
    second.login("alice", alice.password(0)).is(200, "granted-reuse");
    second.login("alice", alice.password(1)).is(200, "granted-fresh");
    first.login("alice", alice.password(1)).is(401, "denied-expired");
    assert_eq!(first.users().counter("alice"), 2);
}

#[test]
fn htaccess_files_may_do_it_all_and_inherit() {
    let alice = alice();
    let open = "AllowOverride AuthConfig";
    let limit = "OTPAuthMaxOTPFailure 2";
    let scopes = vec![
        Scope::bare("all").token(&alice).directives(&format!("{open}\nRequire all denied")),
        Scope::new("limited").token(&alice).directives(&format!("{open}\n{limit}")),
        Scope::new("broken").token(&alice).directives(open),
        Scope::bare("nofile").directives(open),
    ];
    let server = Server::start(Httpd::event(), scopes);
    let root = server.root();
    let page = |path: &str| root.write(format!("htdocs/{path}/page.txt"), PAGE_TEXT);

    let all = server.at("all");
    let section = format!(
        "AuthType Basic\nAuthName all\nAuthBasicProvider OTP\nRequire valid-user\n\
         OTPAuthUsersFile {}\nOTPAuthMaxLinger 0\n",
        all.users().path().display()
    );
    root.write("htdocs/all/.htaccess", &section);
    all.login("alice", alice.password(0)).is(200, "granted-fresh");
    all.login("alice", alice.password(0)).is(401, "denied-expired");

    let limited = server.at("limited");
    for (name, value) in [("zero", "0"), ("none", "None"), ("more", "3")] {
        page(&format!("limited/{name}"));
        let path = format!("htdocs/limited/{name}/.htaccess");
        root.write(path, format!("OTPAuthMaxOTPFailure {value}\n"));
    }
    for wrong in alice.wrong_codes(2) {
        limited.login("alice", alice.with(&wrong)).is(401, "denied-code");
    }
    let ask = |file: &str| limited.send(limited.request_for(file, "alice", alice.password(0)));
    ask("page.txt").is(401, "denied-locked");
    // 0 says nothing, so the limit of the directory above holds.
    ask("zero/page.txt").is(401, "denied-locked");
    ask("more/page.txt").is(200, "granted-fresh");
    ask("none/page.txt").is(200, "granted-reuse");

    root.write("htdocs/broken/.htaccess", "OTPAuthMaxOffset 10001\n");
    server.expect_log("OTPAuthMaxOffset");
    let broken = server.at("broken");
    broken.users().stays_the_same(|| {
        broken.login("alice", alice.password(0)).is_status(500);
    });

    let section = "AuthType Basic\nAuthName nofile\nAuthBasicProvider OTP\nRequire valid-user\n";
    root.write("htdocs/nofile/.htaccess", section);
    server.expect_log("OTPAuthUsersFile");
    server.at("nofile").login("alice", alice.password(0)).is_status(500);
}

#[test]
fn result_is_in_the_log_always_and_in_the_environment_on_grants_only() {
    let alice = alice();
    let includes = "Options +Includes\n<Files \"*.shtml\">\nSetOutputFilter INCLUDES\n</Files>";
    let scopes = vec![
        Scope::new("area")
            .token(&alice)
            .set(Setting::LogoutOnIpChange, "On")
            .directives(includes)
            .directives("ErrorDocument 401 /public/denied.shtml"),
        Scope::bare("public").directives(includes).directives("Require all granted"),
    ];
    let server = Server::start(Httpd::event().module("include"), scopes);
    let shown = "(<!--#echo var=\"OTP_RESULT\" -->, <!--#echo var=\"REDIRECT_OTP_RESULT\" -->)";
    server.root().write("htdocs/area/shown.shtml", shown);
    server.root().write("htdocs/public/denied.shtml", shown);
    let place = server.at("area");
    let ask = |user: &str, password: &str| {
        let reply = place.send(place.request_for("shown.shtml", user, password));
        reply.0.text()
    };
    assert_eq!(ask("alice", &alice.password(0)), "(granted-fresh, (none))");
    assert_eq!(ask("alice", &alice.password(0)), "(granted-reuse, (none))");
    let denied = [
        ("alice", alice.with(&alice.wrong_code()), "denied-code"),
        ("alice", format!("simsim8{}", alice.code(1)), "denied-pin"),
        ("nobody", "whatever".to_owned(), "unknown"),
        ("alice", String::new(), "forgotten"),
        ("alice", alice.password(0), "denied-expired"),
    ];
    for (user, password, _) in &denied {
        assert_eq!(ask(user, password), "((none), (none))");
    }
    // The access log asks the last of a chain of redirects: of a refused request, that for the
    // error page, which has no user.
    let granted = server.logged_accesses("/area/shown.shtml", 2 + denied.len());
    let has = |line: &str| granted.iter().any(|known| known == line);
    assert!(has("200 granted-fresh granted-fresh alice /area/shown.shtml"), "{granted:?}");
    assert!(has("200 granted-reuse granted-reuse alice /area/shown.shtml"), "{granted:?}");
    for (_, _, result) in &denied {
        let line = format!("401 {result} - - /area/shown.shtml");
        assert!(has(&line), "{line} isn't in {granted:?}");
    }
}

#[test]
fn the_page_that_asks_again_may_name_the_next_code_on_paper() {
    let paper = Token::paper("paula", 30).pin(PIN);
    let includes = "Options +Includes\n<Files \"*.shtml\">\nSetOutputFilter INCLUDES\n</Files>";
    let scopes = vec![
        Scope::new("area")
            .token(&paper)
            .set(Setting::Throttle, "20 600")
            .directives("ErrorDocument 401 /public/denied.shtml"),
        Scope::bare("public").directives(includes).directives("Require all granted"),
    ];
    let server = Server::start(Httpd::event().module("include"), scopes);
    let shown = "<!--#if expr=\"-n v('OTP_PAPER_NEXT')\" -->next <!--#echo var=\"OTP_PAPER_NEXT\" --><!--#endif -->.";
    server.root().write("htdocs/public/denied.shtml", shown);
    let place = server.at("area");
    let ask = |password: &str| place.login("paula", password).0.text();
    assert_eq!(ask(PIN), ".");
    place.login("paula", paper.password(6)).is_denied();
    place.login("paula", paper.password(2)).is(200, "granted-fresh");
    assert_eq!(ask(PIN), "next 4.");
    assert_eq!(ask("simsim8"), ".");
}

#[test]
fn what_stands_behind_sees_the_pin_only_after_a_grant() {
    let backend = Backend::start();
    let alice = alice();
    let carol = Token::hotp("carol");
    let pass = format!("ProxyPass http://127.0.0.1:{}/", backend.port());
    let proxied = |name: &str, setting: &str| {
        Scope::new(name)
            .of_urls()
            .token(&alice)
            .token(&carol)
            .set(Setting::PinFakeBasic, setting)
            .set(Setting::MaxLinger, 600)
            .directives(&pass)
    };
    let httpd =
        Httpd::event().module("proxy").module("proxy_http").directives("LogLevel proxy:warn");
    let server = Server::start(httpd, vec![proxied("faked", "On"), proxied("plain", "Off")]);
    // It is meant to be seen behind the server, but not in a log.
    server.keep_secret(basic("alice", PIN).trim_start_matches("Basic "));

    let faked = server.at("faked");
    for wrong in [
        alice.with(&alice.wrong_code()),
        format!("simsim8{}", alice.code(0)),
        PIN.to_owned(),
        String::new(),
    ] {
        faked.login("alice", wrong).is_denied();
    }
    faked.login("nobody", alice.password(0)).is(401, "unknown");
    assert_eq!(backend.take_seen(), []);

    faked.login("alice", alice.password(0)).is(200, "granted-fresh");
    faked.login("alice", alice.password(0)).is(200, "granted-reuse");
    faked.login("carol", carol.password(0)).is(200, "granted-fresh");
    let pins = [("alice", PIN), ("alice", PIN), ("carol", "")];
    assert_eq!(backend.take_seen(), pins.map(|(user, pin)| Some(basic(user, pin))));

    let plain = server.at("plain");
    plain.login("alice", alice.password(0)).is(200, "granted-fresh");
    assert_eq!(backend.take_seen(), [Some(basic("alice", alice.password(0)))]);
}

#[test]
fn header_with_the_pin_alone_passes_the_rest_of_its_own_request_only() {
    let alice = alice();
    let scope = once("area", &alice)
        .set(Setting::PinFakeBasic, "On")
        .directives("DirectoryIndex page.txt\n<Files \"page.txt\">\nOTPAuthMaxOffset 5\n</Files>");
    let server = Server::start(Httpd::event(), vec![scope]);
    let place = server.at("area");
    place.send(place.request_for("", "alice", alice.password(0))).is(200, "granted-fresh");
    was_one_login(&place, "alice");
    place.login("alice", PIN).is_denied();
    place.send(place.request_for("", "alice", PIN)).is_denied();
}

#[test]
fn requests_without_tls_are_forbidden_before_credentials_are_looked_at() {
    let alice = alice();
    let area = Scope::new("area")
        .token(&alice)
        .set(Setting::RequireTls, "On")
        .directives("<Files \"open.txt\">\nOTPAuthRequireTLS Off\n</Files>");
    let anyway = Scope::new("anyway")
        .token(&alice)
        .set(Setting::RequireTls, "On")
        .directives("Satisfy Any\nAllow from all");
    let httpd = Httpd::event()
        .module("access_compat")
        .module("ssl")
        .module("http2")
        .directives(
            "LogLevel ssl:error http2:error\n\
             Listen 127.0.0.1:{other_port}\n\
             <VirtualHost 127.0.0.1:{other_port}>\nServerName localhost\n\
             SSLEngine on\n\
             Protocols h2 http/1.1\n\
             SSLCertificateFile {root}/certificate.pem\n\
             </VirtualHost>",
        )
        .file("certificate.pem", certificate());
    let server = Server::start(httpd, vec![area, anyway]);
    server.expect_log("OTPAuthRequireTLS");
    let place = server.at("area");
    server.root().write("htdocs/area/open.txt", PAGE_TEXT);
    place.users().stays_the_same(|| {
        place.login("alice", alice.password(0)).is_status(403);
        place.login("alice", alice.with(&alice.wrong_code())).is_status(403);
        place.send(Request::get(place.path("page.txt"))).is_status(403);
        server.at("anyway").login("alice", alice.password(0)).is_status(403);
    });
    assert_eq!(server.all_decisions("alice"), [""; 0]);

    let url = format!("https://127.0.0.1:{}{}", server.other_port(), place.path("page.txt"));
    // HTTP/2 shares one TLS connection among the connections it makes up for its streams.
    for (version, counter) in [("1.1", 0), ("2", 1)] {
        let over_tls =
            |password: &str| curl(&server, &[&format!("--http{version}"), &url], password);
        assert_eq!(over_tls(&alice.password(counter)), format!("{PAGE_TEXT} {version} 200"));
        assert!(over_tls(&alice.with(&alice.wrong_code())).ends_with(" 401"));
    }
    place.send(place.request_for("open.txt", "alice", alice.password(2))).is(200, "granted-fresh");
}

/// A key and its own certificate, in one file.
fn certificate() -> String {
    let openssl = "/usr/bin/openssl";
    common::require(openssl);
    let output = Command::new(openssl)
        .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"])
        .args(["-nodes", "-days", "2", "-subj", "/CN=localhost", "-keyout", "-", "-out", "-"])
        .output()
        .expect("openssl runs");
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).expect("PEM is text")
}

/// Body, version of HTTP and status as curl sees them.
fn curl(server: &Server, arguments: &[&str], password: &str) -> String {
    let program = "/usr/bin/curl";
    common::require(program);
    server.keep_secret(password);
    let output = Command::new(program)
        .args(["--silent", "--show-error", "--noproxy", "*", "--insecure", "--basic"])
        .args(["--write-out", " %{http_version} %{http_code}"])
        .args(["--user", &format!("alice:{password}")])
        .args(arguments)
        .output()
        .expect("curl runs");
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).expect("plain text")
}

#[test]
fn curl_agrees() {
    let alice = alice();
    let server = Server::start(Httpd::event(), vec![Scope::new("area").token(&alice)]);
    let place = server.at("area");
    let url = format!("http://127.0.0.1:{}{}", server.port(), place.path("page.txt"));
    let ask = |password: &str| curl(&server, &[&url], password);
    assert_eq!(ask(&alice.password(0)), format!("{PAGE_TEXT} 1.1 200"));
    assert_eq!(ask(&alice.password(0)), format!("{PAGE_TEXT} 1.1 200"));
    assert!(ask(&alice.with(&alice.wrong_code())).ends_with(" 401"));
    let decisions = ["granted-fresh", "granted-reuse", "denied-code"];
    assert_eq!(server.all_decisions("alice"), decisions);
}
