//! Your first pipeline, in four steps.
//!
//! # 1. One pipeline for each dependency
//!
//! Not one for each function, and not one for all: a breaker has to see all calls of *one* thing that can be down. Begin with the
//! [preset](super::which_policy#presets) that comes nearest, and replace the parts that you know better.
//!
//! ```
//! use std::sync::LazyLock;
//! use std::time::Duration;
//! use steadfast::Pipeline;
//!
//! static GITHUB: LazyLock<Pipeline> = LazyLock::new(|| {
//!     Pipeline::http("github")                       // the name is in every error, event and statistic
//!         .total_timeout(Duration::from_secs(5))     // how long *your* callers are willing to wait
//!         .build()
//!         .expect("valid settings")                  // a typo shows at the first call; a test that touches it shows it earlier
//! });
//! # assert_eq!(GITHUB.name(), "github");
//! ```
//!
//! A struct field does as well: a [`Pipeline`] is a cheap handle, and clones share all state. Making a new one for each request is the
//! classic mistake: each would have a breaker that never saw a failure.
//!
//! # 2. Call through it
//!
//! The operation is a closure, because each attempt needs a new future. It may borrow; its value and error may be of any type.
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # use steadfast::Pipeline;
//! # let github = Pipeline::http("github").build()?;
//! # async fn stars(repository: &str) -> std::io::Result<u32> { Ok(repository.len() as u32) }
//! let repository = String::from("tokio-rs/tokio");
//! let stars = github.call(|| stars(&repository)).await?;
//! # assert_eq!(stars, 14); Ok(()) }
//! ```
//!
//! What the closure owns and the future wants to keep must be cloned in between: `|| { let body = body.clone(); async move { .. } }`.
//!
//! # 3. Say which errors may pass
//!
//! Unjudged, every error counts as one that may pass: it is retried, and it is a failure to the breaker. A 404 that opens your breaker is
//! no fun at night. The [`Verdict`] is given once per attempt, and serves every policy:
//!
//! | verdict | retried | failure to the breaker | for |
//! |---|---|---|---|
//! | [`Success`](Verdict::Success) | no | no | `Ok`, unless you say otherwise |
//! | [`Transient`](Verdict::Transient) | yes, after `retry_after` if the server gave one | yes | 503, 429, connection reset, deadlock |
//! | [`Permanent`](Verdict::Permanent) | no | yes | an answer that makes no sense; a certificate that expired |
//! | [`Ignored`](Verdict::Ignored) | no | no | the caller's own mistake: 400, 404, a row that is not there |
//!
//! ```
//! # #[derive(Debug, thiserror::Error)] #[error("{0}")] struct Status(u16);
//! # fn main() -> Result<(), steadfast::ConfigError> {
//! use steadfast::{Pipeline, Verdict};
//!
//! let github = Pipeline::http("github")
//!     .classify(|error: &Status| match error.0 {
//!         429 | 500.. => Verdict::transient(),
//!         _ => Verdict::Ignored,
//!     })
//!     .build()?;
//! # let _ = github; Ok(()) }
//! ```
//!
//! # 4. Read what it says before you ship it
//!
//! ```
//! # fn main() -> Result<(), steadfast::ConfigError> {
//! # use steadfast::Pipeline;
//! let github = Pipeline::http("github").build()?;
//! assert!(github.warnings().is_empty());
//! assert_eq!(github.explain().attempts(), 4); // 3 retries
//! println!("{}", github.explain());
//! # Ok(()) }
//! ```
//!
//! prints the order, the attempts, the longest wait, and how much load an outage turns into. Then break the dependency on purpose (stop the
//! container, drop its packets) and look at `println!("{}", github.stats())`. Next: [which policy](super::which_policy), and how rejections
//! get into [your error type](super::errors).

#[cfg(doc)]
use crate::*;
