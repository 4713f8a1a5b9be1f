//! Settings through C: kept in the server's own memory.

use std::collections::{HashMap, HashSet};
use std::ffi::{c_char, c_int, c_void};
use std::path::{Path, PathBuf};

use rustix::fs::{Gid, Uid};

use super::guard::guarded;
use super::types::*;
use super::{HostLog, identity, otpgate_gate, server_of};
use crate::log::{Level, Log};
use crate::policy::{self, Limits, PIN_PROVIDERS_MAX, Policy, SETTINGS, Scheme, Server, Settings};
use crate::users::check::{self, ExternalPin, Finding, Lines, Severity};

/// What stands in the words of [`otpgate_settings`]. The lifetime is the server's: its pool holds the strings as
/// long as the settings.
#[repr(C)]
#[derive(Clone, Copy)]
struct Stored {
    /// [`STORED`], or 0: nothing set yet.
    mark: u64,
    settings: Settings<'static>,
    /// The same names as in `settings`, in the form that C can be given.
    pin_providers: [otpgate_str; PIN_PROVIDERS_MAX],
}

const STORED: u64 = u64::from_le_bytes(*b"settings");

const _: () = {
    assert!(size_of::<Stored>() <= size_of::<otpgate_settings>());
    assert!(align_of::<Stored>() <= align_of::<otpgate_settings>());
};

impl Stored {
    fn new(settings: Settings<'static>) -> Stored {
        let mut pin_providers = [otpgate_str::EMPTY; PIN_PROVIDERS_MAX];
        for (place, name) in pin_providers.iter_mut().zip(settings.pin_provider_names()) {
            *place = otpgate_str::of(name);
        }
        Stored { mark: STORED, settings, pin_providers }
    }
}

/// # Safety
/// `settings` is null or points to settings that only this library has written to.
unsafe fn stored<'a>(settings: *const otpgate_settings) -> Option<&'a Stored> {
    // SAFETY: the caller's promise; the first word may be read whatever stands there.
    let mark = unsafe { settings.as_ref() }?.opaque[0];
    // SAFETY: with the mark, the words hold a Stored, written by `store`; size and alignment are checked above.
    (mark == STORED).then(|| unsafe { &*settings.cast::<Stored>() })
}

/// # Safety
/// As for `stored`, and `settings` may be written to.
unsafe fn store(settings: *mut otpgate_settings, value: Settings<'static>) {
    // SAFETY: size and alignment are checked above; the caller promises that it may be written to.
    unsafe { settings.cast::<Stored>().write(Stored::new(value)) };
}

/// What C's settings say, where they are. `None`: nothing, or the pointer is null.
///
/// # Safety
/// As for `stored`; the strings live as long as the header demands.
pub(super) unsafe fn settings_in_place<'a>(
    settings: *const otpgate_settings,
) -> Option<&'a Settings<'static>> {
    // SAFETY: the caller's promise.
    unsafe { stored(settings) }.map(|stored| &stored.settings)
}

/// What C's settings say; nothing if the pointer is null.
///
/// # Safety
/// As for `stored`; the strings live as long as the header demands.
pub(super) unsafe fn settings_of(settings: *const otpgate_settings) -> Settings<'static> {
    // SAFETY: the caller's promise.
    unsafe { settings_in_place(settings) }.copied().unwrap_or_default()
}

/// See the header.
#[unsafe(no_mangle)]
pub extern "C" fn otpgate_setting_count(server: c_int) -> usize {
    guarded(|| 0, || names(server).count())
}

/// See the header.
#[unsafe(no_mangle)]
pub extern "C" fn otpgate_setting_name(server: c_int, index: usize) -> *const c_char {
    guarded(std::ptr::null, || names(server).nth(index).map_or(std::ptr::null(), |(name, _)| name.as_ptr()))
}

/// See the header.
#[unsafe(no_mangle)]
pub extern "C" fn otpgate_setting_usage(server: c_int, index: usize) -> *const c_char {
    guarded(std::ptr::null, || names(server).nth(index).map_or(std::ptr::null(), |(_, usage)| usage.as_ptr()))
}

fn names(server: c_int) -> impl Iterator<Item = (&'static std::ffi::CStr, &'static std::ffi::CStr)> {
    let server = server_of(server);
    SETTINGS.iter().filter_map(move |setting| Some((setting.name(server?)?, setting.usage)))
}

/// See the header.
///
/// # Safety
/// As the header says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn otpgate_settings_set(
    settings: *mut otpgate_settings,
    server: c_int,
    name: otpgate_str,
    args: *const otpgate_str,
    nargs: usize,
    place: otpgate_str,
    error: *mut c_char,
    error_size: usize,
) -> c_int {
    let refuse = |reason: &str| {
        if !error.is_null() && error_size > 0 {
            let len = reason.len().min(error_size - 1);
            // SAFETY: the caller gives `error_size` writable bytes; at most that many are written.
            unsafe {
                std::ptr::copy_nonoverlapping(reason.as_ptr().cast(), error, len);
                error.add(len).write(0);
            }
        }
        1
    };
    guarded(
        || refuse("an internal fault of otpgate; please report it"),
        || {
            let Some(server) = server_of(server) else { return refuse("unknown server") };
            if settings.is_null() || (args.is_null() && nargs > 0) {
                return refuse("a null pointer");
            }
            // SAFETY: the caller promises `nargs` strings that outlive the settings.
            let words: Vec<&'static [u8]> =
                (0..nargs).map(|i| unsafe { (*args.add(i)).as_bytes() }).collect();
            // SAFETY: the caller's promises about strings and settings.
            let (name, place, mut value) =
                unsafe { (name.as_bytes(), place.as_bytes(), settings_of(settings)) };
            match value.set(server, name, &words, place) {
                Ok(()) => {
                    // SAFETY: not null; the caller's to write.
                    unsafe { store(settings, value) };
                    0
                }
                Err(reason) => refuse(&reason.to_string()),
            }
        },
    )
}

/// See the header.
///
/// # Safety
/// As the header says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn otpgate_settings_merge(
    out: *mut otpgate_settings,
    server: c_int,
    base: *const otpgate_settings,
    child: *const otpgate_settings,
) {
    guarded(
        || (),
        || {
            let Some(server) = server_of(server).filter(|_| !out.is_null()) else { return };
            // SAFETY: the caller's promises; both are copied before `out` is written to.
            let (base, child) = unsafe { (settings_of(base), settings_of(child)) };
            // SAFETY: not null; the caller's to write.
            unsafe { store(out, base.merged_with(&child, server)) };
        },
    );
}

/// See the header.
///
/// # Safety
/// As the header says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn otpgate_settings_require_tls(settings: *const otpgate_settings) -> c_int {
    // SAFETY: the caller's promise.
    guarded(|| 1, || unsafe { settings_of(settings) }.requires_tls().into())
}

/// See the header.
///
/// # Safety
/// As the header says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn otpgate_settings_has_basic(settings: *const otpgate_settings) -> c_int {
    // SAFETY: the caller's promise.
    guarded(|| 0, || unsafe { settings_of(settings) }.scheme().has_basic().into())
}

/// See the header.
///
/// # Safety
/// As the header says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn otpgate_settings_has_digest(settings: *const otpgate_settings) -> c_int {
    // SAFETY: the caller's promise.
    guarded(|| 0, || unsafe { settings_of(settings) }.scheme().has_digest().into())
}

/// See the header.
///
/// # Safety
/// As the header says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn otpgate_settings_has_users_file(settings: *const otpgate_settings) -> c_int {
    // SAFETY: the caller's promise.
    guarded(|| 0, || unsafe { settings_of(settings) }.users_file.is_some().into())
}

/// See the header.
///
/// # Safety
/// As the header says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn otpgate_settings_pin_providers(
    settings: *const otpgate_settings,
    count: *mut usize,
) -> *const otpgate_str {
    guarded(std::ptr::null, || {
        // SAFETY: the caller's promise.
        let stored = unsafe { stored(settings) };
        let number = stored.map_or(0, |stored| stored.settings.pin_provider_names().len());
        // SAFETY: null or the caller's to write.
        if let Some(count) = unsafe { count.as_mut() } {
            *count = number;
        }
        stored.filter(|_| number > 0).map_or(std::ptr::null(), |stored| stored.pin_providers.as_ptr())
    })
}

/// See the header.
///
/// # Safety
/// As the header says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn otpgate_settings_check(
    gate: *mut otpgate_gate,
    sections: *const *const otpgate_settings,
    count: usize,
    identity: *const otpgate_identity,
    sink: *mut c_void,
) -> usize {
    // SAFETY: null is caught, else the caller's promise.
    let (Some(gate), Some(identity)) = (unsafe { gate.as_ref() }, unsafe { identity.as_ref() }) else {
        return 1;
    };
    let log = HostLog { gate, request: sink, level: 0 };
    let failed = || {
        log.log(Level::Error, format_args!("an internal fault of otpgate; please report it"));
        1
    };
    guarded(failed, || {
        // SAFETY: the caller promises `count` pointers to settings.
        let sections: Vec<Settings<'static>> =
            (0..count).map(|i| unsafe { settings_of(*sections.add(i)) }).collect();
        check_sections(gate, &sections, identity, &log)
    })
}

/// See the header.
///
/// # Safety
/// As the header says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn otpgate_places_check(
    gate: *mut otpgate_gate,
    places: *const otpgate_place,
    count: usize,
    sink: *mut c_void,
) {
    guarded(
        || (),
        || {
            // SAFETY: null is caught, else the caller's promise.
            let Some(gate) = (unsafe { gate.as_ref() }) else { return };
            let log = HostLog { gate, request: sink, level: 0 };
            let mut said = HashSet::new();
            for i in 0..count {
                // SAFETY: the caller promises `count` places; its strings and settings outlive this call.
                let (settings, place, realm, is_on_unix_socket) = unsafe {
                    let place = *places.add(i);
                    (
                        settings_of(place.settings),
                        place.place.as_bytes(),
                        place.realm.as_bytes(),
                        place.is_on_unix_socket,
                    )
                };
                let findings = [
                    switched_off_by_clients(realm),
                    (is_on_unix_socket != 0)
                        .then(|| without_address(&settings.policy(gate.server)))
                        .flatten(),
                ];
                for text in findings.into_iter().flatten() {
                    let line = format!("{}: {text}", String::from_utf8_lossy(place));
                    if said.insert(line.clone()) {
                        log.log(Level::Warning, format_args!("{line}"));
                    }
                }
            }
        },
    );
}

fn switched_off_by_clients(realm: &[u8]) -> Option<String> {
    policy::is_for_clients_to_switch_off(realm).then(|| {
        format!(
            "the realm \"{}\" comes out as \"off\" if a client wants it to, and then everybody is let in: put a word beside the variable",
            realm.escape_ascii()
        )
    })
}

fn without_address(policy: &Policy) -> Option<String> {
    policy.logout_on_ip_change.then(|| {
        "this server listens on a unix socket, whose clients have no address of their own: with auth_otp_logout_on_ip_change on, their codes are good for a single request; see that nginx is told their addresses (set_real_ip_from unix: with real_ip_header, or proxy_protocol), or set it off"
            .to_owned()
    })
}

/// What is known of a users file once the first section that names it has been looked at.
struct Seen<'s> {
    place: &'s [u8],
    policy: Policy,
    lines: Looked,
}

/// Each file is looked at once, however many sections name it, and by whatever path; and said once what is the same
/// for several sections at one place.
fn check_sections(
    gate: &otpgate_gate,
    sections: &[Settings<'_>],
    identity: &otpgate_identity,
    log: &dyn Log,
) -> usize {
    let (uid, gid) = (Uid::from_raw(identity.uid), Gid::from_raw(identity.gid));
    let groups = identity::groups_of(uid, gid);
    let as_server = |look: &dyn Fn() -> Look| {
        identity::as_user(uid, gid, &groups, look).unwrap_or_else(|cause| {
            let text = format!("cannot try the access of user number {}: {cause}", identity.uid);
            (vec![Finding { severity: Severity::Error, text }], Looked::default())
        })
    };
    let same = |path: &Path| std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let mut seen: HashMap<PathBuf, Seen<'_>> = HashMap::new();
    let mut seen_pins: HashSet<(PathBuf, PathBuf)> = HashSet::new();
    let mut said: HashSet<String> = HashSet::new();
    let mut errors = 0;
    for settings in sections {
        let Some(users_file) = settings.users_file else { continue };
        let policy = settings.policy(gate.server);
        let path = gate.path(users_file.value);
        let users = same(&path);
        let mut findings = Vec::new();
        match seen.get(&users) {
            // A block that inherits the file and has limits of its own means them.
            Some(first) if std::ptr::eq(first.place, users_file.place) => {}
            Some(first) => findings.extend(differing_limits(&path, first, &policy)),
            None => {
                let (found, lines) = as_server(&|| look_at(&path));
                findings = found;
                seen.insert(users.clone(), Seen { place: users_file.place, policy, lines });
            }
        }
        let Looked { external_pins, first_without_plain_pin, .. } = &seen[&users].lines;
        if let Some(number) = first_without_plain_pin
            && settings.scheme().has_digest()
        {
            findings.push(no_plain_pin(&path, *number, settings.scheme()));
        }
        if let Some(pin) = external_pins.first()
            && settings.pin_provider_names().is_empty()
            && settings.pin_file.is_none()
        {
            findings.push(no_pin_source(&path, pin.number, gate.server));
        }
        let mut findings: Vec<(&[u8], Finding)> =
            findings.into_iter().map(|finding| (users_file.place, finding)).collect();
        if let (Some(cache), Some(_)) = (settings.pin_cache, settings.pin_providers) {
            findings.push((cache.place, no_cache_for_providers()));
        }
        if let Some(pin_file) = settings.pin_file {
            let pins = gate.path(pin_file.value);
            if seen_pins.insert((same(&pins), users)) {
                let (found, _) = as_server(&|| look_at_pins(&pins, &path, external_pins));
                findings.extend(found.into_iter().map(|finding| (pin_file.place, finding)));
            }
        }
        for (place, finding) in findings {
            let line = format!("{}: {}", String::from_utf8_lossy(place), finding.text);
            let level = match finding.severity {
                Severity::Error => Level::Error,
                Severity::Warning => Level::Warning,
            };
            if said.insert(line.clone()) {
                errors += usize::from(level == Level::Error);
                log.log(level, format_args!("{line}"));
            }
        }
    }
    errors
}

/// What there is to say about a file; of a users file, also what some sections have to know of its lines.
type Look = (Vec<Finding>, Looked);

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
fn look_at(path: &Path) -> Look {
    let mut findings = check::access(path);
    if !is_usable(&findings) {
        return (findings, Looked::default());
    }
    match check::lines(path) {
        Ok(Lines { findings: found, external_pins, first_without_plain_pin, limits }) => {
            findings.extend(found);
            (findings, Looked { external_pins, first_without_plain_pin, limits })
        }
        Err(fault) => {
            findings.push(Finding { severity: Severity::Error, text: fault.to_string() });
            (findings, Looked::default())
        }
    }
}

/// Access, then whether it has an entry for everybody who needs one.
fn look_at_pins(path: &Path, users: &Path, external_pins: &[ExternalPin]) -> Look {
    let mut findings = check::pin_file_access(path);
    if is_usable(&findings) {
        match check::pin_file_entries(path, users, external_pins) {
            Ok(found) => findings.extend(found),
            Err(fault) => findings.push(Finding { severity: Severity::Error, text: fault.to_string() }),
        }
    }
    (findings, Looked::default())
}

/// Browsers that are offered both schemes take Digest.
fn no_plain_pin(path: &Path, number: u64, scheme: Scheme) -> Finding {
    let outcome = if scheme.has_basic() {
        "its user has to be asked by Basic alone"
    } else {
        "its user is refused here"
    };
    Finding {
        severity: Severity::Warning,
        text: format!(
            "{} line {number}: Digest can't check a PIN that is hashed or marked +: {outcome}",
            path.display()
        ),
    }
}

fn no_pin_source(path: &Path, number: u64, server: Server) -> Finding {
    let setting = policy::pin_source_setting(server);
    Finding {
        severity: Severity::Warning,
        text: format!(
            "{} line {number}: the PIN is to be checked elsewhere (+), but this section has no {setting}",
            path.display()
        ),
    }
}

/// Only Apache has such providers.
fn no_cache_for_providers() -> Finding {
    Finding {
        severity: Severity::Warning,
        text: "OTPAuthPINCache has no effect on what the providers of OTPAuthPINAuthProvider check; they have caches of their own (mod_authn_socache, LDAPCacheTTL)"
            .to_owned(),
    }
}

fn differing_limits(path: &Path, first: &Seen<'_>, other: &Policy) -> Option<Finding> {
    let limits = |policy: &Policy| {
        let policy = policy.restricted_by(&first.lines.limits);
        (policy.max_failures, policy.lockout_time, policy.lockout_max)
    };
    (limits(&first.policy) != limits(other)).then(|| Finding {
        severity: Severity::Warning,
        text: format!(
            "{} is used with other limits on wrong codes than at {}: the laxer section is the way in; a `#@ limits` line in the file binds both",
            path.display(),
            String::from_utf8_lossy(first.place)
        ),
    })
}
