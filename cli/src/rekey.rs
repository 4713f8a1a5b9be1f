//! `otpgate rekey`: another key for a token, for another phone.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::ValueHint;
use otpgate::log::Quoted;
use otpgate::otp::Hash;
use otpgate::secret::Secret;
use otpgate::store::{Account, Amendment, Refused, Unfit};
use otpgate::token::{Algorithm, Token};

use crate::backend::{Backend, Declined};
use crate::handover::{self, Handover, NewKey};
use crate::tokens::{self, Numbered};
use crate::{Failure, Result, add};

/// Give a token a new key, for a new phone or fob
///
/// The key is random unless --key-file is given; the old one is void at once, with --confirm as soon
/// as a code of the new one is right. The counter is reset; PIN and type stay. Prints the otpauth://
/// address and the QR code like `otpgate add`. Lines of standard input come in this order: the key,
/// codes.
#[derive(clap::Args)]
pub struct Arguments {
    /// The user
    user: OsString,
    /// This token, by its number in `otpgate show`
    #[arg(long, value_name = "N")]
    token: Option<usize>,
    /// Read the key from a file, or - for standard input: hexadecimal, or base32: and base 32
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    key_file: Option<PathBuf>,
    #[command(flatten)]
    handover: handover::Arguments,
}

pub fn run(backend: &Backend, arguments: &Arguments) -> Result<ExitCode> {
    let user = arguments.user.as_bytes();
    let handover = Handover::of(&arguments.handover, arguments.key_file.is_some())?;
    let key = match &arguments.key_file {
        Some(path) => add::key_from_file(path, Algorithm::Hotp(Hash::Sha1))?,
        None => add::random_key()?,
    };
    if arguments.key_file.is_some() {
        add::warn_of_shared_key(backend, user, &key)?;
    }
    let (number, before, token) = backend.rehearse(user, |account| {
        let chosen = chosen(backend, account, arguments, &key)?;
        let token = chosen.iter().rev().find_map(|token| match &token.held.token {
            Ok(line) => Some(&line.token),
            Err(_) => token.held.but_for_key.as_ref(),
        });
        // As it is refused when it is saved.
        let token = token.ok_or_else(|| {
            let held = chosen[0].held;
            let reason = held.token.as_ref().err().map_or("", String::as_str);
            Failure::from(Declined::Refused(Refused::Unfit(Unfit {
                place: held.place,
                reason: reason.to_owned(),
            })))
        })?;
        let token = Token { key: key.clone(), ..token.clone() };
        Ok((chosen[0].number, tokens::fingerprints(&chosen), token))
    })?;
    let new = NewKey {
        user,
        key: &key,
        algorithm: token.algorithm,
        digits: token.digits,
        factor: token.factor,
    };
    handover.check(&new)?;
    let shown =
        handover.show(&format!("A new key for token {number} of {}", Quoted(user)), &new)?;
    let state = match arguments.handover.confirm {
        true => Some(shown.confirmed(user, token)?),
        false => None,
    };
    shown.check()?;
    backend.amend(user, |account| {
        let chosen = chosen(backend, account, arguments, &key)?;
        if tokens::fingerprints(&chosen) != before {
            return Err(tokens::changed_meanwhile(user));
        }
        let amendments = chosen.iter().flat_map(|token| {
            let state = state.clone().map(|state| Amendment::SetState(token.index, state));
            [Amendment::SetKey(token.index, key.clone())].into_iter().chain(state)
        });
        Ok((amendments.collect(), ()))
    })?;
    shown.keep();
    if !arguments.handover.quiet {
        eprintln!("Token {number} of {} has a new key.", Quoted(user));
    }
    Ok(ExitCode::SUCCESS)
}

/// The token to act on, unless one has the key already.
fn chosen<'a>(
    backend: &Backend,
    account: &Account<'a>,
    arguments: &Arguments,
    key: &Secret,
) -> Result<Vec<Numbered<'a>>> {
    let all = backend.tokens_of(account)?;
    let has_key =
        |token: &&Numbered<'_>| token.held.token.as_ref().is_ok_and(|line| line.token.key == *key);
    if let Some(token) = all.iter().find(has_key) {
        let text =
            format!("token {} of {} has that key already", token.number, Quoted(account.user));
        return Err(Failure::new(text));
    }
    let only = tokens::only_besides_paper(&all);
    let chosen = tokens::told(all, account.user, arguments.token.or(only), "--token N")?;
    if chosen.iter().any(Numbered::is_paper) {
        return Err(Failure::new(format!(
            "token {} of {} is a paper list, which no phone shows: `otpgate paper --again` prints a new one",
            chosen[0].number,
            Quoted(account.user)
        )));
    }
    Ok(chosen)
}
