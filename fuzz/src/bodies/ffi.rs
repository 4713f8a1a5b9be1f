//! The C interface, with whatever a server may hand over: any bytes, in strings of any length, in
//! any order of calls.

use std::cell::Cell;
use std::ffi::{CStr, c_char, c_int, c_void};
use std::mem::{MaybeUninit, zeroed};
use std::panic;
use std::path::PathBuf;
use std::ptr::{null, null_mut};
use std::sync::Once;

use otpgate::ffi::*;

use super::{Pieces, directory};

pub const WORDS: &[&str] = &[
    "alice",
    "4711755224",
    "4711000000",
    "bob",
    "Basic YWxpY2U6NDcxMTc1NTIyNA==",
    "Digest username=\"alice\", realm=\"r\"",
    "otpgate-",
    "__Host-otpgate-",
    "GET / HTTP/1.1",
    "GET",
    "POST",
    "/otp/login",
    "/otp/login?to=",
    "example.org",
    "application/x-www-form-urlencoded",
    "do=login&user=alice&pin=4711&code=755224",
    "do=logout",
    "text/html",
    "navigate",
    "cors",
    "same-origin",
    "https://example.org",
    "de",
    "\0",
    "OTPAuthMaxLinger",
    "auth_otp_scheme",
    "off",
    "$realm",
    "zone:1m",
];

thread_local! {
    static PANICS: Cell<u32> = const { Cell::new(0) };
    /// The bytes have the key themselves, perhaps as a name: libFuzzer finds what is compared.
    static GIVES_KEY: Cell<bool> = const { Cell::new(false) };
}

/// Counts the panics that the guard of the entries would hide.
fn count_panics() {
    static HOOKED: Once = Once::new();
    HOOKED.call_once(|| {
        // The guard puts its own hook in place at the first call.
        otpgate_setting_name(OTPGATE_APACHE, 0);
        let quiet = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            PANICS.set(PANICS.get() + 1);
            eprintln!("{info}");
            quiet(info);
        }));
    });
}

fn has_key(bytes: &[u8]) -> bool {
    let key = b"3132333435363738393031323334353637383930";
    bytes.windows(key.len()).any(|part| part == key)
}

unsafe extern "C" fn log(_: *mut c_void, level: c_int, message: otpgate_str) {
    // SAFETY: the library lends a line for this call.
    let line = unsafe { std::slice::from_raw_parts(message.data, message.len) };
    assert!((OTPGATE_LOG_ERROR..=OTPGATE_LOG_DEBUG).contains(&level), "{level}");
    // httpd itself shows other control characters as \xHH.
    assert!(!line.iter().any(|b| matches!(b, b'\n' | b'\r' | 0)), "{}", line.escape_ascii());
    // Not among the words that bytes are made of, so it could come from the users file alone.
    assert!(GIVES_KEY.get() || !has_key(line), "a key in the log");
}

unsafe extern "C" fn lock(_: *mut c_void) {}

unsafe extern "C" fn allocate(pool: *mut c_void, size: usize) -> *mut c_void {
    // SAFETY: the pool of the call, which one thread has.
    let pool = unsafe { &mut *pool.cast::<Pool>() };
    pool.0.push(vec![0; size.div_ceil(8)]);
    pool.0.last_mut().expect("just now").as_mut_ptr().cast()
}

#[derive(Default)]
struct Pool(Vec<Vec<u64>>);

/// A string in memory of exactly its length, so that a byte more is seen to be read.
fn exactly(bytes: &[u8]) -> Box<[u8]> {
    bytes.into()
}

fn str_of(bytes: &[u8]) -> otpgate_str {
    otpgate_str { len: bytes.len(), data: if bytes.is_empty() { null() } else { bytes.as_ptr() } }
}

fn settings_with(
    gate: *const otpgate_gate,
    pool: &mut Pool,
    settings: &mut otpgate_settings,
    server: c_int,
    name: &[u8],
    words: &[&[u8]],
) -> c_int {
    let words: Vec<Box<[u8]>> = words.iter().map(|word| exactly(word)).collect();
    let args: Vec<otpgate_str> = words.iter().map(|word| str_of(word)).collect();
    let lent = otpgate_pool { allocate: Some(allocate), pool: std::ptr::from_mut(pool).cast() };
    let mut error = [b'x' as c_char; 32];
    // SAFETY: all of it is this function's own, for the time of the call.
    let refused = unsafe {
        otpgate_settings_set(
            gate.as_ref(),
            Some(settings),
            Some(&lent),
            server,
            str_of(name),
            args.as_ptr(),
            args.len(),
            str_of(b"file:1"),
            error.as_mut_ptr(),
            error.len(),
        )
    };
    // A text, cut short if need be.
    assert!(refused == 0 || error.contains(&0));
    refused
}

/// Any calls: the verdicts are of the header, strings end where they say, no panic happens, no line
/// of the log holds a secret, and nobody gets in without the code that isn't among the bytes.
pub fn ffi(data: &[u8]) {
    count_panics();
    let before = PANICS.get();
    GIVES_KEY.set(has_key(data));
    calls(data);
    assert_eq!(PANICS.get(), before, "a panic in the library");
}

fn users_file() -> PathBuf {
    let path = directory("ffi").join("users");
    // The first code of RFC 4226 is spent; later ones are for nobody who doesn't compute them.
    let content = "HOTP/E/6 alice 4711 3132333435363738393031323334353637383930 1\nHOTP/T30/6 bob + 00112233\n\
                   #@ allow apps\n#@ app alice phone sha256:00000000000000000000000000000000:\
                   0000000000000000000000000000000000000000000000000000000000000000 used=never\n";
    let _ = std::fs::remove_file(directory("ffi").join("users.throttle"));
    if !path.exists() || std::fs::metadata(&path).is_ok_and(|it| it.len() > 64 * 1024) {
        std::fs::write(&path, content).expect("a file in memory");
    }
    path
}

fn calls(data: &[u8]) {
    let mut pieces = Pieces(data);
    let how = pieces.number();
    let server = if how & 1 == 0 { OTPGATE_APACHE } else { OTPGATE_NGINX };
    let users = users_file();
    let root = directory("ffi");
    let host = otpgate_host {
        api_version: OTPGATE_API_VERSION,
        server: server as u32,
        root: str_of(root.as_os_str().as_encoded_bytes()),
        log: Some(log),
        check_pin: None,
        lock_zone: Some(lock),
        unlock_zone: Some(lock),
    };
    // SAFETY: everything is lent for the calls alone, of the types and lengths that are said; each
    // string has memory of its own length. What is made is released once, at the end.
    unsafe {
        let gate_pointer = otpgate_gate_new(Some(&host));
        let gate = gate_pointer.as_ref();
        assert!(gate.is_some());
        let mut pool = Pool::default();
        let mut settings =
            otpgate_settings { opaque: [MaybeUninit::new(0); OTPGATE_SETTINGS_WORDS] };
        let name: &[u8] =
            if server == OTPGATE_APACHE { b"OTPAuthUsersFile" } else { b"auth_otp_users_file" };
        let users = users.as_os_str().as_encoded_bytes();
        assert_eq!(
            settings_with(gate_pointer, &mut pool, &mut settings, server, name, &[users]),
            0
        );
        if how & 2 == 2 && server == OTPGATE_NGINX {
            let scheme: &[u8] =
                [&b"form"[..], b"both", b"digest", b"basic"][(how >> 2 & 3) as usize];
            settings_with(
                gate_pointer,
                &mut pool,
                &mut settings,
                server,
                b"auth_otp_scheme",
                &[scheme],
            );
            settings_with(
                gate_pointer,
                &mut pool,
                &mut settings,
                server,
                b"auth_otp_login_page",
                &[b"/otp/login"],
            );
        }
        let (name, first, second) = (pieces.text(), pieces.text(), pieces.text());
        let mut own = settings;
        settings_with(gate_pointer, &mut pool, &mut own, server, name, &[first, second]);
        if !is_of_files(name) {
            let base = settings;
            otpgate_settings_merge(&mut settings, server, &base, &own);
        }
        ask_settings(server, &settings, pieces.0);

        let mut zone_words = vec![0u64; 512];
        let zone = otpgate_zone {
            memory: zone_words.as_mut_ptr().cast(),
            size: zone_words.len() * 8,
            mutex: null_mut(),
        };
        assert_eq!(otpgate_zone_init(Some(&zone)), 0);

        let strings: Vec<Box<[u8]>> = (0..18).map(|_| exactly(pieces.text())).collect();
        let mut memory = otpgate_memory { opaque: [0; OTPGATE_MEMORY_WORDS] };
        let mut connection = 0;
        let mut login: otpgate_login = zeroed();
        login.settings = &settings;
        login.scheme = (how >> 4 & 7) as c_int - 1;
        login.log_level = (how >> 7 & 7) as c_int;
        login.has_tls = (how >> 10 & 1) as c_int;
        login.is_part = (how >> 11 & 1) as c_int;
        login.is_for_pin = (how >> 12 & 1) as c_int;
        login.address = otpgate_address { len: (how >> 13) as u8, bytes: [1; 16] };
        let places = [
            &mut login.authorization,
            &mut login.user,
            &mut login.password,
            &mut login.realm,
            &mut login.method,
            &mut login.target,
            &mut login.request_line,
            &mut login.host,
            &mut login.destination,
            &mut login.path,
            &mut login.cookie,
            &mut login.accept,
            &mut login.accept_language,
            &mut login.content_type,
            &mut login.origin,
            &mut login.fetch_site,
            &mut login.fetch_mode,
            &mut login.body,
        ];
        for (place, string) in places.into_iter().zip(&strings) {
            *place = str_of(string);
            // None there, whatever its length says.
            if how >> 21 & 31 == 31 && string.is_empty() {
                place.len = 7;
            }
        }
        login.zone = if how >> 26 & 1 == 0 { &zone } else { null() };
        login.memory = if how >> 27 & 1 == 0 { &mut memory } else { null_mut() };
        login.connection = if how >> 28 & 1 == 0 { &mut connection } else { null_mut() };
        login.turn = how >> 29 & 3;

        let mut answer: otpgate_answer = zeroed();
        let mut ha1 = [1 as c_char; OTPGATE_HA1_LEN];
        for call in [how >> 32 & 7, how >> 35 & 7] {
            let verdict = match call {
                0 => otpgate_decide_now(gate, Some(&login), Some(&mut answer)),
                1 => otpgate_page(gate, Some(&login), Some(&mut answer)),
                2 => otpgate_digest_match(gate, Some(&login), Some(&mut answer), Some(&mut ha1)),
                3 => otpgate_digest_spend(gate, Some(&login), Some(&mut answer)),
                4 => {
                    let over = otpgate_admit(gate, Some(&login), Some(&mut answer));
                    assert!([0, OTPGATE_THROTTLED, OTPGATE_BUSY].contains(&over));
                    if over == 0 {
                        // It goes on, and says nothing.
                        answer.verdict = OTPGATE_DENIED;
                        OTPGATE_DENIED
                    } else {
                        over
                    }
                }
                5 => otpgate_decide(None, Some(&login), Some(&mut answer)),
                _ => otpgate_decide(gate, Some(&login), Some(&mut answer)),
            };
            let is_undecided = call == 0 && verdict == OTPGATE_WOULD_BLOCK;
            assert!((OTPGATE_GRANTED..=OTPGATE_MATCHED).contains(&verdict), "{verdict}");
            assert!(verdict != OTPGATE_WOULD_BLOCK || is_undecided);
            assert!(verdict != OTPGATE_GRANTED && verdict != OTPGATE_MATCHED, "let in");
            assert_eq!(answer.verdict, verdict);
            sound(&mut answer, call == 1);
        }

        let texts = (&strings[0], &strings[10]);
        otpgate_scheme(Some(&settings), str_of(texts.0));
        otpgate_wants_target(Some(&login));
        otpgate_was_granted(Some(&connection), str_of(texts.0));
        otpgate_paper_next(Some(&memory));
        otpgate_unfit(gate, Some(&settings), str_of(texts.0), null_mut());
        otpgate_log_event(gate, (how >> 40 & 15) as c_int, str_of(&strings[9]), null_mut());
        let mut left = vec![1u8; texts.1.len()].into_boxed_slice();
        let len = otpgate_strip(str_of(texts.1), left.as_mut_ptr().cast());
        assert!(len <= left.len());
        let mut challenges = [otpgate_str::EMPTY; OTPGATE_CHALLENGES_MAX];
        let mut buffer = vec![0u8; (how >> 44 & 0xfff) as usize].into_boxed_slice();
        let count = otpgate_challenges(
            gate,
            Some(&settings),
            str_of(&strings[3]),
            login.zone,
            login.has_tls,
            Some(&mut challenges),
            buffer.as_mut_ptr().cast(),
            buffer.len(),
            null_mut(),
        );
        let range = buffer.as_ptr_range();
        for challenge in &challenges[..count] {
            assert!(
                challenge.data >= range.start && challenge.data.add(challenge.len) <= range.end
            );
            let text = std::slice::from_raw_parts(challenge.data, challenge.len);
            assert!(!text.contains(&b'\r') && !text.contains(&b'\n') && !text.contains(&0));
        }

        // As for another thread: each string in one block of the length that is said.
        let mut block = vec![0u8; otpgate_login_size(Some(&login))].into_boxed_slice();
        let mut moved = login;
        otpgate_login_copy(Some(&mut moved), block.as_mut_ptr().cast());
        if !block.is_empty() {
            let verdict = otpgate_decide(gate, Some(&moved), Some(&mut answer));
            assert_ne!(verdict, OTPGATE_GRANTED);
            sound(&mut answer, false);
        }
        otpgate_gate_free(gate_pointer);
        drop(pool);
    }
}

/// Those name files and would have others looked for all over the machine.
fn is_of_files(name: &[u8]) -> bool {
    let name = name.to_ascii_lowercase();
    [&b"file"[..], b"template", b"group"]
        .iter()
        .any(|word| name.windows(word.len()).any(|part| part == *word))
}

/// What is asked of settings, and of texts of a configuration.
unsafe fn ask_settings(server: c_int, settings: &otpgate_settings, text: &[u8]) {
    let word = exactly(&text[..text.len().min(64)]);
    let word = str_of(&word);
    let mut error = [1 as c_char; 16];
    let (mut name_len, mut size) = (0, 0);
    // SAFETY: as above; the error's place is as long as it is said to be.
    unsafe {
        assert_eq!(otpgate_settings_is_set(Some(settings)), 1);
        for number in 0..OTPGATE_SETTINGS_MAX + 1 {
            for text in
                [otpgate_setting_name(server, number), otpgate_setting_usage(server, number)]
            {
                assert!(text.is_null() || !CStr::from_ptr(text).is_empty());
            }
            otpgate_setting_is_for_authors(server, number);
        }
        otpgate_settings_require_tls(Some(settings));
        otpgate_settings_has_basic(Some(settings));
        otpgate_settings_has_digest(Some(settings));
        otpgate_settings_asked_by_basic(Some(settings));
        otpgate_settings_wants_cookie(server, Some(settings));
        otpgate_settings_strips(server, Some(settings));
        let page = otpgate_settings_login_page(Some(settings));
        assert!(page.len == 0 || *page.data == b'/');
        let time = otpgate_settings_refusal_time(Some(settings));
        assert!(otpgate_refusal_rest(time, u64::from(time) * 3 + 1) <= u64::from(time));
        let mut name = otpgate_str::EMPTY;
        otpgate_settings_pin_provider(Some(settings), 0, Some(&mut name));
        if otpgate_realm_of_directive(word, error.as_mut_ptr(), error.len()) == OTPGATE_REALM_BAD {
            assert!(error.contains(&0));
        }
        let refused = otpgate_zone_of_directive(
            word,
            4096,
            Some(&mut name_len),
            Some(&mut size),
            error.as_mut_ptr(),
            error.len(),
        );
        assert!(refused != 0 || (name_len <= word.len && size > 0));
        let address = otpgate_address_of(word);
        assert!([0, 4, 16].contains(&address.len));
    }
}

/// An answer is filled, and what is in it ends where it says.
unsafe fn sound(answer: &mut otpgate_answer, is_page: bool) {
    // SAFETY: a text of the library's, never null; a response that it has just made.
    unsafe {
        assert!(CStr::from_ptr(answer.result).to_bytes().len() < 32);
        assert_eq!((answer.user_len, answer.upstream_len), (0, 0));
        let response = answer.response.as_ref();
        assert!(!is_page || response.is_some());
        let status = otpgate_response_status(response);
        assert!(status == 0 || (200..600).contains(&status), "{status}");
        let (mut name, mut value) = (otpgate_str::EMPTY, otpgate_str::EMPTY);
        let mut index = 0;
        while otpgate_response_header(response, index, Some(&mut name), Some(&mut value)) == 1 {
            for text in [name, value] {
                let text = std::slice::from_raw_parts(text.data, text.len);
                assert!(text.iter().all(|b| (b' '..=b'~').contains(b)), "{}", text.escape_ascii());
            }
            index += 1;
        }
        let body = otpgate_response_body(response);
        assert!(body.len < 1 << 20);
        otpgate_response_free(answer.response);
        answer.response = null_mut();
    }
}
