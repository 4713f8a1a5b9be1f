//! Contradictions between sections of a configuration, for the configuration test. Files aren't
//! checked here.

use crate::policy::{
    Asked, Given, LingerCookie, Policy, Server, Settings, is_for_clients_to_switch_off,
    users_file_setting,
};
use crate::users::check::Finding;

/// A part of a configuration that has rules of its own for logins.
#[derive(Clone, Copy, Debug, Default)]
pub struct Place<'a> {
    /// On nginx, all that holds there; on Apache, what the section itself says.
    pub settings: Settings<'a>,
    /// nginx: where it is switched on.
    pub place: &'a [u8],
    /// nginx: as written there, variables included.
    pub realm: &'a [u8],
    /// nginx: the realm of `auth_basic` in the same place; empty: none.
    pub other_realm: &'a [u8],
    /// Apache: the blocks that it lies in and is, from the outside, one a line.
    pub section: &'a [u8],
    /// nginx: its server listens on a unix socket.
    pub is_on_unix_socket: bool,
    /// nginx: `satisfy any`.
    pub is_any_enough: bool,
    /// nginx: it is the page to log in itself, and `place` that of `auth_otp_login`.
    pub is_login_page: bool,
    /// nginx: its server may have the page to log in at the path that is set.
    pub has_login_page: bool,
}

/// A finding and where it is.
pub type Placed<'a> = (&'a [u8], Finding);

fn error<'a>(place: &'a [u8], text: impl Into<String>) -> Placed<'a> {
    (place, Finding::error(text))
}

fn warning<'a>(place: &'a [u8], text: impl Into<String>) -> Placed<'a> {
    (place, Finding::warning(text))
}

/// Whether what one section says holds in another.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Above {
    No,
    /// httpd knows when a request is there.
    Perhaps,
    Surely,
}

/// What holds in a section.
#[derive(Clone, Debug)]
pub struct HeldSettings<'a> {
    /// What surely does.
    pub settings: Settings<'a>,
    /// What may, by sections that may lie around it.
    perhaps: Vec<Settings<'a>>,
}

impl<'a> HeldSettings<'a> {
    /// Whether something is said for sure, or perhaps.
    pub fn may_have(&self, has: impl Fn(&Settings<'a>) -> bool) -> bool {
        has(&self.settings) || self.perhaps.iter().any(has)
    }
}

/// What holds in each of the places, in their order.
pub fn held<'a>(server: Server, places: &[Place<'a>]) -> Vec<HeldSettings<'a>> {
    let of = |(number, place): (usize, &Place<'a>)| {
        if server == Server::Nginx {
            return HeldSettings { settings: place.settings, perhaps: Vec::new() };
        }
        let mut surely: Vec<&Place<'a>> = Vec::new();
        let mut perhaps = Vec::new();
        for (_, other) in places.iter().enumerate().filter(|(other, _)| *other != number) {
            match above(other.section, place.section) {
                Above::No => {}
                Above::Perhaps => perhaps.push(other.settings),
                Above::Surely => surely.push(other),
            }
        }
        surely.sort_by_key(|place| place.section.len());
        let merged = surely
            .into_iter()
            .chain([place])
            .fold(Settings::default(), |outer, inner| outer.merged_with(&inner.settings, server));
        HeldSettings { settings: merged, perhaps }
    };
    places.iter().enumerate().map(of).collect()
}

/// A block as httpd's configuration begins it.
#[derive(PartialEq, Eq)]
struct Block<'a> {
    kind: Vec<u8>,
    path: &'a [u8],
}

/// The blocks of a section without that of its virtual host, and the latter as it stands.
fn blocks(section: &[u8]) -> (&[u8], Vec<Block<'_>>) {
    let (mut host, mut blocks) = (&b""[..], Vec::new());
    for line in section.split(|&b| b == b'\n').filter(|line| !line.is_empty()) {
        // "file:line <Kind "path">"
        let begin = line.iter().position(|&b| b == b'<').unwrap_or(0);
        let text = line[begin..].trim_ascii().strip_suffix(b">").unwrap_or(&line[begin..]);
        let (kind, path) =
            text.split_at(text.iter().position(|&b| b == b' ').unwrap_or(text.len()));
        let kind = kind.to_ascii_lowercase();
        if kind == b"<virtualhost" {
            host = line;
            continue;
        }
        let path = path.trim_ascii();
        let path =
            path.strip_prefix(b"\"").and_then(|path| path.strip_suffix(b"\"")).unwrap_or(path);
        blocks.push(Block { kind, path: path.strip_suffix(b"/").unwrap_or(path) });
    }
    (host, blocks)
}

fn above(outer: &[u8], inner: &[u8]) -> Above {
    let ((outer_host, outer), (inner_host, inner)) = (blocks(outer), blocks(inner));
    if !outer_host.is_empty() && outer_host != inner_host {
        return Above::No;
    }
    let ([outer], [inner]) = (&outer[..], &inner[..]) else {
        return if outer.is_empty() { Above::Surely } else { Above::Perhaps };
    };
    let is_plain = |block: &Block<'_>| {
        matches!(&block.kind[..], b"<directory" | b"<location")
            && !block.path.iter().any(|b| b"*?[~".contains(b))
    };
    if !(is_plain(outer) && is_plain(inner) && outer.kind == inner.kind) {
        return Above::Perhaps;
    }
    match inner.path.strip_prefix(outer.path) {
        Some([] | [b'/', ..]) => Above::Surely,
        _ => Above::No,
    }
}

/// What the places say against each other and in themselves; `held` as [`held`] makes it of them.
pub fn contradictions<'a>(
    server: Server,
    places: &[Place<'a>],
    held: &[HeldSettings<'a>],
) -> Vec<Placed<'a>> {
    let mut found = Vec::new();
    for (place, held) in places.iter().zip(held) {
        match server {
            Server::Apache => {
                found.extend(of_section(&place.settings, held));
                found.extend(of_login_page(place, held));
            }
            Server::Nginx => found.extend(of_location(place)),
        }
        found.extend(of_cookies(server, &place.settings, &held.settings));
        // nginx has it in every location below.
        let of_networks = trusts_everybody(server, &place.settings);
        found.extend(of_networks.filter(|warning| !found.contains(warning)));
    }
    found.extend(apart(server, places));
    if server == Server::Apache {
        found.extend(apart_at_one_page(places, held));
    }
    found
}

/// Where a cookie is asked for that can't be used; `own` is what the section says itself.
fn of_cookies<'a>(server: Server, own: &Settings<'a>, held: &Settings<'a>) -> Option<Placed<'a>> {
    let cookie = held.linger_cookie.filter(|given| given.value != LingerCookie::Off)?;
    let [name, linger, fake] = match server {
        Server::Apache => ["OTPAuthLingerCookie", "OTPAuthMaxLinger", "PINFakeBasicAuth"],
        Server::Nginx => {
            ["auth_otp_linger_cookie", "auth_otp_max_linger", "auth_otp_pin_fake_basic"]
        }
    };
    // On Apache, what is inherited is said where it is set.
    let types = own.asked.auth_type.map(|given| given.place);
    let place = own.linger_cookie.map(|given| given.place).or(types)?;
    if held.asked_scheme(server).has_digest() {
        let text = format!(
            "{name} has no effect with Digest, whose responses hold no code to begin a session with: use Basic here, or set it off"
        );
        return Some(error(place, text));
    }
    if held.policy(server).max_linger == Some(0) {
        let text = format!("{name} with {linger} 0: each session is over as it begins");
        return Some(error(cookie.place, text));
    }
    if held.policy(server).pin_fake_basic {
        let text = format!(
            "{name} with {fake}: a request that comes in by its cookie has no PIN to be passed on"
        );
        return Some(warning(cookie.place, text));
    }
    None
}

/// Places of one cookie that don't accept each other's sessions. What realm a section of Apache has
/// isn't known.
fn apart<'a>(server: Server, places: &[Place<'a>]) -> Vec<Placed<'a>> {
    let with_cookies = places.iter().filter(|place| {
        !place.realm.is_empty() && place.settings.linger_cookie(server) != LingerCookie::Off
    });
    let mut known: Vec<(&[u8], &[u8], [u8; 32])> = Vec::new();
    let mut found = Vec::new();
    for place in with_cookies {
        let Some(users_file) = place.settings.users_file else { continue };
        let pins = place.settings.pin_file.map_or(&b""[..], |given| given.value);
        let key = place.settings.policy(server).place_key(pins);
        let other = known
            .iter()
            .find(|(file, realm, _)| *file == users_file.value && *realm == place.realm);
        match other {
            None => known.push((users_file.value, place.realm, key)),
            Some((_, _, other)) if *other == key => {}
            Some(_) => found.push(warning(
                place.place,
                format!(
                    "another place with the realm \"{}\" and the same users file has other settings: on one host, they don't accept each other's sessions, and the cookie of one takes the place of the other's; give them realms of their own, or the same settings",
                    place.realm.escape_ascii()
                ),
            )),
        }
    }
    found
}

/// What decides whether sessions of httpd's places are good in each other, but for their realms:
/// for what surely holds in a section, and with each that may lie around it.
fn session_keys<'a>(held: &HeldSettings<'a>) -> Vec<(&'a [u8], [u8; 32])> {
    let key = |settings: &Settings<'a>| {
        let pins = match settings.pin_file {
            Some(file) => file.value.to_vec(),
            None => settings.pin_provider_names().join(&0),
        };
        let policy = settings.policy(Server::Apache);
        policy.cookie.is_some().then_some(())?;
        Some((settings.users_file?.value, policy.place_key(&pins)))
    };
    let around = |outer: &Settings<'a>| outer.merged_with(&held.settings, Server::Apache);
    held.perhaps.iter().map(around).chain([held.settings]).filter_map(|it| key(&it)).collect()
}

/// Sections of httpd whose users are sent to one page, which can't make sessions for both.
fn apart_at_one_page<'a>(places: &[Place<'a>], held: &[HeldSettings<'a>]) -> Vec<Placed<'a>> {
    struct Sending<'a> {
        host: &'a [u8],
        page: &'a [u8],
        place: &'a [u8],
        keys: Vec<(&'a [u8], [u8; 32])>,
    }
    let mut known: Vec<Sending<'a>> = Vec::new();
    let mut found = Vec::new();
    for (place, held) in places.iter().zip(held) {
        let (own, all) = (&place.settings, &held.settings);
        let (Some(page), Some(auth_type)) = (all.login_page, all.asked.auth_type) else { continue };
        let keys = session_keys(held);
        if keys.is_empty() || all.asked.is_of_type("Digest") {
            continue;
        }
        let said = own.login_page.map(|it| it.place).or(own.asked.auth_type.map(|it| it.place));
        let at = said.or(own.users_file.map(|it| it.place)).unwrap_or(auth_type.place);
        let sending = Sending { host: blocks(place.section).0, page: page.value, place: at, keys };
        let is_apart = |other: &&Sending<'_>| {
            other.host == sending.host
                && other.page == sending.page
                && !other.keys.iter().any(|key| sending.keys.contains(key))
        };
        if let Some(other) = known.iter().find(is_apart) {
            found.push(warning(
                sending.place,
                format!(
                    "OTPAuthLoginPage {} is the page of {} as well, which has another users file or other settings that decide a login: the page can make sessions for one of them, and users of the other get 500; give them the same settings, or pages of their own",
                    sending.page.escape_ascii(),
                    String::from_utf8_lossy(other.place),
                ),
            ));
        }
        known.push(sending);
    }
    found
}

fn of_section<'a>(own: &Settings<'a>, held: &HeldSettings<'a>) -> Vec<Placed<'a>> {
    let (asked, mut found) = (&held.settings.asked, Vec::new());
    let place = own.asked.place().or(own.asked.auth_type.map(|given| given.place));
    if let Some(place) = place
        && asked.is_asked()
        && !held.may_have(|settings| settings.users_file.is_some())
    {
        let name = users_file_setting(Server::Apache);
        found.push(error(
            place,
            format!("OTP is used here, but no {name} is set here or above: requests get 500"),
        ));
    }
    if let Some(place) = place
        && !held.is_asked_by_its_type()
    {
        let (auth_type, provider, other) = match asked.is_of_type("Digest") {
            true => ("Digest", "AuthDigestProvider", "AuthBasicProvider"),
            false => ("Basic", "AuthBasicProvider", "AuthDigestProvider"),
        };
        found.push(error(
            place,
            format!("AuthType {auth_type} uses the providers of {provider}, but OTP is in {other}: no one-time password works here"),
        ));
    }
    if let Some(by_hash) = asked.by_hash.filter(|given| given.value)
        && (own.asked.by_hash.is_some() || own.asked.basic.is_some())
        && asked.basic.is_some_and(|given| given.value)
    {
        let text = "AuthBasicUseDigestAlgorithm can't work with one-time passwords, every login is refused: remove it";
        found.push(error(by_hash.place, text));
    }
    if let Some(form) = own.asked.form.filter(|given| given.value)
        && let Some(setting) = match held.settings.policy(Server::Apache) {
            Policy { cookie: Some(_), .. } => {
                Some("a cookie (OTPAuthLingerCookie, OTPAuthLoginPage)")
            }
            Policy { max_linger: Some(0), .. } => Some("OTPAuthMaxLinger 0"),
            _ => None,
        }
    {
        let text = format!(
            "the session of mod_auth_form re-sends the code with each request, but with {setting} a code is good for only one"
        );
        found.push(error(form.place, text));
    }
    found
}

/// What httpd's section says about the page to log in.
fn of_login_page<'a>(place: &Place<'a>, held: &HeldSettings<'a>) -> Vec<Placed<'a>> {
    let (own, all, mut found) = (&place.settings, &held.settings, Vec::new());
    if let Some(auth_type) = own.asked.auth_type
        && own.asked.is_of_type("OTP")
        && !held.may_have(|settings| settings.login_page.is_some())
    {
        let text = "AuthType OTP sends browsers to a page to log in, but no OTPAuthLoginPage is set here or above: nobody gets in without a cookie";
        found.push(error(auth_type.place, text));
    }
    if let Some(page) = all.login_page
        && (own.login_page.is_some() || own.asked.auth_type.is_some())
        && all.asked.is_of_type("Digest")
    {
        let text = "OTPAuthLoginPage has no effect with AuthType Digest: use OTP or Basic here";
        found.push(error(page.place, text));
    }
    if let Some(page) = own.login_page
        && blocks(place.section).1.iter().any(|block| block.kind == b"<authnprovideralias")
    {
        let text = "OTPAuthLoginPage has no effect within <AuthnProviderAlias>: set it in the section that asks for a login, with OTP itself as the provider";
        found.push(error(page.place, text));
    }
    if let Some(fake) = all.pin_fake_basic.filter(|given| given.value)
        && all.linger_cookie(Server::Apache) != LingerCookie::Off
        && [own.pin_fake_basic.is_some(), own.linger_cookie.is_some(), own.login_page.is_some()]
            .contains(&true)
    {
        let text = "PINFakeBasicAuth has no effect on requests that come in by a cookie: nobody knows their PIN";
        found.push(warning(fake.place, text));
    }
    found
}

impl HeldSettings<'_> {
    /// Whether the providers that `AuthType` has asked may be meant: no other list names us while
    /// theirs isn't set.
    fn is_asked_by_its_type(&self) -> bool {
        let Asked { basic, digest, .. } = self.settings.asked;
        let is_ours = |given: Option<Given<'_, bool>>| given.is_some_and(|given| given.value);
        let (theirs, other): (fn(&Asked<'_>) -> bool, bool) = match () {
            () if self.settings.asked.is_of_type("Basic") => {
                (|asked| asked.basic.is_some(), is_ours(digest))
            }
            () if self.settings.asked.is_of_type("Digest") => {
                (|asked| asked.digest.is_some(), is_ours(basic))
            }
            () => return true,
        };
        !other || self.may_have(|settings| theirs(&settings.asked))
    }
}

fn trusts_everybody<'a>(server: Server, settings: &Settings<'a>) -> Option<Placed<'a>> {
    let given = settings.trusted_networks?;
    let everything = given.value.iter().find(|network| network.is_everything())?;
    let name = match server {
        Server::Apache => "OTPAuthTrustedNetworks",
        Server::Nginx => "auth_otp_trusted_networks",
    };
    let text = format!("{name} {everything} is everywhere: nobody who has a PIN needs a code here");
    Some(warning(given.place, text))
}

/// What is missing for nginx's page to log in.
fn of_login_location<'a>(place: &Place<'a>) -> Vec<Placed<'a>> {
    let missing = |what: &str| {
        let text = format!(
            "auth_otp_login: no {what} is set here or above, so the page gets 500: it needs what holds in the places that it logs in to"
        );
        error(place.place, text)
    };
    let mut found = Vec::new();
    if place.realm.is_empty() {
        found.push(missing("auth_otp"));
    }
    if place.settings.users_file.is_none() {
        found.push(missing("auth_otp_users_file"));
    }
    found
}

fn of_location<'a>(place: &Place<'a>) -> Vec<Placed<'a>> {
    if place.is_login_page {
        return of_login_location(place);
    }
    let mut found = Vec::new();
    if let Some(page) = place.settings.login_page
        && place.settings.scheme().has_form()
        && !place.has_login_page
    {
        let text = format!(
            "auth_otp_login_page {}: this server has no location with auth_otp_login at that path, so no browser can log in",
            page.value.escape_ascii()
        );
        found.push(error(page.place, text));
    }
    if place.settings.users_file.is_none() {
        found.push(error(
            place.place,
            "auth_otp is on, but no auth_otp_users_file is set here or above: requests get 500",
        ));
    }
    if is_for_clients_to_switch_off(place.realm) {
        found.push(warning(
            place.place,
            format!(
                "the realm \"{}\" becomes \"off\" if a client wants it to, which lets everybody in: put a word beside the variable",
                place.realm.escape_ascii()
            ),
        ));
    }
    if place.realm.eq_ignore_ascii_case(b"on") {
        let text = "auth_otp takes a realm, the text that browsers show, so they show \"on\": use a name that your users know";
        found.push(warning(place.place, text));
    }
    if !place.other_realm.is_empty() && place.other_realm != b"off" {
        found.push(match place.is_any_enough {
            true => warning(
                place.place,
                "auth_basic is also on here, and with `satisfy any` its password alone is enough: set `auth_basic off` unless you want that",
            ),
            false => error(
                place.place,
                "auth_basic is also on here, and one request can't have a password for both: set `auth_basic off`",
            ),
        });
    }
    if place.is_on_unix_socket && place.settings.policy(Server::Nginx).logout_on_ip_change {
        found.push(warning(
            place.place,
            "this server listens on a unix socket, whose clients have no address: with auth_otp_logout_on_ip_change on, their codes are good for a single request; tell nginx their addresses (set_real_ip_from unix: with real_ip_header, or proxy_protocol), or set it off",
        ));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::Leaked;

    fn settings(server: Server, directives: &[(&str, &'static str)]) -> Settings<'static> {
        let mut settings = Settings::default();
        for (name, word) in directives {
            settings.set(server, &Leaked, name.as_bytes(), &[word.as_bytes()], b"a:1").unwrap();
        }
        settings
    }

    fn said(server: Server, places: &[Place<'_>]) -> Vec<String> {
        let found = contradictions(server, places, &held(server, places));
        found.into_iter().map(|(_, finding)| finding.text).collect()
    }

    #[test]
    fn cookies_that_cannot_be_used_are_told_of() {
        let (off, over) = ("has no effect with Digest", "each session is over as it begins");
        for (server, directives, expected) in [
            (Server::Nginx, &[("auth_otp_linger_cookie", "on")][..], None),
            (
                Server::Nginx,
                &[("auth_otp_linger_cookie", "on"), ("auth_otp_scheme", "digest")],
                Some(off),
            ),
            (
                Server::Nginx,
                &[("auth_otp_linger_cookie", "insecure"), ("auth_otp_scheme", "both")],
                Some(off),
            ),
            (
                Server::Nginx,
                &[("auth_otp_linger_cookie", "off"), ("auth_otp_scheme", "digest")],
                None,
            ),
            (
                Server::Nginx,
                &[("auth_otp_linger_cookie", "on"), ("auth_otp_max_linger", "0")],
                Some(over),
            ),
            (Server::Apache, &[("OTPAuthLingerCookie", "On"), ("AuthType", "Digest")], Some(off)),
            (Server::Apache, &[("OTPAuthLingerCookie", "On"), ("AuthType", "Basic")], None),
            (
                Server::Apache,
                &[("OTPAuthLingerCookie", "On"), ("OTPAuthMaxLinger", "0")],
                Some(over),
            ),
            (
                Server::Apache,
                &[("OTPAuthLingerCookie", "On"), ("PINFakeBasicAuth", "On")],
                Some("has no PIN to be passed on"),
            ),
        ] {
            let file = match server {
                Server::Apache => "OTPAuthUsersFile",
                Server::Nginx => "auth_otp_users_file",
            };
            let settings = settings(server, &[&[(file, "users")], directives].concat());
            let is_off = expected == Some(off) || directives[0].1 == "off";
            assert_eq!(settings.policy(server).cookie.is_none(), is_off, "{directives:?}");
            let said = said(server, &[Place { settings, ..Place::default() }]);
            let about: Vec<&String> =
                said.iter().filter(|text| text.contains(directives[0].0)).collect();
            assert_eq!(about.len(), usize::from(expected.is_some()), "{said:?}");
            assert!(expected.is_none_or(|expected| about[0].contains(expected)), "{said:?}");
        }
    }

    #[test]
    fn places_of_one_cookie_that_decide_otherwise_are_warned_of() {
        let place = |realm: &'static str, more: &[(&str, &'static str)]| {
            let mut directives =
                vec![("auth_otp_users_file", "users"), ("auth_otp_linger_cookie", "on")];
            directives.extend(more);
            let settings = settings(Server::Nginx, &directives);
            Place { settings, place: b"a:2", realm: realm.as_bytes(), ..Place::default() }
        };
        let here = place("area", &[]);
        for (other, is_warned_of) in [
            (place("area", &[]), false),
            (place("area", &[("auth_otp_max_age", "60")]), false),
            (place("area", &[("auth_otp_max_linger", "60")]), true),
            (place("area", &[("auth_otp_pin_file", "pins")]), true),
            (place("other", &[("auth_otp_max_linger", "60")]), false),
            (
                place("area", &[("auth_otp_max_linger", "60"), ("auth_otp_users_file", "more")]),
                false,
            ),
            (
                place("area", &[("auth_otp_max_linger", "60"), ("auth_otp_linger_cookie", "off")]),
                false,
            ),
        ] {
            let said = said(Server::Nginx, &[here, other]);
            let warned = said.iter().any(|text| text.contains("each other's sessions"));
            assert_eq!(warned, is_warned_of, "{said:?}");
        }
    }

    #[test]
    fn sections_of_httpd_that_one_page_cannot_serve_are_warned_of() {
        const COMMON: [(&str, &str); 3] = [
            ("OTPAuthUsersFile", "users"),
            ("OTPAuthLoginPage", "/otp/login"),
            ("AuthType", "OTP"),
        ];
        let place = |section: &'static str, more: &[(&str, &'static str)]| {
            let directives = [&COMMON[..], more].concat();
            let settings = settings(Server::Apache, &directives);
            Place { settings, section: section.as_bytes(), ..Place::default() }
        };
        let (page, one, two) = (
            "a:1 <Location \"/otp/login\">\n",
            "a:9 <VirtualHost *:80>\na:2 <Location \"/area\">\n",
            "a:8 <VirtualHost *:81>\na:3 <Location \"/area\">\n",
        );
        let at_host = "a:9 <VirtualHost *:80>\na:4 <Location \"/otp/login\">\n";
        let area = "a:2 <Location \"/area\">\n";
        for (number, (here, there, is_warned_of)) in [
            (place(page, &[]), place(area, &[]), false),
            (place(page, &[]), place(area, &[("OTPAuthMaxLinger", "60")]), true),
            (place(page, &[]), place(area, &[("OTPAuthUsersFile", "others")]), true),
            (place(page, &[]), place(area, &[("OTPAuthMaxAge", "60")]), false),
            (place(page, &[]), place(area, &[("OTPAuthLoginPage", "/other")]), false),
            // Hosts have pages of their own.
            (place(one, &[]), place(two, &[("OTPAuthMaxLinger", "60")]), false),
            (place(at_host, &[]), place(one, &[("OTPAuthMaxLinger", "60")]), true),
        ]
        .into_iter()
        .enumerate()
        {
            let said = said(Server::Apache, &[here, there]);
            let warned = said.iter().any(|text| text.contains("is the page of"));
            assert_eq!(warned, is_warned_of, "{number}: {said:?}");
        }
        // What may hold around one of them may make them the same.
        let around = place("a:5 <Directory \"/srv\">\n", &[]);
        let around =
            Place { settings: settings(Server::Apache, &[("OTPAuthMaxLinger", "60")]), ..around };
        let linger = place(area, &[("OTPAuthMaxLinger", "60")]);
        let said = said(Server::Apache, &[place(page, &[]), linger, around]);
        assert!(!said.iter().any(|text| text.contains("is the page of")), "{said:?}");
    }

    #[test]
    fn sections_lie_in_each_other_by_host_kind_and_path() {
        let host = "a:1 <VirtualHost *:80>\n";
        let location = |host: &str, path: &str| format!("{host}a:3 <Location {path}>\n");
        let directory = |path: &str| format!("a:4 <Directory \"{path}\">\n");
        for (outer, inner, expected) in [
            (String::new(), location(host, "/a"), Above::Surely),
            (host.to_owned(), location(host, "/a"), Above::Surely),
            (host.to_owned(), location("a:9 <VirtualHost *:80>\n", "/a"), Above::No),
            (location("", "/a"), location(host, "/a/b"), Above::Surely),
            (location("", "\"/a/\""), location("", "/a"), Above::Surely),
            (location("", "/a"), location("", "/ab"), Above::No),
            (location("", "/a/b"), location("", "/a"), Above::No),
            (location("", "/"), location("", "/a"), Above::Surely),
            (directory("/srv"), location("", "/a"), Above::Perhaps),
            (directory("/srv/*"), directory("/srv/a"), Above::Perhaps),
            (directory("~ ^/srv"), directory("/srv/a"), Above::Perhaps),
            (directory("/srv"), directory("/srv/a") + "a:5 <Files x>\n", Above::Perhaps),
        ] {
            assert!(above(outer.as_bytes(), inner.as_bytes()) == expected, "{outer} {inner}");
        }
    }
}
