//! The structs and numbers of the header, in its order.

use std::ffi::{c_char, c_int, c_void};

use crate::gate::Judged;

/// Version of the structs and meanings.
pub const OTPGATE_API_VERSION: u32 = 2;

/// Names and defaults of Apache httpd.
pub const OTPGATE_APACHE: c_int = 1;
/// Names and defaults of nginx.
pub const OTPGATE_NGINX: c_int = 2;

/// Let the request in.
pub const OTPGATE_GRANTED: c_int = 1;
/// Refuse.
pub const OTPGATE_DENIED: c_int = 2;
/// Another provider may decide.
pub const OTPGATE_UNKNOWN: c_int = 3;
/// Could not decide.
pub const OTPGATE_ERROR: c_int = 4;

/// Could not be decided without waiting.
pub const OTPGATE_WOULD_BLOCK: c_int = 5;

/// Refuse for a while.
pub const OTPGATE_THROTTLED: c_int = 6;
/// Refuse for a moment.
pub const OTPGATE_BUSY: c_int = 7;

/// The PIN is right.
pub const OTPGATE_PIN_RIGHT: c_int = 1;
/// The PIN is wrong.
pub const OTPGATE_PIN_WRONG: c_int = 2;
/// No provider knows the user.
pub const OTPGATE_PIN_UNKNOWN: c_int = 3;
/// The provider failed.
pub const OTPGATE_PIN_ERROR: c_int = 4;

/// As in syslog(3).
pub const OTPGATE_LOG_ERROR: c_int = 3;
/// As in syslog(3).
pub const OTPGATE_LOG_WARNING: c_int = 4;
/// As in syslog(3).
pub const OTPGATE_LOG_NOTICE: c_int = 5;
/// As in syslog(3).
pub const OTPGATE_LOG_INFO: c_int = 6;
/// As in syslog(3).
pub const OTPGATE_LOG_DEBUG: c_int = 7;

/// Bytes with a length.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct otpgate_str {
    /// Number of bytes.
    pub len: usize,
    /// The bytes; may be null if there are none.
    pub data: *const u8,
}

impl otpgate_str {
    /// No bytes.
    pub const EMPTY: otpgate_str = otpgate_str { len: 0, data: std::ptr::null() };

    /// Lends bytes to C.
    pub fn of(bytes: &[u8]) -> otpgate_str {
        otpgate_str { len: bytes.len(), data: bytes.as_ptr() }
    }

    /// The bytes lent by C.
    ///
    /// # Safety
    /// `data` points to `len` bytes that stay as they are for `'a`, or `len` is 0.
    pub unsafe fn as_bytes<'a>(self) -> &'a [u8] {
        if self.len == 0 || self.data.is_null() {
            return &[];
        }
        // SAFETY: the caller's promise.
        unsafe { std::slice::from_raw_parts(self.data, self.len) }
    }
}

/// What the server lends the library.
#[repr(C)]
#[derive(Clone, Copy)]
#[allow(missing_docs)] // see the header
pub struct otpgate_host {
    pub api_version: u32,
    pub server: u32,
    pub root: otpgate_str,
    pub log: Option<unsafe extern "C" fn(request: *mut c_void, level: c_int, message: otpgate_str)>,
    pub check_pin:
        Option<unsafe extern "C" fn(request: *mut c_void, user: otpgate_str, pin: otpgate_str) -> c_int>,
    pub lock_zone: Option<unsafe extern "C" fn(mutex: *mut c_void)>,
    pub unlock_zone: Option<unsafe extern "C" fn(mutex: *mut c_void)>,
}

/// Memory that all processes of a server share.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs)] // see the header
pub struct otpgate_zone {
    pub memory: *mut c_void,
    pub size: usize,
    pub mutex: *mut c_void,
}

/// Words in [`otpgate_settings`].
pub const OTPGATE_SETTINGS_WORDS: usize = 128;
/// Words in [`otpgate_memory`].
pub const OTPGATE_MEMORY_WORDS: usize = 96;
/// Bytes in [`otpgate_answer::user`].
pub const OTPGATE_USER_MAX: usize = 255;
/// Bytes in [`otpgate_answer::upstream`].
pub const OTPGATE_UPSTREAM_MAX: usize = 2048;

/// Settings of one section.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct otpgate_settings {
    /// The library's own; all zero means nothing set.
    pub opaque: [u64; OTPGATE_SETTINGS_WORDS],
}

/// What was decided about one HTTP request.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct otpgate_memory {
    /// The library's own; all zero means nothing decided.
    pub opaque: [u64; OTPGATE_MEMORY_WORDS],
}

const _: () = {
    assert!(size_of::<Judged>() <= size_of::<otpgate_memory>());
    assert!(align_of::<Judged>() <= align_of::<otpgate_memory>());
};

impl otpgate_memory {
    /// The memory as what it is. All zero is "nothing known": bools are false, numbers are 0.
    pub fn judged(&mut self) -> &mut Judged {
        // SAFETY: size and alignment are checked above. The bytes are all zero, which is a valid Judged (its parts are
        // numbers, bools, and options and enums of such, of which 0 is always a valid tag), or were
        // left by an earlier call through this very reference; the header gives them to nobody else.
        unsafe { &mut *self.opaque.as_mut_ptr().cast::<Judged>() }
    }
}

/// One login attempt.
#[repr(C)]
#[derive(Clone, Copy)]
#[allow(missing_docs)] // see the header
pub struct otpgate_login {
    pub settings: *const otpgate_settings,
    pub user: otpgate_str,
    pub password: otpgate_str,
    pub authorization: otpgate_str,
    pub address: otpgate_str,
    pub memory: *mut otpgate_memory,
    pub request: *mut c_void,
    pub log_level: c_int,
    pub connection: *mut u64,
    pub is_part: c_int,
    pub moment: u64,
}

/// One Digest login attempt.
#[repr(C)]
#[derive(Clone, Copy)]
#[allow(missing_docs)] // see the header
pub struct otpgate_digest {
    pub settings: *const otpgate_settings,
    pub user: otpgate_str,
    pub realm: otpgate_str,
    pub method: otpgate_str,
    pub authorization: otpgate_str,
    pub address: otpgate_str,
    pub memory: *mut otpgate_memory,
    pub request: *mut c_void,
    pub log_level: c_int,
    pub is_part: c_int,
    pub moment: u64,
    pub target: otpgate_str,
    pub zone: *const otpgate_zone,
}

/// Challenges sent at once.
pub const OTPGATE_CHALLENGES_MAX: usize = 3;
/// Bytes that hold them.
pub const OTPGATE_CHALLENGES_SIZE: usize = 2560;

/// Bytes that [`super::otpgate_digest_match`] writes.
pub const OTPGATE_HA1_LEN: usize = 32;

/// The answer to a login.
#[repr(C)]
#[derive(Clone, Copy)]
#[allow(missing_docs)] // see the header
pub struct otpgate_answer {
    pub verdict: i32,
    pub stale: i32,
    pub retry_after: u32,
    pub result: *const c_char,
    pub user_len: usize,
    pub user: [c_char; OTPGATE_USER_MAX],
    pub upstream_len: usize,
    pub upstream: [c_char; OTPGATE_UPSTREAM_MAX],
}

/// What a configuration test tells of one place.
#[repr(C)]
#[derive(Clone, Copy)]
#[allow(missing_docs)] // see the header
pub struct otpgate_place {
    pub settings: *const otpgate_settings,
    pub place: otpgate_str,
    pub realm: otpgate_str,
    pub other_realm: otpgate_str,
    pub section: otpgate_str,
    pub is_on_unix_socket: c_int,
    pub is_any_enough: c_int,
}

/// The user whose access to files is tried out.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs)] // see the header
pub struct otpgate_identity {
    pub uid: u32,
    pub gid: u32,
}
