//! `otplock`: runs a command under the users file's locks. Flags and status are those of the tool
//! that has long had this name; scripts rely on them.

use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::process::{Command, ExitCode, ExitStatus};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use clap::ValueHint;
use otpgate::users::journal::Journal;
use otpgate::users::lock::Locked;
use signal_hook::SigId;
use signal_hook::consts::{SIGINT, SIGQUIT};

use crate::getopt::{Flag, Next, Operand, Problem, Times, Tool};
use crate::{Failure, owner};

const WRONG_USAGE: u8 = 85;
const SYSTEM_ERROR: u8 = 86;
const CAUGHT_SIGNAL: u8 = 87;

const EDITOR: &str = "vim";

pub const TOOL: Tool = Tool {
    name: "otplock",
    about: "Holds the users file's locks while a command runs",
    synopses: &["usersfile [command ...]", "-e usersfile", "-h"],
    flags: &[
        Flag { letter: 'e', argument: None, help: "edit the users file with $EDITOR (default vim)" },
        Flag { letter: 'h', argument: None, help: "print this" },
    ],
    operands: &[
        Operand {
            name: "usersfile",
            help: "The users file",
            times: Times::Once,
            hint: ValueHint::FilePath,
        },
        Operand {
            name: "command",
            help: "The command and its arguments, unchanged; a single one is a shell command line",
            times: Times::Any,
            hint: ValueHint::CommandWithArguments,
        },
    ],
    command_from: Some(1),
    notes: "\
Without a command it only waits for the locks. Until the command ends, logins wait too, and are refused after 5
seconds: prefer `otpgate edit`, which locks for a moment only.
Status: that of the command (0 without one), 85 wrong usage, 86 the file can't be locked or the command can't be
started, 87 the command was ended by a signal.
",
    wrong_usage: WRONG_USAGE,
};

pub fn run(args: &[OsString]) -> ExitCode {
    match answer(args) {
        Ok(status) => ExitCode::from(status),
        Err(problem) => problem.report(&TOOL),
    }
}

fn answer(args: &[OsString]) -> Result<u8, Problem> {
    let mut edit = false;
    let mut options = TOOL.options(args);
    let operands = loop {
        match options.next()? {
            Next::Flag(b'e') => edit = true,
            Next::Flag(_) => return Err(Problem::help()),
            Next::With(..) => unreachable!("no flag takes an argument"),
            Next::Rest(operands) => break operands,
        }
    };
    let wrong = |text: &str| Err(Problem::new(WRONG_USAGE, text).followed_by_usage());
    let Some((file, command)) = operands.split_first() else {
        return wrong("the users file is missing");
    };
    if edit && !command.is_empty() {
        return wrong("-e takes no command");
    }
    let arguments = if edit { editor(file) } else { shell_arguments(command) };

    let file = Path::new(file);
    let locked =
        owner::acting(file, || Ok(Locked::acquire_however_long(file)?)).map_err(system_error)?;
    // What a crash has left in the journal belongs into the file that the command is about to see;
    // and nothing that is in it may undo what the command does, which knows nothing of it.
    let empty = || {
        owner::acting(file, || Ok(Journal::open(&locked, &mut None)?.empty()?))
            .map_err(system_error)
    };
    empty()?;
    let Some(arguments) = arguments else { return Ok(0) };
    let _quiet = KeySignals::left_to_the_command().map_err(system_error)?;
    let ended = Command::new("sh").args(arguments).status();
    // Saved in place, even in the tick of the last login, it is read anew by everybody. Another
    // file is so anyway.
    if locked.has_held().is_ok() {
        empty()?;
    }
    ended
        .map(status_of)
        .map_err(|error| system_error(Failure::new(format!("cannot start a shell: {error}"))))
}

fn system_error(failure: Failure) -> Problem {
    Problem::new(SYSTEM_ERROR, failure.to_string())
}

/// What the shell is started with; `None` if there is nothing to run.
fn shell_arguments(command: &[OsString]) -> Option<Vec<OsString>> {
    match command {
        [] => None,
        [line] => Some(vec!["-c".into(), "--".into(), line.clone()]),
        // By way of the shell as ever, which gives 127 and 126 their usual meaning.
        _ => Some(with_arguments(OsStr::new(r#"exec "$@""#), command)),
    }
}

fn editor(file: &OsStr) -> Option<Vec<OsString>> {
    let mut line =
        std::env::var_os("EDITOR").filter(|editor| !editor.is_empty()).unwrap_or(EDITOR.into());
    // It may have arguments of its own.
    line.push(r#" "$@""#);
    Some(with_arguments(&line, &[file.to_owned()]))
}

fn with_arguments(line: &OsStr, arguments: &[OsString]) -> Vec<OsString> {
    let mut all: Vec<OsString> = vec!["-c".into(), "--".into(), line.into(), "sh".into()];
    all.extend_from_slice(arguments);
    all
}

fn status_of(ended: ExitStatus) -> u8 {
    match ended.code() {
        Some(code) => code as u8,
        None => CAUGHT_SIGNAL,
    }
}

/// Ctrl-C in an editor is the editor's; died we of it, the file would lie open to others while it
/// is edited.
struct KeySignals(Vec<SigId>);

impl KeySignals {
    fn left_to_the_command() -> Result<KeySignals, Failure> {
        let caught = |signal| signal_hook::flag::register(signal, Arc::new(AtomicBool::new(false)));
        let ids = [SIGINT, SIGQUIT].into_iter().map(caught).collect::<std::io::Result<_>>();
        ids.map(KeySignals).map_err(|error| Failure::new(format!("cannot catch signals: {error}")))
    }
}

impl Drop for KeySignals {
    fn drop(&mut self) {
        for id in self.0.drain(..) {
            signal_hook::low_level::unregister(id);
        }
    }
}
