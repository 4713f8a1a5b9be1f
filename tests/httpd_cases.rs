//! What a login does, on Apache httpd.

#[path = "common/cases.rs"]
mod cases;
mod common;
#[path = "common/trials.rs"]
mod trials;

use std::process::ExitCode;

use cases::Capability;
use common::{Httpd, Server};
use trials::Run;

fn main() -> ExitCode {
    let (situations, others) =
        cases::on_a_server_with(&[Capability::NextProvider, Capability::InterfaceInAddress]);
    assert!(others.is_empty(), "httpd offers everything: {others:?}");
    trials::run(vec![Run {
        prefix: "",
        situations,
        start: |scopes| Server::start(Httpd::event(), scopes),
    }])
}
