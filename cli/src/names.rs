//! `otpgate complete-user`: names for a shell's completion.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::ExitCode;

use otpgate::files::lines;
use otpgate::users::{edit, line};

use crate::{Failure, Result, output, owner};

/// More than that nobody reads through.
const NAMES_MAX: usize = 200;

/// Print the names of users that begin with these letters, one on a line, for shell completion
///
/// Not more than 200: of more it prints some, which together begin with what all begin with. Says
/// nothing where the file can't be read. Names that can't be typed are left out.
#[derive(clap::Args)]
#[command(hide = true)]
pub struct Arguments {
    /// What the names begin with
    #[arg(default_value = "", allow_hyphen_values = true)]
    prefix: OsString,
}

/// Whoever presses a key to see names wants no messages between them.
pub fn run(file: &Path, arguments: &Arguments) -> ExitCode {
    let _ =
        owner::acting(file, || names(file, arguments.prefix.as_bytes())).and_then(output::print);
    ExitCode::SUCCESS
}

/// Without the lock: nobody waits for a completion. A name torn by a write is one that isn't there.
fn names(file: &Path, prefix: &[u8]) -> Result<String> {
    let users = edit::open_users(file)?;
    let mut found = Found::default();
    lines::for_each_line(&users, |_, text| {
        if let Some(user) = line::user_of(text)
            && user.starts_with(prefix)
            && let Ok(user) = str::from_utf8(user)
            && user.chars().all(output::is_harmless)
        {
            found.add(user);
        }
    })
    .map_err(|error| Failure::new(error.to_string()))?;
    Ok(found.text())
}

/// Some of the names, and what all of them begin with: a shell inserts what its candidates have in
/// common, which must be true of those it isn't told.
#[derive(Default)]
struct Found {
    names: Vec<String>,
    common: Option<String>,
    /// One that differs from the others after that.
    witness: Option<String>,
}

impl Found {
    fn add(&mut self, name: &str) {
        let common = self.common.get_or_insert_with(|| name.to_owned());
        if !name.starts_with(&common[..]) {
            let same = common.chars().zip(name.chars()).take_while(|(a, b)| a == b);
            common.truncate(same.map(|(c, _)| c.len_utf8()).sum());
            self.witness = Some(name.to_owned());
        }
        if self.names.len() < NAMES_MAX && self.names.last().is_none_or(|last| last != name) {
            self.names.push(name.to_owned());
        }
    }

    fn text(mut self) -> String {
        if let Some(witness) = self.witness
            && !self.names.contains(&witness)
        {
            self.names.pop();
            self.names.push(witness);
        }
        self.names.sort_unstable();
        self.names.dedup();
        self.names.into_iter().fold(String::new(), |mut text, name| {
            let _ = writeln!(text, "{name}");
            text
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(names: impl IntoIterator<Item = String>) -> Vec<String> {
        let mut found = Found::default();
        names.into_iter().for_each(|name| found.add(&name));
        found.text().lines().map(str::to_owned).collect()
    }

    #[test]
    fn names_come_once_and_in_order() {
        let names = ["bob", "alice", "alice", "bob"].map(str::to_owned);
        assert_eq!(found(names), ["alice", "bob"]);
    }

    #[test]
    fn of_too_many_what_all_have_in_common_stays_the_same() {
        let many = |last: &str| {
            let names = (0..1000).map(|n| format!("user1{n:03}"));
            found(names.chain([last.to_owned()]))
        };
        for (last, common) in
            [("user2", "user"), ("u\u{e9}", "u"), ("x", ""), ("user1500", "user1")]
        {
            let names = many(last);
            assert_eq!(names.len(), NAMES_MAX, "{last}");
            let begins = |text: &str| names.iter().all(|name| name.starts_with(text));
            assert!(begins(common), "{last}");
            let longer = names[0].chars().take(common.chars().count() + 1).collect::<String>();
            assert!(!begins(&longer), "{last}");
        }
    }
}
