//! The command: manages the users file, and answers to the names of older tools.
//!
//! One file per subcommand. What a users file is, how it is read, locked and written is the
//! library's; here are arguments, prompts and words.

#[macro_use]
mod output;

mod account;
mod add;
mod advance;
mod app;
mod backend;
mod check;
mod computers;
mod document;
mod edit;
mod enrol;
// For `fuzz/`, which reads all forms with bytes of its own.
#[doc(hidden)]
pub mod exchange;
mod explain;
mod export;
mod genotpurl;
mod getopt;
mod handover;
mod import;
mod init;
mod json;
mod key_uri;
mod list;
mod merge;
mod names;
mod numbered;
mod otplock;
mod otptool;
mod owner;
mod paper;
mod pin;
mod progress;
mod prompt;
mod qr;
mod rekey;
mod remove;
mod rename;
mod resync;
mod secret_file;
mod sessions;
mod set_pin;
mod settings;
mod sheet;
mod signals;
mod since;
mod staged;
mod streamed;
mod switch;
mod tokens;
mod trust;
mod unlock;
mod verify;

use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};
use otpgate::files::fault::Fault;
use otpgate::store::StoreError;

use crate::backend::Backend;
use crate::getopt::Tool;
use crate::output::print;

/// The variable that names the users file.
const USERS_FILE: &str = "OTPGATE_USERS_FILE";

/// Manage the users file for one-time-password logins
#[derive(Parser)]
#[command(
    name = "otpgate",
    version,
    after_help = "Exit status: 0 done, 1 a problem was reported, 2 wrong usage."
)]
struct Arguments {
    /// The users file
    #[arg(
        short,
        long,
        global = true,
        value_name = "FILE",
        env = USERS_FILE,
        default_value = "/var/lib/otpgate/users"
    )]
    file: PathBuf,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    Init(init::Arguments),
    Add(add::Arguments),
    #[command(visible_alias = "enroll")]
    Enrol(enrol::Arguments),
    Check(check::Arguments),
    List(list::List),
    Show(list::Show),
    Remove(remove::Arguments),
    Disable(switch::Disable),
    Enable(switch::Enable),
    Unlock(unlock::Arguments),
    SetPin(set_pin::Arguments),
    Rekey(rekey::Arguments),
    Paper(paper::Arguments),
    Rename(rename::Arguments),
    Resync(resync::Arguments),
    Verify(verify::Arguments),
    Explain(explain::Arguments),
    Edit(edit::Arguments),
    App(app::Arguments),
    Trust(trust::Trust),
    Untrust(trust::Untrust),
    Always(trust::Always),
    Sessions(sessions::Sessions),
    Logout(sessions::Logout),
    Computers(computers::Arguments),
    Advance(advance::Arguments),
    Import(import::Arguments),
    Export(export::Arguments),
    CompleteUser(names::Arguments),
}

/// What the command line asks for, else the status after help or what is wrong with it.
fn arguments(args: &[OsString]) -> std::result::Result<Arguments, ExitCode> {
    let mut command = Arguments::command();
    // As with other variables, an empty one says nothing.
    if std::env::var_os(USERS_FILE).is_some_and(|value| value.is_empty()) {
        command = command.mut_arg("file", |file| file.env(None::<&str>));
    }
    if !output::may_colour() {
        command = command.color(clap::ColorChoice::Never);
    }
    let parsed = command
        .try_get_matches_from_mut(args)
        .and_then(|mut matches| Arguments::from_arg_matches_mut(&mut matches));
    parsed.map_err(|error| {
        let text = error.render().to_string();
        // It repeats what was typed, and colours what it says.
        if text.chars().all(|c| c == '\n' || output::is_harmless(c)) {
            let _ = error.print();
        } else {
            eprint!("{text}");
        }
        ExitCode::from(error.exit_code() as u8)
    })
}

type RunTool = fn(&[OsString]) -> ExitCode;

/// Tools whose names the command answers to.
const TOOLS: [(&Tool, RunTool); 3] = [
    (&otptool::TOOL, otptool::run),
    (&otplock::TOOL, otplock::run),
    (&genotpurl::TOOL, genotpurl::run),
];

/// The command and the tools, as man pages and completions describe them. What is to be the name of
/// somebody listed has the hint `Username`.
pub fn commands() -> Vec<clap::Command> {
    let is_listed = |verb: &str, arg: &clap::Arg| match arg.get_id().as_str() {
        "user" | "users" => arg.is_positional() && verb != "add",
        id => id == "old",
    };
    let command = Arguments::command().mut_subcommands(|verb| {
        let name = verb.get_name().to_owned();
        verb.mut_args(|arg| match is_listed(&name, &arg) {
            true => arg.value_hint(clap::ValueHint::Username),
            false => arg,
        })
    });
    let tools = TOOLS.iter().map(|(tool, _)| tool.command());
    [command].into_iter().chain(tools).collect()
}

/// Runs the command under the name in the first argument.
pub fn run(args: Vec<OsString>) -> ExitCode {
    let name = args.first().map(Path::new).and_then(Path::file_name);
    if let Some((_, run)) =
        TOOLS.iter().find(|(tool, _)| name.is_some_and(|name| name == tool.name))
    {
        return run(&args[1..]);
    }
    let Arguments { file, verb } = match arguments(&args) {
        Ok(arguments) => arguments,
        Err(status) => return status,
    };
    let backend = Backend::new(&file);
    let done = match verb {
        Verb::Init(arguments) => init::run(&file, &arguments),
        Verb::Add(arguments) => add::run(&backend, &arguments),
        Verb::Enrol(arguments) => enrol::run(&backend, &arguments),
        Verb::Check(arguments) => check::run(&file, &arguments),
        Verb::List(arguments) => list::list(&backend, &arguments),
        Verb::Show(arguments) => list::show(&backend, &arguments),
        Verb::Remove(arguments) => remove::run(&backend, &arguments),
        Verb::Disable(arguments) => switch::disable(&backend, &arguments),
        Verb::Enable(arguments) => switch::enable(&backend, &arguments),
        Verb::Unlock(arguments) => unlock::run(&backend, &arguments),
        Verb::SetPin(arguments) => set_pin::run(&backend, &arguments),
        Verb::Rekey(arguments) => rekey::run(&backend, &arguments),
        Verb::Paper(arguments) => paper::run(&backend, &arguments),
        Verb::Rename(arguments) => rename::run(&backend, &arguments),
        Verb::Resync(arguments) => resync::run(&backend, &arguments),
        Verb::Verify(arguments) => verify::run(&file, &arguments),
        Verb::Explain(arguments) => explain::run(&file, &backend, &arguments),
        Verb::Edit(arguments) => edit::run(&file, &arguments),
        Verb::App(arguments) => app::run(&backend, &arguments),
        Verb::Trust(arguments) => trust::trust(&backend, &arguments),
        Verb::Untrust(arguments) => trust::untrust(&backend, &arguments),
        Verb::Always(arguments) => trust::always(&backend, &arguments),
        Verb::Sessions(arguments) => sessions::sessions(&backend, &arguments),
        Verb::Logout(arguments) => sessions::logout(&backend, &arguments),
        Verb::Computers(arguments) => computers::run(&backend, &arguments),
        Verb::Advance(arguments) => advance::run(&backend, &arguments),
        Verb::Import(arguments) => import::run(&file, &arguments),
        Verb::Export(arguments) => export::run(&file, &arguments),
        Verb::CompleteUser(arguments) => Ok(names::run(&file, &arguments)),
    };
    for notice in otpgate::users::companion::take_notices() {
        eprintln!("otpgate: {notice}");
    }
    done.unwrap_or_else(|failure| {
        if let Some(signal) = failure.signal {
            signals::die_of(signal);
        }
        eprintln!("otpgate: {failure}");
        signals::act();
        ExitCode::FAILURE
    })
}

/// Why a subcommand failed, for the person running it. Never contains a secret.
#[derive(Debug)]
#[doc(hidden)]
pub struct Failure {
    text: String,
    /// Nothing is to be said: the command ends as this signal would end it.
    signal: Option<i32>,
}

impl Failure {
    fn new(text: impl Into<String>) -> Failure {
        Failure { text: text.into(), signal: None }
    }

    fn quiet(signal: i32) -> Failure {
        Failure { text: String::new(), signal: Some(signal) }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl From<Fault> for Failure {
    fn from(fault: Fault) -> Failure {
        Failure::from(StoreError::from(fault))
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Failure {
        // Here it isn't the server that is kept from it, but whoever runs this.
        if error.is_for_want_of_rights && !rustix::process::geteuid().is_root() {
            let StoreError { operation, place, cause, .. } = &error;
            let remedy = "run this as root, or as the users file's owner";
            return Failure::new(format!("cannot {operation} {place}: {cause}; {remedy}"));
        }
        Failure::new(error.to_string())
    }
}

type Result<T> = std::result::Result<T, Failure>;

/// Random bytes of the system.
fn fill_with_random(bytes: &mut [u8]) -> Result<()> {
    getrandom::fill(bytes)
        .map_err(|error| Failure::new(format!("the system has no random bytes: {error}")))
}
