//! Completion of verbs and flags, as clap writes it, and of the names of listed users, which the
//! command is asked for. Names are data: no shell expands them.

use std::fmt::Write;
use std::path::Path;

use clap::{Command, ValueHint};
use clap_complete::Shell;

const BASH: &str = include_str!("users.bash");
const ZSH: &str = include_str!("users.zsh");
const FISH: &str = include_str!("users.fish");

/// A verb that takes the name of a listed user: as which of its operands, and whether all that
/// follow are such.
struct Taking {
    verb: String,
    first: usize,
    goes_on: bool,
}

fn taking_users(command: &Command) -> Vec<Taking> {
    let mut all = Vec::new();
    for verb in command.get_subcommands() {
        for (place, arg) in verb.get_positionals().enumerate() {
            if arg.get_value_hint() == ValueHint::Username {
                let goes_on = arg.get_num_args().is_some_and(|range| range.max_values() > 1);
                let verb = verb.get_name().to_owned();
                all.push(Taking { verb, first: place + 1, goes_on });
            }
        }
    }
    all
}

/// The options of a verb that take a value, and which of them names the users file.
fn with_value(command: &Command) -> Vec<String> {
    let mut all = Vec::new();
    for verb in command.get_subcommands().chain([command]) {
        for arg in verb.get_arguments().filter(|arg| arg.get_action().takes_values()) {
            all.extend(arg.get_long().map(|long| format!("--{long}")));
            all.extend(arg.get_short().map(|short| format!("-{short}")));
        }
    }
    all.sort_unstable();
    all.dedup();
    all
}

fn generated(shell: Shell, command: &Command) -> String {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut command.clone(), command.get_name(), &mut script);
    String::from_utf8(script).expect("text")
}

fn bash(command: &Command) -> String {
    let mut verbs = String::new();
    for Taking { verb, first, goes_on } in taking_users(command) {
        let last = if goes_on { 1_000_000 } else { first };
        writeln!(verbs, "        {verb}) first={first} last={last} ;;").expect("memory");
    }
    let script =
        BASH.replace("@VERBS@\n", &verbs).replace("@WITH_VALUE@", &with_value(command).join("|"));
    generated(Shell::Bash, command)
        .replace("complete -F _otpgate ", "complete -F _otpgate_with_users ")
        + &script
}

fn zsh(command: &Command) -> String {
    // What clap writes for such an operand offers the system's users.
    let generated =
        generated(Shell::Zsh, command).replace(":_users' \\\n", ":_otpgate_users' \\\n");
    let (head, rest) = generated.split_once("\n\n").expect("an empty line after the first");
    format!("{head}\n\n{ZSH}\n{rest}")
}

fn fish(command: &Command) -> String {
    let mut script = generated(Shell::Fish, command)
        + &FISH.replace("@WITH_VALUE@", &with_value(command).join(" "));
    for Taking { verb, first, goes_on } in taking_users(command) {
        let last = if goes_on { 1_000_000 } else { first };
        writeln!(
            script,
            "complete -c otpgate -n \"__fish_otpgate_using_subcommand {verb}; and __fish_otpgate_at_operand {first} {last}\" -f -a '(__fish_otpgate_users)'"
        )
        .expect("memory");
    }
    script
}

pub fn write(directory: &Path) -> std::io::Result<()> {
    let into = |shell: &str, file: String, script: String| {
        let place = directory.join(shell);
        std::fs::create_dir_all(&place)?;
        std::fs::write(place.join(file), script)
    };
    for mut command in otpgate_cli::commands() {
        command.build();
        let name = command.get_name().to_owned();
        let with_users = !taking_users(&command).is_empty();
        let script = |shell: Shell, extended: fn(&Command) -> String| match with_users {
            true => extended(&command),
            false => generated(shell, &command),
        };
        into("bash", format!("{name}.bash"), script(Shell::Bash, bash))?;
        into("zsh", format!("_{name}"), script(Shell::Zsh, zsh))?;
        into("fish", format!("{name}.fish"), script(Shell::Fish, fish))?;
    }
    Ok(())
}
