//! The command as an admin meets it, on users files of its own.

mod common;

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;

use otpgate::gate::Store;
use otpgate::token::Pin;
use otpgate::users::file::UsersFile;
use otpgate::users::lock::Locked;

use common::{Site, own_name};

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().mode() & 0o7777
}

#[test]
fn init_makes_all_files_and_can_be_run_again() {
    let site = Site::new();
    let users = site.path("new/directory/users");
    let users = users.to_str().unwrap();
    let args = ["init", "-f", users, "--user", &own_name()];
    let first = site.run(&args, "");
    first.is(0);
    assert_eq!(first.out.matches("made:").count(), 7, "{}", first.out);
    let names =
        ["users", "users.lock", "users.journal", "users.index", "users.throttle", "users.secret"];
    for name in names {
        assert_eq!(mode(&site.path("new/directory").join(name)), 0o660, "{name}");
    }
    assert_eq!(mode(&site.path("new/directory")), 0o770);
    let journal = fs::metadata(site.path("new/directory/users.journal")).unwrap();
    assert!(journal.blocks() * 512 >= journal.len() && journal.len() > 0, "its space is allocated");

    fs::write(users, "# mine\n").unwrap();
    let again = site.run(&args, "");
    again.is(0);
    assert_eq!(again.out.matches("there already:").count(), 6, "{}", again.out);
    assert_eq!(fs::read_to_string(users).unwrap(), "# mine\n");
}

#[test]
fn init_reports_a_file_that_everybody_could_write() {
    let site = Site::ready();
    fs::set_permissions(site.users(), fs::Permissions::from_mode(0o666)).unwrap();
    let ran = site.run(&["init", "--user", &own_name()], "");
    ran.is(1);
    assert!(ran.out.contains("error:") && ran.out.contains("is world-writable"), "{}", ran.out);
}

#[test]
fn init_run_by_root_gives_the_files_to_the_servers_user() {
    if !rustix::process::geteuid().is_root() {
        // Only root can give files away; every other test here runs for anybody.
        return;
    }
    let site = Site::new();
    fs::set_permissions(site.directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let users = site.path("sub/users");
    let args = ["-f", users.to_str().unwrap()];
    site.run(&[&["init", "--user", "daemon"], &args[..]].concat(), "").is(0);
    let owner = |name: &str| {
        let metadata = fs::metadata(site.path("sub").join(name)).unwrap();
        (metadata.uid(), metadata.gid())
    };
    let daemon = owner("users");
    assert_ne!(daemon, (0, 0));
    site.run(&[&["add", "alice", "--no-pin", "-q"], &args[..]].concat(), "").is(0);
    for name in ["", "users", "users.lock", "users.journal", "users.index"] {
        assert_eq!(owner(name), daemon, "{name}");
    }
    // Somebody else's server has no access, and is told so.
    let ran = site.run(&[&["check", "--as", "nobody"], &args[..]].concat(), "");
    ran.is(1);
    assert!(ran.out.contains("error: cannot"), "{}", ran.out);
    site.run(&[&["check", "--as", "daemon"], &args[..]].concat(), "").is(0);
}

#[test]
fn add_writes_a_token_that_servers_read_and_prints_its_address() {
    let site = Site::ready();
    let ran = site.run(&["add", "alice", "--issuer", "Big Corp", "-q"], "sesame9\n");
    ran.is(0);
    assert_eq!(ran.err, "");
    let address = ran.out.strip_suffix('\n').unwrap();
    assert!(address.starts_with("otpauth://totp/Big%20Corp:alice?secret="), "{address}");
    assert!(address.ends_with("&issuer=Big%20Corp&algorithm=SHA1&digits=6&period=30"), "{address}");

    let found = UsersFile::new(&site.users()).find(b"alice").unwrap();
    let token = &found.entry.lines[0].token;
    assert_eq!(token.key.expose().len(), 20);
    let secret = address.split(['=', '&']).nth(1).unwrap();
    assert_eq!(secret, data_encoding::BASE32_NOPAD.encode(token.key.expose()));
    let Pin::Hashed(hash) = &token.pin else { panic!("{:?}", token.pin) };
    assert!(hash.is_hash_of(b"sesame9"));
    assert!(!site.content().contains("sesame9"));
    assert!(found.entry.lines[0].state.intact, "it has its slot from the start");
}

#[test]
fn each_kind_of_token_has_its_type_and_pin_field() {
    let site = Site::ready();
    for (args, kind, pin) in [
        (&["a", "--plain-pin"][..], "HOTP/T30/6", "sesame9"),
        (&["b", "--totp", "--period", "60", "--digits", "8", "--no-pin"], "HOTP/T60/8", "-"),
        (&["c", "--hotp", "--pin-external"], "HOTP/E/6", "+"),
        (&["d", "--algorithm", "sha256", "--no-pin"], "HOTP-SHA256/T30/6", "-"),
        (&["e", "--hotp", "--algorithm", "sha512", "--no-pin"], "HOTP-SHA512/E/6", "-"),
        (&["f", "--motp"], "MOTP/T10/6", "sesame9"),
    ] {
        site.run(&[&["add", "-q"], args].concat(), "sesame9\n").is(0);
        let words = site.first_words().pop().unwrap();
        assert_eq!(words[..3], [kind, args[0], pin], "{args:?}");
    }
    let checked = site.run(&["check", "--as", &own_name()], "");
    checked.is(0);
}

#[test]
fn arguments_that_contradict_each_other_are_wrong_usage() {
    let site = Site::ready();
    for args in [
        &["a", "--totp", "--hotp"][..],
        &["a", "--hotp", "--period", "60"],
        &["a", "--motp", "--pin-external"],
        &["a", "--motp", "--algorithm", "sha256"],
        &["a", "--no-pin", "--plain-pin"],
        &["a", "--digits", "5"],
        &["a", "--digits", "11"],
        &["a", "--period", "0"],
        &[],
    ] {
        site.run(&[&["add"], args].concat(), "sesame9\n").is(2);
    }
    assert_eq!(site.content(), "");
}

#[test]
fn names_and_pins_that_no_login_could_use_are_refused() {
    let site = Site::ready();
    for user in ["", "a b", "a:b", "a\u{7f}", &"x".repeat(256)] {
        site.run(&["add", "--no-pin", "--", user], "").complains_of("a user name");
    }
    for pin in ["", "-", "+", "$1", "a b"] {
        site.run(&["add", "alice"], &format!("{pin}\n")).complains_of("nothing was changed");
    }
    assert_eq!(site.content(), "");
}

#[test]
fn a_second_token_has_to_be_asked_for() {
    let site = Site::ready();
    site.run(&["add", "alice", "--no-pin", "--another-token"], "").complains_of("has no token yet");
    site.run(&["add", "alice", "--no-pin"], "").is(0);
    site.run(&["add", "alice", "--no-pin"], "").complains_of("has a token already");
    site.run(&["add", "alice", "--no-pin", "--another-token"], "").is(0);
    let lines = site.first_words();
    assert_eq!(lines.len(), 2);
    assert_ne!(lines[0][3], lines[1][3], "two keys");
}

#[test]
fn a_user_whose_line_cannot_be_read_is_listed_all_the_same() {
    let site = Site::ready();
    fs::write(site.users(), "HOTP alice - nokey\n").unwrap();
    site.run(&["add", "alice", "--no-pin"], "").complains_of("has a token already");
}

#[test]
fn a_name_that_differs_in_case_only_is_warned_of() {
    let site = Site::ready();
    site.run(&["add", "alice", "--no-pin"], "").is(0);
    let ran = site.run(&["add", "Alice", "--no-pin"], "");
    ran.is(0);
    assert!(
        ran.err.contains("\"Alice\" is another spelling of \"alice\" in line 1"),
        "{}",
        ran.err
    );
}

#[test]
fn keys_come_from_files_in_both_forms_and_not_twice() {
    let site = Site::ready();
    fs::write(site.path("hex"), "3132333435363738393031323334353637383930\n").unwrap();
    fs::write(site.path("base32"), "base32:gezdgnbvgy3tqojqgezdgnbvgy3tqojq====\n").unwrap();
    fs::write(site.path("bad"), "31 32\n").unwrap();
    let add = |user: &str, name: &str, more: &[&str]| {
        let path = site.path(name);
        site.run(
            &[&["add", user, "--no-pin", "-q", "--key-file", path.to_str().unwrap()], more]
                .concat(),
            "",
        )
    };
    let (one, two) = (add("alice", "hex", &[]), add("bob", "base32", &[]));
    one.is(0);
    two.is(0);
    assert_eq!(one.out.replace("alice", "bob"), two.out);
    add("alice", "base32", &["--another-token"]).complains_of("with that key already");
    add("carol", "bad", &[]).complains_of("field 4 (key)");
    add("carol", "missing", &[]).complains_of("cannot read");
}

#[test]
fn every_other_byte_the_mode_and_a_symlink_stay() {
    let site = Site::ready();
    let old = "# a comment\r\n\nHOTP\tbob  1234 00ff 7 # tail\nbroken line\nHOTP carol - 11";
    fs::write(site.users(), old).unwrap();
    fs::set_permissions(site.users(), fs::Permissions::from_mode(0o640)).unwrap();
    symlink("users", site.path("link")).unwrap();
    let link = site.path("link");
    site.run(&["add", "alice", "--no-pin", "-f", link.to_str().unwrap()], "").is(0);
    let new = site.content();
    let added = new
        .strip_prefix(&format!("{old}\n"))
        .expect("the last line got its end, nothing else changed");
    assert!(added.starts_with("HOTP/T30/6 alice - ") && added.ends_with('\n'));
    assert_eq!(added.matches('\n').count(), 1);
    assert_eq!(mode(&site.users()), 0o640);
    assert!(link.symlink_metadata().unwrap().is_symlink());
    let left: Vec<_> = fs::read_dir(site.directory.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert!(!left.iter().any(|name| name.to_string_lossy().ends_with(".new")), "{left:?}");
}

#[test]
fn many_at_once_lose_nothing() {
    let site = Site::ready();
    let site = &site;
    std::thread::scope(|threads| {
        for i in 0..8 {
            threads.spawn(move || {
                site.run(&["add", &format!("user{i}"), "--no-pin", "-q"], "").is(0).status
            });
        }
    });
    assert_eq!(site.content().lines().count(), 8);
}

#[test]
fn nothing_is_written_while_somebody_else_holds_the_lock() {
    let site = Site::ready();
    let locked = Locked::acquire(&site.users()).unwrap();
    site.run(&["add", "alice", "--no-pin"], "").complains_of("another program has held it");
    assert_eq!(site.content(), "");
    drop(locked);
    site.run(&["add", "alice", "--no-pin"], "").is(0);
}

#[test]
fn a_missing_file_is_named_with_what_to_do() {
    let site = Site::new();
    site.run(&["add", "alice", "--no-pin"], "").complains_of("otpgate init");
    site.run(&["check"], "").complains_of("otpgate init");
}

#[test]
fn check_tells_every_problem_with_its_line() {
    let site = Site::ready();
    let broken = "HOTP/X alice - 00\n".repeat(30);
    fs::write(site.users(), format!("# fine\nHOTP bob - {:040x}\n{broken}", 7)).unwrap();
    let ran = site.run(&["check", "--as", &own_name()], "");
    ran.is(1);
    for number in 3..=32 {
        assert!(ran.out.contains(&format!(" line {number}: ")), "{}", ran.out);
    }
    assert_eq!(ran.out.lines().count(), 30);
}
