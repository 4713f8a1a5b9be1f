//! The server's settings as options: those that have a part in a decision, under the library's own
//! rules.

use std::net::IpAddr;

use clap::error::ErrorKind;
use clap::{CommandFactory, ValueEnum};
use otpgate::policy::{Leaked, Policy, Server, Settings};
use otpgate::token::Address;

/// The server and the users file decide when a token is locked.
#[derive(clap::Args)]
pub struct FailureFlags {
    /// Wrong codes in a row that lock a token (OTPAuthMaxOTPFailure, auth_otp_max_failures)
    #[arg(long, value_name = "N")]
    pub max_failures: Option<String>,
    /// Seconds a lock-out lasts, and the maximum it doubles up to (OTPAuthLockoutTime,
    /// auth_otp_lockout_time)
    #[arg(long, value_name = "SECONDS[,MAX]", value_delimiter = ',')]
    lockout_time: Vec<String>,
}

/// All of them.
#[derive(clap::Args)]
pub struct Flags {
    /// The server whose defaults apply
    #[arg(long, value_enum, value_name = "SERVER", default_value = "apache")]
    server: ServerName,
    #[command(flatten)]
    failures: FailureFlags,
    /// Look-ahead window in counters or time steps
    #[arg(long, value_name = "N")]
    max_offset: Option<String>,
    /// Seconds after its first use in which a code may be used again
    #[arg(long, value_name = "SECONDS")]
    max_linger: Option<String>,
    /// Seconds after its last use in which a code may be used again
    #[arg(long, value_name = "SECONDS")]
    max_idle: Option<String>,
    /// A code may be used again only from the address it was first used from
    #[arg(long, value_name = "on|off")]
    logout_on_ip_change: Option<String>,
    /// An empty password, or the PIN followed by logout, ends the last code
    #[arg(long, value_name = "on|word|off")]
    forget: Option<String>,
    /// HOTP codes may be given in hexadecimal
    #[arg(long, value_name = "on|off")]
    allow_hex: Option<String>,
    /// The client's address
    #[arg(long, value_name = "IP")]
    address: Option<IpAddr>,
}

#[derive(Clone, Copy, ValueEnum)]
enum ServerName {
    Apache,
    Nginx,
}

impl FailureFlags {
    /// What is known of the limits; the defaults of a server for the rest.
    pub fn policy(&self) -> Policy {
        let mut settings = Settings::default();
        self.put(&mut settings);
        settings.policy(Server::Apache)
    }

    fn put<'a>(&'a self, settings: &mut Settings<'a>) {
        put(settings, "--max-failures", self.max_failures.as_slice());
        put(settings, "--lockout-time", &self.lockout_time);
    }
}

impl Flags {
    pub fn policy(&self) -> Policy {
        let mut settings = Settings::default();
        self.failures.put(&mut settings);
        for (option, value) in [
            ("--max-offset", &self.max_offset),
            ("--max-linger", &self.max_linger),
            ("--max-idle", &self.max_idle),
            ("--logout-on-ip-change", &self.logout_on_ip_change),
            ("--forget", &self.forget),
            ("--allow-hex", &self.allow_hex),
        ] {
            put(&mut settings, option, value.as_slice());
        }
        settings.policy(match self.server {
            ServerName::Apache => Server::Apache,
            ServerName::Nginx => Server::Nginx,
        })
    }

    pub fn address(&self) -> Address {
        Address::of_client(self.address)
    }
}

/// An option is called like nginx's directive, and takes what that takes.
fn put<'a>(settings: &mut Settings<'a>, option: &str, words: &'a [String]) {
    if words.is_empty() {
        return;
    }
    let directive = format!("auth_otp_{}", option.trim_start_matches('-').replace('-', "_"));
    let words: Vec<&[u8]> = words.iter().map(|word| word.as_bytes()).collect();
    if let Err(error) = settings.set(Server::Nginx, &Leaked, directive.as_bytes(), &words, b"") {
        let text = format!("{option} {}", error.problem);
        crate::Arguments::command().error(ErrorKind::ValueValidation, text).exit();
    }
}
