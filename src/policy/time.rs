//! Times, as each server's own directives spell them.

use super::Server;

/// How times are spelled, for messages. `None`: as numbers.
pub(super) fn examples(server: Option<Server>) -> Option<&'static str> {
    Some(match server? {
        Server::Apache => "such as 90, 10min or 1h",
        Server::Nginx => "such as 90, 10m or 1h30m",
    })
}

/// Seconds: a number alone, or with the server's units. Limits of the users file have none, as both
/// servers read them.
pub(super) fn seconds(word: &[u8], server: Option<Server>) -> Option<u32> {
    let seconds = match server {
        _ if is_number(word) => number(word),
        Some(Server::Nginx) => of_nginx(word, &NGINX[..7])?.checked_div(1000),
        Some(Server::Apache) => of_httpd(word, &HTTPD[1..])?.checked_div(1000),
        None => None,
    };
    seconds.and_then(|seconds| u32::try_from(seconds).ok())
}

/// Milliseconds: a number alone, or with the server's units.
pub(super) fn milliseconds(word: &[u8], server: Option<Server>) -> Option<u32> {
    let milliseconds = match server {
        _ if is_number(word) => number(word),
        // A number behind a unit is in seconds for nginx, which nobody would expect here.
        Some(Server::Nginx) if word.last().is_some_and(u8::is_ascii_digit) => None,
        Some(Server::Nginx) => of_nginx(word, &NGINX),
        Some(Server::Apache) => of_httpd(word, &HTTPD),
        None => None,
    };
    milliseconds.and_then(|milliseconds| u32::try_from(milliseconds).ok())
}

/// A unit, and how many milliseconds it has.
type Unit = (&'static [u8], u64);

/// Those of `ngx_parse_time()` (nginx, src/core/ngx_parse.c), largest first.
const NGINX: [Unit; 8] = [
    (b"y", 365 * 86_400_000),
    (b"M", 30 * 86_400_000),
    (b"w", 7 * 86_400_000),
    (b"d", 86_400_000),
    (b"h", 3_600_000),
    (b"m", 60_000),
    (b"s", 1000),
    (b"ms", 1),
];

/// Those of `ap_timeout_parameter_parse()` (httpd, server/util.c), which takes them in either case.
const HTTPD: [Unit; 4] = [(b"ms", 1), (b"s", 1000), (b"min", 60_000), (b"h", 3_600_000)];

fn is_number(word: &[u8]) -> bool {
    !word.is_empty() && word.iter().all(u8::is_ascii_digit)
}

fn number(digits: &[u8]) -> Option<u64> {
    str::from_utf8(digits).ok()?.parse().ok()
}

/// A number and what is behind it.
fn leading_number(word: &[u8]) -> Option<(u64, &[u8])> {
    let (digits, rest) =
        word.split_at(word.iter().position(|b| !b.is_ascii_digit()).unwrap_or(word.len()));
    Some((number(digits)?, rest))
}

/// Units in descending order, each at most once, blanks between them; what has none is in seconds.
fn of_nginx(word: &[u8], mut units: &[Unit]) -> Option<u64> {
    let (mut rest, mut total) = (word, 0u64);
    while !rest.is_empty() {
        let (number, behind) = leading_number(rest)?;
        let letters = behind.iter().position(|b| !b.is_ascii_alphabetic()).unwrap_or(behind.len());
        let (name, behind) = behind.split_at(letters);
        let scale = match name {
            b"" if behind.is_empty() => 1000,
            _ => {
                let at = units.iter().position(|(unit, _)| *unit == name)?;
                let (_, scale) = units[at];
                units = &units[at + 1..];
                scale
            }
        };
        total = total.checked_add(number.checked_mul(scale)?)?;
        let blanks = behind.iter().position(|&b| b != b' ').unwrap_or(behind.len());
        rest = &behind[blanks..];
    }
    (!word.is_empty()).then_some(total)
}

/// One number with one unit.
fn of_httpd(word: &[u8], units: &[Unit]) -> Option<u64> {
    let (number, name) = leading_number(word)?;
    let (_, scale) = units.iter().find(|(unit, _)| unit.eq_ignore_ascii_case(name))?;
    number.checked_mul(*scale)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_spelled_as_in_the_servers_own_directives() {
        let (apache, nginx, file) = (Some(Server::Apache), Some(Server::Nginx), None);
        for (word, in_apache, in_nginx, in_file) in [
            ("0", Some(0), Some(0), Some(0)),
            ("600", Some(600), Some(600), Some(600)),
            ("10s", Some(10), Some(10), None),
            ("10m", None, Some(600), None),
            ("10min", Some(600), None, None),
            ("10MIN", Some(600), None, None),
            ("1h", Some(3600), Some(3600), None),
            ("1H", Some(3600), None, None),
            ("2d", None, Some(172_800), None),
            ("1w", None, Some(604_800), None),
            ("1M", None, Some(2_592_000), None),
            ("1y", None, Some(31_536_000), None),
            ("1h30m", None, Some(5400), None),
            ("1h 30m 5s", None, Some(5405), None),
            ("1m30", None, Some(90), None),
            ("500ms", None, None, None),
            ("1s500ms", None, None, None),
            ("30m1h", None, None, None),
            ("1m1m", None, None, None),
            ("1.5h", None, None, None),
            ("-1", None, None, None),
            ("+1", None, None, None),
            ("", None, None, None),
            ("m", None, None, None),
            ("1 m", None, None, None),
            ("4294967296", None, None, None),
            ("18446744073709551616s", None, None, None),
            ("9999999999999999999y", None, None, None),
        ] {
            let word_of = |server| seconds(word.as_bytes(), server);
            let found = (word_of(apache), word_of(nginx), word_of(file));
            assert_eq!(found, (in_apache, in_nginx, in_file), "{word:?}");
        }
    }

    #[test]
    fn a_number_alone_stays_in_milliseconds_where_it_always_was() {
        let (apache, nginx) = (Some(Server::Apache), Some(Server::Nginx));
        for (word, in_apache, in_nginx) in [
            ("200", Some(200), Some(200)),
            ("200ms", Some(200), Some(200)),
            ("2s", Some(2000), Some(2000)),
            ("1s500ms", None, Some(1500)),
            ("1s500", None, None),
            ("1m", None, Some(60_000)),
            ("1min", Some(60_000), None),
            ("ms", None, None),
        ] {
            let word_of = |server| milliseconds(word.as_bytes(), server);
            assert_eq!((word_of(apache), word_of(nginx)), (in_apache, in_nginx), "{word:?}");
        }
    }
}
