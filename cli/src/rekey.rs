//! `otpgate rekey`: another key for a token, for another phone.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use data_encoding::HEXLOWER;
use jiff::tz::TimeZone;
use otpgate::log::Quoted;
use otpgate::otp::Hash;
use otpgate::secret::Secret;
use otpgate::token::{Algorithm, State, Token};
use otpgate::users::edit::{self, Change};
use otpgate::users::{record, rewrite};
use zeroize::Zeroizing;

use crate::add::NewKey;
use crate::tokens::{self, Numbered};
use crate::{Failure, Result, add, owner};

/// Give a token another key, for another phone or fob
///
/// The key is random unless --key-file is given; the old one is void at once, and the counter starts anew. PIN and type
/// stay. Prints the otpauth:// address and the QR code as `otpgate add` does.
#[derive(clap::Args)]
pub struct Arguments {
    /// The user
    user: OsString,
    /// This token, by its number in `otpgate show`
    #[arg(long, value_name = "N")]
    token: Option<usize>,
    /// Take the key from a file: hexadecimal, or base32: and base 32
    #[arg(long, value_name = "FILE")]
    key_file: Option<PathBuf>,
    /// Who asks for the code, as the app shows it [default: the host's name]
    #[arg(long, value_name = "NAME")]
    issuer: Option<String>,
    /// Print nothing but the address (Mobile-OTP: the key)
    #[arg(long, short)]
    quiet: bool,
}

pub fn run(file: &Path, arguments: &Arguments) -> Result<ExitCode> {
    let user = arguments.user.as_bytes();
    let issuer = add::issuer(arguments.issuer.as_deref())?;
    let key = match &arguments.key_file {
        Some(path) => add::key_from_file(path, Algorithm::Hotp(Hash::Sha1))?,
        None => add::random_key()?,
    };
    if arguments.key_file.is_some() {
        add::warn_of_shared_key(file, user, &key)?;
    }
    let mut rekeyed: Option<(usize, Token)> = None;
    owner::acting(file, || {
        edit::change(file, |content| {
            let all = tokens::of_user(file, content, user)?;
            let has_it =
                all.iter().find(|token| token.record.as_ref().is_ok_and(|record| record.token.key == key));
            if let Some(token) = has_it {
                let text = format!("token {} of {} has that key already", token.number, Quoted(user));
                return Err(Failure::new(text));
            }
            let chosen = tokens::told(all, user, arguments.token, "--token N")?;
            let mut texts = Vec::new();
            for token in &chosen {
                let (text, new) = with_key(token, &key)?;
                texts.push((token.line.number, text));
                rekeyed = Some((token.number, new));
            }
            Ok(Some(content.with(|line| {
                let new = texts.iter().find(|(number, _)| *number == line.number);
                new.map(|(_, text)| Change::Replace(text.clone()))
            })))
        })
    })?;
    let (number, token) = rekeyed.expect("a chosen token has a line");
    let done = format!("Token {number} of {} has another key", Quoted(user));
    let Token { algorithm, digits, factor, .. } = token;
    add::tell(&done, &NewKey { user, key: &key, algorithm, digits, factor }, &issuer, arguments.quiet)?;
    Ok(ExitCode::SUCCESS)
}

fn with_key(token: &Numbered<'_>, key: &Secret) -> Result<(Zeroizing<Vec<u8>>, Token)> {
    let number = token.line.number;
    let refuse = |reason: String| {
        Failure::new(format!(
            "line {number} can't be read: {reason}; nothing was changed: correct it with `otpgate edit`"
        ))
    };
    let zone = TimeZone::system();
    let [kind, user, pin, _] =
        edit::head_of(token.line.text).ok_or_else(|| refuse("a field is missing".to_owned()))?;
    let field = Zeroizing::new(HEXLOWER.encode(key.expose()));
    let text = edit::with_head(token.line.text, [kind, user, pin, field.as_bytes()])
        .map_err(|error| refuse(error.to_string()))?;
    let new = record::parse(&text, &zone).map_err(|error| refuse(error.to_string()))?;
    let text = Zeroizing::new(rewrite::with_state(&text, &new.layout, &State::fresh(), &zone));
    Ok((text, new.token))
}
