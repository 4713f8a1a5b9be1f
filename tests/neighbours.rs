//! What somebody else on the machine reaches by the files beside a users file, compared with what
//! the users file's own rights give them: nobody reads, writes or holds more by them, and whatever
//! somebody puts there, no code is good twice, nothing is written elsewhere, and nobody waits for
//! good. Tried by real accounts on real files: nothing here computes a right.
//!
//! A *cell* is a layout (owner, group, mode and lists of users file and directory, umask), a
//! neighbour, a companion and a deed. `OTPGATE_MATRIX=all` goes through all cells instead of a
//! sample.

mod common;
#[path = "common/scene.rs"]
mod scene;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use common::root::{self, Root};
use common::{Token, beside};
use otpgate::decide::Verdict;
use otpgate::files::system::as_user;
use otpgate::gate::{Gate, Login};
use otpgate::policy::{Leaked, Server, Settings};
use otpgate::store::Store;
use otpgate::token::Address;
use otpgate::users::file::UsersFile;
use rustix::fs::{CWD, FileType, FlockOperation, Gid, Mode, Uid, flock, mknodat};
use scene::{Lines, NoPins};

const PIN: &str = "sesame9";
const SHARED: u32 = 60;
const SEED: u64 = 20_261_202;
/// One layout in so many is in the sample.
const SAMPLED: u64 = 24;
const UMASKS: [u32; 2] = [0, 0o077];
/// Most of the time a cell waits: for a name that comes and goes, or for a lock.
const THREADS: usize = 12;
/// Longer than the five seconds for which a lock is waited for.
const FOR_GOOD: Duration = Duration::from_secs(20);

/// An account, with groups that the system's files needn't know.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Account {
    name: &'static str,
    uid: u32,
    groups: &'static [u32],
}

const SERVER: Account = Account { name: "server", uid: 33, groups: &[33, SHARED] };
const ADMIN: Account = Account { name: "admin", uid: 4, groups: &[4] };
/// In the group that the server's account is in, too.
const MEMBER: Account = Account { name: "member", uid: 5, groups: &[5, SHARED] };
/// In an access-control list, if there is one.
const NAMED: Account = Account { name: "named", uid: 7, groups: &[7] };
const STRANGER: Account = Account { name: "stranger", uid: 65534, groups: &[65534] };

const NEIGHBOURS: [Account; 4] = [ADMIN, MEMBER, NAMED, STRANGER];

impl Account {
    fn act<R>(self, deed: impl FnOnce() -> R) -> R {
        let gids: Vec<Gid> = self.groups.iter().copied().map(Gid::from_raw).collect();
        as_user(Uid::from_raw(self.uid), gids[0], &gids, deed).expect("as that user")
    }

    fn reads(self, path: &Path) -> bool {
        self.act(|| File::open(path).is_ok())
    }

    fn writes(self, path: &Path) -> bool {
        self.act(|| OpenOptions::new().read(true).write(true).open(path).is_ok())
    }
}

#[derive(Clone, Copy, Debug)]
enum List {
    None,
    /// The directory's, for whatever is made there.
    Default,
    Reader,
    Writer,
}

#[derive(Clone, Copy, Debug)]
struct Layout {
    owner: (u32, u32),
    mode: u32,
    directory: (u32, u32, u32),
    list: List,
    umask: u32,
}

impl Layout {
    fn all() -> Vec<Layout> {
        let mut layouts = Vec::new();
        let (server, admin) = (SERVER.uid, ADMIN.uid);
        let files = [
            ((server, server), 0o600),
            ((server, server), 0o644),
            ((server, SHARED), 0o640),
            ((server, SHARED), 0o660),
            ((server, SHARED), 0o664),
            ((admin, SHARED), 0o660),
            ((0, SHARED), 0o660),
            ((0, server), 0o660),
        ];
        let directories = [
            (server, server, 0o700),
            (server, SHARED, 0o770),
            (server, SHARED, 0o1770),
            (admin, SHARED, 0o775),
            (0, SHARED, 0o1775),
            (0, 0, 0o1777),
            (server, server, 0o777),
        ];
        for (owner, mode) in files {
            for directory in directories {
                for list in [List::None, List::Default, List::Reader, List::Writer] {
                    for umask in UMASKS {
                        layouts.push(Layout { owner, mode, directory, list, umask });
                    }
                }
            }
        }
        layouts
    }

    /// As it is before any login.
    fn make(&self, place: &Place, lists: &Lists) {
        let _ = fs::remove_dir_all(&place.directory);
        let _ = fs::remove_dir_all(&place.outside);
        for directory in [&place.directory, &place.outside] {
            fs::create_dir(directory).expect("a new directory");
        }
        fs::write(&place.users, &place.lines).expect("a new file");
        root::set_owner(&place.users, Some(self.owner.0), Some(self.owner.1));
        root::set_mode(&place.users, self.mode);
        fs::write(&place.victim, "precious").expect("a new file");
        for path in [&place.outside, &place.victim] {
            root::set_owner(path, Some(SERVER.uid), Some(SERVER.uid));
        }
        root::set_mode(&place.outside, 0o755);
        root::set_mode(&place.victim, 0o600);
        let (uid, gid, mode) = self.directory;
        root::set_owner(&place.directory, Some(uid), Some(gid));
        root::set_mode(&place.directory, mode);
        match self.list {
            List::None => {}
            List::Default => lists.default.give(&place.directory),
            List::Reader => lists.reader(self.mode).give(&place.users),
            List::Writer => lists.writer(self.mode).give(&place.users),
        }
    }
}

/// Lists as `setfacl` makes them, by the mode of the file.
struct Lists {
    default: Acl,
    named: BTreeMap<(u32, bool), Acl>,
}

struct Acl(&'static str, Vec<u8>);

impl Acl {
    fn made_by(root: &Root, mode: u32, arguments: &[&str], name: &'static str) -> Acl {
        let path = root.join("listed");
        let _ = fs::remove_dir_all(&path);
        fs::create_dir(&path).expect("a new directory");
        root::set_mode(&path, mode);
        let done = Command::new("/usr/bin/setfacl").args(arguments).arg(&path).status();
        assert!(done.expect("setfacl runs").success());
        let mut value = vec![0; 512];
        let len = rustix::fs::getxattr(&path, name, &mut value[..]).expect("a list");
        value.truncate(len);
        fs::remove_dir(&path).expect("ours");
        Acl(name, value)
    }

    fn give(&self, path: &Path) {
        let flags = rustix::fs::XattrFlags::empty();
        rustix::fs::setxattr(path, self.0, &self.1, flags).expect("lists are kept here");
    }
}

impl Lists {
    fn new(root: &Root) -> Lists {
        let access =
            |mode, entry: &str| Acl::made_by(root, mode, &["-m", entry], "system.posix_acl_access");
        let mut named = BTreeMap::new();
        for mode in [0o600, 0o640, 0o644, 0o660, 0o664] {
            named.insert((mode, false), access(mode, "u:7:r"));
            named.insert((mode, true), access(mode, "u:7:rw"));
        }
        let default = ["-d", "-m", "u:7:rwx,g:60:rwx,o::rwx"];
        Lists { default: Acl::made_by(root, 0o755, &default, "system.posix_acl_default"), named }
    }

    fn reader(&self, mode: u32) -> &Acl {
        &self.named[&(mode, false)]
    }

    fn writer(&self, mode: u32) -> &Acl {
        &self.named[&(mode, true)]
    }
}

/// Where all of it is done, again and again.
struct Place {
    directory: PathBuf,
    users: PathBuf,
    lines: Vec<u8>,
    /// Where nothing is to be made,
    outside: PathBuf,
    /// and what nobody is to write.
    victim: PathBuf,
    /// A neighbour's own files.
    own: PathBuf,
}

fn alice() -> Token {
    Token::hotp("alice").pin(PIN)
}

impl Place {
    fn new(root: &Root, number: usize) -> Place {
        let root = root.join(number.to_string());
        root::make_directory(&root);
        let (directory, outside) = (root.join("directory"), root.join("outside"));
        Place {
            users: directory.join("users"),
            victim: outside.join("victim"),
            own: root.join("own"),
            lines: alice().line(),
            directory,
            outside,
        }
    }

    fn path(&self, companion: &str) -> PathBuf {
        match companion {
            "new" => beside(&self.users, &format!(".{}.new", std::process::id())),
            "left" => beside(&self.users, ".lock.0123456789abcdef"),
            _ => beside(&self.users, &format!(".{companion}")),
        }
    }

    /// A login as the server's account, and its secret. `None`: it waits for good.
    fn log_in(&self, counter: u64) -> Option<(Verdict, Option<Vec<u8>>)> {
        let (users, password) = (self.users.clone(), alice().password(counter));
        let (tell, told) = mpsc::channel();
        std::thread::spawn(move || {
            let answer = SERVER.act(|| {
                let mut settings = Settings::default();
                for (name, value) in [
                    (&b"OTPAuthMaxLinger"[..], &[&b"0"[..]][..]),
                    (b"OTPAuthThrottle", &[b"100", b"600"]),
                ] {
                    settings.set(Server::Apache, &Leaked, name, value, b"here").expect("a setting");
                }
                let policy = settings.policy(Server::Apache);
                let now = || common::codes::now() as i64;
                let gate = Gate::new(UsersFile::new(&users), now).expect("a gate");
                let address = Address::of_client(Some("192.0.2.7".parse().expect("an address")));
                let login = Login { user: b"alice", password: password.as_bytes(), address };
                let answer = gate.basic(&policy, &login, &NoPins, None, &Lines::default());
                let secret = UsersFile::new(&users).secret().ok();
                (answer.verdict, secret.map(|secret| secret.0.to_vec()))
            });
            let _ = tell.send(answer);
        });
        told.recv_timeout(FOR_GOOD).ok()
    }
}

const COMPANIONS: [&str; 7] = ["lock", "journal", "throttle", "secret", "index", "new", "left"];

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Deed {
    Read,
    Write,
    Truncate,
    Hold,
    Link,
    Remove,
    Replace,
    CreateFirst,
    LinkFirst,
    LinkToNothingFirst,
    OwnLinkFirst,
    FifoFirst,
}

use Deed::*;

const DEEDS: [Deed; 12] = [
    Read,
    Write,
    Truncate,
    Hold,
    Link,
    Remove,
    Replace,
    CreateFirst,
    LinkFirst,
    LinkToNothingFirst,
    OwnLinkFirst,
    FifoFirst,
];

impl Deed {
    fn is_first(self) -> bool {
        self >= CreateFirst
    }

    /// It leaves all as it was.
    fn is_harmless(self) -> bool {
        matches!(self, Read | Hold)
    }

    /// Whether it could be done.
    fn try_on(self, place: &Place, neighbour: Account, path: &Path, planted: &[u8]) -> bool {
        neighbour.act(|| match self {
            Read => File::open(path).is_ok(),
            Write => OpenOptions::new()
                .write(true)
                .open(path)
                .is_ok_and(|mut file| std::io::Write::write_all(&mut file, planted).is_ok()),
            Truncate => OpenOptions::new().write(true).truncate(true).open(path).is_ok(),
            Hold => File::open(path)
                .is_ok_and(|file| flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok()),
            Link => fs::hard_link(path, place.own.join("another-name")).is_ok(),
            Remove => fs::remove_file(path).is_ok(),
            Replace => {
                make_open(&place.own.join("mine"), planted);
                fs::rename(place.own.join("mine"), path).is_ok()
            }
            CreateFirst => create_open(path, planted).is_ok(),
            LinkFirst => symlink(&place.victim, path).is_ok(),
            LinkToNothingFirst => symlink(place.outside.join("made"), path).is_ok(),
            OwnLinkFirst => {
                make_open(&place.own.join("mine"), planted);
                fs::hard_link(place.own.join("mine"), path).is_ok()
            }
            FifoFirst => mknodat(CWD, path, FileType::Fifo, Mode::from_raw_mode(0o666), 0).is_ok(),
        })
    }
}

fn create_open(path: &Path, content: &[u8]) -> std::io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o666).open(path)?;
    rustix::fs::fchmod(&file, Mode::from_raw_mode(0o666))?;
    std::io::Write::write_all(&mut file, content)
}

fn make_open(path: &Path, content: &[u8]) {
    let _ = fs::remove_file(path);
    create_open(path, content).expect("a file of one's own");
}

/// What the users file itself gives somebody.
struct Rights {
    reads: bool,
    /// Not as everybody does.
    reads_closed: bool,
    writes: bool,
}

impl Rights {
    fn of(neighbour: Account, place: &Place) -> Rights {
        // With a list, not the layout's: the group's bits are the mask.
        let mode = fs::metadata(&place.users).expect("the users file").mode() & 0o7777;
        let (reads, writes) = (neighbour.reads(&place.users), neighbour.writes(&place.users));
        // Narrowed for a moment: the kernel says it.
        root::set_mode(&place.users, mode & 0o770);
        let reads_closed = neighbour.reads(&place.users);
        root::set_mode(&place.users, mode);
        Rights { reads, reads_closed, writes }
    }
}

/// Owner, group, mode and list.
type Likeness = (u32, u32, u32, Vec<u8>);

/// What a file is like.
fn likeness(path: &Path) -> Option<Likeness> {
    let metadata = fs::symlink_metadata(path).ok()?;
    let mut list = vec![0; 512];
    let len = rustix::fs::getxattr(path, "system.posix_acl_access", &mut list[..]).unwrap_or(0);
    list.truncate(len);
    Some((metadata.uid(), metadata.gid(), metadata.mode(), list))
}

/// What is put there: what would do most harm if it were believed.
struct Planted {
    journal: Vec<u8>,
    secret: Vec<u8>,
}

impl Planted {
    fn of(&self, companion: &str) -> &[u8] {
        match companion {
            "journal" => &self.journal,
            "secret" => &self.secret,
            "lock" | "left" => b"",
            _ => b"HOTP alice - 3132\n",
        }
    }
}

#[derive(Default)]
struct Figures {
    tried: usize,
    kept_out: usize,
    done: usize,
    logins: usize,
    refused: usize,
    commands: usize,
    by_deed: BTreeMap<Deed, [usize; 2]>,
    wrong: Vec<String>,
}

impl Figures {
    fn add(&mut self, other: Figures) {
        self.tried += other.tried;
        self.kept_out += other.kept_out;
        self.done += other.done;
        self.logins += other.logins;
        self.refused += other.refused;
        self.commands += other.commands;
        for (deed, [kept_out, done]) in other.by_deed {
            let sum = self.by_deed.entry(deed).or_default();
            *sum = [sum[0] + kept_out, sum[1] + done];
        }
        self.wrong.extend(other.wrong);
    }
}

struct Matrix<'a> {
    place: Place,
    lists: &'a Lists,
    planted: &'a Planted,
    figures: Figures,
}

impl Matrix<'_> {
    /// Users file and companions, after a login if they are to be there. Whether that was let in.
    fn begin(&self, layout: &Layout, companion: &str, is_used: bool) -> bool {
        let Place { own, users, .. } = &self.place;
        layout.make(&self.place, self.lists);
        let _ = fs::remove_dir_all(own);
        fs::create_dir(own).expect("a new directory");
        root::set_mode(own, 0o777);
        if !is_used {
            return SERVER.writes(users);
        }
        let is_let_in = matches!(self.place.log_in(0), Some((Verdict::Granted, _)));
        if companion == "left" {
            SERVER.act(|| {
                let _ = OpenOptions::new()
                    .write(true)
                    .create_new(true)
                    .mode(0o600)
                    .open(self.place.path("left"));
            });
        }
        is_let_in
    }

    fn go_through(&mut self, layout: &Layout) {
        for neighbour in NEIGHBOURS {
            for companion in COMPANIONS {
                let mut is_ready = [false; 2];
                for deed in DEEDS {
                    let is_used = !deed.is_first();
                    // Of a name that nobody keeps.
                    if is_used && companion == "new" {
                        continue;
                    }
                    if !is_ready[usize::from(is_used)] {
                        is_ready = [false; 2];
                        if !self.begin(layout, companion, is_used) {
                            // The server can't use it anyway.
                            continue;
                        }
                        is_ready[usize::from(is_used)] = true;
                    }
                    let has_changed = self.cell(layout, neighbour, companion, deed);
                    if has_changed {
                        is_ready = [false; 2];
                    }
                }
            }
        }
    }

    /// Whether it has to be made anew.
    fn cell(&mut self, layout: &Layout, neighbour: Account, companion: &str, deed: Deed) -> bool {
        let path = self.place.path(companion);
        if !deed.is_first() && fs::symlink_metadata(&path).is_err() {
            return false;
        }
        let rights = Rights::of(neighbour, &self.place);
        let before = likeness(&self.place.users);
        let planted = self.planted.of(companion).to_vec();
        let is_done = deed.try_on(&self.place, neighbour, &path, &planted);
        let cell = format!("{layout:?} {} {companion} {deed:?}", neighbour.name);
        self.figures.tried += 1;
        self.figures.by_deed.entry(deed).or_default()[usize::from(is_done)] += 1;
        if !is_done {
            self.figures.kept_out += 1;
            return false;
        }
        self.figures.done += 1;
        let mut wrong = Vec::new();
        let may_read = if companion == "secret" { rights.reads_closed } else { rights.reads };
        match deed {
            Read | Hold if !may_read => wrong.push("reads what the users file doesn't give"),
            Write | Truncate if !rights.writes => wrong.push("writes what the users file doesn't"),
            _ => {}
        }
        if !deed.is_harmless() {
            // From the second counter on, if there was a login.
            let first = u64::from(!deed.is_first());
            self.figures.logins += 1;
            match self.place.log_in(first) {
                None => wrong.push("the server waits for good"),
                Some((verdict, secret)) => {
                    let is_granted = verdict == Verdict::Granted;
                    self.figures.refused += usize::from(!is_granted);
                    if secret.is_some_and(|secret| self.planted.secret.ends_with(&secret))
                        && !rights.writes
                    {
                        wrong.push("the secret is the neighbour's");
                    }
                    let spent = if is_granted { 0..first + 1 } else { 0..first };
                    for counter in spent {
                        let again = self.place.log_in(counter);
                        if matches!(again, Some((Verdict::Granted, _))) && !rights.writes {
                            wrong.push("a code is good twice");
                        }
                    }
                }
            }
            self.look_after(
                neighbour,
                &rights,
                &path,
                &planted,
                (before.clone(), false),
                &mut wrong,
            );
            // Root's command, on what is left of it.
            if self.figures.done.is_multiple_of(16) {
                self.figures.commands += 1;
                if !self.command() {
                    wrong.push("the command waits for good");
                }
                self.look_after(neighbour, &rights, &path, &planted, (before, true), &mut wrong);
            }
        }
        self.figures.wrong.extend(wrong.iter().map(|what| format!("{what}: {cell}")));
        !deed.is_harmless()
    }

    fn look_after(
        &self,
        neighbour: Account,
        rights: &Rights,
        path: &Path,
        planted: &[u8],
        (before, may_narrow): (Option<Likeness>, bool),
        wrong: &mut Vec<&'static str>,
    ) {
        let Place { users, outside, victim, directory, own, .. } = &self.place;
        let is_victim_whole = fs::read(victim).is_ok_and(|content| content == b"precious")
            && likeness(victim)
                .is_some_and(|(uid, _, mode, _)| (uid, mode & 0o7777) == (33, 0o600));
        if !is_victim_whole || fs::read_dir(outside).expect("ours").count() != 1 {
            wrong.push("something is written elsewhere");
        }
        // Root's command may take rights away.
        let is_narrower = match (likeness(users), &before) {
            (Some((uid, gid, mode, list)), Some((old_uid, old_gid, old_mode, old_list))) => {
                (uid, gid) == (*old_uid, *old_gid)
                    && mode & !old_mode == 0
                    && (mode != *old_mode || list == *old_list)
            }
            _ => false,
        };
        if !(is_narrower && (may_narrow || likeness(users) == before)) {
            wrong.push("the users file has other rights");
        }
        // What the neighbour has put there is what it was.
        let is_neighbours = |path: &Path| {
            fs::symlink_metadata(path)
                .is_ok_and(|metadata| metadata.uid() == neighbour.uid && metadata.is_file())
        };
        for path in [path, &own.join("mine")] {
            if !rights.writes
                && is_neighbours(path)
                && fs::read(path).is_ok_and(|content| content != planted)
            {
                wrong.push("the neighbour's own file is written");
            }
        }
        for entry in fs::read_dir(directory).expect("ours").flatten() {
            let path = entry.path();
            let is_file = fs::symlink_metadata(&path).is_ok_and(|metadata| metadata.is_file());
            if !is_file || is_neighbours(&path) {
                continue;
            }
            let is_secret = path.extension().is_some_and(|ending| ending == "secret");
            let may_read = if is_secret { rights.reads_closed } else { rights.reads };
            if !may_read && neighbour.reads(&path) {
                wrong.push("a file can be read that gives more than the users file");
            }
            if !rights.writes && neighbour.writes(&path) {
                wrong.push("a file can be written that gives more than the users file");
            }
        }
    }

    /// Root's, which changes the users file if it may. Whether it ends.
    fn command(&self) -> bool {
        ["unlock alice", "check --fix"].iter().all(|arguments| {
            let mut child = Command::new(common::program())
                .arg("-f")
                .arg(&self.place.users)
                .args(arguments.split(' '))
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .expect("the command");
            let begun = Instant::now();
            loop {
                match child.try_wait().expect("our child") {
                    Some(_) => return true,
                    None if begun.elapsed() > FOR_GOOD => {
                        let _ = child.kill();
                        let _ = child.wait();
                        return false;
                    }
                    None => std::thread::sleep(Duration::from_millis(1)),
                }
            }
        })
    }
}

/// What of a recovery would make the state before any login, as the neighbour has it from a file of
/// their own; and a secret that they know.
fn planted(root: &Root) -> Planted {
    use otpgate::users::journal::{Journal, SlotWrite};
    use otpgate::users::lock::Locked;
    use otpgate::users::{record, slot};
    let copy = root.write("copy/users", alice().line());
    let gate = Gate::new(UsersFile::new(&copy), || common::codes::now() as i64).expect("a gate");
    let password = alice().password(0);
    let address = Address::of_client(None);
    let login = Login { user: b"alice", password: password.as_bytes(), address };
    let policy = Settings::default().policy(Server::Apache);
    let answer = gate.basic(&policy, &login, &NoPins, None, &Lines::default());
    assert_eq!(answer.verdict, Verdict::Granted);
    let locked = Locked::acquire(&copy).expect("nobody else");
    let mut journal = Journal::open(&locked, &mut None).expect("a journal");
    let text = fs::read(&copy).expect("the users file");
    let line = text.split(|&b| b == b'\n').next().expect("alice's line").to_vec();
    let parsed = record::parse(&line, &jiff::tz::TimeZone::UTC).expect("a line");
    let at = parsed.layout.slot.expect("a slot");
    let head = parsed.layout.head.clone().map(|word| &line[word]);
    let fresh = otpgate::token::State {
        counter: Default::default(),
        replay_floor: None,
        ..parsed.state.clone()
    };
    let write = SlotWrite {
        line: 0,
        slot: at as u64,
        fingerprint: record::fingerprint_of_line(&line).expect("four fields"),
        before: line[at..at + slot::LEN].try_into().expect("a slot"),
        after: slot::write(head, &fresh, &jiff::tz::TimeZone::UTC),
    };
    journal.write_slots(vec![write]).expect("written");
    drop(locked);
    let journal = fs::read(beside(&copy, ".journal")).expect("the journal");
    Planted { journal, secret: [&b"OTPSECR1"[..], &[7; 32]].concat() }
}

#[test]
fn nobody_reaches_more_by_a_companion_than_by_the_users_file() {
    common::require_root("it acts as other accounts");
    let root = Root::in_memory();
    let begun = Instant::now();
    let (lists, planted) = (Lists::new(&root), planted(&root));
    let is_whole = std::env::var("OTPGATE_MATRIX").is_ok_and(|asked| asked == "all");
    let mut random = SEED;
    let mut layouts = Layout::all();
    layouts.retain(|_| {
        random =
            random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        is_whole || (random >> 33).is_multiple_of(SAMPLED)
    });
    let mut figures = Figures::default();
    for umask in UMASKS {
        // The process's, so one after the other.
        let before = rustix::process::umask(Mode::from_raw_mode(umask));
        let layouts: Vec<&Layout> = layouts.iter().filter(|layout| layout.umask == umask).collect();
        let next = AtomicUsize::new(0);
        let go = |number| {
            let place = Place::new(&root, number);
            let (lists, planted, figures) = (&lists, &planted, Figures::default());
            let mut matrix = Matrix { place, lists, planted, figures };
            while let Some(layout) = layouts.get(next.fetch_add(1, Ordering::Relaxed)) {
                matrix.go_through(layout);
            }
            matrix.figures
        };
        std::thread::scope(|threads| {
            let go = &go;
            let workers: Vec<_> =
                (0..THREADS).map(|number| threads.spawn(move || go(number))).collect();
            for worker in workers {
                figures.add(worker.join().expect("no panic inside"));
            }
        });
        rustix::process::umask(before);
    }
    let Figures { tried, kept_out, done, logins, refused, commands, by_deed, wrong } = figures;
    println!(
        "{} layouts, {tried} cells in {:?}: {kept_out} kept out, {done} done, {logins} logins of \
         which {refused} were refused, {commands} times the command",
        layouts.len(),
        begun.elapsed()
    );
    println!("kept out and done: {by_deed:?}");
    let mut kinds: BTreeMap<&str, usize> = BTreeMap::new();
    for line in &wrong {
        *kinds.entry(line.split(':').next().unwrap_or_default()).or_default() += 1;
    }
    let mut text = String::new();
    for line in wrong.iter().take(60) {
        writeln!(text, "{line}").expect("text");
    }
    assert!(wrong.is_empty(), "{} wrong, {kinds:?}:\n{text}", wrong.len());
    assert!(done > 100 && kept_out > 100, "hardly anything was tried");
}
