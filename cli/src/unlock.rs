//! `otpgate unlock`: forgets wrong codes.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::net::IpAddr;
use std::os::unix::ffi::OsStrExt;
use std::process::ExitCode;

use otpgate::UnixTime;
use otpgate::log::Quoted;
use otpgate::store::{Account, Amendment};
use otpgate::token::{Address, State};

use crate::backend::Backend;
use crate::tokens;
use crate::{Result, print};

/// Unlock a user who is locked out: wrong codes are forgotten
///
/// All tokens of the user, or one. Wrong PINs and wrong Digest responses are forgotten too, so
/// nobody has to wait any longer for the next try. Nothing else changes: accepted codes stay used
/// up.
#[derive(clap::Args)]
pub struct Arguments {
    /// The user
    user: OsString,
    /// Only this token, by its number in `otpgate show` [default: all]
    #[arg(long, value_name = "N")]
    token: Option<usize>,
}

pub fn run(backend: &Backend, arguments: &Arguments) -> Result<ExitCode> {
    let user = arguments.user.as_bytes();
    backend.look(user, |account| unlocked(backend, account, arguments).map(drop))?;
    backend.check_answers_logins(user)?;
    let Unlocked { forgotten, logins, warnings } =
        backend.amend(user, |account| unlocked(backend, account, arguments))?;
    for warning in warnings {
        eprintln!("otpgate: warning: {warning}");
    }
    let responses = backend.forget_tries(user, &logins)?.unwrap_or_else(|error| {
        eprintln!("otpgate: warning: cannot end the wait after wrong tries: {error}");
        0
    });
    for (number, failures) in forgotten {
        let what = match failures {
            0 => "had no wrong codes".to_owned(),
            1 => "one wrong code forgotten".to_owned(),
            failures => format!("{failures} wrong codes forgotten"),
        };
        print(format_args!("token {number} of {}: {what}\n", Quoted(user)))?;
    }
    if responses > 0 {
        print(format_args!("{}: {responses} wrong Digest responses forgotten\n", Quoted(user)))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// What is told of an account that was unlocked.
#[derive(Default)]
struct Unlocked {
    /// By the number of the token: its wrong codes, the most where it stands several times.
    forgotten: BTreeMap<usize, u32>,
    /// From where and when the user logged in last, by each token.
    logins: Vec<(IpAddr, UnixTime)>,
    warnings: Vec<String>,
}

fn unlocked(
    backend: &Backend,
    account: &Account<'_>,
    arguments: &Arguments,
) -> Result<(Vec<Amendment>, Unlocked)> {
    let all = backend.tokens_of(account)?;
    let login = |state: &State| match (&state.address, state.used.as_of(tokens::now())) {
        (Address::Ip(address), Some((_, last))) => Some((*address, last)),
        _ => None,
    };
    let states = account.held.iter().filter_map(|held| held.token.as_ref().ok());
    let mut told = Unlocked {
        logins: states.filter_map(|line| login(&line.state)).collect(),
        ..Unlocked::default()
    };
    let chosen = tokens::all_or_one(all, account.user, arguments.token)?;
    tokens::any_readable(&chosen)?;
    let mut amendments = Vec::new();
    for token in &chosen {
        let Ok(line) = &token.held.token else {
            told.warnings.push(token.unreadable_warning());
            continue;
        };
        let most = told.forgotten.entry(token.number).or_default();
        *most = line.state.failures.max(*most);
        if line.state.failures != 0 {
            let state = State { failures: 0, last_failure: None, ..line.state.clone() };
            amendments.push(Amendment::SetState(token.index, state));
        }
    }
    Ok((amendments, told))
}
