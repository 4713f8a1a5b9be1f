//! Lines of the error log that a situation explains.

use std::collections::BTreeSet;

use super::scene::Kind;

/// What servers and library say of each.
const EXPLAINED: &[(Kind, &[&str])] = &[
    (
        Kind::Shooting,
        &["exited on signal 9", "AH10392", "AH00486", "AH00052", "AH00045", "AH00046"],
    ),
    (
        Kind::Holding,
        &[
            // A process that goes on after it was stopped.
            "epoll_wait() failed (4: Interrupted system call)",
            "another process has held it for a second",
        ],
    ),
    (Kind::Closed, &["Permission denied", "No such file or directory"]),
    (Kind::Full, &["No space left on device"]),
    (Kind::Companion, &["the file or its lock was removed or replaced while the lock was held"]),
    (Kind::Secret, &["it isn't a secret that otpgate has made"]),
    (Kind::Clock, &["the last accepted time step is in the future"]),
];

/// What may be at any time.
const ALWAYS: [&str; 3] = [
    // On a machine that has other things to do. What clients are told is compared all the same.
    "another program has held it for 5 seconds",
    // Whoever is removed and added again begins anew.
    "it was replaced by an older state (user \"p",
    "too many wrong PINs without a code",
];

/// Whether one of these situations has such a line.
pub fn is_explained(line: &str, kinds: &BTreeSet<Kind>) -> bool {
    ALWAYS.iter().any(|part| line.contains(part))
        || EXPLAINED
            .iter()
            .filter(|(kind, _)| kinds.contains(kind))
            .any(|(_, parts)| parts.iter().any(|part| line.contains(part)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_explained_by_its_situation_and_by_no_other() {
        let line = "worker process 1 exited on signal 9";
        assert!(is_explained(line, &BTreeSet::from([Kind::Shooting])));
        assert!(!is_explained(line, &BTreeSet::from([Kind::Clock, Kind::Full])));
        assert!(!is_explained(
            "worker process 1 exited on signal 11",
            &BTreeSet::from([Kind::Shooting])
        ));
    }
}
