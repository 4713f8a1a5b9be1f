//! Filter and jails for fail2ban: which lines of real servers' logs they count, whose address they
//! find there, and whom a running fail2ban bans.
//!
//! fail2ban comes from `build/fail2ban`, where `make test-deps` has unpacked it: installed, it
//! would start with the machine and change its firewall. Its configuration, socket and database are
//! in a directory of the test's, and its bans are lines in a file.

mod common;
#[path = "common/digest.rs"]
mod digest;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use common::client::Connection;
use common::daemon::Daemon;
use common::root::Root;
use common::server::NonceFault;
use common::{Httpd, Nginx, Place, Request, Scope, Server, Setting, Token, wait_until};

const PIN: &str = "sesame9";
const SOURCES: &str = env!("CARGO_MANIFEST_DIR");
const PYTHON: &str = "/usr/bin/python3";
const RECIPE: &str = "docs/recipes/fail2ban.md";
/// In the recipe.
const NGINX_LOG: &str = "/var/log/nginx/otp.log";
/// The address that forged lines are about.
const VICTIM: &str = "192.0.2.66";

fn source(name: &str) -> String {
    let path = Path::new(SOURCES).join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

// ---- The servers -----------------------------------------------------------------------------------

#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    Httpd,
    Nginx,
}

impl Kind {
    fn start(self, scopes: Vec<Scope>) -> Server {
        match self {
            Kind::Httpd => Server::start(Httpd::event(), scopes),
            Kind::Nginx => Server::start(
                Nginx::one()
                    .directives(&log_of_the_recipe())
                    .server_directives("location @refused { return 403; }"),
                scopes,
            ),
        }
    }

    /// A word of its configuration.
    fn word(self, word: &str) -> String {
        match self {
            Kind::Httpd => word.to_owned(),
            Kind::Nginx => word.to_lowercase(),
        }
    }

    /// The log that its jails read.
    fn log(self, server: &Server) -> PathBuf {
        server.root().join(match self {
            Kind::Httpd => "logs/error.log",
            Kind::Nginx => "logs/otp.log",
        })
    }

    fn jail(self) -> &'static str {
        match self {
            Kind::Httpd => "otpgate-apache",
            Kind::Nginx => "otpgate-nginx",
        }
    }
}

/// A fenced block of the recipe.
fn block(info: &str) -> String {
    let recipe = source(RECIPE);
    let rest = recipe.split(&format!("```{info}\n")).nth(1);
    let text = rest.and_then(|rest| rest.split("```").next());
    text.unwrap_or_else(|| panic!("no block `{info}` in the recipe")).to_owned()
}

/// What the recipe puts into nginx's configuration.
fn log_of_the_recipe() -> String {
    let text = block("nginx log");
    assert!(text.contains(NGINX_LOG), "{text}");
    text.replace(NGINX_LOG, "{root}/logs/otp.log")
}

fn alice() -> Token {
    Token::hotp("alice").pin(PIN)
}

/// A client for each attempt, so that a line tells by its address which attempt it is about.
#[derive(Default)]
struct Clients {
    number: usize,
    guesses: Vec<String>,
    blocked: Vec<String>,
}

#[derive(Clone, Copy, PartialEq)]
enum Counts {
    Guess,
    Blocked,
    Never,
}
use Counts::{Blocked, Guess, Never};

impl Clients {
    fn next(&mut self, counts: Counts) -> String {
        self.number += 1;
        // Every other one has IPv6; addresses end in letters, digits, and nothing.
        let number = self.number;
        let address = match number % 4 {
            1 => format!("203.0.113.{number}"),
            2 => format!("2001:db8::{number:x}"),
            3 => format!("198.51.100.{number}"),
            _ => format!("2001:db8:0:{number:x}::"),
        };
        match counts {
            Guess => self.guesses.push(address.clone()),
            Blocked => self.blocked.push(address.clone()),
            Never => {}
        }
        address
    }

    /// The filter finds these in the log, in this order, and nobody else.
    #[track_caller]
    fn are_found(mut self, fail2ban: &Fail2ban, kind: Kind, server: &Server, at: &Place<'_>) {
        // nginx writes its line once the answer is out: behind this one all others are there.
        let last = self.next(Guess);
        at.login_from(&last, "alice", "the-last755224").is(401, "denied-pin");
        let log = kind.log(server);
        let shown = || std::fs::read_to_string(&log).unwrap_or_default();
        wait_until("the last line is in the log", || shown().contains(&last));
        assert_eq!(fail2ban.found(&log, "otpgate"), self.guesses, "{}", shown());
        assert_eq!(fail2ban.found(&log, "otpgate[mode=blocked]"), self.blocked, "{}", shown());
    }
}

// ---- fail2ban --------------------------------------------------------------------------------------

/// fail2ban with its own configuration and with ours in it, in a directory of its own.
struct Fail2ban {
    root: Root,
    programs: PathBuf,
    modules: PathBuf,
}

impl Fail2ban {
    fn new() -> Fail2ban {
        common::require(PYTHON);
        // Where it is installed, as where packages are tried, it is that one.
        let unpacked = Path::new(SOURCES).join("build/fail2ban");
        let from = if unpacked.exists() { unpacked } else { PathBuf::from("/") };
        let programs = from.join("usr/bin");
        common::require(programs.join("fail2ban-regex").to_str().expect("a path in UTF-8"));
        let root = Root::new();
        copy(&from.join("etc/fail2ban"), &root.join("etc"));
        // Debian's has the jail sshd switched on.
        std::fs::remove_dir_all(root.join("etc/jail.d")).expect("its folder");
        copy(&Path::new(SOURCES).join("packaging/fail2ban/."), &root.join("etc"));
        Fail2ban { root, programs, modules: from.join("usr/lib/python3/dist-packages") }
    }

    fn path(&self, name: &str) -> String {
        self.root.join(name).display().to_string()
    }

    /// The command line of one of its programs; `/usr/bin/env` sets what an installed one needs not.
    fn command(&self, program: &str) -> Vec<String> {
        let modules = format!("PYTHONPATH={}", self.modules.display());
        let program = self.programs.join(program).display().to_string();
        let command = ["/usr/bin/env", "TZ=UTC", "LC_ALL=C.UTF-8", &modules, PYTHON, &program];
        let configuration = ["-c".to_owned(), self.path("etc")];
        command.into_iter().map(str::to_owned).chain(configuration).collect()
    }

    fn run(&self, program: &str, arguments: &[&str]) -> Output {
        let command = self.command(program);
        let output = Command::new(&command[0]).args(&command[1..]).args(arguments).output();
        output.expect("fail2ban")
    }

    /// The addresses that a filter finds in a log, one for each line that it counts.
    #[track_caller]
    fn found(&self, log: &Path, filter: &str) -> Vec<String> {
        self.found_but(log, filter, &[])
    }

    #[track_caller]
    fn found_but(&self, log: &Path, filter: &str, ignored: &[&str]) -> Vec<String> {
        let log = log.display().to_string();
        let words = [&["-o", "<ip>\n", &log, filter], ignored].concat();
        let output = self.run("fail2ban-regex", &words);
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(error.is_empty(), "{filter}: {error}");
        let found = String::from_utf8(output.stdout).expect("addresses");
        found.lines().filter(|line| !line.is_empty()).map(str::to_owned).collect()
    }
}

fn copy(from: &Path, to: &Path) {
    let status = Command::new("cp").arg("-r").arg(from).arg(to).status().expect("cp");
    assert!(status.success(), "{}", from.display());
}

// ---- What counts -----------------------------------------------------------------------------------

#[test]
fn on_httpd_wrong_pins_wrong_codes_and_unlisted_names_count_and_nothing_else() {
    for level in ["", "LogLevel warn"] {
        let httpd = Httpd::event().module("request").module("session").module("session_cookie");
        let httpd = httpd.module("auth_form").directives(level).directives(
            "<Location \"/form\">\nSetHandler form-login-handler\nRequire all granted\nAuthType Form\n\
             AuthName form\nAuthFormProvider OTP\nOTPAuthUsersFile users/area/users\nSession On\n\
             SessionCookieName session path=/\nAuthFormLoginRequiredLocation /login\n</Location>",
        );
        let mut scopes = scopes(Kind::Httpd);
        let second = Scope::new("second").token(&alice()).set(Setting::FallThrough, "On");
        scopes.push(second.second_provider("bob", "opendoor").second_provider("alice", "hidden9"));
        let server = Server::start(httpd, scopes);
        server.tolerate_log("AH01808: ");
        let mut clients = Clients::default();
        attempts(Kind::Httpd, &server, &mut clients);

        let second = server.at("second");
        second.login_from(&clients.next(Never), "bob", "opendoor").is(200, "unknown");
        second.login_from(&clients.next(Never), "alice", "hidden9").is(200, "denied-pin");
        // The other provider's own refusal: its line looks like the one about an old code.
        second.login_from(&clients.next(Never), "bob", "closeddoor").is(401, "unknown");
        second.login_from(&clients.next(Guess), "mallory", "opendoor").is(401, "unknown");
        for (counts, user) in [(Guess, "mallory"), (Guess, "alice")] {
            let form = format!("httpd_username={user}&httpd_password=wrong-pin755224");
            server.send(&Request::post("/form", &form).from(&clients.next(counts)));
        }
        clients.are_found(&Fail2ban::new(), Kind::Httpd, &server, &server.at("area"));
    }
}

#[test]
fn on_nginx_wrong_pins_wrong_codes_and_unlisted_names_count_and_nothing_else() {
    let mut scopes = scopes(Kind::Nginx);
    scopes.push(Scope::new("page").token(&alice()).directives("error_page 401 = @refused;"));
    let server = Kind::Nginx.start(scopes);
    let mut clients = Clients::default();
    attempts(Kind::Nginx, &server, &mut clients);
    // Whatever the answer is made into.
    let page = server.at("page");
    page.login_from(&clients.next(Guess), "alice", "wrong-pin755224").is_status(403);
    page.login_from(&clients.next(Guess), "mallory", "wrong-pin755224").is_status(403);
    clients.are_found(&Fail2ban::new(), Kind::Nginx, &server, &server.at("area"));
}

fn scopes(kind: Kind) -> Vec<Scope> {
    let area = Scope::new("area")
        .set(Setting::LogoutOnIpChange, kind.word("On"))
        .token(&alice())
        .token(&Token::hotp("bare"))
        .token(&Token::hotp("known").external_pin(PIN))
        .token(&Token::hotp("pinless").external_pin(PIN))
        .token(&Token::hotp("off").pin(PIN).off())
        .text("HOTP/X gail - 00\n")
        .pin_file("known", PIN);
    let locked = Scope::new("locked").token(&alice().failures(3)).set(Setting::MaxFailures, 3);
    let throttled = Scope::new("throttled").token(&alice()).set(Setting::Throttle, "1 600");
    let digest = Scope::new("digest").token(&alice()).digest();
    let forget = Scope::new("forget").token(&alice()).set(Setting::Forget, kind.word("Word"));
    // What nobody configured to check.
    let nobody = Scope::new("nobody").token(&Token::hotp("known").external_pin(PIN));
    vec![area, locked, throttled, digest, forget, nobody]
}

/// All that can happen to a login, each from another client.
fn attempts(kind: Kind, server: &Server, clients: &mut Clients) {
    for fault in ["error: ", "users/area/users line 6: ", "the PIN must be checked elsewhere (+)"] {
        server.expect_log(fault);
    }
    let (alice, bare) = (alice(), Token::hotp("bare"));
    let area = server.at("area");
    let home = clients.next(Never);
    area.login_from(&home, "alice", alice.password(0)).is(200, "granted-fresh");
    area.login_from(&home, "alice", alice.password(0)).is(200, "granted-reuse");
    area.login_from(&clients.next(Never), "alice", alice.password(0)).is(401, "denied-ip");
    area.login_from(&home, "alice", alice.password(1)).is(200, "granted-fresh");
    // A page that is still open, with its forty parts.
    for _ in 0..40 {
        area.login_from(&home, "alice", alice.password(0)).is(401, "denied-expired");
    }
    let rows: [(Counts, &str, &str, String, u16, &str); 10] = [
        (Guess, "area", "alice", "wrong-pin755224".to_owned(), 401, "denied-pin"),
        (Guess, "area", "bare", format!("wrong-pin{}", bare.code(0)), 401, "denied-pin"),
        (Guess, "area", "pinless", format!("{PIN}755224"), 401, "denied-pin"),
        (Guess, "area", "known", "wrong-pin755224".to_owned(), 401, "denied-pin"),
        (Guess, "area", "alice", alice.with(&alice.wrong_code()), 401, "denied-code"),
        (Guess, "area", "alice", "123".to_owned(), 401, "denied-code"),
        (Guess, "area", "mallory", "wrong-pin755224".to_owned(), 401, "unknown"),
        (Guess, "area", "Alice", alice.password(2), 401, "unknown"),
        (Never, "area", "gail", "wrong-pin755224".to_owned(), 401, "error"),
        (Never, "forget", "alice", format!("{PIN}logout"), 401, "forgotten"),
    ];
    for (counts, scope, user, password, status, word) in rows {
        let at = server.at(scope);
        at.login_from(&clients.next(counts), user, password).is(status, word);
    }
    // Only Apache tells by the level that an admin has something to do.
    let counts = if kind == Kind::Httpd { Never } else { Guess };
    let nobody = server.at("nobody");
    nobody.login_from(&clients.next(counts), "known", format!("{PIN}755224")).is(401, "denied-pin");

    let off = Token::hotp("off").pin(PIN).password(0);
    area.login_from(&clients.next(Blocked), "off", off).is(401, "denied-locked");
    let locked = server.at("locked");
    locked.login_from(&clients.next(Blocked), "alice", alice.password(0)).is(401, "denied-locked");
    let throttled = server.at("throttled");
    let client = clients.next(Guess);
    throttled.login_from(&client, "alice", "wrong-pin755224").is(401, "denied-pin");
    clients.blocked.push(client.clone());
    throttled.login_from(&client, "alice", "wrong-too755224").is(429, "denied-throttled");

    let digest = server.at("digest");
    let answer = |user: &str, password: &str| {
        server.keep_secret(password);
        let challenge = digest::Challenge::of(&digest);
        digest::Answer::new(&challenge, digest.path("page.txt"), user, password)
    };
    for user in ["alice", "mallory"] {
        let request = answer(user, "wrong-pin755224").request().from(&clients.next(Guess));
        digest.send(request).is_status(401);
    }
    // Where only a new nonce is sent nobody has guessed.
    let mut forged = answer("alice", &alice.password(0));
    let other = if forged.challenge.nonce.starts_with('A') { "B" } else { "A" };
    forged.challenge.nonce.replace_range(..1, other);
    digest.send(forged.request().from(&clients.next(Never))).is_status(401);
    server.expect_refused_nonce(NonceFault::Forged);
}

/// A word that is hard to bring about shows in a real line in which it stands instead.
#[test]
fn each_result_word_counts_as_the_recipe_says() {
    let recipe = source(RECIPE);
    let row = |word: &str| {
        let row = recipe.lines().find(|line| {
            line.starts_with("| `")
                && line.split('|').nth(1).is_some_and(|words| words.contains(&format!("`{word}`")))
        });
        row.map(|row| row.split('|').map(str::trim).map(str::to_owned).collect::<Vec<_>>())
    };
    let (fail2ban, root) = (Fail2ban::new(), Root::new());
    for word in common::log::RESULTS {
        let log = root.write(
            "log",
            format!(
                "[Tue Dec 01 08:27:11.123456 2026] [authn_otp:warn] [pid 1:tid 2] [client 203.0.113.1:50000] \
                 {word}: what it is, user \"alice\"\n\
                 2026-12-01T08:27:11+00:00 203.0.113.2 {word}\n\
                 2026-12-01T08:27:11+0000 203.0.113.3 {word} 401 \"alice\" \"GET / HTTP/1.1\"\n"
            ),
        );
        let all = ["203.0.113.1", "203.0.113.2", "203.0.113.3"];
        for (filter, column) in [("otpgate", 2), ("otpgate[mode=blocked]", 3)] {
            let counts = row(word).is_some_and(|row| row[column] == "yes");
            let expected = if counts { &all[..] } else { &[] };
            assert_eq!(fail2ban.found(&log, filter), expected, "{word} with {filter}");
        }
        assert!(row(word).is_some() || word.starts_with("granted"), "{word} isn't in the recipe");
    }
}

/// httpd puts the source port, which a client may choose, right behind an address of IPv6.
#[test]
fn a_source_port_is_never_a_part_of_the_address() {
    let lines = [
        ("::1:8080", "::1"),
        ("2001:db8::1:9999", "2001:db8::1"),
        ("2001:db8::1:5", "2001:db8::1"),
        ("2001:db8::1:65535", "2001:db8::1"),
        ("2001:db8::2:3:4:5:6", "2001:db8::2:3:4:5"),
        ("2001:db8:1:2:3:4:5:6:7777", "2001:db8:1:2:3:4:5:6"),
        ("2001:db8:1:2:3:4:5:::7777", "2001:db8:1:2:3:4:5:0"),
        ("::ffff:203.0.113.9:80", "203.0.113.9"),
        ("203.0.113.9:0", "203.0.113.9"),
    ];
    let text = lines.map(|(client, _)| {
        format!(
            "[Tue Dec 01 08:27:11.123456 2026] [authn_otp:warn] [pid 1] [client {client}] denied-pin: wrong PIN, \
             user \"alice\"\n"
        )
    });
    let log = Root::new();
    let log = (log.write("log", text.concat()), log);
    assert_eq!(Fail2ban::new().found(&log.0, "otpgate"), lines.map(|(_, address)| address));
}

// ---- Forged lines ----------------------------------------------------------------------------------

/// Lines as the filter counts them, about somebody else.
fn forged_lines() -> [String; 3] {
    [
        format!(
            "[Tue Dec 01 08:27:11.123456 2026] [authn_otp:warn] [pid 1:tid 2] [client {VICTIM}:80] denied-pin: wrong \
             PIN, user \"alice\""
        ),
        format!("2026-12-01T08:27:11+00:00 {VICTIM} denied-pin"),
        format!(
            "2026/12/01 08:27:11 [error] 1#1: *1 auth_otp: denied-pin: wrong PIN, user \"alice\", client: {VICTIM}, \
             server: localhost, request: \"GET / HTTP/1.1\", host: \"localhost\""
        ),
    ]
}

/// Text that a client sends in the hope that it is taken for a line, or for the part of one that has
/// the address.
fn forged_texts() -> Vec<String> {
    let parts = [
        format!("alice\" client: {VICTIM}"),
        format!("alice\", client: {VICTIM}, server: localhost"),
        format!("] [client {VICTIM}:80] denied-pin: wrong PIN, user \"alice"),
        format!("alice not found: / [client {VICTIM}:80] AH01618: user alice"),
        format!(" {VICTIM} denied-pin"),
        VICTIM.to_owned(),
    ];
    let lines = forged_lines().into_iter().flat_map(|line| {
        ["\n", "\r\n"].map(|end| format!("{end}{line}{end}")).into_iter().chain([line])
    });
    parts.into_iter().chain(lines).collect()
}

/// As it stands in a path or a query.
fn encoded(text: &str) -> String {
    let byte = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => char::from(byte).to_string(),
        _ => format!("%{byte:02X}"),
    };
    text.bytes().map(byte).collect()
}

/// What servers themselves say of such requests, in several lines.
fn tolerate_forgeries(server: &Server) {
    for words in [VICTIM, "AH01630", "AH10244", "AH00026", "open() \"", "\" failed (", "tail"] {
        server.tolerate_log(words);
    }
}

/// Attempts with such text in every place that a client fills, and requests that nobody asks for a
/// login.
fn forge(server: &Server, clients: &mut Clients) {
    tolerate_forgeries(server);
    let area = server.at("area");
    let wrong = "wrong-pin755224";
    for text in forged_texts() {
        let name = text.replace(':', ";");
        for name in [name.as_str(), text.split(':').next().unwrap_or_default()] {
            area.login_from(&clients.next(Guess), name, wrong).is_status(401);
        }
        // A header holds no line ends: with them it would be another header.
        let line = text.replace(['\r', '\n'], "");
        for name in ["Referer", "User-Agent", "Forwarded", "X-Real-IP", "Via", "Cookie"] {
            let request = area.request("alice", wrong).from(&clients.next(Guess));
            area.send(request.header(name, &line)).is_status(401);
        }
        let text = encoded(&text);
        let guess = Request::get(format!("/area/page.txt?{text}"))
            .basic("alice", wrong)
            .from(&clients.next(Guess));
        server.send(&guess).is_status(401);
        for path in [format!("/nowhere{text}tail"), format!("/public/{text}tail")] {
            let status = server.send(&Request::get(path).from(&clients.next(Never))).status();
            assert!([400, 403, 404].contains(&status), "{status}");
        }
    }
    // A proxy that is trusted appends what it sees to what the client has claimed.
    let client = clients.next(Guess);
    area.login_from(&format!("{VICTIM}, {client}"), "alice", wrong).is_status(401);
}

fn forgeries(kind: Kind) {
    let area = Scope::new("area").token(&alice()).set(Setting::Throttle, kind.word("Off"));
    let public = match kind {
        Kind::Httpd => "Require all granted",
        Kind::Nginx => "",
    };
    let server = kind.start(vec![area, Scope::bare("public").directives(public)]);
    let mut clients = Clients::default();
    forge(&server, &mut clients);
    let forged = forged_lines();
    let is_forged = |line: &str| forged.iter().any(|forged| line.starts_with(forged));
    // Why the jails for nginx don't read its error log; and why those for Apache may.
    assert_eq!(server.error_log().lines().any(is_forged), kind == Kind::Nginx);
    clients.are_found(&Fail2ban::new(), kind, &server, &server.at("area"));
}

#[test]
fn on_httpd_only_the_address_that_the_server_sees_is_found_whatever_clients_send() {
    forgeries(Kind::Httpd);
}

#[test]
fn on_nginx_only_the_address_that_the_server_sees_is_found_whatever_clients_send() {
    forgeries(Kind::Nginx);
}

#[test]
fn guessers_who_wait_for_no_answer_are_in_the_log() {
    for kind in [Kind::Httpd, Kind::Nginx] {
        let area = Scope::new("area").token(&alice()).set(Setting::RefusalTime, 500);
        let server = kind.start(vec![area]);
        server.tolerate_log("shutdown() failed (107: ");
        let at = server.at("area");
        let clients: Vec<String> = (1..=20).map(|number| format!("203.0.113.{number}")).collect();
        for client in &clients {
            let mut connection = Connection::open(server.port()).expect("a connection");
            let request = at.request("alice", format!("{client}755224")).from(client);
            connection.ask(&request, false).expect("to be sent");
        }
        let fail2ban = Fail2ban::new();
        let found = || {
            let log = kind.log(&server);
            let mut found = if log.exists() { fail2ban.found(&log, "otpgate") } else { Vec::new() };
            found.sort();
            found
        };
        let mut expected = clients.clone();
        expected.sort();
        wait_until("all are in the log", || found().len() >= expected.len());
        assert_eq!(found(), expected);
    }
}

// ---- fail2ban's own jails, and ours as they run ------------------------------------------------------

/// What the recipe has the jail `apache-auth` ignore, below `/area/`.
fn ignored_by_apache_auth() -> String {
    let block = block("ini apache-auth");
    let (_, ignored) = block.trim_end().split_once("ignoreregex = ").expect("a setting");
    assert!(ignored.contains("/private/"), "{ignored}");
    ignored.replace("/private/", "/area/")
}

/// All settings that fail2ban reads from its configuration.
fn settings(fail2ban: &Fail2ban) -> String {
    let output = fail2ban.run("fail2ban-client", &["-d"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("settings")
}

#[test]
fn all_jails_are_off_until_they_are_switched_on_and_then_have_the_numbers_of_the_recipe() {
    let fail2ban = Fail2ban::new();
    assert!(!settings(&fail2ban).contains("otpgate"));

    let root = &fail2ban.root;
    let log = root.write("log", "");
    let path = format!("logpath = {}\n", log.display());
    let mut jails = block("ini apache") + &path + &block("ini nginx") + &path;
    for name in ["otpgate-apache-blocked", "otpgate-nginx-blocked"] {
        jails += &format!("[{name}]\nenabled = true\n{path}");
    }
    root.write("etc/jail.local", &jails);
    let found = settings(&fail2ban);
    let recipe = source(RECIPE);
    let numbers = recipe.lines().find(|line| line.starts_with("| so many in 10 minutes"));
    let numbers: Vec<&str> = numbers.expect("a row").split('|').map(str::trim).collect();
    for (name, number) in [("apache", numbers[2]), ("nginx", numbers[2])]
        .into_iter()
        .chain([("apache-blocked", numbers[3]), ("nginx-blocked", numbers[3])])
    {
        for (setting, value) in [("maxretry", number), ("findtime", "'10m'"), ("bantime", "'1h'")] {
            let line = format!("['set', 'otpgate-{name}', '{setting}', {value}]");
            assert!(found.contains(&line), "{line} isn't in {found}");
        }
    }

    root.write("etc/jail.local", block("ini office") + &path);
    let found = settings(&fail2ban);
    for line in ["'maxretry', 50]", "'addignoreip', '198.51.100.0/24']"] {
        assert!(found.contains(&format!("['set', 'otpgate-apache', {line}")), "{found}");
    }
}

#[test]
fn the_jail_apache_auth_takes_old_codes_for_guesses_unless_told_as_the_recipe_says() {
    let area = Scope::new("area").token(&alice());
    let plain = "AuthType Basic\nAuthName plain\nAuthBasicProvider file\nAuthUserFile {root}/plain\n\
                 Require valid-user";
    let httpd = Httpd::event().file("plain", common::scope::htpasswd_line("bob", "opendoor"));
    let server = Server::start(httpd, vec![area, Scope::bare("plain").directives(plain)]);
    let at = server.at("area");
    at.login_from("203.0.113.1", "alice", alice().password(0)).is(200, "granted-fresh");
    at.login_from("203.0.113.1", "alice", alice().password(1)).is(200, "granted-fresh");
    at.login_from("203.0.113.1", "alice", alice().password(0)).is(401, "denied-expired");
    server.at("plain").login_from("203.0.113.2", "bob", "closeddoor").is_status(401);
    let (fail2ban, log) = (Fail2ban::new(), Kind::Httpd.log(&server));
    assert_eq!(fail2ban.found(&log, "apache-auth"), ["203.0.113.1", "203.0.113.2"]);
    let ignored = ignored_by_apache_auth();
    assert_eq!(fail2ban.found_but(&log, "apache-auth", &[&ignored]), ["203.0.113.2"]);
}

#[test]
fn the_jail_for_nginxs_own_logins_takes_no_line_of_ours() {
    let server = Kind::Nginx.start(scopes(Kind::Nginx));
    attempts(Kind::Nginx, &server, &mut Clients::default());
    let found = Fail2ban::new().found(&server.root().join("logs/error.log"), "nginx-http-auth");
    assert_eq!(found, [""; 0]);
}

/// fail2ban-server in the foreground; its bans are lines of a file: jail, address, ports.
struct Running {
    fail2ban: Fail2ban,
    daemon: Daemon,
}

impl Running {
    /// With these sections in the admin's file.
    fn start(jails: &str) -> Running {
        let fail2ban = Fail2ban::new();
        let path = |name| fail2ban.path(name);
        fail2ban.root.write(
            "etc/action.d/record.conf",
            format!(
                "[Definition]\nactionban = echo '<name> <ip> <port>' >> {}\nactionunban =\n",
                path("bans")
            ),
        );
        let jails = format!("[DEFAULT]\nbanaction = record\n{jails}");
        fail2ban.root.write("etc/jail.local", jails);
        fail2ban.root.write(
            "etc/fail2ban.local",
            format!("[Definition]\ndbfile = None\nlogtarget = {}\n", path("log")),
        );
        let mut command = fail2ban.command("fail2ban-server");
        let own = ["-s", &path("socket"), "-p", &path("pid"), "-f", "start"].map(str::to_owned);
        command.extend(own);
        let command: Vec<&str> = command.iter().map(String::as_str).collect();
        let mut daemon = Daemon::spawn(&command, &fail2ban.root.join("output"));
        let (output, log) = (fail2ban.root.join("output"), fail2ban.root.join("log"));
        let text = |path: &Path| std::fs::read_to_string(path).unwrap_or_default();
        wait_until("fail2ban is ready", || {
            let ended = daemon.ended();
            assert!(ended.is_none(), "{}{}", text(&output), text(&log));
            text(&output).contains("Server ready")
        });
        Running { fail2ban, daemon }
    }

    fn bans(&self) -> Vec<String> {
        let bans = std::fs::read_to_string(self.fail2ban.root.join("bans")).unwrap_or_default();
        bans.lines().map(str::to_owned).collect()
    }

    /// It has banned these and nobody else.
    #[track_caller]
    fn has_banned(mut self, mut expected: Vec<String>) {
        let all = |bans: &[String]| expected.iter().all(|ban| bans.contains(ban));
        wait_until("all are banned", || all(&self.bans()));
        let mut bans = self.bans();
        self.daemon.stop().expect("fail2ban stops");
        let log = std::fs::read_to_string(self.fail2ban.root.join("log")).expect("its log");
        bans.sort();
        expected.sort();
        assert_eq!(bans, expected, "{log}");
        assert!(!log.contains(" ERROR ") && !log.contains(VICTIM), "{log}");
    }
}

#[test]
fn a_running_fail2ban_bans_guessers_and_no_innocent_and_nobody_whom_a_guesser_names() {
    let plain = "AuthType Basic\nAuthName plain\nAuthBasicProvider file\nAuthUserFile {root}/plain\n\
                 Require valid-user";
    let scopes = |kind: Kind| {
        let scope = |name: &str| Scope::new(name).set(Setting::Throttle, kind.word("Off"));
        vec![
            scope("area").token(&alice()).set(Setting::MaxFailures, "None"),
            scope("locked").token(&alice().failures(3)).set(Setting::MaxFailures, 3),
        ]
    };
    let mut of_httpd = scopes(Kind::Httpd);
    of_httpd.push(Scope::bare("plain").directives(plain));
    let httpd = Httpd::event().file("plain", common::scope::htpasswd_line("bob", "opendoor"));
    let servers = [
        (Kind::Httpd, Server::start(httpd, of_httpd)),
        (Kind::Nginx, Kind::Nginx.start(scopes(Kind::Nginx))),
    ];
    let jail =
        |name: &str, log: &Path| format!("[{name}]\nenabled = true\nlogpath = {}\n", log.display());
    let mut jails = String::new();
    for (kind, server) in &servers {
        let log = kind.log(server);
        jails += &jail(kind.jail(), &log);
        jails += &jail(&format!("{}-blocked", kind.jail()), &log);
    }
    jails += &jail("apache-auth", &Kind::Httpd.log(&servers[0].1));
    let ignored = ignored_by_apache_auth().replace("/area/", "/(?:area|locked)/");
    jails += &format!("ignoreregex = {ignored}\n");
    let fail2ban = Running::start(&jails);

    let mut banned = Vec::new();
    for (kind, server) in &servers {
        let ban = |jail: &str, address: &str| format!("{jail} {address} http,https");
        let area = server.at("area");
        // A page whose code has expired, and one of a user who is locked.
        area.login_from("203.0.113.1", "alice", alice().password(0)).is(200, "granted-fresh");
        area.login_from("203.0.113.1", "alice", alice().password(1)).is(200, "granted-fresh");
        for _ in 0..40 {
            area.login_from("203.0.113.1", "alice", alice().password(0)).is(401, "denied-expired");
            let locked = server.at("locked");
            locked.login_from("203.0.113.2", "alice", alice().password(0)).is(401, "denied-locked");
        }
        // Somebody who hits the wrong keys now and then.
        for number in 0..9 {
            let wrong = format!("mistyped{number}755224");
            area.login_from("2001:db8::3", "alice", wrong).is(401, "denied-pin");
        }
        // Names and paths that are about somebody else, often enough for a ban.
        tolerate_forgeries(server);
        for _ in 0..12 {
            for line in forged_lines() {
                let path = format!("/nowhere{}", encoded(&format!("\n{line}\n")));
                server.send(&Request::get(path).from("203.0.113.4"));
            }
            let name = format!("alice\", client; {VICTIM}, server; x");
            area.login_from("203.0.113.5", name, "wrong-pin755224").is(401, "unknown");
        }
        banned.push(ban(kind.jail(), "203.0.113.5"));
        // Behind the line that brings a jail's last ban it has read everything above.
        for _ in 0..200 {
            let locked = server.at("locked");
            locked.login_from("203.0.113.6", "alice", "wrong-pin755224").is(401, "denied-locked");
        }
        banned.push(ban(&format!("{}-blocked", kind.jail()), "203.0.113.6"));
        for number in 0..10 {
            let guess = format!("guess{number}755224");
            area.login_from("2001:db8::7", "alice", guess).is(401, "denied-pin");
        }
        banned.push(ban(kind.jail(), "2001:db8::7"));
        if *kind == Kind::Httpd {
            for _ in 0..5 {
                server.at("plain").login_from("203.0.113.8", "bob", "closeddoor").is_status(401);
            }
            // It has its own view of paths that are closed to all, and of unlisted names.
            for address in ["203.0.113.4", "203.0.113.5", "203.0.113.8"] {
                banned.push(ban("apache-auth", address));
            }
        }
    }
    fail2ban.has_banned(banned);
}
