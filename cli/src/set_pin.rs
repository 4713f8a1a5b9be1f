//! `otpgate set-pin`: another PIN.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::process::ExitCode;

use otpgate::log::Quoted;
use otpgate::store::Amendment;
use otpgate::token::Algorithm;

use crate::backend::Backend;
use crate::pin::{PinForm, PinOptions};
use crate::tokens::{self, Numbered, WhichToken};
use crate::{Failure, Result, print};

/// Change a user's PIN
///
/// Asks for the PIN twice, or reads it from standard input if that isn't a terminal, and stores it
/// as an Argon2id hash. If the user has several tokens, choose with --token N or --all; a paper list
/// with the same PIN as the only other token gets the new one with it. The old PIN is void at once, in
/// running servers too; counter and failures stay. A start PIN of `otpgate enrol` counts as changed once
/// all of the user's tokens have the new one.
#[derive(clap::Args)]
pub struct Arguments {
    /// The user
    user: OsString,
    #[command(flatten)]
    which: WhichToken,
    #[command(flatten)]
    pin: PinOptions,
}

pub fn run(backend: &Backend, arguments: &Arguments) -> Result<ExitCode> {
    let user = arguments.user.as_bytes();
    // Before anybody thinks up a PIN.
    let before = backend.look(user, |account| {
        let chosen = chosen(backend.tokens_of(account)?, user, &arguments.which)?;
        check(arguments, &chosen)?;
        Ok(tokens::fingerprints(&chosen))
    })?;
    let pin = arguments.pin.form().ask(user)?;
    let (mut numbers, kept, has_start_pin) = backend.amend(user, |account| {
        let all = backend.tokens_of(account)?;
        let count = all.len();
        let kept: Vec<usize> =
            all.iter().filter(|token| token.is_paper()).map(|token| token.number).collect();
        let chosen = chosen(all, user, &arguments.which)?;
        if tokens::fingerprints(&chosen) != before {
            return Err(tokens::changed_meanwhile(user));
        }
        let mut amendments: Vec<Amendment> =
            chosen.iter().map(|token| Amendment::SetPin(token.index, pin.clone())).collect();
        let is_all = chosen.len() == count;
        if is_all && account.start_pin.is_some() {
            amendments.push(Amendment::StartPin(None));
        }
        let numbers: Vec<usize> = chosen.iter().map(|token| token.number).collect();
        let kept: Vec<usize> =
            kept.into_iter().filter(|number| !numbers.contains(number)).collect();
        Ok((amendments, (numbers, kept, account.start_pin.is_some() && !is_all)))
    })?;
    numbers.dedup();
    for number in numbers {
        print(format_args!("token {number} of {} has a new PIN\n", Quoted(user)))?;
    }
    for number in kept {
        eprintln!(
            "otpgate: token {number} of {}, a paper list, keeps its PIN; --token {number} changes it, too",
            Quoted(user)
        );
    }
    if has_start_pin {
        eprintln!(
            "otpgate: {} stays flagged for a start PIN, which another token may still have; --all changes that of every \
             token",
            Quoted(user)
        );
    }
    Ok(ExitCode::SUCCESS)
}

/// The tokens that are chosen. A paper list that has the PIN of the one other token gets a new one
/// with it: its user has one PIN.
fn chosen<'a>(
    all: Vec<Numbered<'a>>,
    user: &[u8],
    which: &WhichToken,
) -> Result<Vec<Numbered<'a>>> {
    let pin = |token: &Numbered<'a>| token.held.token.as_ref().ok().map(|line| &line.token.pin);
    let have_one_pin = all.iter().all(|token| pin(token).is_some() && pin(token) == pin(&all[0]));
    if which.token.is_none() && have_one_pin && tokens::only_besides_paper(&all).is_some() {
        return Ok(all);
    }
    which.of(all, user)
}

/// Codes of Mobile-OTP are made with the PIN itself.
fn check(arguments: &Arguments, chosen: &[Numbered<'_>]) -> Result<()> {
    let is_motp = |token: &&Numbered<'_>| {
        token.held.token.as_ref().is_ok_and(|line| line.token.algorithm == Algorithm::Motp)
    };
    let Some(token) = chosen.iter().find(is_motp) else { return Ok(()) };
    let cannot = match arguments.pin.form() {
        PinForm::Plain | PinForm::None => return Ok(()),
        PinForm::External => "can't have an external PIN",
        PinForm::Hashed => "can't have a hashed PIN",
    };
    Err(Failure::new(format!(
        "token {} is Mobile-OTP, whose codes are computed from the PIN: it {cannot}; use --plain-pin or --no-pin",
        token.number
    )))
}
