//! Testing your code: failures when you say so, in no time. Feature `testing`, for `[dev-dependencies]` only.
//!
//! ```toml
//! [dev-dependencies]
//! steadfast = { version = "0.1", features = ["testing"] }
//! tokio = { version = "1", features = ["test-util", "macros", "rt"] }
//! ```
//!
//! | to find out | use |
//! |---|---|
//! | what happens when the dependency fails twice and then answers | `Script`, `fail_at` |
//! | what your callers see while the circuit is open, the quota used up, all places taken | `open_circuit`, `exhausted_limiter`, `full_bulkhead` |
//! | the same, changing when you say | `manual_breaker`, `ManualLimiter` |
//! | whether it retried, was refused, fell back | `Recording` |
//! | what your settings do on a bad day, to you and to the dependency | `sim`: see [overload](super::overload) |
//! | all of that without waiting | `#[tokio::test(start_paused = true)]`, or `no_waits()` where the clock must run |
//!
//! ```
//! # #[cfg(feature = "testing")] mod page {
//! use steadfast::testing::{Recording, Script, open_circuit};
//! use steadfast::{Pipeline, PipelineBuilder};
//!
//! // Yours: how you build your pipeline (a function, so that a test can go on from it), and what you want to test.
//! fn github() -> PipelineBuilder {
//!     Pipeline::http("github")
//! }
//! async fn stars(api: &Pipeline, fetch: impl AsyncFn() -> Result<u32, String>) -> u32 {
//!     api.call_or(|| fetch(), 0).await
//! }
//!
//! // #[tokio::test(start_paused = true)]
//! async fn a_slow_start_is_waited_out() {
//!     let recording = Recording::new();
//!     let api = github().observer(recording.clone()).build().unwrap();
//!     let script = Script::new().fail("busy".to_string()).hang().ok(42);
//!     assert_eq!(stars(&api, async || script.run().await).await, 42);
//!     recording.assert_names(["attempt_failed", "retrying", "attempt_failed", "retrying", "call_finished"]);
//! }
//!
//! // #[tokio::test(start_paused = true)]
//! async fn an_open_circuit_costs_no_call() {
//!     let api = github().circuit_breaker(open_circuit()).build().unwrap();
//!     let script = Script::new().then_ok(42);
//!     assert_eq!(stars(&api, async || script.run().await).await, 0);
//!     assert_eq!(script.calls(), 0);
//! }
//! # #[tokio::main(flavor = "current_thread", start_paused = true)] pub async fn main() {
//! #     a_slow_start_is_waited_out().await;
//! #     an_open_circuit_costs_no_call().await;
//! # }
//! # }
//! # #[cfg(feature = "testing")] use page::main;
//! # #[cfg(not(feature = "testing"))] fn main() {}
//! ```
//!
//! # What is worth a test of yours
//!
//! Not that a retry retries; that is ours to test. But:
//!
//! * your **judge**: one assertion for each error you know, most of all for those that must *not* be retried;
//! * your **settings**: `assert!(pipeline.warnings().is_empty())`, and that `pipeline.explain().worst_case()` is what your callers expect;
//! * that what you repeat **may be repeated**: run the operation twice against a test server, and look at what it did;
//! * what a caller sees while the circuit is **open**.
//!
//! The clock that does not run, and its two traps: [paused time](super::cookbook::paused_time).
