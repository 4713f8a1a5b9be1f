//! Lines for us alone (`#@`), as each verb treats them.

mod common;

use std::fs;
use std::process::{Command, Stdio};

use common::{PROGRAM, Site, own_name};
use otpgate::store::Store;
use otpgate::token::Ways;
use otpgate::users::file::UsersFile;
use otpgate::users::pragma;

const KEY: &str = "3132333435363738393031323334353637383930";

fn site(content: &str) -> Site {
    let site = Site::ready();
    fs::write(site.users(), content.replace("KEY", KEY)).unwrap();
    site
}

impl Site {
    #[track_caller]
    fn is_left_as(&self, content: &str) {
        assert_eq!(self.content(), content.replace("KEY", KEY));
    }
}

#[test]
fn a_new_file_allows_nothing_and_says_so() {
    let site = Site::new();
    site.run(&["init", "--user", &own_name()], "").is(0);
    let content = site.content();
    assert_eq!(
        content.lines().filter(|line| line.starts_with("#@")).collect::<Vec<_>>(),
        ["#@ allow"]
    );
    assert!(content.lines().all(|line| line.starts_with('#')), "comments to older software");
    let ran = site.run(&["check", "--as", &own_name()], "");
    ran.is(0);
    assert!(ran.out.contains("no problems"), "{}", ran.out);
    site.run(&["add", "alice", "--no-pin", "-q"], "").is(0);
    assert!(site.content().starts_with(&content));
    site.run(&["init", "--user", &own_name()], "").is(0);
    assert!(site.content().starts_with(&content) && site.content().contains("alice"), "made once");
}

#[test]
fn check_tells_of_names_that_others_may_have_though_they_are_twins() {
    let site = site(
        "#@ apart Jos%C3%A9\nHOTP jose - KEY\n#@ apart jose\n#@ apart nobody\nHOTP JOSE - 01KEY\nHOTP Jose - 02KEY\nHOTP Jose - 03KEY\n",
    );
    let ran = site.run(&["check", "--as", &own_name()], "");
    ran.is(0);
    let file = site.users().display().to_string();
    assert_eq!(
        ran.out,
        format!(
            "warning: {file} line 1: #@ apart: \"Jos\\xc3\\xa9\" goes to the next provider, though it is another spelling of \"jose\" in line 2\n\
             warning: {file} line 2: the name \"jose\" is spelt otherwise as \"JOSE\" in line 5, \"Jose\" in line 6, and others \
             may take them for one person; unless they are several, give one another name with `otpgate rename`\n\
             warning: {file} line 3: #@ apart: \"jose\" is listed, in line 2: it has no effect; remove it with `otpgate edit`\n"
        )
    );
}

#[test]
fn check_tells_of_start_pins_that_were_not_changed_for_long() {
    let days_ago = |days: i64| {
        let day = jiff::Zoned::now().date() - jiff::ToSpan::days(days);
        day.to_string()
    };
    let (old, new, ahead) = (days_ago(15), days_ago(14), days_ago(-3));
    let site = site(&format!(
        "#@ start-pin alice {old}\nHOTP alice - KEY\nHOTP bob - 01KEY\n#@ start-pin bob {new}\n\
         #@ start-pin nobody {old}\nHOTP carol - 02KEY\n#@ start-pin carol {ahead}\n"
    ));
    let ran = site.run(&["check", "--as", &own_name()], "");
    ran.is(0);
    let file = site.users().display().to_string();
    assert_eq!(
        ran.out,
        format!(
            "warning: {file} line 1: \"alice\" has had a start PIN for 15 days, which whoever made or carried the letter \
             may know: change it with `otpgate set-pin`\n\
             warning: {file} line 5: #@ start-pin: \"nobody\" is not listed: it has no effect; remove it with `otpgate edit`\n"
        )
    );
}

#[test]
fn check_tells_faults_and_kinds_that_it_does_not_know() {
    let none = "isn't printable ASCII";
    for (line, status, severity, told) in [
        ("#@ limits max_failures=5", 0, "", ""),
        ("#@ allow apps", 0, "", ""),
        ("#@ apart jos%C3%A9", 0, "", ""),
        ("#@ free      ", 0, "", ""),
        ("#@ limits", 0, "warning", "#@ limits: it limits nothing"),
        ("#@ later s3cret", 0, "warning", "#@ later: unknown to this version, it has no effect"),
        (
            "#@ limits max_offset=x",
            1,
            "error",
            "#@ limits: max_offset takes a number from 0 to 10000, not \"x\"; nobody can log in until it is corrected",
        ),
        (
            "#@ allow all",
            1,
            "error",
            "#@ allow: \"all\" is not one of apps, trusted-networks=NETWORK,NETWORK, trusted-computer=DAYS; it allows nothing until it is corrected",
        ),
        ("#@ apart jos\u{e9}", 1, "error", none),
        (
            "#@ start-pin alice soon",
            1,
            "error",
            "#@ start-pin: \"soon\" is not a day written like 2026-12-01; it has no effect until it is corrected",
        ),
    ] {
        let site = site(&format!("HOTP alice - KEY\n{line}\n"));
        let ran = site.run(&["check", "--as", &own_name()], "");
        ran.is(status);
        let users = site.users();
        let start = format!("{severity}: {} line 2: ", users.display());
        match severity {
            "" => assert!(ran.out.contains("no problems"), "{line}: {}", ran.out),
            _ => assert!(
                ran.out.starts_with(&start) && ran.out.contains(told),
                "{line}: {}",
                ran.out
            ),
        }
        assert!(!ran.out.contains("s3cret"), "{}", ran.out);
    }
    let ran = site("#@ limits max_failures=5\n")
        .run(&["check", "--as", &own_name(), "--for-mod-authn-otp"], "");
    assert!(ran.out.contains("line 1: for mod_authn_otp, the limits are a comment"), "{}", ran.out);
}

#[test]
fn locked_is_who_is_locked_by_the_files_limits() {
    let lines = "HOTP alice - KEY 0 5\nHOTP bob - 00 0 4\n";
    for (first, flags, expected) in [
        ("", &[][..], ["on", "on"]),
        ("", &["--max-failures", "4"], ["locked", "locked"]),
        ("#@ limits max_failures=5\n", &[], ["locked", "on"]),
        ("#@ limits max_failures=5\n#@ limits max_failures=4\n", &[], ["locked", "locked"]),
        ("#@ limits max_failures=5\n", &["--max-failures", "20"], ["locked", "on"]),
        ("#@ limits max_failures=20\n", &["--max-failures", "5"], ["locked", "on"]),
        ("#@ limits max_offset=1\n", &[], ["on", "on"]),
    ] {
        let site = site(&format!("{first}{lines}"));
        let ran = site.run(&[&["list"], flags].concat(), "");
        ran.is(0);
        let states: Vec<&str> =
            ran.out.lines().skip(1).map(|row| row.rsplit("  ").next().unwrap()).collect();
        assert_eq!(states, expected, "{first} {flags:?}");
        for (user, state) in ["alice", "bob"].iter().zip(expected) {
            let ran = site.run(&[&["show", user], flags].concat(), "");
            assert!(ran.out.contains(&format!("  state       {state}\n")), "{}", ran.out);
        }
    }
    let json = site(&format!("#@ limits max_failures=5\n{lines}")).run(&["list", "--json"], "").out;
    assert_eq!(json.matches("\"locked\": true").count(), 1, "{json}");
    let ran = site(&format!("#@ limits max_failures\n{lines}")).run(&["list"], "");
    ran.is(0);
    assert_eq!(
        ran.err,
        "otpgate: warning: line 1: #@ limits: max_failures needs a value: max_failures=VALUE; nobody can log in \
         until it is corrected\n"
    );
}

#[test]
fn verify_and_explain_keep_to_the_files_limits() {
    // Counter 3.
    let code = "969429\n";
    let flags = ["--max-offset", "100"];
    let site = site("#@ limits max_offset=2\nHOTP alice - KEY\n");
    let ran = site.run(&[&["explain", "alice"], &flags[..]].concat(), code);
    assert!(ran.out.contains("more than a server searches"), "{}", ran.out);
    assert!(ran.out.contains("a server would say: denied-code"), "{}", ran.out);
    let ran = site.run(&[&["verify", "alice", "--dry-run"], &flags[..]].concat(), code);
    ran.is(1);
    assert!(ran.out.starts_with("denied-code: "), "{}", ran.out);
    let ran = site.run(&["verify", "alice", "--max-offset", "1"], "359152\n");
    ran.is(1);
    site.run(&[&["verify", "alice"], &flags[..]].concat(), "359152\n").is(0);

    let site = self::site("#@ limits max_offset\nHOTP alice - KEY\n");
    let ran = site.run(&["verify", "alice"], "755224\n");
    ran.is(1);
    assert!(
        ran.out.starts_with("error: cannot use ") && ran.out.contains("line 1: #@ limits"),
        "{}",
        ran.out
    );
}

#[test]
fn edit_tells_changes_in_words_and_refuses_faults() {
    let site = site("#@ limits max_failures=10\nHOTP alice - KEY\n");
    let edit = |editor: &str| {
        let output = Command::new(PROGRAM)
            .args(["edit"])
            .env("OTPGATE_USERS_FILE", site.users())
            .env("EDITOR", editor)
            .env_remove("VISUAL")
            .stdin(Stdio::null())
            .output()
            .unwrap();
        (
            output.status.success(),
            String::from_utf8(output.stdout).unwrap(),
            String::from_utf8(output.stderr).unwrap(),
        )
    };
    assert_eq!(
        edit("sed -i s/=10/=5/"),
        (
            true,
            "changes:\n  line 1: #@ limits: max_failures=10 -> max_failures=5\ninstalled\n"
                .to_owned(),
            String::new()
        )
    );
    let (_, _, err) = edit("sed -i s/=5/=few/");
    assert!(err.starts_with("otpgate: line 1: #@ limits: max_failures takes a number"), "{err}");
    site.is_left_as("#@ limits max_failures=5\nHOTP alice - KEY\n");
    let (is_done, out, _) = edit("sed -i '1i #@ later x'");
    assert!(is_done && out.contains("line 1: #@ later: new, of an unknown kind"), "{out}");
}

#[test]
fn lines_of_a_user_go_and_are_renamed_with_them() {
    const LINES: &str = "#@ apart jose\nHOTP jose - KEY\n#@ apart  jos%65 \r\n#@ apart joseph\n#@ limits max_offset=4\n";
    let site = site(LINES);
    site.run(&["disable", "jose"], "").is(0);
    site.run(&["enable", "jose"], "").is(0);
    site.is_left_as(LINES);
    site.run(&["rename", "jose", "100%"], "").is(0);
    site.is_left_as(
        "#@ apart 100%25\nHOTP 100% - KEY\n#@ apart  100%25 \r\n#@ apart joseph\n#@ limits max_offset=4\n",
    );
    site.run(&["rename", "100%", "joseph"], "")
        .complains_of("line 4 is about an earlier \"joseph\"");
    let ran = site.run(&["remove", "100%"], "");
    ran.is(0);
    assert_eq!(
        ran.out,
        "removed token 1 of \"100%\"\nremoved #@ apart of \"100%\", line 1 of the old file\n\
         removed #@ apart of \"100%\", line 3 of the old file\n\"100%\" has no token left\n"
    );
    site.is_left_as("#@ apart joseph\n#@ limits max_offset=4\n");
}

#[test]
fn a_flag_for_a_start_pin_goes_with_its_user_and_is_renamed_with_them() {
    let site = site("HOTP jose - KEY\n#@ start-pin jose 2026-12-01\n");
    site.run(&["rename", "jose", "al"], "").is(0);
    site.is_left_as("HOTP al - KEY\n#@ start-pin al 2026-12-01\n");
    site.run(&["rekey", "al", "-q"], "").is(0);
    assert!(site.content().ends_with("\n#@ start-pin al 2026-12-01\n"), "its PIN stays");
    site.run(&["remove", "al"], "").is(0);
    site.is_left_as("");
}

#[test]
fn a_user_who_has_another_token_keeps_their_lines() {
    let site = site("#@ apart jose\nHOTP jose - KEY\nHOTP jose - 00\n");
    site.run(&["remove", "jose", "--token", "2"], "").is(0);
    site.is_left_as("#@ apart jose\nHOTP jose - KEY\n");
}

#[test]
fn a_name_of_which_lines_are_left_is_not_given_to_somebody_new() {
    let lines = "#@ limits max_offset=4\n#@ apart jose\n";
    let site = site(lines);
    site.run(&["add", "jose", "--no-pin"], "").complains_of(
        "line 2 is about an earlier \"jose\" and would apply to the new one: remove it with `otpgate edit`, or with --purge",
    );
    let import = ["import", "otpauth", "-", "--no-pin"];
    let uri = "otpauth://totp/jose?secret=GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ\n";
    site.run(&import, uri).complains_of("users whose names still have #@ lines");
    site.is_left_as(lines);
    site.run(&["add", "jose", "--no-pin", "--purge"], "").is(0);
    assert!(
        !site.content().contains("#@ apart")
            && site.content().starts_with("#@ limits max_offset=4\nHOTP/T30")
    );
    // Lines that are about a user who is listed are that user's.
    fs::write(site.users(), "HOTP jose - KEY\n#@ apart jose\n".replace("KEY", KEY)).unwrap();
    site.run(&["add", "jose", "--no-pin", "--purge"], "").complains_of("has a token already");
    site.is_left_as("HOTP jose - KEY\n#@ apart jose\n");
    site.run(&["add", "jose", "--no-pin", "--another-token"], "").is(0);
}

/// Lines about alice, whatever they let in or close; faulty ones and odd spellings of them as well.
const ABOUT_ALICE: [&str; 17] = [
    "#@ app alice phone sha256:00112233445566778899aabbccddeeff:SUM used=0000-00-00T00Z path=/dav/",
    "#@ app alice phone sha256:00112233445566778899aabbccddeeff:SUM used=2026-12-01T08Z methods=GET until=2099-12-31",
    "#@ trust alice 192.0.2.0/24,2001:db8::/32",
    "#@ always alice",
    "#@ always alice apps",
    "#@ always alice pin",
    "#@ start-pin alice 2026-12-01",
    "#@ apart alice",
    "#@\ttrust   al%69ce 192.0.2.0/24 \r",
    "#@ app alice phone",
    "#@ trust alice everywhere",
    "#@ always alice nonsense",
    "#@ start-pin alice soon",
    "#@ Trust alice 192.0.2.0/24",
    "#@always alice",
    "#@ session alice nonsense",
    "#@ computer alice nonsense",
];

/// What a line says of all users stays, whoever comes and goes.
const ABOUT_EVERYBODY: &str = "#@ allow apps trusted-networks=198.51.100.0/24\n";

#[test]
fn nobody_inherits_what_a_line_says_of_somebody_of_the_same_name() {
    let sum = "0123456789abcdef".repeat(4);
    for line in ABOUT_ALICE {
        let line = &format!("{}\n", line.replace("SUM", &sum))[..];
        let (alice, bob) = (format!("HOTP alice 1234 {KEY}\n"), format!("HOTP bob - {KEY}\n"));
        let site = || self::site(&format!("{alice}{line}{bob}{ABOUT_EVERYBODY}"));
        let add = |site: &Site, name: &str| site.run(&["add", name, "--no-pin", "-q"], "");
        // No line about this name is left, and those about others and about all are.
        let has_none = |site: &Site, name: &str| {
            let content = site.content();
            let about = |line: &str| {
                pragma::user_of(line.as_bytes()).is_some_and(|it| it == *name.as_bytes())
            };
            assert!(!content.lines().any(about), "{line}: {content}");
            assert!(content.contains(ABOUT_EVERYBODY), "{line}: {content}");
            let found = UsersFile::new(&site.users()).find(name.as_bytes()).unwrap();
            assert_eq!(found.entry.ways, Ways::default(), "{line}");
            let shown = site.run(&["show", name], "").out;
            assert!(!shown.contains("start PIN"), "{line}: {shown}");
        };

        let gone = site();
        gone.run(&["remove", "alice"], "").is(0);
        has_none(&gone, "alice");
        add(&gone, "alice").is(0);
        has_none(&gone, "alice");

        let renamed = site();
        renamed.run(&["rename", "alice", "carol"], "").is(0);
        has_none(&renamed, "alice");
        add(&renamed, "alice").is(0);
        has_none(&renamed, "alice");
        assert!(pragma_lines(&renamed).iter().any(|line| line.contains(" carol")), "{line}");
        renamed.run(&["rename", "alice", "dora"], "").is(0);
        renamed.run(&["rename", "carol", "alice"], "").is(0);
        has_none(&renamed, "dora");

        // Whoever is switched off and on again has what they had.
        let off = site();
        let before = pragma_lines(&off);
        off.run(&["disable", "alice"], "").is(0);
        assert_eq!(pragma_lines(&off), before);
        off.run(&["enable", "alice"], "").is(0);
        assert_eq!(pragma_lines(&off), before);

        // A token that an editor took away leaves such a line behind: its name goes to nobody.
        let left = || self::site(&format!("{line}{bob}{ABOUT_EVERYBODY}"));
        let refused = left();
        let before = refused.content();
        let csv = format!("alice,{KEY},hotp,6\n");
        let users = refused.path("list.csv");
        fs::write(&users, "user\nalice\n").unwrap();
        let out = refused.path("out");
        let [users, out] = [&users, &out].map(|path| path.to_str().unwrap());
        for (status, args, input) in [
            (1, &["add", "alice", "--no-pin", "-q"][..], ""),
            (1, &["add", "alice", "--no-pin", "-q", "--another-token"], ""),
            (1, &["rename", "bob", "alice"], ""),
            (1, &["import", "csv", "-", "--no-pin"], &csv),
            (1, &["import", "csv", "-", "--no-pin", "--another-token"], &csv),
            // It leaves the user out, as it is told to.
            (0, &["import", "csv", "-", "--no-pin", "--skip-existing"], &csv),
            (1, &["enrol", "--from", users, "--qr-dir", out, "--no-pin"], ""),
            (1, &["enrol", "--from", users, "--qr-dir", out, "--no-pin", "--skip-existing"], ""),
            (1, &["paper", "alice"], ""),
            (1, &["app", "add", "alice", "laptop", "--path=/dav/"], ""),
            (1, &["trust", "alice", "192.0.2.0/24"], ""),
            (1, &["enable", "alice"], ""),
        ] {
            let ran = refused.run(args, input);
            let (is, was) = ((ran.status, refused.content()), (status, before.clone()));
            assert_eq!(is, was, "{line}: {args:?}: {} {}", ran.out, ran.err);
        }
        let report = refused.run(&["check", "--as", &own_name()], "");
        // A name is set apart whether or not anybody has it.
        let is_told = report.out.contains("\"alice\" is not listed: it has no effect");
        assert_eq!(is_told, !line.contains("apart"), "{line}: {}", report.out);
        let purged = left();
        purged.run(&["add", "alice", "--no-pin", "-q", "--purge"], "").is(0);
        has_none(&purged, "alice");
    }
}

fn pragma_lines(site: &Site) -> Vec<String> {
    site.content().lines().filter(|line| line.starts_with("#@")).map(str::to_owned).collect()
}
