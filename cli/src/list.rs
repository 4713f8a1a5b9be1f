//! `otpgate list` and `otpgate show`: what the file says about tokens, without secrets.

use std::cmp::Reverse;
use std::ffi::OsString;
use std::fmt::Write as _;
use std::fs::File;
use std::ops::ControlFlow;
use std::os::unix::ffi::OsStrExt;
use std::process::ExitCode;

use clap::ValueEnum;
use jiff::civil::Date;
use otpgate::log::Quoted;
use otpgate::otp::Digits;
use otpgate::policy::{Limits, Policy};
use otpgate::store::{Account, Location, Whom};
use otpgate::token::{Algorithm, CounterField, MovingFactor, Reading, StoredToken};
use otpgate::users::record;
use otpgate::{UnixTime, decide};

use crate::backend::Backend;
use crate::json::{Document, Object};
use crate::settings::FailureFlags;
use crate::since;
use crate::streamed::Streamed;
use crate::tokens::{self, LastLogin, Numbered, PinKind};
use crate::{Failure, Result, app, computers, numbered, output, print, sessions, trust};

/// List tokens: user, type, PIN, last login, failures
///
/// All of them, or those of the users named; of these, the ones that the options ask for: with
/// several options, those that fit all.
///
/// Never shows a PIN, a key or a code. Whether a token is locked depends on the file's limits and
/// on the server's: pass the latter as --max-failures (and --lockout-time).
#[derive(clap::Args)]
pub struct List {
    /// Only the tokens of these users
    #[arg(value_name = "USER")]
    users: Vec<OsString>,
    #[command(flatten)]
    filter: Filter,
    /// In which order
    #[arg(long, value_enum, value_name = "ORDER", default_value = "file")]
    sort: Order,
    #[command(flatten)]
    failures: FailureFlags,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Which tokens are asked for: those that fit all of these.
#[derive(clap::Args)]
struct Filter {
    /// Tokens with too many wrong codes
    #[arg(long)]
    locked: bool,
    /// Tokens that are switched off
    #[arg(long)]
    off: bool,
    /// Tokens that have never logged anybody in
    #[arg(long)]
    never: bool,
    /// Tokens used since then: a date (2026-11-30), a time ("2026-11-30 08:00"), a weekday, today,
    /// yesterday, or so long ago (90m, 12h, 7d, 2w)
    #[arg(long, value_name = "WHEN", value_parser = since::parse, conflicts_with = "never")]
    since: Option<UnixTime>,
    /// Tokens not used in so many days, or never
    #[arg(long, value_name = "DAYS", value_parser = clap::value_parser!(u32).range(1..=36_500))]
    unused: Option<u32>,
    /// Tokens with a PIN of this kind
    #[arg(long, value_enum, value_name = "KIND")]
    pin: Option<PinKind>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Order {
    /// As in the file
    File,
    /// The last login first, those who never logged in at the end
    LastLogin,
}

/// Show a user's tokens by number, and what else lets the user in
///
/// Never shows a PIN, a key or a code. Whether a token is locked depends on the file's limits and
/// on the server's: pass the latter as --max-failures (and --lockout-time).
#[derive(clap::Args)]
pub struct Show {
    /// The user
    user: OsString,
    #[command(flatten)]
    failures: FailureFlags,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// What is to be held against failures: what was given and what the store demands. `None`: nothing.
fn policy(backend: &Backend, flags: &FailureFlags) -> Result<Option<Policy>> {
    let limits = backend.limits()?.unwrap_or_else(|unfit| {
        eprintln!("otpgate: warning: {}: {}", unfit.place, unfit.reason);
        Limits::default()
    });
    Ok((flags.max_failures.is_some() || limits.locks())
        .then(|| flags.policy().restricted_by(&limits)))
}

impl Filter {
    fn is_given(&self) -> bool {
        let Filter { locked, off, never, since, unused, pin } = self;
        *locked || *off || *never || since.is_some() || unused.is_some() || pin.is_some()
    }

    fn fits(&self, facts: &Facts, now: UnixTime) -> bool {
        let last = facts.last_login.time();
        let unused_since = |days: u32| now - i64::from(days) * 86_400;
        (!self.locked || facts.is_locked == Some(true))
            && (!self.off || !facts.is_enabled)
            && (!self.never || facts.last_login == LastLogin::Never)
            && self.since.is_none_or(|since| last.is_some_and(|last| last >= since))
            && self.unused.is_none_or(|days| last.is_none_or(|last| last < unused_since(days)))
            && self.pin.is_none_or(|pin| facts.pin == pin)
    }
}

pub fn list(backend: &Backend, arguments: &List) -> Result<ExitCode> {
    let policy = policy(backend, &arguments.failures)?;
    let (filter, now) = (&arguments.filter, tokens::now());
    if filter.locked && policy.is_none() {
        return Err(Failure::new(
            "which tokens are locked depends on the server's limit: give it with --max-failures N",
        ));
    }
    let users: Vec<&[u8]> = arguments.users.iter().map(|user| user.as_bytes()).collect();
    let whom = if users.is_empty() { Whom::Everybody } else { Whom::Users(&users) };
    let out = Streamed::stdout()?;
    let mut listing = match arguments.json {
        true => Listing::Json(Document::begin(out, "tokens")?),
        false => Listing::Table(Table::begin(out, HEAD)),
    };
    let (mut unlisted, mut unreadable) = (Vec::new(), 0);
    let mut to_sort: Vec<Row> = Vec::new();
    backend.look_at(whom, |account| {
        if account.held.is_empty() {
            unlisted.extend(backend.tokens_of(account).err());
            return Ok(ControlFlow::Continue(()));
        }
        for token in tokens::number(account.held) {
            let row = Row::of(account, &token, policy.as_ref(), now);
            let is_asked_for = match &row.facts {
                Ok(facts) => filter.fits(facts, now),
                Err(_) => !filter.is_given(),
            };
            match arguments.sort {
                _ if !is_asked_for => unreadable += u64::from(row.facts.is_err()),
                Order::File => listing.add(&row)?,
                Order::LastLogin => to_sort.push(row),
            }
        }
        Ok(ControlFlow::Continue(()))
    })?;
    // Stable: what is alike stays in the order of the file.
    to_sort.sort_by_key(|row| Reverse(row.facts.as_ref().map(|facts| facts.last_login).ok()));
    to_sort.iter().try_for_each(|row| listing.add(row))?;
    listing.end(backend)?;
    if unreadable > 0 {
        let lines = if unreadable == 1 { "1 line" } else { &format!("{unreadable} lines") };
        eprintln!(
            "otpgate: warning: {lines} can't be read and may belong here; see `otpgate check`"
        );
    }
    for failure in &unlisted {
        eprintln!("otpgate: {failure}");
    }
    Ok(if unlisted.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// What a list says of a token: small, since a sorted list has all of them.
struct Row {
    user: Box<[u8]>,
    number: u32,
    place: Location,
    /// Else why it can't be read.
    facts: std::result::Result<Facts, Box<str>>,
}

struct Facts {
    algorithm: Algorithm,
    factor: MovingFactor,
    digits: Digits,
    pin: PinKind,
    key_bytes: u16,
    is_enabled: bool,
    counter: CounterField,
    codes_left: Option<u16>,
    failures: u32,
    last_failure: Option<UnixTime>,
    is_locked: Option<bool>,
    start_pin: Option<Date>,
    last_login: LastLogin,
    is_forgotten: bool,
    address: Option<Box<str>>,
}

impl Row {
    fn of(
        account: &Account<'_>,
        token: &Numbered<'_>,
        policy: Option<&Policy>,
        now: UnixTime,
    ) -> Row {
        let facts = match &token.held.token {
            Ok(line) => Ok(Facts::of(account, line, policy, now)),
            Err(error) => Err(error.as_str().into()),
        };
        Row {
            user: account.user.into(),
            number: token.number as u32,
            place: token.held.place,
            facts,
        }
    }
}

impl Facts {
    fn of(
        account: &Account<'_>,
        line: &StoredToken,
        policy: Option<&Policy>,
        now: UnixTime,
    ) -> Facts {
        let StoredToken { token, state } = line;
        let last_login = LastLogin::of(state, now);
        Facts {
            algorithm: token.algorithm,
            factor: token.factor,
            digits: token.digits,
            pin: PinKind::of(&token.pin),
            key_bytes: token.key.expose().len() as u16,
            is_enabled: !token.disabled,
            counter: state.counter,
            codes_left: state.codes_left(token.factor),
            failures: state.failures,
            last_failure: state.last_failure.filter(|_| state.failures > 0),
            is_locked: policy.map(|policy| decide::is_locked(policy, line, now)),
            start_pin: account.start_pin,
            last_login,
            is_forgotten: last_login != LastLogin::Never && state.used.as_of(now).is_none(),
            address: tokens::address(state).map(Into::into),
        }
    }

    /// "on", "off", "locked", "off, locked"; with ", start PIN" behind it.
    fn state(&self) -> String {
        let state = match (self.is_enabled, self.is_locked == Some(true)) {
            (true, false) => "on",
            (true, true) => "locked",
            (false, false) => "off",
            (false, true) => "off, locked",
        };
        format!("{state}{}", if self.start_pin.is_some() { ", start PIN" } else { "" })
    }

    fn kind(&self) -> String {
        record::type_field(self.algorithm, self.factor, self.digits)
    }
}

/// Rows on their way out.
enum Listing {
    Table(Table<7>),
    Json(Document),
}

impl Listing {
    fn add(&mut self, row: &Row) -> Result<()> {
        match self {
            Listing::Table(table) => table.add(row.columns()),
            Listing::Json(document) => document.add(|object| row.write_json(object)),
        }
    }

    fn end(self, backend: &Backend) -> Result<()> {
        match self {
            Listing::Table(table) => table.end(),
            Listing::Json(document) => {
                document.end(|object| object.text("users_file", Some(&backend.name())))
            }
        }
    }
}

pub fn show(backend: &Backend, arguments: &Show) -> Result<ExitCode> {
    let user = arguments.user.as_bytes();
    let policy = policy(backend, &arguments.failures)?;
    let now = tokens::now();
    let token_rows = |account: &Account<'_>| -> Result<Vec<Row>> {
        let tokens = backend.tokens_of(account)?;
        Ok(tokens.iter().map(|token| Row::of(account, token, policy.as_ref(), now)).collect())
    };
    if arguments.json {
        let (rows, apps, sessions, computers) = backend.look(user, |account| {
            let sessions = sessions::rows(backend, account)?;
            let computers = computers::rows(backend, account)?;
            Ok((token_rows(account)?, account.ways.apps.to_vec(), sessions, computers))
        })?;
        let (ways, allow) = backend.ways(user)?;
        let mut document = Document::begin(Streamed::stdout()?, "tokens")?;
        rows.iter().try_for_each(|row| document.add(|object| row.write_json(object)))?;
        document.end(|object| {
            object.text("users_file", Some(&backend.name()));
            object.objects("apps", &apps, |app, object| app::write_json(user, app, object));
            object.objects("sessions", &sessions, numbered::Row::write_json);
            object.objects("computers", &computers, numbered::Row::write_json);
            trust::write_json(&ways, &allow, object);
        })?;
        return Ok(ExitCode::SUCCESS);
    }
    let (ways, allow) = backend.ways(user)?;
    print(backend.look(user, |account| {
        let tokens = backend.tokens_of(account)?;
        let paragraphs: String =
            tokens.iter().map(|token| paragraph(account, token, policy.as_ref(), now)).collect();
        let apps = app::paragraphs(account);
        let sessions = sessions::paragraphs(backend, account)?;
        let computers = computers::paragraphs(backend, account)?;
        let pin_alone = trust::paragraph(&ways, &allow);
        let user = tokens::shown_name(user);
        Ok(format!("{user}\n{paragraphs}{apps}{sessions}{computers}{pin_alone}"))
    })?)?;
    Ok(ExitCode::SUCCESS)
}

type Columns = [String; 7];

const HEAD: [&str; 7] = ["USER", "TOKEN", "TYPE", "PIN", "LAST LOGIN", "FAILURES", "STATE"];

impl Row {
    fn columns(&self) -> Columns {
        let (user, number) = (tokens::shown_name(&self.user), self.number.to_string());
        let blank = || "-".to_owned();
        match &self.facts {
            Ok(facts) => [
                user,
                number,
                facts.kind(),
                facts.pin.word().to_owned(),
                facts.last_login.to_string(),
                facts.failures.to_string(),
                facts.state(),
            ],
            Err(error) => [
                user,
                number,
                blank(),
                blank(),
                blank(),
                blank(),
                output::shown(&format!("{} can't be read: {error}", self.place)).into_owned(),
            ],
        }
    }
}

/// Columns as wide as their widest field so far; the last as it is.
pub struct Table<const N: usize> {
    out: Streamed<File>,
    widths: [usize; N],
    /// The first ones: what is shorter than that stands in straight columns from its first line on.
    held_back: Vec<[String; N]>,
}

const HELD_BACK_MAX: usize = 1000;

impl<const N: usize> Table<N> {
    pub fn begin(out: Streamed<File>, head: [&str; N]) -> Table<N> {
        let mut table = Table { out, widths: [0; N], held_back: Vec::new() };
        let head = head.map(str::to_owned);
        table.widen(&head);
        table.held_back.push(head);
        table
    }

    fn widen(&mut self, row: &[String; N]) {
        for (width, field) in self.widths.iter_mut().zip(row) {
            *width = (*width).max(width_of(field));
        }
    }

    pub fn add(&mut self, row: [String; N]) -> Result<()> {
        self.widen(&row);
        if self.held_back.is_empty() {
            return self.write(&row);
        }
        self.held_back.push(row);
        if self.held_back.len() > HELD_BACK_MAX { self.release() } else { Ok(()) }
    }

    fn release(&mut self) -> Result<()> {
        std::mem::take(&mut self.held_back).iter().try_for_each(|row| self.write(row))
    }

    fn write(&mut self, row: &[String; N]) -> Result<()> {
        let widths = &self.widths;
        self.out.write(|out| {
            for (field, width) in row.iter().zip(widths).take(N - 1) {
                out.extend_from_slice(field.as_bytes());
                out.resize(out.len() + width - width_of(field) + 2, b' ');
            }
            out.extend_from_slice(row[N - 1].as_bytes());
            out.push(b'\n');
        })
    }

    pub fn end(mut self) -> Result<()> {
        self.release()?;
        self.out.finish().map(drop)
    }
}

fn width_of(field: &str) -> usize {
    if field.is_ascii() { field.len() } else { field.chars().count() }
}

fn paragraph(
    account: &Account<'_>,
    token: &Numbered<'_>,
    policy: Option<&Policy>,
    now: UnixTime,
) -> String {
    let mut text = format!("\ntoken {} ({})\n", token.number, token.held.place);
    let mut say = |name: &str, value: String| {
        let _ = writeln!(text, "  {name:12}{value}");
    };
    let line = match &token.held.token {
        Ok(line) => line,
        Err(error) => {
            say("unreadable", error.clone());
            return text;
        }
    };
    let StoredToken { token, state } = line;
    let facts = Facts::of(account, line, policy, now);
    say("type", facts.kind());
    let since = facts.start_pin.map(|since| format!(", start PIN of {since}"));
    say("PIN", facts.pin.word().to_owned() + &since.unwrap_or_default());
    say("key", format!("{} bytes", facts.key_bytes));
    say("state", facts.state());
    let from = facts.address.as_ref().filter(|_| facts.last_login != LastLogin::Never);
    let from = from.map(|address| format!(" from {address}")).unwrap_or_default();
    let ended = facts.last_login.time().filter(|_| facts.is_forgotten);
    let ended = if ended.is_some() { "; its code was forgotten" } else { "" };
    say("last login", format!("{}{from}{ended}", facts.last_login));
    let when = facts
        .last_failure
        .map(|failed| format!(", the last at {}", tokens::local_time(failed)))
        .unwrap_or_default();
    say("failures", format!("{}{when}", state.failures));
    match state.reading(token.factor) {
        Reading::Event { next } => match state.codes_left(token.factor) {
            None => say("counter", format!("{next} is expected next")),
            Some(0) => {
                say("paper", "used up; `otpgate paper --again` prints a new list".to_owned())
            }
            Some(left) => {
                say("paper", format!("code {} is expected next, {left} left", next.number() + 1));
            }
        },
        Reading::Time { period, offset, .. } => say("clock", clock(offset.steps(), period.get())),
    }
    text
}

/// How a token's clock stands, by its last accepted code.
pub fn clock(steps: i64, period: u32) -> String {
    let seconds = duration(steps.unsigned_abs().saturating_mul(period.into()));
    let plural = if steps.unsigned_abs() == 1 { "step" } else { "steps" };
    match steps {
        0 => "right".to_owned(),
        _ if steps < 0 => format!("{} {plural} ({seconds}) slow", -steps),
        _ => format!("{steps} {plural} ({seconds}) fast"),
    }
}

/// "90 s", "4 minutes", "3 hours", "2 days": two figures suffice.
pub fn duration(seconds: u64) -> String {
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7200 => format!("{} minutes", seconds / 60),
        7200..172_800 => format!("{} hours", seconds / 3600),
        _ => format!("{} days", seconds / 86_400),
    }
}

impl Row {
    fn write_json(&self, object: &mut Object<'_>) {
        object.text("user", Some(&user_text(&self.user)));
        object.number("token", Some(self.number));
        object.number(self.place.kind, Some(self.place.number));
        match &self.facts {
            Err(error) => object.text("error", Some(error)),
            Ok(facts) => {
                object.text("type", Some(&facts.kind()));
                object.number("digits", Some(facts.digits.count()));
                object.number(
                    "period",
                    match facts.factor {
                        MovingFactor::Event | MovingFactor::Paper(_) => None,
                        MovingFactor::Time(period) => Some(period.get()),
                    },
                );
                object.text("pin", Some(facts.pin.word()));
                let since = facts.start_pin.map(|since| since.to_string());
                object.text("start_pin", since.as_deref());
                object.number("key_bytes", Some(facts.key_bytes));
                object.flag("enabled", Some(facts.is_enabled));
                object.number("counter", Some(facts.counter));
                object.number("codes_left", facts.codes_left);
                object.number("failures", Some(facts.failures));
                object.text("last_failure", facts.last_failure.map(tokens::stamp).as_deref());
                object.flag("locked", facts.is_locked);
                object.text("last_login", facts.last_login.time().map(tokens::stamp).as_deref());
                object.text("last_address", facts.address.as_deref());
                object.flag("forgotten", Some(facts.is_forgotten));
                object.text("error", None);
            }
        }
    }
}

/// A name in JSON, which holds text: what is none is quoted as in logs.
pub fn user_text(user: &[u8]) -> String {
    str::from_utf8(user).map_or_else(|_| Quoted(user).to_string(), str::to_owned)
}
