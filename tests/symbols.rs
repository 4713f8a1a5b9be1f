//! What the servers load holds the library and nothing of the command, with no feature of a crate
//! that nobody has looked at, and shows the server no more than it looks up.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Crates that only the command uses; the modules must not carry them. (Not cbc: 3cbc is a part of
/// many a hash.)
const CRATES_OF_THE_COMMAND: [&str; 9] = [
    "aes",
    "clap",
    "clap_builder",
    "otpgate_cli",
    "pbkdf2",
    "png",
    "qrcode",
    "roxmltree",
    "signal_hook",
];

fn nm(args: &[&str], file: &Path) -> String {
    assert!(file.exists(), "{} is missing: run `make build`", file.display());
    let output =
        Command::new("nm").args(args).arg(file).output().expect("nm, of the package binutils");
    assert!(output.status.success(), "nm: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("names in UTF-8")
}

fn apache_module() -> PathBuf {
    match std::env::var_os("OTPGATE_MODULE") {
        Some(path) => path.into(),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).join("build/mod_authn_otp.so"),
    }
}

fn nginx_module() -> PathBuf {
    match std::env::var_os("OTPGATE_NGINX_MODULE") {
        Some(path) => path.into(),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).join("build/ngx_http_auth_otp_module.so"),
    }
}

/// Where cargo puts what `make build` links: beside the directory of this test.
fn static_library() -> PathBuf {
    let test = std::env::current_exe().expect("our own path");
    let target = test.ancestors().nth(3).expect("target/profile/deps/test");
    target.join("server/libotpgate.a")
}

/// Which crates are in what servers load, and with which features: one a line, `name: feature
/// feature`.
const CRATES: &str = include_str!("server_crates.txt");

#[test]
fn the_servers_library_has_the_crates_and_features_that_are_listed_and_no_others() {
    let cargo = std::env::var_os("CARGO").unwrap_or("cargo".into());
    let mut tree = Command::new(cargo);
    tree.current_dir(env!("CARGO_MANIFEST_DIR"));
    tree.args([
        "tree",
        "--offline",
        "--package",
        "otpgate",
        "--edges",
        "normal",
        "--prefix",
        "none",
        "--no-dedupe",
    ]);
    let output = tree.args(["--format", "{p}|{f}"]).output().expect("cargo");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let crates: BTreeSet<String> = text
        .lines()
        .filter_map(|line| line.split_once('|'))
        .map(|(package, features)| {
            let name = package.split(' ').next().unwrap_or_default();
            format!("{name}: {}", features.replace(',', " ")).trim_end().to_owned()
        })
        .filter(|line| !line.starts_with("otpgate:"))
        .collect();
    let listed: BTreeSet<String> = CRATES.lines().map(str::to_owned).collect();
    let new: Vec<&String> = crates.difference(&listed).collect();
    let gone: Vec<&String> = listed.difference(&crates).collect();
    assert!(
        new.is_empty() && gone.is_empty(),
        "if that is wanted, change tests/server_crates.txt\nnew: {new:#?}\ngone: {gone:#?}"
    );
}

/// Cargo gives a crate the features that anybody asks for who is built in the same go.
#[test]
fn the_servers_library_was_built_by_itself() {
    let library = static_library();
    let directory = library.with_file_name("deps");
    let entries = std::fs::read_dir(&directory).unwrap_or_else(|error| {
        panic!("{}: {error}: run `make build`", directory.display());
    });
    let names: Vec<String> = entries
        .map(|entry| entry.expect("a file").file_name().to_string_lossy().into_owned())
        .collect();
    assert!(
        names.iter().any(|name| name.starts_with("libjiff-")),
        "no crates in {}",
        directory.display()
    );
    for name in ["clap", "otpgate_cli", "bindgen", "tempfile"] {
        let file = names.iter().find(|file| file.starts_with(&format!("lib{name}-")));
        assert_eq!(file, None, "built along with the command or the tests");
    }
}

/// In both of Rust's manglings a crate's name stands behind its length.
fn has_symbol_of(symbols: &str, name: &str) -> bool {
    symbols.contains(&format!("{}{name}", name.len()))
}

#[test]
fn the_apache_module_defines_one_symbol() {
    let symbols = nm(&["--dynamic", "--defined-only"], &apache_module());
    let names: Vec<&str> =
        symbols.lines().filter_map(|line| line.split_whitespace().last()).collect();
    assert_eq!(names, ["authn_otp_module"]);
}

#[test]
fn the_nginx_module_defines_what_nginx_looks_up() {
    let symbols = nm(&["--dynamic", "--defined-only"], &nginx_module());
    let mut names: Vec<&str> =
        symbols.lines().filter_map(|line| line.split_whitespace().last()).collect();
    names.sort_unstable();
    assert_eq!(names, ["ngx_module_names", "ngx_module_order", "ngx_modules"]);
}

#[test]
fn nothing_of_the_command_is_in_what_servers_load() {
    for file in [static_library(), apache_module(), nginx_module()] {
        let symbols = nm(&[], &file);
        assert!(
            has_symbol_of(&symbols, "otpgate"),
            "{}: the test looks for names in vain",
            file.display()
        );
        for name in CRATES_OF_THE_COMMAND {
            assert!(!has_symbol_of(&symbols, name), "{} holds {name}", file.display());
        }
    }
}

#[test]
fn the_shared_library_shows_the_c_interface_alone_and_bears_its_version() {
    let library = static_library().with_extension("so");
    let symbols = nm(&["--dynamic", "--defined-only"], &library);
    let names: Vec<&str> =
        symbols.lines().filter_map(|line| line.split_whitespace().last()).collect();
    assert!(names.contains(&"otpgate_decide"), "{names:?}");
    assert!(names.iter().all(|name| name.starts_with("otpgate_")), "{names:?}");
    let output =
        Command::new("readelf").arg("-d").arg(&library).output().expect("readelf, of binutils");
    let soname = format!("[libotpgate.so.{}]", otpgate::ffi::OTPGATE_API_VERSION);
    assert!(String::from_utf8_lossy(&output.stdout).contains(&soname), "{soname}");
}
