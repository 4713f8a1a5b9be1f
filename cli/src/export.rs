//! `otpgate export`: tokens for other programs, keys included.

use std::collections::HashSet;
use std::ffi::OsString;
use std::io::{self, Write};
use std::ops::ControlFlow;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{ValueEnum, ValueHint};
use otpgate::log::Quoted;
use otpgate::token::Pin;
use otpgate::users::edit::ContentLine;
use otpgate::users::journal::Journal;
use otpgate::users::lock::Locked;
use otpgate::users::pass::Passes;
use otpgate::users::record;
use zeroize::Zeroizing;

use crate::exchange::csv::Columns;
use crate::exchange::{self, Kind, Token, Unfit, csv, google, liboath, otpauth, pskc};
use crate::handover::issuer;
use crate::progress::Progress;
use crate::secret_file::NewFile;
use crate::streamed::{self, Streamed};
use crate::{Failure, Result, fill_with_random, output, owner, prompt, secret_file, tokens};

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
    let target = Target::new(&arguments.output)?;
    let name = target.name();
    let out = Streamed::to(target, name);
    let (out, done) = owner::acting(file, || {
        // What a crash has left in the journal alone is in the file first.
        Journal::open(&Locked::acquire(file)?, &mut None)?;
        let passes = Passes::over(file)?;
        let wanted = Wanted::of(&passes, arguments)?;
        let writer = Writer::new(arguments, issuer, secret.as_ref())?;
        export(&passes, &wanted, writer, out)
    })?;
    if done.written == 0 {
        return Err(Failure::new("there is no token to export; nothing was written"));
    }
    if done.pins > 0 && arguments.form != ExportForm::Liboath {
        eprintln!("otpgate: PINs aren't exported: this format has no place for them");
    }
    if let Target::File(file) = out {
        file.keep()?;
        eprintln!(
            "otpgate: {} written to {}, keys included",
            match done.written {
                1 => "1 token".to_owned(),
                tokens => format!("{tokens} tokens"),
            },
            arguments.output.display()
        );
    }
    Ok(ExitCode::SUCCESS)
}

/// Where it goes.
enum Target {
    Stdout(std::fs::File),
    File(NewFile),
}

impl Target {
    /// As ourselves, not as the users file's owner: it is no file of theirs.
    fn new(output: &Path) -> Result<Target> {
        Ok(match output == Path::new("-") {
            true => Target::Stdout(streamed::stdout()?),
            false => Target::File(NewFile::create(output)?),
        })
    }

    fn name(&self) -> String {
        match self {
            Target::Stdout(_) => output::STDOUT.to_owned(),
            Target::File(file) => file.path().display().to_string(),
        }
    }
}

impl Write for Target {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Target::Stdout(stdout) => stdout.write(bytes),
            Target::File(file) => file.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Whose tokens are exported.
struct Wanted<'a> {
    /// Empty: everybody's.
    users: HashSet<&'a [u8]>,
}

impl<'a> Wanted<'a> {
    /// Refuses names that nobody has, before anything is written.
    fn of(passes: &Passes, arguments: &'a Arguments) -> Result<Wanted<'a>> {
        let users = arguments.users.iter().map(|user| user.as_bytes()).collect();
        let wanted = Wanted { users };
        let is_for_one = arguments.form == ExportForm::GoogleAuthenticator;
        if wanted.users.is_empty() && !is_for_one {
            return Ok(wanted);
        }
        let (mut missing, mut tokens) = (wanted.users.clone(), 0);
        passes.each_line(|line| {
            if let Some(user) = line.user().filter(|user| wanted.includes(user)) {
                missing.remove(user);
                let record = record::parse(line.text, tokens::zone());
                tokens += u64::from(record.is_ok_and(|record| !record.token.disabled));
            }
            ControlFlow::Continue(())
        })?;
        if let Some(user) = arguments.users.iter().find(|user| missing.contains(user.as_bytes())) {
            return Err(Failure::new(format!("there is no user {}", Quoted(user.as_bytes()))));
        }
        if is_for_one && tokens != 1 {
            return Err(Failure::new(format!(
                "a .google_authenticator file holds one token, not {tokens}: name a user who has one"
            )));
        }
        Ok(wanted)
    }

    fn includes(&self, user: &[u8]) -> bool {
        self.users.is_empty() || self.users.contains(user)
    }
}

/// How a token is written.
struct Writer {
    form: ExportForm,
    columns: Columns,
    issuer: String,
    /// Of PSKC.
    pskc: Option<pskc::Writer>,
}

impl Writer {
    fn new(
        arguments: &Arguments,
        issuer: String,
        secret: Option<&(Encrypt, Zeroizing<Vec<u8>>)>,
    ) -> Result<Writer> {
        let protection = secret.map(|(with, secret)| match with {
            Encrypt::Password => pskc::Protection::Password(secret),
            Encrypt::Key => pskc::Protection::PreSharedKey(secret),
        });
        let pskc = match arguments.form {
            ExportForm::Pskc => Some(pskc::Writer::new(protection, fill_with_random)?),
            _ => None,
        };
        Ok(Writer { form: arguments.form, columns: arguments.csv, issuer, pskc })
    }

    /// A token as it is to be appended, if the form has a place for it.
    fn write(
        &mut self,
        token: &Token,
        pin: &Pin,
    ) -> Result<std::result::Result<Zeroizing<Vec<u8>>, Unfit>> {
        if let Some(pskc) = &mut self.pskc {
            return Ok(pskc.add(token, &self.issuer)?.map(|()| pskc.take()));
        }
        let line = match self.form {
            ExportForm::Otpauth => otpauth::line(token, &self.issuer).map(into_bytes),
            ExportForm::Csv => csv::line(token, self.columns),
            ExportForm::Liboath => liboath::line(token, pin, tokens::zone()),
            ExportForm::GoogleAuthenticator => return Ok(google::file(token).map(into_bytes)),
            ExportForm::Pskc => unreachable!("it has a writer"),
        };
        Ok(line.map(|mut line| {
            line.push(b'\n');
            line
        }))
    }
}

fn into_bytes(mut text: Zeroizing<String>) -> Zeroizing<Vec<u8>> {
    Zeroizing::new(std::mem::take(&mut *text).into_bytes())
}

#[derive(Default)]
struct Exported {
    written: u64,
    pins: u64,
}

/// Writes each token as it is read: neither the file nor what comes of it is ever held.
fn export(
    passes: &Passes,
    wanted: &Wanted<'_>,
    mut writer: Writer,
    mut out: Streamed<Target>,
) -> Result<(Target, Exported)> {
    let mut done = Exported::default();
    let mut progress = Progress::new();
    let mut one = |line: &ContentLine<'_>, user: &[u8]| -> Result<Option<String>> {
        let record = match passes.record(line, tokens::zone())? {
            Ok(record) if record.token.disabled => {
                return Ok(Some("it is switched off (OFF:)".to_owned()));
            }
            Ok(record) => record,
            Err(error) => {
                return Ok(Some(format!("line {} can't be read: {error}", line.number)));
            }
        };
        let otpgate::token::Token { algorithm, factor, digits, key, pin, .. } = record.token;
        done.pins += u64::from(pin != Pin::None);
        let token = Token {
            user: user.to_vec(),
            kind: Kind { algorithm, factor, digits },
            key,
            pin: None,
            state: record.state,
            place: line.number as usize,
        };
        match writer.write(&token, &pin)? {
            Ok(text) => {
                done.written += 1;
                progress.tell(|| format!("writing token {}", done.written));
                out.write(|out| out.extend_from_slice(&text))?;
                Ok(None)
            }
            Err(reason) => Ok(Some(reason.to_string())),
        }
    };
    let mut outcome = Ok(());
    passes.each_line(|line| {
        let Some(user) = line.user().filter(|user| wanted.includes(user)) else {
            return ControlFlow::Continue(());
        };
        match one(&line, user) {
            Ok(None) => ControlFlow::Continue(()),
            Ok(Some(reason)) => {
                eprintln!("otpgate: {} was left out: {reason}", Quoted(user));
                ControlFlow::Continue(())
            }
            Err(failure) => {
                outcome = Err(failure);
                ControlFlow::Break(())
            }
        }
    })?;
    outcome?;
    if let Some(pskc) = writer.pskc.filter(|_| done.written > 0) {
        out.write(|out| out.extend_from_slice(pskc.finish().as_bytes()))?;
    }
    Ok((out.finish()?, done))
}

fn secret(arguments: &Arguments, with: Encrypt) -> Result<(Encrypt, Zeroizing<Vec<u8>>)> {
    let what = match with {
        Encrypt::Password => "The password to encrypt with: ",
        Encrypt::Key => "The key to encrypt with, 16 bytes in hexadecimal: ",
    };
    let text = match &arguments.secret_file {
        Some(path) => secret_file::read_line(path)?,
        None => prompt::secret_twice(what)?,
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
