//! Options as getopt(3) reads them, in order: with the names of older tools, a later one may undo an earlier.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

/// What comes next.
pub enum Next {
    /// A flag without argument.
    Flag(u8),
    /// A flag and its argument.
    With(u8, OsString),
    /// Not one of the flags.
    Unknown(u8),
    /// A flag whose argument is missing.
    Incomplete(u8),
    /// The arguments that are no flags.
    Rest(Vec<OsString>),
}

/// Reads flags up to the first argument that is none, or `--`.
pub struct Options<'a> {
    flags: &'a [u8],
    flags_with_argument: &'a [u8],
    left: VecDeque<OsString>,
    cluster: VecDeque<u8>,
}

impl<'a> Options<'a> {
    pub fn new(flags: &'a [u8], flags_with_argument: &'a [u8], args: &[OsString]) -> Options<'a> {
        Options { flags, flags_with_argument, left: args.iter().cloned().collect(), cluster: VecDeque::new() }
    }

    pub fn next(&mut self) -> Next {
        if self.cluster.is_empty() {
            let is_flags = |arg: &OsString| arg.as_bytes().len() > 1 && arg.as_bytes()[0] == b'-';
            if !self.left.front().is_some_and(is_flags) {
                return Next::Rest(self.rest());
            }
            let arg = self.left.pop_front().expect("just seen");
            if arg == OsStr::new("--") {
                return Next::Rest(self.rest());
            }
            self.cluster.extend(&arg.as_bytes()[1..]);
        }
        let flag = self.cluster.pop_front().expect("filled above");
        if self.flags.contains(&flag) {
            return Next::Flag(flag);
        }
        if !self.flags_with_argument.contains(&flag) {
            return Next::Unknown(flag);
        }
        // The rest of this word, or else the next word.
        if !self.cluster.is_empty() {
            return Next::With(flag, OsString::from_vec(self.cluster.drain(..).collect()));
        }
        match self.left.pop_front() {
            Some(argument) => Next::With(flag, argument),
            None => Next::Incomplete(flag),
        }
    }

    fn rest(&mut self) -> Vec<OsString> {
        self.left.drain(..).collect()
    }
}
