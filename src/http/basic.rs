//! Basic authentication, RFC 7617.

use data_encoding::BASE64;
use zeroize::Zeroizing;

/// The `Authorization` header for a user and password.
pub fn authorization(user: &[u8], password: &[u8]) -> Zeroizing<String> {
    let pair = Zeroizing::new([user, b":", password].concat());
    let mut header = Zeroizing::new(String::from("Basic "));
    BASE64.encode_append(&pair, &mut header);
    header
}

#[cfg(test)]
mod tests {
    use super::authorization;

    #[test]
    fn the_examples_of_rfc_7617() {
        assert_eq!(*authorization(b"Aladdin", b"open sesame"), "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==");
        assert_eq!(*authorization(b"test", "123\u{a3}".as_bytes()), "Basic dGVzdDoxMjPCow==");
    }
}
