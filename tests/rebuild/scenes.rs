//! What is recorded: real servers, the command and editors at work on one users file.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard};
use std::time::{SystemTime, UNIX_EPOCH};

use otpgate::gate::Store;
use otpgate::users::file::UsersFile;
use otpgate::users::journal::Journal;
use otpgate::users::lock::Locked;
use std::io::Write;

use super::common::random::Random;
use super::common::root::{self, Root};
use super::common::{self, Httpd, Nginx, Place, Scope, Server, Setting, Token, programs};
use super::disk::{Image, Tape};
use super::recording::{self, Reel, Whose};

pub const USERS: &str = "users";
pub const JOURNAL: &str = "users.journal";
const OTPLOCK: &str = "otplock";
/// Logs in nowhere, so that a wrong code of its may have a state recovered.
pub const CANARY: &str = "canary";
pub const WRONG_CODE: &str = "00000000";
pub const MAX_OFFSET: u32 = 20;

/// What servers, command and editors are recorded at.
pub const KINDS: [fn(&mut Random) -> Story; 5] = [
    |random| of_one_server("httpd", Stage::httpd, random),
    |random| of_one_server("nginx", Stage::nginx, random),
    |random| command("command", true, random),
    |random| command("in-place", false, random),
    editors,
];

/// A user and all that is known of their token.
pub struct Person {
    pub name: String,
    pub is_event: bool,
    /// All they have had.
    pub pins: Vec<String>,
    pub token: Token,
    next: AtomicU64,
}

/// A program of somebody's, and its password. Some are revoked.
pub struct Program {
    pub user: String,
    pub name: String,
    pub password: String,
}

/// So many of each person's are there from the start.
const PROGRAMS: usize = 4;

/// A code that was presented.
#[derive(Clone, Debug)]
pub struct Login {
    pub person: usize,
    pub counter: u64,
    pub asked: u64,
    pub answered: u64,
    pub granted: bool,
}

/// A moment that the test knows of.
#[derive(Clone, Copy, Debug)]
pub enum Mark {
    Asked(usize),
    Answered(usize),
    /// A command ended well that had begun then.
    Done {
        began: u64,
        ended: u64,
    },
    /// An editor has saved its work.
    Edited,
}

/// A recording with all that is known of it.
pub struct Story {
    pub kind: &'static str,
    pub tape: Tape,
    pub people: Vec<Person>,
    pub programs: Vec<Program>,
    pub logins: Vec<Login>,
    pub marks: Vec<Mark>,
}

fn nanoseconds_now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock after 1970").as_nanos() as u64
}

/// One users file and those who work on it.
struct Stage {
    root: Root,
    before: Vec<Image>,
    people: Vec<Person>,
    programs: Mutex<Vec<Program>>,
    reels: Mutex<Vec<Reel>>,
    logins: Mutex<Vec<Login>>,
    done: Mutex<Vec<(u64, u64)>>,
    edited: Mutex<Vec<u64>>,
}

fn event(name: &str) -> Person {
    of_event_token(name, Token::hotp(name))
}

/// A list that no recording comes to the end of.
fn on_paper(name: &str) -> Person {
    of_event_token(name, Token::paper(name, 1000))
}

fn of_event_token(name: &str, token: Token) -> Person {
    let key: Vec<u8> = name.bytes().cycle().take(20).collect();
    let token = token.pin("sesame9").digits(8).key(&key);
    let codes: BTreeSet<String> = (0..400).map(|counter| token.code(counter)).collect();
    assert_eq!(codes.len(), 400, "a code that comes twice would look like a replay");
    let pins = vec!["sesame9".to_owned()];
    Person { name: name.to_owned(), is_event: true, pins, token, next: AtomicU64::new(0) }
}

fn timed(name: &str) -> Person {
    let token = Token::totp(name).pin("sesame9").digits(8);
    let next = AtomicU64::new(token.step());
    Person { name: name.to_owned(), is_event: false, pins: vec!["sesame9".to_owned()], token, next }
}

impl Stage {
    /// `extra`: lines of users that only the command works on.
    fn new(mut people: Vec<Person>, extra: &str, is_writable: bool, random: &mut Random) -> Stage {
        let root = Root::new();
        let users = root.join("state/users");
        people.push(event(CANARY));
        let mut text = b"# edits 000\n".to_vec();
        let mut apps = Vec::new();
        for person in &people {
            // Slots lie across sectors and pages in many ways.
            text.extend(format!("# {}\n", "-".repeat(random.below(1500))).into_bytes());
            text.extend(person.token.line());
            for _ in 0..PROGRAMS {
                let number = apps.len() as u8;
                let line = programs::line(&person.name, number, &["/area/"], &[]);
                let name = line.split(' ').nth(3).expect("a name").to_owned();
                let (user, password) = (person.name.clone(), programs::password(number));
                apps.push(Program { user, name, password });
                text.extend(line.into_bytes());
            }
        }
        text.extend_from_slice(extra.as_bytes());
        root::make_directory(&root.join("state"));
        root::make_directory(&root.join("reels"));
        symlink(common::program(), root.join(OTPLOCK)).expect("a name that the command answers to");
        root.write(&users, text);
        root::set_mode(&users, 0o600);
        root::give_to_server(&users);
        root::give_to_server(&root.join("state"));
        if random.once_in(2) {
            fill_journal(&users, &people, random.below(30_000));
        }
        if !is_writable {
            // Lock and journal can't be made later. The lines have no slots yet, if nobody has
            // written before.
            drop(
                Locked::acquire(&users)
                    .map(|locked| Journal::open(&locked, &mut None).map(drop))
                    .expect("a lock"),
            );
            let tries = root.write("state/users.throttle", "");
            root::set_mode(&tries, 0o600);
            root::give_to_server(&tries);
            root::set_owner(&root.join("state"), Some(rustix::process::geteuid().as_raw()), None);
            root::set_mode(&root.join("state"), 0o555);
        }
        let before = snapshot(&root.join("state"));
        let (reels, logins, done, edited) = Default::default();
        let programs = Mutex::new(apps);
        Stage { root, before, people, programs, reels, logins, done, edited }
    }

    fn users(&self) -> PathBuf {
        self.root.join("state/users")
    }

    fn scope(&self) -> Scope {
        let scope = Scope::new("area")
            .set(Setting::MaxLinger, 0)
            .set(Setting::MaxOffset, MAX_OFFSET)
            .set(Setting::Throttle, "Off")
            .set(Setting::AppPasswords, "On")
            .set(Setting::TrustedNetworks, "127.0.0.0/8");
        scope.users_file(self.users())
    }

    fn reel(&self, whose: Whose) -> Reel {
        let mut reels = self.reels.lock().expect("no panic inside");
        let reel = Reel::new(self.root.join(format!("reels/{}", reels.len())), whose);
        reels.push(reel.clone());
        reel
    }

    fn httpd(&self) -> Server {
        let httpd = Httpd::event().under(self.reel(Whose::Ours).command_beside());
        Server::start(httpd, vec![self.scope()])
    }

    fn nginx(&self) -> Server {
        let nginx = Nginx::new(2).under(self.reel(Whose::Ours).command_beside());
        Server::start(nginx, vec![self.scope()])
    }

    /// Logs in with the code after the last one.
    fn login(&self, place: &Place<'_>, person: usize, pin: &str) {
        let who = &self.people[person];
        let counter = who.next.fetch_add(1, Ordering::Relaxed);
        let number = {
            let mut logins = self.logins.lock().expect("no panic inside");
            let asked = nanoseconds_now();
            logins.push(Login {
                person,
                counter,
                asked,
                answered: recording::NEVER,
                granted: false,
            });
            logins.len() - 1
        };
        let reply = place.login(&who.name, format!("{pin}{}", who.token.code(counter)));
        let answered = nanoseconds_now();
        assert_eq!(reply.result(), "granted-fresh", "code {counter} of {}: {reply:?}", who.name);
        let login = &mut self.logins.lock().expect("no panic inside")[number];
        (login.answered, login.granted) = (answered, true);
    }

    /// One person's logins, with a wrong code and an old one now and then.
    fn walk(&self, place: &Place<'_>, person: usize, steps: usize, random: &mut Random) {
        let who = &self.people[person];
        for _ in 0..steps {
            self.login(place, person, &who.pins[0]);
            if random.once_in(4) {
                let last = who.next.load(Ordering::Relaxed) - 1;
                place.login(&who.name, who.token.password(last)).is(401, "denied-expired");
            }
            if random.once_in(6) {
                place.login(&who.name, who.token.with(WRONG_CODE)).is(401, "denied-code");
            }
            if random.once_in(3) {
                let number = person * PROGRAMS + random.below(PROGRAMS);
                let password = self.programs()[number].password.clone();
                place.login(&who.name, password).is(200, "granted-app");
            }
        }
    }

    fn programs(&self) -> MutexGuard<'_, Vec<Program>> {
        self.programs.lock().expect("no panic inside")
    }

    /// Too many wrong PINs where the PIN is enough: a line comes, and goes with the next login.
    fn guess(&self, place: &Place<'_>, person: usize) {
        let who = &self.people[person];
        for number in 0..10 {
            place.login(&who.name, format!("wrong{number}")).is(401, "denied-pin");
        }
        place.login(&who.name, &who.pins[0]).is_denied();
    }

    /// All these people at the same time, at any of the places.
    fn walk_all(
        &self,
        places: &[Place<'_>],
        people: std::ops::Range<usize>,
        steps: usize,
        random: &mut Random,
    ) {
        std::thread::scope(|threads| {
            for person in people {
                let mut random = Random::new(random.draw());
                threads.spawn(move || {
                    for _ in 0..steps {
                        self.walk(&places[random.below(places.len())], person, 1, &mut random);
                    }
                });
            }
        });
    }

    /// Runs the command and insists that it succeeds. What it says.
    #[track_caller]
    fn run(&self, args: &[&str], input: &str, editor: &str) -> String {
        let reel = self.reel(Whose::Ours);
        let began = nanoseconds_now();
        let users = self.users();
        let file = users.to_str().expect("a plain path");
        let args = [&["--file", file], args].concat();
        let said = run(&reel, &common::program(), &args, input, editor);
        self.done.lock().expect("no panic inside").push((began, nanoseconds_now()));
        said
    }

    /// A shell script that has the users file as `$0` and doesn't know of the journal; under the
    /// lock if `locked`.
    #[track_caller]
    fn edit(&self, script: &str, locked: bool) {
        let users = self.users();
        let file = users.to_str().expect("a plain path");
        let args = ["-c", script, file];
        if locked {
            let args = [&[file, "sh"], &args[..]].concat();
            run(&self.reel(Whose::OursAndAnEditors), &self.root.join(OTPLOCK), &args, "", "false");
        } else {
            run(&self.reel(Whose::Editors), Path::new("/bin/sh"), &args, "", "false");
        }
        self.edited.lock().expect("no panic inside").push(nanoseconds_now());
    }

    fn told(self, kind: &'static str) -> Story {
        let reels = self.reels.into_inner().expect("no panic inside");
        common::wait_until("the recorders are done", || reels.iter().all(Reel::is_complete));
        let directory = self.root.join("state");
        let mut calls: Vec<_> = reels.iter().flat_map(|reel| reel.calls(&directory)).collect();
        calls.sort_by_key(|call| call.begin);
        let logins = self.logins.into_inner().expect("no panic inside");
        let mut marks = Vec::new();
        for (i, login) in logins.iter().enumerate() {
            marks.push((login.asked, Mark::Asked(i)));
            marks.push((login.answered, Mark::Answered(i)));
        }
        for (began, ended) in self.done.into_inner().expect("no panic inside") {
            marks.push((ended, Mark::Done { began, ended }));
        }
        for time in self.edited.into_inner().expect("no panic inside") {
            marks.push((time, Mark::Edited));
        }
        let (times, marks): (Vec<u64>, _) = marks.into_iter().unzip();
        let tape = Tape::new(self.before, calls, times);
        // So that it can be removed.
        root::set_mode(&directory, 0o755);
        let played = tape.played(tape.events.len());
        let (_, content) = played.file(USERS).expect("there is always one");
        let real = fs::read(directory.join(USERS)).expect("the users file");
        assert!(
            content == real,
            "{kind}: what was recorded doesn't make the users file that is there"
        );
        let (_, content) = played.file(JOURNAL).expect("a journal");
        let real = fs::read(directory.join(JOURNAL)).expect("the journal");
        assert!(
            content == real,
            "{kind}: what was recorded doesn't make the journal that is there"
        );
        let programs = self.programs.into_inner().expect("no panic inside");
        Story { kind, tape, people: self.people, programs, logins, marks }
    }
}

#[track_caller]
fn run(reel: &Reel, program: &Path, args: &[&str], input: &str, editor: &str) -> String {
    let mut command = reel.command();
    command.push(program.to_str().expect("a plain path").to_owned());
    let mut child = Command::new(&command[0])
        .args(&command[1..])
        .args(args)
        .env("EDITOR", editor)
        .env("TZ", "UTC")
        .env_remove("VISUAL")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("strace runs");
    // Most ask for nothing, and may have ended by now.
    let _ = child.stdin.take().expect("piped").write_all(input.as_bytes());
    let output = child.wait_with_output().expect("an end");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program:?} {args:?}: {} {said}", output.status);
    String::from_utf8(output.stdout).expect("text")
}

/// Writes frames until so many bytes are left: the journal starts over at different times.
fn fill_journal(users: &Path, people: &[Person], left: usize) {
    const CAPACITY: usize = 1 << 20;
    let store = UsersFile::new(users);
    let journal = users.with_file_name(JOURNAL);
    let mut failures = 0;
    loop {
        store
            .update(&mut |transaction| {
                for person in people {
                    let found = transaction.find(person.name.as_bytes())?;
                    let mut state = found.entry.lines[0].state.clone();
                    state.failures = failures % 5;
                    transaction.save(person.name.as_bytes(), 0, state);
                }
                Ok(())
            })
            .expect("a journal");
        failures += 1;
        let bytes = fs::read(&journal).expect("the journal");
        let used = bytes.iter().rposition(|byte| *byte != 0).unwrap_or(0);
        if CAPACITY - used < left + 500 * people.len() {
            return;
        }
        assert!(failures < 5_000, "a journal that is never full");
    }
}

/// All files of a directory but locks.
pub fn snapshot(directory: &Path) -> Vec<Image> {
    let mut images: Vec<Image> = Vec::new();
    for entry in fs::read_dir(directory).expect("the directory").flatten() {
        let name = entry.file_name().into_string().expect("a plain name");
        if name.contains(".lock") {
            continue;
        }
        let number =
            File::open(entry.path()).and_then(|file| file.metadata()).expect("a file").ino();
        match images.iter_mut().find(|image| image.number == number) {
            Some(image) => image.names.push(name),
            None => {
                let content = fs::read(entry.path()).expect("a file");
                images.push(Image { names: vec![name], number, content });
            }
        }
    }
    images
}

fn some_people() -> Vec<Person> {
    let mut people: Vec<Person> = ["ann", "bob", "cay"].map(event).into();
    people.push(on_paper("dan"));
    people.push(timed("tom"));
    people
}

fn of_one_server(kind: &'static str, start: fn(&Stage) -> Server, random: &mut Random) -> Story {
    let stage = Stage::new(some_people(), "", true, random);
    let server = start(&stage);
    let place = [server.at("area")];
    // The first one makes journal and slots.
    stage.walk(&place[0], 0, 1, random);
    stage.walk(&place[0], 4, 2, random);
    server.expect_log("too many wrong PINs without a code");
    stage.guess(&place[0], 1);
    stage.walk_all(&place, 0..4, 5, random);
    std::thread::scope(|threads| {
        threads.spawn(|| stage.guess(&place[0], 4));
        stage.walk_all(&place, 0..4, 5, random);
    });
    stage.walk(&place[0], 4, 2, random);
    server.finish();
    stage.told(kind)
}

/// The command changes lines while people log in at both servers. Where nobody may write the
/// directory, it rewrites the file in place.
fn command(kind: &'static str, is_writable: bool, random: &mut Random) -> Story {
    let mut people = some_people();
    let mut clerk = event("clerk");
    clerk.pins.push("opensesame".to_owned());
    people.push(clerk);
    const CLERK: usize = 5;
    let stage =
        Stage::new(people, "HOTP/E/6 idle - 3132\nHOTP/E/6 spare - 3133\n", is_writable, random);
    let (httpd, nginx) = (stage.httpd(), stage.nginx());
    let places = [httpd.at("area"), nginx.at("area")];
    stage.walk(&places[0], 0, 1, random);
    std::thread::scope(|threads| {
        let mut others = Random::new(random.draw());
        let (stage, places) = (&stage, &places);
        threads.spawn(move || stage.walk_all(places, 0..4, 12, &mut others));
        let clerk = &stage.people[CLERK];
        let [first, second] = [&clerk.pins[0], &clerk.pins[1]];
        let step = |number: usize, random: &mut Random| match number {
            0 => {
                stage.run(&["add", "passing", "--hotp", "--no-pin", "-q"], "", "false");
                stage.run(&["disable", "passing"], "", "false");
                stage.run(&["remove", "passing"], "", "false");
            }
            1 => {
                stage.walk(&places[random.below(2)], CLERK, 1, random);
                places[0].login("clerk", clerk.token.with(WRONG_CODE)).is(401, "denied-code");
                stage.run(&["unlock", "clerk"], "", "false");
                stage.login(&places[random.below(2)], CLERK, first);
            }
            2 => {
                stage.run(&["set-pin", "clerk", "--plain-pin"], &format!("{second}\n"), "false");
                stage.login(&places[random.below(2)], CLERK, second);
                stage.run(&["set-pin", "clerk", "--plain-pin"], &format!("{first}\n"), "false");
                stage.login(&places[random.below(2)], CLERK, first);
            }
            3 => {
                let next = clerk.next.fetch_add(5, Ordering::Relaxed);
                let codes = [3, 4].map(|ahead| clerk.token.code(next + ahead));
                stage.run(&["resync", "clerk", &codes[0], &codes[1]], "", "false");
                stage.login(&places[random.below(2)], CLERK, first);
            }
            4 => {
                stage.run(&["disable", "idle"], "", "false");
                stage.run(&["enable", "idle"], "", "false");
            }
            5 => {
                stage.run(&["trust", "clerk", "192.0.2.0/24", "2001:db8::/32"], "", "false");
                stage.run(&["always", "clerk", "apps"], "", "false");
                stage.login(&places[random.below(2)], CLERK, first);
                stage.run(&["untrust", "clerk"], "", "false");
                stage.run(&["always", "clerk", "--off"], "", "false");
            }
            6 => {
                for name in ["tool", "other-tool"] {
                    let said =
                        stage.run(&["app", "add", "clerk", name, "--path=/area/"], "", "false");
                    let password = said.trim_end().to_owned();
                    places[random.below(2)].login("clerk", &password).is(200, "granted-app");
                    let (user, name) = ("clerk".to_owned(), name.to_owned());
                    stage.programs().push(Program { user, name, password });
                }
                stage.run(&["app", "revoke", "clerk", "tool"], "", "false");
                let revoked = stage.programs().iter().rev().nth(1).expect("two").password.clone();
                places[random.below(2)].login("clerk", revoked).is(401, "denied-app");
            }
            _ => {
                let longer = "sed -i 's/^# edits 00./# edits 001 and a longer comment/'";
                stage.run(&["edit"], "", longer);
            }
        };
        for number in shuffled(8, random) {
            step(number, random);
        }
    });
    httpd.finish();
    nginx.finish();
    stage.told(kind)
}

/// Foreign editors, each followed by logins: without the lock nobody logs in meanwhile, under it
/// they do.
fn editors(random: &mut Random) -> Story {
    let mut people = some_people();
    people.push(event("fay"));
    const FAY: usize = 5;
    let stage = Stage::new(people, "", true, random);
    let (httpd, nginx) = (stage.httpd(), stage.nginx());
    let places = [httpd.at("area"), nginx.at("area")];
    stage.walk(&places[0], 0, 1, random);
    stage.walk_all(&places, 0..4, 2, random);
    // The same length, another one, and a field of the state.
    let changes = [
        r"s/^# edits ...\(.*\)/# edits 111\1/",
        r"s/^# edits 1*\(.*\)/# edits 1\1 and so on, and so on, and so on/",
        r"s/^\(HOTP[^ ]* fay [^ ]* [^ ]* [0-9][0-9]*  *\)[1-9] /\10 /",
    ];
    let saves = [
        r#"text=$(sed 'CHANGE' "$0"; echo .); printf %s "${text%.}" > "$0""#,
        r#"text=$(sed 'CHANGE' "$0"; echo .); printf %s "${text%.}" 1<> "$0""#,
        r#"sed -i 'CHANGE' "$0""#,
    ];
    let saves_and_changes: Vec<_> =
        saves.iter().flat_map(|save| changes.map(|change| (save, change))).collect();
    for number in shuffled(saves_and_changes.len(), random) {
        let (save, change) = saves_and_changes[number];
        let script = save.replace("CHANGE", change);
        // Without the lock, a state that is taken back can't be told from one half of whose write
        // was lost.
        let takes_back = number % changes.len() == 2;
        // A wrong code that the edit forgets: what it makes has been there before, but for the
        // checksum.
        if takes_back {
            stage.login(&places[random.below(2)], FAY, "sesame9");
        }
        places[0].login("fay", stage.people[FAY].token.with(WRONG_CODE)).is(401, "denied-code");
        if takes_back || random.once_in(2) {
            std::thread::scope(|threads| {
                let mut others = Random::new(random.draw());
                let (stage, places) = (&stage, &places);
                threads.spawn(move || stage.walk_all(places, 0..4, 2, &mut others));
                stage.edit(&script, true);
            });
        } else {
            stage.edit(&script, false);
        }
        stage.walk_all(&places, 0..4, 1, random);
        if random.once_in(2) {
            stage.login(&places[random.below(2)], FAY, "sesame9");
        }
    }
    httpd.finish();
    nginx.finish();
    stage.told("editors")
}

pub fn shuffled(len: usize, random: &mut Random) -> Vec<usize> {
    let mut order: Vec<usize> = (0..len).collect();
    for i in (1..len).rev() {
        order.swap(i, random.below(i + 1));
    }
    order
}
