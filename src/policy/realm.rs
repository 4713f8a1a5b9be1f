//! nginx's realm: a text with variables, where a place is open to everybody if it comes out as
//! `off`.

/// Variables whose value a client has a hand in. Those that end in `_` are the beginnings of names.
const OF_CLIENTS: [&str; 25] = [
    "arg_",
    "args",
    "content_length",
    "content_type",
    "cookie_",
    "document_uri",
    "host",
    "http_",
    "is_args",
    "proxy_protocol_tlv_",
    "query_string",
    "remote_user",
    "request",
    "request_body",
    "request_body_file",
    "request_filename",
    "request_method",
    "request_uri",
    "ssl_alpn_protocol",
    "ssl_client_",
    "ssl_ciphers",
    "ssl_curves",
    "ssl_preread_server_name",
    "ssl_server_name",
    "uri",
];

enum Part<'a> {
    Text(&'a [u8]),
    Variable(&'a [u8]),
}

/// Whether a client can have a part in making it `off`. What other variables bring isn't known:
/// anything, or nothing.
pub fn is_for_clients_to_switch_off(realm: &[u8]) -> bool {
    let parts = parts_of(realm);
    let is_a_clients = |part: &Part<'_>| match part {
        Part::Text(_) => false,
        Part::Variable(name) => is_of_clients(name),
    };
    parts.iter().any(is_a_clients) && fits(&parts, b"off")
}

fn is_of_clients(name: &[u8]) -> bool {
    // Captures of a regular expression, of names and paths that come from clients.
    let is_capture = matches!(name, [b'1'..=b'9']);
    is_capture
        || OF_CLIENTS.iter().any(|known| match known.strip_suffix('_') {
            Some(_) => name
                .get(..known.len())
                .is_some_and(|head| head.eq_ignore_ascii_case(known.as_bytes())),
            None => name.eq_ignore_ascii_case(known.as_bytes()),
        })
}

/// Whether the parts can make up the text if variables may be anything.
fn fits(parts: &[Part<'_>], text: &[u8]) -> bool {
    match parts {
        [] => text.is_empty(),
        [Part::Text(begin), rest @ ..] => {
            text.strip_prefix(*begin).is_some_and(|text| fits(rest, text))
        }
        // Two in a row are as good as one.
        [Part::Variable(_), rest @ ..] if matches!(rest, [Part::Variable(_), ..]) => {
            fits(rest, text)
        }
        [Part::Variable(_), rest @ ..] => (0..=text.len()).any(|taken| fits(rest, &text[taken..])),
    }
}

/// As nginx reads it: `$name`, `${name}`, or `$1` to `$9`.
fn parts_of(mut realm: &[u8]) -> Vec<Part<'_>> {
    let mut parts = Vec::new();
    while !realm.is_empty() {
        let len = realm.iter().position(|&b| b == b'$').unwrap_or(realm.len());
        let (text, rest) = realm.split_at(len);
        if !text.is_empty() {
            parts.push(Part::Text(text));
        }
        let Some(rest) = rest.strip_prefix(b"$") else { break };
        let is_of_name = |b: &u8| b.is_ascii_alphanumeric() || *b == b'_';
        let (name, rest) = match rest {
            [b'{', inner @ ..] => {
                let end = inner.iter().position(|&b| b == b'}').unwrap_or(inner.len());
                (&inner[..end], inner.get(end + 1..).unwrap_or_default())
            }
            [b'1'..=b'9', ..] => rest.split_at(1),
            _ => rest.split_at(rest.iter().take_while(|b| is_of_name(b)).count()),
        };
        parts.push(Part::Variable(name));
        realm = rest;
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_realm_that_a_client_can_make_off_is_told_from_others() {
        for (realm, expected) in [
            ("$host", true),
            ("${host}", true),
            ("$HOST", true),
            ("$http_x_realm", true),
            ("$http_", true),
            ("$arg_realm", true),
            ("$args", true),
            ("$query_string", true),
            ("$cookie_site", true),
            ("$uri", true),
            ("$document_uri", true),
            ("$request_uri", true),
            ("$request", true),
            ("$remote_user", true),
            ("$request_method", true),
            ("$request_body", true),
            ("$request_body_file", true),
            ("$content_type", true),
            ("$ssl_server_name", true),
            ("$1", true),
            ("o$arg_x", true),
            ("of$arg_x", true),
            ("off$arg_x", true),
            ("o${arg_x}f", true),
            ("$arg_x${arg_y}ff", true),
            ("$arg_x$arg_x", true),
            ("$server_name$host", true),
            ("${host}f", true),
            ("$1f", true),
            // What is left of the text makes it something else.
            ("Site $host", false),
            ("$host ", false),
            ("Off$arg_x", false),
            ("offf$arg_x", false),
            ("f$arg_x", false),
            ("o$arg_x/", false),
            ("$11", false),
            ("$hostf", false),
            // The server's own, or a map's.
            ("$server_name", false),
            ("$realm", false),
            ("$hostname", false),
            ("$request_id", false),
            ("o$realm", false),
            ("$argx", false),
            ("$xhttp_host", false),
            ("off", false),
            ("Site", false),
            ("", false),
        ] {
            assert_eq!(is_for_clients_to_switch_off(realm.as_bytes()), expected, "{realm}");
        }
    }
}
