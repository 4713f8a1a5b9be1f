//! The frame of the page, which an admin may replace. `docs/recipes/login-page.md` has its
//! placeholders.

use std::fmt;
use std::sync::LazyLock;

use data_encoding::BASE64;
use sha2::{Digest as _, Sha256};

/// A frame that has everything the page needs.
#[derive(Clone, Debug)]
pub struct Template {
    pieces: Vec<Piece>,
    /// The sources of `style-src`: a hash of each style sheet in it.
    styles: String,
}

/// A part of a frame.
#[derive(Clone, Debug)]
pub(super) enum Piece {
    /// As it stands there.
    Text(String),
    /// What is inserted.
    Insert(Placeholder),
}

/// What stands between `{{` and `}}`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Placeholder {
    Language,
    Title,
    Site,
    Heading,
    Refresh,
    Style,
    Notice,
    Lead,
    Form,
    Csrf,
    To,
    Fields,
    Button,
    FormEnd,
    Link,
    Help,
}

impl Placeholder {
    const ALL: [Placeholder; 16] = [
        Placeholder::Language,
        Placeholder::Title,
        Placeholder::Site,
        Placeholder::Heading,
        Placeholder::Refresh,
        Placeholder::Style,
        Placeholder::Notice,
        Placeholder::Lead,
        Placeholder::Form,
        Placeholder::Csrf,
        Placeholder::To,
        Placeholder::Fields,
        Placeholder::Button,
        Placeholder::FormEnd,
        Placeholder::Link,
        Placeholder::Help,
    ];

    fn name(self) -> &'static str {
        match self {
            Placeholder::Language => "language",
            Placeholder::Title => "title",
            Placeholder::Site => "site",
            Placeholder::Heading => "heading",
            Placeholder::Refresh => "refresh",
            Placeholder::Style => "style",
            Placeholder::Notice => "notice",
            Placeholder::Lead => "lead",
            Placeholder::Form => "form",
            Placeholder::Csrf => "csrf",
            Placeholder::To => "to",
            Placeholder::Fields => "fields",
            Placeholder::Button => "button",
            Placeholder::FormEnd => "/form",
            Placeholder::Link => "link",
            Placeholder::Help => "help",
        }
    }

    /// What a page without it lacks. `None`: it may be left out. Whatever must be there may be
    /// there once only: twice, it would be a form that can't be sent, or two things of one `id`.
    fn needed_for(self) -> Option<&'static str> {
        match self {
            Placeholder::Title => Some("the browser's tab has no name"),
            Placeholder::Heading => Some("nobody can see what the page is about"),
            Placeholder::Refresh => Some("a browser stays on the page after a login"),
            Placeholder::Notice => Some("nobody can see why a login was refused"),
            Placeholder::Form => Some("the form goes nowhere"),
            Placeholder::Csrf => Some("every form that is sent is refused"),
            Placeholder::To => Some("a login leads back to nothing"),
            Placeholder::Fields => Some("there is nothing to type into"),
            Placeholder::Button => Some("the form can't be sent"),
            Placeholder::FormEnd => Some("the form has no end"),
            Placeholder::Link => Some("there is no way on for who is logged in or out"),
            Placeholder::Language
            | Placeholder::Site
            | Placeholder::Style
            | Placeholder::Lead
            | Placeholder::Help => None,
        }
    }

    /// Whether it stands between `{{form}}` and `{{/form}}`.
    fn is_of_the_form(self) -> bool {
        matches!(
            self,
            Placeholder::Csrf | Placeholder::To | Placeholder::Fields | Placeholder::Button
        )
    }
}

/// Why a frame can't be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Problem {
    /// There is no placeholder of this name.
    Unknown {
        /// From 1 on.
        line: usize,
        /// As it stands there.
        name: String,
    },
    /// A `{{` that nothing ends in its line.
    Unended {
        /// From 1 on.
        line: usize,
    },
    /// This one must be there.
    Missing {
        /// Its name.
        name: &'static str,
        /// What the page lacks without it.
        then: &'static str,
    },
    /// This one may be there only once.
    Twice {
        /// From 1 on.
        line: usize,
        /// Its name.
        name: &'static str,
    },
    /// This one belongs between `{{form}}` and `{{/form}}`, or behind the first.
    OutsideForm {
        /// From 1 on.
        line: usize,
        /// Its name.
        name: &'static str,
    },
    /// This one doesn't: what is there is left out where the page has no form.
    InForm {
        /// From 1 on.
        line: usize,
        /// Its name.
        name: &'static str,
    },
    /// A `<style>` that nothing ends, one with attributes, or one with a placeholder inside:
    /// browsers would ignore it.
    Style {
        /// From 1 on.
        line: usize,
    },
    /// The style sheet for `{{style}}` has `</style` in it.
    StyleEnds,
    /// A NUL, which browsers read as something else.
    Nul,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Problem::Unknown { line, name } => {
                let names: Vec<_> = Placeholder::ALL.iter().map(|known| known.name()).collect();
                let names = names.join(" ");
                write!(f, "line {line}: no placeholder is called {{{{{name}}}}}: they are {names}")
            }
            Problem::Unended { line } => write!(f, "line {line}: a {{{{ without }}}}"),
            Problem::Missing { name, then } => {
                write!(f, "the placeholder {{{{{name}}}}} is missing: without it, {then}")
            }
            Problem::Twice { line, name } => {
                write!(f, "line {line}: {{{{{name}}}}} is there a second time")
            }
            Problem::OutsideForm { line, name: "/form" } => {
                write!(f, "line {line}: {{{{/form}}}} stands before {{{{form}}}}")
            }
            Problem::OutsideForm { line, name } => {
                write!(
                    f,
                    "line {line}: {{{{{name}}}}} belongs between {{{{form}}}} and {{{{/form}}}}"
                )
            }
            Problem::InForm { line, name } => write!(
                f,
                "line {line}: {{{{{name}}}}} stands between {{{{form}}}} and {{{{/form}}}}, where \
                 it isn't shown on each page"
            ),
            Problem::Style { line } => write!(
                f,
                "line {line}: a style sheet begins with <style> without attributes, ends with \
                 </style>, and has no placeholder inside"
            ),
            Problem::StyleEnds => f.write_str("the style sheet has </style in it"),
            Problem::Nul => f.write_str("there is a NUL character"),
        }
    }
}

impl std::error::Error for Problem {}

/// The style sheet of our own frame.
pub const STYLE: &str = include_str!("style.css");

const FRAME: &str = include_str!("template.html");

impl Template {
    /// The page of our own.
    pub fn built_in() -> &'static Template {
        static BUILT_IN: LazyLock<Template> = LazyLock::new(|| {
            Template::parse(FRAME, STYLE).expect("the frame of our own has all it needs")
        });
        &BUILT_IN
    }

    /// Reads a frame; `css` is the sheet that `{{style}}` stands for ([`STYLE`] is ours).
    pub fn parse(html: &str, css: &str) -> Result<Template, Problem> {
        // As browsers read both before they hash a style sheet.
        let (html, css) = (with_plain_line_ends(html), with_plain_line_ends(css));
        if html.contains('\0') || css.contains('\0') {
            return Err(Problem::Nul);
        }
        if css.to_ascii_lowercase().contains("</style") {
            return Err(Problem::StyleEnds);
        }
        let mut template = Template { pieces: Vec::new(), styles: String::new() };
        for sheet in style_sheets(&html)? {
            template.allow(sheet);
        }
        let style = format!("\n{css}");
        let mut found: Vec<(usize, Placeholder)> = Vec::new();
        let mut rest = html.as_str();
        while let Some((before, after)) = rest.split_once("{{") {
            let line = line_at(&html, html.len() - after.len());
            let ended = after.lines().next().and_then(|line| line.split_once("}}"));
            let (name, _) = ended.ok_or(Problem::Unended { line })?;
            let known = Placeholder::ALL.into_iter().find(|known| known.name() == name);
            let placeholder =
                known.ok_or_else(|| Problem::Unknown { line, name: name.to_owned() })?;
            found.push((line, placeholder));
            template.pieces.push(Piece::Text(before.to_owned()));
            template.pieces.push(match placeholder {
                Placeholder::Style => Piece::Text(format!("<style>{style}</style>")),
                other => Piece::Insert(other),
            });
            rest = &after[name.len() + "}}".len()..];
        }
        template.pieces.push(Piece::Text(rest.to_owned()));
        can_work(&found)?;
        if found.iter().any(|(_, placeholder)| *placeholder == Placeholder::Style) {
            template.allow(&style);
        }
        Ok(template)
    }

    fn allow(&mut self, sheet: &str) {
        let hash = BASE64.encode(&Sha256::digest(sheet.as_bytes()));
        let gap = if self.styles.is_empty() { "" } else { " " };
        self.styles += &format!("{gap}'sha256-{hash}'");
    }

    pub(super) fn pieces(&self) -> &[Piece] {
        &self.pieces
    }

    /// The sources of `style-src`.
    pub(super) fn styles(&self) -> &str {
        if self.styles.is_empty() { "'none'" } else { &self.styles }
    }
}

/// Whether these placeholders, in this order, are all that is needed, where it is needed.
fn can_work(found: &[(usize, Placeholder)]) -> Result<(), Problem> {
    for placeholder in Placeholder::ALL {
        let then = placeholder.needed_for();
        let mut lines = found.iter().filter(|(_, other)| *other == placeholder);
        let name = placeholder.name();
        match (then, lines.next(), lines.next()) {
            (Some(then), None, _) => return Err(Problem::Missing { name, then }),
            (Some(_), _, Some(&(line, _))) => return Err(Problem::Twice { line, name }),
            _ => {}
        }
    }
    let mut is_in_form = false;
    for &(line, placeholder) in found {
        let name = placeholder.name();
        let is_always_shown = placeholder.needed_for().is_some() && !placeholder.is_of_the_form();
        match placeholder {
            Placeholder::Form => is_in_form = true,
            Placeholder::FormEnd if is_in_form => is_in_form = false,
            Placeholder::FormEnd => return Err(Problem::OutsideForm { line, name }),
            _ if placeholder.is_of_the_form() && !is_in_form => {
                return Err(Problem::OutsideForm { line, name });
            }
            _ if is_always_shown && is_in_form => return Err(Problem::InForm { line, name }),
            _ => {}
        }
    }
    Ok(())
}

fn with_plain_line_ends(text: &str) -> String {
    text.replace("\r\n", "\n").replace('\r', "\n")
}

/// From 1 on.
fn line_at(text: &str, at: usize) -> usize {
    1 + text[..at].matches('\n').count()
}

/// What is between `<style>` and `</style>`, in any case.
fn style_sheets(html: &str) -> Result<Vec<&str>, Problem> {
    let lower = html.to_ascii_lowercase();
    let mut sheets = Vec::new();
    let mut at = 0;
    while let Some(start) = lower[at..].find("<style").map(|found| at + found) {
        let problem = Problem::Style { line: line_at(html, start) };
        let begin = start + "<style>".len();
        let has_end = lower[begin - 1..].starts_with('>');
        let len = has_end.then(|| lower[begin..].find("</style>")).flatten();
        let sheet = len.map(|len| &html[begin..begin + len]).ok_or(problem.clone())?;
        if sheet.contains("{{") {
            return Err(problem);
        }
        sheets.push(sheet);
        at = begin + sheet.len();
    }
    Ok(sheets)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMALL: &str = "{{refresh}}<title>{{title}}</title>{{heading}}{{notice}}\n{{form}}{{csrf}}\n\
                         {{to}}{{fields}}{{button}}{{/form}}{{link}}";

    #[track_caller]
    fn problem(html: &str, css: &str) -> String {
        Template::parse(html, css).expect_err("a problem").to_string()
    }

    #[test]
    fn a_frame_with_all_that_is_needed_is_taken() {
        Template::parse(SMALL, "").unwrap();
        Template::parse(FRAME, STYLE).unwrap();
        Template::parse(&format!("{SMALL} {{ }} }}}} {{language}}"), "a{b:c}").unwrap();
        let site = "{{language}}{{site}}{{lead}}{{help}}";
        Template::parse(&format!("{site}{SMALL}{site}"), "").unwrap();
    }

    #[test]
    fn a_frame_that_lacks_something_is_refused_by_its_name() {
        for placeholder in Placeholder::ALL {
            let text = format!("{{{{{}}}}}", placeholder.name());
            let frame = FRAME.replace(&text, "");
            assert!(frame.len() < FRAME.len(), "{text}");
            match placeholder.needed_for() {
                None => drop(Template::parse(&frame, STYLE).unwrap()),
                Some(then) => assert_eq!(
                    problem(&frame, STYLE),
                    format!("the placeholder {text} is missing: without it, {then}")
                ),
            }
        }
        assert!(problem("", "").contains("{{title}} is missing"));
        let without = "{{refresh}}{{title}}{{heading}}{{notice}}{{link}}";
        assert_eq!(
            problem(without, ""),
            "the placeholder {{form}} is missing: without it, the form goes nowhere"
        );
    }

    #[test]
    fn what_cannot_work_is_refused_with_its_line() {
        for (frame, expected) in [
            (
                format!("{SMALL}\n{{{{user}}}}"),
                "line 4: no placeholder is called {{user}}: they are",
            ),
            (format!("{{{{ title }}}}{SMALL}"), "line 1: no placeholder is called {{ title }}:"),
            (format!("{SMALL}{{{{"), "line 3: a {{ without }}"),
            (format!("{{{{ti\ntle}}}}{SMALL}"), "line 1: a {{ without }}"),
            (
                format!("\n{{{{csrf}}}}{}", SMALL.replace("{{csrf}}", "")),
                "line 2: {{csrf}} belongs between {{form}} and",
            ),
            (format!("{SMALL}{{{{fields}}}}"), "line 3: {{fields}} is there a second time"),
            (format!("{SMALL}{{{{link}}}}"), "line 3: {{link}} is there a second time"),
            (format!("{SMALL}{{{{form}}}}"), "line 3: {{form}} is there a second time"),
            (
                format!("{{{{/form}}}}{}", SMALL.replace("{{/form}}", "")),
                "line 1: {{/form}} stands before {{form}}",
            ),
            (
                SMALL.replace("{{link}}", "").replace("{{csrf}}", "{{csrf}}{{link}}"),
                "line 2: {{link}} stands between {{form}} and {{/form}}, where it isn't shown",
            ),
            (format!("<style media=\"print\">a</style>{SMALL}"), "line 1: a style sheet begins"),
            (format!("{SMALL}<STYLE>a"), "line 3: a style sheet begins"),
            (format!("<style>{{{{site}}}}</style>{SMALL}"), "line 1: a style sheet begins"),
            (format!("{SMALL}\0"), "there is a NUL character"),
        ] {
            let problem = problem(&frame, "");
            assert!(problem.starts_with(expected), "{frame}: {problem}");
        }
        assert_eq!(problem(SMALL, "a</StYlE >"), "the style sheet has </style in it");
        assert_eq!(problem(SMALL, "\0"), "there is a NUL character");
    }

    #[test]
    fn style_sheets_are_allowed_by_the_hash_of_what_browsers_read() {
        let styles = |html: &str, css| Template::parse(html, css).unwrap().styles().to_owned();
        assert_eq!(styles(SMALL, "a"), "'none'", "the sheet isn't shown");
        // printf a | openssl dgst -sha256 -binary | base64
        let of_a = "'sha256-ypeBEsobvcr6wjGzmiPcTaeG7/gUfE5yuYB3ha/uSLs='";
        assert_eq!(styles(&format!("<style>a</style>{SMALL}"), ""), of_a);
        assert_eq!(styles(&format!("<STYLE>a</Style>{SMALL}"), ""), of_a);
        let with_both = format!("{{{{style}}}}<style>a</style>{SMALL}");
        let both = styles(&with_both, "b\nc");
        assert!(both.starts_with(&format!("{of_a} 'sha256-")), "{both}");
        assert_eq!(styles(&with_both.replace('\n', "\r\n"), "b\r\nc"), both);
        assert_eq!(styles(&with_both, "b\rc"), both);
    }
}
