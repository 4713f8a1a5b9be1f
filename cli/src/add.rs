//! `otpgate add`: a new token.

use std::ffi::OsString;
use std::io::IsTerminal;
use std::num::NonZeroU32;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::ValueEnum;
use data_encoding::HEXLOWER;
use jiff::tz::TimeZone;
use otpgate::gate::{Found, Store};
use otpgate::log::Quoted;
use otpgate::otp::{Digits, Hash};
use otpgate::secret::Secret;
use otpgate::token::{Algorithm, MovingFactor};
use otpgate::users::file::UsersFile;
use otpgate::users::journal::Journal;
use otpgate::users::lock::Locked;
use otpgate::users::{record, rewrite};
use zeroize::Zeroizing;

use crate::key_uri::KeyUri;
use crate::pin::Pin;
use crate::{Failure, Result, fill_with_random, owner, print, qr};

/// Bytes of a new key: 160 bits, what RFC 4226 recommends.
const KEY_LEN: usize = 20;
/// Bytes below which RFC 4226 calls a key too short.
const KEY_LEN_LEAST: usize = 16;

/// Add a user, or another token to a user
///
/// The PIN is asked for twice, or read from standard input if that is no terminal. The key is random unless
/// --key-file is given. Prints the otpauth:// address, on a terminal also as a QR code: both hold the key, and
/// are shown only once.
#[derive(clap::Args)]
pub struct Arguments {
    /// The name the user logs in with
    user: OsString,
    /// Codes from time, RFC 6238 (the default)
    #[arg(long, group = "kind")]
    totp: bool,
    /// Codes from a counter, RFC 4226
    #[arg(long, group = "kind", conflicts_with = "period")]
    hotp: bool,
    /// Mobile-OTP; its PIN is stored in the clear, because codes are made with it
    #[arg(long, group = "kind", conflicts_with_all = ["algorithm", "digits", "period", "issuer", "pin_external"])]
    motp: bool,
    /// Digits of a code
    #[arg(long, value_name = "6-10", default_value = "6", value_parser = clap::value_parser!(u8).range(6..=10))]
    digits: u8,
    /// Seconds of a time step
    #[arg(long, value_name = "SECONDS", default_value = "30")]
    period: NonZeroU32,
    /// The hash under codes; some apps ignore any but sha1
    #[arg(long, value_enum, value_name = "HASH", default_value = "sha1")]
    algorithm: HashName,
    /// Take the key from a file: hexadecimal, or base32: and base 32
    #[arg(long, value_name = "FILE")]
    key_file: Option<PathBuf>,
    /// Store the PIN as it is, not as an Argon2id hash: for Digest logins and for mod_authn_otp
    #[arg(long, group = "pin")]
    plain_pin: bool,
    /// The server's own PIN provider checks the PIN
    #[arg(long, group = "pin")]
    pin_external: bool,
    /// The code alone logs in
    #[arg(long, group = "pin")]
    no_pin: bool,
    /// The user has a token and gets a second one
    #[arg(long)]
    another_token: bool,
    /// Who asks for the code, as the app shows it [default: the host's name]
    #[arg(long, value_name = "NAME")]
    issuer: Option<String>,
    /// Print nothing but the address (Mobile-OTP: the key)
    #[arg(long, short)]
    quiet: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum HashName {
    Sha1,
    Sha256,
    Sha512,
}

impl HashName {
    fn hash(self) -> Hash {
        match self {
            HashName::Sha1 => Hash::Sha1,
            HashName::Sha256 => Hash::Sha256,
            HashName::Sha512 => Hash::Sha512,
        }
    }

    /// Field 1 up to the first slash.
    fn field(self) -> &'static str {
        match self {
            HashName::Sha1 => "HOTP",
            HashName::Sha256 => "HOTP-SHA256",
            HashName::Sha512 => "HOTP-SHA512",
        }
    }
}

pub fn run(file: &Path, arguments: &Arguments) -> Result<ExitCode> {
    let user = arguments.user.as_bytes();
    check_user(user)?;
    let issuer = issuer(arguments.issuer.as_deref())?;
    let key = match &arguments.key_file {
        Some(path) => key_from_file(path)?,
        None => random_key()?,
    };
    // Before anybody thinks up a PIN; what counts is the second look, under the lock.
    let found = owner::acting(file, || Ok(UsersFile::new(file).find(user)?))?;
    check_duplicates(arguments, &found, &key)?;

    let kind = kind_field(arguments);
    let pin = pin_field(arguments)?;
    let key_field = Zeroizing::new(HEXLOWER.encode(key.expose()));
    owner::acting(file, || {
        let locked = Locked::acquire(file)?;
        let mut journal = Journal::open(&locked, &mut None)?;
        check_duplicates(arguments, &*UsersFile::new(file).find(user)?, &key)?;
        let head = [kind.as_bytes(), user, &pin[..], key_field.as_bytes()];
        Ok(rewrite::append(&locked, &mut journal, head)?)
    })?;

    if found.entry.differs_only_in_case_or_blanks {
        eprintln!(
            "otpgate: warning: another listed name differs from {} only in upper and lower case",
            Quoted(user)
        );
    }
    let new = NewKey {
        user,
        key: &key,
        algorithm: algorithm(arguments),
        digits: Digits::new(arguments.digits).expect("6 to 10"),
        factor: if arguments.hotp { MovingFactor::Event } else { MovingFactor::Time(arguments.period) },
    };
    tell(&format!("Added {}", Quoted(user)), &new, &issuer, arguments.quiet)?;
    Ok(ExitCode::SUCCESS)
}

pub fn check_user(user: &[u8]) -> Result<()> {
    let refuse = |reason: &str| Err(Failure::new(format!("a user name {reason}")));
    match user {
        b"" => refuse("can't be empty"),
        _ if user.len() > record::USER_MAX => refuse("can't be longer than 255 bytes"),
        _ if user.iter().any(|b| b.is_ascii_whitespace() || b.is_ascii_control()) => {
            refuse("can't hold blanks or control characters")
        }
        _ if user.contains(&b':') => refuse("can't hold a colon: HTTP ends the name there"),
        _ => Ok(()),
    }
}

fn check_duplicates(arguments: &Arguments, found: &Found, key: &Secret) -> Result<()> {
    let user = Quoted(arguments.user.as_bytes());
    let is_listed = !found.entry.lines.is_empty() || !found.unreadable.is_empty();
    if is_listed && !arguments.another_token {
        let text = format!("{user} has a token already; --another-token adds a second one");
        return Err(Failure::new(text));
    }
    if !is_listed && arguments.another_token {
        return Err(Failure::new(format!("{user} has no token yet: leave out --another-token")));
    }
    let algorithm = algorithm(arguments);
    let is_same = |token: &otpgate::token::Token| token.algorithm == algorithm && token.key == *key;
    if found.entry.lines.iter().any(|line| is_same(&line.token)) {
        return Err(Failure::new(format!("{user} has a token with that key already")));
    }
    Ok(())
}

fn algorithm(arguments: &Arguments) -> Algorithm {
    if arguments.motp { Algorithm::Motp } else { Algorithm::Hotp(arguments.algorithm.hash()) }
}

fn kind_field(arguments: &Arguments) -> String {
    let (name, digits) = (arguments.algorithm.field(), arguments.digits);
    match () {
        () if arguments.motp => "MOTP/T10/6".to_owned(),
        () if arguments.hotp => format!("{name}/E/{digits}"),
        () => format!("{name}/T{}/{digits}", arguments.period),
    }
}

fn pin_field(arguments: &Arguments) -> Result<Zeroizing<Vec<u8>>> {
    let field = match () {
        () if arguments.no_pin => b"-".to_vec(),
        () if arguments.pin_external => b"+".to_vec(),
        () => {
            let pin = Pin::ask(&Quoted(arguments.user.as_bytes()).to_string())?;
            if arguments.plain_pin || arguments.motp { pin.plain().to_vec() } else { pin.hashed()? }
        }
    };
    Ok(Zeroizing::new(field))
}

/// Who asks for the code, by default the host.
pub fn issuer(given: Option<&str>) -> Result<String> {
    let issuer = match given {
        Some(issuer) => issuer.to_owned(),
        None => nix::unistd::gethostname()
            .map_err(|error| Failure::new(format!("cannot get the host's name: {}", error.desc())))?
            .to_string_lossy()
            .into_owned(),
    };
    if issuer.is_empty() || issuer.contains(':') {
        return Err(Failure::new("the issuer can't be empty or hold a colon, which would end it"));
    }
    Ok(issuer)
}

pub fn random_key() -> Result<Secret> {
    let mut key = vec![0; KEY_LEN];
    fill_with_random(&mut key)?;
    Ok(Secret::new(key))
}

pub fn key_from_file(path: &Path) -> Result<Secret> {
    let text = std::fs::read(path).map(Zeroizing::new);
    let text = text.map_err(|error| Failure::new(format!("cannot read {}: {error}", path.display())))?;
    let refuse = || Failure::new(format!("{}: {}", path.display(), record::RecordError::Key));
    let field = text.trim_ascii();
    if field.iter().any(u8::is_ascii_whitespace) {
        return Err(refuse());
    }
    // The users file's own rule of what a key is.
    let line = Zeroizing::new([&b"HOTP - - "[..], field].concat());
    let key = record::parse(&line, &TimeZone::UTC).map_err(|_| refuse())?.token.key;
    if key.expose().len() < KEY_LEN_LEAST {
        let bits = 8 * key.expose().len();
        eprintln!("otpgate: warning: a key of {bits} bits can be guessed; RFC 4226 asks for at least 128");
    }
    Ok(key)
}

/// A key that somebody is to put into an app, shown only once.
pub struct NewKey<'a> {
    pub user: &'a [u8],
    pub key: &'a Secret,
    pub algorithm: Algorithm,
    pub digits: Digits,
    pub factor: MovingFactor,
}

/// Prints the key's address, on a terminal with its QR code. `done` is what has just been done.
pub fn tell(done: &str, new: &NewKey<'_>, issuer: &str, quiet: bool) -> Result<()> {
    let Algorithm::Hotp(hash) = new.algorithm else {
        let key = Zeroizing::new(HEXLOWER.encode(new.key.expose()));
        if !quiet {
            eprintln!("{done}. The key, to be typed into the Mobile-OTP app and shown only now:");
        }
        return print(format_args!("{}\n", key.as_str()));
    };
    let NewKey { user, key, digits, factor, .. } = *new;
    let uri = KeyUri { issuer, user, key: key.expose(), hash, digits, factor }.text();
    if quiet {
        return print(format_args!("{}\n", uri.as_str()));
    }
    eprintln!("{done}. For the phone, shown only now:\n");
    print(format_args!("{}\n", uri.as_str()))?;
    if std::io::stdout().is_terminal() {
        print(format_args!("\n{}\n", Zeroizing::new(qr::for_terminal(&uri)?).as_str()))?;
    }
    Ok(())
}
