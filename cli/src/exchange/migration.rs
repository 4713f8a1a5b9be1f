//! `otpauth-migration://offline?data=…`: what the QR codes hold with which Google Authenticator
//! moves accounts to another phone. A protocol buffer in base 64; Google has published no schema,
//! other apps that read it agree on this one.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU32;

use data_encoding::{BASE64_NOPAD, BASE64URL_NOPAD};
use otpgate::otp::{Digits, Hash};
use otpgate::secret::Secret;
use otpgate::token::{Algorithm, Counter, MovingFactor, State};
use otpgate::users::record::KEY_MAX;
use prost::Message;
use zeroize::{Zeroize, Zeroizing};

use super::{Flaw, Kind, STEAM, Token, account, is_steam};

pub const SCHEME: &[u8] = b"otpauth-migration://";
const PERIOD: NonZeroU32 = NonZeroU32::new(30).unwrap();

#[derive(Clone, PartialEq, Message)]
#[prost(skip_debug)]
struct Payload {
    #[prost(message, repeated, tag = "1")]
    accounts: Vec<Account>,
    #[prost(int32, tag = "3")]
    batch_size: i32,
    #[prost(int32, tag = "4")]
    batch_index: i32,
    #[prost(int32, tag = "5")]
    batch_id: i32,
}

#[derive(Clone, PartialEq, Message)]
#[prost(skip_debug)]
struct Account {
    #[prost(bytes = "vec", tag = "1")]
    secret: Vec<u8>,
    #[prost(string, tag = "2")]
    name: String,
    #[prost(string, tag = "3")]
    issuer: String,
    /// 0 and 1: SHA-1, 2: SHA-256, 3: SHA-512, 4: MD5.
    #[prost(int32, tag = "4")]
    algorithm: i32,
    /// 0 and 1: six, 2: eight.
    #[prost(int32, tag = "5")]
    digits: i32,
    /// 1: HOTP, 2: TOTP.
    #[prost(int32, tag = "6")]
    kind: i32,
    #[prost(int64, tag = "7")]
    counter: i64,
}

/// The parts of exports, of which each QR code holds one: sizes and numbers by the export.
#[derive(Default)]
pub struct Batches(BTreeMap<i32, (i32, BTreeSet<i32>)>);

impl Batches {
    fn note(&mut self, payload: &Payload) {
        let (size, parts) = self.0.entry(payload.batch_id).or_default();
        *size = payload.batch_size;
        parts.insert(payload.batch_index);
    }

    /// What is said of those that aren't whole.
    pub fn notes(&self) -> impl Iterator<Item = String> {
        self.0.values().filter(|(size, parts)| (parts.len() as i64) < i64::from(*size)).map(|(size, parts)| {
            format!(
                "an export of Google Authenticator has {size} parts, a QR code each, and {} of them stand here",
                parts.len()
            )
        })
    }
}

/// The accounts of one part. `data`: its parameter, without percent signs.
pub fn tokens(data: &[u8], place: usize, batches: &mut Batches) -> Vec<Result<Token, Flaw>> {
    let payload = match payload(data) {
        Ok(payload) => payload,
        Err(text) => return vec![Err(Flaw::at(place, text))],
    };
    batches.note(&payload);
    let of_account = |account| token(account, place).map_err(|text| Flaw::at(place, text));
    payload.accounts.into_iter().map(of_account).collect()
}

fn payload(data: &[u8]) -> Result<Payload, &'static str> {
    let mut text = Zeroizing::new(Vec::with_capacity(data.len()));
    // A plus is a blank in some programs' addresses.
    text.extend(data.iter().map(|&b| if b == b' ' { b'+' } else { b }));
    while text.last() == Some(&b'=') {
        text.pop();
    }
    let bytes = BASE64_NOPAD.decode(&text).or_else(|_| BASE64URL_NOPAD.decode(&text));
    let bytes = bytes.map(Zeroizing::new).map_err(|_| "its data is no base 64")?;
    // The decoder's own text may quote what stands there.
    Payload::decode(&bytes[..]).map_err(|_| "its data is no list of accounts")
}

fn token(mut account: Account, place: usize) -> Result<Token, &'static str> {
    let key = Secret::new(std::mem::take(&mut account.secret));
    if !(1..=KEY_MAX).contains(&key.expose().len()) {
        return Err("the key of an account is not 1 to 256 bytes");
    }
    let issuer = account.name.split_once(':').map_or("", |(issuer, _)| issuer);
    if is_steam(account.issuer.as_bytes()) || is_steam(issuer.as_bytes()) {
        return Err(STEAM);
    }
    let hash = match account.algorithm {
        0 | 1 => Hash::Sha1,
        2 => Hash::Sha256,
        3 => Hash::Sha512,
        _ => return Err("the algorithm of an account is none of SHA1, SHA256, SHA512"),
    };
    let digits = match account.digits {
        0 | 1 => Digits::SIX,
        2 => Digits::new(8).expect("1 to 10"),
        _ => return Err("the digits of an account are neither six nor eight"),
    };
    let mut state = State::fresh();
    let factor = match account.kind {
        1 => {
            state.counter = Counter::new(account.counter)
                .ok_or("the counter of an account is negative")?
                .into();
            MovingFactor::Event
        }
        2 => MovingFactor::Time(PERIOD),
        _ => return Err("the type of an account is neither totp nor hotp"),
    };
    let user = self::account(account.name.as_bytes()).to_vec();
    let kind = Kind { algorithm: Algorithm::Hotp(hash), factor, digits };
    Ok(Token { user, kind, key, pin: None, state, place })
}

impl Drop for Account {
    fn drop(&mut self) {
        self.secret.zeroize();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn account() -> Account {
        Account {
            secret: b"12345678901234567890".to_vec(),
            name: "Big Corp:alice".to_owned(),
            issuer: "Big Corp".to_owned(),
            algorithm: 1,
            digits: 1,
            kind: 2,
            counter: 0,
        }
    }

    fn told(payload: &Payload) -> Vec<String> {
        let data = BASE64_NOPAD.encode(&payload.encode_to_vec());
        let tokens = tokens(data.as_bytes(), 1, &mut Batches::default());
        let told = |token: Result<Token, Flaw>| match token {
            Ok(token) => {
                let user = String::from_utf8_lossy(&token.user).into_owned();
                format!("{} {user} {}", token.kind.field(), token.state.counter)
            }
            Err(flaw) => flaw.text.into_owned(),
        };
        tokens.into_iter().map(told).collect()
    }

    fn of(accounts: Vec<Account>) -> Payload {
        Payload { accounts, batch_size: 1, batch_index: 0, batch_id: 7 }
    }

    #[test]
    fn every_account_has_its_own_hash_digits_and_counter() {
        let plain = account();
        let mut long = account();
        (long.name, long.algorithm, long.digits) = ("bob".to_owned(), 2, 2);
        let mut event = account();
        (event.name, event.algorithm, event.kind, event.counter) =
            ("x: carol".to_owned(), 3, 1, 17);
        assert_eq!(
            told(&of(vec![plain, long, event])),
            ["HOTP/T30/6 alice 0", "HOTP-SHA256/T30/8 bob 0", "HOTP-SHA512/E/6 carol 17"]
        );
    }

    #[test]
    fn what_cannot_be_a_token_is_told_for_each_account() {
        let with = |change: fn(&mut Account)| {
            let mut account = account();
            change(&mut account);
            told(&of(vec![account])).remove(0)
        };
        for (told, reason) in [
            (with(|account| account.secret.clear()), "the key of an account is not 1 to 256 bytes"),
            (
                with(|account| account.algorithm = 4),
                "the algorithm of an account is none of SHA1, SHA256, SHA512",
            ),
            (
                with(|account| account.digits = 3),
                "the digits of an account are neither six nor eight",
            ),
            (with(|account| account.kind = 0), "the type of an account is neither totp nor hotp"),
            (
                with(|account| (account.kind, account.counter) = (1, -1)),
                "the counter of an account is negative",
            ),
            (with(|account| account.issuer = "Steam".to_owned()), STEAM),
            (with(|account| account.name = "steam:x".to_owned()), STEAM),
        ] {
            assert_eq!(told, reason);
        }
        for (data, reason) in [
            ("?", "its data is no base 64"),
            ("CiIKFA", "its data is no list of accounts"),
            ("____", "its data is no list of accounts"),
        ] {
            let told = tokens(data.as_bytes(), 3, &mut Batches::default());
            let flaw = told.into_iter().next().unwrap().err().unwrap();
            assert_eq!((flaw.place, &flaw.text[..]), (Some(3), reason), "{data}");
        }
    }
}
