//! The login page: what a browser is shown, from what is to be said. Pure: HTML without scripts,
//! its style sheet inside, and the policy that allows nothing else.
//!
//! All that is inserted is escaped, but for what is made here. No PIN and no code is ever shown
//! again.

mod refusal;
mod template;
mod texts;

pub use refusal::{Refusal, refusal};
pub use template::{Problem, STYLE, Template};

use crate::http::accept::Language;
use template::{Piece, Placeholder};
use texts::Text;

/// Names of the form's fields.
pub mod field {
    /// What the form is for: one of the names of [`super::deed`].
    pub const DO: &str = "do";
    /// Proves that we have made the form ([`super::View::csrf`]).
    pub const CSRF: &str = "csrf";
    /// Where to go afterwards ([`super::View::to`]), in the form and in the query of links to it.
    pub const TO: &str = "to";
    /// The user's name.
    pub const USER: &str = "user";
    /// The PIN; empty for who has none.
    pub const PIN: &str = "pin";
    /// The code; may be empty where the PIN is enough.
    pub const CODE: &str = "code";
    /// There, as `1`, if this computer is to be trusted.
    pub const COMPUTER: &str = "computer";
}

/// What a form is for: values of [`field::DO`].
pub mod deed {
    /// [`super::State::Login`]: user, PIN, code.
    pub const LOG_IN: &str = "login";
    /// [`super::State::CodeOnly`]: code.
    pub const CONFIRM: &str = "code";
    /// [`super::State::SignedIn`]: nothing else.
    pub const LOG_OUT: &str = "logout";
}

/// What is to be shown.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    /// The frame.
    pub template: &'a Template,
    /// In which language.
    pub language: Language,
    /// What the place is called: the realm.
    pub site: &'a str,
    /// The path of the login page itself, escaped as in a URL.
    pub action: &'a str,
    /// What the page is for.
    pub state: State<'a>,
    /// What has happened, if anything.
    pub notice: Option<Notice>,
    /// Goes into a hidden field of each form.
    pub csrf: &'a str,
    /// A sealed target; goes into a hidden field of each form, and into links to the page.
    pub to: Option<&'a str>,
    /// The user who is logged in, or tries to.
    pub user: Option<&'a str>,
    /// Days for which a code isn't asked for on a trusted computer. `None`: that isn't offered.
    pub offers_computer: Option<u32>,
    /// A code isn't asked for, because this computer is trusted.
    pub knows_computer: bool,
    /// To where the form may lead besides this host: sources as [`is_source`] has them.
    pub sources: &'a [String],
}

/// What the page is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State<'a> {
    /// A form for user name, PIN and code.
    Login,
    /// A form for a code alone, of a user who is logged in already.
    CodeOnly,
    /// Who is logged in; a button to log out.
    SignedIn {
        /// Where to go on to: a path of this host, or an address.
        on: Option<&'a str>,
    },
    /// Nobody is logged in any more; a link to the form.
    SignedOut,
    /// The browser is sent to this address, by the page since not all browsers follow a redirect
    /// that answers a form (`form-action`).
    Moved {
        /// A path of this host, or an address.
        url: &'a str,
    },
    /// What was sent can't be used; a link to a new form.
    Unusable,
}

/// What has happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Notice {
    /// Refused: the same for any reason, since strangers learn nothing of names and PINs.
    NotRight,
    /// Too many tries: nothing was looked at.
    Throttled {
        /// How long to wait.
        seconds: u32,
    },
    /// No time to look at it.
    Busy,
    /// It couldn't be looked at.
    Failed,
    /// The PIN is right and a code is missing; the next one of the paper list has this number. For
    /// users at an address where they are known (specification, 4.5.12).
    NextPaperCode(u32),
    /// The browser keeps no cookies, or has lost ours.
    CookieMissing,
    /// The form was made too long ago.
    Expired,
    /// A form of the application's came without a login, and wasn't passed on.
    NotSent,
    /// Logged out, as asked for.
    SignedOut,
}

/// A page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// `text/html; charset=utf-8`.
    pub html: String,
    /// The value of Content-Security-Policy that goes with it.
    pub csp: String,
}

/// The page that shows this.
pub fn render(view: &View<'_>) -> Page {
    let mut html = String::with_capacity(8 * 1024);
    let form = form(view);
    let mut is_left_out = false;
    for piece in view.template.pieces() {
        match piece {
            Piece::Insert(Placeholder::Form) => is_left_out = form.is_none(),
            Piece::Insert(Placeholder::FormEnd) if is_left_out => {
                is_left_out = false;
                continue;
            }
            _ => {}
        }
        match piece {
            _ if is_left_out => {}
            Piece::Text(text) => html += text,
            Piece::Insert(placeholder) => html += &inserted(*placeholder, view, form.as_ref()),
        }
    }
    Page { html, csp: policy(view) }
}

/// Whether this may be a further source of `form-action`: a scheme, host and port, a host with `*.`
/// before it (CSP Level 3 section 2.3.1), or a scheme with its colon. None can end the directive.
pub fn is_source(source: &str) -> bool {
    let is_plain = |b: u8| b.is_ascii_alphanumeric() || b"-._:/*[]%~".contains(&b);
    !source.is_empty() && source.bytes().all(is_plain)
}

fn policy(view: &View<'_>) -> String {
    let mut policy =
        format!("default-src 'none'; style-src {}; form-action 'self'", view.template.styles());
    for source in view.sources.iter().filter(|source| is_source(source)) {
        policy.push(' ');
        policy += source;
    }
    policy + "; frame-ancestors 'none'; base-uri 'none'"
}

/// A form of the page.
struct Form {
    deed: &'static str,
    fields: String,
    button: Text,
}

fn form(view: &View<'_>) -> Option<Form> {
    match view.state {
        State::Login => {
            Some(Form { deed: deed::LOG_IN, fields: login_fields(view), button: texts::LOG_IN })
        }
        State::CodeOnly => {
            let fields = code(view, true, true);
            Some(Form { deed: deed::CONFIRM, fields, button: texts::GO_ON })
        }
        State::SignedIn { .. } => {
            Some(Form { deed: deed::LOG_OUT, fields: String::new(), button: texts::LOG_OUT })
        }
        State::SignedOut | State::Moved { .. } | State::Unusable => None,
    }
}

fn inserted(placeholder: Placeholder, view: &View<'_>, form: Option<&Form>) -> String {
    let say = |text: Text| text.is_said_in(view.language);
    match placeholder {
        Placeholder::Language => view.language.tag().to_owned(),
        Placeholder::Title => {
            let notice = view.notice.map(|notice| say(said(notice).short));
            let heading = say(heading(view.state));
            // What is new first, and nothing twice.
            let parts =
                [notice.filter(|notice| *notice != heading), Some(heading), Some(view.site)];
            let parts: Vec<String> =
                parts.into_iter().flatten().filter(|part| !part.is_empty()).map(escaped).collect();
            parts.join(" – ")
        }
        Placeholder::Site => escaped(view.site),
        Placeholder::Heading => say(heading(view.state)).to_owned(),
        Placeholder::Refresh => match view.state {
            State::Moved { url } => {
                let url = escaped(leading_somewhere(url));
                format!("<meta http-equiv=\"refresh\" content=\"0; url={url}\">")
            }
            _ => String::new(),
        },
        // Inserted once and for all.
        Placeholder::Style => String::new(),
        Placeholder::Notice => view.notice.map(|it| notice(it, view.language)).unwrap_or_default(),
        Placeholder::Lead => lead(view),
        Placeholder::Form => {
            format!("<form method=\"post\" action=\"{}\">", escaped(view.action))
        }
        Placeholder::Csrf => {
            let deed = form.map(|form| form.deed).unwrap_or_default();
            format!("{}\n{}", hidden(field::DO, deed), hidden(field::CSRF, view.csrf))
        }
        Placeholder::To => view.to.map(|to| hidden(field::TO, to)).unwrap_or_default(),
        Placeholder::Fields => form.map(|form| form.fields.clone()).unwrap_or_default(),
        Placeholder::Button => {
            let text = form.map(|form| form.button.is_said_in(view.language));
            // Going on is what most people want who are logged in.
            let class = match view.state {
                State::SignedIn { .. } => "go quiet",
                _ => "go",
            };
            format!("<button class=\"{class}\">{}</button>", text.unwrap_or_default())
        }
        Placeholder::FormEnd => "</form>".to_owned(),
        Placeholder::Link => link(view),
        Placeholder::Help => match view.state {
            State::Login | State::CodeOnly => help(view.language),
            _ => String::new(),
        },
    }
}

fn heading(state: State<'_>) -> Text {
    match state {
        State::Login => texts::LOG_IN,
        State::CodeOnly => texts::CONFIRM,
        State::SignedIn { .. } | State::Moved { .. } => texts::LOGGED_IN,
        State::SignedOut => texts::LOGGED_OUT,
        State::Unusable => texts::UNUSABLE,
    }
}

fn lead(view: &View<'_>) -> String {
    let text = match (view.state, view.user) {
        (State::Login, _) | (State::SignedIn { .. }, None) => return String::new(),
        (State::CodeOnly, Some(_)) => texts::CONFIRM_LEAD,
        (State::CodeOnly, None) => texts::CONFIRM_LEAD_WITHOUT_USER,
        (State::SignedIn { .. }, Some(_)) => texts::LOGGED_IN_LEAD,
        (State::SignedOut, _) => texts::LOGGED_OUT_LEAD,
        (State::Moved { .. }, _) => texts::MOVED_LEAD,
        (State::Unusable, _) => texts::UNUSABLE_LEAD,
    };
    let user = format!("<bdi translate=\"no\">{}</bdi>", escaped(view.user.unwrap_or_default()));
    format!("<p>{}</p>", text.is_said_in(view.language).replace("{}", &user))
}

/// A notice in words.
struct Said {
    short: Text,
    long: Option<Text>,
    number: u32,
    is_alert: bool,
}

fn said(notice: Notice) -> Said {
    let (short, long, number) = match notice {
        Notice::NotRight => (texts::NOT_RIGHT, Some(texts::NOT_RIGHT_TEXT), 0),
        Notice::Throttled { seconds } => (texts::THROTTLED, Some(texts::THROTTLED_TEXT), seconds),
        Notice::Busy => (texts::BUSY, Some(texts::BUSY_TEXT), 0),
        Notice::Failed => (texts::FAILED, Some(texts::FAILED_TEXT), 0),
        Notice::NextPaperCode(number) => (texts::PAPER, Some(texts::PAPER_TEXT), number),
        Notice::CookieMissing => (texts::NO_COOKIE, Some(texts::NO_COOKIE_TEXT), 0),
        Notice::Expired => (texts::EXPIRED, Some(texts::EXPIRED_TEXT), 0),
        Notice::NotSent => (texts::NOT_SENT, Some(texts::NOT_SENT_TEXT), 0),
        Notice::SignedOut => (texts::LOGGED_OUT, None, 0),
    };
    Said { short, long, number, is_alert: notice != Notice::SignedOut }
}

fn notice(notice: Notice, language: Language) -> String {
    let Said { short, long, number, is_alert } = said(notice);
    let (class, role) = if is_alert { ("notice alert", "alert") } else { ("notice", "status") };
    let short = short.is_said_in(language);
    let long = long.map(|text| text.is_said_in(language).replace("{}", &number.to_string()));
    let long = long.map(|text| format!("\n<p>{text}</p>")).unwrap_or_default();
    format!("<div class=\"{class}\" id=\"notice\" role=\"{role}\"><b>{short}</b>{long}</div>")
}

fn login_fields(view: &View<'_>) -> String {
    let say = |text: Text| text.is_said_in(view.language);
    let user = view.user.map(escaped).unwrap_or_default();
    // What has to be typed first.
    let (user_first, pin_first) =
        if user.is_empty() { (" autofocus", "") } else { ("", " autofocus") };
    let wrong = wrong(view);
    let mut fields = format!(
        "<div class=\"field\">\n\
         <label for=\"user\">{}</label>\n\
         <input class=\"text\" id=\"user\" name=\"{}\" value=\"{user}\" autocomplete=\"username\" \
         autocapitalize=\"none\" spellcheck=\"false\" required{}{user_first}>\n\
         </div>\n\
         <div class=\"field\">\n\
         <label for=\"pin\">{}</label>\n\
         <input class=\"text\" id=\"pin\" name=\"{}\" type=\"password\" \
         autocomplete=\"current-password\"{}{pin_first}>\n\
         <p class=\"hint\" id=\"pin-hint\">{}</p>\n\
         </div>\n",
        say(texts::USER),
        field::USER,
        described(&[], wrong),
        say(texts::PIN),
        field::PIN,
        described(&["pin-hint"], wrong),
        say(texts::PIN_HINT),
    );
    fields += &code(view, false, false);
    if let Some(days) = view.offers_computer {
        let text = match days {
            1 => say(texts::COMPUTER_ONE_DAY).to_owned(),
            days => say(texts::COMPUTER).replace("{}", &days.to_string()),
        };
        fields += &format!(
            "\n<div class=\"field check\">\n\
             <input id=\"computer\" name=\"{}\" type=\"checkbox\" value=\"1\" \
             aria-describedby=\"computer-hint\">\n\
             <label for=\"computer\">{text}</label>\n\
             <p class=\"hint\" id=\"computer-hint\">{}</p>\n\
             </div>",
            field::COMPUTER,
            say(texts::COMPUTER_HINT),
        );
    }
    fields
}

/// A PIN may be enough, so a code isn't always required. Some codes have letters, so there is no
/// pattern for it.
fn code(view: &View<'_>, is_required: bool, is_first: bool) -> String {
    let say = |text: Text| text.is_said_in(view.language);
    format!(
        "<div class=\"field\">\n\
         <label for=\"code\">{}</label>\n\
         <input class=\"text code\" id=\"code\" name=\"{}\" inputmode=\"numeric\" \
         autocomplete=\"one-time-code\" autocapitalize=\"none\" spellcheck=\"false\"{}{}{}>\n\
         <p class=\"hint\" id=\"code-hint\">{}</p>\n\
         </div>",
        say(texts::CODE),
        field::CODE,
        if is_required { " required" } else { "" },
        described(&["code-hint"], wrong(view)),
        if is_first { " autofocus" } else { "" },
        say(if view.knows_computer { texts::CODE_NOT_NEEDED } else { texts::CODE_HINT }),
    )
}

/// Whether the notice is about what was typed, and whether that was wrong: in all fields alike.
#[derive(Clone, Copy)]
enum Wrong {
    No,
    Incomplete,
    Yes,
}

fn wrong(view: &View<'_>) -> Wrong {
    match view.notice {
        Some(Notice::NotRight) => Wrong::Yes,
        Some(Notice::NextPaperCode(_)) => Wrong::Incomplete,
        _ => Wrong::No,
    }
}

fn described(hints: &[&str], wrong: Wrong) -> String {
    let (notice, invalid) = match wrong {
        Wrong::No => (&[][..], ""),
        Wrong::Incomplete => (&["notice"][..], ""),
        Wrong::Yes => (&["notice"][..], " aria-invalid=\"true\""),
    };
    let by = [hints, notice].concat();
    if by.is_empty() {
        return invalid.to_owned();
    }
    format!(" aria-describedby=\"{}\"{invalid}", by.join(" "))
}

fn link(view: &View<'_>) -> String {
    let to_the_form = || {
        let to = view.to.map(|to| format!("?{}={to}", field::TO)).unwrap_or_default();
        format!("{}{to}", view.action)
    };
    let (url, text) = match view.state {
        State::Login | State::CodeOnly | State::SignedIn { on: None } => return String::new(),
        State::SignedIn { on: Some(url) } | State::Moved { url } => {
            (leading_somewhere(url).to_owned(), texts::GO_ON)
        }
        State::SignedOut => (to_the_form(), texts::LOG_IN_AGAIN),
        State::Unusable => (to_the_form(), texts::START_AGAIN),
    };
    let text = text.is_said_in(view.language);
    format!("<p><a class=\"go\" href=\"{}\">{text}</a></p>", escaped(&url))
}

fn help(language: Language) -> String {
    let say = |text: Text| text.is_said_in(language);
    let mut help = format!("<h2>{}</h2>\n<ul>\n", say(texts::HELP));
    for text in [texts::HELP_ONCE, texts::HELP_CLOCK, texts::HELP_LOCKED, texts::HELP_ASK] {
        help += &format!("<li>{}</li>\n", say(text));
    }
    help + "</ul>"
}

fn hidden(name: &str, value: &str) -> String {
    format!("<input type=\"hidden\" name=\"{name}\" value=\"{}\">", escaped(value))
}

/// The address, unless it is one that runs something (`javascript:`) or that a browser takes for
/// another host's (`//`): then the host's first page.
fn leading_somewhere(url: &str) -> &str {
    let second = url.as_bytes().get(1);
    let is_path = url.starts_with('/') && !matches!(second, Some(b'/' | b'\\'));
    let is_address = ["https://", "http://"].iter().any(|scheme| url.starts_with(scheme));
    let is_plain = url.bytes().all(|b| b.is_ascii_graphic());
    if (is_path || is_address) && is_plain { url } else { "/" }
}

/// As text, or as the value of an attribute in quotes.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped += "&amp;",
            '<' => escaped += "&lt;",
            '>' => escaped += "&gt;",
            '"' => escaped += "&quot;",
            '\'' => escaped += "&#39;",
            c if c.is_control() => escaped.push('\u{fffd}'),
            c => escaped.push(c),
        }
    }
    escaped
}
