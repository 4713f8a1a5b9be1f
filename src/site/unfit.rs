//! Messages about unusable credentials.

use crate::http::{AuthScheme, auth_scheme, basic, digest};
use crate::policy::Scheme;

/// Why a server that asks by `scheme` can't judge the header, and the name in it if there is one.
/// Of the header's own words nothing else is told: they may be a password.
pub fn reason(header: &[u8], scheme: Scheme) -> (&'static str, Vec<u8>) {
    match auth_scheme(header).0 {
        AuthScheme::Basic => {
            let user = basic::credentials(header).map(|(user, _)| user).unwrap_or_default();
            let reason = match scheme.has_basic() {
                true => "the Basic header has no user name and password",
                false => "the credentials are for Basic, but Digest is required here",
            };
            (reason, user)
        }
        AuthScheme::Digest => {
            let user =
                digest::Credentials::parse(header).map(|sent| sent.username).unwrap_or_default();
            let reason = match scheme.has_digest() {
                true => "the Digest header is empty",
                false => "the credentials are for Digest, but Basic is required here",
            };
            (reason, user)
        }
        AuthScheme::Bearer => {
            ("the credentials are a Bearer token, which isn't accepted here", Vec::new())
        }
        AuthScheme::Other => {
            ("the credentials are of a scheme that isn't accepted here", Vec::new())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::reason;
    use crate::policy::Scheme::{self, Basic, Both, Digest};

    #[test]
    fn each_kind_of_credentials_that_nobody_asked_for_has_its_words() {
        let table: [(&[u8], Scheme, &str, &[u8]); 8] = [
            (b"Digest", Digest, "header is empty", b""),
            (b"Digest", Basic, "are for Digest", b""),
            (b"basic YTpi", Digest, "are for Basic", b"a"),
            (b"Basic OmI=", Both, "no user name", b""),
            (b"Basic", Basic, "no user name", b""),
            (b"Bearer abc", Both, "Bearer token", b""),
            (b"opendoor", Both, "of a scheme", b""),
            (b"", Basic, "of a scheme", b""),
        ];
        for (header, scheme, words, user) in table {
            let (reason, found) = reason(header, scheme);
            assert!(reason.contains(words), "{header:?}: {reason}");
            assert_eq!(found, user, "{header:?}");
        }
    }
}
