//! Lines of the users file: what each field may be, what becomes of odd ones, and the slot that
//! state is written in.

#[path = "common/proptest.rs"]
mod config;

use std::fmt::Debug;
use std::io::Write;
use std::net::IpAddr;

use config::cases;
use data_encoding::{BASE32, HEXLOWER, HEXUPPER};
use jiff::tz::TimeZone;
use otpgate::files::lines;
use otpgate::gate::Store;
use otpgate::otp::{Code, Digits, Hash};
use otpgate::pin::HashedPinError;
use otpgate::token::{
    Address, Algorithm, CounterField, MovingFactor, Pin, ReplayFloor, State, Token, Used,
};
use otpgate::users::file::UsersFile;
use otpgate::users::line::{self, LINE_MAX};
use otpgate::users::record::{self, Record, RecordError};
use otpgate::users::{localtime, slot};
use proptest::prelude::*;
use proptest::sample::select;

/// The key of RFC 4226 appendix D.
const KEY: &str = "3132333435363738393031323334353637383930";
/// 2024-01-02T03:05:00 in Greenwich.
const USED: i64 = 1_704_164_700;
const ARGON2ID: &str =
    "$argon2id$v=19$m=4096,t=2,p=1$c29tZXNhbHQ$lGZ07ixhpzumvQiwHMT/Fdmdx/XMYrBDV/20Jq+LyLs";

fn parse(line: impl AsRef<[u8]>) -> Result<Record, RecordError> {
    record::parse(line.as_ref(), &TimeZone::UTC)
}

#[track_caller]
fn token(line: &str) -> Token {
    parse(line).unwrap_or_else(|error| panic!("{line}: {error}")).token
}

/// The state of an event token, from fields 5 and following.
#[track_caller]
fn state(fields: &str) -> State {
    let line = format!("HOTP alice 1234 {KEY} {fields}");
    parse(&line).unwrap_or_else(|error| panic!("{line}: {error}")).state
}

fn error_of(line: impl AsRef<[u8]>) -> Option<RecordError> {
    parse(line).err()
}

fn code(text: &str) -> Option<Code> {
    Some(Code::new(text.as_bytes()).expect("1 to 10 characters"))
}

fn ip(text: &str) -> Address {
    Address::Ip(text.parse().expect("an address"))
}

fn at(instant: i64) -> Used {
    Used::Local { earliest: instant, latest: instant }
}

fn berlin() -> TimeZone {
    TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").expect("a zone")
}

// ---- Field 1: type

#[test]
fn types_say_algorithm_moving_factor_and_digits() {
    let hotp = |hash| Algorithm::Hotp(hash);
    let event = MovingFactor::Event;
    let time = |period: u32| MovingFactor::Time(period.try_into().expect("not 0"));
    let paper = |printed: u16| MovingFactor::Paper(printed.try_into().expect("not 0"));
    for (field, algorithm, factor, digits) in [
        ("HOTP", hotp(Hash::Sha1), event, 6),
        ("hotp", hotp(Hash::Sha1), event, 6),
        ("HoTp/e", hotp(Hash::Sha1), event, 6),
        ("HOTP/E", hotp(Hash::Sha1), event, 6),
        ("HOTP/8", hotp(Hash::Sha1), event, 8),
        ("HOTP/E/8", hotp(Hash::Sha1), event, 8),
        ("HOTP/E/1", hotp(Hash::Sha1), event, 1),
        ("HOTP/E/10", hotp(Hash::Sha1), event, 10),
        ("HOTP/T30", hotp(Hash::Sha1), time(30), 6),
        ("hotp/t60", hotp(Hash::Sha1), time(60), 6),
        ("HOTP/T1/10", hotp(Hash::Sha1), time(1), 10),
        ("HOTP/T86400/7", hotp(Hash::Sha1), time(86_400), 7),
        ("E", hotp(Hash::Sha1), event, 6),
        ("T", hotp(Hash::Sha1), time(30), 6),
        ("HOTP-SHA256", hotp(Hash::Sha256), event, 6),
        ("HOTP-SHA256/E", hotp(Hash::Sha256), event, 6),
        ("hotp-sha256/T30/8", hotp(Hash::Sha256), time(30), 8),
        ("HOTP-SHA512/8", hotp(Hash::Sha512), event, 8),
        ("Hotp-Sha512/t30", hotp(Hash::Sha512), time(30), 6),
        ("MOTP", Algorithm::Motp, time(10), 6),
        ("motp", Algorithm::Motp, time(10), 6),
        ("MOTP/8", Algorithm::Motp, time(10), 8),
        ("MOTP/T10/6", Algorithm::Motp, time(10), 6),
        ("MOTP/T20/4", Algorithm::Motp, time(20), 4),
        ("MOTP/E", Algorithm::Motp, event, 6),
        ("PAPER/8/30", hotp(Hash::Sha1), paper(30), 8),
        ("Paper/6/1", hotp(Hash::Sha1), paper(1), 6),
        ("paper/10/1000", hotp(Hash::Sha1), paper(1000), 10),
    ] {
        for (prefix, disabled) in [("", false), ("OFF:", true)] {
            let token = token(&format!("{prefix}{field} alice - {KEY}"));
            assert_eq!(token.algorithm, algorithm, "{prefix}{field}");
            assert_eq!(token.factor, factor, "{prefix}{field}");
            assert_eq!(Some(token.digits), Digits::new(digits), "{prefix}{field}");
            assert_eq!(token.disabled, disabled, "{prefix}{field}");
        }
    }
}

#[test]
fn types_that_say_anything_else_are_refused() {
    for field in [
        "FOO",
        "HOT",
        "HOTPS",
        "TOTP",
        "HOTP/X",
        "HOTP/",
        "HOTP//6",
        "HOTP/E/",
        "HOTP/E6",
        "HOTP/T",
        "HOTP/T0",
        "HOTP/T-30",
        "HOTP/T+30",
        "HOTP/T30s",
        "HOTP/T99999999999999999999",
        "HOTP/0",
        "HOTP/11",
        "HOTP/E/0",
        "HOTP/E/11",
        "HOTP/-6",
        "HOTP/+6",
        "HOTP/6x",
        "HOTP/262",
        "HOTP/99999999999999999999",
        "HOTP/6/E",
        "HOTP/6/6",
        "HOTP/E/E",
        "HOTP/E/6/7",
        "HOTP/E/6/",
        "HOTP-SHA384",
        "HOTP-SHA256-SHA512",
        "HOTPSHA256",
        "HOTP-",
        "MOTP-SHA256",
        "PAPER",
        "PAPER/8",
        "PAPER/8/",
        "PAPER//30",
        "PAPER/E/8/30",
        "PAPER/5/30",
        "PAPER/11/30",
        "PAPER/8/0",
        "PAPER/8/1001",
        "PAPER/8/+30",
        "PAPER/8/30/1",
        "PAPER-SHA256/8/30",
        "OFF",
        "OFF:",
        "OFF:FOO",
        "OFF:OFF:HOTP",
        "ON:HOTP",
        "\u{ff28}OTP",
    ] {
        assert_eq!(error_of(format!("{field} alice - {KEY}")), Some(RecordError::Type), "{field}");
    }
}

// ---- Fields 2 and 3: user and PIN

#[test]
fn users_have_up_to_255_bytes() {
    for (len, error) in [(1, None), (255, None), (256, Some(RecordError::UserTooLong))] {
        let line = format!("HOTP {} - {KEY}", "u".repeat(len));
        assert_eq!(error_of(&line), error, "{len}");
        assert_eq!(line::user_of(line.as_bytes()).map(<[u8]>::len), Some(len));
    }
}

#[test]
fn users_are_bytes_of_any_encoding() {
    for user in ["J\u{e4}s\u{f8}n".as_bytes(), b"J\xe4s\xf8n", b"\xff\xfe", b"#x", b"-", b"a:b\"c"]
    {
        let line = [b"HOTP ", user, b" - ", KEY.as_bytes()].concat();
        assert_eq!(error_of(&line), None, "{}", line.escape_ascii());
        assert_eq!(line::user_of(&line), Some(user));
    }
}

#[test]
fn a_pin_is_none_external_literal_or_a_well_formed_hash() {
    #[derive(Debug, PartialEq)]
    enum Kind {
        None,
        External,
        Literal,
        Hashed,
        Refused(HashedPinError),
    }
    use HashedPinError::{Malformed, TooCostly};
    use Kind::*;

    let sha512 = "$6$saltstring$svn8UoSVapNtMuq1ukKS4tPQd8iKwSMHWjl/O817G3uBnIFNjnQJuesI68u4OTLiBFdcbYEdFCoEOfaS35inz1";
    for (field, kind) in [
        ("-", None),
        ("+", External),
        ("--", Literal),
        ("+1", Literal),
        ("1234", Literal),
        ("caf\u{e9}", Literal),
        ("$100", Literal),
        ("x$6$salt$digest", Literal),
        (ARGON2ID, Hashed),
        ("$2y$05$lXGQBDT09PU0BUoTBUSbRuqQMwTF958HkK/qn25O6j6VbzgsXsYyO", Hashed),
        ("$5$saltstring$5B8vYYiY.CVt1RlTTf8KbXBH3hsxY/GNooZaBBGWEc5", Hashed),
        (sha512, Hashed),
        ("$argon2id$", Refused(Malformed)),
        ("$argon2id$v=19$m=4096,t=2,p=1$c29tZXNhbHQ", Refused(Malformed)),
        ("$2y$", Refused(Malformed)),
        ("$2y$05$short", Refused(Malformed)),
        ("$5$", Refused(Malformed)),
        ("$5$saltstring$", Refused(Malformed)),
        ("$6$saltstring$svn8UoSVapNtMuq1ukKS", Refused(Malformed)),
        (&ARGON2ID.replace("m=4096", "m=65537"), Refused(TooCostly)),
        (&ARGON2ID.replace("t=2", "t=4000000000"), Refused(TooCostly)),
        ("$2y$31$lXGQBDT09PU0BUoTBUSbRuqQMwTF958HkK/qn25O6j6VbzgsXsYyO", Refused(TooCostly)),
        (&sha512.replace("$6$", "$6$rounds=999999999$"), Refused(TooCostly)),
    ] {
        let read = match parse(format!("HOTP alice {field} {KEY}")).map(|record| record.token.pin) {
            Ok(Pin::None) => None,
            Ok(Pin::External) => External,
            Ok(Pin::Literal(pin)) => {
                assert_eq!(pin.expose(), field.as_bytes());
                Literal
            }
            Ok(Pin::Hashed(_)) => Hashed,
            Err(RecordError::HashedPin(error)) => Refused(error),
            Err(error) => panic!("{field}: {error}"),
        };
        assert_eq!(read, kind, "{field}");
    }
}

#[test]
fn mobile_otp_takes_any_pin_but_a_hashed_one() {
    for (pin, error) in
        [("-", None), ("+", None), ("1234", None), (ARGON2ID, Some(RecordError::HashedPinOfMotp))]
    {
        assert_eq!(error_of(format!("MOTP alice {pin} {KEY}")), error, "{pin}");
    }
}

// ---- Field 4: key

#[test]
fn keys_are_hexadecimal_or_base32_in_any_case() {
    for (field, key) in [
        ("00", &b"\0"[..]),
        ("c0ffee", b"\xc0\xff\xee"),
        ("C0FFEE", b"\xc0\xff\xee"),
        ("c0FfEe", b"\xc0\xff\xee"),
        (KEY, b"12345678901234567890"),
        // RFC 4648 section 10.
        ("base32:MY======", b"f"),
        ("base32:MZXQ====", b"fo"),
        ("base32:MZXW6===", b"foo"),
        ("base32:MZXW6YQ=", b"foob"),
        ("base32:MZXW6YTB", b"fooba"),
        ("base32:MZXW6YTBOI======", b"foobar"),
        ("base32:MY", b"f"),
        ("base32:mzxw6ytboi", b"foobar"),
        ("base32:MzXw6YtBoI======", b"foobar"),
        ("base32:KRXXI4CFPBQW24DMMVJWKY3SMV2EWZLZ", b"TotpExampleSecretKey"),
    ] {
        assert_eq!(token(&format!("HOTP alice - {field}")).key.expose(), key, "{field}");
    }
}

#[test]
fn anything_else_is_no_key() {
    for field in [
        "0",
        "c0ffe",
        "-",
        "0x00",
        "c0fg",
        "c0:ff",
        "\u{ff10}\u{ff10}",
        "base32:",
        "base32:=",
        "base32:M",
        "base32:MZX",
        "base32:MZXW6Y",
        "base32:M1",
        "base32:M0",
        "base32:M8",
        "base32:MY==MY==",
        "base32:M-",
        "base32",
        "base64:Zg==",
        "MZXW6YTBOI======",
    ] {
        assert_eq!(error_of(format!("HOTP alice - {field}")), Some(RecordError::Key), "{field}");
    }
}

#[test]
fn keys_have_1_to_256_bytes() {
    for len in 1..=258 {
        let key: Vec<u8> = (0..len).map(|i| i as u8).collect();
        for field in [
            HEXLOWER.encode(&key),
            HEXUPPER.encode(&key),
            format!("base32:{}", BASE32.encode(&key)),
        ] {
            let read = parse(format!("HOTP alice - {field}"))
                .map(|record| record.token.key.expose().to_vec());
            assert_eq!(
                read,
                if len <= 256 { Ok(key.clone()) } else { Err(RecordError::Key) },
                "{len}"
            );
        }
    }
}

#[test]
fn lines_with_the_same_algorithm_and_key_are_one_token() {
    let one = token("HOTP/T30 alice 1234 c0ffee 5");
    for (line, same) in [
        ("HOTP/T30 alice 1234 c0ffee", true),
        ("hotp/t30/8 alice - C0FFEE", true),
        ("T alice + base32:YD764===", true),
        ("HOTP/T30 alice 1234 c0ffef", false),
        ("HOTP/T30 alice 1234 c0ffee00", false),
        ("HOTP-SHA256/T30 alice 1234 c0ffee", false),
        ("MOTP/T30 alice 1234 c0ffee", false),
    ] {
        assert_eq!(one.is_same_device(&token(line)), same, "{line}");
    }
}

// ---- Fields 5 to 9: state

#[test]
fn all_older_numbers_of_state_fields_are_read() {
    let fresh = State::fresh();
    let used = |failures, address| State {
        counter: CounterField::from_written(5),
        failures,
        last_otp: code("755224"),
        used: at(USED),
        address,
        ..State::fresh()
    };
    for (fields, expected) in [
        ("", fresh.clone()),
        ("5", State { counter: CounterField::from_written(5), ..fresh.clone() }),
        ("5 2", State { counter: CounterField::from_written(5), failures: 2, ..fresh.clone() }),
        ("5 755224 2024-01-02T03:05:00L", used(0, Address::Unknown)),
        ("5 755224 2024-01-02T03:05:00L 192.0.2.7", used(0, ip("192.0.2.7"))),
        ("5 2 755224 2024-01-02T03:05:00L 192.0.2.7", used(2, ip("192.0.2.7"))),
        (
            "5 2 - 1970-01-01T00:00:00L -",
            State { counter: CounterField::from_written(5), failures: 2, ..fresh },
        ),
        (
            "5 2 755224 1970-01-01T00:00:00L 192.0.2.7",
            State { used: Used::Never, ..used(2, ip("192.0.2.7")) },
        ),
    ] {
        assert_eq!(state(fields), expected, "{fields}");
    }
}

#[test]
fn counters_of_event_tokens_and_offsets_of_time_tokens_have_their_ranges() {
    for (kind, field, counter) in [
        ("HOTP", "0", Some(0)),
        ("HOTP", "9223372036854775807", Some(i64::MAX)),
        ("HOTP", "9223372036854775808", None),
        ("HOTP", "18446744073709551616", None),
        ("HOTP", "-1", None),
        ("HOTP", "x", None),
        ("HOTP", "1x", None),
        ("HOTP", "0x10", None),
        ("HOTP", "1.5", None),
        ("HOTP", "-", None),
        ("HOTP", "--1", None),
        ("HOTP/T30", "0", Some(0)),
        ("HOTP/T30", "-3", Some(-3)),
        ("MOTP", "-12345678901", Some(-12_345_678_901)),
        ("HOTP/T30", "9223372036854775807", Some(i64::MAX)),
        ("HOTP/T30", "9223372036854775808", None),
        ("HOTP/T30", "--3", None),
        ("HOTP/T30", "-", None),
    ] {
        let read = parse(format!("{kind} alice - {KEY} {field}"))
            .map(|record| record.state.counter.as_written());
        assert_eq!(read, counter.ok_or(RecordError::Counter), "{kind} {field}");
    }
}

#[test]
fn failures_last_otp_and_address_have_their_limits() {
    let time = "2024-01-02T03:05:00L";
    for (fields, error) in [
        ("5 4294967295", None),
        ("5 4294967296", Some(RecordError::Failures)),
        ("5 -1", Some(RecordError::Failures)),
        ("5 two", Some(RecordError::Failures)),
        (&format!("5 1234567890 {time}"), None),
        (&format!("5 12345678901 {time}"), Some(RecordError::LastOtp)),
        (&format!("5 0 12345678901 {time} -"), Some(RecordError::LastOtp)),
        (&format!("5 0 755224 {time} {}", "x".repeat(45)), None),
        (&format!("5 0 755224 {time} {}", "x".repeat(46)), Some(RecordError::Address)),
    ] {
        assert_eq!(error_of(format!("HOTP alice - {KEY} {fields}")), error, "{fields}");
    }
}

#[test]
fn an_address_is_an_ip_address_or_equal_to_no_client() {
    for (field, address) in [
        ("-", Address::Unknown),
        ("192.0.2.7", ip("192.0.2.7")),
        ("2001:DB8::7", ip("2001:db8::7")),
        ("::ffff:192.0.2.7", ip("192.0.2.7")),
        ("::FFFF:C000:207", ip("192.0.2.7")),
        ("localhost", Address::Other(b"localhost"[..].into())),
        ("unix:", Address::Other(b"unix:"[..].into())),
        ("192.0.2.7:443", Address::Other(b"192.0.2.7:443"[..].into())),
        ("192.0.2", Address::Other(b"192.0.2"[..].into())),
    ] {
        let read = state(&format!("5 0 755224 2024-01-02T03:05:00L {field}")).address;
        assert_eq!(read, address, "{field}");
        let client = Address::of_client(field.parse().ok());
        assert_eq!(read.is_known_and_equals(&client), matches!(read, Address::Ip(_)), "{field}");
    }
}

#[test]
fn times_are_local_dates_of_any_year_or_refused() {
    for (field, used) in [
        ("1970-01-01T00:00:00L", Some(Used::Never)),
        ("-", Some(Used::Never)),
        ("1969-12-31T23:59:59L", Some(at(-1))),
        ("1970-01-01T00:00:01L", Some(at(1))),
        ("2024-02-29T00:00:00L", Some(at(1_709_164_800))),
        ("2038-01-19T03:14:07L", Some(at(i64::from(i32::MAX)))),
        ("2038-01-19T03:14:08L", Some(at(i64::from(i32::MAX) + 1))),
        ("2106-02-07T06:28:16L", Some(at(i64::from(u32::MAX) + 1))),
        ("2023-02-29T00:00:00L", None),
        ("2024-13-01T00:00:00L", None),
        ("2024-01-01T24:00:00L", None),
        ("2024-01-01T00:60:00L", None),
        ("2024-01-01T00:00:00", None),
        ("2024-01-01T00:00:00Z", None),
        ("2024-01-01t00:00:00L", None),
        ("24-01-01T00:00:00L", None),
        ("2024-01-01T00:00:00L0", None),
        ("+024-01-01T00:00:00L", None),
        ("1704164700", None),
    ] {
        let read = parse(format!("HOTP alice - {KEY} 5 0 755224 {field} -"))
            .map(|record| record.state.used);
        assert_eq!(read, used.ok_or(RecordError::Time), "{field}");
    }
}

#[test]
fn the_hour_that_clocks_repeat_is_the_latest_instant_not_after_now() {
    // 2025-10-26 in Berlin: 02:30 is 00:30 in Greenwich, and an hour later 01:30.
    let line = format!("HOTP alice - {KEY} 5 0 755224 2025-10-26T02:30:00L -");
    let used = record::parse(line.as_bytes(), &berlin()).unwrap().state.used;
    let (summer, winter) = (1_761_438_600, 1_761_442_200);
    for (now, instant) in [
        (summer, summer),
        (summer + 60, summer),
        (winter - 1, summer),
        (winter, winter),
        (winter + 60, winter),
    ] {
        assert_eq!(used.as_of(now), Some((instant, instant)), "{now}");
    }
    // Everywhere else the zone alone says it.
    let line = line.replace("10-26T02:30", "07-01T12:00");
    assert_eq!(record::parse(line.as_bytes(), &berlin()).unwrap().state.used, at(1_751_364_000));
}

// ---- Field 10: ext

/// CRC-32 as IEEE 802.3 has it, bit by bit.
fn crc_32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |sum, &byte| {
        (0..8).fold(sum ^ u32::from(byte), |sum, _| (sum >> 1) ^ (0xedb8_8320 * (sum & 1)))
    })
}

/// The `ext` word of a line with nine fields, worked out from its text.
fn ext(nine_fields: &str, numbers: [i64; 4]) -> String {
    let [a, b, c, d] = numbers;
    let fields: Vec<&str> = nine_fields.split_ascii_whitespace().collect();
    assert_eq!(fields.len(), 9);
    let sum = crc_32(format!("{} {a} {b} {c} {d}", fields.join(" ")).as_bytes());
    format!("@{a},{b},{c},{d},{sum:08x}")
}

/// Their checksums are what Python's binascii.crc32 gives.
const KNOWN: [(&str, [i64; 4], &str); 2] = [
    (
        "HOTP/T30 alice 1234 3132333435363738393031323334353637383930 -1 2 755224 2024-01-02T03:05:00L 192.0.2.7",
        [1_704_164_640, 1_704_164_645, 1_704_164_700, 1_704_160_000],
        "@1704164640,1704164645,1704164700,1704160000,de93def8",
    ),
    ("HOTP bob - 00 0 0 - 1970-01-01T00:00:00L -", [0; 4], "@0,0,0,0,9bc7b6c7"),
];

#[test]
fn the_checksum_is_that_of_the_fields_and_numbers_joined_by_single_spaces() {
    assert_eq!(crc_32(b"123456789"), 0xcbf4_3926);
    for (fields, numbers, word) in KNOWN {
        assert_eq!(ext(fields, numbers), word);
        let spread = fields.replace(' ', " \t  ");
        for line in [format!("{fields} {word}"), format!("{spread}\t{word}")] {
            let record = parse(&line).unwrap();
            assert!(record.state.intact, "{line}");
            // And what is written has the same words again.
            let head = record.layout.head.map(|word| &line.as_bytes()[word]);
            let written = slot::write(head, &record.state, &TimeZone::UTC);
            let written = String::from_utf8(written.to_vec()).unwrap();
            let expected: Vec<&str> = fields.split(' ').skip(4).chain([word]).collect();
            assert_eq!(written.split_ascii_whitespace().collect::<Vec<_>>(), expected);
        }
    }
}

#[test]
fn an_intact_ext_says_exactly_what_the_visible_fields_only_hint_at() {
    let (fields, _, word) = KNOWN[0];
    // In whichever zone the line is read.
    for zone in [TimeZone::UTC, berlin()] {
        let state = record::parse(format!("{fields} {word}").as_bytes(), &zone).unwrap().state;
        let expected = State {
            counter: CounterField::from_written(-1),
            failures: 2,
            last_otp: code("755224"),
            used: Used::At { first: 1_704_164_645, last: 1_704_164_700 },
            address: ip("192.0.2.7"),
            replay_floor: Some(ReplayFloor::from_written(1_704_164_640)),
            last_failure: Some(1_704_160_000),
            intact: true,
        };
        assert_eq!(state, expected);
    }
}

#[test]
fn without_an_intact_ext_the_visible_fields_rule_and_at_alone_is_kept() {
    let (fields, _, word) = KNOWN[0];
    let at_of_word = Some(1_704_164_640);
    for (ext, at_kept) in [
        ("", None),
        // An edit of any kind: sum, numbers, form.
        (&*word.replace("de93def8", "de93def9"), at_of_word),
        (&word.replace("de93def8", "DE93DEF8"), at_of_word),
        (&word.replace("de93def8", "de93def"), at_of_word),
        (&word.replace(",de93def8", ""), at_of_word),
        (&format!("{word},1"), at_of_word),
        (&word.replace("@1704164640", "@1704164670"), Some(1_704_164_670)),
        (&word.replace("@17", "@017"), at_of_word),
        ("@1704164640", at_of_word),
        ("@1704164640,", at_of_word),
        ("@1704164640,x,y,z,de93def8", at_of_word),
        ("@", None),
        ("@,,,,", None),
        ("@x,1,1,1,de93def8", None),
        ("@-1704164640,1,1,1,de93def8", None),
        ("@99999999999999999999,1,1,1,de93def8", None),
    ] {
        let state =
            parse(format!("{fields} {ext}")).unwrap_or_else(|error| panic!("{ext}: {error}")).state;
        let expected = State {
            counter: CounterField::from_written(-1),
            failures: 2,
            last_otp: code("755224"),
            used: at(USED),
            address: ip("192.0.2.7"),
            replay_floor: at_kept.map(ReplayFloor::from_written),
            last_failure: None,
            intact: false,
        };
        assert_eq!(state, expected, "{ext}");
    }
}

#[test]
fn an_edit_of_any_of_the_nine_fields_shows_in_the_checksum() {
    let (fields, _, word) = KNOWN[0];
    for (field, edited) in [
        ("HOTP/T30", "HOTP/t30"),
        ("alice", "alicf"),
        ("1234", "1243"),
        (KEY, "3132333435363738393031323334353637383931"),
        (" -1 ", " -2 "),
        (" 2 ", " 0 "),
        ("755224", "287082"),
        ("03:05:00", "03:05:01"),
        ("192.0.2.7", "192.0.2.8"),
    ] {
        let line = format!("{} {word}", fields.replacen(field, edited, 1));
        assert!(!parse(&line).unwrap().state.intact, "{line}");
    }
}

#[test]
fn ext_is_the_tenth_field_and_no_other() {
    let (fields, _, word) = KNOWN[0];
    for (line, intact) in [
        (format!("{fields} {word}"), true),
        (format!("{fields} {word} and more"), true),
        (format!("{fields} note {word}"), false),
    ] {
        assert_eq!(parse(&line).unwrap().state.intact, intact, "{line}");
    }
}

// ---- Lines

#[test]
fn blank_lines_and_comments_are_nobodys() {
    for line in
        ["", " ", "\t", "\r", "\x0b", " \t\r\x0b ", "#", "# HOTP alice - 00", "#HOTP alice - 00\r"]
    {
        assert!(lines::is_ignored(line.as_bytes()), "{line:?}");
        assert_eq!(line::user_of(line.as_bytes()), None, "{line:?}");
    }
    assert!(!lines::is_ignored(b"HOTP alice - 00 # no comment"));
}

#[test]
fn any_run_of_space_tab_cr_and_vt_separates_fields() {
    let fields = [
        "HOTP/T30",
        "alice",
        "1234",
        KEY,
        "-1",
        "2",
        "755224",
        "2024-01-02T03:05:00L",
        "192.0.2.7",
    ];
    let plain = parse(fields.join(" ")).unwrap();
    for blank in ["\t", "\x0b", "\r", "  ", "\t \x0b \r "] {
        for (before, after) in [("", ""), (blank, blank), ("", "\r")] {
            let line = format!("{before}{}{after}", fields.join(blank));
            let record = parse(&line).unwrap_or_else(|error| panic!("{line:?}: {error}"));
            assert_eq!((&record.token, &record.state), (&plain.token, &plain.state), "{line:?}");
            assert_eq!(line::user_of(line.as_bytes()), Some(&b"alice"[..]));
        }
    }
    // Form feed and the no-break space are no blanks.
    for line in [format!("HOTP\x0calice - {KEY} 0"), format!("HOTP\u{a0}alice - {KEY} 0")] {
        assert_eq!(error_of(&line), Some(RecordError::Type), "{line:?}");
    }
}

#[test]
fn missing_fields_are_named() {
    for (line, message) in [
        ("HOTP", "field 2 (user) is missing"),
        ("HOTP alice", "field 3 (pin) is missing"),
        ("HOTP alice 1234", "field 4 (key) is missing"),
        ("HOTP alice 1234 \t\r", "field 4 (key) is missing"),
    ] {
        assert_eq!(
            parse(line).err().map(|error| error.to_string()).as_deref(),
            Some(message),
            "{line}"
        );
    }
}

#[test]
fn long_lines_are_read_whole_up_to_64_kib() {
    let pin_of = |len: usize| {
        let rest = format!("HOTP alice  {KEY} 5 2");
        let pin = "p".repeat(len - rest.len());
        (pin.clone(), rest.replace("alice ", &format!("alice {pin}")))
    };
    for len in [1_000, 4_096, 65_535, LINE_MAX] {
        let (pin, line) = pin_of(len);
        assert_eq!(line.len(), len);
        let record = parse(&line).unwrap();
        assert!(
            matches!(&record.token.pin, Pin::Literal(read) if read.expose() == pin.as_bytes()),
            "{len}"
        );
        assert_eq!((record.state.counter.as_written(), record.state.failures), (5, 2), "{len}");
    }
    for len in [LINE_MAX + 1, 3 * LINE_MAX] {
        assert_eq!(error_of(pin_of(len).1), Some(RecordError::LineTooLong), "{len}");
    }
    assert_eq!(LINE_MAX, 65_536);
}

#[test]
fn a_nul_byte_anywhere_makes_a_line_unreadable() {
    let line = format!("HOTP alice 1234 {KEY} 5 2 755224 2024-01-02T03:05:00L 192.0.2.7 note");
    for place in 0..=line.len() {
        let mut bytes = line.clone().into_bytes();
        bytes.insert(place, 0);
        assert_eq!(error_of(&bytes), Some(RecordError::Nul), "{}", bytes.escape_ascii());
    }
}

#[test]
fn unreadable_lines_still_name_their_user() {
    for line in [
        "FOO alice 1234 00".to_owned(),
        "FOO alice".to_owned(),
        "HOTP alice".to_owned(),
        "HOTP alice 1234".to_owned(),
        "HOTP alice 1234 xyz".to_owned(),
        "HOTP alice $6$ 00".to_owned(),
        "HOTP alice - 00 -1".to_owned(),
        "HOTP alice - 00\0".to_owned(),
        "\tHOTP\x0balice\r".to_owned(),
        format!("HOTP alice {} 00", "p".repeat(LINE_MAX)),
    ] {
        assert!(parse(&line).is_err());
        assert_eq!(line::user_of(line.as_bytes()), Some(&b"alice"[..]), "{:.60}", line);
    }
}

#[test]
fn the_last_line_counts_without_a_line_end_and_a_cr_belongs_to_no_field() {
    for content in
        ["HOTP alice - c0ffee\nHOTP bob - c0ffee", "HOTP alice - c0ffee\r\nHOTP bob - c0ffee\r\n"]
    {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(content.as_bytes()).unwrap();
        let mut seen = Vec::new();
        lines::for_each_line(&file, |_, line| {
            let key = parse(line).map(|record| record.token.key.expose().to_vec());
            seen.push((line::user_of(line).map(<[u8]>::to_vec), key));
        })
        .unwrap();
        let expected =
            ["alice", "bob"].map(|user| (Some(user.into()), Ok(b"\xc0\xff\xee".to_vec())));
        assert_eq!(seen, expected, "{content:?}");
    }
}

#[test]
fn a_fingerprint_tells_any_edit_of_fields_1_to_4_and_nothing_else() {
    let fingerprint = |line: &str| record::fingerprint_of_line(line.as_bytes());
    let one = fingerprint("HOTP alice 1234 c0ffee");
    assert!(one.is_some());
    assert_eq!(one, Some(token("HOTP alice 1234 c0ffee 7 1").fingerprint));
    for (line, same) in [
        ("HOTP alice 1234 c0ffee 5 2", true),
        (" HOTP\talice  1234 c0ffee\r", true),
        ("hotp alice 1234 c0ffee", false),
        ("HOTP alicE 1234 c0ffee", false),
        ("HOTP alice 12345 c0ffee", false),
        ("HOTP alice 1234 C0FFEE", false),
        ("HOTP alice1 234 c0ffee", false),
        ("HOTPa lice 1234 c0ffee", false),
    ] {
        assert_eq!(fingerprint(line) == one, same, "{line}");
    }
    assert_eq!(fingerprint("HOTP alice 1234"), None);
}

// ---- What is told of a line

const SECRET_PIN: &str = "Sesam-Open-Yourself";
const SECRET_KEY: &str = "a1b2c3d4e5f6a7b8c9d0e1f2a3b4c5d6e7f8a9b0";

/// Parts of a secret as text in any case, or as the numbers that Debug shows bytes by.
fn part_shown<'a>(shown: &str, secret: &'a [u8]) -> Option<&'a [u8]> {
    let shown = shown.to_ascii_lowercase();
    secret.windows(6).find(|part| {
        let numbers = format!("{part:?}");
        shown.contains(&String::from_utf8_lossy(part).to_ascii_lowercase())
            || shown.contains(numbers.trim_matches(['[', ']']))
    })
}

fn debug(value: &impl Debug) -> String {
    // The tall form without its line ends and indents, to find numbers one after the other.
    let tall: String = format!("{value:#?}").split_ascii_whitespace().collect();
    format!("{value:?} {}", tall.replace(',', ", "))
}

fn told_of(line: &[u8]) -> String {
    match parse(line) {
        Ok(record) => {
            debug(&(&record, &record.token, &record.token.pin, &record.token.key, &record.state))
        }
        Err(error) => format!("{error} {}", debug(&error)),
    }
}

#[derive(Clone, Debug)]
enum Mutation {
    Replace(usize, u8),
    Insert(usize, u8),
    Delete(usize),
    Truncate(usize),
    Double(usize),
}

impl Mutation {
    fn apply(&self, line: &mut Vec<u8>) {
        let len = line.len();
        let place = |seed: usize| seed % len;
        match *self {
            _ if len == 0 => {}
            Mutation::Replace(seed, byte) => line[place(seed)] = byte,
            Mutation::Insert(seed, byte) => line.insert(place(seed), byte),
            Mutation::Delete(seed) => drop(line.remove(place(seed))),
            Mutation::Truncate(seed) => line.truncate(place(seed)),
            Mutation::Double(seed) => line.extend_from_within(place(seed)..),
        }
    }
}

fn mutations() -> impl Strategy<Value = Vec<Mutation>> {
    let byte = || prop_oneof![select(b" \t\r\n\0@$/:+-,0123456789abcdefETL".to_vec()), any::<u8>()];
    let one = prop_oneof![
        4 => (any::<usize>(), byte()).prop_map(|(place, byte)| Mutation::Replace(place, byte)),
        4 => (any::<usize>(), byte()).prop_map(|(place, byte)| Mutation::Insert(place, byte)),
        2 => any::<usize>().prop_map(Mutation::Delete),
        1 => any::<usize>().prop_map(Mutation::Truncate),
        1 => any::<usize>().prop_map(Mutation::Double),
    ];
    proptest::collection::vec(one, 0..4)
}

#[test]
fn the_search_for_secrets_finds_them_in_every_form() {
    let key = HEXLOWER.decode(SECRET_KEY.as_bytes()).unwrap();
    for shown in [
        format!("x{SECRET_KEY}y"),
        SECRET_KEY.to_uppercase(),
        debug(&SECRET_KEY.as_bytes().to_vec()),
    ] {
        assert!(part_shown(&shown, SECRET_KEY.as_bytes()).is_some(), "{shown}");
    }
    assert!(part_shown(&debug(&key), &key).is_some());
    assert!(part_shown(&debug(&Some(SECRET_PIN)), SECRET_PIN.as_bytes()).is_some());
    assert!(
        part_shown(&told_of(format!("HOTP alice - {KEY}").as_bytes()), SECRET_PIN.as_bytes())
            .is_none()
    );
}

proptest! {
    #![proptest_config(cases(1500))]

    #[test]
    fn neither_errors_nor_debug_forms_of_any_line_show_pin_or_key(
        kind in select(vec!["HOTP", "HOTP/T30", "MOTP", "E", "HOTP-SHA256/8", "OFF:HOTP"]),
        rest in select(vec!["", "5", "5 2", "5 755224 2024-01-02T03:05:00L", "5 2 755224 2024-01-02T03:05:00L 192.0.2.7 @1,2,3,4,0"]),
        pin in select(vec![SECRET_PIN.to_owned(), format!("$6${SECRET_PIN}$x"), format!("$2y${SECRET_PIN}"), format!("$argon2id${SECRET_PIN}")]),
        prefix in select(vec!["", "base32:"]),
        mutations in mutations(),
    ) {
        let mut line = format!("{kind} alice {pin} {prefix}{SECRET_KEY} {rest}").into_bytes();
        for mutation in &mutations {
            mutation.apply(&mut line);
        }
        let told = told_of(&line);
        let key = HEXLOWER.decode(SECRET_KEY.as_bytes()).unwrap();
        for secret in [SECRET_PIN.as_bytes(), SECRET_KEY.as_bytes(), &key] {
            let part = part_shown(&told, secret).map(|part| part.escape_ascii().to_string());
            prop_assert_eq!(part, None, "{} of {}", told, line.escape_ascii());
        }
    }
}

// ---- The slot

/// Fields 1 to 4 of an event token and of time tokens.
const HEADS: [(&str, bool); 3] = [
    ("HOTP alice 1234 3132333435363738393031323334353637383930", true),
    ("HOTP-SHA512/T30/8 bob\u{e9} - base32:MZXW6YTBOI======", false),
    ("MOTP carol 1234 c0ffee", false),
];

fn words(head: &str) -> [&[u8]; 4] {
    let words: Vec<&[u8]> = head.split(' ').map(str::as_bytes).collect();
    words.try_into().expect("four fields")
}

fn with_slot(head: &str, state: &State, zone: &TimeZone) -> Vec<u8> {
    let slot = slot::write(words(head), state, zone);
    let mut line = Vec::new();
    slot::insert_into(&mut line, head.as_bytes(), head.len(), head.len(), &slot);
    line
}

fn busy(is_event: bool) -> State {
    State {
        counter: CounterField::from_written(if is_event { 1_234_567 } else { -12 }),
        failures: 3,
        last_otp: code("755224"),
        used: Used::At { first: USED - 40, last: USED },
        address: ip("2001:db8::7"),
        replay_floor: Some(ReplayFloor::from_written(if is_event {
            1_234_566
        } else {
            1_704_164_640
        })),
        last_failure: Some(USED - 4_000),
        intact: true,
    }
}

/// States as decisions leave them. `at`, `failed` and `last` have 0 for "not known".
fn states(is_event: bool) -> impl Strategy<Value = State> {
    const TIME_MAX: i64 = 999_999_999_999;
    let counter = prop_oneof![Just(0), 0..100_000i64, any::<i64>(), Just(i64::MAX), Just(i64::MIN)]
        .prop_map(move |counter| if is_event { counter & i64::MAX } else { counter });
    let used = prop_oneof![
        Just(Used::Never),
        (1..=TIME_MAX).prop_map(|last_login| Used::Ended { last_login }),
        (0..=TIME_MAX, 1..=TIME_MAX).prop_map(|(first, last)| Used::At { first, last }),
        (1_600_000_000i64..1_800_000_000, 0..900i64)
            .prop_map(|(first, after)| Used::At { first, last: first + after }),
    ];
    let address = prop_oneof![
        Just(Address::Unknown),
        any::<u32>().prop_map(|bits| Address::Ip(IpAddr::V4(bits.into()))),
        any::<u128>().prop_map(|bits| Address::Ip(IpAddr::V6(bits.into()).to_canonical())),
        "[g-z][!-~]{0,44}".prop_map(|text| Address::Other(text.into_bytes().into())),
    ];
    (
        counter,
        prop_oneof![0..10u32, any::<u32>(), Just(u32::MAX)],
        proptest::option::of("[0-9a-fA-F]{1,10}")
            .prop_map(|text| text.and_then(|text| Code::new(text.as_bytes()))),
        used,
        address,
        proptest::option::of(prop_oneof![1..100_000i64, 1..=i64::MAX]),
        proptest::option::of(prop_oneof![1_600_000_000..1_800_000_000i64, 1..=TIME_MAX]),
    )
        .prop_map(|(counter, failures, last_otp, used, address, at, failed)| State {
            counter: CounterField::from_written(counter),
            failures,
            last_otp,
            used,
            address,
            replay_floor: at.map(ReplayFloor::from_written),
            last_failure: failed,
            intact: true,
        })
}

fn heads_with_states() -> impl Strategy<Value = (&'static str, State)> {
    select(HEADS.to_vec())
        .prop_flat_map(|(head, is_event)| states(is_event).prop_map(move |state| (head, state)))
}

proptest! {
    #![proptest_config(cases(600))]

    #[test]
    fn state_in_a_slot_is_found_read_back_and_has_the_checksum_of_its_text(
        (head, state) in heads_with_states(),
        zone in select(vec![TimeZone::UTC, berlin()]),
    ) {
        let line = with_slot(head, &state, &zone);
        prop_assert_eq!(line.len(), head.len() + 1 + slot::LEN);
        prop_assert_eq!(slot::find(&line, head.len()), Some(head.len() + 1));

        let record = record::parse(&line, &zone).unwrap();
        prop_assert_eq!(&record.state, &state);
        prop_assert_eq!(record.layout.slot, Some(head.len() + 1));

        let text = String::from_utf8(line).unwrap();
        let (visible, word) = text.trim_end().rsplit_once(' ').unwrap();
        let known = |number: Option<i64>| number.unwrap_or(0);
        let (first, last) = match state.used {
            Used::At { first, last } => (first, last),
            Used::Ended { last_login } => (last_login, 0),
            _ => (0, 0),
        };
        prop_assert_eq!(word, ext(visible, [known(state.replay_floor.map(ReplayFloor::as_written)), first, last, known(state.last_failure)]));
    }

    #[test]
    fn a_torn_slot_is_as_before_or_as_after_or_shows_that_it_is_torn(
        (head, before, after) in select(HEADS.to_vec()).prop_flat_map(|(head, is_event)| {
            (Just(head), states(is_event), states(is_event))
        }),
        cut in 0..slot::LEN,
    ) {
        let mut line = with_slot(head, &after, &TimeZone::UTC);
        let old = with_slot(head, &before, &TimeZone::UTC);
        line[..head.len() + 1 + cut].copy_from_slice(&old[..head.len() + 1 + cut]);
        if let Ok(Record { state, .. }) = parse(&line) {
            prop_assert!(!state.intact || state == before || state == after, "{}", line.escape_ascii());
        }
    }

    #[test]
    fn what_was_written_and_read_is_written_the_same_again(
        (head, state) in heads_with_states(),
        zone in select(vec![TimeZone::UTC, berlin()]),
    ) {
        let line = with_slot(head, &state, &zone);
        let again = with_slot(head, &record::parse(&line, &zone).unwrap().state, &zone);
        prop_assert_eq!(&again, &line);
    }

    #[test]
    fn a_reader_of_the_ancestors_fields_reads_what_we_write(
        (kind, is_event) in select(vec![("HOTP", true), ("HOTP/T30/8", false), ("MOTP", false)]),
        user in "[!-~]{1,255}",
        pin in select(vec!["-", "+", "1234"]),
        key in proptest::collection::vec(any::<u8>(), 1..=64),
        state in prop_oneof![states(true), states(false)],
    ) {
        let counter = state.counter.as_written();
        let counter = CounterField::from_written(if is_event { counter & i64::MAX } else { counter });
        let state = State { counter, ..state };
        let key = data_encoding::HEXLOWER.encode(&key);
        let head = [kind, &user, pin, &key].join(" ");
        prop_assume!(!user.starts_with('#'));
        let line = with_slot(&head, &state, &TimeZone::UTC);
        let ancestor = Ancestor::read(&line).expect("a line of the ancestor's");
        prop_assert_eq!(&ancestor.head, &[kind, &user, pin, &key].map(str::to_owned));
        prop_assert_eq!(ancestor.counter, state.counter.as_written());
        prop_assert_eq!(ancestor.failures, state.failures);
        let code = state.last_otp.as_ref().map(|code| String::from_utf8_lossy(code.as_bytes()).into_owned());
        prop_assert_eq!(ancestor.last_otp, code);
        let last = match state.used { Used::At { last, .. } => last, _ => 0 };
        // Four digits have room for no later year.
        prop_assert_eq!(ancestor.time, if last < 253_402_300_800 { last } else { 0 });
        let address = match &state.address {
            Address::Unknown => None,
            Address::Ip(ip) => Some(ip.to_string()),
            Address::Other(text) => Some(String::from_utf8_lossy(text).into_owned()),
        };
        prop_assert_eq!(ancestor.ip, address);
    }
}

/// What older software makes of a line, by the format's description alone: fields by blanks, 0 to 4
/// of them after the counter, anything further ignored, lines of at most 1,000 bytes.
struct Ancestor {
    head: [String; 4],
    counter: i64,
    failures: u32,
    last_otp: Option<String>,
    /// Seconds since 1970, if local time is UTC.
    time: i64,
    ip: Option<String>,
}

impl Ancestor {
    fn read(line: &[u8]) -> Option<Ancestor> {
        if line.len() > 1_000 {
            return None;
        }
        let text = std::str::from_utf8(line).ok()?;
        let mut fields = text.split([' ', '\t', '\r', '\x0b']).filter(|field| !field.is_empty());
        let mut field = || fields.next().map(str::to_owned);
        let head = [field()?, field()?, field()?, field()?];
        let counter = field()?.parse().ok()?;
        let rest: Vec<String> = fields.map(str::to_owned).take(4).collect();
        let (failures, last_otp, time, ip) = match &rest[..] {
            [] => ("0", "-", "1970-01-01T00:00:00L", "-"),
            [failures] => (&failures[..], "-", "1970-01-01T00:00:00L", "-"),
            [last_otp, time] => ("0", &last_otp[..], &time[..], "-"),
            [last_otp, time, ip] => ("0", &last_otp[..], &time[..], &ip[..]),
            [failures, last_otp, time, ip, ..] => {
                (&failures[..], &last_otp[..], &time[..], &ip[..])
            }
        };
        let known = |field: &str| Some(field.to_owned()).filter(|field| field != "-");
        Some(Ancestor {
            head,
            counter,
            failures: failures.parse().ok()?,
            last_otp: known(last_otp),
            time: Ancestor::seconds(time)?,
            ip: known(ip),
        })
    }

    /// Days by counting years and months.
    fn seconds(time: &str) -> Option<i64> {
        let number = |range: std::ops::Range<usize>| time.get(range)?.parse::<i64>().ok();
        let (year, month, day) = (number(0..4)?, number(5..7)?, number(8..10)?);
        let is_leap = |year: i64| year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
        let lengths =
            [31, if is_leap(year) { 29 } else { 28 }, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
        let years: i64 = (1970..year).map(|year| if is_leap(year) { 366 } else { 365 }).sum();
        let months: i64 = lengths.iter().take(month as usize - 1).sum();
        let days = years + months + day - 1;
        (time.ends_with('L') && time.len() == 20).then_some(
            days * 86_400 + number(11..13)? * 3_600 + number(14..16)? * 60 + number(17..19)?,
        )
    }
}

fn fields_of(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    line::words(line).map(|word| &line[word])
}

#[test]
fn every_corrupt_byte_of_a_slot_makes_the_line_unreadable_or_its_checksum_wrong() {
    let (head, state) = (HEADS[0].0, busy(true));
    let line = with_slot(head, &state, &TimeZone::UTC);
    for place in head.len()..line.len() {
        for byte in 0..=u8::MAX {
            let mut corrupt = line.clone();
            corrupt[place] = byte;
            // A line end there makes two lines of it.
            let corrupt = corrupt.split(|&byte| byte == b'\n').next().unwrap();
            let Ok(record) = parse(corrupt) else { continue };
            let says_the_same = fields_of(corrupt).take(10).eq(fields_of(&line));
            assert_eq!(record.state.intact, says_the_same, "{}", corrupt.escape_ascii());
            assert!(!says_the_same || record.state == state, "{}", corrupt.escape_ascii());
        }
    }
}

#[test]
fn the_visible_time_is_the_local_time_of_the_last_use() {
    for (zone, time) in
        [(TimeZone::UTC, "2024-01-02T03:05:00L"), (berlin(), "2024-01-02T04:05:00L")]
    {
        let line = String::from_utf8(with_slot(HEADS[0].0, &busy(true), &zone)).unwrap();
        assert_eq!(line.split_ascii_whitespace().nth(7), Some(time));
    }
    let never = State { used: Used::Never, ..busy(true) };
    let line = String::from_utf8(with_slot(HEADS[0].0, &never, &berlin())).unwrap();
    assert_eq!(line.split_ascii_whitespace().nth(7), str::from_utf8(localtime::NEVER).ok());
}

#[test]
fn a_forgotten_code_stays_while_its_time_becomes_1970_and_the_last_login_is_kept_in_ext() {
    // What earlier versions wrote, and what is written now.
    for (used, ext) in [
        (Used::Never, "@1234566,0,0,"),
        (Used::Ended { last_login: USED }, "@1234566,1704164700,0,"),
    ] {
        let forgotten = State { used, ..busy(true) };
        let line = String::from_utf8(with_slot(HEADS[0].0, &forgotten, &TimeZone::UTC)).unwrap();
        let fields: Vec<&str> = line.split_ascii_whitespace().collect();
        assert_eq!(fields[6..8], ["755224", "1970-01-01T00:00:00L"]);
        assert!(fields[9].starts_with(ext), "{line}");
        assert_eq!(parse(&line).unwrap().state, forgotten);
        // Without the checksum only the visible fields count.
        let edited = line.replace("755224", "755225");
        assert_eq!(parse(&edited).unwrap().state.used, Used::Never);
    }
}

#[test]
fn an_address_that_is_no_ip_address_is_written_as_it_was_read() {
    let text = "x".repeat(slot::ADDRESS_MAX);
    let line = format!("{} 5 0 755224 2024-01-02T03:05:00L {text}", HEADS[0].0);
    let state = parse(&line).unwrap().state;
    let written = String::from_utf8(with_slot(HEADS[0].0, &state, &TimeZone::UTC)).unwrap();
    assert_eq!(written.split_ascii_whitespace().nth(8), Some(&*text));
}

#[test]
fn a_line_gets_its_slot_and_keeps_every_byte_that_is_not_state() {
    for (before, state, after) in [
        ("HOTP alice - 00", "", ""),
        ("HOTP alice - 00", "", "\r"),
        ("HOTP alice - 00", "", "  \t"),
        ("HOTP alice - 00", " 5", "\r"),
        ("HOTP alice - 00", "\t5\t2", ""),
        ("HOTP alice - 00", " 5 755224 2024-01-02T03:05:00L", "\r"),
        ("HOTP alice - 00", " 5 755224 2024-01-02T03:05:00L 192.0.2.7", ""),
        ("HOTP alice - 00", " 5 2 755224 2024-01-02T03:05:00L 192.0.2.7", " "),
        ("HOTP alice - 00", " 5 2 755224 2024-01-02T03:05:00L 192.0.2.7", " # the blue one"),
        ("HOTP alice - 00", " 5 2 755224 2024-01-02T03:05:00L 192.0.2.7", "\tnote\x0b@1,2,3,4,5\r"),
        ("HOTP alice - 00", " 5 2 755224 2024-01-02T03:05:00L 192.0.2.7 @1,2,3,4,5", ""),
        ("HOTP alice - 00", " 5 2 755224 2024-01-02T03:05:00L 192.0.2.7 @", "  # the blue one\r"),
        ("\tHOTP \x0b al\u{ed}ce\t\t-  \r 00", " 5 2 - 1970-01-01T00:00:00L -", "\r"),
    ] {
        let line = format!("{before}{state}{after}").into_bytes();
        let record = parse(&line).unwrap();
        assert_eq!(record.layout.slot, None, "{}", line.escape_ascii());
        let head = record.layout.head.clone().map(|word| &line[word]);
        let slot = slot::write(head, &busy(true), &TimeZone::UTC);
        let head_end = record.layout.head[3].end;
        let mut with_slot = Vec::new();
        slot::insert_into(&mut with_slot, &line, head_end, record.layout.state.end, &slot);

        let expected = [before.as_bytes(), b" ", &slot, after.as_bytes()].concat();
        assert_eq!(with_slot.escape_ascii().to_string(), expected.escape_ascii().to_string());
        let again = parse(&with_slot).unwrap();
        assert_eq!(again.state, busy(true));
        assert_eq!(again.layout.slot, Some(head_end + 1));
    }
}

#[test]
fn a_rewrite_of_the_file_leaves_lines_that_have_their_slot_byte_for_byte() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("users");
    let use_once = |user: &[u8]| {
        UsersFile::new(&path)
            .update(&mut |users| {
                let found = users.find(user)?;
                assert_eq!(found.entry.lines.len(), 1);
                users.save(user, 0, busy(true));
                Ok(())
            })
            .unwrap();
    };
    let lines = || {
        let content = std::fs::read(&path).unwrap();
        content
            .split(|&byte| byte == b'\n')
            .map(|line| line.escape_ascii().to_string())
            .collect::<Vec<_>>()
    };
    std::fs::write(&path, "# phones\nHOTP alice - 00\nHOTP bob - 01 5\n").unwrap();
    use_once(b"alice");
    let first = lines();
    assert!(first.iter().filter(|line| line.contains('@')).count() == 2, "{first:?}");

    // An editor adds a user, whose first login rewrites the file.
    let mut content = std::fs::read(&path).unwrap();
    content.extend_from_slice(b"HOTP carol - 02\n");
    std::fs::write(&path, content).unwrap();
    use_once(b"carol");
    assert_eq!(lines()[..3], first[..3]);
}

#[test]
fn fields_that_stand_elsewhere_than_in_their_columns_are_no_slot() {
    let head = HEADS[0].0;
    let line = String::from_utf8(with_slot(head, &busy(true), &TimeZone::UTC)).unwrap();
    let tail = &line[head.len()..];
    for other in [
        format!("{head} {tail}"),
        format!("{head}{}", tail.replacen("     ", "    ", 1)),
        format!("{head}{}", tail.trim_end()),
        format!("{head}{tail}x"),
        format!("{head}{}", tail.replacen('@', "x", 1)),
        // Two words where there should be one: what is behind the first is somebody's note.
        format!("{head}{}", tail.replacen(',', "\t", 1)),
        format!("{head}{}", tail.replacen(',', "\r", 1)),
        format!("{head}{}", tail.replacen(':', "\x0b", 1)),
        head.to_owned(),
    ] {
        assert_eq!(slot::find(other.as_bytes(), head.len()), None, "{other}");
    }
    for more in ["", " ", "\r", "\tnote"] {
        assert_eq!(
            slot::find(format!("{line}{more}").as_bytes(), head.len()),
            Some(head.len() + 1)
        );
    }
}

#[test]
fn written_lines_with_ordinary_fields_stay_within_what_the_ancestor_reads() {
    let longest_state = State {
        counter: CounterField::from_written(i64::MAX),
        failures: u32::MAX,
        last_otp: code("2147483647"),
        used: Used::At { first: i64::MAX, last: i64::MAX },
        address: Address::Other([b'x'; slot::ADDRESS_MAX].into()),
        replay_floor: Some(ReplayFloor::from_written(i64::MAX)),
        last_failure: Some(i64::MAX),
        intact: true,
    };
    for (kind, user, pin, key) in [
        ("HOTP", 20, "1234", 20),
        // The longest name with an Argon2id hash and a key as long as SHA-512's block.
        ("OFF:HOTP-SHA512/T86400/10", 255, ARGON2ID, 128),
        // The longest key with an ordinary name.
        ("HOTP-SHA512/T30/8", 64, ARGON2ID, 256),
    ] {
        let head = format!("{kind} {} {pin} {}", "u".repeat(user), "0f".repeat(key));
        let line = with_slot(&head, &longest_state, &TimeZone::UTC);
        assert!(line.len() < 1_000, "{} bytes", line.len());
        assert!(parse(&line).unwrap().state.intact);
    }
}

#[test]
fn numbers_of_any_size_in_an_ext_that_is_not_ours_are_read_as_one_that_was_changed() {
    let (biggest, biggest_text) = (i64::MAX, "9223372036854775807");
    let line = format!(
        "HOTP alice - 00 5 0 - 1970-01-01T00:00:00L - @{biggest},{biggest},{biggest},{biggest},00000000"
    );
    let state = parse(&line).unwrap().state;
    assert_eq!(
        (state.replay_floor, state.intact),
        (Some(ReplayFloor::from_written(biggest)), false)
    );
    for number in ["9223372036854775808", "18446744073709551616", "-1", "", "1e3"] {
        let state = parse(line.replace(biggest_text, number)).unwrap().state;
        assert_eq!((state.replay_floor, state.intact), (None, false), "{number}");
    }
}
