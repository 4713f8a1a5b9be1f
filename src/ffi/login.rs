//! The logins: each entry turns its struct into types and hands them to the gate.

use std::ffi::{c_char, c_int, c_void};
use std::net::IpAddr;
use std::num::NonZeroU64;

use super::guard::guarded;
use super::settings::{settings_in_place, settings_of};
use super::types::*;
use super::{HostLog, otpgate_gate};
use crate::decide::{PinAnswer, Reason, Verdict, Word};
use crate::gate::{Answer, Gate, Judged, Login, PinSource};
use crate::http::{basic, unfit};
use crate::log::{Level, Log, Quoted};
use crate::pin::file::PinFile;
use crate::policy::{self, Settings};
use crate::store::LoopTurn;
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

    /// The same name may mean other settings in the next section.
    fn is_known_by_identity(&self) -> bool {
        false
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

/// Runs `decide` with whoever checks PINs marked `+` in this section.
fn with_pins<R>(
    (gate, settings, log): (&otpgate_gate, &Settings<'_>, &HostLog<'_>),
    request: *mut c_void,
    decide: impl FnOnce(&dyn PinSource) -> R,
) -> R {
    match settings.pin_file {
        Some(file) => decide(&PinFile::new(gate.path(file.value), log)),
        None => decide(&HostPins { host: &gate.host, settings, request }),
    }
}

/// What the entries have in common.
pub(super) struct Call<'a> {
    pub gate: &'a otpgate_gate,
    pub file: &'a Gate<UsersFile>,
    pub settings: &'a Settings<'static>,
    pub user: &'a [u8],
    pub address: Address,
    pub moment: LoopTurn,
    pub judged: Option<&'a mut Judged>,
    pub log: &'a HostLog<'a>,
}

/// The same members of the entries' structs.
pub(super) struct Given {
    pub settings: *const otpgate_settings,
    pub user: otpgate_str,
    pub address: otpgate_str,
    pub memory: *mut otpgate_memory,
    pub request: *mut c_void,
    pub log_level: c_int,
    pub moment: u64,
}

/// What an entry tells the server.
pub(super) enum Reply {
    /// Decided.
    Decided(Answer),
    /// Decided about a user whose name the library has read.
    DecidedAbout(Vec<u8>, Answer),
    /// Nothing is decided: another challenge is needed.
    Challenge { stale: bool },
}

/// Fills the answer with what `decide` says; with an error verdict if it can't be asked or panics.
///
/// # Safety
/// `given` holds what the header promises; `answer` is null or the caller's to write.
pub(super) unsafe fn enter(
    gate: *mut otpgate_gate,
    given: Given,
    answer: *mut otpgate_answer,
    decide: impl FnOnce(Call<'_>) -> Reply,
) -> c_int {
    // SAFETY: the caller's promises.
    unsafe { enter_now(gate, given, answer, |call| Some(decide(call))) }
}

/// The same for a decision that may be left open: `None` is [`OTPGATE_WOULD_BLOCK`].
///
/// # Safety
/// As for `enter`.
pub(super) unsafe fn enter_now(
    gate: *mut otpgate_gate,
    given: Given,
    answer: *mut otpgate_answer,
    decide: impl FnOnce(Call<'_>) -> Option<Reply>,
) -> c_int {
    // SAFETY: null is caught, else the caller's promise.
    let (Some(gate), Some(out)) = (unsafe { gate.as_ref() }, unsafe { answer.as_mut() }) else {
        return refuse_null(answer);
    };
    out.set(&Answer::error(), b"");
    let log = HostLog { gate, request: given.request, level: given.log_level };
    let failed = || {
        log.log(
            Level::Error,
            format_args!(
                "error: an internal fault; the login is refused, please report the message before this one"
            ),
        );
        Some(Reply::Decided(Answer::error()))
    };
    // SAFETY: the caller's promises about strings, settings and memory.
    let (user, address, settings, memory) = unsafe {
        (
            given.user.as_bytes(),
            given.address.as_bytes(),
            settings_in_place(given.settings),
            given.memory.as_mut(),
        )
    };
    let decided = guarded(failed, || {
        #[cfg(feature = "deliberate-panic")]
        if user == b"deliberate-panic" {
            panic!("asked for by a test");
        }
        let named = settings.and_then(|settings| Some((settings, settings.users_file?)));
        let Some((settings, users_file)) = named else {
            let name = policy::users_file_setting(gate.server);
            log.log(
                Level::Error,
                format_args!("error: no {name} is set for this place or above it; add one to this section"),
            );
            return Some(Reply::Decided(Answer::error()));
        };
        let Some(file) = gate.file(users_file.value) else {
            log.log(Level::Error, format_args!("error: the system has no random bytes; see its log"));
            return Some(Reply::Decided(Answer::error()));
        };
        decide(Call {
            gate,
            file: &file,
            settings,
            user,
            address: Address::of_client(parse_address(address)),
            moment: NonZeroU64::new(given.moment),
            judged: memory.map(otpgate_memory::judged),
            log: &log,
        })
    });
    match decided {
        Some(Reply::Decided(decided)) => out.set(&decided, user),
        Some(Reply::DecidedAbout(user, decided)) => out.set(&decided, &user),
        Some(Reply::Challenge { stale }) => out.challenge(stale),
        None => out.verdict = OTPGATE_WOULD_BLOCK,
    }
    out.verdict
}

/// An address as servers write it; a link-local one comes with the name of the interface (`fe80::1%eth0`).
pub(super) fn parse_address(text: &[u8]) -> Option<IpAddr> {
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
        if let Some(refused) = refuse_hidden_nul((header, password), &call) {
            return Reply::Decided(refused);
        }
        let attempt = Login { user: call.user, password, address: call.address };
        if login.is_part != 0 && !call.file.has_granted(&attempt, call.judged.as_deref()) {
            return Reply::Decided(Answer::no_part());
        }
        let policy = call.settings.policy(call.gate.server);
        with_pins((call.gate, call.settings, call.log), login.request, |pins| {
            Reply::Decided(call.file.basic(&policy, &attempt, pins, call.judged, call.log))
        })
    };
    // SAFETY: the caller's promises.
    let verdict = unsafe { enter(gate, login.given(), answer, decide) };
    // SAFETY: null or the caller's promise.
    if verdict == OTPGATE_GRANTED
        && let Some(granted) = unsafe { login.connection.as_mut() }
    {
        *granted = header_number(header);
    }
    verdict
}

/// Tells headers of one connection apart. Never the number of a connection on which nothing was granted.
fn header_number(header: &[u8]) -> u64 {
    u64::from(crc32fast::hash(header)) << 32 | header.len() as u64 | 1 << 31
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
        if let Some(refused) = refuse_hidden_nul((header, password), &call) {
            return Some(Reply::Decided(refused));
        }
        let attempt = Login { user: call.user, password, address: call.address };
        if login.is_part != 0 && !call.file.has_granted(&attempt, call.judged.as_deref()) {
            return Some(Reply::Decided(Answer::no_part()));
        }
        let policy = call.settings.policy(call.gate.server);
        with_pins((call.gate, call.settings, call.log), login.request, |pins| {
            call.file
                .basic_now(&policy, &attempt, pins, call.moment, call.judged, call.log)
                .map(Reply::Decided)
        })
    };
    // SAFETY: the caller's promises.
    unsafe { enter_now(gate, login.given(), answer, decide) }
}

/// See the header.
///
/// # Safety
/// As for [`otpgate_basic`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn otpgate_admit(
    gate: *mut otpgate_gate,
    login: *const otpgate_login,
    answer: *mut otpgate_answer,
) -> c_int {
    // SAFETY: null is caught, else the caller's promise.
    let Some(login) = (unsafe { login.as_ref() }) else { return refuse_null(answer) };
    // SAFETY: the caller's promise.
    let header = unsafe { login.authorization.as_bytes() };
    // SAFETY: null or the caller's promise.
    if unsafe { login.connection.as_ref() }.is_some_and(|granted| *granted == header_number(header)) {
        return 0;
    }
    let Some((user, password)) = guarded(|| None, || basic::credentials(header)) else { return 0 };
    let decide = |call: Call<'_>| {
        let attempt = Login { user: &user, password: &password, address: call.address };
        let policy = call.settings.policy(call.gate.server);
        call.file.refuse_beforehand(&policy, &attempt, call.log).map(Reply::Decided)
    };
    // SAFETY: the caller's promises.
    match unsafe { enter_now(gate, login.given(), answer, decide) } {
        // What is wrong with the place is said by who decides.
        verdict @ (OTPGATE_THROTTLED | OTPGATE_BUSY) => verdict,
        _ => 0,
    }
}

/// See the header.
///
/// # Safety
/// As the header says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn otpgate_unfit(
    gate: *mut otpgate_gate,
    settings: *const otpgate_settings,
    authorization: otpgate_str,
    request: *mut c_void,
) {
    guarded(
        || (),
        || {
            // SAFETY: null is caught, else the caller's promises.
            let (gate, header) = unsafe { (gate.as_ref(), authorization.as_bytes()) };
            let Some(gate) = gate else { return };
            // SAFETY: the caller's promise.
            let scheme = unsafe { settings_of(settings) }.scheme();
            let (reason, user) = unfit::reason(header, scheme);
            HostLog { gate, request, level: 0 }.log(
                Level::Refusal,
                format_args!("nothing decided: {reason}; a challenge is sent, user {}", Quoted(&user)),
            );
        },
    );
}

/// A password that the server has only up to a NUL is none to judge.
fn refuse_hidden_nul((header, password): (&[u8], &[u8]), call: &Call<'_>) -> Option<Answer> {
    if basic::is_of_length(header, call.user.len() + 1 + password.len()) || !basic::hides_a_nul(header) {
        return None;
    }
    let reason = Reason::Malformed.text();
    call.log.log(Level::Refusal, format_args!("denied-code: {reason}, user {}", Quoted(call.user)));
    Some(Answer::plain(Verdict::Denied, Word::DeniedCode))
}

impl otpgate_login {
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

/// An answer to a call that nothing can be made of.
pub(super) fn refuse_null(answer: *mut otpgate_answer) -> c_int {
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
            Verdict::Throttled => OTPGATE_THROTTLED,
            Verdict::Busy => OTPGATE_BUSY,
        };
        self.stale = 0;
        self.retry_after = answer.retry_after.unwrap_or(0);
        self.result = word_for_c(answer.word);
        self.upstream_len = 0;
        self.user_len = 0;
        if answer.verdict == Verdict::Granted {
            self.user_len = write(&mut self.user, user);
        }
        if let Some(pin) = &answer.upstream_pin {
            let header = basic::authorization(user, pin);
            self.upstream_len = write(&mut self.upstream, header.as_bytes());
        }
    }

    fn challenge(&mut self, stale: bool) {
        self.verdict = OTPGATE_DENIED;
        self.stale = stale.into();
        self.retry_after = 0;
        self.result = c"".as_ptr();
        (self.upstream_len, self.user_len) = (0, 0);
    }
}

/// Writes bytes to a place of C's, and says how many: all or none. The limits of users file and password are such that
/// they always fit.
fn write(place: &mut [c_char], bytes: &[u8]) -> usize {
    let Some(place) = place.get_mut(..bytes.len()) else { return 0 };
    for (place, byte) in place.iter_mut().zip(bytes) {
        *place = *byte as c_char;
    }
    bytes.len()
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
        Word::DeniedThrottled => c"denied-throttled",
        Word::DeniedBusy => c"denied-busy",
        Word::Forgotten => c"forgotten",
        Word::Unknown => c"unknown",
        Word::Error => c"error",
    };
    debug_assert_eq!(text.to_bytes(), word.as_str().as_bytes());
    text.as_ptr()
}
