//! What phone apps export in the clear: JSON of Aegis, andOTP, 2FAS and FreeOTP+.

use std::num::NonZeroU32;

use otpgate::otp::Digits;
use otpgate::secret::Secret;
use otpgate::token::{Algorithm, CounterField, MovingFactor, State};
use otpgate::users::record::KEY_MAX;
use serde_json::Value;
use zeroize::{Zeroize, Zeroizing};

use super::{
    ExchangeOutcome, Flaw, Kind, OwnPin, Read, STEAM, Token, account, base32, hash, is_steam,
    number,
};

/// Whose export it is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum App {
    /// <https://github.com/beemdevelopment/Aegis/blob/master/docs/vault.md>
    Aegis,
    /// `Database/Entry.java` of <https://github.com/andOTP/andOTP>
    AndOtp,
    /// <https://github.com/twofas/2fas-android>: the backup's file
    TwoFas,
    /// `OtpToken.kt` of <https://github.com/helloworld1/FreeOTPPlus>
    FreeOtpPlus,
}

type Path = &'static [&'static str];

/// Where an entry says what.
struct Paths {
    kind: Path,
    /// The first of them that is there.
    names: &'static [Path],
    issuer: Path,
    secret: Path,
    hash: Path,
    digits: Path,
    period: Path,
    counter: Path,
}

impl App {
    fn paths(self) -> Paths {
        match self {
            App::Aegis => Paths {
                kind: &["type"],
                names: &[&["name"]],
                issuer: &["issuer"],
                secret: &["info", "secret"],
                hash: &["info", "algo"],
                digits: &["info", "digits"],
                period: &["info", "period"],
                counter: &["info", "counter"],
            },
            App::AndOtp => Paths {
                kind: &["type"],
                names: &[&["label"]],
                issuer: &["issuer"],
                secret: &["secret"],
                hash: &["algorithm"],
                digits: &["digits"],
                period: &["period"],
                counter: &["counter"],
            },
            App::TwoFas => Paths {
                kind: &["otp", "tokenType"],
                names: &[&["otp", "account"], &["otp", "label"], &["name"]],
                issuer: &["otp", "issuer"],
                secret: &["secret"],
                hash: &["otp", "algorithm"],
                digits: &["otp", "digits"],
                period: &["otp", "period"],
                counter: &["otp", "counter"],
            },
            App::FreeOtpPlus => Paths {
                kind: &["type"],
                names: &[&["label"]],
                issuer: &["issuerExt"],
                secret: &["secret"],
                hash: &["algo"],
                digits: &["digits"],
                period: &["period"],
                counter: &["counter"],
            },
        }
    }

    fn entries(self, document: &Value) -> Result<&Vec<Value>, &'static str> {
        let encrypted = "it is encrypted: export it once more without a password";
        let list = match self {
            App::Aegis if document["db"].is_string() => return Err(encrypted),
            App::Aegis => &document["db"]["entries"],
            App::AndOtp => document,
            App::TwoFas if !document["servicesEncrypted"].is_null() => return Err(encrypted),
            App::TwoFas => &document["services"],
            App::FreeOtpPlus => &document["tokens"],
        };
        list.as_array().ok_or("it has no list of tokens where this app writes it")
    }
}

/// JSON that is wiped when it's dropped.
struct Wiped(Value);

impl Drop for Wiped {
    fn drop(&mut self) {
        fn wipe(value: &mut Value) {
            match value {
                Value::String(text) => text.zeroize(),
                Value::Array(values) => values.iter_mut().for_each(wipe),
                Value::Object(fields) => fields.values_mut().for_each(wipe),
                // FreeOTP+ writes a key as numbers.
                Value::Number(_) => *value = Value::Null,
                Value::Null | Value::Bool(_) => {}
            }
        }
        wipe(&mut self.0);
    }
}

pub fn read(text: &[u8], app: App) -> ExchangeOutcome {
    let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
    // The parser's own text may quote what stands there.
    let document = Wiped(serde_json::from_slice(text).map_err(|error| {
        let (line, column) = (error.line(), error.column());
        Flaw::of_all(format!(
            "it is not JSON, at {line}:{column}; encrypted exports can't be read here"
        ))
    })?);
    let entries = app.entries(&document.0).map_err(Flaw::of_all)?;
    let paths = app.paths();
    Ok(Read::of(
        (1..).zip(entries).map(|(place, entry)| {
            token(entry, &paths, place).map_err(|text| Flaw::at(place, text))
        }),
    ))
}

fn token(entry: &Value, paths: &Paths, place: usize) -> Result<Token, &'static str> {
    let at = |path: Path| {
        let value = path.iter().try_fold(entry, |value, name| value.get(name));
        value.filter(|value| !value.is_null())
    };
    let text = |path| at(path).and_then(Value::as_str).unwrap_or_default();
    let integer = |path| match at(path) {
        None => Ok(None),
        Some(value) => {
            let written = value.as_str().and_then(|text| number(text.as_bytes()));
            value.as_i64().or(written).map(Some).ok_or(())
        }
    };
    let name =
        paths.names.iter().map(|path| text(path)).find(|name| !name.is_empty()).unwrap_or_default();
    let kind = match text(paths.kind) {
        "" => "totp".to_owned(),
        kind => kind.to_ascii_lowercase(),
    };
    let label_issuer = name.split_once(':').map_or("", |(issuer, _)| issuer);
    if [&kind, text(paths.issuer), label_issuer].iter().any(|text| is_steam(text.as_bytes())) {
        return Err(STEAM);
    }
    let key = match at(paths.secret) {
        Some(Value::String(text)) => base32(text.as_bytes()),
        Some(Value::Array(numbers)) => bytes(numbers),
        _ => return Err("it has no secret"),
    };
    let key = key.ok_or("its secret is not 1 to 256 bytes, in base 32 or in numbers")?;
    let hash = match text(paths.hash) {
        _ if kind == "motp" => None,
        "" => hash(b"sha1"),
        name => Some(hash(name.as_bytes()).ok_or("its algorithm is none of SHA1, SHA256, SHA512")?),
    };
    let no_digits = "its digits are no number from 1 to 10";
    let digits = match integer(paths.digits).map_err(|()| no_digits)? {
        None => Digits::SIX,
        Some(count) => u8::try_from(count).ok().and_then(Digits::new).ok_or(no_digits)?,
    };
    let no_period = "its period is no number from 1 to 4294967295";
    let period = |default| {
        let period = integer(paths.period).map_err(|()| no_period)?.unwrap_or(default);
        let period = u32::try_from(period).ok().and_then(NonZeroU32::new).ok_or(no_period)?;
        Ok::<_, &'static str>(MovingFactor::Time(period))
    };
    let mut state = State::fresh();
    let mut pin = None;
    let (algorithm, factor) = match (&kind[..], hash) {
        ("totp", Some(hash)) => (Algorithm::Hotp(hash), period(30)?),
        ("hotp", Some(hash)) => {
            let counter = integer(paths.counter).ok().flatten().filter(|counter| *counter >= 0);
            let counter =
                counter.ok_or("its counter is no number from 0 to 9223372036854775807")?;
            state.counter = CounterField::from_written(counter);
            (Algorithm::Hotp(hash), MovingFactor::Event)
        }
        ("motp", _) => {
            let own = text(&["info", "pin"]);
            pin = (!own.is_empty()).then(|| OwnPin::Typed(Zeroizing::new(own.as_bytes().to_vec())));
            (Algorithm::Motp, period(10)?)
        }
        _ => return Err("its type is none that is known here"),
    };
    let kind = Kind { algorithm, factor, digits };
    Ok(Token { user: account(name.as_bytes()).to_vec(), kind, key, pin, state, place })
}

/// Numbers with a sign, as Java's bytes are.
fn bytes(numbers: &[Value]) -> Option<Secret> {
    if !(1..=KEY_MAX).contains(&numbers.len()) {
        return None;
    }
    let byte = |value: &Value| {
        value.as_i64().and_then(|value| i8::try_from(value).ok()).map(|byte| byte as u8)
    };
    let mut bytes = Zeroizing::new(Vec::with_capacity(numbers.len()));
    for number in numbers {
        bytes.push(byte(number)?);
    }
    Some(Secret::new(bytes.to_vec()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(app: App, text: &str) -> Vec<String> {
        let read = match read(text.as_bytes(), app) {
            Ok(read) => read,
            Err(flaw) => return vec![flaw.text.into_owned()],
        };
        let line = |token: &Token| {
            let user = String::from_utf8_lossy(&token.user);
            let key = super::super::to_hexadecimal(&token.key);
            let pin = match &token.pin {
                Some(OwnPin::Typed(pin)) => format!(" {}", String::from_utf8_lossy(pin)),
                _ => String::new(),
            };
            format!("{} {user} {} {}{pin}", token.kind.field(), key.as_str(), token.state.counter)
        };
        let tokens = read.tokens.iter().map(line);
        tokens
            .chain(
                read.unusable.iter().map(|flaw| format!("{}: {}", flaw.place.unwrap(), flaw.text)),
            )
            .collect()
    }

    #[test]
    fn aegis_entries_of_all_types_are_read() {
        let entry = |kind: &str, info: &str| {
            format!(
                r#"{{"type":"{kind}","uuid":"x","name":"bob","issuer":"Corp","icon":null,"info":{{"secret":"GE",{info}}}}}"#
            )
        };
        let entries = [
            entry("totp", r#""algo":"SHA1","digits":6,"period":30"#),
            entry("hotp", r#""algo":"SHA256","digits":7,"counter":50"#),
            entry("motp", r#""algo":"MD5","digits":6,"period":10,"pin":"1234""#),
            entry("steam", r#""algo":"SHA1","digits":5,"period":30"#),
            entry("yandex", r#""algo":"SHA256","digits":8,"period":30,"pin":"1234""#),
        ];
        let vault = |db: &str| {
            format!(r#"{{"version":1,"header":{{"slots":null,"params":null}},"db":{db}}}"#)
        };
        assert_eq!(
            told(
                App::Aegis,
                &vault(&format!(r#"{{"version":2,"entries":[{}]}}"#, entries.join(",")))
            ),
            [
                "HOTP/T30/6 bob 31 0".to_owned(),
                "HOTP-SHA256/E/7 bob 31 50".to_owned(),
                "MOTP/T10/6 bob 31 0 1234".to_owned(),
                format!("4: {STEAM}"),
                "5: its type is none that is known here".to_owned(),
            ]
        );
        assert_eq!(
            told(App::Aegis, &vault(r#""c2VhbGVk""#)),
            ["it is encrypted: export it once more without a password"]
        );
    }

    #[test]
    fn andotp_2fas_and_freeotp_plus_have_their_own_places() {
        assert_eq!(
            told(
                App::AndOtp,
                r#"[{"secret":"GE","issuer":"x","label":"x:bob","digits":8,"type":"TOTP","algorithm":"SHA512","period":60},
                    {"secret":"GE","label":"carol","digits":6,"type":"HOTP","algorithm":"SHA1","counter":3},
                    {"secret":"GE","label":"d","digits":5,"type":"STEAM","algorithm":"SHA1","period":30}]"#
            ),
            [
                "HOTP-SHA512/T60/8 bob 31 0".to_owned(),
                "HOTP/E/6 carol 31 3".to_owned(),
                format!("3: {STEAM}")
            ]
        );
        assert_eq!(
            told(
                App::TwoFas,
                r#"{"services":[{"name":"Corp","secret":"GE","otp":{"account":"bob","issuer":"Corp","digits":6,
                    "period":30,"algorithm":"SHA1","tokenType":"TOTP"}},{"name":"carol","secret":"GE","otp":{"tokenType":
                    "HOTP","counter":9}},{"name":"Steam","secret":"GE","otp":{"tokenType":"STEAM"}}],"schemaVersion":4}"#
            ),
            [
                "HOTP/T30/6 bob 31 0".to_owned(),
                "HOTP/E/6 carol 31 9".to_owned(),
                format!("3: {STEAM}")
            ]
        );
        assert_eq!(
            told(App::TwoFas, r#"{"services":[],"servicesEncrypted":"a:b:c"}"#),
            ["it is encrypted: export it once more without a password"]
        );
        assert_eq!(
            told(
                App::FreeOtpPlus,
                r#"{"tokenOrder":["x:bob"],"tokens":[{"algo":"SHA1","counter":0,"digits":6,"issuerExt":"x",
                    "issuerInt":"x","label":"bob","period":30,"secret":[49,-1,0],"type":"TOTP"},
                    {"algo":"SHA256","counter":4,"digits":8,"label":"carol","period":30,"secret":[1],"type":"HOTP"}]}"#
            ),
            ["HOTP/T30/6 bob 31ff00 0", "HOTP-SHA256/E/8 carol 01 4"]
        );
    }

    #[test]
    fn what_an_entry_lacks_or_has_wrong_is_told() {
        for (fields, reason) in [
            (r#""label":"x""#, "it has no secret"),
            (r#""secret":"1""#, "its secret is not 1 to 256 bytes, in base 32 or in numbers"),
            (r#""secret":[]"#, "its secret is not 1 to 256 bytes, in base 32 or in numbers"),
            (r#""secret":[256]"#, "its secret is not 1 to 256 bytes, in base 32 or in numbers"),
            (r#""secret":"GE","algorithm":"MD5""#, "its algorithm is none of SHA1, SHA256, SHA512"),
            (r#""secret":"GE","digits":"six""#, "its digits are no number from 1 to 10"),
            (r#""secret":"GE","digits":11"#, "its digits are no number from 1 to 10"),
            (r#""secret":"GE","period":0"#, "its period is no number from 1 to 4294967295"),
            (
                r#""secret":"GE","type":"HOTP""#,
                "its counter is no number from 0 to 9223372036854775807",
            ),
            (
                r#""secret":"GE","type":"HOTP","counter":-1"#,
                "its counter is no number from 0 to 9223372036854775807",
            ),
            (r#""secret":"GE","type":"ocra""#, "its type is none that is known here"),
        ] {
            assert_eq!(
                told(App::AndOtp, &format!("[{{{fields}}}]")),
                [format!("1: {reason}")],
                "{fields}"
            );
        }
        assert_eq!(
            told(App::AndOtp, "\u{1b}GEZDGNBV"),
            ["it is not JSON, at 1:1; encrypted exports can't be read here"]
        );
        for app in [App::Aegis, App::AndOtp, App::TwoFas, App::FreeOtpPlus] {
            assert_eq!(told(app, "{}"), ["it has no list of tokens where this app writes it"]);
        }
    }
}
