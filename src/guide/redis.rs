//! Redis and Valkey: what several machines share, and what happens when it is away. Feature `redis`.
//!
//! | I want to .. | take |
//! |---|---|
//! | keep values where all machines see them | `RedisStore` |
//! | hold a tenant to a quota over all machines | `SharedLimit` on a `RedisRateStore` |
//! | let so many run at once over all machines, or one | `RedisSemaphoreStore`, for semaphores and locks |
//! | open a circuit on all machines when it opens on one | `SharedBreaker` on a `RedisStore` |
//!
//! Leave it out where one machine is all there is: a file, SQLite or memory is a thing less that can fail.
//!
//! # A store
//!
//! ```no_run
//! # #[cfg(feature = "redis")] async fn page() -> Result<(), Box<dyn std::error::Error>> {
//! use std::time::Duration;
//! use steadfast::store::{Key, RedisOptions, RedisStore, SetOptions, Store};
//! use steadfast::{CircuitBreaker, Pipeline, Retry};
//!
//! let options = RedisOptions::new("redis://:secret@cache.internal:6379/1").response_timeout(Duration::from_millis(200));
//! let careful = Pipeline::builder("redis")
//!     .retry(Retry::constant(1, Duration::from_millis(20)))
//!     .circuit_breaker(CircuitBreaker::failure_rate(0.5))
//!     .total_timeout(Duration::from_millis(500))
//!     .build()?;
//! let users = RedisStore::builder(options).prefix("shop").build()?    // connects when first used
//!     .guarded(careful)                                               // retried, timed, given a rest when it is down
//!     .fail_soft()                                                    // down is the same as empty
//!     .namespace("users");
//! users.set(&Key::new("42")?, "Ada".into(), SetOptions::new().ttl(Duration::from_secs(60)).tag("org:7")).await?;
//! # Ok(()) }
//! # fn main() {}
//! ```
//!
//! One connection carries the commands of all callers, so there is no pool to size. A value of many megabytes makes the others behind it wait: give
//! such values a store (and so a connection) of their own. For the same reason limits have theirs.
//!
//! # A limit
//!
//! ```
//! # #[cfg(feature = "redis")] #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use std::time::Duration;
//! use steadfast::store::rate::{OnOutage, Quota, SharedLimit, Source};
//! use steadfast::store::{Key, RedisRateStore};
//!
//! let limit = SharedLimit::new(Quota::per_minute(100).burst(20))
//!     .store(RedisRateStore::builder("redis://127.0.0.1:1").build()?) // nobody is there
//!     .on_outage(OnOutage::Local { share: 0.25 })                     // one of four machines
//!     .deadline(Duration::from_millis(50))
//!     .build()?;
//! let decision = limit.check(&Key::new("tenant:7")?).await?;          // is decided all the same, here
//! assert!(decision.allowed && decision.source == Source::LocalFallback);
//! # Ok(()) }
//! # #[cfg(not(feature = "redis"))] fn main() {}
//! ```
//!
//! # When it fails
//!
//! | what happens | what callers see | and then |
//! |---|---|---|
//! | it is down at the start | the first call finds out, within milliseconds | nothing to do: connections are made when they are needed |
//! | killed and restarted, empty | errors that come at once; a limit decides locally | back within a second, scripts load themselves; a limit may let one more burst through |
//! | it hangs, or the cable is cut | `Timeout` after 100 ms; of a write, `OutcomeUnknown` | after three in a row another connection is tried, also where no caller waits so long |
//! | the connection breaks while a write is under way | `OutcomeUnknown`, which no retry repeats | yours to decide: a `set` may be said again, a count may not |
//! | the master became a replica | `ReadOnly`, retriable | another connection is tried, at most five a second: a name that moves with the master is enough |
//! | its memory is full | `Full`, not retriable | give limits a server with `maxmemory-policy noeviction`, and caches another with `allkeys-lfu` |
//! | a key holds something else | a value: `Protocol`; a limit is begun anew | `RedisRateStore::healed` counts them |
//!
//! Measured by `tests/redis_outage.rs` on two busy cores, 105,000 decisions by eight tasks on a limit of 1,000/s, Redis 7.0: killed for two seconds, the
//! slowest decision took 28 ms, and half a second after the restart they were shared again; stopped for two seconds, 53 ms of a deadline of 50, and 0.4 s.
//!
//! # Sentinels, clusters, TLS
//!
//! Feature `redis-sentinel`: `RedisOptions::sentinels(["redis://s1:26379", "redis://s2:26379"], "redis://:secret@mymaster/0")`; they are asked again whenever
//! the master is not to be had. Feature `redis-cluster`: `RedisOptions::cluster(["redis://n1", "redis://n2"])`, for limits and semaphores: all of one name lies
//! in one place, and several names in one `acquire_many` must not be asked for. Feature `redis-tls`: `rediss://..`, with the certificates of the system.
//!
//! # What is not promised
//!
//! Values and limits that were not replicated when a master died are gone: a limit may let `rate * lag + burst` through twice. A value's tags are known to
//! a set on the server; an eviction policy other than `noeviction` may drop that set before the values. `clear` and patterns walk through the whole database,
//! 512 keys at a time.
