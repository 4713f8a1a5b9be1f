//! Shells complete the names of listed users, and nothing in a name is ever run.

mod common;

use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use common::{PROGRAM, Site, output_of};
use nix::pty::openpty;

const PAGES: &str = env!("CARGO_BIN_EXE_otpgate-pages");

/// Names that a shell would do something with.
const NAMES: [&str; 8] = [
    "alice",
    "alice.archer@example.com",
    "$(>x)",
    "`>x`;y",
    "o'brien",
    "zoé*[a]&|!>x",
    "DOM\\user",
    "hid\u{202e}den",
];

struct Shells {
    site: Site,
    path: String,
}

impl Shells {
    fn new() -> Shells {
        let site = Site::ready();
        let lines: String = NAMES.iter().map(|name| format!("HOTP {name} - 00ff\n")).collect();
        fs::write(site.users(), lines).unwrap();
        output_of(PAGES, &[site.path("pages").to_str().unwrap()]);
        let bin = PathBuf::from(PROGRAM).parent().unwrap().display().to_string();
        Shells { path: format!("{bin}:{}", std::env::var("PATH").unwrap()), site }
    }

    fn command(&self, shell: &str) -> Command {
        let mut command = Command::new(shell);
        command
            .env("PATH", &self.path)
            .env("OTPGATE_USERS_FILE", self.site.users())
            .env("LC_ALL", "C.UTF-8")
            .current_dir(self.site.directory.path());
        command
    }

    #[track_caller]
    fn runs(&self, shell: &str, script: &str) -> String {
        let ran = self.command(shell).args(["-c", script]).output().unwrap();
        let errors = String::from_utf8_lossy(&ran.stderr);
        assert!(ran.status.success() && errors.is_empty(), "{shell}: {errors}");
        assert!(!self.site.path("x").exists(), "{shell} has run a name");
        String::from_utf8(ran.stdout).unwrap()
    }
}

/// As bash calls it: the line is split at what `COMP_WORDBREAKS` has, unless it is quoted.
fn by_bash(shells: &Shells, line: &str, words: &[&str]) -> Vec<String> {
    let words: Vec<String> = words.iter().map(|word| format!("'{word}'")).collect();
    let script = format!(
        "source pages/bash/otpgate.bash; [[ $(complete -p otpgate) == *' _otpgate_with_users '* ]] || exit 1
         COMP_LINE='{line}' COMP_POINT=${{#COMP_LINE}} COMP_WORDS=({}) COMP_CWORD={}
         _otpgate_with_users otpgate \"${{COMP_WORDS[COMP_CWORD]}}\" \"${{COMP_WORDS[COMP_CWORD-1]}}\"
         printf '%s\\n' \"${{COMPREPLY[@]}}\"",
        words.join(" "),
        words.len() - 1
    )
    .replace("COMP_POINT=${#COMP_LINE}", &format!("COMP_POINT={}", line.chars().count()));
    shells.runs("bash", &script).lines().map(str::to_owned).collect()
}

#[test]
fn bash_completes_and_quotes_names() {
    let shells = Shells::new();
    let all = [
        r"\$\(\>x\)",
        r"DOM\\user",
        r"\`\>x\`\;y",
        "alice",
        "alice.archer@example.com",
        r"o\'brien",
        r"zoé\*\[a\]\&\|\!\>x",
    ];
    assert_eq!(by_bash(&shells, "otpgate show ", &["otpgate", "show", ""]), all);
    for (line, words, expected) in [
        ("otpgate show al", &["otpgate", "show", "al"][..], &all[3..5]),
        // bash takes @ for the end of a word.
        (
            "otpgate show alice.archer@ex",
            &["otpgate", "show", "alice.archer", "@", "ex"],
            &["example.com"],
        ),
        (r"otpgate show \$", &["otpgate", "show", r"\$"], &all[..1]),
        (
            "otpgate show --max-failures 3 a",
            &["otpgate", "show", "--max-failures", "3", "a"],
            &all[3..5],
        ),
        ("otpgate show --js", &["otpgate", "show", "--js"], &["--json"]),
        ("otpgate add al", &["otpgate", "add", "al"], &[""]),
        ("otpgate export csv - o", &["otpgate", "export", "csv", "-", "o"], &all[5..6]),
        ("otpgate advance alice o", &["otpgate", "advance", "alice", "o"], &all[5..6]),
        ("otpgate show -f /no/file al", &["otpgate", "show", "-f", "/no/file", "al"], &[""]),
    ] {
        assert_eq!(by_bash(&shells, line, words), expected, "{line}");
    }
    let renamed =
        by_bash(&shells, "otpgate rename alice al", &["otpgate", "rename", "alice", "al"]);
    assert_eq!(renamed, [""], "a new name is none of those");
}

#[test]
fn fish_completes_names() {
    let shells = Shells::new();
    for (line, expected) in [
        (r"otpgate show al", &["alice", "alice.archer@example.com"][..]),
        (r"otpgate show alice.archer@ex", &["alice.archer@example.com"]),
        (r"otpgate show \$", &["$(>x)"]),
        (r"otpgate show z", &["zoé*[a]&|!>x"]),
        (r"otpgate show hid", &[]),
        (r"otpgate show --max-failures 3 o", &["o'brien"]),
        (r"otpgate rename alice o", &[]),
        (r"otpgate add o", &[]),
        (r"otpgate export csv - o", &["o'brien"]),
        (r"otpgate -f /no/file show o", &[]),
    ] {
        let script = format!(
            "source pages/fish/otpgate.fish; complete -C '{line}'",
            line = line.replace('\\', r"\\")
        );
        let found = shells.runs("fish", &script);
        // Where no name is asked for, fish offers files.
        let names: Vec<&str> = found.lines().filter(|line| !line.starts_with("users")).collect();
        assert_eq!(names, expected, "{line}");
    }
}

#[test]
fn zsh_completes_and_quotes_names_on_its_line() {
    let shells = Shells::new();
    let pty = openpty(None, None).unwrap();
    let end = |fd: &OwnedFd| Stdio::from(fd.try_clone().unwrap());
    let mut shell = shells
        .command("zsh")
        .args(["-f", "-i"])
        .env("TERM", "dumb")
        .stdin(end(&pty.slave))
        .stdout(end(&pty.slave))
        .stderr(end(&pty.slave))
        .spawn()
        .unwrap();
    let mut keyboard = File::from(pty.master);
    let mut shows = |keys: &str, expected: &str| {
        keyboard.write_all(keys.as_bytes()).unwrap();
        let (mut seen, mut bytes) = (Vec::new(), [0; 1024]);
        while !String::from_utf8_lossy(&seen).contains(expected) {
            let len = keyboard.read(&mut bytes).unwrap_or(0);
            assert!(len > 0, "{keys:?}: {:?}", String::from_utf8_lossy(&seen));
            seen.extend_from_slice(&bytes[..len]);
        }
    };
    // What is typed is shown, too: so the mark is put together.
    shows(
        "PS1='> '; unsetopt beep; fpath=($PWD/pages/zsh $fpath); autoload -U compinit; compinit -u -D; echo 're''ady'\n",
        "ready",
    );
    for (typed, completed) in [
        ("otpgate show alice.\t", "otpgate show alice.archer@example.com "),
        ("otpgate disable \\$\t", "otpgate disable \\$\\(\\>x\\) "),
        ("otpgate export csv - o\t", "otpgate export csv - o\\'brien "),
        ("otpgate show z\t", "otpgate show zoé\\*\\[a\\]\\&\\|\\!\\>x "),
    ] {
        shows(typed, completed);
        // Clears the line.
        shows("\x15", "");
    }
    shell.kill().unwrap();
    shell.wait().unwrap();
    assert!(!shells.site.path("x").exists(), "zsh has run a name");
}

#[test]
fn a_million_names_are_looked_through_at_once_and_few_are_offered() {
    let site = Site::ready();
    let mut lines = String::new();
    for n in 0..1_000_000 {
        lines += &format!("HOTP user{n} - 00112233445566778899aabbccddeeff00112233 0\n");
    }
    fs::write(site.users(), lines).unwrap();
    for (prefix, count) in [("", 200), ("user99999", 11), ("nobody", 0)] {
        let begun = Instant::now();
        let ran = site.run(&["complete-user", "--", prefix], "");
        assert_eq!(ran.out.lines().count(), count, "{prefix}");
        assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
        println!("{prefix:?}: {:?}", begun.elapsed());
    }
}

#[test]
fn without_rights_nothing_is_said() {
    let site = Site::new();
    for file in ["/no/such/file", "/etc", ""] {
        let ran = site.run(&["-f", file, "complete-user", "a"], "");
        assert_eq!((&ran.out[..], ran.status == 2), ("", file.is_empty()), "{file}");
        assert!(ran.err.is_empty() || file.is_empty(), "{}", ran.err);
    }
}
