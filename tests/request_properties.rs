//! What holds for any cookie that is set and any form that is sent. What holds for bytes that
//! nobody has written is in `fuzz/`.

#[path = "common/proptest.rs"]
mod config;

use config::cases;
use otpgate::http::cookie;
use otpgate::http::form::{Form, MAX_FIELDS};
use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use proptest::sample::select;

/// Bytes in which the ones that mean something are frequent.
fn telling(special: &'static [u8]) -> impl Strategy<Value = Vec<u8>> {
    vec(prop_oneof![4 => select(special), 1 => any::<u8>()], 0..80)
}

proptest! {
    #![proptest_config(cases(4000))]

    #[test]
    fn a_cookie_that_is_set_is_one_line_and_is_read_again(
        value in telling(b"aZ09-_.=;,\"\\ \r\n\0"), is_secure: bool, max_age: Option<u32>,
    ) {
        let value = String::from_utf8_lossy(&value).into_owned();
        if let Some(header) = cookie::set("otpgate-x", &value, is_secure, max_age) {
            prop_assert!(header.bytes().all(|b| (b' '..=b'~').contains(&b)));
            let (pair, _) = header.split_once("; ").unwrap();
            prop_assert_eq!(cookie::values(pair.as_bytes(), "otpgate-x").collect::<Vec<_>>(), [value.as_bytes()]);
            prop_assert_eq!(header.matches(';').count(), 3 + usize::from(is_secure) + usize::from(max_age.is_some()));
        }
    }

    #[test]
    fn a_form_is_read_as_it_was_written(
        fields in btree_map("[a-z=&%+ ]{1,6}", vec(any::<u8>(), 0..40), 0..MAX_FIELDS)
    ) {
        let fields: Vec<(String, Vec<u8>)> = fields
            .into_iter()
            .map(|(name, mut value)| {
                value.retain(|b| !b.is_ascii_control());
                (name, value)
            })
            .collect();
        let escaped = |bytes: &[u8]| -> String {
            let escape = |b: &u8| match *b {
                b' ' => "+".to_owned(),
                b if b.is_ascii_alphanumeric() => char::from(b).to_string(),
                b => format!("%{b:02X}"),
            };
            bytes.iter().map(escape).collect()
        };
        let pairs: Vec<String> = fields
            .iter()
            .map(|(name, value)| format!("{}={}", escaped(name.as_bytes()), escaped(value)))
            .collect();
        let form = Form::parse(pairs.join("&").as_bytes()).unwrap();
        for (name, value) in &fields {
            prop_assert_eq!(form.get(name), Some(&value[..]));
        }
    }
}
