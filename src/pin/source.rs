//! Who checks the PINs that are marked `+`.

/// What a PIN source said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PinAnswer {
    /// This is the PIN.
    Right,
    /// It isn't.
    Wrong,
    /// No source knows the user.
    Unknown,
    /// The source couldn't say.
    Failed,
    /// There is no source.
    NoSource,
}

/// Checks PINs marked `+`.
pub trait PinSource {
    /// Tells one source from another within a configuration; empty: there is none.
    fn identity(&self) -> Vec<u8>;

    /// Whether the identity says all about it: where it is the same, the same is answered. If not,
    /// nothing is remembered, and it is asked each time.
    fn is_known_by_identity(&self) -> bool {
        true
    }

    /// What its answers rest on: a right answer is remembered for as long as this stays the same.
    /// `None`: not at all, it may be changing. Asked on event loops, too.
    fn state(&self) -> Option<Vec<u8>> {
        Some(Vec::new())
    }

    /// Asks it. Called without any lock held.
    fn check(&self, user: &[u8], pin: &[u8]) -> PinAnswer;
}
