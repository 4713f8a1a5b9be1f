//! A user's tokens as an admin meets them: by number, in words.

use std::fmt::Write as _;
use std::time::{SystemTime, UNIX_EPOCH};

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};
use otpgate::UnixTime;
use otpgate::log::Quoted;
use otpgate::store::Held;
use otpgate::token::{Address, Fingerprint, Pin, State, Token, Used};
use otpgate::users::record;

use crate::{Failure, Result};

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
    let mut numbered: Vec<Numbered<'_>> = Vec::with_capacity(held.len());
    for (index, held) in held.iter().enumerate() {
        let known = numbered.iter().find(|known| match (&known.held.token, &held.token) {
            (Ok(known), Ok(line)) => known.token.is_same_device(&line.token),
            _ => false,
        });
        let number = known.map_or_else(|| count(&numbered) + 1, |known| known.number);
        numbered.push(Numbered { number, index, held });
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
    /// One line for people.
    fn in_short(&self) -> String {
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
                last_login(&line.state)
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

/// The PIN field in one word.
pub fn pin_word(pin: &Pin) -> &'static str {
    match pin {
        Pin::None => "none",
        Pin::Literal(_) => "plain",
        Pin::Hashed(_) => "hashed",
        Pin::External => "external",
    }
}

/// Local time for people, or why there is none.
pub fn last_login(state: &State) -> String {
    match state.used.as_of(now()) {
        Some((_, last)) => local_time(last),
        None if state.last_otp.is_some() => "forgotten".to_owned(),
        None => "never".to_owned(),
    }
}

/// "2026-11-22 10:03:12", here.
pub fn local_time(instant: UnixTime) -> String {
    formatted(instant, "%Y-%m-%d %H:%M:%S")
}

/// "2026-11-22T10:03:12+01:00", for programs.
pub fn stamp(instant: UnixTime) -> String {
    formatted(instant, "%Y-%m-%dT%H:%M:%S%:z")
}

fn formatted(instant: UnixTime, form: &str) -> String {
    match Timestamp::from_second(instant) {
        Ok(time) => time.to_zoned(TimeZone::system()).strftime(form).to_string(),
        Err(_) => instant.to_string(),
    }
}

/// The address of the last login, if one is known.
pub fn address(state: &State) -> Option<String> {
    if matches!(state.used, Used::Never) {
        return None;
    }
    match &state.address {
        Address::Unknown => None,
        Address::Ip(ip) => Some(ip.to_string()),
        Address::Other(text) => Some(String::from_utf8_lossy(text).into_owned()),
    }
}

/// A name for a terminal: as it is if that does no harm.
pub fn shown_name(user: &[u8]) -> String {
    match str::from_utf8(user) {
        Ok(text) if !text.chars().any(char::is_control) => text.to_owned(),
        _ => Quoted(user).to_string(),
    }
}
