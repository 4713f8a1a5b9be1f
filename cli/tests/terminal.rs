//! Prompts on a terminal: what is typed at them isn't shown, and no signal leaves anything behind.

mod common;

use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use common::{PROGRAM, Site, output_of};
use nix::pty::{Winsize, openpty};
use nix::sys::termios::{LocalFlags, Termios, tcgetattr};
use otpgate::gate::Store;
use otpgate::otp::{Digits, Hash, hotp};
use otpgate::token::Pin;
use otpgate::users::file::UsersFile;
use rustix::process::{Pid, Signal, kill_process};

const KEY: &str = "3132333435363738393031323334353637383930";

fn code(counter: u64) -> String {
    let code = hotp(Hash::Sha1, b"12345678901234567890", counter, Digits::SIX);
    String::from_utf8(code.as_bytes().to_vec()).unwrap()
}

/// The command on a terminal of its own.
struct Session {
    child: Child,
    keyboard: File,
    screen: Vec<u8>,
}

impl Session {
    fn start(site: &Site, args: &[&str], editor: &str) -> Session {
        let mut command = Command::new(PROGRAM);
        command.args(args).env("EDITOR", editor);
        Session::of(site, &mut command, (0, 0))
    }

    /// With so many columns and lines.
    fn of(site: &Site, command: &mut Command, (columns, lines): (u16, u16)) -> Session {
        let size = Winsize { ws_col: columns, ws_row: lines, ws_xpixel: 0, ws_ypixel: 0 };
        let pty = openpty(&size, None).unwrap();
        let end = |fd: &OwnedFd| Stdio::from(fd.try_clone().unwrap());
        let child = command
            .env("OTPGATE_USERS_FILE", site.users())
            .env("TERM", "xterm-256color")
            .env_remove("VISUAL")
            .stdin(end(&pty.slave))
            .stdout(end(&pty.slave))
            .stderr(end(&pty.slave))
            .spawn()
            .unwrap();
        // The command holds the terminal's ends until it is gone.
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        Session { child, keyboard: File::from(pty.master), screen: Vec::new() }
    }

    /// Waits until this is on the screen, after what was waited for before.
    fn shows(&mut self, text: &str) -> &mut Session {
        let mut seen = Vec::new();
        let mut bytes = [0; 256];
        while !String::from_utf8_lossy(&seen).contains(text) {
            let len = self.keyboard.read(&mut bytes).unwrap_or(0);
            let screen = || [&self.screen[..], &seen].concat();
            assert!(len > 0, "{text:?} isn't in {:?}", String::from_utf8_lossy(&screen()));
            seen.extend_from_slice(&bytes[..len]);
        }
        self.screen.append(&mut seen);
        self
    }

    fn types(&mut self, text: &str) -> &mut Session {
        self.keyboard.write_all(text.as_bytes()).unwrap();
        self
    }

    fn is_sent(&mut self, signal: Signal) -> &mut Session {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
        self
    }

    /// How the terminal is set: asked at the keyboard's end.
    fn terminal(&self) -> Termios {
        tcgetattr(&self.keyboard).unwrap()
    }

    fn is_silent(&self) -> bool {
        !self.terminal().local_flags.contains(LocalFlags::ECHO)
    }

    /// Its exit status as a shell has it, and all that was on the screen.
    fn ends(self) -> (i32, String) {
        let (status, screen, _) = self.leaves();
        (status, screen)
    }

    /// The same, and how the terminal is set then.
    fn leaves(mut self) -> (i32, String, Termios) {
        let mut bytes = [0; 4096];
        // The terminal is gone with the last that had it open: an error for us. Read before it is
        // waited for: who writes more than the terminal holds would never end.
        while let Ok(len @ 1..) = self.keyboard.read(&mut bytes) {
            self.screen.extend_from_slice(&bytes[..len]);
        }
        let status = self.child.wait().unwrap();
        let status = status.code().or(status.signal().map(|signal| 128 + signal)).unwrap();
        let terminal = self.terminal();
        let screen = String::from_utf8(self.screen).unwrap();
        (status, screen.replace("\r\n", "\n"), terminal)
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
        (130, "PIN for \"alice\": \notpgate: interrupted; nothing was changed\n")
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
        ("sed -i s/HOTP/HATP/", "What now?", "\x04"),
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

/// A prompt: the command, what is typed before it, and whether what is typed at it is shown.
struct Prompt {
    args: &'static [&'static str],
    before: &'static [(&'static str, &'static str)],
    text: &'static str,
    is_silent: bool,
}

const fn silent(
    args: &'static [&'static str],
    before: &'static [(&'static str, &'static str)],
    text: &'static str,
) -> Prompt {
    Prompt { args, before, text, is_silent: true }
}

const ADD: &[&str] = &["add", "bob", "--qr", "DIR/bob.png", "--confirm"];

const PROMPTS: &[Prompt] = &[
    silent(ADD, &[], "PIN for \"bob\": "),
    silent(ADD, &[("PIN for \"bob\": ", "sesame9\r")], "The PIN again: "),
    Prompt {
        args: &["add", "bob", "--no-pin", "--qr", "DIR/bob.png", "--confirm"],
        before: &[],
        text: "A code it shows now: ",
        is_silent: false,
    },
    silent(&["add", "bob", "--no-pin", "--key-file", "-"], &[], "The key: "),
    silent(&["set-pin", "alice"], &[], "PIN for \"alice\": "),
    silent(&["set-pin", "alice"], &[("PIN for \"alice\": ", "sesame9\r")], "The PIN again: "),
    silent(&["rekey", "alice", "--key-file", "-"], &[], "The key: "),
    Prompt {
        args: &["rekey", "alice", "--qr", "DIR/alice.svg", "--confirm"],
        before: &[],
        text: "A code it shows now: ",
        is_silent: false,
    },
    silent(&["remove", "alice"], &[], "Remove this for good? (y)es, (n)o: "),
    silent(&["verify", "alice"], &[], "PIN and code of \"alice\": "),
    silent(&["explain", "alice"], &[], "A code of \"alice\", with or without PIN: "),
    silent(&["resync", "alice"], &[], "A code, without PIN: "),
    silent(&["resync", "alice"], &[("A code, without PIN: ", "755224\r")], "The code after that: "),
    silent(&["import", "csv", "DIR/tokens"], &[], "PIN for all of them: "),
    silent(
        &["export", "pskc", "DIR/out.xml", "--encrypt", "password"],
        &[],
        "The password to encrypt with: ",
    ),
    silent(
        &["export", "pskc", "DIR/out.xml", "--encrypt", "password"],
        &[("The password to encrypt with: ", "secret\r")],
        "Again: ",
    ),
    silent(&["edit"], &[], "Install this? (y)es, (e)dit again, (q)uit without changes: "),
];

impl Prompt {
    /// A site, and a session that has come so far. The editor's changes are ones to be asked about.
    fn reached(&self) -> (Site, Session) {
        let site = site("HOTP alice - KEY\n");
        fs::write(site.path("tokens"), "carol,3132333435363738393031323334353637383930\n").unwrap();
        let directory = site.directory.path().to_str().unwrap().to_owned();
        let args: Vec<String> =
            self.args.iter().map(|arg| arg.replace("DIR", &directory)).collect();
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        let mut session = Session::start(&site, &args, "sed -i 's/ - / 12 /'");
        for (prompt, answer) in self.before {
            session.shows(prompt).types(answer);
        }
        session.shows(self.text);
        assert_eq!(session.is_silent(), self.is_silent, "{:?}", self.args);
        // The key in it can be scanned before the code is asked for.
        let image = args.iter().skip_while(|arg| **arg != "--qr").nth(1);
        let is_there = image.map(Path::new).is_some_and(Path::exists);
        assert_eq!(is_there, self.text == "A code it shows now: ", "{:?}", self.args);
        (site, session)
    }
}

fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).unwrap();
    let mut names: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// What is there but the QR code of a key that isn't saved.
fn without_image(directory: &Path) -> Vec<String> {
    names(directory)
        .into_iter()
        .filter(|name| !name.ends_with(".png") && !name.ends_with(".svg"))
        .collect()
}

#[test]
fn at_each_prompt_each_signal_restores_the_terminal_and_changes_nothing() {
    enum By {
        Signal(Signal),
        Key(&'static str),
    }
    let ways = [
        (By::Signal(Signal::TERM), 143),
        (By::Signal(Signal::HUP), 129),
        (By::Signal(Signal::INT), 130),
        (By::Signal(Signal::QUIT), 131),
        (By::Key("\x03"), 130),
        (By::Key("\x1c"), 131),
    ];
    for prompt in PROMPTS {
        for (way, expected) in &ways {
            let (site, mut session) = prompt.reached();
            let before = (site.content(), without_image(site.directory.path()));
            match way {
                By::Signal(signal) => session.is_sent(*signal),
                // Where keys are shown, the terminal sends the signal, to those whose terminal it is.
                By::Key(_) if !prompt.is_silent => {
                    session.child.kill().unwrap();
                    continue;
                }
                By::Key(key) => session.types(&format!("x{key}")),
            };
            let (status, screen, terminal) = session.leaves();
            let what = format!("{:?} at {:?}, {expected}: {screen}", prompt.args, prompt.text);
            assert_eq!(status, *expected, "{what}");
            assert!(terminal.local_flags.contains(LocalFlags::ECHO | LocalFlags::ICANON), "{what}");
            assert!(screen.ends_with("\notpgate: interrupted; nothing was changed\n"), "{what}");
            assert_eq!((site.content(), names(site.directory.path())), before, "{what}");
        }
    }
}

#[test]
fn a_terminal_that_nobody_restores_would_show_it() {
    let (_site, mut session) = PROMPTS[0].reached();
    session.child.kill().unwrap();
    let (status, _, terminal) = session.leaves();
    assert_eq!(status, 137);
    assert!(!terminal.local_flags.contains(LocalFlags::ECHO));
}

/// By a shell that has the terminal, as when somebody sits there.
fn in_a_shell(site: &Site, script: &str) -> Session {
    let mut command = Command::new("setsid");
    command.args(["--ctty", "--wait", "bash", "-c", script, "bash", PROGRAM]);
    Session::of(site, &mut command, (80, 24))
}

#[test]
fn ctrl_z_gives_the_terminal_back_and_the_prompt_comes_again() {
    let site = site("HOTP alice - KEY\n");
    let script = r#"set -m
        "$1" set-pin alice --plain-pin; echo "stopped with $?"; stty -a | tr ' ' '\n' | grep -x -e -echo -e echo
        read -r line; fg >/dev/null; echo "ended with $?""#;
    let mut session = in_a_shell(&site, script);
    session.shows("PIN for \"alice\": ").types("wrong\x1a");
    session.shows("stopped with 148\r\n").shows("echo\r\n").types("go on\r");
    session.shows("PIN for \"alice\": ").types("sesame9\r");
    session.shows("The PIN again: ").types("sesame9\r");
    let (status, screen) = session.ends();
    assert_eq!(status, 0, "{screen}");
    assert!(!screen.contains("-echo") && screen.ends_with("\nended with 0\n"), "{screen}");
    assert_eq!(site.first_words()[0][2], "sesame9", "what was typed before doesn't count");
}

#[test]
fn ended_while_it_is_stopped_it_leaves_the_terminal_alone() {
    let site = site("HOTP alice - KEY\n");
    let script = r#"set -m
        "$1" set-pin alice; kill %1; fg >/dev/null 2>&1; echo "ended with $?"
        stty -a | tr ' ' '\n' | grep -x -e -echo -e echo"#;
    let mut session = in_a_shell(&site, script);
    session.shows("PIN for \"alice\": ").types("wrong\x1a");
    let (_, screen) = session.ends();
    assert!(screen.ends_with("\necho\n"), "{screen}");
    assert_eq!(site.first_words()[0][2], "-");
}

#[test]
fn ctrl_c_ends_a_shells_loop() {
    let site = site("HOTP alice - KEY\nHOTP bob - KEY\n");
    let mut session =
        in_a_shell(&site, r#"for user in alice bob; do "$1" set-pin $user; done; echo went on"#);
    session.shows("PIN for \"alice\": ").types("x\x03");
    let (status, screen) = session.ends();
    assert_eq!(status, 130, "{screen}");
    assert!(!screen.contains("bob") && !screen.contains("went on"), "{screen}");
}

#[test]
fn a_signal_ends_edit_with_its_editor_and_nothing_is_installed() {
    // Whether the shell in between stays or not.
    for (editor, signal, expected) in [
        ("exec sleep 60 #", Signal::TERM, 143),
        ("sleep 60 #", Signal::TERM, 143),
        ("exec sleep 60 #", Signal::HUP, 129),
        ("sleep 60; true", Signal::HUP, 129),
    ] {
        let site = site("HOTP alice - KEY\n");
        let before = site.content();
        let temporary = site.path("tmp");
        fs::create_dir(&temporary).unwrap();
        let mut command = Command::new(PROGRAM);
        command
            .args(["edit", "--yes"])
            .env("EDITOR", format!("sed -i 's/ - / 12 /' \"$@\"; echo editing; {editor}"))
            .env("TMPDIR", &temporary);
        let mut session = Session::of(&site, &mut command, (80, 24));
        session.shows("editing").is_sent(signal);
        // Comes to its end only when the editor has left the terminal, too.
        let (status, screen) = session.ends();
        assert_eq!(status, expected, "{screen}");
        assert!(screen.ends_with("otpgate: interrupted; nothing was changed\n"), "{screen}");
        assert_eq!(site.content(), before);
        assert_eq!(names(&temporary), [""; 0], "the copy holds keys");
    }
}

#[test]
fn keys_that_send_signals_are_the_editors() {
    let site = site("HOTP alice - KEY\n");
    let script = r#"trap : INT QUIT; "$1" edit --yes; echo "ended with $?""#;
    let mut command = Command::new("setsid");
    command
        .args(["--ctty", "--wait", "bash", "-c", script, "bash", PROGRAM])
        .env("EDITOR", r#"exec bash -c 'trap "echo; echo got it" INT QUIT; echo editing; read -r line; read -r line; sed -i "s/ - / 12 /" "$1"' bash"#);
    let mut session = Session::of(&site, &mut command, (80, 24));
    session.shows("editing").types("\x03").shows("got it").types("\x1c").shows("got it");
    session.types("\r\r");
    let (_, screen) = session.ends();
    assert!(screen.ends_with("installed\nended with 0\n"), "{screen}");
    assert_eq!(site.first_words()[0][2], "12");
}

#[test]
fn remove_asks_on_a_terminal() {
    let lines = "HOTP alice - KEY\n#@ apart Al\u{69}CE\nHOTP bob - KEY\n";
    let before = lines.replace("KEY", KEY);
    for key in ["n", "N", "\x04"] {
        let site = site(lines);
        let mut session = Session::start(&site, &["remove", "alice"], "");
        session.shows("Remove this for good? (y)es, (n)o: ").types(key);
        let (status, screen) = session.ends();
        assert_eq!(status, 1);
        assert!(
            screen.starts_with(
                "token 1 of \"alice\": HOTP/E/6, no PIN, last login never\n\
                 \"alice\" has no token left then\n"
            ),
            "{screen}"
        );
        assert!(screen.ends_with("otpgate: nothing was changed\n"), "{screen}");
        assert_eq!(site.content(), before);
    }
    let site = site(lines);
    let mut session = Session::start(&site, &["remove", "alice"], "");
    session.shows("Remove this for good? (y)es, (n)o: ").types("xy");
    assert_eq!(session.ends().0, 0);
    assert!(!site.content().contains("alice"));
    let (status, screen) = Session::start(&site, &["remove", "bob", "--yes"], "").ends();
    assert_eq!((status, screen.contains("(y)es")), (0, false));
}

#[test]
fn what_was_agreed_to_is_what_goes() {
    let site = site("HOTP alice - KEY\n");
    let mut session = Session::start(&site, &["remove", "alice"], "");
    session.shows("Remove this for good? (y)es, (n)o: ");
    site.run(&["set-pin", "alice", "--plain-pin"], "sesame9\n").is(0);
    let before = site.content();
    session.types("y");
    let (status, screen) = session.ends();
    assert_eq!(status, 1);
    assert!(screen.contains("somebody else has changed \"alice\" meanwhile"), "{screen}");
    assert_eq!(site.content(), before);
}

/// What a scanner reads on a dark terminal of this size without colours; nothing of what it shows
/// may have left it.
fn scanned(site: &Site, screen: &str, (columns, lines): (usize, usize)) -> String {
    let rows: Vec<&str> = screen.lines().collect();
    // The line of the cursor is the last.
    let visible = &rows[rows.len().saturating_sub(lines - 1)..];
    let blocks = |line: &&&str| line.chars().all(|c| " █▀▄".contains(c)) && line.contains('█');
    let code: Vec<Vec<char>> =
        visible.iter().filter(blocks).map(|line| line.chars().collect()).collect();
    assert!(!code.is_empty(), "no code in {screen}");
    assert!(code.iter().all(|line| line.len() == code[0].len() && line.len() <= columns));
    const SCALE: usize = 6;
    const BORDER: usize = 4;
    let (width, height) = (code[0].len() + 2 * BORDER, 2 * code.len() + 2 * BORDER);
    let is_light = |x: usize, y: usize| {
        let (Some(x), Some(y)) = (x.checked_sub(BORDER), y.checked_sub(BORDER)) else {
            return false;
        };
        match code.get(y / 2).and_then(|line| line.get(x)) {
            Some('█') => true,
            Some('▀') => y % 2 == 0,
            Some('▄') => y % 2 == 1,
            _ => false,
        }
    };
    let mut image = format!("P2\n{} {}\n255\n", width * SCALE, height * SCALE);
    for y in 0..height * SCALE {
        for x in 0..width * SCALE {
            image += if is_light(x / SCALE, y / SCALE) { "255 " } else { "0 " };
        }
        image.push('\n');
    }
    let path = site.path("screen.pgm");
    fs::write(&path, image).unwrap();
    output_of("zbarimg", &["--quiet", "--raw", path.to_str().unwrap()])
}

/// `add` on a terminal without colours: its screen, and the address.
fn added(site: &Site, user: &str, issuer: &str, size: (u16, u16)) -> (String, String) {
    let mut command = Command::new(PROGRAM);
    command.args(["add", user, "--no-pin", "--issuer", issuer]).env("NO_COLOR", "1");
    let (status, screen) = Session::of(site, &mut command, size).ends();
    assert_eq!(status, 0, "{screen}");
    let address = screen.lines().find(|line| line.starts_with("otpauth://")).unwrap().to_owned();
    (screen, address)
}

#[test]
fn a_usual_code_fits_into_80_by_24_and_scans() {
    let site = site("");
    for (user, issuer, size) in [
        ("a", "x", (80, 24)),
        ("alice", "Big Corp", (80, 24)),
        ("alice.archer@example.com", "vpn.example.com", (80, 24)),
        ("bob", "vpn.example.com", (0, 0)),
        ("carol.archer@sales.example.com", "Example Corporation", (132, 50)),
    ] {
        let (screen, address) = added(&site, user, issuer, size);
        let size = if size == (0, 0) { (80, 24) } else { size };
        let read = scanned(&site, &screen, (size.0.into(), size.1.into()));
        // Where room is short, the issuer stands in the label alone.
        let short = address.replace(&format!("&issuer={}", issuer.replace(' ', "%20")), "");
        assert!([&address, &short].contains(&&read), "{read} is not {address}");
        assert!(!screen.contains("warning"), "{screen}");
    }
}

#[test]
fn a_code_that_doesnt_fit_isnt_shown_and_the_file_is_named_before_anything_is_asked() {
    let site = site("");
    let user = format!("{}@example.com", "a".repeat(100));
    let (screen, _) = added(&site, &user, "Example", (80, 24));
    assert!(
        screen.starts_with("otpgate: warning: the QR code doesn't fit into this terminal: it needs ")
            && screen.contains(" lines, and there are 80 and 24; make it larger, or get a file with --qr FILE.png\n"),
        "{screen}"
    );
    assert!(!screen.contains('▀') && !screen.contains('█'), "{screen}");
    let (screen, _) = added(&site, "narrow", "Example", (30, 60));
    assert!(screen.contains("there are 30 and 60") && !screen.contains('▀'), "{screen}");

    let file = site.path("file.png");
    let mut command = Command::new(PROGRAM);
    command.args(["rekey", &user, "--qr", file.to_str().unwrap()]);
    let (status, screen) = Session::of(&site, &mut command, (80, 24)).ends();
    assert_eq!(status, 0);
    assert!(screen.contains(&format!("; scan {}\n", file.display())), "{screen}");
    let address = screen.lines().find(|line| line.starts_with("otpauth://")).unwrap();
    assert_eq!(output_of("zbarimg", &["--quiet", "--raw", file.to_str().unwrap()]), address);
}

#[test]
fn a_terminal_that_only_prints_gets_no_escape_sequences() {
    let site = site("");
    for (term, has_colours) in
        [(Some("dumb"), false), (Some(""), false), (None, false), (Some("vt220"), true)]
    {
        let user = format!("user-{}", term.unwrap_or("none"));
        let mut screen = String::new();
        for args in [&["add", &user, "--no-pin", "--issuer", "x"][..], &["--help"], &["nonsense"]] {
            let mut shell = Command::new("env");
            match term {
                Some(term) => shell.arg(format!("TERM={term}")),
                None => shell.args(["-u", "TERM"]),
            };
            shell.arg(PROGRAM).args(args);
            screen += &Session::of(&site, &mut shell, (80, 24)).ends().1;
        }
        assert_eq!(screen.contains('\x1b'), has_colours, "{term:?}: {screen:?}");
    }
}

#[test]
fn long_work_tells_a_terminal_how_far_it_is_without_escape_sequences_on_a_dumb_one() {
    let site = site("");
    let lines: String = (0..3000).map(|n| format!("u{n},{KEY}{n:04}\n")).collect();
    fs::write(site.path("tokens"), lines).unwrap();
    let tokens = site.path("tokens");
    for (term, expected) in [("xterm", true), ("dumb", false)] {
        let mut shell = Command::new("env");
        shell.arg(format!("TERM={term}")).arg(PROGRAM).args([
            "import",
            "csv",
            tokens.to_str().unwrap(),
            "--no-pin",
        ]);
        let (status, screen) = Session::of(&site, &mut shell, (80, 24)).ends();
        assert_eq!(status, 0, "{screen}");
        assert_eq!(screen.contains('\x1b'), expected, "{term}: {screen:?}");
        fs::write(site.users(), "").unwrap();
    }
}
