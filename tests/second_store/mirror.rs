//! The second store behind a users file that tests prepare, edit and look at, as they do with the
//! servers' own.
//!
//! The store is the truth. The file is read when somebody else has changed it, and shows each
//! change before the login that made it is answered. It is neither locked nor synced.

use std::collections::HashMap;
use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use jiff::tz::TimeZone;
use otpgate::UnixTime;
use otpgate::files::lines::is_ignored;
use otpgate::files::stamp::Stamp;
use otpgate::policy::Limits;
use otpgate::store::{
    Found, LoopTurn, Reach, Store, StoreError, Transaction, TriesError, Unreadable,
};
use otpgate::throttle::Bytes;
use otpgate::token::{Always, State, StoredToken, WAYS_MAX, Ways};
use otpgate::users::pragma::{self, Pragma, PragmaKind};
use otpgate::users::{line, record, rewrite, ways};
use parking_lot::Mutex;

use super::memory::{Compares, Content, MemoryStore};

/// Where the code of a last use is looked for whose step the file doesn't say.
const MAX_OFFSET: u32 = 4;

pub fn now() -> UnixTime {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock after 1970").as_secs() as i64
}

/// The second store, and the file in which it is seen.
pub struct Mirror {
    store: MemoryStore,
    path: PathBuf,
    zone: TimeZone,
    image: Mutex<Image>,
}

/// The file as it was read or written last.
#[derive(Default)]
struct Image {
    stamp: Option<Stamp>,
    /// With their ends. One that has gone is empty: the others keep their numbers.
    lines: Vec<Vec<u8>>,
    tokens: Vec<Shown>,
    /// Of each listed user.
    ways: HashMap<Vec<u8>, ShownWays>,
}

/// Where a token is shown.
struct Shown {
    number: usize,
    user: Vec<u8>,
    /// Its place in the user's entry.
    place: usize,
    state: State,
}

/// Where a user's further ways in are shown.
#[derive(Default)]
struct ShownWays {
    /// Numbers of all lines about them.
    numbers: Vec<usize>,
    ways: Ways,
}

impl Mirror {
    pub fn new(path: &Path, reach: Reach, compares: &Arc<Compares>) -> Mirror {
        Mirror {
            store: MemoryStore::counting(reach, compares),
            path: path.to_owned(),
            zone: TimeZone::system(),
            image: Mutex::default(),
        }
    }

    fn fault(&self, operation: &'static str, error: &io::Error) -> StoreError {
        StoreError::new(
            operation,
            self.path.display().to_string(),
            &error.to_string(),
            "see the test",
        )
    }

    /// Takes on what somebody else has written.
    fn look(&self, image: &mut Image) -> Result<(), StoreError> {
        let look = || Ok(Stamp::of(&fs::metadata(&self.path)?));
        let stamp = look().map_err(|error| self.fault("look at", &error))?;
        if image.stamp == Some(stamp) {
            return Ok(());
        }
        let bytes = fs::read(&self.path).map_err(|error| self.fault("read", &error))?;
        *image = Image { stamp: Some(stamp), ..Image::default() };
        image.lines = bytes.split_inclusive(|&byte| byte == b'\n').map(<[u8]>::to_vec).collect();
        self.store.replace(self.content(image));
        Ok(())
    }

    fn content(&self, image: &mut Image) -> Result<Content, StoreError> {
        let mut content = Content::default();
        let mut counts = HashMap::<Vec<u8>, usize>::new();
        let mut about = HashMap::<Vec<u8>, Vec<usize>>::new();
        for (number, line) in image.lines.iter().enumerate() {
            let text = without_end(line);
            let place = || format!("{} line {}", self.path.display(), number + 1);
            content.limits = self.limits(content.limits, text, number + 1)?;
            match pragma::parse(text) {
                Some(Ok(Pragma::Apart(name))) => {
                    content.apart.insert(name);
                }
                Some(Ok(Pragma::Allow(more))) => content.allow = content.allow.with(more),
                _ => {}
            }
            if PragmaKind::of(text).is_some_and(PragmaKind::is_about_ways)
                && let Some(user) = pragma::user_of(text)
            {
                about.entry(user).or_default().push(number);
            }
            let Some(user) = line::user_of(text).filter(|_| !is_ignored(text)) else { continue };
            match record::parse(text, &self.zone) {
                Ok(record) => {
                    let mut line = StoredToken { token: record.token, state: record.state };
                    line.state = State { intact: true, ..line.state_with_floor(MAX_OFFSET, now()) };
                    let count = counts.entry(user.to_vec()).or_default();
                    let state = line.state.clone();
                    image.tokens.push(Shown { number, user: user.to_vec(), place: *count, state });
                    *count += 1;
                    content.add(user, line);
                }
                Err(error) => {
                    let what = Unreadable { place: place(), reason: error.to_string() };
                    content.add_unreadable(user, what);
                }
            }
        }
        for (user, numbers) in about {
            let lines = numbers.iter().map(|&number| without_end(&image.lines[number]));
            let mut ways = ways::of_lines(lines);
            if numbers.len() > WAYS_MAX {
                ways.always = Always::ALL;
            }
            content.set_ways(&user, ways.clone());
            image.ways.insert(user, ShownWays { numbers, ways });
        }
        if image.lines.iter().any(|line| pragma::closes_for_everybody(without_end(line))) {
            content.close_for_everybody();
        }
        Ok(content)
    }

    fn limits(&self, limits: Limits, text: &[u8], number: usize) -> Result<Limits, StoreError> {
        pragma::limits_with(limits, text).map_err(|error| {
            let place = self.path.display().to_string();
            StoreError::new("use", place, &format!("line {number}: {error}"), "correct it")
        })
    }

    /// Shows what has changed in the store.
    fn show(&self) -> Result<(), StoreError> {
        let mut image = self.image.lock();
        // Whoever has edited the file meanwhile has the last word.
        self.look(&mut image)?;
        let Image { lines, tokens, ways, stamp } = &mut *image;
        let mut is_changed = false;
        for Shown { user, .. } in &*tokens {
            let found = self.store.find(user)?;
            is_changed |=
                ways.entry(user.clone()).or_default().show(lines, user, &found.entry.ways);
        }
        for Shown { number, user, place, state } in tokens {
            let found = self.store.find(user)?;
            let Some(new) = found.entry.lines.get(*place).map(|line| &line.state) else { continue };
            if new != state {
                lines[*number] = self.line_with(&lines[*number], new);
                *state = new.clone();
                is_changed = true;
            }
        }
        if is_changed {
            *stamp =
                Some(self.write(&lines.concat()).map_err(|error| self.fault("write", &error))?);
        }
        Ok(())
    }

    fn line_with(&self, line: &[u8], state: &State) -> Vec<u8> {
        let text = without_end(line);
        let layout = record::parse(text, &self.zone).expect("it was read before").layout;
        [&rewrite::with_state(text, &layout, state, &self.zone), &line[text.len()..]].concat()
    }

    fn write(&self, bytes: &[u8]) -> io::Result<Stamp> {
        let new = self.path.with_extension("new");
        let mut options = fs::OpenOptions::new();
        let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&new)?;
        file.write_all(bytes)?;
        fs::rename(&new, &self.path)?;
        Ok(Stamp::of(&file.metadata()?))
    }
}

impl ShownWays {
    /// Writes what servers write of them. Whether something has changed.
    fn show(&mut self, lines: &mut Vec<Vec<u8>>, user: &[u8], new: &Ways) -> bool {
        if self.ways == *new {
            return false;
        }
        let mut apps = new.apps.iter();
        for &number in &self.numbers {
            let line = &mut lines[number];
            match pragma::parse(without_end(line)) {
                Some(Ok(Pragma::App(..))) => {
                    let used = apps.next().and_then(|app| app.used);
                    if let Some(place) = pragma::used_hour(without_end(line)) {
                        line[place].copy_from_slice(&pragma::written_hour(used));
                    }
                }
                Some(Ok(Pragma::Always(_, Always::UNTIL_CODE))) if !new.always.until_code => {
                    line.clear();
                }
                _ => {}
            }
        }
        if new.always.until_code && !self.ways.always.until_code {
            if let Some(last) = lines.last_mut().filter(|last| !last.ends_with(b"\n")) {
                last.push(b'\n');
            }
            self.numbers.push(lines.len());
            lines.push([&pragma::until_code_line(user)[..], b"\n"].concat());
        }
        self.ways = new.clone();
        true
    }
}

fn without_end(line: &[u8]) -> &[u8] {
    line.strip_suffix(b"\n").unwrap_or(line)
}

impl Store for Mirror {
    fn name(&self) -> String {
        self.store.name()
    }

    fn find(&self, user: &[u8]) -> Result<Arc<Found>, StoreError> {
        self.look(&mut self.image.lock())?;
        self.store.find(user)
    }

    fn find_now(&self, user: &[u8], turn: LoopTurn) -> Option<Arc<Found>> {
        self.look(&mut *self.image.try_lock()?).ok()?;
        self.store.find_now(user, turn)
    }

    fn reach(&self) -> Reach {
        self.store.reach()
    }

    fn update(
        &self,
        step: &mut dyn FnMut(&mut dyn Transaction) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        self.store.update(step)?;
        self.show()
    }

    fn tries(
        &self,
        work: &mut dyn FnMut(&mut dyn Bytes) -> io::Result<()>,
    ) -> Result<(), TriesError> {
        self.store.tries(work)
    }
}
