//! What we give people to copy works, and what we tell them is complete.

use std::path::{Path, PathBuf};

use jiff::tz::TimeZone;
use otpgate::decide::Word;
use otpgate::otp::Hash;
use otpgate::policy::{SETTINGS, Server};
use otpgate::token::{Algorithm, MovingFactor, Pin};
use otpgate::users::line;
use otpgate::users::pragma::{self, Pragma};
use otpgate::users::record::{self, Record};

fn file(name: &str) -> String {
    let path: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Lines of users.example as they are once the # is taken away. Text has a blank behind its #.
fn example_records() -> Vec<Record> {
    file("users.example")
        .lines()
        .filter_map(|line| line.strip_prefix('#'))
        .filter(|line| !line.is_empty() && !line.starts_with(' '))
        .map(|line| {
            record::parse(line.as_bytes(), &TimeZone::UTC).unwrap_or_else(|error| panic!("{line}: {error}"))
        })
        .collect()
}

#[test]
fn users_example_lets_nobody_in_when_copied_as_it_is() {
    for line in file("users.example").lines() {
        assert!(line::is_ignored(line.as_bytes()), "{line}");
    }
}

#[test]
fn users_example_and_its_reference_have_limits_that_can_be_read() {
    for name in ["users.example", "docs/users-file.md"] {
        let text = file(name);
        let lines = text.lines().map(|line| line.trim_start_matches("# ").trim_start());
        let pragmas: Vec<_> = lines.filter_map(|line| pragma::parse(line.as_bytes())).collect();
        let is_limits = |parsed: &Result<Pragma, _>| matches!(parsed, Ok(Pragma::Limits(_)));
        assert!(pragmas.iter().any(is_limits) && pragmas.iter().all(Result::is_ok), "{name}: {pragmas:?}");
    }
    let reference = file("docs/users-file.md");
    for limit in SETTINGS.iter().filter_map(|setting| setting.limit) {
        assert!(reference.contains(&format!("| `{limit}=`*")), "{limit} is missing from the reference");
    }
}

#[test]
fn users_example_has_a_readable_line_of_every_kind() {
    let records = example_records();
    let has = |what: &str, is_it: &dyn Fn(&Record) -> bool| {
        assert!(records.iter().any(is_it), "no example of {what}");
    };
    for hash in [Hash::Sha1, Hash::Sha256, Hash::Sha512] {
        has("a hash", &|record| record.token.algorithm == Algorithm::Hotp(hash));
    }
    has("Mobile-OTP", &|record| record.token.algorithm == Algorithm::Motp);
    has("an event token", &|record| record.token.factor == MovingFactor::Event);
    has("a time token", &|record| matches!(record.token.factor, MovingFactor::Time(_)));
    has("a disabled token", &|record| record.token.disabled);
    has("no PIN", &|record| record.token.pin == Pin::None);
    has("an external PIN", &|record| record.token.pin == Pin::External);
    has("a literal PIN", &|record| matches!(record.token.pin, Pin::Literal(_)));
    has("a counter", &|record| record.state.counter > 0);
    has("state of the older module", &|record| record.state.last_otp.is_some());
    let hashed = |record: &&Record| match &record.token.pin {
        Pin::Hashed(hash) => hash.is_hash_of(b"4711"),
        _ => false,
    };
    assert_eq!(records.iter().filter(hashed).count(), 3, "each form of hash, all of the PIN the text names");
}

fn directives(server: Server) -> impl Iterator<Item = &'static str> {
    SETTINGS.iter().filter_map(move |setting| setting.name(server)).map(|name| name.to_str().unwrap())
}

fn apache_directives() -> impl Iterator<Item = &'static str> {
    directives(Server::Apache)
}

/// The settings, and what the module adds to them.
fn nginx_directives() -> impl Iterator<Item = &'static str> {
    directives(Server::Nginx).chain(["auth_otp", "auth_otp_thread_pool", "auth_otp_zone"])
}

/// The first words of lines that are directives, or are once the # right before them is taken away.
fn first_words(text: &str) -> Vec<&str> {
    let uncommented = text.lines().map(str::trim_start).map(|line| line.strip_prefix('#').unwrap_or(line));
    uncommented.filter_map(|line| line.split(char::is_whitespace).next()).collect()
}

#[test]
fn the_example_configuration_has_every_directive_and_no_other() {
    let text = file("apache/example.conf");
    let words = first_words(&text);
    for name in apache_directives() {
        assert!(words.contains(&name), "{name} isn't in apache/example.conf");
    }
    for word in words.into_iter().filter(|word| word.starts_with("OTPAuth") || word.starts_with("PINFake")) {
        assert!(apache_directives().any(|name| name == word), "{word} is no directive");
    }
}

#[test]
fn the_reference_has_every_directive_with_its_default_and_no_other() {
    let text = file("docs/apache.md");
    let entries: Vec<&str> = text.lines().filter(|line| line.starts_with("**")).collect();
    for name in apache_directives() {
        let entry = entries.iter().find(|entry| entry.starts_with(&format!("**{name}**")));
        let entry = entry.unwrap_or_else(|| panic!("{name} isn't in docs/apache.md"));
        assert!(entry.contains("Default: "), "{entry}");
    }
    assert_eq!(entries.len(), apache_directives().count());
}

#[test]
fn the_example_configuration_for_nginx_has_every_directive_and_no_other() {
    let text = file("nginx/example.conf");
    let words = first_words(&text);
    for name in nginx_directives() {
        assert!(words.contains(&name), "{name} isn't in nginx/example.conf");
    }
    for word in words.into_iter().filter(|word| word.starts_with("auth_otp")) {
        assert!(nginx_directives().any(|name| name == word), "{word} is no directive");
    }
}

#[test]
fn the_reference_for_nginx_has_every_directive_with_its_default_and_no_other() {
    let text = file("docs/nginx.md");
    let entries: Vec<&str> = text.lines().filter(|line| line.starts_with("**")).collect();
    for name in nginx_directives() {
        let entry = entries.iter().find(|entry| entry.starts_with(&format!("**{name}**")));
        let entry = entry.unwrap_or_else(|| panic!("{name} isn't in docs/nginx.md"));
        assert!(entry.contains("Default: "), "{entry}");
    }
    assert_eq!(entries.len(), nginx_directives().count());
}

#[test]
fn every_result_word_is_explained() {
    let text = file("docs/results.md");
    for word in Word::ALL {
        assert!(
            text.contains(&format!("\n| `{}` |", word.as_str())),
            "{} isn't in docs/results.md",
            word.as_str()
        );
    }
}
