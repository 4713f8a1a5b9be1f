//! Lines about the ways in of one user: `app`, `trust`, `always`.

use std::ops::Range;

use data_encoding::HEXLOWER;
use jiff::civil::Time;
use jiff::tz::TimeZone;

use super::{decode, encode, parse_date};
use crate::UnixTime;
use crate::network::Network;
use crate::token::{Always, AppDigest, AppPassword, SALT_LEN, WAYS_MAX};
use crate::users::line;

const DIGEST: &[u8] = b"sha256:";
const USED: &[u8] = b"used=";
/// How "never" is written: as long as any hour.
const NEVER: &[u8; HOUR_LEN] = b"0000-00-00T00Z";
const HOUR_LEN: usize = 14;
const NAME_MAX: usize = 64;

/// The words behind the user.
pub(super) fn parse_app<'a>(
    mut words: impl Iterator<Item = &'a [u8]>,
) -> Result<AppPassword, String> {
    let name = decode(words.next().ok_or("the name is missing")?)?;
    if name.len() > NAME_MAX {
        return Err(format!("the name is longer than {NAME_MAX} bytes"));
    }
    let digest = words.next().and_then(parse_digest).ok_or_else(|| {
        format!("after the name comes sha256:SALT:SUM, {} and 64 hexadecimal digits", 2 * SALT_LEN)
    })?;
    let mut app = AppPassword {
        name,
        digest,
        paths: Vec::new(),
        methods: Vec::new(),
        until: None,
        used: None,
    };
    let mut seen: Vec<&[u8]> = Vec::new();
    for word in words {
        let equals = word.iter().position(|&b| b == b'=').unwrap_or(word.len());
        let (key, value) = (&word[..equals], word.get(equals + 1..).unwrap_or_default());
        if seen.contains(&key) {
            return Err(format!("{} is given twice", key.escape_ascii()));
        }
        seen.push(key);
        match key {
            b"path" => app.paths = list(value, parse_path)?,
            b"methods" => app.methods = list(value, parse_method)?,
            b"until" => app.until = Some(parse_until(value)?),
            b"used" => app.used = parse_used(value),
            _ => {
                return Err(format!(
                    "\"{}\" is not one of path=PATH,PATH, methods=METHOD,METHOD, until=DATE, used=HOUR",
                    word.escape_ascii()
                ));
            }
        }
    }
    Ok(app)
}

fn list<T>(value: &[u8], parse: fn(&[u8]) -> Result<T, String>) -> Result<Vec<T>, String> {
    value.split(|&b| b == b',').map(parse).collect()
}

fn parse_digest(word: &[u8]) -> Option<AppDigest> {
    let rest = word.strip_prefix(DIGEST)?;
    let (salt, sum) = rest.split_at_checked(2 * SALT_LEN)?;
    let sum = sum.strip_prefix(b":")?;
    Some(AppDigest {
        salt: HEXLOWER.decode(salt).ok()?.try_into().ok()?,
        sum: HEXLOWER.decode(sum).ok()?.try_into().ok()?,
    })
}

fn parse_path(text: &[u8]) -> Result<Vec<u8>, String> {
    let path = decode(text)?;
    if path.first() == Some(&b'/') {
        return Ok(path);
    }
    Err(format!("path: \"{}\" doesn't begin with /", text.escape_ascii()))
}

fn parse_method(text: &[u8]) -> Result<Vec<u8>, String> {
    if !text.is_empty() && text.iter().all(|b| b.is_ascii_uppercase() || *b == b'-') {
        return Ok(text.to_vec());
    }
    Err(format!("methods: \"{}\" is not a method like PROPFIND", text.escape_ascii()))
}

/// The last day, in UTC: it ends with the day.
fn parse_until(text: &[u8]) -> Result<UnixTime, String> {
    let date = parse_date(text).map_err(|error| format!("until: {error}"))?;
    let end = date.tomorrow().and_then(|next| next.to_zoned(TimeZone::UTC));
    end.map(|end| end.timestamp().as_second()).map_err(|error| format!("until: {error}"))
}

/// Says nothing if it isn't an hour, rather than that the line is at fault: a server writes it, and
/// a crash may leave half of it.
fn parse_used(text: &[u8]) -> Option<UnixTime> {
    let date = parse_date(text.get(..10)?).ok()?;
    let hour = text[10..].strip_prefix(b"T")?.strip_suffix(b"Z")?;
    let is_of_shape = hour.len() == 2 && hour.iter().all(u8::is_ascii_digit);
    let hour = str::from_utf8(hour).ok().filter(|_| is_of_shape)?.parse().ok()?;
    let time = Time::new(hour, 0, 0, 0).ok()?;
    Some(date.to_datetime(time).to_zoned(TimeZone::UTC).ok()?.timestamp().as_second())
}

/// A time of use as it stands in a line: always as long.
pub fn written_hour(used: Option<UnixTime>) -> [u8; HOUR_LEN] {
    let hour = used.and_then(|at| jiff::Timestamp::from_second(at).ok());
    let hour = hour.map(|at| at.strftime("%Y-%m-%dT%HZ").to_string().into_bytes());
    hour.and_then(|text| text.try_into().ok()).unwrap_or(*NEVER)
}

/// Where the hour of the last use stands in an app's line.
pub fn used_hour(line: &[u8]) -> Option<Range<usize>> {
    // Behind mark, kind, user, name and digest: a name may be anything.
    let word = line::words(line).skip(5).find(|word| line[word.clone()].starts_with(USED))?;
    let hour = word.start + USED.len()..word.end;
    (hour.len() == HOUR_LEN).then_some(hour)
}

/// What a server adds: a PIN alone isn't enough for this user before the next fresh code.
pub fn until_code_line(user: &[u8]) -> Vec<u8> {
    format!("#@ always {} pin", encode(user)).into_bytes()
}

/// A line about a password of a program.
pub fn app_line(user: &[u8], app: &AppPassword) -> Vec<u8> {
    let mut line = format!(
        "#@ app {} {} sha256:{}:{} used={}",
        encode(user),
        encode(&app.name),
        HEXLOWER.encode(&app.digest.salt),
        HEXLOWER.encode(&app.digest.sum),
        String::from_utf8_lossy(&written_hour(app.used)),
    );
    let joined = |words: &[Vec<u8>]| {
        let words: Vec<String> =
            words.iter().map(|word| encode(word).replace(',', "%2C")).collect();
        words.join(",")
    };
    if !app.paths.is_empty() {
        line.push_str(&format!(" path={}", joined(&app.paths)));
    }
    if !app.methods.is_empty() {
        line.push_str(&format!(" methods={}", joined(&app.methods)));
    }
    if let Some(last) = app.until.and_then(|end| jiff::Timestamp::from_second(end - 1).ok()) {
        line.push_str(&last.strftime(" until=%Y-%m-%d").to_string());
    }
    line.into_bytes()
}

/// A line about the networks from which the user's own PIN is enough.
pub fn trust_line(user: &[u8], networks: &[Network]) -> String {
    let networks: Vec<String> = networks.iter().map(Network::to_string).collect();
    format!("#@ trust {} {}", encode(user), networks.join(","))
}

/// The lines about what is closed for the user, by an admin and by a server.
pub fn always_lines(user: &[u8], always: Always) -> Vec<String> {
    let user = encode(user);
    let admins = match always {
        Always { apps: true, .. } => Some(format!("#@ always {user} apps")),
        Always { pin: true, .. } => Some(format!("#@ always {user}")),
        _ => None,
    };
    let servers = always.until_code.then(|| format!("#@ always {user} pin"));
    admins.into_iter().chain(servers).collect()
}

/// The networks behind the user.
pub(super) fn parse_trust<'a>(
    words: &mut impl Iterator<Item = &'a [u8]>,
) -> Result<Vec<Network>, String> {
    let networks = list(words.next().ok_or("the networks are missing")?, Network::parse)?;
    if networks.len() > WAYS_MAX {
        return Err(format!("there are more than {WAYS_MAX} networks"));
    }
    Ok(networks)
}

/// The words behind the user.
pub(super) fn parse_always<'a>(words: impl Iterator<Item = &'a [u8]>) -> Result<Always, String> {
    let mut always = Always::default();
    let mut seen: Vec<&[u8]> = Vec::new();
    for word in words {
        if seen.contains(&word) {
            return Err(format!("{} is given twice", word.escape_ascii()));
        }
        seen.push(word);
        match word {
            b"apps" => always.apps = true,
            b"pin" => always.until_code = true,
            _ => return Err(format!("\"{}\" is not one of apps, pin", word.escape_ascii())),
        }
    }
    // What a server adds says nothing more than that.
    always.pin = !always.until_code || always.apps;
    Ok(always)
}

#[cfg(test)]
mod tests {
    use super::super::{Pragma, parse};
    use super::*;

    const DIGEST: &str = "sha256:000102030405060708090a0b0c0d0e0f:\
        e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    fn app(line: &str) -> Result<AppPassword, String> {
        let line = line.replace("DIGEST", DIGEST);
        match parse(line.as_bytes()).unwrap() {
            Ok(Pragma::App(user, app)) => {
                assert_eq!(user, b"alice", "{line}");
                Ok(app)
            }
            Ok(other) => panic!("{line}: {other:?}"),
            Err(error) => Err(error.to_string()),
        }
    }

    #[test]
    fn a_line_of_an_app_comes_back_as_it_was_written() {
        for line in [
            "#@ app alice phone DIGEST used=0000-00-00T00Z",
            "#@ app alice my%20phone DIGEST used=2026-12-01T08Z path=/dav/,/a%2Cb%20c methods=GET,VERSION-CONTROL until=2027-01-31",
        ] {
            let text = line.replace("DIGEST", DIGEST);
            let app = app(line).unwrap();
            assert_eq!(String::from_utf8(app_line(b"alice", &app)).unwrap(), text);
        }
        let app = app("#@ app alice x DIGEST until=2026-12-01 used=2026-12-01T08Z").unwrap();
        assert_eq!((app.until, app.used), (Some(1_796_169_600), Some(1_796_112_000)));
        assert_eq!(written_hour(Some(i64::MAX)), written_hour(None));
        for odd in ["2026-12-01T24Z", "2026-12-0", "", "2026-1a-01T08Z"] {
            let line = format!("#@ app alice x DIGEST used={odd}");
            assert_eq!(self::app(&line).unwrap().used, None, "{odd}");
        }
    }

    #[test]
    fn a_name_that_looks_like_an_hour_is_none() {
        for (line, hour) in [
            ("#@ app used=abcdefghijklmn used=abcdefghijklmn DIGEST used=2026-12-01T08Z", true),
            ("#@ app used=abcdefghijklmn used=abcdefghijklmn DIGEST", false),
        ] {
            let line = line.replace("DIGEST", DIGEST);
            let found = used_hour(line.as_bytes()).map(|hour| &line[hour]);
            assert_eq!(found, hour.then_some("2026-12-01T08Z"), "{line}");
        }
    }

    #[test]
    fn an_app_at_fault_says_why() {
        for (line, reason) in [
            ("#@ app alice", "the name is missing"),
            (
                "#@ app alice phone",
                "after the name comes sha256:SALT:SUM, 32 and 64 hexadecimal digits",
            ),
            (
                "#@ app alice phone sha256:00:00",
                "after the name comes sha256:SALT:SUM, 32 and 64 hexadecimal digits",
            ),
            (
                "#@ app alice phone DIGEST00",
                "after the name comes sha256:SALT:SUM, 32 and 64 hexadecimal digits",
            ),
            ("#@ app alice phone DIGEST path=dav", "path: \"dav\" doesn't begin with /"),
            ("#@ app alice phone DIGEST path=", "path: \"\" doesn't begin with /"),
            ("#@ app alice phone DIGEST path=/a,", "path: \"\" doesn't begin with /"),
            ("#@ app alice phone DIGEST path=/a path=/b", "path is given twice"),
            (
                "#@ app alice phone DIGEST methods=get",
                "methods: \"get\" is not a method like PROPFIND",
            ),
            ("#@ app alice phone DIGEST methods=", "methods: \"\" is not a method like PROPFIND"),
            (
                "#@ app alice phone DIGEST until=2027-02-30",
                "until: \"2027-02-30\" is not a day written like 2026-12-01",
            ),
            (
                "#@ app alice phone DIGEST until=20270131",
                "until: \"20270131\" is not a day written like 2026-12-01",
            ),
            (
                "#@ app alice phone DIGEST everywhere",
                "\"everywhere\" is not one of path=PATH,PATH, methods=METHOD,METHOD, until=DATE, used=HOUR",
            ),
        ] {
            assert_eq!(app(line), Err(format!("#@ app: {reason}")), "{line}");
        }
    }

    #[test]
    fn trust_and_always() {
        let always = |pin, until_code, apps| Always { pin, until_code, apps };
        for (words, expected) in [
            ("", always(true, false, false)),
            (" apps", always(true, false, true)),
            (" pin", always(false, true, false)),
            (" pin apps", always(true, true, true)),
        ] {
            let parsed = parse(format!("#@ always alice{words}").as_bytes()).unwrap();
            assert_eq!(parsed, Ok(Pragma::Always(b"alice".to_vec(), expected)), "{words}");
        }
        for (line, reason) in [
            ("#@ always", "always: the user is missing"),
            ("#@ always alice code", "always: \"code\" is not one of apps, pin"),
            ("#@ always alice pin pin", "always: pin is given twice"),
            ("#@ trust", "trust: the user is missing"),
            ("#@ trust alice", "trust: the networks are missing"),
            ("#@ trust alice ::/0 ::/0", "trust: \"::/0\" is one word too many"),
            (
                "#@ trust alice 192.0.2.1",
                "trust: \"192.0.2.1\" is not a network like 192.0.2.0/24 or 2001:db8::/32",
            ),
        ] {
            let error = parse(line.as_bytes()).unwrap().unwrap_err();
            assert_eq!(error.to_string(), format!("#@ {reason}"), "{line}");
        }
        let networks =
            vec![Network::parse(b"192.0.2.0/24").unwrap(), Network::parse(b"::/0").unwrap()];
        assert_eq!(trust_line(b"al ice", &networks), "#@ trust al%20ice 192.0.2.0/24,::/0");
        for (pin, until_code, apps) in
            [(true, false, false), (true, true, false), (false, true, false), (true, true, true)]
        {
            let always = always(pin, until_code, apps);
            let read = always_lines(b"alice", always).into_iter().map(|line| {
                let Some(Ok(Pragma::Always(_, read))) = parse(line.as_bytes()) else {
                    panic!("{line}")
                };
                read
            });
            assert_eq!(read.fold(Always::default(), Always::with), always);
        }
        assert!(always_lines(b"alice", Always::default()).is_empty());
        assert_eq!(
            parse(b"#@ trust alice 192.0.2.0/24,::/0").unwrap(),
            Ok(Pragma::Trust(b"alice".to_vec(), networks))
        );
    }
}
