//! The users file as a store, through the gate: what is written, what is noticed, what survives a
//! crash. Several gates on one file stand for several processes: each opens its locks for itself.

#[path = "common/scene.rs"]
mod scene;

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier};
use std::time::Duration;

use otpgate::UnixTime;
use otpgate::decide::{LoginResult, Verdict};
use otpgate::gate::{Gate, Login};
use otpgate::policy::{Policy, Server, Settings};
use otpgate::store::{Found, LoopTurn, Reach, Store, StoreError, Transaction, TriesError};
use otpgate::throttle::Bytes;
use otpgate::token::{Address, CounterField, ReplayFloor, State};
use otpgate::users::file::UsersFile;
use otpgate::users::shared_index::SHARED_FROM;
use otpgate::users::slot;
use scene::{KEY, Lines, NoPins, Scene};

const CODES: [&str; 6] = ["755224", "287082", "359152", "969429", "338314", "254676"];
const NOW: UnixTime = 1_700_000_000;

fn policy() -> Policy {
    Policy { max_linger: Some(0), ..Settings::default().policy(Server::Apache) }
}

fn gate_at(path: &Path) -> Gate<UsersFile> {
    Gate::new(UsersFile::new(path), || NOW).unwrap()
}

fn login(
    gate: &Gate<UsersFile>,
    policy: &Policy,
    user: &str,
    password: &str,
) -> (Verdict, LoginResult, String) {
    let login = Login {
        user: user.as_bytes(),
        password: password.as_bytes(),
        address: Address::of_client(Some("192.0.2.7".parse().unwrap())),
    };
    let log = Lines::default();
    let answer = gate.basic(policy, &login, &NoPins, None, &log);
    (answer.verdict, answer.word, log.texts().into_iter().map(|line| line + "\n").collect())
}

fn word(gate: &Gate<UsersFile>, user: &str, password: &str) -> LoginResult {
    login(gate, &policy(), user, password).1
}

impl Scene {
    fn gate(&self) -> Gate<UsersFile> {
        gate_at(&self.path)
    }

    fn read(&self) -> String {
        String::from_utf8(fs::read(&self.path).unwrap()).unwrap()
    }

    fn write(&self, content: &str) {
        fs::write(&self.path, content.replace("KEY", KEY)).unwrap();
    }

    fn replace(&self, content: &str) {
        let new = self.directory.path().join("new");
        fs::write(&new, content.replace("KEY", KEY)).unwrap();
        fs::rename(new, &self.path).unwrap();
    }

    /// The fields of a user's first line.
    fn fields(&self, user: &str) -> Vec<String> {
        let content = self.read();
        let line =
            content.lines().find(|line| line.split_whitespace().nth(1) == Some(user)).unwrap();
        line.split_whitespace().map(str::to_owned).collect()
    }

    fn slot_range(&self, user: &str) -> std::ops::Range<usize> {
        let content = self.read();
        let text =
            content.split('\n').find(|line| line.split_whitespace().nth(1) == Some(user)).unwrap();
        let line = text.as_ptr() as usize - content.as_ptr() as usize;
        let record =
            otpgate::users::record::parse(text.as_bytes(), &jiff::tz::TimeZone::UTC).unwrap();
        let start = line + record.layout.slot.expect("a slot");
        start..start + slot::LEN
    }
}

const MIXED: &str = "# the users\r\n\n  \nHOTP alice 1234 KEY\nhotp/e/6\tbob\t-\tKEY 0   0\r\nT carol - KEY -2 3 000000 2023-01-01T00:00:00L 192.0.2.1 and more words\nbroken line\nHOTP dave - KEY";

#[test]
fn the_first_write_gives_every_line_a_slot_and_changes_no_other_byte() {
    let scene = Scene::new(MIXED);
    assert_eq!(word(&scene.gate(), "alice", "1234755224"), LoginResult::GrantedFresh);
    let after = scene.read();
    let lines: Vec<&str> = after.split('\n').collect();
    assert_eq!(lines[..3], ["# the users\r", "", "  "]);
    assert_eq!(lines[6], "broken line");
    assert!(lines[3].starts_with(&format!("HOTP alice 1234 {KEY} 1 ")));
    assert!(
        lines[4].starts_with(&format!("hotp/e/6\tbob\t-\t{KEY} 0 ")) && lines[4].ends_with('\r')
    );
    assert!(
        lines[5].starts_with(&format!("T carol - {KEY} -2 "))
            && lines[5].ends_with(" and more words")
    );
    assert!(!after.ends_with('\n'), "a missing final newline stays missing");
    assert_eq!(scene.fields("carol")[5..9], ["3", "000000", "2023-01-01T00:00:00L", "192.0.2.1"]);
    assert!(scene.fields("carol")[9].starts_with('@'));
    for user in ["alice", "bob", "carol", "dave"] {
        scene.slot_range(user);
    }
}

#[test]
fn later_writes_touch_the_slot_alone() {
    let scene = Scene::new(MIXED);
    let gate = scene.gate();
    word(&gate, "alice", "1234755224");
    let (before, inode) = (scene.read(), fs::metadata(&scene.path).unwrap().ino());
    assert_eq!(word(&gate, "dave", "755224"), LoginResult::GrantedFresh);
    let (after, slot) = (scene.read(), scene.slot_range("dave"));
    assert_eq!(fs::metadata(&scene.path).unwrap().ino(), inode);
    assert_eq!(before[..slot.start], after[..slot.start]);
    assert_eq!(before[slot.end..], after[slot.end..]);
    assert_ne!(before[slot.clone()], after[slot]);
}

#[test]
fn mode_owner_and_symlink_stay() {
    let scene = Scene::new("HOTP alice - KEY\n");
    fs::set_permissions(&scene.path, fs::Permissions::from_mode(0o640)).unwrap();
    let link = scene.directory.path().join("link");
    symlink(&scene.path, &link).unwrap();
    let before = fs::metadata(&scene.path).unwrap();
    let gate = gate_at(&link);
    for code in CODES {
        assert_eq!(word(&gate, "alice", code), LoginResult::GrantedFresh);
    }
    let after = fs::metadata(&scene.path).unwrap();
    assert_eq!(
        (after.mode(), after.uid(), after.gid()),
        (before.mode(), before.uid(), before.gid())
    );
    assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    for companion in ["users.lock", "link.lock", "users.journal"] {
        let metadata = fs::metadata(scene.directory.path().join(companion)).unwrap();
        assert_eq!(metadata.mode() & 0o7777, 0o640, "{companion}");
    }
}

#[test]
fn a_file_with_a_second_name_grants_nobody_and_the_log_says_what_to_do() {
    let scene = Scene::new(MIXED);
    let other = scene.directory.path().join("other-name");
    fs::hard_link(&scene.path, &other).unwrap();
    let before = scene.read();
    let (verdict, _, log) = login(&scene.gate(), &policy(), "alice", "1234755224");
    assert_eq!((verdict, scene.read()), (Verdict::Error, before));
    assert!(
        log.contains("several names (hard links)") && log.contains("remove the other names"),
        "{log}"
    );
    // An unlisted name isn't passed on either.
    assert_eq!(word(&scene.gate(), "nobody", "x"), LoginResult::Error);
    fs::remove_file(other).unwrap();
    assert_eq!(word(&scene.gate(), "alice", "1234755224"), LoginResult::GrantedFresh);
}

#[test]
fn one_fresh_grant_among_threads_and_gates() {
    let scene = Scene::new("HOTP alice - KEY\nHOTP bob - KEY\n");
    let gates: Vec<_> = (0..4).map(|_| Arc::new(scene.gate())).collect();
    for code in CODES {
        let barrier = Arc::new(Barrier::new(32));
        let threads: Vec<_> = (0..32)
            .map(|i| {
                let (gate, barrier) = (gates[i % 4].clone(), barrier.clone());
                std::thread::spawn(move || {
                    barrier.wait();
                    word(&gate, "alice", code)
                })
            })
            .collect();
        let words: Vec<LoginResult> =
            threads.into_iter().map(|thread| thread.join().unwrap()).collect();
        let fresh = words.iter().filter(|word| **word == LoginResult::GrantedFresh).count();
        assert_eq!(fresh, 1, "{words:?}");
        assert!(
            words
                .iter()
                .all(|word| matches!(word, LoginResult::GrantedFresh | LoginResult::DeniedExpired)),
            "{words:?}"
        );
    }
    assert_eq!(scene.fields("alice")[4..6], ["6", "0"]);
}

/// A users file on a disk whose sync takes its time; counts how often it is written. The first sync
/// doesn't end before all logins have begun.
struct SlowDisk {
    users: UsersFile,
    begun: AtomicUsize,
    rounds: AtomicUsize,
}

impl Store for SlowDisk {
    fn name(&self) -> String {
        self.users.name()
    }

    fn find(&self, user: &[u8]) -> Result<Arc<Found>, StoreError> {
        self.begun.fetch_add(1, Ordering::Relaxed);
        self.users.find(user)
    }

    fn find_now(&self, user: &[u8], turn: LoopTurn) -> Option<Arc<Found>> {
        self.users.find_now(user, turn)
    }

    fn reach(&self) -> Reach {
        self.users.reach()
    }

    fn update(
        &self,
        step: &mut dyn FnMut(&mut dyn Transaction) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        self.rounds.fetch_add(1, Ordering::Relaxed);
        self.users.update(step)?;
        while self.begun.load(Ordering::Relaxed) < 20 {
            std::thread::yield_now();
        }
        std::thread::sleep(Duration::from_millis(50));
        Ok(())
    }

    fn tries(
        &self,
        work: &mut dyn FnMut(&mut dyn Bytes) -> std::io::Result<()>,
    ) -> Result<(), TriesError> {
        self.users.tries(work)
    }
}

#[test]
fn logins_that_wait_together_share_a_sync() {
    let users: String = (0..20).map(|i| format!("HOTP user{i} - KEY\n")).collect();
    let scene = Scene::new(&users);
    word(&scene.gate(), "user0", CODES[0]);
    let store = SlowDisk {
        users: UsersFile::new(&scene.path),
        begun: AtomicUsize::new(0),
        rounds: AtomicUsize::new(0),
    };
    let gate = Gate::new(store, || NOW).unwrap();
    let barrier = Barrier::new(20);
    std::thread::scope(|threads| {
        for i in 0..20 {
            let (gate, barrier) = (&gate, &barrier);
            threads.spawn(move || {
                let user = format!("user{i}");
                let login = Login {
                    user: user.as_bytes(),
                    password: CODES[1].as_bytes(),
                    address: Address::Unknown,
                };
                barrier.wait();
                let answer = gate.basic(&policy(), &login, &NoPins, None, &Lines::default());
                assert_eq!(answer.word, LoginResult::GrantedFresh);
            });
        }
    });
    // The first comes alone; all others come while it syncs.
    let rounds = gate.store().rounds.load(Ordering::Relaxed);
    assert!(rounds <= 3, "{rounds} rounds for 20 logins");
}

#[test]
fn a_limit_of_five_lets_five_be_tried() {
    let scene = Scene::new("HOTP alice - KEY\n");
    let policy = Policy { max_failures: 5, ..policy() };
    let gates: Vec<_> = (0..4).map(|_| Arc::new(scene.gate())).collect();
    let threads: Vec<_> = (0..64)
        .map(|i| {
            let gate = gates[i % 4].clone();
            std::thread::spawn(move || login(&gate, &policy, "alice", "000000").1)
        })
        .collect();
    let words: Vec<LoginResult> =
        threads.into_iter().map(|thread| thread.join().unwrap()).collect();
    assert_eq!(words.iter().filter(|word| **word == LoginResult::DeniedCode).count(), 5);
    assert_eq!(words.iter().filter(|word| **word == LoginResult::DeniedLocked).count(), 59);
    assert_eq!(scene.fields("alice")[5], "5");
}

fn every_kind_of_edit_is_noticed_at_once(others: &str) {
    let scene = Scene::new(&format!("HOTP alice - KEY\n{others}"));
    let gate = scene.gate();
    assert_eq!(word(&gate, "alice", CODES[0]), LoginResult::GrantedFresh);
    assert_eq!(word(&gate, "bob", CODES[0]), LoginResult::Unknown);

    scene.write(&(scene.read() + "HOTP bob - KEY\n"));
    assert_eq!(word(&gate, "bob", CODES[0]), LoginResult::GrantedFresh, "appended");
    scene.replace(&(scene.read() + "HOTP carol - KEY\n"));
    assert_eq!(word(&gate, "carol", CODES[0]), LoginResult::GrantedFresh, "replaced");
    let content = scene.read();
    scene.replace(&content.replace(" bob ", " bop "));
    assert_eq!(word(&gate, "bob", CODES[1]), LoginResult::Unknown, "renamed, replaced, same size");
    assert_eq!(word(&gate, "bop", CODES[1]), LoginResult::GrantedFresh);
    overwrite(&scene.path, &scene.read().replace(" bop ", " bip "));
    assert_eq!(word(&gate, "bop", CODES[2]), LoginResult::Unknown, "renamed in place, same size");
    assert_eq!(word(&gate, "bip", CODES[2]), LoginResult::GrantedFresh);
    let without_alice: String = scene
        .read()
        .lines()
        .filter(|line| !line.contains(" alice "))
        .map(|line| format!("{line}\n"))
        .collect();
    scene.write(&without_alice);
    assert_eq!(word(&gate, "alice", CODES[1]), LoginResult::Unknown, "removed in place");
    scene.write("");
    assert_eq!(word(&gate, "carol", CODES[1]), LoginResult::Unknown, "truncated");
    scene.write(&content);
    assert_eq!(word(&gate, "bob", CODES[1]), LoginResult::GrantedFresh, "restored");
    fs::remove_file(&scene.path).unwrap();
    let (verdict, _, log) = login(&gate, &policy(), "bob", CODES[2]);
    assert_eq!(verdict, Verdict::Error);
    assert!(log.contains("cannot find") && log.contains("otpgate init"), "{log}");
}

#[test]
fn every_kind_of_edit_of_a_small_file_is_noticed_at_once() {
    every_kind_of_edit_is_noticed_at_once("");
}

#[test]
fn every_kind_of_edit_of_a_large_file_is_noticed_at_once() {
    every_kind_of_edit_is_noticed_at_once(&other_users());
}

/// So many that processes share an index.
fn other_users() -> String {
    let line = |i| format!("HOTP/T30/6 other-user-{i:05} {:a>64} {KEY}\n", "");
    let lines: String = (0..10_000).map(line).collect();
    assert!(lines.len() as u64 > SHARED_FROM);
    lines
}

/// An edit that keeps inode and size, and comes so soon after the last look that its time may be
/// the same.
#[test]
fn edits_in_the_same_tick_are_noticed() {
    for others in [String::new(), other_users()] {
        let scene = Scene::new(&format!("HOTP alice - KEY\n{others}"));
        let gates = [scene.gate(), scene.gate()];
        let names = ["alice", "carol"];
        for round in 0..20 {
            let name = names[round % 2];
            overwrite(&scene.path, &format!("HOTP {name} - {KEY}\n{others}"));
            for gate in &gates {
                let found = gate.store().find(name.as_bytes()).unwrap();
                assert_eq!(found.entry.lines.len(), 1, "round {round}");
                let other = gate.store().find(names[(round + 1) % 2].as_bytes()).unwrap();
                assert_eq!(other.entry.lines.len(), 0, "round {round}");
            }
        }
    }
}

/// A large file, and a place to keep copies of its index.
fn large_scene() -> (Scene, PathBuf) {
    let scene = Scene::new(&format!("HOTP alice - KEY\n{}HOTP bob - KEY\n", other_users()));
    let index = scene.directory.path().join("users.index");
    (scene, index)
}

fn assert_all_are_found(gate: &Gate<UsersFile>, context: &str) {
    for name in ["alice", "bob", "other-user-00000", "other-user-09999"] {
        assert_eq!(
            gate.store().find(name.as_bytes()).unwrap().entry.lines.len(),
            1,
            "{context}: {name}"
        );
    }
    for name in ["nobody", "other-user-10000", ""] {
        assert!(
            gate.store().find(name.as_bytes()).unwrap().entry.lines.is_empty(),
            "{context}: {name}"
        );
    }
}

#[test]
fn an_index_is_built_once_for_all_processes_and_for_as_long_as_no_line_moves() {
    let (scene, index) = large_scene();
    assert_eq!(word(&scene.gate(), "alice", CODES[0]), LoginResult::GrantedFresh);
    let first = scene.gate();
    assert_all_are_found(&first, "built");
    let built = fs::read(&index).unwrap();
    let mode = |path| fs::metadata(path).unwrap().mode() & 0o7777;
    assert_eq!(mode(&index), mode(&scene.path));
    for code in &CODES[1..] {
        let next = scene.gate();
        assert_eq!(word(&next, "alice", code), LoginResult::GrantedFresh);
        assert_eq!(word(&first, "alice", code), LoginResult::DeniedExpired);
        assert_all_are_found(&next, code);
        assert_all_are_found(&first, code);
    }
    assert!(fs::read(&index).unwrap() == built, "it was built again");
    scene.replace(&(scene.read() + "HOTP carol - KEY\n"));
    assert_eq!(word(&first, "carol", CODES[0]), LoginResult::GrantedFresh);
    assert!(fs::read(&index).unwrap() != built, "it is out of date");
}

#[test]
fn small_files_have_no_index_beside_them() {
    let scene = Scene::new("HOTP alice - KEY\n");
    word(&scene.gate(), "alice", CODES[0]);
    assert!(!scene.directory.path().join("users.index").exists());
}

/// Whatever becomes of the index, and whenever: nobody is unknown who is listed.
#[test]
fn a_spoilt_index_is_noticed_by_those_who_use_it_and_by_those_who_come() {
    let (scene, index) = large_scene();
    word(&scene.gate(), "alice", CODES[0]);
    let user = scene.gate();
    assert_all_are_found(&user, "built");
    let whole = fs::read(&index).unwrap();
    let middle = whole.len() / 2;
    let cut_at = |len: usize| whole[..len].to_vec();
    let zeroed = |range: std::ops::Range<usize>| {
        let mut bytes = whole.clone();
        bytes[range].fill(0);
        bytes
    };
    for (how, bytes) in [
        ("empty", cut_at(0)),
        ("cut in its header", cut_at(40)),
        ("cut after its header", cut_at(512)),
        ("cut in the middle", cut_at(middle)),
        ("without its header", zeroed(8..512)),
        ("with a hole", zeroed(512..middle)),
        ("with its entries gone and their numbers there", {
            let mut bytes = whole.clone();
            for bucket in bytes[512..].chunks_exact_mut(512) {
                bucket[8..].fill(0);
            }
            bytes
        }),
        ("with the header of one and the table of another", {
            fs::remove_file(&index).unwrap();
            assert_all_are_found(&scene.gate(), "built again");
            [&whole[..512], &fs::read(&index).unwrap()[512..]].concat()
        }),
    ] {
        // In place, under the eyes of those who have it open.
        fs::write(&index, &bytes).unwrap();
        assert_all_are_found(&user, how);
        fs::write(&index, &bytes).unwrap();
        assert_all_are_found(&scene.gate(), how);
    }
}

#[test]
fn an_index_of_another_state_of_the_file_is_not_used() {
    let (scene, index) = large_scene();
    word(&scene.gate(), "alice", CODES[0]);
    assert_all_are_found(&scene.gate(), "built");
    let old = fs::read(&index).unwrap();
    let content = scene.read();
    // The same size, so that nothing but the file's times tells.
    for edit in [Scene::replace, |scene: &Scene, content: &str| overwrite(&scene.path, content)] {
        edit(&scene, &content.replace(" bob ", " bop "));
        assert_eq!(word(&scene.gate(), "bop", "000000"), LoginResult::DeniedCode);
        fs::write(&index, &old).unwrap();
        assert_eq!(word(&scene.gate(), "bop", "000000"), LoginResult::DeniedCode, "an old index");
        assert_eq!(word(&scene.gate(), "bob", CODES[0]), LoginResult::Unknown, "an old index");
        edit(&scene, &content);
        assert_eq!(word(&scene.gate(), "bob", "000000"), LoginResult::DeniedCode);
    }
}

#[test]
fn where_no_index_can_be_shared_each_process_has_its_own() {
    let (scene, index) = large_scene();
    let elsewhere = scene.directory.path().join("elsewhere");
    let prepare: [(&str, &dyn Fn()); 4] = [
        ("a directory", &|| fs::create_dir(&index).unwrap()),
        ("a link", &|| symlink(&elsewhere, &index).unwrap()),
        ("somebody's notes", &|| fs::write(&index, "notes").unwrap()),
        ("one's that isn't there, on a file system that is full", &|| {
            symlink("/dev/full", &index).unwrap()
        }),
    ];
    for (what, prepare) in prepare {
        prepare();
        let before = fs::symlink_metadata(&index).unwrap();
        for _ in 0..2 {
            assert_all_are_found(&scene.gate(), what);
        }
        let after = fs::symlink_metadata(&index).unwrap();
        assert_eq!((before.ino(), before.len()), (after.ino(), after.len()), "{what}");
        assert!(!elsewhere.exists());
        if before.is_dir() {
            fs::remove_dir(&index).unwrap()
        } else {
            fs::remove_file(&index).unwrap()
        }
    }
}

#[test]
fn many_processes_that_start_together_build_one_index() {
    let (scene, index) = large_scene();
    for edit in 0..5 {
        scene.replace(&(scene.read() + &format!("HOTP new{edit} - KEY\n")));
        let barrier = Barrier::new(8);
        std::thread::scope(|threads| {
            for _ in 0..8 {
                threads.spawn(|| {
                    let gate = scene.gate();
                    barrier.wait();
                    let found = gate.store().find(format!("new{edit}").as_bytes()).unwrap();
                    assert_eq!(found.entry.lines.len(), 1);
                    assert_all_are_found(&gate, "at once");
                });
            }
        });
    }
    assert!(fs::metadata(&index).unwrap().len() > 10_000 * 8);
}

#[test]
fn slot_writes_of_other_processes_keep_the_index() {
    let scene = Scene::new("HOTP alice - KEY\nHOTP bob - KEY\n");
    let (one, two) = (scene.gate(), scene.gate());
    for (i, code) in CODES.iter().enumerate() {
        let (writer, reader) = if i % 2 == 0 { (&one, &two) } else { (&two, &one) };
        assert_eq!(word(writer, "alice", code), LoginResult::GrantedFresh);
        assert_eq!(word(reader, "alice", code), LoginResult::DeniedExpired);
        assert_eq!(word(reader, "nobody", code), LoginResult::Unknown);
    }
}

#[test]
fn an_unlock_by_hand_counts_though_the_checksum_is_wrong_then() {
    let scene = Scene::new("HOTP alice - KEY\n");
    let policy = Policy { max_failures: 1, ..policy() };
    let gate = scene.gate();
    assert_eq!(login(&gate, &policy, "alice", "000000").1, LoginResult::DeniedCode);
    assert_eq!(login(&gate, &policy, "alice", CODES[0]).1, LoginResult::DeniedLocked);
    let slot = scene.slot_range("alice");
    let mut content = scene.read();
    content.replace_range(slot.start + 21..slot.start + 22, "0");
    scene.write(&content);
    assert_eq!(login(&gate, &policy, "alice", CODES[0]).1, LoginResult::GrantedFresh);
}

#[test]
fn a_lock_out_counted_by_a_clock_ahead_is_saved_as_one_of_now() {
    let scene = Scene::new("HOTP alice - KEY\n");
    let policy = Policy { max_failures: 1, lockout_time: 60, ..policy() };
    let ahead = Gate::new(UsersFile::new(&scene.path), || NOW + 30 * 86_400).unwrap();
    assert_eq!(login(&ahead, &policy, "alice", "000000").1, LoginResult::DeniedCode);
    let failed = |scene: &Scene| scene.fields("alice")[9].split(',').nth(3).unwrap().to_owned();
    assert_eq!(failed(&scene), (NOW + 30 * 86_400).to_string());
    assert_eq!(login(&scene.gate(), &policy, "alice", CODES[0]).1, LoginResult::DeniedLocked);
    assert_eq!(failed(&scene), NOW.to_string(), "saved when it is first met");
    for (after, expected) in [
        ((|| NOW + 59) as fn() -> UnixTime, LoginResult::DeniedLocked),
        (|| NOW + 60, LoginResult::GrantedFresh),
    ] {
        let gate = Gate::new(UsersFile::new(&scene.path), after).unwrap();
        assert_eq!(login(&gate, &policy, "alice", CODES[0]).1, expected);
    }
}

#[test]
fn a_code_used_by_a_clock_ahead_does_not_come_back_on_that_day() {
    let scene = Scene::new("HOTP alice - KEY\n");
    let lingering = Policy { max_linger: Some(600), ..policy() };
    let ahead: fn() -> UnixTime = || NOW + 86_400;
    let gate = |clock| Gate::new(UsersFile::new(&scene.path), clock).unwrap();
    assert_eq!(login(&gate(ahead), &lingering, "alice", CODES[0]).1, LoginResult::GrantedFresh);
    assert_eq!(login(&gate(ahead), &lingering, "alice", CODES[0]).1, LoginResult::GrantedReuse);
    assert_eq!(login(&scene.gate(), &lingering, "alice", CODES[0]).1, LoginResult::DeniedExpired);
    assert_eq!(login(&gate(ahead), &lingering, "alice", CODES[0]).1, LoginResult::DeniedExpired);
    assert_eq!(login(&scene.gate(), &lingering, "alice", CODES[1]).1, LoginResult::GrantedFresh);
}

/// What a crash between journal and slot leaves: the journal knows, the users file doesn't.
#[test]
fn a_journalled_grant_survives_the_loss_of_its_slot_write() {
    for keep in [0, 1, 5, 40, 100, slot::LEN - 1] {
        let scene = Scene::new("HOTP alice - KEY\n");
        let gate = scene.gate();
        word(&gate, "alice", CODES[0]);
        let slot = scene.slot_range("alice");
        let before = scene.read();
        assert_eq!(word(&gate, "alice", CODES[1]), LoginResult::GrantedFresh);
        let after = scene.read();
        let journal = scene.directory.path().join("users.journal");
        let mut frames = fs::read(&journal).unwrap();
        // It was written in an earlier run of the machine.
        frames[1032] ^= 1;
        // Torn both ways: the first bytes new and the rest old, and the other way round.
        for new_first in [true, false] {
            let middle = slot.start + keep;
            let torn = if new_first {
                [&after[..middle], &before[middle..]].concat()
            } else {
                [&before[..middle], &after[middle..]].concat()
            };
            overwrite(&scene.path, &torn);
            fs::write(&journal, &frames).unwrap();
            assert_eq!(
                word(&scene.gate(), "alice", CODES[1]),
                LoginResult::DeniedExpired,
                "{keep} {new_first}"
            );
            assert_eq!(scene.read(), after, "{keep} {new_first}");
        }
    }
}

/// Without changing the inode, as the disk would show it after a crash.
fn overwrite(path: &Path, content: &str) {
    use std::os::unix::fs::FileExt;
    let file = fs::OpenOptions::new().write(true).open(path).unwrap();
    file.write_all_at(content.as_bytes(), 0).unwrap();
    file.set_len(content.len() as u64).unwrap();
}

#[test]
fn a_torn_last_frame_is_no_frame() {
    let scene = Scene::new("HOTP alice - KEY\n");
    let gate = scene.gate();
    word(&gate, "alice", CODES[0]);
    let (users, journal) = (scene.read(), scene.directory.path().join("users.journal"));
    assert_eq!(word(&gate, "alice", CODES[1]), LoginResult::GrantedFresh);
    // The crash came before the journal was whole, so nobody was answered: all as before.
    let mut bytes = fs::read(&journal).unwrap();
    let frame = bytes.windows(8).position(|window| window == b"OTPFRAME").unwrap();
    bytes[frame + 100] ^= 1;
    fs::write(&journal, bytes).unwrap();
    overwrite(&scene.path, &users);
    assert_eq!(word(&scene.gate(), "alice", CODES[1]), LoginResult::GrantedFresh);
}

#[test]
fn what_others_wrote_after_the_journal_stays() {
    let scene = Scene::new("HOTP alice - KEY\n");
    let gate = scene.gate();
    word(&gate, "alice", CODES[0]);
    word(&gate, "alice", CODES[1]);
    // Set back by hand, in place: the journal's frames are of the past.
    let content = scene.read();
    let slot = scene.slot_range("alice");
    let mut edited = content.clone();
    edited.replace_range(slot.start..slot.start + 1, "0");
    edited.replace_range(slot.start + 32..slot.start + 38, "-     ");
    overwrite(&scene.path, &edited);
    assert_eq!(word(&scene.gate(), "alice", CODES[0]), LoginResult::GrantedFresh);
}

/// What the log says of older states.
fn told_by(logins: &[(&Gate<UsersFile>, &str, &str, LoginResult)]) -> Vec<String> {
    let mut told = Vec::new();
    for (gate, user, password, expected) in logins {
        let (_, word, log) = login(gate, &policy(), user, password);
        assert_eq!(word, *expected, "{user} {password}: {log}");
        told.extend(log.lines().filter(|line| line.contains("older state")).map(str::to_owned));
    }
    told
}

#[test]
fn an_older_state_beyond_the_journal_is_told_once_by_who_has_seen_better() {
    let scene = Scene::new("HOTP alice - KEY\nHOTP bob - KEY\nHOTP carol - KEY\n");
    let gate = scene.gate();
    word(&gate, "alice", CODES[0]);
    let old = scene.read();
    for (user, codes) in [("alice", 1..4), ("bob", 0..2)] {
        codes.for_each(|counter| {
            assert_eq!(word(&gate, user, CODES[counter]), LoginResult::GrantedFresh)
        });
    }
    // Lines are elsewhere: the journal can't place what it has.
    scene.replace(&format!("# from the backup\n{old}"));
    let told = told_by(&[
        (&gate, "alice", CODES[1], LoginResult::GrantedFresh),
        (&gate, "alice", CODES[2], LoginResult::GrantedFresh),
        (&gate, "bob", CODES[0], LoginResult::GrantedFresh),
    ]);
    assert_eq!(
        told,
        [format!(
            "{}: it was replaced by an older state (user \"alice\": counter 2 after 4, and one more user): used \
             codes may be accepted again; run `otpgate advance`",
            scene.path.display()
        )]
    );
    // Another change, and somebody who hasn't seen anything.
    scene.replace("# as deployed\nHOTP alice - KEY\nHOTP bob - KEY\n");
    assert_eq!(told_by(&[(&scene.gate(), "alice", CODES[0], LoginResult::GrantedFresh)]).len(), 0);
    let told = told_by(&[
        (&gate, "bob", CODES[5], LoginResult::DeniedCode),
        (&gate, "bob", CODES[0], LoginResult::GrantedFresh),
    ]);
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].contains("(user \"alice\": counter 1 after 3, and one more user)"), "{told:?}");
}

#[test]
fn an_older_time_token_with_another_pin_is_told_too() {
    // RFC 6238's key at NOW, in steps of 30 seconds.
    let scene = Scene::new("HOTP/T30 alice 12 KEY\n");
    let code = |at: i64| {
        let key = b"12345678901234567890";
        let code = otpgate::otp::hotp(
            otpgate::otp::Hash::Sha1,
            key,
            at as u64 / 30,
            otpgate::otp::Digits::SIX,
        );
        String::from_utf8(code.as_bytes().to_vec()).unwrap()
    };
    let gate = scene.gate();
    assert_eq!(word(&gate, "alice", &format!("12{}", code(NOW))), LoginResult::GrantedFresh);
    scene.replace("# deployed\nHOTP/T30 alice 34 KEY\n");
    let password = &format!("34{}", code(NOW));
    let told = told_by(&[
        (&gate, "alice", password, LoginResult::GrantedFresh),
        (&gate, "alice", password, LoginResult::DeniedExpired),
    ]);
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].contains("no code used after the one of 2023-11-14T22:13:00Z"), "{told:?}");
}

#[test]
fn what_the_journal_restores_what_admins_lower_and_plain_edits_are_no_older_states() {
    let scene = Scene::new("HOTP alice - KEY\nHOTP bob - KEY\n");
    let gate = scene.gate();
    word(&gate, "alice", CODES[0]);
    let old = scene.read();
    word(&gate, "alice", CODES[1]);
    word(&gate, "bob", CODES[0]);
    scene.replace(&old);
    let told = told_by(&[
        (&gate, "alice", CODES[1], LoginResult::DeniedExpired),
        (&gate, "bob", CODES[0], LoginResult::DeniedExpired),
    ]);
    assert_eq!(told.len(), 0, "{told:?}");

    word(&gate, "alice", CODES[4]);
    let state = State {
        counter: CounterField::from_written(2),
        last_otp: otpgate::otp::Code::new(CODES[1].as_bytes()),
        replay_floor: Some(ReplayFloor::from_written(1)),
        intact: true,
        ..State::fresh()
    };
    let resynchronise = &mut |transaction: &mut dyn Transaction| {
        transaction.find(b"alice")?;
        transaction.save(b"alice", 0, state.clone());
        Ok(())
    };
    UsersFile::new(&scene.path).update(resynchronise).unwrap();
    scene.replace(&format!("# a note\n{}", scene.read()));
    let told = told_by(&[
        (&gate, "bob", CODES[1], LoginResult::GrantedFresh),
        (&gate, "alice", CODES[2], LoginResult::GrantedFresh),
    ]);
    assert_eq!(told.len(), 0, "{told:?}");
}

#[test]
fn the_journal_starts_over_when_it_is_full() {
    let scene = Scene::new("HOTP/E/6 alice - KEY\n");
    let gate = scene.gate();
    let policy = Policy { max_failures: 0, ..policy() };
    word(&gate, "alice", CODES[0]);
    // A frame takes some 440 bytes of a journal of one MiB.
    for _ in 0..2600 {
        assert_eq!(login(&gate, &policy, "alice", "000000").1, LoginResult::DeniedCode);
    }
    assert_eq!(scene.fields("alice")[5], "2600");
    assert_eq!(fs::metadata(scene.directory.path().join("users.journal")).unwrap().len(), 1 << 20);
    assert_eq!(word(&scene.gate(), "alice", CODES[1]), LoginResult::GrantedFresh);
}

#[test]
fn without_lock_or_journal_nothing_is_granted_and_the_log_says_what_to_do() {
    for companion in ["users.lock", "users.journal"] {
        let scene = Scene::new("HOTP alice - KEY\n");
        fs::create_dir(scene.directory.path().join(companion)).unwrap();
        for password in [CODES[0], "000000"] {
            let (verdict, word, log) = login(&scene.gate(), &policy(), "alice", password);
            assert_eq!((verdict, word), (Verdict::Error, LoginResult::Error));
            assert!(
                log.contains(companion) && log.contains("it is a directory, not a regular file"),
                "{log}"
            );
        }
        assert_eq!(scene.read(), format!("HOTP alice - {KEY}\n"));
    }
}

#[test]
fn unreadable_lines_are_told_with_their_number_and_without_secrets() {
    let scene = Scene::new("# one\nHOTP alice secretpin 0ghost-of-a-key\n");
    let (verdict, _, log) = login(&scene.gate(), &policy(), "alice", "secretpin755224");
    assert_eq!(verdict, Verdict::Denied);
    assert!(log.contains("users line 2: field 4 (key)"), "{log}");
    assert!(!log.contains("secretpin") && !log.contains("ghost-of-a-key"), "{log}");
}

#[test]
fn a_name_set_apart_is_unknown_from_the_edit_on_and_its_other_spellings_stay_denied() {
    let padding = format!("# {}\n", "x".repeat(SHARED_FROM as usize));
    for padding in ["", &padding] {
        // The listed name is no key, another is, and a third is a twin of both.
        let lines = format!("{padding}HOTP Jos\u{e9} - KEY\nHOTP jose - KEY\n");
        for lines in [
            &lines,
            &lines.replace("HOTP jose - KEY\n", ""),
            &lines.replace("HOTP Jos\u{e9} - KEY\n", ""),
        ] {
            let scene = Scene::new(lines);
            let gate = scene.gate();
            let verdict = |user: &str| login(&gate, &policy(), user, "whatever").0;
            let others = ["JOSE", "jos\u{e8}", "jose@", "\u{ff4a}ose"];
            let check = |expected| {
                assert_eq!(verdict("JOS\u{c9}"), expected);
                for other in others {
                    assert_eq!(verdict(other), Verdict::Denied, "{other}");
                }
                assert_eq!(verdict("joseph"), Verdict::Unknown);
            };
            check(Verdict::Denied);
            for (line, expected) in [
                ("#@ apart JOS%C3%89", Verdict::Unknown),
                ("#@ apart JOS%C3%89 x", Verdict::Denied),
                ("#@apart JOS%C3%89", Verdict::Denied),
                ("#@ apart JOS%C9", Verdict::Denied),
                ("#@ apart JOSE%CC%81", Verdict::Denied),
                (
                    "#@ apart x\n#@ apart JOS%C3%89 x\n#@ apart JOS%C3%89\n#@ apart JOS%c3%89",
                    Verdict::Unknown,
                ),
                ("", Verdict::Denied),
            ] {
                scene.replace(&format!("{lines}{line}\n"));
                check(expected);
            }
            assert_eq!(scene.directory.path().join("users.index").exists(), !padding.is_empty());
        }
    }
}

#[test]
fn names_that_differ_in_case_or_blanks_are_denied() {
    let scene = Scene::new("HOTP Alice - KEY\nHOTP \u{c4}nne - KEY\n");
    for (user, verdict) in [
        ("Alice", Verdict::Granted),
        ("alice", Verdict::Denied),
        (" Alice", Verdict::Denied),
        ("ALICE ", Verdict::Denied),
        ("\u{e4}nne", Verdict::Denied),
        ("bob", Verdict::Unknown),
    ] {
        assert_eq!(login(&scene.gate(), &policy(), user, CODES[0]).0, verdict, "{user}");
    }
}
