//! `otpgate computers`, and what other verbs do with trusted computers.

mod common;

use std::fs;

use common::Site;
use otpgate::gate::Store;
use otpgate::token::{Computer, ComputerId, Session, SessionId, SessionKind, TokenTag};
use otpgate::users::file::UsersFile;

const KEY: &str = "3132333435363738393031323334353637383930";
const AT: i64 = 1_796_112_000;

fn site() -> Site {
    let site = Site::ready();
    let lines = format!("HOTP alice 1234 {KEY}\nHOTP/T30 alice 1234 {KEY}\nHOTP bob 99 {KEY}00\n");
    fs::write(site.users(), lines).unwrap();
    site
}

/// Has a server keep one with a session that began on it, of a user's token by its place; without
/// one, of a token that is gone.
fn keep(site: &Site, user: &str, token: Option<usize>, number: u8) {
    let user = user.as_bytes();
    let keep = &mut |transaction: &mut dyn otpgate::gate::Transaction| {
        let found = transaction.find(user)?;
        let tag = |place: usize| TokenTag::of(&found.entry.lines[place].token.fingerprint);
        let token = token.map_or(TokenTag([0; 6]), tag);
        let (first, last) = (AT + i64::from(number), AT + 60 + i64::from(number));
        let id = ComputerId([number; 12]);
        let (days, generation, unseen) = (30, 7, 1);
        let computer = Computer { id, token, first, last, days, generation, unseen };
        transaction.save_computer(user, computer);
        let (id, kind) = (SessionId([number; 16]), SessionKind::Computer);
        transaction.save_session(user, Session { id, token, kind, first, last }, 4);
        Ok(())
    };
    UsersFile::new(&site.users()).update(keep).unwrap();
}

/// Numbers of computers and of sessions.
fn kept(site: &Site, user: &str) -> (Vec<u8>, Vec<u8>) {
    let found = UsersFile::new(&site.users()).find(user.as_bytes()).unwrap();
    let ways = &found.entry.ways;
    let computers = ways.computers.iter().map(|computer| computer.id.0[0]);
    (computers.collect(), ways.sessions.iter().map(|session| session.id.0[0]).collect())
}

#[test]
fn computers_are_listed_with_when_they_were_trusted_and_until_when_and_never_by_id() {
    let site = site();
    let none = "\"alice\" has no trusted computer\n";
    assert_eq!(site.run(&["computers", "alice"], "").is(0).out, none);
    keep(&site, "alice", Some(1), 0);
    keep(&site, "alice", None, 1);
    let ran = site.run(&["computers", "alice"], "");
    assert_eq!(
        ran.is(0).out,
        "COMPUTER  TOKEN  TRUSTED              LAST LOGIN           ENDS\n\
         1         2      2026-12-01 08:00:00  2026-12-01 08:01:00  2026-12-31 08:00:00\n\
         2         -      2026-12-01 08:00:01  2026-12-01 08:01:01  2026-12-31 08:00:01\n"
    );
    let json = site.run(&["computers", "alice", "--json"], "");
    let json: serde_json::Value = serde_json::from_str(&json.is(0).out).unwrap();
    assert_eq!(json["user"], "alice");
    assert_eq!(json["computers"][0]["token"], 2);
    assert_eq!(json["computers"][0]["trusted"], "2026-12-01T08:00:00+00:00");
    assert_eq!(json["computers"][0]["ends"], "2026-12-31T08:00:00+00:00");
    assert_eq!(json["computers"][1]["token"], serde_json::Value::Null);
    let show = site.run(&["show", "alice"], "");
    let text = "\ntrusted computer 1\n  token       2\n  trusted     2026-12-01 08:00:00\n";
    assert!(show.is(0).out.contains(text), "{}", show.out);
    let json = site.run(&["show", "alice", "--json"], "");
    let json: serde_json::Value = serde_json::from_str(&json.is(0).out).unwrap();
    assert_eq!(json["computers"].as_array().unwrap().len(), 2);
    site.run(&["computers", "carol"], "").complains_of("is not listed");
    let id = data_encoding::BASE64URL_NOPAD.encode(&[1; 12]);
    assert!(site.content().contains(&id));
    for args in [&["show", "alice"][..], &["computers", "alice"], &["list"], &["check"]] {
        let ran = site.run(args, "");
        assert!(!ran.out.contains(&id) && !ran.err.contains(&id), "{}{}", ran.out, ran.err);
    }
}

#[test]
fn computers_end_by_number_or_all_with_the_sessions_that_began_on_them() {
    let site = site();
    for (number, token) in [(1, 0), (2, 0), (3, 1)] {
        keep(&site, "alice", Some(token), number);
    }
    keep(&site, "bob", Some(0), 4);
    for (number, reason) in [("4", "has no computer 4, only 3"), ("0", "has no computer 0")] {
        site.run(&["computers", "alice", "revoke", number], "").complains_of(reason);
    }
    site.run(&["computers", "carol", "revoke"], "").complains_of("is not listed");
    assert_eq!(kept(&site, "alice").0, [1, 2, 3]);
    let ran = site.run(&["computers", "alice", "revoke", "1"], "");
    assert_eq!(ran.is(0).out, "1 computer of \"alice\" not trusted any more\n");
    // Those of one token can't be told apart.
    assert_eq!(kept(&site, "alice"), (vec![2, 3], vec![3]));
    let ran = site.run(&["computers", "alice", "revoke"], "");
    assert_eq!(ran.is(0).out, "2 computers of \"alice\" not trusted any more\n");
    assert_eq!((kept(&site, "alice"), kept(&site, "bob").0), ((Vec::new(), Vec::new()), vec![4]));
    // Logging out ends sessions, and no computer; but for a new secret.
    assert_eq!(site.run(&["logout", "bob"], "").is(0).out, "1 session of \"bob\" ended\n");
    assert_eq!(kept(&site, "bob"), (vec![4], vec![]));
    let ran = site.run(&["logout", "--all"], "");
    assert_eq!(
        ran.is(0).out,
        "0 sessions ended, 1 computer not trusted any more, and no cookie made so far is good for anything\n"
    );
    assert!(kept(&site, "bob").0.is_empty());
}

#[test]
fn what_changes_a_token_ends_its_computers_for_good() {
    for (args, input, left) in [
        (&["disable", "alice", "--token", "1"][..], "", vec![2]),
        (&["set-pin", "alice", "--token", "1"], "4321\n4321\n", vec![2]),
        (&["rekey", "alice", "--token", "1", "-q"], "", vec![2]),
        (&["remove", "alice", "--token", "1", "--yes"], "", vec![2]),
        (&["unlock", "alice"], "", vec![1, 2]),
        (&["always", "alice"], "", vec![1, 2]),
    ] {
        let site = site();
        keep(&site, "alice", Some(0), 1);
        keep(&site, "alice", Some(1), 2);
        keep(&site, "bob", Some(0), 3);
        site.run(args, input).is(0);
        assert_eq!(kept(&site, "alice").0, left, "{args:?}");
        assert_eq!(kept(&site, "bob").0, [3], "{args:?}");
        if args[0] == "disable" {
            site.run(&["enable", "alice", "--token", "1"], "").is(0);
            assert_eq!(kept(&site, "alice").0, left, "they don't come back");
        }
    }
    let site = site();
    keep(&site, "alice", Some(0), 1);
    site.run(&["rename", "alice", "carol"], "").is(0);
    assert!(kept(&site, "carol").0.is_empty());
    assert_eq!(site.content().matches("#@ computer carol ").count(), 1);
    site.run(&["remove", "carol", "--all", "--yes"], "").is(0);
    assert!(!site.content().contains("carol"));
    // New users get their line.
    site.run(&["add", "dora", "--no-pin", "-q"], "").is(0);
    assert_eq!(site.content().matches("#@ computer dora ").count(), 1);
}

#[test]
fn what_comes_of_computers_while_an_editor_is_open_is_kept() {
    let site = site();
    keep(&site, "bob", Some(0), 1);
    keep(&site, "alice", Some(0), 2);
    keep(&site, "alice", Some(1), 3);
    let editor = format!(
        "sh -c '{} -f {} computers alice revoke 2 >&2; sed -i \"s/^HOTP alice 1234/HOTP alice 4321/\" \"$1\"' sh",
        common::PROGRAM,
        site.users().display()
    );
    let output = std::process::Command::new(common::PROGRAM)
        .args(["edit", "--yes"])
        .env("OTPGATE_USERS_FILE", site.users())
        .env("EDITOR", editor)
        .env_remove("VISUAL")
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let out = String::from_utf8(output.stdout).unwrap();
    assert_eq!(out, "changes:\n  line 1: alice: another PIN\ninstalled\n");
    assert_eq!((kept(&site, "alice"), kept(&site, "bob").0), ((Vec::new(), Vec::new()), vec![1]));
}
