//! The words of a directive: reading them, and why they are refused.

use std::fmt;
use std::num::NonZeroU32;

use super::table::SETTINGS;
use super::time;
use super::{
    Algorithms, DEFAULT_LOCKOUT_MAX, FailureLimit, Forget, Given, Groups, LingerCookie, Lockout,
    Memory, PIN_PROVIDERS_MAX, REQUIRED_GROUPS_MAX, REQUIRED_USERS_MAX, Required, Scheme, Server,
    TRUSTED_DAYS_MAX, TRUSTED_NETWORKS_MAX, Throttle,
};
use crate::http::digest::DigestAlgorithm;
use crate::network::Network;

pub(super) const MAX_OFFSET: u32 = 10_000;
pub(super) const MIN_IDLE: u32 = 16;
pub(super) const MAX_SECONDS: u32 = i32::MAX as u32;
pub(super) const MAX_NONCE_LIFETIME: u32 = 86_400;
/// What `refusals` can keep.
const MAX_REFUSAL_TIME: u32 = 10_000;
/// A lock-out that doubles is of no use with a limit beyond this.
const MAX_LOCKOUT: u32 = 366 * 86_400;
/// A window of tries that lasts longer is a lock-out.
const MAX_THROTTLE: u32 = 86_400;

/// A directive or limit that is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadSetting {
    /// Its name, as it is called where it was given; what isn't printable is escaped.
    pub setting: String,
    /// Why.
    pub problem: SettingProblem,
}

/// Why a setting is refused. As text, it follows the name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SettingProblem {
    /// There is no setting of this name.
    NoSetting,
    /// There is none that a users file can limit.
    NoLimit,
    /// A limit stands without `=` and a value.
    NoValue,
    /// A limit stands twice in one line.
    GivenTwice,
    /// So many words don't make a value.
    Count {
        /// What would be one.
        wanted: Wanted,
        /// How many there are.
        words: usize,
    },
    /// This word is no value, or none in its range.
    Word {
        /// What would be one.
        wanted: Wanted,
        /// As given.
        word: Box<[u8]>,
    },
    /// A path has at least one character.
    EmptyPath,
    /// The second number of a lock-out is smaller than the first.
    MaximumBelow {
        /// The first, in seconds.
        time: u32,
    },
    /// A hash is named twice.
    AlgorithmTwice(DigestAlgorithm),
    /// No PIN provider, or more than [`PIN_PROVIDERS_MAX`].
    ProviderCount,
    /// We can't be our own PIN provider.
    ProviderIsOtp,
    /// A word is no network.
    Network(String),
    /// `Off` is no user.
    OffAmongNames(Wanted),
    /// A section has one group file.
    OtherGroupFile,
    /// The server has no memory left to keep it in.
    NoMemory,
}

/// What settings take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // its text says it
pub enum ValueKind {
    Path,
    Number { min: u32, max: u32 },
    Seconds { min: u32, max: u32 },
    Days,
    Milliseconds,
    Flag,
    LingerCookie,
    UrlPath,
    Forget,
    FailureLimit,
    Lockout,
    Throttle,
    Scheme,
    Algorithms,
    Users,
    Groups,
    Networks,
}

/// What would be a value, as it is spelled where the directive stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// What the setting takes.
    pub kind: ValueKind,
    /// `None`: a limit of the users file.
    pub server: Option<Server>,
}

impl Wanted {
    /// On, Off, Word and None as the server's own documentation spells such words.
    fn words(self) -> [&'static str; 4] {
        match self.server {
            Some(Server::Nginx) => ["on", "off", "word", "none"],
            Some(Server::Apache) | None => ["On", "Off", "Word", "None"],
        }
    }

    fn is_not(self, word: &[u8]) -> SettingProblem {
        SettingProblem::Word { wanted: self, word: word.into() }
    }
}

impl fmt::Display for BadSetting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let BadSetting { setting, problem } = self;
        match problem {
            SettingProblem::NoLimit => write!(f, "\"{setting}\" {problem}"),
            SettingProblem::NoValue => write!(f, "{setting} {problem}: {setting}=VALUE"),
            _ => write!(f, "{setting} {problem}"),
        }
    }
}

impl std::error::Error for BadSetting {}

impl fmt::Display for SettingProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SettingProblem::NoSetting => f.write_str("is not an otpgate setting"),
            SettingProblem::NoLimit => {
                let names: Vec<&str> =
                    SETTINGS.iter().filter_map(|setting| setting.limit).collect();
                write!(f, "is not one of {}", names.join(", "))
            }
            SettingProblem::NoValue => f.write_str("needs a value"),
            SettingProblem::GivenTwice => f.write_str("is given twice"),
            SettingProblem::Count { wanted, words } => {
                write!(f, "takes {wanted}, not {words} words")
            }
            SettingProblem::Word { wanted, word } => {
                write!(f, "takes {wanted}, not \"{}\"", word.escape_ascii())
            }
            SettingProblem::EmptyPath => f.write_str("takes a path, not an empty word"),
            SettingProblem::MaximumBelow { time } => {
                write!(f, "takes a maximum of at least the time itself, {time}")
            }
            SettingProblem::AlgorithmTwice(algorithm) => {
                write!(f, "takes {ALGORITHMS}, not {} twice", algorithm.name())
            }
            SettingProblem::ProviderCount => {
                write!(f, "takes 1 to {PIN_PROVIDERS_MAX} provider names")
            }
            SettingProblem::ProviderIsOtp => {
                f.write_str("can't name OTP itself: another provider must check the PIN")
            }
            SettingProblem::Network(reason) => write!(f, "takes networks: {reason}"),
            SettingProblem::OffAmongNames(wanted) => {
                let [_, off, ..] = wanted.words();
                write!(
                    f,
                    "takes {off} alone, not among names; a user of that name belongs in a group"
                )
            }
            SettingProblem::NoMemory => f.write_str("can't be kept: the server is out of memory"),
            SettingProblem::OtherGroupFile => {
                f.write_str("takes the same group file as before in this section, not another one")
            }
        }
    }
}

impl fmt::Display for Wanted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [on, off, word, none] = self.words();
        let like = time::examples(self.server);
        match self.kind {
            ValueKind::Path => f.write_str("one path"),
            ValueKind::Number { min, max } => write!(f, "a number from {min} to {max}"),
            ValueKind::Seconds { min, max } => match like {
                Some(like) => write!(f, "a time from {min} to {max} seconds, {like}"),
                None => write!(f, "a number from {min} to {max}"),
            },
            ValueKind::Days => write!(f, "a number of days from 1 to {TRUSTED_DAYS_MAX}, or {off}"),
            ValueKind::Milliseconds => {
                write!(
                    f,
                    "a number of milliseconds from 1 to {MAX_REFUSAL_TIME}, or a time like 200ms or 1s, or {off}"
                )
            }
            ValueKind::Flag => write!(f, "{on} or {off}"),
            ValueKind::LingerCookie => match self.server {
                Some(Server::Nginx) => f.write_str("on, off or insecure"),
                Some(Server::Apache) | None => f.write_str("On, Off or Insecure"),
            },
            ValueKind::UrlPath => f.write_str("a path on this server like /otp/login"),
            ValueKind::Forget => write!(f, "{on}, {word} or {off}"),
            ValueKind::FailureLimit => write!(f, "a number from 0 to {MAX_SECONDS} or {none}"),
            ValueKind::Lockout => match like {
                Some(like) => {
                    write!(f, "one or two times from 0 to {MAX_LOCKOUT} seconds, {like}")
                }
                None => write!(f, "one or two numbers of seconds from 0 to {MAX_LOCKOUT}"),
            },
            ValueKind::Throttle => {
                write!(f, "a number of tries from 1 to {MAX_SECONDS} and a ")?;
                match like {
                    Some(like) => {
                        write!(f, "time of up to {MAX_THROTTLE} seconds, {like}, or {off}")
                    }
                    None => write!(f, "number of seconds up to {MAX_THROTTLE}, or {off}"),
                }
            }
            ValueKind::Scheme => f.write_str("basic, digest, both, form, or form and basic"),
            ValueKind::Algorithms => f.write_str(ALGORITHMS),
            ValueKind::Users => write!(
                f,
                "1 to {REQUIRED_USERS_MAX} names of users (more belong in a group), or {off}"
            ),
            ValueKind::Networks => write!(
                f,
                "1 to {TRUSTED_NETWORKS_MAX} networks like 192.0.2.0/24 or 2001:db8::/32 (more belong in the users file), or {off}"
            ),
            ValueKind::Groups => {
                write!(f, "the path of a group file and 1 to {REQUIRED_GROUPS_MAX} names of groups")
            }
        }
    }
}

const ALGORITHMS: &str = "SHA-256 and MD5, or one of them";

/// The words of a directive, to be read in one of these ways.
#[derive(Clone, Copy)]
pub(super) struct Words<'w, 'a> {
    pub(super) words: &'w [&'a [u8]],
    pub(super) place: &'a [u8],
    /// Where lists are kept. `None`: nowhere, so there are none.
    pub(super) memory: Option<&'w dyn Memory<'a>>,
    /// Whose directive it is. `None`: a limit of the users file.
    pub(super) server: Option<Server>,
}

impl<'w, 'a> Words<'w, 'a> {
    pub(super) fn put<T>(
        self,
        setting: &mut Option<Given<'a, T>>,
        value: Result<T, SettingProblem>,
    ) -> Result<(), SettingProblem> {
        *setting = Some(Given { value: value?, place: self.place });
        Ok(())
    }

    fn wanting(self, kind: ValueKind) -> Wanted {
        Wanted { kind, server: self.server }
    }

    fn one(self, wanted: Wanted) -> Result<&'a [u8], SettingProblem> {
        match self.words {
            [word] => Ok(word),
            _ => Err(self.miscounted(wanted)),
        }
    }

    fn miscounted(self, wanted: Wanted) -> SettingProblem {
        SettingProblem::Count { wanted, words: self.words.len() }
    }

    pub(super) fn path(self) -> Result<&'a [u8], SettingProblem> {
        match self.one(self.wanting(ValueKind::Path))? {
            b"" => Err(SettingProblem::EmptyPath),
            path => Ok(path),
        }
    }

    pub(super) fn number(self, min: u32, max: u32) -> Result<u32, SettingProblem> {
        let wanted = self.wanting(ValueKind::Number { min, max });
        number(self.one(wanted)?, min, max, wanted)
    }

    pub(super) fn seconds(self, min: u32, max: u32) -> Result<u32, SettingProblem> {
        let wanted = self.wanting(ValueKind::Seconds { min, max });
        self.time(self.one(wanted)?, min, max, wanted)
    }

    fn time(self, word: &[u8], min: u32, max: u32, wanted: Wanted) -> Result<u32, SettingProblem> {
        let value = time::seconds(word, self.server);
        value.filter(|value| (min..=max).contains(value)).ok_or_else(|| wanted.is_not(word))
    }

    pub(super) fn days(self) -> Result<Option<NonZeroU32>, SettingProblem> {
        let wanted = self.wanting(ValueKind::Days);
        let word = self.one(wanted)?;
        if word.eq_ignore_ascii_case(b"off") {
            return Ok(None);
        }
        number(word, 1, TRUSTED_DAYS_MAX, wanted).map(NonZeroU32::new)
    }

    pub(super) fn refusal_time(self) -> Result<Option<NonZeroU32>, SettingProblem> {
        let wanted = self.wanting(ValueKind::Milliseconds);
        let word = self.one(wanted)?;
        if word.eq_ignore_ascii_case(b"off") {
            return Ok(None);
        }
        let value = time::milliseconds(word, self.server).and_then(NonZeroU32::new);
        let value = value.filter(|value| value.get() <= MAX_REFUSAL_TIME);
        value.map(Some).ok_or_else(|| wanted.is_not(word))
    }

    pub(super) fn flag(self) -> Result<bool, SettingProblem> {
        let wanted = self.wanting(ValueKind::Flag);
        let word = self.one(wanted)?;
        match () {
            () if word.eq_ignore_ascii_case(b"on") => Ok(true),
            () if word.eq_ignore_ascii_case(b"off") => Ok(false),
            () => Err(wanted.is_not(word)),
        }
    }

    pub(super) fn forget(self) -> Result<Forget, SettingProblem> {
        let wanted = self.wanting(ValueKind::Forget);
        let word = self.one(wanted)?;
        let choices = [(&b"on"[..], Forget::On), (b"word", Forget::Word), (b"off", Forget::Off)];
        let chosen = choices.into_iter().find(|(name, _)| word.eq_ignore_ascii_case(name));
        chosen.map(|(_, forget)| forget).ok_or_else(|| wanted.is_not(word))
    }

    pub(super) fn failure_limit(self) -> Result<FailureLimit, SettingProblem> {
        let wanted = self.wanting(ValueKind::FailureLimit);
        let word = self.one(wanted)?;
        if word.eq_ignore_ascii_case(b"none") {
            return Ok(FailureLimit::None);
        }
        number(word, 0, MAX_SECONDS, wanted).map(FailureLimit::Number)
    }

    pub(super) fn lockout(self) -> Result<Lockout, SettingProblem> {
        let wanted = self.wanting(ValueKind::Lockout);
        let seconds = |word| self.time(word, 0, MAX_LOCKOUT, wanted);
        let lockout = match self.words {
            [time] => {
                let time = seconds(time)?;
                Lockout { time, max: time.max(DEFAULT_LOCKOUT_MAX) }
            }
            [time, max] => Lockout { time: seconds(time)?, max: seconds(max)? },
            _ => return Err(self.miscounted(wanted)),
        };
        if lockout.max < lockout.time {
            return Err(SettingProblem::MaximumBelow { time: lockout.time });
        }
        Ok(lockout)
    }

    pub(super) fn throttle(self) -> Result<Option<Throttle>, SettingProblem> {
        let wanted = self.wanting(ValueKind::Throttle);
        match self.words {
            [off] if off.eq_ignore_ascii_case(b"off") => Ok(None),
            [tries, seconds] => {
                let above_0 = |number| NonZeroU32::new(number).expect("at least 1");
                Ok(Some(Throttle {
                    tries: number(tries, 1, MAX_SECONDS, wanted).map(above_0)?,
                    seconds: self.time(seconds, 1, MAX_THROTTLE, wanted).map(above_0)?,
                }))
            }
            _ => Err(self.miscounted(wanted)),
        }
    }

    pub(super) fn scheme(self) -> Result<Scheme, SettingProblem> {
        let wanted = self.wanting(ValueKind::Scheme);
        match self.words {
            [b"form", b"basic"] | [b"basic", b"form"] => return Ok(Scheme::FormAndBasic),
            _ => {}
        }
        match self.one(wanted)? {
            b"basic" => Ok(Scheme::Basic),
            b"digest" => Ok(Scheme::Digest),
            b"both" => Ok(Scheme::Both),
            b"form" => Ok(Scheme::Form),
            word => Err(wanted.is_not(word)),
        }
    }

    pub(super) fn linger_cookie(self) -> Result<LingerCookie, SettingProblem> {
        let wanted = self.wanting(ValueKind::LingerCookie);
        let word = self.one(wanted)?;
        let choices = [
            (&b"on"[..], LingerCookie::On),
            (b"off", LingerCookie::Off),
            (b"insecure", LingerCookie::Insecure),
        ];
        let chosen = choices.into_iter().find(|(name, _)| word.eq_ignore_ascii_case(name));
        chosen.map(|(_, cookie)| cookie).ok_or_else(|| wanted.is_not(word))
    }

    /// A path of the server's own, as browsers ask for it.
    pub(super) fn url_path(self) -> Result<&'a [u8], SettingProblem> {
        let wanted = self.wanting(ValueKind::UrlPath);
        let word = self.one(wanted)?;
        let is_plain = |b: &u8| b.is_ascii_alphanumeric() || b"/-._~!$&'()*+,;=:@".contains(b);
        let is_path =
            word.starts_with(b"/") && !word.starts_with(b"//") && word.iter().all(is_plain);
        if is_path { Ok(word) } else { Err(wanted.is_not(word)) }
    }

    pub(super) fn algorithms(self) -> Result<Algorithms, SettingProblem> {
        let wanted = self.wanting(ValueKind::Algorithms);
        let named =
            |word: &'a [u8]| DigestAlgorithm::named(word).ok_or_else(|| wanted.is_not(word));
        let algorithms = match self.words {
            [one] => [named(one)?; 2],
            [first, second] => [named(first)?, named(second)?],
            _ => return Err(self.miscounted(wanted)),
        };
        if self.words.len() == 2 && algorithms[0] == algorithms[1] {
            return Err(SettingProblem::AlgorithmTwice(algorithms[0]));
        }
        Ok(Algorithms { algorithms, count: self.words.len() as u8 })
    }

    pub(super) fn providers(self, before: &[&'a [u8]]) -> Result<&'a [&'a [u8]], SettingProblem> {
        if self.words.iter().any(|name| name.eq_ignore_ascii_case(b"otp")) {
            return Err(SettingProblem::ProviderIsOtp);
        }
        self.more(before, PIN_PROVIDERS_MAX, self.words, SettingProblem::ProviderCount)
    }

    /// Further networks; or none, whatever was said before.
    pub(super) fn networks(self, before: &[Network]) -> Result<&'a [Network], SettingProblem> {
        let wanted = self.wanting(ValueKind::Networks);
        match self.words {
            [] => return Err(self.miscounted(wanted)),
            [off] if off.eq_ignore_ascii_case(b"off") => return Ok(&[]),
            _ => {}
        }
        let mut networks = before.to_vec();
        for word in self.words {
            let network = Network::parse(word).map_err(SettingProblem::Network)?;
            if networks.len() == TRUSTED_NETWORKS_MAX {
                return Err(self.miscounted(wanted));
            }
            networks.push(network);
        }
        self.kept(|memory| memory.networks(&networks))
    }

    /// Further users whom a section lets in; or everybody, whatever was said before.
    pub(super) fn users(self, before: Required<'a>) -> Result<Required<'a>, SettingProblem> {
        let is_off = |word: &&[u8]| word.eq_ignore_ascii_case(b"off");
        match self.words {
            [word] if is_off(word) => return Ok(Required::default()),
            words if words.iter().any(is_off) => {
                return Err(SettingProblem::OffAmongNames(self.wanting(ValueKind::Users)));
            }
            _ => {}
        }
        let users = self.named(before.users, REQUIRED_USERS_MAX, self.words, ValueKind::Users)?;
        Ok(Required { users, ..before })
    }

    /// Further groups whose members a section lets in.
    pub(super) fn groups(self, before: Required<'a>) -> Result<Required<'a>, SettingProblem> {
        let [file, groups @ ..] = self.words else {
            return Err(self.miscounted(self.wanting(ValueKind::Groups)));
        };
        if file.is_empty() {
            return Err(SettingProblem::EmptyPath);
        }
        let before_names = match before.groups.map(|given| given.value) {
            Some(before) if before.file != *file => return Err(SettingProblem::OtherGroupFile),
            before => before.map(|before| before.names).unwrap_or_default(),
        };
        let names = self.named(before_names, REQUIRED_GROUPS_MAX, groups, ValueKind::Groups)?;
        let groups = Some(Given { value: Groups { file, names }, place: self.place });
        Ok(Required { groups, ..before })
    }

    fn named(
        self,
        before: &[&'a [u8]],
        max: usize,
        names: &[&'a [u8]],
        kind: ValueKind,
    ) -> Result<&'a [&'a [u8]], SettingProblem> {
        let wanted = self.wanting(kind);
        if let Some(name) = names.iter().find(|name| name.is_empty()) {
            return Err(wanted.is_not(name));
        }
        self.more(before, max, names, self.miscounted(wanted))
    }

    /// What there was and at least one name more.
    fn more(
        self,
        before: &[&'a [u8]],
        max: usize,
        names: &[&'a [u8]],
        miscounted: SettingProblem,
    ) -> Result<&'a [&'a [u8]], SettingProblem> {
        if names.is_empty() || before.len() + names.len() > max {
            return Err(miscounted);
        }
        self.kept(|memory| memory.names(&[before, names].concat()))
    }

    fn kept<T>(
        self,
        keep: impl FnOnce(&'w dyn Memory<'a>) -> Option<T>,
    ) -> Result<T, SettingProblem> {
        self.memory.and_then(keep).ok_or(SettingProblem::NoMemory)
    }
}

fn number(word: &[u8], min: u32, max: u32, wanted: Wanted) -> Result<u32, SettingProblem> {
    let digits = !word.is_empty() && word.iter().all(u8::is_ascii_digit);
    let value = str::from_utf8(word).ok().filter(|_| digits).and_then(|text| text.parse().ok());
    value.filter(|value| (min..=max).contains(value)).ok_or_else(|| wanted.is_not(word))
}

#[cfg(test)]
mod tests {
    use super::super::Server;
    use super::super::tests::apache;
    use super::*;

    #[test]
    fn forget_takes_three_words_in_any_case() {
        for (word, forget) in [
            ("On", Forget::On),
            ("off", Forget::Off),
            ("WORD", Forget::Word),
            ("word", Forget::Word),
        ] {
            assert_eq!(
                apache(&[("OTPAuthForget", &[word])]).unwrap().policy(Server::Apache).forget,
                forget
            );
        }
        assert_eq!(
            apache(&[("OTPAuthForget", &["logout"])]).map(|_| ()),
            Err("OTPAuthForget takes On, Word or Off, not \"logout\"".to_owned())
        );
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
            (
                "OTPAuthMaxOffset",
                &["-1"],
                "OTPAuthMaxOffset takes a number from 0 to 10000, not \"-1\"",
            ),
            (
                "OTPAuthMaxOffset",
                &["4", "5"],
                "OTPAuthMaxOffset takes a number from 0 to 10000, not 2 words",
            ),
            (
                "OTPAuthMaxLinger",
                &["ten"],
                "OTPAuthMaxLinger takes a time from 0 to 2147483647 seconds, such as 90, 10min or 1h, not \"ten\"",
            ),
            (
                "OTPAuthMaxIdle",
                &["15"],
                "OTPAuthMaxIdle takes a time from 16 to 2147483647 seconds, such as 90, 10min or 1h, not \"15\"",
            ),
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
                "OTPAuthPINAuthProvider can't name OTP itself: another provider must check the PIN",
            ),
            (
                "OTPAuthRequireUser",
                &[],
                "OTPAuthRequireUser takes 1 to 16 names of users (more belong in a group), or Off, not 0 words",
            ),
            (
                "OTPAuthRequireUser",
                &["a"; 17],
                "OTPAuthRequireUser takes 1 to 16 names of users (more belong in a group), or Off, not 17 words",
            ),
            (
                "OTPAuthRequireUser",
                &["alice", "off"],
                "OTPAuthRequireUser takes Off alone, not among names; a user of that name belongs in a group",
            ),
            (
                "OTPAuthRequireGroup",
                &["groups"],
                "OTPAuthRequireGroup takes the path of a group file and 1 to 8 names of groups, not 1 words",
            ),
            (
                "OTPAuthRequireGroup",
                &["groups", ""],
                "OTPAuthRequireGroup takes the path of a group file and 1 to 8 names of groups, not \"\"",
            ),
            (
                "OTPAuthRequireGroup",
                &["", "a"],
                "OTPAuthRequireGroup takes a path, not an empty word",
            ),
            ("OTPAuthNoSuch", &["1"], "OTPAuthNoSuch is not an otpgate setting"),
        ] {
            assert_eq!(apache(&[(name, words)]).map(|_| ()), Err(message.to_owned()));
        }
    }
}
