//! Networks: addresses that begin alike (RFC 4632).

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The address that a text names. The name of an interface behind it doesn't count.
pub fn address(text: &[u8]) -> Option<IpAddr> {
    dotted(text).map(IpAddr::V4).or_else(|| {
        let text = str::from_utf8(text).ok()?;
        text.split('%').next()?.parse().ok()
    })
}

/// The form that most texts of a server have, each request anew: at a quarter of what the standard
/// library's parser takes, which has to think of all the others.
fn dotted(text: &[u8]) -> Option<Ipv4Addr> {
    let (mut octets, mut index) = ([0_u8; 4], 0);
    let mut octet: Option<u8> = None;
    for &byte in text {
        match (byte, octet) {
            (b'0'..=b'9', None) => octet = Some(byte - b'0'),
            // No 0 in front.
            (b'0'..=b'9', Some(before @ 1..)) => {
                octet = Some(before.checked_mul(10)?.checked_add(byte - b'0')?);
            }
            (b'.', Some(whole)) if index < 3 => {
                octets[index] = whole;
                index += 1;
                octet = None;
            }
            _ => return None,
        }
    }
    octets[3] = octet.filter(|_| index == 3)?;
    Some(octets.into())
}

/// Addresses that begin alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    /// The first of them, without bits behind the prefix.
    first: Bits,
    /// The bits that its addresses have in common.
    mask: Bits,
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
        if prefix > if address.is_ipv4() { 32 } else { 128 } {
            return Err(not_one());
        }
        // Whoever has such an address has the IPv4 address in it.
        if prefix >= 96 && address.to_canonical().is_ipv4() && address.is_ipv6() {
            return Err(refuse("is a network of IPv4 addresses: write it as one"));
        }
        let first = Bits::of(address);
        let mask = u128::MAX.checked_shl(128 - u32::from(prefix)).unwrap_or(0);
        if first.leftmost() & !mask != 0 {
            return Err(refuse(&format!(
                "names an address in the network: bits after the first {prefix} must be 0"
            )));
        }
        let mask = Bits::from_leftmost(mask, address.is_ipv4());
        Ok(Network { first, mask, prefix })
    }

    /// Whether an address belongs to any of them. IPv4-mapped IPv6 addresses are IPv4 addresses.
    /// Where networks are set, each request asks.
    pub fn any_contains(networks: &[Network], address: IpAddr) -> bool {
        let host = Bits::of(address.to_canonical());
        networks.iter().any(|Network { first, mask, .. }| {
            let differing =
                (first.high ^ host.high) & mask.high | (first.low ^ host.low) & mask.low;
            differing == 0 && first.is_ipv4 == host.is_ipv4
        })
    }

    /// Whether everybody is in it.
    pub fn is_everything(&self) -> bool {
        self.prefix == 0
    }
}

/// An address for comparing beginnings: its bits, leftmost. In two parts, so that it is aligned as
/// what servers' pools give.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Bits {
    high: u64,
    low: u64,
    is_ipv4: bool,
}

impl Bits {
    fn of(address: IpAddr) -> Bits {
        match address {
            IpAddr::V4(address) => Bits::from_leftmost(u128::from(address.to_bits()) << 96, true),
            IpAddr::V6(address) => Bits::from_leftmost(address.to_bits(), false),
        }
    }

    fn from_leftmost(leftmost: u128, is_ipv4: bool) -> Bits {
        Bits { high: (leftmost >> 64) as u64, low: leftmost as u64, is_ipv4 }
    }

    fn leftmost(self) -> u128 {
        u128::from(self.high) << 64 | u128::from(self.low)
    }

    fn address(self) -> IpAddr {
        match self.is_ipv4 {
            true => Ipv4Addr::from_bits((self.high >> 32) as u32).into(),
            false => Ipv6Addr::from_bits(self.leftmost()).into(),
        }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.first.address(), self.prefix)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dotted_addresses_are_those_of_the_standard_library() {
        for text in [
            "192.0.2.7",
            "0.0.0.0",
            "255.255.255.255",
            "1.2.3.4",
            "10.20.30.40",
            "127.0.0.1",
            "",
            ".",
            "1",
            "1.2",
            "1.2.3",
            "1.2.3.",
            "1.2.3.4.",
            ".1.2.3.4",
            "1..3.4",
            "1.2.3.4.5",
            "256.0.0.1",
            "1.2.3.256",
            "1.2.3.1000",
            "01.2.3.4",
            "1.2.3.00",
            "1.2.3.4 ",
            " 1.2.3.4",
            "1.2.3.a",
            "1,2,3,4",
            "1.2.3.-4",
            "1.2.3.+4",
            "::",
            "::ffff:1.2.3.4",
            "2001:db8::7",
        ] {
            let expected = text.parse::<Ipv4Addr>().ok();
            assert_eq!(dotted(text.as_bytes()), expected, "{text}");
            assert_eq!(address(text.as_bytes()), text.parse().ok(), "{text}");
        }
        for (text, expected) in [("fe80::1%eth0", "fe80::1"), ("192.0.2.7%eth0", "192.0.2.7")] {
            assert_eq!(address(text.as_bytes()), expected.parse().ok(), "{text}");
        }
        assert_eq!(address(b"1.2.3.\xff"), None);
    }

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
            let found = Network::any_contains(&[parsed], address.parse().unwrap());
            assert_eq!(found, is_inside, "{network} {address}");
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
