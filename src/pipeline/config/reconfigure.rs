//! Other settings for a running pipeline.

use super::{Changes, PipelineConfig};
use crate::fault::ConfigError;
use crate::observation::Monitor;
use crate::pipeline::builder::tell_transitions;
use crate::pipeline::{Core, Pipeline};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

impl Pipeline {
    /// What it runs with now. With other settings in it, it is what [`reconfigure`](Self::reconfigure) takes.
    #[inline]
    pub fn config(&self) -> PipelineConfig {
        PipelineConfig::of(self.core())
    }

    /// Goes on with other settings while calls are in flight, for all clones of this pipeline.
    ///
    /// * **A call runs under one configuration**, whole: the one that holds when it is made. Timeouts, retries, and which policies there are
    ///   do not change under it.
    /// * **What all calls share changes for all of them at once**: the rate and burst of the limiter, the limit and queue of the
    ///   bulkhead, the rules of the breaker, the retry budget. Also for other pipelines that share the policy.
    /// * **State stays**: the breaker's state, window and probes, the limiter's debt, permits and places in queues, the budget's tokens, all statistics. What does
    ///   not fit the new settings is told by [`Changes::restarted`].
    /// * **Answers stay**, where the pipeline keeps some (`PipelineConfig::caching`): with the ttl they came with, as far as the new capacity has room. Without
    ///   settings for it any more, they are gone.
    /// * Judges, observers, gates and fallbacks stay: no configuration has them.
    ///
    /// Calls pay nothing for it (a few nanoseconds once there was a change): they borrow the settings, which stay in memory until the
    /// pipeline is dropped, about a kilobyte for each *different* configuration, and for each policy that is added. So it is for people and
    /// files; a control loop rather moves the policies themselves ([`Bulkhead::resize`](crate::Bulkhead::resize),
    /// [`RateLimiter::set_rate`](crate::RateLimiter::set_rate)).
    ///
    /// ```
    /// # fn main() -> Result<(), steadfast::ConfigError> {
    /// use std::time::Duration;
    /// use steadfast::{Bulkhead, Pipeline};
    ///
    /// let api = Pipeline::http("github").bulkhead(Bulkhead::new(100)).build()?;
    /// let slower = api.config().attempt_timeout(Duration::from_secs(5)).bulkhead(Bulkhead::new(10));
    /// let changes = api.reconfigure(&slower)?;
    /// assert_eq!(changes.to_string(), "attempt_timeout: 3s -> 5s\nbulkhead.limit: 100 -> 10");
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// Every fault of the new settings; then nothing is changed.
    #[inline]
    pub fn reconfigure(&self, config: &PipelineConfig) -> Result<Changes, ConfigError> {
        ConfigError::check(format!("pipeline `{}`", self.name()), config.faults())?;
        let changes = self.go_on_with(config, &Monitor::new());
        self.tell_changes();
        Ok(changes)
    }

    /// The same for settings that were checked. Wakes nobody and runs no code of the user's own: see [`tell_changes`](Self::tell_changes).
    #[inline]
    pub(crate) fn go_on_with(&self, config: &PipelineConfig, monitor: &Monitor) -> Changes {
        let mut changes = Changes::default();
        self.core.change(
            |core| {
                let (before, mut restarted) = (PipelineConfig::of(core), Vec::new());
                let next = core.next(config, monitor, &mut restarted);
                changes = Changes::between(&before, &PipelineConfig::of(&next), restarted);
                next
            },
            Core::is_same,
        );
        changes
    }

    /// Lets waiters and listeners know.
    #[inline]
    pub(crate) fn tell_changes(&self) {
        self.core().policies.tell();
        #[cfg(all(feature = "cache", feature = "macros"))]
        self.tell_caches();
    }
}

impl Core {
    /// The next version. Policies that stay are changed where they are, so whoever has a handle keeps the live one.
    #[inline]
    fn next(&self, config: &PipelineConfig, monitor: &Monitor, restarted: &mut Vec<&'static str>) -> Self {
        let finite = |limit: Option<Duration>| limit.filter(|limit| *limit != Duration::MAX);
        let policies = self.policies.next(&config.policies, restarted);
        if let (Some(breaker), None) = (&policies.circuit_breaker, &self.policies.circuit_breaker) {
            tell_transitions(breaker, &self.emitter);
        }
        let monitor = config.monitor.then(|| self.monitor.as_ref().unwrap_or(monitor).clone());
        let recorder = monitor.as_ref().map(|monitor| monitor.recorder(&self.name));
        Self {
            name: Arc::clone(&self.name),
            origin: Arc::clone(&self.origin),
            total_timeout: finite(config.total_timeout),
            attempt_timeout: finite(config.attempt_timeout),
            reads_end: recorder.is_some() || policies.need_end_time(),
            policies,
            gates: self.gates.clone(),
            #[cfg(feature = "chaos")]
            chaos: self.chaos.clone(),
            #[cfg(feature = "cache")]
            caching: config.caching.clone(),
            #[cfg(all(feature = "cache", feature = "macros"))]
            caches: Arc::clone(&self.caches),
            judges: self.judges.clone(),
            monitor,
            recorder,
            emitter: Arc::clone(&self.emitter),
            spans: self.spans,
            log_keys: self.log_keys,
            warnings: OnceLock::new(),
        }
    }

    /// Whether a call would find the same in both.
    #[inline]
    fn is_same(&self, other: &Self) -> bool {
        #[cfg(feature = "cache")]
        if self.caching != other.caching {
            return false;
        }
        self.total_timeout == other.total_timeout
            && self.attempt_timeout == other.attempt_timeout
            && self.reads_end == other.reads_end
            && self.monitor.is_some() == other.monitor.is_some()
            && self.policies.is_same(&other.policies)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admission::CircuitBreaker;
    use std::ptr;

    #[test]
    fn h47_a_configuration_that_comes_back_is_not_kept_twice() -> Result<(), ConfigError> {
        let day = Pipeline::http("p").build()?.config().circuit_breaker(CircuitBreaker::failure_rate(0.5));
        let night = day.clone().attempt_timeout(Duration::from_secs(1)).circuit_breaker(CircuitBreaker::failure_rate(0.2));
        let pipeline = day.build("p")?;
        let first: *const Core = pipeline.core();
        pipeline.reconfigure(&night)?;
        let second: *const Core = pipeline.core();
        assert!(!ptr::eq(first, second));
        for _ in 0..10 {
            pipeline.reconfigure(&day)?;
            assert!(ptr::eq(pipeline.core(), first));
            pipeline.reconfigure(&night)?;
            assert!(ptr::eq(pipeline.core(), second));
        }
        Ok(())
    }
}
