//! From tokio-retry 0.3 (and its successor tokio-retry2).
//!
//! | tokio-retry | steadfast |
//! |---|---|
//! | `Retry::spawn(strategy, action)` | `pipeline.call(action)` |
//! | `RetryIf::spawn(strategy, action, condition)` | [`classify`](PipelineBuilder::classify) |
//! | `.take(3)` | the first argument: 3 retries in both |
//! | `ExponentialBackoff::from_millis(2).factor(100)`: 200, 400, 800 ms | `Retry::exponential(n, 200 ms)` |
//! | `FixedInterval` | [`Retry::constant`] |
//! | `FibonacciBackoff` | [`Retry::fibonacci`] |
//! | `.max_delay(d)` | [`max_delay`](RetryConfig::max_delay) |
//! | `.map(jitter)`: 0 to 100 % | on by default ([`Jitter::Full`]) |
//! | any iterator of durations | [`Retry::custom`], a function of the retry's number |
//! | `RetryError::transient`, `permanent` (tokio-retry2) | [`Verdict::transient`], [`Verdict::permanent`], in the judge |
//! | `retry_after` (tokio-retry2) | [`Verdict::retry_after`] |
//!
//! Look twice at `from_millis`: there the number is the *base of the power*, so `from_millis(10)` is 10, 100, 1,000 ms, and `from_millis(500)` goes from half
//! a second to four minutes. Here the duration is the first delay, and `factor` is what it grows by:
//!
//! ```
//! use std::time::Duration;
//! use steadfast::{Backoff, Jitter};
//!
//! let ten = Backoff::exponential(Duration::from_millis(10)).factor(10.0).jitter(Jitter::None); // from_millis(10)
//! assert!(ten.delays().take(3).eq([10, 100, 1_000].map(Duration::from_millis)));
//! ```

#[cfg(doc)]
use crate::*;
