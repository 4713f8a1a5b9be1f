//! The changes that move bytes: giving every line a slot, adding a line.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::fs::{File, Metadata};
use std::io::{self, BufRead, BufReader, Seek, SeekFrom, Write};
use std::marker::PhantomData;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;

use jiff::tz::TimeZone;
use rustix::fs::{Gid, Mode, OFlags, Uid, XattrFlags};

use super::journal::{Journal, SlotWrite};
use super::leftovers;
use super::lock::Locked;
use super::pass::{Repeated, Seen};
use super::pragma::{self, Placed, Places};
use super::record::{Layout, RecordError};
use super::{line, record, slot};
use crate::files::access::LIST;
use crate::files::fault::Fault;
use crate::files::lines::{self, is_ignored};
use crate::files::open::SIZE_MAX;
use crate::files::stamp::Stamp;
use crate::token::{Computer, Session, State};

/// Lines for us alone that go or come along with new states.
#[derive(Default)]
pub struct LineChanges {
    /// Where they begin.
    pub removed: Vec<u64>,
    /// Without their ends.
    pub added: Vec<Vec<u8>>,
    /// Users' sessions for which there is no place.
    pub sessions: Homeless<Session>,
    /// Users' computers for which there is none.
    pub computers: Homeless<Computer>,
}

impl LineChanges {
    /// Whether no line goes or comes.
    pub fn is_empty(&self) -> bool {
        self.removed.is_empty()
            && self.added.is_empty()
            && self.sessions.of_users.is_empty()
            && self.computers.of_users.is_empty()
    }
}

/// What lines are to be made for.
pub struct Homeless<T> {
    of_users: HashMap<Vec<u8>, Vec<T>>,
    /// So many lines does every user get, if there is anything.
    lines: usize,
}

impl<T> Default for Homeless<T> {
    fn default() -> Homeless<T> {
        Homeless { of_users: HashMap::new(), lines: 0 }
    }
}

impl<T: Placed> Homeless<T> {
    pub(super) fn add(&mut self, user: &[u8], (kept, lines): (&[T], usize)) {
        self.of_users.insert(user.to_vec(), kept.to_vec());
        self.lines = self.lines.max(lines);
    }
}

/// Who gets lines with places in a rewrite: everybody at once, so that there is no other one for
/// the next user. Each behind the first line of theirs that can be read.
struct PlacesLines<'c> {
    /// Those of whom there are several lines.
    repeated: Repeated,
    /// Those of them who have had their turn.
    done: HashSet<u64>,
    sessions: LinesOfKind<'c, Session>,
    computers: LinesOfKind<'c, Computer>,
}

/// The same of one kind.
struct LinesOfKind<'c, T> {
    wanted: usize,
    /// Who has lines already.
    having: Repeated,
    homeless: HashMap<&'c [u8], &'c [T]>,
}

impl<'c, T: Placed> LinesOfKind<'c, T> {
    fn of(having: Seen, changes: &'c Homeless<T>) -> LinesOfKind<'c, T> {
        let homeless = changes.of_users.iter().map(|(user, kept)| (&user[..], &kept[..]));
        LinesOfKind {
            wanted: changes.lines,
            having: having.repeated(1),
            homeless: homeless.collect(),
        }
    }

    fn push(&mut self, out: &mut Vec<u8>, user: &[u8], ends_open: &mut bool) {
        let missing = self.wanted.saturating_sub(self.having.count_of(user) as usize);
        let homeless = self.homeless.remove(user).unwrap_or_default();
        let mut homeless = homeless.iter().copied();
        if missing > 0 && std::mem::take(ends_open) {
            out.push(b'\n');
        }
        for _ in 0..missing {
            let places: Places<T> = std::array::from_fn(|_| homeless.next());
            out.extend_from_slice(&pragma::places_line(user, &places));
            out.push(b'\n');
        }
    }
}

impl<'c> PlacesLines<'c> {
    /// Goes through the file once: eight bytes a line are all that is kept of it.
    fn of(users: &File, changes: &'c LineChanges) -> io::Result<PlacesLines<'c>> {
        let (mut tokens, mut sessions, mut computers) =
            (Seen::default(), Seen::default(), Seen::default());
        lines::for_each_line(users, |_, line| {
            if let Some(user) = line::user_of(line) {
                tokens.note(user);
            } else if let Some((user, _)) = Session::of_line(line) {
                sessions.note(&user[..]);
            } else if let Some((user, _)) = Computer::of_line(line) {
                computers.note(&user[..]);
            }
        })?;
        Ok(PlacesLines {
            repeated: tokens.repeated(2),
            done: HashSet::new(),
            sessions: LinesOfKind::of(sessions, &changes.sessions),
            computers: LinesOfKind::of(computers, &changes.computers),
        })
    }

    /// Puts a user's behind a line of theirs, if it is the first.
    fn push(&mut self, out: &mut Vec<u8>, user: &[u8], ends_open: &mut bool) {
        let is_awaited =
            self.sessions.homeless.contains_key(user) || self.computers.homeless.contains_key(user);
        let is_new = self.repeated.hash_of(user).is_none_or(|hash| self.done.insert(hash));
        // Names that only hash alike are no reason to lose one of these.
        if is_new || is_awaited {
            self.sessions.push(out, user, ends_open);
            self.computers.push(out, user, ends_open);
        }
    }
}

/// Rewrites the file with every readable line's state in a slot. `new_state` gives the state of
/// lines that change with it, by offset; `places` says what becomes of lines with places. When this
/// returns, no crash can undo it.
pub fn give_slots(
    locked: &Locked,
    journal: &mut Journal<'_>,
    zone: &TimeZone,
    new_state: impl Fn(u64) -> Option<State>,
    places: &[SlotWrite],
    lines: &LineChanges,
) -> Result<(), Fault> {
    let path = &locked.paths.resolved;
    let before = inspect(&locked.users, path)?;
    let write = |out: &mut dyn Write| {
        write_with_slots(&locked.users, &before, zone, (&new_state, places, lines), out)
            .map_err(|error| Fault::new("rewrite", path, error))
    };
    if replace(locked, journal, &before, write)? {
        return Ok(());
    }
    let mut image = Vec::with_capacity(before.size() as usize + slot::LEN);
    write(&mut image)?;
    journal.write_image(image.into())
}

/// So much is read or written at a time: the file may be larger than what memory we want to take.
const PIECE: usize = 1 << 20;

fn write_with_slots(
    users: &File,
    before: &Metadata,
    zone: &TimeZone,
    (new_state, places, lines): (&impl Fn(u64) -> Option<State>, &[SlotWrite], &LineChanges),
    out: &mut dyn Write,
) -> io::Result<()> {
    let is_homeless = !lines.sessions.of_users.is_empty() || !lines.computers.of_users.is_empty();
    let mut places_lines = if is_homeless { Some(PlacesLines::of(users, lines)?) } else { None };
    let mut reader = BufReader::with_capacity(PIECE, users);
    reader.seek(SeekFrom::Start(0))?;
    let mut offset = 0;
    let mut line = Vec::new();
    let mut piece = Vec::with_capacity(2 * PIECE);
    let (mut ends_open, mut written) = (false, 0);
    while reader.read_until(b'\n', &mut line)? > 0 {
        let (text, end) = match line.split_last() {
            Some((b'\n', text)) => (text, &line[text.len()..]),
            _ => (&line[..], &b""[..]),
        };
        let mut user = None;
        match record::parse_one_of_many(text, zone) {
            _ if lines.removed.contains(&offset) => {
                offset += line.len() as u64;
                line.clear();
                continue;
            }
            Ok(record) if !is_ignored(text) => {
                let layout = &record.layout;
                user = Some(&text[layout.head[1].clone()]);
                let new = new_state(offset);
                match layout.slot {
                    // Padding is part of a slot: whoever has one keeps every byte around it.
                    Some(_) if new.is_none() => piece.extend_from_slice(text),
                    _ => {
                        let state = new.unwrap_or(record.state);
                        push_with_state(&mut piece, text, layout, &state, zone);
                    }
                }
            }
            _ => {
                let start = piece.len();
                piece.extend_from_slice(text);
                if let Some(write) = places.iter().find(|write| write.line == offset) {
                    let at = start + (write.slot - write.line) as usize;
                    piece[at..at + slot::LEN].copy_from_slice(&write.after);
                }
            }
        }
        piece.extend_from_slice(end);
        ends_open = end.is_empty();
        if let Some((places_lines, user)) = places_lines.as_mut().zip(user) {
            places_lines.push(&mut piece, user, &mut ends_open);
        }
        if piece.len() >= PIECE {
            written += piece.len() as u64;
            can_be_read(written)?;
            out.write_all(&piece)?;
            piece.clear();
        }
        offset += line.len() as u64;
        line.clear();
    }
    for added in &lines.added {
        // Editors leave a last line without an end; ours must not become a part of it.
        if ends_open {
            piece.push(b'\n');
            ends_open = false;
        }
        piece.extend_from_slice(added);
        piece.push(b'\n');
    }
    can_be_read(written + piece.len() as u64)?;
    out.write_all(&piece)?;
    is_as_before(users, before, offset)
}

/// Whether a users file of that size would be one for its readers.
fn can_be_read(size: u64) -> io::Result<()> {
    if size > SIZE_MAX {
        return Err(io::Error::other("it would become larger than 4 GiB, which nobody could read"));
    }
    Ok(())
}

/// A line with another state, in a slot. Fields 1 to 4 and whatever follows the state stay byte for
/// byte.
pub fn with_state(text: &[u8], layout: &Layout, state: &State, zone: &TimeZone) -> Vec<u8> {
    let mut line = Vec::with_capacity(text.len() + slot::LEN + 1);
    push_with_state(&mut line, text, layout, state, zone);
    line
}

fn push_with_state(
    out: &mut Vec<u8>,
    text: &[u8],
    layout: &Layout,
    state: &State,
    zone: &TimeZone,
) {
    let slot = slot::write(layout.head.clone().map(|word| &text[word]), state, zone);
    let end = layout.slot.map_or(layout.state.end, |at| at + slot::LEN);
    slot::insert_into(out, text, layout.head[3].end, end, &slot);
}

/// Why four fields make no line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeadError {
    /// They say something that can't be read.
    Unreadable(RecordError),
    /// One of them is no word, or they make a comment.
    Blank,
}

impl fmt::Display for HeadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            HeadError::Unreadable(error) => error.fmt(f),
            HeadError::Blank => f.write_str("a field contains a blank or a line end"),
        }
    }
}

impl std::error::Error for HeadError {}

/// Whether `text`, which has fields 1 to 4 from `head`, is a line.
pub(super) fn check_head(text: &[u8], head: [&[u8]; 4]) -> Result<(), HeadError> {
    let is_word = |field: &[u8]| {
        !field.is_empty() && !field.iter().any(|&b| lines::is_blank(b) || b == b'\n')
    };
    if !head.into_iter().all(is_word) || is_ignored(text) {
        return Err(HeadError::Blank);
    }
    // The zone of the time field has no part in it.
    record::parse(text, &TimeZone::UTC).map(|_| ()).map_err(HeadError::Unreadable)
}

/// A line to be added.
pub struct NewLine<'a> {
    /// Fields 1 to 4.
    pub head: [&'a [u8]; 4],
    /// How far the token has come.
    pub state: State,
}

/// Adds lines for new tokens, in their slots from the start. When this returns, no crash can undo
/// it; a crash before leaves the file as it was, never with a part of them: a key cut short would
/// still be a key.
pub fn extend(
    locked: &Locked,
    journal: &mut Journal<'_>,
    zone: &TimeZone,
    lines: &[NewLine<'_>],
) -> Result<(), Fault> {
    let path = &locked.paths.resolved;
    let before = inspect(&locked.users, path)?;
    let added =
        lines.iter().map(|line| line.head.map(|field| field.len() + 1).iter().sum::<usize>());
    let mut image = Vec::with_capacity(
        before.size() as usize + 1 + added.sum::<usize>() + lines.len() * (slot::LEN + 1),
    );
    image.append(
        &mut read_whole(&locked.users, &before).map_err(|error| Fault::new("read", path, error))?,
    );
    push_lines(&mut image, path, zone, lines)?;
    install(locked, journal, &before, image)
}

/// Puts new lines behind a content.
pub(super) fn push_lines(
    image: &mut Vec<u8>,
    path: &Path,
    zone: &TimeZone,
    lines: &[NewLine<'_>],
) -> Result<(), Fault> {
    // Editors leave a last line without an end; ours must not become a part of it.
    if image.last().is_some_and(|&last| last != b'\n') {
        image.push(b'\n');
    }
    let mut sessions = Room::<Session>::in_content(image, lines);
    let mut computers = Room::<Computer>::in_content(image, lines);
    for NewLine { head, state } in lines {
        let start = image.len();
        for field in head {
            image.extend_from_slice(field);
            image.push(b' ');
        }
        check_head(&image[start..image.len() - 1], *head).map_err(|reason| {
            Fault::of("add a line to", path, &reason.to_string(), "correct the token")
        })?;
        image.extend_from_slice(&slot::write(*head, state, zone));
        image.push(b'\n');
        let [_, user, ..] = *head;
        sessions.push(image, user);
        computers.push(image, user);
    }
    Ok(())
}

/// Where users have lines with places, new ones get theirs at once: else the first session or
/// computer of each would have the file rewritten.
struct Room<'a, T> {
    /// How many somebody has.
    lines: usize,
    /// Those of the new ones who have theirs.
    having: HashSet<&'a [u8]>,
    kind: PhantomData<T>,
}

impl<'a, T: Placed> Room<'a, T> {
    fn in_content(content: &[u8], new: &[NewLine<'a>]) -> Room<'a, T> {
        let new: HashSet<&[u8]> = new.iter().map(|line| line.head[1]).collect();
        let mut room = Room { lines: 0, having: HashSet::new(), kind: PhantomData };
        let (mut last, mut in_turn) = (Vec::new(), 0);
        for line in content.split(|&b| b == b'\n') {
            let Some((user, _)) = T::of_line(line) else { continue };
            in_turn = if user == last { in_turn + 1 } else { 1 };
            room.lines = room.lines.max(in_turn).min(T::LINES_MAX);
            if let Some(&user) = new.get(&user[..]) {
                room.having.insert(user);
            }
            last = user;
        }
        room
    }

    fn push(&mut self, image: &mut Vec<u8>, user: &'a [u8]) {
        if self.having.insert(user) {
            for _ in 0..self.lines {
                image.extend_from_slice(&pragma::places_line::<T>(user, &Places::default()));
                image.push(b'\n');
            }
        }
    }
}

/// Makes `image` the whole content, durably, in a new file where one can take the old one's place.
pub(super) fn install(
    locked: &Locked,
    journal: &mut Journal<'_>,
    before: &Metadata,
    image: Vec<u8>,
) -> Result<(), Fault> {
    let path = &locked.paths.resolved;
    let write = |out: &mut dyn Write| {
        out.write_all(&image).map_err(|error| Fault::new("write the new image of", path, error))
    };
    can_be_read(image.len() as u64).map_err(|error| Fault::new("rewrite", path, error))?;
    if replace(locked, journal, before, write)? {
        return Ok(());
    }
    journal.write_image(image.into())
}

/// The whole content, or an error if the file was something else before or after.
pub(super) fn read_whole(file: &File, before: &Metadata) -> io::Result<Vec<u8>> {
    let mut content = vec![0; before.size() as usize];
    file.read_exact_at(&mut content, 0)?;
    is_as_before(file, before, before.size())?;
    Ok(content)
}

/// What was read is the whole of one state of the file.
fn is_as_before(file: &File, before: &Metadata, read: u64) -> io::Result<()> {
    if read != before.size() || Stamp::of(&file.metadata()?) != Stamp::of(before) {
        return Err(io::Error::other("it was changed without its lock while it was read"));
    }
    Ok(())
}

/// Puts a new file in the old one's place, with the same owner, mode and attributes. False: that
/// can't be done here (no permission, another file system mounted on the name), and nothing has
/// changed.
fn replace(
    locked: &Locked,
    journal: &mut Journal<'_>,
    before: &Metadata,
    write: impl FnOnce(&mut dyn Write) -> Result<(), Fault>,
) -> Result<bool, Fault> {
    let path = &locked.paths.resolved;
    let temporary = leftovers::new_version_of(path);
    // Left behind by a crash of a process with our number; the lock says that nobody else is at it.
    let _ = rustix::fs::unlink(&temporary);
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let Ok(file) = rustix::fs::open(&temporary, flags, Mode::RUSR | Mode::WUSR) else {
        return Ok(false);
    };
    let file = File::from(file);
    let done = if takes_after(&file, &locked.users, before) {
        let rename =
            || rustix::fs::renameat(rustix::fs::CWD, &temporary, rustix::fs::CWD, path).is_ok();
        journal.replace_users(&file, write, rename)
    } else {
        Ok(false)
    };
    if !matches!(done, Ok(true)) {
        let _ = rustix::fs::unlink(&temporary);
    }
    done
}

/// Gives `file` owner, mode and extended attributes (ACL, SELinux label) of the old one; whether it
/// now has them.
fn takes_after(file: &File, old: &File, before: &Metadata) -> bool {
    let (uid, gid) = (before.uid(), before.gid());
    let Ok(now) = file.metadata() else { return false };
    if (now.uid(), now.gid()) != (uid, gid)
        && rustix::fs::fchown(file, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid))).is_err()
    {
        return false;
    }
    let Ok(attributes) = attributes(old) else { return false };
    if !attributes.iter().any(|(name, _)| name == LIST.as_bytes()) {
        // From the directory's default list.
        let _ = rustix::fs::fremovexattr(file, LIST);
    }
    for (name, value) in &attributes {
        if rustix::fs::fsetxattr(file, name, value, XattrFlags::empty()).is_err() {
            return false;
        }
    }
    // After the ACL, whose mask would show in the mode.
    if rustix::fs::fchmod(file, Mode::from_raw_mode(before.mode() & 0o7777)).is_err() {
        return false;
    }
    let same_attributes = self::attributes(file).is_ok_and(|new| new == attributes);
    file.metadata().is_ok_and(|new| {
        (new.uid(), new.gid(), new.mode()) == (uid, gid, before.mode()) && same_attributes
    })
}

/// Names and values of the extended attributes, sorted.
fn attributes(file: &File) -> rustix::io::Result<Vec<(Vec<u8>, Vec<u8>)>> {
    let mut names = vec![0; 64 * 1024];
    let len = match rustix::fs::flistxattr(file, &mut names[..]) {
        Ok(len) => len,
        Err(rustix::io::Errno::OPNOTSUPP) => 0,
        Err(error) => return Err(error),
    };
    let mut attributes = Vec::new();
    for name in names[..len].split(|&b| b == 0).filter(|name| !name.is_empty()) {
        let mut value = vec![0; 64 * 1024];
        let len = rustix::fs::fgetxattr(file, name, &mut value[..])?;
        attributes.push((name.to_vec(), value[..len].to_vec()));
    }
    attributes.sort();
    Ok(attributes)
}

pub(super) fn inspect(file: &File, path: &Path) -> Result<Metadata, Fault> {
    file.metadata().map_err(|error| Fault::new("inspect", path, error))
}

/// Number of the line that begins at an offset, from 1.
pub fn line_number(file: &File, offset: u64) -> u64 {
    let mut number = 1;
    let counted = lines::for_each_line(file, |at, _| {
        if at < offset {
            number += 1;
        }
    });
    if counted.is_ok() { number } else { 0 }
}
