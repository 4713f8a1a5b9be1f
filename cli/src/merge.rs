//! What an editor made of a users file, brought together with what logins made of it meanwhile.
//! Pure.
//!
//! Three versions: the *base* that was copied, the *edited* copy, the *live* file. Between base and
//! live only what logins write may differ (fields 5 to 10, the hour of an app's last use, lines of
//! sessions): anything else is somebody else's work and refuses the edit.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::hash::{BuildHasher, RandomState};

use jiff::tz::TimeZone;
use otpgate::UnixTime;
use otpgate::decide;
use otpgate::files::lines;
use otpgate::log::Quoted;
use otpgate::policy::{Server, Settings};
use otpgate::token::{State, StoredToken};
use otpgate::users::edit::{Content, ContentLine, LineChange, head_of};
use otpgate::users::pragma::{self, PragmaKind};
use otpgate::users::record::Record;
use otpgate::users::{line, rewrite, slot};
use zeroize::Zeroizing;

use crate::tokens::{self, LastLogin};

/// What is to be installed.
pub struct Merged {
    pub content: Content,
    /// Lines whose state moved meanwhile and was kept.
    pub kept: usize,
    /// Where the editor and a login changed the same field, and what became of it.
    pub notes: Vec<String>,
}

/// Somebody else changed more than state.
#[derive(Debug, PartialEq, Eq)]
pub struct Conflict {
    /// The first such line of the live file.
    pub line: u64,
}

impl fmt::Display for Conflict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "somebody else has changed the file meanwhile, from line {} on", self.line)
    }
}

/// A line, read when it has to be: most are the same in all versions.
#[derive(Clone, Copy)]
struct MergeRow<'a> {
    line: ContentLine<'a>,
}

/// A record and its line.
struct ReadContent<'a> {
    text: &'a [u8],
    record: Record,
}

impl<'a> MergeRow<'a> {
    fn read(&self, zone: &TimeZone) -> Option<ReadContent<'a>> {
        Some(ReadContent { text: self.line.text, record: self.line.record(zone)?.ok()? })
    }

    fn user(&self) -> &'a [u8] {
        self.line.user().unwrap_or_default()
    }

    /// Whether it is for us alone, and a change of it says something.
    fn is_told_pragma(&self) -> bool {
        pragma::is_pragma(self.line.text)
            && PragmaKind::of(self.line.text) != Some(PragmaKind::Free)
            && !self.has_places()
    }

    /// Whether it is a line that servers keep sessions or computers in, and may have added meanwhile.
    fn has_places(&self) -> bool {
        pragma::places_of(self.line.text).is_some()
    }

    fn places(&self) -> Places {
        (PragmaKind::of(self.line.text), self.line.pragma_user().unwrap_or_default())
    }

    /// What stands before and behind the hour of an app's last use.
    fn but_for_hour(&self) -> Option<(&'a [u8], &'a [u8])> {
        let text = self.line.text;
        let is_app = PragmaKind::of(text) == Some(PragmaKind::App);
        let hour = is_app.then(|| pragma::used_hour(text)).flatten()?;
        Some((&text[..hour.start], &text[hour.end..]))
    }

    fn is_same_but_for_state(&self, other: &MergeRow<'_>, zone: &TimeZone) -> bool {
        self.line.text == other.line.text
            || self.but_for_hour().is_some_and(|rest| Some(rest) == other.but_for_hour())
            || match (self.read(zone), other.read(zone)) {
                (Some(one), Some(two)) => one.frame() == two.frame(),
                _ => false,
            }
    }
}

impl<'a> ReadContent<'a> {
    fn head(&self) -> [&'a [u8]; 4] {
        head_of(self.text).expect("a record has four fields")
    }

    /// Where the state ends, its padding included.
    fn state_end(&self) -> usize {
        let layout = &self.record.layout;
        layout.slot.map_or(layout.state.end, |at| at + slot::LEN)
    }

    fn state_words(&self) -> Vec<&'a [u8]> {
        let text = &self.text[self.record.layout.head[3].end..self.state_end()];
        line::words(text).map(|word| &text[word]).collect()
    }

    /// What isn't state, without blanks: logins leave it as it is.
    fn frame(&self) -> ([&'a [u8]; 4], &'a [u8]) {
        (self.head(), trimmed(&self.text[self.state_end()..]))
    }
}

fn trimmed(text: &[u8]) -> &[u8] {
    let start = text.iter().position(|&b| !lines::is_blank(b)).unwrap_or(text.len());
    let end = text.iter().rposition(|&b| !lines::is_blank(b)).map_or(start, |last| last + 1);
    &text[start..end]
}

/// Whose lines with places they are, and of which kind.
type Places = (Option<PragmaKind>, Vec<u8>);

/// Lines with places, in the order of the file.
fn places_by_user<'r, 'a>(rows: &'r [MergeRow<'a>]) -> HashMap<Places, VecDeque<&'r MergeRow<'a>>> {
    let mut by_user: HashMap<Places, VecDeque<&MergeRow<'_>>> = HashMap::new();
    for row in rows.iter().filter(|row| row.has_places()) {
        by_user.entry(row.places()).or_default().push_back(row);
    }
    by_user
}

fn rows(content: &Content) -> Vec<MergeRow<'_>> {
    content.lines().map(|line| MergeRow { line }).collect()
}

/// Which line of the base a line of the edited copy comes from.
#[derive(Clone, Copy)]
struct Origin {
    base: usize,
    /// It is the same token: state means the same.
    is_same_token: bool,
}

/// An edited copy beside its base.
pub struct Edited<'a> {
    edited: &'a Content,
    base_rows: Vec<MergeRow<'a>>,
    rows: Vec<MergeRow<'a>>,
    origins: Vec<Option<Origin>>,
    zone: TimeZone,
}

impl<'a> Edited<'a> {
    /// Finds each edited line in the base: by its text, else by fields 1 to 4, else by user and
    /// key, else by key, else by user.
    pub fn of(base: &'a Content, edited: &'a Content) -> Edited<'a> {
        let zone = TimeZone::system();
        let (base_rows, rows) = (rows(base), rows(edited));
        // Keys are told apart by keyed hashes of them: none is left in memory.
        let hashes = RandomState::new();
        let mut origins = vec![None; rows.len()];
        let mut taken = vec![false; base_rows.len()];

        let mut by_text: HashMap<u64, Vec<usize>> = HashMap::new();
        // Taken from the end: in the order of the file.
        for (index, row) in base_rows.iter().enumerate().rev() {
            by_text.entry(hashes.hash_one(row.line.text)).or_default().push(index);
        }
        for (row, origin) in rows.iter().zip(&mut origins) {
            let Some(known) = by_text.get_mut(&hashes.hash_one(row.line.text)) else { continue };
            if known.last().is_some_and(|&index| base_rows[index].line.text == row.line.text) {
                let base = known.pop().expect("just seen");
                taken[base] = true;
                *origin = Some(Origin { base, is_same_token: true });
            }
        }

        type Name = fn(&RandomState, &ReadContent<'_>) -> u64;
        let by_head: Name = |hashes, row| hashes.hash_one(row.head());
        let by_user_and_key: Name =
            |hashes, row| hashes.hash_one((row.head()[1], row.record.token.key.expose()));
        let by_key: Name = |hashes, row| hashes.hash_one(row.record.token.key.expose());
        let by_user: Name = |hashes, row| hashes.hash_one(row.head()[1]);
        let left = |rows: &[MergeRow<'a>],
                    is_left: &dyn Fn(usize) -> bool|
         -> Vec<(usize, ReadContent<'a>)> {
            let left = rows.iter().enumerate().filter(|(index, _)| is_left(*index));
            left.filter_map(|(index, row)| Some((index, row.read(&zone)?))).collect()
        };
        let base_left = left(&base_rows, &|index| !taken[index]);
        let edited_left = left(&rows, &|index| origins[index].is_none());
        for (name, of_same_token) in
            [(by_head, true), (by_user_and_key, true), (by_key, true), (by_user, false)]
        {
            let mut places: HashMap<u64, Vec<&(usize, ReadContent<'_>)>> = HashMap::new();
            for place in base_left.iter().rev().filter(|(index, _)| !taken[*index]) {
                places.entry(name(&hashes, &place.1)).or_default().push(place);
            }
            for (index, row) in &edited_left {
                if origins[*index].is_some() {
                    continue;
                }
                let Some(known) = places.get_mut(&name(&hashes, row)) else { continue };
                let is_it = |place: &&(usize, ReadContent<'_>)| {
                    !of_same_token || place.1.record.token.is_same_device(&row.record.token)
                };
                if let Some(place) = known.iter().rposition(is_it) {
                    let base = known.remove(place).0;
                    taken[base] = true;
                    origins[*index] = Some(Origin { base, is_same_token: of_same_token });
                }
            }
        }
        Edited { edited, base_rows, rows, origins, zone }
    }

    /// Brings it together with the live file. Reads only the lines that differ: the file is locked.
    pub fn merged_with(&self, live: &Content, now: UnixTime) -> Result<Merged, Conflict> {
        let live_rows = rows(live);
        let live_of = self.live_of(&live_rows)?;
        let mut added = self.places_added(&live_rows);
        let (mut kept, mut notes) = (0, Vec::new());
        let content = self.edited.with(|line| {
            let index = line.number as usize - 1;
            let row = &self.rows[index];
            let text =
                self.origins[index].filter(|origin| origin.is_same_token).and_then(|origin| {
                    let (base, live) = (&self.base_rows[origin.base], live_of[origin.base]?);
                    self.merged_line(row, base, live, now, &mut kept, &mut notes)
                });
            match line.user().and_then(|user| added.remove(user)) {
                None => text.map(LineChange::Replace),
                Some(added) => {
                    let mut text = text.unwrap_or_else(|| Zeroizing::new(row.line.text.to_vec()));
                    for line in added {
                        text.push(b'\n');
                        text.extend_from_slice(line);
                    }
                    Some(LineChange::Replace(text))
                }
            }
        });
        let content = content.without_places_of_former_tokens();
        Ok(Merged { content, kept, notes })
    }

    /// What has become of a line that the editor hasn't made another one; `None`: it stays as it is.
    fn merged_line(
        &self,
        row: &MergeRow<'_>,
        base: &MergeRow<'_>,
        live: &MergeRow<'_>,
        now: UnixTime,
        kept: &mut usize,
        notes: &mut Vec<String>,
    ) -> Option<Zeroizing<Vec<u8>>> {
        if base.line.text == live.line.text && base.line.text == row.line.text {
            return None;
        }
        if row.but_for_hour().is_some() || row.has_places() {
            return Some(Zeroizing::new(live.line.text.to_vec()));
        }
        let (edited, base, live) =
            (row.read(&self.zone)?, base.read(&self.zone)?, live.read(&self.zone)?);
        let mut note = |text: String| {
            notes.push(format!("line {} ({}): {text}", row.line.number, Quoted(row.user())));
        };
        let state = self.state(&edited, &base, &live, now, &mut note);
        // A slot that was given to the line is no use of the token.
        *kept += usize::from(is_used(&base.record.state, &live.record.state, now));
        let text = rewrite::with_state(edited.text, &edited.record.layout, &state?, &self.zone);
        Some(Zeroizing::new(text))
    }

    /// The live line for each line of the base. They stand in the same order, but for lines that
    /// servers have added for sessions or computers: a user's lines of these go by their number.
    fn live_of<'l>(
        &self,
        live_rows: &'l [MergeRow<'l>],
    ) -> Result<Vec<Option<&'l MergeRow<'l>>>, Conflict> {
        let mut with_places = places_by_user(live_rows);
        let mut others = live_rows.iter().filter(|row| !row.has_places());
        let mut live_of = Vec::with_capacity(self.base_rows.len());
        for base in &self.base_rows {
            live_of.push(match base.has_places() {
                true => with_places.get_mut(&base.places()).and_then(VecDeque::pop_front),
                false => match others.next() {
                    Some(live) if base.is_same_but_for_state(live, &self.zone) => Some(live),
                    Some(live) => return Err(Conflict { line: live.line.number }),
                    None => return Err(Conflict { line: live_rows.len() as u64 + 1 }),
                },
            });
        }
        match others.next() {
            Some(live) => Err(Conflict { line: live.line.number }),
            None => Ok(live_of),
        }
    }

    /// Lines with places that servers have added meanwhile, by user.
    fn places_added<'l>(&self, live_rows: &'l [MergeRow<'l>]) -> HashMap<Vec<u8>, Vec<&'l [u8]>> {
        let known = places_by_user(&self.base_rows);
        let mut added: HashMap<Vec<u8>, Vec<&MergeRow<'_>>> = HashMap::new();
        for (places, rows) in places_by_user(live_rows) {
            let before = known.get(&places).map_or(0, VecDeque::len);
            added.entry(places.1).or_default().extend(rows.into_iter().skip(before));
        }
        let in_order = |(user, mut rows): (Vec<u8>, Vec<&'l MergeRow<'l>>)| {
            rows.sort_by_key(|row| row.line.number);
            let lines: Vec<&[u8]> = rows.iter().map(|row| row.line.text).collect();
            (!lines.is_empty()).then_some((user, lines))
        };
        added.into_iter().filter_map(in_order).collect()
    }

    /// The state that an edited line gets; `None`: what stands in it.
    fn state(
        &self,
        edited: &ReadContent<'_>,
        base: &ReadContent<'_>,
        live: &ReadContent<'_>,
        now: UnixTime,
        note: &mut dyn FnMut(String),
    ) -> Option<State> {
        let is_edited = edited.state_words() != base.state_words();
        let has_moved = live.state_words() != base.state_words();
        match (is_edited, has_moved) {
            // The checksum covers fields 1 to 4 as well.
            (false, false) if base.record.state.intact && edited.head() != base.head() => {
                Some(base.record.state.clone())
            }
            (_, false) => None,
            (false, true) => Some(exact(&live.record, now)),
            (true, true) => {
                Some(both(&edited.record, &base.record.state, exact(&live.record, now), now, note))
            }
        }
    }
}

fn exact(record: &Record, now: UnixTime) -> State {
    let policy = Settings::default().policy(Server::Apache);
    decide::exact_state(
        &policy,
        &StoredToken { token: record.token.clone(), state: record.state.clone() },
        now,
    )
}

/// The live state with what the editor has changed; where both have changed the same, the furthest.
fn both(
    edited: &Record,
    base: &State,
    live: State,
    now: UnixTime,
    note: &mut dyn FnMut(String),
) -> State {
    let mut merged = live.clone();
    let ours = &edited.state;
    if ours.counter != base.counter {
        if live.counter == base.counter {
            merged.counter = ours.counter;
        } else if ours.counter != live.counter {
            if edited.token.factor.is_event()
                && ours.counter.as_written() > live.counter.as_written()
            {
                merged.counter = ours.counter;
            }
            note(format!(
                "a login moved the counter that you changed: it is now {}",
                merged.counter
            ));
        }
    }
    if ours.failures != base.failures {
        if live.failures == base.failures {
            merged.failures = ours.failures;
        } else if ours.failures != live.failures {
            merged.failures = ours.failures.max(live.failures);
            note(format!(
                "a login changed the failures that you changed: they are now {}",
                merged.failures
            ));
        }
        merged.last_failure = merged.last_failure.filter(|_| merged.failures > 0);
    }
    let same_use = |a: &State, b: &State| is_same_use(a, b, now);
    if !same_use(ours, base) && !same_use(ours, &live) {
        let is_ours = same_use(&live, base);
        if is_ours || last_use(ours, now) > last_use(&live, now) {
            merged.last_otp = ours.last_otp.clone();
            merged.used = ours.used;
            merged.address = ours.address.clone();
        }
        merged.replay_floor =
            if is_ours { ours.replay_floor } else { ours.replay_floor.max(live.replay_floor) };
        if !is_ours {
            note(
                "a login changed the last code that you changed: the later one is kept".to_owned(),
            );
        }
    }
    merged
}

fn last_use(state: &State, now: UnixTime) -> Option<UnixTime> {
    state.used.as_of(now).map(|(_, last)| last)
}

fn is_same_use(a: &State, b: &State, now: UnixTime) -> bool {
    let same_time = last_use(a, now) == last_use(b, now);
    same_time
        && a.last_otp == b.last_otp
        && a.address == b.address
        && a.replay_floor == b.replay_floor
}

fn is_used(base: &State, live: &State, now: UnixTime) -> bool {
    (base.counter, base.failures) != (live.counter, live.failures) || !is_same_use(base, live, now)
}

impl Edited<'_> {
    /// What the editor has changed, without PINs and keys. Comments are only counted: they may hold
    /// a token that was commented out.
    pub fn changes(&self) -> Vec<String> {
        let mut told = Vec::new();
        let mut is_left = vec![false; self.base_rows.len()];
        let (mut new_pragmas, mut gone_pragmas) = (Vec::new(), Vec::new());
        let mut new_others = 0;
        for (row, origin) in self.rows.iter().zip(&self.origins) {
            let base = origin.map(|origin| {
                is_left[origin.base] = true;
                &self.base_rows[origin.base]
            });
            if base.is_some_and(|base| base.line.text == row.line.text) {
                continue;
            }
            if row.is_told_pragma() {
                new_pragmas.push(row);
                continue;
            }
            let Some(read) = row.read(&self.zone) else {
                new_others += 1;
                continue;
            };
            let what = match base.and_then(|base| base.read(&self.zone)) {
                None => Some(format!("new, {}", tokens::kind(&read.record.token))),
                Some(base) => difference(&base, &read),
            };
            if let Some(what) = what {
                told.push(format!(
                    "line {}: {}: {what}",
                    row.line.number,
                    tokens::shown_name(row.user())
                ));
            }
        }
        let mut gone_others = 0;
        for (row, _) in self.base_rows.iter().zip(is_left).filter(|(_, is_left)| !is_left) {
            if row.is_told_pragma() {
                gone_pragmas.push(row);
                continue;
            }
            let Some(read) = row.read(&self.zone) else {
                gone_others += 1;
                continue;
            };
            let (number, user) = (row.line.number, tokens::shown_name(row.user()));
            told.push(format!(
                "line {number} of the old file: {user}: gone, {}",
                tokens::kind(&read.record.token)
            ));
        }
        told.extend(pragma_changes(&new_pragmas, gone_pragmas));
        if new_others + gone_others > 0 {
            told.push(format!("comments and other lines: {new_others} new, {gone_others} gone"));
        }
        if told.is_empty() {
            told.push("order or blanks".to_owned());
        }
        told
    }
}

/// Of lines for us alone. One that has gone and a new one of its kind are one line with other
/// words.
fn pragma_changes(new: &[&MergeRow<'_>], mut gone: Vec<&MergeRow<'_>>) -> Vec<String> {
    // What stands in lines of kinds that we don't know may be secret.
    let words = |row: &MergeRow<'_>| match PragmaKind::of(row.line.text) {
        None => "of an unknown kind".to_owned(),
        Some(_) => match pragma::details(row.line.text) {
            words if words.is_empty() => "nothing".to_owned(),
            words => words,
        },
    };
    let mut told = Vec::new();
    for row in new {
        let (number, title) = (row.line.number, pragma::title(row.line.text));
        let old = gone
            .iter()
            .position(|old| pragma::title(old.line.text) == title)
            .map(|old| gone.remove(old));
        told.push(match old {
            Some(old) => format!("line {number}: {title}: {} -> {}", words(old), words(row)),
            None => format!("line {number}: {title}: new, {}", words(row)),
        });
    }
    for row in gone {
        let (number, title) = (row.line.number, pragma::title(row.line.text));
        told.push(format!("line {number} of the old file: {title}: gone, {}", words(row)));
    }
    told
}

/// Between two versions of one record; `None` if they say the same.
fn difference(old_row: &ReadContent<'_>, new_row: &ReadContent<'_>) -> Option<String> {
    let (old, new) = (&old_row.record, &new_row.record);
    let mut parts = Vec::new();
    let mut compare = |what: &str, old: String, new: String| {
        if old != new {
            parts.push(format!("{what} {old} -> {new}"));
        }
    };
    compare("name", tokens::shown_name(old_row.head()[1]), tokens::shown_name(new_row.head()[1]));
    compare("type", tokens::kind(&old.token), tokens::kind(&new.token));
    compare(
        "PIN",
        tokens::pin_word(&old.token.pin).to_owned(),
        tokens::pin_word(&new.token.pin).to_owned(),
    );
    compare("counter", old.state.counter.to_string(), new.state.counter.to_string());
    compare("failures", old.state.failures.to_string(), new.state.failures.to_string());
    let last = |state: &State| LastLogin::of(state, tokens::now()).to_string();
    compare("last login", last(&old.state), last(&new.state));
    if old.token.disabled != new.token.disabled {
        parts.push(if new.token.disabled { "switched off" } else { "switched on" }.to_owned());
    }
    let is_same_kind = tokens::pin_word(&old.token.pin) == tokens::pin_word(&new.token.pin);
    if old.token.pin != new.token.pin && is_same_kind {
        parts.push("another PIN".to_owned());
    }
    if old.token.key != new.token.key {
        parts.push("another key".to_owned());
    }
    if parts.is_empty() && old_row.state_words() != new_row.state_words() {
        parts.push("state".to_owned());
    }
    if parts.is_empty() && old_row.frame().1 != new_row.frame().1 {
        parts.push("what follows the fields".to_owned());
    }
    (!parts.is_empty()).then(|| parts.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn merge(
        base: &Content,
        edited: &Content,
        live: &Content,
        now: UnixTime,
    ) -> Result<Merged, Conflict> {
        Edited::of(base, edited).merged_with(live, now)
    }

    fn changes(base: &Content, edited: &Content) -> Vec<String> {
        Edited::of(base, edited).changes()
    }

    const NOW: UnixTime = 1_700_000_000;
    const KEY: &str = "3132333435363738393031323334353637383930";
    const OTHER: &str = "00112233445566778899aabbccddeeff00112233";

    fn content(lines: &[&str]) -> Content {
        let text = lines.join("\n").replace("KEY", KEY).replace("OTHER", OTHER);
        Content::new((text + "\n").into_bytes())
    }

    /// As logins write it.
    fn in_slots(lines: &[&str]) -> Content {
        let zone = TimeZone::system();
        content(lines).with(|line| {
            let record = line.record(&zone)?.unwrap();
            let state = exact(&record, NOW);
            let text = rewrite::with_state(line.text, &record.layout, &state, &zone);
            Some(LineChange::Replace(Zeroizing::new(text)))
        })
    }

    /// Counter, failures and last code of each token, and whether its checksum is right.
    fn states(content: &Content) -> Vec<(i64, u32, Option<String>, bool)> {
        let records = content.lines().filter_map(|line| line.record(&TimeZone::system()));
        let state = |record: Record| {
            let code = record.state.last_otp.as_ref();
            let code = code.map(|code| String::from_utf8(code.as_bytes().to_vec()).unwrap());
            (record.state.counter.as_written(), record.state.failures, code, record.state.intact)
        };
        records.map(|record| state(record.unwrap())).collect()
    }

    fn merged(base: &[&str], edited: &[&str], live: &[&str]) -> Merged {
        merge(&in_slots(base), &in_slots(edited), &in_slots(live), NOW)
            .unwrap_or_else(|conflict| panic!("{conflict}"))
    }

    const T1: &str = "2023-11-01T00:00:00L 192.0.2.1";
    const T2: &str = "2023-11-02T00:00:00L 192.0.2.2";

    #[test]
    fn a_login_meanwhile_is_kept_and_a_change_by_hand_too() {
        let used = |counter: i64, failures: u32, code: &str| {
            (counter, failures, Some(code.to_owned()), true)
        };
        let row = |counter, failures, code, time| {
            format!("HOTP/E a - KEY {counter} {failures} {code} {time}")
        };
        for (base, edited, live, expected, notes) in [
            // Nobody, the login alone, the editor alone.
            (row(5, 0, "1", T1), row(5, 0, "1", T1), row(5, 0, "1", T1), used(5, 0, "1"), 0),
            (row(5, 0, "1", T1), row(5, 0, "1", T1), row(6, 0, "2", T2), used(6, 0, "2"), 0),
            (row(5, 3, "1", T1), row(5, 0, "1", T1), row(5, 3, "1", T1), used(5, 0, "1"), 0),
            // Each something else: both.
            (row(5, 3, "1", T1), row(5, 0, "1", T1), row(6, 3, "2", T2), used(6, 0, "2"), 0),
            (row(5, 3, "1", T1), row(9, 3, "1", T1), row(5, 4, "1", T1), used(9, 4, "1"), 0),
            // The same: the furthest.
            (row(5, 0, "1", T1), row(9, 0, "1", T1), row(6, 0, "2", T2), used(9, 0, "2"), 1),
            (row(5, 0, "1", T1), row(2, 0, "1", T1), row(6, 0, "2", T2), used(6, 0, "2"), 1),
            (row(5, 3, "1", T1), row(5, 0, "1", T1), row(5, 4, "1", T1), used(5, 4, "1"), 1),
            (row(5, 0, "1", T1), row(5, 0, "-", "- -"), row(6, 0, "2", T2), used(6, 0, "2"), 1),
        ] {
            let merged = merged(&[&base], &[&edited], &[&live]);
            assert_eq!(states(&merged.content), [expected], "{base} / {edited} / {live}");
            assert_eq!(merged.notes.len(), notes, "{:?}", merged.notes);
        }
    }

    #[test]
    fn state_follows_its_token_wherever_the_editor_puts_it() {
        let base = ["HOTP/E a - KEY 5", "HOTP/E b - OTHER 7"];
        let live = ["HOTP/E a - KEY 6", "HOTP/E b - OTHER 8"];
        for (edited, expected) in [
            (&["HOTP/E b - OTHER 7", "HOTP/E a - KEY 5"][..], &[8, 6][..]),
            (&["HOTP/E a 1234 KEY 5", "OFF:HOTP/E b - OTHER 7"], &[6, 8]),
            (&["HOTP/E c - KEY 5", "# b is gone"], &[6]),
            (&["HOTP/E new - 00 1", "HOTP/E a - KEY 5", "HOTP/E b - OTHER 7"], &[1, 6, 8]),
            // Another key, another way of counting: another token, on its own.
            (&["HOTP/E a - 00 5", "HOTP/T30 b - OTHER 7"], &[5, 7]),
        ] {
            let edited = content(edited);
            let merged = merge(&in_slots(&base), &edited, &in_slots(&live), NOW)
                .unwrap_or_else(|conflict| panic!("{conflict}"));
            let counters: Vec<i64> = states(&merged.content).iter().map(|state| state.0).collect();
            assert_eq!(counters, expected);
        }
    }

    #[test]
    fn fields_that_nobody_uses_meanwhile_stay_byte_for_byte_but_for_the_checksum() {
        let base = in_slots(&["HOTP/E a - KEY 5 2 123456 2023-11-01T00:00:00L 192.0.2.1"]);
        let text = String::from_utf8(base.bytes().to_vec()).unwrap();
        let edited = Content::new(text.replace(" a - ", " a  1234 ").into_bytes());
        let merged = merge(&base, &edited, &base, NOW)
            .unwrap_or_else(|conflict| panic!("{conflict}"))
            .content;
        let expected = states(&base);
        assert_eq!(states(&merged), expected, "exact as before");
        let sum = |text: &str| text.rfind(',').unwrap();
        let merged = String::from_utf8(merged.bytes().to_vec()).unwrap();
        let edited = String::from_utf8(edited.bytes().to_vec()).unwrap();
        assert_eq!(merged[..sum(&merged)], edited[..sum(&edited)]);
    }

    #[test]
    fn slots_given_meanwhile_are_no_conflict_and_anything_else_is() {
        let base = content(&["# x", "HOTP/E a - KEY 5", "HOTP b - 00"]);
        let edited = content(&["# y", "HOTP/E a - KEY 5", "HOTP b - 00"]);
        let slots = in_slots_but_comments(&base);
        assert!(merge(&base, &edited, &slots, NOW).is_ok());
        for (live, line) in [
            (&["# z", "HOTP/E a - KEY 5", "HOTP b - 00"][..], 1),
            (&["# x", "HOTP/E a 1 KEY 5", "HOTP b - 00"], 2),
            (&["# x", "HOTP/E a - KEY 5"], 3),
            (&["# x", "HOTP/E a - KEY 5", "HOTP b - 00", "HOTP c - 00"], 4),
        ] {
            assert_eq!(merge(&base, &edited, &content(live), NOW).err(), Some(Conflict { line }));
        }
    }

    fn in_slots_but_comments(of: &Content) -> Content {
        let zone = TimeZone::system();
        of.with(|line| {
            let record = line.record(&zone)?.unwrap();
            let text = rewrite::with_state(line.text, &record.layout, &record.state, &zone);
            Some(LineChange::Replace(Zeroizing::new(text)))
        })
    }

    #[test]
    fn changes_of_lines_for_us_alone_are_told_in_words() {
        let base = content(&[
            "#@ limits max_failures=10",
            "#@ apart jose",
            "#@ free   ",
            "HOTP a - KEY",
            "#@ new s3cret",
        ]);
        let (rest, limits) = (["HOTP a - KEY", "#@ new s3cret"], "#@ limits max_failures=10");
        for (first, expected) in [
            (
                &["#@ limits  max_failures=5 \r", "#@ apart jose", "#@ free   "][..],
                &["line 1: #@ limits: max_failures=10 -> max_failures=5"][..],
            ),
            (
                &["#@ apart jose", "#@ free   "],
                &["line 1 of the old file: #@ limits: gone, max_failures=10"],
            ),
            (
                &[limits, "#@ limits max_idle=60", "#@ apart jose", "#@ free   "],
                &["line 2: #@ limits: new, max_idle=60"],
            ),
            (
                &[limits, "#@ apart j%20s", "#@ free   ", "#@ allow", "#@ other s3cret"],
                &[
                    "line 2: #@ apart: jose -> j%20s",
                    "line 4: #@ allow: new, nothing",
                    "line 5: #@ other: new, of an unknown kind",
                ],
            ),
            (
                &[limits, "# apart jose", "# free"],
                &[
                    "line 2 of the old file: #@ apart: gone, jose",
                    "comments and other lines: 2 new, 1 gone",
                ],
            ),
            (&["#@ apart jose", limits, "#@ free   "], &["order or blanks"]),
        ] {
            let edited = content(&[first, &rest].concat());
            assert_eq!(changes(&base, &edited), expected);
            assert_eq!(
                merge(&base, &edited, &base, NOW)
                    .unwrap_or_else(|conflict| panic!("{conflict}"))
                    .content
                    .bytes(),
                edited.bytes()
            );
        }
    }

    #[test]
    fn lines_for_us_alone_stay_when_logins_move_on_and_are_no_ones_but_the_editors_to_change() {
        let base = ["#@ limits max_failures=5", "HOTP/E a - KEY 5", "#@ later x"];
        let merged = merged(&base[1..2], &base[1..2], &["HOTP/E a - KEY 6"]);
        let with_lines = |content: &Content| {
            Content::new([b"#@ limits max_failures=5\n", content.bytes(), b"#@ later x\n"].concat())
        };
        let [old, live] =
            ["HOTP/E a - KEY 5", "HOTP/E a - KEY 6"].map(|line| with_lines(&in_slots(&[line])));
        let installed =
            merge(&old, &old, &live, NOW).unwrap_or_else(|conflict| panic!("{conflict}"));
        assert_eq!(installed.content.bytes(), with_lines(&merged.content).bytes());
        let changed = Content::new(
            live.bytes().to_vec().strip_prefix(b"#@ limits max_failures=5\n").unwrap().to_vec(),
        );
        assert_eq!(merge(&old, &old, &changed, NOW).err(), Some(Conflict { line: 1 }));
    }

    #[test]
    fn an_app_may_come_in_meanwhile_and_its_hour_is_kept() {
        let app = |hour: &str, path: &str| {
            let digest = format!("sha256:{}:{}", "0".repeat(32), "0".repeat(64));
            format!("HOTP a - KEY\n#@ app a phone {digest} used={hour} path={path}\n")
        };
        let of = |text: String| Content::new(text.into_bytes());
        let (never, now) = ("0000-00-00T00Z", "2026-12-01T08Z");
        let base = of(app(never, "/dav/"));
        let live = of(app(now, "/dav/"));
        for (edited, expected) in [
            (app(never, "/dav/"), app(now, "/dav/")),
            (app(never, "/dav/") + "# more\n", app(now, "/dav/") + "# more\n"),
            (app(never, "/cal/"), app(never, "/cal/")),
        ] {
            let merged = merge(&base, &of(edited), &live, NOW);
            let merged = merged.unwrap_or_else(|conflict| panic!("{conflict}"));
            assert_eq!(merged.content.bytes(), expected.as_bytes());
        }
        let changed = of(app(now, "/cal/"));
        assert_eq!(merge(&base, &base, &changed, NOW).err(), Some(Conflict { line: 2 }));
    }

    #[test]
    fn changes_are_told_without_pins_and_keys() {
        let base =
            content(&["# HOTP old 77 KEY", "HOTP/E a 4711 KEY 5 3", "HOTP b - OTHER", "T c - 00"]);
        for (edited, expected) in [
            (
                &["HOTP/E a 4711 KEY 5 3", "HOTP b - OTHER", "T c - 00"][..],
                "comments and other lines: 0 new, 1 gone",
            ),
            (
                &["# HOTP old 77 KEY", "HOTP/E a 4712 KEY 5 3", "HOTP b - OTHER", "T c - 00"],
                "line 2: a: another PIN",
            ),
            (
                &["# HOTP old 77 KEY", "HOTP/E a - KEY 5", "HOTP b - OTHER", "T c - 00"],
                "line 2: a: PIN plain -> none, failures 3 -> 0",
            ),
            (
                &["# HOTP old 77 KEY", "HOTP/E a 4711 KEY 5 3", "HOTP bea - OTHER", "T c - 00"],
                "line 3: bea: name b -> bea",
            ),
            (
                &["# HOTP old 77 KEY", "HOTP/E a 4711 KEY 5 3", "OFF:HOTP b - 11", "T c - 00"],
                "line 3: b: switched off, another key",
            ),
            (
                &["# HOTP old 77 KEY", "HOTP/E a 4711 KEY 5 3", "T c - 00"],
                "line 3 of the old file: b: gone, HOTP/E/6",
            ),
            (
                &[
                    "# HOTP old 77 KEY",
                    "HOTP/E a 4711 KEY 5 3",
                    "HOTP b - OTHER",
                    "T c - 00",
                    "T d 9 12",
                ],
                "line 5: d: new, HOTP/T30/6",
            ),
            (
                &["# HOTP old 77 KEY", "HOTP b - OTHER", "HOTP/E a 4711 KEY 5 3", "T c - 00"],
                "order or blanks",
            ),
        ] {
            assert_eq!(changes(&base, &content(edited)), [expected]);
        }
    }
}
