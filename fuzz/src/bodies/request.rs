//! What clients send.

use otpgate::http::accept::{Language, wants};
use otpgate::http::digest::{Credentials, DigestAlgorithm, Response};
use otpgate::http::form::{Form, MAX_BODY, MAX_FIELDS, is_form};
use otpgate::http::nonce::{Nonce, NonceKey, parse_count};
use otpgate::http::target::{Target, is_prefix};
use otpgate::http::{AuthScheme, auth_scheme, basic as http_basic, cookie as http_cookie};
use otpgate::http::{back as http_back, quoted, sealed as http_sealed};
use otpgate::network::{self, Network};

use super::{Pieces, patch};

pub const BASIC_WORDS: &[&str] = &[
    "Basic ",
    "basic ",
    "YWxpY2U6NDcxMTc1NTIyNA==",
    "OjoA",
    "=",
    "==",
    "\t",
    " ",
    "+/",
    "Og",
    "AA",
];

pub const DIGEST_WORDS: &[&str] = &[
    "Digest ",
    "username=",
    "username*=",
    "UTF-8''",
    "realm=",
    "nonce=",
    "uri=",
    "response=",
    "algorithm=",
    "MD5",
    "SHA-256",
    "cnonce=",
    "opaque=",
    "qop=auth",
    "nc=00000001",
    "userhash=true",
    "\"",
    "\\\"",
    ", ",
    "=",
    "%C3%A4",
    "Mufasa",
    "/dir/index.html",
];

/// Of a header's cookies, one is ours.
pub const OURS: &str = "__Host-otpgate-0a1b2c3d";
pub const COOKIE_WORDS: &[&str] =
    &[OURS, "otpgate-", "__Host-", "a", "b", "=", "; ", ", ", ";", ",", " ", "\t", "\"", "1"];

pub const SEALED_WORDS: &[&str] = &[".", "=", "A", "-", "_", "Lw"];

pub const FORM_WORDS: &[&str] = &[
    "do=login",
    "csrf=",
    "to=",
    "user=alice",
    "pin=",
    "code=755224",
    "computer=1",
    "&",
    "=",
    "+",
    "%",
    "%00",
    "%0a",
    "%C3%A4",
];

pub const TARGET_WORDS: &[&str] = &[
    "/",
    "//",
    "\\",
    ".",
    "..",
    "%2f",
    "%5C",
    "%2e",
    "%",
    "?",
    "#",
    "@",
    ":",
    ";",
    "/dav/",
    "/cal",
    "otp",
    "login",
    "a",
    "\t",
    "\n",
    " ",
    "GET ",
    " HTTP/1.1",
    "COPY ",
    "MOVE ",
    "https:",
    "http://example.org",
    "example.org",
    "%0d%0a",
    "%25",
    "%C2%AD",
    "%EF%BC%8E",
    "\u{ff0e}",
    "\u{2215}",
    "\u{ff0f}",
    "\u{200b}",
    "\u{e4}",
    "\0",
];

pub const ACCEPT_WORDS: &[&str] = &[
    "text/html",
    "application/json",
    "*/*",
    ";q=0.5",
    ";q=0",
    ",",
    "de-AT",
    "fr",
    "es",
    "en",
    "*",
    "GET",
    "HEAD",
    "navigate",
    "192.0.2.7",
    "2001:db8::1",
    "::ffff:192.0.2.7",
    "/24",
    "/128",
    "%eth0",
    "\0",
];

/// A Basic header: user and password make a header that says the same.
pub fn basic(data: &[u8]) {
    let hides = http_basic::hides_a_nul(data);
    let Some((user, password)) = http_basic::credentials(data) else { return };
    assert!(!hides && auth_scheme(data).0 == AuthScheme::Basic);
    assert!(!user.contains(&b':') && !user.contains(&0) && !password.contains(&0));
    let header = http_basic::authorization(&user, &password);
    let (user_again, password_again) = http_basic::credentials(header.as_bytes()).expect("ours");
    assert_eq!((&user_again, &*password_again), (&user, &*password));
    assert!(http_basic::is_of_length(header.as_bytes(), user.len() + 1 + password.len()));
    assert!(header.bytes().all(|b| (b' '..=b'~').contains(&b)));
}

/// A Digest header: written again it says the same, and no response is of a password unless it was
/// made from it.
pub fn digest(data: &[u8]) {
    let Some(sent) = Credentials::parse(data) else { return };
    let mut header = b"Digest".to_vec();
    let mut push = |name: &str, value: &[u8]| {
        header.extend_from_slice(format!(" {name}=\"").as_bytes());
        for &byte in value {
            if matches!(byte, b'"' | b'\\') {
                header.push(b'\\');
            }
            header.push(byte);
        }
        header.extend_from_slice(b"\",");
    };
    for (name, value) in [
        ("username", Some(&sent.username)),
        ("realm", Some(&sent.realm)),
        ("nonce", Some(&sent.nonce)),
        ("uri", Some(&sent.uri)),
        ("response", Some(&sent.response)),
        ("algorithm", sent.algorithm.as_ref()),
        ("cnonce", sent.cnonce.as_ref()),
        ("opaque", sent.opaque.as_ref()),
        ("qop", sent.qop.as_ref()),
        ("nc", sent.nc.as_ref()),
        ("userhash", sent.userhash.as_ref()),
    ] {
        if let Some(value) = value {
            push(name, value);
        }
    }
    // Quotes make it longer, and there is a longest one.
    if header.len() < 16 * 1024 {
        assert_eq!(Credentials::parse(&header), Some(sent.clone()));
    }
    if let Some(count) = &sent.nc {
        parse_count(count);
    }
    for algorithm in [DigestAlgorithm::Md5, DigestAlgorithm::Sha256] {
        assert_eq!(DigestAlgorithm::named(algorithm.name().as_bytes()), Some(algorithm));
        let response = Response::new(algorithm, &sent.username, &sent.realm, b"GET", &sent);
        // Not this one, which isn't in the world of those who make up headers.
        let password: [&[u8]; 2] = [b"8cd2", b"f27b6e1f"];
        assert!(!bool::from(response.is_of(&password)));
        assert_eq!(response.matched(), None);
    }
    if let Some(realm) = quoted(&sent.realm) {
        assert!(!realm.contains(['\r', '\n', '\0']));
    }
}

/// A Cookie header: what is passed on has none of ours, and those of others as they were.
pub fn cookie(data: &[u8]) {
    let left = http_cookie::without_ours(data);
    let left = left.as_deref().unwrap_or_default();
    assert_eq!(http_cookie::values(left, OURS).count(), 0);
    assert!(left.len() <= data.len());
    let again = http_cookie::without_ours(left);
    assert_eq!(again.as_deref().unwrap_or_default(), left, "all at once");
    // A comma is part of a value to us, and parts cookies to some who are behind us.
    if data.len() <= http_cookie::MAX_HEADER && !data.contains(&b',') {
        for name in ["a", "b", "1"] {
            let all: Vec<_> = http_cookie::values(data, name).collect();
            let kept: Vec<_> = http_cookie::values(left, name).collect();
            assert_eq!(all, kept);
        }
    }
    let value = String::from_utf8_lossy(data);
    for is_secure in [true, false] {
        let Some(header) = http_cookie::set("otpgate-x", &value, is_secure, None) else { continue };
        assert!(header.bytes().all(|b| (b' '..=b'~').contains(&b)));
        let (pair, _) = header.split_once("; ").expect("attributes");
        let values: Vec<_> = http_cookie::values(pair.as_bytes(), "otpgate-x").collect();
        assert_eq!(values, [value.as_bytes()]);
    }
}

const KEY: [u8; 32] = [7; 32];

/// What was sealed is opened; the same text with anything else in it isn't, and nor is a nonce.
pub fn sealed(data: &[u8]) {
    let mut pieces = Pieces(data);
    let value = pieces.text();
    let text = http_sealed::seal(&KEY, "to", b"cookie", value);
    assert_eq!(http_sealed::open(&KEY, "to", b"cookie", text.as_bytes()).as_deref(), Some(value));
    for (key, purpose, bound) in
        [([8; 32], "to", "cookie"), (KEY, "csrf", "cookie"), (KEY, "to", "")]
    {
        assert_eq!(http_sealed::open(&key, purpose, bound.as_bytes(), text.as_bytes()), None);
    }
    let rest = pieces.0;
    let mut forged = text.clone().into_bytes();
    while !pieces.is_empty() {
        patch(&mut forged, &mut pieces);
    }
    if forged != text.as_bytes() {
        assert_eq!(http_sealed::open(&KEY, "to", b"cookie", &forged), None);
    }
    // Unless it is one that was sealed: in one form, so that nothing can be made of it.
    if let Some(value) = http_sealed::open(&KEY, "to", b"cookie", rest) {
        assert_eq!(http_sealed::seal(&KEY, "to", b"cookie", &value).as_bytes(), rest);
    }

    let nonces = NonceKey::new(&KEY);
    assert!(nonces.open(rest, b"realm").is_none());
    let id = u64::from(crc32fast::hash(value));
    let nonce = Nonce { id, expires: 1_780_000_000 };
    let text = nonces.seal(nonce, b"realm");
    assert_eq!(nonces.open(text.as_bytes(), b"realm"), Some(nonce));
    assert_eq!(nonces.open(text.as_bytes(), b"other"), None);
    let mut forged = text.clone().into_bytes();
    patch(&mut forged, &mut Pieces(rest));
    // It may have become another that was sealed.
    if let Some(nonce) = nonces.open(&forged, b"realm") {
        assert_eq!(nonces.seal(nonce, b"realm").as_bytes(), forged);
    }
}

/// A form's body: no field holds a control character or is there twice, and what was read is read
/// again from what browsers would send for it.
pub fn form(data: &[u8]) {
    is_form(data);
    let Ok(form) = Form::parse(data) else { return };
    assert!(data.len() <= MAX_BODY && form.get("").is_none());
    let mut again = Vec::new();
    let mut names: Vec<Vec<u8>> = Vec::new();
    for pair in data.split(|&b| b == b'&').filter(|pair| !pair.is_empty()) {
        let name = pair.split(|&b| b == b'=').next().expect("a first part");
        // Plain ones can be asked for.
        let Some(plain) = str::from_utf8(name)
            .ok()
            .filter(|name| name.bytes().all(|b| b.is_ascii_alphanumeric()))
        else {
            return;
        };
        let value = form.get(plain).expect("it is there");
        assert!(!value.iter().any(u8::is_ascii_control));
        assert!(!names.contains(&name.to_vec()), "twice");
        names.push(name.to_vec());
        if !again.is_empty() {
            again.push(b'&');
        }
        again.extend_from_slice(name);
        again.push(b'=');
        for byte in value {
            again.extend_from_slice(format!("%{byte:02X}").as_bytes());
        }
    }
    assert!(names.len() <= MAX_FIELDS);
    if again.len() <= MAX_BODY {
        let again = Form::parse(&again).expect("what browsers send");
        for name in names {
            let name = str::from_utf8(&name).expect("plain");
            assert_eq!(again.get(name), form.get(name));
            assert_eq!(again.text(name).is_some(), str::from_utf8(form.get(name).unwrap()).is_ok());
        }
    }
}

/// All that a server, a proxy or an application might take a path for, one after the other.
fn readings(path: &str) -> Vec<String> {
    let mut all = vec![path.to_owned()];
    for _ in 0..3 {
        let last = all.last().expect("one").clone();
        all.push(decoded(&last));
    }
    let mut more = Vec::new();
    for text in &all {
        more.push(text.replace('\\', "/"));
        more.push(text.split(';').next().expect("a first part").to_owned());
        let without: Vec<&str> =
            text.split('/').map(|part| part.split(';').next().unwrap_or("")).collect();
        more.push(without.join("/"));
        more.push(text.chars().filter(|c| !c.is_whitespace()).collect());
        more.push(
            text.replace(['\u{ff0e}', '\u{2024}'], ".").replace(['\u{ff0f}', '\u{2215}'], "/"),
        );
    }
    all.extend(more);
    all
}

fn decoded(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        let digits = after.get(..2).and_then(|digits| str::from_utf8(digits).ok());
        let value = digits
            .filter(|digits| byte == b'%' && digits.bytes().all(|b| b.is_ascii_hexdigit()))
            .and_then(|digits| u8::from_str_radix(digits, 16).ok());
        bytes.push(value.unwrap_or(byte));
        rest = if value.is_some() { &after[2..] } else { after };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Without dot segments and empty ones.
fn resolved(path: &str) -> String {
    let mut kept: Vec<&str> = Vec::new();
    for segment in path.split('/') {
        match segment {
            "" | "." => {}
            ".." => drop(kept.pop()),
            name => kept.push(name),
        }
    }
    format!("/{}", kept.join("/"))
}

/// A request whose target is within the paths of a program's password is within them however
/// anybody behind reads it: no dot segment, no second decoding leads out.
pub fn path(data: &[u8]) {
    let mut pieces = Pieces(data);
    let (request_line, path, destination) = (pieces.text(), pieces.text(), pieces.text());
    let prefixes = [b"/dav/".to_vec(), b"/cal".to_vec()];
    let is_below = |path: &str| {
        let path = resolved(path);
        path == "/dav" || path.starts_with("/dav/") || path == "/cal" || path.starts_with("/cal/")
    };
    let target = Target { request_line, host: b"example.org", destination, path };
    if target.is_within(&prefixes) {
        // Whatever stands for a version behind the last blank.
        let blank = |b: &u8| *b == b' ';
        let method_end = request_line.iter().position(blank).expect("a blank");
        let target_end = request_line.iter().rposition(blank).expect("another one");
        let method = &request_line[..method_end];
        let sent = str::from_utf8(&request_line[method_end + 1..target_end]).expect("ASCII");
        let destination = str::from_utf8(destination).expect("ASCII");
        assert!(!matches!(method, b"COPY" | b"MOVE") || !destination.is_empty());
        // Behind a path, a query may have `://`.
        let without_host = |uri: &str| match uri.find("://").filter(|_| !uri.starts_with('/')) {
            Some(at) => uri[at + 3..]
                .find('/')
                .map_or(String::new(), |slash| uri[at + 3 + slash..].to_owned()),
            None => uri.to_owned(),
        };
        let mut asked = vec![without_host(sent), str::from_utf8(path).expect("UTF-8").to_owned()];
        if !destination.is_empty() {
            asked.push(without_host(destination));
        }
        for asked in asked {
            let bare = asked.split('?').next().expect("a first part");
            for reading in readings(bare) {
                assert!(is_below(&reading), "{asked:?} as {reading:?}");
            }
        }
        // As good as the root's, where everything in normal form is.
        assert!(target.is_within(&[b"/".to_vec()]));
    }
    // A configured path in normal form is what it resolves to.
    if is_prefix(path) {
        let text = str::from_utf8(path).expect("UTF-8");
        for segment in text.split('/') {
            assert!(!matches!(segment, "." | ".."), "{text:?}");
        }
        assert_eq!(resolved(text), if text == "/" { text } else { text.trim_end_matches('/') });
        assert!(is_prefix(resolved(text).as_bytes()), "once more");
    }
}

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

/// A login leads back to this host, by one slash, or nowhere.
pub fn back(data: &[u8]) {
    let mut pieces = Pieces(data);
    let (target, host) = (pieces.text(), pieces.text());
    if let Some(location) = http_back::location(false, host, "/a") {
        assert!(location.bytes().all(|b| b.is_ascii_graphic()));
        let rest = location.strip_prefix("http://").expect("its scheme");
        let authority = rest.split(['/', '?', '#', '\\', '@']).next();
        assert_eq!(authority.map(str::as_bytes), Some(host));
    }
    let Some(back) = http_back::target(target, b"/otp/login") else { return };
    assert_eq!(back.as_bytes(), target);
    assert_eq!(other_host(back), None);
    assert!(back.starts_with('/') && !back.starts_with("//") && !back.contains('\\'));
    let path = back.split('?').next().expect("a first part");
    assert_ne!(resolved(&decoded(path)), "/otp/login");
    // Also for those who resolve dot segments first and look at the host then.
    assert_eq!(other_host(&decoded(path)), None);
    let location =
        http_back::location(true, b"www.example.org", back).expect("a path of this host");
    assert!(location.bytes().all(|b| b.is_ascii_graphic()));
    assert!(location.starts_with("https://www.example.org/"));
    // Once more from the start, as when it comes back from the browser.
    assert_eq!(http_back::target(back.as_bytes(), b"/otp/login"), Some(back));
}

/// What browsers wish for, and addresses and networks: written again they are the same.
pub fn accept(data: &[u8]) {
    let mut pieces = Pieces(data);
    let (method, accept, mode) = (pieces.text(), pieces.text(), pieces.text());
    wants(method, accept, mode);
    Language::liked_best(accept);
    if let Some(address) = network::address(accept) {
        assert_eq!(network::address(address.to_string().as_bytes()), Some(address));
    }
    if let Ok(network) = Network::parse(accept) {
        assert_eq!(Network::parse(network.to_string().as_bytes()), Ok(network));
        if let Some(address) =
            network::address(network.to_string().split('/').next().expect("one").as_bytes())
        {
            assert!(Network::any_contains(&[network], address));
        }
        assert_eq!(network.is_everything(), network.to_string().ends_with("/0"));
    }
}
