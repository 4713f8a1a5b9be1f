//! How servers go from one place to another within one request.

use super::common::{Httpd, Nginx, Scope, Server, Setting, httpd, nginx};

/// What the page of the inner place says.
pub const INNER: &str = "what only the inner place shows";

/// A way in which a server goes from one place to another: what the lax place is told, and what is
/// asked for.
pub type Way = (&'static str, fn(&str) -> String, &'static str);

const HTTPD_WAYS: [Way; 4] = [
    ("index", |_| "DirectoryIndex inner.txt".to_owned(), ""),
    ("error", |name| format!("ErrorDocument 404 /{name}/inner.txt"), "missing"),
    (
        "rewritten",
        |_| "Options +FollowSymLinks\nRewriteEngine On\nRewriteRule ^nice$ inner.txt".to_owned(),
        "nice",
    ),
    (
        "part",
        |_| "Options +Includes\n<Files \"*.shtml\">\nSetOutputFilter INCLUDES\n</Files>".to_owned(),
        "whole.shtml",
    ),
];

const NGINX_WAYS: [Way; 4] = [
    ("index", |_| "index inner.txt;".to_owned(), ""),
    ("error", |name| format!("error_page 404 =200 /{name}/inner.txt;"), "missing"),
    ("tried", |name| format!("try_files $uri /{name}/inner.txt;"), "any"),
    ("part", |_| "ssi on;\nssi_types text/plain;".to_owned(), "whole.shtml"),
];

#[derive(Clone, Copy)]
pub enum Kind {
    Httpd,
    Nginx,
}

impl Kind {
    pub fn ways(self) -> [Way; 4] {
        match self {
            Kind::Httpd => HTTPD_WAYS,
            Kind::Nginx => NGINX_WAYS,
        }
    }

    pub fn inner(self, name: &str, (setting, value): (Setting, &str)) -> String {
        match self {
            Kind::Httpd => {
                let directive = httpd::directive(setting);
                format!("<Files \"inner.txt\">\n{directive} {value}\n</Files>")
            }
            Kind::Nginx => {
                let directive = nginx::directive(setting);
                format!("location = /{name}/inner.txt {{\n{directive} {value};\n}}")
            }
        }
    }

    pub fn start(self, scopes: Vec<Scope>) -> Server {
        match self {
            Kind::Httpd => {
                Server::start(Httpd::event().module("include").module("rewrite"), scopes)
            }
            Kind::Nginx => Server::start(Nginx::one(), scopes),
        }
    }
}
