//! `otpgate explain`: what a code is, for whoever helps a user who can't get in.

use std::ffi::OsString;
use std::ops::ControlFlow;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::ExitCode;

use otpgate::UnixTime;
use otpgate::decide;
use otpgate::gate::Login;
use otpgate::log::Quoted;
use otpgate::policy::Policy;
use otpgate::resync;
use otpgate::token::{
    Algorithm, MovingFactor, Pin, Reading, ReplayFloor, State, StoredToken, TimeStep, Token,
};
use serde_json::{Value, json};

use crate::backend::Backend;
use crate::list::{duration, user_text};
use crate::settings::Flags;
use crate::tokens::{self, Numbered};
use crate::verify::{ExternalPins, foreseen};
use crate::{Result, owner, pin, print};

/// Explain a user's code, and change nothing
///
/// Asks for the code, with or without its PIN, or reads it from standard input if that isn't a
/// terminal. Searches 1000 counters, or a day of time steps, in both directions for each of the
/// user's tokens; in a file of up to 1000 tokens, also those of other users. The last line is what
/// a server would answer. Status 0 if the code is the user's, 1 if not.
#[derive(clap::Args)]
pub struct Arguments {
    /// The user
    user: OsString,
    /// Search this many counters or time steps back and ahead [default: 1000; a day of time steps]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    window: Option<u32>,
    #[command(flatten)]
    external: ExternalPins,
    #[command(flatten)]
    flags: Flags,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// With more, codes of six digits meet somebody's by chance.
const OTHERS_MAX: usize = 1000;

pub fn run(file: &Path, backend: &Backend, arguments: &Arguments) -> Result<ExitCode> {
    let user = arguments.user.as_bytes();
    let policy = arguments.flags.policy();
    // A name that nobody has is told before a code is asked for.
    backend.look(user, |account| backend.tokens_of(account).map(drop))?;
    let text = pin::ask_secret(&format!("A code of {}, with or without PIN: ", Quoted(user)))?;
    // Limits that can't be read make the server's answer an error, which says so.
    let policy = policy.restricted_by(&backend.limits()?.unwrap_or_default());
    let now = tokens::now();

    let lines =
        backend.look(user, |account| Ok(furthest(backend.tokens_of(account)?, &policy, now)))?;
    let explanations: Vec<(usize, &StoredToken, Explanation)> = lines
        .iter()
        .map(|(number, line, state)| {
            (
                *number,
                line,
                Explanation::of(&line.token, state, &text, arguments.window, &policy, now),
            )
        })
        .collect();
    let is_theirs = explanations.iter().any(|(_, _, explanation)| explanation.is_theirs());
    let other = if is_theirs { None } else { whose(backend, user, &text, &policy, now)? };
    let login = Login { user, password: &text, address: arguments.flags.address() };
    let server = owner::acting(file, || foreseen(file, &policy, &login, &arguments.external))?;

    if arguments.json {
        let tokens: Vec<Value> = explanations
            .iter()
            .map(|(number, line, explanation)| explanation.as_json(*number, line))
            .collect();
        let object = json!({
            "user": user_text(user),
            "tokens": tokens,
            "other_user": other.as_ref().map(|(user, number)| json!({ "user": user_text(user), "token": number })),
            "server": { "result": server.word.as_str(), "reason": server.reason },
        });
        print(format_args!("{object:#}\n"))?;
    } else {
        for (number, line, explanation) in &explanations {
            print(format_args!(
                "token {number} ({}): {}\n",
                tokens::kind(&line.token),
                explanation.text(line)
            ))?;
        }
        if let Some((other, number)) = &other {
            print(format_args!(
                "it is a code of another user: token {number} of {}\n",
                Quoted(other)
            ))?;
        }
        print(format_args!("a server would say: {}: {}\n", server.word.as_str(), server.reason))?;
    }
    Ok(if is_theirs { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// One line for each token that can be read, and its state: that which counts where several are the
/// same token.
fn furthest(
    tokens: Vec<Numbered<'_>>,
    policy: &Policy,
    now: UnixTime,
) -> Vec<(usize, StoredToken, State)> {
    let mut lines: Vec<(usize, StoredToken, State)> = Vec::new();
    for token in tokens {
        let Ok(line) = &token.held.token else {
            eprintln!("otpgate: warning: {}", token.unreadable_warning());
            continue;
        };
        let state = decide::exact_state(policy, line, now);
        match lines.iter_mut().find(|(number, _, _)| *number == token.number) {
            Some(known) if state.is_further_than(&known.2, line.token.factor, now) => {
                *known = (token.number, line.clone(), state);
            }
            Some(_) => {}
            None => lines.push((token.number, line.clone(), state)),
        }
    }
    lines
}

/// What a code is to one token.
struct Explanation {
    code: Meaning,
    /// Counters or steps from the one expected next, or from the one of now; below 0: before it.
    steps: Option<i64>,
    pin_is_missing: bool,
    is_beyond_window: bool,
}

#[derive(Clone, Copy, PartialEq)]
enum Meaning {
    TooShort,
    /// Of no counter or step looked at.
    None,
    /// The code accepted last.
    Used(Option<UnixTime>),
    /// Not after the last accepted one, for time tokens the one of that second.
    Passed(Option<UnixTime>),
    /// Expected next, or of now.
    Current,
    Ahead,
    Behind,
}

impl Explanation {
    fn of(
        token: &Token,
        state: &State,
        text: &[u8],
        width: Option<u32>,
        policy: &Policy,
        now: UnixTime,
    ) -> Explanation {
        let nothing = Explanation {
            code: Meaning::TooShort,
            steps: None,
            pin_is_missing: false,
            is_beyond_window: false,
        };
        let Some((pin, code)) = token.split(text) else { return nothing };
        let is_pin_needed = token.algorithm != Algorithm::Motp && token.pin != Pin::None;
        let base = Explanation {
            code: Meaning::None,
            pin_is_missing: pin.is_empty() && is_pin_needed,
            ..nothing
        };
        // The counter or step that is on, the last one not accepted any more, and the clock's known
        // offset.
        let (middle, floor, offset) = match state.reading(token.factor) {
            Reading::Event { next } => (next.number(), Some(next.number() - 1), 0),
            Reading::Time { period, offset, floor } => {
                let now = TimeStep::at(now, period);
                (now.number(), floor.map(TimeStep::number), offset.steps())
            }
        };
        let line = StoredToken { token: token.clone(), state: state.clone() };
        let distance = |position: &u64| (*position as i64).abs_diff(middle);
        let position =
            resync::positions(token, resync::window(&line, width, now), &code).min_by_key(distance);
        let steps = position.map(|position| position as i64 - middle);
        let is_last =
            state.last_otp.as_ref().is_some_and(|last| bool::from(last.is_in_any_case(&code)));
        if is_last {
            let used = state.used.as_of(now).map(|(first, _)| first);
            return Explanation { code: Meaning::Used(used), steps, ..base };
        }
        let (Some(position), Some(steps)) = (position, steps) else { return base };
        let code = match steps {
            _ if floor.is_some_and(|floor| position as i64 <= floor) => {
                let second = state.replay_floor.map(ReplayFloor::as_written);
                Meaning::Passed(second.filter(|_| token.factor != MovingFactor::Event))
            }
            0 => Meaning::Current,
            ..0 => Meaning::Behind,
            _ => Meaning::Ahead,
        };
        let from_window = steps.unsigned_abs().min(steps.abs_diff(offset));
        let is_beyond_window = from_window > u64::from(policy.max_offset);
        Explanation { code, steps: Some(steps), is_beyond_window, ..base }
    }

    fn is_theirs(&self) -> bool {
        !matches!(self.code, Meaning::None | Meaning::TooShort)
    }

    fn text(&self, line: &StoredToken) -> String {
        let pin =
            if self.pin_is_missing && self.is_theirs() { "right code, PIN missing; " } else { "" };
        let steps = self.steps.map_or(0, i64::unsigned_abs);
        let what = match (self.code, line.token.factor) {
            (Meaning::TooShort, _) => {
                format!("too short, its codes have {} digits", line.token.digits.count())
            }
            (Meaning::None, _) => "not a code of this token".to_owned(),
            (Meaning::Used(used), _) => {
                let from = tokens::address(&line.state)
                    .map(|address| format!(" from {address}"))
                    .unwrap_or_default();
                match used {
                    Some(used) => format!("already used at {}{from}", tokens::local_time(used)),
                    None => "used before, and disabled since".to_owned(),
                }
            }
            (Meaning::Passed(_), MovingFactor::Event) => {
                format!(
                    "used or skipped before: {} before the one expected next",
                    counted(steps, "press", "presses")
                )
            }
            (Meaning::Passed(at), MovingFactor::Time(period)) => format!(
                "{}, and not accepted any more: the last accepted one was that of {}",
                of_step(self.steps.unwrap_or(0), period.get()),
                at.map_or_else(|| "an unknown time".to_owned(), tokens::local_time)
            ),
            (Meaning::Current, MovingFactor::Event) => "the code expected next".to_owned(),
            (_, MovingFactor::Event) => {
                format!(
                    "the code {} ahead of the one expected next",
                    counted(steps, "press", "presses")
                )
            }
            (_, MovingFactor::Time(period)) => of_step(self.steps.unwrap_or(0), period.get()),
        };
        let beyond = self.is_beyond_window && matches!(self.code, Meaning::Ahead | Meaning::Behind);
        let remedy = if beyond {
            "; more than a server searches: correct the clock, or `otpgate resync`"
        } else {
            ""
        };
        format!("{pin}{what}{remedy}")
    }

    fn as_json(&self, number: usize, line: &StoredToken) -> Value {
        let period = match line.token.factor {
            MovingFactor::Event => None,
            MovingFactor::Time(period) => Some(i64::from(period.get())),
        };
        let (word, used) = match self.code {
            Meaning::TooShort => ("too-short", None),
            Meaning::None => ("none", None),
            Meaning::Used(used) => ("used", used),
            Meaning::Passed(_) => ("passed", None),
            Meaning::Current => ("current", None),
            Meaning::Ahead => ("ahead", None),
            Meaning::Behind => ("behind", None),
        };
        json!({
            "token": number,
            "type": tokens::kind(&line.token),
            "code": word,
            "steps": self.steps,
            "seconds": self.steps.zip(period).map(|(steps, period)| steps.saturating_mul(period)),
            "pin_missing": self.pin_is_missing,
            "used_at": used.map(tokens::stamp),
            "used_from": used.and_then(|_| tokens::address(&line.state)),
            "explanation": self.text(line),
        })
    }
}

/// "the code of 4 steps ago: the phone's clock is 2 minutes slow".
fn of_step(steps: i64, period: u32) -> String {
    let time = duration(steps.unsigned_abs().saturating_mul(period.into()));
    match steps {
        0 => "the current code".to_owned(),
        // Who types slowly is that late.
        -1 => "the code of 1 step ago".to_owned(),
        ..0 => format!("the code of {} steps ago: the phone's clock is {time} slow", -steps),
        _ => format!(
            "the code of {} ahead: the phone's clock is {time} fast",
            counted(steps as u64, "step", "steps")
        ),
    }
}

fn counted(number: u64, one: &str, many: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { many })
}

/// Whose code it is among the other users, if a server would take it from them.
fn whose(
    backend: &Backend,
    user: &[u8],
    text: &[u8],
    policy: &Policy,
    now: UnixTime,
) -> Result<Option<(Vec<u8>, usize)>> {
    let mut others = Vec::new();
    let mut seen = 0;
    backend.look_at_all(|account| {
        seen += account.held.len();
        if seen > OTHERS_MAX {
            return ControlFlow::Break(());
        }
        for token in tokens::number(account.held).into_iter().filter(|_| account.user != user) {
            if let Ok(line) = &token.held.token {
                others.push((token.held.place, account.user.to_vec(), token.number, line.clone()));
            }
        }
        ControlFlow::Continue(())
    })?;
    if seen > OTHERS_MAX {
        return Ok(None);
    }
    others.sort_by_key(|(place, ..)| *place);
    let width = Some(policy.max_offset.max(1));
    let found = others.into_iter().find(|(_, _, _, StoredToken { token, state })| {
        Explanation::of(token, state, text, width, policy, now).is_theirs()
    });
    Ok(found.map(|(_, user, number, _)| (user, number)))
}

#[cfg(test)]
mod tests {
    use jiff::tz::TimeZone;
    use otpgate::policy::{Server, Settings};
    use otpgate::users::record;

    use super::*;

    const KEY: &str = "3132333435363738393031323334353637383930";
    const NOW: UnixTime = 1_700_000_010;
    const STEP: i64 = 1_700_000_010 / 30;

    fn explained(line: &str, position: i64, pin: &str) -> String {
        let record = record::parse(line.replace("KEY", KEY).as_bytes(), &TimeZone::UTC).unwrap();
        let line = StoredToken { token: record.token, state: record.state };
        let mut text = pin.as_bytes().to_vec();
        text.extend(line.token.code(position as u64).as_bytes());
        let policy = Settings::default().policy(Server::Apache);
        let state = decide::exact_state(&policy, &line, NOW);
        Explanation::of(&line.token, &state, &text, None, &policy, NOW).text(&line)
    }

    #[test]
    fn a_code_is_explained_by_where_it_stands() {
        let far = "; more than a server searches: correct the clock, or `otpgate resync`";
        for (line, position, pin, expected) in [
            ("HOTP/T30 a - KEY", STEP, "", "the current code".to_owned()),
            ("HOTP/T30 a - KEY", STEP - 1, "", "the code of 1 step ago".to_owned()),
            (
                "HOTP/T30 a - KEY",
                STEP - 4,
                "",
                "the code of 4 steps ago: the phone's clock is 2 minutes slow".to_owned(),
            ),
            (
                "HOTP/T30 a - KEY",
                STEP + 1,
                "",
                "the code of 1 step ahead: the phone's clock is 30 s fast".to_owned(),
            ),
            (
                "HOTP/T30 a - KEY",
                STEP + 20,
                "",
                format!("the code of 20 steps ahead: the phone's clock is 10 minutes fast{far}"),
            ),
            // What the clock is known to be off by is searched, too.
            (
                "HOTP/T30 a - KEY 20",
                STEP + 20,
                "",
                "the code of 20 steps ahead: the phone's clock is 10 minutes fast".to_owned(),
            ),
            ("HOTP/T30 a 12 KEY", STEP, "", "right code, PIN missing; the current code".to_owned()),
            ("HOTP/T30 a 12 KEY", STEP, "99", "the current code".to_owned()),
            ("HOTP/T30 a - KEY", STEP + 5000, "", "not a code of this token".to_owned()),
            ("HOTP/E a - KEY 7", 7, "", "the code expected next".to_owned()),
            (
                "HOTP/E a - KEY 7",
                8,
                "",
                "the code 1 press ahead of the one expected next".to_owned(),
            ),
            (
                "HOTP/E a - KEY 7",
                100,
                "",
                format!("the code 93 presses ahead of the one expected next{far}"),
            ),
            (
                "HOTP/E a - KEY 7",
                5,
                "",
                "used or skipped before: 2 presses before the one expected next".to_owned(),
            ),
        ] {
            assert_eq!(explained(line, position, pin), expected, "{line} {position}");
        }
    }

    #[test]
    fn a_used_code_is_told_with_time_and_address() {
        let used = |time: &str| format!("HOTP/E a - KEY 1 0 755224 {time} 192.0.2.7");
        let at = tokens::local_time(1_600_000_000);
        let written = at.replace(' ', "T") + "L";
        // The line's time is read as UTC here.
        let line =
            record::parse(used(&written).replace("KEY", KEY).as_bytes(), &TimeZone::UTC).unwrap();
        let (_, last) = line.state.used.as_of(NOW).unwrap();
        let expected = format!("already used at {} from 192.0.2.7", tokens::local_time(last));
        assert_eq!(explained(&used(&written), 0, ""), expected);
        let forgotten = used("1970-01-01T00:00:00L");
        assert_eq!(explained(&forgotten, 0, ""), "used before, and disabled since");
    }
}
