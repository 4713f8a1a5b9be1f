//! What the command takes to go through the largest file: time, and memory at its peak.

use std::fs::{self, File};
use std::path::Path;
use std::process::{Command, Stdio};

use super::common::{from_environment, program, require};
use super::report::{Report, Row, Wanted, median};
use super::{most_users, users};

const TIME: &str = "/usr/bin/time";
const MEMORY_MAX: f64 = 300.0;

pub fn rows(report: &mut Report) {
    require(TIME);
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("users");
    fs::write(&path, users(most_users())).expect("a users file");
    // Lock, journal, and a slot for each line, as after the first login.
    for args in [&["init"][..], &["check", "--fix"]] {
        let command = Command::new(program()).arg("-f").arg(&path).args(args).output();
        assert!(command.expect("it runs").status.code().is_some(), "{args:?}");
    }
    for (args, seconds) in [
        (&["list"][..], Wanted::AtMost(1.5)),
        (&["list", "--json"], Wanted::AtMost(3.0)),
        (&["list", "--sort", "last-login"], Wanted::Nothing),
        (&["check"], Wanted::AtMost(3.0)),
        (&["export", "csv", "-"], Wanted::Nothing),
    ] {
        let rounds = from_environment("OTPGATE_BENCH_ROUNDS", 5);
        let (times, peaks): (Vec<f64>, Vec<f64>) = (0..rounds).map(|_| run(&path, args)).unzip();
        for (what, unit, mut values, wanted) in
            [("", "s", times, seconds), (", memory", "MiB", peaks, Wanted::AtMost(MEMORY_MAX))]
        {
            let value = median(&mut values);
            report.add(Row {
                server: "otpgate",
                name: format!("{}, {} users{what}", args.join(" "), most_users()),
                unit,
                value,
                spread: Some((values[0], values[values.len() - 1])),
                wanted,
                cpu: None,
            });
        }
    }
}

/// Seconds, and MiB.
fn run(path: &Path, args: &[&str]) -> (f64, f64) {
    let measured = path.with_file_name("measured");
    let status = Command::new(TIME)
        .args(["--format", "%e %M", "--output"])
        .arg(&measured)
        .arg(program())
        .arg("-f")
        .arg(path)
        .args(args)
        .stdout(File::create(path.with_file_name("out")).expect("a file"))
        .stderr(Stdio::null())
        .status();
    // `check` may have something to say of where this runs.
    assert!(status.expect("it runs").code().is_some_and(|code| code <= 1), "{args:?}");
    let measured = fs::read_to_string(measured).expect("time writes it");
    let words: Vec<f64> =
        measured.split_whitespace().filter_map(|word| word.parse().ok()).collect();
    let [.., seconds, kib] = words[..] else { panic!("{measured}") };
    (seconds, kib / 1024.0)
}
