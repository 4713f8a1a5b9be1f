//! Cookies and the page to log in, within Apache httpd.

mod common;

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::process::Command;

use common::backend::Backend;
use common::client::basic;
use common::scope::htpasswd_line;
use common::server::PAGE_TEXT;
use common::{Connection, Httpd, Mpm, Place, Reply, Request, Scope, Server, Setting, Token};

const PIN: &str = "sesame9";

/// The page to log in, in a place of its own below the one it is for.
const PAGE: &str = "<Location \"/area/login\">\nSetHandler otp-login\n</Location>";

fn alice() -> Token {
    Token::hotp("alice").pin(PIN)
}

/// A place that takes nothing but cookies.
fn otp(name: &str, token: &Token) -> Scope {
    Scope::bare(name).of_urls().token(token).directives(&format!(
        "AuthType OTP\nAuthName \"{name}\"\nOTPAuthUsersFile \"{{users}}\"\nRequire valid-user\n\
         OTPAuthLoginPage /{name}/login"
    ))
}

/// With documents below places of URLs.
fn httpd() -> Httpd {
    let documents = "<Directory \"{root}/htdocs\">\nRequire all granted\n</Directory>";
    Httpd::event().directives(documents)
}

/// Status and headers of the answer to a request as it stands.
fn answer_to(server: &Server, request: &str) -> String {
    let mut stream =
        TcpStream::connect((Ipv4Addr::LOCALHOST, server.port())).expect("a connection");
    stream.write_all(request.as_bytes()).expect("sent");
    let mut answer = Vec::new();
    // A server that refuses what it hasn't read may reset the connection behind its answer.
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

fn post_in_chunks(target: &str, chunks: &[usize]) -> String {
    let mut request = format!(
        "POST {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
         Transfer-Encoding: chunked\r\nContent-Type: application/x-www-form-urlencoded\r\n\r\n"
    );
    for &size in chunks {
        request += &format!("{size:x}\r\n{}\r\n", "x".repeat(size));
    }
    request + "0\r\n\r\n"
}

#[test]
fn the_page_takes_get_head_and_post_with_a_short_body() {
    let server = Server::start(httpd().directives(PAGE), vec![otp("area", &alice())]);
    server.expect_log("AH01590"); // Error reading/parsing chunk
    for method in ["PUT", "DELETE", "OPTIONS", "PROPFIND"] {
        let reply = server.send(&Request::get("/area/login").method(method));
        assert_eq!(reply.status(), 405, "{method}: {reply:?}");
        let mut allowed: Vec<&str> =
            reply.0.header("Allow").expect("methods").split(',').map(str::trim).collect();
        allowed.retain(|method| *method != "TRACE");
        allowed.sort_unstable();
        assert_eq!(allowed, ["GET", "HEAD", "POST"], "{method}");
    }
    let post =
        |length: usize| server.send(&Request::post("/area/login", &"x".repeat(length))).status();
    assert_ne!(post(4096), 413);
    assert_eq!(post(4097), 413);
    assert_eq!(post(1_000_000), 413);
    let chunked = |chunks: &[usize]| answer_to(&server, &post_in_chunks("/area/login", chunks));
    assert!(!chunked(&[4000, 96]).contains(" 413 "));
    assert!(chunked(&[4000, 97]).starts_with("HTTP/1.1 413 "));
    assert!(chunked(&[5000]).starts_with("HTTP/1.1 413 "));
    assert!(chunked(&[100; 41]).starts_with("HTTP/1.1 413 "));
    let broken = post_in_chunks("/area/login", &[]).replace("\r\n\r\n0", "\r\n\r\nzz");
    assert!(answer_to(&server, &broken).starts_with("HTTP/1.1 400 "));

    let page = server.send(&Request::get("/area/login"));
    let head = server.send(&Request::head("/area/login"));
    assert_eq!(head.status(), page.status());
    assert_eq!(head.0.header("Content-Type"), page.0.header("Content-Type"));
    assert!(!page.0.body.is_empty(), "{page:?}");
    assert_eq!(page.0.header("WWW-Authenticate"), None);
    assert!(page.0.header("Cache-Control").is_some_and(|value| value.contains("no-store")));
}

#[test]
fn the_page_needs_no_login_and_whatever_else_its_place_requires() {
    let alice = alice();
    let network = otp("network", &alice);
    let network = Scope {
        directives: network.directives.replace(
            "Require valid-user\n",
            "<RequireAll>\nRequire valid-user\nRequire ip 192.0.2.0/24\n</RequireAll>\n",
        ),
        ..network
    };
    let tls = otp("tls", &alice).directives("OTPAuthRequireTLS On");
    let httpd = httpd().module("authz_host").directives(PAGE).directives(
        "<LocationMatch \"/(network|tls|denied)/login\">\nSetHandler otp-login\n</LocationMatch>",
    );
    let denied = Scope::bare("denied/login").of_urls().directives("Require all denied");
    let scopes = vec![otp("area", &alice), network, tls, otp("denied", &alice), denied];
    let server = Server::start(httpd, scopes);
    server.expect_log("AH01630"); // client denied by server configuration
    server.expect_log("OTPAuthRequireTLS");
    let status = |target: &str| server.send(&Request::get(target)).status();
    assert!(![303, 401, 403].contains(&status("/area/login?to=/area/page.txt")));
    let inside = server.send(&Request::get("/network/login").from("192.0.2.7")).status();
    assert!(![303, 401, 403].contains(&inside), "{inside}");
    for forbidden in ["/network/login", "/tls/login", "/denied/login"] {
        assert_eq!(status(forbidden), 403, "{forbidden}");
    }
    // It is that path and no other.
    for other in ["/area/login/", "/area/login/more", "/area/Login", "/area/page.txt"] {
        assert_ne!(status(other), status("/area/login"), "{other}");
    }
}

#[test]
fn what_is_at_the_path_of_the_page_instead_is_no_way_in() {
    let alice = alice();
    let plain = otp("plain", &alice).directives("OTPAuthLoginPage /plain/page.txt");
    let folder =
        otp("folder", &alice).directives("OTPAuthLoginPage /folder/\nDirectoryIndex page.txt");
    let rewritten = otp("rewritten", &alice).directives(
        "OTPAuthLoginPage /rewritten/login.otp\nAddHandler otp-login .otp\nErrorDocument 405 /rewritten/page.txt\n\
         RewriteEngine On\nRewriteRule login.otp /rewritten/page.txt",
    );
    let httpd = httpd().module("mime").module("rewrite").directives("TypesConfig /dev/null");
    let server = Server::start(httpd, vec![plain, folder, rewritten]);
    server.root().write("htdocs/rewritten/login.otp", "");
    for path in ["/plain/page.txt", "/folder/", "/rewritten/page.txt"] {
        server.expect_log(&format!("OTPAuthLoginPage leads to \"{path}\""));
    }
    for target in ["/plain/page.txt", "/folder/", "/rewritten/login.otp"] {
        for method in ["GET", "PUT"] {
            let reply = server.send(&Request::get(target).method(method));
            assert!([500, 405].contains(&reply.status()), "{target}: {reply:?}");
            assert!(!reply.0.text().contains(PAGE_TEXT), "{target}: {reply:?}");
        }
    }
}

#[test]
fn what_is_behind_sees_no_credentials_of_ours() {
    let backend = Backend::start();
    let alice = alice();
    let pass = format!("ProxyPass http://127.0.0.1:{}/", backend.port());
    let place = |name: &str, directives: &str| {
        Scope::new(name)
            .of_urls()
            .token(&alice)
            .set(Setting::MaxLinger, 600)
            .directives(&pass)
            .directives(directives)
    };
    let scopes = vec![
        place("kept", ""),
        place("stripped", "OTPAuthStrip On"),
        place("others", "OTPAuthStrip On").second_provider("erin", "opendoor"),
        place("faked", "OTPAuthStrip On\nAuthBasicFake bob %{reqenv:OTP_RESULT}"),
        place("pins", "OTPAuthStrip On").set(Setting::PinFakeBasic, "On"),
        place(
            "open",
            "OTPAuthStrip On\n<RequireAny>\nRequire valid-user\nRequire all granted\n</RequireAny>",
        ),
    ];
    let httpd = Httpd::event()
        .module("proxy")
        .module("proxy_http")
        .directives("LogLevel proxy:warn auth_basic:error");
    let server = Server::start(httpd, scopes);
    server.keep_secret(basic("alice", PIN).trim_start_matches("Basic "));
    for (name, user, password, seen) in [
        ("kept", "alice", alice.password(0), Some(basic("alice", alice.password(0)))),
        ("stripped", "alice", alice.password(0), None),
        ("others", "alice", alice.password(0), None),
        ("others", "erin", "opendoor".to_owned(), Some(basic("erin", "opendoor"))),
        ("faked", "alice", alice.password(0), Some(basic("bob", "granted-fresh"))),
        ("pins", "alice", alice.password(0), Some(basic("alice", PIN))),
        // Nobody was asked, so it may be the application's.
        ("open", "alice", "of its own".to_owned(), Some(basic("alice", "of its own"))),
    ] {
        let place = server.at(name);
        place.login(user, password).is_status(200);
        assert_eq!(backend.take_seen(), [seen], "{name}, {user}");
    }
}

#[test]
fn parts_that_ask_for_a_login_find_what_was_stripped() {
    let alice = alice();
    let place = |name: &str, directives: &str| {
        Scope::new(name)
            .token(&alice)
            .set(Setting::MaxLinger, 0)
            .directives("OTPAuthUsersFile users/area/users\nOTPAuthStrip On\nOptions +Includes")
            .directives(directives)
    };
    let scopes = vec![
        place(
            "area",
            "ErrorDocument 404 /other/page.txt\nDirectoryIndex first.txt /other/page.txt\n\
             <Files \"*.shtml\">\nSetOutputFilter INCLUDES\n</Files>",
        ),
        place("other", "OTPAuthMaxOffset 5"),
    ];
    let server = Server::start(httpd().module("include"), scopes);
    server.root().write("htdocs/area/both.shtml", "<!--#include virtual=\"/other/page.txt\" -->");
    let area = server.at("area");
    for (counter, (file, status)) in
        [("nowhere.txt", 404), ("", 200), ("both.shtml", 200)].into_iter().enumerate()
    {
        let password = alice.password(counter as u64);
        let reply = area.send(area.request_for(file, "alice", password));
        assert_eq!((reply.status(), reply.0.text().as_str()), (status, PAGE_TEXT), "{file}");
    }
    assert_eq!(server.all_decisions("alice"), ["granted-fresh"; 3]);
}

/// Places of one realm and one users file, so that one cookie is good in all of them.
fn of_one_cookie(name: &str, token: &Token, directives: &str) -> Scope {
    Scope::bare(name).token(token).directives(&format!(
        "AuthType Basic\nAuthBasicProvider OTP\nAuthName area\nRequire valid-user\n\
         OTPAuthUsersFile users/area/users\nOTPAuthLingerCookie On\nOTPAuthMaxLinger 600\n{directives}"
    ))
}

/// The one cookie that an answer sets, as a browser sends it.
#[track_caller]
fn cookie_of(server: &Server, reply: &Reply) -> String {
    let [cookie] = reply.0.headers_of("Set-Cookie")[..] else {
        panic!("not one cookie: {reply:?} {:?}", reply.0.headers)
    };
    let (pair, attributes) = cookie.split_once(';').expect("attributes");
    assert_eq!(attributes.trim(), "Path=/; Secure; HttpOnly; SameSite=Lax");
    assert!(reply.0.headers_of("Cache-Control").contains(&"no-store"), "{:?}", reply.0.headers);
    let (name, value) = pair.split_once('=').expect("name and value");
    assert!(name.starts_with("__Host-otpgate-"), "{name}");
    server.keep_secret(value);
    pair.to_owned()
}

fn by_cookie(place: &Place<'_>, file: &str, cookie: &str) -> Reply {
    place.send(Request::get(place.path(file)).header("Cookie", cookie))
}

#[test]
fn a_login_by_basic_sets_a_cookie_which_is_then_enough() {
    for mpm in Mpm::ALL {
        let alice = alice();
        let server = Server::start(Httpd::new(mpm), vec![of_one_cookie("area", &alice, "")]);
        let place = server.at("area");
        let request = place.request("alice", alice.password(0));
        let cookie = cookie_of(&server, place.send(request.clone()).is(200, "granted-fresh"));
        for _ in 0..3 {
            let reply = by_cookie(&place, "page.txt", &format!("a=b; {cookie}; c=d"));
            assert_eq!(reply.is(200, "granted-session").0.headers_of("Set-Cookie"), [""; 0]);
        }
        // Browsers go on to send the code, too. Without the cookie it is worth nothing.
        place.send(request.clone().header("Cookie", &*cookie)).is(200, "granted-session");
        place.send(request.from("192.0.2.7")).is_denied();
        let reply = by_cookie(&place, "page.txt", &format!("{cookie}x"));
        assert!(reply.is_denied().0.header("WWW-Authenticate").is_some());
        by_cookie(&place, "page.txt", "a=b").is_denied();
        let seen = server.logged_accesses("/area/page.txt", 8);
        let user = "200 granted-session granted-session alice /area/page.txt";
        assert_eq!(seen.iter().filter(|line| *line == user).count(), 4, "{seen:?}");
        assert_eq!(place.users().counter("alice"), 1);
    }
}

#[test]
fn all_parts_of_a_request_take_the_cookie_and_set_it_once() {
    let alice = alice();
    let scopes = vec![
        of_one_cookie(
            "area",
            &alice,
            "Options +Includes +FollowSymLinks\nDirectoryIndex page.txt\nErrorDocument 404 /area/page.txt\n\
             RewriteEngine On\nRewriteRule ^nice$ page.txt\n\
             <Files \"*.shtml\">\nSetOutputFilter INCLUDES\n</Files>\n\
             <Files \"page.txt\">\nOTPAuthSessions 5\n</Files>",
        ),
        of_one_cookie("other", &alice, "OTPAuthSessions 3"),
    ];
    let server = Server::start(Httpd::event().module("include").module("rewrite"), scopes);
    let include =
        "<!--#include virtual=\"page.txt\" --><!--#include virtual=\"/other/page.txt\" -->";
    server.root().write("htdocs/area/both.shtml", include);
    let area = server.at("area");
    let twice = PAGE_TEXT.repeat(2);
    for (counter, (file, status, text)) in [
        ("", 200, PAGE_TEXT),
        ("nowhere", 404, PAGE_TEXT),
        ("nice", 200, PAGE_TEXT),
        ("both.shtml", 200, &twice),
    ]
    .into_iter()
    .enumerate()
    {
        let first = area.send(area.request_for(file, "alice", alice.password(counter as u64)));
        assert_eq!((first.status(), first.0.text().as_str()), (status, text), "{file}");
        let cookie = cookie_of(&server, &first);
        let again = by_cookie(&area, file, &cookie);
        assert_eq!((again.status(), again.0.text().as_str()), (status, text), "{file}");
        by_cookie(&server.at("other"), "page.txt", &cookie).is(200, "granted-session");
    }
    assert_eq!(server.decisions("granted-fresh", "alice"), 4);
    assert_eq!(area.users().counter("alice"), 4);
}

#[test]
fn auth_type_otp_takes_the_cookie_and_nothing_else() {
    let alice = alice();
    let basic = of_one_cookie("area", &alice, "");
    let otp = Scope::bare("otp").directives(
        "AuthType OTP\nAuthName area\nRequire valid-user\nOTPAuthUsersFile users/area/users\n\
         OTPAuthMaxLinger 600\nOTPAuthLoginPage /login",
    );
    let other_realm = Scope::bare("realm").directives(
        "AuthType OTP\nAuthName realm\nRequire valid-user\nOTPAuthUsersFile users/area/users\n\
         OTPAuthMaxLinger 600\nOTPAuthLoginPage /login",
    );
    let limit = Scope::bare("limit").directives(
        "AuthType OTP\nAuthName area\nOTPAuthUsersFile users/area/users\nOTPAuthMaxLinger 600\n\
         OTPAuthLoginPage /login\n<Limit POST>\nRequire valid-user\n</Limit>\n\
         <LimitExcept POST>\nRequire all granted\n</LimitExcept>",
    );
    let either = Scope::bare("either").directives(
        "AuthType OTP\nAuthName area\nOTPAuthUsersFile users/area/users\nOTPAuthMaxLinger 600\n\
         OTPAuthLoginPage /login\n<RequireAny>\nRequire valid-user\nRequire all granted\n</RequireAny>",
    );
    let bob = Scope::bare("bob").directives(
        "AuthType OTP\nAuthName area\nOTPAuthUsersFile users/area/users\nOTPAuthMaxLinger 600\n\
         OTPAuthLoginPage /login\nRequire user bob",
    );
    let scopes = vec![basic, otp, other_realm, limit, either, bob];
    let server = Server::start(Httpd::event(), scopes);
    server.expect_log("AH01631"); // user alice: authorization failure
    let area = server.at("area");
    let cookie = cookie_of(&server, &area.login("alice", alice.password(0)));

    let otp = server.at("otp");
    by_cookie(&otp, "page.txt", &cookie).is(200, "granted-session");
    for refused in [
        Request::get(otp.path("page.txt")),
        Request::get(otp.path("page.txt")).header("Cookie", format!("{cookie}x")),
        otp.request("alice", alice.password(1)),
    ] {
        let reply = otp.send(refused);
        assert!([303, 401].contains(&reply.status()), "{reply:?}");
        assert_eq!(reply.0.header("WWW-Authenticate"), None);
    }
    assert_eq!(area.users().counter("alice"), 1);
    // A refusal leaves nothing behind on the connection.
    let mut connection = Connection::open(server.port()).expect("a connection");
    let mut ask = |request: &Request| connection.send(request, true).expect("an answer").status;
    assert_ne!(ask(&Request::post(otp.path("page.txt"), "a=b")), 200);
    assert_ne!(ask(&Request::head(otp.path("page.txt"))), 200);
    assert_eq!(ask(&Request::get(otp.path("page.txt")).header("Cookie", &*cookie)), 200);

    let bob = by_cookie(&server.at("bob"), "page.txt", &cookie);
    assert_eq!(bob.is_status(401).0.header("WWW-Authenticate"), None);
    assert_ne!(by_cookie(&server.at("realm"), "page.txt", &cookie).status(), 200);
    by_cookie(&server.at("limit"), "page.txt", "a=b").is_status(200);
    let post = |cookie: &str| {
        let post = Request::post("/limit/page.txt", "a=b").header("Cookie", cookie);
        server.send(&post).status()
    };
    assert_ne!(post("a=b"), 200);
    assert_eq!(post(&cookie), 200);
    by_cookie(&server.at("either"), "page.txt", "a=b").is_status(200);
}

#[test]
fn a_cookie_is_asked_only_where_otp_is() {
    let alice = alice();
    let files = of_one_cookie("files", &alice, "AuthBasicProvider file\nAuthUserFile erin.txt");
    let any = of_one_cookie("any", &alice, "Satisfy Any\nDeny from all");
    let open = of_one_cookie("open", &alice, "Satisfy Any");
    let cached = of_one_cookie(
        "cached",
        &alice,
        "AuthBasicProvider socache OTP file\nAuthUserFile erin.txt\nAuthnCacheProvideFor file",
    );
    let files =
        Scope { directives: files.directives.replace("AuthBasicProvider OTP\n", ""), ..files };
    let cached =
        Scope { directives: cached.directives.replace("AuthBasicProvider OTP\n", ""), ..cached };
    let alias = Scope::bare("alias")
        .directives("AuthType Basic\nAuthBasicProvider main\nAuthName area\nRequire valid-user");
    let httpd = Httpd::event()
        .module("access_compat")
        .module("authn_socache")
        .module("socache_shmcb")
        .file("erin.txt", htpasswd_line("erin", "opendoor"))
        .directives(
            "LogLevel socache_shmcb:warn\nAuthnCacheEnable\nAuthnCacheSOCache shmcb\n\
             <AuthnProviderAlias OTP main>\nOTPAuthUsersFile users/area/users\nOTPAuthMaxLinger 600\n\
             OTPAuthLingerCookie On\n</AuthnProviderAlias>",
        );
    let scopes = vec![of_one_cookie("area", &alice, ""), files, any, open, cached, alias];
    let server = Server::start(httpd, scopes);
    server.expect_log("AH01797"); // client denied by server configuration, of `Satisfy Any`
    let area = server.at("area");
    let cookie = cookie_of(&server, &area.login("alice", alice.password(0)));
    by_cookie(&server.at("files"), "page.txt", &cookie).is_denied();
    server.at("files").login("erin", "opendoor").is_status(200);
    for place in ["any", "cached"] {
        by_cookie(&server.at(place), "page.txt", &cookie).is(200, "granted-session");
        by_cookie(&server.at(place), "page.txt", "a=b").is_denied();
    }
    by_cookie(&server.at("open"), "page.txt", "a=b").is_status(200);
    // Whoever comes with a password of another provider's is let in by that.
    for _ in 0..2 {
        let erin = server.at("cached").request("erin", "opendoor").header("Cookie", &*cookie);
        server.at("cached").send(erin).is_status(200);
    }
    // By its alias, OTP is asked with user and password only; then the cookie counts.
    let alias = server.at("alias");
    by_cookie(&alias, "page.txt", &cookie).is_denied();
    let request = alias.request("alice", alice.password(1));
    let cookie = cookie_of(&server, alias.send(request.clone()).is(200, "granted-fresh"));
    alias.send(request.clone().from("192.0.2.7")).is_denied();
    alias.send(request.header("Cookie", cookie)).is(200, "granted-session");
}

#[test]
fn cookies_may_be_asked_for_in_htaccess_files() {
    let alice = alice();
    let all =
        Scope::bare("all").token(&alice).directives("AllowOverride AuthConfig\nRequire all denied");
    let server = Server::start(Httpd::event(), vec![all]);
    let place = server.at("all");
    server.root().write(
        "htdocs/all/.htaccess",
        "AuthType Basic\nAuthBasicProvider OTP\nAuthName all\nRequire valid-user\nOTPAuthUsersFile users/all/users\n\
         OTPAuthLingerCookie On\nOTPAuthMaxLinger 600\n",
    );
    let cookie = cookie_of(&server, &place.login("alice", alice.password(0)));
    by_cookie(&place, "page.txt", &cookie).is(200, "granted-session");
    server.root().write(
        "htdocs/all/.htaccess",
        "AuthType OTP\nAuthName all\nRequire valid-user\nOTPAuthUsersFile users/all/users\nOTPAuthMaxLinger 600\n\
         OTPAuthLoginPage /login\n",
    );
    by_cookie(&place, "page.txt", &cookie).is(200, "granted-session");
    assert_ne!(by_cookie(&place, "page.txt", "a=b").status(), 200);
}

#[test]
fn whoever_has_a_cookie_is_not_held_up_by_the_throttle() {
    let alice = alice();
    let area = of_one_cookie("area", &alice, "OTPAuthThrottle 2 600");
    let server = Server::start(Httpd::event(), vec![area]);
    let place = server.at("area");
    let cookie = cookie_of(&server, &place.login("alice", alice.password(0)));
    for wrong in ["wrong1755224", "wrong2755224"] {
        place.login("alice", wrong).is(401, "denied-pin");
    }
    place.login("alice", "wrong3755224").is(429, "denied-throttled");
    by_cookie(&place, "page.txt", &cookie).is(200, "granted-session");
    // Nor by what the browser sends beside it.
    let held_up = place.request("alice", "wrong3755224");
    place.send(held_up.clone().header("Cookie", cookie)).is(200, "granted-session");
    place.send(held_up).is(429, "denied-throttled");
}

#[test]
fn what_is_behind_sees_no_cookie_of_ours() {
    let backend = Backend::start();
    let alice = alice();
    let pass = format!("ProxyPass http://127.0.0.1:{}/", backend.port());
    let places = ["kept", "stripped"].map(|name| {
        let strip = if name == "stripped" { "OTPAuthStrip On" } else { "" };
        of_one_cookie(name, &alice, strip).of_urls().directives(&pass)
    });
    let mut scopes = vec![of_one_cookie("area", &alice, "")];
    scopes.extend(places);
    let httpd =
        Httpd::event().module("proxy").module("proxy_http").directives("LogLevel proxy:warn");
    let server = Server::start(httpd, scopes);
    let cookie = cookie_of(&server, &server.at("area").login("alice", alice.password(0)));
    for (name, sent, seen) in [
        ("kept", format!("a=b; {cookie}"), Some(format!("a=b; {cookie}"))),
        ("stripped", format!("a=b; {cookie}; c=d"), Some("a=b; c=d".to_owned())),
        ("stripped", cookie.clone(), None),
    ] {
        by_cookie(&server.at(name), "x", &sent).is(200, "granted-session");
        assert_eq!(backend.take_values("Cookie"), [seen], "{name}");
    }
    // Nor the code that browsers re-send with it; what isn't ours passes.
    let stripped = server.at("stripped");
    let both = stripped.request("alice", alice.password(0)).header("Cookie", &*cookie);
    stripped.send(both).is(200, "granted-session");
    let bearer = Request::get("/stripped/x")
        .header("Cookie", cookie)
        .header("Authorization", "Bearer of-another");
    stripped.send(bearer).is(200, "granted-session");
    assert_eq!(backend.take_seen(), [None, Some("Bearer of-another".to_owned())]);
}

#[test]
fn http_2_is_the_same() {
    let alice = alice();
    let httpd =
        Httpd::event().module("http2").directives("Protocols h2c http/1.1\nLogLevel http2:error");
    let server = Server::start(httpd, vec![of_one_cookie("area", &alice, "")]);
    let place = server.at("area");
    let cookie = cookie_of(&server, &place.login("alice", alice.password(0)));
    let url = format!("http://127.0.0.1:{}{}", server.port(), place.path("page.txt"));
    let program = "/usr/bin/curl";
    common::require(program);
    let ask = |cookie: &str| {
        let output = Command::new(program)
            .args(["--silent", "--show-error", "--noproxy", "*", "--http2-prior-knowledge"])
            .args(["--header", "Host: localhost", "--cookie", cookie])
            .args(["--write-out", " %{http_version} %{http_code}", "--output", "-", &url])
            .output()
            .expect("curl runs");
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).expect("plain text")
    };
    assert_eq!(ask(&cookie), format!("{PAGE_TEXT} 2 200"));
    assert!(ask("a=b").ends_with(" 2 401"));
}

/// A browser that opens a page or sends a form.
fn of_a_browser(request: Request) -> Request {
    request.header("Accept", "text/html").header("Sec-Fetch-Mode", "navigate")
}

#[test]
fn what_is_sent_instead_takes_the_place_of_the_401_that_mod_auth_basic_has_made() {
    let basic = Scope::bare("area").token(&alice()).directives(
        "AuthType Basic\nAuthName area\nAuthBasicProvider OTP\nRequire valid-user\n\
         OTPAuthUsersFile \"{users}\"\nOTPAuthLoginPage /area/login\nOTPAuthLingerCookie Insecure\n\
         Header set X-Of-Content here",
    );
    let server = Server::start(httpd().directives(PAGE), vec![basic]);
    let area = server.at("area");
    let wrong = || area.request("alice", format!("{PIN}000000"));
    // Programs have their challenge.
    let reply = area.send(wrong());
    assert_eq!((reply.status(), reply.0.headers_of("WWW-Authenticate").len()), (401, 1));
    // People get the page, and no prompt.
    let mut connection = Connection::open(server.port()).expect("a connection");
    let mut ask = |request: Request| connection.send(&request, true).expect("an answer");
    let answer = ask(of_a_browser(wrong()));
    assert_eq!(answer.status, 303, "{answer:?}");
    let locations = answer.headers_of("Location");
    assert!(locations.len() == 1 && locations[0].contains("/area/login?to="), "{locations:?}");
    assert!(answer.headers_of("WWW-Authenticate").is_empty() && answer.body.is_empty());
    assert_eq!(answer.headers_of("Content-Length"), ["0"]);
    assert_eq!(answer.headers_of("Set-Cookie").len(), 1);
    assert_eq!(answer.headers_of("X-Of-Content").len(), 0, "{answer:?}");
    let answer = ask(of_a_browser(wrong().method("POST").body("a=b")));
    assert_eq!(answer.status, 401, "{answer:?}");
    assert!(answer.headers_of("WWW-Authenticate").is_empty());
    assert_eq!(answer.headers_of("Content-Type"), ["text/html; charset=utf-8"]);
    assert!(answer.text().contains("What you sent was not passed on"), "{answer:?}");
    let head = ask(of_a_browser(wrong().method("HEAD")));
    assert_eq!((head.status, head.body.len()), (303, 0), "{head:?}");
    // The connection is as good as before.
    let answer = ask(area.request("alice", alice().password(0)));
    assert_eq!((answer.status, answer.text().as_str()), (200, PAGE_TEXT));
    assert!(server.decisions("denied-code", "alice") >= 4);
}

#[test]
fn an_error_document_stands_for_a_401_of_ours_but_for_no_redirect() {
    for document in ["\"the admin's words\"", "/words.txt"] {
        let text = "the admin's words";
        let with_document =
            |scope: Scope| scope.directives(&format!("ErrorDocument 401 {document}"));
        let basic = Scope::bare("basic").token(&alice()).directives(
            "AuthType Basic\nAuthName basic\nAuthBasicProvider OTP\nRequire valid-user\n\
             OTPAuthUsersFile \"{users}\"\nOTPAuthLoginPage /area/login\nOTPAuthLingerCookie Insecure",
        );
        let plain = otp("plain", &alice());
        let scopes = vec![with_document(otp("area", &alice())), with_document(basic), plain];
        let server = Server::start(httpd().directives(PAGE), scopes);
        server.root().write("htdocs/words.txt", text);
        let post = |path: &str| of_a_browser(Request::post(path, "a=b"));
        for request in [
            post("/area/page.txt"),
            Request::get("/area/page.txt").header("Accept", "application/json"),
            post("/basic/page.txt").basic("alice", format!("{PIN}000000")),
        ] {
            let answer = server.send(&request).0;
            assert_eq!((answer.status, answer.text().as_str()), (401, text), "{request:?}");
            // What is about our page doesn't go with that of others.
            for name in ["Content-Security-Policy", "Content-Language"] {
                assert!(answer.headers_of(name).is_empty(), "{name}: {answer:?}");
            }
            assert_ne!(answer.headers_of("Content-Type").len(), 2, "{answer:?}");
        }
        for request in [
            Request::get("/area/page.txt"),
            Request::get("/basic/page.txt").basic("alice", format!("{PIN}000000")),
        ] {
            let answer = server.send(&of_a_browser(request)).0;
            assert_eq!(answer.status, 303, "{answer:?}");
            assert!(answer.header("Location").is_some_and(|to| to.contains("/area/login?to=")));
            assert!(!answer.text().contains(text));
        }
        let answer = server.send(&post("/plain/page.txt")).0;
        assert!(answer.status == 401 && answer.text().contains("not passed on"), "{answer:?}");
    }
}
