//! The users files of one configuration that this process has looked at, each once, by whatever
//! paths it is named; and how many of them are kept open.
//!
//! A thousand sections may name a thousand files, and a process has a limit on open files that its
//! connections need, too. When a file is opened and too many are, one that wasn't used since the
//! last such time is closed; whoever wants it next opens it again. Nothing runs in the background,
//! and all that a use costs is to say that there was one.

use std::collections::{HashMap, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use rustix::process::{Resource, getrlimit};

use super::file::Shared;

/// An open users file takes four descriptors at most, with index and throttle file; together they
/// take half of what a process may have.
const DESCRIPTORS_PER_FILE: u64 = 8;
const OPEN_MIN: u64 = 8;
const OPEN_MAX: u64 = 256;

/// See the module.
#[derive(Default)]
pub struct OpenFiles {
    /// By the path with all links followed.
    known: Mutex<HashMap<PathBuf, Weak<Shared>>>,
    /// Those that may be open, in the order in which they are asked whether they are in use.
    open: Mutex<VecDeque<Weak<Shared>>>,
}

impl OpenFiles {
    /// What this process knows of the file at a path, which has no links in it.
    pub(super) fn at(&self, resolved: &Path) -> Arc<Shared> {
        let mut known = self.known.lock();
        if let Some(shared) = known.get(resolved).and_then(Weak::upgrade) {
            return shared;
        }
        known.retain(|_, shared| shared.strong_count() > 0);
        let shared = Arc::new(Shared::new(resolved));
        known.insert(resolved.to_owned(), Arc::downgrade(&shared));
        shared
    }

    /// Notes that a file is open, and closes others if too many are.
    pub(super) fn opened(&self, shared: &Arc<Shared>) {
        // Asked each time: a server may change it when it has forked.
        let limit = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
        let most = (limit / DESCRIPTORS_PER_FILE).clamp(OPEN_MIN, OPEN_MAX) as usize;
        let mut open = self.open.lock();
        if shared.is_listed_now() {
            open.push_back(Arc::downgrade(shared));
        }
        // Everybody is asked twice: who was in use the first time may not be any more.
        for _ in 0..2 * open.len() {
            if open.len() <= most {
                return;
            }
            let Some(next) = open.pop_front() else { return };
            if next.upgrade().is_some_and(|next| !next.close_unless_used()) {
                open.push_back(next);
            }
        }
    }
}
