//! Digest authentication, RFC 7616 (and RFC 2617, RFC 2069 for what old clients send): reading the client's
//! header, and telling whether a password is the one it was computed from.

use data_encoding::HEXLOWER;
use md5::{Digest, Md5};
use subtle::{Choice, ConstantTimeEq};

/// What a client sent in `Authorization: Digest …`, unquoted. A parameter that came twice has its last value.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)] // the names are those of RFC 7616 section 3.4
pub struct Credentials {
    pub username: Vec<u8>,
    pub realm: Vec<u8>,
    pub nonce: Vec<u8>,
    pub uri: Vec<u8>,
    pub response: Vec<u8>,
    pub algorithm: Option<Vec<u8>>,
    pub cnonce: Option<Vec<u8>>,
    pub opaque: Option<Vec<u8>>,
    pub qop: Option<Vec<u8>>,
    pub nc: Option<Vec<u8>>,
}

/// Longest header looked at, in bytes.
const HEADER_MAX: usize = 16 * 1024;

impl Credentials {
    /// Parses the header's value. `None`: another scheme, not well formed, or a parameter is missing without
    /// which no response can be checked.
    pub fn parse(header: &[u8]) -> Option<Credentials> {
        if header.len() > HEADER_MAX || header.contains(&0) {
            return None;
        }
        let (scheme, mut rest) = header.trim_ascii_start().split_at_checked(6)?;
        if !scheme.eq_ignore_ascii_case(b"Digest") || !rest.first()?.is_ascii_whitespace() {
            return None;
        }
        let mut seen = Credentials::default();
        let mut has = [false; 5];
        loop {
            rest = rest.trim_ascii_start();
            if rest.is_empty() {
                break;
            }
            let (name, value, after) = parameter(rest)?;
            match &name.to_ascii_lowercase()[..] {
                b"username" => (seen.username, has[0]) = (value, true),
                b"realm" => (seen.realm, has[1]) = (value, true),
                b"nonce" => (seen.nonce, has[2]) = (value, true),
                b"uri" => (seen.uri, has[3]) = (value, true),
                b"response" => (seen.response, has[4]) = (value, true),
                b"algorithm" => seen.algorithm = Some(value),
                b"cnonce" => seen.cnonce = Some(value),
                b"opaque" => seen.opaque = Some(value),
                b"qop" => seen.qop = Some(value),
                b"nc" => seen.nc = Some(value),
                _ => {}
            }
            rest = after;
        }
        let is_complete =
            has == [true; 5] && (seen.qop.is_none() || (seen.cnonce.is_some() && seen.nc.is_some()));
        is_complete.then_some(seen)
    }
}

/// One `name=value` or `name="value"`, and what follows its comma.
fn parameter(text: &[u8]) -> Option<(&[u8], Vec<u8>, &[u8])> {
    let end = text.iter().position(|&b| matches!(b, b'=' | b',') || b.is_ascii_whitespace())?;
    let (name, rest) = text.split_at(end);
    let rest = rest.trim_ascii_start().strip_prefix(b"=")?.trim_ascii_start();
    let (value, rest) = match rest.strip_prefix(b"\"") {
        Some(quoted) => unquote(quoted)?,
        None => {
            let end = rest.iter().position(|&b| b == b',' || b.is_ascii_whitespace()).unwrap_or(rest.len());
            (rest[..end].to_vec(), &rest[end..])
        }
    };
    // Servers skip whatever stands between a value and its comma.
    let comma = rest.iter().position(|&b| b == b',').map_or(rest.len(), |comma| comma + 1);
    (!name.is_empty()).then_some((name, value, &rest[comma..]))
}

/// The text up to the closing quote, with `\x` as `x`, and what follows.
fn unquote(text: &[u8]) -> Option<(Vec<u8>, &[u8])> {
    let mut value = Vec::new();
    let mut bytes = text.iter().enumerate();
    while let Some((at, &byte)) = bytes.next() {
        match byte {
            b'"' => return Some((value, &text[at + 1..])),
            b'\\' => value.push(*bytes.next()?.1),
            _ => value.push(byte),
        }
    }
    None
}

/// `H(user:realm:password)` in hexadecimal: what servers keep in place of a password.
pub type Ha1 = [u8; 32];

/// A client's credentials and the request they came with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exchange {
    /// The realm that the server goes by.
    pub realm: Vec<u8>,
    /// The method of the request.
    pub method: Vec<u8>,
    /// What the client sent.
    pub sent: Credentials,
}

impl Exchange {
    /// The response, for the name that the server goes by.
    pub fn response<'a>(&'a self, user: &'a [u8]) -> Response<'a> {
        Response::md5(user, &self.realm, &self.method, &self.sent)
    }
}

/// A client's response, ready to be held against passwords.
pub struct Response<'a> {
    user: &'a [u8],
    realm: &'a [u8],
    /// All that is hashed after HA1: nonce, nc, cnonce, qop and HA2, as far as the client gave them.
    tail: Vec<u8>,
    expected: &'a [u8],
}

impl<'a> Response<'a> {
    /// For the name and realm that the server goes by, and the method of the request.
    pub fn md5(user: &'a [u8], realm: &'a [u8], method: &[u8], sent: &'a Credentials) -> Response<'a> {
        let ha2 = HEXLOWER
            .encode(&Md5::new().chain_update(method).chain_update(b":").chain_update(&sent.uri).finalize());
        let mut parts: Vec<&[u8]> = vec![b"", &sent.nonce];
        if let (Some(qop), Some(nc), Some(cnonce)) = (&sent.qop, &sent.nc, &sent.cnonce) {
            parts.extend([&nc[..], cnonce, qop]);
        }
        parts.push(ha2.as_bytes());
        Response { user, realm, tail: parts.join(&b':'), expected: &sent.response }
    }

    /// Whether the response was computed from this password, given in parts; and the HA1 of that password.
    /// Takes the same time for every password of one length.
    pub fn is_of(&self, password: &[&[u8]]) -> (Choice, Ha1) {
        let mut hash =
            Md5::new().chain_update(self.user).chain_update(b":").chain_update(self.realm).chain_update(b":");
        for part in password {
            hash.update(part);
        }
        let ha1 = hexadecimal(&hash.finalize());
        let response = hexadecimal(&Md5::new().chain_update(ha1).chain_update(&self.tail).finalize());
        (response.ct_eq(self.expected), ha1)
    }
}

fn hexadecimal(hash: &[u8]) -> Ha1 {
    let mut text = [0; 32];
    HEXLOWER.encode_mut(hash, &mut text);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(header: &str) -> Option<Credentials> {
        Credentials::parse(header.as_bytes())
    }

    const RFC_2617: &str = "Digest username=\"Mufasa\", realm=\"testrealm@host.com\", \
        nonce=\"dcd98b7102dd2f0e8b11d0f600bfb0c093\", uri=\"/dir/index.html\", qop=auth, nc=00000001, \
        cnonce=\"0a4f113b\", response=\"6629fae49393a05397450978507c4ef1\", \
        opaque=\"5ccc069c403ebaf9f0171e9517f40e41\"";
    const RFC_7616: &str = "Digest username=\"Mufasa\", realm=\"http-auth@example.org\", \
        uri=\"/dir/index.html\", algorithm=MD5, \
        nonce=\"7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v\", nc=00000001, \
        cnonce=\"f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ\", qop=auth, \
        response=\"8ca523f5e9506fed4657c9700eebdbec\", \
        opaque=\"FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS\"";

    #[test]
    fn the_examples_of_rfc_2617_and_rfc_7616() {
        for (header, password) in [(RFC_2617, "Circle Of Life"), (RFC_7616, "Circle of Life")] {
            let sent = parse(header).unwrap();
            let response = Response::md5(&sent.username, &sent.realm, b"GET", &sent);
            let (right, ha1) = response.is_of(&[password.as_bytes()]);
            assert!(bool::from(right));
            let (in_parts, same) = response.is_of(&[&password.as_bytes()[..6], &password.as_bytes()[6..]]);
            assert!(bool::from(in_parts) && ha1 == same);
            for wrong in ["Circle of Lies", "", "circle of life"] {
                assert!(!bool::from(response.is_of(&[wrong.as_bytes()]).0));
            }
            assert!(!bool::from(
                Response::md5(&sent.username, &sent.realm, b"POST", &sent).is_of(&[password.as_bytes()]).0
            ));
        }
    }

    #[test]
    fn a_response_without_qop_is_that_of_rfc_2069() {
        let sent =
            parse("Digest username=\"a\", realm=\"r\", nonce=\"n\", uri=\"/\", response=\"x\"").unwrap();
        let hash = |text: &str| HEXLOWER.encode(&Md5::digest(text.as_bytes()));
        let expected = hash(&format!("{}:n:{}", hash("a:r:secret"), hash("GET:/")));
        let sent = Credentials { response: expected.into_bytes(), ..sent };
        assert!(bool::from(Response::md5(b"a", b"r", b"GET", &sent).is_of(&[b"secret"]).0));
    }

    #[test]
    fn odd_headers_are_read_as_servers_read_them() {
        const REST: &str = "realm=\"r\", nonce=\"n\", uri=\"/\", response=\"x\"";
        for (what, header, user) in [
            ("plain", format!("Digest username=\"bob\", {REST}"), Some("bob")),
            ("scheme in any case", format!("dIGEST username=\"bob\", {REST}"), Some("bob")),
            ("names in any case", format!("Digest USERNAME=\"bob\", {REST}"), Some("bob")),
            ("bare", format!("Digest username=bob, {REST}"), Some("bob")),
            ("escapes", format!("Digest username=\"b\\\"o\\\\b\", {REST}"), Some("b\"o\\b")),
            ("comma and blank inside quotes", format!("Digest username=\"b, b\", {REST}"), Some("b, b")),
            ("blanks around", format!("Digest \t username = \"bob\" , {REST}"), Some("bob")),
            ("no blank after the comma", format!("Digest username=\"bob\",{REST}"), Some("bob")),
            (
                "the last duplicate wins",
                format!("Digest username=\"eve\", username=\"bob\", {REST}"),
                Some("bob"),
            ),
            ("unknown parameters", format!("Digest x=1, y=\"2\", username=\"bob\", {REST}"), Some("bob")),
            ("unclosed quote", format!("Digest {REST}, username=\"bob"), None),
            ("no value", format!("Digest username, {REST}"), None),
            ("another scheme", format!("Basic username=\"bob\", {REST}"), None),
            ("a longer scheme", format!("Digests username=\"bob\", {REST}"), None),
            ("a missing parameter", format!("Digest {REST}"), None),
            ("qop without nc", format!("Digest username=\"bob\", qop=auth, cnonce=\"c\", {REST}"), None),
            ("qop without cnonce", format!("Digest username=\"bob\", qop=auth, nc=1, {REST}"), None),
            ("NUL", format!("Digest username=\"b\0b\", {REST}"), None),
            ("endless", format!("Digest x=\"{}\", username=\"bob\", {REST}", "x".repeat(HEADER_MAX)), None),
            ("empty", String::new(), None),
        ] {
            let parsed = parse(&header).map(|sent| String::from_utf8(sent.username).unwrap());
            assert_eq!(parsed.as_deref(), user, "{what}");
        }
    }

    #[test]
    fn qop_nc_and_algorithm_may_be_quoted_or_bare() {
        const REST: &str =
            "username=\"u\", realm=\"r\", nonce=\"n\", uri=\"/\", response=\"x\", cnonce=\"c\"";
        let bare = parse(&format!("Digest qop=auth, nc=00000001, algorithm=MD5, {REST}")).unwrap();
        let quoted =
            parse(&format!("Digest qop=\"auth\", nc=\"00000001\", algorithm=\"MD5\", {REST}")).unwrap();
        assert_eq!(bare, quoted);
        assert_eq!(bare.qop.as_deref(), Some(&b"auth"[..]));
    }
}
