//! Settings through C: kept in the server's own memory.

use std::ffi::{CStr, c_char, c_int};
use std::num::NonZeroU32;
use std::sync::LazyLock;

use super::guard::guarded;
use super::types::*;
use super::{otpgate_gate, server_of};
use crate::policy::{BadSetting, LingerCookie, SETTINGS, Setting, SettingProblem, Settings};
use crate::site::{self, Realm, Section};

/// What stands in the words of [`otpgate_settings`]. The lifetime is the server's: its pool holds
/// the strings as long as the settings.
#[repr(C)]
#[derive(Clone, Copy)]
struct Stored {
    /// [`STORED`], or 0: nothing set yet.
    mark: u64,
    section: Section<'static>,
}

const STORED: u64 = u64::from_le_bytes(*b"settings");

const _: () = {
    assert!(size_of::<Stored>() <= size_of::<otpgate_settings>());
    assert!(align_of::<Stored>() <= align_of::<otpgate_settings>());
    assert!(SETTINGS.len() <= OTPGATE_SETTINGS_MAX);
};

/// Of settings in which nothing is set.
static NOTHING: LazyLock<Section<'static>> = LazyLock::new(Section::default);

impl otpgate_settings {
    fn first_word(&self) -> u64 {
        // SAFETY: servers begin with zeroed memory, and `store` writes the first word, the mark.
        unsafe { self.opaque[0].assume_init() }
    }

    fn stored(&self) -> Option<&Stored> {
        // SAFETY: with the mark, the words hold a Stored, written by `store` there or where the
        // server has copied them from; size and alignment are checked above. Servers write to
        // settings while they read their configuration (or an .htaccess file, into memory of one
        // request) and let threads read them afterwards.
        (self.first_word() == STORED)
            .then(|| unsafe { &*std::ptr::from_ref(self).cast::<Stored>() })
    }

    fn store(&mut self, section: Section<'static>) {
        // SAFETY: size and alignment are checked above, and the words are borrowed for it.
        unsafe { std::ptr::from_mut(self).cast::<Stored>().write(Stored { mark: STORED, section }) }
    }
}

/// What C's settings say, where they are; nothing if the pointer was null.
pub(super) fn section_of(settings: Option<&otpgate_settings>) -> &Section<'static> {
    settings.and_then(otpgate_settings::stored).map_or_else(|| &*NOTHING, |stored| &stored.section)
}

fn settings_of(settings: Option<&otpgate_settings>) -> &Settings<'static> {
    &section_of(settings).settings
}

/// See the header.
#[unsafe(no_mangle)]
pub extern "C" fn otpgate_setting_name(server: c_int, index: usize) -> *const c_char {
    guarded(std::ptr::null, || {
        setting(server, index).map_or(std::ptr::null(), |(name, _)| name.as_ptr())
    })
}

/// See the header.
#[unsafe(no_mangle)]
pub extern "C" fn otpgate_setting_usage(server: c_int, index: usize) -> *const c_char {
    guarded(std::ptr::null, || {
        setting(server, index).map_or(std::ptr::null(), |(_, setting)| setting.usage.as_ptr())
    })
}

/// See the header.
#[unsafe(no_mangle)]
pub extern "C" fn otpgate_setting_is_for_authors(server: c_int, index: usize) -> c_int {
    guarded(
        || 0,
        || setting(server, index).is_some_and(|(_, setting)| setting.is_for_authors).into(),
    )
}

fn setting(server: c_int, index: usize) -> Option<(&'static CStr, &'static Setting)> {
    let server = server_of(server)?;
    SETTINGS.iter().filter_map(|setting| Some((setting.name(server)?, setting))).nth(index)
}

/// A place of C's for a message, NUL-terminated and cut to its size.
struct Message {
    text: *mut c_char,
    size: usize,
}

impl Message {
    fn write(&self, message: &str) {
        if self.text.is_null() || self.size == 0 {
            return;
        }
        let len = message.len().min(self.size - 1);
        // SAFETY: a buffer of the caller's, usually on its stack, of `size` bytes; at most that
        // many are written.
        unsafe {
            std::ptr::copy_nonoverlapping(message.as_ptr().cast(), self.text, len);
            self.text.add(len).write(0);
        }
    }
}

/// See the header.
///
/// # Safety
/// As the header says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn otpgate_settings_set(
    gate: Option<&otpgate_gate>,
    settings: Option<&mut otpgate_settings>,
    pool: Option<&otpgate_pool>,
    server: c_int,
    name: otpgate_str,
    args: *const otpgate_str,
    nargs: usize,
    place: otpgate_str,
    error: *mut c_char,
    error_size: usize,
) -> c_int {
    let refuse = |reason: &str| {
        Message { text: error, size: error_size }.write(reason);
        1
    };
    guarded(
        || refuse("an internal fault of otpgate; please report it"),
        || {
            let Some(server) = server_of(server) else { return refuse("unknown server") };
            let (Some(settings), Some(pool)) =
                (settings.filter(|_| !args.is_null() || nargs == 0), pool)
            else {
                return refuse("a null pointer");
            };
            // SAFETY: an array of the caller's, for this call.
            let args = unsafe { lent(args, nargs) };
            let kept = |bytes: &otpgate_str| pool.keep(bytes.as_bytes());
            let words: Option<Vec<&[u8]>> = args.iter().map(kept).collect();
            let (Some(words), Some(place)) = (words, kept(&place)) else {
                let setting = name.as_bytes().escape_ascii().to_string();
                let problem = SettingProblem::NoMemory;
                return refuse(&BadSetting { setting, problem }.to_string());
            };
            let site = gate.map(|gate| &gate.site);
            let mut section = *section_of(Some(settings));
            match section.set(site, server, pool, name.as_bytes(), &words, place) {
                Ok(()) => {
                    settings.store(section);
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
/// As the header says. `out` may be `base` or `child`, so none of them is a reference while it is
/// written to.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn otpgate_settings_merge(
    out: *mut otpgate_settings,
    server: c_int,
    base: *const otpgate_settings,
    child: *const otpgate_settings,
) {
    if out.is_null() {
        return;
    }
    let stored = out.cast::<Stored>();
    guarded(
        || (),
        || {
            let own;
            // SAFETY: null, or settings in pools of the server, which has one thread merge them. A
            // child is copied where it will be written to; a base isn't read any more then.
            let (base, child, place) = unsafe {
                let (base, child) = (section_of(base.as_ref()), section_of(child.as_ref()));
                (std::ptr::from_ref(base), child, &raw const (*stored).section)
            };
            let child = if std::ptr::eq(child, place) {
                own = *child;
                &own
            } else {
                child
            };
            // Where it is to be, and what is inherited at once: httpd has each request merge.
            // SAFETY: the caller's to write, of that size and alignment; until it is merged,
            // nothing is set in it. What is copied may be there already.
            let section = unsafe {
                (&raw mut (*stored).mark).write(0);
                (&raw mut (*stored).section).copy_from(base, 1);
                &mut (*stored).section
            };
            let Some(server) = server_of(server) else { return };
            section.overlay(child, server);
            // SAFETY: as above.
            unsafe { (&raw mut (*stored).mark).write(STORED) };
        },
    );
}

/// See the header.
#[unsafe(no_mangle)]
pub extern "C" fn otpgate_settings_is_set(settings: Option<&otpgate_settings>) -> c_int {
    settings.and_then(otpgate_settings::stored).is_some().into()
}

/// See the header.
///
/// # Safety
/// As the header says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn otpgate_settings_has_basic(settings: Option<&otpgate_settings>) -> c_int {
    guarded(|| 0, || settings_of(settings).scheme().has_basic().into())
}

/// See the header.
///
/// # Safety
/// As the header says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn otpgate_settings_wants_cookie(
    server: c_int,
    settings: Option<&otpgate_settings>,
) -> c_int {
    let wants = |server| settings_of(settings).linger_cookie(server) != LingerCookie::Off;
    guarded(|| 0, || server_of(server).is_some_and(wants).into())
}

/// See the header.
///
/// # Safety
/// As the header says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn otpgate_settings_strips(
    server: c_int,
    settings: Option<&otpgate_settings>,
) -> c_int {
    guarded(
        || 1,
        || server_of(server).is_some_and(|server| settings_of(settings).strips(server)).into(),
    )
}

/// See the header.
///
/// # Safety
/// As the header says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn otpgate_settings_login_page(
    settings: Option<&otpgate_settings>,
) -> otpgate_str {
    guarded(
        || otpgate_str::EMPTY,
        || {
            let page = settings_of(settings).login_page;
            page.map_or(otpgate_str::EMPTY, |given| otpgate_str::of(given.value))
        },
    )
}

/// See the header.
///
/// # Safety
/// As the header says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn otpgate_settings_require_tls(
    settings: Option<&otpgate_settings>,
) -> c_int {
    guarded(|| 1, || settings_of(settings).requires_tls().into())
}

/// See the header.
///
/// # Safety
/// As the header says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn otpgate_settings_has_digest(settings: Option<&otpgate_settings>) -> c_int {
    guarded(|| 0, || settings_of(settings).scheme().has_digest().into())
}

/// See the header.
///
/// # Safety
/// As the header says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn otpgate_settings_asked_by_basic(
    settings: Option<&otpgate_settings>,
) -> c_int {
    guarded(|| 0, || section_of(settings).is_asked_by_basic().into())
}

/// See the header.
///
/// # Safety
/// As the header says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn otpgate_settings_refusal_time(settings: Option<&otpgate_settings>) -> u32 {
    guarded(|| 0, || settings_of(settings).refusal_time().map_or(0, NonZeroU32::get))
}

/// See the header.
///
/// # Safety
/// As the header says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn otpgate_settings_pin_provider(
    settings: Option<&otpgate_settings>,
    index: usize,
    name: Option<&mut otpgate_str>,
) -> c_int {
    guarded(
        || 0,
        || match (settings_of(settings).pin_provider_names().get(index), name) {
            (Some(provider), Some(name)) => {
                *name = otpgate_str::of(provider);
                1
            }
            _ => 0,
        },
    )
}

/// See the header.
///
/// # Safety
/// As the header says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn otpgate_realm_of_directive(
    word: otpgate_str,
    error: *mut c_char,
    error_size: usize,
) -> c_int {
    guarded(
        || OTPGATE_REALM_BAD,
        || match site::realm_of_directive(word.as_bytes()) {
            Ok(realm) => number_of(realm),
            Err(reason) => {
                Message { text: error, size: error_size }.write(reason);
                OTPGATE_REALM_BAD
            }
        },
    )
}

/// See the header.
///
/// # Safety
/// As the header says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn otpgate_zone_of_directive(
    word: otpgate_str,
    page: usize,
    name_len: Option<&mut usize>,
    size: Option<&mut usize>,
    error: *mut c_char,
    error_size: usize,
) -> c_int {
    let (Some(name_len), Some(size)) = (name_len, size) else { return 1 };
    guarded(
        || 1,
        || match site::zone_of_directive(word.as_bytes(), page) {
            Ok((name, bytes)) => {
                (*name_len, *size) = (name.len(), bytes);
                0
            }
            Err(reason) => {
                Message { text: error, size: error_size }.write(&reason);
                1
            }
        },
    )
}

pub(super) fn number_of(realm: Realm) -> c_int {
    match realm {
        Realm::Off => OTPGATE_REALM_OFF,
        Realm::On => OTPGATE_REALM_ON,
    }
}
