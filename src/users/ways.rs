//! A user's further ways in: the `#@` lines about them.

use std::fs::File;
use std::io;

use super::file::read_line;
use super::index::Index;
use super::journal::SlotWrite;
use super::pragma::{self, LINE_PLACES, Placed, Places, Pragma, PragmaError, PragmaKind};
use super::slot;
use crate::token::{Always, Computer, Session, WAYS_MAX, Ways, displaced};

/// What servers may write of it, and where.
#[derive(Default)]
pub(super) struct WaysSpots {
    /// For each app, where the hour of its last use stands, if the line has one.
    pub(super) used: Vec<Option<u64>>,
    /// Where lines begin that a server has added.
    pub(super) added: Vec<u64>,
    /// Lines that sessions are kept in.
    pub(super) sessions: Vec<PlacesSpot<Session>>,
    /// Lines that computers are kept in.
    pub(super) computers: Vec<PlacesSpot<Computer>>,
    /// There are so many lines that none is read.
    pub(super) are_too_many: bool,
}

/// Where something of a user's is kept.
#[derive(Clone)]
pub(super) struct PlacesSpot<T> {
    /// Where the line begins,
    offset: u64,
    /// and where in it the places do.
    at: usize,
    /// The line up to their end.
    text: Vec<u8>,
    /// What they hold; nothing, if they may be half written.
    places: Places<T>,
}

impl<T: Placed> PlacesSpot<T> {
    fn of(offset: u64, line: &[u8], places: Places<T>) -> PlacesSpot<T> {
        let place = pragma::places_of(line).expect("a parsed line has its places");
        PlacesSpot { offset, at: place.start, text: line[..place.end].to_vec(), places }
    }

    fn write(&self, user: &[u8]) -> SlotWrite {
        let (head, before) = self.text.split_at(self.at);
        SlotWrite {
            line: self.offset,
            slot: self.offset + self.at as u64,
            fingerprint: slot::fingerprint_of_head(head).expect("it is a line with places"),
            before: before.try_into().expect("the places have their length"),
            after: pragma::places_word(user, &self.places),
        }
    }
}

/// What becomes of a user's sessions and computers in one step.
#[derive(Clone)]
pub(super) struct StagedWays {
    pub(super) sessions: StagedPlaces<Session>,
    pub(super) computers: StagedPlaces<Computer>,
}

impl StagedWays {
    pub(super) fn of(spots: &WaysSpots) -> StagedWays {
        StagedWays {
            sessions: StagedPlaces::of(&spots.sessions),
            computers: StagedPlaces::of(&spots.computers),
        }
    }

    /// What is to be written over what stands there.
    pub(super) fn writes(&self, user: &[u8]) -> impl Iterator<Item = SlotWrite> {
        self.sessions.writes(user).chain(self.computers.writes(user))
    }
}

/// The same of one kind.
#[derive(Clone)]
pub(super) struct StagedPlaces<T> {
    spots: Vec<PlacesSpot<T>>,
    /// Those for which there is no place yet.
    homeless: Vec<T>,
    /// So many lines are enough.
    lines: usize,
}

impl<T: Placed> StagedPlaces<T> {
    fn of(spots: &[PlacesSpot<T>]) -> StagedPlaces<T> {
        StagedPlaces { spots: spots.to_vec(), homeless: Vec::new(), lines: 0 }
    }

    /// All of them, in the order of their places.
    pub(super) fn kept(&self) -> Vec<T> {
        let placed = self.spots.iter().flat_map(|spot| spot.places.iter().flatten());
        placed.chain(&self.homeless).copied().collect()
    }

    pub(super) fn end(&mut self, is_to_end: &dyn Fn(&T) -> bool) {
        for place in self.spots.iter_mut().flat_map(|spot| &mut spot.places) {
            if place.as_ref().is_some_and(is_to_end) {
                *place = None;
            }
        }
        self.homeless.retain(|kept| !is_to_end(kept));
    }

    /// Of more than `max`, those that began first go.
    pub(super) fn save(&mut self, new: T, max: u8) {
        let max = max.min((T::LINES_MAX * LINE_PLACES) as u8);
        let gone = displaced(&self.kept(), &new, max);
        self.end(&|other| gone.contains(&other.id()));
        let homeless = self.homeless.iter_mut().find(|other| other.id() == new.id());
        let is_it = |place: &Option<T>| place.is_some_and(|other| other.id() == new.id());
        let places = || self.spots.iter().flat_map(|spot| &spot.places);
        let place = places().position(is_it).or_else(|| places().position(Option::is_none));
        if let Some(homeless) = homeless {
            *homeless = new;
        } else if let Some(place) = place {
            self.spots[place / LINE_PLACES].places[place % LINE_PLACES] = Some(new);
        } else {
            self.homeless.push(new);
            self.lines = self.lines.max(usize::from(max).div_ceil(LINE_PLACES));
        }
    }

    fn writes(&self, user: &[u8]) -> impl Iterator<Item = SlotWrite> {
        let writes = self.spots.iter().map(|spot| spot.write(user));
        writes.filter(|write| write.before != write.after)
    }

    /// What there is no place for, and in how many lines there would be.
    pub(super) fn homeless(&self) -> Option<(&[T], usize)> {
        (!self.homeless.is_empty()).then_some((&self.homeless, self.lines))
    }
}

/// Reads them where the index has them. `None`: the index is out of date.
///
/// A line at fault lets nobody in. If it was to close something, it closes everything; so do more
/// lines than are read.
pub(super) fn read(
    file: &File,
    index: &Index,
    user: &[u8],
    offsets: &[u64],
) -> io::Result<Option<(Ways, WaysSpots)>> {
    let (mut ways, mut spots) = (Ways::default(), WaysSpots::default());
    let closed = || {
        let ways = Ways { always: Always::ALL, ..Ways::default() };
        (ways, WaysSpots { are_too_many: true, ..WaysSpots::default() })
    };
    if offsets.len() > WAYS_MAX + Session::LINES_MAX + Computer::LINES_MAX {
        return Ok(Some(closed()));
    }
    let mut others = 0;
    for &offset in offsets {
        let Some(line) = read_line(file, offset)? else { return Ok(None) };
        if pragma::user_of(&line).as_deref() != Some(user) {
            if !index.is_near_ways(&line, user) {
                return Ok(None);
            }
            continue;
        }
        let said = pragma::parse(&line);
        match &said {
            Some(Ok(Pragma::App(..))) => {
                spots.used.push(pragma::used_hour(&line).map(|hour| offset + hour.start as u64));
            }
            Some(Ok(Pragma::Always(_, Always::UNTIL_CODE))) => spots.added.push(offset),
            Some(Ok(Pragma::Session(_, places))) => {
                if spots.sessions.len() < Session::LINES_MAX {
                    spots.sessions.push(PlacesSpot::of(offset, &line, places.unwrap_or_default()));
                    add(&mut ways, said);
                }
                continue;
            }
            Some(Ok(Pragma::Computer(_, places))) => {
                if spots.computers.len() < Computer::LINES_MAX {
                    spots.computers.push(PlacesSpot::of(offset, &line, places.unwrap_or_default()));
                    add(&mut ways, said);
                }
                continue;
            }
            Some(Err(error)) if error.kind.has_places() => continue,
            _ => {}
        }
        others += 1;
        add(&mut ways, said);
    }
    Ok(Some(if others > WAYS_MAX { closed() } else { (ways, spots) }))
}

/// The same of lines of one user that are at hand, however many there are.
pub fn of_lines<'a>(lines: impl Iterator<Item = &'a [u8]>) -> Ways {
    let (mut ways, mut sessions, mut computers) = (Ways::default(), 0, 0);
    for line in lines {
        let said = pragma::parse(line);
        let is_read = match &said {
            Some(Ok(Pragma::Session(..))) => {
                sessions += 1;
                sessions <= Session::LINES_MAX
            }
            Some(Ok(Pragma::Computer(..))) => {
                computers += 1;
                computers <= Computer::LINES_MAX
            }
            _ => true,
        };
        if is_read {
            add(&mut ways, said);
        }
    }
    ways
}

fn add(ways: &mut Ways, said: Option<Result<Pragma, PragmaError>>) {
    match said {
        Some(Ok(Pragma::App(_, app))) => ways.apps.push(app),
        Some(Ok(Pragma::Trust(_, networks))) => ways.trusted.extend(networks),
        Some(Ok(Pragma::Always(_, always))) => ways.always = ways.always.with(always),
        Some(Ok(Pragma::Session(_, Some(places)))) => {
            ways.sessions.extend(places.into_iter().flatten());
        }
        Some(Ok(Pragma::Computer(_, Some(places)))) => {
            ways.computers.extend(places.into_iter().flatten());
        }
        Some(Ok(Pragma::Session(_, None) | Pragma::Computer(_, None))) => ways.torn_places = true,
        Some(Err(error)) if error.kind == PragmaKind::Always => ways.always = Always::ALL,
        _ => {}
    }
}
