//! Credentials as HTTP carries them: header bytes in, parsed types out, and back. Pure.

pub mod basic;
pub mod digest;
pub mod nonce;
pub mod unfit;

/// A quoted string (RFC 9110 section 5.6.4). `None`: it isn't UTF-8 or holds a control character.
pub fn quoted(text: &[u8]) -> Option<String> {
    let text = str::from_utf8(text).ok().filter(|text| !text.chars().any(char::is_control))?;
    Some(format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"")))
}

#[cfg(test)]
mod tests {
    use super::quoted;

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
