//! The C interface, `include/otpgate.h`, function by function. What each means for its caller stands there.
//!
//! Nothing here decides anything: pointers become slices, numbers become types, and back. Every entry is guarded:
//! a panic ends here, as an error verdict and one log line.

#![allow(unsafe_code)] // this is where C hands us pointers
#![allow(non_camel_case_types)] // C's names

pub mod identity;

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
    host: &'a otpgate_host,
    request: *mut c_void,
    /// The highest level that the server writes; 0: it hasn't said.
    level: c_int,
}

impl Log for HostLog<'_> {
    fn log(&self, level: Level, message: std::fmt::Arguments<'_>) {
        let Some(log) = self.host.log.filter(|_| self.level == 0 || level as c_int <= self.level) else {
            return;
        };
        let mut line = String::with_capacity(160);
        // A path or a cause may hold anything; `otpgate.h` promises printable ASCII.
        let _ = write!(Printable(&mut line), "{message}");
        // SAFETY: the host promises a callable `log` for as long as the gate lives, and `request` is the pointer it
        // gave for this very call.
        unsafe { log(self.request, level as c_int, otpgate_str::of(line.as_bytes())) };
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
