//! Every verb and flag is in the help, in a man page, in a completion and in docs/command.md.

mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use common::{PROGRAM, Site};

const PAGES: &str = env!("CARGO_BIN_EXE_otpgate-pages");

/// A command, verb or tool, and its flags as they are typed.
struct Described {
    /// "otpgate", "otpgate add", "otplock".
    name: String,
    flags: Vec<String>,
}

fn described() -> Vec<Described> {
    let mut all = Vec::new();
    for mut command in otpgate_cli::commands() {
        command.build();
        let name = command.get_name().to_owned();
        all.push(Described { flags: flags(&command), name: name.clone() });
        describe_verbs(&command, &name, &mut all);
    }
    all
}

fn describe_verbs(command: &clap::Command, name: &str, all: &mut Vec<Described>) {
    for verb in
        command.get_subcommands().filter(|verb| verb.get_name() != "help" && !verb.is_hide_set())
    {
        let name = format!("{name} {}", verb.get_name());
        all.push(Described { flags: flags(verb), name: name.clone() });
        describe_verbs(verb, &name, all);
    }
}

fn flags(command: &clap::Command) -> Vec<String> {
    let mut flags = Vec::new();
    for arg in command.get_arguments().filter(|arg| !arg.is_hide_set()) {
        flags.extend(arg.get_long().map(|long| format!("--{long}")));
        flags.extend(arg.get_short().map(|short| format!("-{short}")));
    }
    flags
}

/// Whether it stands there as a word of its own, not as the beginning of another.
fn has_word(text: &str, word: &str) -> bool {
    let is_of_word = |c: char| c.is_ascii_alphanumeric() || c == '-';
    text.match_indices(word).any(|(at, _)| {
        !text[..at].ends_with(is_of_word) && !text[at + word.len()..].starts_with(is_of_word)
    })
}

#[track_caller]
fn assert_all_in(text: &str, flags: &[String], place: &str) {
    let missing: Vec<_> = flags.iter().filter(|flag| !has_word(text, flag)).collect();
    assert!(missing.is_empty(), "missing in {place}: {missing:?}");
}

fn pages() -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    let made = Command::new(PAGES).arg(directory.path()).output().unwrap();
    assert!(
        made.status.success() && made.stderr.is_empty(),
        "{}",
        String::from_utf8_lossy(&made.stderr)
    );
    directory
}

#[test]
fn the_help_of_each_verb_has_its_flags() {
    let site = Site::new();
    for Described { name, flags } in described() {
        let words: Vec<&str> = name.split(' ').collect();
        let (tool, verbs) = (words[0], &words[1..]);
        let help = if tool == "otpgate" {
            site.run(&[verbs, &["--help"]].concat(), "").out
        } else {
            site.run_as(&site.link(tool), &["-h"], "").err
        };
        assert_all_in(&help, &flags, &format!("the help of {name}"));
    }
    let help = site.run(&["--help"], "").out;
    for Described { name, .. } in described() {
        if let Some((_, verb)) = name.split_once(' ').filter(|(_, verb)| !verb.contains(' ')) {
            assert!(
                help.lines().any(|line| line.trim_start().starts_with(&format!("{verb} "))),
                "{verb}"
            );
        }
    }
}

#[test]
fn there_is_a_man_page_of_each_verb_and_tool_with_its_flags() {
    let directory = pages();
    for Described { name, flags } in described() {
        let path = directory.path().join("man").join(format!("{}.1", name.replace(' ', "-")));
        let page =
            fs::read_to_string(&path).unwrap_or_else(|_| panic!("{} is missing", path.display()));
        assert_all_in(
            &page.replace("\\-", "-").replace("\\fB", " ").replace("\\fR", " "),
            &flags,
            &name,
        );
    }
}

/// The lines of a section of a page.
fn section<'p>(page: &'p str, title: &str) -> Vec<&'p str> {
    let lines = page.lines().skip_while(|line| *line != format!(".SH {title}")).skip(1);
    lines.take_while(|line| !line.starts_with(".SH")).collect()
}

#[test]
fn each_man_page_has_statuses_examples_files_and_what_else_to_read() {
    let directory = pages();
    for Described { name, .. } in described() {
        let name = name.replace(' ', "-");
        let page = fs::read_to_string(directory.path().join(format!("man/{name}.1"))).unwrap();
        for title in ["EXIT STATUS", "EXAMPLES", "SEE ALSO"] {
            assert!(!section(&page, title).is_empty(), "{title} is missing in {name}");
        }
        if !["otptool", "genotpurl"].contains(&&name[..]) {
            assert!(!section(&page, "FILES").is_empty(), "FILES is missing in {name}");
        }
        for other in section(&page, "SEE ALSO").join(" ").split(", ") {
            let other = other.replace("\\fB", "").replace("\\fR", "").replace("\\-", "-");
            let (other, section) = other.trim_end_matches(')').split_once('(').unwrap();
            let file = directory.path().join(format!("man/{other}.{section}"));
            assert!(file.exists(), "{name} names {other}({section})");
        }
        // Examples are command lines that are understood.
        for line in section(&page, "EXAMPLES") {
            let line = line.replace("\\-", "-");
            let Some(at) = line.find("otpgate ").filter(|_| name.starts_with("otpgate")) else {
                continue;
            };
            let words = line[at..].split(' ').map(|word| word.replace("\\(aq", ""));
            let otpgate = otpgate_cli::commands().remove(0);
            assert!(otpgate.try_get_matches_from(words).is_ok(), "{name}: {line}");
        }
    }
    let page = fs::read_to_string(directory.path().join("man/otpgate-users.5")).unwrap();
    for title in ["FIELDS", "FILES", "EXAMPLES", "SEE ALSO"] {
        assert!(!section(&page, title).is_empty(), "{title} is missing in users(5)");
    }
}

#[test]
fn man_pages_are_without_a_warning_and_as_wide_as_a_terminal() {
    let directory = pages();
    for entry in fs::read_dir(directory.path().join("man")).unwrap() {
        let path = entry.unwrap().path();
        let path = path.to_str().unwrap();
        let lint = Command::new("mandoc").args(["-T", "lint", "-W", "warning", path]).output();
        assert_eq!(String::from_utf8_lossy(&lint.unwrap().stdout), "");
        let set = Command::new("groff")
            .args(["-man", "-ww", "-Tutf8", "-Kutf8", "-rLL=80n", path])
            .output()
            .unwrap();
        assert_eq!(String::from_utf8_lossy(&set.stderr), "", "{path}");
        assert!(!set.stdout.is_empty());
    }
}

#[test]
fn each_shell_completes_verbs_and_flags() {
    let directory = pages();
    for Described { name, flags } in described() {
        let tool = name.split(' ').next().unwrap();
        for (shell, file) in [("bash", format!("{tool}.bash")), ("zsh", format!("_{tool}"))] {
            let text = fs::read_to_string(directory.path().join(shell).join(file)).unwrap();
            assert_all_in(&text, &flags, &format!("the completion of {name} for {shell}"));
        }
        let fish = fs::read_to_string(directory.path().join(format!("fish/{tool}.fish"))).unwrap();
        let in_fish = |flag: &String| match flag.strip_prefix("--") {
            Some(long) => format!("-l {long}"),
            None => format!("-s {}", &flag[1..]),
        };
        assert_all_in(
            &fish,
            &flags.iter().map(in_fish).collect::<Vec<_>>(),
            &format!("{tool}.fish"),
        );
        let checked = Command::new("bash")
            .arg("-n")
            .arg(directory.path().join(format!("bash/{tool}.bash")))
            .status();
        assert!(checked.unwrap().success());
    }
}

#[test]
fn the_documentation_has_every_verb_and_flag_in_a_section_about_it() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/command.md");
    let text = fs::read_to_string(path).unwrap();
    // The beginning, which is about all verbs, and what stands under a heading.
    let sections: Vec<&str> = text.split("\n## ").collect();
    let mut missing = Vec::new();
    for Described { name, flags } in described() {
        // As it is typed, as code, or in a heading.
        let is_about = |section: &&str| {
            let verb = name.rsplit(' ').next().unwrap();
            let mut headings = section.lines().filter(|line| line.starts_with('#'));
            has_word(section, &name)
                || [format!("`{verb}`"), format!("`{verb} ")]
                    .iter()
                    .any(|code| section.contains(code))
                || headings.any(|heading| has_word(heading, verb))
        };
        let about: Vec<&str> = sections.iter().copied().filter(is_about).collect();
        if about.is_empty() {
            missing.push(name.clone());
        }
        let about = format!("{}\n{}", sections[0], about.join("\n"));
        missing.extend(
            flags
                .iter()
                .filter(|flag| !has_word(&about, flag))
                .map(|flag| format!("{name} {flag}")),
        );
    }
    assert!(missing.is_empty(), "not in docs/command.md: {missing:#?}");
}

#[test]
fn make_install_puts_everything_in_place() {
    let root = tempfile::tempdir().unwrap();
    let repository = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let target = Path::new(PROGRAM).ancestors().nth(2).unwrap();
    assert!(
        repository.join("build/pages/man/otpgate.1").exists(),
        "no man pages: run `make build`"
    );
    let made = Command::new("make")
        .args(["-C", repository.to_str().unwrap(), "install-common", "PREFIX=/usr"])
        .arg(format!("DESTDIR={}", root.path().display()))
        .env("CARGO_TARGET_DIR", target)
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let installed = |path: &str| -> PathBuf { root.path().join("usr").join(path) };
    for Described { name, .. } in described() {
        let page = installed(&format!("share/man/man1/{}.1", name.replace(' ', "-")));
        assert!(page.exists(), "{}", page.display());
        if !name.contains(' ') {
            for path in [
                format!("bin/{name}"),
                format!("share/bash-completion/completions/{name}"),
                format!("share/zsh/site-functions/_{name}"),
                format!("share/fish/vendor_completions.d/{name}.fish"),
            ] {
                assert!(installed(&path).exists(), "{path}");
            }
        }
    }
    assert!(installed("share/man/man5/otpgate-users.5").exists());
    let help = Command::new(installed("bin/genotpurl")).arg("-h").output().unwrap();
    assert!(help.stderr.starts_with(b"usage: genotpurl "));
    assert!(!installed("bin/otpgate-pages").exists());
}
