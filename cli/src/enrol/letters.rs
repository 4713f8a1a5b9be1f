//! The file from which letters are printed or mailed: a table with a heading, which word processors
//! and scripts read.

use zeroize::Zeroizing;

use crate::exchange::csv;

/// What spreadsheets separate fields by, whatever this table does.
const SEPARATORS: &[u8] = b",;\t\r\n";

pub struct Letters {
    text: Zeroizing<Vec<u8>>,
    separator: u8,
    /// Fields that were changed, since a spreadsheet would have computed them.
    pub defused: usize,
}

impl Letters {
    pub fn new(separator: u8) -> Letters {
        Letters { text: Zeroizing::new(Vec::new()), separator, defused: 0 }
    }

    pub fn text(&self) -> &[u8] {
        &self.text
    }

    pub fn push<'f>(&mut self, fields: impl Iterator<Item = &'f [u8]>) {
        for (i, field) in fields.enumerate() {
            if i > 0 {
                self.text.push(self.separator);
            }
            let safe = as_text(field);
            self.defused += usize::from(safe.is_some());
            csv::push_field(&mut self.text, safe.as_deref().unwrap_or(field), self.separator);
        }
        self.text.push(b'\n');
    }
}

/// A field as spreadsheets take it for text, with `'` before what they would take for a formula;
/// `None`: as it is. That may stand behind any separator: who opens a table is asked which one it
/// has.
fn as_text(field: &[u8]) -> Option<Vec<u8>> {
    let mut safe = Vec::with_capacity(field.len() + 1);
    let mut rest = field;
    loop {
        let end = rest.iter().position(|b| SEPARATORS.contains(b)).unwrap_or(rest.len());
        let start =
            rest[..end].iter().take_while(|b| b.is_ascii_whitespace() || **b == b'"').count();
        safe.extend_from_slice(&rest[..start]);
        if is_formula(&rest[start..end]) {
            safe.push(b'\'');
        }
        // With its separator, if there is one.
        let next = rest.len().min(end + 1);
        safe.extend_from_slice(&rest[start..next]);
        if end == rest.len() {
            break;
        }
        rest = &rest[next..];
    }
    (safe.len() > field.len()).then_some(safe)
}

/// Signs in the usual and in full width. What consists of digits is a number of a telephone, or one
/// that a spreadsheet may compute.
fn is_formula(text: &[u8]) -> bool {
    const ALWAYS: [&[u8]; 4] = [b"=", b"@", "＝".as_bytes(), "＠".as_bytes()];
    const SIGNS: [&[u8]; 4] = [b"+", b"-", "＋".as_bytes(), "－".as_bytes()];
    let is_of_number = |b: &u8| b.is_ascii_digit() || b" ()./-".contains(b);
    ALWAYS.iter().any(|sign| text.starts_with(sign))
        || SIGNS
            .iter()
            .any(|sign| text.strip_prefix(*sign).is_some_and(|rest| !rest.iter().all(is_of_number)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(fields: &[&str]) -> (String, usize) {
        let mut letters = Letters::new(b',');
        letters.push(fields.iter().map(|field| field.as_bytes()));
        (String::from_utf8(letters.text.to_vec()).unwrap(), letters.defused)
    }

    #[test]
    fn what_a_spreadsheet_would_compute_is_written_as_text() {
        for (field, written) in [
            ("=1+1", "'=1+1"),
            ("@SUM(A1)", "'@SUM(A1)"),
            ("+cmd|' /C calc'!A0", "'+cmd|' /C calc'!A0"),
            ("-2+3+x", "'-2+3+x"),
            ("＝1", "'＝1"),
            ("－x", "'－x"),
            (" =1", "\" '=1\""),
            ("\"=1\"", "\"\"\"'=1\"\"\""),
            ("a;=1", "a;'=1"),
            ("a,=1", "\"a,'=1\""),
            ("a\t @x;+y", "a\t '@x;'+y"),
        ] {
            assert_eq!(line(&[field]), (format!("{written}\n"), 1), "{field}");
        }
    }

    #[test]
    fn everything_else_stays_as_it_is() {
        for field in [
            "",
            "alice",
            "a=b",
            "a@example.com",
            "+49 (171) 123-45",
            "-5.0",
            "-",
            "+",
            "Jos\u{e9}",
            "'x",
            "http://x/?a=b",
        ] {
            assert_eq!(line(&[field]), (format!("{field}\n"), 0), "{field}");
        }
        assert_eq!(line(&["a,b", "c\"d", " e"]).0, "\"a,b\",\"c\"\"d\",\" e\"\n");
    }
}
