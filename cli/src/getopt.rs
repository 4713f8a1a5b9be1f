//! Tools of older names: their flags in one table each, for reading arguments, help, man page and
//! completion.
//!
//! Options are read as the C library's getopt(3) reads them, in order: a later one may undo an
//! earlier, and they may stand behind operands, unless `POSIXLY_CORRECT` is set.

use std::collections::VecDeque;
use std::ffi::OsString;
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
    /// The operand with which a command begins, whose flags are its own: from there on nothing is a
    /// flag of the tool.
    pub command_from: Option<usize>,
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
        self.options_as(args, std::env::var_os("POSIXLY_CORRECT").is_some())
    }

    /// `is_posix`: the first operand ends the options.
    fn options_as(&'static self, args: &[OsString], is_posix: bool) -> Options {
        Options {
            tool: self,
            is_posix,
            left: args.iter().cloned().collect(),
            cluster: VecDeque::new(),
            operands: Vec::new(),
        }
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

/// Reads flags up to `--`, or to where a command begins: what follows is left as it is.
pub struct Options {
    tool: &'static Tool,
    is_posix: bool,
    left: VecDeque<OsString>,
    cluster: VecDeque<u8>,
    /// Those that flags may still follow.
    operands: Vec<OsString>,
}

impl Options {
    pub fn next(&mut self) -> Result<Next, Problem> {
        while self.cluster.is_empty() {
            let Some(arg) = self.left.pop_front() else { return Ok(self.rest()) };
            match arg.as_bytes() {
                b"--" => return Ok(self.rest()),
                [b'-', letters @ ..] if !letters.is_empty() => self.cluster.extend(letters),
                _ => {
                    let ends = self.is_posix
                        || self.tool.command_from.is_some_and(|place| self.operands.len() >= place);
                    self.operands.push(arg);
                    if ends {
                        return Ok(self.rest());
                    }
                }
            }
        }
        let letter = self.cluster.pop_front().expect("filled above");
        let refuse = |text: String| Problem::new(self.tool.wrong_usage, text).followed_by_usage();
        let Some(flag) = self.tool.flags.iter().find(|flag| flag.letter == char::from(letter))
        else {
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

    fn rest(&mut self) -> Next {
        self.operands.extend(self.left.drain(..));
        Next::Rest(std::mem::take(&mut self.operands))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn flag(letter: char, argument: Option<&'static str>) -> Flag {
        Flag { letter, argument, help: "" }
    }

    static TOOL: Tool = Tool {
        name: "tool",
        about: "",
        synopses: &[],
        flags: &[flag('c', Some("counter")), flag('t', None), flag('w', Some("window"))],
        operands: &[],
        command_from: None,
        notes: "",
        wrong_usage: 1,
    };

    static WITH_COMMAND: Tool = Tool { command_from: Some(1), ..TOOL };

    /// As the recorded facts are written.
    fn told(tool: &'static Tool, line: &str, is_posix: bool) -> String {
        let args: Vec<OsString> = line.split_ascii_whitespace().map(OsString::from).collect();
        let mut options = tool.options_as(&args, is_posix);
        let mut told = Vec::new();
        loop {
            match options.next() {
                Ok(Next::Flag(letter)) => told.push(format!("-{}", char::from(letter))),
                Ok(Next::With(letter, argument)) => {
                    told.push(format!("-{}={}", char::from(letter), argument.display()));
                }
                Ok(Next::Rest(operands)) => {
                    told.push("|".to_owned());
                    told.extend(operands.iter().map(|operand| operand.display().to_string()));
                    return told.join(" ");
                }
                Err(problem) => {
                    assert_eq!(problem.status, 1);
                    let text = problem
                        .text
                        .strip_prefix("there is no option -")
                        .map(|letter| format!("?{letter}"));
                    let lacking = || {
                        let text = problem.text.strip_prefix("option -")?;
                        Some(format!(":{}", text.strip_suffix(" needs an argument")?))
                    };
                    told.push(text.or_else(lacking).unwrap_or(problem.text));
                    return told.join(" ");
                }
            }
        }
    }

    #[test]
    fn command_lines_are_read_as_the_c_library_has_been_seen_to_read_them() {
        let (mut seen, mut is_posix) = (0, false);
        for fact in include_str!("../tests/getopt.tsv").lines() {
            if fact.starts_with('#') {
                is_posix = fact.contains("POSIXLY_CORRECT");
                continue;
            }
            let (line, expected) = fact.split_once('\t').expect("a tab");
            assert_eq!(
                told(&TOOL, line, is_posix),
                expected,
                "{line:?}, POSIXLY_CORRECT: {is_posix}"
            );
            seen += 1;
        }
        assert_eq!(seen, 670);
    }

    #[test]
    fn flags_of_a_command_are_its_own_and_those_before_it_are_the_tools() {
        for (line, expected) in [
            ("users -t", "-t | users"),
            ("-t users", "-t | users"),
            ("users -t cmd", "-t | users cmd"),
            ("users cmd -t -z --", "| users cmd -t -z --"),
            ("users -- -t", "| users -t"),
            ("-- users -t", "| users -t"),
            ("users -- cmd -- -t", "| users cmd -- -t"),
            ("users -z cmd", "?z"),
        ] {
            assert_eq!(told(&WITH_COMMAND, line, false), expected, "{line}");
        }
    }
}
