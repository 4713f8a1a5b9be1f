//! Mobile-OTP, <https://motp.sourceforge.net/>.

use data_encoding::HEXLOWER;
use md5::{Digest, Md5};
use zeroize::Zeroizing;

use super::{Code, Digits};

/// The first hexadecimal characters of `MD5(counter . key . pin)`, all as text: the counter in
/// decimal, the key in lower-case hexadecimal.
pub fn motp(key: &[u8], pin: &[u8], counter: u64, digits: Digits) -> Code {
    KeyedMotp::new(key, pin).code(counter, digits)
}

/// Key and PIN as they are hashed after each counter.
pub struct KeyedMotp(Zeroizing<Vec<u8>>);

impl KeyedMotp {
    /// With a key and a PIN of any length.
    pub fn new(key: &[u8], pin: &[u8]) -> KeyedMotp {
        let key_len = 2 * key.len();
        let mut text = Zeroizing::new(vec![0; key_len + pin.len()]);
        HEXLOWER.encode_mut(key, &mut text[..key_len]);
        text[key_len..].copy_from_slice(pin);
        KeyedMotp(text)
    }

    /// See [`motp`].
    pub fn code(&self, counter: u64, digits: Digits) -> Code {
        let mut hash = Md5::new();
        hash.update(counter.to_string());
        hash.update(&self.0);
        let mut text = [0; 32];
        HEXLOWER.encode_mut(&hash.finalize(), &mut text);
        Code::new(&text[..digits.count()]).expect("Digits is 1 to 10")
    }
}
