//! Tokens as people carry them: they show codes, and have a line in a users file.

use std::collections::HashSet;
use std::time::{SystemTime, UNIX_EPOCH};

use data_encoding::HEXLOWER;
use otpgate::otp::{Code, Digits, Hash, hotp, hotp_hexadecimal, motp};

/// The key of RFC 4226 appendix D: its codes are printed there.
const RFC_KEY: &[u8] = b"12345678901234567890";

#[derive(Clone, Copy, Debug, PartialEq)]
enum Algorithm {
    Hotp(Hash),
    Motp,
}

#[derive(Clone, Debug)]
enum Pin {
    None,
    Literal(String),
    /// As the users file has it, and as the person types it.
    Elsewhere {
        field: String,
        typed: String,
    },
}

/// A token and its line in the users file.
#[derive(Clone, Debug)]
pub struct Token {
    user: Vec<u8>,
    algorithm: Algorithm,
    /// Seconds of a time step; `None` for an event token.
    period: Option<u64>,
    digits: u8,
    /// How many codes there are on paper; `None` for anything else.
    printed: Option<u16>,
    pin: Pin,
    key: Vec<u8>,
    off: bool,
    /// Fields 5 to 9, as far as the line has them.
    state: Option<String>,
}

/// Now, in Unix seconds.
pub fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock after 1970").as_secs()
}

impl Token {
    fn new(user: impl AsRef<[u8]>, algorithm: Algorithm, period: Option<u64>) -> Token {
        Token {
            user: user.as_ref().to_vec(),
            algorithm,
            period,
            digits: 6,
            printed: None,
            pin: Pin::None,
            key: RFC_KEY.to_vec(),
            off: false,
            state: None,
        }
    }

    /// An event token: RFC 4226.
    pub fn hotp(user: impl AsRef<[u8]>) -> Token {
        Token::new(user, Algorithm::Hotp(Hash::Sha1), None)
    }

    /// A time token with steps of 30 seconds: RFC 6238.
    pub fn totp(user: impl AsRef<[u8]>) -> Token {
        Token::new(user, Algorithm::Hotp(Hash::Sha1), Some(30))
    }

    /// A Mobile-OTP token with its steps of 10 seconds.
    pub fn motp(user: impl AsRef<[u8]>) -> Token {
        Token::new(user, Algorithm::Motp, Some(10)).key(b"\x01\x23\x45\x67\x89\xab\xcd\xef")
    }

    /// A list of so many codes on paper. Code number 1 is that of counter 0.
    pub fn paper(user: impl AsRef<[u8]>, printed: u16) -> Token {
        Token {
            printed: Some(printed),
            ..Token::hotp(user).digits(8).key(b"a key that is on paper")
        }
    }

    /// Another hash under the HMAC.
    pub fn hash(mut self, hash: Hash) -> Token {
        self.algorithm = Algorithm::Hotp(hash);
        self
    }

    /// A time token with steps of so many seconds.
    pub fn period(mut self, seconds: u64) -> Token {
        self.period = Some(seconds);
        self
    }

    pub fn digits(mut self, digits: u8) -> Token {
        self.digits = digits;
        self
    }

    pub fn key(mut self, key: &[u8]) -> Token {
        self.key = key.to_vec();
        self
    }

    /// A literal PIN.
    pub fn pin(mut self, pin: &str) -> Token {
        self.pin = Pin::Literal(pin.to_owned());
        self
    }

    /// A PIN that the file has only as a hash.
    pub fn hashed_pin(mut self, typed: &str, hash: &str) -> Token {
        self.pin = Pin::Elsewhere { field: hash.to_owned(), typed: typed.to_owned() };
        self
    }

    /// A PIN that is checked by another provider.
    pub fn external_pin(self, typed: &str) -> Token {
        self.hashed_pin(typed, "+")
    }

    /// A disabled token.
    pub fn off(mut self) -> Token {
        self.off = true;
        self
    }

    /// Fields 5 and following, as they stand in the file.
    pub fn state(mut self, fields: &str) -> Token {
        self.state = Some(fields.to_owned());
        self
    }

    /// An event token that expects `counter` next.
    pub fn counter(self, counter: u64) -> Token {
        self.state(&counter.to_string())
    }

    /// An event token that has seen `failures` wrong codes in a row.
    pub fn failures(self, failures: u32) -> Token {
        self.state(&format!("0 {failures}"))
    }

    /// An event token whose code number `counter` was accepted `seconds` ago.
    pub fn used(self, counter: u64, seconds: u64, address: &str) -> Token {
        let when = i64::try_from(now() - seconds).expect("a time of this century");
        let when = jiff::Timestamp::from_second(when).expect("a time of this century");
        let when = when.strftime("%Y-%m-%dT%H:%M:%SL");
        let code = self.code(counter);
        self.state(&format!("{} 0 {code} {when} {address}", counter + 1))
    }

    /// The code of a counter value or time step.
    pub fn code(&self, counter: u64) -> String {
        let digits = Digits::new(self.digits).expect("1 to 10 digits");
        text(&match self.algorithm {
            Algorithm::Hotp(hash) => hotp(hash, &self.key, counter, digits),
            Algorithm::Motp => motp(&self.key, self.typed_pin().as_bytes(), counter, digits),
        })
    }

    /// The same code as some key fobs show it.
    pub fn hexadecimal_code(&self, counter: u64) -> String {
        let digits = Digits::new(self.digits).expect("1 to 10 digits");
        match self.algorithm {
            Algorithm::Hotp(hash) => text(&hotp_hexadecimal(hash, &self.key, counter, digits)),
            Algorithm::Motp => panic!("Mobile-OTP has one form only"),
        }
    }

    /// The time step that is now on.
    pub fn step(&self) -> u64 {
        now() / self.period.expect("a time token")
    }

    /// What the person types who has the code of this counter value or time step before them.
    pub fn password(&self, counter: u64) -> String {
        self.with(&self.code(counter))
    }

    /// What the person types together with `code`.
    pub fn with(&self, code: &str) -> String {
        match self.algorithm {
            Algorithm::Hotp(_) => format!("{}{code}", self.typed_pin()),
            Algorithm::Motp => code.to_owned(),
        }
    }

    /// A code of the right length that this token shows nowhere near its first hundred counters.
    pub fn wrong_code(&self) -> String {
        self.wrong_codes(1).remove(0)
    }

    /// Different codes of the right length, none of them near the first hundred counters, or of
    /// the steps of the last day, which would be recognised.
    pub fn wrong_codes(&self, count: usize) -> Vec<String> {
        let near = match self.period {
            None => 0..200,
            Some(_) => self.day_before(self.step()).start..self.step() + 100,
        };
        let mut shown: HashSet<String> = near.clone().map(|counter| self.code(counter)).collect();
        if let Algorithm::Hotp(_) = self.algorithm {
            shown.extend(near.map(|counter| self.hexadecimal_code(counter)));
        }
        let width = usize::from(self.digits);
        (1u64..)
            .map(|n| format!("{:0width$}", n * 7919 % 10u64.pow(u32::from(self.digits))))
            .filter(|code| !shown.contains(code))
            .take(count)
            .collect()
    }

    /// The first of these steps whose code isn't that of an earlier step by chance: such a code
    /// would be recognised as an old one.
    pub fn step_of_a_new_code(&self, mut steps: impl Iterator<Item = u64>) -> u64 {
        let is_new = |step: &u64| {
            let code = self.code(*step);
            !self.day_before(*step).any(|earlier| self.code(earlier) == code)
        };
        steps.find(is_new).expect("hardly any code is an old one")
    }

    /// The steps of the day before a step, and some more: time goes on while a test runs.
    fn day_before(&self, step: u64) -> std::ops::Range<u64> {
        let day = 24 * 60 * 60 / self.period.expect("a time token");
        step - day - 100..step
    }

    pub fn user(&self) -> &[u8] {
        &self.user
    }

    fn typed_pin(&self) -> &str {
        match &self.pin {
            Pin::None => "",
            Pin::Literal(pin) | Pin::Elsewhere { typed: pin, .. } => pin,
        }
    }

    /// What must never be in a log: PIN (typed and stored) and key.
    pub fn secrets(&self) -> Vec<String> {
        let mut secrets = vec![HEXLOWER.encode(&self.key)];
        match &self.pin {
            Pin::None => {}
            Pin::Literal(pin) => secrets.push(pin.clone()),
            Pin::Elsewhere { field, typed } => {
                secrets.push(typed.clone());
                if field != "+" {
                    secrets.push(field.clone());
                }
            }
        }
        secrets
    }

    /// Its line in the users file, with line end.
    pub fn line(&self) -> Vec<u8> {
        let name = match self.algorithm {
            Algorithm::Hotp(Hash::Sha1) => "HOTP",
            Algorithm::Hotp(Hash::Sha256) => "HOTP-SHA256",
            Algorithm::Hotp(Hash::Sha512) => "HOTP-SHA512",
            Algorithm::Motp => "MOTP",
        };
        let factor = match self.period {
            None => "E".to_owned(),
            Some(period) => format!("T{period}"),
        };
        let off = if self.off { "OFF:" } else { "" };
        let pin = match &self.pin {
            Pin::None => "-",
            Pin::Literal(pin) | Pin::Elsewhere { field: pin, .. } => pin,
        };
        let kind = match self.printed {
            None => format!("{name}/{factor}/{}", self.digits),
            Some(printed) => format!("PAPER/{}/{printed}", self.digits),
        };
        let mut line = format!("{off}{kind} ").into_bytes();
        line.extend_from_slice(&self.user);
        line.extend_from_slice(format!(" {pin} {}", HEXLOWER.encode(&self.key)).as_bytes());
        if let Some(state) = &self.state {
            line.extend_from_slice(format!(" {state}").as_bytes());
        }
        line.push(b'\n');
        line
    }
}

fn text(code: &Code) -> String {
    String::from_utf8(code.as_bytes().to_vec()).expect("digits")
}
