//! The C interface, `include/otpgate.h`, function by function. What each means for its caller stands there.
//!
//! Nothing here decides anything: pointers become slices, numbers become types, and back. Every entry is guarded:
//! a panic ends here, as an error verdict and one log line.

#![allow(unsafe_code)] // this is where C hands us pointers
#![allow(non_camel_case_types)] // C's names

pub mod identity;

mod check;
mod digest;
mod guard;
mod login;
mod refusals;
mod settings;
mod types;

use std::collections::HashMap;
use std::ffi::{c_char, c_int, c_void};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, OnceLock};
use std::time::{SystemTime, UNIX_EPOCH};

use parking_lot::RwLock;

pub use check::*;
pub use digest::*;
pub use login::*;
pub use refusals::*;
pub use settings::*;
pub use types::*;

use self::guard::guarded;
use crate::UnixTime;
use crate::gate::{Gate, Marks};
use crate::log::{Level, Log};
use crate::policy::Server;
use crate::users::file::UsersFile;
use crate::users::open_files::OpenFiles;

/// `otpgate_gate`: one configuration's state.
pub struct otpgate_gate {
    host: otpgate_host,
    server: Server,
    root: PathBuf,
    /// By the path as configured, and by the same written plainly.
    gates: RwLock<HashMap<Vec<u8>, Arc<Gate<UsersFile>>>>,
    /// What the gates to one file share, by whatever paths.
    files: Arc<OpenFiles>,
    /// Who waits for their refusal, in memory that the host has lent.
    waiting: OnceLock<&'static [AtomicU64]>,
    /// What was decided about a request on one path of a file is recognised on all of them.
    marks: OnceLock<Marks>,
}

/// Directories' own settings can name a file in any number of ways: with more than this, all gates are forgotten.
const GATES_MAX: usize = 10_000;

impl otpgate_gate {
    fn path(&self, configured: &[u8]) -> PathBuf {
        use std::os::unix::ffi::OsStrExt;
        self.root.join(std::ffi::OsStr::from_bytes(configured))
    }

    fn marks(&self) -> Option<&Marks> {
        if self.marks.get().is_none() {
            let marks = Marks::new()?;
            return Some(self.marks.get_or_init(|| marks));
        }
        self.marks.get()
    }

    /// The gate to a users file. `None`: no random bytes.
    fn file(&self, configured: &[u8]) -> Option<Arc<Gate<UsersFile>>> {
        use std::os::unix::ffi::OsStrExt;
        let is_usable = |gate: &&Arc<Gate<UsersFile>>| !gate.store().is_astray();
        if let Some(known) = self.gates.read().get(configured).filter(is_usable) {
            return Some(known.clone());
        }
        // Without `.` and doubled slashes, which lead nowhere else.
        let path: PathBuf = self.path(configured).components().collect();
        let mut gates = self.gates.write();
        if gates.len() >= GATES_MAX {
            gates.clear();
        }
        let known = gates.get(path.as_os_str().as_bytes()).filter(is_usable).cloned();
        let gate = match known {
            Some(known) => known,
            None => {
                let resolved = std::fs::canonicalize(&path).unwrap_or_else(|_| path.clone());
                let marks = self.marks()?.of(resolved.as_os_str().as_bytes());
                Arc::new(Gate::with_marks(UsersFile::among(&self.files, &path), now, marks)?)
            }
        };
        gates.insert(path.into_os_string().into_encoded_bytes(), gate.clone());
        gates.insert(configured.to_vec(), gate.clone());
        Some(gate)
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
    gate: &'a otpgate_gate,
    request: *mut c_void,
    /// The highest level that the server writes; 0: it hasn't said.
    level: c_int,
}

impl Log for HostLog<'_> {
    fn log(&self, level: Level, message: std::fmt::Arguments<'_>) {
        let server = self.gate.server;
        let level = level.number(server);
        let Some(log) = self.gate.host.log.filter(|_| self.level == 0 || level <= self.level) else {
            return;
        };
        let mut line = String::with_capacity(160);
        // A path or a cause may hold anything; `otpgate.h` promises printable ASCII.
        let _ = write!(Printable(&mut line), "{message}");
        let line = match server {
            Server::Apache => unescaped_for_httpd(line.into_bytes()),
            Server::Nginx => line.into_bytes(),
        };
        // SAFETY: the host promises a callable `log` for as long as the gate lives, and `request` is the pointer it
        // gave for this very call.
        unsafe { log(self.request, level, otpgate_str::of(&line)) };
    }
}

/// Lets printable ASCII through and shows everything else as `\xHH`.
struct Printable<'a>(&'a mut String);

impl std::fmt::Write for Printable<'_> {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        for byte in text.bytes() {
            match byte {
                b' '..=b'~' => self.0.push(char::from(byte)),
                _ => write!(self.0, "\\x{byte:02x}")?,
            }
        }
        Ok(())
    }
}

/// httpd doubles each backslash that it is told to log, and shows bytes that aren't printable ASCII as `\xHH` itself: what
/// comes out that way is given to it as it is. Stays as it stands: what httpd would show otherwise (`\n`), a NUL, at which
/// it would stop, and quotes and backslashes.
fn unescaped_for_httpd(line: Vec<u8>) -> Vec<u8> {
    if !line.contains(&b'\\') {
        return line;
    }
    let mut out = Vec::with_capacity(line.len());
    let mut rest = &line[..];
    while let Some((&first, after)) = rest.split_first() {
        match escaped_byte(rest) {
            Some(byte) => {
                out.push(byte);
                rest = &rest[4..];
            }
            None => {
                out.push(first);
                rest = after;
            }
        }
    }
    out
}

fn escaped_byte(text: &[u8]) -> Option<u8> {
    let [b'\\', b'x', high, low, ..] = *text else { return None };
    let digit = |digit: u8| match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    };
    let byte = digit(high)? << 4 | digit(low)?;
    let has_a_letter = matches!(byte, 0 | 8..=11 | 13);
    (!has_a_letter && !matches!(byte, b' '..=b'~')).then_some(byte)
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
        Box::into_raw(Box::new(otpgate_gate {
            host,
            server,
            root,
            gates: RwLock::default(),
            files: Arc::default(),
            waiting: OnceLock::new(),
            marks: OnceLock::new(),
        }))
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

fn server_of(server: c_int) -> Option<Server> {
    match server {
        OTPGATE_APACHE => Some(Server::Apache),
        OTPGATE_NGINX => Some(Server::Nginx),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::unescaped_for_httpd;

    #[test]
    fn httpd_gets_what_it_shows_escaped_and_nothing_else() {
        let given = |line: &str| unescaped_for_httpd(line.as_bytes().to_vec());
        assert_eq!(given(r#"user "Jos\xc3\xa9 \x1b[2J\x7f""#), b"user \"Jos\xc3\xa9 \x1b[2J\x7f\"");
        for same in [r"\x0a\x0d\x09\x00\x08\x0b", r"\x22\x5c\x41", r"\xC3 \xg0 \x", "plain"] {
            assert_eq!(given(same), same.as_bytes());
        }
    }
}
