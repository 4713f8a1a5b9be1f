//! Tables of situations that share a running server, each row a test with a name: `cargo test
//! --test httpd_cases wrong_pin` runs those with that in their name.

use std::process::ExitCode;
use std::sync::{Arc, Condvar, Mutex};

use libtest_mimic::{Arguments, Failed, Trial};

use super::common::{Place, Scope, Server};

/// What has to happen in a scope of its own, whose name is the test's.
pub struct Situation {
    pub scope: Scope,
    pub run: Box<dyn Fn(&Place<'_>) + Send + Sync>,
}

/// A server that goes through situations, several of them at the same time.
pub struct Run {
    /// What the names of its tests begin with, where there are several servers.
    pub prefix: &'static str,
    pub situations: Vec<Situation>,
    pub start: fn(Vec<Scope>) -> Server,
}

/// The test that a server adds to those of its situations.
const LOG: &str = "the_log_holds_what_is_expected_and_nothing_else";

/// Some wait for a time to pass; the others needn't wait for them.
const AT_ONCE: usize = 8;

/// The tests' `main`: each situation is a test with a name of its own, for the arguments that
/// `cargo test` passes on. One server runs for all that are asked for.
// Each test binary has tests of one kind or of both.
#[allow(dead_code)]
pub fn run(runs: Vec<Run>) -> ExitCode {
    run_with(runs, Vec::new())
}

/// The same with tests that start what they need for themselves.
pub fn run_with(runs: Vec<Run>, others: Vec<Trial>) -> ExitCode {
    let mut arguments = Arguments::from_args();
    arguments.test_threads.get_or_insert(AT_ONCE * runs.len());
    let filter = std::mem::take(&mut arguments.filter);
    let skip = std::mem::take(&mut arguments.skip);
    let exact = arguments.exact;
    let fits =
        |name: &str, pattern: &String| if exact { name == pattern } else { name.contains(pattern) };
    let is_wanted = |name: &str| {
        filter.as_ref().is_none_or(|filter| fits(name, filter))
            && !skip.iter().any(|skip| fits(name, skip))
    };
    let mut trials: Vec<Trial> =
        others.into_iter().filter(|trial| is_wanted(trial.name())).collect();
    for Run { prefix, situations, start } in runs {
        let name_of = |name: &str| format!("{prefix}{name}");
        let wanted: Vec<Situation> = situations
            .into_iter()
            .filter(|situation| is_wanted(&name_of(&situation.scope.name)))
            .collect();
        if wanted.is_empty() {
            continue;
        }
        if arguments.list {
            let names = wanted.iter().map(|situation| situation.scope.name.as_str()).chain([LOG]);
            trials.extend(names.map(|name| Trial::test(name_of(name), || Ok(()))));
            continue;
        }
        // By this thread: a server ends with the one that has started it.
        let server = start(wanted.iter().map(|situation| situation.scope.clone()).collect());
        let shared =
            Arc::new(Shared { server, left: Mutex::new(wanted.len()), all_done: Condvar::new() });
        for situation in wanted {
            let (name, shared) = (name_of(&situation.scope.name), Arc::clone(&shared));
            trials.push(Trial::test(name, move || shared.go_through(&situation)));
        }
        // The last one, so that with a single thread, too, it comes when the others are over.
        trials.push(Trial::test(name_of(LOG), move || {
            let mut left = shared.left.lock().expect("no panic inside");
            while *left > 0 {
                left = shared.all_done.wait(left).expect("no panic inside");
            }
            drop(left);
            shared.server.stop_and_check().map_err(Failed::from)
        }));
    }
    libtest_mimic::run(&arguments, trials).exit_code()
}

struct Shared {
    server: Server,
    /// Situations that aren't over.
    left: Mutex<usize>,
    all_done: Condvar,
}

impl Shared {
    fn go_through(&self, situation: &Situation) -> Result<(), Failed> {
        /// Also after a panic.
        struct Over<'a>(&'a Shared);
        impl Drop for Over<'_> {
            fn drop(&mut self) {
                *self.0.left.lock().expect("no panic inside") -= 1;
                self.0.all_done.notify_all();
            }
        }
        let _over = Over(self);
        let before = self.server.log_length();
        let name = &situation.scope.name;
        (situation.run)(&self.server.at(name));
        let faults = self.server.faults_since(before, name);
        if faults.is_empty() { Ok(()) } else { Err(faults.join("\n").into()) }
    }
}
