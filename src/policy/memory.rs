//! Where settings keep what is longer than a number or two.

use crate::network::Network;

/// Memory that lives as long as settings do, such as a server's pool. `None`: there is no more.
pub trait Memory<'a> {
    /// Keeps a list of names.
    fn names(&self, names: &[&'a [u8]]) -> Option<&'a [&'a [u8]]>;

    /// Keeps a list of networks.
    fn networks(&self, networks: &[Network]) -> Option<&'a [Network]>;
}

/// For programs that have their settings to the end: nothing is ever freed.
pub struct Leaked;

impl<'a> Memory<'a> for Leaked {
    fn names(&self, names: &[&'a [u8]]) -> Option<&'a [&'a [u8]]> {
        Some(names.to_vec().leak())
    }

    fn networks(&self, networks: &[Network]) -> Option<&'a [Network]> {
        Some(networks.to_vec().leak())
    }
}
