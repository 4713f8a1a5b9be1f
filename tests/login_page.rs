//! The login page: what it is made of, in every state and language. Each page is written to
//! `login-page/` in the tests' temporary directory, to be looked at.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use data_encoding::BASE64;
use otpgate::http::accept::Language;
use otpgate::page::{
    Notice, Page, Problem, STYLE, State, Template, View, field, is_source, render,
};
use sha2::{Digest as _, Sha256};

fn view<'a>(state: State<'a>, notice: Option<Notice>) -> View<'a> {
    View {
        template: Template::built_in(),
        language: Language::En,
        site: "Intranet",
        action: "/otp/login",
        state,
        notice,
        csrf: "Y3NyZg.bWFj",
        to: Some("L2FyZWE.bWFj"),
        user: Some("alice"),
        offers_computer: None,
        knows_computer: false,
        sources: &[],
    }
}

const ON: &str = "https://www.example.org/area/page?a=1&b=2";

/// What the page comes up with, by name.
fn each_view() -> Vec<(String, View<'static>)> {
    let notices = [
        ("not-right", Notice::NotRight),
        ("throttled", Notice::Throttled { seconds: 571 }),
        ("busy", Notice::Busy),
        ("failed", Notice::Failed),
        ("paper", Notice::NextPaperCode(7)),
        ("no-cookie", Notice::CookieMissing),
        ("expired", Notice::Expired),
        ("not-sent", Notice::NotSent),
        ("signed-out", Notice::SignedOut),
    ];
    let states = [
        ("login", State::Login),
        ("code-only", State::CodeOnly),
        ("signed-in", State::SignedIn { on: Some(ON) }),
        ("signed-in-nowhere", State::SignedIn { on: None }),
        ("signed-out", State::SignedOut),
        ("moved", State::Moved { url: ON }),
        ("unusable", State::Unusable),
    ];
    let mut views = Vec::new();
    for (state_name, state) in states {
        views.push((state_name.to_owned(), view(state, None)));
        for (name, notice) in notices {
            views.push((format!("{state_name}-{name}"), view(state, Some(notice))));
        }
    }
    views.push(("first".to_owned(), View { user: None, to: None, ..view(State::Login, None) }));
    for (name, days) in [("computer", 30), ("computer-one-day", 1)] {
        let view = View { offers_computer: Some(days), ..view(State::Login, None) };
        views.push((name.to_owned(), view));
    }
    let long =
        "a-user-of-a-name-that-is-as-long-as-names-of-users-are-seldom-for-it-has-sixty-four";
    for (name, state) in
        [("long-code-only", State::CodeOnly), ("long-signed-in", State::SignedIn { on: None })]
    {
        let view = View { user: Some(long), site: long, ..view(state, None) };
        views.push((name.to_owned(), view));
    }
    let each = |(name, view): (String, View<'static>)| {
        Language::ALL
            .map(|language| (format!("{name}.{}", language.tag()), View { language, ..view }))
    };
    views.into_iter().flat_map(each).collect()
}

fn each_page() -> impl Iterator<Item = (String, View<'static>, Page)> {
    each_view().into_iter().map(|(name, view)| (name, view, render(&view)))
}

/// An element's start: its name and its attributes. Those without a value have an empty one.
#[derive(Debug)]
struct Tag {
    name: String,
    attributes: BTreeMap<String, String>,
    /// The text up to the next tag.
    text: String,
}

impl Tag {
    fn get(&self, name: &str) -> Option<&str> {
        self.attributes.get(name).map(String::as_str)
    }
}

fn unescaped(text: &str) -> String {
    let plain = [("&lt;", "<"), ("&gt;", ">"), ("&quot;", "\""), ("&#39;", "'"), ("&amp;", "&")];
    plain.iter().fold(text.to_owned(), |text, (escape, c)| text.replace(escape, c))
}

/// The page's elements in order. Insists that attributes are in double quotes and appear once.
fn tags(html: &str) -> Vec<Tag> {
    let mut tags = Vec::new();
    let mut rest = html;
    while let Some((_, after)) = rest.split_once('<') {
        let (tag, after) = after.split_once('>').expect("an end of each tag");
        rest = after;
        let text = after.split('<').next().unwrap_or_default();
        let (name, mut left) = tag.split_once(' ').unwrap_or((tag, ""));
        let mut attributes = BTreeMap::new();
        while !left.is_empty() {
            let end = left.find(['=', ' ']).unwrap_or(left.len());
            let (attribute, after) = left.split_at(end);
            let (value, after) = match after.strip_prefix("=\"") {
                Some(quoted) => quoted.split_once('"').expect("an end of each value"),
                None => ("", after),
            };
            assert!(after.is_empty() || after.starts_with(' '), "<{tag}>");
            let before = attributes.insert(attribute.to_owned(), unescaped(value));
            assert_eq!(before, None, "<{tag}>: {attribute} twice");
            left = after.trim_start();
        }
        tags.push(Tag { name: name.to_owned(), attributes, text: unescaped(text) });
    }
    tags
}

fn named<'a>(tags: &'a [Tag], name: &str) -> Vec<&'a Tag> {
    tags.iter().filter(|tag| tag.name == name).collect()
}

#[test]
fn pages_are_written_down_to_be_looked_at() {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("login-page");
    fs::create_dir_all(&folder).expect("a folder");
    for (name, _, page) in each_page() {
        // As a file, a page has no header: the policy is told in the page, as far as it may be.
        let policy = page.csp.replace("; frame-ancestors 'none'", "");
        let meta = format!("<meta http-equiv=\"Content-Security-Policy\" content=\"{policy}\">");
        let html = page.html.replace("<title>", &format!("{meta}\n<title>"));
        fs::write(folder.join(format!("{name}.html")), html).expect("a page");
    }
}

#[test]
fn pages_run_nothing_and_load_nothing() {
    for (name, view, page) in each_page() {
        for tag in tags(&page.html) {
            let known = [
                "!DOCTYPE", "html", "head", "meta", "title", "link", "style", "body", "main", "h1",
                "h2", "p", "ul", "li", "div", "b", "bdi", "a", "form", "input", "label", "button",
            ];
            assert!(known.contains(&tag.name.trim_start_matches('/')), "{name}: {tag:?}");
            for attribute in tag.attributes.keys() {
                assert!(attribute != "src" && attribute != "style", "{name}: {tag:?}");
                assert!(!attribute.starts_with("on"), "{name}: {tag:?}");
            }
            let is_moved = matches!(view.state, State::Moved { .. });
            if let Some(kind) = tag.get("http-equiv") {
                assert!(is_moved && kind == "refresh", "{name}: {tag:?}");
                assert_eq!(tag.get("content"), Some(&*format!("0; url={ON}")), "{name}");
            }
            match (tag.name.as_str(), tag.get("href")) {
                ("link", href) => assert_eq!(href, Some("data:,"), "{name}"),
                ("a", href) => {
                    let to_the_form = "/otp/login?to=L2FyZWE.bWFj";
                    let expected = match view.state {
                        State::SignedOut | State::Unusable => to_the_form,
                        _ => ON,
                    };
                    assert_eq!(href, Some(expected), "{name}");
                }
                (_, href) => assert_eq!(href, None, "{name}"),
            }
        }
        for word in ["url(", "@import", "javascript:", "<script", "{{", "}}"] {
            assert!(!page.html.contains(word), "{name}: {word}");
        }
    }
}

#[test]
fn the_policy_allows_the_form_and_the_sheet_that_is_there() {
    for (name, _, page) in each_page() {
        let (_, after) = page.html.split_once("<style>").expect("a style sheet");
        let (sheet, _) = after.split_once("</style>").expect("its end");
        let hash = BASE64.encode(&Sha256::digest(sheet.as_bytes()));
        let expected = format!(
            "default-src 'none'; style-src 'sha256-{hash}'; form-action 'self'; \
             frame-ancestors 'none'; base-uri 'none'"
        );
        assert_eq!(page.csp, expected, "{name}");
    }
}

#[test]
fn further_sources_of_the_form_are_in_the_policy_and_can_end_nothing() {
    let sources = [
        "https://idp.example:8443",
        "*.example.org",
        "https:",
        "a;b",
        "a,b",
        "a b",
        "a\r\nX: y",
        "",
        "'none'",
    ]
    .map(str::to_owned);
    let page = render(&View { sources: &sources, ..view(State::Login, None) });
    let actions =
        "; form-action 'self' https://idp.example:8443 *.example.org https:; frame-ancestors";
    assert!(page.csp.contains(actions), "{}", page.csp);
    assert_eq!(
        sources.each_ref().map(|source| is_source(source)).iter().filter(|&&is| is).count(),
        3
    );
}

#[test]
fn every_field_has_a_label_and_every_name_is_there_once() {
    for (name, view, page) in each_page() {
        let tags = tags(&page.html);
        let ids: Vec<&str> = tags.iter().filter_map(|tag| tag.get("id")).collect();
        let unique: BTreeSet<&str> = ids.iter().copied().collect();
        assert_eq!(ids.len(), unique.len(), "{name}: {ids:?}");
        let mut names = BTreeSet::new();
        for input in named(&tags, "input") {
            assert!(names.insert(input.get("name").expect("a name")), "{name}: {input:?}");
            if input.get("type") == Some("hidden") {
                continue;
            }
            let labels: Vec<&Tag> = named(&tags, "label")
                .into_iter()
                .filter(|label| label.get("for") == input.get("id"))
                .collect();
            assert!(labels.len() == 1 && !labels[0].text.is_empty(), "{name}: {input:?}");
            for id in input.get("aria-describedby").unwrap_or_default().split_whitespace() {
                assert!(unique.contains(id), "{name}: nothing is called {id}");
            }
        }
        let expected: &[&str] = match (view.state, view.offers_computer) {
            (State::Login, None) => &[field::DO, field::CSRF, field::USER, field::PIN, field::CODE],
            (State::Login, Some(_)) => {
                &[field::DO, field::CSRF, field::USER, field::PIN, field::CODE, field::COMPUTER]
            }
            (State::CodeOnly, _) => &[field::DO, field::CSRF, field::CODE],
            (State::SignedIn { .. }, _) => &[field::DO, field::CSRF],
            _ => &[],
        };
        let mut expected: BTreeSet<&str> = expected.iter().copied().collect();
        if !expected.is_empty() && view.to.is_some() {
            expected.insert(field::TO);
        }
        assert_eq!(names, expected, "{name}");
        let forms = named(&tags, "form");
        assert_eq!(forms.len(), usize::from(!expected.is_empty()), "{name}");
        assert_eq!(named(&tags, "/form").len(), forms.len(), "{name}");
        for form in forms {
            assert_eq!(form.get("method"), Some("post"), "{name}");
            assert_eq!(form.get("action"), Some("/otp/login"), "{name}");
        }
        let autofocus = tags.iter().filter(|tag| tag.get("autofocus").is_some()).count();
        let has_fields = matches!(view.state, State::Login | State::CodeOnly);
        assert_eq!(autofocus, usize::from(has_fields), "{name}");
    }
}

#[test]
fn browsers_and_password_managers_know_each_field() {
    let page = render(&View { user: None, ..view(State::Login, None) });
    let tags = tags(&page.html);
    let field = |name: &str| {
        *named(&tags, "input").iter().find(|tag| tag.get("name") == Some(name)).expect("a field")
    };
    let (user, pin, code) = (field(field::USER), field(field::PIN), field(field::CODE));
    assert_eq!(user.get("autocomplete"), Some("username"));
    assert!(user.get("autofocus").is_some() && user.get("required").is_some());
    assert_eq!(
        (pin.get("type"), pin.get("autocomplete")),
        (Some("password"), Some("current-password"))
    );
    assert_eq!(code.get("autocomplete"), Some("one-time-code"));
    assert_eq!((code.get("inputmode"), code.get("pattern")), (Some("numeric"), None));
    // Some users have no PIN, and in some places the PIN is enough.
    assert!(pin.get("required").is_none() && code.get("required").is_none());
}

#[test]
fn who_is_refused_hears_so_at_every_field_alike() {
    for (notice, has_alert, is_described, is_invalid) in [
        (None, false, false, false),
        (Some(Notice::NotRight), true, true, true),
        (Some(Notice::NextPaperCode(7)), true, true, false),
        (Some(Notice::Throttled { seconds: 9 }), true, false, false),
        (Some(Notice::Busy), true, false, false),
        (Some(Notice::SignedOut), false, false, false),
    ] {
        let page = render(&view(State::Login, notice));
        let tags = tags(&page.html);
        let alerts = tags.iter().filter(|tag| tag.get("role") == Some("alert")).count();
        assert_eq!(alerts, usize::from(has_alert), "{notice:?}");
        let inputs = named(&tags, "input");
        let shown: Vec<_> = inputs.iter().filter(|tag| tag.get("type") != Some("hidden")).collect();
        assert_eq!(shown.len(), 3);
        for input in shown {
            let by = input.get("aria-describedby").unwrap_or_default();
            assert_eq!(
                by.split(' ').any(|id| id == "notice"),
                is_described,
                "{notice:?} {input:?}"
            );
            assert_eq!(input.get("aria-invalid").is_some(), is_invalid, "{notice:?} {input:?}");
        }
    }
}

#[test]
fn the_title_says_what_has_happened() {
    for (state, notice, language, expected) in [
        (State::Login, None, Language::En, "Log in – Intranet"),
        (
            State::Login,
            Some(Notice::NotRight),
            Language::En,
            "That didn’t work – Log in – Intranet",
        ),
        (
            State::Login,
            Some(Notice::Throttled { seconds: 1 }),
            Language::De,
            "Bitte warten Sie – Anmelden – Intranet",
        ),
        (State::CodeOnly, None, Language::Fr, "Saisir un nouveau code – Intranet"),
        (State::SignedIn { on: None }, None, Language::Es, "Ha iniciado sesión – Intranet"),
        (State::SignedOut, Some(Notice::SignedOut), Language::En, "You are logged out – Intranet"),
        (
            State::Unusable,
            Some(Notice::Expired),
            Language::En,
            "The form was too old – This form can’t be used – Intranet",
        ),
    ] {
        let page = render(&View { language, ..view(state, notice) });
        let tags = tags(&page.html);
        assert_eq!(named(&tags, "title")[0].text, expected);
        assert_eq!(named(&tags, "html")[0].get("lang"), Some(language.tag()));
        assert_eq!(named(&tags, "h1").len(), 1);
    }
}

#[test]
fn numbers_are_those_that_were_given() {
    for (notice, shown) in [
        (Notice::Throttled { seconds: 571 }, "Seconds to wait: 571</p>"),
        (Notice::NextPaperCode(7), "the next one has the number 7.</p>"),
    ] {
        assert!(render(&view(State::Login, Some(notice))).html.contains(shown), "{shown}");
    }
    for (days, shown) in [(30, "for 30 days</label>"), (1, "for a day</label>")] {
        let page = render(&View { offers_computer: Some(days), ..view(State::Login, None) });
        assert!(page.html.contains(shown), "{shown}");
    }
}

#[test]
fn on_a_trusted_computer_the_code_is_said_not_to_be_needed() {
    for (knows_computer, shown, not_shown) in [
        (true, "you can leave this empty", "key fob shows now"),
        (false, "key fob shows now", "you can leave this empty"),
    ] {
        let page = render(&View { knows_computer, ..view(State::Login, None) });
        assert!(page.html.contains(shown) && !page.html.contains(not_shown), "{}", page.html);
    }
}

const HOSTILE: &str = "\"'><script>alert(1)</script>&amp;{{csrf}}{}\r\n\0";

#[test]
fn whatever_is_inserted_stays_text() {
    for (name, view) in each_view() {
        let state = match view.state {
            State::SignedIn { .. } => State::SignedIn { on: Some(HOSTILE) },
            State::Moved { .. } => State::Moved { url: HOSTILE },
            other => other,
        };
        let hostile = render(&View {
            site: HOSTILE,
            action: HOSTILE,
            csrf: HOSTILE,
            to: Some(HOSTILE),
            user: Some(HOSTILE),
            state,
            ..view
        });
        let plain = render(&View {
            state: match view.state {
                State::SignedIn { .. } => State::SignedIn { on: Some("/") },
                other => other,
            },
            to: Some("x"),
            user: Some("x"),
            ..view
        });
        let elements = |page: &Page| -> Vec<(String, Vec<String>)> {
            tags(&page.html)
                .into_iter()
                .map(|tag| (tag.name, tag.attributes.into_keys().collect()))
                .collect()
        };
        assert_eq!(elements(&hostile), elements(&plain), "{name}");
        assert_eq!(hostile.csp, plain.csp, "{name}");
        let inserted = HOSTILE.replace(['\r', '\n', '\0'], "\u{fffd}");
        for tag in tags(&hostile.html) {
            for value in tag.attributes.values() {
                let is_whole = !value.contains("script") || value.contains(&inserted);
                assert!(is_whole, "{name}: {value}");
            }
        }
    }
}

#[test]
fn a_page_leads_to_no_address_that_runs_something() {
    for url in [
        "javascript:alert(1)",
        "JavaScript:alert(1)",
        "data:text/html,x",
        "//other.example",
        "/\\other.example",
        "\\\\other.example",
        "",
        "a",
        " https://other.example",
        "https:x",
        "/\t/other.example",
        "/a\nb",
        "https://a/\r\n",
        "/\u{e4}",
    ] {
        for state in [State::Moved { url }, State::SignedIn { on: Some(url) }] {
            let page = render(&view(state, None));
            let tags = tags(&page.html);
            assert_eq!(named(&tags, "a")[0].get("href"), Some("/"), "{url:?}");
        }
    }
    for url in ["/", "/a", "/?a", "/.a", "/a//b", "https://www.example.org/", "http://127.0.0.1/"] {
        let page = render(&view(State::Moved { url }, None));
        let tags = tags(&page.html);
        assert_eq!(named(&tags, "a")[0].get("href"), Some(url));
        let refresh = tags.iter().find(|tag| tag.get("http-equiv").is_some()).expect("a refresh");
        assert_eq!(refresh.get("content"), Some(&*format!("0; url={url}")));
    }
}

#[test]
fn an_admins_frame_is_filled_in() {
    let frame = "<title>{{title}}</title>{{refresh}}<style>p { color: red }</style>{{style}}{{heading}}\n\
                 {{notice}}[{{form}}{{csrf}}{{to}}{{fields}}{{button}}{{/form}}]{{link}}";
    let template = Template::parse(frame, STYLE).expect("a frame");
    let with = |view: View<'static>| render(&View { template: &template, ..view });
    let page = with(view(State::SignedOut, None));
    assert!(page.html.contains("[]<p><a class=\"go\""), "{}", page.html);
    assert_eq!(page.csp.matches("'sha256-").count(), 2, "{}", page.csp);
    let page = render(&View { template: &template, ..view(State::Login, None) });
    assert!(
        page.html.contains("[<form method=\"post\" action=\"/otp/login\"><input type=\"hidden\"")
    );
    assert!(page.html.contains("</form>]"));
    let problem = Template::parse("<title>{{title}}</title>", STYLE).expect_err("a problem");
    assert!(matches!(problem, Problem::Missing { name: "heading", .. }), "{problem}");
}

// ---- What can be seen --------------------------------------------------------------------------

/// Relative luminance (WCAG 2.2) of `#rgb` or `#rrggbb`.
fn luminance(colour: &str) -> f64 {
    let digits = colour.strip_prefix('#').expect("a colour");
    let wide: String = match digits.len() {
        3 => digits.chars().flat_map(|digit| [digit, digit]).collect(),
        _ => digits.to_owned(),
    };
    let channel = |at: usize| {
        let value =
            f64::from(u8::from_str_radix(&wide[at..at + 2], 16).expect("two digits")) / 255.0;
        if value <= 0.04045 { value / 12.92 } else { ((value + 0.055) / 1.055).powf(2.4) }
    };
    0.2126 * channel(0) + 0.7152 * channel(2) + 0.0722 * channel(4)
}

fn contrast(one: &str, other: &str) -> f64 {
    let (one, other) = (luminance(one), luminance(other));
    (one.max(other) + 0.05) / (one.min(other) + 0.05)
}

/// The colours that a `:root` sets, by name.
fn colours(sheet: &str) -> Vec<BTreeMap<&str, &str>> {
    let roots =
        sheet.split(":root {").skip(1).map(|rest| rest.split('}').next().unwrap_or_default());
    roots
        .map(|root| {
            let pairs = root.split(';').filter_map(|line| line.trim().split_once(": "));
            pairs
                .filter_map(|(name, value)| Some((name.strip_prefix("--")?, value.trim())))
                .collect()
        })
        .collect()
}

#[test]
fn everything_can_be_told_from_what_is_behind_it_in_light_and_dark() {
    assert!((contrast("#000", "#ffffff") - 21.0).abs() < 0.001);
    let schemes = colours(STYLE);
    assert_eq!(schemes.len(), 2, "light and dark");
    assert_eq!(schemes[0].keys().collect::<Vec<_>>(), schemes[1].keys().collect::<Vec<_>>());
    for scheme in schemes {
        for (front, back, least) in [
            ("ink", "card", 4.5),
            ("ink", "alert-card", 4.5),
            ("soft", "card", 4.5),
            ("link", "card", 4.5),
            ("on-link", "link", 4.5),
            ("alert", "alert-card", 4.5),
            // The edges of what can be used, and of what has the focus.
            ("edge", "card", 3.0),
            ("link", "card", 3.0),
            ("ink", "card", 3.0),
            ("alert", "card", 3.0),
        ] {
            let found = contrast(scheme[front], scheme[back]);
            assert!(found >= least, "{front} on {back}: {found:.2} in {scheme:?}");
        }
    }
}

#[test]
fn the_sheet_is_for_everybody() {
    for needed in [
        "color-scheme: light dark",
        "prefers-color-scheme: dark",
        ":focus-visible",
        "min-height: 2.75rem",
    ] {
        assert!(STYLE.contains(needed), "{needed}");
    }
    // Nothing moves, so nobody has to ask for less of it; and the mark of the focus stays.
    for unwanted in ["transition", "animation", "outline: none", "outline: 0", "user-select"] {
        assert!(!STYLE.contains(unwanted), "{unwanted}");
    }
}
