//! `otpgate unlock`: forgets wrong codes.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::ExitCode;

use otpgate::log::Quoted;
use otpgate::store::{Store, StoreError};
use otpgate::throttle;
use otpgate::token::{Address, State};
use otpgate::users::edit;
use otpgate::users::file::UsersFile;
use otpgate::users::lock::Paths;

use crate::tokens::{self, Numbered};
use crate::{Result, owner, print};

/// Let a user in again who is locked out: wrong codes are forgotten
///
/// All tokens of the user, or one. Wrong PINs and wrong Digest responses are forgotten, too, so nobody who waits for
/// their next try has to wait any longer. Nothing else changes: codes that were accepted stay used up.
#[derive(clap::Args)]
pub struct Arguments {
    /// The user
    user: OsString,
    /// This token alone, by its number in `otpgate show` [default: all]
    #[arg(long, value_name = "N")]
    token: Option<usize>,
}

pub fn run(file: &Path, arguments: &Arguments) -> Result<ExitCode> {
    let user = arguments.user.as_bytes();
    let (forgotten, responses) = owner::acting(file, || {
        let content = edit::snapshot(file)?;
        let chosen = tokens::all_or_one(tokens::of_user(file, &content, user)?, user, arguments.token)?;
        tokens::any_readable(&chosen)?;
        let (mut forgotten, mut before) = (Vec::new(), Vec::new());
        let store = UsersFile::new(file);
        store.update(&mut |transaction| {
            for (line, now) in transaction.find(user)?.entry.lines.iter().enumerate() {
                let is_it = |token: &&Numbered<'_>| token.fingerprint() == Some(now.token.fingerprint);
                before.extend(match (&now.state.address, now.state.used.as_of(tokens::now())) {
                    (Address::Ip(address), Some((_, last))) => Some((*address, last)),
                    _ => None,
                });
                let Some(token) = chosen.iter().find(is_it) else { continue };
                forgotten.push((token.number, now.state.failures));
                if now.state.failures != 0 {
                    transaction.save(
                        user,
                        line,
                        State { failures: 0, last_failure: None, ..now.state.clone() },
                    );
                }
            }
            Ok(())
        })?;
        if chosen
            .iter()
            .any(|token| !forgotten.iter().any(|(number, _)| *number == token.number) && token.record.is_ok())
        {
            return Err(tokens::changed_meanwhile(user));
        }
        for token in chosen.iter().filter(|token| token.record.is_err()) {
            eprintln!("otpgate: warning: {}", token.unreadable_warning());
        }
        // Lines of one token share its number, and its failures are the most of theirs.
        forgotten.sort_unstable_by(|a, b| b.cmp(a));
        forgotten.dedup_by_key(|(number, _)| *number);
        forgotten.reverse();
        let mut responses = 0;
        // Where nothing is counted, there is nothing to forget.
        if Paths::resolve(file)?.throttle().exists() {
            let forgiven = store.tries(&mut |bytes| {
                responses = throttle::forgive(bytes, user, &before, tokens::now())?;
                Ok(())
            });
            if let Err(failure) = forgiven {
                let error = StoreError::from(failure);
                eprintln!("otpgate: warning: the time after wrong tries isn't ended: {error}");
            }
        }
        Ok((forgotten, responses))
    })?;
    for (number, failures) in forgotten {
        let what = match failures {
            0 => "had no wrong codes".to_owned(),
            1 => "one wrong code is forgotten".to_owned(),
            failures => format!("{failures} wrong codes are forgotten"),
        };
        print(format_args!("token {number} of {}: {what}\n", Quoted(user)))?;
    }
    if responses > 0 {
        print(format_args!("{}: {responses} wrong Digest responses are forgotten\n", Quoted(user)))?;
    }
    Ok(ExitCode::SUCCESS)
}
