//! What a shared limit is told.

use super::{SharedLimit, deny};
use crate::admission::{CircuitBreaker, CircuitBreakerConfig};
use crate::fault::{ConfigError, Fault, check};
use crate::store::rate::{AnyRateStore, Quota, RateStore};
use std::sync::Arc;
use std::time::Duration;

/// What to decide while the shared store does not answer.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum OnOutage {
    /// By this process alone, with this share of the quota, as a fraction in (0, 1]: one machine of four takes 0.25. All machines together then let
    /// through what the quota says, if each has its fair share of the calls. What each key had spent before still counts.
    Local {
        /// This machine's part of the quota.
        share: f64,
    },
    /// Everything goes.
    Allow,
    /// Nothing goes, until the store is asked again.
    Deny,
    /// An error, for the caller to decide.
    Error,
}

impl Default for OnOutage {
    /// A quarter: right for four machines, and for another number not far wrong.
    fn default() -> Self {
        Self::Local { share: 0.25 }
    }
}

/// Longer than a decision usually takes by much, and short beside the calls it is about.
const DEADLINE: Duration = Duration::from_millis(50);
/// As many keys as may be cut off, or watched, at a time, at some 200 bytes each.
const KEYS: usize = 10_000;

/// How a [`SharedLimit`] shall work. Made by [`SharedLimit::new`].
#[derive(Clone, Debug, PartialEq)]
#[must_use = "a configuration does nothing until it is built"]
pub struct SharedLimitConfig {
    pub(super) quota: Quota,
    pub(super) store: Option<AnyRateStore>,
    pub(super) name: Arc<str>,
    pub(super) on_outage: OnOutage,
    pub(super) deadline: Duration,
    pub(super) max_wait: Duration,
    pub(super) breaker: CircuitBreakerConfig,
    pub(super) deny_cache: usize,
    pub(super) local_keys: usize,
    pub(super) shadow: bool,
}

impl SharedLimitConfig {
    pub(super) fn new(quota: Quota) -> Self {
        // Opens fast, for each call that finds the store down pays for it, and asks again twice a second, for a restart must not go unnoticed.
        // It takes eight answers without a failure to close: a store that loses every second call stays away instead of coming and going.
        let breaker = CircuitBreaker::failure_rate(0.3)
            .consecutive_failures(3)
            .min_calls(10)
            .window(Duration::from_secs(2))
            .open_for(Duration::from_millis(250))
            .max_open(Duration::from_millis(500))
            .probes(8)
            .close_after(8);
        Self {
            quota,
            store: None,
            name: Arc::from("limit"),
            on_outage: OnOutage::default(),
            deadline: DEADLINE,
            max_wait: Duration::ZERO,
            breaker,
            deny_cache: KEYS,
            local_keys: KEYS,
            shadow: false,
        }
    }

    /// Where the limits are kept. There is no default: without one it cannot be built.
    pub fn store(mut self, store: impl RateStore) -> Self {
        self.store = Some(store.into_any());
        self
    }

    /// Its name: the first part of each key, so that limits that share a store keep their own books, and what pipelines call it. Two limits of one
    /// name in one store are one limit. **Default**: `limit`.
    pub fn name(mut self, name: impl Into<Arc<str>>) -> Self {
        self.name = name.into();
        self
    }

    /// What to decide while the store does not answer. **Default**: locally, with a quarter of the quota.
    pub const fn on_outage(mut self, what: OnOutage) -> Self {
        self.on_outage = what;
        self
    }

    /// How long the store may take for one decision. One that takes longer is dropped, and decided without; what it may have taken stays taken,
    /// and is not asked for again. **Default**: 50 ms.
    pub const fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// How long to wait for units, in [`acquire`](SharedLimit::acquire) and as a gate of a pipeline, and no longer than the call's deadline;
    /// `Duration::MAX` is as long as it takes. Who could not go in time is refused at once. Within this process it is first come, first served at
    /// each key, and nobody overtakes those who wait; between processes there is no order: each asks when it is time by what it heard last. While
    /// some wait at a key, as many ask at once as the store said there is for, so a limit of many thousands a second that is to be waited for
    /// does better with [leases](crate::store::rate::Leased).
    /// **Default**: zero, refuse at once.
    pub const fn max_wait(mut self, wait: Duration) -> Self {
        self.max_wait = wait;
        self
    }

    /// The circuit breaker around the store: while it is open, decisions cost no wait. **Default**: opens on 3 failures in a row or 30 % of 10 or
    /// more in 2 s, asks again after 250 to 500 ms, and closes after 8 answers without a failure.
    pub fn breaker(mut self, breaker: CircuitBreakerConfig) -> Self {
        self.breaker = breaker;
        self
    }

    /// Of how many keys it remembers until when they were refused, so that who comes too soon costs no round trip. Units that are given back
    /// elsewhere meanwhile are seen late; what is given back or [reset](SharedLimit::reset) here, at once. 0 remembers none. **Default**: 10,000.
    pub const fn deny_cache(mut self, keys: usize) -> Self {
        self.deny_cache = keys;
        self
    }

    /// Of how many keys it knows what they have spent, for a time without the store ([`OnOutage::Local`]). Beyond, those that have spent the least
    /// begin afresh. **Default**: 10,000.
    pub const fn local_keys(mut self, keys: usize) -> Self {
        self.local_keys = keys;
        self
    }

    /// Whether it only counts and never refuses: to find out what a quota would do. A decision that would have been a refusal is allowed, with a
    /// [`retry_after`](crate::store::rate::Decision::retry_after), and counted in [`shadowed`](super::LimitStats::shadowed). **Default**: false.
    pub const fn shadow(mut self, shadow: bool) -> Self {
        self.shadow = shadow;
        self
    }

    /// Makes the limit. Asks nobody, so it works while the store is down.
    ///
    /// # Errors
    /// Every setting that cannot work, all at once.
    pub fn build(self) -> Result<SharedLimit, ConfigError> {
        ConfigError::check("shared limit", self.faults())?;
        SharedLimit::from_config(self)
    }

    pub(super) fn faults(&self) -> Vec<Fault> {
        let mut faults: Vec<Fault> = self.quota.faults().into_iter().map(|fault| fault.under("quota")).collect();
        if self.store.is_none() {
            faults.push(Fault::new("store", "there is none; for the limits of one process give it a `MemoryRateStore`"));
        }
        if self.name.is_empty() {
            faults.push(Fault::new("name", "it is empty; limits that share a store are told apart by their names"));
        }
        if let OnOutage::Local { share } = self.on_outage {
            check::fraction(&mut faults, "on_outage.share", share);
        }
        check::nonzero(&mut faults, "deadline", self.deadline, "a store needs a few milliseconds");
        check::at_most(&mut faults, "deny_cache", self.deny_cache as u64, deny::MOST);
        check::at_least(&mut faults, "local_keys", self.local_keys as u64, 1);
        faults.extend(self.breaker.faults().into_iter().map(|fault| fault.under("breaker")));
        faults
    }
}
