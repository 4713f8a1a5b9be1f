//! What the file itself says of all logins on it: its `#@ limits` and `#@ allow` lines, and those
//! `#@ always` lines that don't say whom they are about.

use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::Arc;

use super::file::read_line;
use super::index::Index;
use super::pragma::{Pragma, PragmaKind};
use super::{pragma, rewrite};
use crate::files::fault::Fault;
use crate::policy::{Allow, Limits};
use crate::token::Always;

/// What holds for everybody.
#[derive(Clone, Default)]
pub(super) struct FileRules {
    pub(super) limits: Limits,
    pub(super) allow: Arc<Allow>,
    /// What is closed for everybody.
    pub(super) always: Always,
}

/// Reads them where the index has them. `None`: the index is out of date. A line of limits at fault
/// is a fault of the whole file: nobody knows what it was to forbid. One that is to allow something
/// allows nothing.
pub(super) fn read(
    file: &File,
    index: &Index,
    path: &Path,
) -> io::Result<Option<Result<FileRules, Fault>>> {
    let Some(offsets) = index.everybodys_lines()? else { return Ok(None) };
    let (mut limits, mut allow, mut always) =
        (Limits::default(), Allow::default(), Always::default());
    for offset in offsets {
        let Some(line) = read_line(file, offset)? else { return Ok(None) };
        if pragma::closes_for_everybody(&line) {
            always = Always::ALL;
            continue;
        }
        if !PragmaKind::of(&line).is_some_and(PragmaKind::concerns_everybody) {
            if index.is_near_everybodys(&line) {
                continue;
            }
            return Ok(None);
        }
        limits = match pragma::limits_with(limits, &line) {
            Ok(limits) => limits,
            Err(error) => {
                return Ok(Some(Err(fault(path, rewrite::line_number(file, offset), &error))));
            }
        };
        if let Some(Ok(Pragma::Allow(more))) = pragma::parse(&line) {
            allow = allow.with(more);
        }
    }
    Ok(Some(Ok(FileRules { limits, allow: Arc::new(allow), always })))
}

fn fault(path: &Path, number: u64, error: &pragma::PragmaError) -> Fault {
    let remedy = "nobody can log in until it is corrected with `otpgate edit`";
    Fault::of("use", path, &format!("line {number}: {error}"), remedy)
}
