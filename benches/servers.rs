//! Requests per second of real servers with otpgate, as ratios to the same server without it.
//!
//! Machines are noisy, so every case is measured right after its baseline, several times over; what counts is the
//! median of the ratios. Beside it stands the ratio of CPU time per request, which other load disturbs less.
//!
//! `make bench` runs this and writes build/bench.json. OTPGATE_BENCH_ROUNDS (default 5) and
//! OTPGATE_BENCH_SECONDS (default 2) say how long.

#[path = "../tests/common/mod.rs"]
mod common;

use std::fmt::Write as _;
use std::process::Command;

use common::{Httpd, Request, Scope, Server, Setting, Token, from_environment, require};
use data_encoding::HEXLOWER;
use md5::{Digest, Md5};

const WRK: &str = "/usr/bin/wrk";

/// A path of the server under test and the header to ask for it with.
struct Target {
    path: String,
    authorization: Option<String>,
}

struct Case {
    name: &'static str,
    at_least: f64,
    target: Target,
    baseline: Target,
}

fn main() {
    require(WRK);
    // Cargo calls benches with `--bench`; anything else (a list of tests, say) is not for us.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    let server = start();
    let basic = |scope: &str| Target {
        path: format!("/{scope}/page.txt"),
        authorization: Some(lingering(&server, scope)),
    };
    let digest = |scope: &str, password: &str| Target {
        path: format!("/{scope}/page.txt"),
        authorization: Some(digest(&server, scope, password)),
    };
    let open = || Target { path: "/open/page.txt".into(), authorization: None };
    let cases = [
        Case {
            name: "Basic, lingering code, 10 users / no authentication",
            at_least: 0.9,
            target: basic("ten"),
            baseline: open(),
        },
        Case {
            name: "Basic, lingering code, 10,000 users / 10 users",
            at_least: 0.9,
            target: basic("ten-thousand"),
            baseline: basic("ten"),
        },
        Case {
            name: "Digest, lingering code / Digest of mod_authn_file",
            at_least: 0.85,
            target: digest("digest", "1234755224"),
            baseline: digest("digest-file", "secret"),
        },
    ];
    let rounds = from_environment("OTPGATE_BENCH_ROUNDS", 5);
    let mut report = String::new();
    for case in &cases {
        let mut speeds = Vec::new();
        let mut costs = Vec::new();
        for _ in 0..rounds {
            let baseline = measure(&server, &case.baseline);
            let target = measure(&server, &case.target);
            speeds.push(target.per_second / baseline.per_second);
            costs.push(target.cpu_per_request / baseline.cpu_per_request);
        }
        let (speed, cost) = (median(&mut speeds), median(&mut costs));
        println!(
            "{:<55} requests/s {speed:.3} (wanted: {}; {:.3} to {:.3})   CPU time/request {cost:.3}",
            case.name,
            case.at_least,
            speeds[0],
            speeds[speeds.len() - 1]
        );
        let separator = if report.is_empty() { "" } else { ",\n" };
        write!(
            report,
            "{separator}  {{\"name\": \"{}\", \"requests_per_second\": {speed:.4}, \"at_least\": {}, \"cpu_per_request\": {cost:.4}}}",
            case.name, case.at_least
        )
        .expect("writing to memory");
    }
    let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/build");
    std::fs::create_dir_all(directory).expect("build/ can be made");
    std::fs::write(format!("{directory}/bench.json"), format!("[\n{report}\n]\n")).expect("build/bench.json");
}

fn start() -> Server {
    let users = |count: usize| {
        let mut scope = Scope::new("").set(Setting::MaxLinger, 86_400);
        for i in 0..count {
            scope = scope.text(Token::hotp(format!("user{i}")).pin("1234").line());
        }
        scope
    };
    let named = |name: &str, scope: Scope| Scope { name: name.into(), ..scope };
    let hash = HEXLOWER.encode(&Md5::digest(b"user5:bench:secret"));
    // As distributions configure it, not as tests watch it.
    let httpd = Httpd::event()
        .module("auth_digest")
        .directives("LogLevel warn authn_otp:warn")
        .file("digest-users", format!("user5:bench:{hash}\n"));
    let digest = "AuthType Digest\nAuthName bench\nRequire valid-user\n";
    Server::start(
        httpd,
        vec![
            Scope::bare("open").directives("Require all granted"),
            named("ten", users(10)),
            named("ten-thousand", users(10_000)),
            Scope { name: "digest".into(), bare: true, ..users(10) }.directives(&format!(
                "{digest}AuthDigestProvider OTP\nOTPAuthUsersFile {{users}}\nOTPAuthMaxLinger 86400"
            )),
            Scope::bare("digest-file")
                .directives(&format!("{digest}AuthDigestProvider file\nAuthUserFile {{root}}/digest-users")),
        ],
    )
}

/// Logs in once, so that the code lingers.
fn lingering(server: &Server, scope: &str) -> String {
    let password = "1234755224";
    let request = Request::get(format!("/{scope}/page.txt")).basic("user5", password);
    assert_eq!(server.send(&request).status(), 200);
    let pair = data_encoding::BASE64.encode(format!("user5:{password}").as_bytes());
    format!("Basic {pair}")
}

/// Answers a challenge. Without AuthDigestNcCheck the same answer does for the nonce's lifetime.
fn digest(server: &Server, scope: &str, password: &str) -> String {
    let path = format!("/{scope}/page.txt");
    let challenge = server.send(&Request::get(&path));
    let challenge = challenge.0.header("WWW-Authenticate").expect("a challenge");
    let nonce = challenge.split("nonce=\"").nth(1).and_then(|rest| rest.split('"').next()).expect("a nonce");
    let hash = |text: String| HEXLOWER.encode(&Md5::digest(text.as_bytes()));
    let ha1 = hash(format!("user5:bench:{password}"));
    let ha2 = hash(format!("GET:{path}"));
    let response = hash(format!("{ha1}:{nonce}:00000001:c:auth:{ha2}"));
    let header = format!(
        "Digest username=\"user5\", realm=\"bench\", nonce=\"{nonce}\", uri=\"{path}\", algorithm=MD5, \
         qop=auth, nc=00000001, cnonce=\"c\", response=\"{response}\""
    );
    assert_eq!(server.send(&Request::get(&path).header("Authorization", &header)).status(), 200);
    header
}

struct Measured {
    per_second: f64,
    cpu_per_request: f64,
}

fn measure(server: &Server, target: &Target) -> Measured {
    let seconds = from_environment("OTPGATE_BENCH_SECONDS", 2);
    let mut command = Command::new(WRK);
    command.args(["-t1", "-c8", &format!("-d{seconds}s")]);
    if let Some(authorization) = &target.authorization {
        command.arg("-H").arg(format!("Authorization: {authorization}"));
    }
    let before = cpu_ticks(server);
    let output =
        command.arg(format!("http://127.0.0.1:{}{}", server.port(), target.path)).output().expect("wrk runs");
    let cpu = cpu_ticks(server) - before;
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(!text.contains("Non-2xx"), "{}: {text}", target.path);
    let field = |name: &str| -> f64 {
        let line = text.lines().find(|line| line.contains(name)).unwrap_or_else(|| panic!("{text}"));
        let number = line.split_whitespace().find_map(|word| word.parse().ok());
        number.unwrap_or_else(|| panic!("no number in {line}"))
    };
    Measured { per_second: field("Requests/sec"), cpu_per_request: cpu / field("requests in") }
}

/// User and system time of all the server's processes so far, in clock ticks.
fn cpu_ticks(server: &Server) -> f64 {
    let ticks = |pid: &u32| -> f64 {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        // The name in parentheses may hold anything; fields 14 and 15 are counted from after it.
        let fields: Vec<&str> = stat.rsplit(") ").next().unwrap_or_default().split_whitespace().collect();
        fields.get(11..13).map_or(0.0, |times| times.iter().filter_map(|time| time.parse::<f64>().ok()).sum())
    };
    server.children().iter().map(ticks).sum()
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
