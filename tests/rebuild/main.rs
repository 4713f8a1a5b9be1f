//! A rebuild from real system calls: servers, the command and editors are recorded at work on one
//! users file, and directories are made that a power cut at any moment could have left of it. On
//! each of them no code that was granted before is granted again, nobody listed is unknown, every
//! line is as before or as after, and no program or PIN alone lets in who wasn't given that, or was
//! taken it.
//!
//! The seed decides what is done and where it is cut. What is recorded differs from run to run all
//! the same, because the processes are real; so each finding names the calls at the cut, and the
//! state of the disk is kept.

#[path = "../common/mod.rs"]
mod common;
mod disk;
mod recording;
mod replay;
mod scenes;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use std::io::Write;

use common::random::Random;
use disk::{Event, Grain, Image, Tape};
use recording::{Reel, What, Whose};
use replay::{Case, Fault, Timeline, rebuild};
use scenes::Story;

const STRACE: &str = "/usr/bin/strace";
const SEED: usize = 20_261_125;
/// A recording is used for so long, then another one is made.
const ROUND: Duration = Duration::from_secs(120);
/// Most of the time a state waits until its files aren't new any more.
const THREADS: usize = 8;
/// Findings told in full, for each kind of recording and fault.
const TOLD: usize = 2;

/// What came of one kind of recording.
#[derive(Default)]
struct Count {
    recordings: usize,
    calls: BTreeMap<&'static str, usize>,
    grants: usize,
    histories: usize,
    interrupted: usize,
    frames: usize,
    faults: BTreeMap<Fault, usize>,
    /// Histories with one that must never be.
    faulty: usize,
}

#[test]
fn no_power_cut_in_a_recording_of_real_processes_makes_a_granted_code_good_again() {
    common::require(STRACE);
    let seed = common::from_environment("OTPGATE_TEST_SEED", SEED) as u64;
    let seconds = common::from_environment("OTPGATE_REBUILD_SECONDS", 50);
    let end = Instant::now() + Duration::from_secs(seconds as u64);
    let counts: Mutex<BTreeMap<&str, Count>> = Mutex::default();
    let mut random = Random::new(seed);
    let mut round = 0;
    while round == 0 || Instant::now() < end {
        let begun = Instant::now();
        let stories: Vec<Story> = scenes::KINDS.iter().map(|record| record(&mut random)).collect();
        for story in &stories {
            let mut counts = counts.lock().expect("no panic inside");
            let count = counts.entry(story.kind).or_default();
            count.recordings += 1;
            count.grants += story.logins.len();
            for (word, number) in recording::counted(&story.tape.calls) {
                *count.calls.entry(word).or_default() += number;
            }
        }
        // Some states at least, however long the recording took.
        let until = (begun + ROUND).min(end).max(Instant::now() + Duration::from_secs(10));
        cut_all(&stories, random.draw(), until, &counts);
        round += 1;
    }
    let counts = counts.into_inner().expect("no panic inside");
    print_table(seed, &counts);
    for (kind, count) in &counts {
        assert!(
            count.frames > 0,
            "{kind}: no frame was found in any journal: has its format changed?"
        );
        assert!(count.histories > 50, "{kind}: only {} histories", count.histories);
    }
    let faulty: usize = counts.values().map(|count| count.faulty).sum();
    assert_eq!(faulty, 0, "see above");
}

fn print_table(seed: u64, counts: &BTreeMap<&str, Count>) {
    println!("seed {seed}");
    let row = |kind: &str, cells: [String; 13]| {
        println!("{kind:<9}{}", cells.map(|cell| format!("{cell:>12}")).concat());
    };
    let heads = [
        "recordings",
        "writes",
        "syncs",
        "names",
        "logins",
        "histories",
        "interrupted",
        "faulty",
        "replays",
        "unknowns",
        "wrong lines",
        "permissions",
        "torn edits",
    ];
    row("", heads.map(str::to_owned));
    for (kind, count) in counts {
        let calls = |word| count.calls.get(word).copied().unwrap_or_default();
        let faults = |fault| count.faults.get(&fault).copied().unwrap_or_default();
        let numbers = [
            count.recordings,
            calls("writes"),
            calls("syncs"),
            calls("names"),
            count.grants,
            count.histories,
            count.interrupted,
            count.faulty,
            faults(Fault::Replay),
            faults(Fault::Unknown),
            faults(Fault::WrongLine),
            faults(Fault::Permission),
            faults(Fault::ReplayOfTornEdit),
        ];
        row(kind, numbers.map(|number| number.to_string()));
    }
}

/// Goes through all moments around syncs, then through any, by turns on each of the recordings.
fn cut_all(stories: &[Story], seed: u64, until: Instant, counts: &Mutex<BTreeMap<&str, Count>>) {
    let timelines: Vec<Timeline> = stories.iter().map(Timeline::of).collect();
    let mut random = Random::new(seed);
    let around_syncs: Vec<Vec<usize>> = stories
        .iter()
        .map(|story| {
            let events = &story.tape.events;
            let is_sync = |event: &Event| match *event {
                Event::Begin(i) | Event::End(i) => {
                    matches!(story.tape.calls[i].what, What::Sync { .. } | What::SyncAll)
                }
                Event::Mark(_) => false,
            };
            let around =
                |i: usize| i > 0 && is_sync(&events[i - 1]) || events.get(i).is_some_and(is_sync);
            let around: Vec<usize> = (0..=events.len()).filter(|i| around(*i)).collect();
            scenes::shuffled(around.len(), &mut random).into_iter().map(|i| around[i]).collect()
        })
        .collect();
    let next = AtomicUsize::new(0);
    std::thread::scope(|threads| {
        for _ in 0..THREADS {
            threads.spawn(|| {
                while Instant::now() < until {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    let which = number % stories.len();
                    let (story, timeline) = (&stories[which], &timelines[which]);
                    let mut random = Random::new(seed ^ (number as u64) << 20);
                    let events = match around_syncs[which].get(number / stories.len()) {
                        Some(events) => *events,
                        None => random.below(story.tape.events.len() + 1),
                    };
                    let found = one_history(story, timeline, events, &mut random);
                    let mut counts = counts.lock().expect("no panic inside");
                    let count = counts.entry(story.kind).or_default();
                    count.histories += found.histories;
                    count.interrupted += found.histories - 1;
                    count.frames += found.frames;
                    for (state, faults) in found.faulty {
                        count.faulty +=
                            usize::from(faults.iter().any(|(fault, _)| fault.is_ours()));
                        let mut is_told = false;
                        for (fault, text) in faults {
                            let times = count.faults.entry(fault).or_default();
                            *times += 1;
                            if fault.is_ours() && *times <= TOLD {
                                is_told = true;
                                println!(
                                    "{}: {fault:?}: cut {number} of seed {seed}: {}\n  {text}",
                                    story.kind, state.what
                                );
                            }
                        }
                        if is_told {
                            let kept = keep(&state.images, story.kind, number);
                            println!("  the disk: {}", kept.display());
                        }
                    }
                }
            });
        }
    });
}

/// What the disk had, and how it came to it.
struct State {
    what: String,
    images: Vec<Image>,
}

#[derive(Default)]
struct Found {
    histories: usize,
    frames: usize,
    faulty: Vec<(State, Vec<(Fault, String)>)>,
}

impl Found {
    /// Rebuilds a state and has it judged.
    fn judge(&mut self, case: &Case<'_>, state: State, random: &mut Random) {
        let workplace = workplace();
        self.frames += case.rebuild(&state.images, workplace.path()).frames;
        self.histories += 1;
        let faults = case.judge(workplace.path(), random);
        if !faults.is_empty() {
            self.faulty.push((state, faults));
        }
    }
}

fn one_history(story: &Story, timeline: &Timeline, events: usize, random: &mut Random) -> Found {
    let grain = draw_grain(random);
    let images = story.tape.played(events).cut(grain, random);
    let case = Case { story, timeline, events, is_power_cut: grain != Grain::Nothing };
    let what = describe(&story.tape, events, grain, timeline.is_being_edited(events));
    let mut found = Found::default();
    // The recovery of some is recorded in turn, and cut as well.
    let again = random.once_in(if case.is_power_cut { 40 } else { 4 }).then(|| images.clone());
    found.judge(&case, State { what: what.clone(), images }, random);
    let again = again.filter(|_| found.faulty.is_empty());
    if let Some((tape, before)) = again.and_then(|images| recovery(&case, &images)) {
        for _ in 0..8 {
            let grain = draw_grain(random);
            let case = Case { is_power_cut: case.is_power_cut || grain != Grain::Nothing, ..case };
            let events = before + random.below(tape.events.len() - before + 1);
            let images = tape.played(events).cut(grain, random);
            let what =
                format!("{what}, then a recovery: {}", describe(&tape, events, grain, false));
            found.judge(&case, State { what, images }, random);
        }
    }
    found
}

fn draw_grain(random: &mut Random) -> Grain {
    [Grain::Nothing, Grain::File, Grain::Page, Grain::Sector, Grain::Byte, Grain::Byte]
        [random.below(6)]
}

fn describe(tape: &Tape, events: usize, grain: Grain, is_being_edited: bool) -> String {
    let last = events
        .checked_sub(1)
        .map_or("nothing has happened".to_owned(), |i| tape.describe(tape.events[i]));
    let editor = if is_being_edited { ", an editor's work isn't synced" } else { "" };
    format!("after {events} of {} events ({last}), lost by {grain:?}{editor}", tape.events.len())
}

/// The command meets the state, and what it does is recorded. Also the number of events before.
fn recovery(case: &Case<'_>, images: &[Image]) -> Option<(Tape, usize)> {
    let (workplace, reels) = (workplace(), workplace());
    let numbers = case.rebuild(images, workplace.path()).numbers;
    let before = scenes::snapshot(workplace.path());
    let reel = Reel::new(reels.path().join("recovery"), Whose::Ours);
    let mut command = reel.command();
    command.push(common::program().to_str().expect("a plain path").to_owned());
    let mut child = Command::new(&command[0])
        .args(&command[1..])
        .arg("--file")
        .arg(workplace.path().join(scenes::USERS))
        .args(["verify", scenes::CANARY])
        .env("TZ", "UTC")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("strace runs");
    let password = format!("sesame9{}\n", scenes::WRONG_CODE);
    // Refused before it is asked for, where the file isn't what it should be.
    let _ = child.stdin.take().expect("piped").write_all(password.as_bytes());
    let status = child.wait().expect("an end");
    // 1 is the refusal of the wrong code.
    if status.code() != Some(1) {
        return None;
    }
    let mut calls = reel.calls(workplace.path());
    if case.is_power_cut {
        return Some((Tape::new(before, calls, []), 0));
    }
    // What was under way to the disk still is. Files have the numbers that they had when it was
    // recorded.
    let recorded: BTreeMap<u64, u64> =
        numbers.into_iter().map(|(recorded, now)| (now, recorded)).collect();
    let as_recorded = |number| recorded.get(&number).copied().unwrap_or(number);
    for call in &mut calls {
        match &mut call.what {
            What::Write { name, bytes, .. } if name == scenes::JOURNAL => {
                replay::renumber(bytes, as_recorded);
            }
            What::Number { number, .. } => *number = as_recorded(*number),
            _ => {}
        }
    }
    Some((case.story.tape.continued(case.events, calls), case.events))
}

/// In memory if there is such a place: nothing here has to stay.
fn workplace() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    let made = tempfile::Builder::new().prefix("otpgate-rebuild-").tempdir_in(memory);
    made.or_else(|_| tempfile::tempdir()).expect("a temporary directory")
}

/// Where the state can be looked at afterwards.
fn keep(images: &[Image], kind: &str, number: usize) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("rebuild-{kind}-{number}"));
    let _ = std::fs::remove_dir_all(&path);
    std::fs::create_dir_all(&path).expect("a directory to keep");
    rebuild(images, &path);
    path
}
