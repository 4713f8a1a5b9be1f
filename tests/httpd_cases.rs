//! What a login does, on Apache httpd.

#[path = "common/cases.rs"]
mod cases;
mod common;

use common::{Httpd, Server};

#[test]
fn every_case_of_the_table_on_httpd() {
    cases::run(cases::all(), |scopes| Server::start(Httpd::event(), scopes));
}
