//! Keeps a program standing when the services it calls do not: one [`Pipeline`] per dependency, around any async call.
//!
//! ```
//! use std::time::Duration;
//! use steadfast::{CircuitBreaker, Pipeline, Retry};
//!
//! # async fn fetch() -> std::io::Result<u32> { Ok(42) }
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let github = Pipeline::builder("github")                        // or a preset to go on from: `Pipeline::http("github")`
//!     .total_timeout(Duration::from_secs(10))                     // a caller never waits longer
//!     .retry(Retry::exponential(3, Duration::from_millis(100)))   // 3 retries, so at most 4 attempts
//!     .circuit_breaker(CircuitBreaker::failure_rate(0.5))         // half of the calls fail: stop calling for a while
//!     .attempt_timeout(Duration::from_secs(2))                    // an attempt that hangs is tried again
//!     .build()?;
//!
//! let stars = github.call(|| fetch()).await?;                     // any `T`, any `E`; borrows are fine
//! # assert_eq!(stars, 42); Ok(()) }
//! ```
//!
//! A pipeline is `Clone` and has no type parameters: keep it in a `static` or a struct field, and call it from anywhere. The operation is a
//! closure, because each attempt makes a new future. It fails with an [`Error`]: the operation's own ([`Error::Inner`]), or what a policy said
//! instead ([`Error::Rejected`]). `cargo run --example quickstart` shows it all at work against a real server in 12 seconds.
//!
//! # Which policy?
//!
//! | symptom | policy | set with |
//! |---|---|---|
//! | now and then a call fails, and the next one would have worked | [`Retry`] | [`retry`](PipelineBuilder::retry) |
//! | a dependency is down, and everybody waits for it in vain | [`CircuitBreaker`] | [`circuit_breaker`](PipelineBuilder::circuit_breaker) |
//! | a dependency is slow, and all connections hang on it | timeout, [`Bulkhead`] | [`attempt_timeout`](PipelineBuilder::attempt_timeout), [`bulkhead`](PipelineBuilder::bulkhead) |
//! | callers wait longer than they would for a "no" | timeout | [`total_timeout`](PipelineBuilder::total_timeout) |
//! | the provider answers 429, or bills by the call | [`RateLimiter`] | [`rate_limit`](PipelineBuilder::rate_limit) |
//! | an old or empty answer is better than none | [`Fallback`] | [`fallback`](PipelineBuilder::fallback), [`call_or`](Pipeline::call_or) |
//! | nobody knows how often it fails, or how long it takes | [`Monitor`] | [`monitor`](PipelineBuilder::monitor), [`stats`](Pipeline::stats) |
//! | nobody knows how many at once the dependency can work on | [`AdaptiveLimit`] | [`adaptive_limit`](PipelineBuilder::adaptive_limit) |
//! | the dependency is overloaded and refuses much of what reaches it | [`Throttle`] | [`throttle`](PipelineBuilder::throttle) |
//! | most answers are quick, and one in a hundred is not | [`Hedge`] | [`hedge`](PipelineBuilder::hedge) |
//! | one tenant takes what all should share, or breaks for all | [`PerKey`] | [`per_key`](PipelineBuilder::per_key) |
//! | many callers ask for the same thing at the same moment | [`Coalesce`] | [`coalesced`](Request::coalesced) |
//! | an answer of a minute ago would do, or any while the service is down | `Cache` (feature `cache`) | `cached`, `cache` |
//! | several machines share one quota | `SharedLimit` (feature `store`) | [`gate`](PipelineBuilder::gate) |
//! | the right rate depends on how the day goes | [`Steering`](steering::Steering) | [`steered`](RateLimiterConfig::steered) |
//! | somebody must be told | [`Event`]s | [`observer`](PipelineBuilder::observer), [`events`](Pipeline::events), `tracing` |
//!
//! Each policy also works alone: `try_acquire()` on a breaker, a limiter or a bulkhead, `next_delay()` on a retry, `track()` on a monitor.
//!
//! # What failed, and may it pass?
//!
//! Policies see neither values nor errors but a [`Verdict`], given once per attempt by the judge of that error type. An `Err` nobody judges is
//! transient: worth a retry, and a failure to the breaker.
//!
//! ```
//! # #[derive(Debug, thiserror::Error)] #[error("status {status}")] struct ApiError { status: u16, retry_after: Option<std::time::Duration> }
//! # fn main() -> Result<(), steadfast::ConfigError> {
//! use steadfast::{Pipeline, Verdict};
//!
//! let api = Pipeline::http("api")
//!     .classify(|error: &ApiError| match error.status {
//!         429 | 503 => Verdict::Transient { retry_after: error.retry_after }, // the server knows when
//!         500.. => Verdict::transient(),
//!         404 => Verdict::Ignored, // an answer like any other
//!         _ => Verdict::permanent(),
//!     })
//!     .build()?;
//! # let _ = api; Ok(()) }
//! ```
//!
//! # The order
//!
//! One, whatever the order of the builder calls, because it is the first thing to go wrong elsewhere; another one is written by nesting
//! ([`Pipeline::around`]). A pipeline's `Display` draws its own.
//!
//! ```text
//! monitor > fallback > cache > coalesce > total timeout > retry > hedge >
//!     circuit breaker (look) > throttle > per key > rate limit > bulkhead > adaptive limit > your gates >
//!     circuit breaker (permit) > attempt timeout > operation
//! ```
//!
//! # Map
//!
//! | module | what is in it |
//! |---|---|
//! | [`pipeline`] | [`Pipeline`], its builder and presets, options of one call, [`TypedPipeline`] |
//! | [`admission`] | may this attempt go now? [`CircuitBreaker`], [`Throttle`], [`PerKey`], [`RateLimiter`], [`Bulkhead`], [`AdaptiveLimit`], your own [`Gate`] |
//! | [`steering`] | a rate that follows signals and forecasts |
//! | [`execution`] | how often, how long? [`Retry`], [`Backoff`], [`Budget`], [`Hedge`] |
//! | [`substitution`] | what to answer instead? [`Fallback`], [`Coalesce`] |
//! | [`observation`] | what happened? [`Monitor`], [`Event`], [`Observer`] |
//! | [`outcome`] | [`Verdict`], [`Outcome`], [`Error`], [`Rejected`] |
//! | [`classify`] | who judges |
//! | [`fault`] | [`ConfigError`]: every fault of a configuration at once |
//! | `client` | doors for clients people use, each behind a feature: `http`, `reqwest`, `tower` |
//! | [`pipeline::config`], [`pipeline::registry`] | settings as values and from files, [`Registry`], [`Pipeline::reconfigure`] while calls run |
//! | [`text`] | durations, rates and shares as people write them: `250ms`, `100/s`, `50%` |
//! | [`guide`] | how to use it well: policies by symptom, defaults and why, errors, a cookbook, migration from other libraries |
//!
//! # Features
//!
//! | feature | default | what it adds |
//! |---|---|---|
//! | `macros` | on | the attribute `#[resilient(..)]` |
//! | `serde` | off | settings [from TOML, JSON, YAML](pipeline::config), and back |
//! | `http` | off | judging functions for every client that speaks the types of the `http` crate (module `client::http`) |
//! | `reqwest` | off | `client.get(url).send_through(&pipeline)` (module `client::reqwest`) |
//! | `tower` | off | `PipelineLayer` around tower services (module `client::tower`) |
//! | `cache` | off | `Cache<K, T>`: answers kept in the process, the last good one when a call fails, alone and in pipelines |
//! | `batch` | off | callers gathered into batches, lists in chunks, many futures under one deadline (module `batch`) |
//! | `health` | off | probes under names, asked at once, one report (module `health`) |
//! | `chaos` | off | latency, faults and hangs on purpose, at a rate, seeded, switched while calls run (module `chaos`) |
//! | `store` | off | stores of bytes under keys, wrappers around any, limits that machines share (module `store`); `file`, `sqlite`, `redis`, `http-store`, `json`: more of them; `redis-cluster`, `redis-sentinel`, `redis-tls` |
//! | `testing` | off | scripts, recordings, policies in a chosen state, a simulator, conformance kits, for tests of *your* code (module `testing`) |
//!
//! All else is always there. Time is `tokio::time`, so a paused clock (`start_paused = true`) moves every policy in a test.
#![forbid(unsafe_code)]
#![deny(missing_docs)]
#![cfg_attr(not(test), deny(clippy::disallowed_methods))]

pub mod admission;
#[cfg(feature = "batch")]
pub mod batch;
#[cfg(any(feature = "http", feature = "tower"))]
pub mod client;
pub mod execution;
#[cfg(feature = "health")]
pub mod health;
pub mod observation;
pub mod pipeline;
#[cfg(feature = "store")]
pub mod store;
pub mod substitution;

#[cfg(feature = "macros")]
#[doc(hidden)]
#[path = "macro_support.rs"]
pub mod __private;
// Only for the documentation and its tests: in a build there is nothing of it.
#[cfg(any(doc, doctest, test))]
pub mod guide;

#[cfg(any(feature = "cache", feature = "store"))]
mod cache_stats;
mod call;
mod chance;
#[cfg(feature = "chaos")]
pub mod chaos;
pub mod classify;
pub mod fault;
mod guarded;
#[cfg(all(test, steadfast_loom))]
mod models;
pub mod outcome;
mod random;
mod sorted;
mod sync;
#[cfg(feature = "testing")]
pub mod testing;
mod time;
mod versions;

pub use admission::*;
#[cfg(any(feature = "cache", feature = "store"))]
pub use cache_stats::CacheStats;
pub use call::{Attempt, Call, Priority};
#[cfg(feature = "reqwest")]
pub use client::reqwest::SendThrough;
#[cfg(feature = "tower")]
pub use client::tower::PipelineLayer;
pub use execution::*;
pub use fault::{ConfigError, Fault};
pub use observation::*;
pub use outcome::{Error, Outcome, Rejected, RejectedKind, Verdict};
#[cfg(feature = "cache")]
pub use pipeline::Cached;
pub use pipeline::{
    Change, Changes, Coalesced, Explanation, Gauge, Nested, Pipeline, PipelineBuilder, PipelineConfig, PipelineStats, PolicyOf, Registry,
    RegistryChanges, RegistryConfig, Request, TypedBuilder, TypedPipeline, UnknownPipeline, Warning, text,
};
#[cfg(feature = "macros")]
pub use steadfast_macros::resilient;
pub use substitution::*;

/// The README's examples compile and run, too.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
