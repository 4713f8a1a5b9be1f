//! `otpgate set-pin`: another PIN.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::process::ExitCode;

use otpgate::log::Quoted;
use otpgate::store::Amendment;
use otpgate::token::Algorithm;

use crate::backend::Backend;
use crate::pin::PinForm;
use crate::tokens::{self, Numbered, WhichToken};
use crate::{Failure, Result, print};

/// Change a user's PIN
///
/// Asks for the PIN twice, or reads it from standard input if that isn't a terminal, and stores it
/// as an Argon2id hash. If the user has several tokens, choose with --token N or --all. The old PIN
/// is void at once, in running servers too; counter and failures stay.
#[derive(clap::Args)]
pub struct Arguments {
    /// The user
    user: OsString,
    #[command(flatten)]
    which: WhichToken,
    /// Store the PIN in the clear: for Digest logins, Mobile-OTP and mod_authn_otp
    #[arg(long, group = "pin")]
    plain_pin: bool,
    /// The server's own PIN provider checks the PIN
    #[arg(long, group = "pin")]
    pin_external: bool,
    /// No PIN: the code alone is enough
    #[arg(long, group = "pin")]
    no_pin: bool,
}

pub fn run(backend: &Backend, arguments: &Arguments) -> Result<ExitCode> {
    let user = arguments.user.as_bytes();
    // Before anybody thinks up a PIN.
    let before = backend.look(user, |account| {
        let chosen = arguments.which.of(backend.tokens_of(account)?, user)?;
        check(arguments, &chosen)?;
        Ok(tokens::fingerprints(&chosen))
    })?;
    let pin = form(arguments).ask(user)?;
    let mut numbers = backend.amend(user, |account| {
        let chosen = arguments.which.of(backend.tokens_of(account)?, user)?;
        if tokens::fingerprints(&chosen) != before {
            return Err(tokens::changed_meanwhile(user));
        }
        let amendments =
            chosen.iter().map(|token| Amendment::SetPin(token.index, pin.clone())).collect();
        let numbers: Vec<usize> = chosen.iter().map(|token| token.number).collect();
        Ok((amendments, numbers))
    })?;
    numbers.dedup();
    for number in numbers {
        print(format_args!("token {number} of {} has a new PIN\n", Quoted(user)))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Codes of Mobile-OTP are made with the PIN itself.
fn check(arguments: &Arguments, chosen: &[Numbered<'_>]) -> Result<()> {
    let is_motp = |token: &&Numbered<'_>| {
        token.held.token.as_ref().is_ok_and(|line| line.token.algorithm == Algorithm::Motp)
    };
    let Some(token) = chosen.iter().find(is_motp) else { return Ok(()) };
    if arguments.plain_pin || arguments.no_pin {
        return Ok(());
    }
    let cannot = if arguments.pin_external {
        "can't have an external PIN"
    } else {
        "can't have a hashed PIN"
    };
    Err(Failure::new(format!(
        "token {} is Mobile-OTP, whose codes are computed from the PIN: it {cannot}; use --plain-pin or --no-pin",
        token.number
    )))
}

fn form(arguments: &Arguments) -> PinForm {
    match () {
        () if arguments.no_pin => PinForm::None,
        () if arguments.pin_external => PinForm::External,
        () if arguments.plain_pin => PinForm::Plain,
        () => PinForm::Hashed,
    }
}
