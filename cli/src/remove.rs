//! `otpgate remove`: takes tokens out of the file.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::process::ExitCode;

use otpgate::log::Quoted;
use otpgate::store::{Amendment, Further};

use crate::backend::Backend;
use crate::tokens::{self, WhichToken};
use crate::{Result, print};

/// Remove a user's token permanently
///
/// If the user has several, choose with --token N or --all. A user without a token is no longer
/// listed, and their #@ lines go too.
#[derive(clap::Args)]
pub struct Arguments {
    /// The user
    user: OsString,
    #[command(flatten)]
    which: WhichToken,
}

pub fn run(backend: &Backend, arguments: &Arguments) -> Result<ExitCode> {
    let user = arguments.user.as_bytes();
    let (gone, further, is_last) = backend.amend(user, |account| {
        let all = backend.tokens_of(account)?;
        let count = tokens::count(&all);
        let chosen = arguments.which.of(all, user)?;
        let gone: BTreeSet<usize> = chosen.iter().map(|token| token.number).collect();
        let is_last = gone.len() == count;
        let further = if is_last { account.further.to_vec() } else { Vec::new() };
        let amendments = chosen.iter().map(|token| Amendment::Remove(token.index)).collect();
        Ok((amendments, (gone, further, is_last)))
    })?;
    for number in gone {
        print(format_args!("removed token {number} of {}\n", Quoted(user)))?;
    }
    for Further { title, place } in further {
        print(format_args!("removed {title} of {}, {place} of the old file\n", Quoted(user)))?;
    }
    if is_last {
        print(format_args!("{} has no token left\n", Quoted(user)))?;
    }
    Ok(ExitCode::SUCCESS)
}
