//! The files beside the users file under either server: what strangers put there, and what stands
//! there since an earlier version.

mod common;

use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;

use common::root::{self, Root};
use common::{Httpd, Nginx, Place, Scope, Server, Setting, Start, Token, UsersFile};
use otpgate::files::system::as_user;
use otpgate::users::journal::{Journal, SlotWrite};
use otpgate::users::lock::Locked;
use otpgate::users::{record, slot};
use rustix::fs::{Gid, Uid};

const PIN: &str = "sesame9";
const STRANGER: u32 = 65534;

common::on_both_servers! {
    what_a_stranger_has_made_lets_nobody_in_and_is_not_touched
    a_companion_that_is_another_files_name_lets_nobody_in_and_is_not_touched
    a_journal_that_others_could_write_brings_no_code_back
    an_index_of_a_stranger_hides_nobody
    companions_follow_the_users_file_when_it_is_narrowed_and_widened
    a_users_file_that_was_closed_for_a_while_leaves_companions_that_can_be_used
    a_directorys_default_list_gives_nobody_a_companion
    the_users_files_list_is_the_companions_too
    a_process_that_was_killed_while_it_made_a_companion_locks_nobody_out
}

fn alice() -> Token {
    Token::hotp("alice").pin(PIN)
}

fn beside(users: &Path, ending: &str) -> PathBuf {
    let mut name = users.as_os_str().to_owned();
    name.push(ending);
    name.into()
}

fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path).unwrap_or_else(|error| panic!("{}: {error}", path.display())).mode()
        & 0o7777
}

fn acl(arguments: &[&str], path: &Path) -> String {
    let (program, arguments) = arguments.split_first().expect("a program");
    let output = Command::new(program).args(arguments).arg(path).output().expect("it runs");
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).expect("plain text")
}

/// Nobody gets in, and the log names the file and what to do.
#[track_caller]
fn refused(place: &Place<'_>, token: &Token, counter: u64, path: &Path) {
    let path = path.to_string_lossy();
    place.expect_log(&path);
    place.users().stays_the_same(|| {
        place.login("alice", token.password(counter)).is(500, "error");
    });
    let log = place.server().error_log();
    let line =
        log.lines().find(|line| line.contains(&*path)).unwrap_or_else(|| panic!("{path}:\n{log}"));
    assert!(line.contains("; ") && line.contains("otpgate init"), "no remedy: {line}");
}

/// A directory that everybody may write, as `/tmp`.
fn open_to_all(place: &Place<'_>) {
    root::set_mode(place.users().path().parent().expect("its directory"), 0o1777);
}

fn plant(path: &Path, bytes: &[u8], owner: (u32, u32), mode: u32) {
    fs::write(path, bytes).expect("a new file");
    root::set_owner(path, Some(owner.0), Some(owner.1));
    root::set_mode(path, mode);
}

fn what_a_stranger_has_made_lets_nobody_in_and_is_not_touched(start: Start) {
    common::require_root("it gives files to others");
    let alice = alice();
    let group = root::server_ids().1;
    let cells: Vec<(String, &str, (u32, u32), u32)> = [".lock", ".journal"]
        .into_iter()
        .flat_map(|ending| {
            [((STRANGER, STRANGER), 0o666), ((STRANGER, group), 0o660), ((STRANGER, group), 0o666)]
                .map(|(owner, mode)| {
                    (format!("{}-{}-{mode:o}", &ending[1..], owner.1), ending, owner, mode)
                })
        })
        .collect();
    let server =
        start(cells.iter().map(|cell| Scope::new(cell.0.as_str()).token(&alice)).collect());
    for (name, ending, owner, mode_then) in cells {
        let place = server.at(&name);
        open_to_all(&place);
        let path = beside(place.users().path(), ending);
        plant(&path, b"", owner, mode_then);
        refused(&place, &alice, 0, &path);
        let after = fs::metadata(&path).expect("still there");
        assert_eq!(
            (after.uid(), after.gid(), after.mode() & 0o7777, after.len()),
            (owner.0, owner.1, mode_then, 0)
        );
        fs::remove_file(&path).expect("planted");
        place.login("alice", alice.password(0)).is(200, "granted-fresh");
    }
}

fn a_companion_that_is_another_files_name_lets_nobody_in_and_is_not_touched(start: Start) {
    let alice = alice();
    let endings = [".lock", ".journal"];
    let server = start(endings.map(|ending| Scope::new(&ending[1..]).token(&alice)).to_vec());
    for ending in endings {
        let place = server.at(&ending[1..]);
        let target = beside(place.users().path(), ".of-somebody-else");
        plant(&target, b"", root::server_ids(), 0o600);
        let path = beside(place.users().path(), ending);
        fs::hard_link(&target, &path).expect("a second name");
        refused(&place, &alice, 0, &path);
        let after = fs::metadata(&target).expect("still there");
        assert_eq!((after.len(), after.nlink(), after.mode() & 0o7777), (0, 2, 0o600));
        fs::remove_file(&path).expect("planted");
        place.login("alice", alice.password(0)).is(200, "granted-fresh");
    }
}

/// A journal of which a recovery makes that the user's state is as it was before any login.
fn journal_that_sets_back(users: &UsersFile) -> Vec<u8> {
    let copy = Root::new();
    let path = copy.write("users", users.bytes());
    let locked = Locked::acquire(&path).expect("nobody else");
    let mut journal = Journal::open(&locked, &mut None).expect("a new one");
    let text = users.bytes();
    let line = text.split(|&b| b == b'\n').next().expect("alice's line").to_vec();
    let parsed = record::parse(&line, &jiff::tz::TimeZone::UTC).expect("a line");
    let at = parsed.layout.slot.expect("a slot");
    let head = parsed.layout.head.clone().map(|word| &line[word]);
    let fresh = otpgate::token::State {
        counter: Default::default(),
        replay_floor: None,
        ..parsed.state.clone()
    };
    journal
        .write_slots(vec![SlotWrite {
            line: 0,
            slot: at as u64,
            fingerprint: record::fingerprint_of_line(&line).expect("four fields"),
            before: line[at..at + slot::LEN].try_into().expect("a slot"),
            after: slot::write(head, &fresh, &jiff::tz::TimeZone::UTC),
        }])
        .expect("written");
    drop(locked);
    fs::read(beside(&path, ".journal")).expect("the journal")
}

fn a_journal_that_others_could_write_brings_no_code_back(start: Start) {
    common::require_root("it gives files to others");
    let alice = alice();
    let (uid, gid) = root::server_ids();
    // Everybody's, or a group's that isn't the users file's.
    let cells = [
        ("everybodys", (uid, gid), 0o666),
        ("a-groups", (uid, STRANGER), 0o660),
        ("roots", (0, STRANGER), 0o666),
    ];
    let scopes = cells.map(|cell| Scope::new(cell.0).token(&alice).set(Setting::MaxLinger, 0));
    let server = start(scopes.to_vec());
    for (name, owner, mode_then) in cells {
        let place = server.at(name);
        for counter in 0..3 {
            place.login("alice", alice.password(counter)).is(200, "granted-fresh");
        }
        let path = beside(place.users().path(), ".journal");
        let planted = journal_that_sets_back(place.users());
        let kept_open = fs::metadata(&path).expect("the journal").ino();
        plant(&path, &planted, owner, mode_then);
        place.expect_log("was more open than the users file: recreated");
        for counter in 0..3 {
            place.login("alice", alice.password(counter)).is(401, "denied-expired");
        }
        place.login("alice", alice.password(3)).is(200, "granted-fresh");
        assert_eq!(place.users().counter("alice"), 4);
        let made = fs::metadata(&path).expect("the journal");
        assert_eq!((made.uid(), made.gid(), made.mode() & 0o7777), (uid, gid, 0o600), "{name}");
        assert_ne!(made.ino(), kept_open, "whoever has the old one open has nothing");
        let log = server.error_log();
        let shown = path.to_string_lossy();
        let lines = log.lines().filter(|line| line.contains(&*shown));
        assert_eq!(lines.count(), 1, "told once: {log}");
    }
}

/// More users than a process keeps an index of in its own memory.
fn many_users() -> String {
    let line = |number| format!("HOTP/T30/6 other{number:05} - {:0<200}\n", "c0ffee");
    (0..6_000).map(line).collect()
}

fn an_index_of_a_stranger_hides_nobody(start: Start) {
    common::require_root("it gives files to others");
    let alice = alice();
    let names = ["strangers", "everybodys"];
    let scope = |name| Scope::new(name).text(many_users()).token(&alice).set(Setting::MaxLinger, 0);
    let server = start(names.map(scope).to_vec());
    for name in names {
        let place = server.at(name);
        place.login("alice", alice.password(0)).is(200, "granted-fresh");
        place.login("alice", alice.password(1)).is(200, "granted-fresh");
        let index = beside(place.users().path(), ".index");
        let built = fs::read(&index).expect("the index");
        if name == "strangers" {
            open_to_all(&place);
            fs::remove_file(&index).expect("the index");
            plant(&index, &built, (STRANGER, root::server_ids().1), 0o660);
        } else {
            root::set_mode(&index, 0o666);
            place.expect_log("recreated");
        }
        let before = fs::metadata(&index).expect("planted").ino();
        // Everything is read anew.
        place.users().append("# an edit\n");
        place.login("alice", alice.password(2)).is(200, "granted-fresh");
        place.login("nobody", "123456").is(401, "unknown");
        if name == "strangers" {
            assert!(fs::read(&index).expect("planted") == built, "it was used");
        } else {
            let now = fs::metadata(&index).expect("made anew");
            assert_ne!(now.ino(), before);
            assert_eq!(now.mode() & 0o7777, 0o600);
        }
    }
}

fn companions_follow_the_users_file_when_it_is_narrowed_and_widened(start: Start) {
    let alice = alice();
    let server = start(vec![Scope::new("area").token(&alice).set(Setting::MaxLinger, 0)]);
    server.tolerate_log("was more open than the users file");
    let place = server.at("area");
    let mut counter = 0;
    for wanted in [0o600, 0o660, 0o640, 0o660, 0o600, 0o644, 0o640] {
        root::set_mode(place.users().path(), wanted);
        for _ in 0..2 {
            place.login("alice", alice.password(counter)).is(200, "granted-fresh");
            place.login("alice", alice.password(counter)).is(401, "denied-expired");
            counter += 1;
        }
        for ending in [".lock", ".journal"] {
            assert_eq!(mode(&beside(place.users().path(), ending)), wanted, "{ending}");
        }
    }
}

fn a_users_file_that_was_closed_for_a_while_leaves_companions_that_can_be_used(start: Start) {
    let alice = alice();
    let server = start(vec![Scope::new("area").token(&alice).set(Setting::Throttle, "5 600")]);
    let place = server.at("area");
    place.expect_log("Permission denied");
    root::set_mode(place.users().path(), 0o400);
    place.login("alice", alice.password(0)).is(500, "error");
    root::set_mode(place.users().path(), 0o600);
    place.login("alice", alice.password(0)).is(200, "granted-fresh");
    for ending in [".lock", ".journal", ".throttle"] {
        assert_eq!(mode(&beside(place.users().path(), ending)), 0o600, "{ending}");
    }
}

fn a_directorys_default_list_gives_nobody_a_companion(start: Start) {
    let alice = alice();
    let server = start(vec![Scope::new("area").token(&alice)]);
    let place = server.at("area");
    let directory = place.users().path().parent().expect("its directory");
    acl(&["/usr/bin/setfacl", "-d", "-m", "u:nobody:rwx,g:nogroup:rwx,o::rwx"], directory);
    root::set_mode(place.users().path(), 0o660);
    place.login("alice", alice.password(0)).is(200, "granted-fresh");
    for ending in [".lock", ".journal"] {
        let path = beside(place.users().path(), ending);
        let list = acl(&["/usr/bin/getfacl", "--omit-header", "--absolute-names"], &path);
        assert_eq!(list.trim(), "user::rw-\ngroup::rw-\nother::---", "{ending}");
    }
}

fn the_users_files_list_is_the_companions_too(start: Start) {
    let alice = alice();
    let server = start(vec![Scope::new("area").token(&alice).set(Setting::MaxLinger, 0)]);
    server.tolerate_log("was more open than the users file");
    let place = server.at("area");
    let list = |path: &Path| {
        acl(&["/usr/bin/getfacl", "--omit-header", "--numeric", "--absolute-names"], path)
    };
    for (counter, entries) in ["u:nobody:rw", "u:nobody:---,g:nogroup:r"].into_iter().enumerate() {
        acl(&["/usr/bin/setfacl", "-m", entries], place.users().path());
        place.login("alice", alice.password(counter as u64)).is(200, "granted-fresh");
        for ending in [".lock", ".journal"] {
            assert_eq!(
                list(&beside(place.users().path(), ending)),
                list(place.users().path()),
                "{ending}"
            );
        }
    }
}

fn a_process_that_was_killed_while_it_made_a_companion_locks_nobody_out(start: Start) {
    let alice = alice();
    let server = start(vec![Scope::new("area").token(&alice)]);
    let place = server.at("area");
    for ending in [".lock", ".journal"] {
        let path = beside(place.users().path(), ending);
        plant(&path, b"", root::server_ids(), 0o600);
        fs::hard_link(&path, beside(&path, ".0123456789abcdef")).expect("its first name");
    }
    place.login("alice", alice.password(0)).is(200, "granted-fresh");
    assert!(!beside(place.users().path(), ".lock.0123456789abcdef").exists());
}

/// The two servers' users, which have a group of their own in common.
const HTTPDS: u32 = 33;
const NGINXS: u32 = 1;
const ADMINS: u32 = 4;
const SHARED: u32 = 60;

#[derive(Clone, Copy, Debug, PartialEq)]
enum Afterwards {
    Nothing,
    /// To its owner alone, then back.
    NarrowedAndBack,
    /// By one step: to be read by the group, or written.
    Widened,
    /// mod_authn_otp's: a new file of the server's own, mode 0600; then an admin makes it what it
    /// was.
    RewrittenAndBack,
}

#[derive(Clone, Copy, Debug)]
struct Cell {
    owner: u32,
    group: u32,
    mode: u32,
    has_default_list: bool,
    runs_init: bool,
    made_by_root: bool,
    afterwards: Afterwards,
}

impl Cell {
    fn all() -> Vec<Cell> {
        let mut cells = Vec::new();
        for (owner, group) in
            [(0, SHARED), (HTTPDS, SHARED), (HTTPDS, HTTPDS), (HTTPDS, ADMINS), (ADMINS, SHARED)]
        {
            for mode in [0o600, 0o640, 0o660] {
                for bits in 0..8 {
                    for afterwards in [
                        Afterwards::Nothing,
                        Afterwards::NarrowedAndBack,
                        Afterwards::Widened,
                        Afterwards::RewrittenAndBack,
                    ] {
                        let cell = Cell {
                            owner,
                            group,
                            mode,
                            has_default_list: bits & 1 != 0,
                            runs_init: bits & 2 != 0,
                            made_by_root: bits & 4 != 0,
                            afterwards,
                        };
                        if cell.can_write(HTTPDS, mode) {
                            cells.push(cell);
                        }
                    }
                }
            }
        }
        cells
    }

    fn can_write(&self, uid: u32, mode: u32) -> bool {
        self.owner == uid && mode & 0o200 != 0 || self.group == SHARED && mode & 0o020 != 0
    }

    fn name(&self) -> String {
        format!(
            "{}-{}-{:o}-{}{}{}-{:?}",
            self.owner,
            self.group,
            self.mode,
            u8::from(self.has_default_list),
            u8::from(self.runs_init),
            u8::from(self.made_by_root),
            self.afterwards
        )
    }

    /// The file with companions as the version before has made them, after a login.
    fn prepare(&self, root: &Root, token: &Token) -> PathBuf {
        let users = root.write(format!("{}/users", self.name()), token.line());
        let directory = users.parent().expect("its directory");
        // The server's user, or its group, may make files there: mod_authn_otp rewrites so.
        let is_groups = self.group == SHARED;
        root::set_owner(directory, Some(self.owner), Some(if is_groups { SHARED } else { HTTPDS }));
        root::set_mode(directory, 0o770);
        root::set_owner(&users, Some(HTTPDS), Some(SHARED));
        root::set_mode(&users, 0o660);
        log_in(&users, token, 0);
        // Ours now; the version before made them so.
        let maker = if self.made_by_root { self.owner } else { HTTPDS };
        let is_member = [HTTPDS, SHARED].contains(&self.group) || self.made_by_root;
        for ending in [".lock", ".journal"] {
            let path = beside(&users, ending);
            root::set_owner(&path, Some(maker), Some(if is_member { self.group } else { SHARED }));
            root::set_mode(&path, 0o660);
        }
        self.give(&users, self.mode);
        if self.has_default_list {
            acl(&["/usr/bin/setfacl", "-d", "-m", "u:nobody:rwx,g:nogroup:rwx"], directory);
        }
        users
    }

    fn give(&self, users: &Path, mode: u32) {
        root::set_owner(users, Some(self.owner), Some(self.group));
        root::set_mode(users, mode);
    }
}

/// In this process, as httpd's user: the first login, so that there are slots and a journal with
/// frames.
fn log_in(users: &Path, token: &Token, counter: u64) {
    use otpgate::decide::PinAnswer;
    use otpgate::gate::{Gate, Login, PinSource};
    use otpgate::policy::{Server, Settings};
    struct NoPins;
    impl PinSource for NoPins {
        fn identity(&self) -> Vec<u8> {
            Vec::new()
        }
        fn check(&self, _: &[u8], _: &[u8]) -> PinAnswer {
            unreachable!("there is no source")
        }
    }
    struct NoLog;
    impl otpgate::log::Log for NoLog {
        fn log(&self, _: otpgate::log::Level, _: std::fmt::Arguments<'_>) {}
    }
    let ids = (Uid::from_raw(HTTPDS), Gid::from_raw(SHARED));
    let answer = as_user(ids.0, ids.1, &[ids.1], || {
        let store = otpgate::users::file::UsersFile::new(users);
        let gate = Gate::new(store, || common::codes::now() as i64).expect("a gate");
        let password = token.password(counter);
        let login = Login {
            user: token.user(),
            password: password.as_bytes(),
            address: otpgate::token::Address::of_client(None),
        };
        gate.basic(&Settings::default().policy(Server::Apache), &login, &NoPins, None, &NoLog)
            .verdict
    });
    assert_eq!(answer.expect("as that user"), otpgate::decide::Verdict::Granted);
}

/// From the files of the version before, whatever they are like, on both servers: nobody is
/// refused, no code is accepted twice, and in the end nobody has a companion who hasn't the users
/// file.
#[test]
fn files_of_the_version_before_are_taken_over_without_a_refusal_or_a_lost_state() {
    common::require_root("it gives files to others");
    let root = Root::new();
    let alice = alice();
    let cells: Vec<(Cell, PathBuf)> =
        Cell::all().into_iter().map(|cell| (cell, cell.prepare(&root, &alice))).collect();
    let scopes = || -> Vec<Scope> {
        let scope = |(cell, users): &(Cell, PathBuf)| {
            Scope::new(cell.name()).token(&alice).set(Setting::MaxLinger, 0).users_file(users)
        };
        cells.iter().map(scope).collect()
    };
    let httpd = Server::start(Httpd::event().directives("User www-data\nGroup games"), scopes());
    let nginx = Server::start(Nginx::four().account("daemon", "games"), scopes());
    for server in [&httpd, &nginx] {
        server.tolerate_log("was more open than the users file");
        server.tolerate_log("error: cannot");
    }
    let (mut logins, mut refused, mut lost, mut wrong) = (0, 0, 0, String::new());
    for (cell, users) in &cells {
        let places = [httpd.at(&cell.name()), nginx.at(&cell.name())];
        if cell.runs_init {
            let ran = Command::new(common::program())
                .args(["init", "--user", "www-data", "-f"])
                .arg(users)
                .output()
                .expect("it runs");
            // Where a group can change the directory that can't change the file, or where that file
            // is root's own, nothing is done as root; the next login sees to it.
            let said = String::from_utf8_lossy(&ran.stderr);
            let is_unsafe = said.contains("can be changed by group 60");
            assert_eq!(
                is_unsafe,
                cell.group == SHARED && (cell.owner == 0 || cell.mode & 0o020 == 0),
                "{said}"
            );
            // By the system's group file httpd's user isn't in that group, which init then says on
            // standard output.
            if !said.is_empty() && !is_unsafe {
                writeln!(wrong, "{}: init: {said}", cell.name()).expect("text");
            }
        }
        let mut counter = 1;
        let mut turn = |mode: u32| {
            for (place, uid) in places.iter().zip([HTTPDS, NGINXS]) {
                let owner = fs::metadata(users).expect("the users file");
                let is_owner = owner.uid() == uid;
                if !(is_owner || owner.gid() == SHARED && mode & 0o020 != 0) {
                    continue;
                }
                logins += 1;
                let reply = place.login("alice", alice.password(counter));
                if reply.result() != "granted-fresh" {
                    refused += 1;
                    writeln!(wrong, "{} {mode:o} {uid}: {reply:?}", cell.name()).expect("text");
                    continue;
                }
                counter += 1;
                for spent in 0..counter {
                    let reply = place.login("alice", alice.password(spent));
                    if reply.status() == 200 {
                        lost += 1;
                        writeln!(wrong, "{} {mode:o} {uid}: {spent} again", cell.name())
                            .expect("text");
                    }
                }
                for ending in [".lock", ".journal"] {
                    let (own, now) = (
                        fs::metadata(users).expect("users"),
                        fs::metadata(beside(users, ending)).expect(ending),
                    );
                    let more = now.mode() & !own.mode() & 0o077;
                    if more != 0 || now.gid() != own.gid() && now.mode() & 0o070 != 0 {
                        writeln!(wrong, "{} {mode:o}: {ending} {:o}", cell.name(), now.mode())
                            .expect("text");
                    }
                }
            }
        };
        turn(cell.mode);
        match cell.afterwards {
            Afterwards::Nothing => {}
            Afterwards::NarrowedAndBack => {
                cell.give(users, 0o600);
                turn(0o600);
                cell.give(users, cell.mode);
            }
            Afterwards::Widened => {
                cell.give(users, 0o664);
                turn(0o664);
            }
            Afterwards::RewrittenAndBack => {
                let bytes = fs::read(users).expect("the users file");
                let new = beside(users, ".rewritten");
                plant(&new, &bytes, (HTTPDS, SHARED), 0o600);
                fs::rename(&new, users).expect("in its place");
                turn(0o600);
                cell.give(users, cell.mode);
            }
        }
        turn(if cell.afterwards == Afterwards::Widened { 0o664 } else { cell.mode });
    }
    println!("{} cells, {logins} logins, {refused} refused, {lost} lost", cells.len());
    assert!(
        wrong.is_empty(),
        "{} cells, {logins} logins, {refused} refused, {lost} lost\n{wrong}",
        cells.len()
    );
    assert!(cells.len() > 200 && logins > 400);
}

/// `fs::set_permissions` is used through [`root::set_mode`]; this is what it must not have changed.
#[test]
fn without_root_a_companion_gets_the_users_files_mode_as_well() {
    let root = Root::new();
    let users = root.write("users", alice().line());
    fs::set_permissions(&users, fs::Permissions::from_mode(0o640)).expect("our own");
    drop(Locked::acquire(&users).expect("nobody else"));
    assert_eq!(mode(&beside(&users, ".lock")), 0o640);
}
