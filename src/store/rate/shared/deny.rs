//! Who was refused, and until when.

use crate::store::Key;
use crate::sync::{Mutex, lock};
use lru::LruCache;
use std::num::NonZeroUsize;
use std::time::Duration;
use tokio::time::Instant;

/// More keys than that are no cache.
pub(super) const MOST: u64 = 10_000_000;

#[derive(Clone, Copy)]
struct Denied {
    /// Who asks for less may be luckier.
    cost: u32,
    until: Instant,
}

/// Keys that were refused, as many as it has room for; `None` for no room.
pub(super) struct DenyCache(Option<Mutex<LruCache<Key, Denied>>>);

impl DenyCache {
    pub(super) fn new(keys: usize) -> Self {
        // Grows as keys come: room for all of them at once would be megabytes for nobody.
        Self(NonZeroUsize::new(keys).map(|keys| {
            let mut cache = LruCache::unbounded();
            cache.resize(keys);
            Mutex::new(cache)
        }))
    }

    /// For how long such a request is still too soon.
    pub(super) fn wait(&self, key: &Key, cost: u32, now: Instant) -> Option<Duration> {
        let mut cache = lock(self.0.as_ref()?);
        let denied = *cache.get(key)?;
        if denied.until <= now {
            cache.pop(key);
            return None;
        }
        (cost >= denied.cost).then(|| denied.until - now)
    }

    pub(super) fn note(&self, key: &Key, cost: u32, until: Option<Instant>) {
        if let (Some(cache), Some(until)) = (&self.0, until) {
            lock(cache).put(key.clone(), Denied { cost, until });
        }
    }

    pub(super) fn forget(&self, key: &Key) {
        if let Some(cache) = &self.0 {
            lock(cache).pop(key);
        }
    }

    pub(super) fn clear(&self) {
        if let Some(cache) = &self.0 {
            lock(cache).clear();
        }
    }
}
