//! `$apr1$`, the MD5 hash of htpasswd(1): 1,000 rounds as in `$1$` of crypt(3), but with a name of
//! its own. Source: `apr_md5_encode` of the Apache Portable Runtime.

use md5::{Digest, Md5};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

/// What such a hash starts with.
pub const PREFIX: &[u8] = b"$apr1$";
const SALT_MAX: usize = 8;
const ROUNDS: usize = 1000;
const TEXT_LEN: usize = 22;
const ALPHABET: &[u8; 64] = b"./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// A well-formed hash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Apr1 {
    salt: Vec<u8>,
    text: [u8; TEXT_LEN],
}

impl Apr1 {
    /// Reads what stands behind [`PREFIX`]: salt, `$`, digest. `None`: it isn't well formed.
    pub fn parse(rest: &[u8]) -> Option<Apr1> {
        let dollar = rest.iter().position(|&b| b == b'$')?;
        let (salt, text) = (&rest[..dollar], &rest[dollar + 1..]);
        let text: [u8; TEXT_LEN] = text.try_into().ok()?;
        let is_well_formed =
            (1..=SALT_MAX).contains(&salt.len()) && text.iter().all(|byte| ALPHABET.contains(byte));
        is_well_formed.then(|| Apr1 { salt: salt.to_vec(), text })
    }

    /// Whether this is the password.
    pub fn is_hash_of(&self, password: &[u8]) -> bool {
        encode(&digest(password, &self.salt)).ct_eq(&self.text).into()
    }
}

fn digest(password: &[u8], salt: &[u8]) -> Zeroizing<[u8; 16]> {
    let md5 = |parts: &[&[u8]]| -> Zeroizing<[u8; 16]> {
        let hash = parts.iter().fold(Md5::new(), |hash, part| hash.chain_update(part));
        Zeroizing::new(hash.finalize().into())
    };
    let inner = md5(&[password, salt, password]);
    let mut begin = Md5::new().chain_update(password).chain_update(PREFIX).chain_update(salt);
    for part in password.chunks(inner.len()) {
        begin.update(&inner[..part.len()]);
    }
    // For each bit of the length: a zero byte, or the password's first.
    let mut bits = password.len();
    while bits > 0 {
        begin.update(if bits & 1 == 1 { &[0] } else { &password[..1] });
        bits >>= 1;
    }
    let mut digest = Zeroizing::new(<[u8; 16]>::from(begin.finalize()));
    for round in 0..ROUNDS {
        let (first, last) =
            if round % 2 == 1 { (password, &digest[..]) } else { (&digest[..], password) };
        let salt = if round % 3 == 0 { b"" } else { salt };
        let middle = if round % 7 == 0 { b"" } else { password };
        digest = md5(&[first, salt, middle, last]);
    }
    digest
}

/// Three bytes, taken across the digest, in four characters; the least significant six bits first.
fn encode(digest: &[u8; 16]) -> [u8; TEXT_LEN] {
    const GROUPS: [[usize; 3]; 5] = [[0, 6, 12], [1, 7, 13], [2, 8, 14], [3, 9, 15], [4, 10, 5]];
    let mut text = [0; TEXT_LEN];
    let groups =
        GROUPS.map(|group| group.map(|at| digest[at])).into_iter().chain([[0, 0, digest[11]]]);
    for (characters, [high, middle, low]) in text.chunks_mut(4).zip(groups) {
        let mut bits = u32::from_be_bytes([0, high, middle, low]);
        for character in characters {
            *character = ALPHABET[bits as usize & 0x3f];
            bits >>= 6;
        }
    }
    text
}
