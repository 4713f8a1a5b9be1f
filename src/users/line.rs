//! A line as text: its words, and whether it is about anybody.

use std::ops::Range;

use crate::files::lines::{is_blank, is_ignored};

/// Longest line that is looked into, in bytes. A longer one is unreadable.
pub const LINE_MAX: usize = 64 * 1024;

/// The words of a line, as ranges into it.
pub fn words(line: &[u8]) -> impl Iterator<Item = Range<usize>> + '_ {
    let mut at = 0;
    std::iter::from_fn(move || {
        // Slots are mostly padding.
        while line[at..].starts_with(b"        ") {
            at += 8;
        }
        while is_blank(*line.get(at)?) {
            at += 1;
        }
        let start = at;
        while line.get(at).is_some_and(|&b| !is_blank(b)) {
            at += 1;
        }
        Some(start..at)
    })
}

/// A number in decimal digits only: no sign, at least one.
pub fn number(text: &[u8]) -> Option<u64> {
    if text.is_empty() {
        return None;
    }
    text.iter().try_fold(0u64, |number, &b| {
        let digit = b.is_ascii_digit().then(|| u64::from(b - b'0'))?;
        number.checked_mul(10)?.checked_add(digit)
    })
}

/// The user a line is about, even if the rest of it can't be read.
pub fn user_of(line: &[u8]) -> Option<&[u8]> {
    if is_ignored(line) {
        return None;
    }
    words(line).nth(1).map(|word| &line[word])
}
