//! People who log in, each at both servers, and what admins do about them. Each thinks that they
//! know how it stands with them, and may be wrong; what they have seen is for the judge.

use std::collections::{BTreeMap, HashSet};
use std::sync::Mutex;
use std::time::Duration;

use super::common::Token;
use super::common::client::{Connection, Request, Response};
use super::common::codes::now;
use super::common::random::Random;
use super::common::server::RESULT_HEADER;
use super::common::visitor::{Screen, Visitor};
use super::model::{Answer, Deed, Event, LIMIT, Moving, NO_PIN, Net, Place, What};
use super::scene::{NAMES, PINS, Sabotage, Scene, lock};

/// Seconds of a time step.
pub const PERIOD: u64 = 2;
const ELSEWHERE: &str = "198.51.100.7";
pub const TRUSTED: &str = "203.0.113.9";
const OWN: &str = "192.0.2.9";
const OWN_NETWORK: &str = "192.0.2.0/24";
/// How far from now a time code may be that has to be accepted, as the servers' window is wider.
const NEAR: u64 = 40;

pub struct Person {
    pub name: String,
    pub token: Token,
    pub key: Vec<u8>,
    pub moving: Moving,
    /// Of a time token, the codes of yesterday and tomorrow: old ones are recognised for a day.
    of_days: HashSet<String>,
    /// Is removed and added again.
    pub passes: bool,
    /// What they have seen since the judge was here.
    pub history: Mutex<Vec<Event>>,
    pub mind: Mutex<Mind>,
}

/// How it stands, as far as they know.
#[derive(Default)]
pub struct Mind {
    next: u64,
    pin: u8,
    failures: u32,
    /// Apps and sessions are numbered.
    number: u32,
    apps: Vec<(u32, String)>,
    old_apps: Vec<(u32, String)>,
    /// Of which nobody knows whether they are there: a user may have a hundred.
    doubtful_apps: Vec<u32>,
    sessions: Vec<(u32, Cookies)>,
    old_sessions: Vec<(u32, Cookies)>,
    /// Off, locked or removed.
    is_out: bool,
}

type Cookies = Vec<(String, String)>;

/// Something to be done.
enum Plan {
    Ask { what: What, at: usize, request: Request },
    LogIn { what: What, at: usize },
    LogOut { what: What, at: usize, cookies: Cookies },
    Run { what: What, args: Vec<String>, input: String, sabotage: Sabotage },
}

impl Person {
    pub fn new(name: &str, moving: Moving) -> Person {
        let token = match moving {
            Moving::Event => Token::hotp(name),
            Moving::Time => Token::totp(name).period(PERIOD),
            Moving::Paper(printed) => Token::paper(name, printed as u16),
        };
        let key: Vec<u8> = name.bytes().cycle().take(20).collect();
        let token = token.pin(PINS[0]).digits(8).key(&key);
        let of_days = match moving {
            Moving::Time => {
                let (step, day) = (now() / PERIOD, 24 * 60 * 60 / PERIOD);
                (step - day - 100..step + day).map(|step| token.code(step)).collect()
            }
            _ => HashSet::new(),
        };
        Person {
            name: name.to_owned(),
            token,
            key,
            moving,
            of_days,
            passes: false,
            history: Mutex::default(),
            mind: Mutex::default(),
        }
    }

    pub fn passing(name: &str) -> Person {
        Person { passes: true, ..Person::new(name, Moving::Event) }
    }

    fn text(&self, pin: u8) -> String {
        PINS.get(usize::from(pin)).map_or("sesame-bad9".to_owned(), |pin| (*pin).to_owned())
    }

    fn basic(&self, place: &str, password: String, address: &str) -> Request {
        let path = format!("/{place}/page.txt");
        Request::get(path).basic(&self.name, password).from(address)
    }

    fn code(&self, pin: u8, value: u64, place: Place, at: usize) -> Plan {
        let what = What::Code { pin, value, place };
        let name = match place {
            Place::Once => "once",
            Place::Linger => "linger",
            Place::Page(_) => return Plan::LogIn { what, at },
        };
        let password = format!("{}{}", self.text(pin), self.token.code(value));
        Plan::Ask { what, at, request: self.basic(name, password, ELSEWHERE) }
    }

    /// A code that the token doesn't show anywhere near.
    fn wrong_code(&self, pin: u8, at: usize, mind: &Mind, random: &mut Random) -> Plan {
        let near: HashSet<String> = match self.moving {
            Moving::Time => HashSet::new(),
            _ => {
                let counters = mind.next.saturating_sub(150)..mind.next + 150;
                counters.map(|counter| self.token.code(counter)).collect()
            }
        };
        let code = loop {
            let code = format!("{:08}", random.below(100_000_000));
            if !near.contains(&code) && !self.of_days.contains(&code) {
                break code;
            }
        };
        let request = self.basic("once", self.text(pin) + &code, ELSEWHERE);
        Plan::Ask { what: What::WrongCode { pin }, at, request }
    }

    fn pin_alone(&self, pin: u8, from: Net, at: usize, random: &mut Random) -> Plan {
        let text = match pin {
            // The same one twice would count once.
            NO_PIN => format!("bad-pin-{:016x}-x", random.draw()),
            pin => self.text(pin),
        };
        let address = match from {
            Net::Elsewhere => ELSEWHERE,
            Net::Trusted => TRUSTED,
            Net::Own => OWN,
        };
        let what = What::PinAlone { pin, from };
        Plan::Ask { what, at, request: self.basic("once", text, address) }
    }

    fn app(&self, app: &(u32, String), inside: bool, at: usize) -> Plan {
        let path = if inside { "/once/page.txt" } else { "/linger/page.txt" };
        let request = Request::get(path).basic(&self.name, &app.1).from(ELSEWHERE);
        Plan::Ask { what: What::App { app: app.0, inside }, at, request }
    }

    fn cookie(&self, session: &(u32, Cookies), at: usize) -> Plan {
        let pairs: Vec<String> =
            session.1.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let request = Request::get("/room/page.txt").from(ELSEWHERE);
        let request = request.header("Cookie", pairs.join("; "));
        Plan::Ask { what: What::Cookie { session: session.0 }, at, request }
    }

    fn command(&self, what: What, args: &[&str], input: &str, random: &mut Random) -> Plan {
        let args = args.iter().map(|arg| (*arg).to_owned()).collect();
        let mut after = |at_most| Duration::from_micros(random.below(at_most) as u64);
        let (shot, stopped) = (after(25_000), after(15_000));
        let sabotage = match random.below(10) {
            0..2 => Sabotage::Shoot(shot),
            // Now and then for longer than anybody waits.
            2 if random.once_in(30) => Sabotage::Stop(stopped, Duration::from_secs(6)),
            2 if random.once_in(4) => Sabotage::Stop(stopped, Duration::from_millis(400)),
            _ => Sabotage::None,
        };
        Plan::Run { what, args, input: input.to_owned(), sabotage }
    }

    /// The next value to present as fresh, unless it has to be waited for.
    fn next(&self, mind: &Mind, random: &mut Random) -> Option<u64> {
        match self.moving {
            Moving::Event => Some(mind.next + [0, 0, 0, 0, 0, 1, 4][random.below(7)]),
            Moving::Time => {
                let step = now() / PERIOD;
                let next = mind.next.max(step - 10);
                (next < step + NEAR).then_some(next)
            }
            Moving::Paper(printed) => {
                // It has to last.
                (mind.next < printed + 3 && random.once_in(8)).then_some(mind.next)
            }
        }
    }

    fn old(&self, mind: &Mind, random: &mut Random) -> Option<u64> {
        let back = if random.once_in(2) { 1 } else { 1 + random.below(40) as u64 };
        mind.next.checked_sub(back)
    }

    /// Things to be done at the same time.
    fn plan(&self, mind: &mut Mind, random: &mut Random) -> Vec<Plan> {
        let at = random.below(2);
        let place = if random.once_in(2) { Place::Once } else { Place::Linger };
        let mut plans = Vec::new();
        match random.below(if mind.is_out { 120 } else { 100 }) {
            // One code, many times at once.
            0..26 => {
                let Some(value) = self.next(mind, random) else { return plans };
                for i in 0..1 + random.below(3) {
                    let place = if random.once_in(3) { Place::Linger } else { place };
                    plans.push(self.code(mind.pin, value, place, (at + i) % 2));
                }
            }
            26..34 => {
                let Some(value) = self.old(mind, random) else { return plans };
                plans.push(self.code(mind.pin, value, place, at));
            }
            34..40 => {
                let many = 1 + random.below(2);
                for i in 0..many {
                    plans.push(self.wrong_code(mind.pin, (at + i) % 2, mind, random));
                }
            }
            40..44 => {
                let pin = if random.once_in(2) { NO_PIN } else { 1 - mind.pin };
                plans.push(self.code(pin, mind.next, place, at));
            }
            44..54 => {
                let from = [Net::Elsewhere, Net::Trusted, Net::Trusted, Net::Own][random.below(4)];
                plans.push(self.pin_alone(mind.pin, from, at, random));
                if from != Net::Elsewhere && random.once_in(3) {
                    plans.push(self.pin_alone(NO_PIN, from, 1 - at, random));
                }
            }
            54..62 => {
                let old = random.once_in(3);
                let apps = if old { &mind.old_apps } else { &mind.apps };
                if !apps.is_empty() {
                    let app = &apps[random.below(apps.len())];
                    plans.push(self.app(app, !random.once_in(3), at));
                }
            }
            62..74 => {
                let old = random.once_in(3);
                let sessions = if old { &mind.old_sessions } else { &mind.sessions };
                for i in 0..(1 + random.below(2)).min(sessions.len()) {
                    let session = &sessions[random.below(sessions.len())];
                    plans.push(self.cookie(session, (at + i) % 2));
                }
            }
            74..82 => {
                let Some(value) = self.next(mind, random) else { return plans };
                mind.number += 1;
                plans.push(self.code(mind.pin, value, Place::Page(mind.number), at));
            }
            82..86 => {
                if !mind.sessions.is_empty() {
                    let number = random.below(mind.sessions.len());
                    let (session, cookies) = mind.sessions.remove(number);
                    mind.old_sessions.push((session, cookies.clone()));
                    plans.push(Plan::LogOut { what: What::LogOut { session }, at, cookies });
                }
            }
            _ => {
                // What an admin does goes on beside a login.
                if let Some(value) = self.next(mind, random)
                    && random.once_in(2)
                {
                    plans.push(self.code(mind.pin, value, place, at));
                }
                if let Some(session) = mind.sessions.first()
                    && random.once_in(2)
                {
                    plans.push(self.cookie(session, at));
                }
                plans.push(self.admin(mind, random));
            }
        }
        plans
    }

    fn admin(&self, mind: &mut Mind, random: &mut Random) -> Plan {
        let name = self.name.as_str();
        if mind.failures >= LIMIT && random.once_in(2) {
            return self.command(What::Unlock, &["unlock", name], "", random);
        }
        if mind.is_out && random.once_in(2) {
            return self.command(What::Enable, &["enable", name], "", random);
        }
        if mind.is_out && self.passes && random.once_in(2) {
            return self.add(random);
        }
        if let Some(number) = mind.doubtful_apps.pop() {
            return self.revoke(number, random);
        }
        match random.below(if self.passes { 13 } else { 11 }) {
            0 => self.command(What::Disable, &["disable", name], "", random),
            1 | 2 => self.command(What::Enable, &["enable", name], "", random),
            3 => self.command(What::Unlock, &["unlock", name], "", random),
            4 => {
                let other = 1 - mind.pin;
                let input = format!("{}\n", PINS[usize::from(other)]);
                let args = ["set-pin", name, "--plain-pin"];
                self.command(What::SetPin(other), &args, &input, random)
            }
            5 | 6 if mind.apps.len() < 3 => {
                mind.number += 1;
                let app = format!("app{}", mind.number);
                let args = ["app", "add", name, &app, "--path=/once/"];
                self.command(What::AppAdd(mind.number), &args, "", random)
            }
            5 | 6 => {
                let (number, password) = mind.apps.remove(random.below(mind.apps.len()));
                mind.old_apps.push((number, password));
                self.revoke(number, random)
            }
            7 => self.command(What::Trust, &["trust", name, OWN_NETWORK], "", random),
            8 => self.command(What::Untrust, &["untrust", name], "", random),
            9 | 10 => self.command(What::EndSessions, &["logout", name], "", random),
            11 => self.command(What::Remove, &["remove", name, "--yes"], "", random),
            _ => self.add(random),
        }
    }

    fn revoke(&self, number: u32, random: &mut Random) -> Plan {
        let app = format!("app{number}");
        let args = ["app", "revoke", &self.name, &app];
        self.command(What::AppRevoke(number), &args, "", random)
    }

    fn add(&self, random: &mut Random) -> Plan {
        let key = data_encoding::HEXLOWER.encode(&self.key);
        let args = ["add", &self.name, "--hotp", "--digits=8", "--key-file=-", "--plain-pin", "-q"];
        self.command(What::Add, &args, &format!("{key}\n{}\n", PINS[0]), random)
    }

    /// Does something, or several things at once, and remembers what came of it.
    pub fn turn(&self, scene: &Scene<'_>, random: &mut Random) {
        let mut mind = lock(&self.mind);
        let plans = self.plan(&mut mind, random);
        let deeds: Vec<(Deed, Gain)> = match plans.len() {
            0 => return,
            1 => plans.into_iter().filter_map(|plan| self.perform(scene, plan)).collect(),
            _ => std::thread::scope(|threads| {
                let doers: Vec<_> = plans
                    .into_iter()
                    .map(|plan| threads.spawn(|| self.perform(scene, plan)))
                    .collect();
                let done = doers.into_iter().map(|doer| doer.join().expect("no panic"));
                done.flatten().collect()
            }),
        };
        for (deed, gain) in &deeds {
            mind.learn(deed, gain, self);
        }
        drop(mind);
        if !deeds.is_empty() {
            let deeds = deeds.into_iter().map(|(deed, _)| deed).collect();
            lock(&self.history).push(Event::Together(deeds));
        }
    }

    /// Logs in until it works, at each server.
    pub fn logs_in_everywhere(&self, scene: &Scene<'_>) {
        for at in 0..2 {
            super::common::wait_until("a login works again", || {
                let mut mind = lock(&self.mind);
                let plan = self.code(0, mind.next, Place::Once, at);
                let (deed, gain) = self.perform(scene, plan).expect("a request");
                mind.learn(&deed, &gain, self);
                let is_done = deed.answer == Answer::Word("granted-fresh".to_owned());
                lock(&self.history).push(Event::Together(vec![deed]));
                is_done
            });
        }
    }

    /// `None` if it didn't come to it.
    fn perform(&self, scene: &Scene<'_>, plan: Plan) -> Option<(Deed, Gain)> {
        let mut gain = Gain::default();
        let mut sent = scene.now();
        let (what, at, answer) = match plan {
            Plan::Ask { what, at, request } => {
                let answer = send(scene, at, &request);
                (what, NAMES[at], word(answer.as_ref()))
            }
            Plan::LogIn { what, at } => {
                let What::Code { pin, value, .. } = what else { unreachable!("a code") };
                let mut visitor = Visitor::of(scene.servers[at]).at(ELSEWHERE);
                let page = form(scene, at, &mut visitor)?;
                let code = self.token.code(value);
                let filled =
                    [("user", self.name.as_str()), ("pin", &self.text(pin)), ("code", &code)];
                let (_, request) = page.filled_in(&filled);
                sent = scene.now();
                let answer = send(scene, at, &visitor.request(request));
                if let Some(answer) = &answer {
                    visitor.keep_cookies(answer);
                    visitor.cookies.retain(|(name, _)| !name.ends_with("-visit"));
                    gain.cookies = visitor.cookies;
                }
                (what, NAMES[at], word(answer.as_ref()))
            }
            Plan::LogOut { what, at, cookies } => {
                let mut visitor = Visitor::of(scene.servers[at]).at(ELSEWHERE);
                visitor.cookies = cookies;
                let page = form(scene, at, &mut visitor)?;
                let (_, fields) = page.form();
                let is_logout = fields.iter().any(|(_, value)| value == "logout");
                if !is_logout {
                    return None;
                }
                let (_, request) = page.filled_in(&[]);
                sent = scene.now();
                let answer = send(scene, at, &visitor.request(request));
                let answer = match answer {
                    Some(answer) if answer.status == 303 => Answer::Word("out".to_owned()),
                    answer => word(answer.as_ref()),
                };
                (what, NAMES[at], answer)
            }
            Plan::Run { what, args, input, sabotage } => {
                let args: Vec<&str> = args.iter().map(String::as_str).collect();
                let (answer, said) = scene.command(&args, &input, sabotage);
                gain.said = said;
                (what, "command", answer)
            }
        };
        let answered = scene.now();
        if let Answer::Word(word) = &answer {
            let word = if word.is_empty() { "nothing decided" } else { word };
            scene.count(word);
        }
        Some((Deed { what, sent, answered, answer, at }, gain))
    }
}

/// What somebody has now.
#[derive(Default)]
struct Gain {
    cookies: Cookies,
    said: String,
}

impl Mind {
    fn learn(&mut self, deed: &Deed, gain: &Gain, person: &Person) {
        let word = match &deed.answer {
            Answer::Word(word) => word.as_str(),
            Answer::Done => "done",
            _ => "",
        };
        match (&deed.what, word) {
            (What::Code { value, place, .. }, "granted-fresh") => {
                (self.next, self.failures) = (value + 1, 0);
                if let Place::Page(number) = place
                    && !gain.cookies.is_empty()
                {
                    self.sessions.push((*number, gain.cookies.clone()));
                    if self.sessions.len() > 6 {
                        self.old_sessions.push(self.sessions.remove(0));
                    }
                }
            }
            (What::Code { value, .. }, "denied-expired") => self.next = self.next.max(value + 1),
            (What::Code { pin, .. }, "denied-pin") if *pin == self.pin => self.pin = 1 - self.pin,
            (What::Code { .. } | What::WrongCode { .. }, "denied-code") => self.failures += 1,
            (What::Code { .. }, "denied-locked") => self.failures = LIMIT,
            (What::Unlock, "done") => self.failures = 0,
            (What::SetPin(pin), "done") => self.pin = *pin,
            (What::Cookie { session }, "denied-session" | "") => {
                if let Some(i) = self.sessions.iter().position(|it| it.0 == *session) {
                    self.old_sessions.push(self.sessions.remove(i));
                }
            }
            (What::AppAdd(app), _) => {
                let password = gain.said.trim_end();
                match password.len() == "app-xxxxx-xxxxx-xxxxx-xxxxx-xxxxx".len() {
                    true => self.apps.push((*app, password.to_owned())),
                    false => self.doubtful_apps.push(*app),
                }
            }
            (What::AppRevoke(app), _)
                if deed.answer == Answer::Killed || is_for_want_of_the_file(&deed.answer) =>
            {
                self.doubtful_apps.push(*app);
            }
            (What::Remove | What::Add, "done") => {
                (self.next, self.pin, self.failures) = (0, 0, 0);
                self.doubtful_apps.clear();
                self.old_apps.append(&mut self.apps);
                self.old_sessions.append(&mut self.sessions);
            }
            _ => {}
        }
        match word {
            "denied-locked" | "unknown" => self.is_out = true,
            _ if word.starts_with("granted") => self.is_out = false,
            _ => {}
        }
        // Whoever isn't listed has no counter either.
        if word == "unknown" && person.passes {
            (self.next, self.pin) = (0, 0);
        }
        const OLD: usize = 12;
        self.old_sessions.drain(..self.old_sessions.len().saturating_sub(OLD));
        self.old_apps.drain(..self.old_apps.len().saturating_sub(OLD));
    }
}

/// The command couldn't get at the file, rather than not find what it was told of.
fn is_for_want_of_the_file(answer: &Answer) -> bool {
    matches!(answer, Answer::Failed(said) if said.contains("cannot "))
}

/// The page to log in, as far as it has a form.
fn form(scene: &Scene<'_>, at: usize, visitor: &mut Visitor<'_>) -> Option<Screen> {
    let answer = send(scene, at, &visitor.request(Request::get("/otp/login")))?;
    visitor.keep_cookies(&answer);
    let page = Screen { path: "/otp/login".to_owned(), answer };
    page.text().contains("<form").then_some(page)
}

fn send(scene: &Scene<'_>, at: usize, request: &Request) -> Option<Response> {
    scene.count("requests");
    let connection = Connection::open(scene.servers[at].port());
    connection.and_then(|mut connection| connection.send(request, false)).ok()
}

fn word(answer: Option<&Response>) -> Answer {
    let Some(answer) = answer else { return Answer::Lost };
    let word = answer.header(RESULT_HEADER).unwrap_or_default();
    assert_eq!(
        word.starts_with("granted"),
        answer.status == 200,
        "{word:?} comes with {}",
        answer.status
    );
    Answer::Word(word.to_owned())
}

/// How often each word was said about each person, by what clients were told.
pub fn words_told(events: &[Event]) -> BTreeMap<String, usize> {
    let mut words = BTreeMap::new();
    for event in events {
        let Event::Together(deeds) = event else { continue };
        for deed in deeds {
            if let Answer::Word(word) = &deed.answer {
                *words.entry(word.clone()).or_default() += 1;
            }
        }
    }
    words
}
