//! The users file as a small database, shared with other processes, servers, editors and
//! mod_authn_otp's tools.
//!
//! - [`mod@line`]: a line as text.
//! - [`pragma`]: a line for us alone.
//! - [`record`]: one line to a token and its state.
//! - [`slot`]: the fixed-width form in which state is written.
//! - [`localtime`]: the time field.
//! - [`lock`]: who may write.
//! - [`companion`]: what stands beside it, guarded like it.
//! - [`journal`]: what makes a write whole and durable.
//! - [`watch`]: how readers notice changes.
//! - [`open_files`]: which files a process has open.
//! - `progress`: noticing that the file was replaced by an older state.
//! - [`leftovers`]: what killed processes have left.
//! - [`name`]: which spellings others may take for one name.
//! - [`index`]: where a user's lines are.
//! - [`shared_index`]: how processes share that.
//! - `rules`: what the file says of all logins.
//! - [`ways`]: a user's further ways in.
//! - [`secret`]: what cookies are made with.
//! - [`tries`]: where wrong PINs and codes are counted.
//! - [`mod@file`]: all of these together: the store behind [`crate::gate`].
//! - [`pass`]: going through a whole file without holding it.
//! - [`edit`]: what people change: fields 1 to 4, lines, the whole content.
//! - [`accounts`]: what an admin changes through [`crate::store::Accounts`].
//! - [`mistakes`]: what people get wrong in fields 1 to 4.
//! - [`check`]: what a configuration test says about a file.

pub mod accounts;
pub mod check;
pub mod companion;
pub mod edit;
pub mod file;
pub mod index;
pub mod journal;
pub mod leftovers;
pub mod line;
pub mod localtime;
pub mod lock;
pub mod mistakes;
pub mod name;
pub mod open_files;
pub mod pass;
pub mod pragma;
mod progress;
pub mod record;
pub mod rewrite;
mod rules;
pub mod secret;
pub mod shared_index;
pub mod slot;
pub mod tries;
pub mod watch;
pub mod ways;
