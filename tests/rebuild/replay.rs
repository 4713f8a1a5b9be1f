//! What a disk has left is handed to the code under test, and everybody tries their codes.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use otpgate::decide::{LoginResult, PinAnswer};
use otpgate::gate::{Gate, Login, PinSource};
use otpgate::http::target::Target;
use otpgate::log::{Level, Log};
use otpgate::policy::{Policy, Server, Settings};
use otpgate::token::Address;
use otpgate::users::file::UsersFile;
use otpgate::users::pragma::{self, PragmaKind};
use otpgate::users::{edit, slot};

use super::common::codes::now;
use super::common::random::Random;
use super::disk::{Event, Image};
use super::recording::What;
use super::scenes::{
    CANARY, JOURNAL, MAX_OFFSET, Mark, Program, Story, USERS, WRONG_CODE, shuffled,
};

/// What must never be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// A code was granted once more.
    Replay,
    /// The same upon an editor's save that the disk has torn: an old counter's line may go on with
    /// what has moved there. Nobody promises anything of that; it is counted all the same.
    ReplayOfTornEdit,
    /// A listed user isn't known.
    Unknown,
    /// A line is as it never was, a change is undone, a user is locked out.
    WrongLine,
    /// Somebody is let in by a password of a program, or by a PIN alone, that they hadn't been
    /// given or that was taken away.
    Permission,
}

impl Fault {
    /// Whether it breaks a promise.
    pub fn is_ours(self) -> bool {
        self != Fault::ReplayOfTornEdit
    }
}

/// Lines by the user whom they name, or by the first word of a comment. Those about users besides
/// by what they say of which program; when that one came last is left out, as a crash may take it
/// back or leave half of it.
type Lines = BTreeMap<Vec<u8>, Vec<u8>>;

fn lines_of(content: &[u8]) -> Lines {
    let mut lines = Lines::new();
    for line in content.split(|byte| *byte == b'\n') {
        if let Some(kind) = PragmaKind::of(line) {
            let mut line = line.to_vec();
            if let Some(hour) = pragma::used_hour(&line) {
                line[hour].fill(b'-');
            }
            lines.entry(key_of(kind, &line)).or_insert(line);
            continue;
        }
        let key = line.split(|byte| *byte == b' ').filter(|word| !word.is_empty()).nth(1);
        if let Some(key) = key.filter(|key| key.first() != Some(&b'-')) {
            lines.entry(key.to_vec()).or_insert_with(|| line.to_vec());
        }
    }
    lines
}

fn key_of(kind: PragmaKind, line: &[u8]) -> Vec<u8> {
    let words = match kind {
        PragmaKind::App => 4,
        PragmaKind::Always => usize::MAX,
        _ => 3,
    };
    let words: Vec<&[u8]> = line.split(|byte| *byte == b' ').take(words).collect();
    words.join(&b' ')
}

/// A change of the users file that nobody has said is done.
#[derive(Clone, Copy, Debug)]
struct Window {
    /// The version before it.
    since: usize,
    /// By an editor, who doesn't sync: a power cut may spoil what it pleases.
    foreign: bool,
    /// When the last change had returned.
    ended: u64,
    /// The editor has saved all of it.
    is_saved: bool,
}

/// A content of the users file.
struct Version {
    /// The number of events after which it was there.
    since: usize,
    content: Vec<u8>,
    lines: Lines,
    /// An editor has not saved all of it.
    is_half: bool,
}

impl Version {
    fn new(since: usize, content: &[u8], is_half: bool) -> Version {
        Version { since, content: content.to_vec(), lines: lines_of(content), is_half }
    }
}

/// What may be in the users file, for every moment of a recording.
pub struct Timeline {
    versions: Vec<Version>,
    /// For every number of events.
    windows: Vec<Option<Window>>,
}

impl Timeline {
    pub fn of(story: &Story) -> Timeline {
        let tape = &story.tape;
        let mut directory = tape.played(0);
        let (_, content) = directory.file(USERS).expect("there is always one");
        let mut versions = vec![Version::new(0, content, false)];
        let mut window: Option<Window> = None;
        let mut windows = vec![None];
        for (i, event) in tape.events.iter().enumerate() {
            directory.play(*event);
            match *event {
                Event::Begin(call) => {
                    let call = &tape.calls[call];
                    let replaces = matches!(&call.what, What::Rename { to, .. } if to == USERS);
                    let writes = match &call.what {
                        What::Write { name, .. } | What::SetLen { name, .. } => name == USERS,
                        What::Open { name, truncate, .. } => name == USERS && *truncate,
                        _ => false,
                    };
                    if replaces || (writes && call.foreign) {
                        let opened = Window {
                            since: versions.len() - 1,
                            foreign: false,
                            ended: 0,
                            is_saved: false,
                        };
                        let window = window.get_or_insert(opened);
                        window.foreign |= call.foreign;
                        window.is_saved = !call.foreign;
                        window.ended = window.ended.max(call.end);
                    }
                }
                Event::End(_) => {}
                Event::Mark(mark) => {
                    if let (Mark::Edited, Some(window)) = (story.marks[mark], &mut window) {
                        window.is_saved = true;
                        versions.last_mut().expect("the first is there at once").is_half = false;
                    }
                    let is_over = window.is_some_and(|window| match story.marks[mark] {
                        Mark::Asked(_) | Mark::Edited => false,
                        Mark::Answered(login) => story.logins[login].asked > window.ended,
                        Mark::Done { began, .. } if window.foreign => began > window.ended,
                        Mark::Done { ended, .. } => ended > window.ended,
                    });
                    if is_over {
                        window = None;
                    }
                }
            }
            windows.push(window);
            if let Some((_, content)) = directory.file(USERS)
                && versions.last().is_none_or(|version| version.content != content)
            {
                let is_half = window.is_some_and(|window| window.foreign && !window.is_saved);
                versions.push(Version::new(i + 1, content, is_half));
            }
        }
        Timeline { versions, windows }
    }

    /// Whether an editor's work is on its way to the disk.
    pub fn is_being_edited(&self, events: usize) -> bool {
        self.windows[events].is_some_and(|window| window.foreign)
    }

    /// Whether it isn't even on its way as a whole.
    fn is_half_saved(&self, events: usize) -> bool {
        self.windows[events].is_some_and(|window| window.foreign && !window.is_saved)
    }

    /// Whether a content is one that the file had as a whole since nobody was promised more.
    fn is_whole(&self, events: usize, content: &[u8]) -> bool {
        let current = self.current(events);
        let since = self.windows[events].map_or(current, |window| window.since);
        self.versions[since..=current]
            .iter()
            .any(|version| !version.is_half && version.content == content)
    }

    fn current(&self, events: usize) -> usize {
        self.versions.partition_point(|version| version.since <= events) - 1
    }

    /// What a line may be: as it was since nobody was promised more, or as it is going to be next.
    fn allowed(&self, events: usize, key: &[u8]) -> Vec<Option<&[u8]>> {
        let current = self.current(events);
        let line = |version: usize| self.versions[version].lines.get(key).map(Vec::as_slice);
        let since = self.windows[events].map_or(current, |window| window.since);
        let next = (current + 1..self.versions.len()).map(line).find(|next| *next != line(current));
        (since..=current).map(line).chain(next).collect()
    }

    fn keys(&self, events: usize) -> BTreeSet<&Vec<u8>> {
        let current = self.current(events);
        let since = self.windows[events].map_or(current, |window| window.since);
        self.versions[since..=current].iter().flat_map(|version| version.lines.keys()).collect()
    }
}

const FRAME_MAGIC: &[u8; 8] = b"OTPFRAME";
const FRAME_HEAD: usize = 40;

/// Gives the users file of each whole frame another inode number. How many frames there are.
pub fn renumber(journal: &mut [u8], numbers: impl Fn(u64) -> u64) -> usize {
    let word = |bytes: &[u8], at: usize| {
        u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
    };
    let sum = |frame: &[u8]| {
        let mut sum = crc32fast::Hasher::new();
        sum.update(&frame[..32]);
        sum.update(&frame[FRAME_HEAD..]);
        u64::from(sum.finalize())
    };
    let starts: Vec<usize> = memchr::memmem::find_iter(journal, FRAME_MAGIC).collect();
    let mut count = 0;
    for start in starts {
        let rest = &mut journal[start..];
        let len = if rest.len() < FRAME_HEAD { u64::MAX } else { word(rest, 24) };
        if len > (rest.len().saturating_sub(FRAME_HEAD)) as u64 {
            continue;
        }
        let frame = &mut rest[..FRAME_HEAD + len as usize];
        // A torn one stays as it is.
        if sum(frame) != word(frame, 32) {
            continue;
        }
        let mut at = FRAME_HEAD;
        while at + 9 <= frame.len() {
            let number = numbers(word(frame, at + 1));
            frame[at + 1..at + 9].copy_from_slice(&number.to_le_bytes());
            at = match frame[at] {
                1 => at + 1 + 8 + 8 + 8 + 16 + 2 * slot::LEN,
                2 => frame.len(),
                kind => panic!("a journal entry of kind {kind}, which this test doesn't know"),
            };
        }
        let sum = sum(frame);
        frame[32..40].copy_from_slice(&sum.to_le_bytes());
        count += 1;
    }
    count
}

const HEADER_WORDS: usize = 19;

/// The journal says that the users file is as it left it.
fn stamp_header(directory: &Path) {
    let users = fs::metadata(directory.join(USERS)).expect("there is always one");
    let times = [users.mtime(), users.mtime_nsec(), users.ctime(), users.ctime_nsec()]
        .map(|time| time as u64);
    let stamp = [&[users.dev(), users.ino(), users.size()], &times[..]].concat();
    let journal =
        File::options().read(true).write(true).open(directory.join(JOURNAL)).expect("the journal");
    let mut header = [0; HEADER_WORDS * 8 + 4];
    journal.read_exact_at(&mut header, 0).expect("a header");
    for (place, word) in
        header[..HEADER_WORDS * 8].chunks_exact_mut(8).rev().zip(stamp.iter().rev())
    {
        place.copy_from_slice(&word.to_le_bytes());
    }
    let sum = crc32fast::hash(&header[..HEADER_WORDS * 8]);
    header[HEADER_WORDS * 8..].copy_from_slice(&sum.to_le_bytes());
    journal.write_all_at(&header, 0).expect("a header");
}

/// A directory made of what a disk has left.
pub struct Rebuilt {
    /// How many frames its journal has.
    pub frames: usize,
    /// The inode numbers of now, by those of the recording.
    pub numbers: BTreeMap<u64, u64>,
}

/// Makes a directory of what a disk has left.
pub fn rebuild(images: &[Image], directory: &Path) -> Rebuilt {
    let images: Vec<&Image> = images
        .iter()
        .filter(|image| !image.names.iter().any(|name| name.contains(".lock")))
        .collect();
    // All files first, because the journal names them by numbers that only the system gives.
    let places: Vec<PathBuf> =
        (0..images.len()).map(|i| directory.join(format!("placeholder{i}"))).collect();
    let mut numbers = BTreeMap::new();
    for (place, image) in places.iter().zip(&images) {
        fs::write(place, b"").expect("a placeholder");
        numbers.insert(image.number, fs::metadata(place).expect("just made").ino());
    }
    let mut frames = 0;
    for (place, image) in places.iter().zip(&images) {
        let mut content = image.content.clone();
        if image.names.iter().any(|name| name == JOURNAL) {
            // A file that is gone has a number that no file has.
            frames = renumber(&mut content, |number| {
                *numbers.get(&number).unwrap_or(&(u64::MAX - number))
            });
        }
        fs::write(place, content).expect("a file");
        fs::set_permissions(place, fs::Permissions::from_mode(0o660)).expect("a file");
        let (first, others) = image.names.split_first().expect("a file without a name is gone");
        for other in others {
            fs::hard_link(place, directory.join(other)).expect("another name");
        }
        fs::rename(place, directory.join(first)).expect("its name");
    }
    Rebuilt { frames, numbers }
}

struct NoPins;

impl PinSource for NoPins {
    fn identity(&self) -> Vec<u8> {
        Vec::new()
    }
    fn check(&self, _: &[u8], _: &[u8]) -> PinAnswer {
        unreachable!("there is no source")
    }
}

#[derive(Default)]
struct Said(Mutex<String>);

impl Log for Said {
    fn log(&self, _: Level, message: std::fmt::Arguments<'_>) {
        let mut text = self.0.lock().expect("no panic inside");
        *text += &format!("{message}; ");
    }
}

struct Door {
    gate: Gate<UsersFile>,
    policy: Policy,
}

impl Door {
    fn of(path: &Path) -> Door {
        let policy = Policy {
            max_linger: Some(0),
            max_offset: MAX_OFFSET,
            max_failures: 0,
            app_passwords: true,
            ..Settings::default().policy(Server::Apache)
        };
        Door {
            gate: Gate::new(UsersFile::new(path), || now() as i64).expect("random numbers"),
            policy,
        }
    }

    /// Whether a program is let in.
    fn lets_in(&self, program: &Program) -> bool {
        let login = login_of(&program.user, &program.password);
        let target = Target {
            request_line: b"GET /area/page.txt HTTP/1.1",
            path: b"/area/page.txt",
            ..Target::default()
        };
        let answer = self.gate.app(&self.policy, &login, &target, None, &Said::default());
        answer.is_some_and(|answer| answer.word == LoginResult::GrantedApp)
    }

    fn try_(&self, user: &str, password: &str) -> (LoginResult, String) {
        let login = login_of(user, password);
        let log = Said::default();
        let answer = self.gate.basic(&self.policy, &login, &NoPins, None, &log);
        (answer.word, log.0.into_inner().expect("no panic inside"))
    }
}

/// From a network that the clerk is trusted in for a while.
fn login_of<'a>(user: &'a str, password: &'a str) -> Login<'a> {
    let address = Address::of_client(Some("192.0.2.7".parse().expect("an address")));
    Login { user: user.as_bytes(), password: password.as_bytes(), address }
}

fn is_grant(word: LoginResult) -> bool {
    matches!(word, LoginResult::GrantedFresh | LoginResult::GrantedReuse)
}

fn shown(line: Option<&[u8]>) -> String {
    line.map_or_else(|| "no line".to_owned(), |line| format!("{:?}", String::from_utf8_lossy(line)))
}

/// The first write to a file gives every line a slot.
fn got_slot(before: Option<&[u8]>, after: Option<&[u8]>) -> bool {
    let (Some(before), Some(after)) = (before, after) else { return false };
    after.strip_prefix(before).is_some_and(|slot| {
        slot.len() == 1 + slot::LEN && memchr::memmem::find(slot, b" @0,0,0,0,").is_some()
    })
}

/// A state of the disk: which recording, after how many events, and whether the power went.
pub struct Case<'s> {
    pub story: &'s Story,
    pub timeline: &'s Timeline,
    pub events: usize,
    pub is_power_cut: bool,
}

impl Case<'_> {
    /// Makes a directory of what is left. Where processes were killed and the power stayed, the
    /// journal still knows the users file if it did before.
    pub fn rebuild(&self, images: &[Image], directory: &Path) -> Rebuilt {
        let rebuilt = rebuild(images, directory);
        if !self.is_power_cut && self.is_header_up_to_date() {
            stamp_header(directory);
        }
        rebuilt
    }

    fn is_header_up_to_date(&self) -> bool {
        let tape = &self.story.tape;
        let last = tape.events[..self.events].iter().rev().find_map(|event| {
            let Event::Begin(call) = event else { return None };
            match &tape.calls[*call].what {
                What::Write { name, at: Some(0), .. } if name == JOURNAL => Some(true),
                What::Write { name, .. } | What::SetLen { name, .. } if name == USERS => {
                    Some(false)
                }
                What::Open { name, truncate: true, .. } | What::Rename { to: name, .. }
                    if name == USERS =>
                {
                    Some(false)
                }
                _ => None,
            }
        });
        last.unwrap_or(false)
    }

    /// Hands a rebuilt directory to the code under test.
    pub fn judge(&self, directory: &Path, random: &mut Random) -> Vec<(Fault, String)> {
        let Case { story, timeline, events, is_power_cut } = *self;
        let path = directory.join(USERS);
        let door = Door::of(&path);
        // What an editor has under way when the power goes is the editor's affair; codes are not.
        let is_spoilt =
            is_power_cut && timeline.is_being_edited(events) || timeline.is_half_saved(events);
        let as_found = fs::read(&path).unwrap_or_default();
        let replay = match is_spoilt && !timeline.is_whole(events, &as_found) {
            true => Fault::ReplayOfTornEdit,
            false => Fault::Replay,
        };
        let mut faults = Vec::new();
        let mut lost = BTreeSet::new();
        let asked =
            self.logins(|mark| if let Mark::Asked(login) = mark { Some(login) } else { None });
        let granted =
            self.logins(|mark| if let Mark::Answered(login) = mark { Some(login) } else { None });

        let before_all = random.once_in(4);
        if before_all {
            faults.extend(self.wrong_permissions(&door, is_spoilt));
        }
        // Often a recovery comes first, and what it leaves is looked at; else the first verdict
        // meets the file as it is.
        if !is_spoilt && random.once_in(6) {
            let person = random.below(story.people.len());
            faults.extend(self.lock_out(&door, &path, person, &asked));
            lost.insert(person);
        } else if !random.once_in(5) {
            let on_disk = lines_of(&as_found);
            let (word, said) = door.try_(CANARY, &format!("sesame9{WRONG_CODE}"));
            if word != LoginResult::DeniedCode && !is_spoilt {
                faults.push((
                    Fault::WrongLine,
                    format!("{CANARY} is refused before a recovery: {word:?}: {said}"),
                ));
            }
            // Who is refused at first sight has no state recovered; the command has.
            if let Err(fault) = edit::change(&path, |_| Ok::<_, otpgate::files::fault::Fault>(None))
                && !is_spoilt
            {
                faults.push((Fault::WrongLine, format!("no recovery: {fault}")));
            }
            let recovered = lines_of(&fs::read(&path).unwrap_or_default());
            faults.extend(self.wrong_lines(is_spoilt, &on_disk, &recovered));
        }

        for person in shuffled(story.people.len(), random) {
            let who = &story.people[person];
            let mut counters: Vec<u64> = granted
                .iter()
                .map(|login| &story.logins[*login])
                .filter(|login| login.person == person && login.granted)
                .map(|login| login.counter)
                .collect();
            counters.sort_unstable();
            // The last ones, and some others.
            let old = counters.len().saturating_sub(6);
            for place in 0..old.min(3) {
                counters.swap(place, random.below(old));
            }
            counters.drain(old.min(3)..old);
            for counter in counters.into_iter().rev() {
                for pin in &who.pins {
                    let (word, said) =
                        door.try_(&who.name, &format!("{pin}{}", who.token.code(counter)));
                    if is_grant(word) {
                        lost.insert(person);
                        faults.push((
                            replay,
                            format!("code {counter} of {} again: {said}", who.name),
                        ));
                    }
                    let key = who.name.as_bytes();
                    let is_listed = timeline.allowed(events, key).iter().all(Option::is_some);
                    if word == LoginResult::Unknown
                        && is_listed
                        && !is_spoilt
                        && lost.insert(person)
                    {
                        faults.push((Fault::Unknown, format!("{}: {said}", who.name)));
                    }
                }
            }
        }
        if !before_all {
            faults.extend(self.wrong_permissions(&door, is_spoilt));
        }
        let rest = (0..story.people.len()).filter(|person| !lost.contains(person));
        if !is_spoilt {
            faults.extend(rest.filter_map(|person| self.lock_out(&door, &path, person, &asked)));
        }
        faults
    }

    /// Whom their programs or the PIN alone let in who may not, and whose programs are kept out.
    fn wrong_permissions(&self, door: &Door, is_spoilt: bool) -> Vec<(Fault, String)> {
        let Case { story, timeline, events, .. } = *self;
        let mut faults = Vec::new();
        for program in &story.programs {
            let Program { user, name, .. } = program;
            let allowed = timeline.allowed(events, format!("#@ app {user} {name}").as_bytes());
            let is_let_in = door.lets_in(program);
            if is_let_in && allowed.iter().all(Option::is_none) {
                faults.push((Fault::Permission, format!("program {name} of {user} is let in")));
            }
            // Nothing closes the others'.
            let is_certain = user != "clerk" && allowed.iter().all(Option::is_some);
            if !is_let_in && is_certain && !is_spoilt {
                faults.push((Fault::WrongLine, format!("program {name} of {user} is kept out")));
            }
        }
        for who in &story.people {
            let key = format!("#@ trust {}", who.name);
            let allowed = timeline.allowed(events, key.as_bytes());
            for pin in &who.pins {
                let (word, said) = door.try_(&who.name, pin);
                if word == LoginResult::GrantedTrusted && allowed.iter().all(Option::is_none) {
                    faults.push((Fault::Permission, format!("{} by the PIN: {said}", who.name)));
                }
            }
        }
        faults
    }

    /// Has a person log in with the first code that nobody has seen.
    fn lock_out(
        &self,
        door: &Door,
        path: &Path,
        person: usize,
        asked: &[usize],
    ) -> Option<(Fault, String)> {
        let who = &self.story.people[person];
        if !who.is_event || who.name == CANARY {
            return None;
        }
        let mine = asked
            .iter()
            .map(|login| &self.story.logins[*login])
            .filter(|login| login.person == person);
        let next = mine.map(|login| login.counter + 1).max().unwrap_or(0);
        // Codes that the command may have used up are passed over, too; which PIN it is depends on
        // the moment.
        let far = if who.pins.len() > 1 { 5 } else { 0 };
        let tried: Vec<(LoginResult, String)> = (next..=next + far)
            .flat_map(|counter| {
                who.pins.iter().map(move |pin| format!("{pin}{}", who.token.code(counter)))
            })
            .map(|password| door.try_(&who.name, &password))
            .collect();
        if tried.iter().any(|(word, _)| is_grant(*word)) {
            return None;
        }
        let said: Vec<&str> = tried.iter().map(|(_, said)| said.as_str()).collect();
        let line = lines_of(&fs::read(path).unwrap_or_default()).remove(who.name.as_bytes());
        let line = shown(line.as_deref());
        let text = format!("{} is locked out, code {next}: {}: {line}", who.name, said.join(" "));
        Some((Fault::WrongLine, text))
    }

    fn wrong_lines(
        &self,
        is_spoilt: bool,
        on_disk: &Lines,
        recovered: &Lines,
    ) -> Vec<(Fault, String)> {
        let Case { timeline, events, .. } = *self;
        let mut faults = Vec::new();
        for key in timeline.keys(events) {
            if key == CANARY.as_bytes() {
                continue;
            }
            let allowed = timeline.allowed(events, key);
            let [before, after] =
                [on_disk, recovered].map(|lines| lines.get(key).map(Vec::as_slice));
            let current =
                timeline.versions[timeline.current(events)].lines.get(key).map(Vec::as_slice);
            // What had come to the disk as the editor left it must stay so.
            let is_kept = before != current
                || after == current
                || allowed.last() == Some(&after)
                || got_slot(current, after);
            let is_known = is_spoilt
                || allowed.contains(&after)
                || allowed.iter().any(|line| got_slot(*line, after));
            if !is_kept || !is_known {
                let allowed: Vec<String> = allowed.into_iter().map(shown).collect();
                faults.push((
                    Fault::WrongLine,
                    format!(
                        "{}\n  was    {}\n  is     {}\n  may be {}",
                        String::from_utf8_lossy(key),
                        shown(before),
                        shown(after),
                        allowed.join("\n         ")
                    ),
                ));
            }
        }
        faults
    }

    /// Numbers of the logins that have got so far.
    fn logins(&self, chosen: impl Fn(Mark) -> Option<usize>) -> Vec<usize> {
        let events = &self.story.tape.events[..self.events];
        let marks = events.iter().filter_map(|event| match event {
            Event::Mark(mark) => Some(self.story.marks[*mark]),
            _ => None,
        });
        marks.filter_map(chosen).collect()
    }
}
