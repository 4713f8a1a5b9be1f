//! `otpgate rename`: another name for a user.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::ExitCode;

use otpgate::log::Quoted;
use otpgate::users::edit::{self, Change};
use otpgate::users::name::key;
use otpgate::users::pragma;
use zeroize::Zeroizing;

use crate::{Failure, Result, add, owner, print, tokens};

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

pub fn run(file: &Path, arguments: &Arguments) -> Result<ExitCode> {
    let (old, new) = (arguments.old.as_bytes(), arguments.new.as_bytes());
    add::check_user(new)?;
    let new_key = key(new);
    owner::acting(file, || {
        edit::change(file, |content| {
            tokens::of_user(file, content, old)?;
            for name in content.lines().filter_map(|line| line.user()) {
                if name == new {
                    return Err(Failure::new(format!(
                        "{} is listed already; nothing was changed",
                        Quoted(new)
                    )));
                }
                if name != old && key(name) == new_key {
                    return Err(Failure::new(format!(
                        "{} is another spelling of {}, which is listed; nothing was changed",
                        Quoted(new),
                        Quoted(name)
                    )));
                }
            }
            if let Some(line) =
                content.lines().find(|line| line.pragma_user().is_some_and(|about| about == new))
            {
                return Err(Failure::new(format!(
                    "{}; nothing was changed",
                    add::left_over(new, line.number)
                )));
            }
            let mut texts = Vec::new();
            for line in content.lines_of(old) {
                let renamed = edit::head_of(line.text)
                    .ok_or_else(|| "a field is missing".to_owned())
                    .and_then(|[kind, _, pin, key]| {
                        edit::with_head(line.text, [kind, new, pin, key]).map_err(|error| error.to_string())
                    })
                    .map_err(|reason| {
                        Failure::new(format!(
                            "line {} can't be read: {reason}; nothing was changed: correct it with `otpgate edit` first",
                            line.number
                        ))
                    })?;
                texts.push((line.number, renamed));
            }
            for line in content.lines().filter(|line| line.pragma_user().is_some_and(|about| about == old)) {
                let renamed = pragma::with_user(line.text, new)
                    .expect("a line about somebody has a place for the name");
                texts.push((line.number, Zeroizing::new(renamed)));
            }
            Ok(Some(content.with(|line| {
                let new = texts.iter().find(|(number, _)| *number == line.number);
                new.map(|(_, text)| Change::Replace(text.clone()))
            })))
        })
    })?;
    print(format_args!("{} is {} now\n", Quoted(old), Quoted(new)))?;
    Ok(ExitCode::SUCCESS)
}
