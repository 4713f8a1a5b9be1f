//! No way from one place to another grants what asking there directly refuses: each place to each,
//! by each way that a server knows, with each thing that lets somebody in, on both servers.
//!
//! A *cell* is two places, a way and a grant. It has three users, who differ in their name and
//! address alone: one takes the way; the second asks the inner place directly, which says what is
//! right; the third asks the outer place, where the way was refused though the inner one grants.
//!
//! `OTPGATE_MATRIX=all` goes through all cells instead of a sample, any other text through those
//! that have it in their name: `httpd/base/part/once/linger`.

#[path = "../common/mod.rs"]
mod common;
#[path = "../common/digest.rs"]
mod digest;
mod places;
mod ways;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use common::client::Response;
use common::programs;
use common::scope::htpasswd_line;
use common::{Connection, Httpd, Nginx, Reply, Request, Scope, Server, Token};
use digest::{Answer, Challenge};
use places::{Kind, Place, Scheme, mark};
use ways::{Asked, Laid, Passage, Way};

const PIN: &str = "sesame9";
const SECOND: &str = "of-the-second-provider";
const SEED: u64 = 20_261_201;
/// So many cells share a server.
const AT_ONCE: usize = 12_000;
const THREADS: usize = 8;
/// Of cells whose outer place lets in as much as can be, and of others, one in so many is in the
/// sample.
const SAMPLED: [u64; 2] = [6, 120];

/// What is presented, and in which state of the user's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Grant {
    Fresh,
    /// At the end of the window.
    Far,
    Hexadecimal,
    Paper,
    /// After failures that lock, where that is so.
    Locked,
    /// After a wrong PIN.
    Guessed,
    /// A code that was used a while ago.
    Linger,
    /// One that was used elsewhere.
    Moved,
    /// With a PIN that others check.
    External,
    Pin,
    PinOutside,
    ExternalPin,
    App,
    /// A program's password for the outer place alone.
    AppOfOuter,
    Cookie,
    Digest,
    DigestFar,
    DigestMoved,
    DigestLinger,
    /// What httpd's next provider takes.
    Second,
    WrongCode,
}

use Grant::*;

const GRANTS: [Grant; 21] = [
    Fresh,
    Far,
    Hexadecimal,
    Paper,
    Locked,
    Guessed,
    Linger,
    Moved,
    External,
    Pin,
    PinOutside,
    ExternalPin,
    App,
    AppOfOuter,
    Cookie,
    Digest,
    DigestFar,
    DigestMoved,
    DigestLinger,
    Second,
    WrongCode,
];

impl Grant {
    fn is_digest(self) -> bool {
        matches!(self, Digest | DigestFar | DigestMoved | DigestLinger)
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Role {
    OnTheWay,
    Direct,
    Outside,
}

const ROLES: [Role; 3] = [Role::OnTheWay, Role::Direct, Role::Outside];

enum Credentials {
    Basic(String),
    Digest(String),
    Cookie,
}

struct Cell {
    kind: Kind,
    outer: &'static Place,
    inner: &'static Place,
    way: &'static Way,
    grant: Grant,
}

impl Cell {
    /// Those that mean something.
    fn all(kind: Kind) -> Vec<Cell> {
        let mut cells = Vec::new();
        for outer in kind.places() {
            for inner in kind.places().filter(|inner| inner.name != outer.name) {
                for way in kind.ways() {
                    for grant in GRANTS {
                        let cell = Cell { kind, outer, inner, way, grant };
                        if cell.is_sensible() {
                            cells.push(cell);
                        }
                    }
                }
            }
        }
        cells
    }

    fn is_sensible(&self) -> bool {
        let is_of = |scheme| self.outer.scheme == scheme || self.inner.scheme == scheme;
        match self.grant {
            // The inner place is where the password is good, too.
            AppOfOuter if self.way.is_at_outer_path => return false,
            _ if self.grant.is_digest() && !is_of(Scheme::Digest) => return false,
            Second if self.kind == Kind::Nginx => return false,
            _ => {}
        }
        // The PIN alone is sent on, which asks for something else.
        if self.outer.fakes_basic() && self.way.name == "proxy" {
            return false;
        }
        !self.way.is_by_author || self.outer.is_alike_for_authors(self.inner)
    }

    fn name(&self) -> String {
        let kind = format!("{:?}", self.kind).to_lowercase();
        let grant = format!("{:?}", self.grant).to_lowercase();
        format!("{kind}/{}/{}/{}/{grant}", self.outer.name, self.way.name, self.inner.name)
    }

    /// Whether the outer place is one that lets in as much as can be with that grant.
    fn is_of_the_laxest(&self) -> bool {
        self.outer.name
            == match self.grant {
                Cookie => "cookie",
                Second => "through",
                grant if grant.is_digest() => "digest",
                _ => "base",
            }
    }

    fn passage(&self) -> Passage<'_> {
        let Cell { kind, outer, inner, way, .. } = *self;
        Passage { kind, outer, inner, way }
    }

    fn token(&self, user: &str, address: &str) -> Token {
        let token = Token::hotp(user);
        match self.grant {
            Paper => Token::paper(user, 50).pin(PIN),
            Locked => token.failures(3).pin(PIN),
            Linger | DigestLinger => token.used(0, 100, address).pin(PIN),
            Moved | DigestMoved => token.used(0, 10, "192.0.2.9").pin(PIN),
            External | ExternalPin => token.external_pin(PIN),
            _ => token.pin(PIN),
        }
    }

    fn credentials(&self, token: &Token) -> Credentials {
        match self.grant {
            Far => Credentials::Basic(token.password(3)),
            Hexadecimal => Credentials::Basic(token.with(&token.hexadecimal_code(0))),
            Pin | PinOutside | ExternalPin => Credentials::Basic(PIN.to_owned()),
            App | AppOfOuter => Credentials::Basic(programs::password(1)),
            Cookie => Credentials::Cookie,
            DigestFar => Credentials::Digest(token.password(3)),
            Digest | DigestMoved | DigestLinger => Credentials::Digest(token.password(0)),
            Second => Credentials::Basic(SECOND.to_owned()),
            WrongCode => Credentials::Basic(token.with(&token.wrong_code())),
            _ => Credentials::Basic(token.password(0)),
        }
    }

    /// What isn't expected to come through, though both places let it in.
    fn is_known_to_be_refused(&self) -> bool {
        let (outer, inner) = (self.outer, self.inner);
        match self.way.asked {
            Asked::Never => true,
            // A challenge is one realm's, and a response one target's.
            // A page to log in can't be taken away within: sessions are kept, no codes linger.
            Asked::Itself if self.kind == Kind::Httpd && outer.scheme == Scheme::Form => true,
            _ if self.grant.is_digest() => {
                outer.realm != inner.realm || self.way.asked == Asked::After
            }
            _ => false,
        }
    }
}

/// A user of a cell.
struct Somebody {
    user: String,
    address: String,
    token: Token,
    cookie: Mutex<Option<String>>,
}

impl Somebody {
    fn of(cell: &Cell, number: usize, role: Role) -> Somebody {
        let user = format!("{}{number}", ["w", "d", "o"][role as usize]);
        let network = if cell.grant == PinOutside { 11 } else { 10 };
        let [.., high, middle, low] = number.to_be_bytes();
        let address = format!("{network}.{}.{middle}.{low}", role as usize * 64 + high as usize);
        let token = cell.token(&user, &address);
        Somebody { user, address, token, cookie: Mutex::default() }
    }
}

/// A server with all that some cells need.
struct Stage {
    server: Server,
    laid: Vec<Laid>,
    people: Vec<[Somebody; 3]>,
}

impl Stage {
    fn of(kind: Kind, cells: &[&Cell]) -> Stage {
        let laid: Vec<Laid> = cells.iter().map(|cell| cell.passage().laid()).collect();
        let people: Vec<[Somebody; 3]> = cells
            .iter()
            .enumerate()
            .map(|(number, cell)| ROLES.map(|role| Somebody::of(cell, number, role)))
            .collect();
        let (mut home, mut other) = (Vec::new(), Vec::new());
        let [mut pins, mut other_pins, mut second] = [const { String::new() }; 3];
        for (cell, people) in cells.iter().zip(&people) {
            for somebody in people {
                let user = &somebody.user;
                home.extend(somebody.token.line());
                match cell.grant {
                    App => home.extend(programs::line(user, 1, &[], &[]).into_bytes()),
                    AppOfOuter => {
                        let path = format!("/{}/", cell.outer.name);
                        home.extend(programs::line(user, 1, &[&path], &[]).into_bytes());
                    }
                    External | ExternalPin => {
                        pins += &htpasswd_line(user, PIN);
                        other_pins += &htpasswd_line(user, "another9");
                    }
                    Second => second += &htpasswd_line(user, SECOND),
                    _ => {}
                }
                let stranger = Token::hotp(user).pin("another9").key(b"the key of another user");
                other.extend(stranger.line());
            }
        }
        pins += "somebody:x\n";
        other_pins += "somebody:x\n";
        let scope = |name: &str, users: Vec<u8>, pins: String| {
            let closed = if kind == Kind::Httpd { "Require all denied" } else { "return 404;" };
            let mut scope = Scope::bare(name).text(users).directives(closed);
            scope.pin_file = pins;
            scope.group_file("staff: somebody\n")
        };
        let scopes = vec![scope("home", home, pins), scope("other", other, other_pins)];

        // Cells of one passage have the same.
        let mut written = BTreeSet::new();
        let passages: Vec<(&Cell, &Laid)> = cells
            .iter()
            .zip(&laid)
            .filter(|(cell, _)| written.insert((cell.outer.name, cell.way.name, cell.inner.name)))
            .map(|(cell, laid)| (*cell, laid))
            .collect();
        let server = match kind {
            Kind::Httpd => start_httpd(scopes, &passages, second),
            Kind::Nginx => start_nginx(scopes, &passages),
        };
        // Each refusal is looked at where it is answered.
        server.tolerate_log("");
        for place in kind.places() {
            let write = |file: &str, text: &str| {
                server.root().write(format!("htdocs/{}/{file}", place.name), text);
            };
            write("inner.txt", &mark(place));
            write("page.txt", "outside");
        }
        for (path, text) in passages.iter().flat_map(|(_, laid)| &laid.files) {
            let text = text
                .replace("{port}", &server.port().to_string())
                .replace("{root}", &server.root().path().to_string_lossy());
            server.root().write(format!("htdocs{path}"), text);
        }
        Stage { server, laid, people }
    }

    fn fetch(&self, request: &Request) -> Response {
        common::client::fetch(self.server.port(), request)
    }

    /// What has to be done before: a session is begun, a wrong PIN tried.
    fn prepare(&self, cell: &Cell, number: usize) {
        for somebody in &self.people[number] {
            let get = |place: &str, password: &str| {
                let request = Request::get(format!("/{place}/page.txt"))
                    .basic(&somebody.user, password)
                    .from(&somebody.address);
                self.fetch(&request)
            };
            match cell.grant {
                Cookie => {
                    let place = if cell.outer.gives_cookies() { cell.outer.name } else { "cookie" };
                    let reply = get(place, &somebody.token.password(0));
                    let pair = |header: &&str| header.split(';').next().map(str::to_owned);
                    let cookies = reply.headers_of("Set-Cookie");
                    *somebody.cookie.lock().expect("no panic inside") =
                        cookies.first().and_then(pair);
                }
                Guessed => drop(get(cell.inner.name, "no-pin-at-all755224")),
                _ => {}
            }
        }
    }

    /// With the credentials of somebody.
    fn request(&self, cell: &Cell, somebody: &Somebody, path: &str) -> Request {
        let Somebody { user, address, token, cookie } = somebody;
        let request = Request::get(path).from(address);
        match cell.credentials(token) {
            Credentials::Basic(password) => request.basic(user, password),
            Credentials::Cookie => match &*cookie.lock().expect("no panic inside") {
                Some(cookie) => request.header("Cookie", cookie),
                None => request,
            },
            Credentials::Digest(password) => {
                let challenge = |path: &str| {
                    let reply = Reply(self.fetch(&Request::get(path).from(address)));
                    Challenge::all_in(&reply).into_iter().next()
                };
                let challenge = challenge(path).or_else(|| challenge("/digest/page.txt"));
                let answer = Answer::new(&challenge.expect("a challenge"), path, user, password);
                answer.request().from(address)
            }
        }
    }

    fn go(&self, cell: &Cell, number: usize) -> Outcome {
        let laid = &self.laid[number];
        let [on_the_way, direct, outside] = &self.people[number];
        let inner_page = format!("/{}/inner.txt", cell.inner.name);
        let outer_page = format!("/{}/page.txt", cell.outer.name);
        let shown = laid.shown.clone().unwrap_or_else(|| mark(cell.inner));
        let answer = |reply: Response, shown: &str| {
            let result = reply.header(common::server::RESULT_HEADER).unwrap_or_default();
            let told = format!("{} {result}", reply.status);
            Told { is_let_in: reply.text().contains(shown), status: reply.status, told }
        };

        let request = self.request(cell, on_the_way, &laid.path);
        let by_way = match &laid.first {
            None => self.fetch(&request),
            Some(first) => {
                let first = self.request(cell, on_the_way, first);
                let mut connection = Connection::open(self.server.port()).expect("a connection");
                connection.send(&first, true).expect("an answer");
                // Its challenge is asked for after that.
                let request = self.request(cell, on_the_way, &laid.path);
                connection.send(&request, false).expect("an answer")
            }
        };
        let by_way = answer(by_way, &shown);
        if cell.way.asked == Asked::After {
            self.fetch(&self.request(cell, direct, &outer_page));
        }
        let asked = self.fetch(&self.request(cell, direct, &inner_page));
        let asked = answer(asked, &mark(cell.inner));
        let is_busy = [&by_way, &asked].iter().any(|told| [500, 503].contains(&told.status));
        let verdict = match (by_way.is_let_in, asked.is_let_in) {
            _ if is_busy => Verdict::Failed,
            (true, true) => Verdict::Granted,
            (false, false) => Verdict::Refused,
            // What a process has granted it exempts from the throttle (6.7 of the specification).
            (true, false) if cell.inner.has_throttle() && asked.status == 429 => Verdict::Exempt,
            (false, true) if cell.inner.has_throttle() && by_way.status == 429 => Verdict::Exempt,
            (true, false) => Verdict::Wrong,
            (false, true) if cell.is_known_to_be_refused() => Verdict::Stopped,
            (false, true) if cell.way.asked == Asked::Itself => Verdict::Broken,
            (false, true) => {
                let outer = self.fetch(&self.request(cell, outside, &outer_page));
                match outer.text() == "outside" {
                    true => Verdict::Broken,
                    false => Verdict::Stopped,
                }
            }
        };
        Outcome {
            verdict,
            told: format!("on the way {}, asked directly {}", by_way.told, asked.told),
        }
    }
}

struct Told {
    is_let_in: bool,
    status: u16,
    told: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Verdict {
    /// Both let in.
    Granted,
    /// Neither does.
    Refused,
    /// The outer place doesn't let in, or the way isn't one for that.
    Stopped,
    /// Refused for the tries of before, which a grant of the outer place makes up for.
    Exempt,
    /// The way lets in who is refused.
    Wrong,
    /// The way doesn't let in whom both places do.
    Broken,
    /// An error, which says nothing.
    Failed,
}

struct Outcome {
    verdict: Verdict,
    told: String,
}

fn start_httpd(scopes: Vec<Scope>, passages: &[(&Cell, &Laid)], second: String) -> Server {
    let mut text = "RewriteEngine On\nProxyPreserveHost On\nTypesConfig /dev/null\n\
        AddType text/plain .txt\n\
        <FilesMatch \"\\.shtml$\">\nSetOutputFilter INCLUDES\n</FilesMatch>\n\
        <Directory \"{root}/htdocs\">\nAllowOverride All\nAcceptPathInfo On\n\
        Options +Includes +FollowSymLinks +MultiViews +Indexes\n</Directory>\n"
        .to_owned();
    for place in Kind::Httpd.places() {
        let directives = place.directives(Kind::Httpd, false);
        write!(text, "<Directory \"{{root}}/htdocs/{}\">\n{directives}</Directory>\n", place.name)
            .expect("text");
        if place.scheme == Scheme::Form {
            let page = "SetHandler otp-login\nRequire all granted\n";
            write!(text, "<Location \"/login\">\n{directives}{page}</Location>\n").expect("text");
        }
    }
    text.extend(passages.iter().map(|(_, laid)| laid.section.as_str()));
    let modules = [
        "include",
        "rewrite",
        "alias",
        "actions",
        "negotiation",
        "autoindex",
        "mime",
        "proxy",
        "proxy_http",
        "auth_digest",
    ];
    let httpd = modules.into_iter().fold(Httpd::event(), Httpd::module);
    Server::start(httpd.file("second.pw", second).directives(&text), scopes)
}

fn start_nginx(scopes: Vec<Scope>, passages: &[(&Cell, &Laid)]) -> Server {
    let mut sections: BTreeMap<&str, String> = BTreeMap::new();
    let mut text = "ssi on;\nssi_types text/plain;\ndefault_type text/plain;\n\
        addition_types text/plain;\n"
        .to_owned();
    for (cell, laid) in passages {
        *sections.entry(cell.outer.name).or_default() += &laid.section;
        text += &laid.server;
    }
    for place in Kind::Nginx.places() {
        let directives = place.directives(Kind::Nginx, false);
        let sections = sections.remove(place.name).unwrap_or_default();
        write!(text, "location /{}/ {{\n{directives}{sections}}}\n", place.name).expect("text");
        if place.scheme == Scheme::Form {
            write!(text, "location = /login {{\n{directives}auth_otp_login;\n}}\n").expect("text");
        }
    }
    let backend = "server {\nlisten 127.0.0.1:{other_port};\nlocation ~ ^/([a-z]+)/ {\n\
        add_header X-Accel-Redirect /$1/inner.txt;\nreturn 200;\n}\n}\n";
    let nginx = Nginx::new(2).directives(backend).server_directives(&text);
    Server::start(nginx, scopes)
}

/// The cells that were asked for.
fn chosen(kind: Kind) -> Vec<Cell> {
    let mut cells = Cell::all(kind);
    match std::env::var("OTPGATE_MATRIX").as_deref() {
        Ok("all") => {}
        Ok(part) if !part.is_empty() => cells.retain(|cell| cell.name().contains(part)),
        _ => {
            let mut random = SEED;
            cells.retain(|cell| {
                // splitmix64
                random = random.wrapping_add(0x9e37_79b9_7f4a_7c15);
                let mixed = (random ^ (random >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
                let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
                (mixed >> 31).is_multiple_of(SAMPLED[usize::from(!cell.is_of_the_laxest())])
            });
        }
    }
    cells
}

fn for_each(cells: &[&Cell], act: impl Fn(usize, &Cell) + Sync) {
    let next = AtomicUsize::new(0);
    std::thread::scope(|threads| {
        for _ in 0..THREADS {
            threads.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    let Some(cell) = cells.get(number) else { break };
                    act(number, cell);
                }
            });
        }
    });
}

fn no_way_grants_what_asking_directly_refuses(kind: Kind) {
    let begun = Instant::now();
    let cells = chosen(kind);
    let figures: Mutex<BTreeMap<Verdict, usize>> = Mutex::default();
    let by_grant: Mutex<BTreeMap<Grant, [usize; 2]>> = Mutex::default();
    let wrong: Mutex<Vec<String>> = Mutex::default();
    let all: Vec<&Cell> = cells.iter().collect();
    for part in all.chunks(AT_ONCE) {
        let stage = Stage::of(kind, part);
        for_each(part, |number, cell| stage.prepare(cell, number));
        // What was begun is older than a place may want it to be.
        let prepared = Instant::now();
        common::wait_until("two seconds are over", || prepared.elapsed() > Duration::from_secs(2));
        for_each(part, |number, cell| {
            let Outcome { verdict, told } = stage.go(cell, number);
            *figures.lock().expect("no panic inside").entry(verdict).or_default() += 1;
            let mut by_grant = by_grant.lock().expect("no panic inside");
            by_grant.entry(cell.grant).or_default()[usize::from(verdict != Verdict::Granted)] += 1;
            if verdict >= Verdict::Wrong {
                let line = format!("{verdict:?}: {}: {told}", cell.name());
                wrong.lock().expect("no panic inside").push(line);
            }
        });
    }
    let mut wrong = wrong.into_inner().expect("no panic inside");
    wrong.sort();
    let figures = figures.into_inner().expect("no panic inside");
    println!("{kind:?}: {} cells in {:?}: {figures:?}", cells.len(), begun.elapsed());
    println!("granted and not: {:?}", by_grant.into_inner().expect("no panic inside"));
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn no_way_of_httpd_grants_what_asking_directly_refuses() {
    no_way_grants_what_asking_directly_refuses(Kind::Httpd);
}

#[test]
fn no_way_of_nginx_grants_what_asking_directly_refuses() {
    no_way_grants_what_asking_directly_refuses(Kind::Nginx);
}
