//! The settings: one table for all servers, with names, parsing, inheritance and defaults.
//!
//! [`Settings`] is what one section of a configuration says, with the place of each statement.
//! [`Policy`] is what holds once all sections are merged and defaults filled in. [`Limits`] are what the users file
//! itself demands of every policy.
//!
//! ```
//! use otpgate::policy::{Server, Settings};
//!
//! let mut outer = Settings::default();
//! outer.set(Server::Nginx, b"auth_otp_max_failures", &[b"5"], b"nginx.conf:10")?;
//! let mut inner = Settings::default();
//! inner.set(Server::Nginx, b"auth_otp_max_linger", &[b"0"], b"nginx.conf:12")?;
//! let policy = outer.merged_with(&inner, Server::Nginx).policy(Server::Nginx);
//! assert_eq!((policy.max_failures, policy.max_linger, policy.max_offset), (5, Some(0), 4));
//!
//! let refused = inner.set(Server::Nginx, b"auth_otp_max_idle", &[b"15"], b"nginx.conf:13");
//! assert!(refused.unwrap_err().to_string().contains("16"));
//! # Ok::<(), otpgate::policy::BadSetting>(())
//! ```

use std::ffi::CStr;
use std::fmt;
use std::num::NonZeroU32;

pub use self::asked::Asked;
pub use self::limits::Limits;
pub use self::realm::is_for_clients_to_switch_off;
use crate::http::digest::Algorithm;

mod asked;
mod limits;
mod realm;

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
    /// Seconds from its first use for which a code may be used again; 0: never. `None`: no such limit.
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
    /// Which of these are defaults.
    pub unset: Unset,
}

impl Policy {
    /// What holds for wrong Digest responses, which anybody can send: a lock-out that nobody has given a time ends by
    /// itself.
    pub fn of_digest_failures(&self) -> Policy {
        if self.lockout_time != 0 || !self.unset.lockout {
            return *self;
        }
        Policy { lockout_time: DIGEST_LOCKOUT, lockout_max: DIGEST_LOCKOUT, ..*self }
    }
}

/// Which settings nobody has set, among those that a users file can limit: the file's own takes the default's place.
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
    /// Whether the same attempt comes to the same by both. The rest says what is done once it is decided.
    pub fn decides_like(&self, other: &Policy) -> bool {
        let deciding = |policy: &Policy| Policy {
            pin_fake_basic: false,
            pin_cache_hashed: 0,
            pin_cache_external: 0,
            throttle: None,
            ..*policy
        };
        deciding(self) == deciding(other)
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
}

impl Scheme {
    /// Whether Basic credentials are looked at.
    pub fn has_basic(self) -> bool {
        self != Scheme::Digest
    }

    /// Whether Digest credentials are looked at.
    pub fn has_digest(self) -> bool {
        self != Scheme::Basic
    }
}

/// The hashes that Digest offers, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Algorithms {
    algorithms: [Algorithm; 2],
    count: usize,
}

impl Algorithms {
    /// The stronger one first, as clients that choose take the first they know.
    pub const ALL: Algorithms = Algorithms { algorithms: [Algorithm::Sha256, Algorithm::Md5], count: 2 };

    /// The hashes.
    pub fn as_slice(&self) -> &[Algorithm] {
        &self.algorithms[..self.count]
    }
}

const DEFAULT_NONCE_LIFETIME: u32 = 300;
const MAX_NONCE_LIFETIME: u32 = 86_400;
const MAX_OFFSET: u32 = 10_000;
const MIN_IDLE: u32 = 16;
const MAX_SECONDS: u32 = i32::MAX as u32;
const DEFAULT_LOCKOUT_MAX: u32 = 86_400;
const DEFAULT_PIN_CACHE: u32 = 60;
const DEFAULT_THROTTLE: Throttle =
    Throttle { tries: NonZeroU32::new(20).unwrap(), seconds: NonZeroU32::new(600).unwrap() };
const DEFAULT_REFUSAL_TIME: u32 = 200;
/// What `refusals` can keep.
const MAX_REFUSAL_TIME: u32 = 10_000;
const DIGEST_LOCKOUT: u32 = 900;
/// A lock-out that doubles is of no use with a limit beyond this.
const MAX_LOCKOUT: u32 = 366 * 86_400;
/// A window of tries that lasts longer is a lock-out.
const MAX_THROTTLE: u32 = 86_400;
/// So many external PIN providers fit one section.
pub const PIN_PROVIDERS_MAX: usize = 8;

/// A value and where it was set.
#[derive(Clone, Copy, Debug)]
pub struct Given<'a, T> {
    /// The value.
    pub value: T,
    /// "file:line", as the server names places.
    pub place: &'a [u8],
}

/// A list of names, in order.
#[derive(Clone, Copy, Debug, Default)]
pub struct Names<'a> {
    names: [&'a [u8]; PIN_PROVIDERS_MAX],
    count: usize,
}

impl<'a> Names<'a> {
    /// The names.
    pub fn as_slice(&self) -> &[&'a [u8]] {
        &self.names[..self.count]
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
#[derive(Clone, Copy, Debug, Default)]
#[allow(missing_docs)] // named as in the table below
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
    pub pin_providers: Option<Given<'a, Names<'a>>>,
    pub pin_file: Option<Given<'a, &'a [u8]>>,
    pub pin_cache: Option<Given<'a, u32>>,
    pub fall_through: Option<Given<'a, bool>>,
    pub pin_fake_basic: Option<Given<'a, bool>>,
    pub allow_hex: Option<Given<'a, bool>>,
    pub require_tls: Option<Given<'a, bool>>,
    pub scheme: Option<Given<'a, Scheme>>,
    pub digest_algorithms: Option<Given<'a, Algorithms>>,
    pub nonce_lifetime: Option<Given<'a, u32>>,
    /// What Apache's own directives say.
    pub asked: Asked<'a>,
}

/// Why a directive is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadSetting(String);

impl fmt::Display for BadSetting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for BadSetting {}

/// One row of the table.
pub struct Setting {
    /// The directive's name on Apache, if it exists there.
    pub apache: Option<&'static CStr>,
    /// The directive's name on nginx, if it exists there.
    pub nginx: Option<&'static CStr>,
    /// What it is called in a `#@ limits` line of the users file, if it can be limited there.
    pub limit: Option<&'static str>,
    /// What it takes and means, for the server's own help.
    pub usage: &'static CStr,
    take: for<'a> fn(&mut Settings<'a>, Words<'_, 'a>) -> Result<(), String>,
}

impl Setting {
    /// Its name on a server.
    pub fn name(&self, server: Server) -> Option<&'static CStr> {
        match server {
            Server::Apache => self.apache,
            Server::Nginx => self.nginx,
        }
    }
}

/// The table.
pub const SETTINGS: &[Setting] = &[
    Setting {
        apache: Some(c"OTPAuthUsersFile"),
        nginx: Some(c"auth_otp_users_file"),
        limit: None,
        usage: c"path of the users file; a relative one starts from the server's root",
        take: |settings, words| words.put(&mut settings.users_file, words.path()),
    },
    Setting {
        apache: Some(c"OTPAuthMaxOffset"),
        nginx: Some(c"auth_otp_max_offset"),
        limit: Some("max_offset"),
        usage: c"look-ahead window in counters or time steps, 0 to 10000",
        take: |settings, words| words.put(&mut settings.max_offset, words.number(0, MAX_OFFSET)),
    },
    Setting {
        apache: Some(c"OTPAuthMaxLinger"),
        nginx: Some(c"auth_otp_max_linger"),
        limit: Some("max_linger"),
        usage: c"seconds from its first use for which a code may be used again; 0: never",
        take: |settings, words| words.put(&mut settings.max_linger, words.number(0, MAX_SECONDS)),
    },
    Setting {
        apache: Some(c"OTPAuthMaxIdle"),
        nginx: Some(c"auth_otp_max_idle"),
        limit: Some("max_idle"),
        usage: c"seconds from its last use for which a code may be used again, at least 16",
        take: |settings, words| words.put(&mut settings.max_idle, words.number(MIN_IDLE, MAX_SECONDS)),
    },
    Setting {
        apache: Some(c"OTPAuthMaxOTPFailure"),
        nginx: Some(c"auth_otp_max_failures"),
        limit: Some("max_failures"),
        usage: c"consecutive wrong codes that lock a token, or None",
        take: |settings, words| words.put(&mut settings.max_failures, words.failure_limit()),
    },
    Setting {
        apache: Some(c"OTPAuthLockoutTime"),
        nginx: Some(c"auth_otp_lockout_time"),
        limit: Some("lockout"),
        usage: c"seconds a lock-out lasts, 0: until unlocked; then the seconds up to which it doubles",
        take: |settings, words| words.put(&mut settings.lockout_time, words.lockout()),
    },
    Setting {
        apache: Some(c"OTPAuthThrottle"),
        nginx: Some(c"auth_otp_throttle"),
        limit: Some("throttle"),
        usage: c"wrong tries of a client at one user, and the seconds in which it has so many; or Off",
        take: |settings, words| words.put(&mut settings.throttle, words.throttle()),
    },
    Setting {
        apache: Some(c"OTPAuthRefusalTime"),
        nginx: Some(c"auth_otp_refusal_time"),
        limit: None,
        usage: c"milliseconds: a refusal goes out at a multiple of them after its request came; or Off",
        take: |settings, words| words.put(&mut settings.refusal_time, words.refusal_time()),
    },
    Setting {
        apache: Some(c"OTPAuthLogoutOnIPChange"),
        nginx: Some(c"auth_otp_logout_on_ip_change"),
        limit: None,
        usage: c"On or Off: a code may be used again only from the address it was first used from",
        take: |settings, words| words.put(&mut settings.logout_on_ip_change, words.flag()),
    },
    Setting {
        apache: Some(c"OTPAuthForget"),
        nginx: Some(c"auth_otp_forget"),
        limit: None,
        usage: c"On, Word or Off: an empty password, or PIN and the word logout, ends the use of the last code",
        take: |settings, words| words.put(&mut settings.forget, words.forget()),
    },
    Setting {
        apache: Some(c"OTPAuthPINAuthProvider"),
        nginx: None,
        limit: None,
        usage: c"names of the authn providers that check a PIN marked +",
        take: |settings, words| {
            // A second directive of the same section adds to the first, as with mod_authn_otp.
            let before = settings.pin_providers.map(|given| given.value).unwrap_or_default();
            words.put(&mut settings.pin_providers, words.providers(before))
        },
    },
    Setting {
        apache: None,
        nginx: Some(c"auth_otp_pin_file"),
        limit: None,
        usage: c"path of an htpasswd file that checks a PIN marked +; a relative one starts from the server's root",
        take: |settings, words| words.put(&mut settings.pin_file, words.path()),
    },
    Setting {
        apache: Some(c"OTPAuthPINCache"),
        nginx: Some(c"auth_otp_pin_cache"),
        limit: None,
        usage: c"seconds for which a PIN that we have found right (a hash, a PIN file) is remembered, 0: not at all",
        take: |settings, words| words.put(&mut settings.pin_cache, words.number(0, MAX_SECONDS)),
    },
    Setting {
        apache: Some(c"OTPAuthFallThrough"),
        nginx: None,
        limit: None,
        usage: c"On or Off: a refused PIN is passed on to the next authn provider",
        take: |settings, words| words.put(&mut settings.fall_through, words.flag()),
    },
    Setting {
        apache: Some(c"PINFakeBasicAuth"),
        nginx: Some(c"auth_otp_pin_fake_basic"),
        limit: None,
        usage: c"On or Off: after a grant, what stands behind the server sees user and PIN",
        take: |settings, words| words.put(&mut settings.pin_fake_basic, words.flag()),
    },
    Setting {
        apache: Some(c"OTPAuthAllowHex"),
        nginx: Some(c"auth_otp_allow_hex"),
        limit: None,
        usage: c"On or Off: HOTP codes may be given in hexadecimal",
        take: |settings, words| words.put(&mut settings.allow_hex, words.flag()),
    },
    Setting {
        apache: Some(c"OTPAuthRequireTLS"),
        nginx: Some(c"auth_otp_require_tls"),
        limit: None,
        usage: c"On or Off: requests without TLS are refused before credentials are looked at",
        take: |settings, words| words.put(&mut settings.require_tls, words.flag()),
    },
    Setting {
        apache: None,
        nginx: Some(c"auth_otp_scheme"),
        limit: None,
        usage: c"basic, digest or both: how credentials are asked for",
        take: |settings, words| words.put(&mut settings.scheme, words.scheme()),
    },
    Setting {
        apache: None,
        nginx: Some(c"auth_otp_digest_algorithms"),
        limit: None,
        usage: c"SHA-256 and MD5, or one of them: the hashes that Digest offers, in this order",
        take: |settings, words| words.put(&mut settings.digest_algorithms, words.algorithms()),
    },
    Setting {
        apache: None,
        nginx: Some(c"auth_otp_nonce_lifetime"),
        limit: None,
        usage: c"seconds for which a Digest nonce may be used, 1 to 86400",
        take: |settings, words| words.put(&mut settings.nonce_lifetime, words.number(1, MAX_NONCE_LIFETIME)),
    },
];

/// The name of the setting that says who checks PINs marked `+`.
pub fn pin_source_setting(server: Server) -> &'static str {
    match server {
        Server::Apache => "OTPAuthPINAuthProvider",
        Server::Nginx => "auth_otp_pin_file",
    }
}

/// The name of the one setting that has no default.
pub fn users_file_setting(server: Server) -> &'static str {
    match server {
        Server::Apache => "OTPAuthUsersFile",
        Server::Nginx => "auth_otp_users_file",
    }
}

impl<'a> Settings<'a> {
    /// Takes one directive.
    pub fn set(
        &mut self,
        server: Server,
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
            return Err(BadSetting(format!("{} is no setting of otpgate", name.escape_ascii())));
        };
        let name = setting.name(server).unwrap_or_default().to_string_lossy();
        (setting.take)(self, Words { words, place }).map_err(|reason| BadSetting(format!("{name} {reason}")))
    }

    /// This section overlaid by one inside it.
    pub fn merged_with(&self, child: &Settings<'a>, server: Server) -> Settings<'a> {
        let max_failures = match child.max_failures {
            Some(Given { value: FailureLimit::Number(0), .. }) if server == Server::Apache => {
                self.max_failures.or(child.max_failures)
            }
            given => given.or(self.max_failures),
        };
        Settings {
            users_file: child.users_file.or(self.users_file),
            max_offset: child.max_offset.or(self.max_offset),
            max_linger: child.max_linger.or(self.max_linger),
            max_idle: child.max_idle.or(self.max_idle),
            max_failures,
            lockout_time: child.lockout_time.or(self.lockout_time),
            throttle: child.throttle.or(self.throttle),
            refusal_time: child.refusal_time.or(self.refusal_time),
            logout_on_ip_change: child.logout_on_ip_change.or(self.logout_on_ip_change),
            forget: child.forget.or(self.forget),
            pin_providers: child.pin_providers.or(self.pin_providers),
            pin_file: child.pin_file.or(self.pin_file),
            pin_cache: child.pin_cache.or(self.pin_cache),
            fall_through: child.fall_through.or(self.fall_through),
            pin_fake_basic: child.pin_fake_basic.or(self.pin_fake_basic),
            allow_hex: child.allow_hex.or(self.allow_hex),
            require_tls: child.require_tls.or(self.require_tls),
            scheme: child.scheme.or(self.scheme),
            digest_algorithms: child.digest_algorithms.or(self.digest_algorithms),
            nonce_lifetime: child.nonce_lifetime.or(self.nonce_lifetime),
            asked: self.asked.merged_with(&child.asked),
        }
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
            unset: Unset {
                max_offset: self.max_offset.is_none(),
                max_linger: self.max_linger.is_none(),
                max_failures: self.max_failures.is_none(),
                lockout: self.lockout_time.is_none(),
                throttle: self.throttle.is_none(),
            },
        }
    }

    /// The same for Digest, where nothing about the PIN can be told apart: nothing falls through.
    pub fn digest_policy(&self, server: Server) -> Policy {
        Policy { fall_through: false, ..self.policy(server) }
    }

    /// How credentials are asked for where that is ours to say.
    pub fn scheme(&self) -> Scheme {
        self.scheme.map_or(Scheme::Basic, |given| given.value)
    }

    /// The same where the server itself knows: what its own directives say.
    pub fn asked_scheme(&self, server: Server) -> Scheme {
        match server {
            Server::Apache if self.asked.is_of_type("Digest") => Scheme::Digest,
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
    pub fn pin_provider_names(&self) -> &[&'a [u8]] {
        self.pin_providers.as_ref().map_or(&[], |given| given.value.as_slice())
    }
}

/// Who hasn't asked for a limit gets none on Apache: configurations of mod_authn_otp mean what they did.
fn default_throttle(server: Server, max_failures: u32) -> Option<Throttle> {
    (server == Server::Nginx || max_failures > 0).then_some(DEFAULT_THROTTLE)
}

/// The words of a directive, to be read in one of these ways.
#[derive(Clone, Copy)]
struct Words<'w, 'a> {
    words: &'w [&'a [u8]],
    place: &'a [u8],
}

impl<'a> Words<'_, 'a> {
    fn put<T>(self, setting: &mut Option<Given<'a, T>>, value: Result<T, String>) -> Result<(), String> {
        *setting = Some(Given { value: value?, place: self.place });
        Ok(())
    }

    fn one(self, wanted: &str) -> Result<&'a [u8], String> {
        match self.words {
            [word] => Ok(word),
            _ => Err(format!("takes {wanted}, not {} words", self.words.len())),
        }
    }

    fn path(self) -> Result<&'a [u8], String> {
        match self.one("one path")? {
            b"" => Err("takes a path, not an empty word".to_owned()),
            path => Ok(path),
        }
    }

    fn number(self, min: u32, max: u32) -> Result<u32, String> {
        let wanted = format!("a number from {min} to {max}");
        number(self.one(&wanted)?, min, max, &wanted)
    }

    fn refusal_time(self) -> Result<Option<NonZeroU32>, String> {
        let wanted = format!("a number of milliseconds from 1 to {MAX_REFUSAL_TIME}, or Off");
        let word = self.one(&wanted)?;
        if word.eq_ignore_ascii_case(b"off") {
            return Ok(None);
        }
        number(word, 1, MAX_REFUSAL_TIME, &wanted).map(NonZeroU32::new)
    }

    fn flag(self) -> Result<bool, String> {
        let word = self.one("On or Off")?;
        match () {
            () if word.eq_ignore_ascii_case(b"on") => Ok(true),
            () if word.eq_ignore_ascii_case(b"off") => Ok(false),
            () => Err(format!("takes On or Off, not \"{}\"", word.escape_ascii())),
        }
    }

    fn forget(self) -> Result<Forget, String> {
        const WANTED: &str = "On, Word or Off";
        let word = self.one(WANTED)?;
        let choices = [(&b"on"[..], Forget::On), (b"word", Forget::Word), (b"off", Forget::Off)];
        let chosen = choices.into_iter().find(|(name, _)| word.eq_ignore_ascii_case(name));
        chosen
            .map(|(_, forget)| forget)
            .ok_or_else(|| format!("takes {WANTED}, not \"{}\"", word.escape_ascii()))
    }

    fn failure_limit(self) -> Result<FailureLimit, String> {
        let wanted = format!("a number from 0 to {MAX_SECONDS} or None");
        let word = self.one(&wanted)?;
        if word.eq_ignore_ascii_case(b"none") {
            return Ok(FailureLimit::None);
        }
        number(word, 0, MAX_SECONDS, &wanted).map(FailureLimit::Number)
    }

    fn lockout(self) -> Result<Lockout, String> {
        let wanted = format!("one or two numbers of seconds from 0 to {MAX_LOCKOUT}");
        let seconds = |word| number(word, 0, MAX_LOCKOUT, &wanted);
        let lockout = match self.words {
            [time] => {
                let time = seconds(time)?;
                Lockout { time, max: time.max(DEFAULT_LOCKOUT_MAX) }
            }
            [time, max] => Lockout { time: seconds(time)?, max: seconds(max)? },
            words => return Err(format!("takes {wanted}, not {} words", words.len())),
        };
        if lockout.max < lockout.time {
            return Err(format!("takes a maximum of at least the time itself, {}", lockout.time));
        }
        Ok(lockout)
    }

    fn throttle(self) -> Result<Option<Throttle>, String> {
        let wanted = format!(
            "a number of tries from 1 to {MAX_SECONDS} and one of seconds up to {MAX_THROTTLE}, or Off"
        );
        match self.words {
            [off] if off.eq_ignore_ascii_case(b"off") => Ok(None),
            [tries, seconds] => {
                let number = |word, max| {
                    let number = number(word, 1, max, &wanted)?;
                    Ok::<_, String>(NonZeroU32::new(number).expect("at least 1"))
                };
                Ok(Some(Throttle {
                    tries: number(tries, MAX_SECONDS)?,
                    seconds: number(seconds, MAX_THROTTLE)?,
                }))
            }
            words => Err(format!("takes {wanted}, not {} words", words.len())),
        }
    }

    fn scheme(self) -> Result<Scheme, String> {
        const WANTED: &str = "basic, digest or both";
        match self.one(WANTED)? {
            b"basic" => Ok(Scheme::Basic),
            b"digest" => Ok(Scheme::Digest),
            b"both" => Ok(Scheme::Both),
            word => Err(format!("takes {WANTED}, not \"{}\"", word.escape_ascii())),
        }
    }

    fn algorithms(self) -> Result<Algorithms, String> {
        const WANTED: &str = "SHA-256 and MD5, or one of them";
        let named = |word: &'a [u8]| {
            Algorithm::named(word).ok_or_else(|| format!("takes {WANTED}, not \"{}\"", word.escape_ascii()))
        };
        let algorithms = match self.words {
            [one] => [named(one)?; 2],
            [first, second] => [named(first)?, named(second)?],
            words => return Err(format!("takes {WANTED}, not {} words", words.len())),
        };
        if self.words.len() == 2 && algorithms[0] == algorithms[1] {
            return Err(format!("takes {WANTED}, not {} twice", algorithms[0].name()));
        }
        Ok(Algorithms { algorithms, count: self.words.len() })
    }

    fn providers(self, before: Names<'a>) -> Result<Names<'a>, String> {
        let count = before.count + self.words.len();
        if self.words.is_empty() || count > PIN_PROVIDERS_MAX {
            return Err(format!("takes 1 to {PIN_PROVIDERS_MAX} provider names"));
        }
        if self.words.iter().any(|name| name.eq_ignore_ascii_case(b"otp")) {
            return Err("can't name OTP itself: a PIN has to be checked by another provider".to_owned());
        }
        let mut names = Names { count, ..before };
        names.names[before.count..count].copy_from_slice(self.words);
        Ok(names)
    }
}

fn number(word: &[u8], min: u32, max: u32, wanted: &str) -> Result<u32, String> {
    let digits = !word.is_empty() && word.iter().all(u8::is_ascii_digit);
    let value = str::from_utf8(word).ok().filter(|_| digits).and_then(|text| text.parse().ok());
    value
        .filter(|value| (min..=max).contains(value))
        .ok_or_else(|| format!("takes {wanted}, not \"{}\"", word.escape_ascii()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn apache(directives: &[(&str, &[&'static str])]) -> Result<Settings<'static>, String> {
        let mut settings = Settings::default();
        for (name, words) in directives {
            let words: Vec<&'static [u8]> = words.iter().map(|word| word.as_bytes()).collect();
            settings
                .set(Server::Apache, name.as_bytes(), &words, b"test:1")
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
            pin_fake_basic: false,
            pin_cache_hashed: 60,
            pin_cache_external: 0,
            throttle: None,
            passes_unknown_on: true,
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
                settings.set(Server::Nginx, name.as_bytes(), &[word], b"test:1").unwrap();
            }
            settings.policy(Server::Nginx).pin_cache_external
        };
        assert_eq!(nginx(&[]), 0);
        assert_eq!(nginx(&[("auth_otp_pin_file", b"pins")]), 60);
        assert_eq!(nginx(&[("auth_otp_pin_file", b"pins"), ("auth_otp_pin_cache", b"0")]), 0);
    }

    #[test]
    fn forget_takes_three_words_in_any_case() {
        for (word, forget) in
            [("On", Forget::On), ("off", Forget::Off), ("WORD", Forget::Word), ("word", Forget::Word)]
        {
            assert_eq!(apache(&[("OTPAuthForget", &[word])]).unwrap().policy(Server::Apache).forget, forget);
        }
        assert_eq!(
            apache(&[("OTPAuthForget", &["logout"])]).map(|_| ()),
            Err("OTPAuthForget takes On, Word or Off, not \"logout\"".to_owned())
        );
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
    fn bad_values_are_refused_with_what_is_wanted() {
        for (name, words, message) in [
            ("OTPAuthUsersFile", &[][..], "OTPAuthUsersFile takes one path, not 0 words"),
            ("OTPAuthUsersFile", &[""], "OTPAuthUsersFile takes a path, not an empty word"),
            (
                "OTPAuthMaxOffset",
                &["10001"],
                "OTPAuthMaxOffset takes a number from 0 to 10000, not \"10001\"",
            ),
            ("OTPAuthMaxOffset", &["-1"], "OTPAuthMaxOffset takes a number from 0 to 10000, not \"-1\""),
            ("OTPAuthMaxOffset", &["4", "5"], "OTPAuthMaxOffset takes a number from 0 to 10000, not 2 words"),
            (
                "OTPAuthMaxLinger",
                &["ten"],
                "OTPAuthMaxLinger takes a number from 0 to 2147483647, not \"ten\"",
            ),
            ("OTPAuthMaxIdle", &["15"], "OTPAuthMaxIdle takes a number from 16 to 2147483647, not \"15\""),
            (
                "OTPAuthMaxOTPFailure",
                &["no"],
                "OTPAuthMaxOTPFailure takes a number from 0 to 2147483647 or None, not \"no\"",
            ),
            (
                "OTPAuthLockoutTime",
                &["60", "30"],
                "OTPAuthLockoutTime takes a maximum of at least the time itself, 60",
            ),
            ("OTPAuthForget", &["maybe"], "OTPAuthForget takes On, Word or Off, not \"maybe\""),
            (
                "OTPAuthPINAuthProvider",
                &["file", "otp"],
                "OTPAuthPINAuthProvider can't name OTP itself: a PIN has to be checked by another provider",
            ),
            ("OTPAuthNoSuch", &["1"], "OTPAuthNoSuch is no setting of otpgate"),
        ] {
            assert_eq!(apache(&[(name, words)]).map(|_| ()), Err(message.to_owned()));
        }
    }

    #[test]
    fn digest_on_nginx_is_asked_for_and_has_defaults() {
        let nginx = |name: &str, words: &[&'static str]| {
            let mut settings = Settings::default();
            let words: Vec<&'static [u8]> = words.iter().map(|word| word.as_bytes()).collect();
            let set = settings.set(Server::Nginx, name.as_bytes(), &words, b"test:1");
            set.map(|()| settings).map_err(|error| error.to_string())
        };
        let unset = Settings::default();
        assert_eq!((unset.scheme(), unset.nonce_lifetime()), (Scheme::Basic, 300));
        assert_eq!(unset.digest_algorithms().as_slice(), [Algorithm::Sha256, Algorithm::Md5]);
        for (words, expected) in [
            (&["MD5", "SHA-256"][..], Ok(&[Algorithm::Md5, Algorithm::Sha256][..])),
            (&["sha-256"], Ok(&[Algorithm::Sha256])),
            (&["MD5"], Ok(&[Algorithm::Md5])),
            (&[], Err("takes SHA-256 and MD5, or one of them, not 0 words")),
            (&["MD5", "md5"], Err("takes SHA-256 and MD5, or one of them, not MD5 twice")),
            (&["MD5-sess"], Err("takes SHA-256 and MD5, or one of them, not \"MD5-sess\"")),
        ] {
            let set = nginx("auth_otp_digest_algorithms", words);
            let set = set.map(|settings| settings.digest_algorithms().as_slice().to_vec());
            let expected = expected
                .map(<[Algorithm]>::to_vec)
                .map_err(|message| format!("auth_otp_digest_algorithms {message}"));
            assert_eq!(set, expected);
        }
        for (word, scheme) in [("basic", Scheme::Basic), ("digest", Scheme::Digest), ("both", Scheme::Both)] {
            assert_eq!(nginx("auth_otp_scheme", &[word]).unwrap().scheme(), scheme);
        }
        assert_eq!(
            nginx("auth_otp_scheme", &["Digest"]).map(|_| ()),
            Err("auth_otp_scheme takes basic, digest or both, not \"Digest\"".to_owned())
        );
        assert_eq!(
            nginx("auth_otp_nonce_lifetime", &["0"]).map(|_| ()),
            Err("auth_otp_nonce_lifetime takes a number from 1 to 86400, not \"0\"".to_owned())
        );
    }

    #[test]
    fn pin_providers_of_several_lines_of_one_section_are_asked_in_turn() {
        let parent =
            apache(&[("OTPAuthPINAuthProvider", &["file", "dbm"]), ("OTPAuthPINAuthProvider", &["ldap"])])
                .unwrap();
        assert_eq!(parent.pin_provider_names(), [&b"file"[..], b"dbm", b"ldap"]);
        let child = apache(&[("OTPAuthPINAuthProvider", &["socache"])]).unwrap();
        let names = parent.merged_with(&child, Server::Apache);
        assert_eq!(names.pin_provider_names(), [b"socache"]);
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
            let policy = parent.merged_with(&apache(child).unwrap(), Server::Apache).policy(Server::Apache);
            assert_eq!((policy.max_failures, policy.max_linger, policy.logout_on_ip_change), expected);
        }
    }
}
