//! What a store has about a user besides tokens: further ways in, and what closes them.

use std::fmt;

use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::UnixTime;
use crate::network::Network;

/// More of one kind for one user than anybody has use for.
pub const WAYS_MAX: usize = 100;

/// Further ways in for a user, and what closes them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ways {
    /// Passwords of programs, in the store's order.
    pub apps: Vec<AppPassword>,
    /// From where the user's PIN alone is enough.
    pub trusted: Vec<Network>,
    /// What closes some of it.
    pub always: Always,
}

/// For what a user always needs a code, whatever else is allowed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Always {
    /// Where the PIN alone would be enough; said by an admin.
    pub pin: bool,
    /// The same, said by a server after too many wrong PINs: until the next fresh code.
    pub until_code: bool,
    /// Where a program's password would be enough.
    pub apps: bool,
}

impl Always {
    /// Everything is closed.
    pub const ALL: Always = Always { pin: true, until_code: false, apps: true };
    /// What a server says.
    pub const UNTIL_CODE: Always = Always { pin: false, until_code: true, apps: false };

    /// What either closes.
    pub fn with(self, other: Always) -> Always {
        Always {
            pin: self.pin || other.pin,
            until_code: self.until_code || other.until_code,
            apps: self.apps || other.apps,
        }
    }
}

/// A password of a program, by which it comes in without a code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppPassword {
    /// What its user calls it.
    pub name: Vec<u8>,
    /// What it is compared with.
    pub digest: AppDigest,
    /// Prefixes of paths; if there are none, all paths.
    pub paths: Vec<Vec<u8>>,
    /// Methods of requests; if there are none, all methods.
    pub methods: Vec<Vec<u8>>,
    /// When it ends.
    pub until: Option<UnixTime>,
    /// When it was used last, to the hour.
    pub used: Option<UnixTime>,
}

/// Bytes of a salt.
pub const SALT_LEN: usize = 16;

/// A salted SHA-256. These passwords are random, so that nothing slower is needed.
#[derive(Clone, PartialEq, Eq)]
pub struct AppDigest {
    /// Drawn at random for each.
    pub salt: [u8; SALT_LEN],
    /// Of salt and password.
    pub sum: [u8; 32],
}

impl AppDigest {
    /// Of a password.
    pub fn of(salt: [u8; SALT_LEN], password: &[u8]) -> AppDigest {
        AppDigest {
            salt,
            sum: Sha256::new().chain_update(salt).chain_update(password).finalize().into(),
        }
    }

    /// Whether it is of this password, in constant time.
    pub fn is_of(&self, password: &[u8]) -> bool {
        AppDigest::of(self.salt, password).sum.ct_eq(&self.sum).into()
    }
}

impl fmt::Debug for AppDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AppDigest")
    }
}
