//! `otpgate verify`: a login as a server would decide it.

use std::ffi::OsString;
use std::fmt;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Arc, Mutex};

use otpgate::UnixTime;
use otpgate::decide::{LoginResult, PinAnswer, Verdict};
use otpgate::gate::{Answer, Gate, Login, PinSource};
use otpgate::log::{Level, Log, Quoted};
use otpgate::pin::file::PinFile;
use otpgate::policy::Policy;
use otpgate::store::{Found, LoopTurn, Reach, Store, StoreError, Transaction, TriesError};
use otpgate::throttle::Bytes;
use otpgate::token::{Computer, Session, State};
use otpgate::users::file::UsersFile;
use serde_json::json;

use crate::list::user_text;
use crate::settings::Flags;
use crate::{Failure, Result, output, owner, print, prompt, tokens};

/// Log a user in like a server, and say which rule decided
///
/// Asks for PIN and code, run together, or reads them from standard input if that isn't a terminal.
/// As on a server, an accepted code is used up and a wrong one counted, unless --dry-run is given.
/// Prints the result word and the reason as servers log them. Status 0 if the login was granted, 1
/// if not.
#[derive(clap::Args)]
pub struct Arguments {
    /// The user
    user: OsString,
    /// Change nothing: neither use up the code nor count a wrong one
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    external: ExternalPins,
    #[command(flatten)]
    flags: Flags,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// What checks PINs marked `+`: by default nothing.
#[derive(clap::Args)]
pub struct ExternalPins {
    /// Check PINs marked + against this htpasswd file (auth_otp_pin_file)
    #[arg(long, value_name = "FILE")]
    pin_file: Option<PathBuf>,
    /// Accept any PIN marked +
    #[arg(long, conflicts_with = "pin_file")]
    assume_external_pin: bool,
}

pub fn run(file: &Path, arguments: &Arguments) -> Result<ExitCode> {
    let user = arguments.user.as_bytes();
    let policy = arguments.flags.policy();
    owner::acting(file, || Ok(()))?;
    let password = prompt::secret(&format!("PIN and code of {}: ", Quoted(user)))?;
    let login = Login { user, password: &password, address: arguments.flags.address() };
    let store = Uncounted { users: UsersFile::new(file), is_dry_run: arguments.dry_run };
    let decided = owner::acting(file, || decided(store, &policy, &login, &arguments.external))?;
    let is_granted = decided.verdict == Verdict::Granted;
    if arguments.json {
        let object = json!({
            "user": user_text(user),
            "granted": is_granted,
            "result": decided.word.as_str(),
            "reason": decided.reason,
            "dry_run": arguments.dry_run,
        });
        output::print_json(&object)?;
    } else {
        print(format_args!("{}: {}\n", decided.word.as_str(), decided.reason))?;
    }
    Ok(if is_granted { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// What a server answers and logs.
pub struct Verified {
    pub verdict: Verdict,
    pub word: LoginResult,
    pub reason: String,
}

/// Decides one login on a users file, or only says how it would be decided.
pub fn decided(
    store: impl Store,
    policy: &Policy,
    login: &Login<'_>,
    external: &ExternalPins,
) -> Result<Verified> {
    let gate = Gate::new(store, tokens::now)
        .ok_or_else(|| Failure::new("the system has no random bytes: see its log"))?;
    let log = LastLine::default();
    let answer = match &external.pin_file {
        Some(path) => gate.basic(policy, login, &PinFile::new(path.clone(), &log), None, &log),
        None => gate.basic(policy, login, &Assumed(external.assume_external_pin), None, &log),
    };
    let Answer { verdict, word, cause, .. } = answer;
    Ok(Verified { verdict, word, reason: cause.map(|cause| cause.to_string()).unwrap_or_default() })
}

/// How a login would be decided, changing nothing.
pub fn foreseen(
    file: &Path,
    policy: &Policy,
    login: &Login<'_>,
    external: &ExternalPins,
) -> Result<Verified> {
    let store = Uncounted { users: UsersFile::new(file), is_dry_run: true };
    decided(store, policy, login, external)
}

/// The last log line is the decision; those before it are about the file, and go to standard error.
#[derive(Default)]
struct LastLine(Mutex<String>);

impl Log for LastLine {
    fn log(&self, _: Level, message: fmt::Arguments<'_>) {
        let mut last = self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let before = std::mem::replace(&mut *last, message.to_string());
        if !before.is_empty() {
            eprintln!("otpgate: {before}");
        }
    }
}

/// In the place of the server's PIN providers.
struct Assumed(bool);

impl PinSource for Assumed {
    fn identity(&self) -> Vec<u8> {
        if self.0 { b"assumed".to_vec() } else { Vec::new() }
    }

    fn check(&self, _: &[u8], _: &[u8]) -> PinAnswer {
        PinAnswer::Right
    }
}

/// The users file without a count of wrong tries: whoever may run this command may read the PINs.
struct Uncounted {
    users: UsersFile,
    /// Changes are thrown away.
    is_dry_run: bool,
}

impl Store for Uncounted {
    fn name(&self) -> String {
        self.users.name()
    }

    fn find(&self, user: &[u8]) -> std::result::Result<Arc<Found>, StoreError> {
        self.users.find(user)
    }

    fn find_now(&self, user: &[u8], turn: LoopTurn) -> Option<Arc<Found>> {
        self.users.find_now(user, turn)
    }

    fn reach(&self) -> Reach {
        self.users.reach()
    }

    fn update(
        &self,
        step: &mut dyn FnMut(&mut dyn Transaction) -> std::result::Result<(), StoreError>,
    ) -> std::result::Result<(), StoreError> {
        match self.is_dry_run {
            true => step(&mut Forgetful(&self.users)),
            false => self.users.update(step),
        }
    }

    fn tries(
        &self,
        work: &mut dyn FnMut(&mut dyn Bytes) -> io::Result<()>,
    ) -> std::result::Result<(), TriesError> {
        let unusable = |error: io::Error| {
            let memory = "memory".to_owned();
            TriesError::Unusable(StoreError::new(
                "count in",
                memory,
                &error.to_string(),
                "try again",
            ))
        };
        work(&mut Vec::new()).map_err(unusable)
    }

    fn notices(&self) -> Vec<String> {
        if self.is_dry_run { Vec::new() } else { self.users.notices() }
    }
}

struct Forgetful<'a>(&'a UsersFile);

impl Transaction for Forgetful<'_> {
    fn find(&mut self, user: &[u8]) -> std::result::Result<Found, StoreError> {
        let found = self.0.find(user)?;
        Ok(Found {
            entry: found.entry.clone(),
            unreadable: found.unreadable.clone(),
            limits: found.limits,
            allow: found.allow.clone(),
            ..Found::default()
        })
    }

    fn save(&mut self, _: &[u8], _: usize, _: State) {}

    fn note_use(&mut self, _: &[u8], _: usize, _: UnixTime) {}

    fn close_pin(&mut self, _: &[u8], _: bool) {}

    fn save_session(&mut self, _: &[u8], _: Session, _: u8) {}

    fn end_sessions(&mut self, _: &[u8], _: &dyn Fn(&Session) -> bool) {}

    fn save_computer(&mut self, _: &[u8], _: Computer) {}

    fn end_computers(&mut self, _: &[u8], _: &dyn Fn(&Computer) -> bool) {}
}
