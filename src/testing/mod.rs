//! For tests of *your* code: operations that fail when you say so, policies in the state you want, no waits, and a record of what happened.
//!
//! Behind the feature `testing`, so that no release carries it:
//!
//! ```toml
//! [dev-dependencies]
//! steadfast = { version = "0.1", features = ["testing"] }
//! ```
//!
//! | to find out | use |
//! |---|---|
//! | what your code does when the dependency fails twice and then answers | [`Script`], [`fail_at`] |
//! | what it does while the circuit is open, the quota is used up, all places are taken | [`open_circuit`], [`exhausted_limiter`], [`full_bulkhead`] |
//! | .. and when that changes at a moment of your choice | [`manual_breaker`], [`ManualLimiter`] |
//! | whether it retried, was refused, fell back | [`Recording`] |
//! | whether a store of yours keeps the rules | `conformance`, `rate_conformance` (with `store`) |
//! | what your settings do to you and to the dependency on a bad day | [`sim`] |
//! | all of that in no time | `#[tokio::test(start_paused = true)]`, or [`NoWaits`] where the clock must run |
//!
//! All time in steadfast is tokio's, so a test with a paused clock goes through an hour of backoff in a millisecond, to the exact
//! millisecond. (Feature `test-util` of tokio.)
//!
//! ```
//! use steadfast::testing::{NoWaits, Recording, Script, open_circuit};
//! use steadfast::{Error, Pipeline, PipelineBuilder};
//!
//! // Yours: how you build your pipeline, and a function that you want to test.
//! fn github() -> PipelineBuilder {
//!     Pipeline::http("github")
//! }
//! async fn stars(api: &Pipeline, fetch: impl AsyncFn() -> Result<u32, String>) -> u32 {
//!     api.call_or(|| fetch(), 0).await
//! }
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), steadfast::ConfigError> {
//! // A slow start is waited out.
//! let recording = Recording::new();
//! let api = github().no_waits().observer(recording.clone()).build()?;
//! let script = Script::new().fail("busy".to_string()).fail("busy".to_string()).ok(42);
//! assert_eq!(stars(&api, async || script.run().await).await, 42);
//! assert_eq!(script.calls(), 3);
//! recording.assert_names(["attempt_failed", "retrying", "attempt_failed", "retrying", "call_finished"]);
//!
//! // While the circuit is open there is an answer, and no call.
//! let api = github().circuit_breaker(open_circuit()).build()?;
//! let script = Script::new().then_ok(42);
//! assert_eq!(stars(&api, async || script.run().await).await, 0);
//! assert_eq!(script.calls(), 0);
//! # Ok(()) }
//! ```

#[cfg(feature = "store")]
mod bench_store;
#[cfg(feature = "store")]
pub mod conformance;
mod no_waits;
#[cfg(feature = "store")]
pub mod rate_conformance;
mod recording;
mod script;
pub mod sim;
mod states;

#[cfg(feature = "store")]
pub use bench_store::{StoreBench, bench_store};
pub use no_waits::NoWaits;
pub use recording::Recording;
pub use script::{FailAt, Script, fail_at};
pub use states::{ManualLimiter, exhausted_limiter, full_bulkhead, half_open_circuit, manual_breaker, open_circuit};
