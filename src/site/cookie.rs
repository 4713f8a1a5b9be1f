//! Requests of browsers that have a cookie of ours, or are given one.

use zeroize::Zeroizing;

use super::Site;
use super::admission::{ForUser, Reading};
use super::browser::{Browser, Responded, Response};
use super::gates::FileGate;
use super::login::{BasicCredentials, Replied, Request};
use crate::decide::{Reason, Verdict, may_ask_to_forget};
use crate::gate::{
    Answer, BrowserLogin, Cause, CookiePlace, KnownSession, RequestMemory, SetComputer, SetCookie,
};
use crate::http::cookie;
use crate::log::{Level, Log};
use crate::policy::{LingerCookie, Policy, Server};

/// A place as cookies see it, for one request.
pub(super) struct Seat<'a> {
    host: &'a [u8],
    realm: &'a [u8],
    pins: Vec<u8>,
    is_insecure: bool,
    header: &'a [u8],
}

impl<'a> Seat<'a> {
    pub(super) fn place(&self) -> CookiePlace<'_> {
        CookiePlace {
            host: self.host,
            realm: self.realm,
            pins: &self.pins,
            is_insecure: self.is_insecure,
        }
    }

    /// A login from there.
    pub(super) fn login<'b>(&'b self, known: Option<&'b KnownSession>) -> BrowserLogin<'b> {
        let place = self.place();
        BrowserLogin { place, known, is_page: false, computer: None, trusts: false }
    }

    /// The same by the page to log in.
    pub(super) fn login_by_page<'b>(&'b self, known: Option<&'b KnownSession>) -> BrowserLogin<'b> {
        BrowserLogin { is_page: true, ..self.login(known) }
    }

    pub(super) fn is_secure(&self) -> bool {
        !self.is_insecure
    }

    /// The header that says what is to become of the browser's cookie. `None`: none can.
    pub(super) fn header(&self, name: &str, set: &SetCookie) -> Option<Zeroizing<String>> {
        match set {
            SetCookie::Session { value } => cookie::set(name, value, self.is_secure(), None),
            SetCookie::End => Some(cookie::end(name, self.is_secure())?.into()),
        }
    }

    /// The same of its cookie as a trusted computer.
    pub(super) fn computer_header(
        &self,
        name: &str,
        set: &SetComputer,
    ) -> Option<Zeroizing<String>> {
        match set {
            SetComputer::Trusted { value, seconds } => {
                cookie::set(name, value, self.is_secure(), Some(*seconds))
            }
            SetComputer::End => Some(cookie::end(name, self.is_secure())?.into()),
        }
    }
}

/// What a cookie came to.
pub(super) enum Cookie {
    /// There is none of ours, or it is another user's, or a login comes first.
    Aside(Option<KnownSession>),
    /// The answer to the request.
    Answered(Answer, KnownSession),
    /// It doesn't let the request in.
    Refused(Answer, KnownSession),
    /// It can't be known whether it is one of ours.
    Failed(Answer),
}

impl Site {
    /// Decides by a cookie alone, for a request that came with nothing else that is asked for; with
    /// a response where the browser is to go to the page to log in.
    pub fn by_cookie(
        &self,
        request: &Request<'_>,
        browser: &Browser<'_>,
        judged: Option<&mut RequestMemory>,
    ) -> Responded {
        let decided = self.by_cookie_in(request, browser, judged, Reading::Allowed);
        decided.unwrap_or_else(|| decided_about(Answer::error(), Vec::new(), None))
    }

    /// The same if it can be decided at once. `None`: it can't, and nothing was changed or logged.
    pub fn by_cookie_now(
        &self,
        request: &Request<'_>,
        browser: &Browser<'_>,
        judged: Option<&mut RequestMemory>,
    ) -> Option<Responded> {
        self.by_cookie_in(request, browser, judged, Reading::No)
    }

    fn by_cookie_in(
        &self,
        request: &Request<'_>,
        browser: &Browser<'_>,
        judged: Option<&mut RequestMemory>,
        reading: Reading,
    ) -> Option<Responded> {
        let policy = request.section.policy(self.server());
        if policy.cookie.is_none() {
            return Some(Responded::default());
        }
        let gate = match self.gate_for(request) {
            Ok(gate) => gate,
            Err(refused) => return Some(decided_about(refused, Vec::new(), None)),
        };
        let seat = self.seat(request, browser);
        let seen = self.look(request, (&gate, &policy, &seat), None, judged, reading)?;
        Some(match seen {
            Cookie::Answered(answer, known) => {
                let response = Response::to_a_cookie(&answer);
                decided_about(answer, known.user().to_vec(), response)
            }
            Cookie::Failed(answer) => decided_about(answer, Vec::new(), None),
            _ if request.is_part => decided_about(Answer::no_part(), Vec::new(), None),
            Cookie::Refused(answer, known) => {
                let response = self.send_to_page(request, browser, reason_of(&answer));
                decided_about(answer, known.user().to_vec(), response)
            }
            Cookie::Aside(_) => undecided(self.send_to_page(request, browser, None)),
        })
    }

    /// What the browser's cookie comes to. With credentials: only if it is the same user's, and they
    /// don't ask to forget. `None`: not to be found out on an event loop.
    pub(super) fn look(
        &self,
        request: &Request<'_>,
        (gate, policy, seat): (&FileGate, &Policy, &Seat<'_>),
        credentials: Option<&BasicCredentials<'_>>,
        judged: Option<&mut RequestMemory>,
        reading: Reading,
    ) -> Option<Cookie> {
        let (place, address) = (seat.place(), request.client());
        let user = credentials.map_or(&b""[..], |credentials| credentials.user);
        let at_once = || gate.known_session_now(policy, &place, seat.header, &address);
        let anew = || gate.known_session(policy, &place, seat.header, &address);
        let known = match reading {
            Reading::No => at_once()?,
            Reading::Allowed => match at_once().map_or_else(anew, Ok) {
                Ok(known) => known,
                Err(error) => {
                    return Some(Cookie::Failed(gate.store_failed(error, user, request.log)));
                }
            },
        };
        let is_for_cookie = |known: &KnownSession| {
            credentials.is_none_or(|credentials| {
                known.user() == credentials.user && !may_ask_to_forget(policy, credentials.password)
            })
        };
        let Some(known) = known else { return Some(Cookie::Aside(None)) };
        if !is_for_cookie(&known) {
            return Some(Cookie::Aside(Some(known)));
        }
        let place = self.for_client(request, || known.user().into(), reading)?;
        let policy = &place.policy;
        let answer = match reading {
            Reading::Allowed if credentials.is_some() => {
                let log = ButRefusals(request.log);
                gate.by_session(policy, &known, &address, judged, &log)
            }
            Reading::Allowed => gate.by_session(policy, &known, &address, judged, request.log),
            Reading::No => {
                let (turn, log) = (request.turn, request.log);
                // Refused, it is logged by whoever decides about the credentials.
                if credentials.is_some() && !gate.is_session_good(policy, &known, &address, turn)? {
                    return None;
                }
                gate.by_session_now(policy, &known, &address, turn, judged, log)?
            }
        };
        place.log_fault(&answer, known.user(), request);
        Some(match answer.verdict {
            Verdict::Granted | Verdict::Error => Cookie::Answered(answer, known),
            _ => Cookie::Refused(answer, known),
        })
    }

    /// Where a browser's request leads.
    pub(super) fn seat<'a>(&self, request: &Request<'_>, browser: &Browser<'a>) -> Seat<'a> {
        let settings = &request.section.settings;
        let is_insecure = settings.linger_cookie(self.server()) == LingerCookie::Insecure;
        let pins = self.pins_identity(request);
        let Browser { host, realm, cookie: header, .. } = *browser;
        Seat { host, realm, pins, is_insecure, header }
    }

    /// An answer with what is to be sent to the browser.
    pub(super) fn replied(
        &self,
        request: &Request<'_>,
        (gate, seat): (&FileGate, &Seat<'_>),
        browser: &Browser<'_>,
        mut answer: Answer,
    ) -> Replied {
        let response = match answer.cookie.take() {
            Some(set) => Response::with_cookie(&gate.cookie_name(&seat.place()), &set, seat),
            // Where another provider may follow, its answer counts.
            None if answer.verdict == Verdict::Denied
                || (answer.verdict == Verdict::Unknown && self.server() == Server::Nginx) =>
            {
                self.send_to_page(request, browser, reason_of(&answer))
            }
            None => None,
        };
        Replied { answer, response }
    }

    /// Whether the cookie that came with Basic credentials lets their user in, so that they wait
    /// for nothing.
    pub(super) fn is_let_in_by_cookie(
        &self,
        request: &Request<'_>,
        browser: &Browser<'_>,
        user: &[u8],
    ) -> bool {
        let policy = request.section.policy(self.server());
        let Some(gate) = self.gate(request.section).filter(|_| policy.cookie.is_some()) else {
            return false;
        };
        let (seat, address) = (self.seat(request, browser), request.client());
        let known = gate.known_session(&policy, &seat.place(), browser.cookie, &address);
        let Ok(Some(known)) = known else { return false };
        let place = self.for_client(request, || user.into(), Reading::Allowed);
        known.user() == user
            && place.is_some_and(|ForUser { policy, .. }| {
                gate.is_session_good(&policy, &known, &address, None) == Some(true)
            })
    }
}

impl Response {
    /// What goes out with an answer that a cookie decides: to caches on the way, its request looks
    /// like anybody's.
    pub(super) fn to_a_cookie(answer: &Answer) -> Option<Response> {
        let is_granted = answer.verdict == Verdict::Granted;
        is_granted.then(|| Response { is_private: true, ..Response::default() })
    }

    /// With what is to become of the browser's cookie. `None`: no header can say it.
    fn with_cookie(name: &str, set: &SetCookie, seat: &Seat<'_>) -> Option<Response> {
        let header = seat.header(name, set)?;
        let mut response = Response::default();
        response.headers.push(("Set-Cookie", header));
        Some(response.with("Cache-Control", "no-store"))
    }
}

/// The log where credentials decide next: a request is refused once, and those who count refusals
/// count one.
struct ButRefusals<'a>(&'a dyn Log);

impl Log for ButRefusals<'_> {
    fn log(&self, level: Level, message: std::fmt::Arguments<'_>) {
        if level != Level::Refusal {
            self.0.log(level, message);
        }
    }

    fn wants(&self, level: Level) -> bool {
        level != Level::Refusal && self.0.wants(level)
    }
}

fn reason_of(answer: &Answer) -> Option<Reason> {
    match answer.cause {
        Some(Cause::Rule(reason)) => Some(reason),
        _ => None,
    }
}

fn decided_about(answer: Answer, user: Vec<u8>, response: Option<Response>) -> Responded {
    Responded { answer: Some(answer), user, response }
}

fn undecided(response: Option<Response>) -> Responded {
    Responded { response, ..Responded::default() }
}
