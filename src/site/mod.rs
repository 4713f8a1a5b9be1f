//! A server's configuration as logins see it: each section's users file, its PIN sources, and how
//! it asks for credentials.
//!
//! A [`Site`] is one configuration of a server. A [`Section`] is one of its sections, merged with
//! those around it. With both, and a [`Request`], an adapter has all it needs: [`Site::basic`] and
//! [`Site::digest`] decide, [`Site::challenges`] asks, [`Site::check_config`] is the configuration
//! test.
//!
//! - `gates`: which gate serves which users file.
//! - `admission`: whom a section lets in.
//! - `login`: the ways to log in. `challenge`: how credentials are asked for.
//! - `browser`: what browsers send, and are sent. `cookie`: how they are let in by a cookie.
//! - `page`: the page to log in; `templates`: its frames.
//! - `event`: messages about what servers notice.
//! - `sections`: contradictions between sections; `check`: the files they name.

mod admission;
mod browser;
mod challenge;
mod check;
mod cookie;
mod event;
mod gates;
mod login;
mod page;
mod sections;
mod templates;
mod unfit;

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::sync::OnceLock;
use std::sync::atomic::AtomicU64;
use std::time::{SystemTime, UNIX_EPOCH};

pub use self::browser::{Browser, Responded, Response, without_our_cookies};
pub use self::challenge::{
    CHALLENGES_MAX, Realm, asked_scheme, realm_of_directive, zone_of_directive,
};
pub use self::check::Identity;
pub use self::event::Event;
use self::gates::Gates;
pub use self::gates::Number;
pub use self::login::{
    BasicCredentials, DigestCredentials, Providers, Replied, Request, granted_header,
    is_granted_header, result_word,
};
pub use self::sections::Place;
use self::templates::Templates;
use crate::UnixTime;
use crate::groups::GroupFiles;
use crate::policy::{BadSetting, Memory, Policy, Server, Settings};
use crate::refusals::{self, Waiting};

/// One configuration of a server, and what this process remembers about its users files.
pub struct Site {
    server: Server,
    gates: Gates,
    groups: GroupFiles,
    templates: Templates,
    /// Waiting refusals, in memory lent by the server.
    waiting: OnceLock<&'static [AtomicU64]>,
}

impl Site {
    /// A configuration whose relative paths start from `root`. Nothing is opened yet.
    pub fn new(server: Server, root: PathBuf) -> Site {
        let (gates, groups) = (Gates::new(root), GroupFiles::default());
        Site { server, gates, groups, templates: Templates::default(), waiting: OnceLock::new() }
    }

    /// The server whose names and defaults apply.
    pub fn server(&self) -> Server {
        self.server
    }

    /// Has those who wait for their refusal counted in memory that all processes share. Lent twice,
    /// the first stays; without it, nobody waits.
    pub fn lend_refusal_memory(&self, words: &'static [AtomicU64]) {
        let _ = self.waiting.set(words);
    }

    /// Milliseconds for which a thread holds back a refusal whose request came `elapsed`
    /// milliseconds ago; 0: not at all, because it is time, or too many are waiting.
    pub fn refusal_wait(
        &self,
        refusal_time: Option<NonZeroU32>,
        elapsed: u64,
        client: Option<IpAddr>,
    ) -> u64 {
        let rest = refusal_time.map_or(0, |time| refusals::rest(time, elapsed));
        let Some(words) = self.waiting.get().filter(|_| rest > 0) else { return 0 };
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| since.as_millis() as u64);
        if Waiting(words).begin(client, now, rest) { rest } else { 0 }
    }
}

/// What one section says, or several merged. Plain memory, so that servers can keep it in their
/// pools.
#[derive(Clone, Copy, Debug, Default)]
pub struct Section<'a> {
    /// Its settings.
    pub settings: Settings<'a>,
    /// The gate to the users file of the settings. `None`: it is looked up by its path.
    gate: Option<Number>,
    /// What the settings come to, where they are merged once and not for each request (nginx).
    policy: Option<Policy>,
}

impl<'a> Section<'a> {
    /// Takes one directive. `site` is where the section belongs for as long as the site lives;
    /// `None`: it is there for a request only. `memory` lives as long as the section.
    pub fn set(
        &mut self,
        site: Option<&Site>,
        server: Server,
        memory: &dyn Memory<'a>,
        name: &[u8],
        words: &[&'a [u8]],
        place: &'a [u8],
    ) -> Result<(), BadSetting> {
        let path = |settings: &Settings<'a>| settings.users_file.map(|given| given.value);
        let before = path(&self.settings);
        self.settings.set(server, memory, name, words, place)?;
        self.policy = None;
        let users_file = path(&self.settings);
        if users_file != before {
            self.gate = site.zip(users_file).and_then(|(site, path)| site.gates.number(path));
        }
        Ok(())
    }

    /// Makes this section what holds in a nested one.
    pub fn overlay(&mut self, child: &Section<'a>, server: Server) {
        if child.settings.users_file.is_some() {
            self.gate = child.gate;
        }
        self.settings.overlay(&child.settings, server);
        self.policy = (server == Server::Nginx).then(|| self.settings.policy(server));
    }

    /// What the settings come to for Basic logins.
    fn policy(&self, server: Server) -> Policy {
        self.policy.unwrap_or_else(|| self.settings.policy(server))
    }

    /// Whether Apache asks this module about Basic credentials here, and a users file is set.
    pub fn is_asked_by_basic(&self) -> bool {
        self.settings.users_file.is_some()
            && self.settings.asked.basic.is_some_and(|given| given.value)
    }
}

fn now() -> UnixTime {
    match SystemTime::now().duration_since(UNIX_EPOCH) {
        Ok(since) => since.as_secs() as UnixTime,
        Err(before) => -(before.duration().as_secs() as UnixTime),
    }
}
