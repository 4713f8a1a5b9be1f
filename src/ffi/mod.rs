//! The C interface, `include/otpgate.h`, function by function. What each means for its caller stands there.
//!
//! Nothing here decides anything: pointers become slices, numbers become types, and back. Every entry is guarded:
//! a panic ends here, as an error verdict and one log line.

#![allow(unsafe_code)] // this is where C hands us pointers
#![allow(non_camel_case_types)] // C's names

pub mod identity;

mod guard;
mod settings;
mod types;

use std::collections::HashMap;
use std::ffi::{c_char, c_int, c_void};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use parking_lot::RwLock;

pub use settings::*;
pub use types::*;

use self::guard::guarded;
use crate::decide::{PinAnswer, Verdict, Word};
use crate::gate::{self, Answer, Gate, PinSource};
use crate::http::basic;
use crate::log::{Level, Log};
use crate::policy::{Server, Settings};
use crate::token::Address;
use crate::users::file::UsersFile;
use crate::{UnixTime, decide};

/// `otpgate_gate`: one configuration's state.
pub struct otpgate_gate {
    host: otpgate_host,
    server: Server,
    root: PathBuf,
    /// By the path as configured. Grows by one for each users file a configuration names.
    files: RwLock<HashMap<Vec<u8>, Arc<Gate<UsersFile>>>>,
}

impl otpgate_gate {
    fn path(&self, configured: &[u8]) -> PathBuf {
        use std::os::unix::ffi::OsStrExt;
        self.root.join(std::ffi::OsStr::from_bytes(configured))
    }

    /// The gate to a users file. `None`: no random bytes.
    fn file(&self, configured: &[u8]) -> Option<Arc<Gate<UsersFile>>> {
        if let Some(known) = self.files.read().get(configured) {
            return Some(known.clone());
        }
        let new = Arc::new(Gate::new(UsersFile::new(&self.path(configured)), now)?);
        Some(self.files.write().entry(configured.to_vec()).or_insert(new).clone())
    }
}

fn now() -> UnixTime {
    match SystemTime::now().duration_since(UNIX_EPOCH) {
        Ok(since) => since.as_secs() as UnixTime,
        Err(before) => -(before.duration().as_secs() as UnixTime),
    }
}

/// The server's log, for one call.
struct HostLog<'a> {
    host: &'a otpgate_host,
    request: *mut c_void,
}

impl Log for HostLog<'_> {
    fn log(&self, level: Level, message: std::fmt::Arguments<'_>) {
        // A path or a cause may hold anything; the contract says printable ASCII.
        let line: Vec<u8> = message
            .to_string()
            .bytes()
            .flat_map(|byte| match byte {
                b' '..=b'~' => vec![byte],
                _ => format!("\\x{byte:02x}").into_bytes(),
            })
            .collect();
        if let Some(log) = self.host.log {
            // SAFETY: the host promises a callable `log` for as long as the gate lives, and `request` is the
            // pointer it gave for this very call.
            unsafe { log(self.request, level as c_int, otpgate_str::of(&line)) };
        }
    }
}

struct HostPins<'a> {
    host: &'a otpgate_host,
    settings: &'a Settings<'a>,
    request: *mut c_void,
}

impl PinSource for HostPins<'_> {
    fn identity(&self) -> Vec<u8> {
        match self.host.check_pin {
            Some(_) => self.settings.pin_provider_names().join(&0),
            None => Vec::new(),
        }
    }

    fn check(&self, user: &[u8], pin: &[u8]) -> PinAnswer {
        let Some(check_pin) = self.host.check_pin else { return PinAnswer::NoSource };
        // SAFETY: as for `log`; both strings outlive the call.
        match unsafe { check_pin(self.request, otpgate_str::of(user), otpgate_str::of(pin)) } {
            OTPGATE_PIN_RIGHT => PinAnswer::Right,
            OTPGATE_PIN_WRONG => PinAnswer::Wrong,
            OTPGATE_PIN_UNKNOWN => PinAnswer::Unknown,
            _ => PinAnswer::Failed,
        }
    }
}

/// See the header.
#[unsafe(no_mangle)]
pub extern "C" fn otpgate_version() -> *const c_char {
    concat!(env!("CARGO_PKG_VERSION"), "\0").as_ptr().cast()
}

/// See the header.
///
/// # Safety
/// As the header says: `host` is null or valid for the call.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn otpgate_gate_new(host: *const otpgate_host) -> *mut otpgate_gate {
    guarded(std::ptr::null_mut, || {
        // SAFETY: null is caught, else the caller's promise.
        let Some(host) = (unsafe { host.as_ref() }) else { return std::ptr::null_mut() };
        let server = server_of(host.server as c_int);
        let (Some(server), Some(_), OTPGATE_API_VERSION) = (server, host.log, host.api_version) else {
            return std::ptr::null_mut();
        };
        use std::os::unix::ffi::OsStrExt;
        // SAFETY: the caller's promise about strings.
        let root = Path::new(std::ffi::OsStr::from_bytes(unsafe { host.root.as_bytes() })).to_owned();
        let host = otpgate_host { root: otpgate_str::EMPTY, ..*host };
        Box::into_raw(Box::new(otpgate_gate { host, server, root, files: RwLock::default() }))
    })
}

/// See the header.
///
/// # Safety
/// As the header says: `gate` is null or from [`otpgate_gate_new`], and nobody uses it any more.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn otpgate_gate_free(gate: *mut otpgate_gate) {
    guarded(
        || (),
        || {
            if !gate.is_null() {
                // SAFETY: made by Box::into_raw in otpgate_gate_new, and given back once.
                drop(unsafe { Box::from_raw(gate) });
            }
        },
    );
}

/// See the header.
///
/// # Safety
/// As the header says: all pointers are null or valid for the call, and `login.memory` is nobody else's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn otpgate_basic(
    gate: *mut otpgate_gate,
    login: *const otpgate_login,
    answer: *mut otpgate_answer,
) -> c_int {
    // SAFETY: null is caught, else the caller's promise.
    let (gate, login, out) = unsafe { (gate.as_ref(), login.as_ref(), answer.as_mut()) };
    let (Some(gate), Some(login), Some(out)) = (gate, login, out) else { return OTPGATE_ERROR };
    out.set(&Answer { verdict: Verdict::Error, word: Word::Error, upstream_pin: None }, b"");
    let log = HostLog { host: &gate.host, request: login.request };
    let failed = || {
        log.log(
            Level::Error,
            format_args!(
                "error: an internal fault; the login is refused, please report the message before this one"
            ),
        );
        None
    };
    let decided = guarded(failed, || {
        // SAFETY: the caller's promises about strings and settings.
        let (user, password, address) =
            unsafe { (login.user.as_bytes(), login.password.as_bytes(), login.address.as_bytes()) };
        // SAFETY: as above.
        let settings = unsafe { settings_of(login.settings) };
        Some(basic_login(gate, &settings, user, password, address, login, &log))
    });
    if let Some(answer) = decided {
        // SAFETY: the caller's promise.
        out.set(&answer, unsafe { login.user.as_bytes() });
    }
    out.verdict
}

fn basic_login(
    gate: &otpgate_gate,
    settings: &Settings<'_>,
    user: &[u8],
    password: &[u8],
    address: &[u8],
    login: &otpgate_login,
    log: &HostLog<'_>,
) -> Answer {
    let error = Answer { verdict: Verdict::Error, word: Word::Error, upstream_pin: None };
    #[cfg(feature = "deliberate-panic")]
    if user == b"deliberate-panic" {
        panic!("asked for by a test");
    }
    let Some(users_file) = settings.users_file else {
        let name = crate::policy::users_file_setting(gate.server);
        log.log(
            Level::Error,
            format_args!("error: no {name} is set for this place or above it; add one to this section"),
        );
        return error;
    };
    let Some(file) = gate.file(users_file.value) else {
        log.log(Level::Error, format_args!("error: the system has no random bytes; see its log"));
        return error;
    };
    let address = str::from_utf8(address).ok().and_then(|text| text.parse::<IpAddr>().ok());
    let attempt = gate::Login { user, password, address: Address::of_client(address) };
    let pins = HostPins { host: &gate.host, settings, request: login.request };
    // SAFETY: null or the caller's, for this call alone.
    let memory = unsafe { login.memory.as_mut() };
    file.basic(&settings.policy(gate.server), &attempt, &pins, memory.map(otpgate_memory::judged), log)
}

impl otpgate_answer {
    fn set(&mut self, answer: &Answer, user: &[u8]) {
        self.verdict = match answer.verdict {
            Verdict::Granted => OTPGATE_GRANTED,
            Verdict::Denied => OTPGATE_DENIED,
            Verdict::Unknown => OTPGATE_UNKNOWN,
            Verdict::Error => OTPGATE_ERROR,
        };
        self.result = word_for_c(answer.word);
        self.upstream_len = 0;
        if let Some(pin) = &answer.upstream_pin {
            let header = basic::authorization(user, pin);
            // User and PIN are bounded by the file's and the password's limits, so this always fits.
            if let Some(place) = self.upstream.get_mut(..header.len()) {
                for (place, byte) in place.iter_mut().zip(header.bytes()) {
                    *place = byte as c_char;
                }
                self.upstream_len = header.len();
            }
        }
    }
}

/// Words with the NUL that C expects.
fn word_for_c(word: Word) -> *const c_char {
    let text = match word {
        Word::GrantedFresh => c"granted-fresh",
        Word::GrantedReuse => c"granted-reuse",
        Word::DeniedPin => c"denied-pin",
        Word::DeniedCode => c"denied-code",
        Word::DeniedExpired => c"denied-expired",
        Word::DeniedIp => c"denied-ip",
        Word::DeniedLocked => c"denied-locked",
        Word::Forgotten => c"forgotten",
        Word::Unknown => c"unknown",
        Word::Error => c"error",
    };
    debug_assert_eq!(text.to_bytes(), decide::Word::as_str(word).as_bytes());
    text.as_ptr()
}

fn server_of(server: c_int) -> Option<Server> {
    match server {
        OTPGATE_APACHE => Some(Server::Apache),
        OTPGATE_NGINX => Some(Server::Nginx),
        _ => None,
    }
}
