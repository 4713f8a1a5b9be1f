//! A user's tokens as an admin meets them: by number, in words.

use std::collections::HashMap;
use std::fmt::{self, Write as _};
use std::sync::LazyLock;
use std::time::{SystemTime, UNIX_EPOCH};

use clap::ValueEnum;
use jiff::civil::Date;
use jiff::tz::{Offset, TimeZone};
use jiff::{Timestamp, Zoned};
use otpgate::UnixTime;
use otpgate::log::Quoted;
use otpgate::store::Held;
use otpgate::token::{Address, Fingerprint, MovingFactor, Pin, State, StoredToken, Token};
use otpgate::users::record;

use crate::{Failure, Result, output};

/// One of the things that a user holds. Those of one token (the same key, algorithm and way of
/// counting) have one number.
#[derive(Clone, Copy)]
pub struct Numbered<'a> {
    /// From 1, in the order of the store.
    pub number: usize,
    /// Which of the things held it is.
    pub index: usize,
    pub held: &'a Held,
}

/// Which of a user's tokens a subcommand acts on.
#[derive(clap::Args)]
pub struct WhichToken {
    /// Only this token, by its number in `otpgate show`
    #[arg(long, value_name = "N", conflicts_with = "all")]
    pub token: Option<usize>,
    /// All tokens of the user
    #[arg(long)]
    pub all: bool,
}

/// Seconds since 1970.
pub fn now() -> UnixTime {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs() as i64)
}

/// The day it is here.
pub fn today() -> Date {
    Zoned::now().date()
}

/// Gives the things that one user holds their numbers.
pub fn number(held: &[Held]) -> Vec<Numbered<'_>> {
    let (mut numbers, mut count) = (HashMap::new(), 0);
    let mut next = || {
        count += 1;
        count
    };
    let mut numbered = Vec::with_capacity(held.len());
    for (index, token) in held.iter().enumerate() {
        let number = match &token.token {
            Ok(line) if held.len() > 1 => {
                *numbers.entry(line.token.device()).or_insert_with(&mut next)
            }
            _ => next(),
        };
        numbered.push(Numbered { number, index, held: token });
    }
    numbered
}

/// How many tokens these are.
pub fn count(numbered: &[Numbered<'_>]) -> usize {
    numbered.iter().map(|known| known.number).max().unwrap_or(0)
}

/// The tokens to act on, for subcommands that act on all unless one is named.
pub fn all_or_one<'a>(
    tokens: Vec<Numbered<'a>>,
    user: &[u8],
    token: Option<usize>,
) -> Result<Vec<Numbered<'a>>> {
    let Some(number) = token else { return Ok(tokens) };
    let count = count(&tokens);
    let chosen: Vec<_> = tokens.into_iter().filter(|numbered| numbered.number == number).collect();
    if chosen.is_empty() {
        let text =
            format!("{} has no token {number}, only {count}; see `otpgate show`", Quoted(user));
        return Err(Failure::new(text));
    }
    Ok(chosen)
}

/// The tokens to act on, for subcommands that must be told if there are several. `options` says
/// how.
pub fn told<'a>(
    tokens: Vec<Numbered<'a>>,
    user: &[u8],
    token: Option<usize>,
    options: &str,
) -> Result<Vec<Numbered<'a>>> {
    let count = count(&tokens);
    if token.is_none() && count > 1 {
        let mut text = format!("{} has {count} tokens: say which with {options}", Quoted(user));
        for numbered in &tokens {
            let _ = write!(text, "\n  {}  {}", numbered.number, numbered.in_short());
        }
        return Err(Failure::new(text));
    }
    all_or_one(tokens, user, token)
}

/// The number of the one token that isn't a printed list, if there is one only.
pub fn only_besides_paper(tokens: &[Numbered<'_>]) -> Option<usize> {
    let mut others = tokens.iter().filter(|token| !token.is_paper()).map(|token| token.number);
    let only = others.next()?;
    others.all(|other| other == only).then_some(only)
}

/// Refuses to act where nothing can be read.
pub fn any_readable(chosen: &[Numbered<'_>]) -> Result<()> {
    match chosen.iter().any(|token| token.held.token.is_ok()) {
        true => Ok(()),
        false => Err(Failure::new(chosen[0].unreadable_warning())),
    }
}

impl WhichToken {
    pub fn of<'a>(&self, tokens: Vec<Numbered<'a>>, user: &[u8]) -> Result<Vec<Numbered<'a>>> {
        if self.all { Ok(tokens) } else { told(tokens, user, self.token, "--token N, or --all") }
    }
}

impl Numbered<'_> {
    /// A printed list.
    pub fn is_paper(&self) -> bool {
        let is_paper = |line: &StoredToken| matches!(line.token.factor, MovingFactor::Paper(_));
        self.held.token.as_ref().is_ok_and(is_paper)
    }

    /// One line for people.
    pub fn in_short(&self) -> String {
        match &self.held.token {
            Ok(line) => format!(
                "{}{}, {}, last login {}",
                if line.token.disabled { "switched off: " } else { "" },
                kind(&line.token),
                match &line.token.pin {
                    Pin::None => "no PIN",
                    Pin::Literal(_) => "PIN in the clear",
                    Pin::Hashed(_) => "hashed PIN",
                    Pin::External => "external PIN",
                },
                LastLogin::of(&line.state, now())
            ),
            Err(error) => format!("{}, which can't be read: {error}", self.held.place),
        }
    }

    /// The warning when it is skipped because it can't be read.
    pub fn unreadable_warning(&self) -> String {
        format!(
            "{} can't be read and lets nobody in; see `otpgate check`, correct it with `otpgate edit`",
            self.held.place
        )
    }
}

/// Fingerprints, to find the same tokens again after a prompt.
pub fn fingerprints(tokens: &[Numbered<'_>]) -> Vec<Option<Fingerprint>> {
    tokens.iter().map(|token| token.held.fingerprint).collect()
}

/// When what was looked at before a prompt isn't there any more.
pub fn changed_meanwhile(user: &[u8]) -> Failure {
    Failure::new(format!(
        "somebody else has changed {} meanwhile; nothing was changed: see `otpgate show` and try again",
        Quoted(user)
    ))
}

/// Field 1, written out.
pub fn kind(token: &Token) -> String {
    record::type_field(token.algorithm, token.factor, token.digits)
}

/// How a PIN is kept.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum PinKind {
    /// The code alone logs in
    None,
    /// In the clear
    Plain,
    /// Hashed
    Hashed,
    /// Checked by another provider or in a PIN file
    External,
}

impl PinKind {
    pub fn of(pin: &Pin) -> PinKind {
        match pin {
            Pin::None => PinKind::None,
            Pin::Literal(_) => PinKind::Plain,
            Pin::Hashed(_) => PinKind::Hashed,
            Pin::External => PinKind::External,
        }
    }

    pub fn word(self) -> &'static str {
        match self {
            PinKind::None => "none",
            PinKind::Plain => "plain",
            PinKind::Hashed => "hashed",
            PinKind::External => "external",
        }
    }
}

/// The PIN field in one word.
pub fn pin_word(pin: &Pin) -> &'static str {
    PinKind::of(pin).word()
}

/// What is known of a token's last login.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LastLogin {
    /// There was none with this key.
    Never,
    /// There was one, and its time was forgotten: by an earlier version, or by mod_authn_otp.
    Forgotten,
    /// When it was.
    At(UnixTime),
}

impl LastLogin {
    pub fn of(state: &State, now: UnixTime) -> LastLogin {
        // A code that an admin has spent, in `resync` or `add --confirm`, came from nowhere.
        let was_login = !state.intact || state.address != Address::Unknown;
        match state.used.last_login(now) {
            Some(last) => LastLogin::At(last),
            None if state.last_otp.is_some() && was_login => LastLogin::Forgotten,
            None => LastLogin::Never,
        }
    }

    /// The time, if it is known.
    pub fn time(self) -> Option<UnixTime> {
        match self {
            LastLogin::At(time) => Some(time),
            LastLogin::Never | LastLogin::Forgotten => None,
        }
    }
}

/// Local time for people, or why there is none.
impl fmt::Display for LastLogin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            LastLogin::Never => f.pad("never"),
            LastLogin::Forgotten => f.pad("forgotten"),
            LastLogin::At(time) => f.pad(&local_time(time)),
        }
    }
}

/// Where this machine is. Looked up once: a list has a million times.
pub fn zone() -> &'static TimeZone {
    static ZONE: LazyLock<TimeZone> = LazyLock::new(TimeZone::system);
    &ZONE
}

/// "2026-11-22 10:03:12", here.
pub fn local_time(instant: UnixTime) -> String {
    formatted(instant, b' ').map_or_else(|| instant.to_string(), |(time, _)| time)
}

/// "2026-11-22T10:03:12+01:00", for programs.
pub fn stamp(instant: UnixTime) -> String {
    let Some((mut time, offset)) = formatted(instant, b'T') else { return instant.to_string() };
    let minutes = offset.seconds().div_euclid(60);
    let sign = if minutes < 0 { '-' } else { '+' };
    let minutes = minutes.unsigned_abs();
    let _ = write!(time, "{sign}{:02}:{:02}", minutes / 60, minutes % 60);
    time
}

/// Local time, and how far it is from UTC. `None`: there is no such time.
fn formatted(instant: UnixTime, between: u8) -> Option<(String, Offset)> {
    let timestamp = Timestamp::from_second(instant).ok()?;
    let offset = zone().to_offset(timestamp);
    let local = offset.to_datetime(timestamp);
    let year = u16::try_from(local.year()).ok()?;
    let mut text = String::with_capacity(25);
    let mut two = |number: u8, after: u8| {
        text.push(char::from(b'0' + number / 10));
        text.push(char::from(b'0' + number % 10));
        if after != 0 {
            text.push(char::from(after));
        }
    };
    two((year / 100) as u8, 0);
    two((year % 100) as u8, b'-');
    two(local.month() as u8, b'-');
    two(local.day() as u8, between);
    two(local.hour() as u8, b':');
    two(local.minute() as u8, b':');
    two(local.second() as u8, 0);
    Some((text, offset))
}

/// The address of the last login, if one is known.
pub fn address(state: &State) -> Option<String> {
    match &state.address {
        Address::Unknown => None,
        Address::Ip(ip) => Some(ip.to_string()),
        Address::Other(text) => Some(String::from_utf8_lossy(text).into_owned()),
    }
}

/// A name for people: as it is if that does no harm, else as logs show it.
pub fn shown_name(user: &[u8]) -> String {
    match str::from_utf8(user) {
        Ok(text) if !text.starts_with('"') && text.chars().all(output::is_harmless) => {
            text.to_owned()
        }
        _ => Quoted(user).to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::shown_name;

    #[test]
    fn a_name_is_shown_as_it_is_or_as_in_logs() {
        for same in ["alice", "jos\u{e9}", "DOM\\alice", "\u{674e}\u{96f7}", "a\"b"] {
            assert_eq!(shown_name(same.as_bytes()), same);
        }
        for (name, shown) in [
            ("a\x1b[2J", r#""a\x1b[2J""#),
            ("a\u{202e}b", r#""a\xe2\x80\xaeb""#),
            ("a\u{2066}", r#""a\xe2\x81\xa6""#),
            ("a\u{200f}", r#""a\xe2\x80\x8f""#),
            ("a\u{61c}", r#""a\xd8\x9c""#),
            ("a\u{9b}", r#""a\xc2\x9b""#),
            ("a\u{ad}", r#""a\xc2\xad""#),
            ("a\u{a0}", r#""a\xc2\xa0""#),
            ("\"", r#""\x22""#),
        ] {
            assert_eq!(shown_name(name.as_bytes()), shown);
        }
        assert_eq!(shown_name(b"\xff"), r#""\xff""#);
    }
}
