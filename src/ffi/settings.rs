//! Settings through C: kept in the server's own memory.

use std::ffi::{c_char, c_int};

use super::guard::guarded;
use super::server_of;
use super::types::*;
use crate::policy::{PIN_PROVIDERS_MAX, SETTINGS, Settings};

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
