//! `otpgate export`: tokens for other programs, keys included.

use std::collections::HashSet;
use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{ValueEnum, ValueHint};
use jiff::tz::TimeZone;
use otpgate::files::lines;
use otpgate::log::Quoted;
use otpgate::token::Pin;
use otpgate::users::journal::Journal;
use otpgate::users::lock::Locked;
use otpgate::users::{line, record};
use zeroize::Zeroizing;

use crate::add::issuer;
use crate::exchange::csv::Columns;
use crate::exchange::{self, Kind, Token, Unfit, csv, google, liboath, otpauth, pskc};
use crate::progress::Progress;
use crate::{Failure, Result, fill_with_random, owner, pin, secret_file};

/// Export tokens for another program, with their keys
///
/// Tokens that the format can't express are named on standard error, and left out. Only the liboath
/// format includes PINs.
#[derive(clap::Args)]
pub struct Arguments {
    /// The file format
    #[arg(value_enum, value_name = "FORMAT")]
    form: ExportForm,
    /// A new file, created with mode 0600, or - for standard output
    #[arg(value_name = "OUTPUT", value_hint = ValueHint::FilePath)]
    output: PathBuf,
    /// Only the tokens of these users
    #[arg(value_name = "USER")]
    users: Vec<OsString>,
    /// The service name that apps show [default: the host name]
    #[arg(long, value_name = "NAME")]
    issuer: Option<String>,
    /// The columns of a CSV file, by the program that is to read them
    #[arg(long, value_enum, value_name = "PROGRAM", default_value = "otpgate")]
    csv: Columns,
    /// Encrypt a PSKC file; asks for the password or the key (in hexadecimal, 16 bytes)
    #[arg(long, value_enum, value_name = "WITH")]
    encrypt: Option<Encrypt>,
    /// Read the password or key to encrypt with from a file
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, requires = "encrypt")]
    secret_file: Option<PathBuf>,
}

/// What export writes.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum ExportForm {
    /// otpauth:// addresses, one per line
    Otpauth,
    /// PSKC, RFC 6030: XML
    Pskc,
    /// One token on a line: name, key, type, digits, period or counter, hash; or as --csv says
    Csv,
    /// The users file of liboath and pam_oath
    Liboath,
    /// The .google_authenticator file of one user
    GoogleAuthenticator,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Encrypt {
    /// With a password: AES-128, PBKDF2
    Password,
    /// With a pre-shared key: AES-128
    Key,
}

pub fn run(file: &Path, arguments: &Arguments) -> Result<ExitCode> {
    if arguments.encrypt.is_some() && arguments.form != ExportForm::Pskc {
        return Err(Failure::new("--encrypt is for PSKC: no other format can be encrypted"));
    }
    if arguments.csv != Columns::Otpgate && arguments.form != ExportForm::Csv {
        return Err(Failure::new("--csv is for CSV: other forms have no columns"));
    }
    let issuer = issuer(arguments.issuer.as_deref())?;
    let secret = arguments.encrypt.map(|with| secret(arguments, with)).transpose()?;
    let (found, mut left_out) = owner::acting(file, || read(file, arguments))?;
    for user in &arguments.users {
        if !found.iter().any(|(token, _)| token.user == user.as_bytes())
            && left_out.iter().all(|(name, _)| name != user.as_bytes())
        {
            return Err(Failure::new(format!("there is no user {}", Quoted(user.as_bytes()))));
        }
    }
    let mut progress = Progress::new();
    let zone = TimeZone::system();
    let mut written = 0;
    let mut out = Zeroizing::new(Vec::with_capacity(1024 * (found.len() + 1)));
    let mut take = |token: &Token, line: std::result::Result<(), Unfit>| match line {
        Ok(()) => written += 1,
        Err(reason) => left_out.push((token.user.clone(), reason.to_string())),
    };
    let mut add = |line: &[u8]| {
        out.extend_from_slice(line);
        out.push(b'\n');
    };
    match arguments.form {
        ExportForm::Otpauth => {
            for (token, _) in &found {
                take(token, otpauth::line(token, &issuer).map(|line| add(line.as_bytes())));
            }
        }
        ExportForm::Csv => {
            for (token, _) in &found {
                take(token, csv::line(token, arguments.csv).map(|line| add(&line)));
            }
        }
        ExportForm::Liboath => {
            for (token, pin) in &found {
                take(token, liboath::line(token, pin, &zone).map(|line| add(&line)));
            }
        }
        ExportForm::GoogleAuthenticator => {
            let [(token, _)] = &found[..] else {
                return Err(Failure::new(format!(
                    "a .google_authenticator file holds one token, not {}: name a user who has one",
                    found.len()
                )));
            };
            take(token, google::file(token).map(|text| out.extend_from_slice(text.as_bytes())));
        }
        ExportForm::Pskc => {
            let protection = secret.as_ref().map(|(with, secret)| match with {
                Encrypt::Password => pskc::Protection::Password(secret),
                Encrypt::Key => pskc::Protection::PreSharedKey(secret),
            });
            let mut writer = pskc::Writer::new(protection, fill_with_random)?;
            for (token, _) in &found {
                progress.tell(|| format!("writing {} tokens", found.len()));
                take(token, writer.add(token, &issuer)?);
            }
            out.extend_from_slice(writer.finish().as_bytes());
        }
    }
    drop(progress);
    for (user, reason) in &left_out {
        eprintln!("otpgate: {} was left out: {reason}", Quoted(user));
    }
    if written == 0 {
        return Err(Failure::new("there is no token to export; nothing was written"));
    }
    let pins = found.iter().filter(|(_, pin)| *pin != Pin::None).count();
    if pins > 0 && arguments.form != ExportForm::Liboath {
        eprintln!("otpgate: PINs aren't exported: this format has no place for them");
    }
    if arguments.output == Path::new("-") {
        let mut stdout = std::io::stdout().lock();
        std::io::Write::write_all(&mut stdout, &out)
            .and_then(|()| std::io::Write::flush(&mut stdout))
            .map_err(|error| Failure::new(format!("cannot write to standard output: {error}")))?;
    } else {
        secret_file::create(&arguments.output, &out)?;
        eprintln!(
            "otpgate: {} written to {}, keys included",
            if written == 1 { "1 token".to_owned() } else { format!("{written} tokens") },
            arguments.output.display()
        );
    }
    Ok(ExitCode::SUCCESS)
}

type LeftOut = Vec<(Vec<u8>, String)>;

/// All tokens asked for, as they are at one moment.
fn read(file: &Path, arguments: &Arguments) -> Result<(Vec<(Token, Pin)>, LeftOut)> {
    let wanted: HashSet<&[u8]> = arguments.users.iter().map(|user| user.as_bytes()).collect();
    let locked = Locked::acquire(file)?;
    Journal::open(&locked, &mut None)?;
    let zone = TimeZone::system();
    let (mut found, mut left_out) = (Vec::new(), Vec::new());
    let mut place = 0;
    lines::for_each_line(&locked.users, |_, text| {
        place += 1;
        let Some(user) = line::user_of(text) else { return };
        if !wanted.is_empty() && !wanted.contains(user) {
            return;
        }
        let record = match record::parse(text, &zone) {
            Ok(record) if record.token.disabled => {
                left_out.push((user.to_vec(), "it is switched off (OFF:)".to_owned()));
                return;
            }
            Ok(record) => record,
            Err(error) => {
                left_out.push((user.to_vec(), format!("line {place} can't be read: {error}")));
                return;
            }
        };
        let otpgate::token::Token { algorithm, factor, digits, key, pin, .. } = record.token;
        let kind = Kind { algorithm, factor, digits };
        let token = Token { user: user.to_vec(), kind, key, pin: None, state: record.state, place };
        found.push((token, pin));
    })
    .map_err(|error| Failure::new(format!("cannot read {}: {error}", file.display())))?;
    Ok((found, left_out))
}

fn secret(arguments: &Arguments, with: Encrypt) -> Result<(Encrypt, Zeroizing<Vec<u8>>)> {
    let what = match with {
        Encrypt::Password => "The password to encrypt with: ",
        Encrypt::Key => "The key to encrypt with, 16 bytes in hexadecimal: ",
    };
    let text = match &arguments.secret_file {
        Some(path) => secret_file::read_line(path)?,
        None => pin::ask_secret_twice(what)?,
    };
    match with {
        Encrypt::Password if text.is_empty() => {
            Err(Failure::new("the password is empty; nothing was written"))
        }
        Encrypt::Password => Ok((with, text)),
        Encrypt::Key => match exchange::hexadecimal(text.trim_ascii()) {
            Some(key) if key.expose().len() == 16 => {
                Ok((with, Zeroizing::new(key.expose().to_vec())))
            }
            _ => Err(Failure::new(
                "the key to encrypt with is not 16 bytes in hexadecimal; nothing was written",
            )),
        },
    }
}
