//! otpgate among the authentication providers of Apache httpd: asking others, being asked, being
//! cached.

mod common;

use std::path::PathBuf;
use std::process::Command;

use common::scope::htpasswd_line;
use common::server::PAGE_TEXT;
use common::{Httpd, Reply, Request, Scope, Server, Setting, Token};

const PIN: &str = "sesame9";
const WRONG_PIN: &str = "simsim8";

fn dave() -> Token {
    Token::hotp("dave").external_pin(PIN)
}

/// A DBM file of PINs, as administrators make it.
fn dbm(user: &str, pin: &str) -> Vec<(String, Vec<u8>)> {
    let program = "/usr/bin/htdbm";
    common::require(program);
    let root = common::root::Root::new();
    let path: PathBuf = root.join("pins");
    let status = Command::new(program)
        .args(["-c", "-b", "-B", "-C", "4", "-TSDBM"])
        .arg(&path)
        .args([user, pin])
        .output()
        .expect("htdbm runs");
    assert!(status.status.success(), "{status:?}");
    std::fs::read_dir(root.path())
        .expect("the directory")
        .flatten()
        .map(|entry| {
            let name = entry.file_name().into_string().expect("plain text");
            (name, std::fs::read(entry.path()).expect("the file"))
        })
        .collect()
}

#[test]
fn pins_are_checked_by_other_providers() {
    let dave = dave();
    let eve = Token::hotp("eve").external_pin("opendoor");
    let nobody = Token::hotp("nobody").external_pin(PIN);
    let mut httpd =
        Httpd::event().module("authn_dbm").file("pins.txt", htpasswd_line("dave", PIN)).directives(
            "<AuthnProviderAlias file first>\nAuthUserFile pins.txt\n</AuthnProviderAlias>\n\
             <AuthnProviderAlias dbm second>\nAuthDBMType SDBM\nAuthDBMUserFile dbm/pins\n\
             </AuthnProviderAlias>",
        );
    for (name, content) in dbm("eve", "opendoor") {
        httpd = httpd.file(&format!("dbm/{name}"), content);
    }
    let of = |name: &str, directives: &str| {
        Scope::new(name).token(&dave).token(&eve).token(&nobody).directives(directives)
    };
    let through = of("through", "OTPAuthPINAuthProvider first\nOTPAuthFallThrough On")
        .second_provider("nobody", "trapdoor");
    let server = Server::start(
        httpd,
        vec![
            of("file", "OTPAuthPINAuthProvider file\nAuthUserFile pins.txt"),
            of("dbm", "OTPAuthPINAuthProvider dbm\nAuthDBMType SDBM\nAuthDBMUserFile dbm/pins"),
            of("aliases", "OTPAuthPINAuthProvider first second")
                .second_provider("nobody", "trapdoor"),
            of("none", ""),
            through,
        ],
    );
    for (place, token) in [("file", &dave), ("dbm", &eve), ("aliases", &dave), ("aliases", &eve)] {
        let place = server.at(place);
        let user = token.user();
        place.users().stays_the_same(|| {
            let password = format!("{WRONG_PIN}{}", token.code(0));
            place.login(user, password).is(401, "denied-pin");
            place.login(user, token.code(0)).is(401, "denied-pin");
            place.login("nobody", nobody.password(0)).is(401, "denied-pin");
        });
        place.login(user, token.password(0)).is(200, "granted-fresh");
        place.login(user, token.password(0)).is(200, "granted-reuse");
        place.login(user, token.with(&token.wrong_code())).is(401, "denied-code");
        place.login(user, token.password(1)).is(200, "granted-fresh");
        place.login(user, PIN).is_denied();
    }
    // Nobody to ask: refused, and not passed on.
    server.expect_log("no PIN provider");
    let none = server.at("none");
    none.users().stays_the_same(|| {
        none.login("dave", dave.password(0)).is_denied();
    });
    // A user whom no PIN provider knows is passed on only where that is asked for.
    server.at("aliases").login("nobody", "trapdoor").is(401, "denied-pin");
    server.at("through").login("nobody", "trapdoor").is_status(200);
    server.at("through").login("nobody", nobody.password(0)).is_denied();
}

#[test]
fn pin_provider_that_fails_is_an_error() {
    let dave = dave();
    let scope = Scope::new("area")
        .token(&dave)
        .directives("OTPAuthPINAuthProvider file\nAuthUserFile nowhere.txt");
    let server = Server::start(Httpd::event(), vec![scope]);
    server.expect_log("nowhere.txt");
    server.expect_log("the PIN provider or PIN file can't be used");
    let place = server.at("area");
    place.users().stays_the_same(|| {
        place.login("dave", dave.password(0)).is(500, "error");
    });
}

/// Providers have settings that we don't see, so what they have said is kept by nobody but
/// themselves.
#[test]
fn a_provider_is_asked_each_time_whatever_the_cache_time() {
    let dave = dave();
    let changed = dave.clone().external_pin("opendoor");
    let scope = |name: &str| {
        Scope::new(name)
            .token(&dave)
            .directives(&format!("OTPAuthPINAuthProvider file\nAuthUserFile {name}.txt"))
    };
    let names = ["unset", "none", "long"];
    let httpd = names.iter().fold(Httpd::event().in_one_process(), |httpd, name| {
        httpd.file(&format!("{name}.txt"), htpasswd_line("dave", PIN))
    });
    let scopes = vec![
        scope("unset"),
        scope("none").set(Setting::PinCache, 0),
        scope("long").set(Setting::PinCache, 600),
    ];
    let server = Server::start(httpd, scopes);
    for name in names {
        let place = server.at(name);
        for result in ["granted-fresh", "granted-reuse", "granted-reuse"] {
            place.login("dave", dave.password(0)).is(200, result);
        }
        // The PIN is changed behind our back.
        server.root().write(format!("{name}.txt"), htpasswd_line("dave", "opendoor"));
        place.login("dave", dave.password(0)).is(401, "denied-pin");
        place.login("dave", dave.password(1)).is(401, "denied-pin");
        place.login("dave", changed.password(0)).is(200, "granted-reuse");
        place.login("dave", changed.password(1)).is(200, "granted-fresh");
    }
}

/// A PIN that the users file has as a hash is remembered by itself, until its line changes.
#[test]
fn remembered_pin_is_dropped_when_the_line_changes() {
    let hash = |salt: &str, pin: &str| {
        let output = Command::new("/usr/bin/openssl")
            .args(["passwd", "-5", "-salt", salt, pin])
            .output()
            .expect("openssl runs");
        String::from_utf8(output.stdout).expect("plain text").trim().to_owned()
    };
    let before = Token::hotp("alice").hashed_pin(PIN, &hash("one", PIN));
    let after = Token::hotp("alice").hashed_pin("opendoor", &hash("two", "opendoor"));
    let scope = Scope::new("area").token(&before).token(&Token::hotp("carol"));
    let server = Server::start(Httpd::event().in_one_process(), vec![scope]);
    let place = server.at("area");
    place.login("alice", before.password(0)).is(200, "granted-fresh");
    place.login("alice", before.password(0)).is(200, "granted-reuse");
    place.users().replace(after.clone().counter(1).line());
    place.login("alice", before.password(1)).is(401, "denied-pin");
    place.login("alice", after.password(1)).is(200, "granted-fresh");
}

#[test]
fn otp_under_another_name_works_like_otp() {
    let alice = Token::hotp("alice").pin(PIN);
    let httpd = Httpd::event().directives(
        "<AuthnProviderAlias OTP main>\nOTPAuthUsersFile users/area/users\nOTPAuthMaxLinger 0\n\
         </AuthnProviderAlias>",
    );
    let area = Scope::bare("area")
        .token(&alice)
        .directives("AuthType Basic\nAuthName area\nAuthBasicProvider main\nRequire valid-user");
    let server = Server::start(httpd, vec![area]);
    let place = server.at("area");
    place.login("alice", alice.password(0)).is(200, "granted-fresh");
    place.login("alice", alice.password(0)).is(401, "denied-expired");
    place.login("nobody", alice.password(0)).is(401, "unknown");
}

#[test]
fn otp_that_leads_back_to_itself_is_an_error() {
    let dave = dave();
    let alias = |directive: &str| {
        let users = "OTPAuthUsersFile users/area/users";
        format!("<AuthnProviderAlias OTP again>\n{users}\n{directive}\n</AuthnProviderAlias>")
    };
    let area = Scope::new("area").token(&dave).directives("OTPAuthPINAuthProvider again");
    let server = Server::start(Httpd::event().directives(&alias("")), vec![area.clone()]);
    server.expect_log("OTPAuthPINAuthProvider");
    server.expect_log("the PIN provider or PIN file can't be used");
    let place = server.at("area");
    place.users().stays_the_same(|| {
        place.login("dave", dave.password(0)).is(500, "error");
    });
    // Within itself, the alias doesn't exist yet.
    let directive = "OTPAuthPINAuthProvider again";
    Httpd::event()
        .directives(&alias(directive))
        .test(vec![area], |_| {})
        .is_accepted(false)
        .names_the_line_of(directive);
}

/// mod_auth_basic then asks for a hash of the password, which no one-time password has beforehand.
#[test]
fn basic_login_by_digest_hash_is_refused() {
    let alice = Token::hotp("alice").pin(PIN);
    let area = Scope::new("area").token(&alice).directives("AuthBasicUseDigestAlgorithm MD5");
    let server = Server::start(Httpd::event(), vec![area]);
    server.expect_log("AuthBasicUseDigestAlgorithm");
    let place = server.at("area");
    place.users().stays_the_same(|| {
        place.login("alice", alice.password(0)).is_status(401);
    });
}

/// mod_authn_socache keeps what a provider has checked. Were that the PIN, the cache would grant it
/// alone.
#[test]
fn cache_before_otp_never_learns_a_pin() {
    let dave = dave();
    let pins = "AuthnCacheProvideFor file pins\nAuthnCacheTimeout 600\nAuthBasicProvider socache OTP\n\
                AuthType Basic\nAuthName area\nRequire valid-user\nOTPAuthUsersFile {users}\n\
                OTPAuthMaxLinger 600\nAuthUserFile pins.txt";
    let area = |name: &str, provider: &str| {
        Scope::bare(name)
            .token(&dave)
            .directives(&format!("{pins}\nOTPAuthPINAuthProvider {provider}"))
    };
    let httpd = Httpd::event()
        .module("authn_socache")
        .module("socache_shmcb")
        .file("pins.txt", htpasswd_line("dave", PIN))
        .directives(
            "LogLevel socache_shmcb:warn\nAuthnCacheEnable\nAuthnCacheSOCache shmcb\n\
             <AuthnProviderAlias file pins>\nAuthUserFile pins.txt\nAuthnCacheProvideFor file pins\n\
             </AuthnProviderAlias>",
        );
    // The last scope shows that the cache works at all: the file's passwords are cached there.
    let plain = Scope::bare("plain").directives(
        "AuthnCacheProvideFor file\nAuthnCacheTimeout 600\nAuthBasicProvider socache file\n\
         AuthType Basic\nAuthName plain\nRequire valid-user\nAuthUserFile plain.txt",
    );
    let httpd = httpd.file("plain.txt", htpasswd_line("erin", "opendoor"));
    let server = Server::start(httpd, vec![area("direct", "file"), area("alias", "pins"), plain]);
    for name in ["direct", "alias"] {
        let place = server.at(name);
        place.login("dave", dave.password(0)).is(200, "granted-fresh");
        for _ in 0..3 {
            place.login("dave", PIN).is_denied();
        }
        place.login("dave", dave.password(0)).is(200, "granted-reuse");
        place.login("dave", dave.password(1)).is(200, "granted-fresh");
        place.login("dave", dave.password(0)).is(401, "denied-expired");
    }
    let plain = server.at("plain");
    plain.login("erin", "opendoor").is_status(200);
    server.root().write("plain.txt", htpasswd_line("erin", "closeddoor"));
    plain.login("erin", "opendoor").is_status(200);
}

#[test]
fn login_form_is_answered_once_and_its_session_lingers() {
    let alice = Token::hotp("alice").pin(PIN);
    let session = "Session On\nSessionCookieName session path=/\n";
    let form = "AuthType Form\nAuthName area\nAuthFormProvider OTP\nOTPAuthUsersFile users/area/users\n\
                OTPAuthMaxLinger 600\n";
    let httpd = Httpd::event()
        .module("auth_form")
        .module("session")
        .module("session_cookie")
        .module("request")
        .directives(&format!(
            "<Location \"/dologin\">\nSetHandler form-login-handler\nRequire all granted\n\
             AuthFormLoginRequiredLocation /login\nAuthFormLoginSuccessLocation /area/page.txt\n\
             {form}{session}</Location>"
        ));
    let area = Scope::bare("area")
        .token(&alice)
        .directives(&format!("Require valid-user\n{form}{session}"));
    let server = Server::start(httpd, vec![area]);
    let place = server.at("area");
    let submit = |password: &str| -> Reply {
        server.keep_secret(password);
        let form = format!("httpd_username=alice&httpd_password={password}");
        place.send(Request::post("/dologin", &form))
    };
    let refused = submit(&alice.with(&alice.wrong_code()));
    assert_ne!(refused.status(), 200);
    assert_ne!(refused.0.header("Location"), Some("/area/page.txt"), "{refused:?}");
    assert_eq!(place.users().failures("alice"), 1);

    let reply = submit(&alice.password(0));
    assert_eq!(reply.status(), 302, "{reply:?}");
    let location = reply.0.header("Location").unwrap_or_default();
    assert!(location.ends_with("/area/page.txt"), "{reply:?}");
    let cookie = reply.0.header("Set-Cookie").expect("a session");
    let cookie = cookie.split(';').next().expect("the first part");
    assert_eq!(place.users().counter("alice"), 1);
    place.users().stays_the_same(|| {
        for _ in 0..3 {
            let page = place.send(Request::get(place.path("page.txt")).header("Cookie", cookie));
            page.is(200, "granted-reuse");
            assert_eq!(page.0.text(), PAGE_TEXT);
        }
    });
    place.send(Request::get(place.path("page.txt"))).is_status(401);
}
