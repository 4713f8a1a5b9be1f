//! Writes man pages and shell completions, from the same definitions as the command. Part of the
//! build, not installed.
//!
//! `otpgate-pages DIRECTORY` makes `DIRECTORY/man`, `DIRECTORY/bash`, `DIRECTORY/zsh` and
//! `DIRECTORY/fish`.

mod completion;
mod manual;
mod markdown;

use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    let (Some(directory), None) = (arguments.next(), arguments.next()) else {
        eprintln!("usage: otpgate-pages DIRECTORY");
        return ExitCode::from(2);
    };
    let directory = Path::new(&directory);
    match manual::write(&directory.join("man")).and_then(|()| completion::write(directory)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("otpgate-pages: cannot write to {}: {error}", directory.display());
            ExitCode::FAILURE
        }
    }
}
