//! `otpgate paper`: lists of codes for the wallet, as a helpdesk prints them and as they are read.

mod common;

use std::fs;
use std::os::unix::fs::MetadataExt;

use common::{Ran, Site, output_of, own_name};
use otpgate::otp::{Digits, Hash, hotp};
use serde_json::Value;

const KEY: &str = "3132333435363738393031323334353637383930";
/// Of "sesame9".
const HASH: &str = "$5$saltsalt$G7IYwyb6vogyHX7W7Y7MAuY8T34XzBU51tQcN5kYvo.";
const OTHER_HASH: &str = "$2y$04$P1lBgH.ReR7u6iB.IJfVHOaAuXgtzcifRZIhWVk8GCoQ6u9j3uQbu";

fn site(lines: &str) -> Site {
    let site = Site::ready();
    let lines = lines.replace("OTHER", OTHER_HASH).replace("HASH", HASH).replace("KEY", KEY);
    fs::write(site.users(), lines).unwrap();
    site
}

/// The codes of a line of the users file, by its key.
fn codes_of(site: &Site, line: usize, count: u64, digits: u8) -> Vec<String> {
    let key = data_encoding::HEXLOWER.decode(site.first_words()[line][3].as_bytes()).unwrap();
    let digits = Digits::new(digits).unwrap();
    (0..count)
        .map(|counter| hotp(Hash::Sha1, &key, counter, digits))
        .map(|code| String::from_utf8(code.as_bytes().to_vec()).unwrap())
        .collect()
}

/// Codes by number, as somebody reads them off a list: a number, then two groups.
fn read(words: &str) -> Vec<String> {
    let is_number = |word: &&str| word.bytes().all(|byte| byte.is_ascii_digit());
    let numbers: Vec<&str> = words.split_whitespace().filter(is_number).collect();
    assert_eq!(numbers.len() % 3, 0, "{words}");
    let codes = numbers.chunks(3).zip(1..).map(|(parts, number)| {
        assert_eq!(parts[0], number.to_string(), "{words}");
        parts[1..].concat()
    });
    codes.collect()
}

/// What stands in the elements of SVG or HTML that hold codes.
fn texts(markup: &str) -> String {
    let fixed = markup.split("<text ").skip(1).filter(|text| text.contains("monospace"));
    fixed
        .map(|text| text.split_once('>').unwrap().1.split_once('<').unwrap().0.to_owned() + "\n")
        .collect()
}

/// The lines of a list that is printed as text which hold codes.
fn listed(out: &str) -> Vec<String> {
    read(&out.lines().filter(|line| line.starts_with(' ')).collect::<Vec<_>>().join("\n"))
}

#[test]
fn a_list_has_the_pin_of_its_user_and_its_codes_log_in_by_order() {
    let site = site("HOTP/T30 alice HASH KEY\n");
    let ran = site.run(&["paper", "alice", "--issuer", "Big Corp"], "");
    ran.is(0);
    assert_eq!(ran.err, "");
    assert!(ran.out.starts_with("Big Corp: 30 paper codes for alice, printed 20"), "{}", ran.out);
    assert!(ran.out.ends_with("\nPassword: your PIN, then the code.\n"), "{}", ran.out);
    let codes = listed(&ran.out);
    assert_eq!(codes, codes_of(&site, 1, 30, 8));
    assert_eq!(site.first_words()[1][..3], ["PAPER/8/30", "alice", HASH]);
    assert!(site.content().starts_with(&format!("HOTP/T30 alice {HASH} {KEY}")));
    for (code, word) in [
        (&codes[0], "granted-fresh"),
        (&codes[3], "granted-fresh"),
        (&codes[1], "denied-expired"),
        (&codes[29], "denied-code"),
        (&codes[4], "granted-fresh"),
    ] {
        assert_eq!(site.login("alice", &format!("sesame9{code}")), word);
    }
    assert_eq!(site.login("alice", &codes[5]), "denied-pin");
}

#[test]
fn sheets_of_every_kind_show_each_code_with_its_number() {
    for (count, digits) in [(10, 6), (30, 8), (49, 9), (100, 10)] {
        let site = site("HOTP j\u{f6}rg - KEY\n");
        let (count_text, digits_text) = (count.to_string(), digits.to_string());
        let mut again = None;
        for kind in ["svg", "html", "pdf"] {
            let path = site.path(&format!("sheet.{kind}"));
            let args =
                ["paper", "j\u{f6}rg", "--issuer", "a (b)", "--print", path.to_str().unwrap()];
            let more = ["--count", &count_text, "--digits", &digits_text];
            let ran = site.run(&[&args[..], &more, again.as_slice()].concat(), "");
            ran.is(0);
            again = Some("--again");
            assert_eq!(ran.out, "", "no code goes to the terminal");
            assert!(ran.err.contains(&format!("{count} codes, in {}.", path.display())));
            assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o600, "it holds codes");
            let words = match kind {
                "pdf" => {
                    let text = output_of("pdftotext", &["-raw", path.to_str().unwrap(), "-"]);
                    assert!(text.starts_with("a (b)\nj\u{f6}rg\ncodes 1 to "), "{text}");
                    let is_code = |line: &&str| line.bytes().all(|b| b" 0123456789".contains(&b));
                    text.replace('\u{c}', "").lines().filter(is_code).collect::<Vec<_>>().join("\n")
                }
                _ => {
                    let text = fs::read_to_string(&path).unwrap();
                    assert!(text.contains(">j\u{f6}rg</text>") && text.contains(">a (b)</text>"));
                    texts(&text)
                }
            };
            assert_eq!(read(&words), codes_of(&site, 1, count, digits), "{kind}");
        }
    }
}

#[test]
fn a_sheet_can_be_drawn() {
    let site = site("HOTP alice - KEY\n");
    let path = site.path("sheet.svg");
    site.run(&["paper", "alice", "--print", path.to_str().unwrap()], "").is(0);
    let picture = site.path("sheet.png");
    output_of(
        "rsvg-convert",
        &["-d", "60", "-p", "60", "-o", picture.to_str().unwrap(), path.to_str().unwrap()],
    );
    let decoder = png::Decoder::new(std::io::BufReader::new(fs::File::open(picture).unwrap()));
    let mut reader = decoder.read_info().unwrap();
    let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
    let info = reader.next_frame(&mut pixels).unwrap();
    // A4 at 60 dots to the inch.
    assert_eq!((info.width, info.height), (497, 702));
    let dark = pixels.chunks(info.color_type.samples()).filter(|pixel| pixel[0] < 128).count();
    assert!((500..20_000).contains(&dark), "{dark} dark pixels");
}

#[test]
fn a_lost_list_is_replaced_in_its_place_in_one_step() {
    let site =
        site("# one\nPAPER/6/10 alice 1234 KEY 7 2\nHOTP bob - 00\nOFF:PAPER/8/20 alice 1234 00\n");
    let old = codes_of(&site, 1, 10, 6);
    assert_eq!(site.login("alice", &format!("1234{}", old[7])), "granted-fresh");
    let ran = site.run(&["paper", "alice", "--again"], "");
    ran.is(0);
    let codes = listed(&ran.out);
    assert_eq!(codes, codes_of(&site, 1, 10, 6), "as many, of as many digits");
    assert_ne!(codes, old);
    let words = site.first_words();
    assert_eq!(words.len(), 3, "another list of theirs is gone");
    assert_eq!(words[1][..3], ["PAPER/6/10", "alice", "1234"]);
    assert_eq!(words[2][..2], ["HOTP", "bob"]);
    assert_eq!(site.login("alice", &format!("1234{}", old[8])), "denied-code");
    assert_eq!(site.login("alice", &format!("1234{}", codes[0])), "granted-fresh");
    // Longer, and switched on again.
    site.run(&["disable", "alice"], "").is(0);
    site.run(&["paper", "alice", "--again", "--count", "12", "--digits", "8"], "").is(0);
    assert_eq!(site.first_words()[1][..3], ["PAPER/8/12", "alice", "1234"]);
}

#[test]
fn a_list_gets_a_pin_of_its_user_and_none_only_if_nothing_of_theirs_has_one() {
    for (lines, args, input, pin) in [
        ("HOTP a - KEY\n", &[][..], "", "-"),
        ("HOTP a 1234 KEY\nHOTP/T30 a 1234 00\n", &[], "", "1234"),
        ("HOTP a - KEY\nHOTP/T30 a 1234 00\n", &[], "", "1234"),
        ("HOTP a + KEY\n", &[], "", "+"),
        ("MOTP a 1234 KEY\n", &[], "", "1234"),
        ("HOTP a HASH KEY\nHOTP a OTHER 00\n", &["--pin-of", "2"], "", OTHER_HASH),
        ("HOTP a zz zz\nHOTP a 1234 00\n", &[], "", "1234"),
        ("", &["--new", "--no-pin"], "", "-"),
        ("", &["--new", "--plain-pin"], "4711\n", "4711"),
        ("", &["--new", "--pin-external"], "", "+"),
    ] {
        let site = site(lines);
        site.run(&[&["paper", "a"], args].concat(), input).is(0);
        assert_eq!(site.first_words().last().unwrap()[2], pin, "{lines}");
    }
    let site = site("");
    site.run(&["paper", "a", "--new"], "sesame9\n").is(0);
    let code = &codes_of(&site, 0, 1, 8)[0];
    assert_eq!(site.login("a", &format!("sesame9{code}")), "granted-fresh");
}

#[test]
fn what_cant_be_done_is_refused_and_leaves_nothing() {
    let two_pins = "HOTP a HASH KEY\nHOTP a OTHER 00\n";
    for (lines, args, complaint) in [
        ("", &[][..], "\"a\" is not listed in "),
        ("", &[], "; --new adds the user\n"),
        ("HOTP A - KEY\n", &["--new", "--no-pin"], "another spelling of \"A\" in line 1"),
        ("#@ apart a\n", &["--new", "--no-pin"], "is about an earlier \"a\""),
        ("HOTP a - KEY\n", &["--new"], "\"a\" is listed already: leave out --new"),
        ("HOTP a - KEY\n", &["--again"], "\"a\" has no paper list yet: leave out --again"),
        (
            "PAPER/8/30 a - KEY 18\n",
            &[],
            "\"a\" has a paper list already, with 12 codes left; --again replaces it",
        ),
        (
            two_pins,
            &[],
            "have several PINs, or several hashes of one: say whose the list gets with --pin-of N",
        ),
        (two_pins, &["--pin-of", "3"], "\"a\" has no token 3, only 2"),
        ("HOTP a - KEY\nHOTP a 1234 00\n", &["--pin-of", "1"], "another token of \"a\" has a PIN"),
        ("HOTP a - zz\n", &[], "line 1 can't be read and lets nobody in"),
        (
            "HOTP a - KEY\nHOTP/7 a - 00\n",
            &[],
            "the codes of \"a\" have 6 or 7 digits already: each other number of digits is another PIN",
        ),
        ("HOTP a - KEY\n", &["--issuer", "a:b"], "can't be empty or contain a colon"),
    ] {
        let site = site(lines);
        let before = site.content();
        let sheet = site.path("sheet.svg");
        let args = [&["paper", "a", "--print", sheet.to_str().unwrap()], args].concat();
        site.run(&args, "").complains_of(complaint);
        assert_eq!(site.content(), before);
        assert!(!sheet.exists(), "{args:?}");
    }
}

#[test]
fn without_its_sheet_no_list_is_saved_and_without_the_list_no_sheet_stays() {
    let site = site("HOTP a - KEY\n");
    let before = site.content();
    let paper = |file: &str| {
        let path = site.path(file);
        site.run(&["paper", "a", "--print", path.to_str().unwrap()], "")
    };
    fs::write(site.path("there.pdf"), "mine").unwrap();
    paper("there.pdf").complains_of("already exists; remove it or use another name");
    assert_eq!(fs::read_to_string(site.path("there.pdf")).unwrap(), "mine");
    std::os::unix::fs::symlink(site.path("elsewhere"), site.path("link.svg")).unwrap();
    paper("link.svg").complains_of("already exists");
    assert!(!site.path("elsewhere").exists());
    paper("no/x.svg").complains_of("cannot make ");
    paper("x.png").complains_of("a sheet's file ends in .svg, .pdf or .html");
    assert_eq!(site.content(), before);
    // Whoever changes the file meanwhile keeps it from being saved.
    let limits = format!("{before}#@ limits max_failures=few\n");
    fs::write(site.users(), &limits).unwrap();
    paper("x.svg").complains_of("max_failures");
    assert!(!site.path("x.svg").exists());
    assert_eq!(site.content(), limits);
}

#[test]
fn other_verbs_know_a_list() {
    let lines = "HOTP/T30 alice 1234 00112233445566778899\nPAPER/8/30 alice 1234 KEY 7\n";
    let site = site(lines);
    let ok = |args: &[&str], input: &str| {
        let ran: Ran = site.run(args, input);
        ran.is(0);
        ran
    };
    let shown = ok(&["show", "alice"], "").out;
    assert!(shown.contains("PAPER/8/30") && shown.contains("code 8 is expected next, 23 left"));
    let json: Value = serde_json::from_str(&ok(&["list", "--json"], "").out).unwrap();
    assert_eq!(json["tokens"][0]["codes_left"], Value::Null);
    assert_eq!(
        (&json["tokens"][1]["codes_left"], &json["tokens"][1]["period"]),
        (&23.into(), &Value::Null)
    );

    let codes = codes_of(&site, 1, 30, 8);
    let password = |number: usize| format!("1234{}", codes[number - 1]);
    let explained = ok(&["explain", "alice"], &format!("{}\n", password(9))).out;
    assert!(explained.contains("the code 1 code ahead of the one expected next"), "{explained}");
    let resynced = ok(&["resync", "alice", &codes[11], &codes[12]], "").out;
    assert_eq!(resynced, "token 2 of \"alice\": the next expected code is number 14, it was 8\n");

    let exported = site.run(&["export", "otpauth", "-", "alice"], "");
    exported.is(0);
    assert!(exported.err.contains("\"alice\" was left out: a paper list can't be moved"));
    assert_eq!(exported.out.lines().count(), 1);
    for form in ["csv", "pskc", "liboath", "google-authenticator"] {
        let ran = site.run(&["export", form, "-", "alice"], "");
        assert!(!ran.out.contains(KEY), "{form}");
    }

    // One PIN for the phone and what is on paper; a new key for the phone only.
    ok(&["set-pin", "alice", "--plain-pin"], "9876\n");
    ok(&["rekey", "alice", "-q"], "");
    let words = site.first_words();
    assert_eq!((&words[0][2][..], &words[1][2][..], &words[1][3][..]), ("9876", "9876", KEY));
    let ran = site.run(&["set-pin", "alice", "--token", "1", "--plain-pin"], "5555\n");
    ran.is(0);
    assert!(ran.err.contains("token 2 of \"alice\", a paper list, keeps its PIN"));
    site.run(&["set-pin", "alice", "--plain-pin"], "1\n").complains_of("has 2 tokens: say which");
    site.run(&["rekey", "alice", "--token", "2"], "").complains_of("is a paper list");

    let moved = ok(&["advance", "alice"], "").out;
    assert!(moved.contains("paper lists that are used up by that: 1;"), "{moved}");
    assert!(ok(&["show", "alice"], "").out.contains("used up; `otpgate paper --again`"));
    let checked = ok(&["check", "--as", &own_name(), "--for-mod-authn-otp"], "").out;
    assert!(
        checked.contains("for mod_authn_otp, the type is unknown: it has no PAPER"),
        "{checked}"
    );
}

#[test]
fn codes_of_a_third_length_are_refused_and_those_there_are_told() {
    let site = site("HOTP/T30 alice - KEY\nPAPER/8/30 alice - 00112233445566778899\n");
    let add = |digits: &str| {
        let more = ["--another-token", "--digits", digits, "-q"];
        site.run(&[&["add", "alice", "--no-pin"], &more[..]].concat(), "")
    };
    add("7").complains_of("the codes of \"alice\" have 6 or 8 digits already");
    add("8").is(0);
    let csv = site.path("tokens.csv");
    fs::write(&csv, format!("alice,{},hotp,10\n", "ab".repeat(20))).unwrap();
    let import = ["import", "csv", csv.to_str().unwrap(), "--no-pin", "--another-token"];
    site.run(&import, "")
        .complains_of("tokens whose users would have codes of more than 2 lengths");
    fs::write(&csv, format!("bob,{},hotp,6\nbob,{},hotp,7\n", "ab".repeat(20), "cd".repeat(20)))
        .unwrap();
    site.run(&import, "").is(0);

    // Files that have one work as before.
    let content = site.content() + "HOTP/10 alice - aabbccddeeff00112233445566778899\n";
    fs::write(site.users(), content).unwrap();
    let checked = site.run(&["check", "--as", &own_name()], "");
    checked.is(0);
    assert!(
        checked
            .out
            .contains("line 6: the codes of \"alice\" have more than 2 lengths, here 10 digits"),
        "{}",
        checked.out
    );
    assert_eq!(checked.out.matches("more than 2 lengths").count(), 1);
    assert_eq!(site.login("alice", &codes_of(&site, 5, 1, 10)[0]), "granted-fresh");
    add("6").is(0);
}
