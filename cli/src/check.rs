//! `otpgate check`: every problem of the users file.

use std::path::Path;
use std::process::ExitCode;

use otpgate::users::check::{self, Finding, Severity};
use otpgate::users::fault::Fault;

use crate::{Result, account, owner, print};

/// Report every problem of the users file, with line numbers
///
/// Status 1 if a problem refuses logins; warnings alone leave it at 0.
#[derive(clap::Args)]
pub struct Arguments {
    /// Try the file access of this user [default: www-data or apache when run by root, else yourself]
    #[arg(long = "as", value_name = "USER")]
    as_user: Option<String>,
}

pub fn run(file: &Path, arguments: &Arguments) -> Result<ExitCode> {
    std::fs::metadata(file).map_err(|error| Fault::new("find", file, error))?;
    let server = account::of_server(arguments.as_user.as_deref())?;
    let mut findings = owner::acting_as(&server, || check::access(file))?;
    findings.extend(check::all_lines(file)?.findings);
    print(told(&findings))?;
    if findings.is_empty() {
        print(format_args!("{}: no problems, for a server that runs as {}\n", file.display(), server.name))?;
    }
    Ok(if is_grave(&findings) { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// One line per finding.
pub fn told(findings: &[Finding]) -> String {
    let line = |finding: &Finding| match finding.severity {
        Severity::Error => format!("error: {}\n", finding.text),
        Severity::Warning => format!("warning: {}\n", finding.text),
    };
    findings.iter().map(line).collect()
}

/// Whether one of them refuses logins.
pub fn is_grave(findings: &[Finding]) -> bool {
    findings.iter().any(|finding| finding.severity == Severity::Error)
}
