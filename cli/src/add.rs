//! `otpgate add`: a new token.

use std::ffi::OsString;
use std::num::NonZeroU32;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{ValueEnum, ValueHint};
use jiff::tz::TimeZone;
use otpgate::log::Quoted;
use otpgate::otp::{Digits, Hash};
use otpgate::secret::Secret;
use otpgate::store::{Account, Amendment, Location, NewToken};
use otpgate::token::{
    Algorithm, CODE_LENGTHS_MAX, Fingerprint, LINES_MAX, MovingFactor, Pin, State, Token,
    code_lengths,
};
use otpgate::users::mistakes::{self, NameError};
use otpgate::users::record;
use zeroize::Zeroizing;

use crate::backend::Backend;
use crate::handover::{self, Handover, NewKey};
use crate::pin::{PinForm, PinOptions};
use crate::{Failure, Result, fill_with_random, prompt};

/// Bytes of a new key: 160 bits, what RFC 4226 recommends.
const KEY_LEN: usize = 20;

/// Add a user, or another token to a user
///
/// Asks for the PIN twice, or reads it from standard input if that isn't a terminal. The key is
/// random unless --key-file is given. Prints the otpauth:// address, on a terminal also as a QR
/// code: both contain the key, and are shown only once. Lines of standard input come in this order:
/// the key, the PIN, codes.
#[derive(clap::Args)]
pub struct Arguments {
    /// The name the user logs in with
    user: OsString,
    #[command(flatten)]
    codes: CodeOptions,
    /// Mobile-OTP; its PIN is stored in the clear, because codes are computed from it
    #[arg(
        long,
        group = "kind",
        conflicts_with_all = ["algorithm", "digits", "period", "issuer", "pin_external", "qr"]
    )]
    motp: bool,
    /// Read the key from a file, or - for standard input: hexadecimal, or base32: and base 32
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    key_file: Option<PathBuf>,
    #[command(flatten)]
    pin: PinOptions,
    /// Add a second token to a user who has one
    #[arg(long)]
    another_token: bool,
    /// Remove #@ lines left over from an earlier user of that name
    #[arg(long, conflicts_with = "another_token")]
    purge: bool,
    #[command(flatten)]
    handover: handover::Arguments,
}

/// How the codes of a new token are made, as options.
#[derive(clap::Args)]
pub struct CodeOptions {
    /// Time-based codes, RFC 6238 (the default)
    #[arg(long, group = "kind")]
    totp: bool,
    /// Counter-based codes, RFC 4226
    #[arg(long, group = "kind", conflicts_with = "period")]
    hotp: bool,
    /// Digits of a code
    #[arg(long, value_name = "6-10", default_value = "6", value_parser = clap::value_parser!(u8).range(6..=10))]
    digits: u8,
    /// Seconds per time step
    #[arg(long, value_name = "SECONDS", default_value = "30")]
    period: NonZeroU32,
    /// The hash algorithm of the codes; some apps support only sha1
    #[arg(long, value_enum, value_name = "HASH", default_value = "sha1")]
    algorithm: HashName,
}

impl CodeOptions {
    pub fn hash(&self) -> Hash {
        self.algorithm.into()
    }

    pub fn factor(&self) -> MovingFactor {
        if self.hotp { MovingFactor::Event } else { MovingFactor::Time(self.period) }
    }

    pub fn digits(&self) -> Digits {
        Digits::new(self.digits).expect("6 to 10")
    }

    /// What common apps take for something else without a word, and then show wrong codes.
    /// `remedy` says how to find out.
    pub fn warn_of_apps(&self, remedy: &str) {
        let warn = |what: &str, instead: &str| {
            eprintln!(
                "otpgate: warning: many phone apps ignore {what} and take {instead}; {remedy}"
            );
        };
        match self.algorithm {
            HashName::Sha1 => {}
            HashName::Sha256 => warn("SHA-256", "SHA-1"),
            HashName::Sha512 => warn("SHA-512", "SHA-1"),
        }
        if self.digits != 6 {
            warn(&format!("that a code has {} digits", self.digits), "6");
        }
        if !self.hotp && self.period.get() != 30 {
            warn(&format!("a period of {} seconds", self.period), "30");
        }
    }
}

/// A hash by the name that options give it.
#[derive(Clone, Copy, ValueEnum)]
pub enum HashName {
    Sha1,
    Sha256,
    Sha512,
}

impl From<HashName> for Hash {
    fn from(name: HashName) -> Hash {
        match name {
            HashName::Sha1 => Hash::Sha1,
            HashName::Sha256 => Hash::Sha256,
            HashName::Sha512 => Hash::Sha512,
        }
    }
}

pub fn run(backend: &Backend, arguments: &Arguments) -> Result<ExitCode> {
    let user = arguments.user.as_bytes();
    check_user(user)?;
    let handover = Handover::of(&arguments.handover, arguments.key_file.is_some())?;
    let key = match &arguments.key_file {
        Some(path) => key_from_file(path, arguments.algorithm())?,
        None => random_key()?,
    };
    if let Some(fault @ NameError::NotUtf8) = mistakes::of_name(user) {
        eprintln!("otpgate: warning: {}", fault.as_str());
    }
    // Before anybody thinks up a PIN; what counts is the second look, when it is saved.
    let twin = backend.look(user, |account| {
        check(arguments, account, &key)?;
        Ok(account.twin.cloned())
    })?;
    backend.check_answers_logins(user)?;
    if arguments.key_file.is_some() {
        warn_of_shared_key(backend, user, &key)?;
    }
    if !arguments.motp {
        arguments.codes.warn_of_apps("try a code first (--confirm)");
    }

    handover.check(&arguments.new_key(&key))?;

    let mut token = arguments.token(key)?;
    backend.rehearse(user, |account| check(arguments, account, &token.key))?;
    let doing = format!("Adding {}", Quoted(user));
    let shown = handover.show(&doing, &arguments.new_key(&token.key))?;
    if arguments.handover.confirm {
        token.state = shown.confirmed(user, to_confirm(&token))?;
    }
    shown.check()?;
    save(backend, arguments, &token)?;
    shown.keep();

    if let Some(twin) = twin {
        eprintln!(
            "otpgate: warning: {} is another spelling of {} in {}, and others may take them for one person",
            Quoted(user),
            Quoted(&twin.user),
            twin.place
        );
    }
    if !arguments.handover.quiet {
        eprintln!("Added {}.", Quoted(user));
    }
    Ok(ExitCode::SUCCESS)
}

fn save(backend: &Backend, arguments: &Arguments, token: &NewToken) -> Result<()> {
    let saved = backend.amend(arguments.user.as_bytes(), |account| {
        check(arguments, account, &token.key)?;
        let purge = arguments.purge.then_some(Amendment::Purge);
        Ok((purge.into_iter().chain([Amendment::Add(token.clone())]).collect(), ()))
    });
    Ok(saved?)
}

/// Only a key that was made elsewhere can be another user's, too.
pub fn warn_of_shared_key(backend: &Backend, user: &[u8], key: &Secret) -> Result<()> {
    if let Some(other) = backend.other_holder_of(key, user)? {
        eprintln!(
            "otpgate: warning: that key is also the key of {} in {}: whoever has one token has both",
            Quoted(&other.user),
            other.place
        );
    }
    Ok(())
}

/// The token as it will be, to judge a code by.
fn to_confirm(new: &NewToken) -> Token {
    Token {
        algorithm: new.algorithm,
        factor: new.factor,
        digits: new.digits,
        disabled: false,
        pin: match new.pin.expose() {
            b"-" => Pin::None,
            _ => Pin::Literal(new.pin.clone()),
        },
        key: new.key.clone(),
        fingerprint: Fingerprint([0; 16]),
    }
}

/// A name that can be in the users file, and in a login.
pub fn check_user(user: &[u8]) -> Result<()> {
    let refuse = |reason: &str| Err(Failure::new(format!("a user name {reason}")));
    match user {
        b"" => refuse("can't be empty"),
        _ if user.len() > record::USER_MAX => refuse("can't be longer than 255 bytes"),
        _ if user.iter().any(|b| b.is_ascii_whitespace() || b.is_ascii_control()) => {
            refuse("can't contain blanks or control characters")
        }
        _ if user.contains(&b':') => refuse("can't contain a colon: HTTP ends the name there"),
        _ => Ok(()),
    }
}

/// Why a name isn't given to somebody new.
pub fn left_over(user: &[u8], place: Location) -> String {
    format!(
        "{place} is about an earlier {} and would apply to the new one: remove it with `otpgate edit`",
        Quoted(user)
    )
}

/// Whether the account can get a token with this key.
fn check(arguments: &Arguments, account: &Account<'_>, key: &Secret) -> Result<()> {
    // What is left of a name's earlier user must not come to the next one by chance.
    if let Some(further) = account.further.first()
        && !arguments.another_token
        && !arguments.purge
    {
        return Err(Failure::new(format!(
            "{}, or with --purge",
            left_over(account.user, further.place)
        )));
    }
    let user = Quoted(account.user);
    let is_listed = !account.held.is_empty();
    if is_listed && !arguments.another_token {
        let text = format!("{user} has a token already; --another-token adds a second one");
        return Err(Failure::new(text));
    }
    if !is_listed && arguments.another_token {
        return Err(Failure::new(format!("{user} has no token yet: leave out --another-token")));
    }
    if account.held.len() >= LINES_MAX {
        return Err(Failure::new(format!(
            "{user} has {LINES_MAX} lines already: no more are read"
        )));
    }
    let algorithm = arguments.algorithm();
    let is_same = |token: &Token| token.algorithm == algorithm && token.key == *key;
    if account.held.iter().any(|held| held.token.as_ref().is_ok_and(|line| is_same(&line.token))) {
        return Err(Failure::new(format!("{user} has a token with that key already")));
    }
    check_lengths(account, &[], arguments.codes.digits().count())
}

/// Refuses codes of one more length than a user's tokens should have. `gone`: which of those held
/// don't stay.
pub fn check_lengths(account: &Account<'_>, gone: &[usize], digits: usize) -> Result<()> {
    let held = account.held.iter().enumerate().filter(|(index, _)| !gone.contains(index));
    let lengths =
        code_lengths(held.filter_map(|(_, held)| held.token.as_ref().ok()).map(|line| &line.token));
    if lengths.len() < CODE_LENGTHS_MAX || lengths.contains(&digits) {
        return Ok(());
    }
    let lengths: Vec<String> = lengths.iter().map(usize::to_string).collect();
    Err(Failure::new(format!(
        "the codes of {} have {} digits already: each other number of digits is another PIN to be checked at every login; \
         choose one of these, or remove a token first",
        Quoted(account.user),
        lengths.join(" or ")
    )))
}

impl Arguments {
    fn algorithm(&self) -> Algorithm {
        if self.motp { Algorithm::Motp } else { Algorithm::Hotp(self.codes.hash()) }
    }

    fn factor(&self) -> MovingFactor {
        match () {
            () if self.motp => MovingFactor::Time(NonZeroU32::new(10).expect("not 0")),
            () => self.codes.factor(),
        }
    }

    fn pin(&self) -> PinForm {
        match self.pin.form() {
            PinForm::Hashed if self.motp => PinForm::Plain,
            form => form,
        }
    }

    fn new_key<'a>(&'a self, key: &'a Secret) -> NewKey<'a> {
        NewKey {
            user: self.user.as_bytes(),
            key,
            algorithm: self.algorithm(),
            digits: self.codes.digits(),
            factor: self.factor(),
        }
    }

    /// The new token, with a PIN that is asked for.
    fn token(&self, key: Secret) -> Result<NewToken> {
        Ok(NewToken {
            algorithm: self.algorithm(),
            factor: self.factor(),
            digits: self.codes.digits(),
            pin: self.pin().ask(self.user.as_bytes())?,
            key,
            state: State::fresh(),
        })
    }
}

pub fn random_key() -> Result<Secret> {
    let mut key = vec![0; KEY_LEN];
    fill_with_random(&mut key)?;
    Ok(Secret::new(key))
}

pub fn key_from_file(path: &Path, algorithm: Algorithm) -> Result<Secret> {
    let (name, text) = if path == Path::new("-") {
        ("standard input".to_owned(), prompt::secret("The key: ")?)
    } else {
        let text = std::fs::read(path).map(Zeroizing::new);
        let text =
            text.map_err(|error| Failure::new(format!("cannot read {}: {error}", path.display())))?;
        (path.display().to_string(), text)
    };
    let refuse = || Failure::new(format!("{name}: {}", record::RecordError::Key));
    let field = text.trim_ascii();
    if field.iter().any(u8::is_ascii_whitespace) {
        return Err(refuse());
    }
    // The users file's own rule of what a key is.
    let line = Zeroizing::new([&b"HOTP - - "[..], field].concat());
    let key = match record::parse(&line, &TimeZone::UTC) {
        Ok(record) => record.token.key,
        Err(_) if mistakes::is_base32_without_its_prefix(field) => {
            let text = format!("{name}: the key looks like base 32: write `base32:` before it");
            return Err(Failure::new(text));
        }
        Err(_) => return Err(refuse()),
    };
    if let Some(doubt) = mistakes::of_key(key.expose(), algorithm) {
        eprintln!("otpgate: warning: {doubt}");
    }
    Ok(key)
}
