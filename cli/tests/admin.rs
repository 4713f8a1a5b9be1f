//! The verbs that administer a users file, as an admin meets them.

mod common;

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};

use common::{Ran, Site, own_name};
use otpgate::gate::Store;
use otpgate::otp::{Digits, Hash, hotp};
use otpgate::token::{Pin, State};
use otpgate::users::file::UsersFile;
use serde_json::{Value, json};

const KEY: &str = "3132333435363738393031323334353637383930";
const OTHER: &str = "00112233445566778899aabbccddeeff00112233";

/// A code of `KEY`.
fn code(counter: u64) -> String {
    let code = hotp(Hash::Sha1, b"12345678901234567890", counter, Digits::SIX);
    String::from_utf8(code.as_bytes().to_vec()).unwrap()
}

fn now() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs()
}

/// With these lines; `KEY` and `OTHER` stand for keys.
fn site(lines: &str) -> Site {
    let site = Site::ready();
    fs::write(site.users(), lines.replace("KEY", KEY).replace("OTHER", OTHER)).unwrap();
    site
}

fn json_of(ran: &Ran) -> Value {
    serde_json::from_str(&ran.out).unwrap_or_else(|error| panic!("{error}: {}", ran.out))
}

#[track_caller]
fn does(site: &Site, args: &[&str], input: &str, out: &str) {
    let ran = site.run(args, input);
    ran.is(0);
    assert_eq!((&ran.out[..], &ran.err[..]), (out, ""), "{args:?}");
}

/// `FILE` stands for the users file.
#[track_caller]
fn refuses(site: &Site, args: &[&str], input: &str, message: &str) {
    let before = site.content();
    let ran = site.run(args, input);
    ran.is(1);
    let message = message.replace("FILE", site.users().to_str().unwrap());
    assert_eq!(
        (&ran.out[..], &ran.err[..]),
        ("", &format!("otpgate: {message}\n")[..]),
        "{args:?}"
    );
    assert_eq!(site.content(), before, "{args:?}: nothing was changed");
}

fn states(site: &Site, user: &str) -> Vec<State> {
    let found = UsersFile::new(&site.users()).find(user.as_bytes()).unwrap();
    found.entry.lines.iter().map(|line| line.state.clone()).collect()
}

const TWO: &str = "HOTP/E/6 alice 1234 KEY 7 2\nHOTP/T30/8 alice $5$saltstring$5B8vYYiY.CVt1RlTTf8KbXBH3hsxY/GNooZaBBGWEc5 OTHER\n";
const TWO_LISTED: &str = "\n  1  HOTP/E/6, PIN in the clear, last login never\n  2  HOTP/T30/8, hashed PIN, last login never";

#[test]
fn every_verb_about_a_user_refuses_a_name_that_isnt_listed() {
    let site = site("HOTP alice - KEY\n");
    for verb in [
        "show", "remove", "disable", "enable", "unlock", "set-pin", "rekey", "resync", "explain",
        "advance",
    ] {
        refuses(&site, &[verb, "bob"], "", "\"bob\" is not listed in FILE");
        refuses(&site, &[verb, "Alice"], "", "\"Alice\" is not listed in FILE; \"alice\" is");
    }
    refuses(&site, &["rename", "bob", "carol"], "", "\"bob\" is not listed in FILE");
}

#[test]
fn every_verb_names_a_missing_file_with_what_to_do() {
    let site = Site::new();
    for args in [
        &["list"][..],
        &["show", "a"],
        &["remove", "a"],
        &["disable", "a"],
        &["enable", "a"],
        &["unlock", "a"],
        &["set-pin", "a"],
        &["rekey", "a"],
        &["rename", "a", "b"],
        &["resync", "a", "1", "2"],
        &["verify", "a"],
        &["explain", "a"],
        &["check", "--fix"],
        &["edit"],
        &["advance", "--all"],
    ] {
        let ran = site.run(args, "");
        let message = format!(
            "otpgate: cannot find {}: No such file or directory; create it with `otpgate init`, or correct the path in the server's configuration\n",
            site.users().display()
        );
        assert_eq!(ran.err, message, "{args:?}");
        ran.is(1);
    }
}

#[test]
fn where_there_are_several_tokens_the_verb_wants_to_know_which() {
    let site = site(TWO);
    for verb in ["remove", "set-pin"] {
        let text =
            format!("\"alice\" has 2 tokens: say which with --token N, or --all{TWO_LISTED}");
        refuses(&site, &[verb, "alice"], "sesame9\n", &text);
    }
    let text = format!("\"alice\" has 2 tokens: say which with --token N{TWO_LISTED}");
    refuses(&site, &["rekey", "alice"], "", &text);
    for verb in ["remove", "set-pin", "rekey", "disable", "enable", "unlock", "resync"] {
        let text = "\"alice\" has no token 3, only 2; see `otpgate show`";
        refuses(&site, &[verb, "alice", "--token", "3"], "", text);
    }
    site.run(&["remove", "alice", "--token", "1", "--all"], "").is(2);
}

#[test]
fn remove_takes_a_token_or_all_of_them_and_nothing_else() {
    let site = site(&format!("# mine\r\n{TWO}\nHOTP bob - 00 # tail\n"));
    does(&site, &["remove", "alice", "--token", "1"], "", "removed token 1 of \"alice\"\n");
    assert!(site.content().starts_with("# mine\r\nHOTP/T30/8 alice"));
    let gone = "removed token 1 of \"alice\"\n\"alice\" has no token left\n";
    does(&site, &["remove", "alice"], "", gone);
    assert_eq!(site.content(), "# mine\r\n\nHOTP bob - 00 # tail\n");
}

#[test]
fn lines_of_one_token_have_one_number_and_go_together() {
    let site = site("HOTP alice - KEY 3\nHOTP alice - OTHER\nHOTP alice 12 KEY 5 9\n");
    does(
        &site,
        &["unlock", "alice", "--token", "1"],
        "",
        "token 1 of \"alice\": 9 wrong codes forgotten\n",
    );
    assert!(states(&site, "alice").iter().all(|state| state.failures == 0));
    does(&site, &["disable", "alice", "--token", "1"], "", "token 1 of \"alice\" is now off\n");
    assert_eq!(site.content().matches("OFF:").count(), 2);
    let gone = "removed token 1 of \"alice\"\n";
    does(&site, &["remove", "alice", "--token", "1"], "", gone);
    assert_eq!(site.first_words(), [["HOTP", "alice", "-", OTHER]]);
}

#[test]
fn a_token_whose_lines_stand_apart_is_removed_once_with_all_others() {
    let site =
        site("#@ apart alice\nHOTP alice - KEY\nHOTP alice - OTHER\nHOTP alice 12 KEY\n# end\n");
    does(
        &site,
        &["remove", "alice", "--all"],
        "",
        "removed token 1 of \"alice\"\nremoved token 2 of \"alice\"\n\
         removed #@ apart of \"alice\", line 1 of the old file\n\"alice\" has no token left\n",
    );
    assert_eq!(site.content(), "# end\n");
}

#[test]
fn disable_and_enable_keep_the_state_exact() {
    let site = site("HOTP alice - KEY\n");
    let password = code(0);
    site.run(&["verify", "alice", "--address", "192.0.2.7"], &password).is(0);
    let before = (site.content(), states(&site, "alice"));
    does(&site, &["disable", "alice"], "", "token 1 of \"alice\" is now off\n");
    does(&site, &["disable", "alice"], "", "token 1 of \"alice\" was already off\n");
    assert_eq!(states(&site, "alice"), before.1);
    let denied = site.run(&["verify", "alice"], &code(1));
    denied.is(1);
    assert_eq!(denied.out, "denied-locked: all tokens of the user are switched off\n");
    does(&site, &["enable", "alice"], "", "token 1 of \"alice\" is now on\n");
    does(&site, &["enable", "alice"], "", "token 1 of \"alice\" was already on\n");
    assert_eq!((site.content(), states(&site, "alice")), before);
}

#[test]
fn lines_that_cannot_be_read_are_passed_over_with_a_warning_and_never_alone() {
    let site = site("HOTP alice $5$x KEY\nHOTP alice - OTHER 0 4\n");
    let number = "line 1 can't be read and lets nobody in; see `otpgate check`, correct it with `otpgate edit`";
    for (args, out) in [
        (["disable", "alice"], "token 2 of \"alice\" is now off\n"),
        (["enable", "alice"], "token 2 of \"alice\" is now on\n"),
        (["unlock", "alice"], "token 2 of \"alice\": 4 wrong codes forgotten\n"),
    ] {
        let ran = site.run(&args, "");
        ran.is(0);
        assert_eq!(
            (&ran.out[..], &ran.err[..]),
            (out, &format!("otpgate: warning: {number}\n")[..])
        );
        refuses(&site, &[args[0], "alice", "--token", "1"], "", number);
    }
}

#[test]
fn unlock_forgets_wrong_codes_and_nothing_else() {
    let site = site("HOTP alice - KEY\n");
    site.run(&["verify", "alice"], &code(3)).is(0);
    for _ in 0..2 {
        let wrong = site.run(&["verify", "alice", "--max-failures", "2"], "000000");
        assert_eq!(wrong.out, "denied-code: wrong code\n");
    }
    let locked = site.run(&["verify", "alice", "--max-failures", "2"], &code(4));
    assert_eq!(locked.out, "denied-locked: too many wrong codes; unlock with `otpgate unlock`\n");
    let before = states(&site, "alice");
    does(&site, &["unlock", "alice"], "", "token 1 of \"alice\": 2 wrong codes forgotten\n");
    does(&site, &["unlock", "alice"], "", "token 1 of \"alice\": had no wrong codes\n");
    assert_eq!(
        states(&site, "alice"),
        [State { failures: 0, last_failure: None, ..before[0].clone() }]
    );
    let spent = site.run(&["verify", "alice", "--max-linger", "0"], &code(3));
    assert_eq!(spent.out, "denied-expired: the last accepted code, which has expired\n");
    site.run(&["verify", "alice", "--max-failures", "2"], &code(4)).is(0);
}

#[test]
fn set_pin_stores_a_hash_unless_told_otherwise_and_keeps_the_state() {
    let site = site("HOTP alice 1234 KEY 7 2\n");
    for (args, field) in [
        (&["--plain-pin"][..], "sesame9"),
        (&["--pin-external"], "+"),
        (&["--no-pin"], "-"),
        (&["--token", "1"], "$argon2id$"),
        (&["--all"], "$argon2id$"),
    ] {
        let done = "token 1 of \"alice\" has a new PIN\n";
        does(&site, &[&["set-pin", "alice"], args].concat(), "sesame9\n", done);
        assert!(site.first_words()[0][2].starts_with(field), "{args:?}");
    }
    let state = states(&site, "alice").remove(0);
    assert_eq!((state.counter.as_written(), state.failures), (7, 2));
    site.run(&["verify", "alice"], &format!("sesame9{}", code(7))).is(0);
    assert!(!site.content().contains("sesame9"));
}

#[test]
fn pins_that_mean_something_else_are_refused() {
    let site = site("HOTP alice 1234 KEY\nMOTP carol 1234 OTHER\n");
    for (pin, reason) in [
        ("", "the PIN is empty (for a token without PIN, use --no-pin)"),
        ("-", "the PINs - and + have another meaning in the users file"),
        ("+", "the PINs - and + have another meaning in the users file"),
        ("$1", "a PIN that starts with $ could be taken for a hash"),
        ("a b", "the PIN contains a blank"),
        ("a\tb", "the PIN contains a blank"),
        ("a\u{1}b", "the PIN contains a control character"),
    ] {
        for plain in [&[][..], &["--plain-pin"]] {
            let args = [&["set-pin", "alice"], plain].concat();
            refuses(&site, &args, &format!("{pin}\n"), &format!("{reason}; nothing was changed"));
        }
    }
    let motp = |cannot| {
        format!(
            "token 1 is Mobile-OTP, whose codes are computed from the PIN: it {cannot}; use --plain-pin or --no-pin"
        )
    };
    refuses(&site, &["set-pin", "carol"], "99\n", &motp("can't have a hashed PIN"));
    refuses(
        &site,
        &["set-pin", "carol", "--pin-external"],
        "",
        &motp("can't have an external PIN"),
    );
    does(
        &site,
        &["set-pin", "carol", "--plain-pin"],
        "9999\n",
        "token 1 of \"carol\" has a new PIN\n",
    );
    does(&site, &["set-pin", "carol", "--no-pin"], "", "token 1 of \"carol\" has a new PIN\n");
    site.run(&["set-pin", "alice", "--plain-pin", "--no-pin"], "").is(2);
}

#[test]
fn set_pin_mends_a_line_whose_pin_was_its_only_fault() {
    let site = site("HOTP alice $5$x KEY\nHOTP bob - nokey\n");
    does(
        &site,
        &["set-pin", "alice", "--plain-pin"],
        "9999\n",
        "token 1 of \"alice\" has a new PIN\n",
    );
    let found = UsersFile::new(&site.users()).find(b"alice").unwrap();
    assert!(matches!(found.entry.lines[0].token.pin, Pin::Literal(_)));
    refuses(
        &site,
        &["set-pin", "bob", "--no-pin"],
        "",
        "line 2 can't be read: field 4 (key) is not 1 to 256 bytes in hexadecimal or base32:; nothing was changed: correct it with `otpgate edit`",
    );
}

#[test]
fn rekey_starts_anew_with_another_key_and_keeps_pin_and_type() {
    let site = site("HOTP/E/8 alice 1234 KEY 7 2 55551234 2023-11-01T00:00:00L 192.0.2.1 # tail\n");
    let ran = site.run(&["rekey", "alice", "--issuer", "Big Corp", "-q"], "");
    ran.is(0);
    let address = ran.out.trim_end();
    assert!(address.starts_with("otpauth://hotp/Big%20Corp:alice?secret="), "{address}");
    assert!(address.ends_with("&issuer=Big%20Corp&algorithm=SHA1&digits=8&counter=0"), "{address}");
    let found = UsersFile::new(&site.users()).find(b"alice").unwrap();
    let line = &found.entry.lines[0];
    let secret = address.split(['=', '&']).nth(1).unwrap();
    assert_eq!(secret, data_encoding::BASE32_NOPAD.encode(line.token.key.expose()));
    assert_eq!(line.state, State { intact: true, ..State::fresh() });
    assert_eq!(site.first_words()[0][..3], ["HOTP/E/8", "alice", "1234"]);
    assert!(site.content().trim_end().ends_with("# tail"));

    fs::write(site.path("key"), OTHER).unwrap();
    let key_file = site.path("key");
    let args = ["rekey", "alice", "--key-file", key_file.to_str().unwrap(), "-q"];
    site.run(&args, "").is(0);
    assert_eq!(site.first_words()[0][3], OTHER);
    refuses(&site, &args, "", "token 1 of \"alice\" has that key already");
    let told = site.run(&["rekey", "alice"], "");
    assert_eq!(
        told.err,
        "A new key for token 1 of \"alice\". For the phone, shown only now:\n\n\
         Token 1 of \"alice\" has a new key.\n"
    );
}

#[test]
fn rekey_of_mobile_otp_prints_the_key_itself() {
    let site = site("MOTP carol 1234 OTHER\n");
    let ran = site.run(&["rekey", "carol"], "");
    ran.is(0);
    assert_eq!(ran.out.trim_end(), site.first_words()[0][3]);
}

#[test]
fn rename_takes_all_tokens_along() {
    let site = site(&format!("{TWO}HOTP bob - 00\n"));
    site.run(&["verify", "alice"], &format!("1234{}", code(7))).is(0);
    let before = states(&site, "alice");
    does(&site, &["rename", "alice", "Älice"], "", "\"alice\" is \"\\xc3\\x84lice\" now\n");
    does(
        &site,
        &["rename", "Älice", "älice"],
        "",
        "\"\\xc3\\x84lice\" is \"\\xc3\\xa4lice\" now\n",
    );
    assert_eq!(states(&site, "älice"), before);
    refuses(
        &site,
        &["rename", "älice", "bob"],
        "",
        "\"bob\" is listed already; nothing was changed",
    );
    refuses(
        &site,
        &["rename", "älice", "BOB"],
        "",
        "\"BOB\" is another spelling of \"bob\", which is listed; nothing was changed",
    );
    refuses(&site, &["rename", "bob", "bob"], "", "\"bob\" is listed already; nothing was changed");
    for (name, reason) in [
        ("", "can't be empty"),
        ("a b", "can't contain blanks or control characters"),
        ("a\u{1}", "can't contain blanks or control characters"),
        ("a:b", "can't contain a colon: HTTP ends the name there"),
        (&"x".repeat(256), "can't be longer than 255 bytes"),
    ] {
        refuses(&site, &["rename", "bob", name], "", &format!("a user name {reason}"));
    }
    let broken = self::site("HOTP bob $5$x 00\n");
    refuses(
        &broken,
        &["rename", "bob", "rob"],
        "",
        "line 1 can't be read: field 3 (pin): the PIN starts like a hash but isn't a well-formed one; nothing was changed: correct it with `otpgate edit` first",
    );
}

#[test]
fn list_shows_every_token_and_no_secret() {
    let site =
        site(&format!("# c\n{TWO}OFF:MOTP bob 4711 00ff\nHOTP/X bob - 11\nT + + 1122 0 5 - - -\n"));
    site.run(&["verify", "alice"], &format!("1234{}", code(7))).is(0);
    let ran = site.run(&["list"], "");
    ran.is(0);
    let login = states(&site, "alice")[0].used.as_of(now() as i64).unwrap().1;
    let login = jiff::Timestamp::from_second(login).unwrap().to_zoned(jiff::tz::TimeZone::system());
    let login = login.strftime("%Y-%m-%d %H:%M:%S");
    let expected = format!(
        "USER   TOKEN  TYPE        PIN       LAST LOGIN           FAILURES  STATE\n\
         alice  1      HOTP/E/6    plain     {login}  0         on\n\
         alice  2      HOTP/T30/8  hashed    never                0         on\n\
         bob    1      MOTP/T10/6  plain     never                0         off\n\
         bob    2      -           -         -                    -         line 5 can't be read: field 1 (type) is not HOTP, HOTP-SHA256, HOTP-SHA512 or MOTP with /E or /T<seconds> and /<1-10>, or PAPER/<6-10>/<1-1000>\n\
         +      1      HOTP/T30/6  external  never                5         on\n"
    );
    assert_eq!(ran.out, expected);
    let locked = site.run(&["list", "--max-failures", "5"], "");
    assert_eq!(
        locked.out.lines().filter(|line| line.ends_with("locked")).count(),
        1,
        "{}",
        locked.out
    );
    let over = site.run(&["list", "--max-failures", "6"], "");
    assert!(!over.out.contains("locked"));
    for ran in [
        &ran,
        &site.run(&["list", "--json"], ""),
        &site.run(&["show", "alice"], ""),
        &site.run(&["show", "bob"], ""),
    ] {
        for secret in ["1234 ", "4711", KEY, OTHER, "$5$", "00ff", &code(7)] {
            assert!(!ran.out.contains(secret), "{secret}: {}", ran.out);
        }
    }
}

#[test]
fn show_tells_where_each_token_stands() {
    let site = site("HOTP/T30 alice 1 KEY -4 0\nHOTP alice + OTHER 7 2\nHOTP/X alice - 11\n");
    let ran = site.run(&["show", "alice"], "");
    ran.is(0);
    assert_eq!(
        ran.out,
        "alice\n\n\
         token 1 (line 1)\n  type        HOTP/T30/6\n  PIN         plain\n  key         20 bytes\n  state       on\n  last login  never\n  failures    0\n  clock       4 steps (2 minutes) slow\n\n\
         token 2 (line 2)\n  type        HOTP/E/6\n  PIN         external\n  key         20 bytes\n  state       on\n  last login  never\n  failures    2\n  counter     7 is expected next\n\n\
         token 3 (line 3)\n  unreadable  field 1 (type) is not HOTP, HOTP-SHA256, HOTP-SHA512 or MOTP with /E or /T<seconds> and /<1-10>, or PAPER/<6-10>/<1-1000>\n"
    );
}

#[test]
fn json_of_list_and_show_is_as_documented() {
    let site = site("HOTP/E/8 alice 1 KEY 7 2\nOFF:HOTP/T30 alice - OTHER\nHOTP/X bob - 11\n");
    let file = site.users().to_str().unwrap().to_owned();
    let first = json!({
        "user": "alice", "token": 1, "line": 1, "type": "HOTP/E/8", "digits": 8, "period": null, "pin": "plain", "start_pin": null,
        "key_bytes": 20, "enabled": true, "counter": 7, "codes_left": null, "failures": 2, "last_failure": null, "locked": null,
        "last_login": null, "last_address": null, "forgotten": false, "error": null,
    });
    let mut second = first.clone();
    for (name, value) in [
        ("token", json!(2)),
        ("line", json!(2)),
        ("type", json!("HOTP/T30/6")),
        ("digits", json!(6)),
        ("period", json!(30)),
        ("pin", json!("none")),
        ("enabled", json!(false)),
        ("counter", json!(0)),
        ("failures", json!(0)),
    ] {
        second[name] = value;
    }
    let third = json!({
        "user": "bob", "token": 1, "line": 3,
        "error": "field 1 (type) is not HOTP, HOTP-SHA256, HOTP-SHA512 or MOTP with /E or /T<seconds> and /<1-10>, or PAPER/<6-10>/<1-1000>",
    });
    let shown = json_of(&site.run(&["show", "alice", "--json"], ""));
    assert_eq!(
        shown,
        json!({
            "users_file": file, "tokens": [first, second], "apps": [], "sessions": [], "computers": [],
            "trusted_networks": [], "allowed_networks": [], "always": null,
        })
    );
    let listed = json_of(&site.run(&["list", "--json"], ""));
    assert_eq!(listed, json!({ "users_file": file, "tokens": [first, second, third] }));
    let limited = json_of(&site.run(&["show", "alice", "--json", "--max-failures", "2"], ""));
    assert_eq!(
        (&limited["tokens"][0]["locked"], &limited["tokens"][1]["locked"]),
        (&json!(true), &json!(false))
    );
    site.run(&["verify", "alice", "--address", "192.0.2.7"], &format!("1{}", code_of_8(7))).is(0);
    let used = json_of(&site.run(&["show", "alice", "--json"], ""));
    let login = used["tokens"][0]["last_login"].as_str().unwrap();
    let login: jiff::Timestamp = login.parse().unwrap();
    assert!((now() as i64 - login.as_second()).abs() < 60);
    assert_eq!(used["tokens"][0]["last_address"], "192.0.2.7");
}

fn code_of_8(counter: u64) -> String {
    let code = hotp(Hash::Sha1, b"12345678901234567890", counter, Digits::new(8).unwrap());
    String::from_utf8(code.as_bytes().to_vec()).unwrap()
}

#[test]
fn verify_decides_as_a_server_does_and_says_why() {
    let site = site("HOTP alice 1234 KEY\nHOTP ext + OTHER\n");
    let verify = |args: &[&str], password: &str, status: i32, out: &str| {
        let ran = site.run(&[&["verify"], args].concat(), &format!("{password}\n"));
        ran.is(status);
        assert_eq!(ran.out, format!("{out}\n"), "{args:?}");
    };
    let first = format!("1234{}", code(0));
    verify(&["alice", "--dry-run"], &first, 0, "granted-fresh: a new code");
    verify(&["alice", "--dry-run"], "1234000000", 1, "denied-code: wrong code");
    assert!(site.content().starts_with(&format!("HOTP alice 1234 {KEY}\n")), "nothing was changed");
    verify(&["alice", "--address", "192.0.2.7"], &first, 0, "granted-fresh: a new code");
    verify(&["alice"], &first, 0, "granted-reuse: the lingering code");
    let other = ["alice", "--logout-on-ip-change", "on", "--address", "192.0.2.8"];
    verify(&other, &first, 1, "denied-ip: the last accepted code, but from another address");
    let nginx = ["alice", "--server", "nginx", "--address", "192.0.2.8"];
    verify(&nginx, &first, 1, "denied-ip: the last accepted code, but from another address");
    verify(
        &["alice", "--max-linger", "0"],
        &first,
        1,
        "denied-expired: the last accepted code, which has expired",
    );
    let far = format!("1234{}", code(20));
    verify(&["alice", "--dry-run"], &far, 1, "denied-code: wrong code");
    verify(&["alice", "--dry-run", "--max-offset", "30"], &far, 0, "granted-fresh: a new code");
    verify(&["alice"], &format!("99{}", code(1)), 1, "denied-pin: wrong PIN");
    verify(&["alice"], "123", 1, "denied-code: the password is shorter than a code");
    verify(&["nobody"], "123456", 1, "unknown: not listed");
    let ext = "denied-pin: the PIN must be checked elsewhere (+), but no PIN provider or PIN file is configured";
    verify(&["ext", "--dry-run"], "99000000", 1, ext);
    verify(
        &["ext", "--dry-run", "--assume-external-pin"],
        "99000000",
        1,
        "denied-code: wrong code",
    );
    fs::write(site.path("pins"), "ext:{PLAIN}99\n").unwrap();
    let pins = site.path("pins");
    let by_file = ["ext", "--dry-run", "--pin-file", pins.to_str().unwrap()];
    verify(&by_file, "98000000", 1, "denied-pin: wrong PIN");
    verify(&by_file, "99000000", 1, "denied-code: wrong code");
    let hexadecimal = "123497eea1";
    verify(&["alice", "--dry-run"], &format!("1234{}", "397eea"), 0, "granted-fresh: a new code");
    verify(
        &["alice", "--dry-run", "--allow-hex", "off"],
        hexadecimal,
        1,
        "denied-code: wrong code",
    );
    verify(
        &["alice", "--address", "192.0.2.7"],
        "",
        1,
        "forgotten: the code was forgotten as requested",
    );
}

#[test]
fn verify_in_json() {
    let site = site("HOTP alice - KEY\n");
    let ran = site.run(&["verify", "alice", "--json", "--dry-run"], &code(0));
    ran.is(0);
    let expected = json!({
        "user": "alice", "granted": true, "result": "granted-fresh", "reason": "a new code", "dry_run": true,
    });
    assert_eq!(json_of(&ran), expected);
}

#[test]
fn settings_that_servers_refuse_are_wrong_usage() {
    let site = site("HOTP alice - KEY\n");
    for (args, message) in [
        (
            &["--max-offset", "10001"][..],
            "--max-offset takes a number from 0 to 10000, not \"10001\"",
        ),
        (
            &["--max-idle", "15"],
            "--max-idle takes a time from 16 to 2147483647 seconds, such as 90, 10m or 1h30m, not \"15\"",
        ),
        (&["--forget", "maybe"], "--forget takes on, word or off, not \"maybe\""),
        (
            &["--lockout-time", "60,30"],
            "--lockout-time takes a maximum of at least the time itself, 60",
        ),
        (
            &["--max-failures", "x"],
            "--max-failures takes a number from 0 to 2147483647 or none, not \"x\"",
        ),
    ] {
        let ran = site.run(&[&["verify", "alice"], args].concat(), "");
        ran.is(2);
        assert!(ran.err.starts_with(&format!("error: {message}\n")), "{}", ran.err);
    }
}

#[test]
fn resync_finds_the_token_and_accepts_its_next_code() {
    let site = site("HOTP alice 1234 KEY 3 7\nHOTP alice - OTHER 3\n");
    does(
        &site,
        &["resync", "alice", &code(500), &code(501)],
        "",
        "token 1 of \"alice\": the next expected counter is 502, it was 3\n",
    );
    assert_eq!(states(&site, "alice")[0].failures, 0);
    site.run(&["verify", "alice"], &format!("1234{}", code(501))).is(1);
    site.run(&["verify", "alice"], &format!("1234{}", code(502))).is(0);
    // Codes may be in groups, as apps show them.
    let in_groups = |code: String| format!(" {} {}", &code[..3], &code[3..]);
    site.run(&["resync", "alice", &in_groups(code(600)), &in_groups(code(601))], "").is(0);
    site.run(&["resync", "alice"], &format!("{}\n{}\n", in_groups(code(500)), code(501))).is(0);
    site.run(&["verify", "alice"], &format!("1234{}", in_groups(code(502)).trim())).is(0);
    // Back, with a word about what that means; from standard input.
    does(
        &site,
        &["resync", "alice", "--token", "1"],
        &format!("{}\n{}\n", code(9), code(10)),
        "token 1 of \"alice\": the next expected counter is 11, it was 503\n\
         warning: that is 492 back: used codes from there on would be accepted again\n",
    );
}

#[test]
fn resync_of_a_time_token_sets_back_a_floor_from_a_wrong_clock() {
    let site = site("HOTP/T30 alice - KEY 0 0 123456 2037-01-01T00:00:00L 192.0.2.1\n");
    let step = now() / 30;
    let denied = site.run(&["verify", "alice"], &code(step));
    assert_eq!(
        denied.out,
        "denied-expired: the last accepted time step is in the future, because a clock was wrong; correct it with `otpgate resync`\n"
    );
    let ran = site.run(&["resync", "alice", &code(step - 100), &code(step - 99)], "");
    ran.is(0);
    let (clock, floor) = ran.out.split_once('\n').unwrap();
    assert!(clock.starts_with("token 1 of \"alice\": its clock is "), "{clock}");
    assert!(
        clock.ends_with("steps (49 minutes) slow") || clock.ends_with("steps (50 minutes) slow"),
        "{clock}"
    );
    assert_eq!(floor, "the last accepted time step was ahead of that, and was set back\n");
    site.run(&["verify", "alice"], &code(step - 98)).is(0);
}

#[test]
fn resync_refuses_what_it_cannot_find() {
    let site = site("HOTP alice - KEY\nHOTP/E/1 bob - KEY 1000\n");
    refuses(
        &site,
        &["resync", "alice", &code(0), &code(2)],
        "",
        "no token of \"alice\" shows these two consecutive codes in the window; see `otpgate explain` for each, or look further with --window; nothing was changed",
    );
    refuses(
        &site,
        &["resync", "alice", &code(8), &code(7)],
        "",
        "the codes are in reverse order: give the older one first; nothing was changed",
    );
    refuses(
        &site,
        &["resync", "alice", &code(8), &code(8)],
        "",
        "the two codes are the same: wait for the next one (press the button again) and give both",
    );
    refuses(
        &site,
        &["resync", "bob", "1", "2"],
        "",
        "these codes of \"bob\" match more than one place: use the next two codes, or choose a token with --token N; nothing was changed",
    );
    refuses(
        &site,
        &["resync", "alice"],
        "\n\n",
        "a code has 1 to 10 characters; nothing was changed",
    );
    site.run(&["resync", "alice", "123456"], "").is(2);
    let far = ["resync", "alice", &code(2000), &code(2001)];
    site.run(&far, "").is(1);
    site.run(&[&far[..], &["--window", "3000"]].concat(), "").is(0);
}

#[test]
fn check_fix_mends_what_it_can_and_says_so() {
    let used = format!("HOTP alice - KEY 1 0 {} 2023-11-01T00:00:00L 192.0.2.1", code(0));
    let site = site(&format!("# c\n{used}\nHOTP/X bob - 00\nHOTP carol - OTHER\n"));
    site.run(&["verify", "carol", "--dry-run"], "").is(1);
    fs::set_permissions(site.users(), fs::Permissions::from_mode(0o666)).unwrap();
    fs::remove_file(site.path("users.lock")).unwrap();
    fs::set_permissions(site.path("users.journal"), fs::Permissions::from_mode(0o644)).unwrap();
    let own_name = own_name();
    let fix = ["check", "--fix", "--as", &own_name];
    let ran = site.run(&fix, "");
    let file = site.users().display().to_string();
    let broken = format!(
        "error: {file} line 3: field 1 (type) is not HOTP, HOTP-SHA256, HOTP-SHA512 or MOTP with /E or /T<seconds> and /<1-10>, or PAPER/<6-10>/<1-1000>\n"
    );
    assert_eq!(
        ran.out,
        format!(
            "fixed: {file} had mode 0666, now 0660\nfixed: made {file}.lock\nfixed: {file}.journal had mode 0644, now 0660\n\
             fixed: {file}: 2 lines got their fixed columns\n{broken}"
        )
    );
    ran.is(1);
    // A counter set by hand: the checksum is put right, and the code stays spent.
    let edited = site.content().replacen(" 1  ", " 2  ", 1);
    fs::write(site.users(), edited).unwrap();
    let ran = site.run(&fix, "");
    assert_eq!(ran.out, format!("fixed: {file}: 1 line got a correct checksum\n{broken}"));
    let state = states(&site, "alice").remove(0);
    assert_eq!((state.counter.as_written(), state.intact), (2, true));
    assert_eq!(site.run(&fix, "").out, broken, "and then there is nothing left to do");
    assert_eq!(fs::metadata(site.path("users.lock")).unwrap().mode() & 0o7777, 0o660);
}

#[test]
fn check_warns_of_repetitions_and_speaks_json() {
    let site =
        site("HOTP alice - KEY\nHOTP Alice - OTHER\nHOTP alice 1234 KEY\nHOTP/E/9 bob - nokey\n");
    let own_name = own_name();
    let ran = site.run(&["check", "--json", "--as", &own_name], "");
    ran.is(1);
    let file = site.users().display().to_string();
    assert_eq!(
        json_of(&ran),
        json!({
            "users_file": file, "server_user": own_name, "ok": false, "fixed": [],
            "findings": [
                { "severity": "error", "line": 4, "text": format!("{file} line 4: field 4 (key) is not 1 to 256 bytes in hexadecimal or base32:") },
                { "severity": "warning", "line": 1, "text": format!("{file} line 1: the name \"alice\" is spelt otherwise as \"Alice\" in line 2, and others may take them for one person; unless they are several, give one another name with `otpgate rename`") },
                { "severity": "warning", "line": 3, "text": format!("{file} line 3: the same token of \"alice\" as in line 1: they are kept in step; remove one with `otpgate edit`") },
            ],
        })
    );
    fs::write(site.users(), format!("HOTP alice - {KEY}\n")).unwrap();
    let fine = json_of(&site.run(&["check", "--json", "--as", &own_name], ""));
    assert_eq!((&fine["ok"], &fine["findings"]), (&json!(true), &json!([])));
}

#[test]
fn check_warns_of_what_mod_authn_otp_doesnt_know_if_asked() {
    // A key of its own for each line.
    let key = |number: u8| format!("{number:02x}{}", &KEY[2..]);
    let long: String = (0..256).map(|byte| format!("{byte:02x}")).collect();
    let site = site(&format!(
        "# {}\nHOTP alice 1234 KEY\nOFF:HOTP bob - {}\nHOTP-SHA256 carol - {}\n\
         HOTP dora $5$saltstring$5B8vYYiY.CVt1RlTTf8KbXBH3hsxY/GNooZaBBGWEc5 {}\n\
         T eve - base32:gezdgnbvgy3tqojqgezdgnbvgy\nT eve - {}\nT fred - {long}\nT george {} {}\n",
        "x".repeat(2000),
        key(3),
        key(4),
        key(5),
        key(7),
        "x".repeat(1000),
        key(9)
    ));
    let own_name = own_name();
    let file = site.users().display().to_string();
    let quiet = site.run(&["check", "--as", &own_name], "");
    assert_eq!(quiet.out, format!("{file}: no problems, for a server that runs as {own_name}\n"));
    let ran = site.run(&["check", "--for-mod-authn-otp", "--as", &own_name], "");
    ran.is(0);
    let warning =
        |(number, text)| format!("warning: {file} line {number}: for mod_authn_otp, {text}\n");
    let expected: String = [
        (3, "the type is unknown: it has no OFF:"),
        (4, "the type is unknown: it has only SHA-1"),
        (5, "the hash itself is the PIN"),
        (6, "the key is unknown: it reads only hexadecimal"),
        (7, "the user is already in line 6: it has one token per user"),
        (9, "the line is too long and is truncated"),
    ]
    .map(warning)
    .concat();
    assert_eq!(ran.out, expected);
}

#[test]
fn the_code_of_another_program_is_accepted_for_a_new_key() {
    let site = site("HOTP/T30 alice - KEY\nHOTP/E/8 bob - OTHER\n");
    for (user, kind) in [("alice", "--totp"), ("bob", "--hotp")] {
        let address = site.run(&["rekey", user, "-q"], "").out;
        let secret = address.split(['=', '&']).nth(1).unwrap();
        let digits = if user == "bob" { "8" } else { "6" };
        let args = [kind, "-d", digits, "--base32", secret];
        let output = std::process::Command::new("oathtool").args(args).output().expect("oathtool");
        assert!(output.status.success(), "{output:?}");
        let code = String::from_utf8(output.stdout).unwrap();
        let ran = site.run(&["verify", user], &code);
        assert_eq!(ran.out, "granted-fresh: a new code\n");
    }
}

#[test]
fn other_lines_the_mode_and_a_symlink_stay() {
    let around =
        ("# a comment\r\n\nHOTP\tbob  1234 00ff 7 # tail\nbroken line\n", "\nHOTP carol - 11");
    let site = site(&format!("{}HOTP alice 1234 KEY{}", around.0, around.1));
    fs::set_permissions(site.users(), fs::Permissions::from_mode(0o640)).unwrap();
    std::os::unix::fs::symlink("users", site.path("link")).unwrap();
    let link = site.path("link");
    for (args, input) in [
        (&["disable", "alice"][..], ""),
        (&["enable", "alice"], ""),
        (&["set-pin", "alice"], "sesame9\n"),
        (&["rekey", "alice", "-q"], ""),
        (&["rename", "alice", "eve"], ""),
        (&["advance", "eve"], ""),
        (&["remove", "eve"], ""),
    ] {
        let before = site.content();
        site.run(&[args, &["-f", link.to_str().unwrap()]].concat(), input).is(0);
        let content = site.content();
        assert_ne!(content, before, "{args:?}");
        assert!(
            content.starts_with(around.0) && content.ends_with(&around.1[1..]),
            "{args:?}: {content}"
        );
        let metadata = fs::symlink_metadata(&link).unwrap();
        assert!(
            metadata.is_symlink() && fs::metadata(&link).unwrap().mode() & 0o7777 == 0o640,
            "{args:?}"
        );
    }
    let left: Vec<_> = fs::read_dir(site.directory.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert!(!left.iter().any(|name| name.to_string_lossy().ends_with(".new")), "{left:?}");
}

#[test]
fn nothing_is_changed_while_somebody_else_holds_the_lock() {
    let site = site("HOTP alice - KEY 0 2\n");
    let before = site.content();
    let locked = otpgate::users::lock::Locked::acquire(&site.users()).unwrap();
    // All at once: each of them waits five seconds.
    std::thread::scope(|threads| {
        for (args, input) in [
            (vec!["remove", "alice"], ""),
            (vec!["disable", "alice"], ""),
            (vec!["unlock", "alice"], ""),
            (vec!["set-pin", "alice", "--no-pin"], ""),
            (vec!["rekey", "alice"], ""),
            (vec!["rename", "alice", "bob"], ""),
            (vec!["resync", "alice", "755224", "287082"], ""),
            (vec!["check", "--fix"], ""),
            (vec!["edit"], ""),
            (vec!["advance", "--all"], ""),
        ] {
            let site = &site;
            threads.spawn(move || {
                let ran = site.run(&args, input);
                ran.complains_of("cannot lock ");
                ran.complains_of(": another program has held it for 5 seconds; end that program (see `fuser` or `lslocks`)");
                assert_eq!(ran.out, "", "{args:?}");
            });
        }
    });
    let looked = site.run(&["verify", "alice", "--dry-run"], &code(0));
    assert_eq!(looked.out, "granted-fresh: a new code\n", "who only looks doesn't wait");
    site.run(&["show", "alice"], "").is(0);
    drop(locked);
    assert_eq!(site.content(), before);
}

#[test]
fn advance_makes_codes_useless_that_may_have_been_used() {
    let site = site(
        "HOTP alice - KEY 7 2\nHOTP/T30 bob - KEY\nHOTP/X carol - 00\nOFF:HOTP dora - OTHER\n",
    );
    let ran = site.run(&["advance", "--all", "--by", "50"], "");
    ran.is(0);
    assert_eq!(ran.out, "event tokens moved ahead by 50: 2\ntime tokens moved up to now: 1\n");
    assert_eq!(
        ran.err,
        "otpgate: warning: line 3 can't be read and was left as it is; see `otpgate check`\n"
    );
    site.run(&["verify", "alice"], &code(56)).is(1);
    site.run(&["verify", "alice"], &code(57)).is(0);
    let step = now() / 30;
    for step in [step, step + 4] {
        let ran = site.run(&["verify", "bob", "--dry-run"], &code(step));
        assert_eq!(ran.out, "denied-expired: an older or skipped code\n");
    }
    does(
        &site,
        &["advance", "alice"],
        "",
        "event tokens moved ahead by 100: 1\ntime tokens moved up to now: 0\n",
    );
    assert_eq!(states(&site, "alice")[0].counter.as_written(), 158);
    site.run(&["advance"], "").is(2);
    site.run(&["advance", "alice", "--all"], "").is(2);
}

#[test]
fn verbs_run_by_root_leave_owner_and_mode_as_they_are() {
    if !rustix::process::geteuid().is_root() {
        // Only root can give files away.
        return;
    }
    let site = Site::new();
    fs::set_permissions(site.directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let users = site.path("sub/users");
    let file = ["-f", users.to_str().unwrap()];
    let run = |args: &[&str], input: &str| site.run(&[args, &file].concat(), input).is(0).status;
    run(&["init", "--user", "daemon"], "");
    run(&["add", "alice", "--no-pin", "-q"], "");
    let owner = || {
        let metadata = fs::metadata(&users).unwrap();
        (metadata.uid(), metadata.gid(), metadata.mode())
    };
    let before = owner();
    for (args, input) in [
        (&["set-pin", "alice"][..], "sesame9\n"),
        (&["rekey", "alice", "-q"], ""),
        (&["disable", "alice"], ""),
        (&["enable", "alice"], ""),
        (&["rename", "alice", "bob"], ""),
        (&["unlock", "bob"], ""),
        (&["advance", "--all"], ""),
        (&["check", "--fix", "--as", "daemon"], ""),
        (&["remove", "bob"], ""),
    ] {
        run(args, input);
        assert_eq!(owner(), before, "{args:?}");
    }
    // Lock and journal of somebody else are given back.
    let lock = site.path("sub/users.lock");
    std::os::unix::fs::chown(&lock, Some(0), Some(0)).unwrap();
    run(&["check", "--fix", "--as", "daemon"], "");
    assert_eq!(fs::metadata(&lock).unwrap().uid(), before.0);
}
