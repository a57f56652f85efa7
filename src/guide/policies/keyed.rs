//! Policies for each key: every tenant, host or user has a rate, a circuit and a bulkhead of its own. Details:
//! [`admission::keyed`](mod@crate::admission::keyed).
//!
//! For what must not spill over from one to the others: the noisy tenant, the broken shard, the host that hangs.
//!
//! **When not**: for a handful of known keys (a pipeline for each says more, and shows up in metrics by name); against strangers who make up a key
//! for each call (each of them gets its first call; put a limit on all calls beside it, as below).
//!
//! ```
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use steadfast::{Bulkhead, CircuitBreaker, PerKey, RateLimiter};
//!
//! let tenants = PerKey::new(100_000) // at most so many tenants are remembered at a time
//!     .rate_limit(RateLimiter::per_second(50))
//!     .circuit_breaker(CircuitBreaker::failure_rate(0.5))
//!     .bulkhead(Bulkhead::new(5))
//!     .statistics(true)
//!     .build()?;
//!
//! let everybody = RateLimiter::per_second(5_000).build()?; // beside it, for all together
//! everybody.try_acquire(1)?;
//! let permit = tenants.try_acquire("acme", 1)?;
//! permit.settle(steadfast::Outcome::Judged(steadfast::Verdict::Success));
//!
//! let acme = tenants.snapshot("acme").expect("just seen");
//! assert_eq!((acme.available, acme.in_use), (Some(49), Some(0)));
//! # Ok(()) }
//! ```
//!
//! # Defaults
//!
//! | setting | default | because |
//! |---|---|---|
//! | `rate_limit` | none | at least one policy has to be chosen |
//! | `circuit_breaker` | none | |
//! | `bulkhead` | none | |
//! | `statistics` | false | 32 bytes a key, and a reading of the clock at the end of each attempt |
//! | `idle` | 600 s | who comes every few minutes is remembered, who came yesterday is not |
//!
//! # How many keys?
//!
//! As many as call within the idle time, and a little more: [`stats().shared`](crate::PerKeyStats::shared) tells how often there was no
//! room. Each costs at most 160 bytes (76 with a rate alone), so 100,000 of them are at most 16 MB, whoever makes them up.
//!
//! # What you will see
//!
//! What the policies themselves show: `circuit_open`, `rate_limited`, `bulkhead_full`, with the time to come back. A key is never the
//! label of a metric: a million of them would bring the metrics down before the service. To find out *who*, ask:
//! [`most_rejected(10)`](PerKey::most_rejected), and [`snapshot(key)`](PerKey::snapshot) for one of them.
//!
//! # When the table is full
//!
//! Idle keys make room; then those who owe nothing. A key that owes something (units, an open circuit, calls under way) is never
//! forgotten, or else a flood of new keys would set it free. When all owe, newcomers share buckets by their hash: each gets a first
//! call, and after that what the bucket has left.

#[cfg(doc)]
use crate::*;
