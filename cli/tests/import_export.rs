//! Tokens in and out, in the forms of other programs.

mod common;

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::process::{Command, Stdio};

use otpgate::users::lock::Locked;

use common::{PROGRAM, Ran, Site, output_of, parameter};

const KEY: &str = "3132333435363738393031323334353637383930";
/// The same in base 64 and in base 32.
const KEY64: &str = "MTIzNDU2Nzg5MDEyMzQ1Njc4OTA=";
const KEY32: &str = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ";

impl Site {
    fn import(&self, form: &str, text: impl AsRef<[u8]>, more: &[&str]) -> Ran {
        self.import_asking(form, text, more, "")
    }

    fn import_asking(&self, form: &str, text: impl AsRef<[u8]>, more: &[&str], input: &str) -> Ran {
        fs::write(self.path("in"), text).unwrap();
        let path = self.path("in");
        self.run(&[&["import", form, path.to_str().unwrap()], more].concat(), input)
    }

    fn export(&self, form: &str, more: &[&str]) -> String {
        let ran = self.run(&[&["export", form, "-", "--issuer", "Big Corp"], more].concat(), "");
        ran.is(0);
        ran.out
    }

    /// What an import complains of, with the document's name left out. The users file stays as it
    /// is.
    #[track_caller]
    fn refusal(&self, form: &str, text: impl AsRef<[u8]>, more: &[&str]) -> String {
        self.refusal_asking(form, text, more, "")
    }

    #[track_caller]
    fn refusal_asking(
        &self,
        form: &str,
        text: impl AsRef<[u8]>,
        more: &[&str],
        input: &str,
    ) -> String {
        let before = self.content();
        let ran = self.import_asking(form, text, more, input);
        ran.is(1);
        assert_eq!(self.content(), before);
        let start = format!("otpgate: {}: ", self.path("in").display());
        let told = ran.err.strip_prefix(&start).unwrap_or(&ran.err);
        told.trim_end().to_owned()
    }
}

/// Without lines of state: the first four words, and the counter.
fn tokens(site: &Site) -> Vec<String> {
    let words = |line: &str| line.split_ascii_whitespace().take(5).collect::<Vec<_>>().join(" ");
    site.content().lines().map(words).collect()
}

/// One of each kind, in lines of the users file.
fn all_kinds() -> String {
    format!(
        "HOTP/T30/6 alice - {KEY}\nHOTP/E/8 bob - 00ff{KEY} 120\nHOTP-SHA256/T60/8 carol@example.com - {KEY}{KEY}\n\
         HOTP-SHA512/E/7 d-a=v,e;#\"x\"+&<y> - 01 9223372036854775807\n"
    )
}

#[test]
fn what_is_exported_comes_back_the_same() {
    for (form, more) in [("otpauth", &[][..]), ("pskc", &[]), ("csv", &[])] {
        let site = Site::ready();
        fs::write(site.users(), all_kinds()).unwrap();
        let exported = site.export(form, more);
        let copy = Site::ready();
        let ran = copy.import(form, &exported, &["--no-pin"]);
        ran.is(0);
        assert_eq!(ran.out, "4 tokens imported\n");
        let counters = ["0", "120", "0", "9223372036854775807"];
        let expected: Vec<String> = all_kinds()
            .lines()
            .zip(counters)
            .map(|(line, counter)| {
                format!("{} {counter}", line.split(' ').take(4).collect::<Vec<_>>().join(" "))
            })
            .collect();
        assert_eq!(tokens(&copy), expected, "{form}");
        assert_eq!(copy.export(form, more), exported, "{form}");
    }
}

#[test]
fn liboath_lines_keep_pins_and_counters_both_ways() {
    let site = Site::ready();
    let file = format!(
        "# comment\nHOTP/T30\talice\t1234\t{KEY}\t7\t755224\t2026-11-01T10:00:00L\n\
         HOTP\tbob\t-\t{KEY}\t4\t338314\t2026-11-01T10:00:00L\nHOTP/E/8 carol + {KEY} 9\nHOTP/T60/7 dave - 00\n"
    );
    let ran = site.import("liboath", &file, &[]);
    ran.is(0);
    assert_eq!(ran.out, "4 tokens imported\n");
    assert_eq!(
        ran.err,
        format!(
            "otpgate: {}: time tokens whose offset was set to 0, because liboath's number isn't that of a clock: 1\n",
            site.path("in").display()
        )
    );
    assert_eq!(
        tokens(&site),
        [
            format!("HOTP/T30/6 alice 1234 {KEY} 0"),
            format!("HOTP/E/6 bob - {KEY} 5"),
            format!("HOTP/E/8 carol + {KEY} 9"),
            "HOTP/T60/7 dave - 00 0".to_owned()
        ]
    );
    // RFC 4226 appendix D: counters 4 and 5. What was used there is used here.
    assert_eq!(site.login("bob", "338314"), "denied-expired");
    assert_eq!(site.login("bob", "254676"), "granted-fresh");

    let exported = site.export("liboath", &[]);
    let lines: Vec<Vec<&str>> = exported.lines().map(|line| line.split('\t').collect()).collect();
    assert_eq!(lines[0][..6], ["HOTP/T30/6", "alice", "1234", KEY, "0", "755224"]);
    assert_eq!(lines[1][..6], ["HOTP/E/6", "bob", "-", KEY, "5", "254676"]);
    assert_eq!(lines[2], ["HOTP/E/8", "carol", "+", KEY, "9"]);
    let copy = Site::ready();
    copy.import("liboath", &exported, &[]).is(0);
    assert_eq!(tokens(&copy), tokens(&site));
    assert_eq!(copy.login("bob", "254676"), "denied-expired");
}

#[test]
fn a_google_authenticator_file_keeps_its_place_and_its_scratch_codes_are_told() {
    let site = Site::ready();
    let file = format!("{KEY32}\n\" RATE_LIMIT 3 30\n\" HOTP_COUNTER 5\n12345678\n23456789\n");
    assert_eq!(
        site.refusal("google-authenticator", &file, &["--no-pin"]),
        "it names no user; give one with --user"
    );
    let ran = site.import_asking(
        "google-authenticator",
        &file,
        &["--user", "alice", "--plain-pin"],
        "9876\n",
    );
    ran.is(0);
    assert_eq!(
        ran.err,
        format!(
            "otpgate: {}: scratch codes left out, for which there is nothing here (a second token helps where a phone \
             is lost): 2\n",
            site.path("in").display()
        )
    );
    assert_eq!(tokens(&site), [format!("HOTP/E/6 alice 9876 {KEY} 5")]);
    assert_eq!(
        site.export("google-authenticator", &["alice"]),
        format!("{KEY32}\n\" HOTP_COUNTER 5\n")
    );

    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let used =
        format!("{KEY32}\n\" TOTP_AUTH\n\" TIME_SKEW 2\n\" DISALLOW_REUSE {}\n", now / 30 + 1);
    site.import("google-authenticator", &used, &["--user", "bob", "--no-pin"]).is(0);
    let code = |after: &str| output_of("oathtool", &["--totp", "--now", after, KEY]);
    assert_eq!(site.login("bob", &code(&format!("@{now}"))), "denied-expired");
    assert_eq!(site.login("bob", &code(&format!("@{}", now + 60))), "granted-fresh");
}

#[test]
fn a_users_file_of_mod_authn_otp_stays_where_it_is() {
    let site = Site::ready();
    let ran = site.import("mod_authn_otp", format!("HOTP/T30 alice 1234 {KEY} 0 0\n"), &[]);
    ran.is(0);
    let path = site.path("in").display().to_string();
    assert_eq!(
        ran.out,
        format!(
            "{path}: nothing to import, a users file of mod_authn_otp is used as it is. Run `otpgate -f {path} init` \
             once, which makes lock and journal, then `otpgate -f {path} check`.\n"
        )
    );
    let ran = site.import("mod_authn_otp", "HOTP/X alice 1234 00\n", &[]);
    ran.is(1);
    assert!(ran.out.starts_with("error: ") && ran.out.contains("line 1"), "{}", ran.out);
    site.run(&["import", "mod_authn_otp", "-"], "").complains_of(
        "otpgate: mod_authn_otp's users file is used where it is: give its path, not -\n",
    );
    assert_eq!(site.content(), "");
}

#[test]
fn addresses_that_are_exported_are_those_that_add_prints() {
    let site = Site::ready();
    let added = site.run(&["add", "alice", "-q", "--no-pin", "--issuer", "Big Corp"], "");
    added.is(0);
    assert_eq!(site.export("otpauth", &[]), added.out);
    let code = output_of("oathtool", &["--totp", "-b", parameter(added.out.trim_end(), "secret")]);
    let copy = Site::ready();
    copy.import("otpauth", &added.out, &["--no-pin"]).is(0);
    assert_eq!(copy.login("alice", &code), "granted-fresh");
}

#[test]
fn import_takes_all_or_nothing_and_lists_what_is_wrong() {
    let site = Site::ready();
    assert_eq!(
        site.refusal("csv", "alice,00ff\na b,00\nbob,xyz\n", &["--no-pin"]),
        "tokens that cannot be imported: 1; nothing was changed (--skip-unusable leaves them out)\n  \
         line 3: its key is not 1 to 256 bytes in hexadecimal or base32:"
    );
    assert_eq!(
        site.refusal("csv", "alice,00ff\na b,00\nc:d,00\n,00\n", &["--no-pin"]),
        "tokens that cannot be imported: 3; nothing was changed (--skip-unusable leaves them out)\n  \
         line 2: a user name can't contain blanks or control characters\n  \
         line 3: a user name can't contain a colon: HTTP ends the name there\n  \
         line 4: a user name can't be empty"
    );
    let many: String = (0..30).map(|i| format!("user{i},x\n")).collect();
    let told = site.refusal("csv", &many, &["--no-pin"]);
    assert!(
        told.starts_with("tokens that cannot be imported: 30;")
            && told.ends_with("\n  and 10 more"),
        "{told}"
    );
    assert_eq!(
        site.refusal("csv", "# nothing\n", &["--no-pin"]),
        "it contains no token; nothing was changed"
    );
    assert_eq!(
        site.refusal("liboath", "HOTP alice $5$ 00\n", &[]),
        "tokens that cannot be imported: 1; nothing was changed\n  \
         line 1: field 3 (pin): it starts like a hash but is none that is well formed"
            .replace("it starts like a hash but is none that is well formed", &pin_field_error()),
    );
    assert_eq!(
        site.refusal("csv", "alice,00\nbob,00\n", &["--no-pin", "--user", "carol"]),
        "it contains 2 tokens, but --user can name only one"
    );
}

fn pin_field_error() -> String {
    let error =
        otpgate::users::record::parse(b"HOTP a $5$ 00", &jiff::tz::TimeZone::UTC).unwrap_err();
    error.to_string().strip_prefix("field 3 (pin): ").unwrap().to_owned()
}

#[test]
fn users_who_are_listed_are_refused_left_out_or_given_a_second_token() {
    let site = Site::ready();
    let csv = "alice,00\nbob,01\ncarol,02\n";
    fs::write(site.users(), "HOTP alice - 00\n# x\nHOTP/X bob\nHOTP dave - 07").unwrap();
    let old = site.content();
    assert_eq!(
        site.refusal("csv", csv, &["--no-pin"]),
        "tokens that are listed already: 1; nothing was changed (--skip-existing leaves them out)\n  \
         line 1: \"alice\""
    );
    assert_eq!(
        site.refusal("csv", &csv[9..], &["--no-pin"]),
        "users who have a token already: 1; nothing was changed (--skip-existing leaves them out, --another-token adds \
         second ones)\n  line 1: \"bob\""
    );
    let skipped = site.import("csv", csv, &["--no-pin", "--skip-existing"]);
    assert_eq!(skipped.is(0).out, "1 token imported; 2 tokens left out, listed already\n");
    assert!(
        site.content().starts_with(&format!("{old}\nHOTP/E/6 carol - 02 ")),
        "{}",
        site.content()
    );

    fs::write(site.users(), &old).unwrap();
    assert_eq!(
        site.refusal("csv", csv, &["--no-pin", "--another-token"]),
        "tokens that are listed already: 1; nothing was changed (--skip-existing leaves them out)\n  \
         line 1: \"alice\""
    );
    let both = site.import("csv", csv, &["--no-pin", "--another-token", "--skip-existing"]);
    assert_eq!(both.is(0).out, "2 tokens imported; 1 token left out, listed already\n");
    let again = site.import("csv", csv, &["--no-pin", "--another-token", "--skip-existing"]);
    assert_eq!(again.is(0).out, "0 tokens imported; 3 tokens left out, listed already\n");
}

#[test]
fn a_user_with_two_tokens_in_one_file_is_asked_about() {
    let site = Site::ready();
    let csv = "alice,00\nalice,01\n";
    assert!(site.refusal("csv", csv, &["--no-pin"]).contains("users who have a token already: 1;"));
    assert!(
        site.refusal("csv", "alice,00\nalice,00\n", &["--no-pin", "--another-token"])
            .contains("listed already: 1;")
    );
    site.import("csv", csv, &["--no-pin", "--another-token"]).is(0);
    assert_eq!(site.content().lines().count(), 2);
}

#[test]
fn one_pin_for_all_is_hashed_unless_a_token_needs_it_plain() {
    let site = Site::ready();
    let csv = "alice,00\nbob,01,motp\n";
    site.import_asking("csv", csv, &[], "sesame9\n").is(0);
    let words = site.first_words();
    assert!(words[0][2].starts_with("$argon2id$"), "{}", words[0][2]);
    assert_eq!(words[1][..3], ["MOTP/T10/6", "bob", "sesame9"]);
    let site = Site::ready();
    assert_eq!(
        site.refusal("csv", csv, &["--pin-external"]),
        "Mobile-OTP computes codes from the PIN; it can't have --pin-external"
    );
    assert_eq!(
        site.refusal_asking("csv", csv, &[], "\n"),
        "otpgate: the PIN is empty (for a token without PIN, use --no-pin); nothing was changed"
    );
    assert_eq!(
        site.refusal("liboath", "HOTP alice - 00\n", &["--no-pin"]),
        "it has its own PINs; leave out --no-pin, --pin-external, --plain-pin"
    );
    site.import_asking("csv", csv, &["--plain-pin"], "sesame9\n").is(0);
    assert_eq!(site.first_words()[0][2], "sesame9");
}

#[test]
fn standard_input_holds_tokens_but_no_pin_beside() {
    let site = Site::ready();
    site.run(&["import", "csv", "-"], "alice,00\n").complains_of(
        "otpgate: standard input can't carry both tokens and a PIN: give --no-pin or --pin-external, or the file by \
         name\n",
    );
    let ran = site.run(&["import", "csv", "-", "--pin-external"], "alice,00\n");
    assert_eq!(ran.is(0).out, "1 token imported\n");
    site.run(&["import", "csv", "/nonexistent", "--no-pin"], "")
        .complains_of("otpgate: cannot read /nonexistent: No such file");
}

#[test]
fn nothing_is_imported_while_somebody_else_holds_the_lock() {
    let site = Site::ready();
    let locked = Locked::acquire(&site.users()).unwrap();
    let ran = site.import("csv", "alice,00\n", &["--no-pin"]);
    ran.complains_of("another program has held it");
    drop(locked);
    assert_eq!(site.content(), "");
}

#[test]
fn an_oversized_file_is_refused_before_it_is_read() {
    let site = Site::ready();
    let large = File::create(site.path("large")).unwrap();
    large.set_len(256 * 1024 * 1024 + 1).unwrap();
    let path = site.path("large");
    site.run(&["import", "pskc", path.to_str().unwrap(), "--no-pin"], "").complains_of(&format!(
        "otpgate: {}: it is larger than 256 MiB; import it in parts\n",
        path.display()
    ));
}

#[test]
fn an_export_is_a_new_file_for_its_owner_alone() {
    let site = Site::ready();
    fs::write(site.users(), all_kinds()).unwrap();
    let out = site.path("out.csv");
    let path = out.to_str().unwrap();
    let ran = site.run(&["export", "csv", path], "");
    assert_eq!(ran.is(0).err, format!("otpgate: 4 tokens written to {path}, keys included\n"));
    assert_eq!(fs::metadata(&out).unwrap().mode() & 0o7777, 0o600);
    let again = site.run(&["export", "csv", path], "");
    again.complains_of(&format!("otpgate: {path} already exists; remove it or use another name\n"));
    for args in
        [&["export", "csv", "NEW", "nobody"][..], &["export", "google-authenticator", "NEW"]]
    {
        let new = site.path("new");
        let args: Vec<&str> = args
            .iter()
            .map(|arg| if *arg == "NEW" { new.to_str().unwrap() } else { arg })
            .collect();
        site.run(&args, "").is(1);
        assert!(!new.exists(), "{args:?}: nothing is left of an export that fails");
    }
    site.run(&["export", "csv"], "").is(2);
}

#[test]
fn what_has_no_place_in_a_form_is_named_and_left_out() {
    let site = Site::ready();
    fs::write(
        site.users(),
        "HOTP a - 00\nMOTP b 1 00\nOFF:HOTP c - 00\nHOTP/X d - 00\nHOTP-SHA256 e - 00\nHOTP/T45/6 f - 00\n\
         HOTP/E/10 g - 00\nHOTP h $2y$05$lXGQBDT09PU0BUoTBUSbRuqQMwTF958HkK/qn25O6j6VbzgsXsYyO 00\nMOTP/E i 1 00\n",
    )
    .unwrap();
    let left_out = |form: &str| {
        let ran = site.run(&["export", form, "-", "--issuer", "x"], "");
        ran.is(0);
        let names: Vec<String> =
            ran.err.lines().map(|line| line.replace("otpgate: ", "")).collect();
        names
    };
    let off = "\"c\" was left out: it is switched off (OFF:)";
    let unreadable = "\"d\" was left out: line 4 can't be read: field 1 (type) is not HOTP, HOTP-SHA256, HOTP-SHA512 or \
                      MOTP with /E or /T<seconds> and /<1-10>, or PAPER/<6-10>/<1-1000>";
    let no_pins = "PINs aren't exported: this format has no place for them";
    assert_eq!(
        left_out("otpauth"),
        [
            "\"b\" was left out: Mobile-OTP has no otpauth:// address",
            off,
            unreadable,
            "\"i\" was left out: Mobile-OTP has no otpauth:// address",
            no_pins
        ]
    );
    assert_eq!(
        left_out("pskc"),
        [
            "\"b\" was left out: PSKC has no profile for Mobile-OTP",
            off,
            unreadable,
            "\"i\" was left out: PSKC has no profile for Mobile-OTP",
            no_pins
        ]
    );
    assert_eq!(
        left_out("csv"),
        [off, unreadable, "\"i\" was left out: CSV has only time-based Mobile-OTP", no_pins]
    );
    assert_eq!(
        left_out("liboath"),
        [
            "\"b\" was left out: liboath has no Mobile-OTP",
            off,
            unreadable,
            "\"e\" was left out: liboath's users file has only SHA-1",
            "\"f\" was left out: liboath's users file has only periods of 30 and 60 seconds",
            "\"g\" was left out: liboath's users file has only 6 to 8 digits",
            "\"h\" was left out: liboath has no hashed PINs",
            "\"i\" was left out: liboath has no Mobile-OTP"
        ]
    );
    let google = |user: &str| site.run(&["export", "google-authenticator", "-", user], "");
    google("b").complains_of(
        "\"b\" was left out: Google's PAM module has only SHA-1, and no Mobile-OTP\n",
    );
    google("g").complains_of("\"g\" was left out: Google's PAM module has only 6 digits\n");
    google("b").complains_of("otpgate: there is no token to export; nothing was written\n");
    site.run(&["export", "google-authenticator", "-"], "").complains_of(
        "otpgate: a .google_authenticator file holds one token, not 7: name a user who has one\n",
    );
    site.run(&["export", "csv", "-", "nobody"], "")
        .complains_of("otpgate: there is no user \"nobody\"\n");
    site.run(&["export", "csv", "-", "--encrypt", "password"], "")
        .complains_of("otpgate: --encrypt is for PSKC: no other format can be encrypted\n");
    assert_eq!(site.run(&["export", "csv", "-", "a"], "").is(0).out, "a,00,hotp,6,0,SHA1\n");
}

#[test]
fn a_csv_without_hash_is_asked_for_it_where_the_key_could_be_one_of_another() {
    let site = Site::ready();
    let csv = format!("alice,{}\nbob,{KEY}\n", "0a".repeat(32));
    assert_eq!(
        site.refusal("csv", &csv, &["--no-pin"]),
        "tokens that cannot be imported: 1; nothing was changed (--skip-unusable leaves them out)\n  \
         line 1: it names no hash, and its key has the length of one for SHA-256: say which with --hash"
    );
    site.import("csv", &csv, &["--no-pin", "--hash", "sha256"]).is(0);
    let kinds: Vec<String> = site.first_words().into_iter().map(|words| words[0].clone()).collect();
    assert_eq!(kinds, ["HOTP-SHA256/E/6", "HOTP-SHA256/E/6"]);
    let site = Site::ready();
    site.import("csv", &csv, &["--no-pin", "--csv", "privacyidea"]).is(0);
    let kinds: Vec<String> = site.first_words().into_iter().map(|words| words[0].clone()).collect();
    assert_eq!(kinds, ["HOTP-SHA256/E/6", "HOTP/E/6"]);
    site.import("otpauth", "x", &["--no-pin", "--hash", "sha1"])
        .complains_of("--csv and --hash are for CSV: other forms say themselves what they hold");
    site.import("csv", &csv, &["--no-pin", "--hash", "md5"]).is(2);
}

#[test]
fn a_pin_column_is_hashed_and_the_others_get_what_the_options_say() {
    let site = Site::ready();
    let csv =
        "alice,00,totp,,,,sesame9\nbob,01,,,,,-\ncarol,02,,,,,+\ndave,03,motp,,,,4711\nerin,04\n";
    site.import("csv", csv, &["--pin-external"]).is(0);
    let pins: Vec<String> = site.first_words().into_iter().map(|words| words[2].clone()).collect();
    assert!(pins[0].starts_with("$argon2id$"), "{}", pins[0]);
    assert_eq!(pins[1..], ["-", "+", "4711", "+"]);
    let plain = Site::ready();
    plain.import_asking("csv", csv, &["--plain-pin"], "4712\n").is(0);
    let pins: Vec<String> = plain.first_words().into_iter().map(|words| words[2].clone()).collect();
    assert_eq!(pins, ["sesame9", "-", "+", "4711", "4712"]);
    // Nobody is asked where everybody has one.
    let site = Site::ready();
    site.run(&["import", "csv", "-"], "alice,00,,,,,sesame9\n").is(0);

    let site = Site::ready();
    let told = site.refusal("csv", "a,00,,,,,s p\nb,01,,,,,$5$x\nc,02,motp,,,,+\n", &["--no-pin"]);
    assert_eq!(
        told,
        "tokens that cannot be imported: 3; nothing was changed\n  \
         line 1: the PIN contains a blank\n  \
         line 2: a PIN that starts with $ could be taken for a hash\n  \
         line 3: Mobile-OTP makes codes with the PIN; + isn't for it"
    );
}

#[test]
fn unusable_tokens_are_left_out_and_listed_if_they_may_be() {
    let site = Site::ready();
    let skip = ["--no-pin", "--skip-unusable"];
    let ran = site.import("csv", "alice,00\na b,00\nbob,xyz\nalice,00\ncarol,01\n", &skip);
    assert_eq!(ran.is(0).out, "2 tokens imported; 3 tokens left out, unusable\n");
    assert_eq!(
        ran.err,
        format!(
            "otpgate: {}: tokens that cannot be imported: 3; left out\n  \
             line 2: a user name can't contain blanks or control characters\n  \
             line 3: its key is not 1 to 256 bytes in hexadecimal or base32:\n  \
             line 4: it is the token of line 1 once more\n",
            site.path("in").display()
        )
    );
    assert_eq!(tokens(&site), ["HOTP/E/6 alice - 00 0", "HOTP/E/6 carol - 01 0"]);
    assert_eq!(
        site.refusal("csv", "bob,xyz\n", &skip),
        "tokens that cannot be imported: 1; nothing was changed\n  \
         line 1: its key is not 1 to 256 bytes in hexadecimal or base32:"
    );
    // A file of one token has no part that could be left out.
    let google = format!("{KEY32}\n\" TOTP_AUTH\nrubbish\n");
    site.refusal(
        "google-authenticator",
        google,
        &["--no-pin", "--skip-unusable", "--user", "dave"],
    );
}

#[test]
fn nothing_of_a_foreign_file_reaches_the_terminal_unquoted() {
    const ESCAPE: &str = "\u{1b}[2J\u{1b}]0;x\u{7}";
    let site = Site::ready();
    let google = format!("{KEY32}\n\" TOTP_AUTH\n\" {ESCAPE}{KEY32}\n\"\tSTEP_SIZE\t60\n");
    let ran = site.import("google-authenticator", &google, &["--no-pin", "--user", "alice"]);
    ran.is(0);
    assert!(ran.err.contains("unknown options were left out, in lines 3"), "{}", ran.err);
    assert_eq!(tokens(&site), [format!("HOTP/T60/6 alice - {KEY} 0")]);
    let mut told = vec![ran.err];
    let key = "00ff".repeat(8);
    for (form, text) in [
        ("google-authenticator", format!("{ESCAPE}{KEY32}\n")),
        ("google-authenticator", format!("{KEY32}\n{ESCAPE}{KEY32}\n")),
        (
            "csv",
            format!(
                "{ESCAPE},{key}\nx,{key}{ESCAPE}\nx,{key},{ESCAPE}\nx,{key},hotp,6,0,{ESCAPE}\n"
            ),
        ),
        (
            "liboath",
            format!("{ESCAPE} x - {key}\nHOTP {ESCAPE} - {key}{ESCAPE}\nHOTP x - {key} {ESCAPE}\n"),
        ),
        (
            "otpauth",
            format!("otpauth://{ESCAPE}/x?secret={KEY32}\notpauth://totp/%1b[2J?secret={KEY32}\n"),
        ),
        ("pskc", plain(&format!("Algorithm='{KEY64}'"), KEY64)),
        ("mod_authn_otp", format!("{ESCAPE} x - {key}\nHOTP {ESCAPE} - {key}\n")),
    ] {
        let ran = site.import_asking(form, text, &["--no-pin", "--user", "x"], "");
        assert_ne!(ran.status, 0, "{form}");
        told.push(ran.out + &ran.err);
    }
    let escaped = site.path("a\u{1b}[2Jb");
    fs::write(&escaped, "x").unwrap();
    told.push(site.run(&["import", "csv", escaped.to_str().unwrap(), "--no-pin"], "").err);
    for text in told {
        assert!(!text.contains(|c: char| c.is_control() && c != '\n'), "{text:?}");
        for secret in [KEY, KEY32, KEY64, &key] {
            assert!(!text.contains(secret), "{text}");
        }
    }
}

#[test]
fn csv_for_another_program_has_its_columns_and_leaves_out_what_it_would_read_otherwise() {
    let site = Site::ready();
    let long = "0a".repeat(32);
    fs::write(
        site.users(),
        format!(
            "HOTP/T60/8 a - {KEY}\nHOTP/E/6 b - {KEY} 7\nHOTP-SHA256/T30/6 c - {long}\nHOTP/T30/6 d - {long}\n\
             MOTP/T10/6 e 1 {KEY}\nMOTP/T20/6 f 1 {KEY}\nHOTP/E/6 g,h - {KEY}\n"
        ),
    )
    .unwrap();
    let export = |columns: &str| {
        let ran = site.run(&["export", "csv", "-", "--csv", columns], "");
        ran.is(0);
        let left_out: Vec<String> = ran
            .err
            .lines()
            .filter_map(|line| Some(line.split_once(" was left out")?.0.replace("otpgate: ", "")))
            .collect();
        (ran.out, left_out.join(" "))
    };
    let (linotp, left_out) = export("linotp");
    assert_eq!(
        linotp,
        format!("a,{KEY},totp,8,60,SHA1\nc,{long},totp,6,30,SHA256\nd,{long},totp,6,30,SHA1\n")
    );
    assert_eq!(left_out, "\"b\" \"e\" \"f\" \"g,h\"");
    let (privacyidea, left_out) = export("privacyidea");
    assert_eq!(privacyidea, format!("a,{KEY},totp,8,60\nb,{KEY},hotp,6,7\nc,{long},totp,6,30\n"));
    assert_eq!(left_out, "\"d\" \"e\" \"f\" \"g,h\"");
    let (multiotp, left_out) = export("multiotp");
    assert_eq!(
        multiotp,
        format!(
            "a;otpgate;totp;{KEY};8;60\nb;otpgate;hotp;{KEY};6;7\nd;otpgate;totp;{long};6;30\n\
             e;otpgate;motp;{KEY};6;10\n"
        )
    );
    assert_eq!(left_out, "\"c\" \"f\" \"g,h\"");
    let copy = Site::ready();
    copy.import("csv", &privacyidea, &["--no-pin", "--csv", "privacyidea"]).is(0);
    assert_eq!(copy.first_words()[2][0], "HOTP-SHA256/T30/6");
    site.run(&["export", "otpauth", "-", "--csv", "linotp"], "")
        .complains_of("otpgate: --csv is for CSV: other forms have no columns\n");
}

#[test]
fn google_authenticators_qr_codes_are_read_and_a_missing_part_is_told() {
    // Two accounts, part 1 of 2: alice with the key of RFC 4226; bob with SHA-256, 8 digits and
    // counter 17.
    const DATA: &str = "Ci4KFDEyMzQ1Njc4OTAxMjM0NTY3ODkwEg5CaWcgQ29ycDphbGljZRoAIAEoATACCiUKFDEyMzQ1Njc4OTAxMjM0NT\
                        Y3ODkwEgNib2IaACACKAIwATgREAEYAiAAKAc%3D";
    let site = Site::ready();
    let address = format!("otpauth-migration://offline?data={DATA}\n");
    let ran = site.import("otpauth", &address, &["--no-pin"]);
    ran.is(0);
    assert_eq!(
        tokens(&site),
        [format!("HOTP/T30/6 alice - {KEY} 0"), format!("HOTP-SHA256/E/8 bob - {KEY} 17")]
    );
    assert!(
        ran.err.ends_with(
            ": an export of Google Authenticator has 2 parts, a QR code each, and 1 of them stand here\n"
        ),
        "{}",
        ran.err
    );
    for (data, reason) in [
        ("?data=%%", "a parameter has a broken % sequence"),
        ("?date=x", "it has no data"),
        ("", "it has no data"),
        ("?data=_", "its data is no base 64"),
        ("?data=____", "its data is no list of accounts"),
    ] {
        let told =
            site.refusal("otpauth", format!("OTPAUTH-MIGRATION://offline{data}"), &["--no-pin"]);
        assert!(told.ends_with(&format!("\n  line 1: {reason}")), "{told}");
    }
}

#[test]
fn exports_of_phone_apps_are_imported_and_encrypted_ones_refused() {
    let aegis = format!(
        r#"{{"version":1,"header":{{"slots":null,"params":null}},"db":{{"version":2,"entries":[
            {{"type":"totp","name":"alice","issuer":"Corp","info":{{"secret":"{KEY32}","algo":"SHA1","digits":6,"period":30}}}},
            {{"type":"steam","name":"bob","issuer":"x","info":{{"secret":"{KEY32}","algo":"SHA1","digits":5,"period":30}}}},
            {{"type":"motp","name":"carol","issuer":"x","info":{{"secret":"{KEY32}","digits":6,"period":10,"pin":"4711"}}}}]}}}}"#
    );
    let site = Site::ready();
    let told = site.refusal("aegis", &aegis, &["--no-pin"]);
    assert!(told.contains("\n  entry 2: it is a Steam token"), "{told}");
    site.import("aegis", &aegis, &["--no-pin", "--skip-unusable"]).is(0);
    assert_eq!(
        tokens(&site),
        [format!("HOTP/T30/6 alice - {KEY} 0"), format!("MOTP/T10/6 carol 4711 {KEY} 0")]
    );
    for (form, text) in [
        (
            "andotp",
            format!(
                r#"[{{"secret":"{KEY32}","label":"alice","type":"TOTP","algorithm":"SHA1","period":30}}]"#
            ),
        ),
        (
            "2fas",
            format!(
                r#"{{"services":[{{"secret":"{KEY32}","otp":{{"account":"alice","tokenType":"TOTP"}}}}]}}"#
            ),
        ),
        (
            "freeotp-plus",
            r#"{"tokens":[{"label":"alice","type":"TOTP","secret":[49,50,51]}]}"#.to_owned(),
        ),
    ] {
        let site = Site::ready();
        site.import(form, &text, &["--no-pin"]).is(0);
        let words = site.first_words().remove(0);
        assert_eq!(words[..3], ["HOTP/T30/6", "alice", "-"], "{form}");
        let broken = site.import(form, format!("{KEY32}\u{1b}[2J{text}"), &["--no-pin"]);
        broken.complains_of(": it is not JSON, at 1:1; encrypted exports can't be read here\n");
        assert!(!broken.err.contains(KEY32), "{}", broken.err);
    }
    assert_eq!(
        Site::ready().refusal("aegis", r#"{"version":1,"db":"c2VhbGVk"}"#, &["--no-pin"]),
        "it is encrypted: export it once more without a password"
    );
}

#[test]
fn what_pam_modules_would_refuse_or_take_for_something_else_is_left_out() {
    let site = Site::ready();
    let long = "31".repeat(33);
    fs::write(
        site.users(),
        format!(
            "HOTP/E/6 fresh - {KEY}\nHOTP/E/6 used - {KEY} 1\nHOTP/T61/6 slow - {KEY}\nHOTP/T60/6 minute - {KEY}\n\
             HOTP/E/6 long - {long}\nHOTP/E/6 longest - {}\n",
            &long[2..]
        ),
    )
    .unwrap();
    let google = |user: &str| site.run(&["export", "google-authenticator", "-", user], "");
    google("fresh").complains_of(
        "\"fresh\" was left out: Google's PAM module takes a counter of 0 for a token by time: let it log in once \
         before\n",
    );
    assert_eq!(google("used").is(0).out, format!("{KEY32}\n\" HOTP_COUNTER 1\n"));
    google("slow").complains_of(
        "\"slow\" was left out: Google's PAM module knows periods up to 60 seconds only\n",
    );
    assert_eq!(google("minute").is(0).out, format!("{KEY32}\n\" STEP_SIZE 60\n\" TOTP_AUTH\n"));
    let liboath = |user: &str| site.run(&["export", "liboath", "-", user], "");
    liboath("long").complains_of(
        "\"long\" was left out: liboath's users file knows keys up to 32 bytes only\n",
    );
    liboath("longest").is(0);
}

// ---- PSKC ----------------------------------------------------------------------------------------------

/// A document with the key material of RFC 6030's figures; `holder` is what stands in
/// EncryptionKey.
fn encrypted(holder: &str, mac_key: &str, sealed: &str, mac: &str) -> String {
    format!(
        "<KeyContainer Version='1.0' xmlns='urn:ietf:params:xml:ns:keyprov:pskc'
           xmlns:ds='http://www.w3.org/2000/09/xmldsig#' xmlns:xenc='http://www.w3.org/2001/04/xmlenc#'
           xmlns:xenc11='http://www.w3.org/2009/xmlenc11#'
           xmlns:pkcs5='http://www.rsasecurity.com/rsalabs/pkcs/schemas/pkcs-5v2-0#'>
         <EncryptionKey>{holder}</EncryptionKey>
         <MACMethod Algorithm='http://www.w3.org/2000/09/xmldsig#hmac-sha1'>{mac_key}</MACMethod>
         <KeyPackage><DeviceInfo><SerialNo>987654321</SerialNo></DeviceInfo>
         <Key Id='1' Algorithm='urn:ietf:params:xml:ns:keyprov:pskc:hotp'>
         <AlgorithmParameters><ResponseFormat Length='8' Encoding='DECIMAL'/></AlgorithmParameters>
         <Data><Secret><EncryptedValue>{}</EncryptedValue>{mac}</Secret>
         <Counter><PlainValue>0</PlainValue></Counter></Data></Key></KeyPackage></KeyContainer>",
        cipher(sealed)
    )
}

fn cipher(value: &str) -> String {
    format!(
        "<xenc:EncryptionMethod Algorithm='http://www.w3.org/2001/04/xmlenc#aes128-cbc'/>
         <xenc:CipherData><xenc:CipherValue> {value}\n </xenc:CipherValue></xenc:CipherData>"
    )
}

/// Figure 6: a pre-shared key.
const PRE_SHARED_KEY: &str = "12345678901234567890123456789012";

fn figure_6() -> String {
    encrypted(
        "<ds:KeyName>Pre-shared-key</ds:KeyName>",
        &format!(
            "<MACKey>{}</MACKey>",
            cipher("ESIzRFVmd4iZABEiM0RVZgKn6WjLaTC1sbeBMSvIhRejN9vJa2BOlSaMrR7I5wSX")
        ),
        "AAECAwQFBgcICQoLDA0OD+cIHItlB3Wra1DUpxVvOx2lef1VmNPCMl8jwZqIUqGv",
        "<ValueMAC>Su+NvtQfmvfJzF6bmQiJqoLRExc=</ValueMAC>",
    )
}

/// Figure 7: the password "qwerty".
fn figure_7() -> String {
    encrypted(
        "<xenc11:DerivedKey><xenc11:KeyDerivationMethod
          Algorithm='http://www.rsasecurity.com/rsalabs/pkcs/schemas/pkcs-5v2-0#pbkdf2'><pkcs5:PBKDF2-params>
          <Salt><Specified>Ej7/PEpyEpw=</Specified></Salt><IterationCount>1000</IterationCount>
          <KeyLength>16</KeyLength><PRF/></pkcs5:PBKDF2-params></xenc11:KeyDerivationMethod>
          <xenc11:MasterKeyName>My Password 1</xenc11:MasterKeyName></xenc11:DerivedKey>",
        &format!(
            "<MACKey>{}</MACKey>",
            cipher("2GTTnLwM3I4e5IO5FkufoOEiOhNj91fhKRQBtBJYluUDsPOLTfUvoU2dStyOwYZx")
        ),
        "oTvo+S22nsmS2Z/RtcoF8Hfh+jzMe0RkiafpoDpnoZTjPYZu6V+A4aEn032yCr4f",
        "<ValueMAC>LP6xMvjtypbfT9PdkJhBZ+D6O4w=</ValueMAC>",
    )
}

/// A document in the clear with this in its one key.
fn plain(attributes: &str, key: &str) -> String {
    format!(
        "<pskc:KeyContainer Version='1.0' xmlns:pskc='urn:ietf:params:xml:ns:keyprov:pskc'><pskc:KeyPackage>\
         <pskc:Key Id='alice' {attributes}>{key}</pskc:Key></pskc:KeyPackage></pskc:KeyContainer>"
    )
}

const HOTP: &str = "Algorithm='urn:ietf:params:xml:ns:keyprov:pskc:hotp'";
const TOTP: &str = "Algorithm='urn:ietf:params:xml:ns:keyprov:pskc:totp'";
const FORMAT: &str = "<pskc:AlgorithmParameters><pskc:ResponseFormat Length='6' Encoding='DECIMAL'/>\
                      </pskc:AlgorithmParameters>";

fn secret() -> String {
    format!("<pskc:Secret><pskc:PlainValue>{KEY64}</pskc:PlainValue></pskc:Secret>")
}

#[test]
fn the_figures_of_rfc_6030_hold_the_key_of_rfc_4226() {
    let expected = [format!("HOTP/E/8 987654321 - {KEY} 0")];
    for (document, secret) in [(figure_6(), PRE_SHARED_KEY), (figure_7(), "qwerty")] {
        let site = Site::ready();
        site.import_asking("pskc", &document, &["--no-pin"], &format!("{secret}\n")).is(0);
        assert_eq!(tokens(&site), expected);
        let site = Site::ready();
        fs::write(site.path("secret"), format!("{secret}\n")).unwrap();
        let path = site.path("secret");
        site.import("pskc", &document, &["--no-pin", "--secret-file", path.to_str().unwrap()])
            .is(0);
        assert_eq!(tokens(&site), expected);
        // First the secret, then the PIN.
        let site = Site::ready();
        site.import_asking("pskc", &document, &["--plain-pin"], &format!("{secret}\n4711\n")).is(0);
        assert_eq!(tokens(&site), [expected[0].replace(" - ", " 4711 ")]);
    }
}

#[test]
fn a_key_in_the_clear_has_its_profile_and_its_user() {
    let import = |attributes: &str, key: String| {
        let site = Site::ready();
        site.import("pskc", plain(attributes, &key), &["--no-pin"]).is(0);
        tokens(&site).remove(0)
    };
    let data = |more: &str| format!("{FORMAT}<pskc:Data>{}{more}</pskc:Data>", secret());
    assert_eq!(import(HOTP, data("")), format!("HOTP/E/6 alice - {KEY} 0"));
    assert_eq!(
        import(HOTP, data("<pskc:Counter><pskc:PlainValue> 42 </pskc:PlainValue></pskc:Counter>")),
        format!("HOTP/E/6 alice - {KEY} 42")
    );
    assert_eq!(
        import(
            &TOTP.replace("pskc:totp", "pskc#totp"),
            data(
                "<pskc:TimeInterval><pskc:PlainValue>60</pskc:PlainValue></pskc:TimeInterval>\
                 <pskc:TimeDrift><pskc:PlainValue>-4</pskc:PlainValue></pskc:TimeDrift>"
            )
        ),
        format!("HOTP/T60/6 alice - {KEY} -4")
    );
    assert_eq!(
        import(
            TOTP,
            data("").replace(
                "<pskc:ResponseFormat",
                "<pskc:Suite>HMAC-SHA256</pskc:Suite><pskc:ResponseFormat"
            )
        ),
        format!("HOTP-SHA256/T30/6 alice - {KEY} 0")
    );
    for (id, user) in
        [("bob", "bob"), ("UID=jsmith,DC=example,DC=net", "jsmith"), ("CN=a\\,b+OU=x", "a,b")]
    {
        let key = data("") + &format!("<pskc:UserId>{id}</pskc:UserId>");
        assert_eq!(import(HOTP, key), format!("HOTP/E/6 {user} - {KEY} 0"));
    }
    let site = Site::ready();
    let dated = data("")
        + "<pskc:Policy><pskc:ExpiryDate>2030-01-01T00:00:00Z</pskc:ExpiryDate></pskc:Policy>";
    let ran = site.import("pskc", plain(HOTP, &dated), &["--no-pin"]);
    assert!(
        ran.is(0)
            .err
            .ends_with(": keys with a first or last day, which nothing here observes: 1\n"),
        "{}",
        ran.err
    );
}

#[test]
fn pskc_that_cannot_be_taken_is_refused_with_the_reason() {
    let site = Site::ready();
    let one = |text: &str| {
        format!("tokens that cannot be imported: 1; nothing was changed\n  key 1: {text}")
    };
    let data = |format: &str| format!("{format}<pskc:Data>{}</pskc:Data>", secret());
    let other_format = |from: &str, to: &str| plain(HOTP, &data(&FORMAT.replace(from, to)));
    let whole = plain(HOTP, &data(FORMAT));
    for (document, reason) in [
        (plain("", &data(FORMAT)), one("it names no algorithm")),
        (plain("Algorithm='x:ocra'", &data(FORMAT)), one("its algorithm is neither HOTP nor TOTP")),
        (plain(HOTP, &data("")), one("it doesn't say how long its codes are (ResponseFormat)")),
        (other_format("DECIMAL", "ALPHANUMERIC"), one("its codes aren't decimal")),
        (other_format("Length='6'", "Length='6' CheckDigits='true'"), one("its codes have check digits")),
        (other_format("'6'", "'11'"), one("the length of its codes is not a number from 1 to 10")),
        (
            plain(HOTP, &format!("{FORMAT}<pskc:KeyReference>master</pskc:KeyReference>")),
            one("it contains the name of a key (KeyReference), not the key itself"),
        ),
        (plain(HOTP, FORMAT), one("it contains no key (Data/Secret)")),
        (whole.replace(KEY64, "???"), one("its key isn't base 64")),
        (whole.replace(KEY64, ""), one("its key is not 1 to 256 bytes")),
        (
            whole.replace("PlainValue>", "Value>"),
            one("a value is neither a PlainValue nor an EncryptedValue"),
        ),
        (
            whole.replace(
                "</pskc:Data>",
                "<pskc:Counter><pskc:PlainValue>x</pskc:PlainValue></pskc:Counter></pskc:Data>",
            ),
            one("one of its numbers isn't a number"),
        ),
        (
            whole.replace(
                "</pskc:Data>",
                "<pskc:Counter><pskc:PlainValue>-1</pskc:PlainValue></pskc:Counter></pskc:Data>",
            ),
            one("its counter is negative"),
        ),
        (
            whole.replace(
                "</pskc:Key>",
                "<pskc:Policy><pskc:KeyUsage>Encrypt</pskc:KeyUsage></pskc:Policy></pskc:Key>",
            ),
            one("its policy doesn't permit one-time passwords"),
        ),
        (whole.replace("1.0", "2.0"), "its version isn't 1".to_owned()),
        (
            whole.replace("keyprov:pskc'>", "keyprov:other'>"),
            "its root isn't a KeyContainer of RFC 6030".to_owned(),
        ),
        (whole.replace("</pskc:KeyContainer>", ""), "it is not well-formed XML, at 1:".to_owned()),
        (
            format!("<!DOCTYPE x [<!ENTITY e 'x'>]>{whole}"),
            "it has a document type definition (DTD), which PSKC doesn't need; entities aren't expanded"
                .to_owned(),
        ),
        (whole.replace(KEY64, "&e;"), "it has an entity that isn't one of XML's own, at 1:".to_owned()),
    ] {
        let told = site.refusal("pskc", &document, &["--no-pin"]);
        let is_place = reason.ends_with("at 1:");
        assert!(if is_place { told.starts_with(&reason) } else { told == reason }, "{told}\n{document}");
    }
    assert_eq!(site.refusal("pskc", b"<x>\xff</x>", &["--no-pin"]), "it is not UTF-8");
}

#[test]
fn a_document_that_only_nests_is_no_way_to_a_crash() {
    let site = Site::ready();
    let deep = format!("{}{}", "<x>".repeat(1_000_000), "</x>".repeat(1_000_000));
    let told = site.refusal("pskc", plain(HOTP, &deep), &["--no-pin"]);
    assert!(
        told.starts_with("it is not well-formed XML, at ") || told.contains("(ResponseFormat)"),
        "{told}"
    );
}

#[test]
fn encrypted_pskc_that_cannot_be_trusted_is_refused_with_the_reason() {
    let site = Site::ready();
    let one = |text: &str| {
        format!("tokens that cannot be imported: 1; nothing was changed\n  key 1: {text}")
    };
    let wrong_mac = one(
        "the MAC of an encrypted value is wrong: the key or password isn't the right one, or the file was altered",
    );
    let rsa = "it is encrypted with something other than AES in CBC mode (RSA, say), which isn't read here";
    let (six, seven) = (figure_6(), figure_7());
    for (document, secret, reason) in [
        // A bit of the sealed key, of its padding (which isn't looked at before the MAC), of its
        // MAC.
        (six.replace("AAECAwQF", "AAECAwQE"), PRE_SHARED_KEY, wrong_mac.clone()),
        (six.replace("ZqIUqGv", "ZqIUqGw"), PRE_SHARED_KEY, wrong_mac.clone()),
        (six.replace("Su+NvtQf", "Su+NvtQe"), PRE_SHARED_KEY, wrong_mac.clone()),
        (
            six.replace("<ValueMAC>Su+NvtQfmvfJzF6bmQiJqoLRExc=</ValueMAC>", ""),
            PRE_SHARED_KEY,
            one("an encrypted value has no MAC, so tampering would go unnoticed"),
        ),
        (
            six.replace("MACMethod", "NoMACMethod"),
            PRE_SHARED_KEY,
            one("an encrypted value has no MAC, so tampering would go unnoticed"),
        ),
        (
            six.replace("hmac-sha1", "hmac-md5"),
            PRE_SHARED_KEY,
            "its MAC is not HMAC-SHA1, HMAC-SHA256 or HMAC-SHA512".to_owned(),
        ),
        (
            six.replace("<MACKey>", "<MACKeyReference>x</MACKeyReference><MACKey>"),
            PRE_SHARED_KEY,
            "it contains the name of its MAC key (MACKeyReference), not the key itself".to_owned(),
        ),
        (
            six.replace("Pre-shared-key</ds:KeyName>", "</ds:KeyName>").replace("ds:KeyName", "ds:X509Data"),
            "",
            "it is encrypted for a certificate (RSA), which isn't read here: ask for a password or a pre-shared key \
             instead"
                .to_owned(),
        ),
        (six.replace("xmlenc#aes128-cbc", "xmlenc#rsa_1_5"), PRE_SHARED_KEY, rsa.to_owned()),
        (
            six.replace("EncryptionKey>", "NoKey>"),
            "",
            "it is encrypted, and doesn't say with which key".to_owned(),
        ),
        (six.clone(), "123", "the pre-shared key is not pairs of hexadecimal digits".to_owned()),
        (six.clone(), "1234", "the key is too short or too long for its encryption".to_owned()),
        (
            seven.replace("#pbkdf2", "#other"),
            "qwerty",
            "its key is derived by something other than PBKDF2".to_owned(),
        ),
        (seven.replace("Specified>", "Other>"), "qwerty", "its PBKDF2 parameters have no salt".to_owned()),
        (
            seven.replace(">1000<", ">20000001<"),
            "qwerty",
            "its PBKDF2 iterations are not a number from 1 to 20000000".to_owned(),
        ),
        (seven.replace(">16<", ">17<"), "qwerty", "its PBKDF2 key length is not 16, 24 or 32".to_owned()),
        (
            seven.replace("<PRF/>", "<PRF Algorithm='x#hmac-md5'/>"),
            "qwerty",
            "its PBKDF2 function is not HMAC-SHA1, HMAC-SHA256 or HMAC-SHA512".to_owned(),
        ),
        (
            six.replace("</KeyContainer>", "<ds:Signature>bogus</ds:Signature></KeyContainer>"),
            PRE_SHARED_KEY,
            "it is signed, and signatures can't be checked here: check it with `pskctool --verify`, then import it with \
             --ignore-signature"
                .to_owned(),
        ),
    ] {
        let told = site.refusal_asking("pskc", &document, &["--no-pin"], &format!("{secret}\n"));
        assert_eq!(told, reason, "{document}");
    }
    // A wrong secret fails with the MAC key or with the first MAC, depending on what its bytes
    // happen to be.
    for (document, secret) in [(&six, "12345678901234567890123456789013"), (&seven, "qwertz")] {
        let told = site.refusal_asking("pskc", document, &["--no-pin"], &format!("{secret}\n"));
        let broken =
            "an encrypted value can't be decrypted: the key or password isn't the right one";
        assert!(told == broken || told == wrong_mac, "{told}");
    }
    site.run(&["import", "pskc", "-", "--no-pin"], &six).complains_of(
        "standard input: it is encrypted: give the pre-shared key with --secret-file\n",
    );
}

#[test]
fn encrypted_numbers_of_any_length_are_read() {
    // Under the keys of figure 6.
    let document = |sealed: &str, mac: &str| {
        let counter = format!(
            "<Counter><EncryptedValue>{}</EncryptedValue><ValueMAC>{mac}</ValueMAC></Counter>",
            cipher(sealed)
        );
        let document =
            figure_6().replace("<Counter><PlainValue>0</PlainValue></Counter>", &counter);
        assert!(document.contains(sealed));
        document
    };
    for (sealed, mac, counter) in [
        ("AAECAwQFBgcICQoLDA0OD7KSMn8Bfxrfa7vu+CKJJ24=", "63JwcgvrZR/qZgzdT0J5Z0Z5Wlc=", 0x2a),
        ("AAECAwQFBgcICQoLDA0OD8xA+1+Tl3OHYzW5CvH+lr0=", "CB3Uu6DyoGcL0xczYWj7NZK6rns=", 0x12a),
        ("AAECAwQFBgcICQoLDA0OD4Kdp0KoRZ9hGQfcsMcy6Ns=", "82dYTjhryNuKAQTRQAf+SF9FXIc=", 0xff_ffff),
    ] {
        let site = Site::ready();
        let secret = format!("{PRE_SHARED_KEY}\n");
        site.import_asking("pskc", document(sealed, mac), &["--no-pin"], &secret).is(0);
        assert_eq!(tokens(&site), [format!("HOTP/E/8 987654321 - {KEY} {counter}")]);
    }
    for (sealed, mac) in [
        ("AAECAwQFBgcICQoLDA0OD9X3odhVDQJ62HdEr5sdIjs=", "H4pu+hEVbLRZh2vpJPEtoMkrXJU="),
        ("AAECAwQFBgcICQoLDA0ODyTUPg51Qh9qQVyhAbuVe5o=", "3c0PZbWbdjKnwwkndPUap3IYl8c="),
    ] {
        let site = Site::ready();
        let secret = format!("{PRE_SHARED_KEY}\n");
        let told = site.refusal_asking("pskc", document(sealed, mac), &["--no-pin"], &secret);
        assert!(
            told.ends_with("key 1: an encrypted number has no bytes, or more than eight"),
            "{told}"
        );
    }
}

#[test]
fn rfc_6030s_files_with_a_pin_key_or_a_repeated_key_import_but_for_these() {
    let key = |id: &str, serial: &str, algorithm: &str| {
        format!(
            "<KeyPackage><DeviceInfo><SerialNo>{serial}</SerialNo></DeviceInfo>
             <Key Id='{id}' Algorithm='urn:ietf:params:xml:ns:keyprov:pskc:{algorithm}'><AlgorithmParameters>
             <ResponseFormat Length='8' Encoding='DECIMAL'/></AlgorithmParameters><Data><Secret><PlainValue>
             {KEY64}</PlainValue></Secret><Counter><PlainValue>0</PlainValue></Counter></Data></Key></KeyPackage>"
        )
    };
    let document = |keys: String| {
        format!(
            "<KeyContainer Version='1.0' xmlns='urn:ietf:params:xml:ns:keyprov:pskc'>{keys}</KeyContainer>"
        )
    };
    // Figure 5: the second key is the PIN of the first. Figure 10: keys 3 and 4 are in one device.
    let five =
        document(key("12345678", "987654321", "hotp") + &key("123456781", "987654321", "pin"));
    let ten = document(
        key("1", "654321", "hotp")
            + &key("2", "123456", "hotp")
            + &key("3", "9999999", "hotp")
            + &key("4", "9999999", "hotp"),
    );
    for (document, usable, told) in [
        (five, 1, "key 2: its algorithm is neither HOTP nor TOTP"),
        (ten, 3, "key 4: it is the token of key 3 once more"),
    ] {
        let site = Site::ready();
        site.import("pskc", &document, &["--no-pin"]).is(1);
        let ran = site.import("pskc", &document, &["--no-pin", "--skip-unusable"]);
        ran.is(0);
        assert!(ran.err.ends_with(&format!(": 1; left out\n  {told}\n")), "{}", ran.err);
        assert_eq!(tokens(&site).len(), usable);
    }
}

#[test]
fn pskctool_reads_what_is_written_and_what_it_signs_is_read() {
    let site = Site::ready();
    fs::write(site.users(), all_kinds()).unwrap();
    let path = |name: &str| site.path(name).to_str().unwrap().to_owned();
    let export = |name: &str, more: &[&str], input: &str| {
        site.run(&[&["export", "pskc", &path(name), "--issuer", "A & B"], more].concat(), input)
            .is(0);
        output_of("pskctool", &["--validate", &path(name)])
    };
    assert_eq!(export("plain.xml", &[], ""), "OK");
    assert_eq!(export("password.xml", &["--encrypt", "password"], "correct horse\n"), "OK");
    assert_eq!(export("key.xml", &["--encrypt", "key"], &format!("{PRE_SHARED_KEY}\n")), "OK");

    let told = output_of("pskctool", &["--info", &path("plain.xml")]);
    for line in [
        &format!("Key Secret (base64): {KEY64}")[..],
        "Algorithm: urn:ietf:params:xml:ns:keyprov:pskc:totp",
        "Issuer: A & B",
        "Response Format Length: 6",
        "Response Format Encoding: DECIMAL",
        "Key TimeInterval: 60",
        "Key Counter: 120",
        "Key User Id: UID=alice",
    ] {
        assert!(told.contains(line), "{line:?} isn't in {told}");
    }
    for (name, input) in [("password.xml", "correct horse\n"), ("key.xml", PRE_SHARED_KEY)] {
        let text = fs::read_to_string(site.path(name)).unwrap();
        assert!(!text.contains(KEY64), "{text}");
        let copy = Site::ready();
        copy.import_asking("pskc", &text, &["--no-pin"], input).is(0);
        assert_eq!(copy.first_words(), site.first_words());
    }

    let made = Command::new("openssl")
        .args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=vendor"])
        .args(["-keyout", &path("key.pem"), "-out", &path("crt.pem")])
        .stderr(Stdio::null())
        .status();
    assert!(made.unwrap().success());
    let signed = output_of(
        "pskctool",
        &[
            "--sign",
            "--sign-key",
            &path("key.pem"),
            "--sign-crt",
            &path("crt.pem"),
            &path("plain.xml"),
        ],
    );
    let copy = Site::ready();
    assert!(
        copy.refusal("pskc", &signed, &["--no-pin"])
            .starts_with("it is signed, and signatures can't")
    );
    copy.import("pskc", &signed, &["--no-pin", "--ignore-signature"]).is(0);
    assert_eq!(copy.first_words(), site.first_words());
}

#[test]
fn what_an_export_is_encrypted_with_has_to_be_good() {
    let site = Site::ready();
    fs::write(site.users(), all_kinds()).unwrap();
    let out = site.path("out.xml");
    let export = |with: &str, input: &str| {
        site.run(&["export", "pskc", out.to_str().unwrap(), "--encrypt", with], input)
    };
    export("password", "\n").complains_of("otpgate: the password is empty; nothing was written\n");
    export("key", "1234\n").complains_of(
        "otpgate: the key to encrypt with is not 16 bytes in hexadecimal; nothing was written\n",
    );
    assert!(!out.exists());
}

#[test]
fn progress_is_told_at_a_terminal_only() {
    let site = Site::ready();
    let csv: String = (0..100_000).map(|i| format!("user{i},{KEY}{i:06}\n")).collect();
    fs::write(site.path("in.csv"), csv).unwrap();
    let users = site.users().display().to_string();
    let line =
        format!("{PROGRAM} -f {users} import csv {} --no-pin", site.path("in.csv").display());
    let terminal = Command::new("script")
        .args(["--quiet", "--return", "--command", &line, "/dev/null"])
        .stdin(Stdio::null())
        .output()
        .expect("script, of the package bsdutils");
    assert!(terminal.status.success());
    let shown = String::from_utf8(terminal.stdout).unwrap();
    assert!(
        shown.contains("reading ") && shown.contains("\r\u{1b}[K100000 tokens imported"),
        "{shown}"
    );
    assert_eq!(site.content().lines().count(), 100_000);
    let again = site.run(
        &["import", "csv", site.path("in.csv").to_str().unwrap(), "--no-pin", "--skip-existing"],
        "",
    );
    again.is(0);
    assert_eq!(again.err, "");
}
