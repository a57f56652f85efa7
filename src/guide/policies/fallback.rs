//! Fallback: an answer all the same. Details: [`substitution::fallback`](mod@crate::substitution::fallback).
//!
//! It is asked once, outside retry and breaker, with the error or the rejection. The breaker and the monitor go on counting how the
//! *operation* fared, so an outage stays visible.
//!
//! **When not**: where a wrong answer is worse than none (prices, permissions, balances); to call a second service that nothing protects
//! (give that one a pipeline of its own); to silence errors.
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use steadfast::{Error, Pipeline};
//!
//! # let (api, mirror) = (Pipeline::builder("api").build()?, Pipeline::builder("mirror").build()?);
//! # async fn fetch(from: &str) -> std::io::Result<u32> { if from == "mirror" { Ok(7) } else { Err(std::io::ErrorKind::NotFound.into()) } }
//! // A value, on one call: it cannot fail any more.
//! let stars = api.call_or(|| fetch("api"), 0).await;
//! # assert_eq!(stars, 0);
//! // Another service, with a pipeline of its own.
//! let stars = api.call_or_else(|| fetch("api"), |_error| mirror.call(|| fetch("mirror"))).await?;
//! # assert_eq!(stars, 7);
//! // Only for some errors: give the others back.
//! let stars = api
//!     .call_or_else(|| fetch("api"), |error: Error<std::io::Error>| async { if error.rejected().is_some() { Ok(0) } else { Err(error) } })
//!     .await;
//! # assert!(stars.is_err()); Ok(()) }
//! ```
//!
//! For all calls of a pipeline with one type of answer: [`Pipeline::builder(..).fallback(..)`](PipelineBuilder::fallback), which gives a
//! [`TypedPipeline`].
//!
//! # Defaults
//!
//! | setting | default | because |
//! |---|---|---|
//! | `fallback` | none | only you know what may be said instead |
//! | `when` | every error | of a [`Fallback`]: the others reach the caller as they are |
//!
//! # What you will see
//!
//! | event | when |
//! |---|---|
//! | `fallback_used`, with the cause | a fallback was asked |
//! | `call_finished` with the end of the *operation* | always: a call that was answered by a fallback still failed |
//!
//! A fallback that awaits has until the deadline of the call. If the total timeout is what failed, nothing is left: let it answer at once.

#[cfg(doc)]
use crate::*;
