//! `otpgate edit`: the users file in an editor, as visudo and vipw do it.

use std::ffi::OsString;
use std::fs::{OpenOptions, Permissions};
use std::io::Write;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use jiff::tz::TimeZone;
use otpgate::users::edit::{self, Content};
use otpgate::users::pragma;

use crate::merge::Edited;
use crate::signals::{self, Held};
use crate::{Failure, Result, owner, print, prompt, tokens};

/// Edit the users file safely while servers use it
///
/// Copies the file, opens the copy in $VISUAL, else $EDITOR, else vi, checks it, lists the changes
/// (no PINs, no keys) and installs it. The file is locked only while it is copied and installed:
/// counters and failures changed by logins meanwhile are kept. A copy with mistakes isn't
/// installed: on a terminal you can edit it again. If somebody else has changed anything else
/// meanwhile, nothing is installed and your copy is kept.
#[derive(clap::Args)]
pub struct Arguments {
    /// Install without asking, even on a terminal
    #[arg(long, short)]
    yes: bool,
}

pub fn run(file: &Path, arguments: &Arguments) -> Result<ExitCode> {
    let mut base = None;
    owner::acting(file, || {
        edit::change(file, |content| {
            base = Some(content.clone());
            Ok::<_, Failure>(None)
        })
    })?;
    let base = base.expect("the content was seen");
    let copy = Copy::of(&base)?;
    let signals = signals::hold()?;
    let asks = prompt::is_answered();

    let edited = loop {
        copy.run_editor(&signals)?;
        signals.check()?;
        let edited = copy.read()?;
        if edited == base {
            print("nothing was changed\n")?;
            return Ok(ExitCode::SUCCESS);
        }
        let problems = problems(&base, &edited);
        if problems.is_empty() {
            print("changes:\n")?;
            for change in Edited::of(&base, &edited).changes() {
                print(format_args!("  {change}\n"))?;
            }
            if arguments.yes || !asks {
                break edited;
            }
            match prompt::key(
                "Install this? (y)es, (e)dit again, (q)uit without changes: ",
                b"yeq",
            )? {
                b'y' => break edited,
                b'e' => continue,
                _ => return Err(Failure::new("nothing was changed")),
            }
        }
        for problem in &problems {
            eprintln!("otpgate: {problem}");
        }
        if !asks {
            return Err(Failure::new("the edited file has mistakes; nothing was changed"));
        }
        if prompt::key("What now? (e)dit again, (q)uit without changes: ", b"eq")? != b'e' {
            return Err(Failure::new("nothing was changed"));
        }
    };
    signals.check()?;
    match install(file, &base, &edited, &signals) {
        Ok(installed) => {
            print(format_args!("{}\n", installed.text))?;
            for note in installed.notes {
                eprintln!("otpgate: {note}");
            }
            Ok(ExitCode::SUCCESS)
        }
        // Who ends it wants no copy of keys left behind.
        Err(failure) => {
            signals.check()?;
            let kept = copy.keep();
            Err(Failure::new(format!(
                "{failure}; nothing was changed\notpgate: your copy is {}: it contains keys; remove it when you are done",
                kept.display()
            )))
        }
    }
}

struct Installed {
    text: String,
    notes: Vec<String>,
}

fn install(file: &Path, base: &Content, edited: &Content, signals: &Held) -> Result<Installed> {
    let edited = Edited::of(base, edited);
    let (mut kept, mut notes) = (0, Vec::new());
    owner::acting(file, || {
        edit::change(file, |live| {
            let merged = edited
                .merged_with(live, tokens::now())
                .map_err(|conflict| Failure::new(conflict.to_string()))?;
            (kept, notes) = (merged.kept, merged.notes);
            // The last moment: while the lock was waited for, somebody may have ended this.
            signals.check()?;
            Ok::<_, Failure>(Some(merged.content))
        })
    })?;
    let used = match kept {
        0 => String::new(),
        1 => "; one token was used meanwhile, its new state is kept".to_owned(),
        kept => format!("; {kept} tokens were used meanwhile, their new state is kept"),
    };
    Ok(Installed { text: format!("installed{used}"), notes })
}

/// What refuses the file, with line numbers.
fn problems(base: &Content, edited: &Content) -> Vec<String> {
    if edited.bytes().is_empty() && !base.bytes().is_empty() {
        return vec![
            "the edited file is empty; users are removed with `otpgate remove`".to_owned(),
        ];
    }
    let zone = TimeZone::system();
    let problem = |line: edit::ContentLine<'_>| {
        let error = match pragma::parse(line.text) {
            Some(parsed) => parsed.err()?.to_string(),
            None => line.record(&zone)?.err()?.to_string(),
        };
        Some(format!("line {}: {error}", line.number))
    };
    edited.lines().filter_map(problem).collect()
}

/// A copy that nobody else can read, in a directory that goes with it: editors leave files beside
/// what they edit.
struct Copy {
    directory: tempfile::TempDir,
}

impl Copy {
    fn of(content: &Content) -> Result<Copy> {
        let directory = tempfile::Builder::new()
            .prefix("otpgate-edit-")
            .permissions(Permissions::from_mode(0o700))
            .tempdir()
            .map_err(|error| {
                Failure::new(format!("cannot make a directory for the copy: {error}"))
            })?;
        let copy = Copy { directory };
        OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(copy.path())
            .and_then(|mut file| file.write_all(content.bytes()))
            .map_err(|error| {
                Failure::new(format!("cannot write {}: {error}", copy.path().display()))
            })?;
        Ok(copy)
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("users")
    }

    /// Like other programs that start one: through the shell, for the arguments in the variable.
    fn run_editor(&self, signals: &Held) -> Result<()> {
        let chosen = |name| std::env::var_os(name).filter(|value| !value.is_empty());
        let editor =
            chosen("VISUAL").or_else(|| chosen("EDITOR")).unwrap_or_else(|| OsString::from("vi"));
        let mut line = editor.clone();
        line.push(" \"$@\"");
        let name = editor.to_string_lossy();
        let status = Command::new("sh")
            .arg("-c")
            .arg(line)
            .args([OsString::from("sh"), self.path().into()])
            .spawn()
            .and_then(|mut editor| signals.wait_for_editor(&mut editor))
            .map_err(|error| {
                Failure::new(format!("cannot start sh for the editor {name}: {error}"))
            })?;
        signals.check()?;
        let status = status.expect("only a signal ends the wait before the editor does");
        match (status.success(), status.code(), status.signal()) {
            (true, ..) => Ok(()),
            (_, Some(code), _) => Err(Failure::new(format!(
                "the editor {name} exited with status {code}; nothing was changed"
            ))),
            (_, _, signal) => Err(Failure::new(format!(
                "the editor {name} was killed by signal {}; nothing was changed",
                signal.unwrap_or_default()
            ))),
        }
    }

    fn read(&self) -> Result<Content> {
        let bytes = std::fs::read(self.path()).map_err(|error| {
            Failure::new(format!(
                "cannot read {}: {error}; nothing was changed",
                self.path().display()
            ))
        })?;
        Ok(Content::new(bytes))
    }

    fn keep(self) -> PathBuf {
        self.directory.keep().join("users")
    }
}
