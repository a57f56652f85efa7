//! Adaptive limit: so many at once as it can take, whatever that is today. Details: [`admission::adaptive`](mod@crate::admission::adaptive).
//!
//! A bulkhead with the right limit keeps a dependency's queue short. The right limit changes with every deployment over there; this one finds
//! it, cuts at once in overload, and leaves room for bursts when there is none.
//!
//! **When not**: where the limit is known and fixed (a connection pool: [bulkhead](super::bulkhead)); for a few calls a minute, from which
//! nothing can be learnt in time; for quotas ([rate limiter](super::rate_limiter)).
//!
//! ```
//! # fn main() -> Result<(), steadfast::ConfigError> {
//! use std::time::Duration;
//! use steadfast::{AdaptiveLimit, Outcome, Verdict};
//!
//! let limit = AdaptiveLimit::new()                    // or ::aimd(), ::vegas(), ::gradient2()
//!     .max(500)                                       // what you know, say
//!     .queue(50).max_wait(Duration::from_millis(200)) // short peaks wait instead of being refused
//!     .build()?;
//! if let Ok(permit) = limit.try_acquire() {
//!     // .. call the dependency ..
//!     permit.settle(Outcome::Judged(Verdict::Success));
//! }
//! println!("{:?}", limit.snapshot());
//! # Ok(()) }
//! ```
//!
//! # Defaults
//!
//! | setting | default | because |
//! |---|---|---|
//! | `initial` | 20 | enough for a start, and found wrong within a few windows |
//! | `min` | 1 | less would never learn that the dependency is back |
//! | `max` | 10,000 | a guard, not a guess; AIMD and Gradient2 200, Vegas 1,000, as in their projects |
//! | `window` | 100 ms | ten decisions a second, as in Envoy |
//! | `min_samples` | 50 | so many calls tell a mean to 14 %; 10 for the other algorithms |
//! | `tolerance` | 0.35 | a third more than what works, so that no server waits for the next call |
//! | `reserve` | 25 % | places beyond the limit for critical calls |
//! | `queue` | 0 | in overload a queue is always full, and makes every call later |
//! | `max_wait` | as long as the deadline allows | when there is a queue |
//! | `ageing` | 2 s | one priority step is worth so much waiting; critical calls are always next |
//! | `shed` | none | without a queue there is nothing to shed; with one and no `max_wait`, [`CoDel::default()`](CoDel) is a good choice |
//!
//! # What you will see
//!
//! | event | when |
//! |---|---|
//! | `rejected`, kind `concurrency_limited` | no place, and none in the queue; or the wait was too long |
//! | `waited`, policy `adaptive_limit` | it got through after a wait |
//!
//! [`subscribe`](AdaptiveLimit::subscribe) tells each change of the limit, [`snapshot`](AdaptiveLimit::snapshot) what it was decided on. Two habits look odd and are right: every hundred windows of
//! lasting saturation the limit halves for one window, to measure what a call takes without a queue; and with little load it stays where a burst
//! once took it, for a limit that nobody reaches does no harm.
//!
//! Give attempts a timeout: what hangs for ever is never a sample. If it refuses on quiet days, look at the judge first: a call counts as answered
//! only when it is judged a success.

#[cfg(doc)]
use crate::*;
