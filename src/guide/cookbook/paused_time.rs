//! Paused time: an hour of backoff in a millisecond.
//!
//! All time in steadfast is tokio's. With a paused clock, sleeping takes no time: when every task waits, the clock jumps to the next timer. So tests
//! are quick, and exact to the millisecond. (tokio with the feature `test-util`, in `[dev-dependencies]`.)
//!
//! ```
//! use std::time::Duration;
//! use steadfast::{CircuitBreaker, CircuitState, Pipeline};
//! use tokio::time::{Instant, advance};
//!
//! // #[tokio::test(start_paused = true)]
//! async fn the_circuit_closes_when_the_service_is_back() -> Result<(), steadfast::ConfigError> {
//!     let breaker = CircuitBreaker::consecutive_failures(3).open_for(Duration::from_secs(60)).open_jitter(0.0).build()?;
//!     let api = Pipeline::builder("api").circuit_breaker(breaker.clone()).build()?;
//!     for _ in 0..3 {
//!         let _ = api.call(|| async { Err::<(), _>("down") }).await;
//!     }
//!     assert_eq!(breaker.state(), CircuitState::Open);
//!
//!     let before = Instant::now();
//!     advance(Duration::from_secs(60)).await;
//!     assert!(api.call(|| async { Ok::<_, &str>(1) }).await.is_ok());
//!     assert_eq!(breaker.state(), CircuitState::Closed);
//!     assert_eq!(before.elapsed(), Duration::from_secs(60)); // not a millisecond more
//!     Ok(())
//! }
//! # #[tokio::main(flavor = "current_thread", start_paused = true)] async fn main() { the_circuit_closes_when_the_service_is_back().await.unwrap(); }
//! ```
//!
//! # Two traps
//!
//! * **Real sockets.** A task that waits for the network looks idle to the clock, which then jumps: every timeout fires before the server can
//!   answer. Against a real server let the clock run, and take the waits out instead: `.no_waits()` of [`testing`](super::super::testing).
//! * **Other clocks.** `std::time::Instant` and `SystemTime` go on as ever. Use `tokio::time::Instant` in your own code, or you compare two clocks.
//!
//! # Chance
//!
//! Jitter is chance. Seed it, or turn it off, where a test looks at moments: `.seed(7)`, `.jitter(Jitter::None)`, `.open_jitter(0.0)`. Better still,
//! look at what holds for all seeds: how often it was called, and that no wait was longer than allowed.
