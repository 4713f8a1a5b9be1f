//! A web server on the second store: HTTP/1.1, a thread per connection, Basic and nothing else. As
//! small as the cases let it be. It runs as a process of its own, of the test's own program.

use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, TcpListener, TcpStream};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use otpgate::decide::Verdict;
use otpgate::gate::{Answer, Gate, Login, PinAnswer, PinSource, RequestMemory};
use otpgate::groups::GroupFiles;
use otpgate::http::target::Target;
use otpgate::http::{self, basic};
use otpgate::log::{self, Level, Log};
use otpgate::pin::file::{PinFile, entry_of};
use otpgate::policy::{self, Leaked, PinAlone, Policy, Required, Settings};
use otpgate::store::Reach;
use otpgate::token::{Address, is_app_password};

use super::common::server::{
    ACCESS_LOG, ERROR_LOG, PAGE, PAGE_TEXT, PAPER_NEXT_HEADER, RESULT_HEADER,
};
use super::memory::Compares;
use super::mirror::{Mirror, now};

/// What the program is called with, and the directory of the server after it.
pub const ARGUMENT: &str = "--serve";
/// Names of files in that directory. The second is a pipe: whoever writes to it has the server
/// stop.
pub const CONFIGURATION: &str = "server.conf";
pub const STOP: &str = "stop";

pub const READY: &str = "the server is ready";
pub const TAKEN: &str = "the port is taken";
pub const RUN_AGAIN: &str = " were run again";

/// The directory that this program is to serve, if it was called for that.
pub fn asked_to_serve() -> Option<PathBuf> {
    let mut arguments = std::env::args_os().skip(1);
    (arguments.next().as_deref() == Some(OsStr::new(ARGUMENT)))
        .then(|| arguments.next().map(PathBuf::from))?
}

/// Runs until it is told to stop.
pub fn serve(root: &Path) -> ExitCode {
    let log = ServerLog { file: &open_log(&root.join(ERROR_LOG)), place: "" };
    let (configuration, compares) = (fs::read_to_string(root.join(CONFIGURATION)), Arc::default());
    let configuration = configuration.expect("a configuration").leak();
    let site = Site::of(configuration, root, &compares);
    let listener = match TcpListener::bind((Ipv4Addr::LOCALHOST, site.port)) {
        Ok(listener) => listener,
        Err(error) if error.kind() == ErrorKind::AddrInUse => {
            log.log(Level::Error, format_args!("{TAKEN}"));
            return ExitCode::FAILURE;
        }
        Err(error) => panic!("no port: {error}"),
    };
    log.log(Level::Info, format_args!("{READY}"));
    let site = Arc::new(site);
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let site = Arc::clone(&site);
            // Clients may go away.
            std::thread::spawn(move || site.talk(&stream).ok());
        }
    });
    fs::read(root.join(STOP)).expect("a pipe");
    let (saved, again) = (compares.saved(), compares.run_again());
    log.log(Level::Info, format_args!("{saved} steps were saved, {again}{RUN_AGAIN}"));
    ExitCode::SUCCESS
}

struct Site {
    port: u16,
    places: Vec<Place>,
    errors: File,
    accesses: File,
}

/// A scope of a test.
struct Place {
    name: String,
    gate: Gate<Mirror>,
    server: policy::Server,
    settings: Settings<'static>,
    required: Required<'static>,
    groups: GroupFiles,
    pins: Option<PathBuf>,
    /// Users and passwords of those who are asked about names that the gate passes on.
    second: Option<PathBuf>,
}

impl Site {
    /// Lines of a word and its value: `server`, `port`, and for each place `place`, `users`, then
    /// its other files and its settings.
    fn of(configuration: &'static str, root: &Path, compares: &Arc<Compares>) -> Site {
        let mut server = policy::Server::Apache;
        let (mut port, mut places) = (0, Vec::new());
        let mut lines =
            configuration.lines().map(|line| line.split_once(' ').expect("a word")).peekable();
        while let Some((word, value)) = lines.next() {
            match word {
                "server" if value == "nginx" => server = policy::Server::Nginx,
                "server" => {}
                "port" => port = value.parse().expect("a port"),
                "place" => {
                    let mut settings = Settings::default();
                    let (mut users, mut pins, mut second) = (None, None, None);
                    while let Some((word, value)) = lines.next_if(|(word, _)| *word != "place") {
                        match word {
                            "users" => users = Some(value),
                            "pins" => pins = Some(PathBuf::from(value)),
                            "second" => second = Some(PathBuf::from(value)),
                            name => {
                                let words: Vec<&'static [u8]> =
                                    value.split(' ').map(str::as_bytes).collect();
                                settings
                                    .set(server, &Leaked, name.as_bytes(), &words, b"")
                                    .expect("a setting");
                            }
                        }
                    }
                    let store = Mirror::new(
                        users.expect("a users file").as_ref(),
                        Reach::OneUser,
                        compares,
                    );
                    let gate = Gate::new(store, now).expect("random bytes");
                    let name = value.to_owned();
                    let required = settings.required.take().unwrap_or_default();
                    let groups = GroupFiles::default();
                    places.push(Place {
                        name,
                        gate,
                        server,
                        settings,
                        required,
                        groups,
                        pins,
                        second,
                    });
                }
                other => panic!("{other} stands in no place"),
            }
        }
        let (errors, accesses) =
            (open_log(&root.join(ERROR_LOG)), open_log(&root.join(ACCESS_LOG)));
        Site { port, places, errors, accesses }
    }

    fn talk(&self, stream: &TcpStream) -> io::Result<()> {
        stream.set_nodelay(true)?;
        let peer = stream.peer_addr()?.ip();
        let mut reader = BufReader::new(stream);
        while let Some(request) = Request::read(&mut reader)? {
            let reply = self.reply(&request, peer);
            let (user, result) =
                (reply.user.as_deref().unwrap_or("-"), reply.result.unwrap_or("-"));
            let environment = if reply.status == 200 { result } else { "-" };
            let line = format!("{} {result} {environment} {user} {}\n", reply.status, request.path);
            (&self.accesses).write_all(line.as_bytes())?;
            let mut stream = stream;
            stream.write_all(&reply.bytes(request.is_last))?;
            if request.is_last {
                break;
            }
        }
        Ok(())
    }

    fn reply(&self, request: &Request, peer: IpAddr) -> Reply {
        let target = request.path.strip_prefix('/').and_then(|path| path.split_once('/'));
        let known = target.and_then(|(name, file)| {
            Some((self.places.iter().find(|place| place.name == name)?, file))
        });
        let Some((place, file)) = known else { return Reply::of(404) };
        let log = ServerLog { file: &self.errors, place: &place.name };
        let Some((user, password)) = basic::credentials(&request.authorization) else {
            return Reply { challenge: Some(place.challenge()), ..Reply::of(401) };
        };
        let client = request.forwarded_for.unwrap_or(peer);
        let address = Address::of_client(Some(client));
        let login = Login { user: &user, password: &password, address };
        let (answer, paper_next) = place.decide(&login, client, &request.target(), &log);
        let is_let_in_by_second =
            answer.verdict == Verdict::Unknown && place.is_let_in_by_second(&user, &password);
        let status = match answer.verdict {
            _ if is_let_in_by_second => 200,
            Verdict::Granted => 200,
            Verdict::Denied | Verdict::Unknown => 401,
            Verdict::Throttled => 429,
            Verdict::Busy => 503,
            Verdict::Error => 500,
        };
        let is_missing = status == 200 && file != PAGE;
        Reply {
            result: (!is_let_in_by_second).then_some(answer.word.as_str()),
            user: Some(String::from_utf8_lossy(&user).into_owned()),
            challenge: (status == 401).then(|| place.challenge()),
            retry_after: answer.retry_after,
            paper_next,
            ..Reply::of(if is_missing { 404 } else { status })
        }
    }
}

impl Place {
    fn challenge(&self) -> String {
        basic::challenge(&http::quoted(self.name.as_bytes()).expect("a plain name"))
    }

    /// With the number of the next code on paper, if the client may know it.
    fn decide(
        &self,
        login: &Login<'_>,
        client: IpAddr,
        target: &Target<'_>,
        log: &dyn Log,
    ) -> (Answer, Option<u32>) {
        let path = |path: &[u8]| Path::new(OsStr::from_bytes(path)).to_owned();
        let admission = self.groups.admit(&self.required, path, login.user);
        let fault = admission.as_ref().err().map(ToString::to_string);
        let mut policy = self.settings.policy(self.server);
        policy.admission = admission.unwrap_or_default();
        if self.settings.trusts(client) {
            policy.pin_alone = PinAlone::Here;
        }
        if let Some(fault) = fault {
            log.log(Level::Error, format_args!("{fault}"));
        }
        match &self.pins {
            Some(pins) => {
                self.decide_with(&policy, login, target, &PinFile::new(pins.clone(), log), log)
            }
            None => self.decide_with(&policy, login, target, &NoPins, log),
        }
    }

    /// As on an event loop first, then by a thread that may wait.
    fn decide_with(
        &self,
        policy: &Policy,
        login: &Login<'_>,
        target: &Target<'_>,
        pins: &dyn PinSource,
        log: &dyn Log,
    ) -> (Answer, Option<u32>) {
        let gate = &self.gate;
        let mut judged = RequestMemory::default();
        if is_app_password(login.password) {
            let at_once = gate.app_now(policy, login, target, None, Some(&mut judged), log);
            let of_app =
                at_once.unwrap_or_else(|| gate.app(policy, login, target, Some(&mut judged), log));
            if let Some(answer) = of_app {
                return (answer, None);
            }
        }
        let at_once = gate.basic_now(policy, login, pins, None, Some(&mut judged), log);
        let answer =
            at_once.unwrap_or_else(|| gate.basic(policy, login, pins, Some(&mut judged), log));
        (answer, judged.paper_next())
    }

    fn is_let_in_by_second(&self, user: &[u8], password: &[u8]) -> bool {
        let entry =
            self.second.as_ref().map(|second| entry_of(second, user).expect("a readable file"));
        matches!(entry, Some(Some((_, Ok(entry)))) if entry.is_of(password))
    }
}

struct NoPins;

impl PinSource for NoPins {
    fn identity(&self) -> Vec<u8> {
        Vec::new()
    }

    fn check(&self, _: &[u8], _: &[u8]) -> PinAnswer {
        PinAnswer::NoSource
    }
}

/// What is needed of a request.
struct Request {
    line: String,
    path: String,
    host: String,
    destination: String,
    authorization: Vec<u8>,
    forwarded_for: Option<IpAddr>,
    is_last: bool,
}

impl Request {
    /// `None`: no more come.
    fn read(reader: &mut impl BufRead) -> io::Result<Option<Request>> {
        let malformed = || io::Error::from(ErrorKind::InvalidData);
        let mut first = String::new();
        if reader.read_line(&mut first)? == 0 {
            return Ok(None);
        }
        let line = first.trim_end_matches(['\r', '\n']).to_owned();
        let path = line.split(' ').nth(1).ok_or_else(malformed)?.to_owned();
        let mut request = Request {
            line,
            path,
            host: String::new(),
            destination: String::new(),
            authorization: Vec::new(),
            forwarded_for: None,
            is_last: false,
        };
        let mut length = 0;
        loop {
            let mut line = String::new();
            reader.read_line(&mut line)?;
            let line = line.trim_end_matches(['\r', '\n']);
            if line.is_empty() {
                break;
            }
            let (name, value) = line.split_once(':').ok_or_else(malformed)?;
            let value = value.trim();
            match name.to_ascii_lowercase().as_str() {
                "authorization" => request.authorization = value.as_bytes().to_vec(),
                "host" => request.host = value.to_owned(),
                "destination" => request.destination = value.to_owned(),
                "x-forwarded-for" => request.forwarded_for = value.parse().ok(),
                "connection" => request.is_last = value.eq_ignore_ascii_case("close"),
                "content-length" => length = value.parse().map_err(|_| malformed())?,
                _ => {}
            }
        }
        io::copy(&mut reader.take(length), &mut io::sink())?;
        Ok(Some(request))
    }

    /// It serves what is asked for as it stands.
    fn target(&self) -> Target<'_> {
        Target {
            request_line: self.line.as_bytes(),
            host: self.host.as_bytes(),
            destination: self.destination.as_bytes(),
            path: self.path.as_bytes(),
        }
    }
}

struct Reply {
    status: u16,
    result: Option<&'static str>,
    user: Option<String>,
    challenge: Option<String>,
    retry_after: Option<u32>,
    paper_next: Option<u32>,
}

impl Reply {
    fn of(status: u16) -> Reply {
        Reply {
            status,
            result: None,
            user: None,
            challenge: None,
            retry_after: None,
            paper_next: None,
        }
    }

    fn bytes(&self, is_last: bool) -> Vec<u8> {
        let body = if self.status == 200 { PAGE_TEXT } else { "nothing to see" };
        let retry_after = self.retry_after.map(|seconds| seconds.to_string());
        let paper_next = self.paper_next.map(|number| number.to_string());
        let headers = [
            (RESULT_HEADER, self.result),
            (PAPER_NEXT_HEADER, paper_next.as_deref()),
            ("WWW-Authenticate", self.challenge.as_deref()),
            ("Retry-After", retry_after.as_deref()),
            ("Connection", is_last.then_some("close")),
        ];
        let headers =
            headers.into_iter().filter_map(|(name, value)| Some(format!("{name}: {}\r\n", value?)));
        let headers: String = headers.collect();
        let (status, length) = (self.status, body.len());
        format!("HTTP/1.1 {status} -\r\nContent-Length: {length}\r\n{headers}\r\n{body}")
            .into_bytes()
    }
}

fn open_log(path: &Path) -> File {
    OpenOptions::new().append(true).create(true).open(path).expect("a log can be written")
}

/// Lines of `[level] place: message`.
struct ServerLog<'a> {
    file: &'a File,
    place: &'a str,
}

impl Log for ServerLog<'_> {
    fn log(&self, level: Level, message: std::fmt::Arguments<'_>) {
        let message =
            String::from_utf8(log::line(message, policy::Server::Nginx)).expect("printable ASCII");
        let line = format!("[{level:?}] /{}/: {message}\n", self.place);
        let mut file = self.file;
        file.write_all(line.as_bytes()).expect("the log can be written");
    }
}
