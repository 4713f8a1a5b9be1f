//! One HTTP request is judged once, and a grant earned in one place is none in another whose rules
//! refuse it.

#[path = "common/scene.rs"]
mod scene;

use std::cell::RefCell;
use std::fs;
use std::sync::Barrier;
use std::sync::atomic::{AtomicI64, Ordering};

use otpgate::UnixTime;
use otpgate::decide::{LoginResult, PinAnswer, Verdict};
use otpgate::gate::{Answer, Gate, Login, PinSource, RequestMemory};
use otpgate::policy::{Admission, PinAlone, Policy, Server, Settings};
use otpgate::token::Address;
use otpgate::users::file::UsersFile;
use scene::{KEY, Lines, NoPins};

const CODES: [&str; 6] = ["755224", "287082", "359152", "969429", "338314", "254676"];
const BEGIN: UnixTime = 1_700_000_000;
const HOME: &str = "192.0.2.7";
const CAFE: &str = "198.51.100.23";
const PIN: &str = "sesame9";
/// Of "myPassword".
const HASH: &str = "$2y$05$lXGQBDT09PU0BUoTBUSbRuqQMwTF958HkK/qn25O6j6VbzgsXsYyO";

thread_local! {
    static NOW: AtomicI64 = const { AtomicI64::new(BEGIN) };
}

fn now() -> UnixTime {
    NOW.with(|now| now.load(Ordering::Relaxed))
}

fn wait(seconds: i64) {
    NOW.with(|now| now.fetch_add(seconds, Ordering::Relaxed));
}

struct Scene {
    file: scene::Scene,
    gate: Gate<UsersFile>,
}

fn scene(lines: &str) -> Scene {
    let file = scene::Scene::new(lines);
    let gate = Gate::new(UsersFile::new(&file.path), now).unwrap();
    Scene { file, gate }
}

impl Scene {
    fn read(&self) -> String {
        fs::read_to_string(&self.file.path).unwrap()
    }

    fn edit(&self, from: &str, to: &str) {
        let before = self.read();
        assert!(before.contains(from));
        fs::write(&self.file.path, before.replace(from, to)).unwrap();
    }

    fn failures(&self) -> String {
        self.read().split_whitespace().nth(5).unwrap_or_default().to_owned()
    }

    fn ask(&self, request: &mut Request<'_>, policy: &Policy) -> LoginResult {
        self.answer(request, policy, &NoPins).word
    }

    fn answer(&self, request: &mut Request<'_>, policy: &Policy, source: &dyn PinSource) -> Answer {
        let log = Lines::default();
        let memory = Some(&mut request.judged);
        let answer = self.gate.basic(policy, &request.login, source, memory, &log);
        request.lines += log.texts().len();
        answer
    }
}

/// One HTTP request, however often it is asked about.
struct Request<'a> {
    login: Login<'a>,
    judged: RequestMemory,
    lines: usize,
}

fn request<'a>(password: &'a str, address: &str) -> Request<'a> {
    let address = Address::of_client(Some(address.parse().unwrap()));
    let login = Login { user: b"alice", password: password.as_bytes(), address };
    Request { login, judged: RequestMemory::default(), lines: 0 }
}

fn lax() -> Policy {
    Settings::default().policy(Server::Apache)
}

/// What the code of a line's token is at a counter or step.
fn code_of(line: &str, position: u64) -> String {
    let line = line.trim_end().replace("KEY", KEY);
    let record = otpgate::users::record::parse(line.as_bytes(), &jiff::tz::TimeZone::UTC).unwrap();
    String::from_utf8(record.token.code(position).as_bytes().to_vec()).unwrap()
}

const EVENT: &str = "HOTP alice 1234 KEY 1 3\n";
const TIME: &str = "HOTP/T30 alice 1234 KEY\n";
const STEP: u64 = BEGIN as u64 / 30;

/// Who is let in by a lax place hears in another what asking there directly says.
#[test]
fn a_fresh_grant_is_one_where_the_rules_grant_it_and_nowhere_else() {
    let wide = Policy { max_offset: 20, ..lax() };
    let plain = lax();
    for (line, password, strict, expected) in [
        (EVENT, code_of(EVENT, 3), Policy { max_offset: 1, ..plain }, LoginResult::DeniedCode),
        (EVENT, code_of(EVENT, 3), Policy { max_offset: 2, ..plain }, LoginResult::GrantedFresh),
        (
            EVENT,
            code_of(EVENT, 3),
            Policy { max_linger: Some(0), ..plain },
            LoginResult::GrantedFresh,
        ),
        (
            EVENT,
            code_of(EVENT, 3),
            Policy { logout_on_ip_change: true, ..plain },
            LoginResult::GrantedFresh,
        ),
        (EVENT, code_of(EVENT, 3), Policy { max_failures: 3, ..plain }, LoginResult::DeniedLocked),
        (EVENT, code_of(EVENT, 3), Policy { max_failures: 4, ..plain }, LoginResult::GrantedFresh),
        (EVENT, "397eea".to_owned(), Policy { allow_hex: false, ..plain }, LoginResult::DeniedCode),
        (EVENT, "397eea".to_owned(), Policy { max_offset: 0, ..plain }, LoginResult::GrantedFresh),
        (TIME, code_of(TIME, STEP + 5), plain, LoginResult::DeniedCode),
        (TIME, code_of(TIME, STEP - 5), plain, LoginResult::DeniedExpired),
        (TIME, code_of(TIME, STEP - 4), plain, LoginResult::GrantedFresh),
        (
            "HOTP alice 1234 KEY\nHOTP alice 12345 KEY 7\n",
            code_of(EVENT, 9),
            plain,
            LoginResult::GrantedFresh,
        ),
        (
            "HOTP alice 1234 KEY\nHOTP alice 12345 KEY 7\n",
            code_of(EVENT, 12),
            plain,
            LoginResult::DeniedCode,
        ),
    ] {
        let password = format!("1234{password}");
        let direct = scene(line).ask(&mut request(&password, HOME), &strict);
        assert_eq!(direct, expected, "{line} {strict:?}");

        let scene = scene(line);
        let mut request = request(&password, HOME);
        assert_eq!(scene.ask(&mut request, &wide), LoginResult::GrantedFresh, "{line} {strict:?}");
        let written = scene.read();
        for _ in 0..2 {
            assert_eq!(scene.ask(&mut request, &strict), expected, "{line} {strict:?}");
            // What is found out there takes nothing from the first place.
            assert_eq!(scene.ask(&mut request, &wide), LoginResult::GrantedFresh);
        }
        assert_eq!(scene.read(), written, "spent or counted twice: {line} {strict:?}");
        // A line for the grant, and one for each refusal.
        let refused = expected != LoginResult::GrantedFresh;
        assert_eq!(request.lines, if refused { 3 } else { 1 }, "{line} {strict:?}");
    }
}

#[test]
fn a_lingering_code_lingers_only_where_it_does() {
    let plain = lax();
    for (strict, address, age, expected) in [
        (Policy { max_linger: Some(0), ..plain }, HOME, 1, LoginResult::DeniedExpired),
        (Policy { max_linger: Some(60), ..plain }, HOME, 59, LoginResult::GrantedReuse),
        (Policy { max_linger: Some(60), ..plain }, HOME, 60, LoginResult::DeniedExpired),
        (
            Policy { max_idle: Some(60), max_linger: None, ..plain },
            HOME,
            60,
            LoginResult::DeniedExpired,
        ),
        (Policy { logout_on_ip_change: true, ..plain }, CAFE, 1, LoginResult::DeniedIp),
        (Policy { logout_on_ip_change: true, ..plain }, HOME, 1, LoginResult::GrantedReuse),
        (Policy { max_offset: 0, ..plain }, CAFE, 1, LoginResult::GrantedReuse),
    ] {
        let scene = scene(EVENT);
        let password = format!("1234{}", CODES[1]);
        assert_eq!(scene.ask(&mut request(&password, HOME), &plain), LoginResult::GrantedFresh);
        wait(age);
        // The second one is answered from what is known of the first.
        for _ in 0..2 {
            let mut request = request(&password, address);
            assert_eq!(scene.ask(&mut request, &plain), LoginResult::GrantedReuse);
            let written = scene.read();
            assert_eq!(scene.ask(&mut request, &strict), expected, "{strict:?}");
            assert_eq!(scene.ask(&mut request, &plain), LoginResult::GrantedReuse);
            assert_eq!(scene.read(), written);
        }
    }
}

/// The request is decided as of when it came, however long its parts take.
#[test]
fn time_that_passes_within_a_request_ends_no_grant_of_it() {
    let scene = scene(EVENT);
    let password = format!("1234{}", CODES[1]);
    let minute = Policy { max_linger: Some(60), ..lax() };
    let other = Policy { max_offset: 5, ..minute };
    assert_eq!(scene.ask(&mut request(&password, HOME), &minute), LoginResult::GrantedFresh);
    for second_time in [false, true] {
        NOW.with(|now| now.store(BEGIN + 59, Ordering::Relaxed));
        let mut request = request(&password, HOME);
        assert_eq!(scene.ask(&mut request, &minute), LoginResult::GrantedReuse);
        wait(300);
        assert_eq!(
            scene.ask(&mut request, &other),
            LoginResult::GrantedReuse,
            "from memory: {second_time}"
        );
    }
}

#[test]
fn from_strict_to_lax_and_to_what_decides_nothing_a_grant_holds() {
    let scene = scene(EVENT);
    let password = format!("1234{}", CODES[1]);
    let once = Policy { max_linger: Some(0), max_offset: 0, logout_on_ip_change: true, ..lax() };
    let mut first = request(&password, HOME);
    assert_eq!(scene.ask(&mut first, &once), LoginResult::GrantedFresh);
    let written = scene.read();
    for other in [lax(), Policy { pin_fake_basic: true, pin_cache_hashed: 0, ..once }, once] {
        assert_eq!(scene.ask(&mut first, &other), LoginResult::GrantedFresh);
    }
    assert_eq!((scene.read(), first.lines), (written, 1));
    // From another address it is another attempt, whatever the memory says.
    first.login.address = Address::of_client(Some(CAFE.parse().unwrap()));
    assert_eq!(scene.ask(&mut first, &once), LoginResult::DeniedExpired);
}

/// Where the rules are the same, a request is judged once; elsewhere, what has happened since
/// counts.
#[test]
fn what_was_done_since_to_user_or_token_ends_the_grant_in_other_places() {
    let other = Policy { max_offset: 3, ..lax() };
    let locking = Policy { max_failures: 2, ..lax() };
    let password = format!("1234{}", CODES[1]);
    type Act = fn(&Scene);
    let wrong_codes: Act = |scene| {
        for _ in 0..2 {
            assert_eq!(
                scene.ask(&mut request("1234000000", CAFE), &lax()),
                LoginResult::DeniedCode
            );
        }
    };
    let forget: Act =
        |scene| assert_eq!(scene.ask(&mut request("", HOME), &lax()), LoginResult::Forgotten);
    let next_code: Act = |scene| {
        let password = format!("1234{}", CODES[2]);
        assert_eq!(scene.ask(&mut request(&password, CAFE), &lax()), LoginResult::GrantedFresh);
    };
    for (what, act, strict, verdict, word) in [
        ("nothing", (|_| ()) as Act, other, Verdict::Granted, LoginResult::GrantedFresh),
        ("locked", wrong_codes, locking, Verdict::Denied, LoginResult::DeniedLocked),
        ("locked nowhere here", wrong_codes, other, Verdict::Granted, LoginResult::GrantedFresh),
        ("forgotten", forget, other, Verdict::Denied, LoginResult::DeniedExpired),
        (
            "disabled",
            |scene| scene.edit("HOTP alice", "OFF:HOTP alice"),
            other,
            Verdict::Denied,
            LoginResult::DeniedLocked,
        ),
        (
            "removed",
            |scene| scene.edit("HOTP alice", "HOTP alicia"),
            other,
            Verdict::Unknown,
            LoginResult::Unknown,
        ),
        (
            "new PIN",
            |scene| scene.edit(" 1234 ", " 12345 "),
            other,
            Verdict::Denied,
            LoginResult::DeniedCode,
        ),
        (
            "new key",
            |scene| scene.edit(" 3132", " 3133"),
            other,
            Verdict::Denied,
            LoginResult::DeniedCode,
        ),
        (
            "broken",
            |scene| scene.edit("HOTP alice", "HOTP/X alice"),
            other,
            Verdict::Denied,
            LoginResult::Error,
        ),
        (
            "limits",
            |scene| scene.edit("HOTP", "#@ limits max_offset=0 max_linger=0\nHOTP"),
            other,
            Verdict::Granted,
            LoginResult::GrantedFresh,
        ),
        (
            "strict limits",
            |scene| scene.edit("HOTP", "#@ limits max_failures=3\nHOTP"),
            other,
            Verdict::Denied,
            LoginResult::DeniedLocked,
        ),
        (
            "file gone",
            |scene| fs::remove_file(&scene.file.path).unwrap(),
            other,
            Verdict::Error,
            LoginResult::Error,
        ),
        ("another code", next_code, other, Verdict::Granted, LoginResult::GrantedFresh),
    ] {
        let scene = scene(EVENT);
        let mut request = request(&password, HOME);
        assert_eq!(scene.ask(&mut request, &lax()), LoginResult::GrantedFresh);
        act(&scene);
        let answer = scene.answer(&mut request, &strict, &NoPins);
        assert_eq!((answer.verdict, answer.word), (verdict, word), "{what}");
        assert_eq!(scene.ask(&mut request, &lax()), LoginResult::GrantedFresh, "{what}");
    }
}

/// Neither may show the other's code to the strict place as a new one.
#[test]
fn of_two_requests_with_one_code_one_gets_from_a_lax_into_a_strict_place() {
    let once = Policy { max_linger: Some(0), ..lax() };
    let scene = scene("HOTP alice - KEY\n");
    let gates: Vec<_> =
        (0..2).map(|_| Gate::new(UsersFile::new(&scene.file.path), now).unwrap()).collect();
    for code in CODES {
        let barrier = Barrier::new(8);
        let words: Vec<[LoginResult; 2]> = std::thread::scope(|threads| {
            let threads: Vec<_> = (0..8)
                .map(|number| {
                    let (gate, barrier, once) = (&gates[number % 2], &barrier, &once);
                    threads.spawn(move || {
                        let mut request = request(code, HOME);
                        barrier.wait();
                        [&lax(), once].map(|policy| {
                            let memory = Some(&mut request.judged);
                            gate.basic(policy, &request.login, &NoPins, memory, &Lines::default())
                                .word
                        })
                    })
                })
                .collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        let through =
            words.iter().filter(|words| **words == [LoginResult::GrantedFresh; 2]).count();
        let stopped = words
            .iter()
            .filter(|words| **words == [LoginResult::GrantedReuse, LoginResult::DeniedExpired])
            .count();
        assert_eq!((through, stopped), (1, 7), "{words:?}");
    }
}

#[test]
fn refusals_count_once_and_fall_through_only_where_that_is_asked_for() {
    let scene = scene(EVENT);
    let through = Policy { fall_through: true, ..lax() };
    let mut wrong_code = request("1234000000", HOME);
    for policy in [lax(), through, Policy { max_offset: 9, ..lax() }] {
        assert_eq!(scene.ask(&mut wrong_code, &policy), LoginResult::DeniedCode);
        assert_eq!(scene.failures(), "4");
    }
    let mut wrong_pin = request("4321755224", HOME);
    for (policy, verdict) in
        [(through, Verdict::Unknown), (lax(), Verdict::Denied), (through, Verdict::Denied)]
    {
        let answer = scene.answer(&mut wrong_pin, &policy, &NoPins);
        assert_eq!((answer.verdict, answer.word), (verdict, LoginResult::DeniedPin));
    }
    assert_eq!(scene.failures(), "4");
}

/// It rests on no code, so another place decides by itself; its refusal is no wrong guess, and
/// changes nothing where it was granted.
#[test]
fn a_grant_by_the_pin_alone_is_one_where_that_is_enough_and_no_guess_elsewhere() {
    let scene = scene("HOTP alice sesame9 KEY\n");
    let here = Policy { pin_alone: PinAlone::Here, max_failures: 3, ..lax() };
    let strict = Policy { pin_alone: PinAlone::IfStored, ..here };
    let also = Policy { max_offset: 7, ..here };
    let others = Policy { admission: Admission::NotAdmitted, ..here };
    let before = scene.read();
    let mut page = request(PIN, HOME);
    assert_eq!(scene.ask(&mut page, &here), LoginResult::GrantedTrusted);
    for _ in 0..20 {
        assert_eq!(scene.ask(&mut page, &strict), LoginResult::DeniedCode);
        assert_eq!(scene.ask(&mut page, &also), LoginResult::GrantedTrusted);
        assert_eq!(scene.ask(&mut page, &others), LoginResult::DeniedUser);
        assert_eq!(scene.ask(&mut page, &here), LoginResult::GrantedTrusted);
    }
    // The first grant, and the refusals.
    assert_eq!(page.lines, 41);
    assert_eq!(scene.read(), before);
    // By itself it is wrong there.
    assert_eq!(scene.ask(&mut request(PIN, HOME), &strict), LoginResult::DeniedPin);

    // A grant by a code leads to none by the PIN.
    let code = format!("{PIN}{}", CODES[0]);
    let mut page = request(&code, HOME);
    assert_eq!(scene.ask(&mut page, &here), LoginResult::GrantedFresh);
    assert_eq!(scene.ask(&mut page, &also), LoginResult::GrantedFresh);
    scene.edit("HOTP alice", "OFF:HOTP alice");
    let mut page = request(PIN, HOME);
    assert_eq!(scene.ask(&mut page, &here), LoginResult::DeniedLocked);
}

#[test]
fn the_header_with_the_pin_alone_is_judged_as_what_it_was_made_of() {
    let fake = Policy { pin_fake_basic: true, max_offset: 9, ..lax() };
    let narrow = Policy { max_offset: 0, ..fake };
    let password = format!("1234{}", CODES[3]);
    // The header is replaced by the first place, or only by the second.
    for first in [fake, Policy { pin_fake_basic: false, ..fake }] {
        let scene = scene(EVENT);
        let mut request = request(&password, HOME);
        for policy in [first, Policy { max_offset: 4, ..fake }] {
            let answer = scene.answer(&mut request, &policy, &NoPins);
            assert_eq!(answer.word, LoginResult::GrantedFresh);
            if let Some(pin) = answer.upstream_pin {
                assert_eq!(pin[..], *b"1234");
                request.login.password = b"1234";
            }
        }
        let written = scene.read();
        assert_eq!(request.login.password, b"1234");
        assert_eq!(scene.ask(&mut request, &narrow), LoginResult::DeniedCode);
        assert_eq!(
            scene.ask(&mut request, &Policy { max_offset: 3, ..fake }),
            LoginResult::GrantedFresh
        );
        assert_eq!(scene.read(), written);
        // By itself, or with something else in its place, it is nothing.
        request.login.password = b"1235";
        assert_eq!(scene.ask(&mut request, &fake), LoginResult::DeniedCode);
        request.login.password = b"1234";
        request.judged = RequestMemory::default();
        assert_eq!(scene.ask(&mut request, &fake), LoginResult::DeniedCode);
    }
}

/// Says how often it was asked.
struct Source<'a> {
    name: &'a str,
    pin: &'a str,
    says_all: bool,
    asked: RefCell<usize>,
}

impl PinSource for Source<'_> {
    fn identity(&self) -> Vec<u8> {
        self.name.into()
    }
    fn is_known_by_identity(&self) -> bool {
        self.says_all
    }
    fn check(&self, _: &[u8], pin: &[u8]) -> PinAnswer {
        *self.asked.borrow_mut() += 1;
        if pin == self.pin.as_bytes() { PinAnswer::Right } else { PinAnswer::Wrong }
    }
}

fn source<'a>(name: &'a str, pin: &'a str, says_all: bool) -> Source<'a> {
    Source { name, pin, says_all, asked: RefCell::default() }
}

#[test]
fn a_pin_that_another_source_checks_is_asked_about_there() {
    let scene = scene("HOTP alice + KEY\n");
    let password = format!("{PIN}{}", CODES[0]);
    let mut request = request(&password, HOME);
    let (own, same) = (source("one", PIN, true), source("one", "unasked", true));
    let (other, strange) = (source("two", PIN, true), source("three", "opendoor", true));
    let policy = Policy { pin_cache_external: 60, ..lax() };
    let narrow = Policy { max_offset: 0, ..policy };
    let mut word =
        |policy: &Policy, source: &Source<'_>| scene.answer(&mut request, policy, source).word;
    assert_eq!(word(&policy, &own), LoginResult::GrantedFresh);
    for policy in [policy, narrow] {
        assert_eq!(word(&policy, &same), LoginResult::GrantedFresh);
        assert_eq!(word(&policy, &other), LoginResult::GrantedFresh);
        assert_eq!(word(&policy, &strange), LoginResult::DeniedPin);
    }
    // What a source has said is known for a while, right or wrong.
    assert_eq!([own, same, other, strange].map(|source| source.asked.into_inner()), [1, 0, 1, 1]);
}

/// As with a provider of the server's: its name says nothing of its settings.
#[test]
fn a_source_whose_settings_are_not_known_is_asked_each_time() {
    let scene = scene("HOTP alice + KEY\n");
    let password = format!("{PIN}{}", CODES[0]);
    let here = source("file", PIN, false);
    let there = source("file", "opendoor", false);
    let policy = Policy { pin_cache_external: 600, ..lax() };
    for word in [LoginResult::GrantedFresh, LoginResult::GrantedReuse, LoginResult::GrantedReuse] {
        let mut first = request(&password, HOME);
        assert_eq!(scene.answer(&mut first, &policy, &here).word, word);
        assert_eq!(scene.answer(&mut first, &policy, &there).word, LoginResult::DeniedPin);
        // Not from memory either.
        assert_eq!(
            scene.answer(&mut request(&password, HOME), &policy, &there).word,
            LoginResult::DeniedPin
        );
    }
    assert_eq!((here.asked.into_inner(), there.asked.into_inner()), (3, 6));
    let failing = source("", PIN, false);
    let mut request = request(&password, HOME);
    assert_eq!(scene.answer(&mut request, &policy, &failing).word, LoginResult::DeniedPin);
}

#[test]
fn a_hashed_pin_is_checked_once_for_a_request() {
    let scene = scene(&format!("HOTP alice {HASH} KEY\n"));
    let password = format!("myPassword{}", CODES[0]);
    let mut request = request(&password, HOME);
    let never = Policy { pin_cache_hashed: 0, ..lax() };
    assert_eq!(scene.ask(&mut request, &never), LoginResult::GrantedFresh);
    // What may take no time finds it checked.
    for (policy, word) in [
        (Policy { max_linger: Some(0), ..never }, LoginResult::GrantedFresh),
        (Policy { max_failures: 3, ..never }, LoginResult::GrantedFresh),
    ] {
        let memory = Some(&mut request.judged);
        let log = Lines::default();
        // The first look at what the login has written.
        scene.ask(&mut self::request("nothing", HOME), &never);
        let answer = scene.gate.basic_now(&policy, &request.login, &NoPins, None, memory, &log);
        assert_eq!(answer.map(|answer| answer.word), Some(word));
    }
}

/// An event loop never searches a window for what is known to lie in it or not.
#[test]
fn other_places_are_decided_at_once_on_an_event_loop() {
    let scene = scene(EVENT);
    let password = format!("1234{}", CODES[3]);
    let mut request = request(&password, HOME);
    assert_eq!(scene.ask(&mut request, &lax()), LoginResult::GrantedFresh);
    scene.ask(&mut self::request("nothing", HOME), &lax());
    for (policy, word) in [
        (Policy { max_offset: 10_000, ..lax() }, LoginResult::GrantedFresh),
        (Policy { max_offset: 1, ..lax() }, LoginResult::DeniedCode),
    ] {
        let memory = Some(&mut request.judged);
        let log = Lines::default();
        let answer = scene.gate.basic_now(&policy, &request.login, &NoPins, None, memory, &log);
        assert_eq!(answer.map(|answer| answer.word), Some(word));
    }
    // Somebody has edited the file: that takes longer.
    scene.edit("HOTP alice", "# more\nHOTP alice");
    let memory = Some(&mut request.judged);
    let narrow = Policy { max_offset: 2, ..lax() };
    let answer =
        scene.gate.basic_now(&narrow, &request.login, &NoPins, None, memory, &Lines::default());
    assert_eq!(answer, None);
}

#[test]
fn requests_over_two_users_files_keep_both() {
    let (one, two) = (scene("HOTP alice - KEY\n"), scene("HOTP alice - KEY\n"));
    let once = Policy { max_linger: Some(0), ..lax() };
    let mut request = request(CODES[0], HOME);
    for _ in 0..3 {
        assert_eq!(one.ask(&mut request, &once), LoginResult::GrantedFresh);
        assert_eq!(two.ask(&mut request, &once), LoginResult::GrantedFresh);
    }
    assert_eq!(request.lines, 2);
}
