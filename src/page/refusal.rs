//! What clients get that want no page.

use crate::http::accept::Wants;

/// Why nobody is let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Nobody is logged in. 401.
    LoginNeeded,
    /// Who is logged in has to enter a new code. 401.
    CodeNeeded,
    /// The login was refused: the same for any reason. 401.
    NotRight,
    /// Too many tries. 429.
    Throttled {
        /// How long to wait.
        seconds: u32,
    },
    /// No time to look at it. 503.
    Busy,
    /// It couldn't be looked at. 500.
    Failed,
}

impl Refusal {
    /// For programs. Each stays what it is.
    fn word(self) -> &'static str {
        match self {
            Refusal::LoginNeeded => "login_needed",
            Refusal::CodeNeeded => "code_needed",
            Refusal::NotRight => "not_right",
            Refusal::Throttled { .. } => "throttled",
            Refusal::Busy => "busy",
            Refusal::Failed => "failed",
        }
    }

    /// For people who read the answers of programs.
    fn text(self) -> &'static str {
        match self {
            Refusal::LoginNeeded => "You aren't logged in. Open the login page in a browser.",
            Refusal::CodeNeeded => "A new code is needed. Open the login page in a browser.",
            Refusal::NotRight => "User name, PIN or code isn't right.",
            Refusal::Throttled { .. } => "There were too many failed logins. Wait.",
            Refusal::Busy => "The server is busy. Try again in a moment.",
            Refusal::Failed => "The server can't log you in. Its error log says why.",
        }
    }
}

/// The Content-Type and the body of an answer for who wants no page. `login_page`: its path,
/// escaped as in a URL.
pub fn refusal(refusal: Refusal, wants: Wants, login_page: &str) -> (&'static str, String) {
    let (word, text) = (refusal.word(), refusal.text());
    let seconds = match refusal {
        Refusal::Throttled { seconds } => Some(seconds),
        _ => None,
    };
    match wants {
        Wants::Json => {
            let seconds = seconds.map(|n| format!(",\"retry_after\":{n}")).unwrap_or_default();
            let page = quoted(login_page);
            let body = format!(
                "{{\"error\":\"{word}\",\"message\":{}{seconds},\"login_page\":{page}}}\n",
                quoted(text)
            );
            ("application/json", body)
        }
        Wants::Html | Wants::Text => {
            let seconds = seconds.map(|n| format!("Seconds to wait: {n}\n")).unwrap_or_default();
            let page: String = login_page.chars().filter(|c| !c.is_control()).collect();
            let body = format!("{text}\n{seconds}Login page: {page}\n");
            ("text/plain; charset=utf-8", body)
        }
    }
}

/// A string of RFC 8259 section 7.
fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            c if c.is_control() => quoted += &format!("\\u{:04x}", u32::from(c)),
            c => quoted.push(c),
        }
    }
    quoted + "\""
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_read_why_and_where_to_log_in() {
        for (kind, json, text) in [
            (
                Refusal::LoginNeeded,
                r#"{"error":"login_needed","message":"You aren't logged in. Open the login page in a browser.","login_page":"/otp/login"}"#,
                "You aren't logged in. Open the login page in a browser.\nLogin page: /otp/login",
            ),
            (
                Refusal::Throttled { seconds: 30 },
                r#"{"error":"throttled","message":"There were too many failed logins. Wait.","retry_after":30,"login_page":"/otp/login"}"#,
                "There were too many failed logins. Wait.\nSeconds to wait: 30\nLogin page: /otp/login",
            ),
        ] {
            let (content_type, body) = refusal(kind, Wants::Json, "/otp/login");
            assert_eq!((content_type, &*body), ("application/json", &*format!("{json}\n")));
            for wants in [Wants::Text, Wants::Html] {
                let (content_type, body) = refusal(kind, wants, "/otp/login");
                assert_eq!(content_type, "text/plain; charset=utf-8");
                assert_eq!(body, format!("{text}\n"));
            }
        }
    }

    #[test]
    fn each_refusal_has_its_word() {
        let all = [
            Refusal::LoginNeeded,
            Refusal::CodeNeeded,
            Refusal::NotRight,
            Refusal::Throttled { seconds: 1 },
            Refusal::Busy,
            Refusal::Failed,
        ];
        let words: std::collections::BTreeSet<_> =
            all.iter().map(|kind| refusal(*kind, Wants::Json, "/").1).collect();
        assert_eq!(words.len(), all.len());
    }

    #[test]
    fn a_path_stays_a_string() {
        let (_, json) = refusal(Refusal::Busy, Wants::Json, "/a\"b\\c\r\n\u{e4}");
        assert!(
            json.ends_with(",\"login_page\":\"/a\\\"b\\\\c\\u000d\\u000a\u{e4}\"}\n"),
            "{json}"
        );
        let (_, text) = refusal(Refusal::Busy, Wants::Text, "/a\r\nb");
        assert!(text.ends_with("\nLogin page: /ab\n"), "{text}");
    }
}
