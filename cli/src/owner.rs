//! Whose access to files is used. Root's own would hide what the server lacks, and would leave files behind that
//! the server can't open.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use otpgate::ffi::identity::{as_user, groups_of};
use otpgate::users::fault::Fault;
use rustix::fs::{Gid, Uid};

use crate::account::Account;
use crate::{Failure, Result};

/// Run by root, `work` has the file access of the users file's owner.
pub fn acting<R>(users_file: &Path, work: impl FnOnce() -> Result<R>) -> Result<R> {
    let owner = std::fs::metadata(users_file).map_err(|error| Fault::new("find", users_file, error))?;
    with_access(owner.uid(), owner.gid(), work)?
}

/// Run by root, `work` has the file access of an account.
pub fn acting_as<R>(account: &Account, work: impl FnOnce() -> R) -> Result<R> {
    with_access(account.uid, account.gid, work)
}

fn with_access<R>(uid: u32, gid: u32, work: impl FnOnce() -> R) -> Result<R> {
    let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
    as_user(uid, gid, &groups_of(uid, gid), work)
        .map_err(|error| Failure::new(format!("cannot act as user {}: {error}", uid.as_raw())))
}
