//! The result of a login: verdict, word, reason, and what to write.

use super::devices::Devices;
use super::pin::PinQuestion;
use crate::UnixTime;
use crate::policy::SESSIONS_MAX;
use crate::token::{
    COMPUTERS_MAX, Computer, ComputerId, Entry, PaperCode, Session, SessionId, SessionKind, State,
};

/// By then, most waiting logins have been answered.
const BUSY_SECONDS: u32 = 2;

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
    /// Refuse for a while, without checking the credentials.
    Throttled,
    /// The same, because too many others are being checked.
    Busy,
}

/// The word for logs: which rule decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // the names are the words
pub enum LoginResult {
    GrantedFresh,
    GrantedReuse,
    GrantedApp,
    GrantedTrusted,
    GrantedComputer,
    GrantedSession,
    DeniedPin,
    DeniedUser,
    DeniedCode,
    DeniedExpired,
    DeniedIp,
    DeniedLocked,
    DeniedApp,
    DeniedSession,
    DeniedThrottled,
    DeniedBusy,
    Forgotten,
    Unknown,
    Error,
}

impl LoginResult {
    /// All of them.
    pub const ALL: [LoginResult; 19] = [
        LoginResult::GrantedFresh,
        LoginResult::GrantedReuse,
        LoginResult::GrantedApp,
        LoginResult::GrantedTrusted,
        LoginResult::GrantedComputer,
        LoginResult::GrantedSession,
        LoginResult::DeniedPin,
        LoginResult::DeniedUser,
        LoginResult::DeniedCode,
        LoginResult::DeniedExpired,
        LoginResult::DeniedIp,
        LoginResult::DeniedLocked,
        LoginResult::DeniedApp,
        LoginResult::DeniedSession,
        LoginResult::DeniedThrottled,
        LoginResult::DeniedBusy,
        LoginResult::Forgotten,
        LoginResult::Unknown,
        LoginResult::Error,
    ];

    /// As logged; one of a closed list that scripts may rely on.
    pub fn as_str(self) -> &'static str {
        match self {
            LoginResult::GrantedFresh => "granted-fresh",
            LoginResult::GrantedReuse => "granted-reuse",
            LoginResult::GrantedApp => "granted-app",
            LoginResult::GrantedTrusted => "granted-trusted",
            LoginResult::GrantedComputer => "granted-computer",
            LoginResult::GrantedSession => "granted-session",
            LoginResult::DeniedPin => "denied-pin",
            LoginResult::DeniedUser => "denied-user",
            LoginResult::DeniedCode => "denied-code",
            LoginResult::DeniedExpired => "denied-expired",
            LoginResult::DeniedIp => "denied-ip",
            LoginResult::DeniedLocked => "denied-locked",
            LoginResult::DeniedApp => "denied-app",
            LoginResult::DeniedSession => "denied-session",
            LoginResult::DeniedThrottled => "denied-throttled",
            LoginResult::DeniedBusy => "denied-busy",
            LoginResult::Forgotten => "forgotten",
            LoginResult::Unknown => "unknown",
            LoginResult::Error => "error",
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
    NotACode,
    CodeMissing,
    WrongPin,
    NoPinExpected,
    PinUnknown,
    PinSourceFailed,
    NoPinSource,
    MotpWithExternalPin,
    DigestNeedsPlainPin,
    NotAdmitted,
    GroupFileFailed,
    Reused,
    Expired,
    NoCookie,
    AddressChanged,
    NoAddress,
    Fresh,
    Spent,
    FloorInFuture,
    CounterExhausted,
    Trusted,
    Computer,
    App,
    WrongApp,
    AppsOff,
    AppsClosed,
    AppEnded,
    AppMethod,
    AppPath,
    ListUsedUp,
    WrongCode,
    TokenChanged,
    Session,
    SessionOver,
    SessionExpired,
    SessionTokenChanged,
    SessionAddressChanged,
    SessionNoAddress,
    SessionNeedsCode,
    OtherPlace,
    FreshCodeNeeded,
    LoggedOut,
    StoreFailed,
}

impl Reason {
    /// Whether an admin has something to fix.
    pub fn is_fault(self) -> bool {
        matches!(
            self,
            Reason::Unreadable
                | Reason::TooManyLines
                | Reason::PinSourceFailed
                | Reason::NoPinSource
                | Reason::MotpWithExternalPin
                | Reason::DigestNeedsPlainPin
                | Reason::GroupFileFailed
                | Reason::NoAddress
                | Reason::SessionNoAddress
                | Reason::FloorInFuture
                | Reason::CounterExhausted
                | Reason::ListUsedUp
                | Reason::StoreFailed
        )
    }

    /// For the log, after the word.
    pub fn text(self) -> &'static str {
        match self {
            Reason::Malformed => {
                "the user name or password contains control characters or is too long"
            }
            Reason::NotListed => "not listed",
            Reason::Twin => {
                "another spelling of a listed name; if they are two people, add `#@ apart NAME` to the users file"
            }
            Reason::Unreadable => "one of the user's lines can't be read",
            Reason::TooManyLines => "the user has too many lines; see the previous message",
            Reason::AllTokensOff => "all tokens of the user are switched off",
            Reason::Busy => "too many logins are waiting; retry in 2 s",
            Reason::Throttled => "too many wrong PINs or codes",
            Reason::Locked => "too many wrong codes; unlock with `otpgate unlock`",
            Reason::Forgotten => "the code was forgotten as requested",
            Reason::NothingToForget => "asked to forget, but no code lingers",
            Reason::TooShort => "the password is shorter than a code",
            Reason::NotACode => "not as long as a code of the user's",
            Reason::CodeMissing => "the right PIN, but no code after it",
            Reason::WrongPin => "wrong PIN",
            Reason::NoPinExpected => "text before the code, but the token has no PIN",
            Reason::PinUnknown => "no PIN provider or PIN file knows the user",
            Reason::PinSourceFailed => {
                "the PIN provider or PIN file can't be used; see the previous message"
            }
            Reason::NoPinSource => {
                "the PIN must be checked elsewhere (+), but no PIN provider or PIN file is configured"
            }
            Reason::MotpWithExternalPin => "a Mobile-OTP token can't have an external PIN",
            Reason::DigestNeedsPlainPin => {
                "Digest can't check a hashed or external PIN (+); use Basic here, or a PIN in the clear"
            }
            Reason::NotAdmitted => "not among the users and groups that this place lets in",
            Reason::GroupFileFailed => "the group file can't be used; see the next message",
            Reason::Reused => "the lingering code",
            Reason::Expired => "the last accepted code, which has expired",
            Reason::NoCookie => {
                "the last accepted code: a code is good for one browser here, which has its cookie"
            }
            Reason::AddressChanged => "the last accepted code, but from another address",
            Reason::NoAddress => {
                "the last accepted code, but the client has no address, as on a unix socket: tell the server the address (set_real_ip_from unix: with real_ip_header, or proxy_protocol), or set auth_otp_logout_on_ip_change off"
            }
            Reason::Fresh => "a new code",
            Reason::Spent => "an older or skipped code",
            Reason::FloorInFuture => {
                "the last accepted time step is in the future, because a clock was wrong; correct it with `otpgate resync`"
            }
            Reason::CounterExhausted => {
                "the token's counter has reached its end; give it a new key with `otpgate rekey`"
            }
            Reason::Trusted => "the PIN alone, from a trusted network",
            Reason::Computer => "the PIN alone, on a trusted computer",
            Reason::App => "the password of an app",
            Reason::WrongApp => "no app of the user's has this password",
            Reason::AppsOff => "the password of an app, which lets nobody in here",
            Reason::AppsClosed => {
                "the user's apps are closed by an `#@ always` line of the users file"
            }
            Reason::AppEnded => "the password of an app whose last day is over",
            Reason::AppMethod => "the password of an app, for a method that it isn't for",
            Reason::AppPath => {
                "the password of an app, for a path that it isn't for or that isn't in normal form"
            }
            Reason::ListUsedUp => {
                "the user's paper list is used up; print a new one with `otpgate paper --again`"
            }
            Reason::WrongCode => "wrong code",
            Reason::TokenChanged => {
                "the token was changed or switched off since this request was let in elsewhere"
            }
            Reason::Session => "a session",
            Reason::SessionOver => "a session that has ended",
            Reason::SessionExpired => "a session past its time",
            Reason::SessionTokenChanged => {
                "a session whose token was changed, switched off or removed"
            }
            Reason::SessionAddressChanged => "a session, but from another address",
            Reason::SessionNoAddress => {
                "a session, but the client has no address, as on a unix socket: tell the server the address (set_real_ip_from unix: with real_ip_header, or proxy_protocol), or set auth_otp_logout_on_ip_change off"
            }
            Reason::SessionNeedsCode => "a session without a code, which isn't enough here",
            Reason::OtherPlace => "a session of another place, or of other settings",
            Reason::FreshCodeNeeded => "a session whose code is too old here",
            Reason::LoggedOut => "the session was ended as requested",
            Reason::StoreFailed => "the users file can't be used",
        }
    }
}

/// The result of [`login`](super::login).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Get this answered, then call again.
    NeedPin(PinQuestion),
    /// Decided.
    Decided(Decision),
}

/// The decision on one attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// What the server is to do.
    pub verdict: Verdict,
    /// Which rule decided.
    pub word: LoginResult,
    /// Why.
    pub reason: Reason,
    /// What must be written.
    pub changes: Vec<StateChange>,
    /// The answer holds even if `changes` can't be saved (a refreshed idle time).
    pub changes_are_optional: bool,
    /// Whether fields 5 to 10 mattered. If not, no lock can change the decision.
    pub depends_on_state: bool,
    /// On a grant: what it rests on.
    pub accepted: Option<Accepted>,
    /// On a grant of a fresh code of a printed list: which one it was.
    pub paper: Option<PaperCode>,
    /// On a refusal: the number of the code of the user's printed list that is next, for whoever may
    /// know it.
    pub paper_next: Option<u16>,
    /// On a grant of the lingering code that writes nothing: until then, the same attempt on the
    /// same lines gives the same result.
    pub stands_until: Option<UnixTime>,
    /// For [`Verdict::Throttled`] and [`Verdict::Busy`]: seconds until the next try.
    pub retry_after: Option<u32>,
    /// A PIN or a code was checked and is wrong, whatever the answer; or the place doesn't let the
    /// user in, which is answered as if it were.
    pub is_wrong_guess: bool,
    /// The whole password was held against PINs, because the PIN alone is enough here.
    pub read_pin_alone: bool,
    /// On a grant by a PIN alone: of which of the entry's lines.
    pub by_pin_of: Option<u8>,
    /// On a grant by a PIN alone on a trusted computer: which cookie the computer gets.
    pub next_cookie: Option<NextCookie>,
    /// Sessions and computers of the user to be ended.
    pub ended: Ended,
    /// Digest: how many wrong responses there were before, and the time of the last.
    pub wrong_responses: (u32, UnixTime),
}

/// Which cookie a trusted computer gets with a login.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NextCookie {
    /// The one that it was given last, as for another login at the same moment.
    SameAgain,
    /// Another one.
    Another,
}

impl NextCookie {
    /// Its number, after the one of the cookie that was given last.
    pub fn generation(self, last: u32) -> u32 {
        match self {
            NextCookie::SameAgain => last,
            NextCookie::Another => last + 1,
        }
    }
}

/// Some of the entry's sessions and computers, by their numbers: small, because every decision has a
/// place for it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ended {
    sessions: u16,
    computers: u8,
    is_by_copy: bool,
}

const _: () = assert!(SESSIONS_MAX as u32 <= u16::BITS && COMPUTERS_MAX as u32 <= u8::BITS);

impl Ended {
    /// The sessions that are meant.
    pub(super) fn sessions(entry: &Entry, is_meant: impl Fn(&Session) -> bool) -> Ended {
        let sessions = entry.ways.sessions.iter().take(SESSIONS_MAX.into()).enumerate();
        let meant = sessions.filter(|(_, session)| is_meant(session));
        let sessions = meant.fold(0, |all, (number, _)| all | 1 << number);
        Ended { sessions, ..Ended::default() }
    }

    /// The computers that are meant, and the sessions that began on one of them; those of others with
    /// the same token can't be told from these.
    pub(super) fn computers(entry: &Entry, is_meant: impl Fn(&Computer) -> bool) -> Ended {
        let computers = entry.ways.computers.iter().take(COMPUTERS_MAX.into()).enumerate();
        let meant: Vec<_> = computers.filter(|(_, computer)| is_meant(computer)).collect();
        let began_there = |session: &Session| {
            session.kind == SessionKind::Computer
                && meant.iter().any(|(_, computer)| computer.token == session.token)
        };
        let computers = meant.iter().fold(0, |all, (number, _)| all | 1 << number);
        Ended { computers, ..Ended::sessions(entry, began_there) }
    }

    /// These, because somebody has a copy of their cookie.
    pub(super) fn by_copy(self) -> Ended {
        Ended { is_by_copy: !self.is_empty(), ..self }
    }

    /// These and others.
    pub(super) fn with(self, other: Ended) -> Ended {
        Ended {
            sessions: self.sessions | other.sessions,
            computers: self.computers | other.computers,
            is_by_copy: self.is_by_copy || other.is_by_copy,
        }
    }

    /// Whether there are none.
    pub fn is_empty(self) -> bool {
        self.sessions == 0 && self.computers == 0
    }

    /// Whether some end because somebody has a copy of a cookie.
    pub fn are_copied(self) -> bool {
        self.is_by_copy
    }

    /// Whether computers are among them.
    pub fn has_computers(self) -> bool {
        self.computers != 0
    }

    /// Whether a session is one of them; `entry` is the one that was decided on.
    pub fn has_session(self, entry: &Entry, id: SessionId) -> bool {
        let sessions = entry.ways.sessions.iter().take(SESSIONS_MAX.into()).enumerate();
        sessions.into_iter().any(|(number, it)| it.id == id && self.sessions & 1 << number != 0)
    }

    /// The same of a computer.
    pub fn has_computer(self, entry: &Entry, id: ComputerId) -> bool {
        let computers = entry.ways.computers.iter().take(COMPUTERS_MAX.into()).enumerate();
        computers.into_iter().any(|(number, it)| it.id == id && self.computers & 1 << number != 0)
    }
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

/// New state for one of the entry's lines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StateChange {
    /// Which of the entry's lines.
    pub line: usize,
    /// What it becomes.
    pub state: State,
}

impl Decision {
    pub(super) fn new(verdict: Verdict, word: LoginResult, reason: Reason) -> Decision {
        Decision {
            verdict,
            word,
            reason,
            changes: Vec::new(),
            changes_are_optional: false,
            depends_on_state: true,
            accepted: None,
            paper: None,
            paper_next: None,
            stands_until: None,
            retry_after: None,
            is_wrong_guess: false,
            read_pin_alone: false,
            by_pin_of: None,
            next_cookie: None,
            ended: Ended::default(),
            wrong_responses: (0, 0),
        }
    }

    /// Nothing could be decided.
    pub fn error() -> Decision {
        Decision::new(Verdict::Error, LoginResult::Error, Reason::StoreFailed)
    }

    /// Too many wrong tries; the next one is allowed after this many seconds.
    pub(crate) fn throttled(seconds: u32) -> Decision {
        let decision =
            Decision::new(Verdict::Throttled, LoginResult::DeniedThrottled, Reason::Throttled);
        Decision { retry_after: Some(seconds), ..decision }.whatever_the_state()
    }

    /// Too many are waiting.
    pub(crate) fn busy() -> Decision {
        let decision = Decision::new(Verdict::Busy, LoginResult::DeniedBusy, Reason::Busy);
        Decision { retry_after: Some(BUSY_SECONDS), ..decision }.whatever_the_state()
    }

    /// Too many wrong Digest responses.
    pub(crate) fn locked() -> Decision {
        Decision::denied(LoginResult::DeniedLocked, Reason::Locked).whatever_the_state()
    }

    /// The lingering code again, accepted as before.
    pub(crate) fn repeat_of(accepted: Accepted) -> Decision {
        let decision = Decision::new(Verdict::Granted, LoginResult::GrantedReuse, Reason::Reused);
        Decision { accepted: Some(accepted), ..decision }
    }

    pub(super) fn denied(word: LoginResult, reason: Reason) -> Decision {
        Decision::new(Verdict::Denied, word, reason)
    }

    /// The PIN alone, right in another place of the same request, where this place wants a code.
    pub(crate) fn code_missing() -> Decision {
        Decision::denied(LoginResult::DeniedCode, Reason::CodeMissing).whatever_the_state()
    }

    pub(super) fn after_a_wrong_guess(self) -> Decision {
        Decision { is_wrong_guess: true, ..self }
    }

    pub(super) fn whatever_the_state(self) -> Decision {
        Decision { depends_on_state: false, ..self }
    }

    pub(super) fn with_changes_of(self, devices: Devices) -> Decision {
        Decision { changes: devices.into_changes(), ..self }
    }
}
