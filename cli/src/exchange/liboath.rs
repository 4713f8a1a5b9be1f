//! The users file of liboath and pam_oath: nearly the line of our own users file. Two numbers mean
//! something else there. The counter of an event token that has been used is the last one accepted,
//! ours is the next one expected; and what stands in its place for a time token is the distance of
//! the last code, not a clock's offset.

use jiff::tz::TimeZone;
use otpgate::otp::Hash;
use otpgate::token::{
    Algorithm, ClockOffset, Counter, MovingFactor, Pin, Reading, ReplayFloor, State, TimeStep, Used,
};
use otpgate::users::{line, localtime, record};
use zeroize::Zeroizing;

use super::{
    ExchangeOutcome, Flaw, Kind, OwnPin, Read, Token, UNFIT_PAPER, Unfit, lines, to_hexadecimal,
};

/// The buffer in liboath's usersfile.c; a longer key makes it refuse the user.
const LIBOATH_KEY_MAX: usize = 32;

pub fn read(text: &[u8], zone: &TimeZone) -> ExchangeOutcome {
    let mut zeroed = 0;
    let mut read = Read::of(lines(text).map(|(place, text)| {
        let record =
            record::parse(text, zone).map_err(|error| Flaw::at(place, error.to_string()))?;
        let token = record.token;
        let pin = &text[record.layout.head[2].clone()];
        // The last code doesn't linger: it was used elsewhere.
        let used = record.state.used.as_of(i64::MAX).map(|(_, last)| last);
        let mut state = State {
            used: Used::Never,
            replay_floor: None,
            last_failure: None,
            intact: false,
            ..record.state
        };
        match state.reading(token.factor) {
            Reading::Time { period, offset, .. } => {
                let floor =
                    used.and_then(|last| ReplayFloor::of_step(TimeStep::at(last, period), period));
                state.replay_floor = floor.filter(|floor| floor.can_be_written());
                zeroed += usize::from(offset != ClockOffset::ZERO);
                state.counter = ClockOffset::ZERO.into();
            }
            Reading::Event { next: last } if state.last_otp.is_some() => {
                state.replay_floor = Some(last.into());
                let next = last.next();
                state.counter =
                    next.ok_or_else(|| Flaw::at(place, "its last counter is used up"))?.into();
            }
            Reading::Event { .. } => {}
        }
        if token.disabled {
            return Err(Flaw::at(place, "it is switched off (OFF:), which liboath doesn't know"));
        }
        Ok(Token {
            user: line::user_of(text).expect("a parsed line has a user").to_vec(),
            kind: Kind { algorithm: token.algorithm, factor: token.factor, digits: token.digits },
            key: token.key,
            pin: Some(OwnPin::Field(Zeroizing::new(pin.to_vec()))),
            state,
            place,
        })
    }));
    if zeroed > 0 {
        read.notes.push(format!(
            "time tokens whose offset was set to 0, because liboath's number isn't that of a clock: {zeroed}"
        ));
    }
    Ok(read)
}

/// The line of a token whose PIN is known in the clear.
pub fn line(token: &Token, pin: &Pin, zone: &TimeZone) -> Result<Zeroizing<Vec<u8>>, Unfit> {
    if matches!(token.kind.factor, MovingFactor::Paper(_)) {
        return Err(UNFIT_PAPER);
    }
    let digits = token.kind.digits.count();
    match token.kind.algorithm {
        Algorithm::Hotp(Hash::Sha1) => {}
        Algorithm::Hotp(_) => return Err(Unfit("liboath's users file has only SHA-1")),
        Algorithm::Motp => return Err(Unfit("liboath has no Mobile-OTP")),
    }
    if !(6..=8).contains(&digits) {
        return Err(Unfit("liboath's users file has only 6 to 8 digits"));
    }
    if matches!(token.kind.factor, MovingFactor::Time(period) if ![30, 60].contains(&period.get()))
    {
        return Err(Unfit("liboath's users file has only periods of 30 and 60 seconds"));
    }
    if token.key.expose().len() > LIBOATH_KEY_MAX {
        return Err(Unfit("liboath's users file knows keys up to 32 bytes only"));
    }
    let pin = match pin {
        Pin::None => b"-",
        Pin::External => b"+",
        Pin::Literal(pin) => pin.expose(),
        Pin::Hashed(_) => return Err(Unfit("liboath has no hashed PINs")),
    };
    let state = &token.state;
    let counter = match (state.reading(token.kind.factor), &state.last_otp) {
        (Reading::Time { .. }, _) => 0,
        (Reading::Event { next }, None) => next.number(),
        (Reading::Event { next }, Some(_)) => next.previous().map_or(0, Counter::number),
    };
    let mut line = Zeroizing::new(Vec::with_capacity(2048));
    for field in
        [token.kind.field().as_bytes(), &token.user, pin, to_hexadecimal(&token.key).as_bytes()]
    {
        line.extend_from_slice(field);
        line.push(b'\t');
    }
    line.extend_from_slice(counter.to_string().as_bytes());
    if let Some(code) = &state.last_otp {
        let last = state.used.as_of(i64::MAX).map(|(_, last)| last);
        line.push(b'\t');
        line.extend_from_slice(code.as_bytes());
        line.push(b'\t');
        line.extend_from_slice(
            &last.map_or(*localtime::NEVER, |last| localtime::format(last, zone)),
        );
    }
    Ok(line)
}
