//! The users file and what stands beside it.

use std::cell::OnceCell;
use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::Path;

use jiff::tz::TimeZone;
use otpgate::UnixTime;
use otpgate::decide::Verdict;
use otpgate::files::lines::is_ignored;
use otpgate::gate::{Gate, Login, PinAnswer, PinSource, Store};
use otpgate::log::{Level, Log};
use otpgate::policy::{Limits, Server, Settings};
use otpgate::token::{Address, LINES_MAX};
use otpgate::users::edit::{self, Content};
use otpgate::users::file::UsersFile;
use otpgate::users::line::{self, LINE_MAX};
use otpgate::users::name::key;
use otpgate::users::pragma::{self as lines_for_us, Pragma};
use otpgate::users::record::{self as records, USER_MAX};
use otpgate::users::{check, mistakes, rewrite};

use super::{Pieces, directory, patch};

pub const RECORD_WORDS: &[&str] = &[
    "HOTP",
    "/E",
    "/T30",
    "/6",
    "HOTP-SHA256",
    "MOTP",
    "PAPER/8/100",
    "OFF:",
    "alice",
    "4711",
    "-",
    "+",
    "3132333435363738393031323334353637383930",
    "base32:GEZDGNBV",
    "$2y$10$",
    "$5$",
    "$argon2id$",
    "755224",
    "1970-01-01T00:00:00L",
    "2026-11-25T01:30:00L",
    "192.0.2.7",
    "2001:db8::1",
    "@0,0,0,0,",
    "9223372036854775807",
    "-9223372036854775808",
    "4294967295",
    " ",
    "\t",
    "\r",
    "\n",
    "99999999999999999999",
];

pub const PRAGMA_WORDS: &[&str] = &[
    "#@ ",
    "limits ",
    "allow ",
    "free",
    "apart ",
    "start-pin ",
    "app ",
    "trust ",
    "always ",
    "session ",
    "computer ",
    "max_failures=10",
    "lockout=60,3600",
    "max_offset=4",
    "max_linger=600",
    "throttle=20,600",
    "apps",
    "trusted-networks=",
    "trusted-computer=30",
    "192.0.2.0/24",
    "2001:db8::/32",
    "alice",
    "%20",
    "%25",
    "%00",
    "2026-12-01",
    "sha256:",
    "used=2026-12-01T08Z",
    "path=/dav/",
    "methods=GET,PUT",
    "until=2027-01-31",
    "pin",
    ",",
    "=",
    " ",
    "\t",
    "\u{a0}",
];

pub const FILE_WORDS: &[&str] = &[
    "HOTP alice - 00\n",
    "HOTP/T30/6 bob 1234 3132\n",
    "#@ limits max_failures=3\n",
    "#@ apart carol\n",
    "\n",
    "\r\n",
    "alice",
    "Alice",
    "#",
    "#@ ",
    "\u{feff}",
    "HOTP ",
    " - 00",
    " 3 1 - 1970-01-01T00:00:00L -",
    "OFF:",
    "+",
];

pub const NAME_WORDS: &[&str] = &[
    "alice",
    "ALICE",
    "\u{e9}",
    "e\u{301}",
    "\u{df}",
    "\u{130}",
    "\u{fdfa}",
    "\u{200b}",
    "\u{ad}",
    "@",
    "\\",
    " ",
    "CORP\\",
    "@example.org",
    "\u{ff21}",
    "\u{3c2}",
    "\u{1e9e}",
    "\u{fb01}",
];

pub const PATCH_WORDS: &[&str] =
    &["OTPFRAME", "OTPGATE1", "REPLACES", "OTPINDX6", "\x01", "\x02", "HOTP", "alice"];

/// A line of the users file: what is read is written and read again as the same, and nothing but
/// state changes.
pub fn record(data: &[u8]) {
    let text = data.split(|&b| b == b'\n').next().expect("a first part");
    let zone = TimeZone::UTC;
    mistakes::type_meant(text);
    mistakes::of_name(text);
    mistakes::of_pin(text);
    let Ok(record) = records::parse(text, &zone) else { return };
    let layout = &record.layout;
    assert!(
        layout.head.iter().all(|word| text.get(word.clone()).is_some_and(|word| !word.is_empty()))
    );
    assert!(layout.head[3].end <= layout.state.start && layout.state.end <= text.len());
    assert!(text[layout.head[1].clone()].len() <= USER_MAX);
    assert_eq!(Some(record.token.fingerprint), records::fingerprint_of_line(text));
    if !is_ignored(text) {
        assert_eq!(line::user_of(text), Some(&text[layout.head[1].clone()]));
    }
    let head = edit::head_of(text).expect("fields 1 to 4");
    if let Ok(same) = edit::with_head(text, head) {
        assert_eq!(*same, text, "the same fields leave a line as it is");
    }

    let written = rewrite::with_state(text, layout, &record.state, &zone);
    assert!(written.starts_with(&text[..layout.head[3].end]), "fields 1 to 4 stay");
    assert!(written.ends_with(&text[layout.state.end..]), "what follows stays");
    let again = match records::parse(&written, &zone) {
        Err(_) if written.len() > LINE_MAX => return,
        again => again.expect("what was written is read"),
    };
    assert_eq!(again.token, record.token);
    assert!(again.state.intact && again.layout.slot.is_some());
    let (new, old) = (&again.state, &record.state);
    assert_eq!(
        (new.counter, new.failures, &new.last_otp),
        (old.counter, old.failures, &old.last_otp)
    );
    assert_eq!(new.address, old.address);
    // A time before 1970 becomes none.
    if new.used == old.used {
        assert_eq!(rewrite::with_state(&written, &again.layout, new, &zone), written, "stable");
    }
    if old.intact && layout.slot.is_some() {
        assert!(new.used == old.used && new.last_failure == old.last_failure, "{old:?} {new:?}");
        assert_eq!(new.replay_floor, old.replay_floor);
    }
}

/// A line for us alone: what is read is written and read again as the same, and it is about the one
/// whom it names.
pub fn pragma(data: &[u8]) {
    let text = data.split(|&b| b == b'\n').next().expect("a first part");
    let parsed = lines_for_us::parse(text);
    assert_eq!(parsed.is_some(), lines_for_us::is_pragma(text));
    lines_for_us::title(text);
    lines_for_us::details(text);
    lines_for_us::used_hour(text);
    let user = match parsed {
        None => return,
        Some(Err(error)) => {
            assert!(error.to_string().bytes().all(|b| (b' '..=b'~').contains(&b)), "{error}");
            None
        }
        Some(Ok(pragma)) => written_again(text, pragma),
    };
    if let Some(user) = user {
        assert_eq!(lines_for_us::user_of(text), Some(user));
        assert!(!lines_for_us::closes_for_everybody(text));
    }
    for other in [&b"bob"[..], b"a b%\xff", b"\xc3\xa4"] {
        // Of one at fault that can't be told apart from another kind, nothing is made.
        if let Some(renamed) = lines_for_us::with_user(text, other) {
            assert_eq!(lines_for_us::user_of(&renamed).as_deref(), Some(other));
        }
    }
}

/// Whom it is about.
fn written_again(text: &[u8], pragma: Pragma) -> Option<Vec<u8>> {
    let is_read_from = |line: &[u8]| match lines_for_us::parse(line) {
        // Names are written longer where they have other bytes.
        Some(Err(_)) if line.len() >= lines_for_us::LEN_END => {}
        again => assert_eq!(again, Some(Ok(pragma.clone())), "{}", line.escape_ascii()),
    };
    match &pragma {
        Pragma::Limits(limits) => {
            assert_eq!(limits.strictest(*limits), *limits);
            assert_eq!(lines_for_us::limits_with(Limits::default(), text), Ok(*limits));
            let policy = Settings::default().policy(Server::Apache);
            let once = policy.restricted_by(limits);
            assert!(once.restricted_by(limits).decides_like(&once));
            None
        }
        Pragma::Allow(allow) => {
            assert_eq!(
                allow.clone().with(allow.clone()).trusts([192, 0, 2, 7].into()),
                allow.trusts([192, 0, 2, 7].into())
            );
            None
        }
        Pragma::Free | Pragma::Unknown => None,
        Pragma::Apart(user) => Some(user.clone()),
        Pragma::StartPin(user, since) => {
            is_read_from(lines_for_us::start_pin_line(user, *since).as_bytes());
            Some(user.clone())
        }
        Pragma::App(user, app) => {
            is_read_from(&lines_for_us::app_line(user, app));
            assert!(!app.digest.is_of(b"otpg-aaaaa"));
            Some(user.clone())
        }
        Pragma::Trust(user, networks) => {
            is_read_from(lines_for_us::trust_line(user, networks).as_bytes());
            Some(user.clone())
        }
        Pragma::Always(user, always) => {
            let mut all = otpgate::token::Always::default();
            for line in lines_for_us::always_lines(user, *always) {
                match lines_for_us::parse(line.as_bytes()) {
                    Some(Ok(Pragma::Always(other, always))) => {
                        assert_eq!(other, *user);
                        all = all.with(always);
                    }
                    other => assert!(line.len() >= lines_for_us::LEN_END, "{other:?}"),
                }
            }
            Some(user.clone())
        }
        Pragma::Session(user, Some(places)) => {
            is_read_from(&lines_for_us::places_line(user, places));
            has_places(text, &lines_for_us::places_word(user, places));
            Some(user.clone())
        }
        Pragma::Computer(user, Some(places)) => {
            is_read_from(&lines_for_us::places_line(user, places));
            has_places(text, &lines_for_us::places_word(user, places));
            Some(user.clone())
        }
        Pragma::Session(user, None) | Pragma::Computer(user, None) => Some(user.clone()),
    }
}

/// What was read from a line's places is written as it stands there.
fn has_places(text: &[u8], word: &[u8]) {
    let place = lines_for_us::places_of(text).expect("it has its place");
    assert_eq!(text[place], *word);
}

/// A name's key is its own key.
pub fn name(data: &[u8]) {
    let data = &data[..data.len().min(USER_MAX)];
    let once = key(data).into_owned();
    assert_eq!(*key(&once), *once, "{}", data.escape_ascii());
    if data.is_ascii() {
        assert_eq!(*key(&data.to_ascii_uppercase()), *once);
    }
}

struct Nobody;

impl PinSource for Nobody {
    fn identity(&self) -> Vec<u8> {
        Vec::new()
    }

    fn check(&self, _: &[u8], _: &[u8]) -> PinAnswer {
        PinAnswer::NoSource
    }
}

impl Log for Nobody {
    fn log(&self, _: Level, _: std::fmt::Arguments<'_>) {}
}

fn now() -> UnixTime {
    1_780_000_000
}

fn write(path: &Path, content: &[u8]) {
    fs::write(path, content).expect("a file in memory");
}

fn gate(path: &Path) -> Gate<UsersFile> {
    Gate::new(UsersFile::new(path), now).expect("random bytes")
}

fn login(gate: &Gate<UsersFile>, user: &[u8], password: &[u8]) -> Verdict {
    let policy = Settings::default().policy(Server::Apache);
    let login = Login { user, password, address: Address::Unknown };
    gate.basic(&policy, &login, &Nobody, None, &Nobody).verdict
}

/// A whole users file: a user is found as reading all lines finds them, the test of the
/// configuration ends, and whoever knows no code isn't let in; nothing but state is written.
pub fn file(data: &[u8]) {
    let directory = directory("users_file");
    let path = directory.join("users");
    for name in ["users.journal", "users.index", "users.throttle"] {
        let _ = fs::remove_file(directory.join(name));
    }
    write(&path, data);
    let content = Content::new(data.to_vec());
    assert_eq!(content.with(|_| None).bytes(), data, "no change is none");
    let _ = check::lines(&path);
    let is_limited = content.limits();
    let store = UsersFile::new(&path);
    let zone = TimeZone::system();
    let mut users: Vec<&[u8]> = content.lines().filter_map(|line| line.user()).collect();
    users.sort_unstable();
    users.dedup();
    for user in users.iter().take(8) {
        let lines: Vec<_> = content.lines_of(user).collect();
        let Ok(found) = store.find(user) else {
            assert!(is_limited.is_err(), "all that is found can be read");
            continue;
        };
        if user.len() > USER_MAX {
            continue;
        }
        assert!(found.is_listed(), "{}", user.escape_ascii());
        assert_eq!(found.entry.too_many_lines, lines.len() > LINES_MAX);
        if lines.len() > LINES_MAX {
            continue;
        }
        let parsed: Vec<_> = lines.iter().filter_map(|line| line.record(&zone)).collect();
        let tokens: Vec<_> =
            parsed.iter().filter_map(|it| it.as_ref().ok()).map(|it| &it.token).collect();
        assert_eq!(found.entry.unreadable, tokens.len() < parsed.len());
        assert_eq!(found.entry.lines.iter().map(|it| &it.token).collect::<Vec<_>>(), tokens);
    }
    let gate = gate(&path);
    for user in users.iter().take(2) {
        let verdict = login(&gate, user, b"no code");
        assert_ne!(verdict, Verdict::Granted, "{}", user.escape_ascii());
    }
    let after = Content::new(fs::read(&path).expect("it is still there"));
    same_but_for_state(data, after.bytes());
}

/// Two files with the same lines, but for what logins write.
fn same_but_for_state(before: &[u8], after: &[u8]) {
    let around = |line: &[u8]| match records::parse(line, &TimeZone::system()) {
        Ok(record) if !is_ignored(line) => {
            let tail = line[record.layout.state.end..].trim_ascii_start();
            (line[..record.layout.head[3].end].to_vec(), tail.to_vec())
        }
        _ => (line.to_vec(), Vec::new()),
    };
    let all = |bytes: &[u8]| bytes.split(|&b| b == b'\n').map(around).collect::<Vec<_>>();
    assert_eq!(all(before), all(after));
}

/// The lines of the files that hostile companions are put beside. The first code of the RFC's key
/// is spent, and not by them.
const LINES: &str = "# users\n\
    HOTP/E/6 alice - 3132333435363738393031323334353637383930 1\n\
    HOTP/E/6 bob - 3132333435363738393031323334353637383931\n";
const SPENT: &[u8] = b"755224";

/// A word of a forged checksum, in place.
fn seal(bytes: &mut [u8], at: usize, covered: std::ops::Range<usize>) {
    if let Some(covered) = bytes.get(covered) {
        let sum = crc32fast::hash(covered).to_le_bytes();
        if let Some(place) = bytes.get_mut(at..at + 4) {
            place.copy_from_slice(&sum);
        }
    }
}

const FRAMES_START: usize = 4096;
const FRAME_HEAD: usize = 40;
const HEADER_WORDS: usize = 19 * 8;

/// A journal that somebody has made up, beside a users file: what recovery leaves is the file as it
/// was, or one with other state in its slots, or all that an image of a rewrite brings, if its sum
/// is right; and a code that is spent stays so unless the journal says otherwise.
pub fn journal(data: &[u8]) {
    let directory = directory("journal");
    let path = directory.join("users");
    let beside = directory.join("users.journal");
    let _ = fs::remove_file(directory.join("users.throttle"));
    // A login leaves a file with slots, and a journal with a frame; in the same file each time, since
    // frames name it.
    thread_local! {
        static LEFT: OnceCell<(Vec<u8>, Vec<u8>)> = const { OnceCell::new() };
    }
    let (before, mut bytes) = LEFT.with(|left| {
        left.get_or_init(|| {
            write(&path, LINES.as_bytes());
            login(&gate(&path), b"alice", b"000000");
            let journal = fs::read(&beside).expect("a journal");
            (fs::read(&path).expect("a file"), journal[..8192].to_vec())
        })
        .clone()
    });
    write(&path, &before);
    let journal =
        OpenOptions::new().read(true).write(true).create(true).truncate(true).open(&beside);
    let journal = journal.expect("a journal");
    journal.set_len(1 << 20).expect("room");

    let mut pieces = Pieces(data);
    let how = pieces.byte();
    while !pieces.is_empty() {
        patch(&mut bytes, &mut pieces);
    }
    if how & 1 == 1 {
        seal(&mut bytes, HEADER_WORDS, 0..HEADER_WORDS);
    }
    let mut brings_image = false;
    if how & 2 == 2 {
        // The frame's sum is over its head without the sum, and its body.
        let word = |bytes: &[u8], at: usize| {
            bytes.get(at..at + 8).map(|word| u64::from_le_bytes(word.try_into().expect("eight")))
        };
        let len = word(&bytes, FRAMES_START + 24).unwrap_or(0).min(2048) as usize;
        let start = FRAMES_START + FRAME_HEAD;
        let frame: Option<(Vec<u8>, Vec<u8>)> = bytes
            .get(FRAMES_START..FRAMES_START + 32)
            .zip(bytes.get(start..start + len))
            .map(|(head, body)| (head.to_vec(), body.to_vec()));
        if let Some((head, body)) = frame {
            let mut sum = crc32fast::Hasher::new();
            sum.update(&head);
            sum.update(&body);
            let sum = u64::from(sum.finalize()).to_le_bytes();
            bytes[FRAMES_START + 32..start].copy_from_slice(&sum);
            brings_image = true;
        }
    }
    journal.write_all_at(&bytes, 0).expect("room");
    if how & 4 == 4 {
        // Cut short, or longer than any.
        let len = u64::from(pieces_len(data)) * 1031 % (2 << 20);
        journal.set_len(len).expect("room");
    }

    let gate = gate(&path);
    let verdict = login(&gate, b"alice", SPENT);
    let after = fs::read(&path).expect("a file");
    if !brings_image {
        assert_ne!(verdict, Verdict::Granted);
        same_but_for_state(&before, &after);
    } else if after.split(|&b| b == b'\n').count() == before.split(|&b| b == b'\n').count()
        && after.len() == before.len()
    {
        same_but_for_state(&before, &after);
    }
    // Whatever that was, the next one can log in, or is told why not.
    login(&gate, b"bob", b"no code");
    let _ = edit::tidy(&path);
}

fn pieces_len(data: &[u8]) -> u16 {
    crc32fast::hash(data) as u16
}

/// An index that somebody has made up: at most it hides a user. It never lets anybody in, never
/// shows a line of somebody else, and nothing is read where there is nothing.
pub fn index(data: &[u8]) {
    let directory = directory("index");
    let path = directory.join("users");
    let beside = directory.join("users.index");
    let _ = fs::remove_file(directory.join("users.throttle"));
    if !path.exists() {
        // Large enough for an index of its own file; comments are passed over at once.
        let comment = format!("#{}\n", "-".repeat(32 * 1024));
        let mut content = LINES.to_owned();
        while content.len() <= 1 << 20 {
            content += &comment;
        }
        write(&path, content.as_bytes());
        let _ = fs::remove_file(&beside);
        login(&gate(&path), b"bob", b"no code");
    }
    // Whole again, if a former one was spoilt.
    let store = UsersFile::new(&path);
    assert!(store.find(b"alice").expect("a users file").is_listed());
    drop(store);
    let mut bytes = fs::read(&beside).expect("an index");
    let whole = bytes.clone();

    let mut pieces = Pieces(data);
    let how = pieces.byte();
    while !pieces.is_empty() {
        patch(&mut bytes, &mut pieces);
    }
    if how & 1 == 1 {
        forge_index(&mut bytes);
    }
    write_over(
        &beside,
        &bytes,
        if how & 2 == 2 { bytes.len() - usize::from(how) } else { bytes.len() },
    );

    let store = UsersFile::new(&path);
    for user in [&b"alice"[..], b"bob", b"carol"] {
        let Ok(found) = store.find(user) else { continue };
        let lines = found.entry.lines.iter().map(|it| it.token.key.expose());
        for key in lines {
            let expected: &[u8] =
                if user == b"alice" { b"12345678901234567890" } else { b"12345678901234567891" };
            assert_eq!(key, expected, "{}", user.escape_ascii());
        }
        assert!(user != b"carol" || found.entry.lines.is_empty());
    }
    drop(store);
    assert_ne!(login(&gate(&path), b"alice", SPENT), Verdict::Granted);
    write_over(&beside, &whole, whole.len());
}

fn write_over(path: &Path, bytes: &[u8], len: usize) {
    let file = OpenOptions::new().write(true).open(path).expect("a file");
    file.set_len(0).expect("none");
    file.write_all_at(&bytes[..len], 0).expect("room");
}

/// Gives header and buckets right sums, as whoever may write the file could.
pub(super) fn forge_index(bytes: &mut [u8]) {
    const BUCKET: usize = 512;
    const WORDS: usize = 17;
    if bytes.len() < BUCKET {
        return;
    }
    let mut sum = crc32fast::Hasher::new();
    sum.update(&bytes[..8]);
    sum.update(&bytes[16..WORDS * 8]);
    let sum = u64::from(sum.finalize()).to_le_bytes();
    bytes[8..16].copy_from_slice(&sum);
    let keys: [u8; 16] = bytes[16..32].try_into().expect("two words");
    for (number, bucket) in bytes[BUCKET..].chunks_exact_mut(BUCKET).enumerate() {
        let mut sum = crc32fast::Hasher::new();
        sum.update(&keys);
        sum.update(&(number as u64).to_le_bytes());
        sum.update(&bucket[4..]);
        let sum = sum.finalize().to_le_bytes();
        bucket[..4].copy_from_slice(&sum);
    }
}
