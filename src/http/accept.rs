//! What a client would like to get: a page, JSON or text, and in which language (RFC 9110 section
//! 12.5).

/// What an answer is made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wants {
    /// A person in front of a browser: a page.
    Html,
    /// A program that reads JSON.
    Json,
    /// Any other.
    Text,
}

/// What this request wants. Of headers that aren't there, the text is empty.
///
/// A page is only for who opens one, or sends a form: GET, HEAD or POST, HTML named as such, and no
/// request of a script (`Sec-Fetch-Mode`, which all browsers of today send over HTTPS).
pub fn wants(method: &[u8], accept: &[u8], fetch_mode: &[u8]) -> Wants {
    let of = |is_it: fn(&[u8]) -> bool| {
        items(accept).filter(|(name, _)| is_it(name)).map(|(_, q)| q).max().unwrap_or(0)
    };
    let is_opened = matches!(method, b"GET" | b"HEAD" | b"POST")
        && matches!(fetch_mode.trim_ascii(), b"" | b"navigate" | b"nested-navigate");
    if is_opened && of(|name| name.eq_ignore_ascii_case(b"text/html")) > 0 {
        return Wants::Html;
    }
    let json = of(|name| {
        let name = name.to_ascii_lowercase();
        name == b"application/json" || name.starts_with(b"application/") && name.ends_with(b"+json")
    });
    let text = of(|name| name.eq_ignore_ascii_case(b"text/plain"));
    if json > 0 && json >= text { Wants::Json } else { Wants::Text }
}

/// The languages that we speak.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Language {
    /// English.
    #[default]
    En,
    /// German.
    De,
    /// French.
    Fr,
    /// Spanish.
    Es,
}

impl Language {
    /// All of them.
    pub const ALL: [Language; 4] = [Language::En, Language::De, Language::Fr, Language::Es];

    /// As in Content-Language and in `<html lang>`.
    pub fn tag(self) -> &'static str {
        match self {
            Language::En => "en",
            Language::De => "de",
            Language::Fr => "fr",
            Language::Es => "es",
        }
    }

    /// The one that an Accept-Language header likes best, whatever the region; of several liked
    /// alike, the first. English, if there is none of ours, or if any other will do.
    pub fn liked_best(accept_language: &[u8]) -> Language {
        let mut best = (0, Language::default());
        for (range, q) in items(accept_language) {
            let language = range.split(|&b| b == b'-').next().unwrap_or_default();
            let found = match language {
                b"*" => Some(Language::default()),
                tag => Language::ALL
                    .into_iter()
                    .find(|language| tag.eq_ignore_ascii_case(language.tag().as_bytes())),
            };
            if let Some(language) = found.filter(|_| q > best.0) {
                best = (q, language);
            }
        }
        best.1
    }
}

/// What a list names, each with its weight in thousandths: 0 means "not this one".
fn items(list: &[u8]) -> impl Iterator<Item = (&[u8], u16)> {
    list.split(|&b| b == b',').map(|item| {
        let mut parts = item.split(|&b| b == b';').map(<[u8]>::trim_ascii);
        let name = parts.next().unwrap_or_default();
        let mut weights = parts.filter_map(|part| match part {
            [b'q' | b'Q', b'=', weight @ ..] => Some(thousandths(weight).unwrap_or(0)),
            _ => None,
        });
        (name, weights.next().unwrap_or(1000))
    })
}

/// A weight as in RFC 9110 section 12.4.2, or one that lacks the zero before its point.
fn thousandths(weight: &[u8]) -> Option<u16> {
    let point = weight.iter().position(|&b| b == b'.').unwrap_or(weight.len());
    let (whole, decimals) = (&weight[..point], weight.get(point + 1..).unwrap_or_default());
    let whole = match whole {
        b"1" => 1000,
        b"0" => 0,
        b"" if !decimals.is_empty() => 0,
        _ => return None,
    };
    let mut value = whole;
    for (index, digit) in decimals.iter().enumerate() {
        let digit = char::from(*digit).to_digit(10)? as u16;
        value += digit * [100, 10, 1].get(index)?;
    }
    (value <= 1000).then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHROMIUM: &str = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,image/apng,*/*;q=0.8,application/signed-exchange;v=b3;q=0.7";

    #[test]
    fn a_page_is_for_who_opens_one() {
        for (method, accept, mode, expected) in [
            ("GET", CHROMIUM, "navigate", Wants::Html),
            ("GET", CHROMIUM, "nested-navigate", Wants::Html),
            ("HEAD", CHROMIUM, "navigate", Wants::Html),
            ("GET", CHROMIUM, "", Wants::Html),
            ("GET", "text/html", "", Wants::Html),
            ("GET", "a/b, Text/HTML ; level=1 ; Q=0.001", "", Wants::Html),
            ("POST", CHROMIUM, "navigate", Wants::Html),
            ("PUT", CHROMIUM, "navigate", Wants::Text),
            ("get", CHROMIUM, "navigate", Wants::Text),
            ("GET", CHROMIUM, "cors", Wants::Text),
            ("GET", CHROMIUM, "no-cors", Wants::Text),
            ("GET", CHROMIUM, "same-origin", Wants::Text),
            ("GET", CHROMIUM, "websocket", Wants::Text),
            ("GET", CHROMIUM, "Navigate", Wants::Text),
            ("GET", "text/html;q=0", "", Wants::Text),
            ("GET", "text/html;q=0.000", "", Wants::Text),
            ("GET", "text/html;q=x", "", Wants::Text),
            ("GET", "text/*", "", Wants::Text),
            ("GET", "", "", Wants::Text),
            // curl; fetch(); a script, an image and a style sheet of a page.
            ("GET", "*/*", "", Wants::Text),
            ("GET", "*/*", "cors", Wants::Text),
            ("GET", "image/avif,image/webp,*/*;q=0.8", "no-cors", Wants::Text),
            ("GET", "text/css,*/*;q=0.1", "no-cors", Wants::Text),
            // Programs.
            ("GET", "application/json", "", Wants::Json),
            ("POST", "application/json, text/plain, */*", "cors", Wants::Json),
            ("GET", "application/vnd.api+json", "", Wants::Json),
            ("GET", "Application/Problem+JSON;q=0.5", "", Wants::Json),
            ("POST", "text/html, application/json", "cors", Wants::Json),
            ("GET", "text/html, application/json", "", Wants::Html),
            ("GET", "text/plain, application/json;q=0.9", "", Wants::Text),
            ("GET", "application/json;q=0", "", Wants::Text),
            ("GET", "application/jsonx, text/json", "", Wants::Text),
        ] {
            let found = wants(method.as_bytes(), accept.as_bytes(), mode.as_bytes());
            assert_eq!(found, expected, "{method} {accept} {mode}");
        }
    }

    #[test]
    fn the_language_is_the_one_liked_best_of_ours() {
        for (accepted, expected) in [
            ("", "en"),
            ("de", "de"),
            ("fr-CH", "fr"),
            ("DE-at, en", "de"),
            ("de-AT,de;q=0.9,en-US;q=0.8,en;q=0.7", "de"),
            ("es-ES,es;q=0.8,en-US;q=0.5,en;q=0.3", "es"),
            ("ja, fr;q=0.4, es;q=0.8", "es"),
            ("ja;q=0.9, fr;q=0.4, es;q=0.3", "fr"),
            ("de;q=0.1, en", "en"),
            ("en;q=0.2, fr;q=0.3", "fr"),
            ("de;q=0.55, es;q=.6", "es"),
            ("de;q=0.551, es;q=0.552", "es"),
            ("es;q=1.000,en", "es"),
            ("es;q=1,en;q=1.0", "es"),
            ("en , de", "en"),
            ("fr ; q=0.9 , en;q=0.85", "fr"),
            ("de;q=0.05, en;q=0.04", "de"),
            ("en;q=0, fr;q=0.1", "fr"),
            ("de;q=0.0, es", "es"),
            ("de;q=0", "en"),
            ("*", "en"),
            ("*, de;q=0.5", "en"),
            ("fr;q=0.5, *;q=0.8", "en"),
            ("fr, *;q=0.8", "fr"),
            ("ja", "en"),
            ("zh-TW, ja;q=0.5", "en"),
            ("ende, den, enfr", "en"),
            ("garbage;;;q=,,,", "en"),
            ("de;q=1.5, de;q=1.001, de;q=-1, de;q=0.1234, de;q=., de;q=, de;q=2", "en"),
            ("../../../etc/passwd", "en"),
            ("de/../en", "en"),
        ] {
            assert_eq!(Language::liked_best(accepted.as_bytes()).tag(), expected, "{accepted}");
        }
    }
}
