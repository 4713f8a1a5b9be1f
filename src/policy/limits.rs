//! What a users file demands of every policy that it is used with.

use std::num::NonZeroU32;

use super::words::Words;
use super::{
    BadSetting, DEFAULT_THROTTLE, FailureLimit, Lockout, Policy, SETTINGS, SettingProblem,
    Settings, Throttle, Unset,
};

/// The laxest that any policy may be. `None`: as lax as it likes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    max_failures: Option<NonZeroU32>,
    lockout: Option<Lockout>,
    max_offset: Option<u32>,
    max_linger: Option<u32>,
    max_idle: Option<u32>,
    throttle: Option<Throttle>,
}

impl Limits {
    /// From words like `max_failures=10` and `lockout=60,3600`: the settings' own values, by the
    /// names that their table has for this.
    pub fn parse<'a>(words: impl Iterator<Item = &'a [u8]>) -> Result<Limits, BadSetting> {
        let mut settings = Settings::default();
        let mut seen = Vec::new();
        for word in words {
            let equals = word.iter().position(|&b| b == b'=');
            let (name, value) = word.split_at(equals.unwrap_or(word.len()));
            let known = |limit: &&str| limit.as_bytes() == name;
            let found = SETTINGS
                .iter()
                .find_map(|setting| Some((setting, setting.limit.filter(|l| known(l))?)));
            let bad = |setting: String, problem| BadSetting { setting, problem };
            let Some((setting, name)) = found else {
                return Err(bad(name.escape_ascii().to_string(), SettingProblem::NoLimit));
            };
            if equals.is_none() {
                return Err(bad(name.to_owned(), SettingProblem::NoValue));
            }
            if seen.contains(&name) {
                return Err(bad(name.to_owned(), SettingProblem::GivenTwice));
            }
            seen.push(name);
            let values: Vec<&[u8]> = value[1..].split(|&b| b == b',').collect();
            // No list can be limited.
            let words = Words { words: &values, place: b"", memory: None, server: None };
            (setting.take)(&mut settings, words)
                .map_err(|problem| bad(name.to_owned(), problem))?;
        }
        let max_failures = settings.max_failures.and_then(|given| match given.value {
            FailureLimit::None => None,
            FailureLimit::Number(number) => NonZeroU32::new(number),
        });
        Ok(Limits {
            max_failures,
            lockout: settings.lockout_time.map(|given| given.value),
            max_offset: settings.max_offset.map(|given| given.value),
            max_linger: settings.max_linger.map(|given| given.value),
            max_idle: settings.max_idle.map(|given| given.value),
            throttle: settings.throttle.and_then(|given| given.value),
        })
    }

    /// What is as strict as both in everything.
    pub fn strictest(self, other: Limits) -> Limits {
        Limits {
            max_failures: stricter(self.max_failures, other.max_failures, Ord::min),
            lockout: stricter(self.lockout, other.lockout, Lockout::longer),
            max_offset: stricter(self.max_offset, other.max_offset, Ord::min),
            max_linger: stricter(self.max_linger, other.max_linger, Ord::min),
            max_idle: stricter(self.max_idle, other.max_idle, Ord::min),
            throttle: stricter(self.throttle, other.throttle, Throttle::tighter),
        }
    }

    /// Whether wrong codes lock a token.
    pub fn locks(&self) -> bool {
        self.max_failures.is_some()
    }
}

/// A limit that isn't given is the laxest.
fn stricter<T>(one: Option<T>, other: Option<T>, of_both: impl FnOnce(T, T) -> T) -> Option<T> {
    match (one, other) {
        (Some(one), Some(other)) => Some(of_both(one, other)),
        (one, other) => one.or(other),
    }
}

impl Lockout {
    /// One that doesn't end by itself is longer than any.
    fn longer(self, other: Lockout) -> Lockout {
        let never_ends = self.time == 0 || other.time == 0;
        let time = if never_ends { 0 } else { self.time.max(other.time) };
        Lockout { time, max: self.max.max(other.max) }
    }
}

impl Throttle {
    fn tighter(self, other: Throttle) -> Throttle {
        Throttle { tries: self.tries.min(other.tries), seconds: self.seconds.max(other.seconds) }
    }
}

impl Policy {
    /// What holds on a users file with these limits: they bind what a section sets, and stand in
    /// the place of what it leaves unset.
    pub fn restricted_by(&self, limits: &Limits) -> Policy {
        if *limits == Limits::default() {
            return *self;
        }
        let both = self.as_set().strictest(*limits);
        let lockout = both.lockout.unwrap_or(self.lockout());
        // Whoever limits failures wants PINs guarded as well.
        let is_left_alone = self.unset.throttle && self.throttle.is_none();
        let default = if is_left_alone && both.max_failures.is_some() {
            Some(DEFAULT_THROTTLE)
        } else {
            self.throttle
        };
        Policy {
            max_offset: both.max_offset.unwrap_or(self.max_offset),
            max_linger: both.max_linger.or(self.max_linger),
            max_idle: both.max_idle,
            max_failures: both.max_failures.map_or(self.max_failures, NonZeroU32::get),
            lockout_time: lockout.time,
            lockout_max: lockout.max,
            throttle: both.throttle.or(default),
            unset: Unset {
                max_offset: both.max_offset.is_none(),
                max_linger: self.unset.max_linger && limits.max_linger.is_none(),
                max_failures: self.unset.max_failures && limits.max_failures.is_none(),
                lockout: both.lockout.is_none(),
                throttle: self.unset.throttle && limits.throttle.is_none(),
            },
            ..*self
        }
    }

    /// What sections say themselves.
    fn as_set(&self) -> Limits {
        Limits {
            max_failures: NonZeroU32::new(self.max_failures).filter(|_| !self.unset.max_failures),
            lockout: (!self.unset.lockout).then_some(self.lockout()),
            max_offset: (!self.unset.max_offset).then_some(self.max_offset),
            max_linger: self.max_linger.filter(|_| !self.unset.max_linger),
            max_idle: self.max_idle,
            throttle: self.throttle.filter(|_| !self.unset.throttle),
        }
    }

    fn lockout(&self) -> Lockout {
        Lockout { time: self.lockout_time, max: self.lockout_max }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Leaked, Server};
    use super::*;

    fn limits(line: &str) -> Result<Limits, String> {
        let words = line.split_whitespace().map(str::as_bytes);
        Limits::parse(words).map_err(|error| error.to_string())
    }

    fn policy(server: Server, directives: &str) -> Policy {
        let mut settings = Settings::default();
        for directive in
            directives.split(';').map(str::trim).filter(|directive| !directive.is_empty())
        {
            let mut words = directive.split(' ').map(str::as_bytes);
            let name = [b"auth_otp_", words.next().unwrap()].concat();
            // The names of one server serve for both: the values are the same.
            let words: Vec<_> = words.collect();
            settings.set(Server::Nginx, &Leaked, &name, &words, b"test:1").unwrap();
        }
        settings.policy(server)
    }

    /// Offset, linger, idle, failures, lock-out.
    fn numbers(policy: &Policy) -> (u32, Option<u32>, Option<u32>, u32, [u32; 2]) {
        let Policy {
            max_offset,
            max_linger,
            max_idle,
            max_failures,
            lockout_time,
            lockout_max,
            ..
        } = *policy;
        (max_offset, max_linger, max_idle, max_failures, [lockout_time, lockout_max])
    }

    #[test]
    fn limits_take_the_place_of_what_is_unset_and_bind_what_is_set() {
        use Server::{Apache, Nginx};
        let (apache, nginx) = ([0, 86_400], [60, 3600]);
        let all = "max_failures=5 lockout=90,900 max_offset=3 max_linger=300 max_idle=100 throttle=20,600";
        for (server, set, line, expected) in [
            (Apache, "", "", (4, Some(600), None, 0, apache)),
            (Nginx, "", "", (4, Some(600), None, 10, nginx)),
            (Apache, "", all, (3, Some(300), Some(100), 5, [90, 900])),
            (Nginx, "", all, (3, Some(300), Some(100), 5, [90, 900])),
            // A default is nobody's choice, so the file's may be laxer.
            (Nginx, "", "max_failures=20", (4, Some(600), None, 20, nginx)),
            (Nginx, "", "lockout=30,60", (4, Some(600), None, 10, [30, 60])),
            (Apache, "", "max_offset=50 max_linger=7200", (50, Some(7200), None, 0, apache)),
            (Apache, "max_idle 60", "max_linger=7200", (4, Some(7200), Some(60), 0, apache)),
            // The idle limit of a file doesn't lift the default one on linger time.
            (Apache, "", "max_idle=60", (4, Some(600), Some(60), 0, apache)),
            // What somebody has set stays where it is stricter.
            (Nginx, "max_failures 5", "max_failures=20", (4, Some(600), None, 5, nginx)),
            (Nginx, "max_failures 20", "max_failures=5", (4, Some(600), None, 5, nginx)),
            (Nginx, "max_failures None", "max_failures=5", (4, Some(600), None, 5, nginx)),
            (Apache, "max_failures 0", "max_failures=5", (4, Some(600), None, 5, apache)),
            (Apache, "max_offset 10000", "max_offset=4", (4, Some(600), None, 0, apache)),
            (Apache, "max_offset 0", "max_offset=4", (0, Some(600), None, 0, apache)),
            (Apache, "max_linger 86400", "max_linger=0", (4, Some(0), None, 0, apache)),
            (
                Apache,
                "max_linger 60; max_idle 30",
                "max_idle=20",
                (4, Some(60), Some(20), 0, apache),
            ),
            (Apache, "max_idle 30", "max_idle=60", (4, None, Some(30), 0, apache)),
            // Each number of a lock-out for itself; one without end is the strictest.
            (Nginx, "lockout_time 60 60", "lockout=30,90", (4, Some(600), None, 10, [60, 90])),
            (Nginx, "lockout_time 60 90", "lockout=0", (4, Some(600), None, 10, [0, 86_400])),
            (Nginx, "lockout_time 0", "lockout=30,60", (4, Some(600), None, 10, [0, 86_400])),
            // These restrict nothing.
            (Nginx, "", "max_failures=0", (4, Some(600), None, 10, nginx)),
            (Nginx, "", "max_failures=None throttle=Off", (4, Some(600), None, 10, nginx)),
        ] {
            let restricted = policy(server, set).restricted_by(&limits(line).unwrap());
            assert_eq!(numbers(&restricted), expected, "{server:?} {set:?}, {line:?}");
        }
    }

    #[test]
    fn with_digest_a_lock_out_nobody_has_given_a_time_is_the_files() {
        let digest = Settings::default().digest_policy(Server::Apache);
        let restricted = |line: &str| {
            let restricted = digest.restricted_by(&limits(line).unwrap()).of_digest_failures();
            [restricted.lockout_time, restricted.lockout_max]
        };
        assert_eq!(restricted("max_failures=5"), [900, 900]);
        assert_eq!(restricted("lockout=60,120"), [60, 120]);
        assert_eq!(restricted("lockout=0"), [0, 86_400]);
    }

    #[test]
    fn of_several_limits_the_strictest_of_each_holds() {
        for (one, other, both) in [
            ("max_failures=5", "max_failures=9 max_offset=2", "max_failures=5 max_offset=2"),
            ("lockout=60,90", "lockout=30,900", "lockout=60,900"),
            ("lockout=60,90", "lockout=0", "lockout=0,86400"),
            ("max_linger=60 max_idle=50", "max_linger=90 max_idle=16", "max_linger=60 max_idle=16"),
            ("throttle=20,600", "throttle=30,900", "throttle=20,900"),
            ("throttle=20,600", "throttle=Off", "throttle=20,600"),
            ("max_failures=0", "", ""),
        ] {
            let [one, other, both] = [one, other, both].map(|line| limits(line).unwrap());
            assert_eq!(one.strictest(other), both);
            assert_eq!(other.strictest(one), both);
        }
    }

    #[test]
    fn values_are_those_of_the_settings() {
        const NAMES: &str = "max_offset, max_linger, max_idle, max_failures, lockout, throttle";
        for (line, reason) in [
            ("max_offset=10001", "max_offset takes a number from 0 to 10000, not \"10001\"".to_owned()),
            ("max_offset=", "max_offset takes a number from 0 to 10000, not \"\"".to_owned()),
            ("max_offset=1,2", "max_offset takes a number from 0 to 10000, not 2 words".to_owned()),
            ("max_idle=15", "max_idle takes a number from 16 to 2147483647, not \"15\"".to_owned()),
            ("max_linger=-1", "max_linger takes a number from 0 to 2147483647, not \"-1\"".to_owned()),
            (
                "max_failures=few",
                "max_failures takes a number from 0 to 2147483647 or None, not \"few\"".to_owned(),
            ),
            ("lockout=60,30", "lockout takes a maximum of at least the time itself, 60".to_owned()),
            (
                "throttle=20",
                "throttle takes a number of tries from 1 to 2147483647 and a number of seconds up to 86400, or Off, not 1 words"
                    .to_owned(),
            ),
            (
                "throttle=0,600",
                "throttle takes a number of tries from 1 to 2147483647 and a number of seconds up to 86400, or Off, not \"0\""
                    .to_owned(),
            ),
            ("max_offset", "max_offset needs a value: max_offset=VALUE".to_owned()),
            ("max_offset=1 max_idle=20 max_offset=1", "max_offset is given twice".to_owned()),
            ("lockout_time=60", format!("\"lockout_time\" is not one of {NAMES}")),
            ("MAX_OFFSET=1", format!("\"MAX_OFFSET\" is not one of {NAMES}")),
            ("=1", format!("\"\" is not one of {NAMES}")),
            ("forget=off", format!("\"forget\" is not one of {NAMES}")),
        ] {
            assert_eq!(limits(line), Err(reason), "{line}");
        }
    }
}
