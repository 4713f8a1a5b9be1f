//! `otpgate paper`: a printed list of codes, as a token of its own.

use std::collections::{BTreeSet, HashSet};
use std::ffi::OsString;
use std::num::NonZeroU16;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::ValueHint;
use otpgate::log::Quoted;
use otpgate::otp::{Digits, Hash};
use otpgate::secret::Secret;
use otpgate::store::{Account, Amendment, NewToken};
use otpgate::token::{Algorithm, Fingerprint, LINES_MAX, MovingFactor, State};
use zeroize::Zeroizing;

use crate::backend::Backend;
use crate::pin::{PinForm, PinOptions};
use crate::secret_file::Unsaved;
use crate::sheet::{self, Sheet, SheetKind};
use crate::tokens::{self, Numbered};
use crate::{Failure, Result, add, handover, print};

const COUNT: u16 = 30;
const COUNT_MAX: i64 = 100;
const DIGITS: u8 = 8;
const _: () = assert!(COUNT_MAX as usize <= sheet::CODES_MAX);

/// Print a user a list of codes for the wallet
///
/// The list is another token of the user, with the user's PIN. Its codes are good in order: a code
/// that is used ends those before it. Prints the codes, or with --print writes a sheet to be
/// printed, which folds to the size of a bank card. They are shown only once; --again replaces a
/// list that is lost or used up, whose codes are void at once.
#[derive(clap::Args)]
pub struct Arguments {
    /// The user
    user: OsString,
    /// How many codes [default: 30; with --again as many as before]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=COUNT_MAX))]
    count: Option<u16>,
    /// Digits of a code [default: 8; with --again as many as before]
    #[arg(long, value_name = "6-10", value_parser = clap::value_parser!(u8).range(6..=10))]
    digits: Option<u8>,
    /// Write a sheet to a new file, .svg, .pdf or .html, mode 0600, and print no codes
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    print: Option<PathBuf>,
    /// Replace the user's list, in one step; its PIN stays
    #[arg(long, conflicts_with = "new")]
    again: bool,
    /// The user isn't listed yet, and has no other token
    #[arg(long)]
    new: bool,
    /// Take the PIN of this token, by its number in `otpgate show`, if the user's tokens have
    /// several
    #[arg(long, value_name = "N", conflicts_with_all = ["new", "again"])]
    pin_of: Option<usize>,
    #[command(flatten)]
    pin: PinOptions,
    /// What the sheet says the codes are for [default: the host name]
    #[arg(long, value_name = "NAME")]
    issuer: Option<String>,
}

/// What becomes of an account.
struct Plan {
    /// What it was made of.
    fingerprints: Vec<Option<Fingerprint>>,
    /// The old lists.
    lists: Vec<usize>,
    /// `None`: to be asked for.
    pin: Option<Secret>,
    count: NonZeroU16,
    digits: u8,
}

pub fn run(backend: &Backend, arguments: &Arguments) -> Result<ExitCode> {
    let user = arguments.user.as_bytes();
    let issuer = handover::issuer(arguments.issuer.as_deref())?;
    let kind = arguments.print.as_deref().map(SheetKind::of).transpose()?;
    if arguments.new {
        add::check_user(user)?;
    }
    // Before anybody thinks up a PIN; what counts is the second look, when it is saved.
    let plan = backend.look(user, |account| arguments.plan(backend, account))?;
    backend.check_answers_logins(user)?;
    let pin = match &plan.pin {
        Some(pin) => pin.clone(),
        None => arguments.pin.form().ask(user)?,
    };

    let (token, codes) = new_list(&plan, pin)?;
    let shown = tokens::shown_name(user);
    let today = tokens::local_time(tokens::now());
    let sheet = Sheet {
        issuer: &issuer,
        user: &shown,
        date: today.split(' ').next().unwrap_or_default(),
        has_pin: token.pin.expose() != b"-",
        codes: &codes,
    };
    if kind == Some(SheetKind::Pdf)
        && !(sheet::pdf_can_show(&shown) && sheet::pdf_can_show(&issuer))
    {
        eprintln!(
            "otpgate: warning: the PDF shows ? for some letters of the name; .svg and .html show all"
        );
    }
    let unsaved = match (&arguments.print, kind) {
        (Some(path), Some(kind)) => Some(Unsaved::create(path, &sheet.file(kind))?),
        _ => None,
    };
    unsaved.as_ref().map_or(Ok(()), Unsaved::check)?;
    save(backend, arguments, &plan, &token)?;
    if let Some(file) = unsaved {
        file.keep();
    }

    let done = if arguments.again { "Replaced the list of" } else { "Added a list for" };
    let count = plan.count;
    match &arguments.print {
        Some(path) => {
            eprintln!("{done} {}: {count} codes, in {}.", Quoted(user), path.display());
        }
        None => print(sheet.text().as_str()).map_err(|failure| {
            Failure::new(format!(
                "{failure}; the list is saved: print another one with `otpgate paper --again`"
            ))
        })?,
    }
    Ok(ExitCode::SUCCESS)
}

fn save(backend: &Backend, arguments: &Arguments, plan: &Plan, token: &NewToken) -> Result<()> {
    let user = arguments.user.as_bytes();
    let saved = backend.amend(user, |account| {
        let now = arguments.plan(backend, account)?;
        if now.fingerprints != plan.fingerprints {
            return Err(tokens::changed_meanwhile(user));
        }
        let Some((first, others)) = now.lists.split_first() else {
            return Ok((vec![Amendment::Add(token.clone())], ()));
        };
        let replaced = Amendment::Replace(*first, token.clone());
        let removed = others.iter().map(|&index| Amendment::Remove(index));
        Ok((std::iter::once(replaced).chain(removed).collect(), ()))
    });
    Ok(saved?)
}

/// A token with a new key, and its codes in order, which all differ.
fn new_list(plan: &Plan, pin: Secret) -> Result<(NewToken, Vec<Zeroizing<String>>)> {
    let mut token = NewToken {
        algorithm: Algorithm::Hotp(Hash::Sha1),
        factor: MovingFactor::Paper(plan.count),
        digits: Digits::new(plan.digits).expect("6 to 10"),
        pin,
        key: add::random_key()?,
        state: State::fresh(),
    };
    loop {
        let codes: Vec<_> = (0..plan.count.get().into())
            .map(|counter| {
                let code =
                    otpgate::otp::hotp(Hash::Sha1, token.key.expose(), counter, token.digits);
                Zeroizing::new(String::from_utf8_lossy(code.as_bytes()).into_owned())
            })
            .collect();
        let different: HashSet<&str> = codes.iter().map(|code| code.as_str()).collect();
        if different.len() == codes.len() {
            return Ok((token, codes));
        }
        token.key = add::random_key()?;
    }
}

impl Arguments {
    /// What becomes of an account, or why nothing does.
    fn plan(&self, backend: &Backend, account: &Account<'_>) -> Result<Plan> {
        let user = Quoted(account.user);
        let is_listed = !account.held.is_empty();
        if !self.new && self.pin.form() != PinForm::Hashed {
            return Err(Failure::new(
                "the list gets the user's own PIN: --plain-pin, --pin-external and --no-pin go with --new only",
            ));
        }
        if self.new && is_listed {
            return Err(Failure::new(format!("{user} is listed already: leave out --new")));
        }
        if !self.new {
            // Says that nobody has that name, if so.
            backend.tokens_of(account).map_err(|failure| {
                let hint = if is_listed { "" } else { "; --new adds the user" };
                Failure::new(format!("{failure}{hint}"))
            })?;
        } else if let Some(further) = account.further.first() {
            return Err(Failure::new(add::left_over(account.user, further.place)));
        } else if let Some(twin) = account.twin {
            return Err(Failure::new(format!(
                "{user} is another spelling of {} in {}; if they are two people, use `otpgate add`",
                Quoted(&twin.user),
                twin.place
            )));
        }

        let all = tokens::number(account.held);
        let lists: Vec<&Numbered<'_>> = all.iter().filter(|token| token.is_paper()).collect();
        match (lists.first(), self.again) {
            (Some(list), false) => {
                let left = list.held.token.as_ref().ok();
                let left = left.and_then(|line| line.state.codes_left(line.token.factor));
                return Err(Failure::new(format!(
                    "{user} has a paper list already, with {} codes left; --again replaces it",
                    left.unwrap_or(0)
                )));
            }
            (None, true) => {
                return Err(Failure::new(format!(
                    "{user} has no paper list yet: leave out --again"
                )));
            }
            _ => {}
        }
        if lists.is_empty() && all.len() >= LINES_MAX {
            return Err(Failure::new(format!(
                "{user} has {LINES_MAX} lines already: no more are read"
            )));
        }
        let old = lists.first().and_then(|list| list.held.token.as_ref().ok());
        let (count, digits) = match old.map(|line| (line.token.factor, line.token.digits)) {
            // One that was written by hand may be longer than a sheet.
            Some((MovingFactor::Paper(count), digits)) => {
                (count.get().min(COUNT_MAX as u16), digits.count() as u8)
            }
            _ => (COUNT, DIGITS),
        };
        let (count, digits) = (self.count.unwrap_or(count), self.digits.unwrap_or(digits));
        let lists: Vec<usize> = lists.iter().map(|list| list.index).collect();
        add::check_lengths(account, &lists, digits.into())?;
        Ok(Plan {
            fingerprints: tokens::fingerprints(&all),
            pin: match old {
                Some(line) => Some(Secret::new(line.token.pin.field().to_vec())),
                None => self.pin_of_others(&all, account.user)?,
            },
            lists,
            count: NonZeroU16::new(count).expect("from 1"),
            digits,
        })
    }

    /// The PIN that the user's tokens have. `None`: there are none.
    fn pin_of_others(&self, all: &[Numbered<'_>], user: &[u8]) -> Result<Option<Secret>> {
        if all.is_empty() {
            return Ok(None);
        }
        let pins = |tokens: &[Numbered<'_>]| {
            let readable = tokens.iter().filter_map(|token| token.held.token.as_ref().ok());
            let pins: BTreeSet<Vec<u8>> =
                readable.map(|line| line.token.pin.field().to_vec()).collect();
            pins.into_iter().map(Secret::new).collect::<Vec<_>>()
        };
        let asked = tokens::all_or_one(all.to_vec(), user, self.pin_of)?;
        tokens::any_readable(&asked)?;
        // What is on paper is found by others: without a PIN only if nothing of the user has one.
        let is_pin = |pin: &Secret| pin.expose() != b"-";
        let (with, without): (Vec<_>, Vec<_>) = pins(&asked).into_iter().partition(is_pin);
        match (&with[..], without.first()) {
            ([pin], _) => Ok(Some(pin.clone())),
            ([], Some(none)) if !pins(all).iter().any(is_pin) => Ok(Some(none.clone())),
            ([], _) => Err(Failure::new(format!(
                "another token of {} has a PIN, and then the list needs one, too: leave out --pin-of",
                Quoted(user)
            ))),
            _ => Err(Failure::new(format!(
                "the tokens of {} have several PINs, or several hashes of one: say whose the list gets with --pin-of N",
                Quoted(user)
            ))),
        }
    }
}
