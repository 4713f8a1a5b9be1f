//! Hashed PINs: which forms are read, what they may cost, checking them.
//!
//! [`entry`] has the further forms of a PIN file, [`mod@file`] looks users up in one.

mod apr1;
pub mod entry;
pub mod file;
mod source;
pub mod turns;

use std::fmt;

use argon2::{Argon2, PasswordHash, PasswordVerifier};
use sha_crypt::{PasswordHashRef, ShaCrypt};

pub use self::source::{PinAnswer, PinSource};
use crate::secret::Secret;

/// A well-formed hash of a PIN within the cost limits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HashedPin {
    form: HashForm,
    text: Secret,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum HashForm {
    /// The named one of its kinds.
    Argon2(&'static str),
    Bcrypt,
    ShaCrypt,
}

/// Why a field that starts like a hash is none we use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HashedPinError {
    /// Not the form its beginning promises.
    Malformed,
    /// Its parameters ask for more memory or time than is given to a check.
    TooCostly,
}

impl fmt::Display for HashedPinError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            HashedPinError::Malformed => "the PIN starts like a hash but isn't a well-formed one",
            HashedPinError::TooCostly => {
                "the PIN's hash costs too much; the limits are argon2 with 64 MiB, 256 MiB times passes and 4 lanes, bcrypt with cost 13, SHA-crypt with 1000000 rounds"
            }
        })
    }
}

impl std::error::Error for HashedPinError {}

// Below a second of a current core, in round numbers that are the same on every machine.
const ARGON2_MAX_KIB: u32 = 64 * 1024;
const ARGON2_MAX_KIB_PASSES: u64 = 256 * 1024;
const ARGON2_MAX_LANES: u32 = 4;
const BCRYPT_MAX_COST: u32 = 13;
const SHA_CRYPT_MAX_ROUNDS: u32 = 1_000_000;

impl HashedPin {
    /// `None`: the field doesn't start like a hash, so it is a literal PIN.
    pub fn parse(field: &[u8]) -> Option<Result<HashedPin, HashedPinError>> {
        let starts = |prefixes: &[&[u8]]| prefixes.iter().any(|prefix| field.starts_with(prefix));
        let form = if starts(&[b"$argon2"]) {
            HashForm::Argon2("argon2id")
        } else if starts(&[b"$2a$", b"$2b$", b"$2x$", b"$2y$"]) {
            HashForm::Bcrypt
        } else if starts(&[b"$5$", b"$6$"]) {
            HashForm::ShaCrypt
        } else {
            return None;
        };
        Some(Self::parse_as(form, field))
    }

    /// The same with the older kinds of Argon2, which the users file doesn't have.
    fn parse_of_pin_file(field: &[u8]) -> Option<Result<HashedPin, HashedPinError>> {
        let old = ["argon2i", "argon2d"].into_iter().find(|kind| {
            let rest = field.strip_prefix(b"$").and_then(|rest| rest.strip_prefix(kind.as_bytes()));
            rest.is_some_and(|rest| rest.starts_with(b"$"))
        });
        match old {
            Some(kind) => Some(Self::parse_as(HashForm::Argon2(kind), field)),
            None => Self::parse(field),
        }
    }

    fn parse_as(form: HashForm, field: &[u8]) -> Result<HashedPin, HashedPinError> {
        let text = str::from_utf8(field).map_err(|_| HashedPinError::Malformed)?;
        match form {
            HashForm::Argon2(kind) => check_argon2(text, kind)?,
            HashForm::Bcrypt => check_bcrypt(text)?,
            HashForm::ShaCrypt => check_sha_crypt(text)?,
        }
        Ok(HashedPin { form, text: Secret::new(field.to_vec()) })
    }

    /// As it is written.
    pub fn text(&self) -> &[u8] {
        self.text.expose()
    }

    /// Whether this is the PIN. Takes up to a second: never under a lock, never on an event loop.
    pub fn is_hash_of(&self, pin: &[u8]) -> bool {
        #[cfg(test)]
        CHECKED.set(CHECKED.get() + 1);
        let Ok(text) = str::from_utf8(self.text.expose()) else { return false };
        match self.form {
            HashForm::Argon2(_) => PasswordHash::new(text)
                .is_ok_and(|hash| Argon2::default().verify_password(pin, &hash).is_ok()),
            HashForm::Bcrypt => bcrypt::verify(pin, text).unwrap_or(false),
            HashForm::ShaCrypt => PasswordHashRef::new(text)
                .is_ok_and(|hash| ShaCrypt::default().verify_password(pin, hash).is_ok()),
        }
    }
}

fn check_argon2(text: &str, kind: &str) -> Result<(), HashedPinError> {
    let hash = PasswordHash::new(text).map_err(|_| HashedPinError::Malformed)?;
    if hash.algorithm.as_str() != kind || hash.salt.is_none() || hash.hash.is_none() {
        return Err(HashedPinError::Malformed);
    }
    let params = argon2::Params::try_from(&hash).map_err(|_| HashedPinError::Malformed)?;
    let (memory, passes) = (params.m_cost(), u64::from(params.t_cost()));
    let too_costly = memory > ARGON2_MAX_KIB
        || u64::from(memory) * passes > ARGON2_MAX_KIB_PASSES
        || params.p_cost() > ARGON2_MAX_LANES;
    if too_costly { Err(HashedPinError::TooCostly) } else { Ok(()) }
}

fn check_bcrypt(text: &str) -> Result<(), HashedPinError> {
    let hash: bcrypt::HashParts = text.parse().map_err(|_| HashedPinError::Malformed)?;
    if !(4..=31).contains(&hash.get_cost()) {
        return Err(HashedPinError::Malformed);
    }
    if hash.get_cost() > BCRYPT_MAX_COST { Err(HashedPinError::TooCostly) } else { Ok(()) }
}

/// `$5$[rounds=N$]salt$digest`, digest of 43 (SHA-256) or 86 (SHA-512) characters.
fn check_sha_crypt(text: &str) -> Result<(), HashedPinError> {
    let (digest_len, rest) =
        if let Some(rest) = text.strip_prefix("$5$") { (43, rest) } else { (86, &text[3..]) };
    let mut parts: Vec<&str> = rest.split('$').collect();
    if let Some(rounds) = parts[0].strip_prefix("rounds=") {
        let rounds: u32 = rounds.parse().map_err(|_| HashedPinError::Malformed)?;
        if rounds > SHA_CRYPT_MAX_ROUNDS {
            return Err(HashedPinError::TooCostly);
        }
        parts.remove(0);
    }
    let is_crypt_base64 =
        |s: &str| s.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'.' || b == b'/');
    match parts[..] {
        [salt, digest]
            if (1..=16).contains(&salt.len())
                && digest.len() == digest_len
                && is_crypt_base64(digest)
                && PasswordHashRef::new(text).is_ok() =>
        {
            Ok(())
        }
        _ => Err(HashedPinError::Malformed),
    }
}

#[cfg(test)]
thread_local! {
    /// Hashes computed on this thread.
    pub(crate) static CHECKED: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
}

#[cfg(test)]
mod tests {
    use super::*;

    // The SHA-crypt ones: openssl passwd and glibc's crypt(3) agree on them. The bcrypt one is by
    // htpasswd, the Argon2id one by the reference program.
    const KNOWN: [(&str, &str); 4] = [
        ("$5$saltstring$5B8vYYiY.CVt1RlTTf8KbXBH3hsxY/GNooZaBBGWEc5", "Hello world!"),
        (
            "$6$saltstring$svn8UoSVapNtMuq1ukKS4tPQd8iKwSMHWjl/O817G3uBnIFNjnQJuesI68u4OTLiBFdcbYEdFCoEOfaS35inz1",
            "Hello world!",
        ),
        ("$2y$05$lXGQBDT09PU0BUoTBUSbRuqQMwTF958HkK/qn25O6j6VbzgsXsYyO", "myPassword"),
        (
            "$argon2id$v=19$m=4096,t=2,p=1$c29tZXNhbHQ$lGZ07ixhpzumvQiwHMT/Fdmdx/XMYrBDV/20Jq+LyLs",
            "myPassword",
        ),
    ];

    #[test]
    fn known_hashes_accept_their_pin_and_no_other() {
        for (hash, pin) in KNOWN {
            let hash = HashedPin::parse(hash.as_bytes()).unwrap().unwrap();
            assert!(hash.is_hash_of(pin.as_bytes()));
            assert!(!hash.is_hash_of(b""));
            assert!(!hash.is_hash_of(b"Hello world"));
        }
    }

    #[test]
    fn a_literal_pin_may_start_with_a_dollar() {
        for pin in ["$100", "$", "$1$x$y", "1234", "$apr1$"] {
            assert_eq!(HashedPin::parse(pin.as_bytes()), None, "{pin}");
        }
    }

    #[test]
    fn a_hash_may_cost_so_much_and_no_more() {
        let argon2 = |params: &str| {
            format!(
                "$argon2id$v=19${params}$c29tZXNhbHQ$lGZ07ixhpzumvQiwHMT/Fdmdx/XMYrBDV/20Jq+LyLs"
            )
        };
        let bcrypt = |cost: &str| {
            format!("$2y${cost}$lXGQBDT09PU0BUoTBUSbRuqQMwTF958HkK/qn25O6j6VbzgsXsYyO")
        };
        let sha_crypt = |kind: u8, rounds: u32, len: usize| {
            format!("${kind}$rounds={rounds}$saltstring${}", "x".repeat(len))
        };
        for (field, is_usable) in [
            (argon2("m=65536,t=1,p=1"), true),
            (argon2("m=65536,t=4,p=4"), true),
            (argon2("m=65536,t=5,p=1"), false),
            (argon2("m=65537,t=1,p=1"), false),
            (argon2("m=19456,t=2,p=1"), true),
            (argon2("m=32768,t=8,p=1"), true),
            (argon2("m=32768,t=9,p=1"), false),
            (argon2("m=1024,t=256,p=1"), true),
            (argon2("m=1024,t=257,p=1"), false),
            (argon2("m=4096,t=1,p=4"), true),
            (argon2("m=4096,t=1,p=5"), false),
            (bcrypt("13"), true),
            (bcrypt("14"), false),
            (sha_crypt(6, 1_000_000, 86), true),
            (sha_crypt(6, 1_000_001, 86), false),
            (sha_crypt(5, 1_000_000, 43), true),
            (sha_crypt(5, 1_000_001, 43), false),
        ] {
            let parsed = HashedPin::parse(field.as_bytes()).unwrap().map(|_| ());
            let expected = if is_usable { Ok(()) } else { Err(HashedPinError::TooCostly) };
            assert_eq!(parsed, expected, "{field}");
        }
    }

    #[test]
    fn what_starts_like_a_hash_is_one_or_unreadable() {
        use HashedPinError::*;
        for (field, error) in [
            ("$argon2id$", Malformed),
            (
                "$argon2i$v=19$m=4096,t=2,p=1$c29tZXNhbHQ$lGZ07ixhpzumvQiwHMT/Fdmdx/XMYrBDV/20Jq+LyLs",
                Malformed,
            ),
            (
                "$argon2id$v=19$m=65537,t=1,p=1$c29tZXNhbHQ$lGZ07ixhpzumvQiwHMT/Fdmdx/XMYrBDV/20Jq+LyLs",
                TooCostly,
            ),
            (
                "$argon2id$v=19$m=65536,t=9,p=1$c29tZXNhbHQ$lGZ07ixhpzumvQiwHMT/Fdmdx/XMYrBDV/20Jq+LyLs",
                TooCostly,
            ),
            ("$2y$05$lXGQBDT09PU0BUoTBUSbRuqQMwTF958HkK/qn25O6j6VbzgsXsYy", Malformed),
            ("$2y$15$lXGQBDT09PU0BUoTBUSbRuqQMwTF958HkK/qn25O6j6VbzgsXsYyO", TooCostly),
            ("$5$", Malformed),
            ("$5$saltstring$5B8vYYiY", Malformed),
            (
                "$6$rounds=1000001$saltstring$svn8UoSVapNtMuq1ukKS4tPQd8iKwSMHWjl/O817G3uBnIFNjnQJuesI68u4OTLiBFdcbYEdFCoEOfaS35inz1",
                TooCostly,
            ),
            ("$6$rounds=x$s$y", Malformed),
        ] {
            assert_eq!(HashedPin::parse(field.as_bytes()), Some(Err(error)), "{field}");
        }
    }
}
