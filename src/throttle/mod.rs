//! Wrong PINs and codes are counted here and not in the users file: strangers can neither lock
//! anybody out nor cost a sync, and nobody tries PINs without end.
//!
//! Three budgets bound the tries of a window of time: those of a client at one user; those of a
//! client in all; those of all strangers at one user, which are clients that the user isn't known
//! to use. Who comes from a familiar address has the first alone, so strangers can make nobody wait
//! there. A try is taken from the budgets before anything is checked, and given back if it wasn't a
//! wrong one. The same credentials of the same client are one try, however often and wherever they
//! are checked at the same time.
//!
//! Digest responses can't be told apart into PIN and code and take no time, so nothing is taken
//! beforehand: the answer is given under the budgets as they are when it is known.
//!
//! What is counted is bytes ([`Bytes`]) that somebody lends for each step: a companion of the users
//! file, locked; or this process's own memory where that can't be had.

mod row;
mod table;

use std::io;
use std::net::IpAddr;
use std::num::NonZeroU32;

pub use self::row::Failures;
use self::row::{Count, Seen, Tries, User};
pub use self::table::{Bytes, KIND};
use self::table::{Id, Region, Row, RowPlace, TryTable};
use crate::UnixTime;
use crate::policy::Throttle;

/// A client's own tries in all, as a multiple of those at one user.
const CLIENT: u32 = 10;
/// The same for the /56 and the /48 of an IPv6 address: a site's network, where one client may have
/// any /64.
const NETWORK_56: u32 = 20;
const NETWORK_48: u32 = 50;
/// Those of all strangers at one user.
const STRANGERS: u32 = 15;

/// Somebody who tries to log in.
pub struct Client<'a> {
    /// The name they give.
    pub user: &'a [u8],
    /// Whether that is somebody's, so that there are familiar addresses and strangers.
    pub is_listed: bool,
    /// Where they are, as far as it is known.
    pub address: Option<IpAddr>,
    /// Where the user was accepted before this was kept, and when.
    pub before: &'a [(IpAddr, UnixTime)],
    /// The present time.
    pub now: UnixTime,
}

/// What came of asking for a try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reserved {
    /// It may be checked; [`settle`] it afterwards.
    Taken {
        /// The user was accepted from there a while ago.
        is_familiar: bool,
    },
    /// A budget is used up.
    Over(Over),
}

/// A budget that is used up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Over {
    /// Seconds until there is another try.
    pub rest: u32,
    /// Nobody was told so in this window.
    pub is_news: bool,
}

/// What came of a try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TryOutcome {
    /// Wrong: it stays taken.
    Wrong,
    /// Neither wrong nor right.
    NotCounted,
    /// The user was accepted.
    Accepted,
}

/// Takes one try from all budgets that concern the client, or none.
pub fn reserve(
    bytes: &mut dyn Bytes,
    client: &Client<'_>,
    throttle: Throttle,
    credentials: &[u8],
) -> io::Result<Reserved> {
    let mut rows = Rows::open(bytes, client, throttle.seconds.get())?;
    let seen = rows.seen(credentials);
    let known = rows.tries[0].1.seen(seen);
    let taken = Reserved::Taken { is_familiar: rows.is_familiar };
    let over = rows.over(throttle.tries.get());
    match (known, over) {
        // Being checked: it is taken already.
        (Some(known), _) if !known.is_refused() => return Ok(taken),
        (_, Some(rest)) => return rows.refuse(rest).map(Reserved::Over),
        (Some(_), None) => {}
        (None, None) => rows.charge(seen),
    }
    rows.save()?;
    Ok(taken)
}

/// Notes that the user was accepted.
pub fn accept(bytes: &mut dyn Bytes, client: &Client<'_>) -> io::Result<()> {
    let mut rows = Rows::open(bytes, client, 0)?;
    rows.note_address();
    rows.save()
}

/// Whether the user was accepted from there a while ago.
pub fn is_familiar(bytes: &mut dyn Bytes, client: &Client<'_>) -> io::Result<bool> {
    let rows = Rows::open(bytes, client, 0)?;
    let is_familiar = rows.is_familiar;
    rows.save()?;
    Ok(is_familiar)
}

/// What is to be seen of the budgets.
pub enum Look {
    /// There is a try left.
    Free {
        /// As in [`Reserved::Taken`].
        is_familiar: bool,
    },
    /// One is used up.
    Over(Over),
}

/// Whether a budget is used up, for a server that has to know beforehand. Nothing is taken.
pub fn look(
    bytes: &mut dyn Bytes,
    client: &Client<'_>,
    throttle: Throttle,
    credentials: &[u8],
) -> io::Result<Look> {
    let mut rows = Rows::open(bytes, client, throttle.seconds.get())?;
    let seen = rows.seen(credentials);
    let free = Look::Free { is_familiar: rows.is_familiar };
    if rows.tries[0].1.seen(seen).is_some_and(|known| !known.is_refused()) {
        return Ok(free);
    }
    match rows.over(throttle.tries.get()) {
        Some(rest) => rows.refuse(rest).map(Look::Over),
        None => Ok(free),
    }
}

/// Says what came of a try that was reserved.
pub fn settle(
    bytes: &mut dyn Bytes,
    client: &Client<'_>,
    throttle: Throttle,
    credentials: &[u8],
    outcome: TryOutcome,
) -> io::Result<()> {
    let mut rows = Rows::open(bytes, client, throttle.seconds.get())?;
    let seen = rows.seen(credentials);
    match (outcome, rows.tries[0].1.seen(seen)) {
        (TryOutcome::Wrong, Some(known)) if known.is_refused() => return Ok(()),
        (TryOutcome::Wrong, Some(_)) => rows.note_refused(seen),
        // Somebody with the same credentials has given it back: theirs weren't wrong then.
        (TryOutcome::Wrong, None) => {
            rows.charge(seen);
            rows.note_refused(seen);
        }
        (_, Some(known)) if !known.is_refused() => rows.give_back(known),
        _ => {}
    }
    if outcome == TryOutcome::Accepted {
        rows.note_address();
    }
    rows.save()
}

/// Where a PIN without a code stands, after wrong ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PinCount {
    /// There were fewer than the limit.
    Below,
    /// This one makes them as many.
    Reached,
    /// There were as many before: this one wasn't looked at.
    Over,
}

/// Holds a PIN without a code, of a listed user, against the number of wrong ones before; one more
/// if it is wrong and hasn't been counted of this client before. The user's row is written whatever
/// comes of it: where wrong ones couldn't be counted, right ones have the same fault.
pub fn count_pin(
    bytes: &mut dyn Bytes,
    client: &Client<'_>,
    throttle: Option<Throttle>,
    credentials: &[u8],
    is_wrong: bool,
    limit: NonZeroU32,
) -> io::Result<PinCount> {
    let seconds = throttle.map_or(0, |throttle| throttle.seconds.get());
    let mut rows = Rows::open(bytes, client, seconds)?;
    let seen = rows.seen(credentials);
    let known = rows.tries[0].1.seen(seen);
    let Some((_, user)) = &mut rows.user else { return Ok(PinCount::Over) };
    if user.wrong_pins >= limit.get() {
        return Ok(PinCount::Over);
    }
    let mut count = PinCount::Below;
    if is_wrong && !known.is_some_and(Seen::is_wrong_pin) {
        user.wrong_pins += 1;
        if user.wrong_pins >= limit.get() {
            count = PinCount::Reached;
        }
        // It was no try so far if these credentials are right elsewhere.
        if known.is_none() && throttle.is_some() {
            rows.charge(seen);
            rows.note_refused(seen);
        }
        rows.tries[0].1.note_wrong_pin(seen);
    }
    rows.save_with_user()?;
    Ok(count)
}

/// Forgets a listed user's wrong PINs.
pub fn forget_pins(bytes: &mut dyn Bytes, client: &Client<'_>) -> io::Result<()> {
    let mut rows = Rows::open(bytes, client, 0)?;
    if let Some((_, user)) = &mut rows.user
        && user.wrong_pins > 0
    {
        user.wrong_pins = 0;
        rows.is_changed = true;
    }
    rows.save()
}

/// Answers a Digest login under the budgets as they are now; `outcome`: what it would be, if that
/// is known yet. While no budget is used up, `failures` may change those of the client's kind, and
/// says whether a wrong response was looked at.
pub fn digest(
    bytes: &mut dyn Bytes,
    client: &Client<'_>,
    throttle: Option<Throttle>,
    outcome: Option<TryOutcome>,
    failures: &mut dyn FnMut(&mut Failures) -> bool,
) -> io::Result<Option<Over>> {
    // Without a budget nothing begins a window.
    let seconds = throttle.map_or(0, |throttle| throttle.seconds.get());
    let mut rows = Rows::open(bytes, client, seconds)?;
    let over = throttle.and_then(|throttle| rows.over(throttle.tries.get()));
    let class = usize::from(rows.is_familiar);
    let before = rows.user.as_ref().map_or(Failures::default(), |(_, user)| user.digest[class]);
    if let Some(rest) = over {
        return rows.refuse(rest).map(Some);
    }
    let mut after = before;
    let counts = failures(&mut after);
    if let Some((_, user)) = &mut rows.user
        && after != before
    {
        user.digest[class] = after;
        rows.is_changed = true;
    }
    match outcome {
        Some(TryOutcome::Wrong) if counts && throttle.is_some() => rows.charge_unseen(),
        Some(TryOutcome::Accepted) => rows.note_address(),
        _ => {}
    }
    rows.save()?;
    Ok(None)
}

/// Begins anew for a listed user: whoever tries has all their tries again. How many wrong Digest
/// responses are forgotten. `before` as in [`Client`].
pub fn forgive(
    bytes: &mut dyn Bytes,
    user: &[u8],
    before: &[(IpAddr, UnixTime)],
    now: UnixTime,
) -> io::Result<u32> {
    let client = Client { user, is_listed: true, address: None, before, now };
    let mut rows = Rows::open(bytes, &client, 0)?;
    let mut forgotten = 0;
    if let Some((_, user)) = &mut rows.user {
        forgotten = user.digest.iter().map(|failures| failures.number).fold(0, u32::saturating_add);
        user.digest = Default::default();
        user.strangers = Count::default();
        user.wrong_pins = 0;
        user.forgiven = now;
        rows.is_changed = true;
    }
    rows.save()?;
    Ok(forgotten)
}

/// The rows that concern a client.
struct Rows<'b, 'c> {
    table: TryTable<'b>,
    client: &'c Client<'c>,
    /// At the user first; then in all, each with its multiple of the budget.
    tries: Vec<(RowPlace, Tries, u32)>,
    user: Option<(RowPlace, User)>,
    is_familiar: bool,
    /// What the address is called among familiar ones.
    address: Option<u64>,
    is_changed: bool,
}

impl<'b, 'c> Rows<'b, 'c> {
    fn open(
        bytes: &'b mut dyn Bytes,
        client: &'c Client<'c>,
        seconds: u32,
    ) -> io::Result<Rows<'b, 'c>> {
        let mut table = TryTable::open(bytes)?;
        let now = client.now;
        let networks = networks_of(client.address);
        let nearest = networks.first().map(|(network, _)| network.as_slice()).unwrap_or_default();
        let address_of = |table: &TryTable<'_>, network: &[u8]| {
            low_half(table.id(&[b"familiar", client.user, network]))
        };

        let mut user = None;
        let mut is_changed = false;
        if client.is_listed {
            let id = table.id(&[b"user", client.user]);
            let place = table.find(Region::Users, id, &|row: &Row| User::worth(row, now))?;
            let mut known = User::read(&place.row, now, seconds);
            if known.is_new {
                for (address, at) in client.before {
                    let networks = networks_of(Some(*address));
                    let address = address_of(&table, &networks[0].0);
                    is_changed |= known.note(address, *at, now);
                }
            }
            user = Some((place, known));
        }
        let address = client.address.map(|_| address_of(&table, nearest));
        let is_familiar =
            address.zip(user.as_ref()).is_some_and(|(address, (_, user))| user.knows(address, now));

        let mut tries = Vec::with_capacity(4);
        // At this user alone: what a client does elsewhere isn't about them.
        let forgiven = user.as_ref().map_or(0, |(_, user)| user.forgiven);
        let mut add = |table: &mut TryTable<'_>,
                       id: Id,
                       multiple: u32,
                       forgiven: UnixTime|
         -> io::Result<()> {
            let place = table.find(Region::Evictable, id, &|row: &Row| Tries::worth(row, now))?;
            let read = Tries::read(&place.row, now, seconds).since(forgiven, now);
            tries.push((place, read, multiple));
            Ok(())
        };
        let pair = table.id(&[b"pair", nearest, client.user]);
        add(&mut table, pair, 1, forgiven)?;
        if !is_familiar {
            for (network, multiple) in &networks {
                let id = table.id(&[b"client", network]);
                add(&mut table, id, *multiple, 0)?;
            }
        }
        Ok(Rows { table, client, tries, user, is_familiar, address, is_changed })
    }

    fn seen(&self, credentials: &[u8]) -> Seen {
        let hash = self.table.id(&[b"credentials", credentials]);
        Seen::new(
            u32::from_le_bytes(hash[8..12].try_into().expect("four bytes")),
            !self.is_familiar,
        )
    }

    /// The strangers' budget counts where it is known who is one.
    fn strangers(&mut self) -> Option<&mut Count> {
        let counts = !self.is_familiar && self.address.is_some();
        self.user.as_mut().filter(|_| counts).map(|(_, user)| &mut user.strangers)
    }

    /// The longest rest of those budgets that are used up.
    fn over(&mut self, tries: u32) -> Option<u32> {
        let now = self.client.now;
        let mut counts: Vec<(Count, u32)> =
            self.tries.iter().map(|(_, tries, multiple)| (tries.count, *multiple)).collect();
        counts.extend(self.strangers().map(|count| (*count, STRANGERS)));
        let over = counts
            .iter()
            .filter(|(count, multiple)| count.tries >= tries.saturating_mul(*multiple));
        over.map(|(count, _)| count.rest(now)).max()
    }

    /// One line in the log for a client and window, not one for each request.
    fn refuse(mut self, rest: u32) -> io::Result<Over> {
        let count = &mut self.tries.last_mut().expect("there is the one at the user").1.count;
        let is_news = !std::mem::replace(&mut count.is_logged, true);
        self.is_changed |= is_news;
        self.save()?;
        Ok(Over { rest, is_news })
    }

    fn charge(&mut self, seen: Seen) {
        self.tries[0].1.add(seen);
        self.charge_others();
    }

    fn charge_unseen(&mut self) {
        self.tries[0].1.count.add();
        self.charge_others();
    }

    fn charge_others(&mut self) {
        for (_, tries, _) in &mut self.tries[1..] {
            tries.count.add();
        }
        if let Some(strangers) = self.strangers() {
            strangers.add();
        }
        self.is_changed = true;
    }

    fn note_refused(&mut self, seen: Seen) {
        self.tries[0].1.note_refused(seen);
        self.is_changed = true;
    }

    fn give_back(&mut self, seen: Seen) {
        self.tries[0].1.give_back(seen);
        if seen.is_strangers() {
            for (_, tries, _) in &mut self.tries[1..] {
                tries.count.give_back();
            }
            if let Some(strangers) = self.strangers() {
                strangers.give_back();
            }
        }
        self.is_changed = true;
    }

    fn note_address(&mut self) {
        let now = self.client.now;
        if let (Some(address), Some((_, user))) = (self.address, &mut self.user) {
            self.is_changed |= user.note(address, now, now);
        }
    }

    fn save(self) -> io::Result<()> {
        if self.is_changed { self.write(false) } else { Ok(()) }
    }

    /// The same, and the user's row even if it is as it was.
    fn save_with_user(self) -> io::Result<()> {
        self.write(true)
    }

    fn write(mut self, always_user: bool) -> io::Result<()> {
        for (place, tries, _) in &mut self.tries {
            let before = place.row;
            tries.write(&mut place.row);
            if place.row != before {
                self.table.save(place)?;
            }
        }
        if let Some((place, user)) = &mut self.user {
            let before = place.row;
            user.write(&mut place.row);
            if always_user || place.row != before {
                self.table.save(place)?;
            }
        }
        Ok(())
    }
}

fn low_half(id: Id) -> u64 {
    u64::from_le_bytes(id[8..].try_into().expect("eight bytes"))
}

/// What counts as one client: an IPv4 address, or an IPv6 network of 64 bits. Empty: nothing is
/// known of it.
pub fn nearest_network(address: Option<IpAddr>) -> Vec<u8> {
    networks_of(address).into_iter().next().map(|(network, _)| network).unwrap_or_default()
}

/// The networks that a client's tries count for, the nearest first, each with its multiple of the
/// budget.
fn networks_of(address: Option<IpAddr>) -> Vec<(Vec<u8>, u32)> {
    match address.map(|address| address.to_canonical()) {
        None => Vec::new(),
        Some(IpAddr::V4(address)) => vec![(address.octets().to_vec(), CLIENT)],
        Some(IpAddr::V6(address)) => {
            let octets = address.octets();
            [(8, CLIENT), (7, NETWORK_56), (6, NETWORK_48)]
                .into_iter()
                .map(|(len, multiple)| {
                    let mut network = octets[..len].to_vec();
                    // Not to be taken for an IPv4 address's four.
                    network.push(0);
                    (network, multiple)
                })
                .collect()
        }
    }
}
