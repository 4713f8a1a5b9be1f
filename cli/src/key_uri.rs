//! The Key URI format, `otpauth://`: how authenticator apps are told a key.

use std::fmt::Write;

use data_encoding::BASE32_NOPAD;
use otpgate::otp::{Digits, Hash};
use otpgate::token::MovingFactor;
use zeroize::Zeroizing;

use crate::exchange::hash_name;

/// What the URI says.
pub struct KeyUri<'a> {
    pub issuer: &'a str,
    pub user: &'a [u8],
    pub key: &'a [u8],
    pub hash: Hash,
    pub digits: Digits,
    pub factor: MovingFactor,
    /// Of a token that counts events: the next one.
    pub counter: i64,
}

impl KeyUri<'_> {
    /// Every parameter is written out, defaults as well: apps differ in theirs.
    pub fn text(&self) -> Zeroizing<String> {
        self.written(true)
    }

    /// With the issuer in the label alone, for where there is little room. Apps read it there.
    pub fn short_text(&self) -> Zeroizing<String> {
        self.written(false)
    }

    fn written(&self, repeats_issuer: bool) -> Zeroizing<String> {
        let (kind, last) = match self.factor {
            MovingFactor::Time(period) => ("totp", format!("period={period}")),
            MovingFactor::Event | MovingFactor::Paper(_) => {
                ("hotp", format!("counter={}", self.counter))
            }
        };
        let algorithm = hash_name(self.hash);
        let issuer = percent_encoded(self.issuer.as_bytes());
        let user = percent_encoded(self.user);
        let secret = Zeroizing::new(BASE32_NOPAD.encode(self.key));
        let digits = self.digits.count();
        let again = if repeats_issuer { format!("&issuer={issuer}") } else { String::new() };
        Zeroizing::new(format!(
            "otpauth://{kind}/{issuer}:{user}?secret={}{again}&algorithm={algorithm}&digits={digits}&{last}",
            secret.as_str()
        ))
    }
}

/// RFC 3986: everything but unreserved characters as `%HH`. A blank is `%20`: apps show `+` as a
/// plus.
fn percent_encoded(text: &[u8]) -> String {
    let mut encoded = String::with_capacity(text.len());
    for &byte in text {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                encoded.push(byte.into())
            }
            _ => write!(encoded, "%{byte:02X}").expect("writing to memory"),
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use super::*;

    #[test]
    fn a_time_token_names_everything_that_apps_might_assume() {
        let uri = KeyUri {
            issuer: "Big Corp",
            user: "jürgen+1@example.com".as_bytes(),
            key: b"12345678901234567890",
            hash: Hash::Sha1,
            digits: Digits::SIX,
            factor: MovingFactor::Time(NonZeroU32::new(30).unwrap()),
            counter: 0,
        };
        assert_eq!(
            uri.text().as_str(),
            "otpauth://totp/Big%20Corp:j%C3%BCrgen%2B1%40example.com?secret=GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ\
             &issuer=Big%20Corp&algorithm=SHA1&digits=6&period=30"
        );
    }

    #[test]
    fn an_event_token_has_its_counter_and_no_padding() {
        let uri = KeyUri {
            issuer: "x",
            user: b"bob",
            key: b"1",
            hash: Hash::Sha512,
            digits: Digits::new(8).unwrap(),
            factor: MovingFactor::Event,
            counter: 7,
        };
        assert_eq!(
            uri.text().as_str(),
            "otpauth://hotp/x:bob?secret=GE&issuer=x&algorithm=SHA512&digits=8&counter=7"
        );
    }
}
