//! What a browser sends besides credentials, and what it is sent.

use std::borrow::Cow;

use zeroize::Zeroizing;

use crate::gate::Answer;
use crate::http::cookie;

/// What a request says that may come from a browser. What it doesn't say is empty.
#[derive(Clone, Copy, Default)]
pub struct Browser<'a> {
    /// The method as the server sees it.
    pub method: &'a [u8],
    /// The request target, as it stands in the request line.
    pub target: &'a [u8],
    /// The Host header, or what stands for it.
    pub host: &'a [u8],
    /// The realm of the place.
    pub realm: &'a [u8],
    /// The Cookie header; several are joined by "; ".
    pub cookie: &'a [u8],
    /// The Accept header.
    pub accept: &'a [u8],
    /// The Accept-Language header.
    pub accept_language: &'a [u8],
    /// The Content-Type header.
    pub content_type: &'a [u8],
    /// The Origin header.
    pub origin: &'a [u8],
    /// The Sec-Fetch-Site header.
    pub fetch_site: &'a [u8],
    /// The Sec-Fetch-Mode header.
    pub fetch_mode: &'a [u8],
    /// The Authorization header.
    pub authorization: &'a [u8],
    /// The request's body, to the page to log in.
    pub body: &'a [u8],
}

/// What is to be sent to a browser.
#[derive(Debug, Default)]
pub struct Response {
    /// The status. 0: whatever the server answers, with these headers added.
    pub status: u16,
    /// Names and values of headers.
    pub headers: Vec<(&'static str, Zeroizing<String>)>,
    /// The body; its length and type are among the headers where the status isn't 0.
    pub body: Vec<u8>,
    /// One header more: the answer is for this browser alone.
    pub is_private: bool,
}

impl Response {
    /// A header by its number, from 0.
    pub fn header(&self, index: usize) -> Option<(&str, &str)> {
        match self.headers.get(index) {
            Some((name, value)) => Some((name, value)),
            None if index == self.headers.len() && self.is_private => {
                Some(("Cache-Control", "private"))
            }
            None => None,
        }
    }

    /// With one header more.
    pub fn with(mut self, name: &'static str, value: impl Into<String>) -> Response {
        self.headers.push((name, Zeroizing::new(value.into())));
        self
    }
}

/// What was decided about a browser's request, and what is to be sent.
#[derive(Default)]
pub struct Responded {
    /// What was decided. `None`: nothing.
    pub answer: Option<Answer>,
    /// Whom it is about.
    pub user: Vec<u8>,
    /// What is to be sent, or to be added.
    pub response: Option<Response>,
}

impl Responded {
    /// Nothing was decided about anybody.
    pub(super) fn undecided(response: Response) -> Responded {
        Responded { answer: None, user: Vec::new(), response: Some(response) }
    }

    /// Nobody can be named.
    pub(super) fn about_nobody(answer: Answer, response: Response) -> Responded {
        Responded { answer: Some(answer), user: Vec::new(), response: Some(response) }
    }
}

impl Response {
    /// A text for programs.
    pub(super) fn text(status: u16, content_type: &str, body: String) -> Response {
        Response { status, body: body.into_bytes(), ..Response::default() }
            .with("Content-Type", content_type)
            .with("Cache-Control", "no-store")
    }

    /// Nothing can be said but that something failed.
    pub fn failed() -> Response {
        let body = b"Something failed. The server's log says what.\n".to_vec();
        Response { status: 500, body, ..Response::default() }
            .with("Content-Type", "text/plain; charset=utf-8")
            .with("Cache-Control", "no-store")
    }
}

/// A Cookie header without our cookies. `None`: nothing is left.
pub fn without_our_cookies(header: &[u8]) -> Option<Vec<u8>> {
    cookie::without_ours(header).map(Cow::into_owned)
}
