//! What a shard is made of: an entry, with its moments, and the words in which it is asked for.

use super::config::Times;
use super::engine::Weighed;
use super::removal::RemovalCause;
use crate::admission::keyed::Hash;
use crate::time::nanos;
use std::cell::Cell;
use std::sync::Arc;

/// Moments are nanoseconds since the cache was made; this one never comes.
pub(super) const NEVER: u64 = u64::MAX;

pub(super) enum Answer<T> {
    Value(T),
    /// The load failed, with this text if it is known.
    Failure(Option<Arc<str>>),
}

/// An entry.
pub(super) struct Slot<T> {
    pub(super) answer: Answer<T>,
    pub(super) weight: u64,
    /// Before that there is nothing to think about: it is fresh, not idle, and not to be refreshed.
    pub(super) easy_until: Cell<u64>,
    /// From then on it is stale.
    pub(super) fresh_until: u64,
    /// From then on it is worthless.
    pub(super) keep_until: u64,
    /// From then on it is better loaded anew.
    pub(super) refresh_at: u64,
    pub(super) touched: Cell<u64>,
    /// No further load before this.
    pub(super) retry_at: Cell<u64>,
    pub(super) failures: Cell<u8>,
    /// Why it leaves, once it does; `None` for what never was in.
    pub(super) cause: Cell<Option<RemovalCause>>,
    /// Its moment in the heap.
    pub(super) queued: Cell<u64>,
    pub(super) tags: Option<Box<Tags>>,
}

pub(super) struct Tags {
    pub(super) key: Hash,
    pub(super) tags: Vec<Hash>,
}

impl<T> Weighed for Slot<T> {
    #[inline]
    fn weight(&self) -> u64 {
        self.weight
    }
}

impl<T> Slot<T> {
    #[inline]
    pub(super) fn end(&self, idle: u64) -> u64 {
        self.keep_until.min(self.touched.get().saturating_add(idle))
    }

    #[inline]
    pub(super) fn touch(&self, now: u64, idle: u64) {
        if idle != NEVER {
            self.touched.set(now);
            self.easy_until.set(self.fresh_until.min(self.refresh_at).min(now.saturating_add(idle)));
        }
    }
}

/// What leaves a shard, to be dropped outside its lock.
pub(super) type Gone<T> = Vec<Slot<T>>;

/// The times of a cache, in nanoseconds.
#[derive(Clone, Copy)]
pub(super) struct Clockwork {
    pub(super) idle: u64,
    pub(super) negative_ttl: u64,
    pub(super) refresh_ahead: Option<f64>,
    pub(super) revalidate: u64,
    pub(super) if_error: u64,
    pub(super) retry_every: u64,
}

impl Clockwork {
    pub(super) fn new(times: &Times) -> Self {
        Self {
            idle: nanos(times.idle),
            negative_ttl: nanos(times.negative_ttl),
            refresh_ahead: times.refresh_ahead,
            revalidate: nanos(times.stale_while_revalidate),
            if_error: nanos(times.stale_if_error),
            retry_every: nanos(times.retry_stale_every),
        }
    }
}

/// What somebody who can load finds.
pub(super) enum Found<R> {
    /// The value, to be given as it is.
    Hit(R),
    /// An old one, to be given as it is: somebody else is loading, or has tried just now.
    Stale(R),
    /// A value, and the order to load a new one, for nobody else does.
    Refresh(R, u64),
    /// Nothing that can be given without trying to load; the number is for [`Shard::store`].
    Load(u64),
    /// The load failed, and will not be tried again for so many nanoseconds.
    Failed(Option<Arc<str>>, u64),
}

#[derive(Clone, Copy, Default)]
pub(super) struct Counts {
    pub(super) hits: u64,
    pub(super) misses: u64,
    pub(super) stale: u64,
    pub(super) sets: u64,
    pub(super) deletes: u64,
    pub(super) evicted: u64,
    pub(super) expired: u64,
}

/// How a load failed.
pub(super) struct Failed {
    /// Whether an old value may be given instead.
    pub(super) excused: bool,
    /// Of an error of the operation itself, its text if that is known.
    pub(super) text: Option<Option<Arc<str>>>,
}

/// What is to be put in.
pub(super) struct New<T> {
    pub(super) answer: Answer<T>,
    pub(super) weight: u64,
    /// In nanoseconds, with its jitter.
    pub(super) ttl: u64,
    pub(super) tags: Vec<Hash>,
}

impl<T> Slot<T> {
    /// On its way out.
    pub(super) fn unused(new: New<T>) -> Self {
        Self {
            answer: new.answer,
            weight: 1,
            easy_until: Cell::new(0),
            fresh_until: 0,
            keep_until: 0,
            refresh_at: NEVER,
            touched: Cell::new(0),
            retry_at: Cell::new(0),
            failures: Cell::new(0),
            cause: Cell::new(None),
            queued: Cell::new(NEVER),
            tags: None,
        }
    }
}
