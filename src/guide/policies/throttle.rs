//! Throttle: stops sending what would only be refused. Details: [`admission::throttle`](mod@crate::admission::throttle).
//!
//! A service that has too much to do spends its time on refusing. Each client that sees refusals holds back some of its calls at random, so
//! that the service sees little more than it accepts, and has its time for work. The more clients do so, the better it works.
//!
//! **When not**: for a service that does not refuse but gets slow (that needs a limit on calls at once); where calls are few (fewer
//! than 20 in 30 s are never held back); for quotas that are known beforehand (a [rate limiter](super::rate_limiter)). A
//! [circuit breaker](super::circuit_breaker) stops *all* calls to what is down; a throttle only the share that is too much.
//!
//! ```
//! # fn main() -> Result<(), steadfast::ConfigError> {
//! use steadfast::{Outcome, Priority, Throttle, Verdict};
//! use tokio::time::Instant;
//!
//! let throttle = Throttle::new().build()?;
//! let now = Instant::now();
//! match throttle.try_acquire(Priority::Normal, now) {
//!     Ok(permit) => permit.settle_at(Outcome::Judged(Verdict::Success), now), // what came of the call
//!     Err(throttled) => println!("{throttled}"),
//! }
//! # Ok(()) }
//! ```
//!
//! # Defaults
//!
//! | setting | default | because |
//! |---|---|---|
//! | `accept_multiplier` | 2 | the book's *K*: half of what an overloaded service sees is accepted; lower holds back more, and takes longer to see that it could send more |
//! | `window` | 30 s | it acts half a window after an outage begins; the book's two minutes are long for that |
//! | `min_requests` | 20 | fewer say little |
//! | `max_rejection` | 1 | probes keep it from shutting for ever; below 1, it cannot keep its promise at any demand |
//! | `fast_recovery` | true | the textbook needs ten minutes and more after an outage of five |
//! | `probe_interval` | 1 s | how late the end of an outage is noticed; a call a second hurts nobody |
//!
//! # What counts
//!
//! | outcome | counts as |
//! |---|---|
//! | success, or a permanent error (an answer is an answer) | request and accept |
//! | transient error, timeout, panic | request |
//! | held back here | request |
//! | refused by another policy, ignored, abandoned by its caller | nothing |
//!
//! So the judge matters: "too busy" (429, 503) has to be transient, "no such customer" permanent or ignored.
//!
//! # What you will see
//!
//! | event | when |
//! |---|---|
//! | `rejected`, kind `throttled` | the call was held back; the least important first, so set [`Priority`] where calls differ |
//!
//! `throttle.snapshot()` tells requests, accepts and the share held back. Refusals without a word from the service mean that it refuses too,
//! or was down a moment ago; they end by themselves.

#[cfg(doc)]
use crate::*;
