//! How a new key gets into its owner's phone: shown once, before it is saved. What can't be shown
//! isn't saved.

use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use clap::ValueHint;
use data_encoding::HEXLOWER;
use otpgate::decide::{self, Attempt, Outcome, Proof, Verdict};
use otpgate::otp::Digits;
use otpgate::policy::{Server, Settings};
use otpgate::secret::Secret;
use otpgate::store::NewToken;
use otpgate::token::{
    Address, Algorithm, Entry, MovingFactor, Pin, State, StoredToken, Token, Used,
};
use zeroize::Zeroizing;

use crate::key_uri::KeyUri;
use crate::qr::{ImageKind, Picture, Window};
use crate::signals::{self, Held};
use crate::{Failure, Result, output, pin, prompt, secret_file};

/// How often a code may be wrong with --confirm.
const TRIES: u32 = 3;

/// What is to be shown, and how.
#[derive(clap::Args)]
pub struct Arguments {
    /// The service name that the app shows [default: the host name]
    #[arg(long, value_name = "NAME")]
    issuer: Option<String>,
    /// Also write the QR code to a new file, .svg or .png, mode 0600
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    qr: Option<PathBuf>,
    /// Ask for a code of the new key, and save the key only if it is right; the code is spent
    #[arg(long)]
    pub confirm: bool,
    /// Print only the address (Mobile-OTP: the key)
    #[arg(long, short)]
    pub quiet: bool,
}

/// A key that somebody is to put into an app.
pub struct NewKey<'a> {
    pub user: &'a [u8],
    pub key: &'a Secret,
    pub algorithm: Algorithm,
    pub digits: Digits,
    pub factor: MovingFactor,
}

impl<'k> NewKey<'k> {
    pub fn of(user: &'k [u8], token: &'k NewToken) -> NewKey<'k> {
        let NewToken { algorithm, factor, digits, key, .. } = token;
        NewKey { user, key, algorithm: *algorithm, digits: *digits, factor: *factor }
    }

    /// `None`: Mobile-OTP has no address.
    pub fn uri<'a>(&'a self, issuer: &'a str) -> Option<KeyUri<'a>> {
        let NewKey { user, key, algorithm, digits, factor } = *self;
        let Algorithm::Hotp(hash) = algorithm else { return None };
        Some(KeyUri { issuer, user, key: key.expose(), hash, digits, factor, counter: 0 })
    }
}

/// What the arguments ask for, checked.
pub struct Handover<'a> {
    arguments: &'a Arguments,
    issuer: String,
    kind: Option<ImageKind>,
    /// Whether the key is known to whoever runs this, wherever it is shown.
    is_known: bool,
}

/// A key that was shown and isn't saved yet. Its file goes with this, unless the key is saved: it
/// would only mislead.
pub struct Shown<'a> {
    file: Option<&'a Path>,
    held: Held,
}

impl<'a> Handover<'a> {
    pub fn of(arguments: &'a Arguments, is_known: bool) -> Result<Handover<'a>> {
        let issuer = issuer(arguments.issuer.as_deref())?;
        let kind = arguments.qr.as_deref().map(ImageKind::of).transpose()?;
        Ok(Handover { arguments, issuer, kind, is_known })
    }

    /// What would keep the key from being shown, before anybody thinks up a PIN.
    pub fn check(&self, new: &NewKey<'_>) -> Result<()> {
        if self.kind.is_none() && !self.is_known && output::is_closed() {
            return Err(Failure::new(
                "standard output is closed: the key couldn't be shown; nothing was changed",
            ));
        }
        let Some(uri) = new.uri(&self.issuer) else {
            return match self.kind {
                Some(_) => Err(Failure::new("a Mobile-OTP token has no QR code: leave out --qr")),
                None => Ok(()),
            };
        };
        if self.draws() && picture(&uri)?.is_none() {
            let needed = Picture::of(&uri.text())?.least();
            let window = Window::of_stdout();
            eprintln!(
                "otpgate: warning: the QR code doesn't fit into this terminal: it needs {} columns and {} lines, and there are {} and {}; {}",
                needed.columns,
                needed.lines,
                window.columns,
                window.lines,
                match &self.arguments.qr {
                    Some(path) => format!("scan {}", path.display()),
                    None => "make it larger, or get a file with --qr FILE.png".to_owned(),
                }
            );
        }
        Ok(())
    }

    fn draws(&self) -> bool {
        !self.arguments.quiet && std::io::stdout().is_terminal()
    }

    /// Writes the QR code's file, if one is asked for, and prints the address, on a terminal with
    /// its QR code. `doing` is what is being done.
    pub fn show(&self, doing: &str, new: &NewKey<'_>) -> Result<Shown<'a>> {
        let mut shown = Shown { file: None, held: signals::hold()? };
        let uri = new.uri(&self.issuer);
        if let (Some(path), Some(kind), Some(uri)) = (&self.arguments.qr, self.kind, &uri) {
            secret_file::create(path, &Picture::of(&uri.text())?.image(kind)?)?;
            shown.file = Some(path);
        }
        let is_quiet = self.arguments.quiet;
        let Some(uri) = uri else {
            if !is_quiet {
                eprintln!(
                    "{doing}. The key, to be typed into the Mobile-OTP app and shown only now:"
                );
            }
            printed(Zeroizing::new(HEXLOWER.encode(new.key.expose()) + "\n"))?;
            return Ok(shown);
        };
        if !is_quiet {
            eprintln!("{doing}. For the phone, shown only now:\n");
        }
        printed(Zeroizing::new(format!("{}\n", uri.text().as_str())))?;
        if self.draws()
            && let Some(drawn) = picture(&uri)?
        {
            printed(Zeroizing::new(format!("\n{}", drawn.as_str())))?;
        }
        shown.held.check()?;
        Ok(shown)
    }
}

/// The QR code as it fits into the terminal: if need be, of an address that names the issuer once.
fn picture(uri: &KeyUri<'_>) -> Result<Option<Zeroizing<String>>> {
    let (window, in_colour) = (Window::of_stdout(), output::may_colour());
    let whole = Picture::of(&uri.text())?.for_terminal(window, in_colour);
    match whole {
        Some(whole) => Ok(Some(whole)),
        None => Ok(Picture::of(&uri.short_text())?.for_terminal(window, in_colour)),
    }
}

fn printed(text: Zeroizing<String>) -> Result<()> {
    output::write_bytes(text.as_bytes()).map_err(|error| {
        Failure::new(format!("cannot write to standard output: {error}; nothing was changed"))
    })
}

impl Shown<'_> {
    /// Asks for codes until one is right, as logins judge it. The state after it: the code is spent.
    pub fn confirmed(&self, user: &[u8], token: Token) -> Result<State> {
        let pin = match token.algorithm {
            // Without its PIN, which only Mobile-OTP has in the code.
            Algorithm::Motp => token.pin,
            Algorithm::Hotp(_) => Pin::None,
        };
        let token = Token { disabled: false, pin, ..token };
        let lines = vec![StoredToken { token, state: State::fresh() }];
        let entry = Entry { lines, ..Entry::default() };
        let policy = Settings::default().policy(Server::Apache);
        for left in (0..TRIES).rev() {
            let code = pin::code_alone(prompt::line("A code it shows now: ")?);
            if code.is_empty() {
                return Err(Failure::new("no code was given; nothing was changed"));
            }
            let attempt =
                Attempt { user, proof: Proof::Password(&code), address: Address::Unknown };
            let now =
                SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_secs() as i64);
            if let Outcome::Decided(decision) =
                decide::login(&policy, &entry, &attempt, &|_, _| None, now)
                && decision.verdict == Verdict::Granted
                && let Some(change) = decision.changes.into_iter().next()
            {
                // Never used from anywhere: it doesn't linger.
                return Ok(State { used: Used::Never, address: Address::Unknown, ..change.state });
            }
            if left > 0 {
                eprintln!("otpgate: that isn't one of its current codes; tries left: {left}");
            }
        }
        let hint = match entry.lines[0].token.factor {
            MovingFactor::Time(_) => "are the clocks of the phone and of this machine right?",
            MovingFactor::Event | MovingFactor::Paper(_) => "has its counter moved on already?",
        };
        Err(Failure::new(format!(
            "{TRIES} codes that aren't its own; nothing was changed ({hint})"
        )))
    }

    /// Refuses to save the key once a signal came.
    pub fn check(&self) -> Result<()> {
        self.held.check()
    }

    /// The key is saved.
    pub fn keep(mut self) {
        self.file = None;
    }
}

impl Drop for Shown<'_> {
    fn drop(&mut self) {
        if let Some(path) = self.file {
            let _ = std::fs::remove_file(path);
        }
    }
}

/// Who asks for the code, by default the host.
pub fn issuer(given: Option<&str>) -> Result<String> {
    let issuer = match given {
        Some(issuer) => issuer.to_owned(),
        None => nix::unistd::gethostname()
            .map_err(|error| Failure::new(format!("cannot get the host's name: {}", error.desc())))?
            .to_string_lossy()
            .into_owned(),
    };
    if issuer.is_empty() || issuer.contains(':') {
        return Err(Failure::new(
            "the issuer can't be empty or contain a colon, which would end it",
        ));
    }
    Ok(issuer)
}
