//! Who is told of what left a cache, and why it did.

use super::config::Rules;
use super::slot::{Answer, Gone};
use crate::guarded::guarded;
use std::fmt;

/// Why a value is no longer in a cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RemovalCause {
    /// By its key, by a tag, or with everything else: [`remove`](super::Cache::remove), [`invalidate_tag`](super::Cache::invalidate_tag),
    /// [`clear`](super::Cache::clear).
    Removed,
    /// Another value came for its key, whether or not there was room for that one.
    Replaced,
    /// Its time was over, that for bad times included.
    Expired,
    /// It had to make room.
    Evicted,
}

impl RemovalCause {
    /// A short, stable name in snake case.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Removed => "removed",
            Self::Replaced => "replaced",
            Self::Expired => "expired",
            Self::Evicted => "evicted",
        }
    }
}

impl fmt::Display for RemovalCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Tells of each value, under no lock. A listener that panics is heard of in the log, and hears of the next one.
pub(super) fn tell<T>(rules: &Rules<T>, name: &str, gone: Gone<T>) {
    let Some(listener) = rules.on_removal.as_deref() else { return };
    for slot in gone {
        if let (Some(cause), Answer::Value(value)) = (slot.cause.get(), slot.answer)
            && guarded(|| listener(value, cause)).is_none()
        {
            tracing::error!(name: "steadfast.removal_listener_panicked", cache = name, %cause, "the removal listener of a cache panicked");
        }
    }
}
