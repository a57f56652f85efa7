//! Limits that several machines share. Feature `store`.
//!
//! # Do you need one?
//!
//! A provider that allows 100 calls a second, and four machines of yours: give each a [`RateLimiter`](crate::RateLimiter) of 25. That costs nanoseconds,
//! nothing can be down, and it is right as long as the load is spread evenly. A shared limit is for what cannot be divided so: few calls of many keys
//! (each user 10 a minute, whichever machine answers), machines that come and go, quotas that are paid for.
//!
//! # Which algorithm?
//!
//! | you want | take |
//! |---|---|
//! | an even flow with some burst; nothing special | [`Gcra`](crate::store::rate::Algorithm::Gcra), the default |
//! | to count as an invoice does | [`Quota::monthly`](crate::store::rate::Quota::monthly) and its like, [`FixedWindow`](crate::store::rate::Algorithm::FixedWindow) |
//! | exactly what a contract says: never more than 100 in any minute | [`SlidingLog`](crate::store::rate::Algorithm::SlidingLog), for limits up to some thousand |
//! | nearly that, for millions of keys | [`SlidingCounter`](crate::store::rate::Algorithm::SlidingCounter) |
//! | what you had before, which was a token bucket | [`TokenBucket`](crate::store::rate::Algorithm::TokenBucket) |
//!
//! A fixed window lets two whole limits through within a moment, at its end and after it. If the other side falls over then, it was the wrong choice.
//!
//! # What happens when the store is down?
//!
//! It will be. Decide before it is, and by what the limit protects:
//!
//! | it protects | [`on_outage`](crate::store::rate::SharedLimitConfig::on_outage) | since |
//! |---|---|---|
//! | a dependency, a machine | `Local { share }` | each machine goes on with its part; together they keep the quota, about |
//! | fairness among users | `Local { share }` | what each had spent still counts, as far as this machine has seen it |
//! | comfort | `Allow` | nobody should be refused because of a helper |
//! | money | `Deny` | nobody should pay because of one |
//! | you decide case by case | `Error` | |
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use std::time::Duration;
//! use steadfast::store::Key;
//! use steadfast::store::rate::{Leased, MemoryRateStore, OnOutage, Quota, SharedLimit, Source};
//!
//! let machines = 4;
//! let limit = SharedLimit::new(Quota::per_second(1_000).burst(200))
//!     .name("geocoder")
//!     .store(Leased::new(MemoryRateStore::new()).batch(10))      // Redis, in truth
//!     .on_outage(OnOutage::Local { share: 1.0 / f64::from(machines) })
//!     .deadline(Duration::from_millis(20))
//!     .build()?;
//!
//! let decision = limit.check(&Key::new("all")?).await?;
//! if decision.source == Source::LocalFallback {
//!     // worth a metric: limits hold, but each machine for itself
//! }
//! // What HTTP wants to hear: RateLimit-Limit, RateLimit-Remaining, RateLimit-Reset, Retry-After.
//! let headers = (decision.limit, decision.remaining, decision.reset_after.as_secs(), decision.retry_after);
//! # assert_eq!(headers.0, 200); Ok(()) }
//! ```
//!
//! A decision takes no longer than the [`deadline`](crate::store::rate::SharedLimitConfig::deadline), whatever the store does; and while it is down, a
//! circuit breaker sees to it that only a few calls a second pay that. In the log it is two lines, `steadfast.limit_outage` and `steadfast.limit_recovered`; in
//! [`stats`](crate::store::rate::SharedLimit::stats) it is `local_fallback`.
//!
//! # Refuse, or wait?
//!
//! A limit refuses, and says when to come back; who retries honours that. A job that has time may rather stand in line:
//! [`max_wait`](crate::store::rate::SharedLimitConfig::max_wait) has `acquire`, and the pipelines whose gate the limit is, wait for so long at most, and never past the
//! deadline of the call. Who could not go in time is refused at once. First come, first served within a process; between processes there is no order.
//!
//! # In a file of settings
//!
//! Quotas are text there, with feature `serde`: `"100/min"`, `"100/min, burst 20"`, `"10/30s, sliding_log"`, `"5000 monthly"`; or a table of `rate`, `burst` and `algorithm`.
//! Where the limit is kept is code, so a limit is put together there:
//!
//! ```
//! # #[cfg(feature = "serde")] fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use std::collections::BTreeMap;
//! use steadfast::store::rate::{MemoryRateStore, Quota, SharedLimit};
//! use steadfast::{Pipeline, PipelineConfig};
//!
//! #[derive(serde::Deserialize)]
//! struct Settings {
//!     limits: BTreeMap<String, Quota>,
//!     search: PipelineConfig,
//! }
//!
//! let settings: Settings = toml::from_str(r#"
//!     limits = { search = "100/min, burst 20" }
//!     search = { attempt_timeout = "2s", retry = 2 }
//! "#)?;
//! let limit = SharedLimit::new(settings.limits["search"]).name("search").store(MemoryRateStore::new()).build()?;
//! let search = settings.search.builder("search").gate(limit).build()?;
//! # let _ = search; Ok(()) }
//! # #[cfg(not(feature = "serde"))] fn main() {}
//! ```
//!
//! # How exact is it?
//!
//! * While the store answers: exact, whoever asks at the same time. The algorithms are in whole numbers; there is nothing to round.
//! * With [leases](crate::store::rate::Leased): never more in all, but up to a batch for each process may come later than it was counted.
//! * In an outage with `Local`: each machine its share. What was taken by calls that were cut off is lost to the quota, not doubled.
//! * At a fail-over of the store: what it had not copied is forgotten, at most one burst and what the rate lets through in that time.
//!
//! # Before it is switched on
//!
//! Run it with [`shadow(true)`](crate::store::rate::SharedLimitConfig::shadow) for a week: it counts, and never refuses. Whom it would have refused is in
//! [`shadowed`](crate::store::rate::LimitStats::shadowed).
//!
//! # So many at once
//!
//! Connections, exports, the nightly job: [`DistributedSemaphore`](crate::store::rate::DistributedSemaphore), of which a lock is the one with one place.
//! Read there why such a lock is a courtesy and not a proof, and what the fence is for. Its places are in Redis, in SQLite for the processes of one machine, or in memory.
//!
//! # A circuit for all
//!
//! Forty processes that each call a provider now and then: each has to fail for itself before its breaker opens, and when the provider is back, forty send
//! probes. [`SharedBreaker`](crate::store::SharedBreaker) tells the others, through any store that they all see:
//!
//! ```
//! # #[tokio::main(flavor = "current_thread", start_paused = true)] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use steadfast::store::{MemoryStore, SharedBreaker};
//! use steadfast::{CircuitBreaker, Pipeline};
//!
//! let breaker = CircuitBreaker::failure_rate(0.5).build()?;
//! let shared = SharedBreaker::new("provider", &breaker).store(MemoryStore::new()).build()?;   // Redis, in truth; keep it as long as the pipeline
//! let provider = Pipeline::builder("provider").circuit_breaker(breaker).build()?;
//! # let _ = (shared, provider); Ok(()) }
//! ```
//!
//! | | |
//! |---|---|
//! | open in one, open in all | within [`every`](crate::store::SharedBreakerConfig::every), 500 ms |
//! | what a call pays | nothing: a task reads and writes, calls ask their own breaker |
//! | probes | as many as one breaker has, over all processes, while the store answers |
//! | the store is away | each goes on with its own state and its own probes |
//!
//! Do not share where what fails may be the caller: one machine with a broken network would open the circuit of all.
