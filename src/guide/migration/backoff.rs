//! From backoff 0.4.
//!
//! | backoff | steadfast |
//! |---|---|
//! | `retry(ExponentialBackoff::default(), op)` | `pipeline.call(op)`, with a pipeline that is made once |
//! | `retry_notify(.., notify)` | [`observer`](PipelineBuilder::observer): the event `Retrying` |
//! | `Error::transient(e)`, `?` on an `E` | a judge that says [`Verdict::transient`], or no judge |
//! | `Error::permanent(e)` | a judge that says [`Verdict::permanent`] |
//! | `Error::retry_after(e, d)` | [`Verdict::retry_after`] |
//! | `initial_interval`, 500 ms | the second argument of [`Retry::exponential`] |
//! | `multiplier`, 1.5 | [`factor`](RetryConfig::factor), 2 |
//! | `randomization_factor`, 0.5 (±50 %) | [`jitter`](RetryConfig::jitter), full (0 to 100 %); `Jitter::Equal` is 50 to 100 % |
//! | `max_interval`, 60 s, before the randomness | [`max_delay`](RetryConfig::max_delay), 30 s, with the randomness |
//! | `max_elapsed_time`, 15 min | [`total_timeout`](PipelineBuilder::total_timeout); and say how many retries, or [`Retry::UNLIMITED`] |
//! | `Backoff::next_backoff` in a loop | [`Backoff::delays`], an iterator; or [`Retry::next_delay`] |
//! | `backoff::Clock` for tests | tokio's paused clock |
//!
//! The operation's own error type needs no wrapper any more: which errors may pass is said beside the pipeline, not in the function. Also,
//! `max_elapsed_time` is looked at between attempts only, while a total timeout ends an attempt that hangs.
//!
//! ```
//! # fn main() -> Result<(), steadfast::ConfigError> {
//! use std::time::Duration;
//! use steadfast::{Pipeline, Retry, Verdict};
//!
//! // ExponentialBackoff::default()
//! let retry = Retry::exponential(Retry::UNLIMITED, Duration::from_millis(500)).factor(1.5).max_delay(Duration::from_secs(60));
//! let api = Pipeline::builder("api")
//!     .retry(retry)
//!     .total_timeout(Duration::from_secs(15 * 60))
//!     .attempt_timeout(Duration::from_secs(30)) // new: without it an attempt that hangs takes all of it
//!     .classify(|error: &std::io::Error| match error.kind() {
//!         std::io::ErrorKind::NotFound => Verdict::permanent(),
//!         _ => Verdict::transient(),
//!     })
//!     .build()?;
//! # let _ = api; Ok(()) }
//! ```

#[cfg(doc)]
use crate::*;
