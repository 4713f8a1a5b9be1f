//! Digest logins, challenges, and the memory of nonces.

use std::ffi::{c_char, c_int, c_void};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use super::guard::guarded;
use super::login::{Call, Given, Reply, enter, enter_now, refuse_null};
use super::settings::settings_of;
use super::types::*;
use super::{HostLog, now, otpgate_gate};
use crate::decide::{Verdict, Word};
use crate::gate::nonces::{self, Nonces, SharedMemory};
use crate::gate::{Answer, DigestAnswer, DigestLogin, DigestRequest, Match};
use crate::http::{self, basic, digest};
use crate::log::{Level, Log, Quoted};
use crate::policy::Settings;

/// See the header.
///
/// # Safety
/// As the header says: all pointers are null or valid for the call, `login.memory` is nobody else's, and `ha1` has
/// room for [`OTPGATE_HA1_LEN`] characters.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn otpgate_digest_match(
    gate: *mut otpgate_gate,
    login: *const otpgate_digest,
    answer: *mut otpgate_answer,
    ha1: *mut c_char,
) -> c_int {
    if ha1.is_null() {
        return refuse_null(answer);
    }
    // SAFETY: not null, and as long as the header says.
    unsafe { ha1.write_bytes(0, OTPGATE_HA1_LEN) };
    let found = |call: Call<'_>, attempt: &DigestLogin<'_>| {
        let policy = call.settings.digest_policy(call.gate.server);
        match call.file.digest_match(&policy, attempt, call.judged, call.log) {
            Match::Acceptable(found) => {
                let text = found.md5_hexadecimal();
                // SAFETY: as above.
                unsafe { ha1.copy_from_nonoverlapping(text.as_ptr().cast(), OTPGATE_HA1_LEN) };
                Answer::plain(Verdict::Granted, Word::GrantedReuse)
            }
            Match::Refused(answer) => answer,
        }
    };
    // SAFETY: the caller's promises.
    unsafe { half(gate, login, answer, found) }
}

/// See the header.
///
/// # Safety
/// As for [`otpgate_digest_match`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn otpgate_digest_spend(
    gate: *mut otpgate_gate,
    login: *const otpgate_digest,
    answer: *mut otpgate_answer,
) -> c_int {
    let spent = |call: Call<'_>, attempt: &DigestLogin<'_>| {
        let policy = call.settings.digest_policy(call.gate.server);
        call.file.digest_spend(&policy, attempt, call.judged, call.log)
    };
    // SAFETY: the caller's promises.
    unsafe { half(gate, login, answer, spent) }
}

/// One half of a login whose nonce the server looks after. Such servers speak MD5.
///
/// # Safety
/// As the header says of the two halves.
unsafe fn half(
    gate: *mut otpgate_gate,
    login: *const otpgate_digest,
    answer: *mut otpgate_answer,
    decide: impl FnOnce(Call<'_>, &DigestLogin<'_>) -> Answer,
) -> c_int {
    // SAFETY: null is caught, else the caller's promise.
    let Some(login) = (unsafe { login.as_ref() }) else { return refuse_null(answer) };
    // SAFETY: the caller's promises.
    let (realm, method, header) =
        unsafe { (login.realm.as_bytes(), login.method.as_bytes(), login.authorization.as_bytes()) };
    let decide = |call: Call<'_>| {
        let Some(sent) = digest::Credentials::parse(header) else {
            // The server has read it before us, so this is no everyday noise.
            call.log.log(
                Level::Error,
                format_args!("denied-code: the Digest header is not well formed, user {}", Quoted(call.user)),
            );
            return Reply::Decided(Answer::plain(Verdict::Denied, Word::DeniedCode));
        };
        let exchange = Arc::new(digest::Exchange {
            algorithm: digest::Algorithm::Md5,
            realm: realm.to_vec(),
            method: method.to_vec(),
            sent,
        });
        let attempt = DigestLogin { user: call.user, exchange: &exchange, address: call.address.clone() };
        Reply::Decided(decide(call, &attempt))
    };
    // SAFETY: the caller's promises.
    unsafe { enter(gate, login.given(), answer, decide) }
}

/// See the header.
///
/// # Safety
/// As the header says: all pointers are null or valid for the call, `login.memory` is nobody else's, and `login.zone`
/// is shared with nobody who doesn't keep to its lock.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn otpgate_digest_login(
    gate: *mut otpgate_gate,
    login: *const otpgate_digest,
    answer: *mut otpgate_answer,
) -> c_int {
    // SAFETY: null is caught, else the caller's promise.
    let Some(login) = (unsafe { login.as_ref() }) else { return refuse_null(answer) };
    let decide = |call: Call<'_>| {
        let (file, log) = (call.file, call.log);
        let policy = call.settings.digest_policy(call.gate.server);
        // SAFETY: the caller's promises.
        let decided = unsafe {
            whole(login, call, |request, judged| Some(file.digest(&policy, &request, judged, log)))
        };
        decided.unwrap_or_else(|| Reply::Decided(Answer::error()))
    };
    // SAFETY: the caller's promises.
    unsafe { enter(gate, login.given(), answer, decide) }
}

/// See the header.
///
/// # Safety
/// As for [`otpgate_digest_login`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn otpgate_digest_login_now(
    gate: *mut otpgate_gate,
    login: *const otpgate_digest,
    answer: *mut otpgate_answer,
) -> c_int {
    // SAFETY: null is caught, else the caller's promise.
    let Some(login) = (unsafe { login.as_ref() }) else { return refuse_null(answer) };
    let decide = |call: Call<'_>| {
        let (file, log, moment) = (call.file, call.log, call.moment);
        let policy = call.settings.digest_policy(call.gate.server);
        // SAFETY: the caller's promises.
        unsafe {
            whole(login, call, |request, judged| file.digest_now(&policy, &request, moment, judged, log))
        }
    };
    // SAFETY: the caller's promises.
    unsafe { enter_now(gate, login.given(), answer, decide) }
}

/// A login whose nonce is ours to look after.
///
/// # Safety
/// As for [`otpgate_digest_login`].
unsafe fn whole(
    login: &otpgate_digest,
    call: Call<'_>,
    decide: impl FnOnce(DigestRequest<'_>, Option<&mut crate::gate::Judged>) -> Option<DigestAnswer>,
) -> Option<Reply> {
    // SAFETY: the caller's promise.
    let zone = unsafe { HostZone::new(&call.gate.host, login.zone) };
    let Some(nonces) = zone.as_ref().and_then(|zone| Nonces::new(zone)) else {
        log_no_zone(call.log);
        return Some(Reply::Decided(Answer::error()));
    };
    // SAFETY: the caller's promises.
    let request = unsafe {
        DigestRequest {
            realm: login.realm.as_bytes(),
            algorithms: call.settings.digest_algorithms(),
            method: login.method.as_bytes(),
            target: login.target.as_bytes(),
            authorization: login.authorization.as_bytes(),
            address: call.address,
            nonces: &nonces,
        }
    };
    if login.is_part != 0 && !call.file.has_granted_digest(&request, call.judged.as_deref()) {
        return Some(Reply::Decided(Answer::no_part()));
    }
    Some(match decide(request, call.judged)? {
        DigestAnswer::Decided { answer, user } => Reply::DecidedAbout(user, answer),
        DigestAnswer::Challenge { stale } => Reply::Challenge { stale },
    })
}

fn log_no_zone(log: &dyn Log) {
    log.log(
        Level::Error,
        format_args!(
            "error: the shared memory for Digest nonces is not there; see the messages at the server's start"
        ),
    );
}

impl otpgate_digest {
    fn given(&self) -> Given {
        Given {
            settings: self.settings,
            user: self.user,
            address: self.address,
            memory: self.memory,
            request: self.request,
            log_level: self.log_level,
            moment: self.moment,
        }
    }
}

/// A zone and the host's way to lock it.
struct HostZone<'a> {
    words: &'a [AtomicU64],
    mutex: *mut c_void,
    lock: unsafe extern "C" fn(*mut c_void),
    unlock: unsafe extern "C" fn(*mut c_void),
}

impl<'a> HostZone<'a> {
    /// `None`: there is no zone, or no way to lock it.
    ///
    /// # Safety
    /// `zone` is null or describes memory that lives for `'a` and that is used through this library alone.
    unsafe fn new(host: &otpgate_host, zone: *const otpgate_zone) -> Option<HostZone<'a>> {
        // SAFETY: the caller's promise.
        let zone = unsafe { zone.as_ref() }?;
        let (lock, unlock) = (host.lock_zone?, host.unlock_zone?);
        // SAFETY: the caller's promise.
        Some(HostZone { words: unsafe { words_of(zone) }?, mutex: zone.mutex, lock, unlock })
    }
}

impl SharedMemory for HostZone<'_> {
    fn words(&self) -> &[AtomicU64] {
        self.words
    }

    fn lock(&self) {
        // SAFETY: the host promises a callable `lock_zone`, and `mutex` is the one that it gave with the zone.
        unsafe { (self.lock)(self.mutex) }
    }

    fn unlock(&self) {
        // SAFETY: as for `lock`.
        unsafe { (self.unlock)(self.mutex) }
    }
}

/// # Safety
/// The zone's memory lives for `'a`, and is used through this library alone.
unsafe fn words_of<'a>(zone: &otpgate_zone) -> Option<&'a [AtomicU64]> {
    let words = zone.memory.cast::<AtomicU64>();
    if words.is_null() || !words.is_aligned() {
        return None;
    }
    // SAFETY: neither null nor unaligned, and as long as the caller says; whatever bytes are there are integers, and
    // all processes and threads read and write them as atomic words.
    Some(unsafe { std::slice::from_raw_parts(words, zone.size / size_of::<AtomicU64>()) })
}

/// See the header.
///
/// # Safety
/// As the header says: `zone` is null or describes memory that nobody else uses yet.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn otpgate_zone_init(zone: *const otpgate_zone) -> c_int {
    guarded(
        || 1,
        || {
            // SAFETY: the caller's promise.
            let words = unsafe { zone.as_ref().and_then(|zone| words_of(zone)) };
            if words.is_some_and(nonces::initialise) { 0 } else { 1 }
        },
    )
}

/// See the header.
///
/// # Safety
/// As the header says: pointers are null or valid for the call, `challenges` has room for
/// [`OTPGATE_CHALLENGES_MAX`] strings, and `buffer` for `buffer_size` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn otpgate_challenges(
    gate: *mut otpgate_gate,
    settings: *const otpgate_settings,
    realm: otpgate_str,
    zone: *const otpgate_zone,
    stale: c_int,
    challenges: *mut otpgate_str,
    buffer: *mut c_char,
    buffer_size: usize,
    request: *mut c_void,
) -> usize {
    // SAFETY: null is caught, else the caller's promise.
    let Some(gate) = (unsafe { gate.as_ref() }) else { return 0 };
    if challenges.is_null() || buffer.is_null() {
        return 0;
    }
    let log = HostLog { gate, request, level: 0 };
    guarded(
        || 0,
        || {
            // SAFETY: the caller's promises.
            let (settings, realm, zone) =
                unsafe { (settings_of(settings), realm.as_bytes(), HostZone::new(&gate.host, zone)) };
            let texts = challenge_texts(&settings, realm, zone.as_ref(), stale != 0, &log);
            let len: usize = texts.iter().map(String::len).sum();
            if len > buffer_size {
                log.log(Level::Error, format_args!("the realm is too long: use one of up to 256 bytes"));
                return 0;
            }
            let mut written = 0;
            for (number, text) in texts.iter().enumerate() {
                // SAFETY: all texts together fit the buffer, and there are at most OTPGATE_CHALLENGES_MAX.
                unsafe {
                    let place = buffer.add(written).cast::<u8>();
                    place.copy_from_nonoverlapping(text.as_ptr(), text.len());
                    challenges.add(number).write(otpgate_str { len: text.len(), data: place });
                }
                written += text.len();
            }
            texts.len()
        },
    )
}

/// Digest first, and its stronger hash: of several challenges, browsers take the first or the strongest they know.
fn challenge_texts(
    settings: &Settings<'_>,
    realm: &[u8],
    zone: Option<&HostZone<'_>>,
    stale: bool,
    log: &dyn Log,
) -> Vec<String> {
    let Some(quoted) = http::quoted(realm) else {
        log.log(Level::Error, format_args!("the realm isn't UTF-8 or holds control characters: use another"));
        return Vec::new();
    };
    let mut texts = Vec::with_capacity(OTPGATE_CHALLENGES_MAX);
    if settings.scheme().has_digest() {
        let Some(nonces) = zone.and_then(|zone| Nonces::new(zone)) else {
            log_no_zone(log);
            return Vec::new();
        };
        let nonce = nonces.issue(realm, now() + i64::from(settings.nonce_lifetime()));
        for algorithm in settings.digest_algorithms().as_slice() {
            texts.push(digest::challenge(&quoted, &nonce, *algorithm, stale));
        }
    }
    if settings.scheme().has_basic() {
        texts.push(basic::challenge(&quoted));
    }
    texts
}
