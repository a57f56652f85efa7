//! Timeouts: how long one attempt may take, and how long the caller waits in all.
//!
//! [`attempt_timeout`](PipelineBuilder::attempt_timeout) is about the dependency: an attempt past it is dropped, counts as a failure, and may be
//! retried. [`total_timeout`](PipelineBuilder::total_timeout) is about your caller: a deadline that every attempt, pause and queue obeys. A
//! wait that cannot end before it is refused at once, not slept through.
//!
//! ```
//! # #[tokio::main(flavor = "current_thread", start_paused = true)] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use std::time::Duration;
//! use steadfast::{Pipeline, RejectedKind, Retry};
//!
//! let api = Pipeline::builder("api")
//!     .total_timeout(Duration::from_secs(5))
//!     .attempt_timeout(Duration::from_secs(2))
//!     .retry(Retry::exponential(10, Duration::from_millis(100)))
//!     .build()?;
//! let hangs = || std::future::pending::<Result<(), String>>();
//! let error = api.call(hangs).await.unwrap_err();
//! assert_eq!(error.kind(), Some(RejectedKind::DeadlineExceeded)); // at 5 s, in the middle of the third attempt
//!
//! // One call in more of a hurry; the operation may pass on what is left.
//! let left = api.within(Duration::from_secs(1)).call_with(|attempt| async move { Ok::<_, std::io::Error>(attempt.remaining()) }).await?;
//! assert_eq!(left, Some(Duration::from_secs(1)));
//! # Ok(()) }
//! ```
//!
//! **When not**: there is hardly a call over a network that should have none. Leave the attempt timeout out for streams that live long, and
//! for work that cannot be dropped half-way (then spawn it, and let the pipeline wait for its handle).
//!
//! # Defaults
//!
//! | setting | default | because |
//! |---|---|---|
//! | `total_timeout` | none | only you know how long your callers wait; `warnings()` reminds you when there is a retry without one |
//! | `attempt_timeout` | none | only you know how long a good call takes |
//!
//! # What you will see
//!
//! | event | when |
//! |---|---|
//! | `attempt_failed`, outcome `timed_out` | an attempt ran into either limit |
//! | `call_finished`, end `timeout` | the last attempt ran into its own limit |
//! | `call_finished`, end `deadline_exceeded` | the whole call did |
//!
//! Three things that surprise people. A timeout **drops** the operation's future: what it awaited is cancelled there, and what it spawned is not.
//! A future that never yields cannot be timed out; that is what `spawn_blocking` is for. And the server does not know that you have gone:
//! tell it how long you wait ([`Attempt::remaining`]), if its protocol has a word for that.

#[cfg(doc)]
use crate::*;
