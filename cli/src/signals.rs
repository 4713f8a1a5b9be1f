//! Signals that end the command, held back while something has to be put right first: a terminal
//! that shows nothing, a file with a key whose token isn't saved.

use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::process::Child;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, Resource, Rlimit, Signal, getrlimit, kill_process, setrlimit};
use signal_hook::consts::{SIGCHLD, SIGHUP, SIGINT, SIGQUIT, SIGTERM};
use signal_hook::{flag, low_level};

use crate::{Failure, Result};

/// What the command is ended with: by somebody, or with a key.
const ENDING: [i32; 4] = [SIGTERM, SIGHUP, SIGINT, SIGQUIT];
/// How long an editor has to save what it holds once it was told to end.
const EDITOR_PATIENCE: Duration = Duration::from_secs(5);

/// How many hold them back.
static HOLDS: AtomicUsize = AtomicUsize::new(0);
static CAUGHT: OnceLock<Caught> = OnceLock::new();

struct Caught {
    /// While nobody holds them back, they do what they always do.
    free: Arc<AtomicBool>,
    came: [(i32, Arc<AtomicBool>); ENDING.len()],
    /// Readable once a signal came.
    wake: Mutex<UnixStream>,
}

impl Caught {
    fn new() -> io::Result<Caught> {
        let (wake, woken) = UnixStream::pair()?;
        wake.set_nonblocking(true)?;
        let ignored = ignored();
        let free = Arc::new(AtomicBool::new(true));
        let came = ENDING.map(|signal| (signal, Arc::new(AtomicBool::new(false))));
        for (signal, came) in &came {
            // What nohup and the shell's `&` switch off stays so.
            if ignored >> (signal - 1) & 1 == 0 {
                flag::register_conditional_default(*signal, free.clone())?;
                flag::register(*signal, came.clone())?;
                low_level::pipe::register(*signal, woken.try_clone()?)?;
            }
        }
        low_level::pipe::register(SIGCHLD, woken)?;
        Ok(Caught { free, came, wake: Mutex::new(wake) })
    }

    fn which(&self) -> Option<i32> {
        let came = self.came.iter().find(|(_, came)| came.load(Ordering::SeqCst));
        came.map(|(signal, _)| *signal)
    }
}

/// The signals that are ignored, as bits. Where that can't be told: none.
fn ignored() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0)
}

/// As long as this is there, a signal is only noted. Whoever has it asks or waits with it.
pub struct Held {
    caught: &'static Caught,
}

/// Holds signals back. One that comes meanwhile ends the command after what it does next.
pub fn hold() -> Result<Held> {
    let failed = |error: io::Error| Failure::new(format!("cannot catch signals: {error}"));
    let caught = match CAUGHT.get() {
        Some(caught) => caught,
        // No thread is started before.
        None => {
            let caught = Caught::new().map_err(failed)?;
            CAUGHT.get_or_init(|| caught)
        }
    };
    HOLDS.fetch_add(1, Ordering::SeqCst);
    caught.free.store(false, Ordering::SeqCst);
    Ok(Held { caught })
}

impl Drop for Held {
    fn drop(&mut self) {
        if HOLDS.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.caught.free.store(true, Ordering::SeqCst);
        }
    }
}

impl Held {
    /// Refuses to go on once a signal came.
    pub fn check(&self) -> Result<()> {
        match self.caught.which() {
            Some(_) => Err(interrupted()),
            None => Ok(()),
        }
    }

    /// Waits until there is something to read, or a signal.
    pub fn wait_for(&self, input: BorrowedFd<'_>) -> Result<()> {
        loop {
            self.check()?;
            self.drain();
            self.check()?;
            if self
                .polled(Some(input), None)
                .map_err(|error| Failure::new(format!("cannot wait for standard input: {error}")))?
            {
                return Ok(());
            }
        }
    }

    /// As if the key that is pressed had sent it.
    pub fn take(&self, signal: i32) {
        for (known, came) in &self.caught.came {
            if *known == signal {
                came.store(true, Ordering::SeqCst);
            }
        }
    }

    /// Waits for an editor, with whom the keys of the terminal are: Ctrl-C is none of ours. A
    /// signal that ends us is passed on.
    pub fn wait_for_editor(
        &self,
        editor: &mut Child,
    ) -> io::Result<Option<std::process::ExitStatus>> {
        let mut deadline = None;
        loop {
            self.drain();
            if let Some(status) = editor.try_wait()? {
                self.forget_keys();
                return Ok(Some(status));
            }
            let left = deadline
                .map(|deadline: Instant| deadline.saturating_duration_since(Instant::now()));
            if left.is_some_and(|left| left.is_zero()) {
                return Ok(None);
            }
            self.forget_keys();
            if deadline.is_none()
                && let Some(signal) = self.caught.which()
            {
                deadline = Some(Instant::now() + EDITOR_PATIENCE);
                let signal = if signal == SIGHUP { Signal::HUP } else { Signal::TERM };
                tell_all(editor.id(), signal);
                continue;
            }
            self.polled(None, left)?;
        }
    }

    fn forget_keys(&self) {
        for (signal, came) in &self.caught.came {
            if [SIGINT, SIGQUIT].contains(signal) {
                came.store(false, Ordering::SeqCst);
            }
        }
    }

    fn drain(&self) {
        let mut wake = self.caught.wake.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        while matches!(wake.read(&mut [0; 64]), Ok(1..)) {}
    }

    /// Whether there is input. `false`: time is up, or a signal came.
    fn polled(&self, input: Option<BorrowedFd<'_>>, time: Option<Duration>) -> io::Result<bool> {
        let wake = self.caught.wake.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let time = time.and_then(|time| Timespec::try_from(time).ok());
        let mut all = vec![PollFd::from_borrowed_fd(wake.as_fd(), PollFlags::IN)];
        all.extend(input.map(|input| PollFd::from_borrowed_fd(input, PollFlags::IN)));
        match poll(&mut all, time.as_ref()) {
            Ok(_) => Ok(all.get(1).is_some_and(|input| !input.revents().is_empty())),
            Err(Errno::INTR) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }
}

/// A process and what it has started, that first: the shell before the editor ends with it.
fn tell_all(process: u32, signal: Signal) {
    let children = format!("/proc/{process}/task/{process}/children");
    let children = std::fs::read_to_string(children).unwrap_or_default();
    for child in children.split_ascii_whitespace().filter_map(|child| child.parse().ok()) {
        tell_all(child, signal);
    }
    if let Some(pid) = Pid::from_raw(process as i32) {
        let _ = kill_process(pid, signal);
    }
}

/// What is said when a signal ends the command before anything was changed.
pub fn interrupted() -> Failure {
    Failure::new("interrupted; nothing was changed")
}

/// The end of the command, by the signal that was held back if there is one: a shell's loop has to
/// see it.
pub fn act() {
    if let Some(signal) = CAUGHT.get().and_then(Caught::which) {
        die_of(signal);
    }
}

/// Ends as the signal ends others.
pub fn die_of(signal: i32) {
    // A core dump would have the PIN in it that was being typed.
    let limit = Rlimit { current: Some(0), ..getrlimit(Resource::Core) };
    let _ = setrlimit(Resource::Core, limit);
    let _ = low_level::emulate_default_handler(signal);
}
