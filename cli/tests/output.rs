//! What is printed, and what becomes of an output that is full, closed or nobody's.

mod common;

use std::fs::{self, File};
use std::io::Read;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};

use common::{PROGRAM, Site};

const KEY: &str = "3132333435363738393031323334353637383930";
const SIGPIPE: i32 = 13;

fn site(lines: &str) -> Site {
    let site = Site::ready();
    fs::write(site.users(), lines.replace("KEY", KEY)).unwrap();
    site
}

fn command(site: &Site, args: &[&str]) -> Command {
    let mut command = Command::new(PROGRAM);
    command.args(args).env("OTPGATE_USERS_FILE", site.users()).stdin(Stdio::null());
    command
}

/// A pipe that nobody reads any more.
fn unread() -> Stdio {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    writer.into()
}

#[test]
fn a_key_that_cant_be_shown_isnt_saved() {
    let site = site("HOTP alice - KEY\n");
    let before = site.content();
    let full = || Stdio::from(File::options().write(true).open("/dev/full").unwrap());
    let image = site.path("x.png");
    let image = image.to_str().unwrap();
    for args in [
        &["add", "bob", "--no-pin"][..],
        &["add", "bob", "--no-pin", "-q"],
        &["add", "bob", "--motp", "--no-pin"],
        &["add", "bob", "--no-pin", "--qr", image],
        &["add", "bob", "--no-pin", "--confirm"],
        &["rekey", "alice"],
        &["rekey", "alice", "--qr", image],
        &["rekey", "alice", "-q", "--confirm"],
    ] {
        for (stdout, cause) in [(full(), "No space left on device"), (unread(), "Broken pipe")] {
            let ran = command(&site, args).stdout(stdout).output().unwrap();
            let told = String::from_utf8(ran.stderr).unwrap();
            assert_eq!(ran.status.code(), Some(1), "{args:?}: {told}");
            let expected = format!("otpgate: cannot write to standard output: {cause}");
            assert!(
                told.contains(&expected) && told.ends_with("; nothing was changed\n"),
                "{told}"
            );
            assert_eq!(site.content(), before, "{args:?}");
            assert!(!fs::exists(image).unwrap(), "{args:?}");
        }
    }
    for (args, is_refused) in [
        ("add bob --no-pin", true),
        ("add bob --no-pin -q", true),
        ("rekey alice", true),
        // There it can be seen.
        ("add carol --no-pin --qr carol.png", false),
    ] {
        let before = site.content();
        let ran = Command::new("sh")
            .args(["-c", &format!("{PROGRAM} {args} </dev/null >&-")])
            .current_dir(site.directory.path())
            .env("OTPGATE_USERS_FILE", site.users())
            .output()
            .unwrap();
        let told = String::from_utf8(ran.stderr).unwrap();
        assert_eq!(ran.status.success(), !is_refused, "{args}: {told}");
        assert_eq!(told.contains("otpgate: standard output is closed: "), is_refused, "{told}");
        assert_eq!(site.content() == before, is_refused, "{args}");
    }
}

#[test]
fn a_reader_that_went_away_is_nothing_to_talk_about() {
    let site = site("HOTP alice - KEY\n");
    for args in [
        &["list"][..],
        &["list", "--json"],
        &["show", "alice"],
        &["check"],
        &["check", "--json"],
        &["export", "csv", "-"],
        &["disable", "alice"],
    ] {
        let ran = command(&site, args).stdout(unread()).output().unwrap();
        assert_eq!(String::from_utf8(ran.stderr).unwrap(), "", "{args:?}");
        assert_eq!(ran.status.signal(), Some(SIGPIPE), "{args:?}: {}", ran.status);
    }
    assert!(site.content().starts_with("OFF:"), "what was done before it was told is done");
    for args in [&["list", "--max-failures", "x"][..], &["show", "nobody"], &["nonsense"]] {
        let mut child =
            command(&site, args).stdout(Stdio::piped()).stderr(unread()).spawn().unwrap();
        let mut out = String::new();
        child.stdout.take().unwrap().read_to_string(&mut out).unwrap();
        let status = child.wait().unwrap();
        assert!(matches!(status.code(), Some(1 | 2)), "{args:?}: {status}");
    }
}

#[test]
fn full_output_of_a_report_is_an_error() {
    let site = site("HOTP alice - KEY\n");
    let full = File::options().write(true).open("/dev/full").unwrap();
    let ran = command(&site, &["list"]).stdout(full).output().unwrap();
    assert_eq!(ran.status.code(), Some(1));
    let told = String::from_utf8(ran.stderr).unwrap();
    assert!(told.starts_with("otpgate: cannot write to standard output: No space left"), "{told}");
}

#[test]
fn nothing_in_a_name_moves_the_cursor_colours_hides_or_reorders_what_stands_around_it() {
    // Control characters of both kinds, each mark of direction, invisible ones, another blank.
    let marks = "\u{1b}[31m \u{7} \u{7f} \u{9b}2J \u{85} \u{202a} \u{202b} \u{202c} \u{202d} \u{202e} \u{2066} \u{2067} \u{2068} \u{2069} \u{200e} \u{200f} \u{61c} \u{200b} \u{ad} \u{feff} \u{a0} \u{2028}";
    let names: Vec<String> =
        marks.split(' ').enumerate().map(|(n, mark)| format!("u{n}{mark}x")).collect();
    let lines: String = names.iter().map(|name| format!("HOTP {name} 1 KEY 0 3\n")).collect();
    let site = site(&lines);
    let is_plain = |text: &str| text.chars().all(|c| c == '\n' || (' '..='~').contains(&c));
    let assert_plain = |args: &[&str], input: &str| {
        let ran = site.run(args, input);
        assert!(is_plain(&ran.out) && is_plain(&ran.err), "{args:?}: {:?} {:?}", ran.out, ran.err);
        ran
    };
    for args in [
        &["list"][..],
        &["list", "--json"],
        &["check"],
        &["check", "--json"],
        &["check", "--for-mod-authn-otp"],
        &["export", "google-authenticator", "-"],
        &["complete-user", "u"],
    ] {
        assert_plain(args, "");
    }
    let listed = site.run(&["list"], "").out;
    assert!(
        listed.contains(r#""u0\x1b[31mx""#) && listed.contains(r#""u9\xe2\x80\xaex""#),
        "{listed}"
    );
    let json: serde_json::Value =
        serde_json::from_str(&site.run(&["list", "--json"], "").out).unwrap();
    let users: Vec<&str> = json["tokens"]
        .as_array()
        .unwrap()
        .iter()
        .map(|token| token["user"].as_str().unwrap())
        .collect();
    assert_eq!(users, names, "JSON escapes, and keeps");
    for name in &names {
        let qr = site.path(&format!("{name}.gif"));
        for (args, input) in [
            (&["show", name][..], ""),
            (&["show", name, "--json"], ""),
            (&["verify", name, "--dry-run"], "1755224\n"),
            (&["verify", name, "--dry-run", "--json"], "1755224\n"),
            (&["explain", name], "000000\n"),
            (&["disable", name], ""),
            (&["enable", name], ""),
            (&["set-pin", name], "-\n"),
            (&["set-pin", name, "--plain-pin"], "1234\n"),
            (&["resync", name, "755224", "287082"], ""),
            (&["rekey", name, "-q", "--issuer", name], ""),
            (&["add", name, "--no-pin"], ""),
            (&["add", &format!("{name}y"), "--no-pin", "--qr", qr.to_str().unwrap()], ""),
            (&["-f", qr.to_str().unwrap(), "list"], ""),
            (&["unlock", &format!("{name}y")], ""),
            (&["rename", name, &names[0]], ""),
            (&["list", &format!("--{name}")], ""),
            (&[name], ""),
            (&["advance", name], ""),
            (&["remove", name], ""),
        ] {
            assert_plain(args, input);
        }
    }
}

#[test]
fn an_empty_variable_names_no_users_file() {
    let site = site("HOTP alice - KEY\n");
    let ran = command(&site, &["show", "nobody"]).env("OTPGATE_USERS_FILE", "").output().unwrap();
    let told = String::from_utf8(ran.stderr).unwrap();
    assert!(told.contains("/var/lib/otpgate/users"), "{told}");
    let users = site.users();
    let named = ["-f", users.to_str().unwrap(), "show", "alice"];
    let ran = command(&site, &named).env("OTPGATE_USERS_FILE", "").output().unwrap();
    assert!(ran.status.success(), "{ran:?}");
    let ran = command(&site, &["list", "-f", ""]).output().unwrap();
    assert!(!ran.status.success());
}
