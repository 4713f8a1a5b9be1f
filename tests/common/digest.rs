//! A Digest client (RFC 7616, qop=auth) that does what it is told, right or wrong.

// Each test binary uses its own part of it.
#![allow(dead_code)]

use data_encoding::HEXLOWER;
use md5::{Digest, Md5};
use sha2::Sha256;

use super::common::{Place, Reply, Request};

/// A server's challenge.
#[derive(Clone, Debug)]
pub struct Challenge {
    pub algorithm: String,
    pub realm: String,
    pub nonce: String,
    pub opaque: Option<String>,
    pub stale: bool,
}

impl Challenge {
    /// Asks for one.
    #[track_caller]
    pub fn of(place: &Place<'_>) -> Challenge {
        let reply = place.send(Request::get(place.path("page.txt")));
        assert_eq!(reply.status(), 401, "{reply:?}");
        Challenge::in_answer(&reply)
    }

    #[track_caller]
    pub fn in_answer(reply: &Reply) -> Challenge {
        let all = Challenge::all_in(reply);
        all.into_iter().next().unwrap_or_else(|| panic!("no Digest challenge in {reply:?}"))
    }

    /// All of Digest, in order.
    pub fn all_in(reply: &Reply) -> Vec<Challenge> {
        let headers =
            ["WWW-Authenticate", "Proxy-Authenticate"].map(|name| reply.0.headers_of(name));
        let digest = headers.into_iter().flatten().filter(|header| header.starts_with("Digest "));
        digest.map(Challenge::parse).collect()
    }

    fn parse(header: &str) -> Challenge {
        let quoted = |name: &str| {
            let value = header.split(&format!("{name}=\"")).nth(1)?;
            Some(value.split('"').next().unwrap_or_default().to_owned())
        };
        let algorithm = header.split("algorithm=").nth(1).and_then(|rest| rest.split(',').next());
        Challenge {
            algorithm: algorithm.expect("an algorithm").to_owned(),
            realm: quoted("realm").expect("a realm"),
            nonce: quoted("nonce").expect("a nonce"),
            opaque: quoted("opaque"),
            stale: header.contains("stale=true"),
        }
    }
}

/// What a client answers with; change any part of it before it is sent.
#[derive(Clone, Debug)]
pub struct Answer {
    pub user: String,
    pub password: String,
    pub challenge: Challenge,
    pub method: &'static str,
    pub uri: String,
    pub nc: u64,
    pub cnonce: String,
    /// Instead of the one computed.
    pub response: Option<String>,
}

impl Answer {
    pub fn new(
        challenge: &Challenge,
        uri: impl Into<String>,
        user: &str,
        password: impl AsRef<str>,
    ) -> Answer {
        Answer {
            user: user.to_owned(),
            password: password.as_ref().to_owned(),
            challenge: challenge.clone(),
            method: "GET",
            uri: uri.into(),
            nc: 1,
            cnonce: "0a4f113b".to_owned(),
            response: None,
        }
    }

    pub fn nc(self, nc: u64) -> Answer {
        Answer { nc, ..self }
    }

    /// The header's value.
    pub fn header(&self) -> String {
        let Challenge { algorithm, realm, nonce, opaque, .. } = &self.challenge;
        let hash = |text: String| match algorithm.as_str() {
            "MD5" => HEXLOWER.encode(&Md5::digest(text.as_bytes())),
            "SHA-256" => HEXLOWER.encode(&Sha256::digest(text.as_bytes())),
            other => panic!("{other} isn't spoken"),
        };
        let (user, uri, nc, cnonce) = (&self.user, &self.uri, self.nc, &self.cnonce);
        let ha1 = hash(format!("{user}:{realm}:{}", self.password));
        let ha2 = hash(format!("{}:{uri}", self.method));
        let computed = hash(format!("{ha1}:{nonce}:{nc:08x}:{cnonce}:auth:{ha2}"));
        let response = self.response.as_ref().unwrap_or(&computed);
        let opaque =
            opaque.as_ref().map(|opaque| format!(", opaque=\"{opaque}\"")).unwrap_or_default();
        format!(
            "Digest username=\"{user}\", realm=\"{realm}\", nonce=\"{nonce}\", uri=\"{uri}\", \
             algorithm={algorithm}, qop=auth, nc={nc:08x}, cnonce=\"{cnonce}\", response=\"{response}\"{opaque}"
        )
    }

    pub fn request(&self) -> Request {
        Request::get(&self.uri).header("Authorization", self.header())
    }
}

/// Logs in as a browser does: takes a challenge, answers it.
#[track_caller]
pub fn login(place: &Place<'_>, user: &str, password: impl AsRef<str>) -> Reply {
    place.server().keep_secret(password.as_ref());
    let challenge = Challenge::of(place);
    place.send(Answer::new(&challenge, place.path("page.txt"), user, password).request())
}
