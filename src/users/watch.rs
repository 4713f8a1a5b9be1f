//! Whether what was read without the lock still holds.
//!
//! One look at the file tells, if its stamp is old enough: whatever changes it now gets another
//! one. Until then two states can share a stamp, and the journal's header is read as well, which
//! every change of ours moves on. What was kept until then is read once more when it is old enough:
//! so who edits the file without its lock in the very tick of a login goes unseen for no longer
//! than that tick, unless lines move and inode and size stay as they are.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::journal::{Basis, Header, JournalPlace};
use crate::files::stamp::Stamp;

/// What a look at the file has shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sight {
    /// Nothing has changed.
    Same,
    /// Lines are where they were, and from now on the stamp tells; what was read of them before has
    /// to be read again.
    Settled,
    /// Something has changed, or somebody is writing.
    Changed,
}

/// A state of the users file, as a reader has met it.
pub struct Watch {
    basis: Basis,
    place: JournalPlace,
    /// By a clock that nobody sets.
    since: Duration,
    /// The stamp alone tells.
    is_settled: AtomicBool,
}

impl Watch {
    /// Begins when the file is as `stamp` says and the journal's header is this. `now` is not
    /// before either was read.
    pub fn new(stamp: Stamp, header: &Header, now: Duration) -> Watch {
        let basis = Basis::now(stamp, Some(header));
        Watch { basis, place: header.place, since: now, is_settled: AtomicBool::new(false) }
    }

    /// What is known holds for this.
    pub fn basis(&self) -> &Basis {
        &self.basis
    }

    /// Whether the stamp alone tells of changes.
    pub fn is_settled(&self) -> bool {
        self.is_settled.load(Ordering::Relaxed)
    }

    /// What has changed, if the file is now as `stamp` says. `header` reads the journal's, if that
    /// isn't being written.
    pub fn look(
        &self,
        stamp: Stamp,
        now: impl FnOnce() -> Duration,
        header: impl FnOnce() -> Option<Header>,
    ) -> Sight {
        if stamp != self.basis.stamp {
            return Sight::Changed;
        }
        if self.is_settled() {
            return Sight::Same;
        }
        // In this order: what changes after the header was read comes after the tick.
        let is_old = now().saturating_sub(self.since) >= stamp.tick();
        let Some(header) = header() else { return Sight::Changed };
        if header.place != self.place || !self.basis.holds(stamp, Some(&header)) {
            return Sight::Changed;
        }
        if is_old && !self.is_settled.swap(true, Ordering::Relaxed) {
            Sight::Settled
        } else {
            Sight::Same
        }
    }

    /// Moves on to another state, if lines are still where they were: nothing but slots has
    /// changed.
    pub fn follow(&mut self, stamp: Stamp, header: Option<&Header>, now: Duration) -> bool {
        let Some(header) = header.filter(|header| self.basis.holds(stamp, Some(header))) else {
            return false;
        };
        *self = Watch::new(stamp, header, now);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(place: JournalPlace, epoch: u64, stamp: Stamp) -> Header {
        Header { place, epoch, stamp, ..Header::default() }
    }

    #[test]
    fn within_a_tick_the_sequence_tells_and_later_the_stamp_alone() {
        // A file system that keeps whole seconds.
        let stamp = Stamp::from_words([1, 2, 3, 4, 0, 4, 0]);
        let before = header(JournalPlace::default(), 5, stamp);
        let after = header(JournalPlace::next_of(JournalPlace::default()), 5, stamp);
        let at = Duration::from_millis;
        let mut watch = Watch::new(stamp, &before, at(0));
        assert_eq!(watch.look(stamp, || at(500), || Some(before)), Sight::Same);
        assert_eq!(
            watch.look(stamp, || at(900), || Some(after)),
            Sight::Changed,
            "a login in the same second"
        );
        assert!(watch.follow(stamp, Some(&after), at(900)));
        assert_eq!(watch.look(stamp, || at(1900), || Some(after)), Sight::Same);
        assert_eq!(watch.look(stamp, || at(1919), || None), Sight::Changed, "somebody is writing");
        assert_eq!(watch.look(stamp, || at(1920), || Some(after)), Sight::Settled);
        assert_eq!(
            watch.look(stamp, || unreachable!(), || unreachable!()),
            Sight::Same,
            "one look is enough"
        );
        let later = Stamp::from_words([1, 2, 3, 5, 0, 5, 0]);
        assert_eq!(watch.look(later, || unreachable!(), || unreachable!()), Sight::Changed);
    }

    #[test]
    fn lines_that_moved_within_a_tick_are_not_followed() {
        let stamp = Stamp::from_words([1, 2, 3, 4, 0, 4, 0]);
        let before = header(JournalPlace::default(), 5, stamp);
        let mut watch = Watch::new(stamp, &before, Duration::ZERO);
        let rewritten = Header {
            base: stamp,
            ..header(JournalPlace::next_of(JournalPlace::default()), 6, stamp)
        };
        assert!(!watch.follow(stamp, Some(&rewritten), Duration::ZERO));
    }
}
