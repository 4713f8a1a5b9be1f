//! One-time passwords: from key and counter to the characters a person types. Pure.
//!
//! HOTP is RFC 4226, TOTP is HOTP over time steps (RFC 6238), Mobile-OTP is the first characters of
//! `MD5(counter . key as hexadecimal . PIN)`, where `.` joins text.

mod code;
mod hotp;
mod motp;

pub use code::{Code, Digits};
pub use hotp::{Hash, Keyed, hotp, hotp_hexadecimal, truncated_hmac};
pub(crate) use hotp::{Typed, decimal, hexadecimal};
pub use motp::{KeyedMotp, motp};
