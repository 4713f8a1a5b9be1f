//! What `otpgate explain` tells somebody who helps a user.

mod common;

use std::fmt::Write as _;
use std::fs;

use common::{Ran, Site};
use otpgate::otp::{Digits, Hash, hotp, hotp_hexadecimal};
use serde_json::{Value, json};

const KEY: &str = "3132333435363738393031323334353637383930";
const KEY_BYTES: &[u8] = b"12345678901234567890";
const OTHER: &str = "00112233445566778899aabbccddeeff00112233";

/// A code of `KEY`.
fn code(counter: u64) -> String {
    code_of(Hash::Sha1, KEY_BYTES, counter, 6)
}

/// The same in hexadecimal. Hardly any code of another time or token is one by chance, so what is
/// told doesn't depend on when the test runs.
fn hexadecimal(key: &[u8], counter: u64) -> String {
    let code = hotp_hexadecimal(Hash::Sha1, key, counter, Digits::SIX);
    String::from_utf8(code.as_bytes().to_vec()).unwrap()
}

fn code_of(hash: Hash, key: &[u8], counter: u64, digits: u8) -> String {
    let code = hotp(hash, key, counter, Digits::new(digits).unwrap());
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
fn explains(site: &Site, input: &str, status: i32, out: &str) {
    let ran = site.run(&["explain", "alice"], input);
    ran.is(status);
    assert_eq!(ran.out, out, "{input}");
}

#[test]
fn explain_says_what_a_code_is_and_changes_nothing() {
    let site = site("HOTP alice 1234 KEY 3\nHOTP/T30 alice - OTHER\nHOTP bob - 00112233\n");
    let before = site.content();
    let explain = |input: &str, status: i32, out: &str| {
        explains(&site, input, status, out);
        assert_eq!(site.content(), before);
    };
    explain(
        &hexadecimal(KEY_BYTES, 3),
        0,
        "token 1 (HOTP/E/6): right code, PIN missing; the code expected next\n\
         token 2 (HOTP/T30/6): not a code of this token\n\
         a server would say: denied-code: wrong code\n",
    );
    explain(
        &format!("1234{}", hexadecimal(KEY_BYTES, 3)),
        0,
        "token 1 (HOTP/E/6): the code expected next\n\
         token 2 (HOTP/T30/6): not a code of this token\n\
         a server would say: granted-fresh: a new code\n",
    );
    explain(
        &hexadecimal(&[0, 0x11, 0x22, 0x33], 1),
        1,
        "token 1 (HOTP/E/6): not a code of this token\n\
         token 2 (HOTP/T30/6): not a code of this token\n\
         it is a code of another user: token 1 of \"bob\"\n\
         a server would say: denied-code: wrong code\n",
    );
    explain(
        "123",
        1,
        "token 1 (HOTP/E/6): too short, its codes have 6 digits\n\
         token 2 (HOTP/T30/6): too short, its codes have 6 digits\n\
         a server would say: denied-code: the password is shorter than a code\n",
    );
}

#[test]
fn explain_in_json() {
    let site = site("HOTP/T30 alice 1234 KEY\n");
    let step = now() / 30;
    let ran = site.run(&["explain", "alice", "--json"], &hexadecimal(KEY_BYTES, step - 10));
    ran.is(0);
    let value = json_of(&ran);
    let steps = value["tokens"][0]["steps"].as_i64().unwrap();
    assert!([-10, -11].contains(&steps), "{steps}");
    let expected = json!({
        "user": "alice",
        "tokens": [{
            "token": 1, "type": "HOTP/T30/6", "code": "behind", "steps": steps, "seconds": steps * 30,
            "pin": "missing", "pin_missing": true, "used_at": null, "used_from": null,
            "explanation": format!(
                "right code, PIN missing; the code of {} steps ago: the phone's clock is 5 minutes slow; more than a server searches: correct the clock, or `otpgate resync`",
                -steps
            ),
        }],
        "doubtful": false,
        "causes": [],
        "other_user": null,
        "others_compared": true,
        "server": { "result": "denied-pin", "reason": "wrong PIN" },
    });
    assert_eq!(value, expected);
}

#[test]
fn explain_names_the_likely_cause() {
    let event = site("HOTP alice 1234 KEY\n");
    let sha256 = code_of(Hash::Sha256, KEY_BYTES, 2, 6);
    let ran = event.run(&["explain", "alice"], &format!("1234{sha256}"));
    ran.is(1);
    let likely = "likely cause: token 1: the app makes the codes of HOTP-SHA256/E/6 (SHA-256 instead of SHA-1): set it up anew, or, if it can't do better, change the type with `otpgate edit`\n";
    assert!(ran.out.contains(likely), "{}", ran.out);
    let json = json_of(&event.run(&["explain", "alice", "--json"], &sha256));
    let causes = json["causes"].as_array().unwrap();
    let cause = causes.iter().find(|cause| cause["type"] == "HOTP-SHA256/E/6").unwrap();
    assert_eq!(
        (&cause["cause"], &cause["pin"], &cause["likely"]),
        (&json!("setup"), &json!("missing"), &json!(true))
    );
    let explanation = cause["explanation"].as_str().unwrap();
    assert!(explanation.ends_with("; PIN missing"), "{explanation}");
    // What depends on the time.
    let minutes = site("HOTP/T30 alice 1234 KEY\n");
    let ran = minutes.run(&["explain", "alice", "--window", "1"], &code(now() / 60));
    assert!(ran.out.contains("steps of 60 seconds instead of 30"), "{}", ran.out);

    explains(
        &event,
        &format!("{}1234", code(0)),
        1,
        "token 1 (HOTP/E/6): not a code of this token\n\
         likely cause: token 1: right code, but before the PIN, which comes first\n\
         a server would say: denied-pin: wrong PIN\n",
    );
    // The last six digits are right, and what stands before them isn't the PIN.
    let eight = code_of(Hash::Sha1, KEY_BYTES, 0, 8);
    let ran = event.run(&["explain", "alice"], &format!("1234{eight}"));
    ran.is(0);
    for told in [
        "token 1 (HOTP/E/6): right code, wrong PIN; the code expected next\n",
        "likely cause: token 1: the app makes the codes of HOTP/E/8 (8 digits instead of 6): ",
        "a server would say: denied-pin: wrong PIN\n",
    ] {
        assert!(ran.out.contains(told), "{}", ran.out);
    }
    explains(
        &event,
        "1234xyzxyz",
        1,
        "token 1 (HOTP/E/6): not a code of this token\n\
         no cause found: a mistyped code, or one of another key, such as an older one\n\
         a server would say: denied-code: wrong code\n",
    );
}

#[test]
fn explain_tells_a_hexadecimal_code_where_these_are_switched_off() {
    let site = site("HOTP alice - KEY\n");
    // Counter 0, as some fobs show it.
    let ran = site.run(&["explain", "alice", "--allow-hex", "off"], "93CF18");
    ran.is(0);
    let refused =
        "token 1 (HOTP/E/6): the code expected next; in hexadecimal, which isn't accepted here\n";
    assert_eq!(ran.out, format!("{refused}a server would say: denied-code: wrong code\n"));
    assert!(!site.run(&["explain", "alice"], "93CF18").out.contains("hexadecimal"));
}

#[test]
fn explain_tells_swapped_pins_of_two_tokens() {
    let site = site("HOTP alice 1234 KEY\nHOTP alice 9876 OTHER\n");
    explains(
        &site,
        &format!("9876{}", hexadecimal(KEY_BYTES, 0)),
        0,
        "token 1 (HOTP/E/6): right code, the PIN of token 2; the code expected next\n\
         token 2 (HOTP/E/6): not a code of this token\n\
         a server would say: denied-code: wrong code\n",
    );
}

#[test]
fn what_may_be_chance_is_called_so_until_a_second_code_confirms_it() {
    let site = site("HOTP/E/4 alice - KEY 3\n");
    let short = |counter| code_of(Hash::Sha1, KEY_BYTES, counter, 4);
    let ran = site.run(&["explain", "alice"], &short(900));
    ran.is(0);
    let doubt = "that may be chance: 10% of all codes would look so; give two codes in a row\n";
    assert!(ran.out.contains(doubt), "{}", ran.out);
    let two = format!("{}\n{}\n", short(900), short(901));
    explains(
        &site,
        &two,
        0,
        "token 1 (HOTP/E/4): the code 897 presses ahead of the one expected next; more than a server searches: correct the clock, or `otpgate resync`\n\
         a server would say: denied-code: wrong code\n",
    );
    let ran = site.run(&["explain", "alice"], &format!("{}\n{}\n", short(900), short(950)));
    assert!(ran.out.contains("not a code of this token"), "{}", ran.out);
    let same = site.run(&["explain", "alice"], &format!("{}\n{}\n", short(900), short(900)));
    same.complains_of("that is the same code: wait for the next one and start again");
}

#[test]
fn among_many_users_two_codes_in_a_row_are_compared() {
    let mut lines = "HOTP alice 1234 KEY\n".to_owned();
    for number in 0..3000 {
        writeln!(lines, "HOTP user{number} 99 {:040x}", 0xabc_0000 + number).unwrap();
    }
    let site = site(&lines);
    let mut key = [0; 20];
    key[16..].copy_from_slice(&(0xabc_0000u32 + 2345).to_be_bytes());
    let codes = [3, 4].map(|counter| hexadecimal(&key, counter));
    explains(
        &site,
        &codes[0],
        1,
        "token 1 (HOTP/E/6): not a code of this token\n\
         other users' codes weren't compared: with so many, that takes two codes in a row\n\
         a server would say: denied-pin: wrong PIN\n",
    );
    explains(
        &site,
        &format!("1234{}\n{}\n", codes[0], codes[1]),
        1,
        "token 1 (HOTP/E/6): not a code of this token\n\
         it is a code of another user: token 1 of \"user2345\"\n\
         a server would say: denied-code: wrong code\n",
    );
    let ran = site.run(&["explain", "alice", "--json"], &format!("{}\nxyzxyz\n", codes[0]));
    let value = json_of(&ran);
    assert_eq!((&value["other_user"], &value["others_compared"]), (&Value::Null, &json!(true)));
}
