//! What otpgate costs real servers: ratios to the same server without it, with fewer users, or
//! idle.
//!
//! Machines are noisy, so every case is measured right after its baseline, several times over; what
//! counts is the median of the ratios. Beside it stands the ratio of CPU time per request, which
//! other load disturbs less.
//!
//! `make bench` runs this and writes build/bench.json, the same as a table in build/bench.md,
//! build/bench.svg, and docs/performance.svg. In the environment:
//!
//! - OTPGATE_BENCH_ROUNDS (default 5), OTPGATE_BENCH_SECONDS (default 2): how often, and for how
//!   long each time;
//! - OTPGATE_BENCH_ONLY: `httpd`, `nginx`, `library`, `command` or `sessions`, to run a part of it;
//!   `requests` for what `make bench-check` compares, see `requests.rs`;
//! - OTPGATE_BENCH_USERS (default 1000000): the size of the largest file;
//! - OTPGATE_BENCH_PEER: another `mod_authn_otp.so`, to go through the same cases of httpd.

#[path = "../../tests/common/mod.rs"]
mod common;
mod listing;
mod plot;
mod report;
mod requests;

use std::collections::HashMap;
use std::num::NonZeroU64;
use std::process::{Command, ExitCode, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use common::server::Kind;
use common::{
    Connection, Httpd, Nginx, Request, Response, Scope, Server, Setting, Token, from_environment,
    require,
};
use data_encoding::HEXLOWER;
use md5::{Digest, Md5};
use otpgate::decide::PinAnswer;
use otpgate::gate::{Gate, Login, PinSource};
use otpgate::log::{Level, Log};
use otpgate::policy::{Server as ServerKind, Settings};
use otpgate::token::Address;
use otpgate::users::file::UsersFile;
use report::{Measured, Report, Row, Wanted, median};

const WRK: &str = "/usr/bin/wrk";
const STRACE: &str = "/usr/bin/strace";
const VALGRIND: &str = "/usr/bin/valgrind";

const PIN: &str = "1234";
/// Whose code lingers.
const LINGERING: usize = 5;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [drive, entry, count] = &arguments[..]
        && drive == "--drive"
    {
        drive_lingering(entry, count.parse().expect("a number"));
        return ExitCode::SUCCESS;
    }
    // Cargo calls benches with `--bench`; anything else (a list of tests, say) is not for us.
    if !arguments.iter().any(|argument| argument == "--bench") {
        return ExitCode::SUCCESS;
    }
    let only = std::env::var("OTPGATE_BENCH_ONLY").unwrap_or_default();
    let is_wanted = |part: &str| only.is_empty() || only == part;
    let mut report = Report::default();
    for program in [STRACE, VALGRIND] {
        require(program);
    }
    if only == "requests" {
        return requests::check(&mut report);
    }
    require(WRK);
    let mut lines = Vec::new();
    if is_wanted("library") {
        instructions(&mut report);
    }
    if is_wanted("command") {
        listing::rows(&mut report);
    }
    if only == "sessions" {
        sessions(&mut report);
    }
    if is_wanted("httpd") {
        httpd(&mut report, &mut lines);
        syncs(&mut report, "httpd", threaded_httpd());
        if let Some(module) =
            std::env::var_os("OTPGATE_BENCH_PEER").filter(|module| !module.is_empty())
        {
            peer(&mut report, &mut lines, module.as_ref());
        }
    }
    if is_wanted("nginx") {
        nginx(&mut report, &mut lines);
        syncs(&mut report, "nginx", quiet_nginx(1));
    }
    requests::rows(&mut report, &only);
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/");
    std::fs::create_dir_all(format!("{root}build")).expect("build/ can be made");
    std::fs::write(format!("{root}build/bench.json"), report.to_json()).expect("build/bench.json");
    std::fs::write(format!("{root}build/bench.md"), report.to_markdown()).expect("build/bench.md");
    std::fs::write(format!("{root}build/bench.svg"), plot::svg(&lines)).expect("build/bench.svg");
    if only.is_empty() {
        lines.retain(|line| !line.name.starts_with("peer"));
        std::fs::write(format!("{root}docs/performance.svg"), plot::svg(&lines)).expect("the plot");
    }
    ExitCode::SUCCESS
}

fn most_users() -> usize {
    from_environment("OTPGATE_BENCH_USERS", 1_000_000)
}

/// The numbers of users between which the cost is compared.
fn sizes() -> [(&'static str, usize); 5] {
    [
        ("one", 1),
        ("ten", 10),
        ("thousand", 1_000),
        ("hundred-thousand", 100_000),
        ("most", most_users()),
    ]
}

fn token(user: usize) -> Token {
    Token::hotp(format!("user{user}")).pin(PIN)
}

fn users(count: usize) -> Vec<u8> {
    (0..count).flat_map(|user| token(user).line()).collect()
}

/// A scope with a users file of its own, in which codes linger for a day.
fn scope(name: &str, count: usize) -> Scope {
    Scope::new(name).text(users(count)).set(Setting::MaxLinger, 86_400)
}

// ---- Servers -------------------------------------------------------------------------------------------

/// The same, where a login gives its browser a cookie.
fn session_scope(server: &str) -> Scope {
    scope("session", 10).directives(match server {
        "nginx" => "auth_otp_linger_cookie insecure;",
        _ => "OTPAuthLingerCookie Insecure",
    })
}

/// What a browser sends from then on.
fn cookie_of(answer: &Response) -> String {
    let header = answer.header("Set-Cookie").expect("a cookie");
    header.split(';').next().unwrap_or_default().to_owned()
}

/// As distributions configure it, not as tests watch it.
fn quiet_httpd() -> Httpd {
    Httpd::event().directives(
        "LogLevel warn authn_otp:warn\n\
         StartServers 3\nServerLimit 16\nThreadsPerChild 25\nMinSpareThreads 75\nMaxSpareThreads 250\n\
         MaxRequestWorkers 400",
    )
}

fn threaded_httpd() -> Httpd {
    quiet_httpd().directives(
        "StartServers 1\nServerLimit 1\nThreadsPerChild 40\nMinSpareThreads 1\nMaxSpareThreads 40\n\
         MaxRequestWorkers 40",
    )
}

fn quiet_nginx(workers: usize) -> Nginx {
    Nginx::new(workers)
        .server_directives("access_log off;\nerror_log \"{root}/logs/error.log\" warn;")
}

/// That row alone, for both servers.
fn sessions(report: &mut Report) {
    let scopes = |server, open| {
        vec![Scope::bare("open").directives(open), scope("ten", 10), session_scope(server)]
    };
    let httpd = Bench::start("httpd", quiet_httpd(), scopes("httpd", "Require all granted"));
    let nginx = Bench::start("nginx", quiet_nginx(1), scopes("nginx", ""));
    for bench in [httpd, nginx] {
        let (open, ten) = (bench.open(), bench.lingering("ten"));
        bench.session(report, &open, &ten);
        bench.stop();
    }
}

fn httpd(report: &mut Report, lines: &mut Vec<plot::Series>) {
    let bcrypt = bcrypt::hash(PIN, 10).expect("a hash");
    let digest_hash =
        HEXLOWER.encode(&Md5::digest(format!("user{LINGERING}:bench:secret").as_bytes()));
    let with_pin = |name: &str, field: &str| {
        let lines = (0..10).flat_map(|user| token(user).hashed_pin(PIN, field).line());
        Scope::new(name).text(lines.collect::<Vec<u8>>()).set(Setting::MaxLinger, 86_400)
    };
    let kind = quiet_httpd()
        .module("auth_digest")
        .file("digest-users", format!("user{LINGERING}:bench:{digest_hash}\n"))
        .file("pins", format!("user{LINGERING}:{bcrypt}\n"));
    let digest = "AuthType Digest\nAuthName bench\nRequire valid-user\n";
    let mut scopes: Vec<Scope> = sizes().iter().map(|(name, count)| scope(name, *count)).collect();
    scopes.extend([
        Scope::bare("open").directives("Require all granted"),
        session_scope("httpd"),
        with_pin("bcrypt", &bcrypt),
        with_pin("pin-file", "+").directives(
            "OTPAuthPINAuthProvider file\nAuthUserFile \"{root}/pins\"\nOTPAuthPINCache 60",
        ),
        Scope { bare: true, ..scope("digest", 10) }.directives(&format!(
            "{digest}AuthDigestProvider OTP\nOTPAuthUsersFile {{users}}\nOTPAuthMaxLinger 86400"
        )),
        Scope::bare("digest-file").directives(&format!(
            "{digest}AuthDigestProvider file\nAuthUserFile {{root}}/digest-users"
        )),
    ]);
    let bench = Bench::start("httpd", kind, scopes);
    bench.common_rows(report);
    let ours = bench.digest("digest", &code_of_first_login());
    let baseline = bench.digest("digest-file", "secret");
    bench.compare(
        report,
        "Digest, lingering code / Digest of mod_authn_file",
        Wanted::AtLeast(0.85),
        &ours,
        &baseline,
    );
    lines.extend(bench.lines(&sizes()));
    bench.stop();
    memory(report, "httpd", quiet_httpd);
}

fn nginx(report: &mut Report, lines: &mut Vec<plot::Series>) {
    let bcrypt = bcrypt::hash(PIN, 10).expect("a hash");
    let with_pin = |name: &str, field: &str| {
        let lines = (0..10).flat_map(|user| token(user).hashed_pin(PIN, field).line());
        Scope::new(name).text(lines.collect::<Vec<u8>>()).set(Setting::MaxLinger, 86_400)
    };
    let password = token(LINGERING).password(0);
    let kind = quiet_nginx(1)
        .file("plain", format!("user{LINGERING}:{{PLAIN}}{password}\n"))
        .file("pins", format!("user{LINGERING}:{bcrypt}\n"));
    let mut scopes: Vec<Scope> = sizes().iter().map(|(name, count)| scope(name, *count)).collect();
    scopes.extend([
        Scope::bare("open"),
        session_scope("nginx"),
        with_pin("bcrypt", &bcrypt),
        with_pin("pin-file", "+").directives("auth_otp_pin_file \"{root}/pins\";"),
        Scope::bare("auth-basic")
            .directives("auth_basic bench;\nauth_basic_user_file \"{root}/plain\";"),
    ]);
    let bench = Bench::start("nginx", kind, scopes);
    bench.common_rows(report);
    let (ours, own) = (bench.lingering("ten"), bench.basic("auth-basic", LINGERING, &password));
    bench.compare(
        report,
        "lingering code / auth_basic with {PLAIN}",
        Wanted::AtLeast(1.4),
        &ours,
        &own,
    );
    let many = bench.lingering("hundred-thousand");
    bench.compare(
        report,
        "lingering code, 100,000 users / 10 users",
        Wanted::AtLeast(0.9),
        &many,
        &ours,
    );
    lines.extend(bench.lines(&sizes()));
    bench.stop();
    memory(report, "nginx", || quiet_nginx(4));
}

/// Another module of the same directives.
fn peer(report: &mut Report, lines: &mut Vec<plot::Series>, module: &std::path::Path) {
    let sizes = [("ten", 10), ("thousand", 1_000), ("ten-thousand", 10_000)];
    let mut scopes: Vec<Scope> = sizes.iter().map(|(name, count)| scope(name, *count)).collect();
    scopes.push(Scope::bare("open").directives("Require all granted"));
    let bench = Bench::start("peer", quiet_httpd().with_module(module), scopes);
    bench.server.tolerate_log("authn_otp");
    let (open, ten) = (bench.open(), bench.lingering("ten"));
    bench.compare(
        report,
        "lingering code, 10 users / no authentication",
        Wanted::Nothing,
        &ten,
        &open,
    );
    let many = bench.lingering("ten-thousand");
    bench.compare(report, "lingering code, 10,000 users / 10 users", Wanted::Nothing, &many, &ten);
    let rounds = bench.rounds(|| bench.log_in("ten-thousand", 8), || bench.log_in("ten", 8));
    report.add_ratio("peer", "fresh logins, 10,000 users / 10 users", Wanted::Nothing, &rounds);
    lines.extend(bench.lines(&sizes));
    bench.stop();
}

// ---- Cases ---------------------------------------------------------------------------------------------

/// A path of the server under test.
#[derive(Clone)]
struct Target {
    path: String,
    /// What to ask for it with.
    header: Option<String>,
    status: u16,
}

struct Bench {
    name: &'static str,
    server: Server,
    /// How many users each scope has.
    counts: HashMap<String, usize>,
    /// The next counters of users who have logged in, by scope.
    counters: Mutex<HashMap<(String, usize), u64>>,
}

fn code_of_first_login() -> String {
    token(LINGERING).password(0)
}

impl Bench {
    fn start(name: &'static str, kind: impl Kind + 'static, scopes: Vec<Scope>) -> Bench {
        let count = |scope: &Scope| scope.users.iter().filter(|&&byte| byte == b'\n').count();
        let counts = scopes.iter().map(|scope| (scope.name.clone(), count(scope))).collect();
        Bench { name, server: Server::start(kind, scopes), counts, counters: Mutex::default() }
    }

    fn stop(self) {
        // Millions of lines that nobody wants to search for secrets.
        std::fs::write(self.server.root().join("logs/access.log"), "").expect("the access log");
    }

    fn basic(&self, scope: &str, user: usize, password: &str) -> Target {
        let authorization = common::client::basic(format!("user{user}"), password);
        Target {
            path: format!("/{scope}/page.txt"),
            header: Some(format!("Authorization: {authorization}")),
            status: 200,
        }
    }

    fn open(&self) -> Target {
        Target { path: "/open/page.txt".into(), header: None, status: 200 }
    }

    fn unknown(&self, scope: &str) -> Target {
        Target { status: 401, ..self.basic(scope, usize::MAX, "1234123456") }
    }

    /// Logs in, so that the code lingers, or the cookie that it gives.
    fn lingering(&self, scope: &str) -> Target {
        let key = (scope.to_owned(), self.own_user(scope));
        let counter = {
            let mut counters = self.counters.lock().expect("no panic inside");
            let next = counters.entry(key.clone()).or_default();
            *next += 1;
            *next - 1
        };
        let password = token(key.1).password(counter);
        let target = self.basic(scope, key.1, &password);
        let request = Request::get(&target.path).basic(format!("user{}", key.1), password);
        let answer = self.server.send(&request).0;
        assert_eq!(answer.status, 200, "{scope}");
        match answer.header("Set-Cookie") {
            Some(_) => Target { header: Some(format!("Cookie: {}", cookie_of(&answer))), ..target },
            None => target,
        }
    }

    /// The user of a scope whose code lingers: one whom [`Bench::log_in`] leaves alone, if there
    /// are others.
    fn own_user(&self, scope: &str) -> usize {
        if scope == "one" { 0 } else { LINGERING }
    }

    /// Answers a challenge. Without AuthDigestNcCheck the same answer does for the nonce's
    /// lifetime.
    fn digest(&self, scope: &str, password: &str) -> Target {
        let (server, path, user) =
            (&self.server, format!("/{scope}/page.txt"), format!("user{LINGERING}"));
        let challenge = server.send(&Request::get(&path));
        let challenge = challenge.0.header("WWW-Authenticate").expect("a challenge");
        let nonce = challenge
            .split("nonce=\"")
            .nth(1)
            .and_then(|rest| rest.split('"').next())
            .expect("a nonce");
        let hash = |text: String| HEXLOWER.encode(&Md5::digest(text.as_bytes()));
        let ha1 = hash(format!("{user}:bench:{password}"));
        let ha2 = hash(format!("GET:{path}"));
        let response = hash(format!("{ha1}:{nonce}:00000001:c:auth:{ha2}"));
        let header = format!(
            "Digest username=\"{user}\", realm=\"bench\", nonce=\"{nonce}\", uri=\"{path}\", algorithm=MD5, \
             qop=auth, nc=00000001, cnonce=\"c\", response=\"{response}\""
        );
        assert_eq!(
            server.send(&Request::get(&path).header("Authorization", &header)).status(),
            200
        );
        let header = Some(format!("Authorization: {header}"));
        Target { path, header, status: 200 }
    }

    /// What both servers have to show.
    fn common_rows(&self, report: &mut Report) {
        let begun = Instant::now();
        let most = self.lingering("most");
        report.add(Row {
            server: self.name,
            name: format!("the login that gives {} lines their slots", most_users()),
            unit: "s",
            value: begun.elapsed().as_secs_f64(),
            spread: None,
            wanted: Wanted::Nothing,
            cpu: None,
        });
        let (open, ten) = (self.open(), self.lingering("ten"));
        let least = Wanted::AtLeast(0.95);
        self.compare(report, "lingering code, 10 users / no authentication", least, &ten, &open);
        self.session(report, &open, &ten);
        let name = format!("lingering code, {} users / 10 users", most_users());
        self.compare(report, &name, least, &most, &ten);
        let bcrypt = self.lingering("bcrypt");
        self.compare(report, "lingering code, bcrypt PIN / literal PIN", least, &bcrypt, &ten);
        let elsewhere = self.lingering("pin-file");
        self.compare(
            report,
            "lingering code, bcrypt PIN in a PIN file / literal PIN",
            least,
            &elsewhere,
            &ten,
        );
        let rounds = self.rounds(|| self.log_in("hundred-thousand", 8), || self.log_in("ten", 8));
        report.add_ratio(
            self.name,
            "fresh logins, 100,000 users / 10 users",
            Wanted::AtLeast(0.8),
            &rounds,
        );
        let unknown = self.unknown("hundred-thousand");
        let rounds = self.rounds(
            || self.while_others_log_in("hundred-thousand", || self.measure(&unknown)),
            || self.measure(&unknown),
        );
        let name = "unknown user, 100,000 users, while another process logs users in / idle";
        report.add_ratio(self.name, name, Wanted::AtLeast(0.8), &rounds);
    }

    /// What a cookie costs above a code that lingers, in requests to an open page. The difference is
    /// small, so many short runs take turns, over one connection.
    fn session(&self, report: &mut Report, open: &Target, lingering: &Target) {
        const RUNS: usize = 100;
        const REQUESTS: usize = 200;
        let session = self.lingering("session");
        assert!(session.header.as_deref().is_some_and(|it| it.starts_with("Cookie")));
        let mut connection = Connection::open(self.server.port()).expect("a connection");
        let mut run = |target: &Target| {
            let (name, value) = target
                .header
                .as_deref()
                .and_then(|it| it.split_once(": "))
                .unwrap_or(("X-None", "-"));
            let request = Request::get(&target.path).header(name, value);
            let before = self.cpu_nanoseconds();
            for _ in 0..REQUESTS {
                let answer = connection.send(&request, true).expect("an answer");
                assert_eq!(answer.status, 200, "{}", target.path);
                if answer.header("Connection").is_some_and(|it| it.eq_ignore_ascii_case("close")) {
                    connection = Connection::open(self.server.port()).expect("a connection");
                }
            }
            self.cpu_nanoseconds() - before
        };
        let round = |_| {
            let [open, lingering, session] = [open, lingering, &session].map(&mut run);
            (session - lingering) / open
        };
        let mut values: Vec<f64> = (0..RUNS).map(round).collect();
        let value = median(&mut values);
        report.add(Row {
            server: self.name,
            name: "a session above a lingering code, CPU time".to_owned(),
            unit: "requests without authentication",
            value,
            // The middle half.
            spread: Some((values[RUNS / 4], values[RUNS * 3 / 4])),
            wanted: Wanted::AtMost(0.03),
            cpu: None,
        });
    }

    /// Interleaved: the baseline first, each time.
    fn rounds(
        &self,
        target: impl Fn() -> Measured,
        baseline: impl Fn() -> Measured,
    ) -> Vec<(Measured, Measured)> {
        let round = |_| {
            let baseline = baseline();
            (target(), baseline)
        };
        (0..from_environment("OTPGATE_BENCH_ROUNDS", 5)).map(round).collect()
    }

    fn compare(
        &self,
        report: &mut Report,
        name: &str,
        wanted: Wanted,
        target: &Target,
        baseline: &Target,
    ) {
        let rounds = self.rounds(|| self.measure(target), || self.measure(baseline));
        report.add_ratio(self.name, name, wanted, &rounds);
    }

    /// Cost against the number of users.
    fn lines(&self, sizes: &[(&str, usize)]) -> Vec<plot::Series> {
        let rounds = from_environment("OTPGATE_BENCH_ROUNDS", 5);
        let cost = |run: &dyn Fn() -> Measured| {
            median(&mut (0..rounds).map(|_| run().cpu).collect::<Vec<f64>>())
        };
        let mut series: Vec<plot::Series> = ["fresh login", "lingering code", "unknown user"]
            .map(|what| plot::Series { name: format!("{}, {what}", self.name), points: Vec::new() })
            .into();
        for &(scope, count) in
            sizes.iter().filter(|(name, _)| *name != "ten" || self.name == "peer")
        {
            let (lingering, unknown) = (self.lingering(scope), self.unknown(scope));
            let costs = [
                cost(&|| self.measure(&lingering)),
                cost(&|| self.measure(&unknown)),
                // Last, because the only user of a file doesn't linger any more.
                cost(&|| self.log_in(scope, 8)),
            ];
            for (series, cost) in series.iter_mut().zip([costs[2], costs[0], costs[1]]) {
                series.points.push((count as f64, cost));
            }
        }
        series
    }

    fn measure(&self, target: &Target) -> Measured {
        let seconds = from_environment("OTPGATE_BENCH_SECONDS", 2);
        let mut command = Command::new(WRK);
        command.args(["-t1", "-c8", &format!("-d{seconds}s")]);
        // As whoever has got the cookie, which is good for one host.
        command.args(["-H", "Host: localhost"]);
        if let Some(header) = &target.header {
            command.arg("-H").arg(header);
        }
        let before = self.cpu_microseconds();
        let url = format!("http://127.0.0.1:{}{}", self.server.port(), target.path);
        let output = command.arg(url).output().expect("wrk runs");
        let cpu = self.cpu_microseconds() - before;
        let text = String::from_utf8_lossy(&output.stdout);
        assert_eq!(text.contains("Non-2xx"), target.status != 200, "{}: {text}", target.path);
        let field = |name: &str| -> f64 {
            let line =
                text.lines().find(|line| line.contains(name)).unwrap_or_else(|| panic!("{text}"));
            let number = line.split_whitespace().find_map(|word| word.parse().ok());
            number.unwrap_or_else(|| panic!("no number in {line}"))
        };
        Measured { rate: field("Requests/sec"), cpu: cpu / field("requests in") }
    }

    /// So many clients log users in with fresh codes, each over one connection and with users of
    /// its own.
    fn log_in(&self, scope: &str, clients: usize) -> Measured {
        let duration = Duration::from_secs(from_environment("OTPGATE_BENCH_SECONDS", 2) as u64);
        let count = self.counts[scope];
        // All but the one whose code lingers, where there are others.
        let others = if count == 1 { 1 } else { count - 1 };
        let clients = clients.min(others);
        let done = AtomicUsize::new(0);
        let begun = Instant::now();
        let before = self.cpu_microseconds();
        std::thread::scope(|threads| {
            for client in 0..clients {
                let done = &done;
                threads.spawn(move || {
                    // Spread over the whole file, in steps that visit every user of this client's.
                    let own = (others - client).div_ceil(clients);
                    let users = (0..).map(|i| client + (i * 7919) % own * clients);
                    let mut connection =
                        Connection::open(self.server.port()).expect("a connection");
                    for user in users.map(|i| if count == 1 || i < LINGERING { i } else { i + 1 }) {
                        if begun.elapsed() >= duration {
                            return;
                        }
                        self.log_in_one(scope, user, &mut connection);
                        done.fetch_add(1, Ordering::Relaxed);
                    }
                });
            }
        });
        let (seconds, done) = (begun.elapsed().as_secs_f64(), done.load(Ordering::Relaxed) as f64);
        Measured { rate: done / seconds, cpu: (self.cpu_microseconds() - before) / done }
    }

    fn log_in_one(&self, scope: &str, user: usize, connection: &mut Connection) {
        let counter = {
            let mut counters = self.counters.lock().expect("no panic inside");
            let next = counters.entry((scope.to_owned(), user)).or_default();
            *next += 1;
            *next - 1
        };
        let request = Request::get(format!("/{scope}/page.txt"))
            .basic(format!("user{user}"), token(user).password(counter));
        let answer = connection.send(&request, true).expect("an answer");
        assert_eq!(answer.status, 200, "{scope}, user{user}, code {counter}");
        // Servers end connections now and then.
        if answer.header("Connection").is_some_and(|value| value.eq_ignore_ascii_case("close")) {
            *connection = Connection::open(self.server.port()).expect("a connection");
        }
    }

    /// Meanwhile this process uses the same users file, as another server would.
    fn while_others_log_in<R>(&self, scope: &str, run: impl FnOnce() -> R) -> R {
        let gate = gate_to(self.server.at(scope).users().path());
        let over = AtomicBool::new(false);
        std::thread::scope(|threads| {
            threads.spawn(|| {
                let mut user = 90_000;
                while !over.load(Ordering::Relaxed) {
                    let key = (scope.to_owned(), user);
                    let counter = *self
                        .counters
                        .lock()
                        .expect("no panic inside")
                        .entry(key.clone())
                        .or_default();
                    let word = decide(&gate, user, &token(user).password(counter));
                    assert_eq!(word, "granted-fresh", "user{user}");
                    self.counters.lock().expect("no panic inside").insert(key, counter + 1);
                    user = 90_000 + (user + 1) % 10_000;
                }
            });
            let result = run();
            over.store(true, Ordering::Relaxed);
            result
        })
    }

    /// User and system time of all the server's processes so far.
    fn cpu_microseconds(&self) -> f64 {
        let ticks = |pid: &u32| -> f64 {
            let fields = stat_fields(*pid);
            fields
                .get(11..13)
                .map_or(0.0, |times| times.iter().filter_map(|time| time.parse::<f64>().ok()).sum())
        };
        // Linux shows hundredths of a second, whatever it counts in.
        self.server.children().iter().map(ticks).sum::<f64>() * 10_000.0
    }

    /// The same of all their threads, as the scheduler counts it.
    fn cpu_nanoseconds(&self) -> f64 {
        let of_thread = |task: String| -> f64 {
            let text = std::fs::read_to_string(task + "/schedstat").unwrap_or_default();
            text.split(' ').next().and_then(|time| time.parse().ok()).unwrap_or_default()
        };
        self.server.children().into_iter().flat_map(threads_of).map(of_thread).sum()
    }

    /// `httpd -t` or `nginx -t` on the very configuration that runs.
    fn configuration_test(&self, report: &mut Report, kind: &impl Kind) {
        let mut command = kind.command(self.server.root());
        command.push("-t".to_owned());
        let mut seconds = Vec::new();
        let mut cpu = Vec::new();
        for _ in 0..from_environment("OTPGATE_BENCH_ROUNDS", 5) {
            let (begun, cpu_before) = (Instant::now(), cpu_of_ended_children());
            let output = Command::new(&command[0]).args(&command[1..]).output().expect("it runs");
            assert!(output.status.success(), "{output:?}");
            seconds.push(begun.elapsed().as_secs_f64());
            cpu.push(cpu_of_ended_children() - cpu_before);
        }
        for (what, mut values) in [("", seconds), (", CPU time", cpu)] {
            let value = median(&mut values);
            report.add(Row {
                server: self.name,
                name: format!("configuration test, {} users{what}", most_users()),
                unit: "s",
                value,
                spread: Some((values[0], values[values.len() - 1])),
                wanted: Wanted::AtMost(1.0),
                cpu: None,
            });
        }
    }
}

/// Seconds of user and system time.
fn cpu_of_ended_children() -> f64 {
    let fields = stat_fields(std::process::id());
    fields[13..15].iter().filter_map(|time| time.parse::<f64>().ok()).sum::<f64>() / 100.0
}

/// What stands in /proc/PID/stat behind the name, which may hold anything: from the state on.
fn stat_fields(pid: u32) -> Vec<String> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(") ").next().unwrap_or_default().split_whitespace().map(str::to_owned).collect()
}

// ---- Memory --------------------------------------------------------------------------------------------

/// What the largest file takes in all processes together: shares of pages that several have are
/// counted as such, and the index beside the file as a whole.
fn memory<K: Kind + 'static>(report: &mut Report, name: &'static str, kind: impl Fn() -> K) {
    let resident = |count: usize, report: Option<&mut Report>| {
        let bench = Bench::start(name, kind(), vec![scope("area", count)]);
        // So many connections that all processes are there and have looked into the file.
        let targets = [bench.lingering("area"), bench.unknown("area")];
        let mut processes = 0;
        for target in targets.iter().cycle().take(6) {
            let url = format!("http://127.0.0.1:{}{}", bench.server.port(), target.path);
            let header = target.header.as_deref().expect("there is one");
            let wrk = Command::new(WRK)
                .args(["-t1", "-c200", "-d1s", "-H", header, &url])
                .stdout(Stdio::null())
                .status();
            assert!(wrk.expect("wrk runs").success());
            processes = processes.max(bench.server.children().len());
        }
        let children = bench.server.children();
        let parent =
            stat_fields(children[0]).get(1).and_then(|pid| pid.parse().ok()).expect("a parent");
        let shares = children.iter().copied().chain([parent]).map(proportional_share);
        let index = bench.server.at("area").users().path().with_extension("index");
        let total =
            shares.sum::<f64>() + std::fs::metadata(index).map_or(0.0, |file| file.len() as f64);
        // With all slots in place, there is the most to read.
        if let Some(report) = report {
            bench.configuration_test(report, &kind());
        }
        bench.stop();
        (total / f64::from(1 << 20), processes + 1)
    };
    let (few, _) = resident(10, None);
    let (many, processes) = resident(most_users(), Some(&mut *report));
    report.add(Row {
        server: name,
        name: format!("memory for {} users, {processes} processes, index included", most_users()),
        unit: "MiB",
        value: many - few,
        spread: None,
        wanted: Wanted::AtMost(64.0),
        cpu: None,
    });
}

/// Bytes.
fn proportional_share(pid: u32) -> f64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))
        .expect("a process of the server's");
    let line = text.lines().find(|line| line.starts_with("Pss:")).expect("its share");
    let kilobytes: f64 =
        line.split_whitespace().nth(1).and_then(|number| number.parse().ok()).expect("a number");
    kilobytes * 1024.0
}

// ---- Syncs ---------------------------------------------------------------------------------------------

/// System calls that sync, per fresh login.
fn syncs(report: &mut Report, name: &'static str, kind: impl Kind + 'static) {
    let bench = Bench::start(name, kind, vec![scope("thousand", 1_000)]);
    bench.log_in("thousand", 1);
    // nginx tells when strace takes hold of it.
    bench.server.tolerate_log("epoll_wait() failed (4: Interrupted system call)");
    for (clients, most) in [(1, 2.0), (32, 0.5)] {
        let log = bench.server.root().join("strace");
        let mut command = Command::new(STRACE);
        command
            .args([
                "-f",
                "-q",
                "-e",
                "trace=fsync,fdatasync,sync_file_range,msync,syncfs,sync",
                "-o",
            ])
            .arg(&log);
        let threads: Vec<String> =
            bench.server.children().into_iter().flat_map(threads_of).collect();
        for pid in bench.server.children() {
            command.args(["-p", &pid.to_string()]);
        }
        let mut strace = command.stderr(Stdio::null()).spawn().expect("strace runs");
        common::wait_until("strace has seized all threads", || {
            threads.iter().all(|thread| is_traced(thread))
        });
        let logins = AtomicUsize::new(0);
        let per_client = 640 / clients;
        std::thread::scope(|scope| {
            for client in 0..clients {
                let (bench, logins) = (&bench, &logins);
                scope.spawn(move || {
                    let mut connection =
                        Connection::open(bench.server.port()).expect("a connection");
                    for i in 0..per_client {
                        bench.log_in_one("thousand", 10 + client + 32 * (i % 30), &mut connection);
                        logins.fetch_add(1, Ordering::Relaxed);
                    }
                });
            }
        });
        let pid = rustix::process::Pid::from_child(&strace);
        rustix::process::kill_process(pid, rustix::process::Signal::INT).expect("strace runs");
        strace.wait().expect("our own child");
        let calls = std::fs::read_to_string(&log).expect("what strace saw");
        // A call that another thread's interrupts is shown twice.
        let calls = calls
            .lines()
            .filter(|line| line.contains("sync") && !line.contains("resumed>"))
            .count();
        report.add(Row {
            server: name,
            name: format!(
                "system calls that sync, per fresh login, {clients} clients, one process"
            ),
            unit: "",
            value: calls as f64 / logins.load(Ordering::Relaxed) as f64,
            spread: None,
            wanted: Wanted::AtMost(most),
            cpu: None,
        });
    }
    bench.stop();
}

fn threads_of(pid: u32) -> Vec<String> {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).expect("a process of the server's");
    tasks.flatten().map(|task| task.path().to_string_lossy().into_owned()).collect()
}

fn is_traced(task: &str) -> bool {
    let status = std::fs::read_to_string(format!("{task}/status")).unwrap_or_default();
    status.lines().any(|line| line.starts_with("TracerPid:") && !line.ends_with("\t0"))
}

// ---- Instructions --------------------------------------------------------------------------------------

/// What the library executes for a request with a lingering code: the difference between two runs
/// of ourselves. The machine that valgrind shows has no instructions for SHA; a real one that has
/// them executes fewer.
fn instructions(report: &mut Report) {
    let run = |entry: &str, count: usize| -> f64 {
        let output = Command::new(VALGRIND)
            .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
            .arg(std::env::current_exe().expect("our own program"))
            .args(["--drive", entry, &count.to_string()])
            .output()
            .expect("valgrind runs");
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{text}");
        let line = text.lines().find(|line| line.contains("Collected :")).expect("a number");
        line.rsplit(' ').next().and_then(|number| number.parse().ok()).expect("a number")
    };
    for (entry, what) in [("basic", "as httpd asks"), ("basic_now", "as nginx asks")] {
        report.add(Row {
            server: "gate",
            name: format!("instructions per request with a lingering code, {what}"),
            unit: "",
            value: (run(entry, 3_000) - run(entry, 1_000)) / 2_000.0,
            spread: None,
            wanted: Wanted::Nothing,
            cpu: None,
        });
    }
}

struct Nothing;

impl PinSource for Nothing {
    fn identity(&self) -> Vec<u8> {
        Vec::new()
    }
    fn check(&self, _: &[u8], _: &[u8]) -> PinAnswer {
        PinAnswer::NoSource
    }
}

impl Log for Nothing {
    fn log(&self, _: Level, message: std::fmt::Arguments<'_>) {
        std::hint::black_box(message);
    }
}

fn gate_to(path: &std::path::Path) -> Gate<UsersFile> {
    Gate::new(UsersFile::new(path), || common::codes::now() as i64).expect("random bytes")
}

fn decide(gate: &Gate<UsersFile>, user: usize, password: &str) -> &'static str {
    let name = format!("user{user}");
    let login =
        Login { user: name.as_bytes(), password: password.as_bytes(), address: Address::Unknown };
    let policy = Settings::default().policy(ServerKind::Apache);
    gate.basic(&policy, &login, &Nothing, None, &Nothing).word.as_str()
}

fn drive_lingering(entry: &str, count: usize) {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("users");
    std::fs::write(&path, users(10)).expect("a users file");
    let gate = gate_to(&path);
    assert_eq!(decide(&gate, LINGERING, &code_of_first_login()), "granted-fresh");
    // Reads the file as that has left it.
    assert_eq!(decide(&gate, LINGERING, &code_of_first_login()), "granted-reuse");
    let policy = Settings::default().policy(ServerKind::Apache);
    let (user, password) = (format!("user{LINGERING}"), code_of_first_login());
    let address = Address::of_client(Some("192.0.2.7".parse().expect("an address")));
    for turn in 0..count {
        // As if each request came in a turn of nginx's event loop of its own.
        let moment = NonZeroU64::new(turn as u64 + 1);
        let login = Login {
            user: user.as_bytes(),
            password: password.as_bytes(),
            address: address.clone(),
        };
        let word = match entry {
            "basic" => gate.basic(&policy, &login, &Nothing, None, &Nothing).word,
            _ => {
                gate.basic_now(&policy, &login, &Nothing, moment, None, &Nothing)
                    .expect("decided at once")
                    .word
            }
        };
        assert_eq!(word.as_str(), "granted-reuse");
    }
}
