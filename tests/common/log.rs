//! What a log may hold: nothing unexpected, and nothing secret.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Mutex;

/// The words for how a login ended; `docs/results.md` explains them.
pub const RESULTS: [&str; 19] = [
    "granted-fresh",
    "granted-reuse",
    "granted-app",
    "granted-trusted",
    "granted-computer",
    "granted-session",
    "denied-pin",
    "denied-user",
    "denied-code",
    "denied-expired",
    "denied-ip",
    "denied-locked",
    "denied-app",
    "denied-session",
    "denied-throttled",
    "denied-busy",
    "forgotten",
    "unknown",
    "error",
];

/// Everything that a test has used and that no log may ever show.
#[derive(Debug, Default)]
pub struct Secrets(Mutex<BTreeSet<String>>);

impl Secrets {
    /// Shorter ones than four characters are let go: they are found everywhere.
    pub fn remember(&self, secret: impl AsRef<[u8]>) {
        let secret = secret.as_ref();
        if secret.len() >= 4 {
            let secret = String::from_utf8_lossy(secret).into_owned();
            self.0.lock().expect("no panic inside").insert(secret);
        }
    }

    /// The first secret that `text` shows, in any case.
    pub fn found_in(&self, text: &str) -> Option<String> {
        let text = text.to_ascii_lowercase();
        let secrets = self.0.lock().expect("no panic inside");
        secrets.iter().find(|secret| shows(&text, secret)).cloned()
    }
}

/// Whether `text`, in lower case, holds the secret. A row of digits counts only where it isn't a
/// part of a longer one: process numbers and times hold every short number now and then.
fn shows(text: &str, secret: &str) -> bool {
    let secret = secret.to_ascii_lowercase();
    let digits = secret.bytes().all(|byte| byte.is_ascii_digit());
    text.match_indices(&secret).any(|(at, _)| {
        let before = text[..at].bytes().next_back();
        let after = text[at + secret.len()..].bytes().next();
        let is_digit = |byte: Option<u8>| byte.is_some_and(|byte| byte.is_ascii_digit());
        !digits || !(is_digit(before) || is_digit(after))
    })
}

/// Result and user of a decision line: the result word, and the user in quotes at the end.
pub fn decision(message: &str) -> Option<(&str, &str)> {
    let (rest, user) = message.strip_suffix('"')?.rsplit_once('"')?;
    let result = rest.split([' ', ':', ',', ';']).find(|word| RESULTS.contains(word))?;
    Some((result, user))
}

/// Whether it is a line about a decision that is no fault, at whatever level the server writes it.
pub fn is_decision(message: &str) -> bool {
    decision(message).is_some_and(|(result, _)| result != "error")
}

/// Looks through a log. `message` takes from a line what the server itself puts before it;
/// `harmless` says which lines may be there. Each line that shouldn't be, and why.
pub fn faults<'a>(
    log: &'a str,
    root: &Path,
    message: impl Fn(&str) -> String,
    mut harmless: impl FnMut(&str) -> bool,
    secrets: &Secrets,
) -> Vec<(&'a str, String)> {
    let mut faults = Vec::new();
    for line in log.lines() {
        if !harmless(line) {
            faults.push((line, format!("unexpected line in the log: {line}")));
        }
        // The directory's name holds a process number.
        let message = message(line).replace(&*root.to_string_lossy(), "");
        if let Some(secret) = secrets.found_in(&message) {
            faults.push((line, format!("{secret:?} is shown by the log: {line}")));
        }
    }
    faults
}
