//! What a store has about a user besides tokens: further ways in, and what closes them.

use std::fmt;

use data_encoding::BASE32_NOPAD;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::{Computer, Session};
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
    /// Logins that browsers keep, in the store's order.
    pub sessions: Vec<Session>,
    /// Where their PIN alone is enough for a while, in the store's order.
    pub computers: Vec<Computer>,
    /// Some sessions or computers may be half written: they aren't among these.
    pub torn_places: bool,
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

const APP_MARK: &[u8] = b"app-";
const APP_GROUP: usize = 5;
const APP_GROUPS: usize = 5;
const APP_LEN: usize = APP_MARK.len() + APP_GROUPS * (APP_GROUP + 1) - 1;

/// Random bytes that make a password of a program: it holds 125 bits of them.
pub const APP_RANDOM: usize = 16;

/// The password of a program, made of random bytes: `app-` and five groups of five characters of
/// base 32 (RFC 4648 section 6), in lower case.
pub fn app_password(random: &[u8; APP_RANDOM]) -> Zeroizing<String> {
    let encoded = Zeroizing::new(BASE32_NOPAD.encode(random).to_ascii_lowercase());
    let mut text = Zeroizing::new(String::with_capacity(APP_LEN));
    text.push_str("app");
    for group in encoded.as_bytes().chunks_exact(APP_GROUP).take(APP_GROUPS) {
        text.push('-');
        text.extend(group.iter().map(|&b| char::from(b)));
    }
    text
}

/// Whether a password is of the shape of a program's. PIN and code hardly ever are.
pub fn is_app_password(password: &[u8]) -> bool {
    let Some(rest) = password.strip_prefix(APP_MARK).filter(|_| password.len() == APP_LEN) else {
        return false;
    };
    let is_group = |group: &[u8]| {
        group.len() == APP_GROUP && group.iter().all(|b| matches!(b, b'a'..=b'z' | b'2'..=b'7'))
    };
    rest.split(|&b| b == b'-').all(is_group)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_of_a_program_has_its_shape_and_nothing_else_does() {
        let made = app_password(&[0x5a; APP_RANDOM]);
        assert_eq!(&made[..], "app-ljnfu-ws2lj-nfuws-2ljnf-uws2l");
        assert!(is_app_password(made.as_bytes()));
        assert_ne!(made, app_password(&[0x5b; APP_RANDOM]));
        for other in [
            "",
            "app-",
            "1234755224",
            "app-ljnfu-ws2lj-nfuws-2ljnf-uws2",
            "app-ljnfu-ws2lj-nfuws-2ljnf-uws2lj",
            "app-ljnfu-ws2lj-nfuws-2ljnf-uws21",
            "app-ljnfu-ws2lj-nfuws-2ljnf-uws2L",
            "App-ljnfu-ws2lj-nfuws-2ljnf-uws2l",
            "app-ljnfuwws2lj-nfuws-2ljnf-uws2l",
            "app-ljnf-uws2lj-nfuws-2ljnf-uws2l",
            "app_ljnfu-ws2lj-nfuws-2ljnf-uws2l",
        ] {
            assert!(!is_app_password(other.as_bytes()), "{other}");
        }
    }

    #[test]
    fn a_digest_is_of_its_password_and_salt_alone() {
        let digest = AppDigest::of([1; SALT_LEN], b"app-1");
        assert!(digest.is_of(b"app-1") && !digest.is_of(b"app-2"));
        assert_ne!(digest, AppDigest::of([2; SALT_LEN], b"app-1"));
    }
}
