//! Log lines: levels, and how untrusted bytes are shown in them.

use std::fmt::{self, Write};

use crate::policy::Server;

/// How grave a line is. What number that is for a server, [`Level::number`] says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// Something is broken and logins suffer.
    Error,
    /// Something is likely to be a mistake.
    Warning,
    /// A refused login.
    Refusal,
    /// A name that is left to whoever decides next, if there is anybody.
    PassedOn,
    /// A granted login, and a code sent again by a browser that has remembered it.
    Info,
}

impl Level {
    /// The level of syslog(3) at which a server logs such lines. A refusal stands where the
    /// server's own password check puts its refusals, so that the configuration it comes with shows
    /// it.
    pub fn number(self, server: Server) -> i32 {
        match (self, server) {
            (Level::Error, _) | (Level::Refusal | Level::PassedOn, Server::Nginx) => 3,
            (Level::Warning, _) | (Level::Refusal, Server::Apache) => 4,
            // If nobody knows the name, httpd says so itself.
            (Level::Info, _) | (Level::PassedOn, Server::Apache) => 6,
        }
    }
}

/// Where log lines go.
pub trait Log {
    /// Writes one line: printable ASCII, no line end.
    fn log(&self, level: Level, message: fmt::Arguments<'_>);

    /// Whether lines of that level are written at all: if not, nobody has to put one together.
    fn wants(&self, level: Level) -> bool {
        let _ = level;
        true
    }
}

/// Bytes in quotes, everything but plain printable ASCII as `\xHH`: no client can forge a line with
/// its name.
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

/// A line as a server's log function takes it: printable ASCII, and for httpd the bytes that it
/// shows as `\xHH` by itself.
pub fn line(message: fmt::Arguments<'_>, server: Server) -> Vec<u8> {
    let mut line = String::with_capacity(160);
    // A path or a cause may hold anything.
    let _ = write!(Printable(&mut line), "{message}");
    match server {
        Server::Apache => unescaped_for_httpd(line.into_bytes()),
        Server::Nginx => line.into_bytes(),
    }
}

/// Lets printable ASCII through and shows everything else as `\xHH`.
struct Printable<'a>(&'a mut String);

impl Write for Printable<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for byte in text.bytes() {
            match byte {
                b' '..=b'~' => self.0.push(char::from(byte)),
                _ => write!(self.0, "\\x{byte:02x}")?,
            }
        }
        Ok(())
    }
}

/// httpd doubles each backslash that it is told to log, and shows bytes that aren't printable ASCII
/// as `\xHH` itself: what comes out that way is given to it as it is. Stays as it stands: what
/// httpd would show otherwise (`\n`), a NUL, at which it would stop, and quotes and backslashes.
fn unescaped_for_httpd(line: Vec<u8>) -> Vec<u8> {
    if !line.contains(&b'\\') {
        return line;
    }
    let mut out = Vec::with_capacity(line.len());
    let mut rest = &line[..];
    while let Some((&first, after)) = rest.split_first() {
        match escaped_byte(rest) {
            Some(byte) => {
                out.push(byte);
                rest = &rest[4..];
            }
            None => {
                out.push(first);
                rest = after;
            }
        }
    }
    out
}

fn escaped_byte(text: &[u8]) -> Option<u8> {
    let [b'\\', b'x', high, low, ..] = *text else { return None };
    let digit = |digit: u8| match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    };
    let byte = digit(high)? << 4 | digit(low)?;
    let has_a_letter = matches!(byte, 0 | 8..=11 | 13);
    (!has_a_letter && !matches!(byte, b' '..=b'~')).then_some(byte)
}

#[cfg(test)]
mod tests {
    use super::{Quoted, unescaped_for_httpd};

    #[test]
    fn names_cannot_leave_their_quotes() {
        assert_eq!(Quoted(b"al ice").to_string(), "\"al ice\"");
        assert_eq!(Quoted(b"a\"b\\c\n\xff\x7f").to_string(), r#""a\x22b\x5cc\x0a\xff\x7f""#);
    }

    #[test]
    fn httpd_gets_what_it_shows_escaped_and_nothing_else() {
        let given = |line: &str| unescaped_for_httpd(line.as_bytes().to_vec());
        assert_eq!(given(r#"user "Jos\xc3\xa9 \x1b[2J\x7f""#), b"user \"Jos\xc3\xa9 \x1b[2J\x7f\"");
        for same in [r"\x0a\x0d\x09\x00\x08\x0b", r"\x22\x5c\x41", r"\xC3 \xg0 \x", "plain"] {
            assert_eq!(given(same), same.as_bytes());
        }
    }
}
