//! Prompts on a terminal: what is typed at them isn't shown.

mod common;

use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::process::{Child, Command, Stdio};

use common::{PROGRAM, Site};
use nix::pty::openpty;
use otpgate::gate::Store;
use otpgate::otp::{Digits, Hash, hotp};
use otpgate::token::Pin;
use otpgate::users::file::UsersFile;

const KEY: &str = "3132333435363738393031323334353637383930";

fn code(counter: u64) -> String {
    let code = hotp(Hash::Sha1, b"12345678901234567890", counter, Digits::SIX);
    String::from_utf8(code.as_bytes().to_vec()).unwrap()
}

/// The command on a terminal of its own.
struct Session {
    child: Child,
    keyboard: File,
    screen: String,
}

impl Session {
    fn start(site: &Site, args: &[&str], editor: &str) -> Session {
        let pty = openpty(None, None).unwrap();
        let end = |fd: &OwnedFd| Stdio::from(fd.try_clone().unwrap());
        let child = Command::new(PROGRAM)
            .args(args)
            .env("OTPGATE_USERS_FILE", site.users())
            .env("EDITOR", editor)
            .env_remove("VISUAL")
            .stdin(end(&pty.slave))
            .stdout(end(&pty.slave))
            .stderr(end(&pty.slave))
            .spawn()
            .unwrap();
        Session { child, keyboard: File::from(pty.master), screen: String::new() }
    }

    /// Waits until this is on the screen, after what was waited for before.
    fn shows(&mut self, text: &str) -> &mut Session {
        let mut seen = String::new();
        let mut bytes = [0; 256];
        while !seen.contains(text) {
            let len = self.keyboard.read(&mut bytes).unwrap_or(0);
            assert!(len > 0, "{text:?} isn't in {:?}", format!("{}{seen}", self.screen));
            seen += &String::from_utf8_lossy(&bytes[..len]);
        }
        self.screen += &seen;
        self
    }

    fn types(&mut self, text: &str) -> &mut Session {
        self.keyboard.write_all(text.as_bytes()).unwrap();
        self
    }

    /// Its exit status, and all that was on the screen.
    fn ends(mut self) -> (i32, String) {
        let status = self.child.wait().unwrap().code().unwrap();
        let mut bytes = [0; 4096];
        // The terminal is gone with the last that had it open: an error for us.
        while let Ok(len @ 1..) = self.keyboard.read(&mut bytes) {
            self.screen += &String::from_utf8_lossy(&bytes[..len]);
        }
        (status, self.screen.replace("\r\n", "\n"))
    }
}

fn site(lines: &str) -> Site {
    let site = Site::ready();
    fs::write(site.users(), lines.replace("KEY", KEY)).unwrap();
    site
}

#[test]
fn a_pin_is_asked_for_twice_and_never_shown() {
    let site = site("HOTP alice - KEY\n");
    let mut session = Session::start(&site, &["set-pin", "alice"], "");
    session
        .shows("PIN for \"alice\": ")
        .types("sesame8\x7f9\r")
        .shows("The PIN again: ")
        .types("sesame9\n");
    let (status, screen) = session.ends();
    assert_eq!(status, 0);
    assert_eq!(
        screen,
        "PIN for \"alice\": \nThe PIN again: \ntoken 1 of \"alice\" has a new PIN\n"
    );
    let found = UsersFile::new(&site.users()).find(b"alice").unwrap();
    let Pin::Hashed(hash) = &found.entry.lines[0].token.pin else { panic!("no hash") };
    assert!(hash.is_hash_of(b"sesame9"));
}

#[test]
fn pins_that_differ_and_ctrl_c_change_nothing() {
    let site = site("HOTP alice - KEY\n");
    let before = site.content();
    let mut session = Session::start(&site, &["set-pin", "alice"], "");
    session.shows("PIN for \"alice\": ").types("one\r").shows("The PIN again: ").types("two\r");
    let (status, screen) = session.ends();
    assert_eq!(status, 1);
    assert!(screen.ends_with("otpgate: the two PINs differ; nothing was changed\n"), "{screen}");

    let mut session = Session::start(&site, &["set-pin", "alice"], "");
    session.shows("PIN for \"alice\": ").types("one\x03");
    let (status, screen) = session.ends();
    assert_eq!(
        (status, &screen[..]),
        (1, "PIN for \"alice\": \notpgate: interrupted; nothing was changed\n")
    );
    assert_eq!(site.content(), before);
}

#[test]
fn codes_are_not_shown_either() {
    let site = site("HOTP alice 4711 KEY\n");
    let mut session = Session::start(&site, &["explain", "alice"], "");
    session
        .shows("A code of \"alice\", with or without PIN: ")
        .types(&format!("4711{}\r", code(0)));
    let (status, explained) = session.ends();
    assert_eq!(status, 0);
    // One code alone may not tell.
    let mut session = Session::start(&site, &["explain", "alice"], "");
    session.shows("with or without PIN: ").types("4711xyzxyz\r");
    session.shows("The next one it shows (Enter if there is none): ").types("\r");
    let (status, unexplained) = session.ends();
    assert_eq!(status, 1);
    assert!(unexplained.contains("no cause found"), "{unexplained}");
    let mut session = Session::start(&site, &["resync", "alice"], "");
    session.shows("A code, without PIN: ").types(&format!("{}\r", code(5)));
    session.shows("The code after that: ").types(&format!("{}\r", code(6)));
    let (status, resynced) = session.ends();
    assert_eq!(status, 0);
    assert!(resynced.ends_with("the next expected counter is 7, it was 0\n"), "{resynced}");
    let mut session = Session::start(&site, &["verify", "alice"], "");
    session.shows("PIN and code of \"alice\": ").types(&format!("4711{}\r", code(7)));
    let (status, verified) = session.ends();
    assert_eq!(status, 0);
    assert_eq!(verified, "PIN and code of \"alice\": \ngranted-fresh: a new code\n");
    for screen in [explained, unexplained, resynced, verified] {
        assert!(!screen.contains("4711") && !screen.contains(&code(0)), "{screen}");
    }
}

#[test]
fn rekey_shows_a_code_for_the_phone_and_no_colour_is_but_its_own() {
    let site = site("HOTP alice - KEY\n");
    let (status, screen) = Session::start(&site, &["rekey", "alice", "--issuer", "x"], "").ends();
    assert_eq!(status, 0);
    assert!(
        screen.contains("otpauth://hotp/x:alice?secret=") && screen.contains('\u{2580}'),
        "{screen}"
    );
    let (_, listed) = Session::start(&site, &["list"], "").ends();
    assert!(!listed.contains('\x1b'), "{listed:?}");
}

#[test]
fn an_edit_is_asked_about_before_it_is_installed() {
    let site = site("HOTP alice - KEY\n");
    // A mistake, mended when asked to edit again.
    let editor = "sed -i -e 's/HATP/HOTP/;t' -e 's/HOTP/HATP/;s/ - / 12 /'";
    let mut session = Session::start(&site, &["edit"], editor);
    session.shows("What now? (e)dit again, (q)uit without changes: ").types("xe");
    session.shows("Install this? (y)es, (e)dit again, (q)uit without changes: ").types("y");
    let (status, screen) = session.ends();
    assert_eq!(status, 0, "{screen}");
    assert!(screen.contains("otpgate: line 1: field 1 (type) is not"), "{screen}");
    assert!(screen.contains("changes:\n  line 1: alice: PIN none -> plain\n"), "{screen}");
    assert!(screen.ends_with("installed\n"), "{screen}");
    assert!(site.content().starts_with("HOTP alice 12 "));

    let before = site.content();
    for (editor, question, key) in [
        ("sed -i s/HOTP/HATP/", "What now?", "q"),
        ("sed -i s/HOTP/HATP/", "What now?", "\x03"),
        ("sed -i 's/ 12 / - /'", "Install this?", "q"),
        ("sed -i 's/ 12 / - /'", "Install this?", "\x04"),
    ] {
        let mut session = Session::start(&site, &["edit"], editor);
        session.shows(question).types(key);
        let (status, screen) = session.ends();
        assert_eq!(status, 1);
        assert!(screen.ends_with("otpgate: nothing was changed\n"), "{screen}");
        assert_eq!(site.content(), before);
    }
    let (status, _) = Session::start(&site, &["edit", "--yes"], "sed -i 's/ 12 / - /'").ends();
    assert_eq!((status, site.content()), (0, before.replace(" 12 ", " - ")));
}
