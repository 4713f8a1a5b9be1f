//! Directives.

use otpgate::policy::{
    Allow, Leaked, Limits, SETTINGS, Server, Settings, is_for_clients_to_switch_off,
};
use otpgate::site::{realm_of_directive, zone_of_directive};

use super::Pieces;

pub const WORDS: &[&str] = &[
    "on",
    "off",
    "0",
    "1",
    "600",
    "4294967295",
    "4294967296",
    "-1",
    "+1",
    "None",
    "none",
    "users",
    "/var/lib/otpgate/users",
    "basic",
    "digest",
    "form",
    "both",
    "MD5",
    "SHA-256",
    "192.0.2.0/24",
    "::/0",
    "alice",
    "never",
    "logout",
    "apps",
    "trusted-networks=",
    "file",
    "login",
    "/otp/login",
    "Basic",
    "OTP",
    "$host",
    "zone:10m",
    "\0",
];

/// A directive's words: taken, or refused in words that can be printed; and what is set is the same
/// however often it is said or merged.
pub fn settings(data: &[u8]) {
    let mut pieces = Pieces(data);
    let server = if pieces.byte() & 1 == 0 { Server::Apache } else { Server::Nginx };
    let number = usize::from(pieces.byte());
    let named =
        SETTINGS.get(number % (SETTINGS.len() + 1)).and_then(|setting| setting.name(server));
    let name = named.map_or_else(|| pieces.text(), |name| name.to_bytes());
    let mut words = Vec::new();
    while !pieces.is_empty() && words.len() < 20 {
        words.push(pieces.text());
    }
    let mut once = Settings::default();
    match once.set(server, &Leaked, name, &words, b"file:1") {
        Ok(()) => {
            let mut twice = once;
            let policy = once.policy(server);
            // Lists grow, and have an end.
            if twice.set(server, &Leaked, name, &words, b"file:1").is_ok() {
                assert!(twice.policy(server).decides_like(&policy), "said twice");
            }
            let merged = Settings::default().merged_with(&once, server);
            assert!(merged.policy(server).decides_like(&policy), "merged");
            let inner = once.merged_with(&Settings::default(), server);
            assert!(inner.policy(server).decides_like(&policy), "inherited");
            once.digest_policy(server);
            once.asked_scheme(server);
            once.refusal_time();
        }
        Err(error) => {
            let text = error.to_string();
            assert!(!text.contains(['\0', '\n', '\r']), "{text:?}");
        }
    }
    if let Ok(limits) = Limits::parse(words.iter().copied()) {
        assert_eq!(limits.strictest(limits), limits);
        assert_eq!(limits.strictest(Limits::default()), limits);
        let policy = once.policy(server).restricted_by(&limits);
        assert!(policy.restricted_by(&limits).decides_like(&policy));
    }
    let _ = Allow::parse(words.iter().copied());
    let word = words.first().copied().unwrap_or_default();
    let _ = realm_of_directive(word);
    is_for_clients_to_switch_off(word);
    if let Ok((zone, size)) = zone_of_directive(word, 4096) {
        assert!(word.starts_with(zone) && size > 0);
    }
}
