//! Codes as published: RFC 4226, RFC 6238, Mobile-OTP; and as another program computes them.

use std::process::Command;

use data_encoding::HEXLOWER;
use otpgate::otp::{Code, Digits, Hash, hotp, hotp_hexadecimal, motp, truncated_hmac};
use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::RngSeed;

/// The key of RFC 4226 appendix D, and of RFC 6238 appendix B for SHA-1.
const RFC_KEY: &[u8; 20] = b"12345678901234567890";

fn digits(count: u8) -> Digits {
    Digits::new(count).expect("1 to 10 digits")
}

fn text(code: &Code) -> &str {
    str::from_utf8(code.as_bytes()).expect("codes are ASCII")
}

/// RFC 4226 appendix D: truncated HMAC in hexadecimal and decimal, then the code.
const APPENDIX_D: [(&str, u32, &str); 10] = [
    ("4c93cf18", 1284755224, "755224"),
    ("41397eea", 1094287082, "287082"),
    ("82fef30", 137359152, "359152"),
    ("66ef7655", 1726969429, "969429"),
    ("61c5938a", 1640338314, "338314"),
    ("33c083d4", 868254676, "254676"),
    ("7256c032", 1918287922, "287922"),
    ("4e5b397", 82162583, "162583"),
    ("2823443f", 673399871, "399871"),
    ("2679dc69", 645520489, "520489"),
];

#[test]
fn rfc_4226_appendix_d_numbers_and_codes() {
    for (counter, (hexadecimal, decimal, code)) in (0..).zip(APPENDIX_D) {
        let number = truncated_hmac(Hash::Sha1, RFC_KEY, counter);
        assert_eq!(number, decimal, "counter {counter}");
        assert_eq!(format!("{number:x}"), hexadecimal, "counter {counter}");
        assert_eq!(
            text(&hotp(Hash::Sha1, RFC_KEY, counter, Digits::SIX)),
            code,
            "counter {counter}"
        );
    }
}

#[test]
fn rfc_6238_appendix_b_codes_of_eight_digits_with_three_hashes() {
    // "The token shared secret uses the ASCII string 1234567890…", as long as each hash (RFC errata
    // 2866).
    let key = |len| RFC_KEY.iter().copied().cycle().take(len).collect::<Vec<u8>>();
    let keys = [(Hash::Sha1, key(20)), (Hash::Sha256, key(32)), (Hash::Sha512, key(64))];
    for (time, step, codes) in [
        (59, 0x1, ["94287082", "46119246", "90693936"]),
        (1_111_111_109, 0x23523ec, ["07081804", "68084774", "25091201"]),
        (1_111_111_111, 0x23523ed, ["14050471", "67062674", "99943326"]),
        (1_234_567_890, 0x273ef07, ["89005924", "91819424", "93441116"]),
        (2_000_000_000, 0x3f940aa, ["69279037", "90698825", "38618901"]),
        (20_000_000_000u64, 0x27bc86aa, ["65353130", "77737706", "47863826"]),
    ] {
        assert_eq!(time / 30, step);
        for ((hash, key), code) in keys.iter().zip(codes) {
            assert_eq!(text(&hotp(*hash, key, step, digits(8))), code, "{hash:?} at {time}");
        }
    }
}

#[test]
fn mobile_otp_codes() {
    let key = |text: &str| HEXLOWER.decode(text.as_bytes()).expect("hexadecimal");
    for (time, secret, pin, code) in [
        // LinOTP's test_motp.py, 2018-12-12T12:12Z.
        (1_544_616_720, "1234567890123456", "1234", "488ccf"),
        // printf 154461672c0ffee00fedcba985678 | md5sum
        (1_544_616_729, "c0ffee00fedcba98", "5678", "98aec1"),
        // printf 000 | md5sum: the first step, a key of one byte, no PIN
        (9, "00", "", "c6f057"),
    ] {
        assert_eq!(text(&motp(&key(secret), pin.as_bytes(), time / 10, Digits::SIX)), code);
    }
}

#[test]
fn a_decimal_code_is_the_last_digits_of_the_number_and_ten_show_all_of_it() {
    for (counter, (_, number, _)) in (0..).zip(APPENDIX_D) {
        let whole = format!("{number:010}");
        for count in 1..=10u8 {
            let code = hotp(Hash::Sha1, RFC_KEY, counter, digits(count));
            assert_eq!(text(&code), &whole[10 - usize::from(count)..], "counter {counter}");
        }
    }
}

#[test]
fn a_hexadecimal_code_is_the_last_hexadecimal_digits_in_lower_case() {
    for (counter, (number, _, _)) in (0..).zip(APPENDIX_D) {
        let whole = format!("{number:0>10}");
        for count in 1..=10u8 {
            let code = hotp_hexadecimal(Hash::Sha1, RFC_KEY, counter, digits(count));
            assert_eq!(text(&code), &whole[10 - usize::from(count)..], "counter {counter}");
        }
    }
}

#[test]
fn a_mobile_otp_code_is_the_first_hexadecimal_digits_of_the_hash() {
    // printf 15446167212345678901234561234 | md5sum
    let whole = "488ccfc1f1";
    for count in 1..=10u8 {
        let code = motp(
            &HEXLOWER.decode(b"1234567890123456").unwrap(),
            b"1234",
            154_461_672,
            digits(count),
        );
        assert_eq!(text(&code), &whole[..usize::from(count)]);
    }
}

#[test]
fn codes_have_one_to_ten_digits() {
    for count in 0..=u8::MAX {
        assert_eq!(
            Digits::new(count).map(Digits::count),
            (1..=10).contains(&count).then_some(usize::from(count))
        );
    }
    assert_eq!(Digits::SIX.count(), 6);
}

#[test]
fn a_code_is_one_to_ten_bytes() {
    for len in 0..=300 {
        let bytes = vec![b'7'; len];
        let kept = Code::new(&bytes).map(|code| code.as_bytes().to_vec());
        assert_eq!(kept, (1..=10).contains(&len).then_some(bytes));
    }
}

#[test]
fn codes_are_compared_whole_and_case_only_where_asked() {
    for (one, other, is, is_in_any_case) in [
        ("755224", "755224", true, true),
        ("755224", "755225", false, false),
        ("755224", "055224", false, false),
        ("755224", "75522", false, false),
        ("755224", "7552240", false, false),
        ("93cf18", "93CF18", false, true),
        ("93cF18", "93Cf18", false, true),
        ("93cf18", "93cf1F", false, false),
        // A code shorter than its place in memory is no code padded with NUL.
        ("755224", "755224\0", false, false),
        // The characters between the cases of ASCII are no letters.
        ("[@]", "{`}", false, false),
        ("\u{e9}", "\u{c9}", false, false),
    ] {
        let (a, b) = (Code::new(one.as_bytes()).unwrap(), Code::new(other.as_bytes()).unwrap());
        for (a, b) in [(&a, &b), (&b, &a)] {
            assert_eq!(bool::from(a.is(b)), is, "{one} {other}");
            assert_eq!(bool::from(a.is_in_any_case(b)), is_in_any_case, "{one} {other}");
        }
    }
}

#[test]
fn a_code_changes_case_only_in_its_letters() {
    let code = Code::new(b"09afAF[@`{").unwrap();
    assert_eq!(text(&code.clone().into_lower_case()), "09afaf[@`{");
    assert_eq!(text(&code.into_upper_case()), "09AFAF[@`{");
}

/// Runs oathtool of OATH Toolkit; the key goes last, in hexadecimal.
fn oathtool(arguments: &[String], key: &[u8]) -> Vec<String> {
    let output =
        Command::new("oathtool").args(arguments).arg(HEXLOWER.encode(key)).output().unwrap_or_else(
            |error| panic!("oathtool: {error}; install what the tests need with `make test-deps`"),
        );
    assert!(
        output.status.success(),
        "oathtool {arguments:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
}

/// So many codes after the first are asked of one oathtool process.
const WINDOW: u64 = 4;

fn ours(hash: Hash, key: &[u8], first: u64, count: u8) -> Vec<String> {
    let code = |counter| text(&hotp(hash, key, counter, digits(count))).to_owned();
    (first..=first + WINDOW).map(code).collect()
}

fn keys() -> impl Strategy<Value = Vec<u8>> {
    // HMAC hashes keys that are longer than its block of 64 or 128 bytes: their edges, and
    // everything.
    let lengths =
        prop_oneof![select(vec![1usize, 20, 63, 64, 65, 127, 128, 129, 256]), 1usize..=256];
    lengths.prop_flat_map(|len| proptest::collection::vec(any::<u8>(), len))
}

fn some_cases() -> ProptestConfig {
    ProptestConfig {
        cases: 60,
        failure_persistence: None,
        rng_seed: RngSeed::Fixed(4226),
        ..ProptestConfig::default()
    }
}

proptest! {
    #![proptest_config(some_cases())]

    #[test]
    fn event_codes_agree_with_oathtool(
        key in keys(),
        counter in prop_oneof![0u64..1000, Just(u64::from(u32::MAX) - 2), 0..i64::MAX as u64 - WINDOW],
        count in 6u8..=8,
    ) {
        let arguments = ["--hotp".to_owned(), format!("-c{counter}"), format!("-d{count}"), format!("-w{WINDOW}")];
        prop_assert_eq!(oathtool(&arguments, &key), ours(Hash::Sha1, &key, counter, count));
    }

    #[test]
    fn time_codes_agree_with_oathtool(
        key in keys(),
        (hash, name) in select(vec![(Hash::Sha1, "sha1"), (Hash::Sha256, "sha256"), (Hash::Sha512, "sha512")]),
        time in prop_oneof![0u64..100, 1_000_000_000u64..5_000_000_000, 0u64..250_000_000_000],
        period in select(vec![1u64, 10, 30, 60, 86_400]),
        count in 6u8..=8,
    ) {
        let arguments = [
            format!("--totp={name}"),
            format!("-N@{time}"),
            format!("-s{period}s"),
            format!("-d{count}"),
            format!("-w{WINDOW}"),
        ];
        prop_assert_eq!(oathtool(&arguments, &key), ours(hash, &key, time / period, count));
    }
}
