//! `otpgate trust`, `untrust` and `always`: from where a user's PIN alone is enough, and for whom it
//! never is.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::process::ExitCode;

use otpgate::log::Quoted;
use otpgate::network::Network;
use otpgate::policy::Allow;
use otpgate::store::{Account, Amendment};
use otpgate::token::{self, WAYS_MAX, Ways};
use otpgate::users::pragma;

use crate::backend::Backend;
use crate::json::Object;
use crate::{Failure, Result, print};

/// Trust networks: from there, the user's PIN alone is enough
///
/// It needs no code there: whoever is in such a network and has the PIN is in. Networks are added to
/// those that the user has. They count for the address that the server itself finds out; behind a
/// proxy, tell it with mod_remoteip or realip. Wrong PINs are counted: after too many, the user needs
/// a code, once.
#[derive(clap::Args)]
pub struct Trust {
    /// The user
    user: OsString,
    /// Networks like 192.0.2.0/24 or 2001:db8::/32
    #[arg(required = true, value_name = "NETWORK")]
    networks: Vec<OsString>,
}

/// Trust networks no longer: without any named, none of the user's
///
/// Networks that the whole file (`#@ allow`) or a server's configuration trusts stay; see `otpgate
/// always`.
#[derive(clap::Args)]
pub struct Untrust {
    /// The user
    user: OsString,
    /// Only these
    #[arg(value_name = "NETWORK")]
    networks: Vec<OsString>,
}

/// Have a user always need a code, wherever the PIN alone is enough for others
///
/// With `apps`, no password of a program lets the user in either. Stays until `--off`, which also takes
/// back what a server has said after too many wrong PINs.
#[derive(clap::Args)]
pub struct Always {
    /// The user
    user: OsString,
    /// Also close the passwords of programs
    #[arg(value_enum)]
    what: Option<What>,
    /// No longer
    #[arg(long, conflicts_with = "what")]
    off: bool,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum What {
    Apps,
}

pub fn trust(backend: &Backend, arguments: &Trust) -> Result<ExitCode> {
    let user = arguments.user.as_bytes();
    let wanted = parsed(&arguments.networks)?;
    let now = amend(backend, user, |account| {
        let tokens = backend.tokens_of(account)?;
        let is_with_pin = |held: &otpgate::store::Held| {
            held.token.as_ref().is_ok_and(|held| held.token.has_pin_by_itself())
        };
        if !account.held.iter().any(is_with_pin) && !tokens.is_empty() {
            return Err(Failure::new(format!(
                "{} has no PIN that could be enough: give one with `otpgate set-pin` first",
                Quoted(user)
            )));
        }
        let mut networks = account.ways.trusted.clone();
        networks.extend(wanted.iter().filter(|network| !account.ways.trusted.contains(network)));
        if let Some(Err(fault)) = pragma::parse(pragma::trust_line(user, &networks).as_bytes()) {
            return Err(Failure::new(fault.to_string()));
        }
        Ok((Amendment::Trust(networks.clone()), networks))
    })?;
    if let Some(everything) = wanted.iter().find(|network| network.is_everything()) {
        eprintln!("otpgate: warning: {everything} is everywhere: {} needs no code", Quoted(user));
    }
    told(user, &now)
}

pub fn untrust(backend: &Backend, arguments: &Untrust) -> Result<ExitCode> {
    let user = arguments.user.as_bytes();
    let ended = parsed(&arguments.networks)?;
    let now = amend(backend, user, |account| {
        backend.tokens_of(account)?;
        let trusted = &account.ways.trusted;
        if let Some(other) = ended.iter().find(|network| !trusted.contains(network)) {
            let text = format!("{} has no network {other}; see `otpgate show`", Quoted(user));
            return Err(Failure::new(text));
        }
        let stays = |network: &&Network| !ended.is_empty() && !ended.contains(network);
        let networks: Vec<Network> = trusted.iter().filter(stays).copied().collect();
        Ok((Amendment::Trust(networks.clone()), networks))
    })?;
    told(user, &now)
}

pub fn always(backend: &Backend, arguments: &Always) -> Result<ExitCode> {
    let user = arguments.user.as_bytes();
    let always = amend(backend, user, |account| {
        backend.tokens_of(account)?;
        let always = match arguments.off {
            true => token::Always::default(),
            false => token::Always {
                pin: true,
                apps: arguments.what.is_some(),
                until_code: account.ways.always.until_code,
            },
        };
        Ok((Amendment::Always(always), always))
    })?;
    let said = match always {
        token::Always { apps: true, .. } => "always needs a code, and no program gets in",
        token::Always { pin: true, .. } => "always needs a code",
        _ => "needs a code where others do",
    };
    print(format_args!("{} {said}\n", Quoted(user)))?;
    Ok(ExitCode::SUCCESS)
}

fn amend<R>(
    backend: &Backend,
    user: &[u8],
    change: impl Fn(&Account<'_>) -> Result<(Amendment, R)>,
) -> Result<R> {
    Ok(backend.amend(user, |account| {
        let (amendment, result) = change(account)?;
        let is_new = match &amendment {
            Amendment::Trust(networks) => !networks.is_empty() && account.ways.trusted.is_empty(),
            _ => account.ways.always == token::Always::default(),
        };
        // One is left for what a server may add.
        if is_new && account.further.len() + 1 >= WAYS_MAX {
            return Err(Failure::new(format!(
                "{} has {} #@ lines, and no more than {WAYS_MAX} are read: remove some first",
                Quoted(user),
                account.further.len()
            )));
        }
        Ok((vec![amendment], result))
    })?)
}

fn parsed(words: &[OsString]) -> Result<Vec<Network>> {
    let mut networks: Vec<Network> = Vec::new();
    for word in words {
        let network = Network::parse(word.as_bytes()).map_err(Failure::new)?;
        if !networks.contains(&network) {
            networks.push(network);
        }
    }
    Ok(networks)
}

fn told(user: &[u8], networks: &[Network]) -> Result<ExitCode> {
    let user = Quoted(user);
    match networks {
        [] => print(format_args!("no network is trusted for {user} alone\n"))?,
        _ => print(format_args!("the PIN of {user} alone is enough from {}\n", joined(networks)))?,
    }
    Ok(ExitCode::SUCCESS)
}

fn joined(networks: &[Network]) -> String {
    networks.iter().map(Network::to_string).collect::<Vec<_>>().join(", ")
}

fn is_closed(ways: &Ways) -> Option<&'static str> {
    match ways.always {
        token::Always { pin: true, .. } => Some("#@ always: a code everywhere"),
        token::Always { until_code: true, .. } => {
            Some("too many wrong PINs: a code everywhere, once")
        }
        _ => None,
    }
}

/// What `otpgate show` says of it; nothing if there is nothing to say.
pub fn paragraph(ways: &Ways, allow: &Allow) -> String {
    let (own, all) = (&ways.trusted, &allow.trusted_networks);
    let closed = is_closed(ways);
    if own.is_empty() && all.is_empty() && closed.is_none() {
        return String::new();
    }
    let mut text = "\nPIN alone\n".to_owned();
    for (networks, whose) in [(own, "own"), (all, "everybody's")] {
        if !networks.is_empty() {
            text += &format!("  {whose:<10}  {}\n", joined(networks));
        }
    }
    if let Some(closed) = closed {
        text += &format!("  closed      {closed}\n");
    }
    text
}

/// The same in JSON.
pub fn write_json(ways: &Ways, allow: &Allow, object: &mut Object<'_>) {
    let texts = |networks: &[Network]| networks.iter().map(Network::to_string).collect::<Vec<_>>();
    object.texts("trusted_networks", &texts(&ways.trusted));
    object.texts("allowed_networks", &texts(&allow.trusted_networks));
    object.text(
        "always",
        match ways.always {
            token::Always { apps: true, .. } => Some("apps"),
            token::Always { pin: true, .. } => Some("pin"),
            token::Always { until_code: true, .. } => Some("until-code"),
            _ => None,
        },
    );
}
