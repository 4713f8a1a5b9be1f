//! What `otpgate check` says of the files beside the users file, and what `--fix` does about them.

mod common;

use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use common::{Ran, Site, own_name};

const KEY: &str = "3132333435363738393031323334353637383930";

/// With a user, and all files beside the users file as logins leave them.
fn site() -> Site {
    let site = Site::ready();
    fs::write(site.users(), format!("HOTP alice secret7 {KEY}\n")).unwrap();
    check(&site, &["--fix"]).is(0);
    let ran = check(&site, &[]);
    assert!(ran.out.contains(": no problems,"), "{}", ran.out);
    site
}

fn check(site: &Site, args: &[&str]) -> Ran {
    site.run(&[&["check", "--as", &own_name()], args].concat(), "")
}

fn beside(site: &Site, ending: &str) -> PathBuf {
    let mut path = site.users().into_os_string();
    path.push(ending);
    path.into()
}

fn write_at(path: &PathBuf, at: u64, bytes: &[u8]) {
    OpenOptions::new().write(true).open(path).unwrap().write_all_at(bytes, at).unwrap();
}

/// A single finding, of that status.
#[track_caller]
fn finds(site: &Site, status: i32, begin: &str, within: &str) {
    let ran = check(site, &[]);
    ran.is(status);
    assert_eq!(ran.out.lines().count(), 1, "{}", ran.out);
    assert!(ran.out.starts_with(begin) && ran.out.contains(within), "{}", ran.out);
    assert!(!ran.out.contains("secret7") && !ran.out.contains(KEY), "{}", ran.out);
}

/// What was done, and nothing is left to say.
#[track_caller]
fn fixes(site: &Site, fixed: &str) {
    let ran = check(site, &["--fix"]);
    ran.is(0);
    let first = ran.out.lines().next().unwrap_or_default();
    assert!(first.starts_with("fixed: ") && first.contains(fixed), "{}", ran.out);
    assert!(ran.out.contains(": no problems,"), "{}", ran.out);
}

#[test]
fn a_second_name_of_the_users_file_is_an_error() {
    let site = site();
    fs::hard_link(site.users(), beside(&site, ".other")).unwrap();
    finds(&site, 1, "error: cannot protect ", "it has several names (hard links)");
}

#[test]
fn a_journal_that_is_none_is_an_error_and_is_left_alone() {
    let site = site();
    let journal = beside(&site, ".journal");
    fs::write(&journal, "dear diary").unwrap();
    finds(&site, 1, "error: ", "users.journal is no journal, or one of a later version");
    check(&site, &["--fix"]).is(1);
    assert_eq!(fs::read(&journal).unwrap(), b"dear diary");
}

#[test]
fn an_index_that_is_none_is_a_warning() {
    let site = site();
    let line = |number| format!("HOTP user{number:05} - {KEY}{:0<160}\n", "");
    fs::write(site.users(), (0..6_000).map(line).collect::<String>()).unwrap();
    check(&site, &["--fix"]).is(0);
    fs::write(beside(&site, ".index"), "something else").unwrap();
    finds(&site, 0, "warning: ", "users.index");
}

#[test]
fn what_killed_processes_have_left_is_a_warning_and_goes() {
    let site = site();
    let left = beside(&site, ".4711.new");
    fs::write(&left, "HOTP bob - 00\n").unwrap();
    finds(&site, 0, "warning: ", "users.4711.new was left by a process that was killed");
    fixes(&site, "removed ");
    assert!(!left.exists());
}

#[test]
fn a_rewrite_that_was_cut_short_is_an_error_and_is_finished() {
    let site = site();
    let before = site.content();
    write_at(&beside(&site, ".journal"), 2048, b"REPLACES");
    finds(&site, 1, "error: ", "users.journal holds a rewrite of the users file that was cut short");
    fixes(&site, "a rewrite that was cut short is finished");
    assert_eq!(site.content(), before);
}

#[test]
fn keys_left_in_the_journal_are_a_warning_and_are_wiped() {
    let site = site();
    let journal = beside(&site, ".journal");
    write_at(&journal, 700_000, format!("ff\nHOTP alice secret7 {KEY} 5\nHOTP b").as_bytes());
    finds(&site, 0, "warning: ", "users.journal holds lines of the users file, with PINs and keys");
    fixes(&site, "wiped PINs and keys from ");
    let bytes = fs::read(&journal).unwrap();
    assert!(!bytes.windows(7).any(|window| window == b"secret7"));
}
