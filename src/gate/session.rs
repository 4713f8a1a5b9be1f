//! Sessions: logins that browsers keep by a cookie.
//!
//! A cookie holds a user, an id, where it is good, a mark of the address that it was given to, and
//! a MAC of all that with a key that only this store's servers have. The store keeps a hash of the
//! id, saved in the same step as the code that began the session. The id follows from the code's
//! position, so that requests sent at once with one code get one cookie.

use std::net::IpAddr;
use std::sync::Arc;

use data_encoding::{BASE64URL_NOPAD, HEXLOWER};
use hmac::{Hmac, KeyInit, Mac as _};
use parking_lot::Mutex;
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use super::Gate;
use super::answer::{Answer, Turn};
use super::attempt::{Job, OwnedAttempt, OwnedProof};
use super::computer::{KnownComputer, NamedComputer};
use super::known_cookies::KnownCookies;
use super::marks::Mark;
use super::request_memory::{JudgedAttempt, RequestMemory};
use super::rounds::in_force;
use crate::UnixTime;
use crate::decide::{
    self, DecidedSession, Decision, LoginBrowser, LoginResult, PresentedSession, Reason, Verdict,
};
use crate::http::cookie;
use crate::log::{Level, Log, Quoted};
use crate::pin::{PinAnswer, PinSource};
use crate::policy::Policy;
use crate::store::{CookieSecret, Found, LoopTurn, Store, StoreError, Transaction};
use crate::token::{Address, Fingerprint, Session, SessionId, SessionKind, TokenTag};

/// What a cookie's value begins with.
const VERSION: &str = "1";
/// Fields before the MAC.
const FIELDS: usize = 5;
pub(super) const ID_LEN: usize = 16;
pub(super) const PLACE_LEN: usize = 16;
const ADDRESS_LEN: usize = 6;
const MAC_LEN: usize = 32;
/// Bytes of the hash in a cookie's name.
const NAME_LEN: usize = 4;

/// Where a browser's request leads, as far as cookies are concerned.
#[derive(Clone, Copy, Debug)]
pub struct CookiePlace<'a> {
    /// The Host header, or what stands for it.
    pub host: &'a [u8],
    /// The realm.
    pub realm: &'a [u8],
    /// Who checks PINs marked `+`: the identity of the PIN source.
    pub pins: &'a [u8],
    /// Its cookies go over plain HTTP, too.
    pub is_insecure: bool,
}

/// A login that comes from a browser.
#[derive(Clone, Copy)]
pub struct BrowserLogin<'a> {
    /// Where it leads.
    pub place: CookiePlace<'a>,
    /// The session that the browser has there.
    pub known: Option<&'a KnownSession>,
    /// It comes by a page of our own, which makes a session of every grant.
    pub is_page: bool,
    /// The computer that it may be trusted as.
    pub computer: Option<&'a KnownComputer>,
    /// Its user wants it to be trusted.
    pub trusts: bool,
}

/// A session as a cookie names it that we have made: whether it holds is to be decided.
#[derive(Clone, Debug)]
pub struct KnownSession {
    user: Arc<[u8]>,
    presented: PresentedSession,
    /// What the cookie was made with.
    secret: Arc<CookieSecret>,
    /// Of the cookie, and of the place that it was sent to.
    mark: Mark,
}

impl KnownSession {
    /// Whose it is.
    pub fn user(&self) -> &[u8] {
        &self.user
    }

    /// Whether it was given by this place, or by one whose logins are decided alike.
    pub fn is_of_place(&self) -> bool {
        self.presented.is_of_place
    }

    pub(super) fn mark(&self) -> &Mark {
        &self.mark
    }

    pub(super) fn is_made_with(&self, secret: &CookieSecret) -> bool {
        *self.secret.0 == *secret.0
    }
}

/// What a page to log in seals values with.
pub struct PageKeys {
    /// The key; the same for all processes and servers of the store.
    pub key: Zeroizing<[u8; 32]>,
    /// The page's own place: sessions made there are good in places that are the same.
    pub place: [u8; PLACE_LEN],
}

/// What is to become of the browser's cookie.
#[derive(Clone, PartialEq, Eq)]
pub enum SetCookie {
    /// It is to be this one.
    Session {
        /// The cookie's value.
        value: Zeroizing<String>,
    },
    /// It is to go.
    End,
}

impl std::fmt::Debug for SetCookie {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            SetCookie::Session { .. } => "Session",
            SetCookie::End => "End",
        })
    }
}

/// What cookies are made with.
pub(super) struct CookieKeys {
    value: ValueKey,
    /// The same for trusted computers.
    pub(super) computer: ValueKey,
    session: Hmac<Sha256>,
    computer_id: Hmac<Sha256>,
    place: Hmac<Sha256>,
    address: Hmac<Sha256>,
    page: Zeroizing<[u8; 32]>,
}

/// What makes the values of one kind of cookie.
pub(super) struct ValueKey(Hmac<Sha256>);

impl ValueKey {
    /// A version, fields in base 64 for URLs without padding, and the MAC of all that, with dots
    /// between them.
    pub(super) fn sign(&self, version: &str, fields: &[&[u8]]) -> Zeroizing<String> {
        let encoded = fields.iter().map(|field| BASE64URL_NOPAD.encode_len(field.len()) + 1);
        let len = version.len() + encoded.sum::<usize>() + 2 * MAC_LEN;
        let mut value = Zeroizing::new(String::with_capacity(len));
        value.push_str(version);
        for field in fields {
            value.push('.');
            BASE64URL_NOPAD.encode_append(field, &mut value);
        }
        let mac: [u8; MAC_LEN] =
            self.0.clone().chain_update(value.as_bytes()).finalize().into_bytes().into();
        value.push('.');
        BASE64URL_NOPAD.encode_append(&mac, &mut value);
        value
    }

    /// The version and the fields as they stand in a value of ours. `None`: we haven't made it.
    pub(super) fn verified<'v>(&self, value: &'v [u8]) -> Option<Vec<&'v [u8]>> {
        let dot = value.iter().rposition(|&b| b == b'.')?;
        let (text, mac) = (&value[..dot], &value[dot + 1..]);
        let mac = BASE64URL_NOPAD.decode(mac).ok()?;
        // In constant time, and all of it.
        self.0.clone().chain_update(text).verify_slice(&mac).ok()?;
        Some(text.split(|&b| b == b'.').collect())
    }
}

impl CookieKeys {
    fn of(secret: &CookieSecret) -> CookieKeys {
        let keyed = |key: &[u8]| {
            <Hmac<Sha256> as KeyInit>::new_from_slice(key).expect("HMAC takes keys of any length")
        };
        let bytes = |label: &str| {
            let key = keyed(&*secret.0).chain_update(label.as_bytes()).finalize().into_bytes();
            Zeroizing::new(<[u8; 32]>::from(key))
        };
        let key = |label: &str| keyed(&*bytes(label));
        CookieKeys {
            value: ValueKey(key("otpgate cookie 1")),
            computer: ValueKey(key("otpgate computer 1")),
            session: key("otpgate session 1"),
            computer_id: key("otpgate computer id 1"),
            place: key("otpgate place 1"),
            address: key("otpgate address 1"),
            page: bytes("otpgate page 1"),
        }
    }

    fn id(&self, parts: &[&[u8]]) -> [u8; ID_LEN] {
        start_of(mac_of(&self.session, parts))
    }

    pub(super) fn computer_id(
        &self,
        user: &[u8],
        token: &Fingerprint,
        position: u64,
        place: &[u8; PLACE_LEN],
    ) -> [u8; ID_LEN] {
        start_of(mac_of(&self.computer_id, &[user, &token.0, &position.to_le_bytes(), place]))
    }

    pub(super) fn place(&self, policy: &Policy, place: &CookiePlace<'_>) -> [u8; PLACE_LEN] {
        let host = place.host.to_ascii_lowercase();
        start_of(mac_of(&self.place, &[&policy.place_key(place.pins), &host, place.realm]))
    }

    /// A mark of an address. `None`: the client has none.
    fn address(&self, address: &Address) -> Option<[u8; ADDRESS_LEN]> {
        let mark = |octets: &[u8]| start_of(mac_of(&self.address, &[octets]));
        match address {
            Address::Ip(IpAddr::V4(address)) => Some(mark(&address.octets())),
            Address::Ip(IpAddr::V6(address)) => Some(mark(&address.octets())),
            Address::Unknown | Address::Other(_) => None,
        }
    }

    fn value(
        &self,
        user: &[u8],
        id: &[u8; ID_LEN],
        place: &[u8; PLACE_LEN],
        address: Option<[u8; ADDRESS_LEN]>,
    ) -> Zeroizing<String> {
        let address = address.as_ref().map_or(&b""[..], |address| address);
        self.value.sign(VERSION, &[user, id, place, address])
    }

    /// What a cookie of ours says; whatever else it is: `None`. The MAC is looked at before anything
    /// else is.
    fn read(&self, value: &[u8]) -> Option<CookieContent> {
        let fields = self.value.verified(value)?;
        let [version, user, id, place, address] = <[&[u8]; FIELDS]>::try_from(fields).ok()?;
        let decode = |field: &[u8]| BASE64URL_NOPAD.decode(field).ok();
        if version != VERSION.as_bytes() {
            return None;
        }
        let address = decode(address)?;
        Some(CookieContent {
            user: decode(user)?,
            id: decode(id)?.try_into().ok()?,
            place: decode(place)?.try_into().ok()?,
            address: match address.len() {
                0 => None,
                _ => Some(address.try_into().ok()?),
            },
        })
    }
}

struct CookieContent {
    user: Vec<u8>,
    id: [u8; ID_LEN],
    place: [u8; PLACE_LEN],
    address: Option<[u8; ADDRESS_LEN]>,
}

fn mac_of(keyed: &Hmac<Sha256>, parts: &[&[u8]]) -> [u8; 32] {
    let mut mac = keyed.clone();
    for part in parts {
        // Lengths keep parts apart.
        mac.update(&(part.len() as u64).to_le_bytes());
        mac.update(part);
    }
    mac.finalize().into_bytes().into()
}

pub(super) fn start_of<const LEN: usize>(bytes: [u8; 32]) -> [u8; LEN] {
    let mut start = [0; LEN];
    start.copy_from_slice(&bytes[..LEN]);
    start
}

/// What the store knows a session by.
fn kept_id(id: &[u8; ID_LEN]) -> SessionId {
    SessionId(start_of(Sha256::digest(id).into()))
}

/// The keys of the secret that the store had last.
#[derive(Default)]
pub(super) struct CookieMemory {
    keys: Mutex<Option<(Arc<CookieSecret>, Arc<CookieKeys>)>>,
    known: KnownCookies,
}

impl CookieMemory {
    fn keys_of(&self, secret: Arc<CookieSecret>) -> Arc<CookieKeys> {
        let mut known = self.keys.lock();
        if let Some((of, keys)) = &*known
            && Arc::ptr_eq(of, &secret)
        {
            return Arc::clone(keys);
        }
        let keys = Arc::new(CookieKeys::of(&secret));
        *known = Some((secret, Arc::clone(&keys)));
        keys
    }
}

/// The browser of a login on its way through the rounds.
pub(super) struct JobBrowser {
    pub(super) keys: Arc<CookieKeys>,
    pub(super) place: [u8; PLACE_LEN],
    /// Of the user whose login it is.
    presented: Option<PresentedSession>,
    /// The same.
    pub(super) computer: Option<NamedComputer>,
    /// A fresh code has it trusted.
    pub(super) trusts: bool,
    /// By a page: in the place of the position of a code, where there is none.
    random: Option<[u8; ID_LEN]>,
}

impl JobBrowser {
    pub(super) fn id_of(&self, user: &[u8], token: &Fingerprint, position: u64) -> [u8; ID_LEN] {
        self.keys.id(&[user, &token.0, &position.to_le_bytes(), &self.place])
    }

    /// What rules want to know of it.
    pub(super) fn lend<R>(&self, user: &[u8], work: impl FnOnce(&LoginBrowser<'_>) -> R) -> R {
        let session_of =
            |token: &Fingerprint, position| kept_id(&self.id_of(user, token, position));
        let computer = self.computer.map(|named| named.presented);
        work(&LoginBrowser { presented: self.presented, computer, session_of: &session_of })
    }

    /// A page keeps what was granted without a code; where a browser sends the PIN with each
    /// request, nothing needs to be kept.
    pub(super) fn keeps(&self, decision: &Decision) -> bool {
        let is_by_pin =
            matches!(decision.word, LoginResult::GrantedTrusted | LoginResult::GrantedComputer);
        is_by_pin && self.random.is_some()
    }

    /// The session that a grant begins, and the id for its cookie.
    fn begun(
        &self,
        user: &[u8],
        decision: &Decision,
        found: &Found,
        now: UnixTime,
    ) -> Option<(Session, [u8; ID_LEN])> {
        let token = |line: usize| Some(&found.entry.lines.get(line)?.token);
        let (token, id, kind) = match decision.word {
            LoginResult::GrantedFresh => {
                let line = decision.accepted?.line;
                let token = token(line)?;
                let mut changes = decision.changes.iter();
                let state = &changes.find(|change| change.line == line)?.state;
                let position = state.last_accepted(token.factor)?;
                (token, self.id_of(user, &token.fingerprint, position), SessionKind::Code)
            }
            LoginResult::GrantedTrusted | LoginResult::GrantedComputer => {
                let token = token(decision.by_pin_of?.into())?;
                let id = self.keys.id(&[user, &token.fingerprint.0, &self.random?, &self.place]);
                let kind = match decision.word {
                    LoginResult::GrantedComputer => SessionKind::Computer,
                    _ => SessionKind::PinAlone,
                };
                (token, id, kind)
            }
            _ => return None,
        };
        let token = TokenTag::of(&token.fingerprint);
        Some((Session { id: kept_id(&id), token, kind, first: now, last: now }, id))
    }

    /// Saves what a decision makes of sessions, in the step that saves its code.
    pub(super) fn save(
        &self,
        (user, policy): (&[u8], &Policy),
        decision: &Decision,
        found: &Found,
        now: UnixTime,
        transaction: &mut dyn Transaction,
    ) {
        let begun = self.begun(user, decision, found, now);
        let (Some((session, _)), Some(cookie)) = (begun, policy.cookie) else { return };
        // The browser has one cookie: what it had before would be nobody's.
        let before = self.presented.map(|presented| presented.id);
        if before.is_some_and(|before| found.entry.ways.sessions.iter().any(|it| it.id == before)) {
            transaction.end_sessions(user, &|it| Some(it.id) == before && it.id != session.id);
        }
        transaction.save_session(user, session, cookie.sessions);
    }
}

impl<S: Store> Gate<S> {
    /// The name of this place's cookie.
    pub fn cookie_name(&self, place: &CookiePlace<'_>) -> String {
        let hash = Sha256::new()
            .chain_update(self.store.name().as_bytes())
            .chain_update([0])
            .chain_update(place.realm)
            .finalize();
        let [over_tls, over_anything] = cookie::PREFIXES;
        let prefix = if place.is_insecure { over_anything } else { over_tls };
        format!("{prefix}{}", HEXLOWER.encode(&hash[..NAME_LEN]))
    }

    /// What the page to log in needs to know. `Err`: it can't make a cookie either.
    pub fn page_keys(
        &self,
        policy: &Policy,
        place: &CookiePlace<'_>,
    ) -> Result<PageKeys, StoreError> {
        let keys = self.cookie_keys()?;
        Ok(PageKeys { key: keys.page.clone(), place: keys.place(policy, place) })
    }

    /// The session that a Cookie header names. `None`: it has no cookie that was made here.
    pub fn known_session(
        &self,
        policy: &Policy,
        place: &CookiePlace<'_>,
        header: &[u8],
        address: &Address,
    ) -> Result<Option<KnownSession>, StoreError> {
        let Some(header) = cookie::ours(header) else { return Ok(None) };
        let client = ClientPlace { policy, place, address };
        Ok(match self.recognised(self.store.secret()?, client, header) {
            Recognised::Known(known) => Some(known),
            Recognised::NotThere | Recognised::Unknown => None,
        })
    }

    /// The same, by the secret that the store was found to have last: whether it still is that is
    /// seen when the session is decided about. The outer `None`: that secret isn't at hand, or
    /// didn't make the cookie.
    pub fn known_session_now(
        &self,
        policy: &Policy,
        place: &CookiePlace<'_>,
        header: &[u8],
        address: &Address,
    ) -> Option<Option<KnownSession>> {
        let Some(header) = cookie::ours(header) else { return Some(None) };
        let client = ClientPlace { policy, place, address };
        match self.recognised(self.store.secret_now()?, client, header) {
            Recognised::Known(known) => Some(Some(known)),
            Recognised::NotThere => Some(None),
            Recognised::Unknown => None,
        }
    }

    fn recognised(
        &self,
        secret: Arc<CookieSecret>,
        client: ClientPlace<'_>,
        header: &[u8],
    ) -> Recognised {
        let CookiePlace { host, realm, pins, is_insecure } = *client.place;
        let mark = self.mark(&[b"cookie", header, host, realm, pins, &[u8::from(is_insecure)]]);
        let cookies = &self.cookie_memory.known;
        if let Some(known) = cookies.recall(&mark, client.policy, client.address, &secret) {
            return Recognised::Known(known);
        }
        let name = self.cookie_name(client.place);
        if cookie::values(header, &name).next().is_none() {
            return Recognised::NotThere;
        }
        let keys = self.cookie_memory.keys_of(Arc::clone(&secret));
        let values = cookie::values(header, &name);
        let Some(known) = known_session((&keys, &secret), client, mark, values) else {
            return Recognised::Unknown;
        };
        cookies.remember(client.policy, client.address, known.clone());
        Recognised::Known(known)
    }

    /// Decides by a session alone, and writes one log line; none if the same request was let in by
    /// it before. Another place of a request decides anew: nothing is spent by it.
    pub fn by_session(
        &self,
        policy: &Policy,
        known: &KnownSession,
        address: &Address,
        judged: Option<&mut RequestMemory>,
        log: &dyn Log,
    ) -> Answer {
        let answer = self.by_session_in(policy, known, address, Turn::MayBlock, judged, log);
        answer.unwrap_or_else(Answer::error)
    }

    /// The same if it can be decided at once. `None`: it can't, and nothing was changed or logged.
    pub fn by_session_now(
        &self,
        policy: &Policy,
        known: &KnownSession,
        address: &Address,
        turn: LoopTurn,
        judged: Option<&mut RequestMemory>,
        log: &dyn Log,
    ) -> Option<Answer> {
        self.by_session_in(policy, known, address, Turn::AtOnce(turn), judged, log)
    }

    /// Whether a session would let a request in now. Nothing is changed or logged. `None`: that
    /// can't be told without waiting.
    pub fn is_session_good(
        &self,
        policy: &Policy,
        known: &KnownSession,
        address: &Address,
        turn: LoopTurn,
    ) -> Option<bool> {
        let found = self.store.find_now(&known.user, turn)?;
        let decided = self.decide_session(policy, known, address, &found);
        Some(decided.decision.verdict == Verdict::Granted && self.is_by_last_secret(known))
    }

    fn by_session_in(
        &self,
        policy: &Policy,
        known: &KnownSession,
        address: &Address,
        turn: Turn,
        judged: Option<&mut RequestMemory>,
        log: &dyn Log,
    ) -> Option<Answer> {
        let user = &known.user[..];
        let credentials = known.mark;
        let recalled = judged.as_deref().and_then(|judged| judged.recall(&credentials, address));
        let is_let_in = recalled.is_some_and(|recalled| recalled.verdict == Verdict::Granted);
        let found = match self.find_in(turn, user)? {
            Ok(found) => found,
            Err(error) => return Some(self.store_failed(error, user, log)),
        };
        let is_ours = match (self.is_by_last_secret(known), turn) {
            (true, _) => true,
            (false, Turn::AtOnce(_)) => return None,
            (false, Turn::MayBlock) => match self.store.secret() {
                Ok(secret) => known.is_made_with(&secret),
                Err(error) => return Some(self.store_failed(error, user, log)),
            },
        };
        let DecidedSession { mut decision, refreshed } = match is_ours {
            true => self.decide_session(policy, known, address, &found),
            false => DecidedSession::over(),
        };
        if refreshed.is_some() {
            match turn {
                Turn::AtOnce(_) => return None,
                Turn::MayBlock => decision = self.refresh(policy, known, address, decision, log),
            }
        }
        if !(is_let_in && decision.verdict == Verdict::Granted) {
            self.log_outcome(&decision, &found, user, log);
        }
        if let Some(judged) = judged.filter(|_| decision.verdict == Verdict::Granted) {
            let of = (credentials, address);
            judged.remember(&JudgedAttempt::new(decision.verdict, decision.word, of, policy, None));
        }
        Some(Answer::of(&decision, None))
    }

    /// Whether the store, as it was found to be last, has the secret that a cookie was made with.
    fn is_by_last_secret(&self, known: &KnownSession) -> bool {
        self.store.secret_now().is_some_and(|secret| known.is_made_with(&secret))
    }

    fn decide_session(
        &self,
        policy: &Policy,
        known: &KnownSession,
        address: &Address,
        found: &Found,
    ) -> DecidedSession {
        let policy = in_force(policy, found, address);
        decide::session(&policy, &found.entry, &known.presented, address, (self.clock)())
    }

    /// Saves a session's time of use, as it then stands. The answer.
    fn refresh(
        &self,
        policy: &Policy,
        known: &KnownSession,
        address: &Address,
        decision: Decision,
        log: &dyn Log,
    ) -> Decision {
        let mut again = None;
        let saved = self.store.update(&mut |transaction| {
            let found = transaction.find(&known.user)?;
            let DecidedSession { decision, refreshed } =
                self.decide_session(policy, known, address, &found);
            if let (Some(session), Some(cookie)) = (refreshed, policy.cookie) {
                transaction.save_session(&known.user, session, cookie.sessions);
            }
            again = Some(decision);
            Ok(())
        });
        match saved {
            Ok(()) => again.unwrap_or(decision),
            Err(fault) => {
                log.log(
                    Level::Error,
                    format_args!(
                        "the time of use wasn't saved: {fault}, user {}",
                        Quoted(&known.user)
                    ),
                );
                decision
            }
        }
    }

    /// Ends a session, durably, as its browser asks for.
    pub fn end_session(&self, known: &KnownSession, log: &dyn Log) -> Answer {
        let (user, id) = (&known.user[..], known.presented.id);
        let saved = self.store.update(&mut |transaction| {
            let found = transaction.find(user)?;
            if found.entry.ways.sessions.iter().any(|session| session.id == id) {
                transaction.end_sessions(user, &|session| session.id == id);
            }
            Ok(())
        });
        if let Err(error) = saved {
            return self.store_failed(error, user, log);
        }
        let (verdict, word) = (Verdict::Denied, LoginResult::Forgotten);
        self.log_decision(verdict, word, Reason::LoggedOut, user, log);
        Answer { cookie: Some(SetCookie::End), ..Answer::plain(verdict, word) }
    }

    /// Decides a code alone of somebody whose session is there, which says that they know the PIN:
    /// any of the user's tokens may accept it as fresh. Another session then takes the place of that
    /// one. Without `browser.known`, it is refused.
    pub fn step_up(
        &self,
        policy: &Policy,
        browser: &BrowserLogin<'_>,
        code: &[u8],
        address: &Address,
        log: &dyn Log,
    ) -> Answer {
        let user = browser.known.map_or_else(Vec::new, |known| known.user.to_vec());
        let job_browser = match self.job_browser(policy, &user, Some(browser)) {
            Ok(browser) => browser,
            Err(error) => return self.store_failed(error, &user, log),
        };
        let proof = OwnedProof::Code(Zeroizing::new(code.to_vec()));
        let attempt = OwnedAttempt { user: user.clone(), proof, address: address.clone() };
        let job = Job { browser: job_browser.clone(), ..Job::new(policy, attempt) };
        let (decision, found, _, fault) = self.decide(job, &NobodyAsked, log);
        let cookie =
            self.cookie_of(job_browser.as_deref(), policy, (&user, address), &decision, &found);
        Answer { cookie, ..Answer::of(&decision, fault.as_ref()) }
    }

    /// What a login's job needs to know of the browser. `None`: nothing, because nothing is kept
    /// here. `Err`: no cookie could be made, so no code may be spent.
    pub(super) fn job_browser(
        &self,
        policy: &Policy,
        user: &[u8],
        browser: Option<&BrowserLogin<'_>>,
    ) -> Result<Option<Arc<JobBrowser>>, StoreError> {
        let Some(browser) = browser.filter(|_| policy.cookie.is_some()) else { return Ok(None) };
        self.job_browser_with(self.cookie_keys()?, policy, user, browser).map(Some)
    }

    /// The same, if the store's secret is at hand. The outer `None`: it isn't.
    pub(super) fn job_browser_now(
        &self,
        policy: &Policy,
        user: &[u8],
        browser: Option<&BrowserLogin<'_>>,
    ) -> Option<Option<Arc<JobBrowser>>> {
        let Some(browser) = browser.filter(|_| policy.cookie.is_some()) else { return Some(None) };
        self.job_browser_with(self.cookie_keys_now()?, policy, user, browser).ok().map(Some)
    }

    fn job_browser_with(
        &self,
        keys: Arc<CookieKeys>,
        policy: &Policy,
        user: &[u8],
        browser: &BrowserLogin<'_>,
    ) -> Result<Arc<JobBrowser>, StoreError> {
        let mut random = browser.is_page.then_some([0; ID_LEN]);
        if let Some(random) = &mut random
            && let Err(error) = getrandom::fill(random)
        {
            let (name, remedy) = (self.store.name(), "see the system's log");
            return Err(StoreError::new("draw an id for", name, &error.to_string(), remedy));
        }
        let presented =
            browser.known.filter(|known| *known.user == *user).map(|known| known.presented);
        let place = keys.place(policy, &browser.place);
        // Elsewhere the browser sends the PIN with each request.
        let computer = browser.computer.filter(|known| browser.is_page && known.user() == user);
        let computer = computer.map(KnownComputer::named);
        let trusts = browser.is_page && browser.trusts;
        Ok(Arc::new(JobBrowser { keys, place, presented, computer, trusts, random }))
    }

    /// What becomes of the browser's cookie by a decision that was carried out.
    pub(super) fn cookie_of(
        &self,
        browser: Option<&JobBrowser>,
        policy: &Policy,
        (user, address): (&[u8], &Address),
        decision: &Decision,
        found: &Found,
    ) -> Option<SetCookie> {
        let browser = browser?;
        let id = match decision.word {
            LoginResult::Forgotten => {
                let is_its = browser
                    .presented
                    .is_some_and(|it| decision.ended.has_session(&found.entry, it.id));
                return is_its.then_some(SetCookie::End);
            }
            LoginResult::GrantedReuse => {
                let (token, position) = reused(policy, decision, found)?;
                browser.id_of(user, &token, position)
            }
            _ => browser.begun(user, decision, found, (self.clock)())?.1,
        };
        let address = browser.keys.address(address);
        let value = browser.keys.value(user, &id, &browser.place, address);
        Some(SetCookie::Session { value })
    }

    /// The answer where the store fails, and its log line.
    pub fn store_failed(&self, error: StoreError, user: &[u8], log: &dyn Log) -> Answer {
        log.log(Level::Error, format_args!("error: {error}, user {}", Quoted(user)));
        Answer::of(&Decision::error(), Some(&Arc::new(error)))
    }

    pub(super) fn cookie_keys(&self) -> Result<Arc<CookieKeys>, StoreError> {
        Ok(self.cookie_memory.keys_of(self.store.secret()?))
    }

    fn cookie_keys_now(&self) -> Option<Arc<CookieKeys>> {
        Some(self.cookie_memory.keys_of(self.store.secret_now()?))
    }
}

/// The token of a code that was accepted again, and where it stands.
pub(super) fn reused(
    policy: &Policy,
    decision: &Decision,
    found: &Found,
) -> Option<(Fingerprint, u64)> {
    let accepted = decision.accepted?;
    let token = &found.entry.lines.get(accepted.line)?.token;
    let policy = policy.restricted_by(&found.limits);
    let state = decide::state_decided_on(&policy, &found.entry, accepted.line, accepted.at);
    Some((token.fingerprint, state.last_accepted(token.factor)?))
}

/// What cookies come to, by one secret.
enum Recognised {
    /// There is none of that name.
    NotThere,
    /// They were made with another secret, or by others.
    Unknown,
    Known(KnownSession),
}

/// Where a cookie is sent to, and from where.
#[derive(Clone, Copy)]
struct ClientPlace<'a> {
    policy: &'a Policy,
    place: &'a CookiePlace<'a>,
    address: &'a Address,
}

/// Of several cookies of that name, the first that was made for this place; else the first that was
/// made here at all.
fn known_session<'v>(
    (keys, secret): (&CookieKeys, &Arc<CookieSecret>),
    client: ClientPlace<'_>,
    mark: Mark,
    values: impl Iterator<Item = &'v [u8]>,
) -> Option<KnownSession> {
    let here = keys.place(client.policy, client.place);
    let from = keys.address(client.address);
    let mut of_elsewhere = None;
    for content in values.filter_map(|value| keys.read(value)) {
        let CookieContent { user, id, place, address } = content;
        let presented = PresentedSession {
            id: kept_id(&id),
            is_of_place: place == here,
            is_from_its_address: address.is_some() && address == from,
        };
        let known = KnownSession { user: user.into(), presented, secret: Arc::clone(secret), mark };
        if presented.is_of_place {
            return Some(known);
        }
        of_elsewhere = of_elsewhere.or(Some(known));
    }
    of_elsewhere
}

/// For a code without a PIN.
struct NobodyAsked;

impl PinSource for NobodyAsked {
    fn identity(&self) -> Vec<u8> {
        Vec::new()
    }

    fn check(&self, _: &[u8], _: &[u8]) -> PinAnswer {
        PinAnswer::NoSource
    }
}
