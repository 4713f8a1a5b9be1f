//! PIN files and group files.

use std::collections::BTreeMap;
use std::fs::{self, File};

use otpgate::groups;
use otpgate::pin::HashedPin;
use otpgate::pin::entry::PinEntry;
use otpgate::pin::file::{entry_of, for_each_entry};

use super::directory;

pub const PIN_WORDS: &[&str] = &[
    "alice:",
    "bob:",
    ":",
    "#",
    "\n",
    "\r\n",
    "$apr1$",
    "$apr1$r31.....$HqJZimcKQFAMYayBlzkrA/",
    "{SHA}",
    "{SHA}qUqP5cyxm6YcTAhz05Hph5gvu9M=",
    "{SSHA}",
    "{PLAIN}4711",
    "$2y$05$",
    "$2b$10$",
    "$5$rounds=1000$",
    "$6$",
    "$argon2id$v=19$m=19456,t=2,p=1$",
    "$argon2i$",
    "$argon2d$",
    "v=19",
    "m=65536",
    "p=1",
    "$",
    "4294967295",
];

pub const GROUP_WORDS: &[&str] = &[
    "admins:", " alice", " bob", "\\\n", "\"a b\"", "'c'", "\\\"", "#", ":", "\n", "\r\n", "\x0b",
    "\\",
];

/// A PIN file: the first entry of a name counts, whoever reads it, and costs no more than is
/// allowed.
pub fn pin_file(data: &[u8]) {
    let path = directory("pin_file").join("pins");
    fs::write(&path, data).expect("a file in memory");
    let mut first: BTreeMap<Vec<u8>, (u64, Option<Vec<u8>>)> = BTreeMap::new();
    let mut before = 0;
    for_each_entry(&File::open(&path).expect("a file"), |number, name, field| {
        assert!(number > before, "in order");
        before = number;
        assert!(!name.contains(&b'\n') && !name.contains(&b':'));
        first.entry(name.to_vec()).or_insert_with(|| (number, field.map(<[u8]>::to_vec)));
    })
    .expect("a file in memory");
    for (name, (number, field)) in first.iter().take(4) {
        let found = entry_of(&path, name).expect("a file in memory").expect("it has an entry");
        assert_eq!(found.0, *number);
        let Some(field) = field else {
            assert!(found.1.is_err());
            continue;
        };
        assert_eq!(found.1, PinEntry::parse(field));
        if let Some(Ok(hashed)) = HashedPin::parse(field) {
            assert_eq!(hashed.text(), field);
            assert!(PinEntry::parse(field).is_ok());
        }
        let is_cheap = [&b"{"[..], b"$apr1$"].iter().any(|form| field.starts_with(form));
        if let (true, Ok(entry)) = (is_cheap, &found.1) {
            let of_plain = field.strip_prefix(b"{PLAIN}");
            assert_eq!(
                entry.is_of(b"not the PIN of anybody"),
                of_plain == Some(b"not the PIN of anybody")
            );
            assert!(of_plain.is_none_or(|pin| entry.is_of(pin)));
            assert!(!entry.is_of(b"") || of_plain.is_none());
        }
    }
    assert_eq!(entry_of(&path, b"nobody of that name").expect("a file"), None);
}

/// A group file: a group is found that has a line, and no other.
pub fn group_file(data: &[u8]) {
    let path = directory("group_file").join("groups");
    fs::write(&path, data).expect("a file in memory");
    let looked =
        groups::look_at(&path, &[b"admins", b"nobody of that name"]).expect("a file in memory");
    assert!(
        looked
            .found
            .iter()
            .all(|group| [&b"admins"[..], b"nobody of that name"].contains(&&group[..]))
    );
    let lines = data.iter().filter(|&&b| b == b'\n').count() as u64 + 1;
    assert!(looked.without_group.iter().all(|number| (1..=lines).contains(number)));
    assert!(looked.without_group.is_sorted());
    let is_there =
        |name: &[u8]| data.windows(name.len()).any(|text| text == name) || data.contains(&b'\\');
    assert!(looked.found.iter().all(|group| is_there(group)));
}
