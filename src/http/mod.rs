//! Credentials as HTTP carries them, and what else a login needs of a request: header bytes in,
//! parsed types out, and back. Pure.

pub mod accept;
pub mod back;
pub mod basic;
pub mod cookie;
pub mod digest;
pub mod form;
pub mod nonce;
pub mod sealed;
pub mod target;

/// How credentials authenticate: the auth-scheme of RFC 9110 section 11.1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuthScheme {
    /// RFC 7617.
    Basic,
    /// RFC 7616.
    Digest,
    /// RFC 6750.
    Bearer,
    /// Any other, or none.
    Other,
}

/// The scheme that an `Authorization` header begins with, and what follows its blank. `None`:
/// nothing does.
pub fn auth_scheme(header: &[u8]) -> (AuthScheme, Option<&[u8]>) {
    let header = header.trim_ascii_start();
    let len = header.iter().position(|&b| b == b' ').unwrap_or(header.len());
    let (word, rest) = header.split_at(len);
    let is = |name: &[u8]| word.eq_ignore_ascii_case(name);
    let scheme = match () {
        () if is(b"Basic") => AuthScheme::Basic,
        () if is(b"Digest") => AuthScheme::Digest,
        () if is(b"Bearer") => AuthScheme::Bearer,
        () => AuthScheme::Other,
    };
    (scheme, rest.get(1..))
}

/// A quoted string (RFC 9110 section 5.6.4). `None`: it isn't UTF-8 or holds a control character.
pub fn quoted(text: &[u8]) -> Option<String> {
    let text = str::from_utf8(text).ok().filter(|text| !text.chars().any(char::is_control))?;
    Some(format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"")))
}

#[cfg(test)]
mod tests {
    use super::{AuthScheme, auth_scheme, quoted};

    #[test]
    fn the_scheme_is_the_first_word_in_any_case() {
        for (header, scheme, rest) in [
            (&b"Basic YTpi"[..], AuthScheme::Basic, Some(&b"YTpi"[..])),
            (b" bAsIc  YTpi", AuthScheme::Basic, Some(b" YTpi")),
            (b"DIGEST username=a", AuthScheme::Digest, Some(b"username=a")),
            (b"Digest", AuthScheme::Digest, None),
            (b"Digest ", AuthScheme::Digest, Some(b"")),
            (b"bearer x", AuthScheme::Bearer, Some(b"x")),
            (b"Basic\tYTpi", AuthScheme::Other, None),
            (b"Basics YTpi", AuthScheme::Other, Some(b"YTpi")),
            (b"", AuthScheme::Other, None),
        ] {
            assert_eq!(auth_scheme(header), (scheme, rest), "{}", header.escape_ascii());
        }
    }

    #[test]
    fn quotes_and_backslashes_are_escaped_and_control_characters_refused() {
        for (text, expected) in [
            (&b"area"[..], Some("\"area\"")),
            (b"", Some("\"\"")),
            (b"a \"b\" c\\", Some("\"a \\\"b\\\" c\\\\\"")),
            ("\u{e4}rea".as_bytes(), Some("\"\u{e4}rea\"")),
            (b"a\r\nX-Header: b", None),
            (b"a\0", None),
            (b"\xff", None),
        ] {
            assert_eq!(quoted(text).as_deref(), expected, "{}", text.escape_ascii());
        }
    }
}
