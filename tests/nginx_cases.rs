//! What a login does, on nginx: `cargo test --test nginx_cases wrong_pin` runs the cases with that in their name.

#[path = "common/cases.rs"]
mod cases;
mod common;

use std::process::ExitCode;

use cases::{Case, Run};
use common::{Nginx, Server};

/// What can't happen where there is no next provider, and where realip takes no interface with an address.
const NOT_ON_NGINX: [&str; 5] = [
    "link_local_address_is_compared_without_its_interface",
    "unknown_user_is_left_to_the_second_provider",
    "name_set_apart_is_left_to_the_second_provider",
    "fall_through_passes_on_what_fails_before_the_code",
    "fall_through_passes_no_wrong_code_on",
];

fn cases() -> Vec<Case> {
    let (cases, others) = cases::on_a_server_with(&[]);
    assert_eq!(others, NOT_ON_NGINX);
    cases
}

fn main() -> ExitCode {
    cases::run(vec![
        Run { prefix: "one_worker::", cases: cases(), start: |scopes| Server::start(Nginx::one(), scopes) },
        Run {
            prefix: "four_workers::",
            cases: cases(),
            start: |scopes| Server::start(Nginx::four(), scopes),
        },
    ])
}
