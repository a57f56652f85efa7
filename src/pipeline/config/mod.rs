//! Settings of a whole pipeline as a plain value: from a file, from the environment, from code; and back.
//!
//! With the feature `serde`, a [`PipelineConfig`] is read from TOML, JSON, YAML or whatever has a `Deserializer`, and written to it.
//! Fields have the names of the builder's methods:
//!
//! ```toml
//! preset = "http"                # http, database, interactive, background, standard; what follows replaces parts of it
//! total_timeout = "10s"          # a duration has a unit: ns us ms s m h, "1m30s", "forever"
//! attempt_timeout = "2s"         # false takes away what the preset has
//! monitor = true
//!
//! [retry]                        # retry = 3 is short for the first line
//! retries = 3                    # or "unlimited"
//! backoff = "exponential"        # constant, linear, exponential, fibonacci, decorrelated
//! delay = "100ms"
//! factor = 2.0                   # of an exponential backoff
//! max_delay = "5s"
//! jitter = "full"                # full, equal, none, or "+50ms": up to so much more
//! hint_ceiling = "60s"
//! hint_jitter = "0s"
//! retry_timeouts = true
//! retry_rejections = ["rate_limited"]
//! even_when_nested = false
//! budget = { share = "10%", min_per_second = 3, burst = 20 }   # "10%" is short for the share; "unlimited" for none
//!
//! [hedge]                        # hedge = "p95" is short for the first line
//! after = "p95"                  # or a time, "50ms"
//! idempotent = true              # of all operations; false: of the calls that say so
//! max_hedges = 1
//! min_samples = 100
//! initial_delay = "forever"
//! min_delay = "1ms"
//! max_delay = "500ms"
//! budget = "5%"                  # the budget of the retries, unless set
//!
//! [circuit_breaker]              # circuit_breaker = "50%" is short for the first line, which is also what holds without any rule
//! failure_rate = "50%"
//! consecutive_failures = 10
//! slow_calls = { slower_than = "2s", share = "80%" }
//! window = "10s"                 # or count_window = 100
//! min_calls = 20
//! trip_on_success = false
//! open_for = "5s"
//! open_growth = 2.0
//! max_open = "60s"
//! open_jitter = "10%"
//! probes = 3
//! close_after = 2
//! probe_lease = "5s"
//! half_open_for = "30s"
//! abandoned_after = "10s"
//! ramp = "30s"
//!
//! [throttle]                     # throttle = true is short for all defaults
//! accept_multiplier = 2.0
//! window = "30s"
//! min_requests = 10
//! max_rejection = "90%"
//! fast_recovery = true
//! probe_interval = "1s"
//!
//! [per_key]                      # for each key of `pipeline.key(..)`
//! max_keys = 10000
//! idle = "10m"
//! statistics = true
//! rate_limit = "5/s"             # as below, and so are circuit_breaker and bulkhead
//!
//! [rate_limit]                   # rate_limit = "100/s" is short for the first line
//! rate = "100/s"                 # "10/min", "1000/h", "5/30s"
//! burst = 20                     # or sliding_window = true
//! max_wait = "250ms"
//! queue = 1000
//! ageing = "2s"
//! shed = { target = "5ms", interval = "100ms" }               # true is short for these
//!
//! [bulkhead]                     # bulkhead = 50 is short for the first line
//! limit = 50
//! queue = 100
//! max_wait = "1s"
//! ageing = "2s"
//! shed = true
//!
//! [adaptive_limit]               # adaptive_limit = true is short for all defaults
//! algorithm = "default"          # aimd, vegas, gradient2; who names one may set its parameters
//! initial = 20
//! min = 1
//! max = 1000
//! window = "250ms"
//! min_samples = 20
//! reserve = "10%"
//! queue = 100
//! max_wait = "500ms"
//! ageing = "2s"
//! tolerance = 0.3
//!
//! [cache]                        # feature `cache`: how answers are kept, for functions that are `#[resilient(.., cached, ..)]`
//! capacity = 10_000              # answers of each function
//! ttl = "5m"
//! jitter = "30s"
//! idle = "1h"
//! negative_ttl = "2s"
//! refresh_ahead = "80%"
//! stale_while_revalidate = "1m"
//! stale_if_error = "1h"
//! retry_stale_every = "30s"
//! load_timeouts = { soft = "100ms", hard = "10s" }
//! ```
//!
//! Whatever is left out has the default of the setter of the same name. `false` in place of any setting takes back what a preset, or
//! the defaults of a [`Registry`](crate::Registry), say about it. Who names a `backoff` begins its delays anew, and who names one of
//! `window` and `count_window` replaces the other.
//!
//! Nothing is guessed and nothing is skipped: unknown fields are refused, and *all* faults come at once, each with its path:
//!
//! ```text
//! pipeline cannot be built, 3 problems:
//!   total_timeout: 10 has no unit; write "10s" or "10ms"
//!   retry.delai: unknown field; did you mean `delay`?
//!   circuit_breaker.failure_rate: 50 is not a fraction between 0 and 1; for 50 % write 0.5
//! ```

mod changes;
#[cfg(feature = "serde")]
pub(crate) mod layers;
#[cfg(feature = "serde")]
pub(crate) mod read;
mod reconfigure;
#[cfg(feature = "serde")]
pub(crate) mod source;
pub mod text;
pub(crate) mod tree;
pub(crate) mod words;
mod write;

pub use changes::{Change, Changes};

use super::builder::timeout_faults;
use super::policies::Settings;
use super::{Core, Pipeline, PipelineBuilder};
use crate::admission::{AdaptiveLimitConfig, BulkheadConfig, CircuitBreakerConfig, PerKeyConfig, RateLimiterConfig, ThrottleConfig};
use crate::execution::{HedgeConfig, RetryConfig};
use crate::fault::{ConfigError, Fault};
use crate::observation::Monitor;
#[cfg(feature = "cache")]
use crate::substitution::Caching;
use std::time::Duration;

/// The settings of a pipeline as a plain value, to read from a file, to compare, and to [give to a running
/// pipeline](Pipeline::reconfigure).
///
/// What is code cannot be in it: judges, observers, gates, fallbacks. They come after, on the [`builder`](Self::builder).
///
/// ```
/// # #[cfg(feature = "serde")] fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use steadfast::{PipelineConfig, Verdict};
///
/// let config: PipelineConfig = toml::from_str(r#"
///     preset = "http"
///     attempt_timeout = "500ms"
///     retry = 5
///     rate_limit = "100/s"
/// "#)?;
/// let api = config.builder("github").classify(|_: &std::io::Error| Verdict::transient()).build()?;
/// assert_eq!(api.explain().attempts(), 6);
/// # Ok(()) }
/// # #[cfg(not(feature = "serde"))] fn main() {}
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
#[must_use = "a configuration does nothing until it is built or given to a pipeline"]
pub struct PipelineConfig {
    pub(crate) total_timeout: Option<Duration>,
    pub(crate) attempt_timeout: Option<Duration>,
    pub(crate) policies: Settings,
    #[cfg(feature = "cache")]
    pub(crate) caching: Option<Caching>,
    pub(crate) monitor: bool,
}

impl PipelineConfig {
    /// A pipeline without any policy.
    pub fn new() -> Self {
        Self::default()
    }

    /// How long a call may take in all, see [`PipelineBuilder::total_timeout`]. **Default**: no limit.
    pub fn total_timeout(mut self, limit: impl Into<Option<Duration>>) -> Self {
        self.total_timeout = limit.into();
        self
    }

    /// How long one attempt may take, see [`PipelineBuilder::attempt_timeout`]. **Default**: no limit.
    pub fn attempt_timeout(mut self, limit: impl Into<Option<Duration>>) -> Self {
        self.attempt_timeout = limit.into();
        self
    }

    /// Tries again after transient failures. `None` takes it away. **Default**: one attempt.
    pub fn retry(mut self, retry: impl Into<Option<RetryConfig>>) -> Self {
        self.policies.retry = retry.into();
        self
    }

    /// Launches another attempt beside one that is slow. `None` takes it away. **Default**: one at a time.
    pub fn hedge(mut self, hedge: impl Into<Option<HedgeConfig>>) -> Self {
        self.policies.hedge = hedge.into();
        self
    }

    /// Stops calling a dependency that fails. `None` takes it away. **Default**: none.
    pub fn circuit_breaker(mut self, breaker: impl Into<Option<CircuitBreakerConfig>>) -> Self {
        self.policies.circuit_breaker = breaker.into();
        self
    }

    /// Holds back a share of the calls while the dependency refuses its own. `None` takes it away. **Default**: none.
    pub fn throttle(mut self, throttle: impl Into<Option<ThrottleConfig>>) -> Self {
        self.policies.throttle = throttle.into();
        self
    }

    /// Policies for each key. `None` takes them away. **Default**: none.
    pub fn per_key(mut self, per_key: impl Into<Option<PerKeyConfig>>) -> Self {
        self.policies.per_key = per_key.into();
        self
    }

    /// Keeps attempts under a rate. `None` takes it away. **Default**: no limit.
    pub fn rate_limit(mut self, limiter: impl Into<Option<RateLimiterConfig>>) -> Self {
        self.policies.rate_limit = limiter.into();
        self
    }

    /// Keeps attempts under a number at once. `None` takes it away. **Default**: no limit.
    pub fn bulkhead(mut self, bulkhead: impl Into<Option<BulkheadConfig>>) -> Self {
        self.policies.bulkhead = bulkhead.into();
        self
    }

    /// Keeps attempts under the number at once that the dependency can work on. `None` takes it away. **Default**: no limit.
    pub fn adaptive_limit(mut self, limit: impl Into<Option<AdaptiveLimitConfig>>) -> Self {
        self.policies.adaptive_limit = limit.into();
        self
    }

    /// How answers are kept for functions that are `cached`, see [`PipelineBuilder::caching`]. `None` takes it away. **Default**: not at all.
    #[cfg(feature = "cache")]
    pub fn caching(mut self, caching: impl Into<Option<Caching>>) -> Self {
        self.caching = caching.into();
        self
    }

    /// Whether calls and attempts are recorded. **Default**: no.
    pub const fn monitor(mut self, yes: bool) -> Self {
        self.monitor = yes;
        self
    }

    /// A builder with these settings, to go on with what no file can say: judges, observers, gates.
    pub fn builder(&self, name: impl Into<String>) -> PipelineBuilder {
        let mut builder = Pipeline::builder(name);
        builder.policies = self.policies.clone().into();
        if let Some(limit) = self.total_timeout {
            builder = builder.total_timeout(limit);
        }
        if let Some(limit) = self.attempt_timeout {
            builder = builder.attempt_timeout(limit);
        }
        #[cfg(feature = "cache")]
        if let Some(caching) = &self.caching {
            builder = builder.caching(caching.clone());
        }
        if self.monitor {
            builder = builder.monitor(Monitor::new());
        }
        builder
    }

    /// Builds the pipeline as it is.
    ///
    /// # Errors
    /// As [`PipelineBuilder::build`].
    pub fn build(&self, name: impl Into<String>) -> Result<Pipeline, ConfigError> {
        self.builder(name).build()
    }

    /// Everything that cannot work.
    #[inline]
    pub(crate) fn faults(&self) -> Vec<Fault> {
        let mut faults = self.time_faults();
        faults.append(&mut self.policies.faults());
        #[cfg(feature = "cache")]
        under_cache(self.caching.as_ref(), &mut faults);
        faults
    }

    #[inline]
    pub(crate) fn time_faults(&self) -> Vec<Fault> {
        timeout_faults(self.total_timeout, self.attempt_timeout)
    }

    #[inline]
    pub(crate) fn of(core: &Core) -> Self {
        Self {
            total_timeout: core.total_timeout,
            attempt_timeout: core.attempt_timeout,
            policies: core.policies.settings(),
            #[cfg(feature = "cache")]
            caching: core.caching.clone(),
            monitor: core.monitor.is_some(),
        }
    }
}

/// What cannot work of how answers are kept.
#[cfg(feature = "cache")]
pub(super) fn under_cache(caching: Option<&Caching>, faults: &mut Vec<Fault>) {
    if let Some(caching) = caching {
        crate::fault::gather(faults, "cache", caching.faults());
    }
}
