//! The ways to log in to a section.

use std::borrow::Cow;
use std::ffi::CStr;
use std::hash::Hasher as _;
use std::net::IpAddr;
use std::sync::Arc;

use rustc_hash::FxHasher;

use super::admission::{ForUser, Reading};
use super::browser::{Browser, Response};
use super::challenge::log_no_zone;
use super::cookie::Cookie;
use super::event::tls_setting;
use super::gates::GateRef;
use super::unfit;
use super::{Section, Site};
use crate::decide::{LoginResult, PinAnswer, Reason, Verdict};
use crate::gate::nonces::{Nonces, SharedMemory};
use crate::gate::{
    Answer, BrowserLogin, DigestAnswer, DigestLogin, DigestRequest, Gate, Login, Match, PinSource,
    RequestMemory,
};
use crate::http::target::Target;
use crate::http::{AuthScheme, auth_scheme, basic, digest};
use crate::log::{Level, Log, Quoted};
use crate::pin::file::PinFile;
use crate::policy::{self, PinAlone, Server, Settings};
use crate::store::LoopTurn;
use crate::token::{Address, is_app_password};
use crate::users::file::UsersFile;

/// The server's own way to check PINs marked `+`.
pub trait Providers {
    /// Asks those that the section names, in turn. Called without any lock held.
    fn check(&self, user: &[u8], pin: &[u8]) -> PinAnswer;
}

/// A request to a section: what all ways to log in have in common.
pub struct Request<'a> {
    /// Where it leads.
    pub section: &'a Section<'a>,
    /// The client's address, as far as the server knows.
    pub address: Option<IpAddr>,
    /// Whether it came over TLS.
    pub has_tls: bool,
    /// It is a sub-request that the server runs without asking for a login: nothing is decided
    /// afresh.
    pub is_part: bool,
    /// It comes from a PIN provider that the library itself is asking.
    pub is_for_pin: bool,
    /// The turn of the event loop.
    pub turn: LoopTurn,
    /// What checks PINs if no PIN file is set. `None`: nothing.
    pub providers: Option<&'a dyn Providers>,
    /// The server's log.
    pub log: &'a dyn Log,
}

/// Credentials of a Basic login.
pub struct BasicCredentials<'a> {
    /// As the server has read them.
    pub user: &'a [u8],
    /// As the server has read them.
    pub password: &'a [u8],
    /// The header they are from, if the server has read them up to a NUL only; else empty.
    pub authorization: &'a [u8],
    /// What they are for.
    pub target: Target<'a>,
}

/// Credentials of a Digest login.
pub struct DigestCredentials<'a> {
    /// The realm of the place.
    pub realm: &'a [u8],
    /// The request's method; for [`Site::digest`] a request line will do.
    pub method: &'a [u8],
    /// The request's target, as it stands in the request line.
    pub target: &'a [u8],
    /// The header's value.
    pub authorization: &'a [u8],
    /// The nonces of this server.
    pub zone: Option<&'a dyn SharedMemory>,
}

/// Providers by the names that a section gives them.
struct Named<'a> {
    settings: &'a Settings<'a>,
    providers: Option<&'a dyn Providers>,
}

impl PinSource for Named<'_> {
    fn identity(&self) -> Vec<u8> {
        match self.providers {
            Some(_) => self.settings.pin_provider_names().join(&0),
            None => Vec::new(),
        }
    }

    /// The same name may mean other settings in the next section.
    fn is_known_by_identity(&self) -> bool {
        false
    }

    fn check(&self, user: &[u8], pin: &[u8]) -> PinAnswer {
        self.providers.map_or(PinAnswer::NoSource, |providers| providers.check(user, pin))
    }
}

/// What is to be told about a login, and sent to the browser that it comes from.
#[derive(Debug)]
pub struct Replied {
    /// What was decided.
    pub answer: Answer,
    /// What is to be sent, or to be added.
    pub response: Option<Response>,
}

impl From<Answer> for Replied {
    fn from(answer: Answer) -> Replied {
        Replied { answer, response: None }
    }
}

impl Request<'_> {
    pub(super) fn client(&self) -> Address {
        Address::of_client(self.address)
    }
}

impl Site {
    /// Decides a Basic login and writes one log line. `browser`: what else the request says, which
    /// matters where cookies are used.
    pub fn basic<'b>(
        &self,
        request: &Request<'_>,
        credentials: &BasicCredentials<'_>,
        browser: impl FnOnce() -> Browser<'b>,
        judged: Option<&mut RequestMemory>,
    ) -> Replied {
        let Some(place) = self.for_basic(request, credentials, Reading::Allowed) else {
            return Answer::error().into();
        };
        if place.policy.cookie.is_some() {
            let reading = Reading::Allowed;
            let replied =
                self.basic_of_browser(request, credentials, &browser(), &place, judged, reading);
            return replied.unwrap_or_else(|| Answer::error().into());
        }
        let answer =
            self.of_basic(request, credentials, judged, |gate, login, pins, mut judged| {
                let (policy, log) = (&place.policy, request.log);
                let of_app = self
                    .target_of_app(request, credentials)
                    .and_then(|target| gate.app(policy, login, target, judged.as_deref_mut(), log));
                of_app.or_else(|| Some(gate.basic(policy, login, pins, judged, log)))
            });
        let answer = answer.unwrap_or_else(Answer::error);
        place.log_fault(&answer, credentials.user, request);
        answer.into()
    }

    /// The same if it can be decided at once. `None`: it can't, and nothing was changed or logged.
    pub fn basic_now<'b>(
        &self,
        request: &Request<'_>,
        credentials: &BasicCredentials<'_>,
        browser: impl FnOnce() -> Browser<'b>,
        judged: Option<&mut RequestMemory>,
    ) -> Option<Replied> {
        let place = self.for_basic(request, credentials, Reading::No)?;
        if place.policy.cookie.is_some() {
            let reading = Reading::No;
            return self.basic_of_browser(
                request,
                credentials,
                &browser(),
                &place,
                judged,
                reading,
            );
        }
        let policy = place.policy;
        let answer =
            self.of_basic(request, credentials, judged, |gate, login, pins, mut judged| {
                let (turn, log) = (request.turn, request.log);
                if let Some(target) = self.target_of_app(request, credentials) {
                    let judged = judged.as_deref_mut();
                    if let Some(answer) = gate.app_now(&policy, login, target, turn, judged, log)? {
                        return Some(answer);
                    }
                }
                gate.basic_now(&policy, login, pins, turn, judged, log)
            });
        answer.map(Replied::from)
    }

    /// A Basic login where cookies are used: the cookie decides if it is the same user's and holds,
    /// else the credentials do. `None`: not to be decided on an event loop.
    fn basic_of_browser(
        &self,
        request: &Request<'_>,
        credentials: &BasicCredentials<'_>,
        browser: &Browser<'_>,
        place: &ForUser,
        judged: Option<&mut RequestMemory>,
        reading: Reading,
    ) -> Option<Replied> {
        let gate = match self.gate_for(request) {
            Ok(gate) => gate,
            Err(refused) => return Some(refused.into()),
        };
        let (policy, log, turn) = (&place.policy, request.log, request.turn);
        let seat = self.seat(request, browser);
        let mut judged = judged;
        let of_place = (&*gate, policy, &seat);
        let seen =
            self.look(request, of_place, Some(credentials), judged.as_deref_mut(), reading)?;
        let known = match seen {
            Cookie::Answered(answer, _) => {
                let response = Response::to_a_cookie(&answer);
                return Some(Replied { answer, response });
            }
            Cookie::Failed(answer) => return Some(answer.into()),
            Cookie::Refused(_, known) => Some(known),
            Cookie::Aside(known) => known,
        };
        let answer = self.of_basic(request, credentials, judged, |gate, login, pins, judged| {
            let (of, login_of) =
                (self.target_of_app(request, credentials), seat.login(known.as_ref()));
            let (browser, mut judged) = (Some(&login_of), judged);
            match reading {
                Reading::Allowed => {
                    let of_app = of.and_then(|target| {
                        gate.app(policy, login, target, judged.as_deref_mut(), log)
                    });
                    of_app.or_else(|| {
                        Some(gate.basic_of_browser(policy, login, browser, pins, judged, log))
                    })
                }
                Reading::No => {
                    if let Some(target) = of {
                        let judged = judged.as_deref_mut();
                        let decided = gate.app_now(policy, login, target, turn, judged, log)?;
                        if let Some(answer) = decided {
                            return Some(answer);
                        }
                    }
                    gate.basic_of_browser_now(policy, login, browser, pins, turn, judged, log)
                }
            }
        });
        let answer = match (answer, reading) {
            (Some(answer), _) => answer,
            (None, Reading::No) => return None,
            (None, Reading::Allowed) => Answer::error(),
        };
        place.log_fault(&answer, credentials.user, request);
        Some(self.replied(request, (&gate, &seat), browser, answer))
    }

    /// Decides what was sent to the page to log in: user, and PIN and code as one password.
    pub(super) fn by_page(
        &self,
        request: &Request<'_>,
        credentials: &BasicCredentials<'_>,
        browser: &BrowserLogin<'_>,
        judged: &mut RequestMemory,
    ) -> Answer {
        let Some(place) = self.for_basic(request, credentials, Reading::Allowed) else {
            return Answer::error();
        };
        let answer =
            self.of_basic(request, credentials, Some(judged), |gate, login, pins, judged| {
                let (policy, log) = (&place.policy, request.log);
                Some(gate.basic_of_browser(policy, login, Some(browser), pins, judged, log))
            });
        let answer = answer.unwrap_or_else(Answer::error);
        place.log_fault(&answer, credentials.user, request);
        answer
    }

    /// What the credentials are for, if they may be a program's: not those of a form, which makes a
    /// session of them.
    fn target_of_app<'a>(
        &self,
        request: &Request<'_>,
        credentials: &'a BasicCredentials<'_>,
    ) -> Option<&'a Target<'a>> {
        let BasicCredentials { user, password, authorization, target } = credentials;
        if !is_app_password(password) || request.section.settings.asked.is_of_type("Form") {
            return None;
        }
        // httpd has the header that a form's credentials aren't from.
        let is_sent = self.server() == Server::Nginx
            || basic::credentials(authorization)
                .is_some_and(|(sent, its)| sent == *user && its[..] == **password);
        is_sent.then_some(target)
    }

    fn for_basic(
        &self,
        request: &Request<'_>,
        credentials: &BasicCredentials<'_>,
        reading: Reading,
    ) -> Option<ForUser> {
        self.for_client(request, || credentials.user.into(), reading)
    }

    /// The section's policy for a user and the client's address. `None`: not without reading.
    pub(super) fn for_client<'u>(
        &self,
        request: &Request<'_>,
        user: impl FnOnce() -> Cow<'u, [u8]>,
        reading: Reading,
    ) -> Option<ForUser> {
        let section = request.section;
        let mut policy = section.policy(self.server());
        if request.address.is_some_and(|address| section.settings.trusts(address)) {
            policy.pin_alone = PinAlone::Here;
        }
        self.for_user(policy, request, user, reading)
    }

    /// Which PIN source is asked here.
    pub(super) fn pins_identity(&self, request: &Request<'_>) -> Vec<u8> {
        let settings = &request.section.settings;
        match settings.pin_file {
            Some(file) => PinFile::new(self.gates.path(file.value), request.log).identity(),
            None => Named { settings, providers: request.providers }.identity(),
        }
    }

    fn for_digest<'u>(
        &self,
        request: &Request<'_>,
        user: impl FnOnce() -> Cow<'u, [u8]>,
        reading: Reading,
    ) -> Option<ForUser> {
        let policy = request.section.settings.digest_policy(self.server());
        self.for_user(policy, request, user, reading)
    }

    fn of_basic(
        &self,
        request: &Request<'_>,
        credentials: &BasicCredentials<'_>,
        judged: Option<&mut RequestMemory>,
        decide: impl FnOnce(
            &Gate<UsersFile>,
            &Login<'_>,
            &dyn PinSource,
            Option<&mut RequestMemory>,
        ) -> Option<Answer>,
    ) -> Option<Answer> {
        let gate = match self.gate_for(request) {
            Ok(gate) => gate,
            Err(refused) => return Some(refused),
        };
        if credentials.hides_a_nul() {
            let (reason, user) = (Reason::Malformed.text(), Quoted(credentials.user));
            request.log.log(Level::Refusal, format_args!("denied-code: {reason}, user {user}"));
            return Some(Answer::plain(Verdict::Denied, LoginResult::DeniedCode));
        }
        let BasicCredentials { user, password, .. } = *credentials;
        let login = Login { user, password, address: request.client() };
        if request.is_part && !gate.has_granted(&login, judged.as_deref()) {
            return Some(Answer::no_part());
        }
        let settings = &request.section.settings;
        match settings.pin_file {
            Some(file) => {
                let pins = PinFile::new(self.gates.path(file.value), request.log);
                decide(&gate, &login, &pins, judged)
            }
            None => {
                decide(&gate, &login, &Named { settings, providers: request.providers }, judged)
            }
        }
    }

    /// What is to be answered before a server that can't answer so afterwards asks for the PIN of a
    /// Basic login. `None`: nothing. Needn't be asked about a header of which [`is_granted_header`]
    /// says so.
    /// `browser` as for [`Site::basic`].
    pub fn admit<'b>(
        &self,
        request: &Request<'_>,
        authorization: &[u8],
        browser: impl FnOnce() -> Browser<'b>,
    ) -> Option<Answer> {
        let section = request.section;
        if !section.is_asked_by_basic() {
            return None;
        }
        let (user, password) = basic::credentials(authorization)?;
        let policy = section.policy(self.server());
        let login = Login { user: &user, password: &password, address: request.client() };
        // What is wrong with the place is said by who decides.
        if policy.cookie.is_some() && self.is_let_in_by_cookie(request, &browser(), &user) {
            return None;
        }
        let answer = self.gate(section)?.refuse_beforehand(&policy, &login, request.log)?;
        matches!(answer.verdict, Verdict::Throttled | Verdict::Busy).then_some(answer)
    }

    /// First half of a Digest login whose nonce the server looks after. Such servers speak MD5.
    pub fn digest_match(
        &self,
        request: &Request<'_>,
        user: &[u8],
        credentials: &DigestCredentials<'_>,
        judged: Option<&mut RequestMemory>,
    ) -> Match {
        let Some(place) = self.for_digest(request, || user.into(), Reading::Allowed) else {
            return Match::Refused(Answer::error());
        };
        let found = self.half(request, user, credentials, |gate, login| {
            gate.digest_match(&place.policy, login, judged, request.log)
        });
        let found = found.unwrap_or_else(Match::Refused);
        if let Match::Refused(answer) = &found {
            place.log_fault(answer, user, request);
        }
        found
    }

    /// Second half, once the server has accepted the nonce.
    pub fn digest_spend(
        &self,
        request: &Request<'_>,
        user: &[u8],
        credentials: &DigestCredentials<'_>,
        judged: Option<&mut RequestMemory>,
    ) -> Answer {
        let Some(place) = self.for_digest(request, || user.into(), Reading::Allowed) else {
            return Answer::error();
        };
        let spent = self.half(request, user, credentials, |gate, login| {
            gate.digest_spend(&place.policy, login, judged, request.log)
        });
        let answer = spent.unwrap_or_else(|refused| refused);
        place.log_fault(&answer, user, request);
        answer
    }

    fn half<R>(
        &self,
        request: &Request<'_>,
        user: &[u8],
        credentials: &DigestCredentials<'_>,
        decide: impl FnOnce(&Gate<UsersFile>, &DigestLogin<'_>) -> R,
    ) -> Result<R, Answer> {
        let (log, header) = (request.log, credentials.authorization);
        self.may_judge(request)?;
        // mod_auth_basic asks for a Digest hash of its own accord where it is told to.
        if auth_scheme(header).0 == AuthScheme::Basic {
            let text = "AuthBasicUseDigestAlgorithm cannot work with one-time passwords: remove it from this section";
            log.log(Level::Error, format_args!("{text}"));
            return Err(Answer::plain(Verdict::Denied, LoginResult::Error));
        }
        let gate = self.gate_for(request)?;
        let Some(sent) = digest::Credentials::parse(header) else {
            // The server has read it before us, so this is no everyday noise.
            let text = "denied-code: the Digest header is not well formed";
            log.log(Level::Error, format_args!("{text}, user {}", Quoted(user)));
            return Err(Answer::plain(Verdict::Denied, LoginResult::DeniedCode));
        };
        let exchange = Arc::new(digest::Exchange {
            algorithm: digest::DigestAlgorithm::Md5,
            realm: credentials.realm.to_vec(),
            method: credentials.method.to_vec(),
            sent,
        });
        Ok(decide(&gate, &DigestLogin { user, exchange: &exchange, address: request.client() }))
    }

    /// Decides a Digest login, nonce and nonce count included.
    pub fn digest(
        &self,
        request: &Request<'_>,
        credentials: &DigestCredentials<'_>,
        judged: Option<&mut RequestMemory>,
    ) -> DigestAnswer {
        let Some(place) = self.for_digest(request, || credentials.user().into(), Reading::Allowed)
        else {
            return undecided(Answer::error());
        };
        let decided = self.whole(request, credentials, judged, |gate, asked, judged| {
            Some(gate.digest(&place.policy, asked, judged, request.log))
        });
        let decided = decided.unwrap_or_else(|| undecided(Answer::error()));
        if let DigestAnswer::Decided { answer, user } = &decided {
            place.log_fault(answer, user, request);
        }
        decided
    }

    /// The same if it can be decided at once.
    pub fn digest_now(
        &self,
        request: &Request<'_>,
        credentials: &DigestCredentials<'_>,
        judged: Option<&mut RequestMemory>,
    ) -> Option<DigestAnswer> {
        let ForUser { policy, .. } =
            self.for_digest(request, || credentials.user().into(), Reading::No)?;
        self.whole(request, credentials, judged, |gate, asked, judged| {
            gate.digest_now(&policy, asked, request.turn, judged, request.log)
        })
    }

    fn whole(
        &self,
        request: &Request<'_>,
        credentials: &DigestCredentials<'_>,
        judged: Option<&mut RequestMemory>,
        decide: impl FnOnce(
            &Gate<UsersFile>,
            &DigestRequest<'_>,
            Option<&mut RequestMemory>,
        ) -> Option<DigestAnswer>,
    ) -> Option<DigestAnswer> {
        let gate = match self.gate_for(request) {
            Ok(gate) => gate,
            Err(refused) => return Some(undecided(refused)),
        };
        let Some(nonces) = credentials.zone.and_then(Nonces::new) else {
            log_no_zone(request.log);
            return Some(undecided(Answer::error()));
        };
        let asked = DigestRequest {
            realm: credentials.realm,
            algorithms: request.section.settings.digest_algorithms(),
            method: credentials.method,
            target: credentials.target,
            authorization: credentials.authorization,
            address: request.client(),
            nonces: &nonces,
        };
        if request.is_part && !gate.has_granted_digest(&asked, judged.as_deref()) {
            return Some(undecided(Answer::no_part()));
        }
        decide(&gate, &asked, judged)
    }

    /// Says why nothing is decided about credentials that the section doesn't ask for.
    pub fn log_unfit(&self, request: &Request<'_>, authorization: &[u8]) {
        let (reason, user) = unfit::reason(authorization, request.section.settings.scheme());
        request.log.log(
            Level::Refusal,
            format_args!("nothing decided: {reason}; a challenge is sent, user {}", Quoted(&user)),
        );
    }

    /// Whether a login may be looked at at all. `Err`: not here; that is logged.
    fn may_judge(&self, request: &Request<'_>) -> Result<(), Answer> {
        if request.is_for_pin {
            let text = "OTPAuthPINAuthProvider leads back to OTP: a one-time password cannot be the PIN of a one-time password";
            request.log.log(Level::Error, format_args!("{text}"));
            return Err(Answer::error());
        }
        if !request.has_tls && request.section.settings.requires_tls() {
            let name = tls_setting(self.server());
            request.log.log(Level::Refusal, format_args!("{name}: login without TLS refused"));
            return Err(Answer::plain(Verdict::Denied, LoginResult::Error));
        }
        Ok(())
    }

    /// The gate that decides a login. `Err`: nobody does; that is logged.
    pub(super) fn gate_for(&self, request: &Request<'_>) -> Result<GateRef<'_>, Answer> {
        self.may_judge(request)?;
        if request.section.settings.users_file.is_none() {
            let name = policy::users_file_setting(self.server());
            let text = "is set here or above; add one to this section";
            request.log.log(Level::Error, format_args!("error: no {name} {text}"));
            return Err(Answer::error());
        }
        self.gate(request.section).ok_or_else(|| {
            request.log.log(
                Level::Error,
                format_args!("error: the system has no random bytes; see its log"),
            );
            Answer::error()
        })
    }

    pub(super) fn gate(&self, section: &Section<'_>) -> Option<GateRef<'_>> {
        self.gates.of(section.settings.users_file?.value, section.gate)
    }
}

fn undecided(answer: Answer) -> DigestAnswer {
    DigestAnswer::Decided { answer, user: Vec::new() }
}

impl DigestCredentials<'_> {
    /// The name in the header; of one that isn't well formed, which is refused: none.
    fn user(&self) -> Vec<u8> {
        digest::Credentials::parse(self.authorization).map(|sent| sent.username).unwrap_or_default()
    }
}

impl BasicCredentials<'_> {
    /// Whether the server has the password only up to a NUL: then it is none to judge.
    fn hides_a_nul(&self) -> bool {
        let (header, read) = (self.authorization, self.user.len() + 1 + self.password.len());
        !header.is_empty() && !basic::is_of_length(header, read) && basic::hides_a_nul(header)
    }
}

/// Tells headers of one connection apart. Never 0, the number of a connection on which nothing was
/// granted.
pub fn granted_header(authorization: &[u8]) -> u64 {
    let mut hasher = FxHasher::default();
    hasher.write(authorization);
    // No more of it: it stays in memory.
    let hash = hasher.finish() >> 32;
    hash << 32 | authorization.len() as u64 | 1 << 31
}

/// Whether the connection has that number from a grant on this very header, as good as surely.
pub fn is_granted_header(number: u64, authorization: &[u8]) -> bool {
    number == granted_header(authorization)
}

/// A result word with the NUL that C expects.
pub fn result_word(word: LoginResult) -> &'static CStr {
    match word {
        LoginResult::GrantedFresh => c"granted-fresh",
        LoginResult::GrantedReuse => c"granted-reuse",
        LoginResult::GrantedApp => c"granted-app",
        LoginResult::GrantedTrusted => c"granted-trusted",
        LoginResult::GrantedComputer => c"granted-computer",
        LoginResult::GrantedSession => c"granted-session",
        LoginResult::DeniedPin => c"denied-pin",
        LoginResult::DeniedUser => c"denied-user",
        LoginResult::DeniedCode => c"denied-code",
        LoginResult::DeniedExpired => c"denied-expired",
        LoginResult::DeniedIp => c"denied-ip",
        LoginResult::DeniedLocked => c"denied-locked",
        LoginResult::DeniedApp => c"denied-app",
        LoginResult::DeniedSession => c"denied-session",
        LoginResult::DeniedThrottled => c"denied-throttled",
        LoginResult::DeniedBusy => c"denied-busy",
        LoginResult::Forgotten => c"forgotten",
        LoginResult::Unknown => c"unknown",
        LoginResult::Error => c"error",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_the_same_in_c() {
        for word in LoginResult::ALL {
            assert_eq!(result_word(word).to_str(), Ok(word.as_str()));
        }
    }
}
