//! Passwords of programs on both servers: for their own paths and methods, and nothing else,
//! whatever way a request takes.

mod common;

use common::client::Connection;
use common::programs::{line, password};
use common::server::{PAGE, PAGE_TEXT, RESULT_HEADER};
use common::{Httpd, Nginx, Place, Reply, Request, Scope, Server, Setting, Token};
use otpgate::decide::Verdict;
use otpgate::gate::{Gate, Login};
use otpgate::http::target::Target;
use otpgate::log::{Level, Log};
use otpgate::policy::Settings;
use otpgate::token::Address;
use otpgate::users::file::UsersFile;

const PIN: &str = "sesame9";
const OTHER_TEXT: &str = "none of the program's";

fn alice() -> Token {
    Token::hotp("alice").pin(PIN)
}

/// With one program, number 1, for a directory of the scope.
fn scope(name: &str) -> Scope {
    let path = format!("/{name}/dav/");
    Scope::new(name)
        .token(&alice())
        .secret(&password(1))
        .text(line("alice", 1, &[&path], &[]))
        .set(Setting::AppPasswords, "On")
}

fn httpd() -> Httpd {
    ["include", "rewrite", "autoindex"].into_iter().fold(Httpd::event(), Httpd::module)
}

fn both(scopes: impl Fn() -> Vec<Scope>) -> [Server; 2] {
    let servers = [Server::start(httpd(), scopes()), Server::start(Nginx::one(), scopes())];
    for server in &servers {
        for scope in scopes() {
            write(server, &scope.name);
        }
    }
    servers
}

/// What is within and what is outside.
fn write(server: &Server, name: &str) {
    server.root().write(format!("htdocs/{name}/dav/{PAGE}"), PAGE_TEXT);
    server.root().write(format!("htdocs/{name}/dav/a b"), PAGE_TEXT);
    server.root().write(format!("htdocs/{name}/davx/{PAGE}"), PAGE_TEXT);
    server.root().write(format!("htdocs/{name}/other.txt"), OTHER_TEXT);
}

fn app(at: &Place<'_>, target: &str, number: u8) -> Reply {
    at.send(Request::get(target).basic("alice", password(number)))
}

#[track_caller]
fn is_kept_out(reply: &Reply, what: &str) {
    let text = reply.0.text();
    assert!(!text.contains(PAGE_TEXT) && !text.contains(OTHER_TEXT), "{what}: {reply:?}");
    assert_ne!(reply.status(), 200, "{what}: {reply:?}");
    assert!(!reply.result().starts_with("granted"), "{what}: {reply:?}");
}

#[test]
fn a_program_is_let_in_for_its_own_paths_and_no_others() {
    for server in both(|| vec![scope("area")]) {
        server.tolerate_log("");
        let at = server.at("area");
        for own in ["page.txt", "page.txt?x=/../y", "a%20b", "%70age.txt"] {
            app(&at, &format!("/area/dav/{own}"), 1).is(200, "granted-app");
        }
        let absolute = app(&at, "http://localhost/area/dav/page.txt", 1);
        absolute.is(200, "granted-app");
        for outside in [
            "/area/page.txt",
            "/area/",
            "/area/davx/page.txt",
            "/area/DAV/page.txt",
            "/area/Dav/page.txt",
            "/area/dav",
            "/area/other.txt",
            "/area/dav.txt",
            "/area//dav/page.txt",
            "//area/dav/page.txt",
            "/area/dav//page.txt",
            "/area/./dav/page.txt",
            "/area/dav/./page.txt",
            "/area/dav/../page.txt",
            "/area/dav/../dav/page.txt",
            "/area/dav/x/../../page.txt",
            "/x/../area/dav/page.txt",
            "/area/dav/%2e%2e/page.txt",
            "/area/dav/.%2e/page.txt",
            "/area/dav/%2E./page.txt",
            "/area/dav/%2e/page.txt",
            "/area/dav%2fpage.txt",
            "/area%2Fdav/page.txt",
            "/area/dav/..%2fpage.txt",
            "/area/dav/..%2Fpage.txt",
            "/area/dav/%2e%2e%2fpage.txt",
            "/area/dav/..%5cpage.txt",
            "/area/dav/..\\page.txt",
            "/area/dav\\page.txt",
            "/area/dav/..;/page.txt",
            "/area/dav/..;x=y/page.txt",
            "/area/dav/page.txt;x",
            "/area/dav/..%3b/page.txt",
            "/area/dav/%252e%252e/page.txt",
            "/area/dav/%252fpage.txt",
            "/area/dav/%c0%ae%c0%ae/page.txt",
            "/area/dav/page.txt%00",
            "/area/dav/%00/../page.txt",
            "/area/dav/%0a/page.txt",
            "/area/dav/%zz/page.txt",
            "/area/dav/page.txt#/../",
            "/area/dav/...",
            "/area/dav/%ef%bc%8e%ef%bc%8e/page.txt",
            "/area/dav/%e2%80%a5/page.txt",
            "/area/dav%ef%bc%8fpage.txt",
            "/area/dav;x/page.txt",
            "/area/%64av%2f..%2fpage.txt",
            "/area/dav/%20/page.txt",
            "/area/page.txt?/area/dav/",
            "http://localhost/area/page.txt",
            "http://localhost/area/dav/../page.txt",
            "http://localhost//area/dav/page.txt",
        ] {
            is_kept_out(&app(&at, outside, 1), outside);
        }
        // The user has every path, with a code.
        at.login("alice", alice().password(0)).is(200, "granted-fresh");
    }
}

#[test]
fn a_program_is_let_in_with_its_own_methods_and_within_its_destination() {
    let methods = || {
        let text = line("alice", 2, &["/area/dav/"], &["GET", "MOVE"]);
        vec![scope("area").text(text).secret(&password(2))]
    };
    for server in both(methods) {
        server.tolerate_log("");
        let at = server.at("area");
        let send = |number, method: &'static str, destination: &[&str]| {
            let request = Request::get("/area/dav/page.txt").method(method);
            let request = request.basic("alice", password(number));
            at.send(destination.iter().fold(request, |it, to| it.header("Destination", *to)))
        };
        let is_granted = |reply: &Reply| reply.result() == "granted-app";
        for (number, method, destination, granted) in [
            (1, "GET", &[][..], true),
            (1, "OPTIONS", &[], true),
            (1, "PROPFIND", &[], true),
            (1, "DELETE", &[], true),
            (2, "GET", &[], true),
            (2, "OPTIONS", &[], false),
            (2, "DELETE", &[], false),
            (1, "MOVE", &[], false),
            (1, "MOVE", &["http://localhost/area/dav/b"], true),
            (2, "MOVE", &["/area/dav/b"], true),
            (2, "COPY", &["/area/dav/b"], false),
            (1, "COPY", &["/area/b"], false),
            (1, "MOVE", &["http://localhost//area/dav/b"], false),
            (1, "MOVE", &["http://localhost/area/DAV/b"], false),
            (1, "MOVE", &["http://localhost/area/dav/b;x"], false),
            (1, "MOVE", &["http://localhost/area/dav/..%2fb"], false),
            (1, "MOVE", &["http://localhost/area/davx/b"], false),
            (1, "MOVE", &["//localhost/area/dav/b"], false),
            (1, "MOVE", &["http://alice@localhost/area/dav/b"], false),
            (1, "MOVE", &["http://localhost:1/area/dav/b"], false),
            (1, "MOVE", &[""], false),
            (1, "MOVE", &["http://localhost/area/dav/../b"], false),
            (1, "MOVE", &["http://localhost/area/dav/%2e%2e/b"], false),
            (1, "MOVE", &["http://other.example/area/dav/b"], false),
            (1, "MOVE", &["b"], false),
            (1, "MOVE", &["/area/dav/b", "/area/b"], false),
            (1, "MOVE", &["/area/b", "/area/dav/b"], false),
            (1, "GET", &["/area/b"], false),
        ] {
            let reply = send(number, method, destination);
            assert_eq!(is_granted(&reply), granted, "{method} {destination:?}: {reply:?}");
        }
    }
}

#[test]
fn where_programs_are_not_allowed_their_passwords_are_pin_and_code_as_ever() {
    let scopes = || {
        let mut off = scope("without");
        off.settings.clear();
        let file = || off.clone().text("#@ allow apps\n");
        vec![
            off.clone(),
            Scope { name: "explicit".to_owned(), ..off.clone() }.set(Setting::AppPasswords, "Off"),
            Scope {
                name: "file".to_owned(),
                ..file().text(line("alice", 2, &["/file/dav/"], &[]))
            },
            Scope { name: "closed".to_owned(), ..file() }
                .text(line("alice", 2, &["/closed/dav/"], &[]))
                .text("#@ always alice apps\n"),
        ]
    };
    for server in both(scopes) {
        for (name, number, status, result) in [
            ("without", 1, 401, "denied-pin"),
            ("explicit", 1, 401, "denied-pin"),
            ("file", 2, 200, "granted-app"),
            ("file", 3, 401, "denied-app"),
            ("closed", 2, 401, "denied-app"),
        ] {
            app(&server.at(name), &format!("/{name}/dav/page.txt"), number).is(status, result);
        }
    }
}

struct Nowhere;

impl Log for Nowhere {
    fn log(&self, _: Level, _: std::fmt::Arguments<'_>) {}
}

/// The file may be there again by the time that it is read as PIN and code.
#[test]
fn where_the_users_file_cannot_be_read_a_programs_password_is_an_error_and_no_wrong_pin() {
    let directory = tempfile::tempdir().expect("a directory");
    let store = UsersFile::new(&directory.path().join("users"));
    let gate = Gate::new(store, || 0).expect("random numbers");
    let policy = Settings::default().policy(otpgate::policy::Server::Apache);
    let password = password(1);
    let login = Login { user: b"alice", password: password.as_bytes(), address: Address::Unknown };
    let answer = gate.app(&policy, &login, &Target::default(), None, &Nowhere);
    assert_eq!(answer.expect("not left to the rules of PINs").verdict, Verdict::Error);
}

#[test]
fn a_locked_token_does_not_stop_a_program_and_a_switched_off_one_does() {
    let scopes = || {
        let off = Token::hotp("bob").pin(PIN).off();
        let text = line("bob", 2, &["/area/dav/"], &[]) + "#@ apart carol\n";
        vec![
            scope("area")
                .token(&off)
                .text(text)
                .secret(&password(2))
                .set(Setting::MaxFailures, 2)
                .set(Setting::LockoutTime, 0)
                .set(Setting::Throttle, "Off"),
        ]
    };
    for server in both(scopes) {
        let at = server.at("area");
        for _ in 0..2 {
            at.login("alice", alice().with(&alice().wrong_code())).is_denied();
        }
        at.login("alice", alice().password(0)).is(401, "denied-locked");
        let before = at.users().failures("alice");
        app(&at, "/area/dav/page.txt", 1).is(200, "granted-app");
        app(&at, "/area/dav/page.txt", 3).is(401, "denied-app");
        assert_eq!(at.users().failures("alice"), before);
        at.login("alice", alice().password(0)).is(401, "denied-locked");
        let bob = Request::get("/area/dav/page.txt").basic("bob", password(2));
        at.send(bob).is(401, "denied-locked");
    }
}

#[test]
fn a_wrong_password_of_a_program_is_a_try_and_a_right_one_is_none_and_waits_for_nobody() {
    let scopes = || vec![scope("area").set(Setting::Throttle, "3 600")];
    for server in both(scopes) {
        let at = server.at("area");
        for _ in 0..5 {
            app(&at, "/area/page.txt", 1).is(401, "denied-app");
        }
        for number in [2, 3, 4] {
            app(&at, "/area/dav/page.txt", number).is(401, "denied-app");
        }
        app(&at, "/area/dav/page.txt", 5).is(429, "denied-throttled");
        at.login("alice", alice().password(0)).is(429, "denied-throttled");
        app(&at, "/area/page.txt", 1).is(401, "denied-app");
        // Nobody guesses it, so that nobody's guesses keep the program out.
        app(&at, "/area/dav/page.txt", 1).is(200, "granted-app");
        // From elsewhere.
        let from = |address: &str| {
            at.send(Request::get("/area/dav/page.txt").basic("alice", password(1)).from(address))
        };
        from("192.0.2.7").is(200, "granted-app");
        from("192.0.2.7").is(200, "granted-app");
    }
}

#[test]
fn whom_a_place_does_not_let_in_it_does_not_let_in_by_a_program() {
    let scopes = || vec![scope("area").set(Setting::RequireUser, "bob")];
    for server in both(scopes) {
        app(&server.at("area"), "/area/dav/page.txt", 1).is(401, "denied-user");
        app(&server.at("area"), "/area/dav/page.txt", 2).is(401, "denied-app");
    }
}

#[test]
fn a_programs_login_changes_nothing_but_the_hour_of_its_last_use() {
    for server in both(|| vec![scope("area")]) {
        let at = server.at("area");
        let before = String::from_utf8(at.users().bytes()).unwrap();
        app(&at, "/area/dav/page.txt", 1).is(200, "granted-app");
        common::wait_until("the hour is noted", || {
            !String::from_utf8(at.users().bytes()).unwrap().contains("used=0000-00-00T00Z")
        });
        let noted = String::from_utf8(at.users().bytes()).unwrap();
        let used = noted.find("used=").unwrap() + "used=".len();
        let hour = &noted[used..used + 14];
        assert_eq!(noted.replace(hour, "0000-00-00T00Z"), before);
        at.users().stays_the_same(|| {
            for _ in 0..3 {
                app(&at, "/area/dav/page.txt", 1).is(200, "granted-app");
            }
        });
        assert_eq!(server.all_decisions("alice"), ["granted-app"; 4]);
    }
}

#[test]
fn a_revoked_or_edited_password_ends_at_once() {
    for server in both(|| vec![scope("area")]) {
        let at = server.at("area");
        app(&at, "/area/dav/page.txt", 1).is(200, "granted-app");
        let text = String::from_utf8(at.users().bytes()).unwrap();
        at.users().replace(text.replace("path=/area/dav/", "path=/area/davx/"));
        app(&at, "/area/dav/page.txt", 1).is(401, "denied-app");
        app(&at, "/area/davx/page.txt", 1).is(200, "granted-app");
        let gone: String = text
            .lines()
            .filter(|line| !line.starts_with("#@"))
            .map(|line| format!("{line}\n"))
            .collect();
        at.users().replace(gone);
        app(&at, "/area/davx/page.txt", 1).is(401, "denied-app");
    }
}

/// Parts of a request, and redirects within the server, lead no further than the program's paths.
/// What is within is answered.
#[test]
fn no_part_of_a_request_leads_outside() {
    let httpd_directives = "Options +Includes +Indexes\n<Files \"*.shtml\">\nSetOutputFilter INCLUDES\n</Files>\n\
        ErrorDocument 404 /area/other.txt\nRewriteEngine On\nRewriteRule ^dav/front/ /area/other.txt [L]\n\
        RewriteRule ^dav/inner/ /area/dav/page.txt [L]\nDirectoryIndex page.txt /area/other.txt\n";
    let nginx_directives = "ssi on;\nssi_types text/plain;\ndefault_type text/plain;\nerror_page 404 /area/other.txt;\n\
        index page.txt /area/other.txt;\n\
        location /area/dav/front/ { try_files $uri /area/other.txt; }\n\
        location /area/dav/inner/ { try_files $uri /area/dav/page.txt; }\n\
        location /area/dav/moved/ { rewrite ^ /area/other.txt last; }\n";
    let all = |directives: &str| vec![scope("area").directives(directives)];
    let servers = [
        Server::start(httpd(), all(httpd_directives)),
        Server::start(Nginx::one(), all(nginx_directives)),
    ];
    for (number, server) in servers.iter().enumerate() {
        let is_httpd = number == 0;
        server.tolerate_log("");
        write(server, "area");
        let include = |path: &str| format!("<!--#include virtual=\"{path}\" -->");
        for (name, path) in [
            ("in.shtml", "/area/dav/page.txt"),
            ("out.shtml", "/area/other.txt"),
            ("up.shtml", "/area/dav/../other.txt"),
        ] {
            server.root().write(format!("htdocs/area/dav/{name}"), include(path));
        }
        server.root().write("htdocs/area/dav/empty/nothing", "");
        server.root().write("htdocs/area/dav/full/page.txt", PAGE_TEXT);
        let at = server.at("area");

        let inner = app(&at, "/area/dav/in.shtml", 1);
        assert!(inner.0.text().contains(PAGE_TEXT), "{inner:?}");
        for (path, status) in [("inner/x", 200), ("full/", 200)] {
            let reply = app(&at, &format!("/area/dav/{path}"), 1);
            assert_eq!(reply.status(), status, "{path}: {reply:?}");
            assert!(reply.0.text().contains(PAGE_TEXT), "{path}: {reply:?}");
        }
        let mut outside = vec!["out.shtml", "nowhere", "front/x", "empty/"];
        outside.push(if is_httpd { "up.shtml" } else { "moved/x" });
        for path in outside {
            let reply = app(&at, &format!("/area/dav/{path}"), 1);
            assert!(!reply.0.text().contains(OTHER_TEXT), "{path}: {reply:?}");
            // With a code it is what stands there.
            let code = alice().password(0);
            let whole = at.send(at.request_for(&format!("dav/{path}"), "alice", code));
            assert!(whole.0.text().contains(OTHER_TEXT), "{path}: {whole:?}");
        }
        if is_httpd {
            // A listing has what a program may see.
            server.root().write("htdocs/area/dav/list/seen.txt", "");
            let directory = app(&at, "/area/dav/list/", 1);
            assert!(!directory.0.text().contains(OTHER_TEXT), "{directory:?}");
        }
    }
}

/// The same of what modules make of a request, and of its backend's answer.
#[test]
fn what_modules_make_of_a_request_leads_no_further() {
    let nginx_directives = "default_type text/plain;\n\
        location /area/dav/mirrored/ { mirror /area/other.txt; try_files /area/dav/page.txt =404; }\n\
        location /area/dav/accel/ { proxy_pass http://127.0.0.1:{other_port}/accel/; }\n\
        location /area/dav/failing/ { proxy_pass http://127.0.0.1:{other_port}/failing/;\n\
        proxy_intercept_errors on; error_page 503 /area/other.txt; }\n\
        location /area/dav/named/ { error_page 404 = @named; }\n\
        location /area/dav/added/ { add_after_body /area/other.txt; try_files /area/dav/page.txt =404; }\n\
        location /area/dav/asking/ { auth_request /area/other.txt; try_files /area/dav/page.txt =404; }\n";
    let backend = "server { listen 127.0.0.1:{other_port};\n\
        location /accel/ { add_header X-Accel-Redirect /area/other.txt; return 200 x; }\n\
        location /failing/ { return 503; } }\n";
    let nginx = Nginx::one()
        .directives(backend)
        .server_directives("location @named { rewrite ^ /area/other.txt last; }\n");
    let httpd =
        ["negotiation", "actions", "dav", "dav_fs"].into_iter().fold(httpd(), Httpd::module);
    let httpd = httpd.directives(
        "DavLockDB \"{root}/davlock\"\n\
         <Directory \"{root}/htdocs/area/dav/fallback\">\nFallbackResource /area/other.txt\n</Directory>\n\
         <Directory \"{root}/htdocs/area/dav/shared\">\nDav On\n</Directory>\n",
    );
    let httpd_directives = "Options +MultiViews\nErrorDocument 404 /area/other.txt\n\
        <Files \"*.act\">\nAction other /area/other.txt virtual\nSetHandler other\n</Files>\n";
    let all = |directives: &str| vec![scope("area").directives(directives)];
    let httpd = Server::start(httpd, all(httpd_directives));
    let nginx = Server::start(nginx, all(nginx_directives));
    for server in [&httpd, &nginx] {
        server.tolerate_log("");
        write(server, "area");
    }
    httpd.root().write("htdocs/area/dav/fallback/nothing", "");
    httpd.root().write("htdocs/area/dav/x.act", "");
    let shared = httpd.root().write("htdocs/area/dav/shared/page.txt", PAGE_TEXT);
    common::root::give_to_server(shared.parent().expect("a directory"));
    for (server, paths) in [
        (&httpd, &["fallback/x", "x.act", "other", "nowhere"][..]),
        (&nginx, &["mirrored/x", "accel/x", "failing/x", "named/x", "added/x", "asking/x"]),
    ] {
        let at = server.at("area");
        for path in paths {
            let reply = app(&at, &format!("/area/dav/{path}"), 1);
            assert!(!reply.0.text().contains(OTHER_TEXT), "{path}: {reply:?}");
        }
        // What one request of a connection may, the next mayn't.
        let mut connection = Connection::open(server.port()).expect("a connection");
        for (path, status) in [("dav/page.txt", 200), ("other.txt", 401), ("dav/page.txt", 200)] {
            let request = Request::get(format!("/area/{path}")).basic("alice", password(1));
            let reply = connection.send(&request, true);
            let reply = reply.or_else(|_| {
                connection = Connection::open(server.port())?;
                connection.send(&request, true)
            });
            assert_eq!(reply.expect("an answer").status, status, "{path}");
        }
    }
    for method in ["COPY", "MOVE"] {
        for to in ["http://localhost/area/taken.txt", "/area/davx/taken.txt"] {
            let request = Request::get("/area/dav/shared/page.txt").method(method);
            let request = request.header("Destination", to).basic("alice", password(1));
            is_kept_out(&httpd.at("area").send(request), to);
        }
    }
    assert!(!httpd.root().join("htdocs/area/taken.txt").exists());
}

/// A place with settings of its own decides by them, about the paths as well.
#[test]
fn a_part_in_a_place_without_programs_is_refused() {
    let servers = [
        Server::start(
            httpd(),
            vec![scope("area").directives(
                "Options +Includes\n<Files \"*.shtml\">\nSetOutputFilter INCLUDES\n</Files>\n\
                 <Files \"off.txt\">\nOTPAuthAppPasswords Off\n</Files>\n\
                 <Files \"other-settings.txt\">\nOTPAuthMaxOffset 7\n</Files>\n",
            )],
        ),
        Server::start(
            Nginx::one(),
            vec![scope("area").directives(
                "ssi on;\nssi_types text/plain;\ndefault_type text/plain;\n\
                 location /area/dav/off.txt { auth_otp_app_passwords off; }\n\
                 location /area/dav/other-settings.txt { auth_otp_max_offset 7; }\n\
                 location /area/other-settings.txt { auth_otp_max_offset 7; }\n",
            )],
        ),
    ];
    for server in &servers {
        server.tolerate_log("");
        let at = server.at("area");
        for (name, path) in [
            ("off.shtml", "dav/off.txt"),
            ("other.shtml", "dav/other-settings.txt"),
            ("far.shtml", "other-settings.txt"),
        ] {
            server.root().write(format!("htdocs/area/{path}"), OTHER_TEXT);
            let include = format!("<!--#include virtual=\"/area/{path}\" -->");
            server.root().write(format!("htdocs/area/dav/{name}"), include);
        }
        for (name, is_shown) in [("off.shtml", false), ("other.shtml", true), ("far.shtml", false)]
        {
            let reply = app(&at, &format!("/area/dav/{name}"), 1);
            assert_eq!(reply.0.header(RESULT_HEADER), Some("granted-app"), "{name}: {reply:?}");
            assert_eq!(reply.0.text().contains(OTHER_TEXT), is_shown, "{name}: {reply:?}");
        }
        is_kept_out(&app(&at, "/area/dav/off.txt", 1), "directly");
        assert_eq!(
            server.all_decisions("alice").iter().filter(|it| **it == "denied-pin").count(),
            1
        );
    }
}

/// A session would carry the password along.
#[test]
fn no_form_takes_a_programs_password() {
    let modules = ["auth_form", "session", "session_cookie", "request"];
    let form = "AuthType Form\nAuthName area\nAuthFormProvider OTP\nOTPAuthUsersFile users/area/users\n\
                OTPAuthAppPasswords On\nSession On\nSessionCookieName session path=/\n";
    let httpd = modules.into_iter().fold(httpd(), Httpd::module).directives(&format!(
        "<Location \"/dologin\">\nSetHandler form-login-handler\nRequire all granted\n\
         AuthFormLoginRequiredLocation /login\nAuthFormLoginSuccessLocation /area/page.txt\n{form}</Location>"
    ));
    let area = Scope::bare("area")
        .token(&alice())
        .text(line("alice", 1, &[], &[]))
        .secret(&password(1))
        .directives(&format!("Require valid-user\n{form}"));
    let server = Server::start(httpd, vec![area]);
    let fields = format!("httpd_username=alice&httpd_password={}", password(1));
    let reply = server.at("area").send(Request::post("/dologin", &fields));
    let location = reply.0.header("Location").unwrap_or_default();
    assert!(!location.ends_with("/area/page.txt"), "{reply:?}");
    assert_eq!(server.all_decisions("alice"), ["denied-pin"]);
}

/// What an alias sets, the request itself doesn't show: parts are decided by it all the same.
#[test]
fn behind_an_alias_no_part_leads_outside_either() {
    let alias = "<AuthnProviderAlias OTP codes>\nOTPAuthUsersFile \"{root}/users/area/users\"\n\
                 OTPAuthAppPasswords On\n</AuthnProviderAlias>\n";
    let area = Scope::bare("area")
        .token(&alice())
        .secret(&password(1))
        .text(line("alice", 1, &["/area/dav/"], &[]))
        .directives(
            "AuthType Basic\nAuthName x\nAuthBasicProvider codes\nRequire valid-user\n\
             ErrorDocument 404 /area/other.txt\nRewriteEngine On\n\
             RewriteRule ^dav/inner/ /area/dav/page.txt [L]\n",
        );
    let server = Server::start(httpd().directives(alias), vec![area]);
    server.tolerate_log("");
    write(&server, "area");
    let at = server.at("area");
    app(&at, "/area/dav/page.txt", 1).is(200, "granted-app");
    assert!(app(&at, "/area/dav/inner/x", 1).0.text().contains(PAGE_TEXT));
    let missing = app(&at, "/area/dav/nowhere", 1);
    assert_eq!(missing.status(), 404);
    assert!(!missing.0.text().contains(OTHER_TEXT), "{missing:?}");
    is_kept_out(&app(&at, "/area/other.txt", 1), "outside");
}

#[test]
fn authors_of_pages_cannot_allow_programs() {
    let area = || scope("area").directives("AllowOverride AuthConfig\n");
    let server = Server::start(httpd(), vec![area()]);
    server.root().write("htdocs/area/dav/.htaccess", "OTPAuthAppPasswords On\n");
    server.root().write(format!("htdocs/area/dav/{PAGE}"), PAGE_TEXT);
    server.expect_log("OTPAuthAppPasswords not allowed here");
    app(&server.at("area"), "/area/dav/page.txt", 1).is_status(500);
}
