//! How credentials are asked for: realms, schemes, challenges.

use super::{Request, Site, now};
use crate::gate::nonces::{Nonces, SharedMemory};
use crate::http::{self, AuthScheme, basic, digest};
use crate::log::{Level, Log};
use crate::policy::Settings;

/// Challenges of one answer.
pub const CHALLENGES_MAX: usize = 3;
/// Longest realm in a configuration, in bytes.
const REALM_MAX: usize = 256;
const OFF: &[u8] = b"off";

/// A zone of nonces has at least this many memory pages: some are the server's own.
const ZONE_PAGES_MIN: usize = 8;

/// What a place asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Realm {
    /// Nothing.
    Off,
    /// One-time passwords.
    On,
}

/// What nginx's `auth_otp` means by its word, variables and all. `Err`: why it is refused.
pub fn realm_of_directive(word: &[u8]) -> Result<Realm, &'static str> {
    match word {
        OFF => Ok(Realm::Off),
        b"" => Err("auth_otp takes a realm or \"off\", not an empty word"),
        // What variables bring is looked at when it is there.
        _ if word.len() > REALM_MAX => Err("auth_otp takes a realm of up to 256 bytes"),
        _ if word.iter().any(u8::is_ascii_control) => {
            Err("auth_otp takes a realm without control characters")
        }
        _ => Ok(Realm::On),
    }
}

/// Name and size in bytes of nginx's `auth_otp_zone`, written as in its other zones. `Err`: why it
/// is refused.
pub fn zone_of_directive(word: &[u8], page: usize) -> Result<(&[u8], usize), String> {
    let parsed = || {
        let (name, size) = word.split_at(word.iter().position(|&b| b == b':')?);
        let (number, unit) = match &size[1..] {
            [number @ .., b'k' | b'K'] => (number, 1024),
            [number @ .., b'm' | b'M'] => (number, 1024 * 1024),
            number => (number, 1),
        };
        let is_number = !number.is_empty() && number.iter().all(u8::is_ascii_digit);
        let number: usize = str::from_utf8(number).ok().filter(|_| is_number)?.parse().ok()?;
        let size = number.checked_mul(unit).filter(|&size| isize::try_from(size).is_ok())?;
        (!name.is_empty()).then_some((name, size))
    };
    let (name, size) =
        parsed().ok_or("auth_otp_zone takes a name, a colon and a size, as in auth_otp:1m")?;
    let least = ZONE_PAGES_MIN * page;
    if size < least {
        let least = least / 1024;
        return Err(format!(
            "auth_otp_zone takes a size of at least {ZONE_PAGES_MIN} memory pages, which is {least}k"
        ));
    }
    Ok((name, size))
}

/// The scheme to judge credentials by in a section. `None`: it asks for others.
pub fn asked_scheme(settings: &Settings<'_>, authorization: &[u8]) -> Option<AuthScheme> {
    match http::auth_scheme(authorization) {
        (scheme @ AuthScheme::Basic, Some(_)) if settings.scheme().has_basic() => Some(scheme),
        (scheme @ AuthScheme::Digest, Some(_)) if settings.scheme().has_digest() => Some(scheme),
        _ => None,
    }
}

impl Site {
    /// What a realm means whose variables have their values. `None`: the request is to be refused;
    /// that is logged.
    pub fn realm_of_request(&self, realm: &[u8], log: &dyn Log) -> Option<Realm> {
        match realm {
            OFF => Some(Realm::Off),
            b"" => {
                let text = "the realm's variables are all empty: request refused";
                log.log(Level::Error, format_args!("{text}"));
                None
            }
            _ => Some(Realm::On),
        }
    }

    /// The values of the `WWW-Authenticate` headers of one answer, `room` bytes together at most.
    /// None at all: it can't be done, which is logged.
    ///
    /// Digest comes first, and its stronger hash: of several challenges, browsers take the first or
    /// the strongest they know.
    pub fn challenges(
        &self,
        request: &Request<'_>,
        realm: &[u8],
        zone: Option<&dyn SharedMemory>,
        stale: bool,
        room: usize,
    ) -> Vec<String> {
        let (settings, log) = (&request.section.settings, request.log);
        let refuse = |reason: &str| {
            log.log(Level::Error, format_args!("{reason}"));
            Vec::new()
        };
        let Some(quoted) = http::quoted(realm) else {
            return refuse("the realm isn't UTF-8 or contains control characters: use another");
        };
        let mut texts = Vec::with_capacity(CHALLENGES_MAX);
        if settings.scheme().has_digest() {
            let Some(nonces) = zone.and_then(Nonces::new) else {
                log_no_zone(log);
                return Vec::new();
            };
            let nonce = nonces.issue(realm, now() + i64::from(settings.nonce_lifetime()));
            for algorithm in settings.digest_algorithms().as_slice() {
                texts.push(digest::challenge(&quoted, &nonce, *algorithm, stale));
            }
        }
        if settings.scheme().has_basic() {
            texts.push(basic::challenge(&quoted));
        }
        if texts.iter().map(String::len).sum::<usize>() > room {
            return refuse("the realm is too long: use one of up to 256 bytes");
        }
        texts
    }
}

pub(super) fn log_no_zone(log: &dyn Log) {
    log.log(
        Level::Error,
        format_args!(
            "error: the shared memory for Digest nonces is missing; see the messages at the server's start"
        ),
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::{Leaked, Server};

    #[test]
    fn a_realm_is_a_short_text_or_off() {
        assert_eq!(realm_of_directive(b"off"), Ok(Realm::Off));
        for realm in [&b"Site"[..], b"Off", b"$host", "Stra\u{df}e".as_bytes(), &[b'x'; 256]] {
            assert_eq!(realm_of_directive(realm), Ok(Realm::On));
        }
        for (realm, reason) in [
            (&b""[..], "not an empty word"),
            (&[b'x'; 257], "up to 256 bytes"),
            (b"a\nb", "without control characters"),
            (b"a\x7f", "without control characters"),
        ] {
            let refused = realm_of_directive(realm).expect_err("it is refused");
            assert!(
                refused.starts_with("auth_otp takes a realm") && refused.contains(reason),
                "{refused}"
            );
        }
    }

    #[test]
    fn a_zone_is_a_name_and_a_size_of_some_pages() {
        for (word, name, size) in [
            (&b"auth_otp:1m"[..], &b"auth_otp"[..], 1 << 20),
            (b"a:32K", b"a", 32_768),
            (b"a:32768", b"a", 32_768),
            (b"a:2M", b"a", 2 << 20),
        ] {
            assert_eq!(zone_of_directive(word, 4096), Ok((name, size)), "{}", word.escape_ascii());
        }
        for word in [
            "",
            "1m",
            ":1m",
            "a:",
            "a:m",
            "a:+1m",
            "a:1g",
            "a:b:1m",
            "a:99999999999999999999m",
            "a:9999999999999999k",
        ] {
            let refused = zone_of_directive(word.as_bytes(), 4096).expect_err(word);
            assert!(
                refused.ends_with("takes a name, a colon and a size, as in auth_otp:1m"),
                "{word}: {refused}"
            );
        }
        let refused = zone_of_directive(b"a:31k", 4096).expect_err("too small");
        assert!(refused.ends_with("at least 8 memory pages, which is 32k"), "{refused}");
    }

    #[test]
    fn credentials_are_judged_by_a_scheme_that_is_asked_for() {
        let settings = |scheme: &'static [u8]| {
            let mut settings = Settings::default();
            settings.set(Server::Nginx, &Leaked, b"auth_otp_scheme", &[scheme], b"").unwrap();
            settings
        };
        let (basic, digest) = (Some(AuthScheme::Basic), Some(AuthScheme::Digest));
        for (header, by_basic, by_digest, by_both) in [
            (&b"Basic YTpi"[..], basic, None, basic),
            (b"dIGEST x", None, digest, digest),
            (b"Basic", None, None, None),
            (b"Digest", None, None, None),
            (b"Bearer x", None, None, None),
            (b"", None, None, None),
        ] {
            for (scheme, expected) in
                [(&b"basic"[..], by_basic), (b"digest", by_digest), (b"both", by_both)]
            {
                assert_eq!(
                    asked_scheme(&settings(scheme), header),
                    expected,
                    "{}",
                    header.escape_ascii()
                );
            }
        }
    }
}
