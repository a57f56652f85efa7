//! Graceful shutdown: no new calls, and an end to the old ones.
//!
//! Dropping the future of a call gives back everything it held, at once, so a shutdown may simply drop what is left. To let it finish first:
//!
//! ```
//! # #[tokio::main(flavor = "current_thread", start_paused = true)] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use std::time::Duration;
//! use steadfast::Pipeline;
//! use tokio::task::JoinSet;
//! use tokio::time::{sleep, timeout};
//!
//! let api = Pipeline::http("api").build()?;
//! let mut calls = JoinSet::new();
//! for _ in 0..3 {
//!     let api = api.clone();
//!     calls.spawn(async move { api.call(|| async { sleep(Duration::from_secs(1)).await; Ok::<_, String>(1) }).await });
//! }
//! # let pausing = tokio::spawn({ let api = api.clone(); async move { api.call(|| async { Err::<(), _>("busy") }).await } });
//! # tokio::task::yield_now().await;
//!
//! // SIGTERM. First: nothing new. Refused at once, with CircuitOpen; what pauses before a retry ends with its own last error.
//! if let Some(breaker) = api.circuit_breaker() {
//!     breaker.isolate();
//! }
//! assert!(api.call(|| async { Ok::<_, String>(1) }).await.is_err());
//! # assert_eq!(pausing.await?, Err(steadfast::Error::Inner("busy")));
//!
//! // Then: as long as the orchestrator gives us, less a little.
//! let drained = timeout(Duration::from_secs(8), async { while calls.join_next().await.is_some() {} }).await;
//! if drained.is_err() {
//!     calls.shutdown().await; // drops the rest: permits, probes and places come back by themselves
//! }
//! assert_eq!(api.adaptive_limit().map(|limit| limit.in_use()), Some(0));
//! println!("{}", api.stats()); // the last word of the process
//! # assert!(drained.is_ok()); Ok(()) }
//! ```
//!
//! * Stop accepting work *before* you isolate the pipelines: health check to "not ready", wait until the load balancer knows, then this.
//! * [`Bulkhead::resize(0)`](crate::Bulkhead::resize) drains too, but lets newcomers wait in the queue, if there is one. For a pause, not for the end.
//! * A total timeout below the grace period makes all of this simple: wait that long, and there is nothing left to drop.
//! * What must not be cut in the middle belongs in a task of its own (`tokio::spawn`), with the pipeline waiting for its handle.
