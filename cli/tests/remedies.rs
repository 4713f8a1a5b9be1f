//! What keeps logins out, and whether doing literally what `otpgate check` says lets them in again.

mod common;

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use common::{PROGRAM, Ran};

const KEY: &str = "3132333435363738393031323334353637383930";

/// A users file of the server's user, as `otpgate init` makes it, on a disk of its own.
struct Site {
    directory: tempfile::TempDir,
    is_mounted: bool,
}

#[track_caller]
fn run(program: &str, args: &[&str]) {
    let output = Command::new(program)
        .args(args)
        .output()
        .unwrap_or_else(|error| panic!("{program}: {error}"));
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {args:?}: {told}");
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

impl Site {
    fn new() -> Site {
        assert!(
            rustix::process::geteuid().is_root(),
            "this test must run as root: it changes owners and mounts"
        );
        let directory = tempfile::tempdir().unwrap();
        set_mode(directory.path(), 0o755);
        Site { directory, is_mounted: false }
    }

    /// Attributes and read-only mounts need a file system of the tests' own.
    fn on_ext4() -> Site {
        let mut site = Site::new();
        let image = site.directory.path().join("image");
        fs::File::create(&image).unwrap().set_len(16 << 20).unwrap();
        run("/usr/sbin/mkfs.ext4", &["-q", text(&image)]);
        fs::create_dir(site.place()).unwrap();
        run("/usr/bin/mount", &["-o", "loop", text(&image), text(&site.place())]);
        run("chown", &["www-data:www-data", text(&site.place())]);
        site.is_mounted = true;
        site
    }

    fn with_users(self, lines: &str) -> Site {
        self.otpgate(&["init"]).is(0);
        fs::write(self.users(), lines.replace("KEY", KEY)).unwrap();
        self
    }

    fn place(&self) -> PathBuf {
        self.directory.path().join("place")
    }

    fn users(&self) -> PathBuf {
        self.place().join("users")
    }

    fn server(&self) -> u32 {
        use std::os::unix::fs::MetadataExt;
        self.users().metadata().unwrap().uid()
    }

    fn beside(&self, ending: &str) -> PathBuf {
        self.place().join(format!("users{ending}"))
    }

    fn otpgate(&self, args: &[&str]) -> Ran {
        self.sh(&format!("otpgate {}", args.join(" ")))
    }

    /// As an admin would type it.
    fn sh(&self, command: &str) -> Ran {
        self.sh_as(&["sh", "-c", command])
    }

    fn sh_as(&self, words: &[&str]) -> Ran {
        let path =
            format!("{}:/usr/sbin:/usr/bin:/sbin:/bin", text(Path::new(PROGRAM).parent().unwrap()));
        let mut command = Command::new(words[0]);
        command.args(&words[1..]).env("PATH", path).env("OTPGATE_USERS_FILE", self.users());
        common::ran(&mut command, "another-pin\nanother-pin\n")
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        for name in ["", "/users", "/users.lock"] {
            let path = format!("{}{name}", self.place().display());
            let _ = Command::new("chattr").args(["-f", "-i", "-a", &path]).output();
        }
        if self.is_mounted {
            let _ = Command::new("/usr/bin/umount").arg("-l").arg(self.place()).status();
        }
    }
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

fn give_to_root(path: &Path) {
    chown(path, Some(0), Some(0)).unwrap();
}

/// The first command in a finding.
fn command(finding: &str) -> &str {
    finding.split('`').nth(1).unwrap_or_else(|| panic!("no command in {finding}"))
}

struct Case {
    situation: &'static str,
    site: fn() -> Site,
    spoil: fn(&Site),
    /// `error` or `warning`, and what has to be said.
    says: [&'static str; 2],
    /// The command that it names, with the place for `PLACE`.
    remedy: &'static str,
}

fn plain() -> Site {
    Site::new().with_users("HOTP alice secret7 KEY\n")
}

fn on_ext4() -> Site {
    Site::on_ext4().with_users("HOTP alice secret7 KEY\n")
}

const CASES: &[Case] = &[
    Case {
        situation: "everything is root's",
        site: plain,
        spoil: |site| {
            for ending in ["", ".lock", ".journal", ".index", ".throttle", ".secret"] {
                give_to_root(&site.beside(ending));
            }
            give_to_root(&site.place());
            set_mode(&site.place(), 0o755);
        },
        says: ["error", "user www-data may not read and write it (root:root, 0660)"],
        remedy: "chown www-data PLACE/users PLACE/users.lock PLACE/users.journal PLACE/users.index PLACE/users.throttle PLACE/users.secret",
    },
    Case {
        situation: "the group may only read",
        site: plain,
        spoil: |site| {
            for ending in ["", ".lock", ".journal", ".index", ".throttle", ".secret"] {
                chown(site.beside(ending), Some(0), None).unwrap();
                set_mode(&site.beside(ending), 0o640);
            }
            give_to_root(&site.place());
            set_mode(&site.place(), 0o755);
        },
        says: ["error", "user www-data may not read and write it (root:www-data, 0640)"],
        remedy: "chmod g+rw PLACE/users PLACE/users.lock PLACE/users.journal PLACE/users.index PLACE/users.throttle PLACE/users.secret",
    },
    Case {
        situation: "the owner may only read",
        site: plain,
        spoil: |site| set_mode(&site.users(), 0o440),
        says: ["error", "user www-data may not read and write it (www-data:www-data, 0440)"],
        remedy: "chmod u+rw PLACE/users",
    },
    Case {
        situation: "the journal is root's",
        site: plain,
        spoil: |site| give_to_root(&site.beside(".journal")),
        says: [
            "error",
            "users.journal: Permission denied: user www-data may not read and write it",
        ],
        remedy: "otpgate check --fix",
    },
    Case {
        situation: "a directory on the way is closed",
        site: plain,
        spoil: |site| set_mode(site.directory.path(), 0o700),
        says: ["error", "user www-data can't enter the directory "],
        remedy: "chmod o+x UP",
    },
    Case {
        situation: "a directory behind a link is closed",
        site: || {
            let site = Site::new();
            fs::create_dir_all(site.directory.path().join("closed/inner")).unwrap();
            run("chown", &["www-data:www-data", text(&site.directory.path().join("closed/inner"))]);
            symlink(site.directory.path().join("closed/inner"), site.place()).unwrap();
            site.with_users("HOTP alice secret7 KEY\n")
        },
        spoil: |site| set_mode(&site.directory.path().join("closed"), 0o700),
        says: ["error", "/closed (root:root, 0700)"],
        remedy: "chmod o+x UP/closed",
    },
    Case {
        situation: "the lock is not there, and the directory is root's",
        site: plain,
        spoil: |site| {
            fs::remove_file(site.beside(".lock")).unwrap();
            give_to_root(&site.place());
            set_mode(&site.place(), 0o755);
        },
        says: ["error", "users.lock is missing, and logins are refused until it exists"],
        remedy: "otpgate init",
    },
    Case {
        situation: "everybody may write it",
        site: plain,
        spoil: |site| set_mode(&site.users(), 0o662),
        says: ["error", "is world-writable"],
        remedy: "chmod o-w PLACE/users",
    },
    Case {
        situation: "everybody may read it",
        site: plain,
        spoil: |site| set_mode(&site.users(), 0o664),
        says: ["warning", "is world-readable"],
        remedy: "chmod o-r PLACE/users",
    },
    Case {
        situation: "it is immutable",
        site: on_ext4,
        spoil: |site| run("chattr", &["+i", text(&site.users())]),
        says: ["error", "PLACE/users has the attribute immutable"],
        remedy: "chattr -i PLACE/users",
    },
    Case {
        situation: "it can only be appended to",
        site: on_ext4,
        spoil: |site| run("chattr", &["+a", text(&site.users())]),
        says: ["error", "PLACE/users has the attribute append-only"],
        remedy: "chattr -a PLACE/users",
    },
    Case {
        situation: "the lock is not there, and the directory is immutable",
        site: on_ext4,
        spoil: |site| {
            fs::remove_file(site.beside(".lock")).unwrap();
            run("chattr", &["+i", text(&site.place())]);
        },
        says: ["error", "PLACE has the attribute immutable"],
        remedy: "chattr -i PLACE",
    },
    Case {
        situation: "its file system is mounted read-only",
        site: on_ext4,
        spoil: |site| run("/usr/bin/mount", &["-o", "remount,ro", text(&site.place())]),
        says: ["error", "PLACE is mounted read-only"],
        remedy: "mount -o remount,rw PLACE",
    },
    Case {
        situation: "a byte order mark stands before the first line",
        site: || Site::new().with_users("\u{feff}HOTP alice secret7 KEY\n"),
        spoil: |_| {},
        says: ["error", "line 1: the file begins with a byte order mark"],
        remedy: "otpgate check --fix",
    },
    Case {
        situation: "a key is short",
        site: || Site::new().with_users("HOTP alice secret7 0102030405\n"),
        spoil: |_| {},
        says: ["warning", "line 1: a key of 40 bits can be guessed"],
        remedy: "otpgate rekey \"alice\"",
    },
    Case {
        situation: "a key is the same byte all over",
        site: || Site::new().with_users(&format!("HOTP alice secret7 {}\n", "ff".repeat(20))),
        spoil: |_| {},
        says: ["warning", "line 1: all bytes of the key are the same"],
        remedy: "otpgate rekey \"alice\"",
    },
    Case {
        situation: "two users have one key",
        site: || Site::new().with_users("HOTP alice secret7 KEY\nHOTP/T30 bob secret7 KEY\n"),
        spoil: |_| {},
        says: ["warning", "line 1: the key of \"alice\" is also the key of \"bob\" in line 2: "],
        remedy: "otpgate rekey \"bob\"",
    },
    Case {
        situation: "a PIN is short",
        site: || Site::new().with_users("HOTP alice xyz KEY\n"),
        spoil: |_| {},
        says: ["warning", "line 1: a PIN of fewer than 4 characters is easily guessed"],
        remedy: "otpgate set-pin \"alice\"",
    },
    Case {
        situation: "a PIN of Mobile-OTP is short",
        site: || Site::new().with_users("MOTP alice xyz KEY\n"),
        spoil: |_| {},
        says: ["warning", "line 1: a PIN of fewer than 4 characters"],
        remedy: "otpgate set-pin \"alice\" --plain-pin",
    },
    Case {
        situation: "a PIN is a minus sign",
        site: || Site::new().with_users("HOTP alice − KEY\n"),
        spoil: |_| {},
        says: ["warning", "line 1: the PIN looks like - but is another character"],
        remedy: "otpgate set-pin \"alice\"",
    },
    Case {
        situation: "a killed process has left a file",
        site: plain,
        spoil: |site| {
            fs::write(site.beside(".4711.new"), "HOTP bob - 00\n").unwrap();
            chown(site.beside(".4711.new"), Some(site.server()), None).unwrap();
        },
        says: ["warning", "users.4711.new was left by a killed process"],
        remedy: "otpgate check --fix",
    },
    Case {
        situation: "a file like that of a killed process is root's",
        site: plain,
        spoil: |site| fs::write(site.beside(".4711.new"), "HOTP bob - 00\n").unwrap(),
        says: ["warning", "users.4711.new was left by a killed process"],
        remedy: "shred -u PLACE/users.4711.new",
    },
];

#[test]
fn doing_what_check_says_makes_it_content() {
    for case in CASES {
        eprintln!("{}", case.situation);
        let site = (case.site)();
        (case.spoil)(&site);
        let (place, up) = (text(&site.place()).to_owned(), text(site.directory.path()).to_owned());
        let here = |text: &str| text.replace("PLACE", &place).replace("UP", &up);
        let ran = site.otpgate(&["check"]);
        let [severity, words] = case.says;
        ran.is(i32::from(severity == "error"));
        // The first line that isn't a mere consequence: there is no other.
        let (told, rest) = ran.out.split_once('\n').unwrap();
        assert!(
            told.starts_with(&format!("{severity}: ")) && told.contains(&here(words)),
            "{}",
            ran.out
        );
        let is_refused_itself = case.remedy.contains("chattr -i PLACE") && rest.contains("users.");
        assert!(
            rest.is_empty() || is_refused_itself || rest.starts_with("warning: "),
            "{}",
            ran.out
        );
        for secret in [KEY, "secret7", "xyz", "0102030405", "ffffff"] {
            assert!(!ran.out.contains(secret), "{}", ran.out);
        }
        assert_eq!(command(told), here(case.remedy));
        // Each command is run once: what it is said to mend is mended.
        let mut done = Vec::new();
        let mut ran = ran;
        while !ran.out.contains(": no problems,") {
            let next = command(ran.out.lines().next().unwrap_or(&ran.err)).to_owned();
            assert!(!done.contains(&next) && done.len() < 3, "after {done:?}: {}", ran.out);
            site.sh(&next).is(0);
            done.push(next);
            ran = site.otpgate(&["check"]);
        }
    }
}

#[test]
fn check_fix_never_recommends_itself() {
    for case in CASES {
        eprintln!("{}", case.situation);
        let site = (case.site)();
        (case.spoil)(&site);
        let ran = site.otpgate(&["check", "--fix"]);
        assert!(!ran.err.contains("check --fix"), "{}", ran.err);
        for told in ran.out.lines().filter(|line| !line.starts_with("fixed: ")) {
            assert!(!told.contains("check --fix"), "{}", ran.out);
        }
    }
}

#[test]
fn whoever_may_not_is_told_to_run_it_as_root_and_what_was_tried() {
    let site = plain();
    // The program lies where nobody may not look.
    let program = std::env::temp_dir().join(format!("otpgate-{}", std::process::id()));
    fs::copy(PROGRAM, &program).unwrap();
    set_mode(&program, 0o755);
    let nobody = |args: &[&str]| {
        let words =
            ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups", text(&program)];
        site.sh_as(&[&words, args].concat())
    };
    let closed = nobody(&["check"]);
    let list = nobody(&["list"]);
    set_mode(&site.place(), 0o755);
    set_mode(&site.users(), 0o664);
    let readable = nobody(&["check"]);
    fs::remove_file(&program).unwrap();
    for ran in [closed, list] {
        ran.complains_of("user nobody can't enter the directory ");
        assert!(
            ran.err.ends_with("; run this as root, or as the users file's owner\n"),
            "{}",
            ran.err
        );
    }
    readable.is(1);
    assert!(readable.out.contains("user nobody may not read and write it"), "{}", readable.out);
    assert!(
        readable.out.contains("warning: access was tested as the current user"),
        "{}",
        readable.out
    );
}

/// Runs a command that gets "Permission denied" for every file it opens for writing, as from a
/// security module: owner and mode have no part in it.
const DENYING: &str = r#"
#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

int main(int argc, char **argv) {
    struct sock_filter rules[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_openat, 0, 4),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[2])),
        BPF_STMT(BPF_ALU | BPF_AND | BPF_K, O_ACCMODE),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, O_RDWR, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EACCES),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = { sizeof rules / sizeof *rules, rules };
    (void) argc;
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program)) return 99;
    execvp(argv[1], argv + 1);
    return 98;
}
"#;

#[test]
fn what_owner_and_mode_would_allow_is_put_down_to_something_else() {
    let site = plain();
    let (source, denying) =
        (site.directory.path().join("denying.c"), site.directory.path().join("denying"));
    fs::write(&source, DENYING).unwrap();
    run("cc", &["-Wall", "-Wextra", "-Werror", "-o", text(&denying), text(&source)]);
    let ran = site.sh_as(&[text(&denying), "otpgate", "check"]);
    ran.is(1);
    let told =
        format!("owner and mode of {} would let user www-data do it", site.users().display());
    assert!(ran.out.starts_with("error: ") && ran.out.contains(&told), "{}", ran.out);
    assert!(!ran.out.contains("chown") && !ran.out.contains("check --fix"), "{}", ran.out);
    assert!(
        ["SELinux", "AppArmor", "a security module"].iter().any(|who| ran.out.contains(who)),
        "{}",
        ran.out
    );
}
