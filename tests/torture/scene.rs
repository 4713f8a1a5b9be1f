//! One users file, two servers that use it, and what is the matter with them.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, RwLock};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::common::random::Random;
use super::common::{self, Server};
use super::model::{Answer, Deed, Trouble};
use super::people::Person;

pub const PINS: [&str; 2] = ["sesame-one9", "sesame-two9"];

/// What a saboteur does, and what it explains while it lasts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Processes of servers are shot.
    Shooting,
    /// Somebody holds the lock, or may do so.
    Holding,
    /// The users file, or its directory, is away or closed.
    Closed,
    /// The disk is full.
    Full,
    /// A companion is missing or rubbish.
    Companion,
    /// A clock is wrong.
    Clock,
    /// The secret of cookies is rubbish.
    Secret,
    Reload,
}

#[derive(Clone, Copy, Debug)]
pub struct Span {
    pub kind: Kind,
    pub began: u64,
    /// [`u64::MAX`] while it lasts.
    pub ended: u64,
    /// Times within which nobody can read the file.
    pub unreadable: Option<(u64, u64)>,
}

pub struct Scene<'s> {
    pub servers: [&'s Server; 2],
    pub users: PathBuf,
    /// Where libfaketime reads how wrong each server's clock is.
    pub clocks: [PathBuf; 2],
    pub people: Vec<Person>,
    /// Held for reading by whoever does something, for writing to have it quiet.
    pub calm: RwLock<()>,
    pub over: AtomicBool,
    pub spans: Mutex<Vec<Span>>,
    pub counts: Mutex<BTreeMap<String, usize>>,
    pub begun: Instant,
    /// What may be the number in the comment that editors change.
    pub comments: Mutex<BTreeSet<u64>>,
    pub last_comment: AtomicU64,
}

pub const NAMES: [&str; 2] = ["httpd", "nginx"];

/// A panic while it was held has been told by itself.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

impl Scene<'_> {
    pub fn now(&self) -> u64 {
        self.begun.elapsed().as_nanos() as u64
    }

    pub fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }

    pub fn count(&self, what: &str) {
        self.count_more(what, 1);
    }

    pub fn count_more(&self, what: &str, number: usize) {
        *lock(&self.counts).entry(what.to_owned()).or_default() += number;
    }

    /// From now on until [`Scene::ends`], this is the matter. Its number.
    pub fn begins(&self, kind: Kind) -> u64 {
        self.count(&format!("{kind:?}").to_lowercase());
        let began = self.now();
        lock(&self.spans).push(Span { kind, began, ended: u64::MAX, unreadable: None });
        began
    }

    fn span(&self, began: u64, change: impl FnOnce(&mut Span)) {
        let mut spans = lock(&self.spans);
        change(spans.iter_mut().find(|span| span.began == began).expect("it has begun"));
    }

    pub fn ends(&self, began: u64) {
        let now = self.now();
        self.span(began, |span| span.ended = now);
    }

    pub fn was_unreadable(&self, began: u64, from: u64, to: u64) {
        self.span(began, |span| span.unreadable = Some((from, to)));
    }

    /// What was the matter during a deed.
    pub fn trouble(&self, deed: &Deed) -> Trouble {
        let second = |time: u64| time / 1_000_000_000;
        // When it was, to the second that servers count in, whenever theirs begin.
        let time = (second(deed.sent).saturating_sub(1), second(deed.answered) + 1);
        let mut trouble = Trouble { time, ..Trouble::default() };
        for span in lock(&self.spans).iter() {
            let is_about_files =
                matches!(span.kind, Kind::Holding | Kind::Closed | Kind::Full | Kind::Companion);
            // A lock that couldn't be had isn't asked for again at once.
            let ended = span.ended.saturating_add(1_500_000_000);
            trouble.tries |= is_about_files && span.began <= deed.answered && deed.sent <= ended;
            if span.began > deed.answered || span.ended < deed.sent {
                continue;
            }
            match span.kind {
                Kind::Shooting => trouble.shooting = true,
                Kind::Clock => trouble.clock = true,
                Kind::Secret => trouble.secret = true,
                Kind::Holding | Kind::Closed | Kind::Full | Kind::Companion => {
                    trouble.faults = true;
                }
                Kind::Reload => {}
            }
            let within = |(from, to): (u64, u64)| from < deed.sent && deed.answered < to;
            trouble.unreadable |= span.unreadable.is_some_and(within);
        }
        trouble
    }

    pub fn next_comment(&self) -> u64 {
        self.last_comment.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// An editor that knows nothing of locks; it has the users file as `$0`.
    pub fn shell(&self, script: &str) -> Result<(), String> {
        let output = Command::new("/bin/sh")
            .args(["-c", script])
            .arg(&self.users)
            .output()
            .expect("a shell");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        if output.status.success() { Ok(()) } else { Err(said) }
    }

    /// The same while nobody else can change the file.
    pub fn under_lock(&self, script: &str) -> Result<(), String> {
        let otplock = self.servers[0].root().join("otplock");
        let script = script.replace('\'', "'\\''");
        self.shell(&format!("{} \"$0\" sh -c '{script}' \"$0\"", otplock.display()))
    }

    /// Changes the comment at the top, by `edit` or under the lock.
    pub fn edit(&self, random: &mut Random) {
        let number = self.next_comment();
        let change = format!("1s/.*/# edits {number} {}/", "-".repeat(random.below(30)));
        self.count("edits");
        // From now on, it may be that one.
        lock(&self.comments).insert(number);
        let is_done = if random.once_in(2) {
            self.under_lock(&format!("sed -i '{change}' \"$0\"")).is_ok()
        } else {
            let editor = format!("sed -i '{change}'");
            let (answer, _) = self.command_of(&["edit"], "", Sabotage::None, &editor);
            answer == Answer::Done
        };
        if is_done {
            self.count("edits done");
            *lock(&self.comments) = BTreeSet::from([number]);
        }
    }

    /// Runs the command. What it said on standard output, as well.
    pub fn command(&self, args: &[&str], input: &str, sabotage: Sabotage) -> (Answer, String) {
        self.command_of(args, input, sabotage, "false")
    }

    fn command_of(
        &self,
        args: &[&str],
        input: &str,
        sabotage: Sabotage,
        editor: &str,
    ) -> (Answer, String) {
        let mut child = Command::new(common::program())
            .arg("--file")
            .arg(&self.users)
            .args(args)
            .env("TZ", "UTC")
            .env("EDITOR", editor)
            .env_remove("VISUAL")
            // What an edit that isn't installed leaves goes with the rest.
            .env("TMPDIR", self.servers[0].root().path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the command runs");
        self.count("commands");
        // Most ask for nothing, and may have ended by now.
        let _ = child.stdin.take().expect("piped").write_all(input.as_bytes());
        match sabotage {
            Sabotage::None => {}
            Sabotage::Shoot(after) => {
                std::thread::sleep(after);
                child.kill().expect("our own child");
            }
            Sabotage::Stop(after, time) => {
                std::thread::sleep(after);
                let pid = Pid::from_child(&child);
                // It isn't waited for, so its number is still its own.
                kill_process(pid, Signal::STOP).expect("our own child");
                let span = self.begins(Kind::Holding);
                std::thread::sleep(time);
                kill_process(pid, Signal::CONT).expect("our own child");
                self.ends(span);
            }
        }
        let output = child.wait_with_output().expect("an end");
        let said = String::from_utf8_lossy(&output.stderr);
        let answer = match output.status.code() {
            Some(0) => Answer::Done,
            Some(1) => Answer::Failed(said.into_owned()),
            None if matches!(sabotage, Sabotage::Shoot(_)) => {
                self.count("commands shot");
                Answer::Killed
            }
            _ => panic!("otpgate {args:?}: {} {said}", output.status),
        };
        (answer, String::from_utf8_lossy(&output.stdout).into_owned())
    }
}

/// What becomes of a command on its way.
#[derive(Clone, Copy, Debug)]
pub enum Sabotage {
    None,
    /// After so long.
    Shoot(Duration),
    /// After so long, for so long.
    Stop(Duration, Duration),
}
