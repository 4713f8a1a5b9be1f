//! Tokens as other programs write them down. Each form parses into [`Token`] and is written from
//! it; none of this is part of what servers load.

pub mod apps;
pub mod csv;
pub mod google;
pub mod liboath;
pub mod migration;
pub mod otpauth;
pub mod pskc;

use std::borrow::Cow;
use std::fmt;

use data_encoding::{Encoding, HEXLOWER, HEXLOWER_PERMISSIVE, Specification};
use otpgate::otp::{Digits, Hash};
use otpgate::secret::Secret;
use otpgate::token::{Algorithm, MovingFactor, State};
use otpgate::users::record::{self, KEY_MAX};
use zeroize::Zeroizing;

/// A token on its way in or out.
pub struct Token {
    pub user: Vec<u8>,
    pub kind: Kind,
    pub key: Secret,
    /// The PIN that comes along with it; `None` where a form knows none, or leaves it out.
    pub pin: Option<OwnPin>,
    pub state: State,
    /// Where it stands: the number of its line, key or entry.
    pub place: usize,
}

/// A PIN in a document.
pub enum OwnPin {
    /// Field 3 as it is to be written.
    Field(Zeroizing<Vec<u8>>),
    /// As its user types it.
    Typed(Zeroizing<Vec<u8>>),
}

/// How codes are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kind {
    pub algorithm: Algorithm,
    pub factor: MovingFactor,
    pub digits: Digits,
}

impl Kind {
    /// Field 1 of the users file.
    pub fn field(self) -> String {
        record::type_field(self.algorithm, self.factor, self.digits)
    }
}

/// What is wrong with a document, and where in it. Never holds a secret.
#[derive(Debug)]
pub struct Flaw {
    /// The number of a line, key or entry; `None`: the whole of it.
    pub place: Option<usize>,
    pub text: Cow<'static, str>,
}

impl Flaw {
    pub fn at(place: usize, text: impl Into<Cow<'static, str>>) -> Flaw {
        Flaw { place: Some(place), text: text.into() }
    }

    pub fn of_all(text: impl Into<Cow<'static, str>>) -> Flaw {
        Flaw { place: None, text: text.into() }
    }
}

/// What was read, and what an admin has to know about it.
pub struct Read {
    pub tokens: Vec<Token>,
    /// What stands in the document and can't be a token here.
    pub unusable: Vec<Flaw>,
    pub notes: Vec<String>,
}

impl Read {
    /// The places of a document, read to the end, so that all flaws can be told at once.
    pub fn of(parsed: impl Iterator<Item = Result<Token, Flaw>>) -> Read {
        let mut read = Read { tokens: Vec::new(), unusable: Vec::new(), notes: Vec::new() };
        for token in parsed {
            match token {
                Ok(token) => read.tokens.push(token),
                Err(flaw) => read.unusable.push(flaw),
            }
        }
        read
    }
}

/// `Err`: nothing in the document can be read.
pub type ExchangeOutcome = Result<Read, Flaw>;

/// The lines of a text with their numbers, without blanks around them, blank lines and comments.
pub fn lines(text: &[u8]) -> impl Iterator<Item = (usize, &[u8])> {
    numbered_lines(text).map(|(place, line)| (place, line.trim_ascii()))
}

/// The same with the blanks around them, which may separate fields.
fn numbered_lines(text: &[u8]) -> impl Iterator<Item = (usize, &[u8])> {
    let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
    let is_meant = |line: &[u8]| line.trim_ascii().first().is_some_and(|&first| first != b'#');
    (1..)
        .zip(text.split(|&b| b == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line)))
        .filter(move |(_, line)| is_meant(line))
}

/// Base 32 as people and programs write it: any case, with or without padding, in groups.
pub fn base32(text: &[u8]) -> Option<Secret> {
    let mut plain: Zeroizing<Vec<u8>> = Zeroizing::new(Vec::with_capacity(text.len()));
    plain.extend(
        text.iter().filter(|b| !b.is_ascii_whitespace() && **b != b'-').map(u8::to_ascii_uppercase),
    );
    while plain.last() == Some(&b'=') {
        plain.pop();
    }
    key(lenient_base32().decode(&plain).ok()?)
}

/// Some programs leave something in the bits behind the last byte.
fn lenient_base32() -> Encoding {
    let mut specification = Specification::new();
    specification.symbols.push_str("ABCDEFGHIJKLMNOPQRSTUVWXYZ234567");
    specification.check_trailing_bits = false;
    specification.encoding().expect("32 symbols")
}

/// Hexadecimal in any case.
pub fn hexadecimal(text: &[u8]) -> Option<Secret> {
    key(HEXLOWER_PERMISSIVE.decode(text).ok()?)
}

fn key(bytes: Vec<u8>) -> Option<Secret> {
    let secret = Secret::new(bytes);
    (1..=KEY_MAX).contains(&secret.expose().len()).then_some(secret)
}

/// For forms that want hexadecimal.
pub fn to_hexadecimal(key: &Secret) -> Zeroizing<String> {
    Zeroizing::new(HEXLOWER.encode(key.expose()))
}

/// A number of ASCII digits and nothing else.
pub fn number<N: std::str::FromStr>(text: &[u8]) -> Option<N> {
    let is_digits = !text.is_empty() && text.iter().all(u8::is_ascii_digit);
    str::from_utf8(text).ok().filter(|_| is_digits)?.parse().ok()
}

/// SHA1, SHA-256, HmacSHA512 …
pub fn hash(text: &[u8]) -> Option<Hash> {
    let name: Vec<u8> = text.iter().filter(|&&b| b != b'-').map(u8::to_ascii_lowercase).collect();
    match name.strip_prefix(b"hmac").unwrap_or(&name) {
        b"sha1" => Some(Hash::Sha1),
        b"sha256" => Some(Hash::Sha256),
        b"sha512" => Some(Hash::Sha512),
        _ => None,
    }
}

/// Why a Steam token is none for us: its codes aren't decimal, whatever the document says of them.
pub const STEAM: &str =
    "it is a Steam token, whose codes are letters and digits of an alphabet of Steam's own";

pub fn is_steam(issuer: &[u8]) -> bool {
    issuer.trim_ascii().eq_ignore_ascii_case(b"steam")
}

/// The account in a label, behind the issuer and its colon.
pub fn account(label: &[u8]) -> &[u8] {
    let place = label.iter().position(|&b| b == b':').map_or(0, |place| place + 1);
    label[place..].trim_ascii()
}

pub fn hash_name(hash: Hash) -> &'static str {
    match hash {
        Hash::Sha1 => "SHA1",
        Hash::Sha256 => "SHA256",
        Hash::Sha512 => "SHA512",
    }
}

/// Why a token has no place in a form.
pub struct Unfit(pub &'static str);

/// What is on paper stays there: no program has such a list.
pub const UNFIT_PAPER: Unfit = Unfit("a paper list can't be moved: print one where it goes");

impl fmt::Display for Unfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}
