//! Log lines: levels, and how untrusted bytes are shown in them.

use std::fmt;

/// How grave a line is; numbered as in syslog(3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(i32)]
pub enum Level {
    /// Something is broken and logins suffer.
    Error = 3,
    /// Something is likely to be a mistake.
    Warning = 4,
    /// A refused login.
    Notice = 5,
    /// A granted login.
    Info = 6,
    /// For whoever looks into a problem.
    Debug = 7,
}

/// Where log lines go.
pub trait Log {
    /// Writes one line: printable ASCII, no line end.
    fn log(&self, level: Level, message: fmt::Arguments<'_>);
}

/// Bytes in quotes, everything but plain printable ASCII as `\xHH`: no client can forge a line with its name.
pub struct Quoted<'a>(pub &'a [u8]);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("\"")?;
        for &byte in self.0 {
            match byte {
                b'"' | b'\\' => write!(f, "\\x{byte:02x}")?,
                b' '..=b'~' => write!(f, "{}", char::from(byte))?,
                _ => write!(f, "\\x{byte:02x}")?,
            }
        }
        f.write_str("\"")
    }
}

#[cfg(test)]
mod tests {
    use super::Quoted;

    #[test]
    fn names_cannot_leave_their_quotes() {
        assert_eq!(Quoted(b"al ice").to_string(), "\"al ice\"");
        assert_eq!(Quoted(b"a\"b\\c\n\xff\x7f").to_string(), r#""a\x22b\x5cc\x0a\xff\x7f""#);
    }
}
