//! A protected place and the page to log in to it, on either server.

use super::{Httpd, Nginx, Scope, Server, Token};

pub const PIN: &str = "sesame9";
pub const AREA: &str = "/area/page.txt";
pub const PAGE: &str = "/otp/login";

/// The only user.
pub fn alice() -> Token {
    Token::hotp("alice").pin(PIN)
}

/// With further directives for both places, and for the area alone.
pub fn httpd(both: &str, area: &str) -> Server {
    let common = "AuthName \"area\"\nOTPAuthUsersFile \"{root}/users/area/users\"\n\
         OTPAuthLoginPage /otp/login\nOTPAuthLingerCookie Insecure\n";
    let area = of_area(both, area, true);
    let both = translated(both, true);
    let scopes = vec![
        Scope::bare("area")
            .token(&alice())
            .directives(&format!("{common}{area}AuthType OTP\nRequire valid-user")),
        Scope::bare("otp").of_urls().directives(&format!(
            "{common}{both}AuthType OTP\nSetHandler otp-login\nRequire all granted"
        )),
    ];
    Server::start(Httpd::event(), scopes)
}

/// The same on the other server.
pub fn nginx(both: &str, area: &str) -> Server {
    let common = "auth_otp \"area\";\nauth_otp_users_file \"{root}/users/area/users\";\n\
         auth_otp_login_page /otp/login;\nauth_otp_linger_cookie insecure;\n\
         auth_otp_scheme form;\n";
    let area = of_area(both, area, false);
    let both = translated(both, false);
    let scopes = vec![
        Scope::bare("area").token(&alice()).directives(&format!("{common}{area}")),
        Scope::bare("otp").directives(&format!("{common}{both}auth_otp_login;")),
    ];
    Server::start(Nginx::four(), scopes)
}

/// What is said for both places, but for what the area says itself: the whole area's settings.
fn of_area(both: &str, area: &str, is_apache: bool) -> String {
    let name = |line: &str| line.trim().split(' ').next().unwrap_or_default().to_owned();
    let own: Vec<String> = area.lines().map(name).collect();
    let inherited = both.lines().filter(|line| !own.contains(&name(line)));
    let lines: Vec<&str> = inherited.chain(area.lines()).collect();
    translated(&lines.join("\n"), is_apache)
}

/// Settings by nginx's names, one a line, as a server spells them.
fn translated(settings: &str, is_apache: bool) -> String {
    let mut text = String::new();
    for line in settings.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let (name, value) = line.split_once(' ').expect("a name and a value");
        let apache = match name {
            "auth_otp_max_age" => "OTPAuthMaxAge",
            "auth_otp_sessions" => "OTPAuthSessions",
            "auth_otp_refusal_time" => "OTPAuthRefusalTime",
            "auth_otp_max_offset" => "OTPAuthMaxOffset",
            "auth_otp_throttle" => "OTPAuthThrottle",
            "auth_otp_logout_on_ip_change" => "OTPAuthLogoutOnIPChange",
            "auth_otp_trusted_computer" => "OTPAuthTrustedComputer",
            "auth_otp_max_failures" => "OTPAuthMaxOTPFailure",
            other => panic!("{other} has no name here"),
        };
        text += &match is_apache {
            true => format!("{apache} {value}\n"),
            false => format!("{name} {value};\n"),
        };
    }
    text
}
