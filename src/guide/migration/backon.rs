//! From backon 1.6.
//!
//! | backon | steadfast |
//! |---|---|
//! | `fetch.retry(ExponentialBuilder::default()).await` | `pipeline.call(fetch).await` |
//! | `ConstantBuilder`, `ExponentialBuilder`, `FibonacciBuilder` | [`Retry::constant`], [`Retry::exponential`], [`Retry::fibonacci`] |
//! | `with_max_times(3)`, 3 | the first argument: 3 retries in both |
//! | `without_max_times()` | [`Retry::UNLIMITED`] |
//! | `with_min_delay(d)`, 1 s | the second argument |
//! | `with_factor(2.0)`, 2 | [`factor`](RetryConfig::factor), 2 |
//! | `with_max_delay(d)`, 60 s | [`max_delay`](RetryConfig::max_delay), 30 s |
//! | `with_total_delay(d)` | [`total_timeout`](PipelineBuilder::total_timeout), which counts the attempts too |
//! | no jitter; `with_jitter()` adds 0 to 100 % of the delay | full jitter: 0 to 100 % of the delay; `Jitter::None` for none |
//! | `.when(\|e\| e.is_transient())` | [`classify`](PipelineBuilder::classify) |
//! | `.notify(\|e, delay\| ..)` | [`observer`](PipelineBuilder::observer); it hears kinds and numbers, not the error |
//! | `.adjust(\|e, delay\| ..)` for `Retry-After` | [`Verdict::retry_after`] |
//! | `RetryableWithContext` for a `&mut` that travels | the [attribute](super::super::attribute) lends `&mut` arguments; else a `Mutex` |
//! | `BlockingRetryable` | none: steadfast is async |
//!
//! In one respect leave backon where it is: for synchronous code, for `no_std`, and where a retry is all you need, it is smaller.

#[cfg(doc)]
use crate::*;
