//! What we give people to copy works, and what we tell them is complete.

use std::path::{Path, PathBuf};

use jiff::tz::TimeZone;
use otpgate::decide::LoginResult;
use otpgate::files::lines;
use otpgate::otp::Hash;
use otpgate::policy::{Leaked, Policy, SETTINGS, Server, Settings, Unset};
use otpgate::token::{Algorithm, MovingFactor, Pin};
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
            record::parse(line.as_bytes(), &TimeZone::UTC)
                .unwrap_or_else(|error| panic!("{line}: {error}"))
        })
        .collect()
}

#[test]
fn users_example_lets_nobody_in_when_copied_as_it_is() {
    for line in file("users.example").lines() {
        assert!(lines::is_ignored(line.as_bytes()), "{line}");
    }
}

#[test]
fn users_example_and_its_reference_have_limits_that_can_be_read() {
    for name in ["users.example", "docs/users-file.md"] {
        let text = file(name);
        let lines = text.lines().map(|line| line.trim_start_matches("# ").trim_start());
        let pragmas: Vec<_> = lines.filter_map(|line| pragma::parse(line.as_bytes())).collect();
        let is_limits = |parsed: &Result<Pragma, _>| matches!(parsed, Ok(Pragma::Limits(_)));
        assert!(
            pragmas.iter().any(is_limits) && pragmas.iter().all(Result::is_ok),
            "{name}: {pragmas:?}"
        );
    }
    let reference = file("docs/users-file.md");
    for limit in SETTINGS.iter().filter_map(|setting| setting.limit) {
        assert!(
            reference.contains(&format!("| `{limit}=`*")),
            "{limit} is missing from the reference"
        );
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
    has("a counter", &|record| record.state.counter.as_written() > 0);
    has("state of the older module", &|record| record.state.last_otp.is_some());
    let hashed = |record: &&Record| match &record.token.pin {
        Pin::Hashed(hash) => hash.is_hash_of(b"4711"),
        _ => false,
    };
    assert_eq!(
        records.iter().filter(hashed).count(),
        3,
        "each form of hash, all of the PIN the text names"
    );
}

fn directives(server: Server) -> impl Iterator<Item = &'static str> {
    SETTINGS
        .iter()
        .filter_map(move |setting| setting.name(server))
        .map(|name| name.to_str().unwrap())
}

fn apache_directives() -> impl Iterator<Item = &'static str> {
    directives(Server::Apache)
}

/// What the module adds to the settings.
const OF_THE_NGINX_MODULE: [&str; 4] =
    ["auth_otp", "auth_otp_login", "auth_otp_thread_pool", "auth_otp_zone"];

fn nginx_directives() -> impl Iterator<Item = &'static str> {
    directives(Server::Nginx).chain(OF_THE_NGINX_MODULE)
}

/// The first words of lines that are directives, or are once the # right before them is taken away.
fn first_words(text: &str) -> Vec<&str> {
    let uncommented =
        text.lines().map(str::trim_start).map(|line| line.strip_prefix('#').unwrap_or(line));
    // nginx's end in a semicolon, and there may be nothing before it.
    let is_end = |c: char| c.is_whitespace() || c == ';';
    uncommented.filter_map(|line| line.split(is_end).next()).collect()
}

#[test]
fn the_example_configuration_has_every_directive_and_no_other() {
    let text = file("apache/example.conf");
    let words = first_words(&text);
    for name in apache_directives() {
        assert!(words.contains(&name), "{name} isn't in apache/example.conf");
    }
    for word in
        words.into_iter().filter(|word| word.starts_with("OTPAuth") || word.starts_with("PINFake"))
    {
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

/// All that settings come to on a server, whether somebody has set them or not.
fn effect(settings: &Settings<'_>, server: Server) -> String {
    let policy = Policy { unset: Unset::default(), ..settings.policy(server) };
    let value = |given: Option<&[u8]>| given.map(|bytes| bytes.escape_ascii().to_string());
    let users_file = value(settings.users_file.map(|given| given.value));
    let pin_file = value(settings.pin_file.map(|given| given.value));
    format!(
        "{policy:?} {users_file:?} {pin_file:?} {:?} {:?} {:?} {:?} {:?} {:?}",
        settings.refusal_time(),
        settings.scheme(),
        settings.digest_algorithms(),
        settings.nonce_lifetime(),
        settings.requires_tls(),
        settings.pin_provider_names(),
    )
}

/// What a directive with these words comes to.
fn effect_of(server: Server, name: &str, words: &str) -> String {
    let words: Vec<&[u8]> = words.split_whitespace().map(str::as_bytes).collect();
    let mut settings = Settings::default();
    let taken = settings.set(server, &Leaked, name.as_bytes(), &words, b"here");
    taken.unwrap_or_else(|error| panic!("{name} {words:?}: {error}"));
    effect(&settings, server)
}

/// What is needed or asked of the admin, and has no default.
const WITHOUT_DEFAULT: [&str; 12] = [
    "OTPAuthLoginPage",
    "OTPAuthLoginTemplate",
    "auth_otp_login_page",
    "auth_otp_login_template",
    "OTPAuthUsersFile",
    "OTPAuthMaxIdle",
    "OTPAuthPINAuthProvider",
    "OTPAuthRequireGroup",
    "auth_otp_users_file",
    "auth_otp_max_idle",
    "auth_otp_pin_file",
    "auth_otp_require_group",
];

#[test]
fn documented_defaults_are_those_of_the_library() {
    for (server, name) in [(Server::Apache, "docs/apache.md"), (Server::Nginx, "docs/nginx.md")] {
        let text = file(name);
        let default = effect(&Settings::default(), server);
        for directive in directives(server) {
            let entry = text.lines().find(|line| line.starts_with(&format!("**{directive}**")));
            let (_, said) =
                entry.and_then(|entry| entry.split_once("Default: ")).expect("see the tests above");
            // What follows are conditions and reasons.
            let said = said.split([',', ';']).next().unwrap_or_default().trim_end_matches('.');
            if WITHOUT_DEFAULT.contains(&directive) {
                assert!(["none", "not set"].contains(&said), "{directive}: {said}");
                continue;
            }
            assert_eq!(effect_of(server, directive, said), default, "{name}: {directive} {said}");
        }
    }
}

#[test]
fn conditional_defaults_are_as_documented() {
    let text = file("docs/apache.md");
    assert!(text.contains("Default: off; 20 600 where a limit on wrong codes is set"));
    assert!(text.contains("for wrong Digest responses, 900."));
    let mut limited = Settings::default();
    limited
        .set(Server::Apache, &Leaked, b"OTPAuthMaxOTPFailure", &[b"5"], b"here")
        .expect("a good value");
    let mut throttled = limited;
    throttled
        .set(Server::Apache, &Leaked, b"OTPAuthThrottle", &[b"20", b"600"], b"here")
        .expect("a good value");
    assert_eq!(effect(&limited, Server::Apache), effect(&throttled, Server::Apache));
    assert_eq!(Settings::default().policy(Server::Apache).of_digest_failures().lockout_time, 900);
    for (server, name, linger, idle) in [
        (Server::Apache, "docs/apache.md", "600", "OTPAuthMaxIdle"),
        (Server::Nginx, "docs/nginx.md", "10m", "auth_otp_max_idle"),
    ] {
        let default = format!("Default: {linger}, or no such limit if `{idle}` is set.");
        assert!(file(name).contains(&default), "{name}: {default}");
        let mut settings = Settings::default();
        settings.set(server, &Leaked, idle.as_bytes(), &[b"300"], b"here").expect("a good value");
        assert_eq!(settings.policy(server).max_linger, None);
    }
}

#[test]
fn example_configurations_show_the_defaults_but_for_what_they_say() {
    // Their first lines say so of the one for Apache; what has no default is an example.
    let set_besides = ["OTPAuthMaxOTPFailure", "OTPAuthLockoutTime"];
    for (server, name) in
        [(Server::Apache, "apache/example.conf"), (Server::Nginx, "nginx/example.conf")]
    {
        let default = effect(&Settings::default(), server);
        let text = file(name);
        let mut shown = 0;
        for line in text.lines().map(str::trim_start) {
            let (line, is_set) = match line.strip_prefix('#') {
                Some(rest) => (rest, false),
                None => (line, true),
            };
            let (directive, words) = line.split_once(' ').unwrap_or((line, ""));
            let is_example =
                WITHOUT_DEFAULT.contains(&directive) || set_besides.contains(&directive);
            // A default that depends on others is commented out.
            if is_example || !is_set || !directives(server).any(|name| name == directive) {
                continue;
            }
            let words = words.trim_end_matches(';');
            assert_eq!(effect_of(server, directive, words), default, "{name}: {line}");
            shown += 1;
        }
        assert!(shown > 8, "{name}: the test looks for directives in vain");
    }
}

#[test]
fn every_result_word_is_explained() {
    let text = file("docs/results.md");
    for word in LoginResult::ALL {
        assert!(
            text.contains(&format!("\n| `{}` |", word.as_str())),
            "{} isn't in docs/results.md",
            word.as_str()
        );
    }
}

/// The entry of a directive on its server's page: how it is written, its default, and what it does in the first
/// sentence.
struct Entry {
    usage: String,
    default: String,
    sentence: String,
}

fn entry(page: &str, name: &str) -> Entry {
    let start = format!("**{name}**");
    let mut lines = page.lines().skip_while(|line| !line.starts_with(&start));
    let (usage, rest) = lines
        .next()
        .and_then(|line| line.split_once(" Default: "))
        .unwrap_or_else(|| panic!("{name} isn't in the reference with a default"));
    // A default may be a sentence that goes on.
    let text: Vec<&str> = lines.take_while(|line| !line.is_empty()).collect();
    let text = text.join(" ");
    let sentence = text.split_once(". ").map_or(text.as_str(), |(first, _)| first);
    Entry {
        usage: usage.trim_end_matches('.').replace("**", "`").replace('|', "\\|"),
        default: rest.trim_end_matches('.').to_owned(),
        sentence: sentence.trim_end_matches('.').to_owned(),
    }
}

/// docs/settings.md as the table and the pages of both servers have it. Names and descriptions are the library's;
/// arguments and defaults are those of the pages, which other tests hold against the library.
fn settings_page() -> String {
    let (apache, nginx) = (file("docs/apache.md"), file("docs/nginx.md"));
    let mut page = "\
# All settings

What [apache.md](apache.md) and [nginx.md](nginx.md) explain one by one, side by side, with the defaults. The page is made
from the library's table of settings; on Apache, `apache2ctl -L` shows the same descriptions.

On Apache, all are valid in `<Directory>`, `<Location>`, `<Files>`, `<If>` and `<AuthnProviderAlias>`, and in `.htaccess`
under `AllowOverride AuthConfig`, unless it says otherwise. On nginx, all but `auth_otp_zone` are valid in `http`, `server`, `location` and
`limit_except`. A section inherits what it doesn't set itself. Where a word of `#@ limits` is given, a line of the users file
can bind all servers and sections ([how](users-file.md#lines-for-otpgate-alone)).

| what it takes and does | Apache | nginx |
|---|---|---|
"
    .to_owned();
    let written = |page: &str, name: Option<&'static std::ffi::CStr>| match name {
        Some(name) => {
            let Entry { usage, default, .. } = entry(page, name.to_str().expect("ASCII"));
            format!("{usage}<br>Default: {default}")
        }
        None => "–".to_owned(),
    };
    for setting in SETTINGS {
        let limit = setting.limit.map(|limit| format!("<br>`#@ limits {limit}=`"));
        let scope = if setting.is_for_authors { "" } else { "<br>Not in `.htaccess`" };
        page += &format!(
            "| {}{}{scope} | {} | {} |\n",
            setting.usage.to_str().expect("ASCII"),
            limit.unwrap_or_default(),
            written(&apache, setting.apache),
            written(&nginx, setting.nginx),
        );
    }
    for name in OF_THE_NGINX_MODULE {
        let Entry { usage, default, sentence } = entry(&nginx, name);
        let sentence = sentence.replace("](#", "](nginx.md#");
        page += &format!("| {sentence} | – | {usage}<br>Default: {default} |\n");
    }
    page
}

#[test]
fn the_page_of_all_settings_is_that_of_the_table() {
    let (name, wanted) = ("docs/settings.md", settings_page());
    if std::env::var_os("OTPGATE_DOCS_RECORD").is_some() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
        std::fs::write(&path, &wanted).unwrap_or_else(|error| panic!("{name}: {error}"));
    }
    assert!(
        file(name) == wanted,
        "{name} isn't what the table of settings says. To write it anew:\n\
         OTPGATE_DOCS_RECORD=1 cargo test --release -p otpgate --test examples page_of_all_settings"
    );
}
