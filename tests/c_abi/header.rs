//! The header against the Rust it describes: values, layouts, functions.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{c_char, c_int, c_uchar, c_void};
use std::mem::MaybeUninit;
use std::process::Command;
use std::sync::LazyLock;

use otpgate::ffi::*;

use super::{header_path, static_library};

/// The header as Rust, without any white space, one item after the other.
static HEADER: LazyLock<Vec<String>> = LazyLock::new(|| {
    let bindings = bindgen::Builder::default()
        .header(header_path().to_str().expect("a path in UTF-8"))
        .allowlist_item("(?i)otpgate.*")
        .generate()
        .expect("the header is C")
        .to_string();
    let one_line: String = bindings.split_ascii_whitespace().collect();
    let plain = one_line.replace("::std::os::raw::", "").replace("::std::option::", "");
    plain.split("pub").map(str::to_owned).collect()
});

fn without_blanks(text: &str) -> String {
    text.split_ascii_whitespace().collect()
}

/// Items of the header that begin like this, by name; the rest of each as its value.
fn items(beginning: &str, end_of_name: char) -> BTreeMap<String, String> {
    let found =
        HEADER.iter().filter_map(|item| item.strip_prefix(beginning)?.split_once(end_of_name));
    found.map(|(name, rest)| (name.to_owned(), rest.to_owned())).collect()
}

macro_rules! constants {
    ($($name:ident)*) => { [$((stringify!($name), i128::try_from($name).unwrap())),*] };
}

#[test]
fn every_constant_of_the_header_has_its_value_in_rust() {
    let rust = constants! {
        OTPGATE_API_VERSION
        OTPGATE_APACHE OTPGATE_NGINX
        OTPGATE_GRANTED OTPGATE_DENIED OTPGATE_UNKNOWN OTPGATE_ERROR OTPGATE_WOULD_BLOCK OTPGATE_THROTTLED OTPGATE_BUSY
        OTPGATE_MATCHED
        OTPGATE_BASIC OTPGATE_DIGEST OTPGATE_COOKIE
        OTPGATE_REALM_OFF OTPGATE_REALM_ON OTPGATE_REALM_BAD
        OTPGATE_EVENT_WITHOUT_TLS OTPGATE_EVENT_OVERDUE OTPGATE_EVENT_QUEUE_FULL OTPGATE_EVENT_PART_REFUSED
        OTPGATE_EVENT_PROVIDER_GONE OTPGATE_EVENT_NO_REFUSAL_MEMORY OTPGATE_EVENT_NOT_THE_PAGE
        OTPGATE_LOGIN_OVERDUE OTPGATE_SETTINGS_MAX
        OTPGATE_PIN_RIGHT OTPGATE_PIN_WRONG OTPGATE_PIN_UNKNOWN OTPGATE_PIN_ERROR
        OTPGATE_LOG_ERROR OTPGATE_LOG_WARNING OTPGATE_LOG_NOTICE OTPGATE_LOG_INFO OTPGATE_LOG_DEBUG
        OTPGATE_SETTINGS_WORDS OTPGATE_MEMORY_WORDS OTPGATE_UPSTREAM_MAX OTPGATE_USER_MAX OTPGATE_BODY_MAX OTPGATE_HA1_LEN
        OTPGATE_CHALLENGES_MAX OTPGATE_CHALLENGES_SIZE
    };
    let rust: BTreeMap<String, i128> = rust.map(|(name, value)| (name.to_owned(), value)).into();
    let header: BTreeMap<String, i128> = items("const", ':')
        .into_iter()
        .map(|(name, rest)| {
            let value =
                rest.split_once('=').and_then(|(_, value)| value.split(';').next()?.parse().ok());
            (name.clone(), value.unwrap_or_else(|| panic!("{name} is no number: {rest}")))
        })
        .collect();
    assert_eq!(header, rust);
}

/// Each struct with size, alignment, and its fields' names, types and offsets. The pattern proves
/// that no field is left out, the reference that the type is the one named.
macro_rules! structs {
    ($($name:ident { $($field:ident: $type:ty),* })*) => {
        [$({
            #[allow(dead_code)]
            fn has_exactly_these_fields($name { $($field),* }: &$name) { $(let _: &$type = $field;)* }
            Layout {
                name: stringify!($name),
                size: size_of::<$name>(),
                align: align_of::<$name>(),
                fields: vec![$((
                    stringify!($field),
                    without_blanks(stringify!($type)).replace("MaybeUninit<u64>", "u64"),
                    std::mem::offset_of!($name, $field),
                )),*],
            }
        }),*]
    };
}

struct Layout {
    name: &'static str,
    size: usize,
    align: usize,
    fields: Vec<(&'static str, String, usize)>,
}

#[test]
fn every_struct_of_the_header_has_its_layout_in_rust() {
    let rust = structs! {
        // Array lengths as bindgen writes them.
        otpgate_str { len: usize, data: *const c_uchar }
        otpgate_host {
            api_version: u32,
            server: u32,
            root: otpgate_str,
            log: Option<unsafe extern "C" fn(request: *mut c_void, level: c_int, message: otpgate_str)>,
            check_pin: Option<
                unsafe extern "C" fn(request: *mut c_void, user: otpgate_str, pin: otpgate_str) -> c_int
            >,
            lock_zone: Option<unsafe extern "C" fn(mutex: *mut c_void)>,
            unlock_zone: Option<unsafe extern "C" fn(mutex: *mut c_void)>
        }
        otpgate_pool {
            allocate: Option<unsafe extern "C" fn(pool: *mut c_void, size: usize) -> *mut c_void>,
            pool: *mut c_void
        }
        otpgate_zone { memory: *mut c_void, size: usize, mutex: *mut c_void }
        // What C sees of it are numbers.
        otpgate_settings { opaque: [MaybeUninit<u64>; 144usize] }
        otpgate_memory { opaque: [u64; 104usize] }
        otpgate_address { len: u8, bytes: [u8; 16usize] }
        otpgate_login {
            settings: *const otpgate_settings,
            scheme: c_int,
            log_level: c_int,
            has_tls: c_int,
            is_part: c_int,
            is_for_pin: c_int,
            address: otpgate_address,
            authorization: otpgate_str,
            user: otpgate_str,
            password: otpgate_str,
            realm: otpgate_str,
            method: otpgate_str,
            target: otpgate_str,
            request_line: otpgate_str,
            host: otpgate_str,
            destination: otpgate_str,
            path: otpgate_str,
            cookie: otpgate_str,
            accept: otpgate_str,
            accept_language: otpgate_str,
            content_type: otpgate_str,
            origin: otpgate_str,
            fetch_site: otpgate_str,
            fetch_mode: otpgate_str,
            body: otpgate_str,
            zone: *const otpgate_zone,
            memory: *mut otpgate_memory,
            connection: *mut u64,
            turn: u64,
            request: *mut c_void
        }
        otpgate_answer {
            verdict: i32,
            stale: i32,
            is_for_path: i32,
            retry_after: u32,
            response: *mut otpgate_response,
            result: *const c_char,
            user_len: usize,
            user: [c_char; 255usize],
            upstream_len: usize,
            upstream: [c_char; 2048usize]
        }
        otpgate_identity { uid: u32, gid: u32 }
        otpgate_place {
            settings: *const otpgate_settings,
            place: otpgate_str,
            realm: otpgate_str,
            other_realm: otpgate_str,
            section: otpgate_str,
            is_on_unix_socket: c_int,
            is_any_enough: c_int,
            is_login_page: c_int,
            has_login_page: c_int
        }
    };
    let text: String = HEADER.concat();
    for layout in &rust {
        let name = layout.name;
        let says = |what: String| assert!(text.contains(&what), "the header doesn't say {what}");
        says(format!("[\"Sizeof{name}\"][::std::mem::size_of::<{name}>()-{}usize];", layout.size));
        says(format!(
            "[\"Alignmentof{name}\"][::std::mem::align_of::<{name}>()-{}usize];",
            layout.align
        ));
        let mut fields = String::new();
        for (field, kind, offset) in &layout.fields {
            says(format!(
                "[\"Offsetoffield:{name}::{field}\"][::std::mem::offset_of!({name},{field})-{offset}usize];"
            ));
            fields.push_str(&format!("{field}:{kind},"));
        }
        let declared =
            text.split_once(&format!("struct{name}{{")).and_then(|(_, rest)| rest.split_once('}'));
        let declared = declared.unwrap_or_else(|| panic!("the header has no struct {name}")).0;
        assert_eq!(normal(declared), normal(&fields), "{name}");
    }
    let of_header: BTreeSet<String> = items("struct", '{').into_keys().collect();
    let opaque = ["otpgate_gate", "otpgate_response"].map(str::to_owned);
    let of_rust: BTreeSet<String> =
        rust.iter().map(|layout| layout.name.to_owned()).chain(opaque).collect();
    assert_eq!(of_header, of_rust);
}

/// Without the commas that only end a list.
fn normal(code: &str) -> String {
    code.replace(",)", ")").replace(",>", ">")
}

/// C has a pointer that may be null where Rust has an option of a reference.
fn as_pointer(kind: &str) -> String {
    let Some(referenced) = kind.strip_prefix("Option<&").and_then(|kind| kind.strip_suffix('>'))
    else {
        return kind.to_owned();
    };
    match referenced.strip_prefix("mut") {
        Some(referenced) => format!("*mut{referenced}"),
        None => format!("*const{referenced}"),
    }
}

macro_rules! functions {
    ($(fn $name:ident($($type:ty),*) $(-> $result:ty)?;)*) => {
        [$({
            let _: unsafe extern "C" fn($($type),*) $(-> $result)? = $name;
            let types: Vec<String> = vec![$(as_pointer(&without_blanks(stringify!($type)))),*];
            let result: Option<String> = [$(without_blanks(stringify!($result)))?].into_iter().next();
            (stringify!($name).to_owned(), (types, result))
        }),*]
    };
}

#[test]
fn every_function_of_the_header_has_its_signature_in_rust() {
    let rust = functions! {
        fn otpgate_version() -> *const c_char;
        fn otpgate_gate_new(Option<&otpgate_host>) -> *mut otpgate_gate;
        fn otpgate_gate_free(*mut otpgate_gate);
        fn otpgate_setting_name(c_int, usize) -> *const c_char;
        fn otpgate_setting_usage(c_int, usize) -> *const c_char;
        fn otpgate_setting_is_for_authors(c_int, usize) -> c_int;
        fn otpgate_settings_set(Option<&otpgate_gate>, Option<&mut otpgate_settings>, Option<&otpgate_pool>, c_int, otpgate_str, *const otpgate_str, usize, otpgate_str, *mut c_char, usize) -> c_int;
        fn otpgate_settings_merge(*mut otpgate_settings, c_int, *const otpgate_settings, *const otpgate_settings);
        fn otpgate_settings_require_tls(Option<&otpgate_settings>) -> c_int;
        fn otpgate_settings_has_basic(Option<&otpgate_settings>) -> c_int;
        fn otpgate_settings_has_digest(Option<&otpgate_settings>) -> c_int;
        fn otpgate_settings_asked_by_basic(Option<&otpgate_settings>) -> c_int;
        fn otpgate_settings_refusal_time(Option<&otpgate_settings>) -> u32;
        fn otpgate_settings_is_set(Option<&otpgate_settings>) -> c_int;
        fn otpgate_settings_pin_provider(Option<&otpgate_settings>, usize, Option<&mut otpgate_str>) -> c_int;
        fn otpgate_zone_of_directive(otpgate_str, usize, Option<&mut usize>, Option<&mut usize>, *mut c_char, usize) -> c_int;
        fn otpgate_realm_of_directive(otpgate_str, *mut c_char, usize) -> c_int;
        fn otpgate_realm_of_request(Option<&otpgate_gate>, otpgate_str, *mut c_void) -> c_int;
        fn otpgate_refusal_rest(u32, u64) -> u64;
        fn otpgate_refusal_wait(Option<&otpgate_gate>, u32, u64, Option<&otpgate_address>) -> u64;
        fn otpgate_refusal_memory(usize) -> usize;
        fn otpgate_lend_refusal_memory(Option<&otpgate_gate>, *mut c_void, usize);
        fn otpgate_places_check(Option<&otpgate_gate>, *const otpgate_place, usize, *const otpgate_str, usize, Option<&otpgate_identity>, *mut c_void) -> usize;
        fn otpgate_scheme(Option<&otpgate_settings>, otpgate_str) -> c_int;
        fn otpgate_decide(Option<&otpgate_gate>, Option<&otpgate_login>, Option<&mut otpgate_answer>) -> c_int;
        fn otpgate_decide_now(Option<&otpgate_gate>, Option<&otpgate_login>, Option<&mut otpgate_answer>) -> c_int;
        fn otpgate_wants_target(Option<&otpgate_login>) -> c_int;
        fn otpgate_login_size(Option<&otpgate_login>) -> usize;
        fn otpgate_login_copy(Option<&mut otpgate_login>, *mut c_char);
        fn otpgate_address_of(otpgate_str) -> otpgate_address;
        fn otpgate_settings_wants_cookie(c_int, Option<&otpgate_settings>) -> c_int;
        fn otpgate_settings_strips(c_int, Option<&otpgate_settings>) -> c_int;
        fn otpgate_settings_login_page(Option<&otpgate_settings>) -> otpgate_str;
        fn otpgate_page(Option<&otpgate_gate>, Option<&otpgate_login>, Option<&mut otpgate_answer>) -> c_int;
        fn otpgate_response_status(Option<&otpgate_response>) -> c_int;
        fn otpgate_response_header(Option<&otpgate_response>, usize, Option<&mut otpgate_str>, Option<&mut otpgate_str>) -> c_int;
        fn otpgate_response_body(Option<&otpgate_response>) -> otpgate_str;
        fn otpgate_response_free(*mut otpgate_response);
        fn otpgate_strip(otpgate_str, *mut c_char) -> usize;
        fn otpgate_admit(Option<&otpgate_gate>, Option<&otpgate_login>, Option<&mut otpgate_answer>) -> c_int;
        fn otpgate_was_granted(Option<&u64>, otpgate_str) -> c_int;
        fn otpgate_unfit(Option<&otpgate_gate>, Option<&otpgate_settings>, otpgate_str, *mut c_void);
        fn otpgate_log_event(Option<&otpgate_gate>, c_int, otpgate_str, *mut c_void);
        fn otpgate_digest_match(Option<&otpgate_gate>, Option<&otpgate_login>, Option<&mut otpgate_answer>, Option<&mut [c_char; 32usize]>) -> c_int;
        fn otpgate_digest_spend(Option<&otpgate_gate>, Option<&otpgate_login>, Option<&mut otpgate_answer>) -> c_int;
        fn otpgate_paper_next(Option<&otpgate_memory>) -> u32;
        fn otpgate_zone_init(Option<&otpgate_zone>) -> c_int;
        fn otpgate_challenges(Option<&otpgate_gate>, Option<&otpgate_settings>, otpgate_str, *const otpgate_zone, c_int, Option<&mut [otpgate_str; 3usize]>, *mut c_char, usize, *mut c_void) -> usize;
    };
    let rust: BTreeMap<String, (Vec<String>, Option<String>)> = rust.into();
    let header: BTreeMap<String, (Vec<String>, Option<String>)> = items("fn", '(')
        .into_iter()
        .map(|(name, rest)| {
            let (arguments, rest) = rest.split_once(')').expect("arguments end");
            let types = arguments
                .split(',')
                .filter_map(|argument| Some(argument.split_once(':')?.1.to_owned()));
            let result = rest
                .strip_prefix("->")
                .and_then(|result| Some(result.split_once(';')?.0.to_owned()));
            (name, (types.collect(), result))
        })
        .collect();
    assert_eq!(header, rust);
}

#[test]
fn the_static_library_exports_the_functions_of_the_header_and_no_other_of_that_name() {
    let output = Command::new("nm")
        .args(["--extern-only", "--defined-only", "--format=posix"])
        .arg(static_library())
        .output()
        .unwrap_or_else(|error| {
            panic!("nm: {error}; install what the tests need with `make test-deps`")
        });
    let listing = String::from_utf8_lossy(&output.stdout);
    let exported: BTreeSet<&str> = listing
        .lines()
        .filter_map(|line| line.split(' ').next())
        .filter(|name| name.starts_with("otpgate"))
        .collect();
    let declared = items("fn", '(');
    assert_eq!(exported, declared.keys().map(String::as_str).collect());
}

#[test]
fn every_public_constant_of_the_rust_side_is_in_the_header() {
    let rust = include_str!("../../src/ffi/types.rs");
    let names: BTreeSet<String> = rust
        .lines()
        .filter_map(|line| line.strip_prefix("pub const ")?.split_once(':'))
        .map(|(name, _)| name.to_owned())
        .collect();
    assert_eq!(names, items("const", ':').into_keys().collect());
}
