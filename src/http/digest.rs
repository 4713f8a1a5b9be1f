//! Digest authentication, RFC 7616 (and RFC 2617, RFC 2069 for what old clients send): reading the
//! client's header, and telling whether a password is the one it was computed from.

use std::cell::Cell;

use data_encoding::HEXLOWER;
use md5::{Digest, Md5};
use sha2::Sha256;
use subtle::{Choice, ConstantTimeEq};

/// What a client sent in `Authorization: Digest …`, unquoted. A parameter that came twice has its
/// last value.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)] // the names are those of RFC 7616 section 3.4
pub struct Credentials {
    /// Of `username`, or of `username*` decoded.
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
    pub userhash: Option<Vec<u8>>,
}

/// Longest header looked at, in bytes.
const HEADER_MAX: usize = 16 * 1024;
/// Longest nonce, nc, cnonce and qop together, in bytes: they are hashed for every password that is
/// tried.
const HASHED_MAX: usize = 512;

impl Credentials {
    /// Parses the header's value. `None`: another scheme, not well formed, or a parameter is
    /// missing without which no response can be checked.
    pub fn parse(header: &[u8]) -> Option<Credentials> {
        if header.len() > HEADER_MAX || header.contains(&0) {
            return None;
        }
        // mod_auth_digest takes any white space there, so that isn't left to `auth_scheme`.
        let (scheme, mut rest) = header.trim_ascii_start().split_at_checked(6)?;
        if !scheme.eq_ignore_ascii_case(b"Digest") || !rest.first()?.is_ascii_whitespace() {
            return None;
        }
        let mut seen = Credentials::default();
        let mut has = [false; 5];
        let mut extended = None;
        loop {
            rest = rest.trim_ascii_start();
            if rest.is_empty() {
                break;
            }
            let (name, value, after) = parameter(rest)?;
            match &name.to_ascii_lowercase()[..] {
                b"username" => (seen.username, has[0]) = (value, true),
                b"username*" => extended = Some(value),
                b"realm" => (seen.realm, has[1]) = (value, true),
                b"nonce" => (seen.nonce, has[2]) = (value, true),
                b"uri" => (seen.uri, has[3]) = (value, true),
                b"response" => (seen.response, has[4]) = (value, true),
                b"algorithm" => seen.algorithm = Some(value),
                b"cnonce" => seen.cnonce = Some(value),
                b"opaque" => seen.opaque = Some(value),
                b"qop" => seen.qop = Some(value),
                b"nc" => seen.nc = Some(value),
                b"userhash" => seen.userhash = Some(value),
                _ => {}
            }
            rest = after;
        }
        if let Some(value) = extended {
            // Which of the two would be meant?
            if has[0] {
                return None;
            }
            (seen.username, has[0]) = (decode_extended(&value)?, true);
        }
        let is_complete = has == [true; 5]
            && (seen.qop.is_none() || (seen.cnonce.is_some() && seen.nc.is_some()));
        let optional = [&seen.nc, &seen.cnonce, &seen.qop].into_iter().flatten().map(Vec::len);
        let is_short = seen.nonce.len() + optional.sum::<usize>() <= HASHED_MAX;
        (is_complete && is_short).then_some(seen)
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
            let end = rest
                .iter()
                .position(|&b| b == b',' || b.is_ascii_whitespace())
                .unwrap_or(rest.len());
            (rest[..end].to_vec(), &rest[end..])
        }
    };
    // Servers skip whatever stands between a value and its comma.
    let comma = rest.iter().position(|&b| b == b',').map_or(rest.len(), |comma| comma + 1);
    (!name.is_empty()).then_some((name, value, &rest[comma..]))
}

/// A value in the form of RFC 8187, which RFC 7616 has for names that a quoted string can't hold:
/// `UTF-8''` and the bytes, some of them as `%HH`.
fn decode_extended(value: &[u8]) -> Option<Vec<u8>> {
    let mut parts = value.splitn(3, |&b| b == b'\'');
    if !parts.next()?.eq_ignore_ascii_case(b"UTF-8") {
        return None;
    }
    let (_language, text) = (parts.next()?, parts.next()?);
    let mut name = Vec::new();
    let mut bytes = text.iter();
    while let Some(&byte) = bytes.next() {
        name.push(match byte {
            b'%' => {
                let pair = [*bytes.next()?, *bytes.next()?];
                data_encoding::HEXLOWER_PERMISSIVE.decode(&pair).ok()?[0]
            }
            _ => byte,
        });
    }
    str::from_utf8(&name).is_ok().then_some(name)
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

/// The challenge for one hash. `realm` as [`super::quoted`] makes it.
pub fn challenge(realm: &str, nonce: &str, algorithm: DigestAlgorithm, stale: bool) -> String {
    let stale = if stale { ", stale=true" } else { "" };
    let algorithm = algorithm.name();
    format!(
        "Digest realm={realm}, nonce=\"{nonce}\", algorithm={algorithm}, qop=\"auth\"{stale}, charset=UTF-8"
    )
}

/// Which hash a client and a server use, RFC 7616 section 3.3. The `-sess` forms are not spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DigestAlgorithm {
    /// RFC 2617 knows only this one, and Apache's mod_auth_digest.
    Md5,
    /// SHA-256.
    Sha256,
}

impl DigestAlgorithm {
    /// As challenges and headers name it.
    pub fn name(self) -> &'static str {
        match self {
            DigestAlgorithm::Md5 => "MD5",
            DigestAlgorithm::Sha256 => "SHA-256",
        }
    }

    /// By its name, in any case.
    pub fn named(name: &[u8]) -> Option<DigestAlgorithm> {
        let is_it =
            |algorithm: &DigestAlgorithm| algorithm.name().as_bytes().eq_ignore_ascii_case(name);
        [DigestAlgorithm::Md5, DigestAlgorithm::Sha256].into_iter().find(is_it)
    }
}

/// `H(user:realm:password)`, what servers keep in place of a password; MD5's is followed by zeros.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ha1([u8; 32]);

impl Ha1 {
    /// As bytes, to tell it from others.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The hexadecimal form of one that was made with MD5.
    pub fn md5_hexadecimal(&self) -> [u8; 32] {
        let mut text = [0; 32];
        HEXLOWER.encode_mut(&self.0[..16], &mut text);
        text
    }
}

/// A client's credentials and the request they came with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exchange {
    /// The hash that the response was made with.
    pub algorithm: DigestAlgorithm,
    /// The realm that the server goes by.
    pub realm: Vec<u8>,
    /// The method of the request.
    pub method: Vec<u8>,
    /// What the client sent.
    pub sent: Credentials,
}

impl Exchange {
    /// The response, for the name that the server goes by.
    pub fn response<'a>(&'a self, user: &[u8]) -> Response<'a> {
        Response::new(self.algorithm, user, &self.realm, &self.method, &self.sent)
    }
}

/// A client's response, ready to be held against passwords.
pub struct Response<'a> {
    /// Told `user:realm:` already.
    ha1: Begun,
    /// All that is hashed after HA1: nonce, nc, cnonce, qop and HA2, as far as the client gave
    /// them.
    tail: Vec<u8>,
    expected: &'a [u8],
    matched: Cell<Option<Ha1>>,
}

enum Begun {
    Md5(Md5),
    Sha256(Sha256),
}

impl<'a> Response<'a> {
    /// For the name and realm that the server goes by, and the method of the request.
    pub fn new(
        algorithm: DigestAlgorithm,
        user: &[u8],
        realm: &[u8],
        method: &[u8],
        sent: &'a Credentials,
    ) -> Response<'a> {
        let (ha1, ha2) = match algorithm {
            DigestAlgorithm::Md5 => (Begun::Md5(begun(user, realm)), ha2::<Md5>(method, &sent.uri)),
            DigestAlgorithm::Sha256 => {
                (Begun::Sha256(begun(user, realm)), ha2::<Sha256>(method, &sent.uri))
            }
        };
        let mut parts: Vec<&[u8]> = vec![b"", &sent.nonce];
        if let (Some(qop), Some(nc), Some(cnonce)) = (&sent.qop, &sent.nc, &sent.cnonce) {
            parts.extend([&nc[..], cnonce, qop]);
        }
        parts.push(ha2.as_bytes());
        Response {
            ha1,
            tail: parts.join(&b':'),
            expected: &sent.response,
            matched: Cell::default(),
        }
    }

    /// Whether the response was computed from this password, given in parts. Takes the same time
    /// for every password of one length that it wasn't computed from.
    pub fn is_of(&self, password: &[&[u8]]) -> Choice {
        #[cfg(test)]
        TRIED.set(TRIED.get() + 1);
        let (is_it, ha1) = match &self.ha1 {
            Begun::Md5(begun) => self.is_made_with(begun, password),
            Begun::Sha256(begun) => self.is_made_with(begun, password),
        };
        if bool::from(is_it) {
            self.matched.set(Some(ha1));
        }
        is_it
    }

    /// The HA1 of the password that it was found to be computed from, if it was.
    pub fn matched(&self) -> Option<Ha1> {
        self.matched.get()
    }

    fn is_made_with<H: Digest + Clone>(&self, begun: &H, password: &[&[u8]]) -> (Choice, Ha1) {
        let mut hash = begun.clone();
        for part in password {
            hash.update(part);
        }
        let ha1 = hash.finalize();
        let response = H::new()
            .chain_update(Hexadecimal::of(&ha1).as_bytes())
            .chain_update(&self.tail)
            .finalize();
        let mut kept = [0; 32];
        kept[..ha1.len()].copy_from_slice(&ha1);
        (Hexadecimal::of(&response).as_bytes().ct_eq(self.expected), Ha1(kept))
    }
}

#[cfg(test)]
thread_local! {
    /// Passwords that responses were held against, on this thread.
    pub(crate) static TRIED: Cell<usize> = const { Cell::new(0) };
}

fn begun<H: Digest>(user: &[u8], realm: &[u8]) -> H {
    H::new().chain_update(user).chain_update(b":").chain_update(realm).chain_update(b":")
}

fn ha2<H: Digest>(method: &[u8], uri: &[u8]) -> Hexadecimal {
    Hexadecimal::of(&H::new().chain_update(method).chain_update(b":").chain_update(uri).finalize())
}

/// A hash of up to 32 bytes in lower-case hexadecimal, without a place on the heap.
struct Hexadecimal {
    text: [u8; 64],
    len: usize,
}

impl Hexadecimal {
    fn of(hash: &[u8]) -> Hexadecimal {
        let mut text = [0; 64];
        let len = 2 * hash.len();
        HEXLOWER.encode_mut(hash, &mut text[..len]);
        Hexadecimal { text, len }
    }

    fn as_bytes(&self) -> &[u8] {
        &self.text[..self.len]
    }
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
    /// Section 3.9.1. (The values that section 3.9.2 prints are known to be wrong.)
    const RFC_7616: &str = "Digest username=\"Mufasa\", realm=\"http-auth@example.org\", \
        uri=\"/dir/index.html\", algorithm=MD5, \
        nonce=\"7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v\", nc=00000001, \
        cnonce=\"f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ\", qop=auth, \
        response=\"8ca523f5e9506fed4657c9700eebdbec\", \
        opaque=\"FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS\"";

    #[test]
    fn the_examples_of_rfc_2617_and_rfc_7616() {
        let with_sha_256 = RFC_7616.replace("algorithm=MD5", "algorithm=SHA-256").replace(
            "8ca523f5e9506fed4657c9700eebdbec",
            "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1",
        );
        for (header, password, algorithm) in [
            (RFC_2617, "Circle Of Life", DigestAlgorithm::Md5),
            (RFC_7616, "Circle of Life", DigestAlgorithm::Md5),
            (&with_sha_256, "Circle of Life", DigestAlgorithm::Sha256),
        ] {
            let sent = parse(header).unwrap();
            let named = sent
                .algorithm
                .as_deref()
                .map_or(Some(DigestAlgorithm::Md5), DigestAlgorithm::named);
            assert_eq!(named, Some(algorithm));
            let response = Response::new(algorithm, &sent.username, &sent.realm, b"GET", &sent);
            for wrong in ["Circle of Lies", "", "circle of life"] {
                assert!(
                    !bool::from(response.is_of(&[wrong.as_bytes()]))
                        && response.matched().is_none()
                );
            }
            assert!(bool::from(response.is_of(&[password.as_bytes()])));
            let ha1 = response.matched().expect("it was matched");
            assert!(bool::from(
                response.is_of(&[&password.as_bytes()[..6], &password.as_bytes()[6..]])
            ));
            assert!(response.matched() == Some(ha1));
            let other = Response::new(algorithm, &sent.username, &sent.realm, b"POST", &sent);
            assert!(!bool::from(other.is_of(&[password.as_bytes()])));
        }
    }

    #[test]
    fn a_response_without_qop_is_that_of_rfc_2069() {
        let sent =
            parse("Digest username=\"a\", realm=\"r\", nonce=\"n\", uri=\"/\", response=\"x\"")
                .unwrap();
        let hash = |text: &str| HEXLOWER.encode(&Md5::digest(text.as_bytes()));
        let expected = hash(&format!("{}:n:{}", hash("a:r:secret"), hash("GET:/")));
        let sent = Credentials { response: expected.into_bytes(), ..sent };
        let response = Response::new(DigestAlgorithm::Md5, b"a", b"r", b"GET", &sent);
        assert!(bool::from(response.is_of(&[b"secret"])));
    }

    #[test]
    fn odd_headers_are_read_as_servers_read_them() {
        const REST: &str = "realm=\"r\", nonce=\"n\", uri=\"/\", response=\"x\"";
        let long_cnonce = |len| {
            let cnonce = "c".repeat(len);
            format!("Digest username=bob, qop=q, nc=0123456789, cnonce={cnonce}, {REST}")
        };
        for (what, header, user) in [
            ("plain", format!("Digest username=\"bob\", {REST}"), Some("bob")),
            ("scheme in any case", format!("dIGEST username=\"bob\", {REST}"), Some("bob")),
            ("names in any case", format!("Digest USERNAME=\"bob\", {REST}"), Some("bob")),
            ("bare", format!("Digest username=bob, {REST}"), Some("bob")),
            ("escapes", format!("Digest username=\"b\\\"o\\\\b\", {REST}"), Some("b\"o\\b")),
            (
                "comma and blank inside quotes",
                format!("Digest username=\"b, b\", {REST}"),
                Some("b, b"),
            ),
            ("blanks around", format!("Digest \t username = \"bob\" , {REST}"), Some("bob")),
            ("no blank after the comma", format!("Digest username=\"bob\",{REST}"), Some("bob")),
            (
                "the last duplicate wins",
                format!("Digest username=\"eve\", username=\"bob\", {REST}"),
                Some("bob"),
            ),
            (
                "extended",
                format!("Digest username*=UTF-8''J%C3%a4s%C3%B8n%20Doe, {REST}"),
                Some("J\u{e4}s\u{f8}n Doe"),
            ),
            (
                "extended, with a language",
                format!("Digest username*=utf-8'en'bob, {REST}"),
                Some("bob"),
            ),
            (
                "extended in another charset",
                format!("Digest username*=iso-8859-1''bob, {REST}"),
                None,
            ),
            ("extended, no UTF-8", format!("Digest username*=UTF-8''b%ff, {REST}"), None),
            ("extended, cut", format!("Digest username*=UTF-8''b%f, {REST}"), None),
            ("extended, without its quotes", format!("Digest username*=bob, {REST}"), None),
            ("both forms", format!("Digest username*=UTF-8''bob, username=\"bob\", {REST}"), None),
            (
                "unknown parameters",
                format!("Digest x=1, y=\"2\", username=\"bob\", {REST}"),
                Some("bob"),
            ),
            ("unclosed quote", format!("Digest {REST}, username=\"bob"), None),
            ("no value", format!("Digest username, {REST}"), None),
            ("another scheme", format!("Basic username=\"bob\", {REST}"), None),
            ("a longer scheme", format!("Digests username=\"bob\", {REST}"), None),
            ("a missing parameter", format!("Digest {REST}"), None),
            (
                "qop without nc",
                format!("Digest username=\"bob\", qop=auth, cnonce=\"c\", {REST}"),
                None,
            ),
            (
                "qop without cnonce",
                format!("Digest username=\"bob\", qop=auth, nc=1, {REST}"),
                None,
            ),
            ("NUL", format!("Digest username=\"b\0b\", {REST}"), None),
            (
                "endless",
                format!("Digest x=\"{}\", username=\"bob\", {REST}", "x".repeat(HEADER_MAX)),
                None,
            ),
            ("a cnonce of 500 bytes", long_cnonce(500), Some("bob")),
            ("an endless cnonce", long_cnonce(501), None),
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
            parse(&format!("Digest qop=\"auth\", nc=\"00000001\", algorithm=\"MD5\", {REST}"))
                .unwrap();
        assert_eq!(bare, quoted);
        assert_eq!(bare.qop.as_deref(), Some(&b"auth"[..]));
    }
}
