//! What happens to servers and files meanwhile.

use std::fs;
use std::io::Write;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::PathBuf;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use super::common::random::Random;
use super::common::root;
use super::people::Person;
use super::scene::{Kind, NAMES, Scene};

type Act = fn(&Scene<'_>, &Person, &mut Random);

/// What is done to processes.
pub const ON_PROCESSES: [Act; 4] = [shoot, stop, reload, replace_module];
/// What is done to files and clocks.
pub const ON_FILES: [Act; 7] =
    [take_away, close_file, close_directory, fill_disk, spoil_index, remove_lock, set_clock];

/// Does all of it in any order, again and again, until it is over.
pub fn works(scene: &Scene<'_>, canary: &Person, acts: &[Act], done: &dyn Fn(), seed: u64) {
    let mut random = Random::new(seed);
    let mut deck: Vec<Act> = Vec::new();
    while !scene.is_over() {
        if deck.is_empty() {
            deck.extend(acts);
        }
        let act = deck.swap_remove(random.below(deck.len()));
        let busy = scene.calm.read();
        act(scene, canary, &mut random);
        drop(busy);
        if deck.is_empty() {
            done();
        }
        // Time for a life without trouble.
        std::thread::sleep(Duration::from_millis(random.below(800) as u64));
    }
}

/// One of a server's processes, or all of them.
fn shoot(scene: &Scene<'_>, canary: &Person, random: &mut Random) {
    let server = scene.servers[random.below(2)];
    let span = scene.begins(Kind::Shooting);
    for _ in 0..1 + random.below(3) {
        let children = server.children();
        if children.is_empty() {
            break;
        }
        let some = if random.once_in(4) { children.len() } else { 1 };
        let first = random.below(children.len());
        for child in children.iter().cycle().skip(first).take(some) {
            signal(*child, Signal::KILL);
            scene.count("processes shot");
        }
        pause(random, 30);
    }
    canary.logs_in_everywhere(scene);
    scene.ends(span);
}

/// One of them stands still, maybe with the lock.
fn stop(scene: &Scene<'_>, canary: &Person, random: &mut Random) {
    let children = scene.servers[random.below(2)].children();
    if children.is_empty() {
        return;
    }
    let child = children[random.below(children.len())];
    let span = scene.begins(Kind::Holding);
    signal(child, Signal::STOP);
    // Now and then for longer than anybody waits for the lock.
    let is_long = random.once_in(6);
    pause(random, if is_long { 7_000 } else { 700 });
    signal(child, Signal::CONT);
    canary.logs_in_everywhere(scene);
    scene.ends(span);
}

fn reload(scene: &Scene<'_>, _: &Person, random: &mut Random) {
    let span = scene.begins(Kind::Reload);
    scene.servers[random.below(2)].reload();
    scene.ends(span);
}

/// Another file of the module, as an upgrade brings it.
fn replace_module(scene: &Scene<'_>, _: &Person, random: &mut Random) {
    let span = scene.begins(Kind::Reload);
    scene.count("upgrade");
    let at = random.below(2);
    let module = ["mod_authn_otp.so", "ngx_http_auth_otp_module.so"][at];
    let server = scene.servers[at];
    let content = fs::read(server.root().join(module)).expect("the module");
    let new = server.root().write(format!("{module}.new"), content);
    fs::rename(new, server.root().join(module)).expect("a new module");
    server.reload();
    scene.ends(span);
}

/// Nobody can read the file from when `close` is done until `open` begins.
fn closed(
    scene: &Scene<'_>,
    canary: &Person,
    random: &mut Random,
    close: impl FnOnce(),
    open: impl FnOnce(),
) {
    let span = scene.begins(Kind::Closed);
    close();
    let from = scene.now();
    pause(random, 500);
    let to = scene.now();
    open();
    scene.was_unreadable(span, from, to);
    canary.logs_in_everywhere(scene);
    scene.ends(span);
}

/// Under the lock: whoever rewrites the file puts another one in its place.
fn take_away(scene: &Scene<'_>, canary: &Person, random: &mut Random) {
    let away = scene.users.with_file_name("users.away");
    scene.count("file taken away");
    let close = || {
        // It misses the file afterwards, and says so.
        let _ = scene.under_lock(r#"mv "$0" "${0%/*}/users.away""#);
        assert!(away.exists() && !scene.users.exists(), "the file isn't away");
    };
    let open = || fs::rename(&away, &scene.users).expect("it comes back");
    closed(scene, canary, random, close, open);
}

fn close_file(scene: &Scene<'_>, canary: &Person, random: &mut Random) {
    scene.count("file closed");
    let close = || {
        let _ = scene.under_lock(r#"chmod 0 "$0""#);
        let mode = fs::metadata(&scene.users).expect("it is there").permissions().mode();
        assert_eq!(mode & 0o7777, 0, "the file isn't closed");
    };
    let open = || root::set_mode(&scene.users, 0o600);
    closed(scene, canary, random, close, open);
}

fn close_directory(scene: &Scene<'_>, canary: &Person, random: &mut Random) {
    let directory = scene.users.parent().expect("a directory");
    scene.count("directory closed");
    let close = || root::set_mode(directory, 0);
    let open = || root::set_mode(directory, 0o755);
    closed(scene, canary, random, close, open);
}

fn fill_disk(scene: &Scene<'_>, canary: &Person, random: &mut Random) {
    let path = scene.users.with_file_name("filler");
    let span = scene.begins(Kind::Full);
    let mut filler = fs::File::create(&path).expect("a file");
    for size in [1 << 16, 1 << 12, 1] {
        while filler.write_all(&vec![b'x'; size]).is_ok() {}
    }
    pause(random, 600);
    fs::remove_file(&path).expect("our own file");
    canary.logs_in_everywhere(scene);
    scene.ends(span);
}

/// It is only a help: nobody has to notice.
fn spoil_index(scene: &Scene<'_>, _: &Person, random: &mut Random) {
    scene.count("index spoilt");
    spoil(&scene.users.with_file_name("users.index"), random);
}

/// Removes or empties it, or writes rubbish somewhere.
pub fn spoil(path: &PathBuf, random: &mut Random) {
    let file = fs::File::options().write(true).open(path);
    match (random.below(4), file) {
        (_, Err(_)) => {}
        (0, Ok(_)) => {
            // Somebody else may have been faster.
            let _ = fs::remove_file(path);
        }
        (1, Ok(file)) => file.set_len(0).expect("an empty file"),
        (_, Ok(file)) => {
            let size = file.metadata().expect("its size").len() as usize;
            let rubbish: Vec<u8> =
                (0..1 + random.below(4096)).map(|_| random.draw() as u8).collect();
            let offset = if random.once_in(2) { 0 } else { random.below(size) };
            let rubbish = &rubbish[..rubbish.len().min(size.saturating_sub(offset))];
            file.write_all_at(rubbish, offset as u64).expect("rubbish");
        }
    }
}

fn remove_lock(scene: &Scene<'_>, canary: &Person, _: &mut Random) {
    let span = scene.begins(Kind::Companion);
    scene.count("lock removed");
    // A rewrite may be about to make another one.
    let _ = fs::remove_file(scene.users.with_file_name("users.lock"));
    canary.logs_in_everywhere(scene);
    scene.ends(span);
}

fn set_clock(scene: &Scene<'_>, canary: &Person, random: &mut Random) {
    let at = random.below(2);
    scene.count(&format!("clock of {}", NAMES[at]));
    let offset = ["+7200", "-7200", "+90", "-90", "+20", "-20", "-5", "+5"][random.below(8)];
    let set = |offset: &str| {
        let clock = &scene.clocks[at];
        let new = clock.with_extension("new");
        fs::write(&new, format!("{offset}\n")).expect("a file");
        root::set_mode(&new, 0o644);
        fs::rename(new, clock).expect("the clock is set");
    };
    let span = scene.begins(Kind::Clock);
    set(offset);
    pause(random, 1_500);
    set("+0");
    canary.logs_in_everywhere(scene);
    scene.ends(span);
}

fn pause(random: &mut Random, at_most: u64) {
    std::thread::sleep(Duration::from_micros(random.below(1_000 * at_most as usize) as u64));
}

fn signal(process: u32, signal: Signal) {
    let process = Pid::from_raw(process as i32).expect("a process");
    // It may have ended by itself.
    let _ = kill_process(process, signal);
}
