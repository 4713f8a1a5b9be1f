//! The command against logins on the same file: whatever runs at once, no update is lost.
//!
//! Gates of their own stand for servers, and the command runs as itself. `OTPGATE_TEST_ROUNDS`
//! makes it longer.

mod common;

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, RwLock};

use common::{PROGRAM, Ran, Site, own_name};
use data_encoding::{BASE32_NOPAD, HEXLOWER};
use otpgate::UnixTime;
use otpgate::decide::{LoginResult, PinAnswer};
use otpgate::gate::{Gate, Login, PinSource, Store};
use otpgate::log::{Level, Log};
use otpgate::otp::{Digits, Hash, hotp};
use otpgate::policy::{Policy, Server, Settings};
use otpgate::token::{Address, Pin};
use otpgate::users::file::UsersFile;

const KEY: &[u8] = b"12345678901234567890";
const PINS: [&str; 2] = ["1111", "2222"];

fn rounds() -> u64 {
    std::env::var("OTPGATE_TEST_ROUNDS").map_or(10, |rounds| rounds.parse().expect("a number"))
}

fn code(key: &[u8], counter: u64) -> String {
    let code = hotp(Hash::Sha1, key, counter, Digits::SIX);
    String::from_utf8(code.as_bytes().to_vec()).unwrap()
}

fn now() -> UnixTime {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    since.as_secs() as UnixTime
}

struct Silence;

impl Log for Silence {
    fn log(&self, _: Level, _: std::fmt::Arguments<'_>) {}
}

impl PinSource for Silence {
    fn identity(&self) -> Vec<u8> {
        Vec::new()
    }
    fn check(&self, _: &[u8], _: &[u8]) -> PinAnswer {
        unreachable!("there is no source")
    }
}

/// A server with its own view of the file.
struct OneServer(Gate<UsersFile>);

impl OneServer {
    fn on(users: &Path) -> OneServer {
        OneServer(Gate::new(UsersFile::new(users), now).unwrap())
    }

    fn login(&self, user: &str, password: &str) -> LoginResult {
        let policy = Policy { max_linger: Some(0), ..Settings::default().policy(Server::Apache) };
        let login = Login {
            user: user.as_bytes(),
            password: password.as_bytes(),
            address: Address::of_client(Some("192.0.2.7".parse().unwrap())),
        };
        self.0.basic(&policy, &login, &Silence, None, &Silence).word
    }
}

/// Logs a user in, code by code, until told to stop; each code once, and once more in vain. Returns
/// the next counter.
fn walk(users: &Path, user: &str, done: &AtomicBool, logins: &AtomicU64) -> u64 {
    let (server, other) = (OneServer::on(users), OneServer::on(users));
    let mut counter = 0;
    while !done.load(Ordering::Relaxed) {
        if counter % 7 == 3 {
            // The PIN may have been right or not, the user switched off or not.
            let word = server.login(user, &format!("{}{}", PINS[0], code(KEY, counter + 5000)));
            assert!(
                matches!(
                    word,
                    LoginResult::DeniedCode | LoginResult::DeniedPin | LoginResult::DeniedLocked
                ),
                "{user}: {word:?} for a wrong code"
            );
        }
        let granted = PINS.iter().any(|pin| {
            match server.login(user, &format!("{pin}{}", code(KEY, counter))) {
                LoginResult::GrantedFresh => true,
                // The admin is at it: another PIN, switched off.
                LoginResult::DeniedPin | LoginResult::DeniedLocked => false,
                word => panic!("{user}: {word:?} for the fresh code of counter {counter}"),
            }
        });
        if granted {
            logins.fetch_add(1, Ordering::Relaxed);
            for pin in PINS {
                let word = other.login(user, &format!("{pin}{}", code(KEY, counter)));
                assert!(
                    matches!(
                        word,
                        LoginResult::DeniedExpired
                            | LoginResult::DeniedPin
                            | LoginResult::DeniedLocked
                    ),
                    "{user}: {word:?} for the spent code of counter {counter}"
                );
            }
            counter += 1;
        }
    }
    counter
}

/// `Err`: somebody else has changed the file meanwhile.
fn edit(site: &Site, script: &str) -> Result<(), ()> {
    let output = Command::new(PROGRAM)
        .arg("edit")
        .env("OTPGATE_USERS_FILE", site.users())
        .env("EDITOR", script)
        .env_remove("VISUAL")
        .env("TMPDIR", site.directory.path())
        .output()
        .unwrap();
    let err = String::from_utf8(output.stderr).unwrap();
    match output.status.code() {
        Some(0) => Ok(()),
        Some(1) if err.contains("somebody else has changed the file meanwhile") => Err(()),
        status => panic!("{status:?}: {err}"),
    }
}

#[test]
fn logins_and_every_change_at_once_lose_no_update() {
    let site = Site::ready();
    let line = |user: &str| format!("HOTP {user} {} {}\n", PINS[0], HEXLOWER.encode(KEY));
    // Without slots: those come while all the others are at it, too.
    let lines = ["repinned", "switched", "edited"].map(line).concat();
    fs::write(site.users(), format!("# edits 0\n{lines}HOTP rekeyed - 00\n# end\n")).unwrap();

    let users = site.users();
    let (site, users) = (&site, users.as_path());
    let (done, logins) = (&AtomicBool::new(false), &AtomicU64::new(0));
    // Held alone by every second edit: then it must succeed, whatever logins do.
    let admins = &RwLock::new(());
    let run = move |args: &[&str], input: &str| -> Ran {
        let _guard = admins.read().unwrap();
        let ran = site.run(args, input);
        ran.is(0);
        ran
    };
    let edits = &Mutex::new((0, 0));

    let ended = std::thread::scope(|threads| {
        let walkers = ["repinned", "switched", "edited"]
            .map(|user| (user, threads.spawn(move || walk(users, user, done, logins))));
        let admins_at_work = [
            threads.spawn(move || {
                for round in 0..rounds() {
                    let name = format!("temporary{round}");
                    run(&["add", &name, "--no-pin", "-q"], "");
                    if round % 2 == 0 {
                        run(&["remove", &name], "");
                    }
                }
            }),
            threads.spawn(move || {
                for round in 0..rounds() {
                    let pin = PINS[(round as usize + 1) % 2];
                    run(&["set-pin", "repinned", "--plain-pin"], &format!("{pin}\n"));
                }
            }),
            threads.spawn(move || {
                for _ in 0..rounds() {
                    run(&["disable", "switched"], "");
                    run(&["enable", "switched"], "");
                    run(&["unlock", "switched"], "");
                }
            }),
            threads.spawn(move || {
                let server = OneServer::on(users);
                for _ in 0..rounds() {
                    let address = run(&["rekey", "rekeyed", "-q"], "").out;
                    let key = BASE32_NOPAD.decode(address.split(['=', '&']).nth(1).unwrap().as_bytes()).unwrap();
                    for counter in 0..3 {
                        assert_eq!(server.login("rekeyed", &code(&key, counter)), LoginResult::GrantedFresh);
                        assert_eq!(server.login("rekeyed", &code(&key, counter)), LoginResult::DeniedExpired);
                    }
                }
            }),
            threads.spawn(move || {
                for round in 0..rounds() {
                    let number = edits.lock().unwrap().0;
                    // Its own user's PIN, too: the line that changes is one that is being used.
                    let pin = PINS[(number as usize + 1) % 2];
                    let script = format!(
                        "sleep 0.01; sed -i -e 's/^# edits.*/# edits {}/' -e 's/edited [12]* /edited {pin} /'",
                        number + 1
                    );
                    let alone = (round % 2 == 0).then(|| admins.write().unwrap());
                    let mut edits = edits.lock().unwrap();
                    match edit(site, &script) {
                        Ok(()) => edits.0 += 1,
                        Err(()) if alone.is_none() => edits.1 += 1,
                        Err(()) => panic!("nobody else was there"),
                    }
                }
            }),
        ];
        for admin in admins_at_work {
            // Whoever fails is told after all have ended.
            if let Err(panic) = admin.join() {
                done.store(true, Ordering::Relaxed);
                std::panic::resume_unwind(panic);
            }
        }
        done.store(true, Ordering::Relaxed);
        walkers.map(|(user, walker)| (user, walker.join().unwrap()))
    });

    let store = UsersFile::new(users);
    for (user, counter) in ended {
        let found = store.find(user.as_bytes()).unwrap();
        assert_eq!(found.entry.lines.len(), 1, "{user}");
        assert_eq!(found.entry.lines[0].state.counter.as_written() as u64, counter, "{user}");
        assert!(!found.entry.lines[0].token.disabled);
    }
    let pin_of = |user: &str| match &store.find(user.as_bytes()).unwrap().entry.lines[0].token.pin {
        Pin::Literal(pin) => String::from_utf8(pin.expose().to_vec()).unwrap(),
        _ => panic!("another kind of PIN"),
    };
    let (installed, refused) = *edits.lock().unwrap();
    assert_eq!(pin_of("repinned"), PINS[rounds() as usize % 2]);
    assert_eq!(pin_of("edited"), PINS[installed as usize % 2]);
    let content = site.content();
    assert!(content.contains(&format!("# edits {installed}\n")) && content.contains("# end\n"));
    let mut left: Vec<String> = content
        .lines()
        .filter_map(|line| line.split(' ').nth(1))
        .filter(|name| name.starts_with("temporary"))
        .map(str::to_owned)
        .collect();
    let mut expected: Vec<String> = (0..rounds())
        .filter(|round| round % 2 == 1)
        .map(|round| format!("temporary{round}"))
        .collect();
    left.sort();
    expected.sort();
    assert_eq!(left, expected);
    site.run(&["check", "--as", &own_name()], "").is(0);
    println!(
        "{} logins, {} adds, {installed} edits installed and {refused} refused",
        logins.load(Ordering::Relaxed),
        rounds()
    );
    assert!(installed > 0 && logins.load(Ordering::Relaxed) > 0);
}
