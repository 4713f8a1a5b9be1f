//! How many cases a property is tried with.

use proptest::test_runner::{Config, RngSeed};

/// The same cases at every run; `PROPTEST_CASES` asks for another number of them.
pub fn cases(number: u32) -> Config {
    let asked = std::env::var("PROPTEST_CASES")
        .ok()
        .map(|text| text.parse().expect("PROPTEST_CASES is a number"));
    Config {
        cases: asked.unwrap_or(number),
        failure_persistence: None,
        rng_seed: RngSeed::Fixed(6238),
        ..Config::default()
    }
}
