//! Basic authentication, RFC 7617.

use std::sync::LazyLock;

use data_encoding::{BASE64, BASE64_NOPAD, Encoding};
use zeroize::Zeroizing;

use super::{AuthScheme, auth_scheme};

/// The challenge. `realm` as [`super::quoted`] makes it.
pub fn challenge(realm: &str) -> String {
    format!("Basic realm={realm}, charset=\"UTF-8\"")
}

/// The `Authorization` header for a user and password.
pub fn authorization(user: &[u8], password: &[u8]) -> Zeroizing<String> {
    let pair = Zeroizing::new([user, b":", password].concat());
    let mut header = Zeroizing::new(String::from("Basic "));
    BASE64.encode_append(&pair, &mut header);
    header
}

/// Whether the header is one of Basic that holds a NUL. A header of another scheme, or of none,
/// doesn't.
pub fn hides_a_nul(header: &[u8]) -> bool {
    pair(header).is_some_and(|pair| pair.contains(&0))
}

/// Whether the header is one of Basic whose user, colon and password are so many bytes. Where that
/// is what a server has read from it up to a NUL, there is none; it is told without a look at any
/// of them.
pub fn is_of_length(header: &[u8], len: usize) -> bool {
    let (AuthScheme::Basic, Some(rest)) = auth_scheme(header) else { return false };
    let text = match rest {
        [text @ .., b'=', b'='] | [text @ .., b'='] => text,
        text => text,
    };
    text.len() * 3 / 4 == len
}

/// User and password of the header. `None`: it is none of Basic, or hides something.
pub fn credentials(header: &[u8]) -> Option<(Vec<u8>, Zeroizing<Vec<u8>>)> {
    let pair = pair(header).filter(|pair| !pair.contains(&0))?;
    let colon = pair.iter().position(|&b| b == b':')?;
    Some((pair[..colon].to_vec(), Zeroizing::new(pair[colon + 1..].to_vec())))
}

fn pair(header: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let (AuthScheme::Basic, Some(rest)) = auth_scheme(header) else { return None };
    // As lenient as servers are: they read up to the first character that isn't base64.
    let text = rest.trim_ascii();
    let is_base64 = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'/');
    let end = text.iter().position(|b| !is_base64(b)).unwrap_or(text.len());
    // A single character more makes no byte.
    let end = if end % 4 == 1 { end - 1 } else { end };
    LENIENT.decode(&text[..end]).ok().map(Zeroizing::new)
}

/// Base64 without padding, whatever bits are left over.
static LENIENT: LazyLock<Encoding> = LazyLock::new(|| {
    let mut specification = BASE64_NOPAD.specification();
    specification.check_trailing_bits = false;
    specification.encoding().expect("BASE64_NOPAD is well formed, and the check may be left out")
});

#[cfg(test)]
mod tests {
    use super::{authorization, credentials, hides_a_nul, is_of_length};

    #[test]
    fn the_examples_of_rfc_7617() {
        assert_eq!(
            *authorization(b"Aladdin", b"open sesame"),
            "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="
        );
        assert_eq!(*authorization(b"test", "123\u{a3}".as_bytes()), "Basic dGVzdDoxMjPCow==");
    }

    #[test]
    fn user_and_password_are_split_at_the_first_colon() {
        let header = authorization(b"alice", b"12:34755224");
        let (user, password) = credentials(header.as_bytes()).unwrap();
        assert_eq!((&user[..], &password[..]), (&b"alice"[..], &b"12:34755224"[..]));
        for header in ["", "Basic YWxpY2U=", "Digest username=alice", "Basic YTpiAA=="] {
            assert_eq!(credentials(header.as_bytes()), None, "{header}");
        }
    }

    #[test]
    fn a_nul_is_seen_wherever_it_stands() {
        for (password, hidden) in [
            (&b"1234755224"[..], false),
            (b"1234755224\0", true),
            (b"1234755224\0x", true),
            (b"1234755224\0xy", true),
            (b"\x001234755224", true),
            (b"", false),
        ] {
            let header = authorization(b"alice", password);
            assert_eq!(hides_a_nul(header.as_bytes()), hidden, "{}", password.escape_ascii());
            let read = password.iter().position(|&b| b == 0).unwrap_or(password.len());
            assert_eq!(is_of_length(header.as_bytes(), "alice:".len() + read), !hidden);
            assert_eq!(
                hides_a_nul(header.trim_end_matches('=').as_bytes()),
                hidden,
                "without padding"
            );
            assert_eq!(hides_a_nul(header.replace("Basic ", "bAsIc   ").as_bytes()), hidden);
        }
        for header in ["", "Basic", "Basic ", "Digest AAAA", "Bearer AAAA", "Basic ????"] {
            assert!(!hides_a_nul(header.as_bytes()), "{header}");
        }
    }
}
