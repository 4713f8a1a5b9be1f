//! Servers that show the pages for web users, on a site where everything needs a login: the users of
//! scope `area` may see the rest, too.

use std::path::Path;

use super::{Httpd, Nginx};

pub const SOURCES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/pages");

pub fn read(name: &str) -> String {
    let path = Path::new(SOURCES).join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

pub fn names() -> Vec<String> {
    let entries = std::fs::read_dir(SOURCES).expect("the pages");
    let mut names: Vec<String> = entries
        .map(|entry| entry.expect("an entry").file_name().into_string().expect("a plain name"))
        .collect();
    names.sort();
    names
}

/// What an admin includes, for pages in the test server's directory: the server's account may not
/// see the sources.
fn include(server: &str) -> String {
    read(&format!("{server}.conf")).replace("/usr/local/share/otpgate/pages", "{root}/pages")
}

/// With modules that Debian enables by default.
pub fn httpd() -> Httpd {
    included_into(Httpd::event())
}

/// The same, behind what this one has already.
pub fn included_into(httpd: Httpd) -> Httpd {
    let httpd = ["alias", "env", "mime", "negotiation", "setenvif"]
        .iter()
        .fold(httpd, |httpd, module| httpd.module(module))
        .file("mime.types", "")
        .directives("TypesConfig {root}/mime.types")
        .directives(&include("apache"))
        .directives(
            "<Location \"/\">\n\
             AuthType Basic\nAuthName everywhere\nAuthBasicProvider OTP\nRequire valid-user\n\
             OTPAuthUsersFile {root}/users/area/users\n\
             </Location>",
        );
    names().iter().fold(httpd, |httpd, name| httpd.file(&format!("pages/{name}"), read(name)))
}

/// With mod_include as well, and somebody to ask.
pub fn httpd_with_contact(name: &str, contact: &str) -> Httpd {
    httpd().module("include").directives(&format!("SetEnv {name} \"{contact}\""))
}

pub fn nginx() -> Nginx {
    let nginx = Nginx::one().server_directives(&include("nginx")).server_directives(
        "auth_otp everywhere;\n\
         auth_otp_users_file \"{root}/users/area/users\";",
    );
    names().iter().fold(nginx, |nginx, name| nginx.file(&format!("pages/{name}"), read(name)))
}

pub fn nginx_with_contact(name: &str, contact: &str) -> Nginx {
    nginx().server_directives(&format!("set ${name} \"{contact}\";"))
}
