//! The code itself: up to ten characters, compared in constant time.

use std::fmt;

use subtle::{Choice, ConstantTimeEq};
use zeroize::Zeroize;

/// How many characters a code has: 1 to 10.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Digits(u8);

impl Digits {
    /// The most characters a code can have; a 31-bit number has ten decimal digits.
    pub const MAX: usize = 10;
    /// What nearly every token shows.
    pub const SIX: Digits = Digits(6);

    /// `None` outside 1 to 10.
    pub fn new(count: u8) -> Option<Digits> {
        (1..=Self::MAX as u8).contains(&count).then_some(Digits(count))
    }

    /// The number of characters.
    pub fn count(self) -> usize {
        usize::from(self.0)
    }
}

/// A code: 1 to 10 bytes, wiped when dropped, never shown by `Debug`.
///
/// Letters are kept as given; comparison is the caller's choice of [`Code::is`] (exact) or
/// [`Code::is_in_any_case`].
#[derive(Clone, PartialEq, Eq)]
pub struct Code {
    bytes: [u8; Digits::MAX],
    len: u8,
}

impl Code {
    /// `None` if empty or longer than ten bytes.
    pub fn new(text: &[u8]) -> Option<Code> {
        if text.is_empty() || text.len() > Digits::MAX {
            return None;
        }
        let mut bytes = [0; Digits::MAX];
        bytes[..text.len()].copy_from_slice(text);
        Some(Code { bytes, len: text.len() as u8 })
    }

    /// A code as apps show it, in two groups with one blank in the middle (of an odd number of
    /// characters, on either side of the middle one): `123 456`. `None`: it is nothing else, and
    /// what it is made of are hexadecimal digits.
    ///
    /// ```
    /// use otpgate::otp::Code;
    ///
    /// assert_eq!(Code::in_groups(b"123 456"), Code::new(b"123456"));
    /// assert_eq!(Code::in_groups(b"12 3456"), None);
    /// ```
    pub fn in_groups(text: &[u8]) -> Option<Code> {
        let count = text.len().checked_sub(1)?;
        let middle = [count / 2, count.div_ceil(2)];
        let blank = middle.into_iter().find(|&place| place > 0 && text[place] == b' ')?;
        let (first, second) = (&text[..blank], &text[blank + 1..]);
        let is_code = |group: &[u8]| group.iter().all(u8::is_ascii_hexdigit);
        if count > Digits::MAX || second.is_empty() || !is_code(first) || !is_code(second) {
            return None;
        }
        let mut bytes = [0; Digits::MAX];
        bytes[..blank].copy_from_slice(first);
        bytes[blank..count].copy_from_slice(second);
        Some(Code { bytes, len: count as u8 })
    }

    /// The characters.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }

    /// The same characters; takes the same time wherever they differ.
    pub fn is(&self, other: &Code) -> Choice {
        self.len.ct_eq(&other.len) & self.bytes.ct_eq(&other.bytes)
    }

    /// The same characters but for ASCII case; takes the same time wherever they differ.
    pub fn is_in_any_case(&self, other: &Code) -> Choice {
        self.clone().into_lower_case().is(&other.clone().into_lower_case())
    }

    /// With ASCII letters in lower case, the form in which an accepted hexadecimal code is kept.
    pub fn into_lower_case(mut self) -> Code {
        self.bytes.make_ascii_lowercase();
        self
    }

    /// With ASCII letters in upper case.
    pub fn into_upper_case(mut self) -> Code {
        self.bytes.make_ascii_uppercase();
        self
    }
}

impl Drop for Code {
    fn drop(&mut self) {
        self.bytes.zeroize();
    }
}

impl fmt::Debug for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Code")
    }
}
