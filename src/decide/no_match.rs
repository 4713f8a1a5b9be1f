//! Rule 8: no match. Old codes are told from guesses.

use std::ops::RangeInclusive;

use super::devices::Devices;
use super::fresh::{Positions, search};
use super::pin::PinPassed;
use super::split::Shown;
use super::{Decision, Inputs, LoginResult, Proof, Reason};
use crate::token::{Algorithm, Entry, MovingFactor, StoredToken, Token};

/// This many spent or passed codes of an event token are recognised.
const RECOGNISED_COUNTERS: u64 = 100;
/// Those of a time token are recognised for this many seconds: a browser tab may stay open
/// overnight.
const RECOGNISED_SECONDS: u32 = 86_400;
/// The limit over all tokens of a user: the cost of a wrong code.
const RECOGNISED_MAX: u64 = 3000;
/// The same in Digest, where each takes several hashes more.
const RECOGNISED_MAX_DIGEST: u64 = 100;
/// So many guesses must be counted for one that a recognised code lets pass by chance.
const COUNTED_PER_RECOGNISED: u64 = 200;

/// Rule 8: a re-sent old code is not a guess; anything else is.
pub(super) fn rule_8_no_match(
    inputs: Inputs<'_>,
    codes: Positions,
    devices: &mut Devices,
    passed: &[PinPassed<'_>],
) -> Decision {
    let Inputs { policy, entry, attempt, now, .. } = inputs;
    let mut candidates: Vec<usize> =
        passed.iter().map(|passed| devices.of_line[passed.line]).collect();
    candidates.sort_unstable();
    candidates.dedup();
    candidates.retain(|&device| !devices.all[device].window.floor_in_future);
    if candidates.is_empty() {
        return Decision::denied(LoginResult::DeniedExpired, Reason::FloorInFuture);
    }

    let is_recognised = |old: Old<'_>| {
        let token = &entry.lines[old.line].token;
        search(policy, &token.codes(), codes.among(old.positions), &old.shown).is_some()
    };
    if old_codes(entry, devices, attempt.proof).into_iter().any(is_recognised) {
        return Decision::denied(LoginResult::DeniedExpired, Reason::Spent);
    }

    // Strangers can send Digest responses without knowing the PIN: they are counted elsewhere.
    let counted = match attempt.proof {
        Proof::Password(_) | Proof::Code(_) => candidates.as_slice(),
        Proof::Response(_) => &[],
    };
    for &device in counted {
        let device = &mut devices.all[device];
        let failures = device.state.failures.saturating_add(1);
        let state = device.change();
        state.failures = failures;
        state.last_failure = Some(now);
    }
    let all_exhausted = candidates.iter().all(|&device| devices.all[device].window.exhausted);
    let is_paper = |device: &usize| {
        let line = devices.all[*device].lines[0];
        matches!(entry.lines[line].token.factor, MovingFactor::Paper(_))
    };
    let reason = match all_exhausted {
        true if candidates.iter().any(is_paper) => Reason::ListUsedUp,
        true => Reason::CounterExhausted,
        false => Reason::WrongCode,
    };
    Decision::denied(LoginResult::DeniedCode, reason).after_a_wrong_guess()
}

/// Spent or passed counters or steps of one of the entry's lines, and what is shown of it.
struct Old<'a> {
    line: usize,
    shown: Shown<'a>,
    positions: RangeInclusive<u64>,
}

/// Which old codes are recognised: of each of the user's tokens the nearest ones.
fn old_codes<'a>(entry: &'a Entry, devices: &Devices, proof: Proof<'a>) -> Vec<Old<'a>> {
    let total = match proof {
        Proof::Password(_) | Proof::Code(_) => RECOGNISED_MAX,
        Proof::Response(_) => RECOGNISED_MAX_DIGEST,
    };
    // A line that shows the same codes as one before it needn't be searched.
    let is_repetition = |index: usize, token: &Token| {
        let before = devices.of_line(index).lines.iter().take_while(|&&line| line < index);
        before.map(|&line| &entry.lines[line].token).any(|other| {
            let pin_is_apart = matches!(proof, Proof::Password(_) | Proof::Code(_))
                && matches!(token.algorithm, Algorithm::Hotp(_));
            other.digits == token.digits && (pin_is_apart || other.pin == token.pin)
        })
    };
    let mut searched = Vec::new();
    for (line, StoredToken { token, .. }) in entry.lines.iter().enumerate() {
        if let Some(shown) = Shown::of(token, proof)
            && let Some(last) = devices.of_line(line).window.passed
            && !is_repetition(line, token)
        {
            searched.push((line, shown, last, recognised_of(token).min(last.saturating_add(1))));
        }
    }
    let wanted: Vec<u64> = searched.iter().map(|&(.., wanted)| wanted).collect();
    let old = searched.into_iter().zip(shares(&wanted, total)).filter(|&(_, share)| share > 0);
    old.map(|((line, shown, last, _), share)| Old {
        line,
        shown,
        positions: last - (share - 1)..=last,
    })
    .collect()
}

/// How many old codes of a token are recognised if it is the only one.
fn recognised_of(token: &Token) -> u64 {
    let old = match token.factor {
        MovingFactor::Event | MovingFactor::Paper(_) => RECOGNISED_COUNTERS,
        MovingFactor::Time(period) => RECOGNISED_SECONDS.div_ceil(period.get()).into(),
    };
    old.min(10u64.pow(token.digits.count() as u32) / COUNTED_PER_RECOGNISED)
}

/// How much of a total each gets: all it wants, or, if that is too much, as much as any other.
fn shares(wanted: &[u64], total: u64) -> Vec<u64> {
    let mut by_want: Vec<usize> = (0..wanted.len()).collect();
    by_want.sort_by_key(|&i| wanted[i]);
    let mut shares = vec![0; wanted.len()];
    let mut left = total;
    for (served, i) in by_want.into_iter().enumerate() {
        shares[i] = wanted[i].min(left / (wanted.len() - served) as u64);
        left -= shares[i];
    }
    shares
}

#[cfg(test)]
mod tests {
    use jiff::tz::TimeZone;

    use super::*;
    use crate::UnixTime;
    use crate::decide::fresh::COMPUTED;
    use crate::decide::{Attempt, Outcome, login};
    use crate::http::digest::{Credentials, DigestAlgorithm, Response, TRIED};
    use crate::policy::{Server, Settings};
    use crate::token::Address;
    use crate::users::record;

    const NOW: UnixTime = 1_700_000_000;

    fn entry(lines: impl IntoIterator<Item = String>) -> Entry {
        let lines = lines.into_iter().map(|line| {
            let record = record::parse(line.as_bytes(), &TimeZone::UTC).unwrap();
            StoredToken { token: record.token, state: record.state }
        });
        Entry { lines: lines.collect(), ..Entry::default() }
    }

    /// So many codes are computed until these credentials are found to be wrong, and so many
    /// passwords are tried.
    fn work(entry: &Entry, proof: Option<&[u8]>) -> (usize, usize) {
        let policy = Settings::default().policy(Server::Apache);
        COMPUTED.set(0);
        TRIED.set(0);
        let sent = Credentials::default();
        let of_nothing = Response::new(DigestAlgorithm::Md5, b"alice", b"realm", b"GET", &sent);
        let proof = proof.map_or(Proof::Response(&of_nothing), Proof::Password);
        let attempt = Attempt { user: b"alice", proof, address: Address::Unknown };
        let Outcome::Decided(decision) = login(&policy, entry, &attempt, &|_, _| None, NOW) else {
            panic!("asks for a PIN");
        };
        assert_eq!(decision.reason, Reason::WrongCode);
        (COMPUTED.get(), TRIED.get())
    }

    #[test]
    fn a_wrong_code_costs_a_bounded_number_of_codes_however_many_tokens_there_are() {
        // Each window is 4 steps on both sides; a stored offset makes two of them.
        let tokens = |kind: &str, counter: i64, count: u64| {
            entry((0..count).map(|i| format!("{kind} alice - 00{i:02x} {counter}")))
        };
        for (kind, counter, count, window, old) in [
            ("HOTP/E", 1000, 1, 5, 100),
            ("HOTP/E", 7, 1, 5, 7),
            ("HOTP/E", 1000, 100, 500, 3000),
            ("HOTP/T30", 0, 1, 9, 2880),
            ("HOTP/T30", 100, 1, 18, 2880),
            ("HOTP/T7000", 0, 1, 9, 13),
            ("HOTP/T1", 0, 1, 9, 3000),
            ("HOTP/T30", 0, 2, 18, 3000),
            ("HOTP-SHA512/T30", 100, 100, 1800, 3000),
            ("HOTP-SHA512/T1", 100, 7, 7 * 18, 7 * (3000 / 7) + 4),
            // A stranger's guess hits one of 10^digits codes.
            ("HOTP/T30/4", 0, 1, 9, 50),
            ("HOTP/T30/5", 0, 100, 900, 3000),
            ("HOTP/T30/3", 0, 1, 9, 5),
            ("HOTP/E/2", 1000, 1, 5, 0),
            ("HOTP/T30/10", 0, 1, 9, 2880),
        ] {
            let entry = tokens(kind, counter, count);
            let digits = entry.lines[0].token.digits.count();
            let wrong = vec![b'z'; digits];
            assert_eq!(work(&entry, Some(&wrong)).0, window + old, "{kind}, {count} tokens");
            let (computed, tried) = work(&entry, None);
            assert_eq!(computed, window + old.min(100), "{kind}, {count} tokens, Digest");
            // Decimal, lower and upper case; and the forget request.
            assert!(tried <= 3 * computed + 1);
        }
    }

    #[test]
    fn lines_that_show_the_same_codes_are_searched_for_old_ones_once() {
        let same = |pin: &str| format!("HOTP/T30 alice {pin} 00");
        let wrong = Some(&b"1234zzzzzz"[..]);
        assert_eq!(work(&entry([same("1234"), same("1234")]), wrong).0, 9 + 9 + 2880);
        assert_eq!(work(&entry([same("1234"), same("4321")]), wrong).0, 9 + 2880);
        // Two Mobile-OTP codes of one key and two PINs are two codes.
        let motp = |pin: &str| format!("MOTP alice {pin} 00");
        let wrong = Some(&b"zzzzzz"[..]);
        assert_eq!(work(&entry([motp("1234"), motp("1234")]), wrong).0, 9 + 9 + 3000);
        assert_eq!(work(&entry([motp("1234"), motp("4321")]), wrong).0, 9 + 9 + 3000);
        let digest = |pins: [&str; 2]| work(&entry(pins.map(same)), None).0;
        assert_eq!((digest(["1", "1"]), digest(["1", "2"])), (9 + 9 + 100, 9 + 9 + 100));
    }

    #[test]
    fn what_is_to_be_shared_is_shared_fairly() {
        for (wanted, total, expected) in [
            (&[][..], 10, &[][..]),
            (&[5], 10, &[5]),
            (&[50], 10, &[10]),
            (&[0, 3, 2], 10, &[0, 3, 2]),
            (&[100, 1, 100], 10, &[4, 1, 5]),
            (&[7, 7, 7], 2, &[0, 1, 1]),
            (&[2880, 100, 2880], 3000, &[1450, 100, 1450]),
        ] {
            assert_eq!(shares(wanted, total), expected, "{wanted:?}");
        }
    }
}
