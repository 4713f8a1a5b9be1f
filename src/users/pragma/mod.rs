//! Lines for us alone: `#@ KIND …`. Older software takes them for comments. Pure: what a line says,
//! not what comes of it.
//!
//! ```text
//! #@ limits max_failures=10 lockout=60,3600 max_offset=4 max_linger=600 max_idle=300 throttle=20,600   (any of them)
//! #@ allow apps trusted-networks=192.0.2.0/24,2001:db8::/32 trusted-computer=30                        (any of them)
//! #@ apart USER
//! #@ start-pin USER 2026-12-01
//! #@ app USER NAME sha256:SALT:SUM used=2026-12-01T08Z path=/dav/,/cal/ methods=GET,PUT until=2027-01-31 (the last four may be missing)
//! #@ trust USER 192.0.2.0/24,2001:db8::/32
//! #@ always USER apps pin                                                                               (any of them)
//! #@ session USER PLACES                                                                              (of a fixed width)
//! #@ computer USER PLACES                                                                             (the same)
//! #@ free
//! ```
//!
//! Parsed strictly: a line that only looks right would leave an admin with a limit that isn't
//! there. Where a kind is about a user, that is the word after the kind, percent-encoded.

mod places;
mod ways;

use std::fmt;
use std::ops::Range;

use jiff::civil::Date;

pub use self::places::{
    LINE_PLACES, Placed, Places, emptied, fingerprint_of_places, is_room, places_line, places_of,
    places_word, without_tokens,
};
pub use self::ways::{
    always_lines, app_line, trust_line, until_code_line, used_hour, written_hour,
};
use super::line;
use super::record::USER_MAX;
use crate::files::lines;
use crate::network::Network;
use crate::policy::{Allow, Limits};
use crate::token::{Always, AppPassword, Computer, Session};

/// A line is shorter, so that mod_authn_otp reads it whole.
pub const LEN_END: usize = 1000;
const MARK: &[u8] = b"#@";

/// What such a line says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pragma {
    /// What binds every policy that the file is used with.
    Limits(Limits),
    /// What may let somebody in without a code.
    Allow(Allow),
    /// Room for a line that a server adds: nothing but padding.
    Free,
    /// A name that isn't listed and only looks like a listed one belongs to somebody else.
    Apart(Vec<u8>),
    /// A user's PIN was made for them on this day, and is waiting to be changed. Decides nothing.
    StartPin(Vec<u8>, Date),
    /// A password of a program of the user's.
    App(Vec<u8>, AppPassword),
    /// From where the user's PIN alone is enough.
    Trust(Vec<u8>, Vec<Network>),
    /// Where the user needs a code whatever is allowed.
    Always(Vec<u8>, Always),
    /// Logins that browsers of a user's keep; `None`: it may be half written, and holds none.
    Session(Vec<u8>, Option<Places<Session>>),
    /// Computers on which a user's PIN is enough for a while; `None`: the same.
    Computer(Vec<u8>, Option<Places<Computer>>),
    /// Of a version that we don't know; kept as it is.
    Unknown,
}

/// The kinds of lines that we know.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)] // as in `Pragma`
pub enum PragmaKind {
    Limits,
    Allow,
    Free,
    Apart,
    StartPin,
    App,
    Trust,
    Always,
    Session,
    Computer,
}

impl PragmaKind {
    const ALL: [PragmaKind; 10] = [
        PragmaKind::Limits,
        PragmaKind::Allow,
        PragmaKind::Free,
        PragmaKind::Apart,
        PragmaKind::StartPin,
        PragmaKind::App,
        PragmaKind::Trust,
        PragmaKind::Always,
        PragmaKind::Session,
        PragmaKind::Computer,
    ];

    /// As written.
    pub fn name(self) -> &'static str {
        match self {
            PragmaKind::Limits => "limits",
            PragmaKind::Allow => "allow",
            PragmaKind::Free => "free",
            PragmaKind::Apart => "apart",
            PragmaKind::StartPin => "start-pin",
            PragmaKind::App => "app",
            PragmaKind::Trust => "trust",
            PragmaKind::Always => "always",
            PragmaKind::Session => "session",
            PragmaKind::Computer => "computer",
        }
    }

    /// Even if the rest of the line, or how the kind is written, is at fault. `None`: no such line,
    /// or of a kind that we don't know.
    pub fn of(line: &[u8]) -> Option<PragmaKind> {
        let word = &line[kind_word(line)?];
        PragmaKind::ALL.into_iter().find(|kind| kind.name().as_bytes().eq_ignore_ascii_case(word))
    }

    /// Whether it is about all logins on the file.
    pub fn concerns_everybody(self) -> bool {
        matches!(self, PragmaKind::Limits | PragmaKind::Allow)
    }

    /// Whether it is about the ways in of one user.
    pub fn is_about_ways(self) -> bool {
        self.has_places()
            || matches!(self, PragmaKind::App | PragmaKind::Trust | PragmaKind::Always)
    }

    /// Whether servers write over what it holds.
    pub fn has_places(self) -> bool {
        matches!(self, PragmaKind::Session | PragmaKind::Computer)
    }

    /// Whether it is about one user, and nothing to anybody whom the file doesn't list.
    pub fn is_for_the_listed(self) -> bool {
        self == PragmaKind::StartPin || self.is_about_ways()
    }

    fn is_about_a_user(self) -> bool {
        self == PragmaKind::Apart || self.is_for_the_listed()
    }

    fn outcome_of_fault(self) -> &'static str {
        match self {
            PragmaKind::Limits => "nobody can log in until it is corrected",
            PragmaKind::Allow => "it allows nothing until it is corrected",
            PragmaKind::App | PragmaKind::Trust => "it lets nobody in until it is corrected",
            PragmaKind::Always => "the user needs a code for everything until it is corrected",
            PragmaKind::Session => "it keeps no login until it is removed or corrected",
            PragmaKind::Computer => "it has no computer trusted until it is removed or corrected",
            PragmaKind::Free | PragmaKind::Apart | PragmaKind::StartPin => {
                "it has no effect until it is corrected"
            }
        }
    }
}

/// A line of a known kind that can't be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PragmaError {
    /// What it was meant to be.
    pub kind: PragmaKind,
    reason: String,
    closes_for_everybody: bool,
}

impl PragmaError {
    /// What comes of it.
    pub fn outcome(&self) -> &'static str {
        match self.closes_for_everybody {
            true => "everybody needs a code for everything until it is corrected",
            false => self.kind.outcome_of_fault(),
        }
    }
}

impl fmt::Display for PragmaError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#@ {}: {}", self.kind.name(), self.reason)
    }
}

impl std::error::Error for PragmaError {}

/// Whether a line is for us alone.
pub fn is_pragma(line: &[u8]) -> bool {
    line.starts_with(MARK)
}

/// What a line says, without its end. `None`: it isn't for us alone.
pub fn parse(line: &[u8]) -> Option<Result<Pragma, PragmaError>> {
    if !is_pragma(line) {
        return None;
    }
    Some(match PragmaKind::of(line) {
        Some(kind) => parse_as(kind, line).map_err(|reason| PragmaError {
            kind,
            reason,
            closes_for_everybody: closes_for_everybody(line),
        }),
        None => Ok(Pragma::Unknown),
    })
}

fn parse_as(kind: PragmaKind, line: &[u8]) -> Result<Pragma, String> {
    if line.len() >= LEN_END {
        return Err(format!("the line must be shorter than {LEN_END} bytes"));
    }
    if let Some(odd) = line.iter().find(|&&b| !b.is_ascii_graphic() && !lines::is_blank(b)) {
        return Err(format!("a byte isn't printable ASCII; in a name, write it as %{odd:02X}"));
    }
    let mut words = line::words(line).map(|word| &line[word]);
    if words.next() != Some(MARK) {
        return Err("there must be a blank before the kind".to_owned());
    }
    if words.next() != Some(kind.name().as_bytes()) {
        return Err("the kind must be in lower case, with a blank after it".to_owned());
    }
    match kind {
        PragmaKind::Limits => {
            Limits::parse(words).map(Pragma::Limits).map_err(|error| error.to_string())
        }
        PragmaKind::Allow => Allow::parse(words).map(Pragma::Allow),
        PragmaKind::Free => nothing_more(words).map(|()| Pragma::Free),
        PragmaKind::Apart => {
            let user = take_user(&mut words)?;
            nothing_more(words)?;
            Ok(Pragma::Apart(user))
        }
        PragmaKind::App => {
            let user = take_user(&mut words)?;
            ways::parse_app(words).map(|app| Pragma::App(user, app))
        }
        PragmaKind::Trust => {
            let user = take_user(&mut words)?;
            let networks = ways::parse_trust(&mut words)?;
            nothing_more(words)?;
            Ok(Pragma::Trust(user, networks))
        }
        PragmaKind::Always => {
            let user = take_user(&mut words)?;
            ways::parse_always(words).map(|always| Pragma::Always(user, always))
        }
        PragmaKind::Session => {
            let user = take_user(&mut words)?;
            let places = places::parse(&user, words.next().ok_or("the places are missing")?)?;
            nothing_more(words)?;
            Ok(Pragma::Session(user, places))
        }
        PragmaKind::Computer => {
            let user = take_user(&mut words)?;
            let places = places::parse(&user, words.next().ok_or("the places are missing")?)?;
            nothing_more(words)?;
            Ok(Pragma::Computer(user, places))
        }
        PragmaKind::StartPin => {
            let user = take_user(&mut words)?;
            let date = words.next().ok_or("the date is missing")?;
            nothing_more(words)?;
            Ok(Pragma::StartPin(user, parse_date(date)?))
        }
    }
}

/// A line that flags a user's PIN.
pub fn start_pin_line(user: &[u8], since: Date) -> String {
    format!("#@ {} {} {since}", PragmaKind::StartPin.name(), encode(user))
}

/// `2026-12-01` and nothing else that ISO 8601 allows.
fn parse_date(word: &[u8]) -> Result<Date, String> {
    let text = str::from_utf8(word).ok();
    let date =
        text.and_then(|text| text.parse().ok().filter(|date: &Date| date.to_string() == text));
    date.ok_or_else(|| format!("\"{}\" is not a day written like 2026-12-01", word.escape_ascii()))
}

fn take_user<'a>(words: &mut impl Iterator<Item = &'a [u8]>) -> Result<Vec<u8>, String> {
    let user = decode(words.next().ok_or("the user is missing")?)?;
    if user.len() > USER_MAX {
        return Err(format!("the user is longer than {USER_MAX} bytes"));
    }
    Ok(user)
}

fn nothing_more<'a>(mut words: impl Iterator<Item = &'a [u8]>) -> Result<(), String> {
    match words.next() {
        None => Ok(()),
        Some(word) => Err(format!("\"{}\" is one word too many", word.escape_ascii())),
    }
}

/// Where the kind stands, also if something else than blanks is around it: who can't see that
/// mustn't be left without their limits.
fn kind_word(line: &[u8]) -> Option<Range<usize>> {
    let rest = line.strip_prefix(MARK)?;
    let is_of_kind = |b: &u8| b.is_ascii_alphanumeric() || *b == b'-' || *b == b'_';
    let start = rest.iter().position(is_of_kind)?;
    let len = rest[start..].iter().position(|b| !is_of_kind(b)).unwrap_or(rest.len() - start);
    Some(start + MARK.len()..start + MARK.len() + len)
}

/// Where the user stands whom a line is about.
fn user_word(line: &[u8]) -> Option<Range<usize>> {
    PragmaKind::of(line).filter(|kind| kind.is_about_a_user())?;
    let end = kind_word(line)?.end;
    let word = line::words(&line[end..]).next()?;
    Some(word.start + end..word.end + end)
}

/// Whom a line is about, even if the rest of it is at fault. `None`: nobody, or it can't be read.
pub fn user_of(line: &[u8]) -> Option<Vec<u8>> {
    take_user(&mut [&line[user_word(line)?]].into_iter()).ok()
}

/// Whether a line is to close something for a user, and doesn't say for whom: it may be anybody.
pub fn closes_for_everybody(line: &[u8]) -> bool {
    PragmaKind::of(line) == Some(PragmaKind::Always) && !names_its_user(line)
}

/// Whether whoever sees the line sees the user whom we read in it.
fn names_its_user(line: &[u8]) -> bool {
    let (Some(kind), Some(user)) = (kind_word(line), user_word(line)) else { return false };
    let (before, after) = (&line[MARK.len()..kind.start], &line[kind.end..user.start]);
    let is_blank = |blanks: &[u8]| blanks.iter().all(|&b| lines::is_blank(b));
    let is_seen = |c: char| c.is_ascii_graphic() || c.is_alphanumeric();
    is_blank(before)
        && is_blank(after)
        && !after.is_empty()
        && user_of(line).is_some()
        && str::from_utf8(&line[user]).is_ok_and(|user| user.chars().all(is_seen))
}

/// A line that is about somebody, about another user instead; everything else stays byte for byte.
/// `None`: it is about nobody, or no blank is before the user: another name there could be a piece of
/// the kind, and with a blank a line would count that nobody has corrected.
pub fn with_user(line: &[u8], user: &[u8]) -> Option<Vec<u8>> {
    let word = user_word(line)?;
    if word.start == kind_word(line)?.end {
        return None;
    }
    Some([&line[..word.start], encode(user).as_bytes(), &line[word.end..]].concat())
}

/// A name as one word.
fn encode(name: &[u8]) -> String {
    let mut word = String::with_capacity(name.len());
    for &byte in name {
        match byte {
            b'!'..=b'~' if byte != b'%' => word.push(char::from(byte)),
            _ => word.push_str(&format!("%{byte:02X}")),
        }
    }
    word
}

fn decode(word: &[u8]) -> Result<Vec<u8>, String> {
    let mut name = Vec::with_capacity(word.len());
    let mut bytes = word.iter();
    while let Some(&byte) = bytes.next() {
        name.push(match byte {
            b'%' => {
                let mut digit = || char::from(*bytes.next()?).to_digit(16);
                let value = digit().zip(digit()).map(|(high, low)| (high * 16 + low) as u8);
                value.ok_or(
                    "in a name, % is followed by two hexadecimal digits; % itself is written %25",
                )?
            }
            _ => byte,
        });
    }
    Ok(name)
}

/// "#@ limits", even of a kind that we don't know.
pub fn title(line: &[u8]) -> String {
    let kind = kind_word(line).map(|word| &line[word]).unwrap_or_default();
    format!("#@ {}", kind.escape_ascii())
}

/// What stands after the kind, for people.
pub fn details(line: &[u8]) -> String {
    let rest = kind_word(line).map(|word| &line[word.end..]).unwrap_or_default();
    let words: Vec<String> =
        line::words(rest).map(|word| rest[word].escape_ascii().to_string()).collect();
    words.join(" ")
}

/// Limits, and those of one more line.
pub fn limits_with(limits: Limits, line: &[u8]) -> Result<Limits, PragmaError> {
    match parse(line) {
        Some(Ok(Pragma::Limits(more))) => Ok(limits.strictest(more)),
        Some(Err(error)) if error.kind == PragmaKind::Limits => Err(error),
        _ => Ok(limits),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(words: &str) -> Pragma {
        Pragma::Limits(Limits::parse(words.split(' ').map(str::as_bytes)).unwrap())
    }

    fn network(text: &str) -> Network {
        Network::parse(text.as_bytes()).unwrap()
    }

    #[test]
    fn lines_that_are_right() {
        let networks =
            vec![network("192.0.2.0/24"), network("2001:db8::/32"), network("0.0.0.0/0")];
        for (line, expected) in [
            ("#@ limits max_failures=5", limits("max_failures=5")),
            (
                "#@\tlimits  max_offset=4\x0blockout=60,3600 \r",
                limits("max_offset=4 lockout=60,3600"),
            ),
            ("#@ limits", Pragma::Limits(Limits::default())),
            ("#@ allow", Pragma::Allow(Allow::default())),
            ("#@ allow apps", Pragma::Allow(Allow { apps: true, ..Allow::default() })),
            (
                "#@ allow trusted-computer=30 trusted-networks=192.0.2.0/24,2001:db8::/32,0.0.0.0/0",
                Pragma::Allow(Allow {
                    apps: false,
                    trusted_networks: networks,
                    trusted_computer: std::num::NonZeroU32::new(30),
                }),
            ),
            (
                "#@ allow trusted-networks=::/0,2001:db8::7/128",
                Pragma::Allow(Allow {
                    trusted_networks: vec![network("::/0"), network("2001:db8::7/128")],
                    ..Allow::default()
                }),
            ),
            ("#@ free", Pragma::Free),
            ("#@ free                                  ", Pragma::Free),
            ("#@ apart jose", Pragma::Apart(b"jose".to_vec())),
            ("#@ apart Jos%C3%a9%20%25", Pragma::Apart("Jos\u{e9} %".into())),
            (
                "#@ start-pin Jos%C3%a9 2024-02-29",
                Pragma::StartPin("Jos\u{e9}".into(), jiff::civil::date(2024, 2, 29)),
            ),
            ("#@ sessions alice 30", Pragma::Unknown),
            ("#@", Pragma::Unknown),
            ("#@ limitations max_failures=x", Pragma::Unknown),
        ] {
            assert_eq!(parse(line.as_bytes()), Some(Ok(expected)), "{line}");
        }
        for line in ["", "#", "# @ limits", "# limits", "HOTP #@ - 00", " #@ limits"] {
            assert_eq!(parse(line.as_bytes()), None, "{line}");
        }
        let longest = format!("#@ limits max_failures=5{}", " ".repeat(999 - 24));
        assert!(parse(longest.as_bytes()).unwrap().is_ok());
    }

    #[test]
    fn lines_that_are_at_fault_say_why() {
        let allow = "is not one of apps, trusted-networks=NETWORK,NETWORK, trusted-computer=DAYS";
        let network = "is not a network like 192.0.2.0/24 or 2001:db8::/32";
        let hexadecimal =
            "in a name, % is followed by two hexadecimal digits; % itself is written %25";
        let date = |word| format!("start-pin: \"{word}\" is not a day written like 2026-12-01");
        for (line, reason) in [
            ("#@limits max_failures=5", "limits: there must be a blank before the kind".to_owned()),
            ("#@ Limits max_failures=5", "limits: the kind must be in lower case, with a blank after it".to_owned()),
            ("#@ limits: max_failures=5", "limits: the kind must be in lower case, with a blank after it".to_owned()),
            (
                "#@ limits\u{a0}max_failures=5",
                "limits: a byte isn't printable ASCII; in a name, write it as %C2".to_owned(),
            ),
            (
                "#@\u{a0}limits max_failures=5",
                "limits: a byte isn't printable ASCII; in a name, write it as %C2".to_owned(),
            ),
            (
                "#@ limits max_failures=5 max_failures=6",
                "limits: max_failures is given twice".to_owned(),
            ),
            (
                "#@ limits max_offset=\u{e9}",
                "limits: a byte isn't printable ASCII; in a name, write it as %C3".to_owned(),
            ),
            (
                "#@ limits\0",
                "limits: a byte isn't printable ASCII; in a name, write it as %00".to_owned(),
            ),
            ("#@ allow app", format!("allow: \"app\" {allow}")),
            ("#@ allow apps=yes", format!("allow: \"apps=yes\" {allow}")),
            ("#@ allow trusted-networks", format!("allow: \"trusted-networks\" {allow}")),
            ("#@ allow apps apps", "allow: apps is given twice".to_owned()),
            (
                "#@ allow trusted-networks=::/0 trusted-networks=::/0",
                "allow: trusted-networks is given twice".to_owned(),
            ),
            ("#@ allow trusted-networks=", format!("allow: trusted-networks: \"\" {network}")),
            ("#@ allow trusted-networks=::/0,", format!("allow: trusted-networks: \"\" {network}")),
            ("#@ allow trusted-networks=192.0.2.1", format!("allow: trusted-networks: \"192.0.2.1\" {network}")),
            ("#@ allow trusted-networks=1.2.3.4/33", format!("allow: trusted-networks: \"1.2.3.4/33\" {network}")),
            ("#@ allow trusted-networks=::/129", format!("allow: trusted-networks: \"::/129\" {network}")),
            ("#@ allow trusted-networks=::/+1", format!("allow: trusted-networks: \"::/+1\" {network}")),
            (
                "#@ allow trusted-networks=192.0.2.1/24",
                "allow: trusted-networks: \"192.0.2.1/24\" names an address in the network: bits after the first 24 must be 0"
                    .to_owned(),
            ),
            (
                "#@ allow trusted-computer=0",
                "allow: trusted-computer takes a number of days from 1 to 366, not \"0\"".to_owned(),
            ),
            (
                "#@ allow trusted-computer=4294967297",
                "allow: trusted-computer takes a number of days from 1 to 366, not \"4294967297\"".to_owned(),
            ),
            ("#@ free 1", "free: \"1\" is one word too many".to_owned()),
            ("#@ apart", "apart: the user is missing".to_owned()),
            ("#@ apart a b", "apart: \"b\" is one word too many".to_owned()),
            ("#@ start-pin", "start-pin: the user is missing".to_owned()),
            ("#@ start-pin alice", "start-pin: the date is missing".to_owned()),
            (
                "#@ start-pin alice 2026-12-01 2026-12-02",
                "start-pin: \"2026-12-02\" is one word too many".to_owned(),
            ),
            ("#@ start-pin alice 2026-02-29", date("2026-02-29")),
            ("#@ start-pin alice 20261201", date("20261201")),
            ("#@ start-pin alice 2026-12-01T09:00", date("2026-12-01T09:00")),
            ("#@ start-pin 2026-12-01 alice", date("alice")),
            ("#@ apart 100%", format!("apart: {hexadecimal}")),
            ("#@ apart %2", format!("apart: {hexadecimal}")),
            ("#@ apart %+1", format!("apart: {hexadecimal}")),
        ] {
            let parsed = parse(line.as_bytes()).unwrap().map_err(|error| error.to_string());
            assert_eq!(parsed, Err(format!("#@ {reason}")), "{line}");
        }
        for len in [LEN_END, 1 << 20] {
            let line = format!("#@ limits max_failures=5{}", " ".repeat(len - 24));
            let error = parse(line.as_bytes()).unwrap().unwrap_err();
            assert_eq!(error.to_string(), "#@ limits: the line must be shorter than 1000 bytes");
        }
        let name = |len: usize| format!("#@ apart {}", "%41".repeat(len));
        assert!(parse(name(255).as_bytes()).unwrap().is_ok());
        assert_eq!(
            parse(name(256).as_bytes()).unwrap().unwrap_err().to_string(),
            "#@ apart: the user is longer than 255 bytes"
        );
    }

    #[test]
    fn a_flag_that_is_written_is_read_again() {
        let since = jiff::civil::date(2026, 12, 1);
        for user in [&b"alice"[..], "Jos\u{e9} 100%".as_bytes(), b"#\xff", &[0xff; USER_MAX]] {
            let line = start_pin_line(user, since);
            let expected = Pragma::StartPin(user.to_vec(), since);
            assert_eq!(parse(line.as_bytes()), Some(Ok(expected)), "{line}");
        }
    }

    #[test]
    fn users_are_found_and_replaced_even_where_the_rest_is_at_fault() {
        for (line, user, renamed) in [
            ("#@ apart jose", Some(&b"jose"[..]), Some("#@ apart new%20%25")),
            ("#@  apart\tjos%65  \r", Some(b"jose"), Some("#@  apart\tnew%20%25  \r")),
            ("#@ apart jose and more", Some(b"jose"), Some("#@ apart new%20%25 and more")),
            ("#@apart jose", Some(b"jose"), Some("#@apart new%20%25")),
            // A name right behind it would make it another kind, and a blank what nobody has written.
            ("#@ apart:jose", Some(b":jose"), None),
            ("#@ trust:jose 192.0.2.0/24", Some(b":jose"), None),
            (
                "#@ start-pin jose 2026-12-01",
                Some(b"jose"),
                Some("#@ start-pin new%20%25 2026-12-01"),
            ),
            ("#@ start-pin jose soon", Some(b"jose"), Some("#@ start-pin new%20%25 soon")),
            ("#@ apart %", None, Some("#@ apart new%20%25")),
            ("#@ apart", None, None),
            ("#@ limits jose", None, None),
            ("#@ session jose x", Some(b"jose"), Some("#@ session new%20%25 x")),
            ("#@ sessions jose", None, None),
            ("#@ trust jose 192.0.2.0/24", Some(b"jose"), Some("#@ trust new%20%25 192.0.2.0/24")),
            ("# apart jose", None, None),
        ] {
            assert!(!closes_for_everybody(line.as_bytes()), "{line}");
            assert_eq!(user_of(line.as_bytes()).as_deref(), user, "{line}");
            let new = with_user(line.as_bytes(), b"new %");
            assert_eq!(new.as_deref(), renamed.map(str::as_bytes), "{line}");
        }
    }

    #[test]
    fn what_closes_something_and_does_not_say_for_whom_closes_it_for_everybody() {
        for (line, does) in [
            ("#@ always jose", false),
            ("#@ always jose nonsense", false),
            ("#@always jose", false),
            ("#@ ALWAYS jose", false),
            ("#@ always jos\u{e9}", false),
            ("#@ always jos%C3%A9", false),
            ("#@ always", true),
            ("#@ always: jose", true),
            ("#@ always:jose", true),
            ("#@ always\u{a0}jose", true),
            ("#@\u{a0}always jose", true),
            ("#@ always \u{feff}jose", true),
            ("#@ always jose\u{200b}", true),
            ("#@ always jose\0", true),
            ("#@ always 100%", true),
            ("#@ alway jose", false),
            ("# always", false),
        ] {
            assert_eq!(closes_for_everybody(line.as_bytes()), does, "{line}");
            let outcome = parse(line.as_bytes()).and_then(Result::err).map(|error| error.outcome());
            let is_said = outcome.is_some_and(|outcome| outcome.starts_with("everybody"));
            assert_eq!(is_said, does, "{line}: {outcome:?}");
        }
    }
}
