//! The command at work on the users file of two servers under load: no login and no change is lost.

mod common;

use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};

use common::{Httpd, Nginx, Place, Scope, Server, Setting, Token, from_environment, is_root};
use data_encoding::BASE32_NOPAD;
use otpgate::otp::{Digits, Hash, hotp};

const PIN: &str = "sesame9";
const WALKERS: usize = 4;

fn run(users: &Path, args: &[&str], editor: &str) -> Output {
    let mut command = Command::new(common::program())
        .arg("--file")
        .arg(users)
        .args(args)
        .env("EDITOR", editor)
        .env_remove("VISUAL")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the command runs");
    // Most verbs ask for nothing, and may have ended by now.
    let _ = command.stdin.take().expect("piped").write_all(format!("{PIN}\n").as_bytes());
    command.wait_with_output().expect("an end")
}

#[track_caller]
fn succeed(users: &Path, args: &[&str]) -> String {
    let output = run(users, args, "false");
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text")
}

/// Ends the walkers, also when something else goes wrong.
struct Ended<'a>(&'a AtomicBool);

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Logs in with each code once, by turns on either server, and in vain once more on the other. The
/// next counter.
fn walk(token: &Token, places: [&Place<'_>; 2], done: &AtomicBool) -> u64 {
    let mut counter = 0;
    while !done.load(Ordering::Relaxed) {
        let turn = counter as usize % 2;
        places[turn].login(token.user(), token.password(counter)).is(200, "granted-fresh");
        places[1 - turn].login(token.user(), token.password(counter)).is(401, "denied-expired");
        counter += 1;
    }
    counter
}

#[test]
fn whoever_was_enrolled_logs_in_on_both_servers_until_the_start_pin_is_changed() {
    let httpd = Server::start(Httpd::event(), vec![Scope::new("area").text("# nobody yet\n")]);
    let here = httpd.at("area");
    let users = here.users().path().to_owned();
    let nginx = Server::start(Nginx::four(), vec![Scope::new("area").users_file(&users)]);
    let places = [&here, &nginx.at("area")];
    let files = tempfile::tempdir().expect("a directory");
    let list = files.path().join("list.csv");
    std::fs::write(&list, "user\nalice\nbob\n").expect("a list");
    let out = files.path().join("out");
    let [list, dir] = [&list, &out].map(|path| path.to_str().expect("a plain path"));
    succeed(&users, &["enrol", "--from", list, "--qr-dir", dir, "--hotp", "--with-address"]);
    let letters = std::fs::read_to_string(out.join("letters.csv")).expect("letters");
    for row in letters.lines().skip(1) {
        let fields: Vec<&str> = row.split(',').collect();
        let [user, pin, _, address] = fields[..] else { panic!("another number of fields") };
        let secret = address.split(['=', '&']).nth(1).expect("a secret first");
        let key = BASE32_NOPAD.decode(secret.as_bytes()).expect("base 32");
        for server in [&httpd, &nginx] {
            server.keep_secret(secret);
            server.keep_secret(pin);
        }
        let password = |pin: &str, counter| {
            [pin.as_bytes(), hotp(Hash::Sha1, &key, counter, Digits::SIX).as_bytes()].concat()
        };
        for (counter, place) in (0..).zip(places) {
            place.login(user, password(pin, counter)).is(200, "granted-fresh");
        }
        succeed(&users, &["set-pin", user]);
        for (counter, place) in (2..).zip(places) {
            place.login(user, password(pin, counter)).is(401, "denied-pin");
            place.login(user, password(PIN, counter)).is(200, "granted-fresh");
        }
    }
}

#[test]
fn changes_by_the_command_and_logins_on_both_servers_lose_nothing_to_each_other() {
    let tokens: Vec<Token> =
        (0..WALKERS).map(|i| Token::hotp(format!("walker{i}")).pin(PIN)).collect();
    let scope = Scope::new("area").set(Setting::MaxLinger, 0).text("# edits 0\n");
    let scope =
        tokens.iter().fold(scope, |scope, token| scope.token(token)).text("HOTP rekeyed - 00\n");
    let httpd = Server::start(Httpd::event(), vec![scope.clone()]);
    let here = httpd.at("area");
    let users = here.users().path().to_owned();
    let nginx = Server::start(Nginx::four(), vec![scope.users_file(&users)]);
    let there = nginx.at("area");
    let places = [&here, &there];
    let users = users.as_path();
    let done = &AtomicBool::new(false);
    let rounds = from_environment("OTPGATE_TEST_ROUNDS", 5);

    let (mut edits, mut refused, mut presses) = (0, 0, 0);
    let counters: Vec<u64> = std::thread::scope(|threads| {
        let walkers: Vec<_> =
            tokens.iter().map(|token| threads.spawn(move || walk(token, places, done))).collect();
        let ended = Ended(done);
        for round in 0..rounds {
            let name = format!("passing{round}");
            succeed(users, &["add", &name, "--no-pin", "-q"]);
            succeed(users, &["remove", &name]);
            let address = succeed(users, &["rekey", "rekeyed", "-q"]);
            let secret = address.split(['=', '&']).nth(1).expect("a secret first");
            httpd.keep_secret(secret);
            nginx.keep_secret(secret);
            let key = BASE32_NOPAD.decode(secret.as_bytes()).expect("base 32");
            presses = 0;
            for place in places {
                let code = hotp(Hash::Sha1, &key, presses, Digits::SIX);
                place.login("rekeyed", code.as_bytes()).is(200, "granted-fresh");
                presses += 1;
            }
            let script = format!("sed -i 's/^# edits.*/# edits {}/'", edits + 1);
            let output = run(users, &["edit"], &script);
            match output.status.code() {
                Some(0) => edits += 1,
                Some(1) => refused += 1,
                status => panic!("{status:?}: {}", String::from_utf8_lossy(&output.stderr)),
            }
        }
        drop(ended);
        walkers
            .into_iter()
            .map(|walker| walker.join().expect("a walker that doesn't panic"))
            .collect()
    });
    assert_eq!(refused, 0, "nobody else edits");

    let file = here.users();
    for (token, counter) in tokens.iter().zip(&counters) {
        let user = str::from_utf8(token.user()).expect("a plain name");
        assert_eq!(file.counter(user) as u64, *counter, "{user}");
        let fresh = |server: &Server| server.decisions("granted-fresh", user) as u64;
        assert_eq!(fresh(&httpd) + fresh(&nginx), *counter, "{user}");
        assert!(*counter > 0);
    }
    assert_eq!(file.counter("rekeyed") as u64, presses);
    let text = String::from_utf8(file.bytes()).expect("text");
    assert!(text.starts_with(&format!("# edits {edits}\n")), "{}", &text[..20]);
    assert!(!text.contains("passing"));
    let metadata = std::fs::metadata(users).expect("the users file");
    assert_eq!(metadata.mode() & 0o777, 0o600, "as it was");
    assert!(!is_root() || metadata.uid() == common::root::server_ids().0, "as it was");
    println!("{rounds} rounds, {} logins, {edits} edits", counters.iter().sum::<u64>());
}
