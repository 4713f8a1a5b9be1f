//! Which gate serves which users file.
//!
//! A file that the configuration names has a number, which its sections carry: a login finds the
//! gate by it, without a lock or resolving the path. Files named by the sections of a single
//! request (`.htaccess`) are looked up by path.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::ops::Deref;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use once_cell::sync::OnceCell;
use parking_lot::{Mutex, RwLock};

use super::now;
use crate::gate::{Gate, Marks};
use crate::users::file::UsersFile;
use crate::users::open_files::OpenFiles;

/// A gate as servers have it.
pub type FileGate = Gate<UsersFile>;

/// Sections of a single request can name a file in any number of ways: past this many, all of those
/// are forgotten.
const BY_PATH_MAX: usize = 10_000;
const CHUNK: usize = 64;
const CHUNKS: usize = 64;

/// A users file of the configuration, among those of its site.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Number(u16);

/// A file that has a number. Never taken away, so that it is found without a lock.
struct NumberedGate {
    configured: Vec<u8>,
    /// Made by the first who needs it.
    gate: OnceCell<Arc<FileGate>>,
}

/// The gates of one configuration.
pub struct Gates {
    root: PathBuf,
    /// What the gates to one file share, by whatever paths.
    files: Arc<OpenFiles>,
    /// What was decided about a request on one path of a file is recognised on all of them.
    marks: OnceCell<Marks>,
    numbers: Mutex<HashMap<Vec<u8>, Number>>,
    numbered: [OnceLock<Box<[OnceLock<NumberedGate>; CHUNK]>>; CHUNKS],
    /// By the path as configured, and by the same written plainly.
    by_path: RwLock<HashMap<Vec<u8>, Arc<FileGate>>>,
}

/// A gate for the time of a login.
pub enum GateRef<'g> {
    /// Of a file that has a number.
    Numbered(&'g FileGate),
    /// Of any other.
    ByPath(Arc<FileGate>),
}

impl Deref for GateRef<'_> {
    type Target = FileGate;

    fn deref(&self) -> &FileGate {
        match self {
            GateRef::Numbered(gate) => gate,
            GateRef::ByPath(gate) => gate,
        }
    }
}

impl Gates {
    pub fn new(root: PathBuf) -> Gates {
        Gates {
            root,
            files: Arc::default(),
            marks: OnceCell::new(),
            numbers: Mutex::default(),
            numbered: [const { OnceLock::new() }; CHUNKS],
            by_path: RwLock::default(),
        }
    }

    /// A path of the configuration from where relative ones start.
    pub fn path(&self, configured: &[u8]) -> PathBuf {
        self.root.join(OsStr::from_bytes(configured))
    }

    /// The number of a path as configured. `None`: too many have one already.
    pub fn number(&self, configured: &[u8]) -> Option<Number> {
        let mut numbers = self.numbers.lock();
        if let Some(&known) = numbers.get(configured) {
            return Some(known);
        }
        let number = Number(u16::try_from(numbers.len()).ok()?);
        let chunk = self.numbered.get(usize::from(number.0) / CHUNK)?;
        let chunk = chunk.get_or_init(|| Box::new([const { OnceLock::new() }; CHUNK]));
        chunk[usize::from(number.0) % CHUNK].get_or_init(|| NumberedGate {
            configured: configured.to_vec(),
            gate: OnceCell::new(),
        });
        numbers.insert(configured.to_vec(), number);
        Some(number)
    }

    /// The gate to a users file. `None`: no random bytes.
    pub fn of(&self, configured: &[u8], number: Option<Number>) -> Option<GateRef<'_>> {
        if let Some(numbered) = number.and_then(|number| self.numbered(number, configured)) {
            let gate = numbered.gate.get_or_try_init(|| self.by_path(configured).ok_or(())).ok()?;
            // If the path has been given to another file, `by_path` has its gate.
            if !gate.store().is_astray() {
                return Some(GateRef::Numbered(gate));
            }
        }
        self.by_path(configured).map(GateRef::ByPath)
    }

    /// A section may have its number from another site; the path tells.
    fn numbered(&self, Number(number): Number, configured: &[u8]) -> Option<&NumberedGate> {
        let chunk = self.numbered.get(usize::from(number) / CHUNK)?.get()?;
        chunk[usize::from(number) % CHUNK]
            .get()
            .filter(|numbered| numbered.configured == configured)
    }

    fn marks(&self) -> Option<&Marks> {
        self.marks.get_or_try_init(|| Marks::new().ok_or(())).ok()
    }

    fn by_path(&self, configured: &[u8]) -> Option<Arc<FileGate>> {
        let is_usable = |gate: &&Arc<FileGate>| !gate.store().is_astray();
        if let Some(known) = self.by_path.read().get(configured).filter(is_usable) {
            return Some(known.clone());
        }
        // Without `.` and doubled slashes, which lead nowhere else.
        let path: PathBuf = self.path(configured).components().collect();
        let mut gates = self.by_path.write();
        if gates.len() >= BY_PATH_MAX {
            gates.clear();
        }
        let known = gates.get(path.as_os_str().as_bytes()).filter(is_usable).cloned();
        let gate = match known {
            Some(known) => known,
            None => {
                let resolved = std::fs::canonicalize(&path).unwrap_or_else(|_| path.clone());
                let marks = self.marks()?.of(resolved.as_os_str().as_bytes());
                Arc::new(Gate::with_marks(UsersFile::among(&self.files, &path), now, marks)?)
            }
        };
        gates.insert(path.into_os_string().into_encoded_bytes(), gate.clone());
        gates.insert(configured.to_vec(), gate.clone());
        Some(gate)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gate<'g>(gates: &'g Gates, path: &str, number: Option<Number>) -> &'g FileGate {
        match gates.of(path.as_bytes(), number) {
            Some(GateRef::Numbered(gate)) => gate,
            _ => panic!("{path} was looked up by its path"),
        }
    }

    #[test]
    fn a_file_has_one_number_and_one_gate_however_it_is_found() {
        let gates = Gates::new("/nowhere".into());
        let number = gates.number(b"users");
        assert!(
            number.is_some()
                && number == gates.number(b"users")
                && number != gates.number(b"others")
        );
        let found = gate(&gates, "users", number);
        assert!(std::ptr::eq(found, gate(&gates, "users", number)));
        let by_path = |path: &[u8]| match gates.of(path, None) {
            Some(GateRef::ByPath(gate)) => gate,
            _ => panic!("it was found without a look at its path"),
        };
        assert!(std::ptr::eq(found, &*by_path(b"users")));
        assert!(std::ptr::eq(found, &*by_path(b"./users")));
    }

    #[test]
    fn a_number_of_another_file_or_site_is_none() {
        let (gates, other) = (Gates::new("/nowhere".into()), Gates::new("/nowhere".into()));
        let (users, others) = (gates.number(b"users"), gates.number(b"others"));
        for (gates, path, number) in [(&gates, &b"users"[..], others), (&other, b"users", users)] {
            assert!(matches!(gates.of(path, number), Some(GateRef::ByPath(_))));
        }
    }

    #[test]
    fn more_files_than_have_numbers_are_looked_up_by_their_paths() {
        let gates = Gates::new("/nowhere".into());
        let path = |number: usize| format!("users{number}").into_bytes();
        assert!((0..CHUNK * CHUNKS).all(|number| gates.number(&path(number)).is_some()));
        let last = CHUNK * CHUNKS;
        assert_eq!(gates.number(&path(last)), None);
        assert!(matches!(gates.of(&path(last), None), Some(GateRef::ByPath(_))));
        let first = gates.number(&path(0));
        assert!(matches!(gates.of(&path(0), first), Some(GateRef::Numbered(_))));
    }

    #[test]
    fn a_path_that_leads_to_another_file_gets_another_gate() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        for name in ["one", "two"] {
            std::fs::write(at(name), "HOTP alice - 3132333435363738393031323334353637383930\n")
                .unwrap();
        }
        std::os::unix::fs::symlink("one", at("users")).unwrap();
        let gates = Gates::new(directory.path().to_owned());
        let number = gates.number(b"users");
        let look = || {
            let gate = gates.of(b"users", number).unwrap();
            crate::gate::Store::find(gate.store(), b"alice").unwrap();
            matches!(gate, GateRef::Numbered(_))
        };
        assert!(look());
        std::os::unix::fs::symlink("two", at("next")).unwrap();
        std::fs::rename(at("next"), at("users")).unwrap();
        // The first finds out.
        look();
        assert!(!look());
        let gate = gates.of(b"users", number).unwrap();
        assert!(!gate.store().is_astray());
    }
}
