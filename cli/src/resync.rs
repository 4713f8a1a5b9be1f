//! `otpgate resync`: brings the file to where the user's token stands.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::ExitCode;

use otpgate::decide;
use otpgate::log::Quoted;
use otpgate::otp::Code;
use otpgate::policy::{Server, Settings};
use otpgate::resync::{NotFound, Resynchronised, resynchronise};
use otpgate::store::Store;
use otpgate::token::{Entry, Reading, Token};
use otpgate::users::edit;
use otpgate::users::file::UsersFile;

use crate::list::clock;
use crate::tokens::{self, Numbered};
use crate::{Failure, Result, owner, pin, print};

/// Find out by two codes where a token stands, and accept its next code
///
/// For a phone whose clock is off, a fob whose button was pressed too often, and a file with a counter or time step that is
/// too far ahead. The two codes must follow each other, without a PIN; they are used up by this. Where they are not given,
/// they are asked for, or read from two lines of standard input. Wrong codes are forgotten. Looks at 1000 counters, or a day
/// of time steps, on both sides.
#[derive(clap::Args)]
pub struct Arguments {
    /// The user
    user: OsString,
    /// Two codes in a row
    #[arg(num_args = 2, value_name = "CODE")]
    codes: Vec<OsString>,
    /// This token alone, by its number in `otpgate show` [default: the one whose codes they are]
    #[arg(long, value_name = "N")]
    token: Option<usize>,
    /// Look this many counters or time steps back and ahead [default: 1000; a day of time steps]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    window: Option<u32>,
}

pub fn run(file: &Path, arguments: &Arguments) -> Result<ExitCode> {
    let user = arguments.user.as_bytes();
    let chosen = || {
        let content = edit::snapshot(file)?;
        let chosen = tokens::all_or_one(tokens::of_user(file, &content, user)?, user, arguments.token)?;
        Ok(numbers(&chosen))
    };
    // A name that nobody has is told before codes are asked for.
    owner::acting(file, || chosen().map(|_| ()))?;
    let [first, second] = codes(arguments)?;
    if first == second {
        let text = "the two codes are the same: wait for the next one (press the button again) and give both";
        return Err(Failure::new(text));
    }
    let (done, said) = owner::acting(file, || {
        let chosen = chosen()?;
        let is_candidate = |token: &Token| chosen.iter().any(|(known, _)| known == token);
        let mut done = Err(NotFound::NoMatch);
        let mut said = String::new();
        UsersFile::new(file).update(&mut |transaction| {
            let entry = transaction.find(user)?.entry;
            done = resynchronise(&entry, is_candidate, [&first, &second], arguments.window, tokens::now());
            if let Ok(found) = &done {
                said = told(user, &entry, found, &chosen);
                for change in &found.changes {
                    transaction.save(user, change.line, change.state.clone());
                }
            }
            Ok(())
        })?;
        Ok((done, said))
    })?;
    match done {
        Ok(_) => print(said).map(|()| ExitCode::SUCCESS),
        Err(reason) => Err(Failure::new(format!("{}; nothing was changed", refusal(user, reason)))),
    }
}

fn numbers(chosen: &[Numbered<'_>]) -> Vec<(Token, usize)> {
    chosen
        .iter()
        .filter_map(|token| Some((token.record.as_ref().ok()?.token.clone(), token.number)))
        .collect()
}

fn refusal(user: &[u8], reason: NotFound) -> String {
    let user = Quoted(user);
    match reason {
        NotFound::NoMatch => format!(
            "no token of {user} shows these two codes one after the other in the window; see `otpgate explain` for each, \
             or look further with --window"
        ),
        NotFound::OtherOrder => {
            "the codes follow each other the other way round: give the older one first".to_owned()
        }
        NotFound::Ambiguous => format!(
            "more than one place fits these codes of {user}: take the next two codes, or say which token with --token N"
        ),
    }
}

fn told(user: &[u8], entry: &Entry, found: &Resynchronised, chosen: &[(Token, usize)]) -> String {
    let line = &entry.lines[found.line];
    let number = chosen.iter().find(|(token, _)| *token == line.token).map_or(1, |(_, number)| *number);
    let state = &found.changes[0].state;
    let who = format!("token {number} of {}", Quoted(user));
    match state.reading(line.token.factor) {
        Reading::Event { next } => {
            let (old, new) = (line.state.counter.as_written(), next.number());
            let mut text = format!("{who}: the next expected counter is {new}, it was {old}\n");
            if new < old {
                text += &format!(
                    "warning: that is {} back: codes from there on that were used before would be accepted again\n",
                    old - new
                );
            }
            text
        }
        Reading::Time { period, offset, .. } => {
            let mut text = format!("{who}: its clock is {}\n", clock(offset.steps(), period.get()));
            // Of a line written by hand or by mod_authn_otp, only the visible fields say it.
            let before =
                decide::exact_state(&Settings::default().policy(Server::Apache), line, tokens::now());
            if before.replay_floor > state.replay_floor {
                text += "the last accepted time step lay ahead of that, and is set back\n";
            }
            text
        }
    }
}

fn codes(arguments: &Arguments) -> Result<[Code; 2]> {
    let read = |text: &[u8]| {
        Code::new(text.trim_ascii())
            .ok_or_else(|| Failure::new("a code has 1 to 10 characters; nothing was changed"))
    };
    match &arguments.codes[..] {
        [first, second] => Ok([read(first.as_bytes())?, read(second.as_bytes())?]),
        _ => {
            let first = pin::ask_secret("A code, without PIN: ")?;
            let second = pin::ask_secret("The code after that: ")?;
            Ok([read(&first)?, read(&second)?])
        }
    }
}
