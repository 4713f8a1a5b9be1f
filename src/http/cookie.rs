//! Cookies (RFC 6265): the values of ours in a Cookie header, that header without ours, and
//! Set-Cookie.

use std::borrow::Cow;

use zeroize::Zeroizing;

/// What the names of our cookies begin with. The first is kept by browsers for cookies that only
/// this host has set, over HTTPS.
pub const PREFIXES: [&str; 2] = ["__Host-otpgate-", "otpgate-"];

/// Of a longer Cookie header, none is ours.
pub const MAX_HEADER: usize = 64 * 1024;

/// So many values of one name are looked at: each may cost a MAC.
pub const MAX_VALUES: usize = 4;

/// Where one cookie may end: servers join several Cookie headers by `; ` or by `, `.
fn may_separate(byte: &u8) -> bool {
    matches!(byte, b';' | b',')
}

/// The values of the cookies of this name, as they stand there. Browsers take commas into values,
/// so after one there is no cookie of a name that other hosts can't give: another host of the domain
/// could have put it there. Browsers send one header.
pub fn values<'a>(header: &'a [u8], name: &str) -> impl Iterator<Item = &'a [u8]> {
    let header = if header.len() <= MAX_HEADER { header } else { b"" };
    let value = move |cookie: &'a [u8]| {
        let (found, value) = cookie.split_at(cookie.iter().position(|&b| b == b'=')?);
        (found.trim_ascii() == name.as_bytes()).then(|| value[1..].trim_ascii())
    };
    header.split(|&byte| byte == b';').filter_map(value).take(MAX_VALUES)
}

/// From the first cookie that may be ours to the last: the rest of the header says nothing to us.
/// `None`: there is none.
pub fn ours(header: &[u8]) -> Option<&[u8]> {
    let (mut at, mut span) = (0, None);
    // Each request with a cookie asks.
    for end in memchr::memchr_iter(b';', header).chain([header.len()]) {
        if is_ours(&header[at..end]) {
            span = Some((span.map_or(at, |(begin, _)| begin), end));
        }
        at = end + 1;
    }
    let (begin, end) = span.filter(|_| header.len() <= MAX_HEADER)?;
    Some(&header[begin..end])
}

/// The Cookie header without our cookies, byte for byte otherwise. `None`: nothing is left.
pub fn without_ours(header: &[u8]) -> Option<Cow<'_, [u8]>> {
    if !header.split(may_separate).any(is_ours) {
        return (!header.is_empty()).then_some(Cow::Borrowed(header));
    }
    let mut left = Vec::with_capacity(header.len());
    let mut at = 0;
    for cookie in header.split(may_separate) {
        if !is_ours(cookie) {
            if left.is_empty() {
                left.extend_from_slice(cookie.trim_ascii_start());
            } else {
                // With the separator before it.
                left.extend_from_slice(&header[at - 1..at + cookie.len()]);
            }
        }
        at += cookie.len() + 1;
    }
    let is_blank = left.iter().all(|byte| may_separate(byte) || byte.is_ascii_whitespace());
    (!is_blank).then_some(Cow::Owned(left))
}

fn is_ours(cookie: &[u8]) -> bool {
    let cookie = cookie.trim_ascii_start();
    PREFIXES.iter().any(|prefix| cookie.starts_with(prefix.as_bytes()))
}

/// The value of a Set-Cookie header: for all paths of this host, out of the reach of scripts. Lives
/// as long as the browser runs, or so many seconds.
///
/// `None`: no cookie may have that name or value, or browsers wouldn't keep it (`__Host-` without
/// `Secure`).
pub fn set(
    name: &str,
    value: &str,
    is_secure: bool,
    max_age: Option<u32>,
) -> Option<Zeroizing<String>> {
    let is_kept = is_secure || !name.starts_with("__Host-");
    if !(is_token(name) && value.bytes().all(is_cookie_octet) && is_kept) {
        return None;
    }
    let secure = if is_secure { "; Secure" } else { "" };
    let age = max_age.map(|seconds| format!("; Max-Age={seconds}")).unwrap_or_default();
    // In one piece: what is moved as it grows would stay in memory.
    let parts = [name, "=", value, "; Path=/", secure, "; HttpOnly; SameSite=Lax", &age];
    Some(Zeroizing::new(parts.concat()))
}

/// The value of a Set-Cookie header that ends the cookie. `None` as for [`set`].
pub fn end(name: &str, is_secure: bool) -> Option<String> {
    set(name, "", is_secure, Some(0)).map(|header| header.to_string())
}

/// RFC 9110 section 5.6.2.
fn is_token(text: &str) -> bool {
    let is_token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    !text.is_empty() && text.bytes().all(is_token)
}

/// RFC 6265 section 4.1.1.
fn is_cookie_octet(byte: u8) -> bool {
    byte.is_ascii_graphic() && !matches!(byte, b'"' | b',' | b';' | b'\\')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(header: &str, name: &str) -> Vec<String> {
        values(header.as_bytes(), name).map(|v| String::from_utf8_lossy(v).into_owned()).collect()
    }

    #[test]
    fn values_are_those_of_this_very_name() {
        for (header, expected) in [
            ("a=1", &["1"][..]),
            ("a=1; b=2", &["1"]),
            ("b=2; a=1", &["1"]),
            ("b=2;a=1", &["1"]),
            // A comma is part of a value.
            ("b=2, a=1", &[]),
            ("b=2,a=1; a=3", &["3"]),
            ("a=1, a=2; a=3", &["1, a=2", "3"]),
            (" \ta = 1 ;", &["1"]),
            ("a=", &[""]),
            ("a=1=2", &["1=2"]),
            ("a=\"1\"", &["\"1\""]),
            ("a=1;a=2;a=3;a=4;a=5", &["1", "2", "3", "4"]),
            ("", &[]),
            ("a", &[]),
            ("=1", &[]),
            ("A=1", &[]),
            ("aa=1; ba=2; a.=3", &[]),
            ("b=a=1", &[]),
            ("b=\"a\"", &[]),
            (";,;=;a;,", &[]),
            (",a=1", &[]),
        ] {
            assert_eq!(read(header, "a"), expected, "{header}");
        }
    }

    #[test]
    fn no_value_of_another_cookie_becomes_one_of_ours() {
        let theirs = "z=1,__Host-otpgate-00ff00ff=1.theirs";
        let header = format!("{theirs}; __Host-otpgate-00ff00ff=1.ours");
        assert_eq!(read(&header, "__Host-otpgate-00ff00ff"), ["1.ours"]);
        assert_eq!(ours(header.as_bytes()), Some(&b" __Host-otpgate-00ff00ff=1.ours"[..]));
        assert_eq!(without_ours(header.as_bytes()).as_deref(), Some(&b"z=1"[..]));
    }

    #[test]
    fn an_overlong_header_holds_none() {
        let fill = |len: usize| format!("a=1; b={}", "x".repeat(len - "a=1; b=".len()));
        assert_eq!(read(&fill(MAX_HEADER), "a"), ["1"]);
        assert_eq!(read(&fill(MAX_HEADER + 1), "a"), [""; 0]);
    }

    #[test]
    fn applications_see_all_cookies_but_ours() {
        for (header, expected) in [
            ("a=1; b=2", Some("a=1; b=2")),
            ("a=1;b=2,  c", Some("a=1;b=2,  c")),
            ("otpgate-x=1", None),
            ("__Host-otpgate-x=1", None),
            ("otpgate-x=1;", None),
            (" otpgate-x=1 ; \t", None),
            ("otpgate-x=1, otpgate-y=2; __Host-otpgate-z=3", None),
            ("otpgate-x=1; b=2", Some("b=2")),
            ("a=1; otpgate-x=1", Some("a=1")),
            ("a=1; otpgate-x=1; b=2", Some("a=1; b=2")),
            ("a=1, otpgate-x=1, b=2", Some("a=1, b=2")),
            ("otpgate-x=1; __Host-otpgate-y=2; a=\"1\" ;b", Some("a=\"1\" ;b")),
            ("a=1;;otpgate-x=1;b=2", Some("a=1;;b=2")),
            ("otpgate-", None),
            ("a=1; otpgate-x", Some("a=1")),
            ("a=1; \totpgate-x = 1", Some("a=1")),
            ("a=otpgate-x; xotpgate-x=1", Some("a=otpgate-x; xotpgate-x=1")),
            ("OTPGATE-x=1", Some("OTPGATE-x=1")),
            ("otpgate=1; __Host-otpgate=2", Some("otpgate=1; __Host-otpgate=2")),
            ("; ", Some("; ")),
            ("", None),
        ] {
            let left = without_ours(header.as_bytes());
            let left = left.as_deref().map(|left| str::from_utf8(left).unwrap());
            assert_eq!(left, expected, "{header}");
        }
    }

    #[test]
    fn what_is_between_the_first_and_the_last_of_ours_has_all_of_them() {
        for (header, expected) in [
            ("", None),
            ("a=1; b=otpgate-x", None),
            ("otpgate-x=1", Some("otpgate-x=1")),
            ("a=1; otpgate-x=1; b=2", Some(" otpgate-x=1")),
            (
                "a=1;otpgate-x=1; b=2;__Host-otpgate-y=3;c",
                Some("otpgate-x=1; b=2;__Host-otpgate-y=3"),
            ),
            ("a=1,otpgate-x=1; b=2", None),
        ] {
            let span = ours(header.as_bytes()).map(|span| str::from_utf8(span).unwrap());
            assert_eq!(span, expected, "{header}");
        }
        let long = format!("otpgate-x=1; a={}", "b".repeat(MAX_HEADER));
        assert_eq!(ours(long.as_bytes()), None);
    }

    #[test]
    fn what_is_hidden_from_applications_includes_all_that_is_read() {
        for prefix in PREFIXES {
            let name = format!("{prefix}00ff00ff");
            for header in [format!("a=1;{name}=v"), format!("{name}=v ; a"), format!("x;{name} =v")]
            {
                assert_eq!(read(&header, &name), ["v"], "{header}");
                let left = without_ours(header.as_bytes()).unwrap();
                assert_eq!(values(&left, &name).count(), 0, "{header}");
            }
        }
    }

    #[test]
    fn a_cookie_is_for_the_whole_host_and_for_no_script() {
        for (is_secure, max_age, expected) in [
            (true, None, "otpgate-x=1.a; Path=/; Secure; HttpOnly; SameSite=Lax"),
            (false, None, "otpgate-x=1.a; Path=/; HttpOnly; SameSite=Lax"),
            (true, Some(60), "otpgate-x=1.a; Path=/; Secure; HttpOnly; SameSite=Lax; Max-Age=60"),
        ] {
            let header = set("otpgate-x", "1.a", is_secure, max_age);
            assert_eq!(header.as_deref().map(String::as_str), Some(expected));
        }
        let ended = "__Host-otpgate-x=; Path=/; Secure; HttpOnly; SameSite=Lax; Max-Age=0";
        assert_eq!(end("__Host-otpgate-x", true).as_deref(), Some(ended));
        assert_eq!(end("__Host-otpgate-x", false), None, "no browser would take it");
    }

    #[test]
    fn nothing_but_a_cookie_is_set() {
        for (name, value) in [
            ("", "1"),
            ("a b", "1"),
            ("a=b", "1"),
            ("a;b", "1"),
            ("a\r\nb", "1"),
            ("\u{e4}", "1"),
            ("a", "1; Domain=example.com"),
            ("a", "1\r\nSet-Cookie: b=2"),
            ("a", "1,2"),
            ("a", "1 2"),
            ("a", "\"1\""),
            ("a", "1\\"),
            ("a", "\u{e4}"),
            ("a", "1\0"),
        ] {
            assert_eq!(set(name, value, true, None), None, "{name:?} {value:?}");
        }
    }
}
