//! Crashes at every operation of thousands of generated histories, on a simulated disk.
//!
//! The disk keeps what was synced. Of what wasn't, a crash leaves any part: each write whole, not at all, or torn
//! at any byte within any of its sectors, in any order. A killed process is the milder case: all its writes stay,
//! but for the rest of the one it was in.
//!
//! After each crash the next process takes over, and must find every record as before or as after the write it was
//! in, and as after if the write was answered.
//!
//! Slots are written, the file is overwritten in place or replaced by a new one under its name, and somebody edits it
//! without knowing of any of this: in place or by a new file, and without a sync.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use jiff::tz::TimeZone;

use super::*;
use crate::token::{State, Used};

const SECTOR: usize = 512;
const INODE: u64 = 7;

/// A small generator (xorshift): the histories are the same in every run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit as u64) as usize
    }
}

/// What both files of a machine have in common.
struct Machine {
    /// Operations until the lights go out; `None`: they stay on.
    fuse: Option<usize>,
    /// The lights are out.
    is_dark: bool,
    random: Random,
    clock: u64,
}

impl Machine {
    fn new(seed: u64) -> Rc<RefCell<Machine>> {
        let random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        Rc::new(RefCell::new(Machine { fuse: None, is_dark: false, random, clock: 1 }))
    }

    fn light(&mut self, fuse: Option<usize>) {
        self.fuse = fuse;
        self.is_dark = false;
    }

    /// Counts an operation that changes something. `Err` if the lights go out in it or are out: with true for the
    /// operation in which they do.
    fn tick(&mut self) -> Result<(), bool> {
        self.clock += 1;
        match &mut self.fuse {
            Some(0) => Err(!std::mem::replace(&mut self.is_dark, true)),
            Some(left) => {
                *left -= 1;
                Ok(())
            }
            None => Ok(()),
        }
    }
}

fn crashed() -> io::Error {
    io::Error::other("crashed")
}

fn draw(machine: &RefCell<Machine>, limit: usize) -> usize {
    machine.borrow_mut().random.below(limit)
}

enum Pending {
    Write(u64, Vec<u8>),
    Len(u64),
}

struct SimFile {
    durable: Vec<u8>,
    /// As running processes see it.
    cached: Vec<u8>,
    pending: Vec<Pending>,
    modified: u64,
    inode: u64,
}

#[derive(Clone)]
struct SimDisk {
    machine: Rc<RefCell<Machine>>,
    file: Rc<RefCell<SimFile>>,
    directory: Rc<RefCell<SimDirectory>>,
}

/// Which file has the name of the users file.
#[derive(Default)]
struct SimDirectory {
    durable: Option<Rc<RefCell<SimFile>>>,
    cached: Option<Rc<RefCell<SimFile>>>,
}

fn write_into(content: &mut Vec<u8>, at: usize, bytes: &[u8]) {
    if content.len() < at + bytes.len() {
        content.resize(at + bytes.len(), 0);
    }
    content[at..at + bytes.len()].copy_from_slice(bytes);
}

impl SimDisk {
    fn new(machine: &Rc<RefCell<Machine>>, content: Vec<u8>, inode: u64) -> SimDisk {
        let file =
            SimFile { durable: content.clone(), cached: content, pending: Vec::new(), modified: 1, inode };
        let file = Rc::new(RefCell::new(file));
        let name = Some(file.clone());
        let directory = SimDirectory { durable: name.clone(), cached: name };
        SimDisk { machine: machine.clone(), file, directory: Rc::new(RefCell::new(directory)) }
    }

    /// Another file in the same directory, without a name so far.
    fn another(&self, inode: u64) -> SimDisk {
        SimDisk { directory: self.directory.clone(), ..SimDisk::new(&self.machine, Vec::new(), inode) }
    }

    fn inode(&self) -> u64 {
        self.file.borrow().inode
    }

    /// Gives the file the name.
    fn rename(&self) -> bool {
        if self.tick().is_err() {
            return false;
        }
        self.directory.borrow_mut().cached = Some(self.file.clone());
        true
    }

    /// The file that has the name.
    fn named(&self) -> SimDisk {
        let file = self.directory.borrow().cached.clone().expect("there is always one");
        SimDisk { file, ..self.clone() }
    }

    fn tick(&self) -> io::Result<()> {
        self.machine.borrow_mut().tick().map_err(|_| crashed())
    }

    fn apply(&self, change: Pending) {
        let mut file = self.file.borrow_mut();
        match &change {
            Pending::Write(at, bytes) => write_into(&mut file.cached, *at as usize, bytes),
            Pending::Len(len) => file.cached.resize(*len as usize, 0),
        }
        file.modified = self.machine.borrow().clock;
        file.pending.push(change);
    }

    /// The power is gone: what the disk holds when it comes back.
    fn lose_power(&self) {
        {
            let mut directory = self.directory.borrow_mut();
            if draw(&self.machine, 2) == 0 {
                directory.durable = directory.cached.clone();
            }
            directory.cached = directory.durable.clone();
        }
        self.named().lose_content();
    }

    fn lose_content(&self) {
        let mut file = self.file.borrow_mut();
        let random = &mut self.machine.borrow_mut().random;
        let mut content = file.durable.clone();
        let mut pending = std::mem::take(&mut file.pending);
        // Any order, any of them.
        for i in (1..pending.len()).rev() {
            let other = random.below(i + 1);
            pending.swap(i, other);
        }
        for change in pending {
            match change {
                Pending::Len(len) if random.below(2) == 0 => content.resize(len as usize, 0),
                Pending::Len(_) => {}
                Pending::Write(at, bytes) => {
                    let mut from = 0;
                    while from < bytes.len() {
                        let sector_end = SECTOR - (at as usize + from) % SECTOR;
                        let to = (from + sector_end).min(bytes.len());
                        // The whole sector, nothing of it, or torn within.
                        let (start, end) = match random.below(4) {
                            0 => (from, to),
                            1 => (from, from),
                            2 => (from, from + random.below(to - from + 1)),
                            _ => (from + random.below(to - from + 1), to),
                        };
                        write_into(&mut content, at as usize + start, &bytes[start..end]);
                        from = to;
                    }
                }
            }
        }
        file.durable = content.clone();
        file.cached = content;
        file.modified += 1;
    }

    fn content(&self) -> Vec<u8> {
        self.file.borrow().cached.clone()
    }
}

impl Disk for SimDisk {
    fn read_at(&self, buffer: &mut [u8], at: u64) -> io::Result<usize> {
        let file = self.file.borrow();
        let rest = file.cached.get(at as usize..).unwrap_or_default();
        let len = rest.len().min(buffer.len());
        buffer[..len].copy_from_slice(&rest[..len]);
        Ok(len)
    }

    fn write_all_at(&self, bytes: &[u8], at: u64) -> io::Result<()> {
        let ticked = self.machine.borrow_mut().tick();
        if let Err(is_in_this_write) = ticked {
            if is_in_this_write {
                let part = draw(&self.machine, bytes.len() + 1);
                self.apply(Pending::Write(at, bytes[..part].to_vec()));
            }
            return Err(crashed());
        }
        self.apply(Pending::Write(at, bytes.to_vec()));
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        self.tick()?;
        let mut file = self.file.borrow_mut();
        file.durable = file.cached.clone();
        file.pending.clear();
        Ok(())
    }

    fn sync_all(&self) -> io::Result<()> {
        self.sync_data()
    }

    fn sync_name(&self, _: &Path) -> io::Result<()> {
        self.tick()?;
        let mut directory = self.directory.borrow_mut();
        directory.durable = directory.cached.clone();
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.tick()?;
        self.apply(Pending::Len(len));
        Ok(())
    }

    fn stamp(&self) -> io::Result<Stamp> {
        let file = self.file.borrow();
        Ok(Stamp { words: [1, file.inode, file.cached.len() as u64, file.modified, 0, file.modified, 0] })
    }
}

const USERS: usize = 7;

fn head(user: usize) -> String {
    // Lines of different lengths, so that slots lie across sectors in all ways.
    format!("HOTP user{user} {} 31323334353637383930", "pin".repeat(user * 9 + 1))
}

fn slot_of(user: usize, counter: i64) -> Slot {
    let head = head(user);
    let words: Vec<&[u8]> = head.split(' ').map(str::as_bytes).collect();
    let used = Used::At { first: 1_700_000_000 + counter, last: 1_700_000_000 + counter };
    let failures = (counter % 7) as u32;
    let state = State { counter, used, failures, at: Some(counter), ..State::fresh() };
    slot::write([words[0], words[1], words[2], words[3]], &state, &TimeZone::UTC)
}

/// A whole file; `comment` moves all lines.
fn image(comment: &str, counters: &[i64]) -> Vec<u8> {
    let mut content = format!("# {comment}\n").into_bytes();
    for (user, counter) in counters.iter().enumerate() {
        content.extend_from_slice(head(user).as_bytes());
        content.push(b' ');
        content.extend_from_slice(&slot_of(user, *counter));
        content.push(b'\n');
    }
    content
}

fn write_for(content: &[u8], user: usize, counter: i64) -> SlotWrite {
    let head = head(user);
    let line = content.windows(head.len()).position(|window| window == head.as_bytes()).expect("the line");
    let slot = line + head.len() + 1;
    SlotWrite {
        line: line as u64,
        slot: slot as u64,
        fingerprint: record::fingerprint_of_line(head.as_bytes()).expect("four fields"),
        before: content[slot..slot + slot::LEN].try_into().expect("a slot"),
        after: slot_of(user, counter),
    }
}

/// The next process: opens the journal and catches up.
fn open<'u>(
    journal: &SimDisk,
    users: &'u SimDisk,
    is_recovered: bool,
) -> Result<Journal<'u, SimDisk>, Fault> {
    let journal = Journal {
        file: journal.clone(),
        path: "journal".into(),
        users,
        users_path: "users".into(),
        // Full after a few frames, so that starting over is met all the time.
        capacity: FRAMES_START + 3 * 1024,
        header: Header::default(),
    };
    journal.catch_up(is_recovered)
}

/// What is being written when the crash comes.
#[derive(Clone)]
enum InFlight {
    Nothing,
    Counters(HashMap<usize, i64>),
    Image(Vec<u8>, Vec<i64>),
}

/// How a history's crashes come about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Crash {
    Power,
    Kill,
    Either,
}

/// One history: writes, crashes, takes over, checks, goes on. Returns how many crashes it has seen.
fn history(seed: u64, crash: Crash) -> usize {
    let machine = Machine::new(seed);
    let mut counters = vec![0; USERS];
    let mut comment = "first".to_owned();
    let mut users = SimDisk::new(&machine, image(&comment, &counters), INODE);
    let journal = SimDisk::new(&machine, Vec::new(), INODE + 1);
    let mut next = 1;
    let mut crashes = 0;
    let mut is_recovered = false;
    for _ in 0..8 {
        let fuse = draw(&machine, 60);
        machine.borrow_mut().light(Some(fuse));
        let mut in_flight = InFlight::Nothing;
        // Somebody who knows nothing of the journal has written, and no login has been answered since.
        let mut is_edited = false;
        let crashed = loop {
            users = users.named();
            let kind = draw(&machine, 24);
            if kind == 0 {
                (comment, counters, next) = ("e".repeat(draw(&machine, 300)), vec![next; USERS], next + 1);
                is_edited = true;
                let content = image(&comment, &counters);
                if edit(&users, &content).is_err() {
                    break true;
                }
                continue;
            }
            let Ok(mut open) = open(&journal, &users, is_recovered) else { break true };
            is_recovered = true;
            if kind <= 4 {
                let other = "x".repeat(draw(&machine, 700));
                let changed = vec![next; USERS];
                next += 1;
                let whole = image(&other, &changed);
                in_flight = InFlight::Image(whole.clone(), changed.clone());
                let is_done = if kind <= 2 {
                    open.write_image(whole).is_ok()
                } else {
                    let new = users.another(other_inode(&users));
                    let write = |out: &mut dyn io::Write| {
                        let (first, rest) = whole.split_at(whole.len() / 2);
                        let written = out.write_all(first).and_then(|()| out.write_all(rest));
                        written.map_err(|error| Fault::new("write", Path::new("users"), error))
                    };
                    matches!(open.replace_users(&new, write, || new.rename()), Ok(true))
                };
                if !is_done {
                    break true;
                }
                counters = changed;
                comment = other;
            } else {
                let content = users.content();
                let mut changed = HashMap::new();
                for _ in 0..=draw(&machine, 3) {
                    changed.insert(draw(&machine, USERS), next);
                    next += 1;
                }
                in_flight = InFlight::Counters(changed.clone());
                let writes =
                    changed.iter().map(|(user, counter)| write_for(&content, *user, *counter)).collect();
                if open.write_slots(writes).is_err() {
                    break true;
                }
                for (user, counter) in changed {
                    counters[user] = counter;
                }
            }
            in_flight = InFlight::Nothing;
            is_edited = false;
        };
        assert!(crashed);
        crashes += 1;
        machine.borrow_mut().light(None);
        let is_power_cut = crash == Crash::Power || (crash == Crash::Either && draw(&machine, 2) == 0);
        if is_power_cut {
            users.lose_power();
            journal.lose_power();
            is_recovered = false;
        } else {
            // Others go on, in processes that have recovered before; now and then a new one.
            is_recovered = draw(&machine, 2) == 0;
        }
        users = users.named();
        if is_edited {
            // What becomes of an editor's work before anybody has logged in is the editor's affair: it is done again.
            counters = vec![next; USERS];
            next += 1;
            let content = image(&comment, &counters);
            edit_in_place(&users, &content).expect("the lights are on");
            // Slots that don't stand there any more are left alone; a whole image is not asked what it replaces.
            if let InFlight::Counters(_) = in_flight {
                in_flight = InFlight::Nothing;
            }
        }

        let taken_over = open(&journal, &users, is_recovered).expect("the lights are on");
        drop(taken_over);
        is_recovered = true;
        let content = users.content();
        // A rewrite is there as a whole or not at all.
        if let InFlight::Image(whole, changed) = &in_flight
            && content == *whole
        {
            let first = whole.split(|&b| b == b'\n').next().unwrap_or_default();
            comment = String::from_utf8_lossy(&first[2..]).into_owned();
            counters = changed.clone();
            continue;
        }
        let mut found = Vec::new();
        for (user, committed) in counters.iter().enumerate() {
            let write = write_for(&content, user, 0);
            let pending = match &in_flight {
                InFlight::Counters(changed) => changed.get(&user).copied(),
                _ => None,
            };
            let value = [Some(*committed), pending]
                .into_iter()
                .flatten()
                .find(|counter| slot_of(user, *counter) == write.before);
            found.push(value.unwrap_or_else(|| {
                panic!(
                    "seed {seed} {crash:?}: user{user} is neither {committed} nor {pending:?}: {}",
                    write.before.escape_ascii()
                )
            }));
        }
        assert_eq!(content, image(&comment, &found), "seed {seed} {crash:?}: nothing else has changed");
        counters = found;
    }
    crashes
}

/// Numbers of files that are gone are given again.
fn other_inode(users: &SimDisk) -> u64 {
    if users.inode() == INODE { INODE + 2 } else { INODE }
}

/// In place or by a new file, and without a sync.
fn edit(users: &SimDisk, content: &[u8]) -> io::Result<()> {
    if draw(&users.machine, 2) == 0 {
        return edit_in_place(users, content);
    }
    let new = users.another(other_inode(users));
    new.write_all_at(content, 0)?;
    if new.rename() { Ok(()) } else { Err(crashed()) }
}

fn edit_in_place(users: &SimDisk, content: &[u8]) -> io::Result<()> {
    users.write_all_at(content, 0)?;
    users.set_len(content.len() as u64)
}

#[test]
fn after_a_power_cut_each_record_is_as_before_or_after_and_an_answered_one_as_after() {
    let crashes: usize = (1..=1500).map(|seed| history(seed, Crash::Power)).sum();
    assert_eq!(crashes, 12_000);
}

#[test]
fn after_a_kill_each_record_is_as_before_or_after_and_an_answered_one_as_after() {
    let crashes: usize = (1..=1500).map(|seed| history(seed, Crash::Kill)).sum();
    assert_eq!(crashes, 12_000);
}

/// What a killed process has left unsynced, a power cut may take away later.
#[test]
fn after_kills_and_power_cuts_in_turn_an_answered_record_is_as_after() {
    let crashes: usize = (1..=1500).map(|seed| history(seed, Crash::Either)).sum();
    assert_eq!(crashes, 12_000);
}

#[test]
fn the_simulated_disk_loses_what_was_not_synced() {
    let machine = Machine::new(42);
    let disk = SimDisk::new(&machine, b"before".to_vec(), INODE);
    let mut seen = std::collections::HashSet::new();
    for _ in 0..200 {
        disk.write_all_at(b"before", 0).expect("the lights are on");
        disk.sync_data().expect("the lights are on");
        disk.write_all_at(b"AFTER!", 0).expect("the lights are on");
        disk.lose_power();
        seen.insert(disk.content());
    }
    assert!(seen.contains(&b"before"[..]) && seen.contains(&b"AFTER!"[..]) && seen.contains(&b"AFTore"[..]));
}
