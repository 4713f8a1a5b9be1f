//! A user's further ways in: the `#@` lines about them.

use std::fs::File;
use std::io;

use super::file::read_line;
use super::index::Index;
use super::pragma::{self, Pragma, PragmaKind};
use crate::token::{Always, WAYS_MAX, Ways};

/// Reads them where the index has them. `None`: the index is out of date.
///
/// A line at fault lets nobody in. If it was to close something, it closes everything; so do more
/// lines than are read.
pub(super) fn read(
    file: &File,
    index: &Index,
    user: &[u8],
    offsets: &[u64],
) -> io::Result<Option<Ways>> {
    if offsets.len() > WAYS_MAX {
        return Ok(Some(Ways { always: Always::ALL, ..Ways::default() }));
    }
    let mut ways = Ways::default();
    for &offset in offsets {
        let Some(line) = read_line(file, offset)? else { return Ok(None) };
        if pragma::user_of(&line).as_deref() != Some(user) {
            if !index.is_near_ways(&line, user) {
                return Ok(None);
            }
            continue;
        }
        match pragma::parse(&line) {
            Some(Ok(Pragma::App(_, app))) => ways.apps.push(app),
            Some(Ok(Pragma::Trust(_, networks))) => ways.trusted.extend(networks),
            Some(Ok(Pragma::Always(_, always))) => ways.always = ways.always.with(always),
            Some(Err(error)) if error.kind == PragmaKind::Always => ways.always = Always::ALL,
            _ => {}
        }
    }
    Ok(Some(ways))
}
