//! `otpgate import`: tokens that other programs have written down.

use std::collections::{BTreeSet, HashMap};
use std::ffi::OsString;
use std::fmt::Write;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{ValueEnum, ValueHint};
use jiff::tz::TimeZone;
use otpgate::files::lines;
use otpgate::log::Quoted;
use otpgate::otp::Hash;
use otpgate::secret::Secret;
use otpgate::token::{Algorithm, CODE_LENGTHS_MAX};
use otpgate::users::journal::Journal;
use otpgate::users::lock::Locked;
use otpgate::users::rewrite::{self, NewLine};
use otpgate::users::{check as findings, line, pragma, record};
use zeroize::Zeroizing;

use crate::add::HashName;
use crate::add::check_user;
use crate::exchange::apps::App;
use crate::exchange::csv::Columns;
use crate::exchange::{
    self, ExchangeOutcome, Flaw, OwnPin, Token, apps, csv, google, liboath, otpauth, pskc,
};
use crate::pin::ChosenPin;
use crate::progress::Progress;
use crate::{Failure, Result, check, document, owner, print, prompt, secret_file};

/// Import the tokens of another program's file
///
/// All of them or none, in one change. One PIN is asked for, and given to all tokens that have none
/// of their own, unless --no-pin or --pin-external is given. What standard input has to give comes
/// in this order, a line each: the password or pre-shared key of an encrypted PSKC file, the PIN.
#[derive(clap::Args)]
pub struct Arguments {
    /// The file format
    #[arg(value_enum, value_name = "FORMAT")]
    form: ImportForm,
    /// The file, or - for standard input
    #[arg(value_name = "INPUT", value_hint = ValueHint::FilePath)]
    input: PathBuf,
    /// The name the user logs in with, for a file with one token
    #[arg(long, value_name = "NAME")]
    user: Option<OsString>,
    /// Skip tokens whose users are already listed (with --another-token: only tokens already
    /// listed)
    #[arg(long)]
    skip_existing: bool,
    /// Leave out tokens that can't be used here, and list them
    #[arg(long)]
    skip_unusable: bool,
    /// The columns of a CSV file, by the program that they are of
    #[arg(long, value_enum, value_name = "PROGRAM", default_value = "otpgate")]
    csv: Columns,
    /// The hash of a CSV file's tokens that name none
    #[arg(long, value_enum, value_name = "HASH")]
    hash: Option<HashName>,
    /// Give users who have a token another one
    #[arg(long)]
    another_token: bool,
    /// No PINs: the codes alone are enough
    #[arg(long, group = "pin")]
    no_pin: bool,
    /// The server's own PIN provider checks the PINs
    #[arg(long, group = "pin")]
    pin_external: bool,
    /// Store the PIN in the clear, not as an Argon2id hash: for Digest logins and for mod_authn_otp
    #[arg(long, group = "pin")]
    plain_pin: bool,
    /// A file with the password of an encrypted PSKC file, or its pre-shared key in hexadecimal
    /// [default: ask for it]
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    secret_file: Option<PathBuf>,
    /// Import a signed PSKC file without checking its signature
    #[arg(long)]
    ignore_signature: bool,
}

/// What import reads.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum ImportForm {
    /// otpauth:// addresses, one per line; also Google Authenticator's otpauth-migration://
    Otpauth,
    /// PSKC, RFC 6030: XML, also encrypted with a password or a pre-shared key
    Pskc,
    /// One token on a line: name, key, type, digits, period or counter, hash, PIN; or as --csv says
    Csv,
    /// The users file of liboath and pam_oath
    Liboath,
    /// The .google_authenticator file of one user
    GoogleAuthenticator,
    /// An export of Aegis in the clear
    Aegis,
    /// An export of andOTP in the clear
    #[value(name = "andotp")]
    AndOtp,
    /// A backup of 2FAS in the clear
    #[value(name = "2fas")]
    TwoFas,
    /// A JSON export of FreeOTP+
    #[value(name = "freeotp-plus")]
    FreeOtpPlus,
    /// The users file of mod_authn_otp, which needs no import
    #[value(name = "mod_authn_otp")]
    ModAuthnOtp,
}

impl ImportForm {
    fn has_pins(self) -> bool {
        self == ImportForm::Liboath
    }

    /// What a place in it is called.
    fn place(self) -> &'static str {
        match self {
            ImportForm::Pskc => "key",
            ImportForm::Aegis
            | ImportForm::AndOtp
            | ImportForm::TwoFas
            | ImportForm::FreeOtpPlus => "entry",
            _ => "line",
        }
    }
}

pub fn run(file: &Path, arguments: &Arguments) -> Result<ExitCode> {
    if arguments.form == ImportForm::ModAuthnOtp {
        return stay(&arguments.input);
    }
    if arguments.form != ImportForm::Csv
        && (arguments.csv != Columns::Otpgate || arguments.hash.is_some())
    {
        return Err(Failure::new(
            "--csv and --hash are for CSV: other forms say themselves what they hold",
        ));
    }
    let name = document::name_of(&arguments.input);
    let mut progress = Progress::new();
    let document = document::read(&arguments.input, &name)?;
    progress.tell(|| format!("reading {name}"));
    let read = parse(arguments, &document)
        .map_err(|flaw| Failure::new(format!("{name}: {}", flaw.text)))?;
    let exchange::Read { mut tokens, mut unusable, notes } = read;
    refuse_unusable(arguments, &name, &unusable, tokens.len())?;
    if tokens.is_empty() {
        return Err(Failure::new(format!("{name}: it contains no token; nothing was changed")));
    }
    name_users(arguments, &name, &mut tokens)?;
    let pins = Pins::ask(arguments, &name, &tokens)?;

    progress.tell(|| format!("checking {} tokens", tokens.len()));
    let mut lines = Vec::with_capacity(tokens.len());
    for token in tokens {
        match TokenLine::of(token, &pins)? {
            Ok(line) => lines.push(line),
            Err(flaw) => unusable.push(flaw),
        }
    }
    if arguments.skip_unusable {
        unusable.extend(repeated(&mut lines, arguments.form));
    }
    refuse_unusable(arguments, &name, &unusable, lines.len())?;
    let (added, skipped) =
        owner::acting(file, || add_to(file, arguments, &name, &lines, &mut progress))?;
    drop(progress);
    for note in notes {
        eprintln!("otpgate: {name}: {note}");
    }
    let mut left_out = String::new();
    if !unusable.is_empty() {
        unusable.sort_by_key(|flaw| flaw.place);
        let told = document::listed(
            &name,
            arguments.form.place(),
            "tokens that cannot be imported",
            "left out",
            &unusable,
            usize::MAX,
        );
        eprintln!("otpgate: {told}");
        write!(left_out, "; {} left out, unusable", counted(unusable.len()))
            .expect("writing to memory");
    }
    if skipped > 0 {
        write!(left_out, "; {} left out, listed already", counted(skipped))
            .expect("writing to memory");
    }
    print(format_args!("{} imported{left_out}\n", counted(added)))?;
    Ok(ExitCode::SUCCESS)
}

/// Takes out what stands in the document before.
fn repeated(lines: &mut Vec<TokenLine>, form: ImportForm) -> Vec<Flaw> {
    let mut by_user: HashMap<Vec<u8>, Vec<(Algorithm, Secret, usize)>> =
        HashMap::with_capacity(lines.len());
    let mut flaws = Vec::new();
    lines.retain(|line| {
        let earlier = by_user.entry(line.token.user.clone()).or_default();
        let same = earlier.iter().find(|(algorithm, key, _)| line.is_same_token(*algorithm, key));
        if let Some((.., place)) = same {
            let text = format!("it is the token of {} {place} once more", form.place());
            flaws.push(Flaw::at(line.token.place, text));
            return false;
        }
        earlier.push((line.token.kind.algorithm, line.token.key.clone(), line.token.place));
        true
    });
    flaws
}

/// Unless they may be left out, or nothing would be left.
fn refuse_unusable(
    arguments: &Arguments,
    name: &str,
    unusable: &[Flaw],
    usable: usize,
) -> Result<()> {
    if unusable.is_empty() || arguments.skip_unusable && usable > 0 {
        return Ok(());
    }
    let hint = match usable {
        0 => "nothing was changed",
        _ => "nothing was changed (--skip-unusable leaves them out)",
    };
    Err(document::refusal(
        name,
        arguments.form.place(),
        "tokens that cannot be imported",
        hint,
        unusable,
    ))
}

/// Adds them to the users file. How many, and how many were left out.
fn add_to(
    file: &Path,
    arguments: &Arguments,
    name: &str,
    lines: &[TokenLine],
    progress: &mut Progress,
) -> Result<(usize, usize)> {
    let locked = Locked::acquire(file)?;
    let mut journal = Journal::open(&locked, &mut None)?;
    progress.tell(|| format!("looking for {} tokens in {}", lines.len(), file.display()));
    let (listed, lengths) = listed(&locked, lines)?;
    let new = select(arguments, name, lines, (&listed, lengths))?;
    progress.tell(|| format!("writing {} tokens", new.len()));
    if !new.is_empty() {
        rewrite::extend(&locked, &mut journal, &TimeZone::system(), &new)?;
    }
    Ok((new.len(), lines.len() - new.len()))
}

fn counted(tokens: usize) -> String {
    format!("{tokens} token{}", if tokens == 1 { "" } else { "s" })
}

/// A users file of mod_authn_otp is one of ours.
fn stay(input: &Path) -> Result<ExitCode> {
    if input == Path::new("-") {
        return Err(Failure::new(
            "mod_authn_otp's users file is used where it is: give its path, not -",
        ));
    }
    let mut found = Vec::new();
    findings::all_lines(input, &mut |finding| found.push(finding))?;
    print(check::told(&found))?;
    let path = document::shown(input);
    print(format_args!(
        "{path}: nothing to import, a users file of mod_authn_otp is used as it is. Run `otpgate -f {path} init` once, \
         which makes lock and journal, then `otpgate -f {path} check`.\n"
    ))?;
    Ok(if check::is_grave(&found) { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn parse(arguments: &Arguments, document: &[u8]) -> ExchangeOutcome {
    match arguments.form {
        ImportForm::Otpauth => otpauth::read(document),
        ImportForm::Csv => csv::read(document, arguments.csv, arguments.hash.map(Hash::from)),
        ImportForm::Liboath => liboath::read(document, &TimeZone::system()),
        ImportForm::GoogleAuthenticator => google::read(document),
        ImportForm::Pskc => pskc::read(document, arguments.ignore_signature, &mut |wanted| {
            secret(arguments, wanted).map_err(|failure| Flaw::of_all(failure.to_string()))
        }),
        ImportForm::Aegis => apps::read(document, App::Aegis),
        ImportForm::AndOtp => apps::read(document, App::AndOtp),
        ImportForm::TwoFas => apps::read(document, App::TwoFas),
        ImportForm::FreeOtpPlus => apps::read(document, App::FreeOtpPlus),
        ImportForm::ModAuthnOtp => unreachable!("is used as it is"),
    }
}

/// The password or key of an encrypted document.
fn secret(arguments: &Arguments, wanted: pskc::WantedSecret<'_>) -> Result<Zeroizing<Vec<u8>>> {
    let (what, name) = match wanted {
        pskc::WantedSecret::PreSharedKey(name) => ("pre-shared key", name),
        pskc::WantedSecret::Password(name) => ("password", name),
    };
    if let Some(path) = &arguments.secret_file {
        return secret_file::read_line(path);
    }
    if arguments.input == Path::new("-") {
        return Err(Failure::new(format!("it is encrypted: give the {what} with --secret-file")));
    }
    // The name is the file's: nothing in it shall move the cursor.
    let name = name.map_or(String::new(), |name| format!(" {}", Quoted(name.as_bytes())));
    prompt::secret(&format!("The {what}{name}: "))
}

fn name_users(arguments: &Arguments, name: &str, tokens: &mut [Token]) -> Result<()> {
    match (&arguments.user, tokens) {
        (Some(user), [token]) => token.user = user.as_bytes().to_vec(),
        (Some(_), tokens) => {
            let text = format!(
                "{name}: it contains {} tokens, but --user can name only one",
                tokens.len()
            );
            return Err(Failure::new(text));
        }
        (None, _) if arguments.form == ImportForm::GoogleAuthenticator => {
            return Err(Failure::new(format!("{name}: it names no user; give one with --user")));
        }
        (None, _) => {}
    }
    Ok(())
}

/// Field 3.
struct Pins {
    /// Of tokens without a PIN of their own.
    others: OtherPins,
    /// Those that are typed are stored as they are.
    plain: bool,
}

enum OtherPins {
    None,
    External,
    /// One for all; Mobile-OTP needs it as it is.
    Same {
        plain: Zeroizing<Vec<u8>>,
        field: Zeroizing<Vec<u8>>,
    },
}

impl Pins {
    fn ask(arguments: &Arguments, name: &str, tokens: &[Token]) -> Result<Pins> {
        if arguments.form.has_pins()
            && (arguments.no_pin || arguments.pin_external || arguments.plain_pin)
        {
            let text = format!(
                "{name}: it has its own PINs; leave out --no-pin, --pin-external, --plain-pin"
            );
            return Err(Failure::new(text));
        }
        let has_motp = tokens
            .iter()
            .any(|token| token.pin.is_none() && token.kind.algorithm == Algorithm::Motp);
        let others = match () {
            () if arguments.no_pin || tokens.iter().all(|token| token.pin.is_some()) => {
                OtherPins::None
            }
            () if arguments.pin_external && has_motp => {
                return Err(Failure::new(format!(
                    "{name}: Mobile-OTP computes codes from the PIN; it can't have --pin-external"
                )));
            }
            () if arguments.pin_external => OtherPins::External,
            () if arguments.input == Path::new("-") => {
                return Err(Failure::new(
                    "standard input can't carry both tokens and a PIN: give --no-pin or --pin-external, or the file by \
                     name",
                ));
            }
            () => {
                let pin = ChosenPin::ask("all of them")?;
                let plain = Zeroizing::new(pin.plain().to_vec());
                let field =
                    if arguments.plain_pin { plain.clone() } else { Zeroizing::new(pin.hashed()?) };
                OtherPins::Same { plain, field }
            }
        };
        Ok(Pins { others, plain: arguments.plain_pin })
    }

    /// What stands there, or what is wrong with the token's own PIN.
    fn field(&self, token: &Token) -> Result<std::result::Result<Zeroizing<Vec<u8>>, Flaw>> {
        let is_motp = token.kind.algorithm == Algorithm::Motp;
        let field: &[u8] = match (&token.pin, &self.others) {
            (Some(OwnPin::Field(field)), _) => field,
            (Some(OwnPin::Typed(pin)), _) => match &pin[..] {
                b"-" => b"-",
                b"+" if is_motp => {
                    let text = "Mobile-OTP makes codes with the PIN; + isn't for it";
                    return Ok(Err(Flaw::at(token.place, text)));
                }
                b"+" => b"+",
                _ => {
                    let checked = match ChosenPin::checked(pin.clone()) {
                        Ok(pin) => pin,
                        Err(failure) => {
                            let text = failure.to_string();
                            let reason =
                                text.strip_suffix("; nothing was changed").unwrap_or(&text);
                            return Ok(Err(Flaw::at(token.place, reason.to_owned())));
                        }
                    };
                    return Ok(Ok(match self.plain || is_motp {
                        true => Zeroizing::new(checked.plain().to_vec()),
                        false => Zeroizing::new(checked.hashed()?),
                    }));
                }
            },
            (None, OtherPins::None) => b"-",
            (None, OtherPins::External) => b"+",
            (None, OtherPins::Same { plain, .. }) if is_motp => plain,
            (None, OtherPins::Same { field, .. }) => field,
        };
        Ok(Ok(Zeroizing::new(field.to_vec())))
    }
}

/// A token as it will stand in the users file.
struct TokenLine {
    kind: String,
    pin: Zeroizing<Vec<u8>>,
    key: Zeroizing<String>,
    token: Token,
}

impl TokenLine {
    /// Or what is wrong with the token.
    fn of(token: Token, pins: &Pins) -> Result<std::result::Result<TokenLine, Flaw>> {
        if let Err(failure) = check_user(&token.user) {
            return Ok(Err(Flaw::at(token.place, failure.to_string())));
        }
        let pin = match pins.field(&token)? {
            Ok(pin) => pin,
            Err(flaw) => return Ok(Err(flaw)),
        };
        let line = TokenLine {
            kind: token.kind.field(),
            pin,
            key: exchange::to_hexadecimal(&token.key),
            token,
        };
        // A PIN that somebody else's file has may look like a hash.
        let text = Zeroizing::new(line.head().join(&b' '));
        Ok(match record::parse(&text, &TimeZone::UTC) {
            Ok(_) => Ok(line),
            Err(error) => Err(Flaw::at(line.token.place, error.to_string())),
        })
    }

    fn head(&self) -> [&[u8]; 4] {
        [self.kind.as_bytes(), &self.token.user, &self.pin, self.key.as_bytes()]
    }

    fn is_same_token(&self, algorithm: Algorithm, key: &Secret) -> bool {
        self.token.kind.algorithm == algorithm && self.token.key == *key
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Listed {
    No,
    /// Lines are left of an earlier user of that name.
    LeftOver,
    /// The user has another token.
    User,
    /// The very token.
    Token,
}

/// What of the new lines is there already, in the file or further up among themselves.
fn listed<'l>(locked: &Locked, lines: &'l [TokenLine]) -> Result<(Vec<Listed>, Lengths<'l>)> {
    let mut by_user: HashMap<&[u8], Vec<usize>> = HashMap::with_capacity(lines.len());
    let mut listed = vec![Listed::No; lines.len()];
    for (i, line) in lines.iter().enumerate() {
        let earlier = by_user.entry(&line.token.user).or_default();
        let is_same = |&earlier: &usize| {
            line.is_same_token(lines[earlier].token.kind.algorithm, &lines[earlier].token.key)
        };
        if earlier.iter().any(is_same) {
            listed[i] = Listed::Token;
        }
        earlier.push(i);
    }
    let mut lengths = Lengths::new();
    let path = &locked.paths.resolved;
    lines::for_each_line(&locked.users, |_, text| {
        if let Some(new) = pragma::user_of(text).and_then(|user| by_user.get(&user[..]))
            && !pragma::is_room(text)
        {
            for &i in new {
                if listed[i] == Listed::No {
                    listed[i] = Listed::LeftOver;
                }
            }
        }
        let known = line::user_of(text).and_then(|user| by_user.get_key_value(user));
        let Some((user, new)) = known else { return };
        let there = record::parse(text, &TimeZone::UTC);
        if let Ok(there) = &there {
            lengths.entry(user).or_default().insert(there.token.digits.count());
        }
        for &i in new {
            let is_same = there
                .as_ref()
                .is_ok_and(|there| lines[i].is_same_token(there.token.algorithm, &there.token.key));
            if is_same {
                listed[i] = Listed::Token;
            } else if listed[i] != Listed::Token {
                listed[i] = Listed::User;
            }
        }
    })
    .map_err(|error| Failure::new(format!("cannot read {}: {error}", path.display())))?;
    // One user twice in the document: the second is another token.
    for new in by_user.values().filter(|new| new.len() > 1) {
        for &i in &new[1..] {
            if listed[i] == Listed::No {
                listed[i] = Listed::User;
            }
        }
    }
    Ok((listed, lengths))
}

/// How long the codes of users' tokens are.
type Lengths<'a> = HashMap<&'a [u8], BTreeSet<usize>>;

/// The lines to be added, or the list of what stands in the way.
fn select<'a>(
    arguments: &Arguments,
    name: &str,
    lines: &'a [TokenLine],
    (listed, mut lengths): (&[Listed], Lengths<'a>),
) -> Result<Vec<NewLine<'a>>> {
    let mut new = Vec::with_capacity(lines.len());
    let (mut users, mut tokens, mut left_over) = (Vec::new(), Vec::new(), Vec::new());
    let mut one_more = Vec::new();
    for (line, listed) in lines.iter().zip(listed) {
        let flaw = || Flaw::at(line.token.place, Quoted(&line.token.user).to_string());
        match listed {
            Listed::No => {}
            Listed::User if arguments.another_token => {}
            _ if arguments.skip_existing => continue,
            Listed::User => {
                users.push(flaw());
                continue;
            }
            Listed::Token => {
                tokens.push(flaw());
                continue;
            }
            Listed::LeftOver => {
                left_over.push(flaw());
                continue;
            }
        }
        let lengths = lengths.entry(&line.token.user).or_default();
        let is_new = lengths.insert(line.token.kind.digits.count());
        if is_new && lengths.len() > CODE_LENGTHS_MAX {
            one_more.push(flaw());
        }
        new.push(NewLine { head: line.head(), state: line.token.state.clone() });
    }
    if !tokens.is_empty() {
        let hint = "nothing was changed (--skip-existing leaves them out)";
        return Err(document::refusal(
            name,
            arguments.form.place(),
            "tokens that are listed already",
            hint,
            &tokens,
        ));
    }
    if !left_over.is_empty() {
        let hint = "nothing was changed (remove these lines with `otpgate edit`; --skip-existing leaves the users out)";
        let what = "users whose names still have #@ lines";
        return Err(document::refusal(name, arguments.form.place(), what, hint, &left_over));
    }
    if !users.is_empty() {
        let hint = "nothing was changed (--skip-existing leaves them out, --another-token adds \
                    second ones)";
        return Err(document::refusal(
            name,
            arguments.form.place(),
            "users who have a token already",
            hint,
            &users,
        ));
    }
    if !one_more.is_empty() {
        let what = format!(
            "tokens whose users would have codes of more than {CODE_LENGTHS_MAX} lengths, each another PIN to be checked at every login"
        );
        let hint = "nothing was changed";
        return Err(document::refusal(name, arguments.form.place(), &what, hint, &one_more));
    }
    Ok(new)
}
