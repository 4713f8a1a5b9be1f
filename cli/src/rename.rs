//! `otpgate rename`: another name for a user.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::process::ExitCode;

use otpgate::log::Quoted;
use otpgate::store::{Amendment, Refused, Taken};

use crate::backend::{Backend, Declined};
use crate::{Failure, Result, add, print};

/// Rename a user
///
/// Renames all tokens, with PIN, key and counter, and the user's #@ lines. Refuses a name that is
/// already listed or has #@ lines, and another spelling of a listed name.
#[derive(clap::Args)]
pub struct Arguments {
    /// The user's current name
    old: OsString,
    /// The new name
    new: OsString,
}

pub fn run(backend: &Backend, arguments: &Arguments) -> Result<ExitCode> {
    let (old, new) = (arguments.old.as_bytes(), arguments.new.as_bytes());
    add::check_user(new)?;
    let renamed = backend.amend(old, |account| {
        backend.tokens_of(account)?;
        Ok((vec![Amendment::Rename(new.to_vec())], ()))
    });
    renamed.map_err(|declined| match declined {
        Declined::Refused(Refused::Taken(taken)) => {
            Failure::new(format!("{}; nothing was changed", why_taken(new, &taken)))
        }
        Declined::Refused(Refused::Unfit(_)) => {
            Failure::new(format!("{} first", Failure::from(declined)))
        }
        _ => declined.into(),
    })?;
    print(format_args!("{} is {} now\n", Quoted(old), Quoted(new)))?;
    Ok(ExitCode::SUCCESS)
}

fn why_taken(new: &[u8], taken: &Taken) -> String {
    match taken {
        Taken::Listed => format!("{} is listed already", Quoted(new)),
        Taken::TwinOf(other) => {
            format!("{} is another spelling of {}, which is listed", Quoted(new), Quoted(other))
        }
        Taken::LeftOver(place) => add::left_over(new, *place),
    }
}
