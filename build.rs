//! Gives the shared library its name for the dynamic linker: programs built against one version of
//! the C interface must not be run with another.

fn main() {
    let header = "include/otpgate.h";
    println!("cargo::rerun-if-changed={header}");
    let text = std::fs::read_to_string(header).expect("the C header is part of the package");
    let version = text
        .lines()
        .find_map(|line| line.strip_prefix("#define OTPGATE_API_VERSION "))
        .expect("the header says which version of the interface it is");
    println!("cargo::rustc-cdylib-link-arg=-Wl,-soname,libotpgate.so.{}", version.trim());
}
