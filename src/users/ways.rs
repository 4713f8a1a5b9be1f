//! A user's further ways in: the `#@` lines about them.

use std::fs::File;
use std::io;

use super::file::read_line;
use super::index::Index;
use super::journal::SlotWrite;
use super::pragma::{
    self, Pragma, PragmaError, PragmaKind, SESSION_LINES_MAX, SESSION_PLACES, SessionPlaces,
};
use super::slot;
use crate::policy::SESSIONS_MAX;
use crate::token::{Always, Session, WAYS_MAX, Ways, displaced};

/// What servers may write of it, and where.
#[derive(Default)]
pub(super) struct WaysSpots {
    /// For each app, where the hour of its last use stands, if the line has one.
    pub(super) used: Vec<Option<u64>>,
    /// Where lines begin that a server has added.
    pub(super) added: Vec<u64>,
    /// Lines that sessions are kept in.
    pub(super) sessions: Vec<SessionSpot>,
    /// There are so many lines that none is read.
    pub(super) are_too_many: bool,
}

/// Where sessions of a user are kept.
#[derive(Clone)]
pub(super) struct SessionSpot {
    /// Where the line begins,
    pub(super) offset: u64,
    /// and where in it the places do.
    pub(super) at: usize,
    /// The line up to their end.
    pub(super) text: Vec<u8>,
    /// What they hold; nothing, if they may be half written.
    pub(super) places: SessionPlaces,
}

impl SessionSpot {
    fn of(offset: u64, line: &[u8], places: SessionPlaces) -> SessionSpot {
        let place = pragma::session_place(line).expect("a parsed line has its places");
        SessionSpot { offset, at: place.start, text: line[..place.end].to_vec(), places }
    }

    fn write(&self, user: &[u8]) -> SlotWrite {
        let (head, before) = self.text.split_at(self.at);
        SlotWrite {
            line: self.offset,
            slot: self.offset + self.at as u64,
            fingerprint: slot::fingerprint_of_head(head).expect("it is a line of sessions"),
            before: before.try_into().expect("the places have their length"),
            after: pragma::session_word(user, &self.places),
        }
    }
}

/// What becomes of a user's sessions in one step.
#[derive(Clone)]
pub(super) struct StagedSessions {
    spots: Vec<SessionSpot>,
    /// Those for which there is no place yet.
    homeless: Vec<Session>,
    /// So many lines are enough.
    lines: usize,
}

impl StagedSessions {
    pub(super) fn of(spots: &[SessionSpot]) -> StagedSessions {
        StagedSessions { spots: spots.to_vec(), homeless: Vec::new(), lines: 0 }
    }

    /// All of them, in the order of their places.
    pub(super) fn sessions(&self) -> Vec<Session> {
        let placed = self.spots.iter().flat_map(|spot| spot.places.iter().flatten());
        placed.chain(&self.homeless).copied().collect()
    }

    pub(super) fn end(&mut self, is_to_end: &dyn Fn(&Session) -> bool) {
        for place in self.spots.iter_mut().flat_map(|spot| &mut spot.places) {
            if place.as_ref().is_some_and(is_to_end) {
                *place = None;
            }
        }
        self.homeless.retain(|session| !is_to_end(session));
    }

    pub(super) fn save(&mut self, session: Session, max: u8) {
        let max = max.min(SESSIONS_MAX);
        let gone = displaced(&self.sessions(), &session, max);
        self.end(&|other| gone.contains(&other.id));
        let homeless = self.homeless.iter_mut().find(|other| other.id == session.id);
        let is_it = |place: &Option<Session>| place.is_some_and(|other| other.id == session.id);
        let places = || self.spots.iter().flat_map(|spot| &spot.places);
        let place = places().position(is_it).or_else(|| places().position(Option::is_none));
        if let Some(homeless) = homeless {
            *homeless = session;
        } else if let Some(place) = place {
            self.spots[place / SESSION_PLACES].places[place % SESSION_PLACES] = Some(session);
        } else {
            self.homeless.push(session);
            self.lines = self.lines.max(usize::from(max).div_ceil(SESSION_PLACES));
        }
    }

    /// What is to be written over what stands there.
    pub(super) fn writes(&self, user: &[u8]) -> impl Iterator<Item = SlotWrite> {
        let writes = self.spots.iter().map(|spot| spot.write(user));
        writes.filter(|write| write.before != write.after)
    }

    /// What there is no place for, and in how many lines there would be.
    pub(super) fn homeless(&self) -> Option<(&[Session], usize)> {
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
    if offsets.len() > WAYS_MAX + SESSION_LINES_MAX {
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
                if spots.sessions.len() < SESSION_LINES_MAX {
                    spots.sessions.push(SessionSpot::of(offset, &line, places.unwrap_or_default()));
                    add(&mut ways, said);
                }
                continue;
            }
            Some(Err(error)) if error.kind == PragmaKind::Session => continue,
            _ => {}
        }
        others += 1;
        add(&mut ways, said);
    }
    Ok(Some(if others > WAYS_MAX { closed() } else { (ways, spots) }))
}

/// The same of lines of one user that are at hand, however many there are.
pub fn of_lines<'a>(lines: impl Iterator<Item = &'a [u8]>) -> Ways {
    let (mut ways, mut sessions) = (Ways::default(), 0);
    for line in lines {
        let said = pragma::parse(line);
        sessions += usize::from(matches!(said, Some(Ok(Pragma::Session(..)))));
        if sessions <= SESSION_LINES_MAX || !matches!(said, Some(Ok(Pragma::Session(..)))) {
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
        Some(Ok(Pragma::Session(_, places))) => match places {
            Some(places) => ways.sessions.extend(places.into_iter().flatten()),
            None => ways.torn_sessions = true,
        },
        Some(Err(error)) if error.kind == PragmaKind::Always => ways.always = Always::ALL,
        _ => {}
    }
}
