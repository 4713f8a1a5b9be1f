//! A process that reads the users file without the lock, by the rules of a server's.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use super::super::recover::is_whole_slot;
use super::super::{Disk, Header, is_replacing, quiet_header};
use super::machine::SimDisk;
use super::{Crash, Expected, USERS, head, life_of, slot_in};
use crate::users::slot::{self, Slot};
use crate::users::watch::{Sight, Watch};

pub struct Onlooker {
    users: SimDisk,
    journal: SimDisk,
    expected: Rc<RefCell<Expected>>,
    history: (u64, Crash),
    /// It has had the lock once, and so has seen to what was left before.
    pub is_recovered: bool,
    view: Option<View>,
}

struct View {
    file: SimDisk,
    watch: Watch,
    lines: HashMap<usize, usize>,
    /// Whole slots that were read since the last change.
    memory: HashMap<usize, Slot>,
}

impl Onlooker {
    pub fn new(
        users: &SimDisk,
        journal: &SimDisk,
        expected: Rc<RefCell<Expected>>,
        history: (u64, Crash),
    ) -> Onlooker {
        let (users, journal) = (users.clone(), journal.clone());
        Onlooker { users, journal, expected, history, is_recovered: false, view: None }
    }

    /// It is another file, of which this process knows nothing.
    pub fn finds_another_journal(&mut self, journal: &SimDisk) {
        self.journal = journal.clone();
        self.is_recovered = false;
        self.view = None;
    }

    /// Looks at everybody.
    pub fn look(&mut self) {
        let (expected, history) = (self.expected.clone(), self.history);
        let Some(view) = self.up_to_date() else { return };
        let mut expected = expected.borrow_mut();
        for user in 0..USERS {
            let Some(&line) = view.lines.get(&user) else {
                assert!(expected.is_edited, "{history:?}: user{user} is unknown");
                continue;
            };
            let slot = match view.memory.get(&user) {
                Some(&known) => known,
                None => {
                    // Somebody else's line or half a line: it reads the file anew. Not a whole
                    // slot: it takes the lock.
                    let Some(slot) = read_whole_slot(&view.file, user, line) else { continue };
                    view.memory.insert(user, slot);
                    slot
                }
            };
            assert!(
                expected.is_edited || expected.may_have(user, &slot),
                "{history:?}: user{user} is shown\n{}\nafter\n{}",
                slot.escape_ascii(),
                expected.content.slots[user].escape_ascii()
            );
            expected.was_relied_on(user, &slot);
        }
    }

    /// What it knows, brought up to date. `None`: it waits for the lock, or for the clock.
    fn up_to_date(&mut self) -> Option<&mut View> {
        let named = self.users.named();
        let now = self.users.machine.borrow().now();
        let header = || Header::read_unless_rewriting(&self.journal);
        let stamp = named.stamp().expect("always there");
        if let Some(view) = &mut self.view {
            let sight = view.watch.look(stamp, || now, header);
            if sight == Sight::Changed && !view.watch.follow(stamp, header().as_ref(), now) {
                self.view = None;
            } else {
                if sight != Sight::Same
                    || (self.history.1 == Crash::TwoJournals && !view.watch.is_settled())
                {
                    view.memory.clear();
                }
                return self.view.as_mut();
            }
        }
        let header = header()?;
        let may_read = self.is_recovered || {
            let quiet = quiet_header(&self.journal, Some(life_of(&self.journal)));
            quiet.expect("always there").is_some()
        };
        if !may_read || is_replacing(&self.journal) {
            return None;
        }
        let watch = Watch::new(stamp, &header, now);
        let changed = std::time::Duration::new(stamp.words()[5], stamp.words()[6] as u32);
        if watch.basis().epoch.is_none() && now.saturating_sub(changed) < stamp.tick() {
            return None;
        }
        let bytes = named.content();
        let lines = (0..USERS).filter_map(|user| Some((user, slot_in(&bytes, user)?.0))).collect();
        self.view = Some(View { file: named, watch, lines, memory: HashMap::new() });
        self.view.as_mut()
    }
}

fn read_whole_slot(file: &SimDisk, user: usize, line: usize) -> Option<Slot> {
    let head = head(user);
    let mut bytes = vec![0; head.len() + 1 + slot::LEN];
    let read = file.read_at(&mut bytes, line as u64).expect("always there");
    let is_whole = read == bytes.len()
        && bytes.starts_with(head.as_bytes())
        && is_whole_slot(&bytes, head.len() + 1);
    is_whole.then(|| bytes[head.len() + 1..].try_into().expect("a slot"))
}
