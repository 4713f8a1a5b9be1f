//! What was decided about one HTTP request. Its sub-requests and internal redirects have the same
//! credentials: where the settings are the same they aren't judged again, and elsewhere they are
//! judged on the state that the grant was based on.

use std::net::IpAddr;

use super::marks::Mark;
use crate::UnixTime;
use crate::decide::{Accepted, GrantBasis, LoginResult, Verdict};
use crate::http::digest::Ha1;
use crate::otp::{Code, Digits};
use crate::policy::Policy;
use crate::token::{Address, CounterField, Fingerprint, ReplayFloor, State, Token, Used};

/// The memory of one request. All zero: nothing decided yet.
#[derive(Clone, Copy, Debug, Default)]
pub struct RequestMemory {
    /// The latest comes first. Two, because two users files may alternate.
    slots: [JudgedAttempt; 2],
}

/// One attempt. All zero is none: numbers may be 0, and so may the tags of options and enums.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct JudgedAttempt {
    known: bool,
    /// Decided, but the server hasn't accepted nonce and nc yet.
    is_pending: bool,
    verdict: u8,
    word: u8,
    /// Of a refusal for a while, the seconds; of a denial, the number of the paper code that is
    /// next. 0: nothing.
    number: u32,
    /// Of store, user and password or Digest response.
    credentials: Mark,
    /// The same with the PIN as password: the header that PINFakeBasicAuth leaves.
    upstream: Mark,
    address: Option<IpAddr>,
    /// What a grant rests on.
    grant: Option<Grant>,
    /// Who has found the PIN of a grant right.
    pin: PinChecked,
    /// Where it was decided.
    policy: Option<Policy>,
    /// The HA1 of the password that matched a Digest response.
    ha1: Ha1,
}

/// Who has found the PIN of a grant right.
#[derive(Clone, Copy, Debug, Default)]
pub(super) enum PinChecked {
    /// The line itself says what it is.
    #[default]
    Itself,
    /// A source that must be asked each time.
    Somebody,
    /// A source known by its mark.
    Source(Mark),
}

impl PinChecked {
    /// By a source, which has a mark if it is known by its identity.
    pub(super) fn by(source: Option<Mark>) -> PinChecked {
        source.map_or(PinChecked::Somebody, PinChecked::Source)
    }

    /// Whether it needn't be checked again where a source with that mark is asked.
    pub(super) fn holds_for(self, source: impl FnOnce() -> Option<Mark>) -> bool {
        match self {
            PinChecked::Itself => true,
            PinChecked::Somebody => false,
            PinChecked::Source(known) => source() == Some(known),
        }
    }
}

/// What a grant was based on, in a form that owns no memory.
#[derive(Clone, Copy, Debug)]
pub(super) struct Grant {
    pub(super) accepted: Accepted,
    fingerprint: Fingerprint,
    code: PlainCode,
    /// Where a fresh code was found: its counter or time step.
    position: Option<u64>,
    before: PlainState,
    /// Of Digest, as in [`Decision`].
    pub(super) wrong_responses: (u32, UnixTime),
}

#[derive(Clone, Copy)]
struct PlainCode {
    bytes: [u8; Digits::MAX],
    len: u8,
}

#[derive(Clone, Copy, Debug)]
struct PlainState {
    counter: CounterField,
    failures: u32,
    last_otp: Option<PlainCode>,
    used: Used,
    /// What is no IP address equals no client's.
    address: Option<IpAddr>,
    replay_floor: Option<ReplayFloor>,
    last_failure: Option<UnixTime>,
    intact: bool,
}

/// How credentials that come again relate to those that were judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Again {
    /// They are the same.
    Same,
    /// They are what we made of them for the backend.
    Upstream,
}

/// A decision that was made about the same credentials.
#[derive(Clone, Copy)]
pub(super) struct Recalled<'a> {
    pub(super) verdict: Verdict,
    pub(super) word: LoginResult,
    pub(super) again: Again,
    slot: &'a JudgedAttempt,
}

impl Recalled<'_> {
    /// As in an answer.
    pub(super) fn retry_after(&self) -> Option<u32> {
        (self.verdict != Verdict::Denied && self.slot.number > 0).then_some(self.slot.number)
    }
}

impl RequestMemory {
    /// The decision, if these credentials are those that were judged, and come from the same
    /// client.
    pub(super) fn recall(&self, credentials: &Mark, address: &Address) -> Option<Recalled<'_>> {
        self.slots.iter().find_map(|slot| slot.recall(credentials, address))
    }

    /// Of the last attempt, if it was denied: the number of the code of the user's printed list that
    /// is next, if the client may know it.
    pub fn paper_next(&self) -> Option<u32> {
        let last = &self.slots[0];
        let is_denied = last.known && last.verdict == Verdict::Denied as u8;
        (is_denied && last.number > 0).then_some(last.number)
    }

    /// Keeps a decision in the place of an older one.
    pub(super) fn remember(&mut self, slot: &JudgedAttempt) {
        if !slot.known {
            return;
        }
        if self.slots[0].known && self.slots[0].credentials != slot.credentials {
            self.slots[1] = self.slots[0];
        }
        self.slots[0] = *slot;
    }

    /// Keeps the decision on a repeat login, which is the same but for the time.
    pub(super) fn remember_repeat(&mut self, slot: &JudgedAttempt, now: UnixTime) {
        self.remember(slot);
        if let Some(grant) = &mut self.slots[0].grant {
            grant.accepted.at = now;
        }
    }

    /// Forgets what was decided about these credentials.
    pub(super) fn forget(&mut self, credentials: &Mark) {
        for slot in self.slots.iter_mut().filter(|slot| slot.credentials == *credentials) {
            *slot = JudgedAttempt::default();
        }
    }

    /// The server has accepted; whether that is new.
    pub(super) fn accept(&mut self, credentials: &Mark) -> bool {
        let pending = |slot: &&mut JudgedAttempt| slot.credentials == *credentials;
        self.slots.iter_mut().find(pending).is_some_and(|slot| std::mem::take(&mut slot.is_pending))
    }

    /// The server has put the header with the PIN alone in the place of these credentials.
    pub(super) fn replaced(&mut self, credentials: &Mark, upstream: Mark) {
        let is_it = |slot: &&mut JudgedAttempt| {
            slot.known && [slot.credentials, slot.upstream].contains(credentials)
        };
        if let Some(slot) = self.slots.iter_mut().find(is_it) {
            slot.upstream = upstream;
        }
    }
}

impl JudgedAttempt {
    /// With the seconds of a refusal for a while.
    pub(super) fn with_retry_after(self, seconds: Option<u32>) -> JudgedAttempt {
        JudgedAttempt { number: seconds.unwrap_or(0), ..self }
    }

    /// With the number of the paper code that is next, of a denial.
    pub(super) fn with_paper_next(self, next: Option<u16>) -> JudgedAttempt {
        match next {
            Some(next) if self.verdict == Verdict::Denied as u8 => {
                JudgedAttempt { number: next.into(), ..self }
            }
            _ => self,
        }
    }

    pub(super) fn new(
        verdict: Verdict,
        word: LoginResult,
        (credentials, address): (Mark, &Address),
        policy: &Policy,
        grant: Option<Grant>,
    ) -> JudgedAttempt {
        JudgedAttempt {
            known: true,
            is_pending: false,
            verdict: verdict as u8,
            word: word as u8,
            number: 0,
            credentials,
            upstream: credentials,
            address: ip_of(address),
            grant: grant.filter(|_| verdict == Verdict::Granted),
            pin: PinChecked::default(),
            policy: Some(*policy),
            ha1: Ha1::default(),
        }
    }

    /// Whether it is about these credentials from the same client under the very same settings.
    pub(super) fn is_of(&self, credentials: &Mark, address: &Address, policy: &Policy) -> bool {
        self.known
            && self.credentials == *credentials
            && self.address == ip_of(address)
            && self.policy.as_ref() == Some(policy)
    }

    /// What a grant rests on.
    pub(super) fn accepted(&self) -> Option<Accepted> {
        self.grant.map(|grant| grant.accepted)
    }

    /// With who has found the PIN right.
    pub(super) fn with_pin(self, pin: PinChecked) -> JudgedAttempt {
        JudgedAttempt { pin, ..self }
    }

    pub(super) fn with_ha1(self, ha1: Ha1) -> JudgedAttempt {
        JudgedAttempt { ha1, ..self }
    }

    /// See the field.
    pub(super) fn until_accepted(self) -> JudgedAttempt {
        JudgedAttempt { is_pending: true, ..self }
    }

    fn recall(&self, credentials: &Mark, address: &Address) -> Option<Recalled<'_>> {
        if !self.known || self.address != ip_of(address) {
            return None;
        }
        // A number that names no verdict can't come from us; whatever it is, it grants nothing.
        let verdicts = [
            Verdict::Granted,
            Verdict::Denied,
            Verdict::Unknown,
            Verdict::Error,
            Verdict::Throttled,
            Verdict::Busy,
        ];
        let verdict = verdicts.into_iter().find(|verdict| *verdict as u8 == self.verdict)?;
        let word = LoginResult::ALL.into_iter().find(|word| *word as u8 == self.word)?;
        let again = if self.credentials == *credentials {
            Again::Same
        } else if verdict == Verdict::Granted && self.upstream == *credentials {
            Again::Upstream
        } else {
            return None;
        };
        Some(Recalled { verdict, word, again, slot: self })
    }
}

impl<'a> Recalled<'a> {
    /// Whether it was decided by the same rules.
    pub(super) fn was_decided_by(&self, policy: &Policy) -> bool {
        self.slot.policy.is_some_and(|known| known.decides_like(policy))
    }

    /// A grant without a code, by the PIN of a user in a trusted network or on a trusted computer.
    pub(super) fn is_by_pin_alone(&self) -> bool {
        let is_its =
            matches!(self.word, LoginResult::GrantedTrusted | LoginResult::GrantedComputer);
        self.verdict == Verdict::Granted && is_its
    }

    /// Of a grant: see the field.
    pub(super) fn pin(&self) -> PinChecked {
        self.slot.pin
    }

    /// What a grant rests on.
    pub(super) fn grant(&self) -> Option<&'a Grant> {
        self.slot.grant.as_ref()
    }

    /// See the field.
    pub(super) fn is_pending(&self) -> bool {
        self.slot.is_pending
    }

    /// See the field.
    pub(super) fn ha1(&self) -> Option<Ha1> {
        (self.slot.ha1 != Ha1::default()).then_some(self.slot.ha1)
    }
}

impl Grant {
    /// By a fresh code or by the lingering one; `before` is the state that the token was decided
    /// on, `after` what has become of it. `None`: no code was accepted.
    pub(super) fn new(
        accepted: Accepted,
        is_fresh: bool,
        token: &Token,
        before: &State,
        after: &State,
    ) -> Option<Grant> {
        let position = after.last_accepted(token.factor).filter(|_| is_fresh);
        Some(Grant {
            accepted,
            fingerprint: token.fingerprint,
            code: PlainCode::of(after.last_otp.as_ref()?),
            position,
            before: PlainState::of(before),
            wrong_responses: (0, 0),
        })
    }

    pub(super) fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }

    /// The code that was accepted.
    pub(super) fn code(&self) -> Option<Code> {
        self.code.code()
    }

    pub(super) fn basis(&self) -> Option<GrantBasis> {
        Some(GrantBasis {
            fingerprint: self.fingerprint,
            before: self.before.state(),
            at: self.accepted.at,
            code: self.code()?,
            position: self.position,
        })
    }
}

pub(super) fn ip_of(address: &Address) -> Option<IpAddr> {
    match address {
        Address::Ip(ip) => Some(*ip),
        Address::Unknown | Address::Other(_) => None,
    }
}

impl PlainCode {
    fn of(code: &Code) -> PlainCode {
        let text = code.as_bytes();
        let mut bytes = [0; Digits::MAX];
        bytes[..text.len()].copy_from_slice(text);
        PlainCode { bytes, len: text.len() as u8 }
    }

    fn code(&self) -> Option<Code> {
        Code::new(self.bytes.get(..usize::from(self.len))?)
    }
}

impl std::fmt::Debug for PlainCode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("PlainCode")
    }
}

impl PlainState {
    fn of(state: &State) -> PlainState {
        PlainState {
            counter: state.counter,
            failures: state.failures,
            last_otp: state.last_otp.as_ref().map(PlainCode::of),
            used: state.used,
            address: ip_of(&state.address),
            replay_floor: state.replay_floor,
            last_failure: state.last_failure,
            intact: state.intact,
        }
    }

    fn state(&self) -> State {
        State {
            counter: self.counter,
            failures: self.failures,
            last_otp: self.last_otp.and_then(|code| code.code()),
            used: self.used,
            address: self.address.map_or(Address::Unknown, Address::Ip),
            replay_floor: self.replay_floor,
            last_failure: self.last_failure,
            intact: self.intact,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::{Server, Settings};

    const HERE: Address = Address::Ip(IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 7)));

    fn slot(verdict: Verdict, number: u64) -> JudgedAttempt {
        let policy = Settings::default().policy(Server::Nginx);
        JudgedAttempt::new(
            verdict,
            LoginResult::DeniedCode,
            ([number, number], &HERE),
            &policy,
            None,
        )
    }

    fn verdict_of(judged: &RequestMemory, number: u64, address: &Address) -> Option<Verdict> {
        judged.recall(&[number, number], address).map(|recalled| recalled.verdict)
    }

    #[test]
    fn two_attempts_are_kept_and_a_third_takes_the_place_of_the_first() {
        let mut judged = RequestMemory::default();
        assert_eq!(verdict_of(&judged, 0, &HERE), None);
        for (number, verdict) in
            [(1, Verdict::Denied), (2, Verdict::Unknown), (2, Verdict::Granted)]
        {
            judged.remember(&slot(verdict, number));
        }
        assert_eq!(verdict_of(&judged, 1, &HERE), Some(Verdict::Denied));
        assert_eq!(verdict_of(&judged, 2, &HERE), Some(Verdict::Granted));
        judged.remember(&slot(Verdict::Error, 3));
        assert_eq!(
            [1, 2, 3].map(|number| verdict_of(&judged, number, &HERE).is_some()),
            [false, true, true]
        );
        judged.forget(&[2, 2]);
        assert_eq!(verdict_of(&judged, 2, &HERE), None);
    }

    #[test]
    fn another_address_is_another_attempt() {
        let mut judged = RequestMemory::default();
        judged.remember(&slot(Verdict::Granted, 1));
        let elsewhere = Address::Ip("198.51.100.23".parse().unwrap());
        assert_eq!(verdict_of(&judged, 1, &elsewhere), None);
        assert_eq!(verdict_of(&judged, 1, &Address::Unknown), None);
    }

    #[test]
    fn a_number_that_names_no_verdict_or_word_recalls_nothing() {
        let known = slot(Verdict::Granted, 1);
        let (verdict, word) = (Verdict::Busy as u8 + 1, LoginResult::ALL.len() as u8);
        for slot in [
            JudgedAttempt { verdict, ..known },
            JudgedAttempt { verdict: 255, ..known },
            JudgedAttempt { word, ..known },
        ] {
            assert_eq!(
                verdict_of(&RequestMemory { slots: [slot, JudgedAttempt::default()] }, 1, &HERE),
                None
            );
        }
    }
}
