//! What a configuration test says about a users file and the file with its PINs: problems that
//! would refuse logins, and likely mistakes.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::civil::Date;
use jiff::tz::TimeZone;

use super::companion::{self, Inspected, can_create_beside};
use super::journal::{self, Safety};
use super::lock::{self, Paths};
use super::mistakes::{self, BYTE_ORDER_MARK, NameError};
use super::pass::{Repeated, Seen, SeenApart};
use super::pragma::{self, Placed, Pragma, PragmaKind};
use super::record::{self, RecordError};
use super::shared_index::{self, SHARED_FROM};
use super::{leftovers, line, name, secret};
use crate::files::access::Access;
use crate::files::fault::Fault;
use crate::files::named;
use crate::files::open::{Link, Refusal, To, open};
use crate::files::{lines, obstacle, steady};
use crate::http::target;
use crate::log::Quoted;
use crate::network::Network;
use crate::otp::Hash;
use crate::pin::entry::{EntryError, PinEntry};
use crate::pin::file as pin_file;
use crate::policy::Limits;
use crate::secret::Secret;
use crate::token::{
    Algorithm, AppPassword, CODE_LENGTHS_MAX, Computer, LINES_MAX, MovingFactor, Pin, Session,
    Token,
};

/// How grave a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// Logins are refused, or somebody could get in who shouldn't: some of them, or all.
    Error,
    /// Logins work, but something is likely to be a mistake, costs more than it has to, or weakens
    /// them.
    Warning,
}

/// One finding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// How grave it is.
    pub severity: Severity,
    /// The number of the line of the users file that it is about, from 1.
    pub line: Option<u64>,
    /// What and where, and what to do.
    pub text: String,
}

impl Finding {
    /// Logins are refused, or secrets may be read.
    pub fn error(text: impl Into<String>) -> Finding {
        Finding { severity: Severity::Error, line: None, text: text.into() }
    }

    /// Likely to be a mistake.
    pub fn warning(text: impl Into<String>) -> Finding {
        Finding { severity: Severity::Warning, line: None, text: text.into() }
    }

    /// The same about a line; the text names it.
    pub fn of_line(self, number: u64) -> Finding {
        Finding { line: Some(number), ..self }
    }
}

/// Tries the accesses that logins need, as the calling thread's user: reading and writing the file,
/// its lock and its journal, or making the latter two.
pub fn access(configured: &Path) -> Vec<Finding> {
    let mut findings = Vec::new();
    let paths = match Paths::resolve(configured) {
        Ok(paths) => paths,
        Err(fault) => return vec![Finding::error(fault.to_string())],
    };
    if let Err(fault) = named::look(configured) {
        return vec![Finding::error(fault.to_string())];
    }
    let path = &paths.resolved;
    let (mut given_with_it, mut kept_from) = (Vec::new(), None);
    match open(path, To::Write, Link::Refuse) {
        Ok(file) => match file.metadata() {
            Ok(metadata) => {
                findings.extend(mode(path, &metadata, "add users"));
                findings.extend(safety(&paths, &file));
            }
            Err(cause) => {
                findings.push(Finding::error(Fault::new("inspect", path, cause).to_string()))
            }
        },
        // Nothing is expected beside it, then.
        Err(refusal @ (Refusal::NotRegular(_) | Refusal::TooLarge)) => {
            return vec![Finding::error(refusal.into_fault(path).to_string())];
        }
        Err(refusal) => {
            let fault = refusal.into_fault(path);
            if fault.is_for_want_of_rights() {
                // Those beside it that are like it are given with it.
                let companions = paths.companions().into_iter().map(|(path, _)| path);
                let (alike, _): (Vec<_>, Vec<_>) =
                    companions.partition(|companion| obstacle::are_alike(companion, path));
                findings.push(Finding::error(fault.also_of(&alike).to_string()));
                given_with_it = alike;
            } else {
                findings.push(Finding::error(fault.to_string()));
                kept_from = Some(fault);
            }
        }
    }
    findings.extend(beside(&paths, &given_with_it, kept_from.as_ref()));
    findings
}

/// What there is to say about what stands beside a users file. Nothing is said of the rights of
/// those in `given_with_it`, or of what has kept us from the users file itself.
fn beside(paths: &Paths, given_with_it: &[PathBuf], kept_from: Option<&Fault>) -> Vec<Finding> {
    let mut findings = Vec::new();
    let path = &paths.resolved;
    let users = match Access::at(path) {
        Ok(users) => users,
        Err(cause) => {
            findings.push(Finding::error(Fault::new("inspect", path, cause).to_string()));
            return findings;
        }
    };
    if path.metadata().is_ok_and(|metadata| metadata.size() >= SHARED_FROM) {
        findings.extend(index_access(&paths.index(), &users));
    }
    for lock in paths.lock_files() {
        if !given_with_it.contains(&lock) {
            findings.extend(companion_access(&lock, &users, kept_from));
        }
        if let Ok(file) = open(&lock, To::Write, Link::Refuse)
            && let Some(cause) = lock::cannot_be_locked(&file)
        {
            let remedy = "put the users file on a file system that has locks";
            findings.push(Finding::error(Fault::new("lock", &lock, cause).or(remedy).to_string()));
        }
    }
    if !given_with_it.contains(&paths.journal()) {
        findings.extend(companion_access(&paths.journal(), &users, kept_from));
    }
    findings.extend(journal_content(&paths.journal()));
    findings.extend(tries_access(&paths.throttle(), &users));
    if !given_with_it.contains(&paths.secret()) {
        findings.extend(secret_access(&paths.secret(), &users, kept_from));
    }
    for left in leftovers::find(paths).iter().filter(|left| !leftovers::may_be_in_use(paths, left))
    {
        let remedy = if leftovers::can_be_removed(left, &users) {
            "`otpgate check --fix` removes it".to_owned()
        } else {
            format!("inspect it, then remove it (`shred -u {}`)", obstacle::in_shell(left))
        };
        findings.push(Finding::warning(format!(
            "{} was left by a killed process, and may contain PINs and keys; {remedy}",
            left.display()
        )));
    }
    findings
}

/// How well the journal can protect the file where both are.
fn safety(paths: &Paths, users: &File) -> Option<Finding> {
    let journal = open(&paths.journal(), To::Read, Link::Refuse);
    // Where there is none yet, it will be made beside the file.
    let safety = journal::safety_of(users, journal.as_ref().unwrap_or(users), &paths.resolved);
    match safety {
        Ok(Safety::Journalled) => None,
        Ok(Safety::SyncedEach(reason)) => Some(Finding::warning(format!(
            "{}: {reason}: each login waits for an extra sync; mount the directory with the file, its lock and its journal",
            paths.resolved.display()
        ))),
        Err(fault) => Some(Finding::error(fault.to_string())),
    }
}

fn journal_content(path: &Path) -> Option<Finding> {
    let journal = open(path, To::Read, Link::Refuse).ok()?;
    let mut tries = 0;
    let inspected = loop {
        match journal::inspect(&journal) {
            // A running server may be at it.
            Ok(inspected) if inspected.is_pending && tries < PENDING_TRIES => {
                tries += 1;
                std::thread::sleep(PENDING_PAUSE);
            }
            Ok(inspected) => break inspected,
            Err(cause) => return Some(Finding::error(Fault::new("read", path, cause).to_string())),
        }
    };
    let path = path.display();
    if inspected.is_foreign {
        return Some(Finding::error(format!(
            "{path} is not a journal, or is from a later version of otpgate: logins are refused; install the later version, or move the file away"
        )));
    }
    if inspected.is_pending {
        return Some(Finding::warning(format!(
            "{path} contains an interrupted rewrite of the users file: the next login or `otpgate check --fix` finishes it"
        )));
    }
    inspected.has_remains.then(|| {
        Finding::warning(format!(
            "{path} contains lines of the users file, with PINs and keys, that are no longer needed; `otpgate check --fix` wipes them"
        ))
    })
}

/// A lock or journal file must be there and usable, or the server must be able to make it. What
/// keeps the server from the users file, too, has been told.
fn companion_access(path: &Path, users: &Access, told: Option<&Fault>) -> Option<Finding> {
    let shown = path.display();
    let unmade = companion::try_to_create_beside(path);
    match companion::inspect(path, users) {
        Err(fault) if told.is_some_and(|told| told.is_alike(&fault)) => None,
        Err(fault) => Some(Finding::error(fault.to_string())),
        Ok(Inspected::Right) => None,
        Ok(Inspected::TooWide(mode)) => Some(Finding::warning(format!(
            "{shown} has mode {mode:04o} and is more open than the users file; the next login or `otpgate check --fix` narrows it"
        ))),
        // Every login takes the lock and writes to the journal.
        Ok(Inspected::Missing) if unmade.is_err() => unmade.err().map(|Fault { cause, remedy, .. }| {
            Finding::error(format!(
                "{shown} is missing, and logins are refused until it exists: the server's user can't create it: {cause}; {remedy}"
            ))
        }),
        Ok(Inspected::Missing) if !companion::can_be_made_right(path, users) => Some(Finding::warning(format!(
            "{shown} is missing, and others who use the users file couldn't tell the server's from a stranger's, since strangers may write the directory: create it with `otpgate init` as root"
        ))),
        Ok(Inspected::Missing) => None,
    }
}

const PENDING_TRIES: u32 = 10;
const PENDING_PAUSE: Duration = Duration::from_millis(20);

/// Without an index that is shared, logins work; it costs memory.
fn index_access(path: &Path, users: &Access) -> Option<Finding> {
    let is_index = || {
        open(path, To::Read, Link::Refuse)
            .is_ok_and(|file| shared_index::is_index(&file).unwrap_or(false))
    };
    let usable = match companion::inspect(path, users) {
        Ok(Inspected::Right | Inspected::TooWide(_)) => is_index(),
        Ok(Inspected::Missing) => can_create_beside(path),
        Err(_) => false,
    };
    (!usable).then(|| {
        Finding::warning(format!(
            "the server's user can't create or use {}: each server process keeps its own index in memory; `otpgate init` creates the file",
            path.display()
        ))
    })
}

/// Without a place where wrong tries are counted for all, each process counts for itself.
fn tries_access(path: &Path, users: &Access) -> Option<Finding> {
    let usable = match companion::inspect(path, users) {
        Ok(Inspected::Right | Inspected::TooWide(_)) => true,
        Ok(Inspected::Missing) => can_create_beside(path),
        Err(_) => false,
    };
    (!usable).then(|| {
        Finding::warning(format!(
            "the server's user can't create or use {}: each server process counts wrong PINs and codes for itself; `otpgate init` creates the file",
            path.display()
        ))
    })
}

/// Without the secret there are no cookies. Whoever needs it first makes it.
fn secret_access(path: &Path, users: &Access, told: Option<&Fault>) -> Option<Finding> {
    match companion::inspect(path, &users.without_others()) {
        Ok(Inspected::Missing) => None,
        Ok(Inspected::Right) => match secret::look(path, users) {
            Ok(_) => None,
            Err(fault) => Some(Finding::error(fault.to_string())),
        },
        Ok(Inspected::TooWide(mode)) => Some(Finding::error(format!(
            "{} has mode {mode:04o}, and others may have read what cookies are made with; the next cookie or `otpgate check --fix` replaces it, and all \
             sessions and trusted computers end",
            path.display()
        ))),
        Err(fault) if told.is_some_and(|told| told.is_alike(&fault)) => None,
        Err(fault) => Some(Finding::error(fault.to_string())),
    }
}

/// What there is to say of a secret that is missing beside a users file where sessions are kept, or
/// may be; `has_sessions`: there are some.
pub fn missing_secret(configured: &Path, has_sessions: bool) -> Option<Finding> {
    // What is wrong with the file itself is told elsewhere.
    let paths = Paths::resolve(configured).ok()?;
    let (path, users) = (paths.secret(), Access::at(&paths.resolved).ok()?);
    let inspected = companion::inspect(&path, &users.without_others()).ok()?;
    if !matches!(inspected, Inspected::Missing) {
        return None;
    }
    let shown = path.display();
    if let Err(Fault { cause, remedy, .. }) = companion::try_to_create_beside(&path) {
        return Some(Finding::error(format!(
            "{shown} is missing, and where logins begin sessions they are refused until it exists: the server's user can't create it: {cause}; {remedy}"
        )));
    }
    has_sessions.then(|| {
        Finding::warning(format!(
            "{shown} is missing, so the cookies of all sessions in the file have ended; the next login makes another: restore the one that was there, or tell people to log in again"
        ))
    })
}

/// `power`: what somebody could do who may write it.
fn mode(path: &Path, metadata: &Metadata, power: &str) -> Vec<Finding> {
    let mut findings: Vec<Finding> = world_writable(path, metadata, power).into_iter().collect();
    if metadata.mode() & 0o004 != 0 {
        findings.push(Finding::warning(format!(
            "{} is world-readable, with the secrets in it; `chmod o-r {}`",
            path.display(),
            obstacle::in_shell(path)
        )));
    }
    findings
}

/// The same of a file without secrets.
pub fn world_writable(path: &Path, metadata: &Metadata, power: &str) -> Option<Finding> {
    (metadata.mode() & 0o002 != 0).then(|| {
        Finding::error(format!(
            "{} is world-writable: anybody could {power}; `chmod o-w {}`",
            path.display(),
            obstacle::in_shell(path)
        ))
    })
}

/// What the lines say by themselves.
pub struct CheckedLines {
    /// Problems with single lines.
    pub findings: Vec<Finding>,
    /// The lines with an external PIN.
    pub external_pins: Vec<ExternalPin>,
    /// The number of the first line whose PIN isn't at hand in the clear: hashed, or external.
    pub first_without_plain_pin: Option<u64>,
    /// What the file demands of all logins, as far as it can be read.
    pub limits: Limits,
}

/// A line with an external PIN.
pub struct ExternalPin {
    /// Its number, from 1.
    pub number: u64,
    /// The user it is about.
    pub user: Vec<u8>,
}

/// So many findings about lines are told; a broken file has thousands.
const FINDINGS_MAX: usize = 20;

/// Reads every line; tells the first findings and the number of the others.
pub fn lines(configured: &Path) -> Result<CheckedLines, Fault> {
    let file = super::edit::open_users(configured)?;
    let mut told = Told::first(configured);
    let (mut external_pins, mut first_without_plain_pin) = (Vec::new(), None);
    let mut keys = Seen::default();
    let seen = each_line(&file, &mut told, |number, user, token| {
        keys.note(token.key.expose());
        let is_external = token.pin == Pin::External && token.algorithm != Algorithm::Motp;
        if is_external {
            external_pins.push(ExternalPin { number, user: user.to_vec() });
        }
        if is_external || matches!(token.pin, Pin::Hashed(_)) {
            first_without_plain_pin.get_or_insert(number);
        }
    });
    let read = seen.and_then(|seen| Ok((seen, shared_keys(&file, &keys.repeated(2))?)));
    let (SeenPragmas { limits, sessions }, shared) =
        read.map_err(|cause| Fault::new("read", configured, cause))?;
    shared.iter().for_each(|(number, text)| told.warning(*number, text));
    let mut findings = told.into_findings();
    findings.extend(sessions.and_then(|has_sessions| missing_secret(configured, has_sessions)));
    Ok(CheckedLines { findings, external_pins, first_without_plain_pin, limits })
}

/// Reads every line and tells everything, in the order of the file, as it is found.
pub fn all_lines(configured: &Path, tell: &mut dyn FnMut(Finding)) -> Result<(), Fault> {
    let file = super::edit::open_users(configured)?;
    let mut keys = Seen::default();
    let hashed = lines::for_each_line(&file, |_, line| {
        if let Some((_, _, key)) = record::device_of_line(line) {
            keys.note(key.expose());
        }
    });
    let told = hashed.and_then(|()| {
        let mut told = Told::all(configured, tell, shared_keys(&file, &keys.repeated(2))?);
        let seen = each_line(&file, &mut told, |_, _, _| ())?;
        told.catch_up_to(u64::MAX);
        Ok(seen)
    });
    let seen = told.map_err(|cause| Fault::new("read", configured, cause))?;
    let missing = seen.sessions.and_then(|has_sessions| missing_secret(configured, has_sessions));
    missing.into_iter().for_each(tell);
    Ok(())
}

/// What the `#@` lines of a file say that is about all of it.
#[derive(Default)]
struct SeenPragmas {
    /// What the file demands of all logins, as far as it can be read.
    limits: Limits,
    /// There are lines for sessions, and whether there are sessions in one.
    sessions: Option<bool>,
}

/// Reads every line, tells what is to be said of it by itself, and calls back for each token that
/// can be read.
fn each_line(
    file: &File,
    told: &mut Told<'_>,
    mut each_token: impl FnMut(u64, &[u8], &Token),
) -> io::Result<SeenPragmas> {
    let mut seen = SeenPragmas::default();
    let mut number = 0;
    let zone = TimeZone::UTC;
    lines::for_each_line(file, |_, line| {
        number += 1;
        let line = match line.strip_prefix(BYTE_ORDER_MARK) {
            Some(rest) if number == 1 => {
                told.byte_order_mark(rest);
                rest
            }
            _ => line,
        };
        if pragma::is_pragma(line) {
            seen.limits = pragma::limits_with(seen.limits, line).unwrap_or(seen.limits);
            if let Some(Ok(Pragma::Session(_, places))) = pragma::parse(line) {
                let has_some = places.is_some_and(|places| places.iter().any(Option::is_some));
                seen.sessions = Some(seen.sessions.unwrap_or_default() || has_some);
            }
            told.extend(of_pragma(line, &format!("{} line {number}", told.file.display())), number);
            return;
        }
        if lines::is_ignored(line) {
            return;
        }
        let record = match record::parse_one_of_many(line, &zone) {
            Ok(record) => record,
            Err(reason) => return told.error(number, &format!("{reason}{}", meant(line, reason))),
        };
        let (token, user) = (&record.token, &line[record.layout.head[1].clone()]);
        if (token.algorithm, &token.pin) == (Algorithm::Motp, &Pin::External) {
            told.error(
                number,
                "a Mobile-OTP token can't have an external PIN (+): its user is refused; replace it with the PIN",
            );
        }
        each_token(number, user, token);
        if !token.disabled {
            told.doubts(number, user, token);
        }
    })?;
    Ok(seen)
}

/// How a line that can't be read is to be written, if that can be guessed.
fn meant(line: &[u8], reason: RecordError) -> String {
    let mut words = line::words(line).map(|word| &line[word]);
    let meant = match reason {
        RecordError::Type => words.next().and_then(mistakes::type_meant),
        RecordError::Key => {
            let is_base32 = words.nth(3).is_some_and(mistakes::is_base32_without_its_prefix);
            return if is_base32 {
                "; it looks like base 32: write `base32:` before it"
            } else {
                ""
            }
            .to_owned();
        }
        _ => None,
    };
    meant.map_or(String::new(), |meant| format!("; write `{meant}`"))
}

/// Findings about lines, on their way.
struct Told<'a> {
    file: &'a Path,
    to: ToldTo<'a>,
}

enum ToldTo<'a> {
    /// The first errors and the first warnings are kept.
    First {
        errors: Vec<(u64, Finding)>,
        warnings: Vec<(u64, Finding)>,
        /// The numbers of further ones.
        more: [usize; 2],
    },
    /// All of them are passed on.
    All {
        tell: &'a mut dyn FnMut(Finding),
        /// What is known already about lines to come: their numbers, and what is to be said.
        ahead: std::iter::Peekable<std::vec::IntoIter<(u64, String)>>,
    },
}

impl<'a> Told<'a> {
    fn first(file: &'a Path) -> Told<'a> {
        let to = ToldTo::First { errors: Vec::new(), warnings: Vec::new(), more: [0; 2] };
        Told { file, to }
    }

    /// `ahead`: warnings, in the order of their lines.
    fn all(
        file: &'a Path,
        tell: &'a mut dyn FnMut(Finding),
        ahead: Vec<(u64, String)>,
    ) -> Told<'a> {
        Told { file, to: ToldTo::All { tell, ahead: ahead.into_iter().peekable() } }
    }

    /// Tells what is known about the lines before this one.
    fn catch_up_to(&mut self, number: u64) {
        if let ToldTo::All { tell, ahead } = &mut self.to {
            while let Some((number, text)) = ahead.next_if(|(known, _)| *known < number) {
                tell(warning_of_line(self.file, number, text));
            }
        }
    }

    /// A finding that names its line.
    fn extend(&mut self, finding: Option<Finding>, number: u64) {
        let Some(finding) = finding.map(|finding| finding.of_line(number)) else { return };
        self.catch_up_to(number);
        match &mut self.to {
            ToldTo::All { tell, .. } => tell(finding),
            ToldTo::First { errors, warnings, more } => {
                let (told, more) = match finding.severity {
                    Severity::Error => (errors, &mut more[0]),
                    Severity::Warning => (warnings, &mut more[1]),
                };
                if told.len() < FINDINGS_MAX { told.push((number, finding)) } else { *more += 1 }
            }
        }
    }

    fn error(&mut self, number: u64, text: &str) {
        self.extend(
            Some(Finding::error(format!("{} line {number}: {text}", self.file.display()))),
            number,
        );
    }

    fn warning(&mut self, number: u64, text: &str) {
        self.extend(Some(warning_of_line(self.file, number, text)), number);
    }

    fn byte_order_mark(&mut self, rest: &[u8]) {
        let what = "the file begins with a byte order mark, which belongs to no field";
        let remedy = "`otpgate check --fix` removes it; save as UTF-8 without it";
        if pragma::is_pragma(rest) {
            self.error(1, &format!("{what}: the line has no effect; {remedy}"));
        } else if lines::is_ignored(rest) {
            self.warning(1, &format!("{what}; {remedy}"));
        } else {
            self.error(1, &format!("{what}: the line can't be read; {remedy}"));
        }
    }

    /// What is hardly meant, though it can be read.
    fn doubts(&mut self, number: u64, user: &[u8], token: &Token) {
        match mistakes::of_name(user) {
            Some(fault @ NameError::Colon) => {
                self.error(number, &format!("{}; `otpgate rename` it", fault.as_str()));
            }
            Some(fault @ NameError::NotUtf8) => {
                self.warning(number, &format!("{}; `otpgate rename` it", fault.as_str()));
            }
            None => {}
        }
        if let Pin::Literal(pin) = &token.pin
            && let Some(doubt) = mistakes::of_pin(pin.expose())
        {
            let plain = if token.algorithm == Algorithm::Motp { " --plain-pin" } else { "" };
            self.warning(number, &format!("{doubt}; `otpgate set-pin {}{plain}`", Quoted(user)));
        }
        if let Some(doubt) = mistakes::of_key(token.key.expose(), token.algorithm) {
            self.warning(number, &format!("{doubt}; `otpgate rekey {}`", Quoted(user)));
        }
    }

    /// The first ones, in the order of the file.
    fn into_findings(self) -> Vec<Finding> {
        let ToldTo::First { errors: mut all, mut warnings, more } = self.to else {
            return Vec::new();
        };
        all.append(&mut warnings);
        all.sort_by_key(|(number, _)| *number);
        let mut findings: Vec<Finding> = all.into_iter().map(|(_, finding)| finding).collect();
        if more != [0; 2] {
            let text = format!(
                "{}: {} more findings about lines; see `otpgate check`",
                self.file.display(),
                more[0] + more[1]
            );
            findings.push(if more[0] > 0 { Finding::error(text) } else { Finding::warning(text) });
        }
        findings
    }
}

fn warning_of_line(file: &Path, number: u64, text: impl fmt::Display) -> Finding {
    Finding::warning(format!("{} line {number}: {text}", file.display())).of_line(number)
}

/// A key that has been seen before.
struct SharedKey {
    key: Secret,
    first: (Vec<u8>, u64),
    /// Other names, and where each stands first.
    others: Vec<(Vec<u8>, u64)>,
    more: usize,
}

/// What is to be said of keys under several names, by the number of the line that has it first:
/// whoever has one of these tokens has them all.
fn shared_keys(file: &File, repeated: &Repeated) -> io::Result<Vec<(u64, String)>> {
    let mut shared: HashMap<u64, Vec<SharedKey>> = HashMap::new();
    if repeated.is_empty() {
        return Ok(Vec::new());
    }
    let mut number = 0;
    lines::for_each_line(file, |_, line| {
        number += 1;
        let Some((_, _, key)) = record::device_of_line(line) else { return };
        let Some(hash) = repeated.hash_of(key.expose()) else { return };
        let Ok(record) = record::parse_one_of_many(line, &TimeZone::UTC) else { return };
        let user = &line[record.layout.head[1].clone()];
        let known = shared.entry(hash).or_default();
        let Some(known) = known.iter_mut().find(|known| known.key == key) else {
            known.push(SharedKey {
                key,
                first: (user.to_vec(), number),
                others: Vec::new(),
                more: 0,
            });
            return;
        };
        if known.first.0 == user || known.others.iter().any(|(other, _)| other == user) {
            return;
        }
        if known.others.len() < SPELLINGS_MAX {
            known.others.push((user.to_vec(), number));
        } else {
            known.more += 1;
        }
    })?;
    let mut shared: Vec<SharedKey> = shared.into_values().flatten().collect();
    shared.sort_by_key(|shared| shared.first.1);
    let told = shared.into_iter().filter_map(|SharedKey { first: (user, number), others, more, .. }| {
        let (last, _) = others.last()?;
        let names: Vec<String> = others
            .iter()
            .map(|(other, line)| format!("{} in line {line}", Quoted(other)))
            .collect();
        let more = if more > 0 { format!(" and {more} more lines") } else { String::new() };
        let text = format!(
            "the key of {} is also the key of {}{more}: whoever has one token has all of them; `otpgate rekey {}`",
            Quoted(&user),
            names.join(", "),
            Quoted(last)
        );
        Some((number, text))
    });
    Ok(told.collect())
}

/// What is wrong with a line for us alone.
fn of_pragma(line: &[u8], place: &str) -> Option<Finding> {
    let title = pragma::title(line);
    match pragma::parse(line)? {
        Err(fault) => Some(Finding::error(format!("{place}: {fault}; {}", fault.outcome()))),
        Ok(Pragma::Unknown) => Some(Finding::warning(format!(
            "{place}: {title}: unknown to this version, it has no effect"
        ))),
        Ok(Pragma::Session(_, None)) => Some(Finding::warning(format!(
            "{place}: {title}: its checksum is wrong: it keeps no login; `otpgate check --fix` empties it"
        ))),
        Ok(Pragma::Computer(_, None)) => Some(Finding::warning(format!(
            "{place}: {title}: its checksum is wrong: it has no computer trusted; `otpgate check --fix` empties it"
        ))),
        Ok(Pragma::Limits(limits)) if limits == Limits::default() => {
            Some(Finding::warning(format!("{place}: {title}: it limits nothing")))
        }
        Ok(_) => None,
    }
}

/// Lines that belong together though they don't look it, or look it though they don't: several
/// lines for one token, more lines of one name than are read, names that are twins, names that
/// others may have though they are twins of listed ones, and PINs that were made for somebody and
/// haven't been changed for long.
pub fn repetitions(configured: &Path, today: Date) -> Result<Vec<Finding>, Fault> {
    let file = super::edit::open_users(configured)?;
    let suspects = Suspects::of(&file);
    let seen = suspects.and_then(|suspects| Repetitions::of(configured, &file, &suspects));
    let mut seen = seen.map_err(|cause| Fault::new("read", configured, cause))?;
    let mut findings = std::mem::take(&mut seen.of_tokens);
    findings.extend(seen.too_many_lines());
    findings.extend(seen.of_names());
    findings.extend(seen.of_aparts());
    findings.extend(seen.of_left_over());
    findings.extend(seen.of_start_pins(today));
    findings.extend(seen.of_apps(today));
    findings.extend(seen.of_trusted_networks());
    findings.extend(seen.of_places());
    findings.sort_by_key(|(number, _)| *number);
    Ok(findings.into_iter().map(|(_, finding)| finding).collect())
}

/// Which lines [`Repetitions`] has to look at: in most files none of a million.
struct Suspects {
    /// Names of too many lines.
    crowds: Repeated,
    /// Keys of names that are spelt in several ways.
    spellings: Repeated,
    /// Tokens that a user has in several lines.
    tokens: Repeated,
    /// Users who may have codes of more lengths than they should.
    lengths: Repeated,
    /// Names that are set apart, and where; and what their twins have in common.
    aparts: Vec<(Vec<u8>, u64)>,
    keys_of_aparts: HashSet<Vec<u8>>,
    /// Lines that are for listed users alone, whom they name, and where they are.
    owned: Vec<(PragmaKind, Vec<u8>, u64)>,
    /// Who has a start PIN, since when, and where that is said.
    start_pins: Vec<(Vec<u8>, Date, u64)>,
    /// Passwords of programs, and where they are.
    apps: Vec<(Vec<u8>, AppPassword, u64)>,
    /// From where whose PIN is enough, and where that is said.
    trusts: Vec<(Vec<u8>, Vec<Network>, u64)>,
    /// The same of everybody's.
    allows: Vec<(Vec<Network>, u64)>,
    /// Lines with places that don't stand behind a line of their user's, or are one too many.
    places: Vec<(PragmaKind, Vec<u8>, u64, StrayPlaces)>,
}

/// Why a line with places may be of no use.
#[derive(Clone, Copy, PartialEq, Eq)]
enum StrayPlaces {
    /// Its user may not be listed.
    Elsewhere,
    /// As many stand before it as are read.
    TooMany {
        /// So many are.
        lines: usize,
    },
}

/// Lines with places of one kind that stand behind each other.
#[derive(Default)]
struct InTurn {
    whose: Vec<u8>,
    lines: usize,
}

impl InTurn {
    /// What may be wrong with one more; `last`: the user of the last token.
    fn note(&mut self, user: &[u8], last: &[u8], max: usize) -> Option<StrayPlaces> {
        self.lines = if user == self.whose { self.lines + 1 } else { 1 };
        self.whose.clear();
        self.whose.extend_from_slice(user);
        match self.lines > max {
            true => Some(StrayPlaces::TooMany { lines: max }),
            false => (user != last).then_some(StrayPlaces::Elsewhere),
        }
    }
}

impl Suspects {
    fn of(file: &File) -> io::Result<Suspects> {
        let (mut users, mut tokens) = (Seen::default(), Seen::default());
        let mut spellings = SeenApart::default();
        let (mut aparts, mut start_pins, mut apps) = (Vec::new(), Vec::new(), Vec::new());
        let (mut trusts, mut allows) = (Vec::new(), Vec::new());
        let mut owned = Vec::new();
        let mut places = Vec::new();
        // The user of the last token, and whose lines with places stand here.
        let (mut last, mut sessions, mut computers) =
            (Vec::new(), InTurn::default(), InTurn::default());
        let mut number = 0;
        lines::for_each_line(file, |_, line| {
            number += 1;
            if let Some(kind) =
                PragmaKind::of(line).filter(|kind| kind.is_for_the_listed() && !kind.has_places())
                && let Some(user) = pragma::user_of(line)
            {
                owned.push((kind, user, number));
            }
            match pragma::parse(line) {
                Some(Ok(Pragma::Apart(user))) => aparts.push((user, number)),
                Some(Ok(Pragma::StartPin(user, since))) => start_pins.push((user, since, number)),
                Some(Ok(Pragma::App(user, app))) => apps.push((user, app, number)),
                Some(Ok(Pragma::Trust(user, networks))) => trusts.push((user, networks, number)),
                Some(Ok(Pragma::Allow(allow))) => allows.push((allow.trusted_networks, number)),
                Some(Ok(Pragma::Session(user, _))) => {
                    let stray = sessions.note(&user, &last, Session::LINES_MAX);
                    places.extend(stray.map(|why| (PragmaKind::Session, user, number, why)));
                }
                Some(Ok(Pragma::Computer(user, _))) => {
                    let stray = computers.note(&user, &last, Computer::LINES_MAX);
                    places.extend(stray.map(|why| (PragmaKind::Computer, user, number, why)));
                }
                Some(Err(error)) if error.kind.has_places() => {
                    let user = pragma::user_of(line);
                    places.extend(user.map(|it| (error.kind, it, number, StrayPlaces::Elsewhere)));
                }
                _ => {}
            }
            let Some(user) = line::user_of(line) else { return };
            last.clear();
            last.extend_from_slice(user);
            (sessions.lines, computers.lines) = (0, 0);
            users.note(user);
            spellings.note(name::key(user), user);
            if let Some((algorithm, factor, key)) = record::device_of_line(line) {
                tokens.note((user, algorithm, factor, key.expose()));
            }
        })?;
        let several = users.repeated(CODE_LENGTHS_MAX as u64 + 1);
        Ok(Suspects {
            crowds: several.at_least(LINES_MAX as u64 + 1),
            spellings: spellings.of_several(),
            tokens: tokens.repeated(2),
            lengths: several,
            keys_of_aparts: aparts.iter().map(|(user, _)| name::key(user).into_owned()).collect(),
            aparts,
            owned,
            start_pins,
            apps,
            trusts,
            allows,
            places,
        })
    }

    fn is_empty(&self) -> bool {
        self.crowds.is_empty()
            && self.spellings.is_empty()
            && self.tokens.is_empty()
            && self.lengths.is_empty()
            && self.aparts.is_empty()
            && self.owned.is_empty()
            && self.allows.is_empty()
            && self.places.is_empty()
    }
}

/// Names and tokens of a file that come again, and what is to be said of them.
struct Repetitions<'a> {
    path: &'a Path,
    /// Of names of too many lines: the first line and how many there are.
    crowds: HashMap<Vec<u8>, (u64, usize)>,
    /// By what the names have in common: each with the number of its first line.
    spellings: HashMap<Vec<u8>, Vec<(Vec<u8>, u64)>>,
    aparts: Vec<(Vec<u8>, u64)>,
    owned: Vec<(PragmaKind, Vec<u8>, u64)>,
    /// Whether those who have one of these are listed.
    are_listed: HashMap<Vec<u8>, bool>,
    start_pins: Vec<(Vec<u8>, Date, u64)>,
    apps: Vec<(Vec<u8>, AppPassword, u64)>,
    trusts: Vec<(Vec<u8>, Vec<Network>, u64)>,
    allows: Vec<(Vec<Network>, u64)>,
    places: Vec<(PragmaKind, Vec<u8>, u64, StrayPlaces)>,
    /// Of those who have one of the latter: whether they have a PIN.
    have_pin: HashMap<Vec<u8>, bool>,
    tokens: HashMap<Vec<u8>, Vec<(u64, Token)>>,
    /// By a hash of the name: the lengths of the user's codes, each a bit.
    lengths: HashMap<u64, u16>,
    of_tokens: Vec<(u64, Finding)>,
}

impl<'a> Repetitions<'a> {
    fn of(path: &'a Path, file: &File, suspects: &Suspects) -> io::Result<Repetitions<'a>> {
        let mut seen = Repetitions {
            path,
            crowds: HashMap::new(),
            spellings: HashMap::new(),
            aparts: suspects.aparts.clone(),
            owned: suspects.owned.clone(),
            are_listed: suspects
                .owned
                .iter()
                .map(|(_, user, _)| user)
                .chain(suspects.places.iter().map(|(_, user, ..)| user))
                .map(|user| (user.clone(), false))
                .collect(),
            start_pins: suspects.start_pins.clone(),
            apps: suspects.apps.clone(),
            trusts: suspects.trusts.clone(),
            allows: suspects.allows.clone(),
            places: suspects.places.clone(),
            have_pin: suspects.trusts.iter().map(|(user, ..)| (user.clone(), false)).collect(),
            tokens: HashMap::new(),
            lengths: HashMap::new(),
            of_tokens: Vec::new(),
        };
        if suspects.is_empty() {
            return Ok(seen);
        }
        let mut number = 0;
        lines::for_each_line(file, |_, line| {
            number += 1;
            if let Some(user) = line::user_of(line) {
                seen.look(suspects, number, user, line);
            }
        })?;
        Ok(seen)
    }

    fn warn(&self, number: u64, text: impl fmt::Display) -> (u64, Finding) {
        (number, warning_of_line(self.path, number, text))
    }

    fn look(&mut self, suspects: &Suspects, number: u64, user: &[u8], line: &[u8]) {
        if let Some(is_listed) = self.are_listed.get_mut(user) {
            *is_listed = true;
        }
        if let Some(has_pin) = self.have_pin.get_mut(user).filter(|has_pin| !**has_pin) {
            let record = record::parse_one_of_many(line, &TimeZone::UTC);
            *has_pin = record.is_ok_and(|record| record.token.has_pin_by_itself());
        }
        let key = name::key(user);
        if suspects.spellings.hash_of(&key).is_some() || suspects.keys_of_aparts.contains(&key[..])
        {
            let spellings = self.spellings.entry(key.into_owned()).or_default();
            if spellings.iter().all(|(known, _)| known != user) {
                spellings.push((user.to_vec(), number));
            }
        }
        if suspects.crowds.hash_of(user).is_some() {
            let (_, count) = self.crowds.entry(user.to_vec()).or_insert((number, 0));
            *count += 1;
            // Nobody asks which of thousands of lines repeat each other.
            if *count > LINES_MAX {
                return;
            }
        }
        if let Some(hash) = suspects.lengths.hash_of(user)
            && let Ok(record) = record::parse_one_of_many(line, &TimeZone::UTC)
        {
            self.note_length(hash, (user, number), record.token.digits.count());
        }
        let is_repeated = record::device_of_line(line).is_some_and(|(algorithm, factor, key)| {
            suspects.tokens.hash_of((user, algorithm, factor, key.expose())).is_some()
        });
        let Some(Ok(record)) = is_repeated.then(|| record::parse_one_of_many(line, &TimeZone::UTC))
        else {
            return;
        };
        let known = self.tokens.entry(user.to_vec()).or_default();
        let Some((first, _)) = known.iter().find(|(_, token)| token.is_same_device(&record.token))
        else {
            known.push((number, record.token));
            return;
        };
        let text = format!(
            "the same token of {} as in line {first}: they are kept in step; remove one with `otpgate edit`",
            Quoted(user)
        );
        self.of_tokens.push(self.warn(number, text));
    }

    /// Tells of the first line with codes of one more length than a user's should have.
    fn note_length(&mut self, hash: u64, (user, number): (&[u8], u64), digits: usize) {
        let lengths = self.lengths.entry(hash).or_default();
        let before = lengths.count_ones() as usize;
        *lengths |= 1 << digits;
        if before == CODE_LENGTHS_MAX && lengths.count_ones() as usize > before {
            let text = format!(
                "the codes of {} have more than {CODE_LENGTHS_MAX} lengths, here {digits} digits: each is another PIN to be checked \
                 at every login; remove a token with `otpgate remove --token`",
                Quoted(user)
            );
            self.of_tokens.push(self.warn(number, text));
        }
    }

    fn too_many_lines(&self) -> impl Iterator<Item = (u64, Finding)> {
        self.crowds.iter().filter(|(_, (_, count))| *count > LINES_MAX).map(|(user, (first, count))| {
            let text = format!(
                "{} line {first}: the first of {count} lines of {}, more than {LINES_MAX}: logins under that name are an error; remove some with `otpgate edit`",
                self.path.display(),
                Quoted(user)
            );
            (*first, Finding::error(text).of_line(*first))
        })
    }

    fn of_names(&self) -> impl Iterator<Item = (u64, Finding)> {
        self.spellings.values().filter(|group| group.len() > 1).map(|group| {
            let more = group.len().saturating_sub(SPELLINGS_MAX);
            let more = if more > 0 { format!(" and {more} more") } else { String::new() };
            let others: Vec<String> = group[1..]
                .iter()
                .take(SPELLINGS_MAX - 1)
                .map(|(user, number)| format!("{} in line {number}", Quoted(user)))
                .collect();
            let (user, number) = &group[0];
            self.warn(
                *number,
                format_args!(
                    "the name {} is spelt otherwise as {}{more}, and others may take them for one person; unless they are several, \
                     give one another name with `otpgate rename`",
                    Quoted(user),
                    others.join(", ")
                ),
            )
        })
    }

    fn of_aparts(&self) -> impl Iterator<Item = (u64, Finding)> {
        self.aparts.iter().filter_map(|(user, number)| {
            let spellings = self.spellings.get(&name::key(user)[..])?;
            if let Some((_, line)) = spellings.iter().find(|(listed, _)| listed == user) {
                let text = format!(
                    "#@ apart: {} is listed, in line {line}: it has no effect; remove it with `otpgate edit`",
                    Quoted(user)
                );
                return Some(self.warn(*number, text));
            }
            let (twin, line) = &spellings[0];
            Some(self.warn(
                *number,
                format_args!(
                    "#@ apart: {} goes to the next provider, though it is another spelling of {} in line {line}",
                    Quoted(user),
                    Quoted(twin)
                ),
            ))
        })
    }

    /// What somebody else of that name would inherit, were it not for the command.
    fn of_left_over(&self) -> impl Iterator<Item = (u64, Finding)> {
        let left_over = self.owned.iter().filter(|(_, user, _)| !self.are_listed[user]);
        left_over.map(|(kind, user, number)| {
            let text = format!(
                "#@ {}: {} is not listed: it has no effect; remove it with `otpgate edit`",
                kind.name(),
                Quoted(user)
            );
            self.warn(*number, text)
        })
    }

    fn of_apps(&self, today: Date) -> impl Iterator<Item = (u64, Finding)> {
        let mut names: HashMap<(&[u8], &[u8]), u64> = HashMap::new();
        self.apps.iter().filter_map(move |(user, app, number)| {
            let (shown, name) = (Quoted(user), Quoted(&app.name));
            if !self.are_listed[user] {
                return None;
            }
            let first = *names.entry((user, &app.name)).or_insert(*number);
            let odd = app.paths.iter().find(|path| !target::is_prefix(path));
            let is_over = app.until.is_some_and(|end| {
                let today = today.to_zoned(TimeZone::UTC);
                today.is_ok_and(|today| end <= today.timestamp().as_second())
            });
            let what = match () {
                () if first != *number => format!("{shown} has an app {name} in line {first} already; revoking it revokes both"),
                () if is_over => format!("the last day of {shown}'s app {name} is over; `otpgate app revoke` it"),
                () if is_for_everything(app) => format!(
                    "{shown}'s app {name} is good for every path: whoever has its password needs no code; add another one with --path, then revoke it"
                ),
                () => format!("{shown}'s app {name} has a path that is never in normal form, so that it lets nobody in: {}", Quoted(odd?)),
            };
            Some(self.warn(*number, format_args!("#@ app: {what}")))
        })
    }

    fn of_trusted_networks(&self) -> impl Iterator<Item = (u64, Finding)> {
        let everything =
            |networks: &[Network]| networks.iter().find(|network| network.is_everything()).copied();
        let of_all = self.allows.iter().filter_map(move |(networks, number)| {
            let everything = everything(networks)?;
            let text =
                format!("#@ allow: {everything} is everywhere: nobody who has a PIN needs a code");
            Some(self.warn(*number, text))
        });
        let of_users = self.trusts.iter().filter_map(move |(user, networks, number)| {
            let shown = Quoted(user);
            let text = match everything(networks) {
                _ if !self.are_listed[user] => return None,
                _ if !self.have_pin[user] => format!("{shown} has no PIN that could be enough: it has no effect; `otpgate set-pin`, or `otpgate untrust`"),
                Some(everything) => format!("{everything} is everywhere: {shown} needs no code"),
                None => return None,
            };
            Some(self.warn(*number, format_args!("#@ trust: {text}")))
        });
        of_all.chain(of_users)
    }

    fn of_places(&self) -> impl Iterator<Item = (u64, Finding)> {
        self.places.iter().filter_map(|(kind, user, number, why)| {
            let shown = Quoted(user);
            let text = match why {
                _ if !self.are_listed[user] => format!("{shown} is not listed: it has no effect; remove it with `otpgate edit`"),
                StrayPlaces::TooMany { lines } => format!("{shown} has {lines} such lines already, and no more are read; remove it with `otpgate edit`"),
                StrayPlaces::Elsewhere => return None,
            };
            Some(self.warn(*number, format_args!("#@ {}: {text}", kind.name())))
        })
    }

    fn of_start_pins(&self, today: Date) -> impl Iterator<Item = (u64, Finding)> {
        self.start_pins.iter().filter_map(move |(user, since, number)| {
            let days = (today - *since).get_days();
            (self.are_listed[user] && days > START_PIN_DAYS).then(|| {
                let text = format!(
                    "{} has had a start PIN for {days} days, which whoever made or carried the letter may know: \
                     change it with `otpgate set-pin`",
                    Quoted(user)
                );
                self.warn(*number, text)
            })
        })
    }
}

/// Whether a path or a prefix of all of them is among a program's.
fn is_for_everything(app: &AppPassword) -> bool {
    app.paths.is_empty() || app.paths.iter().any(|path| path == b"/")
}

/// After so many days a start PIN should have been changed.
const START_PIN_DAYS: i32 = 14;

/// So many spellings of a name are told.
const SPELLINGS_MAX: usize = 10;

/// Longest line that mod_authn_otp reads whole.
const LINE_MAX_OF_ANCESTOR: usize = 1000;

/// What mod_authn_otp couldn't read, or would take for something else, if the site went back to it;
/// told as it is found.
pub fn unknown_to_mod_authn_otp(
    configured: &Path,
    tell: &mut dyn FnMut(Finding),
) -> Result<(), Fault> {
    let file = super::edit::open_users(configured)?;
    let zone = TimeZone::UTC;
    let mut seen = Seen::default();
    let read = lines::for_each_line(&file, |_, line| {
        if let Some(user) = line::user_of(line) {
            seen.note(user);
        }
    });
    let read = read.and_then(|()| {
        let repeated = seen.repeated(2);
        let mut users: HashMap<Vec<u8>, u64> = HashMap::new();
        let mut number = 0;
        lines::for_each_line(&file, |_, line| {
            number += 1;
            let mut warn = |text: &str| {
                tell(warning_of_line(
                    configured,
                    number,
                    format_args!("for mod_authn_otp, {text}"),
                ));
            };
            if let Some(Ok(Pragma::Limits(_))) = pragma::parse(line) {
                warn("the limits are a comment: it ignores them");
            }
            if lines::is_ignored(line) {
                return;
            }
            let Ok(record) = record::parse_one_of_many(line, &zone) else { return };
            let key = &line[record.layout.head[3].clone()];
            if record.token.disabled {
                warn("the type is unknown: it has no OFF:");
            }
            if matches!(record.token.factor, MovingFactor::Paper(_)) {
                warn("the type is unknown: it has no PAPER");
            }
            if !matches!(record.token.algorithm, Algorithm::Hotp(Hash::Sha1) | Algorithm::Motp) {
                warn("the type is unknown: it has only SHA-1");
            }
            if matches!(record.token.pin, Pin::Hashed(_)) {
                warn("the hash itself is the PIN");
            }
            if key.contains(&b':') {
                warn("the key is unknown: it reads only hexadecimal");
            }
            if line.len() > LINE_MAX_OF_ANCESTOR {
                warn("the line is too long and is truncated");
            }
            let user = &line[record.layout.head[1].clone()];
            if repeated.hash_of(user).is_none() {
                return;
            }
            match users.get(user) {
                Some(first) => {
                    warn(&format!("the user is already in line {first}: it has one token per user"))
                }
                None => {
                    users.insert(user.to_vec(), number);
                }
            }
        })
    });
    read.map_err(|cause| Fault::new("read", configured, cause))
}

/// Tries the access to a PIN file that logins need, as the calling thread's user.
pub fn pin_file_access(path: &Path) -> Vec<Finding> {
    match steady::metadata(path, pin_file::CREATE) {
        Ok(metadata) => mode(path, &metadata, "set PINs"),
        Err(fault) => vec![Finding::error(fault.to_string())],
    }
}

/// Users of a users file whose PIN can't be checked by a PIN file: the first of them, and the
/// number of the others.
pub fn pin_file_entries(
    path: &Path,
    users: &Path,
    external_pins: &[ExternalPin],
) -> Result<Vec<Finding>, Fault> {
    let wanted: HashSet<&[u8]> = external_pins.iter().map(|pin| &pin.user[..]).collect();
    let mut entries: HashMap<Vec<u8>, (u64, Option<EntryError>)> = HashMap::new();
    steady::read(path, pin_file::CREATE, |file| {
        entries.clear();
        pin_file::for_each_entry(file, |number, user, field| {
            if wanted.contains(user) && !entries.contains_key(user) {
                let fault =
                    field.map_or(Some(EntryError::Empty), |field| PinEntry::parse(field).err());
                entries.insert(user.to_vec(), (number, fault));
            }
        })
    })?;

    let (path, users) = (path.display(), users.display());
    let remedy = pin_file::REMEDY;
    let mut findings: Vec<Finding> = external_pins
        .iter()
        .filter_map(|ExternalPin { number, user }| match entries.get(user) {
            Some((_, None)) => None,
            Some((at, Some(fault))) => {
                let text = format!("{path} line {at}: {fault}; {remedy} for the user of {users} line {number}");
                Some(Finding::warning(text))
            }
            None => {
                let text = format!(
                    "{users} line {number}: the PIN must be checked elsewhere (+), but {path} has no line for that user; {remedy}"
                );
                Some(Finding::warning(text).of_line(*number))
            }
        })
        .collect();
    if let Some(more) = findings.len().checked_sub(FINDINGS_MAX).filter(|&more| more > 0) {
        findings.truncate(FINDINGS_MAX);
        findings.push(Finding::warning(format!(
            "{users}: {more} more users whose PIN {path} can't check"
        )));
    }
    Ok(findings)
}
