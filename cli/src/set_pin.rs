//! `otpgate set-pin`: another PIN.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::ExitCode;

use otpgate::log::Quoted;
use otpgate::token::Algorithm;
use otpgate::users::edit::{self, Change};
use zeroize::Zeroizing;

use crate::pin::Pin;
use crate::tokens::{self, Numbered, WhichToken};
use crate::{Failure, Result, owner, print};

/// Give a user another PIN
///
/// The PIN is asked for twice, or read from standard input if that is no terminal, and stored as an Argon2id hash.
/// Where the user has several tokens, say which: --token N or --all. The old PIN is void at once, in running servers
/// too; counter and failures stay.
#[derive(clap::Args)]
pub struct Arguments {
    /// The user
    user: OsString,
    #[command(flatten)]
    which: WhichToken,
    /// Store the PIN as it is: for Digest logins, Mobile-OTP and mod_authn_otp
    #[arg(long, group = "pin")]
    plain_pin: bool,
    /// The server's own PIN provider checks the PIN
    #[arg(long, group = "pin")]
    pin_external: bool,
    /// The code alone logs in
    #[arg(long, group = "pin")]
    no_pin: bool,
}

pub fn run(file: &Path, arguments: &Arguments) -> Result<ExitCode> {
    let user = arguments.user.as_bytes();
    // Before anybody thinks up a PIN.
    let before = owner::acting(file, || {
        let content = edit::snapshot(file)?;
        let chosen = arguments.which.of(tokens::of_user(file, &content, user)?, user)?;
        check(arguments, &chosen)?;
        Ok(tokens::fingerprints(&chosen))
    })?;
    let field = field(arguments)?;
    let mut numbers = Vec::new();
    owner::acting(file, || {
        edit::change(file, |content| {
            let chosen = arguments.which.of(tokens::of_user(file, content, user)?, user)?;
            if tokens::fingerprints(&chosen) != before {
                return Err(tokens::changed_meanwhile(user));
            }
            let mut texts = Vec::new();
            for token in &chosen {
                texts.push((token.line.number, with_pin(token, &field)?));
                numbers.push(token.number);
            }
            Ok(Some(content.with(|line| {
                let new = texts.iter().find(|(number, _)| *number == line.number);
                new.map(|(_, text)| Change::Replace(text.clone()))
            })))
        })
    })?;
    numbers.dedup();
    for number in numbers {
        print(format_args!("token {number} of {} has another PIN now\n", Quoted(user)))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Codes of Mobile-OTP are made with the PIN itself.
fn check(arguments: &Arguments, chosen: &[Numbered<'_>]) -> Result<()> {
    let is_motp = |token: &&Numbered<'_>| {
        token.record.as_ref().is_ok_and(|record| record.token.algorithm == Algorithm::Motp)
    };
    let Some(token) = chosen.iter().find(is_motp) else { return Ok(()) };
    if arguments.plain_pin || arguments.no_pin {
        return Ok(());
    }
    let cannot =
        if arguments.pin_external { "can't have an external PIN" } else { "can't have a hashed PIN" };
    Err(Failure::new(format!(
        "token {} is Mobile-OTP, whose codes are made with the PIN: it {cannot}; say --plain-pin or --no-pin",
        token.number
    )))
}

fn field(arguments: &Arguments) -> Result<Zeroizing<Vec<u8>>> {
    let field = match () {
        () if arguments.no_pin => b"-".to_vec(),
        () if arguments.pin_external => b"+".to_vec(),
        () => {
            let pin = Pin::ask(&Quoted(arguments.user.as_bytes()).to_string())?;
            if arguments.plain_pin { pin.plain().to_vec() } else { pin.hashed()? }
        }
    };
    Ok(Zeroizing::new(field))
}

/// A line whose PIN was all that was wrong with it is right afterwards.
fn with_pin(token: &Numbered<'_>, field: &[u8]) -> Result<Zeroizing<Vec<u8>>> {
    let refuse = |reason: String| {
        let number = token.line.number;
        Failure::new(format!(
            "line {number} can't be read: {reason}; nothing was changed: correct it with `otpgate edit`"
        ))
    };
    let [kind, user, _, key] =
        edit::head_of(token.line.text).ok_or_else(|| refuse("a field is missing".to_owned()))?;
    edit::with_head(token.line.text, [kind, user, field, key]).map_err(|error| refuse(error.to_string()))
}
