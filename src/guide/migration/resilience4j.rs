//! From resilience4j 2.
//!
//! | resilience4j | its default | steadfast | its default |
//! |---|---|---|---|
//! | `CircuitBreaker.failureRateThreshold` | 50 % | [`failure_rate`](CircuitBreakerConfig::failure_rate) | say one |
//! | `slidingWindowType`, `slidingWindowSize` | by count, 100 | [`window`](CircuitBreakerConfig::window), [`count_window`](CircuitBreakerConfig::count_window) | 10 s |
//! | `minimumNumberOfCalls` | 100 | [`min_calls`](CircuitBreakerConfig::min_calls) | 20 |
//! | `waitDurationInOpenState` | 60 s | [`open_for`](CircuitBreakerConfig::open_for) | 5 s, doubling to 60 s |
//! | `permittedNumberOfCallsInHalfOpenState` | 10 | [`probes`](CircuitBreakerConfig::probes) | 1 |
//! | `maxWaitDurationInHalfOpenState` | 0, no limit | [`half_open_for`](CircuitBreakerConfig::half_open_for) | no limit, but each probe has a lease |
//! | `slowCallDurationThreshold`, `slowCallRateThreshold` | 60 s, 100 % | [`slow_calls`](CircuitBreakerConfig::slow_calls) | none |
//! | `recordExceptions`, `ignoreExceptions` | all are recorded | [`classify`](PipelineBuilder::classify): `transient`, `permanent`, [`Ignored`](Verdict::Ignored) | transient |
//! | `transitionToForcedOpenState`, `..DisabledState`, `..MetricsOnlyState` | | [`isolate`](CircuitBreaker::isolate), [`disable`](CircuitBreaker::disable), [`metrics_only`](CircuitBreaker::metrics_only) | |
//! | `Retry.maxAttempts` (the first included) | 3 | retries, **one fewer** | say how many |
//! | `waitDuration` | 500 ms | the second argument of [`Retry::constant`], [`Retry::exponential`] | say how long |
//! | `IntervalFunction.ofExponentialRandomBackoff` | | [`Retry::exponential`], with [`jitter`](RetryConfig::jitter) | full |
//! | `failAfterMaxAttempts` | false | [`classify`](Pipeline::classify) on the call: a bad result is a failure, and comes back as it is | |
//! | `RateLimiter.limitForPeriod`, `limitRefreshPeriod` | 50 per 500 ns | [`RateLimiter::per`] | say it |
//! | `timeoutDuration` | 5 s | [`max_wait`](RateLimiterConfig::max_wait) | 0 s |
//! | `Bulkhead.maxConcurrentCalls` | 25 | [`Bulkhead::new`] | say it |
//! | `maxWaitDuration` | 0 | [`queue`](BulkheadConfig::queue) and [`max_wait`](BulkheadConfig::max_wait) | no queue |
//! | `TimeLimiter.timeoutDuration` | 1 s | [`attempt_timeout`](PipelineBuilder::attempt_timeout) | none |
//! | – | | [`total_timeout`](PipelineBuilder::total_timeout) | none |
//! | `CircuitBreakerRegistry`, `application.yml` | | `Registry`, feature `serde` ([configuration](super::super::configuration)) | |
//! | `@CircuitBreaker(name, fallbackMethod)`, `@Retry` | | [`#[resilient(pipeline = .., fallback = ..)]`](super::super::attribute) | |
//! | event publishers | | [`observer`](PipelineBuilder::observer), [`events`](Pipeline::events) | |
//! | `CallNotPermittedException`, `RequestNotPermitted`, `BulkheadFullException` | | [`RejectedKind`]`::{CircuitOpen, RateLimited, BulkheadFull}` | |
//!
//! **Order.** The annotations of resilience4j nest as Retry ( CircuitBreaker ( RateLimiter ( TimeLimiter ( Bulkhead ( call ))))). Ours is the same in the
//! large; but the timeout is inside the bulkhead, so that waiting for a place is not held against the dependency, and what limiter and
//! bulkhead refuse never counts as a failure of the breaker, with nothing to configure.
//!
//! **Half-open.** Ten probes, of which one hangs, can keep a circuit half-open there until they end. Here each probe has a lease.

#[cfg(doc)]
use crate::*;
