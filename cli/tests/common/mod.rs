//! A directory with a users file, and the command run on it.

// Each test program uses a part.
#![allow(dead_code)]

use std::fs;
use std::io::Write;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

pub const PROGRAM: &str = env!("CARGO_BIN_EXE_otpgate");

pub struct Site {
    pub directory: tempfile::TempDir,
}

pub struct Ran {
    pub status: i32,
    pub out: String,
    pub err: String,
}

impl Ran {
    #[track_caller]
    pub fn is(&self, status: i32) -> &Ran {
        assert_eq!(self.status, status, "out: {}\nerr: {}", self.out, self.err);
        self
    }

    #[track_caller]
    pub fn complains_of(&self, text: &str) -> &Ran {
        assert!(self.err.contains(text), "{text:?} isn't in {:?}", self.err);
        self.is(1)
    }
}

impl Site {
    /// A directory of the account that runs the tests, so that root acts as itself here.
    pub fn new() -> Site {
        Site { directory: tempfile::tempdir().unwrap() }
    }

    /// With an empty users file.
    pub fn ready() -> Site {
        let site = Site::new();
        site.run(&["init", "--user", &own_name()], "").is(0);
        site
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub fn users(&self) -> PathBuf {
        self.path("users")
    }

    pub fn run(&self, args: &[&str], input: &str) -> Ran {
        self.run_as(Path::new(PROGRAM), args, input)
    }

    /// Under another name, which the link has.
    pub fn run_as(&self, program: &Path, args: &[&str], input: &str) -> Ran {
        let mut child = Command::new(program)
            .args(args)
            .env("OTPGATE_USERS_FILE", self.users())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // A command that needs no input may be gone by now.
        let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
        let output = child.wait_with_output().unwrap();
        Ran {
            status: output.status.code().expect("an exit status"),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }

    /// A link to the command, of one of its other names.
    pub fn link(&self, name: &str) -> PathBuf {
        let link = self.path(name);
        symlink(PROGRAM, &link).unwrap();
        link
    }

    pub fn content(&self) -> String {
        fs::read_to_string(self.users()).unwrap()
    }

    pub fn first_words(&self) -> Vec<Vec<String>> {
        let words = |line: &str| line.split_ascii_whitespace().take(4).map(str::to_owned).collect();
        self.content().lines().map(words).collect()
    }
}

pub fn own_name() -> String {
    let output = Command::new("id").arg("-un").output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}
