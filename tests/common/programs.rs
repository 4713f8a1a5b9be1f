//! Passwords of programs, and the users file's lines about them.

use otpgate::token::{APP_RANDOM, AppDigest, AppPassword, SALT_LEN, app_password};
use otpgate::users::pragma;

/// The n-th program's password.
pub fn password(number: u8) -> String {
    app_password(&[number; APP_RANDOM]).to_string()
}

/// The n-th program's line, good for these paths and methods.
pub fn line(user: &str, number: u8, paths: &[&str], methods: &[&str]) -> String {
    let all = |words: &[&str]| words.iter().map(|word| word.as_bytes().to_vec()).collect();
    let app = AppPassword {
        name: vec![b'a' + number],
        digest: AppDigest::of([number; SALT_LEN], password(number).as_bytes()),
        paths: all(paths),
        methods: all(methods),
        until: None,
        used: None,
    };
    String::from_utf8(pragma::app_line(user.as_bytes(), &app)).expect("plain text") + "\n"
}
