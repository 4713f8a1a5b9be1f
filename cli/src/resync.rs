//! `otpgate resync`: brings the file to where the user's token stands.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::process::ExitCode;

use otpgate::decide;
use otpgate::log::Quoted;
use otpgate::otp::Code;
use otpgate::policy::{Server, Settings};
use otpgate::resync::{NotFound, Resynchronised, resynchronise};
use otpgate::store::{Account, Amendment};
use otpgate::token::{Entry, Reading, StoredToken, Token};
use zeroize::Zeroizing;

use crate::backend::Backend;
use crate::list::clock;
use crate::tokens::{self, Numbered};
use crate::{Failure, Result, pin, print, prompt};

/// Resynchronise a token with two consecutive codes
///
/// For a phone whose clock is off, a fob whose button was pressed too often, or a file whose
/// counter or time step is too far ahead. The two codes must be consecutive, without a PIN; they
/// are used up. If they aren't given, asks for them, or reads them from two lines of standard
/// input. Wrong codes are forgotten. Searches 1000 counters, or a day of time steps, in both
/// directions.
#[derive(clap::Args)]
pub struct Arguments {
    /// The user
    user: OsString,
    /// Two consecutive codes
    #[arg(num_args = 2, value_name = "CODE")]
    codes: Vec<OsString>,
    /// Only this token, by its number in `otpgate show` [default: the one with these codes]
    #[arg(long, value_name = "N")]
    token: Option<usize>,
    /// Search this many counters or time steps back and ahead [default: 1000; a day of time steps]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    window: Option<u32>,
}

pub fn run(backend: &Backend, arguments: &Arguments) -> Result<ExitCode> {
    let user = arguments.user.as_bytes();
    // A name that nobody has is told before codes are asked for.
    backend.look(user, |account| chosen(backend, account, arguments).map(drop))?;
    let [first, second] = codes(arguments)?;
    if first == second {
        let text = "the two codes are the same: wait for the next one (press the button again) and give both";
        return Err(Failure::new(text));
    }
    backend.check_answers_logins(user)?;
    let said = backend.amend(user, |account| {
        let chosen = chosen(backend, account, arguments)?;
        let readable: Vec<_> = tokens::number(account.held)
            .into_iter()
            .filter_map(|token| Some((token, token.held.token.as_ref().ok()?)))
            .collect();
        let lines = readable.iter().map(|(_, line)| (*line).clone()).collect();
        let entry = Entry { lines, ..Entry::default() };
        let is_candidate = |token: &Token| {
            chosen
                .iter()
                .any(|known| known.held.token.as_ref().is_ok_and(|line| line.token == *token))
        };
        let found =
            resynchronise(&entry, is_candidate, [&first, &second], arguments.window, tokens::now())
                .map_err(|reason| {
                    Failure::new(format!("{}; nothing was changed", refusal(user, reason)))
                })?;
        let amendments = found
            .changes
            .iter()
            .map(|change| Amendment::SetState(readable[change.line].0.index, change.state.clone()))
            .collect();
        Ok((amendments, told(user, readable[found.line], &found)))
    })?;
    print(said)?;
    Ok(ExitCode::SUCCESS)
}

fn chosen<'a>(
    backend: &Backend,
    account: &Account<'a>,
    arguments: &Arguments,
) -> Result<Vec<Numbered<'a>>> {
    tokens::all_or_one(backend.tokens_of(account)?, account.user, arguments.token)
}

fn refusal(user: &[u8], reason: NotFound) -> String {
    let user = Quoted(user);
    match reason {
        NotFound::NoMatch => format!(
            "no token of {user} shows these two consecutive codes in the window; see `otpgate explain` for each, \
             or look further with --window"
        ),
        NotFound::OtherOrder => {
            "the codes are in reverse order: give the older one first".to_owned()
        }
        NotFound::Ambiguous => format!(
            "these codes of {user} match more than one place: use the next two codes, or choose a token with --token N"
        ),
    }
}

fn told(
    user: &[u8],
    (token, line): (Numbered<'_>, &StoredToken),
    found: &Resynchronised,
) -> String {
    let state = &found.changes[0].state;
    let who = format!("token {} of {}", token.number, Quoted(user));
    match state.reading(line.token.factor) {
        Reading::Event { next } => {
            let (old, new) = (line.state.counter.as_written(), next.number());
            let mut text = match state.codes_left(line.token.factor) {
                None => format!("{who}: the next expected counter is {new}, it was {old}\n"),
                // On paper, the first one is number 1.
                Some(_) => format!(
                    "{who}: the next expected code is number {}, it was {}\n",
                    new + 1,
                    old.saturating_add(1)
                ),
            };
            if new < old {
                text += &format!(
                    "warning: that is {} back: used codes from there on would be accepted again\n",
                    old - new
                );
            }
            text
        }
        Reading::Time { period, offset, .. } => {
            let mut text = format!("{who}: its clock is {}\n", clock(offset.steps(), period.get()));
            // Of a line written by hand or by mod_authn_otp, only the visible fields say it.
            let before = decide::exact_state(
                &Settings::default().policy(Server::Apache),
                line,
                tokens::now(),
            );
            if before.replay_floor > state.replay_floor {
                text += "the last accepted time step was ahead of that, and was set back\n";
            }
            text
        }
    }
}

fn codes(arguments: &Arguments) -> Result<[Code; 2]> {
    let read = |text: Zeroizing<Vec<u8>>| {
        Code::new(&pin::code_alone(text))
            .ok_or_else(|| Failure::new("a code has 1 to 10 characters; nothing was changed"))
    };
    match &arguments.codes[..] {
        [first, second] => {
            let read = |text: &OsString| read(Zeroizing::new(text.as_bytes().to_vec()));
            Ok([read(first)?, read(second)?])
        }
        _ => {
            let first = prompt::secret("A code, without PIN: ")?;
            let second = prompt::secret("The code after that: ")?;
            Ok([read(first)?, read(second)?])
        }
    }
}
