//! A server process in the foreground, stopped by its number and by nothing broader.

use std::fs::{self, File};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process, kill_process_group};

use super::require;

const SETPRIV: &str = "/usr/bin/setpriv";

/// A running child in a process group of its own: httpd signals its whole group when it stops.
#[derive(Debug)]
pub struct Daemon {
    child: Child,
}

impl Daemon {
    /// Starts `command`; what it says before it has opened its log goes to `output`.
    ///
    /// The kernel ends it when the thread that calls this is gone, so not even a killed test run
    /// leaves a server behind.
    pub fn spawn(command: &[&str], output: &Path) -> Daemon {
        require(SETPRIV);
        require(command[0]);
        let output = File::create(output).expect("a file for the server's output");
        let child = Command::new(SETPRIV)
            .args(["--pdeathsig", "TERM", "--"])
            .args(command)
            // Users files carry local times; tests compute them without asking where they run.
            .env("TZ", "UTC")
            .env("LC_ALL", "C")
            .stdin(Stdio::null())
            .stdout(output.try_clone().expect("a second handle of the file"))
            .stderr(output)
            .process_group(0)
            .spawn()
            .unwrap_or_else(|error| panic!("{SETPRIV}: {error}"));
        Daemon { child }
    }

    fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).expect("the server runs");
    }

    /// How it ended, if it has.
    pub fn ended(&mut self) -> Option<String> {
        let status = self.child.try_wait().expect("our own child")?;
        Some(match status.signal() {
            Some(number) => format!("signal {number}"),
            None => format!("exit status {}", status.code().unwrap_or(-1)),
        })
    }

    /// Numbers of its child processes that are alive.
    pub fn children(&self) -> Vec<u32> {
        let parent = self.child.id().to_string();
        let mut children = Vec::new();
        for entry in fs::read_dir("/proc").expect("/proc").flatten() {
            let name = entry.file_name();
            let Some(pid) = name.to_str().and_then(|name| name.parse().ok()) else {
                continue;
            };
            // A process that ends meanwhile has no file any more.
            let Ok(stat) = fs::read_to_string(entry.path().join("stat")) else {
                continue;
            };
            // The name in parentheses may hold anything: count fields behind it.
            let mut fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
            let (state, ppid) = (fields.next(), fields.next());
            if ppid == Some(&parent) && state != Some("Z") {
                children.push(pid);
            }
        }
        children
    }

    /// Ends it. A description if it didn't end by itself in time or ended badly.
    pub fn stop(&mut self) -> Result<(), String> {
        if let Some(how) = self.ended() {
            return Err(format!("the server had ended before the test: {how}"));
        }
        self.signal(Signal::TERM);
        let begun = Instant::now();
        let verdict = loop {
            match self.ended() {
                Some(how) if how == "exit status 0" => break Ok(()),
                Some(how) => break Err(format!("the server ended with {how}")),
                None if begun.elapsed() > Duration::from_secs(20) => {
                    break Err("the server didn't stop".to_owned());
                }
                None => std::thread::sleep(Duration::from_millis(3)),
            }
        };
        self.kill();
        verdict
    }

    /// Whether no process of the group is left.
    pub fn group_is_gone(&self) -> bool {
        rustix::process::test_kill_process_group(self.pid()).is_err()
    }

    /// Whatever is left of the group.
    fn kill(&mut self) {
        // Fails when the group is empty, as it should be.
        let _ = kill_process_group(self.pid(), Signal::KILL);
        let _ = self.child.wait();
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if self.ended().is_none() {
            self.kill();
        }
    }
}
