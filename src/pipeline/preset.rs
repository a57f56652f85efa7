//! Starting points: sound settings for common dependencies, each a builder to go on from.
//!
//! | preset | total | attempt | retries | at once | for |
//! |---|---|---|---|---|---|
//! | [`http`](Pipeline::http) | 10 s | 3 s | 3, from 100 ms | adaptive, and 100 waiting | calls of HTTP APIs |
//! | [`database`](Pipeline::database) | 5 s | 2 s | 2, from 20 ms | 20 and 100 waiting | queries through a connection pool |
//! | [`interactive`](Pipeline::interactive) | 1 s | 400 ms | 1, from 20 ms | 100 | a person waits for the answer |
//! | [`background`](Pipeline::background) | 5 min | 30 s | 8, from 500 ms | 8 and 1,000 waiting | jobs, synchronisation, export |
//! | [`standard`](Pipeline::standard) | – | 30 s | 3, from 1 s | 10 | the textbook numbers |
//!
//! All have a circuit breaker and a monitor. Whatever is said after a preset replaces its part of it.
//!
//! ```
//! # fn main() -> Result<(), steadfast::ConfigError> {
//! use std::time::Duration;
//! use steadfast::{Pipeline, Retry};
//!
//! let api = Pipeline::http("github").retry(Retry::exponential(5, Duration::from_millis(50))).build()?;
//! assert_eq!(api.explain().attempts(), 6);
//! # Ok(()) }
//! ```

use super::{Pipeline, PipelineBuilder};
use crate::admission::{AdaptiveLimit, Bulkhead, CircuitBreaker};
use crate::execution::Retry;
use crate::observation::Monitor;
use std::time::Duration;

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

impl Pipeline {
    /// For calls of HTTP APIs. An attempt of 3 s outlasts a slow server but not a lost connection, and three of them fit in the 10 s
    /// that most callers wait.
    ///
    /// How many run at once is found out ([`AdaptiveLimit`]), because no number is right for all: in the
    /// [retry storm](crate::guide::overload) of the simulator 100 are too many by far, and for a service ten times as strong 50 are too
    /// few. It begins with 50. Who finds no place waits half a second at most: long
    /// enough for a burst, too short for a queue of calls that nobody waits for any more.
    pub fn http(name: impl Into<String>) -> PipelineBuilder {
        Self::builder(name)
            .total_timeout(ms(10_000))
            .attempt_timeout(ms(3_000))
            .retry(Retry::exponential(3, ms(100)).max_delay(ms(5_000)))
            .circuit_breaker(CircuitBreaker::failure_rate(0.5))
            .adaptive_limit(AdaptiveLimit::new().initial(50).queue(100).max_wait(ms(500)))
            .monitor(Monitor::new())
    }

    /// For queries through a connection pool: as many at once as a pool has connections, the rest wait in order, at most a second.
    pub fn database(name: impl Into<String>) -> PipelineBuilder {
        Self::builder(name)
            .total_timeout(ms(5_000))
            .attempt_timeout(ms(2_000))
            .retry(Retry::exponential(2, ms(20)).max_delay(ms(500)))
            .circuit_breaker(CircuitBreaker::failure_rate(0.5))
            .bulkhead(Bulkhead::new(20).queue(100).max_wait(ms(1_000)))
            .monitor(Monitor::new())
    }

    /// For calls a person waits for: one quick retry, and an answer within a second, good or bad.
    pub fn interactive(name: impl Into<String>) -> PipelineBuilder {
        Self::builder(name)
            .total_timeout(ms(1_000))
            .attempt_timeout(ms(400))
            .retry(Retry::exponential(1, ms(20)))
            .circuit_breaker(CircuitBreaker::failure_rate(0.5).open_for(ms(2_000)))
            .bulkhead(Bulkhead::new(100))
            .monitor(Monitor::new())
    }

    /// For work nobody waits for: few at once, many tries, long pauses.
    pub fn background(name: impl Into<String>) -> PipelineBuilder {
        Self::builder(name)
            .total_timeout(ms(300_000))
            .attempt_timeout(ms(30_000))
            .retry(Retry::exponential(8, ms(500)).max_delay(ms(30_000)))
            .circuit_breaker(CircuitBreaker::failure_rate(0.5).open_for(ms(30_000)))
            .bulkhead(Bulkhead::new(8).queue(1_000))
            .monitor(Monitor::new())
    }

    /// The numbers of many a textbook: 3 retries from 1 s doubling, 5 failures in a row open the breaker for 60 s, 10 at once, 30 s an
    /// attempt. Prefer one of the others: this one has no total timeout.
    pub fn standard(name: impl Into<String>) -> PipelineBuilder {
        Self::builder(name)
            .attempt_timeout(ms(30_000))
            .retry(Retry::exponential(3, ms(1_000)))
            .circuit_breaker(CircuitBreaker::consecutive_failures(5).open_for(ms(60_000)))
            .bulkhead(Bulkhead::new(10))
            .monitor(Monitor::new())
    }
}
