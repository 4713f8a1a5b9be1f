//! The one table of settings: what each is called on both servers, and how its words are read.

use std::ffi::CStr;

use super::words::{MAX_NONCE_LIFETIME, MAX_OFFSET, MAX_SECONDS, MIN_IDLE, SettingProblem, Words};
use super::{SESSIONS_MAX, Server, Settings};

/// One row of the table.
pub struct Setting {
    /// The directive's name on Apache, if it exists there.
    pub apache: Option<&'static CStr>,
    /// The directive's name on nginx, if it exists there.
    pub nginx: Option<&'static CStr>,
    /// What it is called in a `#@ limits` line of the users file, if it can be limited there.
    pub limit: Option<&'static str>,
    /// Whether authors of pages may say it, in `.htaccess` files. `false`: only an admin may.
    pub is_for_authors: bool,
    /// What it takes and means, for the server's own help.
    pub usage: &'static CStr,
    pub(super) take: for<'a> fn(&mut Settings<'a>, Words<'_, 'a>) -> Result<(), SettingProblem>,
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
        is_for_authors: true,
        usage: c"path of the users file, relative to the server's root",
        take: |settings, words| words.put(&mut settings.users_file, words.path()),
    },
    Setting {
        apache: Some(c"OTPAuthMaxOffset"),
        nginx: Some(c"auth_otp_max_offset"),
        limit: Some("max_offset"),
        is_for_authors: true,
        usage: c"look-ahead window in counters or time steps, 0 to 10000",
        take: |settings, words| words.put(&mut settings.max_offset, words.number(0, MAX_OFFSET)),
    },
    Setting {
        apache: Some(c"OTPAuthMaxLinger"),
        nginx: Some(c"auth_otp_max_linger"),
        limit: Some("max_linger"),
        is_for_authors: true,
        usage: c"seconds after its first use in which a code may be used again; 0: never",
        take: |settings, words| words.put(&mut settings.max_linger, words.seconds(0, MAX_SECONDS)),
    },
    Setting {
        apache: Some(c"OTPAuthMaxIdle"),
        nginx: Some(c"auth_otp_max_idle"),
        limit: Some("max_idle"),
        is_for_authors: true,
        usage: c"seconds after its last use in which a code may be used again, at least 16",
        take: |settings, words| words.put(&mut settings.max_idle, words.seconds(MIN_IDLE, MAX_SECONDS)),
    },
    Setting {
        apache: Some(c"OTPAuthMaxOTPFailure"),
        nginx: Some(c"auth_otp_max_failures"),
        limit: Some("max_failures"),
        is_for_authors: true,
        usage: c"consecutive wrong codes that lock a token, or None",
        take: |settings, words| words.put(&mut settings.max_failures, words.failure_limit()),
    },
    Setting {
        apache: Some(c"OTPAuthLockoutTime"),
        nginx: Some(c"auth_otp_lockout_time"),
        limit: Some("lockout"),
        is_for_authors: true,
        usage: c"seconds a lock-out lasts, 0: until unlocked; then the maximum it doubles up to",
        take: |settings, words| words.put(&mut settings.lockout_time, words.lockout()),
    },
    Setting {
        apache: Some(c"OTPAuthThrottle"),
        nginx: Some(c"auth_otp_throttle"),
        limit: Some("throttle"),
        is_for_authors: true,
        usage: c"wrong tries that a client has for one user, and in how many seconds; or Off",
        take: |settings, words| words.put(&mut settings.throttle, words.throttle()),
    },
    Setting {
        apache: Some(c"OTPAuthRefusalTime"),
        nginx: Some(c"auth_otp_refusal_time"),
        limit: None,
        is_for_authors: true,
        usage: c"milliseconds: a refusal goes out at a multiple of this after its request arrived; or Off",
        take: |settings, words| words.put(&mut settings.refusal_time, words.refusal_time()),
    },
    Setting {
        apache: Some(c"OTPAuthLogoutOnIPChange"),
        nginx: Some(c"auth_otp_logout_on_ip_change"),
        limit: None,
        is_for_authors: true,
        usage: c"On or Off: a code may be used again only from the address it was first used from",
        take: |settings, words| words.put(&mut settings.logout_on_ip_change, words.flag()),
    },
    Setting {
        apache: Some(c"OTPAuthForget"),
        nginx: Some(c"auth_otp_forget"),
        limit: None,
        is_for_authors: true,
        usage: c"On, Word or Off: an empty password, or the PIN followed by logout, ends the last code",
        take: |settings, words| words.put(&mut settings.forget, words.forget()),
    },
    Setting {
        apache: Some(c"OTPAuthPINAuthProvider"),
        nginx: None,
        limit: None,
        is_for_authors: true,
        usage: c"names of the authn providers that check a PIN marked +",
        take: |settings, words| {
            // A second directive of the same section adds to the first, as with mod_authn_otp.
            let before = settings.pin_provider_names();
            words.put(&mut settings.pin_providers, words.providers(before))
        },
    },
    Setting {
        apache: None,
        nginx: Some(c"auth_otp_pin_file"),
        limit: None,
        is_for_authors: true,
        usage: c"htpasswd file with the PINs of users marked +, relative to the server's root",
        take: |settings, words| words.put(&mut settings.pin_file, words.path()),
    },
    Setting {
        apache: Some(c"OTPAuthPINCache"),
        nginx: Some(c"auth_otp_pin_cache"),
        limit: None,
        is_for_authors: true,
        usage: c"seconds for which a right PIN (hash or PIN file) is remembered, 0: not at all",
        take: |settings, words| words.put(&mut settings.pin_cache, words.seconds(0, MAX_SECONDS)),
    },
    Setting {
        apache: Some(c"OTPAuthFallThrough"),
        nginx: None,
        limit: None,
        is_for_authors: true,
        usage: c"On or Off: a refused PIN is passed on to the next authn provider",
        take: |settings, words| words.put(&mut settings.fall_through, words.flag()),
    },
    Setting {
        apache: Some(c"PINFakeBasicAuth"),
        nginx: Some(c"auth_otp_pin_fake_basic"),
        limit: None,
        is_for_authors: true,
        usage: c"On or Off: after a grant, whatever is behind the server sees user and PIN",
        take: |settings, words| words.put(&mut settings.pin_fake_basic, words.flag()),
    },
    Setting {
        apache: Some(c"OTPAuthAllowHex"),
        nginx: Some(c"auth_otp_allow_hex"),
        limit: None,
        is_for_authors: true,
        usage: c"On or Off: HOTP codes may be given in hexadecimal",
        take: |settings, words| words.put(&mut settings.allow_hex, words.flag()),
    },
    Setting {
        apache: Some(c"OTPAuthAppPasswords"),
        nginx: Some(c"auth_otp_app_passwords"),
        limit: None,
        is_for_authors: false,
        usage: c"On or Off: programs get in without a code, each by a password of its own, for its paths and methods",
        take: |settings, words| words.put(&mut settings.app_passwords, words.flag()),
    },
    Setting {
        apache: Some(c"OTPAuthTrustedNetworks"),
        nginx: Some(c"auth_otp_trusted_networks"),
        limit: None,
        is_for_authors: false,
        usage: c"networks from which the PIN alone is enough, without a code, for users who have one; or Off",
        take: |settings, words| {
            let before = settings.trusted_networks.map(|given| given.value).unwrap_or_default();
            words.put(&mut settings.trusted_networks, words.networks(before))
        },
    },
    Setting {
        apache: Some(c"OTPAuthTrustedComputer"),
        nginx: Some(c"auth_otp_trusted_computer"),
        limit: None,
        is_for_authors: false,
        usage: c"days for which the PIN alone is enough on a computer that its user has it trusted after a code, 1 to 366; or Off",
        take: |settings, words| words.put(&mut settings.trusted_computer, words.days()),
    },
    Setting {
        apache: Some(c"OTPAuthRequireUser"),
        nginx: Some(c"auth_otp_require_user"),
        limit: None,
        is_for_authors: true,
        usage: c"names of the users who are let in, or Off for all; others are refused like a wrong PIN",
        take: |settings, words| {
            settings.required = Some(words.users(settings.required.unwrap_or_default())?);
            Ok(())
        },
    },
    Setting {
        apache: Some(c"OTPAuthRequireGroup"),
        nginx: Some(c"auth_otp_require_group"),
        limit: None,
        is_for_authors: true,
        usage: c"a group file, relative to the server's root, and the groups whose members are let in",
        take: |settings, words| {
            settings.required = Some(words.groups(settings.required.unwrap_or_default())?);
            Ok(())
        },
    },
    Setting {
        apache: Some(c"OTPAuthLingerCookie"),
        nginx: Some(c"auth_otp_linger_cookie"),
        limit: None,
        is_for_authors: true,
        usage: c"On or Off: instead of a lingering code, a cookie lets a browser in again; Insecure: without TLS, too",
        take: |settings, words| words.put(&mut settings.linger_cookie, words.linger_cookie()),
    },
    Setting {
        apache: Some(c"OTPAuthSessions"),
        nginx: Some(c"auth_otp_sessions"),
        limit: None,
        is_for_authors: true,
        usage: c"how many browsers a user may be logged in with at a time, 1 to 16; the first makes way for one more",
        take: |settings, words| words.put(&mut settings.sessions, words.number(1, SESSIONS_MAX.into())),
    },
    Setting {
        apache: Some(c"OTPAuthMaxAge"),
        nginx: Some(c"auth_otp_max_age"),
        limit: None,
        is_for_authors: true,
        usage: c"seconds after a browser's last new code in which this place lets it in; 0: as long as elsewhere",
        take: |settings, words| words.put(&mut settings.max_age, words.seconds(0, MAX_SECONDS)),
    },
    Setting {
        apache: Some(c"OTPAuthLoginPage"),
        nginx: Some(c"auth_otp_login_page"),
        limit: None,
        is_for_authors: true,
        usage: c"path on this server of the page to log in, to which browsers are sent",
        take: |settings, words| words.put(&mut settings.login_page, words.url_path()),
    },
    Setting {
        apache: Some(c"OTPAuthLoginTemplate"),
        nginx: Some(c"auth_otp_login_template"),
        limit: None,
        is_for_authors: false,
        usage: c"path of an HTML template for the page to log in, relative to the server's root",
        take: |settings, words| words.put(&mut settings.login_template, words.path()),
    },
    Setting {
        apache: Some(c"OTPAuthStrip"),
        nginx: Some(c"auth_otp_strip"),
        limit: None,
        is_for_authors: true,
        usage: c"On or Off: what is behind the server sees neither our cookies nor the credentials",
        take: |settings, words| words.put(&mut settings.strip, words.flag()),
    },
    Setting {
        apache: Some(c"OTPAuthRequireTLS"),
        nginx: Some(c"auth_otp_require_tls"),
        limit: None,
        is_for_authors: true,
        usage: c"On or Off: requests without TLS are refused before credentials are looked at",
        take: |settings, words| words.put(&mut settings.require_tls, words.flag()),
    },
    Setting {
        apache: None,
        nginx: Some(c"auth_otp_scheme"),
        limit: None,
        is_for_authors: true,
        usage: c"basic, digest or both, form, or form and basic: how credentials are asked for",
        take: |settings, words| words.put(&mut settings.scheme, words.scheme()),
    },
    Setting {
        apache: None,
        nginx: Some(c"auth_otp_digest_algorithms"),
        limit: None,
        is_for_authors: true,
        usage: c"SHA-256 and MD5, or one of them: the hashes that Digest offers, in this order",
        take: |settings, words| words.put(&mut settings.digest_algorithms, words.algorithms()),
    },
    Setting {
        apache: None,
        nginx: Some(c"auth_otp_nonce_lifetime"),
        limit: None,
        is_for_authors: true,
        usage: c"seconds for which a Digest nonce may be used, 1 to 86400",
        take: |settings, words| words.put(&mut settings.nonce_lifetime, words.seconds(1, MAX_NONCE_LIFETIME)),
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
