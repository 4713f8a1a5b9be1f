//! A directory with a users file, and the command run on it.

// Each test program uses a part.
#![allow(dead_code)]

use std::fs;
use std::io::Write;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{SystemTime, UNIX_EPOCH};

use otpgate::decide::PinAnswer;
use otpgate::gate::{Gate, Login, PinSource};
use otpgate::log::{Level, Log};
use otpgate::policy::{Server, Settings};
use otpgate::token::Address;
use otpgate::users::file::UsersFile;

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
        // Without what `init` writes into a new one.
        fs::write(site.users(), "").unwrap();
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
        ran(Command::new(program).args(args).env("OTPGATE_USERS_FILE", self.users()), input)
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

/// Runs a command to its end.
pub fn ran(command: &mut Command, input: &str) -> Ran {
    let mut child = command
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

pub fn own_name() -> String {
    let output = Command::new("id").arg("-un").output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// What another program prints; it has to succeed.
#[track_caller]
pub fn output_of(program: &str, args: &[&str]) -> String {
    let output = Command::new(program)
        .args(args)
        .output()
        .unwrap_or_else(|error| panic!("{program}: {error}"));
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(
        output.status.success(),
        "{program}: {text}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    text.trim_end().to_owned()
}

/// The parameter of an otpauth:// address.
#[track_caller]
pub fn parameter<'a>(address: &'a str, name: &str) -> &'a str {
    let mut parameters = address.split_once('?').unwrap().1.split('&');
    parameters.find_map(|parameter| parameter.strip_prefix(&format!("{name}="))).unwrap()
}

struct Quiet;

impl Log for Quiet {
    fn log(&self, _: Level, _: std::fmt::Arguments<'_>) {}
}

struct NoPins;

impl PinSource for NoPins {
    fn identity(&self) -> Vec<u8> {
        Vec::new()
    }

    fn check(&self, _: &[u8], _: &[u8]) -> PinAnswer {
        PinAnswer::NoSource
    }
}

impl Site {
    /// A login as a server would judge it: the result word.
    pub fn login(&self, user: &str, password: &str) -> &'static str {
        let now = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() as i64;
        let gate = Gate::new(UsersFile::new(&self.users()), now).unwrap();
        let login = Login {
            user: user.as_bytes(),
            password: password.as_bytes(),
            address: Address::Unknown,
        };
        gate.basic(&Settings::default().policy(Server::Apache), &login, &NoPins, None, &Quiet)
            .word
            .as_str()
    }
}
