//! Coalesce: of many who ask the same at the same time, one asks. Details: [`substitution::coalesce`](mod@crate::substitution::coalesce).
//!
//! For reads that many make at once: the popular entry that just left the cache, the token that everybody refreshes, the configuration
//! that a thousand workers load at the start. A thousand callers, one call, a thousand answers.
//!
//! **When not**: for what changes something; where the answer depends on who asks, unless that is part of the key. It is no cache: who comes a
//! moment after the answer asks anew.
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use steadfast::{Coalesce, Error, Pipeline, Retry};
//! use std::time::Duration;
//!
//! let prices = Pipeline::builder("prices").retry(Retry::exponential(3, Duration::from_millis(100))).build()?;
//! let group = Coalesce::new().build::<u32, Error<String>>()?; // in a `static`, or beside the pipeline
//!
//! let price = || prices.key("tea").coalesced(&group).call(|| async { Ok::<_, String>(99) });
//! assert_eq!(tokio::join!(price(), price()), (Ok(99), Ok(99)));
//! # Ok(()) }
//! ```
//!
//! The whole call is shared, retries and all; who waits keeps to its own deadline. Answers and errors must be `Clone` (wrap large ones
//! in an `Arc`).
//!
//! # Defaults
//!
//! | setting | default | because |
//! |---|---|---|
//! | `share_errors` | true | what just failed should not be asked by a thousand more; with false they try one after the other |
//! | `max_keys` | 10,000 | each key in flight is a running operation; beyond, calls run without a group |
//! | `patience` | 1 s | so long a leader may not come when its operation calls for it; long against a busy executor |
//! | `max_wait` | 30 s | nobody waits for ever; then one follower runs beside the leader |
//!
//! # What you will see
//!
//! | event | when |
//! |---|---|
//! | `call_finished` with 0 attempts | a follower got the answer of another call |
//! | `call_finished`, kind `deadline_exceeded`, with 0 attempts | its own deadline came first |
//!
//! [`stats()`](crate::Coalesce::stats) counts those who led, shared, took over, and lost patience. Many who lost patience: somebody
//! makes calls and does not poll them, in a `select!` or in a stream with a buffer.

#[cfg(doc)]
use crate::*;
