//! `otpgate explain`: what a code is, for whoever helps a user who can't get in.
//!
//! First where the code is among the token's own (`meaning`) and what was typed for the PIN
//! (`typed_pin`); if it is none of them, which mistake would make it one (`typed`, `causes`), or
//! whose else it is (`others`).

mod causes;
mod meaning;
mod others;
mod typed;
mod typed_pin;

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::ExitCode;

use otpgate::UnixTime;
use otpgate::decide;
use otpgate::gate::Login;
use otpgate::log::Quoted;
use otpgate::policy::Policy;
use otpgate::token::StoredToken;
use serde_json::{Value, json};

use self::causes::{CHANCE_MAX, Finding};
use self::meaning::Explanation;
use self::others::Others;
use self::typed::ReadOut;
use crate::backend::Backend;
use crate::list::user_text;
use crate::settings::Flags;
use crate::tokens::{self, Numbered};
use crate::verify::{ExternalPins, Verified, foreseen};
use crate::{Failure, Result, output, owner, print, prompt};

/// Explain a user's code, and change nothing
///
/// Asks for the code, with or without its PIN, or reads it from standard input if that isn't a
/// terminal. Searches 1000 counters, or a day of time steps, in both directions for each of the
/// user's tokens; then for mistakes of typing and of setting up an app; then among the codes that
/// other users' tokens show now. Where one code can't tell, asks for the next one, or reads a
/// second line; it may be empty. The last line is what a server would answer. Status 0 if the code
/// is the user's, 1 if not.
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

/// One token of the user, in the state that counts where several lines are the same token.
pub struct Line {
    number: usize,
    stored: StoredToken,
}

pub fn run(file: &Path, backend: &Backend, arguments: &Arguments) -> Result<ExitCode> {
    let user = arguments.user.as_bytes();
    let policy = arguments.flags.policy();
    // A name that nobody has is told before a code is asked for.
    backend.look(user, |account| backend.tokens_of(account).map(drop))?;
    let text = prompt::secret(&format!("A code of {}, with or without PIN: ", Quoted(user)))?;
    // Limits that can't be read make the server's answer an error, which says so.
    let policy = policy.restricted_by(&backend.limits()?.unwrap_or_default());
    let now = tokens::now();

    let lines =
        backend.look(user, |account| Ok(furthest(backend.tokens_of(account)?, &policy, now)))?;
    let search = Search { backend, user, lines: &lines, window: arguments.window, policy, now };
    let mut read_out = ReadOut { text, next: None };
    let mut found = search.run(&read_out)?;
    if !found.is_conclusive() {
        let next = prompt::secret(
            "One code alone can't tell. The next one it shows (Enter if there is none): ",
        )?;
        if *next == *read_out.text {
            return Err(Failure::new(
                "that is the same code: wait for the next one and start again",
            ));
        }
        if !next.is_empty() {
            read_out.next = Some(next);
            found = search.run(&read_out)?;
        }
    }
    let login = Login { user, password: &read_out.text, address: arguments.flags.address() };
    let server = owner::acting(file, || foreseen(file, &policy, &login, &arguments.external))?;
    if arguments.json {
        output::print_json(&found.as_json(user, &lines, &server))?;
    } else {
        print(found.text(&lines, &server))?;
    }
    Ok(if found.is_theirs() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

struct Search<'a> {
    backend: &'a Backend,
    user: &'a [u8],
    lines: &'a [Line],
    window: Option<u32>,
    policy: Policy,
    now: UnixTime,
}

/// What was found out about a code.
struct Found {
    /// One for each of the user's tokens.
    explanations: Vec<Explanation>,
    causes: Vec<Finding>,
    others: Others,
    /// The chance that a code of nobody's is found among the user's own.
    chance: f64,
}

impl Search<'_> {
    fn run(&self, read_out: &ReadOut) -> Result<Found> {
        let Search { lines, policy, now, .. } = self;
        let explain = |line| Explanation::of(line, lines, read_out, self.window, policy, *now);
        let explanations: Vec<Explanation> = lines.iter().map(explain).collect();
        let chance = match read_out.next {
            // Two codes in a row are met by chance as seldom as one of twice the length.
            Some(_) => 0.0,
            None => explanations.iter().map(|explanation| explanation.chance).sum(),
        };
        let found = Found { explanations, causes: Vec::new(), others: Others::Nobody, chance };
        if found.near().any(Explanation::is_pin_in_order) {
            return Ok(found);
        }
        let kinds = if found.near().next().is_some() { causes::OF_PIN } else { causes::ALL };
        let causes = causes::search(kinds, lines, read_out, policy, *now);
        let found = Found { causes, ..found };
        if found.is_theirs() || found.causes.iter().any(Finding::is_likely) {
            return Ok(found);
        }
        Ok(Found {
            others: others::whose(self.backend, self.user, read_out, policy, *now)?,
            ..found
        })
    }
}

impl Found {
    fn near(&self) -> impl Iterator<Item = &Explanation> {
        self.explanations.iter().filter(|explanation| explanation.is_near())
    }

    fn is_theirs(&self) -> bool {
        self.explanations.iter().any(Explanation::is_theirs)
    }

    /// Whether the code is found among the user's own, and may be by chance.
    fn is_doubtful(&self) -> bool {
        self.is_theirs() && self.near().next().is_none() && self.chance > CHANCE_MAX
    }

    /// Whether another code would tell no more.
    fn is_conclusive(&self) -> bool {
        (self.is_theirs() && !self.is_doubtful())
            || self.causes.iter().any(Finding::is_likely)
            || matches!(self.others, Others::Of { .. })
            || self.explanations.iter().all(Explanation::is_too_short)
    }

    fn text(&self, lines: &[Line], server: &Verified) -> String {
        let mut text = String::new();
        for (line, explanation) in lines.iter().zip(&self.explanations) {
            let Line { number, stored } = line;
            let kind = tokens::kind(&stored.token);
            text += &format!("token {number} ({kind}): {}\n", explanation.text(stored));
        }
        if self.is_doubtful() {
            text += &format!("that may be chance{}\n", by_chance(self.chance));
        }
        for finding in &self.causes {
            let (how, chance) = match finding.is_likely() {
                true => ("likely", String::new()),
                false => ("possible", by_chance(finding.chance)),
            };
            text += &format!("{how} cause: token {}: {}{chance}\n", finding.token, finding.text());
        }
        match &self.others {
            Others::Of { user, token } => {
                let user = Quoted(user);
                text += &format!("it is a code of another user: token {token} of {user}\n");
            }
            Others::NotSearched => {
                text += "other users' codes weren't compared: with so many, that takes two codes in a row\n";
            }
            Others::Nobody
                if !self.is_theirs() && self.causes.is_empty() && !self.is_conclusive() =>
            {
                text += "no cause found: a mistyped code, or one of another key, such as an older one\n";
            }
            Others::Nobody => {}
        }
        text + &format!("a server would say: {}: {}\n", server.word.as_str(), server.reason)
    }

    fn as_json(&self, user: &[u8], lines: &[Line], server: &Verified) -> Value {
        let tokens = lines.iter().zip(&self.explanations);
        let tokens: Vec<Value> = tokens
            .map(|(line, explanation)| explanation.as_json(line.number, &line.stored))
            .collect();
        let other = match &self.others {
            Others::Of { user, token } => Some(json!({ "user": user_text(user), "token": token })),
            Others::Nobody | Others::NotSearched => None,
        };
        json!({
            "user": user_text(user),
            "tokens": tokens,
            "doubtful": self.is_doubtful(),
            "causes": self.causes.iter().map(Finding::as_json).collect::<Vec<Value>>(),
            "other_user": other,
            "others_compared": !matches!(self.others, Others::NotSearched),
            "server": { "result": server.word.as_str(), "reason": server.reason },
        })
    }
}

fn by_chance(chance: f64) -> String {
    let percent = (chance * 100.0).clamp(1.0, 99.0);
    format!(": {percent:.0}% of all codes would look so; give two codes in a row")
}

/// One line for each token that can be read.
fn furthest(tokens: Vec<Numbered<'_>>, policy: &Policy, now: UnixTime) -> Vec<Line> {
    let mut lines: Vec<Line> = Vec::new();
    for token in tokens {
        let Ok(line) = &token.held.token else {
            eprintln!("otpgate: warning: {}", token.unreadable_warning());
            continue;
        };
        let state = decide::exact_state(policy, line, now);
        let number = token.number;
        let line = Line { number, stored: StoredToken { token: line.token.clone(), state } };
        match lines.iter_mut().find(|line| line.number == number) {
            Some(known) => {
                let factor = line.stored.token.factor;
                if line.stored.state.is_further_than(&known.stored.state, factor, now) {
                    *known = line;
                }
            }
            None => lines.push(line),
        }
    }
    lines
}
