//! What holds for any bytes that a client sends: cookies, forms, sealed values, and where a login
//! leads back to.

#[path = "common/proptest.rs"]
mod config;

use config::cases;
use otpgate::http::accept::{Language, wants};
use otpgate::http::form::{Form, MAX_FIELDS};
use otpgate::http::{back, cookie, sealed};
use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use proptest::sample::select;

/// Bytes in which the ones that mean something are frequent.
fn telling(special: &'static [u8]) -> impl Strategy<Value = Vec<u8>> {
    vec(prop_oneof![4 => select(special), 1 => any::<u8>()], 0..80)
}

/// Pieces put together, in which those that mean something are frequent.
fn pieces(words: &'static [&'static str]) -> impl Strategy<Value = Vec<u8>> {
    vec(prop_oneof![4 => select(words).prop_map(|word| word.as_bytes().to_vec()), 1 => vec(any::<u8>(), 1..3)], 0..12)
        .prop_map(|pieces| pieces.concat())
}

const OURS: &str = "__Host-otpgate-0a1b2c3d";

const COOKIES: &[&str] =
    &[OURS, "otpgate-", "a", "b", "=", "; ", ", ", ";", ",", " ", "\t", "\"", "1", "__Host-"];

/// Where a browser gets to that is at this page and is sent there: the host, if it is another one.
/// After the WHATWG's URL standard, as far as it matters for what has no scheme.
fn other_host(reference: &str) -> Option<String> {
    let plain: String = reference
        .chars()
        .filter(|c| !matches!(c, '\t' | '\r' | '\n'))
        .collect::<String>()
        .replace('\\', "/");
    let after = plain.trim_start_matches(|c: char| c <= ' ').strip_prefix("//")?.to_owned();
    let host = after.trim_start_matches('/');
    Some(host.split(['/', '?', '#']).next().unwrap_or_default().to_owned())
}

const TARGETS: &[&str] = &[
    "/", "/", "\\", ".", "..", "%2f", "%5C", "%2e", "%", "?", "#", "@", ":", "a", "otp", "login",
    "\t", "\n", " ", "//", "https:", "%0d%0a", "%25", "\u{e4}",
];

proptest! {
    #![proptest_config(cases(4000))]

    #[test]
    fn no_cookie_of_ours_reaches_an_application(header in pieces(COOKIES)) {
        let left = cookie::without_ours(&header);
        let left = left.as_deref().unwrap_or_default();
        prop_assert_eq!(cookie::values(left, OURS).count(), 0);
        prop_assert!(left.len() <= header.len());
        let again = cookie::without_ours(left);
        prop_assert_eq!(again.as_deref().unwrap_or_default(), left, "all at once");
        // Those of others are as they were, in their order.
        for name in ["a", "b", "1"] {
            let all: Vec<_> = cookie::values(&header, name).collect();
            let kept: Vec<_> = cookie::values(left, name).collect();
            prop_assert_eq!(all, kept);
        }
    }

    #[test]
    fn a_cookie_that_is_set_is_one_line_and_is_read_again(
        value in telling(b"aZ09-_.=;,\"\\ \r\n\0"), is_secure: bool, max_age: Option<u32>,
    ) {
        let value = String::from_utf8_lossy(&value).into_owned();
        if let Some(header) = cookie::set("otpgate-x", &value, is_secure, max_age) {
            prop_assert!(header.bytes().all(|b| (b' '..=b'~').contains(&b)));
            let (pair, _) = header.split_once("; ").unwrap();
            prop_assert_eq!(cookie::values(pair.as_bytes(), "otpgate-x").collect::<Vec<_>>(), [value.as_bytes()]);
            prop_assert_eq!(header.matches(';').count(), 3 + usize::from(is_secure) + usize::from(max_age.is_some()));
        }
    }

    #[test]
    fn a_form_is_read_as_it_was_written(
        fields in btree_map("[a-z=&%+ ]{1,6}", vec(any::<u8>(), 0..40), 0..MAX_FIELDS)
    ) {
        let fields: Vec<(String, Vec<u8>)> = fields
            .into_iter()
            .map(|(name, mut value)| {
                value.retain(|b| !b.is_ascii_control());
                (name, value)
            })
            .collect();
        let escaped = |bytes: &[u8]| -> String {
            let escape = |b: &u8| match *b {
                b' ' => "+".to_owned(),
                b if b.is_ascii_alphanumeric() => char::from(b).to_string(),
                b => format!("%{b:02X}"),
            };
            bytes.iter().map(escape).collect()
        };
        let pairs: Vec<String> = fields
            .iter()
            .map(|(name, value)| format!("{}={}", escaped(name.as_bytes()), escaped(value)))
            .collect();
        let form = Form::parse(pairs.join("&").as_bytes()).unwrap();
        for (name, value) in &fields {
            prop_assert_eq!(form.get(name), Some(&value[..]));
        }
    }

    #[test]
    fn no_field_of_any_body_holds_a_control_character(body in telling(b"a=&+%012fF;\0\r\n")) {
        if let Ok(form) = Form::parse(&body) {
            for name in ["a", "0", "aa", ""] {
                let value = form.get(name).unwrap_or_default();
                prop_assert!(!value.iter().any(u8::is_ascii_control));
            }
            prop_assert_eq!(form.get(""), None);
        }
    }

    #[test]
    fn only_what_was_sealed_is_opened(
        key: [u8; 32], purpose in "[a-z]{0,8}", bound_to in vec(any::<u8>(), 0..40),
        value in vec(any::<u8>(), 0..80), at: prop::sample::Index, byte: u8,
    ) {
        let text = sealed::seal(&key, &purpose, &bound_to, &value);
        prop_assert_eq!(sealed::open(&key, &purpose, &bound_to, text.as_bytes()), Some(value));
        let mut forged = text.clone().into_bytes();
        let at = at.index(forged.len());
        if forged[at] != byte {
            forged[at] = byte;
            prop_assert_eq!(sealed::open(&key, &purpose, &bound_to, &forged), None);
        }
    }

    #[test]
    fn a_login_leads_back_to_this_host_or_nowhere(target in pieces(TARGETS)) {
        let Some(back) = back::target(&target, b"/otp/login") else { return Ok(()) };
        prop_assert_eq!(back.as_bytes(), &target[..]);
        prop_assert_eq!(other_host(back), None);
        let location = back::location(true, b"www.example.org", back).unwrap();
        prop_assert!(location.bytes().all(|b| b.is_ascii_graphic()));
        prop_assert!(location.starts_with("https://www.example.org/"));
        // Once more from the start, as when it comes back from the browser.
        prop_assert_eq!(back::target(back.as_bytes(), b"/otp/login"), Some(back));
    }

    #[test]
    fn a_location_is_one_address_with_the_host_as_it_was_sent(
        host in telling(b"a.:[]0-_@/\\?#% \r\n"), target in telling(b"/a.?%\\ #\r\n"),
    ) {
        let Ok(target) = str::from_utf8(&target) else { return Ok(()) };
        if let Some(location) = back::location(false, &host, target) {
            prop_assert!(location.bytes().all(|b| b.is_ascii_graphic()));
            let host = str::from_utf8(&host).unwrap();
            let authority = location.strip_prefix("http://").unwrap().split(['/', '?', '#', '\\', '@']).next();
            prop_assert_eq!(authority, Some(host));
        }
    }

    #[test]
    fn no_header_of_wishes_is_too_odd(
        method in telling(b"GETHAD"), accept in telling(b"text/html,*;q=0.1 "), mode in telling(b"navigate"),
    ) {
        wants(&method, &accept, &mode);
        Language::liked_best(&accept);
    }
}
