//! How far long work has come, for whoever waits at a terminal.

use std::time::{Duration, Instant};

use crate::output;

/// More often nobody can read it.
const PAUSE: Duration = Duration::from_millis(100);

/// One line on standard error that is written over and taken away at the end. Nothing where that is
/// no terminal, or one that can't write over a line.
pub struct Progress {
    next: Option<Instant>,
}

impl Progress {
    pub fn new() -> Progress {
        Progress { next: output::can_overwrite().then(Instant::now) }
    }

    /// Tells what is being done, as often as it can be read.
    pub fn tell(&mut self, what: impl FnOnce() -> String) {
        let now = Instant::now();
        if self.next.is_some_and(|next| now >= next) {
            self.next = Some(now + PAUSE);
            output::overwrite(&what());
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        output::overwrite("");
    }
}
