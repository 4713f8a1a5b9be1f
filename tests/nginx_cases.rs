//! What a login does, on nginx.

#[path = "common/cases.rs"]
mod cases;
mod common;
#[path = "common/trials.rs"]
mod trials;

use std::process::ExitCode;

use common::{Nginx, Server};
use trials::{Run, Situation};

/// What can't happen where there is no next provider, and where realip takes no interface with an
/// address.
const NOT_ON_NGINX: [&str; 6] = [
    "wrong_pins_that_are_passed_on_close_it_too",
    "link_local_address_is_compared_without_its_interface",
    "unknown_user_is_left_to_the_second_provider",
    "name_set_apart_is_left_to_the_second_provider",
    "fall_through_passes_on_what_fails_before_the_code",
    "fall_through_passes_no_wrong_code_on",
];

fn situations() -> Vec<Situation> {
    let (situations, others) = cases::on_a_server_with(&[]);
    assert_eq!(others, NOT_ON_NGINX);
    situations
}

fn main() -> ExitCode {
    trials::run(vec![
        Run {
            prefix: "one_worker::",
            situations: situations(),
            start: |scopes| Server::start(Nginx::one(), scopes),
        },
        Run {
            prefix: "four_workers::",
            situations: situations(),
            start: |scopes| Server::start(Nginx::four(), scopes),
        },
    ])
}
