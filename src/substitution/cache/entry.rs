//! What is put into a cache, and how its room is shared out.

use std::time::Duration;

/// A value, and what only this entry has: from a load, or for [`Cache::insert`](super::Cache::insert).
///
/// Where one is expected, a bare value will do.
#[derive(Clone, Debug)]
#[must_use = "it must be given to a cache"]
pub struct Loaded<T> {
    pub(crate) value: T,
    pub(super) ttl: Option<Duration>,
    pub(super) tags: Vec<String>,
    pub(super) keep: bool,
}

impl<T> Loaded<T> {
    /// A value like any other of the cache.
    pub const fn new(value: T) -> Self {
        Self { value, ttl: None, tags: Vec::new(), keep: true }
    }

    /// How long this one is fresh; the [jitter](super::CacheConfig::jitter) comes on top. Zero: it is not kept, and what was kept before is removed.
    /// **Default**: the cache's own ttl.
    pub const fn ttl(mut self, ttl: Duration) -> Self {
        self.ttl = Some(ttl);
        self
    }

    /// Makes it one of those that [`invalidate_tag`](super::Cache::invalidate_tag) removes together. **Default**: none.
    pub fn tag(mut self, tag: impl Into<String>) -> Self {
        self.tags.push(tag.into());
        self
    }

    /// Several tags.
    pub fn tags<S: Into<String>>(mut self, tags: impl IntoIterator<Item = S>) -> Self {
        self.tags.extend(tags.into_iter().map(Into::into));
        self
    }
}

impl<T> Loaded<T> {
    /// Of what a judge calls a failure: it is given, and nothing is kept of it.
    pub(crate) fn not_kept(mut self) -> Self {
        self.keep = false;
        self
    }
}

impl<T> From<T> for Loaded<T> {
    fn from(value: T) -> Self {
        Self::new(value)
    }
}

/// Up to and with `most`.
pub(super) fn random_up_to(most: u64) -> u64 {
    if most == 0 { 0 } else { ((u128::from(crate::random::bits()) * (u128::from(most) + 1)) >> 64) as u64 }
}

/// How many parts: enough that threads seldom meet, and each of them large enough that it evicts as the whole would.
pub(super) fn parts(capacity: u64, bytes: bool) -> usize {
    let parts = capacity / if bytes { 4 << 20 } else { 1024 };
    1 << parts.clamp(1, 32).ilog2()
}

pub(super) fn part_of(capacity: u64, parts: usize, at: usize) -> u64 {
    let parts = parts as u64;
    capacity / parts + u64::from((at as u64) < capacity % parts)
}

/// How many entries a part is likely to hold: the engine remembers half as many that were evicted.
pub(super) fn estimate(capacity: u64, bytes: bool, parts: usize) -> usize {
    let entries = capacity / if bytes { 1024 } else { 1 } / parts as u64;
    usize::try_from(entries.clamp(16, 1 << 24)).unwrap_or(16)
}
