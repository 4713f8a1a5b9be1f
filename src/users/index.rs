//! Where a user's lines are: from a name to offsets in the file, eight bytes a line.
//!
//! Keys are hashes of *folded* names (blanks trimmed, Unicode lower case), so that one look-up finds both the
//! user and a name that only looks like theirs. An offset is a hint: whoever follows it checks the line there.

use std::fs::File;
use std::hash::{BuildHasher, RandomState};
use std::io;

use super::journal::read_as_far_as_possible;
use super::line;

/// Offsets up to 1 TiB, beside 24 bits of the hash.
const OFFSET_BITS: u32 = 40;
const CHUNK: usize = 1 << 18;

/// An index of one state of a file.
pub struct Index {
    /// Open addressing; 0 is free, else the hash's upper bits and the offset + 1.
    table: Vec<u64>,
    keys: RandomState,
}

impl Index {
    /// Reads the whole file once.
    pub fn build(file: &File) -> io::Result<Index> {
        let keys = RandomState::new();
        let mut found: Vec<(u64, u64)> = Vec::new();
        for_each_line(file, |offset, line| {
            if let Some(user) = line::user_of(line) {
                found.push((keys.hash_one(&fold(user)[..]), offset));
            }
        })?;
        let size = (found.len() * 3 / 2).next_power_of_two().max(4);
        let mut index = Index { table: vec![0; size], keys };
        for (hash, offset) in found {
            index.insert(hash, offset)?;
        }
        Ok(index)
    }

    fn insert(&mut self, hash: u64, offset: u64) -> io::Result<()> {
        if offset + 1 >= 1 << OFFSET_BITS {
            return Err(io::Error::other("the file is larger than 1 TiB"));
        }
        let mask = self.table.len() - 1;
        let mut place = hash as usize & mask;
        while self.table[place] != 0 {
            place = (place + 1) & mask;
        }
        self.table[place] = (hash >> OFFSET_BITS << OFFSET_BITS) | (offset + 1);
        Ok(())
    }

    /// Offsets, in file order, of lines whose folded name is probably that of `user`.
    pub fn lines_of(&self, user: &[u8]) -> Vec<u64> {
        let hash = self.keys.hash_one(&fold(user)[..]);
        let mask = self.table.len() - 1;
        let mut place = hash as usize & mask;
        let mut offsets = Vec::new();
        while self.table[place] != 0 {
            if self.table[place] >> OFFSET_BITS == hash >> OFFSET_BITS {
                offsets.push((self.table[place] & ((1 << OFFSET_BITS) - 1)) - 1);
            }
            place = (place + 1) & mask;
        }
        offsets.sort_unstable();
        offsets
    }
}

/// A name as a careless directory might compare it: without blanks around it, in Unicode lower case. Bytes that
/// are no UTF-8 are folded as ASCII.
pub fn fold(name: &[u8]) -> Vec<u8> {
    match str::from_utf8(name) {
        Ok(text) if !text.is_ascii() => text.trim().to_lowercase().into_bytes(),
        _ => name.trim_ascii().to_ascii_lowercase(),
    }
}

/// Calls back for each line, with its offset and without its line end. Lines beyond the record limit are cut:
/// enough to see whose they are.
pub fn for_each_line(file: &File, mut each: impl FnMut(u64, &[u8])) -> io::Result<()> {
    let mut buffer = vec![0; CHUNK];
    // Bytes of `buffer` that are filled, from file offset `base` on.
    let (mut filled, mut base) = (0, 0u64);
    let mut in_cut_line = false;
    loop {
        let read = read_as_far_as_possible(file, &mut buffer[filled..], base + filled as u64)?;
        let at_end = read < buffer.len() - filled;
        filled += read;
        let mut start = 0;
        while let Some(len) = buffer[start..filled].iter().position(|&b| b == b'\n') {
            if !in_cut_line {
                each(base + start as u64, &buffer[start..start + len]);
            }
            in_cut_line = false;
            start += len + 1;
        }
        if at_end {
            if start < filled && !in_cut_line {
                each(base + start as u64, &buffer[start..filled]);
            }
            return Ok(());
        }
        if start == 0 {
            if !in_cut_line {
                each(base, &buffer[..filled]);
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
    use super::*;

    fn file_of(content: &[u8]) -> File {
        use std::io::Write;
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(content).unwrap();
        file
    }

    #[test]
    fn lines_are_found_by_folded_name_in_file_order() {
        let file = file_of(b"# c\nHOTP alice - 00\n\nHOTP Alice - 00\nHOTP bob - 00\nHOTP alice - 01");
        let index = Index::build(&file).unwrap();
        assert_eq!(index.lines_of(b"alice"), [4, 21, 51]);
        assert_eq!(index.lines_of(b" ALICE "), [4, 21, 51]);
        assert_eq!(index.lines_of(b"bob"), [37]);
        assert_eq!(index.lines_of(b"carol"), [0u64; 0]);
    }

    #[test]
    fn lines_longer_than_any_buffer_are_passed_over_whole() {
        let mut content = b"HOTP long ".to_vec();
        content.resize(3 * CHUNK + 17, b'x');
        content.extend_from_slice(b"\nHOTP bob - 00\n");
        let mut seen = Vec::new();
        for_each_line(&file_of(&content), |offset, line| seen.push((offset, line.len()))).unwrap();
        assert_eq!(seen, [(0, CHUNK), (3 * CHUNK as u64 + 18, 13)]);
    }

    #[test]
    fn many_users_are_all_found() {
        let content: String = (0..10_000).map(|i| format!("HOTP user{i} - 00\n")).collect();
        let file = file_of(content.as_bytes());
        let index = Index::build(&file).unwrap();
        for i in 0..10_000 {
            let user = format!("user{i}");
            assert!(
                index
                    .lines_of(user.as_bytes())
                    .iter()
                    .any(|&offset| { content[offset as usize..].starts_with(&format!("HOTP {user} ")) })
            );
        }
    }
}
