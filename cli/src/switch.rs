//! `otpgate disable` and `otpgate enable`: tokens switched off and on.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::process::ExitCode;

use otpgate::log::Quoted;
use otpgate::store::Amendment;

use crate::backend::Backend;
use crate::{Result, print, tokens};

/// What `disable` takes.
#[derive(clap::Args)]
#[command(
    about = "Switch off a user's tokens",
    long_about = "Switch off a user's tokens: all of them, or one. A user whose tokens are all off is refused, \
                  whatever other providers the server has."
)]
pub struct Disable {
    #[command(flatten)]
    arguments: Arguments,
}

/// What `enable` takes.
#[derive(clap::Args)]
#[command(
    about = "Switch a user's tokens back on",
    long_about = "Switch a user's tokens back on: all of them, or one. Counter and failures stay as they were."
)]
pub struct Enable {
    #[command(flatten)]
    arguments: Arguments,
}

#[derive(clap::Args)]
struct Arguments {
    /// The user
    user: OsString,
    /// Only this token, by its number in `otpgate show` [default: all]
    #[arg(long, value_name = "N")]
    token: Option<usize>,
}

pub fn disable(backend: &Backend, arguments: &Disable) -> Result<ExitCode> {
    switch(backend, &arguments.arguments, true)
}

pub fn enable(backend: &Backend, arguments: &Enable) -> Result<ExitCode> {
    switch(backend, &arguments.arguments, false)
}

fn switch(backend: &Backend, arguments: &Arguments, off: bool) -> Result<ExitCode> {
    let user = arguments.user.as_bytes();
    let (mut told, warnings) = backend.amend(user, |account| {
        let chosen = tokens::all_or_one(backend.tokens_of(account)?, user, arguments.token)?;
        tokens::any_readable(&chosen)?;
        let (mut amendments, mut told, mut warnings) = (Vec::new(), Vec::new(), Vec::new());
        for token in &chosen {
            let Ok(line) = &token.held.token else {
                warnings.push(token.unreadable_warning());
                continue;
            };
            let is_to_change = line.token.disabled != off;
            told.push((token.number, is_to_change));
            if is_to_change {
                amendments.push(Amendment::Disable(token.index, off));
            }
        }
        Ok((amendments, (told, warnings)))
    })?;
    for warning in warnings {
        eprintln!("otpgate: warning: {warning}");
    }
    told.dedup();
    for (number, has_changed) in told {
        let word = if off { "off" } else { "on" };
        let when =
            if has_changed { format!("is now {word}") } else { format!("was already {word}") };
        print(format_args!("token {number} of {} {when}\n", Quoted(user)))?;
    }
    Ok(ExitCode::SUCCESS)
}
