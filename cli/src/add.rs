//! `otpgate add`: a new token.

use std::ffi::OsString;
use std::io::IsTerminal;
use std::num::NonZeroU32;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use clap::{ValueEnum, ValueHint};
use data_encoding::HEXLOWER;
use jiff::tz::TimeZone;
use otpgate::decide::{self, Attempt, Outcome, Proof, Verdict};
use otpgate::files::fault::Fault;
use otpgate::gate::{Found, Store};
use otpgate::log::Quoted;
use otpgate::otp::{Digits, Hash};
use otpgate::policy::{Server, Settings};
use otpgate::secret::Secret;
use otpgate::token::{Address, Algorithm, Entry, LINES_MAX, Line, MovingFactor, State, Used};
use otpgate::users::edit::{self, Change, ContentLine};
use otpgate::users::file::UsersFile;
use otpgate::users::journal::Journal;
use otpgate::users::lock::Locked;
use otpgate::users::mistakes::{self, NameError};
use otpgate::users::record;
use otpgate::users::rewrite::{self, NewLine};
use zeroize::Zeroizing;

use crate::exchange::Kind;
use crate::key_uri::KeyUri;
use crate::pin::{self, Pin};
use crate::qr::{self, Picture};
use crate::{Failure, Result, fill_with_random, may_colour, owner, print, secret_file};

/// Bytes of a new key: 160 bits, what RFC 4226 recommends.
const KEY_LEN: usize = 20;
/// How often a code may be wrong with --confirm.
const TRIES: u32 = 3;

/// Add a user, or another token to a user
///
/// The PIN is asked for twice, or read from standard input if that is no terminal. The key is random unless
/// --key-file is given. Prints the otpauth:// address, on a terminal also as a QR code: both hold the key, and
/// are shown only once. What standard input has to give comes in this order, a line each: the key, the PIN, codes.
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
    #[arg(
        long,
        group = "kind",
        conflicts_with_all = ["algorithm", "digits", "period", "issuer", "pin_external", "qr"]
    )]
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
    /// Take the key from a file, or - for standard input: hexadecimal, or base32: and base 32
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
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
    /// Remove the lines that start with #@ and are left of an earlier user of that name
    #[arg(long, conflicts_with = "another_token")]
    purge: bool,
    /// Who asks for the code, as the app shows it [default: the host's name]
    #[arg(long, value_name = "NAME")]
    issuer: Option<String>,
    /// Write the QR code to a new file as well, .svg or .png, mode 0600
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    qr: Option<PathBuf>,
    /// Ask for a code of the new token, and save it only after a right one; that code is spent
    #[arg(long)]
    confirm: bool,
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
}

pub fn run(file: &Path, arguments: &Arguments) -> Result<ExitCode> {
    let user = arguments.user.as_bytes();
    check_user(user)?;
    let issuer = issuer(arguments.issuer.as_deref())?;
    let qr_kind = arguments.qr.as_deref().map(qr::ImageKind::of).transpose()?;
    let key = match &arguments.key_file {
        Some(path) => key_from_file(path, kind(arguments).algorithm)?,
        None => random_key()?,
    };
    if let Some(fault @ NameError::NotUtf8) = mistakes::of_name(user) {
        eprintln!("otpgate: warning: {}", fault.as_str());
    }
    // Before anybody thinks up a PIN; what counts is the second look, under the lock.
    let (found, twin) = owner::acting(file, || {
        check_left_over(arguments, file)?;
        let twin = if arguments.another_token { None } else { twin_of(file, user)? };
        Ok((UsersFile::new(file).find(user)?, twin))
    })?;
    check_duplicates(arguments, &found, &key)?;
    if arguments.key_file.is_some() {
        warn_of_shared_key(file, user, &key)?;
    }
    warn_of_apps(arguments);

    let Kind { algorithm, factor, digits } = kind(arguments);
    let new = NewKey { user, key: &key, algorithm, digits, factor };
    let kind = kind(arguments).field();
    let pin = pin_field(arguments)?;
    let key_field = Zeroizing::new(HEXLOWER.encode(key.expose()));
    let head = [kind.as_bytes(), user, &pin[..], key_field.as_bytes()];
    let mut image = None;
    if let (Some(path), Some(kind), Some(uri)) = (&arguments.qr, qr_kind, new.uri(&issuer)) {
        secret_file::create(path, &Picture::of(&uri)?.image(kind)?)?;
        image = Some(Unsaved(Some(path)));
    }
    let state = if arguments.confirm {
        tell(&format!("To be added: {}", Quoted(user)), &new, &issuer, arguments.quiet)?;
        confirmed(head)?
    } else {
        State::fresh()
    };
    owner::acting(file, || {
        if arguments.purge {
            purge(file, user)?;
        }
        let locked = Locked::acquire(file)?;
        check_left_over(arguments, file)?;
        let mut journal = Journal::open(&locked, &mut None)?;
        check_duplicates(arguments, &*UsersFile::recovered(file, &journal)?.find(user)?, &key)?;
        Ok(rewrite::extend(&locked, &mut journal, &TimeZone::system(), &[NewLine { head, state }])?)
    })?;
    if let Some(image) = image {
        image.keep();
    }

    if let Some((twin, line)) = twin {
        eprintln!(
            "otpgate: warning: {} is another spelling of {} in line {line}, and others may take them for one",
            Quoted(user),
            Quoted(&twin)
        );
    }
    if !arguments.confirm {
        tell(&format!("Added {}", Quoted(user)), &new, &issuer, arguments.quiet)?;
    } else if !arguments.quiet {
        eprintln!("Added {}.", Quoted(user));
    }
    Ok(ExitCode::SUCCESS)
}

/// Only a key that was made elsewhere can be another user's, too.
pub fn warn_of_shared_key(file: &Path, user: &[u8], key: &Secret) -> Result<()> {
    let other = owner::acting(file, || {
        let users = edit::open_users(file)?;
        Ok(edit::first_with_key(&users, key, user).map_err(|error| Fault::new("read", file, error))?)
    })?;
    if let Some((other, line)) = other {
        eprintln!(
            "otpgate: warning: that key is the key of {} in line {line}, too: whoever has one token has both",
            Quoted(&other)
        );
    }
    Ok(())
}

/// The QR code of a token that isn't saved yet: without the token it would only mislead.
struct Unsaved<'a>(Option<&'a Path>);

impl Unsaved<'_> {
    fn keep(mut self) {
        self.0 = None;
    }
}

impl Drop for Unsaved<'_> {
    fn drop(&mut self) {
        if let Some(path) = self.0 {
            let _ = std::fs::remove_file(path);
        }
    }
}

/// What common apps take for something else without a word, and then show wrong codes.
fn warn_of_apps(arguments: &Arguments) {
    if arguments.motp {
        return;
    }
    let warn = |what: &str, instead: &str| {
        eprintln!(
            "otpgate: warning: many phone apps ignore {what} and take {instead}; try a code first (--confirm)"
        );
    };
    match arguments.algorithm {
        HashName::Sha1 => {}
        HashName::Sha256 => warn("SHA-256", "SHA-1"),
        HashName::Sha512 => warn("SHA-512", "SHA-1"),
    }
    if arguments.digits != 6 {
        warn(&format!("that a code has {} digits", arguments.digits), "6");
    }
    if !arguments.hotp && arguments.period.get() != 30 {
        warn(&format!("a period of {} seconds", arguments.period), "30");
    }
}

/// Asks for codes until one is right, as logins judge it. The state after it: the code is spent.
fn confirmed([kind, user, pin, key]: [&[u8]; 4]) -> Result<State> {
    // Without its PIN, which only Mobile-OTP has in the code.
    let pin = if kind.starts_with(b"MOTP") { pin } else { b"-" };
    let line = Zeroizing::new([kind, user, pin, key].join(&b' '));
    let record = record::parse(&line, &TimeZone::UTC)
        .map_err(|error| Failure::new(format!("cannot add that token: {error}")))?;
    let entry = Entry { lines: vec![Line { token: record.token, state: record.state }], ..Entry::default() };
    let policy = Settings::default().policy(Server::Apache);
    for left in (0..TRIES).rev() {
        if std::io::stdin().is_terminal() {
            eprint!("A code that it shows now: ");
        }
        let mut code = pin::read_line()?;
        if code.is_empty() {
            return Err(Failure::new("no code was given; nothing was changed"));
        }
        // Apps show codes in groups.
        code.retain(|b| !b.is_ascii_whitespace());
        let attempt = Attempt { user, proof: Proof::Password(&code), address: Address::Unknown };
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_secs() as i64);
        if let Outcome::Decided(decision) = decide::login(&policy, &entry, &attempt, &|_, _| None, now)
            && decision.verdict == Verdict::Granted
            && let Some(change) = decision.changes.into_iter().next()
        {
            // Never used from anywhere: it doesn't linger.
            return Ok(State { used: Used::Never, address: Address::Unknown, ..change.state });
        }
        if left > 0 {
            eprintln!("otpgate: that is none of its codes now; {left} more");
        }
    }
    let hint = match entry.lines[0].token.factor {
        MovingFactor::Time(_) => "is the clock of the phone right, and of this machine?",
        MovingFactor::Event => "has its counter moved on already?",
    };
    Err(Failure::new(format!("{TRIES} codes that are none of its; nothing was changed ({hint})")))
}

/// A name that can be in the users file, and in a login.
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

/// Why a name isn't given to somebody new.
pub fn left_over(user: &[u8], line: u64) -> String {
    format!(
        "line {line} is about an earlier {}, and would be about the new one: remove it with `otpgate edit`",
        Quoted(user)
    )
}

/// What is left of a name's earlier user must not come to the next one by chance.
fn check_left_over(arguments: &Arguments, file: &Path) -> Result<()> {
    if arguments.another_token || arguments.purge {
        return Ok(());
    }
    let user = arguments.user.as_bytes();
    let users = edit::open_users(file)?;
    match edit::first_pragma_of(&users, user).map_err(|error| Fault::new("read", file, error))? {
        Some(line) => Err(Failure::new(format!("{}, or with --purge", left_over(user, line)))),
        None => Ok(()),
    }
}

fn twin_of(file: &Path, user: &[u8]) -> Result<Option<(Vec<u8>, u64)>> {
    let users = edit::open_users(file)?;
    Ok(edit::first_twin_of(&users, user).map_err(|error| Fault::new("read", file, error))?)
}

fn purge(file: &Path, user: &[u8]) -> Result<()> {
    edit::change(file, |content| {
        if content.lines_of(user).next().is_some() {
            // Refused later, with what is wrong.
            return Ok(None);
        }
        let is_left_over = |line: &ContentLine<'_>| line.pragma_user().is_some_and(|about| about == user);
        Ok(Some(content.with(|line| is_left_over(line).then_some(Change::Remove))))
    })
}

fn check_duplicates(arguments: &Arguments, found: &Found, key: &Secret) -> Result<()> {
    let user = Quoted(arguments.user.as_bytes());
    let is_listed =
        !found.entry.lines.is_empty() || !found.unreadable.is_empty() || found.entry.too_many_lines;
    if is_listed && !arguments.another_token {
        let text = format!("{user} has a token already; --another-token adds a second one");
        return Err(Failure::new(text));
    }
    if !is_listed && arguments.another_token {
        return Err(Failure::new(format!("{user} has no token yet: leave out --another-token")));
    }
    if found.entry.too_many_lines || found.entry.lines.len() + found.unreadable.len() >= LINES_MAX {
        return Err(Failure::new(format!("{user} has {LINES_MAX} lines already: no more are read")));
    }
    let algorithm = kind(arguments).algorithm;
    let is_same = |token: &otpgate::token::Token| token.algorithm == algorithm && token.key == *key;
    if found.entry.lines.iter().any(|line| is_same(&line.token)) {
        return Err(Failure::new(format!("{user} has a token with that key already")));
    }
    Ok(())
}

fn kind(arguments: &Arguments) -> Kind {
    let time = |period| MovingFactor::Time(period);
    let (algorithm, factor) = match (Algorithm::Hotp(arguments.algorithm.hash()), arguments.period) {
        _ if arguments.motp => (Algorithm::Motp, time(NonZeroU32::new(10).expect("not 0"))),
        (hotp, _) if arguments.hotp => (hotp, MovingFactor::Event),
        (hotp, period) => (hotp, time(period)),
    };
    Kind { algorithm, factor, digits: Digits::new(arguments.digits).expect("6 to 10") }
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

pub fn key_from_file(path: &Path, algorithm: Algorithm) -> Result<Secret> {
    let (name, text) = if path == Path::new("-") {
        ("standard input".to_owned(), pin::ask_secret("The key: ")?)
    } else {
        let text = std::fs::read(path).map(Zeroizing::new);
        let text = text.map_err(|error| Failure::new(format!("cannot read {}: {error}", path.display())))?;
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

/// A key that somebody is to put into an app, shown only once.
pub struct NewKey<'a> {
    pub user: &'a [u8],
    pub key: &'a Secret,
    pub algorithm: Algorithm,
    pub digits: Digits,
    pub factor: MovingFactor,
}

impl NewKey<'_> {
    /// `None`: Mobile-OTP has no address.
    fn uri(&self, issuer: &str) -> Option<Zeroizing<String>> {
        let NewKey { user, key, algorithm, digits, factor } = *self;
        let Algorithm::Hotp(hash) = algorithm else { return None };
        Some(KeyUri { issuer, user, key: key.expose(), hash, digits, factor, counter: 0 }.text())
    }
}

/// Prints the key's address, on a terminal with its QR code. `done` is what has just been done.
pub fn tell(done: &str, new: &NewKey<'_>, issuer: &str, quiet: bool) -> Result<()> {
    let Some(uri) = new.uri(issuer) else {
        let key = Zeroizing::new(HEXLOWER.encode(new.key.expose()));
        if !quiet {
            eprintln!("{done}. The key, to be typed into the Mobile-OTP app and shown only now:");
        }
        return print(format_args!("{}\n", key.as_str()));
    };
    if quiet {
        return print(format_args!("{}\n", uri.as_str()));
    }
    eprintln!("{done}. For the phone, shown only now:\n");
    print(format_args!("{}\n", uri.as_str()))?;
    if std::io::stdout().is_terminal() {
        let picture = Picture::of(&uri)?.for_terminal(may_colour());
        print(format_args!("\n{}\n", picture.as_str()))?;
    }
    Ok(())
}
