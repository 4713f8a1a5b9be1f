//! What a users file allows of its own, without a code: its `#@ allow` lines.

use std::net::IpAddr;
use std::num::NonZeroU32;

use crate::network::Network;

/// Days for which a computer may be trusted.
pub const TRUSTED_DAYS_MAX: u32 = 366;

/// What may let somebody in without a code. By itself, nothing may.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Allow {
    /// Passwords of programs.
    pub apps: bool,
    /// From where the PIN alone is enough.
    pub trusted_networks: Vec<Network>,
    /// For how many days after a code on the same computer.
    pub trusted_computer: Option<NonZeroU32>,
}

impl Allow {
    /// From words like `apps` and `trusted-networks=192.0.2.0/24`. The error says what is wrong.
    pub fn parse<'a>(words: impl Iterator<Item = &'a [u8]>) -> Result<Allow, String> {
        let mut allow = Allow::default();
        for word in words {
            let (name, value) = match word.iter().position(|&b| b == b'=') {
                Some(equals) => (&word[..equals], Some(&word[equals + 1..])),
                None => (word, None),
            };
            let is_repeated = match (name, value) {
                (b"apps", None) => std::mem::replace(&mut allow.apps, true),
                (b"trusted-networks", Some(list)) => {
                    let networks = list
                        .split(|&b| b == b',')
                        .map(Network::parse)
                        .collect::<Result<_, _>>()
                        .map_err(|error| format!("trusted-networks: {error}"))?;
                    !std::mem::replace(&mut allow.trusted_networks, networks).is_empty()
                }
                (b"trusted-computer", Some(days)) => {
                    allow.trusted_computer.replace(parse_days(days)?).is_some()
                }
                _ => {
                    return Err(format!(
                        "\"{}\" is not one of apps, trusted-networks=NETWORK,NETWORK, trusted-computer=DAYS",
                        word.escape_ascii()
                    ));
                }
            };
            if is_repeated {
                return Err(format!("{} is given twice", name.escape_ascii()));
            }
        }
        Ok(allow)
    }

    /// Whether the PIN alone is enough from this address.
    pub fn trusts(&self, address: IpAddr) -> bool {
        Network::any_contains(&self.trusted_networks, address)
    }

    /// What either allows.
    pub fn with(mut self, other: Allow) -> Allow {
        self.trusted_networks.extend(other.trusted_networks);
        Allow {
            apps: self.apps || other.apps,
            trusted_networks: self.trusted_networks,
            trusted_computer: self.trusted_computer.max(other.trusted_computer),
        }
    }
}

fn parse_days(text: &[u8]) -> Result<NonZeroU32, String> {
    let is_number = !text.is_empty() && text.iter().all(u8::is_ascii_digit);
    str::from_utf8(text)
        .ok()
        .filter(|_| is_number)
        .and_then(|text| text.parse().ok())
        .filter(|days| *days <= TRUSTED_DAYS_MAX)
        .and_then(NonZeroU32::new)
        .ok_or_else(|| {
            format!(
                "trusted-computer takes a number of days from 1 to {TRUSTED_DAYS_MAX}, not \"{}\"",
                text.escape_ascii()
            )
        })
}
