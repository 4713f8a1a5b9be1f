//! `otpgate sessions` and `logout`: logins that browsers keep by a cookie.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::os::unix::ffi::OsStrExt;
use std::process::ExitCode;

use otpgate::log::Quoted;
use otpgate::store::Account;
use otpgate::token::{Session, SessionKind};
use otpgate::users::secret::Ended;

use crate::backend::Backend;
use crate::json::Object;
use crate::numbered::{self, Row as _};
use crate::{Result, computers, print, tokens};

/// List the sessions of a user: logins that browsers keep by a cookie
///
/// How each began, when, and its last use. Whether it still lets the user in is for each place to say:
/// by its linger and idle times, and its largest age. One without a token is of a token that is gone,
/// off, or changed; it lets nobody in.
#[derive(clap::Args)]
pub struct Sessions {
    /// The user
    user: OsString,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// End sessions: of a user, or of everybody
///
/// The browser has to log in again with its next request; on a trusted computer the PIN is enough
/// for that (`otpgate computers`). Without numbers, all sessions of the user end. --all also ends
/// trusted computers and makes a new secret for cookies, so that none made so far is good for anything,
/// whoever has it; running servers notice at once.
#[derive(clap::Args)]
pub struct Logout {
    /// The user
    #[arg(required_unless_present = "all", conflicts_with = "all")]
    user: Option<OsString>,
    /// Only these, by their numbers in `otpgate sessions`
    #[arg(value_name = "N")]
    numbers: Vec<usize>,
    /// Everybody's
    #[arg(long)]
    all: bool,
}

/// A session as an admin meets it.
pub struct Row {
    number: usize,
    /// The number of its token, if that still is what it was.
    token: Option<usize>,
    session: Session,
}

/// The sessions of an account, in the order of the store.
pub fn rows(backend: &Backend, account: &Account<'_>) -> Result<Vec<Row>> {
    let tokens = backend.tokens_of(account)?;
    let sessions = account.ways.sessions.iter().zip(1..);
    let row = |(session, number): (&Session, usize)| Row {
        number,
        token: numbered::token_of(&tokens, session.token),
        session: *session,
    };
    Ok(sessions.map(row).collect())
}

impl Row {
    fn began_by(&self) -> &'static str {
        match self.session.kind {
            SessionKind::Code => "code",
            SessionKind::PinAlone => "PIN",
            SessionKind::Computer => "trusted computer",
        }
    }
}

impl numbered::Row for Row {
    const NOUN: &'static str = "session";
    const PLURAL: &'static str = "sessions";
    const NONE: &'static str = "no session";
    const HEAD: [&'static str; 5] = ["SESSION", "TOKEN", "BEGAN BY", "BEGUN", "LAST USE"];

    fn columns(&self) -> [String; 5] {
        [
            self.number.to_string(),
            self.token.map_or_else(|| "-".to_owned(), |token| token.to_string()),
            self.began_by().to_owned(),
            tokens::local_time(self.session.first),
            tokens::local_time(self.session.last),
        ]
    }

    fn write_json(&self, object: &mut Object<'_>) {
        object.number("session", Some(self.number));
        object.number("token", self.token);
        object.text("began_by", Some(self.began_by()));
        object.text("begun", Some(&tokens::stamp(self.session.first)));
        object.text("last_use", Some(&tokens::stamp(self.session.last)));
    }
}

pub fn sessions(backend: &Backend, arguments: &Sessions) -> Result<ExitCode> {
    let user = arguments.user.as_bytes();
    let rows = backend.look(user, |account| rows(backend, account))?;
    numbered::list(backend, user, &rows, arguments.json)
}

pub fn logout(backend: &Backend, arguments: &Logout) -> Result<ExitCode> {
    let Some(user) = &arguments.user else {
        let Ended { sessions, computers } = backend.renew_secret()?;
        let computers = match computers {
            0 => String::new(),
            computers => {
                format!(", {} not trusted any more", numbered::counted::<computers::Row>(computers))
            }
        };
        print(format_args!(
            "{} ended{computers}, and no cookie made so far is good for anything\n",
            numbered::counted::<Row>(sessions)
        ))?;
        return Ok(ExitCode::SUCCESS);
    };
    let user = user.as_bytes();
    backend.look(user, |account| backend.tokens_of(account).map(drop))?;
    let ended = backend.end_sessions(user, |sessions| {
        let meant = numbered::chosen::<Row, _>(user, sessions, &arguments.numbers)?;
        Ok(meant.map(|session| session.id).collect())
    })?;
    print(format_args!("{} of {} ended\n", numbered::counted::<Row>(ended), Quoted(user)))?;
    Ok(ExitCode::SUCCESS)
}

/// What `otpgate show` says of the sessions of a user.
pub fn paragraphs(backend: &Backend, account: &Account<'_>) -> Result<String> {
    let mut text = String::new();
    for row in rows(backend, account)? {
        let [number, token, began_by, begun, last_use] = row.columns();
        let _ = write!(
            text,
            "\nsession {number}\n  token       {token}\n  began by    {began_by}\n  begun       {begun}\n  last use    {last_use}\n"
        );
    }
    Ok(text)
}
