//! A running server, whichever it is.

use std::fmt;
use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Barrier, Mutex, MutexGuard, PoisonError};

use super::client::{self, Connection, Request, Response};
use super::daemon::Daemon;
use super::log::{self, Secrets};
use super::root::{self, Root};
use super::scope::{self, Scope, Setting};
use super::users::UsersFile;
use super::wait_until;

/// The answer header in which the tests' servers show the `OTP_RESULT` of a request.
pub const RESULT_HEADER: &str = "X-Otp-Result";
/// The same for `OTP_PAPER_NEXT`.
pub const PAPER_NEXT_HEADER: &str = "X-Otp-Paper-Next";

/// What every scope has to offer, and what it says.
pub const PAGE: &str = "page.txt";
pub const PAGE_TEXT: &str = "welcome";

/// Two free ports on loopback: one for the server, one for a test that needs another.
#[derive(Clone, Copy, Debug)]
pub struct Ports {
    pub main: u16,
    pub other: u16,
}

impl Ports {
    fn free() -> Ports {
        // Held until both are known, so that they differ.
        let listeners =
            [(); 2].map(|()| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port"));
        let [main, other] =
            listeners.map(|listener| listener.local_addr().expect("the port").port());
        Ports { main, other }
    }
}

/// Why a Digest nonce is refused.
#[derive(Clone, Copy, Debug)]
pub enum NonceFault {
    Forged,
    Stale,
    Replayed,
}

/// What differs between servers.
pub trait Kind: Send + Sync {
    /// Panics unless programs, modules and accounts are there.
    fn require(&self);

    /// Writes the configuration of a server in `root`.
    fn configure(&self, root: &Root, ports: Ports, scopes: &[Scope]);

    /// The command that runs it in the foreground.
    fn command(&self, root: &Root) -> Vec<String>;

    /// How often the log says that the server has become ready (again).
    fn times_ready(&self, log: &str) -> usize;

    /// The log says that the port was taken.
    fn port_was_taken(&self, log: &str) -> bool;

    fn reload(&self, daemon: &Daemon);

    /// Whether a line of the error log may be there in any test.
    fn is_harmless(&self, line: &str) -> bool;

    /// Whether a line may be there once the server has been told to stop at once.
    fn is_harmless_when_stopping(&self, line: &str) -> bool;

    /// Asks it to stop when all requests are answered.
    fn stop_gracefully(&self, daemon: &Daemon);

    /// What it logs when it refuses a Digest nonce.
    fn refuses_nonce(&self, fault: NonceFault) -> &'static str;

    /// A line of the error log without time, process numbers and client port.
    fn message(&self, line: &str) -> String;
}

/// A server with the scopes of a test, on a port of its own on loopback. Stopped and checked when
/// dropped.
pub struct Server {
    kind: Box<dyn Kind>,
    root: Root,
    ports: Ports,
    /// `None` once stopped.
    daemon: Mutex<Option<Daemon>>,
    scopes: Vec<Scope>,
    secrets: Secrets,
    expected: Mutex<Vec<Expected>>,
    tolerated: Mutex<Vec<String>>,
    is_checked: AtomicBool,
}

impl Server {
    /// Starts a server and waits until it takes connections.
    #[track_caller]
    pub fn start(kind: impl Kind + 'static, scopes: Vec<Scope>) -> Server {
        kind.require();
        let root = Root::new();
        prepare(&root, &scopes);
        // Between our finding a free port and the server's taking it, another test may be faster.
        for _ in 0..20 {
            let ports = Ports::free();
            kind.configure(&root, ports, &scopes);
            let command = kind.command(&root);
            let command: Vec<&str> = command.iter().map(String::as_str).collect();
            let mut daemon = Daemon::spawn(&command, &root.join(OUTPUT));
            let mut ended = None;
            wait_until("the server is ready", || {
                ended = daemon.ended();
                // Its own log says so: on the port, another test's server might answer.
                ended.is_some() || kind.times_ready(&error_log(&root)) > 0
            });
            if let Some(ended) = ended {
                let log = error_log(&root);
                assert!(kind.port_was_taken(&log), "the server ended with {ended}:\n{log}");
                fs::remove_file(root.join(ERROR_LOG)).ok();
                continue;
            }
            let secrets = Secrets::default();
            for secret in scopes.iter().flat_map(|scope| &scope.secrets) {
                secrets.remember(secret);
            }
            return Server {
                kind: Box::new(kind),
                root,
                ports,
                daemon: Mutex::new(Some(daemon)),
                scopes,
                secrets,
                expected: Mutex::default(),
                tolerated: Mutex::default(),
                is_checked: AtomicBool::default(),
            };
        }
        panic!("20 free ports in a row were taken by somebody else");
    }

    pub fn port(&self) -> u16 {
        self.ports.main
    }

    /// Where `{other_port}` of the configuration listens.
    pub fn other_port(&self) -> u16 {
        self.ports.other
    }

    pub fn root(&self) -> &Root {
        &self.root
    }

    /// The scope of that name.
    #[track_caller]
    pub fn at(&self, scope: &str) -> Place<'_> {
        let scope = self
            .scopes
            .iter()
            .find(|known| known.name == scope)
            .unwrap_or_else(|| panic!("no scope {scope}"));
        Place {
            server: self,
            name: scope.name.clone(),
            users: UsersFile::at(users_path(&self.root, scope)),
        }
    }

    /// Reloads the configuration without cutting a connection, and waits until that is done.
    pub fn reload(&self) {
        let before = self.kind.times_ready(&self.error_log());
        self.kind.reload(self.daemon().as_ref().expect("not stopped"));
        wait_until("the server is ready again", || {
            let ended = self.daemon().as_mut().expect("not stopped").ended();
            assert_eq!(ended, None, "it ended instead");
            self.kind.times_ready(&self.error_log()) > before
        });
    }

    /// Process numbers of the server's children.
    pub fn children(&self) -> Vec<u32> {
        self.daemon().as_ref().expect("not stopped").children()
    }

    /// The error log so far, and what the server said before it had one.
    pub fn error_log(&self) -> String {
        error_log(&self.root)
    }

    /// The lines of the access log so far: status, result note, result in the environment, user,
    /// path.
    pub fn access_log(&self) -> Vec<String> {
        read(&self.root.join(ACCESS_LOG)).lines().map(str::to_owned).collect()
    }

    /// Such a line must be in the error log in the end, and is no fault.
    pub fn expect_log(&self, substring: &str) {
        lock(&self.expected).push(Expected { scope: None, substring: substring.to_owned() });
    }

    /// A nonce will be refused for that reason, and the error log must say so.
    pub fn expect_refused_nonce(&self, fault: NonceFault) {
        self.expect_log(self.kind.refuses_nonce(fault));
    }

    /// The results of all decisions about that user in the error log so far, in order.
    pub fn all_decisions(&self, user: &str) -> Vec<String> {
        self.error_log()
            .lines()
            .filter_map(|line| {
                let message = self.kind.message(line);
                let (result, name) = log::decision(&message)?;
                (name == user).then(|| result.to_owned())
            })
            .collect()
    }

    /// Such a line may be in the error log, by chance of timing.
    pub fn tolerate_log(&self, substring: &str) {
        lock(&self.tolerated).push(substring.to_owned());
    }

    /// How many decisions of that kind about that user the error log has so far.
    pub fn decisions(&self, result: &str, user: &str) -> usize {
        let decisions = self.all_decisions(user);
        decisions.iter().filter(|decision| *decision == result).count()
    }

    /// Waits for the access log to have that many lines about a path, and gives them.
    pub fn logged_accesses(&self, path: &str, count: usize) -> Vec<String> {
        let lines = || -> Vec<String> {
            let ending = format!(" {path}");
            let lines = self.access_log().into_iter();
            lines.filter(|line| line.ends_with(&ending)).collect()
        };
        // Written when the answer is out already.
        wait_until("all requests are in the access log", || lines().len() >= count);
        let lines = lines();
        assert_eq!(lines.len(), count, "{lines:?}");
        lines
    }

    /// No log may ever show this.
    pub fn keep_secret(&self, secret: impl AsRef<[u8]>) {
        self.secrets.remember(secret);
    }

    /// Sends a login; what it needs to be secret is remembered.
    #[track_caller]
    pub fn send(&self, request: &Request) -> Reply {
        for (name, value) in request.headers() {
            // The name of a scheme alone is no secret.
            if name.ends_with("Authorization") && value != "Basic" && value != "Digest" {
                self.keep_secret(value.trim_start_matches("Basic "));
            }
        }
        Reply(client::fetch(self.port(), request))
    }

    /// Stops the server and checks the logs; done by dropping, too.
    #[track_caller]
    pub fn finish(self) {
        drop(self);
    }

    /// Stops it in the slow way in which no process may end other than by itself.
    #[track_caller]
    pub fn finish_gracefully(self) {
        let mut daemon = self.daemon().take().expect("not stopped");
        self.kind.stop_gracefully(&daemon);
        wait_until("the server has stopped", || daemon.ended().is_some());
        assert_eq!(daemon.ended().as_deref(), Some("exit status 0"));
        assert!(daemon.group_is_gone(), "processes are left");
        drop(self);
    }

    fn daemon(&self) -> MutexGuard<'_, Option<Daemon>> {
        lock(&self.daemon)
    }

    /// Whole lines of the error log so far.
    pub fn log_length(&self) -> usize {
        whole_lines(&self.error_log()).lines().count()
    }

    /// The lines of the error log so far, which is empty then; the access log, too. While nothing
    /// writes there: for a test that would fill the disk.
    pub fn take_log(&self) -> Vec<LogLine> {
        let log = self.error_log();
        for path in [OUTPUT, ERROR_LOG, ACCESS_LOG] {
            // Servers append.
            if let Ok(file) = fs::File::options().write(true).open(self.root.join(path)) {
                file.set_len(0).expect("a log that can be emptied");
            }
        }
        let unexpected = self.unexpected(&log, usize::MAX);
        let mut faults = unexpected.iter().peekable();
        log.lines()
            .map(|line| {
                let mut is_fault = false;
                while faults.next_if(|(faulty, _)| std::ptr::eq(*faulty, line)).is_some() {
                    is_fault = true;
                }
                let message = self.kind.message(line);
                let decision = log::decision(&message)
                    .map(|(result, user)| (result.to_owned(), user.to_owned()));
                LogLine { text: line.to_owned(), decision, is_fault }
            })
            .collect()
    }

    /// What is wrong with the error log behind so many lines, as far as it is about that scope or
    /// doesn't say what it is about, and with what was expected of that scope. Of a line that is
    /// being written for another one, nobody can tell what it is about.
    pub fn faults_since(&self, lines: usize, scope: &str) -> Vec<String> {
        let log = self.error_log();
        let log = whole_lines(&log);
        let others: Vec<String> =
            self.scopes.iter().map(|scope| format!("/{}/", scope.name)).collect();
        let own = format!("/{scope}/");
        let is_ours = |line: &str| {
            line.contains(&own) || !others.iter().any(|other| line.contains(other.as_str()))
        };
        let before: usize = log.split_inclusive('\n').take(lines).map(str::len).sum();
        let unexpected = self.unexpected(&log[before..], usize::MAX);
        let unexpected =
            unexpected.into_iter().filter(|(line, _)| is_ours(line)).map(|(_, fault)| fault);
        let expected = lock(&self.expected);
        let of_scope = expected.iter().filter(|expected| expected.scope.as_deref() == Some(scope));
        unexpected.chain(of_scope.filter_map(|expected| expected.missing_in(log))).collect()
    }

    /// Each line of the error log that may not be there, and why. From a line on the server was
    /// stopping.
    fn unexpected<'a>(&self, log: &'a str, lines_before_stopping: usize) -> Vec<(&'a str, String)> {
        let (tolerated, expected) = (lock(&self.tolerated), lock(&self.expected));
        let mut number = 0;
        log::faults(
            log,
            self.root.path(),
            |line| self.kind.message(line),
            |line| {
                number += 1;
                let stopping = number > lines_before_stopping;
                self.kind.is_harmless(line)
                    || log::is_decision(&self.kind.message(line))
                    || stopping && self.kind.is_harmless_when_stopping(line)
                    || tolerated.iter().any(|substring| line.contains(substring.as_str()))
                    || expected.iter().any(|expected| line.contains(expected.substring.as_str()))
            },
            &self.secrets,
        )
    }

    fn faults(&self, log: &str, lines_before_stopping: usize) -> Vec<String> {
        let unexpected = self.unexpected(log, lines_before_stopping);
        let mut faults: Vec<String> = unexpected.into_iter().map(|(_, fault)| fault).collect();
        faults.extend(lock(&self.expected).iter().filter_map(|expected| expected.missing_in(log)));
        for line in self.access_log() {
            if let Some(secret) = self.secrets.found_in(&line) {
                faults.push(format!("{secret:?} is shown by the access log: {line}"));
            }
        }
        faults
    }

    /// Stops the server, unless that has been done, and says what was wrong with that or with its
    /// logs. Once.
    pub fn stop_and_check(&self) -> Result<(), String> {
        let is_checked = self.is_checked.swap(true, Ordering::SeqCst);
        if is_checked {
            return Ok(());
        }
        let lines_before_stopping = self.error_log().lines().count();
        let stopped = match self.daemon().take() {
            Some(mut daemon) => daemon.stop(),
            None => Ok(()),
        };
        let log = self.error_log();
        let mut faults = self.faults(&log, lines_before_stopping);
        faults.extend(stopped.err());
        if faults.is_empty() {
            return Ok(());
        }
        Err(format!("{}\nthe end of the server's log:\n{}", faults.join("\n"), end_of(&log)))
    }
}

/// A line of the error log.
#[derive(Clone, Debug)]
pub struct LogLine {
    pub text: String,
    /// Result and user.
    pub decision: Option<(String, String)>,
    /// It isn't harmless, or shows a secret.
    pub is_fault: bool,
}

/// A line that has to be in the error log.
struct Expected {
    /// Who expects it, if that is known.
    scope: Option<String>,
    substring: String,
}

impl Expected {
    fn missing_in(&self, log: &str) -> Option<String> {
        let Expected { substring, .. } = self;
        let is_there = log.lines().any(|line| line.contains(substring.as_str()));
        (!is_there).then(|| format!("no line of the log has {substring:?}"))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let is_panicking = std::thread::panicking();
        match self.stop_and_check() {
            // Shown by the test runner together with the panic that brought us here.
            Err(faults) if is_panicking => eprintln!("{faults}"),
            Err(faults) => panic!("{faults}"),
            Ok(()) => {}
        }
    }
}

/// Not all of it: a server under load writes thousands of lines.
fn end_of(log: &str) -> String {
    let lines: Vec<&str> = log.lines().collect();
    lines[lines.len().saturating_sub(40)..].join("\n")
}

/// A test that failed while it held the lock has said so itself.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

const OUTPUT: &str = "logs/output";
pub const ERROR_LOG: &str = "logs/error.log";
pub const ACCESS_LOG: &str = "logs/access.log";

/// Without a line that somebody is writing.
fn whole_lines(log: &str) -> &str {
    log.rsplit_once('\n').map_or("", |(whole, _)| &log[..=whole.len()])
}

fn error_log(root: &Root) -> String {
    read(&root.join(OUTPUT)) + &read(&root.join(ERROR_LOG))
}

fn read(path: &Path) -> String {
    let bytes = fs::read(path).unwrap_or_default();
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Documents of a scope.
pub fn files_path(root: &Root, scope: &Scope) -> PathBuf {
    root.join("htdocs").join(&scope.name)
}

pub fn users_path(root: &Root, scope: &Scope) -> PathBuf {
    match &scope.users_file {
        Some(path) => path.clone(),
        None => root.join("users").join(&scope.name).join("users"),
    }
}

/// File of the second provider.
pub fn second_path(root: &Root, scope: &Scope) -> PathBuf {
    root.join("second").join(&scope.name)
}

/// File with the PINs marked `+`.
pub fn pins_path(root: &Root, scope: &Scope) -> PathBuf {
    root.join("pins").join(&scope.name)
}

/// File with the groups.
pub fn groups_path(root: &Root, scope: &Scope) -> PathBuf {
    root.join("groups").join(&scope.name)
}

fn write_groups(root: &Root, scope: &Scope, text: &str) {
    let path = groups_path(root, scope);
    let new = root.write(path.with_extension("new"), text);
    root::set_mode(&new, 0o644);
    root::give_to_server(&new);
    fs::rename(new, path).expect("a group file");
}

/// What a directive takes: the value, behind the path of the file if it is about one.
pub fn value(root: &Root, scope: &Scope, (setting, value): &(Setting, String)) -> String {
    match setting {
        Setting::RequireGroup => format!("{} {value}", groups_path(root, scope).display()),
        _ => value.clone(),
    }
}

/// Replaces the names that [`Scope::directives`] allows.
pub fn fill_in(text: &str, root: &Root, ports: Ports, scope: &Scope) -> String {
    text.replace("{root}", &root.path().to_string_lossy())
        .replace("{files}", &files_path(root, scope).to_string_lossy())
        .replace("{users}", &users_path(root, scope).to_string_lossy())
        .replace("{port}", &ports.main.to_string())
        .replace("{other_port}", &ports.other.to_string())
}

/// Makes all files of the scopes.
pub fn prepare(root: &Root, scopes: &[Scope]) {
    root::make_directory(&root.join("logs"));
    root::make_directory(&root.join("htdocs"));
    for scope in scopes {
        let page = files_path(root, scope).join(PAGE);
        root.write(page, PAGE_TEXT);
        if scope.users_file.is_none() {
            let users = root.write(users_path(root, scope), &scope.users);
            root::set_mode(&users, 0o600);
            root::give_to_server(&users);
            // Lock and journal are made here by the server.
            root::give_to_server(users.parent().expect("a directory of its own"));
        }
        if !scope.second_provider.is_empty() {
            let lines = scope.second_provider.iter();
            let lines = lines.map(|(user, password)| {
                [&user[..], scope::htpasswd_line("", password).as_bytes()].concat()
            });
            root.write(second_path(root, scope), lines.collect::<Vec<_>>().concat());
        }
        if !scope.pin_file.is_empty() {
            let pins = root.write(pins_path(root, scope), &scope.pin_file);
            root::set_mode(&pins, 0o600);
            root::give_to_server(&pins);
        }
        if !scope.group_file.is_empty() {
            write_groups(root, scope, &scope.group_file);
        }
    }
}

/// A scope of a running server, and its users file.
#[derive(Clone)]
pub struct Place<'a> {
    server: &'a Server,
    name: String,
    users: UsersFile,
}

impl Place<'_> {
    pub fn server(&self) -> &Server {
        self.server
    }

    pub fn users(&self) -> &UsersFile {
        &self.users
    }

    /// Puts another file in the place of the one that checks PINs marked `+`.
    pub fn replace_pin_file(&self, text: &str) {
        UsersFile::at(pins_path(&self.server.root, self.scope())).replace(text);
    }

    /// Puts another file in the place of the group file, or of none.
    pub fn replace_group_file(&self, text: &str) {
        write_groups(&self.server.root, self.scope(), text);
    }

    fn scope(&self) -> &Scope {
        let scope = self.server.scopes.iter().find(|scope| scope.name == self.name);
        scope.expect("a place has a scope")
    }

    /// The path of a document of this scope.
    pub fn path(&self, file: &str) -> String {
        format!("/{}/{file}", self.name)
    }

    /// Asks for the page with these credentials.
    #[track_caller]
    pub fn login(&self, user: impl AsRef<[u8]>, password: impl AsRef<[u8]>) -> Reply {
        self.send(self.request(user, password))
    }

    /// The same as a client with that address.
    #[track_caller]
    pub fn login_from(
        &self,
        address: &str,
        user: impl AsRef<[u8]>,
        password: impl AsRef<[u8]>,
    ) -> Reply {
        self.send(self.request(user, password).from(address))
    }

    /// A request for the page, to be sent as often as wanted.
    pub fn request(&self, user: impl AsRef<[u8]>, password: impl AsRef<[u8]>) -> Request {
        self.request_for(PAGE, user, password)
    }

    /// A request for a document of this scope.
    pub fn request_for(
        &self,
        file: &str,
        user: impl AsRef<[u8]>,
        password: impl AsRef<[u8]>,
    ) -> Request {
        self.server.keep_secret(&password);
        Request::get(self.path(file)).basic(user, password)
    }

    #[track_caller]
    pub fn send(&self, request: Request) -> Reply {
        self.server.send(&request)
    }

    /// Sends all requests at the same moment, each over its own connection that is open before.
    pub fn at_once(&self, requests: &[Request]) -> Vec<Reply> {
        all_at_once(&requests.iter().map(|request| (self, request)).collect::<Vec<_>>())
    }

    /// Such a line must be in the error log in the end, and is no fault.
    pub fn expect_log(&self, substring: &str) {
        let expected = Expected { scope: Some(self.name.clone()), substring: substring.to_owned() };
        lock(&self.server.expected).push(expected);
    }
}

/// The same for requests to several places, which may be of different servers.
pub fn all_at_once(requests: &[(&Place<'_>, &Request)]) -> Vec<Reply> {
    let barrier = Barrier::new(requests.len());
    std::thread::scope(|threads| {
        let clients: Vec<_> = requests
            .iter()
            .map(|(place, request)| {
                let (barrier, port) = (&barrier, place.server.port());
                std::thread::Builder::new()
                    .stack_size(128 * 1024)
                    .spawn_scoped(threads, move || {
                        let connection = Connection::open(port);
                        barrier.wait();
                        let mut connection = connection.expect("a connection");
                        Reply(connection.send(request, false).expect("an answer"))
                    })
                    .expect("a thread")
            })
            .collect();
        clients
            .into_iter()
            .map(|client| client.join().expect("a client that doesn't panic"))
            .collect()
    })
}

/// The answer to a login.
#[derive(Clone)]
pub struct Reply(pub Response);

impl fmt::Debug for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let location = self.0.header("Location").unwrap_or_default();
        write!(f, "{} {:?} {location} {:?}", self.status(), self.result(), self.0.text())
    }
}

impl Reply {
    pub fn status(&self) -> u16 {
        self.0.status
    }

    /// The result that the server would log. Empty if otpgate decided nothing.
    pub fn result(&self) -> &str {
        self.0.header(RESULT_HEADER).unwrap_or_default()
    }

    /// Insists on status and result, and that nothing of the page is shown without a grant.
    #[track_caller]
    pub fn is(&self, status: u16, result: &str) -> &Reply {
        assert_eq!((self.status(), self.result()), (status, result), "{self:?}");
        self.shows_the_page_only_if_granted()
    }

    /// Insists on the status alone, where `docs/results.md` leaves the word open.
    #[track_caller]
    pub fn is_status(&self, status: u16) -> &Reply {
        assert_eq!(self.status(), status, "{self:?}");
        self.shows_the_page_only_if_granted()
    }

    /// Refused with 401, whatever the word.
    #[track_caller]
    pub fn is_denied(&self) -> &Reply {
        assert!(!self.result().starts_with("granted"), "{self:?}");
        self.is_status(401)
    }

    #[track_caller]
    fn shows_the_page_only_if_granted(&self) -> &Reply {
        assert_eq!(self.0.text().contains(PAGE_TEXT), self.status() == 200, "{self:?}");
        self
    }
}
