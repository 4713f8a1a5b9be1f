//! The queue of logins under schedules of threads: its own source, with locks and a clock that
//! shuttle schedules. Whatever the order in which threads come to their turns: nobody waits for
//! ever, one leads at a time, each job is done once and each of those who wait is answered.
//!
//! `OTPGATE_SCHEDULES` is how many schedules each test goes through.
#![cfg(test)]

#[path = "../../src/gate/queue.rs"]
mod queue;
mod sync;

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};

use queue::{Queue, Round};
use shuttle::rand::{Rng, thread_rng};
use shuttle::scheduler::{PctScheduler, RandomScheduler};
use shuttle::{Config, Runner, thread};

/// What became of a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Done(u32),
    /// The leader couldn't do any of its round.
    Failed,
    Abandoned,
    Busy,
}

/// How a leader fares.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Leader {
    Works,
    FailsBefore,
    FailsAfter,
    PanicsBefore,
    PanicsAfter,
}

const SEED: u64 = 6238;

/// Goes through schedules, half of them drawn at random at each step, half with few changes of
/// thread at unlikely places.
fn explore(scenario: impl Fn() + Send + Sync + 'static) {
    let asked = std::env::var("OTPGATE_SCHEDULES").ok();
    let number = asked.map_or(2000, |text| text.parse().expect("OTPGATE_SCHEDULES is a number"));
    let scenario = Arc::new(scenario);
    let once = || {
        let scenario = scenario.clone();
        move || {
            sync::begin();
            scenario();
        }
    };
    let config = || {
        let mut config = Config::new();
        config.stack_size = 0x2_0000;
        config
    };
    Runner::new(RandomScheduler::new_from_seed(SEED, number / 2), config()).run(once());
    Runner::new(PctScheduler::new_from_seed(SEED, 3, number / 2), config()).run(once());
}

/// What is seen of a queue from within its rounds.
#[derive(Default)]
struct Seen {
    leading: AtomicU64,
    done: Mutex<Vec<u32>>,
}

type Jobs = Queue<u32, End>;

/// One thread's job; how it ended, or that its leader panicked, which it was itself.
fn run(queue: &Jobs, seen: &Seen, job: u32, leader: Leader) -> Option<End> {
    let lead = |round: &mut Round<'_, u32, End>| {
        assert_eq!(seen.leading.fetch_add(1, Relaxed), 0, "one leads at a time");
        // As a lock that somebody else has: others come, and time passes.
        thread::yield_now();
        sync::pass(thread_rng().gen_range(0..200));
        let jobs = match leader {
            Leader::PanicsBefore | Leader::FailsBefore => Vec::new(),
            _ => round.take(),
        };
        thread::yield_now();
        assert_eq!(seen.leading.fetch_sub(1, Relaxed), 1);
        match leader {
            Leader::Works => {
                seen.done.lock().expect("no panic while it is held").extend(&jobs);
                Ok(jobs.into_iter().map(End::Done).collect())
            }
            Leader::FailsBefore | Leader::FailsAfter => Err(End::Failed),
            Leader::PanicsBefore | Leader::PanicsAfter => {
                std::panic::resume_unwind(Box::new("on purpose"))
            }
        }
    };
    let ended = AssertUnwindSafe(|| queue.run(job, lead, || End::Abandoned, || End::Busy));
    catch_unwind(ended).ok()
}

/// All threads' ends, once all of them have come to theirs.
fn all(number: u32, leaders: fn(u32) -> Leader) -> (Vec<Option<End>>, Vec<u32>) {
    let (queue, seen) = (Arc::new(Jobs::new()), Arc::new(Seen::default()));
    let threads: Vec<_> = (0..number)
        .map(|job| {
            let (queue, seen) = (queue.clone(), seen.clone());
            thread::spawn(move || run(&queue, &seen, job, leaders(job)))
        })
        .collect();
    let ends = threads.into_iter().map(|thread| thread.join().expect("it ends")).collect();
    // Whoever comes later is served as well: nobody was left behind as the leader.
    assert_eq!(run(&queue, &seen, number, Leader::Works), Some(End::Done(number)));
    let done = seen.done.lock().expect("no panic while it is held").clone();
    (ends, done)
}

fn each_once(done: &[u32]) -> BTreeSet<u32> {
    let set: BTreeSet<u32> = done.iter().copied().collect();
    assert_eq!(set.len(), done.len(), "{done:?}");
    set
}

#[test]
fn every_job_is_done_once_and_gets_its_own_result() {
    explore(|| {
        let (ends, done) = all(5, |_| Leader::Works);
        let expected: Vec<_> = (0..5).map(|job| Some(End::Done(job))).collect();
        assert_eq!(ends, expected);
        assert_eq!(each_once(&done).len(), 6);
    });
}

#[test]
fn nobody_waits_for_a_leader_that_panicked_or_failed() {
    fn leaders(job: u32) -> Leader {
        match job {
            0 => Leader::PanicsBefore,
            1 => Leader::PanicsAfter,
            2 => Leader::FailsBefore,
            3 => Leader::FailsAfter,
            _ => Leader::Works,
        }
    }
    explore(|| {
        let (ends, done) = all(6, leaders);
        let done = each_once(&done);
        for (job, end) in (0..).zip(ends) {
            let panics = matches!(leaders(job), Leader::PanicsBefore | Leader::PanicsAfter);
            match end {
                Some(End::Done(other)) => assert!(other == job && done.contains(&job)),
                // It didn't count, and isn't said to have.
                Some(End::Failed | End::Abandoned) => assert!(!done.contains(&job)),
                Some(End::Busy) => unreachable!("few wait"),
                None => assert!(panics && !done.contains(&job)),
            }
        }
    });
}

#[test]
fn those_who_come_while_the_leader_waits_share_its_round() {
    // Over all schedules: they differ, so some have a round of several, and some don't.
    let largest = Arc::new(AtomicU64::new(0));
    let seen = largest.clone();
    explore(move || {
        let queue = Arc::new(Queue::<u32, usize>::new());
        let threads: Vec<_> = (0..4)
            .map(|job| {
                let queue = queue.clone();
                let lead = |round: &mut Round<'_, u32, usize>| {
                    thread::yield_now();
                    let jobs = round.take();
                    Ok(vec![jobs.len(); jobs.len()])
                };
                thread::spawn(move || queue.run(job, lead, || unreachable!(), || unreachable!()))
            })
            .collect();
        let sizes: Vec<usize> =
            threads.into_iter().map(|thread| thread.join().expect("it ends")).collect();
        // Each of a round of so many says so.
        for size in &sizes {
            assert_eq!(sizes.iter().filter(|other| *other == size).count() % size, 0, "{sizes:?}");
        }
        seen.fetch_max(*sizes.iter().max().expect("four") as u64, Relaxed);
    });
    assert_eq!(largest.load(Relaxed), 4);
}

#[test]
fn of_many_who_wait_long_some_are_sent_away_and_all_are_answered() {
    let were_busy = Arc::new(AtomicU64::new(0));
    let count = were_busy.clone();
    explore(move || {
        let (ends, done) = all(12, |_| Leader::Works);
        let done = each_once(&done);
        let mut busy = 0;
        for (job, end) in (0..).zip(ends) {
            match end {
                Some(End::Done(other)) => assert!(other == job && done.contains(&job)),
                Some(End::Busy) => {
                    assert!(!done.contains(&job), "sent away, and done all the same");
                    busy += 1;
                }
                other => panic!("{other:?}"),
            }
        }
        // Few may go on waiting, and those are served.
        assert!(busy <= 12 - 8, "{busy}");
        count.fetch_add(busy, Relaxed);
    });
    assert!(were_busy.load(Relaxed) > 0, "it happens");
}
