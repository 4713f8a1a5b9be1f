//! otpauth:// addresses, one on a line: what QR codes hold. Those with which Google Authenticator
//! moves accounts may stand among them.

use std::num::NonZeroU32;

use otpgate::otp::{Digits, Hash};
use otpgate::token::{Algorithm, CounterField, MovingFactor, State};
use zeroize::Zeroizing;

use super::{
    ExchangeOutcome, Flaw, Kind, Read, STEAM, Token, UNFIT_PAPER, Unfit, account, base32, hash,
    is_steam, lines, migration, number,
};
use crate::key_uri::KeyUri;

pub fn read(text: &[u8]) -> ExchangeOutcome {
    let mut batches = migration::Batches::default();
    let mut read = Read::of(lines(text).flat_map(|(place, line)| match migration_data(line) {
        Some(Ok(data)) => migration::tokens(&data, place, &mut batches),
        Some(Err(text)) => vec![Err(Flaw::at(place, text))],
        None => vec![token(line, place).map_err(|text| Flaw::at(place, text))],
    }));
    read.notes.extend(batches.notes());
    Ok(read)
}

/// What an address of Google Authenticator's holds; `None` if the line is none.
fn migration_data(line: &[u8]) -> Option<Result<Zeroizing<Vec<u8>>, &'static str>> {
    let (scheme, rest) = line.split_at_checked(migration::SCHEME.len())?;
    if !scheme.eq_ignore_ascii_case(migration::SCHEME) {
        return None;
    }
    let query = split_once(rest, b'?').map_or(&b""[..], |(_, query)| query);
    let data = query.split(|&b| b == b'&').find_map(|parameter| parameter.strip_prefix(b"data="));
    let data = data.ok_or("it has no data");
    Some(data.and_then(|data| percent_decoded(data).ok_or("a parameter has a broken % sequence")))
}

fn token(line: &[u8], place: usize) -> Result<Token, &'static str> {
    let (scheme, rest) =
        line.split_at_checked("otpauth://".len()).ok_or("it isn't an otpauth:// address")?;
    if !scheme.eq_ignore_ascii_case(b"otpauth://") {
        return Err("it isn't an otpauth:// address");
    }
    // A fragment means nothing here.
    let rest = rest.split(|&b| b == b'#').next().expect("a first part");
    let (path, query) = split_once(rest, b'?').ok_or("it has no parameters")?;
    let (kind, label) = split_once(path, b'/').ok_or("it has no label")?;
    let by_time = match kind {
        kind if kind.eq_ignore_ascii_case(b"totp") => true,
        kind if kind.eq_ignore_ascii_case(b"hotp") => false,
        kind if is_steam(kind) => return Err(STEAM),
        _ => return Err("its type is neither totp nor hotp"),
    };
    let label = percent_decoded(label).ok_or("its label has a broken % sequence")?;
    if split_once(&label, b':').is_some_and(|(issuer, _)| is_steam(issuer)) {
        return Err(STEAM);
    }
    let user = account(&label);

    let (mut secret, mut algorithm, mut digits, mut period, mut counter) =
        (None, None, None, None, None);
    for parameter in query.split(|&b| b == b'&').filter(|parameter| !parameter.is_empty()) {
        let (name, value) = split_once(parameter, b'=').unwrap_or((parameter, b""));
        let slot = match &name.to_ascii_lowercase()[..] {
            b"secret" => &mut secret,
            b"algorithm" => &mut algorithm,
            b"digits" => &mut digits,
            b"period" => &mut period,
            b"counter" => &mut counter,
            b"issuer" | b"encoder"
                if percent_decoded(value).is_some_and(|value| is_steam(&value)) =>
            {
                return Err(STEAM);
            }
            name if name.starts_with(b"amp;") => {
                return Err("it was copied out of a web page: its `&amp;` have to be `&`");
            }
            // The issuer, an image, whatever an app has thought of.
            _ => continue,
        };
        let value = percent_decoded(value).ok_or("a parameter has a broken % sequence")?;
        if slot.replace(value).is_some() {
            return Err("a parameter is given twice");
        }
    }
    let secret = secret.ok_or("the secret is missing")?;
    // A plus is a blank in some programs' addresses.
    let secret = Zeroizing::new(
        secret.iter().map(|&b| if b == b'+' { b' ' } else { b }).collect::<Vec<u8>>(),
    );
    let key = base32(&secret).ok_or("the secret is not 1 to 256 bytes in base 32")?;
    let algorithm = match algorithm {
        None => Hash::Sha1,
        Some(name) => hash(&name).ok_or("the algorithm is not SHA1, SHA256 or SHA512")?,
    };
    let digits = match digits {
        None => Digits::SIX,
        Some(text) => {
            number(&text).and_then(Digits::new).ok_or("digits is not a number from 1 to 10")?
        }
    };
    let mut state = State::fresh();
    let factor = if by_time {
        let period: Option<NonZeroU32> = period.map_or(NonZeroU32::new(30), |text| number(&text));
        MovingFactor::Time(period.ok_or("period is not a number from 1 to 4294967295")?)
    } else {
        let counter = counter.ok_or("the counter is missing")?;
        let counter =
            number(&counter).ok_or("counter is not a number from 0 to 9223372036854775807")?;
        state.counter = CounterField::from_written(counter);
        MovingFactor::Event
    };
    let kind = Kind { algorithm: Algorithm::Hotp(algorithm), factor, digits };
    Ok(Token { user: user.to_vec(), kind, key, pin: None, state, place })
}

fn split_once(text: &[u8], at: u8) -> Option<(&[u8], &[u8])> {
    let place = text.iter().position(|&b| b == at)?;
    Some((&text[..place], &text[place + 1..]))
}

fn percent_decoded(text: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let mut decoded = Zeroizing::new(Vec::with_capacity(text.len()));
    let mut rest = text;
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        if byte != b'%' {
            decoded.push(byte);
            continue;
        }
        let (digits, after) = rest.split_at_checked(2)?;
        let digits = str::from_utf8(digits)
            .ok()
            .filter(|text| text.bytes().all(|b| b.is_ascii_hexdigit()))?;
        decoded.push(u8::from_str_radix(digits, 16).ok()?);
        rest = after;
    }
    Some(decoded)
}

/// The address of a token.
pub fn line(token: &Token, issuer: &str) -> Result<Zeroizing<String>, Unfit> {
    if matches!(token.kind.factor, MovingFactor::Paper(_)) {
        return Err(UNFIT_PAPER);
    }
    let Algorithm::Hotp(hash) = token.kind.algorithm else {
        return Err(Unfit("Mobile-OTP has no otpauth:// address"));
    };
    let uri = KeyUri {
        issuer,
        user: &token.user,
        key: token.key.expose(),
        hash,
        digits: token.kind.digits,
        factor: token.kind.factor,
        counter: token.state.counter.as_written(),
    };
    Ok(uri.text())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ";

    fn told(address: &str) -> String {
        let read = read(address.as_bytes()).expect("addresses are read one by one");
        match read.unusable.first() {
            Some(flaw) => flaw.text.clone().into_owned(),
            None => {
                let token = &read.tokens[0];
                let user = String::from_utf8_lossy(&token.user);
                let key = super::super::to_hexadecimal(&token.key);
                format!("{} {user} {} {}", token.kind.field(), key.as_str(), token.state.counter)
            }
        }
    }

    const KEY: &str = "3132333435363738393031323334353637383930";

    #[test]
    fn addresses_are_read_as_loosely_as_they_are_written() {
        for (address, line) in [
            (
                format!("otpauth://totp/Big%20Corp:alice?secret={SECRET}&issuer=Big%20Corp"),
                "HOTP/T30/6 alice KEY 0",
            ),
            (
                format!("OTPAUTH://TOTP/alice?SECRET={}", SECRET.to_lowercase()),
                "HOTP/T30/6 alice KEY 0",
            ),
            (
                format!("otpauth://totp/x%3A%20al%2Bice?secret={SECRET}==%3D"),
                "HOTP/T30/6 al+ice KEY 0",
            ),
            (
                "otpauth://totp/alice?secret=gezd+gnbv-gy3t%20qojq gezd gnbv gy3t qojq".to_owned(),
                "HOTP/T30/6 alice KEY 0",
            ),
            (
                format!(
                    "otpauth://totp/a?image=x&secret={SECRET}&algorithm=hmac-sha-256&digits=8&period=60&x#y"
                ),
                "HOTP-SHA256/T60/8 a KEY 0",
            ),
            (
                format!("otpauth://hotp/a?secret={SECRET}&counter=17&algorithm=SHA512"),
                "HOTP-SHA512/E/6 a KEY 17",
            ),
        ] {
            assert_eq!(told(&address), line.replace("KEY", KEY), "{address}");
        }
        assert_eq!(
            told("otpauth://totp/a?secret=GF"),
            "HOTP/T30/6 a 31 0",
            "with a stray bit at the end"
        );
    }

    #[test]
    fn what_cannot_be_understood_is_refused_with_the_reason() {
        for (address, reason) in [
            ("http://x".to_owned(), "it isn't an otpauth:// address"),
            ("otpauth://x".to_owned(), "it has no parameters"),
            ("otpauth://totp?secret=GE".to_owned(), "it has no label"),
            ("otpauth://motp/a?secret=GE".to_owned(), "its type is neither totp nor hotp"),
            ("otpauth://steam/a?secret=GE".to_owned(), STEAM),
            ("otpauth://totp/Steam:a?secret=GE".to_owned(), STEAM),
            ("otpauth://totp/a?secret=GE&issuer=Steam".to_owned(), STEAM),
            ("otpauth://totp/x:a?secret=GE&encoder=steam".to_owned(), STEAM),
            (
                "otpauth://totp/a?secret=GE&amp;digits=8".to_owned(),
                "it was copied out of a web page: its `&amp;` have to be `&`",
            ),
            ("otpauth://totp/a%4?secret=GE".to_owned(), "its label has a broken % sequence"),
            ("otpauth://totp/a?secret=%+1".to_owned(), "a parameter has a broken % sequence"),
            ("otpauth://totp/a?issuer=x".to_owned(), "the secret is missing"),
            ("otpauth://totp/a?secret=".to_owned(), "the secret is not 1 to 256 bytes in base 32"),
            (
                "otpauth://totp/a?secret=G1".to_owned(),
                "the secret is not 1 to 256 bytes in base 32",
            ),
            ("otpauth://totp/a?secret=GE&Secret=GE".to_owned(), "a parameter is given twice"),
            (
                "otpauth://totp/a?secret=GE&algorithm=MD5".to_owned(),
                "the algorithm is not SHA1, SHA256 or SHA512",
            ),
            (
                "otpauth://totp/a?secret=GE&digits=11".to_owned(),
                "digits is not a number from 1 to 10",
            ),
            (
                "otpauth://totp/a?secret=GE&period=0".to_owned(),
                "period is not a number from 1 to 4294967295",
            ),
            ("otpauth://hotp/a?secret=GE".to_owned(), "the counter is missing"),
            (
                "otpauth://hotp/a?secret=GE&counter=-1".to_owned(),
                "counter is not a number from 0 to 9223372036854775807",
            ),
        ] {
            assert_eq!(told(&address), reason, "{address}");
        }
    }
}
