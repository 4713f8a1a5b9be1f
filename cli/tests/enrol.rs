//! `otpgate enrol`: many users at once, with all that is to be handed to them, or nobody.

mod common;

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use common::{PROGRAM, Ran, Site, output_of, own_name, parameter};
use rustix::process::{Pid, Signal, kill_process};

const LIST: &str = "user,Full name,mail\nalice,\"Ms. A, PhD\",a@example.com\nbob,Bob,+49 171 1\n";

impl Site {
    /// With the list on standard input and the files in `out`.
    fn enrol(&self, list: &str, more: &[&str]) -> Ran {
        let out = self.path("out");
        let first = ["enrol", "--from", "-", "--qr-dir", out.to_str().unwrap()];
        self.run(&[&first, more].concat(), list)
    }

    /// Nobody is enrolled, and nothing is left that wasn't there.
    #[track_caller]
    fn is_untouched(&self, content: &str) {
        assert_eq!(self.content(), content);
        assert!(!self.path("out").exists(), "{:?}", names(&self.path("out")));
    }

    /// The rows of the letters' file.
    fn letters(&self, path: &str) -> Vec<Vec<String>> {
        let text = fs::read_to_string(self.path(path)).unwrap();
        text.lines().map(|line| line.split(',').map(str::to_owned).collect()).collect()
    }
}

fn names(directory: &Path) -> BTreeSet<String> {
    let name =
        |entry: std::io::Result<fs::DirEntry>| entry.unwrap().file_name().into_string().unwrap();
    fs::read_dir(directory).unwrap().map(name).collect()
}

fn scan(image: &Path) -> String {
    output_of("zbarimg", &["--quiet", "--raw", image.to_str().unwrap()])
}

fn code(address: &str, more: &[&str]) -> String {
    let digits = parameter(address, "digits");
    output_of("oathtool", &[&["-b", "-d", digits], more, &[parameter(address, "secret")]].concat())
}

#[test]
fn everybody_logs_in_with_the_start_pin_of_their_letter_and_a_code_of_their_qr_code() {
    for (kind, by_oathtool, more) in [
        ("HOTP/T30/6", &["--totp"][..], &["--issuer", "Big Corp"][..]),
        ("HOTP/E/8", &["-c", "0"], &["--hotp", "--digits", "8", "--qr-type", "svg"]),
        (
            "HOTP-SHA256/T60/6",
            &["--totp=sha256", "-s", "60s"],
            &["--algorithm", "sha256", "--period", "60", "--pin-digits", "12", "--plain-pin"],
        ),
    ] {
        let site = Site::ready();
        let ran = site.enrol(LIST, more);
        ran.is(0);
        let out = site.path("out");
        assert!(
            ran.out.starts_with(&format!("2 users enrolled\nQR codes: {}\n", out.display())),
            "{}",
            ran.out
        );
        let text = fs::read_to_string(out.join("letters.csv")).unwrap();
        assert!(text.starts_with("user,start_pin,qr_file,Full name,mail\nalice,"), "{text}");
        assert!(text.contains(",\"Ms. A, PhD\",a@example.com\nbob,"), "{text}");
        assert!(text.ends_with(",Bob,+49 171 1\n"), "{text}");
        let rows = site.letters("out/letters.csv");
        assert_eq!(
            names(&out),
            [&rows[1][2], &rows[2][2], "letters.csv"].map(str::to_owned).into()
        );
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
        assert_eq!(mode(&out), 0o700);
        for row in &rows[1..] {
            let [user, pin, file] = [0, 1, 2].map(|i| &row[i][..]);
            assert_eq!(mode(&out.join(file)), 0o600);
            let digits = if more.contains(&"12") { 12 } else { 8 };
            assert!(pin.len() == digits && pin.bytes().all(|b| b.is_ascii_digit()), "{pin}");
            assert!(!pin.starts_with('0'));
            let image = match file.strip_suffix(".svg") {
                Some(name) => {
                    let png = site.path(&format!("{name}.png"));
                    output_of(
                        "rsvg-convert",
                        &["-o", png.to_str().unwrap(), out.join(file).to_str().unwrap()],
                    );
                    png
                }
                None => out.join(file),
            };
            let address = scan(&image);
            let code = code(&address, by_oathtool);
            assert_eq!(site.login(user, &code), "denied-pin", "{more:?}");
            assert_eq!(site.login(user, &format!("{pin}{code}")), "granted-fresh", "{more:?}");
            let secret = parameter(&address, "secret");
            for shown in [&ran.out, &ran.err, &text] {
                assert!(!shown.contains(secret));
            }
            assert!(!ran.out.contains(pin) && !ran.err.contains(pin));
            assert_eq!(site.content().contains(pin), more.contains(&"--plain-pin"));
        }
        assert_ne!(rows[1][1], rows[2][1]);
        assert_eq!(site.first_words()[0][..2], [kind, "alice"]);
        site.run(&["check", "--as", &own_name()], "").is(0);
    }
}

#[test]
fn a_start_pin_is_flagged_until_it_is_changed() {
    let site = Site::ready();
    site.enrol(LIST, &[]).is(0);
    let flagged = || {
        let ran = site.run(&["list"], "");
        ran.is(0);
        let rows = ran.out.lines().filter(|row| row.ends_with("  on, start PIN"));
        rows.map(|row| row.split(' ').next().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(flagged(), ["alice", "bob"]);
    let today = jiff::Zoned::now().date().to_string();
    let shown = site.run(&["show", "alice"], "").out;
    assert!(shown.contains(&format!("PIN         hashed, start PIN of {today}\n")), "{shown}");
    let json = site.run(&["list", "--json"], "").out;
    assert_eq!(json.matches(&format!("\"start_pin\": \"{today}\"")).count(), 2, "{json}");

    site.run(&["set-pin", "alice"], "sesame9\n").is(0);
    assert_eq!(flagged(), ["bob"]);
    let json = site.run(&["show", "alice", "--json"], "").out;
    assert!(json.contains("\"start_pin\": null"), "{json}");
    // Whoever has another token may still have the start PIN with the first.
    site.run(&["add", "bob", "--another-token", "-q"], "sesame9\n").is(0);
    let ran = site.run(&["set-pin", "bob", "--token", "2"], "sesame8\n");
    ran.is(0);
    assert!(ran.err.contains("\"bob\" stays flagged for a start PIN"), "{}", ran.err);
    assert_eq!(flagged(), ["bob", "bob"]);
    let ran = site.run(&["set-pin", "bob", "--all"], "sesame8\n");
    ran.is(0);
    assert_eq!((&ran.err[..], flagged()), ("", vec![]));
    assert!(!site.content().contains("#@"), "{}", site.content());
}

#[test]
fn without_pins_of_ours_nothing_is_flagged_and_the_letters_have_none() {
    for (option, field) in [("--no-pin", "-"), ("--pin-external", "+")] {
        let site = Site::ready();
        site.enrol("user\nalice\n", &[option]).is(0);
        assert_eq!(site.first_words()[0][2], field);
        assert!(!site.content().contains("#@"), "{}", site.content());
        assert_eq!(site.letters("out/letters.csv"), [["user", "qr_file"], ["alice", "alice.png"]]);
    }
}

#[test]
fn the_letters_keep_the_lists_columns_and_go_where_they_are_told() {
    let site = Site::ready();
    let list = "\u{feff}Mail;Login;Note\r\n=cmd|' /C calc'!A0;alice;x, y\r\n;bob;+49 171\r\n;;\r\n";
    let letters = site.path("merge.csv");
    let ran = site.enrol(
        list,
        &[
            "--user-column",
            "login",
            "--with-address",
            "--mail-merge",
            letters.to_str().unwrap(),
            "--issuer",
            "X",
        ],
    );
    ran.is(0);
    assert!(
        ran.err.ends_with("begin like a spreadsheet's formula and were written with ' before it\n")
            && ran.err.starts_with("otpgate: 1 field of "),
        "{}",
        ran.err
    );
    let text = fs::read_to_string(&letters).unwrap();
    let mut lines = text.lines();
    assert_eq!(lines.next(), Some("user;start_pin;qr_file;address;Mail;Note"));
    let alice: Vec<&str> = lines.next().unwrap().split(';').collect();
    assert_eq!(alice[4..], ["'=cmd|' /C calc'!A0", "x, y"]);
    assert_eq!(alice[3], scan(&site.path("out/alice.png")));
    assert!(lines.next().unwrap().ends_with(";;+49 171"));
    assert_eq!(names(&site.path("out")), ["alice.png", "bob.png"].map(str::to_owned).into());
}

#[test]
fn a_file_named_by_a_user_stays_in_its_directory() {
    let site = Site::ready();
    let long = "x".repeat(255);
    site.enrol(&format!("user\n../../evil\n.hidden\nJos\u{e9}\u{202e}\n{long}\n"), &["--no-pin"])
        .is(0);
    let expected = [
        "%2E.%2F..%2Fevil.png".to_owned(),
        "%2Ehidden.png".to_owned(),
        "Jos%C3%A9%E2%80%AE.png".to_owned(),
        format!("{}~5.png", "x".repeat(200)),
        "letters.csv".to_owned(),
    ];
    assert_eq!(names(&site.path("out")), expected.into());
    let files: Vec<String> =
        site.letters("out/letters.csv")[1..].iter().map(|row| row[1].clone()).collect();
    assert!(files.iter().all(|file| site.path("out").join(file).exists()), "{files:?}");
}

const THERE: &str = "#@ apart carol\nHOTP alice - 00\n";

#[test]
fn whoever_cannot_be_enrolled_is_told_with_their_line_and_nobody_is() {
    let site = Site::ready();
    fs::write(site.users(), THERE).unwrap();
    let list = "user,x\nnew,\nalice,\ncarol,\nALICE,\nnew,\nNew,\na b,\nd\n";
    let ran = site.enrol(list, &[]);
    ran.is(1);
    assert_eq!(
        ran.err,
        "otpgate: standard input: lines that can't be enrolled: 7; nothing was changed (--skip-existing leaves out \
         those who are listed)\n  \
         line 3: \"alice\" is listed already, in line 2 of the users file\n  \
         line 4: line 1 is about an earlier \"carol\" and would apply to the new one: remove it with `otpgate edit`\n  \
         line 5: \"ALICE\" is another spelling of \"alice\" in line 3, and others may take them for one person\n  \
         line 6: \"new\" is in line 2 already\n  \
         line 7: \"New\" is another spelling of \"new\" in line 2, and others may take them for one person\n  \
         line 8: a user name can't contain blanks or control characters\n  \
         line 9: it has 1 fields, the heading has 2\n"
    );
    site.is_untouched(THERE);
    site.enrol("user\nAlice\n", &[]).complains_of(
        "line 2: \"Alice\" is another spelling of \"alice\", who is listed in line 2; if they are two people, use \
         `otpgate add`",
    );
    site.enrol("alice\n", &[]).complains_of("its first line must be a heading with a column");
    site.enrol("user\nnew\n", &["--mail-merge", "-"]).complains_of("name one, not -");
    site.is_untouched(THERE);
}

#[test]
fn a_rerun_leaves_out_those_who_are_listed() {
    let site = Site::ready();
    site.enrol("user\nalice\n", &["--no-pin"]).is(0);
    let letters = site.path("more.csv");
    let more = ["--no-pin", "--skip-existing", "--mail-merge", letters.to_str().unwrap()];
    let ran = site.enrol("user\nalice\nbob\n", &more);
    ran.is(0);
    assert!(
        ran.out.starts_with("1 user enrolled; 1 user left out, listed already\n"),
        "{}",
        ran.out
    );
    assert_eq!(site.letters("more.csv")[1..], [["bob", "bob.png"]]);
    let content = site.content();
    let ran = site.enrol("user\nalice\nbob\n", &more);
    ran.is(0);
    assert_eq!(ran.out, "nobody to enrol; 2 users left out, listed already\n");
    // What is left of somebody else, and another spelling, isn't theirs.
    site.enrol("user\nBOB\n", &more).complains_of("is another spelling of");
    assert_eq!(site.content(), content);
}

#[test]
fn a_dry_run_finds_what_the_real_one_would_and_makes_nothing() {
    let site = Site::ready();
    let ran = site.enrol(LIST, &["--dry-run"]);
    ran.is(0);
    assert_eq!(ran.out, "2 users would be enrolled\n");
    site.is_untouched("");
    site.enrol("user\na b\n", &["--dry-run"]).complains_of("line 2: a user name can't");
    site.enrol(LIST, &["--dry-run", "--mail-merge", "/nowhere/x.csv"])
        .complains_of("cannot use the directory /nowhere");
    fs::create_dir(site.path("out")).unwrap();
    fs::set_permissions(site.path("out"), fs::Permissions::from_mode(0o700)).unwrap();
    fs::write(site.path("out/bob.png"), "mine").unwrap();
    site.enrol(LIST, &["--dry-run"]).complains_of("bob.png already exists");
    assert_eq!(site.content(), "");
}

#[test]
fn a_file_or_a_directory_in_the_way_enrols_nobody() {
    let site = Site::ready();
    let there = site.path("there.csv");
    fs::write(&there, "mine").unwrap();
    site.enrol(LIST, &["--mail-merge", there.to_str().unwrap()])
        .complains_of("there.csv already exists; remove it or use another name");
    assert_eq!(fs::read_to_string(&there).unwrap(), "mine");
    site.enrol(LIST, &["--mail-merge", "/nowhere/x.csv"])
        .complains_of("cannot use the directory /nowhere");
    site.is_untouched("");
    let open = site.path("out");
    fs::create_dir(&open).unwrap();
    fs::set_permissions(&open, fs::Permissions::from_mode(0o777)).unwrap();
    site.enrol(LIST, &[]).complains_of("can be changed by others");
    assert!(names(&open).is_empty());
    assert_eq!(site.content(), "");
}

#[test]
fn where_the_users_file_cannot_be_changed_no_file_is_left() {
    let site = Site::ready();
    // Looking needs no lock; adding does.
    fs::remove_file(site.path("users.lock")).unwrap();
    fs::create_dir(site.path("users.lock")).unwrap();
    site.enrol(LIST, &["--no-pin"]).complains_of("users.lock");
    site.is_untouched("");
}

#[test]
fn a_signal_leaves_nothing() {
    let site = Site::ready();
    // More than are hashed before the signal comes.
    let list: String = (0..5000).map(|i| format!("user{i}\n")).collect();
    fs::write(site.path("list.csv"), format!("user\n{list}")).unwrap();
    for signal in [Signal::INT, Signal::TERM, Signal::HUP] {
        let mut child = Command::new(PROGRAM)
            .args(["enrol", "--from"])
            .arg(site.path("list.csv"))
            .arg("--qr-dir")
            .arg(site.path("out"))
            .env("OTPGATE_USERS_FILE", site.users())
            .stderr(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let began = Instant::now();
        while !site.path("out").exists() {
            assert!(began.elapsed() < Duration::from_secs(30), "it never begins");
            std::thread::sleep(Duration::from_millis(1));
        }
        kill_process(Pid::from_raw(child.id() as i32).unwrap(), signal).unwrap();
        let mut said = String::new();
        std::io::Read::read_to_string(&mut child.stderr.take().unwrap(), &mut said).unwrap();
        let status = child.wait().unwrap();
        assert_eq!(status.signal(), Some(signal.as_raw()), "{status}: {said}");
        assert_eq!(said, "otpgate: interrupted; nothing was changed\n");
        site.is_untouched("");
    }
}
