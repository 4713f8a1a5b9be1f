//! Places that differ in what decides a login. Each says all of it, so that one within another is
//! what it is by itself.

use super::common::{Setting, httpd, nginx};

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    Httpd,
    Nginx,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Scheme {
    Basic,
    Digest,
    Form,
}

/// A place, by what makes it another one than [`BASE`].
#[derive(Clone, Copy, Debug)]
pub struct Place {
    pub name: &'static str,
    sets: &'static [(Setting, &'static str)],
    pub realm: &'static str,
    /// Whose users file.
    users: &'static str,
    /// Whose PIN file.
    pins: &'static str,
    pub scheme: Scheme,
    /// Whether a second provider is asked; httpd's alone.
    falls_through: bool,
}

/// Lets in as much as can be.
const BASE: Place = Place {
    name: "base",
    sets: &[],
    realm: "site",
    users: "home",
    pins: "home",
    scheme: Scheme::Basic,
    falls_through: false,
};

const SETTINGS: [(Setting, &str); 16] = [
    (Setting::MaxOffset, "4"),
    (Setting::MaxLinger, "600"),
    (Setting::MaxIdle, "100000"),
    (Setting::MaxFailures, "None"),
    (Setting::LockoutTime, "0"),
    (Setting::Throttle, "Off"),
    (Setting::LogoutOnIpChange, "Off"),
    (Setting::Forget, "On"),
    (Setting::PinFakeBasic, "Off"),
    (Setting::AllowHex, "On"),
    (Setting::AppPasswords, "On"),
    (Setting::TrustedNetworks, "10.0.0.0/8"),
    (Setting::RequireUser, "Off"),
    (Setting::LingerCookie, "Off"),
    (Setting::MaxAge, "0"),
    (Setting::RequireTls, "Off"),
];

const COOKIE: (Setting, &str) = (Setting::LingerCookie, "Insecure");

/// With one thing that is different.
const fn with(name: &'static str, sets: &'static [(Setting, &'static str)]) -> Place {
    Place { name, sets, ..BASE }
}

const fn digest(name: &'static str, sets: &'static [(Setting, &'static str)]) -> Place {
    Place { scheme: Scheme::Digest, ..with(name, sets) }
}

const PLACES: [Place; 33] = [
    BASE,
    with("window", &[(Setting::MaxOffset, "1")]),
    with("once", &[(Setting::MaxLinger, "0")]),
    with("minute", &[(Setting::MaxLinger, "60")]),
    with("idle", &[(Setting::MaxIdle, "60")]),
    with("failures", &[(Setting::MaxFailures, "3")]),
    with("throttle", &[(Setting::Throttle, "1 600")]),
    with("moved", &[(Setting::LogoutOnIpChange, "On")]),
    with("word", &[(Setting::Forget, "Word")]),
    with("faked", &[(Setting::PinFakeBasic, "On")]),
    with("decimal", &[(Setting::AllowHex, "Off")]),
    with("noapps", &[(Setting::AppPasswords, "Off")]),
    with("notrust", &[(Setting::TrustedNetworks, "Off")]),
    with("othernet", &[(Setting::TrustedNetworks, "172.16.0.0/12")]),
    with("named", &[(Setting::RequireUser, "somebody")]),
    with("grouped", &[(Setting::RequireGroup, "{root}/groups/home staff")]),
    with("tls", &[(Setting::RequireTls, "On")]),
    with("cookie", &[COOKIE]),
    with("cookieage", &[COOKIE, (Setting::MaxAge, "1")]),
    with("cookiemoved", &[COOKIE, (Setting::LogoutOnIpChange, "On")]),
    with("cookienamed", &[COOKIE, (Setting::RequireUser, "somebody")]),
    Place { name: "cookierealm", realm: "other", ..with("", &[COOKIE]) },
    Place { name: "form", scheme: Scheme::Form, ..with("", &[COOKIE]) },
    Place { name: "realm", realm: "other", ..BASE },
    Place { name: "otherusers", users: "other", ..BASE },
    Place { name: "otherpins", pins: "other", ..BASE },
    digest("digest", &[]),
    digest("digestonce", &[(Setting::MaxLinger, "0")]),
    digest("digestwindow", &[(Setting::MaxOffset, "1")]),
    digest("digestnamed", &[(Setting::RequireUser, "somebody")]),
    digest("digestmoved", &[(Setting::LogoutOnIpChange, "On")]),
    Place { users: "other", ..digest("digestusers", &[]) },
    Place { name: "through", falls_through: true, ..BASE },
];

impl Kind {
    pub fn places(self) -> impl Iterator<Item = &'static Place> {
        PLACES.iter().filter(move |place| self == Kind::Httpd || !place.falls_through)
    }
}

impl Place {
    fn value(&self, setting: Setting) -> Option<&'static str> {
        self.sets.iter().find(|set| set.0 == setting).map(|set| set.1)
    }

    fn settings(&self) -> impl Iterator<Item = (Setting, &'static str)> {
        let replaced = move |(setting, value)| match setting {
            Setting::RequireUser => match self.value(Setting::RequireGroup) {
                Some(group) => (Setting::RequireGroup, group),
                None => (setting, self.value(setting).unwrap_or(value)),
            },
            _ => (setting, self.value(setting).unwrap_or(value)),
        };
        SETTINGS.into_iter().map(replaced)
    }

    /// Whether a login by Basic begins a session here.
    pub fn gives_cookies(&self) -> bool {
        self.value(COOKIE.0).is_some() && self.scheme == Scheme::Basic
    }

    /// Whether what is behind it sees the PIN alone.
    pub fn fakes_basic(&self) -> bool {
        self.value(Setting::PinFakeBasic).is_some()
    }

    /// Whether it has budgets of tries.
    pub fn has_throttle(&self) -> bool {
        self.value(Setting::Throttle).is_some()
    }

    /// What authors of pages may not set.
    pub fn is_alike_for_authors(&self, other: &Place) -> bool {
        [Setting::AppPasswords, Setting::TrustedNetworks]
            .into_iter()
            .all(|setting| self.value(setting) == other.value(setting))
    }

    /// In the language of the server. `{root}` stands for its directory.
    pub fn directives(&self, kind: Kind, is_for_authors: bool) -> String {
        let Place { realm, users, pins, scheme, falls_through, .. } = *self;
        let is_left_out = |setting| {
            is_for_authors && [Setting::AppPasswords, Setting::TrustedNetworks].contains(&setting)
        };
        let settings = self.settings().filter(|set| !is_left_out(set.0));
        match kind {
            Kind::Httpd => {
                let (name, on) = match scheme {
                    Scheme::Basic => ("Basic", if falls_through { "On" } else { "Off" }),
                    Scheme::Digest => ("Digest", "Off"),
                    Scheme::Form => ("OTP", "Off"),
                };
                let second = if falls_through { " file" } else { "" };
                let mut text = format!(
                    "AuthType {name}\nAuthName \"{realm}\"\nAuthBasicProvider OTP{second}\n\
                     AuthDigestProvider OTP\nAuthUserFile \"{{root}}/second.pw\"\nRequire valid-user\n\
                     OTPAuthUsersFile \"{{root}}/users/{users}/users\"\n\
                     OTPAuthPINAuthProvider pins-of-{pins}\nOTPAuthFallThrough {on}\nOTPAuthStrip Off\n",
                );
                if scheme == Scheme::Form {
                    text += "OTPAuthLoginPage /login\n";
                }
                for (setting, value) in settings {
                    text += &format!("{} {value}\n", httpd::directive(setting));
                }
                text
            }
            Kind::Nginx => {
                let name = match scheme {
                    Scheme::Basic => "basic",
                    Scheme::Digest => "digest",
                    Scheme::Form => "form",
                };
                let mut text = format!(
                    "auth_otp \"{realm}\";\nauth_otp_users_file \"{{root}}/users/{users}/users\";\n\
                     auth_otp_pin_file \"{{root}}/pins/{pins}\";\nauth_otp_scheme {name};\n\
                     auth_otp_strip off;\n",
                );
                if scheme == Scheme::Form {
                    text += "auth_otp_login_page /login;\n";
                }
                for (setting, value) in settings {
                    text += &format!("{} {value};\n", nginx::directive(setting));
                }
                text
            }
        }
    }
}

/// What a place's page says.
pub fn mark(place: &Place) -> String {
    format!("what only {} shows.", place.name)
}
