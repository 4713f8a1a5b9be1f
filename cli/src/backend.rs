//! The store whose accounts the verbs show and change, with the access of whoever may, and in
//! words.

use std::fmt::Write as _;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use otpgate::log::Quoted;
use otpgate::policy::{Allow, Limits};
use otpgate::secret::Secret;
use otpgate::store::{Account, Accounts, Amendment, OtherUser, Refused, Store, Unfit, Whom};
use otpgate::token::{Computer, ComputerId, Session, SessionId, SessionKind, Ways};
use otpgate::users::file::UsersFile;
use otpgate::users::secret::{self, Ended};

use crate::tokens::{self, Numbered};
use crate::{Failure, Result, owner};

/// The users file that the command was told to use. What the verbs ask of it, any store could
/// answer.
pub struct Backend {
    file: PathBuf,
    store: UsersFile,
}

/// Why accounts weren't amended. Nothing was changed.
pub enum Declined {
    /// The verb's own reason, or there was no access.
    Failure(Failure),
    /// The store's.
    Refused(Refused),
}

impl From<Failure> for Declined {
    fn from(failure: Failure) -> Declined {
        Declined::Failure(failure)
    }
}

impl From<Declined> for Failure {
    fn from(declined: Declined) -> Failure {
        match declined {
            Declined::Failure(failure) => failure,
            Declined::Refused(Refused::Store(error)) => error.into(),
            Declined::Refused(Refused::Unfit(Unfit { place, reason })) => Failure::new(format!(
                "{place} can't be read: {reason}; nothing was changed: correct it with `otpgate edit`"
            )),
            Declined::Refused(Refused::Taken(_)) => {
                Failure::new("the name is taken; nothing was changed")
            }
            Declined::Refused(Refused::Withdrawn) => Failure::new("nothing was changed"),
        }
    }
}

impl Backend {
    pub fn new(file: &Path) -> Backend {
        Backend { file: file.to_owned(), store: UsersFile::new(file) }
    }

    /// What the store is called.
    pub fn name(&self) -> String {
        self.store.name()
    }

    fn accounts<R>(&self, work: impl FnOnce(&dyn Accounts) -> Result<R>) -> Result<R> {
        owner::acting(&self.file, || work(&self.store))
    }

    /// Refuses a store that would refuse every login.
    pub fn check_answers_logins(&self, user: &[u8]) -> Result<()> {
        owner::acting(&self.file, || Ok(Store::find(&self.store, user).map(drop)?))
    }

    /// What the store demands of every policy; else what of that can't be used.
    pub fn limits(&self) -> Result<std::result::Result<Limits, Unfit>> {
        self.accounts(|accounts| Ok(accounts.limits()?))
    }

    /// What lets a user in besides codes: their own ways, and what the store allows everybody.
    pub fn ways(&self, user: &[u8]) -> Result<(Ways, Allow)> {
        owner::acting(&self.file, || {
            let found = Store::find(&self.store, user)?;
            Ok((found.entry.ways.clone(), Allow::clone(&found.allow)))
        })
    }

    /// Ends those of a user's sessions that `choose` says. How many there were.
    pub fn end_sessions(
        &self,
        user: &[u8],
        choose: impl Fn(&[Session]) -> Result<Vec<SessionId>>,
    ) -> Result<u64> {
        owner::acting(&self.file, || {
            let mut chosen = Ok(Vec::new());
            Store::update(&self.store, &mut |transaction| {
                let found = transaction.find(user)?;
                chosen = choose(&found.entry.ways.sessions);
                if let Ok(chosen) = &chosen {
                    transaction.end_sessions(user, &|session| chosen.contains(&session.id));
                }
                Ok(())
            })?;
            chosen.map(|chosen| chosen.len() as u64)
        })
    }

    /// Ends those of a user's trusted computers that `choose` says, and the sessions that began on
    /// them. How many computers there were.
    pub fn end_computers(
        &self,
        user: &[u8],
        choose: impl Fn(&[Computer]) -> Result<Vec<ComputerId>>,
    ) -> Result<u64> {
        owner::acting(&self.file, || {
            let mut chosen = Ok(Vec::new());
            Store::update(&self.store, &mut |transaction| {
                let found = transaction.find(user)?;
                let computers = &found.entry.ways.computers;
                chosen = choose(computers);
                if let Ok(chosen) = &chosen {
                    transaction.end_computers(user, &|computer| chosen.contains(&computer.id));
                    transaction.end_sessions(user, &|session| {
                        let mut ended = computers.iter().filter(|it| chosen.contains(&it.id));
                        session.kind == SessionKind::Computer
                            && ended.any(|computer| computer.token == session.token)
                    });
                }
                Ok(())
            })?;
            chosen.map(|chosen| chosen.len() as u64)
        })
    }

    /// Ends everybody's sessions and trusted computers, and makes a new secret for cookies. How many
    /// there were.
    pub fn renew_secret(&self) -> Result<Ended> {
        owner::acting(&self.file, || Ok(secret::renew(&self.file)?))
    }

    /// Looks at one account, listed or not.
    pub fn look<R>(&self, user: &[u8], look: impl Fn(&Account<'_>) -> Result<R>) -> Result<R> {
        self.accounts(|accounts| {
            let mut seen = None;
            accounts.look(Whom::Users(&[user]), &mut |account| {
                seen = Some(look(account));
                ControlFlow::Continue(())
            })?;
            seen.expect("a store shows the account")
        })
    }

    /// Looks at accounts as [`Accounts::look`] does. Ends with the failure of `look`, if it has one.
    pub fn look_at(
        &self,
        whom: Whom<'_>,
        mut look: impl FnMut(&Account<'_>) -> Result<ControlFlow<()>>,
    ) -> Result<()> {
        let mut failure = None;
        self.accounts(|accounts| {
            Ok(accounts.look(whom, &mut |account| {
                look(account).unwrap_or_else(|failed| {
                    failure = Some(failed);
                    ControlFlow::Break(())
                })
            })?)
        })?;
        failure.map_or(Ok(()), Err)
    }

    /// Somebody else who has this key, and where.
    pub fn other_holder_of(&self, key: &Secret, user: &[u8]) -> Result<Option<OtherUser>> {
        self.accounts(|accounts| Ok(accounts.other_holder_of(key, user)?))
    }

    /// Amends one account, listed or not. `answer` says how, and what to tell of it, each time
    /// anew.
    pub fn amend<R>(
        &self,
        user: &[u8],
        answer: impl Fn(&Account<'_>) -> Result<(Vec<Amendment>, R)>,
    ) -> std::result::Result<R, Declined> {
        let mut told = None;
        self.amend_each(Whom::Users(&[user]), |account| {
            let (amendments, tell) = answer(account)?;
            told = Some(tell);
            Ok(amendments)
        })?;
        Ok(told.expect("a store asks about the account"))
    }

    /// Takes all steps of amending an account but the change: whoever couldn't save learns it before
    /// a key is shown.
    pub fn rehearse<R>(
        &self,
        user: &[u8],
        look: impl Fn(&Account<'_>) -> Result<R>,
    ) -> std::result::Result<R, Declined> {
        self.amend(user, |account| Ok((Vec::new(), look(account)?)))
    }

    /// Amends accounts as [`Accounts::amend`] does. A failure of `answer` leaves all of them as
    /// they are.
    pub fn amend_each(
        &self,
        whom: Whom<'_>,
        mut answer: impl FnMut(&Account<'_>) -> Result<Vec<Amendment>>,
    ) -> std::result::Result<(), Declined> {
        let mut failure = None;
        let done = self.accounts(|accounts| {
            Ok(accounts.amend(whom, &mut |account| match answer(account) {
                Ok(amendments) => Some(amendments),
                Err(reason) => {
                    failure = Some(reason);
                    None
                }
            }))
        })?;
        match failure {
            Some(failure) => Err(Declined::Failure(failure)),
            None => done.map_err(Declined::Refused),
        }
    }

    /// Forgets a user's wrong tries, as [`Accounts::forget_tries`] does. A failure is only worth a
    /// warning.
    pub fn forget_tries(
        &self,
        user: &[u8],
        logins: &[(std::net::IpAddr, otpgate::UnixTime)],
    ) -> Result<std::result::Result<u32, otpgate::store::StoreError>> {
        self.accounts(|accounts| Ok(accounts.forget_tries(user, logins, tokens::now())))
    }

    /// An account's tokens by number; a name that nobody has is refused.
    pub fn tokens_of<'a>(&self, account: &Account<'a>) -> Result<Vec<Numbered<'a>>> {
        if !account.held.is_empty() {
            return Ok(tokens::number(account.held));
        }
        let mut text = format!("{} is not listed in {}", Quoted(account.user), self.name());
        if let Some(twin) = account.twin {
            let _ = write!(text, "; {} is", Quoted(&twin.user));
        }
        Err(Failure::new(text))
    }
}
