//! Somebody with a browser: keeps cookies, fills in forms, follows where it is told to.

use super::server::Server;
use super::{Request, client};

/// Somebody with a browser.
pub struct Visitor<'s> {
    server: &'s Server,
    /// Name and value.
    pub cookies: Vec<(String, String)>,
    /// From where the server shall see it come.
    address: String,
    language: String,
}

/// What is on the screen: an answer, and where it came from.
#[derive(Clone, Debug)]
pub struct Screen {
    pub path: String,
    pub answer: client::Response,
}

impl<'s> Visitor<'s> {
    pub fn of(server: &'s Server) -> Visitor<'s> {
        let (address, language) = ("198.51.100.7".to_owned(), "en".to_owned());
        Visitor { server, cookies: Vec::new(), address, language }
    }

    /// From another place.
    pub fn at(mut self, address: &str) -> Visitor<'s> {
        self.address = address.to_owned();
        self
    }

    pub fn speaking(mut self, language: &str) -> Visitor<'s> {
        self.language = language.to_owned();
        self
    }

    /// A request with all that a browser adds.
    pub fn request(&self, request: Request) -> Request {
        let request = request
            .from(&self.address)
            .header("Accept", "text/html,application/xhtml+xml,*/*;q=0.8")
            .header("Accept-Language", &*self.language)
            .header("Sec-Fetch-Site", "same-origin")
            .header("Sec-Fetch-Mode", "navigate");
        match self.cookie_header() {
            Some(cookies) => request.header("Cookie", cookies),
            None => request,
        }
    }

    pub fn cookie_header(&self) -> Option<String> {
        let pairs: Vec<String> =
            self.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
        (!pairs.is_empty()).then(|| pairs.join("; "))
    }

    /// The cookie of the session, if there is one.
    pub fn session(&self) -> Option<&(String, String)> {
        let is_other = |name: &str| name.ends_with("-visit") || name.ends_with("-computer");
        self.cookies.iter().find(|(name, _)| !is_other(name))
    }

    /// The cookie of the trusted computer, if it is one.
    pub fn computer(&self) -> Option<&(String, String)> {
        self.cookies.iter().find(|(name, _)| name.ends_with("-computer"))
    }

    /// Forgets the session, as browsers do that are closed.
    pub fn close(&mut self) {
        let kept = self.computer().cloned();
        self.cookies = kept.into_iter().collect();
    }

    /// Sends a request and keeps what cookies come.
    pub fn send(&mut self, path: &str, request: Request) -> Screen {
        let answer = client::fetch(self.server.port(), &self.request(request));
        for value in self.keep_cookies(&answer) {
            self.server.keep_secret(value);
        }
        Screen { path: path.to_owned(), answer }
    }

    /// Keeps the cookies that an answer sets, and forgets those that it ends. Values of new ones.
    pub fn keep_cookies(&mut self, answer: &client::Response) -> Vec<String> {
        let mut new = Vec::new();
        for header in answer.headers_of("Set-Cookie") {
            let (pair, attributes) = header.split_once(';').expect("attributes");
            let (name, value) = pair.split_once('=').expect("a value");
            self.cookies.retain(|(known, _)| known != name);
            if !attributes.contains("Max-Age=0") {
                self.cookies.push((name.to_owned(), value.to_owned()));
                new.push(value.to_owned());
            }
        }
        new
    }

    pub fn get(&mut self, path: &str) -> Screen {
        self.send(path, Request::get(path))
    }

    /// Opens a path, and the page to log in if it leads there.
    pub fn open(&mut self, path: &str) -> Screen {
        let screen = self.get(path);
        match screen.way() {
            Some(way) => self.get(&way),
            None => screen,
        }
    }

    /// Sends the form that is on the screen with these fields filled in.
    pub fn submit(&mut self, screen: &Screen, filled: &[(&str, &str)]) -> Screen {
        let (action, request) = screen.filled_in(filled);
        self.send(&action, request)
    }

    pub fn post(&mut self, action: &str, fields: &[(String, String)]) -> Screen {
        self.send(action, posted(action, fields))
    }
}

/// A form as a browser sends it.
fn posted(action: &str, fields: &[(String, String)]) -> Request {
    let encoded: Vec<String> = fields
        .iter()
        .map(|(name, value)| format!("{}={}", encoded(name), encoded(value)))
        .collect();
    Request::post(action, &encoded.join("&")).header("Origin", "http://localhost")
}

impl Screen {
    /// Where the answer leads: by a redirect, or by the page itself.
    pub fn way(&self) -> Option<String> {
        let by_header = self.answer.header("Location").map(str::to_owned);
        let text = self.text();
        let by_page = text
            .split("http-equiv=\"refresh\"")
            .nth(1)
            .and_then(|rest| rest.split("url=").nth(1))
            .and_then(|rest| rest.split('"').next())
            .map(unescaped);
        let way = by_header.or(by_page)?;
        let host = way.strip_prefix("http://localhost").or(way.strip_prefix("https://localhost"));
        Some(host.map(str::to_owned).unwrap_or(way))
    }

    pub fn text(&self) -> String {
        self.answer.text()
    }

    /// Where the form goes, and the request that it makes with these fields filled in.
    pub fn filled_in(&self, filled: &[(&str, &str)]) -> (String, Request) {
        let (action, mut fields) = self.form();
        fields.extend(filled.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        let request = posted(&action, &fields);
        (action, request)
    }

    /// Where the form goes, and its hidden fields.
    pub fn form(&self) -> (String, Vec<(String, String)>) {
        let text = self.text();
        let form = text.split("<form").nth(1).unwrap_or_else(|| panic!("no form: {text}"));
        let form = form.split("</form>").next().expect("its end");
        let action = attribute(form, "action").expect("an action");
        let inputs = form.split("<input").skip(1).chain(form.split("<button").skip(1));
        let fields = inputs.filter_map(|input| {
            let input = input.split('>').next()?;
            let is_fixed = input.contains("type=\"hidden\"") || input.contains("name=\"do\"");
            is_fixed.then(|| {
                (
                    attribute(input, "name").unwrap_or_default(),
                    attribute(input, "value").unwrap_or_default(),
                )
            })
        });
        (action, fields.filter(|(name, _)| !name.is_empty()).collect())
    }
}

fn attribute(tag: &str, name: &str) -> Option<String> {
    let rest = tag.split(&format!(" {name}=\"")).nth(1)?;
    rest.split('"').next().map(unescaped)
}

fn unescaped(text: &str) -> String {
    text.replace("&quot;", "\"")
        .replace("&#39;", "'")
        .replace("&lt;", "<")
        .replace("&gt;", ">")
        .replace("&amp;", "&")
}

fn encoded(text: &str) -> String {
    let mut encoded = String::new();
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' => {
                encoded.push(char::from(byte));
            }
            _ => encoded += &format!("%{byte:02X}"),
        }
    }
    encoded
}
