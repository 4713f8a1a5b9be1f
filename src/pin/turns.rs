//! Who may compute a slow hash now.
//!
//! A burst of logins would otherwise put a hash on every processor, and whatever serves requests beside them (an
//! event loop above all) would get its turn among dozens of threads; and hashes that take 64 MiB each would add up.

use std::sync::LazyLock;

use parking_lot::{Condvar, Mutex};

static TURNS: LazyLock<Turns> = LazyLock::new(|| {
    let processors = std::thread::available_parallelism().map_or(1, |number| number.get());
    Turns::new(processors.saturating_sub(1).max(1))
});

/// Runs `compute` as soon as no more than a few others do so in this process: one processor is left alone, if there
/// are several.
pub fn in_turn<R>(compute: impl FnOnce() -> R) -> R {
    TURNS.take(compute)
}

struct Turns {
    free: Mutex<usize>,
    given_back: Condvar,
}

/// Gives the turn back, also after a panic.
struct Turn<'a>(&'a Turns);

impl Turns {
    fn new(number: usize) -> Turns {
        Turns { free: Mutex::new(number), given_back: Condvar::new() }
    }

    fn take<R>(&self, compute: impl FnOnce() -> R) -> R {
        let mut free = self.free.lock();
        self.given_back.wait_while(&mut free, |free| *free == 0);
        *free -= 1;
        drop(free);
        let _turn = Turn(self);
        compute()
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        *self.0.free.lock() += 1;
        self.0.given_back.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[test]
    fn no_more_run_at_once_than_there_are_turns_and_all_run_in_the_end() {
        let turns = Turns::new(2);
        let (running, most, done) = (AtomicUsize::new(0), AtomicUsize::new(0), AtomicUsize::new(0));
        std::thread::scope(|threads| {
            for _ in 0..16 {
                threads.spawn(|| {
                    turns.take(|| {
                        most.fetch_max(running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                        std::thread::yield_now();
                        running.fetch_sub(1, Ordering::SeqCst);
                        done.fetch_add(1, Ordering::SeqCst);
                    });
                });
            }
        });
        assert!(most.into_inner() <= 2);
        assert_eq!(done.into_inner(), 16);
    }

    #[test]
    fn a_panic_gives_its_turn_back() {
        let turns = Turns::new(1);
        let panicked =
            std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| turns.take(|| panic!("asked for"))));
        assert!(panicked.is_err());
        assert_eq!(turns.take(|| 7), 7);
    }
}
