//! One-time-password login for web servers.
//!
//! A pure decision in the middle ([`decide`]), one place that changes state ([`gate`]), thin
//! adapters outside ([`ffi`] for the servers' C modules, the `otpgate` command). Read them in this
//! order:
//!
//! - [`decide`]: the rules of a login, in the order and under the numbers of
//!   `docs/specification.md`.
//! - [`gate`]: reads, decides, locks, decides again, saves.
//! - [`resync`]: finds out where a token stands.
//! - [`store`]: the interface to token storage.
//! - [`throttle`]: how often something may be tried; [`refusals`]: when a refusal goes out.
//! - [`users`]: the users file as a small database: records, slots, locks, journal, index.
//! - [`site`]: a server's configuration: sections, their gates and PIN sources, the configuration
//!   test.
//! - [`files`]: how files are opened, and by whom.
//! - [`policy`]: the one table of settings for all servers.
//! - [`page`]: the login page, as HTML.
//! - [`otp`], [`http`], [`network`] and [`characters`]: codes, credentials, networks and characters,
//!   pure.
//!
//! A login, from a line of the users file to the verdict and the state to save:
//!
//! ```
//! use jiff::tz::TimeZone;
//! use otpgate::decide::{self, Attempt, Outcome, Proof, Verdict};
//! use otpgate::policy::{Server, Settings};
//! use otpgate::token::{Address, CounterField, Entry, StoredToken};
//! use otpgate::users::record;
//!
//! // The key and the first code of RFC 4226 appendix D, and a PIN.
//! let line = b"HOTP alice 4711 3132333435363738393031323334353637383930";
//! let record = record::parse(line, &TimeZone::UTC)?;
//! let entry = Entry {
//!     lines: vec![StoredToken { token: record.token, state: record.state }],
//!     ..Entry::default()
//! };
//! let attempt = Attempt {
//!     user: b"alice",
//!     proof: Proof::Password(b"4711755224"),
//!     address: Address::of_client(Some("192.0.2.7".parse()?)),
//! };
//! let policy = Settings::default().policy(Server::Nginx);
//! // Nobody is asked about a PIN that the line itself has.
//! let outcome = decide::login(&policy, &entry, &attempt, &|_, _| None, 1_700_000_000);
//! let Outcome::Decided(decision) = outcome else { panic!("it has all it needs") };
//! assert_eq!(decision.verdict, Verdict::Granted);
//! assert_eq!(decision.changes[0].state.counter, CounterField::from_written(1));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! `unsafe` is used in two places: in [`ffi`], where C passes pointers, and in [`files::system`],
//! for system calls that none of our crates wraps.
#![deny(unsafe_code)]
#![warn(missing_docs)]

pub mod characters;
pub mod decide;
pub mod ffi;
pub mod files;
pub mod gate;
pub mod groups;
pub mod http;
pub mod log;
pub mod network;
pub mod otp;
pub mod page;
pub mod pin;
pub mod policy;
pub mod refusals;
pub mod resync;
pub mod secret;
pub mod site;
pub mod store;
pub mod throttle;
pub mod token;
pub mod users;

/// Seconds since 1970-01-01T00:00:00Z. Signed: clocks and files may be earlier.
pub type UnixTime = i64;
