//! Frames of the page to log in, as admins have written them.

use std::collections::HashMap;
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;

use crate::files::open::{Link, To, open};
use crate::files::stamp::Stamp;
use crate::log::{Level, Log};
use crate::page::{STYLE, Template};

/// A larger file is none for a page.
const SIZE_MAX: u64 = 256 * 1024;
/// So many are known at a time.
const KNOWN_MAX: usize = 100;

/// What was read last.
#[derive(Default)]
pub(super) struct Templates(Mutex<HashMap<PathBuf, (Stamp, Arc<Template>)>>);

impl Templates {
    /// The frame in a file, as it is now. In the place of one that can't be used there is our own,
    /// so that people can log in; the log says why.
    pub(super) fn of(&self, path: &Path, log: &dyn Log) -> Arc<Template> {
        match self.read(path) {
            Ok(template) => template,
            Err(reason) => {
                let path = path.display();
                log.log(
                    Level::Error,
                    format_args!(
                        "{path} is no template for the page to log in, and is not used: {reason}"
                    ),
                );
                built_in()
            }
        }
    }

    fn read(&self, path: &Path) -> Result<Arc<Template>, String> {
        let file = open(path, To::Read, Link::Follow)
            .map_err(|refusal| refusal.into_fault(path).to_string())?;
        let metadata = file.metadata().map_err(|error| error.to_string())?;
        let stamp = Stamp::of(&metadata);
        if let Some((known, template)) = self.0.lock().get(path)
            && *known == stamp
        {
            return Ok(template.clone());
        }
        let template = Arc::new(parse(file)?);
        let mut known = self.0.lock();
        if known.len() >= KNOWN_MAX {
            known.clear();
        }
        known.insert(path.to_owned(), (stamp, template.clone()));
        Ok(template)
    }
}

/// Our own frame.
pub(super) fn built_in() -> Arc<Template> {
    static BUILT_IN: std::sync::LazyLock<Arc<Template>> =
        std::sync::LazyLock::new(|| Arc::new(Template::built_in().clone()));
    BUILT_IN.clone()
}

fn parse(file: File) -> Result<Template, String> {
    let mut html = String::new();
    let read = file.take(SIZE_MAX + 1).read_to_string(&mut html);
    let read = read.map_err(|error| error.to_string())?;
    if read as u64 > SIZE_MAX {
        return Err(format!("it is larger than {} KiB", SIZE_MAX / 1024));
    }
    Template::parse(&html, STYLE).map_err(|problem| problem.to_string())
}
