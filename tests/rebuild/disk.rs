//! A directory as the kernel sees it and as the disk may have it: what a recording did, and what a
//! power cut leaves.
//!
//! A write that isn't synced may be there, lost or torn, and may have overtaken others: each sector
//! holds the content it had after one of them, or is torn between two such contents. Sizes and
//! names change in order.

use std::collections::BTreeMap;

use super::common::random::Random;
use super::recording::{Call, NEVER, What};

const SECTOR: usize = 512;
const PAGE: usize = 4096;

/// A file with all its names.
#[derive(Clone, Debug, PartialEq)]
pub struct Image {
    pub names: Vec<String>,
    /// The inode number it had.
    pub number: u64,
    pub content: Vec<u8>,
}

/// A moment of a recording.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Event {
    Begin(usize),
    End(usize),
    /// Something that clients and the test know.
    Mark(usize),
}

/// What a directory was before, and what was done to it.
pub struct Tape {
    before: Vec<Image>,
    pub calls: Vec<Call>,
    pub events: Vec<Event>,
}

impl Tape {
    /// `marks` are the times of the events with these numbers.
    pub fn new(before: Vec<Image>, calls: Vec<Call>, marks: impl IntoIterator<Item = u64>) -> Tape {
        let mut events: Vec<(u64, Event)> = Vec::new();
        for (i, call) in calls.iter().enumerate() {
            assert!(
                !matches!(call.what, What::Unknown(_)),
                "the model doesn't know {:?}",
                call.what
            );
            events.push((call.begin, Event::Begin(i)));
            if call.end != NEVER {
                events.push((call.end, Event::End(i)));
            }
        }
        events.extend(marks.into_iter().enumerate().map(|(i, time)| (time, Event::Mark(i))));
        events.sort_by_key(|(time, _)| *time);
        Tape { before, calls, events: events.into_iter().map(|(_, event)| event).collect() }
    }

    /// The same up to an event, at which all processes were killed; then these calls came.
    pub fn continued(&self, events: usize, calls: Vec<Call>) -> Tape {
        let then = Tape::new(Vec::new(), calls, []);
        let known = self.calls.len();
        let later = then.events.iter().map(|event| match *event {
            Event::Begin(i) => Event::Begin(known + i),
            Event::End(i) => Event::End(known + i),
            Event::Mark(i) => Event::Mark(i),
        });
        let events = self.events[..events].iter().copied().chain(later).collect();
        Tape {
            before: self.before.clone(),
            calls: [self.calls.clone(), then.calls].concat(),
            events,
        }
    }

    /// The directory after the first `events` events.
    pub fn played(&self, events: usize) -> Directory<'_> {
        let mut directory = Directory::new(self);
        for event in &self.events[..events] {
            directory.play(*event);
        }
        directory
    }

    /// In words, for reports.
    pub fn describe(&self, event: Event) -> String {
        let call = |i: usize| match &self.calls[i].what {
            What::Write { name, at, bytes } => {
                format!("write of {} bytes to {name} at {at:?}", bytes.len())
            }
            other => format!("{other:?}"),
        };
        match event {
            Event::Begin(i) => format!("call {i} begins: {}", call(i)),
            Event::End(i) => format!("call {i} ends: {}", call(i)),
            Event::Mark(i) => format!("mark {i}"),
        }
    }
}

/// A change to a file that isn't synced.
#[derive(Clone, Debug)]
struct Change {
    /// When its call had returned: a sync that begins later covers it.
    end: u64,
    kind: Kind,
}

#[derive(Clone, Debug)]
enum Kind {
    Write(u64, Vec<u8>),
    Len(u64),
}

impl Kind {
    fn apply(&self, content: &mut Vec<u8>) {
        match self {
            Kind::Write(at, bytes) => {
                let at = *at as usize;
                content.resize(content.len().max(at + bytes.len()), 0);
                content[at..at + bytes.len()].copy_from_slice(bytes);
            }
            Kind::Len(len) => content.resize(*len as usize, 0),
        }
    }
}

#[derive(Clone, Debug, Default)]
struct Inode {
    number: Option<u64>,
    durable: Vec<u8>,
    cached: Vec<u8>,
    pending: Vec<Change>,
    position: u64,
}

impl Inode {
    fn change(&mut self, end: u64, kind: Kind) {
        kind.apply(&mut self.cached);
        self.pending.push(Change { end, kind });
    }

    fn sync(&mut self, begun: u64) {
        let (synced, pending): (Vec<Change>, _) =
            std::mem::take(&mut self.pending).into_iter().partition(|change| change.end <= begun);
        self.pending = pending;
        for Change { kind, .. } in synced {
            kind.apply(&mut self.durable);
        }
    }
}

type Names = BTreeMap<String, usize>;

#[derive(Clone, Debug)]
enum NameChange {
    Set(String, usize),
    Remove(String),
    Move(String, String),
}

impl NameChange {
    fn apply(&self, names: &mut Names) {
        match self {
            NameChange::Set(name, inode) => {
                names.insert(name.clone(), *inode);
            }
            NameChange::Remove(name) => {
                names.remove(name);
            }
            NameChange::Move(from, to) => {
                if let Some(inode) = names.remove(from) {
                    names.insert(to.clone(), inode);
                }
            }
        }
    }
}

/// The directory at one moment.
pub struct Directory<'t> {
    tape: &'t Tape,
    inodes: Vec<Inode>,
    names: Names,
    durable_names: Names,
    pending_names: Vec<(u64, NameChange)>,
}

/// How much goes lost together.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Grain {
    /// Nothing at all: the processes were killed, or everything had been written back.
    Nothing,
    File,
    Page,
    Sector,
    Byte,
}

impl<'t> Directory<'t> {
    fn new(tape: &'t Tape) -> Directory<'t> {
        let mut names = Names::new();
        let inodes = tape.before.iter().enumerate().map(|(i, image)| {
            names.extend(image.names.iter().map(|name| (name.clone(), i)));
            let (durable, cached) = (image.content.clone(), image.content.clone());
            Inode { number: Some(image.number), durable, cached, ..Inode::default() }
        });
        let inodes = inodes.collect();
        Directory { tape, inodes, durable_names: names.clone(), names, pending_names: Vec::new() }
    }

    /// A file's inode and content as processes see them.
    pub fn file(&self, name: &str) -> Option<(usize, &[u8])> {
        self.names.get(name).map(|&inode| (inode, &self.inodes[inode].cached[..]))
    }

    pub fn play(&mut self, event: Event) {
        match event {
            Event::Begin(i) => self.begin(&self.tape.calls[i]),
            Event::End(i) => self.end(&self.tape.calls[i]),
            Event::Mark(_) => {}
        }
    }

    fn inode(&mut self, name: &str) -> Option<&mut Inode> {
        self.names.get(name).map(|&inode| &mut self.inodes[inode])
    }

    fn rename(&mut self, end: u64, change: NameChange) {
        change.apply(&mut self.names);
        self.pending_names.push((end, change));
    }

    fn begin(&mut self, call: &Call) {
        match &call.what {
            What::Open { name, create, truncate, append } => {
                if *create && !self.names.contains_key(name) {
                    self.inodes.push(Inode::default());
                    self.rename(call.end, NameChange::Set(name.clone(), self.inodes.len() - 1));
                }
                if let Some(inode) = self.inode(name) {
                    if *truncate && !inode.cached.is_empty() {
                        inode.change(call.end, Kind::Len(0));
                    }
                    inode.position = if *append { inode.cached.len() as u64 } else { 0 };
                }
            }
            What::Write { name, at, bytes } => {
                if let Some(inode) = self.inode(name) {
                    let start = at.unwrap_or(inode.position);
                    if at.is_none() {
                        inode.position += bytes.len() as u64;
                    }
                    inode.change(call.end, Kind::Write(start, bytes.clone()));
                }
            }
            What::Seek { name, at } => {
                if let Some(inode) = self.inode(name) {
                    inode.position = *at;
                }
            }
            What::SetLen { name, len } => {
                if let Some(inode) = self.inode(name)
                    && inode.cached.len() as u64 != *len
                {
                    inode.change(call.end, Kind::Len(*len));
                }
            }
            What::Rename { from, to } => {
                self.rename(call.end, NameChange::Move(from.clone(), to.clone()))
            }
            What::Link { from, to } => {
                if let Some(&inode) = self.names.get(from) {
                    self.rename(call.end, NameChange::Set(to.clone(), inode));
                }
            }
            What::Unlink { name } => self.rename(call.end, NameChange::Remove(name.clone())),
            What::Number { name, number } => {
                if let Some(inode) = self.inode(name) {
                    inode.number.get_or_insert(*number);
                }
            }
            What::Sync { .. } | What::SyncAll | What::Unknown(_) => {}
        }
    }

    fn end(&mut self, call: &Call) {
        match &call.what {
            What::Sync { name } if name.is_empty() => self.sync_names(call.begin),
            What::Sync { name } => {
                if let Some(inode) = self.inode(name) {
                    inode.sync(call.begin);
                }
            }
            What::SyncAll => {
                self.sync_names(call.begin);
                self.inodes.iter_mut().for_each(|inode| inode.sync(call.begin));
            }
            _ => {}
        }
    }

    /// In order: what comes after a change that isn't covered isn't either.
    fn sync_names(&mut self, begun: u64) {
        let covered = self.pending_names.iter().take_while(|(end, _)| *end <= begun).count();
        for (_, change) in self.pending_names.drain(..covered) {
            change.apply(&mut self.durable_names);
        }
    }

    /// What the disk has when the power comes back.
    pub fn cut(&self, grain: Grain, random: &mut Random) -> Vec<Image> {
        let mut names = self.durable_names.clone();
        let happened = match grain {
            Grain::Nothing => self.pending_names.len(),
            _ => random.below(self.pending_names.len() + 1),
        };
        for (_, change) in &self.pending_names[..happened] {
            change.apply(&mut names);
        }
        let mut images: BTreeMap<usize, Image> = BTreeMap::new();
        for (name, inode) in names {
            let image = images.entry(inode).or_insert_with(|| {
                let Inode { number, cached, .. } = &self.inodes[inode];
                let content = match grain {
                    Grain::Nothing => cached.clone(),
                    _ => self.inodes[inode].cut(grain, random),
                };
                // Nobody was told the number, so no frame has it.
                Image {
                    names: Vec::new(),
                    number: number.unwrap_or(u64::MAX - inode as u64),
                    content,
                }
            });
            image.names.push(name);
        }
        images.into_values().collect()
    }
}

/// What a sector has held since the last sync.
#[derive(Clone)]
struct Version {
    /// Changes to the file before, and changes to its size among them.
    changes: usize,
    sizes: usize,
    /// In another block than the version before, which a cut has given back.
    is_fresh: bool,
    bytes: [u8; SECTOR],
}

/// By sector.
type Versions = BTreeMap<usize, Vec<Version>>;

impl Inode {
    fn cut(&self, grain: Grain, random: &mut Random) -> Vec<u8> {
        if self.pending.is_empty() {
            return self.durable.clone();
        }
        let (versions, sizes) = self.versions();
        let changes = self.pending.len();
        // Often everything but the last few: that is what a disk has that isn't much behind.
        let draw = |random: &mut Random| match random.below(2) {
            0 => random.below(changes + 1),
            _ => changes - random.below(changes.min(4) + 1),
        };
        let of_file = draw(random);
        let resized = match grain {
            // Sizes in order, and together with what was written then.
            Grain::File => sizes
                .iter()
                .rposition(|(after, _)| *after <= of_file)
                .expect("the first is there at once"),
            _ => random.below(sizes.len()),
        };
        let size = sizes[resized].1;
        let mut content = vec![0; size.max(self.durable.len()).next_multiple_of(SECTOR)];
        content[..self.durable.len()].copy_from_slice(&self.durable);
        let mut of_page = (usize::MAX, 0);
        for (sector, versions) in versions {
            let start = sector * SECTOR;
            if start >= content.len() {
                continue;
            }
            if start / PAGE != of_page.0 {
                of_page = (start / PAGE, draw(random));
            }
            // Those that are in the block which the file has at that size.
            let known =
                versions.iter().rposition(|version| version.is_fresh && version.sizes <= resized);
            let from = known.unwrap_or(0);
            let until = versions[from + 1..].iter().position(|version| version.is_fresh);
            let versions = &versions[from..until.map_or(versions.len(), |until| from + 1 + until)];
            let after = |changes: usize| {
                versions.iter().rposition(|version| version.changes <= changes).unwrap_or(0)
            };
            let later = after(match grain {
                Grain::Nothing => changes,
                Grain::File => of_file,
                Grain::Page => of_page.1,
                Grain::Sector | Grain::Byte => draw(random),
            });
            let mut bytes = versions[later].bytes;
            if grain == Grain::Byte && random.once_in(2) {
                // One write was under way: its beginning or its end is there.
                let earlier = &versions[random.below(later + 1)].bytes;
                let differs = |i: &usize| bytes[*i] != earlier[*i];
                let first = (0..SECTOR).find(differs).unwrap_or(0);
                let last = (0..SECTOR).rfind(differs).unwrap_or(0);
                let tear = first + random.below(last - first + 2);
                let lost = if random.once_in(2) { 0..tear } else { tear..SECTOR };
                bytes[lost.clone()].copy_from_slice(&earlier[lost]);
            }
            content[start..start + SECTOR].copy_from_slice(&bytes);
        }
        content.resize(size, 0);
        content
    }

    /// The versions of each sector that changed, and the sizes with the number of changes after
    /// which they came.
    fn versions(&self) -> (Versions, Vec<(usize, usize)>) {
        let mut content = self.durable.clone();
        let mut sizes = vec![(0, content.len())];
        let mut versions = Versions::new();
        let sector_of = |content: &[u8], sector: usize| {
            let mut bytes = [0; SECTOR];
            let there = content.get(sector * SECTOR..).unwrap_or_default();
            let there = &there[..there.len().min(SECTOR)];
            bytes[..there.len()].copy_from_slice(there);
            bytes
        };
        for (i, Change { kind, .. }) in self.pending.iter().enumerate() {
            let len = content.len();
            let touched = match kind {
                Kind::Write(at, bytes) => *at as usize..*at as usize + bytes.len(),
                Kind::Len(new) => (*new as usize).min(len)..len,
            };
            let sectors = touched.start / SECTOR..touched.end.div_ceil(SECTOR);
            let before: Vec<_> =
                sectors.clone().map(|sector| sector_of(&content, sector)).collect();
            kind.apply(&mut content);
            if content.len() != len {
                sizes.push((i + 1, content.len()));
            }
            for (sector, before) in sectors.zip(before) {
                let first = Version { changes: 0, sizes: 0, is_fresh: false, bytes: before };
                let is_fresh = matches!(kind, Kind::Len(_)) && sector * SECTOR >= content.len();
                let bytes = sector_of(&content, sector);
                let version = Version { changes: i + 1, sizes: sizes.len() - 1, is_fresh, bytes };
                versions.entry(sector).or_insert_with(|| vec![first]).push(version);
            }
        }
        (versions, sizes)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn call(time: u64, what: What) -> Call {
        Call { begin: time, end: time + 1, foreign: false, what }
    }

    fn write(time: u64, at: u64, bytes: &[u8]) -> Call {
        call(time, What::Write { name: "f".to_owned(), at: Some(at), bytes: bytes.to_vec() })
    }

    /// All contents of a file that cuts of any grain leave in the end.
    fn left(before: &[u8], calls: Vec<Call>) -> HashSet<Vec<u8>> {
        let image = Image { names: vec!["f".to_owned()], number: 1, content: before.to_vec() };
        let tape = Tape::new(vec![image], calls, []);
        let directory = tape.played(tape.events.len());
        let mut random = Random::new(42);
        let grains = [Grain::File, Grain::Page, Grain::Sector, Grain::Byte];
        (0..2_000).map(|i| directory.cut(grains[i % 4], &mut random).remove(0).content).collect()
    }

    #[test]
    fn synced_write_stays_and_one_after_it_is_there_lost_or_torn() {
        let sync = call(20, What::Sync { name: "f".to_owned() });
        let left = left(b"....", vec![write(10, 0, b"abcd"), sync, write(30, 1, b"XY")]);
        let all: HashSet<Vec<u8>> =
            [b"abcd", b"aXcd", b"abYd", b"aXYd"].map(|text| text.to_vec()).into();
        assert_eq!(left, all);
    }

    #[test]
    fn write_that_ends_after_a_sync_has_begun_is_not_synced() {
        let late = Call { end: 25, ..write(10, 0, b"X") };
        let sync = call(20, What::Sync { name: "f".to_owned() });
        assert_eq!(left(b".", vec![late, sync]).len(), 2);
    }

    #[test]
    fn sectors_go_lost_one_by_one() {
        let left = left(&[0; 2 * SECTOR], vec![write(10, 0, &[1; 2 * SECTOR])]);
        let ends = |content: &Vec<u8>| (content[0], content[2 * SECTOR - 1]);
        assert_eq!(left.iter().map(ends).collect::<HashSet<_>>().len(), 4);
    }

    #[test]
    fn file_that_was_cut_off_and_written_anew_never_mixes_both_in_a_sector() {
        let open =
            What::Open { name: "f".to_owned(), create: false, truncate: true, append: false };
        let left = left(b"old", vec![call(10, open), write(20, 0, b"NEW")]);
        assert!(
            left.contains(&b"old"[..]) && left.contains(&b"NEW"[..]) && left.contains(&b""[..])
        );
        assert!(
            left.iter().all(|content| content == b"old" || !content.contains(&b'o')),
            "{left:?}"
        );
    }

    #[test]
    fn new_name_is_sure_once_its_directory_is_synced() {
        let image = |name: &str, number| Image {
            names: vec![name.to_owned()],
            number,
            content: Vec::new(),
        };
        let rename = What::Rename { from: "new".to_owned(), to: "f".to_owned() };
        let sync = What::Sync { name: String::new() };
        let tape = Tape::new(
            vec![image("f", 1), image("new", 2)],
            vec![call(10, rename), call(20, sync)],
            [],
        );
        let mut random = Random::new(42);
        let mut numbers = |events| -> HashSet<u64> {
            let directory = tape.played(events);
            let named = |image: &Image| image.names == ["f"];
            (0..100)
                .filter_map(|_| directory.cut(Grain::File, &mut random).into_iter().find(named))
                .map(|image| image.number)
                .collect()
        };
        assert_eq!(numbers(3), HashSet::from([1, 2]));
        assert_eq!(numbers(4), HashSet::from([2]));
    }
}
