//! What is sent to browsers, through C: made here, read piece by piece, released by C.

use std::ffi::c_int;

use super::guard::guarded;
use super::types::otpgate_str;
use crate::site::Response;

/// `otpgate_response`: what is to be sent to a browser.
pub struct otpgate_response(pub(super) Response);

impl otpgate_response {
    /// Handed to C, which releases it.
    pub(super) fn lend(response: Option<Response>) -> *mut otpgate_response {
        response.map_or(std::ptr::null_mut(), |it| Box::into_raw(Box::new(otpgate_response(it))))
    }
}

/// See the header.
#[unsafe(no_mangle)]
pub extern "C" fn otpgate_response_status(response: Option<&otpgate_response>) -> c_int {
    response.map_or(0, |response| response.0.status.into())
}

/// See the header.
#[unsafe(no_mangle)]
pub extern "C" fn otpgate_response_header(
    response: Option<&otpgate_response>,
    index: usize,
    name: Option<&mut otpgate_str>,
    value: Option<&mut otpgate_str>,
) -> c_int {
    let header = response.and_then(|response| response.0.header(index));
    let (Some((its_name, its_value)), Some(name), Some(value)) = (header, name, value) else {
        return 0;
    };
    *name = otpgate_str::of(its_name.as_bytes());
    *value = otpgate_str::of(its_value.as_bytes());
    1
}

/// See the header.
#[unsafe(no_mangle)]
pub extern "C" fn otpgate_response_body(response: Option<&otpgate_response>) -> otpgate_str {
    response.map_or(otpgate_str::EMPTY, |response| otpgate_str::of(&response.0.body))
}

/// See the header.
///
/// # Safety
/// As the header says: it came from an answer, is released once, and isn't read afterwards.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn otpgate_response_free(response: *mut otpgate_response) {
    if response.is_null() {
        return;
    }
    // SAFETY: made by `lend` from a box, and by the header's contract released this once.
    guarded(|| (), || drop(unsafe { Box::from_raw(response) }));
}
