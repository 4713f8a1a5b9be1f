//! The logins: a struct becomes types, the site decides, and its answer becomes a struct.

use std::ffi::{c_char, c_int, c_void};
use std::num::NonZeroU64;

use super::asking::HostZone;
use super::guard::guarded;
use super::response::otpgate_response;
use super::settings::section_of;
use super::types::*;
use super::{HostLog, otpgate_gate};
use crate::decide::{LoginResult, PinAnswer, Verdict};
use crate::gate::nonces::SharedMemory;
use crate::gate::{Answer, DigestAnswer, Match, RequestMemory};
use crate::http::target::Target;
use crate::http::{AuthScheme, basic};
use crate::log::{Level, Log};
use crate::network;
use crate::site::{
    self, BasicCredentials, Browser, DigestCredentials, Providers, Replied, Request, Responded,
    Response,
};
use crate::token::is_app_password;

struct HostPins {
    check_pin: unsafe extern "C" fn(*mut c_void, otpgate_str, otpgate_str) -> c_int,
    request: *mut c_void,
}

impl Providers for HostPins {
    fn check(&self, user: &[u8], pin: &[u8]) -> PinAnswer {
        // SAFETY: the host has lent the function for as long as its gate lives, and `request` is
        // the pointer that came with this very call, on whose thread we are; both strings outlive
        // the callback.
        match unsafe { (self.check_pin)(self.request, otpgate_str::of(user), otpgate_str::of(pin)) }
        {
            OTPGATE_PIN_RIGHT => PinAnswer::Right,
            OTPGATE_PIN_WRONG => PinAnswer::Wrong,
            OTPGATE_PIN_UNKNOWN => PinAnswer::Unknown,
            _ => PinAnswer::Failed,
        }
    }
}

/// What is told to C.
enum Reply {
    Decided(Answer),
    /// About a user whose name the library has read.
    DecidedAbout(Vec<u8>, Answer),
    /// Nothing is decided: another challenge is needed.
    Challenge {
        stale: bool,
    },
    /// A Digest response is of an acceptable password.
    Matched,
    /// The same with what is to be sent to a browser.
    Replied(Replied),
    /// About a browser.
    Responded(Responded),
}

/// A login as the site takes it.
struct Call<'a> {
    login: &'a otpgate_login,
    request: Request<'a>,
    zone: Option<&'a dyn SharedMemory>,
    judged: Option<&'a mut RequestMemory>,
}

impl Call<'_> {
    fn basic(&self) -> BasicCredentials<'_> {
        let otpgate_login {
            user,
            password,
            authorization,
            request_line,
            host,
            destination,
            path,
            ..
        } = self.login;
        BasicCredentials {
            user: user.as_bytes(),
            password: password.as_bytes(),
            authorization: authorization.as_bytes(),
            target: Target {
                request_line: request_line.as_bytes(),
                host: host.as_bytes(),
                destination: destination.as_bytes(),
                path: path.as_bytes(),
            },
        }
    }

    fn browser(&self) -> Browser<'_> {
        let otpgate_login {
            method,
            target,
            host,
            realm,
            cookie,
            accept,
            accept_language,
            content_type,
            origin,
            fetch_site,
            fetch_mode,
            body,
            ..
        } = self.login;
        Browser {
            method: method.as_bytes(),
            target: target.as_bytes(),
            host: host.as_bytes(),
            realm: realm.as_bytes(),
            cookie: cookie.as_bytes(),
            accept: accept.as_bytes(),
            accept_language: accept_language.as_bytes(),
            content_type: content_type.as_bytes(),
            origin: origin.as_bytes(),
            fetch_site: fetch_site.as_bytes(),
            fetch_mode: fetch_mode.as_bytes(),
            authorization: self.login.authorization.as_bytes(),
            body: body.as_bytes(),
        }
    }

    fn digest(&self) -> DigestCredentials<'_> {
        let otpgate_login { realm, method, target, authorization, .. } = self.login;
        DigestCredentials {
            realm: realm.as_bytes(),
            method: method.as_bytes(),
            target: target.as_bytes(),
            authorization: authorization.as_bytes(),
            zone: self.zone,
        }
    }
}

/// Fills the answer with what `decide` says; with an error verdict if it can't be asked or panics.
/// `None` is [`OTPGATE_WOULD_BLOCK`].
fn enter(
    gate: Option<&otpgate_gate>,
    login: Option<&otpgate_login>,
    answer: Option<&mut otpgate_answer>,
    decide: impl FnOnce(&otpgate_gate, &mut Call<'_>) -> Option<Reply>,
) -> c_int {
    let Some(out) = answer else { return OTPGATE_ERROR };
    let (Some(gate), Some(login)) = (gate, login) else {
        out.set(&Answer::error(), b"");
        return OTPGATE_ERROR;
    };
    let log = HostLog { gate, request: login.request, level: login.log_level };
    let failed = || {
        let text =
            "error: an internal fault; the login is refused, please report the previous message";
        log.log(Level::Error, format_args!("{text}"));
        Some(Reply::Decided(Answer::error()))
    };
    let decided = guarded(failed, || {
        #[cfg(feature = "deliberate-panic")]
        if login.user.as_bytes() == b"deliberate-panic" {
            panic!("asked for by a test");
        }
        let pins =
            gate.host.check_pin.map(|check_pin| HostPins { check_pin, request: login.request });
        let zone = HostZone::new(&gate.host, login.zone);
        // SAFETY: null, or settings that outlive the request, in the configuration's pool or the
        // request's own.
        let settings = unsafe { login.settings.as_ref() };
        let is_for_pin = login.is_for_pin != 0;
        // SAFETY: null, or memory of the request, which its thread or the event loop has lent to
        // this one call. What a PIN provider asks comes while another call has it: such a one
        // doesn't get it.
        let memory = unsafe { if is_for_pin { None } else { login.memory.as_mut() } };
        let mut call = Call {
            login,
            request: Request {
                section: section_of(settings),
                address: login.address.ip(),
                has_tls: login.has_tls != 0,
                is_part: login.is_part != 0,
                is_for_pin,
                turn: NonZeroU64::new(login.turn),
                providers: pins.as_ref().map(|pins| pins as &dyn Providers),
                log: &log,
            },
            zone: zone.as_ref().map(|zone| zone as &dyn SharedMemory),
            judged: memory.map(otpgate_memory::judged),
        };
        decide(gate, &mut call)
    });
    match decided {
        Some(Reply::Decided(decided)) => out.set(&decided, login.user.as_bytes()),
        Some(Reply::DecidedAbout(user, decided)) => out.set(&decided, &user),
        Some(Reply::Challenge { stale }) => out.undecided(OTPGATE_DENIED, stale),
        Some(Reply::Replied(Replied { answer, response })) => {
            out.set(&answer, login.user.as_bytes());
            out.response = otpgate_response::lend(response);
        }
        Some(Reply::Responded(Responded { answer, user, response })) => {
            match answer {
                Some(answer) => out.set(&answer, &user),
                None => out.undecided(OTPGATE_DENIED, false),
            }
            out.response = otpgate_response::lend(response);
        }
        Some(Reply::Matched) => out.undecided(OTPGATE_MATCHED, false),
        None => {
            out.set(&Answer::error(), b"");
            out.verdict = OTPGATE_WOULD_BLOCK;
        }
    }
    out.verdict
}

/// See the header.
///
/// # Safety
/// As the header says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn otpgate_decide(
    gate: Option<&otpgate_gate>,
    login: Option<&otpgate_login>,
    answer: Option<&mut otpgate_answer>,
) -> c_int {
    enter(gate, login, answer, |gate, call| {
        let judged = call.judged.take();
        match call.login.scheme {
            OTPGATE_BASIC => {
                let browser = || call.browser();
                let replied = gate.site.basic(&call.request, &call.basic(), browser, judged);
                // SAFETY: null, or a number of the connection, which one thread at a time serves.
                if let Some(granted) = unsafe { call.login.connection.as_mut() }
                    && replied.answer.verdict == Verdict::Granted
                {
                    *granted = site::granted_header(call.login.authorization.as_bytes());
                }
                Some(Reply::Replied(replied))
            }
            OTPGATE_DIGEST => Some(gate.site.digest(&call.request, &call.digest(), judged).into()),
            OTPGATE_COOKIE => {
                Some(Reply::Responded(gate.site.by_cookie(&call.request, &call.browser(), judged)))
            }
            _ => Some(Reply::Decided(Answer::error())),
        }
    })
}

/// See the header.
///
/// # Safety
/// As the header says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn otpgate_decide_now(
    gate: Option<&otpgate_gate>,
    login: Option<&otpgate_login>,
    answer: Option<&mut otpgate_answer>,
) -> c_int {
    enter(gate, login, answer, |gate, call| {
        let judged = call.judged.take();
        match call.login.scheme {
            OTPGATE_BASIC => {
                let browser = || call.browser();
                gate.site
                    .basic_now(&call.request, &call.basic(), browser, judged)
                    .map(Reply::Replied)
            }
            OTPGATE_DIGEST => {
                gate.site.digest_now(&call.request, &call.digest(), judged).map(Reply::from)
            }
            OTPGATE_COOKIE => gate
                .site
                .by_cookie_now(&call.request, &call.browser(), judged)
                .map(Reply::Responded),
            _ => Some(Reply::Decided(Answer::error())),
        }
    })
}

impl From<DigestAnswer> for Reply {
    fn from(answer: DigestAnswer) -> Reply {
        match answer {
            DigestAnswer::Decided { answer, user } => Reply::DecidedAbout(user, answer),
            DigestAnswer::Challenge { stale } => Reply::Challenge { stale },
        }
    }
}

/// See the header.
///
/// # Safety
/// As the header says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn otpgate_page(
    gate: Option<&otpgate_gate>,
    login: Option<&otpgate_login>,
    answer: Option<&mut otpgate_answer>,
) -> c_int {
    let Some(answer) = answer else { return OTPGATE_ERROR };
    let verdict = enter(gate, login, Some(&mut *answer), |gate, call| {
        Some(Reply::Responded(gate.site.page(&call.request, &call.browser())))
    });
    if answer.response.is_null() {
        answer.response = otpgate_response::lend(Some(Response::failed()));
    }
    verdict
}

/// See the header.
///
/// # Safety
/// As the header says: `buffer` has room for `cookie.len` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn otpgate_strip(cookie: otpgate_str, buffer: *mut c_char) -> usize {
    let stripped = || site::without_our_cookies(cookie.as_bytes());
    let Some(left) = guarded(|| None, stripped).filter(|_| !buffer.is_null()) else { return 0 };
    let len = left.len().min(cookie.len);
    // SAFETY: the caller's buffer has room for as many bytes as the header has, which is at least
    // as many as are left of it.
    unsafe { buffer.cast::<u8>().copy_from_nonoverlapping(left.as_ptr(), len) };
    len
}

/// See the header.
///
/// # Safety
/// As the header says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn otpgate_admit(
    gate: Option<&otpgate_gate>,
    login: Option<&otpgate_login>,
    answer: Option<&mut otpgate_answer>,
) -> c_int {
    let verdict = enter(gate, login, answer, |gate, call| {
        let authorization = call.login.authorization.as_bytes();
        let browser = || call.browser();
        gate.site.admit(&call.request, authorization, browser).map(Reply::Decided)
    });
    match verdict {
        OTPGATE_THROTTLED | OTPGATE_BUSY => verdict,
        _ => 0,
    }
}

/// See the header.
///
/// # Safety
/// As the header says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn otpgate_was_granted(
    connection: Option<&u64>,
    authorization: otpgate_str,
) -> c_int {
    let is_granted = |&number: &u64| site::is_granted_header(number, authorization.as_bytes());
    guarded(|| 0, || connection.is_some_and(is_granted).into())
}

/// See the header.
///
/// # Safety
/// As the header says, and `ha1` has room for [`OTPGATE_HA1_LEN`] characters.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn otpgate_digest_match(
    gate: Option<&otpgate_gate>,
    login: Option<&otpgate_login>,
    answer: Option<&mut otpgate_answer>,
    ha1: Option<&mut [c_char; OTPGATE_HA1_LEN]>,
) -> c_int {
    let Some(ha1) = ha1 else { return enter(None, login, answer, |_, _| None) };
    ha1.fill(0);
    enter(gate, login, answer, |gate, call| {
        let judged = call.judged.take();
        let user = call.login.user.as_bytes();
        match gate.site.digest_match(&call.request, user, &call.digest(), judged) {
            Match::Acceptable(found) => {
                write(ha1, &found.md5_hexadecimal());
                Some(Reply::Matched)
            }
            Match::Refused(answer) => Some(Reply::Decided(answer)),
        }
    })
}

/// See the header.
///
/// # Safety
/// As the header says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn otpgate_digest_spend(
    gate: Option<&otpgate_gate>,
    login: Option<&otpgate_login>,
    answer: Option<&mut otpgate_answer>,
) -> c_int {
    enter(gate, login, answer, |gate, call| {
        let judged = call.judged.take();
        let user = call.login.user.as_bytes();
        Some(Reply::Decided(gate.site.digest_spend(&call.request, user, &call.digest(), judged)))
    })
}

/// See the header.
///
/// # Safety
/// As the header says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn otpgate_paper_next(memory: Option<&otpgate_memory>) -> u32 {
    guarded(|| 0, || memory.map_or(0, otpgate_memory::paper_next))
}

/// See the header.
///
/// # Safety
/// As the header says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn otpgate_scheme(
    settings: Option<&otpgate_settings>,
    authorization: otpgate_str,
) -> c_int {
    guarded(
        || 0,
        || match site::asked_scheme(&section_of(settings).settings, authorization.as_bytes()) {
            Some(AuthScheme::Basic) => OTPGATE_BASIC,
            Some(AuthScheme::Digest) => OTPGATE_DIGEST,
            _ => 0,
        },
    )
}

/// See the header.
#[unsafe(no_mangle)]
pub extern "C" fn otpgate_wants_target(login: Option<&otpgate_login>) -> c_int {
    login.is_some_and(|login| is_app_password(login.password.as_bytes())).into()
}

/// See the header.
///
/// # Safety
/// As the header says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn otpgate_address_of(text: otpgate_str) -> otpgate_address {
    guarded(|| otpgate_address::of(None), || otpgate_address::of(network::address(text.as_bytes())))
}

/// The strings of a login, each of them.
fn strings(login: &mut otpgate_login) -> [&mut otpgate_str; 18] {
    // Without `..`: a field that is added doesn't compile before it is thought of.
    let otpgate_login {
        authorization,
        user,
        password,
        realm,
        method,
        target,
        request_line,
        host,
        destination,
        path,
        cookie,
        accept,
        accept_language,
        content_type,
        origin,
        fetch_site,
        fetch_mode,
        body,
        settings: _,
        scheme: _,
        log_level: _,
        has_tls: _,
        is_part: _,
        is_for_pin: _,
        address: _,
        zone: _,
        memory: _,
        connection: _,
        turn: _,
        request: _,
    } = login;
    [
        authorization,
        user,
        password,
        realm,
        method,
        target,
        request_line,
        host,
        destination,
        path,
        cookie,
        accept,
        accept_language,
        content_type,
        origin,
        fetch_site,
        fetch_mode,
        body,
    ]
}

/// See the header.
#[unsafe(no_mangle)]
pub extern "C" fn otpgate_login_size(login: Option<&otpgate_login>) -> usize {
    let Some(login) = login else { return 0 };
    let mut copy = *login;
    strings(&mut copy).iter().map(|string| string.len).sum()
}

/// See the header.
///
/// # Safety
/// As the header says: `memory` has room for what `otpgate_login_size` says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn otpgate_login_copy(
    login: Option<&mut otpgate_login>,
    memory: *mut c_char,
) {
    let Some(login) = login.filter(|_| !memory.is_null()) else { return };
    let mut place = memory.cast::<u8>();
    for string in strings(login) {
        let bytes = string.as_bytes();
        // SAFETY: the caller's block has room for all strings, one after the other, and is none of
        // theirs.
        unsafe {
            place.copy_from_nonoverlapping(bytes.as_ptr(), bytes.len());
            *string = otpgate_str { len: bytes.len(), data: place };
            place = place.add(string.len);
        }
    }
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
        self.is_for_path = (answer.word == LoginResult::GrantedApp).into();
        self.retry_after = answer.retry_after.unwrap_or(0);
        self.response = std::ptr::null_mut();
        self.result = site::result_word(answer.word).as_ptr();
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

    fn undecided(&mut self, verdict: c_int, stale: bool) {
        self.verdict = verdict;
        self.stale = stale.into();
        (self.is_for_path, self.retry_after) = (0, 0);
        self.response = std::ptr::null_mut();
        self.result = c"".as_ptr();
        (self.upstream_len, self.user_len) = (0, 0);
    }
}

/// Writes bytes to a place of C's, and says how many: all or none. The limits of users file and
/// password are such that they always fit.
fn write(place: &mut [c_char], bytes: &[u8]) -> usize {
    let Some(place) = place.get_mut(..bytes.len()) else { return 0 };
    for (place, byte) in place.iter_mut().zip(bytes) {
        *place = *byte as c_char;
    }
    bytes.len()
}
