//! A torture with a model: httpd, nginx, the command and editors work on one users file, while
//! processes are shot and stopped, files taken away, closed, removed and filled with rubbish, the
//! disk filled, clocks set wrong, and servers reloaded. Every answer that anybody got, and every
//! state of the file, must be one that the model explains (`model.rs`), and every line of the
//! servers' logs one that the situation explains.
//!
//! The seed decides what is done; in which order processes come to it, it doesn't. A fault is told
//! with all that the person concerned has seen. OTPGATE_TORTURE_SECONDS says how long, OTPGATE_TEST_SEED
//! from which seed.

#[path = "../common/mod.rs"]
mod common;
mod explained;
mod judge;
mod model;
mod people;
mod saboteur;
mod scene;

use std::collections::BTreeSet;
use std::os::unix::fs::symlink;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, RwLock};
use std::time::{Duration, Instant};

use common::random::Random;
use common::root::{self, Root};
use common::{Httpd, Nginx, Scope, Server, Setting, from_environment};
use judge::{FILLERS, Judge};
use model::{LIMIT, Moving, WINDOW};
use people::{Person, TRUSTED};
use scene::{PINS, Scene, lock};

const FAKETIME: &str = "/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1";
const SEED: usize = 20_261_201;
/// The page to log in, and what it protects.
const AROUND_PAGES: [(&str, &str); 2] = [
    (
        "AuthName \"site\"\nOTPAuthUsersFile \"{users}\"\nOTPAuthLoginPage /otp/login\n\
         OTPAuthLingerCookie Insecure\nOTPAuthMaxLinger 86400\nOTPAuthMaxOffset {window}\n\
         OTPAuthMaxOTPFailure {limit}\nOTPAuthLockoutTime 0 3600\nOTPAuthLogoutOnIPChange Off\nOTPAuthThrottle 100000 86400\nAuthType OTP\n",
        "SetHandler otp-login\nRequire all granted\n",
    ),
    (
        "auth_otp \"site\";\nauth_otp_users_file \"{users}\";\nauth_otp_login_page /otp/login;\n\
         auth_otp_linger_cookie insecure;\nauth_otp_max_linger 86400;\nauth_otp_max_offset {window};\n\
         auth_otp_max_failures {limit};\nauth_otp_lockout_time 0 3600;\nauth_otp_logout_on_ip_change off;\n\
         auth_otp_throttle 100000 86400;\nauth_otp_scheme form;\n",
        "auth_otp_login;\n",
    ),
];

/// A small disk in memory, unmounted when dropped.
struct Disk(Root);

impl Disk {
    fn new() -> Disk {
        common::require_root("it mounts a disk that can be filled");
        let disk = Disk(Root::new());
        let at = disk.directory();
        root::make_directory(&at);
        let arguments = ["-t", "tmpfs", "-o", "size=32m", "none"];
        let mounted = Command::new("/usr/bin/mount").args(arguments).arg(&at).status();
        assert!(mounted.expect("mount").success(), "no disk in memory");
        root::give_to_server(&at);
        disk
    }

    fn directory(&self) -> std::path::PathBuf {
        self.0.join("state")
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("/usr/bin/umount").arg("-l").arg(self.directory()).status();
    }
}

fn everybody() -> Vec<Person> {
    let mut people: Vec<Person> =
        ["ann", "bob", "cay"].map(|name| Person::new(name, Moving::Event)).into();
    people.extend(["pat", "pia"].map(Person::passing));
    people.extend(["tim", "tom"].map(|name| Person::new(name, Moving::Time)));
    people.push(Person::new("una", Moving::Paper(1000)));
    people.extend(CANARIES.map(|name| Person::new(name, Moving::Event)));
    people
}

/// They only find out whether a login works again: one for each saboteur, and the judge's.
const CANARIES: [&str; 3] = ["canary1", "canary2", "canary3"];

fn users_of(people: &[Person]) -> Vec<u8> {
    let mut text = b"# edits 0\n".to_vec();
    for filler in 0..FILLERS {
        if let Some(person) = people.get(filler / 400).filter(|_| filler % 400 == 7) {
            text.extend(person.token.line());
        }
        text.extend(format!("HOTP/E/8 filler{filler} - {filler:040x}\n").into_bytes());
    }
    text
}

fn scopes(at: usize, users: &std::path::Path) -> Vec<Scope> {
    let basic = |name: &str, linger: u32| {
        Scope::new(name)
            .users_file(users)
            .set(Setting::MaxLinger, linger)
            .set(Setting::MaxOffset, WINDOW)
            .set(Setting::MaxFailures, LIMIT)
            .set(Setting::LockoutTime, "0 3600")
            .set(Setting::LogoutOnIpChange, "Off")
            .set(Setting::Throttle, "100000 86400")
            .set(Setting::AppPasswords, "On")
            .set(Setting::TrustedNetworks, format!("{TRUSTED}/32"))
    };
    let (around, page) = AROUND_PAGES[at];
    let around = around
        .replace("{users}", users.to_str().expect("a plain path"))
        .replace("{window}", &WINDOW.to_string())
        .replace("{limit}", &LIMIT.to_string());
    let room = if at == 0 { "Require valid-user\n" } else { "" };
    vec![
        basic("once", 0),
        basic("linger", 86_400),
        Scope::bare("room").directives(&format!("{around}{room}")),
        Scope::bare("otp").of_urls().directives(&format!("{around}{page}")),
    ]
}

/// Started with a clock of its own, which the file `clock` of its directory sets.
fn with_clock(root: &Root, name: &str) -> Vec<String> {
    common::require(FAKETIME);
    let clock = root.write(format!("{name}.clock"), "+0\n");
    vec![
        "/usr/bin/env".to_owned(),
        format!("LD_PRELOAD={FAKETIME}"),
        format!("FAKETIME_TIMESTAMP_FILE={}", clock.display()),
        "FAKETIME_NO_CACHE=1".to_owned(),
        "FAKETIME_DONT_FAKE_MONOTONIC=1".to_owned(),
        "NO_FAKE_STAT=1".to_owned(),
    ]
}

struct OnDrop<F: FnMut()>(F);

impl<F: FnMut()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

#[test]
fn whatever_happens_to_servers_and_files_no_answer_is_one_that_the_model_does_not_explain() {
    let seed = from_environment("OTPGATE_TEST_SEED", SEED) as u64;
    let seconds = from_environment("OTPGATE_TORTURE_SECONDS", 60) as u64;
    println!("seed {seed}");
    let disk = Disk::new();
    let people = everybody();
    let users = disk.0.write("state/users", users_of(&people));
    root::set_mode(&users, 0o600);
    root::give_to_server(&users);
    let httpd = Httpd::event().under(with_clock(&disk.0, "httpd"));
    let httpd = Server::start(httpd, scopes(0, &users));
    let nginx = Nginx::four()
        .under(with_clock(&disk.0, "nginx"))
        .main("env FAKETIME_TIMESTAMP_FILE;\nenv FAKETIME_NO_CACHE;\nenv LD_PRELOAD;\nenv NO_FAKE_STAT;\nenv FAKETIME_DONT_FAKE_MONOTONIC;");
    let nginx = Server::start(nginx, scopes(1, &users));
    symlink(common::program(), httpd.root().join("otplock")).expect("another name of the command");
    for secret in
        people.iter().flat_map(|person| person.token.secrets()).chain(PINS.map(str::to_owned))
    {
        httpd.keep_secret(&secret);
        nginx.keep_secret(&secret);
    }
    let scene = Scene {
        servers: [&httpd, &nginx],
        users,
        clocks: ["httpd", "nginx"].map(|name| disk.0.join(format!("{name}.clock"))),
        people,
        calm: RwLock::default(),
        over: false.into(),
        spans: Mutex::default(),
        counts: Mutex::default(),
        begun: Instant::now(),
        comments: Mutex::new(BTreeSet::from([0])),
        last_comment: 0.into(),
    };
    let scene = &scene;
    let mut random = Random::new(seed);
    let canary = |name: &str| scene.people.iter().find(|it| it.name == name).expect("one of them");
    let decks = [(); 2].map(|()| AtomicUsize::new(0));
    let mut judge = Judge::new(scene, random.draw());
    // The file gets its columns and its lines for sessions.
    judge.looks(canary(CANARIES[2]), true);
    std::thread::scope(|threads| {
        let ends = || OnDrop(|| scene.over.store(true, Ordering::Relaxed));
        for person in scene.people.iter().filter(|it| !CANARIES.contains(&it.name.as_str())) {
            let mut random = Random::new(random.draw());
            threads.spawn(move || {
                let _end = ends();
                while !scene.is_over() {
                    let _busy = scene.calm.read();
                    person.turn(scene, &mut random);
                }
            });
        }
        let mut editor = Random::new(random.draw());
        threads.spawn(move || {
            let _end = ends();
            while !scene.is_over() {
                let busy = scene.calm.read();
                scene.edit(&mut editor);
                drop(busy);
                std::thread::sleep(Duration::from_millis(editor.below(400) as u64));
            }
        });
        let acts = [&saboteur::ON_PROCESSES[..], &saboteur::ON_FILES[..]];
        for (i, acts) in acts.into_iter().enumerate() {
            let (seed, canary, decks) = (random.draw(), canary(CANARIES[i]), &decks);
            threads.spawn(move || {
                let _end = ends();
                let done = || {
                    decks[i].fetch_add(1, Ordering::Relaxed);
                };
                saboteur::works(scene, canary, acts, &done, seed);
            });
        }
        let _end = ends();
        // Everything at least once, however slow the machine is.
        let is_enough = || {
            scene.begun.elapsed() > Duration::from_secs(seconds)
                && decks.iter().all(|deck| deck.load(Ordering::Relaxed) > 0)
        };
        while !scene.is_over() && !is_enough() {
            std::thread::sleep(Duration::from_secs(2));
            judge.looks(canary(CANARIES[2]), false);
        }
    });
    judge.looks(canary(CANARIES[2]), true);
    let mut counts = lock(&scene.counts).clone();
    counts.insert("looks of the judge".to_owned(), judge.looks);
    counts.insert("faults".to_owned(), judge.faults);
    for (what, count) in &counts {
        println!("{count:>9} {what}");
    }
    for what in
        ["granted-fresh", "granted-reuse", "granted-app", "granted-trusted", "granted-session"]
    {
        assert!(counts.contains_key(what), "no {what}: nothing was tried out");
    }
    assert_eq!(judge.faults, 0, "see above; seed {seed}");
    // A server that is told to stop at once shoots children that take their time.
    httpd.finish_gracefully();
    nginx.finish_gracefully();
}
