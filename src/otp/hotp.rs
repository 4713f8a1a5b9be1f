//! HOTP: RFC 4226, with the other hashes of RFC 6238.

use hmac::{Hmac, KeyInit, Mac};
use sha1::Sha1;
use sha2::{Sha256, Sha512};

use super::{Code, Digits};

/// The hash under the HMAC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hash {
    /// RFC 4226.
    Sha1,
    /// RFC 6238 section 1.2.
    Sha256,
    /// RFC 6238 section 1.2.
    Sha512,
}

/// The 31-bit number of RFC 4226 section 5.3, before it is cut to digits.
pub fn truncated_hmac(hash: Hash, key: &[u8], counter: u64) -> u32 {
    let message = counter.to_be_bytes();
    match hash {
        Hash::Sha1 => truncate(&hmac::<Hmac<Sha1>>(key, &message)),
        Hash::Sha256 => truncate(&hmac::<Hmac<Sha256>>(key, &message)),
        Hash::Sha512 => truncate(&hmac::<Hmac<Sha512>>(key, &message)),
    }
}

/// The decimal code. Ten digits show the whole 31-bit number, with leading zeros.
pub fn hotp(hash: Hash, key: &[u8], counter: u64, digits: Digits) -> Code {
    decimal(truncated_hmac(hash, key, counter), digits)
}

/// The hexadecimal code some key fobs show: the low hexadecimal digits of the same number, lower case.
pub fn hotp_hexadecimal(hash: Hash, key: &[u8], counter: u64, digits: Digits) -> Code {
    hexadecimal(truncated_hmac(hash, key, counter), digits)
}

pub(crate) fn decimal(number: u32, digits: Digits) -> Code {
    written(number, 10, digits)
}

pub(crate) fn hexadecimal(number: u32, digits: Digits) -> Code {
    written(number, 16, digits)
}

fn written(mut number: u32, base: u32, digits: Digits) -> Code {
    let mut text = [b'0'; Digits::MAX];
    let text = &mut text[..digits.count()];
    for place in text.iter_mut().rev() {
        *place = b"0123456789abcdef"[(number % base) as usize];
        number /= base;
    }
    Code::new(text).expect("Digits is 1 to 10")
}

fn hmac<M: Mac + KeyInit>(key: &[u8], message: &[u8]) -> impl AsRef<[u8]> + use<M> {
    let mut mac = <M as KeyInit>::new_from_slice(key).expect("HMAC takes keys of any length");
    mac.update(message);
    mac.finalize().into_bytes()
}

fn truncate(hmac: &impl AsRef<[u8]>) -> u32 {
    let hmac = hmac.as_ref();
    let offset = usize::from(hmac[hmac.len() - 1] & 0x0f);
    let word: [u8; 4] = hmac[offset..offset + 4].try_into().expect("four bytes");
    u32::from_be_bytes(word) & 0x7fff_ffff
}
