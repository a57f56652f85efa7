//! From Polly 8.
//!
//! | Polly | its default | steadfast | its default |
//! |---|---|---|---|
//! | `ResiliencePipelineBuilder` | | [`Pipeline::builder`] | |
//! | `pipeline.ExecuteAsync(..)` | | [`pipeline.call(..)`](Pipeline::call) | |
//! | `ResiliencePipeline<T>` | | [`Pipeline`] for any `T`; [`TypedPipeline`] where there is a fallback | |
//! | `ShouldHandle`, in each strategy | every exception but cancellation | [`classify`](PipelineBuilder::classify), once for all | every error is transient |
//! | `Outcome<T>`, `ExecuteOutcomeAsync` | | `Result<T, E>` | |
//! | `Retry.MaxRetryAttempts` | 3 | retries | say how many |
//! | `Delay`, `BackoffType` | 2 s, constant | [`Retry::constant`], [`Retry::linear`], [`Retry::exponential`] | say which |
//! | `UseJitter` | false | [`jitter`](RetryConfig::jitter) | full |
//! | `MaxDelay` | none | [`max_delay`](RetryConfig::max_delay) | 30 s |
//! | `DelayGenerator` (for `Retry-After`) | none | [`Verdict::retry_after`] | |
//! | `CircuitBreaker.FailureRatio` | 0.1 | [`failure_rate`](CircuitBreakerConfig::failure_rate) | say one |
//! | `MinimumThroughput` | 100 | [`min_calls`](CircuitBreakerConfig::min_calls) | 20 |
//! | `SamplingDuration` | 30 s | [`window`](CircuitBreakerConfig::window) | 10 s |
//! | `BreakDuration` | 5 s | [`open_for`](CircuitBreakerConfig::open_for) | 5 s, doubling to 60 s |
//! | `BreakDurationGenerator` | none | [`open_for_fn`](CircuitBreakerConfig::open_for_fn) | none |
//! | `StateProvider`, `ManualControl.IsolateAsync`, `CloseAsync` | | [`state`](CircuitBreaker::state), [`isolate`](CircuitBreaker::isolate), [`force_close`](CircuitBreaker::force_close) | |
//! | `AddTimeout` inside, around the retry | 30 s | [`attempt_timeout`](PipelineBuilder::attempt_timeout), [`total_timeout`](PipelineBuilder::total_timeout) | none |
//! | `AddConcurrencyLimiter(permits, queue)` | 1,000, 0 | [`Bulkhead::new`]`(permits).queue(..)` | no queue |
//! | `AddRateLimiter(TokenBucketRateLimiter, SlidingWindow..)` | | [`RateLimiter`], [`sliding_window`](RateLimiterConfig::sliding_window) | |
//! | `AddFallback` | | [`fallback`](PipelineBuilder::fallback), [`call_or`](Pipeline::call_or) | |
//! | `AddHedging`, chaos strategies | | not here yet | |
//! | `OnRetry`, `OnOpened`, telemetry | | [`observer`](PipelineBuilder::observer), `tracing` | |
//! | `ResiliencePipelineRegistry`, reload of options | | [`Registry::reload`], [`Pipeline::reconfigure`] ([configuration](super::super::configuration)) | |
//! | `BrokenCircuitException`, `TimeoutRejectedException`, `RateLimiterRejectedException` | | [`RejectedKind`]`::{CircuitOpen, Timeout, RateLimited}` | |
//! | `ResilienceContext`, `OperationKey` | | [`key`](Pipeline::key) | |
//! | `FakeTimeProvider` | | tokio's [paused clock](super::super::cookbook::paused_time) | |
//!
//! **Order.** There the first strategy added is the outermost. Here [the order](super::super::which_policy#the-order) is fixed, and is the one of .NET's
//! standard resilience handler but for the limiter, which stands in front of each *attempt* here, because that is what a provider counts.
//!
//! **Cancellation** is dropping the future: no token to pass, and the operation stops at its next `.await`.

#[cfg(doc)]
use crate::*;
