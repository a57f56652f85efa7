//! How the stores of this crate count.

use crate::cache_stats::CacheStats;

/// The counters of a store, shared by its clones.
#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) hits: crate::sync::Counter,
    pub(super) misses: crate::sync::Counter,
    pub(super) sets: crate::sync::Counter,
    pub(super) deletes: crate::sync::Counter,
    pub(super) evicted: crate::sync::Counter,
    pub(super) expired: crate::sync::Counter,
    pub(super) errors: crate::sync::Counter,
    pub(super) corrupt: crate::sync::Counter,
}

impl Counters {
    pub(super) fn got(&self, found: bool) {
        if found { self.hits.add(1) } else { self.misses.add(1) }
    }

    pub(super) fn snapshot(&self) -> CacheStats {
        CacheStats {
            hits: self.hits.get(),
            misses: self.misses.get(),
            sets: self.sets.get(),
            deletes: self.deletes.get(),
            evicted_size: self.evicted.get(),
            expired: self.expired.get(),
            errors: self.errors.get(),
            corrupt: self.corrupt.get(),
            ..CacheStats::default()
        }
    }

    pub(super) fn reset(&self) {
        let Self { hits, misses, sets, deletes, evicted, expired, errors, corrupt } = self;
        [hits, misses, sets, deletes, evicted, expired, errors, corrupt].iter().for_each(|counter| counter.reset());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn c46_reset_leaves_nothing() {
        let counters = Counters::default();
        counters.got(true);
        counters.reset();
        assert_eq!(counters.snapshot(), CacheStats::default());
    }
}
