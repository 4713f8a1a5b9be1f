//! What a login does on the second store: the cases of both servers and the races, with a small
//! server of the tests' own.

#[path = "common/at_once.rs"]
mod at_once;
#[path = "common/cases.rs"]
mod cases;
mod common;
#[path = "second_store/kind.rs"]
mod kind;
#[path = "second_store/memory.rs"]
mod memory;
#[path = "second_store/mirror.rs"]
mod mirror;
#[path = "second_store/program.rs"]
mod program;
#[path = "common/trials.rs"]
mod trials;

use std::process::ExitCode;

use cases::Capability;
use common::{Scope, Server, Start};
use kind::OnSecondStore;
use libtest_mimic::Trial;
use otpgate::policy;
use trials::{Run, Situation};

/// The interface is taken off an address by httpd's module, which isn't here.
const NOT_LIKE_HTTPD: [&str; 1] = ["link_local_address_is_compared_without_its_interface"];

/// What can't happen with the settings of nginx either, as there is no next provider.
const NOT_LIKE_NGINX: [&str; 6] = [
    "wrong_pins_that_are_passed_on_close_it_too",
    NOT_LIKE_HTTPD[0],
    "unknown_user_is_left_to_the_second_provider",
    "name_set_apart_is_left_to_the_second_provider",
    "fall_through_passes_on_what_fails_before_the_code",
    "fall_through_passes_no_wrong_code_on",
];

fn like_httpd(scopes: Vec<Scope>) -> Server {
    Server::start(OnSecondStore(policy::Server::Apache), scopes)
}

fn like_nginx(scopes: Vec<Scope>) -> Server {
    Server::start(OnSecondStore(policy::Server::Nginx), scopes)
}

fn situations(capabilities: &[Capability], left_out: &[&str]) -> Vec<Situation> {
    let (situations, others) = cases::on_a_server_with(capabilities);
    assert_eq!(others, left_out);
    situations
}

fn races() -> Vec<Trial> {
    type Race = (&'static str, fn(Start));
    let races: [Race; 3] = [
        ("one_of_many_gets_a_fresh_code", at_once::one_of_many_gets_a_fresh_code),
        ("limit_of_five_lets_five_codes_be_tried", at_once::limit_of_five_lets_five_codes_be_tried),
        (
            "users_who_log_in_at_once_are_all_granted",
            at_once::users_who_log_in_at_once_are_all_granted,
        ),
    ];
    let servers: [(&str, Start); 2] = [("like_httpd", like_httpd), ("like_nginx", like_nginx)];
    let trials = servers.into_iter().flat_map(|(server, start)| {
        races.map(|(name, race)| {
            Trial::test(format!("{server}::race::{name}"), move || {
                race(start);
                Ok(())
            })
        })
    });
    trials.collect()
}

fn main() -> ExitCode {
    if let Some(root) = program::asked_to_serve() {
        return program::serve(&root);
    }
    let runs = vec![
        Run {
            prefix: "like_httpd::",
            situations: situations(&[Capability::NextProvider], &NOT_LIKE_HTTPD),
            start: like_httpd,
        },
        Run {
            prefix: "like_nginx::",
            situations: situations(&[], &NOT_LIKE_NGINX),
            start: like_nginx,
        },
    ];
    trials::run_with(runs, races())
}
