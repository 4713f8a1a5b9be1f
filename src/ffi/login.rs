//! The logins: each entry turns its struct into types and hands them to the gate.

use std::ffi::{c_char, c_int, c_void};
use std::net::IpAddr;
use std::sync::Arc;

use super::guard::guarded;
use super::settings::settings_of;
use super::types::*;
use super::{HostLog, otpgate_gate};
use crate::decide::{PinAnswer, Reason, Verdict, Word};
use crate::gate::{Answer, DigestLogin, Gate, Judged, Login, Match, PinSource};
use crate::http::{basic, digest};
use crate::log::{Level, Log, Quoted};
use crate::policy::{self, Settings};
use crate::token::Address;
use crate::users::file::UsersFile;

struct HostPins<'a> {
    host: &'a otpgate_host,
    settings: &'a Settings<'a>,
    request: *mut c_void,
}

impl PinSource for HostPins<'_> {
    fn identity(&self) -> Vec<u8> {
        match self.host.check_pin {
            Some(_) => self.settings.pin_provider_names().join(&0),
            None => Vec::new(),
        }
    }

    fn check(&self, user: &[u8], pin: &[u8]) -> PinAnswer {
        let Some(check_pin) = self.host.check_pin else { return PinAnswer::NoSource };
        // SAFETY: as for `log`; both strings outlive the call.
        match unsafe { check_pin(self.request, otpgate_str::of(user), otpgate_str::of(pin)) } {
            OTPGATE_PIN_RIGHT => PinAnswer::Right,
            OTPGATE_PIN_WRONG => PinAnswer::Wrong,
            OTPGATE_PIN_UNKNOWN => PinAnswer::Unknown,
            _ => PinAnswer::Failed,
        }
    }
}

/// What the entries have in common.
struct Call<'a> {
    gate: &'a otpgate_gate,
    file: &'a Gate<UsersFile>,
    settings: &'a Settings<'static>,
    user: &'a [u8],
    address: Address,
    judged: Option<&'a mut Judged>,
    log: &'a HostLog<'a>,
}

/// The same members of the entries' structs.
struct Given {
    settings: *const otpgate_settings,
    user: otpgate_str,
    address: otpgate_str,
    memory: *mut otpgate_memory,
    request: *mut c_void,
}

/// Fills the answer with what `decide` says; with an error verdict if it can't be asked or panics.
///
/// # Safety
/// `given` holds what the header promises; `answer` is null or the caller's to write.
unsafe fn enter(
    gate: *mut otpgate_gate,
    given: Given,
    answer: *mut otpgate_answer,
    decide: impl FnOnce(Call<'_>) -> Answer,
) -> c_int {
    // SAFETY: the caller's promises.
    unsafe { enter_now(gate, given, answer, |call| Some(decide(call))) }
}

/// The same for a decision that may be left open: `None` is [`OTPGATE_WOULD_BLOCK`].
///
/// # Safety
/// As for `enter`.
unsafe fn enter_now(
    gate: *mut otpgate_gate,
    given: Given,
    answer: *mut otpgate_answer,
    decide: impl FnOnce(Call<'_>) -> Option<Answer>,
) -> c_int {
    // SAFETY: null is caught, else the caller's promise.
    let (Some(gate), Some(out)) = (unsafe { gate.as_ref() }, unsafe { answer.as_mut() }) else {
        return refuse_null(answer);
    };
    out.set(&Answer::error(), b"");
    let log = HostLog { host: &gate.host, request: given.request };
    let failed = || {
        log.log(
            Level::Error,
            format_args!(
                "error: an internal fault; the login is refused, please report the message before this one"
            ),
        );
        Some(Answer::error())
    };
    // SAFETY: the caller's promises about strings, settings and memory.
    let (user, address, settings, memory) = unsafe {
        (given.user.as_bytes(), given.address.as_bytes(), settings_of(given.settings), given.memory.as_mut())
    };
    let decided = guarded(failed, || {
        #[cfg(feature = "deliberate-panic")]
        if user == b"deliberate-panic" {
            panic!("asked for by a test");
        }
        let Some(users_file) = settings.users_file else {
            let name = policy::users_file_setting(gate.server);
            log.log(
                Level::Error,
                format_args!("error: no {name} is set for this place or above it; add one to this section"),
            );
            return Some(Answer::error());
        };
        let Some(file) = gate.file(users_file.value) else {
            log.log(Level::Error, format_args!("error: the system has no random bytes; see its log"));
            return Some(Answer::error());
        };
        decide(Call {
            gate,
            file: &file,
            settings: &settings,
            user,
            address: Address::of_client(parse_address(address)),
            judged: memory.map(otpgate_memory::judged),
            log: &log,
        })
    });
    match decided {
        Some(decided) => out.set(&decided, user),
        None => out.verdict = OTPGATE_WOULD_BLOCK,
    }
    out.verdict
}

/// An address as servers write it; a link-local one comes with the name of the interface (`fe80::1%eth0`).
fn parse_address(text: &[u8]) -> Option<IpAddr> {
    let text = str::from_utf8(text).ok()?;
    text.split('%').next()?.parse().ok()
}

/// See the header.
///
/// # Safety
/// As the header says: all pointers are null or valid for the call, and `login.memory` is nobody else's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn otpgate_basic(
    gate: *mut otpgate_gate,
    login: *const otpgate_login,
    answer: *mut otpgate_answer,
) -> c_int {
    // SAFETY: null is caught, else the caller's promise.
    let Some(login) = (unsafe { login.as_ref() }) else { return refuse_null(answer) };
    // SAFETY: the caller's promise.
    let (password, header) = unsafe { (login.password.as_bytes(), login.authorization.as_bytes()) };
    let decide = |call: Call<'_>| {
        if let Some(refused) = refuse_hidden_nul(header, &call) {
            return refused;
        }
        let pins = HostPins { host: &call.gate.host, settings: call.settings, request: login.request };
        let attempt = Login { user: call.user, password, address: call.address };
        call.file.basic(&call.settings.policy(call.gate.server), &attempt, &pins, call.judged, call.log)
    };
    // SAFETY: the caller's promises.
    unsafe { enter(gate, login.given(), answer, decide) }
}

/// See the header.
///
/// # Safety
/// As for [`otpgate_basic`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn otpgate_basic_now(
    gate: *mut otpgate_gate,
    login: *const otpgate_login,
    answer: *mut otpgate_answer,
) -> c_int {
    // SAFETY: null is caught, else the caller's promise.
    let Some(login) = (unsafe { login.as_ref() }) else { return refuse_null(answer) };
    // SAFETY: the caller's promise.
    let (password, header) = unsafe { (login.password.as_bytes(), login.authorization.as_bytes()) };
    let decide = |call: Call<'_>| {
        if let Some(refused) = refuse_hidden_nul(header, &call) {
            return Some(refused);
        }
        let pins = HostPins { host: &call.gate.host, settings: call.settings, request: login.request };
        let attempt = Login { user: call.user, password, address: call.address };
        call.file.basic_now(&call.settings.policy(call.gate.server), &attempt, &pins, call.judged, call.log)
    };
    // SAFETY: the caller's promises.
    unsafe { enter_now(gate, login.given(), answer, decide) }
}

/// A password that the server has only up to a NUL is none to judge.
fn refuse_hidden_nul(header: &[u8], call: &Call<'_>) -> Option<Answer> {
    if !basic::hides_a_nul(header) {
        return None;
    }
    let reason = Reason::Malformed.text();
    call.log.log(Level::Notice, format_args!("denied-code: {reason}, user {}", Quoted(call.user)));
    Some(Answer { verdict: Verdict::Denied, word: Word::DeniedCode, upstream_pin: None })
}

impl otpgate_login {
    fn given(&self) -> Given {
        Given {
            settings: self.settings,
            user: self.user,
            address: self.address,
            memory: self.memory,
            request: self.request,
        }
    }
}

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
                // SAFETY: as above.
                unsafe { ha1.copy_from_nonoverlapping(found.as_ptr().cast(), OTPGATE_HA1_LEN) };
                Answer { verdict: Verdict::Granted, word: Word::GrantedReuse, upstream_pin: None }
            }
            Match::Refused(verdict, word) => Answer { verdict, word, upstream_pin: None },
        }
    };
    // SAFETY: the caller's promises.
    unsafe { digest(gate, login, answer, found) }
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
    unsafe { digest(gate, login, answer, spent) }
}

/// # Safety
/// As the header says of the two Digest entries.
unsafe fn digest(
    gate: *mut otpgate_gate,
    login: *const otpgate_digest,
    answer: *mut otpgate_answer,
    decide: impl FnOnce(Call<'_>, &DigestLogin<'_>) -> Answer,
) -> c_int {
    // SAFETY: null is caught, else the caller's promise.
    let Some(login) = (unsafe { login.as_ref() }) else { return refuse_null(answer) };
    let given = Given {
        settings: login.settings,
        user: login.user,
        address: login.address,
        memory: login.memory,
        request: login.request,
    };
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
            return Answer { verdict: Verdict::Denied, word: Word::DeniedCode, upstream_pin: None };
        };
        let exchange = Arc::new(digest::Exchange { realm: realm.to_vec(), method: method.to_vec(), sent });
        let attempt = DigestLogin { user: call.user, exchange: &exchange, address: call.address.clone() };
        decide(call, &attempt)
    };
    // SAFETY: the caller's promises.
    unsafe { enter(gate, given, answer, decide) }
}

/// An answer to a call that nothing can be made of.
fn refuse_null(answer: *mut otpgate_answer) -> c_int {
    // SAFETY: null or the caller's to write.
    if let Some(out) = unsafe { answer.as_mut() } {
        out.set(&Answer::error(), b"");
    }
    OTPGATE_ERROR
}

impl otpgate_answer {
    fn set(&mut self, answer: &Answer, user: &[u8]) {
        self.verdict = match answer.verdict {
            Verdict::Granted => OTPGATE_GRANTED,
            Verdict::Denied => OTPGATE_DENIED,
            Verdict::Unknown => OTPGATE_UNKNOWN,
            Verdict::Error => OTPGATE_ERROR,
        };
        self.result = word_for_c(answer.word);
        self.upstream_len = 0;
        if let Some(pin) = &answer.upstream_pin {
            let header = basic::authorization(user, pin);
            // User and PIN are bounded by the file's and the password's limits, so this always fits.
            if let Some(place) = self.upstream.get_mut(..header.len()) {
                for (place, byte) in place.iter_mut().zip(header.bytes()) {
                    *place = byte as c_char;
                }
                self.upstream_len = header.len();
            }
        }
    }
}

/// Words with the NUL that C expects.
fn word_for_c(word: Word) -> *const c_char {
    let text = match word {
        Word::GrantedFresh => c"granted-fresh",
        Word::GrantedReuse => c"granted-reuse",
        Word::DeniedPin => c"denied-pin",
        Word::DeniedCode => c"denied-code",
        Word::DeniedExpired => c"denied-expired",
        Word::DeniedIp => c"denied-ip",
        Word::DeniedLocked => c"denied-locked",
        Word::Forgotten => c"forgotten",
        Word::Unknown => c"unknown",
        Word::Error => c"error",
    };
    debug_assert_eq!(text.to_bytes(), word.as_str().as_bytes());
    text.as_ptr()
}
