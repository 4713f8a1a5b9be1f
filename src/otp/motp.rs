//! Mobile-OTP, <https://motp.sourceforge.net/>.

use data_encoding::HEXLOWER;
use md5::{Digest, Md5};

use super::{Code, Digits};

/// The first hexadecimal characters of `MD5(counter . key . pin)`, all as text: the counter in decimal,
/// the key in lower-case hexadecimal.
pub fn motp(key: &[u8], pin: &[u8], counter: u64, digits: Digits) -> Code {
    let mut hash = Md5::new();
    hash.update(counter.to_string());
    let mut pair = [0; 2];
    for byte in key {
        HEXLOWER.encode_mut(std::slice::from_ref(byte), &mut pair);
        hash.update(pair);
    }
    hash.update(pin);
    let text = HEXLOWER.encode(&hash.finalize());
    Code::new(&text.as_bytes()[..digits.count()]).expect("Digits is 1 to 10")
}
