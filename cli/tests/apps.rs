//! `otpgate app`: passwords of programs in the users file.

mod common;

use std::fs;

use common::{Ran, Site};
use otpgate::store::Store;
use otpgate::token::{AppPassword, is_app_password};
use otpgate::users::file::UsersFile;

const KEY: &str = "3132333435363738393031323334353637383930";

fn site() -> Site {
    let site = Site::ready();
    fs::write(site.users(), format!("HOTP alice 1234 {KEY}\nHOTP bob - {KEY}\n")).unwrap();
    site
}

/// With nothing but what the user can know.
fn add(site: &Site, args: &[&str]) -> Ran {
    site.run(&[&["app", "add"], args].concat(), "")
}

fn apps(site: &Site, user: &str) -> Vec<AppPassword> {
    UsersFile::new(&site.users()).find(user.as_bytes()).unwrap().entry.ways.apps.clone()
}

#[test]
fn a_password_is_printed_once_and_only_its_hash_is_kept() {
    let site = site();
    let ran = add(
        &site,
        &["alice", "my phone", "--path", "/dav/,/a b", "--methods=GET,PUT", "--until=2099-12-31"],
    );
    let password = ran.is(0).out.trim_end();
    assert!(is_app_password(password.as_bytes()), "{password}");
    assert!(!site.content().contains(&password[4..]), "{}", site.content());
    let [app] = &apps(&site, "alice")[..] else { panic!("one") };
    assert!(app.digest.is_of(password.as_bytes()));
    assert_eq!(app.paths, [&b"/dav/"[..], b"/a b"]);
    assert_eq!(app.methods, [&b"GET"[..], b"PUT"]);
    assert_eq!((&app.name[..], app.until, app.used), (&b"my phone"[..], Some(4_102_444_800), None));
    let other = add(&site, &["bob", "my phone", "--path=/dav/"]);
    assert_ne!(other.is(0).out, ran.out);
    assert!(other.err.contains("isn't shown again"), "{}", other.err);

    let list = site.run(&["app", "list"], "").is(0).out.clone();
    let words = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(
        words(list.lines().nth(1).unwrap()),
        ["alice", "my", "phone", "never", "2099-12-31", "GET,PUT", "/dav/,/a", "b"]
    );
    assert_eq!(list.lines().count(), 3);
    let of_bob = site.run(&["app", "list", "bob", "--json"], "").is(0).out.clone();
    let json: serde_json::Value = serde_json::from_str(&of_bob).unwrap();
    assert_eq!(json["apps"][0]["paths"], serde_json::json!(["/dav/"]));
    assert_eq!(json["apps"].as_array().unwrap().len(), 1);
    let show = site.run(&["show", "alice"], "").is(0).out.clone();
    assert!(show.contains("app my phone\n  paths       /dav/,/a b\n"), "{show}");
    let show = site.run(&["show", "alice", "--json"], "").is(0).out.clone();
    let json: serde_json::Value = serde_json::from_str(&show).unwrap();
    assert_eq!(json["apps"][0]["name"], "my phone");
    assert!(!(list + &of_bob + &show).contains(&password[4..]));
}

#[test]
fn what_makes_no_sense_is_refused_and_changes_nothing() {
    let site = site();
    add(&site, &["alice", "phone", "--path=/dav/"]).is(0);
    let before = site.content();
    let long = "x".repeat(65);
    let many = format!("--path={}", vec!["/some/where/deep/down/"; 50].join(","));
    for (args, reason) in [
        (&["alice", "phone", "--path=/cal/"][..], "has an app \"phone\" already"),
        (&["carol", "phone", "--path=/dav/"], "is not listed"),
        (&["alice", "", "--path=/dav/"], "the program's name is empty"),
        (&["alice", &long, "--path=/dav/"], "the name is longer than 64 bytes"),
        (&["alice", "x", "--path=dav"], "is not a path like /dav/"),
        (&["alice", "x", "--path=/dav/../"], "is not a path like /dav/"),
        (&["alice", "x", "--path=/dav//"], "is not a path like /dav/"),
        (&["alice", "x", "--path=/d%2fav/"], "is not a path like /dav/"),
        (&["alice", "x", &many], "the line must be shorter than 1000 bytes"),
        (&["alice", "x", "--methods=get"], "is not a method like PROPFIND"),
        (&["alice", "x", "--until=2020-01-01"], "that day is over"),
    ] {
        let ran = add(&site, args);
        ran.complains_of(reason);
        assert!(!ran.out.contains("app-"), "{args:?}: {}", ran.out);
    }
    assert_eq!(add(&site, &["alice", "x", "--until=soon"]).status, 2);
    assert_eq!(site.content(), before);
}

#[test]
fn a_password_that_nobody_could_read_is_not_saved() {
    let site = site();
    let before = site.content();
    let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let done = std::process::Command::new(common::PROGRAM)
        .args(["app", "add", "alice", "phone", "--path=/dav/"])
        .env("OTPGATE_USERS_FILE", site.users())
        .stdout(full)
        .output()
        .unwrap();
    assert_eq!(done.status.code(), Some(1));
    assert_eq!(site.content(), before);
}

#[test]
fn a_revoked_password_is_gone_and_the_others_stay() {
    let site = site();
    for name in ["phone", "laptop", "ci"] {
        add(&site, &["alice", name, "--path=/dav/"]).is(0);
    }
    let kept = apps(&site, "alice");
    site.run(&["app", "revoke", "alice", "laptop"], "").is(0);
    assert_eq!(apps(&site, "alice"), [kept[0].clone(), kept[2].clone()]);
    site.run(&["app", "revoke", "alice", "laptop"], "").complains_of("has no app \"laptop\"");
    site.run(&["app", "revoke", "carol", "laptop"], "").complains_of("is not listed");
}

#[test]
fn passwords_go_with_the_user_and_nobody_inherits_them() {
    let site = site();
    add(&site, &["alice", "phone", "--path=/dav/"]).is(0);
    let app = apps(&site, "alice");
    site.run(&["rename", "alice", "carol"], "").is(0);
    assert_eq!(apps(&site, "carol"), app);
    site.run(&["remove", "carol"], "").is(0);
    assert!(!site.content().contains("#@"), "{}", site.content());
    for name in ["alice", "carol"] {
        site.run(&["add", name, "--pin-file", "-"], "4321\n");
        site.run(&["add", name, "--no-pin"], "");
        assert_eq!(apps(&site, name), []);
    }
    // Removed by hand, a token leaves its user's lines: a new user of that name doesn't get them.
    add(&site, &["bob", "phone", "--path=/dav/"]).is(0);
    let lines = site.content();
    let left: String = lines
        .lines()
        .filter(|line| !line.contains("HOTP bob"))
        .map(|line| format!("{line}\n"))
        .collect();
    fs::write(site.users(), left).unwrap();
    site.run(&["add", "bob", "--no-pin"], "").complains_of("--purge");
    assert_eq!(apps(&site, "bob"), []);
}

#[test]
fn check_warns_of_what_makes_codes_pointless_and_of_lines_without_effect() {
    let site = site();
    let warning = add(&site, &["alice", "phone"]);
    assert!(warning.is(0).err.contains("good for every path"), "{}", warning.err);
    add(&site, &["alice", "root", "--path=/"]).is(0);
    add(&site, &["alice", "fine", "--path=/dav/"]).is(0);
    let digest = site.content().split("sha256:").nth(1).unwrap()[..97].to_owned();
    let more = format!(
        "#@ app dora x sha256:{digest} path=/dav/\n#@ app bob old sha256:{digest} path=/dav/ until=2020-01-01\n\
         #@ app bob odd sha256:{digest} path=/dav//\n#@ app bob odd sha256:{digest} path=/dav/\n"
    );
    fs::write(site.users(), site.content() + &more).unwrap();
    let report = site.run(&["check"], "");
    let report = report.out + &report.err;
    for text in [
        "app \"phone\" is good for every path",
        "app \"root\" is good for every path",
        "\"dora\" is not listed",
        "the last day of \"bob\"'s app \"old\" is over",
        "app \"odd\" has a path that is never in normal form, so that it lets nobody in: \"/dav//\"",
        "\"bob\" has an app \"odd\" in line",
    ] {
        assert!(report.contains(text), "{text}: {report}");
    }
    assert!(!report.contains("\"fine\""), "{report}");
}
