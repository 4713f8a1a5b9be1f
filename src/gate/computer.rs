//! Trusted computers: browsers that have shown a code and been trusted, on which the PIN of its
//! token is enough for some days.
//!
//! A cookie holds a user, an id, where it is good, its number, and a MAC of all that with a key that
//! only this store's servers have. The store keeps a hash of the id and the numbers that are good;
//! each login by it moves them on, in the same step as the session that it begins.

use data_encoding::BASE64URL_NOPAD;
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use super::Gate;
use super::rounds::in_force;
use super::session::{CookieKeys, CookiePlace, ID_LEN, JobBrowser, PLACE_LEN, reused, start_of};
use crate::UnixTime;
use crate::decide::{self, Decision, LoginResult, PresentedComputer};
use crate::http::cookie;
use crate::policy::Policy;
use crate::store::{Found, Store, StoreError, Transaction};
use crate::token::{Address, Computer, ComputerId, TokenTag};

/// What a cookie's value begins with.
const VERSION: &str = "1";
/// Fields before the MAC.
const FIELDS: usize = 5;

/// A computer as a cookie names it that we have made: whether it is trusted is to be decided.
#[derive(Clone, Debug)]
pub struct KnownComputer {
    user: Vec<u8>,
    its: NamedComputer,
}

impl KnownComputer {
    /// Whose it is.
    pub fn user(&self) -> &[u8] {
        &self.user
    }

    pub(super) fn named(&self) -> NamedComputer {
        self.its
    }
}

/// A computer on its way through a login of its user.
#[derive(Clone, Copy, Debug)]
pub(super) struct NamedComputer {
    id: [u8; ID_LEN],
    pub(super) presented: PresentedComputer,
}

/// What is to become of the cookie of a trusted computer.
#[derive(Clone, PartialEq, Eq)]
pub enum SetComputer {
    /// It is to be this one.
    Trusted {
        /// The cookie's value.
        value: Zeroizing<String>,
        /// For how long the browser is to keep it.
        seconds: u32,
    },
    /// It is to go.
    End,
}

impl std::fmt::Debug for SetComputer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            SetComputer::Trusted { .. } => "Trusted",
            SetComputer::End => "End",
        })
    }
}

/// What the store knows a computer by.
fn kept_id(id: &[u8; ID_LEN]) -> ComputerId {
    ComputerId(start_of(Sha256::digest(id).into()))
}

impl CookieKeys {
    fn computer_value(
        &self,
        user: &[u8],
        id: &[u8; ID_LEN],
        place: &[u8; PLACE_LEN],
        generation: u32,
    ) -> Zeroizing<String> {
        let fields = [user, id, place, &generation.to_be_bytes()];
        self.computer.sign(VERSION, &fields)
    }

    /// What a cookie of ours says; whatever else it is: `None`. The MAC is looked at before anything
    /// else is.
    fn read_computer(&self, value: &[u8], here: &[u8; PLACE_LEN]) -> Option<KnownComputer> {
        let fields = self.computer.verified(value)?;
        let [version, user, id, place, generation] = <[&[u8]; FIELDS]>::try_from(fields).ok()?;
        let decode = |field: &[u8]| BASE64URL_NOPAD.decode(field).ok();
        if version != VERSION.as_bytes() {
            return None;
        }
        let id = decode(id)?.try_into().ok()?;
        let presented = PresentedComputer {
            id: kept_id(&id),
            generation: u32::from_be_bytes(decode(generation)?.try_into().ok()?),
            is_of_place: decode(place)? == here,
        };
        Some(KnownComputer { user: decode(user)?, its: NamedComputer { id, presented } })
    }
}

impl JobBrowser {
    /// The computer that a fresh code begins, and the id for its cookie.
    fn trusted(
        &self,
        (user, policy): (&[u8], &Policy),
        decision: &Decision,
        found: &Found,
        now: UnixTime,
    ) -> Option<(Computer, [u8; ID_LEN])> {
        if !self.trusts || decision.word != LoginResult::GrantedFresh {
            return None;
        }
        let line = decision.accepted?.line;
        let days = decide::may_trust_computer(policy, &found.entry, line)?;
        let token = &found.entry.lines.get(line)?.token;
        let mut changes = decision.changes.iter();
        let state = &changes.find(|change| change.line == line)?.state;
        let position = state.last_accepted(token.factor)?;
        let id = self.keys.computer_id(user, &token.fingerprint, position, &self.place);
        let computer = Computer {
            id: kept_id(&id),
            token: TokenTag::of(&token.fingerprint),
            first: now,
            last: now,
            days: days.get().try_into().ok()?,
            generation: 0,
            unseen: 0,
        };
        Some((computer, id))
    }

    /// Saves what a decision makes of computers, in the step that saves its code or session.
    pub(super) fn save_computer(
        &self,
        (user, policy): (&[u8], &Policy),
        decision: &Decision,
        found: &Found,
        now: UnixTime,
        transaction: &mut dyn Transaction,
    ) {
        let named = self.computer.map(|named| named.presented);
        let known = |id| found.entry.ways.computers.iter().find(|computer| computer.id == id);
        let before = named.and_then(|presented| known(presented.id));
        if let Some((computer, _)) = self.trusted((user, policy), decision, found, now) {
            // The browser has one cookie: what it had before would be nobody's.
            if let Some(before) = before.filter(|before| before.id != computer.id) {
                transaction.end_computers(user, &|it| it.id == before.id);
            }
            transaction.save_computer(user, computer);
        } else if decision.word == LoginResult::GrantedComputer
            && let Some((presented, before)) = named.zip(before)
            && let Some(used) = before.used(presented.generation, now)
            && let Some(next) = decision.next_cookie
            && used.generation == next.generation(before.generation)
            && used != *before
        {
            transaction.save_computer(user, used);
        }
    }
}

impl<S: Store> Gate<S> {
    /// The name of the cookie that says that a computer is trusted in this place.
    pub fn computer_cookie_name(&self, place: &CookiePlace<'_>) -> String {
        self.cookie_name(place) + "-computer"
    }

    /// For how many days a user may have their computer trusted here. `None`: not at all, or it can't
    /// be known.
    pub fn offers_computer(&self, policy: &Policy) -> Option<u32> {
        // What the store allows is the same for all names.
        let found = self.store.find(b"").ok()?;
        let policy = in_force(policy, &found, &Address::Unknown);
        policy.trusted_computer.map(|days| days.get())
    }

    /// The computer that a Cookie header names. `None`: it has no such cookie that was made here.
    pub fn known_computer(
        &self,
        policy: &Policy,
        place: &CookiePlace<'_>,
        header: &[u8],
    ) -> Result<Option<KnownComputer>, StoreError> {
        let name = self.computer_cookie_name(place);
        if cookie::values(header, &name).next().is_none() {
            return Ok(None);
        }
        let keys = self.cookie_keys()?;
        let here = keys.place(policy, place);
        let mut known = cookie::values(header, &name);
        Ok(known.find_map(|value| keys.read_computer(value, &here)))
    }

    /// Whether its user's PIN is enough on it now. Nothing is changed or logged.
    pub fn is_computer_trusted(&self, policy: &Policy, known: &KnownComputer) -> bool {
        let Ok(found) = self.store.find(&known.user) else { return false };
        let policy = in_force(policy, &found, &Address::Unknown);
        let (entry, presented) = (&found.entry, &known.its.presented);
        decide::is_computer_trusted(&policy, entry, presented, (self.clock)())
    }

    /// What becomes of the cookie of a trusted computer by a decision that was carried out.
    pub(super) fn computer_of(
        &self,
        browser: Option<&JobBrowser>,
        (user, policy): (&[u8], &Policy),
        decision: &Decision,
        found: &Found,
    ) -> Option<SetComputer> {
        let browser = browser?;
        let policy = in_force(policy, found, &Address::Unknown);
        let now = (self.clock)();
        let computers = &found.entry.ways.computers;
        let known = |id: &[u8; ID_LEN]| computers.iter().find(|it| it.id == kept_id(id)).copied();
        let given = match decision.word {
            LoginResult::GrantedFresh => browser.trusted((user, &policy), decision, found, now),
            LoginResult::GrantedComputer => {
                let id = browser.computer?.id;
                let next = decision.next_cookie?;
                known(&id)
                    .map(|it| (Computer { generation: next.generation(it.generation), ..it }, id))
            }
            // The same code again, because the first answer was lost.
            LoginResult::GrantedReuse if browser.trusts => {
                let (token, position) = reused(&policy, decision, found)?;
                let id = browser.keys.computer_id(user, &token, position, &browser.place);
                known(&id).filter(|it| it.generation == 0).map(|computer| (computer, id))
            }
            _ => None,
        };
        if let Some((computer, id)) = given {
            let days = policy.trusted_computer?;
            let end = computer.first.saturating_add(computer.seconds(days.get()).into());
            return Some(SetComputer::Trusted {
                value: browser.keys.computer_value(user, &id, &browser.place, computer.generation),
                seconds: u32::try_from(end - now).unwrap_or(0),
            });
        }
        let id = browser.computer?.presented.id;
        let is_gone = decision.ended.has_computer(&found.entry, id)
            || !computers.iter().any(|it| it.id == id);
        // Where nothing could be read, nothing is known.
        (is_gone && found.is_listed()).then_some(SetComputer::End)
    }
}
