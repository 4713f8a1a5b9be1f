//! What must hold for any bytes: one body for each kind of them. A body takes bytes and panics if
//! something doesn't hold. `make fuzz` has libFuzzer look for such bytes; `cli/tests/fuzz.rs`
//! replays those in `fuzz/corpus` and some made from them in every test run.
//!
//! Users, PINs and keys in here and in the corpora are those of published test vectors, or made up.

mod exchange;
mod ffi;
mod page;
mod pins;
mod request;
mod settings;
mod throttle;
mod users;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

/// A kind of bytes, and what must hold for them.
pub struct Target {
    /// Of its corpus, and on the command line.
    pub name: &'static str,
    /// Panics if something doesn't hold.
    pub body: fn(&[u8]),
    /// What means something in such bytes, for whoever makes them up.
    pub words: &'static [&'static str],
}

/// All of them.
pub const TARGETS: &[Target] = &[
    Target { name: "record", body: users::record, words: users::RECORD_WORDS },
    Target { name: "pragma", body: users::pragma, words: users::PRAGMA_WORDS },
    Target { name: "users_file", body: users::file, words: users::FILE_WORDS },
    Target { name: "user_name", body: users::name, words: users::NAME_WORDS },
    Target { name: "journal", body: users::journal, words: users::PATCH_WORDS },
    Target { name: "index", body: users::index, words: users::PATCH_WORDS },
    Target { name: "throttle", body: throttle::throttle, words: throttle::WORDS },
    Target { name: "basic", body: request::basic, words: request::BASIC_WORDS },
    Target { name: "digest", body: request::digest, words: request::DIGEST_WORDS },
    Target { name: "cookie", body: request::cookie, words: request::COOKIE_WORDS },
    Target { name: "sealed", body: request::sealed, words: request::SEALED_WORDS },
    Target { name: "form", body: request::form, words: request::FORM_WORDS },
    Target { name: "path", body: request::path, words: request::TARGET_WORDS },
    Target { name: "back", body: request::back, words: request::TARGET_WORDS },
    Target { name: "accept", body: request::accept, words: request::ACCEPT_WORDS },
    Target { name: "settings", body: settings::settings, words: settings::WORDS },
    Target { name: "pin_file", body: pins::pin_file, words: pins::PIN_WORDS },
    Target { name: "group_file", body: pins::group_file, words: pins::GROUP_WORDS },
    Target { name: "template", body: page::template, words: page::WORDS },
    Target { name: "otpauth", body: exchange::otpauth, words: exchange::OTPAUTH_WORDS },
    Target { name: "pskc", body: exchange::pskc, words: exchange::PSKC_WORDS },
    Target { name: "csv", body: exchange::csv, words: exchange::CSV_WORDS },
    Target { name: "google", body: exchange::google, words: exchange::GOOGLE_WORDS },
    Target { name: "liboath", body: exchange::liboath, words: users::RECORD_WORDS },
    Target { name: "apps", body: exchange::apps, words: exchange::APPS_WORDS },
    Target { name: "ffi", body: ffi::ffi, words: ffi::WORDS },
];

/// Takes pieces off the front of some bytes: whatever they are, there are always more.
struct Pieces<'d>(&'d [u8]);

impl<'d> Pieces<'d> {
    fn byte(&mut self) -> u8 {
        let Some((&byte, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        byte
    }

    fn number(&mut self) -> u64 {
        let mut bytes = [0; 8];
        bytes.fill_with(|| self.byte());
        u64::from_le_bytes(bytes)
    }

    /// Up to the next NUL.
    fn text(&mut self) -> &'d [u8] {
        let end = self.0.iter().position(|&b| b == 0).unwrap_or(self.0.len());
        let text = &self.0[..end];
        self.0 = self.0.get(end + 1..).unwrap_or_default();
        text
    }

    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Changes bytes somewhere: place and length (2 bytes each), then what is to be there.
fn patch(bytes: &mut [u8], pieces: &mut Pieces<'_>) {
    let at = usize::from(u16::from_le_bytes([pieces.byte(), pieces.byte()]));
    let len = usize::from(pieces.byte());
    if bytes.is_empty() {
        return;
    }
    for i in 0..len {
        let place = (at + i) % bytes.len();
        bytes[place] = pieces.byte();
    }
}

/// A directory of this thread's for a body, the same each time: in memory if there is such.
fn directory(name: &'static str) -> PathBuf {
    thread_local! {
        static DIRECTORIES: RefCell<BTreeMap<&'static str, TempDir>> = RefCell::default();
    }
    DIRECTORIES.with_borrow_mut(|all| {
        let directory = all.entry(name).or_insert_with(|| {
            let memory = Path::new("/dev/shm");
            match memory.is_dir() {
                true => tempfile::tempdir_in(memory),
                false => tempfile::tempdir(),
            }
            .expect("a directory")
        });
        directory.path().to_owned()
    })
}
