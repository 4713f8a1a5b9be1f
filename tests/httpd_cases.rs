//! What a login does, on Apache httpd.

#[path = "common/cases.rs"]
mod cases;
mod common;

use cases::Capability;
use common::{Httpd, Server};

#[test]
fn every_case_of_the_table_on_httpd() {
    let (cases, others) =
        cases::on_a_server_with(&[Capability::NextProvider, Capability::InterfaceInAddress]);
    assert!(others.is_empty(), "httpd offers everything: {others:?}");
    cases::run(cases, |scopes| Server::start(Httpd::event(), scopes));
}
