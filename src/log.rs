//! Log lines: levels, and how untrusted bytes are shown in them.

use std::fmt;

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
    /// The level of syslog(3) at which a server logs such lines. A refusal stands where the server's own password check
    /// puts its refusals, so that the configuration it comes with shows it.
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
