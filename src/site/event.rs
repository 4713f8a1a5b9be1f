//! Things that servers notice and an admin must know.

use super::Site;
use crate::log::{Level, Log, Quoted};
use crate::policy::Server;

/// Something to log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event<'a> {
    /// A request without TLS is answered 403.
    WithoutTls,
    /// A login has been with a thread for [`Event::OVERDUE`].
    Overdue,
    /// A login is answered 503: too many are waiting for a thread.
    QueueFull,
    /// A sub-request for this path is answered 403.
    PartRefused(&'a [u8]),
    /// The PIN provider of this name is no longer registered.
    ProviderGone(&'a [u8]),
    /// There is no memory for counting waiting refusals.
    NoRefusalMemory,
    /// At this path, that of the page to log in, there is something else.
    NotThePage(&'a [u8]),
}

impl Event<'_> {
    /// Milliseconds.
    pub const OVERDUE: u32 = 60_000;
}

impl Site {
    /// Writes one line.
    pub fn log_event(&self, event: Event<'_>, log: &dyn Log) {
        match event {
            Event::WithoutTls => {
                let name = tls_setting(self.server());
                log.log(Level::Refusal, format_args!("{name}: request without TLS refused"));
            }
            Event::Overdue => {
                log.log(Level::Error, format_args!("a login has been running for more than {} ms", Event::OVERDUE));
            }
            Event::QueueFull => log.log(
                Level::Error,
                format_args!("too many logins are waiting for a thread; raise max_queue of thread_pool"),
            ),
            Event::PartRefused(path) => log.log(
                Level::Refusal,
                format_args!(
                    "sub-request for {} refused: the request it belongs to was not granted by auth_otp with the same \
                     users file, or this location's settings don't allow it",
                    Quoted(path)
                ),
            ),
            Event::ProviderGone(name) => {
                log.log(Level::Error, format_args!("PIN provider {} is no longer registered", Quoted(name)));
            }
            Event::NoRefusalMemory => log.log(
                Level::Warning,
                format_args!("OTPAuthRefusalTime: no shared memory, refusals go out at once"),
            ),
            Event::NotThePage(path) => log.log(
                Level::Error,
                format_args!(
                    "OTPAuthLoginPage leads to {}, but the page to log in isn't there: add `SetHandler otp-login`",
                    Quoted(path)
                ),
            ),
        }
    }
}

/// The name of the setting that refuses requests without TLS.
pub(super) fn tls_setting(server: Server) -> &'static str {
    match server {
        Server::Apache => "OTPAuthRequireTLS",
        Server::Nginx => "auth_otp_require_tls",
    }
}
