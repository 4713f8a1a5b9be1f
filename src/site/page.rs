//! The page to log in, and the way there and back.
//!
//! A place sends a browser to the page with what it asked for, sealed: only we can have said so, and
//! only to this browser, which has a cookie for the visit. The same cookie proves of a form that it
//! was made for this browser. Nothing else is kept of a visit.

use std::sync::Arc;

use data_encoding::BASE64URL_NOPAD;
use zeroize::Zeroizing;

use super::admission::{ForUser, Reading};
use super::browser::{Browser, Responded, Response};
use super::cookie::Seat;
use super::gates::GateRef;
use super::login::{BasicCredentials, Request};
use super::{Site, templates};
use crate::decide::{Reason, Verdict};
use crate::gate::{
    Answer, BrowserLogin, KnownComputer, KnownSession, PageKeys, RequestMemory, SetCookie,
};
use crate::http::accept::{Language, Wants, wants};
use crate::http::form::{Form, is_form};
use crate::http::target::Target;
use crate::http::{back, cookie, sealed};
use crate::log::{Level, Quoted};
use crate::page::{self, Notice, Refusal, State, Template, View, deed, field, refusal};
use crate::policy::{Policy, Server};

/// Bytes of a visit's cookie.
const VISIT_LEN: usize = 16;
/// What values are sealed for.
const TO: &str = "to";
const CSRF: &str = "csrf";
/// Where a login leads that came from nowhere.
const HOME: &str = "/";
/// Behind the page's path: who comes from there has just logged out.
const LOGGED_OUT: &[u8] = b"out";

/// What a browser is sent to the page for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Errand {
    LogIn,
    /// Somebody is logged in, whose last new code is too old for where they want to go.
    Confirm,
}

/// Where a browser wants to go.
struct Way {
    errand: Errand,
    /// The place that has sent it, as sessions know it.
    place: [u8; 16],
    target: String,
}

impl Way {
    fn seal(&self, key: &[u8; 32], visit: &Visit) -> String {
        let errand = match self.errand {
            Errand::LogIn => b'l',
            Errand::Confirm => b'c',
        };
        let value = [&[errand][..], &self.place, self.target.as_bytes()].concat();
        sealed::seal(key, TO, visit.value.as_bytes(), &value)
    }

    fn open(key: &[u8; 32], visit: &Visit, text: &[u8]) -> Option<Way> {
        let value = sealed::open(key, TO, visit.value.as_bytes(), text)?;
        let (errand, rest) = value.split_first()?;
        let errand = match errand {
            b'l' => Errand::LogIn,
            b'c' => Errand::Confirm,
            _ => return None,
        };
        let (place, target) = rest.split_first_chunk()?;
        let target = String::from_utf8(target.to_vec()).ok()?;
        Some(Way { errand, place: *place, target })
    }
}

/// A browser's stay at the page, or its way there.
struct Visit {
    /// The name of its cookie.
    name: String,
    value: String,
    is_new: bool,
}

impl Visit {
    /// `None`: no random bytes.
    fn of(browser: &Browser<'_>, session_cookie: &str) -> Option<Visit> {
        let name = format!("{session_cookie}-visit");
        let is_one =
            |value: &&[u8]| BASE64URL_NOPAD.decode(value).is_ok_and(|it| it.len() == VISIT_LEN);
        let known = cookie::values(browser.cookie, &name).find(is_one);
        if let Some(value) = known.and_then(|value| str::from_utf8(value).ok()) {
            return Some(Visit { value: value.to_owned(), name, is_new: false });
        }
        let mut bytes = [0; VISIT_LEN];
        getrandom::fill(&mut bytes).ok()?;
        Some(Visit { value: BASE64URL_NOPAD.encode(&bytes), name, is_new: true })
    }

    fn csrf(&self, key: &[u8; 32]) -> String {
        sealed::seal(key, CSRF, self.value.as_bytes(), b"")
    }

    /// Whether a form was made by us for this browser.
    fn has_form(&self, key: &[u8; 32], csrf: &[u8]) -> bool {
        !self.is_new && sealed::open(key, CSRF, self.value.as_bytes(), csrf).is_some()
    }

    /// What gives the browser its cookie. `None`: it has it.
    fn header(&self, is_secure: bool) -> Option<Zeroizing<String>> {
        if !self.is_new {
            return None;
        }
        cookie::set(&self.name, &self.value, is_secure, None)
    }
}

/// The page as one request sees it.
struct Stay<'a> {
    request: &'a Request<'a>,
    browser: &'a Browser<'a>,
    gate: GateRef<'a>,
    policy: Policy,
    seat: Seat<'a>,
    keys: PageKeys,
    visit: Visit,
    /// The name of the session's cookie.
    cookie: String,
    template: Arc<Template>,
    /// The path of the page itself.
    path: &'a str,
    query: &'a [u8],
    realm: String,
}

/// What is answered, and with what status.
struct Shown<'v> {
    status: u16,
    state: State<'v>,
    notice: Option<Notice>,
    way: Option<&'v Way>,
    user: Option<&'v str>,
}

impl Site {
    /// The page to log in.
    pub fn page(&self, request: &Request<'_>, browser: &Browser<'_>) -> Responded {
        let stay = match self.stay(request, browser) {
            Ok(stay) => stay,
            Err(answer) => return Responded::about_nobody(answer, Response::failed()),
        };
        match browser.method {
            b"GET" | b"HEAD" => self.visited(&stay),
            b"POST" => self.posted(&stay),
            _ => {
                let response = Response { status: 405, ..Response::default() };
                Responded::undecided(response.with("Allow", "GET, HEAD, POST"))
            }
        }
    }

    /// What sends a browser to the page to log in, which nothing lets in: `reason` says why. `None`:
    /// the server answers as it does without a page.
    pub(super) fn send_to_page(
        &self,
        request: &Request<'_>,
        browser: &Browser<'_>,
        reason: Option<Reason>,
    ) -> Option<Response> {
        let settings = &request.section.settings;
        let scheme = settings.asked_scheme(self.server());
        if !scheme.has_form() {
            return None;
        }
        let (errand, why) = match reason {
            Some(Reason::FreshCodeNeeded | Reason::SessionNeedsCode) => {
                (Errand::Confirm, Refusal::CodeNeeded)
            }
            _ => (Errand::LogIn, Refusal::LoginNeeded),
        };
        let Some(page) = settings.login_page.and_then(|it| str::from_utf8(it.value).ok()) else {
            let name = login_page_setting(self.server());
            let text = "is set here or above, so nobody can log in; add one";
            request.log.log(Level::Error, format_args!("error: no {name} {text}"));
            return Some(Response::failed());
        };
        let wanted = wants(browser.method, browser.accept, browser.fetch_mode);
        if wanted != Wants::Html {
            // With a challenge, which programs understand.
            if scheme.has_basic() {
                return None;
            }
            let (content_type, body) = refusal(why, wanted, page);
            return Some(Response::text(401, content_type, body));
        }
        let Ok(stay) = self.stay(request, browser) else { return Some(Response::failed()) };
        let way = back::target(browser.target, page.as_bytes()).map(|target| Way {
            errand,
            place: stay.keys.place,
            target: target.to_owned(),
        });
        // What it brings would be lost on the way to the page, and nobody would know.
        if browser.method == b"POST" {
            let state = match errand {
                Errand::LogIn => State::Login,
                Errand::Confirm => State::CodeOnly,
            };
            let notice = Some(Notice::NotSent);
            let stay = Stay { path: page, ..stay };
            let way = way.as_ref();
            return Some(stay.show(&Shown { status: 401, state, notice, way, user: None }));
        }
        let query = match way {
            Some(way) => format!("?{TO}={}", way.seal(&stay.keys.key, &stay.visit)),
            None => String::new(),
        };
        let response = Response { status: 303, ..Response::default() };
        Some(stay.with_headers(response.with("Location", format!("{page}{query}"))))
    }

    /// `Err`: there can be no page; that is logged.
    fn stay<'a>(
        &'a self,
        request: &'a Request<'a>,
        browser: &'a Browser<'a>,
    ) -> Result<Stay<'a>, Answer> {
        let gate = self.gate_for(request)?;
        let policy = request.section.policy(self.server());
        if policy.cookie.is_none() {
            let text = "is off here, and the page to log in can do nothing without a cookie";
            let name = cookie_setting(self.server());
            request.log.log(Level::Error, format_args!("error: {name} {text}"));
            return Err(Answer::error());
        }
        let seat = self.seat(request, browser);
        let failed = |error| gate.store_failed(error, b"", request.log);
        let keys = gate.page_keys(&policy, &seat.place()).map_err(failed)?;
        let cookie = gate.cookie_name(&seat.place());
        let visit = Visit::of(browser, &cookie).ok_or_else(|| {
            let text = "error: the system has no random bytes; see its log";
            request.log.log(Level::Error, format_args!("{text}"));
            Answer::error()
        })?;
        let end = browser.target.iter().position(|&b| b == b'?').unwrap_or(browser.target.len());
        let (path, query) = browser.target.split_at(end);
        Ok(Stay {
            request,
            browser,
            policy,
            seat,
            keys,
            visit,
            cookie,
            template: self.template(request),
            path: str::from_utf8(path).unwrap_or(HOME),
            query: query.get(1..).unwrap_or_default(),
            realm: String::from_utf8_lossy(browser.realm).into_owned(),
            gate,
        })
    }

    /// The session whose cookie the browser has, whether it lets anybody in or not. `Err`: that
    /// can't be known, and is logged.
    fn presented_at(&self, stay: &Stay<'_>) -> Result<Option<KnownSession>, Answer> {
        let Stay { request, browser, gate, seat, .. } = stay;
        let policy = stay.policy.without_max_age();
        let known = gate.known_session(&policy, &seat.place(), browser.cookie, &request.client());
        known.map_err(|error| gate.store_failed(error, b"", request.log))
    }

    /// The session that lets the browser in here.
    fn session_at(&self, stay: &Stay<'_>) -> Result<Option<KnownSession>, Answer> {
        let Stay { request, gate, .. } = stay;
        let Some(known) = self.presented_at(stay)? else { return Ok(None) };
        // Who comes to enter a new code has none that is new enough.
        let address = request.client();
        let user = || known.user().into();
        let Some(place) = self.for_client(request, user, Reading::Allowed) else { return Ok(None) };
        let policy = place.policy.without_max_age();
        let is_good = gate.is_session_good(&policy, &known, &address, None) == Some(true);
        Ok(Some(known).filter(|_| is_good))
    }

    fn log_in(
        &self,
        stay: &Stay<'_>,
        (user, password): (&[u8], &[u8]),
        known: Option<&KnownSession>,
        trusts: bool,
        memory: &mut RequestMemory,
    ) -> Answer {
        let credentials =
            BasicCredentials { user, password, authorization: b"", target: Target::default() };
        let Stay { request, browser, gate, policy, seat, .. } = stay;
        let computer = match gate.known_computer(policy, &seat.place(), browser.cookie) {
            Ok(computer) => computer,
            Err(error) => return gate.store_failed(error, user, request.log),
        };
        let login =
            BrowserLogin { computer: computer.as_ref(), trusts, ..seat.login_by_page(known) };
        self.by_page(request, &credentials, &login, memory)
    }

    fn confirm(&self, stay: &Stay<'_>, known: &KnownSession, code: &[u8]) -> Answer {
        let Stay { request, seat, gate, .. } = stay;
        let user = || known.user().into();
        let Some(ForUser { policy, .. }) = self.for_client(request, user, Reading::Allowed) else {
            return Answer::error();
        };
        let login = seat.login_by_page(Some(known));
        gate.step_up(&policy, &login, code, &request.client(), request.log)
    }

    /// The frame of the page. One that can't be used is as none; that is logged.
    fn template(&self, request: &Request<'_>) -> Arc<Template> {
        let Some(given) = request.section.settings.login_template else {
            return templates::built_in();
        };
        let path = self.gates.path(given.value);
        self.templates.of(&path, request.log)
    }

    /// Somebody comes to the page.
    fn visited(&self, stay: &Stay<'_>) -> Responded {
        let way = stay.way(stay.parameter(TO.as_bytes()));
        if let Some(way) = way.as_ref().filter(|way| way.place != stay.keys.place) {
            return stay.of_other_place(way);
        }
        let known = match self.session_at(stay) {
            Ok(known) => known,
            Err(answer) => return stay.failed(answer),
        };
        let Some(known) = known else {
            let notice = (stay.query == LOGGED_OUT).then_some(Notice::SignedOut);
            let state = State::Login;
            let shown = Shown { status: 200, state, notice, way: way.as_ref(), user: None };
            return Responded::undecided(stay.show(&shown));
        };
        let user = String::from_utf8_lossy(known.user()).into_owned();
        let shown = |state| Shown {
            status: 200,
            state,
            notice: None,
            way: way.as_ref(),
            user: Some(&user),
        };
        let response = match &way {
            // Somebody has logged in meanwhile, say in another tab.
            Some(Way { errand: Errand::LogIn, target, .. }) => stay.leading_to(target),
            Some(Way { errand: Errand::Confirm, .. }) => stay.show(&shown(State::CodeOnly)),
            None => stay.show(&shown(State::SignedIn { on: Some(HOME) })),
        };
        Responded::undecided(response)
    }

    /// Somebody has sent a form.
    fn posted(&self, stay: &Stay<'_>) -> Responded {
        let unusable = |status, state, notice| {
            let shown = Shown { status, state, notice, way: None, user: None };
            Responded::undecided(stay.show(&shown))
        };
        if !is_form(stay.browser.content_type) {
            return unusable(415, State::Unusable, None);
        }
        let Ok(form) = Form::parse(stay.browser.body) else {
            return unusable(400, State::Unusable, None);
        };
        if !stay.is_from_here() {
            return unusable(403, State::Unusable, None);
        }
        // A new form at once, and why.
        if stay.visit.is_new {
            return unusable(403, State::Login, Some(Notice::CookieMissing));
        }
        let csrf = form.get(field::CSRF).unwrap_or_default();
        if !stay.visit.has_form(&stay.keys.key, csrf) {
            return unusable(403, State::Login, Some(Notice::Expired));
        }
        let way = stay.way(form.get(field::TO));
        if let Some(way) = way.as_ref().filter(|way| way.place != stay.keys.place) {
            return stay.of_other_place(way);
        }
        let way = way.as_ref();
        let what = form.get(field::DO).and_then(|what| str::from_utf8(what).ok());
        let what = what.unwrap_or_default();
        let known = match what {
            // One that lets nobody in just now may do so later.
            deed::LOG_OUT => self.presented_at(stay),
            _ => self.session_at(stay),
        };
        let known = match known {
            Ok(known) => known,
            Err(answer) => return stay.failed(answer),
        };
        match (what, known) {
            (deed::LOG_OUT, known) => self.logged_out(stay, known.as_ref()),
            (deed::CONFIRM, Some(known)) => {
                let code = form.get(field::CODE).unwrap_or_default();
                let answer = self.confirm(stay, &known, code);
                stay.answered(answer, known.user(), (way, State::CodeOnly), None)
            }
            // The session has ended meanwhile: all is asked for, and nothing was looked at.
            (deed::CONFIRM, None) => {
                let (state, notice) = (State::Login, Some(Notice::Expired));
                let shown = Shown { status: 403, state, notice, way, user: None };
                Responded::undecided(stay.show(&shown))
            }
            (deed::LOG_IN, known) => {
                let get = |name| form.get(name).unwrap_or_default();
                let user = get(field::USER);
                let password = Zeroizing::new([get(field::PIN), get(field::CODE)].concat());
                let trusts = form.get(field::COMPUTER) == Some(b"1");
                let (known, mut memory) = (known.as_ref(), RequestMemory::default());
                let answer = self.log_in(stay, (user, &password), known, trusts, &mut memory);
                stay.answered(answer, user, (way, State::Login), memory.paper_next())
            }
            _ => unusable(400, State::Unusable, None),
        }
    }

    /// Somebody has asked to be logged out. Only with the session gone for good is that said.
    fn logged_out(&self, stay: &Stay<'_>, known: Option<&KnownSession>) -> Responded {
        let out = String::from_utf8_lossy(LOGGED_OUT);
        let response = Response { status: 303, ..Response::default() };
        let response = response.with("Location", format!("{}?{out}", stay.path));
        let Some(known) = known else {
            return Responded::undecided(stay.with_headers(response));
        };
        let answer = stay.gate.end_session(known, stay.request.log);
        let response = match answer.verdict {
            Verdict::Error => stay.broken(),
            // The way back must not show again what was protected.
            _ => stay
                .with_headers(stay.with_cookies(response, &answer))
                .with("Clear-Site-Data", "\"cache\""),
        };
        Responded { answer: Some(answer), user: known.user().to_vec(), response: Some(response) }
    }
}

impl Stay<'_> {
    /// Where a sealed text leads.
    fn way(&self, text: Option<&[u8]>) -> Option<Way> {
        let way = Way::open(&self.keys.key, &self.visit, text?)?;
        // It was one when it was sealed; settings may have changed.
        back::target(way.target.as_bytes(), self.path.as_bytes())?;
        Some(way)
    }

    /// A parameter of the page's own query: of those values, none is escaped.
    fn parameter(&self, name: &[u8]) -> Option<&[u8]> {
        let mut pairs = self.query.split(|&b| b == b'&');
        pairs.find_map(|pair| pair.strip_prefix(name)?.strip_prefix(b"="))
    }

    /// Whether a form was sent from a page of this host, as far as the browser says.
    fn is_from_here(&self) -> bool {
        let Browser { origin, host, fetch_site, .. } = *self.browser;
        let is_here = |origin: &[u8]| {
            let host_of = [&b"https://"[..], b"http://"];
            let mut hosts = host_of.into_iter().filter_map(|scheme| origin.strip_prefix(scheme));
            hosts.any(|its| its.eq_ignore_ascii_case(host))
        };
        let is_origin_here = origin.is_empty() || is_here(origin);
        is_origin_here && matches!(fetch_site, b"" | b"same-origin" | b"none")
    }

    fn show(&self, shown: &Shown<'_>) -> Response {
        let Shown { status, state, notice, way, user } = *shown;
        let csrf = self.visit.csrf(&self.keys.key);
        let to = way.map(|way| way.seal(&self.keys.key, &self.visit));
        let language = Language::liked_best(self.browser.accept_language);
        let computer = if state == State::Login { self.trusted_computer() } else { None };
        let its_user = computer.as_ref().map(|known| String::from_utf8_lossy(known.user()));
        let page = page::render(&View {
            template: &self.template,
            language,
            site: &self.realm,
            action: self.path,
            state,
            notice,
            csrf: &csrf,
            to: to.as_deref(),
            user: user.or(its_user.as_deref()),
            knows_computer: computer.is_some(),
            offers_computer: match state {
                State::Login => self.gate.offers_computer(&self.policy),
                _ => None,
            },
            sources: &[],
        });
        let response = Response { status, body: page.html.into_bytes(), ..Response::default() }
            .with("Content-Type", "text/html; charset=utf-8")
            .with("Content-Language", language.tag())
            .with("Content-Security-Policy", page.csp);
        self.with_headers(response)
    }

    /// The computer as which this browser is trusted, now and here.
    fn trusted_computer(&self) -> Option<KnownComputer> {
        let Stay { gate, policy, seat, browser, .. } = self;
        let known = gate.known_computer(policy, &seat.place(), browser.cookie).ok()??;
        gate.is_computer_trusted(policy, &known).then_some(known)
    }

    /// With what every answer of the page has.
    fn with_headers(&self, response: Response) -> Response {
        let response = response
            .with("Cache-Control", "no-store")
            .with("X-Content-Type-Options", "nosniff")
            .with("Referrer-Policy", "same-origin");
        let cookie = self.visit.header(self.seat.is_secure());
        let mut response = response;
        response.headers.extend(cookie.map(|cookie| ("Set-Cookie", cookie)));
        response
    }

    fn with_cookies(&self, mut response: Response, answer: &Answer) -> Response {
        let session = answer.cookie.as_ref().and_then(|set| self.seat.header(&self.cookie, set));
        let name = self.gate.computer_cookie_name(&self.seat.place());
        let computer = answer.computer.as_deref();
        let computer = computer.and_then(|set| self.seat.computer_header(&name, set));
        let headers = session.into_iter().chain(computer);
        response.headers.extend(headers.map(|header| ("Set-Cookie", header)));
        response
    }

    /// The browser goes on to a target of this host.
    fn leading_to(&self, target: &str) -> Response {
        let state = State::Moved { url: target };
        self.show(&Shown { status: 200, state, notice: None, way: None, user: None })
    }

    /// The place that has sent the browser here doesn't take the sessions that are made here.
    fn of_other_place(&self, way: &Way) -> Responded {
        self.request.log.log(
            Level::Error,
            format_args!(
                "error: {} sends its users to the page {} to log in, but doesn't accept logins made there: users file, realm and the settings that decide a login must be the same in both places",
                Quoted(way.target.as_bytes()),
                Quoted(self.path.as_bytes()),
            ),
        );
        self.failed(Answer::error())
    }

    fn failed(&self, answer: Answer) -> Responded {
        Responded::about_nobody(answer, self.broken())
    }

    fn broken(&self) -> Response {
        let (state, notice) = (State::Unusable, Some(Notice::Failed));
        self.show(&Shown { status: 500, state, notice, way: None, user: None })
    }

    /// The answer to a login, or to a code.
    fn answered(
        &self,
        answer: Answer,
        user: &[u8],
        (way, state): (Option<&Way>, State<'_>),
        next: Option<u32>,
    ) -> Responded {
        let shown_user = str::from_utf8(user).ok();
        let again = |status, notice| {
            self.show(&Shown { status, state, notice: Some(notice), way, user: shown_user })
        };
        let seconds = answer.retry_after.unwrap_or(1);
        let response = match answer.verdict {
            Verdict::Granted if matches!(answer.cookie, Some(SetCookie::Session { .. })) => {
                self.leading_to(way.map_or(HOME, |way| &way.target))
            }
            // Let in, but nothing that the browser could show for it.
            Verdict::Granted | Verdict::Error => self.broken(),
            Verdict::Throttled => {
                again(429, Notice::Throttled { seconds }).with("Retry-After", seconds.to_string())
            }
            Verdict::Busy => again(503, Notice::Busy).with("Retry-After", seconds.to_string()),
            Verdict::Denied | Verdict::Unknown => {
                again(403, next.map_or(Notice::NotRight, Notice::NextPaperCode))
            }
        };
        let response = self.with_cookies(response, &answer);
        Responded { answer: Some(answer), user: user.to_vec(), response: Some(response) }
    }
}

/// The setting that names the page.
fn login_page_setting(server: Server) -> &'static str {
    match server {
        Server::Apache => "OTPAuthLoginPage",
        Server::Nginx => "auth_otp_login_page",
    }
}

fn cookie_setting(server: Server) -> &'static str {
    match server {
        Server::Apache => "OTPAuthLingerCookie",
        Server::Nginx => "auth_otp_linger_cookie",
    }
}
