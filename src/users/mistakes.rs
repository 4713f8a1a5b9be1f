//! What people get wrong in fields 1 to 4: how one that can't be read was meant, and what can be
//! read and is hardly meant so. Nothing here says a PIN or a key.

use super::record;
use crate::token::Algorithm;

/// What some editors put before the first line. It belongs to no field.
pub const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// Bytes below which RFC 4226 calls a key too short.
const KEY_LEN_LEAST: usize = 16;
const KEY_LEN_LEAST_OF_MOTP: usize = 8;
/// Characters below which a PIN is hardly one.
const PIN_LEN_LEAST: usize = 4;
/// Bytes of base 32 below which it could be any word.
const BASE32_LEN_LEAST: usize = 8;

/// Characters that look like `-` and aren't. (Typed in word processors, copied from web pages.)
const OTHER_DASHES: [&str; 13] = [
    "\u{2010}", "\u{2011}", "\u{2012}", "\u{2013}", "\u{2014}", "\u{2015}", "\u{2043}", "\u{2212}",
    "\u{ad}", "\u{2796}", "\u{fe58}", "\u{fe63}", "\u{ff0d}",
];

/// The right form of a field 1 that can't be read.
pub fn type_meant(field: &[u8]) -> Option<String> {
    let text = str::from_utf8(field).ok()?.to_ascii_uppercase();
    let (off, text) = match text.strip_prefix("OFF:") {
        Some(rest) => ("OFF:", rest),
        None => ("", &text[..]),
    };
    let mut parts = text.split('/');
    let name: String = parts.next()?.chars().filter(char::is_ascii_alphanumeric).collect();
    // An app's TOTP is HOTP from time.
    let (mut name, mut factor) = match &name[..] {
        "E" | "HOTP" | "HOTPSHA1" => ("HOTP", "E".to_owned()),
        "T" | "TOTP" | "TOTPSHA1" => ("HOTP", "T30".to_owned()),
        "HOTPSHA256" => ("HOTP-SHA256", "E".to_owned()),
        "HOTPSHA512" => ("HOTP-SHA512", "E".to_owned()),
        "TOTPSHA256" => ("HOTP-SHA256", "T30".to_owned()),
        "TOTPSHA512" => ("HOTP-SHA512", "T30".to_owned()),
        "MOTP" | "MOBILEOTP" => ("MOTP", "T10".to_owned()),
        _ => return None,
    };
    let (mut digits, mut is_factor_given) = (6, false);
    for part in parts {
        let bare: String = part.chars().filter(char::is_ascii_alphanumeric).collect();
        let seconds = bare.strip_prefix('T').map(|rest| rest.strip_suffix('S').unwrap_or(rest));
        match (&bare[..], seconds, bare.parse::<u32>()) {
            ("", ..) => {}
            ("SHA1", ..) => name = "HOTP",
            ("SHA256", ..) => name = "HOTP-SHA256",
            ("SHA512", ..) => name = "HOTP-SHA512",
            ("E", ..) => (factor, is_factor_given) = ("E".to_owned(), true),
            (_, Some(""), _) => {
                factor = if name == "MOTP" { "T10" } else { "T30" }.to_owned();
                is_factor_given = true;
            }
            (_, Some(seconds), _) => (factor, is_factor_given) = (format!("T{seconds}"), true),
            (_, _, Ok(number @ 1..=10)) => digits = number,
            (_, _, Ok(seconds)) if !is_factor_given => {
                (factor, is_factor_given) = (format!("T{seconds}"), true);
            }
            _ => return None,
        }
    }
    let meant = format!("{off}{name}/{factor}/{digits}");
    record::is_type(meant.as_bytes()).then_some(meant)
}

/// Whether a field 4 that can't be read could be, with `base32:` before it.
pub fn is_base32_without_its_prefix(field: &[u8]) -> bool {
    field.len() >= BASE32_LEN_LEAST
        && record::is_key(&zeroize::Zeroizing::new([&b"base32:"[..], field].concat()))
}

/// Why a key can be guessed. Phones make keys of 64 bits for Mobile-OTP.
pub fn of_key(key: &[u8], algorithm: Algorithm) -> Option<String> {
    let bits = 8 * key.len();
    match (algorithm, key) {
        (Algorithm::Hotp(_), _) if key.len() < KEY_LEN_LEAST => {
            Some(format!("a key of {bits} bits can be guessed; RFC 4226 requires at least 128"))
        }
        (Algorithm::Motp, _) if key.len() < KEY_LEN_LEAST_OF_MOTP => {
            Some(format!("a key of {bits} bits can be guessed; Mobile-OTP uses at least 64"))
        }
        (_, [first, rest @ ..]) if rest.iter().all(|byte| byte == first) => {
            Some("all bytes of the key are the same: it can be guessed".to_owned())
        }
        _ => None,
    }
}

/// Whether it was meant to be `-`.
pub fn is_other_dash(pin: &[u8]) -> bool {
    str::from_utf8(pin).is_ok_and(|text| OTHER_DASHES.contains(&text))
}

/// Why a literal PIN is hardly meant.
pub fn of_pin(pin: &[u8]) -> Option<&'static str> {
    // A character has up to four bytes.
    if pin.len() >= 4 * PIN_LEN_LEAST {
        return None;
    }
    if is_other_dash(pin) {
        return Some("the PIN looks like - but is another character: only - itself means no PIN");
    }
    let len = str::from_utf8(pin).map_or(pin.len(), |text| text.chars().count());
    (len < PIN_LEN_LEAST).then_some("a PIN of fewer than 4 characters is easily guessed")
}

/// Why a name can't log in, or only with some clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NameError {
    /// HTTP Basic ends the name there (RFC 7617), Digest can't tell it from the realm (RFC 7616).
    Colon,
    /// Other clients send other bytes for it.
    NotUtf8,
}

/// What is wrong with a name.
pub fn of_name(name: &[u8]) -> Option<NameError> {
    if memchr::memchr(b':', name).is_some() {
        return Some(NameError::Colon);
    }
    (!name.is_ascii() && str::from_utf8(name).is_err()).then_some(NameError::NotUtf8)
}

impl NameError {
    /// For an admin.
    pub fn as_str(self) -> &'static str {
        match self {
            NameError::Colon => {
                "the name contains a colon, where HTTP ends a name: nobody can log in with it"
            }
            NameError::NotUtf8 => {
                "the name isn't UTF-8, which browsers send: to the server, theirs is a different name"
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::otp::Hash;

    #[test]
    fn near_misses_of_types_have_a_right_form() {
        for (field, meant) in [
            ("TOTP", "HOTP/T30/6"),
            ("totp/60/8", "HOTP/T60/8"),
            ("TOTP-SHA-256", "HOTP-SHA256/T30/6"),
            ("HOTP/T", "HOTP/T30/6"),
            ("HOTP/T/8", "HOTP/T30/8"),
            ("HOTP/30", "HOTP/T30/6"),
            ("HOTP/T30s", "HOTP/T30/6"),
            ("HOTP/6/T30", "HOTP/T30/6"),
            ("HOTP/", "HOTP/E/6"),
            ("hotp-sha-256", "HOTP-SHA256/E/6"),
            ("HOTP_SHA512/T30", "HOTP-SHA512/T30/6"),
            ("HOTP-SHA1/T30/8", "HOTP/T30/8"),
            ("HOTP/SHA256/T30", "HOTP-SHA256/T30/6"),
            ("off:TOTP", "OFF:HOTP/T30/6"),
            ("e", "HOTP/E/6"),
            ("t", "HOTP/T30/6"),
            ("T60", ""),
            ("mOTP/T", "MOTP/T10/6"),
            ("Mobile-OTP", "MOTP/T10/6"),
            ("HOTP/T30/12", ""),
            ("HOTP/T0", ""),
            ("HOTP/E/0", ""),
            ("HOTP/T99999999999", ""),
            ("alice", ""),
            ("", ""),
        ] {
            assert_eq!(type_meant(field.as_bytes()).unwrap_or_default(), meant, "{field}");
        }
        assert_eq!(type_meant(b"HOTP\xff"), None);
    }

    #[test]
    fn base32_is_told_from_what_no_prefix_makes_a_key() {
        assert!(is_base32_without_its_prefix(b"GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ"));
        assert!(is_base32_without_its_prefix(b"gezdgnbvgy3tqojq===="));
        for other in ["secret", "not!base32", "GEZDGNBVGY3TQOJ0", "base32:GEZDGNBV"] {
            assert!(!is_base32_without_its_prefix(other.as_bytes()), "{other}");
        }
    }

    #[test]
    fn short_keys_and_keys_of_like_bytes_can_be_guessed() {
        let hotp = Algorithm::Hotp(Hash::Sha1);
        assert!(of_key(&[1, 2, 3], hotp).unwrap().contains("24 bits"));
        assert!(of_key(&[7; 15], hotp).unwrap().contains("120 bits"));
        assert!(of_key(&[7; 20], hotp).unwrap().contains("the same"));
        assert_eq!(of_key(b"0123456789abcdef", hotp), None);
        assert!(of_key(b"0123456", Algorithm::Motp).unwrap().contains("56 bits"));
        assert_eq!(of_key(b"01234567", Algorithm::Motp), None);
    }

    #[test]
    fn dashes_of_other_kinds_and_short_pins_are_hardly_meant() {
        for dash in ["–", "—", "−", "‐", "-\u{ad}"] {
            assert!(of_pin(dash.as_bytes()).is_some(), "{dash}");
        }
        assert!(of_pin("−".as_bytes()).unwrap().contains("looks like -"));
        for short in ["1", "123", "äöü", "--"] {
            assert!(of_pin(short.as_bytes()).unwrap().contains("fewer than 4"), "{short}");
        }
        for pin in ["1234", "äöüß", "𝟙𝟚𝟛𝟜", "–––––"] {
            assert_eq!(of_pin(pin.as_bytes()), None, "{pin}");
        }
    }

    #[test]
    fn names_that_http_cannot_carry_are_told() {
        for (name, error) in [
            (&b"alice"[..], None),
            ("josé".as_bytes(), None),
            (b"jos\xe9", Some(NameError::NotUtf8)),
            (b"alice:x", Some(NameError::Colon)),
        ] {
            assert_eq!(of_name(name), error);
        }
    }
}
