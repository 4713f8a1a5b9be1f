//! `otpgate disable` and `otpgate enable`: `OFF:` before the type, and away again.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::ExitCode;

use otpgate::log::Quoted;
use otpgate::users::edit::{self, Change};
use zeroize::Zeroizing;

use crate::{Failure, Result, owner, print, tokens};

/// What `disable` takes.
#[derive(clap::Args)]
#[command(
    about = "Switch a user's tokens off",
    long_about = "Switch a user's tokens off: all of them, or one. A user all of whose tokens are off is refused, \
                  whatever other providers the server has."
)]
pub struct Disable {
    #[command(flatten)]
    arguments: Arguments,
}

/// What `enable` takes.
#[derive(clap::Args)]
#[command(
    about = "Switch a user's tokens on again",
    long_about = "Switch a user's tokens on again: all of them, or one. Counter and failures are as they were."
)]
pub struct Enable {
    #[command(flatten)]
    arguments: Arguments,
}

#[derive(clap::Args)]
struct Arguments {
    /// The user
    user: OsString,
    /// This token alone, by its number in `otpgate show` [default: all]
    #[arg(long, value_name = "N")]
    token: Option<usize>,
}

const OFF: &[u8] = b"OFF:";

pub fn disable(file: &Path, arguments: &Disable) -> Result<ExitCode> {
    switch(file, &arguments.arguments, true)
}

pub fn enable(file: &Path, arguments: &Enable) -> Result<ExitCode> {
    switch(file, &arguments.arguments, false)
}

fn switch(file: &Path, arguments: &Arguments, off: bool) -> Result<ExitCode> {
    let user = arguments.user.as_bytes();
    let mut told = Vec::new();
    owner::acting(file, || {
        edit::change(file, |content| {
            let chosen = tokens::all_or_one(tokens::of_user(file, content, user)?, user, arguments.token)?;
            tokens::any_readable(&chosen)?;
            let mut new = Vec::new();
            for token in &chosen {
                let Ok(record) = &token.record else {
                    eprintln!("otpgate: warning: {}", token.unreadable_warning());
                    continue;
                };
                let is_to_change = record.token.disabled != off;
                told.push((token.number, is_to_change));
                if is_to_change {
                    new.push((token.line.number, switched(token.line.text, off)?));
                }
            }
            Ok::<_, Failure>(Some(content.with(|line| {
                let new = new.iter().find(|(number, _)| *number == line.number);
                new.map(|(_, text)| Change::Replace(text.clone()))
            })))
        })
    })?;
    told.dedup();
    for (number, has_changed) in told {
        let word = if off { "off" } else { "on" };
        let when = if has_changed { format!("is {word} now") } else { format!("was {word} already") };
        print(format_args!("token {number} of {} {when}\n", Quoted(user)))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn switched(text: &[u8], off: bool) -> Result<Zeroizing<Vec<u8>>> {
    let [kind, user, pin, key] = edit::head_of(text).expect("a record has four fields");
    let kind = if off { [OFF, kind].concat() } else { kind[OFF.len()..].to_vec() };
    edit::with_head(text, [&kind, user, pin, key]).map_err(|error| Failure::new(error.to_string()))
}
