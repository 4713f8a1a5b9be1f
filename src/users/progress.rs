//! How far tokens were seen to have come, so that an older state of the users file that is put in
//! its place is noticed: a copy from a backup, a checkout, configuration management that puts back
//! what it knows. Recovery restores what the journal still has of it; of the rest, who has seen
//! better can only say so.

use std::collections::HashMap;
use std::hash::Hasher as _;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use siphasher::sip::SipHasher13;

use crate::log::Quoted;
use crate::token::{MovingFactor, ReplayFloor, State, StoredToken, Token, Used};

/// More tokens than this, and the memory of them starts anew.
const TOKENS_MAX: usize = 1024;

/// One token of one user, whatever its PIN.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TokenKey {
    hash: u64,
    is_event: bool,
}

impl TokenKey {
    pub(super) fn of(user: &[u8], token: &Token) -> TokenKey {
        let mut hash = SipHasher13::new();
        hash.write_usize(user.len());
        hash.write(user);
        hash.write(token.key.expose());
        let period = match token.factor {
            MovingFactor::Event | MovingFactor::Paper(_) => 0,
            MovingFactor::Time(period) => u64::from(period.get()),
        };
        hash.write_u64(period);
        TokenKey { hash: hash.finish(), is_event: period == 0 }
    }

    /// The next counter, or when the step of the last accepted code began. `None`: nothing was
    /// accepted.
    fn progress(self, state: &State) -> Option<i64> {
        let last = match state.used {
            Used::At { last, .. } | Used::Ended { last_login: last } => Some(last),
            _ => None,
        };
        if self.is_event {
            Some(state.counter.as_written())
        } else {
            state.replay_floor.map(ReplayFloor::as_written).or(last)
        }
    }

    /// In words: from where it was seen to where it is found.
    fn told(self, seen: i64, found: Option<i64>) -> String {
        if self.is_event {
            return format!("counter {} after {seen}", found.unwrap_or_default());
        }
        let time = |second| {
            jiff::Timestamp::from_second(second)
                .map_or_else(|_| second.to_string(), |time| time.to_string())
        };
        match found {
            Some(found) => format!("last code of {} after {}", time(found), time(seen)),
            None => format!("no code used after the one of {}", time(seen)),
        }
    }
}

struct Known {
    user: Vec<u8>,
    progress: i64,
}

/// What this process has seen of one file.
#[derive(Default)]
pub(super) struct ProgressSeen {
    known: Mutex<HashMap<u64, Known>>,
    /// The file was read anew since, and not yet compared.
    is_due: AtomicBool,
}

impl ProgressSeen {
    /// The file is no longer the one that was seen. Until it is compared, nothing is learnt from
    /// it.
    pub(super) fn is_to_be_compared(&self) {
        if !self.known.lock().is_empty() {
            self.is_due.store(true, Ordering::Relaxed);
        }
    }

    pub(super) fn is_due(&self) -> bool {
        self.is_due.load(Ordering::Relaxed)
    }

    /// Learns how far a token has come.
    pub(super) fn note(&self, user: &[u8], device: TokenKey, state: &State) {
        let Some(progress) = device.progress(state).filter(|_| !self.is_due()) else { return };
        let mut known = self.known.lock();
        if let Some(known) = known.get_mut(&device.hash) {
            known.progress = progress;
            return;
        }
        if known.len() >= TOKENS_MAX {
            known.clear();
        }
        known.insert(device.hash, Known { user: user.to_vec(), progress });
    }

    /// Compares what was seen with what `find` finds now, and tells of users who have fallen
    /// behind.
    pub(super) fn compare(
        &self,
        mut find: impl FnMut(&[u8]) -> Vec<StoredToken>,
    ) -> Option<String> {
        let mut known = self.known.lock();
        let mut users: Vec<Vec<u8>> = known.values().map(|known| known.user.clone()).collect();
        users.sort();
        users.dedup();
        let mut first = None;
        let mut others = 0;
        for user in users {
            let lines = find(&user);
            // Where a token stands twice, the line that is further counts.
            let mut furthest: HashMap<u64, (TokenKey, &State)> = HashMap::new();
            for line in &lines {
                let device = TokenKey::of(&user, &line.token);
                let found = furthest.entry(device.hash).or_insert((device, &line.state));
                if device.progress(&line.state) > device.progress(found.1) {
                    found.1 = &line.state;
                }
            }
            let mut is_behind = false;
            for (hash, (device, state)) in furthest {
                // Taken out, so that it is told once; who logs in is seen again.
                let Some(Known { progress: seen, .. }) = known.remove(&hash) else { continue };
                let found = device.progress(state);
                if found < Some(seen) && !is_resynchronised(state) {
                    is_behind = true;
                    first.get_or_insert_with(|| {
                        format!("user {}: {}", Quoted(&user), device.told(seen, found))
                    });
                } else {
                    known.insert(
                        hash,
                        Known { user: user.clone(), progress: found.unwrap_or(seen) },
                    );
                }
            }
            others += u32::from(is_behind);
        }
        self.is_due.store(false, Ordering::Relaxed);
        let first = first?;
        Some(match others - 1 {
            0 => first,
            1 => format!("{first}, and one more user"),
            others => format!("{first}, and {others} more users"),
        })
    }
}

/// An admin has said where the token stands, and may have meant an earlier place; nobody has logged
/// in with it since.
fn is_resynchronised(state: &State) -> bool {
    state.intact
        && state.last_otp.is_some()
        && matches!(state.used, Used::Never | Used::Ended { .. })
}
