//! A machine with a disk that loses, tears and reorders what wasn't synced.

use std::cell::RefCell;
use std::io;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use super::super::{Disk, Stamp};

const SECTOR: usize = 512;
const PAGE: usize = 4096;
/// How long an operation takes.
const STEP: Duration = Duration::from_millis(1);

/// A small generator (xorshift): the histories are the same in every run.
pub struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    pub fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit as u64) as usize
    }
}

/// What its files have in common.
pub struct Machine {
    /// Operations until the lights go out; `None`: they stay on.
    fuse: Option<usize>,
    /// Syncs until one fails.
    pub syncs_until_fault: Option<usize>,
    /// No file can grow.
    pub is_full: bool,
    is_dark: bool,
    random: Random,
    clock: Duration,
    /// Its file system keeps whole seconds.
    has_whole_seconds: bool,
    /// Runs of this machine.
    pub boots: u128,
    /// Runs between any two operations, while nobody's lights are out.
    pub onlooker: Option<Box<dyn FnMut()>>,
}

impl Machine {
    pub fn new(seed: u64) -> Rc<RefCell<Machine>> {
        let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        let has_whole_seconds = random.below(3) == 0;
        Rc::new(RefCell::new(Machine {
            fuse: None,
            syncs_until_fault: None,
            is_full: false,
            is_dark: false,
            random,
            clock: Duration::from_secs(1_700_000_000),
            has_whole_seconds,
            boots: 1,
            onlooker: None,
        }))
    }

    pub fn light(&mut self, fuse: Option<usize>) {
        self.fuse = fuse;
        self.is_dark = false;
    }

    pub fn now(&self) -> Duration {
        self.clock
    }

    pub fn wait(&mut self, time: Duration) {
        self.clock += time;
    }

    /// Seconds and nanoseconds, as coarse as the file system keeps them.
    fn file_time(&self) -> (u64, u64) {
        let seconds = self.clock.as_secs();
        if self.has_whole_seconds {
            return (seconds, 0);
        }
        // The kernel's clock for files ticks every ten milliseconds.
        (seconds, u64::from(self.clock.subsec_millis() / 10) * 10_000_000 + 1)
    }

    /// Counts an operation that changes something. `Err` if the lights go out in it or are out:
    /// with true for the operation in which they do.
    fn tick(&mut self) -> Result<(), bool> {
        self.clock += STEP;
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

pub fn crashed() -> io::Error {
    io::Error::other("crashed")
}

pub fn draw(machine: &RefCell<Machine>, limit: usize) -> usize {
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
    modified: (u64, u64),
    inode: u64,
    reserved: u64,
}

/// One file, and the name of the users file, which it may have.
#[derive(Clone)]
pub struct SimDisk {
    pub machine: Rc<RefCell<Machine>>,
    file: Rc<RefCell<SimFile>>,
    directory: Rc<RefCell<SimDirectory>>,
}

#[derive(Default)]
struct SimDirectory {
    durable: Option<Rc<RefCell<SimFile>>>,
    cached: Option<Rc<RefCell<SimFile>>>,
}

fn write_into(content: &mut Vec<u8>, at: usize, bytes: &[u8]) {
    let end = at + bytes.len();
    if content.len() < end {
        content.resize(end, 0);
    }
    content[at..end].copy_from_slice(bytes);
}

impl SimDisk {
    /// A file that has a name, durably.
    pub fn new(machine: &Rc<RefCell<Machine>>, content: Vec<u8>, inode: u64) -> SimDisk {
        let modified = machine.borrow().file_time();
        let reserved = content.len() as u64;
        let file = SimFile {
            durable: content.clone(),
            cached: content,
            pending: Vec::new(),
            modified,
            inode,
            reserved,
        };
        let file = Rc::new(RefCell::new(file));
        let directory = SimDirectory { durable: Some(file.clone()), cached: Some(file.clone()) };
        SimDisk { machine: machine.clone(), file, directory: Rc::new(RefCell::new(directory)) }
    }

    /// Another file in the same directory, without a name so far.
    pub fn another(&self, inode: u64) -> SimDisk {
        SimDisk {
            directory: self.directory.clone(),
            ..SimDisk::new(&self.machine, Vec::new(), inode)
        }
    }

    pub fn inode(&self) -> u64 {
        self.file.borrow().inode
    }

    /// Gives the file the name.
    pub fn rename(&self) -> bool {
        if self.tick().is_err() {
            return false;
        }
        self.directory.borrow_mut().cached = Some(self.file.clone());
        true
    }

    /// The file that has the name.
    pub fn named(&self) -> SimDisk {
        let file = self.directory.borrow().cached.clone().expect("there is always one");
        SimDisk { file, ..self.clone() }
    }

    fn tick(&self) -> io::Result<()> {
        let ticked = self.machine.borrow_mut().tick();
        self.show();
        ticked.map_err(|_| crashed())
    }

    fn show(&self) {
        let onlooker = self.machine.borrow_mut().onlooker.take();
        if let Some(mut onlooker) = onlooker {
            if !self.machine.borrow().is_dark {
                onlooker();
            }
            self.machine.borrow_mut().onlooker = Some(onlooker);
        }
    }

    fn apply(&self, change: Pending) {
        let mut file = self.file.borrow_mut();
        match &change {
            Pending::Write(at, bytes) => write_into(&mut file.cached, *at as usize, bytes),
            Pending::Len(len) => file.cached.resize(*len as usize, 0),
        }
        file.modified = self.machine.borrow().file_time();
        file.reserved = file.reserved.max(file.cached.len() as u64);
        file.pending.push(change);
    }

    /// The power is gone: what the disk holds when it comes back.
    pub fn lose_power(&self) {
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
        let kept = self.what_a_disk_keeps();
        let mut file = self.file.borrow_mut();
        file.durable = kept.clone();
        file.cached = kept;
        file.pending.clear();
        file.modified = self.machine.borrow().file_time();
    }

    /// Of each sector, any of its contents since the last sync, or the beginning of one of them and
    /// the end of another; of some pages as a whole.
    fn what_a_disk_keeps(&self) -> Vec<u8> {
        let file = self.file.borrow();
        let random = &mut self.machine.borrow_mut().random;
        let mut versions = vec![file.durable.clone()];
        for change in &file.pending {
            let mut next = versions[versions.len() - 1].clone();
            match change {
                Pending::Len(len) => next.resize(*len as usize, 0),
                Pending::Write(at, bytes) => write_into(&mut next, *at as usize, bytes),
            }
            versions.push(next);
        }
        let len = versions[random.below(versions.len())].len();
        let piece_len = if random.below(3) == 0 { PAGE } else { SECTOR };
        let mut content = vec![0; len];
        for (number, piece) in content.chunks_mut(piece_len).enumerate() {
            let len = piece.len();
            let of = |version: &[u8]| {
                let mut bytes = version.get(number * piece_len..).unwrap_or_default().to_vec();
                bytes.resize(len, 0);
                bytes
            };
            let a = of(&versions[random.below(versions.len())]);
            piece.copy_from_slice(&a);
            if random.below(2) == 0 {
                let b = of(&versions[random.below(versions.len())]);
                // A page is torn between sectors, of which one is torn at a byte.
                let cut = random.below(piece.len() + 1);
                piece[cut..].copy_from_slice(&b[cut..]);
            }
        }
        content
    }

    pub fn content(&self) -> Vec<u8> {
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
        self.show();
        if let Err(is_in_this_write) = ticked {
            if is_in_this_write {
                let part = draw(&self.machine, bytes.len() + 1);
                self.apply(Pending::Write(at, bytes[..part].to_vec()));
            }
            return Err(crashed());
        }
        let room = self.file.borrow().reserved.saturating_sub(at) as usize;
        if self.machine.borrow().is_full && bytes.len() > room {
            self.apply(Pending::Write(at, bytes[..room].to_vec()));
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.apply(Pending::Write(at, bytes.to_vec()));
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        self.tick()?;
        let is_faulty = match &mut self.machine.borrow_mut().syncs_until_fault {
            Some(0) => true,
            Some(left) => {
                *left -= 1;
                false
            }
            None => false,
        };
        if is_faulty {
            self.machine.borrow_mut().syncs_until_fault = None;
            // Some of it is saved, and no later sync tries to save the rest.
            let kept = self.what_a_disk_keeps();
            let mut file = self.file.borrow_mut();
            file.durable = kept;
            file.pending.clear();
            return Err(io::Error::other("the disk is broken"));
        }
        let mut file = self.file.borrow_mut();
        for change in std::mem::take(&mut file.pending) {
            match change {
                Pending::Write(at, bytes) => write_into(&mut file.durable, at as usize, &bytes),
                Pending::Len(len) => file.durable.resize(len as usize, 0),
            }
        }
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

    fn reserve(&self, len: u64) -> io::Result<()> {
        self.tick()?;
        let mut file = self.file.borrow_mut();
        if len > file.reserved {
            if self.machine.borrow().is_full {
                return Err(io::ErrorKind::StorageFull.into());
            }
            file.reserved = len;
        }
        Ok(())
    }

    fn stamp(&self) -> io::Result<Stamp> {
        let file = self.file.borrow();
        let (seconds, nanoseconds) = file.modified;
        let size = file.cached.len() as u64;
        Ok(Stamp::from_words([1, file.inode, size, seconds, nanoseconds, seconds, nanoseconds]))
    }
}

#[test]
fn the_simulated_disk_loses_and_tears_what_was_not_synced() {
    let machine = Machine::new(42);
    let disk = SimDisk::new(&machine, b"before".to_vec(), 1);
    let mut seen = std::collections::HashSet::new();
    for _ in 0..400 {
        disk.write_all_at(b"before", 0).expect("the lights are on");
        disk.sync_data().expect("the lights are on");
        disk.write_all_at(b"AFTER!", 0).expect("the lights are on");
        disk.lose_power();
        seen.insert(disk.content());
    }
    for content in [b"before", b"AFTER!", b"AFTore", b"befER!"] {
        assert!(seen.contains(&content[..]), "{}", content.escape_ascii());
    }
}

#[test]
fn the_simulated_disk_forgets_what_a_failed_sync_was_to_save() {
    let machine = Machine::new(1);
    let mut lost = 0;
    for _ in 0..100 {
        let disk = SimDisk::new(&machine, b"before".to_vec(), 1);
        disk.write_all_at(b"AFTER!", 0).expect("the lights are on");
        machine.borrow_mut().syncs_until_fault = Some(0);
        disk.sync_data().expect_err("it was to fail");
        assert_eq!(disk.content(), b"AFTER!");
        disk.sync_data().expect("the next one says nothing");
        disk.lose_power();
        lost += usize::from(disk.content() != b"AFTER!");
    }
    assert!(lost > 10, "{lost}");
}
