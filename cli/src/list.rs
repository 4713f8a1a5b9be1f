//! `otpgate list` and `otpgate show`: what the file says about tokens, without secrets.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::ops::ControlFlow;
use std::os::unix::ffi::OsStrExt;
use std::process::ExitCode;

use otpgate::decide;
use otpgate::log::Quoted;
use otpgate::policy::{Limits, Policy};
use otpgate::store::Account;
use otpgate::token::{MovingFactor, Reading, StoredToken};
use serde_json::{Value, json};

use crate::backend::Backend;
use crate::settings::FailureFlags;
use crate::tokens::{self, Numbered};
use crate::{Result, print};

/// List all tokens: user, type, PIN, last login, failures
///
/// Never shows a PIN, a key or a code. Whether a token is locked depends on the file's limits and
/// on the server's: pass the latter as --max-failures (and --lockout-time).
#[derive(clap::Args)]
pub struct List {
    #[command(flatten)]
    failures: FailureFlags,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Show a user's tokens by number
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

pub fn list(backend: &Backend, arguments: &List) -> Result<ExitCode> {
    let policy = policy(backend, &arguments.failures)?;
    if arguments.json {
        return print_json(
            backend,
            all(backend, |account, token| as_json(account, token, policy.as_ref()))?,
        );
    }
    let head =
        ["USER", "TOKEN", "TYPE", "PIN", "LAST LOGIN", "FAILURES", "STATE"].map(str::to_owned);
    let mut rows = vec![head];
    rows.append(&mut all(backend, |account, token| row(account, token, policy.as_ref()))?);
    print(table(rows))?;
    Ok(ExitCode::SUCCESS)
}

/// Something of each token that somebody has.
fn all<R>(backend: &Backend, of: impl Fn(&Account<'_>, &Numbered<'_>) -> R) -> Result<Vec<R>> {
    let mut rows = Vec::new();
    backend.look_at_all(|account| {
        rows.extend(tokens::number(account.held).iter().map(|token| of(account, token)));
        ControlFlow::Continue(())
    })?;
    Ok(rows)
}

pub fn show(backend: &Backend, arguments: &Show) -> Result<ExitCode> {
    let user = arguments.user.as_bytes();
    let policy = policy(backend, &arguments.failures)?;
    if arguments.json {
        let tokens = backend.look(user, |account| {
            let tokens = backend.tokens_of(account)?;
            Ok(tokens.iter().map(|token| as_json(account, token, policy.as_ref())).collect())
        })?;
        return print_json(backend, tokens);
    }
    print(backend.look(user, |account| {
        let tokens = backend.tokens_of(account)?;
        let paragraphs: String =
            tokens.iter().map(|token| paragraph(account, token, policy.as_ref())).collect();
        Ok(format!("{}\n{paragraphs}", tokens::shown_name(user)))
    })?)?;
    Ok(ExitCode::SUCCESS)
}

fn print_json(backend: &Backend, tokens: Vec<Value>) -> Result<ExitCode> {
    print(format_args!("{:#}\n", json!({ "users_file": backend.name(), "tokens": tokens })))?;
    Ok(ExitCode::SUCCESS)
}

fn is_locked(line: &StoredToken, policy: Option<&Policy>) -> Option<bool> {
    policy.map(|policy| decide::is_locked(policy, line, tokens::now()))
}

/// "on", "off", "locked", "off, locked"; with ", start PIN" behind it.
fn state_words(account: &Account<'_>, line: &StoredToken, policy: Option<&Policy>) -> String {
    let locked = is_locked(line, policy) == Some(true);
    let state = match (line.token.disabled, locked) {
        (false, false) => "on",
        (false, true) => "locked",
        (true, false) => "off",
        (true, true) => "off, locked",
    };
    format!("{state}{}", if account.start_pin.is_some() { ", start PIN" } else { "" })
}

fn row(account: &Account<'_>, token: &Numbered<'_>, policy: Option<&Policy>) -> [String; 7] {
    let (user, number) = (tokens::shown_name(account.user), token.number.to_string());
    let blank = || "-".to_owned();
    match &token.held.token {
        Ok(line) => [
            user,
            number,
            tokens::kind(&line.token),
            tokens::pin_word(&line.token.pin).to_owned(),
            tokens::last_login(&line.state),
            line.state.failures.to_string(),
            state_words(account, line, policy),
        ],
        Err(error) => [
            user,
            number,
            blank(),
            blank(),
            blank(),
            blank(),
            format!("{} can't be read: {error}", token.held.place),
        ],
    }
}

/// Columns as wide as their widest field; the last as it is.
fn table(rows: Vec<[String; 7]>) -> String {
    let width =
        |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..6).map(width).collect();
    let mut text = String::new();
    for row in &rows {
        for (field, width) in row.iter().zip(&widths) {
            let _ = write!(text, "{field:width$}  ");
        }
        let _ = writeln!(text, "{}", row[6]);
    }
    text
}

fn paragraph(account: &Account<'_>, token: &Numbered<'_>, policy: Option<&Policy>) -> String {
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
    say("type", tokens::kind(token));
    let since = account.start_pin.map(|since| format!(", start PIN of {since}"));
    say("PIN", tokens::pin_word(&token.pin).to_owned() + &since.unwrap_or_default());
    say("key", format!("{} bytes", token.key.expose().len()));
    say("state", state_words(account, line, policy));
    let from = tokens::address(state).map(|address| format!(" from {address}")).unwrap_or_default();
    say("last login", tokens::last_login(state) + &from);
    let when = state.last_failure.filter(|_| state.failures > 0);
    let when = when
        .map(|failed| format!(", the last at {}", tokens::local_time(failed)))
        .unwrap_or_default();
    say("failures", format!("{}{when}", state.failures));
    match state.reading(token.factor) {
        Reading::Event { next } => say("counter", format!("{next} is expected next")),
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

fn as_json(account: &Account<'_>, token: &Numbered<'_>, policy: Option<&Policy>) -> Value {
    let place = token.held.place;
    let mut object = json!({
        "user": user_text(account.user),
        "token": token.number,
        place.kind: place.number,
    });
    let more = match &token.held.token {
        Err(error) => json!({ "error": error }),
        Ok(line) => {
            let StoredToken { token, state } = line;
            let last = state.used.as_of(tokens::now()).map(|(_, last)| tokens::stamp(last));
            json!({
                "type": tokens::kind(token),
                "digits": token.digits.count(),
                "period": match token.factor {
                    MovingFactor::Event => None,
                    MovingFactor::Time(period) => Some(period.get()),
                },
                "pin": tokens::pin_word(&token.pin),
                "start_pin": account.start_pin.map(|since| since.to_string()),
                "key_bytes": token.key.expose().len(),
                "enabled": !token.disabled,
                "counter": state.counter.as_written(),
                "failures": state.failures,
                "last_failure": state.last_failure.filter(|_| state.failures > 0).map(tokens::stamp),
                "locked": is_locked(line, policy),
                "last_login": last,
                "last_address": tokens::address(state),
                "error": null,
            })
        }
    };
    if let (Value::Object(object), Value::Object(more)) = (&mut object, more) {
        object.extend(more);
    }
    object
}

/// A name in JSON, which holds text: what is none is quoted as in logs.
pub fn user_text(user: &[u8]) -> String {
    str::from_utf8(user).map_or_else(|_| Quoted(user).to_string(), str::to_owned)
}
