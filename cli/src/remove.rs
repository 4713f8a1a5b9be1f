//! `otpgate remove`: takes tokens out of the file.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::ExitCode;

use otpgate::log::Quoted;
use otpgate::users::edit::{self, Change};
use otpgate::users::pragma;

use crate::tokens::{self, WhichToken};
use crate::{Failure, Result, owner, print};

/// Remove a user's token for good
///
/// Where the user has several, say which: --token N or --all. A user without any token is no longer listed, and the lines
/// that start with #@ and are about that user go as well.
#[derive(clap::Args)]
pub struct Arguments {
    /// The user
    user: OsString,
    #[command(flatten)]
    which: WhichToken,
}

pub fn run(file: &Path, arguments: &Arguments) -> Result<ExitCode> {
    let user = arguments.user.as_bytes();
    let (mut gone, mut left, mut pragmas) = (Vec::new(), 0, Vec::new());
    owner::acting(file, || {
        edit::change(file, |content| {
            let all = tokens::of_user(file, content, user)?;
            let count = tokens::count(&all);
            let chosen = arguments.which.of(all, user)?;
            let lines: Vec<u64> = chosen.iter().map(|token| token.line.number).collect();
            gone = chosen.iter().map(|token| token.number).collect();
            gone.dedup();
            left = count - gone.len();
            Ok::<_, Failure>(Some(content.with(|line| {
                if left == 0 && line.pragma_user().is_some_and(|about| about == user) {
                    pragmas.push((line.number, pragma::title(line.text)));
                    return Some(Change::Remove);
                }
                lines.contains(&line.number).then_some(Change::Remove)
            })))
        })
    })?;
    for number in gone {
        print(format_args!("removed token {number} of {}\n", Quoted(user)))?;
    }
    for (number, title) in pragmas {
        print(format_args!("removed {title} of {}, line {number} of the old file\n", Quoted(user)))?;
    }
    if left == 0 {
        print(format_args!("{} has no token any more\n", Quoted(user)))?;
    }
    Ok(ExitCode::SUCCESS)
}
