//! The command run by root in directories of others: what they have planted there gets them nothing
//! of root's.

mod common;

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use common::PROGRAM;

const MALLORY: u32 = 4_242;
const BOB: u32 = 4_343;
const KEY: &str = "3132333435363738393031323334353637383930";

/// A directory of Mallory's. Without root there is nothing to be tried.
struct Scene {
    directory: tempfile::TempDir,
}

fn scene() -> Option<Scene> {
    if !rustix::process::geteuid().is_root() {
        return None;
    }
    let directory = tempfile::tempdir().expect("a directory");
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).expect("our own");
    let scene = Scene { directory };
    fs::create_dir(scene.path("hers")).expect("a directory");
    give(&scene.path("hers"), MALLORY, 0o755);
    Some(scene)
}

fn give(path: &Path, owner: u32, mode: u32) {
    chown(path, Some(owner), Some(owner)).expect("root may");
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("root may");
}

impl Scene {
    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn users(&self) -> PathBuf {
        self.path("hers/users")
    }

    fn write(&self, name: &str, text: &str, owner: u32, mode: u32) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, text).expect("a new file");
        give(&path, owner, mode);
        path
    }

    fn run(&self, file: &Path, args: &[&str]) -> Output {
        let mut child = Command::new(PROGRAM)
            .args(args)
            .env("OTPGATE_USERS_FILE", file)
            .env("EDITOR", "sh -c 'echo \"# edited\" >> \"$1\"' sh")
            .env_remove("VISUAL")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("it runs");
        let _ = child
            .stdin
            .take()
            .expect("piped")
            .write_all(b"otpauth://totp/carol?secret=GEZDGNBVGY3TQOJQ\n");
        child.wait_with_output().expect("an end")
    }

    /// What is there, with owners, modes and content.
    fn everything(&self) -> Vec<(PathBuf, u32, u32, u32, Vec<u8>)> {
        let mut all = Vec::new();
        let mut ahead = vec![self.directory.path().to_owned()];
        while let Some(path) = ahead.pop() {
            let metadata = path.symlink_metadata().expect("there");
            if metadata.is_dir() {
                ahead.extend(
                    fs::read_dir(&path)
                        .expect("a directory")
                        .map(|entry| entry.expect("a name").path()),
                );
            }
            let content =
                if metadata.is_file() { fs::read(&path).expect("a file") } else { Vec::new() };
            all.push((path, metadata.uid(), metadata.gid(), metadata.mode(), content));
        }
        all.sort();
        all
    }
}

/// Every verb that writes, and some that only read.
const VERBS: [&[&str]; 17] = [
    &["init", "--user", "daemon"],
    &["add", "carol", "--no-pin", "-q"],
    &["check", "--fix", "--as", "daemon"],
    &["check", "--as", "daemon"],
    &["edit"],
    &["unlock", "alice"],
    &["import", "otpauth", "-", "--no-pin"],
    &["remove", "alice"],
    &["disable", "alice"],
    &["set-pin", "alice", "--no-pin"],
    &["rekey", "alice", "-q"],
    &["rename", "alice", "carol"],
    &["resync", "alice", "755224", "287082"],
    &["verify", "alice"],
    &["advance", "--all"],
    &["list"],
    &["export", "otpauth", "-"],
];

/// `says` stands in the error of every verb, and nothing at all is different afterwards.
#[track_caller]
fn all_refuse(scene: &Scene, file: &Path, says: &str) {
    let before = scene.everything();
    for verb in VERBS {
        let output = scene.run(file, verb);
        let error = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{verb:?}: {error}");
        assert!(error.contains(says), "{verb:?}: {says:?} isn't in {error:?}");
        assert!(output.stdout.is_empty() && !error.contains(KEY), "{verb:?} tells something");
        assert!(scene.everything() == before, "{verb:?} has changed something");
    }
    // otplock says it with a status of its own.
    let lock = scene.directory.path().join("otplock");
    symlink(PROGRAM, &lock).expect("a link");
    let output = Command::new(&lock).arg(file).arg("true").output().expect("it runs");
    fs::remove_file(&lock).expect("our own");
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && error.contains(says), "otplock: {error}");
    assert!(scene.everything() == before, "otplock has changed something");
}

fn line() -> String {
    format!("HOTP alice - {KEY}\n")
}

#[test]
fn a_link_to_a_file_of_roots_is_followed_by_no_verb() {
    let Some(scene) = scene() else { return };
    let target = scene.write("roots", &line(), 0, 0o644);
    symlink(&target, scene.users()).expect("a link");
    std::os::unix::fs::lchown(scene.users(), Some(MALLORY), Some(MALLORY)).expect("root may");
    all_refuse(
        &scene,
        &scene.users(),
        "is a symbolic link of 4242:4242 to a file of root:root: root doesn't follow it",
    );
}

#[test]
fn a_link_to_a_file_of_another_users_is_followed_by_no_verb() {
    let Some(scene) = scene() else { return };
    fs::create_dir(scene.path("his")).expect("a directory");
    give(&scene.path("his"), BOB, 0o755);
    let target = scene.write("his/users", &line(), BOB, 0o600);
    symlink(&target, scene.users()).expect("a link");
    std::os::unix::fs::lchown(scene.users(), Some(MALLORY), Some(MALLORY)).expect("root may");
    all_refuse(&scene, &scene.users(), "is a symbolic link of 4242:4242 to a file of 4343:4343");
}

#[test]
fn a_link_on_the_way_is_followed_by_no_verb() {
    let Some(scene) = scene() else { return };
    fs::create_dir(scene.path("roots")).expect("a directory");
    scene.write("roots/users", &line(), 0, 0o600);
    symlink(scene.path("roots"), scene.path("hers/way")).expect("a link");
    std::os::unix::fs::lchown(scene.path("hers/way"), Some(MALLORY), Some(MALLORY))
        .expect("root may");
    all_refuse(&scene, &scene.path("hers/way/users"), "root doesn't follow it");
}

#[test]
fn a_directory_that_everybody_may_change_is_used_by_no_verb() {
    let Some(scene) = scene() else { return };
    scene.write("hers/users", &line(), MALLORY, 0o600);
    give(&scene.path("hers"), MALLORY, 0o777);
    all_refuse(&scene, &scene.users(), "can be changed by group 4242");
    give(&scene.path("hers"), MALLORY, 0o757);
    all_refuse(&scene, &scene.users(), "can be changed by everybody");
    give(&scene.path("hers"), MALLORY, 0o755);
    give(scene.directory.path(), 0, 0o777);
    all_refuse(&scene, &scene.users(), "can be changed by everybody");
    give(scene.directory.path(), BOB, 0o755);
    all_refuse(&scene, &scene.users(), "can be changed by");
}

#[test]
fn a_file_of_roots_in_somebodys_directory_is_no_more_than_theirs() {
    let Some(scene) = scene() else { return };
    scene.write("hers/users", &line(), 0, 0o600);
    all_refuse(&scene, &scene.users(), "belongs to root, in a directory of 4242:4242");
    fs::remove_file(scene.users()).expect("planted");
    let other = scene.write("hers/other", &line(), BOB, 0o600);
    fs::hard_link(&other, scene.users()).expect("a second name");
    all_refuse(&scene, &scene.users(), "who could replace");
    give(&other, BOB, 0o666);
    all_refuse(&scene, &scene.users(), "has another name elsewhere (a hard link)");
}

#[test]
fn a_file_of_roots_in_the_place_of_a_companion_isnt_given_away() {
    let Some(scene) = scene() else { return };
    scene.write("hers/users", &line(), MALLORY, 0o600);
    for name in ["hers/users.lock", "hers/users.journal", "hers/users.index"] {
        let secret = scene.write(name, "a secret of root's\n", 0, 0o600);
        for verb in [&["check", "--fix", "--as", "daemon"][..], &["init", "--user", "daemon"]] {
            let output = scene.run(&scene.users(), verb);
            let error = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.code(), Some(1), "{verb:?}: {error}");
            let after = fs::metadata(&secret).expect("still there");
            assert_eq!(
                (after.uid(), after.mode() & 0o7777, after.len()),
                (0, 0o600, 19),
                "{verb:?} {name}"
            );
        }
        fs::remove_file(&secret).expect("planted");
        // A link, which root would have followed.
        let target = scene.write("roots", "", 0, 0o600);
        symlink(&target, &secret).expect("a link");
        scene.run(&scene.users(), &["check", "--fix", "--as", "daemon"]);
        let after = fs::metadata(&target).expect("still there");
        assert_eq!((after.uid(), after.mode() & 0o7777, after.len()), (0, 0o600, 0), "{name}");
        fs::remove_file(&secret).expect("planted");
    }
}

#[test]
fn a_new_file_is_made_neither_over_a_link_nor_where_others_may_change_the_way() {
    let Some(scene) = scene() else { return };
    let init = |file: &Path, says: &str| {
        let before = scene.everything();
        let output = scene.run(file, &["init", "--user", "daemon"]);
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && error.contains(says), "{error}");
        assert!(scene.everything() == before, "something was made");
    };
    init(&scene.path("hers/deep/users"), "can be changed by user 4242");
    symlink("/nowhere/at/all", scene.users()).expect("a link");
    init(&scene.users(), "is a symbolic link to nothing");
    fs::remove_file(scene.users()).expect("planted");
    fs::create_dir(scene.path("roots")).expect("a directory");
    symlink(scene.path("roots"), scene.path("hers/way")).expect("a link");
    std::os::unix::fs::lchown(scene.path("hers/way"), Some(MALLORY), Some(MALLORY))
        .expect("root may");
    init(&scene.path("hers/way/users"), "root doesn't follow it");
    init(&scene.path("hers/way/deep/users"), "root doesn't follow it");
}

#[test]
fn with_links_that_are_roots_or_the_owners_own_every_verb_works() {
    let Some(scene) = scene() else { return };
    fs::create_dir(scene.path("hers/real")).expect("a directory");
    give(&scene.path("hers/real"), MALLORY, 0o755);
    let users = scene.path("hers/real/users");
    symlink("real", scene.path("hers/own")).expect("a link");
    std::os::unix::fs::lchown(scene.path("hers/own"), Some(MALLORY), Some(MALLORY))
        .expect("root may");
    symlink("hers/own/users", scene.path("roots-link")).expect("a link");
    for file in [scene.path("hers/own/users"), scene.path("roots-link")] {
        for verb in VERBS {
            File::create(&users)
                .and_then(|mut file| file.write_all(line().as_bytes()))
                .expect("her file");
            give(&users, MALLORY, 0o600);
            let output = scene.run(&file, verb);
            let error = String::from_utf8_lossy(&output.stderr);
            assert!(
                !error.contains("as root") && !error.contains("root doesn't"),
                "{verb:?}: {error}"
            );
            let after = fs::metadata(&users).expect("her file");
            assert_eq!(
                (after.uid(), after.gid(), after.mode() & 0o7777),
                (MALLORY, MALLORY, 0o600),
                "{verb:?}"
            );
            for ending in [".lock", ".journal"] {
                if let Ok(made) = fs::metadata(users.with_extension(&ending[1..])) {
                    assert_eq!(
                        (made.uid(), made.mode() & 0o7777),
                        (MALLORY, 0o600),
                        "{verb:?} {ending}"
                    );
                }
            }
        }
    }
    assert!(users.with_extension("journal").exists());
}

#[test]
fn a_directory_of_somebody_who_may_not_write_the_file_gets_nothing_done_as_root() {
    let Some(scene) = scene() else { return };
    let users = scene.write("hers/users", &format!("HOTP alice - {KEY}\n"), BOB, 0o600);
    let before = scene.everything();
    for args in VERBS {
        let output = scene.run(&users, args);
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success(), "{args:?}: {told}");
        assert!(told.contains("who could replace"), "{args:?}: {told}");
    }
    assert!(scene.everything() == before);
}

/// She owns the directory and the file, and swaps it with a link while root is at work.
#[test]
fn a_file_that_is_swapped_with_a_link_again_and_again_has_root_make_nothing_elsewhere() {
    use rustix::fs::{CWD, RenameFlags, renameat_with};
    let Some(scene) = scene() else { return };
    fs::create_dir(scene.path("roots")).expect("a directory");
    let target = scene.write("roots/conf", "x\n", 0, 0o644);
    let users = scene.write("hers/users", &format!("HOTP alice - {KEY}\n"), MALLORY, 0o600);
    let link = scene.path("hers/link");
    symlink(&target, &link).expect("a link");
    rustix::fs::chownat(
        CWD,
        &link,
        Some(rustix::fs::Uid::from_raw(MALLORY)),
        Some(rustix::fs::Gid::from_raw(MALLORY)),
        rustix::fs::AtFlags::SYMLINK_NOFOLLOW,
    )
    .expect("root may");
    let is_over = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|threads| {
        threads.spawn(|| {
            while !is_over.load(std::sync::atomic::Ordering::Relaxed) {
                renameat_with(CWD, &users, CWD, &link, RenameFlags::EXCHANGE)
                    .expect("both are there");
            }
        });
        for round in 0..150 {
            let args: &[&str] =
                if round % 2 == 0 { &["check", "--fix", "--as", "daemon"] } else { VERBS[0] };
            scene.run(&users, args);
        }
        is_over.store(true, std::sync::atomic::Ordering::Relaxed);
    });
    let names = |path: &str| fs::read_dir(scene.path(path)).expect("a directory").count();
    assert_eq!(names("roots"), 1, "root has made something beside its own file");
    let metadata = fs::metadata(&target).expect("there");
    assert_eq!((metadata.uid(), metadata.mode() & 0o7777), (0, 0o644));
    assert_eq!(fs::read(&target).expect("there"), b"x\n");
}
