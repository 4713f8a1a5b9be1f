//! `otpgate check`: every problem of the users file, and mending those that can be mended.

use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use otpgate::files::access::Access;
use otpgate::files::directory_of;
use otpgate::files::fault::Fault;
use otpgate::users::check::{self, Finding, Severity};
use otpgate::users::companion::{self, CompanionContent, CompanionMended};
use otpgate::users::{edit, secret};
use rustix::fs::Mode;

use crate::account::SystemAccount;
use crate::json::Document;
use crate::owner::Opened;
use crate::streamed::Streamed;
use crate::{Result, account, owner, tokens};

/// Report every problem in the users file, with line numbers
///
/// An error refuses some or all logins, or makes them unsafe; a warning works, but is probably a
/// mistake. Status 1 if there is an error, 0 if there are none, or only warnings.
///
/// --fix first repairs what it can: it creates lock and journal with the users file's owner and
/// mode, removes a byte order mark, moves state into the fixed columns that logins overwrite,
/// corrects checksums (of lines edited by hand), and finishes, wipes and removes what a crash has
/// left. The owner of the users file, and lines that can't be read, are yours to correct, as the
/// findings say.
#[derive(clap::Args)]
pub struct Arguments {
    /// Repair what can be repaired, and say what was done
    #[arg(long)]
    fix: bool,
    /// Test the file access of this user [default: www-data or apache when run by root, else
    /// yourself]
    #[arg(long = "as", value_name = "USER")]
    as_user: Option<String>,
    /// Warn of what mod_authn_otp couldn't read, in case you want to go back to it
    #[arg(long)]
    for_mod_authn_otp: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub fn run(file: &Path, arguments: &Arguments) -> Result<ExitCode> {
    std::fs::metadata(file).map_err(|error| Fault::new("find", file, error))?;
    let server = account::of_server(arguments.as_user.as_deref())?;
    let mut done = Vec::new();
    if arguments.fix
        && let Err(failure) = fix(file, &mut done)
    {
        // What is done is done, and told.
        eprint!("{}", fixed(&done));
        return Err(failure);
    }
    let mut first = owner::acting_as(&server, || check::access(file))?;
    first.extend(tried_as_somebody_else(&server, &first));
    let mut report = Report::begin(arguments.json, &done)?;
    first.iter().try_for_each(|finding| report.add(finding))?;
    let read = owner::acting(file, || {
        report.add_all(|tell| check::all_lines(file, tell))?;
        report.add_all(|tell| {
            check::repetitions(file, tokens::today())?.into_iter().for_each(tell);
            Ok(())
        })?;
        if arguments.for_mod_authn_otp {
            report.add_all(|tell| check::unknown_to_mod_authn_otp(file, tell))?;
        }
        Ok(())
    });
    match read {
        Ok(()) => {}
        // It has been found before.
        Err(failure) if first.iter().any(|finding| finding.text == failure.to_string()) => {}
        Err(failure) => return Err(failure),
    }
    report.end(file, &server, &done)
}

/// Findings on their way out.
struct Report {
    out: ReportForm,
    is_empty: bool,
    is_grave: bool,
}

enum ReportForm {
    Text(Streamed<File>),
    Json(Document),
}

impl Report {
    fn begin(is_json: bool, done: &[String]) -> Result<Report> {
        let mut out = Streamed::stdout()?;
        let out = if is_json {
            ReportForm::Json(Document::begin(out, "findings")?)
        } else {
            out.text(&fixed(done))?;
            ReportForm::Text(out)
        };
        Ok(Report { out, is_empty: true, is_grave: false })
    }

    fn add(&mut self, finding: &Finding) -> Result<()> {
        self.is_empty = false;
        self.is_grave |= finding.severity == Severity::Error;
        match &mut self.out {
            ReportForm::Text(out) => out.text(&line(finding)),
            ReportForm::Json(document) => document.add(|object| {
                let severity = match finding.severity {
                    Severity::Error => "error",
                    Severity::Warning => "warning",
                };
                object.text("severity", Some(severity));
                object.number("line", finding.line);
                object.text("text", Some(&finding.text));
            }),
        }
    }

    /// What `find` tells, as it tells it.
    fn add_all(
        &mut self,
        find: impl FnOnce(&mut dyn FnMut(Finding)) -> std::result::Result<(), Fault>,
    ) -> Result<()> {
        let mut added = Ok(());
        find(&mut |finding| {
            if added.is_ok() {
                added = self.add(&finding);
            }
        })?;
        added
    }

    fn end(self, file: &Path, server: &SystemAccount, done: &[String]) -> Result<ExitCode> {
        let shown = file.to_string_lossy();
        match self.out {
            ReportForm::Json(document) => document.end(|object| {
                object.texts("fixed", done);
                object.flag("ok", Some(!self.is_grave));
                object.text("server_user", Some(&server.name));
                object.text("users_file", Some(&shown));
            })?,
            ReportForm::Text(mut out) => {
                if self.is_empty {
                    let name = &server.name;
                    let text = format!("{shown}: no problems, for a server that runs as {name}\n");
                    out.text(&text)?;
                }
                out.finish()?;
            }
        }
        Ok(if self.is_grave { ExitCode::FAILURE } else { ExitCode::SUCCESS })
    }
}

/// Who isn't root has tried nobody's access but their own.
fn tried_as_somebody_else(server: &SystemAccount, findings: &[Finding]) -> Option<Finding> {
    let own = rustix::process::geteuid();
    let is_own = own.is_root() || own.as_raw() == server.uid && !is_grave(findings);
    (!is_own).then(|| Finding::warning("access was tested as the current user; run as root, `otpgate check` tests that of the server's user"
            .to_owned()))
}

/// One line per finding.
pub fn told(findings: &[Finding]) -> String {
    findings.iter().map(line).collect()
}

fn line(finding: &Finding) -> String {
    match finding.severity {
        Severity::Error => format!("error: {}\n", finding.text),
        Severity::Warning => format!("warning: {}\n", finding.text),
    }
}

/// Whether one of them refuses logins.
pub fn is_grave(findings: &[Finding]) -> bool {
    findings.iter().any(|finding| finding.severity == Severity::Error)
}

fn fixed(done: &[String]) -> String {
    done.iter().map(|done| format!("fixed: {done}\n")).collect()
}

/// Mends what it can; `done` is what was done so far, in words.
fn fix(file: &Path, done: &mut Vec<String>) -> Result<()> {
    let opened = Opened::new(file)?;
    let users = opened.acting(|| {
        let users = opened.file.metadata().map_err(|error| Fault::new("inspect", file, error))?;
        let mode = users.mode() & 0o7777;
        // Logins read and write it as its owner or its group.
        let closed = (mode & !0o007) | 0o600;
        if mode != closed {
            rustix::fs::fchmod(&opened.file, Mode::from_raw_mode(closed))
                .map_err(|error| Fault::new("change the mode of", file, error))?;
            done.push(format!("{} had mode {mode:04o}, now {closed:04o}", file.display()));
        }
        Ok(Access::of(&opened.file).map_err(|error| Fault::new("inspect", file, error))?)
    })?;
    for (path, mended) in companions(&opened, &users)? {
        let CompanionMended { was_there, old, new, .. } = mended;
        let shown = path.display();
        if !was_there {
            done.push(format!("made {shown}"));
            continue;
        }
        if (old.uid, old.gid) != (new.uid, new.gid) {
            let [old, new] =
                [old.clone(), new.clone()].map(|access| account::names(access.uid, access.gid));
            done.push(format!("{shown} belonged to {old}, now to {new}"));
        }
        if old.mode != new.mode {
            done.push(format!("{shown} had mode {:04o}, now {:04o}", old.mode, new.mode));
        }
    }
    let tidied = owner::acting(file, || Ok(edit::tidy(file)?))?;
    if tidied.is_recovered {
        done.push(format!("{}: finished an interrupted rewrite", file.display()));
    }
    if tidied.is_wiped {
        done.push(format!("wiped PINs and keys from {}", opened.paths.journal().display()));
    }
    done.extend(tidied.removed.iter().map(|path| format!("removed {}", path.display())));
    let mended = owner::acting(file, || Ok(edit::mend(file, tokens::now())?))?;
    if mended.is_mark_removed {
        done.push(format!("{}: removed the byte order mark", file.display()));
    }
    for (count, what) in
        [(mended.slots, "got their fixed columns"), (mended.sums, "got a correct checksum")]
    {
        if count > 0 {
            let lines = if count == 1 { "line" } else { "lines" };
            done.push(format!("{}: {count} {lines} {what}", file.display()));
        }
    }
    done.extend(companion::take_notices());
    Ok(())
}

/// Makes what isn't there of a users file's companions, and gives all of them to those who have the
/// users file.
pub fn companions(opened: &Opened, users: &Access) -> Result<Vec<(PathBuf, CompanionMended)>> {
    let (mut all, mut is_in_use, mut is_secret_new) = (Vec::new(), false, false);
    for (path, content) in opened.paths.companions() {
        let directory = directory_of(&path);
        let as_maker = |make: &mut dyn FnMut() -> std::result::Result<(), Fault>| {
            let made = owner::making_in(opened.place.as_ref(), directory, make);
            made.map_err(|failure| Fault::of("make", &path, &failure.to_string(), "see the cause"))?
        };
        let mended = companion::mend(&path, users, content, as_maker)?;
        is_in_use |= matches!(content, CompanionContent::Kept(_)) && mended.was_there;
        is_secret_new |= content == CompanionContent::Secret && mended.is_new;
        all.push((path, mended));
    }
    if is_in_use && is_secret_new {
        opened.acting(|| Ok(secret::have_it_read_again(&opened.paths.configured)?))?;
    }
    Ok(all)
}
