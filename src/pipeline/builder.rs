//! From settings to a pipeline: every fault reported at once, and the doubtful combinations named.

use super::policies::{PolicyOf, Slots};
use super::typed::TypedBuilder;
use super::{Core, Pipeline, PipelineConfig};
use crate::admission::{
    AdaptiveLimit, AdaptiveLimitConfig, Bulkhead, BulkheadConfig, CircuitBreaker, CircuitBreakerConfig, Gate, Listener, PerKey,
    PerKeyConfig, RateLimiter, RateLimiterConfig, Throttle, ThrottleConfig, Transition,
};
use crate::classify::Judges;
use crate::execution::{Hedge, HedgeConfig, Retry, RetryConfig};
use crate::fault::{ConfigError, Fault};
use crate::observation::{Emitter, Event, Monitor, Observer, clean_arc};
use crate::outcome::{Origin, Seconds, Verdict};
use crate::substitution::Fallback;
#[cfg(feature = "cache")]
use crate::substitution::{Cache, CacheConfig, Caching};
use crate::versions::Versions;
use std::fmt;
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

/// Settings of a pipeline to be. The order of the calls does not matter; of two calls of one method the later counts.
#[must_use = "a builder does nothing until `build`"]
pub struct PipelineBuilder {
    name: String,
    total_timeout: Option<Duration>,
    attempt_timeout: Option<Duration>,
    pub(super) policies: Slots,
    gates: Vec<Arc<dyn Gate>>,
    #[cfg(feature = "chaos")]
    chaos: Option<PolicyOf<crate::chaos::ChaosConfig, crate::chaos::Chaos>>,
    #[cfg(feature = "cache")]
    caching: Option<Caching>,
    judges: Judges,
    monitor: Option<Monitor>,
    observers: Vec<Arc<dyn Observer>>,
    spans: bool,
    log_keys: bool,
    /// Known already.
    faults: Vec<Fault>,
}

impl PipelineBuilder {
    pub(super) fn new(name: String) -> Self {
        Self {
            name,
            total_timeout: None,
            attempt_timeout: None,
            policies: Slots::default(),
            gates: Vec::new(),
            #[cfg(feature = "chaos")]
            chaos: None,
            #[cfg(feature = "cache")]
            caching: None,
            judges: Judges::default(),
            monitor: None,
            observers: Vec::new(),
            spans: false,
            log_keys: false,
            faults: Vec::new(),
        }
    }

    /// How long a call may take in all: every attempt, pause and queue. A zero leaves only what is ready at once, [`Duration::MAX`]
    /// means no limit. A call past it fails with [`DeadlineExceeded`](crate::RejectedKind::DeadlineExceeded). **Default**: no limit.
    pub fn total_timeout(mut self, limit: Duration) -> Self {
        self.total_timeout = Some(limit);
        self
    }

    /// How long one attempt of the operation may take, not counting queues. An attempt past it is dropped, counts as a failure, and
    /// may be retried; the last one fails with [`Timeout`](crate::RejectedKind::Timeout). **Default**: no limit.
    pub fn attempt_timeout(mut self, limit: Duration) -> Self {
        self.attempt_timeout = Some(limit);
        self
    }

    /// Tries again after transient failures. **Default**: one attempt.
    pub fn retry(mut self, retry: impl Into<PolicyOf<RetryConfig, Retry>>) -> Self {
        self.policies.retry = Some(retry.into());
        self
    }

    /// Launches another attempt beside one that is slow; the first success answers. **Default**: one at a time.
    pub fn hedge(mut self, hedge: impl Into<PolicyOf<HedgeConfig, Hedge>>) -> Self {
        self.policies.hedge = Some(hedge.into());
        self
    }

    /// Goes on with what `change` makes of the retries, if there are any. A live policy goes on sharing its budget and statistics.
    #[cfg(feature = "testing")]
    pub(crate) fn map_retry(mut self, change: impl FnOnce(RetryConfig) -> RetryConfig) -> Self {
        self.policies.retry = self.policies.retry.map(|retry| match retry {
            PolicyOf::New(config) => PolicyOf::New(change(config)),
            PolicyOf::Shared(live) => live.reconfigured(change(live.config())).map_or(PolicyOf::Shared(live), PolicyOf::Shared),
        });
        self
    }

    /// Stops calling a dependency that fails. **Default**: none.
    pub fn circuit_breaker(mut self, breaker: impl Into<PolicyOf<CircuitBreakerConfig, CircuitBreaker>>) -> Self {
        self.policies.circuit_breaker = Some(breaker.into());
        self
    }

    /// Holds back a share of the calls while the dependency refuses its own. **Default**: none.
    pub fn throttle(mut self, throttle: impl Into<PolicyOf<ThrottleConfig, Throttle>>) -> Self {
        self.policies.throttle = Some(throttle.into());
        self
    }

    /// Policies for each [key](Pipeline::key), beside those for all calls together, and asked before them. A call without a key passes.
    /// **Default**: none.
    pub fn per_key(mut self, per_key: impl Into<PolicyOf<PerKeyConfig, PerKey>>) -> Self {
        self.policies.per_key = Some(per_key.into());
        self
    }

    /// Keeps attempts under a rate. **Default**: no limit.
    pub fn rate_limit(mut self, limiter: impl Into<PolicyOf<RateLimiterConfig, RateLimiter>>) -> Self {
        self.policies.rate_limit = Some(limiter.into());
        self
    }

    /// Keeps attempts under a number at once. **Default**: no limit.
    pub fn bulkhead(mut self, bulkhead: impl Into<PolicyOf<BulkheadConfig, Bulkhead>>) -> Self {
        self.policies.bulkhead = Some(bulkhead.into());
        self
    }

    /// Keeps attempts under the number at once that the dependency can work on, as it turns out. Beside a bulkhead, the lower of the two
    /// counts. **Default**: no limit.
    pub fn adaptive_limit(mut self, limit: impl Into<PolicyOf<AdaptiveLimitConfig, AdaptiveLimit>>) -> Self {
        self.policies.adaptive_limit = Some(limit.into());
        self
    }

    /// Adds a gate of your own, asked after those added before it. **Default**: none.
    pub fn gate(mut self, gate: impl Gate) -> Self {
        self.gates.push(Arc::new(gate));
        self
    }

    /// Breaks attempts on purpose, right before the operation begins, within its attempt timeout: see [`chaos`](crate::chaos). Of two the
    /// later counts. **Default**: none.
    #[cfg(feature = "chaos")]
    pub fn chaos(mut self, chaos: impl Into<PolicyOf<crate::chaos::ChaosConfig, crate::chaos::Chaos>>) -> Self {
        self.chaos = Some(chaos.into());
        self
    }

    /// Keeps the answers of functions under `#[resilient(pipeline = .., cached, key = ..)]` like this, for each of them in a cache of its own. It stands
    /// around the whole pipeline: a hit asks no policy, and when they refuse, the last good answer may be given. Of other calls nothing is
    /// kept: give them a [`Cache`] ([`Request::cached`](crate::Request::cached)). **Default**: none, and such functions are rejected.
    #[cfg(feature = "cache")]
    pub fn caching(mut self, caching: Caching) -> Self {
        self.caching = Some(caching);
        self
    }

    /// Judges errors of type `E`; one judge per type, and the later of two for one type counts. `Display` lets a rejection quote the
    /// last error. **Default**: every error is transient, except that an inner pipeline's rejections ([`Pipeline::around`]) are known.
    pub fn classify<E: fmt::Display + 'static>(mut self, judge: impl Fn(&E) -> Verdict + Send + Sync + 'static) -> Self {
        self.judges.add(judge);
        self
    }

    /// Records calls and attempts, for [`Pipeline::stats`]. Pipelines that share a monitor report in one table. **Default**: none; on
    /// in the presets.
    pub fn monitor(mut self, monitor: impl Into<Monitor>) -> Self {
        self.monitor = Some(monitor.into());
        self
    }

    /// Tells `observer` everything that happens; see [`Observer`]. **Default**: none.
    pub fn observer(mut self, observer: impl Observer) -> Self {
        self.observers.push(Arc::new(observer));
        self
    }

    /// Opens a `tracing` span `steadfast.call` around each call. Events are traced without it too. **Default**: no spans.
    pub fn spans(mut self) -> Self {
        self.spans = true;
        self
    }

    /// Puts the key of a call on its span, escaped and cut at 128 bytes. Keys are often names of people: be sure that they may be in
    /// your logs. **Default**: keys are nowhere.
    pub fn log_keys(mut self) -> Self {
        self.log_keys = true;
        self
    }

    /// Answers failed calls, which fixes the type of value and error: see [`TypedPipeline`](crate::TypedPipeline). **Default**: none.
    pub fn fallback<T: 'static, E: 'static>(self, fallback: Fallback<T, E>) -> TypedBuilder<T, E> {
        TypedBuilder::new(self).fallback(fallback)
    }

    /// Keeps the answers of calls with a [key](crate::Request::key), and gives the last good one when a call fails, which fixes the type of the
    /// value: see [`TypedPipeline`](crate::TypedPipeline) and [`Cache`](crate::Cache). **Default**: none.
    #[cfg(feature = "cache")]
    pub fn cache<T, E>(self, cache: impl Into<PolicyOf<CacheConfig<String, T>, Cache<String, T>>>) -> TypedBuilder<T, E>
    where
        T: Clone + 'static,
        E: 'static,
    {
        TypedBuilder::new(self).cache(cache)
    }

    /// Faults of something that is built beside it.
    #[cfg(feature = "cache")]
    pub(super) fn with_faults(mut self, field: &str, error: ConfigError) -> Self {
        crate::fault::gather(&mut self.faults, field, error.into_faults());
        self
    }

    /// The settings alone.
    #[inline]
    pub(crate) fn config(&self) -> PipelineConfig {
        PipelineConfig {
            total_timeout: self.total_timeout,
            attempt_timeout: self.attempt_timeout,
            policies: self.policies.settings(),
            #[cfg(feature = "cache")]
            caching: self.caching.clone(),
            monitor: self.monitor.is_some(),
        }
    }

    /// Builds the pipeline.
    ///
    /// # Errors
    /// [`ConfigError`] with every fault at once, each with its field, its value, and the fix.
    pub fn build(self) -> Result<Pipeline, ConfigError> {
        let mut faults = self.faults;
        if self.name.is_empty() {
            faults.push(Fault::new("name", "is empty, and errors and statistics need it; name the dependency, `\"github\"`"));
        }
        let policies = self.policies.build(&mut faults);
        #[cfg(feature = "chaos")]
        let chaos = self.chaos.and_then(|chaos| super::disturb::build(chaos, &mut faults));
        #[cfg(feature = "cache")]
        super::config::under_cache(self.caching.as_ref(), &mut faults);
        faults.extend(timeout_faults(self.total_timeout, self.attempt_timeout));
        let name = clean_arc(&self.name);
        ConfigError::check(format!("pipeline `{name}`"), faults)?;

        let recorder = self.monitor.as_ref().map(|monitor| monitor.recorder(&name));
        let reads_end = recorder.is_some() || policies.need_end_time();
        let emitter = Arc::new(Emitter::new(&name));
        self.observers.into_iter().for_each(|observer| emitter.add(observer));
        if let Some(breaker) = &policies.circuit_breaker {
            tell_transitions(breaker, &emitter);
        }
        let core = Core {
            origin: Origin::new(Arc::clone(&name)),
            name,
            total_timeout: self.total_timeout.filter(|limit| *limit != Duration::MAX),
            attempt_timeout: self.attempt_timeout.filter(|limit| *limit != Duration::MAX),
            policies,
            gates: self.gates,
            #[cfg(feature = "chaos")]
            chaos,
            #[cfg(feature = "cache")]
            caching: self.caching,
            #[cfg(all(feature = "cache", feature = "macros"))]
            caches: Arc::new(super::Caches::new()),
            judges: self.judges,
            monitor: self.monitor,
            recorder,
            emitter,
            reads_end,
            spans: self.spans,
            log_keys: self.log_keys,
            warnings: OnceLock::new(),
        };
        Ok(Pipeline { core: Arc::new(Versions::new(core)) })
    }
}

pub(super) fn timeout_faults(total: Option<Duration>, attempt: Option<Duration>) -> Vec<Fault> {
    match (attempt, total) {
        (Some(attempt), Some(total)) if attempt > total && attempt != Duration::MAX => {
            let (attempt, total) = (Seconds(attempt), Seconds(total));
            let problem = format!(
                "{attempt} is longer than total_timeout ({total}), so it could never fire; lower it below {total} or raise total_timeout"
            );
            vec![Fault::new("attempt_timeout", problem)]
        }
        _ => Vec::new(),
    }
}

/// A pipeline tells of its breaker's transitions.
pub(super) fn tell_transitions(breaker: &CircuitBreaker, emitter: &Arc<Emitter>) {
    // Weak: a shared breaker outlives the pipelines that listen to it.
    let listener: Weak<Emitter> = Arc::downgrade(emitter);
    breaker.on_transition(listener);
}

impl fmt::Debug for PipelineBuilder {
    #[inline]
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PipelineBuilder")
            .field("name", &self.name)
            .field("total_timeout", &self.total_timeout)
            .field("attempt_timeout", &self.attempt_timeout)
            .field("policies", &self.policies)
            .field("gates", &self.gates.len())
            .field("judges", &self.judges)
            .field("monitor", &self.monitor.is_some())
            .field("observers", &self.observers.len())
            .field("spans", &self.spans)
            .finish()
    }
}

impl Listener for Emitter {
    fn hear(&self, change: &Transition) {
        let (from, to, generation) = (change.from.as_str(), change.to.as_str(), change.generation);
        self.emit(|| Event::CircuitChanged { from, to, generation });
    }
}
