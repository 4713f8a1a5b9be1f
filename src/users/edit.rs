//! What people change: fields 1 to 4, lines, the whole content. Logins change state alone, through
//! [`super::file`].

use std::collections::HashMap;
use std::fs::File;
use std::path::Path;

use jiff::tz::TimeZone;
use zeroize::Zeroizing;

use super::file::Spot;
use super::journal::{self, Journal};
use super::leftovers;
use super::lock::{Locked, Paths};
use super::mistakes::BYTE_ORDER_MARK;
use super::pragma::{self, Pragma, PragmaError};
use super::record::{self, Record, RecordError};
use super::rewrite::{self, HeadError, NewLine};
use super::slot::Extension;
use super::{file, line};
use crate::files::fault::Fault;
use crate::files::lines;
use crate::files::named;
use crate::files::open::{Link, To, open};
use crate::files::stamp::Stamp;
use crate::policy::{Limits, Server, Settings};
use crate::token::{State, StoredToken, TokenTag};
use crate::{UnixTime, decide};

/// So often is a file read that changes meanwhile, before its lock is taken for it.
const READ_TRIES: u32 = 5;

/// All bytes of a users file.
#[derive(Clone, PartialEq, Eq)]
pub struct Content(Zeroizing<Vec<u8>>);

/// One line of it.
#[derive(Clone, Copy)]
pub struct ContentLine<'a> {
    /// From 1.
    pub number: u64,
    /// Where it begins.
    pub(super) offset: u64,
    /// Without its end.
    pub text: &'a [u8],
    end: &'a [u8],
}

/// What becomes of a line.
pub enum LineChange {
    /// It goes, with its end.
    Remove,
    /// Another text, without line end; the end stays.
    Replace(Zeroizing<Vec<u8>>),
}

impl Content {
    /// From bytes that are to become a users file.
    pub fn new(bytes: Vec<u8>) -> Content {
        Content(Zeroizing::new(bytes))
    }

    /// The bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// The lines, comments and blank ones included.
    pub fn lines(&self) -> impl Iterator<Item = ContentLine<'_>> {
        let mut offset = 0;
        (1..).map_while(move |number| {
            let rest = &self.0[offset..];
            let len = memchr::memchr(b'\n', rest).unwrap_or(rest.len());
            let (text, rest) = rest.split_at(len);
            let line = ContentLine {
                number,
                offset: offset as u64,
                text,
                end: &rest[..rest.len().min(1)],
            };
            offset += text.len() + line.end.len();
            (!text.is_empty() || !line.end.is_empty()).then_some(line)
        })
    }

    /// The lines that name a user, in the order of the file, those that can't be read included.
    pub fn lines_of<'a>(&'a self, user: &'a [u8]) -> impl Iterator<Item = ContentLine<'a>> {
        self.lines().filter(move |line| line.user() == Some(user))
    }

    /// What it demands of all logins; else the number of a line at fault.
    pub fn limits(&self) -> Result<Limits, (u64, PragmaError)> {
        self.lines().try_fold(Limits::default(), |limits, line| {
            pragma::limits_with(limits, line.text).map_err(|error| (line.number, error))
        })
    }

    /// Without sessions and computers of tokens that aren't there, or not with these fields 1 to 4:
    /// they aren't to come back with them.
    pub fn without_places_of_former_tokens(&self) -> Content {
        let mut tags: HashMap<Vec<u8>, Vec<TokenTag>> = HashMap::new();
        for line in self.lines() {
            if let Some(Ok(Pragma::Session(user, _) | Pragma::Computer(user, _))) =
                pragma::parse(line.text)
                && !pragma::is_room(line.text)
            {
                tags.entry(user).or_default();
            }
        }
        if tags.is_empty() {
            return self.clone();
        }
        for line in self.lines() {
            let tags = line.user().and_then(|user| tags.get_mut(user));
            if let Some((tags, print)) = tags.zip(record::fingerprint_of_line(line.text)) {
                tags.push(TokenTag::of(&print));
            }
        }
        self.with(|line| {
            let tags = tags.get(&line.pragma_user()?)?;
            let text = pragma::without_tokens(line.text, |token| !tags.contains(&token))?;
            Some(LineChange::Replace(Zeroizing::new(text)))
        })
    }

    /// With new lines at its end: tokens, then lines for us alone.
    pub(super) fn extended(
        mut self,
        path: &Path,
        zone: &TimeZone,
        lines: &[NewLine<'_>],
        pragmas: &[String],
    ) -> Result<Content, Fault> {
        rewrite::push_lines(&mut self.0, path, zone, lines)?;
        for pragma in pragmas {
            self.0.extend_from_slice(pragma.as_bytes());
            self.0.push(b'\n');
        }
        Ok(self)
    }

    /// The same with some of its lines changed; `None` leaves a line as it is, byte for byte.
    pub fn with(&self, mut change: impl FnMut(&ContentLine<'_>) -> Option<LineChange>) -> Content {
        let mut bytes = Zeroizing::new(Vec::with_capacity(self.0.len() + line::LINE_MAX));
        for line in self.lines() {
            match change(&line) {
                None => bytes.extend_from_slice(line.text),
                Some(LineChange::Replace(text)) => bytes.extend_from_slice(&text),
                Some(LineChange::Remove) => continue,
            }
            bytes.extend_from_slice(line.end);
        }
        Content(bytes)
    }
}

impl<'a> ContentLine<'a> {
    /// One that was read by itself.
    pub(super) fn at(number: u64, offset: u64, text: &'a [u8]) -> ContentLine<'a> {
        ContentLine { number, offset, text, end: b"" }
    }

    /// Whom it is about, even if the rest of it can't be read.
    pub fn user(&self) -> Option<&'a [u8]> {
        line::user_of(self.text)
    }

    /// Whom it is about, if it is one of the lines for us alone.
    pub fn pragma_user(&self) -> Option<Vec<u8>> {
        pragma::user_of(self.text)
    }

    /// What it says; `None` for blank lines and comments.
    pub fn record(&self, zone: &TimeZone) -> Option<Result<Record, RecordError>> {
        (!lines::is_ignored(self.text)).then(|| record::parse(self.text, zone))
    }
}

/// Opens a users file to read it.
pub fn open_users(configured: &Path) -> Result<File, Fault> {
    named::look(configured)?;
    open(configured, To::Read, Link::Follow).map_err(|refusal| refusal.into_fault(configured))
}

/// The content at one moment, without the lock if nobody is writing. What was cut short is finished
/// first.
pub fn snapshot(configured: &Path) -> Result<Content, Fault> {
    let journal = Paths::resolve(configured)?.journal();
    let is_rewriting =
        || open(&journal, To::Read, Link::Refuse).is_ok_and(|it| journal::is_rewriting(&it));
    if !is_rewriting()
        && let Some(content) = read_standing(configured)?
    {
        return Ok(content);
    }
    let locked = Locked::acquire(configured)?;
    Journal::open(&locked, &mut None)?;
    read(&locked)
}

/// `None`: it doesn't stand still.
fn read_standing(configured: &Path) -> Result<Option<Content>, Fault> {
    for _ in 0..READ_TRIES {
        let file = open_users(configured)?;
        let before = rewrite::inspect(&file, configured)?;
        if let Ok(bytes) = rewrite::read_whole(&file, &before) {
            return Ok(Some(Content::new(bytes)));
        }
    }
    Ok(None)
}

/// Runs `work` on the content, alone among all who use the lock; what it returns becomes the
/// content, durably: when this returns, no crash can undo it, and a crash before leaves the file as
/// it was. With `None` nothing changes.
pub fn change<E: From<Fault>>(
    configured: &Path,
    work: impl FnOnce(&Content) -> Result<Option<Content>, E>,
) -> Result<(), E> {
    step(configured, |content| Ok(work(content)?.map(ToWrite::Content)))
}

/// What a step writes.
pub(super) enum ToWrite {
    /// Another content.
    Content(Content),
    /// The same, but for the states of these lines.
    States(Vec<(Spot, State)>),
}

/// The same as [`change`], for whoever may change no more than states.
pub(super) fn step<E: From<Fault>>(
    configured: &Path,
    work: impl FnOnce(&Content) -> Result<Option<ToWrite>, E>,
) -> Result<(), E> {
    let locked = Locked::acquire(configured)?;
    let mut journal = Journal::open(&locked, &mut None)?;
    step_under(&locked, &mut journal, work).map(drop)
}

/// The same for somebody who holds the lock. Whether anything has changed.
pub(super) fn step_under<E: From<Fault>>(
    locked: &Locked,
    journal: &mut Journal<'_>,
    work: impl FnOnce(&Content) -> Result<Option<ToWrite>, E>,
) -> Result<bool, E> {
    let before = rewrite::inspect(&locked.users, &locked.paths.resolved)?;
    let old = read(locked)?;
    let Some(new) = work(&old)? else { return Ok(false) };
    if matches!(&new, ToWrite::Content(new) if *new == old) {
        return Ok(false);
    }
    // Read and replaced under the same stamp: who writes without the lock isn't overwritten unseen.
    let now = rewrite::inspect(&locked.users, &locked.paths.resolved)?;
    if Stamp::of(&now) != Stamp::of(&before) {
        return Err(Fault::of(
            "change",
            &locked.paths.resolved,
            "it was changed meanwhile without its lock",
            "try again, and find the program that doesn't lock",
        )
        .into());
    }
    match new {
        ToWrite::Content(mut new) => {
            rewrite::install(locked, journal, &before, std::mem::take(&mut *new.0))?;
        }
        ToWrite::States(states) => {
            drop(old);
            let lines = rewrite::LineChanges::default();
            file::commit(locked, journal, (states, Vec::new()), lines, &TimeZone::system())?;
        }
    }
    Ok(true)
}

fn read(locked: &Locked) -> Result<Content, Fault> {
    let path = &locked.paths.resolved;
    let before = rewrite::inspect(&locked.users, path)?;
    let bytes = rewrite::read_whole(&locked.users, &before);
    bytes.map(Content::new).map_err(|error| Fault::new("read", path, error))
}

/// What [`tidy`] has done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tidied {
    /// A rewrite that was cut short is finished.
    pub is_recovered: bool,
    /// PINs and keys are gone from the journal.
    pub is_wiped: bool,
    /// Files of killed processes that are gone.
    pub removed: Vec<std::path::PathBuf>,
}

/// Finishes what a crash has left, wipes the journal and removes what killed processes have left
/// beside the file.
pub fn tidy(configured: &Path) -> Result<Tidied, Fault> {
    let locked = Locked::acquire(configured)?;
    let path = locked.paths.journal();
    let seen =
        open(&path, To::Read, Link::Refuse).ok().and_then(|file| journal::inspect(&file).ok());
    let seen = seen.unwrap_or_default();
    let mut removed = leftovers::find(&locked.paths);
    let mut journal = Journal::open(&locked, &mut None)?;
    if seen.has_remains {
        journal.empty()?;
    }
    leftovers::remove(&locked.paths, &locked.access);
    removed.retain(|path| path.symlink_metadata().is_err());
    Ok(Tidied { is_recovered: seen.is_pending, is_wiped: seen.has_remains, removed })
}

/// How many lines [`mend`] has changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mended {
    /// That had no slot.
    pub slots: u64,
    /// Whose checksum was wrong.
    pub sums: u64,
    /// The byte order mark before the first is gone.
    pub is_mark_removed: bool,
}

/// Takes out a byte order mark, and gives a slot and a right checksum to every readable line that
/// lacks one. What only the visible fields say is made exact as logins do it, so that no code
/// becomes good again by it.
pub fn mend(configured: &Path, now: UnixTime) -> Result<Mended, Fault> {
    let (zone, policy) = (TimeZone::system(), Settings::default().policy(Server::Apache));
    let mut mended = Mended::default();
    change(configured, |content| {
        Ok::<_, Fault>(Some(content.with(|line| {
            let marked =
                (line.number == 1).then(|| line.text.strip_prefix(BYTE_ORDER_MARK)).flatten();
            mended.is_mark_removed |= marked.is_some();
            let line = ContentLine { text: marked.unwrap_or(line.text), ..*line };
            let unchanged =
                || marked.map(|text| LineChange::Replace(Zeroizing::new(text.to_vec())));
            if let Some(Ok(Pragma::Session(user, None) | Pragma::Computer(user, None))) =
                pragma::parse(line.text)
            {
                mended.sums += 1;
                let empty = pragma::emptied(line.text, &user)?;
                return Some(LineChange::Replace(Zeroizing::new(empty)));
            }
            let Some(Ok(Record { token, state, layout })) = line.record(&zone) else {
                return unchanged();
            };
            match layout.slot {
                Some(_) if state.intact => return unchanged(),
                Some(_) => mended.sums += 1,
                None => mended.slots += 1,
            }
            let state = if state.intact {
                state
            } else {
                decide::exact_state(&policy, &StoredToken { token, state }, now)
            };
            let text = rewrite::with_state(line.text, &layout, &state, &zone);
            Some(LineChange::Replace(Zeroizing::new(text)))
        })))
    })?;
    Ok(mended)
}

/// A line with other fields 1 to 4. Everything else stays byte for byte, but for the checksum, if
/// it was right.
pub fn with_head(text: &[u8], head: [&[u8]; 4]) -> Result<Zeroizing<Vec<u8>>, HeadError> {
    let was_intact = record::parse(text, &TimeZone::UTC).is_ok_and(|record| record.state.intact);
    let mut new = Zeroizing::new(Vec::with_capacity(
        text.len() + head.iter().map(|field| field.len()).sum::<usize>(),
    ));
    let mut at = 0;
    for (word, field) in line::words(text).zip(head) {
        new.extend_from_slice(&text[at..word.start]);
        new.extend_from_slice(field);
        at = word.end;
    }
    new.extend_from_slice(&text[at..]);
    if was_intact {
        let words: Vec<_> = line::words(&new).take(10).collect();
        if let [fields @ .., extension] = &words[..] {
            let fields: Vec<&[u8]> = fields.iter().map(|word| &new[word.clone()]).collect();
            if let Ok(fields) = fields.try_into()
                && let Some(sealed) = Extension::resealed(&new[extension.clone()], fields)
            {
                new.splice(extension.clone(), sealed);
            }
        }
    }
    rewrite::check_head(&new, head)?;
    Ok(new)
}

/// Fields 1 to 4 as written; `None` if there are fewer.
pub fn head_of(text: &[u8]) -> Option<[&[u8]; 4]> {
    let mut words = line::words(text).map(|word| &text[word]);
    Some([words.next()?, words.next()?, words.next()?, words.next()?])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::token::{Address, CounterField, ReplayFloor, Used};
    use crate::users::slot;

    const HEAD: [&[u8]; 4] = [b"HOTP/E/6", b"alice", b"1234", b"00ff"];

    fn used() -> State {
        State {
            counter: CounterField::from_written(7),
            failures: 2,
            last_otp: crate::otp::Code::new(b"123456"),
            used: Used::At { first: 1_700_000_000, last: 1_700_000_060 },
            address: Address::of_client(Some("192.0.2.7".parse().unwrap())),
            replay_floor: Some(ReplayFloor::from_written(6)),
            last_failure: Some(1_700_000_100),
            intact: true,
        }
    }

    fn in_slot() -> Vec<u8> {
        let mut line = HEAD.join(&b' ');
        line.push(b' ');
        line.extend(slot::write(HEAD, &used(), &TimeZone::UTC));
        line.extend(b" # tail\r");
        line
    }

    #[test]
    fn another_head_keeps_an_exact_state_exact_and_the_rest_as_it_is() {
        let new = with_head(&in_slot(), [b"OFF:HOTP/E/6", b"bob", b"-", b"00ff"]).unwrap();
        assert_eq!(record::parse(&new, &TimeZone::UTC).unwrap().state, used());
        assert!(new.ends_with(b" # tail\r"));
        assert_eq!(with_head(&new, HEAD).unwrap()[..], in_slot()[..], "and back");
    }

    #[test]
    fn a_wrong_checksum_isnt_made_right_by_the_way() {
        let text = String::from_utf8(in_slot()).unwrap().replace(" 7  ", " 8  ");
        let new = with_head(text.as_bytes(), [b"HOTP/E/6", b"alice", b"-", b"00ff"]).unwrap();
        assert!(!record::parse(&new, &TimeZone::UTC).unwrap().state.intact);
        assert_eq!(new[..], text.replace(" 1234 ", " - ").as_bytes()[..]);
    }

    #[test]
    fn odd_spacing_stays() {
        let new =
            with_head(b"  HOTP\talice   1234 \x0b00ff 7 2", [b"HOTP", b"alice", b"-", b"00ff"])
                .unwrap();
        assert_eq!(new[..], b"  HOTP\talice   - \x0b00ff 7 2"[..]);
    }

    #[test]
    fn fields_that_make_no_line_are_refused() {
        let with = |head| with_head(&in_slot(), head).unwrap_err().to_string();
        assert_eq!(with([b"HOTP", b"a b", b"-", b"00"]), "a field contains a blank or a line end");
        assert_eq!(with([b"HOTP", b"a\nb", b"-", b"00"]), "a field contains a blank or a line end");
        assert_eq!(with([b"#", b"a", b"-", b"00"]), "a field contains a blank or a line end");
        assert_eq!(with([b"HOTP/X", b"a", b"-", b"00"]), RecordError::Type.to_string());
        assert_eq!(with([b"HOTP", b"a", b"-", b"0"]), RecordError::Key.to_string());
        assert_eq!(with([b"HOTP", b"a", b"", b"00"]), "a field contains a blank or a line end");
    }

    #[test]
    fn lines_change_and_go_and_all_others_stay() {
        let content = Content::new(b"# a\r\n\nHOTP bob - 00\nbroken bob\nHOTP carol - 11".to_vec());
        let numbers =
            |user: &[u8]| content.lines_of(user).map(|line| line.number).collect::<Vec<_>>();
        assert_eq!(numbers(b"bob"), [3, 4]);
        assert_eq!(numbers(b"carol"), [5]);
        let new = content.with(|line| match line.number {
            3 => Some(LineChange::Remove),
            5 => Some(LineChange::Replace(Zeroizing::new(b"x".to_vec()))),
            _ => None,
        });
        assert_eq!(new.bytes(), b"# a\r\n\nbroken bob\nx");
        assert!(content.with(|_| None) == content);
    }

    #[test]
    fn what_is_refused_or_the_same_leaves_the_file_alone() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("users");
        std::fs::write(&path, "HOTP bob - 00\n").unwrap();
        let inode = || std::os::unix::fs::MetadataExt::ino(&std::fs::metadata(&path).unwrap());
        let before = inode();
        change(&path, |old| Ok::<_, Fault>(Some(old.clone()))).unwrap();
        change(&path, |_| Ok::<_, Fault>(None)).unwrap();
        change(&path, |_| Err(Fault::of("try", &path, "no", "don't"))).unwrap_err();
        assert_eq!((inode(), std::fs::read(&path).unwrap()), (before, b"HOTP bob - 00\n".to_vec()));
        change(&path, |_| Ok::<_, Fault>(Some(Content::new(b"#\n".to_vec())))).unwrap();
        assert!(snapshot(&path).unwrap().bytes() == b"#\n");
    }
}
