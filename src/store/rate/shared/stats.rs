//! How a shared limit has been doing.

use crate::store::rate::{Decision, Source};
use crate::sync::Counter;
use std::iter::Sum;
use std::ops::Add;

/// What a [`SharedLimit`](super::SharedLimit) has decided since it was made, and who did. Those of several limits add up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct LimitStats {
    /// Requests that went.
    pub allowed: u64,
    /// Requests that were refused.
    pub denied: u64,
    /// Of those that went: stood in line for it.
    pub waited: u64,
    /// Of those that went: would have been refused, but for [`shadow`](super::SharedLimitConfig::shadow).
    pub shadowed: u64,
    /// Decided by a store of this process.
    pub local: u64,
    /// Decided by the shared store.
    pub remote: u64,
    /// Decided without it, since it did not answer.
    pub local_fallback: u64,
    /// Refused without asking, since it was too soon.
    pub deny_cache: u64,
    /// Taken from what was claimed before.
    pub lease: u64,
    /// Times the store took longer than the deadline.
    pub timeouts: u64,
    /// Times the store failed.
    pub errors: u64,
}

impl LimitStats {
    /// All requests that were decided.
    #[must_use]
    pub const fn decisions(&self) -> u64 {
        self.allowed + self.denied
    }
}

impl Add for LimitStats {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            allowed: self.allowed + other.allowed,
            denied: self.denied + other.denied,
            waited: self.waited + other.waited,
            shadowed: self.shadowed + other.shadowed,
            local: self.local + other.local,
            remote: self.remote + other.remote,
            local_fallback: self.local_fallback + other.local_fallback,
            deny_cache: self.deny_cache + other.deny_cache,
            lease: self.lease + other.lease,
            timeouts: self.timeouts + other.timeouts,
            errors: self.errors + other.errors,
        }
    }
}

impl Sum for LimitStats {
    fn sum<I: Iterator<Item = Self>>(all: I) -> Self {
        all.fold(Self::default(), Add::add)
    }
}

#[derive(Debug, Default)]
pub(super) struct Counters {
    allowed: Counter,
    denied: Counter,
    pub(super) waited: Counter,
    pub(super) shadowed: Counter,
    local: Counter,
    remote: Counter,
    local_fallback: Counter,
    deny_cache: Counter,
    lease: Counter,
    pub(super) timeouts: Counter,
    pub(super) errors: Counter,
}

impl Counters {
    pub(super) fn count(&self, decision: &Decision) {
        if decision.allowed { &self.allowed } else { &self.denied }.add(1);
        let source = match decision.source {
            Source::Local => &self.local,
            Source::Remote => &self.remote,
            Source::LocalFallback => &self.local_fallback,
            Source::DenyCache => &self.deny_cache,
            Source::Lease => &self.lease,
        };
        source.add(1);
    }

    pub(super) fn snapshot(&self) -> LimitStats {
        LimitStats {
            allowed: self.allowed.get(),
            denied: self.denied.get(),
            waited: self.waited.get(),
            shadowed: self.shadowed.get(),
            local: self.local.get(),
            remote: self.remote.get(),
            local_fallback: self.local_fallback.get(),
            deny_cache: self.deny_cache.get(),
            lease: self.lease.get(),
            timeouts: self.timeouts.get(),
            errors: self.errors.get(),
        }
    }
}
