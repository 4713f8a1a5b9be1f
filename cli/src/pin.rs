//! PINs as they are asked for and as they are stored.

use argon2::password_hash::phc::{Output, ParamsString, PasswordHash, Salt};
use argon2::{Argon2, Block, Params};
use otpgate::log::Quoted;
use otpgate::pin::HashedPin;
use otpgate::secret::Secret;
use otpgate::users::mistakes;
use zeroize::Zeroizing;

use crate::{Failure, Result, fill_with_random, prompt};

/// Longest PIN. With a code it has to fit into a password, and into a line of the users file.
const MAX: usize = 255;
const SALT_LEN: usize = 16;

/// A PIN that somebody has chosen: no blanks, nothing that means something else in its field.
pub struct ChosenPin(Zeroizing<Vec<u8>>);

impl ChosenPin {
    /// From the terminal, twice and without echo, or else the first line of standard input.
    pub fn ask(user: &str) -> Result<ChosenPin> {
        let pin = ChosenPin::asked_for(user)?;
        if let Some(doubt) = mistakes::of_pin(&pin.0) {
            eprintln!("otpgate: warning: {doubt}");
        }
        Ok(pin)
    }

    fn asked_for(user: &str) -> Result<ChosenPin> {
        let pin = ChosenPin::checked(prompt::secret(&format!("PIN for {user}: "))?)?;
        if prompt::is_answered() && *prompt::secret("The PIN again: ")? != *pin.0 {
            return Err(Failure::new("the two PINs differ; nothing was changed"));
        }
        Ok(pin)
    }

    /// A random one that is typed with digits. The first isn't 0: a spreadsheet takes it for a
    /// number, and would drop that.
    pub fn random(digits: usize) -> Result<ChosenPin> {
        let mut text = Zeroizing::new(Vec::with_capacity(digits));
        let mut byte = [0];
        while text.len() < digits {
            fill_with_random(&mut byte)?;
            let (lowest, choices) = if text.is_empty() { (b'1', 9) } else { (b'0', 10) };
            // All choices are equally likely below the last multiple.
            if byte[0] < u8::MAX / choices * choices {
                text.push(lowest + byte[0] % choices);
            }
        }
        Ok(ChosenPin(text))
    }

    /// One that stands in a document.
    pub fn checked(text: Zeroizing<Vec<u8>>) -> Result<ChosenPin> {
        let refuse = |reason: &str| Err(Failure::new(format!("{reason}; nothing was changed")));
        let is_blank = |&b: &u8| b.is_ascii_whitespace() || b == 0x0b;
        match &text[..] {
            b"" => refuse("the PIN is empty (for a token without PIN, use --no-pin)"),
            b"-" | b"+" => refuse("the PINs - and + have another meaning in the users file"),
            [b'$', ..] => refuse("a PIN that starts with $ could be taken for a hash"),
            text if text.iter().any(is_blank) => refuse("the PIN contains a blank"),
            text if text.iter().any(u8::is_ascii_control) => {
                refuse("the PIN contains a control character")
            }
            text if text.len() > MAX => refuse("the PIN is longer than 255 bytes"),
            text if mistakes::is_other_dash(text) => refuse(
                "the PIN looks like - but is another character (for a token without PIN, use --no-pin)",
            ),
            _ => Ok(ChosenPin(text)),
        }
    }

    /// As it is, for the field.
    pub fn plain(&self) -> &[u8] {
        &self.0
    }

    /// As an Argon2id hash, for the field.
    pub fn hashed(&self) -> Result<Vec<u8>> {
        PinHasher::default().hash(self)
    }
}

/// Makes hashes of PINs, one after the other in the same memory: given back and asked for again, it
/// would lie in pieces before long, and a thousand hashes would take more than they give back.
#[derive(Default)]
pub struct PinHasher {
    /// 19 MiB, from the first hash on.
    memory: Vec<Block>,
}

impl PinHasher {
    /// For the field.
    pub fn hash(&mut self, pin: &ChosenPin) -> Result<Vec<u8>> {
        let is_first = self.memory.is_empty();
        let field = self.made(&pin.0).map_err(|error| {
            Failure::new(format!("cannot hash the PIN: {error}; nothing was changed"))
        })?;
        // The crate's defaults may move past what the library accepts; better noticed here than at
        // a login.
        match HashedPin::parse(&field) {
            Some(Ok(parsed)) if !is_first || parsed.is_hash_of(&pin.0) => Ok(field),
            _ => Err(Failure::new(
                "the hash of the PIN isn't one that servers accept; please report it",
            )),
        }
    }

    fn made(&mut self, pin: &[u8]) -> std::result::Result<Vec<u8>, Box<dyn std::error::Error>> {
        let params = Params::default();
        let (algorithm, version) = (argon2::Algorithm::Argon2id, argon2::Version::V0x13);
        let mut salt = [0; SALT_LEN];
        getrandom::fill(&mut salt)?;
        if self.memory.is_empty() {
            self.memory.resize(params.block_count(), Block::new());
        }
        let mut output = Zeroizing::new([0; Params::DEFAULT_OUTPUT_LEN]);
        Argon2::new(algorithm, version, params.clone()).hash_password_into_with_memory(
            pin,
            &salt,
            &mut output[..],
            &mut self.memory,
        )?;
        let hash = PasswordHash {
            algorithm: algorithm.ident(),
            version: Some(version.into()),
            params: ParamsString::try_from(&params)?,
            salt: Some(Salt::new(&salt)?),
            hash: Some(Output::new(&output[..])?),
        };
        Ok(hash.to_string().into_bytes())
    }
}

/// What is to stand for a PIN, as options.
#[derive(clap::Args)]
pub struct PinOptions {
    /// Store the PIN in the clear, not as an Argon2id hash: for Digest logins, Mobile-OTP and
    /// mod_authn_otp
    #[arg(long, group = "pin")]
    plain_pin: bool,
    /// The server's own PIN provider checks the PIN
    #[arg(long, group = "pin")]
    pin_external: bool,
    /// No PIN: the code alone is enough
    #[arg(long, group = "pin")]
    no_pin: bool,
}

impl PinOptions {
    pub fn form(&self) -> PinForm {
        match () {
            () if self.no_pin => PinForm::None,
            () if self.pin_external => PinForm::External,
            () if self.plain_pin => PinForm::Plain,
            () => PinForm::Hashed,
        }
    }
}

/// What stands for a PIN, as a user wants it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum PinForm {
    /// The code alone.
    None,
    /// Whatever the server's own PIN provider says.
    External,
    /// As it is.
    Plain,
    /// A hash of it.
    Hashed,
}

impl PinForm {
    /// Asks for the PIN of a user, if there is to be one.
    pub fn ask(self, user: &[u8]) -> Result<Secret> {
        let pin = self.is_ours().then(|| ChosenPin::ask(&Quoted(user).to_string())).transpose()?;
        self.field(pin.as_ref(), &mut PinHasher::default())
    }

    /// What stands in the field. `pin`: the PIN, if it is ours.
    pub fn field(self, pin: Option<&ChosenPin>, hasher: &mut PinHasher) -> Result<Secret> {
        let pin = || pin.ok_or_else(|| Failure::new("there is no PIN; nothing was changed"));
        let field = match self {
            PinForm::None => b"-".to_vec(),
            PinForm::External => b"+".to_vec(),
            PinForm::Plain => pin()?.plain().to_vec(),
            PinForm::Hashed => hasher.hash(pin()?)?,
        };
        Ok(Secret::new(field))
    }

    /// Whether there is a PIN of which we know what it is.
    pub fn is_ours(self) -> bool {
        matches!(self, PinForm::Plain | PinForm::Hashed)
    }
}

/// A code that is asked for by itself, without the blanks between the groups in which apps show it.
pub fn code_alone(mut text: Zeroizing<Vec<u8>>) -> Zeroizing<Vec<u8>> {
    text.retain(|byte| !byte.is_ascii_whitespace());
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(pin: &str) -> Option<String> {
        ChosenPin::checked(Zeroizing::new(pin.as_bytes().to_vec()))
            .err()
            .map(|failure| failure.to_string())
    }

    #[test]
    fn pins_that_would_mean_something_else_are_refused() {
        for pin in ["", "-", "+", "$5$x", "1 2", "1\t2", "1\u{1}", "–", "−", &"9".repeat(256)] {
            assert!(refusal(pin).is_some(), "{pin:?}");
        }
        for pin in ["1234", "--", "+1", "p$n", "pässe", &"9".repeat(255)] {
            assert_eq!(refusal(pin), None, "{pin:?}");
        }
    }

    #[test]
    fn a_refusal_doesnt_tell_the_pin() {
        assert!(!refusal("sesame 9").unwrap().contains("sesame"));
    }

    #[test]
    fn a_random_pin_is_digits_without_a_leading_0_and_every_digit_occurs_anywhere() {
        let mut seen = [[false; 10]; 6];
        for _ in 0..2000 {
            let pin = ChosenPin::random(6).unwrap();
            assert_eq!(pin.plain().len(), 6);
            for (place, digit) in pin.plain().iter().enumerate() {
                seen[place][usize::from(digit - b'0')] = true;
            }
        }
        assert!(!seen[0][0] && seen[0][1..].iter().all(|&seen| seen));
        assert!(seen[1..].iter().flatten().all(|&seen| seen));
    }

    #[test]
    fn a_hash_is_one_of_that_pin_with_its_own_salt() {
        let pin = ChosenPin::checked(Zeroizing::new(b"sesame9".to_vec())).unwrap();
        let mut hasher = PinHasher::default();
        let (one, two) = (hasher.hash(&pin).unwrap(), hasher.hash(&pin).unwrap());
        assert_ne!(one, two);
        for field in [one, two] {
            let parsed = HashedPin::parse(&field).unwrap().unwrap();
            assert!(parsed.is_hash_of(b"sesame9") && !parsed.is_hash_of(b"sesame8"));
        }
    }
}
