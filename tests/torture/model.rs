//! What otpgate may answer and do, told once more and without any of its code.
//!
//! One person has one token, and perhaps programs, networks and sessions. All that may be true of
//! them is a set of states. A deed (a request, a command) leads from each state to others, with an
//! answer; those states stay that explain the answer that came. Deeds that went on at the same time
//! may have happened in any order. Where the answer was lost, both may be true: it happened, it
//! didn't. When no state is left, the answer was wrong.

use std::collections::BTreeSet;

/// Wrong codes until a token is locked, and wrong PINs until the PIN alone isn't enough any more.
pub const LIMIT: u32 = 5;
/// How far ahead a code may be.
pub const WINDOW: u64 = 60;
/// Sessions of a user.
pub const SESSIONS: usize = 4;
/// The number of a PIN that nobody has.
pub const NO_PIN: u8 = u8::MAX;

/// Where a code is presented.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Place {
    /// Codes don't linger there.
    Once,
    /// They do.
    Linger,
    /// The page to log in; a login there begins the session of that number.
    Page(u32),
}

/// From where a PIN alone is presented.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Net {
    Elsewhere,
    /// The place trusts it.
    Trusted,
    /// A line of the user's own may trust it.
    Own,
}

#[derive(Clone, Debug, PartialEq)]
pub enum What {
    /// A PIN, and the code of that counter or time step.
    Code {
        pin: u8,
        value: u64,
        place: Place,
    },
    /// A PIN, and a code that isn't near.
    WrongCode {
        pin: u8,
    },
    PinAlone {
        pin: u8,
        from: Net,
    },
    /// The password of a program, at a path that it has or at another.
    App {
        app: u32,
        inside: bool,
    },
    Cookie {
        session: u32,
    },
    LogOut {
        session: u32,
    },
    // Commands about the person.
    Disable,
    Enable,
    Unlock,
    SetPin(u8),
    AppAdd(u32),
    AppRevoke(u32),
    Trust,
    Untrust,
    EndSessions,
    Remove,
    Add,
}

/// What came back.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// To a request: the word of the decision. Empty if nothing was decided.
    Word(String),
    /// The connection ended without an answer.
    Lost,
    /// The command says that it has done it.
    Done,
    /// The command says that it hasn't, and why.
    Failed(String),
    /// The command was shot.
    Killed,
}

/// A deed of or about a person, and how it ended. Times are in nanoseconds since the beginning.
#[derive(Clone, Debug)]
pub struct Deed {
    pub what: What,
    pub sent: u64,
    pub answered: u64,
    pub answer: Answer,
    /// Where: `httpd`, `nginx`, `command`.
    pub at: &'static str,
}

#[derive(Clone, Debug)]
pub enum Event {
    /// These went on at the same time, and no others about this person.
    Together(Vec<Deed>),
    /// No cookie made so far is good for anything.
    CookiesVoid,
    /// `logout --all`.
    AllSessionsEnded,
    /// The wrong PINs in trusted networks may be forgotten.
    TriesForgotten,
}

/// What may be the matter while a deed goes on.
#[derive(Clone, Copy, Debug, Default)]
pub struct Trouble {
    /// Processes are shot, so answers may be lost.
    pub shooting: bool,
    /// Something can't be read, written or locked, so there may be errors.
    pub faults: bool,
    /// A server's clock is wrong.
    pub clock: bool,
    /// From before the deed to after it, nobody could read the users file.
    pub unreadable: bool,
    /// From when to when, in seconds.
    pub time: (u64, u64),
    /// The secret of cookies can't be used.
    pub secret: bool,
    /// Nor may wrong PINs alone be countable.
    pub tries: bool,
}

/// How a token's codes follow one another.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Moving {
    Event,
    Time,
    /// So many codes on paper.
    Paper(u64),
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Session {
    pub number: u32,
    /// The cookie may be good.
    pub has_cookie: bool,
    /// A clock was wrong when it began, or when something was written, which may end it early.
    pub odd: bool,
    /// Within which seconds it began.
    pub began: (u64, u64),
}

/// What may be true of a person.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct State {
    pub listed: bool,
    pub off: bool,
    pub pin: u8,
    /// The first counter or time step that may still be accepted as fresh.
    pub next: u64,
    /// The one accepted last, and whether a clock was wrong then.
    pub last: Option<(u64, bool)>,
    pub failures: u32,
    /// Wrong PINs alone, and whether they have closed the PIN alone.
    pub wrong_pins: u32,
    pub closed: bool,
    pub trusts: bool,
    pub apps: BTreeSet<u32>,
    /// In the order in which they began.
    pub sessions: Vec<Session>,
}

impl State {
    pub fn new(next: u64) -> State {
        State {
            listed: true,
            off: false,
            pin: 0,
            next,
            last: None,
            failures: 0,
            wrong_pins: 0,
            closed: false,
            trusts: false,
            apps: BTreeSet::new(),
            sessions: Vec::new(),
        }
    }

    fn with(&self, change: impl FnOnce(&mut State)) -> State {
        let mut state = self.clone();
        change(&mut state);
        state
    }

    fn is_odd_now(&mut self) {
        self.last.iter_mut().for_each(|(_, odd)| *odd = true);
        self.sessions.iter_mut().for_each(|session| session.odd = true);
    }

    /// Each answer that may come, and what is true then.
    fn outcomes(
        &self,
        what: &What,
        moving: Moving,
        trouble: Trouble,
    ) -> Vec<(&'static str, State)> {
        let same = |word| vec![(word, self.clone())];
        match *what {
            What::Code { .. } | What::WrongCode { .. } | What::PinAlone { .. } if !self.listed => {
                same("unknown")
            }
            What::App { .. } if !self.listed => same("unknown"),
            What::Code { .. } | What::WrongCode { .. } | What::PinAlone { .. }
                if self.off || self.failures >= LIMIT =>
            {
                same("denied-locked")
            }
            What::Code { pin, .. } | What::WrongCode { pin } if pin != self.pin => {
                same("denied-pin")
            }
            What::Code { value, place, .. } if value < self.next => match self.last {
                Some((last, odd)) if last == value && place == Place::Linger => {
                    let mut outcomes = same("granted-reuse");
                    if odd || trouble.clock {
                        outcomes.extend(same("denied-expired"));
                    }
                    outcomes
                }
                // To a clock that is behind, it is one of the future.
                _ if moving == Moving::Time && trouble.clock => {
                    let wrong = self.with(|state| state.failures += 1);
                    vec![("denied-expired", self.clone()), ("denied-code", wrong)]
                }
                _ => same("denied-expired"),
            },
            What::Code { value, place, .. } => self.fresh(value, place, moving, trouble),
            What::WrongCode { .. } => {
                let mut outcomes = vec![("denied-code", self.with(|state| state.failures += 1))];
                // What was accepted last lies beyond the window of a clock that is behind.
                if moving == Moving::Time && trouble.clock {
                    outcomes.extend(same("denied-expired"));
                }
                outcomes
            }
            What::PinAlone { pin, from } => {
                let mut outcomes = self.pin_alone(pin, from);
                // Where a list is at hand, this is how the number of its next code is asked for.
                if let Moving::Paper(_) = moving
                    && outcomes[0].0 == "denied-pin"
                {
                    outcomes.push(("denied-code", outcomes[0].1.clone()));
                }
                // What can't be counted is no longer enough.
                if trouble.tries {
                    outcomes.extend(same("denied-pin"));
                }
                outcomes
            }
            What::App { app, inside } => match () {
                () if self.off => same("denied-locked"),
                () if self.apps.contains(&app) && inside => same("granted-app"),
                () => same("denied-app"),
            },
            What::Cookie { session } => self.cookie(session, trouble),
            What::LogOut { session } => {
                vec![("out", self.with(|state| state.sessions.retain(|it| it.number != session)))]
            }
            _ => self.command(what),
        }
    }

    fn fresh(
        &self,
        value: u64,
        place: Place,
        moving: Moving,
        trouble: Trouble,
    ) -> Vec<(&'static str, State)> {
        let granted = self.with(|state| {
            state.next = value + 1;
            state.last = Some((value, trouble.clock));
            state.failures = 0;
            if state.closed {
                (state.closed, state.wrong_pins) = (false, 0);
            }
        });
        let granted: Vec<State> = match place {
            Place::Page(number) => granted.with_session(number, trouble),
            _ => vec![granted],
        };
        let granted = granted.into_iter().map(|state| ("granted-fresh", state));
        let wrong = self.with(|state| state.failures += 1);
        let is_near = value < self.next + WINDOW;
        match moving {
            Moving::Paper(printed) if value >= printed => vec![("denied-code", wrong)],
            Moving::Event | Moving::Paper(_) if is_near => granted.collect(),
            Moving::Event | Moving::Paper(_) => vec![("denied-code", wrong)],
            // Codes are presented near the middle of the window alone.
            Moving::Time if !trouble.clock => granted.collect(),
            Moving::Time => {
                granted.chain([("denied-code", wrong), ("denied-expired", self.clone())]).collect()
            }
        }
    }

    /// With one more session, in each way in which another one may have made room for it: the one
    /// that began first, as far as seconds and clocks tell.
    fn with_session(&self, number: u32, trouble: Trouble) -> Vec<State> {
        let new = Session { number, has_cookie: true, odd: trouble.clock, began: trouble.time };
        let all = self.with(|state| state.sessions.push(new));
        if all.sessions.len() <= SESSIONS {
            return vec![all];
        }
        let is_any = all.sessions.iter().any(|session| session.odd);
        let first = self.sessions.iter().map(|session| session.began.1).min();
        let may_go = |session: &Session| is_any || first.is_none_or(|it| session.began.0 <= it);
        let old = self.sessions.iter().filter(|session| may_go(session));
        old.map(|gone| all.with(|state| state.sessions.retain(|it| it != gone))).collect()
    }

    fn pin_alone(&self, pin: u8, from: Net) -> Vec<(&'static str, State)> {
        let is_trusted = from == Net::Trusted || from == Net::Own && self.trusts;
        if !is_trusted || self.closed || self.wrong_pins >= LIMIT {
            return vec![("denied-pin", self.clone())];
        }
        if pin == self.pin {
            return vec![("granted-trusted", self.clone())];
        }
        let counted = self.with(|state| {
            state.wrong_pins += 1;
            state.closed = state.wrong_pins >= LIMIT;
        });
        let mut outcomes = vec![("denied-pin", counted)];
        // A PIN that was right once may have been counted before.
        if pin != NO_PIN {
            outcomes.push(("denied-pin", self.clone()));
        }
        outcomes
    }

    fn cookie(&self, session: u32, trouble: Trouble) -> Vec<(&'static str, State)> {
        let same = |word| (word, self.clone());
        // A cookie of another secret is none; or has been one, to whoever saw it a moment ago.
        let mut outcomes = vec![same(""), same("denied-session")];
        let kept = self.sessions.iter().find(|it| it.number == session);
        match kept {
            _ if !self.listed => {}
            _ if self.off => outcomes.push(same("denied-locked")),
            None => {}
            Some(_) if self.failures >= LIMIT => outcomes.push(same("denied-locked")),
            Some(kept) if !kept.has_cookie || trouble.secret => {}
            Some(kept) => {
                outcomes = vec![same("granted-session")];
                if kept.odd || trouble.clock {
                    outcomes.push(same("denied-session"));
                }
            }
        }
        outcomes
    }

    fn command(&self, what: &What) -> Vec<(&'static str, State)> {
        let done = |change: &dyn Fn(&mut State)| vec![("done", self.with(change))];
        let failed = || vec![("failed", self.clone())];
        match *what {
            What::Add if self.listed => failed(),
            What::Add => vec![("done", State { pin: 0, ..State::new(0) })],
            _ if !self.listed => failed(),
            What::Remove => vec![("done", State { listed: false, ..State::new(0) })],
            What::Disable if !self.off => done(&|state| {
                state.off = true;
                state.sessions.clear();
            }),
            What::Enable if self.off => done(&|state| state.off = false),
            What::Disable | What::Enable => done(&|_| {}),
            What::Unlock => done(&|state| (state.failures, state.wrong_pins) = (0, 0)),
            What::SetPin(pin) if pin != self.pin => done(&|state| {
                state.pin = pin;
                state.sessions.clear();
            }),
            What::SetPin(_) => done(&|_| {}),
            What::AppAdd(app) => done(&|state| {
                state.apps.insert(app);
            }),
            What::AppRevoke(app) if self.apps.contains(&app) => done(&|state| {
                state.apps.remove(&app);
            }),
            What::AppRevoke(_) => failed(),
            What::Trust => done(&|state| state.trusts = true),
            What::Untrust if self.trusts => done(&|state| state.trusts = false),
            What::Untrust => [failed(), done(&|_| {})].concat(),
            What::EndSessions if !self.sessions.is_empty() => done(&|state| state.sessions.clear()),
            What::EndSessions => [failed(), done(&|_| {})].concat(),
            _ => unreachable!("a request"),
        }
    }
}

/// What a state is after this deed, for each that explains its answer.
fn after(
    states: &BTreeSet<State>,
    deed: &Deed,
    moving: Moving,
    trouble: Trouble,
) -> BTreeSet<State> {
    // Uses that a wrong clock puts into the future are taken back by whoever writes next.
    let all = |state: &State| {
        let mut outcomes = state.outcomes(&deed.what, moving, trouble);
        if trouble.clock {
            outcomes.iter_mut().for_each(|(_, state)| state.is_odd_now());
        }
        outcomes
    };
    let any = || -> BTreeSet<State> {
        let after = states.iter().flat_map(all).map(|(_, state)| state);
        after.chain(states.iter().cloned()).collect()
    };
    let with = |word: &str| -> BTreeSet<State> {
        let all = states.iter().flat_map(all).filter(|(answer, _)| *answer == word);
        all.map(|(_, state)| state).collect()
    };
    match &deed.answer {
        Answer::Lost if !trouble.shooting => BTreeSet::new(),
        Answer::Lost | Answer::Killed => any(),
        Answer::Done => with("done"),
        Answer::Failed(_) if trouble.faults => any(),
        Answer::Failed(_) => with("failed"),
        // Decides nothing, and may come whenever many wait.
        Answer::Word(word) if word == "denied-busy" => states.clone(),
        Answer::Word(word) if word == "error" && (trouble.faults || trouble.secret) => any(),
        Answer::Word(word) if word.starts_with("granted") && trouble.unreadable => BTreeSet::new(),
        Answer::Word(word) => with(word),
    }
}

/// The same after deeds that went on at the same time: in any order that doesn't contradict who was
/// answered before whom was asked.
fn after_all(
    states: &BTreeSet<State>,
    deeds: &[Deed],
    moving: Moving,
    trouble: &dyn Fn(&Deed) -> Trouble,
) -> BTreeSet<State> {
    let mut by_done = vec![BTreeSet::new(); 1 << deeds.len()];
    by_done[0] = states.clone();
    for done in 0..by_done.len() {
        if by_done[done].is_empty() {
            continue;
        }
        let is_done = |i: usize| done & 1 << i != 0;
        for (i, deed) in deeds.iter().enumerate().filter(|(i, _)| !is_done(*i)) {
            let must_wait = |j: usize| j != i && !is_done(j) && deeds[j].answered < deed.sent;
            if !(0..deeds.len()).any(must_wait) {
                let next = after(&by_done[done], deed, moving, trouble(deed));
                by_done[done | 1 << i].extend(next);
            }
        }
    }
    by_done.pop().expect("at least one")
}

/// What may be true of a person after an event. None: nothing explains it.
pub fn judge(
    states: &BTreeSet<State>,
    event: &Event,
    moving: Moving,
    trouble: &dyn Fn(&Deed) -> Trouble,
) -> BTreeSet<State> {
    let with = |change: &dyn Fn(&mut State)| -> BTreeSet<State> {
        states.iter().map(|state| state.with(change)).collect()
    };
    match event {
        Event::Together(deeds) => after_all(states, deeds, moving, trouble),
        Event::CookiesVoid => with(&|state| {
            state.sessions.iter_mut().for_each(|session| session.has_cookie = false);
        }),
        Event::AllSessionsEnded => with(&|state| state.sessions.clear()),
        Event::TriesForgotten => {
            &with(&|state| {
                if !state.closed {
                    state.wrong_pins = 0
                }
            }) | states
        }
    }
}

/// What the users file says of a person.
#[derive(Clone, Debug, PartialEq)]
pub struct Line {
    pub off: bool,
    pub pin: String,
    /// The first counter or time step that may still be accepted, if the line says so.
    pub next: Option<u64>,
    pub failures: u32,
    pub closed: bool,
    pub trusts: bool,
    pub apps: BTreeSet<u32>,
    pub sessions: usize,
}

impl State {
    /// Whether the users file may say this of somebody in this state.
    pub fn agrees(&self, line: Option<&Line>, pins: &[&str]) -> bool {
        let Some(line) = line else { return !self.listed };
        self.listed
            && line.off == self.off
            && pins.get(usize::from(self.pin)) == Some(&line.pin.as_str())
            && line.next.is_none_or(|next| next == self.next)
            && line.failures == self.failures
            && line.closed == self.closed
            && line.trusts == self.trusts
            && line.apps == self.apps
            && line.sessions == self.sessions.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn deed(what: What, sent: u64, answered: u64, word: &str) -> Deed {
        let answer = match word {
            "lost" => Answer::Lost,
            "killed" => Answer::Killed,
            "done" => Answer::Done,
            "failed" => Answer::Failed("for some reason".to_owned()),
            word => Answer::Word(word.to_owned()),
        };
        Deed { what, sent, answered, answer, at: "httpd" }
    }

    fn code(value: u64) -> What {
        What::Code { pin: 0, value, place: Place::Once }
    }

    fn page(value: u64, session: u32) -> What {
        What::Code { pin: 0, value, place: Place::Page(session) }
    }

    /// What may be true after these deeds, one after the other.
    fn told_with(trouble: Trouble, deeds: &[(What, &str)]) -> BTreeSet<State> {
        let mut states = BTreeSet::from([State::new(0)]);
        for (i, (what, word)) in deeds.iter().enumerate() {
            let time = 2 * i as u64;
            let event = Event::Together(vec![deed(what.clone(), time, time + 1, word)]);
            let trouble = Trouble { time: (10 * time, 10 * time + 1), ..trouble };
            states = judge(&states, &event, Moving::Event, &|_| trouble);
        }
        states
    }

    fn told(deeds: &[(What, &str)]) -> BTreeSet<State> {
        told_with(Trouble::default(), deeds)
    }

    #[track_caller]
    fn is_explained(deeds: &[(What, &str)]) {
        assert!(!told(deeds).is_empty(), "{deeds:?}");
    }

    /// The last of these deeds is one that must be found, and the others aren't.
    #[track_caller]
    fn is_found(deeds: &[(What, &str)]) {
        is_explained(&deeds[..deeds.len() - 1]);
        assert!(told(deeds).is_empty(), "{deeds:?}");
    }

    #[test]
    fn a_code_that_is_granted_twice_is_found() {
        is_found(&[(code(0), "granted-fresh"), (code(0), "granted-fresh")]);
        is_found(&[(code(5), "granted-fresh"), (code(3), "granted-fresh")]);
        is_found(&[(code(0), "granted-fresh"), (code(0), "granted-reuse")]);
        is_explained(&[(code(0), "granted-fresh"), (code(0), "denied-expired")]);
        let lingering = What::Code { pin: 0, value: 0, place: Place::Linger };
        is_explained(&[(code(0), "granted-fresh"), (lingering.clone(), "granted-reuse")]);
        is_found(&[
            (code(0), "granted-fresh"),
            (code(1), "granted-fresh"),
            (lingering, "granted-reuse"),
        ]);
    }

    #[test]
    fn two_grants_of_one_code_at_the_same_moment_are_found() {
        let both = |words: [&str; 2]| {
            let deeds = words.map(|word| deed(code(0), 0, 10, word)).to_vec();
            let states = BTreeSet::from([State::new(0)]);
            judge(&states, &Event::Together(deeds), Moving::Event, &|_| Trouble::default())
        };
        assert!(both(["granted-fresh", "granted-fresh"]).is_empty());
        assert!(both(["denied-expired", "denied-expired"]).is_empty());
        assert_eq!(both(["denied-expired", "granted-fresh"]).len(), 1);
    }

    #[test]
    fn an_answer_from_before_its_cause_is_found() {
        let words = [("denied-expired", 0, 1), ("granted-fresh", 2, 3)];
        let deeds = words.map(|(word, sent, answered)| deed(code(0), sent, answered, word));
        let states = BTreeSet::from([State::new(0)]);
        let event = Event::Together(deeds.to_vec());
        assert!(judge(&states, &event, Moving::Event, &|_| Trouble::default()).is_empty());
    }

    #[test]
    fn a_right_code_that_is_refused_and_a_wrong_one_that_is_granted_are_found() {
        is_found(&[(code(0), "denied-code")]);
        is_found(&[(code(0), "denied-pin")]);
        is_found(&[(What::WrongCode { pin: 0 }, "granted-fresh")]);
        is_found(&[(What::Code { pin: NO_PIN, value: 0, place: Place::Once }, "granted-fresh")]);
        is_found(&[(code(WINDOW), "granted-fresh")]);
    }

    #[test]
    fn a_failure_that_is_lost_or_invented_is_found() {
        let wrong = (What::WrongCode { pin: 0 }, "denied-code");
        let five = vec![wrong.clone(); LIMIT as usize];
        is_found(&[five.clone(), vec![wrong.clone()]].concat());
        is_found(&[five.clone(), vec![(code(0), "granted-fresh")]].concat());
        is_explained(&[five.clone(), vec![(code(0), "denied-locked")]].concat());
        is_found(&[five[1..].to_vec(), vec![(code(0), "denied-locked")]].concat());
        let line = |failures| Line {
            off: false,
            pin: "pin".to_owned(),
            next: Some(0),
            failures,
            closed: false,
            trusts: false,
            apps: BTreeSet::new(),
            sessions: 0,
        };
        let agrees = |states: &BTreeSet<State>, failures| {
            states.iter().any(|state| state.agrees(Some(&line(failures)), &["pin"]))
        };
        let two = told(&five[..2]);
        assert_eq!([1, 2, 3].map(|failures| agrees(&two, failures)), [false, true, false]);
        // Where an answer was lost, nobody knows.
        let shooting = Trouble { shooting: true, ..Trouble::default() };
        let lost = [wrong, (What::WrongCode { pin: 0 }, "lost")];
        let unsure = told_with(shooting, &lost);
        assert_eq!(
            [0, 1, 2, 3].map(|failures| agrees(&unsure, failures)),
            [false, true, true, false]
        );
        assert!(told(&lost).is_empty(), "an answer is lost for no reason");
    }

    #[test]
    fn whoever_is_off_or_gone_or_has_another_pin_and_gets_in_is_found() {
        is_found(&[(What::Disable, "done"), (code(0), "granted-fresh")]);
        is_found(&[(What::Remove, "done"), (code(0), "granted-fresh")]);
        is_found(&[(What::SetPin(1), "done"), (code(0), "granted-fresh")]);
        is_explained(&[
            (What::Disable, "done"),
            (code(0), "denied-locked"),
            (What::Enable, "done"),
            (code(0), "granted-fresh"),
        ]);
        // Shot, the command may have done it or not; but once it is seen, it stays.
        is_explained(&[(What::Disable, "killed"), (code(0), "granted-fresh")]);
        is_found(&[
            (What::Disable, "killed"),
            (code(0), "denied-locked"),
            (code(0), "granted-fresh"),
        ]);
    }

    #[test]
    fn a_program_outside_its_paths_or_revoked_is_found() {
        let app = |inside| What::App { app: 3, inside };
        let added = (What::AppAdd(3), "done");
        is_found(&[(app(true), "granted-app")]);
        is_found(&[added.clone(), (app(false), "granted-app")]);
        is_found(&[added.clone(), (app(true), "denied-app")]);
        is_found(&[added.clone(), (What::AppRevoke(3), "done"), (app(true), "granted-app")]);
        is_found(&[added.clone(), (What::Disable, "done"), (app(true), "granted-app")]);
        is_found(&[added, (What::Remove, "done"), (app(true), "granted-app")]);
    }

    #[test]
    fn a_pin_alone_from_elsewhere_or_after_too_many_wrong_ones_is_found() {
        let alone = |pin, from| What::PinAlone { pin, from };
        is_found(&[(alone(0, Net::Elsewhere), "granted-trusted")]);
        is_found(&[(alone(0, Net::Own), "granted-trusted")]);
        is_found(&[(alone(NO_PIN, Net::Trusted), "granted-trusted")]);
        is_found(&[
            (What::Trust, "done"),
            (alone(0, Net::Own), "granted-trusted"),
            (What::Untrust, "done"),
            (alone(0, Net::Own), "granted-trusted"),
        ]);
        let guesses = vec![(alone(NO_PIN, Net::Trusted), "denied-pin"); LIMIT as usize];
        let right = (alone(0, Net::Trusted), "granted-trusted");
        is_found(&[guesses.clone(), vec![right.clone()]].concat());
        is_explained(&[guesses.clone(), vec![(code(0), "granted-fresh"), right.clone()]].concat());
        is_found(&[guesses[1..].to_vec(), vec![(right.0, "denied-pin")]].concat());
    }

    #[test]
    fn a_session_that_comes_back_is_found() {
        let cookie = |session| What::Cookie { session };
        let begun = (page(0, 1), "granted-fresh");
        is_found(&[(cookie(1), "granted-session")]);
        is_found(&[begun.clone(), (cookie(1), "denied-session")]);
        let ends = [
            (What::LogOut { session: 1 }, "out"),
            (What::EndSessions, "done"),
            (What::SetPin(1), "done"),
            (What::Disable, "done"),
            (What::Remove, "done"),
        ];
        for end in ends {
            is_found(&[begun.clone(), end, (cookie(1), "granted-session")]);
        }
        is_found(&[
            begun.clone(),
            (What::Disable, "done"),
            (What::Enable, "done"),
            (cookie(1), "granted-session"),
        ]);
        // One too many takes the place of the first.
        let more = (1..=SESSIONS as u32).map(|i| (page(u64::from(i), i + 1), "granted-fresh"));
        let five: Vec<_> = std::iter::once(begun).chain(more).collect();
        is_explained(&[five.clone(), vec![(cookie(2), "granted-session")]].concat());
        is_found(&[five.clone(), vec![(cookie(1), "granted-session")]].concat());
        for event in [Event::CookiesVoid, Event::AllSessionsEnded] {
            let states = judge(&told(&five), &event, Moving::Event, &|_| Trouble::default());
            let again = Event::Together(vec![deed(cookie(5), 100, 101, "granted-session")]);
            let after = judge(&states, &again, Moving::Event, &|_| Trouble::default());
            assert!(after.is_empty(), "{event:?}");
        }
    }

    #[test]
    fn a_grant_while_the_file_is_unreadable_and_an_error_for_no_reason_are_found() {
        let unreadable = Trouble { unreadable: true, faults: true, ..Trouble::default() };
        assert!(told_with(unreadable, &[(code(0), "granted-fresh")]).is_empty());
        assert!(!told_with(unreadable, &[(code(0), "error")]).is_empty());
        is_found(&[(code(0), "error")]);
        is_found(&[(What::Unlock, "failed")]);
        is_found(&[(code(0), "lost")]);
    }

    #[test]
    fn a_list_that_grants_more_than_was_printed_is_found() {
        let states = BTreeSet::from([State::new(9)]);
        let told = |value| {
            let event = Event::Together(vec![deed(code(value), 0, 1, "granted-fresh")]);
            judge(&states, &event, Moving::Paper(10), &|_| Trouble::default())
        };
        assert!(!told(9).is_empty());
        assert!(told(10).is_empty());
    }

    #[test]
    fn a_clock_explains_a_refusal_of_a_time_code_and_no_second_grant() {
        let clock = Trouble { clock: true, ..Trouble::default() };
        let step = |states: &BTreeSet<State>, word| {
            let event = Event::Together(vec![deed(code(7), 0, 1, word)]);
            judge(states, &event, Moving::Time, &|_| clock)
        };
        let begun = BTreeSet::from([State::new(0)]);
        assert!(!step(&begun, "denied-code").is_empty());
        assert!(step(&step(&begun, "granted-fresh"), "granted-fresh").is_empty());
    }

    #[test]
    fn a_line_that_says_something_else_is_found() {
        let line = Line {
            off: false,
            pin: "one".to_owned(),
            next: Some(0),
            failures: 0,
            closed: false,
            trusts: false,
            apps: BTreeSet::new(),
            sessions: 0,
        };
        let state = State::new(0);
        assert!(state.agrees(Some(&line), &["one", "two"]));
        assert!(!state.agrees(None, &["one", "two"]), "a user is lost");
        let others = [
            Line { off: true, ..line.clone() },
            Line { pin: "two".to_owned(), ..line.clone() },
            Line { next: Some(1), ..line.clone() },
            Line { closed: true, ..line.clone() },
            Line { trusts: true, ..line.clone() },
            Line { apps: BTreeSet::from([1]), ..line.clone() },
            Line { sessions: 1, ..line.clone() },
        ];
        for other in others {
            assert!(!state.agrees(Some(&other), &["one", "two"]), "{other:?}");
        }
    }
}
