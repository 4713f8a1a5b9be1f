//! A line as text: its words, and whether it is about anybody.

use std::ops::Range;

/// Longest line that is looked into, in bytes. A longer one is unreadable.
pub const LINE_MAX: usize = 64 * 1024;

/// Blanks separate fields: space, tab, CR, VT.
pub fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r' | 0x0b)
}

/// The words of a line, as ranges into it.
pub fn words(line: &[u8]) -> impl Iterator<Item = Range<usize>> + '_ {
    let mut at = 0;
    std::iter::from_fn(move || {
        let start = at + line[at..].iter().position(|&b| !is_blank(b))?;
        let len = line[start..].iter().position(|&b| is_blank(b)).unwrap_or(line.len() - start);
        at = start + len;
        Some(start..at)
    })
}

/// A blank line or a comment.
pub fn is_ignored(line: &[u8]) -> bool {
    line.first() == Some(&b'#') || line.iter().all(|&b| is_blank(b))
}

/// The user a line is about, even if the rest of it can't be read.
pub fn user_of(line: &[u8]) -> Option<&[u8]> {
    if is_ignored(line) {
        return None;
    }
    words(line).nth(1).map(|word| &line[word])
}
