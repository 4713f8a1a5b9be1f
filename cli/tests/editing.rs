//! `otpgate edit`, with shell commands for editors.

mod common;

use std::fs;
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use common::{PROGRAM, Ran, Site};
use otpgate::gate::Store;
use otpgate::otp::{Digits, Hash, hotp};
use otpgate::users::file::UsersFile;
use otpgate::users::lock::Locked;

const KEY: &str = "3132333435363738393031323334353637383930";

fn code(counter: u64) -> String {
    let code = hotp(Hash::Sha1, b"12345678901234567890", counter, Digits::SIX);
    String::from_utf8(code.as_bytes().to_vec()).unwrap()
}

struct Desk {
    site: Site,
    /// Where copies are made.
    temporary: PathBuf,
}

impl Desk {
    fn new(lines: &str) -> Desk {
        let site = Site::ready();
        fs::write(site.users(), lines.replace("KEY", KEY)).unwrap();
        let temporary = site.path("tmp");
        fs::create_dir(&temporary).unwrap();
        Desk { site, temporary }
    }

    fn command(&self, editor: &str) -> Command {
        let mut command = Command::new(PROGRAM);
        command
            .arg("edit")
            .env("OTPGATE_USERS_FILE", self.site.users())
            .env("OTPGATE", PROGRAM)
            .env("TMPDIR", &self.temporary)
            .env("EDITOR", editor)
            .env_remove("VISUAL")
            .stdin(Stdio::null());
        command
    }

    fn edit(&self, editor: &str) -> Ran {
        let output = self.command(editor).output().unwrap();
        Ran {
            // As a shell has it.
            status: output
                .status
                .code()
                .or(output.status.signal().map(|signal| 128 + signal))
                .unwrap(),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }

    /// Nothing is left of the copy.
    #[track_caller]
    fn is_tidy(&self) {
        let left: Vec<_> =
            fs::read_dir(&self.temporary).unwrap().map(|entry| entry.unwrap().path()).collect();
        assert_eq!(left, [] as [PathBuf; 0]);
    }

    #[track_caller]
    fn refuses(&self, editor: &str, message: &str) {
        let before = self.site.content();
        let ran = self.edit(editor);
        ran.is(1);
        assert_eq!(ran.err, format!("otpgate: {message}\n"), "{editor}");
        assert_eq!(self.site.content(), before, "{editor}");
        self.is_tidy();
    }
}

#[test]
fn what_was_edited_is_told_and_installed() {
    let desk = Desk::new("# mine\r\nHOTP alice 4711 KEY\nHOTP bob - 00 0 0 - - - # tail\n");
    let before = fs::metadata(desk.site.users()).unwrap();
    let ran = desk.edit("sed -i -e s/4711/4712/ -e 's/^HOTP bob/OFF:&/'");
    ran.is(0);
    assert_eq!(
        ran.out,
        "changes:\n  line 2: alice: another PIN\n  line 3: bob: switched off\ninstalled\n"
    );
    assert_eq!(ran.err, "");
    assert_eq!(
        desk.site.content(),
        format!("# mine\r\nHOTP alice 4712 {KEY}\nOFF:HOTP bob - 00 0 0 - - - # tail\n")
    );
    let after = fs::metadata(desk.site.users()).unwrap();
    assert_eq!(
        (before.uid(), before.gid(), before.mode()),
        (after.uid(), after.gid(), after.mode())
    );
    desk.is_tidy();
}

#[test]
fn the_copy_is_for_nobody_else() {
    let desk = Desk::new("HOTP alice - KEY\n");
    let ran = desk.edit("sh -c 'stat -c %a \"$1\" \"${1%/*}\"; cat \"$1\"' sh");
    assert_eq!(ran.out, format!("600\n700\nHOTP alice - {KEY}\nnothing was changed\n"));
    ran.is(0);
    desk.is_tidy();
}

#[test]
fn visual_comes_before_editor_and_both_take_arguments() {
    let desk = Desk::new("HOTP alice - KEY\n");
    let ran = desk.command("false").env("VISUAL", "sed -i -e 's/ - / 12 /'").output().unwrap();
    assert!(ran.status.success());
    assert!(desk.site.content().starts_with("HOTP alice 12 "));
}

#[test]
fn a_login_while_the_editor_is_open_is_kept() {
    let desk = Desk::new("HOTP alice - KEY\nHOTP bob - 00\n");
    let login = format!(
        "printf {} | \"$OTPGATE\" verify alice >&2; printf 000000 | \"$OTPGATE\" verify alice >&2",
        code(3)
    );
    let ran = desk.edit(&format!("sh -c '{login}; sed -i s/alice/alicia/ \"$1\"' sh"));
    ran.is(0);
    assert_eq!(
        ran.out,
        "changes:\n  line 1: alicia: name alice -> alicia\ninstalled; one token was used meanwhile, its new state is kept\n"
    );
    let found = UsersFile::new(&desk.site.users()).find(b"alicia").unwrap();
    let state = &found.entry.lines[0].state;
    assert_eq!((state.counter.as_written(), state.failures, state.intact), (4, 1, true));
    desk.site.run(&["verify", "alicia", "--max-linger", "0"], &code(3)).is(1);
    desk.site.run(&["verify", "alicia"], &code(4)).is(0);
}

#[test]
fn a_field_that_both_have_changed_is_the_furthest_and_told() {
    let desk = Desk::new("HOTP alice - KEY 2\n");
    let login = format!("printf {} | \"$OTPGATE\" verify alice >&2", code(3));
    let ran = desk
        .edit(&format!("sh -c '{login}; sed -i \"s/KEY 2/KEY 9/\" \"$1\"' sh").replace("KEY", KEY));
    ran.is(0);
    assert!(
        ran.err.ends_with(
            "otpgate: line 1 (\"alice\"): a login moved the counter that you changed: it is now 9\n"
        ),
        "{}",
        ran.err
    );
    desk.site.run(&["verify", "alice"], &code(9)).is(0);
}

#[test]
fn somebody_elses_change_refuses_the_edit_and_keeps_the_copy() {
    let desk = Desk::new("HOTP alice - KEY\nHOTP bob - 00\n");
    let ran = desk.edit("sh -c '\"$OTPGATE\" disable bob >&2; sed -i s/alice/alicia/ \"$1\"' sh");
    ran.is(1);
    let kept = fs::read_dir(&desk.temporary).unwrap().next().unwrap().unwrap().path().join("users");
    let message = format!(
        "otpgate: somebody else has changed the file meanwhile, from line 2 on; nothing was changed\n\
         otpgate: your copy is {}: it contains keys; remove it when you are done\n",
        kept.display()
    );
    assert!(ran.err.ends_with(&message), "{}", ran.err);
    assert_eq!(fs::read_to_string(kept).unwrap(), format!("HOTP alicia - {KEY}\nHOTP bob - 00\n"));
    assert_eq!(desk.site.first_words()[1][0], "OFF:HOTP");
    assert_eq!(desk.site.first_words()[0][1], "alice");
}

#[test]
fn a_file_that_doesnt_check_is_refused_with_line_numbers() {
    let desk = Desk::new("HOTP alice - KEY\nHOTP bob - 00\n");
    desk.refuses(
        "sed -i -e s/00$/0x/ -e s/HOTP.alice/HATP\\ alice/",
        "line 1: field 1 (type) is not HOTP, HOTP-SHA256, HOTP-SHA512 or MOTP with /E or /T<seconds> and /<1-10>, or PAPER/<6-10>/<1-1000>\n\
         otpgate: line 2: field 4 (key) is not 1 to 256 bytes in hexadecimal or base32:\n\
         otpgate: the edited file has mistakes; nothing was changed",
    );
    desk.refuses(
        "truncate -s 0",
        "the edited file is empty; users are removed with `otpgate remove`\n\
         otpgate: the edited file has mistakes; nothing was changed",
    );
}

#[test]
fn an_editor_that_fails_leaves_the_file_alone() {
    let desk = Desk::new("HOTP alice - KEY\n");
    desk.refuses(
        "sh -c 'echo >> \"$1\"; exit 3' sh",
        "the editor sh -c 'echo >> \"$1\"; exit 3' sh exited with status 3; nothing was changed",
    );
    desk.refuses(
        "no-such-editor 2>/dev/null",
        "the editor no-such-editor 2>/dev/null exited with status 127; nothing was changed",
    );
    let ran = desk.edit("rm");
    ran.is(1);
    assert!(
        ran.err.contains("cannot read ") && ran.err.ends_with("; nothing was changed\n"),
        "{}",
        ran.err
    );
    desk.is_tidy();
}

#[test]
fn a_signal_while_the_editor_is_open_leaves_neither_a_change_nor_a_copy() {
    let desk = Desk::new("HOTP alice - KEY\n");
    for (signal, status, word) in
        [("TERM", 143, "12"), ("HUP", 129, "12"), ("INT", 0, "-"), ("QUIT", 0, "-")]
    {
        // The editor goes on: Ctrl-C is its own matter.
        let editor = format!(
            "trap '' {signal}; kill -{signal} $PPID; sed -i -e 's/ - / 12 /' -e 's/ 12 / {word} /'"
        );
        let before = desk.site.content();
        let ran = desk.edit(&editor);
        ran.is(status);
        if status != 0 {
            assert_eq!(ran.err, "otpgate: interrupted; nothing was changed\n", "{signal}");
        } else {
            assert_eq!(ran.out, "nothing was changed\n", "{signal}");
        }
        assert_eq!(desk.site.content(), before);
        desk.is_tidy();
    }
}

#[test]
fn the_lock_is_free_while_the_editor_is_open() {
    let desk = Desk::new("HOTP alice - KEY\n");
    let mut child = desk
        .command("sh -c 'echo open; read go; sed -i s/alice/alicia/ \"$1\"' sh")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut out = std::io::BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    std::io::BufRead::read_line(&mut out, &mut line).unwrap();
    assert_eq!(line, "open\n");
    drop(Locked::acquire(&desk.site.users()).unwrap());
    child.stdin.take().unwrap().write_all(b"go\n").unwrap();
    let mut rest = String::new();
    std::io::Read::read_to_string(&mut out, &mut rest).unwrap();
    assert!(child.wait().unwrap().success());
    assert_eq!(rest, "changes:\n  line 1: alicia: name alice -> alicia\ninstalled\n");
}

#[test]
fn a_file_that_is_gone_leaves_the_copy() {
    let desk = Desk::new("HOTP alice - KEY\n");
    // Gone while the editor was open.
    let users = desk.site.users();
    let ran =
        desk.edit(&format!("sh -c 'rm {}; sed -i s/alice/alicia/ \"$1\"' sh", users.display()));
    ran.is(1);
    assert!(ran.err.contains("cannot find ") && ran.err.contains("your copy is "), "{}", ran.err);
}
