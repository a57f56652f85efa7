//! Which policy, by symptom; and in which order they act.
//!
//! # By symptom
//!
//! | what you see | what helps | what only looks as if |
//! |---|---|---|
//! | now and then a call fails, and the next one would have worked | [retry](super::policies::retry) | |
//! | during an outage the retries make it worse | the retry *budget*, on by default | fewer retries: they fail just as well |
//! | one dependency is down, and everybody waits for it in vain | [circuit breaker](super::policies::circuit_breaker) | retry |
//! | it is not down but slow, and all tasks, sockets or memory hang on it | [attempt timeout](super::policies::timeouts), then [bulkhead](super::policies::bulkhead) | a breaker alone: calls that hang never fail |
//! | callers wait longer than they would for a "no" | [total timeout](super::policies::timeouts) | an attempt timeout: retries multiply it |
//! | nobody knows how many at once the dependency can work on, or it changes | [adaptive limit](super::policies::adaptive_limit) | a bulkhead for the worst day |
//! | the dependency is overloaded and spends its time on refusals | [throttle](super::policies::throttle) | retries, which are the overload |
//! | most answers are quick, and one in a hundred is not | [hedge](super::policies::hedge), where the operation may happen twice | a shorter timeout: it fails the slow ones |
//! | one tenant takes what all should share, or breaks the circuit for all | [policies per key](super::policies::keyed) | a pipeline for each tenant: nobody bounds them |
//! | many callers ask for the same thing at the same moment | [coalesce](super::policies::coalesce) | a bulkhead: they all still ask |
//! | nobody knows the right rate, or it changes | [dynamic rate](super::policies::dynamic_rate) | a rate for the worst day |
//! | 429, or a bill by the call | [rate limiter](super::policies::rate_limiter) | a bulkhead: fast calls pass it by the thousand |
//! | the database has 20 connections, and we are 500 tasks | [bulkhead](super::policies::bulkhead) with a queue | a rate limit: a slow query holds its connection all the same |
//! | an old, or an empty, answer is better than none | [fallback](super::policies::fallback) | |
//! | nobody knows how often it fails, or how long it takes | [monitor and events](super::policies::monitor) | |
//! | none of these | a [gate of your own](super::policies::own_gate) | |
//!
//! If you want a rule of thumb: a total timeout and an attempt timeout always; a retry where the operation may happen twice; a breaker where
//! there is a network in between; a bulkhead where something on your side runs out; a rate limit where somebody counts.
//!
//! # The order
//!
//! There is one, whatever the order of the builder calls:
//!
//! ```text
//! monitor > fallback > cache > coalesce > total timeout > retry > hedge >
//!     circuit breaker (look) > throttle > per key > rate limit > bulkhead > adaptive limit > your gates >
//!     circuit breaker (permit) > attempt timeout > operation
//! ```
//!
//! * **Retry outside the breaker**: the breaker sees every attempt, and an open circuit ends the retries.
//! * **The breaker looks before the queues**, so that nobody stands in line for a dead service, **and decides after them**, so that what
//!   they refuse says nothing about it.
//! * **The attempt timeout is innermost**: time in a queue is not held against the dependency.
//! * **The fallback is outside all of it**: it answers rejections too.
//!
//! `println!("{pipeline}")` draws the one you have. For another order, put one pipeline around another:
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use std::time::Duration;
//! use steadfast::{Bulkhead, Pipeline, Retry};
//!
//! // A place is kept through all retries of a call, pauses included: the bulkhead outside the retry.
//! let places = Pipeline::builder("uploads").bulkhead(Bulkhead::new(4).queue(100)).total_timeout(Duration::from_secs(60)).build()?;
//! let retries = Pipeline::builder("storage").retry(Retry::exponential(3, Duration::from_millis(200))).build()?;
//! let stored = places.around(&retries).call(|| async { Ok::<_, std::io::Error>("stored") }).await?;
//! # assert_eq!(stored, "stored"); Ok(()) }
//! ```
//!
//! # Presets
//!
//! Each is a builder to go on from, with a breaker and a monitor; whatever you say after it replaces its part.
//!
//! | preset | total | attempt | retries | at once | waiting | for |
//! |---|---|---|---|---|---|---|
//! | [`http`](Pipeline::http) | 10 s | 3 s | 3 | 50 at first, adaptive | 100 | calls of HTTP APIs |
//! | [`database`](Pipeline::database) | 5 s | 2 s | 2 | 20 | 100 | queries through a connection pool |
//! | [`interactive`](Pipeline::interactive) | 1 s | 400 ms | 1 | 100 | 0 | a person waits for the answer |
//! | [`background`](Pipeline::background) | 300 s | 30 s | 8 | 8 | 1,000 | jobs, synchronisation, export |
//! | [`standard`](Pipeline::standard) | none | 30 s | 3 | 10 | 0 | the textbook numbers; prefer one of the others |

#[cfg(doc)]
use crate::*;
