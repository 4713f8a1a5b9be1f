//! What tests of the library itself share: a file in a directory of its own, a log to be looked at,
//! and nobody who checks PINs elsewhere.

// Each test binary uses its own part of it.
#![allow(dead_code)]

use std::fs;
use std::path::PathBuf;
use std::sync::Mutex;

use otpgate::decide::PinAnswer;
use otpgate::gate::PinSource;
use otpgate::log::{Level, Log};

/// The key of RFC 4226 appendix D, for which `KEY` stands in the lines of a scene.
pub const KEY: &str = "3132333435363738393031323334353637383930";

/// For tests without PINs that are checked elsewhere.
pub struct NoPins;

impl PinSource for NoPins {
    fn identity(&self) -> Vec<u8> {
        Vec::new()
    }
    fn check(&self, _: &[u8], _: &[u8]) -> PinAnswer {
        unreachable!("there is no source")
    }
}

/// What was logged, in order.
#[derive(Default)]
pub struct Lines(Mutex<Vec<(Level, String)>>);

impl Log for Lines {
    fn log(&self, level: Level, message: std::fmt::Arguments<'_>) {
        self.0.lock().unwrap().push((level, message.to_string()));
    }
}

impl Lines {
    pub fn with_levels(self) -> Vec<(Level, String)> {
        self.0.into_inner().unwrap()
    }

    pub fn texts(self) -> Vec<String> {
        self.with_levels().into_iter().map(|(_, text)| text).collect()
    }
}

/// A file in a directory of its own; each test adds what it does with it.
pub struct Scene {
    pub directory: tempfile::TempDir,
    pub path: PathBuf,
}

impl Scene {
    /// A users file.
    pub fn new(content: &str) -> Scene {
        Scene::with_file("users", content)
    }

    pub fn with_file(name: &str, content: &str) -> Scene {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(name);
        fs::write(&path, content.replace("KEY", KEY)).unwrap();
        Scene { directory, path }
    }
}
