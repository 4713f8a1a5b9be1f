//! Compares what everybody has seen with the model, while nothing goes on.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt::Write as _;
use std::fs;

use super::common::random::Random;
use super::common::server::LogLine;
use super::explained;
use super::model::{self, Answer, Deed, Event, Line, State};
use super::people::{PERIOD, Person, words_told};
use super::saboteur;
use super::scene::{Kind, NAMES, PINS, Sabotage, Scene, lock};

/// So much of somebody's history is told with a fault.
const TOLD: usize = 40;

/// Users who never log in.
pub const FILLERS: usize = 6_000;

pub struct Judge<'s> {
    scene: &'s Scene<'s>,
    people: Vec<Known>,
    random: Random,
    secret: Option<u64>,
    kinds: BTreeSet<Kind>,
    pub looks: usize,
    pub faults: usize,
    /// Of lines that differ in numbers alone, one is enough.
    told_lines: BTreeSet<String>,
}

/// What the judge knows of a person.
struct Known {
    /// None: there was a fault, and nobody knows how it stands.
    states: BTreeSet<State>,
    history: VecDeque<Event>,
    told: BTreeMap<String, usize>,
    logged: BTreeMap<String, usize>,
    /// Answers of which nobody knows what the log says.
    unsure: usize,
    /// The logs don't say what they were told, and that was said.
    is_log_told: bool,
    /// What the logs said of them last.
    lines: VecDeque<String>,
}

impl<'s> Judge<'s> {
    pub fn new(scene: &'s Scene<'s>, seed: u64) -> Judge<'s> {
        let known = |_: &Person| Known {
            states: BTreeSet::from([State::new(0)]),
            history: VecDeque::new(),
            told: BTreeMap::new(),
            logged: BTreeMap::new(),
            unsure: 0,
            is_log_told: false,
            lines: VecDeque::new(),
        };
        let people = scene.people.iter().map(known).collect();
        let random = Random::new(seed);
        Judge {
            scene,
            people,
            random,
            secret: None,
            kinds: BTreeSet::new(),
            looks: 0,
            faults: 0,
            told_lines: BTreeSet::new(),
        }
    }

    /// Has everybody stop, looks at everything, and does what can only be done meanwhile.
    pub fn looks(&mut self, canary: &Person, is_last: bool) {
        let scene = self.scene;
        let quiet = scene.calm.write().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(span) = self.secret.take() {
            fs::remove_file(scene.users.with_file_name("users.secret")).expect("rubbish");
            self.tell_all(&Event::CookiesVoid);
            self.edit();
            scene.ends(span);
        }
        // What somebody has left half done is finished by these.
        canary.logs_in_everywhere(scene);
        self.read_logs();
        for number in 0..scene.people.len() {
            self.follow(number);
        }
        self.read_users();
        lock(&scene.spans).retain(|span| span.ended == u64::MAX);
        self.kinds.clear();
        if !is_last {
            self.interfere();
        }
        drop(quiet);
        self.looks += 1;
    }

    fn fault(&mut self, text: &str) {
        println!("FAULT: {text}");
        self.faults += 1;
    }

    fn tell_all(&self, event: &Event) {
        for person in &self.scene.people {
            lock(&person.history).push(event.clone());
        }
    }

    /// What happened to one person since the last time.
    fn follow(&mut self, number: usize) {
        let scene = self.scene;
        let person = &scene.people[number];
        let events = std::mem::take(&mut *lock(&person.history));
        let known = &mut self.people[number];
        for (word, count) in words_told(&events) {
            *known.told.entry(word).or_default() += count;
        }
        let mut faults = Vec::new();
        for event in events {
            if let Event::Together(deeds) = &event {
                known.unsure += deeds.iter().filter(|deed| is_unsure(deed)).count();
                scene.count_more("deeds judged", deeds.len());
            }
            let states =
                model::judge(&known.states, &event, person.moving, &|deed| scene.trouble(deed));
            known.history.push_back(event);
            if states.is_empty() && !known.states.is_empty() {
                faults.push(format!("the last of this can't be explained:\n{}", known.tell(scene)));
            }
            known.states = states;
            if known.history.len() > TOLD {
                known.history.pop_front();
            }
        }
        let missing = differences(&known.told, &known.logged, known.unsure);
        // Once is enough.
        if !missing.is_empty() && !std::mem::replace(&mut known.is_log_told, true) {
            faults.extend(missing);
        }
        for fault in faults {
            self.fault(&format!("{}: {fault}", person.name));
        }
    }

    fn read_logs(&mut self) {
        let scene = self.scene;
        self.kinds.extend(lock(&scene.spans).iter().map(|span| span.kind));
        for (server, name) in scene.servers.iter().zip(NAMES) {
            for LogLine { text, decision, is_fault } in server.take_log() {
                if is_fault && !explained::is_explained(&text, &self.kinds) {
                    let digits = |byte: char| byte.is_ascii_digit();
                    if self.told_lines.insert(text.replace(digits, "")) {
                        let kinds = &self.kinds;
                        let text = format!("{name}: nothing explains this line: {text}\n{kinds:?}");
                        self.fault(&text);
                    }
                }
                scene.count("log lines");
                if let Some((word, user)) = decision
                    && let Some(number) = scene.people.iter().position(|it| it.name == user)
                {
                    let known = &mut self.people[number];
                    *known.logged.entry(word).or_default() += 1;
                    known.lines.push_back(text);
                    if known.lines.len() > 2 * TOLD {
                        known.lines.pop_front();
                    }
                }
            }
        }
    }

    fn read_users(&mut self) {
        let scene = self.scene;
        let text = fs::read_to_string(&scene.users).expect("the users file");
        let file = read(&text);
        let comment = text.lines().next().unwrap_or_default();
        let number: Option<u64> =
            comment.strip_prefix("# edits ").and_then(|rest| rest.split(' ').next()?.parse().ok());
        let comments = std::mem::replace(&mut *lock(&scene.comments), number.into_iter().collect());
        if !number.is_some_and(|number| comments.contains(&number)) {
            self.fault(&format!("the first line is {comment:?}, and may be one of {comments:?}"));
        }
        let fillers = file.keys().filter(|name| name.starts_with("filler")).count();
        if fillers != FILLERS {
            self.fault(&format!("{fillers} users who never log in are there, and were {FILLERS}"));
        }
        for number in 0..scene.people.len() {
            let (person, known) = (&scene.people[number], &mut self.people[number]);
            let line = file.get(&person.name);
            let line = line.map(|line| Line { next: line.next_of(person), ..line.line.clone() });
            let before = std::mem::take(&mut known.states);
            let agreeing: BTreeSet<State> =
                before.iter().filter(|state| state.agrees(line.as_ref(), &PINS)).cloned().collect();
            if agreeing.is_empty() && !before.is_empty() {
                known.states = before;
                let told = known.tell(scene);
                self.fault(&format!("{}: the users file says {line:?}\n{told}", person.name));
            }
            self.people[number].states = agreeing;
        }
    }

    /// What would make a mess of logins if they went on.
    fn interfere(&mut self) {
        let scene = self.scene;
        let random = &mut self.random;
        let companion = |name: &str| scene.users.with_file_name(name);
        match random.below(8) {
            0 => {
                scene.count("throttle file spoilt");
                saboteur::spoil(&companion("users.throttle"), random);
                self.tell_all(&Event::TriesForgotten);
                self.kinds.insert(Kind::Companion);
            }
            1 => {
                scene.count("secret removed");
                let _ = fs::remove_file(companion("users.secret"));
                self.tell_all(&Event::CookiesVoid);
                // What servers have read of it goes with what they have read of the file.
                self.edit();
            }
            2 => {
                let path = companion("users.secret");
                if path.exists() {
                    self.secret = Some(scene.begins(Kind::Secret));
                    let file = fs::File::options().write(true).open(path).expect("the secret");
                    file.set_len(random.below(40) as u64).expect("half a secret");
                    self.tell_all(&Event::CookiesVoid);
                    self.edit();
                }
            }
            3 => {
                let (answer, _) = scene.command(&["logout", "--all"], "", Sabotage::None);
                assert_eq!(answer, Answer::Done);
                self.tell_all(&Event::AllSessionsEnded);
                self.tell_all(&Event::CookiesVoid);
            }
            4 => {
                scene.count("journal removed");
                let _ = fs::remove_file(companion("users.journal"));
            }
            _ => self.edit(),
        }
    }

    /// As an editor does that knows of no lock.
    fn edit(&mut self) {
        let (scene, random) = (self.scene, &mut self.random);
        scene.count("edits without the lock");
        let number = scene.next_comment();
        let change = format!("1s/.*/# edits {number} {}/", "-".repeat(random.below(30)));
        let saves = [
            r#"text=$(sed 'CHANGE' "$0"; echo .); printf %s "${text%.}" > "$0""#,
            r#"sed -i 'CHANGE' "$0""#,
            r#"cp -p "$0" "$0.edited" && sed 'CHANGE' "$0" > "$0.edited" && mv "$0.edited" "$0""#,
        ];
        let script = saves[random.below(saves.len())].replace("CHANGE", &change);
        scene.shell(&script).expect("an editor that saves");
        *lock(&scene.comments) = BTreeSet::from([number]);
    }
}

/// Words whose every decision about a person clients are told, and has its line.
const LOGGED: [&str; 9] = [
    "granted-fresh",
    "granted-reuse",
    "granted-app",
    "granted-trusted",
    "denied-pin",
    "denied-code",
    "denied-expired",
    "denied-app",
    "unknown",
];

/// Each decision that was answered has been logged, and nothing else but what was lost.
fn differences(
    told: &BTreeMap<String, usize>,
    logged: &BTreeMap<String, usize>,
    unsure: usize,
) -> Vec<String> {
    let count = |words: &BTreeMap<String, usize>, word| words.get(word).copied().unwrap_or(0);
    let (mut found, mut more) = (Vec::new(), 0);
    for word in LOGGED {
        let (told, logged) = (count(told, word), count(logged, word));
        if logged < told {
            found.push(format!("{word} was answered {told} times and logged {logged} times"));
        }
        more += logged.saturating_sub(told);
    }
    if more > unsure {
        found.push(format!(
            "{more} decisions were logged of which nobody knows; {unsure} were lost"
        ));
    }
    found
}

fn is_unsure(deed: &Deed) -> bool {
    match &deed.answer {
        Answer::Lost => true,
        Answer::Word(word) => word == "error" || word == "denied-busy",
        _ => false,
    }
}

impl Known {
    fn tell(&self, scene: &Scene<'_>) -> String {
        let mut text = String::new();
        let milliseconds = |time: u64| time as f64 / 1e6;
        for event in &self.history {
            let Event::Together(deeds) = event else {
                let _ = writeln!(text, "  {event:?}");
                continue;
            };
            for (i, deed) in deeds.iter().enumerate() {
                let _ = writeln!(
                    text,
                    "  {} {:.1} to {:.1} ms, {}: {:?}: {:?}, {:?}",
                    if i == 0 { "-" } else { "|" },
                    milliseconds(deed.sent),
                    milliseconds(deed.answered),
                    deed.at,
                    deed.what,
                    deed.answer,
                    scene.trouble(deed)
                );
            }
        }
        let _ = writeln!(text, "before, one of these was true:");
        for state in self.states.iter().take(5) {
            let _ = writeln!(text, "  {state:?}");
        }
        let first = self.history.front().and_then(|event| match event {
            Event::Together(deeds) => deeds.first().map(|deed| deed.sent),
            _ => None,
        });
        let _ = writeln!(text, "meanwhile:");
        for span in lock(&scene.spans).iter().filter(|span| first.is_none_or(|it| it < span.ended))
        {
            let _ = writeln!(
                text,
                "  {:?} {:.1} to {:.1} ms",
                span.kind,
                milliseconds(span.began),
                milliseconds(span.ended)
            );
        }
        let _ = writeln!(text, "what the logs say of them, httpd's first:");
        for line in &self.lines {
            let _ = writeln!(text, "  {line}");
        }
        text
    }
}

/// What the file says of a name, read without any code of otpgate.
struct Read {
    line: Line,
    counter: u64,
    /// The ext's first number.
    at: Option<u64>,
}

impl Read {
    fn next_of(&self, person: &Person) -> Option<u64> {
        match person.moving {
            // Of a token that has logged nobody in, 0.
            model::Moving::Time => {
                self.at.map(|second| if second == 0 { 0 } else { second / PERIOD + 1 })
            }
            _ => Some(self.counter),
        }
    }
}

fn read(text: &str) -> BTreeMap<String, Read> {
    assert!(text.ends_with('\n'), "the last line has no end");
    let mut users = BTreeMap::new();
    for line in text.lines().filter(|line| !line.starts_with('#') && !line.trim().is_empty()) {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let [kind, user, pin, _key, ..] = fields[..] else { panic!("no token: {line:?}") };
        let number = |i: usize| -> u64 {
            fields.get(i).map_or(0, |field| {
                field.parse::<i64>().unwrap_or_else(|_| panic!("no number: {line:?}")) as u64
            })
        };
        let at = fields
            .get(4..)
            .unwrap_or_default()
            .iter()
            .find_map(|field| field.strip_prefix('@')?.split(',').next()?.parse().ok());
        let line = Line {
            off: kind.starts_with("OFF:"),
            pin: pin.to_owned(),
            next: None,
            failures: number(5) as u32,
            closed: false,
            trusts: false,
            apps: BTreeSet::new(),
            sessions: 0,
        };
        let is_new = users.insert(user.to_owned(), Read { line, counter: number(4), at }).is_none();
        assert!(is_new, "{user} has two lines");
    }
    for line in text.lines() {
        let Some(rest) = line.strip_prefix("#@ ") else { continue };
        let words: Vec<&str> = rest.split(' ').collect();
        let Some(read) = words.get(1).and_then(|user| users.get_mut(*user)) else {
            assert_eq!(words[0], "allow", "a line about nobody: {line:?}");
            continue;
        };
        match words[0] {
            "app" => {
                let number = words[2].strip_prefix("app").and_then(|number| number.parse().ok());
                let is_new = read.line.apps.insert(number.expect("one of our apps"));
                assert!(is_new, "one app has two lines: {line:?}");
            }
            "trust" => read.line.trusts = true,
            "always" => read.line.closed = true,
            "session" => {
                let places = words[2].as_bytes();
                assert_eq!(places.len(), 178, "{line:?}");
                let kept = places[..172].chunks(43).filter(|place| **place != [b'.'; 43]);
                read.line.sessions += kept.count();
            }
            other => panic!("an unknown kind: {other}"),
        }
    }
    users
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_logs_lack_or_say_too_much_is_found() {
        let words = |fresh, code| {
            let words = [("granted-fresh", fresh), ("denied-code", code), ("denied-session", 7)];
            words.map(|(word, count)| (word.to_owned(), count)).into()
        };
        let found = |told, logged, unsure| differences(&told, &logged, unsure).len();
        assert_eq!(found(words(3, 2), words(3, 2), 0), 0);
        assert_eq!(found(words(3, 2), words(4, 3), 2), 0, "two answers were lost");
        assert_eq!(found(words(3, 2), words(4, 2), 0), 1, "a grant that nobody knows of");
        assert_eq!(found(words(3, 2), words(2, 2), 5), 1, "a grant that wasn't logged");
        assert_eq!(found(words(3, 2), words(4, 1), 0), 2);
    }

    #[test]
    fn what_the_users_file_says_is_read_whatever_wrote_it() {
        let empty = ".".repeat(43);
        let text = format!(
            "# edits 3\nOFF:HOTP/E/8 ann pin 00 7 2 11 - @6,1,2,3,4\nHOTP/T2/8\tbob\tpin\t00\n\
             #@ session ann {}{empty}{empty}{empty}------\n#@ app ann app12 sha256:0:0\n\
             #@ trust bob 192.0.2.0/24\n#@ always bob pin\n",
            "a".repeat(43),
        );
        let file = read(&text);
        let ann = &file["ann"];
        assert_eq!((ann.counter, ann.at, ann.line.failures, ann.line.off), (7, Some(6), 2, true));
        assert_eq!((ann.line.sessions, &ann.line.apps), (1, &BTreeSet::from([12])));
        let bob = &file["bob"];
        assert_eq!((bob.counter, bob.at, bob.line.trusts, bob.line.closed), (0, None, true, true));
    }
}
