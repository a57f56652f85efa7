//! Rate limiter: so many per second. Details: [`admission::rate_limiter`](mod@crate::admission::rate_limiter).
//!
//! For quotas somebody else counts, and to be gentle with what is fragile. Each *attempt* takes a unit, retries too: the other side counts
//! them as well.
//!
//! **When not**: to limit how many run at once (that is a [bulkhead](super::bulkhead)); for a quota shared by several processes (it counts
//! its own; give each its part); to keep your tenants from each other (that is a rate [for each key](super::keyed)).
//!
//! ```
//! # #[tokio::main(flavor = "current_thread", start_paused = true)] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use std::time::Duration;
//! use steadfast::{Pipeline, Priority, RateLimiter};
//!
//! let search = Pipeline::builder("search")
//!     .rate_limit(RateLimiter::per_second(100).burst(10).max_wait(Duration::from_millis(250)))
//!     .build()?;
//! let hits = search.cost(5).priority(Priority::High).call(|| async { Ok::<_, std::io::Error>(3) }).await?; // an expensive query
//! # assert_eq!(hits, 3); Ok(()) }
//! ```
//!
//! # Defaults
//!
//! | setting | default | because |
//! |---|---|---|
//! | `burst` | the units of one period | who was quiet for a period may spend it at once; set a small one where the other side counts by the tenth of a second |
//! | `sliding_window` | false | the token bucket has no lock; turn it on where one call too many costs a ban |
//! | `max_wait` | 0 s | a refusal at once is better than a surprise queue |
//! | `queue` | 1,000 | when waiting is on: ten seconds' worth at 100 per second |
//! | `ageing` | 2 s | one priority step is worth so much waiting, so nobody starves |
//! | `shed` | none | as for a [bulkhead](super::bulkhead): when waiting is on, refuses who waited too long under lasting overload |
//! | cost of a call | 1 | 0 takes none |
//!
//! # What you will see
//!
//! | event | when |
//! |---|---|
//! | `rejected`, kind `rate_limited`, with `retry_after` | no unit in time; without `retry_after`: the cost is more than ever fits |
//! | `waited`, policy `rate_limit` | it got through after a wait |
//!
//! A token bucket lets `burst + rate × t` through in any time `t`. A provider that counts *100 in any second* can see 200 in one (a whole
//! burst, and then a second's worth): use [`sliding_window`](RateLimiterConfig::sliding_window) there, or a small burst and a rate a
//! little below theirs. While calls run, [`set_rate`](RateLimiter::set_rate) changes it and keeps what is owed; where the number is not known,
//! have it [steered](super::dynamic_rate).
//!
//! # What a call costs
//!
//! Where calls differ, let each take what it costs: `api.cost(5)`, `api.cost(points(&query))`, or `api.cost_of(&query)` with a request that is
//! [`Cost`]. Where the truth is known only afterwards, take the most and hand back the rest: [`refund`](RateLimiter::refund), or, without a
//! pipeline, [`settle`](Reservation::settle) what was reserved. `cargo run --example graphql_cost` does it for GraphQL, with the published
//! models of GitHub and Shopify.

#[cfg(doc)]
use crate::*;
