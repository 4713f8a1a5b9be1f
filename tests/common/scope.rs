//! A protected part of a site: its users, its settings. The same for every server.

use std::path::PathBuf;

use super::codes::Token;

/// A setting by what it means; each server knows its own name for it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Setting {
    MaxOffset,
    MaxLinger,
    MaxIdle,
    MaxFailures,
    LockoutTime,
    Throttle,
    /// Off unless a test is about it: it would wait for each of its refusals.
    RefusalTime,
    LogoutOnIpChange,
    Forget,
    PinCache,
    FallThrough,
    PinFakeBasic,
    AllowHex,
    AppPasswords,
    TrustedNetworks,
    RequireUser,
    /// Groups of the scope's group file.
    RequireGroup,
    RequireTls,
    LingerCookie,
    MaxAge,
    /// Seconds for which a Digest nonce may be used.
    NonceLifetime,
    /// Each Digest nonce count is good for one request; on nginx always.
    NonceCountCheck,
}

/// One protected directory of the site, with a users file of its own.
#[derive(Clone, Debug)]
pub struct Scope {
    pub name: String,
    pub users: Vec<u8>,
    pub settings: Vec<(Setting, String)>,
    /// Credentials are asked for by Digest instead of Basic.
    pub digest: bool,
    /// Users and passwords of a second provider, asked after otpgate.
    pub second_provider: Vec<(Vec<u8>, String)>,
    /// Lines of the file that checks PINs marked `+`.
    pub pin_file: String,
    /// The group file; without text there is none.
    pub group_file: String,
    /// More of the server's own configuration language, inside the section.
    pub directives: String,
    /// Nothing but `directives` goes into the section.
    pub bare: bool,
    /// The section is one of URLs instead of files: there needn't be any.
    pub of_urls: bool,
    /// A users file that the test makes itself, instead of the scope's own.
    pub users_file: Option<PathBuf>,
    pub secrets: Vec<String>,
}

impl Scope {
    pub fn new(name: impl Into<String>) -> Scope {
        Scope {
            name: name.into(),
            users: Vec::new(),
            settings: Vec::new(),
            digest: false,
            second_provider: Vec::new(),
            pin_file: String::new(),
            group_file: String::new(),
            directives: String::new(),
            bare: false,
            of_urls: false,
            users_file: None,
            secrets: Vec::new(),
        }
    }

    /// A scope whose section is written by the test.
    pub fn bare(name: impl Into<String>) -> Scope {
        let mut scope = Scope::new(name);
        scope.bare = true;
        scope
    }

    /// Protects the URLs below the scope's name, whatever answers there.
    pub fn of_urls(mut self) -> Scope {
        self.of_urls = true;
        self
    }

    /// Adds the token's line to the users file.
    pub fn token(mut self, token: &Token) -> Scope {
        self.secrets.extend(token.secrets());
        self.users.extend(token.line());
        self
    }

    /// Adds text to the users file.
    pub fn text(mut self, text: impl AsRef<[u8]>) -> Scope {
        self.users.extend_from_slice(text.as_ref());
        self
    }

    /// No log may ever show this.
    pub fn secret(mut self, secret: &str) -> Scope {
        self.secrets.push(secret.to_owned());
        self
    }

    pub fn set(mut self, setting: Setting, value: impl ToString) -> Scope {
        self.settings.push((setting, value.to_string()));
        self
    }

    pub fn digest(mut self) -> Scope {
        self.digest = true;
        self
    }

    pub fn second_provider(mut self, user: impl AsRef<[u8]>, password: &str) -> Scope {
        self.second_provider.push((user.as_ref().to_vec(), password.to_owned()));
        self.secrets.push(password.to_owned());
        self
    }

    /// A user in the file that checks PINs marked `+`.
    pub fn pin_file(mut self, user: &str, pin: &str) -> Scope {
        self.secrets.push(pin.to_owned());
        self.pin_file_line(&htpasswd_line(user, pin))
    }

    /// A line of that file as it stands.
    pub fn pin_file_line(mut self, line: &str) -> Scope {
        self.pin_file += line.trim_end_matches('\n');
        self.pin_file.push('\n');
        self.secrets.extend(line.trim_end().split(':').nth(1).map(str::to_owned));
        self
    }

    /// Lines of the group file.
    pub fn group_file(mut self, text: &str) -> Scope {
        self.group_file += text;
        self
    }

    /// Directives in the section. `{root}`, `{files}`, `{users}`, `{port}` and `{other_port}` stand
    /// for the server's directory, the scope's documents, its users file, the port and a second
    /// one.
    pub fn directives(mut self, text: &str) -> Scope {
        self.directives += text.trim_end();
        self.directives.push('\n');
        self
    }

    pub fn users_file(mut self, path: impl Into<PathBuf>) -> Scope {
        self.users_file = Some(path.into());
        self
    }
}

/// A line of an htpasswd file (RFC 2307 section 5.3, without the salt).
pub fn htpasswd_line(user: &str, password: &str) -> String {
    use sha1::{Digest, Sha1};
    let hash = data_encoding::BASE64.encode(&Sha1::digest(password));
    format!("{user}:{{SHA}}{hash}\n")
}
