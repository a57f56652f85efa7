//! Cache: the call that need not be made. Details: [`substitution::cache`](mod@crate::substitution::cache). Needs the feature `cache`.
//!
//! It sits outside retry, breaker, limits and timeouts. A hit asks none of them; and when they refuse, or the operation fails for good, the last good answer is
//! given for as long as [`stale_if_error`](CacheConfig::stale_if_error) allows. That is what turns an outage into slightly old prices.
//!
//! **When not**: where the answer must be true now (balances, permissions, stock); for calls that change something; for answers that depend on more than the
//! key says (make the user part of the key if the user matters); for what is asked once.
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use std::time::Duration;
//! use steadfast::{Cache, CircuitBreaker, Pipeline, TypedPipeline};
//!
//! # async fn fetch(_: &str) -> std::io::Result<u32> { Ok(7) }
//! let prices = Cache::new(10_000)
//!     .ttl(Duration::from_secs(30))
//!     .jitter(Duration::from_secs(5))              // not all at once
//!     .stale_if_error(Duration::from_secs(3600));  // rather an hour old than none
//!
//! // On every call with a key:
//! let shop: TypedPipeline<u32, std::io::Error> = Pipeline::builder("shop")
//!     .cache(prices)
//!     .with(|builder| builder.circuit_breaker(CircuitBreaker::failure_rate(0.5)))
//!     .build()?;
//! let tea = shop.key("tea").call(|| fetch("tea")).await?;
//!
//! // On one call, of any pipeline, by a key of any type:
//! let by_id: Cache<u64, u32> = Cache::new(1_000).build()?;
//! let tea_again = shop.pipeline().priority(steadfast::Priority::High).cached_by(&by_id, &17).call(|| fetch("tea")).await?;
//! # assert_eq!((tea, tea_again), (7, 7)); Ok(()) }
//! ```
//!
//! # Defaults
//!
//! | setting | default | because |
//! |---|---|---|
//! | `capacity` | you say it | a cache without a limit is a leak |
//! | `eviction` | `S3Fifo` | the best hit rate of the four, and the fastest |
//! | `ttl` | for ever | only you know how long an answer is true: set it |
//! | `jitter` | none | it is added to the ttl, and a ttl should be what you said |
//! | `idle` | never | it costs a write per hit |
//! | `negative_ttl` | 0 | a failure that is remembered outlives its cause |
//! | `refresh_ahead` | off | it loads what may never be asked for again |
//! | `stale_while_revalidate` | 0 | an old answer is given only if you say so |
//! | `stale_if_error` | 0 | the same |
//! | `retry_stale_every` | 30 s | often enough to notice that it works again, seldom enough to leave it alone |
//! | `load_timeouts` | none | the pipeline has timeouts |
//!
//! A value may say how long it is fresh, and its tags (`ttl_of`, `tags_of`); `on_removal` hears of what leaves; a [store behind it](crate::guide::stores): `second_tier`. Under [the attribute](super::super::attribute), `cached` leaves all of this to the pipeline or its file: [`Caching`].
//!
//! # Who waits
//!
//! | the entry is | the first caller | all others |
//! |---|---|---|
//! | fresh | has it at once | the same |
//! | due for a refresh, or old within `stale_while_revalidate` | loads; has the old one if that fails, or after the soft timeout | have the old one at once |
//! | older, within `stale_if_error` | loads; has the old one if that fails | wait for that load; have the old one if it fails |
//! | just failed to load (`retry_stale_every`) | has the old one at once | the same |
//! | not there | loads | wait for that load |
//!
//! Whoever loads does so in its own future, so an operation may borrow; if it goes away, another one goes on. For a refresh that keeps nobody waiting, give
//! [`Cache::get_or_spawn`] an operation that borrows nothing.
//!
//! # What you will see
//!
//! [`Cache::stats`] has hits, misses, sets, evictions, how full it is, and how many old answers were given. In a pipeline (with neither monitor nor observer a hit costs nothing more):
//!
//! | event | when |
//! |---|---|
//! | `call_finished`, success, no attempts | a hit, or the answer of another caller's load: the monitor counts it as a call, and the dependency was not asked |
//! | `fallback_used`, with the cause | the last good answer was given because the call failed |
//! | `call_finished` with the end of the *operation* | a call that failed, whatever was given instead |

#[cfg(doc)]
use crate::*;
