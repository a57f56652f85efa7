//! User code whose panic is nobody's problem but its own.

use std::panic::{AssertUnwindSafe, catch_unwind};

/// What it answers; `None` when it panicked.
pub(crate) fn guarded<T>(user: impl FnOnce() -> T) -> Option<T> {
    let payload = match catch_unwind(AssertUnwindSafe(user)) {
        Ok(answer) => return Some(answer),
        Err(payload) => payload,
    };
    // What a panic carries may panic in its own drop.
    if let Err(worse) = catch_unwind(AssertUnwindSafe(|| drop(payload))) {
        std::mem::forget(worse);
    }
    None
}
