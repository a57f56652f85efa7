//! Migration: what your words are called here.
//!
//! | from | versions read | page |
//! |---|---|---|
//! | backoff (Rust, no longer maintained) | 0.4 | [`backoff`] |
//! | backon (Rust) | 1.6 | [`backon`] |
//! | tokio-retry (Rust) | 0.3 | [`tokio_retry`] |
//! | tower's `Retry`, `Timeout`, `ConcurrencyLimit`, `RateLimit` (Rust) | 0.5 | [`tower_retry`] |
//! | tower-resilience (Rust) | 0.13 | [`tower_resilience`] |
//! | resilience4j (Java, Kotlin) | 2 | [`resilience4j`] |
//! | Polly (.NET) | 8 | [`polly`] |
//! | tenacity (Python) | 9 | [`tenacity`] |
//!
//! Four things differ from nearly all of them; look at these first:
//!
//! * **Numbers of retries.** Here `3` is three retries, four attempts. backon, tokio-retry (`.take(3)`) and Polly count so as well; resilience4j,
//!   tower-resilience and tenacity count *attempts*: take one off.
//! * **A budget is on.** Retries of all calls together stay under 10 % of the calls and 3 per second, with a burst of 20. A test that
//!   fails 100 calls at once will see it; so will a dependency that is down, and be grateful.
//! * **The last error comes back as it is.** No "retries exhausted" around it.
//! * **The judge is asked once**, for retry and breaker alike. "Retry this, but do not count it" cannot be said; "count this, but do not retry it"
//!   is `Verdict::permanent()`.

pub mod backoff;
pub mod backon;
pub mod polly;
pub mod resilience4j;
pub mod tenacity;
pub mod tokio_retry;
pub mod tower_resilience;
pub mod tower_retry;
