//! `genotpurl`: an otpauth:// address for phone apps. Flags, output and status are those of the
//! tool that has long had this name; scripts rely on them.

use std::ffi::OsString;
use std::fmt::Write;
use std::os::unix::ffi::OsStrExt;
use std::process::ExitCode;

use data_encoding::{BASE32_NOPAD, HEXLOWER, HEXLOWER_PERMISSIVE};
use otpgate::users::record::KEY_MAX;
use zeroize::Zeroizing;

use crate::getopt::{Flag, Next, Problem, Tool};
use crate::{fill_with_random, print};

const FAILED: u8 = 1;

const COUNTER: u32 = 0;
const DIGITS: u32 = 6;
const PERIOD: u32 = 30;
const KEY_LEN: usize = 10;
const KEY_LEN_LEAST: usize = 4;

pub const TOOL: Tool = Tool {
    name: "genotpurl",
    about: "Prints the otpauth:// address that tells a phone app a key",
    synopses: &["-I issuer -L label [-i] [-c counter] [-d digits] [-p period] [-k key | -K keylength]"],
    flags: &[
        Flag { letter: 'c', argument: Some("counter"), help: "the first counter (with -i; default 0)" },
        Flag { letter: 'd', argument: Some("digits"), help: "digits of a code: 6, which every app supports" },
        Flag { letter: 'h', argument: None, help: "print this" },
        Flag { letter: 'I', argument: Some("issuer"), help: "the service the code is for (required)" },
        Flag { letter: 'i', argument: None, help: "codes from a counter instead of the time" },
        Flag {
            letter: 'K',
            argument: Some("keylength"),
            help: "bytes of the key generated without -k (default 10)",
        },
        Flag {
            letter: 'k',
            argument: Some("key"),
            help: "the key in hexadecimal (default: a random one, printed to standard error)",
        },
        Flag { letter: 'L', argument: Some("label"), help: "whose code it is (required)" },
        Flag { letter: 'p', argument: Some("period"), help: "seconds per time step: 30, which every app supports" },
    ],
    operands: &[],
    command_from: None,
    notes: "\
Keys on a command line are visible to other users: prefer `otpgate add`, which knows other digits and periods, too.
Status: 0 printed, 1 anything else.
",
    wrong_usage: FAILED,
};

pub fn run(args: &[OsString]) -> ExitCode {
    let printed = answer(args).and_then(|answer| {
        if let Some(key) = &answer.new_key {
            eprintln!("generated key (hex): {}", Zeroizing::new(HEXLOWER.encode(key)).as_str());
        }
        print(format_args!("{}\n", answer.address.as_str()))
            .map_err(|failure| Problem::new(FAILED, failure.to_string()))
    });
    match printed {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => problem.report(&TOOL),
    }
}

struct UrlAnswer {
    /// One that wasn't given.
    new_key: Option<Zeroizing<Vec<u8>>>,
    address: Zeroizing<String>,
}

fn answer(args: &[OsString]) -> Result<UrlAnswer, Problem> {
    let (mut issuer, mut label, mut key) = (None, None, None);
    let (mut counter, mut digits, mut period, mut key_len) = (COUNTER, DIGITS, PERIOD, KEY_LEN);
    let mut from_time = true;
    let mut options = TOOL.options(args);
    loop {
        match options.next()? {
            Next::Flag(b'i') => from_time = false,
            Next::Flag(_) => return Err(Problem::help()),
            Next::With(b'c', argument) => counter = number(&argument, 0, u32::MAX, "counter")?,
            Next::With(b'd', argument) => {
                digits = number(&argument, 1, u32::MAX, "number of digits")?
            }
            Next::With(b'I', argument) => issuer = Some(argument),
            Next::With(b'K', argument) => {
                let len = number(&argument, KEY_LEN_LEAST as u32, KEY_MAX as u32, "key length")?;
                key_len = len as usize;
            }
            Next::With(b'k', argument) => key = Some(read_key(&argument)?),
            Next::With(b'L', argument) => label = Some(argument),
            Next::With(_, argument) => period = number(&argument, 1, u32::MAX, "period")?,
            Next::Rest(rest) if rest.is_empty() => break,
            Next::Rest(_) => {
                return Err(Problem::new(FAILED, "only flags take arguments").followed_by_usage());
            }
        }
    }
    let refuse = |text: String| Err(Problem::new(FAILED, text));
    let required = |text: &str| Problem::new(FAILED, text);
    if from_time && counter != COUNTER {
        return refuse("-c is for codes from a counter: give -i as well".to_owned());
    }
    if !from_time && period != PERIOD {
        return refuse("-p is for codes from time: it can't be given with -i".to_owned());
    }
    let label = label.ok_or_else(|| required("the label is missing: give it with -L"))?;
    let issuer = issuer.ok_or_else(|| required("the issuer is missing: give it with -I"))?;
    let (label, issuer) = (label.as_bytes(), issuer.as_bytes());
    if label.contains(&b':') || issuer.contains(&b':') {
        return refuse("issuer and label can't contain a colon, which separates them".to_owned());
    }
    let or_add = "`otpgate add` makes such tokens and warns of them";
    if period != PERIOD {
        return refuse(format!("many apps ignore any period but {PERIOD} seconds; {or_add}"));
    }
    if digits != DIGITS {
        return refuse(format!("many apps ignore any number of digits but {DIGITS}; {or_add}"));
    }

    let new_key = match &key {
        Some(_) => None,
        None => {
            let mut key = Zeroizing::new(vec![0; key_len]);
            fill_with_random(&mut key)
                .map_err(|failure| Problem::new(FAILED, failure.to_string()))?;
            Some(key)
        }
    };
    let key = new_key.as_ref().or(key.as_ref()).expect("given or made");
    let kind = if from_time { "totp" } else { "hotp" };
    let (issuer, label) = (percent_encoded(issuer), percent_encoded(label));
    let secret = Zeroizing::new(BASE32_NOPAD.encode(key));
    let last = if from_time { String::new() } else { format!("&counter={counter}") };
    let address = Zeroizing::new(format!(
        "otpauth://{kind}/{issuer}:{label}?issuer={issuer}&secret={}{last}",
        secret.as_str()
    ));
    Ok(UrlAnswer { new_key, address })
}

fn number(argument: &OsString, min: u32, max: u32, name: &str) -> Result<u32, Problem> {
    let value = argument.to_str().and_then(|text| text.parse().ok());
    value.filter(|value| (min..=max).contains(value)).ok_or_else(|| {
        Problem::new(FAILED, format!("the {name} is not a number from {min} to {max}"))
    })
}

fn read_key(argument: &OsString) -> Result<Zeroizing<Vec<u8>>, Problem> {
    let key = HEXLOWER_PERMISSIVE.decode(argument.as_bytes()).map(Zeroizing::new);
    let key =
        key.map_err(|_| Problem::new(FAILED, "the key is not pairs of hexadecimal digits"))?;
    if !(1..=KEY_MAX).contains(&key.len()) {
        return Err(Problem::new(FAILED, format!("the key is not 1 to {KEY_MAX} bytes")));
    }
    Ok(key)
}

/// Letters and digits stay; in lower case, as this tool has always written it.
fn percent_encoded(text: &[u8]) -> String {
    let mut encoded = String::with_capacity(text.len());
    for &byte in text {
        match byte {
            byte if byte.is_ascii_alphanumeric() => encoded.push(byte.into()),
            _ => write!(encoded, "%{byte:02x}").expect("writing to memory"),
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(args: &[&str]) -> (u8, String) {
        let args: Vec<OsString> = args.iter().map(OsString::from).collect();
        match answer(&args) {
            Ok(answer) => (0, answer.address.to_string()),
            Err(problem) => (problem.status, problem.text),
        }
    }

    const RFC_KEY: &str = "3132333435363738393031323334353637383930";

    #[test]
    fn addresses_are_written_as_ever() {
        assert_eq!(
            run(&["-I", "Example, Inc.", "-L", "bob@example.com", "-k", RFC_KEY]).1,
            "otpauth://totp/Example%2c%20Inc%2e:bob%40example%2ecom?issuer=Example%2c%20Inc%2e\
             &secret=GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ"
        );
        assert_eq!(
            run(&["-i", "-c7", "-p30", "-d6", "-Ix", "-Ly", "-k", "31"]).1,
            "otpauth://hotp/x:y?issuer=x&secret=GE&counter=7"
        );
    }

    #[test]
    fn a_key_that_isnt_given_is_made_and_as_long_as_asked_for() {
        let made = |args: &[&str]| {
            let args: Vec<OsString> = args.iter().map(OsString::from).collect();
            answer(&args).ok().unwrap().new_key.unwrap()
        };
        assert_eq!(made(&["-Ix", "-Ly"]).len(), 10);
        assert_eq!(made(&["-Ix", "-Ly", "-K", "20"]).len(), 20);
        assert_ne!(made(&["-Ix", "-Ly"]), made(&["-Ix", "-Ly"]));
    }

    #[test]
    fn a_long_key_is_not_cut() {
        let secret = |len| {
            run(&["-Ix", "-Ly", "-k", &"ab".repeat(len)]).1.split("secret=").nth(1).unwrap().len()
        };
        assert_eq!(secret(255), 255 / 5 * 8);
        assert_eq!(secret(160), 160 / 5 * 8);
    }

    #[test]
    fn anything_wrong_is_status_1_and_doesnt_repeat_the_key() {
        for (args, text) in [
            (&["-Ly", "-k", RFC_KEY][..], "the issuer is missing: give it with -I"),
            (&["-Ix", "-k", RFC_KEY], "the label is missing: give it with -L"),
            (&["-Ix", "-Ly:z"], "issuer and label can't contain a colon, which separates them"),
            (&["-Ix", "-Ly", "-c1"], "-c is for codes from a counter: give -i as well"),
            (&["-Ix", "-Ly", "-i", "-p60"], "-p is for codes from time: it can't be given with -i"),
            (
                &["-Ix", "-Ly", "-p60"],
                "many apps ignore any period but 30 seconds; `otpgate add` makes such tokens and warns of them",
            ),
            (
                &["-Ix", "-Ly", "-d8"],
                "many apps ignore any number of digits but 6; `otpgate add` makes such tokens and warns of them",
            ),
            (&["-Ix", "-Ly", "-K3"], "the key length is not a number from 4 to 256"),
            (&["-Ix", "-Ly", "-k", "c0ffe"], "the key is not pairs of hexadecimal digits"),
            (&["-Ix", "-Ly", "-k", ""], "the key is not 1 to 256 bytes"),
            (&["-Ix", "-Ly", "more"], "only flags take arguments"),
            (&["-x"], "there is no option -x"),
            (&["-I"], "option -I needs an argument"),
        ] {
            assert_eq!(run(args), (FAILED, text.to_owned()), "{args:?}");
        }
        assert_eq!(run(&["-h"]), (0, String::new()));
    }
}
