//! When two spellings are one name to somebody less strict than we are.
//!
//! Names are compared byte for byte here. A directory behind us may fold case, compatibility forms,
//! accents or what it can't show, and would then let a listed user in under a spelling that isn't
//! listed: without a code. So names have a key, and names of one key are *twins*.

use std::borrow::Cow;

use unicode_normalization::char::is_combining_mark;
use unicode_normalization::{IsNormalized, UnicodeNormalization as _, is_nfkc_quick};
use unicode_script::{Script, UnicodeScript as _};

use crate::characters::is_invisible;

/// Of Unicode, of all who have a part in keys: other versions may give other keys. Later ones are
/// greater.
pub(super) const UNICODE_VERSION: u64 = {
    const fn packed(major: u64, minor: u64, update: u64) -> u64 {
        (major << 14) | (minor << 7) | update
    }
    let (normal, case) = (unicode_normalization::UNICODE_VERSION, char::UNICODE_VERSION);
    let script = unicode_script::UNICODE_VERSION;
    (packed(normal.0 as u64, normal.1 as u64, normal.2 as u64) << 42)
        | (packed(script.0, script.1, script.2) << 21)
        | packed(case.0 as u64, case.1 as u64, case.2 as u64)
};

/// Passes until nothing changes any more; two do but for the oddest names.
const PASSES_MAX: u32 = 8;

/// Characters that no pass drops in the key of a name of 255 bytes: at most six a byte (U+FDFA),
/// however it folds. Who sends more is kept from having them all looked at.
const BASES_MAX: usize = 2048;

/// What all twins of a name have in common: NFKD; without default-ignorable characters and, on
/// Latin, Greek and Cyrillic letters, combining marks; full case folding; NFKC; without blanks
/// around it, an empty part after `@` and one before a backslash. A name that isn't UTF-8 is read
/// as Latin-1. The key of a key is the key.
pub fn key(name: &[u8]) -> Cow<'_, [u8]> {
    if name.is_ascii() {
        let bare = bare_ascii(name);
        return match bare.iter().any(u8::is_ascii_uppercase) {
            true => Cow::Owned(bare.to_ascii_lowercase()),
            false => Cow::Borrowed(bare),
        };
    }
    let mut text = match str::from_utf8(name) {
        Ok(text) => text.to_owned(),
        Err(_) => name.iter().map(|&byte| char::from(byte)).collect(),
    };
    for _ in 0..PASSES_MAX {
        match pass(&text) {
            Some(next) if next == text => break,
            Some(next) => text = next,
            None => return Cow::Borrowed(name),
        }
    }
    Cow::Owned(text.into_bytes())
}

/// `None`: too long to be the key of a listed name, or of a twin of one.
fn pass(text: &str) -> Option<String> {
    let mut folded = String::with_capacity(text.len());
    let (mut base, mut bases) = (None, 0);
    for c in text.nfkd().filter(|&c| !is_invisible(c)) {
        if !is_combining_mark(c) {
            base = Some(c);
            bases += usize::from(!matches!(c, ' ' | '@' | '\\'));
            if bases > BASES_MAX {
                return None;
            }
        } else if base.is_some_and(loses_marks) {
            continue;
        }
        fold(c, &mut folded);
    }
    let composed = match is_nfkc_quick(folded.chars()) {
        IsNormalized::Yes => folded,
        _ => folded.nfkc().collect(),
    };
    Some(bare(&composed).to_owned())
}

/// Vowel signs and voicing marks of other scripts make other letters.
fn loses_marks(base: char) -> bool {
    matches!(base.script(), Script::Latin | Script::Greek | Script::Cyrillic)
}

/// Full case folding, as far as equality goes: what folds alike are the characters with one lower
/// case of their upper case (Unicode 5.18), but for the dotless i.
fn fold(c: char, to: &mut String) {
    match c {
        _ if c.is_ascii() => to.push(c.to_ascii_lowercase()),
        // Common, and slow to look up.
        '\u{430}'..='\u{45f}' | '\u{131}' => to.push(c),
        _ => to.extend(c.to_lowercase().flat_map(char::to_uppercase).flat_map(char::to_lowercase)),
    }
}

/// Without what counts as nothing.
fn bare(mut text: &str) -> &str {
    loop {
        let trimmed = text.trim().trim_end_matches('@').trim_start_matches('\\');
        if trimmed.len() == text.len() {
            return text;
        }
        text = trimmed;
    }
}

fn bare_ascii(name: &[u8]) -> &[u8] {
    match name {
        [first, .., last] if first.is_ascii_alphanumeric() && last.is_ascii_alphanumeric() => name,
        _ => str::from_utf8(name).map_or(name, |text| bare(text).as_bytes()),
    }
}

#[cfg(test)]
mod tests {
    use icu_casemap::CaseMapper;
    use icu_properties::CodePointSetData;
    use icu_properties::props::DefaultIgnorableCodePoint;
    use proptest::prelude::*;

    use super::*;
    use crate::characters::is_default_ignorable;

    fn are_twins(one: impl AsRef<[u8]>, other: impl AsRef<[u8]>) -> bool {
        key(one.as_ref()) == key(other.as_ref())
    }

    #[test]
    fn spellings_that_a_directory_may_take_for_one_name_are_twins() {
        for (one, other) in [
            ("alice", "Alice"),
            ("alice", "ALICE"),
            ("alice", " alice\u{3000}"),
            ("alice", "\u{a0}alice\u{85}"),
            ("alice", "\u{ff41}\u{ff4c}\u{ff49}\u{ff43}\u{ff45}"), // fullwidth
            ("alice", "\u{ff21}lice"),
            ("alice", "\u{24d0}\u{24db}\u{24d8}\u{24d2}\u{24d4}"), // circled
            ("alice", "\u{24b6}lice"),
            ("alice", "\u{1d41a}\u{1d425}\u{1d422}\u{1d41c}\u{1d41e}"), // mathematical bold
            ("alice", "\u{1d400}\u{1d4c1}\u{1d5c2}\u{1d68c}\u{1d58a}"),
            ("alice", "al\u{80}ice"),   // a control character
            ("alice", "al\u{1806}ice"), // a Mongolian hyphen
            ("alice", "al\u{fffc}ice"), // stands for an object
            ("alice", "al\u{ad}ice"),   // soft hyphen
            ("alice", "al\u{200d}ice"), // zero-width joiner
            ("alice", "\u{feff}alice\u{200b}"),
            ("alice", "alice\u{fe0f}\u{e0100}"), // variation selectors
            ("alice", "\u{202e}alice\u{202c}"),
            ("alice", "a\u{34f}lice\u{e0041}"),
            ("alice", "a\u{3164}lice"), // Hangul filler
            ("alice", "a\u{301}\u{34f}\u{327}lice"),
            ("alice", "a\u{20dd}lice"), // enclosing circle
            ("alice", "\u{e1}lice"),
            ("alice", "al\u{130}ce"),
            ("alice", "al\u{2170}ce"), // small Roman numeral
            ("alice", "ali\u{1d9c}e"), // modifier letter
            ("jos\u{e9}", "jose"),
            ("jos\u{e9}", "JOSE\u{301}"),
            ("jos\u{e9}", "jose\u{301}"),
            ("jos\u{e9}", "jos\u{1eb9}"),
            ("\u{419}\u{43e}\u{440}", "\u{438}\u{43e}\u{440}"), // И with and without breve
            ("\u{451}\u{436}", "\u{415}\u{416}"),
            ("\u{45c}\u{40e}", "\u{43a}\u{443}"),
            ("\u{3ac}\u{3bb}\u{3c6}\u{3b1}\u{3c2}", "\u{391}\u{39b}\u{3a6}\u{391}\u{3a3}"), // ΑΛΦΑΣ
            ("\u{1fb3}", "\u{3b1}"), // iota subscript
            ("stra\u{df}e", "strasse"),
            ("stra\u{df}e", "STRA\u{1e9e}E"),
            ("\u{fb01}ona", "Fiona"), // ligatures
            ("\u{fb03}", "ffi"),
            ("\u{130}brahim", "ibrahim"),
            ("\u{149}", "\u{2bc}N"),
            ("\u{17f}ara", "SARA"), // long s
            ("\u{212a}elvin", "kelvin"),
            ("\u{212b}ke", "ake"),
            ("x\u{b2}", "x2"),
            ("\u{ff76}\u{ff9e}", "\u{30ac}"), // halfwidth katakana
            ("\u{ac00}", "\u{1100}\u{1161}"), // Hangul
            ("\u{13a0}", "\u{ab70}"),         // Cherokee
            ("\u{10d0}", "\u{1c90}"),         // Georgian
            ("\u{587}", "\u{535}\u{552}"),    // Armenian
            ("\u{5d0}\u{5b7}", "\u{fb2e}"),   // Hebrew, composed and not
            ("\u{958}", "\u{915}\u{93c}"),
            ("alice", "alice@"),
            ("alice", "ALICE@@ @"),
            ("alice", "alice\u{ff20}"),
            ("alice", "alice@\u{200b}"),
            ("alice", "\\alice"),
            ("alice", "\\ \u{ff3c}Alice"),
            ("alice@example.com", "Alice@EXAMPLE.com@"),
            ("corp\\alice", "\\CORP\\alice"),
        ] {
            assert!(are_twins(one, other), "{one:?} {other:?}");
        }
        // Bytes that are no UTF-8 are Latin-1, all of them.
        for (one, other) in [
            (&b"j\xf6rg"[..], "j\u{f6}rg"),
            (b"J\xd6RG", "jorg"),
            (b"stra\xdfe", "STRASSE"),
            (b"al\xadice", "alice"),
            (b"\xa0alice", "alice"),
            (b"\xc3\xa9\xe9", "\u{c3}\u{a9}\u{e9}"),
        ] {
            assert!(are_twins(one, other), "{} {other:?}", one.escape_ascii());
        }
    }

    #[test]
    fn other_names_are_no_twins() {
        for (one, other) in [
            ("alice", "alicf"),
            ("alice", "al ice"),
            ("alice", "alice1"),
            ("alice", "alice@example.com"),
            ("alice", "@alice"),
            ("alice", "alice\\"),
            ("alice", "corp\\alice"),
            ("alice@example.com", "alice@example.org"),
            ("alice", "\u{430}lice"), // Cyrillic а
            ("o", "\u{3bf}"),
            ("o", "\u{f8}"),
            ("l", "\u{142}"),
            ("d", "\u{111}"),
            ("ae", "\u{e6}"),
            ("i", "\u{131}"),
            ("ss", "s"),
            ("\u{438}", "\u{43d}"),
            ("\u{44c}", "\u{44a}"),
            ("\u{304b}", "\u{304c}"), // か が
            ("\u{30cf}", "\u{30d1}"), // ハ パ
            ("\u{30cf}", "\u{30d0}"),
            ("\u{915}", "\u{915}\u{93e}"),               // क का
            ("\u{915}\u{93f}", "\u{915}\u{940}"),        // कि की
            ("\u{915}\u{94d}\u{937}", "\u{915}\u{937}"), // virama
            ("\u{b95}\u{bc6}", "\u{b95}\u{bc7}"),        // Tamil
            ("\u{e01}\u{e34}", "\u{e01}\u{e35}"),        // Thai
            ("\u{5d0}\u{5b7}", "\u{5d0}\u{5b8}"),        // Hebrew points
            ("\u{627}", "\u{623}"),                      // Arabic hamza
            ("\u{1100}\u{1161}", "\u{1100}\u{1163}"),
            ("\u{ac00}", "\u{ac01}"),
            ("\u{4e00}", "\u{4e8c}"),
        ] {
            assert!(!are_twins(one, other), "{one:?} {other:?}");
        }
        assert!(!are_twins(b"j\xf6rg", "j\u{f8}rg"));
    }

    #[test]
    fn a_plain_name_is_its_own_key_and_nothing_is_allocated_for_it() {
        for name in ["alice", "alice@example.com", "corp\\alice", "a b", ""] {
            assert!(
                matches!(key(name.as_bytes()), Cow::Borrowed(key) if key == name.as_bytes()),
                "{name}"
            );
        }
        assert!(matches!(key(b"\\alice@ "), Cow::Borrowed(b"alice")));
    }

    #[test]
    fn the_longest_listed_name_has_a_key_and_longer_ones_are_not_looked_at_to_their_end() {
        let longest = "\u{fdfa}".repeat(85);
        assert!(are_twins(&longest, format!("{}{longest}@", "\u{ad}\u{fe0f}".repeat(3000))));
        assert!(are_twins("\u{df}".repeat(127), "s".repeat(254)));
        assert!(are_twins(
            "alice",
            format!("{}alice{}", "\\ ".repeat(3000), "\u{301}".repeat(3000))
        ));
        let longer = "\u{fdfa}".repeat(3000);
        assert_eq!(*key(longer.as_bytes()), *longer.as_bytes());
    }

    fn folded(text: &str) -> String {
        let mut to = String::new();
        text.chars().for_each(|c| fold(c, &mut to));
        to
    }

    #[test]
    fn case_folding_and_ignorable_characters_are_those_of_unicode() {
        let ignorable = CodePointSetData::new::<DefaultIgnorableCodePoint>();
        let mut later = Vec::new();
        for c in '\0'..=char::MAX {
            assert_eq!(is_default_ignorable(c), ignorable.contains(c), "{c:?}");
            let case = CaseMapper::new();
            let text = c.to_string();
            let (ours, theirs) = (folded(&text), case.fold_string(&text).into_owned());
            if ours == text && theirs != text && folded(&theirs) == theirs {
                // A pair that the standard library doesn't know yet.
                later.push(c);
                continue;
            }
            assert_eq!(folded(&theirs), ours, "{c:?}: what folds alike in Unicode does here");
            assert_eq!(case.fold_string(&ours), theirs, "{c:?}: and nothing else does");
        }
        assert!(later.len() < 100 && later.iter().all(|&c| c > '\u{a000}'), "{later:?}");
    }

    #[test]
    fn the_key_of_every_character_is_its_own_key() {
        for c in '\0'..=char::MAX {
            let name = c.to_string();
            let once = key(name.as_bytes());
            assert_eq!(key(&once), once, "{c:?}");
        }
    }

    /// Characters that have something to do with each other.
    fn odd() -> impl Strategy<Value = String> {
        let ranges = prop_oneof![
            4 => prop::char::range(' ', '\u{24f}'),
            2 => prop::char::range('\u{250}', '\u{52f}'),
            2 => prop::char::range('\u{300}', '\u{370}'),
            1 => prop::char::range('\u{900}', '\u{11ff}'),
            1 => prop::char::range('\u{1e00}', '\u{209f}'),
            1 => prop::char::range('\u{3000}', '\u{33ff}'),
            1 => prop::char::range('\u{f900}', '\u{ffff}'),
            1 => prop::char::range('\u{1d000}', '\u{1d7ff}'),
            2 => prop::sample::select(vec!['@', '\\', ' ', '\u{34f}', '\u{345}', '\u{131}', '\u{3099}', '\u{200d}']),
            1 => any::<char>(),
        ];
        prop::collection::vec(ranges, 0..12).prop_map(|chars| chars.into_iter().collect())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(20_000))]

        #[test]
        fn the_key_of_a_key_is_the_key(name in odd()) {
            let once = key(name.as_bytes());
            prop_assert_eq!(&key(&once), &once);
        }

        #[test]
        fn the_key_of_bytes_is_text_and_its_own_key(name in prop::collection::vec(any::<u8>(), 0..24)) {
            let once = key(&name);
            prop_assert!(str::from_utf8(&once).is_ok());
            prop_assert_eq!(&key(&once), &once);
        }

        #[test]
        fn twins_stay_twins_in_other_forms(name in odd()) {
            let of = |name: &str| key(name.as_bytes()).into_owned();
            let expected = of(&name);
            for other in [name.nfc().collect(), name.nfd().collect(), name.nfkc().collect(), name.nfkd().collect(),
                          format!("\u{ad}{name}@"), format!(" \\{name}\u{fe0f}")]
            {
                let other: String = other;
                prop_assert_eq!(&of(&other), &expected, "{:?}", other);
            }
        }
    }
}
