//! No panic crosses into C.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Once;

static QUIET: Once = Once::new();

/// Runs an entry's body; after a panic, `failed` says what the caller gets.
///
/// What a panicking body leaves behind is safe to meet again: locks release without poison, and
/// every change to shared state is made whole by its last step.
pub fn guarded<R>(failed: impl FnOnce() -> R, body: impl FnOnce() -> R) -> R {
    QUIET.call_once(|| {
        // The default hook prints the panic's message, which may quote data. The place is enough to
        // find it.
        std::panic::set_hook(Box::new(|panic| {
            let place = panic.location().map(|place| (place.file(), place.line()));
            let (file, line) = place.unwrap_or(("unknown", 0));
            eprintln!("otpgate {}: internal fault at {file}:{line}", env!("CARGO_PKG_VERSION"));
        }));
    });
    catch_unwind(AssertUnwindSafe(body)).unwrap_or_else(|panic| {
        // Dropping what was thrown could throw again.
        std::mem::forget(panic);
        failed()
    })
}
