//! What a login does, on Apache httpd: `cargo test --test httpd_cases wrong_pin` runs the cases with that in their name.

#[path = "common/cases.rs"]
mod cases;
mod common;

use std::process::ExitCode;

use cases::{Capability, Run};
use common::{Httpd, Server};

fn main() -> ExitCode {
    let (cases, others) =
        cases::on_a_server_with(&[Capability::NextProvider, Capability::InterfaceInAddress]);
    assert!(others.is_empty(), "httpd offers everything: {others:?}");
    cases::run(vec![Run { prefix: "", cases, start: |scopes| Server::start(Httpd::event(), scopes) }])
}
