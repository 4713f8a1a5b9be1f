//! `otpgate app`: passwords of programs, by which they get in without a code.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::ops::ControlFlow;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::process::ExitCode;

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use otpgate::UnixTime;
use otpgate::http::target;
use otpgate::log::Quoted;
use otpgate::store::{Account, Amendment, Whom};
use otpgate::token::{APP_RANDOM, AppDigest, AppPassword, SALT_LEN, WAYS_MAX, app_password};
use otpgate::users::pragma;
use zeroize::Zeroizing;

use crate::backend::Backend;
use crate::json::{Document, Object};
use crate::list::{Table, user_text};
use crate::streamed::Streamed;
use crate::tokens::{self, shown_name};
use crate::{Failure, Result, fill_with_random, print};

/// Passwords for programs: add, list, revoke
///
/// A program with such a password gets in without a code: for WebDAV, CalDAV, git, feeds. Servers
/// let it in only where an admin allows it (`OTPAuthAppPasswords On`, `auth_otp_app_passwords on`,
/// or `#@ allow apps` in the users file), and only for the paths and methods it is for.
#[derive(clap::Args)]
pub struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(clap::Subcommand)]
enum Verb {
    Add(Add),
    List(List),
    Revoke(Revoke),
}

/// Add a password for a program, and print it once
///
/// Only a salted hash of the password is kept. Give it a path of its own: without --path it is good
/// for everything, which makes the codes pointless.
#[derive(clap::Args)]
struct Add {
    /// The user
    user: OsString,
    /// What the user calls the program
    name: OsString,
    /// Only at and below these paths, as clients ask for them: /dav/,/cal/
    #[arg(long, value_name = "PATH,…", value_delimiter = ',')]
    path: Vec<OsString>,
    /// Only with these methods: GET,PROPFIND
    #[arg(long, value_name = "METHOD,…", value_delimiter = ',')]
    methods: Vec<OsString>,
    /// The last day on which it is good, in UTC: 2027-01-31
    #[arg(long, value_name = "DATE")]
    until: Option<Date>,
}

/// List passwords for programs: paths, methods, last day, last use
///
/// Last uses are kept to the hour.
#[derive(clap::Args)]
struct List {
    /// Only of this user
    user: Option<OsString>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Revoke the password of a program, for good
#[derive(clap::Args)]
struct Revoke {
    /// The user
    user: OsString,
    /// The name of the program
    name: OsString,
}

pub fn run(backend: &Backend, arguments: &Arguments) -> Result<ExitCode> {
    match &arguments.verb {
        Verb::Add(arguments) => add(backend, arguments),
        Verb::List(arguments) => list(backend, arguments),
        Verb::Revoke(arguments) => revoke(backend, arguments),
    }
}

fn add(backend: &Backend, arguments: &Add) -> Result<ExitCode> {
    let user = arguments.user.as_bytes();
    let mut random = Zeroizing::new([0; APP_RANDOM]);
    let mut salt = [0; SALT_LEN];
    fill_with_random(&mut *random)?;
    fill_with_random(&mut salt)?;
    let password = app_password(&random);
    let app = AppPassword {
        name: arguments.name.as_bytes().to_vec(),
        digest: AppDigest::of(salt, password.as_bytes()),
        paths: arguments.path.iter().map(path).collect::<Result<_>>()?,
        methods: arguments.methods.iter().map(method).collect::<Result<_>>()?,
        until: arguments.until.map(end_of).transpose()?,
        used: None,
    };
    if app.name.is_empty() {
        return Err(Failure::new("the program's name is empty"));
    }
    if let Some(Err(fault)) = pragma::parse(&pragma::app_line(user, &app)) {
        return Err(Failure::new(fault.to_string()));
    }
    if app.until.is_some_and(|end| end <= tokens::now()) {
        return Err(Failure::new("--until: that day is over"));
    }
    backend.look(user, |account| check(backend, account, &app))?;
    backend.check_answers_logins(user)?;
    if is_for_everything(&app) {
        eprintln!(
            "otpgate: warning: good for every path: whoever has it needs no code; give it a path of its own with --path"
        );
    }
    // Who can't read it has no use for it.
    print(format_args!("{}\n", *password))?;
    let saved = backend.amend(user, |account| {
        check(backend, account, &app)?;
        Ok((vec![Amendment::AddApp(app.clone())], ()))
    });
    saved.map_err(|declined| {
        Failure::new(format!(
            "{}; the password just shown is good for nothing",
            Failure::from(declined)
        ))
    })?;
    eprintln!(
        "otpgate: the password of {} for {} isn't shown again",
        Quoted(&app.name),
        Quoted(user)
    );
    Ok(ExitCode::SUCCESS)
}

fn check(backend: &Backend, account: &Account<'_>, app: &AppPassword) -> Result<()> {
    backend.tokens_of(account)?;
    let user = Quoted(account.user);
    if account.ways.apps.iter().any(|other| other.name == app.name) {
        let name = Quoted(&app.name);
        return Err(Failure::new(format!(
            "{user} has an app {name} already: choose another name, or `otpgate app revoke` it first"
        )));
    }
    if account.further.len() >= WAYS_MAX {
        return Err(Failure::new(format!(
            "{user} has {} #@ lines, and no more than {WAYS_MAX} are read: revoke some first",
            account.further.len()
        )));
    }
    Ok(())
}

fn path(path: &OsString) -> Result<Vec<u8>> {
    let path = path.clone().into_vec();
    if target::is_prefix(&path) {
        return Ok(path);
    }
    Err(Failure::new(format!(
        "--path: {} is not a path like /dav/: decoded, from the first slash on, without empty segments, . and .., ; and \\",
        Quoted(&path)
    )))
}

fn method(method: &OsString) -> Result<Vec<u8>> {
    let method = method.as_bytes();
    if !method.is_empty() && method.iter().all(|b| b.is_ascii_uppercase() || *b == b'-') {
        return Ok(method.to_vec());
    }
    Err(Failure::new(format!("--methods: {} is not a method like PROPFIND", Quoted(method))))
}

fn end_of(last: Date) -> Result<UnixTime> {
    let end = last.tomorrow().and_then(|next| next.to_zoned(TimeZone::UTC));
    end.map(|end| end.timestamp().as_second())
        .map_err(|error| Failure::new(format!("--until: {error}")))
}

fn is_for_everything(app: &AppPassword) -> bool {
    app.paths.is_empty() || app.paths.iter().any(|path| path == b"/")
}

fn revoke(backend: &Backend, arguments: &Revoke) -> Result<ExitCode> {
    let (user, name) = (arguments.user.as_bytes(), arguments.name.as_bytes());
    backend.amend(user, |account| {
        backend.tokens_of(account)?;
        let apps = account.ways.apps.iter().enumerate();
        let its: Vec<Amendment> = apps
            .filter(|(_, app)| app.name == name)
            .map(|(index, _)| Amendment::RevokeApp(index))
            .collect();
        if its.is_empty() {
            let text =
                format!("{} has no app {}; see `otpgate app list`", Quoted(user), Quoted(name));
            return Err(Failure::new(text));
        }
        Ok((its, ()))
    })?;
    print(format_args!("revoked the password of {} for {}\n", Quoted(name), Quoted(user)))?;
    Ok(ExitCode::SUCCESS)
}

fn list(backend: &Backend, arguments: &List) -> Result<ExitCode> {
    let user = arguments.user.as_ref().map(|user| user.as_bytes());
    if let Some(user) = user {
        backend.look(user, |account| backend.tokens_of(account).map(drop))?;
    }
    let users: Vec<&[u8]> = user.into_iter().collect();
    let whom = if users.is_empty() { Whom::Everybody } else { Whom::Users(&users) };
    let out = Streamed::stdout()?;
    if arguments.json {
        let mut document = Document::begin(out, "apps")?;
        each(backend, whom, |account, app| {
            document.add(|object| write_json(account.user, app, object))
        })?;
        document.end(|object| object.text("users_file", Some(&backend.name())))?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut table = Table::begin(out, ["USER", "APP", "LAST USE", "UNTIL", "METHODS", "PATHS"]);
    each(backend, whom, |account, app| table.add(row(account, app)))?;
    table.end()?;
    Ok(ExitCode::SUCCESS)
}

fn each(
    backend: &Backend,
    whom: Whom<'_>,
    mut tell: impl FnMut(&Account<'_>, &AppPassword) -> Result<()>,
) -> Result<()> {
    backend.look_at(whom, |account| {
        account.ways.apps.iter().try_for_each(|app| tell(account, app))?;
        Ok(ControlFlow::Continue(()))
    })
}

fn row(account: &Account<'_>, app: &AppPassword) -> [String; 6] {
    let closed = if account.ways.always.apps { " (closed by #@ always)" } else { "" };
    [
        shown_name(account.user),
        shown_name(&app.name),
        last_use(app),
        last_day(app).unwrap_or_else(|| "-".to_owned()),
        joined(&app.methods),
        joined(&app.paths) + closed,
    ]
}

fn joined(words: &[Vec<u8>]) -> String {
    if words.is_empty() {
        return "all".to_owned();
    }
    words.iter().map(|word| shown_name(word)).collect::<Vec<_>>().join(",")
}

fn last_use(app: &AppPassword) -> String {
    // To the hour: seconds would be more than is known.
    app.used.map_or_else(
        || "never".to_owned(),
        |used| tokens::local_time(used).chars().take(16).collect(),
    )
}

fn last_day(app: &AppPassword) -> Option<String> {
    let last = app.until.and_then(|end| Timestamp::from_second(end - 1).ok())?;
    Some(last.strftime("%Y-%m-%d").to_string())
}

/// What `otpgate show` says of the apps of a user.
pub fn paragraphs(account: &Account<'_>) -> String {
    let mut text = String::new();
    for app in &account.ways.apps {
        let [_, name, used, until, methods, paths] = row(account, app);
        let _ = write!(
            text,
            "\napp {name}\n  paths       {paths}\n  methods     {methods}\n  until       {until}\n  last use    {used}\n"
        );
    }
    text
}

/// The same in JSON.
pub fn write_json(user: &[u8], app: &AppPassword, object: &mut Object<'_>) {
    let texts = |words: &[Vec<u8>]| words.iter().map(|word| user_text(word)).collect::<Vec<_>>();
    object.text("user", Some(&user_text(user)));
    object.text("name", Some(&user_text(&app.name)));
    object.texts("paths", &texts(&app.paths));
    object.texts("methods", &texts(&app.methods));
    object.text("until", last_day(app).as_deref());
    object.text("last_use", app.used.map(tokens::stamp).as_deref());
}
