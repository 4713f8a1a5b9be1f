//! Who may compute a slow hash now, and who has to come again later.
//!
//! A burst of logins would otherwise put a hash on every processor, and whatever serves requests
//! beside them (an event loop above all) would get its turn among dozens of threads; and hashes
//! that take 64 MiB each would add up. Whoever waits for a turn holds a thread of the server, so
//! few may: strangers who try one name's PINs must not keep the threads from everybody else. Those
//! who come from an address that their user is known to use come first, and take the place of a
//! stranger where there is none left; among strangers, names take turns.

use std::sync::LazyLock;

use parking_lot::{Condvar, Mutex};

static TURNS: LazyLock<Turns> = LazyLock::new(|| {
    let processors = std::thread::available_parallelism().map_or(1, |number| number.get());
    Turns::new(processors.saturating_sub(1).max(1))
});

/// So many strangers wait in one process, and so many of them for one name. nginx's own pool has 32
/// threads.
const STRANGERS_MAX: usize = 24;
const STRANGERS_OF_A_NAME: usize = 4;
/// So many strangers wait for what is being computed for a name.
const FOLLOWERS_OF_A_NAME: usize = 8;
/// So many wait in all.
const WAITING_MAX: usize = 64;

/// Who wants a hash computed.
#[derive(Clone, Copy, Debug)]
pub struct Asker {
    name: u64,
    is_familiar: bool,
}

impl Asker {
    /// `name`: a hash of the user's name, of which no two names have the same. `is_familiar`: the user is known to log in from there.
    pub fn new(name: u64, is_familiar: bool) -> Asker {
        Asker { name, is_familiar }
    }
}

/// Too many wait already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Busy;

/// Runs `compute` as soon as no more than a few others do so in this process: one processor is left
/// alone, if there are several.
pub fn in_turn<R>(asker: Asker, compute: impl FnOnce() -> R) -> Result<R, Busy> {
    TURNS.take(asker, compute)
}

/// Runs `wait`, which waits for what somebody else computes: that takes a thread as well.
pub fn following<R>(asker: Asker, wait: impl FnOnce() -> R) -> Result<R, Busy> {
    TURNS.follow(asker, wait)
}

/// Whether [`in_turn`] would be refused now.
pub fn is_busy(asker: Asker) -> bool {
    TURNS.state.lock().is_full_for(asker)
}

struct Turns {
    state: Mutex<TurnsState>,
    changed: Condvar,
}

struct TurnsState {
    free: usize,
    waiting: Vec<WaitingCheck>,
    /// The name of the stranger who had the last turn.
    last: u64,
    next: u64,
}

struct WaitingCheck {
    ticket: u64,
    asker: Asker,
    fate: Fate,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Fate {
    Waits,
    HasTurn,
    /// Somebody familiar has taken the place.
    GivesWay,
    /// Waits for somebody else's turn to end.
    Follows,
}

impl TurnsState {
    fn waiting(&self) -> impl Iterator<Item = (usize, Asker)> {
        let waits = |waiting: &&WaitingCheck| waiting.fate == Fate::Waits;
        self.waiting
            .iter()
            .enumerate()
            .filter_map(move |(at, waiting)| waits(&waiting).then_some((at, waiting.asker)))
    }

    /// Strangers who hold a thread without having a turn.
    fn strangers(&self) -> usize {
        let holds = |waiting: &&WaitingCheck| {
            matches!(waiting.fate, Fate::Waits | Fate::Follows) && !waiting.asker.is_familiar
        };
        self.waiting.iter().filter(holds).count()
    }

    fn may_follow(&self, asker: Asker) -> bool {
        let of_name = |waiting: &&WaitingCheck| {
            waiting.fate == Fate::Follows
                && !waiting.asker.is_familiar
                && waiting.asker.name == asker.name
        };
        asker.is_familiar
            || self.strangers() < STRANGERS_MAX
                && self.waiting.iter().filter(of_name).count() < FOLLOWERS_OF_A_NAME
    }

    fn is_full_for(&self, asker: Asker) -> bool {
        if self.free > 0 {
            return false;
        }
        let strangers = || self.waiting().filter(|(_, other)| !other.is_familiar);
        if asker.is_familiar {
            return self.waiting().count() >= WAITING_MAX && strangers().next().is_none();
        }
        self.strangers() >= STRANGERS_MAX
            || self.waiting().count() >= WAITING_MAX
            || strangers().filter(|(_, other)| other.name == asker.name).count()
                >= STRANGERS_OF_A_NAME
    }

    /// Whose turn it is: somebody familiar, the first of them; else the first of the next name, in
    /// the order of their hashes.
    fn next_at(&self) -> Option<usize> {
        let familiar = self.waiting().find(|(_, asker)| asker.is_familiar);
        let after = |asker: &Asker| asker.name.wrapping_sub(self.last).wrapping_sub(1);
        familiar.or_else(|| self.waiting().min_by_key(|(_, asker)| after(asker))).map(|(at, _)| at)
    }
}

/// Ends the waiting of who follows, also after a panic.
struct Following<'a>(&'a Turns, u64);

impl Drop for Following<'_> {
    fn drop(&mut self) {
        self.0.state.lock().waiting.retain(|waiting| waiting.ticket != self.1);
    }
}

/// Gives the turn back, also after a panic.
struct HashTurn<'a>(&'a Turns);

impl Turns {
    fn new(number: usize) -> Turns {
        let state = TurnsState { free: number, waiting: Vec::new(), last: 0, next: 0 };
        Turns { state: Mutex::new(state), changed: Condvar::new() }
    }

    fn follow<R>(&self, asker: Asker, wait: impl FnOnce() -> R) -> Result<R, Busy> {
        let mut state = self.state.lock();
        if !state.may_follow(asker) {
            return Err(Busy);
        }
        let ticket = state.next;
        state.next += 1;
        state.waiting.push(WaitingCheck { ticket, asker, fate: Fate::Follows });
        drop(state);
        let _following = Following(self, ticket);
        Ok(wait())
    }

    fn take<R>(&self, asker: Asker, compute: impl FnOnce() -> R) -> Result<R, Busy> {
        let mut state = self.state.lock();
        if state.is_full_for(asker) {
            return Err(Busy);
        }
        if state.free > 0 {
            state.free -= 1;
        } else {
            if state.waiting().count() >= WAITING_MAX {
                // The last of the strangers; there is one, or it were full.
                let last = state.waiting().filter(|(_, other)| !other.is_familiar).last();
                let Some((last, _)) = last else { return Err(Busy) };
                state.waiting[last].fate = Fate::GivesWay;
                self.changed.notify_all();
            }
            let ticket = state.next;
            state.next += 1;
            state.waiting.push(WaitingCheck { ticket, asker, fate: Fate::Waits });
            loop {
                let mine = state.waiting.iter().position(|waiting| waiting.ticket == ticket);
                let mine = mine.expect("nobody else takes it away");
                match state.waiting[mine].fate {
                    Fate::Waits | Fate::Follows => self.changed.wait(&mut state),
                    Fate::HasTurn => {
                        state.waiting.remove(mine);
                        break;
                    }
                    Fate::GivesWay => {
                        state.waiting.remove(mine);
                        return Err(Busy);
                    }
                }
            }
        }
        drop(state);
        let _turn = HashTurn(self);
        Ok(compute())
    }
}

impl Drop for HashTurn<'_> {
    fn drop(&mut self) {
        let mut state = self.0.state.lock();
        match state.next_at() {
            Some(at) => {
                if !state.waiting[at].asker.is_familiar {
                    state.last = state.waiting[at].asker.name;
                }
                state.waiting[at].fate = Fate::HasTurn;
                self.0.changed.notify_all();
            }
            None => state.free += 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::mpsc;

    use super::*;

    const FAMILIAR: bool = true;
    const STRANGER: bool = false;

    /// Turns that are all taken, until it is dropped.
    fn with_all_taken(work: impl FnOnce(&Turns, &mpsc::Sender<()>)) {
        let turns = Turns::new(1);
        std::thread::scope(|threads| {
            let (end, ended) = mpsc::channel();
            let (begin, begun) = mpsc::channel();
            let turns = &turns;
            threads.spawn(move || {
                turns.take(Asker::new(0, STRANGER), || {
                    begin.send(()).unwrap();
                    let _ = ended.recv();
                })
            });
            begun.recv().unwrap();
            work(turns, &end);
            drop(end);
        });
    }

    fn wait_for(turns: &Turns, waiting: usize) {
        while turns.state.lock().waiting().count() != waiting {
            std::thread::yield_now();
        }
    }

    #[test]
    fn no_more_run_at_once_than_there_are_turns_and_all_run_in_the_end() {
        let turns = Turns::new(2);
        let (running, most, done) = (AtomicUsize::new(0), AtomicUsize::new(0), AtomicUsize::new(0));
        std::thread::scope(|threads| {
            for name in 0..16 {
                let (turns, running, most, done) = (&turns, &running, &most, &done);
                threads.spawn(move || {
                    let compute = || {
                        most.fetch_max(
                            running.fetch_add(1, Ordering::SeqCst) + 1,
                            Ordering::SeqCst,
                        );
                        std::thread::yield_now();
                        running.fetch_sub(1, Ordering::SeqCst);
                        done.fetch_add(1, Ordering::SeqCst);
                    };
                    turns.take(Asker::new(name, STRANGER), compute).expect("few enough");
                });
            }
        });
        assert!(most.into_inner() <= 2);
        assert_eq!(done.into_inner(), 16);
    }

    #[test]
    fn four_strangers_wait_for_one_name_and_others_for_theirs() {
        with_all_taken(|turns, _| {
            std::thread::scope(|threads| {
                for waiting in 1..=4 {
                    threads.spawn(|| turns.take(Asker::new(7, STRANGER), || ()).unwrap());
                    wait_for(turns, waiting);
                }
                assert_eq!(turns.take(Asker::new(7, STRANGER), || ()), Err(Busy));
                for other in [6, 8, 7 + 64, u64::MAX] {
                    assert!(!turns.state.lock().is_full_for(Asker::new(other, STRANGER)));
                }
                for waiting in 5..=24 {
                    threads.spawn(move || {
                        turns.take(Asker::new(waiting + 5, STRANGER), || ()).unwrap()
                    });
                    wait_for(turns, waiting as usize);
                }
                assert_eq!(
                    turns.take(Asker::new(50, STRANGER), || ()),
                    Err(Busy),
                    "strangers in all"
                );
                assert!(turns.state.lock().is_full_for(Asker::new(50, STRANGER)));
                assert!(!turns.state.lock().is_full_for(Asker::new(50, FAMILIAR)));
                // Let them go.
                let mut state = turns.state.lock();
                for waiting in &mut state.waiting {
                    waiting.fate = Fate::HasTurn;
                }
                turns.changed.notify_all();
                drop(state);
            });
        });
    }

    #[test]
    fn who_is_familiar_comes_first_and_names_take_turns() {
        let order = Mutex::new(Vec::new());
        let askers = [
            (3, STRANGER),
            (3, STRANGER),
            (9, STRANGER),
            (3, STRANGER),
            (5, FAMILIAR),
            (3, FAMILIAR),
        ];
        with_all_taken(|turns, end| {
            std::thread::scope(|threads| {
                for (waiting, (name, is_familiar)) in askers.into_iter().enumerate() {
                    let order = &order;
                    threads.spawn(move || {
                        let compute = || order.lock().push((name, is_familiar));
                        turns.take(Asker::new(name, is_familiar), compute).unwrap();
                    });
                    wait_for(turns, waiting + 1);
                }
                end.send(()).unwrap();
            });
        });
        let expected = [
            (5, FAMILIAR),
            (3, FAMILIAR),
            (3, STRANGER),
            (9, STRANGER),
            (3, STRANGER),
            (3, STRANGER),
        ];
        assert_eq!(order.into_inner(), expected);
    }

    #[test]
    fn somebody_familiar_takes_the_place_of_the_last_stranger() {
        let mut state = TurnsState { free: 0, waiting: Vec::new(), last: 0, next: 0 };
        let mut push = |is_familiar| {
            let ticket = state.waiting.len() as u64;
            state.waiting.push(WaitingCheck {
                ticket,
                asker: Asker::new(ticket, is_familiar),
                fate: Fate::Waits,
            });
        };
        for _ in 0..WAITING_MAX - 1 {
            push(FAMILIAR);
        }
        push(STRANGER);
        assert!(!state.is_full_for(Asker::new(1, FAMILIAR)));
        assert!(state.is_full_for(Asker::new(1, STRANGER)));
        state.waiting[WAITING_MAX - 1].asker.is_familiar = FAMILIAR;
        assert!(state.is_full_for(Asker::new(1, FAMILIAR)));
    }

    #[test]
    fn strangers_who_follow_take_the_places_of_strangers_and_leave_them_again() {
        let turns = Turns::new(1);
        fn follow(turns: &Turns, depth: u64, name: u64) -> u64 {
            let name_of = Asker::new(name, STRANGER);
            turns.follow(name_of, || follow(turns, depth + 1, name)).unwrap_or(depth)
        }
        assert_eq!(follow(&turns, 0, 7), 8, "of one name");
        assert_eq!(follow(&turns, 0, 7), 8, "they have left");
        fn others(turns: &Turns, depth: u64) -> u64 {
            turns.follow(Asker::new(depth, STRANGER), || others(turns, depth + 1)).unwrap_or(depth)
        }
        assert_eq!(others(&turns, 0), 24, "in all");
    }

    #[test]
    fn a_panic_gives_its_turn_back() {
        let turns = Turns::new(1);
        let asker = Asker::new(1, STRANGER);
        let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            turns.take(asker, || panic!("asked for"))
        }));
        assert!(panicked.is_err());
        assert_eq!(turns.take(asker, || 7), Ok(7));
    }
}
