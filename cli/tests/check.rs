//! What `otpgate check` says of the files beside the users file, and what `--fix` does about them.

mod common;

use std::fs::{self, OpenOptions};
use std::os::unix::fs::{FileExt, MetadataExt};
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
    finds(&site, 1, "error: ", "users.journal is not a journal, or is from a later version");
    check(&site, &["--fix"]).is(1);
    assert_eq!(fs::read(&journal).unwrap(), b"dear diary");
}

#[test]
fn an_index_that_is_none_is_a_warning() {
    let site = site();
    let line = |number| format!("HOTP user{number:05} - {number:040x}{:0<160}\n", "");
    fs::write(site.users(), (1..6_001).map(line).collect::<String>()).unwrap();
    check(&site, &["--fix"]).is(0);
    fs::write(beside(&site, ".index"), "something else").unwrap();
    finds(&site, 0, "warning: ", "users.index");
}

#[test]
fn what_killed_processes_have_left_is_a_warning_and_goes() {
    let site = site();
    let left = beside(&site, ".4711.new");
    fs::write(&left, "HOTP bob - 00\n").unwrap();
    finds(&site, 0, "warning: ", "users.4711.new was left by a killed process");
    fixes(&site, "removed ");
    assert!(!left.exists());
}

#[test]
fn a_rewrite_that_was_cut_short_is_a_warning_since_the_next_login_finishes_it() {
    let site = site();
    write_at(&beside(&site, ".journal"), 2048, b"REPLACES");
    finds(&site, 0, "warning: ", "users.journal contains an interrupted rewrite of the users file");
    assert_eq!(site.login("alice", "secret7755224"), "granted-fresh");
    assert!(check(&site, &[]).out.contains(": no problems,"));

    let before = site.content();
    write_at(&beside(&site, ".journal"), 2048, b"REPLACES");
    fixes(&site, "finished an interrupted rewrite");
    assert_eq!(site.content(), before);
}

/// CRC-32 (IEEE), bit by bit.
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0u32, |sum, &byte| {
        (0..8).fold(sum ^ u32::from(byte), |sum, _| {
            if sum & 1 == 1 { sum >> 1 ^ 0xedb8_8320 } else { sum >> 1 }
        })
    })
}

#[test]
fn who_only_looks_sees_no_half_of_a_rewrite_that_was_cut_short() {
    let site = site();
    site.run(&["add", "second", "--no-pin", "-q"], "").is(0);
    let journal = beside(&site, ".journal");
    let whole = fs::read(site.users()).unwrap();
    // What a kill in the middle of a rewrite in place leaves: the image in the journal, a part of
    // it in the file.
    let header = fs::read(&journal).unwrap();
    assert_eq!(header[16..24], [0; 8], "the journal has no frame");
    let inode = fs::metadata(site.users()).unwrap().ino();
    let body = [&[2][..], &inode.to_le_bytes(), &whole].concat();
    let mut frame =
        [&b"OTPFRAME"[..], &header[8..16], &[0; 8], &(body.len() as u64).to_le_bytes()].concat();
    let sum = crc32(&[&frame[..], &body].concat());
    frame.extend(u64::from(sum).to_le_bytes());
    frame.extend(&body);
    write_at(&journal, 4096, &frame);
    OpenOptions::new()
        .write(true)
        .open(site.users())
        .unwrap()
        .set_len(whole.len() as u64 - 120)
        .unwrap();
    let ran = site.run(&["list"], "");
    ran.is(0);
    assert!(ran.out.contains("second"), "{}", ran.out);
    assert_eq!(fs::read(site.users()).unwrap(), whole);
}

#[test]
fn a_file_of_the_admins_own_with_a_date_for_a_number_stays() {
    let site = site();
    let own = beside(&site, ".20261125.new");
    fs::write(&own, "HOTP bob - 00\n").unwrap();
    let ran = check(&site, &["--fix"]);
    ran.is(0);
    assert_eq!(fs::read_to_string(&own).unwrap(), "HOTP bob - 00\n");
}

#[test]
fn keys_left_in_the_journal_are_a_warning_and_are_wiped() {
    let site = site();
    let journal = beside(&site, ".journal");
    write_at(&journal, 700_000, format!("ff\nHOTP alice secret7 {KEY} 5\nHOTP b").as_bytes());
    finds(
        &site,
        0,
        "warning: ",
        "users.journal contains lines of the users file, with PINs and keys",
    );
    fixes(&site, "wiped PINs and keys from ");
    let bytes = fs::read(&journal).unwrap();
    assert!(!bytes.windows(7).any(|window| window == b"secret7"));
}

#[test]
fn more_than_a_hundred_lines_of_one_name_are_an_error_and_a_hundred_are_none() {
    let site = site();
    let lines = |count: usize| {
        let lines: String = (1..=count).map(|i| format!("HOTP crowd - {i:032x}\n")).collect();
        fs::write(site.users(), lines).unwrap();
    };
    lines(100);
    check(&site, &[]).is(0);
    let ran = site.run(&["add", "crowd", "--another-token", "--no-pin"], "");
    assert!(ran.err.contains("has 100 lines already"), "{}", ran.err);
    lines(101);
    finds(&site, 1, "error: ", "line 1: the first of 101 lines of \"crowd\", more than 100");
}

/// A line of a users file, and what is said of it after its number.
#[track_caller]
fn says(lines: &[u8], status: i32, finding: &str) {
    let site = site();
    fs::write(site.users(), lines).unwrap();
    let ran = check(&site, &[]);
    ran.is(status);
    let told: Vec<&str> = ran.out.lines().filter(|told| told.contains(finding)).collect();
    assert_eq!(told.len(), 1, "{finding:?} once in {}", ran.out);
    assert_eq!(ran.out.lines().count(), 1, "{}", ran.out);
    for secret in ["secret7", KEY, "GEZDGNBVGY3TQOJQ", "x1z", "0102030405"] {
        assert!(!ran.out.contains(secret), "{}", ran.out);
    }
}

#[test]
fn what_people_get_wrong_is_told_once_with_its_line_and_without_its_secret() {
    let line = |text: &str| {
        format!("# a file\nHOTP bob secret7 {}\n{text}\n", "ab".repeat(20)).replace("KEY", KEY)
    };
    for (text, status, finding) in [
        (
            "HOTP alice secret7 GEZDGNBVGY3TQOJQ",
            1,
            "line 3: field 4 (key) is not 1 to 256 bytes in hexadecimal or base32:; it looks like base 32: write `base32:` before it",
        ),
        ("TOTP alice secret7 KEY", 1, "; write `HOTP/T30/6`"),
        ("HOTP/T alice secret7 KEY", 1, "; write `HOTP/T30/6`"),
        ("HOTP/30 alice secret7 KEY", 1, "; write `HOTP/T30/6`"),
        ("hotp-sha-256 alice secret7 KEY", 1, "; write `HOTP-SHA256/E/6`"),
        ("HOTP al:ice secret7 KEY", 1, "line 3: the name contains a colon"),
        ("MOTP alice + KEY", 1, "line 3: a Mobile-OTP token can't have an external PIN"),
        ("HOTP alice – KEY", 0, "line 3: the PIN looks like - but is another character"),
        ("HOTP alice x1z KEY", 0, "line 3: a PIN of fewer than 4 characters"),
        ("HOTP alice secret7 0102030405", 0, "line 3: a key of 40 bits can be guessed"),
        (
            "HOTP alice secret7 00000000000000000000000000000000",
            0,
            "line 3: all bytes of the key are the same",
        ),
        ("OFF:HOTP al:ice 1 0102030405", 0, ": no problems,"),
        (
            "HOTP/T30 bob secret7 KEY\nHOTP alice secret7 KEY\nHOTP carol secret7 KEY",
            0,
            "line 3: the key of \"bob\" is also the key of \"alice\" in line 4, \"carol\" in line 5: ",
        ),
        ("HOTP/T30 bob secret7 KEY\nHOTP/E/8 bob secret7 KEY", 0, ": no problems,"),
    ] {
        // Of two things about that key, this is about the other.
        let lines =
            line(text).replace(&"ab".repeat(20), "e0f1d2c3b4a5968778695a4b3c2d1e0fffeeddcc");
        says(lines.as_bytes(), status, finding);
    }
    says(format!("HOTP jos\u{e9} secret7 {KEY}\n").as_bytes(), 0, ": no problems,");
    says(
        &[b"HOTP jos\xe9 secret7 ", KEY.as_bytes(), b"\n"].concat(),
        0,
        "line 1: the name isn't UTF-8",
    );
}

#[test]
fn a_byte_order_mark_is_named_and_goes() {
    let site = site();
    for (begin, status) in [
        (format!("HOTP alice secret7 {KEY}"), 1),
        ("#@ limits max_failures=5".into(), 1),
        ("# mine".into(), 0),
    ] {
        fs::write(
            site.users(),
            format!("\u{feff}{begin}\nHOTP bob - {}\n", "0f".repeat(19) + "aa"),
        )
        .unwrap();
        let severity = if status == 1 { "error: " } else { "warning: " };
        finds(&site, status, severity, "line 1: the file begins with a byte order mark");
        fixes(&site, "removed the byte order mark");
        assert!(site.content().starts_with(&begin[..6]), "{}", site.content());
    }
}

#[test]
fn the_servers_test_tells_of_errors_even_behind_many_warnings() {
    use otpgate::users::check::{Severity, lines};
    let site = site();
    let weak: String = (0..50).map(|i| format!("HOTP user{i} - {i:010x}\n")).collect();
    fs::write(site.users(), format!("{weak}HOTP alice - zz\n")).unwrap();
    let findings = lines(&site.users()).unwrap().findings;
    assert_eq!(findings.len(), 22, "20 warnings, the error, and how many more");
    assert!(
        findings.iter().any(|it| it.severity == Severity::Error && it.text.contains("line 51: "))
    );
    let last = findings.last().unwrap();
    assert!(
        last.severity == Severity::Warning && last.text.contains("30 more findings about lines"),
        "{}",
        last.text
    );
}
