//! What `otpgate add` shows phones, and what it asks before it saves.

mod common;

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::{Command, Stdio};

use otpgate::gate::Store;
use otpgate::users::file::UsersFile;

use common::{PROGRAM, Site, output_of, parameter};

/// A code that oathtool makes for an address now.
fn code_by_oathtool(address: &str, more: &[&str]) -> String {
    let digits = parameter(address, "digits");
    output_of("oathtool", &[&["-b", "-d", digits], more, &[parameter(address, "secret")]].concat())
}

fn scan(image: &Path) -> String {
    output_of("zbarimg", &["--quiet", "--raw", image.to_str().unwrap()])
}

#[test]
fn image_files_show_a_scanner_the_address_that_is_printed() {
    let site = Site::ready();
    let svg = site.path("alice.svg");
    let args = [
        "add",
        "alice",
        "-q",
        "--no-pin",
        "--issuer",
        "Big Corp & Söhne",
        "--qr",
        svg.to_str().unwrap(),
    ];
    let added = site.run(&args, "");
    added.is(0);
    let raster = site.path("alice-from-svg.png");
    output_of("rsvg-convert", &["-o", raster.to_str().unwrap(), svg.to_str().unwrap()]);
    assert_eq!(scan(&raster), added.out.trim_end());

    let png = site.path("bob.png");
    let added =
        site.run(&["add", "bob", "-q", "--no-pin", "--hotp", "--qr", png.to_str().unwrap()], "");
    added.is(0);
    assert_eq!(scan(&png), added.out.trim_end());
    for image in [svg, png] {
        assert_eq!(fs::metadata(&image).unwrap().mode() & 0o7777, 0o600, "it holds the key");
    }
}

#[test]
fn another_spelling_of_a_listed_name_is_added_with_a_warning() {
    let site = Site::ready();
    fs::write(site.users(), "# one\nHOTP jos\u{e9} - 00\n").unwrap();
    let add = |user: &str, more: &[&str]| {
        let ran = site.run(&[&["add", user, "-q", "--no-pin"], more].concat(), "");
        ran.is(0);
        ran.err.clone()
    };
    assert_eq!(
        add("Jose", &[]),
        "otpgate: warning: \"Jose\" is another spelling of \"jos\\xc3\\xa9\" in line 2, and others may take them for one person\n"
    );
    assert_eq!(add("josef", &[]), "");
    assert_eq!(add("Jose", &["--another-token"]), "");
    fs::write(site.users(), [&site.content()[..], "#@ apart JOSE\n"].concat()).unwrap();
    assert!(add("JOSE", &["--purge"]).contains("\"JOSE\" is another spelling of"));
}

#[test]
fn a_code_of_the_scanned_address_logs_in() {
    let site = Site::ready();
    for (user, args, by_oathtool) in [
        ("a", &[][..], &["--totp"][..]),
        ("b", &["--hotp"], &["-c", "0"]),
        ("c", &["--digits", "8", "--period", "60"], &["--totp", "-s", "60s"]),
        ("d", &["--algorithm", "sha256"], &["--totp=sha256"]),
        ("e", &["--algorithm", "sha512", "--digits", "7"], &["--totp=sha512"]),
    ] {
        let png = site.path(&format!("{user}.png"));
        let start = ["add", user, "-q", "--no-pin", "--qr", png.to_str().unwrap()];
        site.run(&[&start, args].concat(), "").is(0);
        let code = code_by_oathtool(&scan(&png), by_oathtool);
        assert_eq!(site.login(user, &code), "granted-fresh", "{args:?}");
        // Digits might be an old code of a key made at random, which is told from a wrong one.
        assert_eq!(site.login(user, "nocode"), "denied-code", "{args:?}");
    }
}

#[test]
fn a_qr_file_is_new_and_goes_where_its_token_isnt_saved() {
    let site = Site::ready();
    let add = |file: &str, input: &str, more: &[&str]| {
        let path = site.path(file);
        site.run(
            &[&["add", "alice", "--no-pin", "--qr", path.to_str().unwrap()], more].concat(),
            input,
        )
    };
    let path = |name: &str| site.path(name).display().to_string();
    add("x.jpg", "", &[]).complains_of(&format!(
        "otpgate: {}: a QR code's file ends in .svg or .png\n",
        path("x.jpg")
    ));
    fs::write(site.path("there.svg"), "mine").unwrap();
    add("there.svg", "", &[]).complains_of(&format!(
        "otpgate: {} already exists; remove it or use another name\n",
        path("there.svg")
    ));
    assert_eq!(fs::read_to_string(site.path("there.svg")).unwrap(), "mine");
    add("no/x.svg", "", &[])
        .complains_of(&format!("otpgate: cannot make {}: No such file", path("no/x.svg")));
    add("x.svg", "", &["--confirm"])
        .complains_of("otpgate: no code was given; nothing was changed\n");
    assert!(!site.path("x.svg").exists());
    assert_eq!(site.content(), "");
}

#[test]
fn what_phone_apps_ignore_is_warned_of() {
    let site = Site::ready();
    for (user, args, warning) in [
        ("a", &["--algorithm", "sha256"][..], "many phone apps ignore SHA-256 and take SHA-1"),
        ("b", &["--algorithm", "sha512"], "many phone apps ignore SHA-512 and take SHA-1"),
        ("c", &["--digits", "8"], "many phone apps ignore that a code has 8 digits and take 6"),
        ("d", &["--period", "60"], "many phone apps ignore a period of 60 seconds and take 30"),
    ] {
        let ran = site.run(&[&["add", user, "-q", "--no-pin"], args].concat(), "");
        ran.is(0);
        assert_eq!(ran.err, format!("otpgate: warning: {warning}; try a code first (--confirm)\n"));
    }
    for (user, args) in [("e", &[][..]), ("f", &["--hotp"]), ("g", &["--motp"])] {
        assert_eq!(site.run(&[&["add", user, "-q"], args].concat(), "sesame9\n").is(0).err, "");
    }
}

const KEY: &str = "3132333435363738393031323334353637383930";
/// RFC 4226 appendix D: codes of counters 0, 1, 2 and 9.
const CODES: [&str; 4] = ["755224", "287082", "359152", "520489"];

#[test]
fn with_confirm_a_token_is_saved_after_a_right_code_which_is_spent() {
    let site = Site::ready();
    let input =
        format!("{KEY}\nsesame9\n000000\n{}\n{} {}\n", CODES[3], &CODES[1][..3], &CODES[1][3..]);
    let ran = site.run(&["add", "alice", "--hotp", "--confirm", "--key-file", "-"], &input);
    ran.is(0);
    assert_eq!(
        ran.err,
        "Adding \"alice\". For the phone, shown only now:\n\n\
         otpgate: that isn't one of its current codes; tries left: 2\n\
         otpgate: that isn't one of its current codes; tries left: 1\n\
         Added \"alice\".\n"
    );
    assert!(
        ran.out.starts_with("otpauth://hotp/") && ran.out.ends_with("&counter=0\n"),
        "{}",
        ran.out
    );
    let found = UsersFile::new(&site.users()).find(b"alice").unwrap();
    assert_eq!(
        (found.entry.lines[0].state.counter.as_written(), found.entry.lines[0].state.failures),
        (2, 0)
    );
    assert_eq!(site.login("alice", &format!("sesame9{}", CODES[1])), "denied-expired");
    assert_eq!(site.login("alice", &format!("sesame9{}", CODES[2])), "granted-fresh");
}

#[test]
fn with_confirm_a_time_code_is_spent_as_well() {
    let site = Site::ready();
    let mut child = Command::new(PROGRAM)
        .args(["add", "alice", "--no-pin", "--confirm", "-q", "-f", site.users().to_str().unwrap()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut address = String::new();
    std::io::BufRead::read_line(
        &mut std::io::BufReader::new(child.stdout.take().unwrap()),
        &mut address,
    )
    .unwrap();
    let code = code_by_oathtool(address.trim_end(), &["--totp"]);
    assert_eq!(site.content(), "", "nothing is saved before");
    writeln!(child.stdin.take().unwrap(), "{code}").unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0));
    assert_eq!(site.login("alice", &code), "denied-expired");
}

#[test]
fn three_wrong_codes_or_none_save_nothing() {
    let site = Site::ready();
    let add = |args: &[&str], input: &str| {
        site.run(
            &[&["add", "alice", "--no-pin", "--confirm", "--key-file", "-"], args].concat(),
            input,
        )
    };
    add(&["--hotp"], &format!("{KEY}\n000000\n000000\n000000\n{}\n", CODES[0])).complains_of(
        "otpgate: 3 codes that aren't its own; nothing was changed (has its counter moved on already?)\n",
    );
    add(&[], &format!("{KEY}\n1\n2\n3\n")).complains_of(
        "otpgate: 3 codes that aren't its own; nothing was changed (are the clocks of the phone and of this \
         machine right?)\n",
    );
    add(&[], &format!("{KEY}\n")).complains_of("otpgate: no code was given; nothing was changed\n");
    assert_eq!(site.content(), "");
}

#[test]
fn a_mobile_otp_code_is_confirmed_with_its_pin() {
    let site = Site::ready();
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let key = data_encoding::HEXLOWER.decode(KEY.as_bytes()).unwrap();
    let code = otpgate::otp::motp(&key, b"sesame9", now / 10, otpgate::otp::Digits::SIX);
    let code = String::from_utf8(code.as_bytes().to_vec()).unwrap();
    let ran = site.run(
        &["add", "alice", "--motp", "--confirm", "--key-file", "-"],
        &format!("{KEY}\nsesame9\n{code}\n"),
    );
    ran.is(0);
    assert_eq!(ran.out, format!("{KEY}\n"));
}

#[test]
fn a_key_from_standard_input_is_the_one_that_is_saved() {
    let site = Site::ready();
    site.run(
        &["add", "alice", "-q", "--plain-pin", "--key-file", "-"],
        &format!("{KEY}\nsesame9\n"),
    )
    .is(0);
    assert_eq!(site.first_words(), [["HOTP/T30/6", "alice", "sesame9", KEY]]);
    site.run(&["add", "bob", "--no-pin", "--key-file", "-"], "xyz\n").complains_of(
        "otpgate: standard input: field 4 (key) is not 1 to 256 bytes in hexadecimal or base32:\n",
    );
}

/// What stands on a terminal in half blocks, as a grey picture, by the colours that are set.
fn picture_of(terminal: &str) -> Vec<u8> {
    const MODULE: usize = 4;
    let mut rows: Vec<Vec<u8>> = Vec::new();
    for line in terminal.lines().filter(|line| line.starts_with("\u{1b}[38;5;16;48;5;231m")) {
        let (mut upper, mut lower) = (Vec::new(), Vec::new());
        for run in line.trim_end().split('\u{1b}').skip(1) {
            let (colours, text) = run.split_once('m').unwrap();
            let background = match colours {
                "[38;5;16;48;5;231" => 255,
                "[48;5;16" => 0,
                "[0" => continue,
                other => panic!("{other:?}"),
            };
            upper.extend(text.chars().map(|c| if c == '▀' { 0 } else { background }));
            lower.extend(text.chars().map(|c| if c == '▄' { 0 } else { background }));
        }
        rows.extend([upper, lower]);
    }
    let mut picture =
        format!("P5 {} {} 255\n", rows[0].len() * MODULE, rows.len() * MODULE).into_bytes();
    for row in rows {
        let line: Vec<u8> = row.iter().flat_map(|&pixel| [pixel; MODULE]).collect();
        picture.extend(line.repeat(MODULE));
    }
    picture
}

/// The command with a terminal for standard output.
fn on_a_terminal(site: &Site, user: &str, no_color: &str) -> String {
    let line = format!("{PROGRAM} -f {} add {user} --no-pin", site.users().display());
    let output = Command::new("script")
        .args(["--quiet", "--return", "--command", &line, "/dev/null"])
        .env("NO_COLOR", no_color)
        .stdin(Stdio::null())
        .output()
        .expect("script, of the package bsdutils");
    assert!(output.status.success());
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn a_terminal_shows_the_address_in_black_on_white_whatever_its_colours() {
    let site = Site::ready();
    let shown = on_a_terminal(&site, "alice", "");
    let picture = site.path("terminal.pgm");
    fs::write(&picture, picture_of(&shown)).unwrap();
    let address = shown.lines().find(|line| line.starts_with("otpauth://")).unwrap().trim_end();
    assert_eq!(scan(&picture), address);

    let plain = on_a_terminal(&site, "bob", "1");
    assert!(plain.contains('█') && !plain.contains('\u{1b}'), "{plain}");
}

#[test]
fn a_key_from_elsewhere_that_is_doubtful_is_warned_of_or_refused() {
    let site = Site::ready();
    let key = "e0f1d2c3b4a5968778695a4b3c2d1e0fffeeddcc";
    let add =
        |user: &str, key: &str| site.run(&["add", user, "--no-pin", "-q", "--key-file", "-"], key);
    add("alice", key).is(0);
    let shared = add("bob", key);
    shared.is(0);
    assert!(
        shared.err.contains("that key is also the key of \"alice\" in line 1"),
        "{}",
        shared.err
    );
    let alike = add("carol", &"7".repeat(40));
    alike.is(0);
    assert!(alike.err.contains("all bytes of the key are the same"), "{}", alike.err);
    add("dave", "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ")
        .complains_of("looks like base 32: write `base32:` before it");
    let rekeyed = site.run(&["rekey", "carol", "-q", "--key-file", "-"], key);
    rekeyed.is(0);
    assert!(rekeyed.err.contains("that key is also the key of \"alice\""), "{}", rekeyed.err);
    for secret in [key, "GEZDGNBV"] {
        assert!(!shared.err.contains(secret) && !rekeyed.err.contains(secret));
    }
}

#[test]
fn a_doubtful_pin_is_warned_of_and_a_dash_of_another_kind_refused() {
    let site = Site::ready();
    let short = site.run(&["add", "alice", "-q"], "x1z\n");
    short.is(0);
    assert!(
        short.err.contains("a PIN of fewer than 4 characters") && !short.err.contains("x1z"),
        "{}",
        short.err
    );
    site.run(&["add", "bob", "-q"], "–\n").complains_of("use --no-pin");
    let fine = site.run(&["set-pin", "alice"], "x1zz\n");
    fine.is(0);
    assert_eq!(fine.err, "");
}

#[test]
fn a_name_that_is_no_utf8_is_warned_of() {
    use std::os::unix::ffi::OsStrExt;
    let site = Site::ready();
    let mut command = std::process::Command::new(common::PROGRAM);
    command.args(["add", "--no-pin", "-q"]).arg(std::ffi::OsStr::from_bytes(b"jos\xe9"));
    let ran = common::ran(command.env("OTPGATE_USERS_FILE", site.users()), "");
    ran.is(0);
    assert!(ran.err.contains("the name isn't UTF-8"), "{}", ran.err);
}

#[test]
fn rekey_with_confirm_keeps_the_old_key_until_a_code_of_the_new_one_is_right() {
    const OLD: &str = "00112233445566778899aabbccddeeff00112233";
    let site = Site::ready();
    fs::write(site.users(), format!("HOTP alice sesame9 {OLD} 7 2\n# end\n")).unwrap();
    let before = site.content();
    let image = site.path("alice.png");
    let args = ["rekey", "alice", "--confirm", "--key-file", "-", "--qr", image.to_str().unwrap()];
    for (codes, complaint) in [
        ("", "no code was given; nothing was changed"),
        ("000000\n000001\n000002\n", "3 codes that aren't its own; nothing was changed"),
    ] {
        site.run(&args, &format!("{KEY}\n{codes}")).complains_of(complaint);
        assert_eq!(site.content(), before);
        assert!(!image.exists());
    }

    let ran = site.run(&args, &format!("{KEY}\n000000\n{}\n", CODES[1]));
    ran.is(0);
    assert_eq!(
        ran.err,
        "A new key for token 1 of \"alice\". For the phone, shown only now:\n\n\
         otpgate: that isn't one of its current codes; tries left: 2\n\
         Token 1 of \"alice\" has a new key.\n"
    );
    assert_eq!(scan(&image), ran.out.trim_end());
    assert_eq!(site.login("alice", &format!("sesame9{}", CODES[1])), "denied-expired");
    assert_eq!(site.login("alice", &format!("sesame9{}", CODES[2])), "granted-fresh");
    let found = UsersFile::new(&site.users()).find(b"alice").unwrap();
    assert_eq!(found.entry.lines[0].state.failures, 0);
    assert!(site.content().ends_with("# end\n"));
}

#[test]
fn rekey_with_confirm_mends_a_line_whose_key_cant_be_read_and_knows_mobile_otp() {
    let site = Site::ready();
    fs::write(site.users(), "HOTP alice 1234 zz\nHOTP/X bob 1234 zz\nMOTP carol 1234 00ff\n")
        .unwrap();
    let confirm = |user: &str, input: &str| {
        site.run(&["rekey", user, "-q", "--confirm", "--key-file", "-"], input)
    };
    confirm("alice", &format!("{KEY}\n{}\n", CODES[0])).is(0);
    assert_eq!(site.login("alice", &format!("1234{}", CODES[1])), "granted-fresh");

    let before = site.content();
    let refused = confirm("bob", &format!("{KEY}\n{}\n", CODES[0]));
    refused.complains_of("line 2 can't be read: ");
    assert_eq!((&refused.out[..], site.content()), ("", before.clone()));

    confirm("carol", "ff00\n123456\n").complains_of("no code was given; nothing was changed");
    assert_eq!(site.content(), before);
    let image = site.path("carol.svg");
    site.run(&["rekey", "carol", "--qr", image.to_str().unwrap()], "")
        .complains_of("a Mobile-OTP token has no QR code: leave out --qr");
    assert!(!image.exists() && site.content() == before);
}

#[test]
fn a_key_made_meanwhile_isnt_overwritten() {
    let site = Site::ready();
    fs::write(site.users(), "HOTP alice - 00ff\n").unwrap();
    let mut rekey = Command::new(PROGRAM)
        .args(["rekey", "alice", "-q", "--confirm", "--key-file", "-"])
        .env("OTPGATE_USERS_FILE", site.users())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = rekey.stdin.take().unwrap();
    input.write_all(format!("{KEY}\n").as_bytes()).unwrap();
    // It has looked at the token once it shows the key.
    let mut shown = [0];
    rekey.stdout.as_mut().unwrap().read_exact(&mut shown).unwrap();
    site.run(&["rekey", "alice", "-q"], "").is(0);
    let before = site.content();
    input.write_all(format!("{}\n", CODES[0]).as_bytes()).unwrap();
    drop(input);
    let ended = rekey.wait_with_output().unwrap();
    assert_eq!(ended.status.code(), Some(1));
    let told = String::from_utf8(ended.stderr).unwrap();
    assert!(told.contains("somebody else has changed \"alice\" meanwhile"), "{told}");
    assert_eq!(site.content(), before);
}
