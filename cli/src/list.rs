//! `otpgate list` and `otpgate show`: what the file says about tokens, without secrets.

use std::collections::HashMap;
use std::ffi::OsString;
use std::fmt::Write as _;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::ExitCode;

use jiff::tz::TimeZone;
use otpgate::decide;
use otpgate::log::Quoted;
use otpgate::policy::{Limits, Policy};
use otpgate::token::{Line, MovingFactor, Reading};
use otpgate::users::edit::{self, Content, ContentLine};
use otpgate::users::record::Record;
use serde_json::{Value, json};

use crate::settings::FailureFlags;
use crate::tokens::{self, Numbered};
use crate::{Result, owner, print};

/// List all tokens: user, type, PIN, last login, failures
///
/// Never a PIN, a key or a code. Whether a token is locked depends on the limits of the file and on the server's: give those
/// as --max-failures (and --lockout-time) to be told.
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
/// Never a PIN, a key or a code. Whether a token is locked depends on the limits of the file and on the server's: give those
/// as --max-failures (and --lockout-time) to be told.
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

/// What is to be held against failures: what was given and what the file demands. `None`: nothing.
fn policy(flags: &FailureFlags, content: &Content) -> Option<Policy> {
    let limits = content.limits().unwrap_or_else(|(number, fault)| {
        eprintln!("otpgate: warning: line {number}: {fault}; {}", fault.kind.outcome_of_fault());
        Limits::default()
    });
    (flags.max_failures.is_some() || limits.locks()).then(|| flags.policy().restricted_by(&limits))
}

pub fn list(file: &Path, arguments: &List) -> Result<ExitCode> {
    let content = owner::acting(file, || Ok(edit::snapshot(file)?))?;
    let policy = policy(&arguments.failures, &content);
    let mut users: Vec<(&[u8], Vec<ContentLine<'_>>)> = Vec::new();
    let mut places = HashMap::new();
    for line in content.lines() {
        let Some(user) = line.user() else { continue };
        let place = *places.entry(user).or_insert(users.len());
        if place == users.len() {
            users.push((user, Vec::new()));
        }
        users[place].1.push(line);
    }
    let zone = TimeZone::system();
    let all = users.into_iter().map(|(user, lines)| (user, tokens::number(lines.into_iter(), &zone)));
    if arguments.json {
        let rows = all.flat_map(|(user, tokens)| {
            tokens.iter().map(|token| as_json(user, token, policy.as_ref())).collect::<Vec<_>>()
        });
        return print_json(file, rows.collect());
    }
    let head = ["USER", "TOKEN", "TYPE", "PIN", "LAST LOGIN", "FAILURES", "STATE"].map(str::to_owned);
    let rows = all.flat_map(|(user, tokens)| {
        tokens.iter().map(|token| row(user, token, policy.as_ref())).collect::<Vec<_>>()
    });
    print(table([head].into_iter().chain(rows).collect()))?;
    Ok(ExitCode::SUCCESS)
}

pub fn show(file: &Path, arguments: &Show) -> Result<ExitCode> {
    let user = arguments.user.as_bytes();
    let content = owner::acting(file, || Ok(edit::snapshot(file)?))?;
    let policy = policy(&arguments.failures, &content);
    let tokens = tokens::of_user(file, &content, user)?;
    if arguments.json {
        return print_json(file, tokens.iter().map(|token| as_json(user, token, policy.as_ref())).collect());
    }
    let mut text = format!("{}\n", tokens::shown_name(user));
    for token in &tokens {
        text += &paragraph(token, policy.as_ref());
    }
    print(text)?;
    Ok(ExitCode::SUCCESS)
}

fn print_json(file: &Path, tokens: Vec<Value>) -> Result<ExitCode> {
    print(format_args!("{:#}\n", json!({ "users_file": file.to_string_lossy(), "tokens": tokens })))?;
    Ok(ExitCode::SUCCESS)
}

fn is_locked(record: &Record, policy: Option<&Policy>) -> Option<bool> {
    let line = Line { token: record.token.clone(), state: record.state.clone() };
    policy.map(|policy| decide::is_locked(policy, &line, tokens::now()))
}

/// "on", "off", "locked", "off, locked".
fn state_words(record: &Record, policy: Option<&Policy>) -> String {
    let locked = is_locked(record, policy) == Some(true);
    match (record.token.disabled, locked) {
        (false, false) => "on",
        (false, true) => "locked",
        (true, false) => "off",
        (true, true) => "off, locked",
    }
    .to_owned()
}

fn row(user: &[u8], token: &Numbered<'_>, policy: Option<&Policy>) -> [String; 7] {
    let (user, number) = (tokens::shown_name(user), token.number.to_string());
    let blank = || "-".to_owned();
    match &token.record {
        Ok(record) => [
            user,
            number,
            tokens::kind(&record.token),
            tokens::pin_word(&record.token.pin).to_owned(),
            tokens::last_login(record),
            record.state.failures.to_string(),
            state_words(record, policy),
        ],
        Err(error) => [
            user,
            number,
            blank(),
            blank(),
            blank(),
            blank(),
            format!("line {} can't be read: {error}", token.line.number),
        ],
    }
}

/// Columns as wide as their widest field; the last as it is.
fn table(rows: Vec<[String; 7]>) -> String {
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
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

fn paragraph(token: &Numbered<'_>, policy: Option<&Policy>) -> String {
    let mut text = format!("\ntoken {} (line {})\n", token.number, token.line.number);
    let mut say = |name: &str, value: String| {
        let _ = writeln!(text, "  {name:12}{value}");
    };
    let record = match &token.record {
        Ok(record) => record,
        Err(error) => {
            say("unreadable", error.to_string());
            return text;
        }
    };
    let state = &record.state;
    say("type", tokens::kind(&record.token));
    say("PIN", tokens::pin_word(&record.token.pin).to_owned());
    say("key", format!("{} bytes", record.token.key.expose().len()));
    say("state", state_words(record, policy));
    let from = tokens::address(record).map(|address| format!(" from {address}")).unwrap_or_default();
    say("last login", tokens::last_login(record) + &from);
    let when = state.last_failure.filter(|_| state.failures > 0);
    let when = when.map(|failed| format!(", the last at {}", tokens::local_time(failed))).unwrap_or_default();
    say("failures", format!("{}{when}", state.failures));
    match state.reading(record.token.factor) {
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

fn as_json(user: &[u8], token: &Numbered<'_>, policy: Option<&Policy>) -> Value {
    let mut object = json!({
        "user": user_text(user),
        "token": token.number,
        "line": token.line.number,
    });
    let more = match &token.record {
        Err(error) => json!({ "error": error.to_string() }),
        Ok(record) => {
            let state = &record.state;
            let last = state.used.as_of(tokens::now()).map(|(_, last)| tokens::stamp(last));
            json!({
                "type": tokens::kind(&record.token),
                "digits": record.token.digits.count(),
                "period": match record.token.factor {
                    MovingFactor::Event => None,
                    MovingFactor::Time(period) => Some(period.get()),
                },
                "pin": tokens::pin_word(&record.token.pin),
                "key_bytes": record.token.key.expose().len(),
                "enabled": !record.token.disabled,
                "counter": state.counter.as_written(),
                "failures": state.failures,
                "last_failure": state.last_failure.filter(|_| state.failures > 0).map(tokens::stamp),
                "locked": is_locked(record, policy),
                "last_login": last,
                "last_address": tokens::address(record),
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
