//! Values that a server gives to a browser and gets back: everyone can read them, and nobody else
//! can make one, or use one for something else.

use data_encoding::BASE64URL_NOPAD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

/// Seals a value for one purpose, bound to something that the browser shows as well when it gives
/// it back (or to nothing). The text needs no escaping, neither in HTML nor in a URL nor in a
/// cookie: letters, digits, `-`, `_` and one dot.
pub fn seal(key: &[u8; 32], purpose: &str, bound_to: &[u8], value: &[u8]) -> String {
    let mac = mac(key, purpose, bound_to, value);
    let mut text = BASE64URL_NOPAD.encode(value);
    text.push('.');
    BASE64URL_NOPAD.encode_append(&*mac, &mut text);
    text
}

/// The value of a text that was sealed with this key, for this purpose, bound to this.
pub fn open(key: &[u8; 32], purpose: &str, bound_to: &[u8], text: &[u8]) -> Option<Vec<u8>> {
    let dot = text.iter().position(|&b| b == b'.')?;
    let value = BASE64URL_NOPAD.decode(&text[..dot]).ok()?;
    let found = BASE64URL_NOPAD.decode(&text[dot + 1..]).ok()?;
    let expected = mac(key, purpose, bound_to, &value);
    bool::from(expected[..].ct_eq(&found)).then_some(value)
}

/// Each part with its length, so that none can take over a piece of the next.
fn mac(key: &[u8; 32], purpose: &str, bound_to: &[u8], value: &[u8]) -> Zeroizing<[u8; 32]> {
    let mut mac =
        <Hmac<Sha256> as KeyInit>::new_from_slice(key).expect("HMAC takes keys of any length");
    for part in [purpose.as_bytes(), bound_to, value] {
        mac.update(&(part.len() as u64).to_be_bytes());
        mac.update(part);
    }
    Zeroizing::new(mac.finalize().into_bytes().into())
}

#[cfg(test)]
mod tests {
    use super::{open, seal};

    const KEY: [u8; 32] = [7; 32];

    #[test]
    fn a_value_comes_back_as_it_was() {
        for value in [&b""[..], b"/area/page?x=1", b"\0\xff."] {
            let text = seal(&KEY, "to", b"cookie", value);
            assert_eq!(open(&KEY, "to", b"cookie", text.as_bytes()).as_deref(), Some(value));
            assert!(text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b)));
        }
        // Those who have pages open while the server is upgraded can still send them.
        assert_eq!(
            seal(&KEY, "to", b"cookie", b"/"),
            "Lw.DoOlPEGxylckulaVYbaANY9fQb2gvTq4DeW4LIyx1UE"
        );
    }

    #[test]
    fn nothing_else_opens_it() {
        let text = seal(&KEY, "to", b"cookie", b"/area");
        for (key, purpose, bound_to) in [
            ([8; 32], "to", &b"cookie"[..]),
            (KEY, "csrf", b"cookie"),
            (KEY, "to", b"other"),
            (KEY, "to", b""),
            (KEY, "toc", b"ookie"),
            (KEY, "", b"tocookie"),
        ] {
            assert_eq!(open(&key, purpose, bound_to, text.as_bytes()), None, "{purpose}");
        }
    }

    #[test]
    fn no_part_takes_over_a_piece_of_the_next() {
        let (_, mac) = seal(&KEY, "to", b"ab", b"c").split_once('.').map(owned).unwrap();
        let (value, _) = seal(&KEY, "to", b"a", b"bc").split_once('.').map(owned).unwrap();
        assert_eq!(open(&KEY, "to", b"a", format!("{value}.{mac}").as_bytes()), None);
    }

    fn owned((before, after): (&str, &str)) -> (String, String) {
        (before.to_owned(), after.to_owned())
    }

    #[test]
    fn a_text_that_was_touched_is_worth_nothing() {
        let text = seal(&KEY, "to", b"", b"/area");
        for at in 0..text.len() {
            for other in *b"AB._=" {
                let mut forged = text.clone().into_bytes();
                if forged[at] != other {
                    forged[at] = other;
                    assert_eq!(open(&KEY, "to", b"", &forged), None, "{at}");
                }
            }
        }
        let (value, mac) = text.split_once('.').unwrap();
        for text in [
            "",
            ".",
            value,
            mac,
            &text[1..],
            &text[..text.len() - 1],
            &format!("{text}A"),
            &format!("{text}="),
            &format!("{text}\n"),
            &format!(" {text}"),
            &format!("{value}."),
            &format!(".{mac}"),
            &format!("{value}.{mac}.{mac}"),
            &format!("{value}..{mac}"),
        ] {
            assert_eq!(open(&KEY, "to", b"", text.as_bytes()), None, "{text}");
        }
    }
}
