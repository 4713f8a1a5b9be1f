//! When refusals go out.

use std::ffi::c_void;
use std::num::NonZeroU32;
use std::sync::atomic::AtomicU64;

use super::guard::guarded;
use super::otpgate_gate;
use super::types::*;
use crate::refusals;

/// See the header.
#[unsafe(no_mangle)]
pub extern "C" fn otpgate_refusal_rest(refusal_time: u32, elapsed: u64) -> u64 {
    NonZeroU32::new(refusal_time).map_or(0, |time| refusals::rest(time, elapsed))
}

/// See the header.
#[unsafe(no_mangle)]
pub extern "C" fn otpgate_refusal_wait(
    gate: Option<&otpgate_gate>,
    refusal_time: u32,
    elapsed: u64,
    address: Option<&otpgate_address>,
) -> u64 {
    guarded(
        || 0,
        || {
            let Some(gate) = gate else { return 0 };
            let client = address.and_then(otpgate_address::ip);
            gate.site.refusal_wait(NonZeroU32::new(refusal_time), elapsed, client)
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
/// As the header says: `memory` is null, or as many bytes as `otpgate_refusal_memory` asks for,
/// zeroed, there for as long as the gate, and used through this library alone.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn otpgate_lend_refusal_memory(
    gate: Option<&otpgate_gate>,
    memory: *mut c_void,
    threads: usize,
) {
    let Some(gate) = gate else { return };
    // SAFETY: the server maps it before it forks and keeps it until its configuration ends, the
    // gate with it; none of it is reached but through the gate.
    if let Some(words) = unsafe { words(memory, refusals::words_for(threads)) } {
        gate.site.lend_refusal_memory(words);
    }
}
