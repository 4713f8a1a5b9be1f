//! Tokens in columns, one on a line.
//!
//! Our own order is `name, key in hexadecimal, type, digits, period or counter, hash, PIN`, all but
//! the first two optional: token vendors deliver these two, LinOTP's order is the first six. A
//! first line whose second field is `key`, `secret`, `seed` or `otpkey` is a heading. Other
//! programs' orders are those that their import reads.

use std::num::NonZeroU32;

use clap::ValueEnum;
use otpgate::otp::{Digits, Hash};
use otpgate::secret::Secret;
use otpgate::token::{Algorithm, CounterField, MovingFactor, State};
use zeroize::Zeroizing;

use super::{
    ExchangeOutcome, Flaw, Kind, OwnPin, Read, Token, UNFIT_PAPER, Unfit, base32, hash, hash_name,
    hexadecimal, number, numbered_lines, to_hexadecimal,
};

const HEADINGS: [&[u8]; 4] = [b"key", b"secret", b"seed", b"otpkey"];

/// Whose columns they are.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Columns {
    /// name, key, type, digits, period or counter, hash, PIN
    Otpgate,
    /// serial, key, type, digits, period, hash (linotp/lib/ImportOTP/oath.py)
    Linotp,
    /// serial, key, type, digits, period or counter; with a first line of # version: 2, user,
    /// resolver and realm before them (privacyidea/lib/importotp.py)
    Privacyidea,
    /// serial; manufacturer; type; key; digits; period or counter (ImportTokensFromCsv in
    /// multiotp.class.php)
    Multiotp,
}

/// The fields of a line, by what they mean.
#[derive(Default)]
struct Row<'a> {
    name: &'a [u8],
    key: &'a [u8],
    kind: Option<&'a [u8]>,
    digits: Option<&'a [u8]>,
    number: Option<&'a [u8]>,
    hash: Option<&'a [u8]>,
    pin: Option<&'a [u8]>,
}

impl Columns {
    fn separators(self) -> &'static [u8] {
        match self {
            Columns::Multiotp => b";,\t",
            _ => b",",
        }
    }

    /// `has_users`: privacyIDEA's version 2.
    fn row<'a>(
        self,
        fields: &'a [Zeroizing<Vec<u8>>],
        has_users: bool,
    ) -> Result<Row<'a>, &'static str> {
        let at = |i: usize| fields.get(i).map(|field| &field[..]).filter(|field| !field.is_empty());
        let needed = |i| at(i).ok_or("it has no second field, the key");
        let (row, most) = match self {
            Columns::Otpgate | Columns::Linotp => {
                let row = Row {
                    name: at(0).unwrap_or_default(),
                    key: needed(1)?,
                    kind: at(2),
                    digits: at(3),
                    number: at(4),
                    hash: at(5),
                    pin: at(6),
                };
                (row, if self == Columns::Otpgate { 7 } else { 6 })
            }
            Columns::Privacyidea => {
                let first = if has_users { 3 } else { 0 };
                let user = if has_users { at(0) } else { None };
                let row = Row {
                    name: user.or(at(first)).unwrap_or_default(),
                    key: at(first + 1).ok_or("it has no key")?,
                    kind: at(first + 2),
                    digits: at(first + 3),
                    number: at(first + 4),
                    ..Row::default()
                };
                (row, first + 5)
            }
            Columns::Multiotp => {
                let row = Row {
                    name: at(0).unwrap_or_default(),
                    kind: Some(at(2).ok_or("it has no third field, the type")?),
                    key: at(3).ok_or("it has no fourth field, the key")?,
                    digits: at(4),
                    number: at(5),
                    ..Row::default()
                };
                (row, 6)
            }
        };
        if fields[most.min(fields.len())..].iter().any(|field| !field.is_empty()) {
            return Err("it has more fields than there are columns");
        }
        Ok(row)
    }

    /// The hash of a token that names none. Some programs tell it by the length of the key; where
    /// nobody says so, a key of such a length is asked about.
    fn hash_for(self, key: &Secret) -> Result<Hash, &'static str> {
        match (self, key.expose().len()) {
            (Columns::Privacyidea, 28 | 48) => Err(
                "privacyIDEA takes a key of this length for SHA-224 or SHA-384, which aren't known here",
            ),
            (Columns::Linotp | Columns::Privacyidea, 32) => Ok(Hash::Sha256),
            (Columns::Linotp | Columns::Privacyidea, 64) => Ok(Hash::Sha512),
            (_, 32) => Err(
                "it names no hash, and its key has the length of one for SHA-256: say which with --hash",
            ),
            (_, 64) => Err(
                "it names no hash, and its key has the length of one for SHA-512: say which with --hash",
            ),
            _ => Ok(Hash::Sha1),
        }
    }
}

/// `hash`: that of tokens that name none.
pub fn read(text: &[u8], columns: Columns, hash: Option<Hash>) -> ExchangeOutcome {
    let first = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text).split(|&b| b == b'\n').next();
    let version =
        first.and_then(|line| line.strip_prefix(b"#")?.trim_ascii().strip_prefix(b"version:"));
    let has_users = version.is_some_and(|version| version.trim_ascii() == b"2");
    let mut is_first = true;
    Ok(Read::of(records(text, columns.separators()).filter_map(|record| {
        let (place, fields) = match record {
            Ok(record) => record,
            Err(flaw) => return Some(Err(flaw)),
        };
        let row = columns.row(&fields, has_users);
        let is_heading = std::mem::take(&mut is_first)
            && row.as_ref().is_ok_and(|row| HEADINGS.contains(&&row.key.to_ascii_lowercase()[..]));
        let parsed =
            |row: Result<Row<'_>, _>| row.and_then(|row| token(&row, columns, hash, place));
        (!is_heading).then(|| parsed(row).map_err(|text| Flaw::at(place, text)))
    })))
}

fn token(
    row: &Row<'_>,
    columns: Columns,
    general: Option<Hash>,
    place: usize,
) -> Result<Token, &'static str> {
    let key = match row.key.split_at_checked("base32:".len()) {
        Some((prefix, text)) if prefix.eq_ignore_ascii_case(b"base32:") => base32(text),
        _ => hexadecimal(row.key),
    };
    let key = key.ok_or("its key is not 1 to 256 bytes in hexadecimal or base32:")?;
    let digits = match row.digits {
        None => Digits::SIX,
        Some(text) => {
            number(text).and_then(Digits::new).ok_or("its digits are not a number from 1 to 10")?
        }
    };
    let named = row
        .hash
        .map(|name| hash(name).ok_or("its hash is not SHA1, SHA256 or SHA512"))
        .transpose()?;
    let hash = || named.or(general).map_or_else(|| columns.hash_for(&key), Ok);
    let mut state = State::fresh();
    let period = |default| {
        let period = row.number.map_or(NonZeroU32::new(default), number);
        period.map(MovingFactor::Time).ok_or("its period is not a number from 1 to 4294967295")
    };
    let (algorithm, factor) = match &row.kind.unwrap_or(b"hotp").to_ascii_lowercase()[..] {
        b"hotp" => {
            // What stands there in LinOTP's files is no counter: it starts at 0, whatever it is.
            let written = row.number.filter(|_| columns != Columns::Linotp);
            let counter = written.map_or(Some(0), number);
            let counter =
                counter.ok_or("its counter is not a number from 0 to 9223372036854775807")?;
            state.counter = CounterField::from_written(counter);
            (Algorithm::Hotp(hash()?), MovingFactor::Event)
        }
        b"totp" => (Algorithm::Hotp(hash()?), period(30)?),
        // multiOTP knows no other period.
        b"motp" if columns == Columns::Multiotp => {
            (Algorithm::Motp, MovingFactor::Time(const { NonZeroU32::new(10).unwrap() }))
        }
        b"motp" => (Algorithm::Motp, period(10)?),
        _ => return Err("its type is not hotp, totp or motp"),
    };
    let kind = Kind { algorithm, factor, digits };
    let pin = row.pin.map(|pin| OwnPin::Typed(Zeroizing::new(pin.to_vec())));
    Ok(Token { user: row.name.to_vec(), kind, key, pin, state, place })
}

/// The number of a line, and its fields.
type Record = (usize, Vec<Zeroizing<Vec<u8>>>);

/// The fields of each line with its number, without blank lines and comments.
pub fn records<'t>(
    text: &'t [u8],
    separators: &'t [u8],
) -> impl Iterator<Item = Result<Record, Flaw>> + 't {
    numbered_lines(text).map(|(place, line)| {
        let fields = fields(line, separators);
        let fields = fields.ok_or_else(|| Flaw::at(place, "a quotation mark is unbalanced"));
        Ok((place, fields?))
    })
}

/// Puts a field behind others as [`records`] reads it again.
pub fn push_field(line: &mut Vec<u8>, field: &[u8], separator: u8) {
    let is_special = |&b: &u8| b == separator || matches!(b, b'"' | b'#' | b'\r' | b'\n');
    // A byte order mark at the start of a file is none of its first name.
    let begins_oddly = field.starts_with(b"\xef\xbb\xbf");
    if begins_oddly || field.iter().any(is_special) || field.trim_ascii().len() < field.len() {
        line.push(b'"');
        for &byte in field {
            line.extend(std::iter::repeat_n(byte, if byte == b'"' { 2 } else { 1 }));
        }
        line.push(b'"');
    } else {
        line.extend_from_slice(field);
    }
}

/// Fields between separators, each without blanks around it; in quotes, separators and doubled
/// quotes are its own. `None`: a quote has no end.
fn fields(line: &[u8], separators: &[u8]) -> Option<Vec<Zeroizing<Vec<u8>>>> {
    let mut fields = Vec::new();
    let mut rest = line;
    let is_end = |b: &u8| separators.contains(b);
    // A separator may be a blank itself.
    let without_blanks =
        |text: &[u8]| text.iter().take_while(|b| b.is_ascii_whitespace() && !is_end(b)).count();
    loop {
        rest = &rest[without_blanks(rest)..];
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
            rest = &rest[without_blanks(rest)..];
            if rest.first().is_some_and(|b| !is_end(b)) {
                return None;
            }
        }
        let end = rest.iter().position(is_end).unwrap_or(rest.len());
        field.extend_from_slice(rest[..end].trim_ascii());
        fields.push(field);
        if end == rest.len() {
            return Some(fields);
        }
        rest = &rest[end + 1..];
    }
}

/// The line of a token as a program's import reads it.
pub fn line(token: &Token, columns: Columns) -> Result<Zeroizing<Vec<u8>>, Unfit> {
    let (kind, hash) = match token.kind {
        Kind { algorithm: Algorithm::Motp, factor: MovingFactor::Event, .. } => {
            return Err(Unfit("CSV has only time-based Mobile-OTP"));
        }
        Kind { factor: MovingFactor::Paper(_), .. } => return Err(UNFIT_PAPER),
        Kind { algorithm: Algorithm::Motp, .. } => ("motp", None),
        Kind { algorithm: Algorithm::Hotp(hash), factor: MovingFactor::Event, .. } => {
            ("hotp", Some(hash))
        }
        Kind { algorithm: Algorithm::Hotp(hash), factor: MovingFactor::Time(_), .. } => {
            ("totp", Some(hash))
        }
    };
    let number = match token.kind.factor {
        MovingFactor::Event | MovingFactor::Paper(_) => token.state.counter.as_written(),
        MovingFactor::Time(period) => period.get().into(),
    };
    let digits = token.kind.digits.count();
    if columns != Columns::Otpgate
        && token.user.iter().any(|b| matches!(b, b'"' | b',' | b';' | b'#'))
    {
        return Err(Unfit(
            "its user's name holds a character that the program's import would part it at",
        ));
    }
    match columns {
        Columns::Otpgate => {}
        Columns::Linotp | Columns::Privacyidea if hash.is_none() => {
            return Err(Unfit("the program imports no Mobile-OTP"));
        }
        Columns::Linotp if number != 0 && kind == "hotp" => {
            return Err(Unfit("LinOTP imports no counter, and would begin with 0"));
        }
        Columns::Privacyidea if columns.hash_for(&token.key).ok() != hash => {
            return Err(Unfit("privacyIDEA would take the key's length for that of another hash"));
        }
        Columns::Multiotp if !matches!(hash, None | Some(Hash::Sha1)) => {
            return Err(Unfit("multiOTP imports SHA-1 only"));
        }
        Columns::Multiotp if hash.is_none() && number != 10 => {
            return Err(Unfit("multiOTP knows Mobile-OTP with a period of 10 seconds only"));
        }
        Columns::Linotp | Columns::Privacyidea | Columns::Multiotp => {}
    }
    let mut line = Zeroizing::new(Vec::with_capacity(1024));
    push_field(&mut line, &token.user, b',');
    let key = to_hexadecimal(&token.key);
    if columns == Columns::Multiotp {
        line.extend_from_slice(format!(";otpgate;{kind};").as_bytes());
        line.extend_from_slice(key.as_bytes());
        line.extend_from_slice(format!(";{digits};{number}").as_bytes());
        return Ok(line);
    }
    line.push(b',');
    line.extend_from_slice(key.as_bytes());
    line.extend_from_slice(format!(",{kind},{digits},{number}").as_bytes());
    // Always: who leaves it out leaves it to the reader, and readers differ.
    if let (Some(hash), Columns::Otpgate | Columns::Linotp) = (hash, columns) {
        line.extend_from_slice(format!(",{}", hash_name(hash)).as_bytes());
    }
    Ok(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told_of(text: &str, columns: Columns, hash: Option<Hash>) -> Vec<String> {
        let read = read(text.as_bytes(), columns, hash).expect("lines are read one by one");
        let line = |token: &Token| {
            let user = String::from_utf8_lossy(&token.user);
            let key = to_hexadecimal(&token.key);
            format!("{} {user} {} {}", token.kind.field(), key.as_str(), token.state.counter)
        };
        let tokens = read.tokens.iter().map(line);
        tokens
            .chain(
                read.unusable.iter().map(|flaw| format!("{}: {}", flaw.place.unwrap(), flaw.text)),
            )
            .collect()
    }

    fn told(text: &str) -> Vec<String> {
        told_of(text, Columns::Otpgate, None)
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
                    h,00,hotp,6,0,sha1,1,x\n\"i,00\n\"j\"x,00\na,key";
        assert_eq!(
            told(text),
            [
                "1: it has no second field, the key",
                "2: its key is not 1 to 256 bytes in hexadecimal or base32:",
                "3: its type is not hotp, totp or motp",
                "4: its digits are not a number from 1 to 10",
                "5: its counter is not a number from 0 to 9223372036854775807",
                "6: its period is not a number from 1 to 4294967295",
                "7: its hash is not SHA1, SHA256 or SHA512",
                "8: it has more fields than there are columns",
                "9: a quotation mark is unbalanced",
                "10: a quotation mark is unbalanced",
                "11: its key is not 1 to 256 bytes in hexadecimal or base32:",
            ]
        );
    }

    #[test]
    fn a_name_that_begins_with_a_byte_order_mark_is_read_again_from_a_first_line() {
        let read =
            |text: &[u8]| read(text, Columns::Otpgate, None).expect("lines are read one by one");
        let text = read("x,00\n\u{feff}al,00".as_bytes());
        let written = line(&text.tokens[1], Columns::Otpgate).ok().expect("CSV has a place for it");
        assert_eq!(read(&written).tokens[0].user, "\u{feff}al".as_bytes());
    }

    /// A key of as many bytes.
    fn key(len: usize) -> String {
        "0a".repeat(len)
    }

    #[test]
    fn a_key_of_a_hashs_length_without_hash_is_asked_about_or_taken_as_the_program_takes_it() {
        for (len, name, hash) in [(32, "SHA-256", Hash::Sha256), (64, "SHA-512", Hash::Sha512)] {
            let key = key(len);
            let line = format!("a,{key},totp");
            let told = |columns, hash| told_of(&line, columns, hash).remove(0);
            assert_eq!(
                told(Columns::Otpgate, None),
                format!(
                    "1: it names no hash, and its key has the length of one for {name}: say which with --hash"
                )
            );
            assert_eq!(told(Columns::Otpgate, Some(Hash::Sha1)), format!("HOTP/T30/6 a {key} 0"));
            let derived = format!("HOTP-{}/T30/6 a {key} 0", hash_name(hash));
            assert_eq!(told(Columns::Otpgate, Some(hash)), derived);
            assert_eq!(told(Columns::Linotp, None), derived);
            assert_eq!(told(Columns::Privacyidea, None), derived);
            assert_eq!(
                told_of(&format!("a,{key},totp,6,30,sha1"), Columns::Linotp, None),
                [format!("HOTP/T30/6 a {key} 0")]
            );
            let multiotp =
                told_of(&format!("a;x;TOTP;{key};6;30"), Columns::Multiotp, None).remove(0);
            assert!(multiotp.contains("say which with --hash"), "{multiotp}");
            // Mobile-OTP has one hash only.
            assert_eq!(
                told_of(&format!("a,{key},motp"), Columns::Otpgate, None),
                [format!("MOTP/T10/6 a {key} 0")]
            );
        }
        for len in [1, 20, 31, 33, 63, 65] {
            assert_eq!(told(&format!("a,{}", key(len))), [format!("HOTP/E/6 a {} 0", key(len))]);
        }
        for len in [28, 48] {
            let told = told_of(&format!("a,{}", key(len)), Columns::Privacyidea, None).remove(0);
            assert!(told.contains("SHA-224 or SHA-384"), "{told}");
        }
    }

    #[test]
    fn the_columns_of_other_programs_are_read_by_name() {
        let multiotp = "A0;multiOTP demo;HOTP;00ff;6;7\nA1;multiOTP demo;TOTP;00ff;8;60\nA2,x,mOTP,00ff,6,30\n\
                        A3\tx\tTOTP\t00ff\t6\t30\nA4;x;TOTP;00ff;6\nA5;x\n";
        assert_eq!(
            told_of(multiotp, Columns::Multiotp, None),
            [
                "HOTP/E/6 A0 00ff 7",
                "HOTP/T60/8 A1 00ff 0",
                "MOTP/T10/6 A2 00ff 0",
                "HOTP/T30/6 A3 00ff 0",
                "HOTP/T30/6 A4 00ff 0",
                "6: it has no third field, the type",
            ]
        );
        assert_eq!(told_of("a,00ff,hotp,6,30", Columns::Linotp, None), ["HOTP/E/6 a 00ff 0"]);
        assert_eq!(told_of("a,00ff,hotp,6,30", Columns::Privacyidea, None), ["HOTP/E/6 a 00ff 30"]);
        assert_eq!(
            told_of(
                "# version: 2\nalice,ldap,corp,S1,00ff,totp,6,60\n,,,S2,00ff",
                Columns::Privacyidea,
                None
            ),
            ["HOTP/T60/6 alice 00ff 0", "HOTP/E/6 S2 00ff 0"]
        );
        assert_eq!(
            told_of("a,00ff,hotp,6,0,sha1,1234", Columns::Linotp, None),
            ["1: it has more fields than there are columns"]
        );
    }
}
