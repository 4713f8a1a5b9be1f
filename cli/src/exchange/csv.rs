//! OATH CSV: `name, key in hexadecimal, type, digits, period or counter, hash`, all but the first two optional.
//!
//! Token vendors deliver the first two (serial number and key), multiOTP and privacyIDEA take the first five. A
//! first line whose second field is `key`, `secret`, `seed` or `otpkey` is a heading.

use std::num::NonZeroU32;

use otpgate::otp::{Digits, Hash};
use otpgate::token::{Algorithm, CounterField, MovingFactor, State};
use zeroize::Zeroizing;

use super::{
    ExchangeOutcome, Flaw, Kind, Read, Token, Unfit, base32, collect, hash, hash_name, hexadecimal, lines,
    number, to_hexadecimal,
};

const HEADINGS: [&[u8]; 4] = [b"key", b"secret", b"seed", b"otpkey"];

pub fn read(text: &[u8]) -> ExchangeOutcome {
    let mut is_first = true;
    let tokens = collect(lines(text).filter_map(|(place, line)| {
        let fields = match fields(line) {
            Some(fields) => fields,
            None => return Some(Err(Flaw::at(place, "a quotation mark is unbalanced"))),
        };
        let is_heading = std::mem::take(&mut is_first)
            && fields.get(1).is_some_and(|field| HEADINGS.contains(&&field.to_ascii_lowercase()[..]));
        (!is_heading).then(|| token(&fields, place).map_err(|text| Flaw::at(place, text)))
    }))?;
    Ok(Read { tokens, notes: Vec::new() })
}

fn token(fields: &[Zeroizing<Vec<u8>>], place: usize) -> Result<Token, &'static str> {
    let [name, key, rest @ ..] = fields else { return Err("it has no second field, the key") };
    let key = match key.split_at_checked("base32:".len()) {
        Some((prefix, text)) if prefix.eq_ignore_ascii_case(b"base32:") => base32(text),
        _ => hexadecimal(key),
    };
    let key = key.ok_or("field 2 (key) is not 1 to 256 bytes in hexadecimal or base32:")?;
    let mut rest = rest.iter().map(|field| &field[..]);
    let mut next = || rest.next().filter(|field| !field.is_empty());

    let kind = next().unwrap_or(b"hotp").to_ascii_lowercase();
    let digits = match next() {
        None => Digits::SIX,
        Some(text) => {
            number(text).and_then(Digits::new).ok_or("field 4 (digits) is not a number from 1 to 10")?
        }
    };
    let number_field = next();
    let hash = match next() {
        None => Hash::Sha1,
        Some(name) => hash(name).ok_or("field 6 (hash) is not SHA1, SHA256 or SHA512")?,
    };
    let mut state = State::fresh();
    let period = |default| {
        let period = number_field.map_or(NonZeroU32::new(default), number);
        period.map(MovingFactor::Time).ok_or("field 5 (period) is not a number from 1 to 4294967295")
    };
    let (algorithm, factor) = match &kind[..] {
        b"hotp" => {
            let counter = number_field.map_or(Some(0), number);
            let counter = counter.ok_or("field 5 (counter) is not a number from 0 to 9223372036854775807")?;
            state.counter = CounterField::from_written(counter);
            (Algorithm::Hotp(hash), MovingFactor::Event)
        }
        b"totp" => (Algorithm::Hotp(hash), period(30)?),
        b"motp" => (Algorithm::Motp, period(10)?),
        _ => return Err("field 3 (type) is not hotp, totp or motp"),
    };
    if next().is_some() {
        return Err("it has more than six fields");
    }
    let kind = Kind { algorithm, factor, digits };
    Ok(Token { user: name.to_vec(), kind, key, pin: None, state, place })
}

/// Fields between commas, each without blanks around it; in quotes, commas and doubled quotes are its own. `None`: a
/// quote has no end.
fn fields(line: &[u8]) -> Option<Vec<Zeroizing<Vec<u8>>>> {
    let mut fields = Vec::new();
    let mut rest = line;
    loop {
        rest = rest.trim_ascii_start();
        let mut field = Zeroizing::new(Vec::with_capacity(rest.len()));
        if let Some(quoted) = rest.strip_prefix(b"\"") {
            rest = quoted;
            loop {
                let end = rest.iter().position(|&b| b == b'"')?;
                field.extend_from_slice(&rest[..end]);
                rest = &rest[end + 1..];
                match rest.strip_prefix(b"\"") {
                    Some(after) => {
                        field.push(b'"');
                        rest = after;
                    }
                    None => break,
                }
            }
            if !rest.trim_ascii_start().is_empty() && rest.trim_ascii_start()[0] != b',' {
                return None;
            }
        }
        let end = rest.iter().position(|&b| b == b',').unwrap_or(rest.len());
        field.extend_from_slice(rest[..end].trim_ascii());
        fields.push(field);
        if end == rest.len() {
            return Some(fields);
        }
        rest = &rest[end + 1..];
    }
}

/// The line of a token, with the hash only where it isn't SHA-1: programs that know five fields take the rest.
pub fn line(token: &Token) -> Result<Zeroizing<Vec<u8>>, Unfit> {
    let (kind, hash) = match token.kind {
        Kind { algorithm: Algorithm::Motp, factor: MovingFactor::Event, .. } => {
            return Err(Unfit("CSV has only time-based Mobile-OTP"));
        }
        Kind { algorithm: Algorithm::Motp, .. } => ("motp", Hash::Sha1),
        Kind { algorithm: Algorithm::Hotp(hash), factor: MovingFactor::Event, .. } => ("hotp", hash),
        Kind { algorithm: Algorithm::Hotp(hash), factor: MovingFactor::Time(_), .. } => ("totp", hash),
    };
    let number = match token.kind.factor {
        MovingFactor::Event => token.state.counter.as_written(),
        MovingFactor::Time(period) => period.get().into(),
    };
    let mut line = Zeroizing::new(Vec::with_capacity(1024));
    if token.user.iter().any(|b| matches!(b, b'"' | b',' | b'#')) {
        line.push(b'"');
        for &byte in &token.user {
            line.extend(std::iter::repeat_n(byte, if byte == b'"' { 2 } else { 1 }));
        }
        line.push(b'"');
    } else {
        line.extend_from_slice(&token.user);
    }
    line.push(b',');
    line.extend_from_slice(to_hexadecimal(&token.key).as_bytes());
    line.extend_from_slice(format!(",{kind},{},{number}", token.kind.digits.count()).as_bytes());
    if hash != Hash::Sha1 {
        line.extend_from_slice(format!(",{}", hash_name(hash)).as_bytes());
    }
    Ok(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(text: &str) -> Vec<String> {
        match read(text.as_bytes()) {
            Ok(read) => {
                let line = |token: &Token| {
                    let user = String::from_utf8_lossy(&token.user);
                    let key = to_hexadecimal(&token.key);
                    format!("{} {user} {} {}", token.kind.field(), key.as_str(), token.state.counter)
                };
                read.tokens.iter().map(line).collect()
            }
            Err(flaws) => {
                flaws.into_iter().map(|flaw| format!("{}: {}", flaw.place.unwrap(), flaw.text)).collect()
            }
        }
    }

    #[test]
    fn everything_but_name_and_key_may_be_left_out() {
        let text = "\u{feff}serial,Key,type\r\n# comment\r\n\r\n1001, 00FF\r\n1002,00ff,TOTP\r\n\
                    1003,00ff,hotp,8,120\r\n\"10,\"\"04\",\"base32:ge\",totp,,60,SHA-512\r\n1005,00ff,motp,,";
        assert_eq!(
            told(text),
            [
                "HOTP/E/6 1001 00ff 0",
                "HOTP/T30/6 1002 00ff 0",
                "HOTP/E/8 1003 00ff 120",
                "HOTP-SHA512/T60/6 10,\"04 31 0",
                "MOTP/T10/6 1005 00ff 0"
            ]
        );
    }

    #[test]
    fn every_flaw_is_told_with_its_line() {
        let text = "a\nb,xyz\nc,00,ocra\nd,00,hotp,0\ne,00,hotp,6,-1\nf,00,totp,6,0\ng,00,totp,6,30,md5\n\
                    h,00,hotp,6,0,sha1,x\n\"i,00\n\"j\"x,00\na,key";
        assert_eq!(
            told(text),
            [
                "1: it has no second field, the key",
                "2: field 2 (key) is not 1 to 256 bytes in hexadecimal or base32:",
                "3: field 3 (type) is not hotp, totp or motp",
                "4: field 4 (digits) is not a number from 1 to 10",
                "5: field 5 (counter) is not a number from 0 to 9223372036854775807",
                "6: field 5 (period) is not a number from 1 to 4294967295",
                "7: field 6 (hash) is not SHA1, SHA256 or SHA512",
                "8: it has more than six fields",
                "9: a quotation mark is unbalanced",
                "10: a quotation mark is unbalanced",
                "11: field 2 (key) is not 1 to 256 bytes in hexadecimal or base32:",
            ]
        );
    }
}
