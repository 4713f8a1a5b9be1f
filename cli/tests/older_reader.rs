//! A users file with lines of every kind, in the hands of older programs that share it or get it
//! back (mod_authn_otp, its otptool): what they don't know lets nobody in there, and what they
//! write takes nothing away.

mod common;

use std::fs;

use common::Site;
use otpgate::otp::{Digits, Hash, hotp};
use otpgate::store::Store;
use otpgate::users::file::UsersFile;
use otpgate::users::pragma::PragmaKind;

const KEY: &str = "3132333435363738393031323334353637383930";
const OTHER_KEY: &str = "00112233445566778899aabbccddeeff00112233";

/// The rules of older programs, as [the users file](../../docs/users-file.md) and the specification
/// (2.1, 2.10) tell of them. It shares no code with ours but for the computing of codes.
mod older {
    use super::{Digits, Hash, hotp};

    /// So many bytes are read as one line.
    const LINE_MAX: usize = 1023;
    /// How far ahead a code is looked for.
    const MAX_OFFSET: u64 = 4;
    const BLANK: &[char] = &[' ', '\t', '\r', '\x0b', '\n'];

    #[derive(Debug, PartialEq)]
    pub enum Read<'a> {
        /// Kept as it is: comments and blank lines.
        Nothing,
        /// Kept as it is, with a line in the log.
        Unreadable,
        Token(Token<'a>),
    }

    /// An event token: the only kind that this test logs in with.
    #[derive(Debug, PartialEq)]
    pub struct Token<'a> {
        pub head: [&'a str; 4],
        pub counter: u64,
    }

    /// A content as it is read: whatever is longer than a line may be goes on as another line.
    pub fn lines(content: &str) -> impl Iterator<Item = &str> {
        content.split_inclusive('\n').flat_map(|line| {
            let pieces = line.as_bytes().chunks(LINE_MAX);
            pieces.map(|piece| str::from_utf8(piece).expect("ASCII"))
        })
    }

    pub fn read(line: &str) -> Read<'_> {
        let words: Vec<&str> = line.split(BLANK).filter(|word| !word.is_empty()).collect();
        if line.starts_with('#') || words.is_empty() {
            return Read::Nothing;
        }
        let [kind, user, pin, key, ref state @ ..] = words[..] else { return Read::Unreadable };
        let is_hexadecimal = key.len() % 2 == 0 && key.bytes().all(|b| b.is_ascii_hexdigit());
        if !is_kind(kind) || !is_hexadecimal {
            return Read::Unreadable;
        }
        match state.first().map_or(Ok(0), |counter| counter.parse()) {
            Ok(counter) => Read::Token(Token { head: [kind, user, pin, key], counter }),
            Err(_) => Read::Unreadable,
        }
    }

    fn is_kind(kind: &str) -> bool {
        let is_number = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        let mut parts = kind.split('/');
        match parts.next() {
            Some("E" | "T") => parts.next().is_none(),
            Some(name) if ["HOTP", "MOTP"].iter().any(|it| it.eq_ignore_ascii_case(name)) => {
                let is_factor = |part: &str| match part.split_at_checked(1) {
                    Some(("E" | "e", "")) => true,
                    Some(("T" | "t", period)) => is_number(period),
                    _ => false,
                };
                parts.next().is_none_or(is_factor)
                    && parts.next().is_none_or(is_number)
                    && parts.next().is_none()
            }
            _ => false,
        }
    }

    /// A login: the content that the program leaves, if it lets the user in.
    pub fn login(content: &str, user: &str, password: &str) -> Option<String> {
        let mut left = String::new();
        let mut is_granted = false;
        for line in lines(content) {
            match read(line) {
                Read::Token(token) if token.head[1] == user && !is_granted => {
                    match accepted(&token, password) {
                        Some((counter, code)) => {
                            is_granted = true;
                            let time = jiff::Zoned::now().strftime("%Y-%m-%dT%H:%M:%SL");
                            let head = token.head.join(" ");
                            let next = counter + 1;
                            left += &format!("{head} {next} 0 {code} {time} 192.0.2.7\n");
                        }
                        None => left += line,
                    }
                }
                _ => left += line,
            }
        }
        is_granted.then_some(left)
    }

    fn accepted(token: &Token<'_>, password: &str) -> Option<(u64, String)> {
        let [kind, _, pin, key] = token.head;
        let digits = kind.split('/').nth(2).map_or(6, |digits| digits.parse().expect("a number"));
        let pin = if pin == "-" { "" } else { pin };
        let key = data_encoding::HEXLOWER.decode(key.as_bytes()).expect("lower case");
        let code = password.strip_prefix(pin).filter(|code| code.len() == usize::from(digits))?;
        let candidates = token.counter..=token.counter + MAX_OFFSET;
        let of = |counter| {
            let code = hotp(Hash::Sha1, &key, counter, Digits::new(digits).expect("1 to 10"));
            String::from_utf8(code.as_bytes().to_vec()).expect("digits")
        };
        candidates.map(|counter| (counter, of(counter))).find(|(_, right)| right == code)
    }
}

fn code(key: &str, counter: u64, digits: u8) -> String {
    let key = data_encoding::HEXLOWER.decode(key.as_bytes()).unwrap();
    let code = hotp(Hash::Sha1, &key, counter, Digits::new(digits).unwrap());
    String::from_utf8(code.as_bytes().to_vec()).unwrap()
}

/// A site with a line of each kind, made by those who make them, and the password of alice's
/// program.
fn site() -> (Site, String) {
    let site = Site::ready();
    let lines = format!(
        "# kept\n\nHOTP alice 1234 {KEY}\n#@ limits max_failures=9\n#@ apart Alice\n\
         #@ allow apps trusted-networks=192.0.2.0/24\n#@ free      \n#@ session alice later\n\
         #@ start-pin bob 2026-12-01\nHOTP bob - {OTHER_KEY}\nPAPER/8/30 paula 4321 {OTHER_KEY}\n\
         HOTP/8 nothing\nno line"
    );
    fs::write(site.users(), lines).unwrap();
    let program = site.run(&["app", "add", "alice", "phone", "--path=/dav/"], "").is(0).out.clone();
    for args in [
        &["paper", "alice"][..],
        &["trust", "alice", "198.51.100.0/24", "2001:db8::/32"],
        &["always", "bob", "apps"],
    ] {
        site.run(args, "").is(0);
    }
    // As a server does after too many wrong PINs.
    let close = UsersFile::new(&site.users()).update(&mut |transaction| {
        transaction.find(b"bob")?;
        transaction.close_pin(b"bob", true);
        Ok(())
    });
    close.unwrap();
    (site, program.trim_end().to_owned())
}

#[test]
fn what_an_older_program_does_not_know_lets_nobody_in_there() {
    let (site, program) = site();
    let content = site.content();
    let mut kinds = Vec::new();
    for line in older::lines(&content) {
        let read = older::read(line);
        if line.starts_with("#@") {
            assert_eq!(read, older::Read::Nothing, "{line}");
            kinds.extend(PragmaKind::of(line.as_bytes()).map(PragmaKind::name));
        }
        if line.starts_with("PAPER") {
            assert_eq!(read, older::Read::Unreadable, "{line}");
        }
    }
    kinds.sort_unstable();
    kinds.dedup();
    assert_eq!(
        kinds,
        ["allow", "always", "apart", "app", "free", "limits", "session", "start-pin", "trust"]
    );

    let own_paper = site.first_words().into_iter().find(|words| {
        matches!(&words[..], [kind, user, ..] if kind.starts_with("PAPER") && user == "alice")
    });
    let own_paper = own_paper.expect("a list")[3].clone();
    let mut refused = vec![
        ("alice", program.clone()),
        ("bob", program),
        ("alice", "1234".to_owned()),
        ("alice", String::new()),
        ("bob", String::new()),
        ("paula", "4321".to_owned()),
        ("#@", String::new()),
        ("app", String::new()),
        ("PAPER/8/30", String::new()),
    ];
    for number in 0..30 {
        for digits in [6, 8] {
            refused.push(("alice", format!("1234{}", code(&own_paper, number, digits))));
            refused.push(("paula", format!("4321{}", code(OTHER_KEY, number, digits))));
            refused.push(("paula", code(OTHER_KEY, number, digits)));
        }
    }
    for (user, password) in refused {
        assert_eq!(older::login(&content, user, &password), None, "{user} {password}");
    }
    // It isn't that the reader lets in nobody.
    assert!(older::login(&content, "alice", &format!("1234{}", code(KEY, 0, 6))).is_some());
    assert!(older::login(&content, "bob", &code(OTHER_KEY, 4, 6)).is_some());
}

#[test]
fn what_an_older_program_writes_takes_nothing_of_the_other_lines_away() {
    let (site, program) = site();
    let found = |user: &str| UsersFile::new(&site.users()).find(user.as_bytes()).unwrap();
    let others = |content: &str| -> Vec<String> {
        let is_other = |line: &&str| {
            let words = ["HOTP alice 1234", "HOTP bob"];
            !words.iter().any(|words| line.starts_with(words))
        };
        content.split_inclusive('\n').filter(is_other).map(str::to_owned).collect()
    };
    let before = site.content();
    let ways = ["alice", "bob"].map(|user| found(user).entry.ways.clone());
    let allow = found("alice").allow.clone();
    assert!(ways[0].apps[0].digest.is_of(program.as_bytes()) && ways[1].always.until_code);
    let papers = others(&before).iter().filter(|line| line.starts_with("PAPER")).count();
    assert_eq!((papers, ways[0].trusted.len(), allow.apps), (2, 2, true));

    // By turns, each with what the other has left.
    for round in 0..3 {
        let counter = 2 * round;
        for (user, pin, key) in [("alice", "1234", KEY), ("bob", "", OTHER_KEY)] {
            let password = |counter| format!("{pin}{}", code(key, counter, 6));
            let content = site.content();
            let written = older::login(&content, user, &password(counter)).expect("a grant");
            assert_eq!(others(&written), others(&content));
            fs::write(site.users(), &written).unwrap();
            let found = ["alice", "bob"].map(|user| found(user).entry.ways.clone());
            let mut expected = ways.clone();
            // Ours ends it with a fresh code, theirs doesn't know of it.
            expected[1].always.until_code = round == 0;
            assert_eq!(found, expected, "{round} {user}");
            assert_ne!(site.login(user, &password(counter)), "granted-fresh", "{user}");
        }
        for (user, pin, key) in [("alice", "1234", KEY), ("bob", "", OTHER_KEY)] {
            let password = |counter| format!("{pin}{}", code(key, counter, 6));
            assert_eq!(site.login(user, &password(counter + 1)), "granted-fresh", "{user}");
            for used in 0..=counter + 1 {
                assert_eq!(older::login(&site.content(), user, &password(used)), None, "{used}");
            }
        }
    }
    assert_eq!(found("alice").allow, allow);
    assert_eq!(site.login("paula", &format!("4321{}", code(OTHER_KEY, 0, 8))), "granted-fresh");
    let paper = |line: &&str| line.starts_with("PAPER");
    let (now, then) = (site.content(), before);
    let heads = |content: &str| -> Vec<Vec<String>> {
        let words = |line: &str| line.split(' ').take(4).map(str::to_owned).collect();
        content.lines().filter(paper).map(words).collect()
    };
    assert_eq!(heads(&now), heads(&then));
}

/// What is longer than older programs read at once would go on as a line of its own there.
#[test]
fn no_line_is_written_that_an_older_program_would_take_for_two() {
    let (site, _) = site();
    let mut is_full = false;
    for number in 0..100 {
        let network = format!("2001:db8:1234:5678:9abc:{number:x}::/96");
        let before = site.content();
        let ran = site.run(&["trust", "alice", &network], "");
        if ran.status != 0 {
            ran.complains_of("the line must be shorter than 1000 bytes");
            assert_eq!(site.content(), before);
            is_full = true;
            break;
        }
    }
    assert!(is_full);
    let content = site.content();
    assert_eq!(older::lines(&content).count(), content.split_inclusive('\n').count());
    assert!(content.lines().any(|line| line.len() > 900));
}
