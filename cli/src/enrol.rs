//! `otpgate enrol`: many new users at once, with all that is to be handed to them.

mod letters;
mod people;

use std::collections::{HashMap, HashSet};
use std::ffi::OsString;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;

use clap::ValueHint;
use otpgate::files::directory_of;
use otpgate::log::Quoted;
use otpgate::secret::Secret;
use otpgate::store::{Account, Amendment, NewToken, Whom};
use otpgate::token::{Algorithm, State};
use zeroize::Zeroizing;

use crate::add::{self, CodeOptions};
use crate::backend::Backend;
use crate::document::{self, shown};
use crate::exchange::Flaw;
use crate::handover::{self, NewKey};
use crate::pin::{ChosenPin, PinForm, PinHasher, PinOptions};
use crate::progress::Progress;
use crate::qr::{ImageKind, Picture};
use crate::staged::{self, Directory, Staged};
use crate::{Failure, Result, print, signals, tokens};
use letters::Letters;
use people::{People, Person};

/// In the directory of the QR codes, unless another file is named.
const LETTERS: &str = "letters.csv";
/// Columns of ours.
const USER: &str = "user";
const START_PIN: &str = "start_pin";
const QR_FILE: &str = "qr_file";
const ADDRESS: &str = "address";

/// Enrol many users at once: keys, start PINs, QR codes and a file for letters
///
/// Reads a CSV file whose heading has a column "user", and adds a token for each. Each gets a
/// random key, written as a QR code, and a random start PIN, written to a CSV file for letters (for
/// mail merge) together with all other columns of the list. `otpgate list` flags start PINs until
/// `otpgate set-pin` changes them. All or none: after any mistake or failure, nobody is enrolled
/// and no file is left.
#[derive(clap::Args)]
pub struct Arguments {
    /// The list: CSV with a heading, or - for standard input
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    from: PathBuf,
    /// Write the QR codes to this directory, made if it isn't there; files are named by user
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    qr_dir: PathBuf,
    /// Write the letters' data to this new file, mode 0600 [default: letters.csv in DIR]
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    mail_merge: Option<PathBuf>,
    /// The heading of the column with the names that users log in with
    #[arg(long, value_name = "NAME", default_value = USER)]
    user_column: String,
    /// The kind of the QR files
    #[arg(long, value_enum, value_name = "KIND", default_value = "png")]
    qr_type: ImageKind,
    /// Also write the otpauth:// address, which contains the key, to the letters' file
    #[arg(long)]
    with_address: bool,
    /// Digits of a start PIN
    #[arg(long, value_name = "6-15", default_value = "8", value_parser = clap::value_parser!(u8).range(6..=15))]
    pin_digits: u8,
    #[command(flatten)]
    codes: CodeOptions,
    #[command(flatten)]
    pin: PinOptions,
    /// The service name that the apps show [default: the host name]
    #[arg(long, value_name = "NAME")]
    issuer: Option<String>,
    /// Leave out users who are listed already
    #[arg(long)]
    skip_existing: bool,
    /// Check everything, and change and write nothing
    #[arg(long)]
    dry_run: bool,
}

pub fn run(backend: &Backend, arguments: &Arguments) -> Result<ExitCode> {
    let issuer = handover::issuer(arguments.issuer.as_deref())?;
    let name = document::name_of(&arguments.from);
    let text = document::read(&arguments.from, &name)?;
    let taken = [USER, START_PIN, QR_FILE, ADDRESS];
    let mut list = people::read(&text, &arguments.user_column, &taken)
        .map_err(|flaw| Failure::new(format!("{name}: {}", flaw.text)))?;
    let mut progress = Progress::new();
    progress.tell(|| format!("looking for {} users", list.people.len()));
    let skipped = select(backend, arguments, &name, &mut list)?;
    arguments.codes.warn_of_apps("try one of the users first");
    let left_out = match skipped {
        0 => String::new(),
        _ => format!("; {} left out, listed already", counted(skipped)),
    };
    if list.people.is_empty() {
        drop(progress);
        print(format_args!("nobody to enrol{left_out}\n"))?;
        return Ok(ExitCode::SUCCESS);
    }

    let target = Target::of(arguments)?;
    if arguments.dry_run {
        target.check_without_making(arguments, &list.people)?;
        drop(progress);
        print(format_args!("{} would be enrolled{left_out}\n", counted(list.people.len())))?;
        return Ok(ExitCode::SUCCESS);
    }
    let signals = signals::hold()?;
    let directories = target.directories()?;
    let files = Files { target: &target, directories: &directories };
    let mut staged = Staged::new(directories.all())?;
    files.check_names_are_free(arguments, &list.people)?;
    let count = list.people.len();
    let made = make_all(arguments, &list.people, &issuer, |done| {
        progress.tell(|| format!("hashing {count} PINs: {done}"));
        signals.check()
    })?;
    for (done, made) in made.iter().enumerate() {
        progress.tell(|| format!("writing {count} QR codes: {done}"));
        signals.check()?;
        let image = Picture::of(&made.address)?.image(arguments.qr_type)?;
        staged.add(&directories.qr, qr_name(made.person, arguments.qr_type).into(), &image)?;
    }
    progress.tell(|| "writing the letters' file".to_owned());
    let letters = letters(arguments, &list, &made);
    staged.add(directories.of_letters(), target.letters_name.clone(), letters.text())?;
    signals.check()?;
    staged.give_names()?;
    signals.check()?;
    progress.tell(|| format!("adding {} users", made.len()));
    add_all(backend, arguments, &made)?;
    staged.keep();
    drop(progress);

    if letters.defused > 0 {
        eprintln!(
            "otpgate: {} of {} begin like a spreadsheet's formula and were written with ' before it",
            if letters.defused == 1 {
                "1 field".to_owned()
            } else {
                format!("{} fields", letters.defused)
            },
            shown(&target.letters)
        );
    }
    print(format_args!(
        "{} enrolled{left_out}\nQR codes: {}\nletters: {}\nBoth hold secrets: remove them once they are handed out.\n",
        counted(made.len()),
        shown(&arguments.qr_dir),
        shown(&target.letters)
    ))?;
    Ok(ExitCode::SUCCESS)
}

fn counted(users: usize) -> String {
    format!("{users} user{}", if users == 1 { "" } else { "s" })
}

/// Takes out those who are listed, if that is wanted; how many. Whoever can't be enrolled is
/// refused, all of them in one list.
fn select(
    backend: &Backend,
    arguments: &Arguments,
    name: &str,
    list: &mut People,
) -> Result<usize> {
    let mut places = HashMap::with_capacity(list.people.len());
    for person in &list.people {
        // A second line of a name is a flaw already.
        places.entry(&person.user[..]).or_insert(person.place);
    }
    let users: Vec<&[u8]> = places.keys().copied().collect();
    let mut flaws = std::mem::take(&mut list.flaws);
    let (mut listed, mut has_listed) = (Vec::new(), false);
    backend.look_at(Whom::Users(&users), |account| {
        if arguments.skip_existing && !account.held.is_empty() {
            listed.push(account.user.to_vec());
        } else if let Some(reason) = why_not(account) {
            has_listed |= !account.held.is_empty();
            flaws.push(Flaw::at(places[account.user], reason));
        }
        Ok(ControlFlow::Continue(()))
    })?;
    if !flaws.is_empty() {
        // The first of each line: the others follow from it, or show in the next run.
        flaws.sort_by_key(|flaw| flaw.place);
        flaws.dedup_by_key(|flaw| flaw.place);
        let hint = match has_listed {
            true => "nothing was changed (--skip-existing leaves out those who are listed)",
            false => "nothing was changed",
        };
        let what = "lines that can't be enrolled";
        return Err(document::refusal(name, "line", what, hint, &flaws));
    }
    let listed: HashSet<Vec<u8>> = listed.into_iter().collect();
    list.people.retain(|person| !listed.contains(&person.user));
    Ok(listed.len())
}

/// What keeps somebody from being enrolled.
fn why_not(account: &Account<'_>) -> Option<String> {
    let user = Quoted(account.user);
    if let Some(held) = account.held.first() {
        return Some(format!("{user} is listed already, in {} of the users file", held.place));
    }
    if let Some(further) = account.further.first() {
        return Some(add::left_over(account.user, further.place));
    }
    let twin = account.twin?;
    Some(format!(
        "{user} is another spelling of {}, who is listed in {}; if they are two people, use `otpgate add`",
        Quoted(&twin.user),
        twin.place
    ))
}

/// Somebody's new token, and what they are to be told.
struct Made<'p> {
    person: &'p Person,
    token: NewToken,
    pin: Option<ChosenPin>,
    address: Zeroizing<String>,
}

impl<'p> Made<'p> {
    /// `field`: what stands for the PIN.
    fn new(
        person: &'p Person,
        (pin, field): (Option<ChosenPin>, Secret),
        arguments: &Arguments,
        issuer: &str,
    ) -> Result<Made<'p>> {
        let token = NewToken {
            algorithm: Algorithm::Hotp(arguments.codes.hash()),
            factor: arguments.codes.factor(),
            digits: arguments.codes.digits(),
            pin: field,
            key: add::random_key()?,
            state: State::fresh(),
        };
        let address = NewKey::of(&person.user, &token).uri(issuer).map(|uri| uri.text());
        let address = address.expect("only Mobile-OTP has none");
        Ok(Made { person, token, pin, address })
    }
}

/// Makes everybody's token. `hashed` is told how many PINs are done.
fn make_all<'p>(
    arguments: &Arguments,
    people: &'p [Person],
    issuer: &str,
    hashed: impl FnMut(usize) -> Result<()>,
) -> Result<Vec<Made<'p>>> {
    let (form, digits) = (arguments.pin.form(), usize::from(arguments.pin_digits));
    let pin = |_: &Person| form.is_ours().then(|| ChosenPin::random(digits)).transpose();
    let pins: Vec<Option<ChosenPin>> = people.iter().map(pin).collect::<Result<_>>()?;
    let fields = pin_fields(form, &pins, hashed)?;
    people
        .iter()
        .zip(pins.into_iter().zip(fields))
        .map(|(person, pin)| Made::new(person, pin, arguments, issuer))
        .collect()
}

/// What stands for each PIN. All processors are at it, for a hash takes its time.
fn pin_fields(
    form: PinForm,
    pins: &[Option<ChosenPin>],
    mut hashed: impl FnMut(usize) -> Result<()>,
) -> Result<Vec<Secret>> {
    let workers = std::thread::available_parallelism().map_or(1, |count| count.get());
    let next = &AtomicUsize::new(0);
    let mut fields: Vec<Option<Secret>> = pins.iter().map(|_| None).collect();
    std::thread::scope(|scope| {
        let (sender, made) = mpsc::sync_channel(workers);
        for _ in 0..workers {
            let sender = sender.clone();
            scope.spawn(move || {
                let mut hasher = PinHasher::default();
                loop {
                    let place = next.fetch_add(1, Ordering::Relaxed);
                    let Some(pin) = pins.get(place) else { break };
                    // Nobody is there any more once one has failed.
                    if sender.send((place, form.field(pin.as_ref(), &mut hasher))).is_err() {
                        break;
                    }
                }
            });
        }
        drop(sender);
        for (count, (place, field)) in made.into_iter().enumerate() {
            hashed(count)?;
            fields[place] = Some(field?);
        }
        Ok::<_, Failure>(())
    })?;
    Ok(fields.into_iter().map(|field| field.expect("each was made")).collect())
}

fn letters(arguments: &Arguments, list: &People, made: &[Made<'_>]) -> Letters {
    let has_pins = arguments.pin.form().is_ours();
    let mut letters = Letters::new(list.separator);
    let ours = [
        Some(USER),
        has_pins.then_some(START_PIN),
        Some(QR_FILE),
        arguments.with_address.then_some(ADDRESS),
    ];
    let others = list.columns.iter().map(|column| &column[..]);
    letters.push(ours.into_iter().flatten().map(str::as_bytes).chain(others));
    for Made { person, pin, address, .. } in made {
        let file = qr_name(person, arguments.qr_type);
        let ours = [
            Some(&person.user[..]),
            pin.as_ref().map(ChosenPin::plain),
            Some(file.as_bytes()),
            arguments.with_address.then_some(address.as_bytes()),
        ];
        letters
            .push(ours.into_iter().flatten().chain(person.others.iter().map(|other| &other[..])));
    }
    letters
}

/// Everybody in one change, if they can still be enrolled.
fn add_all(backend: &Backend, arguments: &Arguments, made: &[Made<'_>]) -> Result<()> {
    let tokens: HashMap<&[u8], &NewToken> =
        made.iter().map(|made| (&made.person.user[..], &made.token)).collect();
    let users: Vec<&[u8]> = made.iter().map(|made| &made.person.user[..]).collect();
    let since = arguments.pin.form().is_ours().then(tokens::today);
    let added = backend.amend_each(Whom::Users(&users), |account| {
        if let Some(reason) = why_not(account) {
            return Err(Failure::new(format!("{reason}; nothing was changed")));
        }
        let token = Amendment::Add(tokens[account.user].clone());
        let flag = since.map(|since| Amendment::StartPin(Some(since)));
        Ok([token].into_iter().chain(flag).collect())
    });
    Ok(added?)
}

/// Longer names of users are cut in names of files, which file systems limit to 255 bytes.
const QR_NAME_MAX: usize = 200;

/// The file of a user's QR code. A name of letters, digits and `-._@+` is itself; everything else
/// is percent-encoded, and so is a dot or hyphen at the beginning, which would hide the file or
/// make it an option of other programs.
fn qr_name(person: &Person, kind: ImageKind) -> String {
    let mut name = String::with_capacity(person.user.len() + 4);
    for (i, &byte) in person.user.iter().enumerate() {
        let encoded = match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_' | b'@' | b'+' => {
                char::from(byte).to_string()
            }
            b'.' | b'-' if i > 0 => char::from(byte).to_string(),
            _ => format!("%{byte:02X}"),
        };
        if name.len() + encoded.len() > QR_NAME_MAX {
            // No name that isn't cut has this sign in it.
            name.push_str(&format!("~{}", person.place));
            break;
        }
        name.push_str(&encoded);
    }
    format!("{name}.{}", kind.extension())
}

/// Where the files go.
struct Target<'a> {
    qr_dir: &'a Path,
    letters: PathBuf,
    letters_name: OsString,
    /// Another directory than that of the QR codes.
    letters_dir: Option<PathBuf>,
}

struct Directories {
    qr: Directory,
    /// `None`: the same.
    letters: Option<Directory>,
}

struct Files<'t> {
    target: &'t Target<'t>,
    directories: &'t Directories,
}

impl<'a> Target<'a> {
    fn of(arguments: &'a Arguments) -> Result<Target<'a>> {
        let letters =
            arguments.mail_merge.clone().unwrap_or_else(|| arguments.qr_dir.join(LETTERS));
        let letters_name = letters.file_name().ok_or_else(|| {
            Failure::new(format!("{} is no name for the letters' file", shown(&letters)))
        })?;
        if letters == Path::new("-") {
            return Err(Failure::new("the letters go to a file only: name one, not -"));
        }
        let absolute = |path: &Path| {
            std::path::absolute(path)
                .map_err(|error| Failure::new(format!("cannot find {}: {error}", shown(path))))
        };
        let letters_dir = directory_of(&letters);
        let is_same = absolute(letters_dir)? == absolute(&arguments.qr_dir)?;
        Ok(Target {
            qr_dir: &arguments.qr_dir,
            letters_name: letters_name.to_owned(),
            letters_dir: (!is_same).then(|| letters_dir.to_owned()),
            letters,
        })
    }

    fn directories(&self) -> Result<Directories> {
        let qr = Directory::open_or_make(self.qr_dir)?;
        match self.letters_dir.as_deref().map(Directory::open).transpose() {
            Ok(letters) => Ok(Directories { qr, letters }),
            Err(failure) => {
                qr.remove_if_new();
                Err(failure)
            }
        }
    }

    /// What stands in the way of the files, as far as that shows before a directory is made.
    fn check_without_making(&self, arguments: &Arguments, people: &[Person]) -> Result<()> {
        let is_there = self.qr_dir.symlink_metadata().is_ok();
        if is_there {
            let directories = self.directories()?;
            let files = Files { target: self, directories: &directories };
            return files.check_names_are_free(arguments, people);
        }
        let parent = directory_of(self.qr_dir);
        if !parent.is_dir() {
            return Err(Failure::new(format!("{} is not a directory", shown(parent))));
        }
        if let Some(directory) = &self.letters_dir {
            let directory = Directory::open(directory)?;
            if directory.has(&self.letters_name) {
                return Err(Failure::new(staged::already(&directory, &self.letters_name)));
            }
        }
        Ok(())
    }
}

impl Directories {
    fn of_letters(&self) -> &Directory {
        self.letters.as_ref().unwrap_or(&self.qr)
    }

    fn all(&self) -> Vec<&Directory> {
        [Some(&self.qr), self.letters.as_ref()].into_iter().flatten().collect()
    }
}

impl Files<'_> {
    /// Told before anything takes its time; what counts is that no file takes another one's name.
    fn check_names_are_free(&self, arguments: &Arguments, people: &[Person]) -> Result<()> {
        let Directories { qr, .. } = self.directories;
        let qr_names = people.iter().map(|person| (qr, qr_name(person, arguments.qr_type).into()));
        let letters = (self.directories.of_letters(), self.target.letters_name.clone());
        for (directory, name) in qr_names.chain([letters]) {
            if directory.has(&name) {
                return Err(Failure::new(staged::already(directory, &name)));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn qr_name_of(user: &[u8]) -> String {
        let person = Person { user: user.to_vec(), others: Vec::new(), place: 7 };
        qr_name(&person, ImageKind::Png)
    }

    #[test]
    fn a_file_named_by_a_user_is_one_in_its_directory_whatever_the_name() {
        for (user, name) in [
            (&b"alice"[..], "alice.png"),
            (b"a.b-c_d+e@example.com", "a.b-c_d+e@example.com.png"),
            (b"../../etc/passwd", "%2E.%2F..%2Fetc%2Fpasswd.png"),
            (b"..", "%2E..png"),
            (b".", "%2E.png"),
            (b"-rf", "%2Drf.png"),
            (b"a~7", "a%7E7.png"),
            (b"100%", "100%25.png"),
            ("Jos\u{e9}\u{202e}x".as_bytes(), "Jos%C3%A9%E2%80%AEx.png"),
        ] {
            assert_eq!(qr_name_of(user), name);
        }
        let long = qr_name_of(&[b'a'; 255]);
        assert_eq!(long, format!("{}~7.png", "a".repeat(200)));
        // Never within an encoded byte.
        assert_eq!(qr_name_of("é".repeat(100).as_bytes()).len(), 198 + "~7.png".len());
    }
}
