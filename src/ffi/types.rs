//! The structs and numbers of the header, in its order, and how each is read.
//!
//! What stands in a struct has come from C. What the header demands of it is argued here, once for
//! each kind: strings ([`otpgate_str`]), arrays ([`lent`]), shared words ([`words`]), settings and
//! memories. Pointers to single structs come as options of references, which null is the `None` of:
//! the caller owns the struct, has it there for the whole call, and while the library may write to
//! it, lets no other thread at it.

use std::ffi::{c_char, c_int, c_void};
use std::mem::MaybeUninit;
use std::net::IpAddr;
use std::sync::atomic::AtomicU64;

use super::response::otpgate_response;
use crate::gate::RequestMemory;
use crate::network::Network;
use crate::policy::Memory;
use crate::site::{self, Event};

/// Version of the structs and meanings.
pub const OTPGATE_API_VERSION: u32 = 6;

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
/// A Digest response is of an acceptable password.
pub const OTPGATE_MATCHED: c_int = 8;

/// RFC 7617.
pub const OTPGATE_BASIC: c_int = 1;
/// RFC 7616.
pub const OTPGATE_DIGEST: c_int = 2;
/// A cookie of ours alone.
pub const OTPGATE_COOKIE: c_int = 3;

/// Nothing is asked for.
pub const OTPGATE_REALM_OFF: c_int = 0;
/// One-time passwords are asked for.
pub const OTPGATE_REALM_ON: c_int = 1;
/// Not to be used.
pub const OTPGATE_REALM_BAD: c_int = -1;

/// A request without TLS is refused.
pub const OTPGATE_EVENT_WITHOUT_TLS: c_int = 1;
/// A login takes too long.
pub const OTPGATE_EVENT_OVERDUE: c_int = 2;
/// Too many logins wait for a thread.
pub const OTPGATE_EVENT_QUEUE_FULL: c_int = 3;
/// A sub-request is refused.
pub const OTPGATE_EVENT_PART_REFUSED: c_int = 4;
/// A PIN provider isn't there any more.
pub const OTPGATE_EVENT_PROVIDER_GONE: c_int = 5;
/// No memory to count waiting refusals in.
pub const OTPGATE_EVENT_NO_REFUSAL_MEMORY: c_int = 6;
/// At the path of the page to log in, there is something else.
pub const OTPGATE_EVENT_NOT_THE_PAGE: c_int = 7;

/// Milliseconds after which a login is overdue.
pub const OTPGATE_LOGIN_OVERDUE: c_int = Event::OVERDUE as c_int;

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
    pub(super) fn as_bytes(&self) -> &[u8] {
        if self.len == 0 || self.data.is_null() {
            return &[];
        }
        // SAFETY: the header has the caller give a pointer to `len` bytes, which are the caller's,
        // in a pool or on the stack of the thread that waits for this call, and stay as they are
        // until it returns; what is borrowed from the struct doesn't outlast that, since it is an
        // argument itself or part of one.
        unsafe { std::slice::from_raw_parts(self.data, self.len) }
    }
}

/// Memory of the server's that lives as long as settings.
#[repr(C)]
#[derive(Clone, Copy)]
#[allow(missing_docs)] // see the header
pub struct otpgate_pool {
    pub allocate: Option<unsafe extern "C" fn(pool: *mut c_void, size: usize) -> *mut c_void>,
    pub pool: *mut c_void,
}

impl otpgate_pool {
    /// A copy that is there as long as the settings that it is for. `None`: there is no memory.
    pub(super) fn keep<T: Copy>(&self, values: &[T]) -> Option<&'static [T]> {
        const { assert!(align_of::<T>() <= align_of::<u64>()) };
        if values.is_empty() {
            return Some(&[]);
        }
        // SAFETY: the server's own function with the pointer that came with it, during the call
        // that both came with.
        let place = unsafe { (self.allocate?)(self.pool, size_of_val(values)) }.cast::<T>();
        if place.is_null() || !place.is_aligned() {
            return None;
        }
        // SAFETY: new memory of that size, which the server uses for nothing else and frees no
        // sooner than the settings. So nobody finds the copy through settings that are gone:
        // settings are read through their own place alone.
        unsafe {
            place.copy_from_nonoverlapping(values.as_ptr(), values.len());
            Some(std::slice::from_raw_parts(place, values.len()))
        }
    }
}

impl Memory<'static> for otpgate_pool {
    fn names(&self, names: &[&'static [u8]]) -> Option<&'static [&'static [u8]]> {
        self.keep(names)
    }

    fn networks(&self, networks: &[Network]) -> Option<&'static [Network]> {
        self.keep(networks)
    }
}

/// An array that C lends for a call; empty if the pointer is null.
///
/// # Safety
/// As the header says of such arrays: `count` elements, there and unchanged for `'a`.
pub(super) unsafe fn lent<'a, T>(elements: *const T, count: usize) -> &'a [T] {
    if elements.is_null() || count == 0 {
        return &[];
    }
    // SAFETY: not null, and the caller's own array of `count` for the time of the call.
    unsafe { std::slice::from_raw_parts(elements, count) }
}

/// Memory that all processes of a server share. `None`: it isn't there, or not aligned.
///
/// # Safety
/// There are `count` words, mapped for `'a`, and none but this library uses them.
pub(super) unsafe fn words<'a>(memory: *mut c_void, count: usize) -> Option<&'a [AtomicU64]> {
    let words = memory.cast::<AtomicU64>();
    if words.is_null() || !words.is_aligned() {
        return None;
    }
    // SAFETY: neither null nor unaligned, and as long as the server says. Whatever bytes are there
    // are integers, and all processes and threads read and write them as atomic words. The server
    // unmaps them with the configuration that its gates belong to.
    Some(unsafe { std::slice::from_raw_parts(words, count) })
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
    pub check_pin: Option<
        unsafe extern "C" fn(request: *mut c_void, user: otpgate_str, pin: otpgate_str) -> c_int,
    >,
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

/// A client's address.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs)] // see the header
pub struct otpgate_address {
    pub len: u8,
    pub bytes: [u8; 16],
}

impl otpgate_address {
    pub(super) fn of(ip: Option<IpAddr>) -> otpgate_address {
        let mut bytes = [0; 16];
        let len = match ip {
            None => 0,
            Some(IpAddr::V4(ip)) => {
                bytes[..4].copy_from_slice(&ip.octets());
                4
            }
            Some(IpAddr::V6(ip)) => {
                bytes = ip.octets();
                16
            }
        };
        otpgate_address { len, bytes }
    }

    /// The address, of IPv4 also where it comes as one of IPv6.
    pub(super) fn ip(&self) -> Option<IpAddr> {
        let [a, b, c, d, ..] = self.bytes;
        match self.len {
            4 => Some(IpAddr::from([a, b, c, d])),
            16 => Some(IpAddr::from(self.bytes).to_canonical()),
            _ => None,
        }
    }
}

/// Settings that a server has, at most.
pub const OTPGATE_SETTINGS_MAX: usize = 40;
/// Words in [`otpgate_settings`].
pub const OTPGATE_SETTINGS_WORDS: usize = 144;
/// Words in [`otpgate_memory`].
pub const OTPGATE_MEMORY_WORDS: usize = 104;
/// Bytes in [`otpgate_login::body`] at most.
pub const OTPGATE_BODY_MAX: usize = 4096;
/// Bytes in [`otpgate_answer::user`].
pub const OTPGATE_USER_MAX: usize = 255;
/// Bytes in [`otpgate_answer::upstream`].
pub const OTPGATE_UPSTREAM_MAX: usize = 2048;

/// Settings of one section.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct otpgate_settings {
    /// The library's own; all zero means nothing set. What lies between its values is nothing to
    /// read.
    pub opaque: [MaybeUninit<u64>; OTPGATE_SETTINGS_WORDS],
}

/// What was decided about one HTTP request.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct otpgate_memory {
    /// The library's own; all zero means nothing decided.
    pub opaque: [u64; OTPGATE_MEMORY_WORDS],
}

const _: () = {
    assert!(size_of::<RequestMemory>() <= size_of::<otpgate_memory>());
    assert!(align_of::<RequestMemory>() <= align_of::<otpgate_memory>());
};

impl otpgate_memory {
    /// The number that a refusal's page may show.
    pub(super) fn paper_next(&self) -> u32 {
        let mut copy = *self;
        copy.judged().paper_next().unwrap_or(0)
    }

    /// The memory as what it is. All zero is "nothing known": bools are false, numbers are 0.
    pub(super) fn judged(&mut self) -> &mut RequestMemory {
        // SAFETY: size and alignment are checked above. The server has zeroed the bytes when the
        // request began, which is a valid RequestMemory (its parts are numbers, bools, and options
        // and enums of such, of which 0 is always a valid tag), or an earlier call has left one
        // there, or in what they were copied from. The header gives them to nobody else, and one
        // request to one thread at a time.
        unsafe { &mut *self.opaque.as_mut_ptr().cast::<RequestMemory>() }
    }
}

/// One login attempt.
#[repr(C)]
#[derive(Clone, Copy)]
#[allow(missing_docs)] // see the header
pub struct otpgate_login {
    pub settings: *const otpgate_settings,
    pub scheme: c_int,
    pub log_level: c_int,
    pub has_tls: c_int,
    pub is_part: c_int,
    pub is_for_pin: c_int,
    pub address: otpgate_address,
    pub authorization: otpgate_str,
    pub user: otpgate_str,
    pub password: otpgate_str,
    pub realm: otpgate_str,
    pub method: otpgate_str,
    pub target: otpgate_str,
    pub request_line: otpgate_str,
    pub host: otpgate_str,
    pub destination: otpgate_str,
    pub path: otpgate_str,
    pub cookie: otpgate_str,
    pub accept: otpgate_str,
    pub accept_language: otpgate_str,
    pub content_type: otpgate_str,
    pub origin: otpgate_str,
    pub fetch_site: otpgate_str,
    pub fetch_mode: otpgate_str,
    pub body: otpgate_str,
    pub zone: *const otpgate_zone,
    pub memory: *mut otpgate_memory,
    pub connection: *mut u64,
    pub turn: u64,
    pub request: *mut c_void,
}

/// Challenges sent at once.
pub const OTPGATE_CHALLENGES_MAX: usize = site::CHALLENGES_MAX;
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
    pub is_for_path: i32,
    pub retry_after: u32,
    pub response: *mut otpgate_response,
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
    pub is_login_page: c_int,
    pub has_login_page: c_int,
}

/// The user whose access to files is tried out.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs)] // see the header
pub struct otpgate_identity {
    pub uid: u32,
    pub gid: u32,
}
