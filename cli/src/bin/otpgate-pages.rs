//! Writes man pages and shell completions, from the same definitions as the command. Part of the
//! build, not installed.
//!
//! `otpgate-pages DIRECTORY` makes `DIRECTORY/man`, `DIRECTORY/bash`, `DIRECTORY/zsh` and
//! `DIRECTORY/fish`.

use std::path::Path;
use std::process::ExitCode;

use clap_complete::Shell;

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    let (Some(directory), None) = (arguments.next(), arguments.next()) else {
        eprintln!("usage: otpgate-pages DIRECTORY");
        return ExitCode::from(2);
    };
    match write(Path::new(&directory)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!(
                "otpgate-pages: cannot write to {}: {error}",
                Path::new(&directory).display()
            );
            ExitCode::FAILURE
        }
    }
}

fn write(directory: &Path) -> std::io::Result<()> {
    let man = directory.join("man");
    std::fs::create_dir_all(&man)?;
    for command in otpgate_cli::commands() {
        // The page of `help` would only say that there is help.
        clap_mangen::generate_to(command.clone().disable_help_subcommand(true), &man)?;
        for (shell, name) in [(Shell::Bash, "bash"), (Shell::Zsh, "zsh"), (Shell::Fish, "fish")] {
            let place = directory.join(name);
            std::fs::create_dir_all(&place)?;
            clap_complete::generate_to(shell, &mut command.clone(), command.get_name(), &place)?;
        }
    }
    Ok(())
}
