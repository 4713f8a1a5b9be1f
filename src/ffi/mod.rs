//! The C interface, `include/otpgate.h`, function by function. What each means for its caller
//! stands there.
//!
//! Nothing here decides anything: pointers become slices, numbers become types, and back; `site`
//! does the rest. Every entry is guarded: a panic ends here, as an error verdict and one log line.

#![allow(unsafe_code)] // this is where C hands us pointers
#![allow(non_camel_case_types)] // C's names

mod asking;
mod check;
mod guard;
mod login;
mod refusals;
mod response;
mod settings;
mod types;

use std::ffi::{OsStr, c_char, c_int, c_void};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

pub use asking::*;
pub use check::*;
pub use login::*;
pub use refusals::*;
pub use response::*;
pub use settings::*;
pub use types::*;

use self::guard::guarded;
use crate::log::{self, Level, Log};
use crate::policy::Server;
use crate::site::Site;

/// `otpgate_gate`: one configuration, and the server that it is of.
pub struct otpgate_gate {
    host: otpgate_host,
    site: Site,
}

/// The server's log, for one call.
struct HostLog<'a> {
    gate: &'a otpgate_gate,
    request: *mut c_void,
    /// The highest level that the server writes; 0: it hasn't said.
    level: c_int,
}

impl Log for HostLog<'_> {
    fn log(&self, grave: Level, message: std::fmt::Arguments<'_>) {
        let server = self.gate.site.server();
        let level = grave.number(server);
        let Some(log) = self.gate.host.log.filter(|_| self.wants(grave)) else { return };
        let line = log::line(message, server);
        // SAFETY: the host has lent the function for as long as its gate lives, and `request` is
        // the pointer that came with this very call, on whose thread we are; the line outlives the
        // callback.
        unsafe { log(self.request, level, otpgate_str::of(&line)) };
    }

    fn wants(&self, level: Level) -> bool {
        self.level == 0 || level.number(self.gate.site.server()) <= self.level
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
/// As the header says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn otpgate_gate_new(host: Option<&otpgate_host>) -> *mut otpgate_gate {
    guarded(std::ptr::null_mut, || {
        let Some(host) = host else { return std::ptr::null_mut() };
        let server = server_of(host.server as c_int);
        let (Some(server), Some(_), OTPGATE_API_VERSION) = (server, host.log, host.api_version)
        else {
            return std::ptr::null_mut();
        };
        let site = Site::new(server, PathBuf::from(OsStr::from_bytes(host.root.as_bytes())));
        let host = otpgate_host { root: otpgate_str::EMPTY, ..*host };
        Box::into_raw(Box::new(otpgate_gate { host, site }))
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
                // SAFETY: made by Box::into_raw in otpgate_gate_new, and given back once: servers
                // do so in the clean-up of the pool that the configuration is in, when no thread
                // serves requests of it any more.
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
