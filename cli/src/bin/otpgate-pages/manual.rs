//! The man pages: what the command says of itself, with examples, files, statuses and what else to
//! read. The page about the users file is docs/users-file.md.

use std::fmt::Write;
use std::path::Path;

use crate::markdown::{self, escaped, filled, verbatim};

const USERS_FILE: &str = include_str!("../../../../docs/users-file.md");
const USERS_EXAMPLE: &str = include_str!("../../../../users.example");
/// Its last entry says when this version was made.
const CHANGES: &str = include_str!("../../../../packaging/debian/changelog");

/// What there is to say of a page besides.
struct About {
    page: &'static str,
    /// Command lines, and what they do.
    examples: &'static [(&'static str, &'static str)],
    see_also: &'static [&'static str],
}

const ABOUT: [About; 37] = [
    About {
        page: "otpgate",
        examples: &[
            ("otpgate init", "Creates the users file, for the server's user."),
            ("otpgate add alice", "A user with a phone app: asks for a PIN, shows a QR code."),
            ("otpgate -f /etc/otp/users list", "Lists the tokens of another users file."),
        ],
        see_also: &[
            "otpgate-init",
            "otpgate-add",
            "otpgate-check",
            "otpgate-edit",
            "otptool",
            "otplock",
            "genotpurl",
        ],
    },
    About {
        page: "otpgate-init",
        examples: &[
            ("otpgate init", "As root: for www-data or apache, whichever is there."),
            (
                "otpgate init --user www-data --group admins",
                "For two servers, or admins, with a group in common.",
            ),
        ],
        see_also: &["otpgate-add", "otpgate-check"],
    },
    About {
        page: "otpgate-add",
        examples: &[
            ("otpgate add alice", "A phone app, with a PIN that is asked for twice."),
            (
                "otpgate add alice --confirm --qr alice.png",
                "Saves the token once a code of the phone is right.",
            ),
            ("otpgate add bob --hotp --key-file fob.key", "A key fob with a button, by its key."),
            (
                "printf '4711\\n' | otpgate add carol --quiet",
                "In a script: the PIN is a line of standard input, and only the address is printed.",
            ),
        ],
        see_also: &["otpgate-rekey", "otpgate-import", "otpgate-set-pin"],
    },
    About {
        page: "otpgate-enrol",
        examples: &[
            (
                "otpgate enrol --from users.csv --qr-dir letters --dry-run",
                "Checks a list, and changes nothing.",
            ),
            (
                "otpgate enrol --from users.csv --qr-dir letters",
                "Makes a key, a QR code and a start PIN for each.",
            ),
        ],
        see_also: &["otpgate-add", "otpgate-import", "otpgate-set-pin"],
    },
    About {
        page: "otpgate-check",
        examples: &[
            ("otpgate check", "Every problem, with line numbers."),
            ("otpgate check --fix", "Repairs what a program can."),
            ("otpgate check --json", "For monitoring."),
        ],
        see_also: &["otpgate-init", "otpgate-edit"],
    },
    About {
        page: "otpgate-list",
        examples: &[
            ("otpgate list --max-failures 10", "Shows which tokens the server's limit locks, too."),
            ("otpgate list --json", "For programs."),
        ],
        see_also: &["otpgate-show"],
    },
    About {
        page: "otpgate-show",
        examples: &[(
            "otpgate show alice",
            "Her tokens by number, and how her phone's clock stands.",
        )],
        see_also: &["otpgate-list", "otpgate-explain"],
    },
    About {
        page: "otpgate-remove",
        examples: &[
            ("otpgate remove alice", "Asks, if it stands on a terminal."),
            ("otpgate remove alice --all --yes", "All her tokens, without asking."),
        ],
        see_also: &["otpgate-disable", "otpgate-show"],
    },
    About {
        page: "otpgate-disable",
        examples: &[(
            "otpgate disable alice --token 2",
            "Her second token; the first still logs in.",
        )],
        see_also: &["otpgate-enable", "otpgate-remove"],
    },
    About {
        page: "otpgate-enable",
        examples: &[("otpgate enable alice", "All her tokens.")],
        see_also: &["otpgate-disable"],
    },
    About {
        page: "otpgate-unlock",
        examples: &[("otpgate unlock alice", "She may try again; used codes stay used.")],
        see_also: &["otpgate-list", "otpgate-explain"],
    },
    About {
        page: "otpgate-set-pin",
        examples: &[
            ("otpgate set-pin alice", "Asks for the new PIN twice."),
            (
                "otpgate set-pin alice --all --plain-pin",
                "In the clear, as Digest logins need it, for all her tokens.",
            ),
        ],
        see_also: &["otpgate-add", "otpgate-rekey"],
    },
    About {
        page: "otpgate-paper",
        examples: &[
            (
                "otpgate paper alice --print alice.pdf",
                "A list of 30 codes with the PIN of alice, as a sheet to be printed and cut out.",
            ),
            (
                "otpgate paper alice --again --print alice-2.pdf",
                "Replaces a list that is lost or used up: the old codes are void at once.",
            ),
            (
                "otpgate paper bob --count 10",
                "Ten recovery codes, to be read or piped to a printer.",
            ),
        ],
        see_also: &["otpgate-add", "otpgate-show", "otpgate-set-pin"],
    },
    About {
        page: "otpgate-rekey",
        examples: &[
            (
                "otpgate rekey alice --confirm",
                "A new phone: the old one logs in until a code of the new one is right.",
            ),
            (
                "otpgate rekey alice --token 2 --qr new.svg",
                "Her second token, with a QR code to be sent to her.",
            ),
        ],
        see_also: &["otpgate-add", "otpgate-show"],
    },
    About {
        page: "otpgate-rename",
        examples: &[(
            "otpgate rename alice alice.archer",
            "Her tokens and what is said about her.",
        )],
        see_also: &["otpgate-list"],
    },
    About {
        page: "otpgate-resync",
        examples: &[
            ("otpgate resync alice", "Asks for two codes, one after the other."),
            (
                "otpgate resync alice 287082 359152 --window 5000",
                "For a fob that was pressed very often.",
            ),
        ],
        see_also: &["otpgate-explain", "otpgate-advance"],
    },
    About {
        page: "otpgate-verify",
        examples: &[
            ("otpgate verify alice --dry-run", "What a server would say, changing nothing."),
            (
                "otpgate verify alice --server nginx --address 192.0.2.7",
                "With nginx's defaults, for a client.",
            ),
        ],
        see_also: &["otpgate-explain"],
    },
    About {
        page: "otpgate-explain",
        examples: &[("otpgate explain alice", "What the code is that she reads from her phone.")],
        see_also: &["otpgate-verify", "otpgate-resync", "otpgate-unlock"],
    },
    About {
        page: "otpgate-edit",
        examples: &[
            ("otpgate edit", "In $VISUAL, else $EDITOR, else vi."),
            ("EDITOR='sed -i s/^OFF://' otpgate edit --yes", "By a program, without asking."),
        ],
        see_also: &["otpgate-check", "otplock"],
    },
    About {
        page: "otpgate-app",
        examples: &[(
            "otpgate app add alice phone --path /dav/",
            "Alice's phone gets at /dav/ without a code, by the password that this prints.",
        )],
        see_also: &["otpgate-app-add", "otpgate-app-list", "otpgate-app-revoke"],
    },
    About {
        page: "otpgate-app-add",
        examples: &[
            (
                "otpgate app add alice phone --path /dav/,/cal/",
                "Prints a password that is good at and below these paths.",
            ),
            (
                "otpgate app add ci feeds --path /feeds/ --methods GET --until 2027-01-31",
                "For reading alone, until that day is over.",
            ),
        ],
        see_also: &["otpgate-app-list", "otpgate-app-revoke"],
    },
    About {
        page: "otpgate-app-list",
        examples: &[("otpgate app list alice", "Her programs, and when each came in last.")],
        see_also: &["otpgate-app-add", "otpgate-show"],
    },
    About {
        page: "otpgate-app-revoke",
        examples: &[("otpgate app revoke alice phone", "The phone is out with its next request.")],
        see_also: &["otpgate-app-add", "otpgate-app-list"],
    },
    About {
        page: "otpgate-trust",
        examples: &[(
            "otpgate trust alice 192.0.2.0/24 2001:db8::/32",
            "In the office, her PIN is enough.",
        )],
        see_also: &["otpgate-untrust", "otpgate-always", "otpgate-show"],
    },
    About {
        page: "otpgate-untrust",
        examples: &[("otpgate untrust alice", "She needs a code there, too.")],
        see_also: &["otpgate-trust", "otpgate-always"],
    },
    About {
        page: "otpgate-always",
        examples: &[
            ("otpgate always alice", "She needs a code, wherever the PIN is enough for others."),
            ("otpgate always alice apps", "Her programs don't get in, either."),
            ("otpgate always alice --off", "As everybody else again."),
        ],
        see_also: &["otpgate-trust", "otpgate-app"],
    },
    About {
        page: "otpgate-sessions",
        examples: &[("otpgate sessions alice", "Where she has logged in and not out.")],
        see_also: &["otpgate-logout", "otpgate-show"],
    },
    About {
        page: "otpgate-logout",
        examples: &[
            ("otpgate logout alice", "All her browsers have to log in again."),
            ("otpgate logout alice 2", "Only the second one listed has to."),
            ("otpgate logout --all", "After somebody else may have read the users file's secret."),
        ],
        see_also: &["otpgate-sessions", "otpgate-computers", "otpgate-disable"],
    },
    About {
        page: "otpgate-computers",
        examples: &[
            ("otpgate computers alice", "Where her PIN alone is enough, and until when."),
            ("otpgate computers alice revoke 2", "Her lost laptop."),
            ("otpgate computers alice revoke", "All of them."),
        ],
        see_also: &["otpgate-computers-revoke", "otpgate-sessions", "otpgate-always"],
    },
    About {
        page: "otpgate-computers-revoke",
        examples: &[("otpgate computers alice revoke 2", "Her lost laptop.")],
        see_also: &["otpgate-computers", "otpgate-logout"],
    },
    About {
        page: "otpgate-advance",
        examples: &[(
            "otpgate advance --all --by 500",
            "After restoring a backup: no one has used more codes since.",
        )],
        see_also: &["otpgate-resync"],
    },
    About {
        page: "otpgate-import",
        examples: &[
            ("otpgate import pskc tokens.xml --no-pin", "A manufacturer's file."),
            (
                "otpgate import otpauth - --skip-existing --pin-external",
                "Addresses from standard input; who is listed stays as they are.",
            ),
        ],
        see_also: &["otpgate-export", "otpgate-add"],
    },
    About {
        page: "otpgate-export",
        examples: &[
            ("otpgate export otpauth - alice", "Her address, to standard output."),
            ("otpgate export pskc tokens.xml --encrypt password", "All tokens, encrypted."),
        ],
        see_also: &["otpgate-import"],
    },
    About {
        page: "otpgate-users",
        examples: &[],
        see_also: &["otpgate", "otpgate-edit", "otpgate-check"],
    },
    About {
        page: "otptool",
        examples: &[("otptool -t -F key.hex", "The code of now, with the key in a file.")],
        see_also: &["otpgate", "otpgate-verify"],
    },
    About {
        page: "otplock",
        examples: &[(
            "otplock /var/lib/otpgate/users cp /var/lib/otpgate/users /backup/",
            "A copy of one moment.",
        )],
        see_also: &["otpgate", "otpgate-edit"],
    },
    About {
        page: "genotpurl",
        examples: &[(
            "genotpurl -I 'Big Corp' -L alice",
            "An address with a new key, which goes to standard error.",
        )],
        see_also: &["otpgate", "otpgate-add"],
    },
];

/// Exit statuses; those of the tools are the older tools'.
fn statuses(page: &str) -> &'static [(&'static str, &'static str)] {
    const SIGNAL: (&str, &str) = (
        "128+n",
        "ended by signal n, as a shell tells it: 130 after Ctrl-C at a prompt; nothing was changed",
    );
    match page {
        "otpgate" => &[
            ("0", "done"),
            ("1", "not done, or a problem was found: details are on standard error"),
            ("2", "wrong usage"),
            SIGNAL,
        ],
        "otpgate-verify" => &[
            ("0", "the login was granted"),
            ("1", "it wasn't, or couldn't be decided"),
            ("2", "wrong usage"),
            SIGNAL,
        ],
        "otpgate-explain" => &[
            ("0", "the code is the user's"),
            ("1", "it isn't, or couldn't be looked for"),
            ("2", "wrong usage"),
            SIGNAL,
        ],
        "otpgate-check" => &[
            ("0", "nothing refuses a login or lets a stranger in"),
            ("1", "something does, or the file couldn't be checked"),
            ("2", "wrong usage"),
        ],
        "otptool" => &[
            ("0", "printed or found"),
            ("1", "wrong usage"),
            ("2", "not in the window"),
            ("3", "the key can't be read"),
        ],
        "otplock" => &[
            ("85", "wrong usage"),
            ("86", "the file can't be locked, or isn't there"),
            ("87", "the command was ended by a signal"),
            ("any other", "that of the command"),
        ],
        "genotpurl" => &[("0", "printed"), ("1", "anything else")],
        _ => &[
            ("0", "done"),
            ("1", "not done: details are on standard error"),
            ("2", "wrong usage"),
            SIGNAL,
        ],
    }
}

const FILES: [(&str, &str); 3] = [
    (
        "/var/lib/otpgate/users",
        "The users file, unless -f or OTPGATE_USERS_FILE names another: otpgate-users(5).",
    ),
    (
        "users.lock, users.journal",
        "Beside it: held while something is changed; makes changes durable.",
    ),
    (
        "users.index, users.throttle",
        "Beside it: where each user's line is, in large files; wrong tries.",
    ),
];

/// When this version was made.
fn date() -> String {
    let stamp =
        CHANGES.lines().rev().find_map(|line| line.strip_prefix(" -- ")?.rsplit("  ").next());
    let stamp = stamp.expect("the change log has an entry");
    let zoned = jiff::fmt::rfc2822::parse(stamp).expect("the change log has dates as RFC 2822 has");
    zoned.strftime("%Y-%m-%d").to_string()
}

fn title(page: &str, section: u8) -> String {
    format!(
        ".TH {} {section} {} \"otpgate {}\" otpgate\n",
        page.to_uppercase(),
        date(),
        env!("CARGO_PKG_VERSION")
    )
}

fn tagged(items: impl IntoIterator<Item = (String, String)>) -> String {
    items.into_iter().fold(String::new(), |mut text, (tag, told)| {
        write!(text, ".TP\n{tag}\n{}", filled(&told)).expect("writing to memory");
        text
    })
}

fn plain(items: &[(&str, &str)]) -> String {
    tagged(items.iter().map(|(tag, told)| (format!("\\fB{}\\fR", escaped(tag)), escaped(told))))
}

fn examples(about: &About) -> String {
    about.examples.iter().enumerate().fold(String::new(), |text, (number, (line, told))| {
        let paragraph = if number > 0 { ".PP\n" } else { "" };
        format!("{text}{paragraph}{}.PP\n.RS 4\n{}.RE\n", filled(&escaped(told)), verbatim(&[line]))
    })
}

fn see_also(about: &About, needs_format: bool) -> String {
    let section = |name: &str| if name == "otpgate-users" { 5 } else { 1 };
    let general = (about.page.starts_with("otpgate-") && !about.see_also.contains(&"otpgate"))
        .then_some("otpgate");
    let format = needs_format.then_some("otpgate-users");
    let names: Vec<String> = (general.into_iter())
        .chain(about.see_also.iter().copied())
        .chain(format)
        .map(|name| format!("\\fB{}\\fR({})", escaped(name), section(name)))
        .collect();
    filled(&names.join(", "))
}

/// What clap's page has on lines of any length; lines that begin with a request stay as they are,
/// but for those that another one next to them makes void.
fn tidied(page: &str) -> String {
    // An empty line between two breaks.
    let page = page.replace("\n.br\n\n.br\n", "\n.sp\n");
    let lines: Vec<&str> = page.lines().map(str::trim_end).collect();
    let is = |at: Option<usize>, request: &str| {
        at.and_then(|at| lines.get(at)).is_some_and(|line| line.split(' ').next() == Some(request))
    };
    let mut text = String::new();
    for (at, line) in lines.iter().enumerate() {
        let (before, after) = (at.checked_sub(1), Some(at + 1));
        match *line {
            ".PP" if is(before, ".SH") => {}
            ".br" if is(before, ".sp") || is(after, ".sp") => {}
            line if line.starts_with('.') => text = text + line + "\n",
            line => text += &filled(line),
        }
    }
    text
}

fn page_of(command: &clap::Command, name: &str) -> String {
    let about = ABOUT.iter().find(|about| about.page == name);
    let about = about.unwrap_or_else(|| panic!("{name} has no examples"));
    let man = clap_mangen::Man::new(command.clone());
    let mut generated = Vec::new();
    (man.render_name_section(&mut generated))
        .and_then(|()| man.render_synopsis_section(&mut generated))
        .and_then(|()| man.render_description_section(&mut generated))
        .and_then(|()| man.render_options_section(&mut generated))
        .expect("writing to memory");
    if command.get_subcommands().any(|verb| !verb.is_hide_set()) {
        man.render_subcommands_section(&mut generated).expect("writing to memory");
    }
    let is_tool = !name.starts_with("otpgate");
    if is_tool && command.get_after_help().is_some() {
        man.render_extra_section(&mut generated).expect("writing to memory");
    }
    let generated = String::from_utf8(generated).expect("text");
    let files: &[(&str, &str)] = if is_tool && name != "otplock" { &[] } else { &FILES };
    let mut page = title(name, 1) + &tidied(&generated);
    let mut section = |title: &str, text: String| {
        if !text.is_empty() {
            write!(page, ".SH {title}\n{text}").expect("writing to memory");
        }
    };
    section("EXIT STATUS", plain(statuses(name)));
    section("FILES", plain(files));
    section("EXAMPLES", examples(about));
    section("SEE ALSO", see_also(about, !is_tool || name == "otplock"));
    page
}

/// The example, in which everything is a comment: what is said, and the lines it is said of.
fn users_examples() -> String {
    let mut out = String::new();
    for block in USERS_EXAMPLE.split("\n\n").flat_map(|block| block.split("\n#\n")) {
        let (told, lines): (Vec<&str>, Vec<&str>) = (block.lines())
            .filter(|line| *line != "#")
            .partition(|line| line.starts_with("# ") && !line.starts_with("#   "));
        let told = told.iter().map(|line| &line[2..]).collect::<Vec<_>>().join(" ");
        for (is_there, text) in [
            (!told.is_empty(), filled(&escaped(&told))),
            (!lines.is_empty(), {
                let lines: Vec<&str> = lines.iter().map(|line| line[1..].trim_start()).collect();
                format!(".RS 4\n{}.RE\n", verbatim(&lines))
            }),
        ] {
            if is_there {
                let paragraph = if out.is_empty() { "" } else { ".PP\n" };
                write!(out, "{paragraph}{text}").expect("writing to memory");
            }
        }
    }
    out
}

/// The users file: its page, and what stands in the example.
fn users_page() -> String {
    let about = ABOUT.iter().find(|about| about.page == "otpgate-users").expect("it is there");
    let sections = markdown::sections(USERS_FILE, "DESCRIPTION")
        .replace(".SH FILES AND PERMISSIONS\n", ".SH FILES\n");
    format!(
        "{}.SH NAME\notpgate\\-users \\- the users file of otpgate: who logs in with which tokens\n{sections}.SH EXAMPLES\n{}.SH SEE ALSO\n{}",
        title("otpgate-users", 5),
        users_examples(),
        see_also(about, false)
    )
}

pub fn write(directory: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(directory)?;
    for mut command in otpgate_cli::commands() {
        // The page of `help` would only say that there is help.
        command = command.disable_help_subcommand(true);
        command.build();
        let name = command.get_name().to_owned();
        std::fs::write(directory.join(format!("{name}.1")), page_of(&command, &name))?;
        write_verbs(directory, &command, &name)?;
    }
    std::fs::write(directory.join("otpgate-users.5"), users_page())
}

fn write_verbs(directory: &Path, command: &clap::Command, name: &str) -> std::io::Result<()> {
    let is_told = |verb: &&clap::Command| !verb.is_hide_set() && verb.get_name() != "help";
    for verb in command.get_subcommands().filter(is_told) {
        let name = format!("{name}-{}", verb.get_name());
        let verb = verb.clone().display_name(name.clone());
        std::fs::write(directory.join(format!("{name}.1")), page_of(&verb, &name))?;
        write_verbs(directory, &verb, &name)?;
    }
    Ok(())
}
