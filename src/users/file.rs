//! The users file as a store: look-ups without a lock, changes under it.

use std::collections::HashMap;
use std::ffi::CString;
use std::fs::File;
use std::io;
use std::num::NonZeroU64;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use jiff::tz::TimeZone;
use once_cell::sync::OnceCell;
use parking_lot::{Mutex, RwLock};
use rustc_hash::FxHashMap;

use super::companion;
use super::index::{Index, Near, Table};
use super::journal::{self, Basis, Header, Journal, JournalId, Safety, SlotWrite, is_replacing};
use super::lock::{Locked, Paths, with_suffix};
use super::open_files::OpenFiles;
use super::pragma::Pragma;
use super::progress::{ProgressSeen, TokenKey};
use super::record::{self, Layout, Record, RecordError};
use super::rewrite::LineChanges;
use super::rules::{self, FileRules};
use super::shared_index::{self, SHARED_FROM, SharedIndex};
use super::tries::TriesFile;
use super::watch::{Sight, Watch};
use super::ways::{StagedWays, WaysSpots};
use super::{line, lock, name, pragma, rewrite, secret, slot, ways as user_ways};
use crate::UnixTime;
use crate::files::access::Access;
use crate::files::fault::Fault;
use crate::files::lines::read_as_far_as_possible;
use crate::files::named;
use crate::files::open::{Link, To, open};
use crate::files::stamp::Stamp;

use crate::store::{
    CookieSecret, Found, LoopTurn, Reach, Store, StoreError, Transaction, TriesError, Unreadable,
};
use crate::throttle::Bytes;
use crate::token::{COMPUTERS_MAX, Computer, Entry, LINES_MAX, Session, State, StoredToken};

/// A writer updates the file and then the header; in between they don't match.
const HEADER_TRIES: u32 = 20;
const REBUILD_TRIES: u32 = 5;
/// A file that doesn't stand still for so long can't be read.
const PATIENCE: Duration = lock::PATIENCE;

/// One users file under one of its names.
pub struct UsersFile {
    configured: PathBuf,
    /// The same as system calls take it: each request looks at it. `None`: no path has a NUL.
    for_system: Option<CString>,
    files: Arc<OpenFiles>,
    /// What is shared with the file's other names; not before it was found for the first time.
    shared: OnceCell<Arc<Shared>>,
    /// The name leads to another file by now.
    is_astray: AtomicBool,
    /// The last moment in which the view was found to be up to date.
    looked: AtomicU64,
}

/// One users file, whatever it is called.
pub(super) struct Shared {
    /// With all links followed.
    resolved: PathBuf,
    /// The names by which this process knows it.
    names: Mutex<Vec<PathBuf>>,
    view: RwLock<Option<View>>,
    /// The journal that this process has recovered from. No verdict is given before that: what a
    /// crash has left may lack answered logins, or users.
    recovered: Mutex<Option<JournalId>>,
    seen: Arc<ProgressSeen>,
    tries: TriesFile,
    /// Held by who changes the file: it isn't closed meanwhile.
    changing: RwLock<()>,
    is_used: AtomicBool,
    is_listed: AtomicBool,
    /// Where this process's own clock begins.
    origin: Instant,
}

/// More names than this of one file aren't locked for others: a directory's own settings can invent
/// them.
const NAMES_MAX: usize = 16;

/// What is known about the file.
struct View {
    file: File,
    journal: File,
    watch: Watch,
    /// The journal tells of all changes that aren't somebody else's.
    is_journalled: bool,
    index: Index,
    /// What the file says of all logins, or why that can't be read.
    rules: Result<FileRules, Fault>,
    /// Users read since the file last changed, whose lines are whole.
    records: Mutex<FxHashMap<Vec<u8>, Arc<Found>>>,
    /// What cookies are made with, once it was there.
    secret: OnceCell<Arc<CookieSecret>>,
    seen: Arc<ProgressSeen>,
}

/// More users than this at once, and the memory of them starts anew.
const RECORDS_MAX: usize = 1024;

impl Shared {
    pub(super) fn new(resolved: &Path) -> Shared {
        Shared {
            resolved: resolved.to_owned(),
            names: Mutex::default(),
            view: RwLock::new(None),
            recovered: Mutex::new(None),
            seen: Arc::default(),
            tries: TriesFile::default(),
            changing: RwLock::new(()),
            is_used: AtomicBool::new(true),
            is_listed: AtomicBool::new(false),
            origin: Instant::now(),
        }
    }

    /// Whether it is listed by this call.
    pub(super) fn is_listed_now(&self) -> bool {
        !self.is_listed.swap(true, Ordering::Relaxed)
    }

    /// Closes it if nobody has used it since this was asked last; whether it is closed and not
    /// listed any more.
    pub(super) fn close_unless_used(&self) -> bool {
        if self.is_used.swap(false, Ordering::Relaxed) {
            return false;
        }
        let (Some(_changing), Some(mut view)) = (self.changing.try_write(), self.view.try_write())
        else {
            return false;
        };
        *view = None;
        self.tries.close();
        // Its number may become another journal's.
        *self.recovered.lock() = None;
        self.is_listed.store(false, Ordering::Relaxed);
        true
    }

    fn is_current(&self, view: &View, stamp: Stamp) -> bool {
        // Looked at first: who writes to the same line in turns waits for it.
        if !self.is_used.load(Ordering::Relaxed) {
            self.is_used.store(true, Ordering::Relaxed);
        }
        let header = || Header::read_unless_rewriting(&view.journal);
        match view.watch.look(stamp, || self.origin.elapsed(), header) {
            Sight::Same => true,
            Sight::Settled => {
                view.records.lock().clear();
                true
            }
            Sight::Changed => false,
        }
    }
}

/// What an attempt to bring the view up to date has come to.
enum Refreshed {
    Current,
    /// There is something to recover first, or somebody is about to replace the whole file.
    NotBeforeRecovery,
    /// The name leads to another file.
    Elsewhere,
}

impl UsersFile {
    /// A users file at a path of the configuration. Nothing is opened yet.
    pub fn new(configured: &Path) -> UsersFile {
        UsersFile::among(&Arc::default(), configured)
    }

    /// The same, sharing what is known of the file with all others among `files` that are the same
    /// file.
    pub fn among(files: &Arc<OpenFiles>, configured: &Path) -> UsersFile {
        UsersFile {
            configured: configured.to_owned(),
            for_system: CString::new(configured.as_os_str().as_bytes()).ok(),
            files: files.clone(),
            shared: OnceCell::new(),
            is_astray: AtomicBool::new(false),
            looked: AtomicU64::new(0),
        }
    }

    /// The same for somebody who holds the lock and has the journal open: there is nothing left to
    /// recover.
    pub fn recovered(configured: &Path, journal: &Journal<'_>) -> Result<UsersFile, Fault> {
        let store = UsersFile::new(configured);
        *store.shared()?.recovered.lock() = Some(journal.id()?);
        Ok(store)
    }

    /// The path of the configuration.
    pub fn path(&self) -> &Path {
        &self.configured
    }

    /// Whether the path has been given to another file since this one was found. It is still
    /// answered for rightly, but with more work: better take a new one.
    pub fn is_astray(&self) -> bool {
        self.is_astray.load(Ordering::Relaxed)
    }

    fn shared(&self) -> Result<&Arc<Shared>, Fault> {
        self.shared.get_or_try_init(|| {
            let shared = self.files.at(&Paths::resolve(&self.configured)?.resolved);
            let mut names = shared.names.lock();
            if names.len() < NAMES_MAX && !names.contains(&self.configured) {
                names.push(self.configured.clone());
            }
            drop(names);
            Ok(shared)
        })
    }

    /// The file that the path leads to now.
    fn elsewhere(&self) -> UsersFile {
        self.is_astray.store(true, Ordering::Relaxed);
        UsersFile::among(&self.files, &self.configured)
    }

    fn stat(&self) -> Result<Stamp, Fault> {
        match self.stat_now() {
            Some(stamp) => Ok(stamp),
            // In no hurry, and with words for what is wrong.
            None => named::look(&self.configured).map(|metadata| Stamp::of(&metadata)),
        }
    }

    /// The same without waiting for anything.
    fn stat_now(&self) -> Option<Stamp> {
        let stat = rustix::fs::stat(self.for_system.as_deref()?).ok()?;
        (stat.st_nlink > 0).then(|| Stamp::of_stat(&stat))
    }

    /// Runs `look` on a view that is up to date. Where there is something to recover, that is done
    /// first; who holds the lock has done so already.
    fn with_view<R>(
        &self,
        held: Option<&Locked>,
        look: impl Fn(&View) -> Result<R, Fault>,
    ) -> Result<R, Fault> {
        for _ in 0..REBUILD_TRIES {
            let stamp = self.stat()?;
            let shared = self.shared()?;
            if let Some(view) = &*shared.view.read()
                && shared.is_current(view, stamp)
            {
                return look(view);
            }
            let mut view = shared.view.write();
            let refreshed = self.refresh(shared, &mut view)?;
            if let Refreshed::Current = refreshed {
                return look(view.as_ref().expect("refresh leaves a view"));
            }
            drop(view);
            match (refreshed, held) {
                // We have recovered, and nobody else may write.
                (_, Some(locked)) => return locked.has_held().and(Err(self.keeps_moving())),
                (Refreshed::Elsewhere, None) => return self.elsewhere().with_view(None, look),
                (_, None) => self.recover()?,
            }
        }
        Err(self.keeps_moving())
    }

    fn keeps_moving(&self) -> Fault {
        Fault::of(
            "read",
            &self.configured,
            "its lines keep moving",
            "find the program that rewrites it without holding its lock",
        )
    }

    /// Has the next one who looks read the file, because the index isn't what it was.
    fn look_anew(&self) {
        if let Some(view) = self.shared.get().and_then(|shared| shared.view.write().take()) {
            disown_spoilt(&view.index);
        }
    }

    /// Brings the view up to date: by the header if all changes were slot writes, else by reading
    /// the file.
    fn refresh(&self, shared: &Arc<Shared>, view: &mut Option<View>) -> Result<Refreshed, Fault> {
        if let Some(view) = view {
            for _ in 0..HEADER_TRIES {
                let stamp = self.stat()?;
                if shared.is_current(view, stamp) || view.follow(stamp, shared.origin) {
                    return Ok(Refreshed::Current);
                }
                if !stamp.is_same_size_of_same_file(&view.watch.basis().stamp) {
                    break;
                }
                std::thread::sleep(Duration::from_micros(20));
            }
        }
        let paths = Paths::resolve(&self.configured)?;
        if paths.resolved != shared.resolved {
            return Ok(Refreshed::Elsewhere);
        }
        let recovered = *shared.recovered.lock();
        *view = View::read(&paths, recovered, shared.origin, &shared.seen)?;
        if view.is_none() {
            return Ok(Refreshed::NotBeforeRecovery);
        }
        shared.is_used.store(true, Ordering::Relaxed);
        shared.seen.is_to_be_compared();
        self.files.opened(shared);
        Ok(Refreshed::Current)
    }

    /// Finishes what a crash has left, under the lock.
    fn recover(&self) -> Result<(), Fault> {
        let shared = self.shared()?;
        let locked = self.lock(shared)?;
        if locked.paths.resolved != shared.resolved {
            // To be found out by who looks next.
            return Ok(());
        }
        self.open_journal(shared, &locked).map(drop)
    }

    /// The locks of all names of the file.
    fn lock(&self, shared: &Shared) -> Result<Locked, Fault> {
        let names = shared.names.lock().clone();
        Locked::acquire_by_all_names(&self.configured, &names)
    }

    fn open_journal<'l>(&self, shared: &Shared, locked: &'l Locked) -> Result<Journal<'l>, Fault> {
        let mut recovered = *shared.recovered.lock();
        let journal = Journal::open(locked, &mut recovered);
        *shared.recovered.lock() = recovered;
        if recovered.is_none() && journal.is_err() && shared.view.read().is_some() {
            *shared.view.write() = None;
        }
        journal
    }

    /// Shows this process what it has just written, whatever the time says of it.
    fn see(&self, shared: &Shared, stamp: Stamp) {
        self.looked.store(0, Ordering::Relaxed);
        if let Some(view) = &mut *shared.view.write() {
            view.follow(stamp, shared.origin);
        }
    }
}

/// What can't be saved can't be relied on either, whatever is read: all begins anew.
fn distrust(shared: &Shared) {
    *shared.recovered.lock() = None;
    *shared.view.write() = None;
}

impl UsersFile {
    /// A warning if the file was replaced by an older state than this process has seen.
    fn older_state(&self, shared: &Shared) -> Option<String> {
        if !shared.seen.is_due() {
            return None;
        }
        let view = shared.view.read();
        // Not before somebody has restored what the journal has of it.
        let view = view.as_ref().filter(|view| view.watch.basis().epoch.is_some())?;
        let zone = TimeZone::system();
        let lines = |user: &[u8]| match find(&view.file, &view.index, user, &zone) {
            Ok(Some(listing)) => listing.entry.lines,
            _ => Vec::new(),
        };
        let users = shared.seen.compare(lines)?;
        Some(format!(
            "{}: it was replaced by an older state ({users}): used codes may be accepted again; run `otpgate advance`",
            self.configured.display()
        ))
    }
}

impl View {
    /// Whether the header says that nothing but slots changed up to `stamp`.
    fn follow(&mut self, stamp: Stamp, origin: Instant) -> bool {
        let header = Header::read_unless_rewriting(&self.journal);
        if !self.watch.follow(stamp, header.as_ref(), origin.elapsed()) {
            return false;
        }
        self.records.get_mut().clear();
        true
    }

    /// Reads the file. `None`: not before recovery.
    fn read(
        paths: &Paths,
        recovered: Option<JournalId>,
        origin: Instant,
        seen: &Arc<ProgressSeen>,
    ) -> Result<Option<View>, Fault> {
        let deadline = Instant::now() + PATIENCE;
        let mut settled = None;
        while Instant::now() < deadline {
            let path = &paths.resolved;
            let fault = |error| Fault::new("read", path, error);
            let file =
                open(path, To::Read, Link::Refuse).map_err(|refusal| refusal.into_fault(path))?;
            let access = Access::of(&file).map_err(|error| Fault::new("inspect", path, error))?;
            let Some(journal) = companion::look(&paths.journal(), &access)? else {
                return Ok(None);
            };
            let id = journal::id_of(&journal)
                .map_err(|error| Fault::new("inspect", &paths.journal(), error))?;
            if is_replacing(&journal) || (recovered != Some(id) && !journal::is_quiet(&journal)) {
                return Ok(None);
            }
            let look = || -> io::Result<(Stamp, Option<Header>)> {
                let stamp = Stamp::of(&file.metadata()?);
                Ok((stamp, read_header(&journal)))
            };

            let (stamp, header) = look().map_err(fault)?;
            let Some(header) = header else { return Ok(None) };
            let basis = Basis::now(stamp, Some(&header));
            // Somebody else's change, so recent that another could hide behind the same stamp.
            if basis.epoch.is_none() && settled != Some(stamp) {
                settled = Some(stamp);
                if let Some(rest) = stamp.rest_of_tick() {
                    std::thread::sleep(rest);
                    continue;
                }
            }
            let build = || -> io::Result<Option<(Table, Basis)>> {
                let table = Table::build(&file)?;
                let (stamp_now, header_now) = look()?;
                let stood_still =
                    header_now.is_some() && basis.holds(stamp_now, header_now.as_ref());
                Ok(stood_still.then(|| (table, Basis::now(stamp_now, header_now.as_ref()))))
            };
            let holds = |built: &Basis| built.holds(stamp, Some(&header));
            let index = find_or_build_index(&file, &paths.index(), &access, holds, build);
            let Some(index) = index.map_err(fault)? else { continue };
            let Some(rules) = rules::read(&file, &index, path).map_err(fault)? else {
                index.spoil();
                disown_spoilt(&index);
                continue;
            };
            let (stamp_now, header_now) = look().map_err(fault)?;
            if header_now.is_some() && basis.holds(stamp_now, header_now.as_ref()) {
                let watch = Watch::new(stamp, &header, origin.elapsed());
                let is_journalled =
                    journal::safety_of(&file, &journal, path)? == Safety::Journalled;
                let (records, seen) = (Mutex::default(), seen.clone());
                // Whoever needs it and finds it missing is told why it can't be had.
                let secret = secret::look(&paths.secret(), &access).ok().flatten();
                let secret = secret.map_or_else(OnceCell::new, OnceCell::with_value);
                return Ok(Some(View {
                    file,
                    journal,
                    watch,
                    is_journalled,
                    index,
                    rules,
                    records,
                    secret,
                    seen,
                }));
            }
        }
        Err(Fault::of(
            "read",
            &paths.configured,
            "it keeps changing while it is read",
            "find the program that rewrites it without holding its lock",
        ))
    }

    /// A user, from memory if nothing has changed since they were read.
    fn find(&self, user: &[u8], path: &Path) -> Result<Option<Arc<Found>>, Fault> {
        if let Some(known) = self.records.lock().get(user) {
            return Ok(Some(known.clone()));
        }
        let rules = self.rules.clone()?;
        let listing = find(&self.file, &self.index, user, &TimeZone::system());
        let Some(listing) = listing.map_err(|error| Fault::new("read", path, error))? else {
            return Ok(None);
        };
        let found = Arc::new(listing.into_found(&self.file, path, rules));
        self.remember(user, &found);
        Ok(Some(found))
    }

    /// The same without reading more than the user's lines.
    fn find_now(&self, user: &[u8], path: &Path) -> Option<Arc<Found>> {
        if let Some(known) = self.records.lock().get(user) {
            return Some(known.clone());
        }
        let rules = self.rules.as_ref().ok()?.clone();
        let listing = find(&self.file, &self.index, user, &TimeZone::system()).ok()??;
        if !listing.unreadable.is_empty() {
            return None;
        }
        let found = Arc::new(listing.into_found(&self.file, path, rules));
        self.remember(user, &found);
        Some(found)
    }

    fn remember(&self, user: &[u8], found: &Arc<Found>) {
        // A line that may be half written is read again; names that nobody has would fill the
        // memory.
        let lines = &found.entry.lines;
        if !self.is_journalled && !self.watch.is_settled() {
            return;
        }
        for line in lines.iter().filter(|line| line.state.intact) {
            self.seen.note(user, TokenKey::of(user, &line.token), &line.state);
        }
        if !lines.is_empty()
            && !found.entry.unreadable
            && !found.entry.ways.torn_places
            && lines.iter().all(|line| line.state.intact)
        {
            let mut records = self.records.lock();
            if records.len() >= RECORDS_MAX {
                records.clear();
            }
            records.insert(user.to_vec(), found.clone());
        }
    }
}

/// The index of a large file is one that processes share.
fn find_or_build_index(
    file: &File,
    path: &Path,
    access: &Access,
    holds: impl Fn(&Basis) -> bool,
    build: impl FnMut() -> io::Result<Option<(Table, Basis)>>,
) -> io::Result<Option<Index>> {
    let mut build = build;
    let shared = match file.metadata() {
        Ok(users) if users.size() >= SHARED_FROM => SharedIndex::open(path, access),
        _ => None,
    };
    match shared {
        Some(shared) => shared.find_or_build(holds, build),
        None => Ok(build()?.map(|(table, _)| Index::in_memory(table))),
    }
}

/// Reads the header; somebody may be in the middle of writing it.
fn read_header(journal: &File) -> Option<Header> {
    for _ in 0..HEADER_TRIES {
        let header = Header::read_unless_rewriting(journal);
        if header.is_some() {
            return header;
        }
        std::thread::sleep(Duration::from_micros(20));
    }
    None
}

fn disown_spoilt(index: &Index) {
    if let Some((file, shape)) = index.spoilt_file() {
        shared_index::disown(file, shape);
    }
}

/// What a user's lines say, and where they are.
struct Listing {
    entry: Entry,
    /// Offsets of the lines that can't be read, and why.
    unreadable: Vec<(u64, RecordError)>,
    spots: Vec<Spot>,
    ways: WaysSpots,
}

impl Listing {
    /// Counts the lines before those that can't be read, which takes reading the file so far.
    fn into_found(self, file: &File, path: &Path, rules: FileRules) -> Found {
        let numbered = self.unreadable.into_iter().map(|(offset, error)| Unreadable {
            place: format!("{} line {}", path.display(), rewrite::line_number(file, offset)),
            reason: error.to_string(),
        });
        let FileRules { limits, allow, always } = rules;
        let (unreadable, mut entry) = (numbered.collect(), self.entry);
        entry.ways.always = entry.ways.always.with(always);
        Found { unreadable, entry, limits, allow, ..Found::default() }
    }
}

/// Where a line is.
#[derive(Clone)]
pub(super) struct Spot {
    device: TokenKey,
    offset: u64,
    layout: Layout,
    /// The line up to the end of its slot, if it has one; else up to its end.
    text: zeroize::Zeroizing<Vec<u8>>,
}

impl Spot {
    /// Of a line that was read as this, without its end.
    pub(super) fn new(user: &[u8], offset: u64, text: &[u8], record: &Record) -> Spot {
        let (device, layout) = (TokenKey::of(user, &record.token), record.layout.clone());
        Spot { device, offset, layout, text: zeroize::Zeroizing::new(text.to_vec()) }
    }
}

/// Reads a user's lines. `None`: the index is out of date.
fn find(file: &File, index: &Index, user: &[u8], zone: &TimeZone) -> io::Result<Option<Listing>> {
    let mut entry = Entry::default();
    let mut unreadable = Vec::new();
    let mut spots = Vec::new();
    let mut ways = WaysSpots::default();
    let Some(near) = index.near(user)? else { return Ok(None) };
    // Reading thousands of them would hold up everybody.
    if near.own.len() > LINES_MAX {
        entry.too_many_lines = true;
        return Ok(Some(Listing { entry, unreadable, spots, ways }));
    }
    for &offset in &near.own {
        let Some(line) = read_line(file, offset)? else { return Ok(None) };
        if line::user_of(&line) != Some(user) {
            if !index.is_near(&line, user) {
                return Ok(None);
            }
            continue;
        }
        match record::parse(&line, zone) {
            Ok(parsed) => {
                let device = TokenKey::of(user, &parsed.token);
                entry.lines.push(StoredToken { token: parsed.token, state: parsed.state });
                spots.push(Spot { device, offset, layout: parsed.layout, text: line });
            }
            Err(error) => {
                entry.unreadable = true;
                unreadable.push((offset, error));
            }
        }
    }
    if entry.lines.is_empty() && !entry.unreadable {
        let Some(is_twin) = is_twin(file, index, user, near)? else { return Ok(None) };
        entry.is_twin = is_twin;
    } else {
        let Some(read) = user_ways::read(file, index, user, &near.ways)? else { return Ok(None) };
        (entry.ways, ways) = read;
    }
    Ok(Some(Listing { entry, unreadable, spots, ways }))
}

/// Whether a listed name, of which there is no line in `near`, is a twin of this one, and no line
/// says that they are two people's. `None`: the index is out of date.
fn is_twin(file: &File, index: &Index, user: &[u8], near: Near) -> io::Result<Option<bool>> {
    let key = name::key(user);
    let near = if *key == *user { Some(near) } else { index.near(&key)? };
    let Some(Near { own, twins, .. }) = near else { return Ok(None) };
    for offset in own.into_iter().chain(twins) {
        let Some(line) = read_line(file, offset)? else { return Ok(None) };
        if line::user_of(&line).is_some_and(|listed| name::key(listed) == key) {
            return Ok(is_apart(file, index, user)?.map(|is_apart| !is_apart));
        }
        if !index.is_near(&line, &key) {
            return Ok(None);
        }
    }
    Ok(Some(false))
}

fn is_apart(file: &File, index: &Index, user: &[u8]) -> io::Result<Option<bool>> {
    let Some(offsets) = index.apart_lines(user)? else { return Ok(None) };
    for offset in offsets {
        let Some(line) = read_line(file, offset)? else { return Ok(None) };
        if let Some(Ok(Pragma::Apart(name))) = pragma::parse(&line)
            && name == user
        {
            return Ok(Some(true));
        }
        if !index.is_near_apart(&line, user) {
            return Ok(None);
        }
    }
    Ok(Some(false))
}

/// The line at an offset, without its end. `None`: no line begins there.
pub(super) fn read_line(
    file: &File,
    offset: u64,
) -> io::Result<Option<zeroize::Zeroizing<Vec<u8>>>> {
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

impl From<Fault> for StoreError {
    fn from(fault: Fault) -> StoreError {
        let is_for_want_of_rights = fault.is_for_want_of_rights();
        let Fault { operation, path, cause, remedy, .. } = fault;
        StoreError {
            operation,
            place: path.display().to_string(),
            cause,
            remedy,
            is_for_want_of_rights,
        }
    }
}

impl Store for UsersFile {
    fn name(&self) -> String {
        self.configured.display().to_string()
    }

    fn find(&self, user: &[u8]) -> Result<Arc<Found>, StoreError> {
        for _ in 0..REBUILD_TRIES {
            match self.with_view(None, |view| view.find(user, &self.configured))? {
                Some(found) => return Ok(found),
                None => self.look_anew(),
            }
        }
        Err(self.keeps_moving().into())
    }

    fn find_now(&self, user: &[u8], turn: LoopTurn) -> Option<Arc<Found>> {
        let looked = &self.looked;
        let shared = self.shared.get()?;
        if let Some(view) = &*shared.view.try_read()?
            && turn.is_some_and(|turn| looked.load(Ordering::Relaxed) == turn.get())
        {
            return view.find_now(user, &self.configured);
        }
        let stamp = self.stat_now()?;
        let looked_now = || looked.store(turn.map_or(0, NonZeroU64::get), Ordering::Relaxed);
        if let Some(view) = &*shared.view.try_read()?
            && shared.is_current(view, stamp)
        {
            looked_now();
            return view.find_now(user, &self.configured);
        }
        let mut view = shared.view.try_write()?;
        let view = view.as_mut()?;
        // Another process's login: its header says so in one small read.
        if !view.follow(stamp, shared.origin) {
            return None;
        }
        looked_now();
        view.find_now(user, &self.configured)
    }

    fn reach(&self) -> Reach {
        Reach::AllUsers
    }

    /// Nobody else changes anything meanwhile, so the step runs once.
    fn update(
        &self,
        step: &mut dyn FnMut(&mut dyn Transaction) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let shared = self.shared()?;
        let _changing = shared.changing.read();
        let locked = self.lock(shared)?;
        if locked.paths.resolved != shared.resolved {
            drop(locked);
            return self.elsewhere().update(step);
        }
        let mut journal = self.open_journal(shared, &locked)?;
        let mut update = Update {
            store: self,
            locked: &locked,
            zone: TimeZone::system(),
            staged: Vec::new(),
            notes: Vec::new(),
            closed: HashMap::new(),
            ways: HashMap::new(),
            seen: HashMap::new(),
        };
        step(&mut update)?;
        let lines = update.line_changes();
        let places = update.ways.iter().flat_map(|(user, staged)| staged.writes(user));
        let places = places.collect();
        let Update { staged, notes, zone, .. } = update;
        let progress: Vec<(Spot, State)> = staged.clone();
        commit(&locked, &mut journal, (staged, places), lines, &zone)
            .and_then(|has_moved| match has_moved {
                // They are found elsewhere by now, and can wait for the next use.
                true => Ok(()),
                false if notes.is_empty() => Ok(()),
                false => journal.write_notes(&notes),
            })
            .inspect_err(|_| distrust(shared))?;
        self.see(shared, journal.header().stamp);
        for (spot, state) in &progress {
            let user = line::user_of(&spot.text).unwrap_or_default();
            shared.seen.note(user, spot.device, state);
        }
        Ok(())
    }

    fn tries(
        &self,
        work: &mut dyn FnMut(&mut dyn Bytes) -> io::Result<()>,
    ) -> Result<(), TriesError> {
        let shared = self.shared().map_err(|fault| TriesError::Unusable(fault.into()))?;
        let paths =
            Paths { configured: self.configured.clone(), resolved: shared.resolved.clone() };
        shared.tries.with(&shared.resolved, &paths.throttle(), work)
    }

    fn secret(&self) -> Result<Arc<CookieSecret>, StoreError> {
        let shared = self.shared()?;
        let path = with_suffix(&shared.resolved, ".secret");
        let known = |view: &View| {
            if let Some(secret) = view.secret.get() {
                return Ok(Some(secret.clone()));
            }
            let access = Access::of(&view.file);
            let access = access.map_err(|error| Fault::new("inspect", &shared.resolved, error))?;
            let found = secret::look(&path, &access)?;
            Ok(found.map(|found| view.secret.get_or_init(|| found).clone()))
        };
        if let Some(secret) = self.with_view(None, known)? {
            return Ok(secret);
        }
        let _changing = shared.changing.read();
        let locked = self.lock(shared)?;
        if locked.paths.resolved != shared.resolved {
            drop(locked);
            return self.elsewhere().secret();
        }
        let mut journal = self.open_journal(shared, &locked)?;
        Ok(secret::make(&locked, &mut journal)?)
    }

    fn secret_now(&self) -> Option<Arc<CookieSecret>> {
        self.shared.get()?.view.try_read()?.as_ref()?.secret.get().cloned()
    }

    fn notices(&self) -> Vec<String> {
        let mut notices = companion::take_notices();
        notices.extend(self.shared.get().and_then(|shared| self.older_state(shared)));
        notices
    }
}

/// A change in progress, under the lock.
struct Update<'a> {
    store: &'a UsersFile,
    locked: &'a Locked,
    zone: TimeZone,
    staged: Vec<(Spot, State)>,
    /// What a crash may take back, and where it stands.
    notes: Vec<(u64, Vec<u8>)>,
    /// For whom it is said that a PIN alone isn't enough, or taken back; in place of what the file
    /// says.
    closed: HashMap<Vec<u8>, bool>,
    /// What becomes of sessions and computers, by user.
    ways: HashMap<Vec<u8>, StagedWays>,
    seen: HashMap<Vec<u8>, (Vec<Spot>, WaysSpots)>,
}

impl Update<'_> {
    /// Lines that go and lines that come, for whom the file doesn't say so already.
    fn line_changes(&self) -> LineChanges {
        let mut lines = LineChanges::default();
        for (user, &is_closed) in &self.closed {
            let added = self.seen.get(user).map(|(_, ways)| &ways.added[..]).unwrap_or_default();
            match is_closed {
                true if added.is_empty() => lines.added.push(pragma::until_code_line(user)),
                true => {}
                false => lines.removed.extend(added),
            }
        }
        for (user, staged) in &self.ways {
            if let Some(homeless) = staged.sessions.homeless() {
                lines.sessions.add(user, homeless);
            }
            if let Some(homeless) = staged.computers.homeless() {
                lines.computers.add(user, homeless);
            }
        }
        lines
    }

    /// A user's sessions and computers, as they are to stand. `None`: none can be kept.
    fn ways_of(&mut self, user: &[u8]) -> Option<&mut StagedWays> {
        let (_, ways) = self.seen.get(user).expect("only of users that were found");
        if ways.are_too_many {
            return None;
        }
        Some(self.ways.entry(user.to_vec()).or_insert_with(|| StagedWays::of(ways)))
    }
}

impl Transaction for Update<'_> {
    fn find(&mut self, user: &[u8]) -> Result<Found, StoreError> {
        let path = &self.locked.paths.resolved;
        for _ in 0..REBUILD_TRIES {
            let find = |view: &View| {
                // The locked file's own descriptor: what the path names can't be anything else
                // while we hold it.
                let listing = find(&self.locked.users, &view.index, user, &self.zone)
                    .map_err(|error| Fault::new("read", path, error))?;
                Ok(listing.zip(Some(view.rules.clone()?)))
            };
            let Some((mut listing, rules)) = self.store.with_view(Some(self.locked), find)? else {
                self.store.look_anew();
                continue;
            };
            for (line, spot) in listing.entry.lines.iter_mut().zip(&listing.spots) {
                if let Some((_, state)) =
                    self.staged.iter().rfind(|(staged, _)| staged.offset == spot.offset)
                {
                    line.state = state.clone();
                }
            }
            if let Some(&is_closed) = self.closed.get(user) {
                listing.entry.ways.always.until_code = is_closed;
            }
            let spots = (std::mem::take(&mut listing.spots), std::mem::take(&mut listing.ways));
            self.seen.insert(user.to_vec(), spots);
            let ways = &mut listing.entry.ways;
            // Nobody else is writing: what isn't whole was spoilt by others. It is written anew, so
            // that it isn't met again.
            if std::mem::take(&mut ways.torn_places) {
                self.ways_of(user);
            }
            if let Some(staged) = self.ways.get(user) {
                ways.sessions = staged.sessions.kept();
                ways.computers = staged.computers.kept();
            }
            return Ok(listing.into_found(&self.locked.users, &self.store.configured, rules));
        }
        Err(self.store.keeps_moving().into())
    }

    fn save(&mut self, user: &[u8], line: usize, state: State) {
        let spot = self.seen.get(user).and_then(|(spots, _)| spots.get(line));
        let spot = spot.expect("only lines that were found are saved").clone();
        // What is staged is what will stand in the file: exact, with its checksum.
        self.staged.push((spot, State { intact: true, ..state }));
    }

    fn note_use(&mut self, user: &[u8], app: usize, at: UnixTime) {
        let used = self.seen.get(user).and_then(|(_, ways)| ways.used.get(app)).copied();
        if let Some(place) = used.flatten() {
            self.notes.push((place, pragma::written_hour(Some(at)).to_vec()));
        }
    }

    fn close_pin(&mut self, user: &[u8], is_closed: bool) {
        self.closed.insert(user.to_vec(), is_closed);
    }

    fn save_session(&mut self, user: &[u8], session: Session, max: u8) {
        if let Some(staged) = self.ways_of(user) {
            staged.sessions.save(session, max);
        }
    }

    fn end_sessions(&mut self, user: &[u8], is_to_end: &dyn Fn(&Session) -> bool) {
        if let Some(staged) = self.ways_of(user) {
            staged.sessions.end(is_to_end);
        }
    }

    fn save_computer(&mut self, user: &[u8], computer: Computer) {
        if let Some(staged) = self.ways_of(user) {
            staged.computers.save(computer, COMPUTERS_MAX);
        }
    }

    fn end_computers(&mut self, user: &[u8], is_to_end: &dyn Fn(&Computer) -> bool) {
        if let Some(staged) = self.ways_of(user) {
            staged.computers.end(is_to_end);
        }
    }
}

/// Writes states and places durably: over the old ones if all of these lines have slots and no
/// line comes or goes, else with a slot for every line. Whether lines have moved.
pub(super) fn commit(
    locked: &Locked,
    journal: &mut Journal<'_>,
    (staged, places): (Vec<(Spot, State)>, Vec<SlotWrite>),
    lines: LineChanges,
    zone: &TimeZone,
) -> Result<bool, Fault> {
    if staged.is_empty() && places.is_empty() && lines.is_empty() {
        return Ok(false);
    }
    locked.has_held()?;
    if !lines.is_empty() || staged.iter().any(|(spot, _)| spot.layout.slot.is_none()) {
        let state_at = |offset| {
            staged.iter().rfind(|(spot, _)| spot.offset == offset).map(|(_, state)| state.clone())
        };
        return rewrite::give_slots(locked, journal, zone, state_at, &places, &lines)
            .map(|()| true);
    }
    let mut writes: Vec<SlotWrite> = Vec::new();
    for (spot, state) in staged {
        let at = spot.layout.slot.expect("checked above");
        let head = spot.layout.head.clone().map(|word| &spot.text[word]);
        let after = slot::write(head, &state, zone);
        // Several logins of one user in one go: one write, from the first "before" to the last
        // "after".
        if let Some(known) = writes.iter_mut().find(|known| known.line == spot.offset) {
            known.after = after;
            continue;
        }
        writes.push(SlotWrite {
            line: spot.offset,
            slot: spot.offset + at as u64,
            fingerprint: record::fingerprint_of_line(&spot.text)
                .expect("a parsed line has four fields"),
            before: spot.text[at..at + slot::LEN].try_into().expect("a slot has its length"),
            after,
        });
    }
    writes.extend(places);
    journal.write_slots(writes)?;
    // What was written to a file that is gone is no ground for a grant.
    locked.has_held().map(|()| false)
}
