//! Crashes at every operation of generated histories, on a simulated machine.
//!
//! Its disk keeps what was synced. Of what wasn't, a power cut leaves of each sector any content
//! there was, or the beginning of one and the end of another. A killed process is the milder case:
//! all its writes stay, but for the rest of the one it was in. A sync can fail, and the disk can be
//! full.
//!
//! After each crash the next process takes over (and may crash in turn), and must find every record
//! as before or as after the write it was in, all of them the same, and as after if the write was
//! answered. Lines of sessions and computers are written along with those of tokens. Meanwhile,
//! between any two operations, other processes read without the lock, by the same rules as a server
//! does: what they take for whole must be so, and nobody who is listed may be unknown to them.
//!
//! Slots are written, the file is overwritten in place or replaced by a new one under its name, with
//! lines that come and go along with a slot; the hour of an app is noted, which a crash may take back
//! or leave half written, and which touches nothing else; somebody edits it without knowing of any of this, in place or by a new file, and without a sync;
//! somebody edits it under the lock.

mod machine;
mod onlooker;

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::rc::Rc;

use jiff::tz::TimeZone;

use self::machine::{Machine, SimDisk, crashed, draw};
use self::onlooker::Onlooker;
use super::*;
use crate::token::{
    Address, Computer, ComputerId, CounterField, ReplayFloor, Session, SessionId, SessionKind,
    State, TokenTag, Used,
};
use crate::users::pragma;
use crate::users::slot::{self, Slot};

const INODE: u64 = 7;
/// Lines: those of tokens first, then one of sessions and one of computers for some of their users.
const USERS: usize = 9;
const TOKENS: usize = 7;
const COMMENT_MAX: usize = 700;
const APP: &str = "#@ app user0 phone sha256:00112233445566778899aabbccddeeff:";
const USED: &str = " used=";
/// As never used.
const NEVER: Hour = *b"0000-00-00T00Z";
/// The hour of an app's last use.
type Hour = [u8; 14];

fn hour_of(number: i64) -> Hour {
    pragma::written_hour(Some(1_700_000_000 + number.wrapping_mul(0x9e37_79b9) % 900_000_000))
}

fn head(user: usize) -> String {
    if user >= TOKENS {
        let kind = if has_computers(user) { "computer" } else { "session" };
        return format!("#@ {kind} {}", user_of_places(user));
    }
    // Lines of different lengths, so that slots lie across sectors in all ways.
    format!("HOTP user{user} {} 31323334353637383930", "pin".repeat(user * 9 + 1))
}

fn user_of_places(user: usize) -> String {
    format!("user{}{}", user - TOKENS, "-".repeat(user * 7))
}

fn has_computers(user: usize) -> bool {
    user == USERS - 1
}

/// One to four sessions or computers.
fn places_of(user: usize, number: i64) -> Slot {
    let name = user_of_places(user);
    let is_there = |place: usize| place == 0 || number >> place & 1 == 1;
    if has_computers(user) {
        let computer = |place: usize| Computer {
            id: ComputerId([(number as u8).wrapping_mul(31).wrapping_add(place as u8); 12]),
            token: TokenTag([place as u8; 6]),
            first: 1_700_000_000 + number,
            last: 1_700_000_000 + number,
            days: 30,
            generation: (number as u32).wrapping_mul(0x9e37_79b9) % Computer::GENERATIONS_END,
            unseen: number as u8 % Computer::UNSEEN_END,
        };
        let places = std::array::from_fn(|place| is_there(place).then(|| computer(place)));
        return pragma::places_word(name.as_bytes(), &places);
    }
    let session = |place: usize| Session {
        id: SessionId([(number as u8).wrapping_mul(31).wrapping_add(place as u8); 16]),
        token: TokenTag([place as u8; 6]),
        kind: SessionKind::Code,
        first: 1_700_000_000 + number,
        last: 1_700_000_000 + number,
    };
    let places = std::array::from_fn(|place| is_there(place).then(|| session(place)));
    pragma::places_word(name.as_bytes(), &places)
}

/// Slots of many shapes: what is short in one is long in the next, so that a torn one can end in a
/// whole one's rest.
fn slot_of(user: usize, number: i64) -> Slot {
    if user >= TOKENS {
        return places_of(user, number);
    }
    let head = head(user);
    let words: Vec<&[u8]> = head.split(' ').map(str::as_bytes).collect();
    let shape = number.wrapping_mul(0x9e37_79b9).unsigned_abs() >> 7;
    let of = |bit: u64, long: i64, short: i64| if shape >> bit & 1 == 0 { long } else { short };
    let address = match shape >> 5 & 3 {
        0 => "2001:db8:1234:5678:9abc:def0:1234:5678",
        1 => "192.0.2.1",
        _ => "::1",
    };
    let state = State {
        counter: CounterField::from_written(number),
        failures: of(0, 4_000_000_000, number % 7) as u32,
        last_otp: crate::otp::Code::new(if shape & 2 == 0 { b"1234567890" } else { b"000000" }),
        used: match shape >> 4 & 1 {
            0 => Used::At { first: 1_700_000_000 + number, last: 1_700_000_000 + number },
            _ => Used::Never,
        },
        address: if shape & 4 == 0 {
            Address::Unknown
        } else {
            Address::Ip(address.parse().expect("an address"))
        },
        replay_floor: Some(ReplayFloor::from_written(of(
            3,
            1_700_000_000_000_000_000 + number,
            number,
        ))),
        last_failure: (shape & 8 == 0).then_some(1_700_000_000 + number),
        intact: true,
    };
    slot::write([words[0], words[1], words[2], words[3]], &state, &TimeZone::UTC)
}

/// A whole file. The comment moves all lines; what it is shorter than the longest stands at the
/// end, so that all files have one size.
#[derive(Clone, PartialEq)]
struct Content {
    comment: String,
    hour: Hour,
    slots: Vec<Slot>,
    /// Users for whom it is said that a PIN alone isn't enough.
    closed: BTreeSet<usize>,
}

impl Content {
    fn new(comment: String, number: i64) -> Content {
        let slots = (0..USERS).map(|user| slot_of(user, number)).collect();
        Content { comment, hour: NEVER, slots, closed: BTreeSet::new() }
    }

    fn bytes(&self) -> Vec<u8> {
        let mut content =
            format!("#@ limits max_failures=5\n# {}\n#@ free    \n", self.comment).into_bytes();
        content.extend_from_slice(format!("{APP}{}{USED}", "0f".repeat(32)).as_bytes());
        content.extend_from_slice(&self.hour);
        content.extend_from_slice(b" path=/dav/\n");
        for (user, slot) in self.slots.iter().enumerate() {
            content.extend_from_slice(head(user).as_bytes());
            content.push(b' ');
            content.extend_from_slice(slot);
            content.push(b'\n');
        }
        content.extend_from_slice(
            format!("#{}\n", "-".repeat(COMMENT_MAX - self.comment.len())).as_bytes(),
        );
        for user in &self.closed {
            content.extend_from_slice(&pragma::until_code_line(format!("user{user}").as_bytes()));
            content.push(b'\n');
        }
        content
    }
}

/// Where the hour stands.
fn hour_in(content: &[u8]) -> Option<std::ops::Range<usize>> {
    let line = memchr::memmem::find(content, APP.as_bytes())?;
    let at = line + memchr::memmem::find(&content[line..], USED.as_bytes())? + USED.len();
    (content.len() >= at + NEVER.len()).then_some(at..at + NEVER.len())
}

fn slot_in(content: &[u8], user: usize) -> Option<(usize, usize)> {
    let head = head(user);
    let line = content.windows(head.len()).position(|window| window == head.as_bytes())?;
    let at = line + head.len() + 1;
    (content.len() >= at + slot::LEN).then_some((line, at))
}

fn write_for(content: &[u8], user: usize, after: Slot) -> SlotWrite {
    let (line, at) = slot_in(content, user).expect("the line");
    SlotWrite {
        line: line as u64,
        slot: at as u64,
        fingerprint: slot::fingerprint_of_head(head(user).as_bytes()).expect("a head"),
        before: content[at..at + slot::LEN].try_into().expect("a slot"),
        after,
    }
}

/// What answered logins and finished edits have made of the file, and what is just being made of
/// it.
struct Expected {
    content: Content,
    in_flight: InFlight,
    /// Hours that were ever noted: a crash may leave any of them, or parts of several.
    hours: BTreeSet<Hour>,
    /// Slots in flight that readers have met.
    relied_on: BTreeMap<usize, Slot>,
    /// Somebody who knows nothing of the journal writes or has just written: what readers see is
    /// that one's affair.
    is_edited: bool,
}

/// What is being written when the crash comes.
#[derive(Clone)]
enum InFlight {
    Nothing,
    Slots(BTreeMap<usize, Slot>),
    Whole(Content),
}

impl Expected {
    fn new(content: Content) -> Expected {
        Expected {
            hours: [content.hour].into(),
            content,
            in_flight: InFlight::Nothing,
            relied_on: BTreeMap::new(),
            is_edited: false,
        }
    }

    /// The content that the file has, if that is one it may have.
    fn met(&self, bytes: &[u8]) -> Option<Content> {
        let hour: Hour = bytes[hour_in(bytes)?].try_into().expect("an hour");
        let is_of_noted = |(place, byte)| self.hours.iter().any(|noted| noted[place] == byte);
        if !hour.into_iter().enumerate().all(is_of_noted) {
            return None;
        }
        // A rewrite is there as a whole or not at all.
        if let InFlight::Whole(whole) = &self.in_flight {
            let whole = Content { hour, ..whole.clone() };
            if bytes == whole.bytes() {
                return Some(whole);
            }
        }
        let mut met = Content { hour, ..self.content.clone() };
        for user in 0..USERS {
            let (_, at) = slot_in(bytes, user)?;
            let slot: Slot = bytes[at..at + slot::LEN].try_into().expect("a slot");
            if !self.may_have(user, &slot)
                || self.relied_on.get(&user).is_some_and(|known| *known != slot)
            {
                return None;
            }
            met.slots[user] = slot;
        }
        (bytes == met.bytes()).then_some(met)
    }

    fn may_have(&self, user: usize, slot: &Slot) -> bool {
        *slot == self.content.slots[user] || self.pending(user) == Some(slot)
    }

    fn pending(&self, user: usize) -> Option<&Slot> {
        match &self.in_flight {
            InFlight::Nothing => None,
            InFlight::Slots(slots) => slots.get(&user),
            InFlight::Whole(whole) => Some(&whole.slots[user]),
        }
    }

    /// A reader has answered by what is being written: a crash may not take it back.
    fn was_relied_on(&mut self, user: usize, slot: &Slot) {
        if self.pending(user) == Some(slot) {
            self.relied_on.insert(user, *slot);
        }
    }
}

/// The next process: opens the journal and catches up.
fn open<'u>(
    journal: &SimDisk,
    users: &'u SimDisk,
    is_recovered: bool,
    safety: Safety,
) -> Result<Journal<'u, SimDisk>, Fault> {
    let mut journal = Journal {
        file: journal.clone(),
        path: "journal".into(),
        users,
        users_path: "users".into(),
        // Full after a few frames, so that starting over is met all the time.
        capacity: FRAMES_START + 3 * 1024,
        header: Header::default(),
        life: Some(life_of(journal)),
        safety,
    };
    journal.refuse_foreign_content()?;
    match journal.quiet_header(is_recovered)? {
        Some(header) => journal.header = header,
        None => journal.recover(is_recovered)?,
    }
    Ok(journal)
}

fn life_of(journal: &SimDisk) -> Life {
    let boot = journal.machine.borrow().boots;
    Life { boot, mount: 1, is_unique: true, journal: (1, journal.inode()) }
}

/// How a history's crashes come about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Crash {
    Power,
    Kill,
    Either,
    /// Syncs fail, and now and then the power does.
    Sync,
    /// The disk is full, and now and then the power goes.
    Full,
    /// The file has two names, with a journal each.
    TwoJournals,
}

struct History {
    seed: u64,
    crash: Crash,
    machine: Rc<RefCell<Machine>>,
    users: SimDisk,
    journals: Vec<SimDisk>,
    safety: Safety,
    expected: Rc<RefCell<Expected>>,
    onlookers: Rc<RefCell<Vec<Onlooker>>>,
    /// Whether the process that writes has recovered from each journal.
    is_recovered: Vec<bool>,
    next: i64,
}

impl History {
    fn new(seed: u64, crash: Crash) -> History {
        let machine = Machine::new(seed);
        let content = Content::new("first".to_owned(), 0);
        let users = SimDisk::new(&machine, content.bytes(), INODE);
        let (count, safety) = match crash {
            Crash::TwoJournals => (2, Safety::SyncedEach("two names")),
            _ => (1, Safety::Journalled),
        };
        let journals: Vec<SimDisk> =
            (0..count).map(|i| SimDisk::new(&machine, Vec::new(), INODE + 10 + i)).collect();
        let expected = Expected::new(content);
        History {
            seed,
            crash,
            machine,
            users,
            safety,
            expected: Rc::new(RefCell::new(expected)),
            onlookers: Rc::default(),
            is_recovered: vec![false; journals.len()],
            journals,
            next: 1,
        }
    }

    fn draw(&self, limit: usize) -> usize {
        draw(&self.machine, limit)
    }

    fn fresh_number(&mut self) -> i64 {
        self.next += 1;
        self.next
    }

    /// Writes, crashes, takes over, checks, goes on. Returns how many crashes it has seen.
    fn run(mut self) -> usize {
        let mut crashes = 0;
        self.seat_onlookers();
        for _ in 0..8 {
            self.prepare_trouble();
            while self.step().is_ok() {
                self.onlookers.borrow_mut().iter_mut().for_each(Onlooker::look);
            }
            crashes += 1;
            self.crash();
            while self.take_over().is_err() {
                crashes += 1;
                self.crash();
            }
        }
        crashes
    }

    fn prepare_trouble(&self) {
        let fuse = self.draw(60);
        let fault = (self.crash == Crash::Sync).then(|| self.draw(12));
        let mut machine = self.machine.borrow_mut();
        machine.light(Some(fuse));
        machine.syncs_until_fault = fault;
        machine.is_full = self.crash == Crash::Full;
    }

    /// One thing that somebody does to the file. `Err`: it was cut short, or failed.
    fn step(&mut self) -> Result<(), Fault> {
        self.users = self.users.named();
        let at_random = self.draw(self.journals.len());
        match self.draw(36) {
            // By the other journal, the image of one that was cut short would undo what came later.
            2..=6 if self.crash == Crash::TwoJournals => self.log_in(at_random),
            0 => self.edit_without_the_lock(),
            1 => self.edit_under_the_lock(at_random),
            2..=3 => self.write_image(at_random),
            4..=5 => self.replace(at_random),
            6 => self.make_the_journal_anew(at_random),
            28..=31 => self.note_the_hour(at_random),
            // By the other journal, as above.
            32..=35 if self.crash == Crash::TwoJournals => self.note_the_hour(at_random),
            32..=33 => self.close_a_pin(at_random, History::write_whole),
            34..=35 => self.close_a_pin(at_random, History::replace_whole),
            _ => self.log_in(at_random),
        }
    }

    fn settle(&mut self, content: Content) {
        let mut expected = self.expected.borrow_mut();
        let mut hours = std::mem::take(&mut expected.hours);
        hours.insert(content.hour);
        *expected = Expected { hours, ..Expected::new(content) };
    }

    fn log_in(&mut self, at: usize) -> Result<(), Fault> {
        let users = self.users.clone();
        let mut open = open(&self.journals[at], &users, self.is_recovered[at], self.safety)?;
        self.is_recovered[at] = true;
        let mut changed = BTreeMap::new();
        for _ in 0..=draw(&self.machine, 3) {
            let user = draw(&self.machine, USERS);
            self.next += 1;
            changed.insert(user, slot_of(user, self.next));
        }
        let bytes = users.content();
        self.expected.borrow_mut().in_flight = InFlight::Slots(changed.clone());
        open.write_slots(
            changed.iter().map(|(&user, &slot)| write_for(&bytes, user, slot)).collect(),
        )?;
        drop(open);
        let mut content = self.expected.borrow().content.clone();
        for (user, slot) in changed {
            content.slots[user] = slot;
        }
        self.settle(content);
        Ok(())
    }

    fn write_image(&mut self, at: usize) -> Result<(), Fault> {
        let whole = self.other_content();
        self.write_whole(at, whole)
    }

    fn replace(&mut self, at: usize) -> Result<(), Fault> {
        let whole = self.other_content();
        self.replace_whole(at, whole)
    }

    /// Everybody else's lines stay; a user's slot and the line about their PIN change together.
    fn close_a_pin(
        &mut self,
        at: usize,
        write: fn(&mut History, usize, Content) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        let mut whole = self.expected.borrow().content.clone();
        let user = self.draw(USERS);
        if !whole.closed.remove(&user) {
            whole.closed.insert(user);
        }
        let number = self.fresh_number();
        whole.slots[user] = slot_of(user, number);
        write(self, at, whole)
    }

    fn other_content(&mut self) -> Content {
        let number = self.fresh_number();
        let comment = "x".repeat(self.draw(COMMENT_MAX));
        let content = &self.expected.borrow().content;
        let (hour, closed) = (content.hour, content.closed.clone());
        Content { hour, closed, ..Content::new(comment, number) }
    }

    /// Nothing rests on it: it isn't journalled, nor synced.
    fn note_the_hour(&mut self, at: usize) -> Result<(), Fault> {
        let users = self.users.clone();
        let mut open = open(&self.journals[at], &users, self.is_recovered[at], self.safety)?;
        self.is_recovered[at] = true;
        let hour = hour_of(self.next);
        self.expected.borrow_mut().hours.insert(hour);
        let place = hour_in(&users.content()).expect("the line");
        open.write_notes(&[(place.start as u64, hour.to_vec())])?;
        drop(open);
        let content = Content { hour, ..self.expected.borrow().content.clone() };
        self.settle(content);
        Ok(())
    }

    fn write_whole(&mut self, at: usize, whole: Content) -> Result<(), Fault> {
        let users = self.users.clone();
        let mut open = open(&self.journals[at], &users, self.is_recovered[at], self.safety)?;
        self.is_recovered[at] = true;
        self.expected.borrow_mut().in_flight = InFlight::Whole(whole.clone());
        open.write_image(whole.bytes().into())?;
        drop(open);
        self.settle(whole);
        self.assert_wiped(at);
        Ok(())
    }

    fn replace_whole(&mut self, at: usize, whole: Content) -> Result<(), Fault> {
        let users = self.users.clone();
        let mut open = open(&self.journals[at], &users, self.is_recovered[at], self.safety)?;
        self.is_recovered[at] = true;
        self.expected.borrow_mut().in_flight = InFlight::Whole(whole.clone());
        let new = users.another(other_inode(&users));
        let bytes = whole.bytes();
        let write = |out: &mut dyn io::Write| {
            let (first, rest) = bytes.split_at(bytes.len() / 2);
            let written = out.write_all(first).and_then(|()| out.write_all(rest));
            written.map_err(|error| Fault::new("write", Path::new("users"), error))
        };
        if !open.replace_users(&new, write, || new.rename())? {
            return Err(Fault::new("rename", Path::new("users"), crashed()));
        }
        drop(open);
        self.settle(whole);
        Ok(())
    }

    /// In place or by a new file, and without a sync.
    fn edit_without_the_lock(&mut self) -> Result<(), Fault> {
        let number = self.fresh_number();
        let before = self.expected.borrow().content.clone();
        let comment = "e".repeat(self.draw(300));
        let (hour, closed) = (before.hour, before.closed);
        let content = Content { hour, closed, ..Content::new(comment, number) };
        self.expected.borrow_mut().is_edited = true;
        // By an editor that takes its time: two changes in one tick of the clock are told to be
        // one.
        self.machine.borrow_mut().wait(std::time::Duration::from_millis(1100));
        let bytes = content.bytes();
        let done = if self.draw(2) == 0 {
            overwrite(&self.users, &bytes)
        } else {
            let new = self.users.another(other_inode(&self.users));
            let named = new.write_all_at(&bytes, 0).map(|()| new.rename());
            named.and_then(|is_named| if is_named { Ok(()) } else { Err(crashed()) })
        };
        self.machine.borrow_mut().wait(std::time::Duration::from_millis(1100));
        self.expected.borrow_mut().content = content;
        done.map_err(|error| Fault::new("edit", Path::new("users"), error))
    }

    /// In place, by hand, without the checksum: failures are cleared, or a counter is set to one
    /// there was before.
    fn edit_under_the_lock(&mut self, at: usize) -> Result<(), Fault> {
        let users = self.users.clone();
        let mut open = open(&self.journals[at], &users, self.is_recovered[at], self.safety)?;
        self.is_recovered[at] = true;
        open.empty()?;
        let user = draw(&self.machine, USERS);
        let mut content = self.expected.borrow().content.clone();
        let earlier = slot_of(user, self.next - draw(&self.machine, 3) as i64);
        match draw(&self.machine, 3) {
            _ if user >= TOKENS => content.slots[user] = earlier,
            0 => content.slots[user][21..31].copy_from_slice(b"0         "),
            1 => content.slots[user][..20].copy_from_slice(&earlier[..20]),
            _ => content.slots[user] = earlier,
        }
        self.expected.borrow_mut().is_edited = true;
        let edited = overwrite(&users, &content.bytes());
        self.expected.borrow_mut().content = content.clone();
        edited.map_err(|error| Fault::new("edit", Path::new("users"), error))?;
        // Who held the lock says so when it lets go.
        open.empty()?;
        drop(open);
        self.settle(content);
        Ok(())
    }

    /// More people could write it than the users file: what it holds is carried out, and another
    /// one takes its place.
    fn make_the_journal_anew(&mut self, at: usize) -> Result<(), Fault> {
        let users = self.users.clone();
        let mut open = open(&self.journals[at], &users, self.is_recovered[at], self.safety)?;
        self.is_recovered[at] = false;
        open.empty()?;
        let old = self.journals[at].clone();
        old.write_all_at(&[0; Header::LEN], 0)
            .map_err(|error| Fault::new("write", Path::new("journal"), error))?;
        let other = INODE + 10 + (old.inode() - INODE - 9) % 2;
        self.journals[at] = SimDisk::new(&self.machine, Vec::new(), other);
        for onlooker in &mut *self.onlookers.borrow_mut() {
            onlooker.finds_another_journal(&self.journals[at]);
        }
        Ok(())
    }

    fn assert_wiped(&self, at: usize) {
        let journal = self.journals[at].content();
        let is_there = journal.windows(5).any(|window| window == b"pinpi" || window == b"HOTP ");
        assert!(!is_there, "seed {} {:?}: a PIN is left in the journal", self.seed, self.crash);
    }

    /// What one step has written, of tokens and of sessions, is there as a whole or not at all.
    fn assert_of_one_step(&self, met: &Content) {
        if let InFlight::Slots(slots) = &self.expected.borrow().in_flight {
            let there = slots.iter().filter(|(user, slot)| met.slots[**user] == **slot).count();
            let is_whole = there == 0 || there == slots.len();
            assert!(is_whole, "seed {} {:?}: {there} of {}", self.seed, self.crash, slots.len());
        }
    }

    /// What comes of the lights going out, or of a fault.
    fn crash(&mut self) {
        self.machine.borrow_mut().light(None);
        self.machine.borrow_mut().syncs_until_fault = None;
        let is_power_cut = match self.crash {
            Crash::Power => true,
            Crash::Kill => false,
            // A fault that was told, and the power goes later.
            _ => self.draw(2) == 0,
        };
        if is_power_cut {
            self.users.lose_power();
            self.journals.iter().for_each(SimDisk::lose_power);
            self.machine.borrow_mut().boots += 1;
            self.seat_onlookers();
            self.is_recovered.fill(false);
        } else {
            // Others go on, in processes that have recovered before; now and then a new one.
            let is_recovered = self.draw(2) == 0;
            self.is_recovered.iter_mut().for_each(|known| *known &= is_recovered);
            if self.draw(2) == 0 {
                self.machine.borrow_mut().wait(std::time::Duration::from_millis(1100));
            }
            self.onlookers.borrow_mut().iter_mut().for_each(Onlooker::look);
        }
        self.users = self.users.named();
        if self.expected.borrow().is_edited {
            // What becomes of an editor's work before anybody has logged in is the editor's affair:
            // it is done again.
            self.machine.borrow_mut().is_full = false;
            let number = self.fresh_number();
            let before = self.expected.borrow().content.clone();
            let slots = Content::new(String::new(), number).slots;
            let content = Content { slots, ..before };
            self.machine.borrow_mut().wait(std::time::Duration::from_millis(1100));
            overwrite(&self.users, &content.bytes()).expect("the lights are on");
            self.machine.borrow_mut().wait(std::time::Duration::from_millis(1100));
            // Slots that don't stand there any more are left alone; a whole image is not asked what
            // it replaces.
            let mut expected = self.expected.borrow_mut();
            expected.content = content;
            expected.relied_on.clear();
            if let InFlight::Slots(_) = expected.in_flight {
                expected.in_flight = InFlight::Nothing;
            }
        }
    }

    /// The next process. `Err`: it crashed as well.
    fn take_over(&mut self) -> Result<(), Fault> {
        if self.draw(3) == 0 {
            let fuse = self.draw(20);
            self.machine.borrow_mut().light(Some(fuse));
            if self.crash == Crash::Sync && self.draw(2) == 0 {
                let fault = self.draw(3);
                self.machine.borrow_mut().syncs_until_fault = Some(fault);
            }
        }
        let first = self.draw(self.journals.len());
        for at in (0..self.journals.len()).map(|i| (i + first) % self.journals.len()) {
            let users = self.users.clone();
            let taken_over = open(&self.journals[at], &users, self.is_recovered[at], self.safety);
            if let Err(fault) = taken_over {
                self.is_recovered[at] = false;
                let is_full =
                    fault.cause == io::Error::from(io::ErrorKind::StorageFull).to_string();
                if is_full {
                    // Nobody is granted anything until there is space.
                    self.machine.borrow_mut().is_full = false;
                }
                return Err(fault);
            }
            self.is_recovered[at] = true;
        }
        self.machine.borrow_mut().light(None);
        let bytes = self.users.content();
        let met = self.expected.borrow().met(&bytes);
        let Some(met) = met else {
            let expected = self.expected.borrow();
            let slots: Vec<String> = (0..USERS)
                .filter_map(|user| {
                    let (_, at) = slot_in(&bytes, user)?;
                    let slot: Slot = bytes[at..at + slot::LEN].try_into().expect("a slot");
                    let committed = &expected.content.slots[user];
                    (!expected.may_have(user, &slot)).then(|| {
                        format!(
                            "user{user}:\n{}\nis not\n{}",
                            slot.escape_ascii(),
                            committed.escape_ascii()
                        )
                    })
                })
                .collect();
            panic!(
                "seed {} {:?}: the file is as nobody left it\n{}",
                self.seed,
                self.crash,
                slots.join("\n")
            );
        };
        self.assert_of_one_step(&met);
        self.settle(met);
        (0..self.journals.len()).for_each(|at| self.assert_wiped(at));
        self.onlookers.borrow_mut().iter_mut().for_each(|onlooker| onlooker.is_recovered = true);
        Ok(())
    }

    /// Other processes, which have read nothing so far.
    fn seat_onlookers(&self) {
        let new = |at: usize| {
            Onlooker::new(
                &self.users,
                &self.journals[at],
                self.expected.clone(),
                (self.seed, self.crash),
            )
        };
        *self.onlookers.borrow_mut() = vec![new(0), new(self.journals.len() - 1)];
        // One looks all the time, the other now and then.
        let (onlookers, machine) = (self.onlookers.clone(), Rc::downgrade(&self.machine));
        self.machine.borrow_mut().onlooker = Some(Box::new(move || {
            let mut onlookers = onlookers.borrow_mut();
            onlookers[0].look();
            if machine.upgrade().is_some_and(|machine| draw(&machine, 5) == 0) {
                onlookers[1].look();
            }
        }));
    }
}

/// Numbers of files that are gone are given again.
fn other_inode(users: &SimDisk) -> u64 {
    if users.inode() == INODE { INODE + 2 } else { INODE }
}

fn overwrite(users: &SimDisk, content: &[u8]) -> io::Result<()> {
    users.write_all_at(content, 0)?;
    users.set_len(content.len() as u64)
}

/// `OTPGATE_TEST_HISTORIES` has more of them run, from other seeds.
fn crashes(crash: Crash) -> usize {
    let set = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let histories = set("OTPGATE_TEST_HISTORIES").unwrap_or(2200);
    let first = set("OTPGATE_TEST_SEED").unwrap_or(1);
    let crashes =
        (first..first + histories).map(|seed| History::new(seed, crash).run()).sum::<usize>();
    println!("{crash:?}: {crashes} crashes in {histories} histories from seed {first}");
    assert!(crashes as u64 >= 8 * histories);
    crashes
}

#[test]
fn after_a_power_cut_each_record_is_as_before_or_after_and_an_answered_one_as_after() {
    crashes(Crash::Power);
}

#[test]
fn after_a_kill_each_record_is_as_before_or_after_and_an_answered_one_as_after() {
    crashes(Crash::Kill);
}

/// What a killed process has left unsynced, a power cut may take away later.
#[test]
fn after_kills_and_power_cuts_in_turn_an_answered_record_is_as_after() {
    crashes(Crash::Either);
}

#[test]
fn after_a_failed_sync_nothing_rests_on_what_it_was_to_save() {
    crashes(Crash::Sync);
}

#[test]
fn on_a_full_disk_a_record_is_as_before_or_after_and_nobody_is_unknown() {
    crashes(Crash::Full);
}

#[test]
fn two_journals_on_one_file_undo_nothing_of_each_other() {
    crashes(Crash::TwoJournals);
}

/// An editor has changed the counter and left the checksum; the next login writes the counter there
/// was before. Of both, a cut can make the record before the edit, with its checksum: the code that
/// was granted since must stay spent.
#[test]
fn a_whole_record_of_before_an_edit_that_a_cut_puts_together_is_none() {
    let record = |counter: i64, floor: u64| {
        let state = State {
            counter: CounterField::from_written(counter),
            replay_floor: Some(ReplayFloor::from_written(floor as i64)),
            ..State::fresh()
        };
        let head = head(0);
        let words: Vec<&[u8]> = head.split(' ').map(str::as_bytes).collect();
        slot::write([words[0], words[1], words[2], words[3]], &state, &TimeZone::UTC)
    };
    let (before, after) = (record(0, 100), record(0, 105));
    let mut edited = before;
    edited[..20].copy_from_slice(&record(3, 100)[..20]);
    let later = record(0, 106);
    for is_crash in [true, false] {
        for more in [&[][..], &[later]] {
            let machine = Machine::new(1);
            let mut content = Content::new(String::new(), 0);
            content.slots[0] = edited;
            let users = SimDisk::new(&machine, content.bytes(), INODE);
            let journal = SimDisk::new(&machine, Vec::new(), INODE + 10);
            let (_, at) = slot_in(&users.content(), 0).expect("the line");
            for &after in [after].iter().chain(more) {
                let mut open =
                    open(&journal, &users, false, Safety::Journalled).expect("a journal");
                let write = write_for(&users.content(), 0, after);
                open.write_slots(vec![write]).expect("the lights are on");
            }
            users.write_all_at(&before, at as u64).expect("the lights are on");
            if is_crash {
                machine.borrow_mut().boots += 1;
            }
            open(&journal, &users, !is_crash, Safety::Journalled).expect("a journal");
            let met = &users.content()[at..at + slot::LEN];
            // Without a cut, an editor has put it there.
            let expected = if is_crash { more.last().unwrap_or(&after) } else { &before };
            assert!(met == expected, "{is_crash} {}: {}", more.len(), met.escape_ascii());
        }
    }
}
