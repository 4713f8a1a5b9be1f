//! Logins waiting in one process are decided together by the one that gets the lock.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::time::Duration;

use super::sync::{Condvar, Instant, Mutex, MutexGuard};

/// Jobs of type `J`, each of which ends in an `R`.
pub(super) struct Queue<J, R> {
    state: Mutex<QueueState<J, R>>,
    done: Condvar,
}

/// Tells jobs apart.
type Ticket = u64;

struct QueueState<J, R> {
    waiting: Vec<(Ticket, J)>,
    results: HashMap<Ticket, R>,
    has_leader: bool,
    /// Since when the leader waits for the lock.
    locking: Option<Instant>,
    next: Ticket,
}

/// For so long all wait with a leader who waits for the lock; after that somebody else has it who
/// may never let go, and few of the server's threads are left to wait.
const TOGETHER: Duration = Duration::from_millis(250);
const FEW: usize = 8;

/// The jobs a leader has taken on so far. Whoever leads takes them once it has the lock, so that
/// all who came while it waited are in the same round.
pub(super) struct Round<'q, J, R> {
    queue: &'q Queue<J, R>,
    tickets: Vec<Ticket>,
}

impl<J, R> Round<'_, J, R> {
    /// All jobs waiting now.
    pub(super) fn take(&mut self) -> Vec<J> {
        let mut state = self.queue.state.lock();
        state.locking = None;
        let taken = std::mem::take(&mut state.waiting);
        drop(state);
        let (tickets, jobs): (Vec<Ticket>, Vec<J>) = taken.into_iter().unzip();
        self.tickets.extend(tickets);
        jobs
    }
}

impl<J, R: Clone> Queue<J, R> {
    pub(super) fn new() -> Queue<J, R> {
        let state = QueueState {
            waiting: Vec::new(),
            results: HashMap::new(),
            has_leader: false,
            locking: None,
            next: 0,
        };
        Queue { state: Mutex::new(state), done: Condvar::new() }
    }

    /// Has a job done by this thread or by the current leader.
    ///
    /// `lead` does all jobs of a round and gives their results in the order taken, or one for all
    /// of them. `abandoned` is the result of those whose leader panicked, `busy` that of those who
    /// would wait too long.
    pub(super) fn run(
        &self,
        job: J,
        lead: impl FnOnce(&mut Round<'_, J, R>) -> Result<Vec<R>, R>,
        abandoned: impl FnOnce() -> R,
        busy: impl FnOnce() -> R,
    ) -> R {
        let mut state = self.state.lock();
        let is_late = |since: Instant| since.elapsed() >= TOGETHER;
        if state.locking.is_some_and(is_late) && state.waiting.len() >= FEW {
            return busy();
        }
        let ticket = state.next;
        state.next += 1;
        state.waiting.push((ticket, job));
        while state.has_leader {
            if let Some(result) = state.results.remove(&ticket) {
                return result;
            }
            match state.locking {
                Some(since) if !is_late(since) => {
                    self.done.wait_until(&mut state, since + TOGETHER);
                }
                Some(_) => {
                    let place = state.waiting.iter().position(|(waiting, _)| *waiting == ticket);
                    if let Some(place) = place.filter(|&place| place >= FEW) {
                        state.waiting.remove(place);
                        return busy();
                    }
                    self.done.wait(&mut state);
                }
                None => self.done.wait(&mut state),
            }
        }
        if let Some(result) = state.results.remove(&ticket) {
            return result;
        }

        self.lead_a_round(&mut state, ticket, lead, abandoned)
    }

    /// Does all jobs of a round for those who wait for them. The result of the leader's own job.
    fn lead_a_round(
        &self,
        state: &mut MutexGuard<'_, QueueState<J, R>>,
        ticket: Ticket,
        lead: impl FnOnce(&mut Round<'_, J, R>) -> Result<Vec<R>, R>,
        abandoned: impl FnOnce() -> R,
    ) -> R {
        state.has_leader = true;
        state.locking = Some(Instant::now());
        let mut round = Round { queue: self, tickets: Vec::new() };
        let led =
            MutexGuard::unlocked(state, || catch_unwind(AssertUnwindSafe(|| lead(&mut round))));
        state.has_leader = false;
        state.locking = None;
        if round.tickets.is_empty() {
            // The leader failed before it took any job: those who wait by now fare as it does.
            let waiting = std::mem::take(&mut state.waiting);
            round.tickets.extend(waiting.into_iter().map(|(ticket, _)| ticket));
        }
        let (results, panic) = match led {
            Ok(Ok(results)) => (results, None),
            Ok(Err(shared)) => (vec![shared; round.tickets.len()], None),
            Err(panic) => (vec![abandoned(); round.tickets.len()], Some(panic)),
        };
        debug_assert_eq!(results.len(), round.tickets.len());
        state.results.extend(round.tickets.into_iter().zip(results));
        let own = state.results.remove(&ticket);
        self.done.notify_all();
        match panic {
            Some(panic) => resume_unwind(panic),
            None => own.expect("a leader's own job is in its round"),
        }
    }
}
