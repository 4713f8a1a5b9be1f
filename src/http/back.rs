//! Where a login leads back to: what the client has asked for, if it is of this host, and never
//! anywhere else.

use std::net::Ipv6Addr;

/// The longest target, in bytes.
pub const MAX_TARGET: usize = 2048;

/// The longest Host header, in bytes: a name of 255, and a port.
const MAX_HOST: usize = 261;

/// The request target, as the client has sent it, if a login may lead back to it: a path of this
/// host with an optional query (origin-form, RFC 9112 section 3.2.1) that nobody can take for
/// another host's, and not the login page itself.
pub fn target<'a>(target: &'a [u8], login_page: &[u8]) -> Option<&'a str> {
    if target.len() > MAX_TARGET || !is_origin_form(target) {
        return None;
    }
    let end = target.iter().position(|&b| b == b'?').unwrap_or(target.len());
    let path = decoded(&target[..end])?;
    if path.iter().any(u8::is_ascii_control) || names_a_host(&path) {
        return None;
    }
    let resolved = resolved(&path);
    if names_a_host(&resolved) {
        return None;
    }
    let is_login_page = match decoded(login_page) {
        Some(page) => plain(&resolved) == plain(&self::resolved(&page)),
        None => true,
    };
    if is_login_page { None } else { str::from_utf8(target).ok() }
}

/// The value of a Location header: the target at the host that the client has asked. The target is
/// one of [`target`], or a path of the configuration.
///
/// `None`: the Host header names no host, or the target is none of it.
pub fn location(is_https: bool, host: &[u8], target: &str) -> Option<String> {
    let host = str::from_utf8(host).ok().filter(|host| is_host(host))?;
    let scheme = if is_https { "https" } else { "http" };
    is_origin_form(target.as_bytes()).then(|| format!("{scheme}://{host}{target}"))
}

/// One slash first, and nothing that a header, a browser or a server could take for something else.
fn is_origin_form(target: &[u8]) -> bool {
    let is_plain = |b: &u8| b.is_ascii_graphic() && !matches!(b, b'\\' | b'#');
    target.first() == Some(&b'/') && target.get(1) != Some(&b'/') && target.iter().all(is_plain)
}

/// `None`: a `%` without two hexadecimal digits.
fn decoded(path: &[u8]) -> Option<Vec<u8>> {
    let mut decoded = Vec::with_capacity(path.len());
    let mut bytes = path.iter();
    while let Some(&byte) = bytes.next() {
        if byte != b'%' {
            decoded.push(byte);
            continue;
        }
        let mut digit = || char::from(*bytes.next()?).to_digit(16);
        decoded.push((digit()? * 16 + digit()?) as u8);
    }
    Some(decoded)
}

/// Whether a browser would take what is behind the first slash for a host.
fn names_a_host(path: &[u8]) -> bool {
    matches!(path, [b'/' | b'\\', b'/' | b'\\', ..])
}

/// The decoded path without dot segments (RFC 3986 section 5.2.4), as browsers remove them: a
/// backslash is a slash.
fn resolved(path: &[u8]) -> Vec<u8> {
    let mut kept: Vec<&[u8]> = Vec::new();
    let mut segments = path.split(|&b| matches!(b, b'/' | b'\\')).skip(1).peekable();
    while let Some(segment) = segments.next() {
        let is_last = segments.peek().is_none();
        match segment {
            b"." | b".." => {
                if segment == b".." {
                    kept.pop();
                }
                if is_last {
                    kept.push(b"");
                }
            }
            name => kept.push(name),
        }
    }
    let mut path = b"/".to_vec();
    path.extend(kept.join(&b'/'));
    path
}

/// The names in a path: servers take several slashes for one, and some ignore the last.
fn plain(path: &[u8]) -> Vec<&[u8]> {
    path.split(|&b| b == b'/').filter(|name| !name.is_empty()).collect()
}

/// A name, an IPv4 address or an IPv6 address in brackets, and a port if there is one. Browsers
/// send other names in ASCII (`xn--`).
fn is_host(host: &str) -> bool {
    if host.len() > MAX_HOST {
        return false;
    }
    let (name, port) = match host.rsplit_once(':') {
        Some((name, port)) if !port.ends_with(']') => (name, Some(port)),
        _ => (host, None),
    };
    let is_port = |port: &str| {
        port.bytes().all(|b| b.is_ascii_digit()) && port.parse::<u16>().is_ok_and(|port| port > 0)
    };
    let is_name = |name: &str| {
        name.bytes().any(|b| b.is_ascii_alphanumeric())
            && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_'))
    };
    let is_named = match name.strip_prefix('[') {
        Some(rest) => {
            rest.strip_suffix(']').is_some_and(|address| address.parse::<Ipv6Addr>().is_ok())
        }
        None => is_name(name),
    };
    is_named && port.is_none_or(is_port)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOGIN_PAGE: &[u8] = b"/otp/login";

    #[test]
    fn a_login_leads_back_to_paths_of_this_host() {
        for path in [
            "/",
            "/?",
            "/a",
            "/area/page.txt",
            "/area/?x=1&y=2",
            "/a//b",
            "/a/./b/../c",
            "/a/..",
            "/../a",
            "/.",
            "/..a",
            "/...",
            "/:80/",
            "/@other.example",
            "/a@b:c",
            "/%41/%C3%A4",
            "/a%2fb",
            "/a%5cb",
            "/%252f/other.example",
            "/100%25",
            "/?q=100%",
            "/?q=//other.example",
            "/?q=https://other.example/",
            "/?q=%0d%0a",
            "/?/../otp/login",
            "/javascript:alert(1)",
            "/\"'<>",
            "/otp/login2",
            "/otp/log",
            "/otp/login/more",
            "/otp",
            "/OTP/LOGIN",
            "/otp/login%20",
            "/otp/login;x",
        ] {
            assert_eq!(target(path.as_bytes(), LOGIN_PAGE), Some(path));
            let back = location(true, b"www.example.org", path);
            assert_eq!(back, Some(format!("https://www.example.org{path}")));
        }
    }

    #[test]
    fn a_login_leads_nowhere_else() {
        for bad in [
            "",
            "a",
            "*",
            ".",
            "..",
            "?",
            "#",
            "//",
            "//other.example",
            "//other.example/a",
            "///other.example",
            "////other.example",
            "//user@other.example",
            "//www.example.org@other.example/",
            "/\\",
            "/\\other.example",
            "/\\/other.example",
            "/\\\\other.example",
            "\\\\other.example",
            "\\/other.example",
            "\\other.example",
            "/a\\b",
            "/?a\\b",
            "/%2f",
            "/%2F",
            "/%2fother.example",
            "/%2f/other.example",
            "/%2f%2fother.example",
            "/%5c",
            "/%5Cother.example",
            "/%5c/other.example",
            "/.//other.example",
            "/..//other.example",
            "/./%2fother.example",
            "/%2e//other.example",
            "/%2e%2e//other.example",
            "/.%2e/%5cother.example",
            "/..%5c/other.example",
            "/..%5c%5cother.example",
            "/a/..//other.example",
            "/a/b/../..//other.example",
            "/a/%2e%2e//other.example",
            "/a/../%5cother.example",
            "https://other.example/",
            "HTTPS://other.example/",
            "http://www.example.org/",
            "https:other.example",
            "https:/other.example",
            "https:\\\\other.example",
            "javascript:alert(1)",
            "data:text/html,x",
            "mailto:a@b",
            "user@other.example/",
            "www.example.org:443",
            " /a",
            "/a b",
            "\t/other.example",
            "/\t/other.example",
            "/\n/other.example",
            "/\r\nSet-Cookie: a=b",
            "\n//other.example",
            "/\0",
            "/\x7f",
            "/\x1b[0m",
            "/%0d%0aSet-Cookie:a=b",
            "/%00",
            "/a%09b",
            "/%7f",
            "/\u{e4}",
            "/\u{2044}other.example",
            "/#",
            "/a#//other.example",
            "/%",
            "/%2",
            "/%zz",
            "/a/%-1",
            "/%?a",
            // The login page itself.
            "/otp/login",
            "/otp/login/",
            "/otp/login?to=x",
            "/otp/login?",
            "/%6ftp/login",
            "/otp%2flogin",
            "/otp%5clogin",
            "/otp//login",
            "/otp/./login",
            "/otp/a/../login",
            "/login/../otp/login",
            "/%2e%2e/otp/login",
            "/../otp/login//",
            "/otp/login/.",
            "/otp/login/a/..",
        ] {
            assert_eq!(target(bad.as_bytes(), LOGIN_PAGE), None, "{bad:?}");
        }
    }

    #[test]
    fn a_target_that_is_too_long_is_none() {
        let long = format!("/{}", "a".repeat(MAX_TARGET - 1));
        assert!(target(long.as_bytes(), LOGIN_PAGE).is_some());
        assert_eq!(target(format!("{long}a").as_bytes(), LOGIN_PAGE), None);
    }

    #[test]
    fn the_login_page_is_known_however_it_is_configured() {
        for page in ["/login", "/login/", "/%6cogin", "//login", "/a/../login"] {
            assert_eq!(target(b"/login?a", page.as_bytes()), None, "{page}");
            assert_eq!(target(b"/a", page.as_bytes()), Some("/a"), "{page}");
        }
        assert_eq!(target(b"/a", b"/%"), None, "no page that could be compared");
    }

    #[test]
    fn a_location_has_the_host_that_was_asked() {
        for host in [
            "example.org",
            "EXAMPLE.org.",
            "xn--bcher-kva.example",
            "a_b",
            "localhost:8080",
            "192.0.2.7",
            "192.0.2.7:1",
            "[::1]",
            "[2001:db8::7]:65535",
            "[::ffff:192.0.2.7]",
        ] {
            for (is_https, scheme) in [(true, "https"), (false, "http")] {
                let expected = Some(format!("{scheme}://{host}/a?b"));
                assert_eq!(location(is_https, host.as_bytes(), "/a?b"), expected);
            }
        }
    }

    #[test]
    fn no_location_has_anything_else_for_a_host() {
        for host in [
            "",
            ".",
            ":",
            ":80",
            "a:",
            "a:0",
            "a:+1",
            "a:65536",
            "a:x",
            "a:80:80",
            "a:80@other.example",
            "user@other.example",
            "user:secret@other.example",
            "a/b",
            "a/",
            "a?b",
            "a#b",
            "a\\b",
            "a%2fb",
            "a b",
            " a",
            "a\t",
            "a\r\nSet-Cookie: a=b",
            "a\0",
            "a,b",
            "a;b",
            "\u{e4}.example",
            "::1",
            "[::1",
            "::1]",
            "[]",
            "[a]",
            "[::1%eth0]",
            "[::1]a",
            "[::1]:",
            "[[::1]]",
            "<a>",
            "a\"",
            "a'",
        ] {
            assert_eq!(location(true, host.as_bytes(), "/a"), None, "{host:?}");
        }
        assert_eq!(location(true, b"\xff", "/a"), None);
        assert_eq!(location(true, "a".repeat(MAX_HOST + 1).as_bytes(), "/a"), None);
    }

    #[test]
    fn no_location_has_a_target_of_another_host() {
        for bad in
            ["", "a", "//a", "/\\a", "@a", ":80/", ".example/", "/a\r\nX: y", "/a#b", "/\u{e4}"]
        {
            assert_eq!(location(true, b"example.org", bad), None, "{bad:?}");
        }
    }
}
