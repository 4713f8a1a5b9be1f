//! System accounts: names and numbers.

use nix::unistd::{Gid, Group, Uid, User};

use crate::{Failure, Result};

/// Accounts that web servers run as, by distribution.
const SERVERS: [&str; 2] = ["www-data", "apache"];

/// Who the server is.
pub struct SystemAccount {
    pub name: String,
    pub uid: u32,
    pub gid: u32,
}

impl From<User> for SystemAccount {
    fn from(user: User) -> SystemAccount {
        SystemAccount { name: user.name, uid: user.uid.as_raw(), gid: user.gid.as_raw() }
    }
}

/// The account the server runs as: the one named, else for root the usual one, else our own.
pub fn of_server(name: Option<&str>) -> Result<SystemAccount> {
    if let Some(name) = name {
        return find(name)?.ok_or_else(|| Failure::new(format!("there is no user {name}")));
    }
    let own = Uid::effective();
    if !own.is_root() {
        let user = User::from_uid(own).ok().flatten();
        return Ok(user.map_or_else(
            || SystemAccount {
                name: own.to_string(),
                uid: own.as_raw(),
                gid: Gid::effective().as_raw(),
            },
            SystemAccount::from,
        ));
    }
    for name in SERVERS {
        if let Some(account) = find(name)? {
            return Ok(account);
        }
    }
    Err(Failure::new(format!(
        "there is no user {}: say which one the server runs as",
        SERVERS.join(" or ")
    )))
}

fn find(name: &str) -> Result<Option<SystemAccount>> {
    let found = User::from_name(name).map_err(|error| {
        Failure::new(format!("cannot look up the user {name}: {}", error.desc()))
    })?;
    Ok(found.map(SystemAccount::from))
}

/// The number of a group.
pub fn group(name: &str) -> Result<u32> {
    match Group::from_name(name) {
        Ok(Some(group)) => Ok(group.gid.as_raw()),
        Ok(None) => Err(Failure::new(format!("there is no group {name}"))),
        Err(error) => {
            Err(Failure::new(format!("cannot look up the group {name}: {}", error.desc())))
        }
    }
}

/// "user:group" for people.
pub fn names(uid: u32, gid: u32) -> String {
    let user = User::from_uid(Uid::from_raw(uid)).ok().flatten();
    let group = Group::from_gid(Gid::from_raw(gid)).ok().flatten();
    format!(
        "{}:{}",
        user.map_or_else(|| uid.to_string(), |user| user.name),
        group.map_or_else(|| gid.to_string(), |group| group.name)
    )
}
