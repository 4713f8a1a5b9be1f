//! `otpgate remove`: takes tokens out of the file.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::process::ExitCode;

use otpgate::log::Quoted;
use otpgate::store::{Account, Amendment, Further};
use otpgate::token::Fingerprint;

use crate::backend::Backend;
use crate::tokens::{self, Numbered, WhichToken};
use crate::{Failure, Result, print, prompt};

/// Remove a user's token permanently
///
/// If the user has several, choose with --token N or --all. A user without a token is no longer
/// listed, and their #@ lines go too. On a terminal it asks first.
#[derive(clap::Args)]
pub struct Arguments {
    /// The user
    user: OsString,
    #[command(flatten)]
    which: WhichToken,
    /// Remove without asking, even on a terminal
    #[arg(long, short)]
    yes: bool,
}

/// What goes.
struct Gone<'a> {
    chosen: Vec<Numbered<'a>>,
    /// Because nothing is left that it could be about.
    further: &'a [Further],
    is_last: bool,
}

pub fn run(backend: &Backend, arguments: &Arguments) -> Result<ExitCode> {
    let user = arguments.user.as_bytes();
    let asks = !arguments.yes && prompt::is_answered();
    let agreed = match asks {
        true => Some(ask(backend, arguments)?),
        false => None,
    };
    let (gone, further, is_last) = backend.amend(user, |account| {
        let Gone { chosen, further, is_last } = gone(backend, account, arguments)?;
        // Of another one, nobody was asked.
        if agreed.as_ref().is_some_and(|agreed| *agreed != tokens::fingerprints(&chosen)) {
            return Err(tokens::changed_meanwhile(user));
        }
        let numbers: BTreeSet<usize> = chosen.iter().map(|token| token.number).collect();
        let amendments = chosen.iter().map(|token| Amendment::Remove(token.index)).collect();
        Ok((amendments, (numbers, further.to_vec(), is_last)))
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

fn gone<'a>(backend: &Backend, account: &Account<'a>, arguments: &Arguments) -> Result<Gone<'a>> {
    let all = backend.tokens_of(account)?;
    let count = tokens::count(&all);
    let chosen = arguments.which.of(all, account.user)?;
    let numbers: BTreeSet<usize> = chosen.iter().map(|token| token.number).collect();
    let is_last = numbers.len() == count;
    Ok(Gone { chosen, further: if is_last { account.further } else { &[] }, is_last })
}

/// Says what is about to go, and asks. What was agreed to.
fn ask(backend: &Backend, arguments: &Arguments) -> Result<Vec<Option<Fingerprint>>> {
    let user = arguments.user.as_bytes();
    let (agreed, told) = backend.look(user, |account| {
        let Gone { chosen, further, is_last } = gone(backend, account, arguments)?;
        let tokens = chosen.iter().map(|token| {
            format!("token {} of {}: {}", token.number, Quoted(user), token.in_short())
        });
        let further = further.iter().map(|Further { title, place }| format!("{title}, {place}"));
        let last = is_last.then(|| format!("{} has no token left then", Quoted(user)));
        let told: Vec<String> = tokens.chain(further).chain(last).collect();
        Ok((tokens::fingerprints(&chosen), told))
    })?;
    for line in told {
        eprintln!("{line}");
    }
    match prompt::key("Remove this for good? (y)es, (n)o: ", b"yn")? {
        b'y' => Ok(agreed),
        _ => Err(Failure::new("nothing was changed")),
    }
}
