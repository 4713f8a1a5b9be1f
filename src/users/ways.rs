//! A user's further ways in: the `#@` lines about them.

use std::fs::File;
use std::io;

use super::file::read_line;
use super::index::Index;
use super::pragma::{self, Pragma, PragmaError, PragmaKind};
use crate::token::{Always, WAYS_MAX, Ways};

/// What servers may write of it, and where.
#[derive(Default)]
pub(super) struct WaysSpots {
    /// For each app, where the hour of its last use stands, if the line has one.
    pub(super) used: Vec<Option<u64>>,
    /// Where lines begin that a server has added.
    pub(super) added: Vec<u64>,
}

/// Reads them where the index has them. `None`: the index is out of date.
///
/// A line at fault lets nobody in. If it was to close something, it closes everything; so do more
/// lines than are read.
pub(super) fn read(
    file: &File,
    index: &Index,
    user: &[u8],
    offsets: &[u64],
) -> io::Result<Option<(Ways, WaysSpots)>> {
    let (mut ways, mut spots) = (Ways::default(), WaysSpots::default());
    if offsets.len() > WAYS_MAX {
        ways.always = Always::ALL;
        return Ok(Some((ways, spots)));
    }
    for &offset in offsets {
        let Some(line) = read_line(file, offset)? else { return Ok(None) };
        if pragma::user_of(&line).as_deref() != Some(user) {
            if !index.is_near_ways(&line, user) {
                return Ok(None);
            }
            continue;
        }
        let said = pragma::parse(&line);
        match &said {
            Some(Ok(Pragma::App(..))) => {
                spots.used.push(pragma::used_hour(&line).map(|hour| offset + hour.start as u64));
            }
            Some(Ok(Pragma::Always(_, Always::UNTIL_CODE))) => spots.added.push(offset),
            _ => {}
        }
        add(&mut ways, said);
    }
    Ok(Some((ways, spots)))
}

/// The same of lines of one user that are at hand, however many there are.
pub fn of_lines<'a>(lines: impl Iterator<Item = &'a [u8]>) -> Ways {
    let mut ways = Ways::default();
    lines.for_each(|line| add(&mut ways, pragma::parse(line)));
    ways
}

fn add(ways: &mut Ways, said: Option<Result<Pragma, PragmaError>>) {
    match said {
        Some(Ok(Pragma::App(_, app))) => ways.apps.push(app),
        Some(Ok(Pragma::Trust(_, networks))) => ways.trusted.extend(networks),
        Some(Ok(Pragma::Always(_, always))) => ways.always = ways.always.with(always),
        Some(Err(error)) if error.kind == PragmaKind::Always => ways.always = Always::ALL,
        _ => {}
    }
}
