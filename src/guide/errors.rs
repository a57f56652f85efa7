//! Errors: what a call fails with, and how that gets into your own error type.
//!
//! A call fails with [`Error<E>`]: your operation's own error ([`Inner`](Error::Inner)), or a policy's [`Rejected`]. It never nests. When the
//! retries are over you get the *last attempt's own error*; you get a rejection when a policy refused, or when time ran out.
//!
//! | kind | who says it | the dependency has seen the call |
//! |---|---|---|
//! | [`Timeout`](RejectedKind::Timeout) | the attempt timeout, on the last attempt | perhaps |
//! | [`DeadlineExceeded`](RejectedKind::DeadlineExceeded) | the total timeout, or the call's own deadline | perhaps |
//! | [`CircuitOpen`](RejectedKind::CircuitOpen) | the breaker | not this attempt |
//! | [`RateLimited`](RejectedKind::RateLimited) | the rate limiter | not this attempt |
//! | [`BulkheadFull`](RejectedKind::BulkheadFull) | the bulkhead | not this attempt |
//! | [`Custom`](RejectedKind::Custom) | a gate of yours | not this attempt |
//! | [`NotRepeatable`](RejectedKind::NotRepeatable) | a door: the body is a stream, and the pipeline retries | no |
//! | [`UnknownPipeline`](RejectedKind::UnknownPipeline) | the attribute: its registry has no pipeline of that name | no |
//! | `LoadFailed` (feature `cache`) | the cache: another caller's load of the same key failed, or its failure is remembered | not by this call |
//! | [`NoRuntime`](RejectedKind::NoRuntime) | nobody: a timer was needed outside a tokio runtime | perhaps |
//!
//! # With thiserror: one variant
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")] async fn main() {
//! use steadfast::{Error, Pipeline, Rejected};
//!
//! #[derive(Debug, thiserror::Error)]
//! enum ApiError {
//!     #[error("status {0}")]
//!     Status(u16),
//!     #[error(transparent)]
//!     Rejected(#[from] Rejected), // the one line
//! }
//!
//! async fn quote(api: &Pipeline) -> Result<u64, ApiError> {
//!     api.call(|| async { Err(ApiError::Status(503)) }).await.map_err(Error::flatten)
//! }
//! # let api = Pipeline::builder("api").build().unwrap();
//! # assert_eq!(quote(&api).await.unwrap_err().to_string(), "status 503");
//! # }
//! ```
//!
//! [`flatten`](Error::flatten) makes an `E` of an `Error<E>`, for every `E: From<Rejected>`. The [attribute](super::attribute) calls it for you.
//!
//! # With anyhow, or a box: nothing
//!
//! `anyhow::Error` and `Box<dyn Error + Send + Sync>` take a `Rejected` as it is, and give it back:
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> anyhow::Result<()> {
//! use steadfast::{Error, Pipeline, Rejected};
//!
//! async fn quote(api: &Pipeline) -> anyhow::Result<u64> {
//!     api.call(|| async { anyhow::bail!("no such symbol") }).await.map_err(Error::flatten)
//! }
//! # let api = Pipeline::builder("api").build()?;
//! match quote(&api).await {
//!     Err(error) => match error.downcast_ref::<Rejected>() {
//!         Some(rejected) => println!("try again in {:?}", rejected.retry_after()),
//!         None => println!("{error}"),
//!     },
//!     Ok(price) => println!("{price}"),
//! }
//! # Ok(()) }
//! ```
//!
//! A judge looks inside in the same way: `.classify(|error: &anyhow::Error| match error.downcast_ref::<io::Error>() { .. })`. And without
//! `flatten`, `?` makes an `anyhow::Error` of an `Error<ApiError>` wherever `ApiError: std::error::Error`.
//! (`String` is not, so an `Error<String>` does not go through `?` into `anyhow`: use a real error type, even a small one.)
//!
//! # With a foreign error type
//!
//! `std::io::Error` has no place for a rejection. Map it by hand:
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), steadfast::ConfigError> {
//! use std::io;
//! use steadfast::{Error, Pipeline};
//!
//! fn to_io(error: Error<io::Error>) -> io::Error {
//!     match error {
//!         Error::Inner(error) => error,
//!         Error::Rejected(rejected) => io::Error::new(io::ErrorKind::TimedOut, rejected),
//!     }
//! }
//! # let api = Pipeline::builder("api").build()?;
//! let read: io::Result<u32> = api.call(|| async { Err(io::ErrorKind::NotFound.into()) }).await.map_err(to_io);
//! # assert_eq!(read.unwrap_err().kind(), io::ErrorKind::NotFound); Ok(()) }
//! ```
//!
//! # To an HTTP answer
//!
//! | rejection | answer |
//! |---|---|
//! | `RateLimited`, `BulkheadFull`, `CircuitOpen` | 503, with [`retry_after`](Rejected::retry_after) as `Retry-After`, rounded up |
//! | `Timeout`, `DeadlineExceeded` | 504 |
//!
//! # Pipelines inside pipelines
//!
//! [`outer.around(&inner)`](Pipeline::around) keeps one flat error, and the outer pipeline knows a rejection of the inner one when it sees it. Where
//! that is not at hand (the inner call is deep inside a library of yours) an `Error<Error<E>>` comes out; `flatten` makes an `Error<E>` of it.
//!
//! # Secrets
//!
//! `Display` of a rejection quotes the last attempt's error; `Debug` does not, because `{:?}` is what ends up in logs. Events quote nothing.

#[cfg(doc)]
use crate::*;
