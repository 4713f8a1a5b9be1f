//! What the file itself demands of all logins on it: its `#@ limits` lines.

use std::fs::File;
use std::io;
use std::path::Path;

use super::file::read_line;
use super::index::Index;
use super::pragma::PragmaKind;
use super::{pragma, rewrite};
use crate::files::fault::Fault;
use crate::policy::Limits;

/// Reads them where the index has them. `None`: the index is out of date. A line at fault is a
/// fault of the whole file: nobody knows what it was to forbid.
pub(super) fn read(
    file: &File,
    index: &Index,
    path: &Path,
) -> io::Result<Option<Result<Limits, Fault>>> {
    let Some(offsets) = index.everybodys_lines()? else { return Ok(None) };
    let mut limits = Limits::default();
    for offset in offsets {
        let Some(line) = read_line(file, offset)? else { return Ok(None) };
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
    }
    Ok(Some(Ok(limits)))
}

fn fault(path: &Path, number: u64, error: &pragma::PragmaError) -> Fault {
    let remedy = "nobody can log in until it is corrected with `otpgate edit`";
    Fault::of("use", path, &format!("line {number}: {error}"), remedy)
}
