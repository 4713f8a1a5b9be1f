//! What servers don't ask in order to decide: zones, challenges, realms, lines for the log.

use std::ffi::{c_char, c_int, c_void};
use std::sync::atomic::AtomicU64;

use super::guard::guarded;
use super::settings::{number_of, section_of};
use super::types::*;
use super::{HostLog, otpgate_gate};
use crate::gate::nonces::{self, SharedMemory};
use crate::site::{Event, Request};

/// A zone and the host's way to lock it.
pub(super) struct HostZone<'a> {
    words: &'a [AtomicU64],
    mutex: *mut c_void,
    lock: unsafe extern "C" fn(*mut c_void),
    unlock: unsafe extern "C" fn(*mut c_void),
}

impl<'a> HostZone<'a> {
    /// `None`: there is no zone, or no way to lock it.
    pub(super) fn new(host: &otpgate_host, zone: *const otpgate_zone) -> Option<HostZone<'a>> {
        // SAFETY: null, or what the server keeps with its configuration about memory that is mapped
        // as long.
        let zone = unsafe { zone.as_ref() }?;
        let (lock, unlock) = (host.lock_zone?, host.unlock_zone?);
        Some(HostZone { words: words_of(zone)?, mutex: zone.mutex, lock, unlock })
    }
}

impl SharedMemory for HostZone<'_> {
    fn words(&self) -> &[AtomicU64] {
        self.words
    }

    fn lock(&self) {
        // SAFETY: the host has lent the function for as long as its gate lives, and `mutex` is the
        // one that it keeps in the memory of this zone.
        unsafe { (self.lock)(self.mutex) }
    }

    fn unlock(&self) {
        // SAFETY: as for `lock`.
        unsafe { (self.unlock)(self.mutex) }
    }
}

fn words_of<'a>(zone: &otpgate_zone) -> Option<&'a [AtomicU64]> {
    // SAFETY: the server has mapped `size` bytes for all its processes before it forks, gives them
    // to this library alone, and unmaps them with the last configuration that has the zone.
    unsafe { words(zone.memory, zone.size / size_of::<AtomicU64>()) }
}

/// See the header.
///
/// # Safety
/// As the header says: nobody else uses the memory yet.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn otpgate_zone_init(zone: Option<&otpgate_zone>) -> c_int {
    guarded(|| 1, || if zone.and_then(words_of).is_some_and(nonces::initialise) { 0 } else { 1 })
}

/// What is said to, or asked for by, a request whose credentials aren't looked at.
fn request<'a>(settings: Option<&'a otpgate_settings>, log: &'a HostLog<'a>) -> Request<'a> {
    Request {
        section: section_of(settings),
        address: None,
        has_tls: false,
        is_part: false,
        is_for_pin: false,
        turn: None,
        providers: None,
        log,
    }
}

/// See the header.
///
/// # Safety
/// As the header says: `challenges` has room for [`OTPGATE_CHALLENGES_MAX`] strings, and `buffer`
/// for `buffer_size` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn otpgate_challenges(
    gate: Option<&otpgate_gate>,
    settings: Option<&otpgate_settings>,
    realm: otpgate_str,
    zone: *const otpgate_zone,
    stale: c_int,
    challenges: Option<&mut [otpgate_str; OTPGATE_CHALLENGES_MAX]>,
    buffer: *mut c_char,
    buffer_size: usize,
    request_pointer: *mut c_void,
) -> usize {
    let (Some(gate), Some(challenges)) = (gate, challenges) else { return 0 };
    if buffer.is_null() {
        return 0;
    }
    let log = HostLog { gate, request: request_pointer, level: 0 };
    guarded(
        || 0,
        || {
            let zone = HostZone::new(&gate.host, zone);
            let zone = zone.as_ref().map(|zone| zone as &dyn SharedMemory);
            let request = request(settings, &log);
            let texts =
                gate.site.challenges(&request, realm.as_bytes(), zone, stale != 0, buffer_size);
            let mut place = buffer.cast::<u8>();
            for (challenge, text) in challenges.iter_mut().zip(&texts) {
                // SAFETY: the caller's buffer, of whose size all texts together were made not to
                // take more.
                unsafe {
                    place.copy_from_nonoverlapping(text.as_ptr(), text.len());
                    *challenge = otpgate_str { len: text.len(), data: place };
                    place = place.add(text.len());
                }
            }
            texts.len()
        },
    )
}

/// See the header.
///
/// # Safety
/// As the header says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn otpgate_unfit(
    gate: Option<&otpgate_gate>,
    settings: Option<&otpgate_settings>,
    authorization: otpgate_str,
    request_pointer: *mut c_void,
) {
    guarded(
        || (),
        || {
            let Some(gate) = gate else { return };
            let log = HostLog { gate, request: request_pointer, level: 0 };
            gate.site.log_unfit(&request(settings, &log), authorization.as_bytes());
        },
    );
}

/// See the header.
///
/// # Safety
/// As the header says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn otpgate_realm_of_request(
    gate: Option<&otpgate_gate>,
    realm: otpgate_str,
    request: *mut c_void,
) -> c_int {
    guarded(
        || OTPGATE_REALM_BAD,
        || {
            let Some(gate) = gate else { return OTPGATE_REALM_BAD };
            let log = HostLog { gate, request, level: 0 };
            gate.site.realm_of_request(realm.as_bytes(), &log).map_or(OTPGATE_REALM_BAD, number_of)
        },
    )
}

/// See the header.
///
/// # Safety
/// As the header says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn otpgate_log_event(
    gate: Option<&otpgate_gate>,
    event: c_int,
    subject: otpgate_str,
    request: *mut c_void,
) {
    guarded(
        || (),
        || {
            let event = match event {
                OTPGATE_EVENT_WITHOUT_TLS => Event::WithoutTls,
                OTPGATE_EVENT_OVERDUE => Event::Overdue,
                OTPGATE_EVENT_QUEUE_FULL => Event::QueueFull,
                OTPGATE_EVENT_PART_REFUSED => Event::PartRefused(subject.as_bytes()),
                OTPGATE_EVENT_PROVIDER_GONE => Event::ProviderGone(subject.as_bytes()),
                OTPGATE_EVENT_NO_REFUSAL_MEMORY => Event::NoRefusalMemory,
                OTPGATE_EVENT_NOT_THE_PAGE => Event::NotThePage(subject.as_bytes()),
                _ => return,
            };
            let Some(gate) = gate else { return };
            gate.site.log_event(event, &HostLog { gate, request, level: 0 });
        },
    );
}
