//! What waiting is made of: in one place, so that `schedules/` can put a scheduler of its own there.

pub(super) use std::time::Instant;

pub(super) use parking_lot::{Condvar, Mutex, MutexGuard};
