//! One user's entry in a PIN file: the forms of htpasswd(1) that are checked, and why others
//! aren't.

use std::fmt;

use data_encoding::BASE64;
use sha1::{Digest, Sha1};
use subtle::ConstantTimeEq;

use super::apr1::{self, Apr1};
use super::{HashedPin, HashedPinError};
use crate::secret::Secret;

/// A well-formed entry within the cost limits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PinEntry(EntryForm);

#[derive(Clone, Debug, PartialEq, Eq)]
enum EntryForm {
    Hashed(HashedPin),
    Apr1(Apr1),
    /// `{SHA}` and, with a salt, `{SSHA}` (RFC 2307 section 5.3).
    Sha1 {
        digest: [u8; SHA1_LEN],
        salt: Vec<u8>,
    },
    Plain(Secret),
}

const SHA1_LEN: usize = 20;

/// Why an entry is none we use. Says nothing of its content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EntryError {
    /// Nothing stands behind the name.
    Empty,
    /// None of the forms, say the traditional one of crypt(3).
    UnknownForm,
    /// Not what its beginning promises, or too costly.
    Hash(HashedPinError),
}

impl fmt::Display for EntryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            EntryError::Empty => f.write_str("there is no hash after the user's name"),
            EntryError::UnknownForm => f.write_str(
                "the PIN is in none of the accepted forms: bcrypt, Argon2, SHA-crypt, $apr1$, {SHA}, {SSHA}, {PLAIN}",
            ),
            EntryError::Hash(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for EntryError {}

impl PinEntry {
    /// Reads what stands between the name's colon and the next one, or the end of the line.
    pub fn parse(field: &[u8]) -> Result<PinEntry, EntryError> {
        const MALFORMED: EntryError = EntryError::Hash(HashedPinError::Malformed);
        if field.is_empty() {
            return Err(EntryError::Empty);
        }
        let form = if let Some(hashed) = HashedPin::parse_of_pin_file(field) {
            EntryForm::Hashed(hashed.map_err(EntryError::Hash)?)
        } else if let Some(rest) = field.strip_prefix(apr1::PREFIX) {
            EntryForm::Apr1(Apr1::parse(rest).ok_or(MALFORMED)?)
        } else if let Some(rest) = field.strip_prefix(b"{SHA}") {
            EntryForm::sha1(rest).filter(|form| form.is_unsalted()).ok_or(MALFORMED)?
        } else if let Some(rest) = field.strip_prefix(b"{SSHA}") {
            EntryForm::sha1(rest).ok_or(MALFORMED)?
        } else {
            // An empty PIN would be none at all.
            match field.strip_prefix(b"{PLAIN}") {
                Some(b"") => return Err(EntryError::Empty),
                Some(pin) => EntryForm::Plain(Secret::new(pin.to_vec())),
                None => return Err(EntryError::UnknownForm),
            }
        };
        Ok(PinEntry(form))
    }

    /// Whether this is the PIN. Takes up to a second or so: never under a lock, never on an event
    /// loop.
    pub fn is_of(&self, pin: &[u8]) -> bool {
        match &self.0 {
            EntryForm::Hashed(hash) => hash.is_hash_of(pin),
            EntryForm::Apr1(hash) => hash.is_hash_of(pin),
            EntryForm::Sha1 { digest, salt } => {
                let hash: [u8; SHA1_LEN] =
                    Sha1::new().chain_update(pin).chain_update(salt).finalize().into();
                hash.ct_eq(digest).into()
            }
            EntryForm::Plain(expected) => expected.expose().ct_eq(pin).into(),
        }
    }
}

impl EntryForm {
    /// A digest and whatever follows it.
    fn sha1(text: &[u8]) -> Option<EntryForm> {
        let bytes = BASE64.decode(text).ok()?;
        let (digest, salt) = bytes.split_first_chunk()?;
        Some(EntryForm::Sha1 { digest: *digest, salt: salt.to_vec() })
    }

    fn is_unsalted(&self) -> bool {
        matches!(self, EntryForm::Sha1 { salt, .. } if salt.is_empty())
    }
}
