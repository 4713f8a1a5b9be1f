//! The users file as a store: look-ups without a lock, changes under it.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::num::NonZeroU64;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use jiff::tz::TimeZone;
use parking_lot::{Mutex, RwLock};

use super::fault::Fault;
use super::index::{self, Index, Table};
use super::journal::{Basis, Header, Journal, JournalId, SlotWrite, Stamp, read_as_far_as_possible};
use super::lock::{Locked, Paths};
use super::record::{self, Layout, RecordError};
use super::shared_index::{self, SHARED_FROM, SharedIndex};
use super::{limits, line, lock, pragma, rewrite, slot};
use crate::gate::{Found, Moment, Store, Transaction, UnreadableLine};
use crate::policy::Limits;
use crate::token::{Entry, Line, State};

/// A change without the lock may go unseen if it falls into the same tick of the file system's clock as the
/// look at the file; the coarsest clock in use ticks every 10 ms.
const CLOCK_TICK: Duration = Duration::from_millis(20);
/// A writer updates the file and then the header; in between they don't match.
const HEADER_TRIES: u32 = 20;
const REBUILD_TRIES: u32 = 5;
/// A file that doesn't stand still for so long can't be read.
const PATIENCE: Duration = lock::PATIENCE;

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
    basis: Basis,
    index: Index,
    /// What the file demands of all logins, or why that can't be read.
    limits: Result<Limits, Fault>,
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
            && view.basis.stamp == stamp
        {
            return look(view);
        }
        let mut view = self.view.write();
        self.refresh(&mut view)?;
        look(view.as_ref().expect("refresh leaves a view"))
    }

    /// Has the next one who looks read the file, because the index isn't what it was.
    fn look_anew(&self) {
        if let Some(view) = self.view.write().take() {
            disown_spoilt(&view.index);
        }
    }

    /// Brings the view up to date: by the header if all changes were slot writes, else by reading the file.
    fn refresh(&self, view: &mut Option<View>) -> Result<(), Fault> {
        if let Some(view) = view {
            for _ in 0..HEADER_TRIES {
                let stamp = self.stat()?;
                if stamp == view.basis.stamp || view.follow(stamp) {
                    return Ok(());
                }
                let may_be_a_slot_write =
                    stamp.is_same_size_of_same_file(&view.basis.stamp) && view.journal.is_some();
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
        let header = self.journal.as_ref().and_then(Header::read);
        if !self.basis.holds(stamp, header.as_ref()) {
            return false;
        }
        self.basis = Basis::now(stamp, header.as_ref());
        self.records.get_mut().clear();
        true
    }

    fn read(configured: &Path) -> Result<View, Fault> {
        let deadline = Instant::now() + PATIENCE;
        let mut settled = None;
        while Instant::now() < deadline {
            let paths = Paths::resolve(configured)?;
            let path = &paths.resolved;
            let fault = |error| Fault::new("read", path, error);
            let file = File::open(path).map_err(|error| Fault::new("open", path, error))?;
            let journal = File::open(paths.journal()).ok();
            let look = || -> io::Result<(Stamp, Option<Header>)> {
                let stamp = Stamp::of(&file.metadata()?);
                Ok((stamp, journal.as_ref().and_then(Header::read)))
            };

            let (stamp, header) = look().map_err(fault)?;
            let basis = Basis::now(stamp, header.as_ref());
            // Somebody else's change, so recent that another could hide behind the same stamp.
            if basis.epoch.is_none() && settled != Some(stamp) {
                settled = Some(stamp);
                if let Some(rest) = rest_of_tick(stamp.changed()) {
                    std::thread::sleep(rest);
                    continue;
                }
            }
            let build = || -> io::Result<Option<(Table, Basis)>> {
                let table = Table::build(&file)?;
                let (stamp_now, header_now) = look()?;
                let stood_still = basis.holds(stamp_now, header_now.as_ref());
                Ok(stood_still.then(|| (table, Basis::now(stamp_now, header_now.as_ref()))))
            };
            let shared = match file.metadata() {
                Ok(users) if users.size() >= SHARED_FROM => SharedIndex::open(&paths.index(), &users),
                _ => None,
            };
            let index = match shared {
                Some(shared) => shared.find_or_build(|built| built.holds(stamp, header.as_ref()), build),
                None => build().map(|built| built.map(|(table, _)| Index::in_memory(table))),
            };
            let Some(index) = index.map_err(fault)? else { continue };
            let Some(limits) = limits::read(&file, &index, path).map_err(fault)? else {
                index.spoil();
                disown_spoilt(&index);
                continue;
            };
            let (stamp_now, header_now) = look().map_err(fault)?;
            if basis.holds(stamp_now, header_now.as_ref()) {
                return Ok(View { file, journal, basis, index, limits, records: Mutex::default() });
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
    fn find(&self, user: &[u8], path: &Path) -> Result<Option<Arc<Found>>, Fault> {
        if let Some(known) = self.records.lock().get(user) {
            return Ok(Some(known.clone()));
        }
        let limits = self.limits.clone()?;
        let listing = find(&self.file, &self.index, user, &TimeZone::system());
        let Some(listing) = listing.map_err(|error| Fault::new("read", path, error))? else {
            return Ok(None);
        };
        let found = Arc::new(listing.into_found(&self.file, limits));
        self.remember(user, &found);
        Ok(Some(found))
    }

    /// The same without reading more than the user's lines.
    fn find_now(&self, user: &[u8]) -> Option<Arc<Found>> {
        if let Some(known) = self.records.lock().get(user) {
            return Some(known.clone());
        }
        let limits = *self.limits.as_ref().ok()?;
        let listing = find(&self.file, &self.index, user, &TimeZone::system()).ok()??;
        if !listing.unreadable.is_empty() {
            return None;
        }
        let found = Arc::new(listing.into_found(&self.file, limits));
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

fn disown_spoilt(index: &Index) {
    if let Some((file, shape)) = index.spoilt_file() {
        shared_index::disown(file, shape);
    }
}

/// Whether another change may have the same time, in seconds and nanoseconds.
pub(crate) fn is_recent(time: (i64, u32)) -> bool {
    rest_of_tick(time).is_some()
}

/// For how long another change may still get the same time.
fn rest_of_tick((seconds, nanoseconds): (i64, u32)) -> Option<Duration> {
    let changed = UNIX_EPOCH + Duration::new(u64::try_from(seconds).ok()?, nanoseconds);
    // A time in the future (a wrong clock) says nothing of how long ago it was.
    let age = SystemTime::now().duration_since(changed).unwrap_or_default();
    CLOCK_TICK.checked_sub(age).filter(|rest| !rest.is_zero())
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
    fn into_found(self, file: &File, limits: Limits) -> Found {
        let numbered = self.unreadable.into_iter().map(|(offset, error)| UnreadableLine {
            number: rewrite::line_number(file, offset),
            reason: error.to_string(),
        });
        Found { unreadable: numbered.collect(), entry: self.entry, limits, ..Found::default() }
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
fn find(file: &File, index: &Index, user: &[u8], zone: &TimeZone) -> io::Result<Option<Listing>> {
    let mut entry = Entry::default();
    let mut unreadable = Vec::new();
    let mut spots = Vec::new();
    let mut looks_like = false;
    let Some(offsets) = index.lines_of(user)? else { return Ok(None) };
    for offset in offsets {
        let Some(line) = read_line(file, offset)? else { return Ok(None) };
        if pragma::is_pragma(&line) && index.takes_for_everybodys(user) {
            continue;
        }
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
pub(super) fn read_line(file: &File, offset: u64) -> io::Result<Option<zeroize::Zeroizing<Vec<u8>>>> {
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
            match self.with_view(|view| view.find(user, &self.configured))? {
                Some(found) => return Ok(found),
                None => self.look_anew(),
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
        {
            return view.find_now(user);
        }
        let stamp = self.stat().ok()?;
        let looked_now = || looked.store(moment.map_or(0, NonZeroU64::get), Ordering::Relaxed);
        if let Some(view) = &*self.view.try_read()?
            && view.basis.stamp == stamp
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
                let listing = find(&self.locked.users, &view.index, user, &self.zone)
                    .map_err(|error| Fault::new("read", path, error))?;
                Ok(listing.zip(Some(view.limits.clone()?)))
            })?;
            let Some((mut listing, limits)) = listing else {
                self.store.look_anew();
                continue;
            };
            for (line, spot) in listing.entry.lines.iter_mut().zip(&listing.spots) {
                if let Some((_, state)) = self.staged.iter().rfind(|(staged, _)| staged.offset == spot.offset)
                {
                    line.state = state.clone();
                }
            }
            self.seen.insert(user.to_vec(), std::mem::take(&mut listing.spots));
            return Ok(listing.into_found(&self.locked.users, limits));
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
