//! Crashes at every operation of thousands of generated histories, on a simulated disk.
//!
//! The disk keeps what was synced. Of what wasn't, a crash leaves any part: each write whole, not at all, or torn
//! at any byte within any of its sectors, in any order. A killed process is the milder case: all its writes stay,
//! but for the rest of the one it was in.
//!
//! After each crash the next process takes over, and must find every record as before or as after the write it was
//! in, and as after if the write was answered.

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
        SimDisk { machine: machine.clone(), file: Rc::new(RefCell::new(file)) }
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

/// One history: writes, crashes, takes over, checks, goes on. Returns how many crashes it has seen.
fn history(seed: u64, power: bool) -> usize {
    let machine = Machine::new(seed);
    let mut counters = vec![0; USERS];
    let mut comment = "first".to_owned();
    let users = SimDisk::new(&machine, image(&comment, &counters), INODE);
    let journal = SimDisk::new(&machine, Vec::new(), INODE + 1);
    let mut next = 1;
    let mut crashes = 0;
    let mut is_recovered = false;
    for _ in 0..8 {
        let fuse = draw(&machine, 40);
        machine.borrow_mut().light(Some(fuse));
        let mut in_flight = InFlight::Nothing;
        let crashed = loop {
            let Ok(mut open) = open(&journal, &users, is_recovered) else { break true };
            is_recovered = true;
            let content = users.content();
            if draw(&machine, 12) == 0 {
                let other = "x".repeat(draw(&machine, 700));
                let changed = vec![next; USERS];
                next += 1;
                in_flight = InFlight::Image(image(&other, &changed), changed.clone());
                if open.write_image(image(&other, &changed)).is_err() {
                    break true;
                }
                counters = changed;
                comment = other;
            } else {
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
        };
        assert!(crashed);
        crashes += 1;
        machine.borrow_mut().light(None);
        if power {
            users.lose_power();
            journal.lose_power();
            is_recovered = false;
        } else {
            // Others go on, in processes that have recovered before; now and then a new one.
            is_recovered = draw(&machine, 2) == 0;
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
                    "seed {seed} power {power}: user{user} is neither {committed} nor {pending:?}: {}",
                    write.before.escape_ascii()
                )
            }));
        }
        assert_eq!(content, image(&comment, &found), "seed {seed}: nothing else has changed");
        counters = found;
    }
    crashes
}

#[test]
fn after_a_power_cut_each_record_is_as_before_or_after_and_an_answered_one_as_after() {
    let crashes: usize = (1..=1500).map(|seed| history(seed, true)).sum();
    assert_eq!(crashes, 12_000);
}

#[test]
fn after_a_kill_each_record_is_as_before_or_after_and_an_answered_one_as_after() {
    let crashes: usize = (1..=1500).map(|seed| history(seed, false)).sum();
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
