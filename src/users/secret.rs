//! What cookies are made with, `<users>.secret`: a magic word and 32 random bytes.
//!
//! It is made once and then only read. What has been read of it may be in use as long as the view of
//! the users file that it was read with, so whoever makes another one changes that file's time, too.
//!
//! It has the users file's owner, group and mode, but nothing for others. One that more people could
//! read is made anew: then it is nobody's secret, and all cookies end. One that can't be used isn't
//! replaced by a process that only wants to read it: what is there may be somebody's.

use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::Arc;

use rustix::fs::{Timespec, Timestamps, UTIME_NOW};
use zeroize::Zeroizing;

use super::companion::{self, CompanionContent};
use super::edit::{self, LineChange, ToWrite};
use super::journal::Journal;
use super::lock::Locked;
use super::pragma::{self, Placed};
use crate::files::access::Access;
use crate::files::fault::Fault;
use crate::files::lines::read_as_far_as_possible;
use crate::store::CookieSecret;
use crate::token::{Computer, Session};

const MAGIC: &[u8; 8] = b"OTPSECR1";
const SECRET_LEN: usize = 32;
const LEN: usize = MAGIC.len() + SECRET_LEN;

/// What a new one holds.
pub(super) fn fresh() -> io::Result<Zeroizing<Vec<u8>>> {
    let mut content = Zeroizing::new(vec![0; LEN]);
    let (magic, secret) = content.split_at_mut(MAGIC.len());
    magic.copy_from_slice(MAGIC);
    getrandom::fill(secret).map_err(|_| io::Error::other("the system has no random bytes"))?;
    Ok(content)
}

/// What it holds. `None`: something else.
fn parse(file: &File) -> io::Result<Option<Arc<CookieSecret>>> {
    // One byte more than there is to be.
    let mut content = Zeroizing::new([0; LEN + 1]);
    let len = read_as_far_as_possible(file, &mut content[..], 0)?;
    let secret = content[..len].strip_prefix(MAGIC);
    let secret = secret.and_then(|secret| <[u8; SECRET_LEN]>::try_from(secret).ok());
    Ok(secret.map(|secret| Arc::new(CookieSecret(Zeroizing::new(secret)))))
}

/// Whether a file is one of these, and whole.
pub(super) fn is_whole(file: &File) -> io::Result<bool> {
    parse(file).map(|secret| secret.is_some())
}

fn parse_at(file: &File, path: &Path) -> Result<Arc<CookieSecret>, Fault> {
    let secret = parse(file).map_err(|error| Fault::new("read", path, error))?;
    secret.ok_or_else(|| {
        let remedy = "remove it; the next login makes a new one, and all cookies of the file end";
        Fault::of("use", path, "it isn't a secret that otpgate has made", remedy)
    })
}

/// Reads it without the lock. `None`: there is none, or there is something to do about it first.
pub(super) fn look(path: &Path, users: &Access) -> Result<Option<Arc<CookieSecret>>, Fault> {
    match companion::look(path, &users.without_others())? {
        Some(file) => parse_at(&file, path).map(Some),
        None => Ok(None),
    }
}

/// Makes it if there is none, under the lock, and anew if others could read it. Before that,
/// whoever still has the last one is made to read again.
pub(super) fn make(locked: &Locked, journal: &mut Journal<'_>) -> Result<Arc<CookieSecret>, Fault> {
    let (path, users) = (locked.paths.secret(), locked.access.without_others());
    if look(&path, &locked.access)?.is_none() {
        is_read_again(locked, journal)?;
    }
    parse_at(&companion::open_secret(&path, &users)?, &path)
}

/// For whoever has made another one: servers that have read the last one read again.
pub fn have_it_read_again(configured: &Path) -> Result<(), Fault> {
    let locked = Locked::acquire(configured)?;
    let mut journal = Journal::open(&locked, &mut None)?;
    is_read_again(&locked, &mut journal)
}

/// What servers have read of it goes with what they see of the users file.
fn is_read_again(locked: &Locked, journal: &mut Journal<'_>) -> Result<(), Fault> {
    rustix::fs::futimens(&locked.users, &NOW)
        .map_err(|error| Fault::new("change the time of", &locked.paths.resolved, error))?;
    journal.empty()
}

/// Whom a new secret concerns.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ended {
    /// So many sessions have ended.
    pub sessions: u64,
    /// So many computers aren't trusted any more.
    pub computers: u64,
}

/// Ends all cookies of a users file: another secret, and no session or computer left in the file.
/// Running servers notice that this has changed, and read both. Returns how many there were.
pub fn renew(configured: &Path) -> Result<Ended, Fault> {
    let locked = Locked::acquire(configured)?;
    let mut journal = Journal::open(&locked, &mut None)?;
    // Nothing else is put out of the way.
    make(&locked, &mut journal)?;
    let (path, users) = (locked.paths.secret(), locked.access.without_others());
    companion::put_new(&path, &users, CompanionContent::Secret)
        .map_err(|error| Fault::new("replace", &path, error))?;
    let mut ended = Ended::default();
    let has_changed = edit::step_under(&locked, &mut journal, |content| {
        let content = content.with(|line| {
            let user = if let Some((user, places)) = Session::of_line(line.text) {
                ended.sessions += places.iter().flatten().flatten().count() as u64;
                user
            } else {
                let (user, places) = Computer::of_line(line.text)?;
                ended.computers += places.iter().flatten().flatten().count() as u64;
                user
            };
            let empty = pragma::emptied(line.text, &user)?;
            Some(LineChange::Replace(Zeroizing::new(empty)))
        });
        Ok::<_, Fault>(Some(ToWrite::Content(content)))
    })?;
    if !has_changed {
        is_read_again(&locked, &mut journal)?;
    }
    Ok(ended)
}

const NOW: Timestamps = {
    let now = Timespec { tv_sec: 0, tv_nsec: UTIME_NOW };
    Timestamps { last_access: now, last_modification: now }
};
