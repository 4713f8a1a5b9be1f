//! A directory of one server, removed when the test is over.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use super::is_root;

/// The account the servers run as when root starts them.
pub const SERVER_ACCOUNT: &str = "www-data";

/// An own directory under the system's place for temporary files.
#[derive(Debug)]
pub struct Root(PathBuf);

impl Root {
    /// A new empty one, which every account may enter.
    pub fn new() -> Root {
        Root::below(&std::env::temp_dir())
    }

    /// The same where nothing waits for a disk, if the system has such a place.
    pub fn in_memory() -> Root {
        let memory = Path::new("/dev/shm");
        if memory.is_dir() { Root::below(memory) } else { Root::new() }
    }

    fn below(directory: &Path) -> Root {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        loop {
            let number = NEXT.fetch_add(1, Ordering::Relaxed);
            let name = format!("otpgate-test-{}-{number}", std::process::id());
            let path = directory.join(name);
            match fs::create_dir(&path) {
                Ok(()) => {
                    set_mode(&path, 0o755);
                    return Root(path);
                }
                // Left behind by a run that was killed and had this process number.
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                Err(error) => panic!("{}: {error}", path.display()),
            }
        }
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    pub fn join(&self, name: impl AsRef<Path>) -> PathBuf {
        self.0.join(name)
    }

    /// Writes a file that every account may read, making directories on the way.
    pub fn write(&self, name: impl AsRef<Path>, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.join(name);
        make_directory(path.parent().expect("a name inside the root"));
        fs::write(&path, content).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        set_mode(&path, 0o644);
        path
    }
}

impl Drop for Root {
    fn drop(&mut self) {
        if std::env::var_os("OTPGATE_TEST_KEEP").is_none() {
            // A directory that stays behind harms nobody, and a second panic would hide the first.
            let _ = fs::remove_dir_all(&self.0);
        }
    }
}

/// Makes a directory that every account may enter, whatever the umask.
pub fn make_directory(path: &Path) {
    if !path.is_dir() {
        make_directory(path.parent().expect("the root directory exists"));
        fs::create_dir(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        set_mode(path, 0o755);
    }
}

pub fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
        .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
}

/// Gives a path to an account by numbers; `None` leaves that one as it is.
pub fn set_owner(path: &Path, uid: Option<u32>, gid: Option<u32>) {
    chown(path, uid, gid).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
}

/// Gives a path to the account the server runs as. Without root that is ourselves already.
pub fn give_to_server(path: &Path) {
    if is_root() {
        let (uid, gid) = server_ids();
        set_owner(path, Some(uid), Some(gid));
    }
}

/// User and group number of the account the server runs as when root starts it.
pub fn server_ids() -> (u32, u32) {
    let accounts = fs::read_to_string("/etc/passwd").expect("/etc/passwd");
    let fields: Vec<&str> = accounts
        .lines()
        .map(|line| line.split(':').collect::<Vec<_>>())
        .find(|fields| fields[0] == SERVER_ACCOUNT)
        .unwrap_or_else(|| {
            panic!("no account {SERVER_ACCOUNT}: `make test-deps` installs the servers")
        });
    let number = |field: &str| field.parse().expect("a number in /etc/passwd");
    (number(fields[2]), number(fields[3]))
}
