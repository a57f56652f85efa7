#![cfg_attr(
    feature = "macros",
    doc = "The attribute: [`#[resilient]`](crate::resilient), for functions that should just be resilient. Feature `macros`, on by default."
)]
#![cfg_attr(
    not(feature = "macros"),
    doc = "The attribute: `#[resilient]`, for functions that should just be resilient. Feature `macros`, on by default."
)]
//!
//! The function keeps its signature and its error type; its body becomes the operation. All that is asked of the error type is
//! `From<Rejected>` (see [errors](super::errors)); `anyhow::Error` and boxed errors have it.
//!
//! ```
//! # #[cfg(feature = "macros")] mod page {
//! use steadfast::resilient;
//!
//! #[resilient(
//!     retry(3, exponential(100ms..5s), when = worth_a_retry),
//!     circuit_breaker(50%, window = 10s),
//!     attempt_timeout = 2s,
//!     total_timeout = 10s,
//! )]
//! async fn quote(symbol: &str) -> anyhow::Result<u64> {
//!     anyhow::ensure!(!symbol.is_empty(), "which one?");
//!     Ok(42)
//! }
//!
//! fn worth_a_retry(error: &anyhow::Error) -> bool {
//!     error.downcast_ref::<std::io::Error>().is_some()
//! }
//! # #[tokio::main(flavor = "current_thread")] pub async fn main() { assert_eq!(quote("ACME").await.unwrap(), 42); }
//! # }
//! # #[cfg(feature = "macros")] use page::main;
//! # #[cfg(not(feature = "macros"))] fn main() {}
//! ```
//!
//! # Its own pipeline, or one of yours
//!
//! With policies in the attribute, the function has **a pipeline of its own**, made at its first call. Good for one function that is the whole
//! dependency. Two functions that call the same service should share one, or the breaker of one never hears what the other knows:
//!
//! ```
//! # #[cfg(feature = "macros")] mod page {
//! use std::sync::LazyLock;
//! use steadfast::{Error, Pipeline, resilient};
//!
//! static PAYMENTS: LazyLock<Pipeline> = LazyLock::new(|| Pipeline::http("payments").build().expect("valid settings"));
//!
//! #[resilient(pipeline = PAYMENTS, key = "{tenant}/{id}", priority = High)]
//! async fn charge(tenant: &str, id: u64) -> anyhow::Result<u64> {
//!     Ok(id + tenant.len() as u64)
//! }
//!
//! struct Shop {
//!     pipeline: Pipeline,
//! }
//!
//! impl Shop {
//!     #[resilient(pipeline = self.pipeline, fallback = Self::list_price)]
//!     async fn price(&self, id: u64) -> anyhow::Result<u64> {
//!         anyhow::bail!("nobody knows the price of {id}")
//!     }
//!
//!     /// Gets the same arguments, and the error last.
//!     async fn list_price(&self, id: u64, _error: Error<anyhow::Error>) -> anyhow::Result<u64> {
//!         Ok(id * 100)
//!     }
//! }
//! # #[tokio::main(flavor = "current_thread", start_paused = true)] pub async fn main() {
//! #     assert_eq!(charge("acme", 3).await.unwrap(), 7);
//! #     assert_eq!(Shop { pipeline: PAYMENTS.clone() }.price(2).await.unwrap(), 200);
//! # }
//! # }
//! # #[cfg(feature = "macros")] use page::main;
//! # #[cfg(not(feature = "macros"))] fn main() {}
//! ```
//!
//! # By name, from a file
//!
//! Where a file has the settings ([configuration](super::configuration)), functions name their pipeline. The name is looked up in the
//! `REGISTRY` that is in scope where the attribute stands, or in `registry = ..`; there is no registry of the whole program.
//!
//! ```
//! # #[cfg(feature = "macros")] mod page {
//! use std::sync::LazyLock;
//! use steadfast::{PipelineConfig, Registry, RegistryConfig, Retry, resilient};
//! use std::time::Duration;
//!
//! static REGISTRY: LazyLock<Registry> = LazyLock::new(|| {
//!     let settings = PipelineConfig::new().retry(Retry::exponential(3, Duration::from_millis(100))); // or `toml::from_str(..)`
//!     RegistryConfig::new().pipeline("payments", settings).build().expect("valid settings")
//! });
//!
//! #[resilient(pipeline = "payments", key = tenant)]
//! async fn charge(tenant: &str, cents: u64) -> anyhow::Result<u64> {
//!     Ok(cents + tenant.len() as u64)
//! }
//!
//! #[resilient(pipeline = "payment")]
//! async fn refund() -> anyhow::Result<()> {
//!     Ok(())
//! }
//!
//! struct Ledger {
//!     registry: Registry,
//! }
//!
//! impl Ledger {
//!     #[resilient(pipeline = "payments", registry = self.registry)]
//!     async fn book(&self) -> anyhow::Result<()> {
//!         Ok(())
//!     }
//! }
//! # #[tokio::main(flavor = "current_thread", start_paused = true)] pub async fn main() {
//! #     assert_eq!(charge("acme", 3).await.unwrap(), 7);
//! #     Ledger { registry: REGISTRY.clone() }.book().await.unwrap();
//!
//! let error = refund().await.unwrap_err().to_string();
//! assert_eq!(error, "payment: not attempted: there is no pipeline of this name; the registry has `payments`");
//! # }
//! # }
//! # #[cfg(feature = "macros")] use page::main;
//! # #[cfg(not(feature = "macros"))] fn main() {}
//! ```
//!
//! # Answers that are kept
//!
//! Feature `cache`. Of each way the `key` decides: make everything part of it that the answer depends on.
//!
//! | written | how answers are kept | where |
//! |---|---|---|
//! | `cache(ttl = 1m, stale_if_error = 1h)` | as the function says | in a cache of the function |
//! | `pipeline = "payments", cached` | as the pipeline says, in code or in its file | in a cache of the function, in that pipeline |
//! | `cached = QUOTES` | as that cache says | in a `Cache<String, T>` of yours, to look into and to invalidate |
//!
//! No two functions share a cache, nor do two instances of a generic one, except in the last way. A function that is `cached` by a pipeline which does not say how is rejected, and told
//! the cure.
//!
//! ```
//! # #[cfg(all(feature = "macros", feature = "cache"))] mod page {
//! use std::sync::LazyLock;
//! use std::time::Duration;
//! use steadfast::{Caching, PipelineConfig, Registry, RegistryConfig, resilient};
//!
//! static REGISTRY: LazyLock<Registry> = LazyLock::new(|| {
//!     // In a file: `[pipelines.payments.cache]`, `capacity = 10_000`, `ttl = "5m"`, `stale_if_error = "1h"`.
//!     let caching = Caching::new(10_000).ttl(Duration::from_secs(300)).stale_if_error(Duration::from_secs(3_600));
//!     RegistryConfig::new().pipeline("payments", PipelineConfig::new().caching(caching)).build().expect("valid settings")
//! });
//!
//! #[resilient(pipeline = "payments", cached, key = id)]
//! async fn payment(id: u64) -> anyhow::Result<String> {
//!     Ok(format!("payment {id}")) // asked once in five minutes; and for an hour more the last good answer outlives an outage
//! }
//! # #[tokio::main(flavor = "current_thread")] pub async fn main() { assert_eq!(payment(3).await.unwrap(), "payment 3"); }
//! # }
//! # #[cfg(all(feature = "macros", feature = "cache"))] use page::main;
//! # #[cfg(not(all(feature = "macros", feature = "cache")))] fn main() {}
//! ```
//!
//! # What the body gets in each attempt
//!
//! | argument | in each attempt | so |
//! |---|---|---|
//! | `&T`, `&self` | the same reference | the result may borrow from it |
//! | owned `T` | a clone | it must be `Clone`; or lend it with `share(body)`, and the body sees `&T` |
//! | `&mut T`, `&mut self` | lent to one attempt after the other | the result must not borrow; what a failed attempt did to it stays done |
//!
//! Without `retry`, `hedge`, a preset or `pipeline = ..` the body runs once, and everything is simply moved into it.
//!
//! # Good to know
//!
//! * `retry(3)` is three *retries*. `timeout = 2s` is allowed only where there is one attempt; otherwise say which: `attempt_timeout` or `total_timeout`.
//! * `hedge(after = 50ms)` says that the function may run twice, even at the same time; `after = p95` lets the delay follow the dependency. What
//!   has `&mut` arguments is never hedged.
//! * `adaptive(5..200)` finds out how much at once the dependency bears, where `bulkhead(50)` would be a guess.
//! * `classify = verdict` says more than `when = ..`: it can say when to come back ([example](super::same_task)).
//! * `map_err = |error| ..` for error types without `From<Rejected>`; `err = io::Error` lets the caller see the `steadfast::Error<io::Error>`.
//! * It goes on free functions, methods, trait methods, below `#[async_trait]`, and on functions that return `impl Future` or a boxed one.
//! * Under `#[tracing::instrument]` (that one *above*) there is one span for each attempt; with `#[resilient]` above, one for each call.
//! * The pipeline of a function has no monitor unless a preset brings one. To read statistics, use `pipeline = ..`.
//! * Numbers may be constants (`attempt_timeout = Self::LIMIT`), but not arguments: the pipeline is made once. If such a constant turns out not
//!   to work, every call is rejected and says why, and an error is logged once.

#[cfg(doc)]
use crate::*;
