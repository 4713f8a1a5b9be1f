//! The configuration test: contradictions between places, and the files they name.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

use rustix::fs::{Gid, Uid};

use super::Site;
use super::sections::{self, HeldSettings, Place};
use crate::files::fault::Fault;
use crate::files::{accounts, steady, system};
use crate::groups::{self, LookedAt};
use crate::log::{Level, Log, Quoted};
use crate::policy::{self, Groups, Limits, Policy, Scheme, Server};
use crate::users::check::{self, CheckedLines, ExternalPin, Finding, Severity};

/// The user and group whose file access is tested.
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs)] // named as in the system
pub struct Identity {
    pub uid: u32,
    pub gid: u32,
}

impl Site {
    /// Looks at places, and at the users and PIN files they name, with the access that `identity`
    /// has. `roots` are directories whose files are served. One log line per finding, each of which
    /// begins with its place. The number of errors.
    pub fn check_config(
        &self,
        places: &[Place<'_>],
        roots: &[&[u8]],
        identity: Identity,
        log: &dyn Log,
    ) -> usize {
        let roots = roots.iter().filter(|root| !root.is_empty());
        let roots = roots.map(|root| resolved(&self.gates.path(root))).collect();
        let (said, with_sessions) = Default::default();
        Test { site: self, roots, identity, log, said, with_sessions, errors: 0 }.run(places)
    }
}

fn resolved(path: &Path) -> PathBuf {
    std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned())
}

/// What is known of a users file once the first section that names it has been looked at.
struct SeenFile<'s> {
    place: &'s [u8],
    policy: Policy,
    lines: Looked,
}

struct Test<'t> {
    site: &'t Site,
    /// Directories whose files are served.
    roots: Vec<PathBuf>,
    identity: Identity,
    log: &'t dyn Log,
    said: HashSet<String>,
    /// Users files of places that keep sessions.
    with_sessions: HashSet<PathBuf>,
    errors: usize,
}

impl Test<'_> {
    /// Each file is checked once, however many places name it, and by whatever path; findings
    /// common to several of them are reported once.
    fn run(mut self, places: &[Place<'_>]) -> usize {
        let server = self.site.server;
        let held = sections::held(server, places);
        for (place, finding) in sections::contradictions(server, places, &held) {
            self.say(place, finding);
        }
        let mut seen = HashMap::new();
        let mut seen_pins = HashSet::new();
        let mut seen_groups = HashSet::new();
        for (place, held) in places.iter().zip(&held) {
            for (place, finding) in self.of_files(place, held, &mut seen, &mut seen_pins) {
                self.say(place, finding);
            }
            if let Some((place, finding)) = self.of_secret(held) {
                self.say(place, finding);
            }
            for (place, finding) in self.of_groups(held, &mut seen_groups) {
                self.say(place, finding);
            }
        }
        self.errors
    }

    fn say(&mut self, place: &[u8], finding: Finding) {
        let (level, word) = match finding.severity {
            Severity::Error => (Level::Error, "error"),
            Severity::Warning => (Level::Warning, "warning"),
        };
        let line = format!("{}: {word}: {}", String::from_utf8_lossy(place), finding.text);
        if self.said.insert(line.clone()) {
            self.errors += usize::from(level == Level::Error);
            self.log.log(level, format_args!("{line}"));
        }
    }

    fn of_files<'p>(
        &self,
        place: &Place<'p>,
        held: &HeldSettings<'p>,
        seen: &mut HashMap<PathBuf, SeenFile<'p>>,
        seen_pins: &mut HashSet<(PathBuf, PathBuf)>,
    ) -> Vec<(&'p [u8], Finding)> {
        let (site, settings) = (self.site, &held.settings);
        // On Apache, what a section inherits is looked at where it is set, but for what it has to
        // say itself.
        let own = &place.settings;
        let has_a_word =
            own.users_file.is_some() || own.lockout_time.is_some() || own.asked.auth_type.is_some();
        let Some(users_file) = settings.users_file.filter(|_| has_a_word) else {
            return Vec::new();
        };
        let policy = settings.policy(site.server);
        let path = site.gates.path(users_file.value);
        let users = resolved(&path);
        let mut findings = self.of_users_file(users_file.place, (&path, &users), &policy, seen);
        let Looked { external_pins, first_without_plain_pin, limits } = &seen[&users].lines;
        if let Some(number) = first_without_plain_pin
            && settings.asked_scheme(site.server).has_digest()
        {
            findings.push(no_plain_pin(&path, *number, settings.asked_scheme(site.server)));
        }
        let has_source = |settings: &policy::Settings<'_>| {
            !settings.pin_provider_names().is_empty() || settings.pin_file.is_some()
        };
        if let Some(pin) = external_pins.first()
            && !held.may_have(has_source)
        {
            findings.push(no_pin_source(&path, pin.number, site.server));
        }
        let mut findings: Vec<(&[u8], Finding)> =
            findings.into_iter().map(|finding| (users_file.place, finding)).collect();
        if let Some(lockout) = place.settings.lockout_time
            && policy.lockout_time > 0
            && policy.restricted_by(limits).max_failures == 0
            && !held.may_have(|settings| settings.policy(site.server).max_failures > 0)
        {
            findings.push((lockout.place, no_limit(site.server)));
        }
        if let (Some(cache), Some(_)) = (settings.pin_cache, settings.pin_providers) {
            findings.push((cache.place, no_cache_for_providers()));
        }
        if let Some(pin_file) = settings.pin_file {
            let pins = site.gates.path(pin_file.value);
            if seen_pins.insert((resolved(&pins), users)) {
                let (mut found, _) = self.as_server(&|| look_at_pins(&pins, &path, external_pins));
                found.extend(self.served(&pins, &resolved(&pins)));
                findings.extend(found.into_iter().map(|finding| (pin_file.place, finding)));
            }
        }
        findings
    }

    /// What there is to say about the secret that a place needs for cookies. Where a file has lines
    /// for sessions, that is told with its lines.
    fn of_secret<'p>(&mut self, held: &HeldSettings<'p>) -> Option<(&'p [u8], Finding)> {
        let settings = &held.settings;
        let users_file = settings.users_file?;
        settings.policy(self.site.server).cookie?;
        let path = self.site.gates.path(users_file.value);
        if !self.with_sessions.insert(resolved(&path)) {
            return None;
        }
        let look =
            || (check::missing_secret(&path, false).into_iter().collect(), Looked::default());
        let (found, _) = self.as_server(&look);
        Some((users_file.place, found.into_iter().next()?))
    }

    /// What there is to say about the group file of a place, and about the groups it asks for.
    fn of_groups<'p>(
        &self,
        held: &HeldSettings<'p>,
        seen: &mut HashSet<(PathBuf, Vec<Vec<u8>>)>,
    ) -> Vec<(&'p [u8], Finding)> {
        let Some(given) = held.settings.required.and_then(|required| required.groups) else {
            return Vec::new();
        };
        let Groups { file, names } = &given.value;
        let path = self.site.gates.path(file);
        let wanted = names.iter().map(|name| name.to_vec()).collect();
        if !seen.insert((path.clone(), wanted)) {
            return Vec::new();
        }
        let (mut found, _) = self.as_server(&|| look_at_groups(&path, names));
        found.extend(self.served(&path, &resolved(&path)));
        found.into_iter().map(|finding| (given.place, finding)).collect()
    }

    /// What there is to say about a users file by itself, or to those who name it again.
    fn of_users_file<'p>(
        &self,
        place: &'p [u8],
        (path, resolved): (&Path, &Path),
        policy: &Policy,
        seen: &mut HashMap<PathBuf, SeenFile<'p>>,
    ) -> Vec<Finding> {
        match seen.get(resolved) {
            // A block that inherits the file and has limits of its own means them.
            Some(first) if std::ptr::eq(first.place, place) => Vec::new(),
            Some(first) => differing_limits(path, first, policy).into_iter().collect(),
            None => {
                let (mut findings, lines) = self.as_server(&|| look_at(path));
                findings.extend(self.served(path, resolved));
                seen.insert(resolved.to_owned(), SeenFile { place, policy: *policy, lines });
                findings
            }
        }
    }

    fn as_server(&self, look: &dyn Fn() -> FileLook) -> FileLook {
        let (uid, gid) = (Uid::from_raw(self.identity.uid), Gid::from_raw(self.identity.gid));
        system::as_user(uid, gid, &accounts::groups_of(uid, gid), look).unwrap_or_else(|cause| {
            let text =
                format!("cannot test the access of user number {}: {cause}", self.identity.uid);
            (vec![Finding::error(text)], Looked::default())
        })
    }

    /// Whether clients may be served the file, as far as directories tell.
    fn served(&self, path: &Path, resolved: &Path) -> Option<Finding> {
        let root =
            self.roots.iter().find(|root| resolved.starts_with(root) && root.parent().is_some())?;
        Some(Finding::error(format!(
            "{} is below {}, which the server publishes: move it elsewhere",
            path.display(),
            root.display()
        )))
    }
}

fn no_limit(server: Server) -> Finding {
    let (lockout, limit) = match server {
        Server::Apache => ("OTPAuthLockoutTime", "OTPAuthMaxOTPFailure"),
        Server::Nginx => ("auth_otp_lockout_time", "auth_otp_max_failures"),
    };
    Finding::warning(format!(
        "{lockout} has no effect: without {limit}, wrong codes lock nobody out"
    ))
}

/// What there is to say about a file; of a users file, also what some sections have to know of its
/// lines.
type FileLook = (Vec<Finding>, Looked);

#[derive(Default)]
struct Looked {
    external_pins: Vec<ExternalPin>,
    first_without_plain_pin: Option<u64>,
    limits: Limits,
}

fn is_usable(findings: &[Finding]) -> bool {
    findings.iter().all(|finding| finding.severity != Severity::Error)
}

/// Access, then lines.
fn look_at(path: &Path) -> FileLook {
    let mut findings = check::access(path);
    if !is_usable(&findings) {
        return (findings, Looked::default());
    }
    match check::lines(path) {
        Ok(CheckedLines { findings: found, external_pins, first_without_plain_pin, limits }) => {
            findings.extend(found);
            (findings, Looked { external_pins, first_without_plain_pin, limits })
        }
        Err(fault) => {
            findings.push(Finding::error(fault.to_string()));
            (findings, Looked::default())
        }
    }
}

/// Access, then whether it has an entry for everybody who needs one.
fn look_at_pins(path: &Path, users: &Path, external_pins: &[ExternalPin]) -> FileLook {
    let mut findings = check::pin_file_access(path);
    if is_usable(&findings) {
        match check::pin_file_entries(path, users, external_pins) {
            Ok(found) => findings.extend(found),
            Err(fault) => findings.push(Finding::error(fault.to_string())),
        }
    }
    (findings, Looked::default())
}

/// Access, then lines without effect and groups without a line.
fn look_at_groups(path: &Path, wanted: &[&[u8]]) -> FileLook {
    let look = || {
        let metadata = steady::metadata(path, groups::CREATE)?;
        let looked = groups::look_at(path, wanted)?;
        Ok::<_, Fault>((metadata, looked))
    };
    let (metadata, LookedAt { found, without_group }) = match look() {
        Ok(looked) => looked,
        Err(fault) => return (vec![Finding::error(fault.to_string())], Looked::default()),
    };
    let mut findings: Vec<Finding> =
        check::world_writable(path, &metadata, "put users into groups").into_iter().collect();
    let path = path.display();
    if let Some(number) = without_group.first() {
        findings.push(Finding::warning(format!(
            "{path} line {number}: no `GROUP:` before the names, so they are in no group"
        )));
    }
    for group in wanted.iter().filter(|group| !found.iter().any(|found| found == *group)) {
        findings.push(Finding::warning(format!(
            "{path} has no line for the group {}: it lets nobody in",
            Quoted(group)
        )));
    }
    (findings, Looked::default())
}

/// Browsers that are offered both schemes take Digest.
fn no_plain_pin(path: &Path, number: u64, scheme: Scheme) -> Finding {
    let outcome =
        if scheme.has_basic() { "its user must use Basic" } else { "its user is refused here" };
    Finding::warning(format!(
        "{} line {number}: Digest can't check a PIN that is hashed or marked +: {outcome}",
        path.display()
    ))
}

fn no_pin_source(path: &Path, number: u64, server: Server) -> Finding {
    let setting = policy::pin_source_setting(server);
    Finding::warning(format!(
        "{} line {number}: the PIN must be checked elsewhere (+), but this section has no {setting}",
        path.display()
    ))
}

/// Only Apache has such providers.
fn no_cache_for_providers() -> Finding {
    Finding::warning("OTPAuthPINCache has no effect on the providers of OTPAuthPINAuthProvider; they have their own caches (mod_authn_socache, LDAPCacheTTL)"
            .to_owned())
}

fn differing_limits(path: &Path, first: &SeenFile<'_>, other: &Policy) -> Option<Finding> {
    let limits = |policy: &Policy| {
        let policy = policy.restricted_by(&first.lines.limits);
        (policy.max_failures, policy.lockout_time, policy.lockout_max)
    };
    (limits(&first.policy) != limits(other)).then(|| Finding::warning(format!(
            "{} is used with other limits on wrong codes than at {}: guesses go through the laxer section; a `#@ limits` line in the file binds both",
            path.display(),
            String::from_utf8_lossy(first.place)
        )))
}
