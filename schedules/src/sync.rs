//! What the queue waits with (`src/gate/sync.rs`), scheduled by shuttle, and a clock that stands
//! unless a test or the end of a wait moves it.

use std::ops::Add;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use shuttle::rand::{Rng, thread_rng};
use shuttle::{sync, thread};

std::thread_local! {
    /// In milliseconds. A schedule's threads are all of one thread.
    static CLOCK: AtomicU64 = const { AtomicU64::new(0) };
}

/// Before each schedule.
pub fn begin() {
    CLOCK.with(|clock| clock.store(0, Relaxed));
}

/// Time passes.
pub fn pass(milliseconds: u64) {
    CLOCK.with(|clock| clock.fetch_add(milliseconds, Relaxed));
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Instant(u64);

impl Instant {
    pub fn now() -> Instant {
        Instant(CLOCK.with(|clock| clock.load(Relaxed)))
    }

    pub fn elapsed(self) -> Duration {
        Duration::from_millis(Instant::now().0 - self.0)
    }
}

impl Add<Duration> for Instant {
    type Output = Instant;

    fn add(self, duration: Duration) -> Instant {
        Instant(self.0 + duration.as_millis() as u64)
    }
}

/// Isn't poisoned, as parking_lot's.
pub struct Mutex<T>(sync::Mutex<T>);

/// Empty only while it waits or is unlocked.
pub struct MutexGuard<'a, T> {
    mutex: &'a sync::Mutex<T>,
    held: Option<sync::MutexGuard<'a, T>>,
}

impl<T> Mutex<T> {
    pub fn new(value: T) -> Mutex<T> {
        Mutex(sync::Mutex::new(value))
    }

    pub fn lock(&self) -> MutexGuard<'_, T> {
        MutexGuard { mutex: &self.0, held: Some(locked(&self.0)) }
    }
}

fn locked<T>(mutex: &sync::Mutex<T>) -> sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<T> MutexGuard<'_, T> {
    pub fn unlocked<R>(guard: &mut Self, work: impl FnOnce() -> R) -> R {
        guard.held = None;
        let result = work();
        guard.held = Some(locked(guard.mutex));
        result
    }
}

impl<T> std::ops::Deref for MutexGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.held.as_ref().expect("it is locked")
    }
}

impl<T> std::ops::DerefMut for MutexGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        self.held.as_mut().expect("it is locked")
    }
}

pub struct Condvar {
    inner: sync::Condvar,
    /// How often it was notified.
    notified: AtomicU64,
}

impl Condvar {
    pub fn new() -> Condvar {
        Condvar { inner: sync::Condvar::new(), notified: AtomicU64::new(0) }
    }

    pub fn notify_all(&self) {
        self.notified.fetch_add(1, Relaxed);
        self.inner.notify_all();
    }

    pub fn wait<T>(&self, guard: &mut MutexGuard<'_, T>) {
        let held = guard.held.take().expect("it is locked");
        guard.held = Some(self.inner.wait(held).unwrap_or_else(PoisonError::into_inner));
    }

    /// Until it is notified or, sooner or later, the time comes.
    pub fn wait_until<T>(&self, guard: &mut MutexGuard<'_, T>, end: Instant) {
        let before = self.notified.load(Relaxed);
        loop {
            guard.held = None;
            thread::yield_now();
            guard.held = Some(locked(guard.mutex));
            if self.notified.load(Relaxed) != before || Instant::now() >= end {
                return;
            }
            if thread_rng().gen_range(0..4) == 0 {
                CLOCK.with(|clock| clock.fetch_max(end.0, Relaxed));
                return;
            }
        }
    }
}
