//! Nonces of Digest authentication: what they say, how they are sealed, and which nonce counts were
//! used. Pure.

use data_encoding::BASE64URL_NOPAD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::UnixTime;

/// What a nonce says once it is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Nonce {
    /// After this moment it is good for nothing.
    pub expires: UnixTime,
    /// Its number. A later nonce has a higher one.
    pub id: u64,
}

/// Seals nonces, so that nobody else can make one.
pub struct NonceKey(Hmac<Sha256>);

const MAC_LEN: usize = 16;

impl NonceKey {
    /// From random bytes.
    pub fn new(key: &[u8; 32]) -> NonceKey {
        NonceKey(
            <Hmac<Sha256> as KeyInit>::new_from_slice(key).expect("HMAC takes keys of any length"),
        )
    }

    /// The nonce as text, good for one realm: time, number and MAC in base64url, 43 characters.
    pub fn seal(&self, nonce: Nonce, realm: &[u8]) -> String {
        let content = content(nonce);
        BASE64URL_NOPAD.encode(&[&content[..], &self.mac(&content, realm)].concat())
    }

    /// What a text says that was sealed with this key for that realm.
    pub fn open(&self, text: &[u8], realm: &[u8]) -> Option<Nonce> {
        let bytes = BASE64URL_NOPAD.decode(text).ok()?;
        let (content, mac) = bytes.split_first_chunk::<16>()?;
        let (expires, id) = content.split_first_chunk::<8>()?;
        let nonce = Nonce {
            expires: UnixTime::from_be_bytes(*expires),
            id: u64::from_be_bytes(id.try_into().ok()?),
        };
        bool::from(self.mac(content, realm).ct_eq(mac)).then_some(nonce)
    }

    fn mac(&self, content: &[u8; 16], realm: &[u8]) -> [u8; MAC_LEN] {
        let mac = self.0.clone().chain_update(content).chain_update(realm).finalize().into_bytes();
        let mac = Zeroizing::new(<[u8; 32]>::from(mac));
        std::array::from_fn(|i| mac[i])
    }
}

fn content(nonce: Nonce) -> [u8; 16] {
    let mut content = [0; 16];
    content[..8].copy_from_slice(&nonce.expires.to_be_bytes());
    content[8..].copy_from_slice(&nonce.id.to_be_bytes());
    content
}

/// Which nonce counts of one nonce were used: requests sent in parallel arrive out of order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CountsSeen {
    /// The highest count used.
    pub top: u32,
    /// Bit n: the count `top - n` was used.
    pub window: u64,
}

impl CountsSeen {
    /// The same with one more count used. `None`: that one was used, or lies so far back that
    /// nobody can say.
    pub fn with(self, count: u32) -> Option<CountsSeen> {
        if count > self.top {
            let window = self.window.checked_shl(count - self.top).unwrap_or(0);
            return Some(CountsSeen { top: count, window: window | 1 });
        }
        let bit = 1_u64.checked_shl(self.top - count)?;
        (count > 0 && self.window & bit == 0)
            .then_some(CountsSeen { window: self.window | bit, ..self })
    }
}

/// A nonce count as clients write it: eight hexadecimal digits (RFC 7616 section 3.4), from 1 on.
pub fn parse_count(text: &[u8]) -> Option<u32> {
    let is_count = text.len() == 8 && text.iter().all(u8::is_ascii_hexdigit);
    let text = str::from_utf8(text).ok().filter(|_| is_count)?;
    u32::from_str_radix(text, 16).ok().filter(|&count| count > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_its_own_key_and_realm_open_a_nonce() {
        let key = NonceKey::new(&[7; 32]);
        let nonce = Nonce { expires: 1_700_000_000, id: 42 };
        let text = key.seal(nonce, b"area");
        assert_eq!(text.len(), 43);
        assert_eq!(key.open(text.as_bytes(), b"area"), Some(nonce));
        assert_eq!(key.open(text.as_bytes(), b"other"), None);
        assert_eq!(NonceKey::new(&[8; 32]).open(text.as_bytes(), b"area"), None);
        for at in 0..text.len() {
            let mut forged = text.clone().into_bytes();
            forged[at] = if forged[at] == b'A' { b'B' } else { b'A' };
            assert_eq!(key.open(&forged, b"area"), None, "{at}");
        }
        for text in ["", "A", &text[1..], &format!("{text}A"), &format!("{text}=")] {
            assert_eq!(key.open(text.as_bytes(), b"area"), None, "{text}");
        }
    }

    #[test]
    fn each_count_is_used_once_in_any_order_within_the_window() {
        for (before, count, allowed) in [
            (&[][..], 1, true),
            (&[], 0, false),
            (&[1], 1, false),
            (&[1], 0, false),
            (&[1, 3], 2, true),
            (&[1, 3, 2], 2, false),
            (&[64], 1, true),
            (&[65], 1, false),
            (&[1, 64], 1, false),
            (&[1, 65], 2, true),
            (&[1, 2, 66], 2, false),
            (&[5, 1000], 937, true),
            (&[5, 1000], 936, false),
            (&[1], u32::MAX, true),
            (&[u32::MAX], u32::MAX, false),
            (&[u32::MAX], 1, false),
        ] {
            let seen =
                before.iter().try_fold(CountsSeen::default(), |seen, &count| seen.with(count));
            assert_eq!(seen.unwrap().with(count).is_some(), allowed, "{count} after {before:?}");
        }
    }

    #[test]
    fn counts_are_eight_hexadecimal_digits_from_one_on() {
        for (text, count) in [
            ("00000001", Some(1)),
            ("0000000a", Some(10)),
            ("FFFFFFFF", Some(u32::MAX)),
            ("00000000", None),
            ("1", None),
            ("000000001", None),
            ("+0000001", None),
            ("0x000001", None),
            ("", None),
        ] {
            assert_eq!(parse_count(text.as_bytes()), count, "{text}");
        }
    }
}
