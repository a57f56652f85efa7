//! The cache, seen from outside: the cases of the conformance list, by their numbers, and the hazards.

mod allocations;
mod capacity;
mod loading;
mod pipeline;
mod removal;
mod stale;
#[cfg(feature = "store")]
mod tiers;
mod time;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use steadfast::{Cache, CacheConfig};

pub(crate) const SECOND: Duration = Duration::from_secs(1);
pub(crate) const MS: Duration = Duration::from_millis(1);

pub(crate) fn cache(config: CacheConfig<String, u32>) -> Cache<String, u32> {
    config.build().expect("valid")
}

pub(crate) fn hundred() -> CacheConfig<String, u32> {
    Cache::new(100)
}

/// Counts how often something was done.
#[derive(Clone, Default)]
pub(crate) struct Count(Arc<AtomicU32>);

impl Count {
    pub(crate) fn one(&self) -> u32 {
        self.0.fetch_add(1, Ordering::SeqCst) + 1
    }

    pub(crate) fn get(&self) -> u32 {
        self.0.load(Ordering::SeqCst)
    }
}

pub(crate) async fn pass(time: Duration) {
    tokio::time::sleep(time).await;
}
