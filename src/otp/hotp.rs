//! HOTP: RFC 4226, with the other hashes of RFC 6238.

use hmac::{Hmac, KeyInit, Mac};
use sha1::Sha1;
use sha2::{Sha256, Sha512};
use subtle::{Choice, ConstantTimeEq};

use super::{Code, Digits};

/// The hash under the HMAC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Hash {
    /// RFC 4226.
    Sha1,
    /// RFC 6238 section 1.2.
    Sha256,
    /// RFC 6238 section 1.2.
    Sha512,
}

/// An HMAC that has been told its key: half of the work for a single counter, saved for each
/// further one.
pub struct Keyed(KeyedWith);

enum KeyedWith {
    Sha1(Hmac<Sha1>),
    Sha256(Hmac<Sha256>),
    Sha512(Hmac<Sha512>),
}

impl Keyed {
    /// With a key of any length.
    pub fn new(hash: Hash, key: &[u8]) -> Keyed {
        Keyed(match hash {
            Hash::Sha1 => KeyedWith::Sha1(keyed(key)),
            Hash::Sha256 => KeyedWith::Sha256(keyed(key)),
            Hash::Sha512 => KeyedWith::Sha512(keyed(key)),
        })
    }

    /// The 31-bit number of RFC 4226 section 5.3, before it is cut to digits.
    pub fn truncated_hmac(&self, counter: u64) -> u32 {
        let message = counter.to_be_bytes();
        match &self.0 {
            KeyedWith::Sha1(hmac) => truncate(&told(hmac, &message)),
            KeyedWith::Sha256(hmac) => truncate(&told(hmac, &message)),
            KeyedWith::Sha512(hmac) => truncate(&told(hmac, &message)),
        }
    }
}

/// The same for a single counter.
pub fn truncated_hmac(hash: Hash, key: &[u8], counter: u64) -> u32 {
    Keyed::new(hash, key).truncated_hmac(counter)
}

/// The decimal code. Ten digits show the whole 31-bit number, with leading zeros.
///
/// ```
/// use otpgate::otp::{Digits, Hash, hotp};
///
/// // RFC 4226 appendix D, counter 1.
/// let code = hotp(Hash::Sha1, b"12345678901234567890", 1, Digits::SIX);
/// assert_eq!(code.as_bytes(), b"287082");
/// ```
pub fn hotp(hash: Hash, key: &[u8], counter: u64, digits: Digits) -> Code {
    decimal(truncated_hmac(hash, key, counter), digits)
}

/// The hexadecimal code some key fobs show: the low hexadecimal digits of the same number, lower
/// case.
pub fn hotp_hexadecimal(hash: Hash, key: &[u8], counter: u64, digits: Digits) -> Code {
    hexadecimal(truncated_hmac(hash, key, counter), digits)
}

/// A code as it was typed, read as a number in both ways, so that it needn't be compared as text
/// with each candidate.
pub(crate) struct Typed {
    decimal: u64,
    hexadecimal: u64,
    /// How many numbers a decimal code can be of.
    numbers: u64,
    /// The bits that a hexadecimal code shows.
    shown_bits: u64,
}

impl Typed {
    /// Of a code in lower case. What is no number of so many digits is one that no token shows.
    pub(crate) fn new(code: &Code, digits: Digits) -> Typed {
        let read = |base: u32| {
            let text = Some(code.as_bytes()).filter(|text| text.len() == digits.count());
            let digit = |&byte: &u8| char::from(byte).to_digit(base).map(u64::from);
            let number = text.and_then(|text| {
                text.iter()
                    .try_fold(0, |number, byte| Some(number * u64::from(base) + digit(byte)?))
            });
            number.unwrap_or(u64::MAX)
        };
        Typed {
            decimal: read(10),
            hexadecimal: read(16),
            numbers: 10u64.pow(digits.count() as u32),
            shown_bits: (1 << (4 * digits.count())) - 1,
        }
    }

    /// Whether it is the decimal and whether it is the hexadecimal code of a number; takes the same
    /// time for all.
    pub(crate) fn is_of(&self, number: u32) -> (Choice, Choice) {
        let number = u64::from(number);
        (
            (number % self.numbers).ct_eq(&self.decimal),
            (number & self.shown_bits).ct_eq(&self.hexadecimal),
        )
    }
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

fn keyed<M: KeyInit>(key: &[u8]) -> M {
    M::new_from_slice(key).expect("HMAC takes keys of any length")
}

fn told<M: Mac + Clone>(keyed: &M, message: &[u8]) -> impl AsRef<[u8]> + use<M> {
    keyed.clone().chain_update(message).finalize().into_bytes()
}

fn truncate(hmac: &impl AsRef<[u8]>) -> u32 {
    let hmac = hmac.as_ref();
    let offset = usize::from(hmac[hmac.len() - 1] & 0x0f);
    let word: [u8; 4] = hmac[offset..offset + 4].try_into().expect("four bytes");
    u32::from_be_bytes(word) & 0x7fff_ffff
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_typed_code_is_of_the_numbers_that_show_it_as_text() {
        let numbers =
            [0, 7, 0x4c93_cf18, 0x0000_00ab, 999_999, 1_000_000, 0x7fff_ffff, 0x1234_5678];
        for count in 1..=Digits::MAX as u8 {
            let digits = Digits::new(count).unwrap();
            let written = |number| [decimal(number, digits), hexadecimal(number, digits)];
            let shown = numbers.into_iter().flat_map(written);
            let other = ["x", "12345x", "+12345", "0000000000", "755224", "99999999999"];
            let other = other.into_iter().filter_map(|text| Code::new(text.as_bytes()));
            for code in shown.chain(other) {
                let typed = Typed::new(&code, digits);
                for number in numbers {
                    let (is_decimal, is_hexadecimal) = typed.is_of(number);
                    let [decimal, hexadecimal] = written(number);
                    assert_eq!(bool::from(is_decimal), decimal == code, "{number} {count}");
                    assert_eq!(bool::from(is_hexadecimal), hexadecimal == code, "{number} {count}");
                }
            }
        }
    }
}
