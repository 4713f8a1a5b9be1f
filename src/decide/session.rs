//! Sessions (specification, 4.11): logins that browsers keep by a cookie.

use super::access::rule_5_access;
use super::devices::Devices;
use super::lockout::reaches_limit;
use super::name::rule_1_listed;
use super::pin_alone::{PresentedComputer, has_trusted_computer, is_pin_alone_enough};
use super::reuse::{idle_refresh_due, lingers_since};
use super::{Decision, Inputs, LoginResult, Reason, Verdict};
use crate::UnixTime;
use crate::policy::Policy;
use crate::token::{Address, Entry, Fingerprint, Session, SessionId, SessionKind, TokenTag};

/// A cookie of ours, as its bearer presents it: nobody else can have made it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PresentedSession {
    /// The session that it names.
    pub id: SessionId,
    /// It was given by this place, or by one whose logins are decided alike.
    pub is_of_place: bool,
    /// The address that it was given to is known, and is the client's.
    pub is_from_its_address: bool,
}

/// What is known of the browser of a login.
#[derive(Clone, Copy)]
pub struct LoginBrowser<'a> {
    /// The cookie that came along, if it is the user's.
    pub presented: Option<PresentedSession>,
    /// The computer that it is trusted as, if it is the user's.
    pub computer: Option<PresentedComputer>,
    /// The session that a code makes here: of the token with these fields 1 to 4, at this position.
    pub session_of: &'a dyn Fn(&Fingerprint, u64) -> SessionId,
}

/// The decision on a presented session.
#[derive(Clone, Debug)]
pub struct DecidedSession {
    /// The decision; about tokens it writes nothing.
    pub decision: Decision,
    /// The session with a new time of use, if that is to be saved. The answer holds without it.
    pub refreshed: Option<Session>,
}

impl DecidedSession {
    /// On one whose cookie can't be told from a made up one any more.
    pub fn over() -> DecidedSession {
        DecidedSession { decision: denied(Reason::SessionOver), refreshed: None }
    }
}

/// Decides about a presented session of a user.
pub fn session(
    policy: &Policy,
    entry: &Entry,
    presented: &PresentedSession,
    address: &Address,
    now: UnixTime,
) -> DecidedSession {
    let held = held(policy, entry, Some(presented), address, now).and_then(|held| {
        let refused = rule_5_access(policy).map(|refused| Decision {
            // Nobody guesses a cookie.
            is_wrong_guess: false,
            ..refused
        });
        refused.or_else(|| too_old(policy, held, now)).map_or(Ok(held), Err)
    });
    match held {
        Err(decision) => DecidedSession { decision, refreshed: None },
        Ok(held) => {
            let is_due =
                policy.max_idle.is_some_and(|limit| now >= idle_refresh_due(limit, held.last));
            let decision =
                Decision::new(Verdict::Granted, LoginResult::GrantedSession, Reason::Session);
            DecidedSession {
                decision: Decision { changes_are_optional: true, ..decision },
                refreshed: is_due.then_some(Session { last: now, ..*held }),
            }
        }
    }
}

/// Before a code alone is looked at: whether a session tells that the user knows the PIN. The
/// refusal if none does.
pub(super) fn knows_pin(inputs: Inputs<'_>) -> Option<Decision> {
    let Inputs { policy, entry, attempt, now, browser, .. } = inputs;
    let presented = browser.and_then(|browser| browser.presented.as_ref());
    held(policy, entry, presented, &attempt.address, now).err()
}

/// The session, if it holds here, though perhaps not for this user or without a newer code.
fn held<'e>(
    policy: &Policy,
    entry: &'e Entry,
    presented: Option<&PresentedSession>,
    address: &Address,
    now: UnixTime,
) -> Result<&'e Session, Decision> {
    if let Some(refused) = rule_1_listed(entry) {
        // No other provider can tell anything from our cookie, and it is no guess at a name.
        return Err(match refused.word {
            LoginResult::Unknown => denied(Reason::SessionOver).whatever_the_state(),
            _ => refused.whatever_the_state(),
        });
    }
    let session = presented
        .and_then(|presented| entry.ways.sessions.iter().find(|it| it.id == presented.id))
        .zip(presented);
    let Some((session, presented)) = session else { return Err(denied(Reason::SessionOver)) };
    let is_its = |fingerprint: &Fingerprint| TokenTag::of(fingerprint) == session.token;
    let mut lines = entry.lines.iter();
    let line = lines.position(|line| !line.token.disabled && is_its(&line.token.fingerprint));
    let Some(line) = line else { return Err(denied(Reason::SessionTokenChanged)) };
    if is_locked(policy, entry, line, now) {
        return Err(Decision::denied(LoginResult::DeniedLocked, Reason::Locked));
    }
    if policy.cookie.is_none() || !presented.is_of_place {
        return Err(denied(Reason::OtherPlace));
    }
    if policy.logout_on_ip_change && !presented.is_from_its_address {
        let reason = match address {
            Address::Unknown => Reason::SessionNoAddress,
            _ => Reason::SessionAddressChanged,
        };
        return Err(Decision::denied(LoginResult::DeniedIp, reason));
    }
    if !lingers_since(policy, session.first, session.last, now) {
        return Err(denied(Reason::SessionExpired));
    }
    match session.kind {
        SessionKind::Code => Ok(session),
        SessionKind::PinAlone if is_pin_alone_enough(policy, entry, address) => Ok(session),
        SessionKind::Computer if has_trusted_computer(policy, entry, session.token, now) => {
            Ok(session)
        }
        SessionKind::PinAlone | SessionKind::Computer => Err(denied(Reason::SessionNeedsCode)),
    }
}

/// Whether the place wants a newer code than the session's.
fn too_old(policy: &Policy, session: &Session, now: UnixTime) -> Option<Decision> {
    let max_age = i64::from(policy.cookie?.max_age?.get());
    let is_recent =
        session.kind == SessionKind::Code && now.saturating_sub(session.first) < max_age;
    (!is_recent).then(|| denied(Reason::FreshCodeNeeded))
}

/// Rule 2 for one line, without building anything where nothing was wrong.
fn is_locked(policy: &Policy, entry: &Entry, line: usize, now: UnixTime) -> bool {
    if !entry.lines.iter().any(|line| reaches_limit(policy, line.state.failures)) {
        return false;
    }
    let mut devices = Devices::of(policy, entry, now);
    let device = devices.of_line_mut(line);
    device.mend_times(now);
    device.check_lockout(policy, now);
    device.locked
}

fn denied(reason: Reason) -> Decision {
    Decision::denied(LoginResult::DeniedSession, reason)
}
