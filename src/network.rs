//! Networks: addresses that begin alike (RFC 4632).

use std::fmt;
use std::net::IpAddr;

/// Addresses that begin alike. Its own address has no bits set behind the prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    prefix: u8,
}

impl Network {
    /// From `192.0.2.0/24` or `2001:db8::/32`. The error says what is wrong with it.
    pub fn parse(text: &[u8]) -> Result<Network, String> {
        let refuse = |what: &str| format!("\"{}\" {what}", text.escape_ascii());
        let not_one = || refuse("is not a network like 192.0.2.0/24 or 2001:db8::/32");
        let (address, prefix) =
            str::from_utf8(text).ok().and_then(|text| text.split_once('/')).ok_or_else(not_one)?;
        let address: IpAddr = address.parse().map_err(|_| not_one())?;
        let is_number = prefix.bytes().all(|byte| byte.is_ascii_digit());
        let prefix: u8 = prefix.parse().ok().filter(|_| is_number).ok_or_else(not_one)?;
        let network = Network { address, prefix };
        if prefix > network.width() {
            return Err(not_one());
        }
        // Whoever has such an address has the IPv4 address in it.
        if prefix >= 96 && address.to_canonical().is_ipv4() && address.is_ipv6() {
            return Err(refuse("is a network of IPv4 addresses: write it as one"));
        }
        if network.bits().checked_shl(prefix.into()).unwrap_or(0) != 0 {
            return Err(refuse(&format!(
                "names an address in the network: bits after the first {prefix} must be 0"
            )));
        }
        Ok(network)
    }

    /// Whether an address belongs to it. IPv4-mapped IPv6 addresses are IPv4 addresses.
    pub fn contains(&self, address: IpAddr) -> bool {
        let host = Network { address: address.to_canonical(), prefix: self.prefix };
        let differing = self.bits() ^ host.bits();
        self.address.is_ipv4() == host.address.is_ipv4()
            && differing.checked_shr(128 - u32::from(self.prefix)).unwrap_or(0) == 0
    }

    /// Whether everybody is in it.
    pub fn is_everything(&self) -> bool {
        self.prefix == 0
    }

    /// The address, leftmost.
    fn bits(&self) -> u128 {
        match self.address {
            IpAddr::V4(address) => u128::from(address.to_bits()) << 96,
            IpAddr::V6(address) => address.to_bits(),
        }
    }

    fn width(&self) -> u8 {
        if self.address.is_ipv4() { 32 } else { 128 }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_inside_and_outside() {
        for (network, address, is_inside) in [
            ("192.0.2.0/24", "192.0.2.0", true),
            ("192.0.2.0/24", "192.0.2.255", true),
            ("192.0.2.0/24", "::ffff:192.0.2.7", true),
            ("192.0.2.0/24", "192.0.3.0", false),
            ("192.0.2.0/24", "c000:200::", false),
            ("192.0.2.7/32", "192.0.2.7", true),
            ("192.0.2.7/32", "192.0.2.6", false),
            ("0.0.0.0/0", "255.1.2.3", true),
            ("0.0.0.0/0", "2001:db8::1", false),
            ("2001:db8::/32", "2001:db8:ffff::1", true),
            ("2001:db8::/32", "2001:db9::", false),
            ("2001:db8::7/128", "2001:db8::7", true),
            ("2001:db8::7/128", "2001:db8::6", false),
            ("::/0", "2001:db8::6", true),
            ("::/0", "192.0.2.1", false),
        ] {
            let parsed = Network::parse(network.as_bytes()).unwrap();
            assert_eq!(parsed.to_string(), network);
            assert_eq!(parsed.contains(address.parse().unwrap()), is_inside, "{network} {address}");
        }
    }

    #[test]
    fn what_is_no_network() {
        for text in [
            "",
            "/",
            "192.0.2.0",
            "192.0.2.0/",
            "192.0.2.0/33",
            "192.0.2.0/+8",
            "192.0.2.0/256",
            "::/129",
            "2001:db8::/ 32",
            "example.org/24",
            "192.0.2.1/24",
            "2001:db8::1/64",
            "192.0.2.0/24/8",
            "::ffff:0:0/96",
            "::ffff:192.0.2.0/120",
        ] {
            assert!(Network::parse(text.as_bytes()).is_err(), "{text}");
        }
    }
}
