//! Bulkhead: so many at once, and no more. Details: [`admission::bulkhead`](mod@crate::admission::bulkhead).
//!
//! A slow dependency fills a program with calls that wait for it. A bulkhead keeps that to its own compartment, and the rest of the program
//! afloat. The right size is calls per second × seconds per call, and some more; for a database it is the size of the pool.
//!
//! **When not**: for quotas (so many per second is a [rate limiter](super::rate_limiter)); where a pool in front of the dependency limits
//! already and refuses quickly; where nobody knows the limit and it changes.
//!
//! ```
//! # fn main() -> Result<(), steadfast::ConfigError> {
//! use std::time::Duration;
//! use steadfast::{Bulkhead, Pipeline};
//!
//! let pool = Bulkhead::new(20).queue(100).max_wait(Duration::from_millis(500)).build()?;
//! let reads = Pipeline::database("reads").bulkhead(pool.clone()).build()?;
//! let writes = Pipeline::database("writes").bulkhead(pool.clone()).build()?; // the same 20 places
//! pool.resize(40);                                                           // while calls run
//! # let _ = (reads, writes); Ok(()) }
//! ```
//!
//! # Defaults
//!
//! | setting | default | because |
//! |---|---|---|
//! | `queue` | 0 | a queue adds its wait to every call behind it, and hides that the limit is reached |
//! | `max_wait` | as long as the deadline allows | when there is a queue; `warnings()` tells when there is no deadline either |
//! | `ageing` | 2 s | one priority step is worth so much waiting, so nobody starves |
//! | `shed` | none | without a queue there is nothing to shed; with one and no `max_wait`, [`CoDel::default()`](CoDel) is a good choice |
//!
//! # What you will see
//!
//! | event | when |
//! |---|---|
//! | `rejected`, kind `bulkhead_full` | no place, and none in the queue; or the wait was too long; or somebody more important took the place in line |
//! | `waited`, policy `bulkhead` | it got through after a wait |
//!
//! A queue is for short peaks, and [shedding](CoDel) keeps it to that: once it has stood for 100 ms, whoever has waited more than 10 ms is refused
//! when its turn comes, so that those who get through are still wanted. If calls *always* wait, more places or fewer calls are the cure, not a longer queue: work it out with
//! `api.stats()`, where `waiting` should mostly be 0.

#[cfg(doc)]
use crate::*;
