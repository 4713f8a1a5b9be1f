//! What processes did to one directory, as strace has seen it.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// A system call that changed the directory or a file in it, or made a change durable. Files go by
/// their names in the directory; its own is the empty one.
#[derive(Clone, Debug, PartialEq)]
pub struct Call {
    /// Nanoseconds since 1970 at which it began.
    pub begin: u64,
    /// When it had returned; `NEVER` if its process ended in it.
    pub end: u64,
    /// Made by a program that knows nothing of the journal.
    pub foreign: bool,
    pub what: What,
}

pub const NEVER: u64 = u64::MAX;

#[derive(Clone, Debug, PartialEq)]
pub enum What {
    Open {
        name: String,
        create: bool,
        truncate: bool,
        append: bool,
    },
    /// `at` is `None` where the descriptor's own position counts.
    Write {
        name: String,
        at: Option<u64>,
        bytes: Vec<u8>,
    },
    Seek {
        name: String,
        at: u64,
    },
    SetLen {
        name: String,
        len: u64,
    },
    Sync {
        name: String,
    },
    SyncAll,
    Rename {
        from: String,
        to: String,
    },
    Link {
        from: String,
        to: String,
    },
    Unlink {
        name: String,
    },
    /// The file's inode number, as the process was told.
    Number {
        name: String,
        number: u64,
    },
    /// Something the model knows nothing of.
    Unknown(String),
}

/// Whose calls a recording has.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Whose {
    Ours,
    Editors,
    /// Our program's, and those of an editor that it starts.
    OursAndAnEditors,
}

/// One run of strace: its files are `<base>.<process>`.
#[derive(Clone, Debug)]
pub struct Reel {
    base: PathBuf,
    whose: Whose,
}

impl Reel {
    pub fn new(base: PathBuf, whose: Whose) -> Reel {
        Reel { base, whose }
    }

    /// The command that runs what is appended to it, and records it.
    pub fn command(&self) -> Vec<String> {
        const TRACED: &str = "openat,open,creat,write,pwrite64,writev,pwritev,pwritev2,lseek,fsync,fdatasync,sync,syncfs,\
             sync_file_range,ftruncate,truncate,fallocate,copy_file_range,sendfile,splice,rename,renameat,renameat2,link,\
             linkat,unlink,unlinkat,fstat,newfstatat,statx,io_uring_setup";
        let base = self.base.to_str().expect("a plain path");
        // A file for each process, so that no line is interrupted by another; all strings in
        // hexadecimal, and whole.
        let fixed = [super::STRACE, "-ff", "--seccomp-bpf", "-y", "-v", "-xx", "-s", "4000000"];
        let times = ["--absolute-timestamps=format:unix,precision:ns", "--syscall-times=ns"];
        let rest = ["-e", "signal=none", "-e", TRACED, "-o", base];
        [&fixed[..], &times, &rest].concat().into_iter().map(str::to_owned).collect()
    }

    /// The same where the recorder must not stand between a server and who started it.
    pub fn command_beside(&self) -> Vec<String> {
        let mut command = self.command();
        command.insert(1, "-DD".to_owned());
        command
    }

    /// Whether all processes have ended, and the recorder has seen it.
    pub fn is_complete(&self) -> bool {
        let texts = self.texts();
        !texts.is_empty()
            && texts
                .iter()
                .all(|text| text.lines().last().is_some_and(|line| line.contains(" +++ ")))
    }

    fn texts(&self) -> Vec<String> {
        let prefix = format!("{}.", self.base.file_name().expect("a name").to_string_lossy());
        let entries = fs::read_dir(self.base.parent().expect("a directory"))
            .expect("the directory of recordings");
        let ours = entries
            .flatten()
            .filter(|entry| entry.file_name().to_string_lossy().starts_with(&prefix));
        ours.map(|entry| {
            String::from_utf8_lossy(&fs::read(entry.path()).expect("a recording")).into_owned()
        })
        .collect()
    }

    /// What was done to the directory, in the order in which it began.
    pub fn calls(&self, directory: &Path) -> Vec<Call> {
        let texts = self.texts();
        let began = |text: &String| text.split(' ').next().and_then(nanoseconds).unwrap_or(NEVER);
        let first = texts.iter().map(began).min();
        let mut calls = Vec::new();
        for text in &texts {
            let foreign = match self.whose {
                Whose::Ours => false,
                Whose::Editors => true,
                Whose::OursAndAnEditors => Some(began(text)) != first,
            };
            // What is counted of wrong tries is never synced, and no login rests on it.
            let throttle: String =
                b".throttle".iter().map(|byte| format!("\\x{byte:02x}")).collect();
            let lines = text.lines().filter(|line| !line.contains(&throttle));
            calls.extend(
                lines
                    .filter_map(|line| parse(line, directory))
                    .map(|call| Call { foreign, ..call }),
            );
        }
        calls.sort_by_key(|call| call.begin);
        calls
    }
}

/// One line. `None`: it says nothing of the directory, or of a call that failed.
fn parse(line: &str, directory: &Path) -> Option<Call> {
    let (time, rest) = line.split_once(' ')?;
    let (name, rest) = rest.split_once('(')?;
    let begin = nanoseconds(time)?;
    let (arguments, after) = arguments(rest);
    let result = after.trim_start().strip_prefix("= ")?;
    let (returned, end) = match number(result) {
        Some(returned) => {
            let lasted = result.rsplit_once('<')?.1.strip_suffix('>')?;
            (Some(returned), begin + nanoseconds(lasted)?)
        }
        None if result.starts_with('?') => (None, NEVER),
        // -1 and the error's name.
        None => return None,
    };
    let what = what(name, &arguments, returned, &|path| name_in(directory, &path))?;
    Some(Call { begin, end, foreign: false, what })
}

fn what(
    call: &str,
    arguments: &[&str],
    returned: Option<u64>,
    name_of: &dyn Fn(Vec<u8>) -> Option<String>,
) -> Option<What> {
    let argument = |i: usize| arguments.get(i).copied().unwrap_or_default();
    let of_descriptor = |i: usize| name_of(descriptor(argument(i))?);
    let of_path = |i: usize| name_of(string(argument(i))?);
    let of_path_at = |i: usize| {
        let path = string(argument(i + 1))?;
        match path.first() {
            Some(b'/') => name_of(path),
            Some(_) => name_of([&descriptor(argument(i))?[..], b"/", &path].concat()),
            None => of_descriptor(i),
        }
    };
    // A call that never returned may have done all of it.
    let whole = |bytes: Vec<u8>| match returned {
        Some(returned) => bytes[..(returned as usize).min(bytes.len())].to_vec(),
        None => bytes,
    };
    let open = |name: String, flags: &str| {
        let has = |flag: &str| flags.split('|').any(|known| known == flag);
        let writes = has("O_WRONLY") || has("O_RDWR");
        let (create, truncate, append) = (has("O_CREAT"), has("O_TRUNC"), has("O_APPEND"));
        (writes || create).then_some(What::Open { name, create, truncate, append })
    };
    let strings = |text: &str| -> Vec<u8> {
        text.split('"')
            .skip(1)
            .step_by(2)
            .flat_map(|text| unescaped(text).expect("hexadecimal"))
            .collect()
    };
    let unknown = || Some(What::Unknown(format!("{call}({})", arguments.join(", "))));
    match call {
        "openat" => open(of_path_at(0)?, argument(2)),
        "open" => open(of_path(0)?, argument(1)),
        "creat" => open(of_path(0)?, "O_WRONLY|O_CREAT|O_TRUNC"),
        "write" | "writev" => Some(What::Write {
            name: of_descriptor(0)?,
            at: None,
            bytes: whole(strings(argument(1))),
        }),
        "pwrite64" | "pwritev" | "pwritev2" => {
            let at = number(argument(3))?;
            Some(What::Write {
                name: of_descriptor(0)?,
                at: Some(at),
                bytes: whole(strings(argument(1))),
            })
        }
        "lseek" => Some(What::Seek { name: of_descriptor(0)?, at: returned? }),
        "ftruncate" => Some(What::SetLen { name: of_descriptor(0)?, len: number(argument(1))? }),
        "truncate" => Some(What::SetLen { name: of_path(0)?, len: number(argument(1))? }),
        "fsync" | "fdatasync" => {
            Some(What::Sync { name: of_descriptor(0)? }).filter(|_| returned.is_some())
        }
        "sync" | "syncfs" => returned.map(|_| What::SyncAll),
        "rename" => renamed(of_path(0), of_path(1)),
        "renameat" | "renameat2" if argument(4).contains("EXCHANGE") => unknown(),
        "renameat" | "renameat2" => renamed(of_path_at(0), of_path_at(2)),
        "link" => Some(What::Link { from: of_path(0)?, to: of_path(1)? }),
        "linkat" => Some(What::Link { from: of_path_at(0)?, to: of_path_at(2)? }),
        "unlink" => Some(What::Unlink { name: of_path(0)? }),
        "unlinkat" => Some(What::Unlink { name: of_path_at(0)? }),
        // By descriptor alone: what a path names may be changing at the same moment.
        "fstat" | "newfstatat" | "statx"
            if call == "fstat" || string(argument(1)) == Some(Vec::new()) =>
        {
            let told = arguments.iter().find_map(|text| text.split_once("_ino="))?.1;
            Some(What::Number { name: of_descriptor(0)?, number: number(told)? })
        }
        "fstat" | "newfstatat" | "statx" | "sync_file_range" => None,
        // Space that is taken without a change of size shows nowhere.
        "fallocate" if argument(1) == "FALLOC_FL_KEEP_SIZE" => None,
        "fallocate" => of_descriptor(0).and_then(|_| unknown()),
        "copy_file_range" | "splice" => of_descriptor(2).and_then(|_| unknown()),
        "sendfile" => of_descriptor(0).and_then(|_| unknown()),
        _ => unknown(),
    }
}

fn renamed(from: Option<String>, to: Option<String>) -> Option<What> {
    match (from, to) {
        (Some(from), Some(to)) => Some(What::Rename { from, to }),
        (None, None) => None,
        (from, to) => Some(What::Unknown(format!("rename across directories: {from:?} {to:?}"))),
    }
}

fn name_in(directory: &Path, path: &[u8]) -> Option<String> {
    let rest = path.strip_prefix(directory.as_os_str().as_bytes())?;
    match rest.split_first() {
        None => Some(String::new()),
        Some((b'/', name)) => Some(String::from_utf8_lossy(name).into_owned()),
        Some(_) => None,
    }
}

/// Splits at the commas outside of all strings and brackets; also what stands behind the closing
/// parenthesis.
fn arguments(text: &str) -> (Vec<&str>, &str) {
    let (mut arguments, mut start, mut depth, mut quoted) = (Vec::new(), 0, 0, false);
    for (i, byte) in text.bytes().enumerate() {
        match byte {
            // Nothing is escaped but by hexadecimal digits.
            b'"' => quoted = !quoted,
            _ if quoted => {}
            b')' if depth == 0 => {
                arguments.push(text[start..i].trim());
                return (arguments, &text[i + 1..]);
            }
            b'(' | b'[' | b'{' | b'<' => depth += 1,
            b')' | b']' | b'}' | b'>' => depth -= 1,
            b',' if depth == 0 => {
                arguments.push(text[start..i].trim());
                start = i + 1;
            }
            _ => {}
        }
    }
    (arguments, "")
}

fn number(text: &str) -> Option<u64> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    text[..end].parse().ok()
}

fn nanoseconds(text: &str) -> Option<u64> {
    let (seconds, fraction) = text.split_once('.')?;
    Some(
        seconds.parse::<u64>().ok()? * 1_000_000_000
            + format!("{fraction:0<9}").parse::<u64>().ok()?,
    )
}

/// The path of `5<\x2f...>`. A file that has lost its name has none.
fn descriptor(text: &str) -> Option<Vec<u8>> {
    let (path, after) = text.split_once('<')?.1.split_once('>')?;
    if after.starts_with("(deleted)") { None } else { unescaped(path) }
}

fn string(text: &str) -> Option<Vec<u8>> {
    unescaped(text.strip_prefix('"')?.split('"').next()?)
}

fn unescaped(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16).map(|digit| digit as u8);
    text.as_bytes()
        .chunks(4)
        .map(|chunk| match chunk {
            [b'\\', b'x', high, low] => Some(digit(*high)? << 4 | digit(*low)?),
            _ => None,
        })
        .collect()
}

/// Counts the calls, for the table.
pub fn counted(calls: &[Call]) -> BTreeMap<&'static str, usize> {
    let mut counts = BTreeMap::new();
    for call in calls {
        let word = match call.what {
            What::Write { .. } => "writes",
            What::Sync { .. } | What::SyncAll => "syncs",
            What::Rename { .. } | What::Link { .. } | What::Unlink { .. } => "names",
            _ => continue,
        };
        *counts.entry(word).or_default() += 1;
    }
    counts
}

#[cfg(test)]
mod tests {
    use super::*;

    const D: &str = r"\x2f\x64"; // "/d"
    const USERS: &str = r"\x2f\x64\x2f\x75"; // "/d/u"

    fn parsed(line: &str) -> Option<Call> {
        parse(line, Path::new("/d"))
    }

    fn what(line: &str) -> Option<What> {
        parsed(&format!("1.000000007 {line}")).map(|call| call.what)
    }

    #[test]
    fn write_at_an_offset_has_its_times_and_as_many_bytes_as_were_written() {
        let line = format!(
            r#"17.000000005 pwrite64(5<{USERS}>, "\x2c\x22\x29", 3, 4096) = 2 <0.000000020>"#
        );
        let what = What::Write { name: "u".to_owned(), at: Some(4096), bytes: b",\"".to_vec() };
        let (begin, end) = (17_000_000_005, 17_000_000_025);
        assert_eq!(parsed(&line), Some(Call { begin, end, foreign: false, what }));
    }

    #[test]
    fn write_in_which_its_process_ended_may_have_been_whole_and_never_returned() {
        let line =
            format!(r#"17.000000005 pwrite64(5<{USERS}>, "\x41\x42", 2, 7 <unfinished ...>) = ?"#);
        let what = What::Write { name: "u".to_owned(), at: Some(7), bytes: b"AB".to_vec() };
        assert_eq!(
            parsed(&line),
            Some(Call { begin: 17_000_000_005, end: NEVER, foreign: false, what })
        );
    }

    #[test]
    fn pieces_of_a_gathered_write_are_put_together() {
        let line = format!(
            r#"writev(3<{USERS}>, [{{iov_base="\x41", iov_len=1}}, {{iov_base="\x42", iov_len=1}}], 2) = 2 <0.1>"#
        );
        assert_eq!(
            what(&line),
            Some(What::Write { name: "u".to_owned(), at: None, bytes: b"AB".to_vec() })
        );
    }

    #[test]
    fn names_are_told_from_relative_and_absolute_paths() {
        let line =
            format!(r#"renameat(AT_FDCWD<{D}>, "\x6e", AT_FDCWD<\x2f>, "{USERS}") = 0 <0.1>"#);
        assert_eq!(what(&line), Some(What::Rename { from: "n".to_owned(), to: "u".to_owned() }));
    }

    #[test]
    fn directory_itself_has_the_empty_name() {
        assert_eq!(
            what(&format!("fsync(9<{D}>) = 0 <0.1>")),
            Some(What::Sync { name: String::new() })
        );
    }

    #[test]
    fn opening_tells_what_it_makes_and_cuts() {
        let line = format!(
            r#"openat(AT_FDCWD<\x2f>, "{USERS}", O_WRONLY|O_CREAT|O_TRUNC, 0666) = 3<{USERS}> <0.1>"#
        );
        let open = What::Open { name: "u".to_owned(), create: true, truncate: true, append: false };
        assert_eq!(what(&line), Some(open));
        let line =
            format!(r#"openat(AT_FDCWD<\x2f>, "{USERS}", O_RDONLY|O_CLOEXEC) = 3<{USERS}> <0.1>"#);
        assert_eq!(what(&line), None);
    }

    #[test]
    fn inode_number_is_told_by_descriptor_and_not_by_path() {
        let told = "{st_dev=makedev(0xfe, 0), st_ino=77, st_mode=S_IFREG|0644, st_size=4}";
        let line = format!(r#"newfstatat(3<{USERS}>, "", {told}, AT_EMPTY_PATH) = 0 <0.1>"#);
        assert_eq!(what(&line), Some(What::Number { name: "u".to_owned(), number: 77 }));
        assert_eq!(
            what(&format!(r#"newfstatat(AT_FDCWD<{D}>, "\x75", {told}, 0) = 0 <0.1>"#)),
            None
        );
    }

    #[test]
    fn failures_other_places_and_deleted_files_are_passed_over() {
        assert_eq!(
            what(&format!(r#"unlink("{USERS}") = -1 ENOENT (No such file or directory) <0.1>"#)),
            None
        );
        assert_eq!(what(r#"unlink("\x2f\x65\x2f\x75") = 0 <0.1>"#), None);
        assert_eq!(what(r#"unlink("\x2f\x64\x64") = 0 <0.1>"#), None);
        assert_eq!(what(&format!(r#"write(3<{USERS}>(deleted), "\x41", 1) = 1 <0.1>"#)), None);
        assert_eq!(what("+++ exited with 0 +++"), None);
    }

    #[test]
    fn call_that_the_model_does_not_know_is_reported() {
        let line = format!("fallocate(3<{USERS}>, 0, 0, 4096) = 0 <0.1>");
        assert!(matches!(what(&line), Some(What::Unknown(_))));
        let line = format!("fallocate(3<{USERS}>, FALLOC_FL_KEEP_SIZE, 0, 4096) = 0 <0.1>");
        assert_eq!(what(&line), None);
    }
}
