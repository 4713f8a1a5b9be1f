//! What a request is for: its method, and the paths it leads to. Whoever is let in for some paths
//! only is let in for those in normal form (RFC 3986 section 6.2.2) and no others, so that nothing
//! behind the server can take them for different ones.

use unicode_normalization::UnicodeNormalization as _;

use crate::characters::is_invisible;

/// What a request is for, as the server has it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Target<'a> {
    /// The client's own request line; empty if its target is none of the server's own.
    pub request_line: &'a [u8],
    /// The authority that the client has asked: the Host header.
    pub host: &'a [u8],
    /// The Destination header (RFC 4918 section 10.3). Empty: there is none.
    pub destination: &'a [u8],
    /// The path that the server is about to serve, decoded: that of a rewrite, a redirect within
    /// the server or a sub-request, where it is one.
    pub path: &'a [u8],
}

/// Methods that change what Destination names, too.
const WITH_DESTINATION: [&[u8]; 2] = [b"COPY", b"MOVE"];

impl Target<'_> {
    /// The client's method.
    pub fn method(&self) -> Option<&[u8]> {
        let end = self.request_line.iter().position(|&b| b == b' ')?;
        Some(&self.request_line[..end])
    }

    /// Whether everything the request leads to is at or below these paths. Each ends at a slash of
    /// what it is compared with: `/dav` doesn't have `/davx` below it.
    pub fn is_within(&self, paths: &[Vec<u8>]) -> bool {
        self.is_within_or_none(paths).unwrap_or(false)
    }

    /// `None`: something isn't in normal form, or missing.
    fn is_within_or_none(&self, paths: &[Vec<u8>]) -> Option<bool> {
        let mut asked = vec![self.asked()?, plain(self.path.to_vec())?];
        if !self.destination.is_empty() {
            asked.push(absolute(self.destination, self.host)?);
        } else if WITH_DESTINATION.contains(&self.method()?) {
            return None;
        }
        Some(asked.iter().all(|path| paths.iter().any(|prefix| is_below(prefix, path))))
    }

    /// What the client has asked for.
    fn asked(&self) -> Option<Vec<u8>> {
        let rest = &self.request_line[self.method()?.len() + 1..];
        let end = rest.iter().rposition(|&b| b == b' ')?;
        absolute(&rest[..end], self.host)
    }
}

/// The path of a URI reference that begins with a slash or names this authority.
fn absolute(uri: &[u8], host: &[u8]) -> Option<Vec<u8>> {
    if uri.first() == Some(&b'/') {
        return sent(uri);
    }
    let scheme = [&b"http://"[..], b"https://"].into_iter().find(|scheme| {
        uri.get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme))
    })?;
    let rest = &uri[scheme.len()..];
    let (authority, path) = rest.split_at(rest.iter().position(|&b| b == b'/')?);
    let port: &[u8] = if scheme.len() == b"http://".len() { b":80" } else { b":443" };
    let bare = |authority: &[u8]| authority.strip_suffix(port).unwrap_or(authority).to_vec();
    let is_ours = !host.is_empty() && bare(authority).eq_ignore_ascii_case(&bare(host));
    if is_ours { sent(path) } else { None }
}

/// A path as a client sends it, perhaps with a query, decoded once.
fn sent(path: &[u8]) -> Option<Vec<u8>> {
    let end = path.iter().position(|&b| b == b'?').unwrap_or(path.len());
    if path.iter().any(|&b| !b.is_ascii_graphic() || b == b'#') {
        return None;
    }
    let mut decoded = Vec::with_capacity(end);
    let mut bytes = path[..end].iter();
    while let Some(&byte) = bytes.next() {
        if byte != b'%' {
            decoded.push(byte);
            continue;
        }
        let mut digit = || char::from(*bytes.next()?).to_digit(16);
        let byte = (digit()? * 16 + digit()?) as u8;
        if byte == b'/' {
            return None;
        }
        decoded.push(byte);
    }
    plain(decoded)
}

/// A decoded path, if nobody can take it for another one: each segment is a name, and stays one
/// where it is decoded again, taken from a Windows client or read with parameters.
fn plain(path: Vec<u8>) -> Option<Vec<u8>> {
    let is_escape = |three: &[u8]| {
        three[0] == b'%' && three[1].is_ascii_hexdigit() && three[2].is_ascii_hexdigit()
    };
    let text = str::from_utf8(&path).ok()?;
    let odd = |c: char| c.is_control() || matches!(c, '\\' | ';');
    if text.contains(odd) || path.windows(3).any(is_escape) || becomes_special(text) {
        return None;
    }
    let names = text.strip_prefix('/')?;
    // What ends in a slash has an empty segment behind it.
    let names = names.strip_suffix('/').unwrap_or(names);
    (text == "/" || names.split('/').all(is_name)).then_some(path)
}

/// Whether a segment is more than dots to whoever takes letters for plainer ones, leaves out those
/// that nobody sees, or blanks at an end.
fn is_name(segment: &str) -> bool {
    segment.nfkd().any(|c| !(c == '.' || c.is_whitespace() || is_invisible(c)))
}

/// Whether what takes letters for plainer ones (fullwidth dots, a division slash) would find a
/// character in it that means something in a path.
fn becomes_special(text: &str) -> bool {
    let is_special = |c: &char| matches!(c, '.' | '/' | '\\' | ';' | '%');
    !text.is_ascii()
        && (text.contains(['\u{2044}', '\u{2215}', '\u{29f8}'])
            || text.nfkd().filter(is_special).count() > text.chars().filter(is_special).count())
}

fn is_below(prefix: &[u8], path: &[u8]) -> bool {
    match path.strip_prefix(prefix) {
        Some(rest) => prefix.last() == Some(&b'/') || matches!(rest, [] | [b'/', ..]),
        None => false,
    }
}

/// Whether a path of a configuration can have anything below it.
pub fn is_prefix(path: &[u8]) -> bool {
    plain(path.to_vec()).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target<'a>(line: &'a str, path: &'a str) -> Target<'a> {
        Target {
            request_line: line.as_bytes(),
            host: b"example.com",
            destination: b"",
            path: path.as_bytes(),
        }
    }

    fn is_in_dav(target: Target<'_>) -> bool {
        target.is_within(&[b"/dav/".to_vec(), b"/cal".to_vec()])
    }

    #[test]
    fn its_own_paths_are_within() {
        for (sent, path) in [
            ("/dav/", "/dav/"),
            ("/dav/a", "/dav/a"),
            ("/dav/a/b/", "/dav/a/b/"),
            ("/dav/a?x=/../y;z", "/dav/a"),
            ("/dav/%61%20b", "/dav/a b"),
            ("/%64av/a", "/dav/a"),
            ("/dav/100%25.txt", "/dav/100%.txt"),
            ("/dav/%C3%A4", "/dav/\u{e4}"),
            ("/dav/1%E2%80%AFPM", "/dav/1\u{202f}PM"),
            ("/dav/%F0%9F%91%A9%E2%80%8D%F0%9F%92%BB", "/dav/\u{1f469}\u{200d}\u{1f4bb}"),
            ("/dav/.git/..a/a..", "/dav/.git/..a/a.."),
            ("/dav/what%3F%23", "/dav/what?#"),
            ("http://example.com/dav/a", "/dav/a"),
            ("HTTP://EXAMPLE.com:80/dav/a", "/dav/a"),
            ("https://example.com:443/dav/a", "/dav/a"),
            ("/cal", "/cal"),
            ("/cal/", "/cal/"),
            ("/cal/a", "/cal/a"),
            // Rewritten within.
            ("/dav/a", "/cal/index"),
        ] {
            for line in [format!("GET {sent} HTTP/1.1"), format!("REPORT {sent} HTTP/2.0")] {
                assert!(is_in_dav(target(&line, path)), "{line}");
            }
        }
    }

    #[test]
    fn nothing_else_is() {
        for sent in [
            "/",
            "/dav",
            "/davx",
            "/davx/",
            "/DAV/",
            "/Dav/a",
            "/calx",
            "/admin/",
            "/a/dav/",
            "//dav/",
            "/dav//",
            "/dav//a",
            "/./dav/",
            "/dav/./a",
            "/dav/.",
            "/dav/..",
            "/dav/../admin/",
            "/dav/a/../../admin/",
            "/admin/../dav/",
            "/dav/%2e%2e/admin/",
            "/dav/.%2E/admin/",
            "/dav/%2e",
            "/dav%2f..%2fadmin",
            "/dav%2Fa",
            "/dav/a%2Fb",
            "/dav/..%2fadmin",
            "/dav/%5c..%5cadmin",
            "/dav/a%5Cb",
            "/dav/..\\admin",
            "/dav\\a",
            "/dav/..;/admin/",
            "/dav/a;b",
            "/dav;x/a",
            "/dav/..%3B/admin",
            "/dav/a%3bb",
            "/dav/%252e%252e/admin",
            "/dav/%252Fa",
            "/dav/%",
            "/dav/%2",
            "/dav/%zz",
            "/dav/%+1",
            "/dav/%00",
            "/dav/a%00b",
            "/dav/%0a",
            "/dav/%0D%0Aa",
            "/dav/%7f",
            "/dav/...",
            "/dav/..%20/admin",
            "/dav/%20",
            "/dav/..%C2%A0/admin",
            "/dav/..%E3%80%80/admin",
            "/dav/..%E2%80%8B/admin",
            "/dav/.%C2%AD./admin",
            "/dav/..%EF%BB%BF",
            "/dav/%E2%80%8B",
            "/dav/a%C2%85b",
            "/dav/%c0%ae%c0%ae/admin",
            "/dav/%ff",
            "/dav/%EF%BC%8E%EF%BC%8E/admin",
            "/dav/%E2%80%A5/admin",
            "/dav/%EF%BC%8Fadmin",
            "/dav/%E2%88%95admin",
            "/dav/%EF%BC%BCadmin",
            "/dav/a%EF%BC%9Bb",
            "/dav/%EF%BC%85x",
            "/dav/\u{e4}",
            "/dav/a#b",
            "/dav/a b",
            "/dav/\ta",
            "dav/",
            "*",
            "",
            "example.com:443",
            "?/dav/",
            "http://other.example/dav/a",
            "http://example.com.other.example/dav/a",
            "http://example.com@other.example/dav/a",
            "http://user@example.com/dav/a",
            "http://example.com",
            "http://example.com?/dav/",
            "http:///dav/a",
            "http:/dav/a",
            "https://example.com:80/dav/a",
            "http://example.com:8080/dav/a",
            "ftp://example.com/dav/a",
            "http://example.com//dav/a",
        ] {
            let line = format!("GET {sent} HTTP/1.1");
            assert!(!is_in_dav(target(&line, "/dav/a")), "{line}");
        }
        for line in ["", "GET", "GET /dav/a", "GET  HTTP/1.1"] {
            assert!(!is_in_dav(target(line, "/dav/a")), "{line}");
        }
    }

    #[test]
    fn where_the_server_has_got_to_counts_as_well() {
        for path in ["", "/", "/admin", "/dav", "dav/", "/dav/../admin", "/dav//a", "/dav/a;b"] {
            assert!(!is_in_dav(target("GET /dav/a HTTP/1.1", path)), "{path}");
        }
    }

    #[test]
    fn a_destination_is_within_as_well_and_copy_and_move_have_one() {
        for (method, destination, expected) in [
            ("GET", "", true),
            ("COPY", "", false),
            ("MOVE", "", false),
            ("MOVE", "/dav/b", true),
            ("COPY", "http://example.com/dav/b", true),
            ("COPY", "https://example.com/cal/b", true),
            ("COPY", "/admin/b", false),
            ("COPY", "/dav/%2e%2e/admin", false),
            ("COPY", "http://other.example/dav/b", false),
            ("COPY", "dav/b", false),
            ("COPY", "/dav/b, /dav/c", false),
            ("GET", "/admin", false),
        ] {
            let line = format!("{method} /dav/a HTTP/1.1");
            let target = Target { destination: destination.as_bytes(), ..target(&line, "/dav/a") };
            assert_eq!(is_in_dav(target), expected, "{method} {destination}");
        }
    }

    #[test]
    fn the_root_has_everything_in_normal_form_below_it() {
        let is_within = |line| target(line, "/a").is_within(&[b"/".to_vec()]);
        assert!(is_within("GET / HTTP/1.1") && is_within("GET /a/b HTTP/1.1"));
        assert!(!is_within("GET //a HTTP/1.1") && !is_within("OPTIONS * HTTP/1.1"));
        assert!(is_prefix(b"/") && is_prefix(b"/dav/") && is_prefix(b"/dav"));
        assert!(!is_prefix(b"/dav//") && !is_prefix(b"dav") && !is_prefix(b"/a/../b"));
    }
}
