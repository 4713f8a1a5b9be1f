//! What all files have in common that are read at the word of a configuration.
//!
//! - [`mod@open`]: the one way in which they are opened.
//! - [`named`]: whether a name still leads to what it is meant for.
//! - [`accounts`] and [`system`]: whose access it is, and trying out another user's.

pub mod accounts;
pub mod named;
pub mod open;
pub mod system;
