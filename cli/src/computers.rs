//! `otpgate computers`: browsers on which the PIN alone is enough for a while.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::os::unix::ffi::OsStrExt;
use std::process::ExitCode;

use otpgate::log::Quoted;
use otpgate::store::Account;
use otpgate::token::Computer;

use crate::backend::Backend;
use crate::json::Object;
use crate::numbered::{self, Row as _};
use crate::{Failure, Result, print, tokens};

/// List the trusted computers of a user, or end some
///
/// After a code, a user may have had a browser trusted for some days: until then their PIN is enough in
/// it. Whether it still is, is for each place to say: by OTPAuthTrustedComputer or
/// auth_otp_trusted_computer. One without a token is of a token that is gone, off, or changed; nobody
/// gets in by it.
#[derive(clap::Args)]
#[command(args_conflicts_with_subcommands = false)]
pub struct Arguments {
    /// The user
    user: OsString,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(subcommand)]
    deed: Option<Deed>,
}

#[derive(clap::Subcommand)]
enum Deed {
    Revoke(Revoke),
}

/// End computers of the user, and the sessions that began on them
///
/// The browser needs a code for the next login. Without numbers, all of them end.
#[derive(clap::Args)]
struct Revoke {
    /// Only these, by their numbers in `otpgate computers`
    #[arg(value_name = "N")]
    numbers: Vec<usize>,
}

/// A computer as an admin meets it.
pub struct Row {
    number: usize,
    /// The number of its token, if that still is what it was.
    token: Option<usize>,
    computer: Computer,
}

/// The computers of an account, in the order of the store.
pub fn rows(backend: &Backend, account: &Account<'_>) -> Result<Vec<Row>> {
    let tokens = backend.tokens_of(account)?;
    let computers = account.ways.computers.iter().zip(1..);
    let row = |(computer, number): (&Computer, usize)| Row {
        number,
        token: numbered::token_of(&tokens, computer.token),
        computer: *computer,
    };
    Ok(computers.map(row).collect())
}

impl Row {
    fn end(&self) -> otpgate::UnixTime {
        let Computer { first, days, .. } = self.computer;
        first.saturating_add(self.computer.seconds(days.into()).into())
    }
}

impl numbered::Row for Row {
    const NOUN: &'static str = "computer";
    const PLURAL: &'static str = "computers";
    const NONE: &'static str = "no trusted computer";
    const HEAD: [&'static str; 5] = ["COMPUTER", "TOKEN", "TRUSTED", "LAST LOGIN", "ENDS"];

    fn columns(&self) -> [String; 5] {
        [
            self.number.to_string(),
            self.token.map_or_else(|| "-".to_owned(), |token| token.to_string()),
            tokens::local_time(self.computer.first),
            tokens::local_time(self.computer.last),
            tokens::local_time(self.end()),
        ]
    }

    fn write_json(&self, object: &mut Object<'_>) {
        object.number("computer", Some(self.number));
        object.number("token", self.token);
        object.text("trusted", Some(&tokens::stamp(self.computer.first)));
        object.text("last_login", Some(&tokens::stamp(self.computer.last)));
        object.text("ends", Some(&tokens::stamp(self.end())));
    }
}

pub fn run(backend: &Backend, arguments: &Arguments) -> Result<ExitCode> {
    let user = arguments.user.as_bytes();
    match &arguments.deed {
        Some(Deed::Revoke(_)) if arguments.json => {
            Err(Failure::new("revoke prints no JSON".to_owned()))
        }
        Some(Deed::Revoke(revoke)) => self::revoke(backend, user, &revoke.numbers),
        None => {
            let rows = backend.look(user, |account| rows(backend, account))?;
            numbered::list(backend, user, &rows, arguments.json)
        }
    }
}

fn revoke(backend: &Backend, user: &[u8], numbers: &[usize]) -> Result<ExitCode> {
    backend.look(user, |account| backend.tokens_of(account).map(drop))?;
    let ended = backend.end_computers(user, |computers| {
        let meant = numbered::chosen::<Row, _>(user, computers, numbers)?;
        Ok(meant.map(|computer| computer.id).collect())
    })?;
    let counted = numbered::counted::<Row>(ended);
    print(format_args!("{counted} of {} not trusted any more\n", Quoted(user)))?;
    Ok(ExitCode::SUCCESS)
}

/// What `otpgate show` says of the computers of a user.
pub fn paragraphs(backend: &Backend, account: &Account<'_>) -> Result<String> {
    let mut text = String::new();
    for row in rows(backend, account)? {
        let [number, token, trusted, last_login, ends] = row.columns();
        let _ = write!(
            text,
            "\ntrusted computer {number}\n  token       {token}\n  trusted     {trusted}\n  last login  {last_login}\n  ends        {ends}\n"
        );
    }
    Ok(text)
}
