//! What a helpdesk asks: who is locked, who never logs in, when somebody was here last.

mod common;

use std::fmt::Write as _;
use std::fs;

use common::{Ran, Site};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use otpgate::otp::{Digits, Hash, hotp};
use serde_json::Value;

const KEY: &str = "3132333435363738393031323334353637383930";
const DAY: i64 = 86_400;

fn now() -> i64 {
    Timestamp::now().as_second()
}

fn code(counter: u64) -> String {
    let code = hotp(Hash::Sha1, b"12345678901234567890", counter, Digits::SIX);
    String::from_utf8(code.as_bytes().to_vec()).unwrap()
}

/// Local time, as the users file has it.
fn field(time: i64) -> String {
    let time = Timestamp::from_second(time).unwrap().to_zoned(TimeZone::system());
    time.strftime("%Y-%m-%dT%H:%M:%SL").to_string()
}

fn site(lines: &str) -> Site {
    let site = Site::ready();
    fs::write(site.users(), lines).unwrap();
    site
}

/// A user of each kind, with keys of their own.
fn helpdesk() -> Site {
    let now = now();
    let hash = "$5$saltstring$5B8vYYiY.CVt1RlTTf8KbXBH3hsxY/GNooZaBBGWEc5";
    let (today, earlier, long_ago) = (field(now), field(now - 10 * DAY), field(now - 100 * DAY));
    let key = |number: u8| format!("{number:02x}{}", &KEY[2..]);
    let [bob, carol, dora, eve] = [1, 2, 3, 4].map(key);
    site(&format!(
        "HOTP alice 1234 {KEY} 7 5 {} {today} 192.0.2.7\n\
         HOTP bob - {bob} 7 0 123456 {long_ago} 192.0.2.8\n\
         HOTP carol {hash} {carol}\n\
         OFF:HOTP dora + {dora} 7 0 123456 {earlier} 192.0.2.9\n\
         HOTP eve 5678 {eve} 7 0 123456 1970-01-01T00:00:00L 192.0.2.9\n",
        code(6)
    ))
}

/// The users in a list, in its order.
fn users(ran: &Ran) -> String {
    let mut lines = ran.out.lines();
    assert!(lines.next().is_some_and(|head| head.starts_with("USER ")), "{}", ran.out);
    lines.map(|line| line.split(' ').next().unwrap()).collect::<Vec<_>>().join(" ")
}

fn json_of(ran: &Ran) -> Value {
    serde_json::from_str(&ran.out).unwrap_or_else(|error| panic!("{error}: {}", ran.out))
}

/// The questions in docs/command.md, each with its command.
fn questions() -> Vec<(String, Vec<String>)> {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/command.md");
    let page = fs::read_to_string(page).unwrap();
    let (_, after) = page.split_once("\n### A helpdesk's questions\n").unwrap();
    let rows = after.lines().skip_while(|line| !line.starts_with("| ")).skip(2);
    let row = |line: &str| {
        let [question, command] = line.trim_matches('|').split(" | ").collect::<Vec<_>>()[..]
        else {
            panic!("{line}");
        };
        let command = command.split('`').nth(1).unwrap();
        let mut words = command.split(' ').map(str::to_owned);
        assert_eq!(words.next().as_deref(), Some("otpgate"), "{line}");
        (question.trim().to_owned(), words.collect())
    };
    rows.take_while(|line| line.starts_with("| ")).map(row).collect()
}

#[test]
fn each_question_of_the_page_is_answered_by_its_command() {
    let site = helpdesk();
    let asked = questions();
    for (question, args) in &asked {
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        let input = if args[0] == "explain" { code(6) } else { String::new() };
        let own_name = common::own_name();
        // The server's user is somebody else where root runs the tests.
        let as_us = ["--as", &own_name];
        let ran = match args[..] {
            ["check"] => site.run(&[&args[..], &as_us].concat(), &input),
            _ => site.run(&args, &input),
        };
        ran.is(0);
        let listed = match &question[..] {
            "Who is locked out?" => "alice",
            "Who has never logged in?" => "carol",
            "Who hasn't logged in for 90 days?" => "bob carol eve",
            "Who has logged in since Monday?" => "alice",
            "Who logged in last?" => "alice dora bob eve carol",
            "Who has no PIN?" => "bob",
            "Whose PIN is stored in the clear?" => "alice eve",
            "Whose PIN is hashed?" => "carol",
            "Who is switched off?" => "dora",
            "Is Alice all right?" => {
                for told in ["state       locked\n", "last login  20", "failures    5\n"] {
                    assert!(ran.out.contains(told), "{told}: {}", ran.out);
                }
                continue;
            }
            "Why is Alice's code refused?" => {
                assert!(ran.out.contains("already used at 20"), "{}", ran.out);
                continue;
            }
            "Is the file all right?" => {
                assert!(!ran.out.contains("error"), "{}", ran.out);
                continue;
            }
            _ => panic!("{question} isn't tested"),
        };
        assert_eq!(users(&ran), listed, "{question} {args:?}");
    }
    assert_eq!(asked.len(), 12);
}

#[test]
fn options_of_list_add_up_and_what_they_cant_mean_is_refused() {
    let site = helpdesk();
    for (args, listed) in [
        (&["list"][..], "alice bob carol dora eve"),
        (&["list", "bob", "alice", "bob"], "bob alice"),
        (&["list", "bob", "carol", "--never"], "carol"),
        (&["list", "--pin", "plain", "--unused", "90"], "eve"),
        (&["list", "--unused", "200"], "carol eve"),
        (&["list", "--unused", "5", "--off"], "dora"),
        (&["list", "--pin", "external"], "dora"),
        (&["list", "--since", "11d"], "alice dora"),
        (&["list", "--since", "2000-01-01"], "alice bob dora"),
        (&["list", "--since", "2000-01-01", "--sort", "last-login"], "alice dora bob"),
        (&["list", "--locked", "--max-failures", "6"], ""),
    ] {
        let ran = site.run(args, "");
        assert_eq!(users(ran.is(0)), listed, "{args:?}");
        let json = json_of(&site.run(&[args, &["--json"]].concat(), ""));
        let names = json["tokens"].as_array().unwrap();
        let names: Vec<&str> = names.iter().map(|token| token["user"].as_str().unwrap()).collect();
        assert_eq!(names.join(" "), listed, "{args:?}");
    }
    site.run(&["list", "--locked"], "").complains_of(
        "which tokens are locked depends on the server's limit: give it with --max-failures N\n",
    );
    fs::write(site.users(), format!("#@ limits max_failures=5\n{}", site.content())).unwrap();
    assert_eq!(users(site.run(&["list", "--locked"], "").is(0)), "alice");
    for args in [
        &["--never", "--since", "monday"][..],
        &["--since", "someday"],
        &["--unused", "0"],
        &["--unused", "-1"],
        &["--pin", "long"],
        &["--sort", "name"],
    ] {
        site.run(&[&["list"], args].concat(), "").is(2);
    }
}

#[test]
fn a_name_that_isnt_listed_is_told_after_those_that_are() {
    let site = helpdesk();
    let ran = site.run(&["list", "nobody", "bob", "Alice"], "");
    ran.is(1);
    assert_eq!(users(&ran), "bob");
    let file = site.users().display().to_string();
    assert_eq!(
        ran.err,
        format!(
            "otpgate: \"nobody\" is not listed in {file}\n\
             otpgate: \"Alice\" is not listed in {file}; \"alice\" is\n"
        )
    );
}

#[test]
fn lines_that_cant_be_read_are_listed_unless_something_is_asked_of_them() {
    let site = site(&format!("HOTP/X alice - {KEY}\nHOTP bob - {KEY}\n"));
    assert_eq!(users(site.run(&["list", "alice"], "").is(0)), "alice");
    let ran = site.run(&["list", "--never"], "");
    assert_eq!(users(ran.is(0)), "bob");
    assert_eq!(
        ran.err,
        "otpgate: warning: 1 line can't be read and may belong here; see `otpgate check`\n"
    );
}

#[test]
fn tokens_of_one_user_are_listed_together_wherever_their_lines_are() {
    let mut lines = format!("HOTP alice - {KEY}\n");
    for i in 0..3_000 {
        writeln!(lines, "HOTP user{i} - {:040x}", i + 1).unwrap();
    }
    write!(lines, "HOTP/T30 alice - {KEY}\n#\nHOTP alice 1 {KEY}\nHOTP a-much-longer-name - 00\n")
        .unwrap();
    let ran = site(&lines).run(&["list"], "");
    let lines: Vec<&str> = ran.is(0).out.lines().collect();
    assert_eq!(lines.len(), 3_005);
    assert_eq!(lines[0], "USER     TOKEN  TYPE        PIN    LAST LOGIN  FAILURES  STATE");
    for (line, row) in [
        (1, "alice    1      HOTP/E/6    none   never       0         on"),
        (2, "alice    2      HOTP/T30/6  none   never       0         on"),
        (3, "alice    1      HOTP/E/6    plain  never       0         on"),
        (4, "user0    1      HOTP/E/6    none   never       0         on"),
        (3_003, "user2999  1      HOTP/E/6    none   never       0         on"),
        (3_004, "a-much-longer-name  1      HOTP/E/6    none   never       0         on"),
    ] {
        assert_eq!(lines[line], row);
    }
}

/// The last login of Alice's only token in JSON, and whether its code was forgotten.
fn last_login(site: &Site, user: &str) -> (Value, Value, bool) {
    let token = &json_of(&site.run(&["show", user, "--json"], ""))["tokens"][0];
    (
        token["last_login"].clone(),
        token["last_address"].clone(),
        token["forgotten"].as_bool().unwrap(),
    )
}

#[test]
fn the_last_login_outlives_whatever_ends_its_code() {
    let codes = [code(11), code(12)];
    let resync = (&["resync", "alice", &codes[0], &codes[1]][..], "");
    let logout = (&["verify", "alice", "--forget", "word"][..], "1234logout\n");
    for (what, (args, input), status, is_forgotten) in [
        ("a forget", logout, 1, true),
        ("resync", resync, 0, true),
        ("advance", (&["advance", "alice"], ""), 0, true),
        ("unlock", (&["unlock", "alice"], ""), 0, false),
        ("set-pin", (&["set-pin", "alice", "--plain-pin"], "4711\n"), 0, false),
        ("disable", (&["disable", "alice"], ""), 0, false),
        ("a wrong code", (&["verify", "alice"], "1234000000\n"), 1, false),
        ("check --fix", (&["check", "--fix", "--as", &common::own_name()], ""), 0, false),
    ] {
        let site = site(&format!("HOTP alice 1234 {KEY} 5\n"));
        let login = ["verify", "alice", "--address", "192.0.2.7"];
        site.run(&login, &format!("1234{}\n", code(5))).is(0);
        let before = last_login(&site, "alice");
        assert!(before.0.is_string() && before.1 == "192.0.2.7" && !before.2, "{before:?}");
        site.run(args, input).is(status);
        assert_eq!(last_login(&site, "alice"), (before.0, before.1, is_forgotten), "{what}");
        assert_eq!(users(&site.run(&["list", "--never"], "")), "", "{what}");
        assert_eq!(users(&site.run(&["list", "--since", "today"], "")), "alice", "{what}");
        let words = site.run(&["show", "alice"], "").out;
        let ended = " from 192.0.2.7; its code was forgotten\n";
        assert_eq!(words.contains(ended), is_forgotten, "{what}: {words}");
    }
    // Another key is another token.
    let site = helpdesk();
    site.run(&["rekey", "alice", "--quiet"], "").is(0);
    assert_eq!(users(&site.run(&["list", "--never"], "")), "alice carol");
}

#[test]
fn a_forgotten_code_stays_forgotten_through_resync_advance_and_rename() {
    let site = site(&format!("HOTP alice 1234 {KEY} 5\n"));
    let login = |password: &str| {
        let ran = site.run(&["verify", "alice", "--forget", "word"], &format!("{password}\n"));
        ran.out.split(':').next().unwrap().to_owned()
    };
    let right = |counter: u64| format!("1234{}", code(counter));
    assert_eq!(login(&right(5)), "granted-fresh");
    let before = last_login(&site, "alice").0;
    assert_eq!(login(&right(5)), "granted-reuse");
    assert_eq!(login("1234logout"), "forgotten");
    assert_eq!(login(&right(5)), "denied-expired");
    site.run(&["resync", "alice", &code(11), &code(12)], "").is(0);
    for counter in [5, 11, 12] {
        assert_eq!(login(&right(counter)), "denied-expired", "{counter}");
    }
    site.run(&["advance", "alice", "--by", "10"], "").is(0);
    for counter in [5, 11, 12, 22] {
        assert_eq!(login(&right(counter)), "denied-expired", "{counter}");
    }
    site.run(&["rename", "alice", "bob"], "").is(0);
    assert_eq!(last_login(&site, "bob"), (before, Value::Null, true));
    site.run(&["rename", "bob", "alice"], "").is(0);
    assert_eq!(login(&right(23)), "granted-fresh");
}

#[test]
fn never_and_forgotten_are_told_apart() {
    let site = site(&format!(
        "HOTP never - {KEY} 7\n\
         HOTP forgotten - 00 7 0 123456 1970-01-01T00:00:00L 192.0.2.9\n\
         HOTP used - 01 7 0 123456 {} 192.0.2.9\n",
        field(now())
    ));
    // An admin who spends a code logs nobody in.
    site.run(&["resync", "never", &code(9), &code(10)], "").is(0);
    assert_eq!(users(&site.run(&["list", "--never"], "")), "never");
    let out = site.run(&["list"], "").out;
    for (user, last) in [("never", " never  "), ("forgotten", " forgotten  ")] {
        let row = out.lines().find(|row| row.starts_with(&format!("{user} "))).unwrap();
        assert!(row.contains(last), "{row}");
    }
    assert_eq!(last_login(&site, "forgotten"), (Value::Null, "192.0.2.9".into(), true));
    assert_eq!(last_login(&site, "never"), (Value::Null, Value::Null, false));
}
