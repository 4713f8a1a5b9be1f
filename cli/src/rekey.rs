//! `otpgate rekey`: another key for a token, for another phone.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::process::ExitCode;

use otpgate::log::Quoted;
use otpgate::otp::Hash;
use otpgate::secret::Secret;
use otpgate::store::Amendment;
use otpgate::token::{Algorithm, Token};

use crate::add::NewKey;
use crate::backend::Backend;
use crate::tokens::{self, Numbered};
use crate::{Failure, Result, add};

/// Give a token a new key, for a new phone or fob
///
/// The key is random unless --key-file is given; the old one is void at once, and the counter is
/// reset. PIN and type stay. Prints the otpauth:// address and the QR code like `otpgate add`.
#[derive(clap::Args)]
pub struct Arguments {
    /// The user
    user: OsString,
    /// This token, by its number in `otpgate show`
    #[arg(long, value_name = "N")]
    token: Option<usize>,
    /// Read the key from a file: hexadecimal, or base32: and base 32
    #[arg(long, value_name = "FILE")]
    key_file: Option<PathBuf>,
    /// The service name that the app shows [default: the host name]
    #[arg(long, value_name = "NAME")]
    issuer: Option<String>,
    /// Print only the address (Mobile-OTP: the key)
    #[arg(long, short)]
    quiet: bool,
}

pub fn run(backend: &Backend, arguments: &Arguments) -> Result<ExitCode> {
    let user = arguments.user.as_bytes();
    let issuer = add::issuer(arguments.issuer.as_deref())?;
    let key = match &arguments.key_file {
        Some(path) => add::key_from_file(path, Algorithm::Hotp(Hash::Sha1))?,
        None => add::random_key()?,
    };
    if arguments.key_file.is_some() {
        add::warn_of_shared_key(backend, user, &key)?;
    }
    let (number, known) = backend.amend(user, |account| {
        let all = backend.tokens_of(account)?;
        if let Some((number, _)) = with_key(&all, &key).next() {
            let text = format!("token {number} of {} has that key already", Quoted(user));
            return Err(Failure::new(text));
        }
        let chosen = tokens::told(all, user, arguments.token, "--token N")?;
        let amendments =
            chosen.iter().map(|token| Amendment::SetKey(token.index, key.clone())).collect();
        let known = chosen
            .iter()
            .rev()
            .find_map(|token| Some(token.held.token.as_ref().ok()?.token.clone()));
        Ok((amendments, (chosen[0].number, known)))
    })?;
    let token = match known {
        Some(token) => token,
        // Of one that couldn't be read for its key, nothing else was known before.
        None => backend.look(user, |account| {
            let all = backend.tokens_of(account)?;
            let found = with_key(&all, &key).last().map(|(_, token)| token.clone());
            found.ok_or_else(|| {
                Failure::new(format!("somebody else has changed {} meanwhile", Quoted(user)))
            })
        })?,
    };
    let done = format!("Token {number} of {} has a new key", Quoted(user));
    let Token { algorithm, digits, factor, .. } = token;
    add::tell(
        &done,
        &NewKey { user, key: &key, algorithm, digits, factor },
        &issuer,
        arguments.quiet,
    )?;
    Ok(ExitCode::SUCCESS)
}

/// Those that have a key.
fn with_key<'n>(
    all: &'n [Numbered<'_>],
    key: &'n Secret,
) -> impl Iterator<Item = (usize, &'n Token)> {
    all.iter().filter_map(|token| {
        let line = token.held.token.as_ref().ok().filter(|line| line.token.key == *key)?;
        Some((token.number, &line.token))
    })
}
