//! Group files: lines of `group: user user …`, as httpd's `AuthGroupFile` has them.
//!
//! What is kept of a file is a sorted list of keyed hashes, one for each user in a group: 16 bytes,
//! found in some twenty steps among a million. It is read again when the file's stamp has changed.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::{Mutex, RwLock};

use crate::files::fault::Fault;
use crate::files::stamp::Stamp;
use crate::files::steady;
use crate::gate::{Mark, Marks};
use crate::policy::{Admission, Groups, Required};
use crate::store::LoopTurn;

/// What to do if there is no file.
pub const CREATE: &str =
    "create it with lines of `GROUP: NAME NAME`, or correct the path in the server's configuration";
/// Larger files are refused, before they are in memory: some three million names.
const SIZE_MAX: u64 = 64 << 20;
/// Sections of a single request can name a file in any number of ways: past this many, all files
/// are read again when they are next needed.
const FILES_MAX: usize = 1000;

/// So many members are kept of all files together: 128 MiB. Past that, files are read again.
const MEMBERS_MAX: usize = 8 << 20;

/// The group files of one configuration.
pub struct GroupFiles {
    /// By their paths as configured.
    files: RwLock<HashMap<Vec<u8>, Arc<GroupFile>>>,
    members_max: usize,
}

impl Default for GroupFiles {
    fn default() -> GroupFiles {
        GroupFiles { files: RwLock::default(), members_max: MEMBERS_MAX }
    }
}

impl GroupFiles {
    /// Whether those who are required have the user among them. `path`: where a configured path
    /// leads to. A group file is read if it has changed. Each request asks, so who is named is
    /// found at once.
    #[inline]
    pub fn admit(
        &self,
        required: &Required<'_>,
        path: impl FnOnce(&[u8]) -> PathBuf,
        user: &[u8],
    ) -> Result<Admission, Fault> {
        match groups_to_ask(required, user) {
            Ok(groups) => {
                let file = self.file(path, groups);
                self.admit_members(&file, groups, user)
            }
            Err(known) => Ok(known),
        }
    }

    #[inline(never)]
    fn admit_members(
        &self,
        file: &Arc<GroupFile>,
        groups: &Groups<'_>,
        user: &[u8],
    ) -> Result<Admission, Fault> {
        let (members, is_new) = file.members()?;
        if is_new {
            self.make_room_beside(file);
        }
        Ok(members.admit(groups, user))
    }

    /// The same without reading the file or waiting for anybody who does. `None`: it may have
    /// changed.
    #[inline]
    pub fn admit_now(
        &self,
        required: &Required<'_>,
        path: impl FnOnce(&[u8]) -> PathBuf,
        user: &[u8],
        turn: LoopTurn,
    ) -> Option<Admission> {
        match groups_to_ask(required, user) {
            Ok(groups) => Some(self.file(path, groups).members_now(turn)?.admit(groups, user)),
            Err(known) => Some(known),
        }
    }

    /// One file may have any number of names, and authors of pages may have large files.
    fn make_room_beside(&self, new: &Arc<GroupFile>) {
        let files = self.files.read();
        let kept = |file: &GroupFile| file.last.lock().as_ref().map_or(0, |it| it.sorted.len());
        if files.values().map(|file| kept(file)).sum::<usize>() > self.members_max {
            for file in files.values().filter(|file| !Arc::ptr_eq(file, new)) {
                *file.last.lock() = None;
            }
        }
    }

    #[inline(never)]
    fn file(
        &self,
        path: impl FnOnce(&[u8]) -> PathBuf,
        Groups { file, .. }: &Groups<'_>,
    ) -> Arc<GroupFile> {
        if let Some(known) = self.files.read().get(*file) {
            return known.clone();
        }
        let mut files = self.files.write();
        if files.len() >= FILES_MAX {
            files.clear();
        }
        let new = || Arc::new(GroupFile::at(path(file)));
        files.entry(file.to_vec()).or_insert_with(new).clone()
    }
}

/// The groups that decide about a user. `Err`: that is known without them.
#[inline]
fn groups_to_ask<'r, 'a>(
    required: &'r Required<'a>,
    user: &[u8],
) -> Result<&'r Groups<'a>, Admission> {
    if required.has_user(user) || !required.names_anybody() {
        return Err(Admission::Admitted);
    }
    required.groups.as_ref().map(|given| &given.value).ok_or(Admission::NotAdmitted)
}

/// One file, and what was last read of it.
struct GroupFile {
    path: PathBuf,
    last: Mutex<Option<Arc<Members>>>,
    /// One thread reads, the others wait for it.
    reading: Mutex<()>,
}

/// Who is in which group.
struct Members {
    marks: Marks,
    /// Of group and user; sorted.
    sorted: Vec<Mark>,
    stamp: Stamp,
    /// The file may have been written again since without another stamp.
    is_young: bool,
    /// The turn of the event loop in which the stamp was last found to be the same, or 0.
    looked: AtomicU64,
}

impl GroupFile {
    fn at(path: PathBuf) -> GroupFile {
        GroupFile { path, last: Mutex::new(None), reading: Mutex::new(()) }
    }

    fn members_now(&self, turn: LoopTurn) -> Option<Arc<Members>> {
        let last = self.last.lock().clone()?;
        let turn = turn.map_or(0, std::num::NonZeroU64::get);
        if turn == 0 || last.looked.load(Ordering::Relaxed) != turn {
            let metadata = std::fs::metadata(&self.path).ok()?;
            if last.is_young || Stamp::of(&metadata) != last.stamp {
                return None;
            }
            last.looked.store(turn, Ordering::Relaxed);
        }
        Some(last)
    }

    /// Also whether the file had to be read for it.
    fn members(&self) -> Result<(Arc<Members>, bool), Fault> {
        if let Some(members) = self.members_now(None) {
            return Ok((members, false));
        }
        let _reading = self.reading.lock();
        // Whoever had the lock may have read it.
        if let Some(members) = self.members_now(None) {
            return Ok((members, false));
        }
        let members = Arc::new(Members::read(&self.path)?);
        *self.last.lock() = Some(members.clone());
        Ok((members, true))
    }
}

impl Members {
    fn read(path: &Path) -> Result<Members, Fault> {
        let no_random =
            || Fault::of("read", path, "the system has no random bytes", "see the system's log");
        let marks = Marks::new().ok_or_else(no_random)?;
        let (stamp, (is_young, mut sorted)) = steady::read(path, CREATE, |file| {
            // Before it is read: what is written from then on has another stamp.
            let is_young = Stamp::of(&file.metadata()?).rest_of_tick().is_some();
            let mut sorted = Vec::new();
            for_each_line(&text_of(file)?, |_, line| {
                if let Some((group, users)) = line {
                    sorted.extend(Words(users).map(|user| marks.mark(&[group, &user])));
                }
            });
            Ok((is_young, sorted))
        })?;
        sorted.sort_unstable();
        sorted.dedup();
        Ok(Members { marks, sorted, stamp, is_young, looked: AtomicU64::new(0) })
    }

    fn admit(&self, groups: &Groups<'_>, user: &[u8]) -> Admission {
        match self.have(groups.names, user) {
            true => Admission::Admitted,
            false => Admission::NotAdmitted,
        }
    }

    fn have(&self, groups: &[&[u8]], user: &[u8]) -> bool {
        let has =
            |group: &&[u8]| self.sorted.binary_search(&self.marks.mark(&[group, user])).is_ok();
        groups.iter().any(has)
    }
}

fn text_of(file: &File) -> io::Result<Vec<u8>> {
    let too_large = || Err(io::Error::other("it is larger than 64 MiB"));
    // Before anything is read: it would be again for each request.
    if file.metadata()?.len() > SIZE_MAX {
        return too_large();
    }
    let mut text = Vec::new();
    file.take(SIZE_MAX + 1).read_to_end(&mut text)?;
    if text.len() as u64 > SIZE_MAX { too_large() } else { Ok(text) }
}

/// What the configuration test wants to know of a file.
#[derive(Default)]
pub struct LookedAt {
    /// Which of the groups have a line.
    pub found: Vec<Vec<u8>>,
    /// Lines without a group's name and a colon: nobody is in a group by them.
    pub without_group: Vec<u64>,
}

/// Reads a file for the configuration test.
pub fn look_at(path: &Path, groups: &[&[u8]]) -> Result<LookedAt, Fault> {
    let (_, looked) = steady::read(path, CREATE, |file| {
        let mut looked = LookedAt::default();
        for_each_line(&text_of(file)?, |number, line| match line {
            Some((group, _)) if groups.contains(&group) => looked.found.push(group.to_vec()),
            Some(_) => {}
            None => looked.without_group.push(number),
        });
        Ok(looked)
    })?;
    Ok(looked)
}

/// A group's name, and what is behind its colon.
type GroupLine<'t> = Option<(&'t [u8], &'t [u8])>;

/// Calls back for each line that is neither blank nor a comment, with its number. A backslash at
/// its end joins it with the next one.
fn for_each_line(text: &[u8], mut each: impl FnMut(u64, GroupLine<'_>)) {
    let mut begun: Option<(u64, Vec<u8>)> = None;
    let lines = text.split(|&b| b == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    let count = text.iter().filter(|&&b| b == b'\n').count();
    for (index, line) in lines.enumerate() {
        if let Some(part) = line.strip_suffix(b"\\").filter(|_| index < count) {
            begun.get_or_insert((index as u64 + 1, Vec::new())).1.extend_from_slice(part);
            continue;
        }
        match begun.take() {
            Some((number, mut whole)) => {
                whole.extend_from_slice(line);
                each_line(number, &whole, &mut each);
            }
            None => each_line(index as u64 + 1, line, &mut each),
        }
    }
}

fn each_line(number: u64, line: &[u8], each: &mut impl FnMut(u64, GroupLine<'_>)) {
    let line = trimmed(line);
    if line.is_empty() || line[0] == b'#' {
        return;
    }
    let colon = line.iter().position(|&b| b == b':');
    let parts = colon.map(|colon| (trimmed(&line[..colon]), &line[colon + 1..]));
    each(number, parts.filter(|(group, _)| !group.is_empty()));
}

/// As C's isspace() has it.
fn is_space(byte: &u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | 0x0b | 0x0c | b'\r')
}

fn trimmed(mut text: &[u8]) -> &[u8] {
    while let [first, rest @ ..] = text
        && is_space(first)
    {
        text = rest;
    }
    while let [rest @ .., last] = text
        && is_space(last)
    {
        text = rest;
    }
    text
}

/// Words as `ap_getword_conf()` reads them (httpd, server/util.c): between blanks, or in quotes of
/// either kind, with a backslash before a quote or a backslash.
struct Words<'t>(&'t [u8]);

impl<'t> Iterator for Words<'t> {
    type Item = Cow<'t, [u8]>;

    fn next(&mut self) -> Option<Cow<'t, [u8]>> {
        let text = trimmed(self.0);
        let (word, quote) = match text {
            [] => return None,
            [quote @ (b'"' | b'\''), quoted @ ..] => {
                let mut end = 0;
                while end < quoted.len() && quoted[end] != *quote {
                    end += match quoted[end..] {
                        [b'\\', next, ..] if next == *quote || next == b'\\' => 2,
                        _ => 1,
                    };
                }
                self.0 = quoted.get(end + 1..).unwrap_or_default();
                (&quoted[..end], Some(*quote))
            }
            _ => {
                let end = text.iter().position(is_space).unwrap_or(text.len());
                self.0 = &text[end..];
                (&text[..end], None)
            }
        };
        if !word.contains(&b'\\') {
            return Some(Cow::Borrowed(word));
        }
        let mut plain = Vec::with_capacity(word.len());
        let mut rest = word;
        while let [first, behind @ ..] = rest {
            rest = behind;
            let is_escape = |next: &u8| *next == b'\\' || Some(*next) == quote;
            match (first, behind) {
                (b'\\', [next, behind @ ..]) if is_escape(next) => {
                    plain.push(*next);
                    rest = behind;
                }
                _ => plain.push(*first),
            }
        }
        Some(Cow::Owned(plain))
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::time::{Duration, Instant};

    use super::*;
    use crate::policy::{Leaked, Server, Settings};

    fn required<'a>(words: &[&'a [u8]]) -> Required<'a> {
        let mut settings = Settings::default();
        settings.set(Server::Nginx, &Leaked, b"auth_otp_require_group", words, b"test:1").unwrap();
        settings.required.unwrap()
    }

    fn write(path: &Path, text: &[u8]) {
        std::fs::write(path, text).unwrap();
        // Past the tick within which another change would go unnoticed.
        let old = std::time::SystemTime::now() - Duration::from_secs(60);
        File::options().write(true).open(path).unwrap().set_modified(old).unwrap();
    }

    /// Whether the file puts the user into the group.
    fn says(text: &[u8], group: &[u8], user: &[u8]) -> bool {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("groups");
        write(&path, text);
        Members::read(&path).unwrap().have(&[group], user)
    }

    #[test]
    fn lines_are_read_as_httpd_reads_them() {
        let text = b"# staff: mallory\n\
            staff: alice bob\tcarol\x0bdave\r\n\
            \n  # staff: mallory\n\
            \t spaced group \t:erin\n\
            staff: frank\n\
            joined: gra\\\nce heidi \\\n ivan\\\r\n judy\n\
            quoted: \"two words\" 'it''s' \"say \\\"hi\\\"\" back\\\\slash 'open end\n\
            nobody\n\
            :mallory\n\
            # a comment \\\nstaff: mallory\n\
            empty:\n\
            bytes: jos\xe9 \xff\xfe\n\
            colons: a:b\n\
            last: zoe\\";
        for (group, user, expected) in [
            (&b"staff"[..], &b"alice"[..], true),
            (b"staff", b"bob", true),
            (b"staff", b"carol", true),
            (b"staff", b"dave", true),
            (b"staff", b"frank", true),
            (b"staff", b"mallory", false),
            (b"staff", b"Alice", false),
            (b"staff", b"", false),
            (b"Staff", b"alice", false),
            (b"staf", b"falice", false),
            (b"spaced group", b"erin", true),
            (b"joined", b"grace", true),
            (b"joined", b"heidi", true),
            (b"joined", b"ivan", true),
            (b"joined", b"judy", true),
            (b"quoted", b"two words", true),
            (b"quoted", b"two", false),
            (b"quoted", b"it", true),
            (b"quoted", b"s", true),
            (b"quoted", b"say \"hi\"", true),
            (b"quoted", b"back\\slash", true),
            (b"quoted", b"open end", true),
            (b"nobody", b"", false),
            (b"", b"mallory", false),
            (b"empty", b"", false),
            (b"bytes", b"jos\xe9", true),
            (b"bytes", b"\xff\xfe", true),
            (b"colons", b"a:b", true),
            (b"last", b"zoe\\", true),
        ] {
            assert_eq!(
                says(text, group, user),
                expected,
                "{} {}",
                group.escape_ascii(),
                user.escape_ascii()
            );
        }
    }

    #[test]
    fn any_of_several_groups_will_do_and_a_change_counts_at_once() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("groups");
        let required = required(&[b"groups", b"staff", b"admins"]);
        let files = GroupFiles::default();
        let root = |name: &[u8]| directory.path().join(str::from_utf8(name).unwrap());
        let admits = |user: &[u8]| {
            let admission = files.admit(&required, root, user).map_err(|fault| fault.to_string());
            admission.map(|admission| admission == Admission::Admitted)
        };
        let fault = admits(b"alice").unwrap_err();
        assert!(fault.contains("No such file") && fault.contains(CREATE), "{fault}");
        assert_eq!(files.admit_now(&required, root, b"alice", None), None);
        for (text, alice, bob) in [
            (&b"staff: alice\nadmins: bob\nothers: carol\n"[..], true, true),
            (b"staff: bobby\nadmins: alice\n", true, false),
            (b"", false, false),
        ] {
            write(&path, text);
            assert_eq!(
                [admits(b"alice"), admits(b"bob"), admits(b"carol")],
                [Ok(alice), Ok(bob), Ok(false)]
            );
        }
        std::fs::remove_file(&path).unwrap();
        assert!(admits(b"alice").is_err());
    }

    #[test]
    fn files_and_spellings_of_files_past_what_is_kept_make_room_for_each_other() {
        let directory = tempfile::tempdir().unwrap();
        write(&directory.path().join("groups"), b"staff: alice bob carol\n");
        let files = GroupFiles { members_max: 7, ..GroupFiles::default() };
        let root = |name: &[u8]| directory.path().join(str::from_utf8(name).unwrap());
        let kept = || {
            let files = files.files.read();
            files.values().filter(|file| file.last.lock().is_some()).count()
        };
        for (name, expected) in
            [(&b"groups"[..], 1), (b"./groups", 2), (b"././groups", 1), (b"groups", 2)]
        {
            let admission = files.admit(&required(&[name, b"staff"]), root, b"alice");
            assert!(admission.is_ok_and(|admission| admission == Admission::Admitted));
            assert_eq!(kept(), expected);
        }
    }

    #[test]
    fn a_turn_of_the_event_loop_looks_once() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("groups");
        write(&path, b"staff: alice\n");
        while Stamp::of(&std::fs::metadata(&path).unwrap()).rest_of_tick().is_some() {
            std::thread::yield_now();
        }
        let file = GroupFile::at(path.clone());
        let (turn, next) =
            (LoopTurn::Some(7.try_into().unwrap()), LoopTurn::Some(8.try_into().unwrap()));
        assert!(file.members_now(turn).is_none(), "nobody has read it");
        file.members().unwrap();
        assert!(file.members_now(turn).is_some());
        std::fs::remove_file(&path).unwrap();
        assert!(file.members_now(turn).is_some(), "the same turn");
        assert!(file.members_now(next).is_none());
        assert!(file.members_now(None).is_none());
    }

    #[test]
    fn what_may_be_written_again_within_the_tick_is_read_again() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("groups");
        let file = GroupFile::at(path.clone());
        for (text, expected) in [("staff: alice\n", true), ("staff: aline\n", false)] {
            std::fs::write(&path, text).unwrap();
            assert_eq!(file.members().unwrap().0.have(&[b"staff"], b"alice"), expected);
        }
    }

    #[test]
    fn a_million_members_are_found_without_a_search_through_them() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("groups");
        let mut file = File::create(&path).unwrap();
        let mut text = b"staff:".to_vec();
        (0..1_000_000).for_each(|number| text.extend(format!(" user{number}").bytes()));
        file.write_all(&text).unwrap();
        let begun = Instant::now();
        let members = Members::read(&path).unwrap();
        let read = begun.elapsed();
        let begun = Instant::now();
        for number in 0..1000 {
            let user = format!("user{}", number * 1000);
            assert!(members.have(&[b"staff"], user.as_bytes()));
            assert!(!members.have(&[b"staff"], b"user1000000"));
        }
        let each = begun.elapsed() / 2000;
        println!("read in {read:?}, {} bytes kept, {each:?} a look", members.sorted.len() * 16);
        // A search through them takes a hundred times as long.
        assert!(each < Duration::from_micros(20), "{each:?}");
    }

    #[test]
    fn what_is_no_regular_file_is_refused_at_once() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("groups");
        let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
        let fifo = rustix::fs::FileType::Fifo;
        rustix::fs::mknodat(rustix::fs::CWD, &path, fifo, mode, 0).unwrap();
        for (path, what) in [(&*path, "a FIFO"), (directory.path(), "a directory")] {
            let fault = Members::read(path).err().unwrap().to_string();
            assert!(fault.contains(&format!("it is {what}, not a regular file")), "{fault}");
        }
    }

    #[test]
    fn a_file_over_the_limit_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("groups");
        File::create(&path).unwrap().set_len(SIZE_MAX + 1).unwrap();
        let fault = Members::read(&path).err().unwrap().to_string();
        assert!(fault.contains("larger than 64 MiB"), "{fault}");
    }
}
