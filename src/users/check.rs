//! What a configuration test says about a users file: problems that would refuse logins, and likely mistakes.

use std::fs::{File, Metadata, OpenOptions};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use jiff::tz::TimeZone;

use super::fault::Fault;
use super::lock::Paths;
use super::{index, line, record};
use crate::token::{Algorithm, Pin};

/// How grave a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// Logins will be refused.
    Error,
    /// Likely to be a mistake.
    Warning,
}

/// One finding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// How grave it is.
    pub severity: Severity,
    /// What and where, and what to do.
    pub text: String,
}

fn error(text: String) -> Finding {
    Finding { severity: Severity::Error, text }
}

fn warning(text: String) -> Finding {
    Finding { severity: Severity::Warning, text }
}

/// Tries the accesses that logins need, as the calling thread's user: reading and writing the file, its lock and
/// its journal, or making the latter two.
pub fn access(configured: &Path) -> Vec<Finding> {
    let mut findings = Vec::new();
    let paths = match Paths::resolve(configured) {
        Ok(paths) => paths,
        Err(fault) => return vec![error(fault.to_string())],
    };
    let path = &paths.resolved;
    match open_for_update(path) {
        Ok(file) => match file.metadata() {
            Ok(metadata) => findings.extend(mode(path, &metadata)),
            Err(cause) => findings.push(error(Fault::new("inspect", path, cause).to_string())),
        },
        Err(cause) => findings.push(error(Fault::new("open for writing", path, cause).to_string())),
    }
    for companion in paths.lock_files().into_iter().chain([paths.journal()]) {
        findings.extend(companion_access(&companion));
    }
    findings
}

/// A lock or journal file must be there and usable, or the server must be able to make it.
fn companion_access(path: &Path) -> Option<Finding> {
    match open_for_update(path) {
        Ok(_) => None,
        Err(cause) if cause.kind() != std::io::ErrorKind::NotFound => {
            Some(error(Fault::new("open", path, cause).to_string()))
        }
        Err(_) if can_create_beside(path) => None,
        Err(_) => Some(warning(format!(
            "{} is not there and the server's user can't make it, the directory is not writable: logins are refused until `otpgate init` has made it",
            path.display()
        ))),
    }
}

fn open_for_update(path: &Path) -> std::io::Result<File> {
    OpenOptions::new().read(true).write(true).custom_flags(libc::O_NONBLOCK | libc::O_NOFOLLOW).open(path)
}

fn can_create_beside(path: &Path) -> bool {
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    // EACCESS: with the identity for files, not the process's own.
    rustix::fs::accessat(
        rustix::fs::CWD,
        directory,
        rustix::fs::Access::WRITE_OK | rustix::fs::Access::EXEC_OK,
        rustix::fs::AtFlags::EACCESS,
    )
    .is_ok()
}

fn mode(path: &Path, metadata: &Metadata) -> Vec<Finding> {
    let mut findings = Vec::new();
    if !metadata.is_file() {
        return vec![error(format!("{} is not a regular file", path.display()))];
    }
    if metadata.mode() & 0o002 != 0 {
        findings.push(error(format!(
            "{} is writable by everybody, who could add users; `chmod o-w` it",
            path.display()
        )));
    }
    if metadata.mode() & 0o004 != 0 {
        findings.push(warning(format!(
            "{} is readable by everybody, with its keys and PINs; `chmod o-r` it",
            path.display()
        )));
    }
    findings
}

/// What the lines say by themselves.
pub struct Lines {
    /// Problems with single lines.
    pub findings: Vec<Finding>,
    /// Number of the first line with an external PIN.
    pub external_pin: Option<u64>,
}

/// So many findings about lines are told; a broken file has thousands.
const FINDINGS_MAX: usize = 20;

/// Reads every line; tells the first findings and the number of the others.
pub fn lines(configured: &Path) -> Result<Lines, Fault> {
    first_findings(configured, FINDINGS_MAX)
}

/// Reads every line and tells everything.
pub fn all_lines(configured: &Path) -> Result<Lines, Fault> {
    first_findings(configured, usize::MAX)
}

fn first_findings(configured: &Path, max: usize) -> Result<Lines, Fault> {
    let file = File::open(configured).map_err(|cause| Fault::new("open", configured, cause))?;
    let mut lines = Lines { findings: Vec::new(), external_pin: None };
    let mut number = 0;
    let mut more = 0u64;
    let zone = TimeZone::UTC;
    let read = index::for_each_line(&file, |_, line| {
        number += 1;
        if line::is_ignored(line) {
            return;
        }
        let finding = match record::parse(line, &zone) {
            Err(reason) => Some(error(format!("{} line {number}: {reason}", configured.display()))),
            Ok(record) => match (record.token.algorithm, record.token.pin) {
                (Algorithm::Motp, Pin::External) => Some(warning(format!(
                    "{} line {number}: a Mobile-OTP token can't have an external PIN (+): its user is refused",
                    configured.display()
                ))),
                (_, Pin::External) => {
                    lines.external_pin = lines.external_pin.or(Some(number));
                    None
                }
                _ => None,
            },
        };
        match finding {
            Some(finding) if lines.findings.len() < max => lines.findings.push(finding),
            Some(_) => more += 1,
            None => {}
        }
    });
    read.map_err(|cause| Fault::new("read", configured, cause))?;
    if more > 0 {
        lines.findings.push(error(format!(
            "{}: {more} more lines with findings; see `otpgate check`",
            configured.display()
        )));
    }
    Ok(lines)
}
