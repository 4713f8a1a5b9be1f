//! The configuration test.

use std::ffi::{c_int, c_void};

use super::guard::guarded;
use super::settings::section_of;
use super::types::*;
use super::{HostLog, otpgate_gate};
use crate::log::{Level, Log};
use crate::site::{Identity, Place};

/// See the header.
///
/// # Safety
/// As the header says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn otpgate_places_check(
    gate: Option<&otpgate_gate>,
    places: *const otpgate_place,
    count: usize,
    roots: *const otpgate_str,
    root_count: usize,
    identity: Option<&otpgate_identity>,
    sink: *mut c_void,
) -> usize {
    let (Some(gate), Some(identity)) = (gate, identity) else { return 1 };
    let log = HostLog { gate, request: sink, level: 0 };
    let failed = || {
        log.log(Level::Error, format_args!("an internal fault of otpgate; please report it"));
        1
    };
    guarded(failed, || {
        // SAFETY: arrays of the configuration's pool, which nobody changes once it is read.
        let (places, roots) = unsafe { (lent(places, count), lent(roots, root_count)) };
        let places: Vec<Place<'_>> = places.iter().map(otpgate_place::place).collect();
        let roots: Vec<&[u8]> = roots.iter().map(otpgate_str::as_bytes).collect();
        let identity = Identity { uid: identity.uid, gid: identity.gid };
        gate.site.check_config(&places, &roots, identity, &log)
    })
}

impl otpgate_place {
    fn place(&self) -> Place<'_> {
        let is_set = |flag: c_int| flag != 0;
        // SAFETY: null, or a section's settings in the configuration's pool.
        let settings = unsafe { self.settings.as_ref() };
        Place {
            settings: section_of(settings).settings,
            place: self.place.as_bytes(),
            realm: self.realm.as_bytes(),
            other_realm: self.other_realm.as_bytes(),
            section: self.section.as_bytes(),
            is_on_unix_socket: is_set(self.is_on_unix_socket),
            is_any_enough: is_set(self.is_any_enough),
            is_login_page: is_set(self.is_login_page),
            has_login_page: is_set(self.has_login_page),
        }
    }
}
