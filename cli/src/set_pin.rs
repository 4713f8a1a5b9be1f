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
/// as an Argon2id hash. If the user has several tokens, choose with --token N or --all. The old PIN
/// is void at once, in running servers too; counter and failures stay. A start PIN of `otpgate
/// enrol` counts as changed once all of the user's tokens have the new one.
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
        let chosen = arguments.which.of(backend.tokens_of(account)?, user)?;
        check(arguments, &chosen)?;
        Ok(tokens::fingerprints(&chosen))
    })?;
    let pin = arguments.pin.form().ask(user)?;
    let (mut numbers, has_start_pin) = backend.amend(user, |account| {
        let all = backend.tokens_of(account)?;
        let count = all.len();
        let chosen = arguments.which.of(all, user)?;
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
        Ok((amendments, (numbers, account.start_pin.is_some() && !is_all)))
    })?;
    numbers.dedup();
    for number in numbers {
        print(format_args!("token {number} of {} has a new PIN\n", Quoted(user)))?;
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
