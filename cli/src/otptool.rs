//! `otptool`: codes from a key, and the counter of a code. Flags, output and status are those of
//! the tool that has long had this name; scripts rely on them.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use clap::ValueHint;
use data_encoding::HEXLOWER_PERMISSIVE;
use otpgate::otp::{self, Code, Digits, Hash};
use otpgate::users::record::KEY_MAX;
use zeroize::Zeroizing;

use crate::getopt::{Flag, Next, Operand, Problem, Times, Tool};
use crate::print;

const WRONG_USAGE: u8 = 1;
const NOT_MATCHED: u8 = 2;
const SYSTEM_ERROR: u8 = 3;

pub const TOOL: Tool = Tool {
    name: "otptool",
    about: "Prints the code of each counter in a window, decimal and hexadecimal; or the counter of a code",
    synopses: &["[-Ffht] [-c counter] [-d digits] [-i seconds] [-m PIN] [-w window] key [code]"],
    flags: &[
        Flag { letter: 'c', argument: Some("counter"), help: "first counter (not with -t; default 0)" },
        Flag {
            letter: 'd',
            argument: Some("digits"),
            help: "digits of a code (default 6, or as many as the given code has)",
        },
        Flag {
            letter: 'F',
            argument: None,
            help: "key is the name of a file that contains it in hexadecimal",
        },
        Flag { letter: 'f', argument: None, help: "key is the name of a file that contains it in binary" },
        Flag { letter: 'h', argument: None, help: "print this" },
        Flag { letter: 'i', argument: Some("seconds"), help: "seconds of a time step (default 30)" },
        Flag { letter: 'm', argument: Some("PIN"), help: "Mobile-OTP with this PIN; implies -d 6 -i 10" },
        Flag { letter: 't', argument: None, help: "use the counter of the current time (not with -c)" },
        Flag {
            letter: 'w',
            argument: Some("window"),
            help: "counters to try after the first, with -t also before it (default 0)",
        },
    ],
    operands: &[
        Operand {
            name: "key",
            help: "The key in hexadecimal, or with -F and -f the name of its file",
            times: Times::Once,
            hint: ValueHint::FilePath,
        },
        Operand {
            name: "code",
            help: "The code to look for",
            times: Times::AtMostOnce,
            hint: ValueHint::Other,
        },
    ],
    command_from: None,
    notes: "\
The key is hexadecimal. Keys and PINs on a command line are visible to other users: prefer -F and `otpgate`.
Status: 0 printed or found, 1 wrong usage, 2 the code isn't in the window, 3 the key can't be read.
",
    wrong_usage: WRONG_USAGE,
};

pub fn run(args: &[OsString]) -> ExitCode {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_secs());
    let printed = answer(args, now).and_then(|text| {
        print(text).map_err(|failure| Problem::new(SYSTEM_ERROR, failure.to_string()))
    });
    match printed {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => problem.report(&TOOL),
    }
}

enum KeySource {
    Argument,
    HexadecimalFile,
    BinaryFile,
}

/// What to print.
fn answer(args: &[OsString], now: u64) -> Result<String, Problem> {
    let mut key_source = KeySource::Argument;
    let mut counter: Option<i64> = None;
    let mut digits: Option<i64> = None;
    let mut interval = 30;
    let mut window = 0;
    let mut motp_pin: Option<Zeroizing<Vec<u8>>> = None;
    let mut from_time = false;
    let one_of = || Problem::new(WRONG_USAGE, "only one of -c and -t can be given");

    let mut options = TOOL.options(args);
    let operands = loop {
        match options.next()? {
            Next::Flag(b'F') => key_source = KeySource::HexadecimalFile,
            Next::Flag(b'f') => key_source = KeySource::BinaryFile,
            Next::Flag(b't') if counter.is_some() => return Err(one_of()),
            Next::Flag(b't') => from_time = true,
            Next::Flag(_) => return Err(Problem::help()),
            Next::With(b'c', _) if from_time => return Err(one_of()),
            Next::With(b'c', argument) => counter = Some(number(&argument, 0, "counter")?),
            Next::With(b'd', argument) => digits = Some(number(&argument, 1, "number of digits")?),
            Next::With(b'i', argument) => interval = number(&argument, 1, "time step")?,
            Next::With(b'm', argument) => {
                motp_pin = Some(Zeroizing::new(argument.as_bytes().to_vec()));
                digits = Some(6);
                interval = 10;
            }
            Next::With(_, argument) => window = number(&argument, 0, "window")?,
            Next::Rest(operands) => break operands,
        }
    };
    let (key, code) = match &operands[..] {
        [key] => (key, None),
        [key, code] => (key, Some(code.as_bytes())),
        _ => {
            return Err(Problem::new(WRONG_USAGE, "one key is needed, and at most one code")
                .followed_by_usage());
        }
    };
    let wanted = digits.unwrap_or(code.map_or(6, |code| code.len() as i64));
    if let Some(code) = code.filter(|code| code.len() as i64 != wanted) {
        let text = format!("the code has {} characters, not {wanted}", code.len());
        return Err(Problem::new(NOT_MATCHED, text));
    }
    let key = read_key(key, key_source)?;
    // A 31-bit number has ten decimal digits at most, and no more were ever printed.
    let shown = wanted.clamp(1, Digits::MAX as i64) as u8;
    let generator = Generator { key, motp_pin, digits: Digits::new(shown).expect("1 to 10") };

    let target = if from_time { now as i64 / interval } else { counter.unwrap_or(0) };
    let first = if from_time { target.saturating_sub(window) } else { target };
    let last = target.saturating_add(window);
    let Some(code) = code else {
        return Ok((first..=last).map(|counter| generator.line(counter)).collect());
    };
    let nearest_first = (0..=window).flat_map(|distance| {
        let before = (from_time && distance > 0).then(|| target.saturating_sub(distance));
        [Some(target.saturating_add(distance)), before].into_iter().flatten()
    });
    match nearest_first.into_iter().find(|&counter| generator.is_code_of(counter, code)) {
        Some(counter) => Ok(format!("{counter}\n")),
        None => Err(Problem::new(
            NOT_MATCHED,
            format!("no counter from {first} to {last} has that code"),
        )),
    }
}

/// Values beyond 32 bits were never taken; without a limit a window would run for years.
fn number(argument: &OsString, min: i64, name: &str) -> Result<i64, Problem> {
    let value = argument.to_str().and_then(|text| text.parse().ok());
    value.filter(|value| (min..=i64::from(i32::MAX)).contains(value)).ok_or_else(|| {
        Problem::new(WRONG_USAGE, format!("the {name} is not a number from {min} to {}", i32::MAX))
    })
}

fn read_key(operand: &OsString, source: KeySource) -> Result<Zeroizing<Vec<u8>>, Problem> {
    let from_file = || {
        let path = Path::new(operand);
        let read = std::fs::read(path).map(Zeroizing::new);
        read.map_err(|error| {
            Problem::new(SYSTEM_ERROR, format!("cannot read {}: {error}", path.display()))
        })
    };
    let from_hexadecimal = |text: &[u8]| {
        let bytes = HEXLOWER_PERMISSIVE.decode(text).map(Zeroizing::new);
        bytes.map_err(|_| Problem::new(WRONG_USAGE, "the key is not pairs of hexadecimal digits"))
    };
    let key = match source {
        KeySource::Argument => from_hexadecimal(operand.as_bytes())?,
        KeySource::HexadecimalFile => from_hexadecimal(from_file()?.trim_ascii_end())?,
        KeySource::BinaryFile => from_file()?,
    };
    if key.len() > KEY_MAX {
        let text = format!("the key is longer than {KEY_MAX} bytes");
        return Err(match source {
            KeySource::Argument => Problem::new(WRONG_USAGE, text),
            KeySource::HexadecimalFile | KeySource::BinaryFile => Problem::new(SYSTEM_ERROR, text),
        });
    }
    Ok(key)
}

struct Generator {
    key: Zeroizing<Vec<u8>>,
    motp_pin: Option<Zeroizing<Vec<u8>>>,
    digits: Digits,
}

impl Generator {
    /// Decimal if there is one, then hexadecimal.
    fn codes(&self, counter: i64) -> Vec<Code> {
        let counter = counter as u64;
        match &self.motp_pin {
            Some(pin) => vec![otp::motp(&self.key, pin, counter, self.digits)],
            None => {
                // A 31-bit number has eight hexadecimal digits at most, and no more were ever
                // printed.
                let hexadecimal_digits =
                    Digits::new(self.digits.count().min(8) as u8).expect("1 to 8");
                vec![
                    otp::hotp(Hash::Sha1, &self.key, counter, self.digits),
                    otp::hotp_hexadecimal(Hash::Sha1, &self.key, counter, hexadecimal_digits),
                ]
            }
        }
    }

    fn line(&self, counter: i64) -> String {
        let codes = self.codes(counter);
        let texts: Vec<_> =
            codes.iter().map(|code| String::from_utf8_lossy(code.as_bytes())).collect();
        format!("{counter}: {}\n", texts.join(" "))
    }

    fn is_code_of(&self, counter: i64, code: &[u8]) -> bool {
        self.codes(counter).iter().any(|candidate| candidate.as_bytes().eq_ignore_ascii_case(code))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RFC_KEY: &str = "3132333435363738393031323334353637383930";

    fn run_at(now: u64, args: &[&str]) -> (u8, String) {
        let args: Vec<OsString> = args.iter().map(OsString::from).collect();
        match answer(&args, now) {
            Ok(text) => (0, text),
            Err(problem) => (problem.status, problem.text),
        }
    }

    fn run(args: &[&str]) -> (u8, String) {
        run_at(59, args)
    }

    // Numbers of RFC 4226 appendix D.
    #[test]
    fn codes_are_printed_after_their_counter() {
        assert_eq!(run(&[RFC_KEY]), (0, "0: 755224 93cf18\n".to_owned()));
        assert_eq!(
            run(&["-c1", "-w", "1", RFC_KEY]),
            (0, "1: 287082 397eea\n2: 359152 2fef30\n".to_owned())
        );
        assert_eq!(run(&["-d", "8", RFC_KEY]), (0, "0: 84755224 4c93cf18\n".to_owned()));
    }

    #[test]
    fn long_codes_show_the_whole_number_and_no_more() {
        assert_eq!(run(&["-d10", RFC_KEY]), (0, "0: 1284755224 4c93cf18\n".to_owned()));
        assert_eq!(run(&["-d12", RFC_KEY]), (0, "0: 1284755224 4c93cf18\n".to_owned()));
    }

    #[test]
    fn time_gives_the_counter_and_a_window_on_both_sides() {
        assert_eq!(run_at(59, &["-t", "-d8", RFC_KEY]), (0, "1: 94287082 41397eea\n".to_owned()));
        let (status, text) = run_at(59, &["-tw1", RFC_KEY]);
        assert_eq!((status, text.lines().count()), (0, 3));
        assert!(text.starts_with("0: 755224"));
    }

    #[test]
    fn a_code_is_found_in_decimal_or_hexadecimal_of_any_case() {
        assert_eq!(run(&["-w9", RFC_KEY, "520489"]), (0, "9\n".to_owned()));
        assert_eq!(run(&["-w9", RFC_KEY, "93CF18"]), (0, "0\n".to_owned()));
        assert_eq!(run_at(59, &["-t", "-w1", RFC_KEY, "755224"]), (0, "0\n".to_owned()));
    }

    #[test]
    fn a_code_outside_the_window_or_of_another_length_is_status_2() {
        assert_eq!(run(&["-w8", RFC_KEY, "520489"]).0, NOT_MATCHED);
        assert_eq!(run(&["-d8", RFC_KEY, "520489"]).0, NOT_MATCHED);
    }

    #[test]
    fn mobile_otp_has_one_code_and_its_own_defaults() {
        let (status, text) = run_at(1_000_000_000, &["-t", "-m", "1234", RFC_KEY]);
        let expected = otp::motp(b"12345678901234567890", b"1234", 100_000_000, Digits::SIX);
        let expected = String::from_utf8(expected.as_bytes().to_vec()).unwrap();
        assert_eq!((status, text), (0, format!("100000000: {expected}\n")));
        assert_eq!(run(&["-d8", "-m1", RFC_KEY]).1.len(), "0: 123456\n".len(), "a later -m wins");
        assert_eq!(run(&["-m1", "-d8", RFC_KEY]).1.len(), "0: 12345678\n".len(), "a later -d wins");
    }

    #[test]
    fn wrong_usage_is_status_1_and_doesnt_repeat_the_key() {
        for args in [
            &[][..],
            &[RFC_KEY, "1", "2"],
            &["-c", "1", "-t", RFC_KEY],
            &["-t", "-c", "1", RFC_KEY],
            &["-c", "-1", RFC_KEY],
            &["-d0", RFC_KEY],
            &["-i0", RFC_KEY],
            &["-v", RFC_KEY],
            &["-w"],
            &["c0ffe"],
            &["c0fxee"],
        ] {
            let (status, text) = run(args);
            assert_eq!(status, WRONG_USAGE, "{args:?}");
            assert!(!text.contains("c0f") && !text.contains(RFC_KEY), "{text}");
        }
        assert_eq!(run(&["-h"]).0, 0);
    }

    #[test]
    fn keys_in_files_are_hexadecimal_or_binary_and_never_cut() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
        std::fs::write(path("hex"), format!("{RFC_KEY}\n")).unwrap();
        std::fs::write(path("binary"), "12345678901234567890").unwrap();
        assert_eq!(run(&["-F", &path("hex")]), run(&[RFC_KEY]));
        assert_eq!(run(&["-f", &path("binary")]), run(&[RFC_KEY]));
        assert_eq!(run(&["-f", &path("missing")]).0, SYSTEM_ERROR);

        let long = "ab".repeat(KEY_MAX);
        assert_ne!(run(&[&long]), run(&[&long[..256]]), "all of 256 bytes count, not only 128");
        std::fs::write(path("long"), vec![1; KEY_MAX + 1]).unwrap();
        assert_eq!(run(&["-f", &path("long")]).0, SYSTEM_ERROR);
    }
}
