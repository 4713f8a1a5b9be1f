//! Whose code it is among the other users.

use std::ops::ControlFlow;

use otpgate::UnixTime;
use otpgate::policy::Policy;
use otpgate::store::{Location, Whom};

use super::causes::{CHANCE_MAX, chance, near};
use super::typed::ReadOut;
use crate::Result;
use crate::backend::Backend;
use crate::progress::Progress;
use crate::tokens;

pub enum Others {
    /// It is one that a server would take from this user about now.
    Of {
        user: Vec<u8>,
        token: usize,
    },
    Nobody,
    /// With so many tokens one code alone is met by chance.
    NotSearched,
}

/// Whose code it is, other than `user`'s. Compares it with the few codes that each token shows
/// about now: a million tokens take seconds, and need a second code.
pub fn whose(
    backend: &Backend,
    user: &[u8],
    read_out: &ReadOut,
    policy: &Policy,
    now: UnixTime,
) -> Result<Others> {
    let mut progress = Progress::new();
    let mut found: Option<(Location, Vec<u8>, usize)> = None;
    let mut compared = 0;
    let mut by_chance = 0.0;
    backend.look_at(Whom::Everybody, |account| {
        for token in tokens::number(account.held).into_iter().filter(|_| account.user != user) {
            let Ok(line) = &token.held.token else { continue };
            let near = near(line, policy.max_offset.max(1), now);
            by_chance += chance(&line.token, &near);
            if by_chance > CHANCE_MAX && read_out.next.is_none() {
                return Ok(ControlFlow::Break(()));
            }
            compared += 1;
            progress.tell(|| format!("comparing with other users' codes: {compared} tokens"));
            let Some((_, code)) = line.token.split(&read_out.text) else { continue };
            let place = token.held.place;
            if found.as_ref().is_none_or(|&(first, ..)| place < first)
                && near
                    .into_iter()
                    .any(|range| read_out.positions(&line.token, range, &code).next().is_some())
            {
                found = Some((place, account.user.to_vec(), token.number));
                if read_out.next.is_some() {
                    return Ok(ControlFlow::Break(()));
                }
            }
        }
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(match found {
        _ if by_chance > CHANCE_MAX && read_out.next.is_none() => Others::NotSearched,
        Some((_, user, token)) => Others::Of { user, token },
        None => Others::Nobody,
    })
}
