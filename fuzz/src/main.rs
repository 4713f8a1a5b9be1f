//! libFuzzer's way into the bodies: one program for all targets. `OTPGATE_FUZZ` names the target;
//! without it, their names are told, and with `OTPGATE_FUZZ_WORDS=1` the dictionary of one.
#![no_main]

mod bodies;

use std::sync::OnceLock;

use bodies::{TARGETS, Target};

static TARGET: OnceLock<&Target> = OnceLock::new();

/// The target that is asked for; ends the program if there is nothing to be run.
fn choose() {
    let Ok(name) = std::env::var("OTPGATE_FUZZ") else {
        for target in TARGETS {
            println!("{}", target.name);
        }
        std::process::exit(0);
    };
    let Some(target) = TARGETS.iter().find(|target| target.name == name) else {
        eprintln!("there is no target {name}");
        std::process::exit(1);
    };
    if std::env::var_os("OTPGATE_FUZZ_WORDS").is_some() {
        for word in target.words {
            let escaped: String = word.bytes().map(|byte| format!("\\x{byte:02x}")).collect();
            println!("\"{escaped}\"");
        }
        std::process::exit(0);
    }
    let _ = TARGET.set(target);
}

libfuzzer_sys::fuzz_target!(init: choose(), |data: &[u8]| {
    (TARGET.get().expect("it was chosen").body)(data);
});
