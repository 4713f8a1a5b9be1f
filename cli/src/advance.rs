//! `otpgate advance`: after a backup was restored, past the codes that were used since it was made.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::process::ExitCode;

use otpgate::UnixTime;
use otpgate::store::{Account, Amendment, Location, Whom};
use otpgate::token::MovingFactor;

use crate::backend::Backend;
use crate::{Result, print, tokens};

/// After restoring a backup of the users file: disable the codes used since it was made
///
/// Event tokens: the next expected counter moves ahead by --by. A user whose fob is behind that is
/// refused until `otpgate resync`. Time tokens: codes up to now are no longer accepted, nor any
/// that could have been accepted early; users can log in again after --max-offset time steps. The
/// last codes can't be reused either.
#[derive(clap::Args)]
pub struct Arguments {
    /// These users
    #[arg(required_unless_present = "all")]
    users: Vec<OsString>,
    /// All users
    #[arg(long, conflicts_with = "users")]
    all: bool,
    /// How far to move the counters of event tokens: at least the number of logins since the backup
    #[arg(long, value_name = "N", default_value = "100", value_parser = clap::value_parser!(u32).range(1..))]
    by: u32,
    /// The widest window of your servers (OTPAuthMaxOffset, auth_otp_max_offset)
    #[arg(long, value_name = "N", default_value = "4", value_parser = clap::value_parser!(u32).range(0..=10_000))]
    max_offset: u32,
}

/// What was done with tokens.
#[derive(Default)]
struct Moved {
    event: u64,
    time: u64,
    /// Printed lists that have no code left.
    used_up: u64,
    unreadable: Vec<Location>,
}

pub fn run(backend: &Backend, arguments: &Arguments) -> Result<ExitCode> {
    let mut users: Vec<&[u8]> = Vec::new();
    for user in arguments.users.iter().map(|user| user.as_bytes()) {
        if !users.contains(&user) {
            users.push(user);
        }
    }
    let whom = if arguments.all { Whom::Everybody } else { Whom::Users(&users) };
    let now = tokens::now();
    let mut moved = Moved::default();
    // A store may ask about an account again, and then the last answer counts.
    let (mut last, mut last_moved) = (Vec::new(), Moved::default());
    backend.amend_each(whom, |account| {
        backend.tokens_of(account)?;
        if last != account.user {
            moved.add(std::mem::take(&mut last_moved));
            last = account.user.to_vec();
        }
        let amendments;
        (amendments, last_moved) = advanced(account, arguments, now);
        Ok(amendments)
    })?;
    moved.add(last_moved);
    moved.unreadable.sort();
    for place in &moved.unreadable {
        eprintln!(
            "otpgate: warning: {place} can't be read and was left as it is; see `otpgate check`"
        );
    }
    print(format_args!(
        "event tokens moved ahead by {}: {}\ntime tokens moved up to now: {}\n",
        arguments.by, moved.event, moved.time
    ))?;
    if moved.used_up > 0 {
        print(format_args!(
            "paper lists that are used up by that: {}; `otpgate paper --again` prints new ones\n",
            moved.used_up
        ))?;
    }
    Ok(ExitCode::SUCCESS)
}

impl Moved {
    fn add(&mut self, more: Moved) {
        self.event += more.event;
        self.time += more.time;
        self.used_up += more.used_up;
        self.unreadable.extend(more.unreadable);
    }
}

fn advanced(
    account: &Account<'_>,
    arguments: &Arguments,
    now: UnixTime,
) -> (Vec<Amendment>, Moved) {
    let (mut amendments, mut moved) = (Vec::new(), Moved::default());
    for (index, held) in account.held.iter().enumerate() {
        let Ok(line) = &held.token else {
            moved.unreadable.push(held.place);
            continue;
        };
        match line.token.factor {
            MovingFactor::Event | MovingFactor::Paper(_) => moved.event += 1,
            MovingFactor::Time(_) => moved.time += 1,
        }
        let state = line.state.advanced(line.token.factor, arguments.by, arguments.max_offset, now);
        if state.codes_left(line.token.factor) == Some(0)
            && line.state.codes_left(line.token.factor) != Some(0)
        {
            moved.used_up += 1;
        }
        amendments.push(Amendment::SetState(index, state));
    }
    (amendments, moved)
}

#[cfg(test)]
mod tests {
    use jiff::tz::TimeZone;
    use otpgate::decide::{self, Attempt, LoginResult, Outcome, Proof};
    use otpgate::policy::{Policy, Server, Settings};
    use otpgate::token::{Address, Entry, ReplayFloor, StoredToken};
    use otpgate::users::record;

    use super::*;

    const KEY: &str = "3132333435363738393031323334353637383930";
    const NOW: UnixTime = 1_700_000_010;
    const STEP: u64 = 1_700_000_010 / 30;

    fn line(text: &str) -> StoredToken {
        let record = record::parse(text.replace("KEY", KEY).as_bytes(), &TimeZone::UTC).unwrap();
        StoredToken { token: record.token, state: record.state }
    }

    fn word(line: &StoredToken, position: u64, now: UnixTime) -> LoginResult {
        let policy =
            Policy { max_linger: Some(3600), ..Settings::default().policy(Server::Apache) };
        let code = line.token.code(position);
        let attempt = Attempt {
            user: b"a",
            proof: Proof::Password(code.as_bytes()),
            address: Address::Unknown,
        };
        let entry = Entry { lines: vec![line.clone()], ..Entry::default() };
        match decide::login(&policy, &entry, &attempt, &|_, _| None, now) {
            Outcome::Decided(decision) => decision.word,
            Outcome::NeedPin(_) => panic!("there is no PIN"),
        }
    }

    fn advanced_line(text: &str) -> StoredToken {
        let line = line(text);
        let state = line.state.advanced(line.token.factor, 100, 4, NOW);
        StoredToken { state, ..line }
    }

    #[test]
    fn codes_that_may_have_been_used_are_of_no_use() {
        for offset in [0, 3, -3] {
            let text = format!("HOTP/T30 a - KEY {offset} 0");
            let (before, after) = (line(&text), advanced_line(&text));
            assert_eq!(word(&before, STEP, NOW), LoginResult::GrantedFresh);
            let used = |position| word(&after, position, NOW) != LoginResult::GrantedFresh;
            assert!((STEP - 10..STEP + 10).all(used), "{offset}");
            let later = NOW + 30 * (5 + offset.max(0));
            assert_eq!(
                word(&after, later as u64 / 30, later),
                LoginResult::GrantedFresh,
                "soon all is well"
            );
        }
        let after = advanced_line("HOTP a - KEY 7");
        assert!((0..107).all(|position| word(&after, position, NOW) != LoginResult::GrantedFresh));
        assert_eq!(word(&after, 107, NOW), LoginResult::GrantedFresh);
    }

    #[test]
    fn the_last_code_doesnt_linger_on_and_failures_stay() {
        let code =
            |line: &StoredToken| String::from_utf8(line.token.code(6).as_bytes().to_vec()).unwrap();
        let text = format!(
            "HOTP a - KEY 7 3 {} 2023-11-14T22:13:20L 192.0.2.7",
            code(&line("HOTP a - KEY"))
        );
        assert_eq!(word(&line(&text), 6, NOW), LoginResult::GrantedReuse);
        assert_eq!(word(&advanced_line(&text), 6, NOW), LoginResult::DeniedExpired);
        let after = advanced_line(&text).state;
        assert_eq!((after.failures, after.used.last_login(NOW)), (3, Some(1_700_000_000)));
    }

    #[test]
    fn a_floor_further_ahead_stays_and_a_counter_stops_at_its_end() {
        let ahead = "HOTP/T30 a - KEY 0 0 - - - @2000000010,0,0,0,x";
        let floor = Some(ReplayFloor::from_written(2_000_000_010));
        assert_eq!(advanced_line(ahead).state.replay_floor, floor);
        let last = advanced_line("HOTP a - KEY 9223372036854775806");
        assert_eq!(last.state.counter.as_written(), i64::MAX - 1);
    }
}
