//! A program's own password (specification, section 4.9): random, good for some paths and methods,
//! and no part of a login by code. It changes no token's state.

use super::access::rule_5_access;
use super::name::rule_1_name;
use super::{Attempt, Decision, LoginResult, Proof, Reason, Verdict};
use crate::UnixTime;
use crate::http::target::Target;
use crate::policy::Policy;
use crate::token::{AppPassword, Entry};

/// The decision on a program's password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DecidedApp {
    /// The decision.
    pub decision: Decision,
    /// On a grant: which of the user's.
    pub app: Option<usize>,
}

/// Decides a password of the shape of a program's, where such passwords are allowed. `None`: rule 1
/// says who decides.
pub fn app(
    policy: &Policy,
    entry: &Entry,
    attempt: &Attempt<'_>,
    target: &Target<'_>,
    now: UnixTime,
) -> Option<DecidedApp> {
    let Proof::Password(password) = attempt.proof else { return None };
    if rule_1_name(entry, attempt).is_some() {
        return None;
    }
    let refused = |decision: Decision| {
        Some(DecidedApp { decision: decision.whatever_the_state(), app: None })
    };
    let denied = |reason| Decision::denied(LoginResult::DeniedApp, reason);
    if entry.ways.always.apps {
        return refused(denied(Reason::AppsClosed).after_a_wrong_guess());
    }
    // All are looked at, so that the time doesn't say which.
    let apps = entry.ways.apps.iter().enumerate();
    let its: Vec<(usize, &AppPassword)> =
        apps.filter(|(_, app)| app.digest.is_of(password)).collect();
    if its.is_empty() {
        return refused(denied(Reason::WrongApp).after_a_wrong_guess());
    }
    if let Some(decision) = rule_5_access(policy) {
        return refused(decision);
    }
    let mut first = None;
    for (index, app) in its {
        match refusal(app, target, now) {
            None => {
                let decision =
                    Decision::new(Verdict::Granted, LoginResult::GrantedApp, Reason::App)
                        .whatever_the_state();
                return Some(DecidedApp { decision, app: Some(index) });
            }
            Some(reason) => first = first.or(Some(reason)),
        }
    }
    refused(denied(first.unwrap_or(Reason::WrongApp)))
}

/// Why the right password isn't enough. Nothing was guessed by then.
fn refusal(app: &AppPassword, target: &Target<'_>, now: UnixTime) -> Option<Reason> {
    let is_its_method = app.methods.is_empty()
        || target.method().is_some_and(|method| app.methods.iter().any(|its| its == method));
    match () {
        () if app.until.is_some_and(|end| now >= end) => Some(Reason::AppEnded),
        () if !is_its_method => Some(Reason::AppMethod),
        () if !app.paths.is_empty() && !target.is_within(&app.paths) => Some(Reason::AppPath),
        () => None,
    }
}

impl Decision {
    /// A program's password, right in another place of the same request, where this place lets no
    /// programs in.
    pub(crate) fn apps_off() -> Decision {
        Decision::denied(LoginResult::DeniedApp, Reason::AppsOff).whatever_the_state()
    }
}

#[cfg(test)]
mod tests {
    use jiff::tz::TimeZone;

    use super::*;
    use crate::policy::{Admission, Server, Settings};
    use crate::token::{APP_RANDOM, Address, AppDigest, SALT_LEN, StoredToken, Ways, app_password};
    use crate::users::record;

    const END: UnixTime = 1_800_000_000;

    fn password(number: u8) -> String {
        app_password(&[number; APP_RANDOM]).to_string()
    }

    fn app_of(number: u8, path: &str, until: Option<UnixTime>) -> AppPassword {
        AppPassword {
            name: vec![number],
            digest: AppDigest::of([number; SALT_LEN], password(number).as_bytes()),
            paths: vec![path.as_bytes().to_vec()],
            methods: vec![b"GET".to_vec()],
            until,
            used: None,
        }
    }

    fn entry(lines: &[&str], apps: Vec<AppPassword>) -> Entry {
        let lines = lines.iter().map(|line| {
            let record = record::parse(line.as_bytes(), &TimeZone::UTC).unwrap();
            StoredToken { token: record.token, state: record.state }
        });
        let ways = Ways { apps, ..Ways::default() };
        Entry { lines: lines.collect(), ways, ..Entry::default() }
    }

    fn decided(
        policy: &Policy,
        entry: &Entry,
        number: u8,
        line: &str,
        now: UnixTime,
    ) -> Option<DecidedApp> {
        let password = password(number);
        let attempt = Attempt {
            user: b"alice",
            proof: Proof::Password(password.as_bytes()),
            address: Address::Unknown,
        };
        let request_line = line.as_bytes();
        let target = Target { request_line, path: b"/dav/a", ..Target::default() };
        app(policy, entry, &attempt, &target, now)
    }

    #[test]
    fn an_app_is_granted_its_paths_and_methods_until_its_last_day_is_over() {
        let policy = Settings::default().policy(Server::Apache);
        let here = "GET /dav/a HTTP/1.1";
        let apps =
            vec![app_of(1, "/dav/", Some(END)), app_of(2, "/cal/", None), app_of(2, "/dav/", None)];
        let alice = entry(&["HOTP alice 1234 00"], apps);
        for (number, line, now, reason, is_try, which) in [
            (1, here, END - 1, Reason::App, false, Some(0)),
            (1, here, END, Reason::AppEnded, false, None),
            (1, "PUT /dav/a HTTP/1.1", END - 1, Reason::AppMethod, false, None),
            (1, "get /dav/a HTTP/1.1", END - 1, Reason::AppMethod, false, None),
            (1, "GET /cal/a HTTP/1.1", END - 1, Reason::AppPath, false, None),
            (1, "", END - 1, Reason::AppMethod, false, None),
            // Of two lines with one password, either.
            (2, here, END, Reason::App, false, Some(2)),
            (3, here, END - 1, Reason::WrongApp, true, None),
        ] {
            let DecidedApp { decision, app } = decided(&policy, &alice, number, line, now).unwrap();
            let verdict = if which.is_some() { Verdict::Granted } else { Verdict::Denied };
            assert_eq!(
                (decision.verdict, decision.reason, decision.is_wrong_guess, app),
                (verdict, reason, is_try, which),
                "{number} {line}"
            );
            assert!(decision.changes.is_empty() && decision.accepted.is_none());
        }
    }

    #[test]
    fn what_keeps_a_user_out_keeps_the_users_apps_out_but_for_a_lock_out() {
        let plain = Settings::default().policy(Server::Apache);
        let strict = Policy { max_failures: 3, ..plain };
        let not_admitted = Policy { admission: Admission::NotAdmitted, ..plain };
        let unknown = Policy { admission: Admission::Unknown, ..plain };
        let apps = || vec![app_of(1, "/dav/", None)];
        let mut closed = entry(&["HOTP alice 1234 00"], apps());
        closed.ways.always.apps = true;
        let locked = entry(&["HOTP alice 1234 00 0 9"], apps());
        let line = "GET /dav/a HTTP/1.1";
        for (policy, entry, number, word) in [
            (&strict, &locked, 1, LoginResult::GrantedApp),
            (&plain, &closed, 1, LoginResult::DeniedApp),
            (&not_admitted, &locked, 1, LoginResult::DeniedUser),
            (&not_admitted, &locked, 2, LoginResult::DeniedApp),
            (&unknown, &locked, 1, LoginResult::Error),
        ] {
            let decided = decided(policy, entry, number, line, 0).unwrap().decision;
            assert_eq!(decided.word, word);
            assert_eq!(decided.verdict == Verdict::Granted, word == LoginResult::GrantedApp);
        }
        // Rule 1 says more about these.
        for lines in [&["OFF:HOTP alice 1234 00"][..], &[]] {
            assert_eq!(decided(&plain, &entry(lines, apps()), 1, line, 0), None);
        }
    }
}
