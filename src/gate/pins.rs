//! Results of slow PIN checks, and checks in progress.
//!
//! The same PIN for the same token is checked once: requests that arrive during the check wait for
//! its answer, and for a while afterwards both right and wrong are known. So the parts of a page
//! cost one check, and a wrong PIN that is sent again and again costs none.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::{Condvar, Mutex};

use super::Gate;
use super::questions::{Mac, PinAsked, ask};
use crate::UnixTime;
use crate::pin::turns::{self, Asker, Busy};
use crate::pin::{PinAnswer, PinSource};
use crate::store::Store;
use crate::token::{Pin, Token};

/// Past this many right PINs at once, the memory starts over.
const RIGHT_MAX: usize = 100_000;
/// The same for wrong ones, of which strangers can send any number.
const WRONG_MAX: usize = 10_000;

/// See the module.
#[derive(Default)]
pub(super) struct PinMemory {
    right: Mutex<HashMap<Mac, Remembered>>,
    wrong: Mutex<HashMap<Mac, Remembered>>,
    going_on: Mutex<HashMap<Mac, Arc<Check>>>,
}

/// An answer, and how long it holds.
#[derive(Clone, Copy)]
struct Remembered {
    since: UnixTime,
    until: UnixTime,
}

impl Remembered {
    fn holds(&self, now: UnixTime) -> bool {
        (self.since..self.until).contains(&now)
    }
}

/// A check in progress.
#[derive(Default)]
struct Check {
    /// What has come of it.
    answer: Mutex<Option<Result<PinAnswer, Busy>>>,
    done: Condvar,
}

impl Check {
    fn wait(&self) -> Result<PinAnswer, Busy> {
        let mut answer = self.answer.lock();
        loop {
            match *answer {
                Some(answer) => return answer,
                None => self.done.wait(&mut answer),
            }
        }
    }
}

/// Ends a check, even after a panic.
struct Ending<'p> {
    pins: &'p PinMemory,
    key: Mac,
    check: Arc<Check>,
    answer: Result<PinAnswer, Busy>,
}

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        self.pins.going_on.lock().remove(&self.key);
        *self.check.answer.lock() = Some(self.answer);
        self.check.done.notify_all();
    }
}

impl PinMemory {
    /// Until when a PIN that was found right needn't be checked again.
    pub(super) fn right_until(&self, key: &Mac) -> Option<UnixTime> {
        self.right.lock().get(key).map(|known| known.until)
    }

    /// What was found out recently.
    pub(super) fn known(&self, asked: &PinAsked) -> Option<PinAnswer> {
        if asked.ttl == 0 {
            return None;
        }
        let holds = |known: &Mutex<HashMap<Mac, Remembered>>| {
            known.lock().get(&asked.key).is_some_and(|known| known.holds(asked.now))
        };
        match () {
            () if holds(&self.right) => Some(PinAnswer::Right),
            () if holds(&self.wrong) => Some(PinAnswer::Wrong),
            () => None,
        }
    }

    fn remember(&self, asked: &PinAsked, answer: PinAnswer) {
        let (known, most) = match answer {
            PinAnswer::Right => (&self.right, RIGHT_MAX),
            PinAnswer::Wrong => (&self.wrong, WRONG_MAX),
            _ => return,
        };
        if asked.ttl == 0 {
            return;
        }
        let mut known = known.lock();
        if known.len() >= most {
            known.clear();
        }
        let until = asked.now.saturating_add(i64::from(asked.ttl));
        let keys = asked.other_keys.iter().chain([&asked.key]);
        known.extend(keys.map(|&key| (key, Remembered { since: asked.now, until })));
    }

    /// Finds the answer, by `compute` or from the check in progress.
    fn check(
        &self,
        asked: &PinAsked,
        asker: Asker,
        compute: impl FnOnce() -> PinAnswer,
    ) -> Result<PinAnswer, Busy> {
        let check = {
            let mut going_on = self.going_on.lock();
            if let Some(check) = going_on.get(&asked.key).cloned() {
                drop(going_on);
                // Whoever waits holds a thread, for whatever they wait.
                return turns::following(asker, || check.wait())?;
            }
            let check = Arc::<Check>::default();
            going_on.insert(asked.key, check.clone());
            check
        };
        let mut ending =
            Ending { pins: self, key: asked.key, check, answer: Ok(PinAnswer::Failed) };
        ending.answer = turns::in_turn(asker, compute);
        if let Ok(answer) = ending.answer {
            // Before others begin anew.
            self.remember(asked, answer);
        }
        ending.answer
    }
}

impl<S: Store> Gate<S> {
    /// Gets a question answered, from memory or by the slow check.
    pub(super) fn answer_to(
        &self,
        asked: &PinAsked,
        token: &Token,
        (user, is_familiar): (&[u8], bool),
        source: &dyn PinSource,
    ) -> Result<PinAnswer, Busy> {
        if let Some(answer) = self.pins.known(asked) {
            return Ok(answer);
        }
        let compute = || match &token.pin {
            Pin::Hashed(hash) if hash.is_hash_of(&asked.pin) => PinAnswer::Right,
            Pin::Hashed(_) => PinAnswer::Wrong,
            _ => ask(source, user, &asked.pin),
        };
        if !is_slow(&token.pin, source) {
            return Ok(compute());
        }
        self.pins.check(asked, self.asker(user, is_familiar), compute)
    }

    /// Whether a slow check would be refused now for want of a turn.
    pub(super) fn is_busy_for(&self, user: &[u8], is_familiar: bool) -> bool {
        turns::is_busy(self.asker(user, is_familiar))
    }

    fn asker(&self, user: &[u8], is_familiar: bool) -> Asker {
        Asker::new(self.mark(&[b"asker", user])[0], is_familiar)
    }
}

/// Whether a PIN is checked by us, which takes a while: providers of the server have their own
/// ways.
pub(super) fn is_slow(pin: &Pin, source: &dyn PinSource) -> bool {
    match pin {
        Pin::Hashed(_) => true,
        Pin::External => source.is_known_by_identity(),
        Pin::None | Pin::Literal(_) => false,
    }
}
