//! What a login does, on nginx.

#[path = "common/cases.rs"]
mod cases;
mod common;

use common::{Nginx, Server};

/// What can't happen where there is no next provider, and where realip takes no interface with an address.
const NOT_ON_NGINX: [&str; 5] = [
    "link_local_address_is_compared_without_its_interface",
    "unknown_user_is_left_to_the_second_provider",
    "name_set_apart_is_left_to_the_second_provider",
    "fall_through_passes_on_what_fails_before_the_code",
    "fall_through_passes_no_wrong_code_on",
];

fn every_case_of_the_table(nginx: Nginx) {
    let (cases, others) = cases::on_a_server_with(&[]);
    assert_eq!(others, NOT_ON_NGINX);
    cases::run(cases, |scopes| Server::start(nginx, scopes));
}

#[test]
fn every_case_of_the_table_on_nginx_with_one_worker() {
    every_case_of_the_table(Nginx::one());
}

#[test]
fn every_case_of_the_table_on_nginx_with_four_workers() {
    every_case_of_the_table(Nginx::four());
}
