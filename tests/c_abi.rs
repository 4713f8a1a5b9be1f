//! The library as C sees it: programs in `tests/c_abi` against the header and the static library,
//! and the header against the Rust it describes.

#[path = "c_abi/header.rs"]
mod header;
#[path = "c_abi/programs.rs"]
mod programs;

use std::path::PathBuf;

fn header_path() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("include/otpgate.h")
}

/// The static library that cargo made for this very test: it lies beside the test program.
fn static_library() -> PathBuf {
    let test = std::env::current_exe().expect("this program has a path");
    let library = test.with_file_name("libotpgate.a");
    assert!(
        library.exists(),
        "{} is missing; run this test by `cargo test`, or `make build` first",
        library.display()
    );
    library
}
