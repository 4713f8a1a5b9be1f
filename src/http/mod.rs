//! Credentials as HTTP carries them: header bytes in, parsed types out, and back. Pure.

pub mod basic;
pub mod digest;
