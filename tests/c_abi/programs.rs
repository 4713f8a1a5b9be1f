//! Builds the C programs and runs each of their cases.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::LazyLock;

use super::{header_path, static_library};

fn sources() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/c_abi")
}

fn output_of(command: &mut Command) -> Output {
    command.output().unwrap_or_else(|error| {
        panic!(
            "{}: {error}; install what the tests need with `make test-deps`",
            command.get_program().display()
        )
    })
}

#[track_caller]
fn succeeds(command: &mut Command) -> Output {
    let output = output_of(command);
    assert!(
        output.status.success(),
        "{command:?}: {}\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    output
}

/// The compiler for C, or for C++, that finds the header and the C files here and takes no doubtful
/// line.
fn compiler(is_cpp: bool, standard: Option<&str>) -> cc::Build {
    let machine = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let mut build = cc::Build::new();
    build
        .host(&machine)
        .target(&machine)
        .out_dir(env!("CARGO_TARGET_TMPDIR"))
        .opt_level(0)
        .debug(true);
    build.cargo_metadata(false).cpp(is_cpp).include(header_path().parent().unwrap());
    build.extra_warnings(true).warnings_into_errors(true).flag("-pedantic");
    build.define("PACKAGE_VERSION", concat!("\"", env!("CARGO_PKG_VERSION"), "\""));
    if let Some(standard) = standard {
        build.std(standard);
    }
    // `make sanitize` has the programs watched.
    let flags = std::env::var("OTPGATE_C_ABI_CFLAGS").unwrap_or_default();
    build.flags(flags.split_whitespace());
    build
}

fn command_of(build: &cc::Build) -> Command {
    let mut command =
        build.try_get_compiler().expect("a compiler: `make deps` installs one").to_command();
    command.current_dir(sources());
    command
}

/// What is linked with the library, as the Makefile has it for the servers' modules.
fn system_libraries() -> Vec<String> {
    let mut make = Command::new("make");
    make.args(["--silent", "--no-print-directory", "-C", env!("CARGO_MANIFEST_DIR"), "rust-libs"]);
    // Of a `make test` around it.
    make.env_remove("MAKEFLAGS").env_remove("MAKELEVEL");
    let listed = String::from_utf8(succeeds(&mut make).stdout).expect("names in UTF-8");
    listed.split_whitespace().map(str::to_owned).collect()
}

/// Compiles and links against a static library of ours.
#[track_caller]
fn build(name: &str, compiler: &cc::Build, files: &[&str], library: &Path) -> PathBuf {
    let program = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let mut command = command_of(compiler);
    command.args(files).args(["-x", "none"]).arg(library).args(system_libraries());
    succeeds(command.arg("-o").arg(&program));
    program
}

fn build_cases(name: &str, library: &Path) -> PathBuf {
    let files = [
        "main.c",
        "harness.c",
        "gate.c",
        "settings.c",
        "login.c",
        "digest.c",
        "processes.c",
        "panic.c",
    ];
    let mut compiler = compiler(false, Some("c99"));
    build(name, compiler.define("_POSIX_C_SOURCE", "200809L"), &files, library)
}

static CASES: LazyLock<PathBuf> = LazyLock::new(|| build_cases("c_abi_cases", &static_library()));

/// Runs one case in a directory of its own.
#[track_caller]
fn run(program: &Path, case: &str) -> Output {
    let directory = tempfile::tempdir().expect("a directory for the case");
    succeeds(Command::new(program).arg(case).current_dir(directory.path()))
}

macro_rules! cases {
    ($($case:ident)*) => {
        $(#[test] fn $case() { run(&CASES, stringify!($case)); })*
        const RUN_BY_ITSELF: &[&str] = &[$(stringify!($case)),*];
    };
}

cases! {
    the_version_is_the_packages
    a_gate_is_made_for_both_servers
    no_gate_without_a_known_version_server_and_log
    ending_no_gate_is_allowed
    the_host_and_its_root_are_copied
    gates_to_one_file_know_of_each_others_logins

    settings_have_the_names_of_their_server_and_a_usage
    an_unknown_server_has_no_settings
    every_listed_name_is_a_setting
    all_zero_says_nothing
    values_are_kept_and_copied_by_assignment
    what_was_passed_with_a_directive_may_change_once_it_is_set
    without_memory_a_directive_is_refused_and_changes_nothing
    nginx_has_its_own_names_and_takes_them_exactly
    bad_values_are_refused_with_the_reason
    the_reason_is_cut_to_its_place
    null_pointers_are_refused
    a_realm_is_a_text_or_off
    a_zone_is_a_name_and_a_size
    a_child_overrides_what_it_sets_and_inherits_the_rest
    zero_failures_in_a_child_inherit_the_limit_on_apache_alone
    the_configuration_test_counts_errors_and_logs_each_with_its_place
    the_configuration_test_reports_lines_without_pin_or_key

    a_fresh_code_is_granted_and_lingers
    refusals_have_their_words
    what_needs_no_waiting_is_decided_at_once_and_nothing_else
    a_slow_pin_is_decided_at_once_only_while_it_is_remembered
    without_a_usable_users_file_the_verdict_is_error
    null_pointers_are_errors_and_the_answer_is_filled_all_the_same
    empty_strings_may_be_null
    bytes_end_at_their_length
    an_address_is_four_bytes_or_sixteen_or_none
    without_tls_a_login_is_denied_where_the_settings_demand_it
    a_login_of_no_known_scheme_is_an_error
    a_login_is_copied_with_all_its_strings
    credentials_granted_on_a_connection_are_known_there
    who_is_over_a_budget_is_told_before_anybody_looks_at_the_pin
    a_gate_is_found_by_its_settings_or_by_the_path
    what_servers_notice_is_logged_in_the_librarys_words
    a_request_is_judged_once
    a_grant_is_none_where_the_settings_refuse_it
    a_part_is_granted_with_its_request_alone
    a_grant_for_one_users_file_is_none_for_another
    a_wrong_code_counts_once_for_a_request
    after_a_grant_upstream_sees_user_and_pin_where_asked
    the_longest_name_and_pin_fit_the_upstream_header
    an_external_pin_is_asked_of_the_host_and_odd_answers_are_errors
    an_external_pin_without_anybody_to_ask_is_refused_with_a_log_line
    log_lines_are_printable_whatever_names_and_paths_hold

    a_response_is_matched_without_spending_and_spent_once
    what_is_matched_may_be_gone_when_it_is_to_be_spent
    a_digest_grant_is_none_where_the_settings_refuse_it
    a_response_to_a_wrong_password_is_refused_once_and_ha1_is_nul
    pins_that_digest_cannot_check_are_refused_with_a_log_line
    a_header_that_is_no_digest_is_denied
    a_basic_header_has_no_hash
    null_pointers_in_digest_are_errors_and_the_answer_is_filled_all_the_same
    a_zone_that_is_too_small_or_missing_is_refused
    challenges_are_those_of_the_scheme_and_fit_their_buffer
    a_nonce_of_another_server_decides_nothing
    without_a_zone_a_digest_login_is_an_error

    of_threads_with_the_same_code_exactly_one_is_granted
    of_threads_with_a_lingering_code_one_is_fresh_and_the_others_reuse_it
    of_threads_with_wrong_codes_exactly_the_limit_is_tried
    threads_of_different_users_are_all_granted
    a_gate_made_before_fork_works_in_the_child
    a_gate_used_before_fork_works_on_both_sides
    of_children_with_the_same_code_exactly_one_is_granted
}

/// Needs a library of its own, in which a login can be made to panic.
const PANIC: &str = "a_panic_is_an_error_verdict_and_one_line_without_data";

#[test]
fn no_case_of_the_c_programs_is_left_out() {
    let listed = succeeds(&mut Command::new(&*CASES)).stdout;
    let listed: Vec<&str> = str::from_utf8(&listed).unwrap().lines().collect();
    let run: Vec<&str> = RUN_BY_ITSELF.iter().copied().chain([PANIC]).collect();
    assert_eq!(listed, run);
}

/// The library once more, in which a login can be made to panic, and what cargo said meanwhile.
static PANICKING: LazyLock<(PathBuf, String)> = LazyLock::new(|| {
    // Beside the ordinary build: the same file names would take its place.
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("panic");
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or("cargo".into()));
    cargo.current_dir(env!("CARGO_MANIFEST_DIR"));
    // All it needs has been fetched for this test.
    cargo.args([
        "rustc",
        "--offline",
        "--lib",
        "--crate-type",
        "staticlib",
        "--features",
        "deliberate-panic",
    ]);
    cargo.arg("--target-dir").arg(&target).args(["--", "--print", "native-static-libs"]);
    let said = succeeds(&mut cargo).stderr;
    (target.join("debug/libotpgate.a"), String::from_utf8_lossy(&said).into_owned())
});

#[test]
fn a_panic_ends_in_the_library_and_what_it_says_of_it_holds_no_data() {
    let program = build_cases("c_abi_panic", &PANICKING.0);
    let output = run(&program, PANIC);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("internal fault at") && said.contains(".rs:"), "{said}");
    for data in ["asked for by a test", "Sesam-Open", "755224", "deliberate-panic"] {
        assert!(!said.contains(data), "{data} in {said}");
    }
}

#[test]
fn the_makefile_links_what_rustc_says_and_no_more() {
    let said = &PANICKING.1;
    let needed = said.lines().find_map(|line| line.split_once("native-static-libs: "));
    let needed =
        needed.unwrap_or_else(|| panic!("rustc doesn't say what is to be linked:\n{said}")).1;
    let sorted = |names: &mut dyn Iterator<Item = String>| names.collect::<BTreeSet<String>>();
    assert_eq!(
        sorted(&mut system_libraries().into_iter()),
        sorted(&mut needed.split_whitespace().map(str::to_owned)),
        "RUST_LIBS in the Makefile, and what rustc says"
    );
}

#[test]
fn the_header_is_plain_c_and_plain_cpp() {
    let standards = [
        (false, Some("c99")),
        (false, Some("c11")),
        (false, None),
        (true, Some("c++11")),
        (true, Some("c++17")),
    ];
    for (is_cpp, standard) in standards {
        let mut compiler = compiler(is_cpp, standard);
        if is_cpp {
            compiler.flag("-x").flag("c++");
        }
        succeeds(command_of(&compiler).args(["-fsyntax-only", "header.c"]));
    }
}

/// A running `examples/module.c`, with the port that it says.
struct Example {
    server: Child,
    port: u16,
    /// Its users file is in it.
    directory: tempfile::TempDir,
}

impl Example {
    fn start(users: &str) -> Example {
        let root = env!("CARGO_MANIFEST_DIR");
        let mut compiler = compiler(false, Some("c99"));
        compiler.opt_level(1);
        let program = build(
            "c_abi_example",
            &compiler,
            &[&format!("{root}/examples/module.c")],
            &static_library(),
        );
        let directory = tempfile::tempdir().expect("a directory for the example");
        std::fs::write(directory.path().join("users"), users).expect("a users file");
        let mut server = Command::new(program)
            .args(["users", "0"])
            .current_dir(directory.path())
            .stdout(Stdio::piped())
            .stderr(File::create(directory.path().join("log")).expect("a log"))
            .spawn()
            .expect("the example runs");
        let mut line = String::new();
        BufReader::new(server.stdout.take().expect("its output"))
            .read_line(&mut line)
            .expect("its port");
        let port =
            line.trim().strip_prefix("http://127.0.0.1:").and_then(|rest| rest.strip_suffix('/'));
        let port = port.unwrap_or_else(|| panic!("no port in {line:?}")).parse().expect("a port");
        Example { server, port, directory }
    }

    /// The whole answer to a request with that value as its Authorization.
    fn ask(&self, authorization: Option<&str>) -> String {
        let mut stream =
            TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).expect("a connection");
        let header =
            authorization.map(|value| format!("Authorization: {value}\r\n")).unwrap_or_default();
        write!(stream, "GET / HTTP/1.1\r\nHost: localhost\r\n{header}\r\n").expect("a request");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer");
        answer
    }

    fn log_in(&self, user: &str, password: &str) -> String {
        let credentials = data_encoding::BASE64.encode(format!("{user}:{password}").as_bytes());
        self.ask(Some(&format!("Basic {credentials}")))
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.directory.path().join("log")).expect("the log")
    }
}

impl Drop for Example {
    fn drop(&mut self) {
        // It serves until somebody ends it.
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

/// The key and codes of RFC 4226 appendix D.
#[test]
fn the_example_lets_in_by_pin_and_code_and_asks_everybody_else() {
    let example = Example::start("HOTP alice 4711 3132333435363738393031323334353637383930\n");
    let asked = "WWW-Authenticate: Basic realm=\"One-time password\", charset=\"UTF-8\"";
    let is_asked = |answer: String| {
        assert!(answer.starts_with("HTTP/1.1 401 ") && answer.contains(asked), "{answer}");
        assert!(!answer.contains("Come in."), "{answer}");
    };
    is_asked(example.ask(None));
    is_asked(example.ask(Some("Digest username=\"alice\"")));
    is_asked(example.ask(Some("Basic !")));
    is_asked(example.log_in("alice", "4711000000"));
    is_asked(example.log_in("alice", "4712755224"));
    is_asked(example.log_in("nobody", "4711755224"));
    let answer = example.log_in("alice", "4711755224");
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("Come in.\n"), "{answer}");
    // The next code ends the first; then that is an old one.
    assert!(example.log_in("alice", "4711287082").starts_with("HTTP/1.1 200 "));
    is_asked(example.log_in("alice", "4711755224"));
    let log = example.log();
    for word in ["granted-fresh", "denied-code", "denied-pin", "denied-expired", "unknown"] {
        assert!(log.contains(word), "{word} isn't in the log:\n{log}");
    }
    for secret in ["4711", "755224", "287082", "000000"] {
        assert!(!log.contains(secret), "{secret} is in the log:\n{log}");
    }
}

#[test]
fn a_cpp_program_links_with_the_library() {
    let mut compiler = compiler(true, None);
    let program =
        build("c_abi_cpp", compiler.flag("-x").flag("c++"), &["header.c"], &static_library());
    succeeds(&mut Command::new(program));
}
