//! The users file as an admin meets it: accounts, and amendments of them as changes of lines.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::ops::ControlFlow;
use std::path::Path;

use data_encoding::HEXLOWER;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use zeroize::Zeroizing;

use super::edit::{self, Content, ContentLine, LineChange, ToWrite};
use super::file::{Spot, UsersFile};
use super::lock::Paths;
use super::pass::{LineAt, OwnLine, Passes, Repeated, Seen};
use super::pragma::{Pragma, PragmaKind};
use super::record::{Record, RecordError};
use super::rewrite::{self, NewLine};
use super::{name, pragma, record, ways};
use crate::UnixTime;
use crate::files::fault::Fault;
use crate::policy::Limits;
use crate::secret::Secret;
use crate::store::{
    Account, Accounts, Amend, Amendment, Further, Held, Location, Look, NewToken, OtherUser,
    Refused, Store, StoreError, Taken, Unfit, Whom,
};
use crate::throttle;
use crate::token::{State, StoredToken, Token, TokenTag, Ways};

const OFF: &[u8] = b"OFF:";
/// With more, a frame of the journal would outgrow it: the file is written anew.
const STATES_MAX: usize = 1000;
/// Numbers of fields in a head.
const TYPE: usize = 0;
const USER: usize = 1;
const PIN: usize = 2;
const KEY: usize = 3;

impl Accounts for UsersFile {
    fn limits(&self) -> Result<Result<Limits, Unfit>, StoreError> {
        Ok(Passes::steadily(self.path(), |passes| {
            let mut limits = Ok(Limits::default());
            passes.each_line(|line| {
                if let Ok(so_far) = limits {
                    limits = pragma::limits_with(so_far, line.text).map_err(|error| Unfit {
                        place: location(line.number),
                        reason: format!("{error}; {}", error.outcome()),
                    });
                }
                if limits.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
            })?;
            Ok(limits)
        })?)
    }

    fn look(&self, whom: Whom<'_>, look: &mut Look<'_>) -> Result<(), StoreError> {
        match whom {
            Whom::Users(users) => {
                let found = Passes::steadily(self.path(), |passes| Asked::of(passes, users))?;
                found.show(look)?;
            }
            Whom::Everybody => {
                let found = Passes::steadily(self.path(), Everybody::of)?;
                found.show(look)?;
            }
        }
        Ok(())
    }

    fn other_holder_of(&self, key: &Secret, user: &[u8]) -> Result<Option<OtherUser>, StoreError> {
        let has_it = |line: &ContentLine<'_>| {
            record::parse_one_of_many(line.text, &TimeZone::UTC)
                .is_ok_and(|record| record.token.key == *key)
        };
        Ok(Passes::steadily(self.path(), |passes| {
            let mut found = None;
            passes.each_line(|line| {
                if let Some(other) = line.user()
                    && other != user
                    && has_it(&line)
                {
                    found = Some(other_user(other, line.number));
                    return ControlFlow::Break(());
                }
                ControlFlow::Continue(())
            })?;
            Ok(found)
        })?)
    }

    /// Nobody else changes anything meanwhile, so nothing is asked twice.
    fn amend(&self, whom: Whom<'_>, amend: &mut Amend<'_>) -> Result<(), Refused> {
        let zone = TimeZone::system();
        edit::step(self.path(), |content| {
            let mut edits = Edits::new(content, &zone);
            match whom {
                Whom::Users(users) => standings(content, users, &zone)
                    .into_iter()
                    .try_for_each(|standing| edits.ask(standing, amend))?,
                Whom::Everybody => {
                    everybody(content).into_iter().try_for_each(|(user, lines)| {
                        edits.ask(AccountStanding::listed(user, lines, &zone), amend)
                    })?
                }
            }
            Ok(edits.written(self.path())?)
        })
    }

    fn forget_tries(
        &self,
        user: &[u8],
        logins: &[(IpAddr, UnixTime)],
        now: UnixTime,
    ) -> Result<u32, StoreError> {
        let mut responses = 0;
        // Where nothing is counted, there is nothing to forget.
        if Paths::resolve(self.path())?.throttle().exists() {
            self.tries(&mut |bytes| {
                responses = throttle::forgive(bytes, user, logins, now)?;
                Ok(())
            })?;
        }
        Ok(responses)
    }
}

impl From<Fault> for Refused {
    fn from(fault: Fault) -> Refused {
        Refused::Store(fault.into())
    }
}

fn location(number: u64) -> Location {
    Location { kind: "line", number }
}

fn other_user(user: &[u8], line: u64) -> OtherUser {
    OtherUser { user: user.to_vec(), place: location(line) }
}

/// What an account is made of.
#[derive(Default)]
struct OwnLines {
    tokens: Vec<OwnLine>,
    pragmas: Vec<OwnLine>,
}

impl OwnLines {
    fn lines(&self) -> Lines<'_> {
        let [tokens, pragmas] =
            [&self.tokens, &self.pragmas].map(|own| own.iter().map(OwnLine::line).collect());
        Lines { tokens, pragmas }
    }
}

/// Shows an account that was found in a file.
fn show(
    passes: &Passes,
    (user, lines): (&[u8], Lines<'_>),
    twin: Option<OtherUser>,
    zone: &TimeZone,
    look: &mut Look<'_>,
) -> Result<ControlFlow<()>, Fault> {
    let record = |line| Ok(held(line, passes.record(line, zone)?));
    let held: Result<Vec<Held>, Fault> = lines.tokens.iter().map(record).collect();
    Ok(look(&AccountStanding::new(user, lines, held?, twin).account()))
}

/// The accounts of some names.
struct Asked<'u> {
    passes: Passes,
    /// In the order they were asked for.
    accounts: Vec<(&'u [u8], OwnLines)>,
    /// For those who aren't listed, by what the names have in common.
    twins: HashMap<Vec<u8>, OtherUser>,
}

impl<'u> Asked<'u> {
    fn of(passes: Passes, users: &[&'u [u8]]) -> Result<Asked<'u>, Fault> {
        let (mut accounts, mut places) = (Vec::new(), HashMap::with_capacity(users.len()));
        for &user in users {
            places.entry(user).or_insert_with(|| {
                accounts.push((user, OwnLines::default()));
                accounts.len() - 1
            });
        }
        passes.each_line(|line| {
            if let Some(user) = line.user() {
                if let Some(&place) = places.get(user) {
                    accounts[place].1.tokens.push(OwnLine::of(&line));
                }
            } else if let Some(user) = line.pragma_user()
                && let Some(&place) = places.get(&user[..])
            {
                accounts[place].1.pragmas.push(OwnLine::of(&line));
            }
            ControlFlow::Continue(())
        })?;
        let mut twins = HashMap::new();
        let unlisted = accounts.iter().filter(|(_, own)| own.tokens.is_empty());
        let keys: HashSet<_> = unlisted.map(|(user, _)| name::key(user)).collect();
        if !keys.is_empty() {
            passes.each_line(|line| {
                if let Some(user) = line.user() {
                    let key = name::key(user);
                    if keys.contains(&key) && !twins.contains_key(&key[..]) {
                        twins.insert(key.into_owned(), other_user(user, line.number));
                    }
                }
                ControlFlow::Continue(())
            })?;
        }
        Ok(Asked { passes, accounts, twins })
    }

    fn show(&self, look: &mut Look<'_>) -> Result<(), Fault> {
        let zone = TimeZone::system();
        for (user, own) in &self.accounts {
            let is_listed = !own.tokens.is_empty();
            let twin = if is_listed { None } else { self.twins.get(&name::key(user)[..]).cloned() };
            if show(&self.passes, (user, own.lines()), twin, &zone, look)?.is_break() {
                break;
            }
        }
        Ok(())
    }
}

/// All accounts: what is held at once is one of them, and where the lines of those are that have
/// several.
struct Everybody {
    passes: Passes,
    /// Names in several lines.
    repeated: Repeated,
    /// Their lines, by the hash of the name, in the order of the file.
    scattered: Vec<(u64, LineAt)>,
    /// Lines for us alone about somebody.
    pragmas: HashMap<Vec<u8>, Vec<LineAt>>,
}

impl Everybody {
    fn of(passes: Passes) -> Result<Everybody, Fault> {
        let (mut seen, mut pragmas) = (Seen::default(), HashMap::<Vec<u8>, Vec<LineAt>>::new());
        passes.each_line(|line| {
            if let Some(user) = line.user() {
                seen.note(user);
            } else if let Some(user) = line.pragma_user() {
                pragmas.entry(user).or_default().push(LineAt::of(&line));
            }
            ControlFlow::Continue(())
        })?;
        let (repeated, mut scattered) = (seen.repeated(2), Vec::new());
        if !repeated.is_empty() {
            passes.each_line(|line| {
                if let Some(hash) = line.user().and_then(|user| repeated.hash_of(user)) {
                    scattered.push((hash, LineAt::of(&line)));
                }
                ControlFlow::Continue(())
            })?;
            // Stable: lines of one name stay in order.
            scattered.sort_by_key(|&(hash, _)| hash);
        }
        Ok(Everybody { passes, repeated, scattered, pragmas })
    }

    fn show(&self, look: &mut Look<'_>) -> Result<(), Fault> {
        let zone = TimeZone::system();
        let (mut are_shown, mut fault) = (HashSet::new(), None);
        self.passes.each_line(|line| {
            let Some(user) = line.user() else { return ControlFlow::Continue(()) };
            let shown = match self.repeated.hash_of(user) {
                None => self.pragmas_of(user).and_then(|pragmas| {
                    let pragmas = pragmas.iter().map(OwnLine::line).collect();
                    let lines = Lines { tokens: vec![line], pragmas };
                    show(&self.passes, (user, lines), None, &zone, look)
                }),
                Some(hash) if are_shown.insert(hash) => self.show_scattered(hash, &zone, look),
                Some(_) => Ok(ControlFlow::Continue(())),
            };
            shown.unwrap_or_else(|failed| {
                fault = Some(failed);
                ControlFlow::Break(())
            })
        })?;
        fault.map_or(Ok(()), Err)
    }

    /// The users whose names have this hash: one, or a few by chance.
    fn show_scattered(
        &self,
        hash: u64,
        zone: &TimeZone,
        look: &mut Look<'_>,
    ) -> Result<ControlFlow<()>, Fault> {
        let start = self.scattered.partition_point(|&(other, _)| other < hash);
        let places = self.scattered[start..].iter().take_while(|&&(other, _)| other == hash);
        let mut users: Vec<(Vec<u8>, OwnLines)> = Vec::new();
        for &(_, place) in places {
            let own = self.passes.line_at(place)?;
            let Some(user) = own.line().user() else { continue };
            match users.iter_mut().find(|(known, _)| known == user) {
                Some((_, lines)) => lines.tokens.push(own),
                None => {
                    let pragmas = self.pragmas_of(user)?;
                    users.push((user.to_vec(), OwnLines { tokens: vec![own], pragmas }));
                }
            }
        }
        for (user, own) in &users {
            if show(&self.passes, (user, own.lines()), None, zone, look)?.is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    fn pragmas_of(&self, user: &[u8]) -> Result<Vec<OwnLine>, Fault> {
        let places = self.pragmas.get(user).into_iter().flatten();
        places.map(|place| self.passes.line_at(*place)).collect()
    }
}

/// The lines that are about one user.
#[derive(Default)]
struct Lines<'c> {
    /// Tokens, and what can't be read.
    tokens: Vec<ContentLine<'c>>,
    /// Lines for us alone.
    pragmas: Vec<ContentLine<'c>>,
}

/// Everybody who is listed, in the order of their first lines.
fn everybody(content: &Content) -> Vec<(&[u8], Lines<'_>)> {
    let mut users: Vec<(&[u8], Lines<'_>)> = Vec::new();
    let mut places: HashMap<&[u8], usize> = HashMap::new();
    let mut pragmas = Vec::new();
    for line in content.lines() {
        if let Some(user) = line.user() {
            let place = *places.entry(user).or_insert(users.len());
            if place == users.len() {
                users.push((user, Lines::default()));
            }
            users[place].1.tokens.push(line);
        } else if let Some(user) = line.pragma_user() {
            pragmas.push((user, line));
        }
    }
    for (user, line) in pragmas {
        // Of somebody who isn't listed, nobody has asked.
        if let Some(&place) = places.get(&user[..]) {
            users[place].1.pragmas.push(line);
        }
    }
    users
}

/// An account as it stands in a content.
struct AccountStanding<'c> {
    user: &'c [u8],
    lines: Lines<'c>,
    held: Vec<Held>,
    further: Vec<Further>,
    start_pin: Option<Date>,
    ways: Ways,
    twin: Option<OtherUser>,
}

/// The accounts of these names, listed or not. One pass over the content, or two where twins are to
/// be looked for, however many names there are.
fn standings<'c>(
    content: &'c Content,
    users: &[&'c [u8]],
    zone: &TimeZone,
) -> Vec<AccountStanding<'c>> {
    let places: HashMap<&[u8], usize> =
        users.iter().enumerate().map(|(place, user)| (*user, place)).collect();
    let mut lines: Vec<Lines<'_>> = users.iter().map(|_| Lines::default()).collect();
    for line in content.lines() {
        if let Some(user) = line.user() {
            if let Some(&place) = places.get(user) {
                lines[place].tokens.push(line);
            }
        } else if let Some(&place) = line.pragma_user().and_then(|user| places.get(&user[..])) {
            lines[place].pragmas.push(line);
        }
    }
    let mut standings: Vec<AccountStanding<'c>> = users
        .iter()
        .zip(lines)
        .map(|(user, lines)| AccountStanding::listed(user, lines, zone))
        .collect();
    find_twins(content, &mut standings);
    standings
}

/// For names that nobody has, the first line of another one that others may take for it.
fn find_twins(content: &Content, standings: &mut [AccountStanding<'_>]) {
    let mut unlisted: HashMap<Cow<'_, [u8]>, Vec<usize>> = HashMap::new();
    for (place, standing) in standings.iter().enumerate() {
        if standing.held.is_empty() {
            unlisted.entry(name::key(standing.user)).or_default().push(place);
        }
    }
    if unlisted.is_empty() {
        return;
    }
    for line in content.lines() {
        let Some(other) = line.user() else { continue };
        for &place in unlisted.get(&name::key(other)).into_iter().flatten() {
            let twin = &mut standings[place].twin;
            twin.get_or_insert_with(|| other_user(other, line.number));
        }
    }
}

impl<'c> AccountStanding<'c> {
    fn new(
        user: &'c [u8],
        lines: Lines<'c>,
        held: Vec<Held>,
        twin: Option<OtherUser>,
    ) -> AccountStanding<'c> {
        let further = lines
            .pragmas
            .iter()
            .filter(|line| !pragma::is_room(line.text))
            .map(|line| Further { title: pragma::title(line.text), place: location(line.number) })
            .collect();
        let since = |line: &ContentLine<'_>| match pragma::parse(line.text) {
            Some(Ok(Pragma::StartPin(_, since))) => Some(since),
            _ => None,
        };
        let start_pin = lines.pragmas.iter().filter_map(since).min();
        let ways = ways::of_lines(lines.pragmas.iter().map(|line| line.text));
        AccountStanding { user, lines, held, further, start_pin, ways, twin }
    }

    /// Of a content that nobody is writing.
    fn listed(user: &'c [u8], lines: Lines<'c>, zone: &TimeZone) -> AccountStanding<'c> {
        let records = lines.tokens.iter().map(|line| (line, record::parse(line.text, zone)));
        let held = records.map(|(line, record)| held(line, record)).collect();
        AccountStanding::new(user, lines, held, None)
    }

    fn account(&self) -> Account<'_> {
        Account {
            user: self.user,
            held: &self.held,
            further: &self.further,
            start_pin: self.start_pin,
            ways: &self.ways,
            twin: self.twin.as_ref(),
        }
    }
}

fn held(line: &ContentLine<'_>, record: Result<Record, RecordError>) -> Held {
    let place = location(line.number);
    match record {
        Ok(record) => {
            let fingerprint = Some(record.token.fingerprint);
            Held {
                place,
                token: Ok(StoredToken { token: record.token, state: record.state }),
                but_for_key: None,
                fingerprint,
            }
        }
        Err(error) => {
            let fingerprint = record::fingerprint_of_line(line.text);
            let but_for_key = but_for_key(line.text);
            Held { place, token: Err(error.to_string()), but_for_key, fingerprint }
        }
    }
}

/// A line that can't be read, as it would be with another key.
fn but_for_key(text: &[u8]) -> Option<Token> {
    let mut head = edit::head_of(text)?;
    head[KEY] = b"00";
    let text = edit::with_head(text, head).ok()?;
    // The zone of the time field has no part in it.
    Some(record::parse(&text, &TimeZone::UTC).ok()?.token)
}

/// What keeps a name from being given to whom another one belongs.
fn taken(content: &Content, old: &[u8], new: &[u8]) -> Option<Taken> {
    let key = name::key(new);
    let by_name = content.lines().filter_map(|line| line.user()).find_map(|user| match user {
        _ if user == new => Some(Taken::Listed),
        _ if user != old && name::key(user) == key => Some(Taken::TwinOf(user.to_vec())),
        _ => None,
    });
    by_name.or_else(|| {
        let is_left_over = |line: &ContentLine<'_>| {
            line.pragma_user().is_some_and(|about| about == new) && !pragma::is_room(line.text)
        };
        let line = content.lines().find(is_left_over)?;
        Some(Taken::LeftOver(location(line.number)))
    })
}

/// What the amendments of one step come to.
struct Edits<'c> {
    content: &'c Content,
    zone: &'c TimeZone,
    /// By the number of the line.
    changes: Vec<(u64, LineChange)>,
    added: Vec<Added<'c>>,
    /// Lines for us alone, behind these.
    added_pragmas: Vec<String>,
    /// While nothing but states changes, and all of them can be written over the old ones.
    states: Option<Vec<(Spot, State)>>,
}

/// A line to be added.
struct Added<'c> {
    kind: String,
    user: &'c [u8],
    pin: Secret,
    key: Zeroizing<String>,
    state: State,
}

impl<'c> Added<'c> {
    fn new(user: &'c [u8], token: NewToken) -> Added<'c> {
        let NewToken { algorithm, factor, digits, pin, key, state } = token;
        let kind = record::type_field(algorithm, factor, digits);
        Added { kind, user, pin, key: Zeroizing::new(HEXLOWER.encode(key.expose())), state }
    }

    fn line(&self) -> NewLine<'_> {
        let head = [self.kind.as_bytes(), self.user, self.pin.expose(), self.key.as_bytes()];
        NewLine { head, state: self.state.clone() }
    }
}

impl<'c> Edits<'c> {
    fn new(content: &'c Content, zone: &'c TimeZone) -> Edits<'c> {
        Edits {
            content,
            zone,
            changes: Vec::new(),
            added: Vec::new(),
            added_pragmas: Vec::new(),
            states: Some(Vec::new()),
        }
    }

    fn ask(&mut self, standing: AccountStanding<'c>, amend: &mut Amend<'_>) -> Result<(), Refused> {
        let amendments = amend(&standing.account()).ok_or(Refused::Withdrawn)?;
        if amendments.iter().any(|amendment| !matches!(amendment, Amendment::SetState(..))) {
            self.states = None;
        }
        let mut draft = Draft::of(standing);
        let added = self.added.len();
        for amendment in amendments {
            self.apply(&mut draft, amendment)?;
        }
        let is_gone = |change: &Option<LineChange>| matches!(change, Some(LineChange::Remove));
        if self.added.len() == added
            && !draft.tokens.is_empty()
            && draft.changes.iter().all(is_gone)
        {
            draft.remove_pragmas(|_| true);
        }
        if self.states.is_none() {
            draft.empty_places_of_former_tokens();
        }
        self.changes.extend(draft.into_changes());
        Ok(())
    }

    fn apply(&mut self, draft: &mut Draft<'c>, amendment: Amendment) -> Result<(), Refused> {
        match amendment {
            Amendment::Remove(index) => draft.changes[index] = Some(LineChange::Remove),
            Amendment::Disable(index, off) => draft.disable(index, off)?,
            Amendment::SetPin(index, pin) => draft.set_field(index, PIN, pin.expose())?,
            Amendment::SetKey(index, key) => {
                draft.set_field(
                    index,
                    KEY,
                    Zeroizing::new(HEXLOWER.encode(key.expose())).as_bytes(),
                )?;
                draft.set_state(index, &State::fresh(), self.zone)?;
            }
            Amendment::SetState(index, state) => {
                let record = draft.set_state(index, &state, self.zone)?;
                let has_place =
                    |states: &Vec<_>| record.layout.slot.is_some() && states.len() < STATES_MAX;
                self.states = self.states.take().filter(has_place);
                if let Some(states) = &mut self.states {
                    let ContentLine { offset, text, .. } = draft.tokens[index];
                    states.push((Spot::new(draft.user, offset, text, &record), state));
                }
            }
            Amendment::Rename(new) => {
                if let Some(taken) = taken(self.content, draft.user, &new) {
                    return Err(Refused::Taken(taken));
                }
                draft.rename(&new)?;
            }
            Amendment::Replace(index, token) => {
                draft.replace(index, Added::new(draft.user, token), self.zone)?;
            }
            Amendment::Add(token) => self.added.push(Added::new(draft.user, token)),
            Amendment::StartPin(since) => {
                draft.remove_pragmas(|kind| kind == Some(PragmaKind::StartPin));
                self.added_pragmas
                    .extend(since.map(|since| pragma::start_pin_line(draft.user, since)));
            }
            Amendment::AddApp(app) => {
                let line = pragma::app_line(draft.user, &app);
                self.added_pragmas.push(String::from_utf8_lossy(&line).into_owned());
            }
            Amendment::RevokeApp(index) => draft.remove_app(index),
            Amendment::Trust(networks) => {
                draft.remove_pragmas(|kind| kind == Some(PragmaKind::Trust));
                let line =
                    (!networks.is_empty()).then(|| pragma::trust_line(draft.user, &networks));
                self.added_pragmas.extend(line);
            }
            Amendment::Always(always) => {
                draft.remove_pragmas(|kind| kind == Some(PragmaKind::Always));
                self.added_pragmas.extend(pragma::always_lines(draft.user, always));
            }
            Amendment::Purge => draft.remove_pragmas(|_| true),
        }
        Ok(())
    }

    /// What is to be written, if anything is.
    fn written(mut self, path: &Path) -> Result<Option<ToWrite>, Fault> {
        let adds = !self.added.is_empty() || !self.added_pragmas.is_empty();
        if self.changes.is_empty() && !adds {
            return Ok(None);
        }
        if let Some(states) = self.states {
            return Ok(Some(ToWrite::States(states)));
        }
        self.changes.sort_unstable_by_key(|(number, _)| *number);
        let mut changes = self.changes.into_iter().peekable();
        let content = self.content.with(|line| {
            changes.next_if(|(number, _)| *number == line.number).map(|(_, change)| change)
        });
        if !adds {
            return Ok(Some(ToWrite::Content(content)));
        }
        let lines: Vec<NewLine<'_>> = self.added.iter().map(Added::line).collect();
        let content = content.extended(path, self.zone, &lines, &self.added_pragmas)?;
        Ok(Some(ToWrite::Content(content)))
    }
}

/// An account that is being amended.
struct Draft<'c> {
    user: &'c [u8],
    tokens: Vec<ContentLine<'c>>,
    /// What becomes of these.
    changes: Vec<Option<LineChange>>,
    pragmas: Vec<ContentLine<'c>>,
    pragma_changes: Vec<Option<LineChange>>,
}

impl<'c> Draft<'c> {
    fn of(
        AccountStanding { user, lines: Lines { tokens, pragmas }, .. }: AccountStanding<'c>,
    ) -> Draft<'c> {
        let nothing = |lines: &[ContentLine<'_>]| lines.iter().map(|_| None).collect();
        let (changes, pragma_changes) = (nothing(&tokens), nothing(&pragmas));
        Draft { user, tokens, changes, pragmas, pragma_changes }
    }

    /// A line as amended so far.
    fn text(&self, index: usize) -> &[u8] {
        match &self.changes[index] {
            Some(LineChange::Replace(text)) => text,
            Some(LineChange::Remove) | None => self.tokens[index].text,
        }
    }

    fn unfit(&self, index: usize, reason: impl ToString) -> Refused {
        Refused::Unfit(Unfit {
            place: location(self.tokens[index].number),
            reason: reason.to_string(),
        })
    }

    fn head(&self, index: usize) -> Result<[&[u8]; 4], Refused> {
        edit::head_of(self.text(index)).ok_or_else(|| self.unfit(index, "a field is missing"))
    }

    /// One of fields 1 to 4.
    fn set_field(&mut self, index: usize, field: usize, new: &[u8]) -> Result<(), Refused> {
        let mut head = self.head(index)?;
        head[field] = new;
        let text =
            edit::with_head(self.text(index), head).map_err(|error| self.unfit(index, error))?;
        self.changes[index] = Some(LineChange::Replace(text));
        Ok(())
    }

    fn disable(&mut self, index: usize, off: bool) -> Result<(), Refused> {
        let [kind, ..] = self.head(index)?;
        let bare =
            kind.split_at_checked(OFF.len()).filter(|(start, _)| start.eq_ignore_ascii_case(OFF));
        let kind = match bare {
            None if off => [OFF, kind].concat(),
            Some((_, bare)) if !off => bare.to_vec(),
            _ => return Ok(()),
        };
        self.set_field(index, TYPE, &kind)
    }

    /// Another state, and what the line said before.
    fn set_state(
        &mut self,
        index: usize,
        state: &State,
        zone: &TimeZone,
    ) -> Result<Record, Refused> {
        let text = self.text(index);
        let record =
            record::parse_one_of_many(text, zone).map_err(|error| self.unfit(index, error))?;
        let text = rewrite::with_state(text, &record.layout, state, zone);
        self.changes[index] = Some(LineChange::Replace(Zeroizing::new(text)));
        Ok(record)
    }

    /// Another token in a line. Its state first: what it says must be state of the new type, too.
    fn replace(&mut self, index: usize, new: Added<'_>, zone: &TimeZone) -> Result<(), Refused> {
        self.set_state(index, &new.state, zone)?;
        let NewLine { head, .. } = new.line();
        let text =
            edit::with_head(self.text(index), head).map_err(|error| self.unfit(index, error))?;
        self.changes[index] = Some(LineChange::Replace(text));
        Ok(())
    }

    fn rename(&mut self, new: &[u8]) -> Result<(), Refused> {
        for index in 0..self.tokens.len() {
            self.set_field(index, USER, new)?;
        }
        for (line, change) in self.pragmas.iter().zip(&mut self.pragma_changes) {
            // One at fault, which counts for nothing, stays as it is.
            let Some(text) = pragma::with_user(line.text, new) else { continue };
            // Cookies are for the old name.
            let text = pragma::emptied(&text, new).unwrap_or(text);
            *change = Some(LineChange::Replace(Zeroizing::new(text)));
        }
        Ok(())
    }

    fn remove_pragmas(&mut self, is_meant: impl Fn(Option<PragmaKind>) -> bool) {
        for (line, change) in self.pragmas.iter().zip(&mut self.pragma_changes) {
            if is_meant(PragmaKind::of(line.text)) {
                *change = Some(LineChange::Remove);
            }
        }
    }

    /// Ends sessions and computers whose token goes, or gets other fields 1 to 4: they aren't to come
    /// back with them.
    fn empty_places_of_former_tokens(&mut self) {
        let is_there = |index: &usize| !matches!(self.changes[*index], Some(LineChange::Remove));
        let tag = |index| record::fingerprint_of_line(self.text(index)).map(|it| TokenTag::of(&it));
        let tags: Vec<TokenTag> = (0..self.tokens.len()).filter(is_there).filter_map(tag).collect();
        for (line, change) in self.pragmas.iter().zip(&mut self.pragma_changes) {
            if change.is_none() {
                let ended = pragma::without_tokens(line.text, |token| !tags.contains(&token));
                *change = ended.map(|text| LineChange::Replace(Zeroizing::new(text)));
            }
        }
    }

    fn remove_app(&mut self, index: usize) {
        let is_app =
            |line: &ContentLine<'_>| matches!(pragma::parse(line.text), Some(Ok(Pragma::App(..))));
        let mut changes = self.pragmas.iter().zip(&mut self.pragma_changes);
        if let Some((_, change)) = changes.by_ref().filter(|(line, _)| is_app(line)).nth(index) {
            *change = Some(LineChange::Remove);
        }
    }

    fn into_changes(self) -> impl Iterator<Item = (u64, LineChange)> {
        let lines = self.tokens.into_iter().chain(self.pragmas);
        let changes = self.changes.into_iter().chain(self.pragma_changes);
        lines.zip(changes).filter_map(|(line, change)| Some((line.number, change?)))
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU16;
    use std::os::unix::fs::MetadataExt;
    use std::path::PathBuf;

    use super::*;
    use crate::otp::{Digits, Hash};
    use crate::token::{Algorithm, CounterField, MovingFactor};

    struct Scene {
        _directory: tempfile::TempDir,
        path: PathBuf,
        users: UsersFile,
    }

    fn site(content: &str) -> Scene {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("users");
        std::fs::write(&path, content).unwrap();
        let users = UsersFile::new(&path);
        Scene { _directory: directory, path, users }
    }

    impl Scene {
        fn content(&self) -> String {
            std::fs::read_to_string(&self.path).unwrap()
        }

        fn amend(&self, user: &str, amendments: Vec<Amendment>) -> Result<(), Refused> {
            self.users.amend(Whom::Users(&[user.as_bytes()]), &mut |_| Some(amendments.clone()))
        }

        fn everybody(&self) -> Vec<String> {
            let mut seen = Vec::new();
            let look = &mut |account: &Account<'_>| {
                let places: Vec<String> =
                    account.held.iter().map(|held| held.place.to_string()).collect();
                seen.push(format!("{}: {}", account.user.escape_ascii(), places.join(", ")));
                ControlFlow::Continue(())
            };
            self.users.look(Whom::Everybody, look).unwrap();
            seen
        }
    }

    fn with_counter(number: i64) -> State {
        State { counter: CounterField::from_written(number), intact: true, ..State::fresh() }
    }

    fn inode(path: &Path) -> u64 {
        std::fs::metadata(path).unwrap().ino()
    }

    #[test]
    fn everybody_is_shown_once_in_the_order_of_their_first_lines_until_enough_is_seen() {
        let site = site("HOTP bob - 00\n# c\nHOTP alice - 11\n#@ apart bob\nHOTP bob broken\n");
        assert_eq!(site.everybody(), ["bob: line 1, line 5", "alice: line 3"]);
        let mut seen = 0;
        let look = &mut |account: &Account<'_>| {
            assert_eq!(account.further.len(), 1);
            seen += 1;
            ControlFlow::Break(())
        };
        site.users.look(Whom::Everybody, look).unwrap();
        assert_eq!(seen, 1);
    }

    #[test]
    fn whoever_looks_while_states_are_saved_sees_whole_ones_and_no_lock_is_held_meanwhile() {
        let lines: String = (0..400)
            .map(|i| format!("HOTP user{i} - {i:04x}\nHOTP/T30 user{i} - {i:04x}\n"))
            .collect();
        let site = site(&lines);
        let step = |counter| {
            let amend = &mut |_: &Account<'_>| {
                let state = with_counter(counter);
                Some(vec![Amendment::SetState(0, state.clone()), Amendment::SetState(1, state)])
            };
            site.users.amend(Whom::Everybody, amend).unwrap();
        };
        step(0);
        std::thread::scope(|scope| {
            let writer = scope.spawn(|| (1..=20).for_each(step));
            let mut is_last = false;
            while !is_last {
                is_last = writer.is_finished();
                let (mut seen, mut asked) = (0, 0);
                let look = &mut |account: &Account<'_>| {
                    asked += 1;
                    for held in account.held {
                        let state = &held.token.as_ref().unwrap().state;
                        assert!(state.intact);
                        seen = seen.max(state.counter.as_written());
                    }
                    ControlFlow::Continue(())
                };
                site.users.look(Whom::Everybody, look).unwrap();
                assert_eq!(asked, 400);
                assert!(!is_last || seen == 20);
            }
        });
        // The writer would wait for it.
        let mut is_first = true;
        let look = &mut |_: &Account<'_>| {
            if std::mem::take(&mut is_first) {
                step(30);
            }
            ControlFlow::Continue(())
        };
        site.users.look(Whom::Everybody, look).unwrap();
    }

    #[test]
    fn a_name_that_nobody_has_is_shown_with_what_is_left_of_it_and_its_twin() {
        let site = site("#@ apart Bob\nHOTP alice - 11\nHOTP bob - 00\n");
        let look = &mut |account: &Account<'_>| {
            assert!(account.held.is_empty());
            assert_eq!(
                (&account.further[0].title[..], account.further[0].place.number),
                ("#@ apart", 1)
            );
            assert_eq!(
                account.twin.map(|twin| (&twin.user[..], twin.place.number)),
                Some((&b"bob"[..], 3))
            );
            ControlFlow::Continue(())
        };
        site.users.look(Whom::Users(&[b"Bob"]), look).unwrap();
    }

    #[test]
    fn a_state_is_written_over_the_old_one_and_into_a_new_file_where_there_is_no_slot_yet() {
        let site = site("# c\nHOTP alice - 11 0 0 - - - # tail\nHOTP bob - 00\n");
        let before = inode(&site.path);
        site.amend("alice", vec![Amendment::SetState(0, with_counter(7))]).unwrap();
        let first = (inode(&site.path), site.content());
        assert_ne!(first.0, before);
        assert!(first.1.ends_with(" # tail\nHOTP bob - 00\n"), "other lines stay: {}", first.1);
        site.amend("alice", vec![Amendment::SetState(0, with_counter(8))]).unwrap();
        assert_eq!(inode(&site.path), first.0);
        let found = site.users.find(b"alice").unwrap();
        assert_eq!(found.entry.lines[0].state, with_counter(8));
    }

    #[test]
    fn more_states_than_a_frame_of_the_journal_takes_are_written_all_the_same() {
        let lines: String = (0..STATES_MAX + 1).map(|i| format!("HOTP user{i} - 00\n")).collect();
        let site = site(&lines);
        for counter in [1, 2] {
            let amend =
                &mut |_: &Account<'_>| Some(vec![Amendment::SetState(0, with_counter(counter))]);
            site.users.amend(Whom::Everybody, amend).unwrap();
        }
        let last = format!("user{STATES_MAX}");
        for user in ["user0", &last] {
            assert_eq!(
                site.users.find(user.as_bytes()).unwrap().entry.lines[0].state,
                with_counter(2)
            );
        }
    }

    #[test]
    fn amendments_of_one_line_add_up() {
        let site = site("HOTP alice - 11\n");
        let amendments = vec![
            Amendment::SetPin(0, Secret::new(b"1234".to_vec())),
            Amendment::Disable(0, true),
            Amendment::SetKey(0, Secret::new(vec![0xab])),
            Amendment::SetState(0, with_counter(5)),
            Amendment::Rename(b"bob".to_vec()),
        ];
        site.amend("alice", amendments).unwrap();
        assert!(site.content().starts_with("OFF:HOTP bob 1234 ab "), "{}", site.content());
        assert_eq!(site.users.find(b"bob").unwrap().entry.lines[0].state, with_counter(5));
    }

    #[test]
    fn what_is_kept_about_a_name_goes_with_its_last_token_and_not_where_a_new_one_comes() {
        const LINES: &str = "#@ apart alice\nHOTP alice - 11\n";
        let token = NewToken {
            algorithm: Algorithm::Hotp(Hash::Sha256),
            factor: MovingFactor::Event,
            digits: Digits::SIX,
            pin: Secret::new(b"-".to_vec()),
            key: Secret::new(vec![0x22]),
            state: State::fresh(),
        };
        let gone = site(LINES);
        gone.amend("alice", vec![Amendment::Remove(0)]).unwrap();
        assert_eq!(gone.content(), "");
        let kept = site(LINES);
        kept.amend("alice", vec![Amendment::Remove(0), Amendment::Add(token.clone())]).unwrap();
        assert!(kept.content().starts_with("#@ apart alice\nHOTP-SHA256/E/6 alice - 22 "));
        let purged = site(LINES);
        purged.amend("alice", vec![Amendment::Purge, Amendment::Add(token)]).unwrap();
        assert!(purged.content().starts_with("HOTP alice - 11\nHOTP-SHA256/E/6 alice - 22 "));
    }

    #[test]
    fn a_start_pin_is_flagged_since_the_first_day_said_and_no_longer_once_it_is_not() {
        let site = site(
            "#@ start-pin alice 2026-12-03\nHOTP alice - 11\n#@ start-pin alice 2026-12-01\n\
             #@ start-pin alice soon\n#@ apart alice\nHOTP bob - 00",
        );
        let since = |user: &str| {
            let mut since = None;
            let look = &mut |account: &Account<'_>| {
                since = account.start_pin;
                ControlFlow::Continue(())
            };
            site.users.look(Whom::Users(&[user.as_bytes()]), look).unwrap();
            since
        };
        let day = |day| Some(jiff::civil::date(2026, 12, day));
        assert_eq!((since("alice"), since("bob"), since("carol")), (day(1), None, None));
        site.amend("bob", vec![Amendment::StartPin(day(2))]).unwrap();
        assert!(site.content().ends_with("HOTP bob - 00\n#@ start-pin bob 2026-12-02\n"));
        site.amend("alice", vec![Amendment::StartPin(day(4))]).unwrap();
        site.amend("bob", vec![Amendment::StartPin(None)]).unwrap();
        assert_eq!(
            site.content(),
            "HOTP alice - 11\n#@ apart alice\nHOTP bob - 00\n#@ start-pin alice 2026-12-04\n"
        );
    }

    #[test]
    fn many_accounts_are_shown_in_the_order_asked_for_each_with_its_own_lines_and_twin() {
        let site = site(
            "#@ apart Bob\nHOTP alice - 11\nHOTP bob - 00\nHOTP alice - 22\nHOTP ALICE - 33\n",
        );
        let mut seen = Vec::new();
        let look = &mut |account: &Account<'_>| {
            let twin = account.twin.map(|twin| twin.place.number);
            seen.push((account.user.to_vec(), account.held.len(), account.further.len(), twin));
            ControlFlow::Continue(())
        };
        let users: [&[u8]; 5] = [b"BOB", b"Bob", b"alice", b"Alice", b"carol"];
        site.users.look(Whom::Users(&users), look).unwrap();
        let expected: [(&[u8], usize, usize, Option<u64>); 5] = [
            (b"BOB", 0, 0, Some(3)),
            (b"Bob", 0, 1, Some(3)),
            (b"alice", 2, 0, None),
            (b"Alice", 0, 0, Some(2)),
            (b"carol", 0, 0, None),
        ];
        let expected =
            expected.map(|(user, held, further, twin)| (user.to_vec(), held, further, twin));
        assert_eq!(seen, expected);
    }

    #[test]
    fn another_token_takes_the_place_of_one_with_nothing_of_its_state() {
        let site = site("# one\nOFF:HOTP/T30 alice 1234 11 -5 3\nHOTP bob - 00\n");
        let token = NewToken {
            algorithm: Algorithm::Hotp(Hash::Sha1),
            factor: MovingFactor::Paper(NonZeroU16::new(30).unwrap()),
            digits: Digits::new(8).unwrap(),
            pin: Secret::new(b"4321".to_vec()),
            key: Secret::new(vec![0x22]),
            state: State::fresh(),
        };
        site.amend("alice", vec![Amendment::Replace(0, token)]).unwrap();
        let content = site.content();
        assert!(content.starts_with("# one\nPAPER/8/30 alice 4321 22 "), "{content}");
        assert_eq!(content.lines().count(), 3);
        let line = &site.users.find(b"alice").unwrap().entry.lines[0];
        assert_eq!(line.state, State { intact: true, ..State::fresh() });
    }

    #[test]
    fn a_step_that_is_refused_or_withdrawn_changes_nobody() {
        let site = site("HOTP alice - 11\nHOTP bob - 00\nHOTP bob broken\n");
        let before = site.content();
        let users: [&[u8]; 2] = [b"alice", b"bob"];
        let withdrawn = site.users.amend(Whom::Users(&users), &mut |account| {
            (account.user == b"alice").then(|| vec![Amendment::Remove(0)])
        });
        assert!(matches!(withdrawn, Err(Refused::Withdrawn)));
        let unfit = site.users.amend(Whom::Users(&users), &mut |account| {
            Some(vec![Amendment::SetPin(account.held.len() - 1, Secret::new(b"1".to_vec()))])
        });
        assert!(matches!(unfit, Err(Refused::Unfit(Unfit { place, .. })) if place.number == 3));
        let taken = site.amend("alice", vec![Amendment::Rename(b"Bob".to_vec())]);
        assert!(matches!(taken, Err(Refused::Taken(Taken::TwinOf(user))) if user == b"bob"));
        let listed = site.amend("alice", vec![Amendment::Rename(b"bob".to_vec())]);
        assert!(matches!(listed, Err(Refused::Taken(Taken::Listed))));
        assert_eq!(site.content(), before);
    }

    #[test]
    fn another_holder_of_a_key_is_found_whatever_its_spelling_and_not_the_user() {
        let site = site("HOTP alice - ff\nHOTP bob - FF\nHOTP carol - 00\n");
        let holder =
            |user: &[u8]| site.users.other_holder_of(&Secret::new(vec![0xff]), user).unwrap();
        let other =
            |user: &[u8], number| Some(OtherUser { user: user.to_vec(), place: location(number) });
        assert_eq!(holder(b"alice"), other(b"bob", 2));
        assert_eq!(holder(b"dora"), other(b"alice", 1));
    }
}
