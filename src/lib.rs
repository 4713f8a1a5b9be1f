//! One-time-password login for web servers.
//!
//! A pure decision in the middle ([`decide`]), one place that changes state ([`gate`]), thin adapters
//! outside ([`ffi`] for the servers' C modules, the `otpgate` command). Read them in this order:
//!
//! - [`decide`]: the rules of a login, in the order and under the numbers of `docs/specification.md`.
//! - [`gate`]: reads, decides, locks, decides again, saves.
//! - [`resync`]: finding out where a token stands, beside it.
//! - [`throttle`]: how often something may be tried; [`refusals`]: when it is answered that something was wrong.
//! - [`users`]: the users file as a small database: records, slots, locks, journal, index.
//! - [`site`]: a server's configuration: sections, their gates and PIN sources, the configuration test.
//! - [`files`]: how files are opened, and by whom.
//! - [`policy`]: the one table of settings for all servers.
//! - [`otp`] and [`http`]: codes and credentials, pure.
//!
//! `unsafe` stands in two places: in [`ffi`], where C hands over pointers, and in [`files::system`], for system calls that
//! no crate of ours wraps.
#![deny(unsafe_code)]
#![warn(missing_docs)]

pub mod decide;
pub mod ffi;
pub mod files;
pub mod gate;
pub mod http;
pub mod log;
pub mod otp;
pub mod pin;
pub mod policy;
pub mod refusals;
pub mod resync;
pub mod secret;
pub mod site;
pub mod throttle;
pub mod token;
pub mod users;

/// Seconds since 1970-01-01T00:00:00Z. Signed: clocks and files may lie before it.
pub type UnixTime = i64;
