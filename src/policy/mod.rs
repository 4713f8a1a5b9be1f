//! The settings: inheritance and defaults.
//!
//! `table` has the one table for all servers, `words` reads the words of a directive. [`Settings`]
//! is what one section of a configuration says, with the place of each statement. [`Policy`] is
//! what holds once all sections are merged and defaults filled in. [`Limits`] are what the users
//! file itself demands of every policy, [`Allow`] what it lets people in by besides codes.
//!
//! ```
//! use otpgate::policy::{Leaked, Server, Settings};
//!
//! let mut outer = Settings::default();
//! outer.set(Server::Nginx, &Leaked, b"auth_otp_max_failures", &[b"5"], b"nginx.conf:10")?;
//! let mut inner = Settings::default();
//! inner.set(Server::Nginx, &Leaked, b"auth_otp_max_linger", &[b"0"], b"nginx.conf:12")?;
//! let policy = outer.merged_with(&inner, Server::Nginx).policy(Server::Nginx);
//! assert_eq!((policy.max_failures, policy.max_linger, policy.max_offset), (5, Some(0), 4));
//!
//! let refused = inner.set(Server::Nginx, &Leaked, b"auth_otp_max_idle", &[b"15"], b"nginx.conf:13");
//! assert!(refused.unwrap_err().to_string().contains("16"));
//! # Ok::<(), otpgate::policy::BadSetting>(())
//! ```

use std::net::IpAddr;
use std::num::NonZeroU32;

use sha2::{Digest as _, Sha256};

pub use self::allow::{Allow, TRUSTED_DAYS_MAX};
pub use self::asked::Asked;
pub use self::limits::Limits;
pub use self::memory::{Leaked, Memory};
pub use self::realm::is_for_clients_to_switch_off;
pub use self::table::{SETTINGS, Setting, pin_source_setting, users_file_setting};
use self::words::Words;
pub use self::words::{BadSetting, SettingProblem, ValueKind, Wanted};
use crate::http::digest::DigestAlgorithm;
use crate::network::Network;

mod allow;
mod asked;
mod limits;
mod memory;
mod realm;
mod table;
mod time;
mod words;

/// Which server's names and defaults hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Server {
    /// Apache httpd.
    Apache,
    /// nginx.
    Nginx,
}

/// The settings that decide a login, complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Look-ahead window: counters or time steps, 0 to 10,000.
    pub max_offset: u32,
    /// Seconds from its first use for which a code may be used again; 0: never. `None`: no such
    /// limit.
    pub max_linger: Option<u32>,
    /// Seconds from its last use for which a code may be used again. `None`: no such limit.
    pub max_idle: Option<u32>,
    /// Consecutive wrong codes that lock a token; 0: no limit.
    pub max_failures: u32,
    /// Seconds that a lock-out lasts; 0: until unlocked.
    pub lockout_time: u32,
    /// Seconds up to which a lock-out doubles with each further failure.
    pub lockout_max: u32,
    /// A lingering code holds only for the address it was first used from.
    pub logout_on_ip_change: bool,
    /// How a user ends the use of the last code.
    pub forget: Forget,
    /// Refusals over the PIN are passed on to the next provider.
    pub fall_through: bool,
    /// HOTP codes may be given in hexadecimal.
    pub allow_hex: bool,
    /// Passwords of programs let in without a code.
    pub app_passwords: bool,
    /// Whether a PIN without a code is enough. Settings alone know it where no networks are named.
    pub pin_alone: PinAlone,
    /// Days for which a PIN without a code is enough on a computer that has shown one. `None`: it
    /// isn't.
    pub trusted_computer: Option<NonZeroU32>,
    /// After a grant, what stands behind us sees user and PIN.
    pub pin_fake_basic: bool,
    /// Seconds for which a PIN found right by a slow hash is remembered.
    pub pin_cache_hashed: u32,
    /// Seconds for which a PIN marked `+` and found right in a PIN file is remembered.
    pub pin_cache_external: u32,
    /// How often a client may be wrong. `None`: as often as it likes.
    pub throttle: Option<Throttle>,
    /// A name that isn't listed is for another provider to decide, so it is none of our refusals.
    pub passes_unknown_on: bool,
    /// What is kept of logins for browsers. `None`: nothing, so codes linger.
    pub cookie: Option<CookiePolicy>,
    /// Whether the place lets in the user in question. Settings alone know it where nobody is named.
    pub admission: Admission,
    /// Which of these are defaults.
    pub unset: Unset,
}

impl Policy {
    /// What holds for wrong Digest responses, which anybody can send: a lock-out that nobody has
    /// given a time ends by itself.
    pub fn of_digest_failures(&self) -> Policy {
        if self.lockout_time != 0 || !self.unset.lockout {
            return *self;
        }
        Policy { lockout_time: DIGEST_LOCKOUT, lockout_max: DIGEST_LOCKOUT, ..*self }
    }
}

/// How a place lets browsers come in by a cookie instead of a lingering code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CookiePolicy {
    /// So many sessions a user may have; the one that began first makes way for one more.
    pub sessions: u8,
    /// Seconds for which the last fresh code is good here. `None`: as long as the session.
    pub max_age: Option<NonZeroU32>,
}

/// Whether a cookie is used at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LingerCookie {
    /// It isn't: codes linger.
    Off,
    /// Over TLS.
    On,
    /// Over plain HTTP, too: for demonstrations on one machine.
    Insecure,
}

/// Whether a place lets a user in whose PIN and code are right.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Admission {
    /// It names the user, a group that has them, or nobody.
    Admitted,
    /// It names others.
    NotAdmitted,
    /// That isn't known: nobody is let in.
    #[default]
    Unknown,
}

/// Whether a PIN without a code is enough.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PinAlone {
    /// It isn't.
    #[default]
    Never,
    /// In networks from which the store has it be enough.
    IfStored,
    /// The client is in a network from which the place has it be enough.
    Here,
}

/// Which settings nobody has set, among those that a users file can limit: the file's own takes the
/// default's place.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)] // named as in the policy
pub struct Unset {
    pub max_offset: bool,
    pub max_linger: bool,
    pub max_failures: bool,
    pub lockout: bool,
    pub throttle: bool,
}

/// What a forget request is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Forget {
    /// An empty password, from the address that the code was last used from.
    On,
    /// The PIN and [`FORGET_WORD`], from anywhere: for sites whose users share an address.
    Word,
    /// There are none.
    Off,
}

/// Stands in the place of a code; none is like it.
pub const FORGET_WORD: &[u8] = b"logout";

impl Policy {
    /// The same however old a session's last new code is.
    pub fn without_max_age(&self) -> Policy {
        Policy {
            cookie: self.cookie.map(|cookie| CookiePolicy { max_age: None, ..cookie }),
            ..*self
        }
    }

    /// Whether the same attempt comes to the same by both. The rest says what is done once it is
    /// decided.
    pub fn decides_like(&self, other: &Policy) -> bool {
        let deciding = |policy: &Policy| Policy {
            pin_fake_basic: false,
            pin_cache_hashed: 0,
            pin_cache_external: 0,
            throttle: None,
            cookie: policy.cookie.map(|cookie| CookiePolicy {
                sessions: 0,
                // A code of this request is new enough anywhere; a PIN alone is, where nothing is
                // asked.
                max_age: cookie.max_age.map(|_| NonZeroU32::MIN),
            }),
            ..*policy
        };
        deciding(self) == deciding(other)
    }

    /// What decides a login, and so a session: places in which this is the same accept each other's
    /// sessions. `pins` says who checks PINs marked `+`. What is looked at again whenever a session
    /// is used isn't in it: whom the place lets in, from where a PIN is enough, how old a code may
    /// be.
    pub fn place_key(&self, pins: &[u8]) -> [u8; 32] {
        // Without `..`: a field that is added doesn't compile before it is thought of.
        let Policy {
            max_offset,
            max_linger,
            max_idle,
            max_failures,
            lockout_time,
            lockout_max,
            logout_on_ip_change,
            forget,
            fall_through,
            allow_hex,
            app_passwords: _,
            pin_alone: _,
            trusted_computer: _,
            pin_fake_basic: _,
            pin_cache_hashed: _,
            pin_cache_external: _,
            throttle: _,
            passes_unknown_on: _,
            cookie: _,
            admission: _,
            unset: _,
        } = *self;
        let mut hash = Sha256::new();
        let no_limit = u64::MAX;
        for number in [
            u64::from(max_offset),
            max_linger.map_or(no_limit, u64::from),
            max_idle.map_or(no_limit, u64::from),
            max_failures.into(),
            lockout_time.into(),
            lockout_max.into(),
            logout_on_ip_change.into(),
            match forget {
                Forget::On => 1,
                Forget::Word => 2,
                Forget::Off => 0,
            },
            fall_through.into(),
            allow_hex.into(),
        ] {
            hash.update(number.to_le_bytes());
        }
        hash.update(pins);
        hash.finalize().into()
    }
}

/// How a server that speaks HTTP authentication through us asks for credentials.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// RFC 7617.
    Basic,
    /// RFC 7616.
    Digest,
    /// Both; the client chooses.
    Both,
    /// By a page of our own.
    Form,
    /// By a page for people, and Basic for programs.
    FormAndBasic,
}

impl Scheme {
    /// Whether Basic credentials are looked at.
    pub fn has_basic(self) -> bool {
        matches!(self, Scheme::Basic | Scheme::Both | Scheme::FormAndBasic)
    }

    /// Whether Digest credentials are looked at.
    pub fn has_digest(self) -> bool {
        matches!(self, Scheme::Digest | Scheme::Both)
    }

    /// Whether there is a page to log in.
    pub fn has_form(self) -> bool {
        matches!(self, Scheme::Form | Scheme::FormAndBasic)
    }
}

/// The hashes that Digest offers, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Algorithms {
    algorithms: [DigestAlgorithm; 2],
    count: u8,
}

impl Algorithms {
    /// The stronger one first, as clients that choose take the first they know.
    pub const ALL: Algorithms =
        Algorithms { algorithms: [DigestAlgorithm::Sha256, DigestAlgorithm::Md5], count: 2 };

    /// The hashes.
    pub fn as_slice(&self) -> &[DigestAlgorithm] {
        &self.algorithms[..usize::from(self.count)]
    }
}

const DEFAULT_NONCE_LIFETIME: u32 = 300;
const DEFAULT_LOCKOUT_MAX: u32 = 86_400;
const DEFAULT_PIN_CACHE: u32 = 60;
const DEFAULT_THROTTLE: Throttle =
    Throttle { tries: NonZeroU32::new(20).unwrap(), seconds: NonZeroU32::new(600).unwrap() };
const DEFAULT_REFUSAL_TIME: u32 = 200;
const DEFAULT_SESSIONS: u8 = 4;
/// So many sessions of one user can be kept at a time.
pub const SESSIONS_MAX: u8 = 16;
const DIGEST_LOCKOUT: u32 = 900;
/// So many external PIN providers fit one section.
pub const PIN_PROVIDERS_MAX: usize = 8;
/// So many users can be required by their names; more belong in a group.
pub const REQUIRED_USERS_MAX: usize = 16;
/// So many networks fit one section; more belong in the users file.
pub const TRUSTED_NETWORKS_MAX: usize = 16;
/// So many groups can be required.
pub const REQUIRED_GROUPS_MAX: usize = 8;

/// A value and where it was set.
#[derive(Clone, Copy, Debug)]
pub struct Given<'a, T> {
    /// The value.
    pub value: T,
    /// "file:line", as the server names places.
    pub place: &'a [u8],
}

/// Whom a place lets in: any of these users, and the members of any of these groups. Where nobody
/// is named, everybody.
#[derive(Clone, Copy, Debug, Default)]
pub struct Required<'a> {
    /// By their names.
    pub users: &'a [&'a [u8]],
    /// By their groups.
    pub groups: Option<Given<'a, Groups<'a>>>,
}

/// Groups of one group file.
#[derive(Clone, Copy, Debug)]
pub struct Groups<'a> {
    /// The file's path.
    pub file: &'a [u8],
    /// The groups' names.
    pub names: &'a [&'a [u8]],
}

impl Required<'_> {
    /// Whether the user is named. Each request asks; most names differ in their last character.
    #[inline]
    pub fn has_user(&self, user: &[u8]) -> bool {
        self.users.iter().any(|name| name.last() == user.last() && *name == user)
    }

    /// Whether anybody is named, so that others aren't let in.
    pub fn names_anybody(&self) -> bool {
        !self.users.is_empty() || self.groups.is_some()
    }
}

/// How long a lock-out lasts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lockout {
    time: u32,
    max: u32,
}

/// How often something may be tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Throttle {
    /// So many tries.
    pub tries: NonZeroU32,
    /// In so many seconds.
    pub seconds: NonZeroU32,
}

/// The limit on failures as written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailureLimit {
    /// `None`: no limit, whatever is inherited.
    None,
    /// A number. On Apache, 0 says nothing: it doesn't end an inherited limit.
    Number(u32),
}

/// What one section says. Nothing in it owns memory, so that servers can keep it in their pools.
/// httpd merges and copies it for each request: a value is a number or two, and anything longer
/// lies in a [`Memory`], referred to.
#[derive(Clone, Copy, Debug, Default)]
#[allow(missing_docs)] // named as in `SETTINGS`
pub struct Settings<'a> {
    pub users_file: Option<Given<'a, &'a [u8]>>,
    pub max_offset: Option<Given<'a, u32>>,
    pub max_linger: Option<Given<'a, u32>>,
    pub max_idle: Option<Given<'a, u32>>,
    pub max_failures: Option<Given<'a, FailureLimit>>,
    pub lockout_time: Option<Given<'a, Lockout>>,
    /// `None`: off.
    pub throttle: Option<Given<'a, Option<Throttle>>>,
    /// `None`: at once.
    pub refusal_time: Option<Given<'a, Option<NonZeroU32>>>,
    pub logout_on_ip_change: Option<Given<'a, bool>>,
    pub forget: Option<Given<'a, Forget>>,
    pub pin_providers: Option<Given<'a, &'a [&'a [u8]]>>,
    pub pin_file: Option<Given<'a, &'a [u8]>>,
    pub pin_cache: Option<Given<'a, u32>>,
    pub fall_through: Option<Given<'a, bool>>,
    pub pin_fake_basic: Option<Given<'a, bool>>,
    pub allow_hex: Option<Given<'a, bool>>,
    pub app_passwords: Option<Given<'a, bool>>,
    /// None: what is inherited ends.
    pub trusted_networks: Option<Given<'a, &'a [Network]>>,
    /// Days; none: what is inherited ends.
    pub trusted_computer: Option<Given<'a, Option<NonZeroU32>>>,
    pub require_tls: Option<Given<'a, bool>>,
    pub scheme: Option<Given<'a, Scheme>>,
    pub digest_algorithms: Option<Given<'a, Algorithms>>,
    pub nonce_lifetime: Option<Given<'a, u32>>,
    pub linger_cookie: Option<Given<'a, LingerCookie>>,
    pub sessions: Option<Given<'a, u32>>,
    /// 0: as long as the session.
    pub max_age: Option<Given<'a, u32>>,
    pub login_page: Option<Given<'a, &'a [u8]>>,
    pub login_template: Option<Given<'a, &'a [u8]>>,
    pub strip: Option<Given<'a, bool>>,
    /// Both settings of it together: a section that says whom it lets in says it in full.
    pub required: Option<Required<'a>>,
    /// What Apache's own directives say.
    pub asked: Asked<'a>,
}

impl<'a> Settings<'a> {
    /// Takes one directive. `memory` lives as long as the settings.
    pub fn set(
        &mut self,
        server: Server,
        memory: &dyn Memory<'a>,
        name: &[u8],
        words: &[&'a [u8]],
        place: &'a [u8],
    ) -> Result<(), BadSetting> {
        let known = |setting: &&Setting| {
            // Apache's directives are the same in any case, nginx's are not.
            setting.name(server).is_some_and(|known| match server {
                Server::Apache => known.to_bytes().eq_ignore_ascii_case(name),
                Server::Nginx => known.to_bytes() == name,
            })
        };
        if server == Server::Apache && self.asked.note(name, words, place) {
            return Ok(());
        }
        let Some(setting) = SETTINGS.iter().find(known) else {
            let setting = name.escape_ascii().to_string();
            return Err(BadSetting { setting, problem: SettingProblem::NoSetting });
        };
        let words = Words { words, place, memory: Some(memory), server: Some(server) };
        (setting.take)(self, words).map_err(|problem| {
            let name = setting.name(server).unwrap_or_default();
            BadSetting { setting: name.to_string_lossy().into_owned(), problem }
        })
    }

    /// This section overlaid by one inside it.
    pub fn merged_with(&self, child: &Settings<'a>, server: Server) -> Settings<'a> {
        let mut merged = *self;
        merged.overlay(child, server);
        merged
    }

    /// The same in place. Most of a section is unset: only what is set is written.
    pub fn overlay(&mut self, child: &Settings<'a>, server: Server) {
        macro_rules! overlay {
            ($($setting:ident)*) => {
                // Without `..`: a setting that is added doesn't compile before it is thought of.
                let Settings { max_failures: _, asked: _, $($setting),* } = child;
                $(if $setting.is_some() {
                    self.$setting = *$setting;
                })*
            };
        }
        overlay! {
            users_file max_offset max_linger max_idle lockout_time throttle refusal_time
            logout_on_ip_change forget pin_providers pin_file pin_cache fall_through
            pin_fake_basic allow_hex app_passwords trusted_networks trusted_computer require_tls scheme
            digest_algorithms nonce_lifetime linger_cookie sessions max_age login_page
            login_template strip required
        }
        // On Apache, 0 says nothing where something is said.
        let says_nothing = |given: &Given<'_, FailureLimit>| {
            server == Server::Apache && given.value == FailureLimit::Number(0)
        };
        if let Some(given) = child.max_failures
            && !(says_nothing(&given) && self.max_failures.is_some())
        {
            self.max_failures = Some(given);
        }
        self.asked.overlay(&child.asked);
    }

    /// With the server's defaults filled in.
    pub fn policy(&self, server: Server) -> Policy {
        fn value<T: Copy>(given: &Option<Given<'_, T>>) -> Option<T> {
            given.map(|given| given.value)
        }
        let (default_limit, default_lockout, default_same_ip) = match server {
            Server::Apache => (0, Lockout { time: 0, max: DEFAULT_LOCKOUT_MAX }, false),
            Server::Nginx => (10, Lockout { time: 60, max: 3600 }, true),
        };
        let max_idle = value(&self.max_idle);
        let default_linger = if max_idle.is_some() { None } else { Some(600) };
        let lockout = value(&self.lockout_time).unwrap_or(default_lockout);
        let pin_cache = value(&self.pin_cache);
        let max_failures = match value(&self.max_failures) {
            Some(FailureLimit::None) => 0,
            Some(FailureLimit::Number(limit)) => limit,
            None => default_limit,
        };
        Policy {
            max_offset: value(&self.max_offset).unwrap_or(4),
            max_linger: value(&self.max_linger).or(default_linger),
            max_idle,
            max_failures,
            lockout_time: lockout.time,
            lockout_max: lockout.max,
            logout_on_ip_change: value(&self.logout_on_ip_change).unwrap_or(default_same_ip),
            forget: value(&self.forget).unwrap_or(Forget::On),
            fall_through: value(&self.fall_through).unwrap_or(false),
            allow_hex: value(&self.allow_hex).unwrap_or(true),
            app_passwords: value(&self.app_passwords).unwrap_or(false),
            pin_alone: PinAlone::IfStored,
            trusted_computer: value(&self.trusted_computer).flatten(),
            pin_fake_basic: value(&self.pin_fake_basic).unwrap_or(false),
            pin_cache_hashed: pin_cache.unwrap_or(DEFAULT_PIN_CACHE),
            // Providers have settings that we don't see, and caches of their own.
            pin_cache_external: if self.pin_file.is_some() {
                pin_cache.unwrap_or(DEFAULT_PIN_CACHE)
            } else {
                0
            },
            throttle: value(&self.throttle).unwrap_or(default_throttle(server, max_failures)),
            passes_unknown_on: server == Server::Apache,
            cookie: self.cookie_policy(server),
            admission: match self.required {
                Some(required) if required.names_anybody() => Admission::Unknown,
                _ => Admission::Admitted,
            },
            unset: Unset {
                max_offset: self.max_offset.is_none(),
                max_linger: self.max_linger.is_none(),
                max_failures: self.max_failures.is_none(),
                lockout: self.lockout_time.is_none(),
                throttle: self.throttle.is_none(),
            },
        }
    }

    fn cookie_policy(&self, server: Server) -> Option<CookiePolicy> {
        (self.linger_cookie(server) != LingerCookie::Off).then(|| CookiePolicy {
            sessions: self.sessions.map_or(DEFAULT_SESSIONS, |given| given.value as u8),
            max_age: self.max_age.and_then(|given| NonZeroU32::new(given.value)),
        })
    }

    /// Whether a cookie is used here: a page of our own can do nothing without one, and with Digest
    /// there is none.
    pub fn linger_cookie(&self, server: Server) -> LingerCookie {
        match self.linger_cookie.map(|given| given.value) {
            _ if self.asked_scheme(server).has_digest() => LingerCookie::Off,
            None | Some(LingerCookie::Off) if self.asked_scheme(server).has_form() => {
                LingerCookie::On
            }
            given => given.unwrap_or(LingerCookie::Off),
        }
    }

    /// Whether what stands behind us sees neither our cookies nor credentials.
    pub fn strips(&self, server: Server) -> bool {
        self.strip.map_or(self.asked_scheme(server).has_form(), |given| given.value)
    }

    /// The same for Digest, where nothing about the PIN can be told apart: nothing falls through, no
    /// PIN is enough, and no cookie is used.
    pub fn digest_policy(&self, server: Server) -> Policy {
        let policy = self.policy(server);
        Policy { fall_through: false, pin_alone: PinAlone::Never, cookie: None, ..policy }
    }

    /// Whether the PIN alone is enough from this address.
    pub fn trusts(&self, address: IpAddr) -> bool {
        self.trusted_networks.is_some_and(|given| Network::any_contains(given.value, address))
    }

    /// How credentials are asked for where that is ours to say.
    pub fn scheme(&self) -> Scheme {
        self.scheme.map_or(Scheme::Basic, |given| given.value)
    }

    /// The same where the server itself knows: what its own directives say.
    pub fn asked_scheme(&self, server: Server) -> Scheme {
        match server {
            Server::Apache if self.asked.is_of_type("Digest") => Scheme::Digest,
            Server::Apache if self.asked.is_of_type("OTP") => Scheme::Form,
            Server::Apache if self.login_page.is_some() => Scheme::FormAndBasic,
            Server::Apache => Scheme::Basic,
            Server::Nginx => self.scheme(),
        }
    }

    /// The hashes that Digest offers, in order.
    pub fn digest_algorithms(&self) -> Algorithms {
        self.digest_algorithms.map_or(Algorithms::ALL, |given| given.value)
    }

    /// Milliseconds: refusals go out at multiples of them. `None`: at once.
    pub fn refusal_time(&self) -> Option<NonZeroU32> {
        self.refusal_time.map_or(NonZeroU32::new(DEFAULT_REFUSAL_TIME), |given| given.value)
    }

    /// Seconds for which a Digest nonce may be used.
    pub fn nonce_lifetime(&self) -> u32 {
        self.nonce_lifetime.map_or(DEFAULT_NONCE_LIFETIME, |given| given.value)
    }

    /// Whether requests without TLS are refused.
    pub fn requires_tls(&self) -> bool {
        self.require_tls.is_some_and(|given| given.value)
    }

    /// The names of the external PIN providers.
    pub fn pin_provider_names(&self) -> &'a [&'a [u8]] {
        self.pin_providers.map_or(&[], |given| given.value)
    }
}

/// Who hasn't asked for a limit gets none on Apache: configurations of mod_authn_otp mean what they
/// did.
fn default_throttle(server: Server, max_failures: u32) -> Option<Throttle> {
    (server == Server::Nginx || max_failures > 0).then_some(DEFAULT_THROTTLE)
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) fn apache(
        directives: &[(&str, &[&'static str])],
    ) -> Result<Settings<'static>, String> {
        let mut settings = Settings::default();
        for (name, words) in directives {
            let words: Vec<&'static [u8]> = words.iter().map(|word| word.as_bytes()).collect();
            settings
                .set(Server::Apache, &Leaked, name.as_bytes(), &words, b"test:1")
                .map_err(|error| error.to_string())?;
        }
        Ok(settings)
    }

    #[test]
    fn defaults_are_those_of_the_specification() {
        let apache = Settings::default().policy(Server::Apache);
        let expected = Policy {
            max_offset: 4,
            max_linger: Some(600),
            max_idle: None,
            max_failures: 0,
            lockout_time: 0,
            lockout_max: 86_400,
            logout_on_ip_change: false,
            forget: Forget::On,
            fall_through: false,
            allow_hex: true,
            app_passwords: false,
            pin_alone: PinAlone::IfStored,
            trusted_computer: None,
            pin_fake_basic: false,
            pin_cache_hashed: 60,
            pin_cache_external: 0,
            throttle: None,
            passes_unknown_on: true,
            cookie: None,
            admission: Admission::Admitted,
            unset: Unset {
                max_offset: true,
                max_linger: true,
                max_failures: true,
                lockout: true,
                throttle: true,
            },
        };
        assert_eq!(apache, expected);
        let nginx = Settings::default().policy(Server::Nginx);
        let expected = Policy {
            max_failures: 10,
            lockout_time: 60,
            lockout_max: 3600,
            logout_on_ip_change: true,
            throttle: Some(DEFAULT_THROTTLE),
            passes_unknown_on: false,
            ..expected
        };
        assert_eq!(nginx, expected);
    }

    #[test]
    fn pins_checked_by_us_are_remembered_by_themselves() {
        let nginx = |directives: &[(&str, &'static [u8])]| {
            let mut settings = Settings::default();
            for (name, word) in directives {
                settings.set(Server::Nginx, &Leaked, name.as_bytes(), &[word], b"test:1").unwrap();
            }
            settings.policy(Server::Nginx).pin_cache_external
        };
        assert_eq!(nginx(&[]), 0);
        assert_eq!(nginx(&[("auth_otp_pin_file", b"pins")]), 60);
        assert_eq!(nginx(&[("auth_otp_pin_file", b"pins"), ("auth_otp_pin_cache", b"0")]), 0);
    }

    #[test]
    fn idle_alone_ends_the_default_linger_time() {
        let policy = |directives| apache(directives).unwrap().policy(Server::Apache);
        let idle = policy(&[("OTPAuthMaxIdle", &["60"])]);
        assert_eq!((idle.max_linger, idle.max_idle), (None, Some(60)));
        let both = policy(&[("OTPAuthMaxIdle", &["60"]), ("OTPAuthMaxLinger", &["900"])]);
        assert_eq!((both.max_linger, both.max_idle), (Some(900), Some(60)));
    }

    #[test]
    fn digest_on_nginx_is_asked_for_and_has_defaults() {
        let nginx = |name: &str, words: &[&'static str]| {
            let mut settings = Settings::default();
            let words: Vec<&'static [u8]> = words.iter().map(|word| word.as_bytes()).collect();
            let set = settings.set(Server::Nginx, &Leaked, name.as_bytes(), &words, b"test:1");
            set.map(|()| settings).map_err(|error| error.to_string())
        };
        let unset = Settings::default();
        assert_eq!((unset.scheme(), unset.nonce_lifetime()), (Scheme::Basic, 300));
        assert_eq!(
            unset.digest_algorithms().as_slice(),
            [DigestAlgorithm::Sha256, DigestAlgorithm::Md5]
        );
        for (words, expected) in [
            (&["MD5", "SHA-256"][..], Ok(&[DigestAlgorithm::Md5, DigestAlgorithm::Sha256][..])),
            (&["sha-256"], Ok(&[DigestAlgorithm::Sha256])),
            (&["MD5"], Ok(&[DigestAlgorithm::Md5])),
            (&[], Err("takes SHA-256 and MD5, or one of them, not 0 words")),
            (&["MD5", "md5"], Err("takes SHA-256 and MD5, or one of them, not MD5 twice")),
            (&["MD5-sess"], Err("takes SHA-256 and MD5, or one of them, not \"MD5-sess\"")),
        ] {
            let set = nginx("auth_otp_digest_algorithms", words);
            let set = set.map(|settings| settings.digest_algorithms().as_slice().to_vec());
            let expected = expected
                .map(<[DigestAlgorithm]>::to_vec)
                .map_err(|message| format!("auth_otp_digest_algorithms {message}"));
            assert_eq!(set, expected);
        }
        for (word, scheme) in
            [("basic", Scheme::Basic), ("digest", Scheme::Digest), ("both", Scheme::Both)]
        {
            assert_eq!(nginx("auth_otp_scheme", &[word]).unwrap().scheme(), scheme);
        }
        assert_eq!(
            nginx("auth_otp_scheme", &["Digest"]).map(|_| ()),
            Err("auth_otp_scheme takes basic, digest, both, form, or form and basic, not \"Digest\"".to_owned())
        );
        assert_eq!(
            nginx("auth_otp_nonce_lifetime", &["0"]).map(|_| ()),
            Err("auth_otp_nonce_lifetime takes a time from 1 to 86400 seconds, such as 90, 10m or 1h30m, not \"0\"".to_owned())
        );
    }

    #[test]
    fn pin_providers_of_several_lines_of_one_section_are_asked_in_turn() {
        let parent = apache(&[
            ("OTPAuthPINAuthProvider", &["file", "dbm"]),
            ("OTPAuthPINAuthProvider", &["ldap"]),
        ])
        .unwrap();
        assert_eq!(parent.pin_provider_names(), [&b"file"[..], b"dbm", b"ldap"]);
        let child = apache(&[("OTPAuthPINAuthProvider", &["socache"])]).unwrap();
        let names = parent.merged_with(&child, Server::Apache);
        assert_eq!(names.pin_provider_names(), [b"socache"]);
    }

    #[test]
    fn who_is_let_in_is_said_in_full_by_the_innermost_section_that_says_it() {
        let names = |settings: &Settings<'static>| {
            let required = settings.required.unwrap_or_default();
            let groups = required.groups.map(|given| given.value);
            let names = groups.map(|groups| groups.names.join(&b' ')).unwrap_or_default();
            let users = required.users.join(&b' ');
            let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
            (text(users), text(names), settings.policy(Server::Apache).admission)
        };
        let outer = apache(&[
            ("OTPAuthRequireUser", &["alice", "bob"]),
            ("OTPAuthRequireGroup", &["groups", "staff"]),
        ])
        .unwrap();
        for (inner, users, groups, admission) in [
            (&[][..], "alice bob", "staff", Admission::Unknown),
            (&[("OTPAuthMaxLinger", &["0"][..])], "alice bob", "staff", Admission::Unknown),
            (&[("OTPAuthRequireUser", &["carol"])], "carol", "", Admission::Unknown),
            (&[("OTPAuthRequireGroup", &["others", "admins"])], "", "admins", Admission::Unknown),
            (&[("OTPAuthRequireUser", &["OFF"])], "", "", Admission::Admitted),
            // Further lines of one section add up.
            (
                &[
                    ("OTPAuthRequireUser", &["carol"]),
                    ("OTPAuthRequireGroup", &["groups", "admins"]),
                    ("OTPAuthRequireUser", &["dave"]),
                    ("OTPAuthRequireGroup", &["groups", "staff"]),
                ],
                "carol dave",
                "admins staff",
                Admission::Unknown,
            ),
        ] {
            let merged = outer.merged_with(&apache(inner).unwrap(), Server::Apache);
            assert_eq!(names(&merged), (users.to_owned(), groups.to_owned(), admission));
        }
        assert_eq!(names(&Settings::default()).2, Admission::Admitted);
    }

    #[test]
    fn a_policy_that_lets_others_in_decides_otherwise() {
        let policy = Settings::default().policy(Server::Nginx);
        for admission in [Admission::NotAdmitted, Admission::Unknown] {
            assert!(!policy.decides_like(&Policy { admission, ..policy }), "{admission:?}");
        }
    }

    #[test]
    fn a_child_overrides_and_an_unset_child_inherits() {
        let parent = apache(&[
            ("OTPAuthMaxOTPFailure", &["5"]),
            ("OTPAuthMaxLinger", &["60"]),
            ("OTPAuthLogoutOnIPChange", &["On"]),
        ])
        .unwrap();
        for (child, expected) in [
            (&[][..], (5, Some(60), true)),
            (&[("OTPAuthMaxOTPFailure", &["0"][..])], (5, Some(60), true)),
            (&[("OTPAuthMaxOTPFailure", &["none"])], (0, Some(60), true)),
            (&[("OTPAuthMaxOTPFailure", &["7"])], (7, Some(60), true)),
            (&[("OTPAuthMaxLinger", &["0"])], (5, Some(0), true)),
            (&[("otpauthlogoutonipchange", &["off"])], (5, Some(60), false)),
        ] {
            let policy =
                parent.merged_with(&apache(child).unwrap(), Server::Apache).policy(Server::Apache);
            assert_eq!(
                (policy.max_failures, policy.max_linger, policy.logout_on_ip_change),
                expected
            );
        }
    }
}
