//! How far long work has come, for whoever waits at a terminal.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

/// More often nobody can read it.
const PAUSE: Duration = Duration::from_millis(100);

/// One line on standard error that is written over and taken away at the end. Nothing where that is
/// no terminal.
pub struct Progress {
    next: Option<Instant>,
    is_shown: bool,
}

impl Progress {
    pub fn new() -> Progress {
        Progress { next: std::io::stderr().is_terminal().then(Instant::now), is_shown: false }
    }

    /// Tells what is being done, as often as it can be read.
    pub fn tell(&mut self, what: impl FnOnce() -> String) {
        let now = Instant::now();
        if self.next.is_some_and(|next| now >= next) {
            self.next = Some(now + PAUSE);
            self.is_shown = true;
            eprint!("\r\x1b[K{}", what());
            let _ = std::io::stderr().flush();
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.is_shown {
            eprint!("\r\x1b[K");
        }
    }
}
