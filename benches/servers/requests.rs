//! What a request with a lingering code adds to a whole server: instructions as callgrind counts
//! them, system calls as strace does. One process, one kept connection; the difference between many
//! requests and few, less that of an open page. The server's own password check stands beside it.
//!
//! These figures hardly depend on the machine's load, so they are compared with those in
//! benches/requests.txt, as long as compiler and server are the same. The machine that valgrind
//! shows has no instructions for SHA.

use std::collections::BTreeMap;
use std::fs;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use data_encoding::BASE64;
use rustix::process::{Pid, Signal, kill_process};
use sha1::{Digest, Sha1};

use crate::common::daemon::Daemon;
use crate::common::root::{self, Root, SERVER_ACCOUNT};
use crate::common::server::{self, Kind, Ports};
use crate::common::{
    Connection, Httpd, Mpm, Nginx, Request, Scope, Setting, is_root, require, wait_until,
};
use crate::report::{Report, Row, Wanted};
use crate::{LINGERING, STRACE, VALGRIND, code_of_first_login, cookie_of, scope, session_scope};

const FEW: usize = 200;
const MANY: usize = 1400;
const FURNISHED: &str =
    "a lingering code, with passwords of programs, trusted networks and required users set";
/// How much more than recorded is taken for noise; and what a whole request with those settings may
/// cost, to one without.
const TOLERANCE: f64 = 1.02;

/// A server that is one process, and does all in it.
struct Single {
    name: &'static str,
    start: fn(under: Vec<String>) -> Box<dyn Kind>,
    configuration: &'static str,
    /// How its own password check is asked for, in a scope of its own.
    own: &'static str,
    version: [&'static str; 2],
}

const SERVERS: [Single; 2] = [
    Single {
        name: "httpd",
        start: |under| {
            let httpd = Httpd::new(Mpm::Prefork).directives("LogLevel warn authn_otp:warn");
            Box::new(httpd.options(&["-X"]).file("own", own_passwords(&sha())).under(under))
        },
        configuration: "httpd.conf",
        own: "AuthType Basic\nAuthName own\nAuthBasicProvider file\nAuthUserFile \"{root}/own\"\nRequire valid-user",
        version: ["/usr/sbin/apache2", "-v"],
    },
    Single {
        name: "nginx",
        start: |under| {
            let nginx = Nginx::one().main("master_process off;").error_level("warn");
            let nginx =
                nginx.server_directives("access_log off;").file("own", own_passwords(&plain()));
            Box::new(nginx.under(under))
        },
        configuration: "nginx.conf",
        own: "auth_basic own;\nauth_basic_user_file \"{root}/own\";",
        version: ["/usr/sbin/nginx", "-v"],
    },
];

/// A password file with the cheapest form that a server takes.
fn own_passwords(form: &str) -> String {
    format!("user{LINGERING}:{form}\n")
}

fn sha() -> String {
    format!("{{SHA}}{}", BASE64.encode(&Sha1::digest(code_of_first_login().as_bytes())))
}

fn plain() -> String {
    format!("{{PLAIN}}{}", code_of_first_login())
}

/// By which tests watch a server, and what it would do for them is no cost of ours.
const WATCHING: [&str; 9] = [
    "Header ",
    "RemoteIP",
    "CustomLog ",
    "LogFormat ",
    "add_header ",
    "set_real_ip_from ",
    "real_ip_header ",
    "log_format ",
    "access_log \"",
];

/// What is asked for, and by whom.
#[derive(Clone, Copy)]
enum Page {
    Open,
    Lingering,
    /// The same where settings look at each request's user and address.
    Furnished,
    /// By the cookie that a login has set, and nothing else.
    Session,
    Own,
}

/// Who counts, and what.
#[derive(Clone, Copy)]
enum Counter {
    Instructions,
    SystemCalls,
}

impl Counter {
    /// The command that counts, and the file it writes.
    fn command(self, root: &Root) -> (Vec<String>, PathBuf) {
        let file = root.join("logs/counted");
        let path = file.display();
        let words = match self {
            Counter::Instructions => {
                format!("{VALGRIND} --tool=callgrind --callgrind-out-file={path}")
            }
            Counter::SystemCalls => format!("{STRACE} -f -c -o {path}"),
        };
        (words.split(' ').map(str::to_owned).collect(), file)
    }

    fn read(self, text: &str) -> f64 {
        let number = match self {
            // "summary: 123"
            Counter::Instructions => {
                text.lines().find_map(|line| line.strip_prefix("summary:")?.trim().parse().ok())
            }
            // "100.00    0.000123           1       123        45 total"
            Counter::SystemCalls => text
                .lines()
                .find(|line| line.ends_with(" total"))
                .and_then(|line| line.split_whitespace().nth(3)?.parse().ok()),
        };
        number.unwrap_or_else(|| panic!("nothing was counted:\n{text}"))
    }
}

/// What a server counts in all for so many requests after one login.
fn count(single: &Single, counter: Counter, page: Page, requests: usize) -> f64 {
    let root = Root::new();
    let scopes = [
        scope("lingering", 10),
        scope("furnished", 10)
            .set(Setting::AppPasswords, "on")
            .set(Setting::TrustedNetworks, "192.0.2.0/24 2001:db8::/32")
            .set(Setting::RequireUser, format!("alice user{LINGERING}")),
        session_scope(single.name),
        Scope::bare("open").directives(if single.name == "httpd" {
            "Require all granted"
        } else {
            ""
        }),
        Scope::bare("own").directives(single.own),
    ];
    server::prepare(&root, &scopes);
    let (counting, file) = counter.command(&root);
    // nginx with one process stays who it was when it was started, and callgrind opens its file
    // anew at the end.
    let mut under: Vec<String> = Vec::new();
    if is_root() {
        let (user, group) =
            (format!("--reuid={SERVER_ACCOUNT}"), format!("--regid={SERVER_ACCOUNT}"));
        under.extend(["/usr/bin/setpriv".to_owned(), user, group, "--clear-groups".to_owned()]);
    }
    under.extend(counting);
    let kind = (single.start)(under);
    kind.require();
    let free = || TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    let port = free().local_addr().expect("the port").port();
    kind.configure(&root, Ports { main: port, other: 0 }, &scopes);
    let configuration = root.join(single.configuration);
    let text = fs::read_to_string(&configuration).expect("just written");
    let lines = text.lines().filter(|line| !WATCHING.iter().any(|word| line.starts_with(word)));
    root.write(&configuration, lines.collect::<Vec<_>>().join("\n"));
    for path in ["", "logs", "temporary"].map(|name| root.join(name)) {
        if path.exists() {
            root::give_to_server(&path);
        }
    }
    let command = kind.command(&root);
    let command: Vec<&str> = command.iter().map(String::as_str).collect();
    let output = root.join("output");
    let mut daemon = Daemon::spawn(&command, &output);
    let said = || fs::read_to_string(&output).unwrap_or_default();
    wait_until("the server takes connections", || {
        assert_eq!(daemon.ended(), None, "{}", said());
        TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok()
    });

    let path = match page {
        Page::Open => "/open/page.txt",
        Page::Lingering => "/lingering/page.txt",
        Page::Furnished => "/furnished/page.txt",
        Page::Session => "/session/page.txt",
        Page::Own => "/own/page.txt",
    };
    // To the open page, too: reading the header is no cost of ours.
    let mut request = Request::get(path).basic(format!("user{LINGERING}"), code_of_first_login());
    // Some take connections before they write their number.
    let mut pid = None;
    wait_until("the server's number is known", || {
        let text =
            fs::read_to_string(root.join(format!("{}.pid", single.name))).unwrap_or_default();
        pid = text.trim().parse().ok().and_then(Pid::from_raw);
        pid.is_some()
    });
    let pid = pid.expect("just awaited");
    let mut connection = Connection::open(port).expect("a connection");
    let mut ask = |request: &Request| {
        wait_until_asleep(pid);
        let answer = connection.send(request, true).expect("an answer");
        assert_eq!(answer.status, 200, "{}: {}", single.name, said());
        answer
    };
    let first = ask(&request);
    if let Page::Session = page {
        request = Request::get(path).header("Cookie", cookie_of(&first));
    }
    // What has just been written is looked at more closely for a while.
    std::thread::sleep(Duration::from_millis(1500));
    for _ in 0..requests {
        ask(&request);
    }
    drop(connection);
    wait_until_asleep(pid);

    let begun = Instant::now();
    while daemon.ended().is_none() {
        assert!(begun.elapsed() < Duration::from_secs(30), "it doesn't stop");
        // Again and again: nginx looks for it before it waits, and one that comes in between waits,
        // too. It may be gone.
        let _ = kill_process(pid, Signal::TERM);
        std::thread::sleep(Duration::from_millis(200));
    }
    counter.read(&fs::read_to_string(file).expect("what was counted"))
}

/// Until the server waits for a request: one that finds the next at once does less than one that
/// has to wait for it.
fn wait_until_asleep(pid: Pid) {
    let path = format!("/proc/{}/stat", pid.as_raw_nonzero());
    let is_asleep = || {
        let stat = fs::read_to_string(&path).unwrap_or_default();
        stat.rsplit(") ").next().is_some_and(|fields| fields.starts_with('S'))
    };
    // Between two pieces of work it may sleep for a moment, too.
    let mut times = 0;
    while times < 5 {
        times = if is_asleep() { times + 1 } else { 0 };
        std::thread::sleep(Duration::from_micros(100));
    }
}

/// Per request.
fn each(single: &Single, counter: Counter, page: Page) -> f64 {
    let (few, many) = (count(single, counter, page, FEW), count(single, counter, page, MANY));
    (many - few) / (MANY - FEW) as f64
}

/// Adds the rows, and gives them by name, with the versions that they depend on.
pub fn rows(report: &mut Report, only: &str) -> (BTreeMap<String, f64>, BTreeMap<String, String>) {
    let (mut figures, mut versions) = (BTreeMap::new(), BTreeMap::new());
    versions.insert("rustc".to_owned(), version(&["rustc", "--version"]));
    for single in SERVERS.iter().filter(|single| ["", "requests", single.name].contains(&only)) {
        versions.insert(single.name.to_owned(), version(&single.version));
        for (counter, what) in
            [(Counter::Instructions, "instructions"), (Counter::SystemCalls, "system calls")]
        {
            let open = each(single, counter, Page::Open);
            let pages = [
                (Page::Lingering, "a lingering code"),
                (Page::Own, "the server's own password check"),
                (Page::Furnished, FURNISHED),
                (Page::Session, "a session"),
            ];
            // Settings make no system calls.
            let has_row =
                |page| !matches!((page, counter), (Page::Furnished, Counter::SystemCalls));
            let (mut lingering, mut furnished) = (None, None);
            for (page, who) in pages.into_iter().filter(|(page, _)| has_row(*page)) {
                let whole = each(single, counter, page);
                match page {
                    Page::Lingering => lingering = Some(whole),
                    Page::Furnished => furnished = Some(whole),
                    Page::Open | Page::Own | Page::Session => (),
                }
                let value = whole - open;
                let name = format!("{what} that a request adds, {who}");
                figures.insert(format!("{}, {name}", single.name), value);
                let wanted = Wanted::Nothing;
                report.add(Row {
                    server: single.name,
                    name,
                    unit: "",
                    value,
                    spread: None,
                    wanted,
                    cpu: None,
                });
            }
            if let (Some(without), Some(with)) = (lingering, furnished) {
                report.add(Row {
                    server: single.name,
                    name: format!("{what} of a whole request, {FURNISHED}, to one without"),
                    unit: "",
                    value: with / without,
                    spread: None,
                    wanted: Wanted::AtMost(TOLERANCE),
                    cpu: None,
                });
            }
        }
    }
    (figures, versions)
}

/// What a program says of itself, in one line.
fn version(command: &[&str]) -> String {
    if command[0].starts_with('/') {
        require(command[0]);
    }
    let output = Command::new(command[0]).args(&command[1..]).output().expect("it runs");
    let said = [output.stdout, output.stderr].concat();
    String::from_utf8_lossy(&said).lines().next().unwrap_or_default().trim().to_owned()
}

// ---- What is recorded ----------------------------------------------------------------------------------------

fn record() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("benches/requests.txt")
}

/// Compares with what is recorded, or writes it anew.
pub fn check(report: &mut Report) -> ExitCode {
    let (figures, versions) = rows(report, "requests");
    if std::env::var("OTPGATE_BENCH_RECORD").is_ok_and(|value| !value.is_empty()) {
        let lines = versions.iter().map(|(name, version)| format!("{name} = {version}\n"));
        let numbers = figures.iter().map(|(name, value)| format!("{name} = {value:.1}\n"));
        let text: String = lines.chain(numbers).collect();
        fs::write(record(), text).expect("benches/requests.txt");
        println!("bench-check: recorded");
        return ExitCode::SUCCESS;
    }
    let text = fs::read_to_string(record()).expect("benches/requests.txt");
    let recorded: BTreeMap<&str, &str> =
        text.lines().filter_map(|line| line.split_once(" = ")).collect();
    let mut is_comparable = true;
    for (name, version) in &versions {
        if recorded.get(name.as_str()) != Some(&version.as_str()) {
            let then = recorded.get(name.as_str()).unwrap_or(&"nothing");
            println!("bench-check: NOT COMPARED: this is {version}, recorded was {then}");
            is_comparable = false;
        }
    }
    if !is_comparable {
        println!(
            "bench-check: run it with the versions that are recorded, or record anew on both sides of a change"
        );
        return ExitCode::SUCCESS;
    }
    let mut is_more = !report.holds();
    for (name, value) in figures {
        let Some(then) = recorded.get(name.as_str()).and_then(|number| number.parse::<f64>().ok())
        else {
            println!("bench-check: {name} isn't recorded");
            is_more = true;
            continue;
        };
        // The server's own check is there to be held against. nginx makes one system call more or
        // less for each request, the open page included, from one start to the next: those are told
        // and no more.
        let is_ours = name.contains("lingering") || name.ends_with("a session");
        let is_compared = name.contains("instructions") && is_ours;
        let is_too_much = is_compared && value > then * TOLERANCE;
        println!(
            "bench-check: {name}: {value:.1}, recorded {then:.1}{}",
            if is_too_much { "  <-- more" } else { "" }
        );
        is_more |= is_too_much;
    }
    if is_more { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}
