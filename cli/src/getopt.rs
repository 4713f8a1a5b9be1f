//! Tools of older names: their flags in one table each, for reading arguments, help, man page and completion.
//!
//! Options are read as getopt(3) reads them, in order: a later one may undo an earlier.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::fmt::Write;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::process::ExitCode;

use clap::{Arg, ArgAction, Command, ValueHint};

/// A tool as people know it.
pub struct Tool {
    pub name: &'static str,
    pub about: &'static str,
    /// What may stand behind the name, one way to call it each.
    pub synopses: &'static [&'static str],
    pub flags: &'static [Flag],
    pub operands: &'static [Operand],
    /// What is said after the flags.
    pub notes: &'static str,
    /// Status after a flag that isn't there.
    pub wrong_usage: u8,
}

/// One letter, and the name of its argument if it takes one.
pub struct Flag {
    pub letter: char,
    pub argument: Option<&'static str>,
    pub help: &'static str,
}

/// An argument that is no flag.
pub struct Operand {
    pub name: &'static str,
    pub help: &'static str,
    pub times: Times,
    pub hint: ValueHint,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Times {
    Once,
    AtMostOnce,
    Any,
}

impl Tool {
    /// What -h prints.
    pub fn usage(&self) -> String {
        let mut text = String::new();
        for (i, synopsis) in self.synopses.iter().enumerate() {
            let before = if i == 0 { "usage:" } else { "      " };
            writeln!(text, "{before} {} {synopsis}", self.name).expect("writing to memory");
        }
        writeln!(text, "{}", self.about).expect("writing to memory");
        for flag in self.flags {
            writeln!(text, "  -{}  {}", flag.letter, flag.help).expect("writing to memory");
        }
        text + self.notes
    }

    /// The same for man pages and completion.
    pub fn command(&self) -> Command {
        let synopses: Vec<String> =
            self.synopses.iter().map(|synopsis| format!("{} {synopsis}", self.name)).collect();
        let flags = self.flags.iter().map(|flag| {
            let arg = Arg::new(flag.letter.to_string()).short(flag.letter).help(flag.help);
            match flag.argument {
                Some(name) => arg.value_name(name),
                None => arg.action(ArgAction::SetTrue),
            }
        });
        let operands = self.operands.iter().map(|operand| {
            let arg = Arg::new(operand.name).help(operand.help).value_hint(operand.hint);
            match operand.times {
                Times::Once => arg.required(true),
                Times::AtMostOnce => arg,
                Times::Any => arg.num_args(0..).trailing_var_arg(true),
            }
        });
        Command::new(self.name)
            .about(self.about)
            .override_usage(synopses.join("\n"))
            .disable_help_flag(true)
            .args(flags)
            .args(operands)
            .after_help(self.notes)
    }

    pub fn options(&'static self, args: &[OsString]) -> Options {
        Options { tool: self, left: args.iter().cloned().collect(), cluster: VecDeque::new() }
    }
}

/// Why a tool ends early.
pub struct Problem {
    pub status: u8,
    pub text: String,
    with_usage: bool,
}

impl Problem {
    pub fn new(status: u8, text: impl Into<String>) -> Problem {
        Problem { status, text: text.into(), with_usage: false }
    }

    /// Asked for help: to standard error as ever, and successful.
    pub fn help() -> Problem {
        Problem::new(0, "").followed_by_usage()
    }

    pub fn followed_by_usage(self) -> Problem {
        Problem { with_usage: true, ..self }
    }

    pub fn report(self, tool: &Tool) -> ExitCode {
        if !self.text.is_empty() {
            eprintln!("{}: {}", tool.name, self.text);
        }
        if self.with_usage {
            eprint!("{}", tool.usage());
        }
        ExitCode::from(self.status)
    }
}

/// What comes next.
pub enum Next {
    /// A flag without argument.
    Flag(u8),
    /// A flag and its argument.
    With(u8, OsString),
    /// The arguments that are no flags.
    Rest(Vec<OsString>),
}

/// Reads flags up to the first argument that is none, or `--`: what follows is left as it is.
pub struct Options {
    tool: &'static Tool,
    left: VecDeque<OsString>,
    cluster: VecDeque<u8>,
}

impl Options {
    pub fn next(&mut self) -> Result<Next, Problem> {
        if self.cluster.is_empty() {
            let is_flags = |arg: &OsString| arg.as_bytes().len() > 1 && arg.as_bytes()[0] == b'-';
            if !self.left.front().is_some_and(is_flags) {
                return Ok(Next::Rest(self.rest()));
            }
            let arg = self.left.pop_front().expect("just seen");
            if arg == OsStr::new("--") {
                return Ok(Next::Rest(self.rest()));
            }
            self.cluster.extend(&arg.as_bytes()[1..]);
        }
        let letter = self.cluster.pop_front().expect("filled above");
        let refuse = |text: String| Problem::new(self.tool.wrong_usage, text).followed_by_usage();
        let Some(flag) = self.tool.flags.iter().find(|flag| flag.letter == char::from(letter)) else {
            return Err(refuse(format!("there is no option -{}", letter.escape_ascii())));
        };
        if flag.argument.is_none() {
            return Ok(Next::Flag(letter));
        }
        // The rest of this word, or else the next word.
        if !self.cluster.is_empty() {
            return Ok(Next::With(letter, OsString::from_vec(self.cluster.drain(..).collect())));
        }
        match self.left.pop_front() {
            Some(argument) => Ok(Next::With(letter, argument)),
            None => Err(refuse(format!("option -{} needs an argument", flag.letter))),
        }
    }

    fn rest(&mut self) -> Vec<OsString> {
        self.left.drain(..).collect()
    }
}
