//! `#@ session` lines: the logins that browsers keep, as a users file does.

#[path = "common/scene.rs"]
mod scene;

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use otpgate::otp::{Digits, Hash};
use otpgate::secret::Secret;
use otpgate::store::{Accounts, Amendment, NewToken, Store, Transaction, Whom};
use otpgate::token::{
    Algorithm, Computer, ComputerId, MovingFactor, Session, SessionId, SessionKind, State,
    TokenTag, WAYS_MAX,
};
use otpgate::users::file::UsersFile;
use otpgate::users::shared_index::SHARED_FROM;
use otpgate::users::{check, edit, secret};
use scene::{KEY, Scene};

const AT: i64 = 1_796_112_000;

/// By an index of the process's own, and by one that processes share.
fn scenes(lines: &str) -> [Scene; 2] {
    let other = |i: usize| format!("HOTP other-user-{i:05} - {KEY}\n");
    let many: String = (0..SHARED_FROM as usize / 50).map(other).collect();
    [Scene::new(lines), Scene::new(&format!("{many}{lines}"))]
}

/// One that began `number` seconds after the first.
fn session(number: u8) -> Session {
    Session {
        id: SessionId([number; 16]),
        token: TokenTag([0xa0 | number & 15; 6]),
        kind: SessionKind::Code,
        first: AT + i64::from(number),
        last: AT + 60 + i64::from(number),
    }
}

fn step(path: &Path, user: &[u8], change: impl Fn(&mut dyn Transaction)) {
    let change = |transaction: &mut dyn Transaction| {
        transaction.find(user)?;
        change(transaction);
        Ok(())
    };
    UsersFile::new(path).update(&mut { change }).unwrap();
}

fn save(path: &Path, user: &[u8], session: Session, max: u8) {
    step(path, user, |transaction| transaction.save_session(user, session, max));
}

fn kept(path: &Path, user: &[u8]) -> Vec<Session> {
    UsersFile::new(path).find(user).unwrap().entry.ways.sessions.clone()
}

fn content(path: &Path) -> String {
    fs::read_to_string(path).unwrap()
}

fn inode(path: &Path) -> u64 {
    fs::metadata(path).unwrap().ino()
}

/// One that was trusted `number` seconds after the first.
fn computer(number: u8) -> Computer {
    Computer {
        id: ComputerId([number; 12]),
        token: TokenTag([0xa0 | number & 15; 6]),
        first: AT + i64::from(number),
        last: AT + 60 + i64::from(number),
        days: 30,
        generation: 1000 + u32::from(number),
        unseen: number & 63,
    }
}

fn trust(path: &Path, user: &[u8], computer: Computer) {
    step(path, user, |transaction| transaction.save_computer(user, computer));
}

fn computers(path: &Path, user: &[u8]) -> Vec<Computer> {
    UsersFile::new(path).find(user).unwrap().entry.ways.computers.clone()
}

/// The lines of sessions by user, and whether each stands behind a token of theirs.
fn lines_by_user(content: &str) -> HashMap<&str, usize> {
    let mut lines = HashMap::new();
    let mut before = "";
    for line in content.lines() {
        let words: Vec<&str> = line.split(' ').collect();
        if words[..2] == ["#@", "session"] {
            assert!(before == words[2], "{line} is behind {before}");
            *lines.entry(words[2]).or_default() += 1;
        } else if let Some(user) = words.get(1) {
            before = user;
        }
    }
    lines
}

#[test]
fn the_first_session_gives_everybody_their_lines_in_one_rewrite_and_then_nothing_moves() {
    for scene in scenes(
        "HOTP alice - KEY\nHOTP bob - KEY 5\n# c\nHOTP alice - KEYKEY\nbroken x\nHOTP/T30 carol - KEY",
    ) {
        let before = (inode(&scene.path), content(&scene.path));
        let tokens = before.1.matches("HOTP").count();
        save(&scene.path, b"alice", session(1), 4);
        let first = (inode(&scene.path), content(&scene.path));
        assert_ne!(before.0, first.0);
        let lines = lines_by_user(&first.1);
        // Alice has two tokens, and a line that can't be read is nobody's.
        assert!(lines.len() == tokens - 1 && lines.values().all(|&lines| lines == 1));
        assert_eq!(kept(&scene.path, b"alice"), [session(1)]);
        assert!(kept(&scene.path, b"bob").is_empty() && kept(&scene.path, b"carol").is_empty());
        // The next one of each is put where there is room for it.
        save(&scene.path, b"carol", session(2), 4);
        save(&scene.path, b"alice", session(3), 4);
        let second = (inode(&scene.path), content(&scene.path));
        assert_eq!((first.0, first.1.len()), (second.0, second.1.len()));
        let changed: Vec<(&str, &str)> =
            first.1.lines().zip(second.1.lines()).filter(|(a, b)| a != b).collect();
        assert_eq!(changed.len(), 2, "{changed:?}");
        assert!(changed.iter().all(|(line, _)| line.starts_with("#@ session ")));
        assert_eq!(kept(&scene.path, b"alice"), [session(1), session(3)]);
        assert_eq!(kept(&scene.path, b"carol"), [session(2)]);
        assert_eq!(UsersFile::new(&scene.path).find(b"bob").unwrap().entry.lines.len(), 1);
    }
}

#[test]
fn a_session_is_written_over_itself_then_where_there_is_room_then_over_the_one_that_began_first() {
    let scene = Scene::new("HOTP alice - KEY\n");
    for number in [2, 1, 3, 4] {
        save(&scene.path, b"alice", session(number), 4);
    }
    let used = Session { last: AT + 1000, ..session(1) };
    save(&scene.path, b"alice", used, 4);
    assert_eq!(kept(&scene.path, b"alice"), [session(2), used, session(3), session(4)]);
    save(&scene.path, b"alice", session(5), 4);
    assert_eq!(
        kept(&scene.path, b"alice"),
        [session(2), session(5), session(3), session(4)],
        "the one that began first has made room"
    );
    step(&scene.path, b"alice", |transaction| {
        transaction.end_sessions(b"alice", &|session| session.id == SessionId([3; 16]));
    });
    assert_eq!(kept(&scene.path, b"alice"), [session(2), session(5), session(4)]);
    save(&scene.path, b"alice", session(6), 4);
    assert_eq!(kept(&scene.path, b"alice"), [session(2), session(5), session(6), session(4)]);
    // The setting was lowered: those that began first go, but not the one in use.
    save(&scene.path, b"alice", Session { last: AT + 2000, ..session(2) }, 2);
    assert_eq!(
        kept(&scene.path, b"alice"),
        [Session { last: AT + 2000, ..session(2) }, session(6)]
    );
    assert_eq!(content(&scene.path).matches("#@ session").count(), 1);
}

#[test]
fn more_sessions_get_more_lines_for_everybody_at_once() {
    for scene in scenes("HOTP alice - KEY\nHOTP bob - KEY\n#@ apart Bob\n") {
        for number in 1..=4 {
            save(&scene.path, b"alice", session(number), 4);
        }
        save(&scene.path, b"alice", session(5), 6);
        assert!(lines_by_user(&content(&scene.path)).values().all(|&lines| lines == 2));
        let rewritten = inode(&scene.path);
        for number in 6..=10 {
            save(&scene.path, b"alice", session(number), 6);
            save(&scene.path, b"bob", session(number), 6);
        }
        assert_eq!(inode(&scene.path), rewritten);
        let mut numbers: Vec<u8> =
            kept(&scene.path, b"alice").iter().map(|session| session.id.0[0]).collect();
        numbers.sort_unstable();
        assert_eq!(numbers, [5, 6, 7, 8, 9, 10]);
        // As many as there can be, and no more whatever is asked for.
        for number in 11..=40 {
            save(&scene.path, b"alice", session(number), 255);
        }
        assert_eq!(kept(&scene.path, b"alice").len(), 16);
        assert!(lines_by_user(&content(&scene.path)).values().all(|&lines| lines == 4));
        assert_eq!(kept(&scene.path, b"bob").len(), 5);
    }
}

#[test]
fn sessions_of_several_users_in_one_step_are_saved_with_states_or_in_one_rewrite_with_them() {
    for lines in ["HOTP alice - KEY\nHOTP bob - KEY\n", "HOTP alice - KEY 0\n#\nHOTP bob - KEY 7\n"]
    {
        let scene = Scene::new(lines);
        let both = |number: u8| {
            UsersFile::new(&scene.path)
                .update(&mut |transaction| {
                    for user in [&b"alice"[..], b"bob"] {
                        let found = transaction.find(user)?;
                        let mut state = found.entry.lines[0].state.clone();
                        state.failures = u32::from(number);
                        transaction.save(user, 0, state);
                        transaction.save_session(user, session(number), 4);
                        transaction.save_session(user, session(number + 1), 4);
                        // The rest of the step sees it.
                        let sessions = transaction.find(user)?.entry.ways.sessions;
                        assert!(sessions.contains(&session(number)), "{sessions:?}");
                    }
                    Ok(())
                })
                .unwrap();
        };
        both(1);
        let first = inode(&scene.path);
        both(3);
        assert_eq!(inode(&scene.path), first);
        for user in [&b"alice"[..], b"bob"] {
            let found = UsersFile::new(&scene.path).find(user).unwrap();
            assert_eq!(found.entry.lines[0].state.failures, 3);
            assert!(found.entry.lines[0].state.intact);
            assert_eq!(kept(&scene.path, user), [1, 2, 3, 4].map(session));
        }
    }
}

/// Id, token, first and last use, kind.
type ByHand = (Vec<u8>, Vec<u8>, u64, u64, char);

/// Where a session stands in a line, by the words of docs/users-file.md alone.
fn decode_by_hand(line: &str) -> Vec<ByHand> {
    const DIGITS: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let digit = |c: char| DIGITS.find(c).unwrap() as u128;
    let number = |text: &str| text.chars().fold(0, |so_far, c| so_far << 6 | digit(c));
    let bytes = |text: &str, len: usize| {
        let spare = text.len() * 6 - len * 8;
        let all = number(text);
        assert_eq!(all & ((1 << spare) - 1), 0);
        (all >> spare).to_be_bytes()[16 - len..].to_vec()
    };
    let words: Vec<&str> = line.split(' ').collect();
    let ["#@", "session", user, places] = words[..] else { panic!("{line}") };
    assert_eq!(places.len(), 178);
    let (places, sum) = places.split_at(172);
    let mut polynomial = !0u32;
    for byte in user.bytes().chain([0]).chain(places.bytes()) {
        polynomial ^= u32::from(byte);
        for _ in 0..8 {
            polynomial = polynomial >> 1 ^ if polynomial & 1 == 1 { 0xedb8_8320 } else { 0 };
        }
    }
    assert_eq!(number(sum), u128::from(!polynomial));
    let places = (0..4).map(|i| &places[43 * i..43 * (i + 1)]);
    let used = places.filter(|place| *place != ".".repeat(43));
    used.map(|place| {
        let (id, rest) = place.split_at(22);
        // 132 bits: the upper half by itself.
        let (upper, lower) = id.split_at(8);
        let id = [bytes(upper, 6), bytes(lower, 10)].concat();
        let (token, rest) = rest.split_at(8);
        let (first, rest) = rest.split_at(6);
        let (last, kind) = rest.split_at(6);
        let time = |text| number(text) as u64;
        (id, bytes(token, 6), time(first), time(last), kind.chars().next().unwrap())
    })
    .collect()
}

#[test]
fn a_line_says_what_the_documentation_says() {
    let scene = Scene::new("HOTP alice - KEY\n");
    let id: [u8; 16] = std::array::from_fn(|i| (i * 17 + 3) as u8);
    let sessions = [
        Session { id: SessionId(id), token: TokenTag([1, 2, 3, 4, 5, 255]), ..session(1) },
        Session { kind: SessionKind::PinAlone, first: 0, last: 1 << 35, ..session(2) },
        Session { kind: SessionKind::Computer, ..session(3) },
    ];
    for session in sessions {
        save(&scene.path, b"alice", session, 4);
    }
    let content = content(&scene.path);
    let line = content.lines().find(|line| line.starts_with("#@ session alice ")).unwrap();
    let read = decode_by_hand(line);
    assert_eq!(read.len(), 3);
    for (read, (session, kind)) in read.into_iter().zip(sessions.iter().zip(['c', 'p', 't'])) {
        let Session { id, token, first, last, .. } = *session;
        assert_eq!(read, (id.0.to_vec(), token.0.to_vec(), first as u64, last as u64, kind));
    }
}

#[test]
fn a_line_with_a_wrong_sum_holds_no_session_says_so_and_is_written_anew_under_the_lock() {
    let scene = Scene::new("HOTP alice - KEY\n");
    save(&scene.path, b"alice", session(1), 4);
    save(&scene.path, b"alice", session(2), 4);
    let spoilt = |content: &str| {
        let at = content.find("#@ session alice ").unwrap() + 17 + 40;
        let other = if content.as_bytes()[at] == b'A' { "B" } else { "A" };
        format!("{}{other}{}", &content[..at], &content[at + 1..])
    };
    fs::write(&scene.path, spoilt(&content(&scene.path))).unwrap();
    let users = UsersFile::new(&scene.path);
    let found = users.find(b"alice").unwrap();
    assert!(found.entry.ways.torn_places && found.entry.ways.sessions.is_empty());
    step(&scene.path, b"alice", |transaction| {
        let ways = transaction.find(b"alice").unwrap().entry.ways;
        assert!(!ways.torn_places && ways.sessions.is_empty());
    });
    let found = users.find(b"alice").unwrap();
    assert!(!found.entry.ways.torn_places && found.entry.ways.sessions.is_empty());
    save(&scene.path, b"alice", session(3), 4);
    assert_eq!(kept(&scene.path, b"alice"), [session(3)]);
    assert_eq!(content(&scene.path).matches("#@ session").count(), 1);
}

#[test]
fn a_line_at_fault_holds_no_session_and_neither_does_somebody_elses() {
    let scene = Scene::new("HOTP alice - KEY\nHOTP bob - KEY\n");
    save(&scene.path, b"alice", session(1), 4);
    let good = content(&scene.path);
    let line = good.lines().find(|line| line.starts_with("#@ session alice ")).unwrap();
    for other in [
        line[..line.len() - 1].to_owned(),
        format!("{line}A"),
        format!("{line} x"),
        line.replace("#@ session", "#@ Session"),
        line.replace("#@ session", "#@session"),
        format!("{}*{}", &line[..30], &line[31..]),
        line.replace(" alice ", " bob "),
        line.replace(" alice ", " "),
    ] {
        fs::write(&scene.path, good.replace(line, &other)).unwrap();
        assert!(kept(&scene.path, b"alice").is_empty(), "{other}");
        assert!(kept(&scene.path, b"bob").is_empty(), "{other}");
        // And is no hindrance to the next one.
        save(&scene.path, b"alice", session(2), 4);
        assert_eq!(kept(&scene.path, b"alice"), [session(2)], "{other}");
    }
}

#[test]
fn lines_of_sessions_close_nothing_however_many_other_lines_there_are() {
    let apps: String = (0..WAYS_MAX)
        .map(|i| format!("#@ app alice {i} sha256:{}:{}\n", "0".repeat(32), "0".repeat(64)))
        .collect();
    for scene in scenes(&format!("{apps}HOTP alice - KEY\n")) {
        for number in 1..=16 {
            save(&scene.path, b"alice", session(number), 16);
        }
        let ways = UsersFile::new(&scene.path).find(b"alice").unwrap().entry.ways.clone();
        assert!(ways.apps.len() == WAYS_MAX && !ways.always.pin && ways.sessions.len() == 16);
        // One more, and none is read: nothing is kept, and nothing is written.
        let more = content(&scene.path)
            + &format!("#@ app alice more sha256:{}:{}\n", "0".repeat(32), "0".repeat(64));
        fs::write(&scene.path, &more).unwrap();
        save(&scene.path, b"alice", session(17), 16);
        assert!(kept(&scene.path, b"alice").is_empty());
        assert!(content(&scene.path) == more);
    }
}

#[test]
fn a_server_that_has_read_a_user_notices_sessions_that_others_save_and_end() {
    for scene in scenes("HOTP alice - KEY\n") {
        let users = UsersFile::new(&scene.path);
        assert!(users.find(b"alice").unwrap().entry.ways.sessions.is_empty());
        for number in 1..=3 {
            save(&scene.path, b"alice", session(number), 4);
            assert_eq!(
                users.find(b"alice").unwrap().entry.ways.sessions.len(),
                usize::from(number)
            );
        }
        step(&scene.path, b"alice", |transaction| {
            transaction.end_sessions(b"alice", &|_| true);
        });
        assert!(users.find_now(b"alice", None).unwrap().entry.ways.sessions.is_empty());
    }
}

fn secret_at(path: &Path) -> std::path::PathBuf {
    path.with_extension("secret")
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().mode() & 0o7777
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn the_secret_is_made_by_who_needs_it_first_and_is_the_same_for_everybody_and_at_hand_from_then_on()
{
    for mode_of_users in [0o600, 0o660, 0o664, 0o644] {
        let scene = Scene::new("HOTP alice - KEY\n");
        set_mode(&scene.path, mode_of_users);
        let users = UsersFile::new(&scene.path);
        users.find(b"alice").unwrap();
        assert!(users.secret_now().is_none() && !secret_at(&scene.path).exists());
        let made = users.secret().unwrap();
        let stored = fs::read(secret_at(&scene.path)).unwrap();
        assert_eq!(stored, [b"OTPSECR1", &made.0[..]].concat());
        assert_eq!(mode(&secret_at(&scene.path)), mode_of_users & 0o660);
        assert!(users.secret().unwrap().0 == made.0);
        assert!(users.secret_now().unwrap().0 == made.0);
        let other = UsersFile::new(&scene.path);
        other.find(b"alice").unwrap();
        assert!(other.secret_now().unwrap().0 == made.0);
        assert_ne!(*made.0, [0; 32]);
    }
}

#[test]
fn a_file_that_isnt_a_whole_secret_of_ours_is_refused_and_logins_go_on() {
    let whole = [&b"OTPSECR1"[..], &[7; 32]].concat();
    let longer = [&whole[..], b"x"].concat();
    let other = [&b"OTPSECR2"[..], &[7; 32]].concat();
    for content in [&b""[..], &whole[..39], &longer, &other] {
        let scene = Scene::new("HOTP alice - KEY\n");
        fs::write(secret_at(&scene.path), content).unwrap();
        set_mode(&secret_at(&scene.path), mode(&scene.path) & 0o660);
        let users = UsersFile::new(&scene.path);
        let refused = users.secret().unwrap_err().to_string();
        assert!(
            refused.contains("users.secret: it isn't a secret that otpgate has made; remove it"),
            "{refused}"
        );
        assert!(users.secret_now().is_none());
        assert_eq!(fs::read(secret_at(&scene.path)).unwrap(), content, "left alone");
        assert!(secret::renew(&scene.path).is_err());
        assert_eq!(users.find(b"alice").unwrap().entry.lines.len(), 1);
    }
    let scene = Scene::new("HOTP alice - KEY\n");
    fs::write(scene.directory.path().join("elsewhere"), &whole).unwrap();
    std::os::unix::fs::symlink("elsewhere", secret_at(&scene.path)).unwrap();
    assert!(UsersFile::new(&scene.path).secret().is_err());
    fs::remove_file(secret_at(&scene.path)).unwrap();
    fs::create_dir(secret_at(&scene.path)).unwrap();
    assert!(UsersFile::new(&scene.path).secret().is_err());
}

#[test]
fn a_secret_that_others_could_read_is_nobodys_any_more() {
    let scene = Scene::new("HOTP alice - KEY\n");
    set_mode(&scene.path, 0o660);
    let first = UsersFile::new(&scene.path).secret().unwrap();
    for wider in [0o664, 0o662] {
        set_mode(&secret_at(&scene.path), wider);
        let users = UsersFile::new(&scene.path);
        users.find(b"alice").unwrap();
        assert!(users.secret_now().is_none());
        let second = users.secret().unwrap();
        assert!(second.0 != first.0 && mode(&secret_at(&scene.path)) == 0o660);
        let notices = users.notices().join("");
        assert!(notices.contains("a new one was made"), "{notices}");
    }
}

#[test]
fn a_secret_that_was_removed_or_could_be_read_by_others_is_forgotten_by_all_who_have_read_it() {
    type Loss = fn(&Path);
    let losses: [Loss; 2] = [|path| fs::remove_file(path).unwrap(), |path| set_mode(path, 0o664)];
    for lose in losses {
        let scene = Scene::new("HOTP alice - KEY\n");
        set_mode(&scene.path, 0o660);
        let [one, other] = [(); 2].map(|()| UsersFile::new(&scene.path));
        let before = one.secret().unwrap();
        one.find(b"alice").unwrap();
        until_the_clock_has_moved_on(&scene);
        one.find_now(b"alice", None).unwrap();
        lose(&secret_at(&scene.path));
        let after = other.secret().unwrap();
        assert!(after.0 != before.0);
        assert!(one.secret().unwrap().0 == after.0, "two processes have two secrets");
    }
}

/// By as much as it takes for a reader to go by the file's time alone.
fn until_the_clock_has_moved_on(scene: &Scene) {
    let now = scene.directory.path().join("now");
    let time = |path: &Path| {
        let metadata = fs::metadata(path).unwrap();
        i128::from(metadata.ctime()) * 1_000_000_000 + i128::from(metadata.ctime_nsec())
    };
    while {
        fs::write(&now, "").unwrap();
        fs::set_permissions(&now, fs::Permissions::from_mode(0o600)).unwrap();
        time(&now) < time(&scene.path) + 100_000_000
    } {
        std::thread::yield_now();
    }
}

#[test]
fn when_all_are_logged_out_running_servers_see_another_secret_and_no_session_at_once() {
    for has_sessions in [false, true] {
        let scene = Scene::new("HOTP alice - KEY\nHOTP bob - KEY\n");
        if has_sessions {
            save(&scene.path, b"alice", session(1), 4);
            save(&scene.path, b"bob", session(2), 4);
        }
        let users = UsersFile::new(&scene.path);
        let before = users.secret().unwrap();
        users.find(b"alice").unwrap();
        let lines = content(&scene.path);
        until_the_clock_has_moved_on(&scene);
        users.find_now(b"alice", None).unwrap();
        let ended = secret::renew(&scene.path).unwrap();
        assert_eq!(ended.sessions, if has_sessions { 2 } else { 0 });
        assert!(users.find(b"alice").unwrap().entry.ways.sessions.is_empty());
        let after = users.secret_now().unwrap();
        assert!(after.0 != before.0);
        assert!(UsersFile::new(&scene.path).secret().unwrap().0 == after.0);
        assert_eq!(content(&scene.path).len(), lines.len());
        assert!(kept(&scene.path, b"bob").is_empty());
    }
}

/// Whom an admin changes, and how many of three sessions are left: of two tokens, one each, and one
/// of a token that isn't there any more.
#[test]
fn what_an_admin_changes_of_a_token_ends_its_sessions_for_good() {
    let pin = || Secret::new(b"1234".to_vec());
    let token = |path: &Path, line: usize| {
        let found = UsersFile::new(path).find(b"alice").unwrap();
        TokenTag::of(&found.entry.lines[line].token.fingerprint)
    };
    for (what, amendments, user, left) in [
        ("disable", vec![Amendment::Disable(0, true)], "alice", vec![2]),
        (
            "disable and enable",
            vec![Amendment::Disable(0, true), Amendment::Disable(0, false)],
            "alice",
            vec![1, 2],
        ),
        ("another PIN", vec![Amendment::SetPin(1, pin())], "alice", vec![1]),
        ("another key", vec![Amendment::SetKey(1, pin())], "alice", vec![1]),
        ("remove one", vec![Amendment::Remove(1)], "alice", vec![1]),
        ("rename", vec![Amendment::Rename(b"carol".to_vec())], "carol", vec![]),
        ("remove all", vec![Amendment::Remove(0), Amendment::Remove(1)], "alice", vec![]),
        ("nothing of it", vec![Amendment::StartPin(None)], "alice", vec![1, 2]),
    ] {
        let scene = Scene::new("HOTP alice - KEY\nHOTP/T30 alice - KEY\nHOTP bob - KEY\n");
        for (number, line) in [(1, 0), (2, 1)] {
            let session = Session { token: token(&scene.path, line), ..session(number) };
            save(&scene.path, b"alice", session, 4);
        }
        save(&scene.path, b"alice", session(3), 4);
        save(&scene.path, b"bob", session(4), 4);
        let users = UsersFile::new(&scene.path);
        users.amend(Whom::Users(&[b"alice"]), &mut |_| Some(amendments.clone())).unwrap();
        let numbers: Vec<u8> =
            kept(&scene.path, user.as_bytes()).iter().map(|session| session.id.0[0]).collect();
        assert_eq!(numbers, left, "{what}");
        assert_eq!(kept(&scene.path, b"bob"), [session(4)], "{what}");
        let lines = content(&scene.path).matches(&format!("#@ session {user} ")).count();
        assert_eq!(lines, usize::from(what != "remove all"), "{what}");
        // And back: nothing is inherited.
        if what == "disable" {
            users
                .amend(Whom::Users(&[b"alice"]), &mut |_| Some(vec![Amendment::Disable(0, false)]))
                .unwrap();
            assert_eq!(kept(&scene.path, b"alice").len(), 1);
        }
    }
}

#[test]
fn a_new_user_gets_lines_where_others_have_some_and_nothing_of_an_earlier_user_of_the_name() {
    let token = NewToken {
        algorithm: Algorithm::Hotp(Hash::Sha256),
        factor: MovingFactor::Event,
        digits: Digits::SIX,
        pin: Secret::new(b"-".to_vec()),
        key: Secret::new(vec![0x22]),
        state: State::fresh(),
    };
    let scene = Scene::new("HOTP alice - KEY\nHOTP bob - KEY\n");
    let add = |user: &[u8], amendments: Vec<Amendment>| {
        let users = UsersFile::new(&scene.path);
        users.amend(Whom::Users(&[user]), &mut |_| Some(amendments.clone())).unwrap();
    };
    add(b"carol", vec![Amendment::Add(token.clone())]);
    assert!(!content(&scene.path).contains("#@"));
    save(&scene.path, b"bob", session(1), 8);
    let rewritten = lines_by_user(&content(&scene.path)).len();
    assert_eq!(rewritten, 3);
    add(b"dora", vec![Amendment::Add(token.clone()), Amendment::Add(token.clone())]);
    add(b"bob", vec![Amendment::Remove(0)]);
    add(b"bob", vec![Amendment::Add(token.clone())]);
    add(b"alice", vec![Amendment::Add(token)]);
    let written = content(&scene.path);
    let count = |user: &str| written.matches(&format!("#@ session {user} ")).count();
    assert_eq!(["alice", "bob", "carol", "dora"].map(count), [2, 2, 2, 2], "{written}");
    let before = inode(&scene.path);
    save(&scene.path, b"dora", session(2), 8);
    assert!(kept(&scene.path, b"bob").is_empty());
    assert_eq!((inode(&scene.path), kept(&scene.path, b"dora")), (before, vec![session(2)]));
}

#[test]
fn check_tells_of_lines_that_are_of_no_use_and_mends_a_wrong_sum() {
    let scene = Scene::new("HOTP alice - KEY\nHOTP bob - KEY\n");
    save(&scene.path, b"alice", session(1), 4);
    UsersFile::new(&scene.path).secret().unwrap();
    let findings = || {
        let mut findings = Vec::new();
        check::all_lines(&scene.path, &mut |finding| findings.push(finding.text)).unwrap();
        let today = jiff::civil::date(2026, 12, 1);
        findings
            .extend(check::repetitions(&scene.path, today).unwrap().into_iter().map(|it| it.text));
        findings.join("\n").replace(scene.path.to_str().unwrap(), "users")
    };
    let good = content(&scene.path);
    assert_eq!(
        findings(),
        "users line 1: the key of \"alice\" is also the key of \"bob\" in line 3: whoever has one token has all of them; `otpgate rekey \"bob\"`"
    );
    let line = good.lines().find(|line| line.contains("session alice")).unwrap();
    let other = line.replace(" alice ", " carol ");
    for (lines, text) in [
        (
            good.replace(line, &other),
            "users line 2: #@ session: its checksum is wrong: it keeps no login",
        ),
        (
            good.replace(line, &other),
            "users line 2: #@ session: \"carol\" is not listed: it has no effect",
        ),
        (
            good.replace(line, &line[..line.len() - 2]),
            "users line 2: #@ session: the places are 176 characters, not 178; it keeps no login until it is removed or corrected",
        ),
        (
            good.replace(line, &[line; 5].join("\n")),
            "users line 6: #@ session: \"alice\" has 4 such lines already, and no more are read",
        ),
    ] {
        fs::write(&scene.path, lines).unwrap();
        let findings = findings();
        assert!(findings.contains(text), "{findings}");
    }
    fs::write(&scene.path, line.replace("alice", "bob") + "\n" + &good).unwrap();
    assert_eq!(edit::mend(&scene.path, AT).unwrap().sums, 1);
    assert!(!findings().contains("checksum") && kept(&scene.path, b"bob").is_empty());
    assert_eq!(kept(&scene.path, b"alice"), [session(1)]);
}

#[test]
fn check_tells_of_sessions_whose_secret_is_missing_or_was_open_to_others() {
    let scene = Scene::new("HOTP alice - KEY\n");
    let findings = || {
        let of_lines = check::lines(&scene.path).unwrap().findings;
        let mut all = Vec::new();
        check::all_lines(&scene.path, &mut |finding| all.push(finding.text)).unwrap();
        let found: Vec<String> = of_lines.into_iter().map(|finding| finding.text).collect();
        assert_eq!(found, all);
        let of_access = check::access(&scene.path).into_iter().map(|finding| finding.text);
        found.into_iter().chain(of_access).filter(|text| text.contains("users.secret")).collect()
    };
    // Whoever keeps no sessions needs none.
    let none: [String; 0] = [];
    assert_eq!(findings(), none);
    save(&scene.path, b"alice", session(1), 4);
    let found: Vec<String> = findings();
    assert!(
        found.len() == 1 && found[0].contains("is missing, so the cookies of all"),
        "{found:?}"
    );
    // The next login makes it.
    UsersFile::new(&scene.path).secret().unwrap();
    assert_eq!(findings(), none);
    set_mode(&secret_at(&scene.path), 0o644);
    let found: Vec<String> = findings();
    assert!(found.len() == 1 && found[0].contains("others may have read"), "{found:?}");
    fs::remove_file(secret_at(&scene.path)).unwrap();
    step(&scene.path, b"alice", |transaction| transaction.end_sessions(b"alice", &|_| true));
    assert_eq!(findings(), none, "there is a line for sessions, and no session in it");
}

#[test]
fn a_computer_is_kept_beside_sessions_in_one_rewrite_and_then_nothing_moves() {
    for scene in scenes("HOTP alice - KEY\nHOTP bob - KEY 5\nHOTP alice - KEYKEY\n") {
        let before = inode(&scene.path);
        step(&scene.path, b"alice", |transaction| {
            transaction.save_session(b"alice", session(1), 4);
            transaction.save_computer(b"alice", computer(1));
        });
        let (rewritten, first) = (inode(&scene.path), content(&scene.path));
        assert_ne!(before, rewritten);
        for kind in ["session", "computer"] {
            for user in ["alice", "bob"] {
                let lines = first.matches(&format!("#@ {kind} {user} ")).count();
                assert_eq!(lines, 1, "{kind} {user}");
            }
        }
        // Everybody's next ones are put where there is room, in the same step as their session.
        for number in 2..=4 {
            for user in [&b"alice"[..], b"bob"] {
                step(&scene.path, user, |transaction| {
                    transaction.save_session(user, session(number), 4);
                    transaction.save_computer(user, computer(number));
                });
            }
        }
        assert_eq!((inode(&scene.path), content(&scene.path).len()), (rewritten, first.len()));
        assert_eq!(computers(&scene.path, b"alice"), [1, 2, 3, 4].map(computer));
        assert_eq!(kept(&scene.path, b"alice"), [1, 2, 3, 4].map(session));
        assert_eq!(computers(&scene.path, b"bob"), [2, 3, 4].map(computer));
        // Over itself, then over the one that was trusted first.
        let used = Computer { generation: 4096, unseen: 63, last: AT + 5000, ..computer(2) };
        trust(&scene.path, b"alice", used);
        trust(&scene.path, b"alice", computer(5));
        assert_eq!(computers(&scene.path, b"alice"), [computer(5), used, computer(3), computer(4)]);
        step(&scene.path, b"alice", |transaction| {
            transaction.end_computers(b"alice", &|computer| computer.unseen == 63);
        });
        assert_eq!(computers(&scene.path, b"alice"), [5, 3, 4].map(computer));
        assert_eq!((inode(&scene.path), content(&scene.path).len()), (rewritten, first.len()));
        assert_eq!(kept(&scene.path, b"alice").len(), 4, "sessions are left alone");
    }
}

#[test]
fn a_computer_that_comes_after_sessions_gives_everybody_a_line_once() {
    let scene = Scene::new("HOTP alice - KEY\nHOTP bob - KEY\n");
    save(&scene.path, b"bob", session(1), 4);
    let before = inode(&scene.path);
    trust(&scene.path, b"alice", computer(1));
    let rewritten = inode(&scene.path);
    assert_ne!(before, rewritten);
    trust(&scene.path, b"bob", computer(2));
    save(&scene.path, b"alice", session(2), 4);
    assert_eq!(inode(&scene.path), rewritten);
    assert_eq!(kept(&scene.path, b"bob"), [session(1)]);
    assert_eq!(content(&scene.path).matches("#@ ").count(), 4);
}

#[test]
fn lines_of_computers_with_a_fault_hold_none_and_are_told_of() {
    let scene = Scene::new("HOTP alice - KEY\nHOTP bob - KEY\n");
    trust(&scene.path, b"alice", computer(1));
    let good = content(&scene.path);
    let word = good.lines().find_map(|line| line.strip_prefix("#@ computer alice ")).unwrap();
    let session_word = {
        let scene = Scene::new("HOTP alice - KEY\n");
        save(&scene.path, b"alice", session(1), 4);
        let content = content(&scene.path);
        content.lines().find_map(|line| line.strip_prefix("#@ session alice ")).unwrap().to_owned()
    };
    for (other, is_torn) in [
        (word.replacen(&word[..1], if word.starts_with('A') { "B" } else { "A" }, 1), true),
        // The words of the other kind have a sum of their own.
        (session_word, true),
        (word[1..].to_owned(), false),
        (format!("{word}."), false),
        (word.replacen('.', "!", 1), false),
    ] {
        fs::write(&scene.path, good.replace(word, &other)).unwrap();
        let found = UsersFile::new(&scene.path).find(b"alice").unwrap();
        assert!(found.entry.ways.computers.is_empty(), "{other}");
        assert_eq!(found.entry.ways.torn_places, is_torn, "{other}");
        let mut findings = Vec::new();
        check::all_lines(&scene.path, &mut |finding| findings.push(finding.text)).unwrap();
        assert!(findings.iter().any(|text| text.contains("#@ computer")), "{other}: {findings:?}");
    }
    // Somebody else's line is nobody's.
    fs::write(&scene.path, good.replace("#@ computer alice", "#@ computer bob")).unwrap();
    assert!(
        computers(&scene.path, b"bob").is_empty() && computers(&scene.path, b"alice").is_empty()
    );
}

#[test]
fn another_secret_ends_all_computers() {
    let scene = Scene::new("HOTP alice - KEY\nHOTP bob - KEY\n");
    trust(&scene.path, b"alice", computer(1));
    trust(&scene.path, b"bob", computer(2));
    save(&scene.path, b"bob", session(2), 4);
    let ended = secret::renew(&scene.path).unwrap();
    assert_eq!((ended.sessions, ended.computers), (1, 2));
    assert!(
        computers(&scene.path, b"alice").is_empty() && computers(&scene.path, b"bob").is_empty()
    );
}
