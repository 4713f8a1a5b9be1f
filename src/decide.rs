//! The rules of a login. Pure: no I/O, no clock, no logging, no randomness.
//!
//! [`login`] takes the settings, what the store holds under a name, one attempt and a time, and says what to
//! answer and what to write. The rules stand in the order and under the numbers of `docs/specification.md`,
//! section 4:
//!
//! 1. the name, 2. lock-out, 3. forget request, 4. splitting PIN and code, 5. PIN, 6. reuse, 7. fresh code,
//! 8. no match.
//!
//! Whatever isn't granted by one of them is denied.

use std::collections::HashMap;
use std::ops::RangeInclusive;

use subtle::{Choice, ConditionallySelectable, ConstantTimeEq};

use crate::UnixTime;
use crate::otp::Code;
use crate::policy::{FORGET_WORD, Forget, Policy};
use crate::token::{
    Address, Algorithm, Codes, Counter, Entry, Fingerprint, Line, MovingFactor, Pin, Reading, State,
    TimeStep, Token, Used,
};

/// Longest password looked at, in bytes.
pub const PASSWORD_MAX: usize = 1024;
/// Clocks of several servers may differ by this much, in seconds, before a use lies in the future.
const CLOCK_TOLERANCE: i64 = 5;
/// A use that lies further ahead than this, in seconds, was written by a clock that was wrong.
const CLOCK_ACCIDENT: i64 = 3600;
/// So many spent or passed codes of an event token are recognised.
const RECOGNISED_COUNTERS: u64 = 100;
/// Those of a time token are recognised for so many seconds: a browser tab may stay open overnight.
const RECOGNISED_SECONDS: u32 = 86_400;
/// So many of all tokens of a user: what a wrong code costs.
const RECOGNISED_MAX: u64 = 3000;
/// The same in Digest, where each has to be hashed several times more.
const RECOGNISED_MAX_DIGEST: u64 = 100;
/// So many guesses must be counted for one that a recognised code lets pass by chance.
const COUNTED_PER_RECOGNISED: u64 = 200;
/// A refreshed idle time is written after this part of the limit.
const IDLE_REFRESHES: i64 = 16;

/// What the server is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Let in.
    Granted,
    /// Refuse, and let nobody else decide.
    Denied,
    /// Another provider may decide.
    Unknown,
    /// Nothing could be decided.
    Error,
    /// Refuse for a while, without having looked at what was given.
    Throttled,
    /// The same, because too many others are being looked at.
    Busy,
}

/// The word for logs: which rule decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // the names are the words
pub enum Word {
    GrantedFresh,
    GrantedReuse,
    DeniedPin,
    DeniedCode,
    DeniedExpired,
    DeniedIp,
    DeniedLocked,
    DeniedThrottled,
    DeniedBusy,
    Forgotten,
    Unknown,
    Error,
}

impl Word {
    /// All of them.
    pub const ALL: [Word; 12] = [
        Word::GrantedFresh,
        Word::GrantedReuse,
        Word::DeniedPin,
        Word::DeniedCode,
        Word::DeniedExpired,
        Word::DeniedIp,
        Word::DeniedLocked,
        Word::DeniedThrottled,
        Word::DeniedBusy,
        Word::Forgotten,
        Word::Unknown,
        Word::Error,
    ];

    /// As logged; one of a closed list that scripts may rely on.
    pub fn as_str(self) -> &'static str {
        match self {
            Word::GrantedFresh => "granted-fresh",
            Word::GrantedReuse => "granted-reuse",
            Word::DeniedPin => "denied-pin",
            Word::DeniedCode => "denied-code",
            Word::DeniedExpired => "denied-expired",
            Word::DeniedIp => "denied-ip",
            Word::DeniedLocked => "denied-locked",
            Word::DeniedThrottled => "denied-throttled",
            Word::DeniedBusy => "denied-busy",
            Word::Forgotten => "forgotten",
            Word::Unknown => "unknown",
            Word::Error => "error",
        }
    }
}

/// Why, in more detail than the word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // `text` says it
pub enum Reason {
    Malformed,
    NotListed,
    Twin,
    Unreadable,
    TooManyLines,
    AllTokensOff,
    Locked,
    Throttled,
    Busy,
    Forgotten,
    NothingToForget,
    TooShort,
    WrongPin,
    NoPinExpected,
    PinUnknown,
    PinSourceFailed,
    NoPinSource,
    MotpWithExternalPin,
    DigestNeedsPlainPin,
    Reused,
    Expired,
    AddressChanged,
    NoAddress,
    Fresh,
    Spent,
    FloorInFuture,
    CounterExhausted,
    WrongCode,
    TokenChanged,
    StoreFailed,
}

impl Reason {
    /// Whether an admin has something to mend.
    pub fn is_fault(self) -> bool {
        matches!(
            self,
            Reason::Unreadable
                | Reason::TooManyLines
                | Reason::PinSourceFailed
                | Reason::NoPinSource
                | Reason::MotpWithExternalPin
                | Reason::DigestNeedsPlainPin
                | Reason::NoAddress
                | Reason::FloorInFuture
                | Reason::CounterExhausted
                | Reason::StoreFailed
        )
    }

    /// For the log, after the word.
    pub fn text(self) -> &'static str {
        match self {
            Reason::Malformed => "the user name or password holds control characters or is too long",
            Reason::NotListed => "not listed",
            Reason::Twin => {
                "another spelling of a listed name; if they are two people, add `#@ apart NAME` to the users file"
            }
            Reason::Unreadable => "a line of the user can't be read",
            Reason::TooManyLines => "too many lines of the user; see the message before",
            Reason::AllTokensOff => "all tokens of the user are switched off",
            Reason::Busy => "too many logins wait at this moment; the next try is in 2 s",
            Reason::Throttled => "too many wrong PINs or codes in a while",
            Reason::Locked => "too many wrong codes; unlock with `otpgate unlock`",
            Reason::Forgotten => "the code is forgotten as asked",
            Reason::NothingToForget => "asked to forget, and no code lingers",
            Reason::TooShort => "shorter than a code",
            Reason::WrongPin => "wrong PIN",
            Reason::NoPinExpected => "something stands before the code of a token without PIN",
            Reason::PinUnknown => "no PIN provider or PIN file knows the user",
            Reason::PinSourceFailed => "the PIN provider or PIN file can't be used; see the message before",
            Reason::NoPinSource => {
                "the PIN is to be checked elsewhere (+), but no PIN provider or PIN file is configured"
            }
            Reason::MotpWithExternalPin => "a Mobile-OTP token can't have an external PIN",
            Reason::DigestNeedsPlainPin => {
                "Digest can't check a hashed or external PIN (+); use Basic here, or a PIN in the clear"
            }
            Reason::Reused => "the lingering code",
            Reason::Expired => "the last accepted code, which has expired",
            Reason::AddressChanged => "the last accepted code, but from another address",
            Reason::NoAddress => {
                "the last accepted code, but the client has no address, as on a unix socket: have the server told it (set_real_ip_from unix: with real_ip_header, or proxy_protocol), or set auth_otp_logout_on_ip_change off"
            }
            Reason::Fresh => "a new code",
            Reason::Spent => "an older or skipped code",
            Reason::FloorInFuture => {
                "the last accepted time step lies in the future, from a wrong clock; correct it with `otpgate resync`"
            }
            Reason::CounterExhausted => {
                "the token's counter has reached its end; give it a new key with `otpgate rekey`"
            }
            Reason::WrongCode => "wrong code",
            Reason::TokenChanged => {
                "the token was changed or switched off since this request was let in elsewhere"
            }
            Reason::StoreFailed => "the users file can't be used",
        }
    }
}

/// One attempt to log in.
pub struct Attempt<'a> {
    /// The name the client gave.
    pub user: &'a [u8],
    /// What shows that the client knows PIN and code.
    pub proof: Proof<'a>,
    /// Where the client is.
    pub address: Address,
}

/// What shows that the client knows PIN and code.
#[derive(Clone, Copy)]
pub enum Proof<'a> {
    /// Basic: PIN then code; Mobile-OTP: the code alone.
    Password(&'a [u8]),
    /// Digest: tells whether the client's response was computed from a password, given in parts. PIN and code
    /// can't be told apart in it, so it is held against every password that would be accepted.
    Response(&'a dyn Fn(&[&[u8]]) -> Choice),
}

/// What a PIN source said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PinAnswer {
    /// This is the PIN.
    Right,
    /// It isn't.
    Wrong,
    /// No source knows the user.
    Unknown,
    /// The source couldn't say.
    Failed,
    /// There is no source.
    NoSource,
}

/// Answers got so far about slow PINs of the user: what the PIN field says, which PIN bytes. Several tokens with one hash
/// have one answer.
pub type PinAnswers<'a> = &'a dyn Fn(&Pin, &[u8]) -> Option<PinAnswer>;

/// A PIN to be checked outside any lock before this can be decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PinQuestion {
    /// Which of the entry's lines.
    pub line: usize,
    /// How many bytes of the password are the PIN.
    pub pin_len: usize,
}

/// New state for one of the entry's lines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Which of the entry's lines.
    pub line: usize,
    /// What it becomes.
    pub state: State,
}

/// The decision on one attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// What the server is to do.
    pub verdict: Verdict,
    /// Which rule decided.
    pub word: Word,
    /// Why.
    pub reason: Reason,
    /// What must be written.
    pub changes: Vec<Change>,
    /// The answer holds even if `changes` can't be saved (a refreshed idle time).
    pub changes_are_optional: bool,
    /// Whether fields 5 to 10 had a part in it. If not, no lock can change the decision.
    pub depends_on_state: bool,
    /// On a grant: by what.
    pub accepted: Option<Accepted>,
    /// On a grant of the lingering code that needs nothing written: until then, the same attempt on the same lines comes to
    /// the same.
    pub stands_until: Option<UnixTime>,
    /// Of [`Verdict::Throttled`] and [`Verdict::Busy`]: seconds until it may be tried again.
    pub retry_after: Option<u32>,
    /// A PIN or a code was looked at and isn't right, whatever else is to be said.
    pub is_wrong_guess: bool,
    /// Of Digest: how many wrong responses there were before, and when the last of them.
    pub wrong_responses: (u32, UnixTime),
}

/// What a grant rests on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Accepted {
    /// Which of the entry's lines.
    pub line: usize,
    /// How many bytes of the password were the PIN.
    pub pin_len: usize,
    /// When.
    pub at: UnixTime,
}

/// What the grant of a request was decided on.
#[derive(Clone, Debug)]
pub struct Basis {
    /// Of the token that accepted the code.
    pub fingerprint: Fingerprint,
    /// The token's state as it was read.
    pub before: State,
    /// When it was decided.
    pub at: UnixTime,
    /// The code, as a state keeps it.
    pub code: Code,
    /// The counter or time step that it was found at, if it was a fresh one.
    pub position: Option<u64>,
}

/// By then, most of those who wait have been answered.
const BUSY_SECONDS: u32 = 2;

/// What [`login`] comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Get this answered, then ask again.
    NeedPin(PinQuestion),
    /// Decided.
    Decided(Decision),
}

impl Decision {
    fn new(verdict: Verdict, word: Word, reason: Reason) -> Decision {
        Decision {
            verdict,
            word,
            reason,
            changes: Vec::new(),
            changes_are_optional: false,
            depends_on_state: true,
            accepted: None,
            stands_until: None,
            retry_after: None,
            is_wrong_guess: false,
            wrong_responses: (0, 0),
        }
    }

    /// When nothing could be decided.
    pub fn error() -> Decision {
        Decision::new(Verdict::Error, Word::Error, Reason::StoreFailed)
    }

    /// Too many wrong ones; the next is looked at after so many seconds.
    pub(crate) fn throttled(seconds: u32) -> Decision {
        let decision = Decision::new(Verdict::Throttled, Word::DeniedThrottled, Reason::Throttled);
        Decision { retry_after: Some(seconds), ..decision }.whatever_the_state()
    }

    /// Too many wait.
    pub(crate) fn busy() -> Decision {
        let decision = Decision::new(Verdict::Busy, Word::DeniedBusy, Reason::Busy);
        Decision { retry_after: Some(BUSY_SECONDS), ..decision }.whatever_the_state()
    }

    /// Too many wrong Digest responses.
    pub(crate) fn locked() -> Decision {
        Decision::denied(Word::DeniedLocked, Reason::Locked).whatever_the_state()
    }

    /// The lingering code once more, accepted as before.
    pub(crate) fn repeat_of(accepted: Accepted) -> Decision {
        let decision = Decision::new(Verdict::Granted, Word::GrantedReuse, Reason::Reused);
        Decision { accepted: Some(accepted), ..decision }
    }

    fn denied(word: Word, reason: Reason) -> Decision {
        Decision::new(Verdict::Denied, word, reason)
    }

    fn after_a_wrong_guess(self) -> Decision {
        Decision { is_wrong_guess: true, ..self }
    }

    fn whatever_the_state(self) -> Decision {
        Decision { depends_on_state: false, ..self }
    }
}

/// Decides a login.
pub fn login(
    policy: &Policy,
    entry: &Entry,
    attempt: &Attempt<'_>,
    pins: PinAnswers<'_>,
    now: UnixTime,
) -> Outcome {
    login_at(Positions::All, policy, entry, attempt, pins, now)
}

fn login_at(
    codes: Positions,
    policy: &Policy,
    entry: &Entry,
    attempt: &Attempt<'_>,
    pins: PinAnswers<'_>,
    now: UnixTime,
) -> Outcome {
    let (mut devices, passed, denied, pin_source_failed) =
        match rules_1_to_6(policy, entry, attempt, pins, now) {
            Begun::Ended(outcome) => return outcome,
            Begun::Open { devices, passed, denied, pin_source_failed } => {
                (devices, passed, denied, pin_source_failed)
            }
        };
    devices.open_windows(policy, entry, now);
    let decision = rule_7_fresh_code(codes, policy, entry, &mut devices, &passed, attempt, now)
        .or(denied)
        .unwrap_or_else(|| rule_8_no_match(codes, policy, entry, &mut devices, &passed, attempt, now));
    Outcome::Decided(conclude(decision, devices, pin_source_failed))
}

/// Decides a login that was granted elsewhere, for the same request, by the rules of this place: on what the grant was
/// decided on, so that the code it spent is no spent one. What an admin or the user has done since counts. `entry` and
/// `now` are as they are now. Nothing is to be written.
pub fn elsewhere(
    policy: &Policy,
    entry: &Entry,
    basis: &Basis,
    attempt: &Attempt<'_>,
    pins: PinAnswers<'_>,
    now: UnixTime,
) -> Outcome {
    if let Some(decision) = rule_1_name(entry, attempt) {
        return Outcome::Decided(decision);
    }
    let is_it = |line: &Line| line.token.fingerprint == basis.fingerprint && !line.token.disabled;
    let Some(index) = entry.lines.iter().position(is_it) else {
        return Outcome::Decided(Decision::denied(Word::DeniedCode, Reason::TokenChanged));
    };
    let mut devices = Devices::of(policy, entry, now);
    let device = devices.of_line_mut(index);
    device.mend_times(now);
    device.check_lockout(policy, now);
    if device.locked {
        return Outcome::Decided(Decision::denied(Word::DeniedLocked, Reason::Locked));
    }
    let is_last =
        device.state.last_otp.as_ref().is_some_and(|last| bool::from(last.is_in_any_case(&basis.code)));
    if is_last && device.state.used == Used::Never {
        return Outcome::Decided(Decision::denied(Word::DeniedExpired, Reason::Expired));
    }

    let line = Line { token: entry.lines[index].token.clone(), state: basis.before.clone() };
    let then = Entry { lines: vec![line], unreadable: entry.unreadable, ..Entry::default() };
    match login_at(Positions::Of(basis.position), policy, &then, attempt, pins, basis.at) {
        Outcome::NeedPin(question) => Outcome::NeedPin(PinQuestion { line: index, ..question }),
        Outcome::Decided(decision) => Outcome::Decided(Decision {
            changes: Vec::new(),
            accepted: decision.accepted.map(|accepted| Accepted { line: index, ..accepted }),
            ..decision
        }),
    }
}

/// The state that a line's token was decided on: the furthest of all lines of the same token.
pub fn state_decided_on(policy: &Policy, entry: &Entry, line: usize, now: UnixTime) -> State {
    Devices::of(policy, entry, now).of_line(line).state.clone()
}

/// The same as far as no code has to be searched for: computing the candidates of rules 7 and 8 takes a while
/// with a wide window. `None`: it would have to be.
pub fn without_search(
    policy: &Policy,
    entry: &Entry,
    attempt: &Attempt<'_>,
    pins: PinAnswers<'_>,
    now: UnixTime,
) -> Option<Outcome> {
    match rules_1_to_6(policy, entry, attempt, pins, now) {
        Begun::Ended(outcome) => Some(outcome),
        Begun::Open { .. } => None,
    }
}

/// Whether so many failures, the last of them at `failed`, are too many now.
pub fn is_locked_out(policy: &Policy, failures: u32, failed: UnixTime, now: UnixTime) -> bool {
    if policy.max_failures == 0 || failures < policy.max_failures {
        return false;
    }
    if policy.lockout_time == 0 {
        return true;
    }
    let doublings = (failures - policy.max_failures).min(32);
    let duration = (u64::from(policy.lockout_time) << doublings)
        .min(u64::from(policy.lockout_max.max(policy.lockout_time)));
    now < failed.saturating_add(duration as i64)
}

/// Whether rule 2 keeps a token from granting anything now.
pub fn is_locked(policy: &Policy, line: &Line, now: UnixTime) -> bool {
    let mut device = Device::of(0, line, policy, now);
    device.mend_times(now);
    device.check_lockout(policy, now);
    device.locked
}

/// A line's state with what only its visible fields say made exact: the replay floor of a time token is filled
/// in. What can be written with a checksum without forgetting anything.
pub fn exact_state(policy: &Policy, line: &Line, now: UnixTime) -> State {
    State { intact: true, ..line.state_with_floor(policy.max_offset, now) }
}

/// What rules 1 to 6 come to.
enum Begun<'a> {
    Ended(Outcome),
    /// The code is no lingering one.
    Open {
        devices: Devices,
        passed: Vec<Presented<'a>>,
        /// The refusal if no other token accepts the code as a fresh one.
        denied: Option<Decision>,
        pin_source_failed: bool,
    },
}

fn rules_1_to_6<'a>(
    policy: &Policy,
    entry: &'a Entry,
    attempt: &Attempt<'a>,
    pins: PinAnswers<'_>,
    now: UnixTime,
) -> Begun<'a> {
    if let Some(decision) = rule_1_name(entry, attempt) {
        return Begun::Ended(Outcome::Decided(decision.whatever_the_state()));
    }
    let mut devices = Devices::of(policy, entry, now);

    // Rule 2: lock-out.
    let mut active = 0;
    for device in &mut devices.all {
        if device.lines.iter().any(|&line| !entry.lines[line].token.disabled) {
            active += 1;
            device.mend_times(now);
            device.check_lockout(policy, now);
        }
    }
    let locked = devices.all.iter().filter(|device| device.locked).count();
    if locked > 0 && locked == active {
        let decision = Decision::denied(Word::DeniedLocked, Reason::Locked);
        return Begun::Ended(Outcome::Decided(Decision { changes: devices.into_changes(), ..decision }));
    }

    // Rule 3: forget request.
    let forgotten = match policy.forget {
        Forget::On if attempt.proof.is_empty_password() => rule_3_forget(policy, &mut devices, attempt, now),
        Forget::Word => match rule_3_forget_word(policy, entry, &mut devices, attempt, pins, now) {
            Ok(forgotten) => forgotten,
            Err(question) => return Begun::Ended(Outcome::NeedPin(question)),
        },
        Forget::On | Forget::Off => None,
    };
    if let Some(reason) = forgotten {
        let decision = Decision::denied(Word::Forgotten, reason);
        return Begun::Ended(Outcome::Decided(Decision { changes: devices.into_changes(), ..decision }));
    }

    // Rules 4 and 5: split, PIN.
    let mut passed = Vec::new();
    let mut refused = Vec::new();
    for (index, line) in entry.lines.iter().enumerate() {
        if line.token.disabled || devices.of_line(index).locked {
            continue;
        }
        let check = match attempt.proof {
            Proof::Password(password) => rules_4_and_5_pin(&line.token, password, pins),
            Proof::Response(matches) => digest_pin(&line.token, matches),
        };
        match check {
            PinCheck::Ask(pin_len) => {
                return Begun::Ended(Outcome::NeedPin(PinQuestion { line: index, pin_len }));
            }
            PinCheck::Passed(pin_len, shown) => passed.push(Presented { line: index, pin_len, shown }),
            PinCheck::Refused(reason) => refused.push(reason),
        }
    }
    let pin_source_failed = refused.contains(&Reason::PinSourceFailed);
    if passed.is_empty() {
        let decision = refuse_before_code(policy, entry, &refused, locked > 0);
        return Begun::Ended(Outcome::Decided(decision.whatever_the_state()));
    }

    match rule_6_reuse(policy, entry, &mut devices, &passed, attempt, now) {
        Ok(granted) => Begun::Ended(Outcome::Decided(conclude(granted, devices, pin_source_failed))),
        Err(denied) => Begun::Open { devices, passed, denied, pin_source_failed },
    }
}

/// A refusal that a failed PIN source may be to blame for is an error; and what is to be written.
fn conclude(decision: Decision, devices: Devices, pin_source_failed: bool) -> Decision {
    let decision = if pin_source_failed && decision.verdict != Verdict::Granted {
        Decision { verdict: Verdict::Error, word: Word::Error, reason: Reason::PinSourceFailed, ..decision }
    } else {
        decision
    };
    Decision { changes: devices.into_changes(), ..decision }
}

/// Rule 1: a name nobody has is for others to decide; another spelling of a listed one is not.
fn rule_1_name(entry: &Entry, attempt: &Attempt<'_>) -> Option<Decision> {
    let is_plain = |text: &[u8]| !text.iter().any(|&b| b < 0x20 || b == 0x7f);
    let is_plain_proof = match attempt.proof {
        Proof::Password(password) => is_plain(password) && password.len() <= PASSWORD_MAX,
        Proof::Response(_) => true,
    };
    if !is_plain(attempt.user) || !is_plain_proof {
        return Some(Decision::denied(Word::DeniedCode, Reason::Malformed));
    }
    if entry.too_many_lines {
        return Some(Decision::new(Verdict::Error, Word::Error, Reason::TooManyLines));
    }
    if entry.lines.is_empty() && !entry.unreadable {
        return Some(if entry.is_twin {
            Decision::denied(Word::Unknown, Reason::Twin).after_a_wrong_guess()
        } else {
            Decision::new(Verdict::Unknown, Word::Unknown, Reason::NotListed)
        });
    }
    if entry.lines.iter().all(|line| line.token.disabled) {
        return Some(if entry.unreadable {
            Decision::denied(Word::Error, Reason::Unreadable)
        } else {
            Decision::denied(Word::DeniedLocked, Reason::AllTokensOff)
        });
    }
    None
}

/// Rule 3: an empty password from where the code was last used ends its lingering for good.
/// `None`: there is nothing to forget, and the password is one like any other.
fn rule_3_forget(
    policy: &Policy,
    devices: &mut Devices,
    attempt: &Attempt<'_>,
    now: UnixTime,
) -> Option<Reason> {
    let mut forgotten = None;
    for device in &mut devices.all {
        if device.state.address.is_known_and_equals(&attempt.address) && device.forget(policy, now) {
            forgotten = Some(Reason::Forgotten);
        }
    }
    forgotten
}

/// The same by PIN and word, for the tokens with that PIN. `None`: it is no such request, or not with a right PIN.
fn rule_3_forget_word(
    policy: &Policy,
    entry: &Entry,
    devices: &mut Devices,
    attempt: &Attempt<'_>,
    pins: PinAnswers<'_>,
    now: UnixTime,
) -> Result<Option<Reason>, PinQuestion> {
    let mut asked_to_forget = Vec::new();
    for (index, line) in entry.lines.iter().enumerate() {
        if line.token.disabled || devices.of_line(index).locked {
            continue;
        }
        let is_asked = match (attempt.proof, &line.token.pin) {
            (_, Pin::None) => false,
            (Proof::Password(password), field) => match password.strip_suffix(FORGET_WORD) {
                Some(pin) => match field {
                    Pin::Literal(expected) => bool::from(expected.expose().ct_eq(pin)),
                    _ if line.token.algorithm == Algorithm::Motp => false,
                    _ => match pins(field, pin) {
                        None => return Err(PinQuestion { line: index, pin_len: pin.len() }),
                        Some(answer) => answer == PinAnswer::Right,
                    },
                },
                None => false,
            },
            (Proof::Response(matches), Pin::Literal(pin)) => {
                bool::from(matches(&[pin.expose(), FORGET_WORD]))
            }
            (Proof::Response(_), _) => false,
        };
        if is_asked {
            asked_to_forget.push(index);
        }
    }
    let mut reason = (!asked_to_forget.is_empty()).then_some(Reason::NothingToForget);
    for line in asked_to_forget {
        if devices.of_line_mut(line).forget(policy, now) {
            reason = Some(Reason::Forgotten);
        }
    }
    Ok(reason)
}

impl Proof<'_> {
    fn is_empty_password(self) -> bool {
        match self {
            Proof::Password(password) => password.is_empty(),
            Proof::Response(matches) => bool::from(matches(&[])),
        }
    }
}

/// What a client shows of a token after its PIN.
enum Shown<'a> {
    /// A code, in lower case, whose PIN was right.
    Code(Code),
    /// A response to be held against PIN and code.
    Response { pin: &'a [u8], matches: &'a dyn Fn(&[&[u8]]) -> Choice },
}

impl<'a> Shown<'a> {
    /// What is shown of a token whatever its PIN; `None` if the password is too short or the PIN isn't known.
    fn of(token: &'a Token, proof: Proof<'a>) -> Option<Shown<'a>> {
        match proof {
            Proof::Password(password) => token.split(password).map(|(_, code)| Shown::Code(code)),
            Proof::Response(matches) => match digest_pin(token, matches) {
                PinCheck::Passed(_, shown) => Some(shown),
                _ => None,
            },
        }
    }

    /// Whether it shows this code, letters in either case. `code` is in lower case.
    fn is(&self, code: &Code) -> Choice {
        match self {
            Shown::Code(shown) => shown.is(code),
            Shown::Response { pin, matches } => {
                let lower = matches(&[pin, code.as_bytes()]);
                if code.as_bytes().iter().any(u8::is_ascii_lowercase) {
                    lower | matches(&[pin, code.clone().into_upper_case().as_bytes()])
                } else {
                    lower
                }
            }
        }
    }
}

/// What is left to be checked of a line once its PIN has been dealt with.
struct Presented<'a> {
    line: usize,
    pin_len: usize,
    shown: Shown<'a>,
}

impl Presented<'_> {
    fn accepted(&self, at: UnixTime) -> Option<Accepted> {
        Some(Accepted { line: self.line, pin_len: self.pin_len, at })
    }
}

enum PinCheck<'a> {
    Ask(usize),
    Passed(usize, Shown<'a>),
    Refused(Reason),
}

/// In Digest, a PIN in the clear is part of every password tried; one that isn't at hand can't be.
fn digest_pin<'a>(token: &'a Token, matches: &'a dyn Fn(&[&[u8]]) -> Choice) -> PinCheck<'a> {
    let pin: &[u8] = match (token.algorithm, &token.pin) {
        (_, Pin::External | Pin::Hashed(_)) => return PinCheck::Refused(Reason::DigestNeedsPlainPin),
        (Algorithm::Motp, _) | (_, Pin::None) => b"",
        (_, Pin::Literal(pin)) => pin.expose(),
    };
    PinCheck::Passed(0, Shown::Response { pin, matches })
}

/// Rules 4 and 5. Nothing about the code is computed here.
fn rules_4_and_5_pin<'a>(token: &Token, password: &[u8], pins: PinAnswers<'_>) -> PinCheck<'a> {
    let Some((pin, code)) = token.split(password) else { return PinCheck::Refused(Reason::TooShort) };
    let passed = |code| PinCheck::Passed(pin.len(), Shown::Code(code));
    match (token.algorithm, &token.pin) {
        (Algorithm::Motp, Pin::External | Pin::Hashed(_)) => PinCheck::Refused(Reason::MotpWithExternalPin),
        (Algorithm::Motp, _) | (_, Pin::None) if pin.is_empty() => passed(code),
        (Algorithm::Motp, _) | (_, Pin::None) => PinCheck::Refused(Reason::NoPinExpected),
        (_, Pin::Literal(expected)) => {
            if bool::from(expected.expose().ct_eq(pin)) {
                passed(code)
            } else {
                PinCheck::Refused(Reason::WrongPin)
            }
        }
        (_, Pin::Hashed(_) | Pin::External) => match pins(&token.pin, pin) {
            None => PinCheck::Ask(pin.len()),
            Some(PinAnswer::Right) => passed(code),
            Some(PinAnswer::Wrong) => PinCheck::Refused(Reason::WrongPin),
            Some(PinAnswer::Unknown) => PinCheck::Refused(Reason::PinUnknown),
            Some(PinAnswer::Failed) => PinCheck::Refused(Reason::PinSourceFailed),
            Some(PinAnswer::NoSource) => PinCheck::Refused(Reason::NoPinSource),
        },
    }
}

/// No token's PIN was right, so nothing about codes is known or told.
fn refuse_before_code(policy: &Policy, entry: &Entry, refused: &[Reason], any_locked: bool) -> Decision {
    // In the order in which an admin wants to hear of them.
    const ORDER: [Reason; 8] = [
        Reason::PinSourceFailed,
        Reason::DigestNeedsPlainPin,
        Reason::NoPinSource,
        Reason::MotpWithExternalPin,
        Reason::WrongPin,
        Reason::NoPinExpected,
        Reason::PinUnknown,
        Reason::TooShort,
    ];
    const GUESSES: [Reason; 3] = [Reason::WrongPin, Reason::NoPinExpected, Reason::PinUnknown];
    let reason = ORDER.into_iter().find(|reason| refused.contains(reason)).unwrap_or(Reason::WrongPin);
    let is_wrong_guess = refused.iter().any(|reason| GUESSES.contains(reason));
    if reason == Reason::PinSourceFailed {
        return Decision { is_wrong_guess, ..Decision::new(Verdict::Error, Word::Error, reason) };
    }
    if entry.unreadable {
        return Decision { is_wrong_guess, ..Decision::denied(Word::Error, Reason::Unreadable) };
    }
    let word = if reason == Reason::TooShort { Word::DeniedCode } else { Word::DeniedPin };
    let falls_through = policy.fall_through
        && !any_locked
        && matches!(reason, Reason::WrongPin | Reason::NoPinExpected | Reason::PinUnknown | Reason::TooShort);
    let verdict = if falls_through { Verdict::Unknown } else { Verdict::Denied };
    Decision { is_wrong_guess, ..Decision::new(verdict, word, reason) }
}

/// Rule 6: the last accepted code may come again for a while.
///
/// `Err` holds the refusal if no other token accepts the code as a fresh one.
fn rule_6_reuse(
    policy: &Policy,
    entry: &Entry,
    devices: &mut Devices,
    passed: &[Presented<'_>],
    attempt: &Attempt<'_>,
    now: UnixTime,
) -> Result<Decision, Option<Decision>> {
    let mut denied = None;
    for presented in passed {
        let device = devices.of_line_mut(presented.line);
        let Some(last_otp) = &device.state.last_otp else { continue };
        let last_otp = last_otp.clone().into_lower_case();
        if !bool::from(presented.shown.is(&last_otp)) || is_hex_refused(policy, entry, presented, &last_otp) {
            continue;
        }
        device.spent = true;
        if !is_lingering(policy, &device.state, now) {
            denied = denied.or(Some(Decision::denied(Word::DeniedExpired, Reason::Expired)));
        } else if policy.logout_on_ip_change && !device.state.address.is_known_and_equals(&attempt.address) {
            let reason = match attempt.address {
                Address::Unknown => Reason::NoAddress,
                _ => Reason::AddressChanged,
            };
            denied = Some(Decision::denied(Word::DeniedIp, reason));
        } else {
            device.refresh_idle(policy, now);
            let decision = Decision::new(Verdict::Granted, Word::GrantedReuse, Reason::Reused);
            return Ok(Decision {
                changes_are_optional: true,
                accepted: presented.accepted(now),
                stands_until: lingers_untouched_until(policy, &device.state, now),
                ..decision
            });
        }
    }
    Err(denied)
}

/// Rule 7: one of the next codes.
fn rule_7_fresh_code(
    codes: Positions,
    policy: &Policy,
    entry: &Entry,
    devices: &mut Devices,
    passed: &[Presented<'_>],
    attempt: &Attempt<'_>,
    now: UnixTime,
) -> Option<Decision> {
    for presented in passed {
        let token = &entry.lines[presented.line].token;
        let device = devices.of_line_mut(presented.line);
        if device.spent {
            continue;
        }
        let found = search(policy, &token.codes(), codes.among(device.window.steps()), &presented.shown);
        let Some((counter, code)) = found else { continue };
        let accepted = device.change();
        accepted.stand_after(token.factor, counter, now);
        accepted.last_otp = Some(code);
        accepted.used = Used::At { first: now, last: now };
        accepted.address = attempt.address.clone();
        for device in &mut devices.all {
            if device.state.failures != 0 {
                device.change().failures = 0;
            }
        }
        let decision = Decision::new(Verdict::Granted, Word::GrantedFresh, Reason::Fresh);
        return Some(Decision { accepted: presented.accepted(now), ..decision });
    }
    None
}

/// Rule 8: a re-sent old code is not a guess; anything else is.
fn rule_8_no_match(
    codes: Positions,
    policy: &Policy,
    entry: &Entry,
    devices: &mut Devices,
    passed: &[Presented<'_>],
    attempt: &Attempt<'_>,
    now: UnixTime,
) -> Decision {
    let mut candidates: Vec<usize> = passed.iter().map(|presented| devices.of_line[presented.line]).collect();
    candidates.sort_unstable();
    candidates.dedup();
    candidates.retain(|&device| !devices.all[device].window.floor_in_future);
    if candidates.is_empty() {
        return Decision::denied(Word::DeniedExpired, Reason::FloorInFuture);
    }

    let is_recognised = |old: Old<'_>| {
        let token = &entry.lines[old.line].token;
        search(policy, &token.codes(), codes.among(old.steps), &old.shown).is_some()
    };
    if old_codes(entry, devices, attempt.proof).into_iter().any(is_recognised) {
        return Decision::denied(Word::DeniedExpired, Reason::Spent);
    }

    // Strangers can send Digest responses without knowing the PIN: they are counted elsewhere.
    let counted = match attempt.proof {
        Proof::Password(_) => candidates.as_slice(),
        Proof::Response(_) => &[],
    };
    for &device in counted {
        let device = &mut devices.all[device];
        let failures = device.state.failures.saturating_add(1);
        let state = device.change();
        state.failures = failures;
        state.last_failure = Some(now);
    }
    let all_exhausted = candidates.iter().all(|&device| devices.all[device].window.exhausted);
    let reason = if all_exhausted { Reason::CounterExhausted } else { Reason::WrongCode };
    Decision::denied(Word::DeniedCode, reason).after_a_wrong_guess()
}

/// Spent or passed counters or steps of one of the entry's lines, and what is shown of it.
struct Old<'a> {
    line: usize,
    shown: Shown<'a>,
    steps: RangeInclusive<u64>,
}

/// Which old codes are recognised: of each of the user's tokens the nearest ones.
fn old_codes<'a>(entry: &'a Entry, devices: &Devices, proof: Proof<'a>) -> Vec<Old<'a>> {
    let total = match proof {
        Proof::Password(_) => RECOGNISED_MAX,
        Proof::Response(_) => RECOGNISED_MAX_DIGEST,
    };
    // A line that shows the same codes as one before it needn't be searched.
    let is_repetition = |index: usize, token: &Token| {
        let before = devices.of_line(index).lines.iter().take_while(|&&line| line < index);
        before.map(|&line| &entry.lines[line].token).any(|other| {
            let pin_is_apart =
                matches!(proof, Proof::Password(_)) && matches!(token.algorithm, Algorithm::Hotp(_));
            other.digits == token.digits && (pin_is_apart || other.pin == token.pin)
        })
    };
    let mut searched = Vec::new();
    for (line, Line { token, .. }) in entry.lines.iter().enumerate() {
        if let Some(shown) = Shown::of(token, proof)
            && let Some(last) = devices.of_line(line).window.passed
            && !is_repetition(line, token)
        {
            searched.push((line, shown, last, recognised_of(token).min(last.saturating_add(1))));
        }
    }
    let wanted: Vec<u64> = searched.iter().map(|&(.., wanted)| wanted).collect();
    let old = searched.into_iter().zip(shares(&wanted, total)).filter(|&(_, share)| share > 0);
    old.map(|((line, shown, last, _), share)| Old { line, shown, steps: last - (share - 1)..=last }).collect()
}

/// How many old codes of a token are recognised if it is the only one.
fn recognised_of(token: &Token) -> u64 {
    let old = match token.factor {
        MovingFactor::Event => RECOGNISED_COUNTERS,
        MovingFactor::Time(period) => RECOGNISED_SECONDS.div_ceil(period.get()).into(),
    };
    old.min(10u64.pow(token.digits.count() as u32) / COUNTED_PER_RECOGNISED)
}

/// What each gets who wants so much of a total: all of it, or, where that is too much, as much as anybody.
fn shares(wanted: &[u64], total: u64) -> Vec<u64> {
    let mut by_want: Vec<usize> = (0..wanted.len()).collect();
    by_want.sort_by_key(|&i| wanted[i]);
    let mut shares = vec![0; wanted.len()];
    let mut left = total;
    for (served, i) in by_want.into_iter().enumerate() {
        shares[i] = wanted[i].min(left / (wanted.len() - served) as u64);
        left -= shares[i];
    }
    shares
}

/// Whether the last accepted code could be used again now, from the right address.
fn is_lingering(policy: &Policy, state: &State, now: UnixTime) -> bool {
    let Some((first, last)) = state.used.as_of(now) else { return false };
    let within = |limit: Option<u32>, since: UnixTime| {
        let Some(limit) = limit else { return true };
        let age = now.saturating_sub(since);
        age >= -CLOCK_TOLERANCE && age.max(0) < i64::from(limit)
    };
    // With neither limit nothing lingers: the settings never come to that.
    (policy.max_linger.is_some() || policy.max_idle.is_some())
        && within(policy.max_linger, first)
        && within(policy.max_idle, last)
}

/// The last moment at which a code that lingers now still does, without a new idle time to be written.
fn lingers_untouched_until(policy: &Policy, state: &State, now: UnixTime) -> Option<UnixTime> {
    let (first, last) = state.used.as_of(now)?;
    let linger = policy.max_linger.map(|limit| first.saturating_add(i64::from(limit) - 1));
    let idle = policy.max_idle.map(|limit| last.saturating_add(i64::from(limit) / IDLE_REFRESHES - 1));
    linger.into_iter().chain(idle).min()
}

/// Whether the presented code is hexadecimal where that is switched off.
fn is_hex_refused(policy: &Policy, entry: &Entry, presented: &Presented<'_>, code: &Code) -> bool {
    let is_hotp = entry.lines[presented.line].token.algorithm != Algorithm::Motp;
    is_hotp && !policy.allow_hex && !code.as_bytes().iter().all(u8::is_ascii_digit)
}

/// Which codes are looked for.
#[derive(Clone, Copy)]
enum Positions {
    All,
    /// It is known where the code was found, if it was: elsewhere it needn't be looked for.
    Of(Option<u64>),
}

impl Positions {
    fn among(self, counters: impl Iterator<Item = u64>) -> impl Iterator<Item = u64> {
        counters.filter(move |&counter| match self {
            Positions::All => true,
            Positions::Of(position) => position == Some(counter),
        })
    }
}

/// The lowest counter whose code is shown, and that code. Always computes and compares all of them.
fn search(
    policy: &Policy,
    codes: &Codes,
    counters: impl Iterator<Item = u64>,
    shown: &Shown<'_>,
) -> Option<(u64, Code)> {
    let allow_hex = Choice::from(u8::from(policy.allow_hex));
    let typed = match shown {
        Shown::Code(code) => Some(codes.typed(code)),
        Shown::Response { .. } => None,
    };
    let is_shown = |counter| match &typed {
        Some(typed) => typed.is_of(counter),
        None => {
            let (decimal, hexadecimal) = codes.of(counter);
            let hexadecimal = hexadecimal.filter(|_| policy.allow_hex);
            (shown.is(&decimal), hexadecimal.map_or(Choice::from(0), |code| shown.is(&code)))
        }
    };
    let mut lowest = 0;
    let mut found = Choice::from(0);
    let mut is_hexadecimal = Choice::from(0);
    for counter in counters {
        #[cfg(test)]
        tests::COMPUTED.set(tests::COMPUTED.get() + 1);
        let (mut is_it, is_hex) = is_shown(counter);
        let is_hex = is_hex & !is_it & allow_hex;
        is_it |= is_hex;
        is_hexadecimal.conditional_assign(&is_hex, is_it & !found);
        lowest.conditional_assign(&counter, is_it & !found);
        found |= is_it;
    }
    if !bool::from(found) {
        return None;
    }
    let (decimal, hexadecimal) = codes.of(lowest);
    Some((lowest, hexadecimal.filter(|_| bool::from(is_hexadecimal)).unwrap_or(decimal)))
}

/// The user's tokens, several lines of the same one taken together.
struct Devices {
    all: Vec<Device>,
    /// Which device each of the entry's lines belongs to.
    of_line: Vec<usize>,
}

struct Device {
    lines: Vec<usize>,
    /// The furthest state of its lines.
    state: State,
    changed: bool,
    locked: bool,
    /// The presented code is its last accepted one, so it can't be a fresh one of the same token.
    spent: bool,
    window: Window,
}

impl Devices {
    fn of(policy: &Policy, entry: &Entry, now: UnixTime) -> Devices {
        let mut all: Vec<Device> = Vec::new();
        let mut of_line = Vec::new();
        let mut known = HashMap::with_capacity(entry.lines.len());
        for (index, line) in entry.lines.iter().enumerate() {
            let device = *known.entry(line.token.device()).or_insert(all.len());
            match all.get_mut(device) {
                Some(device) => device.join(index, line, policy, now),
                None => all.push(Device::of(index, line, policy, now)),
            }
            of_line.push(device);
        }
        Devices { all, of_line }
    }

    /// Which codes are next; only rules 7 and 8 want to know.
    fn open_windows(&mut self, policy: &Policy, entry: &Entry, now: UnixTime) {
        for device in &mut self.all {
            device.window = Window::of(policy, &entry.lines[device.lines[0]].token, &device.state, now);
        }
    }

    fn of_line(&self, line: usize) -> &Device {
        &self.all[self.of_line[line]]
    }

    fn of_line_mut(&mut self, line: usize) -> &mut Device {
        &mut self.all[self.of_line[line]]
    }

    fn into_changes(self) -> Vec<Change> {
        let mut changes = Vec::new();
        for device in self.all.into_iter().filter(|device| device.changed) {
            for line in device.lines {
                changes.push(Change { line, state: device.state.clone() });
            }
        }
        changes
    }
}

impl Device {
    fn of(index: usize, line: &Line, policy: &Policy, now: UnixTime) -> Device {
        Device {
            lines: vec![index],
            state: line.state_with_floor(policy.max_offset, now),
            changed: false,
            locked: false,
            spent: false,
            window: Window::default(),
        }
    }

    /// Another line of the same token: its state is the furthest of them.
    fn join(&mut self, index: usize, line: &Line, policy: &Policy, now: UnixTime) {
        self.lines.push(index);
        let other = line.state_with_floor(policy.max_offset, now);
        let failures = self.state.failures.max(other.failures);
        let failed = self.state.last_failure.max(other.last_failure);
        if other.is_further_than(&self.state, line.token.factor, now) {
            self.state = other;
        }
        self.state.failures = failures;
        self.state.last_failure = failed;
    }

    fn change(&mut self) -> &mut State {
        self.changed = true;
        &mut self.state
    }

    /// Ends the lingering of its last code for good; whether there was one.
    fn forget(&mut self, policy: &Policy, now: UnixTime) -> bool {
        let lingers = self.state.last_otp.is_some() && is_lingering(policy, &self.state, now);
        if lingers {
            self.change().used = Used::Never;
        }
        lingers
    }

    /// What a clock that was ahead has left in the file must not count until that day comes. A failure counts as
    /// one of now. A use ends: its code would be accepted again on that day.
    fn mend_times(&mut self, now: UnixTime) {
        if self.state.last_failure.is_some_and(|failed| failed > now) {
            self.change().last_failure = Some(now);
        }
        let last_use = self.state.used.as_of(now).map(|(first, last)| first.max(last));
        if last_use.is_some_and(|last| last.saturating_sub(now) > CLOCK_ACCIDENT) {
            self.change().used = Used::Never;
        }
    }

    /// Rule 2. A lock-out whose beginning isn't known begins now.
    fn check_lockout(&mut self, policy: &Policy, now: UnixTime) {
        if policy.max_failures == 0 || self.state.failures < policy.max_failures {
            return;
        }
        if policy.lockout_time == 0 {
            self.locked = true;
            return;
        }
        let failed = match self.state.last_failure {
            Some(failed) => failed,
            None => *self.change().last_failure.insert(now),
        };
        self.locked = is_locked_out(policy, self.state.failures, failed, now);
    }

    fn refresh_idle(&mut self, policy: &Policy, now: UnixTime) {
        let (Some(limit), Some((first, last))) = (policy.max_idle, self.state.used.as_of(now)) else {
            return;
        };
        if now.saturating_sub(last) >= i64::from(limit) / IDLE_REFRESHES {
            self.change().used = Used::At { first, last: now };
        }
    }
}

/// The counters or steps whose codes are acceptable: one or two ranges above the floor.
#[derive(Default)]
struct Window {
    ranges: Vec<RangeInclusive<u64>>,
    /// The highest counter or step that is spent or passed.
    passed: Option<u64>,
    /// The floor lies above everything that the clock could make acceptable.
    floor_in_future: bool,
    /// The event counter is at its end.
    exhausted: bool,
}

impl Window {
    fn of(policy: &Policy, token: &Token, state: &State, now: UnixTime) -> Window {
        match state.reading(token.factor) {
            Reading::Event { next } => {
                let window = Window::above(
                    vec![next.and_ahead(policy.max_offset)],
                    next.previous().map(Counter::position),
                );
                Window { exhausted: window.ranges.is_empty(), ..window }
            }
            Reading::Time { period, offset, floor } => {
                let step = TimeStep::at(now, period);
                let around_now = step.and_around(policy.max_offset, period);
                let around_offset = step.shifted_by(offset).and_around(policy.max_offset, period);
                let floor = floor.map(TimeStep::position);
                let ranges = union(around_now, around_offset);
                let top = ranges.iter().filter(|range| !range.is_empty()).map(|range| *range.end()).max();
                Window { floor_in_future: floor > top, ..Window::above(ranges, floor) }
            }
        }
    }

    /// Only what lies above the floor.
    fn above(mut ranges: Vec<RangeInclusive<u64>>, floor: Option<u64>) -> Window {
        if let Some(floor) = floor {
            for range in &mut ranges {
                *range = *range.start().max(&floor.saturating_add(1))..=*range.end();
            }
        }
        ranges.retain(|range| !range.is_empty());
        let passed = match ranges.first() {
            Some(lowest) => lowest.start().checked_sub(1),
            None => floor,
        };
        Window { ranges, passed, ..Window::default() }
    }

    fn steps(&self) -> impl Iterator<Item = u64> + use<> {
        self.ranges.clone().into_iter().flatten()
    }
}

/// Two ranges as one, or as two in ascending order.
fn union(a: RangeInclusive<u64>, b: RangeInclusive<u64>) -> Vec<RangeInclusive<u64>> {
    let (low, high) = if a.start() <= b.start() { (a, b) } else { (b, a) };
    if low.is_empty() || high.is_empty() || *high.start() > low.end().saturating_add(1) {
        vec![low, high]
    } else {
        vec![*low.start()..=*low.end().max(high.end())]
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::cell::Cell;

    use jiff::tz::TimeZone;

    use super::*;
    use crate::policy::{Server, Settings};
    use crate::users::record;

    const NOW: UnixTime = 1_700_000_000;

    thread_local! {
        /// Codes computed to be compared, on this thread.
        pub(crate) static COMPUTED: Cell<usize> = const { Cell::new(0) };
    }

    fn entry(lines: impl IntoIterator<Item = String>) -> Entry {
        let lines = lines.into_iter().map(|line| {
            let record = record::parse(line.as_bytes(), &TimeZone::UTC).unwrap();
            Line { token: record.token, state: record.state }
        });
        Entry { lines: lines.collect(), ..Entry::default() }
    }

    /// So many codes are computed until these credentials are found to be wrong, and so many passwords are tried.
    fn work(entry: &Entry, proof: Option<&[u8]>) -> (usize, usize) {
        let policy = Settings::default().policy(Server::Apache);
        COMPUTED.set(0);
        let tried = Cell::new(0);
        let nothing_matches = |_: &[&[u8]]| {
            tried.set(tried.get() + 1);
            Choice::from(0)
        };
        let proof = proof.map_or(Proof::Response(&nothing_matches), Proof::Password);
        let attempt = Attempt { user: b"alice", proof, address: Address::Unknown };
        let Outcome::Decided(decision) = login(&policy, entry, &attempt, &|_, _| None, NOW) else {
            panic!("asks for a PIN");
        };
        assert_eq!(decision.reason, Reason::WrongCode);
        (COMPUTED.get(), tried.get())
    }

    #[test]
    fn a_wrong_code_costs_a_bounded_number_of_codes_however_many_tokens_there_are() {
        // Each window is 4 steps on both sides; a stored offset makes two of them.
        let tokens = |kind: &str, counter: i64, count: u64| {
            entry((0..count).map(|i| format!("{kind} alice - 00{i:02x} {counter}")))
        };
        for (kind, counter, count, window, old) in [
            ("HOTP/E", 1000, 1, 5, 100),
            ("HOTP/E", 7, 1, 5, 7),
            ("HOTP/E", 1000, 100, 500, 3000),
            ("HOTP/T30", 0, 1, 9, 2880),
            ("HOTP/T30", 100, 1, 18, 2880),
            ("HOTP/T7000", 0, 1, 9, 13),
            ("HOTP/T1", 0, 1, 9, 3000),
            ("HOTP/T30", 0, 2, 18, 3000),
            ("HOTP-SHA512/T30", 100, 100, 1800, 3000),
            ("HOTP-SHA512/T1", 100, 7, 7 * 18, 7 * (3000 / 7) + 4),
            // A stranger's guess hits one of 10^digits codes.
            ("HOTP/T30/4", 0, 1, 9, 50),
            ("HOTP/T30/5", 0, 100, 900, 3000),
            ("HOTP/T30/3", 0, 1, 9, 5),
            ("HOTP/E/2", 1000, 1, 5, 0),
            ("HOTP/T30/10", 0, 1, 9, 2880),
        ] {
            let entry = tokens(kind, counter, count);
            let digits = entry.lines[0].token.digits.count();
            let wrong = vec![b'z'; digits];
            assert_eq!(work(&entry, Some(&wrong)).0, window + old, "{kind}, {count} tokens");
            let (computed, tried) = work(&entry, None);
            assert_eq!(computed, window + old.min(100), "{kind}, {count} tokens, Digest");
            // Decimal, lower and upper case; and the forget request.
            assert!(tried <= 3 * computed + 1);
        }
    }

    #[test]
    fn lines_that_show_the_same_codes_are_searched_for_old_ones_once() {
        let same = |pin: &str| format!("HOTP/T30 alice {pin} 00");
        let wrong = Some(&b"1234zzzzzz"[..]);
        assert_eq!(work(&entry([same("1234"), same("1234")]), wrong).0, 9 + 9 + 2880);
        assert_eq!(work(&entry([same("1234"), same("4321")]), wrong).0, 9 + 2880);
        // Two Mobile-OTP codes of one key and two PINs are two codes.
        let motp = |pin: &str| format!("MOTP alice {pin} 00");
        let wrong = Some(&b"zzzzzz"[..]);
        assert_eq!(work(&entry([motp("1234"), motp("1234")]), wrong).0, 9 + 9 + 3000);
        assert_eq!(work(&entry([motp("1234"), motp("4321")]), wrong).0, 9 + 9 + 3000);
        let digest = |pins: [&str; 2]| work(&entry(pins.map(same)), None).0;
        assert_eq!((digest(["1", "1"]), digest(["1", "2"])), (9 + 9 + 100, 9 + 9 + 100));
    }

    #[test]
    fn what_is_to_be_shared_is_shared_fairly() {
        for (wanted, total, expected) in [
            (&[][..], 10, &[][..]),
            (&[5], 10, &[5]),
            (&[50], 10, &[10]),
            (&[0, 3, 2], 10, &[0, 3, 2]),
            (&[100, 1, 100], 10, &[4, 1, 5]),
            (&[7, 7, 7], 2, &[0, 1, 1]),
            (&[2880, 100, 2880], 3000, &[1450, 100, 1450]),
        ] {
            assert_eq!(shares(wanted, total), expected, "{wanted:?}");
        }
    }
}
