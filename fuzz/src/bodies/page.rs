//! Frames of the page to log in.

use otpgate::http::accept::Language;
use otpgate::page::{Notice, State, Template, View, is_source, render};

use super::Pieces;

pub const WORDS: &[&str] = &[
    "{{title}}",
    "{{refresh}}",
    "{{heading}}",
    "{{notice}}",
    "{{form}}",
    "{{csrf}}",
    "{{to}}",
    "{{fields}}",
    "{{button}}",
    "{{/form}}",
    "{{link}}",
    "{{style}}",
    "{{language}}",
    "{{site}}",
    "{{lead}}",
    "{{help}}",
    "{{",
    "}}",
    "<style>",
    "</style>",
    "</style",
    "\r\n",
    "\0",
];

/// What is inserted, and what of it must never be there as it is.
const HOSTILE: &str = "\"'><i>hostile</i>&";

/// A frame and a style sheet: if they are taken, all that is inserted is escaped, the policy is one
/// line that allows no script, and what is needed is there.
pub fn template(data: &[u8]) {
    let mut pieces = Pieces(data);
    let (how, css) = (pieces.byte(), pieces.text());
    let (Ok(html), Ok(css)) = (str::from_utf8(pieces.0), str::from_utf8(css)) else { return };
    let template = match Template::parse(html, css) {
        Ok(template) => template,
        Err(problem) => {
            assert!(!problem.to_string().is_empty());
            return;
        }
    };
    let language = Language::ALL[usize::from(how & 3)];
    let sources =
        ["https://example.org".to_owned(), "x; script-src *".to_owned(), HOSTILE.to_owned()];
    for state in [
        State::Login,
        State::CodeOnly,
        State::SignedIn { on: Some(HOSTILE) },
        State::SignedOut,
        State::Moved { url: HOSTILE },
        State::Unusable,
    ] {
        let view = View {
            template: &template,
            language,
            site: HOSTILE,
            action: "/otp/login",
            state,
            notice: Some(Notice::Throttled { seconds: 60 }),
            csrf: "csrf-of-the-form",
            to: Some("sealed.target"),
            user: Some(HOSTILE),
            offers_computer: Some(30),
            knows_computer: how & 4 != 0,
            sources: &sources,
        };
        let page = render(&view);
        if !html.contains("<i>") && !css.contains("<i>") {
            assert!(!page.html.contains("<i>hostile"), "{}", page.html);
        }
        if !html.contains("<script") && !css.contains("<script") {
            assert!(!page.html.contains("<script"));
        }
        if matches!(state, State::Login | State::CodeOnly | State::SignedIn { .. }) {
            assert!(page.html.contains("csrf-of-the-form"), "{state:?}");
        }
        assert!(page.csp.bytes().all(|b| (b' '..=b'~').contains(&b)));
        assert!(page.csp.starts_with("default-src 'none'; style-src "));
        assert_eq!(page.csp.matches(';').count(), 4, "{}", page.csp);
        assert!(
            !page.csp.contains("script-src")
                && page.csp.contains("form-action 'self' https://example.org;")
        );
        assert_eq!(render(&view), page);
    }
    assert!(!is_source(HOSTILE));
}
