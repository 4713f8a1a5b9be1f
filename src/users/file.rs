//! The users file as a store: look-ups without a lock, changes under it.

use std::collections::HashMap;
use std::fs::File;
use std::num::NonZeroU64;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use jiff::tz::TimeZone;
use parking_lot::{Mutex, RwLock};

use super::fault::Fault;
use super::index::{self, Index};
use super::journal::{Header, Journal, JournalId, SlotWrite, Stamp, read_as_far_as_possible};
use super::lock::{Locked, Paths};
use super::record::{self, Layout, RecordError};
use super::{line, rewrite, slot};
use crate::gate::{Found, Moment, Store, Transaction, UnreadableLine};
use crate::token::{Entry, Line, State};

/// A change without the lock may go unseen if it falls into the same tick of the file system's clock as the
/// look at the file; the coarsest clock in use ticks every 10 ms.
const CLOCK_TICK: Duration = Duration::from_millis(20);
/// A writer updates the file and then the header; in between they don't match.
const HEADER_TRIES: u32 = 20;
const REBUILD_TRIES: u32 = 5;

/// One users file, as one configuration of one process sees it.
pub struct UsersFile {
    configured: PathBuf,
    view: RwLock<Option<View>>,
    recovered: Mutex<Option<JournalId>>,
    /// The last moment in which the view was found to be up to date.
    looked: AtomicU64,
}

/// What is known about the file.
struct View {
    file: File,
    journal: Option<File>,
    stamp: Stamp,
    epoch: Option<u64>,
    /// The last change was somebody else's and so recent that another could hide behind the same stamp.
    is_unsettled: bool,
    index: Index,
    /// Users read since the file last changed, whose lines are whole.
    records: Mutex<HashMap<Vec<u8>, Arc<Found>>>,
}

/// More users than this at once, and the memory of them starts anew.
const RECORDS_MAX: usize = 1024;

impl UsersFile {
    /// A users file at a path of the configuration. Nothing is opened yet.
    pub fn new(configured: &Path) -> UsersFile {
        UsersFile {
            configured: configured.to_owned(),
            view: RwLock::new(None),
            recovered: Mutex::new(None),
            looked: AtomicU64::new(0),
        }
    }

    /// The path of the configuration.
    pub fn path(&self) -> &Path {
        &self.configured
    }

    fn stat(&self) -> Result<Stamp, Fault> {
        std::fs::metadata(&self.configured)
            .map(|metadata| Stamp::of(&metadata))
            .map_err(|error| Fault::new("find", &self.configured, error))
    }

    /// Runs `look` on a view that is up to date.
    fn with_view<R>(&self, look: impl Fn(&View) -> Result<R, Fault>) -> Result<R, Fault> {
        let stamp = self.stat()?;
        if let Some(view) = &*self.view.read()
            && view.stamp == stamp
            && !view.is_unsettled
        {
            return look(view);
        }
        let mut view = self.view.write();
        self.refresh(&mut view)?;
        look(view.as_ref().expect("refresh leaves a view"))
    }

    /// Brings the view up to date: by the header if all changes were slot writes, else by reading the file.
    fn refresh(&self, view: &mut Option<View>) -> Result<(), Fault> {
        if let Some(view) = view {
            for _ in 0..HEADER_TRIES {
                let stamp = self.stat()?;
                let is_known = stamp == view.stamp && !view.is_unsettled;
                if is_known || view.follow(stamp) {
                    return Ok(());
                }
                let may_be_a_slot_write = stamp != view.stamp
                    && stamp.is_same_size_of_same_file(&view.stamp)
                    && view.journal.is_some();
                if !may_be_a_slot_write {
                    break;
                }
                std::thread::sleep(Duration::from_micros(20));
            }
        }
        *view = Some(View::read(&self.configured)?);
        Ok(())
    }
}

impl View {
    /// Whether the header says that nothing but slots changed up to `stamp`.
    fn follow(&mut self, stamp: Stamp) -> bool {
        let Some(header) = self.journal.as_ref().and_then(Header::read) else { return false };
        let is_same_epoch = self.epoch == Some(header.epoch) || self.stamp == header.base;
        if header.stamp != stamp || !is_same_epoch || !stamp.is_same_size_of_same_file(&self.stamp) {
            return false;
        }
        self.stamp = stamp;
        self.epoch = Some(header.epoch);
        self.is_unsettled = false;
        self.records.get_mut().clear();
        true
    }

    fn read(configured: &Path) -> Result<View, Fault> {
        for _ in 0..REBUILD_TRIES {
            let paths = Paths::resolve(configured)?;
            let path = &paths.resolved;
            let file = File::open(path).map_err(|error| Fault::new("open", path, error))?;
            let journal = File::open(paths.journal()).ok();
            let stamp = || {
                let metadata = file.metadata().map_err(|error| Fault::new("inspect", path, error))?;
                Ok(Stamp::of(&metadata))
            };
            let before = stamp()?;
            let header_before = journal.as_ref().and_then(Header::read);
            let index = Index::build(&file).map_err(|error| Fault::new("read", path, error))?;
            let after = stamp()?;
            let header = journal.as_ref().and_then(Header::read);

            let by_us = header.filter(|header| header.stamp == after);
            let only_slots_changed = match (header_before, by_us) {
                (Some(old), Some(new)) => old.epoch == new.epoch && old.stamp == before,
                _ => false,
            };
            if before == after || only_slots_changed {
                let is_unsettled = by_us.is_none() && is_recent(after.modified());
                let epoch = by_us.map(|header| header.epoch);
                let records = Mutex::default();
                return Ok(View { file, journal, stamp: after, epoch, is_unsettled, index, records });
            }
        }
        Err(Fault::of(
            "read",
            configured,
            "it keeps changing while it is read",
            "find the program that rewrites it without holding its lock",
        ))
    }

    /// A user, from memory if nothing has changed since they were read.
    fn find(&self, user: &[u8]) -> std::io::Result<Option<Arc<Found>>> {
        if let Some(known) = self.records.lock().get(user) {
            return Ok(Some(known.clone()));
        }
        let Some(listing) = find(&self.file, &self.index, user, &TimeZone::system())? else {
            return Ok(None);
        };
        let found = Arc::new(listing.into_found(&self.file));
        self.remember(user, &found);
        Ok(Some(found))
    }

    /// The same without reading more than the user's lines.
    fn find_now(&self, user: &[u8]) -> Option<Arc<Found>> {
        if let Some(known) = self.records.lock().get(user) {
            return Some(known.clone());
        }
        let listing = find(&self.file, &self.index, user, &TimeZone::system()).ok()??;
        if !listing.unreadable.is_empty() {
            return None;
        }
        let found = Arc::new(listing.into_found(&self.file));
        self.remember(user, &found);
        Some(found)
    }

    fn remember(&self, user: &[u8], found: &Arc<Found>) {
        // A line that may be half written is read again; names that nobody has would fill the memory.
        let lines = &found.entry.lines;
        if !lines.is_empty() && !found.entry.unreadable && lines.iter().all(|line| line.state.intact) {
            let mut records = self.records.lock();
            if records.len() >= RECORDS_MAX {
                records.clear();
            }
            records.insert(user.to_vec(), found.clone());
        }
    }
}

/// Whether another change may have the same time, in seconds and nanoseconds.
pub(crate) fn is_recent((seconds, nanoseconds): (i64, u32)) -> bool {
    let Ok(seconds) = u64::try_from(seconds) else { return false };
    let modified = UNIX_EPOCH + Duration::new(seconds, nanoseconds);
    // A time in the future (a wrong clock) says nothing.
    SystemTime::now().duration_since(modified).map_or(true, |age| age < CLOCK_TICK)
}

/// What a user's lines say, and where they are.
struct Listing {
    entry: Entry,
    /// Offsets of the lines that can't be read, and why.
    unreadable: Vec<(u64, RecordError)>,
    spots: Vec<Spot>,
}

impl Listing {
    /// Counts the lines before those that can't be read, which takes reading the file so far.
    fn into_found(self, file: &File) -> Found {
        let numbered = self.unreadable.into_iter().map(|(offset, error)| UnreadableLine {
            number: rewrite::line_number(file, offset),
            reason: error.to_string(),
        });
        Found { unreadable: numbered.collect(), entry: self.entry, ..Found::default() }
    }
}

/// Where a line is.
#[derive(Clone)]
struct Spot {
    offset: u64,
    layout: Layout,
    /// The line up to the end of its slot, if it has one; else up to its end.
    text: zeroize::Zeroizing<Vec<u8>>,
}

/// Reads a user's lines. `None`: the index is out of date.
fn find(file: &File, index: &Index, user: &[u8], zone: &TimeZone) -> std::io::Result<Option<Listing>> {
    let mut entry = Entry::default();
    let mut unreadable = Vec::new();
    let mut spots = Vec::new();
    let mut looks_like = false;
    for offset in index.lines_of(user) {
        let Some(line) = read_line(file, offset)? else { return Ok(None) };
        let Some(name) = line::user_of(&line) else { return Ok(None) };
        if name != user {
            looks_like |= index::fold(name) == index::fold(user);
            continue;
        }
        match record::parse(&line, zone) {
            Ok(parsed) => {
                entry.lines.push(Line { token: parsed.token, state: parsed.state });
                spots.push(Spot { offset, layout: parsed.layout, text: line });
            }
            Err(error) => {
                entry.unreadable = true;
                unreadable.push((offset, error));
            }
        }
    }
    entry.differs_only_in_case_or_blanks = entry.lines.is_empty() && !entry.unreadable && looks_like;
    Ok(Some(Listing { entry, unreadable, spots }))
}

/// The line at an offset, without its end. `None`: no line begins there.
fn read_line(file: &File, offset: u64) -> std::io::Result<Option<zeroize::Zeroizing<Vec<u8>>>> {
    let before = u64::from(offset > 0);
    let mut size = 1024;
    loop {
        let mut bytes = zeroize::Zeroizing::new(vec![0; size]);
        let len = read_as_far_as_possible(file, &mut bytes, offset - before)?;
        if len <= before as usize || (before == 1 && bytes[0] != b'\n') {
            return Ok(None);
        }
        bytes.truncate(len);
        bytes.drain(..before as usize);
        if let Some(end) = bytes.iter().position(|&b| b == b'\n') {
            bytes.truncate(end);
            return Ok(Some(bytes));
        }
        if len < size || bytes.len() > line::LINE_MAX {
            return Ok(Some(bytes));
        }
        size *= 8;
    }
}

impl Store for UsersFile {
    fn name(&self) -> String {
        self.configured.display().to_string()
    }

    fn find(&self, user: &[u8]) -> Result<Arc<Found>, Fault> {
        for _ in 0..REBUILD_TRIES {
            let found = self.with_view(|view| {
                view.find(user).map_err(|error| Fault::new("read", &self.configured, error))
            })?;
            match found {
                Some(found) => return Ok(found),
                None => *self.view.write() = None,
            }
        }
        Err(Fault::of(
            "read",
            &self.configured,
            "its lines keep moving",
            "find the program that rewrites it without holding its lock",
        ))
    }

    fn find_now(&self, user: &[u8], moment: Moment) -> Option<Arc<Found>> {
        let looked = &self.looked;
        if let Some(view) = &*self.view.try_read()?
            && moment.is_some_and(|moment| looked.load(Ordering::Relaxed) == moment.get())
            && !view.is_unsettled
        {
            return view.find_now(user);
        }
        let stamp = self.stat().ok()?;
        let looked_now = || looked.store(moment.map_or(0, NonZeroU64::get), Ordering::Relaxed);
        if let Some(view) = &*self.view.try_read()?
            && view.stamp == stamp
            && !view.is_unsettled
        {
            looked_now();
            return view.find_now(user);
        }
        let mut view = self.view.try_write()?;
        let view = view.as_mut()?;
        // Another process's login: its header says so in one small read.
        if !view.follow(stamp) {
            return None;
        }
        looked_now();
        view.find_now(user)
    }

    fn update(&self, work: &mut dyn FnMut(&mut dyn Transaction) -> Result<(), Fault>) -> Result<(), Fault> {
        let locked = Locked::acquire(&self.configured)?;
        let mut journal = Journal::open(&locked, &mut self.recovered.lock())?;
        let mut update = Update {
            store: self,
            locked: &locked,
            zone: TimeZone::system(),
            staged: Vec::new(),
            seen: HashMap::new(),
        };
        work(&mut update)?;
        let Update { staged, zone, .. } = update;
        commit(&locked, &mut journal, staged, &zone)
    }
}

/// A change in progress, under the lock.
struct Update<'a> {
    store: &'a UsersFile,
    locked: &'a Locked,
    zone: TimeZone,
    staged: Vec<(Spot, State)>,
    seen: HashMap<Vec<u8>, Vec<Spot>>,
}

impl Transaction for Update<'_> {
    fn find(&mut self, user: &[u8]) -> Result<Found, Fault> {
        let path = &self.locked.paths.resolved;
        for _ in 0..REBUILD_TRIES {
            let listing = self.store.with_view(|view| {
                // The locked file's own descriptor: what the path names can't be anything else while we hold it.
                find(&self.locked.users, &view.index, user, &self.zone)
                    .map_err(|error| Fault::new("read", path, error))
            })?;
            let Some(mut listing) = listing else {
                *self.store.view.write() = None;
                continue;
            };
            for (line, spot) in listing.entry.lines.iter_mut().zip(&listing.spots) {
                if let Some((_, state)) = self.staged.iter().rfind(|(staged, _)| staged.offset == spot.offset)
                {
                    line.state = state.clone();
                }
            }
            self.seen.insert(user.to_vec(), std::mem::take(&mut listing.spots));
            return Ok(listing.into_found(&self.locked.users));
        }
        Err(Fault::of(
            "read",
            path,
            "its lines keep moving",
            "find the program that rewrites it without holding its lock",
        ))
    }

    fn save(&mut self, user: &[u8], line: usize, state: State) {
        let spot = self.seen.get(user).and_then(|spots| spots.get(line));
        let spot = spot.expect("only lines that were found are saved").clone();
        // What is staged is what will stand in the file: exact, with its checksum.
        self.staged.push((spot, State { intact: true, ..state }));
    }
}

fn commit(
    locked: &Locked,
    journal: &mut Journal<'_>,
    staged: Vec<(Spot, State)>,
    zone: &TimeZone,
) -> Result<(), Fault> {
    if staged.is_empty() {
        return Ok(());
    }
    if staged.iter().any(|(spot, _)| spot.layout.slot.is_none()) {
        let state_at =
            |offset| staged.iter().rfind(|(spot, _)| spot.offset == offset).map(|(_, state)| state.clone());
        return rewrite::give_slots(locked, journal, zone, state_at);
    }
    let mut writes: Vec<SlotWrite> = Vec::new();
    for (spot, state) in staged {
        let at = spot.layout.slot.expect("checked above");
        let head = spot.layout.head.clone().map(|word| &spot.text[word]);
        let after = slot::write(head, &state, zone);
        // Several logins of one user in one go: one write, from the first "before" to the last "after".
        if let Some(known) = writes.iter_mut().find(|known| known.line == spot.offset) {
            known.after = after;
            continue;
        }
        writes.push(SlotWrite {
            line: spot.offset,
            slot: spot.offset + at as u64,
            fingerprint: record::fingerprint_of_line(&spot.text).expect("a parsed line has four fields"),
            before: spot.text[at..at + slot::LEN].try_into().expect("a slot has its length"),
            after,
        });
    }
    journal.write_slots(writes)
}
