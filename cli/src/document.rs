//! Files that an admin names as input, and what is wrong in them, with its places.

use std::fmt::Write;
use std::fs::File;
use std::io::Read as _;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use otpgate::log::Quoted;
use zeroize::Zeroizing;

use crate::exchange::Flaw;
use crate::{Failure, Result};

/// Larger than any list of tokens, smaller than what a machine's memory takes.
const SIZE_MAX: u64 = 256 * 1024 * 1024;
/// Longer lists are cut.
const TOLD_MAX: usize = 20;

/// What messages call an input.
pub fn name_of(input: &Path) -> String {
    match input {
        path if path == Path::new("-") => "standard input".to_owned(),
        path => shown(path),
    }
}

/// A path as messages show it: whatever is in a file's name, it shall not move the cursor.
pub fn shown(path: &Path) -> String {
    match path.to_str() {
        Some(text) if !text.chars().any(char::is_control) => text.to_owned(),
        _ => Quoted(path.as_os_str().as_bytes()).to_string(),
    }
}

/// All of a file, or of standard input (`-`).
pub fn read(input: &Path, name: &str) -> Result<Zeroizing<Vec<u8>>> {
    let fault = |error: std::io::Error| Failure::new(format!("cannot read {name}: {error}"));
    let too_large = || {
        Failure::new(format!(
            "{name}: it is larger than {} MiB; import it in parts",
            SIZE_MAX >> 20
        ))
    };
    let mut document = Zeroizing::new(Vec::new());
    if input == Path::new("-") {
        std::io::stdin().lock().take(SIZE_MAX + 1).read_to_end(&mut document).map_err(fault)?;
    } else {
        let file = File::open(input).map_err(fault)?;
        let size = file.metadata().map_err(fault)?.len();
        if size > SIZE_MAX {
            return Err(too_large());
        }
        // Room for all of it: what a growing buffer leaves behind isn't wiped.
        document.reserve(size as usize + 1);
        file.take(SIZE_MAX + 1).read_to_end(&mut document).map_err(fault)?;
    }
    if document.len() as u64 > SIZE_MAX { Err(too_large()) } else { Ok(document) }
}

/// What stands in the way. `place` is what a place in the document is called.
pub fn refusal(name: &str, place: &str, what: &str, hint: &str, flaws: &[Flaw]) -> Failure {
    Failure::new(listed(name, place, what, hint, flaws, TOLD_MAX))
}

/// A list with its heading.
pub fn listed(
    name: &str,
    place: &str,
    what: &str,
    hint: &str,
    flaws: &[Flaw],
    most: usize,
) -> String {
    if let [Flaw { place: None, text }] = flaws {
        return format!("{name}: {text}");
    }
    let mut told = format!("{name}: {what}: {}; {hint}", flaws.len());
    for flaw in flaws.iter().take(most) {
        match flaw.place {
            Some(number) => write!(told, "\n  {place} {number}: {}", flaw.text),
            None => write!(told, "\n  {}", flaw.text),
        }
        .expect("writing to memory");
    }
    if flaws.len() > most {
        write!(told, "\n  and {} more", flaws.len() - most).expect("writing to memory");
    }
    told
}
