//! What the policies per key are to be.

use super::{PerKey, circuit};
use crate::admission::{BulkheadConfig, CircuitBreakerConfig, CircuitWindow, RateLimiterConfig};
use crate::fault::{ConfigError, Fault, check, gather};
use std::time::Duration;

/// A table of more keys is a database.
const MOST_KEYS: u64 = 100_000_000;

/// How a [`PerKey`] shall work. Made by [`PerKey::new`].
///
/// ```
/// # fn main() -> Result<(), steadfast::ConfigError> {
/// use steadfast::{Bulkhead, CircuitBreaker, PerKey, RateLimiter};
/// let tenants = PerKey::new(10_000)
///     .rate_limit(RateLimiter::per_second(50))
///     .circuit_breaker(CircuitBreaker::failure_rate(0.5))
///     .bulkhead(Bulkhead::new(5))
///     .statistics(true)
///     .build()?;
/// # let _ = tenants; Ok(()) }
/// ```
#[derive(Clone, Debug, PartialEq)]
#[must_use = "a configuration does nothing until it is built or given to a pipeline"]
pub struct PerKeyConfig {
    pub(crate) max_keys: usize,
    pub(crate) idle: Duration,
    pub(crate) rate_limit: Option<RateLimiterConfig>,
    pub(crate) circuit_breaker: Option<CircuitBreakerConfig>,
    pub(crate) bulkhead: Option<BulkheadConfig>,
    pub(crate) statistics: bool,
}

impl PerKeyConfig {
    pub(super) const fn new(max_keys: usize) -> Self {
        // Long enough for who comes every few minutes to be remembered, short enough for the table to follow the day.
        let idle = Duration::from_secs(10 * 60);
        Self { max_keys, idle, rate_limit: None, circuit_breaker: None, bulkhead: None, statistics: false }
    }

    /// A rate for each key. The sliding window is not to be had: its log would make a key as large as its quota. **Default**: none.
    pub fn rate_limit(mut self, limiter: RateLimiterConfig) -> Self {
        self.rate_limit = Some(limiter);
        self
    }

    /// A circuit for each key, so that one broken tenant, host or shard does not open the circuit of all. A
    /// [`count_window`](CircuitBreakerConfig::count_window) holds at most 240 calls; the open time cannot be
    /// [a function](CircuitBreakerConfig::open_for_fn), nor is there a [`ramp`](CircuitBreakerConfig::ramp) or a
    /// [`seed`](CircuitBreakerConfig::seed). **Default**: none.
    pub fn circuit_breaker(mut self, breaker: CircuitBreakerConfig) -> Self {
        self.circuit_breaker = Some(breaker);
        self
    }

    /// So many at once of each key. **Default**: none.
    pub fn bulkhead(mut self, bulkhead: BulkheadConfig) -> Self {
        self.bulkhead = Some(bulkhead);
        self
    }

    /// Counts calls, successes, failures, rejections and times of each key, and who is refused most. For
    /// [`snapshot`](PerKey::snapshot) and [`most_rejected`](PerKey::most_rejected) only: a key is never the label of a metric.
    /// **Default**: `false`; it costs 32 bytes a key.
    pub const fn statistics(mut self, on: bool) -> Self {
        self.statistics = on;
        self
    }

    /// How long a key that owes nothing is remembered after its last call; counted in steps of an eighth of a second.
    /// **Default**: 10 min.
    pub const fn idle(mut self, time: Duration) -> Self {
        self.idle = time;
        self
    }

    /// Makes the live table, empty.
    ///
    /// # Errors
    /// Every setting that cannot work, all at once.
    pub fn build(self) -> Result<PerKey, ConfigError> {
        ConfigError::check("per key", self.faults())?;
        Ok(PerKey::from_config(self))
    }

    /// The longest that a call may wait for what its key has to give.
    #[inline]
    pub(crate) fn longest_wait(&self) -> Duration {
        let limiter = self.rate_limit.as_ref().map_or(Duration::ZERO, RateLimiterConfig::longest_wait);
        limiter.saturating_add(self.bulkhead.as_ref().map_or(Duration::ZERO, BulkheadConfig::longest_wait))
    }

    pub(crate) fn faults(&self) -> Vec<Fault> {
        let mut faults = Vec::new();
        let max_keys = u64::try_from(self.max_keys).unwrap_or(u64::MAX);
        check::at_least(&mut faults, "max_keys", max_keys, 1);
        check::at_most(&mut faults, "max_keys", max_keys, MOST_KEYS);
        check::nonzero(&mut faults, "idle", self.idle, "a key would be forgotten between two calls; use a minute or more");
        if let Some(limiter) = &self.rate_limit {
            gather(&mut faults, "rate_limit", limiter.faults());
            if limiter.sliding {
                let problem = "the log of a sliding window is too large for each key; leave it out, the token bucket is always to be had";
                faults.push(Fault::new("rate_limit.sliding_window", problem));
            }
        }
        if let Some(breaker) = &self.circuit_breaker {
            gather(&mut faults, "circuit_breaker", breaker.faults());
            if let CircuitWindow::Count(calls) = breaker.window
                && calls > circuit::MOST_COUNTED
            {
                let problem =
                    format!("{calls} calls are too many for each key; use at most {}, or a window of time", circuit::MOST_COUNTED);
                faults.push(Fault::new("circuit_breaker.count_window", problem));
            }
            if breaker.open_for_fn.is_some() {
                let problem = "a function cannot choose the open time of each key; use open_for, open_growth and max_open";
                faults.push(Fault::new("circuit_breaker.open_for_fn", problem));
            }
            if breaker.ramp.is_some() {
                let problem = "the circuit of a key has no ramp; leave it out, or take more probes";
                faults.push(Fault::new("circuit_breaker.ramp", problem));
            }
            if breaker.seed.is_some() {
                let problem = "the circuits of all keys share their chance, so a seed repeats nothing; leave it out";
                faults.push(Fault::new("circuit_breaker.seed", problem));
            }
        }
        if let Some(bulkhead) = &self.bulkhead {
            gather(&mut faults, "bulkhead", bulkhead.faults());
        }
        if self.rate_limit.is_none() && self.circuit_breaker.is_none() && self.bulkhead.is_none() && !self.statistics {
            let problem =
                "there is no policy to apply to each key; give it a rate_limit, a circuit_breaker, a bulkhead or statistics(true)";
            faults.push(Fault::new("policies", problem));
        }
        faults
    }
}
