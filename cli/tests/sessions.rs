//! `otpgate sessions` and `logout`, and what other verbs do with sessions.

mod common;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use common::{Site, own_name};
use otpgate::gate::Store;
use otpgate::token::{Session, SessionId, SessionKind, TokenTag};
use otpgate::users::file::UsersFile;

const KEY: &str = "3132333435363738393031323334353637383930";
const AT: i64 = 1_796_112_000;

fn site() -> Site {
    let site = Site::ready();
    let lines = format!("HOTP alice 1234 {KEY}\nHOTP/T30 alice 1234 {KEY}\nHOTP bob - {KEY}00\n");
    fs::write(site.users(), lines).unwrap();
    site
}

/// Has a server keep one, of a user's token by its place; without one, of a token that is gone.
fn keep(site: &Site, user: &str, token: Option<usize>, number: u8, kind: SessionKind) {
    let user = user.as_bytes();
    let keep = &mut |transaction: &mut dyn otpgate::gate::Transaction| {
        let found = transaction.find(user)?;
        let tag = |place: usize| TokenTag::of(&found.entry.lines[place].token.fingerprint);
        let session = Session {
            id: SessionId([number; 16]),
            token: token.map_or(TokenTag([0; 6]), tag),
            kind,
            first: AT + i64::from(number),
            last: AT + 60 + i64::from(number),
        };
        transaction.save_session(user, session, 4);
        Ok(())
    };
    UsersFile::new(&site.users()).update(keep).unwrap();
}

fn kept(site: &Site, user: &str) -> Vec<u8> {
    let found = UsersFile::new(&site.users()).find(user.as_bytes()).unwrap();
    found.entry.ways.sessions.iter().map(|session| session.id.0[0]).collect()
}

fn secret(site: &Site) -> PathBuf {
    site.users().with_extension("secret")
}

#[test]
fn sessions_are_listed_by_number_token_beginning_and_last_use_and_never_by_id() {
    let site = site();
    assert_eq!(site.run(&["sessions", "alice"], "").is(0).out, "\"alice\" has no session\n");
    keep(&site, "alice", Some(1), 0, SessionKind::Code);
    keep(&site, "alice", Some(0), 1, SessionKind::PinAlone);
    keep(&site, "alice", None, 2, SessionKind::Computer);
    let ran = site.run(&["sessions", "alice"], "");
    assert_eq!(
        ran.is(0).out,
        "SESSION  TOKEN  BEGAN BY          BEGUN                LAST USE\n\
         1        2      code              2026-12-01 08:00:00  2026-12-01 08:01:00\n\
         2        1      PIN               2026-12-01 08:00:01  2026-12-01 08:01:01\n\
         3        -      trusted computer  2026-12-01 08:00:02  2026-12-01 08:01:02\n"
    );
    let json = site.run(&["sessions", "alice", "--json"], "");
    let json: serde_json::Value = serde_json::from_str(&json.is(0).out).unwrap();
    assert_eq!(json["user"], "alice");
    assert_eq!(json["sessions"][0]["token"], 2);
    assert_eq!(json["sessions"][0]["began_by"], "code");
    assert_eq!(json["sessions"][0]["begun"], "2026-12-01T08:00:00+00:00");
    assert_eq!(json["sessions"][2]["token"], serde_json::Value::Null);
    let show = site.run(&["show", "alice"], "");
    assert!(
        show.is(0).out.contains("\nsession 2\n  token       1\n  began by    PIN\n"),
        "{}",
        show.out
    );
    let json = site.run(&["show", "alice", "--json"], "");
    let json: serde_json::Value = serde_json::from_str(&json.is(0).out).unwrap();
    assert_eq!(json["sessions"].as_array().unwrap().len(), 3);
    site.run(&["sessions", "carol"], "").complains_of("is not listed");
    // Nor where their lines are.
    let id = data_encoding::BASE64URL_NOPAD.encode(&[1; 16]);
    assert!(site.content().contains(&id));
    for args in [&["show", "alice"][..], &["sessions", "alice"], &["list"], &["check"]] {
        let ran = site.run(args, "");
        assert!(!ran.out.contains(&id) && !ran.err.contains(&id), "{}{}", ran.out, ran.err);
    }
}

#[test]
fn sessions_end_one_by_one_or_all_of_a_user_or_everybodys_with_their_cookies() {
    let site = site();
    for number in 1..=3 {
        keep(&site, "alice", Some(0), number, SessionKind::Code);
    }
    keep(&site, "bob", Some(0), 4, SessionKind::Code);
    for (number, reason) in [("4", "has no session 4, only 3"), ("0", "has no session 0")] {
        site.run(&["logout", "alice", number], "").complains_of(reason);
    }
    let ran = site.run(&["logout", "alice", "1", "3"], "");
    assert_eq!(ran.is(0).out, "2 sessions of \"alice\" ended\n");
    assert_eq!(kept(&site, "alice"), [2]);
    assert_eq!(site.run(&["logout", "alice"], "").is(0).out, "1 session of \"alice\" ended\n");
    assert_eq!(site.run(&["logout", "alice"], "").is(0).out, "0 sessions of \"alice\" ended\n");
    site.run(&["logout", "carol"], "").complains_of("is not listed");
    assert_eq!((kept(&site, "alice"), kept(&site, "bob")), (vec![], vec![4]));
    for args in [&["logout"][..], &["logout", "alice", "--all"]] {
        assert_eq!(site.run(args, "").status, 2);
    }
    let users = UsersFile::new(&site.users());
    let before = users.secret().unwrap();
    let ran = site.run(&["logout", "--all"], "");
    assert_eq!(ran.is(0).out, "1 session ended, and no cookie made so far is good for anything\n");
    assert!(users.find(b"bob").unwrap().entry.ways.sessions.is_empty());
    assert!(users.secret_now().unwrap().0 != before.0);
}

#[test]
fn the_secret_is_made_by_init_and_looked_at_and_mended_by_check() {
    let (site, own) = (site(), own_name());
    site.run(&["init", "--user", &own], "").is(0);
    let first = fs::read(secret(&site)).unwrap();
    assert_eq!(first.len(), 40);
    site.run(&["init", "--user", &own], "").is(0);
    site.run(&["check", "--fix", "--as", &own], "").is(0);
    assert!(fs::read(secret(&site)).unwrap() == first, "it stays");
    fs::set_permissions(secret(&site), fs::Permissions::from_mode(0o644)).unwrap();
    let ran = site.run(&["check", "--as", &own], "");
    assert!(ran.is(1).out.contains("has mode 0644, and others may have read"), "{}", ran.out);
    let ran = site.run(&["check", "--fix", "--as", &own], "");
    assert!(ran.is(0).out.contains("a new one was made"), "{}", ran.out);
    assert!(fs::read(secret(&site)).unwrap() != first);
    site.run(&["check", "--as", &own], "").is(0);
    fs::write(secret(&site), "short").unwrap();
    let ran = site.run(&["check", "--as", &own], "");
    assert!(ran.is(1).out.contains("isn't a secret that otpgate has made"), "{}", ran.out);
    fs::remove_file(secret(&site)).unwrap();
    site.run(&["check", "--as", &own], "").is(0);
    site.run(&["check", "--fix", "--as", &own], "").is(0);
    assert_eq!(fs::read(secret(&site)).unwrap().len(), 40);
}

#[test]
fn what_comes_of_sessions_while_an_editor_is_open_is_kept() {
    let site = site();
    keep(&site, "bob", Some(0), 1, SessionKind::Code);
    keep(&site, "alice", Some(1), 2, SessionKind::Code);
    keep(&site, "alice", Some(0), 3, SessionKind::Code);
    // One ends, and the token of another gets another PIN.
    let editor = format!(
        "sh -c '{} -f {} logout alice 1 >&2; sed -i \"s/^HOTP alice 1234/HOTP alice 4321/\" \"$1\"' sh",
        common::PROGRAM,
        site.users().display()
    );
    let ran = edit(&site, &editor);
    assert_eq!(ran, "changes:\n  line 1: alice: another PIN\ninstalled\n");
    assert_eq!((kept(&site, "alice"), kept(&site, "bob")), (vec![], vec![1]));
    assert_eq!(site.content().matches("#@ session").count(), 2);
}

#[test]
fn lines_for_sessions_that_come_while_an_editor_is_open_stay_behind_their_tokens() {
    let site = site();
    let copy = site.path("copy");
    let live = site.users();
    keep(&site, "bob", Some(0), 1, SessionKind::Code);
    fs::copy(&live, &copy).unwrap();
    // As it was before a server had kept any session.
    let lines = fs::read_to_string(&live).unwrap();
    let without: String = lines
        .lines()
        .filter(|line| !line.starts_with("#@"))
        .map(|line| format!("{line}\n"))
        .collect();
    fs::write(&live, without).unwrap();
    let editor = format!(
        "sh -c 'cp {} {}; sed -i \"s/^HOTP alice/OFF:&/\" \"$1\"' sh",
        copy.display(),
        live.display()
    );
    let ran = edit(&site, &editor);
    assert_eq!(ran, "changes:\n  line 1: alice: switched off\ninstalled\n");
    let expected = lines.replace("HOTP alice 1234", "OFF:HOTP alice 1234");
    let (written, expected): (Vec<_>, Vec<_>) =
        (site.content().lines().map(words).collect(), expected.lines().map(words).collect());
    assert_eq!(written, expected);
    assert_eq!(kept(&site, "bob"), [1]);
}

/// Without the state of a token: its sum is of the type as well.
fn words(line: &str) -> Vec<String> {
    line.split(' ').take(4).map(str::to_owned).collect()
}

fn edit(site: &Site, editor: &str) -> String {
    let output = std::process::Command::new(common::PROGRAM)
        .args(["edit", "--yes"])
        .env("OTPGATE_USERS_FILE", site.users())
        .env("EDITOR", editor)
        .env_remove("VISUAL")
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn list_export_and_import_go_by_tokens_and_new_users_get_their_lines() {
    let site = site();
    let before = site.run(&["list"], "").is(0).out.clone();
    let exported = site.run(&["export", "otpauth", "-"], "").is(0).out.clone();
    keep(&site, "bob", Some(0), 1, SessionKind::Code);
    assert_eq!(site.run(&["list"], "").is(0).out, before);
    assert_eq!(site.run(&["export", "otpauth", "-"], "").is(0).out, exported);
    let address = "otpauth://totp/carol?secret=GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJA\n";
    site.run(&["import", "otpauth", "-", "--no-pin"], address).is(0);
    let content = site.content();
    assert_eq!(content.matches("#@ session carol ").count(), 1, "{content}");
    site.run(&["remove", "carol", "--yes"], "").is(0);
    assert!(!site.content().contains("carol"));
    // The empty line of somebody who was taken out by hand is nobody's inheritance.
    let content = site.content();
    let left: String = content
        .lines()
        .filter(|line| !line.starts_with("HOTP alice") && !line.starts_with("HOTP/T30 alice"))
        .map(|line| format!("{line}\n"))
        .collect();
    fs::write(site.users(), left).unwrap();
    let address = address.replace("carol", "alice");
    site.run(&["import", "otpauth", "-", "--no-pin"], &address).is(0);
    assert_eq!(site.content().matches("#@ session alice ").count(), 1);
}
