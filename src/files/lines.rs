//! Text files line by line, and what blanks and comments are in them.

use std::convert::Infallible;
use std::fs::File;
use std::io;
use std::ops::ControlFlow;
use std::os::unix::fs::FileExt;

use memchr::memchr;

const CHUNK: usize = 1 << 18;

/// Blanks separate fields: space, tab, CR, VT.
pub fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r' | 0x0b)
}

/// A blank line or a comment.
pub fn is_ignored(line: &[u8]) -> bool {
    line.first() == Some(&b'#') || line.iter().all(|&b| is_blank(b))
}

/// Fills the buffer as far as the file goes.
pub fn read_as_far_as_possible(file: &File, buffer: &mut [u8], at: u64) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match FileExt::read_at(file, &mut buffer[filled..], at + filled as u64) {
            Ok(0) => break,
            Ok(n) => filled += n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

/// Calls back for each line, with its offset and without its line end. Lines beyond the record
/// limit are cut: enough to see whose they are.
pub fn for_each_line(file: &File, mut each: impl FnMut(u64, &[u8])) -> io::Result<()> {
    let each = |offset, line: &[u8]| {
        each(offset, line);
        ControlFlow::<Infallible>::Continue(())
    };
    match until_a_line_breaks(file, each)? {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(never) => match never {},
    }
}

/// The same until a call wants no more.
pub fn until_a_line_breaks<B>(
    file: &File,
    mut each: impl FnMut(u64, &[u8]) -> ControlFlow<B>,
) -> io::Result<ControlFlow<B>> {
    let mut buffer = vec![0; CHUNK];
    // Bytes of `buffer` that are filled, from file offset `base` on.
    let (mut filled, mut base) = (0, 0u64);
    let mut in_cut_line = false;
    loop {
        let read = read_as_far_as_possible(file, &mut buffer[filled..], base + filled as u64)?;
        let at_end = read < buffer.len() - filled;
        filled += read;
        let mut start = 0;
        while let Some(len) = memchr(b'\n', &buffer[start..filled]) {
            if !in_cut_line
                && let ControlFlow::Break(reason) =
                    each(base + start as u64, &buffer[start..start + len])
            {
                return Ok(ControlFlow::Break(reason));
            }
            in_cut_line = false;
            start += len + 1;
        }
        if at_end {
            if start < filled && !in_cut_line {
                return Ok(each(base + start as u64, &buffer[start..filled]));
            }
            return Ok(ControlFlow::Continue(()));
        }
        if start == 0 {
            if !in_cut_line && let ControlFlow::Break(reason) = each(base, &buffer[..filled]) {
                return Ok(ControlFlow::Break(reason));
            }
            in_cut_line = true;
            start = filled;
        }
        buffer.copy_within(start..filled, 0);
        base += start as u64;
        filled -= start;
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn lines_longer_than_any_buffer_are_passed_over_whole() {
        let mut content = b"HOTP long ".to_vec();
        content.resize(3 * CHUNK + 17, b'x');
        content.extend_from_slice(b"\nHOTP bob - 00\n");
        let mut seen = Vec::new();
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&content).unwrap();
        for_each_line(&file, |offset, line| seen.push((offset, line.len()))).unwrap();
        assert_eq!(seen, [(0, CHUNK), (3 * CHUNK as u64 + 18, 13)]);
    }
}
