//! A users file, seen from outside: what stands in which field.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};

use super::root;

/// A users file at a path.
#[derive(Clone, Debug)]
pub struct UsersFile(PathBuf);

impl UsersFile {
    pub fn at(path: impl Into<PathBuf>) -> UsersFile {
        UsersFile(path.into())
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    pub fn bytes(&self) -> Vec<u8> {
        fs::read(&self.0).unwrap_or_else(|error| panic!("{}: {error}", self.0.display()))
    }

    /// The fields of each line of `user`, in the order of the file.
    pub fn records(&self, user: impl AsRef<[u8]>) -> Vec<Vec<String>> {
        self.bytes()
            .split(|&byte| byte == b'\n')
            .map(|line| line.split(|byte| b" \t\r\x0b".contains(byte)))
            .map(|fields| fields.filter(|field| !field.is_empty()).collect::<Vec<_>>())
            .filter(|fields| fields.get(1) == Some(&user.as_ref()))
            .map(|fields| {
                fields.iter().map(|field| String::from_utf8_lossy(field).into_owned()).collect()
            })
            .collect()
    }

    /// A field of the user's only line, counted from 1 as `docs/users-file.md` does. Empty if it
    /// isn't there.
    #[track_caller]
    pub fn field(&self, user: impl AsRef<[u8]>, number: usize) -> String {
        let mut records = self.records(user);
        assert_eq!(records.len(), 1, "one line of that user");
        let fields = records.remove(0);
        fields.get(number - 1).cloned().unwrap_or_default()
    }

    /// Field 5: the next expected counter, or the clock's offset in steps.
    #[track_caller]
    pub fn counter(&self, user: impl AsRef<[u8]>) -> i64 {
        self.number(user, 5)
    }

    /// Field 6: wrong codes in a row.
    #[track_caller]
    pub fn failures(&self, user: impl AsRef<[u8]>) -> i64 {
        self.number(user, 6)
    }

    /// Field 7: the last accepted code.
    #[track_caller]
    pub fn last_otp(&self, user: impl AsRef<[u8]>) -> String {
        self.field(user, 7)
    }

    /// Field 8: the local time of its last use.
    #[track_caller]
    pub fn time(&self, user: impl AsRef<[u8]>) -> String {
        self.field(user, 8)
    }

    /// Field 9: the address it came from.
    #[track_caller]
    pub fn address(&self, user: impl AsRef<[u8]>) -> String {
        self.field(user, 9)
    }

    /// A number, 0 where the line ends before it.
    #[track_caller]
    fn number(&self, user: impl AsRef<[u8]>, field: usize) -> i64 {
        let text = self.field(user, field);
        if text.is_empty() {
            return 0;
        }
        text.parse().unwrap_or_else(|_| panic!("field {field} is {text:?}"))
    }

    /// Adds to the end, as a careless script would: without any lock.
    pub fn append(&self, text: impl AsRef<[u8]>) {
        fs::OpenOptions::new()
            .append(true)
            .open(&self.0)
            .and_then(|mut file| file.write_all(text.as_ref()))
            .unwrap_or_else(|error| panic!("{}: {error}", self.0.display()));
    }

    /// Puts another file in its place, as editors do.
    pub fn replace(&self, text: impl AsRef<[u8]>) {
        use std::os::unix::fs::MetadataExt;
        let old = fs::metadata(&self.0).expect("the users file");
        let new = self.0.with_extension("edited");
        fs::write(&new, text).unwrap_or_else(|error| panic!("{}: {error}", new.display()));
        root::set_mode(&new, old.mode() & 0o7777);
        if super::is_root() {
            root::set_owner(&new, Some(old.uid()), Some(old.gid()));
        }
        fs::rename(&new, &self.0).unwrap_or_else(|error| panic!("{}: {error}", new.display()));
    }

    /// Runs `attempt` and insists that not a byte has changed by it.
    #[track_caller]
    pub fn stays_the_same<T>(&self, attempt: impl FnOnce() -> T) -> T {
        let before = self.bytes();
        let result = attempt();
        let after = self.bytes();
        assert!(
            before == after,
            "the users file has changed from\n{}to\n{}",
            String::from_utf8_lossy(&before),
            String::from_utf8_lossy(&after)
        );
        result
    }
}

/// A neighbour of the users file: `users.lock`, `users.journal`.
pub fn beside(users: &Path, ending: &str) -> PathBuf {
    let mut name = users.as_os_str().to_owned();
    name.push(ending);
    name.into()
}

/// The lock of a users file, held by us, who are another process than the server.
pub struct Held(File);

impl Held {
    /// Once a login has made the lock file.
    pub fn of(users: &UsersFile) -> Held {
        let mut path = users.path().as_os_str().to_owned();
        path.push(".lock");
        let file = File::options()
            .read(true)
            .write(true)
            .open(path)
            .expect("a login has made the lock file");
        flock(&file, FlockOperation::LockExclusive).expect("the lock");
        Held(file)
    }

    pub fn release(self) {
        flock(&self.0, FlockOperation::Unlock).expect("our own lock");
    }
}
