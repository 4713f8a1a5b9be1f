//! `otpgate rename`: another name for a user.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::process::ExitCode;

use otpgate::log::Quoted;
use otpgate::store::{Amendment, Refused, Taken};

use crate::backend::{Backend, Declined};
use crate::{Failure, Result, add, print};

/// Give a user another name
///
/// All tokens go along, with PIN, key and counter, and the lines that start with #@ and are about the user. A name that is
/// listed already or has such lines is refused, and so is another spelling of a listed one, which others may take for it.
#[derive(clap::Args)]
pub struct Arguments {
    /// The user's name so far
    old: OsString,
    /// The name to log in with from now on
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
        Declined::Refused(Refused::Unfit(_)) => Failure::new(format!("{} first", Failure::from(declined))),
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
