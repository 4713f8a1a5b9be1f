//! When refusals go out.

use std::ffi::c_void;
use std::num::NonZeroU32;
use std::sync::atomic::AtomicU64;
use std::time::{SystemTime, UNIX_EPOCH};

use super::guard::guarded;
use super::login::parse_address;
use super::otpgate_gate;
use super::settings::settings_in_place;
use super::types::*;
use crate::policy::Settings;
use crate::refusals::{self, Waiting};

/// See the header.
///
/// # Safety
/// As the header says: `settings` is null or has been written to by this library alone.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn otpgate_settings_refusal_time(settings: *const otpgate_settings) -> u32 {
    // SAFETY: the caller's promise.
    let settings = unsafe { settings_in_place(settings) };
    let time = settings.map_or(Settings::default().refusal_time(), Settings::refusal_time);
    time.map_or(0, NonZeroU32::get)
}

/// See the header.
#[unsafe(no_mangle)]
pub extern "C" fn otpgate_refusal_rest(refusal_time: u32, elapsed: u64) -> u64 {
    NonZeroU32::new(refusal_time).map_or(0, |time| refusals::rest(time, elapsed))
}

/// See the header.
///
/// # Safety
/// As the header says: `gate` is null or from `otpgate_gate_new`, and the string is valid for the call.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn otpgate_refusal_wait(
    gate: *mut otpgate_gate,
    refusal_time: u32,
    elapsed: u64,
    address: otpgate_str,
) -> u64 {
    // SAFETY: the caller's promises.
    let (gate, address) = unsafe { (gate.as_ref(), address.as_bytes()) };
    guarded(
        || 0,
        || {
            let rest = otpgate_refusal_rest(refusal_time, elapsed);
            let Some(words) = gate.and_then(|gate| gate.waiting.get()).filter(|_| rest > 0) else { return 0 };
            let now =
                SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64);
            let may_wait = Waiting(words).begin(parse_address(address), now, rest);
            if may_wait { rest } else { 0 }
        },
    )
}

/// See the header.
#[unsafe(no_mangle)]
pub extern "C" fn otpgate_refusal_memory(threads: usize) -> usize {
    refusals::words_for(threads) * size_of::<AtomicU64>()
}

/// See the header.
///
/// # Safety
/// As the header says: `gate` is null or from `otpgate_gate_new`; `memory` is null, or as many bytes as
/// `otpgate_refusal_memory` asks for, zeroed, there for as long as the gate, and used through this library alone.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn otpgate_lend_refusal_memory(
    gate: *mut otpgate_gate,
    memory: *mut c_void,
    threads: usize,
) {
    // SAFETY: the caller's promise.
    let Some(gate) = (unsafe { gate.as_ref() }) else { return };
    let words = memory.cast::<AtomicU64>();
    if words.is_null() || !words.is_aligned() {
        return;
    }
    // SAFETY: neither null nor unaligned, and as long as the caller says; whatever is there are integers, and all
    // processes and threads read and write them as atomic words.
    let words = unsafe { std::slice::from_raw_parts(words, refusals::words_for(threads)) };
    // Lent twice, the first stays.
    let _ = gate.waiting.set(words);
}
