//! What other programs write down: each form that is imported.

use jiff::tz::TimeZone;
use otpgate::otp::Hash;
use otpgate::token::{MovingFactor, Pin};
use otpgate::users::record::KEY_MAX;
use otpgate_cli::exchange::apps::App;
use otpgate_cli::exchange::csv::Columns;
use otpgate_cli::exchange::{ExchangeOutcome, Flaw, OwnPin, Read, Token};
use otpgate_cli::exchange::{
    apps as of_apps, csv as of_csv, google as of_google, liboath as of_liboath,
};
use otpgate_cli::exchange::{otpauth as of_otpauth, pskc as of_pskc};

use super::Pieces;

pub const OTPAUTH_WORDS: &[&str] = &[
    "otpauth://totp/",
    "otpauth://hotp/",
    "otpauth-migration://offline?data=",
    "Corp:alice",
    "?secret=",
    "&secret=",
    "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ",
    "&issuer=Corp",
    "&algorithm=SHA256",
    "&digits=8",
    "&period=60",
    "&counter=9",
    "steam",
    "&amp;",
    "%3A",
    "%",
    "#",
    "\n",
    "+",
    "Cg0KBQ==",
];

pub const PSKC_WORDS: &[&str] = &[
    "<KeyContainer Version=\"1.0\" xmlns=\"urn:ietf:params:xml:ns:keyprov:pskc\">",
    "</KeyContainer>",
    "<KeyPackage>",
    "</KeyPackage>",
    "<Key Id=\"1\" Algorithm=\"urn:ietf:params:xml:ns:keyprov:pskc:hotp\">",
    "urn:ietf:params:xml:ns:keyprov:pskc:totp",
    "</Key>",
    "<Data>",
    "</Data>",
    "<Secret>",
    "</Secret>",
    "<PlainValue>",
    "</PlainValue>",
    "MTIzNA==",
    "<Counter>",
    "</Counter>",
    "<UserId>",
    "</UserId>",
    "UID=",
    "\\,",
    "<!DOCTYPE",
    "&amp;",
    "<EncryptionKey>",
    "<DerivedKey>",
    "<IterationCount>",
    "<ValueMAC>",
    "<AlgorithmParameters>",
    "<Suite>HMAC-SHA256</Suite>",
    "<ResponseFormat Encoding=\"DECIMAL\" Length=\"6\"/>",
];

pub const CSV_WORDS: &[&str] = &[
    "alice",
    ",",
    ";",
    "\t",
    "\"",
    "\"\"",
    "3132333435363738393031323334353637383930",
    "base32:",
    "totp",
    "hotp",
    "motp",
    "6",
    "8",
    "30",
    "SHA256",
    "# version: 2",
    "\n",
    "\r\n",
    "name,key",
    "\u{feff}",
    "#",
];

pub const GOOGLE_WORDS: &[&str] = &[
    "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ\n",
    "\" TOTP_AUTH\n",
    "\" HOTP_COUNTER 1\n",
    "\" STEP_SIZE 60\n",
    "\" TIME_SKEW -3\n",
    "\" DISALLOW_REUSE 56666666 \n",
    "\" RATE_LIMIT 3 30\n",
    "12345678\n",
    "9223372036854775807",
    "4294967295",
    "-",
    "\"\t",
];

pub const APPS_WORDS: &[&str] = &[
    "{\"db\":{\"entries\":[",
    "\"type\":\"totp\"",
    "\"hotp\"",
    "\"name\":\"alice\"",
    "\"info\":{",
    "\"secret\":",
    "\"GEZDGNBVGY3TQOJQ\"",
    "\"algo\":\"SHA1\"",
    "\"digits\":6",
    "\"period\":30",
    "\"counter\":0",
    "{\"services\":[",
    "\"otp\":{",
    "{\"tokens\":[",
    "[-1,255,256]",
    "null",
    "1e400",
    "[",
    "]",
    "{",
    "}",
    ",",
    "\\u0000",
    "\\ud800",
];

/// What is known of a token, for telling whether another one is it.
fn essence(token: &Token) -> (&[u8], otpgate_cli::exchange::Kind, &[u8], i64) {
    (&token.user, token.kind, token.key.expose(), token.state.counter.as_written())
}

/// Tokens, each within its bounds, and flaws in words that can be printed on a line.
fn sound(outcome: ExchangeOutcome) -> Option<Read> {
    let is_line = |flaw: &Flaw| !flaw.text.contains(['\n', '\r', '\0']);
    match outcome {
        Err(flaw) => {
            assert!(is_line(&flaw), "{flaw:?}");
            None
        }
        Ok(read) => {
            for token in &read.tokens {
                assert!((1..=KEY_MAX).contains(&token.key.expose().len()));
                assert!(!token.kind.factor.is_event() || token.state.counter.as_written() >= 0);
                assert!(token.kind.field().is_ascii());
            }
            assert!(read.unusable.iter().all(is_line));
            Some(read)
        }
    }
}

/// What was written of one token, read again as the same one.
#[track_caller]
fn is_read_again(token: &Token, outcome: ExchangeOutcome) {
    let read = sound(outcome).expect("it was written by us");
    let unusable: Vec<_> = read.unusable.iter().map(|flaw| &flaw.text).collect();
    assert!(unusable.is_empty(), "{unusable:?}");
    let [again] = &read.tokens[..] else { panic!("{} tokens", read.tokens.len()) };
    assert_eq!(essence(again), essence(token));
}

/// A name that stands in a users file: no blanks, and something.
fn is_name(user: &[u8]) -> bool {
    !user.is_empty() && !user.iter().any(|&b| b <= b' ' || b == 0x7f)
}

/// Addresses for apps, one on a line.
pub fn otpauth(data: &[u8]) {
    let Some(read) = sound(of_otpauth::read(data)) else { return };
    for token in
        read.tokens.iter().filter(|token| is_name(&token.user) && !token.user.contains(&b':'))
    {
        // The offset of a clock has no place in an address.
        let Ok(line) = of_otpauth::line(token, "") else { continue };
        is_read_again(token, of_otpauth::read(line.as_bytes()));
    }
}

/// PSKC, RFC 6030, in the clear and encrypted.
pub fn pskc(data: &[u8]) {
    // A password's key is made with as many rounds as a document asks for: seconds.
    let mut ask =
        |_: of_pskc::WantedSecret<'_>| match data.windows(9).any(|text| text == b"Iteration") {
            true => Err(Flaw::of_all("no password")),
            false => Ok(b"12345678901234567890123456789012".to_vec().into()),
        };
    let Some(read) = sound(of_pskc::read(data, true, &mut ask)) else { return };
    for token in &read.tokens {
        let Ok(mut writer) = of_pskc::Writer::new(None, |_| Ok(())) else {
            panic!("it is in the clear")
        };
        if !is_name(&token.user) || !matches!(writer.add(token, "Corp"), Ok(Ok(()))) {
            continue;
        }
        let text = writer.finish();
        is_read_again(
            token,
            of_pskc::read(text.as_bytes(), false, &mut |_| Err(Flaw::of_all("in the clear"))),
        );
    }
}

/// Lines of fields, as four programs have them.
pub fn csv(data: &[u8]) {
    let mut pieces = Pieces(data);
    let how = pieces.byte();
    let columns = [Columns::Otpgate, Columns::Linotp, Columns::Privacyidea, Columns::Multiotp]
        [usize::from(how & 3)];
    let hash = (how & 4 == 4).then_some(Hash::Sha256);
    let Some(read) = sound(of_csv::read(pieces.0, columns, hash)) else { return };
    for token in read.tokens.iter().filter(|token| is_name(&token.user)) {
        let Ok(line) = of_csv::line(token, columns) else { continue };
        // A heading is told by its second field, which a key never is.
        is_read_again(token, of_csv::read(&line, columns, None));
    }
}

/// The file of Google's PAM module.
pub fn google(data: &[u8]) {
    let Some(read) = sound(of_google::read(data)) else { return };
    for token in &read.tokens {
        let Ok(text) = of_google::file(token) else { continue };
        is_read_again(token, of_google::read(text.as_bytes()));
        let again = sound(of_google::read(text.as_bytes())).expect("as before");
        let floor = |token: &Token| match token.kind.factor {
            MovingFactor::Time(_) => token.state.last_accepted(token.kind.factor),
            _ => None,
        };
        assert_eq!(floor(&again.tokens[0]), floor(token), "what was used stays used");
    }
}

/// The users file of liboath.
pub fn liboath(data: &[u8]) {
    let zone = TimeZone::UTC;
    let Some(read) = sound(of_liboath::read(data, &zone)) else { return };
    for token in &read.tokens {
        let Some(OwnPin::Field(field)) = &token.pin else { panic!("a field of its own") };
        let pin = match &field[..] {
            b"-" => Pin::None,
            b"+" => Pin::External,
            other => Pin::Literal(otpgate::secret::Secret::new(other.to_vec())),
        };
        let is_comment = token.user.starts_with(b"#");
        let Ok(line) = of_liboath::line(token, &pin, &zone) else { continue };
        if !is_comment {
            is_read_again(token, of_liboath::read(&line, &zone));
        }
    }
}

/// Exports of apps, in JSON.
pub fn apps(data: &[u8]) {
    let mut pieces = Pieces(data);
    let app =
        [App::Aegis, App::AndOtp, App::TwoFas, App::FreeOtpPlus][usize::from(pieces.byte() & 3)];
    let Some(read) = sound(of_apps::read(pieces.0, app)) else { return };
    for token in read.tokens.iter().filter(|token| is_name(&token.user)) {
        let Ok(line) = of_csv::line(token, Columns::Otpgate) else { continue };
        is_read_again(token, of_csv::read(&line, Columns::Otpgate, None));
    }
}
