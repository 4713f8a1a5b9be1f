//! The server on the second store, as the tables of cases and the races start it.

use otpgate::policy;
use rustix::process::Signal;

use super::common::daemon::Daemon;
use super::common::root::Root;
use super::common::scope::Scope;
use super::common::server::{self, Kind, NonceFault, Ports};
use super::common::{httpd, log, nginx, require};
use super::program::{ARGUMENT, CONFIGURATION, READY, RUN_AGAIN, STOP, TAKEN};

const SHELL: &str = "/bin/sh";

/// A signal can't be waited for without `unsafe`, so a shell does: it passes the wish to stop on by
/// a pipe.
const SCRIPT: &str = r#"
mkfifo "$1" || exit 1
stop=$1
shift
"$@" &
child=$!
trap 'echo > "$stop"; wait "$child"; exit $?' TERM
wait "$child"
"#;

/// A server with the settings, defaults and ways of one of the two.
#[derive(Clone, Copy)]
pub struct OnSecondStore(pub policy::Server);

impl Kind for OnSecondStore {
    fn require(&self) {
        require(SHELL);
    }

    fn configure(&self, root: &Root, ports: Ports, scopes: &[Scope]) {
        let (name, directive) = match self.0 {
            policy::Server::Apache => ("apache", httpd::directive as fn(_) -> _),
            policy::Server::Nginx => ("nginx", nginx::directive as fn(_) -> _),
        };
        let mut text = format!("server {name}\nport {}\n", ports.main);
        for scope in scopes {
            assert!(
                !scope.digest && scope.directives.is_empty(),
                "it does Basic, and has no directives"
            );
            text += &format!(
                "place {}\nusers {}\n",
                scope.name,
                server::users_path(root, scope).display()
            );
            if !scope.pin_file.is_empty() {
                let pins = server::pins_path(root, scope);
                text += &format!("pins {}\n", pins.display());
                if self.0 == policy::Server::Nginx {
                    // Whose answers are remembered.
                    text += &format!("auth_otp_pin_file {}\n", pins.display());
                }
            }
            if !scope.second_provider.is_empty() {
                text += &format!("second {}\n", server::second_path(root, scope).display());
            }
            for set in &scope.settings {
                text += &format!("{} {}\n", directive(set.0), server::value(root, scope, set));
            }
        }
        root.write(CONFIGURATION, text);
    }

    fn command(&self, root: &Root) -> Vec<String> {
        let own = std::env::current_exe().expect("a path of its own");
        let paths = [root.join(STOP), own].map(|path| path.to_string_lossy().into_owned());
        // Left by a try on a port that was taken.
        let _ = std::fs::remove_file(&paths[0]);
        let [stop, own] = paths;
        let root = root.path().to_string_lossy().into_owned();
        [SHELL, "-c", SCRIPT, SHELL, &stop, &own, ARGUMENT, &root].map(str::to_owned).to_vec()
    }

    fn times_ready(&self, log: &str) -> usize {
        log.matches(READY).count()
    }

    fn port_was_taken(&self, log: &str) -> bool {
        log.contains(TAKEN)
    }

    fn reload(&self, _: &Daemon) {
        panic!("what a store in memory holds is gone with its process");
    }

    fn is_harmless(&self, line: &str) -> bool {
        let message = self.message(line);
        message == READY || log::is_decision(&message) || run_again(&message)
    }

    fn is_harmless_when_stopping(&self, _: &str) -> bool {
        false
    }

    fn stop_gracefully(&self, daemon: &Daemon) {
        daemon.signal(Signal::TERM);
    }

    fn refuses_nonce(&self, _: NonceFault) -> &'static str {
        panic!("it does Basic alone");
    }

    fn message(&self, line: &str) -> String {
        // [level] /place/: message
        line.split_once("/: ").map_or(line, |(_, message)| message).to_owned()
    }
}

/// Whether it is what a server says of steps in the end, and a third of them was run again: else
/// all that it did proves nothing.
fn run_again(message: &str) -> bool {
    let Some(numbers) = message.strip_suffix(RUN_AGAIN) else { return false };
    let numbers: Vec<usize> = numbers.split(' ').filter_map(|word| word.parse().ok()).collect();
    matches!(numbers[..], [saved, again] if again >= (saved + again) / 3)
}
