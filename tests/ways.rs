//! `#@ app`, `#@ trust` and `#@ always` lines: what a store finds of them beside a user's tokens.

#[path = "common/scene.rs"]
mod scene;

use std::fs;

use otpgate::network::Network;
use otpgate::store::{Store, Transaction};
use otpgate::token::{Always, WAYS_MAX, Ways};
use otpgate::users::file::UsersFile;
use otpgate::users::shared_index::SHARED_FROM;
use scene::{KEY, Scene};

const APP: &str = "sha256:000102030405060708090a0b0c0d0e0f:\
    e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

/// By an index of the process's own, and by one that processes share.
fn scenes(lines: &str) -> [Scene; 2] {
    let lines = lines.replace("APP", APP);
    let other = |i: usize| format!("HOTP other-user-{i:05} - {KEY}\n");
    let many: String = (0..SHARED_FROM as usize / 50).map(other).collect();
    [Scene::new(&lines), Scene::new(&format!("{many}{lines}"))]
}

fn ways(scene: &Scene, user: &str) -> Ways {
    UsersFile::new(&scene.path).find(user.as_bytes()).unwrap().entry.ways.clone()
}

fn networks(texts: &[&str]) -> Vec<Network> {
    texts.iter().map(|text| Network::parse(text.as_bytes()).unwrap()).collect()
}

#[test]
fn lines_of_a_user_are_found_wherever_they_stand_and_nobody_elses() {
    for scene in scenes(
        "#@ app alice phone APP path=/dav/\nHOTP alice - KEY\n#@ trust alice 192.0.2.0/24\nHOTP bob - KEY\n#@ app bob x APP\n#@ app alice laptop APP\n#@ trust alice ::/0\n#@ always bob apps\n",
    ) {
        let alice = ways(&scene, "alice");
        let names: Vec<&[u8]> = alice.apps.iter().map(|app| &app.name[..]).collect();
        assert_eq!(names, [&b"phone"[..], b"laptop"]);
        assert_eq!(alice.trusted, networks(&["192.0.2.0/24", "::/0"]));
        assert_eq!(alice.always, Always::default());
        let bob = ways(&scene, "bob");
        assert_eq!((bob.apps.len(), bob.trusted.len()), (1, 0));
        assert_eq!(bob.always, Always { pin: true, apps: true, until_code: false });
        assert_eq!(ways(&scene, "other-user-00000"), Ways::default());
    }
}

#[test]
fn without_a_token_nobody_has_a_way_in() {
    for scene in scenes("#@ app alice phone APP\n#@ trust alice ::/0\nHOTP bob - KEY\n") {
        let found = UsersFile::new(&scene.path).find(b"alice").unwrap();
        assert!(!found.is_listed());
        assert_eq!(found.entry.ways, Ways::default());
    }
}

#[test]
fn a_line_at_fault_lets_nobody_in_and_closes_everything_it_might_have_closed() {
    for (line, expected) in [
        ("#@ app alice phone sha256:00:00", Ways::default()),
        ("#@ trust alice 192.0.2.1/24", Ways::default()),
        ("#@ always alice coffee", Ways { always: Always::ALL, ..Ways::default() }),
        ("#@always alice", Ways { always: Always::ALL, ..Ways::default() }),
        ("#@ ALWAYS alice", Ways { always: Always::ALL, ..Ways::default() }),
        ("#@ always alic%65 pin pin", Ways { always: Always::ALL, ..Ways::default() }),
    ] {
        for scene in scenes(&format!("HOTP alice - KEY\n{line}\n")) {
            assert_eq!(ways(&scene, "alice"), expected, "{line}");
        }
    }
}

#[test]
fn with_more_lines_than_are_read_everything_is_closed() {
    for (number, is_closed) in [(WAYS_MAX, false), (WAYS_MAX + 1, true)] {
        let apps: String = (0..number).map(|i| format!("#@ app alice {i} APP\n")).collect();
        for scene in scenes(&format!("HOTP alice - KEY\n{apps}")) {
            let ways = ways(&scene, "alice");
            assert_eq!(ways.apps.len(), if is_closed { 0 } else { number });
            assert_eq!(ways.always == Always::ALL, is_closed);
        }
    }
}

#[test]
fn a_line_that_is_edited_counts_at_once() {
    for scene in scenes("HOTP alice - KEY\n#@ trust alice 192.0.2.0/24\n#@ allow\n") {
        let users = UsersFile::new(&scene.path);
        let found = || {
            let found = users.find(b"alice").unwrap();
            (found.entry.ways.trusted.len(), found.entry.ways.always.pin, found.allow.apps)
        };
        assert_eq!(found(), (1, false, false));
        let content = fs::read_to_string(&scene.path).unwrap();
        let edited = content
            .replace("#@ trust alice 192.0.2.0/24\n#@ allow\n", "#@ always alice\n#@ allow apps\n");
        fs::write(&scene.path, edited).unwrap();
        assert_eq!(found(), (0, true, true));
    }
}

#[test]
fn what_two_lines_allow_is_allowed_and_one_at_fault_allows_nothing() {
    for (lines, apps, networks) in [
        ("#@ allow\n#@ allow apps\n", true, 0),
        ("#@ allow trusted-networks=::/0\n#@ allow apps trusted-networks=192.0.2.0/24\n", true, 2),
        ("#@ allow apps everything\n", false, 0),
    ] {
        for scene in scenes(&format!("{lines}HOTP alice - KEY\n")) {
            let allow = UsersFile::new(&scene.path).find(b"alice").unwrap().allow.clone();
            assert_eq!((allow.apps, allow.trusted_networks.len()), (apps, networks), "{lines}");
        }
    }
}

const HOUR: i64 = 1_796_112_000;

fn step(scene: &Scene, change: impl Fn(&mut dyn Transaction)) {
    let change = |transaction: &mut dyn Transaction| {
        transaction.find(b"alice")?;
        change(transaction);
        Ok(())
    };
    UsersFile::new(&scene.path).update(&mut { change }).unwrap();
}

#[test]
fn the_hour_of_an_apps_last_use_is_written_over_the_one_before_and_nothing_else() {
    let lines = "#@ app alice x APP\n#@ app alice phone APP used=0000-00-00T00Z path=/dav/\nHOTP alice - KEY\n";
    for scene in scenes(lines) {
        let users = UsersFile::new(&scene.path);
        let used = || {
            users
                .find(b"alice")
                .unwrap()
                .entry
                .ways
                .apps
                .iter()
                .map(|app| app.used)
                .collect::<Vec<_>>()
        };
        assert_eq!(used(), [None, None]);
        let content = fs::read_to_string(&scene.path).unwrap();
        // The first line has no room for it.
        step(&scene, |transaction| {
            transaction.note_use(b"alice", 0, HOUR + 59);
            transaction.note_use(b"alice", 1, HOUR + 59);
        });
        let expected = content.replace("used=0000-00-00T00Z", "used=2026-12-01T08Z");
        assert!(fs::read_to_string(&scene.path).unwrap() == expected);
        let other = UsersFile::new(&scene.path).find(b"alice").unwrap();
        assert_eq!(other.entry.ways.apps[1].used, Some(HOUR));
    }
}

#[test]
fn a_server_closes_the_pin_and_opens_it_again_and_leaves_what_an_admin_says() {
    for scene in scenes("HOTP alice - KEY\n#@ always alice apps pin\n#@ trust alice ::/0") {
        let content = fs::read_to_string(&scene.path).unwrap();
        let users = UsersFile::new(&scene.path);
        let is_closed = || users.find(b"alice").unwrap().entry.ways.always;
        let admins = is_closed();
        step(&scene, |transaction| transaction.close_pin(b"alice", true));
        let closed = fs::read_to_string(&scene.path).unwrap();
        assert!(closed.ends_with("#@ trust alice ::/0\n#@ always alice pin\n"), "{closed}");
        // A second time changes nothing.
        step(&scene, |transaction| transaction.close_pin(b"alice", true));
        assert!(fs::read_to_string(&scene.path).unwrap() == closed);
        step(&scene, |transaction| {
            transaction.close_pin(b"alice", false);
            assert!(transaction.find(b"alice").is_ok());
        });
        let opened = fs::read_to_string(&scene.path).unwrap();
        assert_eq!(opened.matches("#@").count(), content.matches("#@").count(), "{opened}");
        assert_eq!(is_closed(), admins);
    }
}

#[test]
fn what_a_step_says_of_the_pin_holds_for_the_rest_of_it_and_goes_along_with_states() {
    for scene in scenes("HOTP alice - KEY\n") {
        step(&scene, |transaction| {
            let found = transaction.find(b"alice").unwrap();
            assert!(!found.entry.ways.always.until_code);
            transaction.save(b"alice", 0, found.entry.lines[0].state.clone());
            transaction.close_pin(b"alice", true);
            assert!(transaction.find(b"alice").unwrap().entry.ways.always.until_code);
        });
        let found = UsersFile::new(&scene.path).find(b"alice").unwrap();
        assert!(found.entry.ways.always.until_code && found.entry.lines[0].state.intact);
    }
}
