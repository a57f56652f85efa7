//! From tower 0.5: `Retry`, `Timeout`, `ConcurrencyLimit`, `RateLimit`, `LoadShed`.
//!
//! With the feature `tower` a pipeline is itself a layer (see [doors](super::super::doors)), so this is one stack exchanged for one layer.
//!
//! | tower | steadfast |
//! |---|---|
//! | `Policy::retry`, result to `Option<Future>` | [`Verdict`] from a judge; the waiting is done for you |
//! | `Policy::clone_request` | `PipelineLayer::clone_request_with`; plain `Clone` if you say nothing |
//! | `TpsBudget::new(ttl, min_per_sec, percent)`, default 10 s, 10, 20 % | [`Budget`]: share 10 %, 3 per second, burst 20; **on by default** |
//! | `ExponentialBackoffMaker::new(min, max, jitter, rng)` | [`Retry::exponential`], [`max_delay`](RetryConfig::max_delay), [`jitter`](RetryConfig::jitter) |
//! | `Timeout` inside `Retry` | [`attempt_timeout`](PipelineBuilder::attempt_timeout) |
//! | `Timeout` around `Retry` | [`total_timeout`](PipelineBuilder::total_timeout), which the pauses obey too |
//! | `ConcurrencyLimit` | [`Bulkhead`], with a bounded queue |
//! | `RateLimit` (a fixed window) | [`RateLimiter`]: token bucket, or exact sliding window |
//! | `LoadShed` around a limit | nothing: a bulkhead or limiter refuses by itself when its queue (default: none, or no wait) is full |
//! | `Buffer`, to make a limit shareable | nothing: clones share all state |
//! | `BoxError`, and downcasts | [`Error<E>`](Error) with your error type in it |
//! | `Hedge` | not here yet |
//!
//! Two things to unlearn. **Readiness**: a tower limit holds its place from `poll_ready` to the call, and a `Retry` around it waits with the place in its
//! hand. A pipeline is always ready, and takes a fresh clone of the inner service for each attempt. **Order**: a stack is as you write it; a pipeline
//! has [one order](super::super::which_policy#the-order).

#[cfg(doc)]
use crate::*;
